#include "reconstruct/checkpoint.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static const char MAGIC[8] = "cycsum1";

typedef struct {
	char magic[8];
	uint64_t hash;
	uint64_t bytes; /* of each sum */
	cyc_checkpoint_counts counts;
	uint64_t check; /* hash of all this */
} header;

cyc_status cyc__checkpoint_write(const char *path, const cyc_checkpoint_counts *counts, cyc_buffer *sum1, cyc_buffer *sum2, uint64_t hash)
{
	cyc_status st = CYC_OK;
	cyc_outfile o = { 0 };
	cyc_buffer *const sums[2] = { sum1, sum2 };
	header h;
	memset(&h, 0, sizeof h); /* padding too: the file is hashed by nobody, but it should be the same from run to run */
	memcpy(h.magic, MAGIC, sizeof h.magic);
	h.hash = hash;
	h.bytes = cyc_buffer_bytes(sum1);
	h.counts = *counts;
	h.check = cyc_hash(CYC_HASH_INIT, &h, offsetof(header, check));
	CYC_TRY(cyc_outfile_open(&o, path));
	CYC_CHECK(fwrite(&h, sizeof h, 1, o.f) == 1, CYC_E_IO, "cannot write '%s': %s", path, strerror(errno));
	for (int i = 0; i < 2; i++) {
		const void *host;
		CYC_TRY(cyc_buffer_map(&host, sums[i]));
		bool is_written = fwrite(host, 1, h.bytes, o.f) == h.bytes;
		int e = errno;
		CYC_TRY(cyc_buffer_unmap(sums[i]));
		CYC_CHECK(is_written, CYC_E_IO, "cannot write '%s': %s", path, strerror(e));
	}
	CYC_TRY(cyc_outfile_commit(&o));
done:
	cyc_outfile_abandon(&o);
	return st;
}

cyc_status cyc__checkpoint_read(cyc_checkpoint_counts *counts, cyc_buffer *sum1, cyc_buffer *sum2, const char *path, uint64_t hash)
{
	cyc_status st = CYC_OK;
	cyc_buffer *const sums[2] = { sum1, sum2 };
	header h;
	FILE *f = fopen(path, "rb");
	memset(counts, 0, sizeof *counts);
	if (!f) return CYC_OK;
	bool is_usable = fread(&h, sizeof h, 1, f) == 1 && memcmp(h.magic, MAGIC, sizeof h.magic) == 0 && h.bytes == cyc_buffer_bytes(sum1) &&
	                 h.check == cyc_hash(CYC_HASH_INIT, &h, offsetof(header, check));
	if (!is_usable) cyc_warn("'%s' is not a checkpoint of this box; starting from the beginning", path);
	else if (h.hash != hash) cyc_warn("'%s' was made with other input or options; starting from the beginning", path);
	is_usable = is_usable && h.hash == hash;
	for (int i = 0; i < 2 && is_usable; i++) {
		void *host;
		CYC_TRY(cyc_buffer_map(&host, sums[i]));
		is_usable = fread(host, 1, h.bytes, f) == h.bytes;
		CYC_TRY(cyc_buffer_unmap(sums[i]));
		if (!is_usable) cyc_warn("'%s' is cut short; starting from the beginning", path);
	}
	if (is_usable) {
		*counts = h.counts;
		goto done;
	}
	for (int i = 0; i < 2; i++) { /* a half-read checkpoint must leave nothing behind */
		void *host;
		CYC_TRY(cyc_buffer_map(&host, sums[i]));
		memset(host, 0, cyc_buffer_bytes(sums[i]));
		CYC_TRY(cyc_buffer_unmap(sums[i]));
	}
done:
	fclose(f);
	return st;
}

void cyc__checkpoint_remove(const char *path, const char *folder)
{
	unlink(path);
	rmdir(folder); /* fails, rightly, if something else is in it */
}

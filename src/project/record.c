#include "cyclotomo/record.h"

#include "cyclotomo/version.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const char MAGIC[8] = "cycrec\r\n"; /* "\r\n": a transfer as text damages it at once */
/* The last part of every file is what was logged while the others were computed. */
enum { FORMAT = 4, BYTE_ORDER_MARK = 0x01020304, MOST_ROWS = CYC_RECORD_MAX_PARTS + 1 };

/* Without padding: every byte is written, and hashed. */
typedef struct {
	char magic[8];
	uint32_t format, byte_order;
	char version[32], kind[32];
	uint64_t key, n_parts, n_bytes, payload_hash;
	uint64_t header_hash; /* of all above and the table of sizes */
} header;
typedef struct {
	uint64_t size, count;
} table_row;

struct cyc_record {
	char *path;
	int fd;
	header h;
	table_row table[MOST_ROWS];
	int64_t offset[MOST_ROWS];
};

static uint64_t hash_header(const header *h, const table_row *table)
{
	uint64_t v = cyc_hash(CYC_HASH_INIT, h, offsetof(header, header_hash));
	return cyc_hash(v, table, (size_t)h->n_parts * sizeof *table);
}

/* ---------------------------------------------------------------- writing */

static cyc_status hash_parts(uint64_t *hash, const cyc_record_part *parts, int32_t n)
{
	cyc_status st = CYC_OK;
	XXH3_state_t *state = XXH3_createState();
	CYC_CHECK(state, CYC_E_NOMEM, "not enough memory for a hash");
	XXH3_64bits_reset_withSeed(state, CYC_HASH_INIT);
	for (int32_t i = 0; i < n; i++)
		if (parts[i].size * parts[i].count > 0)
			XXH3_64bits_update(state, parts[i].data, parts[i].size * parts[i].count);
	*hash = XXH3_64bits_digest(state);
done:
	XXH3_freeState(state);
	return st;
}

static cyc_status write_all(const char *path, const char *kind, uint64_t key, const cyc_record_part *parts,
                            int32_t n_parts)
{
	cyc_status st = CYC_OK;
	cyc_outfile o = { 0 };
	table_row table[MOST_ROWS];
	header h;
	memset(&h, 0, sizeof h);
	memcpy(h.magic, MAGIC, sizeof h.magic);
	h.format = FORMAT;
	h.byte_order = BYTE_ORDER_MARK;
	snprintf(h.version, sizeof h.version, "%s", CYCLOTOMO_VERSION);
	snprintf(h.kind, sizeof h.kind, "%s", kind);
	h.key = key;
	h.n_parts = (uint64_t)n_parts;
	for (int32_t i = 0; i < n_parts; i++) {
		table[i] = (table_row){ parts[i].size, parts[i].count };
		h.n_bytes += (uint64_t)parts[i].size * parts[i].count;
	}
	CYC_TRY(hash_parts(&h.payload_hash, parts, n_parts));
	h.header_hash = hash_header(&h, table);
	CYC_TRY(cyc_outfile_open(&o, path));
	bool is_written = fwrite(&h, sizeof h, 1, o.f) == 1 &&
	                  fwrite(table, sizeof *table, (size_t)n_parts, o.f) == (size_t)n_parts;
	for (int32_t i = 0; i < n_parts && is_written; i++) {
		size_t n = parts[i].size * parts[i].count;
		is_written = n == 0 || fwrite(parts[i].data, 1, n, o.f) == n;
	}
	CYC_CHECK(is_written, CYC_E_IO, "cannot write '%s': %s", path, strerror(errno));
	CYC_TRY(cyc_outfile_commit(&o));
done:
	cyc_outfile_abandon(&o);
	return st;
}

cyc_status cyc_record_write(const char *path, const char *kind, uint64_t key, const cyc_record_part *parts,
                            int32_t n_parts)
{
	cyc_status st = CYC_OK;
	cyc_record_part all[MOST_ROWS];
	size_t n_kept;
	CYC_CHECK(n_parts >= 0 && n_parts <= CYC_RECORD_MAX_PARTS && strlen(kind) < sizeof((header *)0)->kind,
	          CYC_E_INTERNAL, "'%s': a record of %d parts", path, n_parts);
	for (int32_t i = 0; i < n_parts; i++) all[i] = parts[i];
	const char *kept = cyc_log_kept(&n_kept);
	all[n_parts] = (cyc_record_part){ kept, 1, n_kept };
	CYC_TRY(write_all(path, kind, key, all, n_parts + 1));
done:
	return st;
}

/* ---------------------------------------------------------------- reading */

static bool read_exactly(int fd, void *data, size_t n, int64_t offset)
{
	char *to = data;
	while (n > 0) {
		ssize_t got = pread(fd, to, n, (off_t)offset);
		if (got < 0 && errno == EINTR) continue;
		if (got <= 0) return false;
		to += got;
		offset += got;
		n -= (size_t)got;
	}
	return true;
}

/* What is wrong with the header and the sizes; NULL: nothing. */
static const char *fault_of_header(cyc_record *r, const char *kind)
{
	struct stat s;
	header *h = &r->h;
	if (fstat(r->fd, &s) != 0 || !S_ISREG(s.st_mode)) return "cannot be read";
	if (!read_exactly(r->fd, h, sizeof *h, 0)) return "is truncated";
	if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0)
		return "is not a record of this version of the program";
	if (h->n_parts < 1 || h->n_parts > MOST_ROWS) return "is damaged";
	if (!read_exactly(r->fd, r->table, (size_t)h->n_parts * sizeof *r->table, sizeof *h))
		return "is truncated";
	/* The header is trusted only from here on. */
	if (h->header_hash != hash_header(h, r->table)) return "is damaged";
	if (h->byte_order != BYTE_ORDER_MARK) return "was written by a machine with another byte order";
	if (h->format != FORMAT || strncmp(h->version, CYCLOTOMO_VERSION, sizeof h->version) != 0)
		return "was written by another version of the program";
	if (strncmp(h->kind, kind, sizeof h->kind) != 0) return "is another kind of record";
	int64_t at = (int64_t)(sizeof *h + (size_t)h->n_parts * sizeof *r->table);
	if (s.st_size < at || (uint64_t)(s.st_size - at) != h->n_bytes)
		return (uint64_t)s.st_size < (uint64_t)at + h->n_bytes ? "is truncated"
		                                                       : "is longer than when it was written";
	for (uint64_t i = 0; i < h->n_parts; i++) {
		r->offset[i] = at;
		at += (int64_t)(r->table[i].size * r->table[i].count);
	}
	return NULL;
}

/* By the open file: under its name there may be another by now, of another process. */
static cyc_status check_payload(bool *is_whole, const cyc_record *r)
{
	cyc_status st = CYC_OK;
	enum { CHUNK = 1 << 16 };
	char *chunk = NULL;
	int64_t at = (int64_t)(sizeof r->h + (size_t)r->h.n_parts * sizeof *r->table);
	uint64_t left = r->h.n_bytes;
	XXH3_state_t *state = XXH3_createState();
	CYC_CHECK(state, CYC_E_NOMEM, "not enough memory for a hash");
	XXH3_64bits_reset_withSeed(state, CYC_HASH_INIT);
	CYC_TRY(cyc_alloc(&chunk, CHUNK, 1));
	*is_whole = true;
	while (left > 0 && *is_whole) {
		size_t n = left < CHUNK ? (size_t)left : CHUNK;
		*is_whole = read_exactly(r->fd, chunk, n, at);
		if (*is_whole) XXH3_64bits_update(state, chunk, n);
		at += (int64_t)n;
		left -= n;
	}
	*is_whole = *is_whole && XXH3_64bits_digest(state) == r->h.payload_hash;
done:
	cyc_free(chunk);
	XXH3_freeState(state);
	return st;
}

/* Lack of memory is no fault of the file; everything else is. */
static cyc_status forgive(cyc_status st)
{
	if (st == CYC_OK || st == CYC_E_NOMEM) return st;
	cyc_error_clear();
	return CYC_OK;
}

static cyc_status repeat_log(const cyc_record *r)
{
	cyc_status st = CYC_OK;
	uint64_t last = r->h.n_parts - 1;
	size_t n = r->table[last].size * r->table[last].count;
	char *kept = NULL;
	if (n == 0) return CYC_OK;
	CYC_TRY(cyc_alloc(&kept, n, 1));
	/* Without it no result is other. */
	if (read_exactly(r->fd, kept, n, r->offset[last])) cyc_log_repeat(kept, n);
done:
	cyc_free(kept);
	return st;
}

cyc_status cyc_record_open(cyc_record **out, const char *path, const char *kind, uint64_t key,
                           const char *consequence, int64_t *n_other)
{
	cyc_status st = CYC_OK;
	cyc_record *r = NULL;
	const char *fault = NULL;
	bool is_whole = false;
	*out = NULL;
	if (!cyc_path_exists(path)) return CYC_OK;
	CYC_TRY(cyc_alloc(&r, 1, sizeof *r));
	r->fd = -1;
	CYC_TRY(cyc_strdup(&r->path, path));
	CYC_TRY(forgive(cyc_open_regular(&r->fd, path)));
	fault = r->fd < 0 ? "cannot be read" : fault_of_header(r, kind);
	if (!fault && r->h.key != key) {
		if (n_other) (*n_other)++;
		else cyc_warn("'%s' was made with other input or options; %s", path, consequence);
		goto done;
	}
	if (!fault) {
		CYC_TRY(forgive(check_payload(&is_whole, r)));
		if (!is_whole) fault = "is damaged";
	}
	if (fault) {
		cyc_warn("'%s' %s and is not used; %s", path, fault, consequence);
		goto done;
	}
	CYC_TRY(repeat_log(r));
	*out = r;
	r = NULL;
done:
	cyc_record_close(&r);
	return st;
}

size_t cyc_record_count(const cyc_record *r, int32_t i, size_t size)
{
	if (i < 0 || (uint64_t)i >= r->h.n_parts - 1 || r->table[i].size != size) return 0;
	return (size_t)r->table[i].count;
}

bool cyc_record_has(const cyc_record *r, int32_t i, size_t size, size_t count)
{
	return i >= 0 && (uint64_t)i < r->h.n_parts - 1 && r->table[i].size == size && r->table[i].count == count;
}

cyc_status cyc_record_read(const cyc_record *r, int32_t i, void *data, size_t size, size_t count)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(cyc_record_has(r, i, size, count), CYC_E_FORMAT, "'%s': part %d has other sizes than expected",
	          r->path, i);
	CYC_CHECK(read_exactly(r->fd, data, size * count, r->offset[i]), CYC_E_IO, "cannot read '%s'", r->path);
done:
	return st;
}

void cyc_record_warn_unusable(const cyc_record *r, const char *consequence)
{
	cyc_warn("'%s' does not contain what was expected and is not used; %s", r->path, consequence);
}

void cyc_record_close(cyc_record **p)
{
	cyc_record *r = *p;
	if (!r) return;
	if (r->fd >= 0) close(r->fd);
	cyc_free(r->path);
	cyc_free(r);
	*p = NULL;
}

/* ---------------------------------------------------------------- texts */

cyc_status cyc_text_stream_open(cyc_text_stream *s)
{
	cyc_status st = CYC_OK;
	*s = (cyc_text_stream){ 0 };
	s->f = open_memstream(&s->text, &s->n);
	CYC_CHECK(s->f, CYC_E_NOMEM, "not enough memory for a text");
done:
	return st;
}

cyc_status cyc_text_stream_finish(cyc_text_stream *s)
{
	cyc_status st = CYC_OK;
	bool is_good = !ferror(s->f);
	is_good = fclose(s->f) == 0 && is_good;
	s->f = NULL;
	CYC_CHECK(is_good && s->text, CYC_E_NOMEM, "not enough memory for a text");
done:
	return st;
}

void cyc_text_stream_deinit(cyc_text_stream *s)
{
	if (s->f) fclose(s->f);
	free(s->text); /* of the C library */
	*s = (cyc_text_stream){ 0 };
}

cyc_status cyc_record_write_text(const char *path, const char *kind, uint64_t key, const char *text)
{
	const cyc_record_part part = { text, 1, strlen(text) };
	return cyc_record_write(path, kind, key, &part, 1);
}

cyc_status cyc_record_read_text(char **text, const char *path, const char *kind, uint64_t key,
                                const char *consequence, int64_t *n_other)
{
	cyc_status st = CYC_OK;
	cyc_record *r = NULL;
	char *t = NULL;
	*text = NULL;
	CYC_TRY(cyc_record_open(&r, path, kind, key, consequence, n_other));
	if (!r) goto done;
	size_t n = cyc_record_count(r, 0, 1);
	CYC_TRY(cyc_alloc(&t, n + 1, 1));
	CYC_TRY(cyc_record_read(r, 0, t, 1, n));
	*text = t;
	t = NULL;
done:
	cyc_free(t);
	cyc_record_close(&r);
	return st;
}

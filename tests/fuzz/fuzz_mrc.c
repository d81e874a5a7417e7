/* Any bytes are refused with a message or read as an MRC file; what is read is finite, is written and read
 * back the same. */
#include "cyclotomo/mrc.h"
#include "fuzz/fuzz_common.h"

#include <math.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_same(const cyc_volume *a, const cyc_volume *b, int mode)
{
	MUST(a->nx == b->nx && a->ny == b->ny && a->nz == b->nz);
	size_t n = cyc_volume_count(a);
	for (size_t i = 0; i < n; i++) {
		MUST(isfinite(a->data[i]));
		float expected = mode == 2 ? a->data[i] : cyc_half_to_float(cyc_float_to_half(a->data[i]));
		MUST(memcmp(&b->data[i], &expected, sizeof expected) == 0);
	}
}

static void write_and_read(const cyc_volume *v)
{
	static const int MODES[] = { 2, 12 };
	char out[128];
	snprintf(out, sizeof out, "%s/out.mrc", fuzz_dir());
	for (int k = 0; k < 2; k++) {
		cyc_volume *again = NULL;
		MUST(cyc_mrc_write(out, v, MODES[k], "fuzz") == CYC_OK);
		MUST(cyc_mrc_read(&again, out) == CYC_OK);
		must_be_same(v, again, MODES[k]);
		cyc_volume_destroy(&again);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[64];
	cyc_mrc_info info;
	cyc_volume *v = NULL;
	int fd = memfd_create("fuzz", 0);
	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	/* The bytes are the file; the first of them, as text, also go through the name parser. */
	snprintf(name, sizeof name, "%.*s", (int)(size < 40 ? size : 40), (const char *)data);
	char *path = NULL;
	int64_t section;
	bool is_stack;
	if (cyc_mrc_split_name(&path, &section, &is_stack, name) == CYC_OK) MUST(path && path[0] && section >= 0);
	cyc_free(path);
	snprintf(name, sizeof name, "/proc/self/fd/%d:mrc", fd);
	if (cyc_mrc_read_info(&info, name) == CYC_OK) {
		MUST(info.nx > 0 && info.ny > 0 && info.nz > 0 && isfinite(info.pixel_size_A) &&
		     info.pixel_size_A >= 0.0);
		if (cyc_mrc_read_map(&v, name) == CYC_OK) MUST(v->pixel_size_A > 0.0 && v->nx % 2 == 0);
		cyc_volume_destroy(&v);
		if (cyc_mrc_read(&v, name) == CYC_OK) write_and_read(v);
		else MUST(cyc_error_get()->status == CYC_E_DATA);
		cyc_volume_destroy(&v);
		snprintf(name, sizeof name, "%d@/proc/self/fd/%d:mrcs", info.nz, fd);
		cyc_status st = cyc_mrc_read(&v, name);
		MUST(st == CYC_OK || st == CYC_E_DATA);
		cyc_volume_destroy(&v);
	} else {
		MUST(cyc_error_get()->message[0]);
	}
	close(fd);
	return 0;
}

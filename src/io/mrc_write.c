#include "io/mrc_internal.h"

#include "cyclotomo/version.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static void set_i(uint8_t *header, int i, int32_t v) { memcpy(header + 4 * i, &v, sizeof v); }

static void set_f(uint8_t *header, int i, double v)
{
	float f = (float)v;
	memcpy(header + 4 * i, &f, sizeof f);
}

/* min, max, mean and standard deviation; one thread and a fixed order, so the header is the same in every
 * run. */
static void statistics(double stats[4], const float *v, size_t n)
{
	float low = v[0], high = v[0];
	double sum = 0.0, sum2 = 0.0;
	for (size_t i = 0; i < n; i++) {
		if (v[i] < low) low = v[i];
		if (v[i] > high) high = v[i];
		sum += (double)v[i];
	}
	double mean = sum / (double)n;
	for (size_t i = 0; i < n; i++) sum2 += cyc_square((double)v[i] - mean);
	stats[0] = (double)low;
	stats[1] = (double)high;
	stats[2] = mean;
	stats[3] = sqrt(sum2 / (double)n);
}

static void make_header(uint8_t header[CYC__MRC_HEADER], const cyc_volume *v, int32_t mode, bool is_stack,
                        const char *label)
{
	double stats[4];
	memset(header, 0, CYC__MRC_HEADER);
	statistics(stats, v->data, cyc_volume_count(v));
	const int32_t size[3] = { v->nx, v->ny, v->nz };
	for (int a = 0; a < 3; a++) {
		/* Sections of a stack are 1 Å thick: they have no depth. */
		bool has_depth = a < 2 || !(is_stack || v->nz == 1);
		set_i(header, a, size[a]);
		set_i(header, 7 + a, size[a]);
		set_f(header, 10 + a, has_depth ? size[a] * v->pixel_size_A : (double)size[a]);
		set_f(header, 13 + a, 90.0);
		set_i(header, 16 + a, a + 1);
		set_f(header, 19 + a, stats[a]);
	}
	set_i(header, 3, mode);
	memcpy(header + 208, "MAP ", 4);
	const uint16_t one = 1;
	bool is_little = *(const uint8_t *)&one == 1;
	header[212] = is_little ? 0x44 : 0x11;
	header[213] = is_little ? 0x41 : 0x11;
	set_f(header, 54, stats[3]);
	set_i(header, 55, 1);
	char text[81];
	snprintf(text, sizeof text, "%s", label ? label : "cyclotomo " CYCLOTOMO_VERSION);
	memcpy(header + CYC__MRC_LABEL, text, strlen(text));
}

static cyc_status put_data(FILE *f, const cyc_volume *v, int32_t mode)
{
	cyc_status st = CYC_OK;
	uint16_t piece[1 << 13];
	const size_t step = sizeof piece / sizeof piece[0];
	size_t n = cyc_volume_count(v);
	if (mode == 2) {
		CYC_CHECK(fwrite(v->data, sizeof *v->data, n, f) == n, CYC_E_IO, "%s", strerror(errno));
		goto done;
	}
	for (size_t i = 0; i < n; i += step) {
		size_t k = n - i < step ? n - i : step;
		cyc__floats_to_half(piece, v->data + i, k);
		CYC_CHECK(fwrite(piece, sizeof *piece, k, f) == k, CYC_E_IO, "%s", strerror(errno));
	}
done:
	return st;
}

void cyc__mrc_seal(char text[81], uint64_t hash) { snprintf(text, 81, "content %016" PRIx64, hash); }

/* The second label: a hash of the data as it stands in the file. */
static cyc_status seal(uint8_t header[CYC__MRC_HEADER], const cyc_volume *v, int32_t mode)
{
	cyc_status st = CYC_OK;
	size_t n = cyc_volume_count(v);
	uint16_t *half = NULL;
	uint64_t hash;
	char text[81];
	if (mode == 2) {
		hash = cyc_hash(CYC_HASH_INIT, v->data, n * sizeof *v->data);
	} else {
		CYC_TRY(cyc_alloc(&half, n, sizeof *half));
		cyc__floats_to_half(half, v->data, n);
		hash = cyc_hash(CYC_HASH_INIT, half, n * sizeof *half);
	}
	cyc__mrc_seal(text, hash);
	memcpy(header + CYC__MRC_LABEL + 80, text, strlen(text));
	set_i(header, 55, 2);
done:
	cyc_free(half);
	return st;
}

static cyc_status write_mrc(const char *path, const cyc_volume *v, int32_t mode, const char *label,
                            bool is_sealed)
{
	cyc_status st = CYC_OK;
	cyc_outfile o = { 0 };
	char *file = NULL;
	int64_t section;
	bool is_stack;
	uint8_t header[CYC__MRC_HEADER];
	CYC_CHECK(mode == 2 || mode == 12, CYC_E_USAGE,
	          "MRC mode %d cannot be written; only 2 (float32) and 12 (float16) can", mode);
	CYC_TRY(cyc_mrc_split_name(&file, &section, &is_stack, path));
	CYC_CHECK(section == 0, CYC_E_USAGE, "'%s': a single section of a stack cannot be written", path);
	size_t n = cyc_volume_count(v), bad = cyc__first_not_finite(v->data, n);
	if (bad < n) {
		size_t nx = (size_t)v->nx, ny = (size_t)v->ny;
		CYC_RAISE(CYC_E_DATA, "'%s' was not written: voxel x %zu, y %zu, z %zu would be %s", path, bad % nx,
		          bad / nx % ny, bad / nx / ny, isnan(v->data[bad]) ? "NaN" : "infinite");
	}
	make_header(header, v, mode, is_stack, label);
	if (is_sealed) CYC_TRY(seal(header, v, mode));
	CYC_TRY(cyc_outfile_open(&o, file));
	CYC_CHECK(fwrite(header, 1, sizeof header, o.f) == sizeof header, CYC_E_IO, "cannot write '%s': %s", file,
	          strerror(errno));
	CYC_TRY_CTX(put_data(o.f, v, mode), "cannot write '%s'", file);
	CYC_TRY(cyc_outfile_commit(&o));
done:
	cyc_outfile_abandon(&o);
	cyc_free(file);
	return st;
}

cyc_status cyc_mrc_write(const char *path, const cyc_volume *v, int32_t mode, const char *label)
{
	return write_mrc(path, v, mode, label, false);
}

cyc_status cyc_mrc_write_sealed(const char *path, const cyc_volume *v, int32_t mode, const char *label)
{
	return write_mrc(path, v, mode, label, true);
}

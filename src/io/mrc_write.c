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

/* What the header says of the voxels. */
typedef struct {
	float low, high;
	double mean, squares; /* sum of the squares of differences from the mean */
	size_t n, bad;        /* the first that is NaN or infinite; n: none */
} figures;

/* Sixteen sums and extremes side by side: vectors, and no addition waits for the one before. */
enum { LANES = 16 };

CYC_SIMD static double sum_of(const float *v, size_t n)
{
	double part[LANES] = { 0 }, sum = 0;
	for (size_t i = 0; i < n / LANES * LANES; i += LANES)
		for (size_t k = 0; k < LANES; k++) part[k] += (double)v[i + k];
	for (size_t i = n / LANES * LANES; i < n; i++) sum += (double)v[i];
	for (size_t k = 0; k < LANES; k++) sum += part[k];
	return sum;
}

CYC_SIMD static double squares_of(const float *v, size_t n, double mean)
{
	double part[LANES] = { 0 }, sum = 0;
	for (size_t i = 0; i < n / LANES * LANES; i += LANES)
		for (size_t k = 0; k < LANES; k++) part[k] += cyc_square((double)v[i + k] - mean);
	for (size_t i = n / LANES * LANES; i < n; i++) sum += cyc_square((double)v[i] - mean);
	for (size_t k = 0; k < LANES; k++) sum += part[k];
	return sum;
}

CYC_SIMD static void extremes_of(float *low_out, float *high_out, const float *v, size_t n)
{
	float low[LANES], high[LANES];
	for (size_t k = 0; k < LANES; k++) low[k] = high[k] = v[0];
	for (size_t i = 0; i < n / LANES * LANES; i += LANES)
		for (size_t k = 0; k < LANES; k++) {
			low[k] = v[i + k] < low[k] ? v[i + k] : low[k];
			high[k] = v[i + k] > high[k] ? v[i + k] : high[k];
		}
	for (size_t i = n / LANES * LANES; i < n; i++) {
		low[0] = fminf(low[0], v[i]);
		high[0] = fmaxf(high[0], v[i]);
	}
	for (size_t k = 1; k < LANES; k++) {
		low[0] = fminf(low[0], low[k]);
		high[0] = fmaxf(high[0], high[k]);
	}
	*low_out = low[0];
	*high_out = high[0];
}

static void figures_of(figures *out, const float *v, size_t n)
{
	*out = (figures){ .n = n, .bad = cyc__first_not_finite(v, n) };
	if (out->bad < n) return;
	extremes_of(&out->low, &out->high, v, n);
	out->mean = sum_of(v, n) / (double)n;
	out->squares = squares_of(v, n, out->mean);
}

/* Of the sections, in their order: the header is the same for any number of threads. */
static figures figures_of_all(const figures *section, int32_t n)
{
	figures all = section[0];
	for (int32_t z = 1; z < n; z++) {
		const figures *f = &section[z];
		if (all.bad < all.n) return all;
		double more = (double)f->n / (double)(all.n + f->n), step = f->mean - all.mean;
		all.bad = all.n + f->bad;
		all.low = fminf(all.low, f->low);
		all.high = fmaxf(all.high, f->high);
		all.mean += step * more;
		all.squares += f->squares + step * step * more * (double)all.n;
		all.n += f->n;
	}
	return all;
}

static void make_header(uint8_t header[CYC__MRC_HEADER], const cyc_volume *v, int32_t mode, bool is_stack,
                        const char *label, const figures *f)
{
	const double stats[3] = { (double)f->low, (double)f->high, f->mean };
	memset(header, 0, CYC__MRC_HEADER);
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
	set_f(header, 54, sqrt(f->squares / (double)f->n));
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

typedef struct {
	const cyc_volume *v;
	FILE *f;
	int32_t mode;
	figures *section;
} writing;

/* One thread writes, the others look at the sections meanwhile. */
static cyc_status write_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	cyc_status st = CYC_OK;
	const writing *w = arg;
	size_t plane = (size_t)w->v->nx * (size_t)w->v->ny;
	if (i == 0) CYC_TRY(put_data(w->f, w->v, w->mode));
	else figures_of(&w->section[i - 1], w->v->data + (size_t)(i - 1) * plane, plane);
done:
	return st;
}

/* One thread does not look whether it should stop: what a job that was stopped leaves is written, too. */
static cyc_status write_data(writing *w, int n_threads)
{
	cyc_status st = CYC_OK;
	if (n_threads > 1) return cyc_parallel_for(w->v->nz + 1, n_threads, write_task, w);
	for (int64_t i = 0; i <= w->v->nz; i++) CYC_TRY(write_task(w, i, 0));
done:
	return st;
}

static cyc_status write_mrc(const char *path, const cyc_volume *v, int32_t mode, const char *label,
                            bool is_sealed, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_outfile o = { 0 };
	writing w = { .v = v, .mode = mode };
	char *file = NULL;
	int64_t section;
	bool is_stack;
	uint8_t header[CYC__MRC_HEADER] = { 0 };
	CYC_CHECK(mode == 2 || mode == 12, CYC_E_USAGE,
	          "MRC mode %d cannot be written; only 2 (float32) and 12 (float16) can", mode);
	CYC_TRY(cyc_mrc_split_name(&file, &section, &is_stack, path));
	CYC_CHECK(section == 0, CYC_E_USAGE, "'%s': a single section of a stack cannot be written", path);
	CYC_TRY(cyc_alloc(&w.section, v->nz, sizeof *w.section));
	CYC_TRY(cyc_outfile_open(&o, file));
	w.f = o.f;
	/* The header's place; what it says is known when the data is written. */
	CYC_CHECK(fwrite(header, 1, sizeof header, o.f) == sizeof header, CYC_E_IO, "cannot write '%s': %s", file,
	          strerror(errno));
	CYC_TRY_CTX(write_data(&w, n_threads), "cannot write '%s'", file);
	const figures all = figures_of_all(w.section, v->nz);
	if (all.bad < all.n) {
		size_t nx = (size_t)v->nx, ny = (size_t)v->ny;
		CYC_RAISE(CYC_E_DATA, "'%s' was not written: voxel x %zu, y %zu, z %zu would be %s", path,
		          all.bad % nx, all.bad / nx % ny, all.bad / nx / ny,
		          isnan(v->data[all.bad]) ? "NaN" : "infinite");
	}
	make_header(header, v, mode, is_stack, label, &all);
	if (is_sealed) CYC_TRY(seal(header, v, mode));
	CYC_CHECK(fseek(o.f, 0, SEEK_SET) == 0 && fwrite(header, 1, sizeof header, o.f) == sizeof header,
	          CYC_E_IO, "cannot write '%s': %s", file, strerror(errno));
	CYC_TRY(cyc_outfile_commit(&o));
done:
	cyc_outfile_abandon(&o);
	cyc_free(w.section);
	cyc_free(file);
	return st;
}

cyc_status cyc_mrc_write(const char *path, const cyc_volume *v, int32_t mode, const char *label)
{
	return write_mrc(path, v, mode, label, false, 1);
}

cyc_status cyc_mrc_write_threaded(const char *path, const cyc_volume *v, int32_t mode, const char *label,
                                  int n_threads)
{
	return write_mrc(path, v, mode, label, false, n_threads);
}

cyc_status cyc_mrc_write_sealed(const char *path, const cyc_volume *v, int32_t mode, const char *label)
{
	return write_mrc(path, v, mode, label, true, 1);
}

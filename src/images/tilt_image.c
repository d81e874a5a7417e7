#include "images/tilt_image.h"

#include "images/beads.h"
#include "images/outliers.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- images kept */

typedef struct {
	char *path;
	int64_t section, count;
	float *pixels;
	double variance;
	int32_t box; /* of the spectrum; 0: none yet */
	double *power;
} entry;

struct cyc_image_cache {
	double most_bytes, bytes;
	int64_t n_kept, n_read;
	size_t n, capacity;
	entry *entries; /* in the order in which they came, which is that of another reading */
	size_t next;    /* where the next one is looked for first */
};

cyc_status cyc_image_cache_create(cyc_image_cache **out, double most_bytes)
{
	cyc_status st = CYC_OK;
	*out = NULL;
	CYC_TRY(cyc_alloc(out, 1, sizeof **out));
	(*out)->most_bytes = most_bytes;
done:
	return st;
}

void cyc_image_cache_destroy(cyc_image_cache **c)
{
	if (!*c) return;
	for (size_t i = 0; i < (*c)->n; i++) {
		cyc_free((*c)->entries[i].path);
		cyc_free((*c)->entries[i].pixels);
		cyc_free((*c)->entries[i].power);
	}
	cyc_free((*c)->entries);
	cyc_free(*c);
	*c = NULL;
}

void cyc_image_cache_counts(int64_t *n_kept, int64_t *n_read, const cyc_image_cache *c)
{
	*n_kept = c->n_kept;
	*n_read = c->n_read;
}

static entry *find(cyc_image_cache *c, const cyc_tilt_series *ts, int32_t i_tilt)
{
	for (size_t k = 0; c && k < c->n; k++) {
		size_t i = (c->next + k) % c->n;
		entry *e = &c->entries[i];
		if (e->section != ts->image_section[i_tilt] || strcmp(e->path, ts->image_path[i_tilt]) != 0) continue;
		c->next = i + 1;
		return e;
	}
	return NULL;
}

static cyc_status keep(cyc_image_cache *c, const cyc_tilt_series *ts, int32_t i_tilt, const float *pixels,
                       double variance, int64_t count)
{
	cyc_status st = CYC_OK;
	double bytes = (double)count * sizeof *pixels;
	entry e = { .section = ts->image_section[i_tilt], .count = count, .variance = variance };
	c->n_read++;
	if (c->bytes + bytes > c->most_bytes) goto done;
	if (c->n == c->capacity) {
		size_t more = c->capacity ? 2 * c->capacity : 64;
		entry *grown = NULL;
		CYC_TRY(cyc_alloc(&grown, more, sizeof *grown));
		if (c->n > 0) memcpy(grown, c->entries, c->n * sizeof *grown);
		cyc_free(c->entries);
		c->entries = grown;
		c->capacity = more;
	}
	CYC_TRY(cyc_strdup(&e.path, ts->image_path[i_tilt]));
	CYC_TRY(cyc_alloc(&e.pixels, count, sizeof *e.pixels));
	memcpy(e.pixels, pixels, (size_t)count * sizeof *pixels);
	c->entries[c->n++] = e;
	c->bytes += bytes;
	e = (entry){ 0 };
done:
	cyc_free(e.path);
	return st;
}

/* ---------------------------------------------------------------- one image */

/* Fraction of the pixels of an image above which there is a warning: gain and defects of a camera were
 * corrected better than this. */
static const double MANY_OUTLIERS = 0.005;

/* Once every image of the series that is used has been read. */
static void tell_series(const cyc_tilt_series *ts)
{
	int64_t outliers = 0, constant = 0, beads = 0;
	int32_t n = 0;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		if (ts->n_outliers[f] < 0 && ts->tilts[f].scale != 0) return;
		if (ts->n_outliers[f] < 0) continue;
		n++;
		outliers += ts->n_outliers[f];
		constant += ts->n_constant[f];
		beads += ts->n_beads[f];
	}
	if (beads > 0)
		cyc_info_once("tilt series %s: %lld beads in %d images were replaced by noise", ts->name,
		              (long long)beads, n);
	if (outliers + constant == 0) return;
	cyc_info_once(
		"tilt series %s: %lld outlier pixel%s and %lld pixel%s of constant areas in %d image%s (%.3g %%)%s",
		ts->name, (long long)outliers, cyc_plural(outliers), (long long)constant, cyc_plural(constant), n,
		cyc_plural(n), 100.0 * (double)(outliers + constant) / ((double)n * ts->image_nx * ts->image_ny),
		ts->keep_outliers ? " were kept" : " were replaced by noise");
}

/* Sums of squares must not leave the range of numbers. */
static cyc_status check_range(double largest, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	if (largest <= CYC_LARGEST_PIXEL) goto done;
	st = cyc_error_raise(
		CYC_E_DATA, __FILE__, __LINE__, __func__,
		"tilt series %s, row %d ('%s'): the values of the image reach %.2g; they must not exceed %g",
		ts->name, i_tilt + 1, ts->image_path[i_tilt], largest, CYC_LARGEST_PIXEL);
	cyc_error_hint("write the image again with smaller values, or set its _rlnCtfScalefactor to 0 to exclude "
	               "the tilt");
done:
	return st;
}

/* Outliers that are kept count, too. */
static cyc_status check_kept(const cyc_tilt_image *t, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	for (int64_t i = 0; i < (int64_t)ts->image_nx * ts->image_ny; i++) {
		if (fabs((double)t->pixels[i]) <= CYC_LARGEST_PIXEL) continue;
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"tilt series %s, row %d ('%s'): pixel x %d, y %d (counted from 0) is %g, and outliers are kept",
			ts->name, i_tilt + 1, ts->image_path[i_tilt], (int)(i % ts->image_nx), (int)(i / ts->image_nx),
			(double)t->pixels[i]);
		cyc_error_hint("without --keep-outliers such pixels are replaced by noise");
		break;
	}
	return st;
}

static cyc_status mend(cyc_tilt_image *t, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	cyc_image_state state;
	int32_t n_beads = 0;
	int64_t bead_pixels = 0;
	uint64_t key = cyc_hash(cyc_hash_string(CYC_HASH_INIT, ts->name), &i_tilt, sizeof i_tilt);
	CYC_TRY(cyc_image_mend(&state, t->pixels, ts->image_nx, ts->image_ny, key, ts->keep_outliers));
	t->variance = state.variance;
	CYC_TRY(check_range(state.largest, ts, i_tilt));
	if (ts->keep_outliers) CYC_TRY(check_kept(t, ts, i_tilt));
	if (ts->erase_beads)
		CYC_TRY(cyc_image_erase_beads(&n_beads, &bead_pixels, t->pixels, ts->image_nx, ts->image_ny,
		                              ts->pixel_size_A, state.variance, key));
	if (!ts->n_outliers || ts->n_outliers[i_tilt] >= 0) goto done; /* reported before */
	ts->n_outliers[i_tilt] = state.n_outliers;
	ts->n_constant[i_tilt] = state.n_constant;
	ts->n_beads[i_tilt] = n_beads;
	if (!(state.variance > 0))
		cyc_warn("tilt series %s, row %d: the image is constant; it gets no weight", ts->name, i_tilt + 1);
	else if ((double)state.n_outliers > MANY_OUTLIERS * (double)ts->image_nx * ts->image_ny)
		cyc_warn("tilt series %s, row %d: %lld pixels (%.2g %%) are outliers from the noise of the image%s; "
		         "was it corrected for gain and defects?",
		         ts->name, i_tilt + 1, (long long)state.n_outliers,
		         100.0 * (double)state.n_outliers / ((double)ts->image_nx * ts->image_ny),
		         ts->keep_outliers ? "" : " and were replaced by noise");
	tell_series(ts);
done:
	return st;
}

cyc_status cyc_tilt_image_load(cyc_tilt_image *t, cyc_backend *be, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	int64_t count = (int64_t)ts->image_nx * ts->image_ny;
	if (count > t->count) {
		cyc_tilt_image_deinit(t);
		CYC_TRY(cyc_buffer_create(&t->device, be, (size_t)count, sizeof(float)));
		CYC_TRY(cyc_alloc(&t->pixels, count, sizeof *t->pixels));
		t->count = count;
	}
	const entry *e = find(t->cache, ts, i_tilt);
	if (e && e->count == count) {
		memcpy(t->pixels, e->pixels, (size_t)count * sizeof *t->pixels);
		t->variance = e->variance;
		t->cache->n_kept++;
	} else {
		CYC_TRY(cyc_tilt_series_read_image(t->pixels, ts, i_tilt));
		CYC_TRY(mend(t, ts, i_tilt));
		if (t->cache) CYC_TRY(keep(t->cache, ts, i_tilt, t->pixels, t->variance, count));
	}
	CYC_TRY(cyc_buffer_upload(t->device, t->pixels, (size_t)count * sizeof(float)));
done:
	return st;
}

void cyc_tilt_image_deinit(cyc_tilt_image *t)
{
	cyc_buffer_destroy(&t->device);
	cyc_free(t->pixels);
	t->pixels = NULL;
	t->count = 0;
}

cyc_status cyc_tilt_image_noise(double *power, const cyc_tilt_image *t, const cyc_tilt_series *ts,
                                int32_t i_tilt, int32_t box, int n_threads)
{
	cyc_status st = CYC_OK;
	size_t n = (size_t)box / 2 + 1;
	entry *e = find(t->cache, ts, i_tilt);
	if (e && e->box == box) {
		memcpy(power, e->power, n * sizeof *power);
		goto done;
	}
	CYC_TRY(cyc_noise_spectrum(power, t->pixels, ts->image_nx, ts->image_ny, box, n_threads));
	if (!e) goto done;
	cyc_free(e->power);
	e->power = NULL;
	e->box = 0;
	CYC_TRY(cyc_alloc(&e->power, n, sizeof *e->power));
	memcpy(e->power, power, n * sizeof *power);
	e->box = box;
done:
	return st;
}

#include "images/tilt_image.h"
#include "images/noise.h"

#include "cyclotomo/ranks.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- images kept */

typedef struct {
	char *path;
	int64_t section, count;
	float *pixels;
	double variance;
	cyc_known_key known;
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

static cyc_status keep(cyc_image_cache *c, const cyc_tilt_series *ts, int32_t i_tilt, const cyc_tilt_image *t,
                       int64_t count, int n_threads)
{
	cyc_status st = CYC_OK;
	double bytes = (double)count * sizeof *t->loaded.pixels;
	entry e = { .section = ts->image_section[i_tilt],
		        .count = count,
		        .variance = t->loaded.state.variance,
		        .known = t->loaded.known };
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
	CYC_TRY(cyc_copy(e.pixels, t->loaded.pixels, (size_t)count * sizeof *e.pixels, n_threads));
	c->entries[c->n++] = e;
	c->bytes += bytes;
	e = (entry){ 0 };
done:
	cyc_free(e.pixels);
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

/* What was found in an image is told once per image and series. */
static void tell_image(const cyc_tilt_series *ts, int32_t i_tilt, const cyc_ready_image *image)
{
	const cyc_image_state *state = &image->state;
	if (!ts->n_outliers || ts->n_outliers[i_tilt] >= 0) return; /* reported before */
	ts->n_outliers[i_tilt] = state->n_outliers;
	ts->n_constant[i_tilt] = state->n_constant;
	ts->n_beads[i_tilt] = image->n_beads;
	if (!(state->variance > 0))
		cyc_warn("tilt series %s, row %d: the image is constant; it gets no weight", ts->name, i_tilt + 1);
	else if ((double)state->n_outliers > MANY_OUTLIERS * (double)ts->image_nx * ts->image_ny)
		cyc_warn("tilt series %s, row %d: %lld pixels (%.2g %%) are outliers from the noise of the image%s; "
		         "was it corrected for gain and defects?",
		         ts->name, i_tilt + 1, (long long)state->n_outliers,
		         100.0 * (double)state->n_outliers / ((double)ts->image_nx * ts->image_ny),
		         ts->keep_outliers ? "" : " and were replaced by noise");
	tell_series(ts);
}

int cyc_n_readers(int n_threads)
{
	enum { THREADS_OF_READER = 4 };
	int n = n_threads > 1 ? 1 + n_threads / THREADS_OF_READER : 0;
	return n < CYC_MOST_READERS ? n : CYC_MOST_READERS;
}

/* The image that was read ahead if there is one of them, else read now. */
static cyc_status take_image(cyc_tilt_image *t, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	bool found = false;
	for (int k = 0; k < CYC_MOST_READERS && !found; k++)
		if (cyc_read_ahead_is(t->ahead[k], ts, i_tilt))
			CYC_TRY(cyc_read_ahead_take(&found, &t->loaded, t->ahead[k], ts, i_tilt));
	if (!found) CYC_TRY(cyc_ready_image_make(&t->loaded, ts, i_tilt));
	tell_image(ts, i_tilt, &t->loaded);
done:
	return st;
}

/* A row of a series. */
typedef struct {
	const cyc_tilt_series *ts;
	int32_t row;
} place;

static bool is_at(const cyc_read_ahead *r, const place *p) { return cyc_read_ahead_is(r, p->ts, p->row); }

static bool is_under_way(const cyc_tilt_image *t, const place *p)
{
	for (int k = 0; k < CYC_MOST_READERS; k++)
		if (is_at(t->ahead[k], p)) return true;
	return false;
}

/* A reader that has none of n wanted rows, of which one is not under way. */
static int free_reader(const cyc_tilt_image *t, const place *wanted, int n)
{
	int k = 0, i = 0;
	while (i < n)
		if (is_at(t->ahead[k], &wanted[i])) {
			k++;
			i = 0;
		} else i++;
	return k;
}

/* Add rows from `first` on that are used, n_readers in all at most. */
static int add_rows(place *wanted, int n, int n_readers, const cyc_tilt_series *ts, int32_t first)
{
	for (int32_t f = first; f < ts->n_tilts && n < n_readers; f++)
		if (ts->tilts[f].scale != 0) wanted[n++] = (place){ ts, f };
	return n;
}

/* The next rows that a pass over the series wants, n_readers at most. */
static cyc_status read_ahead(cyc_tilt_image *t, const cyc_tilt_series *ts, int32_t i_tilt, int n_readers)
{
	cyc_status st = CYC_OK;
	place wanted[CYC_MOST_READERS];
	int n = add_rows(wanted, 0, n_readers, ts, i_tilt + 1);
	if (t->next && t->next->image_info) n = add_rows(wanted, n, n_readers, t->next, 0);
	for (int i = 0; i < n; i++) {
		if (find(t->cache, wanted[i].ts, wanted[i].row) || is_under_way(t, &wanted[i])) continue;
		int k = free_reader(t, wanted, n);
		cyc_read_ahead_drop(t->ahead[k]);
		CYC_TRY(cyc_read_ahead_start(&t->ahead[k], wanted[i].ts, wanted[i].row));
	}
done:
	return st;
}

const cyc_tilt_series *cyc_tilt_series_after(const cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                                             const bool *is_own, int32_t i)
{
	if (!is_own && cyc_ranks_in_job() > 1) return NULL;
	for (i++; i < tomograms->n_series; i++)
		if (is_own ? is_own[i] : set->series_first[i + 1] > set->series_first[i])
			return tomograms->series[i].image_info ? &tomograms->series[i] : NULL;
	return NULL;
}

cyc_status cyc_tilt_image_load(cyc_tilt_image *t, cyc_backend *be, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	int64_t count = (int64_t)ts->image_nx * ts->image_ny;
	CYC_CHECK(ts->image_info, CYC_E_INTERNAL, "tilt series '%s' is not open", ts->name);
	CYC_TRY(cyc_ready_image_reserve(&t->loaded, ts));
	const entry *e = find(t->cache, ts, i_tilt);
	if (e && e->count == count) {
		CYC_TRY(cyc_copy(t->loaded.pixels, e->pixels, (size_t)count * sizeof *e->pixels,
		                 cyc_backend_n_threads(be)));
		t->loaded.state.variance = e->variance;
		t->loaded.known = e->known;
		t->cache->n_kept++;
	} else {
		CYC_TRY(take_image(t, ts, i_tilt));
		if (t->reads_ahead) CYC_TRY(read_ahead(t, ts, i_tilt, cyc_n_readers(cyc_backend_n_threads(be))));
		if (t->cache) CYC_TRY(keep(t->cache, ts, i_tilt, t, count, cyc_backend_n_threads(be)));
	}
	CYC_TRY(cyc_buffer_show(&t->device, be, t->loaded.pixels, (size_t)count * sizeof(float)));
done:
	return st;
}

void cyc_tilt_image_deinit(cyc_tilt_image *t)
{
	for (int k = 0; k < CYC_MOST_READERS; k++) cyc_read_ahead_destroy(&t->ahead[k]);
	cyc_buffer_destroy(&t->device);
	cyc_fft2_band_destroy(&t->noise_plan);
	cyc_free(t->loaded.pixels);
	t->loaded = (cyc_ready_image){ 0 };
}

static cyc_status plan_noise(cyc_tilt_image *t, int32_t box)
{
	cyc_status st = CYC_OK;
	if (t->noise_plan && t->noise_box == box) return CYC_OK;
	cyc_fft2_band_destroy(&t->noise_plan);
	CYC_TRY(cyc_noise_plan_create(&t->noise_plan, box));
	t->noise_box = box;
done:
	return st;
}

cyc_status cyc_tilt_image_noise(double *power, cyc_tilt_image *t, const cyc_tilt_series *ts, int32_t box,
                                int n_threads)
{
	cyc_status st = CYC_OK;
	const cyc_known_key key = cyc_known_part(t->loaded.known, CYC_KNOWN_NOISE, box);
	size_t n_bytes, wanted = ((size_t)box / 2 + 1) * sizeof *power;
	void *known;
	CYC_TRY(cyc_known_find(&known, &n_bytes, key));
	if (known && n_bytes == wanted) {
		memcpy(power, known, wanted);
	} else {
		CYC_TRY(plan_noise(t, box));
		CYC_TRY(cyc_noise_spectrum_planned(power, t->noise_plan, t->loaded.pixels, ts->image_nx, ts->image_ny,
		                                   box, n_threads));
		CYC_TRY(cyc_known_keep(key, power, wanted));
	}
done:
	cyc_free(known);
	return st;
}

double cyc_image_bytes(int32_t nx, int32_t ny, int32_t window_px, int n_threads)
{
	double image = 4.0 * nx * ny, mending = 0.5 * image,
		   noise = cyc_noise_spectrum_bytes(nx, ny, window_px, n_threads);
	/* With several threads the next ones are read while this one is worked on. */
	return image +
	       (n_threads > 1 ? cyc_n_readers(n_threads) * (image + mending) + noise : fmax(mending, noise));
}

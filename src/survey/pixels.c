/* All pixels of all images: those that are no numbers, images that are constant or dead, copies of one image.
 */
#include "survey/survey_internal.h"
#include "project/labels.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

/* An image with more equal neighbours than this is mostly filled in; integer counts of a weak exposure have a
 * third. */
static const double DEAD_SHARE = 0.9;
/* Tilts of a series differ in their noise by less than this. */
static const double MOST_NOISE_RATIO = 10;

/* What an image is like. */
typedef struct {
	cyc_status status;
	cyc_error error;
	double low, high, rms, equal_share;
	double sum, sum2; /* of two images the same in all bits only if they are one */
} image_pixels;

/* An image that is one, of all series. */
typedef struct {
	double sum, sum2;
	int32_t i_series, row;
} image_sums;

typedef struct {
	const cyc_tilt_series *ts;
	image_pixels *images; /* n_tilts */
	float **scratch;      /* one per thread */
} reading;

static cyc_status read_task(void *arg, int64_t f, int i_thread)
{
	const reading *r = arg;
	image_pixels *p = &r->images[f];
	size_t n = (size_t)r->ts->image_nx * (size_t)r->ts->image_ny, n_equal = 0;
	double sum = 0, sum2 = 0;
	const float *v = r->scratch[i_thread];
	p->status = cyc_tilt_series_read_image(r->scratch[i_thread], r->ts, (int32_t)f);
	if (p->status == CYC_E_NOMEM) return p->status;
	if (p->status != CYC_OK) {
		p->error = *cyc_error_get();
		cyc_error_clear();
		return CYC_OK;
	}
	p->low = p->high = (double)v[0];
	for (size_t i = 0; i < n; i++) {
		double x = (double)v[i];
		/* Reading has refused what is no number. */
		p->low = x < p->low ? x : p->low;
		p->high = x > p->high ? x : p->high;
		sum += x;
		sum2 += x * x;
		n_equal += i > 0 && v[i] == v[i - 1];
	}
	p->rms = sqrt(fmax(0, sum2 / (double)n - cyc_square(sum / (double)n)));
	p->equal_share = (double)n_equal / (double)n;
	p->sum = sum;
	p->sum2 = sum2;
	return CYC_OK;
}

static cyc_status add_image(cyc_survey *s, int32_t i, int32_t f, const image_pixels *p, double noise)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_finding *d;
	bool is_unreadable = p->status != CYC_OK, is_constant = !(p->high > p->low),
		 is_dead = p->equal_share > DEAD_SHARE;
	bool is_loud = noise > 0 && (p->rms > MOST_NOISE_RATIO * noise || p->rms < noise / MOST_NOISE_RATIO);
	if (!is_unreadable && !is_constant && !is_dead && !is_loud) return CYC_OK;
	if (is_unreadable) {
		cyc_error_set(&p->error);
		CYC_TRY(cyc_finding_add_raised(&d, s->found, "image", p->status));
		d->i_series = i;
		CYC_TRY(cyc_finding_put(d, ts->table_path, ts->stack ? NULL : CYC_RLN_MICROGRAPH_NAME));
		d->row = f + 1;
		goto done;
	}
	CYC_TRY(cyc_survey_add(&d, s, CYC_FINDING_WARNING,
	                       is_constant ? "image-constant"
	                       : is_dead   ? "image-dead"
	                                   : "image-noise",
	                       i, ts->table_path, ts->stack ? NULL : CYC_RLN_MICROGRAPH_NAME));
	d->row = f + 1;
	if (is_constant) CYC_FINDING_SAY(d->found, "all pixels of '%s' are %g", ts->image_path[f], p->low);
	else if (is_dead)
		CYC_FINDING_SAY(d->found, "in '%s' %.0f %% of the pixels are equal to their neighbour",
		                ts->image_path[f], 100 * p->equal_share);
	else
		CYC_FINDING_SAY(d->found, "the grey values of '%s' have a spread of %.3g, those of the series %.3g",
		                ts->image_path[f], p->rms, noise);
	CYC_FINDING_SAY(d->wanted, "an image");
	CYC_FINDING_SAY(d->action, "inspect the image; a _%s of 0 excludes the tilt", CYC_RLN_CTF_SCALEFACTOR);
done:
	return st;
}

/* ---------------------------------------------------------------- copies */

static int compare_sums(const void *a, const void *b)
{
	const image_sums *x = a, *y = b;
	if (x->sum < y->sum || x->sum > y->sum) return x->sum < y->sum ? -1 : 1;
	if (x->sum2 < y->sum2 || x->sum2 > y->sum2) return x->sum2 < y->sum2 ? -1 : 1;
	if (x->i_series != y->i_series) return x->i_series < y->i_series ? -1 : 1;
	return (x->row > y->row) - (x->row < y->row);
}

/* One file under two names, and one section of it, is an image twice without a look at its pixels. */
static bool is_one_file(const cyc_tilt_series *a, int32_t f, const cyc_tilt_series *b, int32_t g)
{
	struct stat x, y;
	return a->image_section[f] == b->image_section[g] && stat(a->image_path[f], &x) == 0 &&
	       stat(b->image_path[g], &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Copies of one image in two files, or in two sections of one. */
static cyc_status check_copies(cyc_survey *s, image_sums *sums, size_t n)
{
	cyc_status st = CYC_OK;
	if (n > 1) qsort(sums, n, sizeof *sums, compare_sums);
	for (size_t k = 1; k < n; k++) {
		const image_sums *a = &sums[k - 1], *b = &sums[k];
		const cyc_tilt_series *first = &s->p->tomograms->series[a->i_series],
							  *ts = &s->p->tomograms->series[b->i_series];
		cyc_finding *f;
		if (a->sum < b->sum || a->sum2 < b->sum2 || a->sum2 > b->sum2) continue;
		if (first->image_nx != ts->image_nx || first->image_ny != ts->image_ny) continue;
		if (is_one_file(first, a->row, ts, b->row)) continue;
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "image-twice", b->i_series, ts->table_path,
		                       ts->stack ? NULL : CYC_RLN_MICROGRAPH_NAME));
		f->row = b->row + 1;
		CYC_FINDING_SAY(
			f->found, "the pixels of '%s' are those of '%s', the image in row %d of tilt series %s ('%s')",
			ts->image_path[b->row], first->image_path[a->row], a->row + 1, first->name, first->table_path);
		CYC_FINDING_SAY(f->wanted, "a different image in each row");
		CYC_FINDING_SAY(f->action, "correct the file, or exclude one of the two with a _%s of 0",
		                CYC_RLN_CTF_SCALEFACTOR);
	}
done:
	return st;
}

static void keep_sums(image_sums *sums, size_t *n, const cyc_tilt_series *ts, int32_t i,
                      const image_pixels *images)
{
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const image_pixels *p = &images[f];
		if (p->status != CYC_OK || ts->tilts[f].scale == 0 || !(p->high > p->low)) continue;
		sums[(*n)++] = (image_sums){ p->sum, p->sum2, i, f };
	}
}

/* ---------------------------------------------------------------- series */

static cyc_status check_series(cyc_survey *s, int32_t i, image_sums *sums, size_t *n_sums)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	int n_threads = cyc_n_workers(ts->n_tilts, s->o->n_threads > 0 ? s->o->n_threads : 1);
	reading r = { .ts = ts };
	double *noise = NULL;
	size_t n = 0;
	CYC_TRY(cyc_alloc(&r.images, ts->n_tilts, sizeof *r.images));
	CYC_TRY(cyc_alloc(&r.scratch, n_threads, sizeof *r.scratch));
	for (int k = 0; k < n_threads; k++)
		CYC_TRY(cyc_alloc(&r.scratch[k], (size_t)ts->image_nx * (size_t)ts->image_ny, sizeof(float)));
	CYC_TRY(cyc_alloc(&noise, ts->n_tilts, sizeof *noise));
	CYC_TRY(cyc_parallel_for(ts->n_tilts, n_threads, read_task, &r));
	for (int32_t f = 0; f < ts->n_tilts; f++)
		if (r.images[f].status == CYC_OK && r.images[f].rms > 0) noise[n++] = r.images[f].rms;
	double median = cyc_median(noise, n);
	for (int32_t f = 0; f < ts->n_tilts; f++)
		if (ts->tilts[f].scale != 0) CYC_TRY(add_image(s, i, f, &r.images[f], median));
	keep_sums(sums, n_sums, ts, i, r.images);
done:
	for (int k = 0; r.scratch && k < n_threads; k++) cyc_free(r.scratch[k]);
	cyc_free(r.scratch);
	cyc_free(r.images);
	cyc_free(noise);
	return st;
}

cyc_status cyc_survey_pixels(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	int32_t n = s->p->tomograms->n_series;
	image_sums *sums = NULL;
	size_t n_sums = 0, most = 0;
	for (int32_t i = 0; i < n; i++) most += (size_t)s->p->tomograms->series[i].n_tilts;
	CYC_TRY(cyc_alloc(&sums, most, sizeof *sums));
	for (int32_t i = 0; i < n; i++) {
		if (!cyc_survey_has_particles(s, i) || !s->p->tomograms->series[i].image_info) continue;
		CYC_TRY(check_series(s, i, sums, &n_sums));
		cyc_progress("reading the images", i + 1, n);
	}
	CYC_TRY(check_copies(s, sums, n_sums));
done:
	cyc_free(sums);
	return st;
}

#include "images/read_ahead.h"

#include "base/thread_start.h"
#include "cyclotomo/base.h"
#include "cyclotomo/mrc.h"
#include "images/beads.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

/* What is needed of a tilt series for one image; texts are borrowed or, of a reader, owned. */
typedef struct {
	char *series, *path;
	int64_t section;
	cyc_mrc_info info;
	int32_t nx, ny, i_tilt;
	bool keep_outliers, erase_beads;
	double pixel_size_A;
} request;

struct cyc_read_ahead {
	request of;
	cyc_ready_image image;
	pthread_t thread;
	bool is_running;
	cyc_status status;
	cyc_error error;
};

static request request_of(const cyc_tilt_series *ts, int32_t i_tilt)
{
	return (request){ .series = ts->name,
		              .path = ts->image_path[i_tilt],
		              .section = ts->image_section[i_tilt],
		              .info = ts->image_info[i_tilt],
		              .nx = ts->image_nx,
		              .ny = ts->image_ny,
		              .i_tilt = i_tilt,
		              .keep_outliers = ts->keep_outliers,
		              .erase_beads = ts->erase_beads,
		              .pixel_size_A = ts->pixel_size_A };
}

/* ---------------------------------------------------------------- one image */

/* Sums of squares must not leave the range of numbers. */
static cyc_status check_range(double largest, const request *q)
{
	cyc_status st = CYC_OK;
	if (largest <= CYC_LARGEST_PIXEL) goto done;
	st = cyc_error_raise(
		CYC_E_DATA, __FILE__, __LINE__, __func__,
		"tilt series %s, row %d ('%s'): the values of the image reach %.2g; they must not exceed %g",
		q->series, q->i_tilt + 1, q->path, largest, CYC_LARGEST_PIXEL);
	cyc_error_hint("write the image again with smaller values, or set its _rlnCtfScalefactor to 0 to exclude "
	               "the tilt");
done:
	return st;
}

/* Outliers that are kept count, too. */
static cyc_status check_kept(const float *pixels, const request *q)
{
	cyc_status st = CYC_OK;
	for (int64_t i = 0; i < (int64_t)q->nx * q->ny; i++) {
		if (fabs((double)pixels[i]) <= CYC_LARGEST_PIXEL) continue;
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"tilt series %s, row %d ('%s'): pixel x %d, y %d (counted from 0) is %g, and outliers are kept",
			q->series, q->i_tilt + 1, q->path, (int)(i % q->nx), (int)(i / q->nx), (double)pixels[i]);
		cyc_error_hint("without --keep-outliers such pixels are replaced by noise");
		break;
	}
	return st;
}

static cyc_status make(cyc_ready_image *out, const request *q)
{
	cyc_status st = CYC_OK;
	int64_t bead_pixels = 0;
	uint64_t key = cyc_hash(cyc_hash_string(CYC_HASH_INIT, q->series), &q->i_tilt, sizeof q->i_tilt);
	out->n_beads = 0;
	CYC_TRY_CTX(cyc_mrc_read_section(out->pixels, &q->info, q->path, q->section), "tilt series '%s', row %d",
	            q->series, q->i_tilt + 1);
	CYC_TRY(cyc_image_mend(&out->state, out->pixels, q->nx, q->ny, key, q->keep_outliers));
	CYC_TRY(check_range(out->state.largest, q));
	if (q->keep_outliers) CYC_TRY(check_kept(out->pixels, q));
	if (q->erase_beads)
		CYC_TRY(cyc_image_erase_beads(&out->n_beads, &bead_pixels, out->pixels, q->nx, q->ny, q->pixel_size_A,
		                              out->state.variance, key));
done:
	return st;
}

cyc_status cyc_ready_image_make(cyc_ready_image *out, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(ts->image_info, CYC_E_INTERNAL, "tilt series '%s' is not open", ts->name);
	const request q = request_of(ts, i_tilt);
	CYC_TRY(make(out, &q));
done:
	return st;
}

/* ---------------------------------------------------------------- on another thread */

static void forget(request *q)
{
	cyc_free(q->series);
	cyc_free(q->path);
	*q = (request){ 0 };
}

static void wait(cyc_read_ahead *r)
{
	if (r->is_running) pthread_join(r->thread, NULL);
	r->is_running = false;
}

void cyc_read_ahead_destroy(cyc_read_ahead **p)
{
	cyc_read_ahead *r = *p;
	if (!r) return;
	wait(r);
	forget(&r->of);
	cyc_free(r->image.pixels);
	cyc_free(r);
	*p = NULL;
}

static void *read_it(void *arg)
{
	cyc_read_ahead *r = arg;
	r->status = make(&r->image, &r->of);
	if (r->status != CYC_OK) r->error = *cyc_error_get();
	cyc_error_clear();
	return NULL;
}

cyc_status cyc_read_ahead_start(cyc_read_ahead **p, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	request q = request_of(ts, i_tilt);
	int64_t count = (int64_t)q.nx * q.ny;
	q.series = q.path = NULL;
	if (!*p) CYC_TRY(cyc_alloc(p, 1, sizeof **p));
	cyc_read_ahead *r = *p;
	CYC_ASSERT(!r->is_running);
	if (count > r->image.count) {
		cyc_free(r->image.pixels);
		r->image = (cyc_ready_image){ 0 };
		CYC_TRY(cyc_alloc(&r->image.pixels, count, sizeof *r->image.pixels));
		r->image.count = count;
	}
	CYC_TRY(cyc_strdup(&q.series, ts->name));
	CYC_TRY(cyc_strdup(&q.path, ts->image_path[i_tilt]));
	forget(&r->of);
	r->of = q;
	q = (request){ 0 };
	r->is_running = cyc_thread_start(&r->thread, read_it, r);
done:
	forget(&q);
	return st;
}

cyc_status cyc_read_ahead_take(bool *found, cyc_ready_image *out, cyc_read_ahead *r,
                               const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	*found = false;
	if (!r || !r->is_running) goto done;
	wait(r);
	if (r->of.i_tilt != i_tilt || r->of.section != ts->image_section[i_tilt] ||
	    strcmp(r->of.path, ts->image_path[i_tilt]) != 0 || strcmp(r->of.series, ts->name) != 0)
		goto done;
	*found = true;
	if (r->status != CYC_OK) {
		cyc_error_set(&r->error);
		st = cyc_error_frame(r->status, __FILE__, __LINE__, __func__);
		goto done;
	}
	cyc_ready_image ready = r->image;
	r->image = *out;
	*out = ready;
done:
	return st;
}

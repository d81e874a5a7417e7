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
	cyc_known_image of;
	cyc_mrc_info info;
} request;

struct cyc_read_ahead {
	request request;
	cyc_ready_image image;
	pthread_t thread;
	bool is_running;
	cyc_status status;
	cyc_error error;
};

static request request_of(const cyc_tilt_series *ts, int32_t i_tilt)
{
	return (request){ cyc_known_image_of(ts, i_tilt), ts->image_info[i_tilt] };
}

/* ---------------------------------------------------------------- one image */

/* Sums of squares must not leave the range of numbers. */
static cyc_status check_range(double largest, const cyc_known_image *q)
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
static cyc_status check_kept(const float *pixels, const cyc_known_image *q)
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

/* How an image was mended: what cyc_known_keep() keeps, with the changed pixels behind it. */
typedef struct {
	cyc_image_state state;
	int64_t n;
	cyc_changed_pixel pixels[];
} mending;

/* Mend the image as it was mended before, if it was. */
static cyc_status mend_again(bool *is_mended, cyc_ready_image *out, cyc_known_key known)
{
	cyc_status st = CYC_OK;
	void *bytes;
	size_t n_bytes;
	CYC_TRY(cyc_known_find(&bytes, &n_bytes, known));
	const mending *m = bytes;
	*is_mended = m;
	if (!m) goto done;
	out->state = m->state;
	for (int64_t i = 0; i < m->n; i++) out->pixels[m->pixels[i].at] = m->pixels[i].value;
done:
	cyc_free(bytes);
	return st;
}

/* Images of which more is changed are mended each time: what is kept shall be small. */
enum { PIXELS_PER_CHANGE = 256 };

static cyc_status mend(cyc_ready_image *out, const cyc_known_image *q, uint64_t key, cyc_known_key known)
{
	cyc_status st = CYC_OK;
	mending *m = NULL;
	int64_t most = (int64_t)q->nx * q->ny / PIXELS_PER_CHANGE;
	CYC_TRY(cyc_alloc(&m, sizeof *m + (size_t)most * sizeof *m->pixels, 1));
	cyc_changed_pixels changed = { .pixels = m->pixels, .most = most };
	CYC_TRY(cyc_image_mend(&out->state, &changed, out->pixels, q->nx, q->ny, key, q->keep_outliers));
	CYC_TRY(check_range(out->state.largest, q));
	if (q->keep_outliers) CYC_TRY(check_kept(out->pixels, q));
	if (changed.n < 0) goto done;
	m->state = out->state;
	m->n = changed.n;
	CYC_TRY(cyc_known_keep(known, m, sizeof *m + (size_t)m->n * sizeof *m->pixels));
done:
	cyc_free(m);
	return st;
}

static cyc_status make(cyc_ready_image *out, const request *r)
{
	cyc_status st = CYC_OK;
	const cyc_known_image *q = &r->of;
	int64_t bead_pixels = 0;
	bool is_mended;
	uint64_t key = cyc_hash(cyc_hash_string(CYC_HASH_INIT, q->series), &q->i_tilt, sizeof q->i_tilt);
	/* Before the file is read: if it changes meanwhile, what was measured is not found again. */
	out->known = cyc_known_key_of(q);
	cyc_known_key known = cyc_known_part(out->known, CYC_KNOWN_MENDING, 0);
	out->n_beads = 0;
	CYC_TRY_CTX(cyc_mrc_read_section(out->pixels, &r->info, q->path, q->section), "tilt series '%s', row %d",
	            q->series, q->i_tilt + 1);
	CYC_TRY(mend_again(&is_mended, out, known));
	if (!is_mended) CYC_TRY(mend(out, q, key, known));
	if (q->erase_beads)
		CYC_TRY(cyc_image_erase_beads(&out->n_beads, &bead_pixels, out->pixels, q->nx, q->ny, q->pixel_size_A,
		                              out->state.variance, key));
done:
	return st;
}

cyc_status cyc_ready_image_reserve(cyc_ready_image *image, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	int64_t count = (int64_t)ts->image_nx * ts->image_ny;
	if (count <= image->count) return CYC_OK;
	cyc_free(image->pixels);
	*image = (cyc_ready_image){ 0 };
	CYC_TRY(cyc_alloc(&image->pixels, count, sizeof *image->pixels));
	image->count = count;
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
	cyc_free(q->of.series);
	cyc_free(q->of.path);
	*q = (request){ 0 };
}

static void wait(cyc_read_ahead *r)
{
	if (!r->is_running) return;
	cyc_work_end();
	pthread_join(r->thread, NULL);
	cyc_work_begin();
	r->is_running = false;
}

void cyc_read_ahead_destroy(cyc_read_ahead **p)
{
	cyc_read_ahead *r = *p;
	if (!r) return;
	wait(r);
	forget(&r->request);
	cyc_free(r->image.pixels);
	cyc_free(r);
	*p = NULL;
}

bool cyc_read_ahead_is(const cyc_read_ahead *r, const cyc_tilt_series *ts, int32_t i_tilt)
{
	if (!r || !r->is_running) return false;
	const cyc_known_image *is = &r->request.of;
	return is->i_tilt == i_tilt && is->section == ts->image_section[i_tilt] &&
	       strcmp(is->path, ts->image_path[i_tilt]) == 0 && strcmp(is->series, ts->name) == 0;
}

void cyc_read_ahead_drop(cyc_read_ahead *r)
{
	if (r) wait(r);
}

static void *read_it(void *arg)
{
	cyc_read_ahead *r = arg;
	cyc_work_begin();
	r->status = make(&r->image, &r->request);
	cyc_work_end();
	if (r->status != CYC_OK) r->error = *cyc_error_get();
	cyc_error_clear();
	return NULL;
}

cyc_status cyc_read_ahead_start(cyc_read_ahead **p, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	request q = request_of(ts, i_tilt);
	q.of.series = q.of.path = NULL;
	if (!*p) CYC_TRY(cyc_alloc(p, 1, sizeof **p));
	cyc_read_ahead *r = *p;
	CYC_ASSERT(!r->is_running);
	CYC_TRY(cyc_ready_image_reserve(&r->image, ts));
	CYC_TRY(cyc_strdup(&q.of.series, ts->name));
	CYC_TRY(cyc_strdup(&q.of.path, ts->image_path[i_tilt]));
	forget(&r->request);
	r->request = q;
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
	*found = cyc_read_ahead_is(r, ts, i_tilt);
	cyc_read_ahead_drop(r);
	if (!*found) goto done;
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

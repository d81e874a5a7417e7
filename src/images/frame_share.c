#include "images/frame_share.h"

#include <math.h>

enum { N_DISC = 512 };
static const float ROUNDING = 1.001F;   /* by which distances may be wrong */
static const float LEAST_SHARE = 0.05F; /* what is less is no image to compare with */

double cyc_disc_beside_line(double d)
{
	if (d >= 1) return 1;
	if (d <= -1) return 0;
	return 1 - (acos(d) - d * sqrt(1 - d * d)) / CYC_PI;
}

/* The last column within a radius in a row; -1 if none is. */
static int32_t last_column(int32_t limit, int32_t ky, int32_t s)
{
	double left = (double)limit * limit - (double)ky * ky;
	return left < 0 ? -1 : (int32_t)fmin(sqrt(left), s / 2);
}

cyc_status cyc_frame_share_fill(cyc_frame_share *t, const cyc_tilt_series *ts, int32_t i_tilt, int32_t s,
                                int32_t limit, double pixel_size_A, double radius_px)
{
	cyc_status st = CYC_OK;
	int32_t sh = s / 2 + 1;
	const cyc_tilt *tilt = &ts->tilts[i_tilt];
	double step_invA = 1 / (s * pixel_size_A), unit = step_invA / (pixel_size_A * radius_px),
		   lambda = cyc_electron_wavelength_A(ts->voltage_kV);
	double by_defocus = lambda * 0.5 * (tilt->defocus_u_A + tilt->defocus_v_A),
		   by_Cs = 1e7 * ts->spherical_aberration_mm * pow(lambda, 3);
	if (!t->moved) CYC_TRY(cyc_alloc(&t->moved, cyc_half_count2(s), sizeof *t->moved));
	if (!t->reach) CYC_TRY(cyc_alloc(&t->reach, s, sizeof *t->reach));
	if (!t->last) CYC_TRY(cyc_alloc(&t->last, s, sizeof *t->last));
	if (!t->disc) {
		CYC_TRY(cyc_alloc(&t->disc, N_DISC + 2, sizeof *t->disc));
		for (int i = 0; i < N_DISC + 2; i++) t->disc[i] = (float)cyc_disc_beside_line(2.0 * i / N_DISC - 1);
	}
	t->s = s;
	t->radius_px = radius_px;
	t->farthest = 0;
	for (int32_t y = 0; y < s; y++) {
		int32_t ky = y < s / 2 ? y : y - s;
		double reach = 0;
		t->last[y] = last_column(limit, ky, s);
		for (int32_t x = 0; x <= t->last[y]; x++) {
			double k2 = (double)(x * x + ky * ky),
				   moved = unit * fabs(by_defocus - by_Cs * step_invA * step_invA * k2);
			t->moved[(size_t)y * (size_t)sh + (size_t)x] = (float)moved;
			reach = fmax(reach, moved * sqrt(k2));
			if (4 * k2 <= s * (double)s) t->farthest = fmax(t->farthest, moved * sqrt(k2));
		}
		t->reach[y] = ROUNDING * (float)reach;
	}
done:
	return st;
}

void cyc_frame_share_deinit(cyc_frame_share *t)
{
	cyc_free(t->moved);
	cyc_free(t->reach);
	cyc_free(t->last);
	cyc_free(t->disc);
	*t = (cyc_frame_share){ 0 };
}

typedef struct {
	float *packed;
	cyc_cfloat *observed, *predicted;
	const cyc_frame_share *t;
	const cyc_tilt_series *ts;
	const cyc_tilt_batch *batch;
	double binning;
} work;

/* The edge of the frame at a distance in radii along a direction that a shift has the component `along` of.
 */
typedef struct {
	float distance, along_x, along_y;
} edge;

/* Edges that are near enough to matter. */
static int near_edges(edge edges[4], const work *w, int64_t i)
{
	int n = 0;
	double x = w->batch->at_px[2 * i], y = w->batch->at_px[2 * i + 1],
		   unit = 1 / (w->binning * w->t->radius_px);
	/* The frame ends half a pixel beyond the centres of its last pixels. */
	const edge all[4] = { { (float)(unit * (x + 0.5)), 1, 0 },
		                  { (float)(unit * (w->ts->image_nx - 0.5 - x)), -1, 0 },
		                  { (float)(unit * (y + 0.5)), 0, 1 },
		                  { (float)(unit * (w->ts->image_ny - 0.5 - y)), 0, -1 } };
	for (int k = 0; k < 4; k++)
		if ((double)all[k].distance < 1 + w->t->farthest) edges[n++] = all[k];
	return n;
}

static float disc_at(const float *disc, float d)
{
	if (d >= 1) return 1;
	if (d <= -1) return 0;
	float at = 0.5F * (d + 1) * N_DISC;
	int32_t i = (int32_t)at;
	return disc[i] + (at - (float)i) * (disc[i + 1] - disc[i]);
}

/* Shares along a row of the half plane, as far as they count; false if no signal of this row crosses an edge:
 * all of them are 1. */
static bool row_shares(float *shares, const cyc_frame_share *t, const edge all[4], int n_all, int32_t y)
{
	edge edges[4];
	int n = 0;
	for (int k = 0; k < n_all && t->last[y] >= 0; k++)
		if (all[k].distance < ROUNDING + t->reach[y]) edges[n++] = all[k];
	if (n == 0) return false;
	int32_t s = t->s, sh = s / 2 + 1;
	float ky = (float)(y < s / 2 ? y : y - s);
	const float *moved = t->moved + (size_t)y * (size_t)sh;
	for (int32_t x = 0; x <= t->last[y]; x++) {
		/* Half of the signal is moved one way, half the other. */
		float lx = moved[x] * (float)x, ly = moved[x] * ky, ahead = 1, behind = 1;
		for (int k = 0; k < n; k++) {
			float l = edges[k].along_x * lx + edges[k].along_y * ly;
			ahead *= disc_at(t->disc, edges[k].distance + l);
			behind *= disc_at(t->disc, edges[k].distance - l);
		}
		shares[x] = 0.5F * (ahead + behind);
	}
	return true;
}

/* The rows of an image in which a share is not 1; row 0 is that of frequency `first`. */
static cyc_status each_row(const work *w, int64_t i, int32_t n_rows, int32_t first,
                           void (*use)(const work *w, int64_t i, int32_t row, const float *shares,
                                       int32_t last))
{
	cyc_status st = CYC_OK;
	edge edges[4];
	int n = near_edges(edges, w, i);
	int32_t s = w->t->s;
	float *shares = NULL;
	if (n == 0) goto done;
	CYC_TRY(cyc_alloc(&shares, s / 2 + 1, sizeof *shares));
	for (int32_t row = 0; row < n_rows; row++) {
		int32_t y = (row + first) % s;
		if (row_shares(shares, w->t, edges, n, y)) use(w, i, row, shares, w->t->last[y]);
	}
done:
	cyc_free(shares);
	return st;
}

static void apply_row(const work *w, int64_t i, int32_t row, const float *shares, int32_t last)
{
	int32_t s = w->t->s, sh = s / 2 + 1;
	float *to = w->packed + (size_t)i * cyc_packed_count(s) + (size_t)row * (size_t)(sh + 1) * 4;
	for (int32_t x = 0; x <= last; x++) to[4 * x + 2] *= shares[x];
}

static cyc_status apply_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	int32_t s = w->t->s;
	return each_row(w, i, s + 4, s - s / 2 - 1, apply_row);
}

bool cyc_frame_share_is_whole(const cyc_frame_share *t, const cyc_tilt_series *ts,
                              const cyc_tilt_batch *batch, double binning)
{
	const work w = { .t = t, .ts = ts, .batch = batch, .binning = binning };
	edge edges[4];
	for (int32_t i = 0; i < batch->n; i++)
		if (near_edges(edges, &w, i) > 0) return false;
	return true;
}

cyc_status cyc_frame_share_apply(float *packed, const cyc_frame_share *t, const cyc_tilt_series *ts,
                                 const cyc_tilt_batch *batch, double binning, int n_threads)
{
	work w = { .packed = packed, .t = t, .ts = ts, .batch = batch, .binning = binning };
	return cyc_parallel_for(batch->n, n_threads, apply_task, &w);
}

static void balance_row(const work *w, int64_t i, int32_t y, const float *shares, int32_t last)
{
	int32_t s = w->t->s, sh = s / 2 + 1;
	size_t at = ((size_t)i * (size_t)s + (size_t)y) * (size_t)sh;
	for (int32_t x = 0; x <= last; x++) {
		float root = sqrtf(fmaxf(shares[x], LEAST_SHARE));
		w->observed[at + (size_t)x] *= 1 / root;
		w->predicted[at + (size_t)x] *= root;
	}
}

static cyc_status balance_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	/* Of a whole window the crop takes as much on every side, of all particles alike. */
	return w->batch->weight[i] < 1 ? each_row(w, i, w->t->s, 0, balance_row) : CYC_OK;
}

cyc_status cyc_frame_share_balance(cyc_cfloat *observed, cyc_cfloat *predicted, const cyc_frame_share *t,
                                   const cyc_tilt_series *ts, const cyc_tilt_batch *batch, double binning,
                                   int n_threads)
{
	work w = {
		.observed = observed, .predicted = predicted, .t = t, .ts = ts, .batch = batch, .binning = binning
	};
	return cyc_parallel_for(batch->n, n_threads, balance_task, &w);
}

/**
 * @file kernels/window.h
 * Windows of an image (T1.11): the mean of their corners, the crop, and, after a transform, binning and the
 * turn that centres the particle.
 */
#ifndef CYC_KERNEL_WINDOW_H
#define CYC_KERNEL_WINDOW_H

#include "backends/kernels/dialect.h"

/** Where a window lies. */
typedef struct {
	int32_t x, y; /**< its first pixel in the image */
	/** Pixels first to last - 1 of the window are used: those in the image if windows are partial. */
	int32_t first_x, last_x, first_y, last_y;
} cyc_window_at;

CYC_ON_DEVICE int32_t cyc_clamp(int32_t i, int32_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/** Pixel (x, y) of a window; the border of the image is repeated outwards. */
CYC_ON_DEVICE float cyc_window_pixel(const float *image, int32_t nx, int32_t ny, const cyc_window_at *w,
                                     int32_t x, int32_t y)
{
	return image[(int64_t)cyc_clamp(w->y + y, ny) * nx + cyc_clamp(w->x + x, nx)];
}

/* ---------------------------------------------------------------- mean of the corners */

typedef struct {
	float *means; /**< n */
	const float *image;
	const cyc_window_at *at;
	const float *corner;        /**< S x S: 1 in the corners */
	const int32_t *circle_from; /**< S: in each row nothing is corner from here to as far from the end */
	int32_t nx, ny, S;
} cyc_window_means_args;
enum { CYC_WINDOW_MEANS_LANES = 256, CYC_SUM_LANES = 16, CYC_SUM_ROWS = 16 };
typedef struct {
	float sum[CYC_WINDOW_MEANS_LANES], count[CYC_WINDOW_MEANS_LANES];
	double row_sum[CYC_SUM_ROWS], row_count[CYC_SUM_ROWS];
} cyc_window_means_shared;

/* One of the 16 sums of a row, in the order of the reference: pixels lane, lane + 16 ... of whole groups. */
CYC_ON_DEVICE void cyc_corner_sum(float *sum, float *count, const cyc_window_means_args *a,
                                  const cyc_window_at *w, int32_t y, int32_t lane)
{
	int32_t n = w->last_x - w->first_x, from = a->circle_from[y] - w->first_x,
			to = a->S - a->circle_from[y] - w->first_x;
	*sum = *count = 0;
	if (from < 0) from = 0;
	for (int32_t x = 0; x + CYC_SUM_LANES <= n; x += CYC_SUM_LANES) {
		if (x >= from && x + CYC_SUM_LANES <= to) continue;
		int32_t at = w->first_x + x + lane;
		float corner = a->corner[(int64_t)y * a->S + at];
		*sum += cyc_window_pixel(a->image, a->nx, a->ny, w, at, y) * corner;
		*count += corner;
	}
}

/* The sums of a row, then its pixels beyond the last whole group. */
CYC_ON_DEVICE void cyc_corner_row(double *row_sum, double *row_count, const cyc_window_means_args *a,
                                  const cyc_window_at *w, int32_t y, const cyc_window_means_shared *sh,
                                  int32_t k)
{
	int32_t n = w->last_x - w->first_x;
	double total = 0, all = 0;
	for (int32_t i = 0; i < CYC_SUM_LANES; i++) {
		total += (double)sh->sum[k * CYC_SUM_LANES + i];
		all += (double)sh->count[k * CYC_SUM_LANES + i];
	}
	for (int32_t x = n / CYC_SUM_LANES * CYC_SUM_LANES; x < n; x++) {
		float corner = a->corner[(int64_t)y * a->S + w->first_x + x];
		total += (double)(cyc_window_pixel(a->image, a->nx, a->ny, w, w->first_x + x, y) * corner);
		all += (double)corner;
	}
	*row_sum = total;
	*row_count = all;
}

/* A block has a window, of which it takes 16 rows at a time. */
CYC_KERNEL(window_means)
{
	CYC_PER_LANE(double, sum, CYC_WINDOW_MEANS_LANES);
	CYC_PER_LANE(double, count, CYC_WINDOW_MEANS_LANES);
	const cyc_window_at *w = &a->at[block.index];
	CYC_LANES(lane) CYC_MINE(sum) = CYC_MINE(count) = 0;
	for (int32_t first = w->first_y; first < w->last_y; first += CYC_SUM_ROWS) {
		int32_t n = w->last_y - first < CYC_SUM_ROWS ? w->last_y - first : CYC_SUM_ROWS;
		CYC_LANES(lane)
		{
			int32_t k = lane / CYC_SUM_LANES;
			if (k < n)
				cyc_corner_sum(&sh->sum[lane], &sh->count[lane], a, w, first + k, lane % CYC_SUM_LANES);
			CYC_BARRIER(lane);
			if (lane < n)
				cyc_corner_row(&sh->row_sum[lane], &sh->row_count[lane], a, w, first + lane, sh, lane);
			CYC_BARRIER(lane);
			for (int32_t i = 0; i < n && lane == 0; i++) {
				CYC_MINE(sum) += sh->row_sum[i];
				CYC_MINE(count) += sh->row_count[i];
			}
		}
	}
	CYC_LANES(lane)
	{
		if (lane > 0) continue;
		a->means[block.index] = CYC_MINE(count) > 0 ? (float)(CYC_MINE(sum) / CYC_MINE(count)) : 0;
	}
}

/* ---------------------------------------------------------------- the window's pixels */

typedef struct {
	float *real; /**< n x stride: S x S pixels each */
	int64_t stride;
	const float *image;
	const cyc_window_at *at;
	const float *means;  /**< n, or NULL: neither crop nor filling */
	const float *circle; /**< S x S, or NULL: no crop */
	int32_t nx, ny, S;
} cyc_window_cut_args;
typedef cyc_no_shared cyc_window_cut_shared;
enum { CYC_WINDOW_CUT_LANES = 256 };

CYC_KERNEL(window_cut)
{
	int32_t count = a->S * a->S;
	(void)sh;
	CYC_LANES(lane)
	{
		cyc_place p = cyc_place_of(block, lane, CYC_WINDOW_CUT_LANES, count);
		if (p.at >= count) continue;
		const cyc_window_at *w = &a->at[p.plane];
		int32_t x = p.at % a->S, y = p.at / a->S;
		bool is_used = x >= w->first_x && x < w->last_x && y >= w->first_y && y < w->last_y;
		float m = a->means ? a->means[p.plane] : 0,
			  v = is_used ? cyc_window_pixel(a->image, a->nx, a->ny, w, x, y) : m;
		a->real[p.plane * a->stride + p.at] = a->circle ? a->circle[p.at] * (v - m) : v;
	}
}

/* ---------------------------------------------------------------- binning */

typedef struct {
	cyc_pair *ft;        /**< n x s x sh */
	const cyc_pair *big; /**< n x stride: S x (S/2 + 1) */
	int64_t stride;
	const cyc_pair *ramps; /**< n x (s/2 + 1 + s): of the columns, then of the rows */
	int32_t S, s, radius;
} cyc_window_turn_args;
typedef cyc_no_shared cyc_window_turn_shared;
enum { CYC_WINDOW_TURN_LANES = 256 };

CYC_ON_DEVICE cyc_pair cyc_turned(cyc_pair from, cyc_pair by_x, cyc_pair by_y)
{
	float u = by_x.re * by_y.re - by_x.im * by_y.im, v = by_x.re * by_y.im + by_x.im * by_y.re;
	return cyc_pair_of(from.re * u - from.im * v, from.re * v + from.im * u);
}

CYC_KERNEL(window_turn)
{
	int32_t s = a->s, sh_ = s / 2 + 1, plane = s * sh_;
	(void)sh;
	CYC_LANES(lane)
	{
		cyc_place p = cyc_place_of(block, lane, CYC_WINDOW_TURN_LANES, plane);
		if (p.at >= plane) continue;
		int32_t x = p.at % sh_, y = p.at / sh_, ky = y < s / 2 ? y : y - s;
		const cyc_pair *ramps = a->ramps + p.plane * (sh_ + s);
		cyc_pair v = { 0, 0 };
		if (x <= a->radius && ky <= a->radius && -ky <= a->radius) {
			int64_t row = ky < 0 ? ky + a->S : ky;
			v = cyc_turned(a->big[p.plane * a->stride + row * (a->S / 2 + 1) + x], ramps[x], ramps[sh_ + y]);
		}
		a->ft[p.plane * plane + p.at] = v;
	}
}

#endif

/**
 * @file kernels/correlate.h
 * Local correlation (T6.2) in two steps, as the reference has it: the products of each row, turned by each
 * displacement in x, then the sum over the rows for each displacement in y.
 */
#ifndef CYC_KERNEL_CORRELATE_H
#define CYC_KERNEL_CORRELATE_H

#include "backends/kernels/dialect.h"

typedef struct {
	float *rows_re, *rows_im; /**< n x (2 radius + 1) x n_grid */
	double *curve_rows;       /**< n x (2 radius + 1) x 3: sums of 1, kx, kx^2 */
	const cyc_pair *ft, *prediction;
	const float *ctf;
	const cyc_pair *phase;
	const float *weight, *own;
	const float *ex_re, *ex_im; /**< (radius + 1) x n_grid: exp(2 pi i x d / s) */
	int32_t radius, n_grid, s;
} cyc_correlate_rows_args;
enum { CYC_CORRELATE_ROWS_LANES = 64 };
typedef struct {
	float re[CYC_CORRELATE_ROWS_LANES], im[CYC_CORRELATE_ROWS_LANES];
	double power[CYC_CORRELATE_ROWS_LANES];
} cyc_correlate_rows_shared;

/* The product of one coefficient, and its part of the curvature. */
CYC_ON_DEVICE double cyc_correlate_product(cyc_pair *out, const cyc_correlate_rows_args *a, int64_t at,
                                           int32_t j)
{
	cyc_pair X = a->ft[at], V = a->prediction[at], v;
	v = a->phase ? cyc_product(V, a->phase[j]) : V;
	float w = a->weight[j], c = a->ctf[at];
	float own = a->own ? a->own[j] * c * c * (X.re * X.re + X.im * X.im) : 0;
	out->re = w * (-c * (X.re * v.re + X.im * v.im) - own);
	out->im = -w * c * (X.im * v.re - X.re * v.im);
	return (double)(w * c * c * (v.re * v.re + v.im * v.im));
}

/* A block has a row of a particle and, of the displacements in x, as many as it has lanes. */
CYC_KERNEL(correlate_rows)
{
	CYC_PER_LANE(cyc_pair, sum, CYC_CORRELATE_ROWS_LANES);
	CYC_PER_LANE(double, p0, CYC_CORRELATE_ROWS_LANES);
	CYC_PER_LANE(double, p1, CYC_CORRELATE_ROWS_LANES);
	CYC_PER_LANE(double, p2, CYC_CORRELATE_ROWS_LANES);
	int32_t n_parts = (a->n_grid + CYC_CORRELATE_ROWS_LANES - 1) / CYC_CORRELATE_ROWS_LANES,
			n_rows = 2 * a->radius + 1, part = (int32_t)(block.index % n_parts);
	int64_t row = block.index / n_parts, i = row / n_rows;
	int32_t ky = (int32_t)(row % n_rows) - a->radius, y = ky < 0 ? ky + a->s : ky, sh_ = a->s / 2 + 1;
	int32_t count = (int32_t)sqrt((double)(a->radius * a->radius - ky * ky)) + 1;
	CYC_LANES(lane)
	{
		CYC_MINE(sum).re = CYC_MINE(sum).im = 0;
		CYC_MINE(p0) = CYC_MINE(p1) = CYC_MINE(p2) = 0;
	}
	for (int32_t first = 0; first < count; first += CYC_CORRELATE_ROWS_LANES) {
		int32_t n = count - first < CYC_CORRELATE_ROWS_LANES ? count - first : CYC_CORRELATE_ROWS_LANES;
		CYC_LANES(lane)
		{
			if (lane < n) {
				cyc_pair g;
				int32_t j = y * sh_ + first + lane;
				sh->power[lane] = cyc_correlate_product(&g, a, i * a->s * sh_ + j, j);
				sh->re[lane] = g.re;
				sh->im[lane] = g.im;
			}
			CYC_BARRIER(lane);
			int32_t d = part * CYC_CORRELATE_ROWS_LANES + lane;
			for (int32_t k = 0; k < n && d < a->n_grid; k++) {
				float u = sh->re[k], v = sh->im[k];
				int64_t at = (int64_t)(first + k) * a->n_grid + d;
				CYC_MINE(sum).re += u * a->ex_re[at] - v * a->ex_im[at];
				CYC_MINE(sum).im += u * a->ex_im[at] + v * a->ex_re[at];
			}
			for (int32_t k = 0; k < n && lane == CYC_CORRELATE_ROWS_LANES - 1 && part == 0; k++) {
				double p = sh->power[k];
				int32_t x = first + k;
				CYC_MINE(p0) += p;
				CYC_MINE(p1) += p * x;
				CYC_MINE(p2) += p * x * x;
			}
		}
	}
	CYC_LANES(lane)
	{
		int32_t d = part * CYC_CORRELATE_ROWS_LANES + lane;
		if (d < a->n_grid) {
			a->rows_re[row * a->n_grid + d] = CYC_MINE(sum).re;
			a->rows_im[row * a->n_grid + d] = CYC_MINE(sum).im;
		}
		if (lane == CYC_CORRELATE_ROWS_LANES - 1 && part == 0) {
			a->curve_rows[3 * row] = CYC_MINE(p0);
			a->curve_rows[3 * row + 1] = CYC_MINE(p1);
			a->curve_rows[3 * row + 2] = CYC_MINE(p2);
		}
	}
}

/* ---------------------------------------------------------------- the sum over rows */

typedef struct {
	float *maps;    /**< n x n_grid x n_grid */
	double *curves; /**< n x 4: 1, xx, xy, yy */
	const float *rows_re, *rows_im;
	const double *curve_rows;
	const float *ey_re, *ey_im; /**< (2 radius + 1) x n_grid */
	int32_t radius, n_grid;
} cyc_correlate_maps_args;
typedef cyc_no_shared cyc_correlate_maps_shared;
enum { CYC_CORRELATE_MAPS_LANES = 128 };

CYC_ON_DEVICE void cyc_add_curves(const cyc_correlate_maps_args *a, int64_t i)
{
	double c[4] = { 0, 0, 0, 0 };
	for (int32_t ky = -a->radius; ky <= a->radius; ky++) {
		const double *p = a->curve_rows + 3 * (i * (2 * a->radius + 1) + ky + a->radius);
		c[0] += p[0];
		c[1] += p[2];
		c[2] += p[1] * ky;
		c[3] += p[0] * ky * ky;
	}
	for (int32_t k = 0; k < 4; k++) a->curves[4 * i + k] = c[k];
}

/* A lane has one displacement; the first of a particle its curvature, too. */
CYC_KERNEL(correlate_maps)
{
	int32_t n_grid = a->n_grid, count = n_grid * n_grid, n_rows = 2 * a->radius + 1;
	(void)sh;
	CYC_LANES(lane)
	{
		cyc_place p = cyc_place_of(block, lane, CYC_CORRELATE_MAPS_LANES, count);
		if (p.at >= count) continue;
		int32_t x = p.at % n_grid, y = p.at / n_grid;
		float map = 0;
		for (int32_t row = 0; row < n_rows; row++) {
			int64_t from = (p.plane * n_rows + row) * n_grid + x, turn = (int64_t)row * n_grid + y;
			map += a->rows_re[from] * a->ey_re[turn] - a->rows_im[from] * a->ey_im[turn];
		}
		a->maps[p.plane * count + p.at] = map;
		if (p.at == 0) cyc_add_curves(a, p.plane);
	}
}

#endif

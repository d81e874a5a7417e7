/**
 * @file kernels/poses.h
 * What images say at poses (T8.3). A block has one image at one pose: each lane adds up one column of a block
 * of coefficients, then the columns and blocks are added in their order.
 */
#ifndef CYC_KERNEL_POSES_H
#define CYC_KERNEL_POSES_H

#include "backends/kernels/dialect.h"
#include "backends/pose_rows.h"
#include "backends/turns.h"

/** The images and references of a call, in the memory of the device. */
typedef struct {
	const float *fx, *fy;
	const int32_t *shell;
	const cyc_pair *data;
	const float *weight;
	const cyc_pair *maps[CYC_MOST_POSE_MAPS];
	const float *spread[CYC_MOST_POSE_MAPS]; /**< NULL: none */
	double zoom[CYC_MOST_POSE_MAPS];
	int32_t edge[CYC_MOST_POSE_MAPS], box_px;
} cyc_pose_inputs;

/* ---------------------------------------------------------------- ramps */

/** exp(2 pi i k d / box): of each row reach + 1 values for kx = 0 .., then 2 reach + 1 for ky = -reach .. */
typedef struct {
	cyc_pair *ramps; /**< n x (3 reach + 2) */
	const cyc_pose_row *rows;
	int64_t n;
	int32_t reach, box_px; /**< reach: of all rows */
} cyc_pose_ramps_args;
typedef cyc_no_shared cyc_pose_ramps_shared;
enum { CYC_POSE_RAMPS_LANES = 128 };

CYC_ON_DEVICE cyc_pair cyc_pose_turn(int32_t k, double shift_px, int32_t box_px)
{
	double sn, cs;
	cyc_sincos_turns_double(&sn, &cs, k * shift_px / box_px);
	return cyc_pair_of((float)cs, (float)sn);
}

CYC_KERNEL(pose_ramps)
{
	int32_t width = 3 * a->reach + 2;
	(void)sh;
	CYC_LANES(lane)
	{
		int64_t at = block.index * CYC_POSE_RAMPS_LANES + lane;
		if (at >= a->n * width) continue;
		const cyc_pose_row *r = a->rows + at / width;
		int32_t k = (int32_t)(at % width);
		bool is_x = k <= a->reach;
		a->ramps[at] = cyc_pose_turn(is_x ? k : k - 2 * a->reach - 1, r->shift_px[is_x ? 0 : 1], a->box_px);
	}
}

/* ---------------------------------------------------------------- terms */

typedef struct {
	double *sums; /**< n x CYC_N_POSE_TERMS */
	cyc_pose_inputs in;
	const cyc_pose_row *rows;
	const cyc_pair *ramps;
	int32_t reach;
} cyc_pose_terms_args;
enum { CYC_POSE_TERMS_LANES = 128, CYC_POSE_AT_ONCE = CYC_POSE_TERMS_LANES / CYC_POSE_LANES };
typedef struct {
	float columns[CYC_N_POSE_TERMS][CYC_POSE_TERMS_LANES];
	double blocks[CYC_N_POSE_TERMS][CYC_POSE_AT_ONCE];
} cyc_pose_terms_shared;

/** Value and slopes along the axes of a reference (per index). */
typedef struct {
	cyc_pair value, slope[3];
} cyc_pose_slopes;

CYC_ON_DEVICE cyc_pair cyc_pose_less(cyc_pair a, cyc_pair b)
{
	a.re -= b.re;
	a.im -= b.im;
	return a;
}
/* a + t d */
CYC_ON_DEVICE cyc_pair cyc_pose_along(cyc_pair a, float t, cyc_pair d)
{
	a.re = a.re + t * d.re;
	a.im = a.im + t * d.im;
	return a;
}

/* One of two neighbours in x of a cell: its value and slopes along y and z. */
CYC_ON_DEVICE void cyc_pose_side(cyc_pair *value, cyc_pair *dy, cyc_pair *dz, const cyc_pair *const p[4],
                                 float fy, float fz, int32_t x)
{
	cyc_pair a = p[0][x], b = p[1][x], c = p[2][x], d = p[3][x];
	cyc_pair dy_low = cyc_pose_less(b, a), dy_high = cyc_pose_less(d, c);
	cyc_pair low = cyc_pose_along(a, fy, dy_low), high = cyc_pose_along(c, fy, dy_high);
	*dz = cyc_pose_less(high, low);
	*value = cyc_pose_along(low, fz, *dz);
	*dy = cyc_pose_along(dy_low, fz, cyc_pose_less(dy_high, dy_low));
}

/* V(-k) = V(k)*: slopes of the mirrored half change sign, and so does the imaginary part once more. */
CYC_ON_DEVICE cyc_pose_slopes cyc_pose_look_up(const cyc_pair *F, int32_t edge, float x, float y, float z)
{
	float mirror = x < 0 ? -1.F : 1.F, rim = (float)(edge / 2 - 1), low = -rim - 1;
	x *= mirror;
	y *= mirror;
	z *= mirror;
	x = x < rim ? x : rim;
	y = y < rim ? y : rim;
	y = y > low ? y : low;
	z = z < rim ? z : rim;
	z = z > low ? z : low;
	float yf = floorf(y), zf = floorf(z);
	int32_t x0 = (int32_t)x, y0 = (int32_t)yf, z0 = (int32_t)zf, y1 = y0 + 1, z1 = z0 + 1;
	float fx = x - (float)x0, fy = y - yf, fz = z - zf;
	if (y0 < 0) y0 += edge;
	if (y1 < 0) y1 += edge;
	if (z0 < 0) z0 += edge;
	if (z1 < 0) z1 += edge;
	int64_t width = edge / 2 + 2, slab = width * edge;
	const cyc_pair *at = F + x0;
	const cyc_pair *const p[4] = { at + z0 * slab + y0 * width, at + z0 * slab + y1 * width,
		                           at + z1 * slab + y0 * width, at + z1 * slab + y1 * width };
	cyc_pair value[2], dy[2], dz[2];
	for (int32_t side = 0; side < 2; side++)
		cyc_pose_side(&value[side], &dy[side], &dz[side], p, fy, fz, side);
	cyc_pair dx = cyc_pose_less(value[1], value[0]);
	cyc_pose_slopes s;
	s.value = cyc_pose_along(value[0], fx, dx);
	s.value.im = mirror * s.value.im;
	s.slope[0] = dx;
	s.slope[1] = cyc_pose_along(dy[0], fx, cyc_pose_less(dy[1], dy[0]));
	s.slope[2] = cyc_pose_along(dz[0], fx, cyc_pose_less(dz[1], dz[0]));
	for (int32_t k = 0; k < 3; k++) s.slope[k].re = mirror * s.slope[k].re;
	return s;
}

/* What a coefficient's data and weight are multiplied by where the prediction is uncertain. (T8.19) */
CYC_ON_DEVICE float cyc_pose_share(const cyc_pose_inputs *in, const cyc_pose_row *r, int32_t j)
{
	const float *spread = in->spread[r->map];
	float s2 = (float)(r->amplitude * r->amplitude);
	return spread ? 1 / (1 + s2 * in->weight[r->first + j] * spread[in->shell[j]]) : 1;
}

/* The part of one coefficient. */
CYC_ON_DEVICE void cyc_pose_add(float *sum, const cyc_pose_terms_args *a, const cyc_pose_row *r,
                                const cyc_pair *ramps, int32_t j)
{
	const cyc_pose_inputs *in = &a->in;
	float kx = in->fx[j], ky = in->fy[j], s = (float)r->amplitude,
		  per_px = (float)(6.28318530717958647692 / in->box_px);
	float q0 = r->x[0] * kx + r->y[0] * ky, q1 = r->x[1] * kx + r->y[1] * ky,
		  q2 = r->x[2] * kx + r->y[2] * ky;
	cyc_pose_slopes g = cyc_pose_look_up(in->maps[r->map], in->edge[r->map], q0, q1, q2);
	float share = cyc_pose_share(in, r, j), weight = share * in->weight[r->first + j];
	cyc_pair turn = cyc_product(ramps[(int32_t)kx], ramps[2 * a->reach + 1 + (int32_t)ky]);
	cyc_pair y = cyc_product(in->data[r->first + j], turn), v = g.value, d[5], left;
	y.re = share * y.re;
	y.im = share * y.im;
	d[0].re = q2 * g.slope[1].re - q1 * g.slope[2].re;
	d[0].im = q2 * g.slope[1].im - q1 * g.slope[2].im;
	d[1].re = q0 * g.slope[2].re - q2 * g.slope[0].re;
	d[1].im = q0 * g.slope[2].im - q2 * g.slope[0].im;
	d[2].re = q1 * g.slope[0].re - q0 * g.slope[1].re;
	d[2].im = q1 * g.slope[0].im - q0 * g.slope[1].im;
	d[3].re = per_px * kx * v.im;
	d[3].im = -per_px * kx * v.re;
	d[4].re = per_px * ky * v.im;
	d[4].im = -per_px * ky * v.re;
	left.re = y.re - s * weight * v.re;
	left.im = y.im - s * weight * v.im;
	sum[CYC_POSE_CROSS] += y.re * v.re + y.im * v.im;
	sum[CYC_POSE_POWER] += weight * (v.re * v.re + v.im * v.im);
	for (int32_t i = 0, p = CYC_POSE_PRODUCTS; i < 5; i++) {
		sum[CYC_POSE_SLOPES + i] += left.re * d[i].re + left.im * d[i].im;
		for (int32_t k = 0; k <= i; k++, p++) sum[p] += weight * (d[i].re * d[k].re + d[i].im * d[k].im);
	}
}

CYC_KERNEL(pose_terms)
{
	CYC_PER_LANE(double, total, CYC_POSE_TERMS_LANES);
	const cyc_pose_row *r = a->rows + block.index;
	const cyc_pair *ramps = a->ramps + block.index * (3 * a->reach + 2);
	CYC_LANES(lane) { CYC_MINE(total) = 0; }
	for (int32_t first = 0; first < r->n; first += CYC_POSE_AT_ONCE * CYC_POSE_BLOCK) {
		CYC_LANES(lane)
		{
			float sum[CYC_N_POSE_TERMS];
			int32_t begin = first + lane / CYC_POSE_LANES * CYC_POSE_BLOCK, end = begin + CYC_POSE_BLOCK;
			if (end > r->n) end = r->n;
			for (int32_t k = 0; k < CYC_N_POSE_TERMS; k++) sum[k] = 0;
			for (int32_t j = begin + lane % CYC_POSE_LANES; j < end; j += CYC_POSE_LANES)
				cyc_pose_add(sum, a, r, ramps, j);
			for (int32_t k = 0; k < CYC_N_POSE_TERMS; k++) sh->columns[k][lane] = sum[k];
			CYC_BARRIER(lane);
			for (int32_t i = lane; i < CYC_N_POSE_TERMS * CYC_POSE_AT_ONCE; i += CYC_POSE_TERMS_LANES) {
				const float *columns = sh->columns[i / CYC_POSE_AT_ONCE];
				int32_t b = i % CYC_POSE_AT_ONCE;
				double part = 0;
				for (int32_t l = 0; l < CYC_POSE_LANES; l++) part += (double)columns[b * CYC_POSE_LANES + l];
				sh->blocks[i / CYC_POSE_AT_ONCE][b] = part;
			}
			CYC_BARRIER(lane);
			for (int32_t b = 0; b < CYC_POSE_AT_ONCE && lane < CYC_N_POSE_TERMS; b++)
				CYC_MINE(total) += sh->blocks[lane][b];
		}
	}
	CYC_LANES(lane)
	{
		if (lane < CYC_N_POSE_TERMS) a->sums[block.index * CYC_N_POSE_TERMS + lane] = CYC_MINE(total);
	}
}

#endif

/**
 * @file kernels/slice_insert.h
 * Insertion by gathering (T2.2), (T2.10): a lane has one voxel, a block a brick of 8 x 4 x 4 voxels. The
 * block first finds the slices that come near its brick, then each lane rounds and adds up what these give
 * its voxel: a sum has one writer.
 */
#ifndef CYC_KERNEL_SLICE_INSERT_H
#define CYC_KERNEL_SLICE_INSERT_H

#include "backends/kernels/dialect.h"

/** A slice to be inserted: of M, what voxel (x, y, z) needs. */
typedef struct {
	double u[2], v[2], h[2]; /**< per y and z */
	float ux, vx, hx;        /**< per x */
	float inverse;           /**< 1 / hx; 0: the slice is parallel to x */
	int32_t radius;          /**< in voxels, that of the ball at most */
	int32_t image;           /**< its packed values */
} cyc_inserted;
typedef struct {
	int64_t *sum;           /**< ball.count x 3 */
	const uint64_t *first;  /**< of each row of the ball */
	const cyc_quad *packed; /**< images x (s + 4) x (s/2 + 2) */
	const cyc_inserted *slices;
	unsigned char *is_bad; /**< per block: a value is too large or not a number */
	double scale[2], limit;
	int32_t n, s, top;
	int32_t R, reach; /**< largest radius, and largest |y|, |z| of any voxel that is added to */
	int32_t inner;    /**< voxels within are left out; -1: none */
} cyc_slice_insert_args;
enum {
	CYC_SLICE_INSERT_LANES = 128,
	CYC_BRICK_X = 8,
	CYC_BRICK_Y = 4,
	CYC_BRICK_Z = 4,
};
typedef struct {
	unsigned char is_near[CYC_SLICE_INSERT_LANES], is_bad[CYC_SLICE_INSERT_LANES];
} cyc_slice_insert_shared;

typedef struct {
	int32_t x, y, z;
} cyc_voxel;

static inline int64_t cyc_n_bricks(int32_t R, int32_t reach)
{
	return cyc_n_blocks(R + 1, CYC_BRICK_X) * cyc_n_blocks(2 * reach + 1, CYC_BRICK_Y) *
	       cyc_n_blocks(2 * reach + 1, CYC_BRICK_Z);
}

/* The corner of a brick, from which x, y and z grow. */
CYC_ON_DEVICE cyc_voxel cyc_brick(const cyc_slice_insert_args *a, int64_t block)
{
	int32_t n_x = (a->R + CYC_BRICK_X) / CYC_BRICK_X, n_y = (2 * a->reach + CYC_BRICK_Y) / CYC_BRICK_Y;
	cyc_voxel v;
	v.x = (int32_t)(block % n_x) * CYC_BRICK_X;
	v.y = (int32_t)(block / n_x % n_y) * CYC_BRICK_Y - a->reach;
	v.z = (int32_t)(block / n_x / n_y) * CYC_BRICK_Z - a->reach;
	return v;
}

/* Distance of the interval [from, from + n - 1] from 0. */
CYC_ON_DEVICE int32_t cyc_distance(int32_t from, int32_t n)
{
	return from > 0 ? from : from + n - 1 < 0 ? -(from + n - 1) : 0;
}

CYC_ON_DEVICE bool cyc_is_beyond(cyc_voxel v, int32_t R)
{
	int32_t x = cyc_distance(v.x, CYC_BRICK_X), y = cyc_distance(v.y, CYC_BRICK_Y),
			z = cyc_distance(v.z, CYC_BRICK_Z);
	return (int64_t)x * x + (int64_t)y * y + (int64_t)z * z > (int64_t)R * R;
}

/* Whether a slice may reach the brick at v: the distance of its centre, with room for rounding. */
CYC_ON_DEVICE bool cyc_is_near(const cyc_inserted *l, cyc_voxel v)
{
	double rx = 0.5 * (CYC_BRICK_X - 1), ry = 0.5 * (CYC_BRICK_Y - 1), rz = 0.5 * (CYC_BRICK_Z - 1);
	double h = (double)l->hx * (v.x + rx) + l->h[0] * (v.y + ry) + l->h[1] * (v.z + rz);
	return fabs(h) < 1.01 + fabs((double)l->hx) * rx + fabs(l->h[0]) * ry + fabs(l->h[1]) * rz;
}

/* Bilinear look-up; the slice holds u >= 0, the other half is the conjugate of its mirror image. */
CYC_ON_DEVICE cyc_quad cyc_look_up(const cyc_quad *slice, int32_t s, float u, float v)
{
	float mirror = u < 0 ? -1.F : 1.F, row_of_zero = (float)(s / 2 + 1);
	u *= mirror;
	v *= mirror;
	int32_t u0 = (int32_t)u, v0 = (int32_t)(v + row_of_zero), width = s / 2 + 2;
	float fu = u - (float)u0, fv = v + row_of_zero - (float)v0;
	const cyc_quad *p = slice + (int64_t)v0 * width + u0, *q = p + width;
	cyc_quad a = p[0], b = p[1], c = q[0], d = q[1], r;
	float low_re = a.re + fu * (b.re - a.re), high_re = c.re + fu * (d.re - c.re);
	float low_im = a.im + fu * (b.im - a.im), high_im = c.im + fu * (d.im - c.im);
	float low_weight = a.weight + fu * (b.weight - a.weight),
		  high_weight = c.weight + fu * (d.weight - c.weight);
	r.re = low_re + fv * (high_re - low_re);
	r.im = (low_im + fv * (high_im - low_im)) * mirror;
	r.weight = low_weight + fv * (high_weight - low_weight);
	r.none = 0;
	return r;
}

/*
 * What a slice adds to a voxel of its sphere; false: nothing. The voxels of a row are those of the interval
 * of |h| < 1, rounded as the reference rounds it, for what lies at its ends.
 */
CYC_ON_DEVICE bool cyc_value_at(cyc_quad *out, const cyc_slice_insert_args *a, const cyc_inserted *l,
                                cyc_voxel v)
{
	float h = (float)(l->h[0] * v.y + l->h[1] * v.z), x = (float)v.x;
	if (l->inverse != 0) {
		float p = (-1 - h) * l->inverse, q = (1 - h) * l->inverse, low = p < q ? p : q, high = p < q ? q : p;
		if (high < 0 || (low > 0 && x < ceilf(low)) || x > floorf(high)) return false;
	} else if (fabsf(h) >= 1) {
		return false;
	}
	float weight = 1 - fabsf(h + l->hx * x);
	if (!(weight > 0)) weight = 0;
	cyc_quad r = cyc_look_up(a->packed + l->image * (int64_t)((a->s + 4) * (a->s / 2 + 2)), a->s,
	                         (float)(l->u[0] * v.y + l->u[1] * v.z) + l->ux * x,
	                         (float)(l->v[0] * v.y + l->v[1] * v.z) + l->vx * x);
	out->re = weight * r.re;
	out->im = weight * r.im;
	out->weight = weight * r.weight;
	out->none = 0;
	return true;
}

/* Rounds to the nearest integer and adds: 1.5 x 2^52 leaves it in the last bits of a number below 2^51. */
CYC_ON_DEVICE bool cyc_add_rounded(int64_t *to, double value, double limit)
{
	const double ROUNDER = 6755399441055744.0;
	double shifted = value + ROUNDER;
	int64_t bits, rounder;
	memcpy(&bits, &shifted, sizeof bits);
	memcpy(&rounder, &ROUNDER, sizeof rounder);
	*to = (int64_t)((uint64_t)*to + (uint64_t)bits - (uint64_t)rounder);
	return fabs(value) <= limit;
}

/** What a voxel is given, in integers. */
typedef struct {
	int64_t re, im, weight;
} cyc_addition;

/* The slices of a list that come near; false: a value is bad. */
CYC_ON_DEVICE bool cyc_add_near(cyc_addition *sum, const cyc_slice_insert_args *a, cyc_voxel v, int32_t first,
                                const unsigned char *is_near)
{
	int32_t n = a->n - first < CYC_SLICE_INSERT_LANES ? a->n - first : CYC_SLICE_INSERT_LANES;
	int64_t r2 = (int64_t)v.x * v.x + (int64_t)v.y * v.y + (int64_t)v.z * v.z;
	bool is_good = true;
	if (a->inner >= 0 && r2 <= (int64_t)a->inner * a->inner) return true;
	for (int32_t i = 0; i < n; i++) {
		const cyc_inserted *l = &a->slices[first + i];
		cyc_quad value;
		if (!is_near[i] || r2 > (int64_t)l->radius * l->radius || !cyc_value_at(&value, a, l, v)) continue;
		bool re = cyc_add_rounded(&sum->re, (double)value.re * a->scale[0], a->limit),
			 im = cyc_add_rounded(&sum->im, (double)value.im * a->scale[0], a->limit),
			 weight = cyc_add_rounded(&sum->weight, (double)value.weight * a->scale[1], a->limit);
		is_good = re && im && weight && is_good;
	}
	return is_good;
}

CYC_ON_DEVICE void cyc_add_voxel(const cyc_slice_insert_args *a, cyc_voxel v, const cyc_addition *sum)
{
	int64_t row = (int64_t)(v.z + a->top) * (2 * a->top + 1) + (v.y + a->top);
	int64_t *to = a->sum + 3 * ((int64_t)a->first[row] + v.x);
	to[0] = (int64_t)((uint64_t)to[0] + (uint64_t)sum->re);
	to[1] = (int64_t)((uint64_t)to[1] + (uint64_t)sum->im);
	to[2] = (int64_t)((uint64_t)to[2] + (uint64_t)sum->weight);
}

CYC_KERNEL(slice_insert)
{
	CYC_PER_LANE(cyc_addition, sum, CYC_SLICE_INSERT_LANES);
	CYC_PER_LANE(cyc_voxel, voxel, CYC_SLICE_INSERT_LANES);
	cyc_voxel corner = cyc_brick(a, block.index);
	if (cyc_is_beyond(corner, a->R)) {
		CYC_LANES(lane)
		if (lane == 0) a->is_bad[block.index] = 0;
		return;
	}
	CYC_LANES(lane)
	{
		cyc_addition zero = { 0, 0, 0 };
		cyc_voxel v = corner;
		v.x += lane % CYC_BRICK_X;
		v.y += lane / CYC_BRICK_X % CYC_BRICK_Y;
		v.z += lane / (CYC_BRICK_X * CYC_BRICK_Y);
		CYC_MINE(voxel) = v;
		CYC_MINE(sum) = zero;
		sh->is_bad[lane] = 0;
	}
	for (int32_t first = 0; first < a->n; first += CYC_SLICE_INSERT_LANES) {
		CYC_LANES(lane)
		{
			sh->is_near[lane] = first + lane < a->n && cyc_is_near(&a->slices[first + lane], corner);
			CYC_BARRIER(lane);
			/* Voxels beyond the ball are beyond every slice's radius, but for the planes above its top. */
			if (CYC_MINE(voxel).y <= a->reach && CYC_MINE(voxel).z <= a->reach &&
			    !cyc_add_near(&CYC_MINE(sum), a, CYC_MINE(voxel), first, sh->is_near))
				sh->is_bad[lane] = 1;
		}
	}
	CYC_LANES(lane)
	{
		cyc_voxel v = CYC_MINE(voxel);
		int64_t r2 = (int64_t)v.x * v.x + (int64_t)v.y * v.y + (int64_t)v.z * v.z;
		if (r2 <= (int64_t)a->R * a->R && v.y <= a->reach && v.z <= a->reach)
			cyc_add_voxel(a, v, &CYC_MINE(sum));
		CYC_BARRIER(lane);
		unsigned char is_bad = 0;
		for (int32_t i = 0; i < CYC_SLICE_INSERT_LANES && lane == 0; i++) is_bad |= sh->is_bad[i];
		if (lane == 0) a->is_bad[block.index] = is_bad;
	}
}

/* ---------------------------------------------------------------- whether any flag is set */

typedef struct {
	int32_t *out; /**< 1 or 0 */
	const unsigned char *flags;
	int64_t n;
} cyc_any_args;
enum { CYC_ANY_LANES = 256 };
typedef struct {
	int32_t any[CYC_ANY_LANES];
} cyc_any_shared;

CYC_KERNEL(any)
{
	(void)block;
	CYC_LANES(lane)
	{
		int32_t any = 0;
		for (int64_t i = lane; i < a->n; i += CYC_ANY_LANES) any |= a->flags[i];
		sh->any[lane] = any;
		CYC_BARRIER(lane);
		int32_t all = 0;
		for (int32_t i = 0; i < CYC_ANY_LANES && lane == 0; i++) all |= sh->any[i];
		if (lane == 0) *a->out = all;
	}
}

#endif

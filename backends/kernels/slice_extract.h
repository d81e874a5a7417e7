/** @file kernels/slice_extract.h  Central slices by trilinear look-up (T4.1): a lane has one coefficient. */
#ifndef CYC_KERNEL_SLICE_EXTRACT_H
#define CYC_KERNEL_SLICE_EXTRACT_H

#include "backends/kernels/dialect.h"

typedef struct {
	cyc_pair *ft;
	const cyc_pair *reference;
	const double *M;      /**< 9 per slice that is wanted */
	const int32_t *which; /**< their numbers in `ft` */
	int32_t m, edge, radius, s;
} cyc_slice_extract_args;
typedef cyc_no_shared cyc_slice_extract_shared;
enum { CYC_SLICE_EXTRACT_LANES = 128 };

CYC_ON_DEVICE cyc_pair cyc_between(cyc_pair a, cyc_pair b, float t)
{
	cyc_pair v;
	v.re = a.re + t * (b.re - a.re);
	v.im = a.im + t * (b.im - a.im);
	return v;
}

CYC_ON_DEVICE cyc_pair cyc_reference_at(const cyc_pair *F, int32_t edge, float x, float y, float z)
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
	const cyc_pair *p = F + x0, *p00 = p + z0 * slab + y0 * width, *p01 = p + z0 * slab + y1 * width,
				   *p10 = p + z1 * slab + y0 * width, *p11 = p + z1 * slab + y1 * width;
	cyc_pair near_x = cyc_between(cyc_between(p00[0], p01[0], fy), cyc_between(p10[0], p11[0], fy), fz);
	cyc_pair far_x = cyc_between(cyc_between(p00[1], p01[1], fy), cyc_between(p10[1], p11[1], fy), fz);
	cyc_pair v = cyc_between(near_x, far_x, fx);
	return cyc_pair_of(v.re, mirror * v.im);
}

CYC_KERNEL(slice_extract)
{
	int32_t s = a->s, sh_ = s / 2 + 1, plane = s * sh_;
	/* At the rim the neighbours beyond m/2 - 1 would wrap around. */
	int32_t R = a->radius < s / 2 - 1 ? a->radius : s / 2 - 1;
	(void)sh;
	CYC_LANES(lane)
	{
		cyc_place p = cyc_place_of(block, lane, CYC_SLICE_EXTRACT_LANES, plane);
		if (p.at >= plane) continue;
		int32_t x = p.at % sh_, y = p.at / sh_, ky = y < s / 2 ? y : y - s;
		const double *M = a->M + 9 * p.plane;
		double zoom = (double)a->m / s;
		cyc_pair v = { 0, 0 };
		if (x * x + ky * ky <= R * R)
			v = cyc_reference_at(a->reference, a->edge,
			                     (float)(zoom * M[3] * ky) + (float)(zoom * M[0]) * (float)x,
			                     (float)(zoom * M[4] * ky) + (float)(zoom * M[1]) * (float)x,
			                     (float)(zoom * M[5] * ky) + (float)(zoom * M[2]) * (float)x);
		a->ft[a->which[p.plane] * (int64_t)plane + p.at] = v;
	}
}

#endif

/** @file kernels/pack.h  What is inserted: (T2.1), (T7.6). A lane has one value of a packed slice. */
#ifndef CYC_KERNEL_PACK_H
#define CYC_KERNEL_PACK_H

#include "backends/kernels/dialect.h"

/* Rows -s/2-1 .. s/2+2 of the plane in order, columns 0 .. s/2+1; the last column is 0. */
typedef struct {
	int64_t from, to; /* in the planes, and in the packed slices */
	int32_t at;       /* in a plane; -1: the spare column */
} cyc_packed_place;
CYC_ON_DEVICE int32_t cyc_packed_values(int32_t s) { return (s + 4) * (s / 2 + 2); }
CYC_ON_DEVICE cyc_packed_place cyc_packed_place_of(cyc_place p, int32_t s)
{
	int32_t sh = s / 2 + 1, row = p.at / (sh + 1), x = p.at % (sh + 1), y = (row + s - s / 2 - 1) % s;
	cyc_packed_place q;
	q.at = x < sh ? y * sh + x : -1;
	q.from = p.plane * s * sh + q.at;
	q.to = p.plane * cyc_packed_values(s) + p.at;
	return q;
}

/* ---------------------------------------------------------------- observations */

typedef struct {
	cyc_quad *packed;
	const cyc_pair *ft;
	const float *ctf;
	const cyc_pair *phase;
	const float *whiten;
	const double *particle_weight;
	int32_t s;
} cyc_modulate_args;
typedef cyc_no_shared cyc_modulate_shared;
enum { CYC_MODULATE_LANES = 256 };

CYC_ON_DEVICE cyc_quad cyc_modulated(const cyc_modulate_args *a, cyc_packed_place q, int64_t i)
{
	float weight = a->particle_weight ? (float)a->particle_weight[i] : 1;
	float c = a->ctf ? a->ctf[q.from] : 1, w = a->whiten ? weight * a->whiten[q.at] : weight;
	cyc_pair d = a->ft[q.from];
	cyc_quad v;
	d.re = -(w * c) * d.re;
	d.im = -(w * c) * d.im;
	if (a->phase) d = cyc_product(d, cyc_conjugate(a->phase[q.at]));
	v.re = d.re;
	v.im = d.im;
	v.weight = w * c * c;
	v.none = 0;
	return v;
}

CYC_KERNEL(modulate)
{
	int32_t count = cyc_packed_values(a->s);
	(void)sh;
	CYC_LANES(lane)
	{
		cyc_place p = cyc_place_of(block, lane, CYC_MODULATE_LANES, count);
		if (p.at >= count) continue;
		cyc_packed_place q = cyc_packed_place_of(p, a->s);
		cyc_quad zero = { 0, 0, 0, 0 };
		a->packed[q.to] = q.at < 0 ? zero : cyc_modulated(a, q, p.plane);
	}
}

/* ---------------------------------------------------------------- images of an extraction */

typedef struct {
	cyc_quad *packed;
	const cyc_pair *ft;
	const float *ctf, *share, *rest;
	int32_t is_premultiplied, s;
} cyc_pack_args;
typedef cyc_no_shared cyc_pack_shared;
enum { CYC_PACK_LANES = 256 };

CYC_ON_DEVICE cyc_quad cyc_packed(const cyc_pack_args *a, cyc_packed_place q)
{
	float c = a->ctf[q.from], share = a->share[q.at], rest = a->rest[q.at];
	cyc_pair d = a->ft[q.from];
	bool is_unknown = share == 0 && rest == 0; /* beyond the dose cutoff: what the image has is not used */
	cyc_quad v;
	v.re = is_unknown ? 0 : a->is_premultiplied ? d.re : c * d.re;
	v.im = is_unknown ? 0 : a->is_premultiplied ? d.im : c * d.im;
	v.weight = share * c * c + rest;
	v.none = 0;
	return v;
}

CYC_KERNEL(pack)
{
	int32_t count = cyc_packed_values(a->s);
	(void)sh;
	CYC_LANES(lane)
	{
		cyc_place p = cyc_place_of(block, lane, CYC_PACK_LANES, count);
		if (p.at >= count) continue;
		cyc_packed_place q = cyc_packed_place_of(p, a->s);
		cyc_quad zero = { 0, 0, 0, 0 };
		a->packed[q.to] = q.at < 0 ? zero : cyc_packed(a, q);
	}
}

#endif

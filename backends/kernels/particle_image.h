/**
 * @file kernels/particle_image.h
 * Images of particles (T7.2): the weights of their transforms, and, after an inverse transform, the mean
 * outside the circle and the crop.
 */
#ifndef CYC_KERNEL_PARTICLE_IMAGE_H
#define CYC_KERNEL_PARTICLE_IMAGE_H

#include "backends/kernels/dialect.h"

typedef struct {
	cyc_pair *out; /**< n x stride: s x sh each */
	int64_t stride;
	double *totals; /**< n: sums of all pixels of the images */
	const cyc_pair *ft;
	const float *ctf;
	const cyc_pair *phase;
	const float *whiten;
	double factor;
	int32_t s;
} cyc_image_weigh_args;
typedef cyc_no_shared cyc_image_weigh_shared;
enum { CYC_IMAGE_WEIGH_LANES = 256 };

CYC_KERNEL(image_weigh)
{
	int32_t s = a->s, sh_ = s / 2 + 1, plane = s * sh_;
	(void)sh;
	CYC_LANES(lane)
	{
		cyc_place p = cyc_place_of(block, lane, CYC_IMAGE_WEIGH_LANES, plane);
		if (p.at >= plane) continue;
		int32_t x = p.at % sh_, y = p.at / sh_;
		int64_t from = p.plane * plane + p.at;
		/* The sign (-1)^(x+y) puts the phase origin on pixel s/2. */
		float row = (float)((y % 2 ? -a->factor : a->factor) / (double)s);
		float f = (x % 2 ? -row : row) * (a->ctf ? a->ctf[from] : 1) * (a->whiten ? a->whiten[p.at] : 1);
		cyc_pair v = a->ft[from];
		v.re = f * v.re;
		v.im = f * v.im;
		if (a->phase) v = cyc_product(v, cyc_conjugate(a->phase[p.at]));
		a->out[p.plane * a->stride + p.at] = v;
		if (p.at == 0) a->totals[p.plane] = (double)v.re * (double)((int64_t)s * s);
	}
}

/* ---------------------------------------------------------------- mean outside the circle */

typedef struct {
	float *means; /**< n */
	const float *real;
	int64_t stride; /**< of the images, s x s each */
	const double *totals;
	const float *circle; /**< c x c: weight; -1 marks what is outside the circle */
	double outside_count;
	int32_t s, c;
} cyc_image_means_args;
enum { CYC_IMAGE_MEANS_LANES = 128 };
typedef struct {
	double row[CYC_IMAGE_MEANS_LANES];
} cyc_image_means_shared;

/* A block has an image, a lane a row of it at a time. */
CYC_KERNEL(image_means)
{
	CYC_PER_LANE(double, sum, CYC_IMAGE_MEANS_LANES);
	int32_t s = a->s, c = a->c, rim = (s - c) / 2;
	const float *image = a->real + block.index * a->stride;
	CYC_LANES(lane)
	CYC_MINE(sum) = c < s && lane == 0 ? (double)image[(int64_t)(rim + c) * s + s / 2] +
	                                         (double)image[(int64_t)(s / 2) * s + rim + c]
	                                   : 0;
	for (int32_t first = 0; first < c; first += CYC_IMAGE_MEANS_LANES) {
		int32_t n = c - first < CYC_IMAGE_MEANS_LANES ? c - first : CYC_IMAGE_MEANS_LANES;
		CYC_LANES(lane)
		{
			int64_t y = first + lane;
			double row = 0;
			for (int32_t x = 0; x < c && lane < n; x++)
				if (a->circle[y * c + x] >= 0) row += (double)image[(y + rim) * s + rim + x];
			sh->row[lane] = row;
			CYC_BARRIER(lane);
			for (int32_t i = 0; i < n && lane == 0; i++) CYC_MINE(sum) += sh->row[i];
		}
	}
	CYC_LANES(lane)
	{
		if (lane > 0) continue;
		a->means[block.index] = (float)((a->totals[block.index] - CYC_MINE(sum)) / a->outside_count);
	}
}

/* ---------------------------------------------------------------- the crop */

typedef struct {
	float *images; /**< n x edge x edge */
	const float *real;
	int64_t stride;
	const float *means;  /**< n */
	const float *circle; /**< c x c, or NULL: neither circle nor mean are taken off */
	int32_t s, c, edge;
} cyc_image_cut_args;
typedef cyc_no_shared cyc_image_cut_shared;
enum { CYC_IMAGE_CUT_LANES = 256 };

CYC_KERNEL(image_cut)
{
	int32_t count = a->edge * a->edge, shift = (a->s - a->edge) / 2, rim = (a->edge - a->c) / 2;
	(void)sh;
	CYC_LANES(lane)
	{
		cyc_place p = cyc_place_of(block, lane, CYC_IMAGE_CUT_LANES, count);
		if (p.at >= count) continue;
		int32_t x = p.at % a->edge, y = p.at / a->edge, cx = x - rim, cy = y - rim;
		float v = a->real[p.plane * a->stride + (int64_t)(y + shift) * a->s + x + shift];
		if (a->circle) {
			bool is_inside = cx >= 0 && cx < a->c && cy >= 0 && cy < a->c;
			float circle = is_inside ? a->circle[(int64_t)cy * a->c + cx] : 0;
			v = circle > 0 ? circle * (v - a->means[p.plane]) : 0;
		}
		a->images[p.plane * count + p.at] = v;
	}
}

/* ---------------------------------------------------------------- a factor */

typedef struct {
	float *values;
	float factor;
	int64_t n;
} cyc_scale_args;
typedef cyc_no_shared cyc_scale_shared;
enum { CYC_SCALE_LANES = 256 };

CYC_KERNEL(scale)
{
	(void)sh;
	CYC_LANES(lane)
	{
		int64_t i = block.index * CYC_SCALE_LANES + lane;
		if (i < a->n) a->values[i] = a->values[i] * a->factor;
	}
}

#endif

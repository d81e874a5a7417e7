/** @file kernels/ctf_sums.h  Sums of CTF refinement (T4.3): a lane has one coefficient of all particles. */
#ifndef CYC_KERNEL_CTF_SUMS_H
#define CYC_KERNEL_CTF_SUMS_H

#include "backends/kernels/dialect.h"

typedef struct {
	double *sums; /**< 9 x s x sh, in the order of backend.h */
	const cyc_pair *ft, *prediction;
	const float *ctf, *quadrature;
	const cyc_pair *phase;
	const int32_t *which; /**< n: the particles that are added, in their order */
	int32_t radius, n, s;
} cyc_ctf_sums_args;
typedef cyc_no_shared cyc_ctf_sums_shared;
enum { CYC_CTF_SUMS_LANES = 128, CYC_CTF_SUMS_COUNT = 9 };

CYC_ON_DEVICE void cyc_add_particle(double *sum, const cyc_ctf_sums_args *a, int64_t at, int32_t j)
{
	cyc_pair X = a->ft[at], V = a->prediction[at], minus_X, v, product;
	v = a->phase ? cyc_product(V, a->phase[j]) : V;
	minus_X.re = -X.re;
	minus_X.im = -X.im;
	product = cyc_product(minus_X, cyc_conjugate(v));
	double power = (double)(v.re * v.re + v.im * v.im), observed = (double)(X.re * X.re + X.im * X.im);
	double re = (double)product.re, im = (double)product.im, c = (double)a->ctf[at],
		   q = (double)a->quadrature[at];
	sum[0] += power * c * c;
	sum[1] += power * c * q;
	sum[2] += power * q * q;
	sum[3] += re * c;
	sum[4] += im * c;
	sum[5] += re * q;
	sum[6] += im * q;
	sum[7] += observed * c * c;
	sum[8] += observed * c * q;
}

CYC_KERNEL(ctf_sums)
{
	int32_t sh_ = a->s / 2 + 1, plane = a->s * sh_;
	(void)sh;
	CYC_LANES(lane)
	{
		int32_t j = (int32_t)block.index * CYC_CTF_SUMS_LANES + lane;
		double sum[CYC_CTF_SUMS_COUNT];
		if (j >= plane) continue;
		int32_t x = j % sh_, y = j / sh_, ky = y < a->s / 2 ? y : y - a->s;
		if (x * x + ky * ky > a->radius * a->radius) continue;
		for (int32_t k = 0; k < CYC_CTF_SUMS_COUNT; k++) sum[k] = a->sums[(int64_t)k * plane + j];
		for (int32_t i = 0; i < a->n; i++) cyc_add_particle(sum, a, a->which[i] * (int64_t)plane + j, j);
		for (int32_t k = 0; k < CYC_CTF_SUMS_COUNT; k++) a->sums[(int64_t)k * plane + j] = sum[k];
	}
}

#endif

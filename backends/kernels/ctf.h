/** @file kernels/ctf.h  CTF and quadrature (T1.6): a lane has one coefficient. */
#ifndef CYC_KERNEL_CTF_H
#define CYC_KERNEL_CTF_H

#include "backends/kernels/dialect.h"
#include "backends/turns.h"

typedef struct {
	float *ctf, *quadrature; /**< n x s x sh; quadrature may be NULL */
	const float *turns, *envelope, *k2;
	const double *turns_per_k2;
	int32_t s;
} cyc_ctf_args;
typedef cyc_no_shared cyc_ctf_shared;
enum { CYC_CTF_LANES = 256 };

CYC_KERNEL(ctf)
{
	int32_t sh_ = a->s / 2 + 1, plane = a->s * sh_;
	(void)sh;
	CYC_LANES(lane)
	{
		cyc_place p = cyc_place_of(block, lane, CYC_CTF_LANES, plane);
		if (p.at >= plane) continue;
		int32_t x = p.at % sh_, y = p.at / sh_, ky = y < a->s / 2 ? y : y - a->s;
		int64_t to = p.plane * plane + p.at;
		float k2 = a->k2 ? a->k2[p.at] : (float)(x * x) + (float)(ky * ky), sn, cs;
		cyc_sincos_turns(&sn, &cs, a->turns[p.at] + (float)a->turns_per_k2[p.plane] * k2);
		a->ctf[to] = -a->envelope[p.at] * sn;
		if (a->quadrature) a->quadrature[to] = -a->envelope[p.at] * cs;
	}
}

#endif

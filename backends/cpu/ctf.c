#include "backends/cpu/cpu_internal.h"
#include "backends/turns.h"

typedef struct {
	float *ctf, *quadrature;
	const float *turns, *envelope, *k2;
	const double *turns_per_k2;
	int32_t s;
} work;

CYC_SIMD static void ctf_row(float *ctf, float *quadrature, const float *turns, const float *envelope,
                             float per_k2, float y2, int32_t sh)
{
	if (quadrature) {
		for (int32_t x = 0; x < sh; x++) {
			float sn, cs;
			cyc_sincos_turns(&sn, &cs, turns[x] + per_k2 * ((float)(x * x) + y2));
			ctf[x] = -envelope[x] * sn;
			quadrature[x] = -envelope[x] * cs;
		}
	} else {
		for (int32_t x = 0; x < sh; x++) {
			float sn, cs;
			cyc_sincos_turns(&sn, &cs, turns[x] + per_k2 * ((float)(x * x) + y2));
			ctf[x] = -envelope[x] * sn;
		}
	}
}

CYC_SIMD static void ctf_row_of(float *ctf, float *quadrature, const float *turns, const float *envelope,
                                float per_k2, const float *k2, int32_t sh)
{
	for (int32_t x = 0; x < sh; x++) {
		float sn, cs;
		cyc_sincos_turns(&sn, &cs, turns[x] + per_k2 * k2[x]);
		ctf[x] = -envelope[x] * sn;
		if (quadrature) quadrature[x] = -envelope[x] * cs;
	}
}

static cyc_status ctf_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	int32_t s = a->s, sh = s / 2 + 1;
	size_t plane = (size_t)s * (size_t)sh;
	for (int32_t y = 0; y < s; y++) {
		size_t row = (size_t)y * (size_t)sh;
		int32_t ky = y < s / 2 ? y : y - s;
		float *ctf = a->ctf + (size_t)i * plane + row,
			  *quadrature = a->quadrature ? a->quadrature + (size_t)i * plane + row : NULL;
		if (a->k2)
			ctf_row_of(ctf, quadrature, a->turns + row, a->envelope + row, (float)a->turns_per_k2[i],
			           a->k2 + row, sh);
		else
			ctf_row(ctf, quadrature, a->turns + row, a->envelope + row, (float)a->turns_per_k2[i],
			        (float)(ky * ky), sh);
	}
	return CYC_OK;
}

cyc_status cyc_ctf_cpu(void *self, float *ctf, float *quadrature, const cyc_ctf_in *in)
{
	work a = { .ctf = ctf,
		       .quadrature = quadrature,
		       .turns = cyc_buffer_address(in->turns),
		       .envelope = cyc_buffer_address(in->envelope),
		       .k2 = cyc_buffer_address(in->k2),
		       .turns_per_k2 = in->turns_per_k2,
		       .s = in->s };
	return cyc_parallel_for(in->n, ((cyc_cpu *)self)->n_threads, ctf_task, &a);
}

#include "backends/cpu/cpu_internal.h"

#include <math.h>

typedef struct {
	double *sums;
	const cyc_cfloat *ft, *prediction;
	const float *ctf, *quadrature;
	const cyc_cfloat *phase;
	const int8_t *use;
	int8_t select;
	int32_t radius, n, s;
} work;

CYC_SIMD static void add_row(double *sums, size_t plane, const cyc_cfloat *X, const cyc_cfloat *V,
                             const float *c, const float *q, const cyc_cfloat *phase, int32_t count)
{
	for (int32_t x = 0; x < count; x++) {
		cyc_cfloat v = phase ? V[x] * phase[x] : V[x], a = -X[x] * conjf(v);
		double power = (double)(crealf(v) * crealf(v) + cimagf(v) * cimagf(v)), re = (double)crealf(a),
			   im = (double)cimagf(a);
		double observed = (double)(crealf(X[x]) * crealf(X[x]) + cimagf(X[x]) * cimagf(X[x]));
		double cx = (double)c[x], qx = (double)q[x];
		sums[(size_t)x + CYC_SUM_CC * plane] += power * cx * cx;
		sums[(size_t)x + CYC_SUM_CQ * plane] += power * cx * qx;
		sums[(size_t)x + CYC_SUM_QQ * plane] += power * qx * qx;
		sums[(size_t)x + CYC_SUM_XC_RE * plane] += re * cx;
		sums[(size_t)x + CYC_SUM_XC_IM * plane] += im * cx;
		sums[(size_t)x + CYC_SUM_XQ_RE * plane] += re * qx;
		sums[(size_t)x + CYC_SUM_XQ_IM * plane] += im * qx;
		sums[(size_t)x + CYC_SUM_PC * plane] += observed * cx * cx;
		sums[(size_t)x + CYC_SUM_PQ * plane] += observed * cx * qx;
	}
}

/* One task a row: the particles are added in their order whatever the number of threads. */
static cyc_status row_task(void *arg, int64_t y, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	int32_t s = a->s, ky = y < s / 2 ? (int32_t)y : (int32_t)y - s;
	if (ky * ky > a->radius * a->radius) return CYC_OK;
	int32_t last = (int32_t)sqrt((double)(a->radius * a->radius - ky * ky));
	size_t sh = (size_t)(s / 2 + 1), plane = (size_t)s * sh, row = (size_t)y * sh;
	if (last > s / 2) last = s / 2;
	for (int32_t i = 0; i < a->n; i++) {
		size_t at = (size_t)i * plane + row;
		if (a->use && a->use[i] != a->select) continue;
		add_row(a->sums + row, plane, a->ft + at, a->prediction + at, a->ctf + at, a->quadrature + at,
		        a->phase ? a->phase + row : NULL, last + 1);
	}
	return CYC_OK;
}

cyc_status cyc_ctf_sums_cpu(void *self, double *sums, const cyc_ctf_sums_in *in)
{
	work a = { .sums = sums,
		       .ft = cyc_buffer_address(in->ft),
		       .prediction = cyc_buffer_address(in->prediction),
		       .ctf = cyc_buffer_address(in->ctf),
		       .quadrature = cyc_buffer_address(in->quadrature),
		       .phase = cyc_buffer_address(in->phase),
		       .use = in->use,
		       .select = in->select,
		       .radius = in->radius,
		       .n = in->n,
		       .s = in->s };
	return cyc_parallel_for(in->s, ((cyc_cpu *)self)->n_threads, row_task, &a);
}

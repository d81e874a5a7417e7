/*
 * Local correlation by two small matrix products: first over columns for each displacement in x, then over
 * rows for each in y. Nothing is interpolated, and the cost does not depend on how fine the grid is relative
 * to the pixels.
 */
#include "backends/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

typedef struct {
	const cyc_cpu *cpu;
	float *maps;
	double *curves;
	const cyc_cfloat *ft, *prediction;
	const float *ctf;
	const cyc_cfloat *phase;
	const float *weight, *own;
	int32_t radius, n_grid, width, s; /* width: n_grid rounded up to whole vectors */
	const float *ex_re, *ex_im;       /* (radius + 1) x width: exp(2 pi i x d / s) */
	const float *ey_re, *ey_im;       /* (2 radius + 1) x n_grid */
} work;

enum { VECTOR = 16 };

/* One row's products, turned by each displacement in x. */
CYC_SIMD static void turn_row(float *re, float *im, const float *g_re, const float *g_im, int32_t count,
                              const float *ex_re, const float *ex_im, int32_t width)
{
	for (int32_t j = 0; j < width; j++) re[j] = im[j] = 0;
	for (int32_t x = 0; x < count; x++) {
		float a = g_re[x], b = g_im[x];
		const float *c = ex_re + (size_t)x * (size_t)width, *d = ex_im + (size_t)x * (size_t)width;
		for (int32_t j = 0; j < width; j++) {
			re[j] += a * c[j] - b * d[j];
			im[j] += a * d[j] + b * c[j];
		}
	}
}

CYC_SIMD static void add_rows(float *map, const float *re, const float *im, float c, float d, int32_t width)
{
	for (int32_t j = 0; j < width; j++) map[j] += re[j] * c - im[j] * d;
}

CYC_SIMD static void products(float *g_re, float *g_im, double *curve, const cyc_cfloat *X,
                              const cyc_cfloat *V, const float *ctf, const cyc_cfloat *phase,
                              const float *weight, const float *own, int32_t ky, int32_t count)
{
	double p0 = 0, p1 = 0, p2 = 0;
	for (int32_t x = 0; x < count; x++) {
		cyc_cfloat v = phase ? V[x] * phase[x] : V[x];
		float w = weight[x], c = ctf[x], a = crealf(X[x]), b = cimagf(X[x]), vr = crealf(v), vi = cimagf(v);
		float self = own ? own[x] * c * c * (a * a + b * b) : 0;
		g_re[x] = w * (-c * (a * vr + b * vi) - self);
		g_im[x] = -w * c * (b * vr - a * vi);
		double p = (double)(w * c * c * (vr * vr + vi * vi));
		p0 += p;
		p1 += p * x;
		p2 += p * x * x;
	}
	curve[CYC_CURVE_1] += p0;
	curve[CYC_CURVE_XX] += p2;
	curve[CYC_CURVE_XY] += p1 * ky;
	curve[CYC_CURVE_YY] += p0 * ky * ky;
}

static cyc_status correlate_task(void *arg, int64_t i, int i_thread)
{
	const work *a = arg;
	int32_t s = a->s, R = a->radius, n = a->n_grid, width = a->width;
	size_t sh = (size_t)(s / 2 + 1), plane = (size_t)s * sh;
	float *scratch = cyc__cpu_scratch_of(a->cpu, i_thread), *g_re = scratch, *g_im = g_re + sh,
		  *re = g_im + sh, *im = re + width, *map = im + width;
	double *curve = a->curves + i * CYC_N_CURVE;
	memset(map, 0, (size_t)n * (size_t)width * sizeof *map);
	memset(curve, 0, CYC_N_CURVE * sizeof *curve);
	for (int32_t ky = -R; ky <= R; ky++) {
		size_t row = (size_t)(ky < 0 ? ky + s : ky) * sh, at = (size_t)i * plane + row;
		int32_t count = (int32_t)sqrt((double)(R * R - ky * ky)) + 1;
		products(g_re, g_im, curve, a->ft + at, a->prediction + at, a->ctf + at,
		         a->phase ? a->phase + row : NULL, a->weight + row, a->own ? a->own + row : NULL, ky, count);
		turn_row(re, im, g_re, g_im, count, a->ex_re, a->ex_im, width);
		const float *c = a->ey_re + (size_t)(ky + R) * (size_t)n,
					*d = a->ey_im + (size_t)(ky + R) * (size_t)n;
		for (int32_t l = 0; l < n; l++) add_rows(map + (size_t)l * (size_t)width, re, im, c[l], d[l], width);
	}
	float *out = a->maps + (size_t)i * (size_t)n * (size_t)n;
	for (int32_t l = 0; l < n; l++)
		memcpy(out + (size_t)l * (size_t)n, map + (size_t)l * (size_t)width, (size_t)n * sizeof *out);
	return CYC_OK;
}

cyc_status cyc_correlate_cpu(void *self, float *maps, double *curves, const cyc_cfloat *ft,
                             const cyc_cfloat *prediction, const float *ctf, const cyc_cfloat *phase,
                             const float *weight, const float *own, int32_t radius, cyc_local_grid grid,
                             int32_t n, int32_t s)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	int32_t width = (grid.n + VECTOR - 1) / VECTOR * VECTOR;
	size_t nx = (size_t)(radius + 1) * (size_t)width, ny = (size_t)(2 * radius + 1) * (size_t)grid.n;
	float *tables = NULL;
	CYC_TRY(cyc_alloc(&tables, 2 * (nx + ny), sizeof *tables));
	float *ex_re = tables, *ex_im = ex_re + nx, *ey_re = ex_im + nx, *ey_im = ey_re + ny;
	for (int32_t j = 0; j < grid.n; j++) {
		double turn = 2 * CYC_PI * (j - grid.n / 2) * grid.step_px / s;
		for (int32_t x = 0; x <= radius; x++) {
			ex_re[(size_t)x * (size_t)width + (size_t)j] = (float)cos(turn * x);
			ex_im[(size_t)x * (size_t)width + (size_t)j] = (float)sin(turn * x);
		}
		for (int32_t y = -radius; y <= radius; y++) {
			ey_re[(size_t)(y + radius) * (size_t)grid.n + (size_t)j] = (float)cos(turn * y);
			ey_im[(size_t)(y + radius) * (size_t)grid.n + (size_t)j] = (float)sin(turn * y);
		}
	}
	CYC_TRY(cyc__cpu_scratch(cpu, n,
	                         (2 * (size_t)(s / 2 + 1) + 2 * (size_t)width + (size_t)grid.n * (size_t)width) *
	                             sizeof(float)));
	work a = { cpu,    maps,   curves, ft, prediction, ctf,   phase, weight, own,
		       radius, grid.n, width,  s,  ex_re,      ex_im, ey_re, ey_im };
	CYC_TRY(cyc_parallel_for(n, cpu->n_threads, correlate_task, &a));
done:
	cyc_free(tables);
	return st;
}

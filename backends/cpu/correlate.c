/*
 * Local correlation by two small matrix products: first over columns for each displacement in x, then over
 * rows for each in y. Nothing is interpolated, and the cost does not depend on how fine the grid is relative
 * to the pixels.
 */
#include "backends/cpu/cpu_internal.h"
#include "backends/tables.h"

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

/* One row of one particle. */
typedef struct {
	const cyc_cfloat *X, *V;
	const float *ctf;
	const cyc_cfloat *phase;
	const float *weight, *own;
	int32_t ky, count;
} row;

CYC_SIMD static void products(float *g_re, float *g_im, double *curve, const row *r)
{
	double p0 = 0, p1 = 0, p2 = 0;
	for (int32_t x = 0; x < r->count; x++) {
		cyc_cfloat v = r->phase ? r->V[x] * r->phase[x] : r->V[x];
		float w = r->weight[x], c = r->ctf[x], a = crealf(r->X[x]), b = cimagf(r->X[x]), vr = crealf(v),
			  vi = cimagf(v);
		float self = r->own ? r->own[x] * c * c * (a * a + b * b) : 0;
		g_re[x] = w * (-c * (a * vr + b * vi) - self);
		g_im[x] = -w * c * (b * vr - a * vi);
		double p = (double)(w * c * c * (vr * vr + vi * vi));
		p0 += p;
		p1 += p * x;
		p2 += p * x * x;
	}
	curve[CYC_CURVE_1] += p0;
	curve[CYC_CURVE_XX] += p2;
	curve[CYC_CURVE_XY] += p1 * r->ky;
	curve[CYC_CURVE_YY] += p0 * r->ky * r->ky;
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
		size_t first = (size_t)(ky < 0 ? ky + s : ky) * sh, at = (size_t)i * plane + first;
		int32_t count = (int32_t)sqrt((double)(R * R - ky * ky)) + 1;
		const row r = { .X = a->ft + at,
			            .V = a->prediction + at,
			            .ctf = a->ctf + at,
			            .phase = a->phase ? a->phase + first : NULL,
			            .weight = a->weight + first,
			            .own = a->own ? a->own + first : NULL,
			            .ky = ky,
			            .count = count };
		products(g_re, g_im, curve, &r);
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

cyc_status cyc_correlate_cpu(void *self, float *maps, double *curves, const cyc_correlate_in *in)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	int32_t width = (in->grid.n + VECTOR - 1) / VECTOR * VECTOR;
	size_t nx = (size_t)(in->radius + 1) * (size_t)width,
		   ny = (size_t)(2 * in->radius + 1) * (size_t)in->grid.n, sh = (size_t)(in->s / 2 + 1);
	float *tables = NULL;
	CYC_TRY(cyc_alloc(&tables, 2 * (nx + ny), sizeof *tables));
	float *ex = tables, *ey = ex + 2 * nx;
	work a = { .cpu = cpu,
		       .maps = maps,
		       .curves = curves,
		       .ft = cyc_buffer_address(in->ft),
		       .prediction = cyc_buffer_address(in->prediction),
		       .ctf = cyc_buffer_address(in->ctf),
		       .phase = cyc_buffer_address(in->phase),
		       .weight = cyc_buffer_address(in->weight),
		       .own = cyc_buffer_address(in->self),
		       .radius = in->radius,
		       .n_grid = in->grid.n,
		       .width = width,
		       .s = in->s,
		       .ex_re = ex,
		       .ex_im = ex + nx,
		       .ey_re = ey,
		       .ey_im = ey + ny };
	cyc__turn_table(ex, ex + nx, 0, in->radius, in->grid, (size_t)width, in->s);
	cyc__turn_table(ey, ey + ny, -in->radius, in->radius, in->grid, (size_t)in->grid.n, in->s);
	CYC_TRY(cyc__cpu_scratch(
		cpu, in->n, (2 * sh + 2 * (size_t)width + (size_t)in->grid.n * (size_t)width) * sizeof(float)));
	CYC_TRY(cyc_parallel_for(in->n, cpu->n_threads, correlate_task, &a));
done:
	cyc_free(tables);
	return st;
}

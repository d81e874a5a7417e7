#include "backends/cpu/cpu_internal.h"
#include "backends/turns.h"

#include <math.h>
#include <string.h>

_Static_assert((int)CYC_POSE_BLOCK <= (int)CYC_CELLS, "a block of coefficients is listed at once");
enum {
	LANES = CYC_POSE_LANES,
	BLOCK = CYC_POSE_BLOCK,
	N_IMAGE = 5,
	N_PRODUCTS = N_IMAGE * (N_IMAGE + 1) / 2
};
_Static_assert(CYC_POSE_SLOPES + N_IMAGE == CYC_POSE_PRODUCTS &&
                   CYC_POSE_PRODUCTS + N_PRODUCTS == CYC_N_POSE_TERMS,
               "three angles and two displacements");

/* The images and references of a call. */
typedef struct {
	double *sums;
	const float *fx, *fy;
	const int32_t *shell;
	const cyc_cfloat *data;
	const float *weight, *spread;
	const cyc_pose_images *images;
	const cyc_pose_row *rows;
	const cyc_cpu *cpu;
	int32_t reach;
} work;

/* What one block of coefficients needs: value and three slopes, shifted data, weights; re and im each. */
typedef struct {
	_Alignas(LANES * sizeof(float)) float v[8][BLOCK];
	float y[2][BLOCK], weight[BLOCK], kx[BLOCK], ky[BLOCK];
} block;

/* ---------------------------------------------------------------- data */

/* exp(2 pi i k d / box) for kx = 0 .. reach, then ky = -reach .. reach, re and im apart. */
typedef struct {
	float *x_re, *x_im, *y_re, *y_im; /* y: from ky = 0, negative ones before it */
} ramps;

static ramps ramps_of(void *scratch, int32_t reach)
{
	size_t nx = (size_t)reach + 1, ny = 2 * (size_t)reach + 1;
	float *p = scratch;
	return (ramps){ p, p + nx, p + 2 * nx + reach, p + 2 * nx + ny + reach };
}

CYC_SIMD static void fill_ramp(float *re, float *im, int32_t first, int32_t last, double shift_px,
                               int32_t box_px)
{
	for (int32_t k = first; k <= last; k++) {
		double sn, cs;
		cyc_sincos_turns_double(&sn, &cs, k * shift_px / box_px);
		re[k] = (float)cs;
		im[k] = (float)sn;
	}
}

/*
 * The data Y of n coefficients from j on, and their weights: the noise of an image is its own and that of its
 * prediction, 1/W + s^2 spread in units of the prediction. (T8.19)
 */
CYC_SIMD static void load(block *b, const work *a, const cyc_pose_row *r, const ramps *t, int32_t j,
                          int32_t n)
{
	const float *fx = a->fx + j, *fy = a->fy + j, *weight = a->weight + r->first + j;
	const float *data = (const float *)(a->data + r->first + j);
	const float *spread = a->images->has_spread[r->map]
	                          ? a->spread + (size_t)r->map * ((size_t)a->images->box_px / 2 + 1)
	                          : NULL;
	float s2 = (float)(r->amplitude * r->amplitude);
	for (int32_t i = 0; i < n; i++) {
		int32_t kx = (int32_t)fx[i], ky = (int32_t)fy[i];
		float share = spread ? 1 / (1 + s2 * weight[i] * spread[a->shell[j + i]]) : 1;
		float turn_re = t->x_re[kx] * t->y_re[ky] - t->x_im[kx] * t->y_im[ky],
			  turn_im = t->x_re[kx] * t->y_im[ky] + t->x_im[kx] * t->y_re[ky];
		float re = data[2 * i] * turn_re - data[2 * i + 1] * turn_im,
			  im = data[2 * i] * turn_im + data[2 * i + 1] * turn_re;
		b->y[0][i] = share * re;
		b->y[1][i] = share * im;
		b->weight[i] = share * weight[i];
		b->kx[i] = fx[i];
		b->ky[i] = fy[i];
	}
	/* Lanes beyond the end add nothing. */
	for (int32_t i = n; i % LANES; i++) {
		b->y[0][i] = b->y[1][i] = b->weight[i] = b->kx[i] = b->ky[i] = 0;
		for (int k = 0; k < 8; k++) b->v[k][i] = 0;
	}
}

/* ---------------------------------------------------------------- slices */

/* Value and slopes along the reference's axes (per index). */
CYC_SIMD static void slice_and_slopes(block *b, const cyc_cfloat *F, int32_t edge, const cyc_pose_row *r,
                                      int32_t n)
{
	cyc_cells l;
	cyc__cells_of_slice(&l, F, edge, r->x, r->y, b->kx, b->ky, n);
	for (int32_t i = 0; i < n; i++) {
		const cyc_cell q = cyc__cell_next(&l, F, edge, i, n);
		cyc_v4 dy_low = q.b - q.a, dy_high = q.d - q.c, low = q.a + q.fy * dy_low,
			   high = q.c + q.fy * dy_high;
		cyc_v4 dz = high - low, value = low + q.fz * dz, dy = dy_low + q.fz * (dy_high - dy_low);
		/* V(-k) = V(k)*: slopes of the mirrored half change sign, and so does the imaginary part once more.
		 */
		float mirror = q.mirror;
		b->v[0][i] = value[0] + q.fx * (value[2] - value[0]);
		b->v[1][i] = mirror * (value[1] + q.fx * (value[3] - value[1]));
		b->v[2][i] = mirror * (value[2] - value[0]);
		b->v[3][i] = value[3] - value[1];
		b->v[4][i] = mirror * (dy[0] + q.fx * (dy[2] - dy[0]));
		b->v[5][i] = dy[1] + q.fx * (dy[3] - dy[1]);
		b->v[6][i] = mirror * (dz[0] + q.fx * (dz[2] - dz[0]));
		b->v[7][i] = dz[1] + q.fx * (dz[3] - dz[1]);
	}
}

/* ---------------------------------------------------------------- sums */

/* Written out as vectors: compilers do not make them of the loops over lanes. */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), may_alias));

/* Columns of the sums of one block of coefficients. */
typedef struct {
	lanes of[CYC_N_POSE_TERMS];
} columns;

/* LANES coefficients from i on, a multiple of LANES; dV of the angles is q x grad V, that of the
 * displacements -2 pi i k/s V. Signs come later. */
CYC_SIMD static void add_lanes(columns *sum, const block *b, int32_t i, const cyc_pose_row *r, float per_px)
{
	const lanes y_re = *(const lanes *)(b->y[0] + i), y_im = *(const lanes *)(b->y[1] + i),
				weight = *(const lanes *)(b->weight + i), kx = *(const lanes *)(b->kx + i),
				ky = *(const lanes *)(b->ky + i);
	lanes g[8], re[N_IMAGE], im[N_IMAGE];
	for (int k = 0; k < 8; k++) g[k] = *(const lanes *)(b->v[k] + i);
	const float s = (float)r->amplitude;
	const lanes q0 = r->x[0] * kx + r->y[0] * ky, q1 = r->x[1] * kx + r->y[1] * ky,
				q2 = r->x[2] * kx + r->y[2] * ky;
	const lanes res_re = y_re - s * weight * g[0], res_im = y_im - s * weight * g[1];
	re[0] = q2 * g[4] - q1 * g[6];
	im[0] = q2 * g[5] - q1 * g[7];
	re[1] = q0 * g[6] - q2 * g[2];
	im[1] = q0 * g[7] - q2 * g[3];
	re[2] = q1 * g[2] - q0 * g[4];
	im[2] = q1 * g[3] - q0 * g[5];
	re[3] = per_px * kx * g[1];
	im[3] = -per_px * kx * g[0];
	re[4] = per_px * ky * g[1];
	im[4] = -per_px * ky * g[0];
	sum->of[CYC_POSE_CROSS] += y_re * g[0] + y_im * g[1];
	sum->of[CYC_POSE_POWER] += weight * (g[0] * g[0] + g[1] * g[1]);
	for (int k = 0, p = CYC_POSE_PRODUCTS; k < N_IMAGE; k++) {
		sum->of[CYC_POSE_SLOPES + k] += res_re * re[k] + res_im * im[k];
		for (int j = 0; j <= k; j++, p++) sum->of[p] += weight * (re[k] * re[j] + im[k] * im[j]);
	}
}

static double total(const lanes *column)
{
	double sum = 0;
	for (int l = 0; l < LANES; l++) sum += (double)(*column)[l];
	return sum;
}

static cyc_status row_task(void *arg, int64_t i_row, int i_thread)
{
	const work *a = arg;
	const cyc_pose_row *r = &a->rows[i_row];
	const ramps t = ramps_of(cyc__cpu_scratch_of(a->cpu, i_thread), a->reach);
	const cyc_cfloat *map = cyc_buffer_address(a->images->maps[r->map]);
	double *sums = a->sums + i_row * CYC_N_POSE_TERMS;
	float per_px = (float)(2 * CYC_PI / a->images->box_px);
	memset(sums, 0, CYC_N_POSE_TERMS * sizeof *sums);
	fill_ramp(t.x_re, t.x_im, 0, r->reach, r->shift_px[0], a->images->box_px);
	fill_ramp(t.y_re, t.y_im, -r->reach, r->reach, r->shift_px[1], a->images->box_px);
	for (int32_t first = 0; first < r->n; first += BLOCK) {
		int32_t n = r->n - first < BLOCK ? r->n - first : BLOCK;
		block b;
		columns part;
		load(&b, a, r, &t, first, n);
		slice_and_slopes(&b, map, a->images->edge[r->map], r, n);
		memset(&part, 0, sizeof part);
		for (int32_t i = 0; i < n; i += LANES) add_lanes(&part, &b, i, r, per_px);
		for (int k = 0; k < CYC_N_POSE_TERMS; k++) sums[k] += total(&part.of[k]);
	}
	return CYC_OK;
}

cyc_status cyc_pose_terms_cpu(void *self, double *sums, const cyc_pose_images *images,
                              const cyc_pose_row *rows, int64_t n)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	work a = { .sums = sums,
		       .fx = cyc_buffer_address(images->fx),
		       .fy = cyc_buffer_address(images->fy),
		       .shell = cyc_buffer_address(images->shell),
		       .data = cyc_buffer_address(images->data),
		       .weight = cyc_buffer_address(images->weight),
		       .spread = cyc_buffer_address(images->spread),
		       .images = images,
		       .rows = rows,
		       .cpu = cpu };
	for (int64_t i = 0; i < n; i++)
		if (rows[i].reach > a.reach) a.reach = rows[i].reach;
	CYC_TRY(cyc__cpu_scratch(cpu, n, 2 * (3 * (size_t)a.reach + 2) * sizeof(float)));
	CYC_TRY(cyc_parallel_for(n, cpu->n_threads, row_task, &a));
done:
	return st;
}

#include "ctfrefine/magnification.h"

#include "cyclotomo/record.h"

#include <inttypes.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char KIND[] = "magnification of a series",
				  CONSEQUENCE[] = "this tilt series is refined from the beginning";

/* Frequencies are stretched by this on both sides for the derivatives: half a sample of the reference at the
 * edge of a box of 100. */
static const double STRETCH = 0.005;
/* A stretch of more than about one per cent is unexpected. */
static const double STRETCH_SD = 0.02;

enum { SCALE, SHIFT_X, SHIFT_Y, XX, XY, YX, YY, N_TERMS, N_PLANES = 4 }; /* XY: E_xy, k_y d/dk_x */

typedef struct {
	double H[N_TERMS][N_TERMS], r[N_TERMS];
} sums;

struct cyc_magnification_pass {
	const cyc_prediction_pass *predict;
	double k_min_index;
	cyc_buffer *plus[N_PLANES], *minus;
	cyc_mat3 *M;
	sums *rows;           /* 2 x s */
	double *weight, *own; /* s x (s/2 + 1): of the present image; 0 where a coefficient is not used */
	int64_t n_particles[2];
};

size_t cyc_magnification_bytes(int32_t box_px)
{
	return (N_PLANES + 1) * cyc_half_count2(box_px) * sizeof(cyc_cfloat);
}

cyc_status cyc_magnification_pass_create(cyc_magnification_pass **out, const cyc_prediction_pass *predict,
                                         double k_min_index)
{
	cyc_status st = CYC_OK;
	cyc_magnification_pass *p = NULL;
	int32_t s = predict->box.window.box_binned;
	size_t n = (size_t)predict->batch->capacity;
	*out = NULL;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->predict = predict;
	p->k_min_index = k_min_index;
	for (int j = 0; j < N_PLANES; j++)
		CYC_TRY(cyc_buffer_create(&p->plus[j], predict->be, n * cyc_half_count2(s), sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&p->minus, predict->be, n * cyc_half_count2(s), sizeof(cyc_cfloat)));
	CYC_TRY(cyc_alloc(&p->M, n, sizeof *p->M));
	CYC_TRY(cyc_alloc(&p->rows, 2 * (size_t)s, sizeof *p->rows));
	CYC_TRY(cyc_alloc(&p->weight, 2 * cyc_half_count2(s), sizeof *p->weight));
	p->own = p->weight + cyc_half_count2(s);
	*out = p;
	p = NULL;
done:
	cyc_magnification_pass_destroy(&p);
	return st;
}

void cyc_magnification_pass_destroy(cyc_magnification_pass **p)
{
	if (!*p) return;
	for (int j = 0; j < N_PLANES; j++) cyc_buffer_destroy(&(*p)->plus[j]);
	cyc_buffer_destroy(&(*p)->minus);
	cyc_free((*p)->M);
	cyc_free((*p)->rows);
	cyc_free((*p)->weight);
	cyc_free(*p);
	*p = NULL;
}

void cyc_magnification_begin(cyc_magnification_pass *p)
{
	const cyc_prediction_pass *q = p->predict;
	int32_t s = q->box.window.box_binned, sh = s / 2 + 1;
	double crop_power = cyc_circle_crop_power(q->box.window.box_px);
	memset(p->rows, 0, 2 * (size_t)s * sizeof *p->rows);
	p->n_particles[0] = p->n_particles[1] = 0;
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < sh; x++) {
			size_t at = (size_t)y * (size_t)sh + (size_t)x;
			double r = hypot(x, y < s / 2 ? y : y - s), noise = cyc_radial_at(q->power, s / 2 + 1, r);
			bool is_used =
				r > 0 && r >= p->k_min_index && r <= q->radius && noise > 0 && x < s / 2 && y != s / 2;
			p->weight[at] = is_used ? (x == 0 ? 0.5 : 1) / noise : 0;
			p->own[at] = is_used ? cyc_self_share(q->reference, r, noise, crop_power) : 0;
		}
}

/* Slices at (1 + by e_a e_b^T) k. */
static cyc_status extract_stretched(cyc_buffer *to, cyc_magnification_pass *p, int a, int b, double by)
{
	cyc_status st = CYC_OK;
	const cyc_prediction_pass *q = p->predict;
	cyc_mat3 A = cyc_mat3_identity();
	A.m[b][a] += by; /* slices are taken at R^T k: the transpose stands on the left of R */
	for (int32_t i = 0; i < q->batch->n; i++) p->M[i] = cyc_mat3_mul(A, q->batch->R_img_ref[i]);
	for (int8_t h = 0; h < 2; h++)
		CYC_TRY(cyc_op_slice_extract(to, q->be,
		                             &(cyc_slice_extract_in){ .reference = q->reference->half[h],
		                                                      .m = q->reference->n_grid,
		                                                      .edge = q->reference->edge,
		                                                      .M = p->M,
		                                                      .radius = q->radius,
		                                                      .use = q->batch->half,
		                                                      .select = h,
		                                                      .n = q->batch->n,
		                                                      .s = q->box.window.box_binned }));
done:
	return st;
}

typedef struct {
	const cyc_magnification_pass *p;
	const cyc_cfloat *X, *V, *phase, *plus[N_PLANES];
	cyc_cfloat *minus;
	const float *ctf;
	cyc_cfloat *target;
} row_work;

static cyc_status difference_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const row_work *w = arg;
	size_t n = cyc_half_count2(w->p->predict->box.window.box_binned), at = (size_t)i * n;
	const float scale = (float)(0.5 / STRETCH);
	for (size_t k = at; k < at + n; k++) w->target[k] = scale * (w->target[k] - w->minus[k]);
	return CYC_OK;
}

typedef struct {
	cyc_cfloat observed, v, derivative[N_PLANES];
	float ctf;
	double weight, own;
	int32_t x, ky;
} coefficient;

/* own: share of the image in its own reference (T4.14). It would make the amplitude too large, and the
 * stretch, measured in units of it, too small. */
static inline void add_coefficient(sums *t, const coefficient *c)
{
	cyc_cfloat observed = c->observed, v = c->v;
	double weight = c->weight;
	int32_t x = c->x, ky = c->ky;
	double re[N_TERMS], im[N_TERMS], o_re = (double)crealf(observed), o_im = (double)cimagf(observed),
									 cw = (double)c->ctf;
	re[SCALE] = cw * (double)crealf(v);
	im[SCALE] = cw * (double)cimagf(v);
	re[SHIFT_X] = -x * im[SCALE];
	im[SHIFT_X] = x * re[SCALE];
	re[SHIFT_Y] = -ky * im[SCALE];
	im[SHIFT_Y] = ky * re[SCALE];
	for (int j = 0; j < N_PLANES; j++) {
		re[XX + j] = cw * (double)crealf(c->derivative[j]);
		im[XX + j] = cw * (double)cimagf(c->derivative[j]);
	}
	t->r[SCALE] -= weight * c->own * cw * cw * (o_re * o_re + o_im * o_im);
	for (int j = 0; j < N_TERMS; j++) {
		t->r[j] += weight * (re[j] * o_re + im[j] * o_im);
		for (int l = 0; l <= j; l++) t->H[j][l] += weight * (re[j] * re[l] + im[j] * im[l]);
	}
}

/* One task per row of the half plane: particles are added in their order for any number of threads. */
static cyc_status row_task(void *arg, int64_t y, int i_thread)
{
	(void)i_thread;
	const row_work *w = arg;
	const cyc_prediction_pass *q = w->p->predict;
	int32_t s = q->box.window.box_binned, ky = y < s / 2 ? (int32_t)y : (int32_t)y - s, R = q->radius;
	size_t sh = (size_t)(s / 2 + 1), plane = (size_t)s * sh;
	if (ky * ky > R * R) return CYC_OK;
	int32_t last = (int32_t)sqrt((double)(R * R - ky * ky));
	for (int32_t i = 0; i < q->batch->n; i++) {
		sums *t = &w->p->rows[(size_t)q->batch->half[i] * (size_t)s + (size_t)y];
		for (int32_t x = 0; x <= last && x < s / 2; x++) {
			size_t row = (size_t)y * sh + (size_t)x, at = (size_t)i * plane + row;
			if (w->p->weight[row] == 0) continue;
			coefficient c = { .observed = -w->X[at],
				              .v = w->V[at],
				              .ctf = w->ctf[at],
				              .weight = w->p->weight[row],
				              .own = w->p->own[row],
				              .x = x,
				              .ky = ky };
			for (int j = 0; j < N_PLANES; j++) c.derivative[j] = w->plus[j][at];
			if (w->phase) c.observed *= conjf(w->phase[row]);
			add_coefficient(t, &c);
		}
	}
	return CYC_OK;
}

cyc_status cyc_magnification_add(cyc_magnification_pass *p)
{
	cyc_status st = CYC_OK;
	const cyc_prediction_pass *q = p->predict;
	int n_threads = cyc_backend_n_threads(q->be);
	row_work w = { .p = p };
	for (int j = 0; j < N_PLANES; j++) {
		CYC_TRY(extract_stretched(p->plus[j], p, j / 2, j % 2, STRETCH));
		CYC_TRY(extract_stretched(p->minus, p, j / 2, j % 2, -STRETCH));
		CYC_TRY(cyc_buffer_map(&w.target, p->plus[j]));
		CYC_TRY(cyc_buffer_map(&w.minus, p->minus));
		CYC_TRY(cyc_parallel_for(q->batch->n, n_threads, difference_task, &w));
		CYC_TRY(cyc_buffer_unmap(p->minus));
		CYC_TRY(cyc_buffer_unmap(p->plus[j]));
	}
	CYC_TRY(cyc_buffer_map(&w.X, q->ft));
	CYC_TRY(cyc_buffer_map(&w.V, q->prediction));
	CYC_TRY(cyc_buffer_map(&w.ctf, q->ctf));
	if (q->phase) CYC_TRY(cyc_buffer_map(&w.phase, q->phase_memory));
	for (int j = 0; j < N_PLANES; j++) CYC_TRY(cyc_buffer_map(&w.plus[j], p->plus[j]));
	CYC_TRY(cyc_parallel_for(q->box.window.box_binned, n_threads, row_task, &w));
	for (int j = 0; j < N_PLANES; j++) CYC_TRY(cyc_buffer_unmap(p->plus[j]));
	if (q->phase) CYC_TRY(cyc_buffer_unmap(q->phase_memory));
	CYC_TRY(cyc_buffer_unmap(q->ctf));
	CYC_TRY(cyc_buffer_unmap(q->prediction));
	CYC_TRY(cyc_buffer_unmap(q->ft));
	for (int32_t i = 0; i < q->batch->n; i++) p->n_particles[q->batch->half[i]]++;
done:
	return st;
}

/* ---------------------------------------------------------------- models */

/* Eliminate term j of n by maximising over it; H is n x n. */
static void eliminate(int n, double *H, double *g, int j)
{
	if (!(H[j * n + j] > 0)) return;
	for (int k = 0; k < n; k++) {
		if (k == j) continue;
		double f = H[k * n + j] / H[j * n + j];
		g[k] -= f * g[j];
		for (int l = 0; l < n; l++)
			if (l != j) H[k * n + l] -= f * H[j * n + l];
	}
	for (int k = 0; k < n; k++) H[j * n + k] = H[k * n + j] = 0;
	g[j] = 0;
}

/* From the sums of one tilt to its model: amplitude S of the tilt; scale, shift and rotation eliminated.
 * (T4.22) */
static void add_tilt(cyc_stretch_model *m, const sums *t, double S)
{
	/* trace/2, (xx - yy)/2, (xy + yx)/2, rotation (yx - xy)/2 as combinations of the four. */
	static const double COMBINE[4][N_PLANES] = {
		{ 1, 0, 0, 1 }, { 1, 0, 0, -1 }, { 0, 1, 1, 0 }, { 0, -1, 1, 0 }
	};
	enum { N = 7 };
	double T[N][N_TERMS] = { { 0 } }, H[N][N] = { { 0 } }, g[N] = { 0 };
	for (int j = 0; j < 3; j++) T[j][j] = 1;
	for (int j = 0; j < 4; j++)
		for (int k = 0; k < N_PLANES; k++) T[3 + j][XX + k] = S * COMBINE[j][k];
	for (int j = 0; j < N; j++)
		for (int a = 0; a < N_TERMS; a++) {
			g[j] += T[j][a] * (t->r[a] - S * t->H[a][SCALE]);
			for (int k = 0; k < N; k++)
				for (int b = 0; b < N_TERMS; b++) H[j][k] += T[j][a] * t->H[a][b] * T[k][b];
		}
	static const int NUISANCE[] = { 0, 1, 2, 6 };
	for (int j = 0; j < 4; j++) eliminate(N, &H[0][0], g, NUISANCE[j]);
	for (int j = 0; j < CYC_N_STRETCH; j++) {
		m->g[j] += 2 * g[3 + j];
		for (int k = 0; k < CYC_N_STRETCH; k++) m->H[j][k] += 2 * H[3 + j][3 + k];
	}
}

cyc_status cyc_magnification_end(cyc_stretch_model models[2], cyc_magnification_pass *p)
{
	cyc_status st = CYC_OK;
	int32_t s = p->predict->box.window.box_binned;
	sums *total = NULL;
	CYC_TRY(cyc_alloc(&total, 2, sizeof *total));
	for (int h = 0; h < 2; h++) {
		for (int32_t y = 0; y < s; y++)
			for (int j = 0; j < N_TERMS; j++) {
				const sums *row = &p->rows[(size_t)h * (size_t)s + (size_t)y];
				total[h].r[j] += row->r[j];
				for (int k = 0; k <= j; k++) total[h].H[j][k] += row->H[j][k];
			}
		for (int j = 0; j < N_TERMS; j++)
			for (int k = 0; k < j; k++) total[h].H[k][j] = total[h].H[j][k];
	}
	double power = total[0].H[SCALE][SCALE] + total[1].H[SCALE][SCALE],
		   cross = total[0].r[SCALE] + total[1].r[SCALE];
	for (int h = 0; h < 2 && power > 0 && cross > 0; h++) {
		models[h].n_particles += p->n_particles[h];
		add_tilt(&models[h], &total[h], cross / power);
	}
done:
	cyc_free(total);
	return st;
}

/* ---------------------------------------------------------------- results */

/* Gain of one half-set by the other's fit of the anisotropy, the trace at its best. */
static double heldout_gain(const cyc_stretch_model half[2])
{
	double gain = 0, H[2][3][3], g[2][3];
	for (int h = 0; h < 2; h++) {
		memcpy(H[h], half[h].H, sizeof H[h]);
		memcpy(g[h], half[h].g, sizeof g[h]);
		for (int j = 0; j < 3; j++) H[h][j][j] += 1 / cyc_square(STRETCH_SD);
		eliminate(3, &H[h][0][0], g[h], 0);
	}
	for (int h = 0; h < 2; h++) {
		double det = H[h][1][1] * H[h][2][2] - H[h][1][2] * H[h][2][1];
		double a = (H[h][2][2] * g[h][1] - H[h][1][2] * g[h][2]) / det,
			   b = (H[h][1][1] * g[h][2] - H[h][2][1] * g[h][1]) / det;
		const double(*O)[3] = (const double(*)[3])H[1 - h], *o = g[1 - h];
		gain += a * o[1] + b * o[2] - 0.5 * (a * a * O[1][1] + 2 * a * b * O[1][2] + b * b * O[2][2]);
	}
	return gain;
}

static cyc_status solve(cyc_magnification_result *r, const cyc_stretch_model half[2])
{
	cyc_status st = CYC_OK;
	double A[3][3];
	for (int j = 0; j < 3; j++) {
		r->stretch[j] = half[0].g[j] + half[1].g[j];
		for (int k = 0; k < 3; k++)
			A[j][k] = half[0].H[j][k] + half[1].H[j][k] + (j == k ? 1 / cyc_square(STRETCH_SD) : 0);
	}
	CYC_CHECK(LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', 3, 1, &A[0][0], 3, r->stretch, 1) == 0 &&
	              LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'U', 3, &A[0][0], 3) == 0,
	          CYC_E_NUMERIC, "the magnification cannot be fitted");
	for (int j = 0; j < 3; j++) r->error[j] = sqrt(A[j][j]);
	r->gain = heldout_gain(half);
	/* As for aberrations: more than a unit for each of the two terms. */
	r->is_written = r->gain > 2;
done:
	return st;
}

cyc_status cyc_magnification_results(cyc_magnification_result *results, const cyc_stretch_model *models,
                                     int32_t n_groups)
{
	cyc_status st = CYC_OK;
	double sum = 0, weight = 0;
	memset(results, 0, (size_t)n_groups * sizeof *results);
	for (int32_t g = 0; g < n_groups; g++) {
		if (models[2 * g].n_particles == 0 || models[2 * g + 1].n_particles == 0) continue;
		CYC_TRY(solve(&results[g], models + 2 * g));
		sum += results[g].stretch[0] / cyc_square(results[g].error[0]);
		weight += 1 / cyc_square(results[g].error[0]);
	}
	for (int32_t g = 0; g < n_groups; g++) {
		cyc_magnification_result *r = &results[g];
		if (!r->is_written) continue;
		r->stretch[0] -= sum / weight;
		r->E[0][0] = r->stretch[0] + r->stretch[1];
		r->E[1][1] = r->stretch[0] - r->stretch[1];
		r->E[0][1] = r->E[1][0] = r->stretch[2];
	}
done:
	return st;
}

cyc_status cyc_magnification_apply(cyc_particle_set *set, const cyc_magnification_result *results)
{
	cyc_status st = CYC_OK;
	for (int32_t g = 0; g < set->n_optics; g++) {
		double M[2][2], old[2][2] = { { 1, 0 }, { 0, 1 } };
		if (!results[g].is_written) continue;
		if (set->optics[g].has_magnification) memcpy(old, set->optics[g].magnification, sizeof old);
		for (int i = 0; i < 2; i++)
			for (int j = 0; j < 2; j++)
				M[i][j] = old[i][j] + old[i][0] * results[g].E[0][j] + old[i][1] * results[g].E[1][j];
		CYC_TRY(cyc_particle_set_put_magnification(set, g, (const double(*)[2])M));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- record */

cyc_status cyc_magnification_record_write(const char *path, const cyc_stretch_model *models, int32_t n_groups,
                                          uint64_t hash)
{
	cyc_status st = CYC_OK;
	cyc_text_stream o = { 0 };
	CYC_TRY(cyc_text_stream_open(&o));
	fprintf(o.f, "%d\n", n_groups);
	for (int32_t i = 0; i < 2 * n_groups; i++) {
		fprintf(o.f, "%" PRId64, models[i].n_particles);
		for (int j = 0; j < 3; j++)
			fprintf(o.f, " %a %a %a %a", models[i].g[j], models[i].H[j][0], models[i].H[j][1],
			        models[i].H[j][2]);
		fprintf(o.f, "\n");
	}
	fprintf(o.f, "end\n");
	CYC_TRY(cyc_text_stream_finish(&o));
	CYC_TRY(cyc_record_write_text(path, KIND, hash, o.text));
done:
	cyc_text_stream_deinit(&o);
	return st;
}

cyc_status cyc_magnification_record_read(bool *found, cyc_stretch_model *models, int32_t n_groups,
                                         const char *path, uint64_t hash)
{
	cyc_status st = CYC_OK;
	char *text = NULL, *at, *end;
	int file_groups = 0, used = 0;
	*found = false;
	CYC_TRY(cyc_record_read_text(&text, path, KIND, hash, CONSEQUENCE, NULL));
	if (!text || sscanf(text, "%d\n%n", &file_groups, &used) < 1 || file_groups != n_groups) goto done;
	at = text + used;
	for (int32_t i = 0; i < 2 * n_groups; i++) {
		models[i].n_particles = strtoll(at, &end, 10);
		if (end == at) goto done;
		at = end;
		for (int j = 0; j < 3; j++) {
			double *const numbers[4] = { &models[i].g[j], &models[i].H[j][0], &models[i].H[j][1],
				                         &models[i].H[j][2] };
			for (int k = 0; k < 4; k++) *numbers[k] = strtod(at, &at);
		}
	}
	*found = strncmp(at, "\nend\n", 5) == 0;
done:
	cyc_free(text);
	return st;
}

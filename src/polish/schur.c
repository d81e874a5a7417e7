#include "polish/schur.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

enum { PARTICLES_PER_TASK = 32, ROWS_PER_TASK = 40 };
/* Steps without dose have no motion; a small width keeps the chains' equations finite. */
static const double LEAST_SIGMA = 1e-3;

struct cyc_schur {
	size_t n_tilt; /* 5 T */
	cyc_alignment_blocks b;
	double *S; /* n_tilt x n_tilt: curvature of the tilts, particles eliminated; then its Cholesky factor */
	double *P; /* N x 9: Cholesky factors of the particles' own curvature, lower, row major */
	double *rows;        /* 3 PARTICLES_PER_TASK x n_tilt */
	double *pair_axes;   /* N x T x 3: curvature per Å2 along each axis of the specimen, chronological */
	double *squares;     /* N x n_modes */
	double *precision;   /* T x 3 x n_modes */
	double *deformation; /* diagonal */
	double *chain;       /* work of the chains */
};

cyc_status cyc_schur_create(cyc_schur **out, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	cyc_schur *s = NULL;
	size_t N = (size_t)a->n_particles, T = (size_t)a->n_tilts;
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->b = cyc_alignment_blocks_of(a);
	s->n_tilt = CYC_PER_TILT * T;
	CYC_TRY(cyc_alloc(&s->S, s->n_tilt * s->n_tilt, sizeof *s->S));
	CYC_TRY(cyc_alloc(&s->P, 9 * N, sizeof *s->P));
	CYC_TRY(cyc_alloc(&s->rows, 3 * PARTICLES_PER_TASK * s->n_tilt, sizeof *s->rows));
	CYC_TRY(cyc_alloc(&s->deformation, s->b.n - s->b.deformation + 1, sizeof *s->deformation));
	if (a->motion) {
		CYC_TRY(cyc_alloc(&s->pair_axes, 3 * N * T, sizeof *s->pair_axes));
		CYC_TRY(cyc_alloc(&s->squares, N * s->b.n_modes, sizeof *s->squares));
		CYC_TRY(cyc_alloc(&s->precision, 3 * T * s->b.n_modes + 1, sizeof *s->precision));
		CYC_TRY(cyc_alloc(&s->chain, 3 * s->b.n_modes * 2 * T + 1, sizeof *s->chain));
		for (size_t i = 0; i < N * s->b.n_modes; i++) s->squares[i] = cyc_square(a->motion->modes[i]);
	}
	*out = s;
	s = NULL;
done:
	cyc_schur_destroy(&s);
	return st;
}

void cyc_schur_destroy(cyc_schur **s)
{
	if (!*s) return;
	double *const all[] = { (*s)->S,       (*s)->P,         (*s)->rows,        (*s)->pair_axes,
		                    (*s)->squares, (*s)->precision, (*s)->deformation, (*s)->chain };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(all[i]);
	cyc_free(*s);
	*s = NULL;
}

const double *cyc_schur_mode_precision(const cyc_schur *s) { return s->precision; }
const double *cyc_schur_tilt_covariance(const cyc_schur *s) { return s->S; }

typedef struct {
	cyc_schur *s;
	const cyc_alignment *a;
	const double *g;
	double *x;
	int32_t first; /* particle of the present chunk */
	int n_rows;    /* of its rows */
	bool are_tilts_known;
} work;

/* Columns of a pair: 5 of its tilt, 3 of its particle, px per standardised parameter. */
static void pair_columns(double c[CYC_PER_TILT + 3][2], const cyc_alignment *a, const cyc_linear_pair *j)
{
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < 3; k++) {
			c[k][i] = j->angle[i][k];
			c[CYC_PER_TILT + k][i] = a->do_positions ? a->widths.position_A * j->axes[i][k] : 0;
		}
		for (int k = 0; k < 2; k++) c[3 + k][i] = j->shift[i][k];
	}
}

static double product(const double u[2], const double v[2], const double H[3])
{
	return u[0] * (H[0] * v[0] + H[1] * v[1]) + u[1] * (H[1] * v[0] + H[2] * v[1]);
}

/* ---------------------------------------------------------------- factors */

static cyc_status tilt_block_task(void *arg, int64_t f, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	size_t n = w->s->n_tilt, first = CYC_PER_TILT * (size_t)f;
	double *S = w->s->S;
	memset(S + first * n, 0, CYC_PER_TILT * n * sizeof *S);
	for (size_t k = 0; k < CYC_PER_TILT; k++) S[(first + k) * n + first + k] = 1;
	for (int32_t p = 0; p < w->a->n_particles; p++) {
		const cyc_linear_pair *j = cyc_linear_of(w->a, p, (int32_t)f);
		double c[CYC_PER_TILT + 3][2];
		if (!cyc_pair_is_seen(w->a, p, (int32_t)f)) continue;
		pair_columns(c, w->a, j);
		for (size_t k = 0; k < CYC_PER_TILT; k++)
			for (size_t l = 0; l < CYC_PER_TILT; l++)
				S[(first + k) * n + first + l] += product(c[k], c[l], j->H);
	}
	return CYC_OK;
}

/* Lower Cholesky factor of a positive 3 x 3 matrix (1 + something positive), in place. */
static void cholesky3(double P[9])
{
	P[0] = sqrt(P[0]);
	P[3] /= P[0];
	P[6] /= P[0];
	P[4] = sqrt(P[4] - P[3] * P[3]);
	P[7] = (P[7] - P[6] * P[3]) / P[4];
	P[8] = sqrt(P[8] - P[6] * P[6] - P[7] * P[7]);
}

static void forward3(double x[3], const double L[9])
{
	x[0] /= L[0];
	x[1] = (x[1] - L[3] * x[0]) / L[4];
	x[2] = (x[2] - L[6] * x[0] - L[7] * x[1]) / L[8];
}

static void backward3(double x[3], const double L[9])
{
	x[2] /= L[8];
	x[1] = (x[1] - L[7] * x[2]) / L[4];
	x[0] = (x[0] - L[3] * x[1] - L[6] * x[2]) / L[0];
}

/* A particle's own factor, and L^-1 times its three rows against all tilts. */
static cyc_status particle_rows_task(void *arg, int64_t item, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	const cyc_alignment *a = w->a;
	int32_t p = w->first + (int32_t)item;
	size_t n = w->s->n_tilt;
	double *P = w->s->P + 9 * (size_t)p, *rows = w->s->rows + 3 * (size_t)item * n;
	memset(P, 0, 9 * sizeof *P);
	memset(rows, 0, 3 * n * sizeof *rows);
	for (int k = 0; k < 3; k++) P[4 * k] = 1;
	for (int32_t f = 0; f < a->n_tilts; f++) {
		const cyc_linear_pair *j = cyc_linear_of(a, p, f);
		double c[CYC_PER_TILT + 3][2];
		if (!cyc_pair_is_seen(a, p, f)) continue;
		pair_columns(c, a, j);
		for (size_t k = 0; k < 3; k++) {
			for (size_t l = 0; l < 3; l++)
				P[3 * k + l] += product(c[CYC_PER_TILT + k], c[CYC_PER_TILT + l], j->H);
			for (size_t l = 0; l < CYC_PER_TILT; l++)
				rows[k * n + CYC_PER_TILT * (size_t)f + l] = product(c[CYC_PER_TILT + k], c[l], j->H);
		}
	}
	cholesky3(P);
	for (size_t i = 0; i < n; i++) {
		double x[3] = { rows[i], rows[n + i], rows[2 * n + i] };
		forward3(x, P);
		for (size_t k = 0; k < 3; k++) rows[k * n + i] = x[k];
	}
	return CYC_OK;
}

static cyc_status axes_task(void *arg, int64_t p, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	const cyc_alignment *a = w->a;
	for (int32_t t = 0; t < a->n_tilts; t++) {
		const cyc_linear_pair *j = cyc_linear_of(a, (int32_t)p, a->order[t]);
		double *out = w->s->pair_axes + 3 * ((size_t)p * (size_t)a->n_tilts + (size_t)t);
		for (int k = 0; k < 3; k++) {
			const double u[2] = { j->axes[0][k], j->axes[1][k] };
			out[k] = product(u, u, j->H);
		}
	}
	return CYC_OK;
}

static cyc_status deformation_diagonal(cyc_schur *s, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	double *columns = NULL;
	size_t n = s->b.n_deformation;
	CYC_TRY(cyc_alloc(&columns, 2 * n + 1, sizeof *columns));
	for (size_t i = 0; i < s->b.n - s->b.deformation; i++) s->deformation[i] = 1;
	for (int32_t f = 0; f < a->n_tilts && n > 0; f++)
		for (int32_t p = 0; p < a->n_particles; p++) {
			const cyc_linear_pair *j = cyc_linear_of(a, p, f);
			if (!cyc_pair_is_seen(a, p, f)) continue;
			cyc_deformation_columns(columns, &a->deformation_model, j->at_px[0], j->at_px[1]);
			for (size_t i = 0; i < n; i++)
				s->deformation[(a->is_deformation_per_tilt ? (size_t)f * n : 0) + i] +=
					cyc_square(a->deformation_width[i]) * product(columns + 2 * i, columns + 2 * i, j->H);
		}
done:
	cyc_free(columns);
	return st;
}

/* S -= rows^T rows for a few rows of S, up to the diagonal. */
static cyc_status eliminate_task(void *arg, int64_t item, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	size_t n = w->s->n_tilt, first = (size_t)item * ROWS_PER_TASK,
		   count = n - first < ROWS_PER_TASK ? n - first : ROWS_PER_TASK;
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)count, (int)(first + count), w->n_rows, -1,
	            w->s->rows + first, (int)n, w->s->rows, (int)n, 1, w->s->S + first * n, (int)n);
	return CYC_OK;
}

cyc_status cyc_schur_factor(cyc_schur *s, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	work w = { .s = s, .a = a };
	int n = (int)s->n_tilt;
	CYC_TRY(cyc_parallel_for(a->n_tilts, a->n_threads, tilt_block_task, &w));
	for (w.first = 0; w.first < a->n_particles; w.first += PARTICLES_PER_TASK) {
		int32_t count =
			a->n_particles - w.first < PARTICLES_PER_TASK ? a->n_particles - w.first : PARTICLES_PER_TASK;
		CYC_TRY(cyc_parallel_for(count, a->n_threads, particle_rows_task, &w));
		w.n_rows = 3 * count;
		CYC_TRY(cyc_parallel_for((n + ROWS_PER_TASK - 1) / ROWS_PER_TASK, a->n_threads, eliminate_task, &w));
	}
	CYC_CHECK(LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', n, s->S, n) == 0, CYC_E_NUMERIC,
	          "the curvature of an alignment is not positive definite");
	CYC_TRY(deformation_diagonal(s, a));
	if (!a->motion) goto done;
	CYC_TRY(cyc_parallel_for(a->n_particles, a->n_threads, axes_task, &w));
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, 3 * a->n_tilts, (int)s->b.n_modes, a->n_particles, 1,
	            s->pair_axes, 3 * a->n_tilts, s->squares, (int)s->b.n_modes, 0, s->precision,
	            (int)s->b.n_modes);
done:
	return st;
}

/* ---------------------------------------------------------------- solution */

/* P^-1 (g minus the tilts' share, once they are known). */
static cyc_status particle_solve_task(void *arg, int64_t p, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	const cyc_alignment *a = w->a;
	double *x = w->x + w->s->b.particles + 3 * (size_t)p, back[3] = { 0, 0, 0 };
	for (int32_t f = 0; f < a->n_tilts && w->are_tilts_known; f++) {
		const cyc_linear_pair *j = cyc_linear_of(a, (int32_t)p, f);
		const double *tilt = w->x + CYC_PER_TILT * f;
		double c[CYC_PER_TILT + 3][2], l[2] = { 0, 0 };
		if (!cyc_pair_is_seen(a, (int32_t)p, f)) continue;
		pair_columns(c, a, j);
		for (int k = 0; k < CYC_PER_TILT; k++)
			for (int i = 0; i < 2; i++) l[i] += c[k][i] * tilt[k];
		for (int k = 0; k < 3; k++) back[k] += product(c[CYC_PER_TILT + k], l, j->H);
	}
	for (int k = 0; k < 3; k++) x[k] = w->g[w->s->b.particles + 3 * (size_t)p + (size_t)k] - back[k];
	forward3(x, w->s->P + 9 * p);
	backward3(x, w->s->P + 9 * p);
	return CYC_OK;
}

static cyc_status tilt_side_task(void *arg, int64_t f, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	const cyc_alignment *a = w->a;
	double *x = w->x + CYC_PER_TILT * f;
	for (int k = 0; k < CYC_PER_TILT; k++) x[k] = w->g[CYC_PER_TILT * f + k];
	for (int32_t p = 0; p < a->n_particles; p++) {
		const cyc_linear_pair *j = cyc_linear_of(a, p, (int32_t)f);
		const double *u = w->x + w->s->b.particles + 3 * (size_t)p;
		double c[CYC_PER_TILT + 3][2], l[2] = { 0, 0 };
		if (!cyc_pair_is_seen(a, p, (int32_t)f)) continue;
		pair_columns(c, a, j);
		for (int k = 0; k < 3; k++)
			for (int i = 0; i < 2; i++) l[i] += c[CYC_PER_TILT + k][i] * u[k];
		for (int k = 0; k < CYC_PER_TILT; k++) x[k] -= product(c[k], l, j->H);
	}
	return CYC_OK;
}

/*
 * One mode and axis of the motion: (1 + S^T D S) x = g with S the sum over steps times their widths. With y =
 * S x, the amplitude after each step, the matrix is tridiagonal.
 */
static cyc_status chain_task(void *arg, int64_t item, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	const cyc_alignment *a = w->a;
	size_t T = (size_t)a->n_tilts, B = w->s->b.n_modes, k = (size_t)item / B, b = (size_t)item % B, n = T - 1;
	double *up = w->s->chain + 2 * T * (size_t)item, *y = up + T, widest = 0;
	const double *g = w->g + w->s->b.motion + k * B + b;
	double *x = w->x + w->s->b.motion + k * B + b;
	for (size_t t = 0; t < n; t++) widest = fmax(widest, cyc_step_sigma(a, t));
	double least = fmax(LEAST_SIGMA * widest, 1e-12);
	/* Thomas' algorithm. */
	for (size_t t = 0; t < n; t++) {
		double s = fmax(cyc_step_sigma(a, t), least),
			   next = t + 1 < n ? fmax(cyc_step_sigma(a, t + 1), least) : 0;
		double diagonal =
			1 / (s * s) + (next > 0 ? 1 / (next * next) : 0) + w->s->precision[(3 * (t + 1) + k) * B + b];
		double side = g[3 * t * B] / s - (next > 0 ? g[3 * (t + 1) * B] / next : 0);
		if (t > 0) {
			diagonal += up[t - 1] / (s * s);
			side += y[t - 1] / (s * s);
		}
		up[t] = next > 0 ? -1 / (next * next) / diagonal : 0;
		y[t] = side / diagonal;
	}
	for (size_t t = n - 1; t-- > 0;) y[t] -= up[t] * y[t + 1];
	for (size_t t = 0; t < n; t++)
		x[3 * t * B] = (y[t] - (t > 0 ? y[t - 1] : 0)) / fmax(cyc_step_sigma(a, t), least);
	return CYC_OK;
}

cyc_status cyc_schur_solve(double *x, cyc_schur *s, const cyc_alignment *a, const double *g)
{
	cyc_status st = CYC_OK;
	work w = { .s = s, .a = a, .g = g, .x = x };
	int n = (int)s->n_tilt;
	CYC_TRY(cyc_parallel_for(a->n_particles, a->n_threads, particle_solve_task, &w));
	CYC_TRY(cyc_parallel_for(a->n_tilts, a->n_threads, tilt_side_task, &w));
	cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, n, s->S, n, x, 1);
	cblas_dtrsv(CblasRowMajor, CblasLower, CblasTrans, CblasNonUnit, n, s->S, n, x, 1);
	w.are_tilts_known = true;
	CYC_TRY(cyc_parallel_for(a->n_particles, a->n_threads, particle_solve_task, &w));
	if (a->motion) CYC_TRY(cyc_parallel_for(3 * (int64_t)s->b.n_modes, a->n_threads, chain_task, &w));
	for (size_t i = s->b.deformation; i < s->b.n; i++) x[i] = g[i] / s->deformation[i - s->b.deformation];
done:
	return st;
}

/* Var(particle) = P^-1 + P^-1 B S^-1 B^T P^-1, axis by axis. */
static cyc_status particle_variance_task(void *arg, int64_t item, int i_thread)
{
	(void)i_thread;
	const work *w = arg;
	size_t n = w->s->n_tilt;
	int32_t p = w->first + (int32_t)item;
	const double *L = w->s->P + 9 * (size_t)p;
	/* L^-1 B is in the rows; S^-1 = C^-T C^-1 with C^-1 already applied to it by the caller. */
	const double *rows = w->s->rows + 3 * (size_t)item * n;
	double M[9];
	for (size_t k = 0; k < 3; k++)
		for (size_t l = 0; l < 3; l++) {
			double sum = k == l ? 1 : 0;
			for (size_t i = 0; i < n; i++) sum += rows[k * n + i] * rows[l * n + i];
			M[3 * k + l] = sum;
		}
	for (int k = 0; k < 3; k++) { /* e^T L^-T M L^-1 e */
		double e[3] = { k == 0, k == 1, k == 2 }, v = 0;
		forward3(e, L);
		for (int i = 0; i < 3; i++)
			for (int l = 0; l < 3; l++) v += e[i] * M[3 * i + l] * e[l];
		w->x[3 * p + k] = v;
	}
	return CYC_OK;
}

cyc_status cyc_schur_variances(double *tilts, double *particles, cyc_schur *s, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	work w = { .s = s, .a = a, .x = particles };
	int n = (int)s->n_tilt;
	for (w.first = 0; w.first < a->n_particles; w.first += PARTICLES_PER_TASK) {
		int32_t count =
			a->n_particles - w.first < PARTICLES_PER_TASK ? a->n_particles - w.first : PARTICLES_PER_TASK;
		CYC_TRY(cyc_parallel_for(count, a->n_threads, particle_rows_task, &w));
		cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, 3 * count, n, 1, s->S, n,
		            s->rows, n);
		CYC_TRY(cyc_parallel_for(count, a->n_threads, particle_variance_task, &w));
	}
	CYC_CHECK(LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'L', n, s->S, n) == 0, CYC_E_NUMERIC,
	          "the curvature of an alignment cannot be inverted");
	for (size_t i = 0; i < s->n_tilt; i++) {
		tilts[i] = s->S[i * s->n_tilt + i];
		for (size_t j = 0; j < i; j++) s->S[j * s->n_tilt + i] = s->S[i * s->n_tilt + j];
	}
done:
	return st;
}

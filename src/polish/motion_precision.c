/*
 * Motion against shifts and angles of the tilts, which can compensate a motion common to all particles. The
 * precision of a mode when they are free is the one after their elimination (T6.11); and the errors of angles
 * are larger by what motion may be in them. (T6.15)
 */
#include "polish/alignment.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

typedef struct {
	const cyc_alignment *a;
	const double *held; /* T x 3 x B, chronological: with tilts held */
	double *out;
	size_t B, n_modes; /* modes beyond n_modes are left as they are */
} precision_work;

static double form(const double u[2], const double v[2], const double H[3])
{
	return u[0] * (H[0] * v[0] + H[1] * v[1]) + u[1] * (H[1] * v[0] + H[2] * v[1]);
}

/* Derivatives of a pair's place in the image by its tilt's standardised parameters. */
static void tilt_columns(double c[CYC_PER_TILT][2], const cyc_linear_pair *j)
{
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < 3; k++) c[k][i] = j->angle[i][k];
		for (int k = 0; k < 2; k++) c[3 + k][i] = j->shift[i][k];
	}
}

/* Lower Cholesky factor of a positive matrix, in place. */
static void factor(double S[CYC_PER_TILT][CYC_PER_TILT])
{
	for (int i = 0; i < CYC_PER_TILT; i++)
		for (int j = 0; j <= i; j++) {
			double sum = S[i][j];
			for (int k = 0; k < j; k++) sum -= S[i][k] * S[j][k];
			S[i][j] = i == j ? sqrt(sum) : sum / S[j][j];
		}
}

/* Curvature of the tilt's parameters, and between them and the modes' amplitudes: V is 5 x (3 n_modes). */
static void add_pair(double S[CYC_PER_TILT][CYC_PER_TILT], double *V, const precision_work *w, int32_t p,
                     int32_t f)
{
	const cyc_linear_pair *j = cyc_linear_of(w->a, p, f);
	const double *modes = w->a->motion->modes + (size_t)p * w->B;
	double c[CYC_PER_TILT][2];
	tilt_columns(c, j);
	for (int i = 0; i < CYC_PER_TILT; i++) {
		for (int l = 0; l <= i; l++) S[i][l] += form(c[i], c[l], j->H);
		for (size_t k = 0; k < 3; k++) {
			const double axis[2] = { j->axes[0][k], j->axes[1][k] };
			double x = form(c[i], axis, j->H), *row = V + ((size_t)i * 3 + k) * w->n_modes;
			for (size_t b = 0; b < w->n_modes; b++) row[b] += x * modes[b];
		}
	}
}

static cyc_status precision_task(void *arg, int64_t t, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const precision_work *w = arg;
	const cyc_alignment *a = w->a;
	int32_t f = a->order[t];
	double S[CYC_PER_TILT][CYC_PER_TILT] = { { 0 } }, *V = NULL;
	CYC_TRY(cyc_alloc(&V, CYC_PER_TILT * 3 * w->n_modes, sizeof *V));
	for (int i = 0; i < CYC_PER_TILT; i++) S[i][i] = 1;
	for (int32_t p = 0; p < a->n_particles; p++)
		if (cyc_pair_is_seen(a, p, f)) add_pair(S, V, w, p, f);
	factor(S);
	for (size_t k = 0; k < 3; k++)
		for (size_t b = 0; b < w->n_modes; b++) {
			size_t at = (3 * (size_t)t + k) * w->B + b;
			double v[CYC_PER_TILT], known = 0;
			for (int i = 0; i < CYC_PER_TILT; i++) {
				v[i] = V[((size_t)i * 3 + k) * w->n_modes + b];
				for (int l = 0; l < i; l++) v[i] -= S[i][l] * v[l];
				v[i] /= S[i][i];
				known += v[i] * v[i];
			}
			w->out[at] = fmax(w->held[at] - known, 0);
		}
done:
	cyc_free(V);
	return st;
}

enum { MOST_MODES = 64 }; /* the rest holds little of the motion */

cyc_status cyc_alignment_free_precision(double *precision, const cyc_alignment *a, const double *held)
{
	size_t B = (size_t)a->motion->n_modes;
	precision_work w = {
		.a = a, .held = held, .out = precision, .B = B, .n_modes = B < MOST_MODES ? B : MOST_MODES
	};
	memcpy(precision, held, 3 * B * (size_t)a->n_tilts * sizeof *precision);
	return B > 0 ? cyc_parallel_for(a->n_tilts, a->n_threads, precision_task, &w) : CYC_OK;
}

/* ---------------------------------------------------------------- turns that may be motion */

typedef struct {
	precision_work w;
	const double *prior; /* T, chronological: variance of the modes' amplitudes */
	double *turns;       /* n_tilts x 3 */
} turns_work;

/*
 * Curvature of the modes' amplitudes at a tilt, M, lower half, 3 n_modes: rows of two per particle, H = L
 * L^T, L^T axes times the modes.
 */
static cyc_status mode_curvature(double *M, const precision_work *w, int32_t f)
{
	cyc_status st = CYC_OK;
	const cyc_alignment *a = w->a;
	size_t n = 3 * w->n_modes;
	double *rows = NULL;
	CYC_TRY(cyc_alloc(&rows, 2 * (size_t)a->n_particles * n, sizeof *rows));
	for (int32_t p = 0; p < a->n_particles; p++) {
		if (!cyc_pair_is_seen(a, p, f)) continue;
		const cyc_linear_pair *j = cyc_linear_of(a, p, f);
		const double *modes = a->motion->modes + (size_t)p * w->B;
		double l0 = j->H[0] > 0 ? sqrt(j->H[0]) : 0, l1 = l0 > 0 ? j->H[1] / l0 : 0,
			   l2 = sqrt(fmax(j->H[2] - l1 * l1, 0));
		for (size_t k = 0; k < 3; k++) {
			double x = l0 * j->axes[0][k] + l1 * j->axes[1][k], y = l2 * j->axes[1][k];
			double *row = rows + 2 * (size_t)p * n + k * w->n_modes;
			for (size_t b = 0; b < w->n_modes; b++) {
				row[b] = x * modes[b];
				row[n + b] = y * modes[b];
			}
		}
	}
	cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, (int)n, 2 * a->n_particles, 1, rows, (int)n, 0, M,
	            (int)n);
done:
	cyc_free(rows);
	return st;
}

/* x^T S^-1 x with the lower Cholesky factor of S. */
static double variance_of(double S[CYC_PER_TILT][CYC_PER_TILT], const double x[CYC_PER_TILT])
{
	double v[CYC_PER_TILT], sum = 0;
	for (int i = 0; i < CYC_PER_TILT; i++) {
		v[i] = x[i];
		for (int l = 0; l < i; l++) v[i] -= S[i][l] * v[l];
		v[i] /= S[i][i];
		sum += v[i] * v[i];
	}
	return sum;
}

static cyc_status turns_task(void *arg, int64_t t, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const turns_work *u = arg;
	const precision_work *w = &u->w;
	const cyc_alignment *a = w->a;
	int32_t f = a->order[t];
	size_t n = 3 * w->n_modes;
	double S[CYC_PER_TILT][CYC_PER_TILT] = { { 0 } }, free_S[CYC_PER_TILT][CYC_PER_TILT];
	double *V = NULL, *M = NULL, rows[3][CYC_PER_TILT];
	if (!(u->prior[t] > 0)) goto done;
	CYC_TRY(cyc_alloc(&V, CYC_PER_TILT * n, sizeof *V));
	CYC_TRY(cyc_alloc(&M, n * n, sizeof *M));
	for (int i = 0; i < CYC_PER_TILT; i++) S[i][i] = 1;
	for (int32_t p = 0; p < a->n_particles; p++)
		if (cyc_pair_is_seen(a, p, f)) add_pair(S, V, w, p, f);
	CYC_TRY(mode_curvature(M, w, f));
	for (size_t i = 0; i < n; i++) M[i * n + i] += 1 / u->prior[t];
	CYC_CHECK(LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (int)n, M, (int)n) == 0, CYC_E_NUMERIC,
	          "the curvature of the motion is not positive definite");
	for (size_t i = 0; i < CYC_PER_TILT; i++)
		cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, M, (int)n, V + i * n, 1);
	for (size_t i = 0; i < CYC_PER_TILT; i++)
		for (size_t l = 0; l <= i; l++)
			free_S[i][l] = S[i][l] - cblas_ddot((int)n, V + i * n, 1, V + l * n, 1);
	factor(S);
	factor(free_S);
	cyc_alignment_turn_rows(rows, a->base_angles[3 * f + 1] + a->angles[3 * f + 1]);
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 3; k++) rows[i][k] *= a->angle_width_rad[3 * f + k];
		u->turns[3 * f + i] = fmax(variance_of(free_S, rows[i]) - variance_of(S, rows[i]), 0);
	}
done:
	cyc_free(V);
	cyc_free(M);
	return st;
}

cyc_status cyc_alignment_turns_in_motion(double *turns, const cyc_alignment *a, const double *prior)
{
	size_t B = (size_t)a->motion->n_modes;
	turns_work u = { { .a = a, .B = B, .n_modes = B < MOST_MODES ? B : MOST_MODES }, prior, turns };
	memset(turns, 0, 3 * (size_t)a->n_tilts * sizeof *turns);
	return B > 0 ? cyc_parallel_for(a->n_tilts, a->n_threads, turns_task, &u) : CYC_OK;
}

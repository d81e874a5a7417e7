/*
 * Errors of the motion, and their effect on the particles' positions. Modes and axes are independent, as in
 * motion_speed.c: the amplitude a_t of a mode is an offset plus a random walk, both normal, measured at each
 * tilt with the precision D_t.                  (T6.15)
 */
#include "polish/alignment.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

typedef struct {
	const cyc_alignment *a;
	const double *precision; /* T x 3 x B, chronological */
	double *walk;            /* chains x T: posterior variance of the walk after each step */
	double *extra;           /* chains: of the mean position over the tilts, minus that without motion */
	double *norms;           /* B */
	size_t T, B;
} motion_error_work;

/* Prior covariance of the walk after steps r and c, given the variance summed up to each. */
static double walk_covariance(const double *sum, size_t r, size_t c) { return fmin(sum[r], sum[c]); }

/* 1 + R A R of the tilts that show the mode, factorised; root: R of all tilts, 0 where the mode is not
 * seen. */
static cyc_status factor_chain(double *M, size_t *seen, size_t *n, const double *root, const double *sum,
                               double offset, size_t T)
{
	cyc_status st = CYC_OK;
	*n = 0;
	for (size_t t = 0; t < T; t++)
		if (root[t] > 0) seen[(*n)++] = t;
	for (size_t r = 0; r < *n; r++)
		for (size_t c = 0; c <= r; c++)
			M[r * *n + c] = (r == c ? 1 : 0) +
			                root[seen[r]] * root[seen[c]] * (offset + walk_covariance(sum, seen[r], seen[c]));
	CYC_CHECK(*n == 0 || LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (int)*n, M, (int)*n) == 0, CYC_E_NUMERIC,
	          "the covariance of a mode of motion is not positive definite");
done:
	return st;
}

/* |L^-1 u|^2, in place. */
static double reduction(double *u, const double *M, size_t n)
{
	double sum = 0;
	if (n > 0) cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, M, (int)n, u, 1);
	for (size_t i = 0; i < n; i++) sum += u[i] * u[i];
	return sum;
}

static cyc_status motion_chain_task(void *arg, int64_t item, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const motion_error_work *w = arg;
	const cyc_alignment *a = w->a;
	size_t T = w->T, k = (size_t)item / w->B, b = (size_t)item % w->B, *seen = NULL, n;
	double *work = NULL, held = 0, mean_all = 0,
		   offset = a->do_positions ? cyc_square(a->widths.position_A) / w->norms[b] : 0;
	CYC_TRY(cyc_alloc(&seen, T, sizeof *seen));
	CYC_TRY(cyc_alloc(&work, T * T + 4 * T, sizeof *work));
	double *M = work, *root = M + T * T, *sum = root + T, *u = sum + T, *mean = u + T;
	for (size_t t = 0; t < T; t++) {
		double D = w->precision[(3 * t + k) * w->B + b];
		root[t] = D > 0 ? sqrt(D) : 0;
		held += fmax(D, 0);
		sum[t] = t > 0 ? sum[t - 1] + cyc_square(cyc_step_sigma(a, t - 1)) : 0;
	}
	CYC_TRY(factor_chain(M, seen, &n, root, sum, offset, T));
	for (size_t t = 0; t < T; t++) { /* covariance of each step with the mean over the tilts */
		for (size_t r = 0; r < T; r++) mean[t] += walk_covariance(sum, r, t) / (double)T;
		mean_all += mean[t] / (double)T;
	}
	for (size_t t = 0; t < T; t++) {
		size_t at = (size_t)item * T + t;
		for (size_t i = 0; i < n; i++) u[i] = root[seen[i]] * walk_covariance(sum, seen[i], t);
		w->walk[at] = fmax(sum[t] - reduction(u, M, n), 0);
	}
	for (size_t i = 0; i < n; i++) u[i] = root[seen[i]] * (offset + mean[seen[i]]);
	w->extra[item] = fmax(offset + mean_all - reduction(u, M, n) - offset / (1 + offset * held), 0);
done:
	cyc_free(seen);
	cyc_free(work);
	return st;
}

/* Prior variance of a mode's amplitude at each step about its mean over the tilts. */
static void variances_about_mean(double *about, const cyc_alignment *a, size_t T)
{
	double mean_all = 0, sum = 0;
	/* The walk's covariance of steps r and t is the variance of the earlier one. */
	for (size_t t = 0; t < T; t++) {
		about[t] = sum;
		if (t + 1 < T) sum += cyc_square(cyc_step_sigma(a, t));
	}
	double before = 0; /* sum of the variances up to t */
	for (size_t t = 0; t < T; t++) {
		before += about[t];
		mean_all += (before + about[t] * (double)(T - 1 - t)) / (double)T / (double)T;
	}
	before = 0;
	for (size_t t = 0; t < T; t++) {
		before += about[t];
		double with_mean = (before + about[t] * (double)(T - 1 - t)) / (double)T;
		about[t] = fmax(about[t] - 2 * with_mean + mean_all, 0);
	}
}

cyc_status cyc_alignment_motion_errors(double *motion_errors, double *extra, double *turns,
                                       const cyc_alignment *a, const double *precision)
{
	cyc_status st = CYC_OK;
	motion_error_work w = {
		.a = a, .precision = precision, .T = (size_t)a->n_tilts, .B = (size_t)a->motion->n_modes
	};
	size_t N = (size_t)a->n_particles;
	double *about = NULL;
	memset(motion_errors, 0, w.T * sizeof *motion_errors);
	memset(extra, 0, 3 * N * sizeof *extra);
	memset(turns, 0, 3 * w.T * sizeof *turns);
	if (w.B == 0) goto done;
	CYC_TRY(cyc_alloc(&w.walk, 3 * w.B * w.T, sizeof *w.walk));
	CYC_TRY(cyc_alloc(&about, w.T, sizeof *about));
	CYC_TRY(cyc_alloc(&w.extra, 3 * w.B, sizeof *w.extra));
	CYC_TRY(cyc_alloc(&w.norms, w.B, sizeof *w.norms));
	for (size_t i = 0; i < N * w.B; i++) w.norms[i % w.B] += cyc_square(a->motion->modes[i]);
	CYC_TRY(cyc_parallel_for(3 * (int64_t)w.B, a->n_threads, motion_chain_task, &w));
	for (size_t i = 0; i < 3 * w.B; i++)
		for (size_t t = 0; t < w.T; t++)
			motion_errors[a->order[t]] += w.norms[i % w.B] * w.walk[i * w.T + t] / (3.0 * a->n_particles);
	for (size_t t = 0; t < w.T; t++) motion_errors[t] = sqrt(motion_errors[t]);
	variances_about_mean(about, a, w.T);
	CYC_TRY(cyc_alignment_turns_in_motion(turns, a, about));
	for (size_t p = 0; p < N; p++)
		for (size_t i = 0; i < 3 * w.B; i++)
			extra[3 * p + i / w.B] += cyc_square(a->motion->modes[p * w.B + i % w.B]) * w.extra[i];
done:
	cyc_free(w.walk);
	cyc_free(about);
	cyc_free(w.extra);
	cyc_free(w.norms);
	return st;
}

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
	double *about;           /* chains x T: the same about the walk's mean over the tilts */
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
		for (size_t i = 0; i < n; i++)
			u[i] = root[seen[i]] * (walk_covariance(sum, seen[i], t) - mean[seen[i]]);
		w->about[at] = fmax(sum[t] - 2 * mean[t] + mean_all - reduction(u, M, n), 0);
	}
	for (size_t i = 0; i < n; i++) u[i] = root[seen[i]] * (offset + mean[seen[i]]);
	w->extra[item] = fmax(offset + mean_all - reduction(u, M, n) - offset / (1 + offset * held), 0);
done:
	cyc_free(seen);
	cyc_free(work);
	return st;
}

/* The rotation of all particles equivalent to unit amplitude of a mode along an axis, by least squares:
 * per chain 3 numbers [rad]. */
static void turns_of_modes(double *turns, const motion_error_work *w)
{
	const cyc_alignment *a = w->a;
	double n = a->n_particles;
	cyc_vec3 mean = { 0, 0, 0 };
	cyc_mat3 inertia = { 0 };
	for (int32_t p = 0; p < a->n_particles; p++) {
		mean.x += a->positions_A[p].x / n;
		mean.y += a->positions_A[p].y / n;
		mean.z += a->positions_A[p].z / n;
	}
	for (int32_t p = 0; p < a->n_particles; p++) {
		const double r[3] = { a->positions_A[p].x - mean.x, a->positions_A[p].y - mean.y,
			                  a->positions_A[p].z - mean.z };
		for (int i = 0; i < 3; i++)
			for (int j = 0; j < 3; j++)
				inertia.m[i][j] += (i == j ? r[0] * r[0] + r[1] * r[1] + r[2] * r[2] : 0) - r[i] * r[j];
		for (size_t b = 0; b < w->B; b++) { /* r x e_k */
			double m = a->motion->modes[(size_t)p * w->B + b];
			const double moment[3][3] = { { 0, r[2], -r[1] }, { -r[2], 0, r[0] }, { r[1], -r[0], 0 } };
			for (size_t k = 0; k < 3; k++)
				for (int i = 0; i < 3; i++) turns[3 * (k * w->B + b) + (size_t)i] += moment[k][i] * m;
		}
	}
	cyc_mat3 inverse = cyc_mat3_inverse(inertia);
	for (size_t c = 0; c < 3 * w->B; c++) {
		cyc_vec3 v = cyc_mat3_apply(inverse, (cyc_vec3){ turns[3 * c], turns[3 * c + 1], turns[3 * c + 2] });
		const double x[3] = { v.x, v.y, v.z };
		for (int i = 0; i < 3; i++) turns[3 * c + (size_t)i] = isfinite(x[i]) ? x[i] : 0;
	}
}

/* Part of the tilts' rotations that may be motion instead, which images cannot distinguish; about the axes
 * of cyc_alignment_free_errors(). */
static cyc_status turn_variances(double *variances, const motion_error_work *w)
{
	cyc_status st = CYC_OK;
	const cyc_alignment *a = w->a;
	double *turns = NULL;
	memset(variances, 0, 3 * w->T * sizeof *variances);
	if (a->n_particles < 4) goto done; /* on a plane, or not apart */
	CYC_TRY(cyc_alloc(&turns, 9 * w->B, sizeof *turns));
	turns_of_modes(turns, w);
	for (size_t t = 0; t < w->T; t++) {
		size_t f = (size_t)a->order[t];
		const double *b = a->base_angles + 3 * f, *d = a->angles + 3 * f;
		cyc_mat3 R = cyc_tilt_to_matrix(b[0] + d[0], b[1] + d[1], 0);
		for (size_t c = 0; c < 3 * w->B; c++)
			for (size_t i = 0; i < 3; i++) {
				double turn =
					R.m[i][0] * turns[3 * c] + R.m[i][1] * turns[3 * c + 1] + R.m[i][2] * turns[3 * c + 2];
				variances[3 * f + i] += turn * turn * w->about[c * w->T + t];
			}
	}
done:
	cyc_free(turns);
	return st;
}

cyc_status cyc_alignment_motion_errors(double *motion_errors, double *extra, double *turns,
                                       const cyc_alignment *a, const double *precision)
{
	cyc_status st = CYC_OK;
	motion_error_work w = {
		.a = a, .precision = precision, .T = (size_t)a->n_tilts, .B = (size_t)a->motion->n_modes
	};
	size_t N = (size_t)a->n_particles;
	memset(motion_errors, 0, w.T * sizeof *motion_errors);
	memset(extra, 0, 3 * N * sizeof *extra);
	memset(turns, 0, 3 * w.T * sizeof *turns);
	if (w.B == 0) goto done;
	CYC_TRY(cyc_alloc(&w.walk, 3 * w.B * w.T, sizeof *w.walk));
	CYC_TRY(cyc_alloc(&w.about, 3 * w.B * w.T, sizeof *w.about));
	CYC_TRY(cyc_alloc(&w.extra, 3 * w.B, sizeof *w.extra));
	CYC_TRY(cyc_alloc(&w.norms, w.B, sizeof *w.norms));
	for (size_t i = 0; i < N * w.B; i++) w.norms[i % w.B] += cyc_square(a->motion->modes[i]);
	CYC_TRY(cyc_parallel_for(3 * (int64_t)w.B, a->n_threads, motion_chain_task, &w));
	for (size_t i = 0; i < 3 * w.B; i++)
		for (size_t t = 0; t < w.T; t++)
			motion_errors[a->order[t]] += w.norms[i % w.B] * w.walk[i * w.T + t] / (3.0 * a->n_particles);
	for (size_t t = 0; t < w.T; t++) motion_errors[t] = sqrt(motion_errors[t]);
	CYC_TRY(turn_variances(turns, &w));
	for (size_t p = 0; p < N; p++)
		for (size_t i = 0; i < 3 * w.B; i++)
			extra[3 * p + i / w.B] += cyc_square(a->motion->modes[p * w.B + i % w.B]) * w.extra[i];
done:
	cyc_free(w.walk);
	cyc_free(w.about);
	cyc_free(w.extra);
	cyc_free(w.norms);
	return st;
}

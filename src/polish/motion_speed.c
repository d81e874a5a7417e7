/*
 * How fast the particles move, from the images: the factor on the expected speed under which the images are most likely, the
 * motion itself integrated out. Modes and axes are taken one by one; about the present solution each is a random walk, on top of
 * a free offset, that is seen through Gaussian noise.                                                               (T6.11)
 */
#include "polish/alignment.h"
#include "polish/schur.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

enum { N_SPEEDS = 17, MAX_MODES = 64 };
/* The user's speed is a guess within a factor of e^2 or so: where the images do not tell, it stays. */
static const double LOG_WIDTH = 2;
/* From twice the given speed down to 1/128 of it, by factors of sqrt 2. */
static double speed_of(int i) { return pow(2, 1 - 0.5 * i); }

typedef struct {
	const cyc_alignment *a;
	const double *precision;  /* T x 3 x B, chronological */
	double *slopes;           /* T x 3 x B: of log L in the modes' amplitudes, row order */
	double *offsets;          /* 3 x B: the particles' present offsets in the modes */
	double *norms;            /* B: sum of squares of each mode over the particles */
	double *evidence;         /* chains x N_SPEEDS */
	size_t T, B, n_modes;     /* B modes are there, the first n_modes are looked at */
} speed_work;

/* What one chain shows: root of the precision, observation in units of its noise, and the walk's variance at unit speed. */
static size_t observe(double *root, double *z, double *variance, const speed_work *w, size_t k, size_t b)
{
	const cyc_alignment *a = w->a;
	double y = w->offsets[k * w->B + b], sum = 0;
	size_t n = 0;
	for (size_t t = 0; t < w->T; t++) {
		double D = w->precision[(3 * t + k) * w->B + b];
		if (t > 0) {
			double s = a->step_sigma_A[t - 1];
			y += a->speed * s * a->modes[(3 * (t - 1) + k) * w->B + b];
			sum += s * s;
		}
		if (!(D > 0)) continue;
		root[n] = sqrt(D);
		z[n] = root[n] * y + w->slopes[(3 * (size_t)a->order[t] + k) * w->B + b] / root[n];
		variance[n++] = sum;
	}
	return n;
}

/* log p(z) = -log det A / 2 - z^T A^-1 z / 2 + const,  A = 1 + D^1/2 C D^1/2, for each speed. */
static cyc_status chain_task(void *arg, int64_t item, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const speed_work *w = arg;
	size_t T = w->T, k = (size_t)item / w->n_modes, b = (size_t)item % w->n_modes;
	double *work = NULL, offset = w->a->do_positions ? cyc_square(w->a->widths.position_A) / w->norms[b] : 0;
	CYC_TRY(cyc_alloc(&work, T * T + 4 * T, sizeof *work));
	double *A = work, *root = A + T * T, *z = root + T, *variance = z + T, *x = variance + T;
	size_t n = observe(root, z, variance, w, k, b);
	for (int i = 0; i < N_SPEEDS; i++) {
		double c2 = cyc_square(speed_of(i)), value = 0;
		for (size_t r = 0; r < n; r++)
			for (size_t c = 0; c <= r; c++) A[r * n + c] = (r == c ? 1 : 0) + root[r] * root[c] * (c2 * fmin(variance[r], variance[c]) + offset);
		CYC_CHECK(n == 0 || LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (int)n, A, (int)n) == 0, CYC_E_NUMERIC, "the covariance of a mode of motion is not positive definite");
		memcpy(x, z, n * sizeof *x);
		cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, A, n > 0 ? (int)n : 1, x, 1);
		for (size_t r = 0; r < n; r++) value -= log(A[r * n + r]) + 0.5 * x[r] * x[r];
		w->evidence[(size_t)item * N_SPEEDS + (size_t)i] = value;
	}
done:
	cyc_free(work);
	return st;
}

/* Offsets of the particles in the modes: least squares, mode by mode. */
static void project_offsets(const speed_work *w)
{
	const cyc_alignment *a = w->a;
	for (int32_t p = 0; p < a->n_particles; p++) {
		const double *row = a->motion->modes + (size_t)p * w->B, o[3] = { a->offsets_A[p].x, a->offsets_A[p].y, a->offsets_A[p].z };
		for (size_t b = 0; b < w->B; b++) {
			w->norms[b] += row[b] * row[b];
			for (size_t k = 0; k < 3; k++) w->offsets[k * w->B + b] += row[b] * o[k];
		}
	}
	for (size_t i = 0; i < 3 * w->B; i++) w->offsets[i] /= w->norms[i % w->B];
}

cyc_status cyc_alignment_learn_speed(double *speed, const cyc_alignment *a, const double *precision, double *scratch)
{
	cyc_status st = CYC_OK;
	speed_work w = { .a = a, .precision = precision, .T = (size_t)a->n_tilts, .B = (size_t)a->motion->n_modes };
	double *moved = NULL, best = 0;
	w.n_modes = w.B < MAX_MODES ? w.B : MAX_MODES;
	*speed = a->speed;
	if (w.B == 0) goto done;
	CYC_TRY(cyc_alloc(&moved, 3 * (size_t)a->n_particles * w.T, sizeof *moved));
	CYC_TRY(cyc_alloc(&w.slopes, 3 * w.T * w.B, sizeof *w.slopes));
	CYC_TRY(cyc_alloc(&w.offsets, 3 * w.B, sizeof *w.offsets));
	CYC_TRY(cyc_alloc(&w.norms, w.B, sizeof *w.norms));
	CYC_TRY(cyc_alloc(&w.evidence, 3 * w.n_modes * N_SPEEDS, sizeof *w.evidence));
	CYC_TRY(cyc_alignment_slopes(moved, a, scratch));
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, 3 * a->n_tilts, (int)w.B, a->n_particles, 1, moved, 3 * a->n_tilts, a->motion->modes, (int)w.B, 0, w.slopes, (int)w.B);
	project_offsets(&w);
	CYC_TRY(cyc_parallel_for(3 * (int64_t)w.n_modes, a->n_threads, chain_task, &w));
	for (int i = 0; i < N_SPEEDS; i++) {
		double sum = -0.5 * cyc_square(log(speed_of(i)) / LOG_WIDTH);
		for (size_t c = 0; c < 3 * w.n_modes; c++) sum += w.evidence[c * N_SPEEDS + (size_t)i];
		if (i > 0 && sum <= best) continue;
		best = sum;
		*speed = speed_of(i);
	}
done:
	cyc_free(moved);
	cyc_free(w.slopes);
	cyc_free(w.offsets);
	cyc_free(w.norms);
	cyc_free(w.evidence);
	return st;
}

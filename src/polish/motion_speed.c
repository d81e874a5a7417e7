/*
 * Speed of the particles from the images: the most likely factor on the expected speed, with the motion
 * itself integrated out. Modes and axes are independent; about the current solution each is a random walk
 * plus a free offset, observed with Gaussian noise. (T6.11)
 */
#include "polish/alignment.h"
#include "polish/schur.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

enum { N_SPEEDS = 17, N_DECAYS = 4, N_FAST = 9, N_CANDIDATES = N_SPEEDS + N_DECAYS * N_FAST, MAX_MODES = 24 };
/* The user's speed is a guess, good to a factor of about e: if the images carry no information, it stays. */
static const double LOG_WIDTH = 1;
/*
 * Without a decay from twice the given speed down to 1/128 of it, by factors of sqrt 2; with one the speed is
 * that of the beginning, from eight times to 1/32 by factors of 2. Motion slows down: most of it is over
 * within the first tens of e/Å2 (Brilot et al. 2012, J Struct Biol 177:630).
 */
static double speed_of(int i)
{
	return i < N_SPEEDS ? pow(2, 1 - 0.5 * i) : pow(2, 3 - (i - N_SPEEDS) % N_FAST);
}
/* Share of the first speed that remains after many decay lengths. */
static const double LEAST_SHARE = 0.2;
static double decay_of(int i) { return i < N_SPEEDS ? 0 : 5 * pow(2, (i - N_SPEEDS) / N_FAST); }

/* Width of step t relative to the given one, for a candidate. */
static double width_of(const cyc_alignment *a, size_t t, int i)
{
	double decay = decay_of(i);
	return speed_of(i) * (decay > 0 ? LEAST_SHARE + (1 - LEAST_SHARE) * exp(-a->step_dose[t] / decay) : 1);
}

typedef struct {
	const cyc_alignment *a;
	const double *precision; /* T x 3 x B, chronological */
	double *slopes;          /* T x 3 x B: of log L in the modes' amplitudes, row order */
	double *offsets;         /* 3 x B: the particles' present offsets in the modes */
	double *norms;           /* B: sum of squares of each mode over the particles */
	double *evidence;        /* chains x N_CANDIDATES */
	size_t T, B, n_modes;    /* B modes exist, the first n_modes are used */
} speed_work;

/* Observations of one chain: root of the precision, value in units of its noise, and the tilt of each. */
static size_t observe(double *root, double *z, size_t *tilt, const speed_work *w, size_t k, size_t b)
{
	const cyc_alignment *a = w->a;
	double y = w->offsets[k * w->B + b];
	size_t n = 0;
	for (size_t t = 0; t < w->T; t++) {
		double D = w->precision[(3 * t + k) * w->B + b];
		if (t > 0) y += cyc_step_sigma(a, t - 1) * a->modes[(3 * (t - 1) + k) * w->B + b];
		if (!(D > 0)) continue;
		root[n] = sqrt(D);
		z[n] = root[n] * y + w->slopes[(3 * (size_t)a->order[t] + k) * w->B + b] / root[n];
		tilt[n++] = t;
	}
	return n;
}

/* log p(z) = -log det A / 2 - z^T A^-1 z / 2 + const,  A = 1 + D^1/2 C D^1/2, for each candidate. */
static cyc_status chain_task(void *arg, int64_t item, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const speed_work *w = arg;
	size_t T = w->T, k = (size_t)item / w->n_modes, b = (size_t)item % w->n_modes;
	size_t *tilt = NULL;
	double *work = NULL, offset = w->a->do_positions ? cyc_square(w->a->widths.position_A) / w->norms[b] : 0;
	CYC_TRY(cyc_alloc(&work, T * T + 4 * T, sizeof *work));
	CYC_TRY(cyc_alloc(&tilt, T, sizeof *tilt));
	double *A = work, *root = A + T * T, *z = root + T, *variance = z + T, *x = variance + T;
	size_t n = observe(root, z, tilt, w, k, b);
	for (int i = 0; i < (w->a->step_dose ? N_CANDIDATES : N_SPEEDS); i++) {
		double value = 0;
		variance[0] = 0;
		for (size_t t = 1; t < T; t++)
			variance[t] = variance[t - 1] + cyc_square(width_of(w->a, t - 1, i) * w->a->step_sigma_A[t - 1]);
		for (size_t r = 0; r < n; r++)
			for (size_t c = 0; c <= r; c++)
				A[r * n + c] = (r == c ? 1 : 0) +
				               root[r] * root[c] * (fmin(variance[tilt[r]], variance[tilt[c]]) + offset);
		CYC_CHECK(n == 0 || LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (int)n, A, (int)n) == 0, CYC_E_NUMERIC,
		          "the covariance of a mode of motion is not positive definite");
		memcpy(x, z, n * sizeof *x);
		cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, A, n > 0 ? (int)n : 1, x,
		            1);
		for (size_t r = 0; r < n; r++) value -= log(A[r * n + r]) + 0.5 * x[r] * x[r];
		w->evidence[(size_t)item * N_CANDIDATES + (size_t)i] = value;
	}
done:
	cyc_free(work);
	cyc_free(tilt);
	return st;
}

/* Offsets of the particles in the modes: least squares, mode by mode. */
static void project_offsets(const speed_work *w)
{
	const cyc_alignment *a = w->a;
	for (int32_t p = 0; p < a->n_particles; p++) {
		const double *row = a->motion->modes + (size_t)p * w->B,
					 o[3] = { a->offsets_A[p].x, a->offsets_A[p].y, a->offsets_A[p].z };
		for (size_t b = 0; b < w->B; b++) {
			w->norms[b] += row[b] * row[b];
			for (size_t k = 0; k < 3; k++) w->offsets[k * w->B + b] += row[b] * o[k];
		}
	}
	for (size_t i = 0; i < 3 * w->B; i++) w->offsets[i] /= w->norms[i % w->B];
}

/*
 * Few images show how fast a specimen moved in its first exposures: the widest motion they allow is not the
 * likeliest, and errors must account for it. So variances of steps are the mean over all candidates, each by
 * its evidence; those with a decay share one vote with those without.
 */
static void average(double *speed, double *factors, const speed_work *w)
{
	const cyc_alignment *a = w->a;
	int n = a->step_dose ? N_CANDIDATES : N_SPEEDS;
	double value[N_CANDIDATES], best = -HUGE_VAL, all = 0, square = 0;
	for (int i = 0; i < n; i++) {
		value[i] = -0.5 * cyc_square(log(speed_of(i)) / LOG_WIDTH) -
		           (i < N_SPEEDS ? log(N_SPEEDS) : log(N_DECAYS * N_FAST));
		for (size_t c = 0; c < 3 * w->n_modes; c++) value[i] += w->evidence[c * N_CANDIDATES + (size_t)i];
		best = fmax(best, value[i]);
	}
	for (int i = 0; i < n; i++) all += value[i] = exp(value[i] - best);
	for (size_t t = 0; t + 1 < w->T; t++) {
		double sum = 0;
		for (int i = 0; i < n; i++) sum += value[i] / all * cyc_square(width_of(a, t, i));
		factors[t] = sqrt(sum);
		square += sum / (double)(w->T - 1);
	}
	*speed = sqrt(square);
	for (size_t t = 0; t + 1 < w->T; t++) factors[t] /= *speed;
}

cyc_status cyc_alignment_learn_speed(double *speed, double *factors, const cyc_alignment *a,
                                     const double *precision, double *scratch)
{
	cyc_status st = CYC_OK;
	speed_work w = {
		.a = a, .precision = precision, .T = (size_t)a->n_tilts, .B = (size_t)a->motion->n_modes
	};
	double *moved = NULL;
	w.n_modes = w.B < MAX_MODES ? w.B : MAX_MODES;
	*speed = a->speed;
	for (size_t t = 0; t + 1 < w.T; t++) factors[t] = a->step_factor ? a->step_factor[t] : 1;
	if (w.B == 0) goto done;
	CYC_TRY(cyc_alloc(&moved, 3 * (size_t)a->n_particles * w.T, sizeof *moved));
	CYC_TRY(cyc_alloc(&w.slopes, 3 * w.T * w.B, sizeof *w.slopes));
	CYC_TRY(cyc_alloc(&w.offsets, 3 * w.B, sizeof *w.offsets));
	CYC_TRY(cyc_alloc(&w.norms, w.B, sizeof *w.norms));
	CYC_TRY(cyc_alloc(&w.evidence, 3 * w.n_modes * N_CANDIDATES, sizeof *w.evidence));
	CYC_TRY(cyc_alignment_slopes(moved, a, scratch));
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, 3 * a->n_tilts, (int)w.B, a->n_particles, 1, moved,
	            3 * a->n_tilts, a->motion->modes, (int)w.B, 0, w.slopes, (int)w.B);
	project_offsets(&w);
	CYC_TRY(cyc_parallel_for(3 * (int64_t)w.n_modes, a->n_threads, chain_task, &w));
	average(speed, factors, &w);
done:
	cyc_free(moved);
	cyc_free(w.slopes);
	cyc_free(w.offsets);
	cyc_free(w.norms);
	cyc_free(w.evidence);
	return st;
}

/*
 * Information of the images on the modes of motion when shifts and angles are free. A tilt can compensate a
 * motion common to all particles, so the precision of a mode is the one after elimination of the tilt's
 * parameters.                              (T6.11)
 */
#include "polish/alignment.h"

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

cyc_status cyc_alignment_free_precision(double *precision, const cyc_alignment *a, const double *held)
{
	enum { MOST_MODES = 64 }; /* the rest holds little of the motion */
	size_t B = (size_t)a->motion->n_modes;
	precision_work w = {
		.a = a, .held = held, .out = precision, .B = B, .n_modes = B < MOST_MODES ? B : MOST_MODES
	};
	memcpy(precision, held, 3 * B * (size_t)a->n_tilts * sizeof *precision);
	return B > 0 ? cyc_parallel_for(a->n_tilts, a->n_threads, precision_task, &w) : CYC_OK;
}

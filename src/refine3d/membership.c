#include "refine3d/membership.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LOW = CYC_BAND_LOW, HIGH = CYC_BAND_HIGH, N_BANDS = CYC_N_BANDS, ROUNDS = 200 };
/* Prior values before any particle is seen, and the number of particles each is worth. */
static const double PRIOR_PARTICLES = 9, PRIOR_OTHERS = 0.5; /* of each of the two other kinds */
static const double PRIOR_MEAN = 1, PRIOR_MEAN_WEIGHT = 1, PRIOR_SPREAD = 0.2, PRIOR_SPREAD_WEIGHT = 4;
static const double OTHER_WEIGHT = 3;                 /* for mean and spread of what is not the particle */
static const double BLOB_MEAN = 1, BLOB_SPREAD = 1.5; /* at low resolution a blob has any amplitude */
/* At high resolution a particle in a wrong pose agrees this well, relative to the right pose. */
static const double WRONG_MEAN = 0.15, WRONG_SPREAD = 0.15;
/* Of a half-set: fewer make no map, and no kinds are distinguished. */
static const double LEAST_SHARE = 0.1, LEAST_PARTICLES = 4;
static const double ENOUGH = 1e-7;
static const double FAR_BELOW = 3;        /* standard deviations: by chance one in 700 */
static const double LEAST_SCATTER = 0.05; /* of particles, beyond noise */

/* Symmetric 2 x 2. */
typedef struct {
	double ll, lh, hh;
} matrix;
typedef struct {
	double l, h;
} vector;

static matrix inverse(matrix a)
{
	double d = a.ll * a.hh - a.lh * a.lh;
	return (matrix){ a.hh / d, -a.lh / d, a.ll / d };
}

static vector apply(matrix a, vector x)
{
	return (vector){ a.ll * x.l + a.lh * x.h, a.lh * x.l + a.hh * x.h };
}

static double log_normal(double x, double mean, double variance)
{
	return -0.5 * (cyc_square(x - mean) / variance + log(2 * CYC_PI * variance));
}

static bool has_band(const cyc_agreement *a, int b)
{
	return a->band[b].variance > 0 && isfinite(a->band[b].variance);
}

/* ---------------------------------------------------------------- densities */

static double log_particle(const cyc_membership *m, const cyc_agreement *a)
{
	const cyc_band_agreement *low = &a->band[LOW], *high = &a->band[HIGH];
	double ll = m->spread[LOW][LOW] + low->variance, hh = m->spread[HIGH][HIGH] + high->variance,
		   lh = m->spread[LOW][HIGH];
	if (!has_band(a, LOW) && !has_band(a, HIGH)) return 0;
	if (!has_band(a, HIGH)) return log_normal(low->amplitude, m->mean[LOW], ll);
	if (!has_band(a, LOW)) return log_normal(high->amplitude, m->mean[HIGH], hh);
	double d = ll * hh - lh * lh, x = low->amplitude - m->mean[LOW], y = high->amplitude - m->mean[HIGH];
	return -0.5 * ((hh * x * x - 2 * lh * x * y + ll * y * y) / d + log(cyc_square(2 * CYC_PI) * d));
}

static double log_noise(const cyc_membership *m, const cyc_agreement *a, int b)
{
	double v = a->band[b].variance;
	return has_band(a, b)
	           ? log_normal(a->band[b].amplitude, m->other_mean[b] * sqrt(v), m->other_spread[b] * v)
	           : 0;
}

/* Nothing but noise in both bands; or something at low resolution, of any amplitude, and noise at high. */
static void log_others(double out[2], const cyc_membership *m, const cyc_agreement *a)
{
	double v = a->band[HIGH].variance, typical = fabs(m->mean[HIGH]);
	out[0] = log_noise(m, a, LOW) + log_noise(m, a, HIGH);
	out[1] = has_band(a, LOW) ? log_normal(a->band[LOW].amplitude, BLOB_MEAN,
	                                       cyc_square(BLOB_SPREAD) + a->band[LOW].variance)
	                          : 0;
	if (has_band(a, HIGH))
		out[1] += log_normal(a->band[HIGH].amplitude, WRONG_MEAN * typical + m->other_mean[HIGH] * sqrt(v),
		                     cyc_square(WRONG_SPREAD * typical) + m->other_spread[HIGH] * v);
}

/* ---------------------------------------------------------------- expectation maximisation */

/* Sums over particles, each with its probability of being of a class. */
typedef struct {
	double n, n_other[2];
	vector mean;
	matrix square;
	double other_n[N_BANDS], other_z[N_BANDS], other_z2[N_BANDS];
} sums;

/* The amplitude behind the noise, if it is a particle: its mean and covariance are those of a normal prior
 * and a measurement. */
static void add_particle(sums *s, const cyc_membership *m, const cyc_agreement *a, double p)
{
	const matrix T = inverse((matrix){ m->spread[LOW][LOW], m->spread[LOW][HIGH], m->spread[HIGH][HIGH] });
	const vector mean = { m->mean[LOW], m->mean[HIGH] };
	double w[N_BANDS];
	for (int b = 0; b < N_BANDS; b++) w[b] = has_band(a, b) ? 1 / a->band[b].variance : 0;
	const matrix C = inverse((matrix){ T.ll + w[LOW], T.lh, T.hh + w[HIGH] });
	vector t = apply(T, mean);
	vector x =
		apply(C, (vector){ t.l + w[LOW] * a->band[LOW].amplitude, t.h + w[HIGH] * a->band[HIGH].amplitude });
	s->n += p;
	s->mean.l += p * x.l;
	s->mean.h += p * x.h;
	s->square.ll += p * (x.l * x.l + C.ll);
	s->square.lh += p * (x.l * x.h + C.lh);
	s->square.hh += p * (x.h * x.h + C.hh);
}

static void add_other(sums *s, const cyc_agreement *a, const double p[2])
{
	for (int k = 0; k < 2; k++) s->n_other[k] += p[k];
	for (int b = 0; b < N_BANDS; b++) {
		if (!has_band(a, b)) continue;
		double z = a->band[b].amplitude / sqrt(a->band[b].variance);
		s->other_n[b] += p[0];
		s->other_z[b] += p[0] * z;
		s->other_z2[b] += p[0] * z * z;
	}
}

static void take(cyc_membership *m, double share_other[2], const sums *s, const double prior_z[N_BANDS])
{
	double n = s->n + PRIOR_MEAN_WEIGHT, k = s->n + PRIOR_SPREAD_WEIGHT,
		   all = s->n + s->n_other[0] + s->n_other[1] + PRIOR_PARTICLES + 2 * PRIOR_OTHERS;
	double prior = PRIOR_SPREAD_WEIGHT * cyc_square(PRIOR_SPREAD),
		   l = (s->mean.l + PRIOR_MEAN_WEIGHT * PRIOR_MEAN) / n,
		   h = (s->mean.h + PRIOR_MEAN_WEIGHT * PRIOR_MEAN) / n;
	m->mean[LOW] = l;
	m->mean[HIGH] = h;
	m->spread[LOW][LOW] = (s->square.ll - 2 * l * s->mean.l + s->n * l * l + prior) / k;
	m->spread[HIGH][HIGH] = (s->square.hh - 2 * h * s->mean.h + s->n * h * h + prior) / k;
	m->spread[LOW][HIGH] = m->spread[HIGH][LOW] =
		(s->square.lh - l * s->mean.h - h * s->mean.l + s->n * l * h) / k;
	for (int b = 0; b < N_BANDS; b++) {
		double count = s->other_n[b] + OTHER_WEIGHT, z = (s->other_z[b] + OTHER_WEIGHT * prior_z[b]) / count;
		m->other_mean[b] = z;
		m->other_spread[b] = (s->other_z2[b] - 2 * z * s->other_z[b] + s->other_n[b] * z * z +
		                      OTHER_WEIGHT * (1 + cyc_square(prior_z[b] - z))) /
		                     count;
	}
	m->share = (s->n + PRIOR_PARTICLES) / all;
	for (int i = 0; i < 2; i++) share_other[i] = (s->n_other[i] + PRIOR_OTHERS) / all;
}

/* From a start to the next maximum; returns the log-likelihood of all that is seen. (T8.23) */
static double maximise(double *probability, cyc_membership *m, double share_other[2],
                       const cyc_agreement *agreement, int64_t n, const double prior_z[N_BANDS])
{
	double old = 0, log_likelihood = 0;
	for (int round = 0; round < ROUNDS; round++) {
		sums s;
		memset(&s, 0, sizeof s);
		log_likelihood = 0;
		for (int64_t i = 0; i < n; i++) {
			double p[3] = { log(m->share) + log_particle(m, &agreement[i]) }, others[2], top, all = 0;
			log_others(others, m, &agreement[i]);
			for (int k = 0; k < 2; k++) p[1 + k] = log(share_other[k]) + others[k];
			top = fmax(p[0], fmax(p[1], p[2]));
			for (int k = 0; k < 3; k++) all += p[k] = exp(p[k] - top);
			for (int k = 0; k < 3; k++) p[k] /= all;
			log_likelihood += top + log(all);
			probability[i] = p[0];
			add_particle(&s, m, &agreement[i], p[0]);
			add_other(&s, &agreement[i], p + 1);
		}
		take(m, share_other, &s, prior_z);
		if (fabs(s.n - old) < ENOUGH * (double)n) break;
		old = s.n;
	}
	return log_likelihood;
}

static double quantile_of(double *v, int64_t n, double q)
{
	cyc_sort(v, (size_t)n);
	return n > 0 ? v[(int64_t)(q * (double)(n - 1))] : 1;
}

/* A quantile of the amplitudes of a band; `work` holds n. */
static double quantile(double *work, const cyc_agreement *agreement, int64_t n, int b, double q)
{
	int64_t m = 0;
	for (int64_t i = 0; i < n; i++)
		if (has_band(&agreement[i], b)) work[m++] = agreement[i].band[b].amplitude;
	return quantile_of(work, m, q);
}

/* Mean and covariance are drawn by outliers; medians are not. */
static cyc_status note_typical(cyc_membership *m, const double *probability, const cyc_agreement *agreement,
                               int64_t n)
{
	cyc_status st = CYC_OK;
	double *work = NULL;
	int64_t k = 0, used = 0;
	CYC_TRY(cyc_alloc(&work, 2 * (size_t)n + 1, sizeof *work));
	for (int64_t i = 0; i < n; i++) {
		if (probability[i] < 0.5 || !has_band(&agreement[i], HIGH)) continue;
		work[k++] = agreement[i].band[HIGH].amplitude;
		work[n + used++] = agreement[i].band[HIGH].variance;
	}
	double noise = quantile_of(work + n, used, 0.5);
	m->typical = quantile_of(work, k, 0.5);
	for (int64_t i = 0; i < k; i++) work[i] = fabs(work[i] - m->typical);
	m->scatter = fmax(cyc_square(1.4826 * quantile_of(work, k, 0.5)) - noise, cyc_square(LEAST_SCATTER));
done:
	cyc_free(work);
	return st;
}

cyc_status cyc_membership_fit(double *probability, cyc_membership *m, const cyc_agreement *agreement,
                              int64_t n, double n_poses)
{
	cyc_status st = CYC_OK;
	/* A change of pose matters at high resolution, and hardly at low. */
	const double prior_z[N_BANDS] = { 1, sqrt(2 * log(fmax(n_poses, 2))) };
	/* Either the particles differ in strength, or the best agree alike and the others are something else:
	 * whichever explains more. */
	const double mean[2][N_BANDS] = { { PRIOR_MEAN, PRIOR_MEAN },
		                              { quantile(probability, agreement, n, LOW, 0.5),
		                                quantile(probability, agreement, n, HIGH, 0.75) } };
	const double width[2] = { 0.5, PRIOR_SPREAD };
	double log_likelihood[2], found = 0;
	for (int start = 0; start < 3; start++) {
		/* The third start repeats the better of the two, unless that was the last. */
		int from = start < 2 ? start : log_likelihood[0] >= log_likelihood[1] ? 0 : 1;
		if (start == 2 && from == 1) break;
		double share_other[2] = { 0.1, 0.1 };
		*m = (cyc_membership){ .share = 0.8,
			                   .mean = { mean[from][LOW], mean[from][HIGH] },
			                   .spread = { { cyc_square(width[from]), 0 }, { 0, cyc_square(width[from]) } },
			                   .other_mean = { prior_z[LOW], prior_z[HIGH] },
			                   .other_spread = { 1, 1 },
			                   .is_told_apart = true };
		log_likelihood[from] = maximise(probability, m, share_other, agreement, n, prior_z);
	}
	CYC_TRY(note_typical(m, probability, agreement, n));
	for (int64_t i = 0; i < n; i++) found += probability[i];
	if (found < fmin(fmax(LEAST_SHARE * (double)n, LEAST_PARTICLES), 0.5 * (double)n)) {
		m->is_told_apart = false;
		for (int64_t i = 0; i < n; i++) probability[i] = 1;
	}
done:
	return st;
}

bool cyc_membership_is_far_below(const cyc_membership *m, const cyc_agreement *a)
{
	double x = a->band[HIGH].amplitude, v = a->band[HIGH].variance, missing = m->typical - x;
	if (!has_band(a, HIGH)) return false;
	return missing > FAR_BELOW * sqrt(m->scatter + v) ||
	       (x < 0.5 * m->typical && missing > FAR_BELOW * sqrt(v));
}

double cyc_membership_error(double p, double error, double width)
{
	const double SHARE = 0.6826894921370859, ROOT2 = 1.4142135623730951;
	double low = error, high = fmax(width, error);
	if (!(error > 0) || p >= 1 || width <= error) return error;
	for (int i = 0; i < 60; i++) {
		double t = 0.5 * (low + high);
		if (p * erf(t / (error * ROOT2)) + (1 - p) * erf(t / (width * ROOT2)) < SHARE) low = t;
		else high = t;
	}
	return 0.5 * (low + high);
}

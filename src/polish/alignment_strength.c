/* Strength of the images over the prediction; particles and tilts that do not look like the rest count for less.   (T6.8) */
#include "polish/alignment.h"

#include <math.h>
#include <string.h>

/* Agreement and power of one pair at the present solution. */
static void pair_agreement(double *c, double *q, const cyc_alignment *a, int32_t p, int32_t f)
{
	const cyc_pair *pair = cyc_pair_of(a, p, f);
	double at[2], g[2];
	cyc_alignment_position(at, a, p, f);
	*c = cyc_local_map_value(g, pair->map, a->grid, at[0] - pair->start_px[0], at[1] - pair->start_px[1]);
	*q = pair->power;
}

/* ---------------------------------------------------------------- tilts */

/* Tilts that went wrong, before anything is known of a series: one in fifty. */
static const double SHARE_BAD = 0.02;
/* Fewer do not tell how much tilts differ. */
enum { FEWEST_TILTS = 5, N_SPREADS = 13 };
/* Spread of the strengths of good tilts: 0.02 to 1.3, by factors of sqrt 2. */
static double spread_of(int i) { return 0.02 * pow(2, 0.5 * i); }

static double normal_density(double x, double variance) { return exp(-0.5 * x * x / variance) / sqrt(2 * CYC_PI * variance); }
static double normal_share(double x) { return 0.5 * erfc(-x / sqrt(2)); }

/* Densities of a tilt's observed strength: of a good tilt, 1 but for a spread; of a bad one, anything from 0 to 1. */
static double good_density(double ratio, double noise, double spread) { return normal_density(ratio - 1, spread * spread + noise); }
static double bad_density(double ratio, double noise)
{
	double sigma = sqrt(noise);
	return fmax(normal_share(ratio / sigma) - normal_share((ratio - 1) / sigma), normal_density(ratio < 0 ? ratio : 0, noise) * 1e-6);
}

typedef struct {
	double *ratio, *noise; /* of each tilt: observed strength over that of the series, and its variance; noise 0: not seen */
	int32_t n_tilts, n_seen;
} tilt_strengths;

/* The spread under which all that is seen is likeliest. */
static double learn_spread(const tilt_strengths *t)
{
	double best = -HUGE_VAL, found = spread_of(0);
	for (int i = 0; i < N_SPREADS; i++) {
		double sum = 0, spread = spread_of(i);
		for (int32_t f = 0; f < t->n_tilts; f++) {
			if (!(t->noise[f] > 0)) continue;
			double good = (1 - SHARE_BAD) * good_density(t->ratio[f], t->noise[f], spread), bad = SHARE_BAD * bad_density(t->ratio[f], t->noise[f]);
			sum += log(good + bad + 1e-300);
		}
		if (sum <= best) continue;
		best = sum;
		found = spread;
	}
	return found;
}

/* Mean of the posterior of each tilt's strength, good or bad. */
static void tilt_posteriors(double *strength, const tilt_strengths *t)
{
	double spread = learn_spread(t);
	for (int32_t f = 0; f < t->n_tilts; f++) {
		double v = t->noise[f], r = t->ratio[f];
		strength[f] = 1;
		if (!(v > 0)) continue;
		double good = (1 - SHARE_BAD) * good_density(r, v, spread), bad = SHARE_BAD * bad_density(r, v);
		double p_bad = bad / (good + bad + 1e-300), if_good = (r / v + 1 / (spread * spread)) / (1 / v + 1 / (spread * spread));
		strength[f] = fmax((1 - p_bad) * if_good + p_bad * fmin(fmax(r, 0), 1), 0);
	}
}

static cyc_status learn_tilts(cyc_alignment *a, const double *cross, const double *power)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)a->n_tilts;
	double *work = NULL;
	CYC_TRY(cyc_alloc(&work, 2 * T, sizeof *work));
	tilt_strengths t = { .ratio = work, .noise = work + T, .n_tilts = a->n_tilts };
	for (size_t f = 0; f < T; f++) {
		if (!(power[f] > 0)) continue;
		t.ratio[f] = cross[f] / (a->amplitude * power[f]);
		t.noise[f] = 1 / (2 * cyc_square(a->amplitude) * power[f]); /* log L = 2 S C - S^2 P */
		t.n_seen++;
	}
	for (size_t f = 0; f < T; f++) a->tilt_strength[f] = 1;
	if (t.n_seen >= FEWEST_TILTS) tilt_posteriors(a->tilt_strength, &t);
done:
	cyc_free(work);
	return st;
}

/* ---------------------------------------------------------------- all */

cyc_status cyc_alignment_learn_strengths(cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)a->n_tilts;
	double cross = 0, power = 0, *of_tilts = NULL, *of_particle = NULL;
	if (a->is_unweighted) return CYC_OK;
	CYC_TRY(cyc_alloc(&of_tilts, 2 * T, sizeof *of_tilts));
	CYC_TRY(cyc_alloc(&of_particle, 2 * T, sizeof *of_particle));
	for (int32_t p = 0; p < a->n_particles; p++) {
		double c = 0, q = 0;
		if (a->left_out && a->left_out[p]) continue;
		memset(of_particle, 0, 2 * T * sizeof *of_particle);
		for (size_t f = 0; f < T; f++) {
			if (!cyc_pair_is_seen(a, p, (int32_t)f)) continue;
			pair_agreement(&of_particle[f], &of_particle[T + f], a, p, (int32_t)f);
			c += a->tilt_strength[f] * of_particle[f];
			q += cyc_square(a->tilt_strength[f]) * of_particle[T + f];
		}
		/* A particle that agrees five times less than its peers (a->amplitude) is a neighbour, an aggregate or empty ice. */
		double strength = q > 0 ? c / q : 0, least = 0.2 * a->amplitude;
		a->particle_weight[p] = strength >= least ? 1 : strength > 0 ? strength / least : 0;
		cross += a->particle_weight[p] * c;
		power += a->particle_weight[p] * q;
		for (size_t i = 0; i < 2 * T; i++) of_tilts[i] += a->particle_weight[p] * of_particle[i];
	}
	if (!(power > 0 && cross > 0)) goto done;
	a->amplitude = cross / power;
	CYC_TRY(learn_tilts(a, of_tilts, of_tilts + T));
done:
	cyc_free(of_tilts);
	cyc_free(of_particle);
	return st;
}

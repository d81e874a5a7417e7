/* Strength of the images over the prediction; unusual particles and tilts get less weight. (T6.8) */
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

/* What a map shows at the present solution: minus the trace of its second derivatives, and its squared slope.
 */
static void pair_shape(double *curvature, double *slope2, const cyc_alignment *a, int32_t p, int32_t f)
{
	const cyc_pair *pair = cyc_pair_of(a, p, f);
	double at[2], g[2], up[2], down[2], h = 0.25 * a->grid.step_px;
	cyc_alignment_position(at, a, p, f);
	double x = at[0] - pair->start_px[0], y = at[1] - pair->start_px[1];
	(void)cyc_local_map_value(g, pair->map, a->grid, x, y);
	*slope2 = g[0] * g[0] + g[1] * g[1];
	*curvature = 0;
	for (int k = 0; k < 2; k++) {
		(void)cyc_local_map_value(up, pair->map, a->grid, x + (k == 0 ? h : 0), y + (k == 1 ? h : 0));
		(void)cyc_local_map_value(down, pair->map, a->grid, x - (k == 0 ? h : 0), y - (k == 1 ? h : 0));
		*curvature -= (up[k] - down[k]) / (2 * h);
	}
}

/* ---------------------------------------------------------------- tilts */

/* Prior share of bad tilts: one in fifty. */
static const double SHARE_BAD = 0.02;
/* Fewer do not show how much tilts differ. */
enum { FEWEST_TILTS = 5, N_SPREADS = 13 };
/* Spread of the strengths of good tilts: 0.02 to 1.3, by factors of sqrt 2. */
static double spread_of(int i) { return 0.02 * pow(2, 0.5 * i); }

static double normal_density(double x, double variance)
{
	return exp(-0.5 * x * x / variance) / sqrt(2 * CYC_PI * variance);
}
static double normal_share(double x) { return 0.5 * erfc(-x / sqrt(2)); }

/* Densities of a tilt's observed strength: of a good tilt, 1 but for a spread; of a bad one, anything from 0
 * to 1. */
static double good_density(double ratio, double noise, double spread)
{
	return normal_density(ratio - 1, spread * spread + noise);
}
static double bad_density(double ratio, double noise)
{
	double sigma = sqrt(noise);
	return fmax(normal_share(ratio / sigma) - normal_share((ratio - 1) / sigma),
	            normal_density(ratio < 0 ? ratio : 0, noise) * 1e-6);
}

typedef struct {
	double *ratio, *noise; /* of each tilt: observed strength over that of the series, and its variance; noise
	                          0: not seen */
	int32_t n_tilts, n_seen;
} tilt_strengths;

/* The most likely spread. */
static double learn_spread(const tilt_strengths *t)
{
	double best = -HUGE_VAL, found = spread_of(0);
	for (int i = 0; i < N_SPREADS; i++) {
		double sum = 0, spread = spread_of(i);
		for (int32_t f = 0; f < t->n_tilts; f++) {
			if (!(t->noise[f] > 0)) continue;
			double good = (1 - SHARE_BAD) * good_density(t->ratio[f], t->noise[f], spread),
				   bad = SHARE_BAD * bad_density(t->ratio[f], t->noise[f]);
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
		double p_bad = bad / (good + bad + 1e-300),
			   if_good = (r / v + 1 / (spread * spread)) / (1 / v + 1 / (spread * spread));
		strength[f] = fmax((1 - p_bad) * if_good + p_bad * fmin(fmax(r, 0), 1), 0);
	}
}

static cyc_status learn_tilts(cyc_alignment *a, double strength, const double *cross, const double *power)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)a->n_tilts;
	double *work = NULL;
	CYC_TRY(cyc_alloc(&work, 2 * T, sizeof *work));
	tilt_strengths t = { .ratio = work, .noise = work + T, .n_tilts = a->n_tilts };
	for (size_t f = 0; f < T; f++) {
		if (!(power[f] > 0)) continue;
		t.ratio[f] = cross[f] / (strength * power[f]);
		t.noise[f] = 1 / (2 * cyc_square(strength) * power[f]); /* log L = 2 S C - S^2 P */
		t.n_seen++;
	}
	for (size_t f = 0; f < T; f++) a->tilt_strength[f] = 1;
	if (t.n_seen >= FEWEST_TILTS) tilt_posteriors(a->tilt_strength, &t);
done:
	cyc_free(work);
	return st;
}

/* ---------------------------------------------------------------- all */

/* Beyond this ratio to the agreement the curvature is that of noise. */
static const double MOST_RATIO = 3;

/* Sums over the particles of a tilt, with their weights. */
typedef struct {
	double curvature, expected; /* observed, and at strength 1 */
	double slope2, n;           /* squared slopes, and how many */
} tilt_shape;

static tilt_shape shape_of_tilt(const cyc_alignment *a, int32_t f)
{
	tilt_shape t = { 0 };
	double c, g2;
	for (int32_t p = 0; p < a->n_particles; p++) {
		if (!cyc_pair_is_seen(a, p, f)) continue;
		const cyc_pair *pair = cyc_pair_of(a, p, f);
		double w = a->particle_weight[p];
		pair_shape(&c, &g2, a, p, f);
		t.curvature += 2 * w * c;
		t.slope2 += 4 * w * g2;
		t.expected += w * (pair->curve[0] + pair->curve[2]);
		t.n += 2 * w;
	}
	return t;
}

typedef struct {
	const cyc_alignment *a;
	tilt_shape *of_tilts;
} shape_work;

static cyc_status tilt_shape_task(void *arg, int64_t f, int i_thread)
{
	(void)i_thread;
	const shape_work *w = arg;
	w->of_tilts[f] = shape_of_tilt(w->a, (int32_t)f);
	return CYC_OK;
}

/*
 * The precision of positions is the curvature of the maps at their maxima. It differs from that expected from
 * reference and agreement: a reference blurred by the errors now being corrected is too weak at high
 * frequency, more so at low dose. The ratio is modelled as linear in dose, fitted to all tilts. Slopes
 * scatter more than expected from noise if images show more than noise and the particle.
 */
static cyc_status learn_shape(cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	shape_work work = { .a = a };
	double n = 0, slope2 = 0, expected = 0, w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;
	CYC_TRY(cyc_alloc(&work.of_tilts, (size_t)a->n_tilts, sizeof *work.of_tilts));
	CYC_TRY(cyc_parallel_for(a->n_tilts, a->n_threads, tilt_shape_task, &work));
	for (int32_t f = 0; f < a->n_tilts; f++) {
		tilt_shape t = work.of_tilts[f];
		double r = a->tilt_strength[f], x = a->ts->tilts[f].pre_exposure_e_per_A2,
			   weight = r * r * t.expected;
		n += t.n;
		slope2 += r * r * t.slope2;
		expected += weight;
		if (!(weight > 0)) continue;
		double y = t.curvature / (r * t.expected * a->agreement);
		w += weight;
		wx += weight * x;
		wy += weight * y;
		wxx += weight * x * x;
		wxy += weight * x * y;
	}
	double n_fitted = 3.0 * a->n_particles + CYC_PER_TILT * (double)a->n_tilts, mean = w > 0 ? wy / w : 0,
		   spread = w * wxx - wx * wx;
	if (!(mean > 1 / MOST_RATIO && mean < MOST_RATIO && n > 2 * n_fitted)) goto done;
	double slope = spread > 1e-9 * w * wxx ? (w * wxy - wx * wy) / spread : 0;
	for (int32_t f = 0; f < a->n_tilts; f++)
		a->sharpness[f] =
			fmin(fmax(mean + slope * (a->ts->tilts[f].pre_exposure_e_per_A2 - wx / w), mean / MOST_RATIO),
		         mean * MOST_RATIO);
	a->dispersion = fmax(slope2 / expected / (1 - n_fitted / n), 1);
	a->amplitude = a->agreement / a->dispersion;
done:
	cyc_free(work.of_tilts);
	return st;
}

/* What the particles say of the strengths, each by itself. */
typedef struct {
	cyc_alignment *a;
	double *of_particles; /* n_particles x {numerator, denominator} x n_tilts */
	double *c, *q;        /* n_particles: their sums over tilts */
} strengths_work;

static cyc_status particle_strength_task(void *arg, int64_t p, int i_thread)
{
	(void)i_thread;
	const strengths_work *w = arg;
	cyc_alignment *a = w->a;
	size_t T = (size_t)a->n_tilts;
	double *of_particle = w->of_particles + (size_t)p * 2 * T, c = 0, q = 0;
	if (a->left_out && a->left_out[p]) return CYC_OK;
	for (size_t f = 0; f < T; f++) {
		if (!cyc_pair_is_seen(a, (int32_t)p, (int32_t)f)) continue;
		pair_agreement(&of_particle[f], &of_particle[T + f], a, (int32_t)p, (int32_t)f);
		c += a->tilt_strength[f] * of_particle[f];
		q += cyc_square(a->tilt_strength[f]) * of_particle[T + f];
	}
	/* A particle that agrees five times less than its peers is a neighbour, an aggregate or empty ice. */
	double strength = q > 0 ? c / q : 0, least = 0.2 * a->agreement;
	a->particle_weight[p] = strength >= least ? 1 : strength > 0 ? strength / least : 0;
	w->c[p] = c;
	w->q[p] = q;
	return CYC_OK;
}

cyc_status cyc_alignment_learn_strengths(cyc_alignment *a, bool is_settled)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)a->n_tilts, P = (size_t)a->n_particles;
	double cross = 0, power = 0, *of_tilts = NULL;
	strengths_work w = { .a = a };
	if (a->is_unweighted) return CYC_OK;
	CYC_TRY(cyc_alloc(&of_tilts, 2 * T, sizeof *of_tilts));
	CYC_TRY(cyc_alloc(&w.of_particles, P * 2 * T, sizeof *w.of_particles));
	CYC_TRY(cyc_alloc(&w.c, P, sizeof *w.c));
	CYC_TRY(cyc_alloc(&w.q, P, sizeof *w.q));
	CYC_TRY(cyc_parallel_for(a->n_particles, a->n_threads, particle_strength_task, &w));
	for (size_t p = 0; p < P; p++) {
		if (a->left_out && a->left_out[p]) continue;
		cross += a->particle_weight[p] * w.c[p];
		power += a->particle_weight[p] * w.q[p];
		for (size_t i = 0; i < 2 * T; i++)
			of_tilts[i] += a->particle_weight[p] * w.of_particles[p * 2 * T + i];
	}
	if (!(power > 0 && cross > 0)) goto done;
	a->agreement = cross / power;
	CYC_TRY(learn_tilts(a, a->agreement, of_tilts, of_tilts + T));
	a->amplitude = a->agreement;
	a->dispersion = 1;
	for (size_t f = 0; f < T; f++) a->sharpness[f] = 1;
	if (is_settled) CYC_TRY(learn_shape(a));
done:
	cyc_free(of_tilts);
	cyc_free(w.of_particles);
	cyc_free(w.c);
	cyc_free(w.q);
	return st;
}

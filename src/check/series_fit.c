#include "check/series_fit.h"

#include <math.h>
#include <string.h>

/* Width of the prior on what a tilt's defocus may be wrong by: free for what is asked here, but not beyond
 * all reason. */
static const double DEFOCUS_SD_A = 1000;
static const double DEFOCUS_RANGE_A = 2000;
/* Slopes of defocus against height that are tried: beyond both alternatives, 1 and -1. */
static const double HAND_RANGE = 2;
static const double HAND_STEP = 0.25;
/* Rounds in which phases and shell amplitudes are solved in turn. */
enum { N_ROUNDS = 3, N_AMPLITUDE_ROUNDS = 5, N_DOSE_ROUNDS = 20, N_NEWTON = 12 };

typedef struct {
	const cyc_ring_sums *sums;
	const cyc_series_optics *o;
	int32_t n_tilts, n_rings;
	double sign;           /* -1: images are inverted against the map */
	double slope;          /* of defocus against height */
	double *z_A;           /* n_tilts: change of the defocus */
	double *s;             /* n_tilts: amplitude */
	double *damage;        /* n_tilts x n_rings: amplitude that the dose leaves */
	double *alpha;         /* n_rings */
	double *phase_per_A;   /* n_rings: of an error of the defocus */
	double *cross, *power; /* n_tilts x n_rings: sums over particles at the present phases, without damage */
} fit;

static void fit_deinit(fit *a)
{
	double *const all[] = { a->z_A, a->s, a->damage, a->alpha, a->phase_per_A, a->cross, a->power };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(all[i]);
}

static cyc_status fit_init(fit *a, const cyc_ring_sums *sums, const cyc_series_optics *o)
{
	cyc_status st = CYC_OK;
	size_t n_rings = (size_t)sums->n_rings, n = (size_t)sums->n_tilts * n_rings;
	*a = (fit){
		.sums = sums, .o = o, .n_tilts = sums->n_tilts, .n_rings = sums->n_rings, .sign = 1, .slope = 1
	};
	CYC_TRY(cyc_alloc(&a->z_A, sums->n_tilts, sizeof *a->z_A));
	CYC_TRY(cyc_alloc(&a->s, sums->n_tilts, sizeof *a->s));
	CYC_TRY(cyc_alloc(&a->damage, n, sizeof *a->damage));
	CYC_TRY(cyc_alloc(&a->alpha, n_rings, sizeof *a->alpha));
	CYC_TRY(cyc_alloc(&a->phase_per_A, n_rings, sizeof *a->phase_per_A));
	CYC_TRY(cyc_alloc(&a->cross, n, sizeof *a->cross));
	CYC_TRY(cyc_alloc(&a->power, n, sizeof *a->power));
	for (int32_t r = 0; r < a->n_rings; r++) {
		a->alpha[r] = 1;
		a->phase_per_A[r] = -CYC_PI * o->wavelength_A * cyc_square(sums->k_invA[r]);
	}
	for (int32_t f = 0; f < a->n_tilts; f++)
		for (int32_t r = 0; r < a->n_rings; r++)
			a->damage[(size_t)f * n_rings + (size_t)r] =
				cyc_dose_weight(sums->k_invA[r], o->dose[f], o->bfactor_per_dose_A2);
done:
	return st;
}

static size_t image_index(const fit *a, int32_t p, int32_t f)
{
	return (size_t)p * (size_t)a->n_tilts + (size_t)f;
}

/* Change of the defocus of an image at the present fit. */
static double change_of(const fit *a, int32_t p, int32_t f)
{
	return a->z_A[f] + (a->slope - 1) * a->sums->height_A[image_index(a, p, f)];
}

/* Cross and power term of one image if its defocus is changed by u, and what a change of u does: log L = 2 S
 * A - S^2 B.    (T9.2) */
typedef struct {
	double a, b, da, db, curvature;
} image_terms;
static image_terms terms_of(const fit *a, int32_t p, int32_t f, double u_A)
{
	image_terms t = { 0 };
	const float *r = cyc_ring_sums_of(a->sums, p, f);
	const double *damage = a->damage + (size_t)f * (size_t)a->n_rings;
	for (int32_t i = 0; i < a->n_rings; i++, r += CYC_RING_N) {
		double e = a->alpha[i] * damage[i], slope = a->phase_per_A[i], delta = slope * u_A, c = cos(delta),
			   s = sin(delta);
		double xc = a->sign * (double)r[CYC_RING_XC], xq = a->sign * (double)r[CYC_RING_XQ];
		double cc = (double)r[CYC_RING_CC], cq = (double)r[CYC_RING_CQ], qq = (double)r[CYC_RING_QQ];
		double across = cc * s * s - 2 * cq * s * c + qq * c * c; /* (q cos - c sin)^2 */
		t.a += e * (xc * c + xq * s);
		t.da += e * slope * (xq * c - xc * s);
		t.b += e * e * (cc * c * c + 2 * cq * c * s + qq * s * s);
		t.db += e * e * slope * 2 * (cq * (c * c - s * s) + (qq - cc) * c * s);
		t.curvature += 2 * e * e * slope * slope * across;
	}
	return t;
}

/* Sums of tilts over their particles at the present phases. */
static void add_up_tilts(fit *a)
{
	memset(a->cross, 0, (size_t)a->n_tilts * (size_t)a->n_rings * sizeof *a->cross);
	memset(a->power, 0, (size_t)a->n_tilts * (size_t)a->n_rings * sizeof *a->power);
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double *cross = a->cross + (size_t)f * (size_t)a->n_rings,
			   *power = a->power + (size_t)f * (size_t)a->n_rings;
		for (int32_t p = 0; p < a->sums->n_particles; p++) {
			if (!a->sums->is_seen[image_index(a, p, f)]) continue;
			const float *r = cyc_ring_sums_of(a->sums, p, f);
			double u = change_of(a, p, f);
			for (int32_t i = 0; i < a->n_rings; i++, r += CYC_RING_N) {
				double c = cos(a->phase_per_A[i] * u), s = sin(a->phase_per_A[i] * u);
				cross[i] += a->sign * ((double)r[CYC_RING_XC] * c + (double)r[CYC_RING_XQ] * s);
				power[i] += (double)r[CYC_RING_CC] * c * c + 2 * (double)r[CYC_RING_CQ] * c * s +
				            (double)r[CYC_RING_QQ] * s * s;
			}
		}
	}
}

/* Amplitudes of tilts under shell amplitudes, and the log-likelihood. */
static double fit_scales(double *s, const double *cross, const double *power, const double *damage,
                         const double *alpha, int32_t n_tilts, int32_t n_rings)
{
	double log_l = 0;
	for (int32_t f = 0; f < n_tilts; f++) {
		double a = 0, b = 0;
		for (int32_t i = 0; i < n_rings; i++) {
			size_t at = (size_t)f * (size_t)n_rings + (size_t)i;
			double e = alpha[i] * damage[at];
			a += e * cross[at];
			b += e * e * power[at];
		}
		s[f] = a > 0 && b > 0 ? a / b : 0;
		log_l += s[f] * a;
	}
	return log_l;
}

/* Shell amplitudes under those of tilts: regression of images on predictions, never negative, with `reach`
 * neighbours of half weight. (T4.13) */
static void fit_alpha(double *alpha, const double *s, const double *cross, const double *power,
                      const double *damage, int32_t n_tilts, int32_t n_rings, int32_t reach)
{
	double before_a = 0, before_b = 0;
	for (int32_t i = 0; i < n_rings; i++) {
		double a = 0, b = 0;
		for (int32_t j = i > reach ? i - reach : 0; j <= i + reach && j < n_rings; j++)
			for (int32_t f = 0; f < n_tilts; f++) {
				size_t at = (size_t)f * (size_t)n_rings + (size_t)j;
				double e = s[f] * damage[at], weight = j == i ? 1 : 0.5;
				a += weight * e * cross[at];
				b += weight * e * e * power[at];
			}
		alpha[i] = a > 0 && b > 0 ? a / b : 0;
		before_a += a;
		before_b += b;
	}
	/* The product with the tilts' amplitudes is what counts: its mean stays with these. */
	for (int32_t i = 0; i < n_rings && before_a > 0; i++) alpha[i] *= before_b / before_a;
}

static void fit_amplitudes(fit *a)
{
	add_up_tilts(a);
	for (int k = 0; k < N_AMPLITUDE_ROUNDS; k++) {
		fit_scales(a->s, a->cross, a->power, a->damage, a->alpha, a->n_tilts, a->n_rings);
		fit_alpha(a->alpha, a->s, a->cross, a->power, a->damage, a->n_tilts, a->n_rings, 1);
	}
	fit_scales(a->s, a->cross, a->power, a->damage, a->alpha, a->n_tilts, a->n_rings);
}

/* ---------------------------------------------------------------- contrast */

/* Images on predictions, all tilts and shells with the amplitude that the metadata has. (T9.3) */
static cyc_measured fit_contrast(fit *a)
{
	double cross = 0, power = 0;
	a->sign = 1;
	add_up_tilts(a);
	for (size_t i = 0; i < (size_t)a->n_tilts * (size_t)a->n_rings; i++) {
		cross += a->damage[i] * a->cross[i];
		power += cyc_square(a->damage[i]) * a->power[i];
	}
	if (!(power > 0)) return (cyc_measured){ CYC_NAN, CYC_NAN };
	a->sign = cross < 0 ? -1 : 1;
	return (cyc_measured){ cross / power, sqrt(0.5 / power) };
}

/* ---------------------------------------------------------------- hand */

typedef struct {
	int32_t n_u, n_z, n_h;
	double u_min_A, step_A, z_min_A;
	float *a, *b;     /* n_particles x n_u: cross and power terms of one tilt */
	double *log_l;    /* n_h */
	double *best_z_A; /* n_h x n_tilts */
} hand_scan;

static void tabulate_tilt(hand_scan *g, const fit *a, int32_t f)
{
	for (int32_t p = 0; p < a->sums->n_particles; p++) {
		if (!a->sums->is_seen[image_index(a, p, f)]) continue;
		for (int32_t i = 0; i < g->n_u; i++) {
			image_terms t = terms_of(a, p, f, g->u_min_A + i * g->step_A);
			g->a[(size_t)p * (size_t)g->n_u + (size_t)i] = (float)t.a;
			g->b[(size_t)p * (size_t)g->n_u + (size_t)i] = (float)t.b;
		}
	}
}

/* The best common change of the defocus of a tilt for each slope, the amplitude at its best. */
static void scan_tilt(hand_scan *g, const fit *a, int32_t f)
{
	for (int32_t k = 0; k < g->n_h; k++) {
		double h = -HAND_RANGE + k * HAND_STEP, best = -HUGE_VAL;
		for (int32_t j = 0; j < g->n_z; j++) {
			double z = g->z_min_A + j * g->step_A, cross = 0, power = 0;
			for (int32_t p = 0; p < a->sums->n_particles; p++) {
				size_t image = image_index(a, p, f);
				if (!a->sums->is_seen[image]) continue;
				double at = (z + (h - 1) * a->sums->height_A[image] - g->u_min_A) / g->step_A;
				int32_t i = (int32_t)fmin(fmax(at, 0), g->n_u - 2);
				double t = at - i;
				const float *ra = g->a + (size_t)p * (size_t)g->n_u + i,
							*rb = g->b + (size_t)p * (size_t)g->n_u + i;
				cross += (1 - t) * (double)ra[0] + t * (double)ra[1];
				power += (1 - t) * (double)rb[0] + t * (double)rb[1];
			}
			double log_l =
				(cross > 0 && power > 0 ? cross * cross / power : 0) - 0.5 * cyc_square(z / DEFOCUS_SD_A);
			if (log_l > best) {
				best = log_l;
				g->best_z_A[(size_t)k * (size_t)a->n_tilts + (size_t)f] = z;
			}
		}
		g->log_l[k] += best;
	}
}

static void hand_scan_deinit(hand_scan *g)
{
	cyc_free(g->a);
	cyc_free(g->b);
	cyc_free(g->log_l);
	cyc_free(g->best_z_A);
}

static cyc_status scan_hand(hand_scan *g, const fit *a)
{
	cyc_status st = CYC_OK;
	double highest = 0, reach;
	for (size_t i = 0; i < (size_t)a->sums->n_particles * (size_t)a->n_tilts; i++)
		if (a->sums->is_seen[i]) highest = fmax(highest, fabs(a->sums->height_A[i]));
	reach = DEFOCUS_RANGE_A + (HAND_RANGE + 1) * highest;
	/* Below a quarter radian of phase at the finest ring. */
	double fine = 0.25 / fabs(a->phase_per_A[a->n_rings - 1]);
	g->n_z = 2 * (int32_t)ceil(DEFOCUS_RANGE_A / fine) + 1;
	g->step_A = 2 * DEFOCUS_RANGE_A / (g->n_z - 1);
	g->z_min_A = -DEFOCUS_RANGE_A;
	g->n_u = 2 * (int32_t)ceil(reach / g->step_A) + 3;
	g->u_min_A = -g->step_A * (g->n_u / 2);
	g->n_h = 2 * (int32_t)lround(HAND_RANGE / HAND_STEP) + 1;
	size_t n = (size_t)a->sums->n_particles * (size_t)g->n_u;
	CYC_TRY(cyc_alloc(&g->a, n, sizeof *g->a));
	CYC_TRY(cyc_alloc(&g->b, n, sizeof *g->b));
	CYC_TRY(cyc_alloc(&g->log_l, g->n_h, sizeof *g->log_l));
	CYC_TRY(cyc_alloc(&g->best_z_A, (size_t)g->n_h * (size_t)a->n_tilts, sizeof *g->best_z_A));
	for (int32_t f = 0; f < a->n_tilts; f++) {
		CYC_TRY(cyc_cancel_check());
		tabulate_tilt(g, a, f);
		scan_tilt(g, a, f);
	}
done:
	return st;
}

/*
 * A Gauss-Newton step in the slope and all tilts' defoci from where the fit is. The error of the slope counts
 * how much particles differ: the sum of squares of what each of them says (all its tilts together) against
 * the curvature, and no less than the likelihood's own. (T9.4)
 */
static cyc_status hand_step(double *step, double *error, double *z_steps, const fit *a)
{
	cyc_status st = CYC_OK;
	double *g = NULL, *J = NULL, *mean = NULL, *tilt_g = NULL, *tilt_J = NULL, H = 0, G = 0, scatter = 0;
	size_t n = (size_t)a->sums->n_particles * (size_t)a->n_tilts;
	CYC_TRY(cyc_alloc(&g, n, sizeof *g));
	CYC_TRY(cyc_alloc(&J, n, sizeof *J));
	CYC_TRY(cyc_alloc(&mean, a->n_tilts, sizeof *mean));
	CYC_TRY(cyc_alloc(&tilt_g, a->n_tilts, sizeof *tilt_g));
	CYC_TRY(cyc_alloc(&tilt_J, a->n_tilts, sizeof *tilt_J));
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double sum = 0;
		tilt_g[f] = -a->z_A[f] / cyc_square(DEFOCUS_SD_A);
		tilt_J[f] = 1 / cyc_square(DEFOCUS_SD_A);
		for (int32_t p = 0; p < a->sums->n_particles; p++) {
			size_t i = image_index(a, p, f);
			if (!a->sums->is_seen[i]) continue;
			image_terms t = terms_of(a, p, f, change_of(a, p, f));
			g[i] = 2 * a->s[f] * t.da - a->s[f] * a->s[f] * t.db;
			J[i] = a->s[f] * a->s[f] * t.curvature;
			tilt_g[f] += g[i];
			tilt_J[f] += J[i];
			sum += J[i] * a->sums->height_A[i];
		}
		mean[f] = sum / tilt_J[f];
	}
	for (int32_t p = 0; p < a->sums->n_particles; p++) {
		double score = 0;
		for (int32_t f = 0; f < a->n_tilts; f++) {
			size_t i = image_index(a, p, f);
			if (!a->sums->is_seen[i]) continue;
			double height = a->sums->height_A[i] - mean[f];
			score += g[i] * height;
			H += J[i] * height * height;
		}
		G += score;
		scatter += score * score;
	}
	for (int32_t f = 0; f < a->n_tilts; f++) G += a->z_A[f] / cyc_square(DEFOCUS_SD_A) * mean[f];
	*step = H > 0 ? G / H : 0;
	*error = H > 0 ? sqrt(fmax(1 / H, scatter / (H * H))) : CYC_NAN;
	for (int32_t f = 0; f < a->n_tilts; f++) z_steps[f] = tilt_g[f] / tilt_J[f] - mean[f] * *step;
done:
	cyc_free(g);
	cyc_free(J);
	cyc_free(mean);
	cyc_free(tilt_g);
	cyc_free(tilt_J);
	return st;
}

/* From the best point of the scan to the maximum. */
static cyc_status fit_hand(cyc_measured *hand, double *gain, fit *a)
{
	cyc_status st = CYC_OK;
	hand_scan g = { 0 };
	double *z_steps = NULL, step = 0, error = CYC_NAN;
	CYC_TRY(cyc_alloc(&z_steps, a->n_tilts, sizeof *z_steps));
	CYC_TRY(scan_hand(&g, a));
	int32_t best = 0, as_given = (int32_t)lround((HAND_RANGE + 1) / HAND_STEP),
			other = (int32_t)lround((HAND_RANGE - 1) / HAND_STEP);
	for (int32_t k = 1; k < g.n_h; k++)
		if (g.log_l[k] > g.log_l[best]) best = k;
	*gain = g.log_l[other] - g.log_l[as_given];
	a->slope = -HAND_RANGE + best * HAND_STEP;
	memcpy(a->z_A, g.best_z_A + (size_t)best * (size_t)a->n_tilts, (size_t)a->n_tilts * sizeof *a->z_A);
	for (int k = 0; k < N_NEWTON; k++) {
		add_up_tilts(a);
		fit_scales(a->s, a->cross, a->power, a->damage, a->alpha, a->n_tilts, a->n_rings);
		CYC_TRY(hand_step(&step, &error, z_steps, a));
		/* No step is longer than that of the scan: a maximum that runs away is not one. */
		step = fmin(fmax(step, -HAND_STEP), HAND_STEP);
		a->slope += step;
		for (int32_t f = 0; f < a->n_tilts; f++) a->z_A[f] += fmin(fmax(z_steps[f], -g.step_A), g.step_A);
		if (fabs(step) < 0.01 * error) break;
	}
	*hand = isfinite(error) ? (cyc_measured){ a->slope, error } : (cyc_measured){ CYC_NAN, CYC_NAN };
done:
	hand_scan_deinit(&g);
	cyc_free(z_steps);
	return st;
}

/* ---------------------------------------------------------------- dose */

typedef struct {
	const cyc_dose_data *d;
	const double *x;
	double *damage, *alpha, *s;
	double *rate; /* n_rings: -d log damage / d dose */
} dose_work;

static void set_damage(dose_work *w, double b)
{
	for (int32_t f = 0; f < w->d->n_tilts; f++)
		for (int32_t i = 0; i < w->d->n_rings; i++)
			w->damage[(size_t)f * (size_t)w->d->n_rings + (size_t)i] =
				cyc_dose_weight(w->d->k_invA[i], b * w->x[f], w->d->bfactor_per_dose_A2);
}

/* Log-likelihood of doses b x, amplitudes of shells and tilts at their best. */
static double dose_log_l(dose_work *w, double b)
{
	set_damage(w, b);
	for (int32_t i = 0; i < w->d->n_rings; i++) w->alpha[i] = 1;
	for (int k = 0; k < N_DOSE_ROUNDS; k++) {
		fit_scales(w->s, w->d->cross, w->d->power, w->damage, w->alpha, w->d->n_tilts, w->d->n_rings);
		fit_alpha(w->alpha, w->s, w->d->cross, w->d->power, w->damage, w->d->n_tilts, w->d->n_rings, 0);
	}
	return fit_scales(w->s, w->d->cross, w->d->power, w->damage, w->alpha, w->d->n_tilts, w->d->n_rings);
}

static double ring_amplitude(const dose_work *w, int32_t f, int32_t i)
{
	return w->s[f] * w->alpha[i] * w->damage[(size_t)f * (size_t)w->d->n_rings + (size_t)i];
}

/* Weighted mean of y, over the rings of a tilt or over the tilts of a ring, off y. */
static void take_off_means(double *y, const double *weight, int32_t n_outer, int32_t n_inner,
                           int32_t outer_step, int32_t inner_step)
{
	for (int32_t o = 0; o < n_outer; o++) {
		double sum = 0, total = 0;
		for (int32_t i = 0; i < n_inner; i++) {
			size_t at = (size_t)(o * outer_step + i * inner_step);
			sum += weight[at] * y[at];
			total += weight[at];
		}
		for (int32_t i = 0; i < n_inner && total > 0; i++) y[o * outer_step + i * inner_step] -= sum / total;
	}
}

/* Scatter of the doses that single tilts show about b x_f, beyond what noise explains, by moments; and its
 * part of the error.     (T9.7) */
static double dose_scatter(const dose_work *w, double b)
{
	double n = 0, W = 0, X = 0, Y = 0, XX = 0, XY = 0, YY = 0;
	for (int32_t f = 0; f < w->d->n_tilts; f++) {
		double g = 0, H = 0, HS = 0, SS = 0;
		for (int32_t i = 0; i < w->d->n_rings; i++) {
			size_t at = (size_t)f * (size_t)w->d->n_rings + (size_t)i;
			double e = ring_amplitude(w, f, i), weight = 2 * e * e * w->d->power[at];
			g -= 2 * w->rate[i] * e * (w->d->cross[at] - e * w->d->power[at]);
			H += w->rate[i] * w->rate[i] * weight;
			HS += w->rate[i] * weight;
			SS += weight;
		}
		if (SS > 0) H -= HS * HS / SS; /* the tilt's amplitude is free */
		if (!(H > 0)) continue;
		double y = g / H, x = b * w->x[f];
		W += H;
		X += H * x;
		Y += H * y;
		XX += H * x * x;
		XY += H * x * y;
		YY += H * y * y;
		n++;
	}
	if (n < 4) return 0;
	double sxx = XX - X * X / W, sxy = XY - X * Y / W;
	double chi2 = YY - Y * Y / W - (sxx > 0 ? sxy * sxy / sxx : 0);
	return fmax(0, (chi2 * n / (n - 2) - n) / W);
}

/*
 * Error of the slope b with all amplitudes of tilts and shells free: only what remains of d log damage / d b
 * after its means over the rings of each tilt and the tilts of each ring are subtracted determines b. Tilts
 * that are blurred more or less than the line says add to it.      (T9.7)
 */
static cyc_status dose_error(double *error, dose_work *w, double b)
{
	cyc_status st = CYC_OK;
	enum { N_SWEEPS = 60 };
	int32_t n_tilts = w->d->n_tilts, n_rings = w->d->n_rings;
	size_t n = (size_t)n_tilts * (size_t)n_rings;
	double *y = NULL, *weight = NULL, information = 0, tilts = 0, scatter = dose_scatter(w, b);
	*error = CYC_NAN;
	CYC_TRY(cyc_alloc(&y, n, sizeof *y));
	CYC_TRY(cyc_alloc(&weight, n, sizeof *weight));
	for (int32_t f = 0; f < n_tilts; f++)
		for (int32_t i = 0; i < n_rings; i++) {
			size_t at = (size_t)f * (size_t)n_rings + (size_t)i;
			weight[at] = 2 * cyc_square(ring_amplitude(w, f, i)) * w->d->power[at];
			y[at] = w->rate[i] * w->x[f];
		}
	for (int k = 0; k < N_SWEEPS; k++) {
		take_off_means(y, weight, n_tilts, n_rings, n_rings, 1);
		take_off_means(y, weight, n_rings, n_tilts, 1, n_rings);
	}
	for (int32_t f = 0; f < n_tilts; f++) {
		double own = 0;
		for (int32_t i = 0; i < n_rings; i++) {
			size_t at = (size_t)f * (size_t)n_rings + (size_t)i;
			information += weight[at] * y[at] * y[at];
			own += weight[at] * y[at] * w->rate[i];
		}
		tilts += own * own;
	}
	if (information > 0) *error = sqrt(1 / information + scatter * tilts / (information * information));
done:
	cyc_free(y);
	cyc_free(weight);
	return st;
}

/* The middle of a parabola through log L at `at` and `step` on both sides. */
static double parabola(dose_work *w, double at, double step)
{
	double low = dose_log_l(w, at - step), here = dose_log_l(w, at), high = dose_log_l(w, at + step),
		   bend = low - 2 * here + high;
	return bend < 0 ? at + step * fmin(fmax(0.5 * (low - high) / bend, -1), 1) : at;
}

cyc_status cyc_dose_fit(cyc_measured *slope, double log_l[3], const cyc_dose_data *data, const double *x)
{
	cyc_status st = CYC_OK;
	static const double FROM = -2, TO = 3, STEP = 0.125;
	dose_work w = { .d = data, .x = x };
	size_t n_rings = (size_t)data->n_rings;
	double best = 0;
	CYC_TRY(cyc_alloc(&w.rate, n_rings, sizeof *w.rate));
	for (int32_t i = 0; i < data->n_rings; i++)
		w.rate[i] = -log(cyc_dose_weight(data->k_invA[i], 1, data->bfactor_per_dose_A2));
	CYC_TRY(cyc_alloc(&w.damage, (size_t)data->n_tilts * n_rings, sizeof *w.damage));
	CYC_TRY(cyc_alloc(&w.alpha, n_rings, sizeof *w.alpha));
	CYC_TRY(cyc_alloc(&w.s, data->n_tilts, sizeof *w.s));
	log_l[1] = dose_log_l(&w, 1);
	log_l[2] = dose_log_l(&w, -1);
	log_l[0] = -HUGE_VAL;
	for (double b = FROM; b <= TO + STEP / 2; b += STEP) {
		double here = dose_log_l(&w, b);
		if (here > log_l[0]) {
			log_l[0] = here;
			best = b;
		}
	}
	best = parabola(&w, parabola(&w, best, STEP), STEP / 8);
	log_l[0] = dose_log_l(&w, best);
	slope->value = best;
	CYC_TRY(dose_error(&slope->error, &w, best));
	if (!isfinite(slope->error)) slope->value = CYC_NAN;
done:
	cyc_free(w.damage);
	cyc_free(w.alpha);
	cyc_free(w.s);
	cyc_free(w.rate);
	return st;
}

/* ---------------------------------------------------------------- order */

/* Dose of a step of an order that is tried; only the unit in which its dose is found. */
static const double STEP_DOSE = 3;

/* Steps before each tilt if tilts are taken in the order of `key`; equal keys share their mean. */
static void steps_before(double *x, const double *key, int32_t n)
{
	for (int32_t f = 0; f < n; f++) {
		x[f] = 0;
		for (int32_t g = 0; g < n; g++)
			x[f] += STEP_DOSE * (key[g] < key[f] ? 1 : g != f && key[g] == key[f] ? 0.5 : 0);
	}
}

/* Where no doses are given: the usual orders, the best of which counts if it is much likelier than no damage
 * at all.            (T9.6) */
static cyc_status find_order(cyc_series_evidence *e, const cyc_dose_data *data, const double *angle_rad)
{
	cyc_status st = CYC_OK;
	static const char *const NAMES[] = { "away from zero tilt", "from negative to positive tilt",
		                                 "from positive to negative tilt", "in the order of the table" };
	double *key = NULL, *x = NULL, none[3], best = -HUGE_VAL;
	int32_t n = data->n_tilts;
	CYC_TRY(cyc_alloc(&key, n, sizeof *key));
	CYC_TRY(cyc_alloc(&x, n, sizeof *x));
	cyc_measured slope;
	CYC_TRY(cyc_dose_fit(&slope, none, data, x));
	for (int k = 0; k < 4; k++) {
		double log_l[3];
		for (int32_t f = 0; f < n; f++) {
			/* Angles to a tenth of a degree: the two sides of zero tilt count as equal. */
			double angle = round(10 * cyc_rad_to_deg(angle_rad[f]));
			key[f] = k == 0 ? fabs(angle) : k == 1 ? angle : k == 2 ? -angle : f;
		}
		steps_before(x, key, n);
		CYC_TRY(cyc_dose_fit(&slope, log_l, data, x));
		if (!(slope.value >= 5 * slope.error) || log_l[0] < none[1] + 12.5 || log_l[0] <= best) continue;
		best = log_l[0];
		e->order = NAMES[k];
		e->order_dose = (cyc_measured){ STEP_DOSE * slope.value, STEP_DOSE * slope.error };
	}
done:
	cyc_free(key);
	cyc_free(x);
	return st;
}

/* ---------------------------------------------------------------- size */

static double amplitude_of(const fit *a, int32_t f, int32_t i)
{
	return a->s[f] * a->alpha[i] * a->damage[(size_t)f * (size_t)a->n_rings + (size_t)i];
}

typedef struct {
	double xg, vg, vv, gg, xv;
} stretch_terms;
static stretch_terms stretch_of(const fit *a, const float *r, int32_t i, double u_A)
{
	double c = cos(a->phase_per_A[i] * u_A), s = sin(a->phase_per_A[i] * u_A);
	double cc = c * c, cs = 2 * c * s, ss = s * s;
	return (stretch_terms){
		.xg = a->sign * ((double)r[CYC_RING_GC] * c + (double)r[CYC_RING_GQ] * s),
		.xv = a->sign * ((double)r[CYC_RING_XC] * c + (double)r[CYC_RING_XQ] * s),
		.vv = (double)r[CYC_RING_CC] * cc + (double)r[CYC_RING_CQ] * cs + (double)r[CYC_RING_QQ] * ss,
		.vg = (double)r[CYC_RING_VGCC] * cc + (double)r[CYC_RING_VGCQ] * cs + (double)r[CYC_RING_VGQQ] * ss,
		.gg = (double)r[CYC_RING_GGCC] * cc + (double)r[CYC_RING_GGCQ] * cs + (double)r[CYC_RING_GGQQ] * ss
	};
}

/* How much of the prediction each ring of its derivative has. (T9.8) */
static void ring_overlaps(double *beta, double *below, const fit *a)
{
	for (int32_t p = 0; p < a->sums->n_particles; p++)
		for (int32_t f = 0; f < a->n_tilts; f++) {
			if (!a->sums->is_seen[image_index(a, p, f)]) continue;
			const float *r = cyc_ring_sums_of(a->sums, p, f);
			double u = change_of(a, p, f);
			for (int32_t i = 0; i < a->n_rings; i++, r += CYC_RING_N) {
				double e = amplitude_of(a, f, i);
				stretch_terms t = stretch_of(a, r, i, u);
				beta[i] += e * e * t.vg;
				below[i] += e * e * t.vv;
			}
		}
	for (int32_t i = 0; i < a->n_rings; i++) beta[i] = below[i] > 0 ? beta[i] / below[i] : 0;
}

/* What a particle says about the size, with all its images: slope and curvature of log L. */
static void particle_size(double *score, double *curvature, const fit *a, const double *beta, int32_t p)
{
	*score = *curvature = 0;
	for (int32_t f = 0; f < a->n_tilts; f++) {
		if (!a->sums->is_seen[image_index(a, p, f)]) continue;
		const float *r = cyc_ring_sums_of(a->sums, p, f);
		double u = change_of(a, p, f);
		for (int32_t i = 0; i < a->n_rings; i++, r += CYC_RING_N) {
			double e = amplitude_of(a, f, i);
			stretch_terms t = stretch_of(a, r, i, u);
			*score += 2 * (e * (t.xg - beta[i] * t.xv) - e * e * (t.vg - beta[i] * t.vv));
			*curvature += 2 * e * e * (t.gg - 2 * beta[i] * t.vg + beta[i] * beta[i] * t.vv);
		}
	}
}

/* The amplitude of each ring is free, so that only what the prediction itself does not have counts of its
 * derivative.        (T9.8) */
static cyc_status fit_stretch(cyc_measured *stretch, const fit *a)
{
	cyc_status st = CYC_OK;
	double *beta = NULL, *below = NULL, *score = NULL, *curvature = NULL, G = 0, H = 0, scatter = 0;
	int32_t n = a->sums->n_particles;
	*stretch = (cyc_measured){ CYC_NAN, CYC_NAN };
	CYC_TRY(cyc_alloc(&beta, a->n_rings, sizeof *beta));
	CYC_TRY(cyc_alloc(&below, a->n_rings, sizeof *below));
	CYC_TRY(cyc_alloc(&score, n, sizeof *score));
	CYC_TRY(cyc_alloc(&curvature, n, sizeof *curvature));
	ring_overlaps(beta, below, a);
	for (int32_t p = 0; p < n; p++) {
		particle_size(&score[p], &curvature[p], a, beta, p);
		G += score[p];
		H += curvature[p];
	}
	if (!(H > 0)) goto done;
	for (int32_t p = 0; p < n; p++) scatter += cyc_square(score[p] - curvature[p] * G / H);
	*stretch = (cyc_measured){ G / H, sqrt(fmax(1 / H, scatter / (H * H))) };
done:
	cyc_free(beta);
	cyc_free(below);
	cyc_free(score);
	cyc_free(curvature);
	return st;
}

/* ---------------------------------------------------------------- all of it */

/* Noise power of the images: geometric mean over tilts and rings. */
static double mean_noise(const cyc_ring_sums *s)
{
	double sum = 0, n = 0;
	for (size_t i = 0; i < (size_t)s->n_tilts * (size_t)s->n_rings; i++) {
		if (!(s->noise[i] > 0)) continue;
		sum += log(s->noise[i]);
		n++;
	}
	return n > 0 ? exp(sum / n) : CYC_NAN;
}

cyc_status cyc_series_fit_images(cyc_series_evidence *e, const cyc_ring_sums *sums,
                                 const cyc_series_optics *optics)
{
	cyc_status st = CYC_OK;
	fit a = { 0 };
	double log_l[3], low = HUGE_VAL, high = -HUGE_VAL;
	CYC_TRY(fit_init(&a, sums, optics));
	e->n_images = sums->n_images;
	e->noise = mean_noise(sums);
	e->contrast = fit_contrast(&a);
	if (!isfinite(e->contrast.error)) goto done;
	for (int k = 0; k < N_ROUNDS; k++) {
		CYC_TRY(fit_hand(&e->hand, &e->hand_gain, &a));
		fit_amplitudes(&a);
	}
	for (int32_t f = 0; f < sums->n_tilts; f++) {
		low = fmin(low, optics->dose[f]);
		high = fmax(high, optics->dose[f]);
	}
	const cyc_dose_data data = { a.n_tilts, a.n_rings, sums->k_invA,
		                         a.cross,   a.power,   optics->bfactor_per_dose_A2 };
	if (high > low) {
		CYC_TRY(cyc_dose_fit(&e->dose, log_l, &data, optics->dose));
		e->dose_gain = log_l[2] - log_l[1];
	} else {
		CYC_TRY(find_order(e, &data, optics->angle_rad));
	}
	if (sums->has_stretch) CYC_TRY(fit_stretch(&e->stretch, &a));
done:
	fit_deinit(&a);
	return st;
}

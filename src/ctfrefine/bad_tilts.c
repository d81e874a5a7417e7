#include "ctfrefine/bad_tilts.h"

#include <math.h>
#include <string.h>

static const double LARGEST_AMPLITUDE = 1.5; /* of damaged tilts, over what is expected */
/* Remaining over expected amplitude: such a tilt has a quarter of its weight. */
static const double BAD_BELOW = 0.5;
/* From hardly visible to nothing left beyond the coarsest resolution used. */
static const double BLUR_FROM_A2 = 100, BLUR_TO_A2 = 3e4;
enum { N_BLURS = 24 };
static const double FARTHEST_DEFOCUS_A = 4e4;
static const double SURE = 0.95; /* probability from which another place is accepted */

/* log of the normal distribution's integral from -infinity to x. */
static double log_normal_below(double x)
{
	static const double TAIL = -8;
	if (x > TAIL) return log(0.5 * erfc(-x * M_SQRT1_2));
	return -0.5 * x * x - log(-x * sqrt(2 * CYC_PI)) + log1p(-1 / (x * x));
}

/* log of its integral from a to b > a, in whichever tail. */
static double log_normal_between(double a, double b)
{
	if (a > 0) {
		double swap = a;
		a = -b;
		b = -swap;
	}
	double upper = log_normal_below(b), lower = log_normal_below(a);
	return upper + log1p(-fmin(exp(lower - upper), 1 - 1e-12));
}

/* log of int exp(2 S cross - S^2 power) dS from `from` to `to`, over `range`. */
static double log_uniform(double cross, double power, double from, double to, double range)
{
	if (!(to > from)) return -1e300;
	if (!(power * range * range > 1e-12)) return log((to - from) / range);
	double root = sqrt(2 * power), mean = cross / power;
	double part = log_normal_between((from - mean) * root, (to - mean) * root);
	return cross * mean + 0.5 * log(CYC_PI / power) - log(range) + part;
}

/* The same with S normal and not negative: inverted contrast is not a particle. */
static double log_normal_prior(double cross, double power, double mean, double sd)
{
	double slope = 2 * (cross - mean * power), narrower = 1 / (1 + 2 * power * sd * sd);
	double posterior = mean + slope * sd * sd * narrower;
	double log_l =
		2 * mean * cross - mean * mean * power + 0.5 * (slope * slope * sd * sd * narrower + log(narrower));
	return log_l + log_normal_below(posterior / (sd * sqrt(narrower))) - log_normal_below(mean / sd);
}

static double log_sum(double a, double b)
{
	double most = fmax(a, b);
	return most + log(exp(a - most) + exp(b - most));
}

cyc_amplitude_prior cyc_amplitude_prior_of(const cyc_tilt_fit *t, const cyc_ctf_widths *w)
{
	double mean = exp(t->log_s_expected);
	double variance = t->log_s_expected_variance;
	return (cyc_amplitude_prior){ mean, mean * sqrt(variance), w->bad_frac, variance > 0 };
}

double cyc_amplitude_log_l(double cross, double power, const cyc_amplitude_prior *p)
{
	if (!p->is_known) return cross > 0 && power > 0 ? cross * cross / power : 0;
	double range = LARGEST_AMPLITUDE * p->mean;
	double good = log(1 - p->bad_frac) + log_normal_prior(cross, power, p->mean, p->sd);
	return log_sum(good, log(p->bad_frac) + log_uniform(cross, power, 0, range, range));
}

/* ---------------------------------------------------------------- verdict */

/* Shells' terms added up under a fall-off; `left` is the part of the expected amplitude that gets through. */
typedef struct {
	double cross, power, left;
} blurred_terms;

static blurred_terms blurred(const cyc_ctf_model *m, const cyc_tilt_view *view, double blur_A2)
{
	blurred_terms r = { 0, 0, 0 };
	double all = 0;
	for (int32_t i = 0; i < m->n_shells; i++) {
		double k2 = 0.25 * cyc_square(i * m->support->step_invA);
		double sharp = exp(-view->bfactor_A2 * k2), e = exp(-blur_A2 * k2);
		r.cross += e * sharp * view->shell_cross[i];
		r.power += cyc_square(e * sharp) * view->shell_power[i];
		r.left += e * cyc_square(sharp) * view->shell_power[i];
		all += cyc_square(sharp) * view->shell_power[i];
	}
	r.left = all > 0 ? r.left / all : 1;
	return r;
}

/*
 * Damaged tilts: all amplitudes from zero to 1.5 times the expected one are equally likely, half of the tilts
 * with a blur, half without. Bad are those that keep less than BAD_BELOW of what is expected.
 */
typedef struct {
	double good, partial, bad;
} log_evidence;

static log_evidence evidence_of(const cyc_ctf_model *m, const cyc_tilt_view *view,
                                const cyc_amplitude_prior *p)
{
	log_evidence r = { 0, -1e300, -1e300 };
	double range = LARGEST_AMPLITUDE * p->mean;
	for (int i = 0; i <= N_BLURS; i++) {
		double along = (i - 1) / (double)(N_BLURS - 1);
		double blur = i == 0 ? 0 : BLUR_FROM_A2 * pow(BLUR_TO_A2 / BLUR_FROM_A2, along);
		double weight = log(p->bad_frac) + log(i == 0 ? 0.5 : 0.5 / N_BLURS);
		blurred_terms b = blurred(m, view, blur);
		double limit = fmin(BAD_BELOW * p->mean / b.left, range);
		if (i == 0) r.good = log(1 - p->bad_frac) + log_normal_prior(b.cross, b.power, p->mean, p->sd);
		r.bad = log_sum(r.bad, weight + log_uniform(b.cross, b.power, 0, limit, range));
		r.partial = log_sum(r.partial, weight + log_uniform(b.cross, b.power, limit, range, range));
	}
	return r;
}

void cyc_tilt_judge(cyc_tilt_fit *t, const cyc_ctf_model *m, const cyc_tilt_view *view,
                    const cyc_ctf_widths *w)
{
	cyc_amplitude_prior p = cyc_amplitude_prior_of(t, w);
	if (!p.is_known) return;
	log_evidence e = evidence_of(m, view, &p);
	blurred_terms b = blurred(m, view, 0);
	/* A defocus far from input and neighbours is penalised by its prior; the absence of particles is not. */
	double good = e.good + t->z_log_prior, partial = e.partial + t->z_log_prior;
	double all = log_sum(log_sum(good, partial), e.bad);
	t->p_bad = exp(e.bad - all);
	t->p_good = exp(good - all);
	t->expected_gain = p.mean * p.mean * b.power;
	t->found_gain = 2 * p.mean * b.cross - p.mean * p.mean * b.power;
	if (!t->is_shifted) return;
	/* Part of the signal is outside the windows, so a smaller amplitude is expected. */
	t->p_bad = 0;
	t->p_good = 1;
}

/* ---------------------------------------------------------------- another place, another defocus */

/* A position where the particles may be instead; the log-likelihood there, and of all such positions,
 * equally likely. */
typedef struct {
	double log_l, all, z, d[2];
} candidate;

/* All shifts within the range, at the defocus of the input or of the trend. */
static cyc_status elsewhere(candidate *out, const cyc_tilt_fit *t, const cyc_ctf_model *m,
                            const cyc_tilt_sums *sums, double largest_A, const cyc_amplitude_prior *p,
                            cyc_ctf_scratch *scratch)
{
	cyc_status st = CYC_OK;
	double *cross = NULL, power;
	/* The peak is as wide as the finest detail. */
	double step_A = 0.25 / (m->support->step_invA * (m->n_shells - 1));
	int32_t n_half = (int32_t)(largest_A / step_A), n = 2 * n_half + 1;
	*out = (candidate){ .log_l = -1e300, .all = -1e300 };
	CYC_TRY(cyc_alloc(&cross, (size_t)n * (size_t)n, sizeof *cross));
	for (int k = 0; k < 2; k++) {
		double z = k == 0 ? t->given.mean_A : t->z_expected;
		const cyc_ctf_change at = { z, { t->given.astig_x_A, t->given.astig_y_A } };
		CYC_TRY(cyc_ctf_shift_map(cross, &power, m, sums, at, n_half, step_A, scratch));
		for (int32_t i = 0; i < n * n; i++) {
			double log_l = cyc_amplitude_log_l(cross[i], power, p);
			out->all = log_sum(out->all, log_l - log(2.0 * n * n));
			if (log_l <= out->log_l) continue;
			*out =
				(candidate){ log_l, out->all, z, { (i % n - n_half) * step_A, (i / n - n_half) * step_A } };
		}
	}
done:
	cyc_free(cross);
	return st;
}

/* All defoci within the widest range, each with its best shift nearby. */
static candidate out_of_focus(const cyc_tilt_fit *t, const cyc_ctf_model *m, const cyc_tilt_sums *sums,
                              double sigma_A, const cyc_amplitude_prior *p, cyc_ctf_scratch *scratch)
{
	/* Unpolished tilts are off by about this; tilts aligned with a wrong CTF may be as well. */
	static const double WIDEST_SHIFT_A = 5;
	/* Two radians of phase at the highest frequency from one to the next: coarser data resolve them. */
	double step_A = 8 * m->z_step_A, wide = fmax(sigma_A, WIDEST_SHIFT_A);
	int32_t half = (int32_t)ceil(FARTHEST_DEFOCUS_A / step_A);
	candidate r = { .log_l = -1e300, .all = -1e300 };
	for (int32_t i = -half; i <= half; i++) {
		double d[2], variance, cross, power;
		double z = t->given.mean_A + i * step_A;
		const cyc_ctf_change at = { z, { t->given.astig_x_A, t->given.astig_y_A } };
		cyc_ctf_fit_shift(d, &variance, m, sums, at, wide, scratch);
		cyc_ctf_load(scratch, m, sums, d);
		cyc_ctf_amplitude(&cross, &power, NULL, NULL, m, scratch, at);
		/* The part of the shift's prior that the maximum represents. */
		double prior =
			-0.5 * (d[0] * d[0] + d[1] * d[1]) / (wide * wide) + log(fmin(variance / (wide * wide), 1));
		double log_l = cyc_amplitude_log_l(cross, power, p) + prior;
		r.all = log_sum(r.all, log_l - log(2.0 * half + 1));
		if (log_l > r.log_l) r = (candidate){ log_l, r.all, at.z, { d[0], d[1] } };
	}
	return r;
}

static cyc_status widen(cyc_tilt_fit *t, const cyc_ctf_model *m)
{
	cyc_status st = CYC_OK;
	double grid_A = m->n_z * m->z_step_A;
	int32_t beside = (int32_t)ceil((FARTHEST_DEFOCUS_A - 0.5 * grid_A) / grid_A);
	if (beside < 1) goto done;
	cyc_free(t->log_l);
	t->log_l = NULL;
	t->n_tiles = 1;
	CYC_TRY(cyc_alloc(&t->log_l, (size_t)(2 * beside + 1) * (size_t)m->n_z, sizeof *t->log_l));
	t->n_tiles = 2 * beside + 1;
done:
	return st;
}

cyc_status cyc_tilt_look_further(cyc_tilt_fit *t, const cyc_ctf_model *m, const cyc_tilt_sums *sums,
                                 const cyc_tilt_view *view, const cyc_ctf_widths *w, cyc_ctf_scratch *scratch)
{
	cyc_status st = CYC_OK;
	const cyc_amplitude_prior p = cyc_amplitude_prior_of(t, w);
	if (!p.is_known || t->has_looked) goto done;
	if (t->is_at_end && t->n_tiles <= 1) CYC_TRY(widen(t, m));
	if (t->p_good > 0.5) goto done;
	t->has_looked = true;
	candidate place, focus = out_of_focus(t, m, sums, w->shift_A, &p, scratch);
	CYC_TRY(elsewhere(&place, t, m, sums, view->largest_shift_A, &p, scratch));
	double bad = evidence_of(m, view, &p).bad, cost = log(p.bad_frac);
	bool is_place = place.all > focus.all;
	const candidate *found = is_place ? &place : &focus;
	if (!(1 / (1 + exp(bad - cost - found->all)) > SURE)) goto done;
	t->is_shifted = is_place && hypot(place.d[0], place.d[1]) > 3 * w->shift_A;
	t->change = (cyc_ctf_change){ found->z, { t->given.astig_x_A, t->given.astig_y_A } };
	memcpy(t->shift_A, found->d, sizeof t->shift_A);
	t->is_found = true;
	if (t->n_tiles <= 1) CYC_TRY(widen(t, m));
done:
	return st;
}

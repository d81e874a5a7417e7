#include "ctfrefine/estimate.h"

#include "ctfrefine/bad_tilts.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

enum { LEARNING_ROUNDS = 4, ROUNDS = 3 };
static const double SMALLEST_SCALE_FACTOR = 0.05, LARGEST_ASTIGMATISM_STEP_A = 1000,
					ALPHA_SMOOTHING_SHELLS = 1.5;

cyc_status cyc_series_fit_init(cyc_series_fit *out, const cyc_tilt_series *ts, const cyc_series_sums *sums,
                               const cyc_ctf_model *m)
{
	cyc_status st = CYC_OK;
	cyc_series_fit s = { .n_tilts = ts->n_tilts };
	CYC_TRY(cyc_alloc(&s.tilts, ts->n_tilts, sizeof *s.tilts));
	CYC_TRY(cyc_ice_series_init(&s.ice, ts));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		cyc_tilt_fit *t = &s.tilts[f];
		const cyc_tilt *tilt = &ts->tilts[f];
		cyc_projection p;
		CYC_TRY(cyc_projection_of_tilt(&p, ts, f));
		t->has_data = sums->tilts[f].n_particles > 0;
		t->sin_tilt = -p.linear.m[2][0];
		t->cos_tilt = fmax(fabs(p.linear.m[2][2]), 0.2); /* 78 degrees, the most recorded: bounds 1/cos */
		t->dose_e_per_A2 = tilt->pre_exposure_e_per_A2;
		t->input = cyc_defocus_from_uva(tilt->defocus_u_A, tilt->defocus_v_A, tilt->defocus_angle_rad);
		t->input_scale = tilt->scale;
		if (t->has_data) CYC_TRY(cyc_alloc(&t->log_l, m->n_z, sizeof *t->log_l));
	}
	*out = s;
	memset(&s, 0, sizeof s);
done:
	cyc_series_fit_deinit(&s);
	return st;
}

cyc_status cyc_series_fit_recall(cyc_series_fit *s, const cyc_tomogram_set *tomograms, int32_t i_series,
                                 bool is_refined)
{
	static const char *const LABELS[] = { CYC_OWN_INPUT_DEFOCUS_U, CYC_OWN_INPUT_DEFOCUS_V,
		                                  CYC_OWN_INPUT_DEFOCUS_ANGLE, CYC_OWN_INPUT_CTF_SCALEFACTOR };
	enum { N_LABELS = sizeof LABELS / sizeof *LABELS };
	cyc_status st = CYC_OK;
	for (int32_t f = 0; f < s->n_tilts; f++) {
		cyc_tilt_fit *t = &s->tilts[f];
		double v[N_LABELS] = { 0 };
		bool has_all = true, found;
		for (int k = 0; k < N_LABELS; k++) {
			CYC_TRY(cyc_tilt_input_get(&found, &v[k], tomograms, i_series, f, LABELS[k]));
			has_all = has_all && found;
		}
		t->input_is_refined = !has_all && is_refined;
		if (!has_all) continue;
		cyc_defocus d = cyc_defocus_from_uva(v[0], v[1], cyc_deg_to_rad(v[2]));
		t->given = (cyc_defocus){ d.mean_A - t->input.mean_A, d.astig_x_A - t->input.astig_x_A,
			                      d.astig_y_A - t->input.astig_y_A };
		t->given_log_scale = v[3] > 0 && t->input_scale > 0 ? log(v[3] / t->input_scale) : 0;
	}
done:
	return st;
}

void cyc_series_fit_deinit(cyc_series_fit *s)
{
	for (int32_t f = 0; s->tilts && f < s->n_tilts; f++) cyc_free(s->tilts[f].log_l);
	cyc_free(s->tilts);
	cyc_ice_series_deinit(&s->ice);
	memset(s, 0, sizeof *s);
}

/* All tilts with data, in order: the items of the parallel loops. */
typedef struct {
	cyc_tilt_fit *fit;
	const cyc_tilt_sums *sums;
	double shift_variance_A2;
	double *shell_cross, *shell_power; /* n_shells */
	double scale_factor, weight;       /* of its share in common parameters: none if it is bad */
} item;

typedef struct {
	item *items;
	int64_t n;
	cyc_ctf_model *m;
	cyc_ctf_widths *widths;
	const cyc_ctf_estimate_options *o;
	cyc_ctf_scratch **scratch; /* n_threads */
	double *shells;            /* n x 2 n_shells: memory of the items */
} work;

static cyc_status scan_task(void *arg, int64_t i, int i_thread)
{
	work *w = arg;
	item *it = &w->items[i];
	cyc_tilt_fit *t = it->fit;
	const cyc_ctf_model *m = w->m;
	cyc_ctf_scratch *scratch = w->scratch[i_thread];
	if (t->is_found)
		cyc_ctf_refine_shift(t->shift_A, &it->shift_variance_A2, m, it->sums, t->change, scratch);
	else
		cyc_ctf_fit_shift(t->shift_A, &it->shift_variance_A2, m, it->sums, t->change, w->widths->shift_A,
		                  scratch);
	if (!w->o->do_defocus) return CYC_OK;
	cyc_ctf_load(scratch, m, it->sums, t->shift_A);
	const cyc_amplitude_prior prior = cyc_amplitude_prior_of(t, w->widths);
	int32_t n_tiles = t->n_tiles > 0 ? t->n_tiles : 1;
	double *cross = scratch->scan, *power = cross + m->n_z;
	for (int32_t tile = 0; tile < n_tiles; tile++) {
		cyc_ctf_change centre = { (tile - n_tiles / 2) * m->n_z * m->z_step_A,
			                      { t->change.a[0], t->change.a[1] } };
		cyc_ctf_scan(cross, power, m, scratch, centre);
		for (int32_t j = 0; j < m->n_z; j++)
			t->log_l[(size_t)tile * (size_t)m->n_z + (size_t)j] =
				cyc_amplitude_log_l(cross[j], power[j], &prior);
	}
	return CYC_OK;
}

/* Astigmatism seen by the image alone, with the mean defocus integrated out under its posterior width. (T4.8)
 */
static void astigmatism_data(cyc_tilt_fit *t, const double g[3], double H[3][3])
{
	double hzz = H[0][0] + 1 / fmax(t->z_variance, 1), information[2][2], step[2], gradient[2];
	for (int i = 0; i < 2; i++) {
		gradient[i] = g[i + 1] - H[i + 1][0] * g[0] / hzz;
		for (int j = 0; j < 2; j++) information[i][j] = H[i + 1][j + 1] - H[i + 1][0] * H[0][j + 1] / hzz;
	}
	double det = information[0][0] * information[1][1] - information[0][1] * information[1][0];
	memset(t->a_information, 0, sizeof t->a_information);
	t->a_data[0] = t->change.a[0];
	t->a_data[1] = t->change.a[1];
	if (!(det > 0) || !(information[0][0] > 0)) return;
	step[0] = -(information[1][1] * gradient[0] - information[0][1] * gradient[1]) / det;
	step[1] = -(information[0][0] * gradient[1] - information[1][0] * gradient[0]) / det;
	/* A step beyond the range where the phase is linear means that there is no information, not that the
	 * value is far away. */
	if (!(hypot(step[0], step[1]) < LARGEST_ASTIGMATISM_STEP_A)) return;
	t->a_data[0] += step[0];
	t->a_data[1] += step[1];
	memcpy(t->a_information, information, sizeof information);
}

static cyc_status curvature_task(void *arg, int64_t i, int i_thread)
{
	work *w = arg;
	item *it = &w->items[i];
	cyc_ctf_scratch *scratch = w->scratch[i_thread];
	double cross, power, g[3], H[3][3];
	cyc_ctf_load(scratch, w->m, it->sums, it->fit->shift_A);
	cyc_ctf_amplitude(&cross, &power, NULL, NULL, w->m, scratch, it->fit->change);
	if (w->o->do_defocus && power > 0) {
		cyc_ctf_curvature(g, H, w->m, scratch, it->fit->change, fmax(cross / power, 0.1));
		astigmatism_data(it->fit, g, H);
	}
	return CYC_OK;
}

static cyc_status amplitude_task(void *arg, int64_t i, int i_thread)
{
	work *w = arg;
	item *it = &w->items[i];
	cyc_ctf_scratch *scratch = w->scratch[i_thread];
	double cross, power, cross0, power0;
	const cyc_ctf_change none = { 0, { 0, 0 } };
	cyc_ctf_load(scratch, w->m, it->sums, it->fit->shift_A);
	cyc_ctf_amplitude(&cross0, &power0, NULL, NULL, w->m, scratch, none);
	cyc_ctf_amplitude(&cross, &power, it->shell_cross, it->shell_power, w->m, scratch, it->fit->change);
	it->scale_factor = power > 0 ? fmax(cross / power, SMALLEST_SCALE_FACTOR) : 1;
	it->weight = 1 - it->fit->p_bad;
	it->fit->gain = (power > 0 && cross > 0 ? cross * cross / power : 0) -
	                (power0 > 0 && cross0 > 0 ? cross0 * cross0 / power0 : 0);
	return CYC_OK;
}

/*
 * Amplitude of the data over the prediction, shell by shell, common to all tilts: a reference blurred by
 * wrong CTFs or poses is too weak at high frequency, and tilts of low dose, which see more of it, would seem
 * stronger.                  (T4.13)
 */
static void learn_alpha(work *w)
{
	cyc_ctf_model *m = w->m;
	double *cross = w->shells + (size_t)w->n * 2 * (size_t)m->n_shells, *power = cross + m->n_shells,
		   *alpha = power + m->n_shells;
	for (int32_t r = 0; r < m->n_shells; r++) alpha[r] = 1;
	for (int round = 0; round < 10; round++) {
		for (int32_t r = 0; r < m->n_shells; r++) {
			cross[r] = power[r] = 0;
			for (int64_t i = 0; i < w->n; i++) {
				double S = w->items[i].scale_factor;
				cross[r] += w->items[i].weight * S * w->items[i].shell_cross[r];
				power[r] += w->items[i].weight * S * S * w->items[i].shell_power[r];
			}
		}
		for (int32_t r = 0; r < m->n_shells; r++) {
			double c = 0, p = 0;
			for (int32_t q = 0; q < m->n_shells; q++) {
				double kernel = exp(-0.5 * cyc_square((q - r) / ALPHA_SMOOTHING_SHELLS));
				c += kernel * cross[q];
				p += kernel * power[q];
			}
			alpha[r] = p > 0 ? fmin(fmax(c / p, 0.05), 20) : 1;
		}
		for (int64_t i = 0; i < w->n; i++) {
			item *it = &w->items[i];
			double c = 0, p = 0;
			for (int32_t r = 0; r < m->n_shells; r++) {
				c += alpha[r] * it->shell_cross[r];
				p += alpha[r] * alpha[r] * it->shell_power[r];
			}
			if (p > 0) it->scale_factor = fmax(c / p, SMALLEST_SCALE_FACTOR);
		}
	}
	for (int32_t r = 0; r < m->n_shells; r++) m->alpha[r] *= alpha[r];
	for (int64_t i = 0; i < w->n; i++)
		for (int32_t r = 0; r < m->n_shells; r++) { /* as they would be with the new alpha */
			w->items[i].shell_cross[r] *= alpha[r];
			w->items[i].shell_power[r] *= alpha[r] * alpha[r];
		}
}

/* The likelihood of the log scale as a normal one: about the scale of the last round, so that a tilt
 * without signal has low precision; in the first round about its own. */
static void take_scale(const work *w, item *it, double cross, double power)
{
	cyc_tilt_fit *t = it->fit;
	double S = it->scale_factor;
	bool is_first = !(t->log_s_expected_variance > 0);
	/* Not below its own maximum: below it a step in the logarithm is unreliable. */
	if (!is_first && w->o->do_scale) S = fmax(exp(t->log_s), cross / fmax(power, 1e-300));
	t->s_data = power > 0 ? cross / power : 0;
	t->s_information = 2 * power;
	t->log_s_data = log(S) + (power > 0 && !is_first ? (cross / power - S) / S : 0);
	t->log_s_information = 2 * power * S * S;
}

static void scale_data(work *w)
{
	for (int64_t i = 0; i < w->n; i++) {
		item *it = &w->items[i];
		double cross = 0, power = 0;
		for (int32_t r = 0; r < w->m->n_shells; r++) {
			cross += it->shell_cross[r];
			power += it->shell_power[r];
		}
		take_scale(w, it, cross, power);
	}
}

/*
 * B-factor of one tilt from its shells: amplitude S exp(-B k^2/4) against the prediction, S free; two or
 * three Gauss-Newton steps. Afterwards S is that at the B-factor the hierarchy has settled on. (T4.26)
 */
static bool is_of(const cyc_series_fit *s, const cyc_tilt_fit *t)
{
	return t >= s->tilts && t < s->tilts + s->n_tilts;
}

typedef struct {
	double cross, power, g, h;
} falloff_terms; /* g, h: slope and curvature of log L in B with S at its best */

static falloff_terms falloff_at(const work *w, const item *it, double B)
{
	double step = w->m->support->step_invA, cross = 0, power = 0, cross_k = 0, power_k = 0, power_kk = 0;
	for (int32_t r = 0; r < w->m->n_shells; r++) {
		double k2 = 0.25 * cyc_square(r * step), e = exp(-B * k2);
		cross += e * it->shell_cross[r];
		power += e * e * it->shell_power[r];
		cross_k += k2 * e * it->shell_cross[r];
		power_k += k2 * e * e * it->shell_power[r];
		power_kk += k2 * k2 * e * e * it->shell_power[r];
	}
	double S = power > 0 ? fmax(cross / power, SMALLEST_SCALE_FACTOR) : 1;
	return (falloff_terms){ cross, power, -2 * S * cross_k + 2 * S * S * power_k,
		                    2 * S * S * (power_kk - (power > 0 ? power_k * power_k / power : 0)) };
}

/*
 * Amplitudes of the shells of one series against those of all: poses and positions are better in one series
 * than in another. Tilts of low dose contain more of the fine shells, which would bias their scales. The
 * common factor of all shells belongs to the scales; in it shells are weighted as in the tilts of high dose,
 * where blur hardly matters.                      (T4.33)
 */
static void normalise(double *weights, int32_t n)
{
	double sum = 0;
	for (int32_t r = 0; r < n; r++) sum += weights[r];
	for (int32_t r = 0; r < n && sum > 0; r++) weights[r] /= sum;
}

static double median_dose(const cyc_series_fit *s)
{
	/* The dose that half of the tilts with data have not reached; no need to sort for so few. */
	int32_t n = 0;
	double best = 0;
	for (int32_t f = 0; f < s->n_tilts; f++) n += s->tilts[f].has_data;
	for (int32_t f = 0; f < s->n_tilts; f++) {
		int32_t below = 0;
		for (int32_t g = 0; g < s->n_tilts; g++)
			below += s->tilts[g].has_data && s->tilts[g].dose_e_per_A2 < s->tilts[f].dose_e_per_A2;
		if (s->tilts[f].has_data && below <= n / 2) best = fmax(best, s->tilts[f].dose_e_per_A2);
	}
	return best;
}

/* Terms of the series' shells: data, prediction squared, and the weights by the tilts of high dose. */
static void add_shells(double *cross, double *power, double *anchor, const work *w, const cyc_series_fit *s)
{
	double middle = median_dose(s);
	for (int64_t i = 0; i < w->n; i++) {
		const item *it = &w->items[i];
		if (!is_of(s, it->fit)) continue;
		for (int32_t r = 0; r < w->m->n_shells; r++) {
			double S = it->scale_factor, p = it->weight * S * S * it->shell_power[r];
			cross[r] += it->weight * S * it->shell_cross[r];
			power[r] += p;
			if (it->fit->dose_e_per_A2 >= middle) anchor[r] += p;
		}
	}
	normalise(anchor, w->m->n_shells);
}

static void take_amplitudes(work *w, cyc_series_fit *s, const double *alpha, const double *anchor)
{
	double own = 0;
	for (int32_t r = 0; r < w->m->n_shells; r++) own += anchor[r] * anchor[r];
	for (int64_t i = 0; i < w->n; i++) {
		item *it = &w->items[i];
		double cross = 0, power = 0, overlap = 0;
		if (!is_of(s, it->fit)) continue;
		for (int32_t r = 0; r < w->m->n_shells; r++) {
			it->shell_cross[r] *= alpha[r];
			it->shell_power[r] *= alpha[r] * alpha[r];
			cross += it->shell_cross[r];
			power += it->shell_power[r];
			overlap += anchor[r] * it->shell_power[r];
		}
		it->scale_factor = power > 0 ? fmax(cross / power, SMALLEST_SCALE_FACTOR) : 1;
		it->fit->s_per_level = power > 0 && own > 0 ? 1 - fmin(overlap / power / own, 1) : 0;
	}
}

static void amplitudes_of_series(work *w, cyc_series_fit *s)
{
	static const double SMOOTHING_SHELLS = 4,
						PRIOR_SD = 0.2; /* expected spread of the amplitudes between series */
	int32_t n = w->m->n_shells;
	double *cross = w->shells + (size_t)w->n * 2 * (size_t)n, *power = cross + n, *alpha = power + n,
		   *anchor = alpha + n;
	for (int round = 0; round < 5; round++) {
		double level = 0, variance = 0;
		memset(cross, 0, 4 * (size_t)n * sizeof *cross);
		add_shells(cross, power, anchor, w, s);
		for (int32_t r = 0; r < n; r++) {
			double c = 0, p = 0;
			for (int32_t q = 0; q < n; q++) {
				double kernel = exp(-0.5 * cyc_square((q - r) / SMOOTHING_SHELLS));
				c += kernel * cross[q];
				p += kernel * power[q];
			}
			double prior =
				round == 0 ? 0.5 / cyc_square(PRIOR_SD) : 0; /* later rounds only settle the level */
			alpha[r] = p + prior > 0 ? fmin(fmax((c + prior) / (p + prior), 0.3), 3) : 1;
			level += anchor[r] * log(alpha[r]);
			variance += power[r] > 0 ? anchor[r] * anchor[r] / (2 * power[r]) : 0;
		}
		for (int32_t r = 0; r < n; r++) alpha[r] *= exp(-level);
		take_amplitudes(w, s, alpha, anchor);
		s->level_error = sqrt(variance);
	}
}

static void bfactor_data(work *w)
{
	static const double LARGEST_A2 = 300;
	for (int64_t i = 0; i < w->n; i++) {
		item *it = &w->items[i];
		double B = 0;
		falloff_terms t = { 0, 0, 0, 0 };
		for (int step = 0; step < 4; step++) {
			t = falloff_at(w, it, B);
			if (!(t.h > 0)) break;
			B = fmin(fmax(B + t.g / t.h, -LARGEST_A2), LARGEST_A2);
		}
		/* A value at the end of the range means that the shells carry no information. */
		it->fit->b_data = B;
		it->fit->b_information = t.h > 0 && fabs(B) < LARGEST_A2 ? t.h : 0;
	}
}

static void scale_at_bfactor(work *w)
{
	for (int64_t i = 0; i < w->n; i++) {
		item *it = &w->items[i];
		falloff_terms t = falloff_at(w, it, it->fit->b);
		it->scale_factor = t.power > 0 ? fmax(t.cross / t.power, SMALLEST_SCALE_FACTOR) : 1;
		take_scale(w, it, t.cross, t.power);
	}
}

void cyc_ice_measure(cyc_ice_series *ice, const cyc_series_fit *fit, const cyc_ctf_widths *w)
{
	for (int32_t f = 0; f < fit->n_tilts; f++) {
		const cyc_tilt_fit *t = &fit->tilts[f];
		ice->tilts[f].scale = t->has_data ? t->input_scale * t->s_data : 0;
		ice->tilts[f].precision = 0;
		/* Images scatter about any smooth law, which limits the weight of precise ones. */
		if (t->has_data && t->s_information > 0 && t->p_bad < 0.5)
			ice->tilts[f].precision = 1 / ((1 / t->s_information + cyc_square(w->s_trend * exp(t->log_s))) *
			                               cyc_square(t->input_scale));
	}
}

/* The paths through the ice of the series as it is inclined, if enough tilts determine it. */
static cyc_status ice_prior(work *w, cyc_series_fit *series, int32_t n_series)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < n_series; i++) {
		cyc_ice_measure(&series[i].ice, &series[i], w->widths);
		CYC_TRY(cyc_ice_fit(&series[i].ice, 1, false));
		for (int32_t f = 0; f < series[i].n_tilts && series[i].ice.is_fitted; f++)
			series[i].tilts[f].ice_path = cyc_ice_path(&series[i].ice, f);
	}
done:
	return st;
}

static void learn_shift_width(work *w)
{
	double sum = 0, count = 0;
	for (int64_t i = 0; i < w->n; i++) {
		const cyc_tilt_fit *t = w->items[i].fit;
		double weight = t->is_found ? 0 : 1 - t->p_bad;
		sum += weight *
		       (cyc_square(t->shift_A[0]) + cyc_square(t->shift_A[1]) + 2 * w->items[i].shift_variance_A2);
		count += 2 * weight;
	}
	w->widths->shift_A = fmin(fmax(sqrt((sum + 8 * 1.0) / (count + 8)), 0.2), 10);
}

/* ---------------------------------------------------------------- verdict on each tilt */

static cyc_status judge_task(void *arg, int64_t i, int i_thread)
{
	work *w = arg;
	item *it = &w->items[i];
	if (it->sums->is_blank) {
		it->fit->p_bad = 1;
		it->fit->p_good = 0;
		return CYC_OK;
	}
	const cyc_tilt_view view = { it->shell_cross, it->shell_power, w->o->do_bfactor ? it->fit->b : 0,
		                         0.25 / w->m->support->step_invA };
	cyc_tilt_judge(it->fit, w->m, &view, w->widths);
	return w->o->do_defocus
	           ? cyc_tilt_look_further(it->fit, w->m, it->sums, &view, w->widths, w->scratch[i_thread])
	           : CYC_OK;
}

/* If most tilts of a series that should show particles do not, the cause is not the single tilt: none is
 * called bad. */
static void spare_majorities(cyc_series_fit *series, int32_t n_series)
{
	static const double SOMETHING = 5; /* log-likelihood: enough for a verdict */
	for (int32_t i = 0; i < n_series; i++) {
		double bad = 0, count = 0;
		for (int32_t f = 0; f < series[i].n_tilts; f++) {
			const cyc_tilt_fit *t = &series[i].tilts[f];
			if (!t->has_data) continue;
			bad += t->p_bad;
			count += t->p_bad > 0.5 || t->expected_gain > SOMETHING;
		}
		series[i].is_spared = bad > 0.5 * count;
		for (int32_t f = 0; f < series[i].n_tilts && series[i].is_spared; f++) series[i].tilts[f].p_bad = 0;
	}
}

static cyc_status judge(work *w, cyc_series_fit *series, int32_t n_series)
{
	static const double EXPECTED_FRAC = 0.02,
						PSEUDO_COUNT = 50; /* one tilt in fifty, as good as fifty tilts */
	cyc_status st = CYC_OK;
	double damaged = 0;
	CYC_TRY(cyc_parallel_for(w->n, w->o->n_threads, judge_task, w));
	spare_majorities(series, n_series);
	for (int64_t i = 0; i < w->n; i++) damaged += 1 - w->items[i].fit->p_good;
	if (w->o->learn)
		w->widths->bad_frac =
			fmin((damaged + EXPECTED_FRAC * PSEUDO_COUNT) / ((double)w->n + PSEUDO_COUNT), 0.5);
done:
	return st;
}

static cyc_status one_round(work *w, cyc_series_fit *series, int32_t n_series)
{
	cyc_status st = CYC_OK;
	const cyc_ctf_estimate_options *o = w->o;
	CYC_TRY(cyc_parallel_for(w->n, o->n_threads, scan_task, w));
	if (o->learn) learn_shift_width(w);
	if (o->do_defocus) {
		CYC_TRY(
			cyc_hierarchy_defocus(w->widths, series, n_series, w->m->z_A, w->m->n_z, o->learn, o->n_threads));
		CYC_TRY(cyc_parallel_for(w->n, o->n_threads, curvature_task, w));
		CYC_TRY(cyc_hierarchy_astigmatism(w->widths, series, n_series, o->learn));
	}
	CYC_TRY(cyc_parallel_for(w->n, o->n_threads, amplitude_task, w));
	if (o->learn) learn_alpha(w);
	for (int32_t i = 0; i < n_series && !o->do_bfactor; i++) amplitudes_of_series(w, &series[i]);
	scale_data(w);
	if (o->do_bfactor) {
		bfactor_data(w);
		CYC_TRY(cyc_hierarchy_bfactor(w->widths, series, n_series, o->learn));
		scale_at_bfactor(w);
	}
	if (o->has_ice_prior) CYC_TRY(ice_prior(w, series, n_series));
	CYC_TRY(cyc_hierarchy_scale(w->widths, series, n_series, o->learn));
	CYC_TRY(judge(w, series, n_series));
done:
	return st;
}

cyc_status cyc_ctf_estimate(cyc_series_fit *series, cyc_ctf_widths *widths, cyc_ctf_model *m,
                            const cyc_series_sums *const *sums, int32_t n_series,
                            const cyc_ctf_estimate_options *o)
{
	cyc_status st = CYC_OK;
	work w = { .m = m, .widths = widths, .o = o };
	size_t n_shells = (size_t)m->n_shells;
	for (int32_t s = 0; s < n_series; s++)
		for (int32_t f = 0; f < series[s].n_tilts; f++) w.n += series[s].tilts[f].has_data;
	int n_threads = cyc_n_workers(w.n, o->n_threads);
	CYC_TRY(cyc_alloc(&w.items, w.n, sizeof *w.items));
	CYC_TRY(cyc_alloc(&w.shells, (size_t)w.n * 2 * n_shells + 4 * n_shells, sizeof *w.shells));
	CYC_TRY(cyc_alloc(&w.scratch, n_threads, sizeof *w.scratch));
	for (int t = 0; t < n_threads; t++) CYC_TRY(cyc_ctf_scratch_create(&w.scratch[t], m));
	int64_t i = 0;
	for (int32_t s = 0; s < n_series; s++)
		for (int32_t f = 0; f < series[s].n_tilts; f++) {
			if (!series[s].tilts[f].has_data) continue;
			w.items[i] = (item){ .fit = &series[s].tilts[f],
				                 .sums = &sums[s]->tilts[f],
				                 .shell_cross = w.shells + (size_t)i * 2 * n_shells,
				                 .shell_power = w.shells + ((size_t)i * 2 + 1) * n_shells };
			i++;
		}
	int n_rounds = o->n_rounds > 0 ? o->n_rounds : o->learn ? LEARNING_ROUNDS : ROUNDS;
	for (int round = 0; round < n_rounds && w.n > 0; round++) {
		CYC_TRY(one_round(&w, series, n_series));
		cyc_debug("round %d: widths of shift %.2f A, defocus %.0f / %.0f A, astigmatism %.0f / %.0f A, scale "
		          "%.3f / %.3f; bad tilts %.3f",
		          round + 1, widths->shift_A, widths->z_input_A, widths->z_trend_A, widths->a_input_A,
		          widths->a_trend_A, widths->s_input, widths->s_trend, widths->bad_frac);
	}
done:
	for (int t = 0; w.scratch && t < n_threads; t++) cyc_ctf_scratch_destroy(&w.scratch[t]);
	cyc_free(w.scratch);
	cyc_free(w.shells);
	cyc_free(w.items);
	return st;
}

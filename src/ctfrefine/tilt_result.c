#include "ctfrefine/tilt_result.h"

#include "cyclotomo/record.h"
#include "project/labels.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char KIND[] = "ctf of a series",
				  CONSEQUENCE[] = "this tilt series is refined from the beginning";

static const char *const STATUS_NAMES[CYC_N_TILT_STATUS] = { "changed",      "confirmed", "from-trend",
	                                                         "shifted",      "bad",       "at-limit",
	                                                         "no-particles", "excluded",  "not-asked" };
const char *cyc_tilt_status_name(cyc_tilt_status s) { return STATUS_NAMES[s]; }

/*
 * Whether a shift found is more than scatter about the aligned position: less likely, with the learned width,
 * than one tilt in a hundred such series. Tilts aligned with a grossly wrong defocus have such shifts, also
 * at their true defocus.
 */
static bool is_beyond_prior(const cyc_tilt_fit *t, const cyc_ctf_widths *w, int32_t n_tilts)
{
	double r2 = t->shift_A[0] * t->shift_A[0] + t->shift_A[1] * t->shift_A[1];
	return r2 > 2 * log(100.0 * n_tilts) * w->shift_A * w->shift_A;
}

static cyc_tilt_status classify(const cyc_tilt_fit *t, const cyc_ctf_widths *w, int32_t n_tilts,
                                bool do_defocus, bool do_scale)
{
	if (t->p_bad > 0.5) return CYC_TILT_BAD;
	if (do_defocus && t->is_at_end) return CYC_TILT_AT_LIMIT;
	bool is_elsewhere = t->is_found && hypot(t->shift_A[0], t->shift_A[1]) > 2 * w->shift_A;
	if (is_elsewhere || is_beyond_prior(t, w, n_tilts)) return CYC_TILT_SHIFTED;
	/* Uncertainty from input and neighbours alone. */
	double input = w->z_input_A / t->cos_tilt, has_input = t->input_is_refined ? 0 : 1;
	double prior_z = 1 / (has_input / (input * input) + 1 / cyc_square(w->z_trend_A));
	double prior_s = 1 / (has_input / cyc_square(w->s_input) + 1 / cyc_square(w->s_trend));
	bool defocus_is_weak = !do_defocus || t->z_variance > 0.5 * prior_z,
		 scale_is_weak = !do_scale || t->log_s_variance > 0.5 * prior_s;
	if (defocus_is_weak && scale_is_weak) return CYC_TILT_WEAK;
	bool has_moved =
		do_defocus &&
		(t->change.z * t->change.z > 4 * t->z_variance ||
	     cyc_square(t->change.a[0]) / t->a_variance[0] + cyc_square(t->change.a[1]) / t->a_variance[1] > 6);
	has_moved = has_moved || (do_scale && t->log_s * t->log_s > 4 * t->log_s_variance);
	return has_moved ? CYC_TILT_MOVED : CYC_TILT_CONFIRMED;
}

/* The search found no maximum, and its end is not a value: the true one may be anywhere in the range. */
static void keep_defocus(cyc_tilt_result *o, const cyc_tilt *in, const cyc_tilt_fit *t)
{
	o->defocus_error_A = fabs(t->change.z);
	o->defocus_u_A = in->defocus_u_A;
	o->defocus_v_A = in->defocus_v_A;
	o->defocus_angle_rad = in->defocus_angle_rad;
	o->defocus_change_A = o->astigmatism_change_A = 0;
}

/* Kept values are as good as inputs are; for the scale, the largest one consistent with the image is
 * known. */
static void condemn(cyc_tilt_result *o, const cyc_tilt_fit *t, const cyc_ctf_widths *w, bool do_defocus,
                    bool do_scale)
{
	if (do_defocus) {
		o->defocus_error_A = w->z_input_A / t->cos_tilt;
		o->astigmatism_error_A = w->a_input_A;
	}
	if (!do_scale) return;
	double expected = exp(2 * t->log_s_expected) * t->log_s_expected_variance;
	o->scale_error = o->scale / sqrt(t->s_information + 1 / expected);
	o->scale = 0;
	o->scale_ratio = 0;
}

void cyc_tilt_results_from_fit(cyc_tilt_result *r, const cyc_tilt_series *ts, const cyc_series_fit *fit,
                               const cyc_series_sums *sums, const cyc_ctf_widths *w, double gauge,
                               const cyc_ctf_estimate_options *what, const int32_t tilts[2])
{
	bool do_defocus = what->do_defocus, do_scale = what->do_scale;
	cyc_ice_series measured = fit->ice; /* shares the tilts */
	cyc_ice_measure(&measured, fit, w);
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *in = &ts->tilts[f];
		const cyc_tilt_fit *t = &fit->tilts[f];
		cyc_tilt_result *o = &r[f];
		*o = (cyc_tilt_result){ .status = in->scale == 0                 ? CYC_TILT_EXCLUDED
			                              : f < tilts[0] || f > tilts[1] ? CYC_TILT_NOT_ASKED
			                                                             : CYC_TILT_NO_DATA,
			                    .defocus_u_A = in->defocus_u_A,
			                    .defocus_v_A = in->defocus_v_A,
			                    .defocus_angle_rad = in->defocus_angle_rad,
			                    .scale = in->scale,
			                    .bfactor_A2 = in->bfactor_A2,
			                    .bfactor_error_A2 = CYC_NAN,
			                    .defocus_error_A = CYC_NAN,
			                    .astigmatism_error_A = CYC_NAN,
			                    .scale_error = CYC_NAN,
			                    .scale_ratio = 1,
			                    .n_particles = sums->tilts[f].n_particles };
		/* The gauge removes the common part of all scale factors, so that scales stay the same on average;
		 * without a factor, no gauge. */
		if (!t->has_data) continue;
		o->status = classify(t, w, ts->n_tilts, do_defocus, do_scale);
		o->p_bad = t->p_bad;
		o->is_blank = sums->tilts[f].is_blank;
		o->expected_gain = t->expected_gain;
		o->found_gain = t->found_gain;
		if (o->status == CYC_TILT_BAD) {
			condemn(o, t, w, do_defocus, do_scale);
			continue;
		}
		o->gain = t->gain;
		memcpy(o->shift_A, t->shift_A, sizeof o->shift_A);
		if (do_defocus) {
			cyc_defocus d = { t->input.mean_A + t->change.z, t->input.astig_x_A + t->change.a[0],
				              t->input.astig_y_A + t->change.a[1] };
			cyc_defocus_to_uva(&o->defocus_u_A, &o->defocus_v_A, &o->defocus_angle_rad, d);
			o->defocus_change_A = t->change.z;
			o->astigmatism_change_A = hypot(t->change.a[0], t->change.a[1]);
			o->defocus_error_A = sqrt(t->z_variance);
			o->astigmatism_error_A = sqrt(0.5 * (t->a_variance[0] + t->a_variance[1]));
			if (o->status == CYC_TILT_AT_LIMIT) keep_defocus(o, in, t);
		}
		if (do_scale) {
			o->scale_ratio = exp(t->log_s) * gauge;
			o->scale = in->scale * o->scale_ratio;
			o->scale_error = o->scale * sqrt(t->log_s_variance);
		}
		if (what->do_bfactor) {
			o->bfactor_change_A2 = t->b;
			o->bfactor_A2 = in->bfactor_A2 + t->b;
			o->bfactor_error_A2 = sqrt(t->b_variance);
		}
		o->scale_measured = measured.tilts[f].scale;
		o->scale_precision = measured.tilts[f].precision;
	}
}

void cyc_tilt_results_take_ice(cyc_tilt_result *r, const cyc_tilt_series *ts, const cyc_ice_series *ice,
                               double gauge, bool only_without_particles)
{
	for (int32_t f = 0; f < ts->n_tilts && ice->is_fitted; f++) {
		double log_error, scale = gauge * cyc_ice_scale(&log_error, ice, f);
		if (r[f].status == CYC_TILT_EXCLUDED || r[f].status == CYC_TILT_BAD ||
		    r[f].status == CYC_TILT_NOT_ASKED || (only_without_particles && r[f].status != CYC_TILT_NO_DATA))
			continue;
		r[f].scale = scale;
		r[f].scale_error = scale * log_error;
		r[f].scale_ratio = scale / ts->tilts[f].scale;
	}
}

void cyc_tilt_results_apply(cyc_tilt_series *ts, const cyc_tilt_result *r,
                            const cyc_ctf_estimate_options *what)
{
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		cyc_tilt *t = &ts->tilts[f];
		if (what->do_defocus) {
			t->defocus_u_A = r[f].defocus_u_A;
			t->defocus_v_A = r[f].defocus_v_A;
			t->defocus_angle_rad = r[f].defocus_angle_rad;
		}
		if (what->do_scale) t->scale = r[f].scale;
		if (what->do_bfactor) t->bfactor_A2 = r[f].bfactor_A2;
		if (r[f].status != CYC_TILT_SHIFTED) continue;
		t->shift_x_A += r[f].shift_A[0];
		t->shift_y_A += r[f].shift_A[1];
		t->matrix[0][3] += r[f].shift_A[0] / ts->pixel_size_A;
		t->matrix[1][3] += r[f].shift_A[1] / ts->pixel_size_A;
	}
}

/* ---------------------------------------------------------------- record of a finished series */

enum { N_NUMBERS = 23 };

static void to_numbers(double v[N_NUMBERS], const cyc_tilt_result *r)
{
	const double list[N_NUMBERS] = { (double)r->status,
		                             r->defocus_u_A,
		                             r->defocus_v_A,
		                             r->defocus_angle_rad,
		                             r->scale,
		                             r->defocus_error_A,
		                             r->astigmatism_error_A,
		                             r->scale_error,
		                             r->defocus_change_A,
		                             r->astigmatism_change_A,
		                             r->scale_ratio,
		                             r->gain,
		                             r->shift_A[0],
		                             r->shift_A[1],
		                             r->bfactor_A2,
		                             r->bfactor_change_A2,
		                             r->bfactor_error_A2,
		                             r->scale_measured,
		                             r->scale_precision,
		                             r->p_bad,
		                             r->expected_gain,
		                             r->found_gain,
		                             r->is_blank };
	memcpy(v, list, sizeof list);
}

static void from_numbers(cyc_tilt_result *r, const double v[N_NUMBERS], int64_t n_particles)
{
	*r = (cyc_tilt_result){ .status = (cyc_tilt_status)(int)v[0],
		                    .defocus_u_A = v[1],
		                    .defocus_v_A = v[2],
		                    .defocus_angle_rad = v[3],
		                    .scale = v[4],
		                    .defocus_error_A = v[5],
		                    .astigmatism_error_A = v[6],
		                    .scale_error = v[7],
		                    .defocus_change_A = v[8],
		                    .astigmatism_change_A = v[9],
		                    .scale_ratio = v[10],
		                    .gain = v[11],
		                    .shift_A = { v[12], v[13] },
		                    .bfactor_A2 = v[14],
		                    .bfactor_change_A2 = v[15],
		                    .bfactor_error_A2 = v[16],
		                    .scale_measured = v[17],
		                    .scale_precision = v[18],
		                    .p_bad = v[19],
		                    .expected_gain = v[20],
		                    .found_gain = v[21],
		                    .is_blank = v[22] != 0,
		                    .n_particles = n_particles };
}

cyc_status cyc_tilt_results_write(const char *path, const cyc_tilt_result *r, int32_t n_tilts, uint64_t hash)
{
	cyc_status st = CYC_OK;
	cyc_text_stream o = { 0 };
	CYC_TRY(cyc_text_stream_open(&o));
	fprintf(o.f, "%d\n", n_tilts);
	for (int32_t f = 0; f < n_tilts; f++) {
		double v[N_NUMBERS];
		to_numbers(v, &r[f]);
		for (int k = 0; k < N_NUMBERS; k++) fprintf(o.f, "%a ", v[k]);
		fprintf(o.f, "%" PRId64 "\n", r[f].n_particles);
	}
	fprintf(o.f, "end\n");
	CYC_TRY(cyc_text_stream_finish(&o));
	CYC_TRY(cyc_record_write_text(path, KIND, hash, o.text));
done:
	cyc_text_stream_deinit(&o);
	return st;
}

cyc_status cyc_tilt_results_read(bool *found, cyc_tilt_result *r, int32_t n_tilts, const char *path,
                                 uint64_t hash)
{
	cyc_status st = CYC_OK;
	char *text = NULL, *at;
	int file_tilts = 0, used = 0;
	*found = false;
	CYC_TRY(cyc_record_read_text(&text, path, KIND, hash, CONSEQUENCE, NULL));
	if (!text || sscanf(text, "%d\n%n", &file_tilts, &used) < 1 || file_tilts != n_tilts) goto done;
	at = text + used;
	for (int32_t f = 0; f < n_tilts; f++) {
		double v[N_NUMBERS];
		for (int k = 0; k < N_NUMBERS; k++) {
			char *end;
			v[k] = strtod(at, &end);
			if (end == at) goto done;
			at = end;
		}
		char *end;
		long long particles = strtoll(at, &end, 10);
		if (end == at || !(v[0] >= 0 && v[0] < CYC_N_TILT_STATUS)) goto done;
		at = end;
		from_numbers(&r[f], v, particles);
	}
	*found = strncmp(at, "\nend\n", 5) == 0;
done:
	cyc_free(text);
	return st;
}

/* ---------------------------------------------------------------- uncertainty.star */

static cyc_status write_row(cyc_star_block *b, const cyc_tilt *t, const cyc_tilt_result *r, bool has_bfactors)
{
	cyc_status st = CYC_OK;
	int64_t row;
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_MICROGRAPH_NAME, t->image ? t->image : ""));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_MICROGRAPH_PRE_EXPOSURE, t->pre_exposure_e_per_A2));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_PARTICLES_USED, (double)r->n_particles));
	CYC_TRY(cyc_label_put_text(b, row, CYC_OWN_TILT_STATUS, cyc_tilt_status_name(r->status)));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_DEFOCUS_ERROR_ANGST, r->defocus_error_A));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_DEFOCUS_CHANGE_ANGST, r->defocus_change_A));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_ASTIGMATISM_ERROR_ANGST, r->astigmatism_error_A));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_ASTIGMATISM_CHANGE_ANGST, r->astigmatism_change_A));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_SCALE_ERROR, r->scale_error));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_SCALE_RATIO, r->scale_ratio));
	if (has_bfactors) {
		CYC_TRY(cyc_label_put(b, row, CYC_OWN_BFACTOR_ERROR, r->bfactor_error_A2));
		CYC_TRY(cyc_label_put(b, row, CYC_OWN_BFACTOR_CHANGE, r->bfactor_change_A2));
	}
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_LOG_LIKELIHOOD_GAIN, r->gain));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_BAD_PROBABILITY, r->p_bad));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_LOG_LIKELIHOOD_EXPECTED, r->expected_gain));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_LOG_LIKELIHOOD_FOUND, r->found_gain));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_RESIDUAL_SHIFT_X_ANGST, r->shift_A[0]));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_RESIDUAL_SHIFT_Y_ANGST, r->shift_A[1]));
done:
	return st;
}

cyc_status cyc_uncertainty_write(const char *path, const cyc_tomogram_set *tomograms,
                                 cyc_tilt_result *const *results, bool has_bfactors)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	CYC_TRY(cyc_star_create(&s));
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		cyc_star_block *b;
		if (!results[i]) continue;
		CYC_TRY(cyc_star_add_block(&b, s, tomograms->series[i].name, CYC_STAR_TABLE));
		for (int32_t f = 0; f < tomograms->series[i].n_tilts; f++)
			CYC_TRY(write_row(b, &tomograms->series[i].tilts[f], &results[i][f], has_bfactors));
	}
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	return st;
}

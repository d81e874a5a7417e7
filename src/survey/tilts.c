/* Checks of tilt tables that need no image. */
#include "survey/survey_internal.h"

#include "cyclotomo/tilt.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* Stage angles determine their sign if they spread at least this far, at least this many of them. */
static const double LEAST_SPREAD_RAD = 20 * CYC_PI / 180;
enum { LEAST_TILTS = 5 };
/* About the law of the ice the scales of a series' tilts do not differ by more than this; by far more than
 * that they are a mistake, and the tilt with the largest would be the map. */
static const double MOST_SCALE_RATIO = 3, ABSURD_SCALE_RATIO = 1000;
/* Stage angles are copied or refined by less than this; a row that is further off belongs to another image.
 */
static const double MOST_STAGE_ERROR_RAD = 15 * CYC_PI / 180;
/* A series is focused once: its tilts do not differ by more than this, nor are lenses more astigmatic. */
static const double MOST_DEFOCUS_CHANGE_A = 20000, MOST_ASTIGMATISM_A = 6000;
/* In Å nobody is so near to focus in all tilts. */
static const double LEAST_DEFOCUS_A = 100;
/* Without a phase plate nothing is seen nearer to focus than this; IMOD writes nm. */
static const double USUAL_DEFOCUS_A = 6000, LEAST_PHASE_PLATE_RAD = 30 * CYC_PI / 180;

typedef struct {
	double offset, slope, variance, sxx;
	int32_t n;
} line;

/* The stage's angle against the projection's. */
static bool fit_stage(line *l, const cyc_tilt_series *ts)
{
	double n = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0, low = HUGE_VAL, high = -HUGE_VAL;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *t = &ts->tilts[f];
		if (!t->has_nominal_tilt || !t->has_angles || t->has_matrix || t->scale == 0) continue;
		n++;
		x += t->ytilt_rad;
		y += t->nominal_tilt_rad;
		xx += t->ytilt_rad * t->ytilt_rad;
		xy += t->ytilt_rad * t->nominal_tilt_rad;
		yy += t->nominal_tilt_rad * t->nominal_tilt_rad;
		low = fmin(low, t->ytilt_rad);
		high = fmax(high, t->ytilt_rad);
	}
	if (n < LEAST_TILTS || high - low < LEAST_SPREAD_RAD) return false;
	double sxy = xy - x * y / n, syy = yy - y * y / n;
	l->n = (int32_t)n;
	l->sxx = xx - x * x / n;
	l->slope = sxy / l->sxx;
	l->offset = (y - l->slope * x) / n;
	/* Angles are not known better than to a hundredth of a degree, even where they were copied. */
	l->variance = fmax(fmax(0, syy - l->slope * sxy) / (n - 2), cyc_square(1e-4));
	return true;
}

cyc_measured cyc_stage_slope(const cyc_tilt_series *ts)
{
	line l;
	if (!fit_stage(&l, ts)) return (cyc_measured){ CYC_NAN, CYC_NAN };
	return (cyc_measured){ l.slope, sqrt(l.variance / l.sxx) };
}

static cyc_status check_stage(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_measured stage = cyc_stage_slope(ts);
	cyc_finding *f;
	if (!isfinite(stage.error) || stage.value + 5 * stage.error > 0) goto done;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "stage-sign", i, ts->table_path,
	                       CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE));
	f->measured = stage;
	f->expected = 1;
	f->sigma = fabs(stage.value - 1) / stage.error;
	f->can_fix = true;
	CYC_FINDING_SAY(
		f->found,
		"stage angles have the opposite sign of the refined tilt angles: slope %.3f +- %.3f against %s",
		stage.value, stage.error, CYC_RLN_TOMO_Y_TILT);
	CYC_FINDING_SAY(f->wanted, "a slope of 1");
	CYC_FINDING_SAY(f->action, "change the sign of %s", CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE);
done:
	return st;
}

/* Tilt angles that hardly differ where the stage's do: radians, or another column. */
static cyc_status check_stage_spread(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	double low[2] = { HUGE_VAL, HUGE_VAL }, high[2] = { -HUGE_VAL, -HUGE_VAL };
	cyc_finding *f;
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		const cyc_tilt *t = &ts->tilts[k];
		const double angle[2] = { t->ytilt_rad, t->nominal_tilt_rad };
		if (!t->has_nominal_tilt || !t->has_angles || t->has_matrix || t->scale == 0) continue;
		for (int a = 0; a < 2; a++) {
			low[a] = fmin(low[a], angle[a]);
			high[a] = fmax(high[a], angle[a]);
		}
	}
	double spread = high[0] - low[0], stage = high[1] - low[1];
	if (!(stage >= LEAST_SPREAD_RAD) || spread > 0.5 * stage) return CYC_OK;
	CYC_TRY(
		cyc_survey_add(&f, s, CYC_FINDING_WARNING, "stage-angle", i, ts->table_path, CYC_RLN_TOMO_Y_TILT));
	CYC_FINDING_SAY(f->found, "_%s covers %.3g degrees, but the stage (_%s) %.3g", CYC_RLN_TOMO_Y_TILT,
	                cyc_rad_to_deg(spread), CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE, cyc_rad_to_deg(stage));
	CYC_FINDING_SAY(f->wanted, "degrees, and about the same");
	CYC_FINDING_SAY(f->action, "check whether the angles are in radians, or belong in another column (_%s)",
	                CYC_RLN_TOMO_X_TILT);
done:
	return st;
}

/* Single rows whose angle is not that of their image's stage: rows or columns were mixed up. */
static cyc_status check_stage_rows(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	double *difference = NULL;
	size_t n = 0;
	int64_t first = -1, n_off = 0;
	line l;
	cyc_finding *f;
	CYC_TRY(cyc_alloc(&difference, ts->n_tilts, sizeof *difference));
	if (!fit_stage(&l, ts)) goto done;
	double sign = l.slope < 0 ? -1 : 1;
	for (int32_t k = 0; k < ts->n_tilts; k++)
		if (ts->tilts[k].scale != 0)
			difference[n++] = ts->tilts[k].nominal_tilt_rad - sign * ts->tilts[k].ytilt_rad;
	double middle = cyc_median(difference, n);
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		double off = ts->tilts[k].nominal_tilt_rad - sign * ts->tilts[k].ytilt_rad - middle;
		if (ts->tilts[k].scale == 0 || fabs(off) <= MOST_STAGE_ERROR_RAD) continue;
		if (n_off++ == 0) first = k;
	}
	if (n_off == 0) goto done;
	const cyc_tilt *t = &ts->tilts[first];
	CYC_TRY(
		cyc_survey_add(&f, s, CYC_FINDING_WARNING, "stage-angle", i, ts->table_path, CYC_RLN_TOMO_Y_TILT));
	f->row = first + 1;
	f->n_more = n_off - 1;
	CYC_FINDING_SAY(f->found, "_%s is %.4g degrees, but the stage (_%s) was at %.4g", CYC_RLN_TOMO_Y_TILT,
	                cyc_rad_to_deg(t->ytilt_rad), CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE,
	                cyc_rad_to_deg(t->nominal_tilt_rad));
	CYC_FINDING_SAY(f->wanted, "the same within %.0f degrees, after the offset of the series, %.3g",
	                cyc_rad_to_deg(MOST_STAGE_ERROR_RAD), cyc_rad_to_deg(middle));
	CYC_FINDING_SAY(f->action, "check whether rows belong to the wrong images");
done:
	cyc_free(difference);
	return st;
}

static cyc_status check_dose(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_finding *f;
	double low = HUGE_VAL, high = -HUGE_VAL;
	int64_t n_zero = 0, second_zero = 0;
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		double d = ts->tilts[k].pre_exposure_e_per_A2;
		low = fmin(low, d);
		high = fmax(high, d);
		if (d == 0 && n_zero++ == 1) second_zero = k;
	}
	if (ts->n_tilts < 2) goto done;
	if (high > low && n_zero < 2) goto done;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, high > low ? "dose-missing" : "no-dose", i,
	                       ts->table_path, CYC_RLN_MICROGRAPH_PRE_EXPOSURE));
	if (high > low) {
		f->row = second_zero + 1;
		f->n_more = n_zero - 2;
		CYC_FINDING_SAY(f->found, "%lld tilts have no dose before them, but others do", (long long)n_zero);
		CYC_FINDING_SAY(f->wanted, "only one tilt without, the first");
		CYC_FINDING_SAY(f->action, "add the missing doses");
		goto done;
	}
	CYC_FINDING_SAY(f->found, "all tilts have the same dose, %g e/Å2", low);
	CYC_FINDING_SAY(f->wanted, "the dose before each exposure");
	CYC_FINDING_SAY(
		f->action,
		"add the doses; without them there is no dose weighting and the order of the tilts is unknown");
done:
	return st;
}

/* The same dose before two tilts: one of them was not added. */
static cyc_status check_dose_twice(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_finding *f;
	double *v = NULL, twice = 0;
	size_t n = (size_t)ts->n_tilts, n_twice = 0;
	CYC_TRY(cyc_alloc(&v, n, sizeof *v));
	for (size_t k = 0; k < n; k++) v[k] = ts->tilts[k].pre_exposure_e_per_A2;
	cyc_sort(v, n);
	for (size_t k = 1; k < n; k++)
		/* Several tilts without a dose, and series without any, are another finding. */
		if (v[k] > 0 && v[k] <= v[k - 1] && n_twice++ == 0) twice = v[k];
	if (n_twice == 0 || v[0] >= v[n - 1]) goto done;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "dose-twice", i, ts->table_path,
	                       CYC_RLN_MICROGRAPH_PRE_EXPOSURE));
	f->n_more = (int64_t)n_twice - 1;
	for (int32_t k = 0, n_seen = 0; k < ts->n_tilts; k++)
		if (fabs(ts->tilts[k].pre_exposure_e_per_A2 - twice) <= 0 && n_seen++ == 1) f->row = k + 1;
	CYC_FINDING_SAY(f->found, "two tilts have the same dose, %g e/Å2", twice);
	CYC_FINDING_SAY(f->wanted, "the dose before each exposure");
	CYC_FINDING_SAY(f->action, "correct one of them");
done:
	cyc_free(v);
	return st;
}

/* ---------------------------------------------------------------- contrast scales */

/* log scale = a + b (1/cos tilt - 1), the law of a flat layer (T4.24), by least squares over tilts that are
 * not excluded. */
typedef struct {
	double a, b, reach;
	int32_t n;
} scale_trend;

static cyc_status tilt_path(double *longer, const cyc_tilt_series *ts, int32_t f)
{
	cyc_status st = CYC_OK;
	cyc_mat3 R;
	CYC_TRY(cyc_projection_linear(&R, ts, f));
	*longer = 1 / fmax(fabs(R.m[2][2]), 0.05) - 1;
done:
	return st;
}

/* Scales that far from the median of the series are mistakes that would bend the line. */
static bool is_absurd(double scale, double median)
{
	return scale > ABSURD_SCALE_RATIO * median || scale < median / ABSURD_SCALE_RATIO;
}

static cyc_status fit_trend(scale_trend *t, const cyc_tilt_series *ts, double median)
{
	cyc_status st = CYC_OK;
	double x = 0, y = 0, xx = 0, xy = 0;
	*t = (scale_trend){ 0 };
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		double longer, log_s;
		if (!(ts->tilts[f].scale > 0) || is_absurd(ts->tilts[f].scale, median)) continue;
		CYC_TRY(tilt_path(&longer, ts, f));
		log_s = log(ts->tilts[f].scale);
		x += longer;
		y += log_s;
		xx += longer * longer;
		xy += longer * log_s;
		t->reach = fmax(t->reach, longer);
		t->n++;
	}
	if (t->n == 0) goto done;
	double sxx = xx - x * x / t->n;
	t->b = sxx > 1e-6 ? (xy - x * y / t->n) / sxx : 0;
	t->a = (y - t->b * x) / t->n;
done:
	return st;
}

/* Median of the scales of a series that are not 0; NaN if all are. */
static cyc_status median_scale(double *out, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	double *v = NULL;
	size_t n = 0;
	CYC_TRY(cyc_alloc(&v, ts->n_tilts, sizeof *v));
	for (int32_t f = 0; f < ts->n_tilts; f++)
		if (ts->tilts[f].scale > 0) v[n++] = ts->tilts[f].scale;
	*out = n > 0 ? cyc_median(v, n) : CYC_NAN;
done:
	cyc_free(v);
	return st;
}

static cyc_status add_scale(cyc_survey *s, int32_t i, int32_t row, double ratio, bool is_error)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_finding *f;
	CYC_TRY(cyc_survey_add(&f, s, is_error ? CYC_FINDING_ERROR : CYC_FINDING_WARNING, "scale", i,
	                       ts->table_path, CYC_RLN_CTF_SCALEFACTOR));
	f->row = row + 1;
	CYC_FINDING_SAY(f->found, "a contrast scale of %.3g, %.3g times that of the series at this tilt",
	                ts->tilts[row].scale, ratio);
	CYC_FINDING_SAY(f->wanted, "within a factor of %g", MOST_SCALE_RATIO);
	CYC_FINDING_SAY(f->action, "inspect the image; a scale of 0 excludes the tilt");
done:
	return st;
}

static cyc_status check_scales(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_finding *finding;
	scale_trend t;
	double median;
	CYC_TRY(median_scale(&median, ts));
	CYC_TRY(fit_trend(&t, ts, median));
	for (int32_t f = 0; f < ts->n_tilts && t.n > 2; f++)
		if (ts->tilts[f].scale > ABSURD_SCALE_RATIO * median)
			CYC_TRY(add_scale(s, i, f, ts->tilts[f].scale / median, true));
	if (t.n < LEAST_TILTS) goto done;
	if (t.b * t.reach > log(MOST_SCALE_RATIO)) {
		CYC_TRY(cyc_survey_add(&finding, s, CYC_FINDING_WARNING, "scale", i, ts->table_path,
		                       CYC_RLN_CTF_SCALEFACTOR));
		CYC_FINDING_SAY(finding->found,
		                "contrast scales increase with tilt, %.3g-fold up to the highest; since the path "
		                "through the ice grows they should decrease",
		                exp(t.b * t.reach));
		CYC_FINDING_SAY(finding->wanted, "scales that decrease with tilt");
		CYC_FINDING_SAY(finding->action, "check the order of the doses: wrong doses lead to wrong scales");
	}
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		double longer, ratio;
		if (!(ts->tilts[f].scale > 0) || ts->tilts[f].scale > ABSURD_SCALE_RATIO * median) continue;
		CYC_TRY(tilt_path(&longer, ts, f));
		ratio = ts->tilts[f].scale / exp(t.a + t.b * longer);
		if (ratio > MOST_SCALE_RATIO || ratio < 1 / MOST_SCALE_RATIO)
			CYC_TRY(add_scale(s, i, f, ratio, false));
	}
done:
	return st;
}

/* Contrast of whole series against the median of all: one gauge holds in a project. */
static cyc_status compare_scales(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *set = s->p->tomograms;
	double *own = NULL, *sorted = NULL;
	size_t n = 0;
	CYC_TRY(cyc_alloc(&own, set->n_series, sizeof *own));
	CYC_TRY(cyc_alloc(&sorted, set->n_series, sizeof *sorted));
	for (int32_t i = 0; i < set->n_series; i++) {
		own[i] = CYC_NAN;
		if (cyc_survey_has_particles(s, i) && !s->is_broken[i])
			CYC_TRY(median_scale(&own[i], &set->series[i]));
		if (own[i] > 0) sorted[n++] = own[i];
	}
	double middle = cyc_median_or_lower(sorted, n);
	for (int32_t i = 0; i < set->n_series && n > 1; i++) {
		double ratio = own[i] / middle;
		cyc_finding *f;
		if (!(ratio > MOST_SCALE_RATIO || ratio < 1 / MOST_SCALE_RATIO)) continue;
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "series-scale", i, set->series[i].table_path,
		                       CYC_RLN_CTF_SCALEFACTOR));
		CYC_FINDING_SAY(f->found, "its contrast scales (median %.3g) are %.3g times those of other series",
		                own[i], ratio);
		CYC_FINDING_SAY(f->wanted, "within a factor of %g", MOST_SCALE_RATIO);
		CYC_FINDING_SAY(f->action, "normalise the images of all series in the same way, and set the scales "
		                           "to 1 to refine them again");
	}
done:
	cyc_free(own);
	cyc_free(sorted);
	return st;
}

/* ---------------------------------------------------------------- defocus */

static double defocus_of(const cyc_tilt *t) { return 0.5 * (t->defocus_u_A + t->defocus_v_A); }

static cyc_status add_defocus(cyc_survey *s, int32_t i, int64_t row, int64_t n, const char *found,
                              const char *wanted)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "defocus", i, s->p->tomograms->series[i].table_path,
	                       CYC_RLN_DEFOCUS_U));
	f->row = row + 1;
	f->n_more = n - 1;
	CYC_TRY(cyc_strdup(&f->found, found));
	CYC_TRY(cyc_strdup(&f->wanted, wanted));
	CYC_FINDING_SAY(f->action, "estimate it again, or exclude the tilt with a _%s of 0",
	                CYC_RLN_CTF_SCALEFACTOR);
done:
	return st;
}

static cyc_status check_defocus_rows(cyc_survey *s, int32_t i, double median)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	int64_t off[3] = { 0, 0, 0 }, first[3] = { -1, -1, -1 };
	char found[160], wanted[160];
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *t = &ts->tilts[f];
		if (t->scale == 0) continue;
		bool has_none = t->defocus_u_A == 0 && t->defocus_v_A == 0;
		bool is_off[3] = { !has_none && fabs(defocus_of(t) - median) > MOST_DEFOCUS_CHANGE_A,
			               fabs(t->defocus_u_A - t->defocus_v_A) > MOST_ASTIGMATISM_A, has_none };
		for (int k = 0; k < 3; k++)
			if (is_off[k] && off[k]++ == 0) first[k] = f;
	}
	if (off[0] > 0) {
		snprintf(found, sizeof found, "a defocus of %.5g Å, but the series has %.5g",
		         defocus_of(&ts->tilts[first[0]]), median);
		snprintf(wanted, sizeof wanted, "within %.0f Å of that", MOST_DEFOCUS_CHANGE_A);
		CYC_TRY(add_defocus(s, i, first[0], off[0], found, wanted));
	}
	if (off[2] > 0) {
		snprintf(found, sizeof found, "no defocus, _%s and _%s are 0", CYC_RLN_DEFOCUS_U, CYC_RLN_DEFOCUS_V);
		CYC_TRY(add_defocus(s, i, first[2], off[2], found, "an estimate"));
	}
	if (off[1] > 0) {
		snprintf(found, sizeof found, "an astigmatism of %.5g Å (_%s - _%s)",
		         ts->tilts[first[1]].defocus_u_A - ts->tilts[first[1]].defocus_v_A, CYC_RLN_DEFOCUS_U,
		         CYC_RLN_DEFOCUS_V);
		snprintf(wanted, sizeof wanted, "at most %.0f Å", MOST_ASTIGMATISM_A);
		CYC_TRY(add_defocus(s, i, first[1], off[1], found, wanted));
	}
done:
	return st;
}

static cyc_status check_defocus(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	double *v = NULL, most = 0;
	size_t n = 0;
	cyc_finding *f;
	bool has_phase_plate = false;
	CYC_TRY(cyc_alloc(&v, ts->n_tilts, sizeof *v));
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		if (ts->tilts[k].scale == 0) continue;
		has_phase_plate = has_phase_plate || fabs(ts->tilts[k].phase_shift_rad) > LEAST_PHASE_PLATE_RAD;
		v[n++] = defocus_of(&ts->tilts[k]);
		most = fmax(most, fmax(fabs(ts->tilts[k].defocus_u_A), fabs(ts->tilts[k].defocus_v_A)));
	}
	if (n == 0) goto done;
	double median = cyc_median(v, n);
	if (most < LEAST_DEFOCUS_A) {
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "defocus", i, ts->table_path, CYC_RLN_DEFOCUS_U));
		f->measured.value = most;
		CYC_FINDING_SAY(f->found, "no tilt has a defocus of more than %.3g Å", most);
		CYC_FINDING_SAY(f->wanted, "Å, from an estimate of each tilt's CTF");
		CYC_FINDING_SAY(f->action, most > 0.1 ? "multiply by 10000 if these are µm" : "estimate the CTFs");
	} else if (fabs(median) < USUAL_DEFOCUS_A && !has_phase_plate) {
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "defocus", i, ts->table_path, CYC_RLN_DEFOCUS_U));
		f->measured.value = median;
		CYC_FINDING_SAY(f->found, "the tilts have a defocus of %.4g Å (median)", median);
		CYC_FINDING_SAY(f->wanted, "%.0f Å or more without a phase plate", USUAL_DEFOCUS_A);
		CYC_FINDING_SAY(f->action, "multiply by 10 if these are nm");
	} else {
		CYC_TRY(check_defocus_rows(s, i, median));
	}
done:
	cyc_free(v);
	return st;
}

/* ---------------------------------------------------------------- phase shifts */

/* Phase plates shift by much more than this; in radians they do not. */
static const double LEAST_PHASE_RAD = 3.2 * CYC_PI / 180, NO_PHASE_RAD = 0.1 * CYC_PI / 180;

static cyc_status check_phase_shifts(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_finding *f;
	double most = 0;
	int32_t first = -1;
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		double phase = fabs(ts->tilts[k].phase_shift_rad);
		if (ts->tilts[k].scale == 0) continue;
		if (phase > most) most = phase;
		if (phase > NO_PHASE_RAD && first < 0) first = k;
	}
	if (first < 0 || most > LEAST_PHASE_RAD) return CYC_OK;
	CYC_TRY(
		cyc_survey_add(&f, s, CYC_FINDING_WARNING, "phase-shift", i, ts->table_path, CYC_RLN_PHASE_SHIFT));
	f->row = first + 1;
	f->measured.value = cyc_rad_to_deg(most);
	CYC_FINDING_SAY(f->found, "no phase shift is above %.3g degrees", cyc_rad_to_deg(most));
	CYC_FINDING_SAY(f->wanted, "0 without a phase plate, tens of degrees with one");
	CYC_FINDING_SAY(f->action, "multiply by 57.296 if these are radians, as CTFFIND writes them");
done:
	return st;
}

/* ---------------------------------------------------------------- tables that contradict each other */

/* Angles that were changed beside matrices that were not, or the reverse; matrices are used. */
static const double MOST_MATRIX_ERROR_RAD = 1 * CYC_PI / 180;

static cyc_status check_matrices(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	cyc_finding *f;
	int64_t first = -1, n = 0;
	double off = 0;
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		const cyc_tilt *t = &ts->tilts[k];
		if (!t->has_matrix || !t->has_angles || t->scale == 0) continue;
		cyc_mat3 A = cyc_tilt_to_matrix(t->xtilt_rad, t->ytilt_rad, t->zrot_rad);
		double square = 0;
		for (int c = 0; c < 9; c++) square += cyc_square(A.m[c / 3][c % 3] - t->matrix[c / 3][c % 3]);
		/* Rotations by an angle from each other differ by sqrt(8) sin(angle / 2). */
		double angle = 2 * asin(fmin(1, sqrt(square / 8)));
		if (angle <= MOST_MATRIX_ERROR_RAD) continue;
		if (n++ > 0) continue;
		first = k;
		off = angle;
	}
	if (n == 0) return CYC_OK;
	CYC_TRY(
		cyc_survey_add(&f, s, CYC_FINDING_WARNING, "contradiction", i, ts->table_path, CYC_RLN_TOMO_PROJ_X));
	f->row = first + 1;
	f->n_more = n - 1;
	CYC_FINDING_SAY(f->found, "_%s/Y/Z and the angles (_%s, ...) of the same tilt differ by %.3g degrees",
	                CYC_RLN_TOMO_PROJ_X, CYC_RLN_TOMO_Y_TILT, cyc_rad_to_deg(off));
	CYC_FINDING_SAY(f->wanted, "one geometry");
	CYC_FINDING_SAY(f->action, "matrices are used: remove these columns if the angles are right");
done:
	return st;
}

static cyc_status check_tables(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	const cyc_star_block *global = cyc_star_find(s->p->tomograms->star, "global");
	cyc_finding *f;
	double n = ts->n_tilts;
	int32_t first = -1;
	if (global && cyc_star_double_or(&n, global, i, CYC_RLN_TOMO_FRAME_COUNT, n) != CYC_OK) cyc_error_clear();
	if (fabs(n - ts->n_tilts) > 0.5) {
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "contradiction", i, s->p->tomograms->path,
		                       CYC_RLN_TOMO_FRAME_COUNT));
		f->row = i + 1;
		CYC_FINDING_SAY(f->found, "_%s is %g, but the table of the series has %d rows",
		                CYC_RLN_TOMO_FRAME_COUNT, n, ts->n_tilts);
		CYC_FINDING_SAY(f->wanted, "the same number");
		CYC_FINDING_SAY(f->action, "check whether tilts were removed from one of the two only");
	}
	for (int32_t k = 0; k < ts->n_tilts && first < 0; k++)
		for (int32_t c = 0; c < ts->tilts[k].n_deformation; c++)
			if (ts->tilts[k].deformation[c] != 0) first = k;
	if (first >= 0 && ts->deformation_type == CYC_DEFORMATION_NONE) {
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "contradiction", i, ts->table_path,
		                       CYC_RLN_TOMO_DEFORMATION_COEFFICIENTS));
		f->row = first + 1;
		CYC_FINDING_SAY(f->found,
		                "there are deformation coefficients, but '%s' has no deformation type or no grid for "
		                "the series: they are not used",
		                s->p->tomograms->path);
		CYC_FINDING_SAY(f->wanted, "_%s and _%s and Y", CYC_RLN_TOMO_DEFORMATION_TYPE,
		                CYC_RLN_TOMO_DEFORMATION_GRID_SIZE_X);
		CYC_FINDING_SAY(f->action, "use the tomograms' table that was written together with these tilts");
	}
done:
	return st;
}

cyc_status cyc_survey_tilts(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < s->p->tomograms->n_series; i++) {
		if (!cyc_survey_has_particles(s, i) || s->is_broken[i]) continue;
		CYC_TRY(check_stage(s, i));
		CYC_TRY(check_stage_spread(s, i));
		CYC_TRY(check_stage_rows(s, i));
		CYC_TRY(check_dose(s, i));
		CYC_TRY(check_dose_twice(s, i));
		CYC_TRY(check_scales(s, i));
		CYC_TRY(check_defocus(s, i));
		CYC_TRY(check_phase_shifts(s, i));
		CYC_TRY(check_matrices(s, i));
		CYC_TRY(check_tables(s, i));
	}
	CYC_TRY(compare_scales(s));
done:
	return st;
}

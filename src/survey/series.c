/* Tilt series against each other, and their doses against what the tomograms' table has for each tilt. */
#include "survey/survey_internal.h"

#include <math.h>

/* One project is exposed in much the same way: tilts that are missing, or get more at high angles, do not
 * make this of it. */
static const double MOST_DOSE_RATIO = 3;

/* ---------------------------------------------------------------- doses */

/* Dose of one tilt: the median step between doses in their order; 0 if there is none. */
static cyc_status dose_step(double *out, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	double *v = NULL;
	size_t n = 0;
	*out = 0;
	CYC_TRY(cyc_alloc(&v, ts->n_tilts, sizeof *v));
	for (int32_t f = 0; f < ts->n_tilts; f++) v[f] = ts->tilts[f].pre_exposure_e_per_A2;
	cyc_sort(v, (size_t)ts->n_tilts);
	for (int32_t f = 1; f < ts->n_tilts; f++)
		if (v[f] > v[f - 1]) v[n++] = v[f] - v[f - 1];
	if (n > 0) *out = cyc_median(v, n);
done:
	cyc_free(v);
	return st;
}

static bool is_far(double ratio) { return ratio > MOST_DOSE_RATIO || ratio < 1 / MOST_DOSE_RATIO; }

static cyc_status add_dose(cyc_survey *s, int32_t i, const char *file, const char *column, const char *found)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "dose-step", i, file, column));
	CYC_TRY(cyc_strdup(&f->found, found));
	CYC_FINDING_SAY(f->wanted, "within a factor of %g", MOST_DOSE_RATIO);
	CYC_FINDING_SAY(f->action,
	                "check the unit: doses are in e/Å2, accumulated before each tilt, and that of a "
	                "tilt is not that of a movie frame");
done:
	return st;
}

/* The two tables that give the dose of a tilt; and the series against the others. */
static cyc_status check_doses(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *set = s->p->tomograms;
	double *step = NULL, *sorted = NULL;
	size_t n = 0;
	char found[160];
	CYC_TRY(cyc_alloc(&step, set->n_series, sizeof *step));
	CYC_TRY(cyc_alloc(&sorted, set->n_series, sizeof *sorted));
	for (int32_t i = 0; i < set->n_series; i++) {
		if (!cyc_survey_has_particles(s, i) || s->is_broken[i]) continue;
		CYC_TRY(dose_step(&step[i], &set->series[i]));
		if (step[i] > 0) sorted[n++] = step[i];
	}
	double middle = cyc_median_or_lower(sorted, n);
	for (int32_t i = 0; i < set->n_series; i++) {
		const cyc_tilt_series *ts = &set->series[i];
		if (!(step[i] > 0)) continue;
		if (ts->fractional_dose_e_per_A2 > 0 && is_far(step[i] / ts->fractional_dose_e_per_A2)) {
			snprintf(found, sizeof found,
			         "doses (_%s) increase by %.3g e/Å2 from tilt to tilt, but a tilt has %.3g",
			         CYC_RLN_MICROGRAPH_PRE_EXPOSURE, step[i], ts->fractional_dose_e_per_A2);
			CYC_TRY(add_dose(s, i, set->path, CYC_RLN_TOMO_IMPORT_FRACTIONAL_DOSE, found));
		} else if (is_far(step[i] / middle)) {
			snprintf(found, sizeof found,
			         "doses increase by %.3g e/Å2 from tilt to tilt, in other series by %.3g", step[i],
			         middle);
			CYC_TRY(add_dose(s, i, ts->table_path, CYC_RLN_MICROGRAPH_PRE_EXPOSURE, found));
		}
	}
done:
	cyc_free(step);
	cyc_free(sorted);
	return st;
}

/* ---------------------------------------------------------------- hands */

/* Microscope and conventions of a project give one hand: the series that have the rarer one are named. */
static cyc_status check_hands(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *set = s->p->tomograms;
	int64_t n[2] = { 0, 0 };
	int32_t first[2] = { -1, -1 };
	cyc_finding *f;
	for (int32_t i = 0; i < set->n_series; i++) {
		if (!cyc_survey_has_particles(s, i)) continue;
		int k = set->series[i].hand > 0;
		if (n[k]++ == 0) first[k] = i;
	}
	if (n[0] == 0 || n[1] == 0 || s->o->skip_hands) return CYC_OK;
	/* Of as many the later ones are the odd ones. */
	int odd = n[0] == n[1] ? first[1] > first[0] : n[1] < n[0];
	CYC_TRY(
		cyc_survey_add(&f, s, CYC_FINDING_WARNING, "mixed-hands", first[odd], set->path, CYC_RLN_TOMO_HAND));
	f->row = first[odd] + 1;
	f->n_more = n[odd] - 1;
	CYC_FINDING_SAY(f->found, "_%s is %d, but %d in %lld other tilt series", CYC_RLN_TOMO_HAND, odd ? 1 : -1,
	                odd ? -1 : 1, (long long)n[!odd]);
	CYC_FINDING_SAY(f->wanted, "one hand for a microscope and a program");
	CYC_FINDING_SAY(f->action, "correct it unless these series come from another microscope or program; "
	                           "cyclotomo check --deep finds the hand from the images");
done:
	return st;
}

/* ---------------------------------------------------------------- tilt axes */

/* Alignment turns the axis of a tilt by a few degrees; another microscope, another mounting by any angle. */
static const double MOST_AXIS_CHANGE_RAD = 15 * CYC_PI / 180;

static bool has_axis(const cyc_tilt *t) { return t->has_angles && !t->has_matrix && t->scale != 0; }

/* Median of angles on a circle whose n values lie about the first; `v` becomes their distances to it. */
static double middle_angle(double *v, size_t n)
{
	double first = v[0];
	for (size_t k = 0; k < n; k++) v[k] = remainder(v[k] - first, 2 * CYC_PI);
	return first + cyc_median(v, n);
}

/* Middle of the series' axes; NaN if it has none. */
static cyc_status middle_axis(double *out, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	double *v = NULL;
	size_t n = 0;
	CYC_TRY(cyc_alloc(&v, ts->n_tilts, sizeof *v));
	for (int32_t f = 0; f < ts->n_tilts; f++)
		if (has_axis(&ts->tilts[f])) v[n++] = ts->tilts[f].zrot_rad;
	*out = n > 0 ? middle_angle(v, n) : CYC_NAN;
done:
	cyc_free(v);
	return st;
}

static cyc_status add_axis(cyc_survey *s, int32_t i, double axis_rad, double others_rad, const char *others)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "tilt-axis", i, s->p->tomograms->series[i].table_path,
	                       CYC_RLN_TOMO_Z_ROT));
	CYC_FINDING_SAY(f->found, "the tilt axis (_%s) is at %.3g degrees, in the other %s at %.3g",
	                CYC_RLN_TOMO_Z_ROT, cyc_rad_to_deg(axis_rad), others, cyc_rad_to_deg(others_rad));
	CYC_FINDING_SAY(f->wanted, "degrees, within %.0f of each other", cyc_rad_to_deg(MOST_AXIS_CHANGE_RAD));
done:
	return st;
}

/* Tilts whose axis is not that of their series: rows or columns were mixed up. */
static cyc_status check_axis_rows(cyc_survey *s, int32_t i, double middle)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	int32_t first = -1;
	int64_t n = 0;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		if (!has_axis(&ts->tilts[f]) ||
		    fabs(remainder(ts->tilts[f].zrot_rad - middle, 2 * CYC_PI)) <= MOST_AXIS_CHANGE_RAD)
			continue;
		if (n++ == 0) first = f;
	}
	if (n == 0) return CYC_OK;
	CYC_TRY(add_axis(s, i, ts->tilts[first].zrot_rad, middle, "tilts of the series"));
	cyc_finding *f = &s->found->items[s->found->n - 1];
	f->row = first + 1;
	f->n_more = n - 1;
	CYC_FINDING_SAY(f->action, "align these tilts again, or exclude them with a _%s of 0",
	                CYC_RLN_CTF_SCALEFACTOR);
done:
	return st;
}

/* Tilts against their series, and series against each other. */
static cyc_status check_axes(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *set = s->p->tomograms;
	double *axis = NULL, *sorted = NULL;
	size_t n = 0;
	int32_t first = -1;
	int64_t n_off = 0;
	CYC_TRY(cyc_alloc(&axis, set->n_series, sizeof *axis));
	CYC_TRY(cyc_alloc(&sorted, set->n_series, sizeof *sorted));
	for (int32_t i = 0; i < set->n_series; i++) {
		axis[i] = CYC_NAN;
		if (!cyc_survey_has_particles(s, i) || s->is_broken[i]) continue;
		CYC_TRY(middle_axis(&axis[i], &set->series[i]));
		if (!isfinite(axis[i])) continue;
		CYC_TRY(check_axis_rows(s, i, axis[i]));
		sorted[n++] = axis[i];
	}
	if (n < 2) goto done;
	double middle = middle_angle(sorted, n);
	for (int32_t i = 0; i < set->n_series; i++)
		if (fabs(remainder(axis[i] - middle, 2 * CYC_PI)) > MOST_AXIS_CHANGE_RAD && n_off++ == 0) first = i;
	if (n_off == 0) goto done;
	CYC_TRY(add_axis(s, first, axis[first], middle, "series"));
	cyc_finding *f = &s->found->items[s->found->n - 1];
	f->n_more = n_off - 1;
	CYC_FINDING_SAY(f->action, "correct it unless these series were taken or aligned in another way");
done:
	cyc_free(axis);
	cyc_free(sorted);
	return st;
}

cyc_status cyc_survey_series(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	CYC_TRY(check_doses(s));
	CYC_TRY(check_hands(s));
	CYC_TRY(check_axes(s));
done:
	return st;
}

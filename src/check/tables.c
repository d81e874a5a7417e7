/* What tables show without any image. */
#include "check/check_internal.h"

#include <math.h>

/* Stage angles tell their sign if they spread at least this far, at least this many of them. */
static const double LEAST_SPREAD_RAD = 20 * CYC_PI / 180;
enum { LEAST_TILTS = 5 };
/* About the law of the ice the scales of a series' tilts do not differ by more than this. */
static const double MOST_SCALE_RATIO = 3;
/* Pixel sizes that count as one. */
static const double SAME_PIXEL_SIZE = 2e-3;

/* Slope of the stage's angle against the projection's, with the error that the scatter about the line gives.
 */
static cyc_measured stage_slope(const cyc_tilt_series *ts)
{
	double n = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0, low = HUGE_VAL, high = -HUGE_VAL;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *t = &ts->tilts[f];
		if (!t->has_nominal_tilt || !t->has_angles || t->has_matrix) continue;
		n++;
		x += t->ytilt_rad;
		y += t->nominal_tilt_rad;
		xx += t->ytilt_rad * t->ytilt_rad;
		xy += t->ytilt_rad * t->nominal_tilt_rad;
		yy += t->nominal_tilt_rad * t->nominal_tilt_rad;
		low = fmin(low, t->ytilt_rad);
		high = fmax(high, t->ytilt_rad);
	}
	if (n < LEAST_TILTS || high - low < LEAST_SPREAD_RAD) return (cyc_measured){ CYC_NAN, CYC_NAN };
	double sxx = xx - x * x / n, sxy = xy - x * y / n, syy = yy - y * y / n, slope = sxy / sxx;
	/* Angles are not known better than to a hundredth of a degree, even where they were copied. */
	double variance = fmax(fmax(0, syy - slope * sxy) / (n - 2), cyc_square(1e-4));
	return (cyc_measured){ slope, sqrt(variance / sxx) };
}

static cyc_status check_stage(cyc_check *c, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_series_evidence *e = &c->result->series[i];
	cyc_finding *f;
	e->stage = stage_slope(&c->tomograms->series[i]);
	if (!isfinite(e->stage.error) || e->stage.value + 5 * e->stage.error > 0) goto done;
	CYC_TRY(cyc_finding_add(&f, c, CYC_FINDING_WARNING, "stage-sign", i));
	CYC_TRY(cyc_finding_put(f, c->tomograms->series[i].star_path, "rlnTomoNominalStageTiltAngle"));
	f->measured = e->stage;
	f->expected = 1;
	f->sigma = fabs(e->stage.value - 1) / e->stage.error;
	f->can_fix = true;
	CYC_FINDING_SAY(
		f->found,
		"stage angles have the sign opposite to the projections': slope %.3f +- %.3f against rlnTomoYTilt",
		e->stage.value, e->stage.error);
	CYC_FINDING_SAY(f->wanted, "a slope of 1");
	CYC_FINDING_SAY(f->action, "change the sign of rlnTomoNominalStageTiltAngle");
done:
	return st;
}

static cyc_status check_dose(cyc_check *c, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &c->tomograms->series[i];
	cyc_finding *f;
	double low = HUGE_VAL, high = -HUGE_VAL;
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		low = fmin(low, ts->tilts[k].pre_exposure_e_per_A2);
		high = fmax(high, ts->tilts[k].pre_exposure_e_per_A2);
	}
	if (ts->n_tilts < 2 || high > low) goto done;
	CYC_TRY(cyc_finding_add(&f, c, CYC_FINDING_WARNING, "no-dose", i));
	CYC_TRY(cyc_finding_put(f, ts->star_path, "rlnMicrographPreExposure"));
	CYC_FINDING_SAY(f->found, "all tilts have the same dose, %g e/Å2", low);
	CYC_FINDING_SAY(f->wanted, "the dose before each exposure");
	CYC_FINDING_SAY(f->action,
	                "give the doses; without them tilts are neither weighted by damage nor in their order");
done:
	return st;
}

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

static cyc_status fit_trend(scale_trend *t, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	double x = 0, y = 0, xx = 0, xy = 0;
	*t = (scale_trend){ 0 };
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		double longer, log_s;
		if (!(ts->tilts[f].scale > 0)) continue;
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

static cyc_status check_scales(cyc_check *c, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &c->tomograms->series[i];
	cyc_finding *finding;
	scale_trend t;
	CYC_TRY(fit_trend(&t, ts));
	if (t.n < LEAST_TILTS) goto done;
	if (t.b * t.reach > log(MOST_SCALE_RATIO)) {
		CYC_TRY(cyc_finding_add(&finding, c, CYC_FINDING_WARNING, "scale", i));
		CYC_TRY(cyc_finding_put(finding, ts->star_path, "rlnCtfScalefactor"));
		CYC_FINDING_SAY(
			finding->found,
			"contrast scales rise with tilt, %.3g-fold to the highest, where more ice lets them fall",
			exp(t.b * t.reach));
		CYC_FINDING_SAY(finding->wanted, "scales that fall with tilt");
		CYC_FINDING_SAY(finding->action,
		                "look at the order of the doses: doses that are wrong make scales wrong");
	}
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		double longer, ratio;
		if (!(ts->tilts[f].scale > 0)) continue;
		CYC_TRY(tilt_path(&longer, ts, f));
		ratio = ts->tilts[f].scale / exp(t.a + t.b * longer);
		if (ratio <= MOST_SCALE_RATIO && ratio >= 1 / MOST_SCALE_RATIO) continue;
		CYC_TRY(cyc_finding_add(&finding, c, CYC_FINDING_WARNING, "scale", i));
		CYC_TRY(cyc_finding_put(finding, ts->star_path, "rlnCtfScalefactor"));
		finding->row = f + 1;
		CYC_FINDING_SAY(finding->found,
		                "a contrast scale of %.3g, %.3g times what the series has at this tilt",
		                ts->tilts[f].scale, ratio);
		CYC_FINDING_SAY(finding->wanted, "within a factor of %g", MOST_SCALE_RATIO);
		CYC_FINDING_SAY(finding->action, "look at the image; a scale of 0 excludes the tilt");
	}
done:
	return st;
}

static cyc_status check_pixel_size(cyc_check *c, int32_t i, int32_t first)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &c->tomograms->series[i], *other = &c->tomograms->series[first];
	cyc_finding *f;
	if (fabs(ts->pixel_size_A / other->pixel_size_A - 1) < SAME_PIXEL_SIZE) goto done;
	CYC_TRY(cyc_finding_add(&f, c, CYC_FINDING_ERROR, "mixed-pixel-sizes", i));
	CYC_TRY(cyc_finding_put(f, c->set->tomograms, "rlnTomoTiltSeriesPixelSize"));
	CYC_FINDING_SAY(f->found, "pixels of %.4g Å, tilt series %s has %.4g", ts->pixel_size_A, other->name,
	                other->pixel_size_A);
	CYC_FINDING_SAY(f->wanted, "one pixel size, to %g %%", 100 * SAME_PIXEL_SIZE);
	CYC_FINDING_SAY(f->action, "refine series of different pixel sizes in runs of their own");
done:
	return st;
}

cyc_status cyc_check_tables(cyc_check *c)
{
	cyc_status st = CYC_OK;
	int32_t first = -1;
	for (int32_t i = 0; i < c->result->n_series; i++) {
		if (c->result->series[i].n_particles == 0) continue;
		if (first < 0) first = i;
		CYC_TRY(check_pixel_size(c, i, first));
		CYC_TRY(check_stage(c, i));
		CYC_TRY(check_dose(c, i));
		CYC_TRY(check_scales(c, i));
	}
done:
	return st;
}

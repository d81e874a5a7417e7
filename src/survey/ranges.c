/* Values that cannot be: what each column may hold, and why. */
#include "survey/survey_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ANY HUGE_VAL

/*
 * Outside of low..high a value is a mistake; outside of usual_low..usual_high it is worth a warning. The
 * limits of errors are far beyond what is done, so that nothing real is refused.
 */
static const struct {
	const char *label;
	unsigned tables;
	double low, high, usual_low, usual_high;
	const char *unit, *why;
} RANGES[] = {
#define T CYC_TABLE_TILTS
#define G CYC_TABLE_TOMOGRAMS
#define O CYC_TABLE_OPTICS
#define P CYC_TABLE_PARTICLES
	/* geometry of tilts */
	{ "rlnTomoXTilt", T, -360, 360, -90, 90, "degrees", "a stage does not tilt further" },
	{ "rlnTomoYTilt", T, -360, 360, -90, 90, "degrees", "a stage does not tilt further" },
	{ "rlnTomoNominalStageTiltAngle", T, -360, 360, -90, 90, "degrees", "a stage does not tilt further" },
	{ "cycInputXTiltDeg", T, -360, 360, -90, 90, "degrees", "a stage does not tilt further" },
	{ "cycInputYTiltDeg", T, -360, 360, -90, 90, "degrees", "a stage does not tilt further" },
	{ "rlnTomoZRot", T, -720, 720, -360, 360, "degrees", "a full turn" },
	{ "cycInputZRotDeg", T, -720, 720, -360, 360, "degrees", "a full turn" },
	{ "rlnTomoNominalTiltAxisAngle", T, -720, 720, -360, 360, "degrees", "a full turn" },
	{ "rlnTomoXShiftAngst", T, -1e5, 1e5, -2e4, 2e4, "Å", "no camera sees that far" },
	{ "rlnTomoYShiftAngst", T, -1e5, 1e5, -2e4, 2e4, "Å", "no camera sees that far" },
	{ "cycInputXShiftAngst", T, -1e5, 1e5, -2e4, 2e4, "Å", "no camera sees that far" },
	{ "cycInputYShiftAngst", T, -1e5, 1e5, -2e4, 2e4, "Å", "no camera sees that far" },
	/* contrast transfer */
	{ "rlnDefocusU", T | P, -5e5, 5e5, -5e3, 1.5e5, "Å", "underfocus is positive, in Å and not in µm" },
	{ "rlnDefocusV", T | P, -5e5, 5e5, -5e3, 1.5e5, "Å", "underfocus is positive, in Å and not in µm" },
	{ "cycInputDefocusU", T, -5e5, 5e5, -5e3, 1.5e5, "Å", "underfocus is positive, in Å and not in µm" },
	{ "cycInputDefocusV", T, -5e5, 5e5, -5e3, 1.5e5, "Å", "underfocus is positive, in Å and not in µm" },
	{ "rlnDefocusAngle", T | P, -720, 720, -360, 360, "degrees", "a full turn" },
	{ "cycInputDefocusAngle", T, -720, 720, -360, 360, "degrees", "a full turn" },
	{ "rlnPhaseShift", T | O | P, -720, 720, -360, 360, "degrees", "a full turn" },
	{ "rlnCtfScalefactor", T | O | P, -1e4, 1e4, -1e3, 1e3, "", "contrast over that of the map" },
	{ "cycInputCtfScalefactor", T, -1e4, 1e4, -1e3, 1e3, "", "contrast over that of the map" },
	{ "rlnCtfBfactor", T | O | P, -1e5, 1e5, -1e3, 1e3, "Å²", "at 1e3 nothing finer than 10 Å is left" },
	{ "rlnCtfBfactorPerElectronDose", G | T | O | P, -1e3, 1e3, -20, 20, "Å² per e/Å2",
	  "damage adds some 4" },
	{ "rlnMicrographPreExposure", T, 0, 1e4, 0, 500, "e/Å2", "nothing finer than a cell outlives 500" },
	{ "rlnTomoImportFractionalDose", G, 0, 1e3, 0, 50, "e/Å2", "the dose of one tilt" },
	/* optics */
	{ "rlnVoltage", T | G | O | P, 10, 3500, 60, 400, "kV", "the voltage of a microscope" },
	{ "rlnSphericalAberration", T | G | O | P, -50, 50, -1, 5, "mm", "lenses have 0 to 5" },
	{ "rlnAmplitudeContrast", T | G | O | P, 0, 1, 0, 0.5, "",
	  "a fraction, not in percent; phase plates have _rlnPhaseShift" },
	{ "rlnTomoTiltSeriesPixelSize", G | O | P, 0.02, 500, 0.2, 30, "Å", "a pixel of a tilt image" },
	{ "rlnImagePixelSize", O | P, 0.02, 5000, 0.2, 100, "Å", "a pixel of an extracted image" },
	{ "rlnTomoSubtomogramBinning", O | P, 0.1, 100, 1, 32, "", "how many pixels were made one" },
	{ "rlnTomoHand", G, -1, 1, -1, 1, "", "1 or -1" },
	{ "rlnTomoDefocusSlope", G, -10, 10, -1.5, 1.5, "", "1 as the hand says" },
	{ "rlnTomoSizeX", G, 1, 1e5, 16, 3e4, "px", "unbinned pixels of the tomogram" },
	{ "rlnTomoSizeY", G, 1, 1e5, 16, 3e4, "px", "unbinned pixels of the tomogram" },
	{ "rlnTomoSizeZ", G, 1, 1e5, 1, 3e4, "px", "unbinned pixels of the tomogram" },
	{ "rlnBeamTiltX", O | T | P, -1e3, 1e3, -20, 20, "mrad", "a beam is tilted by a few" },
	{ "rlnBeamTiltY", O | T | P, -1e3, 1e3, -20, 20, "mrad", "a beam is tilted by a few" },
	/* particles */
	{ "rlnCenteredCoordinateXAngst", P, -1e6, 1e6, -1e5, 1e5, "Å", "from the middle of the tomogram" },
	{ "rlnCenteredCoordinateYAngst", P, -1e6, 1e6, -1e5, 1e5, "Å", "from the middle of the tomogram" },
	{ "rlnCenteredCoordinateZAngst", P, -1e6, 1e6, -1e5, 1e5, "Å", "from the middle of the tomogram" },
	{ "rlnCoordinateX", P, -1e6, 1e6, -5e3, 5e4, "px", "from the corner of the tomogram" },
	{ "rlnCoordinateY", P, -1e6, 1e6, -5e3, 5e4, "px", "from the corner of the tomogram" },
	{ "rlnCoordinateZ", P, -1e6, 1e6, -5e3, 5e4, "px", "from the corner of the tomogram" },
	{ "rlnOriginXAngst", P, -1e5, 1e5, -1e3, 1e3, "Å", "a particle is near where it was picked" },
	{ "rlnOriginYAngst", P, -1e5, 1e5, -1e3, 1e3, "Å", "a particle is near where it was picked" },
	{ "rlnOriginZAngst", P, -1e5, 1e5, -1e3, 1e3, "Å", "a particle is near where it was picked" },
	{ "cycPriorOriginXAngst", P, -1e5, 1e5, -1e3, 1e3, "Å", "a particle is near where it was picked" },
	{ "cycPriorOriginYAngst", P, -1e5, 1e5, -1e3, 1e3, "Å", "a particle is near where it was picked" },
	{ "cycPriorOriginZAngst", P, -1e5, 1e5, -1e3, 1e3, "Å", "a particle is near where it was picked" },
	{ "rlnAngleRot", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "rlnAngleTilt", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "rlnAnglePsi", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "rlnTomoSubtomogramRot", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "rlnTomoSubtomogramTilt", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "rlnTomoSubtomogramPsi", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "cycPriorAngleRot", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "cycPriorAngleTilt", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "cycPriorAnglePsi", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "rlnAngleTiltPrior", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "rlnAnglePsiPrior", P, -3600, 3600, -1080, 1080, "degrees", "turns of 360" },
	{ "cycMeanMotionErrorXAngst", P, -1, 1e4, -1, 100, "Å", "a standard error; -1 if it is not known" },
	{ "cycMeanMotionErrorYAngst", P, -1, 1e4, -1, 100, "Å", "a standard error; -1 if it is not known" },
	{ "cycMeanMotionErrorZAngst", P, -1, 1e4, -1, 100, "Å", "a standard error; -1 if it is not known" },
	{ "cycParticleProbability", P, 0, 1, 0, 1, "", "a probability" },
#undef T
#undef G
#undef O
#undef P
};

/* Rows of a column beyond the limits, and the first of them. */
typedef struct {
	int64_t first, n;
	double value;
} outside;

static void note(outside *o, int64_t row, double value)
{
	if (o->n++ > 0) return;
	o->first = row;
	o->value = value;
}

/* Tilts of scale 0 take part in nothing. */
static bool is_used(const cyc_survey *s, const cyc_survey_table *t, int64_t row)
{
	return t->kind != CYC_TABLE_TILTS || s->p->tomograms->series[t->i_series].tilts[row].scale != 0;
}

static cyc_status add_outside(cyc_survey *s, const cyc_survey_table *t, size_t k, const outside *o,
                              bool is_error)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	const char *unit = RANGES[k].unit, *space = unit[0] ? " " : "";
	double low = is_error ? RANGES[k].low : RANGES[k].usual_low,
		   high = is_error ? RANGES[k].high : RANGES[k].usual_high;
	CYC_TRY(cyc_survey_add(&f, s, is_error ? CYC_FINDING_ERROR : CYC_FINDING_WARNING, "value", t->i_series,
	                       t->file, RANGES[k].label));
	f->row = o->first + 1;
	f->n_more = o->n - 1;
	f->measured.value = o->value;
	CYC_FINDING_SAY(f->found, "_%s is %g%s%s", RANGES[k].label, o->value, space, unit);
	CYC_FINDING_SAY(f->wanted, "%g to %g%s%s: %s", low, high, space, unit, RANGES[k].why);
	CYC_FINDING_SAY(f->action, "%s%s", is_error ? "correct the value" : "check whether it is intended",
	                t->kind == CYC_TABLE_TILTS ? ", or exclude the tilt with a _rlnCtfScalefactor of 0" : "");
done:
	return st;
}

static cyc_status check_column(cyc_survey *s, const cyc_survey_table *t, int32_t column, size_t k)
{
	cyc_status st = CYC_OK;
	outside wrong = { 0 }, odd = { 0 };
	for (int64_t row = 0; row < cyc_star_n_rows(t->block); row++) {
		double v;
		if (!is_used(s, t, row)) continue;
		if (cyc_star_double(&v, t->block, row, column) != CYC_OK) {
			/* Columns that are read have been read; of others a "none" is nobody's harm. */
			cyc_error_clear();
			continue;
		}
		if (v < RANGES[k].low || v > RANGES[k].high) note(&wrong, row, v);
		else if (v < RANGES[k].usual_low || v > RANGES[k].usual_high) note(&odd, row, v);
	}
	if (wrong.n > 0) CYC_TRY(add_outside(s, t, k, &wrong, true));
	if (odd.n > 0) CYC_TRY(add_outside(s, t, k, &odd, false));
done:
	return st;
}

static cyc_status check_table(cyc_survey *s, const cyc_survey_table *t)
{
	cyc_status st = CYC_OK;
	for (size_t k = 0; k < sizeof RANGES / sizeof *RANGES; k++) {
		int32_t column = RANGES[k].tables & t->kind ? cyc_star_column(t->block, RANGES[k].label) : -1;
		if (column >= 0) CYC_TRY(check_column(s, t, column, k));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- vectors */

/* Lists of numbers: projection matrices, deformations, aberrations, trajectories. */
static cyc_status check_vector(cyc_survey *s, int32_t i_series, const char *file, const char *label,
                               int64_t row, const double *v, int32_t n, double most)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	for (int32_t i = 0; i < n; i++) {
		if (fabs(v[i]) <= most) continue;
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_ERROR, "value", i_series, file, label));
		f->row = row + 1;
		f->measured.value = v[i];
		CYC_FINDING_SAY(f->found, "number %d of _%s is %g", i + 1, label, v[i]);
		CYC_FINDING_SAY(f->wanted, "at most %g", most);
		CYC_FINDING_SAY(f->action, "correct the value, or take the table from before it was damaged");
		break;
	}
done:
	return st;
}

static cyc_status check_series_vectors(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	static const char *const MATRIX[3] = { "rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ" };
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *t = &ts->tilts[f];
		if (t->scale == 0) continue;
		for (int k = 0; k < 3 && t->has_matrix; k++) {
			CYC_TRY(check_vector(s, i, ts->table_path, MATRIX[k], f, t->matrix[k], 3, 10));
			CYC_TRY(check_vector(s, i, ts->table_path, MATRIX[k], f, t->matrix[k] + 3, 1, 1e6));
		}
		CYC_TRY(check_vector(s, i, ts->table_path, "rlnTomoDeformationCoefficients", f, t->deformation,
		                     t->n_deformation, 1e5));
	}
done:
	return st;
}

/* Trajectories: no particle is carried further than this, not even by the stage. */
static const double MOST_MOTION_A = 1e4;

static cyc_status check_motion(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	const cyc_particle_set *set = s->p->particles;
	for (int64_t i = 0; i < set->n && set->motion_data; i++) {
		const cyc_particle *p = &set->particles[i];
		int32_t n = 3 * s->p->tomograms->series[p->i_series].n_tilts, worst = -1;
		for (int32_t k = 0; k < n && p->motion_A && worst < 0; k++)
			if (!(fabs((double)p->motion_A[k]) <= MOST_MOTION_A)) worst = k;
		if (worst < 0) continue;
		CYC_TRY(
			cyc_survey_add(&f, s, CYC_FINDING_ERROR, "value", p->i_series, s->p->set->trajectories, NULL));
		f->row = worst / 3 + 1;
		f->measured.value = (double)p->motion_A[worst];
		CYC_FINDING_SAY(f->found, "the trajectory of particle %s is %g Å away", p->name,
		                (double)p->motion_A[worst]);
		CYC_FINDING_SAY(f->wanted, "at most %g Å", MOST_MOTION_A);
		CYC_FINDING_SAY(f->action, "correct the trajectory (block '%s'), or leave the trajectories out",
		                p->name);
	}
done:
	return st;
}

cyc_status cyc_survey_ranges(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	CYC_TRY(cyc_survey_each_table(s, check_table));
	for (int32_t i = 0; i < s->p->tomograms->n_series; i++)
		if (cyc_survey_has_particles(s, i)) CYC_TRY(check_series_vectors(s, i));
	for (int32_t g = 0; g < set->n_optics; g++) {
		const cyc_optics_group *o = &set->optics[g];
		CYC_TRY(check_vector(s, -1, set->path, "rlnEvenZernike", g, o->even_zernike, o->n_even, 1e9));
		CYC_TRY(check_vector(s, -1, set->path, "rlnOddZernike", g, o->odd_zernike, o->n_odd, 1e9));
	}
	CYC_TRY(check_motion(s));
done:
	return st;
}

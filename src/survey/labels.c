/* Labels of other versions and programs that say something this one needs, and does not read by that name. */
#include "survey/survey_internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* ---------------------------------------------------------------- columns that are not read */

/* Which values of a column say nothing that is not known: those near this one, or those of the tilt series.
 */
typedef enum { AS_NUMBER, AS_VOLTAGE, AS_CS, AS_CONTRAST, AS_PIXEL_SIZE, AS_NOTHING } neutral_kind;

static const struct {
	const char *label;
	unsigned tables;
	neutral_kind neutral;
	double number;
	const char *unless; /* with this label beside it all is said */
	const char *means, *action;
} FOREIGN[] = {
#define T CYC_TABLE_TILTS
#define G CYC_TABLE_TOMOGRAMS
#define O CYC_TABLE_OPTICS
#define P CYC_TABLE_PARTICLES
	{ "rlnOriginX", P, AS_NUMBER, 0, "rlnOriginXAngst", "RELION 3.0's offsets in pixels",
	  "multiply by the images' pixel size and write _rlnOriginXAngst" },
	{ "rlnOriginY", P, AS_NUMBER, 0, "rlnOriginYAngst", "RELION 3.0's offsets in pixels",
	  "multiply by the images' pixel size and write _rlnOriginYAngst" },
	{ "rlnOriginZ", P, AS_NUMBER, 0, "rlnOriginZAngst", "RELION 3.0's offsets in pixels",
	  "multiply by the images' pixel size and write _rlnOriginZAngst" },
	{ "rlnVoltage", P | T, AS_VOLTAGE, 0, NULL, "a voltage other than that of the tomograms' table",
	  "correct one of the two" },
	{ "rlnSphericalAberration", P | T, AS_CS, 0, NULL,
	  "a spherical aberration other than that of the tomograms' table", "correct one of the two" },
	{ "rlnAmplitudeContrast", P | T, AS_CONTRAST, 0, NULL,
	  "an amplitude contrast other than that of the tomograms' table", "correct one of the two" },
	{ "rlnTomoTiltSeriesPixelSize", P | T, AS_PIXEL_SIZE, 0, NULL,
	  "a pixel size other than that of the tomograms' table", "correct one of the two" },
	{ "rlnMicrographOriginalPixelSize", O | P, AS_PIXEL_SIZE, 0, "rlnTomoTiltSeriesPixelSize",
	  "RELION 3.1's pixel size, other than that of the tomograms' table", "correct one of the two" },
	{ "rlnDefocusU", P, AS_NUMBER, 0, NULL, "a defocus for each particle",
	  "that of a particle follows from its tilts and its height: put defocus into the tilt tables" },
	{ "rlnDefocusV", P, AS_NUMBER, 0, NULL, "a defocus for each particle",
	  "that of a particle follows from its tilts and its height: put defocus into the tilt tables" },
	{ "rlnPhaseShift", P | O, AS_NUMBER, 0, NULL, "a phase shift", "put it into the tilt tables" },
	{ "rlnCtfScalefactor", P | O, AS_NUMBER, 1, NULL, "a contrast scale", "put it into the tilt tables" },
	{ "rlnCtfBfactor", P | O, AS_NUMBER, 0, NULL, "a B-factor", "put it into the tilt tables" },
	{ "rlnCtfBfactorPerElectronDose", O | T | P, AS_NUMBER, 0, NULL, "a B-factor per dose",
	  "put it into the tomograms' table" },
	{ "rlnBeamTiltX", P | T | G, AS_NUMBER, 0, NULL, "a beam tilt",
	  "put it into the particles' optics table" },
	{ "rlnBeamTiltY", P | T | G, AS_NUMBER, 0, NULL, "a beam tilt",
	  "put it into the particles' optics table" },
	{ "rlnEvenZernike", P | T | G, AS_NOTHING, 0, NULL, "aberrations",
	  "put them into the particles' optics table" },
	{ "rlnOddZernike", P | T | G, AS_NOTHING, 0, NULL, "aberrations",
	  "put them into the particles' optics table" },
	{ "rlnMagMat00", P | T | G, AS_NUMBER, 1, NULL, "a magnification matrix",
	  "put it into the particles' optics table" },
	{ "rlnMagMat01", P | T | G, AS_NUMBER, 0, NULL, "a magnification matrix",
	  "put it into the particles' optics table" },
	{ "rlnMtfFileName", O | P, AS_NOTHING, 0, NULL, "the detector's MTF",
	  "it is used by postprocess and cycle where they get it with --mtf" },
	{ "rlnTomoHand", P | O | T, AS_NOTHING, 0, NULL, "a hand", "put it into the tomograms' table" },
	{ "rlnTomoImportFractionalDose", T | P | O, AS_NOTHING, 0, NULL, "a dose per tilt",
	  "put it into the tomograms' table" },
	{ "rlnTomoVisibleFrames", T | G, AS_NOTHING, 0, NULL, "which images are used",
	  "put it into the particles' table" },
	{ "wrpRandomSubset", P, AS_NOTHING, 0, "rlnRandomSubset", "M's half-sets",
	  "rename it to _rlnRandomSubset" },
	{ "rlnHalfSet", P, AS_NOTHING, 0, "rlnRandomSubset", "half-sets", "rename it to _rlnRandomSubset" },
	{ "rlnHalfset", P, AS_NOTHING, 0, "rlnRandomSubset", "half-sets", "rename it to _rlnRandomSubset" },
	{ "ccHalfset", P, AS_NOTHING, 0, "rlnRandomSubset", "cryoCAT's half-sets",
	  "rename it to _rlnRandomSubset, with 1 and 2" },
	{ "wrpDose", T, AS_NOTHING, 0, "rlnMicrographPreExposure", "Warp's accumulated dose",
	  "write it as _rlnMicrographPreExposure" },
	{ "wrpAngleTilt", T, AS_NOTHING, 0, "rlnTomoYTilt", "Warp's tilt angles", "write them as _rlnTomoYTilt" },
#undef T
#undef G
#undef O
#undef P
};

/* The tilt series a row belongs to; NULL if that cannot be told. */
static const cyc_tilt_series *series_of(const cyc_survey *s, const cyc_survey_table *t, int64_t row)
{
	const cyc_tomogram_set *set = s->p->tomograms;
	if (t->i_series >= 0) return &set->series[t->i_series];
	if (t->kind == CYC_TABLE_TOMOGRAMS) return &set->series[row];
	/* An optics group: what its first particle belongs to, as far as that can be told without looking: the
	 * first. */
	int32_t i =
		t->kind == CYC_TABLE_PARTICLES ? s->row_series[row] : cyc_particle_set_first_series(s->p->particles);
	return i >= 0 ? &set->series[i] : NULL;
}

static bool says_nothing(const cyc_survey *s, const cyc_survey_table *t, int64_t row, int32_t column,
                         size_t k)
{
	double v, known;
	const cyc_tilt_series *ts;
	if (FOREIGN[k].neutral == AS_NOTHING) return false;
	if (cyc_star_double(&v, t->block, row, column) != CYC_OK) {
		cyc_error_clear();
		return true;
	}
	if (FOREIGN[k].neutral == AS_NUMBER) return fabs(v - FOREIGN[k].number) <= 1e-6;
	ts = series_of(s, t, row);
	if (!ts) return true;
	switch (FOREIGN[k].neutral) {
	case AS_VOLTAGE: known = ts->voltage_kV; break;
	case AS_CS: known = ts->spherical_aberration_mm; break;
	case AS_CONTRAST: known = ts->amplitude_contrast_frac; break;
	default: known = ts->pixel_size_A; break;
	}
	return fabs(v - known) <= 2e-3 * fmax(fabs(known), 0.5);
}

/* Another column says it: one that is filled in, not only there. */
static bool is_told_by(const cyc_star_block *b, const char *label)
{
	int32_t column = label ? cyc_star_column(b, label) : -1;
	for (int64_t row = 0; row < cyc_star_n_rows(b) && column >= 0; row++) {
		double v = 1;
		if (cyc_star_double(&v, b, row, column) != CYC_OK) cyc_error_clear();
		if (v != 0) return true;
	}
	return false;
}

static cyc_status check_foreign(cyc_survey *s, const cyc_survey_table *t, size_t k)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	int64_t first = -1, n = 0, n_rows = cyc_star_n_rows(t->block);
	int32_t column = FOREIGN[k].tables & t->kind ? cyc_star_column(t->block, FOREIGN[k].label) : -1;
	if (column < 0 || is_told_by(t->block, FOREIGN[k].unless)) return CYC_OK;
	for (int64_t row = 0; row < n_rows; row++) {
		if (says_nothing(s, t, row, column, k)) continue;
		if (n++ == 0) first = row;
		if (FOREIGN[k].neutral == AS_NOTHING) break;
	}
	if (n == 0) return CYC_OK;
	bool is_note = strcmp(FOREIGN[k].label, "rlnMtfFileName") == 0;
	CYC_TRY(cyc_survey_add(&f, s, is_note ? CYC_FINDING_NOTE : CYC_FINDING_WARNING, "label", t->i_series,
	                       t->file, FOREIGN[k].label));
	f->row = first + 1;
	f->n_more = n - 1;
	CYC_FINDING_SAY(f->found, "_%s (%s: %s) is not read from this table", FOREIGN[k].label,
	                cyc_star_text(t->block, first, column), FOREIGN[k].means);
	CYC_FINDING_SAY(f->action, "%s", FOREIGN[k].action);
done:
	return st;
}

/* ---------------------------------------------------------------- nearly right labels */

/* What is read, for labels that are this but for case, underscores or the prefix. */
static const char *const KNOWN[] = {
	"rlnTomoName",
	"rlnTomoTiltSeriesStarFile",
	"rlnTomoTiltSeriesName",
	"rlnVoltage",
	"rlnSphericalAberration",
	"rlnAmplitudeContrast",
	"rlnTomoTiltSeriesPixelSize",
	"rlnTomoHand",
	"rlnTomoSizeX",
	"rlnTomoSizeY",
	"rlnTomoSizeZ",
	"rlnOpticsGroup",
	"rlnOpticsGroupName",
	"rlnTomoDefocusSlope",
	"rlnCtfBfactorPerElectronDose",
	"rlnTomoImportFractionalDose",
	"rlnTomoDeformationType",
	"rlnTomoDeformationGridSizeX",
	"rlnTomoDeformationGridSizeY",
	"rlnMicrographName",
	"rlnMicrographPreExposure",
	"rlnTomoXTilt",
	"rlnTomoYTilt",
	"rlnTomoZRot",
	"rlnTomoXShiftAngst",
	"rlnTomoYShiftAngst",
	"rlnTomoProjX",
	"rlnTomoProjY",
	"rlnTomoProjZ",
	"rlnTomoNominalStageTiltAngle",
	"rlnDefocusU",
	"rlnDefocusV",
	"rlnDefocusAngle",
	"rlnPhaseShift",
	"rlnCtfScalefactor",
	"rlnCtfBfactor",
	"rlnTomoDeformationCoefficients",
	"rlnEvenZernike",
	"rlnOddZernike",
	"rlnBeamTiltX",
	"rlnBeamTiltY",
	"rlnMagMat00",
	"rlnMagMat01",
	"rlnMagMat10",
	"rlnMagMat11",
	"rlnTomoSubtomogramBinning",
	"rlnImageDimensionality",
	"rlnTomoParticleName",
	"rlnCenteredCoordinateXAngst",
	"rlnCenteredCoordinateYAngst",
	"rlnCenteredCoordinateZAngst",
	"rlnCoordinateX",
	"rlnCoordinateY",
	"rlnCoordinateZ",
	"rlnOriginXAngst",
	"rlnOriginYAngst",
	"rlnOriginZAngst",
	"rlnAngleRot",
	"rlnAngleTilt",
	"rlnAnglePsi",
	"rlnTomoSubtomogramRot",
	"rlnTomoSubtomogramTilt",
	"rlnTomoSubtomogramPsi",
	"rlnRandomSubset",
	"rlnTomoVisibleFrames",
	"rlnImageName",
	"cycParticleProbability",
	"rlnLogLikeliContribution",
};

/* Equal but for case, underscores and the prefixes that programs put in front. */
static bool is_alike(const char *a, const char *b)
{
	if (strncasecmp(a, "rln", 3) == 0) a += 3;
	if (strncasecmp(b, "rln", 3) == 0) b += 3;
	for (;; a++, b++) {
		while (*a == '_') a++;
		while (*b == '_') b++;
		char x[2] = { *a, 0 }, y[2] = { *b, 0 };
		if (strcasecmp(x, y) != 0) return false;
		if (!*a) return true;
	}
}

static cyc_status check_spelling(cyc_survey *s, const cyc_survey_table *t, int32_t column)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	const char *label = cyc_star_label(t->block, column);
	for (size_t k = 0; k < sizeof KNOWN / sizeof *KNOWN; k++) {
		if (!is_alike(label, KNOWN[k]) || strcmp(label, KNOWN[k]) == 0) continue;
		if (cyc_star_column(t->block, KNOWN[k]) >= 0) continue;
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "label", t->i_series, t->file, label));
		CYC_FINDING_SAY(f->found, "_%s is not read", label);
		CYC_FINDING_SAY(f->wanted, "_%s, if that is what it means", KNOWN[k]);
		CYC_FINDING_SAY(f->action, "rename the column");
	}
done:
	return st;
}

/* ---------------------------------------------------------------- pixel sizes told in other ways */

/* RELION 3.0's 10^4 detector pixel / magnification; PyTom's and cryoCAT's voxel, without a magnification. */
static bool old_pixel_size(double *out, const cyc_star_block *b, int64_t row)
{
	static const char *const SIZES[] = { "rlnImagePixelSize", "rlnPixelSize", "rlnDetectorPixelSize" };
	double magnification = 0;
	*out = 0;
	for (size_t k = 0; k < sizeof SIZES / sizeof *SIZES && !(*out > 0); k++)
		if (cyc_star_double_or(out, b, row, SIZES[k], 0) != CYC_OK) *out = 0;
	if (cyc_star_double_or(&magnification, b, row, "rlnMagnification", 0) != CYC_OK) magnification = 0;
	cyc_error_clear();
	if (magnification > 0 && cyc_star_column(b, "rlnImagePixelSize") < 0 &&
	    cyc_star_column(b, "rlnPixelSize") < 0)
		*out *= 1e4 / magnification;
	return *out > 0;
}

/*
 * A pixel size in the particles' own tables is that of their images or voxels. It has to be the tilt images'
 * times the binning; another one means that coordinates in pixels count in other pixels than they are taken
 * for.
 */
static cyc_status check_pixel_size(cyc_survey *s, const cyc_survey_table *t)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	double old, binning = 1;
	const cyc_star_block *rows = cyc_survey_particle_table(s);
	if (!(t->kind & (CYC_TABLE_OPTICS | CYC_TABLE_PARTICLES)) || cyc_star_n_rows(t->block) == 0) goto done;
	const cyc_tilt_series *ts = series_of(s, t, 0);
	if (!ts || !old_pixel_size(&old, t->block, 0)) goto done;
	if (cyc_star_double_or(&binning, t->block, 0, "rlnTomoSubtomogramBinning", 1) != CYC_OK) binning = 1;
	cyc_error_clear();
	if (fabs(old / (ts->pixel_size_A * binning) - 1) < 1e-2) goto done;
	bool counts = cyc_star_column(rows, "rlnCenteredCoordinateXAngst") < 0;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "voxel-size", -1, t->file, NULL));
	f->row = 1;
	f->measured.value = old;
	f->expected = ts->pixel_size_A * binning;
	CYC_FINDING_SAY(f->found,
	                "the particles' images or voxels have %.4g Å by their table, but tilt images of %.4g Å "
	                "binned by %.4g have %.4g",
	                old, ts->pixel_size_A, binning, ts->pixel_size_A * binning);
	if (counts)
		CYC_FINDING_SAY(
			f->action,
			"_rlnCoordinateX/Y/Z are taken as unbinned pixels: if they were picked in voxels of %.4g Å, "
			"multiply them by %.4g",
			old, old / ts->pixel_size_A);
	else CYC_FINDING_SAY(f->action, "correct the pixel size or the binning (_rlnTomoSubtomogramBinning)");
done:
	return st;
}

static cyc_status check_table(cyc_survey *s, const cyc_survey_table *t)
{
	cyc_status st = CYC_OK;
	for (size_t k = 0; k < sizeof FOREIGN / sizeof *FOREIGN; k++) CYC_TRY(check_foreign(s, t, k));
	for (int32_t i = 0; i < cyc_star_n_columns(t->block); i++) CYC_TRY(check_spelling(s, t, i));
	CYC_TRY(check_pixel_size(s, t));
done:
	return st;
}

cyc_status cyc_survey_labels(cyc_survey *s) { return cyc_survey_each_table(s, check_table); }

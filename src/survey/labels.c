/* Labels of other versions and programs with information that is needed here, but not read under that name.
 */
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
	neutral_kind neutral;
	double number;
	const char *unless;         /* with this label beside it all is said */
	const char *means, *action; /* an action that ends with "_" is followed by the other label */
} FOREIGN[] = {
	{ CYC_RLN_ORIGIN_X, AS_NUMBER, 0, CYC_RLN_ORIGIN_X_ANGST, "RELION 3.0's offsets in pixels",
	  "multiply by the images' pixel size and write _" },
	{ CYC_RLN_ORIGIN_Y, AS_NUMBER, 0, CYC_RLN_ORIGIN_Y_ANGST, "RELION 3.0's offsets in pixels",
	  "multiply by the images' pixel size and write _" },
	{ CYC_RLN_ORIGIN_Z, AS_NUMBER, 0, CYC_RLN_ORIGIN_Z_ANGST, "RELION 3.0's offsets in pixels",
	  "multiply by the images' pixel size and write _" },
	{ CYC_RLN_VOLTAGE, AS_VOLTAGE, 0, NULL, "a voltage other than that of the tomograms' table",
	  "correct one of the two" },
	{ CYC_RLN_SPHERICAL_ABERRATION, AS_CS, 0, NULL,
	  "a spherical aberration other than that of the tomograms' table", "correct one of the two" },
	{ CYC_RLN_AMPLITUDE_CONTRAST, AS_CONTRAST, 0, NULL,
	  "an amplitude contrast other than that of the tomograms' table", "correct one of the two" },
	{ CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE, AS_PIXEL_SIZE, 0, NULL,
	  "a pixel size other than that of the tomograms' table", "correct one of the two" },
	{ CYC_RLN_MICROGRAPH_ORIGINAL_PIXEL_SIZE, AS_PIXEL_SIZE, 0, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE,
	  "RELION 3.1's pixel size, other than that of the tomograms' table", "correct one of the two" },
	{ CYC_RLN_DEFOCUS_U, AS_NUMBER, 0, NULL, "a defocus for each particle",
	  "it follows from the tilt and the particle's height: put the defocus into the tilt tables" },
	{ CYC_RLN_DEFOCUS_V, AS_NUMBER, 0, NULL, "a defocus for each particle",
	  "it follows from the tilt and the particle's height: put the defocus into the tilt tables" },
	{ CYC_RLN_PHASE_SHIFT, AS_NUMBER, 0, NULL, "a phase shift", "put it into the tilt tables" },
	{ CYC_RLN_CTF_SCALEFACTOR, AS_NUMBER, 1, NULL, "a contrast scale", "put it into the tilt tables" },
	{ CYC_RLN_CTF_BFACTOR, AS_NUMBER, 0, NULL, "a B-factor", "put it into the tilt tables" },
	{ CYC_RLN_CTF_BFACTOR_PER_ELECTRON_DOSE, AS_NUMBER, 0, NULL, "a B-factor per dose",
	  "put it into the tomograms' table" },
	{ CYC_RLN_BEAM_TILT_X, AS_NUMBER, 0, NULL, "a beam tilt", "put it into the particles' optics table" },
	{ CYC_RLN_BEAM_TILT_Y, AS_NUMBER, 0, NULL, "a beam tilt", "put it into the particles' optics table" },
	{ CYC_RLN_EVEN_ZERNIKE, AS_NOTHING, 0, NULL, "aberrations", "put them into the particles' optics table" },
	{ CYC_RLN_ODD_ZERNIKE, AS_NOTHING, 0, NULL, "aberrations", "put them into the particles' optics table" },
	{ CYC_RLN_MAG_MAT00, AS_NUMBER, 1, NULL, "a magnification matrix",
	  "put it into the particles' optics table" },
	{ CYC_RLN_MAG_MAT01, AS_NUMBER, 0, NULL, "a magnification matrix",
	  "put it into the particles' optics table" },
	{ CYC_RLN_MTF_FILE_NAME, AS_NOTHING, 0, NULL, "the detector's MTF",
	  "give it to postprocess or cycle with --mtf" },
	{ CYC_RLN_TOMO_HAND, AS_NOTHING, 0, NULL, "a hand", "put it into the tomograms' table" },
	{ CYC_RLN_TOMO_IMPORT_FRACTIONAL_DOSE, AS_NOTHING, 0, NULL, "a dose per tilt",
	  "put it into the tomograms' table" },
	{ CYC_RLN_TOMO_VISIBLE_FRAMES, AS_NOTHING, 0, NULL, "which images are used",
	  "put it into the particles' table" },
	{ CYC_WRP_RANDOM_SUBSET, AS_NOTHING, 0, CYC_RLN_RANDOM_SUBSET, "M's half-sets", "rename it to _" },
	{ CYC_RLN_HALF_SET, AS_NOTHING, 0, CYC_RLN_RANDOM_SUBSET, "half-sets", "rename it to _" },
	{ CYC_RLN_HALFSET, AS_NOTHING, 0, CYC_RLN_RANDOM_SUBSET, "half-sets", "rename it to _" },
	{ CYC_CC_HALFSET, AS_NOTHING, 0, CYC_RLN_RANDOM_SUBSET, "cryoCAT's half-sets",
	  "if it contains 1 and 2, rename it to _" },
	{ CYC_WRP_DOSE, AS_NOTHING, 0, CYC_RLN_MICROGRAPH_PRE_EXPOSURE, "Warp's accumulated dose",
	  "write it as _" },
	{ CYC_WRP_ANGLE_TILT, AS_NOTHING, 0, CYC_RLN_TOMO_Y_TILT, "Warp's tilt angles", "write them as _" },
	{ CYC_WRP_AXIS_ANGLE, AS_NUMBER, 0, CYC_RLN_TOMO_Z_ROT, "Warp's tilt axis",
	  "get the tables with cyclotomo import, which writes _" },
	{ CYC_WRP_AXIS_OFFSET_X, AS_NUMBER, 0, CYC_RLN_TOMO_X_SHIFT_ANGST, "Warp's shift of the image",
	  "get the tables with cyclotomo import, which writes _" },
	{ CYC_WRP_AXIS_OFFSET_Y, AS_NUMBER, 0, CYC_RLN_TOMO_Y_SHIFT_ANGST, "Warp's shift of the image",
	  "get the tables with cyclotomo import, which writes _" },
	{ CYC_RLN_IS_FLIP, AS_NUMBER, 0, NULL, "a mirror image",
	  "remove these particles, or correct the hand of the project" },
};

/* The tilt series a row belongs to; NULL if that is unknown. */
static const cyc_tilt_series *series_of(const cyc_survey *s, const cyc_survey_table *t, int64_t row)
{
	const cyc_tomogram_set *set = s->p->tomograms;
	if (t->i_series >= 0) return &set->series[t->i_series];
	if (t->kind == CYC_TABLE_TOMOGRAMS) return &set->series[row];
	/* An optics group: what its first particle belongs to, as far as that is known without reading: the
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

/* The detector's MTF, where a table names a file that is there: it has to go to the edge of the transforms.
 */
static cyc_status check_mtf(cyc_survey *s, const cyc_survey_table *t, int64_t row, int32_t column)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	cyc_mtf_file *mtf = NULL;
	char *path = NULL;
	const char *name = cyc_star_text(t->block, row, column);
	CYC_TRY(cyc_path_join(&path, s->p->root, name));
	if (!cyc_path_exists(path)) goto done;
	cyc_status read = cyc_mtf_file_read(&mtf, path);
	if (read == CYC_E_NOMEM || read == CYC_E_CANCELLED) CYC_TRY(read);
	if (read == CYC_OK && cyc_mtf_file_reaches(mtf, 0.5)) goto done;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "mtf", t->i_series, name,
	                       CYC_RLN_RESOLUTION_INVERSE_PIXEL));
	if (read != CYC_OK) {
		CYC_FINDING_SAY(f->found, "no MTF can be read from it");
		cyc_error_clear();
	} else {
		f->row = mtf->n;
		if (mtf->n > 0) f->measured.value = mtf->inverse_px[mtf->n - 1];
		CYC_FINDING_SAY(f->found, "the last row is at %.4g 1/px", f->measured.value);
	}
	CYC_FINDING_SAY(f->wanted, "rows from 0 to 0.5 1/px");
	CYC_FINDING_SAY(f->action, "use a whole MTF of the detector, if you correct for it (--mtf)");
done:
	cyc_mtf_file_destroy(&mtf);
	cyc_free(path);
	return st;
}

static cyc_status check_foreign(cyc_survey *s, const cyc_survey_table *t, size_t k)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	int64_t first = -1, n = 0, n_rows = cyc_star_n_rows(t->block);
	const cyc_label_info *known = cyc_label_find(FOREIGN[k].label);
	/* Where it may stand, but is not read. */
	bool is_foreign = known && (known->tables & ~known->read_from & (unsigned)t->kind);
	int32_t column = is_foreign ? cyc_star_column(t->block, FOREIGN[k].label) : -1;
	if (column < 0 || is_told_by(t->block, FOREIGN[k].unless)) return CYC_OK;
	for (int64_t row = 0; row < n_rows; row++) {
		if (says_nothing(s, t, row, column, k)) continue;
		if (n++ == 0) first = row;
		if (FOREIGN[k].neutral == AS_NOTHING) break;
	}
	if (n == 0) return CYC_OK;
	bool is_note = strcmp(FOREIGN[k].label, CYC_RLN_MTF_FILE_NAME) == 0;
	CYC_TRY(cyc_survey_add(&f, s, is_note ? CYC_FINDING_NOTE : CYC_FINDING_WARNING, "label", t->i_series,
	                       t->file, FOREIGN[k].label));
	f->row = first + 1;
	f->n_more = n - 1;
	CYC_FINDING_SAY(f->found, "_%s (%s: %s) is not read from this table", FOREIGN[k].label,
	                cyc_star_text(t->block, first, column), FOREIGN[k].means);
	const char *action = FOREIGN[k].action;
	CYC_FINDING_SAY(f->action, "%s%s", action, action[strlen(action) - 1] == '_' ? FOREIGN[k].unless : "");
	if (is_note) CYC_TRY(check_mtf(s, t, first, column));
done:
	return st;
}

/* ---------------------------------------------------------------- nearly right labels */

/* Equal but for case, underscores and the prefixes that programs put in front. */
static bool is_alike(const char *a, const char *b)
{
	static const char *const PREFIXED = CYC_RLN_TOMO_NAME; /* begins as all of RELION's do */
	if (strncasecmp(a, PREFIXED, 3) == 0) a += 3;
	if (strncasecmp(b, PREFIXED, 3) == 0) b += 3;
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
	const unsigned SURVEYED = CYC_TABLE_TILTS | CYC_TABLE_TOMOGRAMS | CYC_TABLE_OPTICS | CYC_TABLE_PARTICLES;
	size_t n;
	const cyc_label_info *known = cyc_label_table(&n);
	for (size_t k = 0; k < n; k++) {
		if (!(known[k].read_from & SURVEYED) || !is_alike(label, known[k].name) ||
		    strcmp(label, known[k].name) == 0)
			continue;
		if (cyc_star_column(t->block, known[k].name) >= 0) continue;
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "label", t->i_series, t->file, label));
		CYC_FINDING_SAY(f->found, "_%s is not read", label);
		CYC_FINDING_SAY(f->wanted, "_%s, if it means the same", known[k].name);
		CYC_FINDING_SAY(f->action, "rename the column");
	}
done:
	return st;
}

/* ---------------------------------------------------------------- pixel sizes given in other ways */

/* RELION 3.0's 10^4 detector pixel / magnification; PyTom's and cryoCAT's voxel, without a magnification. */
static bool old_pixel_size(double *out, const cyc_star_block *b, int64_t row)
{
	static const char *const SIZES[] = { CYC_RLN_IMAGE_PIXEL_SIZE, CYC_RLN_PIXEL_SIZE,
		                                 CYC_RLN_DETECTOR_PIXEL_SIZE };
	double magnification = 0;
	*out = 0;
	for (size_t k = 0; k < sizeof SIZES / sizeof *SIZES && !(*out > 0); k++)
		if (cyc_star_double_or(out, b, row, SIZES[k], 0) != CYC_OK) *out = 0;
	if (cyc_star_double_or(&magnification, b, row, CYC_RLN_MAGNIFICATION, 0) != CYC_OK) magnification = 0;
	cyc_error_clear();
	if (magnification > 0 && cyc_star_column(b, CYC_RLN_IMAGE_PIXEL_SIZE) < 0 &&
	    cyc_star_column(b, CYC_RLN_PIXEL_SIZE) < 0)
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
	if (cyc_star_double_or(&binning, t->block, 0, CYC_RLN_TOMO_SUBTOMOGRAM_BINNING, 1) != CYC_OK) binning = 1;
	cyc_error_clear();
	if (fabs(old / (ts->pixel_size_A * binning) - 1) < 1e-2) goto done;
	bool counts = cyc_star_column(rows, CYC_RLN_CENTERED_COORDINATE_X_ANGST) < 0;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "voxel-size", -1, t->file, NULL));
	f->row = 1;
	f->measured.value = old;
	f->expected = ts->pixel_size_A * binning;
	CYC_FINDING_SAY(f->found,
	                "the pixel size of the particles is %.4g Å in their table, but tilt images of %.4g Å "
	                "binned by %.4g give %.4g",
	                old, ts->pixel_size_A, binning, ts->pixel_size_A * binning);
	if (counts)
		CYC_FINDING_SAY(f->action,
		                "_%s/Y/Z are read as unbinned pixels: if particles were picked in voxels of %.4g Å, "
		                "multiply by %.4g",
		                CYC_RLN_COORDINATE_X, old, old / ts->pixel_size_A);
	else
		CYC_FINDING_SAY(f->action, "correct the pixel size or the binning (_%s)",
		                CYC_RLN_TOMO_SUBTOMOGRAM_BINNING);
done:
	return st;
}

/* ---------------------------------------------------------------- blocks that are not read */

enum { TELLING_LABELS = 2 }; /* as many labels of a table, and a block is one */

static bool is_table_of(const cyc_star_block *b, unsigned kind)
{
	int n = 0;
	for (int32_t i = 0; i < cyc_star_n_columns(b) && n < TELLING_LABELS; i++) {
		const cyc_label_info *known = cyc_label_find(cyc_star_label(b, i));
		n += known && (known->read_from & kind);
	}
	return n >= TELLING_LABELS && cyc_star_n_rows(b) > 0;
}

static bool is_series_name(const cyc_survey *s, const char *name)
{
	for (int32_t i = 0; i < s->p->tomograms->n_series; i++)
		if (strcmp(s->p->tomograms->series[i].name, name) == 0) return true;
	return false;
}

/* Rows of a table of this kind in a block under a name that is not read from this file. */
static cyc_status check_block(cyc_survey *s, const cyc_star_block *b, unsigned kind, const char *file,
                              const char *read)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	if (!is_table_of(b, kind)) return CYC_OK;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "unread-block", -1, file, NULL));
	CYC_FINDING_SAY(f->found, "block '%s' of %lld rows is not read", cyc_star_block_name(b),
	                (long long)cyc_star_n_rows(b));
	CYC_FINDING_SAY(f->wanted, "all rows in block '%s'", read);
	CYC_FINDING_SAY(f->action, "put its rows into that block if they are needed, or remove it");
done:
	return st;
}

static cyc_status check_particle_blocks(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_star *star = s->p->particles->star;
	const cyc_star_block *rows = cyc_survey_particle_table(s), *optics = cyc_star_find(star, "optics");
	for (int32_t k = 0; k < cyc_star_n_blocks(star); k++) {
		const cyc_star_block *b = cyc_star_block_at(star, k);
		if (b == rows || b == optics) continue;
		CYC_TRY(check_block(s, b, CYC_TABLE_PARTICLES, s->p->particles->path, cyc_star_block_name(rows)));
	}
done:
	return st;
}

/* Files of tilts may have the tables of many series, of RELION 4 those of all. */
static cyc_status check_tilt_blocks(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *set = s->p->tomograms;
	const cyc_star *star = set->series_star[i];
	if (cyc_star_n_blocks(star) < 2) return CYC_OK;
	if (i > 0 && strcmp(set->series[i - 1].table_path, set->series[i].table_path) == 0) return CYC_OK;
	for (int32_t k = 0; k < cyc_star_n_blocks(star); k++) {
		const cyc_star_block *b = cyc_star_block_at(star, k);
		if (is_series_name(s, cyc_star_block_name(b))) continue;
		CYC_TRY(check_block(s, b, CYC_TABLE_TILTS, set->series[i].table_path, set->series[i].name));
	}
done:
	return st;
}

static cyc_status check_tomogram_blocks(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *set = s->p->tomograms;
	const cyc_star_block *global = cyc_star_find(set->star, "global");
	for (int32_t k = 0; k < cyc_star_n_blocks(set->star); k++) {
		const cyc_star_block *b = cyc_star_block_at(set->star, k);
		if (b != global) CYC_TRY(check_block(s, b, CYC_TABLE_TOMOGRAMS, set->path, "global"));
	}
	for (int32_t i = 0; i < set->n_series && !set->is_relion4; i++) CYC_TRY(check_tilt_blocks(s, i));
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

cyc_status cyc_survey_labels(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_survey_each_table(s, check_table));
	CYC_TRY(check_particle_blocks(s));
	CYC_TRY(check_tomogram_blocks(s));
done:
	return st;
}

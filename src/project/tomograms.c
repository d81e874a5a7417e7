#include "cyclotomo/project.h"

#include "project/name_map.h"
#include "project/labels.h"
#include <math.h>
#include <string.h>
#include <strings.h>

/* ---------------------------------------------------------------- destroying */

static void deinit_series(cyc_tilt_series *ts)
{
	for (int32_t f = 0; f < ts->n_tilts && ts->tilts; f++) {
		cyc_free(ts->tilts[f].image);
		cyc_free(ts->tilts[f].deformation);
	}
	for (int32_t f = 0; f < ts->n_tilts && ts->image_path; f++) cyc_free(ts->image_path[f]);
	cyc_free(ts->tilts);
	cyc_free(ts->name);
	cyc_free(ts->file_name);
	cyc_free(ts->star_path);
	cyc_free(ts->table_path);
	cyc_free(ts->stack);
	cyc_free(ts->optics_group_name);
	cyc_free(ts->image_info);
	cyc_free(ts->image_path);
	cyc_free(ts->image_section);
	cyc_free(ts->n_outliers);
	cyc_free(ts->n_constant);
	cyc_free(ts->n_beads);
}

void cyc_tomogram_set_destroy(cyc_tomogram_set **s)
{
	if (!s || !*s) return;
	for (int32_t i = 0; i < (*s)->n_series; i++) {
		if ((*s)->series) deinit_series(&(*s)->series[i]);
		if ((*s)->series_star) cyc_star_destroy(&(*s)->series_star[i]);
	}
	cyc_free((*s)->series);
	cyc_free((*s)->series_star);
	cyc_star_destroy(&(*s)->star);
	cyc_free((*s)->path);
	cyc_free(*s);
	*s = NULL;
}

int32_t cyc_tomogram_set_find(const cyc_tomogram_set *s, const char *name)
{
	for (int32_t i = 0; i < s->n_series; i++) {
		if (strcmp(s->series[i].name, name) == 0) return i;
	}
	return -1;
}

/* ---------------------------------------------------------------- block `global` */

/* RELION-4 writes "empty", tools in Python what their language calls it. */
static bool is_no_deformation(const char *type)
{
	static const char *const WORDS[] = { "", "none", "empty", "null", "nan", "<na>", "na", "undefined", "0" };
	for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
		if (strcasecmp(type, WORDS[i]) == 0) return true;
	return false;
}

static cyc_status read_deformation_type(cyc_tilt_series *ts, const cyc_star_block *g, int64_t row)
{
	cyc_status st = CYC_OK;
	double gx, gy;
	const char *x = cyc_star_text_of(g, row, CYC_RLN_TOMO_DEFORMATION_GRID_SIZE_X),
			   *y = cyc_star_text_of(g, row, CYC_RLN_TOMO_DEFORMATION_GRID_SIZE_Y);
	gx = gy = 0.0;
	if (x && !is_no_deformation(x))
		CYC_TRY(cyc_star_double_of(&gx, g, row, CYC_RLN_TOMO_DEFORMATION_GRID_SIZE_X));
	if (y && !is_no_deformation(y))
		CYC_TRY(cyc_star_double_of(&gy, g, row, CYC_RLN_TOMO_DEFORMATION_GRID_SIZE_Y));
	if (!(gx >= 0.0 && gx < 1000.0 && gy >= 0.0 && gy < 1000.0 && gx == floor(gx) && gy == floor(gy))) {
		st =
			cyc_star_raise(CYC_E_DATA, g, row, "a deformation grid of %g x %g nodes is not possible", gx, gy);
		goto done;
	}
	ts->deformation_grid[0] = (int32_t)gx;
	ts->deformation_grid[1] = (int32_t)gy;
	const char *type = cyc_star_text_of(g, row, CYC_RLN_TOMO_DEFORMATION_TYPE);
	if (!type) ts->deformation_type = gx > 0.0 && gy > 0.0 ? CYC_DEFORMATION_SPLINE : CYC_DEFORMATION_NONE;
	else if (strcasecmp(type, "linear") == 0) ts->deformation_type = CYC_DEFORMATION_LINEAR;
	else if (strcasecmp(type, "spline") == 0) ts->deformation_type = CYC_DEFORMATION_SPLINE;
	else if (strcasecmp(type, "fourier") == 0) ts->deformation_type = CYC_DEFORMATION_FOURIER;
	else if (is_no_deformation(type)) ts->deformation_type = CYC_DEFORMATION_NONE;
	else {
		st = cyc_star_raise(CYC_E_UNSUPPORTED, g, row,
		                    "_%s must be linear, spline, Fourier or none, found '%s'",
		                    CYC_RLN_TOMO_DEFORMATION_TYPE, type);
		cyc_error_hint("if the tomogram has no deformation, write none");
		goto done;
	}
	/* A type is written for all tomograms, the grid only where something was fitted. */
	if (gx <= 0.0 && gy <= 0.0 && ts->deformation_type != CYC_DEFORMATION_LINEAR)
		ts->deformation_type = CYC_DEFORMATION_NONE;
	if (ts->deformation_type == CYC_DEFORMATION_SPLINE && (gx < 2.0 || gy < 2.0)) {
		st =
			cyc_star_raise(CYC_E_DATA, g, row,
		                   "a spline deformation needs a grid of 2 x 2 nodes or more, found %g x %g", gx, gy);
		goto done;
	}
done:
	return st;
}

static cyc_status copy_text_of(char **out, const cyc_star_block *b, int64_t row, const char *label)
{
	const char *text = cyc_star_text_of(b, row, label);
	return text && text[0] ? cyc_strdup(out, text) : CYC_OK;
}

/* A number of the optics with its legal range. */
static cyc_status read_in_range(double *out, const cyc_star_block *b, int64_t row, const char *label,
                                double low, double high)
{
	cyc_status st = cyc_star_double_of(out, b, row, label);
	if (st == CYC_OK && !(*out >= low && *out <= high)) {
		st = cyc_star_raise(CYC_E_DATA, b, row, "_%s must be between %g and %g, found %g", label, low, high,
		                    *out);
	}
	return st;
}

static cyc_status read_global_row(cyc_tilt_series *ts, const cyc_star_block *g, int64_t row)
{
	cyc_status st = CYC_OK;
	double v;
	CYC_TRY(copy_text_of(&ts->name, g, row, CYC_RLN_TOMO_NAME));
	if (!ts->name) {
		st = cyc_star_raise(CYC_E_DATA, g, row, "the tomogram has no name");
		goto done;
	}
	CYC_TRY(cyc__require_name(ts->name, g, row, CYC_RLN_TOMO_NAME));
	CYC_TRY(read_in_range(&ts->voltage_kV, g, row, CYC_RLN_VOLTAGE, 1.0, 10000.0));
	CYC_TRY(
		read_in_range(&ts->spherical_aberration_mm, g, row, CYC_RLN_SPHERICAL_ABERRATION, -1000.0, 1000.0));
	CYC_TRY(read_in_range(&ts->amplitude_contrast_frac, g, row, CYC_RLN_AMPLITUDE_CONTRAST, 0.0, 1.0));
	CYC_TRY(read_in_range(&ts->pixel_size_A, g, row, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE, 1e-3, 1e4));
	CYC_TRY(cyc_star_double_of(&ts->hand, g, row, CYC_RLN_TOMO_HAND));
	if (ts->hand != 1.0 && ts->hand != -1.0) {
		st = cyc_star_raise(CYC_E_DATA, g, row, "_%s must be 1 or -1, found %g", CYC_RLN_TOMO_HAND, ts->hand);
		goto done;
	}
	for (int a = 0; a < 3; a++) {
		CYC_TRY(read_in_range(&v, g, row, CYC_LABELS_SIZE[a], 1.0, 1e6));
		if (v != floor(v)) {
			st = cyc_star_raise(CYC_E_DATA, g, row, "_%s must be a whole number, found %g",
			                    CYC_LABELS_SIZE[a], v);
			goto done;
		}
		ts->size_px[a] = (int32_t)v;
	}
	CYC_TRY(copy_text_of(&ts->stack, g, row, CYC_RLN_TOMO_TILT_SERIES_NAME));
	CYC_TRY(cyc_file_name(&ts->file_name, ts->name));
	CYC_TRY(copy_text_of(&ts->optics_group_name, g, row, CYC_RLN_OPTICS_GROUP_NAME));
	if (ts->optics_group_name)
		CYC_TRY(cyc__require_name(ts->optics_group_name, g, row, CYC_RLN_OPTICS_GROUP_NAME));
	else CYC_TRY(cyc_strdup(&ts->optics_group_name, ts->name));
	CYC_TRY(cyc_star_double_or(&ts->defocus_slope, g, row, CYC_RLN_TOMO_DEFOCUS_SLOPE, 1.0));
	CYC_TRY(cyc_star_double_or(&ts->bfactor_per_dose_A2, g, row, CYC_RLN_CTF_BFACTOR_PER_ELECTRON_DOSE, 0.0));
	CYC_TRY(
		cyc_star_double_or(&ts->fractional_dose_e_per_A2, g, row, CYC_RLN_TOMO_IMPORT_FRACTIONAL_DOSE, -1.0));
	CYC_TRY(read_deformation_type(ts, g, row));
done:
	return st;
}

/* ---------------------------------------------------------------- tilt tables */

/* Columns of a tilt table, -1 where absent. */
typedef struct {
	int32_t image, exposure, xtilt, ytilt, zrot, shift_x, shift_y, matrix[3], nominal;
	int32_t defocus_u, defocus_v, defocus_angle, phase_shift, scale, bfactor, deformation;
} tilt_columns;

static cyc_status find_tilt_columns(tilt_columns *c, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	c->image = cyc_star_column(b, CYC_RLN_MICROGRAPH_NAME);
	st = cyc_star_require_column(&c->exposure, b, CYC_RLN_MICROGRAPH_PRE_EXPOSURE);
	if (st != CYC_OK) {
		if (cyc_star_column(b, CYC_WRP_DOSE) >= 0)
			cyc_error_hint("Warp calls it _%s: rename the column", CYC_WRP_DOSE);
		else
			cyc_error_hint("it is the dose before each exposure, in e/Å2; 0 for all tilts if unknown (no "
			               "dose weighting)");
	}
	CYC_TRY(st);
	c->xtilt = cyc_star_column(b, CYC_RLN_TOMO_X_TILT);
	c->ytilt = cyc_star_column(b, CYC_RLN_TOMO_Y_TILT);
	c->zrot = cyc_star_column(b, CYC_RLN_TOMO_Z_ROT);
	c->shift_x = cyc_star_column(b, CYC_RLN_TOMO_X_SHIFT_ANGST);
	c->shift_y = cyc_star_column(b, CYC_RLN_TOMO_Y_SHIFT_ANGST);
	c->matrix[0] = cyc_star_column(b, CYC_RLN_TOMO_PROJ_X);
	c->matrix[1] = cyc_star_column(b, CYC_RLN_TOMO_PROJ_Y);
	c->matrix[2] = cyc_star_column(b, CYC_RLN_TOMO_PROJ_Z);
	c->nominal = cyc_star_column(b, CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE);
	CYC_TRY(cyc_star_require_column(&c->defocus_u, b, CYC_RLN_DEFOCUS_U));
	CYC_TRY(cyc_star_require_column(&c->defocus_v, b, CYC_RLN_DEFOCUS_V));
	CYC_TRY(cyc_star_require_column(&c->defocus_angle, b, CYC_RLN_DEFOCUS_ANGLE));
	c->phase_shift = cyc_star_column(b, CYC_RLN_PHASE_SHIFT);
	c->scale = cyc_star_column(b, CYC_RLN_CTF_SCALEFACTOR);
	c->bfactor = cyc_star_column(b, CYC_RLN_CTF_BFACTOR);
	c->deformation = cyc_star_column(b, CYC_RLN_TOMO_DEFORMATION_COEFFICIENTS);
done:
	return st;
}

static cyc_status read_number(double *out, const cyc_star_block *b, int64_t row, int32_t column,
                              double fallback)
{
	*out = fallback;
	return column < 0 ? CYC_OK : cyc_star_double(out, b, row, column);
}

static cyc_status read_geometry(cyc_tilt *t, const cyc_star_block *b, int64_t row, const tilt_columns *c)
{
	cyc_status st = CYC_OK;
	double *v = NULL;
	int32_t n;
	t->has_angles = c->ytilt >= 0 && c->zrot >= 0 && c->shift_x >= 0 && c->shift_y >= 0;
	t->has_matrix = c->matrix[0] >= 0 && c->matrix[1] >= 0 && c->matrix[2] >= 0;
	double xtilt = 0.0, ytilt = 0.0, zrot = 0.0;
	if (t->has_angles) {
		CYC_TRY(read_number(&xtilt, b, row, c->xtilt, 0.0));
		CYC_TRY(cyc_star_double(&ytilt, b, row, c->ytilt));
		CYC_TRY(cyc_star_double(&zrot, b, row, c->zrot));
		CYC_TRY(cyc_star_double(&t->shift_x_A, b, row, c->shift_x));
		CYC_TRY(cyc_star_double(&t->shift_y_A, b, row, c->shift_y));
	}
	t->xtilt_rad = cyc_deg_to_rad(xtilt);
	t->ytilt_rad = cyc_deg_to_rad(ytilt);
	t->zrot_rad = cyc_deg_to_rad(zrot);
	for (int i = 0; i < 3 && t->has_matrix; i++) {
		CYC_TRY(cyc_star_vector(&v, &n, b, row, c->matrix[i]));
		if (n != 4) {
			st = cyc_star_raise(CYC_E_DATA, b, row, "_%s must have 4 numbers, found %d",
			                    cyc_star_label(b, c->matrix[i]), n);
			goto done;
		}
		memcpy(t->matrix[i], v, sizeof t->matrix[i]);
		cyc_free(v);
		v = NULL;
	}
done:
	cyc_free(v);
	return st;
}

static cyc_status read_deformation(cyc_tilt *t, const cyc_star_block *b, int64_t row, int32_t column,
                                   const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_star_vector(&t->deformation, &t->n_deformation, b, row, column));
	int32_t n = t->n_deformation, wanted = n;
	if (ts->deformation_type == CYC_DEFORMATION_LINEAR) wanted = 3;
	if (ts->deformation_type == CYC_DEFORMATION_SPLINE)
		wanted = 8 * ts->deformation_grid[0] * ts->deformation_grid[1];
	if (ts->deformation_type == CYC_DEFORMATION_FOURIER) wanted = n - n % 4;
	if (n > 0 && row > 0 && ts->tilts[0].n_deformation > 0) wanted = ts->tilts[0].n_deformation;
	if (n != wanted && n > 0) {
		st = cyc_star_raise(CYC_E_DATA, b, row, "_%s: expected %d coefficients, found %d",
		                    cyc_star_label(b, column), wanted, n);
	}
done:
	return st;
}

static cyc_status read_tilt(cyc_tilt *t, const cyc_star_block *b, int64_t row, const tilt_columns *c,
                            const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	double angle, phase, nominal;
	const char *image = c->image >= 0 ? cyc_star_text(b, row, c->image) : "";
	if (image[0]) CYC_TRY(cyc_strdup(&t->image, image));
	CYC_TRY(cyc_star_double(&t->pre_exposure_e_per_A2, b, row, c->exposure));
	if (t->pre_exposure_e_per_A2 < 0.0) {
		st = cyc_star_raise(CYC_E_DATA, b, row, "_%s cannot be negative, found %g",
		                    CYC_RLN_MICROGRAPH_PRE_EXPOSURE, t->pre_exposure_e_per_A2);
		goto done;
	}
	CYC_TRY(read_geometry(t, b, row, c));
	CYC_TRY(read_number(&nominal, b, row, c->nominal, 0.0));
	t->has_nominal_tilt = c->nominal >= 0;
	t->nominal_tilt_rad = cyc_deg_to_rad(nominal);
	CYC_TRY(cyc_star_double(&t->defocus_u_A, b, row, c->defocus_u));
	CYC_TRY(cyc_star_double(&t->defocus_v_A, b, row, c->defocus_v));
	CYC_TRY(cyc_star_double(&angle, b, row, c->defocus_angle));
	t->defocus_angle_rad = cyc_deg_to_rad(angle);
	CYC_TRY(read_number(&phase, b, row, c->phase_shift, 0.0));
	t->phase_shift_rad = cyc_deg_to_rad(phase);
	CYC_TRY(read_number(&t->scale, b, row, c->scale, 1.0));
	CYC_TRY(read_number(&t->bfactor_A2, b, row, c->bfactor, 0.0));
	if (c->deformation >= 0) CYC_TRY(read_deformation(t, b, row, c->deformation, ts));
done:
	return st;
}

/* Dose of one tilt: as imported, or the step between the two lowest doses. */
static double fractional_dose(const cyc_tilt_series *ts)
{
	if (ts->fractional_dose_e_per_A2 >= 0.0) return ts->fractional_dose_e_per_A2;
	double low = HUGE_VAL, second = HUGE_VAL;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		double d = ts->tilts[f].pre_exposure_e_per_A2;
		if (d < low) {
			second = low;
			low = d;
		} else if (d < second) {
			second = d;
		}
	}
	return ts->n_tilts > 1 ? second - low : 0.0;
}

static cyc_status read_tilt_table(cyc_tilt_series *ts, const cyc_star_block *b, const char *file)
{
	cyc_status st = CYC_OK;
	tilt_columns c;
	int64_t n = cyc_star_n_rows(b);
	CYC_TRY(find_tilt_columns(&c, b));
	CYC_CHECK(n > 0 && n < 1 << 20, CYC_E_DATA, "'%s': block '%s' has %lld tilts", file, ts->name,
	          (long long)n);
	ts->n_tilts = (int32_t)n;
	CYC_TRY(cyc_alloc(&ts->tilts, (size_t)n, sizeof *ts->tilts));
	for (int32_t f = 0; f < ts->n_tilts; f++) CYC_TRY(read_tilt(&ts->tilts[f], b, f, &c, ts));
	if (!ts->tilts[0].has_angles && !ts->tilts[0].has_matrix) {
		st = cyc_error_raise(
			CYC_E_FORMAT, __FILE__, __LINE__, __func__,
			"'%s': block '%s' has no tilt geometry: it needs _%s, _%s, _%s and _%s, or _%s, _%s and _%s",
			file, ts->name, CYC_RLN_TOMO_Y_TILT, CYC_RLN_TOMO_Z_ROT, CYC_RLN_TOMO_X_SHIFT_ANGST,
			CYC_RLN_TOMO_Y_SHIFT_ANGST, CYC_RLN_TOMO_PROJ_X, CYC_RLN_TOMO_PROJ_Y, CYC_RLN_TOMO_PROJ_Z);
		cyc_error_hint("align the tilt series first; RELION-5 loses the matrices of RELION-4 sets when "
		               "saving them, so use the set from before that");
		goto done;
	}
	ts->fractional_dose_e_per_A2 = fractional_dose(ts);
done:
	return st;
}

/* ---------------------------------------------------------------- whole sets */

static cyc_status read_series_relion5(cyc_tomogram_set *s, int32_t i, const cyc_star_block *global,
                                      const char *root)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *ts = &s->series[i];
	char *path = NULL;
	cyc_star_block *b;
	CYC_TRY(copy_text_of(&ts->star_path, global, i, CYC_RLN_TOMO_TILT_SERIES_STAR_FILE));
	if (!ts->star_path) {
		st = cyc_star_raise(CYC_E_DATA, global, i, "_%s of tomogram '%s' is empty",
		                    CYC_RLN_TOMO_TILT_SERIES_STAR_FILE, ts->name);
		goto done;
	}
	CYC_TRY(cyc_strdup(&ts->table_path, ts->star_path));
	CYC_TRY(cyc_path_join(&path, root, ts->star_path));
	st = cyc_star_read(&s->series_star[i], path);
	if (st == CYC_E_IO)
		cyc_error_hint("paths in STAR files are relative to the project folder: give it with --root");
	CYC_TRY_CTX(st, "tilt series '%s' (named in row %d of '%s')", ts->name, i + 1, s->path);
	CYC_TRY(cyc_star_require(&b, s->series_star[i], ts->name));
	CYC_TRY(read_tilt_table(ts, b, path));
done:
	cyc_free(path);
	return st;
}

static cyc_status read_series_relion4(cyc_tomogram_set *s, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *ts = &s->series[i];
	char *dir = NULL;
	cyc_star_block *b, *copy;
	st = cyc_star_require(&b, s->star, ts->name);
	if (st != CYC_OK) {
		cyc_error_hint("a tomograms file has either a column _%s (RELION-5) or a "
		               "block for each tomogram (RELION-4)",
		               CYC_RLN_TOMO_TILT_SERIES_STAR_FILE);
	}
	CYC_TRY(st);
	CYC_TRY(cyc_path_dir(&dir, s->path));
	CYC_TRY(cyc_asprintf(&ts->star_path, "%stilt_series/%s.star", dir, ts->file_name));
	CYC_TRY(cyc_strdup(&ts->table_path, s->path));
	CYC_TRY(read_tilt_table(ts, b, s->path));
	CYC_TRY(cyc_star_create(&s->series_star[i]));
	CYC_TRY(cyc_star_add_copy(&copy, s->series_star[i], b));
	CYC_TRY(cyc_star_set_name(s->series_star[i], cyc_star_name(s->star)));
done:
	cyc_free(dir);
	return st;
}

static void warn_of_excluded_tilts(const cyc_tomogram_set *s)
{
	int64_t n_tilts = 0, n_series = 0;
	for (int32_t i = 0; i < s->n_series; i++) {
		int64_t n = 0;
		for (int32_t f = 0; f < s->series[i].n_tilts; f++) n += s->series[i].tilts[f].scale == 0.0;
		n_tilts += n;
		n_series += n > 0;
	}
	if (n_tilts > 0) {
		cyc_warn("'%s': %lld tilt%s of %lld tilt series %s a contrast scale of 0: excluded and not used",
		         s->path, (long long)n_tilts, n_tilts == 1 ? "" : "s", (long long)n_series,
		         n_tilts == 1 ? "has" : "have");
	}
}

cyc_status cyc_tomogram_set_check_scales(const cyc_tomogram_set *s)
{
	cyc_status st = CYC_OK;
	int64_t n = 0;
	const cyc_star_block *b = NULL;
	int32_t row = 0;
	for (int32_t i = 0; i < s->n_series; i++) {
		for (int32_t f = 0; f < s->series[i].n_tilts; f++) {
			if (s->series[i].tilts[f].scale >= 0.0 || n++ > 0) continue;
			b = cyc_star_find(s->series_star[i], s->series[i].name);
			row = f;
		}
	}
	if (n > 0) {
		st = cyc_star_raise(CYC_E_DATA, b, row, "the contrast scale _%s is negative: %s (%lld tilt%s)",
		                    CYC_RLN_CTF_SCALEFACTOR, cyc_star_text_of(b, row, CYC_RLN_CTF_SCALEFACTOR),
		                    (long long)n, n == 1 ? " in all" : "s in all");
		cyc_error_hint("negative contrast is impossible: set these values to 0 to exclude the tilts, or to 1 "
		               "to refine them again");
	}
	return st;
}

cyc_status cyc_tomogram_set_read(cyc_tomogram_set **out, const char *path, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_tomogram_set *s = NULL;
	*out = NULL;
	CYC_TRY(cyc_tomogram_set_read_unchecked(&s, path, root));
	CYC_TRY(cyc_tomogram_set_check_scales(s));
	*out = s;
	s = NULL;
done:
	cyc_tomogram_set_destroy(&s);
	return st;
}

/* RELION writes such scales where it finds no signal: as good as an excluded tilt. */
static void exclude_negative_scales(cyc_tomogram_set *s)
{
	const cyc_tilt_series *first = NULL;
	int32_t first_tilt = 0, n = 0;
	for (int32_t i = 0; i < s->n_series; i++) {
		for (int32_t f = 0; f < s->series[i].n_tilts; f++) {
			if (s->series[i].tilts[f].scale >= 0.0) continue;
			if (n++ == 0) {
				first = &s->series[i];
				first_tilt = f;
			}
			s->series[i].tilts[f].scale = 0.0;
		}
	}
	if (n > 0)
		cyc_warn("%d tilt%s with a negative contrast scale count%s as excluded, the first in row %d of '%s'; "
		         "set the scale to 1 to use a tilt again",
		         n, n == 1 ? "" : "s", n == 1 ? "s" : "", first_tilt + 1, first->table_path);
}

cyc_status cyc_project_read_tomograms(cyc_tomogram_set **out, const cyc_optimisation_set *set,
                                      const cyc_project_input *in)
{
	cyc_status st = CYC_OK;
	const char *root = in->root ? in->root : "";
	if (in->exclude_negative_scales) {
		CYC_TRY(cyc_tomogram_set_read_unchecked(out, set->tomograms, root));
		exclude_negative_scales(*out);
	} else {
		CYC_TRY(cyc_tomogram_set_read(out, set->tomograms, root));
	}
	for (int32_t i = 0; i < (*out)->n_series; i++) {
		(*out)->series[i].keep_outliers = in->keep_outliers;
		(*out)->series[i].erase_beads = in->erase_beads;
	}
done:
	return st;
}

cyc_status cyc_tomogram_set_read_unchecked(cyc_tomogram_set **out, const char *path, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_tomogram_set *s = NULL;
	cyc__name_map names = { 0 };
	char *file = NULL;
	cyc_star_block *global;
	int32_t column;
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	CYC_TRY(cyc_strdup(&s->path, path));
	CYC_TRY(cyc_path_join(&file, root, path));
	CYC_TRY(cyc_star_read(&s->star, file));
	CYC_TRY(cyc_star_require(&global, s->star, "global"));
	CYC_TRY(cyc_star_require_column(&column, global, CYC_RLN_TOMO_NAME));
	int64_t n = cyc_star_n_rows(global);
	CYC_CHECK(n > 0 && n < 1 << 24, CYC_E_DATA, "'%s': block 'global' has %lld tomograms", file,
	          (long long)n);
	s->is_relion4 = cyc_star_column(global, CYC_RLN_TOMO_TILT_SERIES_STAR_FILE) < 0;
	CYC_TRY(cyc_alloc(&s->series, (size_t)n, sizeof *s->series));
	CYC_TRY(cyc_alloc(&s->series_star, (size_t)n, sizeof *s->series_star));
	s->n_series = (int32_t)n;
	for (int32_t i = 0; i < s->n_series; i++) {
		int64_t first;
		CYC_TRY(read_global_row(&s->series[i], global, i));
		CYC_TRY(cyc__name_map_add(&first, &names, s->series[i].name, i));
		if (first != i) {
			st = cyc_star_raise(CYC_E_DATA, global, i, "tomogram '%s' occurs twice, first in row %lld",
			                    s->series[i].name, (long long)first + 1);
			goto done;
		}
		CYC_TRY(s->is_relion4 ? read_series_relion4(s, i) : read_series_relion5(s, i, global, root));
	}
	warn_of_excluded_tilts(s);
	*out = s;
	s = NULL;
done:
	cyc__name_map_deinit(&names);
	cyc_free(file);
	cyc_tomogram_set_destroy(&s);
	return st;
}

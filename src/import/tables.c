/* Values into tables, and tomograms of views. */
#include "import/import_internal.h"

#include "project/labels.h"

#include <stdlib.h>
#include <string.h>

cyc_status cyc__put_angles(cyc_star_block *b, int64_t row, const cyc__angles *a, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_X_TILT, a->angle_rad[0]));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_Y_TILT, a->angle_rad[1]));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_Z_ROT, a->angle_rad[2]));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_X_SHIFT_ANGST, a->shift_px[0] * pixel_size_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_Y_SHIFT_ANGST, a->shift_px[1] * pixel_size_A));
done:
	return st;
}

const char *const cyc__matrix_labels[4] = { CYC_RLN_TOMO_PROJ_X, CYC_RLN_TOMO_PROJ_Y, CYC_RLN_TOMO_PROJ_Z,
	                                        CYC_RLN_TOMO_PROJ_W };

cyc_status cyc__put_matrix(cyc_star_block *b, int64_t row, const double P[3][4])
{
	static const double LAST[4] = { 0, 0, 0, 1 };
	cyc_status st = CYC_OK;
	int32_t column;
	for (int i = 0; i < 4; i++) {
		CYC_TRY(cyc_star_ensure_column(&column, b, cyc__matrix_labels[i], ""));
		CYC_TRY(cyc_star_set_vector(b, row, column, i < 3 ? P[i] : LAST, 4));
	}
done:
	return st;
}

void cyc__imported_deinit(cyc__imported *m)
{
	for (int32_t i = 0; m->set && m->keep && i < m->set->n_series; i++) cyc_free(m->keep[i]);
	cyc_free(m->keep);
	cyc_free(m->n_rows);
	cyc_tomogram_set_destroy(&m->set);
	*m = (cyc__imported){ 0 };
}

cyc_status cyc__tomogram_size(bool *is_given, int32_t size_px[3], const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	*is_given = o->tomogram_size != NULL;
	if (!*is_given) return CYC_OK;
	const char *c = o->tomogram_size;
	for (int k = 0; k < 3; k++) {
		char *end;
		long v = strtol(c, &end, 10);
		CYC_CHECK(
			end != c && v > 0 && v < 1000000 && (k < 2 ? *end == ',' || *end == 'x' : *end == '\0'),
			CYC_E_USAGE,
			"--tomogram-size must be three whole numbers of unbinned pixels such as 4000,4000,2000, got '%s'",
			o->tomogram_size);
		size_px[k] = (int32_t)v;
		c = end + 1;
	}
done:
	return st;
}

/* ---------------------------------------------------------------- from views */

/* Of tilts near 90 degrees, which a scale of 0 would exclude. */
static const double LEAST_SCALE = 0.01;

static cyc_status put_view(cyc_star_block *b, cyc_import_result *result, const cyc__view_series *s, int32_t v,
                           const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	const cyc__view *view = &s->views[v];
	double P[3][4];
	char *name = NULL;
	int64_t row;
	cyc__projection_of_view(P, view, s, o->axes);
	cyc__angles a = cyc__angles_of((const double(*)[4])P, s->size_px, s->image_nx, s->image_ny);
	CYC_TRY(cyc__section_name(&name, s->stack, v + 1));
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_MICROGRAPH_NAME, name));
	if (s->has_stages) {
		/* With the sign that the tilt has in the project's axes. */
		bool is_turned = o->axes == CYC_IMPORT_AXES_ROTX || o->axes == CYC_IMPORT_AXES_RAW;
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE,
		                      is_turned ? -view->stage_rad : view->stage_rad));
	}
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_MICROGRAPH_PRE_EXPOSURE, view->pre_exposure_e_per_A2));
	CYC_TRY(cyc__put_angles(b, row, &a, o->pixel_size_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_DEFOCUS_U, view->defocus_u_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_DEFOCUS_V, view->defocus_v_A));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_DEFOCUS_ANGLE, view->defocus_angle_rad));
	if (s->has_phase) CYC_TRY(cyc_label_put(b, row, CYC_RLN_PHASE_SHIFT, view->phase_shift_rad));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_CTF_SCALEFACTOR,
	                      o->flat_scales ? 1 : fmax(cos(view->ytilt_rad), LEAST_SCALE)));
	/* A table has matrices in all rows or in none: they are added behind the last. */
	result->worst_px = fmax(result->worst_px, a.worst_px);
	result->n_matrices += a.worst_px > CYC__KEEP_MATRIX_PX;
done:
	cyc_free(name);
	return st;
}

static cyc_status add_table(cyc_star **out, cyc_import_result *result, const cyc__view_series *s,
                            const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	double P[3][4];
	int32_t n_before = result->n_matrices;
	CYC_TRY(cyc_star_create(out));
	CYC_TRY(cyc_star_add_block(&b, *out, s->name, CYC_STAR_TABLE));
	for (int32_t v = 0; v < s->n; v++)
		if (s->views[v].is_used) CYC_TRY(put_view(b, result, s, v, o));
	CYC_CHECK(cyc_star_n_rows(b) > 0, CYC_E_DATA, "tilt series '%s': all sections are excluded", s->name);
	for (int32_t v = 0, row = 0; v < s->n && result->n_matrices > n_before; v++) {
		if (!s->views[v].is_used) continue;
		cyc__projection_of_view(P, &s->views[v], s, o->axes);
		CYC_TRY(cyc__put_matrix(b, row++, (const double(*)[4])P));
	}
	result->n_tilts += (int32_t)cyc_star_n_rows(b);
	result->n_left_out += s->n - (int32_t)cyc_star_n_rows(b);
done:
	return st;
}

/* The step from the first tilt to the second, which may be one of those that are left out; 0 if not known. */
static double dose_of_one(const cyc__view_series *s)
{
	double low = HUGE_VAL, second = HUGE_VAL;
	for (int32_t v = 0; v < s->n; v++) {
		double d = s->views[v].pre_exposure_e_per_A2;
		second = d < low ? low : fmin(second, d);
		low = fmin(low, d);
	}
	return s->n > 1 ? second - low : 0;
}

static cyc_status add_tomogram(cyc_star_block *g, const cyc__view_series *s, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	int64_t row;
	CYC_TRY(cyc_star_add_row(&row, g));
	CYC_TRY(cyc_label_put_text(g, row, CYC_RLN_TOMO_NAME, s->name));
	CYC_TRY(cyc_label_put_text(g, row, CYC_RLN_TOMO_TILT_SERIES_STAR_FILE, ""));
	CYC_TRY(cyc_label_put(g, row, CYC_RLN_VOLTAGE, o->voltage_kV));
	CYC_TRY(cyc_label_put(g, row, CYC_RLN_SPHERICAL_ABERRATION, o->spherical_aberration_mm));
	CYC_TRY(cyc_label_put(g, row, CYC_RLN_AMPLITUDE_CONTRAST, o->amplitude_contrast_frac));
	CYC_TRY(cyc_label_put(g, row, CYC_RLN_MICROGRAPH_ORIGINAL_PIXEL_SIZE, o->pixel_size_A));
	CYC_TRY(cyc_label_put(g, row, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE, o->pixel_size_A));
	CYC_TRY(cyc_label_put(g, row, CYC_RLN_TOMO_HAND, o->hand));
	CYC_TRY(cyc_label_put_text(g, row, CYC_RLN_OPTICS_GROUP_NAME, "opticsGroup1"));
	if (!o->no_dose) CYC_TRY(cyc_label_put(g, row, CYC_RLN_TOMO_IMPORT_FRACTIONAL_DOSE, dose_of_one(s)));
	for (int k = 0; k < 3; k++) CYC_TRY(cyc_label_put(g, row, CYC_LABELS_SIZE[k], s->size_px[k]));
done:
	return st;
}

/* What the writer of tomograms wants to know. */
static cyc_status fill_series(cyc_tilt_series *ts, const cyc__view_series *s, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_strdup(&ts->name, s->name));
	CYC_TRY(cyc_file_name(&ts->file_name, s->name));
	CYC_TRY(cyc_asprintf(&ts->star_path, "tilt_series/%s.star", ts->file_name));
	CYC_TRY(cyc_strdup(&ts->table_path, ts->star_path));
	ts->pixel_size_A = o->pixel_size_A;
	for (int k = 0; k < 3; k++) ts->size_px[k] = s->size_px[k];
done:
	return st;
}

/* Further than this the image shows nothing of the tomogram: numbers of something else. */
static cyc_status check_shifts(const cyc__view_series *s, const char *file)
{
	cyc_status st = CYC_OK;
	double most = 3.0 * (s->image_nx + s->image_ny);
	for (int32_t v = 0; v < s->n; v++) {
		const cyc__view *view = &s->views[v];
		CYC_CHECK(!view->is_used || hypot(view->shift_px[0], view->shift_px[1]) <= most, CYC_E_DATA,
		          "'%s': section %d is shifted by %g, %g px, far beyond its %d x %d px", file, v + 1,
		          view->shift_px[0], view->shift_px[1], s->image_nx, s->image_ny);
		CYC_CHECK(view->pre_exposure_e_per_A2 <= 1e4 && fabs(view->phase_shift_rad) <= 10, CYC_E_DATA,
		          "section %d of '%s' has a dose of %g e/Å2 before it and a phase shift of %g rad", v + 1,
		          s->stack, view->pre_exposure_e_per_A2, view->phase_shift_rad);
	}
done:
	return st;
}

static cyc_status read_views(cyc__view_series *s, const cyc_import_options *o, const char *name)
{
	cyc_status st = CYC_OK;
	bool is_given;
	int32_t size[3];
	CYC_TRY(o->xf ? cyc__read_imod(s, o, name) : cyc__read_aretomo(s, o, name));
	CYC_TRY(cyc__tomogram_size(&is_given, size, o));
	for (int k = 0; k < 3 && is_given; k++) s->size_px[k] = size[k];
	CYC_CHECK(s->size_px[0] > 0 && s->size_px[1] > 0 && s->size_px[2] > 0, CYC_E_USAGE,
	          "unknown size of the tomogram '%s': give it in unbinned pixels, --tomogram-size X,Y,Z%s", name,
	          o->xf ? ", or --tilt-com with FULLIMAGE and THICKNESS" : "");
	CYC_TRY(cyc__read_doses(s, o));
	s->has_stages = true;
	for (int32_t v = 0; v < s->n; v++) s->has_stages = s->has_stages && s->views[v].has_stage;
	CYC_TRY(cyc__read_ctf(s, o));
	CYC_TRY(check_shifts(s, o->xf ? o->xf : o->aln));
done:
	return st;
}

cyc_status cyc__tomograms_of_views(cyc__imported *out, cyc_import_result *result, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc__names names = { 0 };
	cyc__view_series s = { 0 };
	cyc_star_block *global;
	CYC_TRY(cyc__find_names(&names, o->root, o->xf ? o->xf : o->aln, o->xf ? "--xf" : "--aln"));
	CYC_TRY(cyc_alloc(&out->set, 1, sizeof *out->set));
	CYC_TRY(cyc_strdup(&out->set->path, "tomograms.star"));
	CYC_TRY(cyc_alloc(&out->set->series, names.n, sizeof *out->set->series));
	CYC_TRY(cyc_alloc(&out->set->series_star, names.n, sizeof *out->set->series_star));
	CYC_TRY(cyc_alloc(&out->n_rows, names.n, sizeof *out->n_rows));
	out->set->n_series = names.n;
	CYC_TRY(cyc_star_create(&out->set->star));
	CYC_TRY(cyc_star_add_block(&global, out->set->star, "global", CYC_STAR_TABLE));
	for (int32_t i = 0; i < names.n; i++) {
		CYC_TRY(cyc_cancel_check());
		CYC_TRY_CTX(read_views(&s, o, names.names[i]), "tilt series '%s'", names.names[i]);
		CYC_TRY(add_table(&out->set->series_star[i], result, &s, o));
		CYC_TRY(add_tomogram(global, &s, o));
		CYC_TRY(fill_series(&out->set->series[i], &s, o));
		out->n_rows[i] = (int32_t)cyc_star_n_rows(cyc_star_block_at(out->set->series_star[i], 0));
		cyc__view_series_deinit(&s);
	}
	result->n_series = names.n;
done:
	cyc__view_series_deinit(&s);
	cyc__names_deinit(&names);
	return st;
}

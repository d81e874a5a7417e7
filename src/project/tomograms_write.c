#include "cyclotomo/project.h"

#include "project/name_map.h"
#include "project/tomograms_internal.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

const char *cyc__behind_job(const char *path)
{
	const char *rest = path;
	for (const char *p = path; *p; p++) {
		if ((p != path && p[-1] != '/') || strncmp(p, "job", 3) != 0) continue;
		size_t n = strspn(p + 3, "0123456789");
		if (n >= 3 && p[3 + n] == '/' && p[4 + n]) rest = p + 4 + n;
	}
	while (*rest == '/') rest++;
	return rest;
}

/*
 * The five numbers of a tilt. From a matrix P = [L t]: with R the rotation of the angles in L,
 * shift = px (t + L c - L R^-1 b), b and c the image and volume centres of the projection
 * (docs/conventions.md).
 */
static cyc_status geometry_of(double angle_rad[3], double shift_A[2], const cyc_tilt_series *ts,
                              const cyc_tilt *t)
{
	cyc_status st = CYC_OK;
	if (!t->has_matrix) {
		angle_rad[0] = t->xtilt_rad;
		angle_rad[1] = t->ytilt_rad;
		angle_rad[2] = t->zrot_rad;
		shift_A[0] = t->shift_x_A;
		shift_A[1] = t->shift_y_A;
		goto done;
	}
	CYC_CHECK(ts->image_nx > 0 && ts->image_ny > 0, CYC_E_DATA,
	          "tilt series '%s': converting its projection matrices into angles and shifts needs the size of "
	          "the images, which are not open",
	          ts->name);
	cyc_mat3 lin;
	for (int i = 0; i < 3; i++) {
		for (int j = 0; j < 3; j++) lin.m[i][j] = t->matrix[i][j];
	}
	cyc_tilt_from_matrix(&angle_rad[0], &angle_rad[1], &angle_rad[2], lin);
	cyc_mat3 r = cyc_tilt_to_matrix(angle_rad[0], angle_rad[1], angle_rad[2]);
	cyc_vec3 b = { (double)(ts->image_nx / 2), (double)(ts->image_ny / 2), 0.0 };
	cyc_vec3 c = { (double)(ts->size_px[0] / 2), (double)(ts->size_px[1] / 2), (double)(ts->size_px[2] / 2) };
	cyc_vec3 lc = cyc_mat3_apply(lin, c), lb = cyc_mat3_apply(lin, cyc_mat3_apply(cyc_mat3_transpose(r), b));
	shift_A[0] = ts->pixel_size_A * (t->matrix[0][3] + lc.x - lb.x);
	shift_A[1] = ts->pixel_size_A * (t->matrix[1][3] + lc.y - lb.y);
done:
	return st;
}

static cyc_status set_geometry(cyc_star_block *b, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		double angle[3] = { 0.0 }, shift[2] = { 0.0 };
		CYC_TRY(geometry_of(angle, shift, ts, &ts->tilts[f]));
		CYC_TRY(cyc_label_put(b, f, CYC_RLN_TOMO_X_TILT, angle[0]));
		CYC_TRY(cyc_label_put(b, f, CYC_RLN_TOMO_Y_TILT, angle[1]));
		CYC_TRY(cyc_label_put(b, f, CYC_RLN_TOMO_Z_ROT, angle[2]));
		CYC_TRY(cyc_label_put(b, f, CYC_RLN_TOMO_X_SHIFT_ANGST, shift[0]));
		CYC_TRY(cyc_label_put(b, f, CYC_RLN_TOMO_Y_SHIFT_ANGST, shift[1]));
	}
	cyc_star_remove_column(b, CYC_RLN_TOMO_PROJ_X);
	cyc_star_remove_column(b, CYC_RLN_TOMO_PROJ_Y);
	cyc_star_remove_column(b, CYC_RLN_TOMO_PROJ_Z);
	cyc_star_remove_column(b, CYC_RLN_TOMO_PROJ_W);
done:
	return st;
}

static cyc_status set_ctf(cyc_star_block *b, const cyc_tilt_series *ts, unsigned what)
{
	cyc_status st = CYC_OK;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *t = &ts->tilts[f];
		if (what & CYC_WRITE_DEFOCUS) {
			CYC_TRY(cyc_label_put(b, f, CYC_RLN_DEFOCUS_U, t->defocus_u_A));
			CYC_TRY(cyc_label_put(b, f, CYC_RLN_DEFOCUS_V, t->defocus_v_A));
			CYC_TRY(cyc_label_put(b, f, CYC_RLN_DEFOCUS_ANGLE, t->defocus_angle_rad));
		}
		CYC_CHECK(t->scale >= 0.0, CYC_E_NUMERIC,
		          "tilt series '%s', tilt %d: a contrast scale of %g must not be written", ts->name, f + 1,
		          t->scale);
		CYC_TRY(cyc_label_put(b, f, CYC_RLN_CTF_SCALEFACTOR, t->scale));
	}
done:
	return st;
}

static cyc_status set_deformation(cyc_star_block *b, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	int32_t column;
	if (ts->deformation_type == CYC_DEFORMATION_NONE) goto done;
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_TOMO_DEFORMATION_COEFFICIENTS, "[]"));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		CYC_TRY(cyc_star_set_vector(b, f, column, ts->tilts[f].deformation, ts->tilts[f].n_deformation));
	}
done:
	return st;
}

static cyc_status set_global_deformation(cyc_star_block *global, int32_t i, const cyc_tilt_series *ts)
{
	static const char *const NAMES[] = { [CYC_DEFORMATION_NONE] = "none",
		                                 [CYC_DEFORMATION_LINEAR] = "linear",
		                                 [CYC_DEFORMATION_SPLINE] = "spline",
		                                 [CYC_DEFORMATION_FOURIER] = "Fourier" };
	cyc_status st = CYC_OK;
	int32_t column;
	if (ts->deformation_type == CYC_DEFORMATION_NONE) goto done;
	CYC_TRY(cyc_star_ensure_column(&column, global, CYC_RLN_TOMO_DEFORMATION_TYPE, "none"));
	CYC_TRY(cyc_star_set_text(global, i, column, NAMES[ts->deformation_type]));
	CYC_TRY(cyc_star_ensure_column(&column, global, CYC_RLN_TOMO_DEFORMATION_GRID_SIZE_X, "0"));
	CYC_TRY(cyc_star_set_int(global, i, column, ts->deformation_grid[0]));
	CYC_TRY(cyc_star_ensure_column(&column, global, CYC_RLN_TOMO_DEFORMATION_GRID_SIZE_Y, "0"));
	CYC_TRY(cyc_star_set_int(global, i, column, ts->deformation_grid[1]));
done:
	return st;
}

/*
 * Names of the tables below the output folder, as RELION makes them: the old path behind its job folder.
 * Where that would leave the folder, or two series would share a file (joined from several jobs, or in one
 * file from the start), it is tilt_series/NAME.star for all.
 */
static cyc_status table_names(char ***names, const cyc_tomogram_set *s)
{
	cyc_status st = CYC_OK;
	cyc__name_map seen = { 0 };
	int64_t first;
	bool are_usable = true;
	CYC_TRY(cyc_alloc(names, s->n_series, sizeof **names));
	for (int32_t i = 0; i < s->n_series; i++) {
		const char *name = cyc__behind_job(s->series[i].star_path);
		CYC_TRY(cyc__name_map_add(&first, &seen, name, i));
		are_usable = are_usable && first == i && cyc_is_plain_path(name);
	}
	for (int32_t i = 0; i < s->n_series; i++) {
		if (are_usable) CYC_TRY(cyc_strdup(&(*names)[i], cyc__behind_job(s->series[i].star_path)));
		else CYC_TRY(cyc_asprintf(&(*names)[i], "tilt_series/%s.star", s->series[i].file_name));
	}
done:
	cyc__name_map_deinit(&seen);
	return st;
}

static cyc_status write_series(char **new_path, cyc_tomogram_set *s, int32_t i, const char *name,
                               const char *out_dir, const char *root, unsigned what)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *ts = &s->series[i];
	cyc_star_block *b;
	char *path = NULL;
	CYC_TRY(cyc_star_require(&b, s->series_star[i], ts->name));
	if (what & (CYC_WRITE_DEFOCUS | CYC_WRITE_SCALE)) CYC_TRY(set_ctf(b, ts, what));
	for (int32_t f = 0; f < ts->n_tilts && what & CYC_WRITE_BFACTOR; f++)
		CYC_TRY(cyc_label_put(b, f, CYC_RLN_CTF_BFACTOR, ts->tilts[f].bfactor_A2));
	if (what & CYC_WRITE_GEOMETRY) CYC_TRY(set_geometry(b, ts));
	if (what & CYC_WRITE_DEFORMATION) CYC_TRY(set_deformation(b, ts));
	CYC_TRY(cyc_path_join(new_path, out_dir, name));
	CYC_TRY(cyc_path_join(&path, root, *new_path));
	CYC_TRY(cyc_star_write(s->series_star[i], path));
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_tomogram_set_write(cyc_tomogram_set *s, const char *out_dir, const char *root, unsigned what)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *file = NULL, **names = NULL;
	cyc_star_block *global;
	int32_t column;
	CYC_TRY(table_names(&names, s));
	CYC_TRY(cyc_star_require(&global, s->star, "global"));
	CYC_TRY(cyc_star_ensure_column(&column, global, CYC_RLN_TOMO_TILT_SERIES_STAR_FILE, ""));
	for (int32_t i = 0; i < s->n_series; i++) {
		CYC_TRY_CTX(write_series(&path, s, i, names[i], out_dir, root, what), "writing tilt series '%s'",
		            s->series[i].name);
		CYC_TRY(cyc_star_set_text(global, i, column, path));
		if (what & CYC_WRITE_DEFORMATION) CYC_TRY(set_global_deformation(global, i, &s->series[i]));
		/* RELION-4 kept the table in this document; now it has a file of its own. */
		if (s->is_relion4) cyc_star_remove_block(s->star, s->series[i].name);
		cyc_free(s->series[i].star_path);
		s->series[i].star_path = path;
		path = NULL;
	}
	s->is_relion4 = false;
	/* Last, so that an existing set names existing files. */
	CYC_TRY(cyc_path_join(&path, out_dir, "tomograms.star"));
	CYC_TRY(cyc_path_join(&file, root, path));
	CYC_TRY(cyc_star_write(s->star, file));
	cyc_free(s->path);
	s->path = path;
	path = NULL;
done:
	for (int32_t i = 0; names && i < s->n_series; i++) cyc_free(names[i]);
	cyc_free(names);
	cyc_free(path);
	cyc_free(file);
	return st;
}

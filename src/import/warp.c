/* Tomograms of RELION-4's kind, with matrices: as Warp and M export them, and as RELION-4 wrote them. */
#include "import/import_internal.h"

#include "project/labels.h"

#include <string.h>

/* One series on its way. */
typedef struct {
	cyc__imported *out;
	cyc_import_result *result;
	const cyc_import_options *o;
	int32_t i;
	cyc_tilt_series *ts;
	char *stem; /* its name without ".tomostar" */
	cyc_star_block *table;
	cyc__warp_series warp; /* n = 0: not given */
	int32_t image_nx, image_ny;
	bool is_rotation_only;
} matrix_series;

static cyc_status check_matrices(matrix_series *m)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = m->ts;
	m->is_rotation_only = true;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *t = &ts->tilts[f];
		if (!t->has_matrix) {
			st = cyc_star_raise(CYC_E_DATA, m->table, f,
			                    "tilt series '%s' has angles but no projection matrices", ts->name);
			cyc_error_hint("it is already in RELION-5 format and needs no import");
			goto done;
		}
		cyc_mat3 L;
		for (int k = 0; k < 9; k++) L.m[k / 3][k % 3] = t->matrix[k / 3][k % 3];
		if (!(fabs(cyc_mat3_det(L) - 1) < 0.3)) {
			st = cyc_star_raise(CYC_E_DATA, m->table, f,
			                    "the matrix has a determinant of %g: it is not a rotation, or a mirror",
			                    cyc_mat3_det(L));
			goto done;
		}
		for (int k = 0; k < 3; k++) m->is_rotation_only = m->is_rotation_only && t->matrix[k][3] == 0;
	}
done:
	return st;
}

/* ---------------------------------------------------------------- Warp's own file */

static cyc_status read_warp(matrix_series *m)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	const cyc_tilt_series *ts = m->ts;
	CYC_TRY(cyc__require_file(&path, m->o->root, m->o->warp, m->stem, "--warp"));
	if (!path) goto done;
	CYC_TRY(cyc__warp_series_read(&m->warp, path));
	CYC_CHECK(m->warp.n == ts->n_tilts, CYC_E_DATA, "'%s' has %d tilts, but '%s' has %d of '%s'", path,
	          m->warp.n, m->o->tomograms, ts->n_tilts, ts->name);
	double bound = fmax(0.5 * ts->fractional_dose_e_per_A2, 0.01);
	for (int32_t f = 0; f < ts->n_tilts && m->warp.dose; f++) {
		double there = ts->tilts[f].pre_exposure_e_per_A2;
		CYC_CHECK(fabs(m->warp.dose[f] - there) <= bound, CYC_E_DATA,
		          "'%s': tilt %d has a dose of %g e/Å2, but in '%s' it has %g: the tilts are not in the same "
		          "order",
		          path, f + 1, m->warp.dose[f], m->o->tomograms, there);
	}
done:
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- images */

static cyc_status drop_excluded(matrix_series *m)
{
	cyc_status st = CYC_OK;
	bool *keep = NULL;
	CYC_TRY(cyc_alloc(&keep, m->ts->n_tilts, sizeof *keep));
	for (int32_t f = 0; f < m->ts->n_tilts; f++) {
		keep[f] = m->ts->tilts[f].scale > 0;
		m->result->n_left_out += !keep[f];
	}
	m->out->keep[m->i] = keep;
	keep = NULL;
done:
	cyc_free(keep);
	return st;
}

static cyc_status check_pixel_size(const cyc_mrc_info *info, const char *path, const matrix_series *m)
{
	cyc_status st = CYC_OK;
	double header = info->pixel_size_A, px = m->ts->pixel_size_A;
	if (header <= 0 || fabs(header - 1) < 1e-6 || fabs(header / px - 1) < 0.01) return CYC_OK;
	st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
	                     "the header of '%s' gives a pixel size of %.4g Å, but '%s' has %.4g Å", path, header,
	                     m->o->tomograms, px);
	cyc_error_hint("export tomograms.star and images with the same pixel size, best unbinned");
	return st;
}

/* Sections are all tilts, or those that are not excluded, in the order of the table. */
static cyc_status name_sections(matrix_series *m)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *stack = NULL, *mrc = NULL, *name = NULL;
	cyc_mrc_info info;
	int32_t n_used = 0, n = m->ts->n_tilts, section = 0;
	const char *pattern = m->o->images ? m->o->images : m->ts->stack;
	CYC_TRY(cyc__fill_pattern(&stack, pattern, m->stem));
	CYC_TRY(cyc__require_file(&path, m->o->root, pattern, m->stem, "--images"));
	CYC_TRY(cyc_asprintf(&mrc, "%s:mrcs", path));
	CYC_TRY(cyc_mrc_read_info(&info, mrc));
	CYC_TRY(check_pixel_size(&info, path, m));
	for (int32_t f = 0; f < n; f++) n_used += m->ts->tilts[f].scale > 0;
	CYC_CHECK(info.nz == n || info.nz == n_used, CYC_E_SHAPE,
	          "'%s' has %d sections, but '%s' has %d tilts of '%s', %d of them not excluded", path, info.nz,
	          m->o->tomograms, n, m->ts->name, n_used);
	if (info.nz != n) CYC_TRY(drop_excluded(m));
	for (int32_t f = 0; f < n; f++) {
		const bool *keep = m->out->keep[m->i];
		if (!keep || keep[f]) CYC_TRY(cyc__section_name(&name, stack, ++section));
		CYC_TRY(cyc_label_put_text(m->table, f, CYC_RLN_MICROGRAPH_NAME, name ? name : ""));
		cyc_free(name);
		name = NULL;
	}
	m->image_nx = info.nx;
	m->image_ny = info.ny;
done:
	cyc_free(path);
	cyc_free(stack);
	cyc_free(mrc);
	cyc_free(name);
	return st;
}

/* FOLDER/NAME.mrc of a movie NAME.EXTENSION. */
static cyc_status name_averages(matrix_series *m)
{
	cyc_status st = CYC_OK;
	char *image = NULL, *path = NULL, *file = NULL;
	cyc_mrc_info info;
	CYC_CHECK(m->warp.movie, CYC_E_USAGE,
	          "the averages of the tilts of '%s' are named after its movies, whose names are only in Warp's "
	          ".xml or .tomostar: give it with --warp",
	          m->ts->name);
	for (int32_t f = 0; f < m->ts->n_tilts; f++) {
		const char *slash = strrchr(m->warp.movie[f], '/'), *back = strrchr(m->warp.movie[f], '\\');
		const char *movie = slash ? slash + 1 : back ? back + 1 : m->warp.movie[f];
		const char *dot = strrchr(movie, '.');
		CYC_TRY(cyc_asprintf(&file, "%.*s.mrc",
		                     (int)(dot && dot > movie ? (size_t)(dot - movie) : strlen(movie)), movie));
		CYC_TRY(cyc_path_join(&image, m->o->averages, file));
		CYC_TRY(cyc__require_file(&path, m->o->root, image, m->stem, "--averages"));
		CYC_TRY(cyc_label_put_text(m->table, f, CYC_RLN_MICROGRAPH_NAME, image));
		if (f == 0) {
			CYC_TRY(cyc_mrc_read_info(&info, path));
			CYC_TRY(check_pixel_size(&info, path, m));
			m->image_nx = info.nx;
			m->image_ny = info.ny;
		}
		cyc_free(file);
		cyc_free(image);
		cyc_free(path);
		file = image = path = NULL;
	}
done:
	cyc_free(file);
	cyc_free(image);
	cyc_free(path);
	return st;
}

static cyc_status name_images(matrix_series *m)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	if (m->o->stacks_only) goto done;
	if (m->o->averages) {
		CYC_TRY(name_averages(m));
		goto done;
	}
	if (m->ts->stack && !m->o->images) CYC_TRY(cyc_path_join(&path, m->o->root, m->ts->stack));
	if (!m->o->images && !(path && cyc_path_exists(path))) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "the tilt images of '%s' cannot be found: '%s' names '%s', which does not exist",
		                     m->ts->name, m->o->tomograms, m->ts->stack ? m->ts->stack : "none");
		cyc_error_hint("give the tilt stacks with --images 'tiltstack/*/*.st', Warp's averages with "
		               "--averages FOLDER, or --stacks-only for a project of the particles' own images");
		goto done;
	}
	CYC_TRY(name_sections(m));
done:
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- geometry */

/* Warp's matrices turn about the centre of the tomogram, which its own files put beside that of the image. */
static cyc_status put_rotations(matrix_series *m)
{
	cyc_status st = CYC_OK;
	if (m->warp.n == 0 && !m->o->stacks_only) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "the matrices of '%s' have no shifts, as exported by Warp, so the particles "
		                     "cannot be located in the tilt images",
		                     m->ts->name);
		cyc_error_hint(
			"give the .xml of the tilt series with --warp 'warp_tiltseries/*.xml', or --stacks-only "
			"for a project of the particles' own images");
		goto done;
	}
	for (int32_t f = 0; f < m->ts->n_tilts; f++) {
		cyc__angles a = cyc__angles_of((const double(*)[4])m->ts->tilts[f].matrix, m->ts->size_px, 0, 0);
		for (int k = 0; k < 2; k++)
			a.shift_px[k] = m->warp.n > 0 ? m->warp.offset_A[k][f] / m->ts->pixel_size_A : 0;
		m->result->worst_px = fmax(m->result->worst_px, a.worst_px);
		if (a.worst_px > CYC__KEEP_MATRIX_PX && m->warp.n > 0) {
			st = cyc_star_raise(CYC_E_UNSUPPORTED, m->table, f, "the matrix is not a rotation");
			goto done;
		}
		CYC_TRY(cyc__put_angles(m->table, f, &a, m->ts->pixel_size_A));
	}
done:
	return st;
}

/* Whole matrices: as angles and shifts where that is all they say; without the images' size as they are. */
static cyc_status put_projections(matrix_series *m, bool *keep_matrices)
{
	cyc_status st = CYC_OK;
	int32_t n = 0;
	*keep_matrices = m->image_nx == 0;
	for (int32_t f = 0; f < m->ts->n_tilts && m->image_nx > 0; f++) {
		cyc__angles a = cyc__angles_of((const double(*)[4])m->ts->tilts[f].matrix, m->ts->size_px,
		                               m->image_nx, m->image_ny);
		CYC_TRY(cyc__put_angles(m->table, f, &a, m->ts->pixel_size_A));
		m->result->worst_px = fmax(m->result->worst_px, a.worst_px);
		n += a.worst_px > CYC__KEEP_MATRIX_PX;
	}
	*keep_matrices = *keep_matrices || n > 0;
	m->result->n_matrices += n;
done:
	return st;
}

static void remove_matrices(cyc_star_block *b)
{
	for (int i = 0; i < 4; i++) cyc_star_remove_column(b, cyc__matrix_labels[i]);
}

static cyc_status import_series(matrix_series *m)
{
	cyc_status st = CYC_OK;
	bool keep_matrices = false;
	CYC_TRY(cyc_star_require(&m->table, m->out->set->series_star[m->i], m->ts->name));
	CYC_TRY(cyc_asprintf(&m->stem, "%.*s", (int)cyc__stem_length(m->ts->name), m->ts->name));
	CYC_TRY(check_matrices(m));
	CYC_TRY(read_warp(m));
	CYC_TRY(name_images(m));
	CYC_TRY(m->is_rotation_only ? put_rotations(m) : put_projections(m, &keep_matrices));
	if (!keep_matrices) remove_matrices(m->table);
	if (m->out->keep[m->i]) cyc_star_keep_rows(m->table, m->out->keep[m->i]);
	m->out->n_rows[m->i] = m->ts->n_tilts;
	m->result->n_tilts += (int32_t)cyc_star_n_rows(m->table);
	for (int32_t f = 0; f < m->ts->n_tilts && !m->out->keep[m->i]; f++)
		m->result->n_excluded += m->ts->tilts[f].scale == 0;
done:
	cyc_free(m->stem);
	cyc__warp_series_deinit(&m->warp);
	return st;
}

cyc_status cyc__tomograms_of_matrices(cyc__imported *out, cyc_import_result *result,
                                      const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star_block *global;
	CYC_TRY(cyc_tomogram_set_read(&out->set, o->tomograms, o->root));
	if (!out->set->is_relion4) {
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"'%s' is already in RELION-5 format, with one table per tilt series: it needs no import",
			o->tomograms);
		goto done;
	}
	CYC_TRY(cyc_alloc(&out->keep, out->set->n_series, sizeof *out->keep));
	CYC_TRY(cyc_alloc(&out->n_rows, out->set->n_series, sizeof *out->n_rows));
	for (int32_t i = 0; i < out->set->n_series; i++) {
		matrix_series m = { .out = out, .result = result, .o = o, .i = i, .ts = &out->set->series[i] };
		CYC_TRY_CTX(import_series(&m), "tilt series '%s'", out->set->series[i].name);
		/* Tables of RELION-4 lie nowhere: the writer shall not look for a folder of old. */
		cyc_free(m.ts->star_path);
		m.ts->star_path = NULL;
		CYC_TRY(cyc_asprintf(&m.ts->star_path, "tilt_series/%s.star", m.ts->file_name));
	}
	CYC_TRY(cyc_star_require(&global, out->set->star, "global"));
	/* Not a stack: images are named in the tables. */
	cyc_star_remove_column(global, CYC_RLN_TOMO_TILT_SERIES_NAME);
	cyc_star_remove_column(global, CYC_RLN_TOMO_FRAME_COUNT);
	result->n_series = out->set->n_series;
done:
	return st;
}

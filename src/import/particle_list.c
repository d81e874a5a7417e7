/* Lists of particles: STAR files of RELION, Warp and M, and text. */
#include "import/import_internal.h"

#include "project/labels.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const ORIGIN_PX[3] = { CYC_RLN_ORIGIN_X, CYC_RLN_ORIGIN_Y, CYC_RLN_ORIGIN_Z };

/* ---------------------------------------------------------------- names of tomograms */

/* Warp's volumes have the pixel size behind their names: "TS_01_10.00Apx". */
static bool is_pixel_suffix(const char *text, size_t n)
{
	if (n < 5 || text[0] != '_' || strncmp(text + n - 3, "Apx", 3) != 0) return false;
	return strspn(text + 1, "0123456789.") == n - 4;
}

static int32_t find_series(const cyc_tomogram_set *t, const char *text)
{
	int32_t exact = cyc_tomogram_set_find(t, text);
	if (exact >= 0) return exact;
	const char *slash = strrchr(text, '/'), *file = slash ? slash + 1 : text;
	size_t n = cyc__stem_length(file);
	for (int32_t i = 0; i < t->n_series; i++) {
		size_t m = cyc__stem_length(t->series[i].name);
		if (n < m || strncmp(file, t->series[i].name, m) != 0) continue;
		if (n == m || is_pixel_suffix(file + m, n - m)) return i;
	}
	return -1;
}

/* ---------------------------------------------------------------- coordinates */

/* Centred coordinates [Å] of the project, from those of the list. */
static void centre(double out_A[3], const double v[3], const cyc_tilt_series *ts, const cyc_import_options *o)
{
	double b = o->has_binning ? o->binning : 1, px = ts->pixel_size_A, p[3];
	bool is_relion = o->tomograms || o->axes == CYC_IMPORT_AXES_RELION;
	for (int k = 0; k < 3; k++) {
		if (o->unit == CYC_IMPORT_CENTRED_ANGSTROM) {
			out_A[k] = v[k];
			continue;
		}
		double voxel = o->unit == CYC_IMPORT_ANGSTROM ? v[k] / (b * px) : v[k];
		voxel -= o->has_first_voxel ? o->first_voxel : 0;
		/* RELION's and Warp's binned voxel v is at b v; IMOD's is the mean of b voxels. */
		p[k] = is_relion ? b * voxel : (voxel + 0.5) * b - 0.5;
	}
	if (o->unit == CYC_IMPORT_CENTRED_ANGSTROM) return;
	if (o->axes == CYC_IMPORT_AXES_RAW) {
		double thickness = p[1];
		p[1] = p[2];
		p[2] = ts->size_px[2] - 1 - thickness;
	}
	for (int k = 0; k < 3; k++) out_A[k] = (p[k] - 0.5 * ts->size_px[k]) * px;
}

/* Orientations turn with the axes: (x, thickness, y) is turned about x to (x, y, -thickness). */
static void turn(double angle_rad[3], const cyc_import_options *o)
{
	static const cyc_mat3 TURN = { { { 1, 0, 0 }, { 0, 0, 1 }, { 0, -1, 0 } } };
	if (o->axes != CYC_IMPORT_AXES_RAW) return;
	cyc_mat3 R = cyc_euler_to_matrix(angle_rad[0], angle_rad[1], angle_rad[2]);
	cyc_euler_from_matrix(&angle_rad[0], &angle_rad[1], &angle_rad[2], cyc_mat3_mul(TURN, R));
}

static cyc_status require_binning(const cyc_import_options *o, const char *path)
{
	cyc_status st = CYC_OK;
	bool is_needed = o->unit == CYC_IMPORT_PIXELS ||
	                 (o->unit == CYC_IMPORT_ANGSTROM && !o->tomograms && o->axes != CYC_IMPORT_AXES_RELION);
	CYC_CHECK(o->has_binning || !is_needed, CYC_E_USAGE,
	          "unknown binning of the volume in which the particles of '%s' were picked: give it with "
	          "--binning (1 for unbinned)",
	          path);
done:
	return st;
}

/* ---------------------------------------------------------------- text */

/* [NAME] X Y Z [ROT TILT PSI] */
static cyc_status add_text_row(cyc_star_block *b, const cyc__rows *rows, int64_t i, const cyc_tilt_series *ts,
                               const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	static const char *const WHAT[6] = { "x", "y", "z", "rot", "tilt", "psi" };
	const cyc__row *r = &rows->rows[i];
	int32_t first = cyc__is_number(r->token[0]) ? 0 : 1, n = r->n - first;
	double v[6], A[3];
	int64_t row;
	CYC_TRY(cyc__rows_require_points(rows, i, 1));
	if (n != 3 && n != 6) {
		st = cyc__rows_raise(CYC_E_FORMAT, rows, i,
		                     "expected x y z or x y z rot tilt psi, after the tomogram's name if there are "
		                     "several, found %d columns",
		                     r->n);
		goto done;
	}
	for (int k = 0; k < n; k++) CYC_TRY(cyc__rows_double(&v[k], rows, i, first + k, WHAT[k]));
	centre(A, v, ts, o);
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_TOMO_NAME, ts->name));
	CYC_TRY(cyc_label_put_three(b, row, CYC_LABELS_CENTRED, A));
	if ((n == 6) != (cyc_star_column(b, CYC_LABELS_ANGLE[0]) >= 0) && row > 0) {
		st = cyc__rows_raise(CYC_E_FORMAT, rows, i, "some rows have angles and some have none");
		goto done;
	}
	if (n == 3) goto done;
	for (int k = 3; k < 6; k++) v[k] = cyc_deg_to_rad(v[k]);
	turn(v + 3, o);
	CYC_TRY(cyc_label_put_three(b, row, CYC_LABELS_ANGLE, v + 3));
done:
	return st;
}

/* "x,y,z" above the numbers. */
static bool is_heading(const cyc__row *r)
{
	bool has_x = false;
	for (int32_t k = 0; k < r->n; k++) {
		if (cyc__is_number(r->token[k])) return false;
		has_x = has_x || strcasecmp(r->token[k], "x") == 0;
	}
	return has_x;
}

static cyc_status add_text_file(cyc_star_block *b, const char *path, int32_t i_series,
                                const cyc_tomogram_set *t, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc__rows *rows = NULL;
	CYC_TRY(require_binning(o, path));
	CYC_TRY(cyc__rows_read(&rows, path));
	for (int64_t i = 0; i < rows->n; i++) {
		if (cyc__is_comment(&rows->rows[i]) || (i == 0 && is_heading(&rows->rows[i]))) continue;
		int32_t at =
			cyc__is_number(rows->rows[i].token[0]) ? i_series : find_series(t, rows->rows[i].token[0]);
		if (at < 0) {
			bool has_name = !cyc__is_number(rows->rows[i].token[0]);
			st = has_name ? cyc__rows_raise(CYC_E_DATA, rows, i, "there is no tomogram '%s'",
			                                rows->rows[i].token[0])
			              : cyc__rows_raise(CYC_E_DATA, rows, i, "the particle has no tomogram");
			cyc_error_hint("write the tomogram's name ('%s' is one) before each x, or give a file for each "
			               "with a * in --particles",
			               t->series[0].name);
			goto done;
		}
		CYC_TRY(add_text_row(b, rows, i, &t->series[at], o));
	}
done:
	cyc__rows_destroy(&rows);
	return st;
}

static cyc_status read_text(cyc_star_block *b, const cyc_tomogram_set *t, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *stem = NULL;
	bool is_pattern = strchr(o->particles, '*') != NULL;
	for (int32_t i = 0; i < (is_pattern ? t->n_series : 1); i++) {
		const char *name = t->series[i].name;
		CYC_TRY(cyc_asprintf(&stem, "%.*s", (int)cyc__stem_length(name), name));
		CYC_TRY(cyc__require_file(&path, o->root, o->particles, stem, "--particles"));
		CYC_TRY(add_text_file(b, path, is_pattern ? i : t->n_series == 1 ? 0 : -1, t, o));
		cyc_free(path);
		cyc_free(stem);
		path = stem = NULL;
	}
	CYC_CHECK(cyc_star_n_rows(b) > 0, CYC_E_DATA, "'%s' has no particles", o->particles);
done:
	cyc_free(path);
	cyc_free(stem);
	return st;
}

/* ---------------------------------------------------------------- STAR */

typedef struct {
	cyc_star_block *b; /* particles of the new document */
	const cyc__imported *tomograms;
	const cyc_import_options *o;
	int64_t n;
	int32_t *series; /* of each row, -1 for none */
	bool has_images; /* 2D stacks, which stay */
} star_list;

static cyc_status copy_block(cyc_star_block *to, const cyc_star_block *from)
{
	cyc_status st = CYC_OK;
	int32_t column;
	int64_t row;
	for (int64_t i = 0; i < cyc_star_n_rows(from); i++) CYC_TRY(cyc_star_add_row(&row, to));
	for (int32_t k = 0; k < cyc_star_n_columns(from); k++) {
		CYC_TRY(cyc_star_ensure_column(&column, to, cyc_star_label(from, k), ""));
		for (int64_t i = 0; i < cyc_star_n_rows(from); i++)
			CYC_TRY(cyc_star_set_text(to, i, column, cyc_star_text(from, i, k)));
	}
done:
	return st;
}

/* Names as the tomograms have them. */
static cyc_status find_rows(star_list *l, const cyc_star_block *from)
{
	cyc_status st = CYC_OK;
	int32_t column = cyc_star_column(l->b, CYC_RLN_TOMO_NAME), to;
	if (column < 0) column = cyc_star_column(l->b, CYC_RLN_MICROGRAPH_NAME);
	if (column < 0) CYC_TRY(cyc_star_require_column(&column, from, CYC_RLN_TOMO_NAME));
	CYC_TRY(cyc_star_ensure_column(&to, l->b, CYC_RLN_TOMO_NAME, ""));
	for (int64_t i = 0; i < l->n; i++) {
		l->series[i] = find_series(l->tomograms->set, cyc_star_text(l->b, i, column));
		if (l->series[i] >= 0)
			CYC_TRY(cyc_star_set_text(l->b, i, to, l->tomograms->set->series[l->series[i]].name));
		else if (to != column) CYC_TRY(cyc_star_set_text(l->b, i, to, cyc_star_text(from, i, column)));
	}
	cyc_star_remove_column(l->b, CYC_RLN_MICROGRAPH_NAME);
done:
	return st;
}

/* Stacks count in their own pixels, which the reader of particle sets knows; other lists as the options say.
 */
static cyc_status convert_coordinates(star_list *l, const char *path)
{
	cyc_status st = CYC_OK;
	double v[3], A[3];
	bool is_centred = true;
	for (int k = 0; k < 3; k++) is_centred = is_centred && cyc_star_column(l->b, CYC_LABELS_CENTRED[k]) >= 0;
	if (is_centred) {
		CYC_CHECK(l->o->axes != CYC_IMPORT_AXES_RAW, CYC_E_USAGE,
		          "'%s' has centred coordinates, which have RELION's axes: do not use --tomogram-axes raw",
		          path);
		goto done;
	}
	if (l->has_images && !l->o->has_binning) goto done;
	CYC_TRY(require_binning(l->o, path));
	for (int64_t i = 0; i < l->n; i++) {
		for (int k = 0; k < 3; k++) CYC_TRY(cyc_star_double_of(&v[k], l->b, i, CYC_LABELS_COORDINATE[k]));
		if (l->series[i] >= 0) centre(A, v, &l->tomograms->set->series[l->series[i]], l->o);
		else memset(A, 0, sizeof A);
		CYC_TRY(cyc_label_put_three(l->b, i, CYC_LABELS_CENTRED, A));
	}
	for (int k = 0; k < 3; k++) cyc_star_remove_column(l->b, CYC_LABELS_COORDINATE[k]);
done:
	return st;
}

/* RELION 3 and Warp's volumes have origins in pixels of the particles' images. */
static cyc_status convert_origins(star_list *l, const char *path)
{
	cyc_status st = CYC_OK;
	double v[3];
	if (cyc_star_column(l->b, ORIGIN_PX[0]) < 0 || cyc_star_column(l->b, CYC_LABELS_ORIGIN[0]) >= 0)
		goto done;
	CYC_TRY(require_binning(l->o, path));
	for (int64_t i = 0; i < l->n; i++) {
		const cyc_tilt_series *ts = &l->tomograms->set->series[l->series[i] >= 0 ? l->series[i] : 0];
		for (int k = 0; k < 3; k++) {
			CYC_TRY(cyc_star_double_or(&v[k], l->b, i, ORIGIN_PX[k], 0));
			v[k] *= ts->pixel_size_A * (l->o->has_binning ? l->o->binning : 1);
		}
		CYC_TRY(cyc_label_put_three(l->b, i, CYC_LABELS_ORIGIN, v));
	}
	for (int k = 0; k < 3; k++) cyc_star_remove_column(l->b, ORIGIN_PX[k]);
done:
	return st;
}

static cyc_status convert_angles(star_list *l, const char *path)
{
	cyc_status st = CYC_OK;
	double v[3];
	if (l->o->axes != CYC_IMPORT_AXES_RAW || cyc_star_column(l->b, CYC_LABELS_ANGLE[0]) < 0) goto done;
	CYC_CHECK(cyc_star_column(l->b, CYC_RLN_TOMO_SUBTOMOGRAM_ROT) < 0 &&
	              cyc_star_column(l->b, CYC_LABELS_ORIGIN[0]) < 0,
	          CYC_E_UNSUPPORTED,
	          "'%s' has subtomogram angles or origins, which cannot be used with --tomogram-axes raw", path);
	for (int64_t i = 0; i < l->n; i++) {
		CYC_TRY(cyc_label_get_three(v, l->b, i, CYC_LABELS_ANGLE));
		turn(v, l->o);
		CYC_TRY(cyc_label_put_three(l->b, i, CYC_LABELS_ANGLE, v));
	}
done:
	return st;
}

/* Flags of tilts that have no row any more. */
static cyc_status convert_visible(star_list *l)
{
	cyc_status st = CYC_OK;
	int32_t column = cyc_star_column(l->b, CYC_RLN_TOMO_VISIBLE_FRAMES), n;
	double *v = NULL;
	for (int64_t i = 0; i < l->n && column >= 0; i++) {
		int32_t s = l->series[i], n_kept = 0;
		const bool *keep = s >= 0 && l->tomograms->keep ? l->tomograms->keep[s] : NULL;
		if (!keep) continue;
		CYC_TRY(cyc_star_vector(&v, &n, l->b, i, column));
		if (n != l->tomograms->n_rows[s]) {
			st = cyc_star_raise(CYC_E_DATA, l->b, i, "_%s has %d flags, but there are %d tilts",
			                    CYC_RLN_TOMO_VISIBLE_FRAMES, n, l->tomograms->n_rows[s]);
			goto done;
		}
		for (int32_t f = 0; f < n; f++) {
			if (!keep[f] && v[f] != 0) {
				st = cyc_star_raise(CYC_E_DATA, l->b, i,
				                    "the particle has an image of tilt %d, which is excluded", f + 1);
				goto done;
			}
			if (keep[f]) v[n_kept++] = v[f];
		}
		CYC_TRY(cyc_star_set_vector(l->b, i, column, v, n_kept));
		cyc_free(v);
		v = NULL;
	}
done:
	cyc_free(v);
	return st;
}

/* Images stay if they are 2D stacks; subtomograms of other programs are no use to a refinement from tilts. */
static void judge_images(star_list *l, const cyc_star *from)
{
	const cyc_star_block *general = cyc_star_find(from, "general");
	const char *are_stacks = general && cyc_star_n_rows(general) > 0
	                             ? cyc_star_text_of(general, 0, CYC_RLN_TOMO_SUB_TOMOS_ARE_2D_STACKS)
	                             : NULL;
	int32_t column = cyc_star_column(l->b, CYC_RLN_IMAGE_NAME);
	l->has_images = column >= 0 && are_stacks && strcmp(are_stacks, "1") == 0;
	if (l->has_images || column < 0) return;
	cyc_star_remove_column(l->b, CYC_RLN_IMAGE_NAME);
	cyc_star_remove_column(l->b, CYC_RLN_CTF_IMAGE);
	cyc_info("the particles' own volumes are ignored: particles are cut from the tilt images");
}

static cyc_status read_star(cyc_star *out, cyc_star_block *b, const cyc__imported *t,
                            const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	char *path = NULL;
	star_list l = { .b = b, .tomograms = t, .o = o };
	cyc_star_block *optics;
	CYC_CHECK(!strchr(o->particles, '*'), CYC_E_UNSUPPORTED,
	          "--particles '%s': one STAR file per tilt series is not supported; join them first",
	          o->particles);
	CYC_TRY(cyc_path_join(&path, o->root, o->particles));
	CYC_TRY(cyc_star_read(&star, path));
	const cyc_star_block *from = cyc_star_find(star, "particles");
	if (!from && cyc_star_n_blocks(star) == 1) from = cyc_star_block_at(star, 0);
	CYC_CHECK(from && cyc_star_n_rows(from) > 0, CYC_E_FORMAT, "'%s' has no block 'particles' with rows",
	          path);
	CYC_TRY(copy_block(b, from));
	l.n = cyc_star_n_rows(b);
	CYC_TRY(cyc_alloc(&l.series, l.n, sizeof *l.series));
	CYC_TRY(find_rows(&l, from));
	judge_images(&l, star);
	CYC_TRY(convert_angles(&l, path));
	CYC_TRY(convert_coordinates(&l, path));
	CYC_TRY(convert_origins(&l, path));
	CYC_TRY(convert_visible(&l));
	const cyc_star_block *groups = cyc_star_find(star, "optics");
	/* Groups without images are made of the tomograms' optics. */
	if (groups && l.has_images) CYC_TRY(cyc_star_add_copy(&optics, out, groups));
	else cyc_star_remove_column(b, CYC_RLN_OPTICS_GROUP);
done:
	cyc_free(l.series);
	cyc_free(path);
	cyc_star_destroy(&star);
	return st;
}

cyc_status cyc__read_particle_list(cyc_star **out, const cyc__imported *tomograms,
                                   const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *general, *b;
	size_t n = strlen(o->particles);
	*out = NULL;
	CYC_CHECK(!(n > 4 && strcmp(o->particles + n - 4, ".tbl") == 0), CYC_E_UNSUPPORTED,
	          "'%s' is a Dynamo table: convert it to a STAR file first", o->particles);
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&general, star, "general", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_int(general, CYC_RLN_TOMO_SUB_TOMOS_ARE_2D_STACKS, 1));
	CYC_TRY(cyc_star_add_block(&b, star, "particles", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_set_name(star, o->particles));
	if (n > 5 && strcmp(o->particles + n - 5, ".star") == 0) CYC_TRY(read_star(star, b, tomograms, o));
	else CYC_TRY(read_text(b, tomograms->set, o));
	*out = star;
	star = NULL;
done:
	cyc_star_destroy(&star);
	return st;
}

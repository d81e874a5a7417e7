#include "cyclotomo/project.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* Location of the image of a tilt: file with root and 0-based section. */
static cyc_status locate(char **path, int64_t *section, bool *has_section, const cyc_tilt_series *ts,
                         int32_t f, const char *root)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	bool is_stack;
	const char *image = ts->stack ? ts->stack : ts->tilts[f].image;
	*path = NULL;
	if (!image) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "'%s': row %d names no image",
		                     ts->table_path, f + 1);
		cyc_error_hint("give tilt images in _%s, or a whole stack in _%s in tomograms.star",
		               CYC_RLN_MICROGRAPH_NAME, CYC_RLN_TOMO_TILT_SERIES_NAME);
		goto done;
	}
	CYC_TRY_CTX(cyc_mrc_split_name(&name, section, &is_stack, image), "'%s': row %d", ts->table_path, f + 1);
	*has_section = *section > 0 || ts->stack != NULL;
	*section = ts->stack ? f : *section > 0 ? *section - 1 : 0;
	CYC_TRY(cyc_path_join(path, root, name));
done:
	cyc_free(name);
	return st;
}

cyc_status cyc_tilt_series_find_missing(bool *is_missing, int32_t *n_missing, const cyc_tilt_series *ts,
                                        const char *root)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *last = NULL;
	bool last_is_missing = false;
	*n_missing = 0;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		int64_t section;
		bool has_section;
		CYC_TRY(locate(&path, &section, &has_section, ts, f, root));
		/* The tilts of a stack share one file: ask the file system once. */
		bool missing = last && strcmp(last, path) == 0 ? last_is_missing : access(path, R_OK) != 0;
		if (is_missing) is_missing[f] = missing;
		*n_missing += missing;
		last_is_missing = missing;
		cyc_free(last);
		last = path;
		path = NULL;
	}
done:
	cyc_free(path);
	cyc_free(last);
	return st;
}

static cyc_status check_none_missing(const cyc_tilt_series *ts, const char *root)
{
	cyc_status st = CYC_OK;
	bool *is_missing = NULL;
	char *path = NULL;
	int32_t n_missing, f = 0;
	int64_t section;
	bool has_section;
	CYC_TRY(cyc_alloc(&is_missing, (size_t)ts->n_tilts, sizeof *is_missing));
	CYC_TRY(cyc_tilt_series_find_missing(is_missing, &n_missing, ts, root));
	if (n_missing == 0) goto done;
	while (!is_missing[f]) f++;
	CYC_TRY(locate(&path, &section, &has_section, ts, f, root));
	st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__,
	                     "tilt image '%s' (row %d of '%s') is missing or cannot be read; %d of the %d images "
	                     "of this tilt series are missing",
	                     path, f + 1, ts->table_path, n_missing, ts->n_tilts);
	cyc_error_hint("paths in STAR files are relative to the project folder: give it with --root");
done:
	cyc_free(path);
	cyc_free(is_missing);
	return st;
}

static void close_images(cyc_tilt_series *ts)
{
	for (int32_t f = 0; f < ts->n_tilts && ts->image_path; f++) cyc_free(ts->image_path[f]);
	cyc_free(ts->image_path);
	cyc_free(ts->image_info);
	cyc_free(ts->image_section);
	cyc_free(ts->n_outliers);
	cyc_free(ts->n_constant);
	cyc_free(ts->n_beads);
	ts->n_outliers = ts->n_constant = ts->n_beads = NULL;
	ts->image_path = NULL;
	ts->image_info = NULL;
	ts->image_section = NULL;
	ts->image_nx = ts->image_ny = 0;
}

static cyc_status open_image(cyc_tilt_series *ts, int32_t f, const char *root)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	bool has_section;
	cyc_mrc_info *info = &ts->image_info[f];
	CYC_TRY(locate(&ts->image_path[f], &ts->image_section[f], &has_section, ts, f, root));
	if (f > 0 && strcmp(ts->image_path[f], ts->image_path[f - 1]) == 0) {
		*info = ts->image_info[f - 1];
	} else {
		/* The extension was judged by locate(); the suffix stands for the one that may have been taken off.
		 */
		CYC_TRY(cyc_asprintf(&name, "%s:mrcs", ts->image_path[f]));
		CYC_TRY_CTX(cyc_mrc_read_info(info, name), "row %d of '%s'", f + 1, ts->table_path);
	}
	const char *path = ts->image_path[f];
	CYC_CHECK(has_section || info->nz == 1, CYC_E_SHAPE,
	          "row %d of '%s': '%s' is one tilt image but the file has %d sections", f + 1, ts->table_path,
	          path, info->nz);
	CYC_CHECK(ts->image_section[f] < info->nz, CYC_E_DATA,
	          "row %d of '%s': section %lld of '%s' is requested, but the file has %d", f + 1, ts->table_path,
	          (long long)ts->image_section[f] + 1, path, info->nz);
	CYC_CHECK(info->nx == ts->image_info[0].nx && info->ny == ts->image_info[0].ny, CYC_E_SHAPE,
	          "row %d of '%s': '%s' has %d x %d pixels, but the first image of the series has %d x %d", f + 1,
	          ts->table_path, path, info->nx, info->ny, ts->image_info[0].nx, ts->image_info[0].ny);
	double px = info->pixel_size_A, py = info->pixel_size_y_A;
	CYC_CHECK(px <= 0.0 || py <= 0.0 || fabs(px - py) <= 1e-3 * px, CYC_E_SHAPE,
	          "row %d of '%s': '%s' has pixels of %g x %g Å; pixels must be square", f + 1, ts->table_path,
	          path, px, py);
done:
	cyc_free(name);
	return st;
}

cyc_status cyc_tilt_series_image_size(int32_t *nx, int32_t *ny, const cyc_tilt_series *ts, const char *root)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *name = NULL;
	int64_t section;
	bool has_section;
	cyc_mrc_info info;
	*nx = ts->image_nx;
	*ny = ts->image_ny;
	if (*nx > 0) return CYC_OK;
	CYC_TRY(locate(&path, &section, &has_section, ts, 0, root));
	CYC_TRY(cyc_asprintf(&name, "%s:mrcs", path));
	CYC_TRY_CTX(cyc_mrc_read_info(&info, name), "row 1 of '%s'", ts->star_path);
	*nx = info.nx;
	*ny = info.ny;
done:
	cyc_free(path);
	cyc_free(name);
	return st;
}

cyc_status cyc_tilt_series_open(cyc_tilt_series *ts, const char *root)
{
	cyc_status st = CYC_OK;
	if (ts->image_info) return CYC_OK;
	CYC_TRY(check_none_missing(ts, root));
	CYC_TRY(cyc_alloc(&ts->image_info, (size_t)ts->n_tilts, sizeof *ts->image_info));
	CYC_TRY(cyc_alloc(&ts->image_path, (size_t)ts->n_tilts, sizeof *ts->image_path));
	CYC_TRY(cyc_alloc(&ts->image_section, (size_t)ts->n_tilts, sizeof *ts->image_section));
	CYC_TRY(cyc_alloc(&ts->n_outliers, (size_t)ts->n_tilts, sizeof *ts->n_outliers));
	CYC_TRY(cyc_alloc(&ts->n_constant, (size_t)ts->n_tilts, sizeof *ts->n_constant));
	CYC_TRY(cyc_alloc(&ts->n_beads, (size_t)ts->n_tilts, sizeof *ts->n_beads));
	for (int32_t f = 0; f < ts->n_tilts; f++) ts->n_outliers[f] = ts->n_constant[f] = ts->n_beads[f] = -1;
	for (int32_t f = 0; f < ts->n_tilts; f++) CYC_TRY(open_image(ts, f, root));
	ts->image_nx = ts->image_info[0].nx;
	ts->image_ny = ts->image_info[0].ny;
done:
	if (st != CYC_OK) {
		cyc_error_context("tilt series '%s'", ts->name);
		close_images(ts);
	}
	return st;
}

cyc_status cyc_tilt_series_open_for(cyc_tilt_series *ts, const char *root, int32_t window_px)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_tilt_series_open(ts, root));
	if (window_px > ts->image_nx || window_px > ts->image_ny) {
		st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                     "the window of %d px is larger than the tilt images of %s (%d x %d px)",
		                     window_px, ts->name, ts->image_nx, ts->image_ny);
		cyc_error_hint("use a smaller box (--b)");
	}
done:
	return st;
}

cyc_status cyc_tilt_series_read_image(float *dst, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(ts->image_info, CYC_E_INTERNAL, "tilt series '%s' is not open", ts->name);
	CYC_TRY_CTX(
		cyc_mrc_read_section(dst, &ts->image_info[i_tilt], ts->image_path[i_tilt], ts->image_section[i_tilt]),
		"tilt series '%s', row %d", ts->name, i_tilt + 1);
done:
	return st;
}

void cyc_tilt_series_chronological(int32_t *order, const cyc_tilt_series *ts)
{
	/* Insertion keeps rows of equal dose in their order; series have tens of tilts. */
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		int32_t k = f;
		for (; k > 0 && ts->tilts[order[k - 1]].pre_exposure_e_per_A2 > ts->tilts[f].pre_exposure_e_per_A2;
		     k--)
			order[k] = order[k - 1];
		order[k] = f;
	}
}

/* Shared by the checks of several jobs: masks, windows, folders for results. */
#include "cyclotomo/survey.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/vfs.h>
#endif

/* ---------------------------------------------------------------- masks */

static cyc_status check_header(const cyc_mrc_info *m, const char *mask, const char *option, int32_t n_px,
                               double pixel_size_A)
{
	cyc_status st = CYC_OK;
	if (n_px > 0 && (m->nx != n_px || m->ny != n_px || m->nz != n_px)) {
		st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                     "the mask %s (%s) has %d x %d x %d voxels, but the maps have %d cubed", mask,
		                     option, m->nx, m->ny, m->nz, n_px);
		cyc_error_hint(
			"give the mask's size with --crop, or make a mask from a map of this size with 'cyclotomo mask'");
	} else if (!(m->pixel_size_A > 0) && pixel_size_A > 0) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "the header of the mask %s (%s) gives no pixel size; the maps have %.4g Å", mask,
		                     option, pixel_size_A);
		cyc_error_hint("if it belongs to these maps, set the cell size in its header, for example with IMOD: "
		               "alterheader -del %.4g,%.4g,%.4g '%s'",
		               pixel_size_A, pixel_size_A, pixel_size_A, mask);
	} else if (pixel_size_A > 0 && fabs(m->pixel_size_A / pixel_size_A - 1) > 2e-3) {
		st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                     "the mask %s (%s) has pixels of %.4g Å, but the maps have %.4g Å", mask, option,
		                     m->pixel_size_A, pixel_size_A);
		cyc_error_hint(
			"make a mask from a map of this pixel size with 'cyclotomo mask', or correct the mask's header");
	}
	return st;
}

/* Rounding, and a little ringing of masks that were resampled, are no mistake of the mask. */
static const double MASK_TOLERANCE = 1e-4;

static cyc_status check_values(const cyc_volume *v, const char *mask, const char *option)
{
	cyc_status st = CYC_OK;
	size_t count = cyc_volume_count(v), n_inside = 0, n = (size_t)v->nx;
	for (size_t i = 0; i < count; i++) {
		double w = (double)v->data[i];
		if (w < -MASK_TOLERANCE || w > 1 + MASK_TOLERANCE) {
			st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
			                     "the mask %s (%s) must lie between 0 and 1, but voxel %zu, %zu, %zu is %g",
			                     mask, option, i % n, i / n % n, i / n / n, w);
			cyc_error_hint("make one from a map with 'cyclotomo mask', or clip its values to 0 to 1");
			goto done;
		}
		n_inside += w > 0.5;
	}
	if (n_inside == 0) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "the mask %s (%s) is empty: no voxel is above 0.5", mask, option);
		cyc_error_hint("make one from a map with 'cyclotomo mask'");
	} else if (cyc_mask_is_inverted(v)) {
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"the mask %s (%s) is inverted: it is 1 at the corners of the box and 0 in the centre", mask,
			option);
		cyc_error_hint(
			"masks are 1 at the particle: make one with 'cyclotomo mask', or take 1 minus this one");
	} else if (cyc_mask_reach_px(v) < CYC_LEAST_MASK_RADIUS_PX) {
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"the mask %s (%s) reaches less than %d px from the centre: too small to compare maps in", mask,
			option, CYC_LEAST_MASK_RADIUS_PX);
		cyc_error_hint("make one from a map with 'cyclotomo mask'");
	}
done:
	return st;
}

cyc_status cyc_check_mask(const char *root, const char *mask, const char *option, int32_t n_px,
                          double pixel_size_A)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_mrc_info info = { 0 };
	cyc_volume *v = NULL;
	if (!mask || !mask[0]) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, root, mask));
	CYC_TRY_CTX(cyc_mrc_read_info(&info, path), "mask of %s", option);
	CYC_TRY(check_header(&info, mask, option, n_px, pixel_size_A));
	CYC_TRY_CTX(cyc_mrc_read(&v, path), "mask of %s", option);
	CYC_TRY(check_values(v, mask, option));
done:
	cyc_volume_destroy(&v);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- windows */

cyc_status cyc_check_window(const cyc_project_view *p, int32_t window_px)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < p->tomograms->n_series; i++) {
		cyc_tilt_series *ts = &p->tomograms->series[i];
		if (p->particles->series_first[i + 1] == p->particles->series_first[i]) continue;
		CYC_TRY(cyc_tilt_series_open_for(ts, p->root, window_px));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- results */

/* The nearest existing folder above; `path` is cut to it, "." if it is the present one. */
static cyc_status existing_part(char *path, struct stat *s)
{
	cyc_status st = CYC_OK;
	size_t n = strlen(path);
	while (stat(path, s) != 0) {
		CYC_CHECK(errno == ENOENT, CYC_E_IO, "the folder '%s' for the results cannot be created: %s", path,
		          strerror(errno));
		/* A dangling link exists, but nothing can be made at its place. */
		struct stat link;
		CYC_CHECK(lstat(path, &link) != 0, CYC_E_IO, "'%s' is a broken link", path);
		while (n > 0 && path[n - 1] == '/') path[--n] = '\0';
		while (n > 0 && path[n - 1] != '/') path[--n] = '\0';
		while (n > 1 && path[n - 1] == '/') path[--n] = '\0';
		if (n == 0) strcpy(path, ".");
	}
done:
	return st;
}

/* /proc and /sys let their owner write, but hold no files of his. */
static bool holds_no_files(const char *path)
{
#ifdef __linux__
	enum { PROC = 0x9fa0, SYSFS = 0x62656572 };
	struct statfs s;
	return statfs(path, &s) == 0 && (s.f_type == PROC || s.f_type == SYSFS);
#else
	(void)path;
	return false;
#endif
}

cyc_status cyc_check_output(const char *root, const char *out_dir, double need_bytes)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *part = NULL;
	struct stat s;
	struct statvfs v;
	CYC_TRY(cyc_path_join(&path, root, out_dir));
	CYC_TRY(cyc_asprintf(&part, "%s%s", path, path[0] ? "" : "."));
	CYC_TRY(existing_part(part, &s));
	CYC_CHECK(S_ISDIR(s.st_mode), CYC_E_IO,
	          "'%s' exists but is not a folder: results cannot be written to '%s'", part, path);
	CYC_CHECK(!holds_no_files(part), CYC_E_IO,
	          "results cannot be written to '%s': '%s' belongs to the kernel", path, part);
	if (access(part, W_OK | X_OK) != 0) {
		st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__,
		                     "results cannot be written to '%s': folder '%s' is not writable: %s", path, part,
		                     strerror(errno));
		cyc_error_hint("write elsewhere (--o), or change the folder's permissions");
		goto done;
	}
	if (statvfs(part, &v) != 0) goto done; /* a file system that does not report it */
	double available = (double)v.f_bavail * (double)v.f_frsize;
	bool has_no_inode = v.f_files > 0 && v.f_favail == 0;
	if (v.f_blocks > 0 && (available < fmax(need_bytes, 1) || has_no_inode)) {
		st = cyc_error_raise(
			CYC_E_IO, __FILE__, __LINE__, __func__,
			"Not enough space for results in '%s': about %.3g MB are needed, %.3g MB are free%s", path,
			need_bytes / 1e6, available / 1e6, has_no_inode ? ", and no more files can be created" : "");
		cyc_error_hint("free disk space, or write elsewhere (--o)");
	}
done:
	cyc_free(path);
	cyc_free(part);
	return st;
}

#include "map_internal.h"

cyc_status cyc__read_any_map(cyc_volume **out, const char *root, const char *name, int n_threads)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, root, name));
	CYC_TRY(cyc_mrc_read_map_threaded(out, path, n_threads));
done:
	cyc_free(path);
	return st;
}

cyc_status cyc__read_map(cyc_volume **out, const char *root, const char *name, double pixel_size_A,
                         const char *what, int n_threads)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_mrc_info info = { 0 };
	cyc_volume *v = NULL;
	*out = NULL;
	CYC_TRY(cyc_path_join(&path, root, name));
	CYC_TRY_CTX(cyc_mrc_read_info(&info, path), "%s", what);
	CYC_CHECK(info.nx == info.ny && info.ny == info.nz, CYC_E_SHAPE,
	          "%s '%s': a map must be a cube, this one has %d x %d x %d voxels", what, path, info.nx, info.ny,
	          info.nz);
	CYC_CHECK(info.nx % 2 == 0, CYC_E_SHAPE, "%s '%s': a map must have an even box, this one has %d", what,
	          path, info.nx);
	if (!(pixel_size_A > 0.0 || info.pixel_size_A > 0.0)) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "%s '%s': the header gives no pixel size", what, path);
		cyc_error_hint("give it with --pixel-size");
		goto done;
	}
	double used_A = pixel_size_A > 0.0 ? pixel_size_A : info.pixel_size_A;
	CYC_CHECK(used_A >= 0.01 && used_A <= 1e4, CYC_E_DATA,
	          "%s '%s': impossible pixel size of %g Å; it must be 0.01 to 10000", what, path, used_A);
	CYC_TRY_CTX(cyc_mrc_read_threaded(&v, path, n_threads), "%s", what);
	v->pixel_size_A = used_A;
	*out = v;
	v = NULL;
done:
	cyc_free(path);
	cyc_volume_destroy(&v);
	return st;
}

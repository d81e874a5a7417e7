#include "cyclotomo/map.h"

cyc_status cyc_map_write(const char *root, const char *name, const cyc_volume *v, const char *label,
                         int n_threads)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, root, name));
	CYC_TRY(cyc_make_parent_dirs(path));
	CYC_TRY(cyc_mrc_write_threaded(path, v, 2, label, n_threads));
done:
	cyc_free(path);
	return st;
}

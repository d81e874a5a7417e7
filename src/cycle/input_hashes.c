#include "cycle/records.h"
#include "run/options.h"

#include <string.h>

static cyc_status add_hash(cyc__pairs *out, const char *root, const char *path)
{
	cyc_status st = CYC_OK;
	char *full = NULL;
	uint64_t h;
	if (!path || cyc__pairs_get(out, path)) return CYC_OK;
	CYC_TRY(cyc_path_join(&full, root, path));
	CYC_TRY(cyc_hash_file(&h, full));
	CYC_TRY(cyc__pairs_add(out, path, "%s", cyc__hash_format(h).text));
done:
	cyc_free(full);
	return st;
}

static cyc_status add_in_role(cyc__pairs *out, const char *root, const char *path, const char *option)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	uint64_t h = CYC_HASH_INIT;
	CYC_TRY(cyc_asprintf(&name, "%s (--%s)", path, option));
	CYC_TRY(cyc_input_file_hash(&h, path, root));
	CYC_TRY(cyc__pairs_add(out, name, "%s", cyc__hash_format(h).text));
done:
	cyc_free(name);
	return st;
}

/* Size, pixel size and voxels: a header that lacks the pixel size means that of the maps, and other words in
 * it nothing. */
static cyc_status add_mask(cyc__pairs *out, const cyc__inputs *in, const char *root, const char *path,
                           const char *role)
{
	cyc_status st = CYC_OK;
	char *full = NULL, *name = NULL, *size = NULL;
	cyc_mrc_info info;
	uint64_t h;
	if (!path) return CYC_OK;
	CYC_TRY(cyc_path_join(&full, root, path));
	CYC_TRY(cyc_mrc_read_info(&info, full));
	CYC_TRY(cyc_hash_file_part(&h, full, info.data_offset_bytes, -1));
	CYC_TRY(cyc_asprintf(&size, "%d %d %d %d %d %.4g", info.nx, info.ny, info.nz, info.mode, info.is_swapped,
	                     info.pixel_size_A > 0.0 ? info.pixel_size_A : in->pixel_size_A));
	CYC_TRY(cyc_asprintf(&name, "%s (%s)", path, role));
	CYC_TRY(cyc__pairs_add(out, name, "%s", cyc__hash_format(cyc_hash_string(h, size)).text));
done:
	cyc_free(full);
	cyc_free(name);
	cyc_free(size);
	return st;
}

cyc_status cyc__inputs_hashes(cyc__pairs *out, const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	const char *root = o->input.root;
	cyc__pairs files = { 0 };
	uint64_t images = CYC_HASH_INIT;
	CYC_TRY(add_hash(out, root, in->set->particles));
	CYC_TRY(add_hash(out, root, in->set->tomograms));
	CYC_TRY(add_hash(out, root, in->set->trajectories));
	for (int32_t i = 0; !in->tomograms->is_relion4 && i < in->tomograms->n_series; i++) {
		CYC_TRY(add_hash(out, root, in->tomograms->series[i].star_path));
	}
	CYC_TRY(add_mask(out, in, root, in->mask_align, CYC__ROLES[0]));
	CYC_TRY(add_mask(out, in, root, in->mask_fsc, CYC__ROLES[1]));
	CYC_TRY(cyc__option_files(&files, o));
	for (int32_t i = 0; i < files.n; i++) {
		if (strncmp(files.items[i].name, "mask-", 5) == 0) continue; /* as above */
		CYC_TRY(add_in_role(out, root, files.items[i].value, files.items[i].name));
	}
	CYC_TRY(cyc_images_hash(&images, in->tomograms, in->particles, root, false));
	CYC_TRY(cyc__pairs_add(out, "tilt images (names, sizes, headers)", "%s", cyc__hash_format(images).text));
	bool leaves_out = o->duplicates == CYC_DUPLICATES_REMOVE && in->duplicates.n_left_out > 0;
	uint64_t kept =
		leaves_out ? cyc_hash(CYC_HASH_INIT, in->keep, (size_t)in->particles->n * sizeof *in->keep) : 0;
	CYC_TRY(cyc__pairs_add(out, CYC__LEFT_OUT, "%s", cyc__hash_format(kept).text));
done:
	cyc__pairs_deinit(&files);
	return st;
}

/* Checkpoint of a refinement: everything that the next iteration needs. */
#include "refine3d/refine3d_internal.h"

#include "cyclotomo/record.h"

#include <string.h>

static const char KIND[] = "refinement of poses", CONSEQUENCE[] = "starting from the beginning";
enum { N_SIZES = 4, N_FIRST = 2, MAX_ARRAYS = 16 };

/* The arrays of a checkpoint, in the order of the file. */
static int32_t arrays_of(cyc_record_part out[MAX_ARRAYS], const cyc_refine3d_job *j)
{
	size_t n = (size_t)j->crop_px, n_shells = n / 2 + 1, N = (size_t)j->particles->n;
	const cyc_half_maps *m = j->maps;
	size_t n_optics = (size_t)j->particles->n_optics, n_series = (size_t)j->in.tomograms->n_series;
	int32_t k = 0;
	const cyc_record_part all[] = {
		{ j->refined, sizeof *j->refined, N },
		{ j->best, sizeof *j->best, N },
		{ j->best_shells, sizeof *j->best_shells, N * n_shells },
		{ j->series_scale, sizeof *j->series_scale, 2 * n_series },
		{ j->is_counted, sizeof *j->is_counted, n_series },
		{ j->noise_sum, sizeof *j->noise_sum, n_optics * n_shells },
		{ j->noise_count, sizeof *j->noise_count, n_optics },
		{ j->map_noise, sizeof *j->map_noise, n_shells },
		{ m->fsc, sizeof *m->fsc, n_shells },
		{ m->fsc_unmasked, sizeof *m->fsc_unmasked, n_shells },
		{ m->half[0]->data, sizeof(float), n * n * n },
		{ m->half[1]->data, sizeof(float), n * n * n },
		{ m->merged ? m->merged->data : NULL, sizeof(float), n * n * n },
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i].data) out[k++] = all[i];
	return k;
}

static void sizes_of(int64_t sizes[N_SIZES], const cyc_refine3d_job *j)
{
	sizes[0] = j->particles->n;
	sizes[1] = j->in.tomograms->n_series;
	sizes[2] = j->crop_px;
	sizes[3] = j->maps->merged != NULL;
}

cyc_status cyc_refine3d_checkpoint_path(char **path, const cyc_refine3d_job *j)
{
	return cyc_path_join(path, j->in.out, "temp/iteration.checkpoint");
}

cyc_status cyc_refine3d_checkpoint_write(const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	int64_t sizes[N_SIZES];
	cyc_record_part parts[N_FIRST + MAX_ARRAYS] = { { sizes, sizeof *sizes, N_SIZES },
		                                            { &j->state, sizeof j->state, 1 } };
	sizes_of(sizes, j);
	int32_t n = arrays_of(parts + N_FIRST, j);
	CYC_TRY(cyc_refine3d_checkpoint_path(&path, j));
	CYC_TRY(cyc_record_write(path, KIND, j->hash, parts, N_FIRST + n));
done:
	cyc_free(path);
	return st;
}

static cyc_status read_arrays(bool *is_usable, cyc_refine3d_job *j, const cyc_record *r)
{
	cyc_status st = CYC_OK;
	int64_t sizes[N_SIZES], wanted[N_SIZES];
	cyc_record_part arrays[MAX_ARRAYS];
	*is_usable = cyc_record_has(r, 0, sizeof *sizes, N_SIZES) && cyc_record_has(r, 1, sizeof j->state, 1);
	if (!*is_usable) goto done;
	CYC_TRY(cyc_record_read(r, 0, sizes, sizeof *sizes, N_SIZES));
	sizes_of(wanted, j);
	*is_usable = memcmp(sizes, wanted, sizeof sizes - sizeof *sizes) == 0;
	if (!*is_usable) goto done;
	if (sizes[3] && !j->maps->merged)
		CYC_TRY(cyc_volume_create(&j->maps->merged, j->crop_px, j->crop_px, j->crop_px, j->box.pixel_size_A));
	int32_t n = arrays_of(arrays, j);
	for (int32_t i = 0; i < n; i++)
		*is_usable = *is_usable && cyc_record_has(r, N_FIRST + i, arrays[i].size, arrays[i].count);
	/* All bytes have been checked already, so a damaged checkpoint overwrites nothing. */
	for (int32_t i = 0; i < n && *is_usable; i++)
		CYC_TRY(cyc_record_read(r, N_FIRST + i, (void *)(uintptr_t)arrays[i].data, arrays[i].size,
		                        arrays[i].count));
	if (*is_usable) CYC_TRY(cyc_record_read(r, 1, &j->state, sizeof j->state, 1));
	else cyc_volume_destroy(&j->maps->merged);
done:
	return st;
}

cyc_status cyc_refine3d_checkpoint_read(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_record *r = NULL;
	bool is_usable = false;
	CYC_TRY(cyc_refine3d_checkpoint_path(&path, j));
	CYC_TRY(cyc_record_open(&r, path, KIND, j->hash, CONSEQUENCE, NULL));
	if (!r) goto done;
	CYC_TRY(read_arrays(&is_usable, j, r));
	if (is_usable) cyc_info("continuing after iteration %d (%s)", j->state.iteration, path);
	else cyc_record_warn_unusable(r, CONSEQUENCE);
done:
	cyc_record_close(&r);
	cyc_free(path);
	return st;
}

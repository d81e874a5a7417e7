/* What a reconstruction holds at one time; measured against it by tools/memory_said.py. */
#include "reconstruct/accumulate.h"
#include "reconstruct/reconstruct_internal.h"
#include "refine/prediction_pass.h"

#include <math.h>

double cyc__sum_bytes(int32_t s) { return 16.0 * (double)cyc_half_count3(s); }

double cyc__accumulator_work_bytes(const cyc_project_size *p, int32_t s, int32_t S, bool crops_images,
                                   int n_threads)
{
	double plane = (double)cyc_half_count2(s), each = 12 * plane + 4.0 * (double)cyc_packed_count(s);
	double n = cyc_tilt_batch_capacity((size_t)each), crop = crops_images ? n * 4.0 * s * s + 24 * plane : 0;
	double insertion = cyc_n_workers(s, n_threads) * 16.0 * plane,
		   window = cyc_window_scratch_bytes(S, n_threads);
	return n * each + crop + 60 * plane + cyc_image_bytes(p->image_nx, p->image_ny, S, n_threads) +
	       fmax(insertion, window);
}

double cyc__symmetrise_bytes(const char *symmetry, int32_t s)
{
	cyc_symmetry *group = NULL;
	int32_t n = 1;
	if (symmetry && cyc_symmetry_create(&group, symmetry) == CYC_OK) n = group->n;
	cyc_error_clear();
	cyc_symmetry_destroy(&group);
	/* The result, and where several steps lead there, what lies between them. */
	return n == 1 ? 0 : n == 2 || n == 3 ? cyc__sum_bytes(s) : 2 * cyc__sum_bytes(s);
}

double cyc__finish_bytes(int32_t s, int32_t crop_px, int n_threads)
{
	double transform = cyc_transform_bytes(s);
	return fmax(transform + cyc_map_bytes(s),
	            cyc_map_bytes(s) + fmax(cyc_map_bytes(s), cyc_map_bytes(crop_px))) +
	       cyc_fft3_bytes(s, n_threads) + 1.5 * s * (double)s;
}

double cyc_reconstruct_memory_bytes(const cyc_reconstruct_options *o, const cyc_project_size *p,
                                    const cyc_reconstruct_sizes *z)
{
	cyc_memory_plan m = { 0 };
	/* Images of an extraction are read for some 256 MB of particles at a time, without tilt images. */
	double read = o->from_stacks ? fmin(256e6, 4.0 * p->n_images * z->stack_px * (double)z->stack_px) : 0;
	double more = o->write_sums ? 2 * cyc_map_bytes(z->box_px) : 0;
	cyc_memory_take(&m, CYC_PROGRAM_BYTES + cyc_project_bytes(p));
	cyc_memory_take(&m, 2 * cyc__sum_bytes(z->box_px));
	cyc_memory_pass(&m, cyc__accumulator_work_bytes(p, z->box_px, z->window_px,
	                                                o->crop_images || o->from_stacks, o->n_threads) +
	                        read);
	if (o->no_maps) return m.peak;
	cyc_memory_pass(&m, o->helical_n_asu > 1 ? cyc__sum_bytes(z->box_px)
	                                         : cyc__symmetrise_bytes(o->symmetry, z->box_px));
	cyc_memory_pass(&m, cyc__finish_bytes(z->box_px, z->crop_px, o->n_threads) + more);
	return m.peak;
}

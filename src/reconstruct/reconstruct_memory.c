/* Peak memory of a reconstruction; compared with measurements by tools/memory_said.py. */
#include "cyclotomo/reconstruct.h"

#include "halfmaps/accumulate.h"
#include "halfmaps/sums.h"
#include "reference/prediction_pass.h"

#include <math.h>

double cyc_reconstruct_memory_bytes(const cyc_reconstruct_options *o, const cyc_project_size *p,
                                    const cyc_reconstruct_sizes *z)
{
	cyc_memory_plan m = { 0 };
	/* Images of an extraction are read for some 256 MB of particles at a time, without tilt images. */
	double read = o->from_stacks ? fmin(256e6, 4.0 * p->n_images * z->stack_px * (double)z->stack_px) : 0;
	double more = o->write_sums ? 2 * cyc_map_bytes(z->box_px) : 0;
	cyc_memory_take(&m, CYC_PROGRAM_BYTES + cyc_project_bytes(p));
	double radius = z->box_px / 2;
	cyc_memory_pass(&m, 2 * cyc_sum_bytes(radius) +
	                        cyc_accumulator_work_bytes(p, z->box_px, z->window_px,
	                                                   o->crop_images || o->from_stacks, o->n_threads) +
	                        read);
	if (o->no_maps) return m.peak;
	cyc_memory_pass(
		&m, cyc_sums_to_halves_bytes(radius, o->helical_n_asu > 1 || cyc_symmetry_order(o->symmetry) > 1));
	cyc_memory_take(&m, 2 * cyc_half_sum_bytes(radius));
	cyc_memory_pass(&m, cyc_finish_bytes(z->box_px, z->crop_px, o->n_threads) + more);
	return m.peak;
}

double cyc_reconstruct_device_bytes(const cyc_reconstruct_options *o, const cyc_project_size *p,
                                    const cyc_reconstruct_sizes *z)
{
	double sums = 2 * cyc_sum_bytes(z->box_px / 2);
	return fmax(
		sums + cyc_accumulator_device_bytes(p, z->box_px, z->window_px, o->crop_images || o->from_stacks),
		cyc_finish_device_bytes(z->box_px));
}

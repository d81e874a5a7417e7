/* Peak memory of polishing; checked against measurements by tools/memory_said.py. */
#include "cyclotomo/polish.h"
#include "polish/evidence.h"
#include "polish/image_shift.h"

#include <math.h>

double cyc_polish_memory_bytes(const cyc_polish_options *o, const cyc_project_size *p, int32_t map_px,
                               int32_t radius)
{
	cyc_memory_plan m = { 0 };
	double n = (double)p->most_particles, T = p->most_tilts, plane = (double)cyc_half_count2(o->box_px);
	const cyc_reference_size reference = { map_px, o->box_px, radius };
	/* If it is not known, the reference may be good to Nyquist. */
	int32_t side = cyc_evidence_grid(o->range_px, o->box_px, radius > 0 ? radius : o->box_px / 2 - 1).n;
	double map = 4.0 * side * side,
		   modes = o->do_motion ? fmin(n, o->motion_max_modes > 0 ? o->motion_max_modes : n) : 0;
	double per_tilt = 5 * T, motion = 3 * T * modes;
	cyc_memory_take(&m, CYC_PROGRAM_BYTES + cyc_project_bytes(p) + (o->no_figures ? 0 : CYC_FIGURES_BYTES));
	if (o->do_motion) cyc_memory_take(&m, 24 * p->n_images);
	cyc_reference_memory(&m, &reference, o->n_threads);
	cyc_memory_take(&m, cyc_prediction_pass_bytes(p, o->box_px, false, map, o->n_threads) + 16 * plane);
	/* Of the series in work: correlation maps, linearised pairs; first the search for tilts that are far off,
	 * then the equations of tilts and of motion. */
	cyc_memory_take(&m, p->most_pairs * (map + (double)(sizeof(cyc_pair) + sizeof(cyc_linear_pair))));
	cyc_memory_pass(&m, cyc_image_shift_bytes(p->image_nx, p->image_ny, o->box_px, o->n_threads));
	cyc_memory_pass(&m, 16 * per_tilt * per_tilt + 8 * (3 * n * per_tilt + 8 * motion + 12 * T * n) +
	                        (o->do_motion ? 24 * n * n : 0));
	return m.peak;
}

double cyc_polish_device_bytes(const cyc_polish_options *o, const cyc_project_size *p, int32_t map_px,
                               int32_t radius, size_t batch_bytes)
{
	const cyc_reference_size reference = { map_px, o->box_px, radius };
	int32_t most = radius > 0 ? radius : o->box_px / 2 - 1;
	double side = cyc_evidence_grid(o->range_px, o->box_px, most).n, map = 4 * side * side,
		   plane = (double)cyc_half_count2(o->box_px), each = 20 * plane + map, rows = 2 * most + 1;
	double n = cyc_tilt_batch_capacity((size_t)each, p->most_particles, batch_bytes);
	/* Of each image, row sums of its correlation. */
	return cyc_reference_bytes(&reference) +
	       cyc_prediction_pass_device_bytes(p, o->box_px, false, map, batch_bytes) + 8 * plane +
	       n * (rows * (8 * side + 24) + 8 * CYC_N_CURVE);
}

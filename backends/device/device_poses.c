/* What images say at poses. */
#include "backends/device/device.h"
#include "backends/kernels/poses.h"

#include <string.h>

static cyc_pose_inputs inputs_of(const cyc_pose_images *images)
{
	cyc_pose_inputs in = { .fx = cyc_buffer_address(images->fx),
		                   .fy = cyc_buffer_address(images->fy),
		                   .shell = cyc_buffer_address(images->shell),
		                   .data = cyc_buffer_address(images->data),
		                   .weight = cyc_buffer_address(images->weight),
		                   .m = images->m,
		                   .box_px = images->box_px };
	const float *spread = cyc_buffer_address(images->spread);
	for (int32_t i = 0; i < images->n_maps; i++) {
		in.maps[i] = cyc_buffer_address(images->maps[i]);
		if (images->has_spread[i]) in.spread[i] = spread + (size_t)i * ((size_t)images->box_px / 2 + 1);
	}
	return in;
}

cyc_status cyc_pose_terms_device(void *self, double *sums, const cyc_pose_images *images,
                                 const cyc_pose_row *rows, int64_t n)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	cyc_pose_terms_args a = { .sums = sums, .in = inputs_of(images) };
	cyc_pose_ramps_args ramps = { .n = n, .box_px = images->box_px };
	if (n == 0) goto done;
	for (int64_t i = 0; i < n; i++)
		if (rows[i].reach > a.reach) a.reach = rows[i].reach;
	int64_t width = 3 * (int64_t)a.reach + 2;
	CYC_TRY(cyc__device_put(&a.rows, d, CYC_SCRATCH_A, rows, (size_t)n * sizeof *rows));
	CYC_TRY(cyc__device_scratch(&ramps.ramps, d, CYC_SCRATCH_B, (size_t)(n * width) * sizeof(cyc_pair)));
	ramps.rows = a.rows;
	ramps.reach = a.reach;
	a.ramps = ramps.ramps;
	CYC_TRY(cyc__device_launch(d, pose_ramps, &ramps, cyc_n_blocks(n * width, CYC_POSE_RAMPS_LANES)));
	CYC_TRY(cyc__device_launch(d, pose_terms, &a, n));
done:
	return st;
}

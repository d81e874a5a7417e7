#include "reference/reference.h"

#include <math.h>

int32_t cyc_reference_grid(int32_t map_px, int32_t box_px)
{
	return cyc_fft_good_size(box_px > 2 * map_px ? box_px : 2 * map_px);
}

double cyc_reference_bytes(int32_t map_px, int32_t box_px)
{
	return 2 * (double)cyc_reference_count(cyc_reference_grid(map_px, box_px)) * (double)sizeof(cyc_cfloat);
}

double cyc_reference_scratch_bytes(int32_t map_px, int32_t box_px)
{
	int32_t m = cyc_reference_grid(map_px, box_px);
	return cyc_map_bytes(m) + (double)cyc_half_count3(m) * (double)sizeof(cyc_cfloat);
}

void cyc_reference_memory(cyc_memory_plan *m, int32_t map_px, int32_t box_px, int n_threads)
{
	double maps = 2 * cyc_map_bytes(map_px),
		   transforms = 2 * (double)cyc_half_count3(map_px) * (double)sizeof(cyc_cfloat);
	cyc_memory_take(m, maps);
	cyc_memory_pass(m, fmax(transforms + cyc_fft3_bytes(map_px, n_threads), cyc_map_bytes(map_px)));
	cyc_memory_take(m, cyc_reference_bytes(map_px, box_px));
	cyc_memory_take(
		m, cyc_fft3_bytes(cyc_reference_grid(map_px, box_px), n_threads)); /* the backend keeps its plan */
	cyc_memory_pass(m, cyc_reference_scratch_bytes(map_px, box_px));
	cyc_memory_give(m, maps);
}

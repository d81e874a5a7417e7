#include "reference/reference.h"

#include <math.h>

int32_t cyc_reference_grid(int32_t map_px, int32_t box_px)
{
	return cyc_fft_good_size(box_px > 2 * map_px ? box_px : 2 * map_px);
}

int32_t cyc_reference_reach(int32_t m, int32_t box_px, int32_t radius)
{
	return (int32_t)ceil((radius + 3.0) * m / box_px);
}

int32_t cyc_reference_edge(int32_t m, int32_t reach) { return 2 * (reach + 1) < m ? 2 * (reach + 1) : m; }

int32_t cyc_reference_radius(double frequency_invA, int32_t box_px, double pixel_size_A)
{
	/* As cyc_reference_load() does: the last shell is the one before Nyquist. */
	return (int32_t)ceil(fmin(frequency_invA * box_px * pixel_size_A, box_px / 2 - 1) - 1e-6);
}

static int32_t reach_of(const cyc_reference_size *z)
{
	int32_t most = z->box_px / 2 - 1, radius = z->radius > 0 && z->radius < most ? z->radius : most;
	return cyc_reference_reach(cyc_reference_grid(z->map_px, z->box_px), z->box_px, radius);
}

double cyc_reference_bytes(const cyc_reference_size *z)
{
	int32_t edge = cyc_reference_edge(cyc_reference_grid(z->map_px, z->box_px), reach_of(z));
	return 2 * (double)cyc_reference_count(edge) * (double)sizeof(cyc_cfloat);
}

double cyc_reference_scratch_bytes(const cyc_reference_size *z, int n_threads)
{
	return cyc_fft3_padded_bytes(z->map_px, cyc_reference_grid(z->map_px, z->box_px), reach_of(z), n_threads);
}

void cyc_reference_memory(cyc_memory_plan *m, const cyc_reference_size *z, int n_threads)
{
	double maps = 2 * cyc_map_bytes(z->map_px),
		   transforms = 2 * (double)cyc_half_count3(z->map_px) * (double)sizeof(cyc_cfloat);
	cyc_memory_take(m, maps);
	cyc_memory_pass(m, fmax(transforms + cyc_fft3_bytes(z->map_px, n_threads), cyc_map_bytes(z->map_px)));
	cyc_memory_take(m, cyc_reference_bytes(z));
	cyc_memory_pass(m, cyc_reference_scratch_bytes(z, n_threads));
	cyc_memory_give(m, maps);
}

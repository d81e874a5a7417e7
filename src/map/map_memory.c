/* Peak memory of post-processing and masks; compared with measurements by tools/memory_said.py. */
#include "map_internal.h"

double cyc__random_fsc_bytes(int32_t n, int n_draws, int n_threads)
{
	int n_workers = cyc__random_fsc_workers(n, n_draws, n_threads);
	double sphere = 8.0 * 2.0 / 3.0 * CYC_PI * (double)n * n * n / 8.0, sums = 8.0 * 8.0 * n * (n / 2 + 1.0);
	return 2.0 * sphere + n_workers * (cyc_transform_bytes(n) + cyc_map_bytes(n) + sphere + sums +
	                                   cyc_fft3_bytes(n, n_workers > 1 ? 1 : n_threads));
}

/* Local resolution, with both transforms and the mask beside it. */
static double local_resolution_bytes(const cyc_postprocess_options *o, int32_t n, double pixel_size_A)
{
	double radius_A = o->locres_mask_radius_A > 0.0 ? o->locres_mask_radius_A : 0.5 * o->locres_sampling_A;
	double edge_A = o->locres_edge_A > 0.0 ? o->locres_edge_A : o->locres_sampling_A;
	double reach = (radius_A + edge_A) / pixel_size_A,
		   step = fmax(floor(o->locres_sampling_A / pixel_size_A + 0.5), 1.0);
	double width = fmin(2.0 * reach + 1.0, 1e4),
		   points = CYC_PI / 6.0 * pow(fmax(n - 2.0 * radius_A / pixel_size_A, 0.0) / step, 3.0);
	int32_t n_sub = cyc_fft_good_size((int32_t)fmax(width, 32.0));
	int n_workers = cyc_n_workers(INT64_MAX, o->n_threads);
	double worker = cyc_map_bytes(n_sub) + 2.0 * cyc_transform_bytes(n_sub) + cyc_fft3_bytes(n_sub, 1) +
	                4.0 * n * (double)n;
	double all = cyc_map_bytes(width) + 40.0 * pow(n / step + 1.0, 3.0) + 4.0 * points * (n / 2 + 1.0) +
	             n_workers * worker;
	return all + fmax(4.0 * cyc_map_bytes(n) + cyc_transform_bytes(n),
	                  4.0 * cyc_map_bytes(n) + cyc_transform_bytes(n) + 16.0 * 0.75 * n * (double)n);
}

double cyc_postprocess_memory_bytes(const cyc_postprocess_options *o, int32_t n, double pixel_size_A)
{
	cyc_memory_plan m = { 0 };
	bool has_mask = o->mask != NULL;
	int n_draws = o->n_random_draws > 0 ? o->n_random_draws : 1;
	double sectors = o->compare_to ? 8.0 * 4.0 * 64.0 * n * (n / 2 + 1.0) / 8.0 : 0.0;
	cyc_memory_take(&m, CYC_PROGRAM_BYTES + cyc_fft3_bytes(n, o->n_threads) + sectors);
	cyc_memory_take(&m, 2.0 * cyc_transform_bytes(n) + (has_mask ? cyc_map_bytes(n) : 0.0));
	/* While they are read: a map, its transforms under the mask, and the directions of flattened amplitudes.
	 */
	cyc_memory_pass(
		&m, (has_mask ? 2.0 * cyc_transform_bytes(n) : 0.0) +
				fmax(cyc_map_bytes(n), o->amplitude_correlation ? 1.5 * cyc_transform_bytes(n) : 0.0));
	if (has_mask) cyc_memory_pass(&m, cyc__random_fsc_bytes(n, n_draws, o->n_threads));
	if (o->compare_to) cyc_memory_pass(&m, 2.0 * cyc_transform_bytes(n) + cyc_map_bytes(n));
	cyc_memory_pass(&m, cyc_transform_bytes(n) + cyc_map_bytes(n));
	if (o->local_resolution) cyc_memory_pass(&m, local_resolution_bytes(o, n, pixel_size_A));
	return m.peak;
}

double cyc_mask_memory_bytes(const cyc_mask_options *o, int32_t n)
{
	cyc_memory_plan m = { 0 };
	bool has_lowpass = o->has_lowpass ? o->lowpass_A > 0.0 : !o->has_threshold;
	cyc_memory_take(&m, CYC_PROGRAM_BYTES + cyc_map_bytes(n));
	if (o->denovo) return m.peak;
	if (has_lowpass) cyc_memory_pass(&m, cyc_transform_bytes(n) + cyc_fft3_bytes(n, o->n_threads));
	cyc_memory_take(&m, 0.25 * cyc_map_bytes(n)); /* one byte per voxel: inside or not */
	if (o->combine_with) cyc_memory_pass(&m, cyc_map_bytes(n));
	cyc_memory_pass(&m, 2.0 * cyc_map_bytes(n)); /* squared distances, and those of the axis before */
	return m.peak;
}

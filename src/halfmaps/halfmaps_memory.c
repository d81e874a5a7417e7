/* Peak memory of adding images to sums, and of making maps from them. */
#include "halfmaps/accumulate.h"
#include "reference/prediction_pass.h"

#include <math.h>

double cyc_accumulator_work_bytes(const cyc_project_size *p, int32_t s, int32_t S, bool crops_images,
                                  int n_threads)
{
	double plane = (double)cyc_half_count2(s), packed = 4.0 * (double)cyc_packed_count(s);
	int32_t n = cyc_tilt_batch_capacity((size_t)(12 * plane + packed), p->most_particles, CYC_BATCH_BYTES);
	double crop = crops_images ? n * 4.0 * s * s + 24 * plane : 0;
	/* Room for more slices than there are is never written to. */
	double waiting = fmin(cyc_accumulator_waiting(s, n), p->n_images);
	return n * 12 * plane + waiting * packed + crop + 60 * plane +
	       cyc_image_bytes(p->image_nx, p->image_ny, S, n_threads) + cyc_window_scratch_bytes(S, n_threads);
}

double cyc_finish_bytes(int32_t s, int32_t crop_px, int n_threads)
{
	double transform = cyc_transform_bytes(s);
	return fmax(transform + cyc_map_bytes(s),
	            cyc_map_bytes(s) + fmax(cyc_map_bytes(s), cyc_map_bytes(crop_px))) +
	       cyc_fft3_bytes(s, n_threads) + 1.5 * s * (double)s;
}

/* ---------------------------------------------------------------- of a device */

double cyc_accumulator_device_bytes(const cyc_project_size *p, int32_t s, int32_t S, bool crops_images)
{
	double plane = (double)cyc_half_count2(s), packed = 4.0 * (double)cyc_packed_count(s), side = s + 1;
	int32_t n = cyc_tilt_batch_capacity((size_t)(12 * plane + packed), p->most_particles, CYC_BATCH_BYTES);
	double crop = crops_images ? n * 4.0 * s * s + 8 * plane : 0;
	return n * 12 * plane + cyc_accumulator_waiting(s, n) * packed + crop + 24 * plane + 8 * side * side +
	       cyc_window_device_bytes(p, S, s, n);
}

double cyc_finish_device_bytes(int32_t s)
{
	/* A transform, a map, and what cuFFT takes for its own work. */
	return 2 * cyc_transform_bytes(s) + cyc_map_bytes(s);
}

#include "reference/prediction_pass.h"

#include <math.h>

double cyc_window_scratch_bytes(int32_t window_px, int n_threads)
{
	double area = (double)window_px * window_px;
	/* The weights of circle and corners, and of each thread a window with its transform. */
	return 8 * area + cyc_n_workers(CYC_TILT_BATCH_MOST, n_threads) * 8.1 * area;
}

double cyc_prediction_pass_bytes(const cyc_project_size *p, int32_t window_px, bool has_quadrature,
                                 double more_bytes, int n_threads)
{
	double plane = (double)cyc_half_count2(window_px), each = plane * (has_quadrature ? 24 : 20) + more_bytes;
	double n = cyc_tilt_batch_capacity((size_t)each, p->most_particles, CYC_BATCH_BYTES),
		   batch = n * more_bytes;
	/* Windows and predictions, CTFs and their quadratures: of large arrays the pages that particles are
	 * written to. */
	const double array[] = { 8, 8, 4, has_quadrature ? 4 : 0 }, page = 2 << 20;
	for (size_t k = 0; k < sizeof array / sizeof *array; k++) {
		double one = array[k] * plane, written = ceil((double)p->most_particles * one / page) * page;
		batch += n * one < CYC_MAPPED_BYTES ? n * one : fmin(n * one, written);
	}
	/* Tables of the CTF, on both sides. */
	return batch + 48 * plane + cyc_image_bytes(p->image_nx, p->image_ny, window_px, n_threads) +
	       cyc_window_scratch_bytes(window_px, n_threads);
}

/* ---------------------------------------------------------------- of a device */

double cyc_window_device_bytes(const cyc_project_size *p, int32_t S, int32_t s, double n)
{
	double edge = S > s ? S : s, plane = 8 * (double)cyc_half_count2((int32_t)edge);
	/* Planes and their transforms, up to 9/8 as many as there are images, and what cuFFT takes for its own
	 * work: about as much as the transforms. Circles, corners and ramps. */
	return 4.0 * p->image_nx * p->image_ny + 1.125 * n * (4 * edge * edge + 2 * plane) + 12 * edge * edge +
	       12 * n * edge;
}

double cyc_prediction_pass_device_bytes(const cyc_project_size *p, int32_t window_px, bool has_quadrature,
                                        double more_bytes, size_t batch_bytes)
{
	double plane = (double)cyc_half_count2(window_px), each = plane * (has_quadrature ? 24 : 20) + more_bytes;
	double n = cyc_tilt_batch_capacity((size_t)each, p->most_particles, batch_bytes);
	return n * each + 20 * plane + cyc_window_device_bytes(p, window_px, window_px, n);
}

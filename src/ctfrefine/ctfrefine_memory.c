/* Peak memory of CTF refinement; checked against measurements by tools/memory_said.py. */
#include "cyclotomo/ctfrefine.h"
#include "ctfrefine/statistics.h"
#include "reference/prediction_pass.h"

#include <math.h>

double cyc_ctfrefine_memory_bytes(const cyc_ctfrefine_options *o, const cyc_project_size *p, int32_t map_px,
                                  int32_t radius)
{
	cyc_memory_plan m = { 0 };
	int n_threads = o->n_threads;
	bool has_parts = o->do_even_aberrations || o->do_odd_aberrations;
	const cyc_reference_size reference = { map_px, o->box_px, radius };
	double plane = (double)cyc_half_count2(o->box_px), most = radius > 0 ? radius + 1 : 0.5 * o->box_px;
	/* Coefficients of the half plane up to the resolution. */
	double n = 0.5 * CYC_PI * most * most, tilt = 4.0 * CYC_N_SUMS * n * (has_parts ? 3 : 1),
		   series = tilt * p->most_tilts;
	double n_learning =
		fmin(fmin(p->n_series, CYC_MAX_LEARNING_SERIES), fmax(floor(CYC_LEARNING_BYTES / series), 1));
	cyc_memory_take(&m, CYC_PROGRAM_BYTES + cyc_project_bytes(p) + (o->no_figures ? 0 : CYC_FIGURES_BYTES));
	cyc_reference_memory(&m, &reference, n_threads);
	cyc_memory_take(&m, cyc_prediction_pass_bytes(
							p, o->box_px, true,
							o->do_magnification ? (double)cyc_magnification_bytes(o->box_px) : 0, n_threads));
	cyc_memory_take(&m, (has_parts ? 2 : 1) * 8.0 * CYC_N_SUMS * plane + 28 * n);
	cyc_memory_take(&m, n_learning * series);
	cyc_memory_pass(&m, cyc_n_workers(p->most_tilts, n_threads) * 40 * n);
	return m.peak;
}

double cyc_ctfrefine_device_bytes(const cyc_ctfrefine_options *o, const cyc_project_size *p, int32_t map_px,
                                  int32_t radius, size_t batch_bytes)
{
	bool has_parts = o->do_even_aberrations || o->do_odd_aberrations;
	const cyc_reference_size reference = { map_px, o->box_px, radius };
	double plane = (double)cyc_half_count2(o->box_px);
	return cyc_reference_bytes(&reference) + (has_parts ? 2 : 1) * 8.0 * CYC_N_SUMS * plane +
	       cyc_prediction_pass_device_bytes(
			   p, o->box_px, true, o->do_magnification ? (double)cyc_magnification_bytes(o->box_px) : 0,
			   batch_bytes);
}

/* Peak memory of a simulation; compared with measurements by tools/memory_said.py. */
#include "simulate/simulate_internal.h"

#include <math.h>

/* Of a residue, by the density of its packing: backbone and side chain, and the C-alpha once more. */
static const double RESIDUES_PER_A3 = 0.8 / 134, ATOMS_OF_RESIDUE = 8;

double cyc_simulate_memory_bytes(const cyc_simulate_options *o)
{
	cyc_memory_plan m = { 0 };
	int32_t n = o->box_px, nx = o->image_nx, ny = o->image_ny > 0 ? o->image_ny : o->image_nx,
			S = cyc__sim_stamp_px(o);
	double image = (double)nx * ny, radius_A = o->radius_A > 0 ? o->radius_A : 0.3 * n * o->pixel_size_A;
	double fine = cyc_map_bytes(2 * n) + cyc_transform_bytes(2 * n);
	double residues = 4.0 / 3 * CYC_PI * pow(radius_A, 3) * RESIDUES_PER_A3;
	int n_threads = cyc_n_workers(o->n_tilts, o->n_threads);
	cyc_memory_take(&m, CYC_PROGRAM_BYTES +
	                        residues * (ATOMS_OF_RESIDUE * sizeof(cyc__sim_atom) + sizeof(cyc_vec3)));
	cyc_memory_take(&m, 24.0 * o->n_series * o->n_particles * (o->n_tilts + 10.0));
	cyc_memory_take(&m, cyc_map_bytes(n));
	cyc_memory_pass(&m, fine + cyc_fft3_bytes(2 * n, o->n_threads));
	/* For rendering the whole transform, with a margin, takes the place of the map that it is made of. */
	cyc_memory_pass(&m, fine + cyc_fft3_bytes(2 * n, n_threads));
	double full = cyc__sim_slicer_bytes(n), freed = cyc_map_bytes(2 * n);
	cyc_memory_pass(&m, full + (freed < CYC_MAPPED_BYTES ? freed : 0) + cyc_transform_bytes(2 * n) +
	                        cyc_fft3_bytes(2 * n, n_threads));
	double small = 12.0 * n * (double)n, stamp = 8.0 * S * (double)S + 2.0 * S * S,
		   each = small + stamp + 8 * image;
	double made = 4 * image * (o->as_stack ? o->n_tilts : n_threads);
	cyc_memory_take(&m, full + n_threads * each + made);
	return m.peak;
}

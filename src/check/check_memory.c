/* Peak memory of a check; compared with measurements by tools/memory_said.py. */
#include "check/check_internal.h"

#include <math.h>

int32_t cyc_check_box(const cyc_check_options *o, int32_t map_px)
{
	/* The CTF spreads a particle over more than its map. */
	return o->box_px > 0 ? o->box_px : cyc_fft_good_size(3 * map_px / 2);
}

/* Comparing with the images. */
static void add_comparison(cyc_memory_plan *m, const cyc_check_options *o, const cyc_project_size *p,
                           int32_t map_px, int32_t radius)
{
	int32_t s = cyc_check_box(o, map_px);
	const cyc_reference_size reference = { map_px, s, radius };
	double before = m->now, plane = (double)cyc_half_count2(s), images = p->most_pairs;
	bool has_stretch = !o->skip_stretch && p->n_series > 1;
	if (o->max_images > 0) images = fmin(images, (double)o->max_images + p->most_tilts);
	cyc_reference_memory(m, &reference, o->n_threads);
	cyc_memory_take(m, cyc_prediction_pass_bytes(p, s, true, has_stretch ? 2 * plane * sizeof(cyc_cfloat) : 0,
	                                             o->n_threads));
	/* Tables of one image; sums of all images of a series, whose resolution is not known yet. */
	cyc_memory_take(m, plane * (2 * sizeof(float) + 2 * sizeof(cyc_cfloat) + sizeof(int16_t)) +
	                       (double)p->n_particles * sizeof(cyc_particle));
	cyc_memory_take(m, images * (0.25 * s * CYC_RING_N * sizeof(float) + sizeof(double)));
	cyc_memory_give(m, m->now - before);
}

double cyc_check_memory_bytes(const cyc_check_options *o, const cyc_project_size *p, int32_t map_px,
                              int32_t radius, int32_t mask_px)
{
	cyc_memory_plan m = { 0 };
	cyc_memory_take(&m, CYC_PROGRAM_BYTES + cyc_project_bytes(p));
	cyc_memory_pass(&m, cyc_map_bytes(mask_px));
	if (!o->is_deep) return m.peak;
	cyc_memory_pass(&m, cyc_n_workers(p->most_tilts, o->n_threads) * 4.0 * p->image_nx * (double)p->image_ny);
	if (map_px <= 0) return m.peak;
	add_comparison(&m, o, p, map_px, radius);
	/* Density against detail: both halves, filtered, with a transform in work. */
	cyc_memory_pass(&m, 5 * cyc_map_bytes(map_px) + cyc_transform_bytes(map_px) +
	                        cyc_fft3_bytes(map_px, o->n_threads));
	return m.peak;
}

double cyc_check_device_bytes(const cyc_check_options *o, const cyc_project_size *p, int32_t map_px,
                              int32_t radius, size_t batch_bytes)
{
	int32_t s = cyc_check_box(o, map_px);
	const cyc_reference_size reference = { map_px, s, radius };
	double plane = (double)cyc_half_count2(s);
	bool has_stretch = !o->skip_stretch && p->n_series > 1;
	return cyc_reference_bytes(&reference) +
	       cyc_prediction_pass_device_bytes(p, s, true, has_stretch ? 2 * plane * sizeof(cyc_cfloat) : 0,
	                                        batch_bytes);
}

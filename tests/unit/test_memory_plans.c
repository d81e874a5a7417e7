/* What the plans of memory say, where it follows from the sizes of what is held. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cycle/needs.h"
#include "run/options.h"

#include "cyclotomo/joint.h"

static const cyc_project_size SIZE = { .n_series = 6,
	                                   .n_particles = 300,
	                                   .most_particles = 50,
	                                   .most_tilts = 41,
	                                   .n_images = 300 * 41,
	                                   .most_pairs = 50 * 41,
	                                   .image_nx = 1000,
	                                   .image_ny = 900 };

/* Tilt images that are kept between readings are float pixels; no more of them than fit into the cache. */
static void kept_images_are_their_pixels(void **state)
{
	(void)state;
	static const double SPECTRA = 1.01; /* the noise of each image is kept with it: little */
	cyc_refine_tilts_options o;
	cyc_refine_tilts_options_default(&o);
	o.box_px = 64;
	o.cache_GB = 0;
	double none = cyc_refine_tilts_memory_bytes(&o, &SIZE, 64, 0), pixels = 4.0 * 1000 * 900 * 6 * 41;
	o.cache_GB = 100;
	double all = cyc_refine_tilts_memory_bytes(&o, &SIZE, 64, 0) - none;
	assert_true(all >= pixels && all < SPECTRA * pixels);
	o.cache_GB = 0.25;
	assert_true(fabs(cyc_refine_tilts_memory_bytes(&o, &SIZE, 64, 0) - none - 0.25e9) < 1);
}

/* A lower resolution never needs more; one that is not known is the finest. */
static void memory_follows_the_resolution(void **state)
{
	(void)state;
	cyc_polish_options p;
	cyc_ctfrefine_options c;
	cyc_refine3d_options r;
	cyc_polish_options_default(&p);
	cyc_ctfrefine_options_default(&c);
	cyc_refine3d_options_default(&r);
	p.box_px = c.box_px = 256;
	cyc_refine3d_sizes z = {
		.window_px = 256, .box_px = 256, .crop_px = 192, .map_px = 192, .pixel_size_A = 2, .n_groups = 8
	};
	double last[3] = { 0 };
	for (int32_t radius = 10; radius <= 127; radius += 13) {
		z.radius = radius;
		const double now[3] = { cyc_polish_memory_bytes(&p, &SIZE, 192, radius),
			                    cyc_ctfrefine_memory_bytes(&c, &SIZE, 192, radius),
			                    cyc_refine3d_memory_bytes(&r, &SIZE, &z) };
		for (int k = 0; k < 3; k++) {
			assert_true(now[k] >= last[k]);
			last[k] = now[k];
		}
	}
	z.radius = 0;
	assert_true(fabs(last[0] - cyc_polish_memory_bytes(&p, &SIZE, 192, 0)) < 1e6);
	assert_true(fabs(last[1] - cyc_ctfrefine_memory_bytes(&c, &SIZE, 192, 0)) < 1e6);
	assert_true(fabs(last[2] - cyc_refine3d_memory_bytes(&r, &SIZE, &z)) < 1e6);
	assert_true(last[0] > 1.5 * cyc_polish_memory_bytes(&p, &SIZE, 192, 10));
}

/* A step of a cycle needs what its job says of itself, with the same options. */
static void steps_need_what_their_jobs_need(void **state)
{
	(void)state;
	cyc__inputs in = { .size = SIZE, .crop_px = 64, .pixel_size_A = 2, .most_tilts = 41 };
	cyc_cycle_options o;
	cyc__need need = { 0 };
	cyc_cycle_options_default(&o);
	o.box_px = 96;
	o.skip_refine = true; /* else the particles are judged first, and this project has none */
	const cyc_ctfrefine_options c = cyc__ctfrefine_options(&o);
	cyc__need_ctfrefine(&need, 1, &in, &o);
	assert_true(fabs(need.memory - cyc_ctfrefine_memory_bytes(&c, &SIZE, 64, 0)) < 1);
	const cyc_polish_options p = cyc__polish_options(&o);
	cyc__need_polish(&need, 1, &in, &o);
	assert_true(fabs(need.memory - cyc_polish_memory_bytes(&p, &SIZE, 64, 0)) < 1);
	const cyc_reconstruct_options r = cyc__reconstruct_options(&o);
	const cyc_reconstruct_sizes z = { 96, 96, 64, 0 };
	cyc__need_reconstruct(&need, 1, &in, &o);
	assert_true(fabs(need.memory - cyc_reconstruct_memory_bytes(&r, &SIZE, &z)) < 1);
	/* At the start there is no other state, whose maps and sums take memory. */
	cyc_postprocess_options pp = cyc__postprocess_options(&o);
	cyc__need_postprocess(&need, 0, &in, &o);
	assert_true(fabs(need.memory - cyc_postprocess_memory_bytes(&pp, 64, 2)) < 1);
	double alone = need.memory;
	pp.compare_to = "other.star";
	cyc__need_postprocess(&need, 1, &in, &o);
	assert_true(fabs(need.memory - cyc_postprocess_memory_bytes(&pp, 64, 2)) < 1);
	assert_true(need.memory > alone && need.first == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(kept_images_are_their_pixels),
		                                cmocka_unit_test(memory_follows_the_resolution),
		                                cmocka_unit_test(steps_need_what_their_jobs_need) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What the plans of memory say, where it follows from the sizes of what is held. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cyclotomo/joint.h"

/* Tilt images that are kept between readings are float pixels; no more of them than fit into the cache. */
static void kept_images_are_their_pixels(void **state)
{
	(void)state;
	static const double SPECTRA = 1.01; /* the noise of each image is kept with it: little */
	const cyc_project_size size = { .n_series = 6,
		                            .n_particles = 300,
		                            .most_particles = 50,
		                            .most_tilts = 41,
		                            .n_images = 300 * 41,
		                            .most_pairs = 50 * 41,
		                            .image_nx = 1000,
		                            .image_ny = 900 };
	cyc_refine_tilts_options o;
	cyc_refine_tilts_options_default(&o);
	o.box_px = 64;
	o.cache_GB = 0;
	double none = cyc_refine_tilts_memory_bytes(&o, &size, 64), pixels = 4.0 * 1000 * 900 * 6 * 41;
	o.cache_GB = 100;
	double all = cyc_refine_tilts_memory_bytes(&o, &size, 64) - none;
	assert_true(all >= pixels && all < SPECTRA * pixels);
	o.cache_GB = 0.25;
	assert_true(fabs(cyc_refine_tilts_memory_bytes(&o, &size, 64) - none - 0.25e9) < 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(kept_images_are_their_pixels) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

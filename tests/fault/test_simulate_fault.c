/* The simulator refuses what it cannot make, writes nothing then, and survives every lack of memory. */
#include "cyclotomo/simulate.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "temp_dir.h"

static cyc_simulate_options tiny(const char *out)
{
	cyc_simulate_options o;
	cyc_simulate_options_default(&o);
	cyc_simulate_options_preset(&o, CYC_SIMULATE_TINY);
	o.out_dir = out;
	return o;
}

static void refuse(cyc_simulate_options o, cyc_status wanted, const char *text)
{
	char path[160];
	snprintf(path, sizeof path, "%s/refused", temp_dir);
	o.out_dir = path;
	cyc_error_clear();
	cyc_status st = cyc_simulate_run(NULL, &o);
	if (st != wanted)
		fail_msg("wanted %s, got %s (%s) for '%s'", cyc_status_name(wanted), cyc_status_name(st),
		         cyc_error_get()->message, text);
	if (!strstr(cyc_error_get()->message, text))
		fail_msg("'%s' does not say '%s'", cyc_error_get()->message, text);
	assert_false(cyc_path_exists(path));
}

#define REFUSE(member, value, status, text)                                                                  \
	do {                                                                                                     \
		cyc_simulate_options o_ = tiny("");                                                                  \
		o_.member = (value);                                                                                 \
		refuse(o_, (status), (text));                                                                        \
	} while (0)

static void options_out_of_range_are_refused(void **state)
{
	(void)state;
	REFUSE(n_series, 0, CYC_E_USAGE, "tilt series");
	REFUSE(n_particles, 0, CYC_E_USAGE, "particles");
	REFUSE(n_tilts, 0, CYC_E_USAGE, "tilts");
	REFUSE(n_tilts, 99, CYC_E_USAGE, "80 degrees");
	REFUSE(image_nx, 8, CYC_E_USAGE, "px");
	REFUSE(box_px, 33, CYC_E_USAGE, "even");
	REFUSE(pixel_size_A, 0, CYC_E_USAGE, "pixel size");
	REFUSE(pixel_size_A, (double)NAN, CYC_E_USAGE, "pixel size");
	REFUSE(hand, 0, CYC_E_USAGE, "hand");
	REFUSE(dose_e_per_A2, 0, CYC_E_USAGE, "dose");
	REFUSE(signal, -1, CYC_E_USAGE, "signal");
	REFUSE(error_defocus_A, (double)NAN, CYC_E_USAGE, "defocus error");
	REFUSE(amplitude_contrast_frac, 1, CYC_E_USAGE, "amplitude contrast");
	REFUSE(defocus_min_A, 1e6, CYC_E_USAGE, "defocus");
	REFUSE(symmetry, "X3", CYC_E_USAGE, "X3");
	REFUSE(radius_A, 10, CYC_E_USAGE, "too small");
	REFUSE(radius_A, 90, CYC_E_USAGE, "does not fit into a box");
	REFUSE(thickness_A, 50, CYC_E_USAGE, "ice of 50");
	REFUSE(n_particles, 500, CYC_E_DATA, "particles of radius");
	REFUSE(edge_px, 70, CYC_E_DATA, "fit into tilt series 1");
	assert_true(cyc_error_get()->hint[0] != '\0');
	cyc_simulate_options o = tiny("");
	assert_int_equal(cyc_simulate_run(NULL, &o), CYC_E_USAGE);
}

static void existing_project_is_kept(void **state)
{
	(void)state;
	char path[160], file[200], *data = NULL;
	size_t n;
	snprintf(path, sizeof path, "%s/twice", temp_dir);
	snprintf(file, sizeof file, "%s/optimisation_set.star", path);
	cyc_simulate_options o = tiny(path);
	assert_int_equal(cyc_write_file(file, "mine", 4), CYC_OK);
	assert_int_equal(cyc_simulate_run(NULL, &o), CYC_E_IO);
	assert_non_null(strstr(cyc_error_get()->hint, "--force"));
	assert_int_equal(cyc_read_file(&data, &n, file), CYC_OK);
	assert_string_equal(data, "mine");
	cyc_free(data);
	o.force = true;
	assert_int_equal(cyc_simulate_run(NULL, &o), CYC_OK);
	assert_int_equal(cyc_read_file(&data, &n, file), CYC_OK);
	assert_non_null(strstr(data, "rlnTomoParticlesFile"));
	cyc_free(data);
}

static void unwritable_folder_is_an_error(void **state)
{
	(void)state;
	cyc_simulate_options o = tiny("/proc/nowhere");
	assert_int_equal(cyc_simulate_run(NULL, &o), CYC_E_IO);
}

static void memory_failures_are_reported(void **state)
{
	(void)state;
	char path[160], set[200];
	snprintf(path, sizeof path, "%s/memory", temp_dir);
	snprintf(set, sizeof set, "%s/optimisation_set.star", path);
	cyc_simulate_options o = tiny(path);
	o.image_nx = o.image_ny = 128;
	o.box_px = 24;
	o.radius_A = 30;
	o.n_tilts = 2;
	o.n_particles = 1;
	o.symmetry = "C1";
	o.motion_A = 0.1;
	for (int pass = 0; pass < 2; pass++) {
		o.as_stack = pass == 1;
		o.force = true;
		int64_t before = cyc_alloc_count();
		assert_int_equal(cyc_simulate_run(NULL, &o), CYC_OK);
		int64_t n = cyc_alloc_count() - before;
		assert_int_equal(unlink(set), 0);
		o.force = false;
		/* Every early allocation, then samples of the many of the STAR files. */
		for (int64_t k = 1; k <= n; k += k < 70 ? 1 : 1 + n / 20) {
			cyc_alloc_fail_at(k);
			cyc_status st = cyc_simulate_run(NULL, &o);
			cyc_alloc_fail_at(0);
			if (st != CYC_E_NOMEM)
				fail_msg("allocation %lld of %lld failed, the run said %s", (long long)k, (long long)n,
				         cyc_status_name(st));
			assert_false(cyc_path_exists(set));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_out_of_range_are_refused),
		cmocka_unit_test(existing_project_is_kept),
		cmocka_unit_test(unwritable_folder_is_an_error),
		cmocka_unit_test(memory_failures_are_reported),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

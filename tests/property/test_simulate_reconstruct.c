/* Simulated images reconstructed with the true metadata give back the true map; with wrong ones they do not.
 * The two sides share no optics, projection or slicing, so this fails if either has a sign, a centre or a
 * unit wrong. */
#include "cyclotomo/array.h"
#include "cyclotomo/map.h"
#include "cyclotomo/mrc.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/simulate.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "temp_dir.h"

static cyc_simulate_options base(const char *out)
{
	cyc_simulate_options o;
	cyc_simulate_options_default(&o);
	cyc_simulate_options_preset(&o, CYC_SIMULATE_TINY);
	o.out_dir = out;
	o.noise_free = true;
	o.symmetry = "O";
	o.n_particles = 10;
	o.image_nx = 250;
	o.image_ny = 237;
	o.thickness_A = 700;
	o.edge_px = 26;
	o.n_tilts = 31;
	o.tilt_step_rad = cyc_deg_to_rad(4);
	o.dose_e_per_A2 = 2;
	/* Little defocus: the fringes stay in the windows. */
	o.defocus_min_A = 8000;
	o.defocus_max_A = 10000;
	o.n_threads = 2;
	return o;
}

/* Mean FSC of shells 1 to 13 of 16 (Nyquist) with the true map, within the wide mask, and the ratio of grey
 * values in shells 4 to 8: at lower frequencies, and later where the CTFs have their zeros, weights are kept
 * from vanishing and damp it. */
static void compare(double *fsc, double *scale, const char *map, const char *dir)
{
	cyc_volume *v[3] = { 0 };
	char path[3][160];
	snprintf(path[0], sizeof path[0], "%s/%s", dir, map);
	snprintf(path[1], sizeof path[1], "%s/truth/map.mrc", dir);
	snprintf(path[2], sizeof path[2], "%s/mask_align.mrc", dir);
	for (int i = 0; i < 3; i++) assert_int_equal(cyc_mrc_read(&v[i], path[i]), CYC_OK);
	int32_t n = v[0]->nx;
	cyc_fft3 *plan = NULL;
	cyc_cfloat *ft[2] = { 0 };
	double curve[64], cross = 0, power = 0;
	assert_int_equal(cyc_fft3_create(&plan, n, 1), CYC_OK);
	for (size_t i = 0; i < cyc_volume_count(v[0]); i++) {
		v[0]->data[i] *= v[2]->data[i];
		v[1]->data[i] *= v[2]->data[i];
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(cyc_alloc(&ft[i], cyc_half_count3(n), sizeof *ft[i]), CYC_OK);
		assert_int_equal(cyc_fft3_forward(ft[i], plan, v[i]->data), CYC_OK);
	}
	for (int32_t z = 0; z < n; z++)
		for (int32_t y = 0; y < n; y++)
			for (int32_t x = 0; x <= n / 2; x++) {
				double ky = y < n / 2 ? y : y - n, kz = z < n / 2 ? z : z - n,
					   r = sqrt(x * (double)x + ky * ky + kz * kz);
				size_t i = ((size_t)z * (size_t)n + (size_t)y) * (size_t)(n / 2 + 1) + (size_t)x;
				if (r < 3.5 || r >= 8.5) continue;
				cross += (double)(crealf(ft[0][i]) * crealf(ft[1][i]) + cimagf(ft[0][i]) * cimagf(ft[1][i]));
				power += cyc_square((double)cabsf(ft[1][i]));
			}
	*scale = cross / power;
	cyc_fsc_compute(curve, ft[0], ft[1], n);
	*fsc = 0;
	for (int i = 1; i <= 13; i++) *fsc += curve[i] / 13;
	for (int i = 0; i < 3; i++) cyc_volume_destroy(&v[i]);
	cyc_free(ft[0]);
	cyc_free(ft[1]);
	cyc_fft3_destroy(&plan);
}

static void reconstruct(double *fsc, double *scale, const char *dir, const char *set, const char *symmetry)
{
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.input.root = dir;
	r.input.optimisation_set = set;
	r.out_dir = "R";
	r.box_px = 48;
	r.crop_px = 32;
	r.symmetry = symmetry;
	r.absolute_scale = true;
	r.no_noise_weights = true; /* there is no noise */
	r.n_threads = 2;
	cyc_status st = cyc_reconstruct_run(NULL, &r);
	if (st != CYC_OK) fail_msg("%s", cyc_error_get()->message);
	compare(fsc, scale, "R/merged.mrc", dir);
}

/* Noise-free, yet not 1: neighbours overlap. Measured 0.989; the errors below give 0.5 to 0.88. */
static const double k_good = 0.97, k_bad = 0.92;

static void check(const cyc_simulate_options *o)
{
	double fsc, scale;
	cyc_status st = cyc_simulate_run(NULL, o);
	if (st != CYC_OK) fail_msg("%s", cyc_error_get()->message);
	reconstruct(&fsc, &scale, o->out_dir, "truth/optimisation_set.star", o->symmetry);
	print_message("true metadata: FSC %.4f, grey values %.3f\n", fsc, scale);
	if (!(fsc > k_good)) fail_msg("mean FSC with the true map %.4f, wanted more than %.2f", fsc, k_good);
	if (!(scale > 0.9 && scale < 1.1)) fail_msg("grey values are %.3f of the truth", scale);
}

static void truth_gives_back_the_map(void **state)
{
	(void)state;
	char dir[160];
	snprintf(dir, sizeof dir, "%s/plain", temp_dir);
	cyc_simulate_options o = base(dir);
	check(&o);
}

static void so_it_does_with_everything_switched(void **state)
{
	(void)state;
	char dir[160];
	snprintf(dir, sizeof dir, "%s/other", temp_dir);
	cyc_simulate_options o = base(dir);
	o.hand = 1;
	o.as_stack = true;
	o.subtomogram_angles = true;
	o.motion_A = 3;
	o.symmetry = "C3";
	o.n_particles = 12;
	o.astigmatism_A = 1000;
	o.seed = 5;
	check(&o);
}

static void wrong_metadata_do_not(void **state)
{
	(void)state;
	static const char *const names[] = { "defocus", "position", "orientation", "shift", "angle" };
	for (int i = 0; i < 5; i++) {
		char dir[160];
		double fsc, scale;
		snprintf(dir, sizeof dir, "%s/%s", temp_dir, names[i]);
		cyc_simulate_options o = base(dir);
		o.error_defocus_A = i == 0 ? 6000 : 0;
		o.error_astigmatism_A = o.error_scale = 0;
		o.error_position_A = i == 1 ? 4 : 0;
		o.error_orientation_rad = i == 2 ? cyc_deg_to_rad(15) : 0;
		o.error_shift_A = i == 3 ? 4 : 0;
		o.error_angle_rad = i == 4 ? cyc_deg_to_rad(6) : 0;
		assert_int_equal(cyc_simulate_run(NULL, &o), CYC_OK);
		reconstruct(&fsc, &scale, dir, "optimisation_set.star", o.symmetry);
		print_message("wrong %s: FSC %.4f\n", names[i], fsc);
		if (!(fsc < k_bad)) fail_msg("with a wrong %s the FSC is still %.4f", names[i], fsc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(truth_gives_back_the_map),
		cmocka_unit_test(so_it_does_with_everything_switched),
		cmocka_unit_test(wrong_metadata_do_not),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

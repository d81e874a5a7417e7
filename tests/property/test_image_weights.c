/* Weights of images: what the frame leaves of a particle, and noise. Simulated images with the true metadata.
 */
#include "cyclotomo/array.h"
#include "cyclotomo/compare.h"
#include "cyclotomo/map.h"
#include "cyclotomo/mrc.h"
#include "cyclotomo/project.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/simulate.h"
#include "images/frame_share.h"
#include "halfmaps/noise_weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "temp_dir.h"

static char g_path[200];

static const char *in_dir(const char *project, const char *name)
{
	snprintf(g_path, sizeof g_path, "%s/%s/%s", temp_dir, project, name);
	return g_path;
}

static void ok(cyc_status st)
{
	if (st != CYC_OK) fail_msg("%s", cyc_error_get()->message);
}

static cyc_simulate_options options(const char *out)
{
	cyc_simulate_options o;
	cyc_simulate_options_default(&o);
	cyc_simulate_options_preset(&o, CYC_SIMULATE_TINY);
	o.out_dir = out;
	o.symmetry = "O";
	o.n_particles = 10;
	o.image_nx = 220;
	o.image_ny = 200;
	o.n_tilts = 15;
	o.tilt_step_rad = cyc_deg_to_rad(8);
	o.dose_e_per_A2 = 2;
	o.n_threads = 2;
	return o;
}

static cyc_reconstruct_options job(const char *project, const char *out, bool crop_images)
{
	static char root[160];
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	snprintf(root, sizeof root, "%s/%s", temp_dir, project);
	r.input.root = root;
	r.input.optimisation_set = "truth/optimisation_set.star";
	r.out_dir = out;
	r.box_px = 64;
	r.crop_px = 32;
	r.symmetry = "O";
	r.absolute_scale = true;
	r.crop_images = crop_images;
	r.n_threads = 2;
	return r;
}

static void compare(double *fsc, double *scale, const char *project, const char *a, const char *b)
{
	cyc_volume *v[3] = { 0 };
	cyc_map_comparison *c = NULL;
	ok(cyc_mrc_read(&v[0], in_dir(project, a)));
	ok(cyc_mrc_read(&v[1], in_dir(project, b)));
	ok(cyc_mrc_read(&v[2], in_dir(project, "mask_align.mrc")));
	const cyc_map_compare_options o = { .resolution_A = 3 * v[0]->pixel_size_A, .n_threads = 1 };
	ok(cyc_map_compare(&c, v[0], v[1], v[2], &o));
	*fsc = c->min_fsc;
	*scale = c->scale_to_limit;
	cyc_map_comparison_destroy(&c);
	for (int i = 0; i < 3; i++) cyc_volume_destroy(&v[i]);
}

/* Against counting points of the disc. */
static void disc_beside_a_line(void **state)
{
	(void)state;
	for (double d = -1.2; d <= 1.2; d += 0.15) {
		int inside = 0, all = 0;
		for (int y = -200; y <= 200; y++)
			for (int x = -200; x <= 200; x++) {
				if (x * x + y * y > 200 * 200) continue;
				all++;
				inside += x < 200 * d;
			}
		assert_true(fabs(cyc_disc_beside_line(d) - (double)inside / all) < 0.004);
	}
}

enum { BOX = 128, HALF = BOX / 2 + 1 };
static const double PIXEL_A = 2, RADIUS_PX = 16;

/* Noise in a disc around the middle of the box: a particle with all frequencies alike. */
static void texture(float *particle, uint64_t seed)
{
	cyc_rng r = cyc_rng_make(seed, 3, 0);
	for (int y = 0; y < BOX; y++)
		for (int x = 0; x < BOX; x++)
			particle[y * BOX + x] =
				hypot(x - BOX / 2, y - BOX / 2) < RADIUS_PX ? (float)cyc_rng_normal(&r) : 0;
}

/* What is left of the signal of a particle whose image is multiplied by the CTF, cut by the frame, and
 * multiplied again, in directions near x (0) and y (1) at 6.7 to 10 Å. */
static void left_behind_frame(double share[2], const float *ctf, double right_edge_px)
{
	static float particle[BOX * BOX], image[BOX * BOX];
	static cyc_cfloat P[BOX * HALF], X[BOX * HALF];
	cyc_fft2 *plan = NULL;
	double with[2] = { 0 }, all[2] = { 0 };
	ok(cyc_fft2_create(&plan, BOX, BOX));
	for (uint64_t seed = 0; seed < 30; seed++) {
		texture(particle, seed);
		cyc_fft2_forward(P, plan, particle);
		for (int i = 0; i < BOX * HALF; i++) X[i] = ctf[i] * P[i];
		cyc_fft2_inverse(image, plan, X);
		for (int i = 0; i < BOX * BOX; i++)
			image[i] *= i % BOX - BOX / 2 < right_edge_px ? 1.F / (BOX * BOX) : 0;
		cyc_fft2_forward(X, plan, image);
		for (int y = 0; y < BOX; y++)
			for (int x = 0; x < HALF; x++) {
				int i = y * HALF + x, ky = y < BOX / 2 ? y : y - BOX;
				double k = hypot(x, ky) / (BOX * PIXEL_A);
				if (k < 0.1 || k > 0.15 || abs(abs(ky) - x) < (x + abs(ky)) / 2) continue;
				with[abs(ky) > x] +=
					(double)(ctf[i] * (crealf(P[i]) * crealf(X[i]) + cimagf(P[i]) * cimagf(X[i])));
				all[abs(ky) > x] += cyc_square((double)(ctf[i] * cabsf(P[i])));
			}
	}
	for (int d = 0; d < 2; d++) share[d] = with[d] / all[d];
	cyc_fft2_destroy(&plan);
}

/* The weights (T2.7) are what is left, in each direction. */
static void weights_are_what_the_frame_leaves(void **state)
{
	(void)state;
	static float packed[(BOX + 4) * (BOX / 2 + 2) * 4], ctf[BOX * HALF];
	static cyc_cfloat observed[BOX * HALF], predicted[BOX * HALF];
	cyc_tilt tilt = { .defocus_u_A = 15000, .defocus_v_A = 15000, .scale = 1 };
	cyc_tilt_series ts = { .pixel_size_A = PIXEL_A,
		                   .voltage_kV = 300,
		                   .spherical_aberration_mm = 2.7,
		                   .n_tilts = 1,
		                   .tilts = &tilt,
		                   .image_nx = 1000,
		                   .image_ny = 1000 };
	const cyc_ctf optics = { .wavelength_A = cyc_electron_wavelength_A(300),
		                     .spherical_aberration_mm = 2.7,
		                     .scale = 1,
		                     .defocus_u_A = 15000,
		                     .defocus_v_A = 15000 };
	cyc_frame_share table = { 0 };
	cyc_tilt_batch *batch = NULL;
	for (int y = 0; y < BOX; y++)
		for (int x = 0; x < HALF; x++)
			ctf[y * HALF + x] = (float)cyc_ctf_value(&optics, x / (BOX * PIXEL_A),
			                                         (y < BOX / 2 ? y : y - BOX) / (BOX * PIXEL_A), 0);
	ok(cyc_tilt_batch_create(&batch, 1));
	ok(cyc_frame_share_fill(&table, &ts, 0, BOX, BOX, PIXEL_A, RADIUS_PX));
	for (int distance = 5; distance <= 45; distance += 10) {
		double wanted[2], sum[2] = { 0 }, count[2] = { 0 };
		left_behind_frame(wanted, ctf, distance);
		batch->n = 1;
		batch->at_px[0] = 1000 - 0.5 - distance;
		batch->at_px[1] = 500;
		for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) packed[i] = 1;
		ok(cyc_frame_share_apply(packed, &table, &ts, batch, 1, 1));
		for (int row = 0; row < BOX + 4; row++)
			for (int x = 0; x < HALF; x++) {
				int ky = row - BOX / 2 - 1;
				double k = hypot(x, ky) / (BOX * PIXEL_A);
				assert_true(packed[((size_t)row * (HALF + 1) + (size_t)x) * 4] == 1);
				if (k < 0.1 || k > 0.15 || abs(abs(ky) - x) < (x + abs(ky)) / 2) continue;
				sum[abs(ky) > x] += (double)packed[((size_t)row * (HALF + 1) + (size_t)x) * 4 + 2];
				count[abs(ky) > x] += 1;
			}
		/* Predictions have the root of these weights, and products stay. */
		for (int i = 0; i < BOX * HALF; i++) observed[i] = predicted[i] = 2;
		ok(cyc_frame_share_balance(observed, predicted, &table, &ts, batch, 1, 1));
		for (int x = 0; x < HALF; x++) {
			double share =
				(double)packed[((size_t)(BOX / 2 + 1) * (HALF + 1) + (size_t)x) * 4 + 2]; /* of ky = 0 */
			assert_true(fabs((double)(crealf(predicted[x]) * crealf(predicted[x])) - 4 * fmax(share, 0.05)) <
			            1e-4);
			assert_true(fabs((double)(crealf(observed[x]) * crealf(predicted[x])) - 4) < 1e-4);
		}
		/* Whole windows are left alone, whichever else is in their batch. */
		batch->weight[0] = 1;
		for (int i = 0; i < BOX * HALF; i++) observed[i] = predicted[i] = 2;
		ok(cyc_frame_share_balance(observed, predicted, &table, &ts, batch, 1, 1));
		for (int i = 0; i < BOX * HALF; i++)
			assert_true(crealf(observed[i]) == 2 && crealf(predicted[i]) == 2);
		batch->weight[0] = 0.9;
		print_message("edge at %d px: along x %.3f left, weight %.3f; along y %.3f, %.3f\n", distance,
		              wanted[0], sum[0] / count[0], wanted[1], sum[1] / count[1]);
		for (int d = 0; d < 2; d++) assert_true(fabs(sum[d] / count[d] - wanted[d]) < 0.04);
	}
	cyc_frame_share_deinit(&table);
	cyc_tilt_batch_destroy(&batch);
}

/* Weights within the radius that is asked for are those of a table without one; the others are left alone. */
static void shares_stop_at_the_limit(void **state)
{
	(void)state;
	enum { LIMIT = BOX / 5 };
	static float packed[2][(BOX + 4) * (BOX / 2 + 2) * 4];
	cyc_tilt tilt = { .defocus_u_A = 15000, .defocus_v_A = 15000, .scale = 1 };
	cyc_tilt_series ts = { .pixel_size_A = PIXEL_A,
		                   .voltage_kV = 300,
		                   .n_tilts = 1,
		                   .tilts = &tilt,
		                   .image_nx = 1000,
		                   .image_ny = 1000 };
	cyc_tilt_batch *batch = NULL;
	int n_less = 0;
	ok(cyc_tilt_batch_create(&batch, 1));
	batch->n = 1;
	batch->at_px[0] = batch->at_px[1] = 10;
	for (int k = 0; k < 2; k++) {
		cyc_frame_share table = { 0 };
		for (size_t i = 0; i < sizeof packed[k] / sizeof packed[k][0]; i++) packed[k][i] = 1;
		ok(cyc_frame_share_fill(&table, &ts, 0, BOX, k == 0 ? BOX : LIMIT, PIXEL_A, RADIUS_PX));
		ok(cyc_frame_share_apply(packed[k], &table, &ts, batch, 1, 1));
		cyc_frame_share_deinit(&table);
	}
	for (int row = 1; row < BOX + 1; row++)
		for (int x = 0; x < HALF; x++) {
			size_t at = ((size_t)row * (HALF + 1) + (size_t)x) * 4 + 2;
			int ky = row - BOX / 2 - 1;
			n_less += packed[0][at] < 1;
			assert_true(packed[1][at] == (x * x + ky * ky <= LIMIT * LIMIT ? packed[0][at] : 1));
		}
	assert_true(n_less > BOX * HALF / 2);
	cyc_tilt_batch_destroy(&batch);
}

/* More images than with whole windows, and the same map. */
static void partial_images_are_used(void **state)
{
	(void)state;
	char out[160];
	snprintf(out, sizeof out, "%s/edge", temp_dir);
	cyc_simulate_options o = options(out);
	o.noise_free = true;
	o.edge_px = 4;
	o.image_nx = 150;
	o.image_ny = 140;
	o.n_particles = 20;
	ok(cyc_simulate_run(NULL, &o));
	for (int crop_images = 0; crop_images < 2; crop_images++) {
		double fsc, scale;
		cyc_reconstruct_result result[2];
		for (int whole = 0; whole < 2; whole++) {
			cyc_reconstruct_options r = job("edge", whole ? "RW" : "RP", crop_images);
			r.whole_windows = whole;
			r.no_noise_weights = true;
			ok(cyc_reconstruct_run(&result[whole], &r));
		}
		compare(&fsc, &scale, "edge", "RP/merged.mrc", "RW/merged.mrc");
		assert_true(result[0].n_images > result[1].n_images);
		assert_true(fsc > 0.98 && fabs(scale - 1) < 0.03);
		for (int i = 0; i < 2; i++) cyc_reconstruct_result_deinit(&result[i]);
	}
}

static void multiply_images(const char *project, int32_t i_series, float factor)
{
	cyc_tomogram_set *set = NULL;
	char root[120];
	snprintf(root, sizeof root, "%s/%s", temp_dir, project);
	ok(cyc_tomogram_set_read(&set, "truth/tomograms.star", root));
	cyc_tilt_series *ts = &set->series[i_series];
	ok(cyc_tilt_series_open(ts, root));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		cyc_volume *v = NULL;
		ok(cyc_mrc_read(&v, ts->image_path[f]));
		for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] *= factor;
		ok(cyc_mrc_write(ts->image_path[f], v, 2, "test"));
		cyc_volume_destroy(&v);
	}
	cyc_tomogram_set_destroy(&set);
}

/* A series whose grey values have another unit neither swamps the map nor is lost in it. */
static void units_of_grey_values(void **state)
{
	(void)state;
	static const float factors[] = { 1, 16, 1.F / 16 };
	char out[160], name[20];
	snprintf(out, sizeof out, "%s/grey", temp_dir);
	cyc_simulate_options o = options(out);
	o.n_series = 2;
	o.n_particles = 8;
	ok(cyc_simulate_run(NULL, &o));
	for (int i = 0; i < 3; i++) {
		double fsc, scale;
		multiply_images("grey", 1, factors[i] / (i > 0 ? factors[i - 1] : 1));
		snprintf(name, sizeof name, "R%d", i);
		cyc_reconstruct_options r = job("grey", name, i == 2);
		if (i == 2) { /* of cropped images, with those of before */
			multiply_images("grey", 1, 1 / factors[2]);
			r.out_dir = "RC";
			ok(cyc_reconstruct_run(NULL, &r));
			multiply_images("grey", 1, factors[2]);
			r.out_dir = name;
		}
		ok(cyc_reconstruct_run(NULL, &r));
		if (i == 0) continue;
		compare(&fsc, &scale, "grey", i == 1 ? "R1/merged.mrc" : "R2/merged.mrc",
		        i == 1 ? "R0/merged.mrc" : "RC/merged.mrc");
		print_message("grey values times %.4g: least FSC %.5f, scale %.4f\n", (double)factors[i], fsc, scale);
		assert_true(fsc > 0.99);
		assert_true(fabs(scale - 1) < 0.2);
	}
}

/* The weight falls with the noise; an image that claims more than any can show is held; one without noise has
 * no weight. */
static void weight_of_one_image(void **state)
{
	(void)state;
	double gain[2] = { 1, 3 }, scale;
	const cyc_noise_weights w = { .n_series = 2, .gain = gain, .level = 2 };
	const cyc_tilt tilt = { .scale = 0.5 };
	assert_true(fabs(cyc_noise_weight(&scale, &w, 0, &tilt, 1) - 4) < 1e-12 && fabs(scale - 0.5) < 1e-12);
	assert_true(fabs(cyc_noise_weight(&scale, &w, 1, &tilt, 16) - 0.25) < 1e-12 && fabs(scale - 1.5) < 1e-12);
	assert_true(fabs(cyc_noise_weight(&scale, &w, 0, &tilt, 1e-4) - 4e4) < 1e-6 &&
	            fabs(scale - 0.005) < 1e-12);
	assert_true(cyc_noise_weight(&scale, &w, 0, &tilt, 0) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disc_beside_a_line),       cmocka_unit_test(weights_are_what_the_frame_leaves),
		cmocka_unit_test(shares_stop_at_the_limit), cmocka_unit_test(partial_images_are_used),
		cmocka_unit_test(units_of_grey_values),     cmocka_unit_test(weight_of_one_image)
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

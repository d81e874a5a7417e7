/* Particle reconstruction: grey values, symmetry and helices, half sets, threads, resuming, partial windows.
 */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "project_fixture.h"

#include "cyclotomo/array.h"
#include "cyclotomo/geom.h"
#include "cyclotomo/map.h"
#include "cyclotomo/mrc.h"
#include "cyclotomo/reconstruct.h"
#include "halfmaps/sums.h"

/* ---------------------------------------------------------------- one particle seen from everywhere */

enum { N_VIEWS = 400, WIDTH = 72, N_ATOMS = 6 };
static const double PIXEL_A = 2, SIGMA_PX = 2;
static const double ATOMS[N_ATOMS][4] = {
	{ 0, 0, 0, 1 },    { 7, 1, -2, 1.5 }, { -3, 6, 4, 0.8 },
	{ 2, -5, 6, 1.2 }, { -5, -4, -6, 1 }, { 13, -6, 4, 2 }
}; /* px, amplitude */

static double truth(double x, double y, double z)
{
	double sum = 0;
	for (int a = 0; a < N_ATOMS; a++)
		sum += ATOMS[a][3] *
		       exp(-0.5 *
		           (cyc_square(x - ATOMS[a][0]) + cyc_square(y - ATOMS[a][1]) + cyc_square(z - ATOMS[a][2])) /
		           (SIGMA_PX * SIGMA_PX));
	return sum;
}

/* A tilt series whose tilts look from random directions at one particle in the middle: line sums, dark on
 * zero, no CTF. */
static void views_write(void)
{
	cyc_volume *v = NULL;
	cyc_rng rng = cyc_rng_make(11, 1, 0);
	static char text[N_VIEWS * 120 + 500];
	size_t n = (size_t)snprintf(
		text, sizeof text,
		"data_V\n\nloop_\n_rlnMicrographPreExposure\n_rlnTomoXTilt\n_rlnTomoYTilt\n_rlnTomoZRot\n_"
		"rlnTomoXShiftAngst\n"
		"_rlnTomoYShiftAngst\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_rlnMicrographName\n");
	ASSERT_OK(cyc_volume_create(&v, WIDTH, WIDTH, N_VIEWS, PIXEL_A));
	for (int32_t i = 0; i < N_VIEWS; i++) {
		double a, b, c, shift[2] = { 3 * cyc_rng_normal(&rng), 3 * cyc_rng_normal(&rng) };
		cyc_mat3 R = cyc_mat3_mul(cyc_rot_z(2 * CYC_PI * cyc_rng_uniform(&rng)),
		                          cyc_mat3_mul(cyc_rot_y(acos(1 - 2 * cyc_rng_uniform(&rng))),
		                                       cyc_rot_z(2 * CYC_PI * cyc_rng_uniform(&rng))));
		cyc_tilt_from_matrix(&a, &b, &c, R);
		n += (size_t)snprintf(text + n, sizeof text - n,
		                      "%d %.9f %.9f %.9f %.9f %.9f 20000 20000 0 %d@V.mrcs\n", i, cyc_rad_to_deg(a),
		                      cyc_rad_to_deg(b), cyc_rad_to_deg(c), shift[0] * PIXEL_A, shift[1] * PIXEL_A,
		                      i + 1);
		for (int k = 0; k < N_ATOMS; k++) {
			cyc_vec3 at = cyc_mat3_apply(R, (cyc_vec3){ ATOMS[k][0], ATOMS[k][1], ATOMS[k][2] });
			for (int32_t y = 0; y < WIDTH; y++)
				for (int32_t x = 0; x < WIDTH; x++) {
					double d2 = cyc_square(x - WIDTH / 2 - at.x - shift[0]) +
					            cyc_square(y - WIDTH / 2 - at.y - shift[1]);
					v->data[(i * WIDTH + y) * WIDTH + x] -=
						(float)(ATOMS[k][3] * sqrt(2 * CYC_PI) * SIGMA_PX *
					            exp(-0.5 * d2 / (SIGMA_PX * SIGMA_PX)));
				}
		}
	}
	ASSERT_OK(cyc_mrc_write(temp_path("V.mrcs"), v, 2, NULL));
	cyc_volume_destroy(&v);
	temp_write("V.star", text);
	temp_write("views.star", "data_global\n\nloop_\n_rlnTomoName\n_rlnVoltage\n_rlnSphericalAberration\n_"
	                         "rlnAmplitudeContrast\n_rlnTomoTiltSeriesPixelSize\n"
	                         "_rlnTomoHand\n_rlnTomoSizeX\n_rlnTomoSizeY\n_rlnTomoSizeZ\n_"
	                         "rlnTomoTiltSeriesStarFile\nV 300 2.7 0.1 2.0 -1 72 72 72 V.star\n");
}

/* Copies of the particle turned by 360/n degrees each about z of the map. */
static void particles_write(const char *name, int n_copies)
{
	char text[4000];
	size_t n = (size_t)snprintf(text, sizeof text,
	                            "data_optics\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnVoltage\n_"
	                            "rlnTomoTiltSeriesPixelSize\n1 V 300 2.0\n\n"
	                            "data_particles\n\nloop_\n_rlnTomoName\n_rlnTomoParticleName\n_"
	                            "rlnOpticsGroup\n_rlnCenteredCoordinateXAngst\n"
	                            "_rlnCenteredCoordinateYAngst\n_rlnCenteredCoordinateZAngst\n_rlnAngleRot\n_"
	                            "rlnAngleTilt\n_rlnAnglePsi\n");
	for (int i = 0; i < n_copies; i++)
		n +=
			(size_t)snprintf(text + n, sizeof text - n, "V V/%d 1 0 0 0 %.9f 0 0\n", i, 360.0 * i / n_copies);
	temp_write(name, text);
}

static cyc_reconstruct_options views_options(const char *particles, const char *out)
{
	cyc_reconstruct_options o;
	cyc_reconstruct_options_default(&o);
	o.input.root = temp_dir;
	o.input.particles = particles;
	o.input.tomograms = "views.star";
	o.out_dir = out;
	o.box_px = 48;
	o.no_ctf = true;
	o.no_circle_crop = true;
	o.taper_px = 4;
	return o;
}

static cyc_volume *map_of(const cyc_reconstruct_options *o, const char *file)
{
	cyc_volume *v = NULL;
	char path[300];
	ASSERT_OK(cyc_reconstruct_run(NULL, o));
	snprintf(path, sizeof path, "%s/%s/%s", temp_dir, o->out_dir, file);
	ASSERT_OK(cyc_mrc_read(&v, path));
	return v;
}

/* Slope and correlation of a map with the truth sampled at its voxels, within the particle. */
static void against_truth(double *slope, double *correlation, const cyc_volume *v, double binning)
{
	double n = 0, sx = 0, sy = 0, xx = 0, xy = 0, yy = 0;
	int32_t box = v->nx;
	for (int32_t i = 0; i < box * box * box; i++) {
		double x = binning * (i % box - box / 2), y = binning * (i / box % box - box / 2),
			   z = binning * (i / box / box - box / 2);
		if (x * x + y * y + z * z > 18 * 18) continue;
		double t = truth(x, y, z), d = (double)v->data[i];
		n++;
		sx += t;
		sy += d;
		xx += t * t;
		xy += t * d;
		yy += d * d;
	}
	*slope = (xy - sx * sy / n) / (xx - sx * sx / n);
	*correlation = (xy - sx * sy / n) / sqrt((xx - sx * sx / n) * (yy - sy * sy / n));
}

static void grey_values_are_sqrt_of_the_box(void **state)
{
	(void)state;
	static const struct {
		int32_t box;
		double binning;
	} cases[] = { { 48, 1 }, { 64, 1 }, { 32, 1.5 }, { 24, 2 } };
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		double slope, correlation;
		cyc_reconstruct_options o = views_options("one.star", "Grey");
		o.box_px = cases[k].box;
		o.binning = cases[k].binning;
		cyc_volume *v = map_of(&o, "merged.mrc");
		assert_true(fabs(v->pixel_size_A - PIXEL_A * o.binning) < 1e-5);
		against_truth(&slope, &correlation, v, o.binning);
		double wanted = o.binning * sqrt((double)o.box_px);
		if (!(fabs(slope / wanted - 1) < 0.02) || !(correlation > 0.98))
			fail_msg("box %d, binning %g: grey values %.4f, wanted %.4f; correlation %.5f", o.box_px,
			         o.binning, slope, wanted, correlation);
		/* Away from the centre too: what look-up between pixels damps there is undone. */
		if (o.binning == 1) {
			int32_t h = o.box_px / 2;
			double far = (double)v->data[((h + 4) * o.box_px + h - 6) * o.box_px + h + 13] / wanted;
			if (!(fabs(far - truth(13, -6, 4)) < 0.08))
				fail_msg("box %d: %.4f at the outer atom, wanted %.4f", o.box_px, far, truth(13, -6, 4));
		}
		o.absolute_scale = true;
		o.out_dir = "Absolute";
		cyc_volume *a = map_of(&o, "merged.mrc");
		for (size_t i = 0; i < cyc_volume_count(v); i++)
			assert_true(fabs((double)v->data[i] - wanted * (double)a->data[i]) < 1e-4 * wanted);
		cyc_volume_destroy(&v);
		cyc_volume_destroy(&a);
	}
	/* Two maps that differ in the crop alone. */
	cyc_reconstruct_options o = views_options("one.star", "Crop");
	o.crop_px = 32;
	cyc_volume *small = map_of(&o, "merged.mrc"), *large = map_of(&o, "merged_full.mrc");
	assert_int_equal(small->nx, 32);
	assert_int_equal(large->nx, 48);
	cyc_volume_destroy(&small);
	cyc_volume_destroy(&large);
}

static double difference(const cyc_volume *a, const cyc_volume *b)
{
	double d = 0, s = 0;
	assert_int_equal(a->nx, b->nx);
	for (size_t i = 0; i < cyc_volume_count(a); i++) {
		d += cyc_square((double)a->data[i] - (double)b->data[i]);
		s += cyc_square((double)b->data[i]);
	}
	return sqrt(d / s);
}

static void symmetry_is_copies_of_the_particles(void **state)
{
	(void)state;
	/* Four-fold: voxels land on voxels, and averaging sums is inserting copies. Six-fold: up to
	 * interpolation. */
	static const struct {
		const char *name;
		int n;
		double bound;
	} cases[] = { { "C2", 2, 2e-5 }, { "C4", 4, 2e-5 }, { "C6", 6, 0.18 } };
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		particles_write("copies.star", cases[k].n);
		cyc_reconstruct_options o = views_options("one.star", "Symmetry"),
								copies = views_options("copies.star", "Copies");
		cyc_volume *plain = map_of(&o, "merged.mrc");
		o.symmetry = cases[k].name;
		cyc_volume *a = map_of(&o, "merged.mrc"), *b = map_of(&copies, "merged.mrc");
		if (!(difference(a, b) < cases[k].bound))
			fail_msg("%s: maps differ by %g", cases[k].name, difference(a, b));
		assert_true(difference(plain, b) > 0.3); /* the particle itself has no symmetry */
		cyc_volume_destroy(&plain);
		cyc_volume_destroy(&a);
		cyc_volume_destroy(&b);
	}
}

/* ---------------------------------------------------------------- helix */

static float *voxel_of(cyc_half_sum *sum, int32_t x, int32_t y, int32_t z)
{
	return sum->value + 4 * (sum->ball->first[cyc_ball_row(sum->ball, z, y)] + (size_t)x);
}

static size_t index_of(int32_t x, int32_t y, int32_t z, int32_t s)
{
	return ((size_t)(z < 0 ? z + s : z) * (size_t)s + (size_t)(y < 0 ? y + s : y)) * (size_t)(s / 2 + 1) +
	       (size_t)x;
}

static void helix_operators_turn_to_the_right(void **state)
{
	(void)state;
	enum { s = 24 };
	cyc_fourier_op *ops = NULL;
	int32_t n = 0;
	ASSERT_FAILS(cyc_fourier_ops(&ops, &n, "C1", 0, 0, 0, 1), CYC_E_USAGE, "at least 1");
	ASSERT_OK(cyc_fourier_ops(&ops, &n, "C1", 1, 5, 0.3, 1));
	assert_int_equal(n, 0);
	cyc_free(ops);
	ASSERT_OK(cyc_fourier_ops(&ops, &n, "D2", 4, 5, 0.3, 1));
	assert_int_equal(n, 4 * 4 - 1);
	cyc_free(ops);
	/* A spot at (5, 0, 0); units of 90 degrees and 8 Å (4 px): also at (0, 5, 4) and (0, -5, -4). */
	ASSERT_OK(cyc_fourier_ops(&ops, &n, "C1", 3, 8, CYC_PI / 2, 2));
	assert_int_equal(n, 2);
	static const double spots[3][3] = { { 5, 0, 0 }, { 0, 5, 4 }, { 0, -5, -4 } };
	float *map[2] = { NULL, NULL };
	cyc_half_sum *sum[2] = { NULL, NULL }, *other = NULL;
	cyc_cfloat *ft = NULL;
	cyc_fft3 *plan = NULL;
	size_t half = cyc_half_count3(s);
	ASSERT_OK(cyc_fft3_create(&plan, s, 1));
	for (int i = 0; i < 2; i++) ASSERT_OK(cyc_alloc(&map[i], s * s * s, sizeof(float)));
	for (int i = 0; i < 2; i++) ASSERT_OK(cyc_half_sum_create(&sum[i], s, s / 2));
	ASSERT_OK(cyc_alloc(&ft, half, sizeof *ft));
	for (int32_t i = 0; i < s * s * s; i++) /* phase origin at voxel 0, as in the sums */
		for (int k = 0; k < 3; k++) {
			double r2 = 0;
			for (int a = 0; a < 3; a++) {
				double d = (a == 0 ? i % s : a == 1 ? i / s % s : i / s / s) - spots[k][a];
				r2 += cyc_square(d - s * round(d / s));
			}
			double v = exp(-0.5 * r2 / 4);
			if (k == 0) map[0][i] += (float)v;
			map[1][i] += (float)(v / 3);
		}
	ASSERT_OK(cyc_fft3_forward(ft, plan, map[0]));
	for (int32_t z = 1 - s / 2; z < s / 2; z++)
		for (int32_t y = 1 - s / 2; y < s / 2; y++)
			for (int32_t x = 0; x * x + y * y + z * z <= s * s / 4; x++)
				for (int i = 0; i < 2; i++) {
					float *to = voxel_of(sum[i], x, y, z);
					cyc_cfloat v = ft[index_of(x, y, z, s)];
					to[0] = crealf(v);
					to[1] = cimagf(v);
					to[2] = 1;
				}
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(cyc_symmetrise(&sum[i], &other, ops, n, 1 + 2 * i));
		cyc_half_sum_destroy(&other);
	}
	assert_memory_equal(sum[0]->value, sum[1]->value, 4 * sum[0]->ball->count * sizeof(float));
	memset(ft, 0, half * sizeof *ft);
	for (int32_t z = 1 - s / 2; z < s / 2; z++)
		for (int32_t y = 1 - s / 2; y < s / 2; y++)
			for (int32_t x = 0; x * x + y * y + z * z <= s * s / 4; x++) {
				const float *v = voxel_of(sum[0], x, y, z);
				ft[index_of(x, y, z, s)] = v[0] + v[1] * I;
				/* An average; look-ups beyond the sphere find nothing. */
				if (x * x + y * y + z * z < (s / 2 - 2) * (s / 2 - 2)) assert_true(fabsf(v[2] - 1) < 1e-5F);
			}
	ASSERT_OK(cyc_fft3_inverse(map[0], plan, ft));
	for (int32_t i = 0; i < s * s * s; i++)
		if (fabsf(map[0][i] - map[1][i]) > 0.01F)
			fail_msg("voxel %d: %g, not %g", i, (double)map[0][i], (double)map[1][i]);
	cyc_fft3_destroy(&plan);
	for (int i = 0; i < 2; i++) cyc_free(map[i]);
	for (int i = 0; i < 2; i++) cyc_half_sum_destroy(&sum[i]);
	cyc_free(ft);
	cyc_free(ops);
}

/* ---------------------------------------------------------------- a simulated project */

static void simulate(void)
{
	cyc_simulate_options o;
	cyc_simulate_options_default(&o);
	cyc_simulate_options_preset(&o, CYC_SIMULATE_TINY);
	use_project("sim");
	o.out_dir = g_root;
	o.n_series = 3;
	o.n_tilts = 5;
	o.tilt_step_rad = cyc_deg_to_rad(20);
	o.n_particles = 4;
	ASSERT_OK(cyc_simulate_run(NULL, &o));
}

static cyc_reconstruct_options options(const char *out)
{
	cyc_reconstruct_options o;
	cyc_reconstruct_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.out_dir = out;
	o.box_px = 32;
	o.crop_px = 24;
	o.taper_px = 3;
	o.write_sums = true;
	o.backup_interval_s = 0;
	return o;
}

static const char *const FILES[] = { "half1.mrc",        "half2.mrc",        "merged.mrc",
	                                 "half1_full.mrc",   "merged_full.mrc",  "data_half1.mrc",
	                                 "weight_half2.mrc", "weight_merged.mrc" };

static void assert_same_bytes(const char *dir_a, const char *dir_b, const char *file_a, const char *file_b)
{
	char a[100], b[100];
	snprintf(a, sizeof a, "%s/%s", dir_a, file_a);
	snprintf(b, sizeof b, "%s/%s", dir_b, file_b);
	assert_same_file(a, b);
}

static void assert_same_maps(const char *a, const char *b)
{
	assert_same_files(a, b, FILES, sizeof FILES / sizeof *FILES);
}

static void threads_and_backends_write_the_same_files(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		cyc_reconstruct_options o = options("T1");
		o.whiten = k == 1;
		o.symmetry = k == 1 ? "C3" : "D2";
		o.snr = k == 1 ? 2 : -1;
		cyc_reconstruct_result r;
		ASSERT_OK(cyc_reconstruct_run(&r, &o));
		assert_int_equal(r.n_particles, 12);
		assert_true(r.n_images > 20);
		assert_string_equal(r.half2, "T1/half2.mrc");
		assert_false(temp_exists("sim/T1/temp")); /* finished: nothing left over */
		cyc_reconstruct_result_deinit(&r);
		for (int t = 2; t < 4; t++) {
			o.out_dir = "T2";
			o.n_threads = t;
			ASSERT_OK(cyc_reconstruct_run(NULL, &o));
			assert_same_maps("T1", "T2");
		}
		o.backend = "strict";
		ASSERT_OK(cyc_reconstruct_run(NULL, &o));
		assert_same_maps("T1", "T2");
	}
}

/* Rows of one half, and the file without halves: the column is renamed, which nobody reads. */
static void half_write(const char *name, char half, bool is_renamed)
{
	char *text = NULL, *at, *out = NULL;
	size_t n, used = 0;
	int column = -1;
	ASSERT_OK(cyc_read_file(&text, &n, temp_path("sim/particles.star")));
	ASSERT_OK(cyc_alloc(&out, n + 100, 1));
	bool in_particles = false;
	for (at = text; *at;) {
		char *end = strchr(at, '\n');
		size_t length = end ? (size_t)(end - at) + 1 : strlen(at);
		char line[1000], *field, *save = NULL;
		snprintf(line, sizeof line, "%.*s", (int)length, at);
		if (strstr(line, "data_particles")) in_particles = true;
		bool is_kept = true;
		if (sscanf(line, "_rlnRandomSubset #%d", &column) == 1 && is_renamed) {
			used += (size_t)sprintf(out + used, "_rlnMySubset #%d\n", column);
			is_kept = false;
		} else if (in_particles && strncmp(line + strspn(line, " "), "TS", 2) == 0) {
			int i = 1;
			for (field = strtok_r(line, " \n", &save); field && i < column;
			     field = strtok_r(NULL, " \n", &save))
				i++;
			is_kept = half == 0 || (field && field[0] == half);
		}
		if (is_kept) {
			memcpy(out + used, at, length);
			used += length;
		}
		at += length;
	}
	assert_true(column > 0);
	assert_int_equal(cyc_write_file(temp_path(name), out, used), CYC_OK);
	cyc_free(text);
	cyc_free(out);
}

static void halves_are_kept_apart(void **state)
{
	(void)state;
	cyc_reconstruct_options o = options("H1");
	cyc_reconstruct_result r;
	ASSERT_OK(cyc_reconstruct_run(NULL, &o));
	/* Without halves there is a merged map alone; of the first half's particles it is the first half map. */
	half_write("sim/first.star", '1', true);
	o.input.particles = "first.star";
	o.out_dir = "H2";
	int64_t warnings = cyc_log_n_warnings();
	ASSERT_OK(cyc_reconstruct_run(&r, &o));
	assert_int_equal(cyc_log_n_warnings(), warnings + 1);
	assert_null(r.half1);
	assert_null(r.half2);
	assert_string_equal(r.merged, "H2/merged.mrc");
	cyc_reconstruct_result_deinit(&r);
	assert_false(temp_exists("sim/H2/half1.mrc"));
	assert_same_bytes("H1", "H2", "half1.mrc", "merged.mrc");
	half_write("sim/second.star", '2', true);
	o.input.particles = "second.star";
	ASSERT_OK(cyc_reconstruct_run(NULL, &o));
	assert_same_bytes("H1", "H2", "half2.mrc", "merged.mrc");
	/* With the column, a half without particles is an error before anything is written. */
	half_write("sim/one_half.star", '2', false);
	o.input.particles = "one_half.star";
	o.out_dir = "H3";
	ASSERT_FAILS(cyc_reconstruct_run(NULL, &o), CYC_E_DATA, "one_half.star");
	assert_false(temp_exists("sim/H3"));
}

static void partial_windows_use_more_images(void **state)
{
	(void)state;
	cyc_reconstruct_options o = options("P");
	cyc_reconstruct_result plain, partial;
	o.box_px = 64;
	ASSERT_OK(cyc_reconstruct_run(&partial, &o));
	o.whole_windows = true;
	ASSERT_OK(cyc_reconstruct_run(&plain, &o));
	assert_true(plain.n_images_outside > 0);
	assert_true(partial.n_images > plain.n_images);
	assert_int_equal(partial.n_images + partial.n_images_outside, plain.n_images + plain.n_images_outside);
	cyc_reconstruct_result_deinit(&plain);
	cyc_reconstruct_result_deinit(&partial);
	o.box_px = 140;
	o.out_dir = "P2";
	ASSERT_FAILS(cyc_reconstruct_run(NULL, &o), CYC_E_DATA, "no particle has its window of 140 px");
	assert_non_null(strstr(cyc_error_get()->hint, "--whole-windows"));
	o.box_px = 200;
	ASSERT_FAILS(cyc_reconstruct_run(NULL, &o), CYC_E_SHAPE, "200 px", "160 x 144");
	assert_false(temp_exists("sim/P2/merged.mrc"));
}

/* ---------------------------------------------------------------- resuming */

static char g_log[2000];
static void keep_log(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	(void)level;
	size_t n = strlen(g_log);
	snprintf(g_log + n, sizeof g_log - n, "%s\n", text);
}

static void resumed_and_same(const cyc_reconstruct_options *o, const char *message)
{
	g_log[0] = '\0';
	cyc_log_set_sink(keep_log, NULL, CYC_LOG_INFO);
	ASSERT_OK(cyc_reconstruct_run(NULL, o));
	cyc_log_set_sink(NULL, NULL, CYC_LOG_INFO);
	if (!strstr(g_log, message)) fail_msg("'%s' is not in: %s", message, g_log);
	assert_same_maps("Whole", o->out_dir);
	assert_false(temp_exists("sim/Killed/temp"));
}

static void killed_runs_continue_to_the_same_bits(void **state)
{
	(void)state;
	cyc_reconstruct_options o = options("Whole");
	ASSERT_OK(cyc_reconstruct_run(NULL, &o));
	o.out_dir = "Killed";
	o.resume = true; /* without a checkpoint: from the start */
	RUN_UNTIL_KILLED(3, cyc_reconstruct_run, &o);
	assert_true(temp_exists("sim/Killed/temp/sums.checkpoint"));
	assert_false(temp_exists("sim/Killed/merged.mrc"));
	o.n_threads = 2; /* nobody minds */
	resumed_and_same(&o, "continuing after 2 of 3 tilt series");
	o.backend = "strict";
	RUN_UNTIL_KILLED(2, cyc_reconstruct_run, &o);
	o.backend = "cpu";
	resumed_and_same(&o, "continuing after 1 of 3 tilt series");
	RUN_UNTIL_KILLED(4, cyc_reconstruct_run, &o); /* between the maps */
	resumed_and_same(&o, "continuing after 2 of 3 tilt series");
}

static void strange_checkpoints_are_not_used(void **state)
{
	(void)state;
	static const char *const name = "sim/Killed/temp/sums.checkpoint";
	cyc_reconstruct_options o = options("Whole"), other = options("Killed");
	ASSERT_OK(cyc_reconstruct_run(NULL, &o));
	o.out_dir = "Killed";
	o.resume = true;
	other.no_circle_crop = true;
	RUN_UNTIL_KILLED(3, cyc_reconstruct_run, &other);
	resumed_and_same(&o, "other input or options");
	other = options("Killed");
	other.box_px = 48;
	RUN_UNTIL_KILLED(3, cyc_reconstruct_run, &other);
	resumed_and_same(&o, "other input or options");
	static const char *const SAID[] = { "is truncated", "is truncated", "is not a record of this version",
		                                "is damaged", "is damaged" };
	for (int k = 0; k < 5; k++) {
		char *data = NULL;
		size_t n;
		RUN_UNTIL_KILLED(3, cyc_reconstruct_run, &o);
		ASSERT_OK(cyc_read_file(&data, &n, temp_path(name)));
		if (k == 2) data[3] = 'x';
		if (k == 3) data[88] ^= 1;       /* of the header */
		if (k == 4) data[n - 1000] ^= 1; /* of the sums */
		ASSERT_OK(cyc_write_file(temp_path(name), data, k == 0 ? 20 : k == 1 ? n - 7 : n));
		cyc_free(data);
		resumed_and_same(&o, SAID[k]);
	}
}

/* Other images under the old names are another input: nothing of the old ones is left in the maps. */
static void images_that_were_replaced_are_read_again(void **state)
{
	(void)state;
	cyc_tomogram_set *t = NULL;
	cyc_reconstruct_options o = options("Whole");
	o.resume = true;
	ASSERT_OK(cyc_reconstruct_run(NULL, &o));
	o.out_dir = "Killed";
	RUN_UNTIL_KILLED(3, cyc_reconstruct_run, &o);
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", temp_path("sim")));
	for (int32_t i = 0; i < t->n_series; i++) { /* as images of the same kind, but not of the same moment */
		const struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
		char *path = NULL;
		ASSERT_OK(cyc_path_join(&path, temp_path("sim"), t->series[i].tilts[0].image));
		assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
		cyc_free(path);
	}
	cyc_tomogram_set_destroy(&t);
	resumed_and_same(&o, "other input or options");
}

/* Sums of integers have room for images of very different strength, but not for any. */
static void far_too_strong_images_are_refused(void **state)
{
	(void)state;
	cyc_tomogram_set *t = NULL;
	cyc_reconstruct_options o = options("Strong");
	char *path = NULL, *data = NULL, *before = NULL;
	size_t n;
	o.no_noise_weights = true;
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", temp_path("sim")));
	ASSERT_OK(cyc_path_join(&path, temp_path("sim"), t->series[t->n_series - 1].tilts[0].image));
	ASSERT_OK(cyc_read_file(&before, &n, path));
	for (int k = 0; k < 2; k++) {
		ASSERT_OK(cyc_read_file(&data, &n, path));
		float *pixels = (float *)(void *)(data + 1024);
		for (size_t i = 0; i < (n - 1024) / sizeof *pixels; i++) pixels[i] *= k ? 1e10F : 20;
		ASSERT_OK(cyc_write_file(path, data, n));
		cyc_free(data);
		if (k == 0) ASSERT_OK(cyc_reconstruct_run(NULL, &o));
		else
			ASSERT_FAILS(cyc_reconstruct_run(NULL, &o), CYC_E_DATA, "far larger",
			             t->series[t->n_series - 1].name);
	}
	ASSERT_OK(cyc_write_file(path, before, n));
	cyc_free(before);
	cyc_free(path);
	cyc_tomogram_set_destroy(&t);
}

/* Two particles, the second turned by 40 degrees, with their probabilities. */
static cyc_volume *map_of_probable(const char *first, const char *second, bool crop)
{
	char text[800];
	snprintf(text, sizeof text,
	         "data_optics\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnVoltage\n_"
	         "rlnTomoTiltSeriesPixelSize\n1 V 300 2.0\n\n"
	         "data_particles\n\nloop_\n_rlnTomoName\n_rlnTomoParticleName\n_rlnOpticsGroup\n_"
	         "rlnCenteredCoordinateXAngst\n"
	         "_rlnCenteredCoordinateYAngst\n_rlnCenteredCoordinateZAngst\n_rlnAngleRot\n_rlnAngleTilt\n_"
	         "rlnAnglePsi\n_cycParticleProbability\n"
	         "V V/1 1 0 0 0 0 0 0 %s\nV V/2 1 0 0 0 40 0 0 %s\n",
	         first, second);
	temp_write("probable.star", text);
	cyc_reconstruct_options o = views_options("probable.star", "Probable");
	o.no_ctf = !crop;
	o.crop_images = crop;
	if (crop) o.crop_px = 32;
	return map_of(&o, "merged.mrc");
}

static double largest_difference(const cyc_volume *a, const cyc_volume *b)
{
	double d = 0;
	for (size_t i = 0; i < cyc_volume_count(a); i++)
		d = fmax(d, fabs((double)a->data[i] - (double)b->data[i]));
	return d;
}

/* Data and weights count by the probability: of 0 nothing, a common one cancels, less of one is more of the
 * other.             (T1.15) */
static void particles_count_by_their_probability(void **state)
{
	(void)state;
	for (int crop = 0; crop < 2; crop++) {
		cyc_reconstruct_options o = views_options("one.star", "Alone");
		o.no_ctf = !crop;
		o.crop_images = crop;
		if (crop) o.crop_px = 32;
		cyc_volume *alone = map_of(&o, "merged.mrc"), *none = map_of_probable("1", "0", crop),
				   *both = map_of_probable("1", "1", crop);
		cyc_volume *less = map_of_probable("1", "0.25", crop),
				   *same = map_of_probable("0.25", "0.0625", crop);
		assert_memory_equal(alone->data, none->data, cyc_volume_count(alone) * sizeof *alone->data);
		double whole = largest_difference(alone, both), part = largest_difference(alone, less);
		print_message("the second particle changes the map by %.4f, at a probability of 0.25 by %.4f\n",
		              whole, part);
		/* Seen from everywhere by both, the map is the weighed mean: (x + p y) / (1 + p). */
		if (!crop) assert_true(fabs(part / whole - 0.25 / 1.25 / 0.5) < 0.02);
		assert_true(part > 0.01 * whole);
		assert_true(largest_difference(less, same) < 0.01 * whole);
		cyc_volume *const all[] = { alone, none, both, less, same };
		for (size_t i = 0; i < 5; i++) cyc_volume_destroy(&(cyc_volume *){ all[i] });
	}
}

static int set_up(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	views_write();
	particles_write("one.star", 1);
	simulate();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grey_values_are_sqrt_of_the_box),
		cmocka_unit_test(symmetry_is_copies_of_the_particles),
		cmocka_unit_test(helix_operators_turn_to_the_right),
		cmocka_unit_test(particles_count_by_their_probability),
		cmocka_unit_test(threads_and_backends_write_the_same_files),
		cmocka_unit_test(halves_are_kept_apart),
		cmocka_unit_test(partial_windows_use_more_images),
		cmocka_unit_test(killed_runs_continue_to_the_same_bits),
		cmocka_unit_test(strange_checkpoints_are_not_used),
		cmocka_unit_test(images_that_were_replaced_are_read_again),
		cmocka_unit_test(far_too_strong_images_are_refused),
	};
	return cmocka_run_group_tests(tests, set_up, temp_dir_remove);
}

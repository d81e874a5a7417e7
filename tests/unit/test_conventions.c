/* One test per numbered sentence of docs/conventions.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"
#include "small_project.h"

#include "backends/backend.h"
#include "cyclotomo/tilt.h"
#include "halfmaps/sums.h"
#include "images/tilt_batch.h"

static void close_to(double value, double expected, double bound)
{
	if (!(fabs(value - expected) <= bound))
		fail_msg("got %.9g, expected %.9g within %g", value, expected, bound);
}

static void vector_close_to(cyc_vec3 v, double x, double y, double z, double bound)
{
	close_to(v.x, x, bound);
	close_to(v.y, y, bound);
	close_to(v.z, z, bound);
}

static void matrices_equal(cyc_mat3 a, cyc_mat3 b)
{
	for (int i = 0; i < 9; i++) close_to(a.m[i / 3][i % 3], b.m[i / 3][i % 3], 1e-9);
}

static cyc_mat3 euler_deg(double rot, double tilt, double psi)
{
	return cyc_euler_to_matrix(cyc_deg_to_rad(rot), cyc_deg_to_rad(tilt), cyc_deg_to_rad(psi));
}

/* ---------------------------------------------------------------- projects and windows for the tests */

/* One particle with every number that places it: pre-orientation, angles, origin. */
#define POSED                                                                                                \
	OPTICS PARTICLES_HEAD "_rlnOriginXAngst\n_rlnOriginYAngst\n_rlnOriginZAngst\n_rlnTomoSubtomogramRot\n_"  \
						  "rlnTomoSubtomogramTilt\n"                                                         \
						  "_rlnTomoSubtomogramPsi\n_rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n"              \
						  "TS_01 p1 1 12 -9 8 2 3 -2 4 20 70 -30 10 35 50\n"

typedef struct {
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
} project;

static project read_project(const char *particles, const char *motion)
{
	project p = { 0 };
	if (particles) temp_write("particles.star", particles);
	ASSERT_OK(cyc_tomogram_set_read(&p.tomograms, "tomograms.star", temp_dir));
	ASSERT_OK(cyc_tilt_series_open(&p.tomograms->series[0], temp_dir));
	ASSERT_OK(cyc_particle_set_read(&p.particles, "particles.star", motion, p.tomograms, temp_dir));
	return p;
}

static void destroy_project(project *p)
{
	cyc_particle_set_destroy(&p->particles);
	cyc_tomogram_set_destroy(&p->tomograms);
}

static const cyc_particle *find_particle(const project *p, const char *name)
{
	for (int64_t i = 0; i < p->particles->n; i++)
		if (strcmp(p->particles->particles[i].name, name) == 0) return &p->particles->particles[i];
	fail_msg("no particle %s", name);
	return NULL;
}

/* A tilt series of one tilt in memory: the worked example of the geometry. */
static cyc_tilt_series example_series(cyc_tilt *tilt)
{
	*tilt = (cyc_tilt){ .ytilt_rad = cyc_deg_to_rad(30),
		                .zrot_rad = cyc_deg_to_rad(85),
		                .shift_x_A = 27,
		                .shift_y_A = -13.5,
		                .has_angles = true,
		                .scale = 1 };
	return (cyc_tilt_series){ .name = "example",
		                      .pixel_size_A = 1.35,
		                      .voltage_kV = 300,
		                      .hand = -1,
		                      .defocus_slope = 1,
		                      .size_px = { 4000, 4000, 2000 },
		                      .n_tilts = 1,
		                      .tilts = tilt,
		                      .image_nx = 3838,
		                      .image_ny = 3710 };
}

static cyc_vec3 project_point(const cyc_tilt_series *ts, double x, double y, double z)
{
	cyc_projection p;
	ASSERT_OK(cyc_projection_of_tilt(&p, ts, 0));
	return cyc_project(&p, (cyc_vec3){ x, y, z });
}

static cyc_backend *open_backend(void)
{
	cyc_backend *be = NULL;
	ASSERT_OK(cyc_backend_open(&be, "cpu", 2));
	return be;
}

static cyc_buffer *buffer_of(cyc_backend *be, const void *data, size_t n, size_t size)
{
	cyc_buffer *b = NULL;
	ASSERT_OK(cyc_buffer_create(&b, be, n, size));
	if (data) ASSERT_OK(cyc_buffer_upload(b, data, n * size));
	return b;
}

/* Add slices to sums whose scale is 2^30. */
static void insert(cyc_sums *sums, cyc_backend *be, cyc_buffer *packed, const cyc_slices *slices, int32_t i)
{
	cyc_sum_spec *spec = &sums->spec[i];
	spec->scale[0] = spec->scale[1] = 1 << 30;
	spec->limit = CYC_MOST_ADDED;
	ASSERT_OK(cyc_op_slice_insert(sums->sum[i], be, spec, packed, slices));
}

static const float *voxel_of(const cyc_half_sum *sum, int32_t x, int32_t y, int32_t z)
{
	return sum->value + 4 * (sum->ball->first[cyc_ball_row(sum->ball, z, y)] + (size_t)x);
}

static size_t index_of(int32_t kx, int32_t ky, int32_t s)
{
	return (size_t)(ky < 0 ? ky + s : ky) * (size_t)(s / 2 + 1) + (size_t)kx;
}

static float complex wave(double turns)
{
	return (float)cos(2 * CYC_PI * turns) + (float)sin(2 * CYC_PI * turns) * I;
}

/* A disc of density with Gaussian profile in an image, multiplied by `height`. */
static float *image_of_gaussian(int32_t n, double x0, double y0, double sigma, double height)
{
	float *image = NULL;
	ASSERT_OK(cyc_alloc(&image, (size_t)n * (size_t)n, sizeof *image));
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++)
			image[y * n + x] =
				(float)(height * exp(-0.5 * (cyc_square(x - x0) + cyc_square(y - y0)) / (sigma * sigma)));
	return image;
}

/* ---------------------------------------------------------------- units */

static void sentence_01_units(void **state)
{
	(void)state;
	project p = read_project(NULL, NULL);
	const cyc_tilt_series *ts = &p.tomograms->series[0];
	close_to(ts->tilts[0].defocus_u_A, 30000, 0);
	close_to(ts->tilts[0].defocus_angle_rad, CYC_PI / 4, 1e-12);
	close_to(ts->tilts[0].pre_exposure_e_per_A2, 6, 0);
	close_to(ts->voltage_kV, 300, 0);
	close_to(ts->spherical_aberration_mm, 2.7, 0);
	/* Frequencies in 1/Å: the first zero of a CTF with Cs 0 and Q0 0 is at lambda U k^2 = 1. */
	const cyc_ctf c = {
		.wavelength_A = cyc_electron_wavelength_A(300), .defocus_u_A = 20000, .defocus_v_A = 20000, .scale = 1
	};
	close_to(cyc_ctf_value(&c, 1 / sqrt(c.wavelength_A * 20000), 0, 0), 0, 1e-12);
	destroy_project(&p);
}

static void sentence_02_files_and_library(void **state)
{
	(void)state;
	project p = read_project(NULL, NULL);
	close_to(p.tomograms->series[0].tilts[0].ytilt_rad, cyc_deg_to_rad(25), 1e-12);
	assert_int_equal(find_particle(&p, "TS_01/1")->i_optics, 0);
	assert_int_equal(find_particle(&p, "TS_02/1")->i_optics, 1);
	assert_int_equal(find_particle(&p, "TS_02/1")->half, 0);
	destroy_project(&p);
}

static void sentence_03_px(void **state)
{
	(void)state;
	cyc_tilt tilt;
	cyc_tilt_series ts = example_series(&tilt);
	cyc_vec3 a = project_point(&ts, 0, 0, 0), b = project_point(&ts, 13.5, 0, 0);
	close_to(sqrt(cyc_square(b.x - a.x) + cyc_square(b.y - a.y) + cyc_square(b.z - a.z)), 13.5 / 1.35, 1e-9);
	/* Binned: the box of 96 binned px at binning 2 is cut as 192 image pixels of half the binned pixel size.
	 */
	cyc_box box;
	ASSERT_OK(cyc_box_create(&box, 96, 2, 1.35));
	assert_int_equal(box.window.box_px, 192);
	close_to(box.pixel_size_A, 2.7, 1e-12);
}

/* ---------------------------------------------------------------- frames */

static void sentence_04_neighbours_match(void **state)
{
	(void)state;
	project p = read_project(POSED, NULL);
	const cyc_particle *q = find_particle(&p, "p1");
	matrices_equal(q->R_tomo_ref, cyc_mat3_mul(euler_deg(20, 70, -30), euler_deg(10, 35, 50)));
	destroy_project(&p);
}

static void sentence_05_rotations(void **state)
{
	(void)state;
	vector_close_to(cyc_mat3_apply(cyc_rot_z(CYC_PI / 2), (cyc_vec3){ 1, 0, 0 }), 0, 1, 0, 1e-12);
	vector_close_to(cyc_mat3_apply(cyc_rot_x(CYC_PI / 2), (cyc_vec3){ 0, 1, 0 }), 0, 0, 1, 1e-12);
	vector_close_to(cyc_mat3_apply(cyc_rot_y(CYC_PI / 2), (cyc_vec3){ 0, 0, 1 }), 1, 0, 0, 1e-12);
}

static void sentence_06_euler(void **state)
{
	(void)state;
	cyc_mat3 e = cyc_mat3_mul(cyc_rot_z(cyc_deg_to_rad(-50)),
	                          cyc_mat3_mul(cyc_rot_y(cyc_deg_to_rad(-40)), cyc_rot_z(cyc_deg_to_rad(-30))));
	matrices_equal(euler_deg(30, 40, 50), e);
	close_to(e.m[0][1], 0.909616, 1e-6);
	close_to(e.m[2][0], 0.556670, 1e-6);
}

static void sentence_07_subtomogram(void **state)
{
	(void)state;
	project p = read_project(POSED, NULL);
	matrices_equal(find_particle(&p, "p1")->R_tomo_part, euler_deg(20, 70, -30));
	destroy_project(&p);
	p = read_project(PARTICLES, NULL);
	matrices_equal(find_particle(&p, "TS_01/1")->R_tomo_part, cyc_mat3_identity());
	destroy_project(&p);
}

static void sentence_08_tilt(void **state)
{
	(void)state;
	cyc_mat3 r = cyc_tilt_to_matrix(0.05, 0.5, 1.4);
	matrices_equal(r, cyc_mat3_mul(cyc_rot_z(1.4), cyc_mat3_mul(cyc_rot_y(0.5), cyc_rot_x(0.05))));
	project p = read_project(NULL, NULL);
	cyc_projection q;
	ASSERT_OK(cyc_projection_of_tilt(&q, &p.tomograms->series[0], 0));
	matrices_equal(q.linear, cyc_tilt_to_matrix(cyc_deg_to_rad(3), cyc_deg_to_rad(25), cyc_deg_to_rad(80)));
	destroy_project(&p);
}

/* The whole chain from the map to the image, against numbers worked out by hand. */
static void sentence_09_feature(void **state)
{
	(void)state;
	project p = read_project(POSED, NULL);
	const cyc_tilt_series *ts = &p.tomograms->series[0];
	const cyc_particle *q = find_particle(&p, "p1");
	cyc_projection projection;
	double x, y;
	ASSERT_OK(cyc_projection_of_tilt(&projection, ts, 0));
	cyc_particle_position_px(&x, &y, &projection, ts, 0, q);
	cyc_vec3 r = cyc_mat3_apply(cyc_mat3_mul(projection.linear, q->R_tomo_ref), (cyc_vec3){ 5, -3, 2 });
	close_to(x + r.x, 75.184870, 1e-5);
	close_to(y + r.y, 59.138618, 1e-5);
	destroy_project(&p);
}

/* ---------------------------------------------------------------- grids and centres */

static void sentence_10_arrays(void **state)
{
	(void)state;
	cyc_volume *v = NULL;
	char *bytes = NULL;
	size_t n = 0;
	ASSERT_OK(cyc_volume_create(&v, 4, 6, 2, 1));
	v->data[(1 * 6 + 2) * 4 + 3] = 7; /* z 1, y 2, x 3 */
	ASSERT_OK(cyc_mrc_write(temp_path("order.mrc"), v, 2, NULL));
	ASSERT_OK(cyc_read_file(&bytes, &n, temp_path("order.mrc")));
	int32_t size[3];
	float value;
	memcpy(size, bytes, sizeof size);
	memcpy(&value, bytes + 1024 + 4 * ((1 * 6 + 2) * 4 + 3), sizeof value);
	assert_true(size[0] == 4 && size[1] == 6 && size[2] == 2);
	close_to((double)value, 7, 0);
	cyc_free(bytes);
	cyc_volume_destroy(&v);
}

static void sentence_11_pixels(void **state)
{
	(void)state;
	cyc_volume *v = NULL, *small = NULL;
	ASSERT_OK(cyc_volume_create(&v, 12, 12, 12, 1));
	v->data[(6 * 12 + 6) * 12 + 6] = 1;
	ASSERT_OK(cyc_volume_resize(&small, v, 8, 1));
	close_to((double)small->data[(4 * 8 + 4) * 8 + 4], 1, 0);
	cyc_volume_destroy(&small);
	cyc_volume_destroy(&v);
}

static void sentence_12_centres(void **state)
{
	(void)state;
	cyc_tilt tilt;
	cyc_tilt_series ts = example_series(&tilt);
	tilt.shift_x_A = tilt.shift_y_A = 0;
	vector_close_to(project_point(&ts, 0, 0, 0), 1919, 1855, 0, 1e-9);
	/* Odd sizes: the voxel the tilts turn about is half a pixel below the point coordinates count from. */
	ts.size_px[0] = 4001;
	ts.size_px[2] = 2001;
	ts.image_nx = 3839;
	vector_close_to(project_point(&ts, -0.5 * 1.35, 0, -0.5 * 1.35), 1919, 1855, 0, 1e-9);
}

static void sentence_13_projection(void **state)
{
	(void)state;
	cyc_tilt tilt;
	cyc_tilt_series ts = example_series(&tilt);
	vector_close_to(project_point(&ts, 540, -270, 135), 2172.788362, 2222.470553, -113.397460, 1e-5);
}

static void sentence_14_shifts(void **state)
{
	(void)state;
	cyc_tilt tilt;
	cyc_tilt_series ts = example_series(&tilt);
	vector_close_to(project_point(&ts, 0, 0, 0), 1919 + 20, 1855 - 10, 0, 1e-9);
}

static void sentence_15_matrices(void **state)
{
	(void)state;
	cyc_tilt tilt;
	cyc_tilt_series ts = example_series(&tilt);
	static const double P[3][4] = { { 0.075479, -0.996195, 0.043578, 3736.853350 },
		                            { 0.862730, 0.087156, 0.498097, -552.868666 },
		                            { -0.5, 0, 0.866025, 133.974596 } };
	cyc_vec3 by_angles = project_point(&ts, 540, -270, 135);
	memcpy(tilt.matrix, P, sizeof P);
	tilt.has_matrix = true;
	vector_close_to(project_point(&ts, 540, -270, 135), by_angles.x, by_angles.y, by_angles.z,
	                5e-3); /* six decimals of P times 4000 px */
	tilt.matrix[0][3] += 100;
	close_to(project_point(&ts, 540, -270, 135).x, by_angles.x + 100, 5e-3);
}

static void sentence_16_visible(void **state)
{
	(void)state;
	const cyc_tilt_series ts = { .image_nx = 100, .image_ny = 80 };
	assert_false(cyc_is_visible(&ts, 16, 40, 16));
	assert_true(cyc_is_visible(&ts, 16.001, 40, 16));
	assert_true(cyc_is_visible(&ts, 50, 63.999, 16));
	assert_false(cyc_is_visible(&ts, 50, 64, 16));
	assert_false(cyc_is_visible(&ts, 84, 40, 16));
}

/* ---------------------------------------------------------------- Fourier space */

static void sentence_17_transforms(void **state)
{
	(void)state;
	enum { N = 8 };
	cyc_fft3 *plan = NULL;
	float *real = NULL;
	cyc_cfloat *ft = NULL;
	ASSERT_OK(cyc_alloc(&real, N * N * N, sizeof *real));
	ASSERT_OK(cyc_alloc(&ft, cyc_half_count3(N), sizeof *ft));
	ASSERT_OK(cyc_fft3_create(&plan, N, 1));
	real[(2 * N + 1) * N + 3] = 5; /* at x 3, y 1, z 2 */
	ASSERT_OK(cyc_fft3_forward(ft, plan, real));
	cyc_cfloat expected = 5 * wave(-(1 * 3 + 2 * 1 + 3 * 2) / 8.0), got = ft[(3 * N + 2) * (N / 2 + 1) + 1];
	close_to((double)cabsf(got - expected), 0, 1e-5);
	ASSERT_OK(cyc_fft3_inverse(real, plan, ft));
	close_to((double)real[(2 * N + 1) * N + 3], 5, 1e-5);
	close_to((double)real[0], 0, 1e-5);
	cyc_fft3_destroy(&plan);
	cyc_free(real);
	cyc_free(ft);
}

static void sentence_18_indices(void **state)
{
	(void)state;
	enum { N = 16 };
	cyc_fft2 *plan = NULL;
	float *real = NULL;
	cyc_cfloat *ft = NULL;
	ASSERT_OK(cyc_alloc(&real, N * N, sizeof *real));
	ASSERT_OK(cyc_alloc(&ft, cyc_half_count2(N), sizeof *ft));
	ASSERT_OK(cyc_fft2_create(&plan, N, N));
	for (int y = 0; y < N; y++)
		for (int x = 0; x < N; x++)
			real[y * N + x] = (float)cos(2 * CYC_PI * (2 * x - 3 * y) / N); /* frequency (2, -3) */
	cyc_fft2_forward(ft, plan, real);
	close_to((double)crealf(ft[13 * (N / 2 + 1) + 2]), N * N / 2.0, 1e-3);
	cyc_fft2_destroy(&plan);
	cyc_free(real);
	cyc_free(ft);
	/* Row n/2 of a table of phases is that of the negative Nyquist frequency. */
	double odd[2] = { 0.7, 0 }; /* proportional to ky */
	const cyc_optics_group group = { .odd_zernike = odd, .n_odd = 2 };
	cyc_tilt tilt;
	cyc_tilt_series ts = example_series(&tilt);
	cyc_tilt_tables *tables = NULL;
	ASSERT_OK(cyc_tilt_tables_create(&tables, N, 2));
	ASSERT_OK(cyc_tilt_tables_fill(tables, &ts, 0, &group, 1.35, 0.01));
	close_to((double)cargf(tables->odd_phase[(N / 2) * (N / 2 + 1)]), -0.7 * 0.5 / 1.35, 1e-6);
	cyc_tilt_tables_destroy(&tables);
}

static void sentence_19_shells(void **state)
{
	(void)state;
	/* Box 16 of 2 Å: i / 32 per Å. */
	char text[2048] =
		"data_general\n_rlnFinalResolution "
		"8\n\ndata_fsc\nloop_\n_rlnSpectralIndex\n_rlnResolution\n_rlnFourierShellCorrelationCorrected\n";
	for (int i = 0; i <= 8; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%d %.6f %.3f\n", i, i / 32.0, 1 - 0.1 * i);
	cyc_fsc_file *f = NULL;
	temp_write("postprocess.star", text);
	ASSERT_OK(cyc_fsc_file_read(&f, temp_path("postprocess.star")));
	assert_int_equal(f->box, 16);
	close_to(f->pixel_size_A, 2, 1e-4);
	close_to(f->corrected[3], 0.7, 1e-9);
	cyc_fsc_file_destroy(&f);
}

static void sentence_20_windows(void **state)
{
	(void)state;
	enum { N = 96, S = 64, s = 32 };
	const double x = 40.3, y = 50.8, sigma = 3;
	const double at_px[2] = { x, y };
	const cyc_window_spec spec = { .box_px = S, .box_binned = s, .no_circle_crop = true };
	cyc_backend *be = open_backend();
	float *pixels = image_of_gaussian(N, x, y, sigma, 1);
	cyc_buffer *image = buffer_of(be, pixels, N * N, sizeof(float)),
			   *ft = buffer_of(be, NULL, cyc_half_count2(s), sizeof(cyc_cfloat));
	cyc_cfloat *X = NULL;
	ASSERT_OK(cyc_alloc(&X, cyc_half_count2(s), sizeof *X));
	ASSERT_OK(cyc_op_window(ft, be, image, N, N, at_px, 1, &spec));
	ASSERT_OK(cyc_buffer_download(X, ft, cyc_half_count2(s) * sizeof *X));
	for (int32_t ky = -6; ky <= 6; ky += 3)
		for (int32_t kx = 0; kx <= 6; kx += 2) {
			double k2 = (double)(kx * kx + ky * ky) / (S * S),
				   expected = 2 * CYC_PI * sigma * sigma * exp(-2 * CYC_PI * CYC_PI * sigma * sigma * k2) /
			                  (S * 2.0);
			cyc_cfloat got = X[index_of(kx, ky, s)];
			close_to((double)crealf(got), expected, 1e-5);
			close_to((double)cimagf(got), 0, 1e-5); /* no phase left: the particle is on the origin */
		}
	cyc_free(X);
	cyc_free(pixels);
	cyc_buffer_destroy(&image);
	cyc_buffer_destroy(&ft);
	cyc_backend_close(&be);
}

/* A point at r from the centre of the map is exp(-2 pi i k.r / s); its projection lies at (R r).xy. */
static void sentence_21_slices(void **state)
{
	(void)state;
	enum { s = 64, columns = s / 2 + 2 };
	const cyc_mat3 R = euler_deg(30, 40, 50);
	const cyc_vec3 r = { 1, -0.5, 0.8 }, q = cyc_mat3_apply(R, r);
	const int32_t radius = 20;
	const int8_t use = 0;
	cyc_backend *be = open_backend();
	cyc_cfloat *F = NULL, *slice = NULL;
	ASSERT_OK(cyc_alloc(&F, cyc_reference_count(s), sizeof *F));
	ASSERT_OK(cyc_alloc(&slice, cyc_half_count2(s), sizeof *slice));
	for (int32_t z = 0; z < s; z++)
		for (int32_t y = 0; y < s; y++)
			for (int32_t x = 0; x < columns; x++)
				F[(z * s + y) * columns + x] =
					wave(-(x * r.x + (y < s / 2 ? y : y - s) * r.y + (z < s / 2 ? z : z - s) * r.z) / s);
	cyc_buffer *reference = buffer_of(be, F, cyc_reference_count(s), sizeof *F),
			   *ft = buffer_of(be, NULL, cyc_half_count2(s), sizeof *slice);
	ASSERT_OK(cyc_op_slice_extract(ft, be,
	                               &(cyc_slice_extract_in){ .reference = reference,
	                                                        .m = s,
	                                                        .edge = s,
	                                                        .M = &R,
	                                                        .radius = radius,
	                                                        .use = &use,
	                                                        .n = 1,
	                                                        .s = s }));
	ASSERT_OK(cyc_buffer_download(slice, ft, cyc_half_count2(s) * sizeof *slice));
	for (int32_t ky = -12; ky <= 12; ky += 4)
		for (int32_t kx = 0; kx <= 12; kx += 4)
			close_to((double)cabsf(slice[index_of(kx, ky, s)] - wave(-(kx * q.x + ky * q.y) / s)), 0, 0.01);
	/* And back: the slice, inserted, is the map's transform where it passes. The minus is that of dark
	 * particles (24). */
	for (int32_t ky = -s / 2; ky < s / 2; ky++)
		for (int32_t kx = 0; kx <= s / 2; kx++)
			slice[index_of(kx, ky, s)] = -wave(-(kx * q.x + ky * q.y) / s);
	ASSERT_OK(cyc_buffer_upload(ft, slice, cyc_half_count2(s) * sizeof *slice));
	cyc_buffer *packed = buffer_of(be, NULL, cyc_packed_count(s), sizeof(float));
	cyc_sums *sums = NULL;
	cyc_half_sum *sum = NULL;
	const cyc_slices slices = { .M = &R, .radius = &radius, .n = 1, .s = s };
	ASSERT_OK(cyc_sums_create(&sums, be, s, s / 2, -1, 2));
	ASSERT_OK(cyc_op_modulate(packed, be, &(cyc_modulate_in){ .ft = ft, .n = 1, .s = s }));
	insert(sums, be, packed, &slices, 0);
	ASSERT_OK(cyc_sums_take(&sum, sums, 0, 1, -1, NULL, 0));
	int n_checked = 0;
	for (int32_t kz = -9; kz <= 9; kz++)
		for (int32_t ky = -9; ky <= 9; ky++)
			for (int32_t kx = 0; kx <= 9; kx++) {
				double h = R.m[2][0] * kx + R.m[2][1] * ky + R.m[2][2] * kz;
				const float *at = voxel_of(sum, kx, ky, kz);
				close_to((double)at[2], fmax(0, 1 - fabs(h)), 1e-5);
				if (fabs(h) > 0.2) continue;
				n_checked++;
				close_to(
					(double)cabsf((at[0] + at[1] * I) / at[2] - wave(-(kx * r.x + ky * r.y + kz * r.z) / s)),
					0, 0.05);
			}
	assert_true(n_checked > 20);
	cyc_buffer *const all[] = { reference, ft, packed };
	for (size_t i = 0; i < 3; i++) cyc_buffer_destroy(&(cyc_buffer *){ all[i] });
	cyc_sums_destroy(&sums);
	cyc_half_sum_destroy(&sum);
	cyc_free(F);
	cyc_free(slice);
	cyc_backend_close(&be);
}

/* ---------------------------------------------------------------- signs */

static const cyc_ctf CTF = { .wavelength_A = 0.01968762,
	                         .spherical_aberration_mm = 2.7,
	                         .amplitude_contrast_frac = 0.1,
	                         .defocus_u_A = 32000,
	                         .defocus_v_A = 30000,
	                         .defocus_angle_rad = CYC_PI / 6,
	                         .scale = 1 };

static void sentence_22_underfocus(void **state)
{
	(void)state;
	cyc_ctf round_u = CTF;
	round_u.defocus_v_A = CTF.defocus_u_A;
	double kx = 0.05 * cos(CYC_PI / 6), ky = 0.05 * sin(CYC_PI / 6);
	close_to(cyc_ctf_phase(&CTF, kx, ky, 0), cyc_ctf_phase(&round_u, kx, ky, 0), 1e-9);
	assert_true(fabs(cyc_ctf_phase(&CTF, kx, -ky, 0) - cyc_ctf_phase(&round_u, kx, -ky, 0)) > 0.1);
	/* Underfocus first raises the contrast of low frequencies; overfocus turns its sign. */
	cyc_ctf over = round_u;
	over.defocus_u_A = over.defocus_v_A = -32000;
	assert_true(cyc_ctf_value(&round_u, 0.01, 0, 0) > 0.1 && cyc_ctf_value(&over, 0.01, 0, 0) < 0.1);
}

static void sentence_23_ctf(void **state)
{
	(void)state;
	close_to(cyc_ctf_value(&CTF, 0, 0, 0), 0.1, 1e-12);
	cyc_ctf c = CTF;
	c.scale = 0.5;
	c.bfactor_A2 = 40;
	close_to(cyc_ctf_value(&c, 0.06, 0.08, 0),
	         -0.5 * exp(-0.25 * 40 * 0.01) * sin(cyc_ctf_phase(&CTF, 0.06, 0.08, 0)), 1e-12);
}

/* Inserted values at one coefficient of one window. */
static void modulated(float out[3], cyc_cfloat X, float ctf, cyc_cfloat phase)
{
	enum { s = 8 };
	cyc_cfloat ft[s * (s / 2 + 1)] = { 0 }, chi[s * (s / 2 + 1)];
	float c[s * (s / 2 + 1)] = { 0 };
	cyc_backend *be = open_backend();
	for (size_t i = 0; i < sizeof chi / sizeof *chi; i++) chi[i] = 1;
	ft[index_of(2, -1, s)] = X;
	c[index_of(2, -1, s)] = ctf;
	chi[index_of(2, -1, s)] = phase;
	cyc_buffer *b_ft = buffer_of(be, ft, sizeof ft / sizeof *ft, sizeof *ft),
			   *b_c = buffer_of(be, c, sizeof c / sizeof *c, sizeof *c);
	cyc_buffer *b_chi = buffer_of(be, chi, sizeof chi / sizeof *chi, sizeof *chi),
			   *packed = buffer_of(be, NULL, cyc_packed_count(s), sizeof(float));
	ASSERT_OK(cyc_op_modulate(packed, be,
	                          &(cyc_modulate_in){ .ft = b_ft, .ctf = b_c, .phase = b_chi, .n = 1, .s = s }));
	const float *v = NULL;
	ASSERT_OK(cyc_buffer_map(&v, packed));
	/* Rows of the packed slice begin at -s/2 - 1. */
	memcpy(out, v + 4 * ((-1 + s / 2 + 1) * (s / 2 + 2) + 2), 3 * sizeof *out);
	ASSERT_OK(cyc_buffer_unmap(packed));
	cyc_buffer_destroy(&b_ft);
	cyc_buffer_destroy(&b_c);
	cyc_buffer_destroy(&b_chi);
	cyc_buffer_destroy(&packed);
	cyc_backend_close(&be);
}

static void sentence_24_dark_particles(void **state)
{
	(void)state;
	float v[3];
	modulated(v, 3 + 4 * I, 0.5F, 1);
	close_to((double)v[0], -1.5, 1e-6);
	close_to((double)v[1], -2, 1e-6);
	close_to((double)v[2], 0.25, 1e-6);
}

static void sentence_25_hand(void **state)
{
	(void)state;
	cyc_tilt tilt;
	cyc_tilt_series ts = example_series(&tilt);
	cyc_projection p;
	const cyc_particle q = { .position_A = { 540, -270, 135 } };
	ASSERT_OK(cyc_projection_of_tilt(&p, &ts, 0));
	close_to(cyc_particle_extra_defocus_A(&p, &ts, &q), 153.087, 1e-3);
	ts.hand = 1;
	ts.defocus_slope = 0.5;
	close_to(cyc_particle_extra_defocus_A(&p, &ts, &q), -0.5 * 153.087, 1e-3);
	cyc_ctf deeper = CTF;
	deeper.defocus_u_A += 100;
	deeper.defocus_v_A += 100;
	close_to(cyc_ctf_value(&CTF, 0.05, 0.02, 100), cyc_ctf_value(&deeper, 0.05, 0.02, 0), 1e-9);
}

static void sentence_26_origin(void **state)
{
	(void)state;
	temp_write("tomograms.star", TOMOGRAMS);
	project p =
		read_project(OPTICS PARTICLES_HEAD "_rlnOriginXAngst\n_rlnOriginYAngst\n_rlnOriginZAngst\n_"
	                                       "rlnTomoSubtomogramRot\n_rlnTomoSubtomogramTilt\n"
	                                       "_rlnTomoSubtomogramPsi\nTS_01 p1 1 10 20 30 1 2.7 0 5.4 0 90 0\n",
	                 NULL);
	vector_close_to(find_particle(&p, "p1")->position_A, 10 + 5.4, 20, 30 - 2.7, 1e-6);
	destroy_project(&p);
}

static void sentence_27_motion(void **state)
{
	(void)state;
	project p = read_project(PARTICLES, "motion.star");
	const cyc_tilt_series *ts = &p.tomograms->series[0];
	const cyc_particle *q = find_particle(&p, "TS_01/1");
	cyc_projection projection;
	double x, y;
	ASSERT_OK(cyc_projection_of_tilt(&projection, ts, 2));
	cyc_particle_position_px(&x, &y, &projection, ts, 2, q);
	cyc_vec3 moved =
		cyc_project(&projection, (cyc_vec3){ q->position_A.x + 4, q->position_A.y + 5, q->position_A.z + 6 });
	close_to(x, moved.x, 1e-5);
	close_to(y, moved.y, 1e-5);
	cyc_particle still = *q;
	still.motion_A = NULL;
	close_to(cyc_particle_extra_defocus_A(&projection, ts, q),
	         cyc_particle_extra_defocus_A(&projection, ts, &still), 0);
	destroy_project(&p);
}

static void sentence_28_aberrations(void **state)
{
	(void)state;
	const double even[3] = { 0, 0, 3 }; /* Z(2,0) = 2 k^2 - 1 */
	cyc_ctf c = CTF;
	c.even_zernike = even;
	c.n_even = 3;
	close_to(cyc_ctf_phase(&c, 0.1, 0.2, 0) - cyc_ctf_phase(&CTF, 0.1, 0.2, 0), 3 * (2 * 0.05 - 1), 1e-9);
	float v[3];
	modulated(v, -wave(0.2), 1, wave(0.2)); /* what exp(+i phase) did to the image is undone */
	close_to((double)v[0], 1, 1e-6);
	close_to((double)v[1], 0, 1e-6);
}

static void sentence_29_dose(void **state)
{
	(void)state;
	enum { s = 16 };
	cyc_tilt tilt;
	cyc_tilt_series ts = example_series(&tilt);
	cyc_tilt_tables *t = NULL;
	tilt.pre_exposure_e_per_A2 = 30;
	ASSERT_OK(cyc_tilt_tables_create(&t, s, 2));
	ASSERT_OK(cyc_tilt_tables_fill(t, &ts, 0, NULL, 2.5, 0.01)); /* index 4 is 4 / 40 Å */
	close_to((double)t->envelope[4], 0.346128, 1e-6);
	cyc_tilt_tables_destroy(&t);
	float v[3];
	modulated(v, -1, 0.346128F, 1);
	close_to((double)v[0], 0.346128, 1e-6);
	close_to((double)v[2], 0.346128 * 0.346128, 1e-6);
}

static void sentence_30_scale(void **state)
{
	(void)state;
	project p = read_project(NULL, NULL);
	cyc_ctf c = cyc_ctf_of_tilt(&p.tomograms->series[0], 0, NULL), one = c;
	close_to(c.scale, 0.9, 1e-12);
	one.scale = 1;
	close_to(cyc_ctf_value(&c, 0.1, 0, 0), 0.9 * cyc_ctf_value(&one, 0.1, 0, 0), 1e-12);
	close_to(p.tomograms->series[0].tilts[2].scale, 0, 0);
	destroy_project(&p);
	temp_write("Import/job001/tilt_series/TS_01.star",
	           "data_TS_01\n\n" TILTS_HEAD "frames/a1.mrc 6 3 25 80 5 -7 30000 29000 45 -0.9 p\n");
	cyc_tomogram_set *set = NULL;
	ASSERT_FAILS(cyc_tomogram_set_read(&set, "tomograms.star", temp_dir), CYC_E_DATA, "TS_01.star");
}

/* ---------------------------------------------------------------- order and halves */

static void sentence_31_frame_order(void **state)
{
	(void)state;
	project p = read_project(PARTICLES, "motion.star");
	const cyc_tilt_series *ts = &p.tomograms->series[0];
	int32_t order[3];
	cyc_tilt_series_chronological(order, ts); /* doses 6, 0, 3 */
	assert_true(order[0] == 1 && order[1] == 2 && order[2] == 0);
	cyc_tilt_series_chronological(order, &p.tomograms->series[1]); /* equal doses */
	assert_true(order[0] == 0 && order[1] == 1);
	close_to((double)find_particle(&p, "TS_01/1")->motion_A[0], 1,
	         0); /* row 0 of the file, though last in time */
	destroy_project(&p);
}

static void sentence_32_halves(void **state)
{
	(void)state;
	enum { s = 8 };
	project p = read_project(PARTICLES, NULL);
	assert_int_equal(find_particle(&p, "TS_01/1")->half, 1);
	assert_int_equal(find_particle(&p, "TS_01/7")->half, 0);
	destroy_project(&p);
	p = read_project(OPTICS "data_particles\n\nloop_\n_rlnTomoName\n_rlnTomoParticleName\n_rlnOpticsGroup\n_"
	                        "rlnCenteredCoordinateXAngst\n"
	                        "_rlnCenteredCoordinateYAngst\n_rlnCenteredCoordinateZAngst\nTS_01 p1 1 0 0 0\n",
	                 NULL);
	assert_int_equal(p.particles->particles[0].half, -1);
	destroy_project(&p);
	/* Two slices of weights 1 and 4; the second half gets the second only. */
	cyc_backend *be = open_backend();
	const cyc_mat3 R[2] = { cyc_mat3_identity(), cyc_mat3_identity() };
	const int32_t radius[2] = { 2, 2 };
	const int8_t half[2] = { 0, 1 };
	const double weight[2] = { 1, 4 };
	cyc_buffer *ft = buffer_of(be, NULL, 2 * cyc_half_count2(s), sizeof(cyc_cfloat)),
			   *packed = buffer_of(be, NULL, 2 * cyc_packed_count(s), sizeof(float));
	cyc_sums *sums = NULL;
	cyc_half_sum *sum = NULL;
	const cyc_slices slices = { .M = R, .radius = radius, .use = half, .select = 1, .n = 2, .s = s };
	ASSERT_OK(cyc_sums_create(&sums, be, s, s / 2, -1, 2));
	ASSERT_OK(cyc_op_modulate(packed, be,
	                          &(cyc_modulate_in){ .ft = ft, .particle_weight = weight, .n = 2, .s = s }));
	insert(sums, be, packed, &slices, 0);
	ASSERT_OK(cyc_sums_take(&sum, sums, 0, 1, -1, NULL, 0));
	close_to((double)voxel_of(sum, 1, 0, 0)[2], 4, 1e-6);
	cyc_buffer_destroy(&ft);
	cyc_buffer_destroy(&packed);
	cyc_sums_destroy(&sums);
	cyc_half_sum_destroy(&sum);
	cyc_backend_close(&be);
}

static void sentence_33_point_groups(void **state)
{
	(void)state;
	cyc_symmetry *c6 = NULL, *d3 = NULL;
	ASSERT_OK(cyc_symmetry_create(&c6, "C6"));
	ASSERT_OK(cyc_symmetry_create(&d3, "D3"));
	matrices_equal(c6->ops[0], cyc_mat3_identity());
	matrices_equal(d3->ops[0], cyc_mat3_identity());
	for (int i = 0; i < 6; i++)
		vector_close_to(cyc_mat3_apply(c6->ops[i], (cyc_vec3){ 0, 0, 1 }), 0, 0, 1, 1e-12);
	int n_x = 0;
	for (int i = 1; i < 6; i++) {
		cyc_vec3 v = cyc_mat3_apply(d3->ops[i], (cyc_vec3){ 1, 0, 0 });
		n_x += fabs(v.x - 1) < 1e-12;
	}
	assert_int_equal(n_x, 1);
	cyc_symmetry_destroy(&c6);
	cyc_symmetry_destroy(&d3);
}

/* ---------------------------------------------------------------- maps and files */

/* A Gaussian of height 1 per image voxel, seen from 300 directions, reconstructed: the grey value at its
 * centre. */
static double reconstructed_peak(int32_t s, int32_t binning)
{
	enum { N_VIEWS = 300 };
	int32_t S = s * binning, N = S + 8;
	const double sigma = 1.5 * binning, at = N / 2.0, at_px[2] = { at, at };
	const cyc_window_spec spec = { .box_px = S, .box_binned = s, .no_circle_crop = true };
	const cyc_finish_spec finish = { .pixel_size_A = binning, .snr = -1, .grey_scale = 1 };
	const int32_t radius = s / 2;
	cyc_backend *be = open_backend();
	float *pixels = image_of_gaussian(N, at, at, sigma, -sigma * sqrt(2 * CYC_PI)); /* the projection, dark */
	cyc_buffer *image = buffer_of(be, pixels, (size_t)N * (size_t)N, sizeof(float)),
			   *ft = buffer_of(be, NULL, cyc_half_count2(s), sizeof(cyc_cfloat));
	cyc_buffer *packed = buffer_of(be, NULL, cyc_packed_count(s), sizeof(float));
	cyc_sums *sums = NULL;
	cyc_half_sum *sum = NULL;
	ASSERT_OK(cyc_sums_create(&sums, be, s, s / 2, -1, 2));
	ASSERT_OK(cyc_op_window(ft, be, image, N, N, at_px, 1, &spec));
	ASSERT_OK(cyc_op_modulate(packed, be, &(cyc_modulate_in){ .ft = ft, .n = 1, .s = s }));
	for (int i = 0; i < N_VIEWS; i++) {
		cyc_rng r = cyc_rng_make(5, 0, (uint64_t)i);
		double rot = 2 * CYC_PI * cyc_rng_uniform(&r), tilt = acos(2 * cyc_rng_uniform(&r) - 1);
		cyc_mat3 R = cyc_euler_to_matrix(rot, tilt, 0);
		insert(sums, be, packed, &(cyc_slices){ .M = &R, .radius = &radius, .n = 1, .s = s }, 0);
	}
	cyc_volume *map = NULL;
	ASSERT_OK(cyc_sums_take(&sum, sums, 0, 1, -1, NULL, 0));
	ASSERT_OK(cyc_finish_map(&map, NULL, NULL, be, sum, NULL, &finish));
	double peak =
		(double)map->data[((size_t)(s / 2) * (size_t)s + (size_t)(s / 2)) * (size_t)s + (size_t)(s / 2)];
	cyc_volume_destroy(&map);
	cyc_buffer_destroy(&image);
	cyc_buffer_destroy(&ft);
	cyc_buffer_destroy(&packed);
	cyc_sums_destroy(&sums);
	cyc_half_sum_destroy(&sum);
	cyc_free(pixels);
	cyc_backend_close(&be);
	return peak;
}

static void sentence_34_grey_scale(void **state)
{
	(void)state;
	close_to(reconstructed_peak(24, 1) / sqrt(24), 1, 0.03);
	close_to(reconstructed_peak(24, 2) / (2 * sqrt(24)), 1, 0.03);
}

static void sentence_35_mrc(void **state)
{
	(void)state;
	cyc_volume *v = NULL;
	char *bytes = NULL;
	size_t n = 0;
	int32_t mode;
	float cell[3], origin[3];
	ASSERT_OK(cyc_volume_create(&v, 8, 8, 8, 1.7));
	v->data[0] = 1;
	ASSERT_OK(cyc_mrc_write(temp_path("map.mrc"), v, 2, "a label"));
	ASSERT_OK(cyc_read_file(&bytes, &n, temp_path("map.mrc")));
	memcpy(&mode, bytes + 12, sizeof mode);
	memcpy(cell, bytes + 40, sizeof cell);
	memcpy(origin, bytes + 196, sizeof origin);
	assert_int_equal(mode, 2);
	for (int i = 0; i < 3; i++) {
		close_to((double)cell[i] / 8, 1.7, 1e-6);
		close_to((double)origin[i], 0, 0);
	}
	/* The label as given, and then nothing. */
	assert_memory_equal(bytes + 224, "a label", 7);
	for (size_t i = 224 + 7; i < 1024; i++) assert_true(bytes[i] == ' ' || bytes[i] == 0);
	cyc_free(bytes);
	cyc_volume_destroy(&v);
}

static void sentence_36_written_defocus(void **state)
{
	(void)state;
	double u, v, a;
	cyc_defocus_to_uva(&u, &v, &a, cyc_defocus_from_uva(30000, 32000, cyc_deg_to_rad(-30)));
	close_to(u, 32000, 1e-8);
	close_to(v, 30000, 1e-8);
	close_to(a, cyc_deg_to_rad(60), 1e-12);
	cyc_defocus_to_uva(&u, &v, &a, cyc_defocus_from_uva(31000, 30000, cyc_deg_to_rad(-20)));
	close_to(a, cyc_deg_to_rad(160), 1e-12);
	cyc_defocus_to_uva(&u, &v, &a, cyc_defocus_from_uva(31000, 31000, 1));
	close_to(a, 0, 0);
}

static void sentence_37_unchanged_text(void **state)
{
	(void)state;
	cyc_tomogram_set *set = NULL;
	char *text = NULL;
	size_t n = 0;
	temp_write("Import/job001/tilt_series/TS_01.star",
	           "data_TS_01\n\n" TILTS_HEAD
	           "frames/a1.mrc 6.000 3 25 80 5 -7 30000.0 29000 45 0.9 \"my text\"\n");
	ASSERT_OK(cyc_tomogram_set_read(&set, "tomograms.star", temp_dir));
	set->series[0].tilts[0].scale = 0.8;
	ASSERT_OK(cyc_tomogram_set_write(set, "Out/job002/", temp_dir, CYC_WRITE_SCALE));
	ASSERT_OK(cyc_read_file(&text, &n, temp_path("Out/job002/tilt_series/TS_01.star")));
	assert_non_null(strstr(text, " 6.000 "));
	assert_non_null(strstr(text, " 30000.0 "));
	assert_non_null(strstr(text, "\"my text\""));
	assert_non_null(strstr(text, "0.800000"));
	assert_null(strstr(text, " 0.9 "));
	cyc_free(text);
	cyc_tomogram_set_destroy(&set);
}

static void sentence_38_paths(void **state)
{
	(void)state;
	project p = read_project(PARTICLES, NULL);
	assert_true(strncmp(p.tomograms->series[0].image_path[0], temp_dir, strlen(temp_dir)) == 0);
	assert_string_equal(p.tomograms->series[0].star_path, "Import/job001/tilt_series/TS_01.star");
	ASSERT_OK(cyc_tomogram_set_write(p.tomograms, "CtfRefine/job012/", temp_dir, 0));
	assert_string_equal(p.tomograms->series[0].star_path, "CtfRefine/job012/tilt_series/TS_01.star");
	assert_true(temp_exists("CtfRefine/job012/tilt_series/TS_01.star"));
	destroy_project(&p);
}

static void sentence_39_magnification(void **state)
{
	(void)state;
	enum { s = 16, kx = 3, ky = -5 };
	project p = read_project(POSED, NULL);
	cyc_tilt_series *ts = &p.tomograms->series[0];
	cyc_optics_group *group = &p.particles->optics[0];
	cyc_box box;
	cyc_tilt_batch *b[2] = { NULL, NULL };
	cyc_tilt_tables *t = NULL;
	int64_t outside = 0;
	const double M[2][2] = { { 1.02, 0.01 }, { -0.005, 0.97 } }, even[9] = { 0, 0, 0, 0, 2, 0, 0, 0, 7 };
	ASSERT_OK(cyc_box_create(&box, s, 1, ts->pixel_size_A));
	for (int k = 0; k < 2; k++) {
		int64_t cursor = 0;
		if (k == 1) ASSERT_OK(cyc_particle_set_put_magnification(p.particles, 0, M));
		ASSERT_OK(cyc_tilt_batch_create(&b[k], 1));
		ASSERT_OK(cyc_tilt_batch_fill(b[k], &cursor, &outside, &(cyc_image_group){ ts, 0, p.particles, 0, 0 },
		                              &box));
		assert_int_equal(b[k]->n, 1);
	}
	close_to(b[1]->at_px[0], b[0]->at_px[0], 0);
	close_to(b[1]->at_px[1], b[0]->at_px[1], 0);
	/* The slice at k of the one is the slice at M k of the other. */
	double Mx = M[0][0] * kx + M[0][1] * ky, My = M[1][0] * kx + M[1][1] * ky;
	cyc_vec3 stretched = cyc_mat3_apply(cyc_mat3_transpose(b[1]->R_img_ref[0]), (cyc_vec3){ kx, ky, 0 });
	cyc_vec3 plain = cyc_mat3_apply(cyc_mat3_transpose(b[0]->R_img_ref[0]), (cyc_vec3){ Mx, My, 0 });
	vector_close_to(stretched, plain.x, plain.y, plain.z, 1e-12);
	/* So are phase, envelope and |k|^2 of the CTF. */
	ASSERT_OK(cyc_particle_set_put_aberrations(p.particles, 0, even, 9, NULL, 0));
	ASSERT_OK(cyc_tilt_tables_create(&t, s, 2));
	ASSERT_OK(cyc_tilt_tables_fill(t, ts, 0, group, ts->pixel_size_A, 0.01));
	assert_true(t->has_k2);
	double step = 1 / (s * ts->pixel_size_A), r = hypot(Mx, My) * step;
	const cyc_ctf ctf = cyc_ctf_of_tilt(ts, 0, group);
	double turns = cyc_ctf_phase(&ctf, Mx * step, My * step, 0) / (2 * CYC_PI);
	size_t at = index_of(kx, ky, s);
	close_to((double)t->turns[at], turns - round(turns), 1e-5);
	close_to((double)t->k2[at], Mx * Mx + My * My, 1e-4);
	close_to((double)t->envelope[at], ctf.scale * cyc_dose_weight(r, ts->tilts[0].pre_exposure_e_per_A2, 0),
	         1e-6);
	cyc_tilt_tables_destroy(&t);
	for (int k = 0; k < 2; k++) cyc_tilt_batch_destroy(&b[k]);
	destroy_project(&p);
}

static int set_up(void **state)
{
	(void)state;
	small_project_write();
	return 0;
}
#define SENTENCE(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENTENCE(sentence_01_units),
		SENTENCE(sentence_02_files_and_library),
		SENTENCE(sentence_03_px),
		SENTENCE(sentence_04_neighbours_match),
		SENTENCE(sentence_05_rotations),
		SENTENCE(sentence_06_euler),
		SENTENCE(sentence_07_subtomogram),
		SENTENCE(sentence_08_tilt),
		SENTENCE(sentence_09_feature),
		SENTENCE(sentence_10_arrays),
		SENTENCE(sentence_11_pixels),
		SENTENCE(sentence_12_centres),
		SENTENCE(sentence_13_projection),
		SENTENCE(sentence_14_shifts),
		SENTENCE(sentence_15_matrices),
		SENTENCE(sentence_16_visible),
		SENTENCE(sentence_17_transforms),
		SENTENCE(sentence_18_indices),
		SENTENCE(sentence_19_shells),
		SENTENCE(sentence_20_windows),
		SENTENCE(sentence_21_slices),
		SENTENCE(sentence_22_underfocus),
		SENTENCE(sentence_23_ctf),
		SENTENCE(sentence_24_dark_particles),
		SENTENCE(sentence_25_hand),
		SENTENCE(sentence_26_origin),
		SENTENCE(sentence_27_motion),
		SENTENCE(sentence_28_aberrations),
		SENTENCE(sentence_29_dose),
		SENTENCE(sentence_30_scale),
		SENTENCE(sentence_31_frame_order),
		SENTENCE(sentence_32_halves),
		SENTENCE(sentence_33_point_groups),
		SENTENCE(sentence_34_grey_scale),
		SENTENCE(sentence_35_mrc),
		SENTENCE(sentence_36_written_defocus),
		SENTENCE(sentence_37_unchanged_text),
		SENTENCE(sentence_38_paths),
		SENTENCE(sentence_39_magnification),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

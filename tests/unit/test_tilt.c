/* Geometry of tilt series with worked numbers, the whole chain from a feature of the map to the spectrum of
 * its window, noise spectra, tables of the CTF, and which windows are used. */
#include <complex.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"
#include "small_project.h"

#include "cyclotomo/images.h"
#include "cyclotomo/tilt.h"
#include "images/tilt_batch.h"

static const double complex i_unit = (double complex)I;

static void close_to(double value, double expected, double bound)
{
	if (!(fabs(value - expected) <= bound))
		fail_msg("got %.9g, expected %.9g within %g", value, expected, bound);
}

/* A series of one tilt as a plain value. */
static cyc_tilt_series series_of(cyc_tilt *t, double pixel_size_A, int32_t X, int32_t Y, int32_t Z, int32_t W,
                                 int32_t H)
{
	static char name[] = "TS";
	return (cyc_tilt_series){ .name = name,
		                      .pixel_size_A = pixel_size_A,
		                      .voltage_kV = 300,
		                      .spherical_aberration_mm = 2.7,
		                      .amplitude_contrast_frac = 0.1,
		                      .hand = -1,
		                      .defocus_slope = 1,
		                      .size_px = { X, Y, Z },
		                      .n_tilts = 1,
		                      .tilts = t,
		                      .image_nx = W,
		                      .image_ny = H };
}

/* ---------------------------------------------------------------- projection */

static void projection_example(void **state)
{
	(void)state;
	cyc_tilt t = { .has_angles = true,
		           .ytilt_rad = cyc_deg_to_rad(30),
		           .zrot_rad = cyc_deg_to_rad(85),
		           .shift_x_A = 27,
		           .shift_y_A = -13.5 };
	cyc_tilt_series ts = series_of(&t, 1.35, 4000, 4000, 2000, 3838, 3710);
	static const double P[3][4] = { { 0.075479, -0.996195, 0.043578, 3736.853350 },
		                            { 0.862730, 0.087156, 0.498097, -552.868666 },
		                            { -0.5, 0, 0.866025, 133.974596 } };
	cyc_projection p;
	ASSERT_OK(cyc_projection_of_tilt(&p, &ts, 0));
	for (int i = 0; i < 9; i++) close_to(p.linear.m[i / 3][i % 3], P[i / 3][i % 3], 6e-7);
	cyc_vec3 corner = cyc_project(&p, (cyc_vec3){ -2000 * 1.35, -2000 * 1.35, -1000 * 1.35 });
	close_to(corner.x, P[0][3], 6e-7);
	close_to(corner.y, P[1][3], 6e-7);
	close_to(corner.z, P[2][3], 6e-7);
	cyc_vec3 centre = cyc_project(&p, (cyc_vec3){ 0, 0, 0 });
	close_to(centre.x, 1939, 1e-9);
	close_to(centre.y, 1845, 1e-9);
	close_to(centre.z, 0, 1e-9);
	const cyc_particle particle = { .position_A = { 540, -270, 135 } };
	cyc_vec3 q = cyc_project(&p, particle.position_A);
	close_to(q.x, 2172.788362, 6e-7);
	close_to(q.y, 2222.470553, 6e-7);
	close_to(q.z, -113.397460, 6e-7);
	close_to(cyc_particle_extra_defocus_A(&p, &ts, &particle), 153.087, 5e-4);
	ts.hand = 1;
	ts.defocus_slope = 0.5;
	close_to(cyc_particle_extra_defocus_A(&p, &ts, &particle), -0.5 * 153.087, 5e-4);
}

/* P = T(shift) T(floor(image/2)) Rz Ry Rx T(-floor(tomogram/2)), on a point in tomogram pixels. */
static cyc_vec3 direct(const cyc_tilt_series *ts, cyc_vec3 p)
{
	const cyc_tilt *t = ts->tilts;
	cyc_vec3 v = { p.x - ts->size_px[0] / 2, p.y - ts->size_px[1] / 2, p.z - ts->size_px[2] / 2 };
	v = cyc_mat3_apply(cyc_rot_z(t->zrot_rad),
	                   cyc_mat3_apply(cyc_rot_y(t->ytilt_rad), cyc_mat3_apply(cyc_rot_x(t->xtilt_rad), v)));
	return (cyc_vec3){ v.x + ts->image_nx / 2 + t->shift_x_A / ts->pixel_size_A,
		               v.y + ts->image_ny / 2 + t->shift_y_A / ts->pixel_size_A, v.z };
}

static void sizes_may_be_odd_and_matrices_say_the_same(void **state)
{
	(void)state;
	for (int k = 0; k < 16; k++) {
		cyc_rng rng = cyc_rng_make(3, 0, (uint64_t)k);
		cyc_tilt t = { .has_angles = true,
			           .xtilt_rad = cyc_rng_normal(&rng),
			           .ytilt_rad = cyc_rng_normal(&rng),
			           .zrot_rad = cyc_rng_normal(&rng),
			           .shift_x_A = 30 * cyc_rng_normal(&rng),
			           .shift_y_A = 30 * cyc_rng_normal(&rng) };
		cyc_tilt_series ts = series_of(&t, 2.1, 100 + (k & 1), 90 + (k >> 1 & 1), 60 + (k >> 2 & 1),
		                               128 + (k >> 3), 120 + (k & 1));
		cyc_projection p, from_matrix;
		ASSERT_OK(cyc_projection_of_tilt(&p, &ts, 0));
		/* The columns of the RELION-4 matrix: images of the origin and of unit steps from it. */
		cyc_vec3 o = direct(&ts, (cyc_vec3){ 0, 0, 0 });
		const cyc_vec3 e[4] = { direct(&ts, (cyc_vec3){ 1, 0, 0 }), direct(&ts, (cyc_vec3){ 0, 1, 0 }),
			                    direct(&ts, (cyc_vec3){ 0, 0, 1 }), o };
		for (int j = 0; j < 4; j++) {
			t.matrix[0][j] = e[j].x - (j < 3 ? o.x : 0);
			t.matrix[1][j] = e[j].y - (j < 3 ? o.y : 0);
			t.matrix[2][j] = e[j].z - (j < 3 ? o.z : 0);
		}
		t.has_matrix = true;
		ASSERT_OK(cyc_projection_of_tilt(&from_matrix, &ts, 0));
		for (int j = 0; j < 5; j++) {
			cyc_vec3 A = { 90 * cyc_rng_normal(&rng), 90 * cyc_rng_normal(&rng), 40 * cyc_rng_normal(&rng) };
			cyc_vec3 wanted =
				direct(&ts, (cyc_vec3){ A.x / 2.1 + 0.5 * ts.size_px[0], A.y / 2.1 + 0.5 * ts.size_px[1],
			                            A.z / 2.1 + 0.5 * ts.size_px[2] });
			const cyc_vec3 got[2] = { cyc_project(&p, A), cyc_project(&from_matrix, A) };
			for (int i = 0; i < 2; i++) {
				close_to(got[i].x, wanted.x, 1e-9);
				close_to(got[i].y, wanted.y, 1e-9);
				close_to(got[i].z, wanted.z, 1e-9);
			}
		}
	}
}

static void projection_needs_images_and_geometry(void **state)
{
	(void)state;
	cyc_tilt t = { .has_angles = true };
	cyc_tilt_series ts = series_of(&t, 2, 100, 100, 60, 0, 0);
	cyc_projection p;
	ASSERT_FAILS(cyc_projection_of_tilt(&p, &ts, 0), CYC_E_INTERNAL, "not been opened");
	ts.image_nx = ts.image_ny = 128;
	t.has_angles = false;
	ASSERT_FAILS(cyc_projection_of_tilt(&p, &ts, 0), CYC_E_DATA, "tilt series TS, row 1", "rlnTomoYTilt");
}

static void inside_is_strict(void **state)
{
	(void)state;
	cyc_tilt t = { .has_angles = true };
	cyc_tilt_series ts = series_of(&t, 2, 100, 100, 60, 128, 120);
	assert_true(cyc_is_visible(&ts, 16.001, 103.999, 16));
	assert_false(cyc_is_visible(&ts, 16, 60, 16));
	assert_false(cyc_is_visible(&ts, 112, 60, 16));
	assert_false(cyc_is_visible(&ts, 60, 16, 16));
	assert_false(cyc_is_visible(&ts, 60, 104, 16));
}

/* ---------------------------------------------------------------- deformation */

static void linear_deformation(void **state)
{
	(void)state;
	double c[3] = { 0.01, -0.002, 0.003 }, dx, dy;
	cyc_tilt t = { .has_angles = true, .deformation = c, .n_deformation = 3 };
	cyc_tilt_series ts = series_of(&t, 2, 100, 100, 60, 128, 121);
	cyc_deformation(&dx, &dy, &ts, 0, 30, 90);
	close_to(dx, 0, 0); /* no type: none */
	ts.deformation_type = CYC_DEFORMATION_LINEAR;
	cyc_deformation(&dx, &dy, &ts, 0, 30, 90);
	close_to(dx, 0.01 * -34, 1e-12);
	close_to(dy, -0.002 * -34 + 0.003 * 29.5, 1e-12);
	t.deformation = NULL;
	cyc_deformation(&dx, &dy, &ts, 0, 30, 90);
	close_to(hypot(dx, dy), 0, 0);
}

static void spline_deformation(void **state)
{
	(void)state;
	enum { GX = 4, GY = 3 };
	double c[8 * GX * GY], d[2], ex, ey, e = 1e-5;
	cyc_rng rng = cyc_rng_make(1, 2, 3);
	for (int i = 0; i < 8 * GX * GY; i++) c[i] = cyc_rng_normal(&rng);
	cyc_tilt t = { .has_angles = true, .deformation = c, .n_deformation = 8 * GX * GY };
	cyc_tilt_series ts = series_of(&t, 2, 100, 100, 60, 129, 120);
	ts.deformation_type = CYC_DEFORMATION_SPLINE;
	ts.deformation_grid[0] = GX;
	ts.deformation_grid[1] = GY;
	double hx = 129.0 / (GX - 1), hy = 120.0 / (GY - 1);
	for (int j = 0; j < GY; j++)
		for (int i = 0; i < GX; i++) {
			const double *node[2] = { c + 4 * (j * GX + i), c + 4 * (GX * GY + j * GX + i) };
			double at[2] = { i * hx, j * hy };
			cyc_deformation(&d[0], &d[1], &ts, 0, at[0], at[1]);
			close_to(d[0], node[0][0], 1e-9);
			close_to(d[1], node[1][0], 1e-9);
			/* Slopes per cell and the twist, from both sides where there are two. */
			for (int side = -1; side <= 1; side += 2) {
				if ((i == 0 && side < 0) || (i == GX - 1 && side > 0) || (j == 0 && side < 0) ||
				    (j == GY - 1 && side > 0))
					continue;
				double sx = side * e * hx, sy = side * e * hy, fx, fy, gx, gy;
				cyc_deformation(&ex, &ey, &ts, 0, at[0] + sx, at[1]);
				close_to((ex - d[0]) / (side * e), node[0][1], 5e-4);
				close_to((ey - d[1]) / (side * e), node[1][1], 5e-4);
				cyc_deformation(&fx, &fy, &ts, 0, at[0], at[1] + sy);
				close_to((fx - d[0]) / (side * e), node[0][2], 5e-4);
				close_to((fy - d[1]) / (side * e), node[1][2], 5e-4);
				cyc_deformation(&gx, &gy, &ts, 0, at[0] + sx, at[1] + sy);
				close_to((gx - ex - fx + d[0]) / (e * e), node[0][3], 5e-3);
			}
		}
	/* Continuous with its slope along a cell's edge away from the nodes; constant outside. */
	for (int k = 0; k < 20; k++) {
		double y = 119 * cyc_rng_uniform(&rng), v[4];
		for (int s = 0; s < 4; s++) cyc_deformation(&v[s], &ey, &ts, 0, hx + (s - 2) * 1e-4 + 5e-5, y);
		close_to(v[1], v[2], 1e-4);
		close_to(v[1] - v[0], v[3] - v[2], 1e-8);
	}
	cyc_deformation(&d[0], &d[1], &ts, 0, 0, 55);
	cyc_deformation(&ex, &ey, &ts, 0, -20, 55);
	close_to(ex, d[0], 1e-12);
	cyc_deformation(&d[0], &d[1], &ts, 0, 77, 120);
	cyc_deformation(&ex, &ey, &ts, 0, 77, 1e6);
	close_to(ey, d[1], 1e-12);
}

static void fourier_deformation(void **state)
{
	(void)state;
	enum { GX = 4, GY = 4, PAIRS = 9 }; /* i = 1, 2 for all four j, and i = 0 for j = 1 alone */
	double c[4 * PAIRS];
	cyc_tilt t = { .has_angles = true, .deformation = c, .n_deformation = 0 };
	cyc_tilt_series ts = series_of(&t, 2, 100, 100, 60, 128, 120);
	ts.deformation_type = CYC_DEFORMATION_FOURIER;
	ts.deformation_grid[0] = GX;
	ts.deformation_grid[1] = GY;
	static const int order[][2] = { { 1, 0 },  { 2, 0 },  { 0, 1 },  { 1, 1 }, { 2, 1 },
		                            { 1, -2 }, { 2, -2 }, { 1, -1 }, { 2, -1 } };
	t.n_deformation = 4 * PAIRS;
	for (int pair = 0; pair < PAIRS; pair++)
		for (int part = 0; part < 4; part++) { /* cos and sin of x, cos and sin of y */
			double dx, dy, x = 37.5, y = 81.25,
						   w = CYC_PI * order[pair][0] / 128 * x + CYC_PI * order[pair][1] / 120 * y;
			memset(c, 0, sizeof c);
			c[2 * PAIRS * (part / 2) + 2 * pair + part % 2] = 3;
			cyc_deformation(&dx, &dy, &ts, 0, x, y);
			close_to(part / 2 ? dy : dx, 3 * (part % 2 ? sin(w) : cos(w)), 1e-12);
			close_to(part / 2 ? dx : dy, 0, 0);
		}
}

/* ---------------------------------------------------------------- windows */

static void spectrum_of_window(cyc_cfloat *ft, const float *image, int32_t nx, int32_t ny, double x, double y,
                               const cyc_window_spec *spec)
{
	cyc_backend *be = NULL;
	cyc_buffer *bi = NULL, *bf = NULL;
	double at[2] = { x, y };
	size_t n = cyc_half_count2(spec->box_binned);
	ASSERT_OK(cyc_backend_open(&be, "cpu", 1));
	ASSERT_OK(cyc_buffer_create(&bi, be, (size_t)nx * (size_t)ny, sizeof(float)));
	ASSERT_OK(cyc_buffer_create(&bf, be, n, sizeof *ft));
	ASSERT_OK(cyc_buffer_upload(bi, image, (size_t)nx * (size_t)ny * sizeof(float)));
	ASSERT_OK(cyc_op_window(bf, be, bi, nx, ny, at, 1, spec));
	ASSERT_OK(cyc_buffer_download(ft, bf, n * sizeof *ft));
	cyc_buffer_destroy(&bi);
	cyc_buffer_destroy(&bf);
	cyc_backend_close(&be);
}

/* q = (2172.788362, 2222.470553), S = 384, b = 2: corner (1981, 2030), t = (-0.105819, 0.235277) binned px.
 * Here the image begins at (1973, 2022). */
static void window_example(void **state)
{
	(void)state;
	enum { S = 384, s = 192, N = 400 };
	float *image = NULL;
	cyc_cfloat *ft = NULL;
	ASSERT_OK(cyc_alloc(&image, N * N, sizeof *image));
	ASSERT_OK(cyc_alloc(&ft, cyc_half_count2(s), sizeof *ft));
	image[(8 + S / 2) * N + 8 + S / 2] = 1;
	const cyc_window_spec spec = { .box_px = S, .box_binned = s, .no_circle_crop = true };
	spectrum_of_window(ft, image, N, N, 2172.788362 - 1973, 2222.470553 - 2022, &spec);
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < s / 2; x++) {
			int32_t ky = y < s / 2 ? y : y - s;
			double complex wanted = cexp(2 * i_unit * CYC_PI * (x * -0.105819 + ky * 0.235277) / s) / (2 * S);
			close_to(cabs(2 * S * ((double complex)ft[y * (s / 2 + 1) + x] - wanted)), 0, 1e-5);
		}
	cyc_free(image);
	cyc_free(ft);
}

#define CHAIN_PARTICLES                                                                                      \
	"data_general\n_rlnTomoSubTomosAre2DStacks 1\n\n" OPTICS                                                 \
	"data_particles\n\nloop_\n_rlnTomoName\n_rlnTomoParticleName\n_rlnOpticsGroup\n_"                        \
	"rlnCenteredCoordinateXAngst\n"                                                                          \
	"_rlnCenteredCoordinateYAngst\n_rlnCenteredCoordinateZAngst\n_rlnOriginXAngst\n_rlnOriginYAngst\n_"      \
	"rlnOriginZAngst\n"                                                                                      \
	"_rlnTomoSubtomogramRot\n_rlnTomoSubtomogramTilt\n_rlnTomoSubtomogramPsi\n_rlnAngleRot\n_"               \
	"rlnAngleTilt\n_rlnAnglePsi\n"                                                                           \
	"TS_01 TS_01/1 1 12 -9 8 3 -2 4 20 70 -30 10 35 50\n"

/* A feature at r in the map must appear at L r beside the particle, and a window's spectrum must carry its
 * phase exp(-2 pi i (L^T k) r / s): every sign of geometry, windows and slices at once. */
static void the_whole_chain(void **state)
{
	(void)state;
	enum { s = 32, W = 128, H = 120 };
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *particles = NULL;
	small_project_write();
	temp_write("chain.star", CHAIN_PARTICLES);
	ASSERT_OK(cyc_tomogram_set_read(&tomograms, "tomograms.star", temp_dir));
	ASSERT_OK(cyc_particle_set_read(&particles, "chain.star", NULL, tomograms, temp_dir));
	cyc_tilt_series *ts = &tomograms->series[0];
	ASSERT_OK(cyc_tilt_series_open(ts, temp_dir));
	assert_int_equal(ts->image_nx, W);
	assert_int_equal(ts->image_ny, H);
	const cyc_particle *particle = &particles->particles[0];
	cyc_projection p;
	double x, y;
	ASSERT_OK(cyc_projection_of_tilt(&p, ts, 0)); /* tilts 3, 25, 80 degrees, shifts 5, -7 Å */
	cyc_particle_position_px(&x, &y, &p, ts, 0, particle);
	cyc_mat3 L = cyc_mat3_mul(p.linear, particle->R_tomo_ref);
	cyc_vec3 r = { 5, -3, 2 }, moved = cyc_mat3_apply(L, r);
	close_to(x + moved.x, 75.184870, 1e-6);
	close_to(y + moved.y, 59.138618, 1e-6);

	float *image = NULL;
	cyc_cfloat *ft = NULL;
	double sigma = 1.5;
	ASSERT_OK(cyc_alloc(&image, W * H, sizeof *image));
	ASSERT_OK(cyc_alloc(&ft, cyc_half_count2(s), sizeof *ft));
	for (int32_t i = 0; i < W * H; i++)
		image[i] = (float)exp(-0.5 * (cyc_square(i % W - 75.184870) + cyc_square(i / W - 59.138618)) /
		                      (sigma * sigma));
	const cyc_window_spec spec = { .box_px = s, .box_binned = s, .no_circle_crop = true };
	spectrum_of_window(ft, image, W, H, x, y, &spec);
	double peak = 2 * CYC_PI * sigma * sigma / s;
	for (int32_t j = 0; j < s; j++)
		for (int32_t i = 0; i < s / 2; i++) {
			int32_t ky = j < s / 2 ? j : j - s;
			if (ky == -s / 2) continue;
			cyc_vec3 k = cyc_mat3_apply(cyc_mat3_transpose(L), (cyc_vec3){ i, ky, 0 });
			double envelope = peak * exp(-2 * cyc_square(CYC_PI * sigma / s) * (i * i + ky * ky));
			double complex wanted =
				envelope * cexp(-2 * i_unit * CYC_PI * (k.x * r.x + k.y * r.y + k.z * r.z) / s);
			close_to(cabs((double complex)ft[j * (s / 2 + 1) + i] - wanted) / peak, 0, 2e-5);
		}
	cyc_free(image);
	cyc_free(ft);
	cyc_particle_set_destroy(&particles);
	cyc_tomogram_set_destroy(&tomograms);
}

static void motion_is_added_and_does_not_change_the_defocus(void **state)
{
	(void)state;
	cyc_tilt t[2] = { { .has_angles = true, .ytilt_rad = 0.5 }, { .has_angles = true, .ytilt_rad = 0.5 } };
	cyc_tilt_series ts = series_of(t, 2, 100, 100, 60, 128, 120);
	ts.n_tilts = 2;
	static const float motion[6] = { 0, 0, 0, 3, -5, 7 };
	const cyc_particle still = { .position_A = { 10, 20, -30 } },
					   moving = { .position_A = { 10, 20, -30 }, .motion_A = motion },
					   there = { .position_A = { 13, 15, -23 } };
	cyc_projection p;
	double x[3], y[3];
	ASSERT_OK(cyc_projection_of_tilt(&p, &ts, 1));
	cyc_particle_position_px(&x[0], &y[0], &p, &ts, 0, &moving);
	cyc_particle_position_px(&x[1], &y[1], &p, &ts, 0, &still);
	close_to(x[0], x[1], 1e-12);
	cyc_particle_position_px(&x[0], &y[0], &p, &ts, 1, &moving);
	cyc_particle_position_px(&x[1], &y[1], &p, &ts, 1, &there);
	close_to(x[0], x[1], 1e-6);
	close_to(y[0], y[1], 1e-6);
	close_to(cyc_particle_extra_defocus_A(&p, &ts, &moving), cyc_particle_extra_defocus_A(&p, &ts, &still),
	         0);
}

/* ---------------------------------------------------------------- noise */

static void noise_spectrum_by_its_definition(void **state)
{
	(void)state;
	enum { N = 8, NX = 13, NY = 17 };
	float image[NX * NY];
	double got[N / 2 + 1], sum[N / 2 + 1] = { 0 }, weight[N / 2 + 1] = { 0 };
	cyc_rng rng = cyc_rng_make(4, 4, 4);
	for (int i = 0; i < NX * NY; i++) image[i] = (float)(1 + cyc_rng_normal(&rng));
	for (int y0 = 0; y0 + N <= NY; y0 += N / 2)
		for (int x0 = 0; x0 + N <= NX; x0 += N / 2)
			for (int ky = -N / 2; ky < N / 2; ky++)
				for (int kx = 0; kx <= N / 2; kx++) {
					double complex f = 0;
					for (int y = 0; y < N; y++)
						for (int x = 0; x < N; x++)
							f += (double)image[(y0 + y) * NX + x0 + x] *
							     cexp(-2 * i_unit * CYC_PI * (kx * x + ky * y) / N) / N;
					double r = hypot(kx, ky), share = r - floor(r);
					int shell = (int)r;
					if (shell > N / 2) continue;
					sum[shell] += (1 - share) * creal(f * conj(f));
					weight[shell] += 1 - share;
					if (shell == N / 2) continue;
					sum[shell + 1] += share * creal(f * conj(f));
					weight[shell + 1] += share;
				}
	ASSERT_OK(cyc_noise_spectrum(got, image, NX, NY, N, 1));
	for (int i = 0; i <= N / 2; i++) close_to(got[i], sum[i] / weight[i], 1e-5 * got[i]);
	ASSERT_FAILS(cyc_noise_spectrum(got, image, NX, NY, 14, 1), CYC_E_SHAPE, "14 px", "13 x 17");
	ASSERT_FAILS(cyc_noise_spectrum(got, image, NX, NY, 7, 1), CYC_E_SHAPE, "even");
}

static void white_noise_has_its_variance_everywhere(void **state)
{
	(void)state;
	enum { N = 32, NX = 300, NY = 280 };
	float *image = NULL;
	double power[N / 2 + 1], other[N / 2 + 1];
	cyc_rng rng = cyc_rng_make(5, 1, 1);
	ASSERT_OK(cyc_alloc(&image, NX * NY, sizeof *image));
	for (int i = 0; i < NX * NY; i++) image[i] = (float)(2 * cyc_rng_normal(&rng));
	ASSERT_OK(cyc_noise_spectrum(power, image, NX, NY, N, 1));
	for (int i = 0; i <= N / 2; i++) close_to(power[i], 4, i < 3 ? 1.5 : 0.3);
	for (int threads = 2; threads < 5; threads++) {
		ASSERT_OK(cyc_noise_spectrum(other, image, NX, NY, N, threads));
		assert_memory_equal(other, power, sizeof power);
	}
	/* So windows and noise have the same unit. */
	cyc_cfloat ft[N * (N / 2 + 1)];
	double sum = 0;
	const cyc_window_spec spec = { .box_px = N, .box_binned = N };
	for (int w = 0; w < 30; w++) {
		spectrum_of_window(ft, image, NX, NY, 30 + 8.3 * w, 40 + 7 * w, &spec);
		for (int i = 0; i < N * (N / 2 + 1); i++)
			sum += (double)(crealf(ft[i]) * crealf(ft[i]) + cimagf(ft[i]) * cimagf(ft[i])) /
			       (30.0 * N * (N / 2 + 1));
	}
	close_to(sum / cyc_circle_crop_power(N), 4, 0.4);
	cyc_free(image);
}

static void values_between_shells(void **state)
{
	(void)state;
	const double v[3] = { 1, 3, 7 };
	close_to(cyc_radial_at(v, 3, 0), 1, 0);
	close_to(cyc_radial_at(v, 3, 0.25), 1.5, 1e-12);
	close_to(cyc_radial_at(v, 3, 1.5), 5, 1e-12);
	close_to(cyc_radial_at(v, 3, 2), 7, 0);
	close_to(cyc_radial_at(v, 3, 9.3), 7, 0);
}

/* ---------------------------------------------------------------- tables of the CTF */

static void tables_are_the_ctf(void **state)
{
	(void)state;
	for (int k = 0; k < 12; k++) {
		cyc_rng rng = cyc_rng_make(8, 8, (uint64_t)k);
		double even[9] = { 0 }, odd[6] = { 0 }, pixel = 1 + 2 * cyc_rng_uniform(&rng),
			   cutoff = k % 3 == 2 ? 0.05 : 0;
		for (int i = 0; i < 9 && k % 2; i++) even[i] = 0.3 * cyc_rng_normal(&rng) * (i < 4 ? 1 : 20);
		for (int i = 0; i < 6 && k % 4 > 1; i++) odd[i] = 0.3 * cyc_rng_normal(&rng);
		const cyc_optics_group group = { .even_zernike = even, .n_even = 9, .odd_zernike = odd, .n_odd = 6 };
		cyc_tilt t = { .has_angles = true,
			           .defocus_u_A = 20000 + 10000 * cyc_rng_uniform(&rng),
			           .defocus_v_A = 22000,
			           .defocus_angle_rad = 6 * cyc_rng_uniform(&rng),
			           .phase_shift_rad = k % 5 == 1 ? 1.3 : 0,
			           .scale = 0.5 + cyc_rng_uniform(&rng),
			           .bfactor_A2 = 10 * (k % 3),
			           .pre_exposure_e_per_A2 = 7 * k };
		cyc_tilt_series ts = series_of(&t, pixel, 100, 100, 60, 128, 120);
		ts.bfactor_per_dose_A2 = k == 7 ? 4 : 0;
		int32_t s = 24 + 2 * k, sh = s / 2 + 1, farthest = 0;
		double step = 1 / (s * pixel), extra = 700 * cyc_rng_normal(&rng),
			   per_k2 = cyc_turns_per_k2(extra, 300, pixel, s);
		cyc_tilt_tables *table = NULL;
		ASSERT_OK(cyc_tilt_tables_create(&table, s, 2));
		ASSERT_OK(cyc_tilt_tables_fill(table, &ts, 0, &group, pixel, cutoff));
		const cyc_ctf ctf = cyc_ctf_of_tilt(&ts, 0, &group);
		assert_int_equal(table->has_odd, k % 4 > 1);
		for (int32_t y = 0; y < s; y++)
			for (int32_t x = 0; x < sh; x++) {
				int32_t ky = y < s / 2 ? y : y - s, at = y * sh + x, k2 = x * x + ky * ky;
				double kx_invA = x * step, ky_invA = ky * step,
					   dose = cyc_dose_weight(hypot(kx_invA, ky_invA), t.pre_exposure_e_per_A2,
				                              ts.bfactor_per_dose_A2);
				double turns = (double)table->turns[at], e = (double)table->envelope[at];
				bool has_weight = 4 * k2 <= s * s && dose > cutoff;
				assert_true(fabs(turns) <= 0.5);
				if (!has_weight) {
					close_to(e, 0, 0);
					continue;
				}
				if (k2 > farthest) farthest = k2;
				close_to(-e * sin(2 * CYC_PI * turns), dose * cyc_ctf_value(&ctf, kx_invA, ky_invA, 0), 1e-6);
				close_to(-e * sin(2 * CYC_PI * (turns + per_k2 * k2)),
				         dose * cyc_ctf_value(&ctf, kx_invA, ky_invA, extra), 1e-6);
				if (!table->has_odd) continue;
				double phase = cyc_odd_phase(odd, 6, kx_invA, ky_invA);
				close_to((double)crealf(table->odd_phase[at]), cos(phase), 1e-6);
				close_to((double)cimagf(table->odd_phase[at]), sin(phase), 1e-6);
			}
		/* Whatever has weight is inserted: at most one shell more is. */
		assert_true(table->radius >= (int32_t)sqrt(farthest) &&
		            table->radius <= (int32_t)sqrt(farthest) + 1 && table->radius <= s / 2);
		cyc_tilt_tables_destroy(&table);
		assert_null(table);
	}
}

/* A magnification of one changes no table, be it of the whole plane or of what is inserted. */
static void magnification_of_one_is_none(void **state)
{
	(void)state;
	cyc_tilt t = { .has_angles = true,
		           .defocus_u_A = 21000,
		           .defocus_v_A = 20000,
		           .defocus_angle_rad = 0.4,
		           .scale = 0.9,
		           .pre_exposure_e_per_A2 = 90 };
	cyc_tilt_series ts = series_of(&t, 3, 100, 100, 60, 128, 120);
	const cyc_optics_group plain = { 0 },
						   unit = { .has_magnification = true, .magnification = { { 1, 0 }, { 0, 1 } } };
	const int32_t s = 48, n = s * (s / 2 + 1);
	for (int whole = 0; whole < 2; whole++) {
		cyc_tilt_tables *a = NULL, *b = NULL;
		int32_t n_used = 0;
		ASSERT_OK(cyc_tilt_tables_create(&a, s, 2));
		ASSERT_OK(cyc_tilt_tables_create(&b, s, 1));
		a->is_full_plane = b->is_full_plane = whole == 1;
		ASSERT_OK(cyc_tilt_tables_fill(a, &ts, 0, &plain, 3, 0.05));
		ASSERT_OK(cyc_tilt_tables_fill(b, &ts, 0, &unit, 3, 0.05));
		assert_int_equal(a->radius, b->radius);
		for (int32_t i = 0; i < n; i++) {
			close_to((double)b->envelope[i], (double)a->envelope[i], 1e-6);
			n_used += a->envelope[i] > 0;
		}
		assert_true(whole ? n_used > (int32_t)(0.9 * n) : n_used < (int32_t)(0.7 * n));
		cyc_tilt_tables_destroy(&a);
		cyc_tilt_tables_destroy(&b);
	}
}

/* ---------------------------------------------------------------- boxes and batches */

static void boxes_have_even_windows(void **state)
{
	(void)state;
	cyc_box b;
	ASSERT_OK(cyc_box_create(&b, 64, 1, 1.35));
	assert_int_equal(b.window.box_px, 64);
	close_to(b.margin_px, 32, 0);
	ASSERT_OK(cyc_box_create(&b, 64, 1.5, 1.35));
	assert_int_equal(b.window.box_px, 96);
	assert_int_equal(b.window.box_binned, 64);
	close_to(b.pixel_size_A, 2.025, 1e-12);
	ASSERT_FAILS(cyc_box_create(&b, 33, 1, 1), CYC_E_USAGE, "even", "33");
	ASSERT_FAILS(cyc_box_create(&b, 6, 1, 1), CYC_E_USAGE, "at least 8");
	ASSERT_FAILS(cyc_box_create(&b, -4, 1, 1), CYC_E_USAGE, "-4");
	ASSERT_FAILS(cyc_box_create(&b, 64, 0.5, 1), CYC_E_USAGE, "binning", "0.5");
	ASSERT_FAILS(cyc_box_create(&b, 64, (double)NAN, 1), CYC_E_USAGE, "binning");
	ASSERT_FAILS(cyc_box_create(&b, 64, (double)INFINITY, 1), CYC_E_USAGE, "binning");
	/* The box that is proposed works. */
	static const struct {
		int32_t box;
		double binning;
	} bad[] = { { 66, 1.5 }, { 50, 1.1 }, { 100, 1.35 }, { 10, 1.25 } };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int good = 0;
		ASSERT_FAILS(cyc_box_create(&b, bad[i].box, bad[i].binning, 1), CYC_E_USAGE, "even whole number");
		if (sscanf(cyc_error_get()->hint, "use --b %d", &good) != 1)
			fail_msg("hint: '%s'", cyc_error_get()->hint);
		ASSERT_OK(cyc_box_create(&b, good, bad[i].binning, 1));
	}
	ASSERT_FAILS(cyc_box_create(&b, 64, 1.000123, 1), CYC_E_USAGE, "even whole number");
	assert_string_equal(cyc_error_get()->hint, "use another binning");
}

/* Particles in a row that leaves the image, alternately of two optics groups. */
enum { N_ROW = 12 };
typedef struct {
	cyc_tilt tilt;
	cyc_tilt_series ts;
	cyc_particle particles[N_ROW];
	int64_t first[2];
	cyc_particle_set set;
} row_project;

static void row_project_init(row_project *r)
{
	memset(r, 0, sizeof *r);
	r->tilt = (cyc_tilt){ .has_angles = true, .scale = 1 };
	r->ts = series_of(&r->tilt, 2, 100, 100, 60, 128, 120);
	for (int i = 0; i < N_ROW; i++)
		r->particles[i] = (cyc_particle){ .i_optics = i % 2,
			                              .half = i / 2 % 2,
			                              .position_A = { 2 * (4.0 * i - 64), 6, 20.0 * i },
			                              .R_tomo_ref = cyc_rot_y(0.1 * i),
			                              .probability = 1 };
	r->particles[3].half = -1;
	r->first[1] = N_ROW;
	r->set = (cyc_particle_set){
		.n = N_ROW, .particles = r->particles, .series_first = r->first, .n_series = 1, .n_optics = 3
	};
}

static void batches_take_what_is_visible(void **state)
{
	(void)state;
	row_project r;
	row_project_init(&r);
	cyc_tilt_batch *b = NULL;
	cyc_box box;
	bool used[3];
	int64_t outside = 0;
	int n_seen = 0;
	cyc_optics_used(used, &r.set, 0);
	assert_true(used[0] && used[1] && !used[2]);
	ASSERT_OK(cyc_box_create(&box, 32, 1, 2));
	ASSERT_OK(cyc_tilt_batch_create(&b, 2));
	for (int32_t g = 0; g < 2; g++)
		for (int64_t cursor = 0; cursor < N_ROW;) {
			ASSERT_OK(cyc_tilt_batch_fill(b, &cursor, &outside, &(cyc_image_group){ &r.ts, 0, &r.set, 0, g },
			                              &box));
			for (int32_t i = 0; i < b->n; i++) {
				int64_t k = b->particles[i] - r.particles;
				assert_int_equal(r.particles[k].i_optics, g);
				assert_int_equal(b->half[i], r.particles[k].half > 0);
				close_to(b->at_px[2 * i], 4.0 * (double)k, 1e-9);
				close_to(b->at_px[2 * i + 1], 63, 1e-9);
				assert_true(b->at_px[2 * i] > 16);
				close_to(b->weight[i], 1, 0);
				close_to(b->turns_per_k2[i],
				         -0.5 * cyc_electron_wavelength_A(300) * (-20.0 * (double)k) / cyc_square(32 * 2),
				         1e-12);
				for (int j = 0; j < 9; j++)
					close_to(b->R_img_ref[i].m[j / 3][j % 3], r.particles[k].R_tomo_ref.m[j / 3][j % 3],
					         1e-12);
				n_seen++;
			}
		}
	assert_int_equal(outside, 5); /* 0, 4, 8, 12 and 16 px from the border */
	assert_int_equal(n_seen, N_ROW - 5);
	cyc_tilt_batch_destroy(&b);
	const size_t most = CYC_BATCH_BYTES, huge = (size_t)1 << 30;
	assert_true(cyc_tilt_batch_capacity(1, 0, most) == 512 && cyc_tilt_batch_capacity(huge, 0, most) == 4);
	assert_true(cyc_tilt_batch_capacity((size_t)4 << 20, 0, most) == 127); /* not quite 512 MB */
	assert_true(cyc_tilt_batch_capacity(1, 7, most) == 7 && cyc_tilt_batch_capacity(huge, 3, most) == 3 &&
	            cyc_tilt_batch_capacity(huge, 7, most) == 4);
	assert_true(cyc_tilt_batch_capacity(1 << 16, 0, 1 << 20) == 15);
}

static void partial_windows_count_by_what_they_show(void **state)
{
	(void)state;
	row_project r;
	row_project_init(&r);
	cyc_tilt_batch *b = NULL;
	cyc_box box;
	int64_t outside = 0, cursor = 0;
	for (int i = 0; i < N_ROW; i++) r.particles[i].i_optics = 0;
	r.particles[0].position_A.x = 2 * (9.0 - 64); /* into a corner */
	r.particles[0].position_A.y = 2 * (111.0 - 60);
	ASSERT_OK(cyc_box_create(&box, 32, 1, 2));
	box.window.is_partial = true;
	ASSERT_OK(cyc_tilt_batch_create(&b, N_ROW));
	ASSERT_OK(cyc_tilt_batch_fill(b, &cursor, &outside, &(cyc_image_group){ &r.ts, 0, &r.set, 0, 0 }, &box));
	assert_int_equal(outside, 2); /* 4 and 8 px from the border */
	assert_int_equal(b->n, N_ROW - 2);
	double inside = 0, all = 0;
	for (double dy = -15.95; dy < 16; dy += 0.1)
		for (double dx = -15.95; dx < 16; dx += 0.1) {
			if (hypot(dx, dy) > 16) continue;
			all++;
			if (9 + dx > 0 && 111 + dy < 119) inside++;
		}
	close_to(b->weight[0], inside / all, 0.01);
	for (int32_t i = 1; i < b->n; i++) {
		double d = fmin(b->at_px[2 * i] / 16, 1), lost = (acos(d) - d * sqrt(1 - d * d)) / CYC_PI;
		close_to(b->weight[i], 1 - lost, 0.005);
	}
	cyc_tilt_batch_destroy(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(projection_example),
		cmocka_unit_test(magnification_of_one_is_none),
		cmocka_unit_test(sizes_may_be_odd_and_matrices_say_the_same),
		cmocka_unit_test(projection_needs_images_and_geometry),
		cmocka_unit_test(inside_is_strict),
		cmocka_unit_test(linear_deformation),
		cmocka_unit_test(spline_deformation),
		cmocka_unit_test(fourier_deformation),
		cmocka_unit_test(window_example),
		cmocka_unit_test(the_whole_chain),
		cmocka_unit_test(motion_is_added_and_does_not_change_the_defocus),
		cmocka_unit_test(noise_spectrum_by_its_definition),
		cmocka_unit_test(white_noise_has_its_variance_everywhere),
		cmocka_unit_test(values_between_shells),
		cmocka_unit_test(tables_are_the_ctf),
		cmocka_unit_test(boxes_have_even_windows),
		cmocka_unit_test(batches_take_what_is_visible),
		cmocka_unit_test(partial_windows_count_by_what_they_show),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

/* The simulator against brute force: atoms summed one by one, the model of the CTF written down a second
 * time, a point of the particle followed to its pixel, and the statistics that the options promise. */
#include "cyclotomo/array.h"
#include "simulate/simulate_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static cyc_simulate_options tiny(void)
{
	cyc_simulate_options o;
	cyc_simulate_options_default(&o);
	cyc_simulate_options_preset(&o, CYC_SIMULATE_TINY);
	o.out_dir = "unused";
	o.noise_free = true;
	return o;
}

#define assert_near(a, b, tolerance)                                                                         \
	do {                                                                                                     \
		double a_ = (a), b_ = (b), t_ = (tolerance);                                                         \
		if (!(fabs(a_ - b_) <= t_)) fail_msg("%s = %.9g, wanted %.9g +- %.3g", #a, a_, b_, t_);              \
	} while (0)

/* ---------------------------------------------------------------- optics */

static void ctf_has_the_values_of_the_data_model(void **state)
{
	(void)state;
	cyc_simulate_options o = tiny();
	double az = cyc_deg_to_rad(45);
	o.voltage_kV = 300;
	o.spherical_aberration_mm = 2.7;
	o.amplitude_contrast_frac = 0.1;
	cyc__sim_optics c = cyc__sim_optics_make(32000, 30000, az, &o);
	assert_near(cyc__sim_ctf(&c, 0, 0), 0.1, 1e-6);
	assert_near(cyc__sim_ctf(&c, 0.1, 0), 0.381938, 1e-6);
	assert_near(cyc__sim_ctf(&c, 0, 0.1), 0.381938, 1e-6);
	assert_near(cyc__sim_ctf(&c, 0.05, 0.05), -0.534041, 1e-6);
	assert_near(cyc__sim_ctf(&c, 0.05, -0.05), 0.055103, 1e-6);
	assert_near(cyc__sim_damage(0, 30), 1, 0);
	assert_near(cyc__sim_damage(0.05, 30), 0.678915, 1e-6);
	assert_near(cyc__sim_damage(0.1, 60), 0.119805, 1e-6);
	assert_near(cyc__sim_damage(0.2, 30), 0.095346, 1e-6);
}

/* -sin gamma with gamma from the matrix of defocus, as the data model writes it. */
static double ctf_by_matrix(double kx, double ky, double u, double v, double az,
                            const cyc_simulate_options *o)
{
	double lambda = 12.2643247 / sqrt(o->voltage_kV * 1e3 * (1 + 0.978466e-6 * o->voltage_kV * 1e3)),
		   c = cos(az), s = sin(az);
	double a[2][2] = { { -(u * c * c + v * s * s), -(u - v) * c * s },
		               { -(u - v) * c * s, -(u * s * s + v * c * c) } };
	double quadratic = a[0][0] * kx * kx + 2 * a[0][1] * kx * ky + a[1][1] * ky * ky, k2 = kx * kx + ky * ky;
	double gamma = CYC_PI * lambda * quadratic +
	               0.5 * CYC_PI * o->spherical_aberration_mm * 1e7 * lambda * lambda * lambda * k2 * k2 -
	               asin(o->amplitude_contrast_frac);
	return -sin(gamma);
}

/* ---------------------------------------------------------------- images against atoms */

static void image_is_ctf_times_projected_atoms(void **state)
{
	(void)state;
	cyc_simulate_options o = tiny();
	cyc__sim_model m = { 0 };
	cyc__sim_scene s = { 0 };
	cyc__sim_renderer *r = NULL;
	cyc_volume *map = NULL;
	float *image = NULL;
	o.symmetry = "C1";
	o.n_particles = 1;
	o.subtomogram_angles = true;
	o.astigmatism_A = 1500;
	/* A wide box: what the band limit rings beyond its border is lost, 0.7 % with the usual box of this
	 * preset. */
	o.box_px = 80;
	o.radius_A = 38;
	o.edge_px = 20;
	o.motion_A = 3;
	assert_int_equal(cyc__sim_model_make(&m, &o), CYC_OK);
	assert_int_equal(cyc__sim_map(&map, &m, &o), CYC_OK);
	assert_int_equal(cyc__sim_scene_make(&s, m.radius_A, &o), CYC_OK);
	/* Near the middle, so that no fringe is cut off; well off the middle plane, so that depth matters. */
	cyc__sim_particle *p = &s.particles[0];
	cyc_vec3 shift = cyc_mat3_apply(p->truth.R_tomo_part, p->truth.origin_A);
	p->truth.position_A = (cyc_vec3){ 11 + shift.x, -17 + shift.y, 150 + shift.z };
	assert_int_equal(cyc__sim_renderer_create(&r, &s, map, &o), CYC_OK);
	assert_int_equal(cyc_alloc(&image, (size_t)s.image_nx * (size_t)s.image_ny, sizeof *image), CYC_OK);
	static const int32_t tilts[] = { 0, 3, 6 };
	int32_t n = cyc__sim_stamp_px(&o);
	for (int i = 0; i < 3; i++) {
		int32_t f = tilts[i];
		const cyc__sim_tilt *t = &s.truth[f];
		assert_int_equal(cyc__sim_render(image, r, 0, f, 0), CYC_OK);
		cyc_mat3 R_img_tomo = cyc_tilt_to_matrix(t->xtilt_rad, t->ytilt_rad, t->zrot_rad);
		cyc_mat3 R = cyc_mat3_mul(R_img_tomo, cyc_mat3_mul(p->truth.R_tomo_part, p->truth.R_part_ref));
		cyc_vec3 c = { 11, -17, 150 }, moved = { c.x + p->motion_A[3 * f], c.y + p->motion_A[3 * f + 1],
			                                     c.z + p->motion_A[3 * f + 2] };
		cyc_vec3 q = cyc_mat3_apply(R_img_tomo, moved);
		double qx = (q.x + t->shift_x_A) / o.pixel_size_A + s.image_nx / 2,
			   qy = (q.y + t->shift_y_A) / o.pixel_size_A + s.image_ny / 2;
		double offset = o.hand * cyc_mat3_apply(R_img_tomo, c).z, largest = 0, worst = 0;
		for (int j = 0; j < 40; j++) {
			/* Frequencies of the stamp: there the sum over the image is the whole truth. */
			int32_t jx = (7 * j) % (n / 2), jy = (11 * j) % n - n / 2;
			double kx = jx / (n * o.pixel_size_A), ky = jy / (n * o.pixel_size_A), k = hypot(kx, ky), re = 0,
				   im = 0, fre = 0, fim = 0;
			if (k >= 0.5 / o.pixel_size_A) continue;
			for (int32_t y = 0; y < s.image_ny; y++)
				for (int32_t x = 0; x < s.image_nx; x++) {
					double v = (double)image[y * s.image_nx + x] - (double)(float)t->mean_e_per_px,
						   a = -2 * CYC_PI * (jx * (double)x + jy * (double)y) / n;
					re += v * cos(a);
					im += v * sin(a);
				}
			for (int64_t b = 0; b < m.n_atoms; b++) {
				cyc_vec3 d = cyc_mat3_apply(R, (cyc_vec3){ m.atoms[b].x, m.atoms[b].y, m.atoms[b].z });
				double a = -2 * CYC_PI * (kx * d.x + ky * d.y + (jx * qx + jy * qy) / n);
				fre += m.atoms[b].weight * cos(a);
				fim += m.atoms[b].weight * sin(a);
			}
			double w = -t->scale * cyc__sim_filter(k, &o) * cyc__sim_damage(k, t->pre_exposure_e_per_A2) *
			           ctf_by_matrix(kx, ky, t->defocus_u_A + offset, t->defocus_v_A + offset,
			                         t->defocus_angle_rad, &o);
			largest = fmax(largest, hypot(w * fre, w * fim));
			worst = fmax(worst, hypot(re - w * fre, im - w * fim));
		}
		/* Slicing is good to 1e-5, the map's splats to 1e-4, its ringing leaves the box by 8e-4. */
		assert_true(largest > 1);
		assert_near(worst / largest, 0, 1e-3);
	}
	cyc_free(image);
	cyc__sim_renderer_destroy(&r);
	cyc_volume_destroy(&map);
	cyc__sim_scene_deinit(&s);
	cyc__sim_model_deinit(&m);
}

/* Worked example of the data model: a feature at voxel offset (5, -3, 2) is seen at pixel
 * (75.184870, 59.138618). */
static void feature_lands_on_its_pixel(void **state)
{
	(void)state;
	enum { N = 32 };
	cyc_simulate_options o = tiny();
	cyc_volume *map = NULL;
	cyc__sim_renderer *r = NULL;
	static float image[120 * 128];
	double motion[3] = { 0 };
	cyc__sim_tilt t = { .xtilt_rad = cyc_deg_to_rad(3),
		                .ytilt_rad = cyc_deg_to_rad(25),
		                .zrot_rad = cyc_deg_to_rad(80),
		                .shift_x_A = 5,
		                .shift_y_A = -7,
		                .scale = 1,
		                .mean_e_per_px = 10 };
	cyc__sim_particle p = { .motion_A = motion };
	p.truth.position_A = (cyc_vec3){ 12, -9, 8 };
	p.truth.origin_A = (cyc_vec3){ 3, -2, 4 };
	p.truth.R_tomo_part = cyc_euler_to_matrix(cyc_deg_to_rad(20), cyc_deg_to_rad(70), cyc_deg_to_rad(-30));
	p.truth.R_part_ref = cyc_euler_to_matrix(cyc_deg_to_rad(10), cyc_deg_to_rad(35), cyc_deg_to_rad(50));
	cyc__sim_scene s = { .n_series = 1,
		                 .n_tilts = 1,
		                 .n_particles = 1,
		                 .size_px = { 100, 100, 60 },
		                 .image_nx = 128,
		                 .image_ny = 120,
		                 .pixel_size_A = 2,
		                 .truth = &t,
		                 .given = &t,
		                 .particles = &p };
	/* A CTF of 1 everywhere: in focus, no aberration, all amplitude contrast. */
	o.box_px = N;
	o.pixel_size_A = 2;
	o.spherical_aberration_mm = 0;
	o.amplitude_contrast_frac = 1 - 1e-12;
	o.hand = 1;
	t.defocus_u_A = t.defocus_v_A = -cyc__sim_project(&s, &t, cyc__sim_centre(&p.truth)).z * 2;
	assert_int_equal(cyc_volume_create(&map, N, N, N, 2), CYC_OK);
	for (int z = 0; z < N; z++)
		for (int y = 0; y < N; y++)
			for (int x = 0; x < N; x++) {
				double d2 = cyc_square(x - N / 2 - 5) + cyc_square(y - N / 2 + 3) + cyc_square(z - N / 2 - 2);
				map->data[(z * N + y) * N + x] = (float)exp(-d2 / (2 * 1.5 * 1.5));
			}
	assert_int_equal(cyc__sim_renderer_create(&r, &s, map, &o), CYC_OK);
	assert_int_equal(cyc__sim_render(image, r, 0, 0, 0), CYC_OK);
	double sum = 0, sx = 0, sy = 0;
	for (int y = 0; y < 120; y++)
		for (int x = 0; x < 128; x++) {
			double v = 10 - (double)image[y * 128 + x];
			sum += v;
			sx += v * x;
			sy += v * y;
		}
	assert_near(sum, pow(2 * CYC_PI * 1.5 * 1.5, 1.5), 1e-2);
	assert_near(sx / sum, 75.184870, 2e-3);
	assert_near(sy / sum, 59.138618, 2e-3);
	cyc__sim_renderer_destroy(&r);
	cyc_volume_destroy(&map);
}

/* ---------------------------------------------------------------- particle */

static void particle_has_the_symmetry(void **state)
{
	(void)state;
	static const char *const groups[] = { "C1", "C5", "D2", "T", "O", "I1" };
	for (int g = 0; g < 6; g++) {
		cyc_simulate_options o = tiny();
		cyc__sim_model m = { 0 };
		cyc_symmetry *sym = NULL;
		o.symmetry = groups[g];
		o.radius_A = 60;
		assert_int_equal(cyc__sim_model_make(&m, &o), CYC_OK);
		assert_int_equal(cyc_symmetry_create(&sym, groups[g]), CYC_OK);
		assert_int_equal(m.n_ca % sym->n, 0);
		assert_true(m.n_ca > 100);
		for (int32_t k = 1; k < sym->n; k += 3)
			for (int64_t i = 0; i < m.n_ca; i += 17) {
				cyc_vec3 v = cyc_mat3_apply(sym->ops[k], m.ca[i]);
				double nearest = 1e9;
				for (int64_t j = 0; j < m.n_ca; j++)
					nearest = fmin(nearest, cyc_square(v.x - m.ca[j].x) + cyc_square(v.y - m.ca[j].y) +
					                            cyc_square(v.z - m.ca[j].z));
				assert_near(nearest, 0, 1e-9);
			}
		/* No two residues in one place; neighbours on a helix are 3.8 Å apart. */
		for (int64_t i = 0; i < m.n_ca; i += 5)
			for (int64_t j = 0; j < m.n_ca; j++)
				if (i != j) {
					double d2 = cyc_square(m.ca[i].x - m.ca[j].x) + cyc_square(m.ca[i].y - m.ca[j].y) +
					            cyc_square(m.ca[i].z - m.ca[j].z);
					if (d2 < 3.5 * 3.5)
						fail_msg("residues %d and %d of %s are %g Å apart", (int)i, (int)j, groups[g],
						         sqrt(d2));
				}
		cyc_symmetry_destroy(&sym);
		cyc__sim_model_deinit(&m);
	}
}

/* Sum over the map = transform at 0; and the true map is what the slicer gives back seen from the front. */
static void slice_from_the_front_is_the_projected_map(void **state)
{
	(void)state;
	cyc_simulate_options o = tiny();
	cyc__sim_model m = { 0 };
	cyc_volume *map = NULL;
	cyc__sim_slicer *slicer = NULL;
	cyc_fft2 *plan = NULL;
	cyc_cfloat *ft = NULL;
	float *image = NULL;
	int32_t n = o.box_px;
	assert_int_equal(cyc__sim_model_make(&m, &o), CYC_OK);
	assert_int_equal(cyc__sim_map(&map, &m, &o), CYC_OK);
	assert_int_equal(cyc__sim_slicer_create(&slicer, map, 1), CYC_OK);
	assert_int_equal(cyc_fft2_create(&plan, n, n), CYC_OK);
	assert_int_equal(cyc_alloc(&ft, cyc_half_count2(n), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_alloc(&image, (size_t)n * (size_t)n, sizeof *image), CYC_OK);
	cyc__sim_slice(ft, slicer, cyc_mat3_identity(), 3, -2);
	cyc_fft2_inverse(image, plan, ft);
	double largest = 0, worst = 0;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++) {
			double sum = 0;
			for (int32_t z = 0; z < n; z++)
				sum += (double)map->data[(z * n + (y + 2) % n) * n + (x - 3 + n) % n];
			largest = fmax(largest, fabs(sum));
			worst = fmax(worst, fabs(sum - (double)image[y * n + x] / (n * n)));
		}
	assert_near(worst / largest, 0, 1e-4);
	cyc_free(image);
	cyc_free(ft);
	cyc_fft2_destroy(&plan);
	cyc__sim_slicer_destroy(&slicer);
	cyc_volume_destroy(&map);
	cyc__sim_model_deinit(&m);
}

/* ---------------------------------------------------------------- scene */

static void particles_stay_inside_and_apart(void **state)
{
	(void)state;
	cyc_simulate_options o;
	cyc__sim_scene s = { 0 };
	double radius = 58;
	cyc_simulate_options_default(&o);
	o.motion_A = 0.3;
	assert_int_equal(cyc__sim_scene_make(&s, radius, &o), CYC_OK);
	int n_half = 0;
	for (int32_t i = 0; i < s.n_particles; i++) {
		const cyc__sim_particle *p = &s.particles[i];
		n_half += p->half;
		for (int32_t f = 0; f < s.n_tilts; f++) {
			const double *d = &p->motion_A[3 * f];
			cyc_vec3 a = cyc__sim_centre(&p->truth), b = cyc__sim_centre(&p->given);
			cyc_vec3 q[2] = { cyc__sim_project(&s, &s.truth[p->i_series * s.n_tilts + f],
				                               (cyc_vec3){ a.x + d[0], a.y + d[1], a.z + d[2] }),
				              cyc__sim_project(&s, &s.given[p->i_series * s.n_tilts + f], b) };
			for (int j = 0; j < 2; j++) {
				assert_true(q[j].x > o.box_px / 2 && q[j].x < s.image_nx - o.box_px / 2);
				assert_true(q[j].y > o.box_px / 2 && q[j].y < s.image_ny - o.box_px / 2);
			}
			if (f == 0) assert_true(d[0] == 0 && d[1] == 0 && d[2] == 0);
		}
		for (int32_t j = 0; j < i; j++) {
			if (s.particles[j].i_series != p->i_series) continue;
			cyc_vec3 a = cyc__sim_centre(&p->truth), b = cyc__sim_centre(&s.particles[j].truth);
			assert_true(cyc_square(a.x - b.x) + cyc_square(a.y - b.y) + cyc_square(a.z - b.z) >=
			            cyc_square(2 * radius));
		}
	}
	assert_int_equal(2 * n_half, s.n_particles);
	cyc__sim_scene_deinit(&s);
}

static void planted_errors_have_their_sizes(void **state)
{
	(void)state;
	cyc_simulate_options o = tiny();
	cyc__sim_scene s = { 0 };
	o.n_series = 60;
	o.error_defocus_A = 400;
	o.error_astigmatism_A = 120;
	o.error_scale = 0.08;
	o.error_shift_A = 1.5;
	o.error_angle_rad = cyc_deg_to_rad(0.2);
	o.error_position_A = 2;
	o.error_orientation_rad = cyc_deg_to_rad(3);
	assert_int_equal(cyc__sim_scene_make(&s, 30, &o), CYC_OK);
	double d = 0, a = 0, scale = 0, shift = 0, angle = 0, position = 0, rotation = 0;
	int32_t n = s.n_series * s.n_tilts;
	for (int32_t i = 0; i < n; i++) {
		const cyc__sim_tilt *t = &s.truth[i], *g = &s.given[i];
		d += cyc_square(0.5 * (g->defocus_u_A + g->defocus_v_A - t->defocus_u_A - t->defocus_v_A));
		double at = 0.5 * (t->defocus_u_A - t->defocus_v_A), ag = 0.5 * (g->defocus_u_A - g->defocus_v_A);
		a += cyc_square(ag * cos(2 * g->defocus_angle_rad) - at * cos(2 * t->defocus_angle_rad)) +
		     cyc_square(ag * sin(2 * g->defocus_angle_rad) - at * sin(2 * t->defocus_angle_rad));
		scale += cyc_square(log(g->scale / t->scale));
		shift += cyc_square(g->shift_x_A - t->shift_x_A);
		angle += cyc_square(g->ytilt_rad - t->ytilt_rad);
	}
	for (int32_t i = 0; i < s.n_particles; i++) {
		const cyc__sim_particle *p = &s.particles[i];
		position += cyc_square(p->given.position_A.z - p->truth.position_A.z);
		cyc_mat3 r = cyc_mat3_mul(p->given.R_part_ref, cyc_mat3_transpose(p->truth.R_part_ref));
		rotation += cyc_square(acos(fmin(1, 0.5 * (r.m[0][0] + r.m[1][1] + r.m[2][2] - 1))));
	}
	/* rms of N normal draws is known to 1 / sqrt(2 N): 2.8 % of 660 tilts, 4.6 % of 240 particles; four times
	 * that. */
	assert_near(sqrt(d / n) / 400, 1, 0.11);
	assert_near(sqrt(a / n) / 120, 1, 0.11);
	assert_near(sqrt(scale / n) / 0.08, 1, 0.11);
	assert_near(sqrt(shift / n) / 1.5, 1, 0.11);
	assert_near(sqrt(angle / n) / cyc_deg_to_rad(0.2), 1, 0.11);
	assert_near(sqrt(position / s.n_particles) / 2, 1, 0.19);
	assert_near(sqrt(rotation / s.n_particles) / cyc_deg_to_rad(3), 1, 0.19);
	cyc__sim_scene_deinit(&s);
	/* And none at all if none are asked for. */
	o.n_series = 2;
	o.error_defocus_A = o.error_astigmatism_A = o.error_scale = o.error_shift_A = o.error_angle_rad =
		o.error_position_A = o.error_orientation_rad = 0;
	assert_int_equal(cyc__sim_scene_make(&s, 30, &o), CYC_OK);
	assert_memory_equal(s.truth, s.given, (size_t)(s.n_series * s.n_tilts) * sizeof *s.truth);
	for (int32_t i = 0; i < s.n_particles; i++)
		assert_memory_equal(&s.particles[i].truth, &s.particles[i].given, sizeof(cyc__sim_pose));
	cyc__sim_scene_deinit(&s);
}

static void motion_has_its_size_and_is_smooth(void **state)
{
	(void)state;
	cyc_simulate_options o = tiny();
	cyc__sim_scene s = { 0 };
	o.n_series = 30;
	o.motion_A = 0.5;
	o.motion_length_A = 1e6;
	assert_int_equal(cyc__sim_scene_make(&s, 30, &o), CYC_OK);
	double sum = 0, apart = 0;
	for (int32_t i = 0; i < s.n_particles; i++)
		for (int32_t f = 1; f < s.n_tilts; f++)
			for (int c = 0; c < 3; c++) {
				sum +=
					cyc_square(s.particles[i].motion_A[3 * f + c] - s.particles[i].motion_A[3 * (f - 1) + c]);
				const cyc__sim_particle *first = &s.particles[s.particles[i].i_series * o.n_particles];
				apart = fmax(apart, fabs(s.particles[i].motion_A[3 * f + c] - first->motion_A[3 * f + c]));
			}
	/* Particles of a series move together here, so 30 x 10 x 3 independent steps: 2.4 %, four times that. */
	assert_near(sqrt(sum / (s.n_particles * (s.n_tilts - 1) * 3.0)) / 0.5, 1, 0.1);
	assert_near(apart, 0, 0.01);
	cyc__sim_scene_deinit(&s);
}

/* ---------------------------------------------------------------- noise */

static void noise_has_the_power_of_the_counts(void **state)
{
	(void)state;
	cyc_simulate_options o = tiny();
	cyc__sim_scene s = { 0 };
	cyc__sim_renderer *r = NULL;
	cyc_volume *map = NULL;
	float *image = NULL;
	o.noise_free = false;
	o.signal = 0;
	o.image_nx = 300;
	o.image_ny = 256;
	o.n_particles = 1;
	assert_int_equal(cyc_volume_create(&map, o.box_px, o.box_px, o.box_px, o.pixel_size_A), CYC_OK);
	assert_int_equal(cyc__sim_scene_make(&s, 30, &o), CYC_OK);
	size_t n = (size_t)s.image_nx * (size_t)s.image_ny;
	assert_int_equal(cyc_alloc(&image, n, sizeof *image), CYC_OK);
	double variance[2], mean = 0;
	for (int with_ice = 0; with_ice < 2; with_ice++) {
		o.ice_noise = with_ice ? 2 : 0;
		assert_int_equal(cyc__sim_renderer_create(&r, &s, map, &o), CYC_OK);
		assert_int_equal(cyc__sim_render(image, r, 0, 2, 0), CYC_OK);
		cyc__sim_renderer_destroy(&r);
		double sum = 0, sum2 = 0;
		for (size_t i = 0; i < n; i++) sum += (double)image[i];
		mean = sum / (double)n;
		for (size_t i = 0; i < n; i++) sum2 += cyc_square((double)image[i] - mean);
		variance[with_ice] = sum2 / (double)n;
		assert_near(mean / s.truth[2].mean_e_per_px, 1, 0.01);
	}
	/* Dose x area x what passes the ice. */
	assert_true(s.truth[2].mean_e_per_px < o.dose_e_per_A2 * 16 &&
	            s.truth[2].mean_e_per_px > 0.5 * o.dose_e_per_A2 * 16);
	assert_near(variance[0] / mean, 1, 0.03);
	/* Power of the ice: mean of 2 / (1 + (20 k)^2) over the square |kx|, |ky| <= 1/8. */
	double expected = 0;
	for (int y = 0; y < 200; y++)
		for (int x = 0; x < 200; x++)
			expected += 2 / (1 + 400 * (cyc_square((x + 0.5) / 1600) + cyc_square((y + 0.5) / 1600))) / 40000;
	assert_near((variance[1] - variance[0]) / mean, expected, 0.04 * (1 + expected));
	cyc_free(image);
	cyc_volume_destroy(&map);
	cyc__sim_scene_deinit(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctf_has_the_values_of_the_data_model),
		cmocka_unit_test(image_is_ctf_times_projected_atoms),
		cmocka_unit_test(feature_lands_on_its_pixel),
		cmocka_unit_test(particle_has_the_symmetry),
		cmocka_unit_test(slice_from_the_front_is_the_projected_map),
		cmocka_unit_test(particles_stay_inside_and_apart),
		cmocka_unit_test(planted_errors_have_their_sizes),
		cmocka_unit_test(motion_has_its_size_and_is_smooth),
		cmocka_unit_test(noise_has_the_power_of_the_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

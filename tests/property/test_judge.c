/* Junk and particles in wrong poses among good ones, in a simulated project: which of them 3D refinement says
 * are particles, which it finds again, and what that does to the map. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "project_fixture.h"
#include "sanitizers.h"

#include "cyclotomo/reconstruct.h"
#include "cyclotomo/refine3d.h"
#include "refine3d/sampling.h"

enum {
	BOX = 48,
	CROP = 40,
	PER_SERIES = 16,
	N_SERIES = 2,
	N_JUNK = 6,
	N_WRONG = 4,
	N = PER_SERIES * N_SERIES
};
static const double FAR_A = 110; /* from any particle: nothing is there */
static const double WRONG_DEG = 30;

static cyc_symmetry *g_symmetry;

static double angle_deg(cyc_mat3 a, cyc_mat3 b)
{
	return cyc_rad_to_deg(cyc_rotation_distance_rad(a, b, g_symmetry, NULL));
}

static void reconstruct(const char *particles, const char *out)
{
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.input.root = g_root;
	r.input.optimisation_set = "optimisation_set.star";
	r.input.particles = particles;
	r.out_dir = out;
	r.box_px = BOX;
	r.crop_px = CROP;
	r.symmetry = "O";
	r.n_threads = 2;
	ASSERT_OK(cyc_reconstruct_run(NULL, &r));
}

static void set_column(cyc_star_block *b, int64_t row, const char *label, double v)
{
	int32_t column;
	ASSERT_OK(cyc_star_ensure_column(&column, b, label, "0"));
	ASSERT_OK(cyc_star_set_double(b, row, column, v));
}

/* Rows 0 .. N_JUNK - 1 are moved to where nothing is, the next N_WRONG turned away. */
static void spoil(const char *name)
{
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *s = NULL;
	cyc_star_block *b;
	cyc_rng rng = cyc_rng_make(3, 1, 4);
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&s, "particles.star", NULL, t, g_root));
	ASSERT_OK(cyc_star_require(&b, s->star, "particles"));
	for (int64_t i = 0; i < N_JUNK + N_WRONG; i++) {
		const cyc_particle *p = &s->particles[i * 3]; /* of both series and half-sets */
		if (i < N_JUNK) {
			double nearest = 0;
			cyc_vec3 x = { 0, 0, 0 };
			const cyc_tilt_series *ts = &t->series[p->i_series];
			for (int tries = 0; tries < 10000 && nearest < FAR_A; tries++) {
				x = (cyc_vec3){ (cyc_rng_uniform(&rng) - 0.5) * 0.75 * ts->size_px[0] * ts->pixel_size_A,
					            (cyc_rng_uniform(&rng) - 0.5) * 0.75 * ts->size_px[1] * ts->pixel_size_A,
					            (cyc_rng_uniform(&rng) - 0.5) * 600 };
				nearest = 1e9;
				for (int64_t k = s->series_first[p->i_series]; k < s->series_first[p->i_series + 1]; k++) {
					cyc_vec3 y = s->particles[k].position_A;
					nearest = fmin(
						nearest, sqrt(cyc_square(x.x - y.x) + cyc_square(x.y - y.y) + cyc_square(x.z - y.z)));
				}
			}
			assert_true(nearest >= FAR_A);
			set_column(b, p->row, "rlnCenteredCoordinateXAngst", x.x);
			set_column(b, p->row, "rlnCenteredCoordinateYAngst", x.y);
			set_column(b, p->row, "rlnCenteredCoordinateZAngst", x.z);
		} else {
			double rot, tilt, psi;
			cyc_mat3 R;
			do
				R = cyc_euler_to_matrix(2 * CYC_PI * cyc_rng_uniform(&rng),
				                        acos(1 - 2 * cyc_rng_uniform(&rng)),
				                        2 * CYC_PI * cyc_rng_uniform(&rng));
			while (angle_deg(cyc_mat3_mul(p->R_tomo_part, R), p->R_tomo_ref) < WRONG_DEG);
			cyc_euler_from_matrix(&rot, &tilt, &psi, R);
			set_column(b, p->row, "rlnAngleRot", cyc_rad_to_deg(rot));
			set_column(b, p->row, "rlnAngleTilt", cyc_rad_to_deg(tilt));
			set_column(b, p->row, "rlnAnglePsi", cyc_rad_to_deg(psi));
		}
	}
	ASSERT_OK(cyc_particle_set_write(s, NULL, in_root(name)));
	cyc_particle_set_destroy(&s);
	cyc_tomogram_set_destroy(&t);
}

static int make_project(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	cyc_simulate_options p = simulated_project("judge");
	p.n_series = N_SERIES;
	p.n_particles = PER_SERIES;
	p.image_nx = 330;
	p.image_ny = 330;
	p.edge_px = 30;
	p.n_tilts = 11;
	p.tilt_step_rad = cyc_deg_to_rad(8);
	p.dose_e_per_A2 = 3;
	p.defocus_min_A = 8000;
	p.defocus_max_A = 10000;
	p.signal *= 5;
	p.error_defocus_A = p.error_astigmatism_A = p.error_scale = p.error_shift_A = p.error_angle_rad = 0;
	p.error_position_A = 1;
	p.error_orientation_rad = cyc_deg_to_rad(2.5);
	p.n_threads = 2;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	ASSERT_OK(cyc_symmetry_create(&g_symmetry, "O"));
	spoil("spoilt.star");
	reconstruct("spoilt.star", "R");
	return 0;
}

static int drop_project(void **state)
{
	cyc_symmetry_destroy(&g_symmetry);
	return temp_dir_remove(state);
}

static cyc_refine3d_options options(const char *out)
{
	cyc_refine3d_options o;
	cyc_refine3d_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.input.particles = "spoilt.star";
	o.ref1 = "R/half1.mrc";
	o.out_dir = out;
	o.box_px = BOX;
	o.crop_px = CROP;
	o.symmetry = "O";
	o.healpix_order = 4;
	o.offset_range_px = 1;
	o.offset_step_px = 1;
	o.max_iterations = 6;
	o.n_threads = 2;
	return o;
}

/* What particle i was made to be. */
static int kind_of(int64_t i) { return i % 3 != 0 || i / 3 >= N_JUNK + N_WRONG ? 0 : i / 3 < N_JUNK ? 1 : 2; }

static void junk_is_told_and_wrong_poses_are_put_right(void **state)
{
	(void)state;
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *truth = NULL, *found = NULL;
	cyc_star *star = NULL;
	cyc_star_block *b;
	double error[N];
	int n_right = 0, n_junk = 0, n_good = 0;
	int64_t n;
	cyc_refine3d_result r;
	cyc_refine3d_options o = options("J");
	ASSERT_OK(cyc_refine3d_run(&r, &o));
	ASSERT_OK(cyc_tomogram_set_read(&t, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&truth, "truth/particles.star", NULL, t, g_root));
	ASSERT_OK(cyc_particle_set_read(&found, r.particles, NULL, t, g_root));
	ASSERT_OK(cyc_star_read(&star, in_root("J/run_uncertainty.star")));
	ASSERT_OK(cyc_star_require(&b, star, "particles"));
	for (int64_t i = 0; i < N; i++) {
		double wrong = angle_deg(truth->particles[i].R_tomo_ref, found->particles[i].R_tomo_ref),
			   p = found->particles[i].probability, reported, low, high;
		ASSERT_OK(cyc_star_double_of(&low, b, i, "cycAgreementLow"));
		ASSERT_OK(cyc_star_double_of(&high, b, i, "cycAgreementHigh"));
		ASSERT_OK(cyc_star_double_of(&error[i], b, i, "cycRotationXErrorDeg"));
		ASSERT_OK(cyc_star_double_of(&reported, b, i, "cycParticleProbability"));
		assert_float_equal(reported, p, 1e-5);
		print_message(
			"%s: kind %d, probability %.3f, agreement %.2f and %.2f, %.1f degrees off, known to %.2f\n",
			found->particles[i].name, kind_of(i), p, low, high, wrong, error[i]);
		if (kind_of(i) == 0) n_good += p >= 0.5;
		if (kind_of(i) == 1) {
			n_junk += p < 0.5;
			assert_true(p >= 0.5 || error[i] > 5); /* a pose of nothing is not known */
		}
		if (kind_of(i) == 2) n_right += p >= 0.5 && wrong < 5;
	}
	assert_int_equal(n_junk, N_JUNK);
	assert_int_equal(n_good, N - N_JUNK - N_WRONG);
	assert_true(n_right >= N_WRONG - 1);
	cyc_star_destroy(&star);
	/* The list says the same. */
	ASSERT_OK(cyc_star_read(&star, in_root("J/run_improbable.star")));
	ASSERT_OK(cyc_star_require(&b, star, "improbable"));
	assert_int_equal(cyc_star_n_rows(b), r.n_improbable);
	assert_int_equal(r.n_improbable, N - n_good - n_right);
	ASSERT_OK(cyc_star_require(&b, star, "found_again"));
	n = cyc_star_n_rows(b);
	assert_int_equal(n, r.n_found_again);
	assert_true(n >= N_WRONG / 2 &&
	            r.n_searched >= N_JUNK + n); /* local searches may have put one right before */
	cyc_star_destroy(&star);
	cyc_particle_set_destroy(&truth);
	cyc_particle_set_destroy(&found);
	cyc_tomogram_set_destroy(&t);
	cyc_refine3d_result_deinit(&r);
}

/* Without a search for poses: those who are told apart where they are, and nothing else changes. */
static void a_look_leaves_poses(void **state)
{
	(void)state;
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *before = NULL, *after = NULL;
	int n_junk = 0;
	cyc_refine3d_result r;
	cyc_refine3d_options o = options("L");
	o.only_judge = true;
	ASSERT_OK(cyc_refine3d_run(&r, &o));
	assert_string_equal(r.particles, "L/particles.star");
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&before, "spoilt.star", NULL, t, g_root));
	ASSERT_OK(cyc_particle_set_read(&after, r.particles, NULL, t, g_root));
	for (int64_t i = 0; i < N; i++) {
		const cyc_particle *a = &before->particles[i], *b = &after->particles[i];
		print_message("%s: kind %d, probability %.3f\n", b->name, kind_of(i), b->probability);
		assert_memory_equal(&a->position_A, &b->position_A, sizeof a->position_A);
		assert_memory_equal(&a->R_tomo_ref, &b->R_tomo_ref, sizeof a->R_tomo_ref);
		if (kind_of(i) == 0) assert_true(b->probability >= 0.5);
		n_junk += kind_of(i) == 1 && b->probability < 0.5;
	}
	assert_true(n_junk >= N_JUNK - 1);
	assert_false(cyc_path_exists(in_root("L/run_class001.mrc")));
	cyc_particle_set_destroy(&before);
	cyc_particle_set_destroy(&after);
	cyc_tomogram_set_destroy(&t);
	cyc_refine3d_result_deinit(&r);
}

/* What is written is what the next job goes by: without the junk, or with all. */
static void all_can_be_kept(void **state)
{
	(void)state;
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *s = NULL;
	cyc_refine3d_result r;
	cyc_refine3d_options o = options("K");
	o.keep_all = true;
	o.max_iterations = 1;
	ASSERT_OK(cyc_refine3d_run(&r, &o));
	assert_true(r.n_improbable >= N_JUNK);
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&s, r.particles, NULL, t, g_root));
	for (int64_t i = 0; i < s->n; i++) assert_true(s->particles[i].probability == 1);
	cyc_particle_set_destroy(&s);
	cyc_tomogram_set_destroy(&t);
	cyc_refine3d_result_deinit(&r);
}

static void same_bits_for_any_number_of_threads(void **state)
{
	(void)state;
	if (IS_SANITIZED) skip();
	cyc_refine3d_options o = options("T");
	o.n_threads = 1;
	o.cache_GB = 0;
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_same_file("J/run_half1_class001_unfil.mrc", "T/run_half1_class001_unfil.mrc");
	assert_same_file("J/run_uncertainty.star", "T/run_uncertainty.star");
	assert_same_file("J/run_improbable.star", "T/run_improbable.star");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(junk_is_told_and_wrong_poses_are_put_right),
		cmocka_unit_test(a_look_leaves_poses),
		cmocka_unit_test(all_can_be_kept),
		cmocka_unit_test(same_bits_for_any_number_of_threads),
	};
	return cmocka_run_group_tests(tests, make_project, drop_project);
}

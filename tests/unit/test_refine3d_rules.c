/* Rules of the refinement that a whole run hardly shows: the share of a maximum, the floor of a learned
 * prior, and where the phases are randomised from. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backends/backend.h"
#include "map/map_internal.h"
#include "refine3d/half_maps.h"
#include "refine3d/pose_follow.h"
#include "refine3d/refine3d_internal.h"

#define ASSERT_OK(call) assert_int_equal(call, CYC_OK)

/* A maximum whose posterior falls off with this curvature along each axis, for rotations and for offsets. */
static cyc_track a_maximum(double angle_rad, double log_posterior, double rotations, double offsets)
{
	cyc_track t = { .has_begun = true, .has_ended = true };
	t.best.pose.R_tomo_ref = cyc_euler_to_matrix(angle_rad, 0, 0);
	t.best.log_posterior = t.best.log_likelihood = log_posterior;
	for (int k = 0; k < CYC_POSE_PARAMETERS; k++) t.best.at.curvature[k][k] = k < 3 ? rotations : offsets;
	return t;
}

/* The share of a maximum is that of its mass, not of its height: one that is twice as narrow along three axes
 * has an eighth. (T8.10) */
static void shares_are_those_of_masses(void **state)
{
	(void)state;
	static const double LOWER = 0.5, CURVATURE = 1e4;
	const cyc_search_spec spec = { .symmetry = NULL };
	const cyc_search_one s = { .spec = &spec };
	for (int k = 0; k < 2; k++) {
		const cyc_track tracks[] = { a_maximum(0, 0, CURVATURE, CURVATURE),
			                         a_maximum(2, -LOWER, k ? CURVATURE / 4 : CURVATURE * 4, CURVATURE) };
		cyc_found_pose found;
		assert_int_equal(cyc_peaks_best(&found, tracks, 2, &s), 0);
		double wanted = 1 / (1 + exp(-LOWER) * (k ? 8 : 0.125));
		if (!(fabs(found.p_max - wanted) < 1e-12))
			fail_msg("share %.6f instead of %.6f", found.p_max, wanted);
	}
}

/* Probable particles of both half-sets that are where the centre of their prior is. */
enum { N_STILL = 10 };
typedef struct {
	cyc_mat3 identity;
	cyc_symmetry none;
	cyc_particle particles[N_STILL];
	cyc_refined refined[N_STILL];
	cyc_particle_set set;
} still;

/* Their job, which borrows s: with errors of the poses, and old widths of the priors. */
static cyc_refine3d_job still_particles(still *s, double error_rad, double error_A, double old_rad,
                                        double old_A)
{
	memset(s, 0, sizeof *s);
	for (int k = 0; k < 3; k++) s->identity.m[k][k] = 1;
	s->none = (cyc_symmetry){ .n = 1, .ops = &s->identity };
	s->set = (cyc_particle_set){ .n = N_STILL, .particles = s->particles };
	cyc_refine3d_job j = { .particles = &s->set, .refined = s->refined, .symmetry = &s->none };
	for (int i = 0; i < N_STILL; i++) {
		cyc_refined *r = &s->refined[i];
		s->particles[i].half = i % 2;
		r->probability = 1;
		r->pose.R_tomo_ref = r->prior.R_tomo_ref = s->identity;
		for (int k = 0; k < CYC_POSE_PARAMETERS; k++) r->error[k] = k < 3 ? error_rad : error_A;
	}
	for (int h = 0; h < 2; h++) {
		j.state.sigma_angle_rad[h] = old_rad;
		j.state.sigma_offset_A[h] = old_A;
		for (int k = 0; k < 4; k++) j.state.error_factor[h][k] = 1;
	}
	return j;
}

/* Poses that stay where they began ask for a prior without width. It stops well below the standard error of a
 * pose, where it decides, and above a tenth of it, where a narrower one would change nothing. (T8.13) */
static void priors_may_be_narrower_than_errors(void **state)
{
	(void)state;
	static const double ERROR_RAD = 0.01, ERROR_A = 20;
	still s;
	cyc_refine3d_job j = still_particles(&s, ERROR_RAD, ERROR_A, 0.1, 200);
	ASSERT_OK(cyc_refine3d_learn_priors(&j, 0));
	for (int h = 0; h < 2; h++) {
		const double share[] = { j.state.sigma_angle_rad[h] / ERROR_RAD,
			                     j.state.sigma_offset_A[h] / ERROR_A };
		for (int kind = 0; kind < 2; kind++)
			if (!(share[kind] > 0.0999 && share[kind] < 0.5))
				fail_msg("width %.3f of the error", share[kind]);
	}
}

/* A start that is independent of the images is left for what is more than fitting them is worth: six
 * parameters, each times the variance of poses over that of the curvature. Improbable particles have no say.
 * (T8.29) */
static void a_start_is_left_for_more_than_a_fit(void **state)
{
	(void)state;
	enum { N_SHELLS = 3, SHELL = 1 };
	static const double ERROR_FACTOR = 1.1, BEFORE = 4; /* log-likelihood of the start, per particle */
	static const struct {
		double gain;
		bool is_refined, is_better;
	} CASES[] = { { 6 + 6 * 0.21 - 0.01, false, false },
		          { 6 + 6 * 0.21 + 0.01, false, true },
		          { -0.01, true, false },
		          { 0.01, true, true } };
	const cyc_refine3d_options o = { .n_threads = 1 };
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		still s;
		float now[N_STILL * N_SHELLS][2] = { { 0 } }, best[N_STILL * N_SHELLS][2] = { { 0 } };
		cyc_refined best_poses[N_STILL];
		bool is_better;
		cyc_refine3d_job j = still_particles(&s, 0.01, 1, 0.1, 1);
		j.o = &o;
		j.crop_px = 2 * (N_SHELLS - 1);
		j.shells = now;
		j.best_shells = best;
		j.best = best_poses;
		j.start_is_refined = CASES[i].is_refined;
		j.uses_groups[0] = j.uses_groups[1] = true;
		j.state.radius = j.state.best_radius = SHELL;
		for (int h = 0; h < 2; h++)
			for (int k = 0; k < 4; k++) j.state.error_factor[h][k] = ERROR_FACTOR;
		for (int p = 0; p < N_STILL; p++) {
			/* With |V|^2 = 1 and all alike the log-likelihood is the square of what they agree by. */
			bool is_junk = p < N_STILL / 2;
			s.refined[p].probability = is_junk ? 0 : 1;
			now[p * N_SHELLS + SHELL][0] = is_junk ? 0 : (float)sqrt(BEFORE + CASES[i].gain);
			best[p * N_SHELLS + SHELL][0] = is_junk ? 100 : (float)sqrt(BEFORE);
			now[p * N_SHELLS + SHELL][1] = best[p * N_SHELLS + SHELL][1] = 1;
		}
		ASSERT_OK(cyc_refine3d_note_progress(&is_better, &j, 1));
		if (is_better != CASES[i].is_better)
			fail_msg("gain of %.2f per particle: %s", CASES[i].gain, is_better ? "taken" : "not taken");
		assert_int_equal(j.state.best_iteration, is_better ? 1 : 0);
	}
}

/* A refinement of refined poses begins with the width that these have about the centre of their prior, and
 * not with that of the options: its first iteration may be its last. Probable particles count, symmetry mates
 * are alike, and nothing becomes wider. (T8.13) */
static void refined_poses_bring_the_width_of_their_prior(void **state)
{
	(void)state;
	enum { N = 12 };
	static const double MOVED_RAD = 0.02, MOVED_A = 3, OLD_RAD = 0.06, OLD_A = 10;
	cyc_symmetry *c2 = NULL;
	cyc_particle particles[N] = { 0 };
	cyc_refined refined[N] = { 0 };
	const cyc_particle_set set = { .n = N, .particles = particles };
	const cyc_refine3d_options o = { .healpix_order = 5, .oversampling = 1 };
	ASSERT_OK(cyc_symmetry_create(&c2, "C2"));
	cyc_refine3d_job j = { .o = &o, .particles = &set, .refined = refined, .symmetry = c2 };
	for (int i = 0; i < N; i++) {
		bool is_junk = i >= N - 2;
		double sign = i / 2 % 2 ? -1 : 1, turn = sign * (is_junk ? 1 : MOVED_RAD),
			   shift = sign * (is_junk ? 100 : MOVED_A);
		const cyc_vec3 axis = { turn, -turn, turn };
		particles[i].half = i % 2;
		refined[i].probability = is_junk ? 0.1 : 0.9;
		refined[i].prior.R_tomo_ref = cyc_rot_axis((cyc_vec3){ 0.3, 0.5, -0.2 }, 0.62);
		refined[i].pose.R_tomo_ref =
			cyc_mat3_mul(cyc_mat3_mul(refined[i].prior.R_tomo_ref, cyc_rot_axis(axis, sqrt(3) * fabs(turn))),
		                 c2->ops[i / 2 % c2->n]);
		refined[i].pose.offset_A = (cyc_vec3){ shift, shift, -shift };
	}
	for (int h = 0; h < 2; h++) {
		j.state.sigma_angle_rad[h] = OLD_RAD;
		j.state.sigma_offset_A[h] = OLD_A;
	}
	cyc_refine3d_start_priors(&j);
	for (int h = 0; h < 2; h++) {
		assert_true(fabs(j.state.sigma_angle_rad[h] / MOVED_RAD - 1) < 1e-6);
		assert_true(fabs(j.state.sigma_offset_A[h] / MOVED_A - 1) < 1e-6);
		j.state.sigma_angle_rad[h] = 0.5 * MOVED_RAD;
		j.state.sigma_offset_A[h] = 0.5 * MOVED_A;
	}
	cyc_refine3d_start_priors(&j);
	for (int h = 0; h < 2; h++) {
		assert_true(j.state.sigma_angle_rad[h] == 0.5 * MOVED_RAD);
		assert_true(j.state.sigma_offset_A[h] == 0.5 * MOVED_A);
	}
	/* Poses that never moved do not hold the next ones where they are. */
	for (int i = 0; i < N; i++) refined[i].pose = refined[i].prior;
	for (int h = 0; h < 2; h++) j.state.sigma_angle_rad[h] = OLD_RAD;
	cyc_refine3d_start_priors(&j);
	for (int h = 0; h < 2; h++)
		assert_true(j.state.sigma_angle_rad[h] >= 0.25 * cyc_healpix_step_rad(6) * (1 - 1e-12));
	cyc_symmetry_destroy(&c2);
}

/* However well offsets are known and however little they change, their prior stays as wide as RELION's,
 * 1.41 A: it must not hold back the few that are off. (T8.13) */
static void offsets_keep_room(void **state)
{
	(void)state;
	static const double LEAST_A = 1.4142;
	still s;
	cyc_refine3d_job j = still_particles(&s, 0.01, 0.2, 0.1, 10);
	ASSERT_OK(cyc_refine3d_learn_priors(&j, 1));
	for (int h = 0; h < 2; h++) {
		if (!(fabs(j.state.sigma_offset_A[h] / LEAST_A - 1) < 1e-3))
			fail_msg("a width of %.4f A", j.state.sigma_offset_A[h]);
		assert_true(j.state.sigma_angle_rad[h] == 0.1); /* of offsets alone */
	}
}

/* Standard errors are those of the inverse curvature: of two parameters that make up for each other, each is
 * known less well than with the other held. The mass of the maximum is the inverse root of the determinant.
 * (T8.10) */
static void errors_are_those_of_the_inverse_curvature(void **state)
{
	(void)state;
	static const double CORRELATION = 0.8;
	cyc_pose_derivatives at = { 0 };
	double error[CYC_POSE_PARAMETERS], log_root = 0;
	for (int k = 0; k < CYC_POSE_PARAMETERS; k++) at.curvature[k][k] = cyc_square(10.0 + k);
	at.curvature[1][4] = at.curvature[4][1] = CORRELATION * sqrt(at.curvature[1][1] * at.curvature[4][4]);
	double found = cyc_peak_errors(error, &at);
	for (int k = 0; k < CYC_POSE_PARAMETERS; k++) {
		double others = k == 1 || k == 4 ? sqrt(1 - CORRELATION * CORRELATION) : 1;
		assert_true(fabs(error[k] * (10 + k) * others - 1) < 1e-9);
		log_root -= log(10 + k);
	}
	assert_true(fabs(found - log_root + 0.5 * log(1 - CORRELATION * CORRELATION)) < 1e-9);
	at.curvature[2][2] = -1; /* no maximum */
	(void)cyc_peak_errors(error, &at);
	for (int k = 0; k < CYC_POSE_PARAMETERS; k++) assert_true(error[k] == 0);
}

/* Particles are compared with the reference below and above 20 A, or an octave below the limit of a reference
 * that does not reach far beyond that. (8.7) */
static void bands_part_at_twenty_angstroms(void **state)
{
	(void)state;
	static const struct {
		int32_t crop_px;
		double pixel_size_A;
		int32_t radius, end;
	} CASES[] = {
		{ 100, 2, 40, 10 },   { 100, 2, 20, 10 }, { 100, 2, 19, 9 }, { 100, 2, 12, 6 },
		{ 128, 1.35, 60, 8 }, { 60, 4, 30, 12 },  { 60, 4, 16, 8 },
	};
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
		cyc_refine3d_job j = { .crop_px = CASES[k].crop_px };
		j.box.pixel_size_A = CASES[k].pixel_size_A;
		assert_int_equal(cyc__low_band_end(&j, CASES[k].radius), CASES[k].end);
	}
}

/* White noise filtered to A exp(-r/length), alike in both maps, and white noise of each map's own. */
static cyc_volume *noisy_map(int32_t n, uint32_t own)
{
	static const double STRENGTH = 10, LENGTH = 4;
	double weight[64];
	cyc_volume *v = NULL;
	cyc_rng common = cyc_rng_make(3, 1, 0), noise = cyc_rng_make(3, 2 + own, 0);
	ASSERT_OK(cyc_volume_create(&v, n, n, n, 2));
	for (int32_t r = 0; r <= n / 2; r++) weight[r] = STRENGTH * exp(-r / LENGTH);
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] = (float)cyc_rng_normal(&common);
	ASSERT_OK(cyc_volume_filter(v, weight, 1));
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] += (float)cyc_rng_normal(&noise);
	return v;
}

/* Phases are randomised from the first shell in which the maps as they are correlate by less than 0.8, and
 * the curve under the mask is corrected from two shells beyond it. (T3.2) */
static void phases_are_random_where_maps_differ(void **state)
{
	(void)state;
	enum { N = 48, N_SHELLS = N / 2 + 1 };
	static const double BEGINS_BELOW = 0.8;
	cyc_volume *half[2] = { noisy_map(N, 0), noisy_map(N, 1) }, *mask = NULL;
	cyc_cfloat *ft[2] = { NULL, NULL };
	cyc_fft3 *plan = NULL;
	cyc_backend *be = NULL;
	cyc_half_maps *maps = NULL;
	double masked[N_SHELLS];
	ASSERT_OK(cyc_volume_create(&mask, N, N, N, 2));
	ASSERT_OK(cyc_fft3_create(&plan, N, 1));
	for (int i = 0; i < N * N * N; i++) {
		double r =
			sqrt(cyc_square(i / (N * N) - N / 2) + cyc_square(i / N % N - N / 2) + cyc_square(i % N - N / 2));
		mask->data[i] = (float)fmin(fmax((14 - r) / 4, 0), 1);
	}
	for (int h = 0; h < 2; h++) {
		cyc_volume *v = NULL;
		ASSERT_OK(cyc_volume_copy(&v, half[h]));
		for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] *= mask->data[i];
		ASSERT_OK(cyc_alloc(&ft[h], cyc_half_count3(N), sizeof *ft[h]));
		ASSERT_OK(cyc_fft3_forward(ft[h], plan, v->data));
		cyc_volume_destroy(&v);
	}
	ASSERT_OK(cyc__fsc_compute_threads(masked, ft[0], ft[1], N, 1));
	ASSERT_OK(cyc_backend_open(&be, "cpu", 1));
	const cyc_half_maps_spec spec = { .be = be, .crop_px = N, .mask = mask, .correct_fsc = true, .seed = 1 };
	ASSERT_OK(cyc_half_maps_take(&maps, half, false, &spec));
	int32_t from = 1, first = 0;
	while (from < N_SHELLS && maps->fsc_unmasked[from] >= BEGINS_BELOW) from++;
	while (first < N_SHELLS && fabs(maps->fsc[first] - masked[first]) < 1e-9) first++;
	print_message("the maps correlate by less than %.1f from shell %d on; corrected from shell %d on\n",
	              BEGINS_BELOW, from, first);
	assert_true(from > 3 && from < N_SHELLS / 2);
	assert_int_equal(first, from + 2);
	cyc_half_maps_destroy(&maps);
	cyc_backend_close(&be);
	cyc_volume_destroy(&mask);
	cyc_fft3_destroy(&plan);
	for (int h = 0; h < 2; h++) cyc_free(ft[h]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(shares_are_those_of_masses),
		                                cmocka_unit_test(priors_may_be_narrower_than_errors),
		                                cmocka_unit_test(a_start_is_left_for_more_than_a_fit),
		                                cmocka_unit_test(refined_poses_bring_the_width_of_their_prior),
		                                cmocka_unit_test(offsets_keep_room),
		                                cmocka_unit_test(errors_are_those_of_the_inverse_curvature),
		                                cmocka_unit_test(bands_part_at_twenty_angstroms),
		                                cmocka_unit_test(phases_are_random_where_maps_differ) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

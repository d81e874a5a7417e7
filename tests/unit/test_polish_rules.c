/* Rules of polishing that a whole run hardly shows: how finely maps are sampled, how strong a tilt is, when
 * the curvature of maps counts, how fast particles move if no image shows it, and when windows are cut again
 * or a lost tilt is found. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "polish/evidence.h"
#include "polish/polish_series.h"
#include "polish/polish_start.h"

static void close_to(double value, double expected, double bound)
{
	if (!(fabs(value - expected) <= bound))
		fail_msg("got %.9g, expected %.9g within %g", value, expected, bound);
}

/* ---------------------------------------------------------------- sampling of maps */

/* Root mean square error, over that of the wave, of the spline through samples of a wave at the band limit of
 * a reference. */
static double spline_error(cyc_local_grid grid, double frequency)
{
	enum { N_POINTS = 2000 };
	float *map = NULL;
	double *line = NULL, g[2], square = 0, all = 0;
	ASSERT_OK(cyc_alloc(&map, (size_t)grid.n * (size_t)grid.n, sizeof *map));
	ASSERT_OK(cyc_alloc(&line, grid.n, sizeof *line));
	for (int phase = 0; phase < 4; phase++) {
		double turn = 0.4 + 0.5 * CYC_PI * phase, k = 2 * CYC_PI * frequency;
		for (int32_t i = 0; i < grid.n * grid.n; i++)
			map[i] = (float)cos(k * (i % grid.n - grid.n / 2) * grid.step_px + turn);
		cyc_local_map_prefilter(map, grid.n, line);
		for (int i = 0; i < N_POINTS; i++) { /* away from the borders */
			double x = cyc_local_map_reach(grid) * (cyc_rng_uniform_at(1, 0, (uint64_t)i, 0) - 0.5),
				   y = cyc_local_map_reach(grid) * (cyc_rng_uniform_at(1, 0, (uint64_t)i, 1) - 0.5);
			double wave = cos(k * x + turn);
			square += cyc_square(cyc_local_map_value(g, map, grid, x, y) - wave);
			all += wave * wave;
		}
	}
	cyc_free(map);
	cyc_free(line);
	return sqrt(square / all);
}

/* Maps reach as far as particles are looked for. At the highest frequency their spline is good to about 1 %;
 * finer maps take more memory, by the square, than this needs. (T6.2) */
static void maps_are_as_fine_as_their_spline_needs(void **state)
{
	(void)state;
	static const struct {
		int32_t box_px, radius;
	} CASES[] = { { 64, 20 }, { 64, 31 }, { 96, 10 }, { 200, 60 } };
	static const double RANGE_PX = 20, MOST = 0.014, LEAST = 0.007;
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
		const cyc_local_grid grid = cyc_evidence_grid(RANGE_PX, CASES[k].box_px, CASES[k].radius);
		double error = spline_error(grid, (double)CASES[k].radius / CASES[k].box_px);
		assert_true(cyc_local_map_reach(grid) >= RANGE_PX &&
		            cyc_local_map_reach(grid) < RANGE_PX + 2 * grid.step_px);
		print_message("%.3f %%\n", 100 * error);
		if (!(error < MOST && error > LEAST))
			fail_msg("box %d, radius %d: %.3f %% off", (int)CASES[k].box_px, (int)CASES[k].radius,
			         100 * error);
	}
}

/* ---------------------------------------------------------------- an alignment with planted maps */

enum { T = 9, N = 24, N_MAPS = T, GRID = 21 };
static const double STEP_PX = 0.7, PIXEL_A = 1.7;

#include "alignment_world.h"

static void make_world(void)
{
	begin_world();
	for (int f = 0; f < T; f++) {
		const cyc_tilt tilt = { .ytilt_rad = 0.2 * (f - T / 2),
			                    .has_angles = true,
			                    .scale = 1,
			                    .has_nominal_tilt = true,
			                    .nominal_tilt_rad = 0.2 * (f - T / 2),
			                    .pre_exposure_e_per_A2 = 6.0 * f };
		place_tilt(f, tilt, f, 0.5);
		w.dose[f] = 3.0 + 6.0 * f;
	}
	for (int p = 0; p < N; p++) place_particle(p, 150, 1);
	const cyc_motion_options motion = { .correlation_A = 1500, .max_modes = 4 };
	ASSERT_OK(cyc_motion_model_create(&w.motion, w.positions, N, &motion));
	w.a = alignment_of_world(1);
	ASSERT_OK(cyc_alignment_init(&w.a));
	for (int p = 0; p < N; p++)
		for (int f = 0; f < T; f++) {
			cyc_pair *pair = &w.pairs[p * T + f];
			pair->map = w.maps[f];
			pair->power = 1;
			pair->curve[0] = pair->curve[2] = 1;
			cyc_alignment_position(pair->start_px, &w.a, p, f);
		}
}

/* ---------------------------------------------------------------- strengths */

static double normal(double x, double variance)
{
	return exp(-0.5 * x * x / variance) / sqrt(2 * CYC_PI * variance);
}

/* Density of an observed strength, and the mean of the true one, by quadrature: in 49 of 50 cases normal
 * about 1, else anything from 0 to 1. (T6.8) */
static double density(double *mean, double observed, double noise, double spread)
{
	enum { STEPS = 4000 };
	static const double BAD = 1 / 50.0, MOST = 4;
	double sum = 0, first = 0;
	for (int i = 0; i < 2 * STEPS; i++) {
		double r = MOST * ((i + 0.5) / STEPS - 1),
			   prior = (1 - BAD) * normal(r - 1, spread * spread) + (r > 0 && r < 1 ? BAD : 0),
			   p = prior * normal(observed - r, noise) * MOST / STEPS;
		sum += p;
		first += p * r;
	}
	*mean = first / sum;
	return sum;
}

/* A tilt's strength is the mean of its posterior, with the likeliest spread of those of good tilts, 0.02
 * times a power of sqrt 2. (T6.8) */
static void weak_tilts_have_the_strength_of_their_posterior(void **state)
{
	(void)state;
	static const double SHOWN[] = { 0.35, 0.45, 0.55, 0.65 }, NOISE_SD = 0.2;
	static const int WEAK = 5;
	for (size_t k = 0; k < sizeof SHOWN / sizeof *SHOWN; k++) {
		make_world();
		double height[T], mean = 0, best = 0, expected = 0;
		/* 1/(2 S^2 P) = noise, of the N particles of a tilt at strength 1 */
		double power = 1 / (2 * NOISE_SD * NOISE_SD * N);
		for (int f = 0; f < T; f++) {
			height[f] = f == WEAK ? SHOWN[k] : 1;
			mean += height[f] / T;
			for (int i = 0; i < GRID * GRID; i++) w.maps[f][i] = (float)(height[f] * power);
		}
		for (int i = 0; i < N * T; i++) w.pairs[i].power = power;
		ASSERT_OK(cyc_alignment_learn_strengths(&w.a, false));
		close_to(w.a.agreement, mean, 1e-6);
		for (int i = 0; i < 13; i++) {
			double likelihood = 1, means[T], spread = 0.02 * pow(2, 0.5 * i);
			for (int f = 0; f < T; f++)
				likelihood *= density(&means[f], height[f] / mean, cyc_square(NOISE_SD / mean), spread);
			if (likelihood <= best) continue;
			best = likelihood;
			expected = means[WEAK];
		}
		print_message("%.2f of the strength: %.3f, expected %.3f\n", SHOWN[k], w.strength[WEAK], expected);
		close_to(w.strength[WEAK], expected, 0.01);
		drop_world();
	}
}

/* The curvature of maps at their maxima, over that expected, is the factor on the precision of places if it
 * is between a third and three; beyond that it is noise's. (T6.8) */
static void curvatures_of_noise_do_not_count(void **state)
{
	(void)state;
	static const double RATIOS[] = { 0.2, 0.3, 0.36, 1, 2.75, 3.3, 5 }, MOST = 3, WAVE = 0.3, HEIGHT = 10;
	for (size_t k = 0; k < sizeof RATIOS / sizeof *RATIOS; k++) {
		double line[GRID];
		bool is_used = RATIOS[k] > 1 / MOST && RATIOS[k] < MOST;
		make_world();
		for (int f = 0; f < T; f++) {
			for (int i = 0; i < GRID * GRID; i++)
				w.maps[f][i] = (float)(HEIGHT * cos(WAVE * STEP_PX * (i % GRID - GRID / 2)) *
				                       cos(WAVE * STEP_PX * (i / GRID - GRID / 2)));
			cyc_local_map_prefilter(w.maps[f], GRID, line);
		}
		for (int i = 0; i < N * T; i++) {
			w.pairs[i].power = HEIGHT; /* agreement 1; log L is twice the map */
			w.pairs[i].curve[0] = w.pairs[i].curve[2] = 2 * HEIGHT * WAVE * WAVE / RATIOS[k];
		}
		ASSERT_OK(cyc_alignment_learn_strengths(&w.a, true));
		close_to(w.a.agreement, 1, 1e-3);
		for (int f = 0; f < T; f++) close_to(w.sharpness[f], is_used ? RATIOS[k] : 1, 0.02 * RATIOS[k]);
		drop_world();
	}
}

/* ---------------------------------------------------------------- motion */

/* Mean square widths of steps over the candidates, by their prior alone: log normal of width 1; those with a
 * decay have one vote together, and keep a fifth of their first speed. (T6.11) */
static void widths_before_any_image(double *square, const double *dose, int n_steps)
{
	static const double SLOWEST = 0.2;
	double votes = 0;
	for (int t = 0; t < n_steps; t++) square[t] = 0;
	for (int i = 0; i < 17; i++) { /* 2 to 1/128 */
		double speed = pow(2, 1 - 0.5 * i), vote = exp(-0.5 * cyc_square(log(speed))) / 17;
		votes += vote;
		for (int t = 0; t < n_steps; t++) square[t] += vote * speed * speed;
	}
	for (int i = 0; i < 9 * 4 && dose; i++) { /* 8 to 1/32, with 5 to 40 e/A2 */
		double speed = pow(2, 3 - i % 9), decay = 5 * pow(2, i / 9),
			   vote = exp(-0.5 * cyc_square(log(speed))) / (9 * 4);
		votes += vote;
		for (int t = 0; t < n_steps; t++)
			square[t] += vote * cyc_square(speed * (SLOWEST + (1 - SLOWEST) * exp(-dose[t] / decay)));
	}
	for (int t = 0; t < n_steps; t++) square[t] /= votes;
}

static void without_evidence_motion_is_that_of_the_prior(void **state)
{
	(void)state;
	make_world();
	double speed, factors[T - 1], square[T - 1], *precision = NULL, *scratch = NULL;
	ASSERT_OK(cyc_alloc(&precision, 3 * T * (size_t)w.motion->n_modes, sizeof *precision));
	ASSERT_OK(cyc_alloc(&scratch, cyc_alignment_scratch(&w.a), sizeof *scratch));
	ASSERT_OK(cyc_alignment_linearise(&w.a));
	for (int slows_down = 0; slows_down < 2; slows_down++) {
		w.a.step_dose = slows_down ? w.dose : NULL;
		widths_before_any_image(square, w.a.step_dose, T - 1);
		ASSERT_OK(cyc_alignment_learn_speed(&speed, factors, &w.a, precision, scratch));
		for (int t = 0; t < T - 1; t++) close_to(speed * factors[t], sqrt(square[t]), 1e-6 * sqrt(square[t]));
		print_message("speed %.3f of the given one, %.3f to %.3f of it\n", speed, factors[0], factors[T - 2]);
	}
	cyc_free(precision);
	cyc_free(scratch);
	drop_world();
}

/* ---------------------------------------------------------------- windows and places */

/* Windows are cut again for particles that are beyond 0.9 of the range; the share of such images counts. */
static void windows_are_cut_again_near_the_end_of_their_range(void **state)
{
	(void)state;
	static const double RANGE_PX = 6, LIMIT = 0.9;
	for (double share = 0.12; share < 1.3; share += 0.04)
		for (int n_moved = 0; n_moved <= T; n_moved += 3) {
			make_world();
			for (int f = 0; f < n_moved; f++) {
				w.a.tilts[f].shift_A[0] = 0.6 * share * RANGE_PX * PIXEL_A;
				w.a.tilts[f].shift_A[1] = -0.8 * share * RANGE_PX * PIXEL_A;
			}
			close_to(cyc__share_far_away(&w.a, RANGE_PX), share > LIMIT ? (double)n_moved / T : 0, 1e-12);
			for (int i = 0; i < N * T; i++)
				if (i % 2) w.pairs[i].map = NULL; /* not seen, so not far */
			assert_true((cyc__share_far_away(&w.a, RANGE_PX) > 0) == (share > LIMIT && n_moved > 0));
			drop_world();
		}
}

/* A place in the whole image is believed by odds of 100 to 1, over no particles and over all places near the
 * expected one, with the number of places it was chosen from. (T6.16) */
static void lost_tilts_are_found_by_odds_of_a_hundred(void **state)
{
	(void)state;
	static const double ODDS[] = { 1e-9, 1, 20, 70, 95, 105, 150, 1e6 }, N_PLACES = 4e6, STRENGTH = 0.8;
	enum { N_ODDS = sizeof ODDS / sizeof *ODDS };
	for (int i = 0; i < N_ODDS; i++)
		for (int k = 0; k < N_ODDS; k++) {
			/* Likelihood ratios exp(S top - S^2 power / 2) and exp(S (top - near)), over the places. */
			cyc_image_shift found = { .is_found = true, .n_images = 40, .top = 60 };
			found.power = 2 * (STRENGTH * found.top - log(ODDS[i] * N_PLACES)) / cyc_square(STRENGTH);
			found.near = found.top - log(ODDS[k] * N_PLACES) / STRENGTH;
			bool is_likely = ODDS[i] > 100 && ODDS[k] > 100;
			if (cyc__is_found_elsewhere(&found, STRENGTH, log(N_PLACES)) != is_likely)
				fail_msg("odds of %g over no particles and %g over places nearby", ODDS[i], ODDS[k]);
			found.is_found = false; /* the peak may be noise */
			assert_false(cyc__is_found_elsewhere(&found, STRENGTH, log(N_PLACES)));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(maps_are_as_fine_as_their_spline_needs),
		                                cmocka_unit_test(weak_tilts_have_the_strength_of_their_posterior),
		                                cmocka_unit_test(curvatures_of_noise_do_not_count),
		                                cmocka_unit_test(without_evidence_motion_is_that_of_the_prior),
		                                cmocka_unit_test(windows_are_cut_again_near_the_end_of_their_range),
		                                cmocka_unit_test(lost_tilts_are_found_by_odds_of_a_hundred) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

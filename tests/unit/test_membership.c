/* Is it the particle: the mixture of agreements with the reference, on numbers drawn from known kinds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "refine3d/membership.h"

enum { MOST = 4000 };
static const double N_POSES = 2280;

/* A set of n particles and others, whose noise is v at high resolution and half of that at low. */
typedef struct {
	cyc_agreement agreement[MOST];
	int kind[MOST]; /* 0: the particle, 1: nothing, 2: a blob, 3: the particle in a wrong pose */
	double probability[MOST];
	int64_t n;
	cyc_membership model;
} set;

static void draw(set *s, int64_t n, double share_nothing, double share_blobs, double share_wrong,
                 double spread, double v, uint64_t seed)
{
	cyc_rng rng = cyc_rng_make(seed, 7, 0);
	s->n = n;
	for (int64_t i = 0; i < n; i++) {
		double u = cyc_rng_uniform(&rng), strength = spread * cyc_rng_normal(&rng),
			   quality = 0.5 * spread * cyc_rng_normal(&rng), z = 3.5 + 0.8 * cyc_rng_normal(&rng);
		cyc_band_agreement *low = &s->agreement[i].band[CYC_BAND_LOW],
						   *high = &s->agreement[i].band[CYC_BAND_HIGH];
		s->kind[i] = u < share_nothing                               ? 1
		             : u < share_nothing + share_blobs               ? 2
		             : u < share_nothing + share_blobs + share_wrong ? 3
		                                                             : 0;
		low->variance = 0.5 * v * (0.5 + cyc_rng_uniform(&rng));
		high->variance = 2 * low->variance;
		double noise[2] = { sqrt(low->variance) * cyc_rng_normal(&rng),
			                sqrt(high->variance) * cyc_rng_normal(&rng) };
		if (s->kind[i] == 0) {
			low->amplitude = 0.9 + strength + noise[0];
			high->amplitude = 1.1 + strength + quality + noise[1];
		} else if (s->kind[i] == 3) {
			low->amplitude = 0.9 + strength + noise[0];
			high->amplitude = 0.28 + 0.07 * cyc_rng_normal(&rng) + noise[1];
		} else {
			low->amplitude = s->kind[i] == 2 ? 1 + 1.2 * cyc_rng_normal(&rng) : noise[0];
			high->amplitude = z * sqrt(high->variance);
		}
	}
}

static void fit(set *s)
{
	ASSERT_OK(cyc_membership_fit(s->probability, &s->model, s->agreement, s->n, N_POSES));
}

/* Share of a kind (or of all others, -1) with a probability below one half. */
static double share_improbable(const set *s, int kind)
{
	double n = 0, improbable = 0;
	for (int64_t i = 0; i < s->n; i++) {
		if (kind < 0 ? s->kind[i] == 0 : s->kind[i] != kind) continue;
		n++;
		improbable += s->probability[i] < 0.5;
	}
	return n > 0 ? improbable / n : 0;
}

static set g_set;

static void strong_evidence_tells_all_apart(void **state)
{
	(void)state;
	static const struct {
		int64_t n;
		double nothing, blobs, wrong, spread;
	} CASES[] = { { 40, 0.1, 0.1, 0, 0.15 },  { 40, 0, 0, 0, 0.15 },    { 10, 0, 0, 0, 0.1 },
		          { 60, 0.5, 0.1, 0, 0.2 },   { 600, 0.3, 0, 0, 0.25 }, { 600, 0, 0.15, 0, 0.25 },
		          { 2000, 0, 0, 0, 0.25 },    { 40, 0, 0, 0.2, 0.1 },   { 40, 0.1, 0.1, 0.1, 0.15 },
		          { 1000, 0, 0, 0.15, 0.15 }, { 60, 0, 0, 0.3, 0.15 } };
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++)
		for (uint64_t seed = 1; seed < 4; seed++) {
			draw(&g_set, CASES[k].n, CASES[k].nothing, CASES[k].blobs, CASES[k].wrong, CASES[k].spread,
			     1 / 600.0, seed);
			fit(&g_set);
			double lost = share_improbable(&g_set, 0),
				   caught[3] = { share_improbable(&g_set, 1), share_improbable(&g_set, 2),
				                 share_improbable(&g_set, 3) };
			print_message("%lld, %.0f %% nothing, %.0f %% blobs, %.0f %% in wrong poses: lost %.3f, caught "
			              "%.3f, %.3f and %.3f\n",
			              (long long)CASES[k].n, 100 * CASES[k].nothing, 100 * CASES[k].blobs,
			              100 * CASES[k].wrong, lost, caught[0], caught[1], caught[2]);
			assert_true(g_set.model.is_told_apart && lost <= 0.01);
			if (CASES[k].nothing > 0) assert_true(caught[0] >= 0.9);
			if (CASES[k].wrong > 0) assert_true(caught[2] >= 0.9);
			/* Those in a wrong pose are looked for elsewhere, and hardly any other particle. */
			int64_t n[2] = { 0, 0 }, n_far[2] = { 0, 0 };
			for (int64_t i = 0; i < g_set.n; i++) {
				int kind = g_set.kind[i] == 3;
				if (g_set.kind[i] != 0 && !kind) continue;
				n[kind]++;
				n_far[kind] += cyc_membership_is_far_below(&g_set.model, &g_set.agreement[i]);
			}
			assert_true((double)n_far[0] <= 0.05 * (double)n[0] + 1 &&
			            (double)n_far[1] >= 0.9 * (double)n[1]);
			if (CASES[k].blobs > 0) assert_true(caught[1] >= 0.9);
		}
}

/* Of particles one in some 700 lies three standard deviations below the median by chance, and is looked for
 * elsewhere. (T8.24) */
static void few_are_far_below_by_chance(void **state)
{
	(void)state;
	static const double SHARE = 1 / 740.0; /* of a normal distribution */
	double n = 0, n_far = 0;
	for (uint64_t seed = 1; seed < 6; seed++) {
		draw(&g_set, MOST, 0, 0, 0, 0.15, 1 / 600.0, seed);
		fit(&g_set);
		for (int64_t i = 0; i < g_set.n; i++, n++)
			n_far += cyc_membership_is_far_below(&g_set.model, &g_set.agreement[i]);
	}
	print_message("%.0f of %.0f particles are far below, %.0f by chance\n", n_far, n, SHARE * n);
	assert_true(n_far > 0.4 * SHARE * n && n_far < 2.5 * SHARE * n); /* 27 expected */
}

/* Far below is three standard deviations of the particles and the noise; below half of what is typical those
 * of the noise alone count. (T8.24) */
static void far_below_is_three_standard_deviations(void **state)
{
	(void)state;
	static const struct {
		double scatter, noise, missing;
		bool is_far;
	} CASES[] = {
		{ 0.08, 0.06, 0.28, false },
		{ 0.08, 0.06, 0.32, true }, /* 0.1 in all */
		{ 0, 0.12, 0.34, false },
		{ 0, 0.12, 0.38, true }, /* of the noise only */
		{ 0.3, 0.05, 0.45, false },
		{ 0.3, 0.05, 0.55, true }, /* particles differ; that one is nearer to 0 */
		{ 0.3, 0.2, 0.57, false },
		{ 0.3, 0.2, 0.63, true }, /* by more than noise explains */
	};
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++)
		for (double typical = 0.5; typical < 3; typical *= 2) {
			const cyc_membership m = { .typical = typical,
				                       .scatter = cyc_square(typical * CASES[k].scatter),
				                       .is_told_apart = true };
			cyc_agreement a = {
				{ { 1, 0.01 }, { typical * (1 - CASES[k].missing), cyc_square(typical * CASES[k].noise) } }
			};
			if (cyc_membership_is_far_below(&m, &a) != CASES[k].is_far)
				fail_msg("case %d of typical strength %g", (int)k, typical);
			a.band[CYC_BAND_HIGH].variance = 0;
			assert_false(cyc_membership_is_far_below(&m, &a));
		}
}

/* Where the kinds overlap, of those with probability p the share p are particles. */
static void probabilities_are_shares(void **state)
{
	(void)state;
	enum { BINS = 5 };
	double n[BINS] = { 0 }, sum[BINS] = { 0 }, right[BINS] = { 0 };
	for (uint64_t seed = 1; seed < 4; seed++) {
		draw(&g_set, MOST, 0.25, 0, 0, 0.15, 1 / 12.0,
		     seed); /* noise reaches 3.5 x 0.29 at the best pose, a particle 1.1 +- 0.33 */
		fit(&g_set);
		for (int64_t i = 0; i < g_set.n; i++) {
			int b = (int)fmin(BINS * g_set.probability[i], BINS - 1);
			n[b]++;
			sum[b] += g_set.probability[i];
			right[b] += g_set.kind[i] == 0;
		}
	}
	for (int b = 0; b < BINS; b++) {
		if (n[b] < 50) continue;
		print_message("probability %.2f: %.2f of %.0f are particles\n", sum[b] / n[b], right[b] / n[b], n[b]);
		assert_true(fabs(sum[b] - right[b]) / n[b] < 0.15);
	}
}

/* Images that say nothing leave the prior; a band without information does not count. */
/* Particles of two kinds of ice are all particles. */
static void two_strengths_are_both_particles(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 4; seed++) {
		draw(&g_set, 100, 0.1, 0, 0, 0.1, 1 / 600.0, seed);
		for (int64_t i = 0; i < g_set.n; i += 2)
			for (int b = 0; b < CYC_N_BANDS && g_set.kind[i] == 0; b++)
				g_set.agreement[i].band[b].amplitude *= 0.55;
		fit(&g_set);
		print_message("two strengths: lost %.3f, caught %.3f\n", share_improbable(&g_set, 0),
		              share_improbable(&g_set, 1));
		assert_true(share_improbable(&g_set, 0) <= 0.01);
		assert_true(share_improbable(&g_set, 1) >= 0.9);
	}
}

static void no_evidence_leaves_the_share(void **state)
{
	(void)state;
	draw(&g_set, 40, 0.2, 0, 0, 0.15, 1 / 600.0, 5);
	g_set.agreement[3] = (cyc_agreement){ { { 0, 0 }, { 0, 0 } } };
	g_set.agreement[4].band[CYC_BAND_LOW].variance = 0;
	g_set.agreement[5].band[CYC_BAND_HIGH].variance = 0;
	g_set.agreement[6].band[CYC_BAND_HIGH].variance = 1e6;
	fit(&g_set);
	assert_true(fabs(g_set.probability[3] - g_set.model.share) < 1e-3);
	for (int64_t i = 0; i < g_set.n; i++) assert_true(g_set.probability[i] >= 0 && g_set.probability[i] <= 1);
	if (g_set.kind[4] == 0) assert_true(g_set.probability[4] > 0.5);
	if (g_set.kind[6] == 0) assert_true(g_set.probability[6] > 0.5);
}

static void a_reference_of_something_else_judges_nobody(void **state)
{
	(void)state;
	draw(&g_set, 60, 1, 0, 0, 0.15, 1 / 600.0, 6);
	fit(&g_set);
	assert_false(g_set.model.is_told_apart);
	for (int64_t i = 0; i < g_set.n; i++) assert_true(g_set.probability[i] == 1);
	fit(&g_set);
	ASSERT_OK(cyc_membership_fit(g_set.probability, &g_set.model, g_set.agreement, 0,
	                             N_POSES)); /* nobody to judge */
}

/* Nine in ten are expected to be the particle before anything is seen: as if nine had been, and half an
 * object of each other kind. Where no image tells anything, that is what comes back, however many there are.
 */
static void nothing_seen_leaves_the_prior(void **state)
{
	(void)state;
	static const double SEEN = 9, OTHERS = 0.5;
	static const double CONVERGENCE = 1e-4; /* of the iteration, which ends at changes of 1e-7 per particle */
	for (int64_t n = 1; n <= 32; n *= 2) {
		memset(&g_set, 0, sizeof g_set);
		g_set.n = n;
		fit(&g_set);
		for (int64_t i = 0; i < n; i++)
			assert_true(fabs(g_set.probability[i] - SEEN / (SEEN + 2 * OTHERS)) < CONVERGENCE);
	}
}

/* How strongly noise agrees at its best pose is known before, as if three had been seen: objects that agree
 * more strongly than that move it by their number. */
static void few_others_move_what_is_known_of_noise(void **state)
{
	(void)state;
	static const double SEEN = 3, STRENGTH = 7;
	static const double OVERLAP = 0.01; /* others are not quite all told */
	for (int64_t n = 4; n <= 16; n *= 2) {
		draw(&g_set, 100 + n, 0, 0, 0, 0.15, 1 / 600.0, 3);
		for (int64_t i = 0; i < n; i++) {
			cyc_band_agreement *band = g_set.agreement[i].band;
			band[CYC_BAND_LOW].amplitude = 0;
			band[CYC_BAND_HIGH].amplitude = STRENGTH * sqrt(band[CYC_BAND_HIGH].variance);
		}
		fit(&g_set);
		double before = sqrt(2 * log(N_POSES)),
			   expected = ((double)n * STRENGTH + SEEN * before) / ((double)n + SEEN);
		assert_true(fabs(g_set.model.other_mean[CYC_BAND_HIGH] - expected) < OVERLAP * expected);
	}
}

/* Of a set in which a seventh are particles they are told; a fourteenth makes no map, nor do three. */
static void too_few_particles_are_not_told(void **state)
{
	(void)state;
	static set few;
	static const struct {
		int64_t n, n_particles;
		bool is_told;
	} CASES[] = { { 2000, 280, true }, { 2000, 140, false }, { 20, 6, true }, { 20, 3, false } };
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
		draw(&g_set, CASES[k].n, 1, 0, 0, 0.1, 1 / 600.0, 11);
		draw(&few, CASES[k].n_particles, 0, 0, 0, 0.1, 1 / 600.0, 12);
		for (int64_t i = 0; i < few.n; i++) {
			g_set.agreement[i] = few.agreement[i];
			g_set.kind[i] = 0;
		}
		fit(&g_set);
		if (g_set.model.is_told_apart != CASES[k].is_told)
			fail_msg("%lld of %lld are the particle: told apart %d", (long long)few.n, (long long)g_set.n,
			         g_set.model.is_told_apart);
		if (CASES[k].is_told)
			assert_true(share_improbable(&g_set, 0) <= 0.01 && share_improbable(&g_set, 1) >= 0.9);
	}
}

static void errors_hold_what_is_not_the_particle(void **state)
{
	(void)state;
	assert_float_equal(cyc_membership_error(1, 0.2, 30), 0.2, 1e-12);
	assert_float_equal(cyc_membership_error(0, 0.2, 30), 30, 1e-6);
	assert_float_equal(cyc_membership_error(0.5, 0, 30), 0, 0); /* not known */
	double last = 0.2;
	for (int k = 1; k <= 9; k++) {
		double p = 1 - 0.1 * k, t = cyc_membership_error(p, 0.2, 30);
		assert_true(t > last);
		assert_true(
			fabs(p * erf(t / (0.2 * sqrt(2.0))) + (1 - p) * erf(t / (30 * sqrt(2.0))) - 0.6826894921) < 1e-9);
		last = t;
	}
	assert_true(cyc_membership_error(0.99, 0.2, 30) < 0.21);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strong_evidence_tells_all_apart),
		cmocka_unit_test(few_are_far_below_by_chance),
		cmocka_unit_test(far_below_is_three_standard_deviations),
		cmocka_unit_test(probabilities_are_shares),
		cmocka_unit_test(two_strengths_are_both_particles),
		cmocka_unit_test(no_evidence_leaves_the_share),
		cmocka_unit_test(a_reference_of_something_else_judges_nobody),
		cmocka_unit_test(nothing_seen_leaves_the_prior),
		cmocka_unit_test(few_others_move_what_is_known_of_noise),
		cmocka_unit_test(too_few_particles_are_not_told),
		cmocka_unit_test(errors_hold_what_is_not_the_particle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

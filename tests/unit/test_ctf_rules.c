/* Rules of CTF refinement that a whole run hardly shows: how unlikely an outlier is, from where on a tilt is
 * bad, how sure another place must be, how much a shell counts for the self-correlation, and what is known of
 * an aberration before any image. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "ctfrefine/aberration.h"
#include "ctfrefine/bad_tilts.h"
#include "ctfrefine/self_correlation.h"

enum { BOX = 64, K_MIN = 5, RADIUS = 26 };
static const double LAMBDA_A = 0.0197, PIXEL_A = 2.5, RANGE_A = 1500;

static cyc_ctf_support *g_support;
static cyc_ctf_model *g_model;

static int model_make(void **state)
{
	(void)state;
	ASSERT_OK(cyc_ctf_support_create(&g_support, BOX, K_MIN, RADIUS, 1 / (BOX * PIXEL_A)));
	ASSERT_OK(cyc_ctf_model_create(&g_model, g_support, LAMBDA_A, RANGE_A));
	return 0;
}

static int model_drop(void **state)
{
	(void)state;
	cyc_ctf_model_destroy(&g_model);
	cyc_ctf_support_destroy(&g_support);
	return 0;
}

static void close_to(double value, double expected, double bound)
{
	if (!(fabs(value - expected) <= bound))
		fail_msg("got %.9g, expected %.9g within %g", value, expected, bound);
}

/* What a tilt shows: its amplitude over the prediction, its error of defocus, and where its particles are. */
typedef struct {
	double S, z_A, shift_A[2], strength;
} planted;

/* Sums of particles at several heights, without noise; half of the power is taken for self-correlation. */
static void plant(cyc_tilt_sums *t, const planted *p)
{
	ASSERT_OK(cyc_tilt_sums_create(t, (size_t)g_support->n));
	t->n_particles = 6;
	for (int32_t i = 0; i < g_support->n; i++) {
		double kx = g_support->x[i] * g_support->step_invA, ky = g_support->y[i] * g_support->step_invA,
			   k2 = kx * kx + ky * ky, delta = -CYC_PI * LAMBDA_A * p->z_A * k2,
			   turn = -2 * CYC_PI * (kx * p->shift_A[0] + ky * p->shift_A[1]);
		for (int k = 0; k < 6; k++) {
			double gamma = -CYC_PI * LAMBDA_A * (21000 + 150 * k) * k2 - 0.1, v = p->strength * exp(-30 * k2),
				   c = -sin(gamma), q = -cos(gamma), x = p->S * (c * cos(delta) + q * sin(delta)) * v;
			t->cc[i] += (float)(v * c * c);
			t->cq[i] += (float)(v * c * q);
			t->qq[i] += (float)(v * q * q);
			t->xc_re[i] += (float)(c * x * cos(turn));
			t->xc_im[i] += (float)(c * x * sin(turn));
			t->xq_re[i] += (float)(q * x * cos(turn));
			t->xq_im[i] += (float)(q * x * sin(turn));
		}
		t->self_c[i] = 0.5F * t->cc[i];
		t->self_q[i] = 0.5F * t->cq[i];
	}
}

/* ---------------------------------------------------------------- outliers */

/* A value far from where input and trend put it is as unlikely as in two Student distributions with four
 * degrees of freedom, whose density falls as (1 + t^2/4)^(-5/2). (T4.9), (T4.10) */
static void outliers_are_as_unlikely_as_student_says(void **state)
{
	(void)state;
	enum { N = 41, OUTLIER = 20, N_Z = 1001 };
	static const double STEP_A = 10, PRECISE_A = 10;
	static cyc_tilt_fit tilts[N];
	static double z_A[N_Z], scans[N][N_Z];
	cyc_ctf_widths w = cyc_ctf_widths_default();
	cyc_series_fit series = { .n_tilts = N, .tilts = tilts };
	for (int j = 0; j < N_Z; j++) z_A[j] = (j - N_Z / 2) * STEP_A;
	for (double off_A = 1000; off_A < 5000; off_A += 1000) {
		for (int f = 0; f < N; f++) {
			tilts[f] = (cyc_tilt_fit){
				.has_data = true, .cos_tilt = 1, .input = { 20000, 0, 0 }, .log_l = scans[f]
			};
			for (int j = 0; j < N_Z; j++)
				scans[f][j] = -0.5 * cyc_square((z_A[j] - (f == OUTLIER ? off_A : 0)) / PRECISE_A);
		}
		ASSERT_OK(cyc_hierarchy_defocus(&w, &series, 1, z_A, N_Z, false, 2));
		double by_input = off_A / w.z_input_A, by_trend = off_A / w.z_trend_A,
			   expected = -2.5 * (log(1 + by_input * by_input / 4) + log(1 + by_trend * by_trend / 4));
		close_to(tilts[OUTLIER].z_log_prior, expected, 0.02 * fabs(expected));
	}
}

/* ---------------------------------------------------------------- bad tilts */

/* Bad is what keeps less than half of the expected amplitude, a quarter of its weight. (T4.29) */
static void half_of_the_amplitude_is_the_limit(void **state)
{
	(void)state;
	static const double EXPECTED = 0.8, SHELL_POWER = 1e5;
	static const struct {
		double kept;
		bool is_bad;
	} CASES[] = {
		{ 0.1, true }, { 0.3, true }, { 0.48, true }, { 0.52, false }, { 0.7, false }, { 1, false }
	};
	const cyc_ctf_widths w = cyc_ctf_widths_default();
	double cross[RADIUS + 1], power[RADIUS + 1];
	assert_true(g_model->n_shells <= RADIUS + 1);
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
		cyc_tilt_fit t = { .log_s_expected = log(EXPECTED), .log_s_expected_variance = 0.01 };
		for (int32_t r = 0; r < g_model->n_shells; r++) {
			power[r] = SHELL_POWER;
			cross[r] = CASES[k].kept * EXPECTED * SHELL_POWER;
		}
		cyc_tilt_judge(&t, g_model, &(cyc_tilt_view){ .shell_cross = cross, .shell_power = power }, &w);
		if (!(fabs(t.p_bad - CASES[k].is_bad) < 1e-3))
			fail_msg("%g of the amplitude: bad with probability %.3f", CASES[k].kept, t.p_bad);
	}
}

/* A tilt whose particles lie elsewhere, and what is expected of it. */
typedef struct {
	cyc_tilt_sums sums;
	cyc_tilt_fit fit;
	cyc_ctf_scratch *scratch;
	double cross[RADIUS + 1], power[RADIUS + 1];
	cyc_tilt_view view;
} lost_tilt;

static void lost_tilt_create(lost_tilt *l, double amplitude)
{
	double all_cross, all_power;
	const double none[2] = { 0, 0 };
	memset(l, 0, sizeof *l);
	plant(&l->sums, &(planted){ .S = amplitude, .shift_A = { 24, -17 }, .strength = 0.015 });
	ASSERT_OK(cyc_ctf_scratch_create(&l->scratch, g_model));
	cyc_ctf_load(l->scratch, g_model, &l->sums, none);
	cyc_ctf_amplitude(&all_cross, &all_power, l->cross, l->power, g_model, l->scratch,
	                  (cyc_ctf_change){ 0, { 0, 0 } });
	l->view = (cyc_tilt_view){ .shell_cross = l->cross, .shell_power = l->power, .largest_shift_A = 40 };
	l->fit = (cyc_tilt_fit){
		.has_data = true, .input = { 21000, 0, 0 }, .input_scale = 1, .log_s_expected_variance = 0.01
	};
}

static void lost_tilt_drop(lost_tilt *l)
{
	cyc_free(l->sums.cc);
	cyc_free(l->fit.log_l);
	cyc_ctf_scratch_destroy(&l->scratch);
}

/* Probability that the particles are in another place and not missing: the likelihood of all places, equally
 * likely, against that of a bad tilt, which is what the verdict leaves over from a good one. (T4.30) */
static double probability_elsewhere(const lost_tilt *l, const cyc_ctf_widths *w)
{
	cyc_tilt_fit t = l->fit;
	cyc_tilt_judge(&t, g_model, &l->view, w);
	double cross = 0, power = 0, mean = 0, *map = NULL;
	const double sd = sqrt(t.log_s_expected_variance), step_A = 0.25 / (g_support->step_invA * RADIUS);
	const int32_t half = (int32_t)(l->view.largest_shift_A / step_A), n = (2 * half + 1) * (2 * half + 1);
	for (int32_t r = 0; r < g_model->n_shells; r++) {
		cross += l->cross[r];
		power += l->power[r];
	}
	/* Of a good tilt by quadrature; the amplitude is 1 +- 0.1. */
	double good = 0;
	enum { STEPS = 4000 };
	for (int i = 0; i < STEPS; i++) {
		double S = 2.0 * (i + 0.5) / STEPS;
		good += 2.0 / STEPS * (1 - w->bad_frac) * exp(-0.5 * cyc_square((S - 1) / sd)) /
		        (sd * sqrt(2 * CYC_PI)) * exp(2 * S * cross - S * S * power);
	}
	double bad_over_share = good * t.p_bad / t.p_good / w->bad_frac;
	const cyc_amplitude_prior p = cyc_amplitude_prior_of(&t, w);
	ASSERT_OK(cyc_alloc(&map, n, sizeof *map));
	ASSERT_OK(cyc_ctf_shift_map(map, &power, g_model, &l->sums, (cyc_ctf_change){ 0, { 0, 0 } }, half, step_A,
	                            l->scratch));
	for (int32_t i = 0; i < n; i++) mean += exp(cyc_amplitude_log_l(map[i], power, &p)) / n;
	cyc_free(map);
	return mean / (mean + bad_over_share);
}

/* Another place is accepted when its probability exceeds 0.95. (T4.30) */
static void another_place_must_be_nearly_certain(void **state)
{
	(void)state;
	static const double SURE = 0.95, CASES[] = { 0.5, 0.6, 0.8, 0.9, 0.94, 0.96, 0.98, 0.999 };
	const cyc_ctf_widths w = cyc_ctf_widths_default();
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
		double low = 0, high = 3, p = 0;
		lost_tilt l;
		for (int i = 0; i < 40 && fabs(p - CASES[k]) > 1e-4; i++) { /* the amplitude of that probability */
			lost_tilt_create(&l, 0.5 * (low + high));
			p = probability_elsewhere(&l, &w);
			*(p < CASES[k] ? &low : &high) = 0.5 * (low + high);
			lost_tilt_drop(&l);
		}
		close_to(p, CASES[k], 1e-4);
		lost_tilt_create(&l, 0.5 * (low + high));
		ASSERT_OK(cyc_tilt_look_further(&l.fit, g_model, &l.sums, &l.view, &w, l.scratch));
		assert_true(l.fit.has_looked);
		if (l.fit.is_found != (p > SURE))
			fail_msg("a place with a probability of %.3f: accepted %d", p, l.fit.is_found);
		lost_tilt_drop(&l);
	}
}

/* ---------------------------------------------------------------- self-correlation */

/* With evidence without end, a shell is trusted to 0.3 of the ratio of signal over self-correlation; there
 * are as many measurements as shells, and what is known before, 0 +- 0.5. (T4.31) */
static void shells_of_strong_signal_count_less(void **state)
{
	(void)state;
	enum { N = 6 };
	static const double MISFIT = 0.3, SD_BEFORE = 0.5;
	cyc_tilt_sums sums[N] = { 0 };
	cyc_tilt_fit fits[N] = { 0 };
	const cyc_series_sums all = { .n_tilts = N, .tilts = sums };
	const cyc_series_fit series = { .n_tilts = N, .tilts = fits };
	const cyc_series_sums *const list[] = { &all };
	for (double S = 0.2; S < 1.2; S += 0.4) {
		cyc_self_terms sum[RADIUS + 1] = { 0 }, t[RADIUS + 1];
		for (int f = 0; f < N; f++) {
			plant(&sums[f], &(planted){ .S = S, .z_A = f % 2 ? 600 : -600, .strength = 1e8 });
			fits[f] = (cyc_tilt_fit){ .has_data = true, .change = { f % 2 ? 600 : -600, { 0, 0 } } };
			cyc_ctf_self_terms(t, g_model, &sums[f], fits[f].change, fits[f].shift_A);
			for (int32_t r = 0; r < g_model->n_shells; r++) {
				sum[r].pp += t[r].pp;
				sum[r].ss += t[r].ss;
				sum[r].py += t[r].py;
			}
		}
		double weights = 1 / cyc_square(SD_BEFORE);
		for (int32_t r = 0; r < g_model->n_shells; r++)
			if (sum[r].pp > 0) weights += sum[r].pp * sum[r].ss / cyc_square(MISFIT * sum[r].py);
		cyc_self_excess left;
		ASSERT_OK(cyc_self_excess_measure(&left, &series, g_model, list, 1, 1));
		close_to(left.error, 1 / sqrt(weights), 1e-3 / sqrt(weights));
		close_to(left.value, 0, 1e-3); /* the signal is the prediction */
		for (int f = 0; f < N; f++) cyc_free(sums[f].cc);
	}
}

/* ---------------------------------------------------------------- aberrations */

/* Before any image a constant phase, which is an error of the amplitude contrast, is 0 +- 0.05 rad, and each
 * other term 0 +- 10 rad at the highest frequency; a term that the images know no better than that is half
 * believed. */
static void aberrations_are_small_before_any_image(void **state)
{
	(void)state;
	static const double CONSTANT_RAD = 0.05, OTHERS_RAD = 10;
	static double covariance[CYC_MAX_TERMS][CYC_MAX_TERMS];
	static cyc_quadratic model;
	cyc_aberrations *a = NULL;
	ASSERT_OK(cyc_aberrations_create(&a, g_model, LAMBDA_A, 4, 3, false, 1));
	for (int parity = 0; parity < CYC_N_PARITIES; parity++) {
		const double none[CYC_MAX_TERMS] = { 0 };
		double step[CYC_MAX_TERMS];
		memset(&model, 0, sizeof model);
		ASSERT_OK(cyc_aberration_step(step, covariance, a, parity, none, &model));
		assert_true(a->basis[parity].n > 2 && (a->basis[parity].order[0] == 0) == (parity == CYC_EVEN));
		for (int32_t j = 0; j < a->basis[parity].n; j++) {
			double sd = a->basis[parity].order[j] == 0 ? CONSTANT_RAD : OTHERS_RAD;
			close_to(sqrt(covariance[j][j]), sd, 1e-9 * sd);
			model.H[j][j] = 1 / (sd * sd);
			model.g[j] = 0.02 * model.H[j][j];
		}
		ASSERT_OK(cyc_aberration_step(step, NULL, a, parity, none, &model));
		for (int32_t j = 0; j < a->basis[parity].n; j++) close_to(step[j], 0.01, 1e-9);
	}
	cyc_aberrations_destroy(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(outliers_are_as_unlikely_as_student_says),
		                                cmocka_unit_test(half_of_the_amplitude_is_the_limit),
		                                cmocka_unit_test(another_place_must_be_nearly_certain),
		                                cmocka_unit_test(shells_of_strong_signal_count_less),
		                                cmocka_unit_test(aberrations_are_small_before_any_image) };
	return cmocka_run_group_tests(tests, model_make, model_drop);
}

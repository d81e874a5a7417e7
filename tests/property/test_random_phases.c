/* Phase randomisation: what it keeps, what it mixes, and that the mean curve measures what a mask does to
 * noise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "map/map_internal.h"

enum { N = 32, HALF = N / 2 + 1 };

typedef struct {
	cyc_cfloat *ft[2];
	float *mask;
} maps;

/* Two maps of white noise under a tight hard mask. */
static maps noise_maps(void)
{
	maps m = { { NULL, NULL }, NULL };
	float *v = NULL;
	cyc_fft3 *plan = NULL;
	assert_int_equal(cyc_fft3_create(&plan, N, 1), CYC_OK);
	assert_int_equal(cyc_alloc(&v, N * N * N, sizeof *v), CYC_OK);
	assert_int_equal(cyc_alloc(&m.mask, N * N * N, sizeof *m.mask), CYC_OK);
	for (uint32_t h = 0; h < 2; h++) {
		for (int i = 0; i < N * N * N; i++) {
			double d2 =
				cyc_square(i / (N * N) - N / 2) + cyc_square(i / N % N - N / 2) + cyc_square(i % N - N / 2);
			cyc_rng own = cyc_rng_make(11, h, (uint64_t)i), both = cyc_rng_make(11, 9, (uint64_t)i);
			v[i] = (float)(cyc_rng_normal(&own) + 0.2 * cyc_rng_normal(&both));
			m.mask[i] = d2 < 36 ? 1.0f : 0.0f;
		}
		assert_int_equal(cyc_alloc(&m.ft[h], cyc_half_count3(N), sizeof(cyc_cfloat)), CYC_OK);
		assert_int_equal(cyc_fft3_forward(m.ft[h], plan, v), CYC_OK);
	}
	/* A strong common signal at low resolution leaks through the mask to the shells of noise. */
	for (int z = 0; z < N; z++)
		for (int y = 0; y < N; y++)
			for (int x = 0; x < HALF; x++) {
				int64_t r2 = x * x + cyc__frequency(y, N) * cyc__frequency(y, N) +
				             cyc__frequency(z, N) * cyc__frequency(z, N);
				int i = (z * N + y) * HALF + x;
				if (r2 < 9) m.ft[0][i] = m.ft[1][i] = m.ft[0][i] * 20.0f;
			}
	cyc_fft3_destroy(&plan);
	cyc_free(v);
	return m;
}

static void free_maps(maps *m)
{
	cyc_free(m->ft[0]);
	cyc_free(m->ft[1]);
	cyc_free(m->mask);
}

static void amplitudes_and_low_shells_are_kept(void **state)
{
	(void)state;
	maps m = noise_maps();
	cyc_cfloat *out = NULL;
	double complex mean = 0;
	double n_random = 0;
	assert_int_equal(cyc_alloc(&out, cyc_half_count3(N), sizeof *out), CYC_OK);
	assert_int_equal(cyc__randomise_phases(out, m.ft[0], N, 5, 1, 3, 1, 2), CYC_OK);
	for (int i = 0; i < N * N * HALF; i++) {
		int64_t fz = cyc__frequency(i / (N * HALF), N), fy = cyc__frequency(i / HALF % N, N), fx = i % HALF;
		double complex a = (double complex)m.ft[0][i], b = (double complex)out[i];
		assert_true(fabs(cabs(a) - cabs(b)) <= 1e-5 * cabs(a));
		if (fx * fx + fy * fy + fz * fz < 25) {
			assert_true(!(cabs(a - b) > 0.0));
			continue;
		}
		if (cabs(a) > 0.0) mean += b * conj(a) / (cabs(a) * cabs(b));
		n_random += 1.0;
	}
	/* The mean of n random phasors is of size 1/sqrt(n). */
	assert_true(cabs(mean) / n_random < 4.0 / sqrt(n_random));
	cyc_free(out);
	free_maps(&m);
}

static void draws_halves_and_seeds_differ(void **state)
{
	(void)state;
	maps m = noise_maps();
	cyc_cfloat *a = NULL, *b = NULL;
	assert_int_equal(cyc_alloc(&a, cyc_half_count3(N), sizeof *a), CYC_OK);
	assert_int_equal(cyc_alloc(&b, cyc_half_count3(N), sizeof *b), CYC_OK);
	static const int other[4][3] = {
		{ 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 }, { 0, 0, 0 }
	}; /* seed, draw, half */
	assert_int_equal(cyc__randomise_phases(a, m.ft[0], N, 5, 0, 0, 0, 1), CYC_OK);
	for (int k = 0; k < 4; k++) {
		double fsc[HALF];
		assert_int_equal(
			cyc__randomise_phases(b, m.ft[0], N, 5, (uint64_t)other[k][0], other[k][1], other[k][2], 3),
			CYC_OK);
		cyc_fsc_compute(fsc, a, b, N);
		for (int i = 8; i < HALF; i++) assert_true(k == 3 ? fsc[i] > 0.999999 : fabs(fsc[i]) < 0.2);
	}
	cyc_free(a);
	cyc_free(b);
	free_maps(&m);
}

static void mask_maps(const maps *m, cyc_cfloat *const ft[2])
{
	cyc_fft3 *plan = NULL;
	float *v = NULL;
	assert_int_equal(cyc_fft3_create(&plan, N, 1), CYC_OK);
	assert_int_equal(cyc_alloc(&v, N * N * N, sizeof *v), CYC_OK);
	for (int h = 0; h < 2; h++) {
		assert_int_equal(cyc_fft3_inverse(v, plan, ft[h]), CYC_OK);
		for (int i = 0; i < N * N * N; i++) v[i] *= m->mask[i];
		assert_int_equal(cyc_fft3_forward(ft[h], plan, v), CYC_OK);
	}
	cyc_fft3_destroy(&plan);
	cyc_free(v);
}

/* P5: a tight hard mask correlates noise; after the correction nothing is left beyond R + 2. */
static void correction_takes_the_mask_out(void **state)
{
	(void)state;
	maps m = noise_maps();
	const int32_t R = 4;
	cyc__random_fsc_input in = { { m.ft[0], m.ft[1] }, m.mask, N, R, 5, 20, 1 };
	double random[HALF], threaded[HALF], masked[HALF], corrected[HALF], highest = 0.0;
	assert_int_equal(cyc__random_fsc(random, &in), CYC_OK);
	for (in.n_threads = 2; in.n_threads <= 3; in.n_threads++) {
		assert_int_equal(cyc__random_fsc(threaded, &in), CYC_OK);
		assert_memory_equal(threaded, random, sizeof random);
	}
	mask_maps(&m, m.ft);
	cyc_fsc_compute(masked, m.ft[0], m.ft[1], N);
	cyc_fsc_correct(corrected, masked, random, HALF, R);
	for (int i = R + 2; i < HALF; i++) {
		highest = masked[i] > highest ? masked[i] : highest;
		/* 0.04 of the noise power is common; the rest is the scatter of one pair of maps. */
		assert_true(fabs(corrected[i] - 0.04) < 0.25);
	}
	assert_true(highest > 0.3);
	double mean = 0.0;
	for (int i = R + 2; i < HALF; i++) mean += corrected[i] / (HALF - R - 2);
	assert_true(fabs(mean - 0.04) < 0.08);
	in.n_draws = 0;
	assert_int_equal(cyc__random_fsc(random, &in), CYC_E_USAGE);
	free_maps(&m);
}

/* One draw is the plain procedure: randomise both maps, mask them, correlate. */
static void one_draw_is_the_plain_procedure(void **state)
{
	(void)state;
	maps m = noise_maps();
	cyc_cfloat *ft[2] = { NULL, NULL };
	double got[HALF], want[HALF];
	for (uint64_t seed = 0; seed < 3; seed++) {
		cyc__random_fsc_input in = { { m.ft[0], m.ft[1] }, m.mask, N, 4, seed, 1, 1 };
		assert_int_equal(cyc__random_fsc(got, &in), CYC_OK);
		for (int h = 0; h < 2; h++) {
			assert_int_equal(cyc_alloc(&ft[h], cyc_half_count3(N), sizeof(cyc_cfloat)), CYC_OK);
			assert_int_equal(cyc__randomise_phases(ft[h], m.ft[h], N, 4, seed, 0, h, 1), CYC_OK);
		}
		mask_maps(&m, ft);
		cyc_fsc_compute(want, ft[0], ft[1], N);
		for (int i = 0; i < HALF; i++) assert_true(fabs(got[i] - want[i]) < 1e-5);
		cyc_free(ft[0]);
		cyc_free(ft[1]);
	}
	free_maps(&m);
}

/* The mean of 20 draws is what single draws of many seeds scatter around, and itself hardly depends on the
 * seed. */
static void mean_of_draws_is_one_number(void **state)
{
	(void)state;
	enum { N_SEEDS = 40 };
	maps m = noise_maps();
	double spread = 0.0, single_spread = 0.0, mean20[HALF], other20[HALF], single[HALF], sum[HALF] = { 0 },
		   sum2[HALF] = { 0 };
	cyc__random_fsc_input in = { { m.ft[0], m.ft[1] }, m.mask, N, 4, 1000, 20, 2 };
	assert_int_equal(cyc__random_fsc(mean20, &in), CYC_OK);
	in.seed = 2000;
	assert_int_equal(cyc__random_fsc(other20, &in), CYC_OK);
	in.n_draws = 1;
	for (in.seed = 0; in.seed < N_SEEDS; in.seed++) {
		assert_int_equal(cyc__random_fsc(single, &in), CYC_OK);
		for (int i = 0; i < HALF; i++) {
			sum[i] += single[i];
			sum2[i] += single[i] * single[i];
		}
	}
	for (int i = 4; i < HALF; i++) {
		double mean = sum[i] / N_SEEDS, sigma = sqrt(sum2[i] / N_SEEDS - mean * mean);
		assert_true(fabs(mean - mean20[i]) < 3.5 * sigma * sqrt(1.0 / N_SEEDS + 1.0 / 20));
		if (i < 6) continue;
		spread += cyc_square(mean20[i] - other20[i]) / 2.0;
		single_spread += sigma * sigma;
	}
	/* 20 independent draws would scatter by 0.22 sigma. */
	assert_true(sqrt(spread / single_spread) < 0.1);
	free_maps(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(amplitudes_and_low_shells_are_kept),
		                                cmocka_unit_test(draws_halves_and_seeds_differ),
		                                cmocka_unit_test(correction_takes_the_mask_out),
		                                cmocka_unit_test(one_draw_is_the_plain_procedure),
		                                cmocka_unit_test(mean_of_draws_is_one_number) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

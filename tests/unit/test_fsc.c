/* Shells, FSC, its correction and the rules read off it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "map/map_internal.h"

static cyc_cfloat *random_ft(int n, uint32_t purpose)
{
	cyc_cfloat *ft = NULL;
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(n), sizeof *ft), CYC_OK);
	for (size_t i = 0; i < cyc_half_count3(n); i++) {
		float *p = (float *)(ft + i);
		p[0] = (float)(cyc_rng_uniform_at(1, purpose, 0, i) - 0.3);
		p[1] = (float)(cyc_rng_uniform_at(1, purpose, 1, i) - 0.5);
	}
	return ft;
}

static void shell_is_the_rounded_radius(void **state)
{
	(void)state;
	for (int64_t r2 = 0; r2 < 200000; r2++)
		assert_int_equal(cyc__shell(r2), (int32_t)lround(sqrt((double)r2)));
}

/* (T3.1) written down directly. */
static void fsc_is_the_definition(void **state)
{
	(void)state;
	static const int sizes[] = { 2, 6, 16, 30 };
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		int n = sizes[k];
		cyc_cfloat *a = random_ft(n, 2), *b = random_ft(n, 3);
		double fsc[64], threaded[64], c[64] = { 0 }, p[64] = { 0 }, q[64] = { 0 };
		for (int z = 0; z < n; z++)
			for (int y = 0; y < n; y++)
				for (int x = 0; x <= n / 2; x++) {
					int fz = z < n / 2 ? z : z - n, fy = y < n / 2 ? y : y - n;
					long s = lround(sqrt(fz * fz + fy * fy + x * x));
					if (s > n / 2) continue;
					double complex u = (double complex)a[(z * n + y) * (n / 2 + 1) + x],
								   v = (double complex)b[(z * n + y) * (n / 2 + 1) + x];
					c[s] += creal(u * conj(v));
					p[s] += creal(u * conj(u));
					q[s] += creal(v * conj(v));
				}
		cyc_fsc_compute(fsc, a, b, n);
		for (int i = 0; i <= n / 2; i++) assert_true(fabs(fsc[i] - c[i] / sqrt(p[i] * q[i])) < 1e-12);
		for (int threads = 1; threads <= 3; threads++) {
			assert_int_equal(cyc__fsc_compute_threads(threaded, a, b, n, threads), CYC_OK);
			assert_memory_equal(threaded, fsc, (size_t)(n / 2 + 1) * sizeof *fsc);
		}
		cyc_fsc_compute(fsc, a, a, n);
		for (int i = 0; i <= n / 2; i++) assert_true(fabs(fsc[i] - 1.0) < 1e-12);
		cyc_free(a);
		cyc_free(b);
	}
}

static void empty_shells_are_zero(void **state)
{
	(void)state;
	enum { N = 12 };
	cyc_cfloat *a = random_ft(N, 2), *b = random_ft(N, 3);
	double *table = NULL, fsc[N / 2 + 1];
	assert_int_equal(cyc_alloc(&table, cyc__n_radial(N), sizeof *table), CYC_OK);
	for (size_t r2 = 0; r2 < cyc__n_radial(N); r2++) table[r2] = cyc__shell((int64_t)r2) == 4 ? 0.0 : 1.0;
	assert_int_equal(cyc__filter_apply(b, N, table, 1.0, 1), CYC_OK);
	cyc_fsc_compute(fsc, a, b, N);
	for (int i = 0; i <= N / 2; i++) assert_true(i == 4 ? !(fabs(fsc[i]) > 0.0) : fabs(fsc[i]) > 0.0);
	cyc_free(a);
	cyc_free(b);
	cyc_free(table);
}

static void correction_starts_two_shells_later(void **state)
{
	(void)state;
	const double masked[] = { 0.0, 0.99, 0.9, 0.8, 0.6, 0.5 },
				 randomised[] = { 0.9, 0.9, 0.5, 0.4, 0.2, 1.0 };
	double c[6];
	cyc_fsc_correct(c, masked, randomised, 6, 1);
	assert_true(fabs(c[0] - 1.0) < 1e-15);
	assert_true(fabs(c[1] - 0.99) < 1e-15 && fabs(c[2] - 0.9) < 1e-15);
	assert_true(fabs(c[3] - (0.8 - 0.4) / 0.6) < 1e-15);
	assert_true(fabs(c[4] - (0.6 - 0.2) / 0.8) < 1e-15);
	assert_true(fabs(c[5] - 0.5) < 1e-15);
}

static void rules_of_the_curve(void **state)
{
	(void)state;
	const double f[] = { 1.0, 0.95, 0.8, 0.79, 0.9, 0.143, 0.14, 0.5 };
	assert_int_equal(cyc_fsc_randomise_from(f, 8, 0.8), 3);
	assert_int_equal(cyc_fsc_randomise_from(f, 3, 0.8), -1);
	assert_int_equal(cyc_fsc_resolution_shell(f, 8), 5);
	assert_int_equal(cyc_fsc_resolution_shell(f, 5), 4);
	const double none[] = { 1.0, 0.1, 0.9 };
	assert_int_equal(cyc_fsc_resolution_shell(none, 3), 0);
	assert_int_equal(cyc_fsc_randomise_from(none, 3, 0.8), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(shell_is_the_rounded_radius),
		                                cmocka_unit_test(fsc_is_the_definition),
		                                cmocka_unit_test(empty_shells_are_zero),
		                                cmocka_unit_test(correction_starts_two_shells_later),
		                                cmocka_unit_test(rules_of_the_curve) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

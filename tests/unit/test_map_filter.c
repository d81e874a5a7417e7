/* Radial filters and Guinier curves against their formulae evaluated coefficient by coefficient. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "map/map_internal.h"

enum { N = 24 };
static const double PIXEL_A = 1.7;

static double *ones(void)
{
	double *t = NULL;
	assert_int_equal(cyc_alloc(&t, cyc__n_radial(N), sizeof *t), CYC_OK);
	for (size_t i = 0; i < cyc__n_radial(N); i++) t[i] = 1.0;
	return t;
}

static void near(double a, double b, double bound)
{
	if (!(fabs(a - b) <= bound)) fail_msg("%.12g is not %.12g within %g", a, b, bound);
}

static void lowpass_is_the_formula(void **state)
{
	(void)state;
	static const double edges[] = { 0.0, 1.0, 2.0, 5.0 };
	for (size_t k = 0; k < 4; k++) {
		double *t = ones(), q = round(N * PIXEL_A / 6.0), e = floor(edges[k] / 2.0), lo = (q - e) / N,
			   hi = (q + e) / N;
		cyc__filter_lowpass(t, N, PIXEL_A, 6.0, edges[k]);
		for (size_t r2 = 0; r2 < cyc__n_radial(N); r2++) {
			double f = sqrt((double)r2) / N, want = 1.0;
			if (f > hi + 1e-12) want = 0.0;
			else if (f > lo + 1e-12) want = 0.5 + 0.5 * cos(CYC_PI * (f - lo) / (hi - lo));
			near(t[r2], want, 1e-12);
		}
		cyc_free(t);
	}
}

/* A map low-passed by the function equals the one filtered by a sum over all voxels of its definition. */
static void lowpass_of_a_map(void **state)
{
	(void)state;
	float *v = NULL, *w = NULL;
	cyc_cfloat *ft = NULL;
	cyc_fft3 *plan = NULL;
	const size_t count = (size_t)N * N * N;
	assert_int_equal(cyc_alloc(&v, count, sizeof *v), CYC_OK);
	assert_int_equal(cyc_alloc(&w, count, sizeof *w), CYC_OK);
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(N), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_fft3_create(&plan, N, 1), CYC_OK);
	for (size_t i = 0; i < count; i++) v[i] = w[i] = (float)cyc_rng_uniform_at(3, 1, 0, i);
	assert_int_equal(cyc__map_lowpass(v, N, PIXEL_A, 5.0, 2), CYC_OK);
	assert_int_equal(cyc_fft3_forward(ft, plan, w), CYC_OK);
	double q = round(N * PIXEL_A / 5.0);
	for (int z = 0; z < N; z++)
		for (int y = 0; y < N; y++)
			for (int x = 0; x <= N / 2; x++) {
				int fz = z < N / 2 ? z : z - N, fy = y < N / 2 ? y : y - N;
				double r = sqrt(fz * fz + fy * fy + x * x);
				ft[(z * N + y) * (N / 2 + 1) + x] *=
					(float)(r < q - 1   ? 1.0
				            : r > q + 1 ? 0.0
				                        : 0.5 + 0.5 * cos(CYC_PI * (r - q + 1) / 2));
			}
	assert_int_equal(cyc_fft3_inverse(w, plan, ft), CYC_OK);
	for (size_t i = 0; i < count; i++) near((double)v[i], (double)w[i], 1e-6);
	cyc_fft3_destroy(&plan);
	cyc_free(ft);
	cyc_free(v);
	cyc_free(w);
}

static void fsc_weight_ends_at_the_first_zero(void **state)
{
	(void)state;
	double fsc[N / 2 + 1], *t = ones();
	for (int i = 0; i <= N / 2; i++) fsc[i] = i == 9 ? 0.5e-4 : 1.0 - i * 0.05;
	cyc__filter_fsc_weight(t, N, fsc);
	for (size_t r2 = 0; r2 < cyc__n_radial(N); r2++) {
		int s = cyc__shell((int64_t)r2);
		near(t[r2], s < 9 ? sqrt(2.0 * fsc[s] / (1.0 + fsc[s])) : 0.0, 1e-12);
	}
	cyc_free(t);
}

static void bfactor_is_the_formula(void **state)
{
	(void)state;
	double *t = ones();
	cyc__filter_bfactor(t, N, PIXEL_A, 0.0);
	for (size_t r2 = 0; r2 < cyc__n_radial(N); r2++) near(t[r2], 1.0, 0.0);
	cyc__filter_bfactor(t, N, PIXEL_A, -80.0);
	for (size_t r2 = 0; r2 < cyc__n_radial(N); r2++) {
		double k = sqrt((double)r2) / (N * PIXEL_A);
		near(t[r2], r2 <= N / 2 * (N / 2) ? exp(20.0 * k * k) : 0.0, 1e-9);
	}
	cyc_free(t);
}

/* Rule T3.4 written down again, with the step from n rows that puts the cells slightly off. */
static void mtf_is_the_rule(void **state)
{
	(void)state;
	double f[11], v[11], *t = ones();
	cyc__mtf *m = NULL;
	for (int i = 0; i < 11; i++) {
		f[i] = i * 0.05;
		v[i] = 1.0 - 0.07 * i;
	}
	assert_int_equal(cyc__mtf_create(&m, f, v, 11, 1.3), CYC_OK);
	assert_int_equal(cyc__filter_mtf(t, N, PIXEL_A, m), CYC_OK);
	for (size_t r2 = 0; r2 < cyc__n_radial(N); r2++) {
		double k = sqrt((double)r2) / (N * PIXEL_A), step = 0.5 / 1.3 / 11;
		int i = (int)floor(k / step);
		double value = i <= 0    ? v[0]
		               : i >= 10 ? v[10]
		                         : v[i] + (v[i + 1] - v[i]) * (k - f[i] / 1.3) / (0.05 / 1.3);
		near(t[r2], k < 0.5 / PIXEL_A - 1e-12 ? 1.0 / value : 1.0, 1e-9);
	}
	cyc__mtf_destroy(&m);
	v[4] = 0.0;
	assert_int_equal(cyc__mtf_create(&m, f, v, 11, 1.3), CYC_E_DATA);
	assert_null(m);
	v[4] = 1.0;
	f[5] = f[4];
	assert_int_equal(cyc__mtf_create(&m, f, v, 11, 1.3), CYC_E_DATA);
	assert_int_equal(cyc__mtf_create(&m, f, v, 1, 1.3), CYC_E_DATA);
	cyc_free(t);
}

/* Amplitudes A0 exp(-B0 k^2 / 4): the line has slope -B0/4 and the sharpening with 4 x slope flattens them.
 */
static void guinier_finds_the_bfactor(void **state)
{
	(void)state;
	const double B0 = 100.0;
	cyc_cfloat *ft = NULL;
	double *amplitude = NULL, *table = ones();
	int64_t *count = NULL;
	cyc__guinier *g = NULL;
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(N), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_alloc(&amplitude, cyc__n_radial(N), sizeof *amplitude), CYC_OK);
	assert_int_equal(cyc_alloc(&count, cyc__n_radial(N), sizeof *count), CYC_OK);
	for (int z = 0; z < N; z++)
		for (int y = 0; y < N; y++)
			for (int x = 0; x <= N / 2; x++) {
				int fz = z < N / 2 ? z : z - N, fy = y < N / 2 ? y : y - N;
				double k2 = (fz * fz + fy * fy + x * x) / cyc_square(N * PIXEL_A),
					   a = 7.0 * exp(-B0 * k2 / 4.0), phase = x + 2.0 * y + z * z;
				float *p = (float *)(ft + (z * N + y) * (N / 2 + 1) + x);
				p[0] = (float)(a * cos(phase));
				p[1] = (float)(a * sin(phase));
			}
	assert_int_equal(cyc__radial_amplitudes(amplitude, count, ft, N, 1), CYC_OK);
	assert_int_equal(cyc__guinier_create(&g, amplitude, count, NULL, N, PIXEL_A, 10.0, 0.0), CYC_OK);
	cyc__line line = cyc__guinier_fit(g);
	assert_int_equal(line.n_points, N / 2 - 4); /* shells 5 (8.2 A) to 12 */
	near(4.0 * line.slope_A2, -B0, 1.0);
	near(line.intercept, log(7.0), 0.02);
	near(line.correlation, 1.0, 1e-3);
	cyc__guinier_destroy(&g);
	cyc__filter_bfactor(table, N, PIXEL_A, -B0);
	assert_int_equal(cyc__guinier_create(&g, amplitude, count, table, N, PIXEL_A, 10.0, 0.0), CYC_OK);
	for (int i = 0; i <= N / 2; i++) near(g->y[i], log(7.0), i == N / 2 ? 1.0 : 1e-6);
	cyc__guinier_destroy(&g);
	for (size_t r2 = 100; r2 < cyc__n_radial(N); r2++) table[r2] = 0.0;
	assert_int_equal(cyc__guinier_create(&g, amplitude, count, table, N, PIXEL_A, 10.0, 0.0), CYC_OK);
	near(g->y[N / 2], -99.0, 0.0);
	assert_false(g->is_fitted[N / 2]);
	cyc__guinier_destroy(&g);
	/* Two points are not a line. */
	assert_int_equal(cyc__guinier_create(&g, amplitude, count, NULL, N, PIXEL_A, 10.0, 6.0), CYC_OK);
	line = cyc__guinier_fit(g);
	assert_int_equal(line.n_points, 2);
	near(line.slope_A2, 0.0, 0.0);
	cyc__guinier_destroy(&g);
	double *amplitude2 = NULL;
	assert_int_equal(cyc_alloc(&amplitude2, cyc__n_radial(N), sizeof *amplitude2), CYC_OK);
	assert_int_equal(cyc__radial_amplitudes(amplitude2, count, ft, N, 3), CYC_OK);
	assert_memory_equal(amplitude, amplitude2, cyc__n_radial(N) * sizeof *amplitude);
	cyc_free(amplitude2);
	cyc_free(ft);
	cyc_free(amplitude);
	cyc_free(count);
	cyc_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lowpass_is_the_formula),
		                                cmocka_unit_test(lowpass_of_a_map),
		                                cmocka_unit_test(fsc_weight_ends_at_the_first_zero),
		                                cmocka_unit_test(bfactor_is_the_formula),
		                                cmocka_unit_test(mtf_is_the_rule),
		                                cmocka_unit_test(guinier_finds_the_bfactor) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Amplitudes: evened out over directions, curves of agreement against their definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "map/map_internal.h"

static cyc_cfloat *noise_transform(int32_t n, uint32_t purpose)
{
	cyc_cfloat *ft = NULL;
	cyc_fft3 *plan = NULL;
	float *v = NULL;
	size_t count = (size_t)n * (size_t)n * (size_t)n;
	assert_int_equal(cyc_alloc(&v, count, sizeof *v), CYC_OK);
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(n), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_fft3_create(&plan, n, 1), CYC_OK);
	cyc_rng r = cyc_rng_make(1, purpose, 0);
	for (size_t i = 0; i < count; i++) v[i] = (float)cyc_rng_normal(&r);
	assert_int_equal(cyc_fft3_forward(ft, plan, v), CYC_OK);
	cyc_fft3_destroy(&plan);
	cyc_free(v);
	return ft;
}

typedef struct {
	double x, y, z, r; /* signed frequencies, radius */
	int32_t shell;
} place;

static place place_of(size_t i, int32_t n)
{
	size_t n_half = (size_t)(n / 2 + 1);
	int64_t x = (int64_t)(i % n_half), y = (int64_t)(i / n_half % (size_t)n),
			z = (int64_t)(i / n_half / (size_t)n);
	if (y > n / 2) y -= n;
	if (z > n / 2) z -= n;
	return (place){ (double)x, (double)y, (double)z, sqrt((double)(x * x + y * y + z * z)),
		            cyc__shell(x * x + y * y + z * z) };
}

static double power(const cyc_cfloat *c)
{
	const float *f = (const float *)c;
	return (double)f[0] * (double)f[0] + (double)f[1] * (double)f[1];
}

static void scale(cyc_cfloat *c, double by)
{
	float *f = (float *)c;
	f[0] *= (float)by;
	f[1] *= (float)by;
}

/* Mean power near the z axis over that far from it, shells FROM to Nyquist, each shell relative to its own
 * mean. */
static double anisotropy(const cyc_cfloat *ft, int32_t n, int32_t from)
{
	double near = 0.0, far = 0.0, n_near = 0.0, n_far = 0.0;
	for (size_t i = 0; i < cyc_half_count3(n); i++) {
		place p = place_of(i, n);
		if (p.shell < from || p.shell > n / 2) continue;
		double u = fabs(p.z) / p.r, w = power(&ft[i]);
		if (u > 0.9) near += w, n_near++;
		if (u < 0.3) far += w, n_far++;
	}
	return near / n_near / (far / n_far);
}

static void directions_become_even(void **state)
{
	(void)state;
	enum { N = 64, FROM = 6 };
	size_t count = cyc_half_count3(N);
	cyc_cfloat *ft = noise_transform(N, 1), *before = NULL, *again = NULL;
	cyc_fft3 *plan = NULL;
	float *v = NULL;
	for (size_t i = 0; i < count; i++) {
		place p = place_of(i, N);
		if (p.r > 0.0) scale(&ft[i], 1.0 + 1.5 * cyc_square(p.z / p.r));
	}
	assert_int_equal(cyc_alloc(&before, count, sizeof *before), CYC_OK);
	assert_int_equal(cyc_alloc(&again, count, sizeof *again), CYC_OK);
	memcpy(before, ft, count * sizeof *ft);
	assert_true(anisotropy(ft, N, FROM) > 4.0);
	assert_int_equal(cyc__flatten_directions(ft, N, FROM, 2), CYC_OK);
	print_message("anisotropy %.3f -> %.4f\n", anisotropy(before, N, FROM), anisotropy(ft, N, FROM));
	/* Neighbouring directions share a point of the small sphere, so a few per cent stay. */
	assert_true(fabs(anisotropy(ft, N, FROM) - 1.0) < 0.05);
	double shells[N / 2 + 1][2] = { { 0.0 } };
	for (size_t i = 0; i < count; i++) {
		place p = place_of(i, N);
		const float *a = (const float *)&before[i], *b = (const float *)&ft[i];
		if (p.shell < FROM || p.shell > N / 2) assert_memory_equal(a, b, sizeof *ft);
		/* Phases stay. */
		double cross = (double)a[0] * (double)b[1] - (double)a[1] * (double)b[0],
			   dot = (double)a[0] * (double)b[0] + (double)a[1] * (double)b[1];
		assert_true(fabs(cross) <= 1e-5 * fabs(dot) && dot >= 0.0);
		if (p.shell > N / 2) continue;
		shells[p.shell][0] += power(&before[i]);
		shells[p.shell][1] += power(&ft[i]);
	}
	/* An anisotropy that all shells share leaves each shell's power (noise of a few thousand coefficients).
	 */
	for (int32_t s = 12; s < N / 2; s++) assert_true(fabs(shells[s][1] / shells[s][0] - 1.0) < 0.06);
	/* It is still the transform of a real map. */
	assert_int_equal(cyc_fft3_create(&plan, N, 1), CYC_OK);
	assert_int_equal(cyc_alloc(&v, (size_t)N * N * N, sizeof *v), CYC_OK);
	memcpy(again, ft, count * sizeof *ft);
	assert_int_equal(cyc_fft3_inverse(v, plan, again), CYC_OK);
	assert_int_equal(cyc_fft3_forward(again, plan, v), CYC_OK);
	double error = 0.0, all = 0.0;
	for (size_t i = 0; i < count; i++) {
		const float *a = (const float *)&again[i], *b = (const float *)&ft[i];
		if (place_of(i, N).shell >= N / 2) continue; /* the planes of Nyquist */
		error += cyc_square((double)a[0] - (double)b[0]) + cyc_square((double)a[1] - (double)b[1]);
		all += power(&ft[i]);
	}
	print_message("relative change on the way to the map and back %.2g\n", sqrt(error / all));
	assert_true(sqrt(error / all) < 1e-5);
	cyc_fft3_destroy(&plan);
	cyc_free(v);
	cyc_free(ft);
	cyc_free(before);
	cyc_free(again);
}

static void curves_are_their_definitions(void **state)
{
	(void)state;
	enum { N = 12 };
	cyc_cfloat *a = noise_transform(N, 2), *b = noise_transform(N, 3);
	double correlation[N / 2 + 1], residual[N / 2 + 1];
	for (size_t i = 0; i < cyc_half_count3(N); i++) {
		float *x = (float *)&b[i];
		const float *y = (const float *)&a[i];
		x[0] = 0.3f * x[0] + y[0];
		x[1] = 0.3f * x[1] + y[1];
	}
	assert_int_equal(cyc__amplitude_curves(correlation, residual, a, b, N, 2), CYC_OK);
	for (int32_t s = 0; s <= N / 2; s++) {
		double n = 0, ma = 0, mb = 0, aa = 0, bb = 0, ab = 0, w = 0, p2 = 0;
		for (int pass = 0; pass < 2; pass++) {
			for (size_t i = 0; i < cyc_half_count3(N); i++) {
				if (place_of(i, N).shell != s) continue;
				const float *f = (const float *)&a[i], *g = (const float *)&b[i];
				double x = sqrt(power(&a[i])), y = sqrt(power(&b[i])),
					   d = atan2((double)f[1], (double)f[0]) - atan2((double)g[1], (double)g[0]);
				d = remainder(d, 2.0 * CYC_PI);
				if (pass == 0) {
					n += 1, ma += x, mb += y, w += x + y, p2 += (x + y) * d * d;
					continue;
				}
				aa += cyc_square(x - ma / n), bb += cyc_square(y - mb / n), ab += (x - ma / n) * (y - mb / n);
			}
		}
		if (s > 0) assert_true(fabs(correlation[s] - ab / sqrt(aa * bb)) < 1e-9);
		assert_true(fabs(residual[s] - cyc_rad_to_deg(sqrt(p2 / w))) < 1e-9);
	}
	/* A map with itself, and with its negative. */
	assert_int_equal(cyc__amplitude_curves(correlation, residual, a, a, N, 1), CYC_OK);
	for (int32_t s = 1; s <= N / 2; s++) assert_true(fabs(correlation[s] - 1.0) < 1e-9 && residual[s] < 1e-6);
	memcpy(b, a, cyc_half_count3(N) * sizeof *a);
	for (size_t i = 0; i < cyc_half_count3(N); i++) scale(&b[i], -2.0);
	assert_int_equal(cyc__amplitude_curves(correlation, residual, a, b, N, 1), CYC_OK);
	for (int32_t s = 1; s <= N / 2; s++)
		assert_true(fabs(correlation[s] - 1.0) < 1e-9 && fabs(residual[s] - 180.0) < 1e-6);
	/* Nothing there: no numbers that are none. */
	memset(b, 0, cyc_half_count3(N) * sizeof *b);
	assert_int_equal(cyc__amplitude_curves(correlation, residual, b, b, N, 1), CYC_OK);
	for (int32_t s = 0; s <= N / 2; s++) assert_true(fabs(correlation[s]) <= 0.0 && fabs(residual[s]) <= 0.0);
	assert_int_equal(cyc__flatten_directions(b, N, 3, 1), CYC_OK);
	for (size_t i = 0; i < cyc_half_count3(N); i++) assert_true(power(&b[i]) <= 0.0);
	cyc_free(a);
	cyc_free(b);
}

static void same_bits_for_any_threads(void **state)
{
	(void)state;
	enum { N = 32 };
	cyc_cfloat *a = noise_transform(N, 4), *b = noise_transform(N, 4);
	double c[2][N / 2 + 1], r[2][N / 2 + 1];
	assert_int_equal(cyc__flatten_directions(a, N, 4, 1), CYC_OK);
	assert_int_equal(cyc__flatten_directions(b, N, 4, 3), CYC_OK);
	assert_memory_equal(a, b, cyc_half_count3(N) * sizeof *a);
	cyc_free(b);
	b = noise_transform(N, 5);
	for (int t = 0; t < 2; t++)
		assert_int_equal(cyc__amplitude_curves(c[t], r[t], a, b, N, t == 0 ? 1 : 3), CYC_OK);
	assert_memory_equal(c[0], c[1], sizeof c[0]);
	assert_memory_equal(r[0], r[1], sizeof r[0]);
	cyc_free(a);
	cyc_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(directions_become_even),
		                                cmocka_unit_test(curves_are_their_definitions),
		                                cmocka_unit_test(same_bits_for_any_threads) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

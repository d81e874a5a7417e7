/* Masks against a search over all pairs of voxels (M1, M2, M4), and the automatic threshold. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "map/map_internal.h"

enum { N = 14, COUNT = N * N * N };

/* Some blobs, among them voxels on the faces of the box. */
static void blobs(uint8_t *set, uint64_t seed)
{
	memset(set, 0, COUNT);
	for (uint64_t b = 0; b < 4; b++) {
		double c[3], r = 0.6 + 2.5 * cyc_rng_uniform_at(seed, 1, b, 3);
		for (uint64_t i = 0; i < 3; i++) c[i] = N * cyc_rng_uniform_at(seed, 1, b, i);
		for (int i = 0; i < COUNT; i++)
			if (cyc_square(i / (N * N) - c[2]) + cyc_square(i / N % N - c[1]) + cyc_square(i % N - c[0]) <
			    r * r)
				set[i] = 1;
	}
}

/* Least squared distance of voxel i to a voxel of the given kind; a large number if there is none. */
static int nearest(const uint8_t *set, uint8_t kind, int i)
{
	int best = 1 << 20;
	for (int j = 0; j < COUNT; j++) {
		if (set[j] != kind) continue;
		int dz = i / (N * N) - j / (N * N), dy = i / N % N - j / N % N, dx = i % N - j % N,
			d = dx * dx + dy * dy + dz * dz;
		best = d < best ? d : best;
	}
	return best;
}

static void extension_is_the_definition(void **state)
{
	(void)state;
	static const double extensions[] = { -3.0, -1.5, 0.0, 1.0, 2.5, 3.0 };
	uint8_t set[COUNT], got[COUNT];
	for (uint64_t seed = 0; seed < 2; seed++)
		for (size_t k = 0; k < sizeof extensions / sizeof *extensions; k++) {
			double e = extensions[k];
			blobs(set, seed);
			for (int threads = 1; threads <= 3; threads++) {
				memcpy(got, set, sizeof got);
				assert_int_equal(cyc__mask_extend(got, N, e, threads), CYC_OK);
				for (int i = 0; i < COUNT; i++) {
					int want = set[i];
					if (e > 0.0 && !set[i]) want = nearest(set, 1, i) < e * e;
					if (e < 0.0 && set[i]) want = !(nearest(set, 0, i) < e * e);
					assert_int_equal(got[i], want);
				}
			}
		}
}

static void soft_edge_is_the_definition(void **state)
{
	(void)state;
	static const double widths[] = { 0.0, 1.0, 3.0, 7.3 };
	uint8_t set[COUNT];
	float got[COUNT];
	for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
		double w = widths[k];
		blobs(set, 7);
		for (int threads = 1; threads <= 3; threads++) {
			assert_int_equal(cyc__mask_soften(got, set, N, w, threads), CYC_OK);
			for (int i = 0; i < COUNT; i++) {
				double d = sqrt(nearest(set, 1, i)), want = set[i]  ? 1.0
				                                            : d < w ? 0.5 + 0.5 * cos(CYC_PI * d / w)
				                                                    : 0.0;
				assert_true(fabs((double)got[i] - want) < 1e-6);
			}
		}
	}
}

static void nothing_set_stays_nothing(void **state)
{
	(void)state;
	uint8_t set[COUNT] = { 0 };
	float soft[COUNT];
	assert_int_equal(cyc__mask_extend(set, N, 5.0, 1), CYC_OK);
	assert_int_equal(cyc__mask_soften(soft, set, N, 50.0, 1), CYC_OK);
	for (int i = 0; i < COUNT; i++) assert_true(!set[i] && !(soft[i] > 0.0f));
	memset(set, 1, sizeof set);
	assert_int_equal(cyc__mask_extend(set, N, -5.0, 1), CYC_OK);
	for (int i = 0; i < COUNT; i++) assert_true(set[i]);
}

/* A particle of 1 in noise of 0.1: any value well between will do, and scale and offset of the map go along.
 */
static void threshold_splits_particle_and_solvent(void **state)
{
	(void)state;
	enum { M = 40 };
	float *v = NULL;
	double t, t2;
	assert_int_equal(cyc_alloc(&v, M * M * M, sizeof *v), CYC_OK);
	for (int i = 0; i < M * M * M; i++) {
		cyc_rng r = cyc_rng_make(3, 3, (uint64_t)i);
		double d2 = cyc_square(i / (M * M) - 18) + cyc_square(i / M % M - 20) + cyc_square(i % M - 22);
		v[i] = (float)((d2 < 64 ? 1.0 : 0.0) + 0.1 * cyc_rng_normal(&r));
	}
	assert_int_equal(cyc__mask_auto_threshold(&t, v, M), CYC_OK);
	assert_true(t > 0.35 && t < 0.7);
	for (int i = 0; i < M * M * M; i++) v[i] = 50.0f * v[i] - 7.0f;
	assert_int_equal(cyc__mask_auto_threshold(&t2, v, M), CYC_OK);
	assert_true(fabs(t2 - (50.0 * t - 7.0)) < 0.1);
	for (int i = 0; i < M * M * M; i++) v[i] = 2.0f;
	assert_int_equal(cyc__mask_auto_threshold(&t, v, M), CYC_E_DATA);
	cyc_free(v);
}

/* ---------------------------------------------------------------- maps as wholes */

static cyc_volume *cube(int32_t n)
{
	cyc_volume *v = NULL;
	assert_int_equal(cyc_volume_create(&v, n, n, n, 1), CYC_OK);
	return v;
}

static void reach_is_the_definition(void **state)
{
	(void)state;
	enum { M = 20 };
	cyc_volume *v = cube(M);
	assert_true(cyc_mask_reach_px(v) == -1);
	for (uint64_t trial = 0; trial < 200; trial++) {
		cyc_rng r = cyc_rng_make(5, 4, trial);
		memset(v->data, 0, M * M * M * sizeof *v->data);
		for (uint64_t k = 0; k <= trial % 4; k++)
			v->data[(int32_t)(M * M * M * cyc_rng_uniform(&r))] = k == 3 ? 0.01F : 0.0101F; /* above 0.01 */
		double found = cyc_mask_reach_px(v), wanted = -1;
		for (int32_t i = 0; i < M * M * M; i++)
			if (v->data[i] > 0.01F)
				wanted = fmax(wanted, sqrt(cyc_square(i % M - M / 2) + cyc_square(i / M % M - M / 2) +
				                           cyc_square(i / M / M - M / 2)));
		assert_true(found == wanted);
	}
	cyc_volume_destroy(&v);
}

/* Means far from zero and different in every section; the same bits on any number of threads. */
static void correlation_is_the_definition(void **state)
{
	(void)state;
	enum { M = 18 };
	cyc_volume *a = cube(M), *b = cube(M);
	cyc_rng r = cyc_rng_make(6, 4, 0);
	double mean[2] = { 0 }, sum[3] = { 0 }, found[2];
	for (int32_t i = 0; i < M * M * M; i++) {
		double x = 100 + i / (M * M) + cyc_rng_normal(&r);
		mean[0] += (double)(a->data[i] = (float)x) / (M * M * M);
		mean[1] += (double)(b->data[i] = (float)(40 - 0.5 * x + cyc_rng_normal(&r))) / (M * M * M);
	}
	for (int32_t i = 0; i < M * M * M; i++) {
		double x = (double)a->data[i] - mean[0], y = (double)b->data[i] - mean[1];
		sum[0] += x * y;
		sum[1] += x * x;
		sum[2] += y * y;
	}
	for (int k = 0; k < 2; k++) assert_int_equal(cyc__volume_correlation(&found[k], a, b, k ? 7 : 1), CYC_OK);
	assert_true(found[0] == found[1]);
	assert_true(fabs(found[0] - sum[0] / sqrt(sum[1] * sum[2])) < 1e-12);
	assert_true(found[0] < -0.8);
	/* A copy but for scale and offset, and a constant. */
	for (int32_t i = 0; i < M * M * M; i++) b->data[i] = 2 * a->data[i];
	assert_int_equal(cyc__volume_correlation(found, a, b, 2), CYC_OK);
	assert_true(fabs(found[0] - 1) < 1e-12);
	for (int32_t i = 0; i < M * M * M; i++) b->data[i] = 3;
	assert_int_equal(cyc__volume_correlation(found, a, b, 2), CYC_OK);
	assert_true(found[0] == 0);
	/* One voxel, the last one, makes a map. */
	assert_int_equal(cyc_half_map_check(b, "map", "b.mrc"), CYC_E_DATA);
	b->data[M * M * M - 1] = 4;
	assert_int_equal(cyc_half_map_check(b, "map", "b.mrc"), CYC_OK);
	cyc_volume_destroy(&a);
	cyc_volume_destroy(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(extension_is_the_definition),
		                                cmocka_unit_test(soft_edge_is_the_definition),
		                                cmocka_unit_test(nothing_set_stays_nothing),
		                                cmocka_unit_test(threshold_splits_particle_and_solvent),
		                                cmocka_unit_test(reach_is_the_definition),
		                                cmocka_unit_test(correlation_is_the_definition) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

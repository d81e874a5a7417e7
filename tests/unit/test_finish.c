/* Maps from sums: the gridding correction and the floor of the weights, on sums planted voxel by voxel. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "halfmaps/sums.h"

enum { S = 24 };
static const cyc_finish_spec SPEC = { .pixel_size_A = 2, .grey_scale = 1 };

static cyc_backend *g_be;

static int backend_open(void **state)
{
	(void)state;
	return cyc_backend_open(&g_be, "cpu", 1) == CYC_OK ? 0 : -1;
}

static int backend_close(void **state)
{
	(void)state;
	cyc_backend_close(&g_be);
	return 0;
}

static float *voxel(cyc_half_sum *s, int32_t x, int32_t y, int32_t z)
{
	return s->value + 4 * (s->ball->first[cyc_ball_row(s->ball, z, y)] + (size_t)x);
}

/* Weights of 1 everywhere, and data in one voxel, which has a weight of its own. */
static cyc_half_sum *planted(int32_t x, int32_t y, int32_t z, double weight)
{
	cyc_half_sum *s = NULL;
	ASSERT_OK(cyc_half_sum_create(&s, S, S / 2));
	for (size_t i = 0; i < s->ball->count; i++) s->value[4 * i + 2] = 1;
	voxel(s, x, y, z)[0] = 1;
	voxel(s, x, y, z)[2] = (float)weight;
	return s;
}

/* What the two interpolations take from a map, sinc^2 of the distance from its centre over the box, comes
 * back in full up to the corners: the limit of the correction, a hundredfold, is beyond them. (T2.4) */
static void the_correction_reaches_the_corners(void **state)
{
	(void)state;
	cyc_half_sum *s = planted(0, 0, 0, 1);
	cyc_volume *map = NULL, *data = NULL;
	double most = 0;
	ASSERT_OK(cyc_finish_map(&map, &data, NULL, g_be, s, NULL, &SPEC));
	double centre = (double)data->data[((S / 2) * S + S / 2) * S + S / 2];
	assert_true(centre > 0);
	for (int i = 0; i < S * S * S; i++) {
		double r = sqrt(cyc_square(i % S - S / 2) + cyc_square(i / S % S - S / 2) +
		                cyc_square(i / (S * S) - S / 2)) /
		           S,
			   expected = r > 0 ? cyc_square(CYC_PI * r / sin(CYC_PI * r)) : 1,
			   found = (double)data->data[i] / centre;
		most = fmax(most, found);
		if (!(fabs(found / expected - 1) < 1e-4))
			fail_msg("correction %.5g at %.3f of the box, expected %.5g", found, r, expected);
	}
	assert_true(most > 40 && most < 100);
	cyc_volume_destroy(&map);
	cyc_volume_destroy(&data);
	cyc_half_sum_destroy(&s);
}

/* The coefficient of the map where the data are. */
static double coefficient(int32_t x, int32_t y, int32_t z, double weight)
{
	cyc_half_sum *s = planted(x, y, z, weight);
	cyc_volume *map = NULL;
	cyc_cfloat *ft = NULL;
	cyc_fft3 *plan = NULL;
	ASSERT_OK(cyc_finish_map(&map, NULL, NULL, g_be, s, NULL, &SPEC));
	ASSERT_OK(cyc_alloc(&ft, cyc_half_count3(S), sizeof *ft));
	ASSERT_OK(cyc_fft3_create(&plan, S, 1));
	ASSERT_OK(cyc_fft3_forward(ft, plan, map->data));
	double value = (double)cabsf(ft[((size_t)z * S + (size_t)y) * (S / 2 + 1) + (size_t)x]);
	cyc_fft3_destroy(&plan);
	cyc_free(ft);
	cyc_volume_destroy(&map);
	cyc_half_sum_destroy(&s);
	return value;
}

/* Data are divided by their weight, however few images saw the voxel, down to a thousandth of the shell's
 * mean; below that they are divided by this floor. (T2.5) */
static void weights_have_a_floor(void **state)
{
	(void)state;
	static const double FLOOR = 0.001, WEIGHTS[] = { 0.5, 0.05, 0.005, 0.0015, 0.0005, 0.00001, 0 };
	static const double OWN_SHARE = 0.01; /* of the voxel in the mean of its shell */
	const double at_one = coefficient(5, 4, 3, 1);
	assert_true(at_one > 0);
	for (size_t k = 0; k < sizeof WEIGHTS / sizeof *WEIGHTS; k++) {
		double gain = coefficient(5, 4, 3, WEIGHTS[k]) / at_one, expected = 1 / fmax(WEIGHTS[k], FLOOR);
		if (!(fabs(gain / expected - 1) < OWN_SHARE))
			fail_msg("a weight of %g: %.1f times the data, expected %.1f", WEIGHTS[k], gain, expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_correction_reaches_the_corners),
		                                cmocka_unit_test(weights_have_a_floor) };
	return cmocka_run_group_tests(tests, backend_open, backend_close);
}

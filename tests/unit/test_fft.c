/* Transforms against the definition, round trip, and the same bits for any number of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cyclotomo/array.h"

static float *random_map(int n)
{
	float *v = NULL;
	assert_int_equal(cyc_alloc(&v, n * n * n, sizeof *v), CYC_OK);
	for (int i = 0; i < n * n * n; i++)
		v[i] = (float)(cyc_rng_uniform_at(5, 1, (uint64_t)n, (uint64_t)i) - 0.5);
	return v;
}

static void forward_is_the_definition(void **state)
{
	(void)state;
	enum { N = 6 };
	float *v = random_map(N);
	cyc_cfloat *ft = NULL;
	cyc_fft3 *p = NULL;
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(N), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_fft3_create(&p, N, 2), CYC_OK);
	assert_int_equal(cyc_fft3_forward(ft, p, v), CYC_OK);
	for (int kz = 0; kz < N; kz++)
		for (int ky = 0; ky < N; ky++)
			for (int kx = 0; kx <= N / 2; kx++) {
				double complex s = 0;
				for (int z = 0; z < N; z++)
					for (int y = 0; y < N; y++)
						for (int x = 0; x < N; x++)
							s += (double)v[(z * N + y) * N + x] *
							     cexp(-2 * CYC_PI * (double complex)I * (kx * x + ky * y + kz * z) / N);
				assert_true(cabs(s - (double complex)ft[(kz * N + ky) * (N / 2 + 1) + kx]) < 1e-5);
			}
	cyc_fft3_destroy(&p);
	cyc_free(ft);
	cyc_free(v);
}

static void same_bits_for_any_threads(void **state)
{
	(void)state;
	enum { N = 36 };
	float *v = random_map(N), *back = NULL;
	cyc_cfloat *first = NULL, *ft = NULL;
	assert_int_equal(cyc_alloc(&first, cyc_half_count3(N), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(N), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_alloc(&back, N * N * N, sizeof *back), CYC_OK);
	for (int threads = 1; threads <= 5; threads++) {
		cyc_fft3 *p = NULL;
		assert_int_equal(cyc_fft3_create(&p, N, threads), CYC_OK);
		assert_int_equal(cyc_fft3_forward(ft, p, v), CYC_OK);
		if (threads == 1) memcpy(first, ft, cyc_half_count3(N) * sizeof *ft);
		assert_memory_equal(first, ft, cyc_half_count3(N) * sizeof *ft);
		assert_int_equal(cyc_fft3_inverse(back, p, ft), CYC_OK);
		for (int i = 0; i < N * N * N; i++) assert_true(fabsf(back[i] - v[i]) < 1e-5F);
		cyc_fft3_destroy(&p);
	}
	cyc_free(back);
	cyc_free(ft);
	cyc_free(first);
	cyc_free(v);
}

/* The forms for parts of an image, against those for all of it; odd starts, and odd halves of rows. */
static void parts_of_images(void **state)
{
	(void)state;
	enum { NX = 22, NY = 18, FIRST = 3, ROWS = 7, COLUMNS = 5, HALF = NX / 2 + 1 };
	float *image = NULL, *back = NULL, *part = NULL;
	cyc_cfloat *ft = NULL, *ft_part = NULL;
	cyc_fft2 *p = NULL;
	cyc_fft2_band *band = NULL;
	cyc_fft2_rows *rows = NULL;
	assert_int_equal(cyc_alloc(&image, NX * NY, sizeof *image), CYC_OK);
	assert_int_equal(cyc_alloc(&back, NX * NY, sizeof *back), CYC_OK);
	assert_int_equal(cyc_alloc(&part, NX * NY, sizeof *part), CYC_OK);
	assert_int_equal(cyc_alloc(&ft, HALF * NY, sizeof *ft), CYC_OK);
	assert_int_equal(cyc_alloc(&ft_part, HALF * NY, sizeof *ft_part), CYC_OK);
	assert_int_equal(cyc_fft2_create(&p, NX, NY), CYC_OK);
	for (int i = FIRST * NX; i < (FIRST + ROWS) * NX; i++)
		image[i] = (float)(cyc_rng_uniform_at(5, 1, 2, (uint64_t)i) - 0.5);
	memcpy(part, image, NX * NY * sizeof *part);
	/* What is said to be zero is not read. */
	for (int i = 0; i < FIRST * NX; i++) part[i] = NAN;
	for (int i = (FIRST + ROWS) * NX; i < NX * NY; i++) part[i] = NAN;
	cyc_fft2_forward(ft, p, image);
	assert_int_equal(cyc_fft2_band_create(&band, NX, NY, COLUMNS, FIRST, ROWS), CYC_OK);
	cyc_fft2_band_forward(ft_part, band, part);
	for (int i = 0; i < HALF * NY; i++)
		if (i % HALF < COLUMNS) assert_true(cabsf(ft[i] - ft_part[i]) < 1e-5F);

	for (int i = 0; i < NX * NY; i++) part[i] = 7;
	memcpy(ft_part, ft, HALF * NY * sizeof *ft);
	cyc_fft2_inverse(back, p, ft);
	assert_int_equal(cyc_fft2_rows_create(&rows, NX, NY, FIRST + 1, ROWS + 2), CYC_OK);
	cyc_fft2_rows_inverse(part, rows, ft_part);
	for (int i = 0; i < NX * NY; i++) {
		bool is_wanted = i >= (FIRST + 1) * NX && i < (FIRST + ROWS + 3) * NX;
		assert_true(fabsf(part[i] - (is_wanted ? back[i] : 7)) < 1e-4F);
	}
	cyc_fft2_band_destroy(&band);
	cyc_fft2_rows_destroy(&rows);
	assert_int_equal(cyc_fft2_rows_create(&rows, NX, NY, 12, 7), CYC_E_SHAPE);
	assert_int_equal(cyc_fft2_band_create(&band, NX, NY, HALF, -1, 7), CYC_E_SHAPE);
	cyc_fft2_destroy(&p);
	cyc_free(image);
	cyc_free(back);
	cyc_free(part);
	cyc_free(ft);
	cyc_free(ft_part);
}

/* One large image: the same as by the plan for small ones, and the same bits for any number of threads. */
static void large_image(void **state)
{
	(void)state;
	enum { NX = 74, NY = 51, HALF = NX / 2 + 1 };
	float *image = NULL, *back = NULL;
	cyc_cfloat *ft = NULL, *expected = NULL, *first = NULL;
	cyc_fft2 *small = NULL;
	cyc_fft2_image *p = NULL;
	assert_int_equal(cyc_alloc(&image, NX * NY, sizeof *image), CYC_OK);
	assert_int_equal(cyc_alloc(&back, NX * NY, sizeof *back), CYC_OK);
	assert_int_equal(cyc_alloc(&ft, HALF * NY, sizeof *ft), CYC_OK);
	assert_int_equal(cyc_alloc(&first, HALF * NY, sizeof *first), CYC_OK);
	assert_int_equal(cyc_alloc(&expected, HALF * NY, sizeof *expected), CYC_OK);
	assert_int_equal(cyc_fft2_create(&small, NX, NY), CYC_OK);
	for (int i = 0; i < NX * NY; i++) image[i] = (float)(cyc_rng_uniform_at(5, 1, 2, (uint64_t)i) - 0.5);
	cyc_fft2_forward(expected, small, image);
	for (int threads = 1; threads <= 3; threads++) {
		assert_int_equal(cyc_fft2_image_create(&p, NX, NY, threads), CYC_OK);
		assert_int_equal(cyc_fft2_image_forward(ft, p, image), CYC_OK);
		for (int i = 0; i < HALF * NY; i++) assert_true(cabsf(ft[i] - expected[i]) < 2e-5F);
		if (threads == 1) memcpy(first, ft, HALF * NY * sizeof *ft);
		assert_memory_equal(first, ft, HALF * NY * sizeof *ft);
		assert_int_equal(cyc_fft2_image_inverse(back, p, ft), CYC_OK);
		for (int i = 0; i < NX * NY; i++) assert_true(fabsf(back[i] / (NX * NY) - image[i]) < 1e-6F);
		cyc_fft2_image_destroy(&p);
	}
	assert_int_equal(cyc_fft2_image_create(&p, NX, 0, 1), CYC_E_SHAPE);
	cyc_fft2_destroy(&small);
	cyc_free(image);
	cyc_free(back);
	cyc_free(ft);
	cyc_free(first);
	cyc_free(expected);
}

/* A padded map, from rows; and what its transform becomes, samples that were not given being -1. */
typedef struct {
	const float *map;
	cyc_cfloat *ft;
	int32_t n, m;
} padding;

static void row_of_map(float *to, const void *arg, int32_t y, int32_t z)
{
	const padding *p = arg;
	memcpy(to, p->map + (z * p->n + y) * p->n, (size_t)p->n * sizeof *to);
}

static void take_samples(const void *arg, const cyc_cfloat *ft, int32_t n, int32_t x, int32_t y, int32_t z)
{
	const padding *p = arg;
	int32_t row = (z < 0 ? z + p->m : z) * p->m + (y < 0 ? y + p->m : y);
	memcpy(p->ft + row * (p->m / 2 + 1) + x, ft, (size_t)n * sizeof *ft);
}

static void a_ball_of_a_padded_map_has_the_bits_of_the_whole(void **state)
{
	(void)state;
	/* All of it, too; and balls that end within and between batches of columns. */
	static const struct {
		int32_t n, m, reach;
	} CASES[] = {
		{ 20, 40, 40 }, { 20, 40, 19 }, { 18, 42, 7 }, { 30, 70, 31 }, { 16, 16, 5 }, { 8, 18, 0 }
	};
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
		int32_t n = CASES[k].n, m = CASES[k].m, from = (m - n) / 2, sh = m / 2 + 1;
		float *v = random_map(n), *padded = NULL;
		cyc_cfloat *whole = NULL, *ball = NULL;
		cyc_fft3 *plan = NULL;
		assert_int_equal(cyc_alloc(&padded, m * m * m, sizeof *padded), CYC_OK);
		assert_int_equal(cyc_alloc(&whole, cyc_half_count3(m), sizeof *whole), CYC_OK);
		assert_int_equal(cyc_alloc(&ball, cyc_half_count3(m), sizeof *ball), CYC_OK);
		for (int32_t i = 0; i < n * n * n; i++)
			padded[((i / n / n + from) * m + i / n % n + from) * m + i % n + from] = v[i];
		assert_int_equal(cyc_fft3_create(&plan, m, 2), CYC_OK);
		assert_int_equal(cyc_fft3_forward(whole, plan, padded), CYC_OK);
		for (int threads = 1; threads <= 3; threads++) {
			cyc_fft3_padded *p = NULL;
			const padding to = { v, ball, n, m };
			for (size_t i = 0; i < cyc_half_count3(m); i++) ball[i] = -1;
			assert_int_equal(cyc_fft3_padded_create(&p, n, m, CASES[k].reach, threads), CYC_OK);
			/* Twice: work memory that was used before is as good. */
			for (int again = 0; again < 2; again++)
				assert_int_equal(
					cyc_fft3_padded_forward(p, &(cyc_fft3_padded_io){ row_of_map, take_samples, &to }),
					CYC_OK);
			for (int32_t i = 0; i < m * m * sh; i++) {
				int32_t x = i % sh, y = i / sh % m, z = i / sh / m, ky = y < m / 2 ? y : y - m,
						kz = z < m / 2 ? z : z - m;
				bool is_within = x * x + ky * ky + kz * kz <= CASES[k].reach * CASES[k].reach;
				/* Zeros have no sign here. */
				if (is_within) assert_true(ball[i] == whole[i]);
				else assert_true(ball[i] == -1);
			}
			cyc_fft3_padded_destroy(&p);
			assert_null(p);
		}
		cyc_fft3_destroy(&plan);
		cyc_free(v);
		cyc_free(padded);
		cyc_free(whole);
		cyc_free(ball);
	}
}

static void good_sizes(void **state)
{
	(void)state;
	assert_int_equal(cyc_fft_good_size(192), 192);
	assert_int_equal(cyc_fft_good_size(191), 192);
	assert_int_equal(cyc_fft_good_size(97), 98);
	assert_int_equal(cyc_fft_good_size(103), 108);
}

static void resize_keeps_the_centre(void **state)
{
	(void)state;
	cyc_volume *v = NULL, *large = NULL, *back = NULL;
	assert_int_equal(cyc_volume_create(&v, 8, 8, 8, 1.5), CYC_OK);
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] = (float)i;
	assert_int_equal(cyc_volume_resize(&large, v, 14, 2), CYC_OK);
	assert_true(large->data[(7 * 14 + 7) * 14 + 7] == v->data[(4 * 8 + 4) * 8 + 4]);
	assert_int_equal(cyc_volume_resize(&back, large, 8, 2), CYC_OK);
	assert_memory_equal(back->data, v->data, cyc_volume_count(v) * sizeof(float));
	cyc_volume_destroy(&back);
	cyc_volume_destroy(&large);
	assert_int_equal(cyc_volume_resize(&back, v, 7, 2), CYC_E_SHAPE);
	assert_null(back);
	cyc_volume_destroy(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(forward_is_the_definition),
		                                cmocka_unit_test(same_bits_for_any_threads),
		                                cmocka_unit_test(parts_of_images),
		                                cmocka_unit_test(large_image),
		                                cmocka_unit_test(a_ball_of_a_padded_map_has_the_bits_of_the_whole),
		                                cmocka_unit_test(good_sizes),
		                                cmocka_unit_test(resize_keeps_the_centre) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

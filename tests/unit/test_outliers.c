/* Outlier pixels: false alarms of several kinds of noise, hot pixels found and replaced, constant bands,
 * images without data, beads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cyclotomo/base.h"
#include "images/beads.h"
#include "images/outliers.h"

enum { NX = 420, NY = 350 };
static float image[NX * NY], before[NX * NY];

typedef enum { NORMAL, RAMP, POISSON, EXPONENTIAL } kind;

static double poisson(cyc_rng *r, double mean)
{
	double limit = exp(-mean), product = 1;
	int k = 0;
	do {
		k++;
		product *= cyc_rng_uniform(r);
	} while (product > limit);
	return k - 1;
}

static void fill(kind k, double mean, uint64_t seed)
{
	cyc_rng r = cyc_rng_make(seed, 1, (uint64_t)k);
	for (int i = 0; i < NX * NY; i++) {
		double local = exp(0.8 * ((double)(i % NX) / NX - 0.5));
		image[i] = (float)(k == NORMAL    ? cyc_rng_normal(&r)
		                   : k == RAMP    ? mean * local + sqrt(mean * local) * cyc_rng_normal(&r)
		                   : k == POISSON ? poisson(&r, mean)
		                                  : -log(1 - cyc_rng_uniform(&r)));
	}
	memcpy(before, image, sizeof image);
}

static void mend(cyc_image_state *s, bool keep)
{
	assert_int_equal(cyc_image_mend(s, NULL, image, NX, NY, 77, keep), CYC_OK);
}

/* Fewer than one in ten images: of 6 images in each of 8 kinds of noise, 5 expected at most, more than 12
 * with a chance of 0.002. */
static void few_false_alarms(void **state)
{
	(void)state;
	static const struct {
		kind k;
		double mean;
	} cases[] = { { NORMAL, 0 },  { RAMP, 100 },  { POISSON, 0.05 }, { POISSON, 0.3 },
		          { POISSON, 1 }, { POISSON, 3 }, { POISSON, 20 },   { EXPONENTIAL, 1 } };
	int64_t n = 0;
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
		for (uint64_t seed = 0; seed < 6; seed++) {
			cyc_image_state s;
			fill(cases[c].k, cases[c].mean, seed);
			mend(&s, false);
			n += s.n_outliers;
		}
	assert_true(n <= 12);
}

/* All hot and dead pixels are found, also twenty times as many as usual; what stands in their place is noise
 * like the rest. */
static void hot_pixels(void **state)
{
	(void)state;
	static const int counts[] = { 75, 1500 };
	for (int c = 0; c < 2; c++) {
		cyc_image_state s;
		fill(RAMP, 100, 3);
		cyc_rng r = cyc_rng_make(9, 2, 0);
		int n = 0;
		while (n < counts[c]) {
			int i = (int)(cyc_rng_uniform(&r) * NX * NY);
			if (image[i] != before[i]) continue;
			image[i] = n % 5 == 0 ? 0 : 200 + 2000 * (float)cyc_rng_uniform(&r);
			n++;
		}
		mend(&s, false);
		assert_true(s.n_outliers >= n && s.n_outliers <= n + 2);
		double sum = 0, square = 0;
		int changed = 0;
		for (int i = 0; i < NX * NY; i++) {
			if (image[i] == before[i]) continue;
			double local = 100 * exp(0.8 * ((double)(i % NX) / NX - 0.5)),
				   z = ((double)image[i] - local) / sqrt(local);
			sum += z;
			square += z * z;
			changed++;
		}
		/* Mean 0 and variance 1 within four standard errors and the error of the local estimates. */
		assert_true(fabs(sum / changed) < 4 / sqrt(changed) + 0.1);
		assert_true(fabs(square / changed - 1) < 4 * sqrt(2.0 / changed) + 0.15);
		if (!(fabs(s.variance / 100 - 1) < 0.1)) fail_msg("variance %g, not 100", s.variance);
	}
}

/* The same noise at each run, other noise for another image. */
static void noise_is_keyed(void **state)
{
	(void)state;
	cyc_image_state s;
	float first[2];
	for (int pass = 0; pass < 3; pass++) {
		fill(NORMAL, 0, 5);
		image[1000] = 500;
		assert_int_equal(cyc_image_mend(&s, NULL, image, NX, NY, pass < 2 ? 1 : 2, false), CYC_OK);
		assert_true(fabs((double)image[1000]) < 6);
		if (pass == 1) assert_true(image[1000] == first[0]);
		if (pass == 2) assert_true(image[1000] != first[0]);
		first[0] = image[1000];
	}
}

static void kept(void **state)
{
	(void)state;
	cyc_image_state s;
	fill(NORMAL, 0, 5);
	image[1000] = 500;
	memcpy(before, image, sizeof image);
	mend(&s, true);
	assert_int_equal(s.n_outliers, 1);
	assert_memory_equal(image, before, sizeof image);
}

/* Rows of zeros at the border and a dead column are found, of real values and of counts. */
static void constant_bands(void **state)
{
	(void)state;
	for (int c = 0; c < 2; c++) {
		cyc_image_state s;
		fill(c == 0 ? RAMP : POISSON, c == 0 ? 100 : 4, 6);
		memset(image, 0, 40 * NX * sizeof *image);
		for (int y = 0; y < NY; y++) image[y * NX + 300] = 7;
		mend(&s, false);
		assert_true(s.n_constant >= 40 * NX + NY - 40 && s.n_constant <= 40 * NX + NY);
		assert_true(s.n_outliers <= 1);
		double square = 0;
		for (int i = 0; i < 40 * NX; i++) {
			double local = c == 0 ? 100 * exp(0.8 * ((double)(i % NX) / NX - 0.5)) : 4;
			square += cyc_square((double)image[i] - local) / local;
		}
		assert_true(fabs(square / (40 * NX) - 1) < 0.15);
	}
}

static void no_data(void **state)
{
	(void)state;
	cyc_image_state s;
	for (int i = 0; i < NX * NY; i++) image[i] = 3;
	mend(&s, false);
	assert_true(s.variance == 0 && image[5] == 3 && s.n_constant == NX * NY);
	for (int i = 0; i < NX * NY; i++) image[i] = NAN;
	mend(&s, false);
	assert_true(s.variance == 0 && image[5] == 0);
	/* Its transform would leave the range of numbers, and no data times infinity is no number. */
	for (int i = 0; i < NX * NY; i++) image[i] = 1e38F;
	mend(&s, false);
	assert_true(s.variance == 0 && image[5] == 0 && s.largest == 0);
	fill(NORMAL, 0, 8);
	image[4] = NAN;
	image[5] = INFINITY;
	mend(&s, false);
	assert_int_equal(s.n_outliers, 2);
	assert_true(fabs((double)image[4]) < 6 && fabs((double)image[5]) < 6);
}

/* Values whose squares leave the range of numbers are told; a single one is an outlier. */
static void largest(void **state)
{
	(void)state;
	cyc_image_state s;
	fill(NORMAL, 0, 8);
	image[4] = 1e30F;
	mend(&s, false);
	assert_true(s.largest > 3 && s.largest < 100);
	fill(NORMAL, 0, 8);
	for (int i = 0; i < NX * NY; i++) image[i] *= 1e30F;
	mend(&s, false);
	assert_true(s.largest > 3e30);
	fill(NORMAL, 0, 8);
	for (int i = 0; i < NX * NY; i++) image[i] = 1e20F * (1 + 1e-3F * image[i]);
	mend(&s, false);
	assert_true(s.largest > 1e20);
}

static void add_disc(double x, double y, double radius_px, double share)
{
	for (int i = 0; i < NX * NY; i++)
		if (hypot(i % NX - x, i / NX - y) < radius_px) image[i] *= (float)share;
}

/* Beads of 10 and 5 nm are found and replaced; a particle, a bar, and images with a mean of zero are left
 * alone. */
static void beads(void **state)
{
	(void)state;
	int32_t n;
	int64_t n_pixels;
	const double px = 2;
	fill(RAMP, 100, 4);
	add_disc(100, 200, 25, 0.2);
	add_disc(300, 80, 12.5, 0.2);
	add_disc(200, 120, 60, 0.85);
	memcpy(before, image, sizeof image);
	assert_int_equal(cyc_image_erase_beads(&n, &n_pixels, image, NX, NY, px, 100, 1), CYC_OK);
	assert_int_equal(n, 2);
	double sum[2] = { 0 }, count[2] = { 0 };
	for (int i = 0; i < NX * NY; i++) {
		double from_bead =
			fmin(hypot(i % NX - 100, i / NX - 200) - 25, hypot(i % NX - 300, i / NX - 80) - 12.5);
		if (from_bead > 12) assert_true(image[i] == before[i]);
		if (hypot(i % NX - 100, i / NX - 200) > 20) continue;
		sum[0] += (double)image[i];
		sum[1] += (double)before[i];
		count[0]++;
	}
	double local = 100 * exp(0.8 * (100.0 / NX - 0.5));
	assert_true(fabs(sum[0] / count[0] / local - 1) < 0.05 && sum[1] / count[0] < 0.25 * local);
	/* A bar is larger than any bead. */
	fill(RAMP, 100, 4);
	for (int i = 0; i < NX * NY; i++)
		if (i / NX < 60) image[i] *= 0.1F;
	assert_int_equal(cyc_image_erase_beads(&n, &n_pixels, image, NX, NY, px, 100, 1), CYC_OK);
	assert_true(n == 0 && n_pixels == 0);
	/* Nobody knows what half of zero is. */
	fill(NORMAL, 0, 4);
	for (int i = 0; i < NX * NY; i++)
		if (hypot(i % NX - 100, i / NX - 200) < 25) image[i] -= 3;
	assert_int_equal(cyc_image_erase_beads(&n, &n_pixels, image, NX, NY, px, 1, 1), CYC_OK);
	assert_true(n == 0 && n_pixels == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(few_false_alarms), cmocka_unit_test(hot_pixels),
		                                cmocka_unit_test(noise_is_keyed),   cmocka_unit_test(kept),
		                                cmocka_unit_test(constant_bands),   cmocka_unit_test(no_data),
		                                cmocka_unit_test(largest),          cmocka_unit_test(beads) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

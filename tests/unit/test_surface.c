/* Surfaces: a sphere has its radius and a symmetric shading, threads do not matter, dust is not drawn,
 * colours follow the values, refused input. */
#include "report/surface.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 48, EDGE = 240 };
static const double RADIUS = 14;
static const double FRONT[3][3] = { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } },
					SIDE[3][3] = { { 0, 1, 0 }, { 0, 0, 1 }, { 1, 0, 0 } };

/* Density falls off linearly across the surface, so that its place is known. */
static cyc_volume *make_sphere(double x0, double y0, double z0, double radius)
{
	cyc_volume *v = NULL;
	assert_int_equal(cyc_volume_create(&v, N, N, N, 2.0), CYC_OK);
	for (int z = 0; z < N; z++)
		for (int y = 0; y < N; y++)
			for (int x = 0; x < N; x++) {
				double r = sqrt(cyc_square(x - x0) + cyc_square(y - y0) + cyc_square(z - z0));
				v->data[(z * N + y) * N + x] = (float)fmax(0, 1 + 0.25 * (radius - r));
			}
	return v;
}

static uint32_t *draw(const cyc_surface *s, const double view[3][3], int n_threads)
{
	cyc__field f;
	uint32_t *argb = NULL;
	cyc_surface one = *s;
	memcpy(one.view, view, sizeof one.view);
	assert_int_equal(cyc_alloc(&argb, EDGE * EDGE, sizeof *argb), CYC_OK);
	assert_int_equal(cyc__field_create(&f, s->map, s->level, EDGE), CYC_OK);
	assert_int_equal(cyc__surface_draw(argb, &f, &one, EDGE, n_threads), CYC_OK);
	cyc__field_deinit(&f);
	return argb;
}

static double coverage(const uint32_t *argb)
{
	double sum = 0;
	for (int i = 0; i < EDGE * EDGE; i++) sum += (argb[i] >> 24) / 255.0;
	return sum;
}

static void a_sphere_has_its_radius(void **state)
{
	(void)state;
	cyc_volume *v = make_sphere(N / 2, N / 2, N / 2, RADIUS);
	const cyc_surface s = { .map = v, .level = 1 };
	const double(*views[2])[3] = { FRONT, SIDE };
	for (int k = 0; k < 2; k++) {
		uint32_t *argb = draw(&s, views[k], 1);
		/* Of the disc that is covered; interpolation of a linear fall is good to a hundredth of a voxel. */
		double radius = sqrt(coverage(argb) / CYC_PI) * N / EDGE;
		assert_true(fabs(radius - RADIUS) < 0.05);
		assert_int_equal(argb[0], 0);
		assert_int_equal(argb[EDGE / 2 * EDGE + EDGE / 2] >> 24, 255);
		cyc_free(argb);
	}
	/* The picture shows what it is told to. */
	const cyc_surface near = { .map = v, .level = 1, .radius_px = 16 };
	uint32_t *argb = draw(&near, FRONT, 1);
	assert_true(fabs(sqrt(coverage(argb) / CYC_PI) * 32 / EDGE - RADIUS) < 0.05);
	cyc_free(argb);
	cyc_volume_destroy(&v);
}

static void light_comes_from_the_upper_left(void **state)
{
	(void)state;
	cyc_volume *v = make_sphere(N / 2, N / 2, N / 2, RADIUS);
	const cyc_surface s = { .map = v, .level = 1 };
	uint32_t *front = draw(&s, FRONT, 1), *side = draw(&s, SIDE, 1);
	int differences = 0, quarter = EDGE * 10 / N;
	for (int i = 0; i < EDGE * EDGE; i++) {
		/* A sphere looks the same from all sides, up to rounding. */
		int a = (int)(front[i] >> 8 & 255), b = (int)(side[i] >> 8 & 255);
		differences += abs(a - b) > 12;
	}
	assert_true(differences < EDGE * EDGE / 200);
	int c = EDGE / 2;
	assert_true((front[(c - quarter) * EDGE + c - quarter] & 255) >
	            (front[(c + quarter) * EDGE + c + quarter] & 255) + 30);
	cyc_free(front);
	cyc_free(side);
	cyc_volume_destroy(&v);
}

/* A ball at +x and +z of the map is on the right from the front, and in front. */
static void views_are_what_they_say(void **state)
{
	(void)state;
	cyc_volume *v = make_sphere(N / 2 + 12, N / 2, N / 2, 5);
	const cyc_surface s = { .map = v, .level = 1 };
	uint32_t *front = draw(&s, FRONT, 1), *side = draw(&s, SIDE, 1);
	double x = 0, x_side = 0;
	for (int i = 0; i < EDGE * EDGE; i++) {
		x += (front[i] >> 24) / 255.0 * (i % EDGE + 0.5 - 0.5 * EDGE);
		x_side += (side[i] >> 24) / 255.0 * (i % EDGE + 0.5 - 0.5 * EDGE);
	}
	assert_true(fabs(x / coverage(front) * N / EDGE - 12) < 0.05);
	assert_true(fabs(x_side / coverage(side) * N / EDGE) < 0.05);
	cyc_free(front);
	cyc_free(side);
	cyc_volume_destroy(&v);
}

static void threads_do_not_matter(void **state)
{
	(void)state;
	char *one[2], *four[2];
	size_t n_one[2], n_four[2];
	double views[2][3][3];
	cyc_volume *v = make_sphere(N / 2 + 3, N / 2 - 2, N / 2, RADIUS);
	const cyc_surface s = { .map = v, .level = 1 };
	memcpy(views[0], FRONT, sizeof FRONT);
	memcpy(views[1], SIDE, sizeof SIDE);
	assert_int_equal(cyc_surface_pngs(one, n_one, &s, (const double(*)[3][3])views, 2, EDGE, 1), CYC_OK);
	assert_int_equal(cyc_surface_pngs(four, n_four, &s, (const double(*)[3][3])views, 2, EDGE, 4), CYC_OK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(n_one[i], n_four[i]);
		assert_memory_equal(one[i], four[i], n_one[i]);
		assert_memory_equal(one[i], "\x89PNG", 4);
		cyc_free(one[i]);
		cyc_free(four[i]);
	}
	cyc_volume_destroy(&v);
}

static void dust_is_not_drawn(void **state)
{
	(void)state;
	cyc_volume *v = make_sphere(N / 2, N / 2, N / 2, RADIUS);
	const cyc_surface s = { .map = v, .level = 1 };
	uint32_t *clean = draw(&s, FRONT, 1);
	v->data[(N / 2 * N + 4) * N + 4] = 3;
	uint32_t *dusty = draw(&s, FRONT, 1);
	assert_memory_equal(clean, dusty, EDGE * EDGE * sizeof *clean);
	cyc_free(clean);
	cyc_free(dusty);
	cyc_volume_destroy(&v);
}

static void colours_follow_the_values(void **state)
{
	(void)state;
	cyc_volume *v = make_sphere(N / 2, N / 2, N / 2, RADIUS), *resolution = NULL;
	assert_int_equal(cyc_volume_create(&resolution, N, N, N, 2.0), CYC_OK);
	for (int i = 0; i < N * N * N; i++) resolution->data[i] = i % N < N / 2 ? 4 : 10;
	const cyc_surface s = {
		.map = v, .level = 1, .colour_by = resolution, .colour_low = 4, .colour_high = 10
	};
	uint32_t *argb = draw(&s, FRONT, 1), left = argb[EDGE / 2 * EDGE + EDGE / 2 - 40],
			 right = argb[EDGE / 2 * EDGE + EDGE / 2 + 40];
	assert_true((left & 255) > (left >> 16 & 255) + 30);
	assert_true((right >> 16 & 255) > (right & 255) + 30);
	cyc_free(argb);
	cyc_volume_destroy(&v);
	cyc_volume_destroy(&resolution);
	double low[3], high[3], beyond[3];
	cyc_surface_colour(low, 0);
	cyc_surface_colour(high, 1);
	cyc_surface_colour(beyond, 7);
	assert_true(low[2] > low[0] && high[0] > high[2]);
	assert_memory_equal(high, beyond, sizeof high);
}

static void levels_enclose_their_share(void **state)
{
	(void)state;
	double level;
	cyc_volume *v = make_sphere(N / 2, N / 2, N / 2, RADIUS);
	double share = 4.0 / 3 * CYC_PI * pow(RADIUS, 3) / (N * N * N);
	assert_int_equal(cyc_surface_level(&level, v, share), CYC_OK);
	assert_true(fabs(level - 1) < 0.03);
	cyc_volume_destroy(&v);
}

static void bad_input_is_refused(void **state)
{
	(void)state;
	char *out[1];
	size_t n[1];
	double views[1][3][3];
	memcpy(views[0], FRONT, sizeof FRONT);
	const double(*all)[3][3] = (const double(*)[3][3])views;
	cyc_volume *v = make_sphere(N / 2, N / 2, N / 2, RADIUS), *flat = NULL, *other = NULL;
	cyc_surface s = { .map = v, .level = 0 };
	assert_int_equal(cyc_surface_pngs(out, n, &s, all, 1, EDGE, 1), CYC_E_USAGE);
	s.level = 1;
	assert_int_equal(cyc_surface_pngs(out, n, &s, all, 1, 4, 1), CYC_E_USAGE);
	assert_int_equal(cyc_volume_create(&other, N / 2, N / 2, N / 2, 2.0), CYC_OK);
	s.colour_by = other;
	assert_int_equal(cyc_surface_pngs(out, n, &s, all, 1, EDGE, 1), CYC_E_SHAPE);
	assert_int_equal(cyc_volume_create(&flat, N, N, 2, 2.0), CYC_OK);
	s = (cyc_surface){ .map = flat, .level = 1 };
	assert_int_equal(cyc_surface_pngs(out, n, &s, all, 1, EDGE, 1), CYC_E_SHAPE);
	/* Nothing above the level is an empty picture, and no error. */
	s = (cyc_surface){ .map = v, .level = 1e6 };
	assert_int_equal(cyc_surface_pngs(out, n, &s, all, 1, EDGE, 1), CYC_OK);
	cyc_free(out[0]);
	cyc_volume_destroy(&v);
	cyc_volume_destroy(&flat);
	cyc_volume_destroy(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sphere_has_its_radius),    cmocka_unit_test(light_comes_from_the_upper_left),
		cmocka_unit_test(views_are_what_they_say),    cmocka_unit_test(threads_do_not_matter),
		cmocka_unit_test(dust_is_not_drawn),          cmocka_unit_test(colours_follow_the_values),
		cmocka_unit_test(levels_enclose_their_share), cmocka_unit_test(bad_input_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

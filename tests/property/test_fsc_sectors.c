/* Sectors of Fourier space: equal parts that symmetry respects, and standard errors that are as large as the
 * scatter. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sanitizers.h"
#include "map/fsc_sectors.h"
#include "map/map_internal.h"

enum { N = 48, N_SHELLS = N / 2 + 1, MOST_SECTORS = 32 };

static size_t at(int x, int y, int z)
{
	return ((size_t)((z + N) % N) * N + (size_t)((y + N) % N)) * (N / 2 + 1) + (size_t)x;
}

/* White noise as a half transform of a real map under a soft ball, which correlates neighbours as a mask
 * does. */
static cyc_cfloat *noise(uint64_t draw, uint64_t which)
{
	cyc_volume *v = NULL;
	cyc_fft3 *plan = NULL;
	cyc_cfloat *ft = NULL;
	cyc_rng r = cyc_rng_make(11, (uint32_t)which, draw);
	assert_int_equal(cyc_volume_create(&v, N, N, N, 1.0), CYC_OK);
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(N), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_fft3_create(&plan, N, 1), CYC_OK);
	for (int z = 0; z < N; z++)
		for (int y = 0; y < N; y++)
			for (int x = 0; x < N; x++) {
				double d = sqrt(cyc_square(x - N / 2) + cyc_square(y - N / 2) + cyc_square(z - N / 2)),
					   m = fmin(fmax((21.0 - d) / 4.0, 0.0), 1.0);
				v->data[(z * N + y) * N + x] = (float)(m * cyc_rng_normal(&r));
			}
	assert_int_equal(cyc_fft3_forward(ft, plan, v->data), CYC_OK);
	cyc_fft3_destroy(&plan);
	cyc_volume_destroy(&v);
	return ft;
}

/* Average over the rotations of a group whose operations permute the axes. The maps' centre is no matter
 * here. */
static void symmetrise(cyc_cfloat *ft, const cyc_symmetry *group)
{
	cyc_cfloat *out = NULL;
	assert_int_equal(cyc_alloc(&out, cyc_half_count3(N), sizeof *out), CYC_OK);
	for (int z = -N / 2 + 1; z < N / 2; z++)
		for (int y = -N / 2 + 1; y < N / 2; y++)
			for (int x = 0; x < N / 2; x++) {
				cyc_cfloat sum = 0;
				for (int g = 0; g < group->n; g++) {
					cyc_vec3 p = cyc_mat3_apply(group->ops[g], (cyc_vec3){ x, y, z });
					int px = (int)lround(p.x), py = (int)lround(p.y), pz = (int)lround(p.z);
					sum += px < 0 ? conjf(ft[at(-px, -py, -pz)]) : ft[at(px, py, pz)];
				}
				out[at(x, y, z)] = sum / (float)group->n;
			}
	memcpy(ft, out, cyc_half_count3(N) * sizeof *ft);
	cyc_free(out);
}

static void equal_parts(void **state)
{
	(void)state;
	static const char *const GROUPS[] = { "C1", "C6", "D7", "O", "I1" };
	for (size_t k = 0; k < sizeof GROUPS / sizeof *GROUPS; k++) {
		cyc__sectors s;
		cyc_symmetry *group = NULL;
		int count[MOST_SECTORS] = { 0 }, n = 0, n_together = 0, n_tried = 0;
		assert_int_equal(cyc_symmetry_create(&group, GROUPS[k]), CYC_OK);
		assert_int_equal(cyc__sectors_init(&s, GROUPS[k]), CYC_OK);
		for (int x = -60; x <= 60; x += 3)
			for (int y = -60; y <= 60; y += 3)
				for (int z = -60; z <= 60; z += 3) {
					int r2 = x * x + y * y + z * z;
					if (r2 < 2500 || r2 > 3600) continue;
					int sector = cyc__sector_of(&s, x, y, z);
					assert_true(sector >= 0 && sector < s.n_sectors);
					assert_int_equal(sector, cyc__sector_of(&s, -x, -y, -z));
					count[sector]++;
					n++;
					cyc_vec3 p = cyc_mat3_apply(group->ops[group->n - 1], (cyc_vec3){ x, y, z });
					n_together +=
						cyc__sector_of(&s, (int)lround(p.x), (int)lround(p.y), (int)lround(p.z)) == sector;
					n_tried++;
				}
		for (int i = 0; i < s.n_sectors; i++) {
			double share = (double)count[i] * s.n_sectors / n;
			if (fabs(share - 1.0) > 0.25)
				fail_msg("%s: sector %d has %.2f times its share", GROUPS[k], i, share);
		}
		/* Rounding takes a few across a border. */
		if (n_together < 0.85 * n_tried)
			fail_msg("%s: only %d of %d are with those that they are equal to", GROUPS[k], n_together,
			         n_tried);
		cyc__sectors_deinit(&s);
		cyc_symmetry_destroy(&group);
	}
	cyc__sectors s;
	assert_int_equal(cyc__sectors_init(&s, "Q5"), CYC_E_USAGE);
}

static void all_sectors_give_the_fsc(void **state)
{
	(void)state;
	cyc__sectors s;
	cyc__sector_sums one, two;
	cyc_cfloat *a = noise(0, 1), *b = noise(0, 2);
	double wanted[N_SHELLS], found[N_SHELLS];
	for (size_t i = 0; i < cyc_half_count3(N); i++) b[i] += a[i];
	assert_int_equal(cyc__sectors_init(&s, "C1"), CYC_OK);
	assert_int_equal(cyc__sector_sums_init(&one, &s, a, b, N, 0, 1), CYC_OK);
	assert_int_equal(cyc__sector_sums_init(&two, &s, a, b, N, 0, 3), CYC_OK);
	assert_memory_equal(one.sums, two.sums, (size_t)(one.n_sectors + 1) * N_SHELLS * 3 * sizeof(double));
	cyc_fsc_compute(wanted, a, b, N);
	cyc__sector_fsc(found, &one, -1);
	for (int i = 0; i < N_SHELLS; i++) assert_true(fabs(found[i] - wanted[i]) < 1e-9);
	for (int g = 0; g < one.n_sectors; g++) {
		cyc__sector_fsc(found, &one, g);
		for (int i = 0; i < N_SHELLS; i++) assert_true(isfinite(found[i]) && fabs(found[i]) <= 1.0 + 1e-9);
	}
	/* The last shells alone are what they are among all. */
	const int FIRST = N_SHELLS - 3;
	cyc__sector_sums_deinit(&two);
	assert_int_equal(cyc__sector_sums_init(&two, &s, a, b, N, FIRST, 1), CYC_OK);
	for (int i = 0; i < (one.n_sectors + 1) * N_SHELLS * 3; i++)
		assert_true(two.sums[i] == (i / 3 % N_SHELLS < FIRST ? 0 : one.sums[i]));
	cyc__sector_sums_deinit(&one);
	cyc__sector_sums_deinit(&two);
	cyc__sectors_deinit(&s);
	cyc_free(a);
	cyc_free(b);
}

static double mean_fsc(const cyc__sector_sums *s, int without)
{
	double fsc[N_SHELLS];
	cyc__sector_fsc(fsc, s, without);
	return cyc__mean_fsc(fsc, N_SHELLS);
}

typedef struct {
	double difference, error;
} outcome;

/* Half maps of one signal in a state A, and in a state B in which a share of the noise is another: as after a
 * small refinement. */
static outcome one_draw(const cyc__sectors *sectors, const cyc_symmetry *group, int draw, double share)
{
	cyc__sector_sums s[2];
	cyc_cfloat *signal = noise(0, 1), *own[2] = { noise((uint64_t)draw, 2), noise((uint64_t)draw, 3) },
			   *fresh[2] = { noise((uint64_t)draw, 4), noise((uint64_t)draw, 5) };
	double left_out[MOST_SECTORS];
	for (int b = 0; b < 2; b++) {
		for (int h = 0; h < 2; h++) {
			for (int z = -N / 2 + 1; z < N / 2; z++)
				for (int y = -N / 2 + 1; y < N / 2; y++)
					for (int x = 0; x < N / 2; x++) {
						size_t i = at(x, y, z);
						float fall = (float)(30.0 * exp(-(x * x + y * y + z * z) / 60.0)),
							  keep = (float)sqrt(1.0 - share * share);
						if (b == 0) own[h][i] = 0.5f * own[h][i] + fall * signal[i];
						else
							own[h][i] = keep * (own[h][i] - fall * signal[i]) +
							            (float)share * 0.5f * fresh[h][i] + fall * signal[i];
					}
		}
		cyc_cfloat *f[2] = { NULL, NULL };
		for (int h = 0; h < 2; h++) {
			assert_int_equal(cyc_alloc(&f[h], cyc_half_count3(N), sizeof *f[h]), CYC_OK);
			memcpy(f[h], own[h], cyc_half_count3(N) * sizeof *f[h]);
			symmetrise(f[h], group);
		}
		assert_int_equal(cyc__sector_sums_init(&s[b], sectors, f[0], f[1], N, 0, 1), CYC_OK);
		cyc_free(f[0]);
		cyc_free(f[1]);
	}
	for (int g = 0; g < sectors->n_sectors; g++) left_out[g] = mean_fsc(&s[1], g) - mean_fsc(&s[0], g);
	outcome o = { mean_fsc(&s[1], -1) - mean_fsc(&s[0], -1),
		          cyc__sector_error(left_out, sectors, 16.0, 38.0, N) };
	for (int k = 0; k < 2; k++) {
		cyc__sector_sums_deinit(&s[k]);
		cyc_free(own[k]);
		cyc_free(fresh[k]);
	}
	cyc_free(signal);
	return o;
}

/* The true difference is none: the scatter of the found ones is what the standard error should be. */
static void errors_are_as_large_as_the_scatter(void **state)
{
	(void)state;
	enum { N_DRAWS = 30 };
	static const char *const GROUPS[] = { "C1", "D2", "O" };
	for (size_t k = 0; k < (IS_SANITIZED ? 1 : sizeof GROUPS / sizeof *GROUPS); k++) {
		cyc__sectors sectors;
		cyc_symmetry *group = NULL;
		double z2 = 0.0, mean_error = 0.0;
		int n_far = 0;
		assert_int_equal(cyc_symmetry_create(&group, GROUPS[k]), CYC_OK);
		assert_int_equal(cyc__sectors_init(&sectors, GROUPS[k]), CYC_OK);
		for (int draw = 0; draw < N_DRAWS; draw++) {
			outcome o = one_draw(&sectors, group, draw, 0.4);
			z2 += cyc_square(o.difference / o.error) / N_DRAWS;
			mean_error += o.error / N_DRAWS;
			n_far += fabs(o.difference) > 2.0 * o.error;
		}
		print_message("%s: RMS of difference / error %.2f, error %.5f, beyond two %d of %d\n", GROUPS[k],
		              sqrt(z2), mean_error, n_far, N_DRAWS);
		/* Student with 15 degrees of freedom has 1.07; 30 draws tell it to 0.14. */
		if (!(sqrt(z2) > 0.7 && sqrt(z2) < 1.45))
			fail_msg("%s: differences are %.2f times their errors", GROUPS[k], sqrt(z2));
		cyc__sectors_deinit(&sectors);
		cyc_symmetry_destroy(&group);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_parts),
		cmocka_unit_test(all_sectors_give_the_fsc),
		cmocka_unit_test(errors_are_as_large_as_the_scatter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

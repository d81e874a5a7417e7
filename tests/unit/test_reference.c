/* References for predicting tilt images: the slices of a known density in the unit of windows, and maps that
 * do not fit. */
#include <complex.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "cyclotomo/mrc.h"
#include "reference/reference.h"

enum { S = 48, BOX = 32 };
static const double SIGMA = 1.6, PIXEL_A = 2;
static const cyc_vec3 AT = { 4, -3, 5 }, NOT_AT = { -4, 6, -2 };

/* Gaussians of height 1 and -1 (no mean, which would be taken off) with the grey scale sqrt(box of the
 * windows) of reconstructed maps. */
static void map_write(const char *name, int32_t n, double pixel_size_A, bool is_mask)
{
	cyc_volume *v = NULL;
	ASSERT_OK(cyc_volume_create(&v, n, n, n, pixel_size_A));
	for (int32_t i = 0; i < n * n * n; i++) {
		double x = i % n - n / 2, y = i / n % n - n / 2, z = i / n / n - n / 2;
		double r2 = cyc_square(x - AT.x) + cyc_square(y - AT.y) + cyc_square(z - AT.z);
		double q2 = cyc_square(x - NOT_AT.x) + cyc_square(y - NOT_AT.y) + cyc_square(z - NOT_AT.z);
		v->data[i] = is_mask ? (x * x + y * y + z * z < 169 ? 1 : 0)
		                     : (float)(sqrt((double)S) *
		                               (exp(-0.5 * r2 / (SIGMA * SIGMA)) - exp(-0.5 * q2 / (SIGMA * SIGMA))));
	}
	ASSERT_OK(cyc_mrc_write(temp_path(name), v, 2, NULL));
	cyc_volume_destroy(&v);
}

static void slices_are_transforms_of_projections(void **state)
{
	(void)state;
	static const char *const backends[] = { "cpu", "strict" };
	static const double complex i_unit = (double complex)I;
	for (int masked = 0; masked < 2; masked++)
		for (int k = 0; k < 2; k++) {
			cyc_backend *be = NULL;
			cyc_reference *r = NULL;
			cyc_buffer *ft = NULL;
			cyc_cfloat host[2 * S * (S / 2 + 1)];
			const cyc_mat3 R[2] = { cyc_mat3_identity(), cyc_euler_to_matrix(0.7, 1.9, -2.5) };
			ASSERT_OK(cyc_backend_open(&be, backends[k], 2));
			ASSERT_OK(
				cyc_reference_load(&r, be,
			                       &(cyc_reference_files){
									   { "map.mrc", "map.mrc" }, masked ? "mask.mrc" : NULL, NULL, temp_dir },
			                       0, S, PIXEL_A));
			assert_int_equal(r->box_px, S);
			assert_true(r->radius >= S / 2 - 3 && r->radius < S / 2 && r->n_grid >= 2 * BOX && r->fsc_is_own);
			assert_true(masked ? r->map_diameter_px > 24 && r->map_diameter_px < 27
			                   : r->map_diameter_px == BOX);
			ASSERT_OK(cyc_buffer_create(&ft, be, 2 * cyc_half_count2(S), sizeof *host));
			ASSERT_OK(cyc_op_slice_extract(ft, be,
			                               &(cyc_slice_extract_in){ .reference = r->half[1],
			                                                        .m = r->n_grid,
			                                                        .edge = r->edge,
			                                                        .M = R,
			                                                        .radius = r->radius,
			                                                        .n = 2,
			                                                        .s = S }));
			ASSERT_OK(cyc_buffer_download(host, ft, sizeof host));
			double peak = pow(2 * CYC_PI, 1.5) * SIGMA * SIGMA * SIGMA / S;
			for (int i = 0; i < 2; i++) {
				double cross = 0, power = 0, all = 0;
				cyc_vec3 at = cyc_mat3_apply(R[i], AT), not_at = cyc_mat3_apply(R[i], NOT_AT);
				for (int32_t y = 0; y < S; y++)
					for (int32_t x = 0; x <= S / 2; x++) {
						int32_t ky = y < S / 2 ? y : y - S, k2 = x * x + ky * ky;
						double complex got = (double complex)host[(i * S + y) * (S / 2 + 1) + x], wanted = 0;
						if (k2 < 4) continue; /* shell 0 has no weight, which reaches into shell 1 */
						if (k2 <= r->radius * r->radius)
							wanted = peak * exp(-2 * cyc_square(CYC_PI * SIGMA / S) * k2) *
							         (cexp(-2 * i_unit * CYC_PI * (x * at.x + ky * at.y) / S) -
							          cexp(-2 * i_unit * CYC_PI * (x * not_at.x + ky * not_at.y) / S));
						cross += creal(got * conj(wanted));
						power += creal(wanted * conj(wanted));
						all += creal(got * conj(got));
					}
				/* Single values are off by some hundredths, up on the grid and down between: that is
				 * trilinear look-up. */
				if (!(fabs(cross / power - 1) < 0.02) || !(cross / sqrt(power * all) > 0.999))
					fail_msg("slice %d has %.4f of its scale, correlation %.5f", i, cross / power,
					         cross / sqrt(power * all));
			}
			cyc_buffer_destroy(&ft);
			cyc_reference_destroy(&r);
			assert_null(r);
			cyc_backend_close(&be);
		}
}

static void resolution_can_be_limited(void **state)
{
	(void)state;
	cyc_backend *be = NULL;
	cyc_reference *r = NULL;
	ASSERT_OK(cyc_backend_open(&be, "cpu", 1));
	ASSERT_OK(cyc_reference_load(
		&r, be, &(cyc_reference_files){ { "map.mrc", "map.mrc" }, "mask.mrc", NULL, temp_dir }, 8, S,
		PIXEL_A));
	assert_int_equal(r->radius, (int)(S * PIXEL_A / 8));
	for (int i = 0; i <= S / 2; i++)
		assert_true(i > 0 && i <= r->radius ? r->wiener[i] > 0.99 : r->wiener[i] == 0);
	for (int i = 0; i <= S / 2; i++) assert_true(r->noise[i] == 0); /* equal halves have none */
	cyc_reference_destroy(&r);
	cyc_backend_close(&be);
}

/* The cube of a transform, in the middle of the whole one. */
static void widen(cyc_cfloat *to, const cyc_cfloat *from, int32_t m, int32_t edge)
{
	for (int32_t z = -edge / 2; z < edge / 2; z++)
		for (int32_t y = -edge / 2; y < edge / 2; y++) {
			size_t row = (size_t)((z + edge) % edge * edge + (y + edge) % edge),
				   to_row = (size_t)((z + m) % m * m + (y + m) % m);
			memcpy(to + to_row * (size_t)(m / 2 + 2), from + row * (size_t)(edge / 2 + 2),
			       (size_t)(edge / 2 + 1) * sizeof *to);
		}
}

/* Held is what has signal; slices of magnified images look beyond it, where there is none. */
static void what_has_no_signal_is_not_held(void **state)
{
	(void)state;
	static const char *const backends[] = { "cpu", "strict" };
	static const double SCALES[] = { 1, 1.2, 1.4, 3 };
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < 4; i++) {
			enum { PLANE = S * (S / 2 + 1) };
			cyc_backend *be = NULL;
			cyc_reference *r = NULL;
			cyc_buffer *ft = NULL, *whole = NULL;
			cyc_cfloat got[PLANE], wanted[PLANE], *held, *all;
			double power = 0;
			cyc_mat3 M = cyc_euler_to_matrix(0.4, 1.1, -2);
			for (int a = 0; a < 9; a++) M.m[a / 3][a % 3] *= SCALES[i];
			ASSERT_OK(cyc_backend_open(&be, backends[k], 1));
			ASSERT_OK(cyc_reference_load(
				&r, be, &(cyc_reference_files){ { "map.mrc", "map.mrc" }, "mask.mrc", NULL, temp_dir }, 8, S,
				PIXEL_A));
			int32_t m = r->n_grid, edge = r->edge;
			assert_true(edge < 0.7 * m && edge % 2 == 0 && edge > 2 * r->radius * m / S);
			ASSERT_OK(cyc_buffer_create(&whole, be, cyc_reference_count(m), sizeof *held));
			ASSERT_OK(cyc_buffer_create(&ft, be, PLANE, sizeof *got));
			ASSERT_OK(cyc_buffer_map(&held, r->half[0]));
			ASSERT_OK(cyc_buffer_map(&all, whole));
			widen(all, held, m, edge);
			ASSERT_OK(cyc_buffer_unmap(whole));
			ASSERT_OK(cyc_buffer_unmap(r->half[0]));
			cyc_slice_extract_in in = {
				.reference = r->half[0], .m = m, .edge = edge, .M = &M, .radius = r->radius, .n = 1, .s = S
			};
			ASSERT_OK(cyc_op_slice_extract(ft, be, &in));
			ASSERT_OK(cyc_buffer_download(got, ft, sizeof got));
			/* Three times as far is outside of the whole transform, too. */
			if (SCALES[i] < 2) {
				in.reference = whole;
				in.edge = m;
				ASSERT_OK(cyc_op_slice_extract(ft, be, &in));
				ASSERT_OK(cyc_buffer_download(wanted, ft, sizeof wanted));
				for (int a = 0; a < PLANE; a++) {
					assert_true(got[a] == wanted[a]);
					power += (double)(crealf(got[a]) * crealf(got[a]));
				}
				assert_true(power > 0);
			}
			for (int a = 0; a < PLANE; a++) assert_true(isfinite(crealf(got[a])) && isfinite(cimagf(got[a])));
			in.edge = m + 2;
			ASSERT_FAILS(cyc_op_slice_extract(ft, be, &in), CYC_E_INTERNAL,
			             "samples of a reference are held");
			cyc_buffer_destroy(&ft);
			cyc_buffer_destroy(&whole);
			cyc_reference_destroy(&r);
			cyc_backend_close(&be);
		}
}

/* What plans of memory go by is what is loaded. */
static void memory_is_planned_for_the_resolution(void **state)
{
	(void)state;
	cyc_backend *be = NULL;
	ASSERT_OK(cyc_backend_open(&be, "cpu", 1));
	for (int k = 0; k < 3; k++) {
		static const double CUTOFF_A[] = { 0, 8, 15 };
		cyc_reference *r = NULL;
		double invA;
		const cyc_reference_files files = { { "map.mrc", "map.mrc" }, k ? "mask.mrc" : NULL, NULL, temp_dir };
		ASSERT_OK(cyc_reference_frequency(&invA, &files, CUTOFF_A[k], 1));
		ASSERT_OK(cyc_reference_load(&r, be, &files, CUTOFF_A[k], S, PIXEL_A));
		int32_t radius = cyc_reference_radius(invA, S, PIXEL_A);
		assert_in_range(radius, r->radius, r->radius + 1);
		const cyc_reference_size size = { BOX, S, radius }, unknown = { BOX, S, 0 };
		double held = 2.0 * (double)cyc_reference_count(r->edge) * sizeof(cyc_cfloat);
		assert_true(cyc_reference_bytes(&size) >= held && cyc_reference_bytes(&size) < 1.6 * held);
		assert_true(cyc_reference_bytes(&unknown) >= cyc_reference_bytes(&size));
		assert_true(cyc_reference_scratch_bytes(&unknown, 1) >= cyc_reference_scratch_bytes(&size, 1));
		cyc_reference_destroy(&r);
	}
	cyc_backend_close(&be);
}

/* A reference reaches to the last shell before its FSC first falls below 0.143, whatever comes behind; one
 * that agrees in less than three shells is refused. */
static void references_end_where_half_maps_stop_agreeing(void **state)
{
	(void)state;
	enum { N_SHELLS = S / 2 + 1 };
	static const double THRESHOLD = 0.143, BEHIND = 0.9;
	cyc_backend *be = NULL;
	ASSERT_OK(cyc_backend_open(&be, "cpu", 1));
	for (int last = 2; last < S / 2 - 2; last++)
		for (int k = 0; k < 2; k++) {
			cyc_reference *r = NULL;
			cyc_volume *half[2] = { NULL, NULL };
			double fsc[N_SHELLS];
			for (int i = 0; i < N_SHELLS; i++)
				fsc[i] = i < last        ? 1
				         : i == last     ? THRESHOLD + 0.01
				         : i == last + 1 ? THRESHOLD - 0.01
				                         : k * BEHIND;
			for (int h = 0; h < 2; h++) ASSERT_OK(cyc_volume_create(&half[h], S, S, S, PIXEL_A));
			const cyc_reference_spec spec = { .fsc = fsc,
				                              .n_fsc = N_SHELLS,
				                              .fsc_box = S,
				                              .box_px = S,
				                              .pixel_size_A = PIXEL_A,
				                              .grey_scale = 1,
				                              .no_grids = true };
			if (last < 3) {
				ASSERT_FAILS(cyc_reference_from_maps(&r, be, half, &spec), CYC_E_DATA, "0.143",
				             "too low a resolution");
			} else {
				ASSERT_OK(cyc_reference_from_maps(&r, be, half, &spec));
				assert_int_equal(r->radius, last);
				assert_true(fabs(r->wiener[last] - fsc[last]) < 1e-12);
				assert_true(r->wiener[last + 1] == 0);
			}
			for (int h = 0; h < 2; h++) cyc_volume_destroy(&half[h]);
			cyc_reference_destroy(&r);
		}
	cyc_backend_close(&be);
}

static void what_does_not_fit_is_refused_with_a_remedy(void **state)
{
	(void)state;
	cyc_backend *be = NULL;
	cyc_reference *r = NULL;
	ASSERT_OK(cyc_backend_open(&be, "cpu", 1));
	map_write("small.mrc", 24, PIXEL_A, false);
	map_write("small_mask.mrc", 24, PIXEL_A, true);
	map_write("coarse.mrc", BOX, 4, false);
#define REFUSED(a, b, mask, box, ...)                                                                        \
	ASSERT_FAILS(cyc_reference_load(&r, be, &(cyc_reference_files){ { a, b }, mask, NULL, temp_dir }, 0,     \
	                                box, PIXEL_A),                                                           \
	             CYC_E_SHAPE, __VA_ARGS__)
	REFUSED("coarse.mrc", "coarse.mrc", NULL, S, "coarse.mrc", "4 Å", "2 Å");
	assert_non_null(strstr(cyc_error_get()->hint, "cyclotomo reconstruct --bin 1 --b 48"));
	REFUSED("map.mrc", "map.mrc", NULL, 24, "map.mrc", "32 px", "24 px");
	assert_non_null(strstr(cyc_error_get()->hint, "--b 32"));
	REFUSED("map.mrc", "small.mrc", NULL, S, "map.mrc 32 px", "small.mrc 24 px");
	REFUSED("map.mrc", "map.mrc", "small_mask.mrc", S, "small_mask.mrc", "24 px", "32 px");
	assert_non_null(strstr(cyc_error_get()->hint, "cyclotomo mask --i map.mrc"));
	ASSERT_FAILS(cyc_reference_load(&r, be,
	                                &(cyc_reference_files){ { "map.mrc", "none.mrc" }, NULL, NULL, temp_dir },
	                                0, S, PIXEL_A),
	             CYC_E_IO, "half map 2", "none.mrc");
	ASSERT_FAILS(cyc_reference_load(
					 &r, be, &(cyc_reference_files){ { "map.mrc", "map.mrc" }, "map.mrc", NULL, temp_dir }, 0,
					 S, PIXEL_A),
	             CYC_E_DATA, "masks must be between 0 and 1");
	ASSERT_FAILS(cyc_reference_load(
					 &r, be, &(cyc_reference_files){ { "map.mrc", "map.mrc" }, "mask.mrc", NULL, temp_dir },
					 90, S, PIXEL_A),
	             CYC_E_DATA, "too low a resolution");
	assert_null(r);
	cyc_backend_close(&be);
}

static int set_up(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	map_write("map.mrc", BOX, PIXEL_A, false);
	map_write("mask.mrc", BOX, PIXEL_A, true);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_are_transforms_of_projections),
		cmocka_unit_test(resolution_can_be_limited),
		cmocka_unit_test(what_has_no_signal_is_not_held),
		cmocka_unit_test(memory_is_planned_for_the_resolution),
		cmocka_unit_test(references_end_where_half_maps_stop_agreeing),
		cmocka_unit_test(what_does_not_fit_is_refused_with_a_remedy),
	};
	return cmocka_run_group_tests(tests, set_up, temp_dir_remove);
}

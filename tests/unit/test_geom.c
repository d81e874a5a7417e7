/* Worked examples of docs/conventions.md and group laws. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <string.h>

#include <cmocka.h>

#include "cyclotomo/geom.h"

static double difference(cyc_mat3 a, cyc_mat3 b)
{
	double d = 0;
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++) d = fmax(d, fabs(a.m[i][j] - b.m[i][j]));
	return d;
}

static void euler_example(void **state)
{
	(void)state;
	const cyc_mat3 expected = { { { 0.043412, 0.909616, -0.413176 },
		                          { -0.829598, 0.263258, 0.492404 },
		                          { 0.556670, 0.321394, 0.766044 } } };
	cyc_mat3 e = cyc_euler_to_matrix(cyc_deg_to_rad(30), cyc_deg_to_rad(40), cyc_deg_to_rad(50));
	assert_true(difference(e, expected) < 1e-6);
}

static void euler_round_trip(void **state)
{
	(void)state;
	for (int i = 0; i < 500; i++) {
		cyc_rng r = cyc_rng_make(1, 0, (uint64_t)i);
		double tilt = i % 10 == 0 ? 0 : i % 10 == 1 ? CYC_PI : CYC_PI * cyc_rng_uniform(&r), rot, t, psi;
		cyc_mat3 e = cyc_euler_to_matrix(6.28 * cyc_rng_uniform(&r), tilt, 6.28 * cyc_rng_uniform(&r));
		cyc_euler_from_matrix(&rot, &t, &psi, e);
		assert_true(difference(cyc_euler_to_matrix(rot, t, psi), e) < 1e-12);
		if (i % 10 < 2) assert_true(rot == 0);
	}
}

static void tilt_round_trip(void **state)
{
	(void)state;
	for (int i = 0; i < 500; i++) {
		cyc_rng r = cyc_rng_make(2, 0, (uint64_t)i);
		double y = i % 20 == 0   ? CYC_PI / 2
		           : i % 20 == 1 ? -CYC_PI / 2
		                         : CYC_PI * (cyc_rng_uniform(&r) - 0.5),
			   a, b, c;
		cyc_mat3 m = cyc_tilt_to_matrix(0.3 * cyc_rng_normal(&r), y, 6.28 * cyc_rng_uniform(&r));
		cyc_tilt_from_matrix(&a, &b, &c, m);
		assert_true(difference(cyc_tilt_to_matrix(a, b, c), m) < 1e-9);
	}
}

static void groups(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		int n;
	} known[] = { { "C1", 1 }, { "c7", 7 },  { "D1", 2 },  { "D7", 14 }, { "T", 12 },  { "o", 24 },
		          { "I", 60 }, { "I1", 60 }, { "I2", 60 }, { "I3", 60 }, { "I4", 60 }, { "C100", 100 } };
	for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
		cyc_symmetry *s = NULL;
		assert_int_equal(cyc_symmetry_create(&s, known[k].name), CYC_OK);
		assert_int_equal(cyc_symmetry_order(known[k].name), s->n);
		assert_int_equal(s->n, known[k].n);
		assert_true(difference(s->ops[0], cyc_mat3_identity()) == 0);
		for (int i = 0; i < s->n; i++) {
			assert_true(cyc_mat3_orthogonality_error(s->ops[i]) < 1e-9);
			assert_true(fabs(cyc_mat3_det(s->ops[i]) - 1) < 1e-9);
			for (int j = 0; j < s->n; j += 7) { /* closed */
				cyc_mat3 c = cyc_mat3_mul(s->ops[i], s->ops[j]);
				double best = 9;
				for (int l = 0; l < s->n; l++) best = fmin(best, difference(c, s->ops[l]));
				assert_true(best < 1e-9);
			}
		}
		cyc_symmetry_destroy(&s);
	}
}

static bool has_axis(const cyc_symmetry *s, cyc_vec3 v, int fold)
{
	for (int i = 0; i < s->n; i++)
		if (difference(s->ops[i], cyc_rot_axis(v, 2 * CYC_PI / fold)) < 1e-5) return true;
	return false;
}

static void icosahedral_settings(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		cyc_vec3 v;
		int fold;
	} axes[] = { { "I1", { 1, 0, 0 }, 2 },
		         { "I1", { 0.850651, 0, -0.525731 }, 5 },
		         { "I1", { 0.934172, 0.356822, 0 }, 3 },
		         { "I2", { 0, 0, 1 }, 2 },
		         { "I2", { 0.525731, 0, 0.850651 }, 5 },
		         { "I2", { 0, 0.356822, 0.934172 }, 3 },
		         { "I3", { -0.525731, 0, 0.850651 }, 2 },
		         { "I3", { 0, 0, 1 }, 5 },
		         { "I3", { -0.491123, 0.356822, 0.794654 }, 3 },
		         { "I4", { 0.525731, 0, 0.850651 }, 2 },
		         { "I4", { 0.894427, 0, 0.447214 }, 5 },
		         { "I4", { 0.491123, 0.356822, 0.794654 }, 3 },
		         { "T", { 0, 0.816496, 0.577350 }, 2 },
		         { "O", { 0, 0, 1 }, 4 } };
	for (size_t k = 0; k < sizeof axes / sizeof *axes; k++) {
		cyc_symmetry *s = NULL;
		assert_int_equal(cyc_symmetry_create(&s, axes[k].name), CYC_OK);
		if (!has_axis(s, axes[k].v, axes[k].fold))
			fail_msg("%s lacks its %d-fold axis %zu", axes[k].name, axes[k].fold, k);
		cyc_symmetry_destroy(&s);
	}
}

static void unknown_group(void **state)
{
	(void)state;
	static const char *const names[] = { "", "C", "C0", "C101", "X", "I5", "O2", "D-3", "C3x", "T1" };
	for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
		cyc_symmetry *s = NULL;
		assert_int_equal(cyc_symmetry_create(&s, names[k]), CYC_E_USAGE);
		assert_int_equal(cyc_symmetry_order(names[k]), 1);
		assert_null(s);
		assert_non_null(strstr(cyc_error_get()->hint, "I4"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(euler_example),        cmocka_unit_test(euler_round_trip),
		cmocka_unit_test(tilt_round_trip),      cmocka_unit_test(groups),
		cmocka_unit_test(icosahedral_settings), cmocka_unit_test(unknown_group)
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

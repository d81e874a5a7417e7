/* The table of labels, and values by label. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "project/labels.h"

static void test_every_label_is_found_once(void **state)
{
	(void)state;
	size_t n;
	const cyc_label_info *table = cyc_label_table(&n);
	assert_true(n > 200);
	for (size_t i = 0; i < n; i++) {
		assert_ptr_equal(cyc_label_find(table[i].name), &table[i]);
		assert_true(table[i].tables != 0);
		assert_int_equal(table[i].read_from & ~table[i].tables, 0);
		if (table[i].range->why) assert_true(table[i].range->low <= table[i].range->usual_low);
		if (table[i].range->why) assert_true(table[i].range->usual_high <= table[i].range->high);
	}
	assert_null(cyc_label_find("rlnTomoNames"));
	assert_null(cyc_label_find(""));
}

static void test_values_are_written_as_the_label_has_them(void **state)
{
	(void)state;
	cyc_star *s = NULL;
	cyc_star_block *b;
	int64_t row;
	const double angle[3] = { CYC_PI / 2, CYC_PI, -CYC_PI / 4 };
	double back[3];
	assert_int_equal(cyc_star_create(&s), CYC_OK);
	assert_int_equal(cyc_star_add_block(&b, s, "particles", CYC_STAR_TABLE), CYC_OK);
	assert_int_equal(cyc_star_add_row(&row, b), CYC_OK);
	assert_int_equal(cyc_label_put_three(b, row, CYC_LABELS_ANGLE, angle), CYC_OK);
	assert_int_equal(cyc_label_put(b, row, CYC_RLN_RANDOM_SUBSET, 2), CYC_OK);
	assert_int_equal(cyc_label_put(b, row, CYC_RLN_ORIGIN_X_ANGST, 2), CYC_OK);
	assert_int_equal(cyc_label_put(b, row, CYC_OWN_SCALE_ERROR, (double)NAN), CYC_OK);
	assert_int_equal(cyc_label_put_text(b, row, CYC_RLN_TOMO_NAME, "TS_01"), CYC_OK);
	assert_string_equal(cyc_star_text_of(b, row, "rlnAngleRot"), "90.000000");
	assert_string_equal(cyc_star_text_of(b, row, "rlnAnglePsi"), "-45.00000");
	assert_string_equal(cyc_star_text_of(b, row, "rlnRandomSubset"), "2");
	assert_string_equal(cyc_star_text_of(b, row, "rlnOriginXAngst"), "2.000000");
	assert_string_equal(cyc_star_text_of(b, row, "cycScaleError"), "-1.00000");
	assert_string_equal(cyc_star_text_of(b, row, "rlnTomoName"), "TS_01");
	assert_int_equal(cyc_label_get_three(back, b, row, CYC_LABELS_ANGLE), CYC_OK);
	for (int k = 0; k < 3; k++) assert_true(fabs(back[k] - angle[k]) < 1e-7);
	assert_true(cyc_label_has(b, CYC_LABELS_ANGLE, 3));
	assert_false(cyc_label_has(b, CYC_LABELS_ORIGIN, 3));
	/* A row that nothing is put into: what is not known is no promise. */
	assert_int_equal(cyc_star_add_row(&row, b), CYC_OK);
	assert_int_equal(cyc_label_put(b, row, CYC_OWN_SCALE_RATIO, 1), CYC_OK);
	assert_string_equal(cyc_star_text_of(b, 0, "cycScaleRatio"), "-1");
	cyc_star_destroy(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_label_is_found_once),
		cmocka_unit_test(test_values_are_written_as_the_label_has_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

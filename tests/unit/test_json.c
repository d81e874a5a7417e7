#include "cyclotomo/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_document(void **state)
{
	(void)state;
	const double values[] = { 1.0, 0.1, CYC_NAN, 1e300 };
	cyc_json j = { 0 };
	char *text = NULL;
	cyc_json_begin_object(&j, NULL);
	cyc_json_text(&j, "name", "TS_01");
	cyc_json_text(&j, "none", NULL);
	cyc_json_begin_array(&j, "empty");
	cyc_json_end_array(&j);
	cyc_json_begin_array(&j, "steps");
	cyc_json_begin_object(&j, NULL);
	cyc_json_int(&j, "n", -3);
	cyc_json_end_object(&j);
	cyc_json_bool(&j, NULL, false);
	cyc_json_end_array(&j);
	cyc_json_doubles(&j, "values", values, 4);
	cyc_json_end_object(&j);
	assert_int_equal(cyc_json_finish(&text, &j), CYC_OK);
	assert_string_equal(text, "{\n  \"name\": \"TS_01\",\n  \"none\": null,\n  \"empty\": [],\n  \"steps\": "
	                          "[\n    {\n      \"n\": -3\n    },\n"
	                          "    false\n  ],\n  \"values\": [1, 0.1, null, 1e+300]\n}\n");
	cyc_free(text);
}

static void test_text_is_escaped(void **state)
{
	(void)state;
	cyc_json j = { 0 };
	char *text = NULL;
	cyc_json_text(&j, NULL, "a\"\\\n\t\x01\x7f Å \xff\xc3");
	assert_int_equal(cyc_json_finish(&text, &j), CYC_OK);
	assert_string_equal(text, "\"a\\\"\\\\\\n\\t\\u0001\\u007f Å \xef\xbf\xbd\xef\xbf\xbd\"\n");
	cyc_free(text);
}

static void test_numbers_read_back(void **state)
{
	(void)state;
	cyc_rng r = cyc_rng_make(7, 1, 1);
	for (int i = 0; i < 2000; i++) {
		double v = cyc_rng_normal(&r) * pow(10.0, 40.0 * cyc_rng_uniform(&r) - 20.0);
		cyc_json j = { 0 };
		char *text = NULL;
		cyc_json_double(&j, NULL, v);
		assert_int_equal(cyc_json_finish(&text, &j), CYC_OK);
		if (strtod(text, NULL) != v) fail_msg("%.17g became %s", v, text);
		cyc_free(text);
	}
}

static void test_out_of_memory(void **state)
{
	(void)state;
	bool was_ok = false;
	for (int64_t at = 1; !was_ok; at++) {
		cyc_json j = { 0 };
		char *text = NULL;
		cyc_alloc_fail_at(at);
		cyc_json_begin_array(&j, NULL);
		for (int i = 0; i < 500; i++) cyc_json_text(&j, NULL, "twenty characters...");
		cyc_json_end_array(&j);
		cyc_status st = cyc_json_finish(&text, &j);
		cyc_alloc_fail_at(0);
		was_ok = st == CYC_OK;
		if (!was_ok) {
			assert_int_equal(st, CYC_E_NOMEM);
			assert_null(text);
		}
		cyc_free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document),
		cmocka_unit_test(test_text_is_escaped),
		cmocka_unit_test(test_numbers_read_back),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

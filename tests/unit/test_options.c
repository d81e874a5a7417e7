#include "cli/command.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef enum { FRUIT_APPLE, FRUIT_PEAR, FRUIT_PLUM } fruit;
typedef struct {
	cyc_common_options common;
	const char *file, *first, *second;
	bool flag, circle, has_threshold;
	int32_t box;
	int64_t seed;
	double length_A, threshold, angle_rad;
	fruit fruit;
} args;

static const cyc_option OPTIONS[] = {
	{ .name = "Input", .type = CYC_OPT_HEADING },
	{ .name = "FIRST", .type = CYC_OPT_ARG, .offset = offsetof(args, first), .help = "One map." },
	{ .name = "SECOND", .type = CYC_OPT_ARG, .offset = offsetof(args, second), .help = "Another map." },
	{ .name = "particles",
	  .alias = "--p",
	  .type = CYC_OPT_TEXT,
	  .offset = offsetof(args, file),
	  .unit = "<file>",
	  .help = "Particles." },
	{ .name = "flag", .type = CYC_OPT_FLAG, .offset = offsetof(args, flag), .help = "A flag." },
	{ .name = "no-circle",
	  .alias = "--no_circle_crop,--nc",
	  .type = CYC_OPT_CLEAR,
	  .offset = offsetof(args, circle),
	  .help = "Off." },
	{ .name = "box",
	  .alias = "--b",
	  .type = CYC_OPT_INT,
	  .offset = offsetof(args, box),
	  .unit = "<px>",
	  .help = "Box.",
	  .range = "[2," },
	{ .name = "seed", .type = CYC_OPT_INT64, .offset = offsetof(args, seed), .unit = "<n>", .help = "Seed." },
	{ .name = "length",
	  .type = CYC_OPT_DOUBLE,
	  .offset = offsetof(args, length_A),
	  .unit = "<Å>",
	  .help = "Length." },
	{ .name = "threshold",
	  .type = CYC_OPT_DOUBLE,
	  .offset = offsetof(args, threshold),
	  .is_set = offsetof(args, has_threshold),
	  .help = "Threshold.",
	  .no_default = "automatic" },
	{ .name = "twist",
	  .type = CYC_OPT_ANGLE,
	  .offset = offsetof(args, angle_rad),
	  .unit = "<degrees>",
	  .help = "Twist." },
	{ .name = "fruit",
	  .type = CYC_OPT_CHOICE,
	  .offset = offsetof(args, fruit),
	  .choices = "apple,pear,plum",
	  .help = "Fruit." },
	CYC_COMMON_OPTIONS(args, common),
};
static const cyc_option_table TABLE = CYC_OPTION_TABLE("test", OPTIONS);
static cyc_option_list g_list;
#define ROWS g_list.rows, g_list.n

static int setup(void **state)
{
	(void)state;
	return cyc_option_list_make(&g_list, &TABLE) == CYC_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	cyc_option_list_deinit(&g_list);
	return 0;
}

/* Parse a command line without positional words (two are added). */
static cyc_status parse(args *a, int n, ...)
{
	char *argv[24] = { (char *)"test", (char *)"a.mrc", (char *)"b.mrc" };
	cyc_help help;
	va_list ap;
	va_start(ap, n);
	for (int i = 0; i < n; i++) argv[3 + i] = va_arg(ap, char *);
	va_end(ap);
	*a = (args){ .circle = true, .box = 64, .length_A = 30.0, .fruit = FRUIT_PEAR };
	return cyc_options_parse(a, &help, ROWS, 3 + n, argv, "test");
}

static void test_values(void **state)
{
	(void)state;
	args a;
	assert_int_equal(parse(&a, 0), CYC_OK);
	assert_string_equal(a.first, "a.mrc");
	assert_string_equal(a.second, "b.mrc");
	assert_int_equal(a.box, 64);
	assert_false(a.has_threshold);
	assert_int_equal(parse(&a, 10, "--p", "x.star", "--flag", "--no_circle_crop", "--b=128", "--seed",
	                       "12345678901", "--length", "30nm", "--fruit=plum"),
	                 CYC_OK);
	assert_string_equal(a.file, "x.star");
	assert_true(a.flag);
	assert_false(a.circle);
	assert_int_equal(a.box, 128);
	assert_true(a.seed == 12345678901);
	assert_true(a.length_A == 300.0);
	assert_int_equal(a.fruit, FRUIT_PLUM);
	assert_int_equal(parse(&a, 6, "--threshold", "-0.5", "--twist", "180", "--length", "12.5A"), CYC_OK);
	assert_true(a.threshold == -0.5 && a.has_threshold);
	assert_true(fabs(a.angle_rad - CYC_PI) < 1e-15);
	assert_true(a.length_A == 12.5);
}

static void assert_refused(cyc_status st, const char *part_of_message, const char *part_of_hint)
{
	assert_int_equal(st, CYC_E_USAGE);
	const cyc_error *e = cyc_error_get();
	if (!strstr(e->message, part_of_message)) fail_msg("'%s' is not in '%s'", part_of_message, e->message);
	if (!strstr(e->hint, part_of_hint)) fail_msg("'%s' is not in the hint '%s'", part_of_hint, e->hint);
}

static void test_refusals(void **state)
{
	(void)state;
	args a;
	assert_refused(parse(&a, 2, "--particels", "x"), "unknown option '--particels'", "--particles");
	assert_refused(parse(&a, 1, "--no-circle_crop"), "unknown option", "--no_circle_crop");
	assert_refused(parse(&a, 1, "--thresh"), "unknown option", "--threshold");
	assert_refused(parse(&a, 1, "--zzzzzzzzzz=3"), "unknown option '--zzzzzzzzzz'", "--help");
	assert_refused(parse(&a, 2, "--b", "12.5"), "--b must be a whole number <px>, got '12.5'", "");
	assert_refused(parse(&a, 2, "--b", "0"), "at least 2", "");
	assert_refused(parse(&a, 2, "--b", "99999999999"), "out of range", "");
	assert_refused(parse(&a, 2, "--length", "30 parsec"), "--length must be a number <Å>, got '30 parsec'",
	               "");
	assert_refused(parse(&a, 2, "--length", "nan"), "must be a number", "");
	assert_refused(parse(&a, 2, "--length", ""), "must be a number", "");
	assert_refused(parse(&a, 2, "--twist", "3A"), "must be a number <degrees>", "");
	assert_refused(parse(&a, 2, "--fruit", "app"), "one of apple,pear,plum", "");
	assert_refused(parse(&a, 2, "--b=64", "--box=64"), "given twice", "");
	assert_refused(parse(&a, 1, "--flag=yes"), "takes no value", "");
	assert_refused(parse(&a, 1, "--p"), "--p needs a value", "");
	assert_refused(parse(&a, 2, "--p", "--flag"), "--p needs a value", "");
	assert_refused(parse(&a, 2, "--p", ""), "empty", "");
	assert_refused(parse(&a, 1, "third.mrc"), "unexpected word 'third.mrc'", "");
	char *argv[] = { (char *)"test", (char *)"only.mrc" };
	cyc_help help;
	assert_refused(cyc_options_parse(&a, &help, ROWS, 2, argv, "test"), "SECOND is missing", "");
}

static void test_words_with_dashes(void **state)
{
	(void)state;
	args a = { 0 };
	cyc_help help = CYC_HELP_PAGE;
	char *argv[] = { (char *)"test", (char *)"--", (char *)"--help", (char *)"--b" };
	assert_int_equal(cyc_options_parse(&a, &help, ROWS, 4, argv, "test"), CYC_OK);
	assert_int_equal(help, CYC_HELP_NONE);
	assert_string_equal(a.first, "--help");
	assert_string_equal(a.second, "--b");
}

static void test_help_shows_live_defaults(void **state)
{
	(void)state;
	args a = { .box = 4242, .length_A = 0.125, .angle_rad = CYC_PI / 2, .fruit = FRUIT_PLUM, .circle = true };
	const cyc_usage usage = { "test", "a test", "Details." };
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	assert_non_null(f);
	cyc_options_print_help(f, &a, ROWS, &usage);
	fclose(f);
	static const char *const PARTS[] = { "usage: cyclotomo test FIRST SECOND [options]",
		                                 "[default: 4242 px]",
		                                 "[default: 0.125 Å]",
		                                 "[default: 90 degrees]",
		                                 "<apple|pear|plum>",
		                                 "[default: plum]",
		                                 "[default: automatic]",
		                                 "--no_circle_crop, --nc",
		                                 "\nInput\n" };
	for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) {
		if (!strstr(text, PARTS[i])) fail_msg("'%s' is not in the help:\n%s", PARTS[i], text);
	}
	free(text);
}

static void test_man_page(void **state)
{
	(void)state;
	args a = { .box = 4242 };
	const cyc_usage usage = { "test", "a test", ".details\n'with\\all" };
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	assert_non_null(f);
	cyc_options_print_man(f, &a, ROWS, &usage);
	fclose(f);
	static const char *const PARTS[] = { ".TH CYCLOTOMO-test 1 ",
		                                 "\ncyclotomo\\-test \\- a test\n",
		                                 "cyclotomo test FIRST SECOND [options]",
		                                 ".SH Input\n",
		                                 ".B \\-\\-box <px>  (also \\-\\-b)\nBox.\n[default: 4242 px]\n",
		                                 "\n\\&.details\n\\&'with\\eall\n" };
	for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) {
		if (!strstr(text, PARTS[i])) fail_msg("'%s' is not in the page:\n%s", PARTS[i], text);
	}
	free(text);
}

static void test_json_of_options(void **state)
{
	(void)state;
	args a;
	cyc_json j = { 0 };
	char *text = NULL;
	assert_int_equal(parse(&a, 5, "--no-circle", "--twist", "30", "--p", "a\"b\\c"), CYC_OK);
	cyc_json_begin_object(&j, NULL);
	cyc_options_json(&j, "options", &a, ROWS);
	cyc_json_end_object(&j);
	assert_int_equal(cyc_json_finish(&text, &j), CYC_OK);
	static const char *const PARTS[] = {
		"\"no-circle\": true", "\"twist\": 30",       "\"particles\": \"a\\\"b\\\\c\"",
		"\"box\": 64",         "\"fruit\": \"pear\"", "\"FIRST\": \"a.mrc\"",
		"\"theme\": null"
	};
	for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) {
		if (!strstr(text, PARTS[i])) fail_msg("'%s' is not in %s", PARTS[i], text);
	}
	cyc_free(text);
}

static void test_nearest(void **state)
{
	(void)state;
	static const char *const NAMES[] = { "reconstruct", "postprocess", "mask", "ctfrefine" };
	assert_string_equal(cyc_nearest("recnostruct", NAMES, 4), "reconstruct");
	assert_string_equal(cyc_nearest("post", NAMES, 4), "postprocess");
	assert_string_equal(cyc_nearest("msak", NAMES, 4), "mask");
	assert_string_equal(cyc_nearest("refine", NAMES, 4), "ctfrefine");
	assert_null(cyc_nearest("zebra", NAMES, 4));
	assert_null(cyc_nearest("", NAMES, 4));
}

static void test_out_of_memory(void **state)
{
	(void)state;
	args a;
	for (int64_t i = 1;; i++) {
		cyc_alloc_fail_at(i);
		cyc_status st = parse(&a, 2, "--particels", "x");
		bool is_done = st == CYC_E_USAGE;
		if (!is_done) assert_int_equal(st, CYC_E_NOMEM);
		cyc_alloc_fail_at(0);
		if (is_done) break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_words_with_dashes),
		cmocka_unit_test(test_help_shows_live_defaults),
		cmocka_unit_test(test_man_page),
		cmocka_unit_test(test_json_of_options),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

/* STAR files as syntax: what is accepted, what is refused, what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cyclotomo/star.h"
#include "io/star_internal.h"
#include "temp_dir.h"

static cyc_star *parse(const char *text)
{
	cyc_star *s = NULL;
	ASSERT_OK(cyc_star_parse(&s, text, strlen(text), "x.star"));
	return s;
}

static void refuse(const char *text, const char *what, const char *where)
{
	cyc_star *s = NULL;
	ASSERT_FAILS(cyc_star_parse(&s, text, strlen(text), "x.star"), CYC_E_FORMAT, "x.star", what, where);
	assert_null(s);
}

static const char *value(const cyc_star *s, const char *block, int64_t row, const char *label)
{
	cyc_star_block *b = cyc_star_find(s, block);
	assert_non_null(b);
	assert_true(row < cyc_star_n_rows(b));
	const char *text = cyc_star_text_of(b, row, label);
	assert_non_null(text);
	return text;
}

/* ---------------------------------------------------------------- reading */

static const char RELION5[] =
	"\n# version 50001\n\ndata_general\n\n_rlnTomoSubTomosAre2DStacks                       1\n \n\n# "
	"version 50001\n\n"
	"data_particles\n\nloop_ \n_rlnTomoName #1 \n_rlnCenteredCoordinateXAngst #2 \n     TS_01   540.000000 \n"
	"     TS_02    -12.50000 \n \n";

static void relion5_list_and_table(void **state)
{
	(void)state;
	cyc_star *s = parse(RELION5);
	assert_int_equal(cyc_star_n_blocks(s), 2);
	assert_int_equal(cyc_star_block_kind(cyc_star_block_at(s, 0)), CYC_STAR_LIST);
	assert_int_equal(cyc_star_block_kind(cyc_star_block_at(s, 1)), CYC_STAR_TABLE);
	assert_string_equal(value(s, "general", 0, "rlnTomoSubTomosAre2DStacks"), "1");
	assert_string_equal(value(s, "particles", 1, "rlnTomoName"), "TS_02");
	double v;
	ASSERT_OK(cyc_star_double_of(&v, cyc_star_find(s, "particles"), 1, "rlnCenteredCoordinateXAngst"));
	assert_true(v == -12.5);
	assert_int_equal(cyc_star_row_line(cyc_star_find(s, "particles"), 1), 17);
	assert_null(cyc_star_block_at(s, 2));
	assert_null(cyc_star_find(s, "nothing"));
	cyc_star_destroy(&s);
	cyc_star_destroy(&s);
}

/* What other programs write: no blank before #, none at line ends, tabs, CR LF, no blank lines. */
static void other_dialects(void **state)
{
	(void)state;
	static const char *const TEXTS[] = {
		"data_p\nloop_\n_a#1\n_b#2\n1 x\n2 y\ndata_q\n_c 3\n",
		"data_p\r\n\r\nloop_\r\n_a #1\r\n_b #2\r\n1\tx\r\n2\ty\r\n\r\ndata_q\r\n_c 3\r\n",
		("\xEF\xBB\xBF# Created by the starfile Python package (version 0.4.12) at 17:00:46 on "
		 "15/03/2024\n\ndata_p\n\nloop_\n_a\n_b\n1\tx\n2\ty\n\n\n\n"
		 "data_q\n\n_c\t\t\t3\n"),
		"  data_p\n loop_ # comment\n  _a # 1\n\n# between\n  _b\n\n  1 x # first\n# comment\n  2 "
		"y\n\n\ndata_q\n;comment\n _c 3",
		"data_p\nloop_\n_a\n_b\n1 x\n\n2 y\n\ndata_q\n_c 3 # three\n",
	};
	for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
		cyc_star *s = parse(TEXTS[i]);
		assert_int_equal(cyc_star_n_blocks(s), 2);
		assert_int_equal(cyc_star_n_rows(cyc_star_find(s, "p")), 2);
		assert_int_equal(cyc_star_n_columns(cyc_star_find(s, "p")), 2);
		assert_string_equal(value(s, "p", 1, "a"), "2");
		assert_string_equal(value(s, "p", 0, "b"), "x");
		assert_string_equal(value(s, "p", 1, "b"), "y");
		assert_string_equal(value(s, "q", 0, "c"), "3");
		cyc_star_destroy(&s);
	}
}

static void quotes_and_hashes(void **state)
{
	(void)state;
	cyc_star *s = parse("data_\nloop_\n_a\n_b\n_c\n\"two  words\" 'it''s' a#b\n\"\" \"say \"x\"now\" 'a "
	                    "\"b\" c'\nx\"y' \"#no\" [1,2]#c\n");
	assert_string_equal(value(s, "", 0, "a"), "two  words");
	assert_string_equal(value(s, "", 0, "b"), "it''s");
	assert_string_equal(value(s, "", 0, "c"), "a#b");
	assert_string_equal(value(s, "", 1, "a"), "");
	assert_string_equal(value(s, "", 1, "b"), "say \"x\"now");
	assert_string_equal(value(s, "", 1, "c"), "a \"b\" c");
	assert_string_equal(value(s, "", 2, "a"), "x\"y'");
	assert_string_equal(value(s, "", 2, "b"), "#no");
	cyc_star_destroy(&s);
	refuse("data_\nloop_\n_a\n_b\n1 \"open\n", "quote is not closed", "line 5");
}

static void lists(void **state)
{
	(void)state;
	cyc_star *s = parse(
		"data_job\n_one 1 #c\n_none\n_quoted \"a b\"\n_more 1 2 3\n\ndata_empty\n\ndata_next\nloop_\n_a\n");
	assert_string_equal(value(s, "job", 0, "one"), "1");
	assert_string_equal(value(s, "job", 0, "none"), "");
	assert_string_equal(value(s, "job", 0, "quoted"), "a b");
	assert_string_equal(value(s, "job", 0, "more"), "1");
	assert_int_equal(cyc_star_n_columns(cyc_star_find(s, "empty")), 0);
	assert_int_equal(cyc_star_n_rows(cyc_star_find(s, "empty")), 1);
	assert_int_equal(cyc_star_n_rows(cyc_star_find(s, "next")), 0);
	cyc_star_destroy(&s);
}

/* A value that looks like a block is one only where no row can be. */
static void values_like_keywords(void **state)
{
	(void)state;
	cyc_star *s = parse("data_p\nloop_\n_a\n_b\ndata_x 1\n_y loop_\ndata_z 2\ndata_q\n");
	assert_int_equal(cyc_star_n_rows(cyc_star_find(s, "p")), 3);
	assert_string_equal(value(s, "p", 0, "a"), "data_x");
	assert_string_equal(value(s, "p", 1, "b"), "loop_");
	assert_non_null(cyc_star_find(s, "q"));
	cyc_star_destroy(&s);
}

static void options_without_value(void **state)
{
	(void)state;
	cyc_star *s = parse(
		"data_joboptions_values\nloop_\n_rlnJobOptionVariable\n_rlnJobOptionValue\nfn_mask\nfn_in \"\"\n");
	assert_string_equal(value(s, "joboptions_values", 0, "rlnJobOptionValue"), "");
	assert_string_equal(value(s, "joboptions_values", 1, "rlnJobOptionValue"), "");
	cyc_star_destroy(&s);
}

static void two_tables_in_one_block(void **state)
{
	(void)state;
	cyc_star *s = parse("data_p\n_l 1\nloop_\n_a\n1\n2\nloop_\n_a\n3\n");
	assert_int_equal(cyc_star_n_blocks(s), 3);
	assert_string_equal(cyc_star_block_name(cyc_star_block_at(s, 2)), "p");
	assert_int_equal(cyc_star_n_rows(cyc_star_block_at(s, 1)), 2);
	/* The first of equal names is found. */
	assert_true(cyc_star_find(s, "p") == cyc_star_block_at(s, 0));
	cyc_star_destroy(&s);
}

/* Files joined with cat: who needs a block does not get half of it. */
static void blocks_of_one_name(void **state)
{
	(void)state;
	cyc_star *s = parse("data_p\nloop_\n_a\n1\n\ndata_q\n_b 1\n\ndata_p\nloop_\n_a\n2\n");
	cyc_star_block *b;
	ASSERT_FAILS(cyc_star_require(&b, s, "p"), CYC_E_DATA, "x.star", "2 blocks 'p'", "line 4", "line 12");
	assert_non_null(strstr(cyc_error_get()->hint, "cat"));
	ASSERT_OK(cyc_star_require(&b, s, "q"));
	ASSERT_OK(cyc_star_check_unique(b));
	cyc_star_remove_block(s, "p");
	ASSERT_OK(cyc_star_add_block(&b, s, "p", CYC_STAR_LIST));
	ASSERT_OK(cyc_star_require(&b, s, "p"));
	cyc_star_destroy(&s);
	/* A blank where a value should be shifts those behind it. */
	refuse("data_\nloop_\n_rlnTomoParticlesFile\n_rlnTomoTomogramsFile\n  tomograms.star\n",
	       "too few values: expected 2, found 1", "line 5");
}

static void bad_files(void **state)
{
	(void)state;
	refuse("data_p\nloop_\n_a\n_b\n_c\n1 2 3\n4 5\n", "too few values: expected 3, found 2", "line 7");
	refuse("data_p\nloop_\n_a\n_b\n_c\n1 2 3\n4 5 6 7\n", "too many values: expected 3, found 4", "line 7");
	refuse("data_p\nloop_\n_a\n1\n2 3\n", "too many values: expected 1, found 2", "line 5");
	refuse("data_p\nloop_\n1 2\n", "no labels", "line 3");
	refuse("1 2 3\n", "expected a line with data_", "line 1");
	refuse("data_p\n5\n", "expected '_label value' or loop_", "line 2");
	refuse("loop_\n_a\n", "before any data_", "line 1");
	refuse("data_p\n_a 1\n_b 2\n_a 3\n", "label _a occurs twice", "line 4");
	refuse("data_p\nloop_\n_a #1\n_a #2\n", "label _a occurs twice", "line 4");
	refuse("data_p\nloop_\n_a 1\n", "after table label _a", "line 3");
	refuse("data_p\nloop_\n_\n", "without a label", "line 3");
	refuse("data_p\nloop_ x\n", "expected '_label value' or loop_ in block 'p', found 'loop_ x'", "line 2");
	cyc_star *s = NULL;
	ASSERT_FAILS(cyc_star_parse(&s, "data_p\n_a \0 1\n", 13, "x.star"), CYC_E_FORMAT, "x.star", "NUL",
	             "line 2");
	ASSERT_FAILS(cyc_star_read(&s, "/nowhere/x.star"), CYC_E_IO, "/nowhere/x.star");
	ASSERT_FAILS(cyc_star_read(&s, "/tmp"), CYC_E_IO, "/tmp");
}

static void bad_values(void **state)
{
	(void)state;
	cyc_star *s = parse("data_p\nloop_\n_a #1\nhello\n1e400\nnan\n\"\"\n1.5x\n[1,2\n-inf\n");
	cyc_star_block *b = cyc_star_find(s, "p");
	double v = 7.0, *vector = NULL;
	int64_t i;
	int32_t n;
	ASSERT_FAILS(cyc_star_double(&v, b, 0, 0), CYC_E_FORMAT, "x.star", "line 4", "row 1", "_a", "hello");
	for (int64_t row = 1; row < 7; row++) assert_int_equal(cyc_star_double(&v, b, row, 0), CYC_E_FORMAT);
	ASSERT_FAILS(cyc_star_int(&i, b, 4, 0), CYC_E_FORMAT, "line 8", "whole number", "1.5x");
	ASSERT_FAILS(cyc_star_vector(&vector, &n, b, 5, 0), CYC_E_FORMAT, "line 9", "[1,2");
	assert_null(vector);
	ASSERT_FAILS(cyc_star_double_of(&v, b, 0, "nope"), CYC_E_FORMAT, "x.star", "'p'", "_nope");
	cyc_star_block *other;
	ASSERT_FAILS(cyc_star_require(&other, s, "optics"), CYC_E_FORMAT, "x.star", "'optics'", "'p'");
	ASSERT_OK(cyc_star_double_or(&v, b, 0, "nope", 2.5));
	assert_true(v == 2.5);
	assert_null(cyc_star_text_of(b, 0, "nope"));
	cyc_star_destroy(&s);
}

/* ---------------------------------------------------------------- numbers */

static void numbers_as_relion_writes_them(void **state)
{
	(void)state;
	static const struct {
		double v;
		const char *text;
	} KNOWN[] = {
		{ 0.0, "0.000000" },           { -0.0, "0.000000" },           { 1.35, "1.350000" },
		{ -12.3456789, "-12.34568" },  { 123456.789, "1.234568e+05" }, { 100000.0, "100000.00000" },
		{ 1.2345e-4, "1.234500e-04" }, { -1.2345e-4, "-1.23450e-04" }, { 1e-100, "0.000000" },
		{ -1e-300, "0.000000" },       { 0.001, "0.001000" },          { 99999.9999, "99999.999900" },
		{ -100000.0, "-100000.0000" }, { -99999.5, "-99999.50000" },   { 39242.406055, "39242.406055" },
		{ 1e10, "1.000000e+10" },      { 1e200, "1.00000e+200" },      { -1.5e300, "-1.5000e+300" },
		{ 300.0, "300.000000" },
	};
	for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
		char text[CYC__NUMBER_TEXT];
		cyc__format_double(text, KNOWN[i].v);
		assert_string_equal(text, KNOWN[i].text);
		assert_true(strlen(text) <= 12);
	}
}

static void numbers_are_read_exactly(void **state)
{
	(void)state;
	static const char *const TEXTS[] = { "0",
		                                 "-0",
		                                 "1",
		                                 "+2.5",
		                                 ".5",
		                                 "5.",
		                                 "1e5",
		                                 "1E-05",
		                                 "-1.5e+22",
		                                 "1e22",
		                                 "1e23",
		                                 "9007199254740993",
		                                 "1234567890.123456789",
		                                 "0.1",
		                                 "123456789012345678",
		                                 "1e-300",
		                                 "4.9e-324",
		                                 "2.2250738585072011e-308",
		                                 "0000000000000000000000001.5",
		                                 "1e+5",
		                                 "8.41e21",
		                                 "9007199254740991e22",
		                                 "3.14159265358979323846264338327950288",
		                                 "-6.929598E-05",
		                                 "0x1p3",
		                                 "1e010",
		                                 "  7" };
	for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
		double v;
		assert_true(cyc__parse_double(&v, TEXTS[i]));
		assert_true(v == strtod(TEXTS[i], NULL));
	}
	static const char *const BAD[] = { "",      "-",   ".",   "e5",  "1e",        "1e+",
		                               "1.2.3", "1,5", "nan", "inf", "-infinity", "1e999",
		                               "12a",   "--1", "1 2", "[1]", "0x",        "1e5.0" };
	for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
		double v;
		assert_false(cyc__parse_double(&v, BAD[i]));
	}
	int64_t n;
	assert_true(cyc__parse_int(&n, "-9223372036854775807") && n == -INT64_MAX);
	assert_true(cyc__parse_int(&n, "4000.000000") && n == 4000);
	assert_true(cyc__parse_int(&n, "1.0e3") && n == 1000);
	assert_false(cyc__parse_int(&n, "4000.5"));
	assert_false(cyc__parse_int(&n, "99999999999999999999"));
	assert_false(cyc__parse_int(&n, ""));
}

static void vectors(void **state)
{
	(void)state;
	cyc_star *s = parse("data_p\nloop_\n_v\n[1,-2.5,3e2]\n[]\n[7]\n\"[ 1, 2 ]\"\n[1,,2]\n[,]\n1,2\n");
	cyc_star_block *b = cyc_star_find(s, "p");
	double *v = NULL;
	int32_t n;
	ASSERT_OK(cyc_star_vector(&v, &n, b, 0, 0));
	assert_int_equal(n, 3);
	assert_true(v[0] == 1.0 && v[1] == -2.5 && v[2] == 300.0);
	cyc_free(v);
	ASSERT_OK(cyc_star_vector(&v, &n, b, 1, 0));
	assert_int_equal(n, 0);
	cyc_free(v);
	ASSERT_OK(cyc_star_vector(&v, &n, b, 2, 0));
	assert_int_equal(n, 1);
	cyc_free(v);
	ASSERT_OK(cyc_star_vector(&v, &n, b, 3, 0));
	assert_int_equal(n, 2);
	assert_true(v[1] == 2.0);
	cyc_free(v);
	for (int64_t row = 4; row < 7; row++) assert_int_equal(cyc_star_vector(&v, &n, b, row, 0), CYC_E_FORMAT);
	const double w[] = { 1.0 / 3.0, -2e-7, 12345678.9012 };
	ASSERT_OK(cyc_star_set_vector(b, 0, 0, w, 3));
	assert_string_equal(cyc_star_text(b, 0, 0), "[0.333333333333,-2e-07,12345678.9012]");
	ASSERT_OK(cyc_star_set_vector(b, 0, 0, NULL, 0));
	assert_string_equal(cyc_star_text(b, 0, 0), "[]");
	cyc_star_destroy(&s);
}

/* ---------------------------------------------------------------- editing */

static void edit_a_table(void **state)
{
	(void)state;
	cyc_star *s = parse("data_p\nloop_\n_a\n_b\n1 x\n2 y\n3 z\n");
	cyc_star_block *b = cyc_star_find(s, "p");
	int32_t column;
	int64_t row;
	for (int i = 0; i < 40; i++) {
		char label[16];
		snprintf(label, sizeof label, "new%d", i);
		ASSERT_OK(cyc_star_ensure_column(&column, b, label, "fill"));
		assert_int_equal(column, 2 + i);
	}
	ASSERT_OK(cyc_star_set_int(b, 1, column, -5));
	assert_string_equal(value(s, "p", 0, "new39"), "fill");
	assert_string_equal(value(s, "p", 1, "new39"), "-5");
	assert_string_equal(value(s, "p", 2, "b"), "z");
	for (int i = 0; i < 100; i++) {
		ASSERT_OK(cyc_star_add_row(&row, b));
		assert_int_equal(row, 3 + i);
	}
	assert_string_equal(value(s, "p", 102, "a"), "");
	ASSERT_OK(cyc_star_set_text(b, 102, 0, "last"));
	cyc_star_remove_column(b, "new38");
	cyc_star_remove_column(b, "b");
	cyc_star_remove_column(b, "nothing");
	assert_int_equal(cyc_star_n_columns(b), 40);
	assert_string_equal(value(s, "p", 1, "new39"), "-5");
	bool keep[103] = { [1] = true, [102] = true };
	cyc_star_keep_rows(b, keep);
	assert_int_equal(cyc_star_n_rows(b), 2);
	assert_string_equal(value(s, "p", 0, "a"), "2");
	assert_string_equal(value(s, "p", 1, "a"), "last");
	assert_int_equal(cyc_star_row_line(b, 0), 6);
	assert_int_equal(cyc_star_row_line(b, 1), 0);
	assert_int_equal(cyc_star_raise(CYC_E_DATA, b, 1, "bad %d", 5), CYC_E_DATA);
	assert_string_equal(cyc_error_get()->message, "x.star: block 'p', row 2: bad 5");
	cyc_star_destroy(&s);
}

static void make_a_document(void **state)
{
	(void)state;
	cyc_star *s = NULL, *copy = NULL;
	cyc_star_block *b;
	char *text = NULL;
	size_t n;
	int32_t column;
	int64_t row;
	ASSERT_OK(cyc_star_create(&s));
	ASSERT_OK(cyc_star_add_block(&b, s, "general", CYC_STAR_LIST));
	ASSERT_OK(cyc_star_list_set_int(b, "rlnTomoSubTomosAre2DStacks", 1));
	ASSERT_OK(cyc_star_add_block(&b, s, "particles", CYC_STAR_TABLE));
	ASSERT_OK(cyc_star_ensure_column(&column, b, "rlnTomoName", ""));
	ASSERT_OK(cyc_star_ensure_column(&column, b, "rlnCenteredCoordinateXAngst", ""));
	ASSERT_OK(cyc_star_add_row(&row, b));
	ASSERT_OK(cyc_star_set_text(b, row, 0, "TS_01"));
	ASSERT_OK(cyc_star_set_double(b, row, 1, 540.0));
	ASSERT_OK(cyc_star_add_row(&row, b));
	ASSERT_OK(cyc_star_set_text(b, row, 0, "TS_02"));
	ASSERT_OK(cyc_star_set_double(b, row, 1, -12.5));
	ASSERT_OK(cyc_star_print(&text, &n, s));
	assert_string_equal(text, RELION5);
	assert_int_equal(n, strlen(RELION5));
	cyc_free(text);
	assert_int_equal(cyc_star_add_block(&b, s, "general", CYC_STAR_LIST), CYC_E_INTERNAL);
	assert_int_equal(cyc_star_set_double(cyc_star_find(s, "particles"), 0, 1, 0.0 / (double)(n - n)),
	                 CYC_E_NUMERIC);
	ASSERT_OK(cyc_star_copy(&copy, s));
	cyc_star_remove_block(s, "general");
	assert_int_equal(cyc_star_n_blocks(s), 1);
	assert_null(cyc_star_find(s, "general"));
	assert_non_null(cyc_star_find(s, "particles"));
	ASSERT_OK(cyc_star_set_comment(copy, "cyclotomo 0.1.0 test"));
	ASSERT_OK(cyc_star_write(copy, temp_path("sub/copy.star")));
	cyc_star_destroy(&s);
	ASSERT_OK(cyc_read_file(&text, &n, temp_path("sub/copy.star")));
	assert_true(strncmp(text, "# cyclotomo 0.1.0 test\n", 23) == 0);
	assert_string_equal(text + 23, RELION5);
	cyc_free(text);
	cyc_star_destroy(&copy);
}

/* Every value comes back, whatever it holds; what cannot is refused and nothing is written. */
static void values_that_need_quotes(void **state)
{
	(void)state;
	static const char *const VALUES[] = { "",       " ",        "a b",   "\"",     "'",       "\"\"",
		                                  "it's",   "'quoted'", "#x",    "a#x",    "_x",      ";x",
		                                  "data_x", "data_",    "loop_", "loop_x", "a \"b c", "say 'x' now",
		                                  "\t",     "a\"",      "a\" ",  "é Å",    "x\r",     "None" };
	cyc_star *s = NULL, *again = NULL;
	cyc_star_block *b, *l;
	int64_t row;
	int32_t column;
	char *text = NULL;
	size_t n;
	ASSERT_OK(cyc_star_create(&s));
	ASSERT_OK(cyc_star_add_block(&l, s, "list", CYC_STAR_LIST));
	ASSERT_OK(cyc_star_add_block(&b, s, "table", CYC_STAR_TABLE));
	ASSERT_OK(cyc_star_ensure_column(&column, b, "a", ""));
	const size_t n_values = sizeof VALUES / sizeof *VALUES;
	for (size_t i = 0; i < n_values; i++) {
		char label[16];
		snprintf(label, sizeof label, "v%zu", i);
		ASSERT_OK(cyc_star_list_set_text(l, label, VALUES[i]));
		ASSERT_OK(cyc_star_add_row(&row, b));
		ASSERT_OK(cyc_star_set_text(b, row, column, VALUES[i]));
	}
	ASSERT_OK(cyc_star_print(&text, &n, s));
	again = parse(text);
	for (size_t i = 0; i < n_values; i++) {
		assert_string_equal(cyc_star_text(cyc_star_find(again, "table"), (int64_t)i, 0), VALUES[i]);
		assert_string_equal(cyc_star_text(cyc_star_find(again, "list"), 0, (int32_t)i), VALUES[i]);
	}
	cyc_free(text);
	cyc_star_destroy(&again);
	ASSERT_OK(cyc_star_set_text(b, 0, 0, "two\nlines"));
	ASSERT_FAILS(cyc_star_write(s, temp_path("bad.star")), CYC_E_FORMAT, "bad.star", "line break", "_a");
	ASSERT_OK(cyc_star_set_text(b, 0, 0, "both \" and ' here"));
	ASSERT_FAILS(cyc_star_write(s, temp_path("bad.star")), CYC_E_FORMAT, "bad.star", "quotes");
	assert_false(temp_exists("bad.star"));
	cyc_star_destroy(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relion5_list_and_table),
		cmocka_unit_test(other_dialects),
		cmocka_unit_test(quotes_and_hashes),
		cmocka_unit_test(lists),
		cmocka_unit_test(values_like_keywords),
		cmocka_unit_test(options_without_value),
		cmocka_unit_test(blocks_of_one_name),
		cmocka_unit_test(two_tables_in_one_block),
		cmocka_unit_test(bad_files),
		cmocka_unit_test(bad_values),
		cmocka_unit_test(numbers_as_relion_writes_them),
		cmocka_unit_test(numbers_are_read_exactly),
		cmocka_unit_test(vectors),
		cmocka_unit_test(edit_a_table),
		cmocka_unit_test(make_a_document),
		cmocka_unit_test(values_that_need_quotes),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

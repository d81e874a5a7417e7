/* What is written is read back the same, for documents and numbers drawn at random. */
#include <float.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "io/star_internal.h"
#include "temp_dir.h"

static void assert_same(const cyc_star *a, const cyc_star *b)
{
	assert_int_equal(cyc_star_n_blocks(a), cyc_star_n_blocks(b));
	for (int32_t i = 0; i < cyc_star_n_blocks(a); i++) {
		const cyc_star_block *x = cyc_star_block_at(a, i), *y = cyc_star_block_at(b, i);
		assert_string_equal(cyc_star_block_name(x), cyc_star_block_name(y));
		assert_int_equal(cyc_star_block_kind(x), cyc_star_block_kind(y));
		assert_int_equal(cyc_star_n_columns(x), cyc_star_n_columns(y));
		assert_int_equal(cyc_star_n_rows(x), cyc_star_n_rows(y));
		for (int32_t j = 0; j < cyc_star_n_columns(x); j++) {
			assert_string_equal(cyc_star_label(x, j), cyc_star_label(y, j));
			for (int64_t r = 0; r < cyc_star_n_rows(x); r++)
				assert_string_equal(cyc_star_text(x, r, j), cyc_star_text(y, r, j));
		}
	}
}

/* A text of characters that make trouble; line breaks are the only ones left out. */
static void draw_text(char *out, size_t n_max, cyc_rng *r)
{
	static const char CHARACTERS[] = "ab_#'\" \t;d1.[]-\r\x7F\xC3\xA9,";
	size_t n = cyc_rng_u32(r) % n_max;
	for (size_t i = 0; i < n; i++) out[i] = CHARACTERS[cyc_rng_u32(r) % (sizeof CHARACTERS - 1)];
	out[n] = '\0';
	if (cyc_rng_u32(r) % 40 == 0) strcpy(out, cyc_rng_u32(r) % 2 ? "loop_" : "data_x");
}

/* Both kinds of quotes before a blank cannot be held by a STAR file. */
static bool can_be_held(const char *text)
{
	bool has[2] = { false, false };
	for (const char *p = text; *p; p++) {
		if (*p == '"' && cyc__is_blank(p[1])) has[0] = true;
		if (*p == '\'' && cyc__is_blank(p[1])) has[1] = true;
	}
	return !(has[0] && has[1]);
}

static void draw_document(cyc_star *s, cyc_rng *r)
{
	int n_blocks = (int)(cyc_rng_u32(r) % 6);
	for (int k = 0; k < n_blocks; k++) {
		cyc_star_block *b;
		char name[32], text[16];
		bool is_list = cyc_rng_u32(r) % 3 == 0;
		snprintf(name, sizeof name, k == 1 ? "%.0d" : "TS %02d/x#y", k == 1 ? 0 : k);
		ASSERT_OK(cyc_star_add_block(&b, s, name, is_list ? CYC_STAR_LIST : CYC_STAR_TABLE));
		int n_columns = (int)(cyc_rng_u32(r) % 7), n_rows = is_list ? 1 : (int)(cyc_rng_u32(r) % 9);
		/* Without columns a table has no rows that could be written. */
		if (n_columns == 0 && !is_list) n_rows = 0;
		int32_t column;
		int64_t row;
		for (int i = 0; i < n_rows && !is_list; i++) ASSERT_OK(cyc_star_add_row(&row, b));
		for (int j = 0; j < n_columns; j++) {
			snprintf(name, sizeof name, "label%d", (j * 5) % 7);
			ASSERT_OK(cyc_star_ensure_column(&column, b, name, "0"));
			for (int i = 0; i < n_rows; i++) {
				do draw_text(text, sizeof text, r);
				while (!can_be_held(text));
				ASSERT_OK(cyc_star_set_text(b, i, column, text));
			}
		}
	}
}

static void documents(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 3000; i++) {
		cyc_rng r = cyc_rng_make(11, 0, i);
		cyc_star *s = NULL, *again = NULL, *copy = NULL;
		char *text = NULL, *text2 = NULL;
		size_t n, n2;
		ASSERT_OK(cyc_star_create(&s));
		draw_document(s, &r);
		ASSERT_OK(cyc_star_print(&text, &n, s));
		ASSERT_OK(cyc_star_parse(&again, text, n, "x"));
		assert_same(s, again);
		ASSERT_OK(cyc_star_copy(&copy, again));
		assert_same(s, copy);
		ASSERT_OK(cyc_star_print(&text2, &n2, copy));
		assert_int_equal(n, n2);
		assert_memory_equal(text, text2, n);
		cyc_free(text);
		cyc_free(text2);
		cyc_star_destroy(&s);
		cyc_star_destroy(&again);
		cyc_star_destroy(&copy);
	}
}

/* The fast way of reading numbers gives the bits of strtod, for any number of digits and any exponent. */
static void numbers_read(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 200000; i++) {
		cyc_rng r = cyc_rng_make(12, 0, i);
		char text[64];
		double v, expected;
		int digits = (int)(cyc_rng_u32(&r) % 19);
		double x = (cyc_rng_uniform(&r) - 0.5) * pow(10.0, (double)(cyc_rng_u32(&r) % 40) - 20.0);
		if (i % 3 == 0) snprintf(text, sizeof text, "%.*f", digits, (cyc_rng_uniform(&r) - 0.5) * 1e5);
		else snprintf(text, sizeof text, i % 3 == 1 ? "%.*e" : "%.*G", digits, x);
		expected = strtod(text, NULL);
		assert_true(cyc__parse_double(&v, text));
		if (memcmp(&v, &expected, sizeof v) != 0) {
			print_error("%s: %.17g, strtod %.17g\n", text, v, expected);
			fail();
		}
	}
}

/* A written number is read back within half a unit of its last digit, whatever its size. */
static void numbers_written(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 100000; i++) {
		cyc_rng r = cyc_rng_make(13, 0, i);
		double x = (cyc_rng_uniform(&r) - 0.5) * pow(10.0, (double)(cyc_rng_u32(&r) % 300) - 150.0), v;
		char text[CYC__NUMBER_TEXT];
		cyc__format_double(text, x);
		assert_true(strlen(text) <= 12);
		assert_true(cyc__parse_double(&v, text));
		if (fabs(x) < 1e-99) {
			assert_true(v == 0.0);
			continue;
		}
		/* Fixed: 5 or 6 decimals, fewer where 12 characters end; scientific: 4 to 6 decimals of the mantissa.
		 */
		bool is_fixed = fabs(x) >= 0.001 && fabs(x) <= 100000.0;
		double bound = is_fixed ? 0.501e-5 : fabs(x) * (fabs(x) >= 1e100 ? 0.501e-4 : 0.501e-5);
		if (!(fabs(v - x) <= bound)) {
			print_error("%.17g is written %s\n", x, text);
			fail();
		}
		cyc__format_significant(text, x, 12);
		assert_true(cyc__parse_double(&v, text));
		assert_true(fabs(v - x) <= 0.51e-11 * fabs(x));
	}
}

/* A decimal comma in the user's language changes nothing. */
static void locale_does_not_matter(void **state)
{
	(void)state;
	static const char *const COMMA[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "nl_NL.UTF-8" };
	size_t k = 0;
	while (k < 4 && !setlocale(LC_ALL, COMMA[k])) k++;
	if (k == 4) skip();
	double v;
	char text[CYC__NUMBER_TEXT];
	assert_true(cyc__parse_double(&v, "1.5") && v == 1.5);
	assert_true(cyc__parse_double(&v, "1.5e-30") && v == 1.5e-30);
	assert_false(cyc__parse_double(&v, "1,5"));
	cyc__format_double(text, -12.3456789);
	assert_string_equal(text, "-12.34568");
	cyc__format_significant(text, 1.5, 12);
	assert_string_equal(text, "1.5");
	setlocale(LC_ALL, "C");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents),
		cmocka_unit_test(numbers_read),
		cmocka_unit_test(numbers_written),
		cmocka_unit_test(locale_does_not_matter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

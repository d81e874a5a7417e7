/* Any bytes are refused with a message or parsed; what is parsed is written, read back the same, and written
 * the same. */
#include "fuzz/fuzz_common.h"
#include "io/star_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_same(const cyc_star *a, const cyc_star *b)
{
	MUST(cyc_star_n_blocks(a) == cyc_star_n_blocks(b));
	for (int32_t i = 0; i < cyc_star_n_blocks(a); i++) {
		const cyc_star_block *x = cyc_star_block_at(a, i), *y = cyc_star_block_at(b, i);
		MUST(strcmp(cyc_star_block_name(x), cyc_star_block_name(y)) == 0);
		MUST(cyc_star_block_kind(x) == cyc_star_block_kind(y));
		MUST(cyc_star_n_columns(x) == cyc_star_n_columns(y) && cyc_star_n_rows(x) == cyc_star_n_rows(y));
		for (int32_t j = 0; j < cyc_star_n_columns(x); j++) {
			MUST(strcmp(cyc_star_label(x, j), cyc_star_label(y, j)) == 0);
			for (int64_t r = 0; r < cyc_star_n_rows(x); r++)
				MUST(strcmp(cyc_star_text(x, r, j), cyc_star_text(y, r, j)) == 0);
		}
	}
}

/* Every value as a number, a whole number and a vector: finite or refused. */
static void read_values(const cyc_star *s)
{
	for (int32_t i = 0; i < cyc_star_n_blocks(s); i++) {
		const cyc_star_block *b = cyc_star_block_at(s, i);
		for (int32_t j = 0; j < cyc_star_n_columns(b); j++) {
			for (int64_t r = 0; r < cyc_star_n_rows(b) && r < 20; r++) {
				double d, *v = NULL;
				int64_t n;
				int32_t n_vector;
				if (cyc_star_double(&d, b, r, j) == CYC_OK) MUST(d - d == 0.0);
				if (cyc_star_int(&n, b, r, j) == CYC_OK) MUST(cyc_star_double(&d, b, r, j) == CYC_OK);
				if (cyc_star_vector(&v, &n_vector, b, r, j) == CYC_OK) {
					for (int32_t k = 0; k < n_vector; k++) MUST(v[k] - v[k] == 0.0);
				}
				cyc_free(v);
			}
		}
	}
}

static void edit(cyc_star *s)
{
	cyc_star_block *b = cyc_star_block_at(s, 0);
	int32_t column;
	int64_t row;
	if (!b) return;
	MUST(cyc_star_ensure_column(&column, b, "addedByTheTest", "x y") == CYC_OK);
	if (cyc_star_block_kind(b) == CYC_STAR_TABLE) {
		MUST(cyc_star_add_row(&row, b) == CYC_OK);
		MUST(cyc_star_set_double(b, row, column, -1.5) == CYC_OK);
	}
	if (cyc_star_n_columns(b) > 2) cyc_star_remove_column(b, cyc_star_label(b, 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cyc_star *s = NULL, *again = NULL, *copy = NULL;
	char *text = NULL, *text2 = NULL;
	size_t n, n2;
	if (cyc_star_parse(&s, (const char *)data, size, "fuzz.star") != CYC_OK) {
		MUST(s == NULL && cyc_error_get()->message[0]);
		return 0;
	}
	read_values(s);
	for (int pass = 0; pass < 2; pass++) {
		MUST(cyc_star_print(&text, &n, s) == CYC_OK);
		MUST(cyc_star_parse(&again, text, n, "again.star") == CYC_OK);
		must_be_same(s, again);
		MUST(cyc_star_copy(&copy, again) == CYC_OK);
		MUST(cyc_star_print(&text2, &n2, copy) == CYC_OK);
		MUST(n == n2 && memcmp(text, text2, n) == 0);
		cyc_free(text);
		cyc_free(text2);
		cyc_star_destroy(&again);
		cyc_star_destroy(&copy);
		edit(s);
	}
	cyc_star_destroy(&s);
	return 0;
}

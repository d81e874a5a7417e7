#include "cyclotomo/compare.h"

#include "project/name_map.h"
#include "project/labels.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void cyc_star_comparison_destroy(cyc_star_comparison **c)
{
	if (!c || !*c) return;
	for (int32_t i = 0; i < (*c)->n_blocks && (*c)->blocks; i++) cyc_free((*c)->blocks[i].columns);
	cyc_free((*c)->blocks);
	cyc_free(*c);
	*c = NULL;
}

/* ---------------------------------------------------------------- options */

/* Is a label in a comma list? With `value`, the list is of label=number, and the number is wanted. */
static cyc_status find_in_list(bool *found, double *value, const char *list, const char *label)
{
	cyc_status st = CYC_OK;
	size_t n_label = strlen(label);
	*found = false;
	for (const char *p = list; p && *p;) {
		size_t n = strcspn(p, ",");
		const char *equals = memchr(p, '=', n);
		if (value) {
			char *end = NULL;
			double v = equals ? strtod(equals + 1, &end) : -1.0;
			CYC_CHECK(equals && end == p + n && end > equals + 1 && v >= 0.0, CYC_E_USAGE,
			          "'%.*s': expected LABEL=TOLERANCE", (int)n, p);
			if ((size_t)(equals - p) == n_label && strncmp(p, label, n_label) == 0) {
				*found = true;
				*value = v;
			}
		} else if (n == n_label && strncmp(p, label, n_label) == 0) {
			*found = true;
		}
		p += n + (p[n] == ',');
	}
done:
	return st;
}

/* ---------------------------------------------------------------- values */

typedef struct {
	double tolerance, relative;
	double sum2;
	cyc_column_comparison *c;
} column_work;

/* One pair of numbers; true if they are the same within the tolerance. */
static bool compare_numbers(column_work *w, double a, double b, bool *is_largest)
{
	double d = fabs(a - b), size = fmax(fabs(a), fabs(b));
	w->c->n_numbers++;
	w->sum2 += d * d;
	*is_largest = d > w->c->max_difference;
	if (*is_largest) w->c->max_difference = d;
	return d <= w->tolerance + w->relative * size;
}

/* Errors of reading as a number only say that the text is not one. */
static bool read_number(double *out, const cyc_star_block *b, int64_t row, int32_t column)
{
	const char c = cyc_star_text(b, row, column)[0];
	if (!(c == '-' || c == '+' || c == '.' || (c >= '0' && c <= '9'))) return false;
	bool ok = cyc_star_double(out, b, row, column) == CYC_OK;
	if (!ok) cyc_error_clear();
	return ok;
}

typedef struct {
	const cyc_star_block *block;
	int64_t row;
	int32_t column;
} cell;

static const char *text_of(cell c) { return cyc_star_text(c.block, c.row, c.column); }

static cyc_status compare_vectors(bool *is_same, bool *are_vectors, bool *is_largest, column_work *w, cell a,
                                  cell b)
{
	cyc_status st = CYC_OK, sa, sb = CYC_OK;
	double *va = NULL, *vb = NULL;
	int32_t na = 0, nb = 0;
	*is_same = *are_vectors = *is_largest = false;
	if (text_of(a)[0] != '[' || text_of(b)[0] != '[') return CYC_OK;
	sa = cyc_star_vector(&va, &na, a.block, a.row, a.column);
	if (sa == CYC_OK) sb = cyc_star_vector(&vb, &nb, b.block, b.row, b.column);
	if (sa == CYC_E_NOMEM || sb == CYC_E_NOMEM) CYC_TRY(CYC_E_NOMEM);
	if (sa != CYC_OK || sb != CYC_OK) {
		cyc_error_clear();
		goto done;
	}
	if (na != nb) goto done;
	*is_same = *are_vectors = true;
	for (int32_t k = 0; k < na; k++) {
		bool largest;
		if (!compare_numbers(w, va[k], vb[k], &largest)) *is_same = false;
		*is_largest = *is_largest || largest;
	}
done:
	cyc_free(va);
	cyc_free(vb);
	return st;
}

static cyc_status compare_values(column_work *w, cell a, cell b)
{
	cyc_status st = CYC_OK;
	const char *ta = text_of(a), *tb = text_of(b);
	double x, y;
	bool is_same, is_largest = false, are_vectors = false;
	if (read_number(&x, a.block, a.row, a.column) && read_number(&y, b.block, b.row, b.column)) {
		is_same = compare_numbers(w, x, y, &is_largest);
	} else {
		CYC_TRY(compare_vectors(&is_same, &are_vectors, &is_largest, w, a, b));
		if (!are_vectors) is_same = strcmp(ta, tb) == 0;
	}
	if (!is_same) w->c->n_different++;
	if (is_largest || (!is_same && w->c->row_a < 0)) {
		w->c->row_a = a.row;
		w->c->row_b = b.row;
		w->c->text_a = ta;
		w->c->text_b = tb;
	}
done:
	return st;
}

/* ---------------------------------------------------------------- rows */

/* Rows of b by the value of a column; false if it is not unique in one of the blocks. */
static cyc_status match_by(bool *is_unique, int64_t *row_b_of, const cyc_star_block *a,
                           const cyc_star_block *b, const char *label)
{
	cyc_status st = CYC_OK;
	cyc__name_map in_a = { 0 }, in_b = { 0 };
	int32_t ja = cyc_star_column(a, label), jb = cyc_star_column(b, label);
	int64_t found, n_matched = 0;
	*is_unique = ja >= 0 && jb >= 0;
	for (int64_t i = 0; i < cyc_star_n_rows(b) && *is_unique; i++) {
		CYC_TRY(cyc__name_map_add(&found, &in_b, cyc_star_text(b, i, jb), i));
		*is_unique = found == i;
	}
	for (int64_t i = 0; i < cyc_star_n_rows(a) && *is_unique; i++) {
		CYC_TRY(cyc__name_map_add(&found, &in_a, cyc_star_text(a, i, ja), i));
		*is_unique = found == i;
		row_b_of[i] = cyc__name_map_get(&in_b, cyc_star_text(a, i, ja));
		n_matched += row_b_of[i] >= 0;
	}
	/* Names of another making (absolute paths, say) match nothing: then they are no key. */
	if (n_matched == 0) *is_unique = false;
done:
	cyc__name_map_deinit(&in_a);
	cyc__name_map_deinit(&in_b);
	return st;
}

static cyc_status match_rows(cyc_block_comparison *c, int64_t *row_b_of, const cyc_star_block *a,
                             const cyc_star_block *b, const char *key)
{
	static const char *const KEYS[] = { CYC_RLN_TOMO_PARTICLE_NAME,  CYC_RLN_MICROGRAPH_NAME,
		                                CYC_RLN_TOMO_NAME,           CYC_RLN_IMAGE_NAME,
		                                CYC_RLN_OPTICS_GROUP_NAME,   CYC_RLN_SPECTRAL_INDEX,
		                                CYC_RLN_JOB_OPTION_VARIABLE, CYC_RLN_PIPE_LINE_PROCESS_NAME,
		                                CYC_RLN_PIPE_LINE_NODE_NAME };
	cyc_status st = CYC_OK;
	bool is_unique = false;
	for (size_t k = 0; k < sizeof KEYS / sizeof *KEYS && !is_unique && !key; k++) {
		CYC_TRY(match_by(&is_unique, row_b_of, a, b, KEYS[k]));
		if (is_unique) c->key = KEYS[k];
	}
	if (key && cyc_star_block_kind(a) == CYC_STAR_TABLE && cyc_star_column(a, key) >= 0 &&
	    cyc_star_column(b, key) >= 0) {
		CYC_TRY(match_by(&is_unique, row_b_of, a, b, key));
		CYC_CHECK(is_unique, CYC_E_USAGE,
		          "rows of block '%s' cannot be matched by _%s: its values are not unique, or the files have "
		          "none in common",
		          c->name, key);
		c->key = key;
	}
	int64_t last = -1;
	for (int64_t i = 0; i < c->n_rows_a; i++) {
		if (!is_unique) row_b_of[i] = i < c->n_rows_b ? i : -1;
		if (row_b_of[i] < 0) continue;
		c->n_matched++;
		if (row_b_of[i] < last) c->is_reordered = true;
		last = row_b_of[i];
	}
done:
	return st;
}

/* ---------------------------------------------------------------- blocks */

static cyc_status compare_column(cyc_block_comparison *c, cyc_column_comparison *column,
                                 const int64_t *row_b_of, const cyc_star_block *a, const cyc_star_block *b,
                                 const cyc_star_compare_options *options)
{
	cyc_status st = CYC_OK;
	bool is_ignored, has_own;
	int32_t ja = cyc_star_column(a, column->label), jb = cyc_star_column(b, column->label);
	column_work w = { options->tolerance, options->relative, 0.0, column };
	column->row_a = column->row_b = -1;
	CYC_TRY(find_in_list(&is_ignored, NULL, options->ignore, column->label));
	CYC_TRY(find_in_list(&has_own, &w.tolerance, options->columns, column->label));
	if (has_own) w.relative = 0.0;
	if (is_ignored || ja < 0 || jb < 0) {
		column->state = is_ignored ? CYC_COLUMN_IGNORED
		                : jb < 0   ? CYC_COLUMN_ONLY_FIRST
		                           : CYC_COLUMN_ONLY_SECOND;
		if (!is_ignored && !options->common_only) c->is_same = false;
		goto done;
	}
	for (int64_t i = 0; i < c->n_rows_a; i++) {
		if (row_b_of[i] >= 0) CYC_TRY(compare_values(&w, (cell){ a, i, ja }, (cell){ b, row_b_of[i], jb }));
	}
	column->rms_difference = column->n_numbers > 0 ? sqrt(w.sum2 / (double)column->n_numbers) : 0.0;
	column->state = column->n_different > 0 ? CYC_COLUMN_DIFFERENT : CYC_COLUMN_SAME;
	if (column->n_different > 0) c->is_same = false;
done:
	return st;
}

static cyc_status compare_blocks(cyc_block_comparison *c, const cyc_star_block *a, const cyc_star_block *b,
                                 const cyc_star_compare_options *options)
{
	cyc_status st = CYC_OK;
	int64_t *row_b_of = NULL;
	c->name = cyc_star_block_name(a ? a : b);
	c->in_a = a != NULL;
	c->in_b = b != NULL;
	c->is_same = options->common_only || (a && b);
	if (a) c->n_rows_a = cyc_star_n_rows(a);
	if (b) c->n_rows_b = cyc_star_n_rows(b);
	if (!a || !b) goto done;
	CYC_TRY(cyc_alloc(&c->columns, (size_t)cyc_star_n_columns(a) + (size_t)cyc_star_n_columns(b),
	                  sizeof *c->columns));
	CYC_TRY(cyc_alloc(&row_b_of, c->n_rows_a, sizeof *row_b_of));
	CYC_TRY(match_rows(c, row_b_of, a, b, options->key));
	if ((c->n_matched < c->n_rows_a || c->n_matched < c->n_rows_b) && !options->common_only)
		c->is_same = false;
	for (int32_t j = 0; j < cyc_star_n_columns(a); j++)
		c->columns[c->n_columns++].label = cyc_star_label(a, j);
	for (int32_t j = 0; j < cyc_star_n_columns(b); j++) {
		if (cyc_star_column(a, cyc_star_label(b, j)) < 0)
			c->columns[c->n_columns++].label = cyc_star_label(b, j);
	}
	for (int32_t j = 0; j < c->n_columns; j++)
		CYC_TRY(compare_column(c, &c->columns[j], row_b_of, a, b, options));
done:
	cyc_free(row_b_of);
	return st;
}

static cyc_status add_block(cyc_star_comparison *c, const cyc_star_block *a, const cyc_star_block *b,
                            const cyc_star_compare_options *options)
{
	cyc_status st = CYC_OK;
	cyc_block_comparison *r = &c->blocks[c->n_blocks];
	if (options->block && strcmp(options->block, cyc_star_block_name(a ? a : b)) != 0) goto done;
	c->n_blocks++;
	CYC_TRY(compare_blocks(r, a, b, options));
	if (!r->is_same) c->is_same = false;
done:
	return st;
}

/* The n-th block of this name, n counted by the blocks before block i: files may repeat names. */
static cyc_star_block *counterpart(const cyc_star *s, const cyc_star *of, int32_t i)
{
	const char *name = cyc_star_block_name(cyc_star_block_at(of, i));
	cyc_star_block *first = cyc_star_find(of, name), *other = cyc_star_find(s, name);
	if (first == cyc_star_block_at(of, i) || !other) return other;
	int32_t n = 0;
	for (int32_t k = 0; k < i; k++) n += strcmp(cyc_star_block_name(cyc_star_block_at(of, k)), name) == 0;
	for (int32_t k = 0; k < cyc_star_n_blocks(s); k++) {
		if (strcmp(cyc_star_block_name(cyc_star_block_at(s, k)), name) == 0 && n-- == 0)
			return cyc_star_block_at(s, k);
	}
	return NULL;
}

cyc_status cyc_star_compare(cyc_star_comparison **out, const cyc_star *a, const cyc_star *b,
                            const cyc_star_compare_options *options)
{
	cyc_status st = CYC_OK;
	cyc_star_comparison *c = NULL;
	int32_t na = cyc_star_n_blocks(a), nb = cyc_star_n_blocks(b);
	bool found;
	double value;
	*out = NULL;
	CYC_CHECK(options->tolerance >= 0.0 && options->relative >= 0.0, CYC_E_USAGE,
	          "tolerances cannot be negative");
	CYC_CHECK(!options->block || cyc_star_find(a, options->block) || cyc_star_find(b, options->block),
	          CYC_E_USAGE, "neither file has a block '%s'", options->block);
	/* A list that cannot be read is an error also where no column needs it. */
	CYC_TRY(find_in_list(&found, &value, options->columns, ""));
	CYC_TRY(cyc_alloc(&c, 1, sizeof *c));
	CYC_TRY(cyc_alloc(&c->blocks, (size_t)na + (size_t)nb, sizeof *c->blocks));
	c->is_same = true;
	for (int32_t i = 0; i < na; i++)
		CYC_TRY(add_block(c, cyc_star_block_at(a, i), counterpart(b, a, i), options));
	for (int32_t i = 0; i < nb; i++) {
		if (!counterpart(a, b, i)) CYC_TRY(add_block(c, NULL, cyc_star_block_at(b, i), options));
	}
	if (options->key) {
		bool has_key = false;
		for (int32_t i = 0; i < c->n_blocks; i++) has_key = has_key || c->blocks[i].key;
		CYC_CHECK(has_key, CYC_E_USAGE, "the files have no table with a column _%s to match rows by",
		          options->key);
	}
	*out = c;
	c = NULL;
done:
	cyc_star_comparison_destroy(&c);
	return st;
}

/* Text files as rows of words, with their lines for messages. */
#include "import/import_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char SEPARATORS[] = " \t\r\v\f,", BYTE_ORDER_MARK[] = "\xEF\xBB\xBF";

void cyc__rows_destroy(cyc__rows **rows)
{
	if (!rows || !*rows) return;
	cyc_free((*rows)->path);
	cyc_free((*rows)->text);
	cyc_free((*rows)->rows);
	cyc_free(*rows);
	*rows = NULL;
}

cyc_status cyc__rows_raise(cyc_status code, const cyc__rows *rows, int64_t i, const char *fmt, ...)
{
	char text[CYC_ERROR_TEXT];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	return cyc_error_raise(code, __FILE__, __LINE__, __func__, "'%s': line %lld: %s", rows->path,
	                       (long long)rows->rows[i].line, text);
}

/*
 * Numbers with a country's decimal comma where it does not separate columns: blanks do that, each number has
 * one comma at most, and none a point.
 */
static int32_t count_decimal_commas(const char *line)
{
	int32_t n = 0;
	if (strchr(line, '.')) return 0;
	while (*(line += strspn(line, " \t\r\v\f"))) {
		size_t length = strcspn(line, " \t\r\v\f"), before = strcspn(line, ",");
		if (before < length) {
			size_t after = length - before - 1;
			bool is_number = before > 0 && after > 0 && strspn(line, "+-0123456789") == before &&
			                 strspn(line + before + 1, "0123456789eE+-") == after;
			if (!is_number) return 0;
			n++;
		}
		line += length;
	}
	return n;
}

static cyc_status add_row(cyc__rows *rows, char *line, int64_t number)
{
	cyc_status st = CYC_OK;
	cyc__row row = { .line = number, .n_decimal_commas = count_decimal_commas(line) };
	char *rest = line;
	for (char *word; (word = strsep(&rest, SEPARATORS)) != NULL;) {
		if (word[0] && row.n < CYC__MAX_TOKENS) row.token[row.n++] = word;
	}
	if (row.n == 0) goto done;
	if (rows->n == rows->room) {
		int64_t room = rows->room > 0 ? 2 * rows->room : 64;
		CYC_TRY(cyc_realloc(&rows->rows, (size_t)rows->n, (size_t)room, sizeof *rows->rows));
		rows->room = room;
	}
	rows->rows[rows->n++] = row;
done:
	return st;
}

cyc_status cyc__rows_read(cyc__rows **out, const char *path)
{
	cyc_status st = CYC_OK;
	cyc__rows *rows = NULL;
	size_t n;
	*out = NULL;
	CYC_TRY(cyc_alloc(&rows, 1, sizeof *rows));
	CYC_TRY(cyc_strdup(&rows->path, path));
	CYC_TRY(cyc_read_file(&rows->text, &n, path));
	CYC_CHECK(strlen(rows->text) == n, CYC_E_FORMAT, "'%s' is not a text file: it has a NUL byte", path);
	char *rest = strncmp(rows->text, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0
	                 ? rows->text + strlen(BYTE_ORDER_MARK)
	                 : rows->text;
	int64_t number = 0;
	/* Old Macs end lines with CR alone. */
	for (char *c = rest; (c = strchr(c, '\r')) != NULL; c++)
		if (c[1] != '\n') *c = '\n';
	for (char *line; (line = strsep(&rest, "\n")) != NULL;) CYC_TRY(add_row(rows, line, ++number));
	CYC_CHECK(rows->n > 0, CYC_E_FORMAT, "'%s' is empty", path);
	*out = rows;
	rows = NULL;
done:
	cyc__rows_destroy(&rows);
	return st;
}

static bool parse(double *out, const char *text)
{
	char *end;
	/* Hexadecimal numbers and words like "nan" and "infinity" are names here. */
	if (!text[0] || strspn(text, "0123456789+-.eEdD") != strlen(text)) return false;
	errno = 0;
	*out = strtod(text, &end);
	return *end == '\0' && isfinite(*out);
}

bool cyc__is_number(const char *text)
{
	double v;
	return parse(&v, text);
}

cyc_status cyc__rows_require_points(const cyc__rows *rows, int64_t i, int32_t n_commas)
{
	if (rows->rows[i].n_decimal_commas < n_commas) return CYC_OK;
	return cyc__rows_raise(CYC_E_FORMAT, rows, i,
	                       "expected numbers with decimal points, found decimal commas");
}

cyc_status cyc__rows_double(double *out, const cyc__rows *rows, int64_t i, int32_t token, const char *what)
{
	cyc_status st = CYC_OK;
	const cyc__row *r = &rows->rows[i];
	/* One comma may be that of two whole numbers. */
	CYC_TRY(cyc__rows_require_points(rows, i, 2));
	if (token >= r->n)
		CYC_TRY(cyc__rows_raise(CYC_E_FORMAT, rows, i, "expected %s in column %d, but there are %d columns",
		                        what, token + 1, r->n));
	if (!parse(out, r->token[token]))
		CYC_TRY(cyc__rows_raise(CYC_E_FORMAT, rows, i, "expected %s in column %d, found '%s'", what,
		                        token + 1, r->token[token]));
done:
	return st;
}

cyc_status cyc__read_numbers(double **out, int32_t *n, const char *path, const char *what)
{
	cyc_status st = CYC_OK;
	cyc__rows *rows = NULL;
	*out = NULL;
	*n = 0;
	CYC_TRY(cyc__rows_read(&rows, path));
	CYC_CHECK(rows->n < 1 << 20, CYC_E_DATA, "'%s' has %lld lines", path, (long long)rows->n);
	CYC_TRY(cyc_alloc(out, rows->n, sizeof **out));
	for (int64_t i = 0; i < rows->n; i++) {
		if (cyc__is_comment(&rows->rows[i])) continue;
		CYC_TRY(cyc__rows_require_points(rows, i, 1));
		CYC_TRY(cyc__rows_double(&(*out)[*n], rows, i, 0, what));
		(*n)++;
	}
done:
	cyc__rows_destroy(&rows);
	if (st != CYC_OK) {
		cyc_free(*out);
		*out = NULL;
	}
	return st;
}

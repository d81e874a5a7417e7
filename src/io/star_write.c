#include "io/star_internal.h"

#include <string.h>

/* Text gathered in memory; files are small beside the images, and one buffer is the fastest way to write
 * them. */
typedef struct {
	char *data;
	size_t n, capacity;
} text_buffer;

static cyc_status make_room(text_buffer *t, size_t n)
{
	cyc_status st = CYC_OK;
	if (n <= t->capacity - t->n) return CYC_OK;
	size_t wanted = t->capacity * 2 > t->n + n ? t->capacity * 2 : t->n + n + 4096;
	CYC_TRY(cyc_realloc(&t->data, t->n, wanted, 1));
	t->capacity = wanted;
done:
	return st;
}

/* Append text, right-justified to `width`. */
static cyc_status put(text_buffer *t, const char *text, size_t n, size_t width)
{
	cyc_status st = CYC_OK;
	size_t pad = width > n ? width - n : 0;
	CYC_TRY(make_room(t, n + pad));
	memset(t->data + t->n, ' ', pad);
	memcpy(t->data + t->n + pad, text, n);
	t->n += n + pad;
done:
	return st;
}

static cyc_status put_text(text_buffer *t, const char *text) { return put(t, text, strlen(text), 0); }

bool cyc__star_needs_quotes(const char *text)
{
	static const uint8_t IS_BLANK[256] = { ['\t'] = 1, ['\v'] = 1, ['\f'] = 1, ['\r'] = 1, [' '] = 1 };
	switch (text[0]) {
	case '\0':
	case '"':
	case '\'':
	case '#':
	case '_':
	case ';': return true;
	case 'd':
		if (strncmp(text, "data_", 5) == 0) return true;
		break;
	case 'l':
		if (strcmp(text, "loop_") == 0) return true;
		break;
	default: break;
	}
	for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
		if (IS_BLANK[*p]) return true;
	}
	return false;
}

/* The quote would be taken for the closing one: it has a blank behind it, inside the value. */
static bool closes_inside(const char *text, char quote)
{
	for (const char *p = text; (p = strchr(p, quote)) != NULL; p++) {
		if (cyc__is_blank(p[1])) return true;
	}
	return false;
}

static cyc_status put_value(text_buffer *t, const char *text, size_t width, const cyc_star_block *b,
                            int32_t column)
{
	cyc_status st = CYC_OK;
	size_t n = strlen(text);
	CYC_CHECK(!memchr(text, '\n', n), CYC_E_FORMAT,
	          "block '%s': a value of _%s has a line break, which is not possible in a STAR file", b->name,
	          b->labels[column]);
	if (!cyc__star_needs_quotes(text)) {
		CYC_TRY(put(t, text, n, width));
		goto done;
	}
	char quote[2] = "\"";
	if (closes_inside(text, '"')) quote[0] = '\'';
	CYC_CHECK(!closes_inside(text, quote[0]), CYC_E_FORMAT,
	          "block '%s': value <%s> of _%s has both kinds of quotes before blanks, which is not possible "
	          "in a STAR file",
	          b->name, text, b->labels[column]);
	CYC_TRY(put(t, quote, 1, width > n + 1 ? width - n - 1 : 0));
	CYC_TRY(put(t, text, n, 0));
	CYC_TRY(put(t, quote, 1, 0));
done:
	return st;
}

static bool looks_numeric(const char *p)
{
	if (*p == '-' || *p == '+') p++;
	bool has_digit = false;
	for (; *p; p++) {
		if (*p >= '0' && *p <= '9') has_digit = true;
		else if (*p != '.' && *p != 'e' && *p != '+' && *p != '-') return false;
	}
	return has_digit;
}

/* RELION gives numbers 12 characters and other texts 10: a column is one of numbers if all its values are. */
static size_t column_width(const cyc_star_block *b, int32_t column)
{
	for (int64_t i = 0; i < b->n_rows; i++) {
		if (!looks_numeric(b->values[i * b->stride + column])) return 10;
	}
	return 12;
}

static cyc_status put_table(text_buffer *t, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	size_t *width = NULL;
	char line[64];
	CYC_TRY(cyc_alloc(&width, (size_t)b->n_columns, sizeof *width));
	CYC_TRY(put_text(t, "loop_ \n"));
	for (int32_t j = 0; j < b->n_columns; j++) {
		snprintf(line, sizeof line, " #%d \n", j + 1);
		CYC_TRY(put_text(t, "_"));
		CYC_TRY(put_text(t, b->labels[j]));
		CYC_TRY(put_text(t, line));
		width[j] = column_width(b, j);
	}
	for (int64_t i = 0; i < b->n_rows && b->n_columns > 0; i++) {
		for (int32_t j = 0; j < b->n_columns; j++) {
			CYC_TRY(put_value(t, b->values[i * b->stride + j], width[j], b, j));
			CYC_TRY(put(t, " ", 1, 0));
		}
		CYC_TRY(put(t, "\n", 1, 0));
	}
done:
	cyc_free(width);
	return st;
}

static cyc_status put_list(text_buffer *t, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	size_t longest = 10;
	for (int32_t j = 0; j < b->n_columns; j++) {
		size_t n = strlen(b->labels[j]);
		if (n > longest) longest = n;
	}
	for (int32_t j = 0; j < b->n_columns; j++) {
		const char *label = b->labels[j], *value = b->values[j];
		CYC_TRY(put_text(t, "_"));
		CYC_TRY(put_text(t, label));
		CYC_TRY(put(t, "", 0, longest + 12 - strlen(label)));
		CYC_TRY(put_value(t, value, looks_numeric(value) ? 12 : 0, b, j));
		CYC_TRY(put(t, "\n", 1, 0));
	}
done:
	return st;
}

static cyc_status put_comment(text_buffer *t, const char *comment)
{
	cyc_status st = CYC_OK;
	for (const char *p = comment; p && *p;) {
		size_t n = strcspn(p, "\n");
		CYC_TRY(put_text(t, "# "));
		CYC_TRY(put(t, p, n, 0));
		CYC_TRY(put_text(t, "\n"));
		p += n + (p[n] == '\n');
	}
done:
	return st;
}

cyc_status cyc_star_print(char **out, size_t *n, const cyc_star *s)
{
	cyc_status st = CYC_OK;
	text_buffer t = { 0 };
	*out = NULL;
	*n = 0;
	CYC_TRY(make_room(&t, 4096));
	CYC_TRY(put_comment(&t, s->comment));
	for (int32_t i = 0; i < s->n_blocks; i++) {
		const cyc_star_block *b = s->blocks[i];
		CYC_TRY(put_text(&t, "\n# version 50001\n\ndata_"));
		CYC_TRY(put_text(&t, b->name));
		CYC_TRY(put_text(&t, "\n\n"));
		CYC_TRY(b->kind == CYC_STAR_LIST ? put_list(&t, b) : put_table(&t, b));
		CYC_TRY(put_text(&t, " \n"));
	}
	CYC_TRY(put(&t, "", 1, 0));
	*n = t.n - 1;
	*out = t.data;
	t.data = NULL;
done:
	cyc_free(t.data);
	return st;
}

cyc_status cyc_star_write(const cyc_star *s, const char *path)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	size_t n = 0;
	CYC_TRY_CTX(cyc_star_print(&text, &n, s), "cannot write '%s'", path);
	CYC_TRY(cyc_write_file(path, text, n));
done:
	cyc_free(text);
	return st;
}

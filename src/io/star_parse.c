#include "io/star_internal.h"

#include <string.h>

/*
 * One pass over the text, which is cut into values where it lies: every token gets a NUL behind it and blocks
 * hold pointers. The only copies are the pointers of a table, gathered first in a buffer that all tables
 * share.
 */
typedef struct {
	cyc_star *star;
	char *p;      /* where the next line begins */
	int64_t line; /* its number, from 1 */
	cyc_star_block *block;
	bool is_header;   /* in the labels of a table */
	bool after_blank; /* the line before this one was empty */
	const char **values;
	size_t n_values, value_capacity;
	int64_t *lines;
	size_t n_rows, row_capacity;
	const char **labels;
	size_t n_labels, label_capacity;
} parser;

/* 1: ends a token */
static const uint8_t ENDS_TOKEN[256] = {
	['\0'] = 1, ['\t'] = 1, ['\n'] = 1, ['\v'] = 1, ['\f'] = 1, ['\r'] = 1, [' '] = 1
};

#define PARSE_ERROR(ps, ...)                                                                                 \
	do {                                                                                                     \
		st = cyc_error_raise(CYC_E_FORMAT, __FILE__, __LINE__, __func__, __VA_ARGS__);                       \
		cyc_error_context("%s: line %lld", (ps)->star->name, (long long)(ps)->line);                         \
		goto done;                                                                                           \
	} while (0)

static cyc_status grow(void *array, size_t *capacity, size_t size)
{
	cyc_status st = CYC_OK;
	size_t wanted = *capacity < 64 ? 64 : *capacity * 2;
	CYC_TRY(cyc_realloc(array, *capacity, wanted, size));
	*capacity = wanted;
done:
	return st;
}

static char *skip_blanks(char *p)
{
	while (cyc__is_blank(*p)) p++;
	return p;
}

static char *skip_line(char *p)
{
	while (*p && *p != '\n') p++;
	return p;
}

/* For messages: the line alone. */
static char *cut_line(char *p)
{
	*skip_line(p) = '\0';
	return p;
}

/*
 * Next value of a line: *token is NULL at its end (or at a comment). Afterwards *p is behind the token;
 * *is_last says that the NUL behind the token took the place of the line feed.
 */
static cyc_status next_token(char **token, char **p, bool *is_last, parser *ps)
{
	cyc_status st = CYC_OK;
	char *q = skip_blanks(*p), *start = q;
	*token = NULL;
	if (*q == '#') q = skip_line(q);
	if (*q == '\n' || *q == '\0') {
		*p = q;
		goto done;
	}
	if (*q == '"' || *q == '\'') {
		char quote = *q;
		start = ++q;
		/* The closing quote is the first one with a blank or the end of the line behind it. */
		while (*q && *q != '\n' && !(*q == quote && ENDS_TOKEN[(uint8_t)q[1]])) q++;
		if (*q != quote)
			PARSE_ERROR(ps, "a value starts with %c but the quote is not closed on this line", quote);
		*q++ = '\0';
	} else {
		while (!ENDS_TOKEN[(uint8_t)*q]) q++;
	}
	*is_last = *q == '\n';
	if (*q) *q++ = '\0';
	*token = start;
	*p = q;
done:
	return st;
}

/* Behind a line: past its line feed, unless that has become the NUL of the last token and p is past it
 * already. */
static void end_line(parser *ps, char *p, bool is_past)
{
	ps->p = !is_past && *p == '\n' ? p + 1 : p;
	ps->line++;
}

static inline cyc_status add_value(parser *ps, const char *text)
{
	cyc_status st = CYC_OK;
	if (ps->n_values == ps->value_capacity)
		CYC_TRY(grow(&ps->values, &ps->value_capacity, sizeof *ps->values));
	ps->values[ps->n_values++] = text;
done:
	return st;
}

/* The labels and rows gathered for the current table become its own. */
static cyc_status finish_block(parser *ps)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b = ps->block;
	if (!b) return CYC_OK;
	bool is_list = b->kind == CYC_STAR_LIST;
	int64_t n_rows = is_list ? 1 : (int64_t)ps->n_rows;
	CYC_TRY(cyc__star_reserve(b, (int32_t)ps->n_labels, n_rows));
	if (ps->n_labels) memcpy(b->labels, ps->labels, ps->n_labels * sizeof *b->labels);
	if (ps->n_values) memcpy(b->values, ps->values, ps->n_values * sizeof *b->values);
	if (n_rows && ps->n_rows) memcpy(b->lines, ps->lines, (size_t)n_rows * sizeof *b->lines);
	b->n_columns = (int32_t)ps->n_labels;
	b->n_rows = n_rows;
	ps->block = NULL;
	ps->n_labels = ps->n_values = ps->n_rows = 0;
done:
	return st;
}

static cyc_status begin_block(parser *ps, const char *name)
{
	cyc_status st = CYC_OK;
	CYC_TRY(finish_block(ps));
	CYC_TRY(cyc__star_append_block(&ps->block, ps->star, name, CYC_STAR_LIST));
	ps->is_header = false;
	if (ps->row_capacity == 0) CYC_TRY(grow(&ps->lines, &ps->row_capacity, sizeof *ps->lines));
	ps->lines[0] = ps->line;
	ps->n_rows = 1;
done:
	return st;
}

static cyc_status parse_block_line(parser *ps, char *p)
{
	cyc_status st = CYC_OK;
	char *name = skip_blanks(p + 5), *end = skip_line(name), *next = end;
	while (end > name && cyc__is_blank(end[-1])) end--;
	bool had_feed = *next == '\n';
	*end = '\0';
	CYC_TRY(begin_block(ps, name));
	end_line(ps, had_feed ? next + 1 : next, true);
done:
	return st;
}

static cyc_status parse_loop_line(parser *ps, char *p)
{
	cyc_status st = CYC_OK;
	if (!ps->block) PARSE_ERROR(ps, "found loop_ before any data_ line");
	/* A second table, or one after list entries, in the same data_ block: a block of the same name. */
	if (ps->block->kind == CYC_STAR_TABLE || ps->n_labels) CYC_TRY(begin_block(ps, ps->block->name));
	ps->block->kind = CYC_STAR_TABLE;
	ps->n_rows = 0;
	ps->is_header = true;
	end_line(ps, skip_line(p), false);
done:
	return st;
}

/* Compare with the labels so far; blocks have tens of labels, so pairs are few. */
static cyc_status add_label(parser *ps, const char *label)
{
	cyc_status st = CYC_OK;
	if (!label[0]) PARSE_ERROR(ps, "found '_' without a label after it");
	for (size_t i = 0; i < ps->n_labels; i++) {
		if (strcmp(ps->labels[i], label) == 0)
			PARSE_ERROR(ps, "label _%s occurs twice in block '%s'", label, ps->block->name);
	}
	if (ps->n_labels >= 10000) PARSE_ERROR(ps, "block '%s' has more than 10000 labels", ps->block->name);
	if (ps->n_labels == ps->label_capacity)
		CYC_TRY(grow(&ps->labels, &ps->label_capacity, sizeof *ps->labels));
	ps->labels[ps->n_labels++] = label;
done:
	return st;
}

/* A label ends at a blank or at '#'; the rest of the line says what kind of line it was. */
static char *cut_label(char *p, bool *had_number, bool *had_feed)
{
	while (!ENDS_TOKEN[(uint8_t)*p] && *p != '#') p++;
	*had_number = *p == '#';
	if (*had_number) {
		*p++ = '\0';
		while (!ENDS_TOKEN[(uint8_t)*p]) p++;
	}
	*had_feed = *p == '\n';
	if (*p) *p++ = '\0';
	return p;
}

static cyc_status parse_table_label(parser *ps, char *p)
{
	cyc_status st = CYC_OK;
	bool had_number, had_feed;
	char *label = p + 1, *rest = cut_label(label, &had_number, &had_feed), *token = NULL;
	CYC_TRY(add_label(ps, label));
	if (!had_feed) CYC_TRY(next_token(&token, &rest, &had_feed, ps));
	if (token)
		PARSE_ERROR(ps, "expected '#%zu' or nothing after table label _%s, found '%s'", ps->n_labels, label,
		            token);
	end_line(ps, rest, had_feed);
done:
	return st;
}

static cyc_status parse_list_line(parser *ps, char *p)
{
	cyc_status st = CYC_OK;
	bool had_number, had_feed, is_last = false;
	char *label = p + 1, *rest = cut_label(label, &had_number, &had_feed), *value = NULL, *more = NULL;
	CYC_TRY(add_label(ps, label));
	if (!had_feed) {
		CYC_TRY(next_token(&value, &rest, &is_last, ps));
		if (value && !is_last) CYC_TRY(next_token(&more, &rest, &is_last, ps));
		if (more) {
			cyc_warn("%s: line %lld: text after the value of _%s is ignored: '%s'", ps->star->name,
			         (long long)ps->line, label, more);
			if (!is_last) rest = skip_line(rest);
		}
	}
	CYC_TRY(add_value(ps, value ? value : ""));
	end_line(ps, rest, had_feed || is_last);
done:
	return st;
}

static cyc_status parse_row(parser *ps, char *p)
{
	cyc_status st = CYC_OK;
	size_t first = ps->n_values, n_found = 0, n_wanted = ps->n_labels;
	bool is_last = false;
	ps->is_header = false;
	for (;;) {
		char *token;
		CYC_TRY(next_token(&token, &p, &is_last, ps));
		if (!token) break;
		if (n_found++ < n_wanted) CYC_TRY(add_value(ps, token));
		if (is_last) break;
	}
	if (n_found == 1 && n_wanted == 2 && strcmp(ps->block->name, "joboptions_values") == 0) {
		/* Job options without a value: some programs leave the second column empty. In other tables a blank
		 * would shift the values. */
		CYC_TRY(add_value(ps, ""));
		n_found = 2;
	}
	if (n_found != n_wanted) {
		if (n_found > 0 && ps->n_values > first) {
			PARSE_ERROR(
				ps, "a row of block '%s' has too %s values: expected %zu, found %zu (it starts with '%.40s')",
				ps->block->name, n_found < n_wanted ? "few" : "many", n_wanted, n_found, ps->values[first]);
		}
		PARSE_ERROR(ps, "found a value in block '%s', whose table has no labels", ps->block->name);
	}
	if (ps->n_rows == ps->row_capacity) CYC_TRY(grow(&ps->lines, &ps->row_capacity, sizeof *ps->lines));
	ps->lines[ps->n_rows++] = ps->line;
	end_line(ps, p, is_last);
done:
	return st;
}

/* The line has nothing but this word (and perhaps a comment). */
static bool is_alone(const char *p, bool any_ending)
{
	if (any_ending) {
		while (!ENDS_TOKEN[(uint8_t)*p]) p++;
	}
	if (!ENDS_TOKEN[(uint8_t)*p]) return false;
	while (cyc__is_blank(*p)) p++;
	return *p == '\n' || *p == '\0' || *p == '#';
}

static cyc_status parse_line(parser *ps)
{
	cyc_status st = CYC_OK;
	char *p = skip_blanks(ps->p);
	bool in_rows = ps->block && ps->block->kind == CYC_STAR_TABLE && !ps->is_header;
	bool may_be_row = ps->block && ps->block->kind == CYC_STAR_TABLE && ps->n_labels > 0;
	bool after_blank = ps->after_blank;
	ps->after_blank = *p == '\n' || *p == '\0';
	if (ps->after_blank || *p == '#' || (*p == ';' && !in_rows)) {
		end_line(ps, skip_line(p), false);
	} else if (strncmp(p, "data_", 5) == 0 && (!may_be_row || after_blank || is_alone(p, true))) {
		CYC_TRY(parse_block_line(ps, p));
	} else if (strncmp(p, "loop_", 5) == 0 && is_alone(p + 5, false)) {
		CYC_TRY(parse_loop_line(ps, p));
	} else if (!ps->block) {
		PARSE_ERROR(ps, "expected a line with data_, found '%.40s'", cut_line(p));
	} else if (in_rows) {
		CYC_TRY(parse_row(ps, p));
	} else if (*p == '_') {
		CYC_TRY(ps->is_header ? parse_table_label(ps, p) : parse_list_line(ps, p));
	} else if (ps->is_header) {
		CYC_TRY(parse_row(ps, p));
	} else {
		PARSE_ERROR(ps, "expected '_label value' or loop_ in block '%s', found '%.40s'", ps->block->name,
		            cut_line(p));
	}
done:
	return st;
}

static cyc_status check_text(const cyc_star *s, size_t n)
{
	cyc_status st = CYC_OK;
	const char *nul = memchr(s->text, '\0', n);
	if (!nul) return CYC_OK;
	long long line = 1;
	for (const char *p = s->text; p < nul; p++) line += *p == '\n';
	CYC_RAISE(CYC_E_FORMAT, "%s: line %lld: found a NUL byte: this is not a STAR file", s->name, line);
done:
	return st;
}

/* `text` is taken, also on failure. */
static cyc_status parse(cyc_star **out, char *text, size_t n, const char *name)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	parser ps = { .line = 1 };
	*out = NULL;
	CYC_TRY(cyc_star_create(&s));
	s->text = text;
	text = NULL;
	CYC_TRY(cyc_star_set_name(s, name));
	CYC_TRY(check_text(s, n));
	ps.star = s;
	ps.p = s->text;
	if (n >= 3 && memcmp(ps.p, "\xEF\xBB\xBF", 3) == 0) ps.p += 3; /* byte order mark of UTF-8 editors */
	/* Values of particle tables take some 16 bytes of text each. */
	ps.value_capacity = n / 16 + 64;
	CYC_TRY(cyc_alloc(&ps.values, ps.value_capacity, sizeof *ps.values));
	while (ps.p < s->text + n) CYC_TRY(parse_line(&ps));
	CYC_TRY(finish_block(&ps));
	*out = s;
	s = NULL;
done:
	cyc_free(text);
	cyc_free(ps.values);
	cyc_free(ps.lines);
	cyc_free(ps.labels);
	cyc_star_destroy(&s);
	return st;
}

cyc_status cyc_star_read(cyc_star **out, const char *path)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	size_t n = 0;
	*out = NULL;
	CYC_TRY(cyc_read_file(&text, &n, path));
	CYC_TRY(parse(out, text, n, path));
done:
	return st;
}

cyc_status cyc_star_parse(cyc_star **out, const char *text, size_t n, const char *name)
{
	cyc_status st = CYC_OK;
	char *copy = NULL;
	*out = NULL;
	CYC_CHECK(n < SIZE_MAX, CYC_E_NOMEM, "'%s' is too large", name);
	CYC_TRY(cyc_alloc_(&copy, n + 1, 1, name));
	if (n) memcpy(copy, text, n);
	CYC_TRY(parse(out, copy, n, name));
done:
	return st;
}

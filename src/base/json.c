#include "cyclotomo/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void put(cyc_json *j, const char *s, size_t n)
{
	if (j->status != CYC_OK) return;
	if (j->n + n + 1 > j->capacity) {
		size_t capacity = 2 * (j->n + n + 1) + 256;
		j->status = cyc_realloc(&j->text, j->capacity, capacity, 1);
		if (j->status != CYC_OK) return;
		j->capacity = capacity;
	}
	memcpy(j->text + j->n, s, n);
	j->n += n;
	j->text[j->n] = '\0';
}

static void put_text(cyc_json *j, const char *s) { put(j, s, strlen(s)); }

static void newline(cyc_json *j)
{
	put(j, "\n", 1);
	for (int i = 0; i < j->depth; i++) put(j, "  ", 2);
}

/* Length of the valid UTF-8 character at s, 0 if there is none. */
static size_t utf8_length(const unsigned char *s)
{
	size_t n;
	if (s[0] < 0x80) return 1;
	if (s[0] >= 0xc2 && s[0] < 0xe0) n = 2;
	else if (s[0] >= 0xe0 && s[0] < 0xf0) n = 3;
	else if (s[0] >= 0xf0 && s[0] < 0xf5) n = 4;
	else return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80) return 0;
	}
	/* Overlong forms, surrogates and what lies beyond U+10FFFF. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
	if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
	return n;
}

static void put_quoted(cyc_json *j, const char *value)
{
	put(j, "\"", 1);
	for (const char *c = value; *c;) {
		unsigned char u = (unsigned char)*c;
		size_t n = utf8_length((const unsigned char *)c);
		if (n == 0) put(j, "\xef\xbf\xbd", 3);
		else if (u == '"' || u == '\\') {
			put(j, "\\", 1);
			put(j, c, 1);
		} else if (u == '\n') put(j, "\\n", 2);
		else if (u == '\t') put(j, "\\t", 2);
		else if (u < 0x20 || u == 0x7f) {
			char code[8];
			snprintf(code, sizeof code, "\\u%04x", (unsigned)u);
			put_text(j, code);
		} else put(j, c, n);
		c += n ? n : 1;
	}
	put(j, "\"", 1);
}

static void begin_value(cyc_json *j, const char *key)
{
	if (j->has_items) put(j, ",", 1);
	if (j->depth > 0) newline(j);
	if (key) {
		put_quoted(j, key);
		put(j, ": ", 2);
	}
	j->has_items = true;
}

static void begin_container(cyc_json *j, const char *key, const char *bracket)
{
	begin_value(j, key);
	put(j, bracket, 1);
	j->depth++;
	j->has_items = false;
}

static void end_container(cyc_json *j, const char *bracket)
{
	bool was_empty = !j->has_items;
	j->depth--;
	if (!was_empty) newline(j);
	put(j, bracket, 1);
	j->has_items = true;
}

void cyc_json_begin_object(cyc_json *j, const char *key) { begin_container(j, key, "{"); }
void cyc_json_end_object(cyc_json *j) { end_container(j, "}"); }
void cyc_json_begin_array(cyc_json *j, const char *key) { begin_container(j, key, "["); }
void cyc_json_end_array(cyc_json *j) { end_container(j, "]"); }

void cyc_json_text(cyc_json *j, const char *key, const char *value)
{
	begin_value(j, key);
	if (value) put_quoted(j, value);
	else put_text(j, "null");
}

static void put_double(cyc_json *j, double value)
{
	char text[40];
	if (!isfinite(value)) {
		put_text(j, "null");
		return;
	}
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod(text, NULL) == value) break;
	}
	put_text(j, text);
}

void cyc_json_double(cyc_json *j, const char *key, double value)
{
	begin_value(j, key);
	put_double(j, value);
}

void cyc_json_int(cyc_json *j, const char *key, int64_t value)
{
	char text[32];
	begin_value(j, key);
	snprintf(text, sizeof text, "%" PRId64, value);
	put_text(j, text);
}

void cyc_json_bool(cyc_json *j, const char *key, bool value)
{
	begin_value(j, key);
	put_text(j, value ? "true" : "false");
}

void cyc_json_doubles(cyc_json *j, const char *key, const double *values, int64_t n)
{
	begin_value(j, key);
	put(j, "[", 1);
	for (int64_t i = 0; i < n; i++) {
		if (i > 0) put(j, ", ", 2);
		put_double(j, values[i]);
	}
	put(j, "]", 1);
}

cyc_status cyc_json_finish(char **out, cyc_json *j)
{
	CYC_ASSERT(j->depth == 0);
	*out = NULL;
	put(j, "\n", 1);
	cyc_status st = j->status;
	if (st == CYC_OK) {
		*out = j->text;
		j->text = NULL;
	}
	cyc_json_deinit(j);
	return st;
}

void cyc_json_deinit(cyc_json *j)
{
	cyc_free(j->text);
	memset(j, 0, sizeof *j);
}

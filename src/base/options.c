#include "cyclotomo/options.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

union member_value {
	bool flag;
	int32_t i;
	int64_t i64;
	double d;
	int choice;
	const char *text;
};

/* ---------------------------------------------------------------- units and ranges */

static bool is_blank(const char *s) { return s[strspn(s, " \t")] == '\0'; }

static const struct {
	const char *unit, *suffix;
	double factor;
} KNOWN[] = {
	{ "<Å>", "A", 1.0 },         { "<Å>", "Å", 1.0 },     { "<Å>", "nm", 10.0 },      { "<Å>", "um", 1e4 },
	{ "<Å²>", "A2", 1.0 },       { "<Å²>", "Å2", 1.0 },   { "<Å²>", "Å²", 1.0 },      { "<px>", "px", 1.0 },
	{ "<degrees>", "deg", 1.0 }, { "<kDa>", "kDa", 1.0 }, { "<kDa>", "MDa", 1000.0 },
};

/* Factor that a unit behind a number stands for, 0 if it does not fit the option's. */
static double unit_factor(const char *suffix, const char *unit)
{
	if (is_blank(suffix)) return 1.0;
	for (size_t i = 0; unit && i < sizeof KNOWN / sizeof *KNOWN; i++) {
		if (strcmp(KNOWN[i].unit, unit) == 0 && strcmp(KNOWN[i].suffix, suffix) == 0) return KNOWN[i].factor;
	}
	return 0.0;
}

/*
 * Beyond these a number is a slip of the pen: nothing that an electron microscope or a grid of this program
 * has is larger, and sums of a few of them still fit the integers they are counted with. Of both signs, since
 * some options have a meaning below zero.
 */
static const struct {
	const char *unit;
	double most;
	const char *why;
} LIMITS[] = {
	{ "<px>", 32766, "no image or map is larger" },
	{ "<Å>", 1e7, "that is a millimetre, more than a specimen" },
	{ "<Å²>", 1e6, "a B-factor leaves nothing there" },
	{ "<Å/(e/Å2)>", 1e4, "nothing moves faster" },
	{ "<e/Å2>", 1e5, "no specimen survives it" },
	{ "<degrees>", 3600, "that is ten turns" },
	{ "<rad>", 1e3, "" },
	{ "<n>", 1e6, "" },
	{ "<row>", 1e6, "no series has more tilts" },
	{ "<factor>", 1e6, "" },
	{ "<ratio>", 1e6, "" },
	{ "<strength>", 1e12, "" },
	{ "<steps>", 1e3, "" },
	{ "<kV>", 1e4, "no microscope has that" },
	{ "<mm>", 1e3, "no lens has that" },
	{ "<kDa>", 1e9, "no particle weighs that much" },
	{ "<GB>", 1e7, "no computer has that much" },
	{ "<s>", 1e9, "" },
};

static cyc_status check_unit(const cyc_option *o, const char *given, const char *text, double v)
{
	cyc_status st = CYC_OK;
	for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
		if (!o->unit || strcmp(o->unit, LIMITS[i].unit) != 0) continue;
		const char *why = LIMITS[i].why;
		CYC_CHECK(fabs(v) <= LIMITS[i].most, CYC_E_USAGE, "%s %s is out of range: at most %g %s%s%s", given,
		          text, LIMITS[i].most, o->unit, why[0] ? "; " : "", why);
	}
done:
	return st;
}

/* "[0,1)", in words: "at least 0 and below 1". A bound that is not there is no text. */
typedef struct {
	bool is_above, is_below; /* the bound itself is not allowed */
	double low, high;
	char words[64];
} range_of;

static range_of read_range(const char *range)
{
	range_of r = { .is_above = range[0] == '(', .low = -HUGE_VAL, .high = HUGE_VAL };
	const char *comma = strchr(range, ',');
	int n_low = (int)(comma - range - 1), n_high = (int)strcspn(comma + 1, ")]");
	r.is_below = comma[1 + n_high] == ')';
	if (n_low > 0) r.low = strtod(range + 1, NULL);
	if (n_high > 0) r.high = strtod(comma + 1, NULL);
	if (n_low > 0 && n_high > 0 && !r.is_above && !r.is_below)
		snprintf(r.words, sizeof r.words, "%.*s to %.*s", n_low, range + 1, n_high, comma + 1);
	else
		snprintf(r.words, sizeof r.words, "%s%.*s%s%s%.*s",
		         n_low == 0   ? ""
		         : r.is_above ? "above "
		                      : "at least ",
		         n_low, range + 1, n_low > 0 && n_high > 0 ? " and " : "",
		         n_high == 0  ? ""
		         : r.is_below ? "below "
		                      : "at most ",
		         n_high, comma + 1);
	return r;
}

/* `text` is the value as it was given. */
static cyc_status check_range(const cyc_option *o, const char *given, const char *text, double v)
{
	cyc_status st = CYC_OK;
	if (!o->range) return CYC_OK;
	const range_of r = read_range(o->range);
	bool is_in = (r.is_above ? v > r.low : v >= r.low) && (r.is_below ? v < r.high : v <= r.high);
	bool has_unit = false;
	for (size_t i = 0; o->unit && i < sizeof KNOWN / sizeof *KNOWN; i++)
		has_unit = has_unit || strcmp(KNOWN[i].unit, o->unit) == 0;
	CYC_CHECK(is_in, CYC_E_USAGE, "%s must be %s%s%.*s, got %s", given, r.words, has_unit ? " " : "",
	          has_unit ? (int)strlen(o->unit) - 2 : 0, has_unit ? o->unit + 1 : "", text);
done:
	return st;
}

/* ---------------------------------------------------------------- values from text */

static cyc_status parse_double(double *out, const cyc_option *o, const char *given, const char *text)
{
	cyc_status st = CYC_OK;
	char *end = NULL;
	errno = 0;
	double v = strtod(text, &end);
	double factor = end == text ? 0.0 : unit_factor(end, o->unit);
	CYC_CHECK(factor > 0.0 && isfinite(v) && errno == 0, CYC_E_USAGE, "%s must be a number%s%s, got '%s'",
	          given, o->unit ? " " : "", o->unit ? o->unit : "", text);
	v *= factor;
	CYC_TRY(check_unit(o, given, text, v));
	CYC_TRY(check_range(o, given, text, v));
	*out = v;
done:
	return st;
}

static cyc_status parse_int(int64_t *out, const cyc_option *o, const char *given, const char *text)
{
	cyc_status st = CYC_OK;
	int64_t min = o->type == CYC_OPT_INT ? INT32_MIN : INT64_MIN,
			max = o->type == CYC_OPT_INT ? INT32_MAX : INT64_MAX;
	char *end = NULL;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	CYC_CHECK(end != text && unit_factor(end, o->unit) == 1.0 && errno == 0, CYC_E_USAGE,
	          "%s must be a whole number%s%s, got '%s'", given, o->unit ? " " : "", o->unit ? o->unit : "",
	          text);
	CYC_CHECK(v >= min && v <= max, CYC_E_USAGE, "%s is out of range: %s", given, text);
	if (o->type == CYC_OPT_INT) CYC_TRY(check_unit(o, given, text, (double)v));
	CYC_TRY(check_range(o, given, text, (double)v));
	*out = v;
done:
	return st;
}

static int find_choice(const cyc_option *o, const char *text)
{
	int index = 0;
	for (const char *c = o->choices; *c; index++) {
		size_t n = strcspn(c, ",");
		if (strlen(text) == n && strncasecmp(c, text, n) == 0) return index;
		c += n + (c[n] == ',');
	}
	return -1;
}

cyc_status cyc_option_set(void *target, const cyc_option *o, const char *given, const char *text)
{
	cyc_status st = CYC_OK;
	char *member = (char *)target + o->offset;
	double d = 0.0;
	int64_t i = 0;
	int choice = 0;
	bool flag = true;
	switch (o->type) {
	case CYC_OPT_FLAG:
	case CYC_OPT_CLEAR:
		flag = o->type == CYC_OPT_FLAG;
		memcpy(member, &flag, sizeof flag);
		break;
	case CYC_OPT_INT:
		CYC_TRY(parse_int(&i, o, given, text));
		memcpy(member, &(int32_t){ (int32_t)i }, sizeof(int32_t));
		break;
	case CYC_OPT_INT64:
		CYC_TRY(parse_int(&i, o, given, text));
		memcpy(member, &i, sizeof i);
		break;
	case CYC_OPT_DOUBLE:
	case CYC_OPT_ANGLE:
		CYC_TRY(parse_double(&d, o, given, text));
		if (o->type == CYC_OPT_ANGLE) d = cyc_deg_to_rad(d);
		memcpy(member, &d, sizeof d);
		break;
	case CYC_OPT_CHOICE:
		choice = find_choice(o, text);
		CYC_CHECK(choice >= 0, CYC_E_USAGE, "%s must be one of %s, got '%s'", given, o->choices, text);
		memcpy(member, &choice, sizeof choice);
		break;
	case CYC_OPT_TEXT:
	case CYC_OPT_FILE:
	case CYC_OPT_ARG:
		CYC_CHECK(text[0], CYC_E_USAGE, "%s needs a value, got an empty one", given);
		memcpy(member, &text, sizeof text);
		break;
	case CYC_OPT_HEADING:
	case CYC_OPT_TABLE: break;
	}
	flag = true;
	if (o->is_set) memcpy((char *)target + o->is_set, &flag, sizeof flag);
done:
	return st;
}

/* ---------------------------------------------------------------- values as text */

/* The shorter form where it gives the same number. */
static cyc_status exact_text(char **out, double v, bool is_angle)
{
	double shown = is_angle ? cyc_rad_to_deg(v) : v;
	char text[40];
	for (int digits = 10; digits <= 17; digits += 7) {
		snprintf(text, sizeof text, "%.*g", digits, shown);
		double back = strtod(text, NULL);
		if (is_angle) back = cyc_deg_to_rad(back);
		if (memcmp(&back, &v, sizeof v) == 0) break;
	}
	return cyc_strdup(out, text);
}

cyc_status cyc_option_value(char **out, const void *target, const cyc_option *o)
{
	const char *member = (const char *)target + o->offset;
	*out = NULL;
	switch (o->type) {
	case CYC_OPT_FLAG:
	case CYC_OPT_CLEAR: {
		bool flag;
		memcpy(&flag, member, sizeof flag);
		return cyc_strdup(out, flag == (o->type == CYC_OPT_FLAG) ? "yes" : "no");
	}
	case CYC_OPT_INT: {
		int32_t i;
		memcpy(&i, member, sizeof i);
		return cyc_asprintf(out, "%" PRId32, i);
	}
	case CYC_OPT_INT64: {
		int64_t i;
		memcpy(&i, member, sizeof i);
		return cyc_asprintf(out, "%" PRId64, i);
	}
	case CYC_OPT_DOUBLE:
	case CYC_OPT_ANGLE: {
		double d;
		memcpy(&d, member, sizeof d);
		return isnan(d) ? cyc_strdup(out, "") : exact_text(out, d, o->type == CYC_OPT_ANGLE);
	}
	case CYC_OPT_CHOICE: {
		int index;
		memcpy(&index, member, sizeof index);
		const char *c = o->choices;
		for (; index > 0; index--) c += strcspn(c, ",") + 1;
		return cyc_asprintf(out, "%.*s", (int)strcspn(c, ","), c);
	}
	case CYC_OPT_TEXT:
	case CYC_OPT_FILE:
	case CYC_OPT_ARG: {
		const char *text;
		memcpy(&text, member, sizeof text);
		return cyc_strdup(out, text ? text : "");
	}
	case CYC_OPT_HEADING:
	case CYC_OPT_TABLE: break;
	}
	return cyc_strdup(out, "");
}

/* ---------------------------------------------------------------- defaults */

/* The bytes that a member has by default; their number is returned, 0 of what is no option. */
static size_t default_of(union member_value *v, const cyc_option *o)
{
	const char *text = o->value;
	memset(v, 0, sizeof *v);
	switch (o->type) {
	case CYC_OPT_FLAG:
	case CYC_OPT_CLEAR:
		v->flag = (text && strcmp(text, "yes") == 0) == (o->type == CYC_OPT_FLAG);
		return sizeof v->flag;
	case CYC_OPT_INT: v->i = text ? (int32_t)strtol(text, NULL, 10) : 0; return sizeof v->i;
	case CYC_OPT_INT64: v->i64 = text ? strtoll(text, NULL, 10) : 0; return sizeof v->i64;
	case CYC_OPT_DOUBLE: v->d = text ? strtod(text, NULL) : 0.0; return sizeof v->d;
	case CYC_OPT_ANGLE: v->d = text ? cyc_deg_to_rad(strtod(text, NULL)) : 0.0; return sizeof v->d;
	case CYC_OPT_CHOICE: v->choice = text ? find_choice(o, text) : 0; return sizeof v->choice;
	case CYC_OPT_TEXT:
	case CYC_OPT_FILE:
	case CYC_OPT_ARG: v->text = text; return sizeof v->text;
	case CYC_OPT_HEADING:
	case CYC_OPT_TABLE: break;
	}
	return 0;
}

cyc_status cyc_option_default_value(char **out, const cyc_option *o)
{
	union member_value v;
	cyc_option at_start = *o;
	(void)default_of(&v, o);
	at_start.offset = 0;
	return cyc_option_value(out, &v, &at_start);
}

bool cyc_option_is_default(const void *target, const cyc_option *o)
{
	union member_value v;
	size_t n = default_of(&v, o);
	const char *member = (const char *)target + o->offset, *text;
	double d;
	bool is_set = false;
	if (o->is_set && !cyc_option_is_flag(o)) memcpy(&is_set, (const char *)target + o->is_set, sizeof is_set);
	if (is_set) return false;
	if (o->type == CYC_OPT_DOUBLE || o->type == CYC_OPT_ANGLE) {
		memcpy(&d, member, sizeof d);
		return isnan(d) ? isnan(v.d) : d >= v.d && d <= v.d;
	}
	if (n != sizeof text || (o->type != CYC_OPT_TEXT && o->type != CYC_OPT_FILE && o->type != CYC_OPT_ARG))
		return memcmp(member, &v, n) == 0;
	memcpy(&text, member, sizeof text);
	return strcmp(text ? text : "", v.text ? v.text : "") == 0;
}

/* What a list "name=value,..." has for a name; false: nothing. */
static bool entry_of(char *value, size_t size, const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *at = list; at && *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
		if (strncmp(at, name, n) != 0 || at[n] != '=') continue;
		snprintf(value, size, "%.*s", (int)strcspn(at + n + 1, ","), at + n + 1);
		return true;
	}
	return false;
}

static void set_default(void *target, const cyc_option *o)
{
	union member_value v;
	size_t n = default_of(&v, o);
	bool no = false;
	if (n > 0) memcpy((char *)target + o->offset, &v, n);
	if (o->is_set) memcpy((char *)target + o->is_set, &no, sizeof no);
}

/* Numbers and choices only: a text would have to live on. */
static void set_other_defaults(void *target, const cyc_option *nested)
{
	for (int i = 0; i < nested->table->n; i++) {
		cyc_option row = nested->table->rows[i];
		char value[32];
		if (row.type == CYC_OPT_TABLE || !entry_of(value, sizeof value, nested->value, row.name)) continue;
		row.value = value;
		set_default(target, &row);
	}
}

void cyc_options_set_defaults(void *target, const cyc_option_table *table)
{
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < table->n; i++) {
			const cyc_option *o = &table->rows[i];
			char *member = (char *)target + o->offset;
			if (pass == 0 && o->type == CYC_OPT_TABLE) cyc_options_set_defaults(member, o->table);
			if (pass == 0 && o->type == CYC_OPT_TABLE && o->value) set_other_defaults(member, o);
			if (pass == 1 && o->type != CYC_OPT_TABLE) set_default(target, o);
		}
	}
}

/* ---------------------------------------------------------------- checks and hashes */

static cyc_status check_row(const void *target, const cyc_option *o)
{
	cyc_status st = CYC_OK;
	char *text = NULL, *name = NULL;
	if (!o->range || cyc_option_is_default(target, o)) return CYC_OK;
	CYC_TRY(cyc_option_value(&text, target, o));
	CYC_TRY(cyc_asprintf(&name, "--%s", o->name));
	CYC_TRY(check_range(o, name, text[0] ? text : "nan", text[0] ? strtod(text, NULL) : CYC_NAN));
done:
	cyc_free(text);
	cyc_free(name);
	return st;
}

cyc_status cyc_options_check(const void *target, const cyc_option_table *table)
{
	cyc_status st = CYC_OK;
	for (int i = 0; i < table->n; i++) {
		const cyc_option *o = &table->rows[i];
		if (o->type == CYC_OPT_TABLE) CYC_TRY(cyc_options_check((const char *)target + o->offset, o->table));
		else CYC_TRY(check_row(target, o));
	}
done:
	return st;
}

cyc_status cyc_options_hash(uint64_t *h, const void *target, const cyc_option_table *table, unsigned purposes)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	for (int i = 0; i < table->n; i++) {
		const cyc_option *o = &table->rows[i];
		if (o->type == CYC_OPT_TABLE) {
			CYC_TRY(cyc_options_hash(h, (const char *)target + o->offset, o->table, purposes));
			continue;
		}
		if (!(purposes >> o->purpose & 1U) || o->type == CYC_OPT_HEADING || cyc_option_is_default(target, o))
			continue;
		CYC_TRY(cyc_option_value(&text, target, o));
		*h = cyc_hash_string(cyc_hash_string(*h, o->name), text);
		cyc_free(text);
		text = NULL;
	}
done:
	cyc_free(text);
	return st;
}

/* ---------------------------------------------------------------- all rows in one list */

/* Is the word one of the spellings "--a,--b"? */
static bool is_spelling(const char *list, const char *word, size_t n_word)
{
	for (const char *a = list; a && *a;) {
		size_t n = strcspn(a, ",");
		if (n == n_word && strncmp(a, word, n) == 0) return true;
		a += n + (a[n] == ',');
	}
	return false;
}

bool cyc_option_is_flag(const cyc_option *o) { return o->type == CYC_OPT_FLAG || o->type == CYC_OPT_CLEAR; }

bool cyc_option_is_named(const cyc_option *o, const char *word, size_t n_word)
{
	if (o->type == CYC_OPT_HEADING || o->type == CYC_OPT_ARG || o->type == CYC_OPT_TABLE) return false;
	if (n_word > 2 && strncmp(word, "--", 2) == 0 && strlen(o->name) == n_word - 2 &&
	    strncmp(word + 2, o->name, n_word - 2) == 0)
		return true;
	return is_spelling(o->alias, word, n_word) || is_spelling(o->relion, word, n_word);
}

int cyc_option_find(const cyc_option *rows, int n, const char *word, size_t n_word)
{
	for (int i = 0; i < n; i++) {
		if (cyc_option_is_named(&rows[i], word, n_word)) return i;
	}
	return -1;
}

cyc_status cyc_option_spellings(char **out, const cyc_option *o)
{
	cyc_status st = CYC_OK;
	const char *const lists[] = { o->alias, o->relion };
	char *text = NULL, *longer = NULL;
	CYC_TRY(cyc_asprintf(&text, "--%s", o->name));
	for (int k = 0; k < 2; k++) {
		size_t n;
		for (const char *a = lists[k]; a && *a; a += n + (a[n] == ',')) {
			n = strcspn(a, ",");
			if (is_spelling(text, a, n)) continue;
			CYC_TRY(cyc_asprintf(&longer, "%s,%.*s", text, (int)n, a));
			cyc_free(text);
			text = longer;
			longer = NULL;
		}
	}
	*out = text;
	text = NULL;
done:
	cyc_free(text);
	return st;
}

/* Where a table is that has a name before those of its rows. */
typedef struct {
	const cyc_option *in; /* the row of the outer table; NULL: it has none, or is in none */
	const cyc_option_table *outer;
	size_t outer_base; /* offset of the outer struct */
} place;

/* A row of a nested table that has a name before its own. */
typedef struct {
	int row;              /* in the list */
	const cyc_option *in; /* the row of the outer table */
} prefixed;

typedef struct {
	cyc_option_list *list;
	int n_prefixed;
	prefixed *prefixed;
} list_maker;

/* The text becomes the list's. */
static cyc_status keep_text(const char **out, cyc_option_list *list, char **text)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_realloc(&list->texts, (size_t)list->n_texts, (size_t)list->n_texts + 1, sizeof *list->texts));
	list->texts[list->n_texts++] = *text;
	*out = *text;
	*text = NULL;
done:
	return st;
}

static bool has_member(const place *at, size_t offset)
{
	for (int i = 0; i < at->outer->n; i++) {
		const cyc_option *o = &at->outer->rows[i];
		if (o->type != CYC_OPT_TABLE && o->type != CYC_OPT_HEADING && at->outer_base + o->offset == offset)
			return true;
	}
	return false;
}

static bool is_in_list(const char *list, const char *name) { return is_spelling(list, name, strlen(name)); }

static cyc_status add_row(list_maker *m, const cyc_option *o, size_t base, const cyc_option *in)
{
	cyc_status st = CYC_OK;
	cyc_option_list *list = m->list;
	char value[32], *text = NULL;
	CYC_TRY(cyc_realloc(&list->rows, (size_t)list->n, (size_t)list->n + 1, sizeof *list->rows));
	cyc_option *row = &list->rows[list->n++];
	*row = *o;
	row->offset += base;
	if (o->is_set) row->is_set += base;
	if (in && in->value && entry_of(value, sizeof value, in->value, o->name)) {
		CYC_TRY(cyc_strdup(&text, value));
		CYC_TRY(keep_text(&row->value, list, &text));
	}
	if (!in || o->type == CYC_OPT_HEADING) goto done;
	CYC_TRY(cyc_realloc(&m->prefixed, (size_t)m->n_prefixed, (size_t)m->n_prefixed + 1, sizeof *m->prefixed));
	m->prefixed[m->n_prefixed++] = (prefixed){ list->n - 1, in };
done:
	cyc_free(text);
	return st;
}

static cyc_status add_rows(list_maker *m, const cyc_option_table *t, size_t base, place at)
{
	cyc_status st = CYC_OK;
	for (int i = 0; i < t->n; i++) {
		const cyc_option *o = &t->rows[i];
		if (o->type == CYC_OPT_TABLE) {
			const cyc_option heading = CYC_HEADING(o->help);
			if (o->purpose == CYC_FOR_FILES && at.in) continue;
			if (o->name && o->help) CYC_TRY(add_row(m, &heading, 0, NULL));
			CYC_TRY(add_rows(m, o->table, base + o->offset, o->name ? (place){ o, t, base } : at));
			continue;
		}
		bool is_hidden = at.in && (o->type == CYC_OPT_HEADING || o->purpose == CYC_FOR_FILES ||
		                           is_in_list(at.in->hides, o->name) || has_member(&at, base + o->offset));
		if (!is_hidden) CYC_TRY(add_row(m, o, base, at.in));
	}
done:
	return st;
}

/* Rows that would have the word for a name, if all plain names were allowed. */
static int n_named(const cyc_option_list *list, const char *word, size_t n)
{
	int count = 0;
	for (int i = 0; i < list->n; i++) count += cyc_option_is_named(&list->rows[i], word, n);
	return count;
}

/* Of the spellings those that are unique, behind what `text` has. */
static cyc_status add_unique(char **text, const cyc_option_list *list, const char *spellings)
{
	cyc_status st = CYC_OK;
	char *longer = NULL;
	for (const char *a = spellings; a && *a;) {
		size_t n = strcspn(a, ",");
		if (n_named(list, a, n) == 1 && !is_spelling(*text, a, n)) {
			CYC_TRY(cyc_asprintf(&longer, "%s%s%.*s", *text, (*text)[0] ? "," : "", (int)n, a));
			cyc_free(*text);
			*text = longer;
			longer = NULL;
		}
		a += n + (a[n] == ',');
	}
done:
	return st;
}

/* The names that a prefixed row gets; `list` has all rows with their plain names. */
static cyc_status name_row(cyc_option *named, cyc_option_list *owner, const cyc_option_list *list,
                           const cyc_option *o, const cyc_option *in)
{
	cyc_status st = CYC_OK;
	char *full = NULL, *own = NULL, *aliases = NULL, *dashed = NULL, plain[48];
	bool has_plain = entry_of(plain, sizeof plain, in->alias, o->name);
	CYC_TRY(cyc_asprintf(&full, "%s.%s", in->name, o->name));
	CYC_TRY(cyc_asprintf(&dashed, "--%s", o->name));
	if (!has_plain && n_named(list, dashed, strlen(dashed)) == 1) {
		snprintf(plain, sizeof plain, "%s", o->name);
		has_plain = true;
	}
	CYC_TRY(cyc_strdup(&own, has_plain ? plain : full));
	CYC_TRY(has_plain ? cyc_asprintf(&aliases, "--%s", full) : cyc_strdup(&aliases, ""));
	if (has_plain && strcmp(plain, o->name) != 0) CYC_TRY(add_unique(&aliases, list, dashed));
	CYC_TRY(add_unique(&aliases, list, o->alias));
	CYC_TRY(add_unique(&aliases, list, o->relion));
	*named = *o;
	CYC_TRY(keep_text(&named->name, owner, &own));
	CYC_TRY(keep_text(&named->alias, owner, &aliases));
	named->relion = NULL;
done:
	cyc_free(full);
	cyc_free(dashed);
	cyc_free(own);
	cyc_free(aliases);
	return st;
}

cyc_status cyc_option_list_make(cyc_option_list *out, const cyc_option_table *table)
{
	cyc_status st = CYC_OK;
	list_maker m = { .list = out };
	cyc_option *named = NULL;
	*out = (cyc_option_list){ 0 };
	CYC_TRY(add_rows(&m, table, 0, (place){ 0 }));
	CYC_TRY(cyc_alloc(&named, m.n_prefixed + 1, sizeof *named));
	for (int i = 0; i < m.n_prefixed; i++)
		CYC_TRY(name_row(&named[i], out, out, &out->rows[m.prefixed[i].row], m.prefixed[i].in));
	for (int i = 0; i < m.n_prefixed; i++) out->rows[m.prefixed[i].row] = named[i];
done:
	cyc_free(named);
	cyc_free(m.prefixed);
	if (st != CYC_OK) cyc_option_list_deinit(out);
	return st;
}

void cyc_option_list_deinit(cyc_option_list *list)
{
	for (int i = 0; i < list->n_texts; i++) cyc_free(list->texts[i]);
	cyc_free(list->texts);
	cyc_free(list->rows);
	*list = (cyc_option_list){ 0 };
}

#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- did you mean */

enum { LONGEST_WORD = 63 };

/* Insertions, deletions, replacements and swaps of neighbours; words longer than LONGEST_WORD are cut. */
static int edit_distance(const char *a, const char *b)
{
	int rows[3][LONGEST_WORD + 1], na = (int)strnlen(a, LONGEST_WORD), nb = (int)strnlen(b, LONGEST_WORD);
	for (int k = 0; k <= nb; k++) rows[0][k] = k;
	for (int i = 1; i <= na; i++) {
		int *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
		now[0] = i;
		for (int k = 1; k <= nb; k++) {
			int d = last[k - 1] + (a[i - 1] != b[k - 1]);
			if (last[k] + 1 < d) d = last[k] + 1;
			if (now[k - 1] + 1 < d) d = now[k - 1] + 1;
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] && before[k - 2] + 1 < d)
				d = before[k - 2] + 1;
			now[k] = d;
		}
	}
	return rows[na % 3][nb];
}

const char *cyc_nearest(const char *word, const char *const *candidates, int n)
{
	const char *best = NULL;
	int n_word = (int)strnlen(word, LONGEST_WORD), best_distance = n_word / 3 + 2;
	for (int i = 0; i < n; i++) {
		int d = edit_distance(word, candidates[i]);
		/* The beginning of a longer name is near to it however long the rest is. */
		if (n_word >= 3 && strncmp(word, candidates[i], (size_t)n_word) == 0) d = 1;
		if (d < best_distance) {
			best_distance = d;
			best = candidates[i];
		}
	}
	return best;
}

/* ---------------------------------------------------------------- finding an option */

/* Does the word (with dashes, without "=value") name this option? */
static bool is_named(const cyc_option *o, const char *word, size_t n_word)
{
	if (o->type == CYC_OPT_HEADING || o->type == CYC_OPT_ARG) return false;
	if (n_word > 2 && strncmp(word, "--", 2) == 0 && strlen(o->name) == n_word - 2 &&
	    strncmp(word + 2, o->name, n_word - 2) == 0)
		return true;
	for (const char *a = o->alias; a && *a;) {
		size_t n = strcspn(a, ",");
		if (n == n_word && strncmp(a, word, n) == 0) return true;
		a += n + (a[n] == ',');
	}
	return false;
}

static int find_option(const cyc_option *table, int n, const char *word, size_t n_word)
{
	for (int i = 0; i < n; i++) {
		if (is_named(&table[i], word, n_word)) return i;
	}
	return -1;
}

static cyc_status raise_unknown(const cyc_option *table, int n, const char *word, const char *command)
{
	cyc_status st = CYC_OK;
	const char **names = NULL;
	char *storage = NULL;
	int n_names = 0;
	size_t used = 0, room = 16, most = 1;
	for (int i = 0; i < n; i++) {
		room += strlen(table[i].name) + 4 + (table[i].alias ? strlen(table[i].alias) + 1 : 0);
		most += 1;
		for (const char *a = table[i].alias; a && *a; a++) most += *a == ',' || a == table[i].alias;
	}
	CYC_TRY(cyc_alloc(&storage, room, 1));
	CYC_TRY(cyc_alloc(&names, most, sizeof *names));
	for (int i = 0; i < n; i++) {
		if (table[i].type == CYC_OPT_HEADING || table[i].type == CYC_OPT_ARG) continue;
		names[n_names++] = storage + used;
		used += (size_t)snprintf(storage + used, room - used, "--%s", table[i].name) + 1;
		for (const char *a = table[i].alias; a && *a;) {
			size_t length = strcspn(a, ",");
			names[n_names++] = storage + used;
			used += (size_t)snprintf(storage + used, room - used, "%.*s", (int)length, a) + 1;
			a += length + (a[length] == ',');
		}
	}
	char *typed = NULL;
	CYC_TRY(cyc_asprintf(&typed, "%.*s", (int)strcspn(word, "="), word));
	const char *nearest = cyc_nearest(typed, names, n_names);
	cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "unknown option '%s'", typed);
	if (nearest) cyc_error_hint("did you mean %s? See 'cyclotomo %s --help'", nearest, command);
	else cyc_error_hint("see 'cyclotomo %s --help'", command);
	cyc_free(typed);
	st = CYC_E_USAGE;
done:
	cyc_free(names);
	cyc_free(storage);
	return st;
}

/* ---------------------------------------------------------------- values */

static bool is_blank(const char *s) { return s[strspn(s, " \t")] == '\0'; }

/* Factor that a unit behind a number stands for, 0 if it does not fit the option's. */
static double unit_factor(const char *suffix, const char *unit)
{
	static const struct {
		const char *unit, *suffix;
		double factor;
	} KNOWN[] = {
		{ "<Å>", "A", 1.0 },     { "<Å>", "Å", 1.0 },        { "<Å>", "nm", 10.0 },
		{ "<Å>", "um", 1e4 },    { "<Å²>", "A2", 1.0 },      { "<Å²>", "Å2", 1.0 },
		{ "<Å²>", "Å²", 1.0 },   { "<px>", "px", 1.0 },      { "<degrees>", "deg", 1.0 },
		{ "<kDa>", "kDa", 1.0 }, { "<kDa>", "MDa", 1000.0 },
	};
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
	{ "<e/Å2>", 1e5, "no specimen stands it" },
	{ "<degrees>", 3600, "that is ten turns" },
	{ "<rad>", 1e3, "" },
	{ "<n>", 1e6, "" },
	{ "<row>", 1e6, "no series has more tilts" },
	{ "<factor>", 1e6, "" },
	{ "<ratio>", 1e6, "" },
	{ "<strength>", 1e12, "" },
	{ "<steps>", 1e3, "" },
	{ "<kV>", 1e4, "no microscope has it" },
	{ "<mm>", 1e3, "no lens has it" },
	{ "<kDa>", 1e9, "no particle weighs it" },
	{ "<GB>", 1e7, "no machine has it" },
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

static cyc_status parse_double(double *out, const cyc_option *o, const char *given, const char *text)
{
	cyc_status st = CYC_OK;
	char *end = NULL;
	errno = 0;
	double v = strtod(text, &end);
	double factor = end == text ? 0.0 : unit_factor(end, o->unit);
	CYC_CHECK(factor > 0.0 && isfinite(v) && errno == 0, CYC_E_USAGE, "%s wants a number%s%s, got '%s'",
	          given, o->unit ? " " : "", o->unit ? o->unit : "", text);
	v *= factor;
	CYC_TRY(check_unit(o, given, text, v));
	CYC_CHECK(!o->min || v >= strtod(o->min, NULL), CYC_E_USAGE, "%s must be at least %s, got %s", given,
	          o->min, text);
	*out = v;
done:
	return st;
}

static cyc_status parse_int(int64_t *out, const cyc_option *o, const char *given, const char *text,
                            int64_t min, int64_t max)
{
	cyc_status st = CYC_OK;
	char *end = NULL;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	CYC_CHECK(end != text && unit_factor(end, o->unit) == 1.0 && errno == 0, CYC_E_USAGE,
	          "%s wants a whole number%s%s, got '%s'", given, o->unit ? " " : "", o->unit ? o->unit : "",
	          text);
	CYC_CHECK(v >= min && v <= max, CYC_E_USAGE, "%s is out of range: %s", given, text);
	if (o->type == CYC_OPT_INT) CYC_TRY(check_unit(o, given, text, (double)v));
	CYC_CHECK(!o->min || v >= strtoll(o->min, NULL, 10), CYC_E_USAGE, "%s must be at least %s, got %s", given,
	          o->min, text);
	*out = v;
done:
	return st;
}

static cyc_status parse_choice(int *out, const cyc_option *o, const char *given, const char *text)
{
	cyc_status st = CYC_OK;
	int index = 0;
	for (const char *c = o->choices; *c; index++) {
		size_t n = strcspn(c, ",");
		if (strlen(text) == n && strncmp(c, text, n) == 0) {
			*out = index;
			return CYC_OK;
		}
		c += n + (c[n] == ',');
	}
	CYC_RAISE(CYC_E_USAGE, "%s must be one of %s, got '%s'", given, o->choices, text);
done:
	return st;
}

/* `given` is the option as the user spelled it. */
static cyc_status set_value(void *target, const cyc_option *o, const char *given, const char *text)
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
		CYC_TRY(parse_int(&i, o, given, text, INT32_MIN, INT32_MAX));
		memcpy(member, &(int32_t){ (int32_t)i }, sizeof(int32_t));
		break;
	case CYC_OPT_INT64:
		CYC_TRY(parse_int(&i, o, given, text, INT64_MIN, INT64_MAX));
		memcpy(member, &i, sizeof i);
		break;
	case CYC_OPT_DOUBLE:
	case CYC_OPT_ANGLE:
		CYC_TRY(parse_double(&d, o, given, text));
		if (o->type == CYC_OPT_ANGLE) d = cyc_deg_to_rad(d);
		memcpy(member, &d, sizeof d);
		break;
	case CYC_OPT_CHOICE:
		CYC_TRY(parse_choice(&choice, o, given, text));
		memcpy(member, &choice, sizeof choice);
		break;
	case CYC_OPT_TEXT:
	case CYC_OPT_ARG:
		CYC_CHECK(text[0], CYC_E_USAGE, "%s wants a text, got an empty one", given);
		memcpy(member, &text, sizeof text);
		break;
	case CYC_OPT_HEADING: break;
	}
	flag = true;
	if (o->is_set) memcpy((char *)target + o->is_set, &flag, sizeof flag);
done:
	return st;
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
		if (isnan(d)) return cyc_strdup(out, ""); /* not given */
		return cyc_asprintf(out, "%.10g", o->type == CYC_OPT_ANGLE ? cyc_rad_to_deg(d) : d);
	}
	case CYC_OPT_CHOICE: {
		int index;
		memcpy(&index, member, sizeof index);
		const char *c = o->choices;
		for (; index > 0; index--) c += strcspn(c, ",") + 1;
		return cyc_asprintf(out, "%.*s", (int)strcspn(c, ","), c);
	}
	case CYC_OPT_TEXT:
	case CYC_OPT_ARG: {
		const char *text;
		memcpy(&text, member, sizeof text);
		return cyc_strdup(out, text ? text : "");
	}
	case CYC_OPT_HEADING: break;
	}
	return cyc_strdup(out, "");
}

/* ---------------------------------------------------------------- parsing */

static bool has_value(const cyc_option *o) { return o->type != CYC_OPT_FLAG && o->type != CYC_OPT_CLEAR; }

/* One option at argv[*i]; moves *i over its value. */
static cyc_status parse_option(void *target, bool *seen, const cyc_option *table, int n, int argc,
                               char **argv, int *i, const char *command)
{
	cyc_status st = CYC_OK;
	const char *word = argv[*i], *value = NULL;
	size_t n_word = strcspn(word, "=");
	int k = find_option(table, n, word, n_word);
	char given[64];
	if (k < 0) CYC_TRY(raise_unknown(table, n, word, command));
	snprintf(given, sizeof given, "%.*s", (int)n_word, word);
	CYC_CHECK(!seen[k], CYC_E_USAGE, "%s is given twice (as --%s or one of its other names)", given,
	          table[k].name);
	seen[k] = true;
	if (!has_value(&table[k])) {
		CYC_CHECK(word[n_word] == '\0', CYC_E_USAGE, "%s takes no value, got '%s'", given, word + n_word + 1);
	} else if (word[n_word] == '=') {
		value = word + n_word + 1;
	} else {
		const char *next = *i + 1 < argc ? argv[*i + 1] : "--";
		bool is_there = strncmp(next, "--", 2) != 0 && find_option(table, n, next, strlen(next)) < 0;
		CYC_CHECK(is_there, CYC_E_USAGE, "%s wants a value %s", given, table[k].unit ? table[k].unit : "");
		value = argv[++*i];
	}
	CYC_TRY(set_value(target, &table[k], given, value));
done:
	return st;
}

cyc_status cyc_options_parse(void *target, cyc_help *help, const cyc_option *table, int n, int argc,
                             char **argv, const char *command)
{
	cyc_status st = CYC_OK;
	bool *seen = NULL, only_words = false;
	int next_arg = 0;
	*help = CYC_HELP_NONE;
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) *help = CYC_HELP_PAGE;
		if (strcmp(argv[i], "--help-man") == 0) *help = CYC_HELP_MAN;
	}
	if (*help != CYC_HELP_NONE) return CYC_OK;
	CYC_TRY(cyc_alloc(&seen, n + 1, sizeof *seen));
	for (int i = 1; i < argc; i++) {
		if (!only_words && strcmp(argv[i], "--") == 0) {
			only_words = true;
		} else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0') {
			CYC_TRY(parse_option(target, seen, table, n, argc, argv, &i, command));
		} else {
			while (next_arg < n && table[next_arg].type != CYC_OPT_ARG) next_arg++;
			if (next_arg == n) {
				st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "unexpected word '%s'",
				                     argv[i]);
				cyc_error_hint("options start with two dashes; see 'cyclotomo %s --help'", command);
				goto done;
			}
			CYC_TRY(set_value(target, &table[next_arg], table[next_arg].name, argv[i]));
			next_arg++;
		}
	}
	while (next_arg < n && table[next_arg].type != CYC_OPT_ARG) next_arg++;
	CYC_CHECK(next_arg == n, CYC_E_USAGE, "%s is missing", table[next_arg].name);
done:
	if (st == CYC_E_USAGE) cyc_error_hint("see 'cyclotomo %s --help'", command);
	cyc_free(seen);
	return st;
}

/* ---------------------------------------------------------------- output */

enum { HELP_INDENT = 8, HELP_WIDTH = 96 };

/* Columns that a UTF-8 text takes (continuation bytes take none). */
static int columns_of(const char *s, size_t n)
{
	int columns = 0;
	for (size_t i = 0; i < n; i++) columns += ((unsigned char)s[i] & 0xc0) != 0x80;
	return columns;
}

static void print_wrapped(FILE *f, const char *text, int *column)
{
	while (*text) {
		size_t n_blank = strspn(text, " "), n = strcspn(text + n_blank, " ");
		int width = columns_of(text + n_blank, n);
		if (n == 0) break;
		if (*column > HELP_INDENT && *column + 1 + width > HELP_WIDTH) {
			fprintf(f, "\n%*s", HELP_INDENT, "");
			*column = HELP_INDENT;
		} else if (*column > HELP_INDENT) {
			fputc(' ', f);
			*column += 1;
		}
		fprintf(f, "%.*s", (int)n, text + n_blank);
		*column += width;
		text += n_blank + n;
	}
}

/* "[default: 30 Å]"; NULL if there is nothing to say. Free with cyc_free(). */
static char *default_text(const void *target, const cyc_option *o)
{
	char *value = NULL, *text = NULL;
	if (o->type == CYC_OPT_ARG || o->type == CYC_OPT_FLAG || o->type == CYC_OPT_CLEAR) return NULL;
	if (o->no_default) {
		if (cyc_asprintf(&text, "[default: %s]", o->no_default) != CYC_OK) text = NULL;
	} else if (cyc_option_value(&value, target, o) == CYC_OK && value[0]) {
		bool is_number = o->type != CYC_OPT_TEXT && o->type != CYC_OPT_CHOICE && o->unit;
		/* "<px>" -> " px" */
		const char *unit = is_number ? o->unit : "";
		int n_unit = unit[0] == '<' ? (int)strcspn(unit + 1, ">") : 0;
		if (n_unit == 1 && unit[1] == 'n') n_unit = 0;
		if (cyc_asprintf(&text, "[default: %s%s%.*s]", value, n_unit ? " " : "", n_unit,
		                 n_unit ? unit + 1 : "") != CYC_OK)
			text = NULL;
	}
	cyc_free(value);
	return text;
}

/* "--box <px>  (also --b)" */
static void print_names(FILE *f, const cyc_option *o)
{
	fprintf(f, "%s%s", o->type == CYC_OPT_ARG ? "" : "--", o->name);
	if (o->unit && o->type != CYC_OPT_ARG) fprintf(f, " %s", o->unit);
	if (o->type == CYC_OPT_CHOICE) {
		fputs(" <", f);
		for (const char *c = o->choices; *c; c++) fputc(*c == ',' ? '|' : *c, f);
		fputc('>', f);
	}
	if (!o->alias) return;
	fputs("  (also ", f);
	for (const char *a = o->alias; *a;) {
		size_t n = strcspn(a, ",");
		fprintf(f, "%s%.*s", a == o->alias ? "" : ", ", (int)n, a);
		a += n + (a[n] == ',');
	}
	fputc(')', f);
}

static void print_option(FILE *f, const void *target, const cyc_option *o)
{
	int column = HELP_INDENT;
	char *text = default_text(target, o);
	fputs("  ", f);
	print_names(f, o);
	fprintf(f, "\n%*s", HELP_INDENT, "");
	print_wrapped(f, o->help, &column);
	if (text) print_wrapped(f, text, &column);
	fputc('\n', f);
	cyc_free(text);
}

void cyc_options_print_help(FILE *f, const void *target, const cyc_option *table, int n,
                            const cyc_usage *usage)
{
	fprintf(f, "cyclotomo %s: %s\n\nusage: cyclotomo %s", usage->name, usage->summary, usage->name);
	for (int i = 0; i < n; i++) {
		if (table[i].type == CYC_OPT_ARG) fprintf(f, " %s", table[i].name);
	}
	fputs(" [options]\n", f);
	if (usage->details) fprintf(f, "\n%s\n", usage->details);
	for (int i = 0; i < n; i++) {
		if (table[i].type == CYC_OPT_HEADING) fprintf(f, "\n%s\n", table[i].name);
		else print_option(f, target, &table[i]);
	}
}

/* Text between roff's requests: backslashes and dashes as such, no line that begins like a request. */
static void print_roff(FILE *f, const char *text)
{
	bool at_start = true;
	for (; *text; text++) {
		if (at_start && (*text == '.' || *text == '\'')) fputs("\\&", f);
		if (*text == '\\') fputs("\\e", f);
		else if (*text == '-') fputs("\\-", f);
		else fputc(*text, f);
		at_start = *text == '\n';
	}
	fputc('\n', f);
}

void cyc_options_print_man(FILE *f, const void *target, const cyc_option *table, int n,
                           const cyc_usage *usage)
{
	fprintf(f, ".TH CYCLOTOMO-%s 1\n.SH NAME\ncyclotomo\\-%s \\- ", usage->name, usage->name);
	print_roff(f, usage->summary);
	fprintf(f, ".SH SYNOPSIS\ncyclotomo %s", usage->name);
	for (int i = 0; i < n; i++) {
		if (table[i].type == CYC_OPT_ARG) fprintf(f, " %s", table[i].name);
	}
	fputs(" [options]\n", f);
	if (usage->details) {
		fputs(".SH DESCRIPTION\n.nf\n", f);
		print_roff(f, usage->details);
		fputs(".fi\n", f);
	}
	for (int i = 0; i < n; i++) {
		if (table[i].type == CYC_OPT_HEADING) {
			fprintf(f, ".SH %s\n", table[i].name);
			continue;
		}
		char *names = NULL, *text = default_text(target, &table[i]);
		size_t size;
		FILE *m = open_memstream(&names, &size);
		if (m) {
			print_names(m, &table[i]);
			fclose(m);
		}
		fputs(".TP\n.B ", f);
		print_roff(f, names ? names : table[i].name);
		print_roff(f, table[i].help);
		if (text) print_roff(f, text);
		free(names);
		cyc_free(text);
	}
	fputs(".SH SEE ALSO\ncyclotomo \\-\\-help\n", f);
}

void cyc_options_json(cyc_json *j, const char *key, const void *target, const cyc_option *table, int n)
{
	cyc_json_begin_object(j, key);
	for (int i = 0; i < n; i++) {
		const char *member = (const char *)target + table[i].offset;
		char *text = NULL;
		double d = 0.0;
		switch (table[i].type) {
		case CYC_OPT_HEADING: break;
		case CYC_OPT_FLAG:
		case CYC_OPT_CLEAR: {
			bool flag;
			memcpy(&flag, member, sizeof flag);
			cyc_json_bool(j, table[i].name, flag == (table[i].type == CYC_OPT_FLAG));
			break;
		}
		case CYC_OPT_INT:
		case CYC_OPT_INT64:
		case CYC_OPT_DOUBLE:
		case CYC_OPT_ANGLE:
			if (cyc_option_value(&text, target, &table[i]) == CYC_OK)
				d = text[0] ? strtod(text, NULL) : CYC_NAN;
			else j->status = CYC_E_NOMEM;
			if (table[i].type == CYC_OPT_INT || table[i].type == CYC_OPT_INT64)
				cyc_json_int(j, table[i].name, text ? strtoll(text, NULL, 10) : 0);
			else cyc_json_double(j, table[i].name, d);
			break;
		case CYC_OPT_TEXT:
		case CYC_OPT_ARG:
		case CYC_OPT_CHOICE:
			if (cyc_option_value(&text, target, &table[i]) != CYC_OK) j->status = CYC_E_NOMEM;
			cyc_json_text(j, table[i].name, text && text[0] ? text : NULL);
			break;
		}
		cyc_free(text);
	}
	cyc_json_end_object(j);
}

#include "options.h"

#include "cyclotomo/version.h"

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

/* Splits the list, which is a comma list of words. */
cyc_status cyc_nearest_in(const char **out, const char *word, char *list)
{
	cyc_status st = CYC_OK;
	const char **names = NULL;
	char *next = NULL;
	int n = 0;
	CYC_TRY(cyc_alloc(&names, strlen(list) + 1, sizeof *names));
	for (char *name = strtok_r(list, ",", &next); name; name = strtok_r(NULL, ",", &next)) names[n++] = name;
	*out = cyc_nearest(word, names, n);
done:
	cyc_free(names);
	return st;
}

static cyc_status raise_unknown(const cyc_option *rows, int n, const char *word, const char *command)
{
	cyc_status st = CYC_OK;
	char *all = NULL, *longer = NULL, *one = NULL, *typed = NULL;
	const char *nearest = NULL;
	for (int i = 0; i < n; i++) {
		if (rows[i].type == CYC_OPT_HEADING || rows[i].type == CYC_OPT_ARG) continue;
		CYC_TRY(cyc_option_spellings(&one, &rows[i]));
		CYC_TRY(cyc_asprintf(&longer, "%s%s%s", all ? all : "", all ? "," : "", one));
		cyc_free(all);
		cyc_free(one);
		all = longer;
		one = longer = NULL;
	}
	CYC_TRY(cyc_asprintf(&typed, "%.*s", (int)strcspn(word, "="), word));
	if (all) CYC_TRY(cyc_nearest_in(&nearest, typed, all));
	cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "unknown option '%s'", typed);
	if (nearest) cyc_error_hint("did you mean %s? See 'cyclotomo %s --help'", nearest, command);
	else cyc_error_hint("see 'cyclotomo %s --help'", command);
	st = CYC_E_USAGE;
done:
	cyc_free(all);
	cyc_free(one);
	cyc_free(typed);
	return st;
}

/* ---------------------------------------------------------------- parsing */

/* One option at argv[*i]; moves *i over its value. */
static cyc_status parse_option(void *target, bool *seen, const cyc_option *table, int n, int argc,
                               char **argv, int *i, const char *command)
{
	cyc_status st = CYC_OK;
	const char *word = argv[*i], *value = NULL;
	size_t n_word = strcspn(word, "=");
	int k = cyc_option_find(table, n, word, n_word);
	char given[64];
	if (k < 0) CYC_TRY(raise_unknown(table, n, word, command));
	snprintf(given, sizeof given, "%.*s", (int)n_word, word);
	CYC_CHECK(!seen[k], CYC_E_USAGE, "%s is given twice (as --%s or one of its other names)", given,
	          table[k].name);
	seen[k] = true;
	if (cyc_option_is_flag(&table[k])) {
		CYC_CHECK(word[n_word] == '\0', CYC_E_USAGE, "%s takes no value, got '%s'", given, word + n_word + 1);
	} else if (word[n_word] == '=') {
		value = word + n_word + 1;
	} else {
		const char *next = *i + 1 < argc ? argv[*i + 1] : "--";
		bool is_there = strncmp(next, "--", 2) != 0 && cyc_option_find(table, n, next, strlen(next)) < 0;
		CYC_CHECK(is_there, CYC_E_USAGE, "%s needs a value %s", given, table[k].unit ? table[k].unit : "");
		value = argv[++*i];
	}
	CYC_TRY(cyc_option_set(target, &table[k], given, value));
done:
	return st;
}

cyc_status cyc_options_parse(void *target, cyc_help *help, const cyc_option *table, int n, int argc,
                             char **argv, const char *command)
{
	static const struct {
		const char *word;
		cyc_help help;
	} FORMS[] = { { "--help", CYC_HELP_PAGE },      { "-h", CYC_HELP_PAGE },
		          { "--help-man", CYC_HELP_MAN },   { "--help-markdown", CYC_HELP_MARKDOWN },
		          { "--help-bash", CYC_HELP_BASH }, { "--help-zsh", CYC_HELP_ZSH } };
	cyc_status st = CYC_OK;
	bool *seen = NULL, only_words = false;
	int next_arg = 0;
	*help = CYC_HELP_NONE;
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		for (size_t k = 0; k < sizeof FORMS / sizeof *FORMS; k++)
			if (strcmp(argv[i], FORMS[k].word) == 0) *help = FORMS[k].help;
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
			CYC_TRY(cyc_option_set(target, &table[next_arg], table[next_arg].name, argv[i]));
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

/* "<px>" is one; "<factor>" says what the number is, not what it counts. */
static bool is_unit(const char *unit)
{
	static const char *const NONE[] = { "<n>",        "<factor>", "<fraction>", "<ratio>",
		                                "<strength>", "<row>",    "<number>",   "<1 or -1>" };
	for (size_t i = 0; i < sizeof NONE / sizeof *NONE; i++)
		if (strcmp(unit, NONE[i]) == 0) return false;
	return true;
}

/* "30 Å"; NULL if there is nothing to say. Free with cyc_free(). */
static char *default_text(const void *target, const cyc_option *o)
{
	char *value = NULL, *text = NULL;
	if (o->type == CYC_OPT_ARG || cyc_option_is_flag(o)) return NULL;
	if (o->no_default) return cyc_strdup(&text, o->no_default) == CYC_OK ? text : NULL;
	if (cyc_option_value(&value, target, o) == CYC_OK && value[0]) {
		bool is_number = o->type != CYC_OPT_TEXT && o->type != CYC_OPT_FILE && o->type != CYC_OPT_CHOICE;
		/* "<px>" -> " px" */
		const char *unit = is_number && o->unit ? o->unit : "";
		int n_unit = unit[0] == '<' && is_unit(unit) ? (int)strcspn(unit + 1, ">") : 0;
		if (cyc_asprintf(&text, "%s%s%.*s", value, n_unit ? " " : "", n_unit, n_unit ? unit + 1 : "") !=
		    CYC_OK)
			text = NULL;
	}
	cyc_free(value);
	return text;
}

/* The same as "[default: 30 Å]". */
static char *default_note(const void *target, const cyc_option *o)
{
	char *text = default_text(target, o), *note = NULL;
	if (text && cyc_asprintf(&note, "[default: %s]", text) != CYC_OK) note = NULL;
	cyc_free(text);
	return note;
}

/* "--box <px>  (also --b)" */
static void print_names(FILE *f, const cyc_option *o)
{
	char *spellings = NULL;
	fprintf(f, "%s%s", o->type == CYC_OPT_ARG ? "" : "--", o->name);
	if (o->unit && o->type != CYC_OPT_ARG) fprintf(f, " %s", o->unit);
	if (o->type == CYC_OPT_CHOICE) {
		fputs(" <", f);
		for (const char *c = o->choices; *c; c++) fputc(*c == ',' ? '|' : *c, f);
		fputc('>', f);
	}
	if (o->type == CYC_OPT_ARG || cyc_option_spellings(&spellings, o) != CYC_OK) return;
	bool is_first = true;
	for (const char *a = strchr(spellings, ','); a; a = strchr(a + 1, ',')) {
		/* That "--job.name" stands for "--name" is said for all. */
		size_t n = strcspn(a + 1, ","), n_name = strlen(o->name);
		if (n > n_name && a[n - n_name] == '.' && strncmp(a + 1 + n - n_name, o->name, n_name) == 0) continue;
		fprintf(f, "%s%.*s", is_first ? "  (also " : ", ", (int)n, a + 1);
		is_first = false;
	}
	if (!is_first) fputc(')', f);
	cyc_free(spellings);
}

/* The same as a text, NULL if there is no memory; free(). */
static char *names_text(const cyc_option *o)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	if (!f) return NULL;
	print_names(f, o);
	fclose(f);
	return text;
}

static void print_option(FILE *f, const void *target, const cyc_option *o)
{
	int column = HELP_INDENT;
	char *text = default_note(target, o);
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
	fprintf(f, ".TH CYCLOTOMO-%s 1 \"\" \"cyclotomo %s\"\n.SH NAME\ncyclotomo\\-%s \\- ", usage->name,
	        CYCLOTOMO_VERSION, usage->name);
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
		char *names = names_text(&table[i]), *text = default_note(target, &table[i]);
		fputs(".TP\n.B ", f);
		print_roff(f, names ? names : table[i].name);
		print_roff(f, table[i].help);
		if (text) print_roff(f, text);
		free(names);
		cyc_free(text);
	}
	fputs(".SH SEE ALSO\n.BR cyclotomo (1)\n", f);
}

/* A cell: no column ends in it, and nothing is taken for a tag. */
static void print_cell(FILE *f, const char *text)
{
	fputs("| ", f);
	for (; *text; text++) {
		if (strchr("|<*_", *text)) fputc('\\', f);
		fputc(*text, f);
	}
	fputc(' ', f);
}

void cyc_options_print_markdown(FILE *f, const void *target, const cyc_option *rows, int n,
                                const cyc_usage *usage)
{
	fprintf(f, "\n## %s\n\n%s.\n\n| option | default | what |\n|---|---|---|\n", usage->name, usage->summary);
	for (int i = 0; i < n; i++) {
		if (rows[i].type == CYC_OPT_HEADING) {
			fprintf(f, "| **%s** | | |\n", rows[i].name);
			continue;
		}
		char *names = names_text(&rows[i]), *text = default_text(target, &rows[i]);
		print_cell(f, names ? names : rows[i].name);
		print_cell(f, text ? text : "");
		print_cell(f, rows[i].help);
		fputs("|\n", f);
		free(names);
		cyc_free(text);
	}
}

void cyc_options_json(cyc_json *j, const char *key, const void *target, const cyc_option *table, int n)
{
	cyc_json_begin_object(j, key);
	for (int i = 0; i < n; i++) {
		const char *member = (const char *)target + table[i].offset;
		char *text = NULL;
		double d = 0.0;
		switch (table[i].type) {
		case CYC_OPT_HEADING:
		case CYC_OPT_TABLE: break;
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
		case CYC_OPT_FILE:
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

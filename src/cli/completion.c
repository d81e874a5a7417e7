#include "completion.h"

#include <string.h>

/* What may follow an option. */
typedef enum { VALUE_NONE, VALUE_WORDS, VALUE_FOLDER, VALUE_FILE, VALUE_OTHER } value_kind;

static value_kind kind_of(const cyc_option *o)
{
	if (cyc_option_is_flag(o)) return VALUE_NONE;
	switch (o->type) {
	case CYC_OPT_CHOICE: return VALUE_WORDS;
	case CYC_OPT_FILE: return VALUE_FILE;
	case CYC_OPT_ARG: return VALUE_FILE;
	case CYC_OPT_TEXT:
		if (o->unit && strstr(o->unit, "folder")) return VALUE_FOLDER;
		return o->unit && (strstr(o->unit, "group") || strstr(o->unit, "name")) ? VALUE_OTHER : VALUE_FILE;
	default: return VALUE_OTHER;
	}
}

static bool is_option(const cyc_option *o) { return o->type != CYC_OPT_HEADING && o->type != CYC_OPT_ARG; }

/* All spellings of an option, each with the text in front. */
static void print_spellings(FILE *f, const cyc_option *o, const char *front, const char *between)
{
	char *spellings = NULL;
	if (cyc_option_spellings(&spellings, o) != CYC_OK) return;
	bool is_first = true;
	for (const char *a = spellings; *a;) {
		size_t n = strcspn(a, ",");
		fprintf(f, "%s%s%.*s", is_first ? "" : between, front, (int)n, a);
		is_first = false;
		a += n + (a[n] == ',');
	}
	cyc_free(spellings);
}

static void print_words(FILE *f, const char *choices)
{
	for (const char *c = choices; *c; c++) fputc(*c == ',' ? ' ' : *c, f);
}

/* ---------------------------------------------------------------- bash */

static const char *bash_name(value_kind kind)
{
	static const char *const NAMES[] = {
		[VALUE_FOLDER] = "folder", [VALUE_FILE] = "file", [VALUE_OTHER] = "other"
	};
	return NAMES[kind];
}

void cyc_completion_print_bash(FILE *f, const void *target, const cyc_option *rows, int n,
                               const cyc_usage *usage)
{
	(void)target;
	fprintf(f, "\t%s)\n\t\toptions='--help", usage->name);
	for (int i = 0; i < n; i++)
		if (is_option(&rows[i])) print_spellings(f, &rows[i], " ", "");
	fputs("'\n\t\tcase $before in\n", f);
	for (int i = 0; i < n; i++) {
		value_kind kind = kind_of(&rows[i]);
		if (!is_option(&rows[i]) || kind == VALUE_NONE) continue;
		fputs("\t\t", f);
		print_spellings(f, &rows[i], "", "|");
		fputs(") ", f);
		if (kind == VALUE_WORDS) {
			fputs("values=words words='", f);
			print_words(f, rows[i].choices);
			fputs("' ;;\n", f);
		} else fprintf(f, "values=%s ;;\n", bash_name(kind));
	}
	fputs("\t\tesac ;;\n", f);
}

/* ---------------------------------------------------------------- zsh */

/* Inside of single quotes and of the brackets or colons of a specification. */
static void print_zsh_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '\'') fputs("'\\''", f);
		else if (strchr("[]:\\", *text)) fprintf(f, "\\%c", *text);
		else fputc(*text, f);
	}
}

static void print_zsh_value(FILE *f, const cyc_option *o)
{
	value_kind kind = kind_of(o);
	if (kind == VALUE_NONE) return;
	fputc(':', f);
	print_zsh_text(f, o->unit ? o->unit : "value");
	fputc(':', f);
	if (kind == VALUE_WORDS) {
		fputc('(', f);
		print_words(f, o->choices);
		fputc(')', f);
	} else if (kind == VALUE_FOLDER) fputs("_files -/", f);
	else if (kind == VALUE_FILE) fputs("_files", f);
	else fputc(' ', f);
}

static void print_zsh_option(FILE *f, const cyc_option *o)
{
	char *spellings = NULL;
	if (cyc_option_spellings(&spellings, o) != CYC_OK) return;
	for (const char *a = spellings; *a;) {
		size_t n = strcspn(a, ",");
		fputs("\t\t'(", f);
		print_spellings(f, o, "", " ");
		fprintf(f, ")%.*s[", (int)n, a);
		print_zsh_text(f, o->help);
		fputc(']', f);
		print_zsh_value(f, o);
		fputs("'\n", f);
		a += n + (a[n] == ',');
	}
	cyc_free(spellings);
}

void cyc_completion_print_zsh(FILE *f, const void *target, const cyc_option *rows, int n,
                              const cyc_usage *usage)
{
	(void)target;
	fprintf(f, "\t%s) specs=(\n\t\t'--help[Show all options.]'\n", usage->name);
	for (int i = 0; i < n; i++) {
		if (is_option(&rows[i])) print_zsh_option(f, &rows[i]);
		else if (rows[i].type == CYC_OPT_ARG) fprintf(f, "\t\t':%s:_files'\n", rows[i].name);
	}
	fputs("\t\t) ;;\n", f);
}

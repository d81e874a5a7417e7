/* Messages under RELION's names, where its GUI shows stdout as it comes and the last two lines of stderr.
 */
#include "relion.h"

#include "cyclotomo/version.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>

/* ---------------------------------------------------------------- the head of a log */

enum { WIDTH = 108 };

/* The given options that have no effect, in lines of WIDTH. */
static void print_ignored(const cyc_relion_call *c)
{
	static const char FIRST[] = "ignored (see the warnings):", NEXT[] = "   ";
	const cyc_relion_rows all = cyc_relion_rows_of(c->program);
	size_t column = 0;
	for (int i = 0; i < all.n; i++) {
		const cyc_relion_option *o = &all.rows[i];
		if (o->type == CYC_OPT_HEADING || !c->given[i]) continue;
		if (o->becomes != CYC_RELION_UNUSED && o->becomes != CYC_RELION_INERT) continue;
		if (o->becomes == CYC_RELION_UNUSED && cyc_relion_is_default(o, c->given[i])) continue;
		size_t n = strlen(c->spelling[i]) + 1;
		if (column == 0 || column + n > WIDTH) {
			printf("%s%s", column == 0 ? "" : "\n", column == 0 ? FIRST : NEXT);
			column = column == 0 ? sizeof FIRST - 1 : sizeof NEXT - 1;
		}
		printf(" %s", c->spelling[i]);
		column += n;
	}
	if (column > 0) putchar('\n');
}

void cyc_relion_print_head(const cyc_relion_call *c, bool is_continued)
{
	char date[64] = "";
	struct utsname host;
	struct tm tm;
	time_t now = time(NULL);
	if (localtime_r(&now, &tm)) strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
	printf("%scyclotomo %s in place of %s%s: %s%s%s\n", is_continued ? "---- continued: " : "",
	       CYCLOTOMO_VERSION, c->program->name, c->is_mpi ? "_mpi" : "", date,
	       uname(&host) == 0 ? " on " : "", uname(&host) == 0 ? host.nodename : "");
	print_ignored(c);
}

/* ---------------------------------------------------------------- errors */

/* RELION's first spelling of the option that the own word names; NULL if it has none, or the same. */
static const char *relion_spelling(size_t *n, const cyc_relion_program *p, const cyc_option_list *own,
                                   const char *word, size_t n_word)
{
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	int k = cyc_option_find(own->rows, own->n, word, n_word);
	if (k < 0) return NULL;
	for (int i = 0; i < all.n; i++) {
		const cyc_relion_option *o = &all.rows[i];
		if (o->type == CYC_OPT_HEADING || !o->to || strcmp(o->to, own->rows[k].name) != 0) continue;
		*n = strcspn(o->name, ",");
		return o->name;
	}
	return NULL;
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '_' || c == '.';
}

/* Commands of cyclotomo in a text keep their own options. */
static bool is_in_command(const char *text, const char *at)
{
	const char *command = NULL;
	for (const char *c = strstr(text, "cyclotomo "); c && c < at; c = strstr(c + 1, "cyclotomo "))
		command = c;
	for (const char *c = command; c && c < at; c++)
		if (strchr(";:,)", *c)) return false;
	return command != NULL;
}

void cyc_relion_respell(char *to, size_t size, const cyc_relion_program *p, const char *text)
{
	cyc_option_list own = { 0 };
	char help[80];
	size_t used = 0;
	snprintf(help, sizeof help, "cyclotomo %s --help", p->command);
	if (!p->table || cyc_option_list_make(&own, p->table) != CYC_OK) own.n = 0;
	for (const char *c = text; *c && used + 1 < size;) {
		bool begins = c[0] == '-' && c[1] == '-' && (c == text || !is_name(c[-1]));
		size_t n = 1, n_new = 0;
		const char *new_word = NULL;
		if (begins) {
			while (is_name(c[n])) n++;
			while (n > 2 && c[n - 1] == '.') n--;
			if (!is_in_command(text, c)) new_word = relion_spelling(&n_new, p, &own, c, n);
		}
		if (strncmp(c, help, strlen(help)) == 0) {
			new_word = p->name;
			n_new = strlen(p->name);
			n = strlen(help) - sizeof " --help" + 1;
		} else if (!new_word) {
			new_word = c;
			n_new = n;
		}
		if (n_new > size - 1 - used) n_new = size - 1 - used;
		memcpy(to + used, new_word, n_new);
		if (to[used] == '\n') to[used] = ' ';
		used += n_new;
		c += n;
	}
	to[used] = '\0';
	cyc_option_list_deinit(&own);
}

void cyc_relion_word_error(const cyc_relion_program *p, cyc_status st, bool is_own)
{
	static char message[CYC_ERROR_TEXT], hint[CYC_ERROR_TEXT];
	cyc_error record = *cyc_error_get();
	if (record.status != st) return;
	const char *text = record.message[0] ? record.message : cyc_status_text(st);
	snprintf(message, sizeof message, "%s", text);
	snprintf(hint, sizeof hint, "%s", record.hint);
	if (is_own) {
		cyc_relion_respell(message, sizeof message, p, text);
		cyc_relion_respell(hint, sizeof hint, p, record.hint);
	}
	/* What was wrong comes first where both do not fit. */
	snprintf(record.message, sizeof record.message, "%s", message);
	size_t n = strlen(record.message);
	if (hint[0]) snprintf(record.message + n, sizeof record.message - n, " (%s)", hint);
	record.hint[0] = '\0';
	cyc_error_set(&record);
}

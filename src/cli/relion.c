#include "relion.h"

#include "cyclotomo/ranks.h"
#include "cyclotomo/version.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- programs */

#define CYC_RELION_PROGRAM(object) extern const cyc_relion_program object;
#include "relion_programs.def"
#undef CYC_RELION_PROGRAM

static const cyc_relion_program *const PROGRAMS[] = {
#define CYC_RELION_PROGRAM(object) &object,
#include "relion_programs.def"
#undef CYC_RELION_PROGRAM
};
enum { N_PROGRAMS = sizeof PROGRAMS / sizeof *PROGRAMS };

int cyc_relion_n_programs(void) { return N_PROGRAMS; }

const cyc_relion_program *cyc_relion_program_at(int i)
{
	return i >= 0 && i < N_PROGRAMS ? PROGRAMS[i] : NULL;
}

const cyc_relion_program *cyc_relion_find(bool *is_mpi, const char *argv0)
{
	static const char MPI[] = "_mpi";
	const char *slash = argv0 ? strrchr(argv0, '/') : NULL, *name = slash ? slash + 1 : argv0;
	for (int i = 0; name && i < N_PROGRAMS; i++) {
		size_t n = strlen(PROGRAMS[i]->name);
		if (strncmp(name, PROGRAMS[i]->name, n) != 0 || (name[n] != '\0' && strcmp(name + n, MPI) != 0))
			continue;
		if (is_mpi) *is_mpi = name[n] != '\0';
		return PROGRAMS[i];
	}
	return NULL;
}

const cyc_relion_program *cyc_relion_find_job(const char *type_label)
{
	for (int i = 0; i < N_PROGRAMS; i++) {
		size_t n = PROGRAMS[i]->job_type ? strlen(PROGRAMS[i]->job_type) : 0;
		if (n > 0 && strncmp(type_label, PROGRAMS[i]->job_type, n) == 0 &&
		    (type_label[n] == '\0' || type_label[n] == '.'))
			return PROGRAMS[i];
	}
	return NULL;
}

/* Is the word one of the spellings "--a,--b"? */
static bool is_spelling(const char *names, const char *word)
{
	for (size_t n; *names; names += n + (names[n] == ',')) {
		n = strcspn(names, ",");
		if (strlen(word) == n && strncmp(names, word, n) == 0) return true;
	}
	return false;
}

/* ---------------------------------------------------------------- rows */

enum { MOST_ROWS = 200, LONGEST_NAME = 40 };

/* One without effect, or for what the command does by default. */
static bool is_other_default(const cyc_option *o)
{
	if (!o->relion_default || o->no_default || o->type == CYC_OPT_TEXT || o->type == CYC_OPT_CHOICE)
		return false;
	double here = o->value ? strtod(o->value, NULL) : 0.0, there = strtod(o->relion_default, NULL);
	return !(here <= 0.0 && there <= 0.0) && fabs(here - there) > 0.0;
}

static cyc_relion_option row_of_option(const cyc_option *o)
{
	static const char REQUIRED[] = "required";
	return (cyc_relion_option){ .name = o->relion,
		                        .type = cyc_option_is_flag(o)       ? CYC_OPT_FLAG
		                                : o->type == CYC_OPT_INT64  ? CYC_OPT_INT
		                                : o->type == CYC_OPT_ANGLE  ? CYC_OPT_DOUBLE
		                                : o->type == CYC_OPT_CHOICE ? CYC_OPT_TEXT
		                                : o->type == CYC_OPT_FILE   ? CYC_OPT_TEXT
		                                                            : o->type,
		                        .unit = o->type == CYC_OPT_CHOICE && !o->unit ? "<word>" : o->unit,
		                        .help = o->help,
		                        .value = o->relion_default,
		                        .becomes = CYC_RELION_SAME,
		                        .to = o->name,
		                        .is_required = o->no_default &&
		                                       strncmp(o->no_default, REQUIRED, sizeof REQUIRED - 1) == 0,
		                        .passes_default = is_other_default(o) };
}

/* Has the program a row of its own for it, or uses its spelling for something else? */
static bool is_taken(const cyc_relion_program *p, const cyc_option *o)
{
	for (int i = 0; i < p->n_options; i++) {
		const cyc_relion_option *own = &p->options[i];
		if (own->type == CYC_OPT_HEADING) continue;
		if (is_spelling(own->name, o->relion)) return true;
		if (own->becomes == CYC_RELION_SAME && strcmp(own->to, o->name) == 0) return true;
	}
	return false;
}

static int add_rows(cyc_relion_option *rows, int n, const cyc_relion_program *p, const cyc_option_table *t)
{
	for (int i = 0; i < t->n && n < MOST_ROWS; i++) {
		const cyc_option *o = &t->rows[i];
		if (o->type == CYC_OPT_TABLE) n = add_rows(rows, n, p, o->table);
		if (o->type == CYC_OPT_HEADING) {
			/* In place of one that nothing came behind. */
			if (n > 0 && rows[n - 1].type == CYC_OPT_HEADING) n--;
			rows[n++] = (cyc_relion_option){ .name = o->name, .type = CYC_OPT_HEADING };
		}
		if (o->relion && !is_taken(p, o)) rows[n++] = row_of_option(o);
	}
	return n;
}

/* Is the spelling, or the option of the command, among the rows already? */
static bool is_among(const cyc_relion_option *rows, int n, const char *spelling, const char *name)
{
	for (int i = 0; i < n; i++) {
		if (rows[i].type == CYC_OPT_HEADING) continue;
		if (is_spelling(rows[i].name, spelling)) return true;
		if (rows[i].becomes == CYC_RELION_SAME && strcmp(rows[i].to, name) == 0) return true;
	}
	return false;
}

/* Options of the command that RELION has no name for, as "additional arguments" of the GUI: under their own
 * names, in `names`. Files are RELION's to name, or have a row of their own. */
static int add_own_rows(cyc_relion_option *rows, int n, const cyc_option_table *t,
                        char (*names)[LONGEST_NAME])
{
	for (int i = 0; i < t->n && n < MOST_ROWS; i++) {
		const cyc_option *o = &t->rows[i];
		if (o->type == CYC_OPT_TABLE) n = add_own_rows(rows, n, o->table, names);
		if (o->type == CYC_OPT_TABLE || o->type == CYC_OPT_HEADING || o->type == CYC_OPT_ARG) continue;
		if (o->purpose == CYC_FOR_FILES) continue;
		snprintf(names[n], LONGEST_NAME, "--%s", o->name);
		if (o->relion || is_among(rows, n, names[n], o->name)) continue;
		rows[n] = row_of_option(o);
		rows[n].name = names[n];
		rows[n].becomes = CYC_RELION_OWN;
		rows[n].is_hidden = true;
		rows[n].is_required = rows[n].passes_default = false;
		n++;
	}
	return n;
}

cyc_relion_rows cyc_relion_rows_of(const cyc_relion_program *p)
{
	static cyc_relion_option rows[N_PROGRAMS][MOST_ROWS];
	static char names[N_PROGRAMS][MOST_ROWS][LONGEST_NAME];
	static int n_rows[N_PROGRAMS];
	int k = 0;
	while (k + 1 < N_PROGRAMS && PROGRAMS[k] != p) k++;
	int n = n_rows[k];
	if (n == 0) {
		n = add_rows(rows[k], 0, p, p->table);
		if (n > 0 && rows[k][n - 1].type == CYC_OPT_HEADING) n--;
		CYC_ASSERT(n + p->n_options <= MOST_ROWS);
		memcpy(&rows[k][n], p->options, (size_t)p->n_options * sizeof *p->options);
		n += p->n_options;
		if (p->table) n = add_own_rows(rows[k], n, p->table, names[k]);
		n_rows[k] = n;
	}
	return (cyc_relion_rows){ rows[k], n };
}

int cyc_relion_find_option(const cyc_relion_program *p, const char *word)
{
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	for (int i = 0; i < all.n; i++) {
		if (all.rows[i].type != CYC_OPT_HEADING && is_spelling(all.rows[i].name, word)) return i;
	}
	return -1;
}

/* ---------------------------------------------------------------- the words of cyclotomo's command line */

cyc_status cyc_words_add(char ***words, int *n_words, const char *word)
{
	cyc_status st = CYC_OK;
	/* One more than needed, so that the list ends with NULL. */
	CYC_TRY(cyc_realloc(words, (size_t)*n_words + (*words ? 1 : 0), (size_t)*n_words + 2, sizeof **words));
	CYC_TRY(cyc_strdup(&(*words)[*n_words], word));
	*n_words += 1;
done:
	return st;
}

void cyc_words_free(char ***words, int *n_words)
{
	for (int i = 0; *words && i < *n_words; i++) cyc_free((*words)[i]);
	cyc_free(*words);
	*words = NULL;
	*n_words = 0;
}

cyc_status cyc_relion_emit(cyc_relion_call *c, const char *to, const char *value)
{
	cyc_status st = CYC_OK;
	char *word = NULL;
	CYC_TRY(cyc_asprintf(&word, "--%s", to));
	CYC_TRY(cyc_words_add(&c->words, &c->n_words, word));
	if (value) CYC_TRY(cyc_words_add(&c->words, &c->n_words, value));
done:
	cyc_free(word);
	return st;
}

cyc_status cyc_relion_emit_number(cyc_relion_call *c, const char *to, double value)
{
	char text[32];
	snprintf(text, sizeof text, "%.10g", value);
	return cyc_relion_emit(c, to, text);
}

void cyc_relion_call_deinit(cyc_relion_call *c)
{
	cyc_words_free(&c->words, &c->n_words);
	cyc_free(c->given);
	cyc_free(c->spelling);
	*c = (cyc_relion_call){ 0 };
}

/* ---------------------------------------------------------------- reading RELION's words */

static const cyc_relion_option *option_of(const cyc_relion_call *c, int *row, const char *name)
{
	*row = cyc_relion_find_option(c->program, name);
	CYC_ASSERT(*row >= 0);
	return &cyc_relion_rows_of(c->program).rows[*row];
}

bool cyc_relion_is_given(const cyc_relion_call *c, const char *name)
{
	int row;
	(void)option_of(c, &row, name);
	return c->given[row] != NULL;
}

const char *cyc_relion_text(const cyc_relion_call *c, const char *name)
{
	int row;
	const cyc_relion_option *o = option_of(c, &row, name);
	return c->given[row] ? c->given[row] : o->value ? o->value : "";
}

double cyc_relion_number(const cyc_relion_call *c, const char *name)
{
	return strtod(cyc_relion_text(c, name), NULL);
}

static cyc_status raise_unknown(const cyc_relion_program *p, const char *word)
{
	cyc_status st = CYC_OK;
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	const char *nearest = NULL;
	char *names = NULL;
	size_t room = 1;
	for (int i = 0; i < all.n; i++) room += strlen(all.rows[i].name) + 1;
	CYC_TRY(cyc_alloc(&names, room, 1));
	for (int i = 0; i < all.n; i++) {
		if (all.rows[i].type != CYC_OPT_HEADING) strcat(strcat(names, all.rows[i].name), ",");
	}
	CYC_TRY(cyc_nearest_in(&nearest, word, names));
	st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
	                     word[0] == '-' ? "unknown option '%s'" : "unexpected word '%s'", word);
	if (nearest) cyc_error_hint("did you mean %s? See '%s --help'", nearest, p->name);
	else cyc_error_hint("see '%s --help'", p->name);
done:
	cyc_free(names);
	return st;
}

/* Numbers are checked here, so that the message has the name that was typed. */
static cyc_status check_value(const cyc_relion_option *o, const char *name, const char *text)
{
	cyc_status st = CYC_OK;
	char *end = NULL;
	errno = 0;
	if (o->type == CYC_OPT_INT) {
		long long v = strtoll(text, &end, 10);
		CYC_CHECK(end != text && *end == '\0' && errno == 0 && v >= INT32_MIN && v <= INT32_MAX, CYC_E_USAGE,
		          "%s must be a whole number%s%s, got '%s'", name, o->unit ? " " : "", o->unit ? o->unit : "",
		          text);
	} else if (o->type == CYC_OPT_DOUBLE) {
		double v = strtod(text, &end);
		CYC_CHECK(end != text && *end == '\0' && errno == 0 && isfinite(v), CYC_E_USAGE,
		          "%s must be a number%s%s, got '%s'", name, o->unit ? " " : "", o->unit ? o->unit : "",
		          text);
	}
done:
	return st;
}

static cyc_status read_words(cyc_relion_call *c, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	const cyc_relion_program *p = c->program;
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	CYC_TRY(cyc_alloc(&c->given, all.n, sizeof *c->given));
	CYC_TRY(cyc_alloc(&c->spelling, all.n, sizeof *c->spelling));
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i], *value = "";
		int row = cyc_relion_find_option(p, word);
		if (row < 0) CYC_TRY(raise_unknown(p, word));
		if (all.rows[row].type != CYC_OPT_FLAG) {
			bool is_there = i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0;
			CYC_CHECK(is_there || all.rows[row].may_be_bare, CYC_E_USAGE, "%s needs a value %s", word,
			          all.rows[row].unit ? all.rows[row].unit : "");
			if (is_there) value = argv[++i];
			CYC_TRY(check_value(&all.rows[row], word, value));
		}
		CYC_CHECK(!c->given[row] || strcmp(c->given[row], value) == 0, CYC_E_USAGE,
		          "%s is given twice, as %s and as %s", word, c->given[row], value);
		c->given[row] = value;
		c->spelling[row] = word;
	}
	for (int i = 0; i < all.n; i++)
		CYC_CHECK(!all.rows[i].is_required || (c->given[i] && c->given[i][0]), CYC_E_USAGE,
		          "%s %s is missing", all.rows[i].name, all.rows[i].unit);
done:
	if (st == CYC_E_USAGE) cyc_error_hint("see '%s --help'", p->name);
	return st;
}

/* ---------------------------------------------------------------- translation */

/* An option given with RELION's default value is accepted silently. */
bool cyc_relion_is_default(const cyc_relion_option *o, const char *text)
{
	if (o->type == CYC_OPT_FLAG) return false;
	if (!text[0]) return !o->may_be_bare;
	if (!o->value) return false;
	return o->type == CYC_OPT_TEXT ? strcmp(text, o->value) == 0
	                               : fabs(strtod(text, NULL) - strtod(o->value, NULL)) <= 0.0;
}

static cyc_status translate_option(cyc_relion_call *c, int row)
{
	cyc_status st = CYC_OK;
	const cyc_relion_option *o = &cyc_relion_rows_of(c->program).rows[row];
	const char *text = c->given[row], *typed = c->spelling[row];
	switch (o->becomes) {
	case CYC_RELION_SAME:
	case CYC_RELION_OWN:
		if (!text && o->passes_default) text = o->value;
		if (!text || (o->type != CYC_OPT_FLAG && !text[0])) break;
		CYC_TRY(cyc_relion_emit(c, o->to ? o->to : o->name + 2, o->type == CYC_OPT_FLAG ? NULL : text));
		break;
	case CYC_RELION_UNUSED:
		if (text && !cyc_relion_is_default(o, text)) cyc_warn("%s is not used: %s", typed, o->note);
		break;
	case CYC_RELION_INERT:
		if (text)
			cyc_warn("%s has no effect, nor has it in RELION%s%s", typed, o->note ? "; " : "",
			         o->note ? o->note : "");
		break;
	case CYC_RELION_UNSUPPORTED:
		if (!text || cyc_relion_is_default(o, text)) break;
		st = cyc_error_raise(CYC_E_UNSUPPORTED, __FILE__, __LINE__, __func__, "%s is not supported yet",
		                     typed);
		cyc_error_hint(
			"%s", o->note ? o->note
						  : "leave it out, or run RELION's own program for this step: files are compatible");
		break;
	case CYC_RELION_READ:
	case CYC_RELION_ALWAYS: break;
	}
done:
	return st;
}

cyc_status cyc_relion_translate(cyc_relion_call *c, const cyc_relion_program *p, bool is_mpi, int argc,
                                char **argv)
{
	cyc_status st = CYC_OK;
	*c = (cyc_relion_call){ .program = p, .is_mpi = is_mpi };
	CYC_TRY(read_words(c, argc, argv));
	CYC_TRY(cyc_words_add(&c->words, &c->n_words, p->command));
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	for (int i = 0; i < all.n; i++) {
		if (all.rows[i].type != CYC_OPT_HEADING) CYC_TRY(translate_option(c, i));
	}
	if (p->translate) CYC_TRY(p->translate(c));
	/* A dry run writes nothing, so no flags either. */
	if (cyc_relion_is_given(c, "--pipeline_control") && !cyc_relion_is_given(c, "--dry-run"))
		CYC_TRY(cyc_relion_emit(c, "pipeline-control", cyc_relion_text(c, "--pipeline_control")));
done:
	return st;
}

/* ---------------------------------------------------------------- ranks */

static int env_number(const char *const *names, int fallback)
{
	for (; *names; names++) {
		const char *text = getenv(*names);
		if (text && text[0] >= '0' && text[0] <= '9') return atoi(text);
	}
	return fallback;
}

/* Launchers number the processes they start; Open MPI, MPICH and its descendants, PMIx, Slurm. */
static int rank_of_process(void)
{
	static const char *const NAMES[] = { "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID",
		                                 NULL };
	return env_number(NAMES, 0);
}

static int ranks_on_this_machine(void)
{
	static const char *const NAMES[] = { "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS",
		                                 "SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE", NULL };
	int n = env_number(NAMES, 1);
	return n > 1 ? n : 1;
}

cyc_status cyc_relion_emit_threads(cyc_relion_call *c, int64_t n)
{
	cyc_status st = CYC_OK;
	int n_processors = cyc_n_processors();
	CYC_CHECK(n >= 1 && n <= INT32_MAX, CYC_E_USAGE, "there must be at least one thread, got %lld",
	          (long long)n);
	if (c->is_mpi && cyc_n_ranks() == 1) {
		int64_t all = n * ranks_on_this_machine();
		if (n_processors < n)
			cyc_warn("%lld threads were requested, but the launcher binds this process to %d processor%s: "
			         "use mpirun --bind-to none",
			         (long long)n, n_processors, n_processors == 1 ? "" : "s");
		if (all > n) n = all < n_processors ? all : n > n_processors ? n : n_processors;
	}
	CYC_TRY(cyc_relion_emit_number(c, "threads", (double)n));
done:
	return st;
}

/* ---------------------------------------------------------------- run */

/* A run must not end for want of a place for its flag. */
static cyc_status prepare_pipeline(const cyc_relion_call *c)
{
	const char *folder = cyc_relion_text(c, "--pipeline_control");
	return folder[0] && !cyc_relion_is_given(c, "--dry-run") ? cyc_make_dirs(folder) : CYC_OK;
}

/* The pipeline waits for a flag, also if the call was not even understood. Of a job that has finished the
 * results are still there, and so is its flag. */
static void flag_failure(int argc, char **argv, cyc_status st, bool has_run)
{
	cyc_error record = *cyc_error_get();
	/* A run writes its own flag, unless its options were refused before it knew of the folder. */
	const char *folder = cyc_relion_word_value(argc, argv, "--pipeline_control");
	if (folder && folder[0] && !cyc_relion_word_value(argc, argv, "--dry-run") && cyc_path_exists(folder) &&
	    !(has_run ? cyc_job_has_ended(folder) : cyc_job_has_finished(folder)) &&
	    cyc_job_end(folder, st) != CYC_OK)
		cyc_warn("no exit flag could be written into '%s'", folder);
	cyc_error_set(&record);
}

void cyc_relion_hand_on_early(int argc, char **argv)
{
	static const char *const TEXTS[] = { "--help", "-h", "--version", "--help-markdown" };
	const cyc_relion_program *p = argc > 0 ? cyc_relion_find(NULL, argv[0]) : NULL;
	if (!p && argc > 1) {
		p = cyc_relion_find(NULL, argv[1]);
		argc--;
		argv++;
	}
	if (!p || argc < 2) return;
	for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
		if (cyc_relion_word_value(argc, argv, TEXTS[i])) return;
	/* A refusal is raised again by the run itself. */
	if (cyc_relion_hand_on(p, rank_of_process() == 0, argc, argv) != CYC_OK) return;
}

static bool print_texts(const cyc_relion_program *p, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--version") == 0) {
			printf("cyclotomo %s as %s\n", CYCLOTOMO_VERSION, p->name);
			return true;
		}
		if (strcmp(argv[i], "--help-markdown") == 0) {
			cyc_relion_print_markdown(stdout, p);
			return true;
		}
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			cyc_relion_print_help(stdout, p);
			return true;
		}
	}
	return false;
}

/* The call as it was typed, in run.json and note.txt. */
static cyc_status note_call(const cyc_relion_call *c, char **line, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	char *typed = NULL;
	CYC_TRY(cyc_shell_line(&typed, argc - 1, argv + 1));
	CYC_TRY(cyc_asprintf(line, "%s%s %s", c->program->name, c->is_mpi ? "_mpi" : "", typed));
	cyc_run_called_as(*line);
done:
	cyc_free(typed);
	return st;
}

/* A dry run shows how the command is called under its own name. */
static cyc_status print_own_line(const cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	char *line = NULL;
	if (!cyc_relion_is_given(c, "--dry-run")) return CYC_OK;
	CYC_TRY(cyc_shell_line(&line, c->n_words, c->words));
	printf("as cyclotomo's own command: cyclotomo %s\n", line);
done:
	cyc_free(line);
	return st;
}

/* The refinement is at its end, and nothing else is asked for. */
static cyc_status say_finished(const cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	const char *folder = cyc_relion_text(c, "--pipeline_control");
	printf("this run has finished already, and no option has changed: its results stay as they are\n");
	if (folder[0] && !cyc_relion_is_given(c, "--dry-run")) CYC_TRY(cyc_job_end(folder, CYC_OK));
done:
	return st;
}

/* The job's own messages name options as cyclotomo's command does. */
static const cyc_relion_program *g_running;
static void respell_message(char *to, size_t size, const char *text)
{
	cyc_relion_respell(to, size, g_running, text);
}

static cyc_status run_call(const cyc_relion_call *c, const cyc_relion_continuation *old, int argc,
                           char **argv, bool *has_run)
{
	cyc_status st = CYC_OK;
	char *line = NULL;
	cyc_relion_kept_call kept = { 0 };
	bool is_resumed = old->words || (cyc_relion_find_option(c->program, "--only_do_unfinished") >= 0 &&
	                                 cyc_relion_is_given(c, "--only_do_unfinished"));
	cyc_relion_print_head(c, is_resumed);
	CYC_TRY(print_own_line(c));
	if (old->is_finished && !old->changed) return say_finished(c);
	if (old->is_finished)
		cyc_warn("this run has finished: with another %s it is done again from the start", old->changed);
	CYC_TRY(note_call(c, &line, argc, argv));
	CYC_TRY(prepare_pipeline(c));
	if (c->program->keeps_call) CYC_TRY(cyc_relion_keep_call(&kept, argc, argv));
	*has_run = true;
	g_running = c->program;
	cyc_console_word(respell_message);
	st = c->program->run(c->n_words, c->words);
	cyc_console_word(NULL);
	cyc_error record = *cyc_error_get();
	cyc_status written = cyc_relion_end_call(&kept, st);
	if (st == CYC_OK) st = written;
	else cyc_error_set(&record);
done:
	cyc_run_called_as(NULL);
	cyc_free(line);
	return st;
}

cyc_status cyc_relion_main(const cyc_relion_program *p, bool is_mpi, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	cyc_relion_call call = { 0 };
	cyc_relion_continuation old = { 0 };
	bool is_idle = is_mpi && rank_of_process() > 0, has_run = false;
	if (!is_idle && print_texts(p, argc, argv)) return CYC_OK;
	/* RELION's GUI shows what goes to stderr in red, and stdout as it comes. */
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	cyc_console_talk_on(stdout);
	if (is_idle) return CYC_OK;
	/* With an option that is not ours: only if there is no program to hand it on to. */
	CYC_TRY(cyc_relion_hand_on(p, true, argc, argv));
	if (p->keeps_call) CYC_TRY(cyc_relion_continue(&old, p, argc, argv));
	if (old.words) {
		argc = old.n_words;
		argv = old.words;
	}
	CYC_TRY(cyc_relion_translate(&call, p, is_mpi, argc, argv));
	CYC_TRY(run_call(&call, &old, argc, argv, &has_run));
done:
	if (st != CYC_OK) {
		flag_failure(argc, argv, st, has_run);
		cyc_relion_word_error(p, st, has_run);
	}
	cyc_relion_call_deinit(&call);
	cyc_relion_continuation_deinit(&old);
	return st;
}

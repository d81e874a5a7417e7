/**
 * @file relion.h
 * RELION's command lines as a front door: a table per program of RELION says what becomes of each of its
 * options, and is the single source of parsing, of --help under RELION's name and of
 * docs/formats/relion-commands.md.
 *
 * Options that are one of the job's under another name are in the job's own table (cyc_option.relion), from
 * which their rows are made. A program adds a table of the others, a function for those that do not pass one
 * by one, and a table of the variables that its GUI writes into job.star (src/cli/relion_mask.c is the
 * smallest):
 *
 *   static const cyc_relion_option OPTIONS[] = {
 *     { .name = "--pad", .type = CYC_OPT_DOUBLE, .help = "Padding.", .value = "1", .becomes =
 * CYC_RELION_UNUSED, .note = "why not" }, CYC_RELION_COMMON_OPTIONS,
 *   };
 *
 * and a line in relion_programs.def. The program is then known by its name and by its name with _mpi.
 */
#ifndef CYC_CLI_RELION_H
#define CYC_CLI_RELION_H

#include "command.h"

/** What becomes of an option of RELION's. */
typedef enum {
	CYC_RELION_SAME,   /**< the option `to` of the command, with the same value and meaning */
	CYC_RELION_READ,   /**< together with others, or with another meaning: the program's function reads it */
	CYC_RELION_ALWAYS, /**< nothing: what it asks for is done anyway (note: how) */
	CYC_RELION_UNUSED, /**< a warning: there is no counterpart (note: what is done instead) */
	CYC_RELION_INERT,  /**< a warning: RELION reads it too and does nothing with it */
	CYC_RELION_UNSUPPORTED, /**< refused, unless the value is RELION's default (note: what to
	                           do) */
	CYC_RELION_OWN          /**< cyclotomo's addition: the option of the same name */
} cyc_relion_becomes;

typedef struct {
	const char
		*name; /**< with dashes; further spellings after commas: "--per_tomogram_scale,--per_tomo_scale" */
	cyc_option_type type; /**< HEADING (name is the text), FLAG, INT, DOUBLE or TEXT */
	const char *unit;     /**< "<px>", or NULL */
	const char *help;     /**< what it is to RELION */
	const char *value;    /**< RELION's default as text; NULL: none, or a flag */
	cyc_relion_becomes becomes;
	const char *to;   /**< option of the command it becomes (or helps to make), without dashes; NULL: none */
	const char *note; /**< the reason, for help and warnings: a clause without capital and full stop */
	bool is_required;
	bool passes_default; /**< SAME: pass RELION's default on when the option is not given, as the command's
	                        own is another */
	bool may_be_bare;    /**< RELION takes it without a value too */
	bool is_hidden;      /**< an option of the command that RELION has no name for, accepted under its own */
} cyc_relion_option;

/** Options of all programs; the last rows of their tables. */
#define CYC_RELION_COMMON_OPTIONS                                                                            \
	{ .name = "Pipeline", .type = CYC_OPT_HEADING },                                                         \
		{ .name = "--pipeline_control",                                                                      \
		  .type = CYC_OPT_TEXT,                                                                              \
		  .unit = "<folder/>",                                                                               \
		  .help = "Folder for exit flags and abort requests.",                                               \
		  .becomes = CYC_RELION_READ,                                                                        \
		  .to = "pipeline-control" },                                                                        \
		{ .name = "--theme",                                                                                 \
		  .type = CYC_OPT_TEXT,                                                                              \
		  .unit = "<name>",                                                                                  \
		  .help = "Colours of RELION's windows.",                                                            \
		  .becomes = CYC_RELION_ALWAYS,                                                                      \
		  .note = "there are no windows" },                                                                  \
		{ .name = "Not RELION's", .type = CYC_OPT_HEADING },                                                 \
		{ .name = "--dry-run",                                                                               \
		  .type = CYC_OPT_FLAG,                                                                              \
		  .help = "Check everything, print the plan, and stop.",                                             \
		  .becomes = CYC_RELION_OWN },                                                                       \
	{                                                                                                        \
		.name = "--root", .type = CYC_OPT_TEXT, .unit = "<folder>",                                          \
		.help = "Project folder; all paths are relative to it.", .value = "", .becomes = CYC_RELION_OWN      \
	}

/** Rows that CTF refinement and polishing share: how shells are weighted. */
#define CYC_RELION_REFERENCE_OPTIONS                                                                         \
	{ .name = "--fsc_thresh_width",                                                                          \
	  .type = CYC_OPT_DOUBLE,                                                                                \
	  .unit = "<px>",                                                                                        \
	  .help = "Soft edge beyond the last shell.",                                                            \
	  .value = "5",                                                                                          \
	  .becomes = CYC_RELION_UNUSED,                                                                          \
	  .note = "the last shell used is the last one with an FSC of 0.143 or more, without a soft edge" },     \
		{ .name = "--use_SNR_weight",                                                                        \
		  .type = CYC_OPT_FLAG,                                                                              \
		  .help = "Weight shells by the reference's signal-to-noise ratio.",                                 \
		  .becomes = CYC_RELION_ALWAYS,                                                                      \
		  .note = "each shell of the reference is weighted by its FSC" },                                    \
		{ .name = "--per_frame_noise",                                                                       \
		  .type = CYC_OPT_FLAG,                                                                              \
		  .help = "A noise spectrum for each tilt.",                                                         \
		  .becomes = CYC_RELION_ALWAYS,                                                                      \
		  .note = "every tilt has its own" },                                                                \
	{                                                                                                        \
		.name = "--diag", .type = CYC_OPT_FLAG, .help = "Diagnostic images.", .becomes = CYC_RELION_UNUSED,  \
		.note = "RELION's diagnostic images are not written; see the figures and uncertainty.star"           \
	}

/** A number of threads; the program's function emits what it comes to with cyc_relion_emit_threads(). */
#define CYC_RELION_THREADS_OPTION(default_value)                                                             \
	{                                                                                                        \
		.name = "--j", .type = CYC_OPT_INT, .unit = "<n>", .help = "Threads.", .value = (default_value),     \
		.becomes = CYC_RELION_READ, .to = "threads"                                                          \
	}

typedef struct cyc_relion_program cyc_relion_program;

/** One command line on its way. Start from a zeroed struct. */
typedef struct {
	const cyc_relion_program *program;
	bool is_mpi;
	const char **given;    /**< per row of the table: the value as typed ("" for a flag); NULL: not given */
	const char **spelling; /**< per row: the option as typed; NULL: not given */
	int n_words;
	char **words; /**< the command line of cyclotomo, from the command's name on; NULL at the end */
} cyc_relion_call;

/** What a variable of job.star becomes. */
typedef enum {
	CYC_JOB_VALUE,  /**< the option with the value, if there is one */
	CYC_JOB_FLAG,   /**< the option, if the value is Yes */
	CYC_JOB_READ,   /**< the program's function reads it */
	CYC_JOB_NOTHING /**< has no influence on the command (queues, the GUI's own) */
} cyc_job_becomes;
/** What setting the field of a tab does. */
typedef enum {
	CYC_JOB_BY_OPTION, /**< what becomes of its option; without one honoured, for NOTHING nothing to do */
	CYC_JOB_HONOURED,
	CYC_JOB_NEEDLESS, /**< nothing to do */
	CYC_JOB_IGNORED,  /**< a warning */
	CYC_JOB_REFUSED
} cyc_job_fate;
typedef struct {
	const char *variable; /**< a name, or the beginning of names: "helical_*" */
	cyc_job_becomes becomes;
	const char *option; /**< RELION's option; READ: the one that the variable helps to make, or NULL */
	const char *needs;  /**< variable that must be Yes; NULL: none */
	const char *what;   /**< the field of the tab, in a few words */
	cyc_job_fate fate;  /**< for the documents, where the option does not say it */
	const char *note;   /**< the same */
} cyc_job_variable;

/** A job.star on its way to a command line of RELION. */
typedef struct {
	const cyc_relion_program *program;
	const char *folder; /**< of the job, with a final slash */
	bool is_continued;
	const cyc_star_block *values;
	int n_words;
	char **words; /**< RELION's command line, from the program's name on; NULL at the end */
} cyc_relion_job;

struct cyc_relion_program {
	const char *name;    /**< "relion_tomo_align" */
	const char *summary; /**< a phrase */
	const char *command; /**< of cyclotomo: "polish" */
	cyc_command_fn run;
	const cyc_option_table *table;    /**< of the job */
	const cyc_relion_option *options; /**< what the job's table does not have */
	int n_options;
	/** What the call asks for that the program's table does not show, such as another kind of job under the
	 * same name: a phrase ("3D classification"); NULL: nothing. NULL for programs without such modes. */
	const char *(*other_mode)(int argc, char **argv);
	bool keeps_call; /**< --continue names no inputs: the call is kept in the folder of --o */
	cyc_status (*translate)(
		cyc_relion_call *call); /**< emits what the READ options become; NULL: none but the common ones */
	const char *job_type;       /**< rlnJobTypeLabel, or how it begins; NULL: none */
	const cyc_job_variable *variables;
	int n_variables;
	cyc_status (*map_job)(cyc_relion_job *job); /**< emits what the READ variables become; NULL: none */
};
#define CYC_RELION_TABLES(options_table, variables_table)                                                    \
	.options = (options_table), .n_options = (int)(sizeof(options_table) / sizeof *(options_table)),         \
	.variables = (variables_table),                                                                          \
	.n_variables = (int)(sizeof(variables_table) / sizeof *(variables_table))

/* ---------------------------------------------------------------- programs */

int cyc_relion_n_programs(void);
/** Program i, in the order of relion_programs.def; NULL if out of range. */
const cyc_relion_program *cyc_relion_program_at(int i);
/** The program that argv[0] (a path, with or without _mpi) names; NULL if it names none. @param[out] is_mpi
 * may be NULL. */
const cyc_relion_program *cyc_relion_find(bool *is_mpi, const char *argv0);
/**
 * The program of a job.star's rlnJobTypeLabel ("relion.framealigntomo", "relion.postprocess.tomo"), NULL if
 * none is known.
 */
const cyc_relion_program *cyc_relion_find_job(const char *type_label);
/** All options of a program, those of the job's table first. */
typedef struct {
	const cyc_relion_option *rows;
	int n;
} cyc_relion_rows;
cyc_relion_rows cyc_relion_rows_of(const cyc_relion_program *p);
/** Row of the option with this spelling, -1 if there is none. */
int cyc_relion_find_option(const cyc_relion_program *p, const char *word);

/* ---------------------------------------------------------------- command lines (relion.c) */

/**
 * RELION's argv (argv[0] is the program) to a command line of cyclotomo. Warnings for what is not used are
 * logged.
 * @param[out] call  cyc_relion_call_deinit() also after a failure.
 * @return CYC_E_USAGE: unknown option (with the nearest one), value missing or not of its type, a value given
 * twice in two ways, required options missing; CYC_E_UNSUPPORTED: an option that cyclotomo cannot do.
 */
CYC_MUST_CHECK cyc_status cyc_relion_translate(cyc_relion_call *call, const cyc_relion_program *p,
                                               bool is_mpi, int argc, char **argv);
void cyc_relion_call_deinit(cyc_relion_call *call);
/**
 * Everything under RELION's name: --help, other modes, translation, the head of the log, the run, exit flags.
 * Of several ranks that mpirun started only the first one works.
 */
cyc_status cyc_relion_main(const cyc_relion_program *p, bool is_mpi, int argc, char **argv);

/** Is this what RELION does without the option? Such a value asks for nothing. */
bool cyc_relion_is_default(const cyc_relion_option *o, const char *value);
/** Value of the option in RELION's words: "" without a value, NULL if it is not there. */
const char *cyc_relion_word_value(int argc, char **argv, const char *option);

/* For the programs' translate functions. Names must be in the program's table. */
bool cyc_relion_is_given(const cyc_relion_call *call, const char *name);
/** The value, or RELION's default; "" for one without. */
const char *cyc_relion_text(const cyc_relion_call *call, const char *name);
double cyc_relion_number(const cyc_relion_call *call, const char *name);
/** Append "--to" and, unless NULL, its value. */
CYC_MUST_CHECK cyc_status cyc_relion_emit(cyc_relion_call *call, const char *to, const char *value);
CYC_MUST_CHECK cyc_status cyc_relion_emit_number(cyc_relion_call *call, const char *to, double value);
/** --threads: n for each rank that runs on this machine. */
CYC_MUST_CHECK cyc_status cyc_relion_emit_threads(cyc_relion_call *call, int64_t n);

/* ---------------------------------------------------------------- other modes (relion_hand_on.c) */

/**
 * If the call has an option or mode that is not done here, replace this process by the next program of the
 * same name on PATH that is not cyclotomo; one line reports it where `talks`. Returns if the call is ours, or
 * if there is no such program: then with CYC_E_UNSUPPORTED for a mode, and CYC_OK for an option, which the
 * table refuses.
 */
CYC_MUST_CHECK cyc_status cyc_relion_hand_on(const cyc_relion_program *p, bool talks, int argc, char **argv);
/** The same for the program that argv names, if it names one of RELION's; for all ranks, before they join. */
void cyc_relion_hand_on_early(int argc, char **argv);

/* ---------------------------------------------------------------- --continue (relion_continue.c) */

/** A call that continues an earlier one. Start from a zeroed struct. */
typedef struct {
	char **first; /**< the call that began the run */
	int n_first;
	char **words; /**< that call with the options of the new one in place of its own; NULL: not known, or no
	                 --continue */
	int n_words;
	bool is_finished;    /**< the earlier run came to its end */
	const char *changed; /**< an option that asks for another result than the first call; NULL: none */
} cyc_relion_continuation;
CYC_MUST_CHECK cyc_status cyc_relion_continue(cyc_relion_continuation *c, const cyc_relion_program *p,
                                              int argc, char **argv);
void cyc_relion_continuation_deinit(cyc_relion_continuation *c);
/** Is the call that began the run kept in the folder of this file? */
bool cyc_relion_has_call(const char *of_file, int argc, char **argv);

/** The call of this run in the folder of its --o. Start from a zeroed struct. */
typedef struct {
	char *path, *before, **words;
	int n_words;
} cyc_relion_kept_call;
CYC_MUST_CHECK cyc_status cyc_relion_keep_call(cyc_relion_kept_call *k, int argc, char **argv);
/** After the run: note how it ended; a refused call leaves the one before it. Frees the struct's members. */
CYC_MUST_CHECK cyc_status cyc_relion_end_call(cyc_relion_kept_call *k, cyc_status result);

/* ---------------------------------------------------------------- what is said (relion_words.c) */

/** First lines of a log: program, version, date and host, then what is ignored. */
void cyc_relion_print_head(const cyc_relion_call *call, bool is_continued);
/** The text with options in RELION's spelling instead of cyclotomo's, without line breaks. */
void cyc_relion_respell(char *to, size_t size, const cyc_relion_program *p, const char *text);
/** Make one line of the error record, for windows that show the last line only: message and hint, respelt if
 * they are in the words of cyclotomo's own command (`is_own`). */
void cyc_relion_word_error(const cyc_relion_program *p, cyc_status st, bool is_own);

/* ---------------------------------------------------------------- job.star (relion_job.c) */

/**
 * RELION's command line of a job.star.
 * @param[out] job     cyc_relion_job_deinit() also after a failure; `star` must outlive it.
 * @param[in]  folder  of the job, for its outputs; with a final slash.
 * @return CYC_E_FORMAT: not a job.star; CYC_E_UNSUPPORTED: a type that has no program here; CYC_E_DATA:
 * values that make no job.
 */
CYC_MUST_CHECK cyc_status cyc_relion_job_map(cyc_relion_job *job, const cyc_star *star, const char *folder);
void cyc_relion_job_deinit(cyc_relion_job *job);
/** Table of the fields of the program's tab and of what setting them does, for the documents. */
void cyc_relion_print_tab(FILE *f, const cyc_relion_program *p);
/** Value of a variable, "" if it is not there or empty. */
const char *cyc_job_text(const cyc_relion_job *job, const char *variable);
bool cyc_job_is_yes(const cyc_relion_job *job, const char *variable);
/** Append an option of RELION's and, unless NULL, its value. */
CYC_MUST_CHECK cyc_status cyc_job_emit(cyc_relion_job *job, const char *option, const char *value);
/** --i, or --p --t --mot, as the GUI's "use direct entries" says. */
CYC_MUST_CHECK cyc_status cyc_job_emit_project(cyc_relion_job *job);
/** The same, where a program names set, particles, tomograms and trajectories otherwise. */
CYC_MUST_CHECK cyc_status cyc_job_emit_project_as(cyc_relion_job *job, const char *const options[4]);
/** --ref1, --ref2, --mask and --fsc of CTF refinement and polishing. */
CYC_MUST_CHECK cyc_status cyc_job_emit_reference(cyc_relion_job *job);
#define CYC_JOB_PROJECT_VARIABLES                                                                            \
	{ .variable = "in_optimisation", .becomes = CYC_JOB_READ, .what = "optimisation set" },                  \
		{ .variable = "use_direct_entries", .becomes = CYC_JOB_READ, .what = "files instead of the set" },   \
		{ .variable = "in_particles", .becomes = CYC_JOB_READ, .what = "particles" },                        \
		{ .variable = "in_tomograms", .becomes = CYC_JOB_READ, .what = "tomograms" },                        \
	{                                                                                                        \
		.variable = "in_trajectories", .becomes = CYC_JOB_READ, .what = "trajectories"                       \
	}
#define CYC_JOB_REFERENCE_VARIABLES                                                                          \
	{ .variable = "in_halfmaps", .becomes = CYC_JOB_READ, .what = "one of the reference half maps" },        \
		{ .variable = "in_refmask", .becomes = CYC_JOB_READ, .what = "reference mask" },                     \
	{                                                                                                        \
		.variable = "in_post", .becomes = CYC_JOB_READ, .what = "postprocess.star, for the FSC"              \
	}

/* ---------------------------------------------------------------- texts (relion_help.c) */

void cyc_relion_print_help(FILE *f, const cyc_relion_program *p);
/** The table of docs/formats/relion-commands.md. */
void cyc_relion_print_markdown(FILE *f, const cyc_relion_program *p);

/* ---------------------------------------------------------------- lists of words */

/** Append a copy of the word to a list that ends with NULL; start from NULL and 0. */
CYC_MUST_CHECK cyc_status cyc_words_add(char ***words, int *n_words, const char *word);
void cyc_words_free(char ***words, int *n_words);

#endif

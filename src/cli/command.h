/**
 * @file command.h
 * What all commands share. A command is a struct of options, a table of them, and a function. The options of
 * a job and their table are the library's; the command adds those that only a command line has:
 *
 *   typedef struct {
 *     cyc_common_options common;
 *     cyc_mask_options o;
 *   } mask_args;
 *
 *   static const cyc_option OPTIONS[] = {
 *     CYC_NESTED(mask_args, o, &cyc_mask_table),
 *     CYC_COMMON_OPTIONS(mask_args, common),
 *   };
 *   static const cyc_command COMMAND = CYC_COMMAND_DEF("mask", "Soft mask from a map", NULL, OPTIONS);
 *
 *   cyc_status cyc_cmd_mask(int argc, char **argv)
 *   {
 *     cyc_status st = CYC_OK;
 *     mask_args a = { 0 };
 *     cyc_run run = { 0 };
 *     cyc_mask_options_default(&a.o);
 *     CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
 *     if (run.is_help) goto done;
 *     a.o.root = a.common.root;
 *     a.o.n_threads = a.common.n_threads;
 *     CYC_TRY(cyc_run_job_file(&run, a.o.output, "relion.maskcreate"));   (a folder: cyc_run_job)
 *     CYC_TRY(cyc_run_input(&run, "map", a.o.input));
 *     CYC_TRY(cyc_mask_run(&result, &a.o));
 *     CYC_TRY(cyc_run_output(&run, "mask", a.o.output));
 *     printf("threshold %g\n", result.threshold);
 *   done:
 *     return cyc_run_end(&run, st);
 *   }
 *
 * and a line in commands.def. stdout is for what the user asked for (results, tables), the log (cyc_info,
 * cyc_warn) for everything else; src/cli/cmd_version.c is the smallest example.
 */
#ifndef CYC_CLI_COMMAND_H
#define CYC_CLI_COMMAND_H

#include "options.h"

#include "cyclotomo/outputs.h"
#include "cyclotomo/parts.h"
#include "cyclotomo/project.h"

#include <stddef.h>

/** Options of every command; the last rows of its table. */
typedef struct {
	int32_t n_threads; /**< all processors unless given */
	bool is_quiet, is_verbose;
	bool has_profile; /**< print what the time went into */
	const char *root; /**< project root; "" is the current folder */
	const char
		*pipeline_control; /**< RELION's: folder, with a final slash, for exit flags and abort requests */
	const char *theme;     /**< accepted and ignored, as RELION's GUI passes it on */
} cyc_common_options;

extern const cyc_option_table cyc_common_table;
#define CYC_COMMON_OPTIONS(T, member) CYC_NESTED(T, member, &cyc_common_table)

/** What a command is: its usage and its table. */
typedef struct {
	cyc_usage usage;
	cyc_option_table table;
} cyc_command;
#define CYC_COMMAND_DEF(name, summary, details, rows)                                                        \
	{                                                                                                        \
		{ (name), (summary), (details) }, CYC_OPTION_TABLE(name, rows)                                       \
	}

/** A command: parse, call the library, report. argv[0] is its name. Returns the library's status. */
typedef cyc_status (*cyc_command_fn)(int argc, char **argv);

/** A file that was read or written, for run.json. */
typedef struct {
	char *label, *path;
} cyc_run_file;

/** One run of a command, from its command line to its run.json. Start from a zeroed struct; all members are
 * read-only. */
typedef struct {
	const cyc_command *command;
	cyc_option_list options; /**< all rows of the command, in `target` */
	const void *target;
	const cyc_common_options *common;
	int argc;
	char **argv;
	const char
		*called_as; /**< the command line in the words of another program (cyc_run_called_as), or NULL */
	bool is_help;   /**< --help was given and answered: leave at once with CYC_OK */
	char *job_dir;  /**< with the root in front; NULL without a job folder */
	char *run_json; /**< where run.json goes; NULL: nowhere */
	bool is_part;   /**< of --part: other parts are at work in the same folder */
	bool has_begun; /**< the log and the timings run */
	bool had_finished,
		has_written; /**< the pipeline's folder had the flag of success; results were written */
	int32_t n_inputs, n_outputs;
	cyc_run_file *inputs, *outputs;
} cyc_run;

/**
 * Parse the command line into `target` (which holds the defaults and in it `common`, zeroed), answer --help,
 * set the log level and the abort file. cyc_run_end() must follow, also after a failure.
 */
CYC_MUST_CHECK cyc_status cyc_run_begin(cyc_run *run, const cyc_command *command, void *target,
                                        cyc_common_options *common, int argc, char **argv);
/**
 * The output folder `dir` (relative to the root) is a job of this type: make it, write job.star and note.txt,
 * and at the end the exit flag and run.json. With --pipeline-control the pipeline writes job.star and
 * note.txt itself. On a failure nothing but the flag is left there by this layer. A dry run
 * writes nothing: it only refuses the folder of another type of job, as the run itself would. With --part
 * only run_partKofN.json is written.
 */
CYC_MUST_CHECK cyc_status cyc_run_job(cyc_run *run, const char *dir, const char *type_label, bool is_dry_run);
/**
 * After cyc_run_job(): all results in the folder are those of this run. What an earlier run of the same
 * command left there is removed as soon as this one has results; not with --resume. Without a job folder
 * nothing is done.
 */
CYC_MUST_CHECK cyc_status cyc_run_owns_folder(cyc_run *run, cyc_output_kind kind);
/**
 * As cyc_run_job() for a command whose --o is a file or a root name: if its folder is named jobNNN it is the
 * job folder, else only `<path without suffix>.run.json` is written beside the output.
 */
CYC_MUST_CHECK cyc_status cyc_run_job_file(cyc_run *run, const char *path, const char *type_label);
/** From here on a closed pipe behind stdout or stderr ends the job as an interruption does. Part of
 * cyc_run_job(). */
void cyc_run_minds_closed_pipe(void);
/** From here on a closed pipe behind stdout ends the process with 0: what is written is help. */
void cyc_help_ends_with_pipe(void);
/** Only run.json, into `dir` (relative to the root): for what is not a job itself. */
CYC_MUST_CHECK cyc_status cyc_run_record_in(cyc_run *run, const char *dir);
/** Note a file read or written (relative to the root; NULL is ignored) for run.json. */
CYC_MUST_CHECK cyc_status cyc_run_input(cyc_run *run, const char *label, const char *path);
CYC_MUST_CHECK cyc_status cyc_run_output(cyc_run *run, const char *label, const char *path);
/** cyc_run_input() for the files of a project input, and for half maps, mask and FSC (any may be NULL). */
CYC_MUST_CHECK cyc_status cyc_run_project_inputs(cyc_run *run, const cyc_project_input *input);
CYC_MUST_CHECK cyc_status cyc_run_reference_inputs(cyc_run *run, const char *ref1, const char *ref2,
                                                   const char *mask, const char *fsc);
/** The line on stdout of a part of a job; false if it was none. */
bool cyc_run_print_part(const cyc_part_outcome *o, const char *dir);
/**
 * End of the run: exit flags, run.json, the line with times and memory. Returns `st` with its error record,
 * or the status of writing these if `st` is CYC_OK.
 */
cyc_status cyc_run_end(cyc_run *run, cyc_status st);

/** The next runs are done under another program's name, by this command line of it, for note.txt and
 * run.json; NULL: no more. Borrowed. */
void cyc_run_called_as(const char *line);
/** A command line for a shell, words quoted where needed; cyc_free. */
CYC_MUST_CHECK cyc_status cyc_shell_line(char **out, int n_words, char *const *words);

/** Log and progress go to stderr, with seconds since the start and the command's name in front of each line.
 */
void cyc_console_begin(const char *command);
/** Lines of the log that are no warnings go to `f` from now on (stdout under RELION's names; else stderr). */
void cyc_console_talk_on(FILE *f);
/** Messages from now on are put into other words first; NULL: they are not. Called from any thread. */
void cyc_console_word(void (*words)(char *to, size_t size, const char *text));
void cyc_console_set_level(bool is_quiet, bool is_verbose);
bool cyc_console_is_verbose(void);
/** Wipe a progress bar before other text is written. */
void cyc_console_clear(void);
/** Seconds since cyc_console_begin(). */
double cyc_console_seconds(void);

#endif

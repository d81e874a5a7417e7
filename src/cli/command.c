#include "command.h"

#include "completion.h"
#include "profile_table.h"
#include "run_json.h"

#include "cyclotomo/project.h"
#include "project/labels.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char ABORT_FLAG[] = "RELION_JOB_ABORT_NOW";
/* The command line as it was typed under another program's name, NULL otherwise. */
static const char *g_called_as;

void cyc_run_called_as(const char *line) { g_called_as = line; }

/* ---------------------------------------------------------------- begin */

#define ROW(type, name, member, ...) CYC_OPTION(cyc_common_options, type, name, member, __VA_ARGS__)
static const cyc_option ROWS[] = {
	CYC_HEADING("Running"),
	ROW(INT, "threads", n_threads, .alias = "--j", .unit = "<n>", .range = "[1,", .no_default = "all cores",
	    .help = "Number of threads; results do not depend on it."),
	ROW(TEXT, "root", root, .unit = "<folder>", .no_default = "current folder",
	    .help = "Project folder; paths on the command line and in STAR files are relative to it."),
	ROW(FLAG, "quiet", is_quiet, .alias = "-q", .help = "Print only warnings and errors."),
	ROW(FLAG, "verbose", is_verbose, .alias = "-v,-vv",
	    .help = "Print details, and for errors the places in the source code."),
	ROW(FLAG, "profile", has_profile,
	    .help = "At the end, print what the time went into; run.json has it always."),
	ROW(TEXT, "pipeline-control", pipeline_control, .alias = "--pipeline_control", .unit = "<folder/>",
	    .help = "Job folder of a RELION pipeline: for exit flags, and RELION_JOB_ABORT_NOW."),
	ROW(TEXT, "theme", theme, .unit = "<name>", .help = "Accepted and ignored."),
};
const cyc_option_table cyc_common_table = CYC_OPTION_TABLE("common", ROWS);

cyc_status cyc_run_begin(cyc_run *run, const cyc_command *command, void *target, cyc_common_options *common,
                         int argc, char **argv)
{
	cyc_status st = CYC_OK;
	char *abort_file = NULL;
	*run = (cyc_run){ .command = command,
		              .target = target,
		              .common = common,
		              .argc = argc,
		              .argv = argv,
		              .called_as = g_called_as };
	common->n_threads = cyc_n_processors();
	if (!common->root) common->root = "";
	cyc_help help = CYC_HELP_NONE;
	CYC_TRY(cyc_option_list_make(&run->options, &command->table));
	const cyc_option_list *list = &run->options;
	CYC_TRY(cyc_options_parse(target, &help, list->rows, list->n, argc, argv, command->usage.name));
	run->is_help = help != CYC_HELP_NONE;
	if (run->is_help) {
		static void (*const PRINT[])(FILE *, const void *, const cyc_option *, int,
		                             const cyc_usage *) = { [CYC_HELP_PAGE] = cyc_options_print_help,
			                                                [CYC_HELP_MAN] = cyc_options_print_man,
			                                                [CYC_HELP_MARKDOWN] = cyc_options_print_markdown,
			                                                [CYC_HELP_BASH] = cyc_completion_print_bash,
			                                                [CYC_HELP_ZSH] = cyc_completion_print_zsh };
		cyc_help_ends_with_pipe();
		PRINT[help](stdout, target, list->rows, list->n, &command->usage);
		goto done;
	}
	cyc_console_set_level(common->is_quiet, common->is_verbose);
	if (common->pipeline_control) {
		CYC_TRY(cyc_path_join(&abort_file, common->pipeline_control, ABORT_FLAG));
		/* The pipeline leaves it there, and who repeats the call wants no end of it. */
		if (unlink(abort_file) == 0) cyc_warn("removed %s, which was left from before this run", abort_file);
		CYC_TRY(cyc_cancel_watch_file(abort_file));
		run->had_finished = cyc_job_has_finished(common->pipeline_control);
	}
	run->has_begun = true;
done:
	cyc_free(abort_file);
	return st;
}

/* ---------------------------------------------------------------- jobs */

cyc_status cyc_shell_line(char **out, int n_words, char *const *words)
{
	cyc_status st = CYC_OK;
	char *line = NULL;
	size_t room = 1;
	for (int i = 0; i < n_words; i++) room += 4 * strlen(words[i]) + 3;
	CYC_TRY(cyc_alloc(&line, room, 1));
	char *to = line;
	for (int i = 0; i < n_words; i++) {
		bool needs_quotes = words[i][0] == '\0' || strpbrk(words[i], " \t\n'\"\\$`*?(){}[];&|<>#~!") != NULL;
		if (i > 0) *to++ = ' ';
		if (needs_quotes) *to++ = '\'';
		for (const char *c = words[i]; *c; c++) {
			/* A quote inside quotes: close, quote, open again. */
			if (*c == '\'') to += sprintf(to, "'\\''");
			else *to++ = *c;
		}
		if (needs_quotes) *to++ = '\'';
	}
	*to = '\0';
	*out = line;
	line = NULL;
done:
	cyc_free(line);
	return st;
}

/* What the command is in note.txt: with the front door's name in front, if it was called by one. */
static cyc_status command_line(char **out, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	char *words = NULL;
	CYC_TRY(cyc_shell_line(&words, argc, argv));
	CYC_TRY(cyc_asprintf(out, "%s%scyclotomo %s", g_called_as ? g_called_as : "", g_called_as ? "\n" : "",
	                     words));
done:
	cyc_free(words);
	return st;
}

/* job.star: what influences the result, so neither threads nor paths of this run's environment. */
static bool is_job_option(const cyc_run *run, const cyc_option *o)
{
	if (o->type == CYC_OPT_HEADING) return false;
	const char *common = (const char *)run->common, *target = run->target;
	size_t first = (size_t)(common - target);
	return o->offset < first || o->offset >= first + sizeof *run->common;
}

static cyc_status begin_job(cyc_run *run, const char *type_label)
{
	cyc_status st = CYC_OK;
	const cyc_option_list *list = &run->options;
	cyc_job_option *options = NULL;
	char **values = NULL, *line = NULL;
	int32_t n = 0;
	CYC_TRY(cyc_alloc(&options, list->n, sizeof *options));
	CYC_TRY(cyc_alloc(&values, list->n, sizeof *values));
	for (int i = 0; i < list->n; i++) {
		if (!is_job_option(run, &list->rows[i])) continue;
		CYC_TRY(cyc_option_value(&values[n], run->target, &list->rows[i]));
		options[n] = (cyc_job_option){ list->rows[i].name, values[n] };
		n++;
	}
	CYC_TRY(command_line(&line, run->argc, run->argv));
	CYC_TRY(cyc_job_begin(run->job_dir, type_label, options, n, line));
done:
	for (int32_t i = 0; values && i < list->n; i++) cyc_free(values[i]);
	cyc_free(values);
	cyc_free(options);
	cyc_free(line);
	return st;
}

/* `cyclotomo cycle | head`: a job ends as if interrupted, with its flags. Other commands end without a word,
 * as filters do. */
static void on_broken_pipe(int number)
{
	(void)number;
	cyc_cancel_request("interrupted: the output pipe was closed (SIGPIPE)");
}

void cyc_run_minds_closed_pipe(void) { signal(SIGPIPE, on_broken_pipe); }

/* Does the command resume an earlier run, by the option of that name? */
static bool is_resumed(const cyc_run *run)
{
	for (int i = 0; i < run->options.n; i++) {
		const cyc_option *o = &run->options.rows[i];
		if (o->type == CYC_OPT_FLAG && strcmp(o->name, "resume") == 0)
			return *(const bool *)((const char *)run->target + o->offset);
	}
	return false;
}

/* The k/n of --part; NULL: the whole job, or a command that cannot be dealt. */
static const char *part_of(const cyc_run *run)
{
	for (int i = 0; i < run->options.n; i++) {
		const cyc_option *o = &run->options.rows[i];
		if (o->type != CYC_OPT_TEXT || strcmp(o->name, "part") != 0) continue;
		const char *text = *(const char *const *)(const void *)((const char *)run->target + o->offset);
		return text && text[0] ? text : NULL;
	}
	return NULL;
}

/* The type label in an existing job.star; NULL if there is none. */
static cyc_status type_of_folder(char **out, const char *job_dir)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	char *path = NULL;
	*out = NULL;
	CYC_TRY(cyc_path_join(&path, job_dir, "job.star"));
	if (!cyc_path_exists(path) || cyc_star_read(&star, path) != CYC_OK)
		goto done; /* one that cannot be read is written again */
	const cyc_star_block *b = cyc_star_find(star, "job");
	const char *label = b && cyc_star_n_rows(b) == 1 ? cyc_star_text_of(b, 0, CYC_RLN_JOB_TYPE_LABEL) : NULL;
	if (label && label[0]) CYC_TRY(cyc_strdup(out, label));
done:
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

/* Names of one job's results are in part those of another's: both in one folder would be a mix of them. */
static cyc_status refuse_other_job(const char *job_dir, const char *type_label)
{
	cyc_status st = CYC_OK;
	char *there = NULL;
	CYC_TRY(type_of_folder(&there, job_dir));
	/* "relion.refine3d.tomo" and "relion.refine3d" are one kind of job. */
	size_t n = there ? strlen(there) : 0, m = strlen(type_label), least = n < m ? n : m;
	if (!there || strncmp(there, type_label, least) == 0) goto done;
	st = cyc_error_raise(
		CYC_E_USAGE, __FILE__, __LINE__, __func__,
		"the output folder '%s' belongs to another job (%s), whose files would be overwritten", job_dir,
		there);
	cyc_error_hint("give each job its own folder (--o); nothing was written");
done:
	cyc_free(there);
	return st;
}

cyc_status cyc_run_owns_folder(cyc_run *run, cyc_output_kind kind)
{
	cyc_status st = CYC_OK;
	bool has_parts;
	if (!run->job_dir) return CYC_OK;
	/* What parts have left is built on, as what an earlier run has. */
	CYC_TRY(cyc_parts_exist(&has_parts, run->job_dir));
	CYC_TRY(cyc_outputs_keep_list(run->job_dir, kind, is_resumed(run) || has_parts));
done:
	return st;
}

static cyc_status enter_folder(cyc_run *run, const char *dir, const char *type_label)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_path_join(&run->job_dir, run->common->root, dir));
	CYC_TRY(cyc_path_join(&run->run_json, run->job_dir, "run.json"));
	CYC_TRY(cyc_make_dirs(run->job_dir));
	cyc_run_minds_closed_pipe();
	if (!run->common->pipeline_control) CYC_TRY(begin_job(run, type_label));
done:
	return st;
}

/* Only a run.json of its own: flags, job.star, note and list are those of the job, and other parts are at
 * work beside this one. */
static cyc_status enter_as_part(cyc_run *run, const char *dir, const char *text)
{
	cyc_status st = CYC_OK;
	cyc_part part;
	char name[64], *path = NULL;
	CYC_TRY(cyc_part_parse(&part, text));
	snprintf(name, sizeof name, "run_part%dof%d.json", part.k, part.n);
	CYC_TRY(cyc_path_join(&path, run->common->root, dir));
	CYC_TRY(cyc_path_join(&run->run_json, path, name));
	CYC_TRY(cyc_make_dirs(path));
	run->is_part = true;
	cyc_run_minds_closed_pipe();
done:
	cyc_free(path);
	return st;
}

static cyc_status check_job(const cyc_run *run, const char *dir, const char *type_label)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	/* RELION's pipeline makes the folder and its job.star itself. */
	if (run->common->pipeline_control) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, run->common->root, dir));
	CYC_TRY(refuse_other_job(path, type_label));
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_run_job(cyc_run *run, const char *dir, const char *type_label, bool is_dry_run)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(dir && dir[0], CYC_E_USAGE, "the output folder is missing: give it with --o");
	CYC_TRY(check_job(run, dir, type_label));
	const char *part = part_of(run);
	if (is_dry_run) goto done;
	CYC_TRY(part ? enter_as_part(run, dir, part) : enter_folder(run, dir, type_label));
done:
	return st;
}

static bool is_job_folder(const char *dir)
{
	size_t n = strlen(dir);
	while (n > 0 && dir[n - 1] == '/') n--;
	size_t first = n;
	while (first > 0 && dir[first - 1] != '/') first--;
	return n - first >= 6 && strncmp(dir + first, "job", 3) == 0 &&
	       strspn(dir + first + 3, "0123456789") == n - first - 3;
}

cyc_status cyc_run_job_file(cyc_run *run, const char *path, const char *type_label)
{
	cyc_status st = CYC_OK;
	char *dir = NULL, *full = NULL;
	CYC_CHECK(path && path[0], CYC_E_USAGE, "the output is missing: give it with --o");
	CYC_TRY(cyc_path_dir(&dir, path));
	if (is_job_folder(dir)) {
		CYC_TRY(enter_folder(run, dir, type_label)); /* all names are the user's: other files may be there */
	} else {
		CYC_TRY(cyc_path_join(&full, run->common->root, path));
		char *name = strrchr(full, '/'), *suffix = strrchr(name ? name : full, '.');
		if (suffix && suffix != (name ? name + 1 : full)) *suffix = '\0';
		CYC_TRY(cyc_asprintf(&run->run_json, "%s.run.json", full));
		cyc_run_minds_closed_pipe();
	}
done:
	cyc_free(dir);
	cyc_free(full);
	return st;
}

cyc_status cyc_run_record_in(cyc_run *run, const char *dir)
{
	cyc_status st = CYC_OK;
	char *full = NULL;
	CYC_TRY(cyc_path_join(&full, run->common->root, dir));
	CYC_TRY(cyc_path_join(&run->run_json, full, "run.json"));
done:
	cyc_free(full);
	return st;
}

static cyc_status add_file(cyc_run_file **files, int32_t *n, const char *label, const char *path)
{
	cyc_status st = CYC_OK;
	if (!path || !path[0]) return CYC_OK;
	CYC_TRY(cyc_realloc(files, (size_t)*n, (size_t)*n + 1, sizeof **files));
	*n += 1;
	CYC_TRY(cyc_strdup(&(*files)[*n - 1].label, label));
	CYC_TRY(cyc_strdup(&(*files)[*n - 1].path, path));
done:
	return st;
}

cyc_status cyc_run_input(cyc_run *run, const char *label, const char *path)
{
	return add_file(&run->inputs, &run->n_inputs, label, path);
}

cyc_status cyc_run_output(cyc_run *run, const char *label, const char *path)
{
	return add_file(&run->outputs, &run->n_outputs, label, path);
}

/* ---------------------------------------------------------------- end */

static void run_deinit(cyc_run *run)
{
	for (int32_t i = 0; i < run->n_inputs; i++) {
		cyc_free(run->inputs[i].label);
		cyc_free(run->inputs[i].path);
	}
	for (int32_t i = 0; i < run->n_outputs; i++) {
		cyc_free(run->outputs[i].label);
		cyc_free(run->outputs[i].path);
	}
	cyc_free(run->inputs);
	cyc_free(run->outputs);
	cyc_option_list_deinit(&run->options);
	cyc_free(run->job_dir);
	cyc_free(run->run_json);
	*run = (cyc_run){ 0 };
}

static void log_costs(const cyc_common_options *common)
{
	struct rusage u;
	double cpu = 0.0;
	if (common->has_profile) cyc_profile_log(common->n_threads);
	if (getrusage(RUSAGE_SELF, &u) == 0) {
		cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		      1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
	}
	int64_t n_warnings = cyc_log_n_different_warnings();
	if (n_warnings > 0) cyc_info("%lld warning%s above", (long long)n_warnings, n_warnings == 1 ? "" : "s");
	cyc_info("done: %.1f s, CPU %.1f s, peak memory %.0f MB", cyc_console_seconds(), cpu,
	         (double)cyc_peak_memory_bytes() / 1e6);
}

/* A call that was refused before it changed anything takes nothing away from a job that has finished. */
static bool keeps_flag(const cyc_run *run, cyc_status result)
{
	return run->had_finished && !run->has_written && result != CYC_OK && result != CYC_E_CANCELLED;
}

/* Flags and run.json, whatever became of the run; the first failure among them. */
static cyc_status write_records(cyc_run *run, cyc_status result)
{
	cyc_status st = CYC_OK;
	if (run->run_json && result == CYC_OK) CYC_TRY(cyc_run_json_write(run->run_json, run));
done:
	if (st != CYC_OK) result = st;
	if (keeps_flag(run, result)) result = CYC_OK;
	if (run->job_dir) {
		cyc_status flag = cyc_job_end(run->job_dir, result);
		if (st == CYC_OK) st = flag;
	}
	if (run->common && run->common->pipeline_control && !run->is_part) {
		cyc_status flag = cyc_job_end(run->common->pipeline_control, result);
		if (st == CYC_OK) st = flag;
	}
	return st;
}

/* Before the flags are written: they and the exit code say the same. */
static cyc_status check_output(const cyc_run *run)
{
	cyc_status st = CYC_OK;
	if (run->job_dir)
		CYC_CHECK(fflush(stdout) == 0 && !ferror(stdout), CYC_E_IO, "cannot write to standard output");
done:
	return st;
}

cyc_status cyc_run_end(cyc_run *run, cyc_status st)
{
	int64_t n_old = 0;
	run->has_written = cyc_outputs_n_written() > 0;
	if (st != CYC_OK) cyc_outputs_discard();
	cyc_outputs_forget(&n_old);
	if (st != CYC_OK && n_old > 0)
		cyc_warn("%s still holds the results of an earlier run (%lld files): this run wrote none",
		         run->job_dir, (long long)n_old);
	if (!run->is_help) {
		if (st == CYC_OK) st = check_output(run);
		/* Writing the flags must not lose the record of what went wrong. */
		cyc_error record = *cyc_error_get();
		cyc_status written = write_records(run, st);
		if (st == CYC_OK) st = written;
		else cyc_error_set(&record);
	}
	if (st == CYC_OK && run->has_begun) log_costs(run->common);
	run_deinit(run);
	return st;
}

bool cyc_run_print_part(const cyc_part_outcome *o, const char *dir)
{
	if (o->part.n == 0) return false;
	if (o->part.k == 0) printf("what all %d parts need is prepared: %s\n", o->part.n, dir);
	else
		printf("part %d/%d: %d tilt series, of which %d had finished earlier: %s\n", o->part.k, o->part.n,
		       o->n_own, o->n_kept, dir);
	return true;
}

cyc_status cyc_run_project_inputs(cyc_run *run, const cyc_project_input *input)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_run_input(run, "optimisation set", input->optimisation_set));
	CYC_TRY(cyc_run_input(run, "particles", input->particles));
	CYC_TRY(cyc_run_input(run, "tomograms", input->tomograms));
	CYC_TRY(cyc_run_input(run, "trajectories", input->trajectories));
done:
	return st;
}

cyc_status cyc_run_reference_inputs(cyc_run *run, const char *ref1, const char *ref2, const char *mask,
                                    const char *fsc)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_run_input(run, "half map 1", ref1));
	CYC_TRY(cyc_run_input(run, "half map 2", ref2));
	CYC_TRY(cyc_run_input(run, "mask", mask));
	CYC_TRY(cyc_run_input(run, "FSC", fsc));
done:
	return st;
}

/* A cycle as a chain of Slurm's jobs: files that sbatch takes, from a template that a site edits once. Slurm
 * starts them, notices what died, and starts that again. */
#include "command.h"

#include "cyclotomo/cycle.h"
#include "cyclotomo/record.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
extern const unsigned char cyc__slurm_job[], cyc__slurm_submit[];
extern const size_t cyc__slurm_job_n, cyc__slurm_submit_n;

typedef struct {
	cyc_common_options common;
	cyc_cycle_options o;
	bool do_submit, do_status, do_print;
	const char *template_file, *partition, *account, *time, *launcher;
	int32_t cpus, n_nodes;
} slurm_args;

#define ARG(type, name, member, ...) CYC_OPTION(slurm_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	CYC_HEADING("Cluster"),
	ARG(FLAG, "submit", do_submit, .help = "Submit the jobs after their files are written."),
	ARG(FLAG, "status", do_status,
	    .help =
	        "Show how far the jobs and the run in --o are; nothing is written. No other options are needed."),
	ARG(TEXT, "partition", partition, .unit = "<name>", .no_default = "the cluster's",
	    .help = "Partition of all jobs."),
	ARG(TEXT, "account", account, .unit = "<name>", .no_default = "the user's",
	    .help = "Account of all jobs."),
	ARG(TEXT, "time", time, .unit = "<limit>", .value = "24:00:00",
	    .help = "Time limit of a job. One that reaches it is queued again and resumes."),
	ARG(INT, "cpus", cpus, .unit = "<n>", .value = "8", .range = "[1,",
	    .help = "Processors of each job, and its number of threads."),
	ARG(INT, "nodes", n_nodes, .unit = "<n>", .value = "1", .range = "[1,",
	    .help = "Nodes of the jobs between the arrays of parts; more than one needs a --launcher."),
	ARG(TEXT, "launcher", launcher, .unit = "<words>", .no_default = "none",
	    .help = "What starts the processes of a job on several nodes, as 'srun --mpi=pmix'."),
	ARG(TEXT, "template", template_file, .unit = "<file>",
	    .no_default = "$CYCLOTOMO_SLURM_TEMPLATE, else built in", .help = "Template of the job files."),
	ARG(FLAG, "print-template", do_print, .help = "Print the built-in template, to be edited for a site."),
	CYC_NESTED(slurm_args, o, &cyc_cycle_table),
	CYC_COMMON_OPTIONS(slurm_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"slurm", "A cycle on a cluster: job files for Slurm, and their submission",
	"  cyclotomo slurm --i optimisation_set.star --b 192 --crop 112 --sym O --mask-align wide.mrc \\\n"
	"      --mask-fsc tight.mrc --o Cycle/ --parts 16 --submit\n"
	"  cyclotomo slurm --o Cycle/ --status\n"
	"Takes the options of 'cyclotomo cycle'. Polishing and CTF refinement become arrays of --parts tasks; "
	"what lies\n"
	"between them is one job. Memory is asked for as the plan of the cycle says. Files and logs lie in the "
	"run's slurm/.",
	OPTIONS);

/* ---------------------------------------------------------------- templates */

typedef struct {
	const char *word;
	char *value;
} filling;
enum { MAX_FILLINGS = 16 };
typedef struct {
	filling items[MAX_FILLINGS];
	int n;
} fillings;

static cyc_status fill_in(fillings *f, const char *word, const char *value)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(f->n < MAX_FILLINGS, CYC_E_INTERNAL, "too many words for a template");
	f->items[f->n] = (filling){ word, NULL };
	CYC_TRY(cyc_strdup(&f->items[f->n].value, value ? value : ""));
	f->n++;
done:
	return st;
}

/* As one word, for a shell and for sbatch. */
static cyc_status fill_in_quoted(fillings *f, const char *word, const char *value)
{
	cyc_status st = CYC_OK;
	char *copy = NULL, *quoted = NULL;
	if (value && value[0]) {
		CYC_TRY(cyc_strdup(&copy, value));
		CYC_TRY(cyc_shell_line(&quoted, 1, &copy));
	}
	CYC_TRY(fill_in(f, word, quoted));
done:
	cyc_free(copy);
	cyc_free(quoted);
	return st;
}

static void fillings_deinit(fillings *f)
{
	for (int i = 0; i < f->n; i++) cyc_free(f->items[i].value);
	*f = (fillings){ 0 };
}

/* The value of the word that a text begins with, "{word}"; NULL: not one of ours, as in ${variable}. */
static const filling *word_at(const fillings *f, const char *at)
{
	for (int i = 0; i < f->n; i++) {
		size_t n = strlen(f->items[i].word);
		if (strncmp(at + 1, f->items[i].word, n) == 0 && at[n + 1] == '}') return &f->items[i];
	}
	return NULL;
}

/* A line of n bytes; one for sbatch that lacks a value is left out. */
static void put_line(FILE *to, const char *line, size_t n, const fillings *f)
{
	bool is_option = n > 7 && strncmp(line, "#SBATCH", 7) == 0;
	for (size_t i = 0; i < n && is_option; i++) {
		const filling *w = line[i] == '{' ? word_at(f, line + i) : NULL;
		if (w && !w->value[0]) return;
	}
	for (size_t i = 0; i < n;) {
		const filling *w = line[i] == '{' ? word_at(f, line + i) : NULL;
		if (w) fputs(w->value, to);
		else fputc(line[i], to);
		i += w ? strlen(w->word) + 2 : 1;
	}
}

static cyc_status write_filled(const char *path, const char *text, const fillings *f)
{
	cyc_status st = CYC_OK;
	cyc_text_stream o = { 0 };
	CYC_TRY(cyc_text_stream_open(&o));
	for (const char *at = text; *at;) {
		size_t n = strcspn(at, "\n");
		n += at[n] == '\n';
		put_line(o.f, at, n, f);
		at += n;
	}
	CYC_TRY(cyc_text_stream_finish(&o));
	CYC_TRY(cyc_write_file(path, o.text, o.n));
done:
	cyc_text_stream_deinit(&o);
	return st;
}

static cyc_status read_template(char **text, const slurm_args *a)
{
	cyc_status st = CYC_OK;
	size_t n;
	const char *file = a->template_file ? a->template_file : getenv("CYCLOTOMO_SLURM_TEMPLATE");
	if (file && file[0]) {
		CYC_TRY(cyc_read_file(text, &n, file));
		CYC_CHECK(strstr(*text, "{command}"), CYC_E_FORMAT,
		          "the template '%s' does not have the word {command}", file);
	} else {
		CYC_TRY(cyc_asprintf(text, "%.*s", (int)cyc__slurm_job_n, (const char *)cyc__slurm_job));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- commands of the jobs */

static cyc_status add(cyc_text_stream *to, const char *word)
{
	cyc_status st = CYC_OK;
	char *quoted = NULL, *copy = NULL;
	CYC_TRY(cyc_strdup(&copy, word));
	CYC_TRY(cyc_shell_line(&quoted, 1, &copy));
	fprintf(to->f, " %s", quoted);
done:
	cyc_free(copy);
	cyc_free(quoted);
	return st;
}

/* All that was given for the cycle itself, in the words of its table. */
static cyc_status add_cycle_options(cyc_text_stream *to, const slurm_args *a)
{
	cyc_status st = CYC_OK;
	cyc_option_list list = { 0 };
	char *value = NULL, *word = NULL;
	CYC_TRY(cyc_option_list_make(&list, &cyc_cycle_table));
	for (int i = 0; i < list.n; i++) {
		const cyc_option *o = &list.rows[i];
		if (o->type == CYC_OPT_HEADING || cyc_option_is_default(&a->o, o)) continue;
		if (o->offset == offsetof(cyc_cycle_options, n_parts)) continue;
		CYC_TRY(cyc_asprintf(&word, "--%s", o->name));
		CYC_TRY(add(to, word));
		if (!cyc_option_is_flag(o)) {
			CYC_TRY(cyc_option_value(&value, &a->o, o));
			CYC_TRY(add(to, value));
		}
		cyc_free(word);
		cyc_free(value);
		word = value = NULL;
	}
done:
	cyc_free(word);
	cyc_free(value);
	cyc_option_list_deinit(&list);
	return st;
}

static cyc_status program_path(char **out)
{
	cyc_status st = CYC_OK;
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	CYC_CHECK(n > 0, CYC_E_IO, "the program's own path cannot be read from /proc/self/exe");
	path[n] = '\0';
	CYC_TRY(cyc_strdup(out, path));
done:
	return st;
}

/* is_last: what other jobs have left undone is done, without waiting for parts. */
static cyc_status job_command(char **out, const slurm_args *a, const cyc_cycle_job *job, bool is_last)
{
	cyc_status st = CYC_OK;
	cyc_text_stream o = { 0 };
	char *program = NULL;
	CYC_TRY(program_path(&program));
	CYC_TRY(cyc_text_stream_open(&o));
	char *words[] = { program };
	char *quoted = NULL;
	CYC_TRY(cyc_shell_line(&quoted, 1, words));
	fprintf(o.f, "%s cycle", quoted);
	cyc_free(quoted);
	if (a->common.root[0]) {
		CYC_TRY(add(&o, "--root"));
		CYC_TRY(add(&o, a->common.root));
	}
	if (job->is_dealt) {
		CYC_TRY(add(&o, "--output"));
		CYC_TRY(add(&o, a->o.out_dir));
		fprintf(o.f, " --part \"$SLURM_ARRAY_TASK_ID/%d\"", a->o.n_parts);
	} else {
		CYC_TRY(add_cycle_options(&o, a));
		/* A job before this one may have been queued again after its end, and be at work. */
		if (!(a->o.run_wait_s > 0)) fprintf(o.f, " --run-wait 86400");
		if (!is_last) fprintf(o.f, " --parts %d", a->o.n_parts);
	}
	fprintf(o.f, " --threads %d", a->cpus);
	CYC_TRY(cyc_text_stream_finish(&o));
	CYC_TRY(cyc_strdup(out, o.text));
done:
	cyc_free(program);
	cyc_text_stream_deinit(&o);
	return st;
}

/* ---------------------------------------------------------------- files */

/* What Slurm is asked for beyond what the plan says: libraries, and what the system counts. */
static const double MEMORY_MARGIN = 1.1, MEMORY_FIXED_MB = 300;

typedef struct {
	const slurm_args *a;
	const cyc_cycle_job *jobs;
	int32_t n;
	char *dir;      /* of the job files, with the root in front */
	char *template; /* text */
	cyc_text_stream submit;
} chain;

static cyc_status fill_job(fillings *f, const chain *c, int32_t i, const char *name)
{
	cyc_status st = CYC_OK;
	const slurm_args *a = c->a;
	const cyc_cycle_job *job = &c->jobs[i];
	char here[4096], number[32], *command = NULL, *log = NULL;
	CYC_CHECK(getcwd(here, sizeof here), CYC_E_IO, "the current folder cannot be read: %s", strerror(errno));
	CYC_TRY(cyc_asprintf(&log, "%s%s%s/%s%s.log", c->dir[0] == '/' ? "" : here, c->dir[0] == '/' ? "" : "/",
	                     c->dir, name, job->is_dealt ? "_%a" : ""));
	CYC_TRY(job_command(&command, a, job, i == c->n - 1));
	CYC_TRY(fill_in(f, "name", name));
	CYC_TRY(fill_in_quoted(f, "directory", here));
	CYC_TRY(fill_in_quoted(f, "log", log));
	snprintf(number, sizeof number, "%d", job->is_dealt ? 1 : a->n_nodes);
	CYC_TRY(fill_in(f, "nodes", number));
	snprintf(number, sizeof number, "%d", a->cpus);
	CYC_TRY(fill_in(f, "threads", number));
	snprintf(number, sizeof number, "%.0f", ceil(job->memory_bytes * MEMORY_MARGIN / 1e6 + MEMORY_FIXED_MB));
	CYC_TRY(fill_in(f, "memory_MB", number));
	CYC_TRY(fill_in_quoted(f, "time", a->time));
	CYC_TRY(fill_in_quoted(f, "partition", a->partition));
	CYC_TRY(fill_in_quoted(f, "account", a->account));
	CYC_TRY(fill_in(f, "launcher", job->is_dealt ? NULL : a->launcher));
	CYC_TRY(fill_in(f, "command", command));
done:
	cyc_free(command);
	cyc_free(log);
	return st;
}

static cyc_status write_job(chain *c, int32_t i)
{
	cyc_status st = CYC_OK;
	fillings f = { 0 };
	char *name = NULL, *path = NULL;
	CYC_TRY(cyc_asprintf(&name, "%02d_%s", i + 1, c->jobs[i].name));
	CYC_TRY(fill_job(&f, c, i, name));
	CYC_TRY(cyc_asprintf(&path, "%s/%s.sh", c->dir, name));
	CYC_TRY(write_filled(path, c->template, &f));
	fprintf(c->submit.f, "submit %s", name);
	if (c->jobs[i].is_dealt) fprintf(c->submit.f, " --array=1-%d", c->a->o.n_parts);
	fputc('\n', c->submit.f);
	printf("  %-24s %8s %10.1f GB\n", name, c->jobs[i].is_dealt ? "array" : "",
	       c->jobs[i].memory_bytes / 1e9);
done:
	fillings_deinit(&f);
	cyc_free(name);
	cyc_free(path);
	return st;
}

/* Numbers of all jobs in one file, written at the end: there they are all submitted. */
static const char NOTE_JOBS[] = "for i in \"${!ids[@]}\"; do printf '%s %s\\n' \"${ids[i]}\" "
								"\"${names[i]}\"; done >jobs.new && mv jobs.new jobs\n"
								"printf 'submitted: %s\\n' \"${ids[*]}\"\n";

static cyc_status write_chain(const slurm_args *a, const cyc_cycle_job *jobs, int32_t n)
{
	cyc_status st = CYC_OK;
	chain c = { .a = a, .jobs = jobs, .n = n };
	char *run = NULL, *path = NULL;
	CYC_TRY(cyc_path_join(&run, a->common.root, a->o.out_dir));
	CYC_TRY(cyc_path_join(&c.dir, run, "slurm"));
	CYC_TRY(read_template(&c.template, a));
	CYC_TRY(cyc_make_dirs(c.dir));
	CYC_TRY(cyc_text_stream_open(&c.submit));
	fwrite(cyc__slurm_submit, 1, cyc__slurm_submit_n, c.submit.f);
	printf("Jobs in %s/: %d parts, %d processors each\n", c.dir, a->o.n_parts, a->cpus);
	for (int32_t i = 0; i < n; i++) CYC_TRY(write_job(&c, i));
	fputs(NOTE_JOBS, c.submit.f);
	CYC_TRY(cyc_text_stream_finish(&c.submit));
	CYC_TRY(cyc_asprintf(&path, "%s/submit.sh", c.dir));
	CYC_TRY(cyc_write_file(path, c.submit.text, c.submit.n));
	if (!a->do_submit) printf("Submit them with: bash %s, or --submit\n", path);
done:
	cyc_text_stream_deinit(&c.submit);
	cyc_free(c.template);
	cyc_free(c.dir);
	cyc_free(run);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- Slurm */

static cyc_status call_submit(const slurm_args *a, const char *option)
{
	cyc_status st = CYC_OK;
	char *run = NULL, *path = NULL, bash[] = "bash", *word = NULL;
	pid_t pid;
	int state = 0;
	CYC_TRY(cyc_path_join(&run, a->common.root, a->o.out_dir));
	CYC_TRY(cyc_path_join(&path, run, "slurm/submit.sh"));
	if (!cyc_path_exists(path)) {
		st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__, "there are no job files in '%s'", run);
		cyc_error_hint("write them first: cyclotomo slurm with the options of the cycle");
		goto done;
	}
	if (option) CYC_TRY(cyc_strdup(&word, option));
	char *argv[] = { bash, path, word, NULL };
	fflush(stdout);
	int e = posix_spawnp(&pid, bash, NULL, NULL, argv, environ);
	CYC_CHECK(e == 0, CYC_E_IO, "cannot run bash: %s", strerror(e));
	CYC_CHECK(waitpid(pid, &state, 0) == pid, CYC_E_IO, "cannot wait for bash: %s", strerror(errno));
	CYC_CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0, CYC_E_IO, "'%s' has failed; its message is above",
	          path);
done:
	cyc_free(run);
	cyc_free(path);
	cyc_free(word);
	return st;
}

static cyc_status show_status(const slurm_args *a)
{
	cyc_status st = CYC_OK;
	char *text = NULL, *step = NULL;
	int32_t n_parts;
	CYC_CHECK(a->o.out_dir && a->o.out_dir[0], CYC_E_USAGE, "the run folder is missing: give it with --o");
	CYC_TRY(call_submit(a, "--status"));
	CYC_TRY(cyc_cycle_waiting(&step, &n_parts, a->common.root, a->o.out_dir));
	if (cyc_cycle_status(&text, NULL, a->common.root, a->o.out_dir) == CYC_OK) printf("\n%s", text);
	else cyc_error_clear(); /* nothing has started yet */
done:
	cyc_free(text);
	cyc_free(step);
	return st;
}

/* More parts than series would be idle; more than these wait in the queue for little. */
enum { MOST_PARTS_BY_DEFAULT = 16 };

static cyc_status write_and_submit(slurm_args *a)
{
	cyc_status st = CYC_OK;
	cyc_cycle_job *jobs = NULL;
	int32_t n, n_series;
	CYC_CHECK(a->n_nodes == 1 || (a->launcher && a->launcher[0]), CYC_E_USAGE,
	          "--nodes %d needs a --launcher, as 'srun --mpi=pmix'", a->n_nodes);
	CYC_TRY(cyc_cycle_spare_inputs(&a->o));
	CYC_TRY(cyc_cycle_jobs(&jobs, &n, &n_series, &a->o));
	if (a->o.n_parts == 0) a->o.n_parts = n_series < MOST_PARTS_BY_DEFAULT ? n_series : MOST_PARTS_BY_DEFAULT;
	if (a->o.n_parts > n_series)
		cyc_warn("there are %d parts but only %d tilt series with particles: some parts have nothing to do",
		         a->o.n_parts, n_series);
	CYC_TRY(write_chain(a, jobs, n));
	if (a->do_submit) CYC_TRY(call_submit(a, NULL));
done:
	cyc_free(jobs);
	return st;
}

cyc_status cyc_cmd_slurm(int argc, char **argv);
cyc_status cyc_cmd_slurm(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	slurm_args a = { 0 };
	cyc_run run = { 0 };
	cyc_options_set_defaults(&a, &COMMAND.table);
	cyc_cycle_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	run.has_begun = false; /* nothing is computed that could be timed */
	if (run.is_help) goto done;
	if (a.do_print) {
		fwrite(cyc__slurm_job, 1, cyc__slurm_job_n, stdout);
		goto done;
	}
	a.o.input.root = a.common.root;
	a.o.n_threads = a.cpus;
	if (a.do_status) {
		CYC_TRY(show_status(&a));
		goto done;
	}
	CYC_TRY(cyc_run_job(&run, a.o.out_dir, "relion.external", true));
	CYC_TRY(write_and_submit(&a));
done:
	return cyc_run_end(&run, st);
}

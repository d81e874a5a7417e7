#include "relion.h"
#include "project/labels.h"

#include <stdlib.h>
#include <string.h>

cyc_status cyc_cmd_job2cmd(int argc, char **argv);

typedef enum { FORM_CYCLOTOMO, FORM_RELION } command_form;

typedef struct {
	cyc_common_options common;
	const char *job_star, *out_dir;
	command_form form;
	bool is_dry_run;
} job2cmd_args;

#define ARG(type, name, member, ...) CYC_OPTION(job2cmd_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	ARG(ARG, "JOB_STAR", job_star,
	    .help = "A job.star written by RELION, or its folder. For a job.star written by cyclotomo the "
	            "original command line is printed."),
	ARG(CHOICE, "as", form, .choices = "cyclotomo,relion", .help = "Print the command line of this program."),
	ARG(TEXT, "output", out_dir, .alias = "--o", .unit = "<folder/>", .no_default = "the folder of job.star",
	    .help = "Output folder in the command line."),
	ARG(FLAG, "dry-run", is_dry_run, .help = "Also do a --dry-run of the command, which checks its inputs."),
	CYC_COMMON_OPTIONS(job2cmd_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("job2cmd", "Print the command line of a RELION job.star",
                    "For jobs of the types CtfRefine, Polish, Extract, Refine3D, Reconstruct particle, "
                    "PostProcess and MaskCreate it prints the command that does the same:\n"
                    "  cyclotomo job2cmd CtfRefine/job027/job.star\n"
                    "Paths in a job.star are relative to the project folder: run it there, or the part of "
                    "the path before Type/jobNNN/ is\n"
                    "taken for it. Queue settings and the number of MPI processes are ignored.",
                    OPTIONS);

typedef struct {
	char *path;   /* of job.star, as it is opened */
	char *root;   /* project folder, "" for the current one */
	char *folder; /* of the job, relative to the root, with a final slash */
} job_place;

static void place_deinit(job_place *p)
{
	cyc_free(p->path);
	cyc_free(p->root);
	cyc_free(p->folder);
}

/* Where the last two folders of "a/b/CtfRefine/job027/" begin. */
static size_t start_of_job(const char *folder)
{
	size_t i = strlen(folder);
	for (int n_slashes = 0; i > 0; i--) {
		n_slashes += folder[i - 1] == '/';
		if (n_slashes == 3) break;
	}
	return i;
}

/* From inside the project a short path says nothing of where the project begins: the whole one does. */
static cyc_status make_absolute(char **folder)
{
	cyc_status st = CYC_OK;
	char *real = realpath((*folder)[0] ? *folder : ".", NULL);
	if (!real) return CYC_OK; /* opening it says what is wrong */
	cyc_free(*folder);
	*folder = NULL;
	CYC_TRY(cyc_asprintf(folder, "%s/", real));
done:
	free(real);
	return st;
}

static cyc_status find_place(job_place *p, const job2cmd_args *a)
{
	cyc_status st = CYC_OK;
	char *given = NULL, *folder = NULL;
	size_t n = strlen(a->job_star);
	bool is_star = n >= 5 && strcmp(a->job_star + n - 5, ".star") == 0;
	CYC_TRY(cyc_asprintf(&given, "%s%s", a->job_star,
	                     is_star                     ? ""
	                     : a->job_star[n - 1] == '/' ? "job.star"
	                                                 : "/job.star"));
	CYC_TRY(cyc_path_join(&p->path, a->common.root, given));
	CYC_TRY(cyc_path_dir(&folder, given));
	const char *slash = strchr(folder, '/');
	bool is_short = !a->common.root[0] && (!slash || !strchr(slash + 1, '/'));
	if (is_short) CYC_TRY(make_absolute(&folder));
	size_t start = a->common.root[0] ? 0 : start_of_job(folder);
	CYC_TRY(cyc_strdup(&p->folder, a->out_dir ? a->out_dir : folder[0] ? folder + start : "./"));
	folder[start] = '\0';
	CYC_TRY(cyc_strdup(&p->root, a->common.root[0] ? a->common.root : folder));
	if (a->out_dir && a->out_dir[strlen(a->out_dir) - 1] != '/') {
		cyc_free(p->folder);
		p->folder = NULL;
		CYC_TRY(cyc_asprintf(&p->folder, "%s/", a->out_dir));
	}
done:
	cyc_free(given);
	cyc_free(folder);
	return st;
}

static cyc_status print_line(int n_words, char *const *words, const char *before)
{
	cyc_status st = CYC_OK;
	char *line = NULL;
	CYC_TRY(cyc_shell_line(&line, n_words, words));
	printf("%s%s\n", before, line);
done:
	cyc_free(line);
	return st;
}

/* A job that has been run already: its results would be written over. */
static void warn_of_results(const job_place *p)
{
	static const char *const RESULTS[] = { "half1.mrc",     "tomograms.star",   "particles.star",
		                                   "run_data.star", "postprocess.star", "mask.mrc" };
	char *folder = NULL, *path = NULL;
	if (cyc_path_join(&folder, p->root, p->folder) != CYC_OK) return;
	for (size_t i = 0; i < sizeof RESULTS / sizeof *RESULTS; i++) {
		if (cyc_path_join(&path, folder, RESULTS[i]) == CYC_OK && cyc_path_exists(path))
			cyc_warn("'%s' already exists and would be overwritten; choose another folder with --o", path);
		cyc_free(path);
		path = NULL;
	}
	cyc_free(folder);
}

/* RELION's command line, then what the front door makes of it; both have the root, which RELION's own program
 * would not know. */
static cyc_status map(cyc_relion_job *job, cyc_relion_call *call, const cyc_star *star,
                      const job_place *place, bool is_dry_run)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_relion_job_map(job, star, place->folder));
	if (place->root[0]) CYC_TRY(cyc_job_emit(job, "--root", place->root));
	if (is_dry_run) CYC_TRY(cyc_job_emit(job, "--dry-run", NULL));
	CYC_TRY_CTX(cyc_relion_translate(call, job->program, false, job->n_words, job->words), "%s", place->path);
done:
	return st;
}

/* This program's own jobs name options as they are, with hyphens; RELION's variables have none. */
static bool is_own_job(const cyc_star *star)
{
	const cyc_star_block *b = cyc_star_find(star, "joboptions_values");
	int32_t column = b ? cyc_star_column(b, CYC_RLN_JOB_OPTION_VARIABLE) : -1;
	for (int64_t row = 0; column >= 0 && row < cyc_star_n_rows(b); row++)
		if (strchr(cyc_star_text(b, row, column), '-')) return true;
	return false;
}

/* The last command line that note.txt, beside such a job.star, has. */
static cyc_status print_own_line(const job_place *place, const job2cmd_args *a)
{
	cyc_status st = CYC_OK;
	static const char START[] = "\ncyclotomo ";
	char *dir = NULL, *path = NULL, *text = NULL, *last = NULL;
	size_t n = 0;
	CYC_CHECK(a->form == FORM_CYCLOTOMO && !a->out_dir && !a->is_dry_run, CYC_E_UNSUPPORTED,
	          "'%s' was written by cyclotomo itself: only its original command line can be printed, without "
	          "--as relion, --output and --dry-run",
	          place->path);
	CYC_TRY(cyc_path_dir(&dir, place->path));
	CYC_TRY(cyc_path_join(&path, dir, "note.txt"));
	CYC_TRY(cyc_read_file(&text, &n, path));
	for (char *at = text; (at = strstr(at, START)) != NULL; at++) last = at + 1;
	CYC_CHECK(last, CYC_E_DATA,
	          "'%s' was written by cyclotomo itself, but '%s' in the same folder has no command line",
	          place->path, path);
	printf("%.*s\n", (int)strcspn(last, "\n"), last);
done:
	cyc_free(dir);
	cyc_free(path);
	cyc_free(text);
	return st;
}

cyc_status cyc_cmd_job2cmd(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	job2cmd_args a = { 0 };
	cyc_run run = { 0 };
	job_place place = { 0 };
	cyc_star *star = NULL;
	cyc_relion_job job = { 0 };
	cyc_relion_call call = { 0 };
	bool is_quiet = false;
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_TRY(find_place(&place, &a));
	CYC_TRY(cyc_star_read(&star, place.path));
	if (is_own_job(star)) {
		CYC_TRY(print_own_line(&place, &a));
		goto done;
	}
	CYC_TRY(map(&job, &call, star, &place, a.is_dry_run));
	if (!a.is_dry_run) warn_of_results(&place);
	if (a.form == FORM_RELION) CYC_TRY(print_line(job.n_words, job.words, ""));
	else CYC_TRY(print_line(call.n_words, call.words, "cyclotomo "));
	fflush(stdout);
	is_quiet = a.common.is_quiet;
	if (is_quiet && a.is_dry_run) CYC_TRY(cyc_relion_emit(&call, "quiet", NULL));
	if (a.is_dry_run) CYC_TRY(job.program->run(call.n_words, call.words));
done:
	cyc_relion_call_deinit(&call);
	cyc_relion_job_deinit(&job);
	cyc_star_destroy(&star);
	place_deinit(&place);
	return cyc_run_end(&run, st);
}

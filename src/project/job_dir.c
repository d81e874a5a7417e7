#include "cyclotomo/project.h"
#include "project/labels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const EXIT_SUCCESS_FLAG = "RELION_JOB_EXIT_SUCCESS";
static const char *const EXIT_FAILURE_FLAG = "RELION_JOB_EXIT_FAILURE";
static const char *const EXIT_ABORTED_FLAG = "RELION_JOB_EXIT_ABORTED";

static cyc_status remove_file(const char *dir, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, dir, name));
	CYC_CHECK(unlink(path) == 0 || errno == ENOENT, CYC_E_IO, "cannot remove '%s': %s", path,
	          strerror(errno));
done:
	cyc_free(path);
	return st;
}

static cyc_status remove_exit_flags(const char *dir)
{
	cyc_status st = CYC_OK;
	CYC_TRY(remove_file(dir, EXIT_SUCCESS_FLAG));
	CYC_TRY(remove_file(dir, EXIT_FAILURE_FLAG));
	CYC_TRY(remove_file(dir, EXIT_ABORTED_FLAG));
done:
	return st;
}

static int by_variable(const void *a, const void *b)
{
	const cyc_job_option *const x = a, *const y = b;
	return strcmp(x->variable, y->variable);
}

/* Job types that exist for single particles too say whether they were run on tomograms; the others are 0 in
 * RELION. */
static bool is_tomo_flag(const char *type_label)
{
	static const char *const SHARED[] = { "relion.refine3d", "relion.class3d", "relion.initialmodel",
		                                  "relion.postprocess", "relion.maskcreate" };
	for (size_t i = 0; i < sizeof SHARED / sizeof SHARED[0]; i++) {
		if (strncmp(type_label, SHARED[i], strlen(SHARED[i])) == 0) return true;
	}
	return false;
}

static cyc_status write_job_star(const char *dir, const char *type_label, const cyc_job_option *options,
                                 int32_t n_options)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b;
	cyc_job_option *sorted = NULL;
	char *path = NULL;
	int32_t variable, value;
	int64_t row;
	CYC_TRY(cyc_alloc(&sorted, (size_t)n_options, sizeof *sorted));
	if (n_options) {
		memcpy(sorted, options, (size_t)n_options * sizeof *sorted);
		qsort(sorted, (size_t)n_options, sizeof *sorted, by_variable);
	}
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&b, star, "job", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_text(b, CYC_RLN_JOB_TYPE_LABEL, type_label));
	CYC_TRY(cyc_star_list_set_int(b, CYC_RLN_JOB_IS_CONTINUE, 0));
	CYC_TRY(cyc_star_list_set_int(b, CYC_RLN_JOB_IS_TOMO, is_tomo_flag(type_label) ? 1 : 0));
	CYC_TRY(cyc_star_add_block(&b, star, "joboptions_values", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&variable, b, CYC_RLN_JOB_OPTION_VARIABLE, ""));
	CYC_TRY(cyc_star_ensure_column(&value, b, CYC_RLN_JOB_OPTION_VALUE, ""));
	for (int32_t i = 0; i < n_options; i++) {
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_text(b, row, variable, sorted[i].variable));
		CYC_TRY(cyc_star_set_text(b, row, value, sorted[i].value ? sorted[i].value : ""));
	}
	CYC_TRY(cyc_path_join(&path, dir, "job.star"));
	CYC_TRY(cyc_star_write(star, path));
done:
	cyc_free(path);
	cyc_free(sorted);
	cyc_star_destroy(&star);
	return st;
}

static cyc_status append_note(const char *dir, const char *command_line)
{
	cyc_status st = CYC_OK;
	char *path = NULL, date[64] = "";
	FILE *f = NULL;
	struct tm tm;
	time_t now = time(NULL);
	if (localtime_r(&now, &tm)) strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", &tm);
	CYC_TRY(cyc_path_join(&path, dir, "note.txt"));
	f = fopen(path, "a");
	CYC_CHECK(f, CYC_E_IO, "cannot write '%s': %s", path, strerror(errno));
	fprintf(f, " ++++ Executing new job on %s\n ++++ with the following command(s): \n%s\n ++++ \n", date,
	        command_line);
	bool failed = ferror(f) != 0;
	failed = fclose(f) != 0 || failed;
	f = NULL;
	CYC_CHECK(!failed, CYC_E_IO, "cannot write '%s': %s", path, strerror(errno));
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_job_begin(const char *dir, const char *type_label, const cyc_job_option *options,
                         int32_t n_options, const char *command_line)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_make_dirs(dir));
	CYC_TRY(remove_exit_flags(dir));
	CYC_TRY(remove_file(dir, "RELION_JOB_ABORT_NOW"));
	CYC_TRY(write_job_star(dir, type_label, options, n_options));
	CYC_TRY(append_note(dir, command_line));
done:
	return st;
}

cyc_status cyc_job_end(const char *dir, cyc_status result)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	const char *flag = result == CYC_OK            ? EXIT_SUCCESS_FLAG
	                   : result == CYC_E_CANCELLED ? EXIT_ABORTED_FLAG
	                                               : EXIT_FAILURE_FLAG;
	CYC_TRY(remove_exit_flags(dir));
	CYC_TRY(cyc_path_join(&path, dir, flag));
	CYC_TRY(cyc_write_file(path, "", 0));
done:
	cyc_free(path);
	return st;
}

static bool has_file(const char *dir, const char *name)
{
	char *path = NULL;
	bool is_there = cyc_path_join(&path, dir, name) == CYC_OK && cyc_path_exists(path);
	cyc_free(path);
	return is_there;
}

bool cyc_job_has_finished(const char *dir) { return has_file(dir, EXIT_SUCCESS_FLAG); }

bool cyc_job_has_ended(const char *dir)
{
	return has_file(dir, EXIT_SUCCESS_FLAG) || has_file(dir, EXIT_FAILURE_FLAG) ||
	       has_file(dir, EXIT_ABORTED_FLAG);
}

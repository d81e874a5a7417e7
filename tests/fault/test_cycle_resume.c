/* A cycle that fails or is killed during any of its steps resumes where it was, and ends as one that was not.
 */
#include "cycle_fakes.h"

enum { N_CALLS = 5 };
static const char ALL_CALLS[] = "rpcrp";

/* In a process of its own, which may be killed; true if it ended well. */
static bool run_in_child(const cyc_cycle_options *o)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		cyc_cycle_result result;
		cyc_status st = run_cycle(&result, o);
		cyc_cycle_result_deinit(&result);
		_exit(st == CYC_OK ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Everything of the run that must not depend on how it came about. */
static char *fingerprint(void)
{
	static const char *const FILES[] = { "RUN/summary.html",
		                                 "RUN/optimisation_set.star",
		                                 "RUN/default_pipeline.star",
		                                 "RUN/cyclotomo_cycle.star",
		                                 "RUN/CtfRefine/job003/tomograms.star",
		                                 "RUN/CtfRefine/job003/tilt_series/TS_1.star",
		                                 "RUN/CtfRefine/job003/job.star",
		                                 "RUN/CtfRefine/job003/cyclotomo_step.star",
		                                 "RUN/PostProcess/job005/cyclotomo_step.star" };
	char *all = NULL, *longer = NULL;
	assert_int_equal(cyc_strdup(&all, ""), CYC_OK);
	for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
		char *text = get_file(FILES[i]);
		if (i == 0) strip_page(text);
		assert_int_equal(cyc_asprintf(&longer, "%s%s\n%s", all, FILES[i], text), CYC_OK);
		cyc_free(all);
		cyc_free(text);
		all = longer;
	}
	return all;
}

static char *g_wanted;

static int make_wanted(void **state)
{
	(void)state;
	cyc_cycle_result r;
	project_make();
	cyc_cycle_options o = make_options();
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	g_wanted = fingerprint();
	project_remove();
	return 0;
}

static int drop_wanted(void **state)
{
	(void)state;
	cyc_free(g_wanted);
	return 0;
}

static void assert_finishes(const cyc_cycle_options *o, int n_done)
{
	cyc_cycle_result r;
	g_fake.stop_at = 0;
	assert_int_equal(run_cycle(&r, o), CYC_OK);
	assert_string_equal(g_fake.calls, ALL_CALLS + n_done);
	assert_int_equal(r.n_steps_kept, n_done);
	cyc_cycle_result_deinit(&r);
	char *text = fingerprint();
	assert_string_equal(text, g_wanted);
	cyc_free(text);
}

static const char *const DIRS[N_CALLS] = { "RUN/Reconstruct/job001", "RUN/PostProcess/job002",
	                                       "RUN/CtfRefine/job003", "RUN/Reconstruct/job004",
	                                       "RUN/PostProcess/job005" };

static bool has_flag(int i_step, const char *flag)
{
	char path[128];
	snprintf(path, sizeof path, "%s/RELION_JOB_EXIT_%s", DIRS[i_step], flag);
	return is_there(path);
}

static void test_failure_of_each_step(void **state)
{
	(void)state;
	for (int i = 0; i < N_CALLS; i++) {
		cyc_cycle_result r;
		project_make();
		cyc_cycle_options o = make_options();
		g_fake.stop_at = i + 1;
		g_fake.stop_how = STOP_FAIL;
		assert_int_equal(run_cycle(&r, &o), CYC_E_IO);
		cyc_cycle_result_deinit(&r);
		assert_non_null(strstr(cyc_error_get()->message, "the disk is full"));
		assert_non_null(strstr(cyc_error_get()->message, DIRS[i]));
		assert_true(has_flag(i, "FAILURE") && !has_flag(i, "SUCCESS"));
		char *pipeline = get_file("RUN/default_pipeline.star");
		assert_non_null(strstr(pipeline, "Failed"));
		cyc_free(pipeline);
		assert_finishes(&o, i);
		assert_true(has_flag(i, "SUCCESS") && !has_flag(i, "FAILURE"));
		project_remove();
	}
}

static void test_kill_during_each_step(void **state)
{
	(void)state;
	for (int i = 0; i < N_CALLS; i++) {
		project_make();
		cyc_cycle_options o = make_options();
		g_fake.stop_at = i + 1;
		g_fake.stop_how = STOP_KILL;
		assert_false(run_in_child(&o));
		assert_false(has_flag(i, "SUCCESS"));
		char leftover[128];
		snprintf(leftover, sizeof leftover, "%s/half1.mrc.tmp4711", DIRS[i]);
		put_file(leftover, "half");
		assert_finishes(&o, i);
		assert_false(is_there(leftover));
		project_remove();
	}
}

/* A record cut short by a crash of the machine is not believed: its step is done again. (Writing is by
 * rename, so only a damaged disk makes one.) */
static void test_damaged_record(void **state)
{
	(void)state;
	cyc_cycle_result r;
	project_make();
	cyc_cycle_options o = make_options();
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	char *text = get_file("RUN/PostProcess/job002/cyclotomo_step.star");
	size_t n = strlen(text);
	for (size_t cut = 0; cut < n; cut += 97) {
		assert_int_equal(cyc_write_file(in_root("RUN/PostProcess/job002/cyclotomo_step.star"), text, cut),
		                 CYC_OK);
		assert_int_equal(run_cycle(&r, &o), CYC_OK);
		cyc_cycle_result_deinit(&r);
		if (strcmp(g_fake.calls, "p") != 0) fail_msg("a record of %zu of %zu bytes was accepted", cut, n);
		char *same = fingerprint();
		assert_string_equal(same, g_wanted);
		cyc_free(same);
	}
	cyc_free(text);
	project_remove();
}

static void test_cancelled(void **state)
{
	(void)state;
	project_make();
	cyc_cycle_options o = make_options();
	/* In a child: a request to stop holds for the rest of the process. */
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		cyc_cycle_result result;
		cyc_cancel_request("interrupted");
		_exit(run_cycle(&result, &o) == CYC_E_CANCELLED ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_finishes(&o, 0);
	project_remove();
}

/* Lack of memory anywhere: an error, nothing leaked, and the run can be resumed. */
static void test_out_of_memory(void **state)
{
	(void)state;
	int64_t step = 1;
	project_make();
	cyc_cycle_options o = make_options();
	for (int64_t at = 1;; at += step, step += 1 + step / 8) {
		cyc_cycle_result r;
		char command[128];
		snprintf(command, sizeof command, "rm -rf '%s/RUN'", g_fake.root);
		assert_int_equal(system(command), 0);
		cyc_alloc_fail_at(at);
		cyc_status st = run_cycle(&r, &o);
		cyc_alloc_fail_at(0);
		cyc_cycle_result_deinit(&r);
		if (st == CYC_OK) break;
		if (st != CYC_E_NOMEM)
			fail_msg("allocation %lld failed as %s: %s", (long long)at, cyc_status_name(st),
			         cyc_error_get()->message);
		assert_int_equal(run_cycle(&r, &o), CYC_OK);
		cyc_cycle_result_deinit(&r);
	}
	project_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failure_of_each_step), cmocka_unit_test(test_kill_during_each_step),
		cmocka_unit_test(test_damaged_record),       cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, make_wanted, drop_wanted);
}

/* No run writes on what it reads, by whatever name it is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "cyclotomo/outputs.h"

static const char SET[] =
	"data_\n\n_rlnTomoParticlesFile particles.star\n_rlnTomoTomogramsFile Job/job004/tomograms.star\n"
	"_rlnTomoReferenceMap1File maps/half1.mrc\n";
static const char TOMOGRAMS[] =
	"data_global\n\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesStarFile\nTS_01 Job/job004/deep/TS_01.star\n";
static const char TILTS[] = "data_TS_01\n\nloop_\n_rlnMicrographName\n2@images/stack.mrcs\n";

static int set_up(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	temp_write("set.star", SET);
	temp_write("particles.star",
	           "data_particles\n\nloop_\n_rlnTomoName\n_rlnImageName\nTS_01 1@images/extracted.mrcs\n");
	temp_write("Job/job004/tomograms.star", TOMOGRAMS);
	temp_write("Job/job004/deep/TS_01.star", TILTS);
	temp_write("images/stack.mrcs", "image");
	temp_write("images/extracted.mrcs", "image");
	temp_write("maps/half1.mrc", "map");
	return 0;
}

static cyc_status spare(cyc_output_kind kind, const char *out)
{
	const cyc_project_input input = { .root = temp_dir, .optimisation_set = "set.star" };
	cyc_output_plan plan = {
		.kind = kind, .out = out, .root = temp_dir, .input = &input, .reads_stacks = kind == CYC_OUTPUT_REFINE
	};
	return cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL);
}

static void link_to(const char *target, const char *name, bool is_hard)
{
	char there[512];
	ASSERT_OK(cyc_make_parent_dirs(temp_path(name)));
	snprintf(there, sizeof there, "%s", temp_path(target));
	assert_int_equal(is_hard ? link(there, temp_path(name)) : symlink(there, temp_path(name)), 0);
}

static void the_project_is_no_job_folder(void **state)
{
	(void)state;
	static const char *const NAMES[] = { ".", "./", "Job/..", "Job/job004/../../", NULL };
	for (int kind = 0; kind < CYC_N_OUTPUTS; kind++) {
		bool is_folder = kind != CYC_OUTPUT_MASK && kind != CYC_OUTPUT_POSTPROCESS &&
		                 kind != CYC_OUTPUT_STAR && kind != CYC_OUTPUT_SIMULATE;
		for (int i = 0; is_folder && NAMES[i]; i++)
			ASSERT_FAILS(spare((cyc_output_kind)kind, NAMES[i]), CYC_E_USAGE, NAMES[i], "the project itself");
		if (is_folder)
			ASSERT_FAILS(spare((cyc_output_kind)kind, temp_dir), CYC_E_USAGE, "the project itself");
		ASSERT_OK(spare((cyc_output_kind)kind, "New"));
		ASSERT_OK(spare((cyc_output_kind)kind, "New/deeper/"));
	}
	assert_false(temp_exists("New"));
}

static void folders_of_inputs_are_refused(void **state)
{
	(void)state;
	ASSERT_FAILS(spare(CYC_OUTPUT_CTFREFINE, "Job/job004"), CYC_E_USAGE, "Job/job004/tomograms.star",
	             "input");
	ASSERT_FAILS(spare(CYC_OUTPUT_POLISH, "Job/job004/"), CYC_E_USAGE, "tomograms.star");
	ASSERT_FAILS(spare(CYC_OUTPUT_POLISH, "New/../Job//job004"), CYC_E_USAGE,
	             "tomograms.star"); /* no such folder is needed */
	/* What writes no such file may have the folder. */
	ASSERT_OK(spare(CYC_OUTPUT_RECONSTRUCT, "Job/job004"));
	ASSERT_FAILS(spare(CYC_OUTPUT_RECONSTRUCT, "maps"), CYC_E_USAGE, "maps/half1.mrc");
	ASSERT_OK(spare(CYC_OUTPUT_CTFREFINE, "maps"));
}

static void links_are_seen_through(void **state)
{
	(void)state;
	link_to("particles.star", "Hard/particles.star", true);
	ASSERT_FAILS(spare(CYC_OUTPUT_POLISH, "Hard"), CYC_E_USAGE, "Hard/particles.star", "particles.star");
	/* A link is replaced, and what it leads to stays; but not where the link is what is read, or is written
	 * through. */
	link_to("particles.star", "Soft/particles.star", false);
	ASSERT_OK(spare(CYC_OUTPUT_SEPARATE, "Soft"));
	const cyc_project_input linked = { .root = temp_dir, .particles = "Soft/particles.star" };
	cyc_output_plan plan = { .kind = CYC_OUTPUT_SEPARATE, .out = "Soft", .root = temp_dir, .input = &linked };
	ASSERT_FAILS(cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_RESULTS), CYC_E_USAGE, "Soft/particles.star");
	link_to("particles.star", "Notes/note.txt", false);
	ASSERT_FAILS(spare(CYC_OUTPUT_SEPARATE, "Notes"), CYC_E_USAGE, "Notes/note.txt");
	link_to("Job/job004", "Again", false);
	ASSERT_FAILS(spare(CYC_OUTPUT_CTFREFINE, "Again/"), CYC_E_USAGE, "Again");
	link_to("Job/job004/deep", "Tables/deep", false);
	ASSERT_FAILS(spare(CYC_OUTPUT_CTFREFINE, "Tables"), CYC_E_USAGE, "deep/TS_01.star");
	link_to("Job/job004/deep", "Standard/tilt_series", false);
	ASSERT_FAILS(spare(CYC_OUTPUT_CTFREFINE, "Standard"), CYC_E_USAGE, "tilt_series/TS_01.star");
	link_to("images", "Stacks/Subtomograms", false);
	ASSERT_FAILS(spare(CYC_OUTPUT_EXTRACT, "Stacks"), CYC_E_USAGE, "stack.mrcs");
	/* The name of a folder stands for itself. */
	link_to("particles.star", "a[b]*c/particles.star", true);
	ASSERT_FAILS(spare(CYC_OUTPUT_POLISH, "a[b]*c"), CYC_E_USAGE, "a[b]*c/particles.star");
	ASSERT_OK(spare(CYC_OUTPUT_POLISH, "a[b]"));
}

static void records_and_stacks_count(void **state)
{
	(void)state;
	link_to("particles.star", "Note/note.txt", true);
	ASSERT_FAILS(spare(CYC_OUTPUT_EXTRACT, "Note"), CYC_E_USAGE, "note.txt");
	link_to("images/extracted.mrcs", "Poses/run_half1.mrc", true);
	ASSERT_FAILS(spare(CYC_OUTPUT_REFINE, "Poses"), CYC_E_USAGE, "run_half1.mrc", "images/extracted.mrcs");
}

static void single_files_are_compared(void **state)
{
	(void)state;
	const char *map = "maps/half1.mrc", *set = "set.star";
	cyc_output_plan mask = {
		.kind = CYC_OUTPUT_MASK, .out = map, .root = temp_dir, .files = &map, .n_files = 1
	};
	ASSERT_FAILS(cyc_outputs_spare_inputs(&mask, CYC_OUTPUT_ALL), CYC_E_USAGE, "half1.mrc");
	mask.out = "maps/../maps/half1.mrc:mrc";
	ASSERT_FAILS(cyc_outputs_spare_inputs(&mask, CYC_OUTPUT_ALL), CYC_E_USAGE, "half1.mrc");
	mask.out = "maps/mask.mrc";
	ASSERT_OK(cyc_outputs_spare_inputs(&mask, CYC_OUTPUT_ALL));
	cyc_output_plan post = {
		.kind = CYC_OUTPUT_POSTPROCESS, .out = "maps/half1", .root = temp_dir, .files = &set, .n_files = 1
	};
	ASSERT_FAILS(cyc_outputs_spare_inputs(&post, CYC_OUTPUT_ALL), CYC_E_USAGE, "maps/half1.mrc");
	post.out = "set";
	ASSERT_FAILS(cyc_outputs_spare_inputs(&post, CYC_OUTPUT_ALL), CYC_E_USAGE, "set.star");
	post.out = "maps/post";
	ASSERT_OK(cyc_outputs_spare_inputs(&post, CYC_OUTPUT_ALL));
}

static void inputs_that_cannot_be_read_are_the_jobs_matter(void **state)
{
	(void)state;
	temp_write("Job/job004/tomograms.star",
	           "data_global\nloop_\n_rlnTomoTiltSeriesStarFile\nnone.star extra\n");
	ASSERT_FAILS(spare(CYC_OUTPUT_CTFREFINE, "Job/job004"), CYC_E_USAGE, "tomograms.star");
	ASSERT_OK(spare(CYC_OUTPUT_CTFREFINE, "maps"));
	unlink(temp_path("set.star"));
	ASSERT_OK(spare(CYC_OUTPUT_CTFREFINE, "Job/job004"));
	assert_int_equal(cyc_error_get()->status, CYC_OK);
}

static void folders_in_the_place_of_files_are_refused(void **state)
{
	(void)state;
	ASSERT_OK(cyc_make_dirs(temp_path("New/tomograms.star")));
	ASSERT_OK(cyc_make_dirs(temp_path("Run/run.json")));
	ASSERT_FAILS(spare(CYC_OUTPUT_CTFREFINE, "New"), CYC_E_IO, "New/tomograms.star", "is a folder");
	ASSERT_FAILS(spare(CYC_OUTPUT_RECONSTRUCT, "Run"), CYC_E_IO, "Run/run.json", "is a folder");
	ASSERT_OK(spare(CYC_OUTPUT_RECONSTRUCT, "New"));
}

static void projects_are_found(void **state)
{
	(void)state;
	char *found = NULL;
	temp_write("Mine/tilt_series/TS_01.star", "mine");
	ASSERT_OK(cyc_outputs_find(&found, CYC_OUTPUT_SIMULATE, temp_dir, "Mine"));
	assert_non_null(found);
	assert_non_null(strstr(found, "Mine/tilt_series/TS_01.star"));
	cyc_free(found);
	ASSERT_OK(cyc_outputs_find(&found, CYC_OUTPUT_SIMULATE, temp_dir, "maps"));
	assert_null(found);
}

static void write_result(const char *name)
{
	const char *path = temp_path(name);
	ASSERT_OK(cyc_make_parent_dirs(path));
	ASSERT_OK(cyc_write_file(path, "data", 4));
}

/* Of a failed run: whole iterations and blocks stay, parts of one do not. */
static void what_is_complete_stays(void **state)
{
	(void)state;
	static const struct {
		cyc_output_kind kind;
		const char *whole, *part;
	} RUNS[] = {
		{ CYC_OUTPUT_REFINE, "Out/run_it001_data.star", "Out/run_it002_half1_class001.mrc" },
		{ CYC_OUTPUT_REFINE_TILTS, "Out/Polish/job001/tomograms.star",
		  "Out/CtfRefine/job002/tomograms.star" },
	};
	for (size_t i = 0; i < sizeof RUNS / sizeof *RUNS; i++) {
		char out[512];
		snprintf(out, sizeof out, "%s", temp_path("Out"));
		ASSERT_OK(cyc_outputs_keep_list(out, RUNS[i].kind, false));
		write_result(RUNS[i].whole);
		cyc_outputs_settle();
		write_result(RUNS[i].part);
		assert_int_equal(cyc_outputs_n_written(), 2);
		cyc_outputs_discard();
		cyc_outputs_forget(NULL);
		assert_true(cyc_path_exists(temp_path(RUNS[i].whole)));
		assert_false(cyc_path_exists(temp_path(RUNS[i].part)));
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, temp_dir_remove)
	const struct CMUnitTest tests[] = {
		TEST(the_project_is_no_job_folder),
		TEST(folders_of_inputs_are_refused),
		TEST(links_are_seen_through),
		TEST(records_and_stacks_count),
		TEST(single_files_are_compared),
		TEST(inputs_that_cannot_be_read_are_the_jobs_matter),
		TEST(folders_in_the_place_of_files_are_refused),
		TEST(projects_are_found),
		TEST(what_is_complete_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

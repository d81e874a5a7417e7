/* The cycle with pretended steps: order, folders, what feeds what, what is taken on, refusals, the plan, the summary. */
#include "cycle_fakes.h"

#include "cycle/cycle_internal.h"

#include <fcntl.h>
#include <sys/file.h>

static int setup(void **state)
{
	(void)state;
	project_make();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	project_remove();
	return 0;
}

static void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part)) fail_msg("'%s' is not in:\n%s", part, text);
}

static void assert_file_contains(const char *path, const char *part)
{
	char *text = get_file(path);
	assert_contains(text, part);
	cyc_free(text);
}

static void assert_refused(cyc_status st, cyc_status wanted, const char *part)
{
	if (st != wanted) fail_msg("%s instead of %s: %s", cyc_status_name(st), cyc_status_name(wanted), cyc_error_get()->message);
	assert_contains(cyc_error_get()->message, part);
}

static void test_order_and_folders(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	o.n_cycles = 2;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "rpcrpcrp");
	static const char *const SETS[] = { "", "RUN/Reconstruct/job001/optimisation_set.star", "RUN/PostProcess/job002/optimisation_set.star",
		"RUN/CtfRefine/job003/optimisation_set.star", "RUN/Reconstruct/job004/optimisation_set.star", "RUN/PostProcess/job005/optimisation_set.star",
		"RUN/CtfRefine/job006/optimisation_set.star", "RUN/Reconstruct/job007/optimisation_set.star" };
	for (int i = 0; i < 8; i++) assert_string_equal(g_fake.sets[i], SETS[i]);
	static const char *const FILES[] = { "job.star", "note.txt", "RELION_JOB_EXIT_SUCCESS", "cyclotomo_step.star", "run.json" };
	for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
		char path[96];
		snprintf(path, sizeof path, "RUN/CtfRefine/job006/%s", FILES[i]);
		if (!is_there(path)) fail_msg("no %s", path);
	}
	assert_file_contains("RUN/CtfRefine/job003/note.txt", "cyclotomo ctfrefine --i RUN/PostProcess/job002/optimisation_set.star");
	assert_file_contains("RUN/optimisation_set.star", "RUN/CtfRefine/job006/tomograms.star");
	assert_file_contains("RUN/optimisation_set.star", "RUN/PostProcess/job008/postprocess.star");
	assert_string_equal(r.final_map, "RUN/PostProcess/job008/postprocess.mrc");
	assert_true(r.mean_fsc_after > r.mean_fsc_before && r.resolution_after_A < r.resolution_before_A);
	assert_int_equal(r.n_turns, 2);
	assert_int_equal(r.n_turns_taken, 2);
	cyc_cycle_result_deinit(&r);
}

static void test_polish(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	o.skip_polish = o.skip_motion = false;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	/* Alignment first, then the CTFs from the aligned state. */
	assert_string_equal(g_fake.calls, "rpmrpcrp");
	assert_string_equal(g_fake.sets[2], "RUN/PostProcess/job002/optimisation_set.star");
	assert_string_equal(g_fake.sets[3], "RUN/Polish/job003/optimisation_set.star");
	assert_string_equal(g_fake.sets[5], "RUN/PostProcess/job005/optimisation_set.star");
	static const char *const ENTRIES[] = { "RUN/CtfRefine/job006/tomograms.star", "RUN/Polish/job003/particles.star", "RUN/Polish/job003/motion.star" };
	for (int i = 0; i < 3; i++) assert_file_contains("RUN/optimisation_set.star", ENTRIES[i]);
	assert_file_contains("RUN/Polish/job003/note.txt", "cyclotomo polish --i RUN/PostProcess/job002/optimisation_set.star");
	assert_file_contains("RUN/Polish/job003/note.txt", "--motion --velocity-sigma 0.2");
	assert_file_contains("RUN/Polish/job003/job.star", "relion.framealigntomo");
	static const char *const NODES[] = { "TomogramGroupMetadata.star.relion.tomo.polish", "ParticleGroupMetadata.star.relion.tomo.polish",
		"TomoTrajectoryData.star.relion.polish", "TomoOptimisationSet.star.relion.tomo.polish" };
	for (int i = 0; i < 4; i++) assert_file_contains("RUN/default_pipeline.star", NODES[i]);
	assert_file_contains("RUN/summary.json", "\"shift_change_rms_A\": 1.25");
	assert_file_contains("RUN/summary.html", "1 of 2 tilt series");
	cyc_cycle_result_deinit(&r);
	/* Nothing is done twice; other options of the polishing are other results. Figures of the polishing are on the page. */
	put_file("RUN/Polish/job003/TS_2_polish.png", "Man");
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	assert_file_contains("RUN/summary.html", "src=\"data:image/png;base64,TWFu\"><figcaption><code>RUN/Polish/job003/TS_2_polish.png</code>");
	cyc_cycle_result_deinit(&r);
	o.motion_sigma_A_per_dose = 0.1;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--velocity-sigma (was 0.2");
	o.motion_sigma_A_per_dose = 0.2;
	o.skip_motion = true;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--skip-motion (was 0");
	o.polish_range_px = BOX / 4.0;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--polish-range");
}

static void test_orientations(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	o.skip_refine = false;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "rpcrporp"); /* orientations come last in a cycle, from the state behind the CTFs */
	assert_string_equal(g_fake.sets[5], "RUN/PostProcess/job005/optimisation_set.star");
	assert_string_equal(g_fake.sets[6], "RUN/Refine3D/job006/optimisation_set.star");
	assert_file_contains("RUN/optimisation_set.star", "RUN/Refine3D/job006/run_data.star");
	assert_file_contains("RUN/Refine3D/job006/note.txt", "--healpix-order 5 --offset-range 3");
	assert_file_contains("RUN/Refine3D/job006/job.star", "relion.refine3d.tomo");
	assert_file_contains("RUN/default_pipeline.star", "ParticleGroupMetadata.star.relion.refine3d");
	assert_file_contains("RUN/summary.html", "Error of orientations");
	cyc_cycle_result_deinit(&r);
	o.refine_order = 3;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--refine-order");
}

static int g_n_checks;
static bool g_is_clear;
static char g_warnings[2000];

static void note_warning(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	if (level == CYC_LOG_WARN) snprintf(g_warnings + strlen(g_warnings), sizeof g_warnings - strlen(g_warnings), "%s\n", text);
}

/* One series, whose hand is wrong; the images tell only if they are many. */
static cyc_status fake_check(cyc_check_result *r, const cyc_check_options *o)
{
	cyc_status st = CYC_OK;
	*r = (cyc_check_result){ .n_series = 1 };
	g_n_checks++;
	assert_true(o->is_deep && !o->fix_dir && o->max_images > 0);
	CYC_TRY(cyc_alloc(&r->series, 1, sizeof *r->series));
	r->series[0] = (cyc_series_evidence){ .name = "TS_1", .n_images = 10, .hand = { -1, g_is_clear ? 0.1 : 0.5 }, .dose = { 1, 0.1 } };
	CYC_TRY(cyc_alloc(&r->findings, 1, sizeof *r->findings));
	r->n_findings = 1;
	r->findings[0] = (cyc_finding){ .level = CYC_FINDING_ERROR, .kind = "hand", .sigma = 20 };
	CYC_TRY(cyc_strdup(&r->findings[0].series, "TS_1"));
	CYC_TRY(cyc_strdup(&r->findings[0].found, "defocus falls"));
	CYC_TRY(cyc_strdup(&r->findings[0].action, "set rlnTomoHand to -1"));
done:
	return st;
}

static cyc_status fake_check_that_fails(cyc_check_result *r, const cyc_check_options *o)
{
	(void)o;
	*r = (cyc_check_result){ 0 };
	g_n_checks++;
	return cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "too coarse");
}

static void run_with(const cyc_cycle_options *o, const cyc_cycle_ops *ops)
{
	cyc_cycle_result r;
	memset(g_fake.calls, 0, sizeof g_fake.calls);
	assert_int_equal(cyc_cycle_run(&r, o, ops), CYC_OK);
	cyc_cycle_result_deinit(&r);
}

/* Mistakes in the metadata are told when the first maps are there, again if the run is resumed, and never stop it. */
static void test_metadata_is_checked(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_ops ops = FAKES;
	ops.check = fake_check;
	g_n_checks = 0;
	g_is_clear = true;
	cyc_log_set_sink(note_warning, NULL, CYC_LOG_WARN);
	for (int run = 0; run < 2; run++) {
		g_warnings[0] = '\0';
		run_with(&o, &ops);
		assert_int_equal(g_n_checks, 1);
		assert_non_null(strstr(g_warnings, "tilt series TS_1: defocus falls (20 standard errors); set rlnTomoHand to -1"));
		assert_non_null(strstr(g_warnings, "cyclotomo check --deep --fix"));
	}
	/* Not asked for. */
	o.out_dir = "RUN2";
	o.skip_check = true;
	run_with(&o, &ops);
	assert_int_equal(g_n_checks, 1);
	/* What the first maps cannot tell is asked with more images, and again after a turn. */
	o.out_dir = "RUN3";
	o.skip_check = g_is_clear = false;
	g_n_checks = 0;
	run_with(&o, &ops);
	assert_int_equal(g_n_checks, 4);
	o.out_dir = "RUN4";
	g_n_checks = 0;
	ops.check = fake_check_that_fails;
	run_with(&o, &ops);
	assert_true(g_n_checks >= 1);
	cyc_log_set_sink(NULL, NULL, CYC_LOG_ERROR);
}

static void test_polish_that_is_worse(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	o.skip_polish = false;
	o.n_cycles = 2;
	g_fake.quality[1] = 0.25;
	g_fake.quality[2] = g_fake.quality[0] + 0.1;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	/* The CTFs go on from before it, and from their state polishing is worth another try. */
	assert_string_equal(g_fake.calls, "rpmrpcrpmrpcrp");
	assert_string_equal(g_fake.sets[5], "RUN/PostProcess/job002/optimisation_set.star");
	assert_string_equal(g_fake.sets[8], "RUN/PostProcess/job008/optimisation_set.star");
	assert_int_equal(r.n_turns, 4);
	cyc_cycle_result_deinit(&r);
	/* Alone, without the CTFs; after a failure it goes on with the step that failed. */
	o.out_dir = "ALONE";
	o.n_cycles = 1;
	o.skip_defocus = o.skip_scale = true;
	g_fake.stop_at = 3;
	assert_refused(run_cycle(&r, &o), CYC_E_IO, "the disk is full");
	assert_true(is_there("ALONE/Polish/job003/RELION_JOB_EXIT_FAILURE"));
	g_fake.stop_at = 0;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "mrp");
	cyc_cycle_result_deinit(&r);
}

static void test_pipeline(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	cyc_star *star = NULL;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	assert_int_equal(cyc_star_read(&star, in_root("RUN/default_pipeline.star")), CYC_OK);
	assert_int_equal(cyc_star_n_blocks(star), 5);
	assert_string_equal(cyc_star_text_of(cyc_star_find(star, "pipeline_general"), 0, "rlnPipeLineJobCounter"), "6");
	const cyc_star_block *p = cyc_star_find(star, "pipeline_processes");
	static const char *const ROWS[5][2] = { { "Reconstruct/job001/", "relion.reconstructparticletomo" }, { "PostProcess/job002/", "relion.postprocess" },
		{ "CtfRefine/job003/", "relion.ctfrefinetomo" }, { "Reconstruct/job004/", "relion.reconstructparticletomo" },
		{ "PostProcess/job005/", "relion.postprocess" } };
	assert_int_equal(cyc_star_n_rows(p), 5);
	for (int i = 0; i < 5; i++) {
		assert_string_equal(cyc_star_text_of(p, i, "rlnPipeLineProcessName"), ROWS[i][0]);
		assert_string_equal(cyc_star_text_of(p, i, "rlnPipeLineProcessAlias"), "None");
		assert_string_equal(cyc_star_text_of(p, i, "rlnPipeLineProcessTypeLabel"), ROWS[i][1]);
		assert_string_equal(cyc_star_text_of(p, i, "rlnPipeLineProcessStatusLabel"), "Succeeded");
	}
	/* Every end of an edge is a node or a process. */
	const cyc_star_block *nodes = cyc_star_find(star, "pipeline_nodes"), *in = cyc_star_find(star, "pipeline_input_edges");
	for (int64_t i = 0; i < cyc_star_n_rows(in); i++) {
		bool found = false;
		for (int64_t k = 0; k < cyc_star_n_rows(nodes); k++) {
			found = found || strcmp(cyc_star_text(nodes, k, 0), cyc_star_text_of(in, i, "rlnPipeLineEdgeFromNode")) == 0;
		}
		if (!found) fail_msg("edge from '%s', which is no node", cyc_star_text_of(in, i, "rlnPipeLineEdgeFromNode"));
	}
	cyc_star_destroy(&star);
	assert_false(is_there("default_pipeline.star"));
}

static void test_worse_is_not_taken_on(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	g_fake.quality[1] = 0.25;
	o.n_cycles = 3;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	/* Refining again from the same state would give the same again. */
	assert_string_equal(g_fake.calls, "rpcrp");
	assert_int_equal(r.n_turns, 1);
	assert_int_equal(r.n_turns_taken, 0);
	assert_true(r.mean_fsc_after == r.mean_fsc_before);
	assert_contains(r.verdict, "did not help");
	assert_contains(r.verdict, "PostProcess/job005/");
	assert_string_equal(r.final_map, "RUN/PostProcess/job002/postprocess.mrc");
	assert_file_contains("RUN/optimisation_set.star", " tomograms.star");
	assert_file_contains("RUN/summary.html", "not taken on");
	assert_file_contains("RUN/summary.json", "\"decision\": \"not taken on\"");
	cyc_cycle_result_deinit(&r);
	/* Asked to, a finished run takes it on and goes on from there, without doing anything twice. */
	o.accept_worse = true;
	o.n_cycles = 2;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "crp");
	assert_string_equal(g_fake.sets[0], "RUN/PostProcess/job005/optimisation_set.star");
	assert_int_equal(r.n_turns_taken, 2);
	cyc_cycle_result_deinit(&r);
}

static void test_equal_is_taken_on(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	g_fake.quality[1] = g_fake.quality[0];
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_int_equal(r.n_turns_taken, 1);
	assert_contains(r.verdict, "hardly changed");
	cyc_cycle_result_deinit(&r);
}

static void test_more_cycles_go_on(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	o.n_cycles = 2;
	o.n_threads = 2;
	o.out_dir = ".//RUN/./";
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "crp");
	assert_int_equal(r.n_steps, 8);
	assert_int_equal(r.n_steps_kept, 5);
	cyc_cycle_result_deinit(&r);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	cyc_cycle_result_deinit(&r);
}

static void test_changes_are_noticed(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options(), changed = o;
	cyc_cycle_result r;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	char *before = get_file("RUN/summary.json");
	changed.symmetry = "C6";
	changed.box_px = 40;
	assert_refused(run_cycle(&r, &changed), CYC_E_USAGE, "--box (was 32, now 40), --symmetry (was C1, now C6)");
	assert_contains(cyc_error_get()->hint, "another --o");
	changed = o;
	changed.defocus_range_A += 1.0;
	assert_refused(run_cycle(&r, &changed), CYC_E_USAGE, "--defocus-range");
	static const char *const INPUTS[] = { "particles.star", "tomograms.star", "tilt_series/TS_2.star" };
	for (int i = 0; i < 3; i++) {
		char *text = get_file(INPUTS[i]), *longer = NULL;
		assert_int_equal(cyc_asprintf(&longer, "# edited\n%s", text), CYC_OK);
		put_file(INPUTS[i], longer);
		assert_refused(run_cycle(&r, &o), CYC_E_DATA, INPUTS[i]);
		/* Content counts, not the time of writing. */
		put_file(INPUTS[i], text);
		assert_int_equal(run_cycle(&r, &o), CYC_OK);
		cyc_cycle_result_deinit(&r);
		cyc_free(text);
		cyc_free(longer);
	}
	put_file("frames/TS_1_0.mrc.keep", "");
	assert_int_equal(rename(in_root("frames/TS_1_1.mrc"), in_root("frames/TS_1_1.away")), 0);
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "1 of 6 tilt images cannot be found, the first is frames/TS_1_1.mrc");
	char *after = get_file("RUN/summary.json");
	assert_string_equal(before, after);
	cyc_free(before);
	cyc_free(after);
	assert_string_equal(g_fake.calls, "");
}

static void test_changed_outputs_are_noticed(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	put_file("RUN/CtfRefine/job003/tomograms.star", "data_\n");
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "RUN/CtfRefine/job003/tomograms.star was changed");
	assert_int_equal(unlink(in_root("RUN/Reconstruct/job001/half2.mrc")), 0);
	assert_refused(run_cycle(&r, &o), CYC_E_IO, "half2.mrc");
	assert_contains(cyc_error_get()->hint, "remove RUN/Reconstruct/job001/");
	char command[160];
	snprintf(command, sizeof command, "rm -r '%s'", in_root("RUN/Reconstruct/job001"));
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof command, "rm -r '%s'", in_root("RUN/CtfRefine/job003"));
	assert_int_equal(system(command), 0);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "rc");
	cyc_cycle_result_deinit(&r);
}

static void test_folder_of_others_is_refused(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	put_file("Mine/PostProcess/job002/postprocess.star", "data_\n");
	o.out_dir = "Mine";
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "Mine/PostProcess");
	put_file("default_pipeline.star", "data_\n");
	o.out_dir = "./";
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "default_pipeline.star");
	assert_file_contains("default_pipeline.star", "data_\n");
	assert_string_equal(g_fake.calls, "");
}

static void test_one_process_at_a_time(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	assert_int_equal(cyc_make_dirs(in_root("RUN")), CYC_OK);
	int lock = open(in_root("RUN/.cyclotomo_lock"), O_RDWR | O_CREAT, 0666);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	assert_refused(run_cycle(&r, &o), CYC_E_IO, "another 'cyclotomo cycle'");
	close(lock);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
}

static void test_mistakes_are_found_before_the_work(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	cyc_volume *mask = NULL;
	assert_int_equal(cyc_volume_create(&mask, 24, 24, 24, 2.0), CYC_OK);
	assert_int_equal(cyc_mrc_write(in_root("mask.mrc"), mask, 2, NULL), CYC_OK);
	cyc_volume_destroy(&mask);
	o.mask_fsc = "mask.mrc";
	assert_refused(run_cycle(&r, &o), CYC_E_SHAPE, "24 x 24 x 24");
	o.crop_px = 24;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	o = make_options();
	o.out_dir = "RUN2";
	o.mask_align = "nowhere.mrc";
	assert_refused(run_cycle(&r, &o), CYC_E_IO, "nowhere.mrc");
	o = make_options();
	o.out_dir = NULL;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--o");
	o.out_dir = "RUN2";
	o.box_px = 0;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--b");
	o.box_px = 31;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "even");
	o.box_px = BOX;
	o.crop_px = 34;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--crop");
	o.crop_px = 0;
	o.skip_defocus = o.skip_scale = true;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "nothing is left");
	assert_false(is_there("RUN2"));
	assert_string_equal(g_fake.calls, "");
}

static void test_plan(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	char *text = NULL;
	bool can_run = false;
	assert_int_equal(cyc_cycle_plan(&text, &can_run, &o), CYC_OK);
	assert_true(can_run);
	static const char *const PARTS[] = { "4 (half 1: 2, half 2: 2)", "2 tilt series with particles, 6 tilts", "pixel 2 Å, box 32 px (64 Å)",
		"Reconstruct/job001/", "PostProcess/job002/", "CtfRefine/job003/", "PostProcess/job005/", "64 x 64 px", "All 6 tilt images are there" };
	for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) assert_contains(text, PARTS[i]);
	cyc_free(text);
	for (int t = 0; t < N_TILTS; t++) {
		char path[64];
		snprintf(path, sizeof path, "frames/TS_2_%d.mrc", t);
		assert_int_equal(unlink(in_root(path)), 0);
	}
	assert_int_equal(cyc_cycle_plan(&text, &can_run, &o), CYC_OK);
	assert_false(can_run);
	assert_contains(text, "Images that cannot be found: 3 of 6");
	assert_contains(text, "TS_2: 3 of 3\n    frames/TS_2_0.mrc\n");
	cyc_free(text);
	/* What RELION leaves behind at times: shown in the plan, refused by the run. */
	char *table = get_file("tilt_series/TS_1.star"), *edited = NULL;
	const char *scale = strstr(table, "0.9\n");
	assert_non_null(scale);
	assert_int_equal(cyc_asprintf(&edited, "%.*s-%s", (int)(scale - table), table, scale), CYC_OK);
	put_file("tilt_series/TS_1.star", edited);
	cyc_free(table);
	cyc_free(edited);
	assert_int_equal(cyc_cycle_plan(&text, &can_run, &o), CYC_OK);
	assert_false(can_run);
	assert_contains(text, "TS_1.star: line");
	assert_contains(text, "negative");
	assert_contains(text, "CtfRefine/job003/");
	cyc_free(text);
	cyc_cycle_result r;
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "negative");
	assert_false(is_there("RUN"));
}

/* Two values whose order decides must look different where they are told. */
static void test_digits(void **state)
{
	(void)state;
	assert_int_equal(cyc__digits_apart(0.7954, 0.7960), 4);
	assert_int_equal(cyc__digits_apart(0.79541, 0.79544), 5);
	assert_int_equal(cyc__digits_apart(0.79545, 0.79545 - 2e-9), 9);
	assert_int_equal(cyc__digits_apart(0.5, 0.5), 17);
}

static void test_summary_page(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	o.out_dir = "A&B <run>";
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	char *html = get_file("A&B <run>/summary.html"), *json = get_file("A&B <run>/summary.json");
	int n_figures = 0;
	for (const char *p = html; (p = strstr(p, "<svg ")); p++) n_figures++;
	assert_int_equal(n_figures, 1 + N_SERIES);
	assert_contains(html, "A&amp;B &lt;run&gt;");
	assert_null(strstr(html, "<run>"));
	assert_null(strstr(html, "http://www.example"));
	assert_null(strstr(html, "<script"));
	assert_null(strstr(html, ">nan<")); /* the letters may stand in a picture */
	assert_contains(html, "src=\"data:image/png;base64,iVBOR");
	assert_contains(html, "each of the 4 particles");
	assert_contains(html, "alt=\"directions of the particles\" src=\"data:image/png;base64,iVBOR");
	assert_contains(html, "5 of 6 tilts moved");
	assert_contains(html, "No mask was given");
	assert_contains(html, "PostProcess/job005/postprocess.mrc");
	assert_contains(json, "\"defocus_before_um\": [2.95, 2.95, 2.95]");
	assert_contains(json, "\"defocus_after_um\": [2.955, 2.96, 2.965]");
	assert_contains(json, "\"timing_s\"");
	cyc_free(html);
	cyc_free(json);
	cyc_cycle_result_deinit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order_and_folders, setup, teardown),
		cmocka_unit_test_setup_teardown(test_polish, setup, teardown),
		cmocka_unit_test_setup_teardown(test_orientations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metadata_is_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_polish_that_is_worse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pipeline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_worse_is_not_taken_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_equal_is_taken_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_cycles_go_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes_are_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_outputs_are_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_folder_of_others_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_process_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mistakes_are_found_before_the_work, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plan, setup, teardown),
		cmocka_unit_test(test_digits),
		cmocka_unit_test_setup_teardown(test_summary_page, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

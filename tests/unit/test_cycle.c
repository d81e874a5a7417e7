/* The cycle with pretended steps: order, folders, what feeds what, what is accepted, refusals, the plan, the
 * summary. */
#include "cycle_fakes.h"

#include "run/step.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

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
	if (st != wanted)
		fail_msg("%s instead of %s: %s", cyc_status_name(st), cyc_status_name(wanted),
		         cyc_error_get()->message);
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
	static const char *const SETS[] = { "",
		                                "RUN/Reconstruct/job001/optimisation_set.star",
		                                "RUN/PostProcess/job002/optimisation_set.star",
		                                "RUN/CtfRefine/job003/optimisation_set.star",
		                                "RUN/Reconstruct/job004/optimisation_set.star",
		                                "RUN/PostProcess/job005/optimisation_set.star",
		                                "RUN/CtfRefine/job006/optimisation_set.star",
		                                "RUN/Reconstruct/job007/optimisation_set.star" };
	for (int i = 0; i < 8; i++) assert_string_equal(g_fake.sets[i], SETS[i]);
	static const char *const FILES[] = { "job.star", "note.txt", "RELION_JOB_EXIT_SUCCESS",
		                                 "cyclotomo_step.star", "run.json" };
	for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
		char path[96];
		snprintf(path, sizeof path, "RUN/CtfRefine/job006/%s", FILES[i]);
		if (!is_there(path)) fail_msg("no %s", path);
	}
	assert_file_contains(
		"RUN/CtfRefine/job003/note.txt",
		"cyclotomo ctfrefine --optimisation-set RUN/PostProcess/job002/optimisation_set.star");
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
	o.skip_polish = false;
	o.polish.do_motion = true;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	/* Alignment first, then the CTFs from the aligned state. */
	assert_string_equal(g_fake.calls, "rpmrpcrp");
	assert_string_equal(g_fake.sets[2], "RUN/PostProcess/job002/optimisation_set.star");
	assert_string_equal(g_fake.sets[3], "RUN/Polish/job003/optimisation_set.star");
	assert_string_equal(g_fake.sets[5], "RUN/PostProcess/job005/optimisation_set.star");
	static const char *const ENTRIES[] = { "RUN/CtfRefine/job006/tomograms.star",
		                                   "RUN/Polish/job003/particles.star",
		                                   "RUN/Polish/job003/motion.star" };
	for (int i = 0; i < 3; i++) assert_file_contains("RUN/optimisation_set.star", ENTRIES[i]);
	assert_file_contains("RUN/Polish/job003/note.txt",
	                     "cyclotomo polish --optimisation-set RUN/PostProcess/job002/optimisation_set.star");
	assert_file_contains("RUN/Polish/job003/note.txt", " --motion --box 32");
	assert_file_contains("RUN/Polish/job003/job.star", "relion.framealigntomo");
	static const char *const NODES[] = { "TomogramGroupMetadata.star.relion.tomo.polish",
		                                 "ParticleGroupMetadata.star.relion.tomo.polish",
		                                 "TomoTrajectoryData.star.relion.polish",
		                                 "TomoOptimisationSet.star.relion.tomo.polish" };
	for (int i = 0; i < 4; i++) assert_file_contains("RUN/default_pipeline.star", NODES[i]);
	assert_file_contains("RUN/summary.json", "\"shift_change_rms_A\": 1.25");
	assert_file_contains("RUN/summary.html", "1 of 2 tilt series agree better");
	cyc_cycle_result_deinit(&r);
	/* Nothing is done twice; other options of the polishing are other results. Figures of the polishing are
	 * on the page. */
	put_file("RUN/Polish/job003/TS_2_polish.png", "Man");
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	assert_file_contains(
		"RUN/summary.html",
		"src=\"data:image/png;base64,TWFu\"><figcaption>Shifts of the tilts and motion of particles from "
		"<a href=\"Polish/job003/\">");
	cyc_cycle_result_deinit(&r);
	o.polish.motion_sigma_A_per_dose = 0.1;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--velocity-sigma (was 0.2");
	o.polish.motion_sigma_A_per_dose = 0.2;
	o.polish.do_motion = false;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--skip-motion (was no, now yes)");
	o.polish.range_px = BOX / 4.0;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--polish-range");
}

static void test_orientations(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	o.skip_refine = false;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls,
	                    "rpcrporp"); /* orientations come last in a cycle, from the state behind the CTFs */
	assert_string_equal(g_fake.sets[5], "RUN/PostProcess/job005/optimisation_set.star");
	assert_string_equal(g_fake.sets[6], "RUN/Refine3D/job006/optimisation_set.star");
	assert_file_contains("RUN/optimisation_set.star", "RUN/Refine3D/job006/run_data.star");
	assert_file_contains("RUN/Refine3D/job006/note.txt", "--healpix-order 5 --offset-range 3");
	assert_file_contains("RUN/Refine3D/job006/job.star", "relion.refine3d.tomo");
	assert_file_contains("RUN/default_pipeline.star", "ParticleGroupMetadata.star.relion.refine3d");
	assert_file_contains("RUN/summary.html", "Error of orientations");
	cyc_cycle_result_deinit(&r);
	o.refine.healpix_order = 3;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--refine-order");
}

static int g_n_checks;
static bool g_is_clear;
static char g_warnings[2000];

static void note_warning(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	if (level == CYC_LOG_WARN)
		snprintf(g_warnings + strlen(g_warnings), sizeof g_warnings - strlen(g_warnings), "%s\n", text);
}

/* One series, whose hand is wrong; the images tell only if they are many. */
static cyc_status fake_check(cyc_check_result *r, const cyc_check_options *o)
{
	cyc_status st = CYC_OK;
	*r = (cyc_check_result){ .n_series = 1 };
	g_n_checks++;
	assert_true(o->is_deep && !o->fix_dir && o->max_images > 0);
	assert_true(o->input.keep_outliers); /* read as all the run reads its images */
	CYC_TRY(cyc_alloc(&r->series, 1, sizeof *r->series));
	r->series[0] = (cyc_series_evidence){
		.name = "TS_1", .n_images = 10, .hand = { -1, g_is_clear ? 0.1 : 0.5 }, .dose = { 1, 0.1 }
	};
	CYC_TRY(cyc_alloc(&r->found.items, 1, sizeof *r->found.items));
	r->found.n = 1;
	r->found.items[0] = (cyc_finding){ .level = CYC_FINDING_ERROR, .kind = "hand", .sigma = 20 };
	CYC_TRY(cyc_strdup(&r->found.items[0].series, "TS_1"));
	CYC_TRY(cyc_strdup(&r->found.items[0].found, "defocus falls"));
	CYC_TRY(cyc_strdup(&r->found.items[0].action, "set rlnTomoHand to -1"));
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

/* Mistakes in the metadata are told when the first maps are there, again if the run is resumed, and never
 * stop it. */
static void test_metadata_is_checked(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_ops ops = FAKES;
	ops.check = fake_check;
	o.input.keep_outliers = true;
	g_n_checks = 0;
	g_is_clear = true;
	cyc_log_set_sink(note_warning, NULL, CYC_LOG_WARN);
	for (int run = 0; run < 2; run++) {
		g_warnings[0] = '\0';
		run_with(&o, &ops);
		assert_int_equal(g_n_checks, 1);
		assert_non_null(strstr(
			g_warnings, "tilt series TS_1: defocus falls (20 standard errors); set rlnTomoHand to -1"));
		assert_non_null(strstr(g_warnings, "cyclotomo check --deep --fix"));
		assert_file_contains("RUN/summary.html", "set rlnTomoHand to -1");
	}
	/* Damaged, the record is not believed, nor without the slopes that belong to it. */
	static const char *const FILES[2] = { "RUN/PostProcess/job002/metadata.txt",
		                                  "RUN/PostProcess/job002/evidence.star" };
	for (int i = 0; i < 2; i++)
		for (int is_removed = 0; is_removed <= i; is_removed++) {
			char *text = get_file(FILES[i]), *good = get_file(FILES[i]);
			text[strlen(text) / 2] ^= 1;
			if (is_removed) assert_int_equal(remove(in_root(FILES[i])), 0);
			else put_file(FILES[i], text);
			g_warnings[0] = '\0';
			g_n_checks = 1;
			run_with(&o, &ops);
			assert_int_equal(g_n_checks, 2);
			assert_non_null(strstr(g_warnings, "evidence.star' is damaged"));
			cyc_free(text);
			text = get_file(FILES[i]);
			assert_string_equal(text, good);
			cyc_free(text);
			cyc_free(good);
		}
	g_n_checks = 1;
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
	/* CTF refinement starts from the state before it, and from its result polishing is worth another try. */
	assert_string_equal(g_fake.calls, "rpmrpcrpmrpcrp");
	assert_string_equal(g_fake.sets[5], "RUN/PostProcess/job002/optimisation_set.star");
	assert_string_equal(g_fake.sets[8], "RUN/PostProcess/job008/optimisation_set.star");
	assert_int_equal(r.n_turns, 4);
	cyc_cycle_result_deinit(&r);
	/* Alone, without the CTFs; after a failure it resumes with the step that failed. */
	o.out_dir = "ALONE";
	o.n_cycles = 1;
	o.ctfrefine.do_defocus = o.ctfrefine.do_scale = false;
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
	assert_string_equal(cyc_star_text_of(cyc_star_find(star, "pipeline_general"), 0, "rlnPipeLineJobCounter"),
	                    "6");
	const cyc_star_block *p = cyc_star_find(star, "pipeline_processes");
	static const char *const ROWS[5][2] = { { "Reconstruct/job001/", "relion.reconstructparticletomo" },
		                                    { "PostProcess/job002/", "relion.postprocess" },
		                                    { "CtfRefine/job003/", "relion.ctfrefinetomo" },
		                                    { "Reconstruct/job004/", "relion.reconstructparticletomo" },
		                                    { "PostProcess/job005/", "relion.postprocess" } };
	assert_int_equal(cyc_star_n_rows(p), 5);
	for (int i = 0; i < 5; i++) {
		assert_string_equal(cyc_star_text_of(p, i, "rlnPipeLineProcessName"), ROWS[i][0]);
		assert_string_equal(cyc_star_text_of(p, i, "rlnPipeLineProcessAlias"), "None");
		assert_string_equal(cyc_star_text_of(p, i, "rlnPipeLineProcessTypeLabel"), ROWS[i][1]);
		assert_string_equal(cyc_star_text_of(p, i, "rlnPipeLineProcessStatusLabel"), "Succeeded");
	}
	/* Every end of an edge is a node or a process. */
	const cyc_star_block *nodes = cyc_star_find(star, "pipeline_nodes"),
						 *in = cyc_star_find(star, "pipeline_input_edges");
	for (int64_t i = 0; i < cyc_star_n_rows(in); i++) {
		bool found = false;
		for (int64_t k = 0; k < cyc_star_n_rows(nodes); k++) {
			found = found || strcmp(cyc_star_text(nodes, k, 0),
			                        cyc_star_text_of(in, i, "rlnPipeLineEdgeFromNode")) == 0;
		}
		if (!found)
			fail_msg("edge from '%s', which is no node", cyc_star_text_of(in, i, "rlnPipeLineEdgeFromNode"));
	}
	cyc_star_destroy(&star);
	assert_false(is_there("default_pipeline.star"));
}

static void test_worse_is_rejected(void **state)
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
	assert_file_contains("RUN/summary.html", "worse: rejected");
	assert_file_contains("RUN/summary.json", "\"decision\": \"worse: rejected\"");
	cyc_cycle_result_deinit(&r);
	/* Asked to, a finished run accepts it and continues from there, without doing anything twice. */
	o.accept_worse = true;
	o.n_cycles = 2;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "crp");
	assert_string_equal(g_fake.sets[0], "RUN/PostProcess/job005/optimisation_set.star");
	assert_int_equal(r.n_turns_taken, 2);
	cyc_cycle_result_deinit(&r);
}

static void test_no_difference_is_accepted(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	g_fake.quality[1] = g_fake.quality[0];
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_int_equal(r.n_turns_taken, 1);
	assert_contains(r.verdict, "no significant difference to the half maps");
	assert_int_equal(r.n_same, 1);
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
	assert_refused(run_cycle(&r, &changed), CYC_E_USAGE,
	               "--box (was 32, now 40), --symmetry (was C1, now C6)");
	assert_contains(cyc_error_get()->hint, "another --o");
	changed = o;
	changed.ctfrefine.defocus_range_A += 1.0;
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
	assert_refused(run_cycle(&r, &o), CYC_E_DATA,
	               "1 of 6 tilt images cannot be found, the first is frames/TS_1_1.mrc");
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
	/* The step that wrote it is done again, and since it leaves the same, no other. */
	static const struct {
		const char *file, *calls;
	} FILES[] = {
		{ "RUN/Reconstruct/job001/half2.mrc", "r" },
		{ "RUN/PostProcess/job002/postprocess.star", "p" },
		{ "RUN/CtfRefine/job003/tomograms.star", "c" },
		{ "RUN/CtfRefine/job003/tilt_series/TS_2.star", "c" },
		{ "RUN/CtfRefine/job003/job.star", "c" },
		{ "RUN/CtfRefine/job003/optimisation_set.star", "c" },
		{ "RUN/CtfRefine/job003/cyclotomo_step.star", "c" },
		{ "RUN/Reconstruct/job004/optimisation_set.star", "r" },
		{ "RUN/cyclotomo_cycle.star", "" },
	};
	for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
		for (int how = 0; how < 4; how++) {
			char *text = get_file(FILES[i].file);
			size_t n = strlen(text);
			if (how == 0) assert_int_equal(cyc_write_file(in_root(FILES[i].file), text, n / 2), CYC_OK);
			if (how == 1 || how == 3) { /* 3: the first of all, which may be in a comment */
				char *digit = strpbrk(text + (how == 1 ? n / 3 : 0), "123456789");
				if (!digit) digit = strpbrk(text, "123456789");
				*digit = *digit == '7' ? '8' : '7';
				assert_int_equal(cyc_write_file(in_root(FILES[i].file), text, n), CYC_OK);
				*digit = '?';
			}
			cyc_free(text);
			if (how == 2 && !FILES[i].calls[0]) continue; /* without its record the folder is somebody's */
			if (how == 2) assert_int_equal(unlink(in_root(FILES[i].file)), 0);
			g_warnings[0] = '\0';
			cyc_log_set_sink(note_warning, NULL, CYC_LOG_WARN);
			cyc_status st = run_cycle(&r, &o);
			cyc_log_set_sink(NULL, NULL, CYC_LOG_WARN);
			if (st != CYC_OK) fail_msg("%s, damage %d: %s", FILES[i].file, how, cyc_error_get()->message);
			if (strcmp(g_fake.calls, FILES[i].calls) != 0)
				fail_msg("%s, damage %d: steps done again: %s", FILES[i].file, how, g_fake.calls);
			bool is_record = strstr(FILES[i].file, "cyclotomo_") != NULL;
			if (!(is_record && how == 2)) {
				assert_contains(g_warnings, FILES[i].file);
				assert_contains(g_warnings, is_record  ? "is damaged"
				                            : how == 2 ? "is missing"
				                                       : "was changed");
			}
			cyc_cycle_result_deinit(&r);
		}
	}
}

/* A step that is done again and leaves something else: what was made from that is done again, too. */
static void test_steps_after_a_changed_one(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	g_fake.uncertainty = "data_\n_now_another 1\n";
	put_file("RUN/CtfRefine/job003/tomograms.star", "data_\n");
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "crp");
	cyc_cycle_result_deinit(&r);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	cyc_cycle_result_deinit(&r);
	/* What no step reads is told, and costs nothing. */
	put_file("RUN/CtfRefine/job003/logfile.pdf", "a figure");
	assert_int_equal(unlink(in_root("RUN/CtfRefine/job003/cyclotomo_step.star")), 0);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	put_file("RUN/CtfRefine/job003/logfile.pdf", "another");
	g_warnings[0] = '\0';
	cyc_log_set_sink(note_warning, NULL, CYC_LOG_WARN);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_log_set_sink(NULL, NULL, CYC_LOG_WARN);
	assert_string_equal(g_fake.calls, "");
	assert_contains(g_warnings, "RUN/CtfRefine/job003/logfile.pdf was changed after its "
	                            "step had finished; no other step reads it");
	cyc_cycle_result_deinit(&r);
}

/* The name of a folder does not make its files those of an iteration; removed ones of an iteration cost
 * nothing. */
static void test_files_of_iterations(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	o.out_dir = "run_it001_full.mrc";
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	put_file("run_it001_full.mrc/CtfRefine/job003/run_it001_data.star", "data_\n");
	put_file("run_it001_full.mrc/CtfRefine/job003/run_it002_half1.mrc", "map");
	assert_int_equal(unlink(in_root("run_it001_full.mrc/CtfRefine/job003/cyclotomo_step.star")), 0);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "c");
	cyc_cycle_result_deinit(&r);
	assert_int_equal(unlink(in_root("run_it001_full.mrc/CtfRefine/job003/run_it001_data.star")), 0);
	assert_int_equal(unlink(in_root("run_it001_full.mrc/CtfRefine/job003/run_it002_half1.mrc")), 0);
	g_warnings[0] = '\0';
	cyc_log_set_sink(note_warning, NULL, CYC_LOG_WARN);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	assert_contains(g_warnings, "the first: run_it001_full.mrc/CtfRefine/job003/run_it001_data.star");
	assert_contains(g_warnings, "2 files of run_it001_full.mrc/CtfRefine/job003/ were changed or removed");
	cyc_cycle_result_deinit(&r);
	put_file("run_it001_full.mrc/CtfRefine/job003/tomograms.star", "data_\n");
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_log_set_sink(NULL, NULL, CYC_LOG_WARN);
	assert_string_equal(g_fake.calls, "c");
	cyc_cycle_result_deinit(&r);
}

static void put_mask(const char *path, float value)
{
	cyc_volume *v = NULL;
	assert_int_equal(cyc_volume_create(&v, BOX, BOX, BOX, 2.0), CYC_OK);
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] = value;
	assert_int_equal(cyc_mrc_write(in_root(path), v, 2, NULL), CYC_OK);
	cyc_volume_destroy(&v);
}

static void run_until(int call, cyc_cycle_options *o)
{
	cyc_cycle_result r;
	g_fake.stop_at = call;
	g_fake.stop_how = STOP_FAIL;
	if (run_cycle(&r, o) != CYC_E_IO) fail_msg("at call %d: %s", call, cyc_error_get()->message);
	cyc_cycle_result_deinit(&r);
	g_fake.stop_at = 0;
}

/* A mistake that a step has found may be corrected: options and inputs on which no finished step depends. */
static void test_corrections(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	put_mask("align.mrc", 0.75F);
	put_mask("fsc.mrc", 1);
	o.mask_align = "align.mrc";
	o.mask_fsc = "fsc.mrc";
	o.skip_polish = o.skip_refine = false;
	o.refine.particle_diameter_A = 50;
	o.postprocess.mtf = "mtf.star";
	put_file("mtf.star", "data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 1\n0.5 0.5\n");
	run_until(2, &o); /* the first post-processing fails */
	o.postprocess.bfactor_high_A = 7;
	put_file("mtf.star", "data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 1\n0.5 0.25\n");
	o.symmetry = "O"; /* that of finished maps */
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--symmetry (was C1, now O)");
	assert_null(strstr(cyc_error_get()->message, "--bfactor"));
	assert_contains(cyc_error_get()->hint, "Reconstruct/job001 is finished");
	o.symmetry = "C1";
	run_until(2, &o); /* calls of this start: post-processing, polishing */
	put_mask("align.mrc", 1);
	o.polish.range_px = 5;
	run_until(1, &o);
	o.polish.range_px = 4;
	run_until(4, &o); /* polishing and the maps after it are finished */
	put_mask("fsc.mrc", 0.75F);
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "fsc.mrc (mask for the FSC)");
	put_mask("fsc.mrc", 1);
	put_mask("align.mrc", 0.75F);
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "align.mrc (mask for references)");
	put_mask("align.mrc", 1);
	o.polish.range_px = 3;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--polish-range (was 4, now 3)");
	o.polish.range_px = 4;
	o.ctfrefine.k_min_A = 40;
	o.refine.particle_diameter_A = 60;
	o.refine.healpix_order = 6;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "crporp");
	cyc_cycle_result_deinit(&r);
	o.ctfrefine.k_min_A = 30;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--kmin (was 40, now 30)");
	char *plan = NULL; /* says the same */
	cyc_status outcome = CYC_OK;
	assert_int_equal(cyc_cycle_plan(&plan, &outcome, &o), CYC_OK);
	assert_contains(plan, "--kmin (was 40, now 30)");
	assert_int_equal(outcome, CYC_E_USAGE);
	cyc_free(plan);
	o.ctfrefine.k_min_A = 40;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	cyc_cycle_result_deinit(&r);
}

/* Images that were written again are others, unless the user says that they are not. */
static void test_replaced_images(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	const struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
	assert_int_equal(utimensat(AT_FDCWD, in_root("frames/TS_2_1.mrc"), times, 0), 0);
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "have changed since it was started");
	assert_contains(cyc_error_get()->hint, "cyclotomo_images.record");
	assert_int_equal(unlink(in_root("RUN/cyclotomo_images.record")), 0);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	cyc_cycle_result_deinit(&r);
	/* Another header is another image whatever its time. */
	cyc_volume *v = NULL;
	assert_int_equal(cyc_volume_create(&v, 64, 64, 1, 2.0), CYC_OK);
	v->data[5] = 1;
	assert_int_equal(cyc_mrc_write(in_root("frames/TS_2_1.mrc"), v, 2, NULL), CYC_OK);
	cyc_volume_destroy(&v);
	assert_int_equal(utimensat(AT_FDCWD, in_root("frames/TS_2_1.mrc"), times, 0), 0);
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "tilt images (names, sizes, headers)");
}

static void test_folder_of_others_is_refused(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	put_file("Mine/PostProcess/job002/postprocess.star", "data_\n");
	o.out_dir = "Mine";
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "Mine/PostProcess");
	put_file("Gui/default_pipeline.star", "data_\n");
	o.out_dir = "Gui/";
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "default_pipeline.star");
	assert_file_contains("Gui/default_pipeline.star", "data_\n");
	o.out_dir = "./";
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "the project itself");
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
	o.run_wait_s = 0.3;
	double start = cyc_clock_s();
	assert_refused(run_cycle(&r, &o), CYC_E_IO, "another 'cyclotomo cycle'");
	assert_true(cyc_clock_s() - start >= 0.3);
	close(lock);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	cyc_cycle_result_deinit(&r);
}

/* The other run ends while this one waits. */
static void test_waiting_for_another_run(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	int ready[2];
	assert_int_equal(cyc_make_dirs(in_root("RUN")), CYC_OK);
	assert_int_equal(pipe(ready), 0);
	const char *path = in_root("RUN/.cyclotomo_lock");
	pid_t other = fork();
	if (other == 0) {
		int lock = open(path, O_RDWR | O_CREAT, 0666);
		if (flock(lock, LOCK_EX) != 0 || write(ready[1], "x", 1) != 1) _exit(1);
		usleep(500000);
		_exit(0);
	}
	char byte;
	assert_int_equal(read(ready[0], &byte, 1), 1);
	double start = cyc_clock_s();
	o.run_wait_s = 60.0;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_true(cyc_clock_s() - start >= 0.3);
	int status;
	assert_int_equal(waitpid(other, &status, 0), other);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(ready[1]);
	cyc_cycle_result_deinit(&r);
}

static void test_mistakes_are_found_before_the_work(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	cyc_volume *mask = NULL;
	assert_int_equal(cyc_volume_create(&mask, 24, 24, 24, 2.0), CYC_OK);
	o.mask_fsc = "mask.mrc";
	o.crop_px = 24;
	assert_int_equal(cyc_mrc_write(in_root("mask.mrc"), mask, 2, NULL), CYC_OK);
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "no voxel is above 0.5");
	mask->data[300] = 1.5F;
	assert_int_equal(cyc_mrc_write(in_root("mask.mrc"), mask, 2, NULL), CYC_OK);
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "between 0 and 1, but voxel 12, 12, 0 is 1.5");
	for (size_t i = 0; i < cyc_volume_count(mask); i++) mask->data[i] = 1;
	assert_int_equal(cyc_mrc_write(in_root("mask.mrc"), mask, 2, NULL), CYC_OK);
	cyc_volume_destroy(&mask);
	o.crop_px = 0;
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
	o.ctfrefine.do_defocus = o.ctfrefine.do_scale = false;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "nothing to refine");
	assert_false(is_there("RUN2"));
	assert_string_equal(g_fake.calls, "");
}

static void test_plan(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	char *text = NULL;
	cyc_status outcome = CYC_E_INTERNAL;
	assert_int_equal(cyc_cycle_plan(&text, &outcome, &o), CYC_OK);
	assert_int_equal(outcome, CYC_OK);
	static const char *const PARTS[] = {
		"4 (half 1: 2, half 2: 2)",    "2 tilt series with particles, 6 tilts",
		"pixel 2 Å, box 32 px (64 Å)", "Reconstruct/job001/",
		"PostProcess/job002/",         "CtfRefine/job003/",
		"PostProcess/job005/",         "64 x 64 px",
		"All 6 tilt images were found"
	};
	for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) assert_contains(text, PARTS[i]);
	cyc_free(text);
	for (int t = 0; t < N_TILTS; t++) {
		char path[64];
		snprintf(path, sizeof path, "frames/TS_2_%d.mrc", t);
		assert_int_equal(unlink(in_root(path)), 0);
	}
	assert_int_equal(cyc_cycle_plan(&text, &outcome, &o), CYC_OK);
	assert_int_equal(outcome, CYC_E_DATA);
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
	assert_int_equal(cyc_cycle_plan(&text, &outcome, &o), CYC_OK);
	assert_int_equal(outcome, CYC_E_DATA);
	assert_contains(text, "TS_1.star: line");
	assert_contains(text, "negative");
	assert_contains(text, "CtfRefine/job003/");
	cyc_free(text);
	cyc_cycle_result r;
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "negative");
	assert_false(is_there("RUN"));
	/* Or taken as excluded tilts. */
	o.input.exclude_negative_scales = true;
	assert_int_equal(cyc_cycle_plan(&text, &outcome, &o), CYC_OK);
	assert_null(strstr(text, "negative"));
	cyc_free(text);
}

static void test_summary_page(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	o.out_dir = "A&B <run>";
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	char *html = get_file("A&B <run>/summary.html"), *json = get_file("A&B <run>/summary.json");
	int n_figures = 0, n_named = 0;
	for (const char *p = html; (p = strstr(p, "<svg ")); p++) n_figures++;
	for (const char *p = html; (p = strstr(p, "role=\"img\"")); p++) n_named++;
	/* FSC before, after and of all states; a figure and a small one of each series. */
	assert_int_equal(n_figures, 3 + 2 * N_SERIES);
	assert_true(n_named >= n_figures);
	assert_contains(html, "A&amp;B &lt;run&gt;");
	assert_null(strstr(html, "<run>"));
	assert_null(strstr(html, "http://www.example"));
	assert_null(strstr(html, "src=\"http"));
	assert_null(strstr(html, "http-equiv"));
	assert_contains(html, "href=\"PostProcess/job005/postprocess.mrc\"");
	assert_contains(html, "href=\"CtfRefine/job003/\"");
	assert_null(strstr(html, ">nan<")); /* the letters may stand in a picture */
	assert_contains(html, "src=\"data:image/png;base64,iVBOR");
	assert_contains(html, "each of the 4 particles");
	assert_contains(html, "alt=\"directions of the particles\" src=\"data:image/png;base64,iVBOR");
	assert_contains(html, "6 tilts: 5 changed by more than two standard errors");
	assert_contains(html, "No mask was given");
	assert_contains(html, "PostProcess/job005/postprocess.mrc");
	assert_contains(json, "\"defocus_before_um\": [2.95, 2.95, 2.95]");
	assert_contains(json, "\"defocus_after_um\": [2.955, 2.96, 2.965]");
	assert_contains(json, "\"timing_s\"");
	cyc_free(html);
	cyc_free(json);
	cyc_cycle_result_deinit(&r);
}

/* An excluded tilt, one without particles and what was not refined have no standard error; the table says -1,
 * or "none" in older files. */
static void test_no_standard_error(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	g_fake.uncertainty =
		"\ndata_TS_1\n\nloop_\n_cycTiltStatus #1\n_cycDefocusErrorAngst #2\n_cycScaleError #3\n"
		"moved 120 0.02\nexcluded -1 -1\nno-particles 250 none\n\n"
		"\ndata_TS_2\n\nloop_\n_cycTiltStatus #1\n_cycDefocusErrorAngst #2\nmoved none\nmoved none\nmoved "
		"none\n\n";
	if (run_cycle(&r, &o) != CYC_OK) fail_msg("%s", cyc_error_get()->message);
	char *html = get_file("RUN/summary.html"), *json = get_file("RUN/summary.json");
	assert_contains(json, "\"defocus_error_um\": [0.012, null, 0.025]");
	assert_contains(json, "\"scale_error\": [0.02, null, null]");
	/* The second series has no error at all: no list of them. */
	const char *second = strstr(json, "\"name\": \"TS_2\"");
	assert_non_null(second);
	assert_null(strstr(second, "defocus_error_um"));
	/* The bare letters may stand in a picture. */
	static const char *const NOT_NUMBERS[] = { ">nan", "\"nan", ",nan", " nan" };
	for (int i = 0; i < 4; i++) assert_null(strstr(html, NOT_NUMBERS[i]));
	assert_true(is_there("RUN/optimisation_set.star"));
	cyc_free(html);
	cyc_free(json);
	cyc_cycle_result_deinit(&r);
	/* Damage is still an error, and says where. */
	g_fake.uncertainty = "\ndata_TS_1\n\nloop_\n_cycDefocusErrorAngst #1\nmany\n\n";
	o.out_dir = "RUN2";
	assert_refused(run_cycle(&r, &o), CYC_E_FORMAT, "_cycDefocusErrorAngst");
}

/* Better and worse are what differs by two standard errors; less is no difference and is accepted. */
static void test_significance(void **state)
{
	(void)state;
	static const struct {
		double difference, error;
		int decision;
	} CASES[] = {
		{ 0.0201, 0.01, CYC__TURN_BETTER }, { 0.0199, 0.01, CYC__TURN_SAME },
		{ -0.0199, 0.01, CYC__TURN_SAME },  { -0.0201, 0.01, CYC__TURN_WORSE },
		{ 0.0, 0.0, CYC__TURN_SAME },       { -1e-5, 1e-6, CYC__TURN_WORSE },
	};
	static const char *const WORDS[] = { [CYC__TURN_BETTER] = "better: accepted",
		                                 [CYC__TURN_SAME] = "no difference: accepted",
		                                 [CYC__TURN_WORSE] = "worse: rejected" };
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		cyc_cycle_options o = make_options();
		cyc_cycle_result r;
		char dir[16], path[64], text[96];
		snprintf(dir, sizeof dir, "RUN%zu", i);
		o.out_dir = dir;
		g_fake.quality[1] = g_fake.quality[0] + CASES[i].difference;
		g_fake.error = CASES[i].error;
		assert_int_equal(run_cycle(&r, &o), CYC_OK);
		assert_int_equal(r.n_turns, 1);
		assert_int_equal(r.n_better, CASES[i].decision == CYC__TURN_BETTER);
		assert_int_equal(r.n_same, CASES[i].decision == CYC__TURN_SAME);
		assert_int_equal(r.n_turns_taken, CASES[i].decision != CYC__TURN_WORSE);
		cyc_cycle_result_deinit(&r);
		snprintf(path, sizeof path, "%s/summary.html", dir);
		snprintf(text, sizeof text, ">%s</span></td>", WORDS[CASES[i].decision]);
		assert_file_contains(path, text);
		snprintf(path, sizeof path, "%s/summary.json", dir);
		snprintf(text, sizeof text, "\"decision\": \"%s\"", WORDS[CASES[i].decision]);
		assert_file_contains(path, text);
		assert_file_contains(path, "\"difference_error\": ");
		/* Read back, it is the same decision. */
		assert_int_equal(run_cycle(&r, &o), CYC_OK);
		assert_string_equal(g_fake.calls, "");
		assert_int_equal(r.n_same, CASES[i].decision == CYC__TURN_SAME);
		cyc_cycle_result_deinit(&r);
	}
	assert_file_contains("RUN0/summary.html", "+0.0201 ± 0.0100");
	assert_file_contains("RUN5/summary.html", "-0.0000100 ± 0.0000010");
}

static void test_halves_that_share(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	g_fake.are_halves_suspect = true;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_contains(r.verdict, "not independent");
	assert_null(strstr(r.verdict, "improved"));
	cyc_cycle_result_deinit(&r);
	/* A perfect correlation is no success, whatever the last shells say. */
	g_fake.are_halves_suspect = false;
	o.out_dir = "SAME";
	for (int i = 0; i < 16; i++) g_fake.quality[i] = 2.0 + 0.1 * i;
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_null(strstr(r.verdict, "improved"));
	cyc_cycle_result_deinit(&r);
}

static void test_warnings_are_on_the_page(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	g_fake.warning = "the \"mask\" isn't <soft>\nat all";
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_contains(r.verdict, "The steps gave 1 warning,");
	cyc_cycle_result_deinit(&r);
	char *first = get_file("RUN/summary.html");
	const char *told = strstr(first, "<p>the 'mask' isn't &lt;soft&gt; at all</p>");
	assert_non_null(told);
	/* Both post-processings gave it; it is told once. */
	assert_null(strstr(told + 20, "isn't &lt;soft"));
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	cyc_cycle_result_deinit(&r);
	char *again = get_file("RUN/summary.html");
	strip_page(first);
	strip_page(again);
	assert_string_equal(first, again);
	assert_file_contains("RUN/summary.json", "\"text\": \"the 'mask' isn't <soft> at all\"");
	cyc_free(first);
	cyc_free(again);
}

static void test_bad_tilts_and_particles(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	g_fake.uncertainty =
		"\ndata_TS_1\n\nloop_\n_cycTiltStatus #1\n_cycDefocusErrorAngst #2\nchanged 120\nbad "
		"none\nfrom-trend 250\n\n"
		"\ndata_TS_2\n\nloop_\n_cycTiltStatus #1\n_cycDefocusErrorAngst #2\nat-limit 3000\nmoved 100\nmoved "
		"99\n\n";
	char *table = get_file("particles.star"), *edited = NULL;
	char *at = strstr(table, "_rlnRandomSubset #7\n");
	assert_non_null(at);
	assert_int_equal(cyc_asprintf(&edited,
	                              "%.*s_rlnRandomSubset #7\n_cycParticleProbability #8\nTS_1 a 1 0 0 0 1 "
	                              "0.99\nTS_1 b 1 40 0 0 2 0.49\nTS_2 c 1 0 0 0 1 0\n"
	                              "TS_2 d 1 40 0 0 2 0.5\n\n",
	                              (int)(at - table), table),
	                 CYC_OK);
	put_file("particles.star", edited);
	cyc_free(table);
	cyc_free(edited);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_contains(r.verdict, "2 of 6 tilts are bad, shifted or at the limit of the defocus search.");
	assert_contains(r.verdict, "2 of 4 picks probably do not show the particle");
	cyc_cycle_result_deinit(&r);
	assert_file_contains("RUN/summary.html", "<tr><td>TS_1</td><td class=\"n\">2</td><td>bad</td></tr>");
	assert_file_contains("RUN/summary.html", "<tr><td>TS_2</td><td class=\"n\">1</td><td>at-limit</td></tr>");
	assert_file_contains("RUN/summary.json", "\"n_bad_tilts\": 2");
	assert_file_contains("RUN/summary.json", "\"n_doubtful_particles\": 2");
}

/* Three particles at one place: one of each pair in different half-sets is left out, before any step. */
static void test_duplicates(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	char *table = get_file("particles.star"), *edited = NULL, *text = NULL;
	cyc_status outcome;
	size_t n = strlen(table);
	assert_int_equal(cyc_asprintf(&edited, "%.*sTS_1 twice 1 3 0 0 2 5 6 7\nTS_1 same 1 0 2 0 1 7 6 5\n\n",
	                              (int)n - 1, table),
	                 CYC_OK);
	put_file("particles.star", edited);
	o.duplicates = CYC_DUPLICATES_REFUSE;
	assert_refused(run_cycle(&r, &o), CYC_E_DATA,
	               "2 pairs of particles in different half-sets are closer than 8.0 Å (rows 1 and 5: 3.0 Å, "
	               "rows 5 and 6: 3.6 Å)");
	assert_int_equal(cyc_cycle_plan(&text, &outcome, &o), CYC_OK);
	assert_int_equal(outcome, CYC_E_DATA);
	assert_contains(text, "2 pairs of particles in different half-sets");
	cyc_free(text);
	o.duplicates = CYC_DUPLICATES_REMOVE;
	assert_int_equal(cyc_cycle_plan(&text, &outcome, &o), CYC_OK);
	assert_int_equal(outcome, CYC_OK);
	assert_contains(text,
	                "listed twice, and 1 is left out of the run; 1 pair in the same half-set is closer than "
	                "8.0 Å and is kept");
	cyc_free(text);
	assert_false(is_there("RUN"));
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_contains(r.verdict, "1 particle was listed twice");
	cyc_cycle_result_deinit(&r);
	assert_file_contains("RUN/Reconstruct/job001/note.txt", "--particles RUN/particles.star");
	assert_file_contains("RUN/optimisation_set.star", "RUN/particles.star");
	text = get_file("RUN/particles.star");
	assert_null(strstr(text, "twice"));
	assert_contains(text, "same");
	cyc_free(text);
	text = get_file("particles.star");
	assert_string_equal(text, edited);
	cyc_free(text);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	cyc_cycle_result_deinit(&r);
	o.duplicates = CYC_DUPLICATES_KEEP;
	assert_refused(run_cycle(&r, &o), CYC_E_USAGE, "--duplicates (was remove, now keep)");
	o.out_dir = "KEPT";
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_contains(r.verdict, "2 pairs of particles in different half-sets are duplicates");
	assert_false(is_there("KEPT/particles.star"));
	cyc_cycle_result_deinit(&r);
	/* With only one half-set left nothing can be judged. */
	assert_int_equal(cyc_asprintf(&text, "%.*sTS_1 a 1 0 0 0 1 5 6 7\nTS_1 b 1 3 0 0 2 7 6 5\n\n",
	                              (int)(strstr(table, "TS_1 TS_1/1") - table), table),
	                 CYC_OK);
	put_file("particles.star", text);
	o.out_dir = "EMPTY";
	o.duplicates = CYC_DUPLICATES_REMOVE;
	assert_refused(run_cycle(&r, &o), CYC_E_DATA, "a half-set would have no particles left");
	cyc_free(text);
	cyc_free(table);
	cyc_free(edited);
}

/* Other weights, or a particle less: the maps are compared with those of the state before in the new weights.
 */
static void test_weights_that_change(void **state)
{
	(void)state;
	cyc_cycle_options o = make_options();
	cyc_cycle_result r;
	char *table = get_file("particles.star"), *edited = NULL;
	int n = (int)(strstr(table, "_rlnRandomSubset #7\n") - table);
	o.skip_refine = false;
	o.ctfrefine.do_defocus = o.ctfrefine.do_scale = false;
	assert_int_equal(cyc_asprintf(&edited,
	                              "%.*s_rlnRandomSubset #7\n_cycParticleProbability #8\nTS_2 TS_2/2 1 41 0 0 "
	                              "2 0.25\nTS_1 TS_1/1 1 1 0 0 1 1\n"
	                              "TS_2 TS_2/1 1 1 0 0 1 1\n\n",
	                              n, table),
	                 CYC_OK);
	g_fake.refined_particles = edited;
	if (run_cycle(&r, &o) != CYC_OK) fail_msg("%s", cyc_error_get()->message);
	assert_string_equal(g_fake.calls, "rporrp");
	assert_string_equal(g_fake.sets[3], "RUN/Refine3D/job003/optimisation_set.star");
	assert_string_equal(g_fake.sets[4], "RUN/Refine3D/job003/cyclotomo_before.star");
	assert_file_contains("RUN/PostProcess/job005/note.txt",
	                     "--compare-to RUN/PostProcess/job005/before/optimisation_set.star");
	assert_file_contains("RUN/PostProcess/job005/note.txt",
	                     "cyclotomo reconstruct --optimisation-set RUN/Refine3D/job003/cyclotomo_before.star "
	                     "--output RUN/PostProcess/job005/before/ --box 32\n");
	/* Positions of before; names and weights of after. */
	char *before = get_file("RUN/Refine3D/job003/cyclotomo_before_particles.star");
	assert_null(strstr(before, "TS_1/2"));
	assert_null(strstr(before, "41"));
	assert_contains(before, "0.250000");
	cyc_free(before);
	cyc_cycle_result_deinit(&r);
	assert_int_equal(run_cycle(&r, &o), CYC_OK);
	assert_string_equal(g_fake.calls, "");
	cyc_cycle_result_deinit(&r);
	/* Weights that change by less than 0.002, in the mean over the particles, are not worth it. */
	static const struct {
		double weight; /* of one in four */
		const char *dir, *calls;
	} CASES[] = { { 0.9995, "RUN2", "rporp" }, { 0.993, "RUN3", "rporp" }, { 0.991, "RUN4", "rporrp" } };
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
		cyc_free(edited);
		assert_int_equal(cyc_asprintf(&edited,
		                              "%.*s_rlnRandomSubset #7\n_cycParticleProbability #8\nTS_2 TS_2/2 1 41 "
		                              "0 0 2 %.4f\nTS_1 TS_1/1 1 1 0 0 1 1\n"
		                              "TS_1 TS_1/2 1 40 0 0 2 1\nTS_2 TS_2/1 1 1 0 0 1 1\n\n",
		                              n, table, CASES[k].weight),
		                 CYC_OK);
		g_fake.refined_particles = edited;
		o.out_dir = CASES[k].dir;
		assert_int_equal(run_cycle(&r, &o), CYC_OK);
		assert_string_equal(g_fake.calls, CASES[k].calls);
		cyc_cycle_result_deinit(&r);
	}
	cyc_free(table);
	cyc_free(edited);
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
		cmocka_unit_test_setup_teardown(test_worse_is_rejected, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_difference_is_accepted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_cycles_go_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes_are_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_outputs_are_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_steps_after_a_changed_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files_of_iterations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_corrections, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced_images, setup, teardown),
		cmocka_unit_test_setup_teardown(test_folder_of_others_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_process_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waiting_for_another_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mistakes_are_found_before_the_work, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plan, setup, teardown),
		cmocka_unit_test_setup_teardown(test_summary_page, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_standard_error, setup, teardown),
		cmocka_unit_test_setup_teardown(test_significance, setup, teardown),
		cmocka_unit_test_setup_teardown(test_halves_that_share, setup, teardown),
		cmocka_unit_test_setup_teardown(test_warnings_are_on_the_page, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_tilts_and_particles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_duplicates, setup, teardown),
		cmocka_unit_test_setup_teardown(test_weights_that_change, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

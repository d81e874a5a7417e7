/* Reconstruction, CTF refinement, polishing and refinement of poses without memory: each allocation that
 * fails is reported, nothing is half-written, nothing leaks (under a leak checker), and the next run with
 * memory gives what it always gave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "cyclotomo/check.h"
#include "cyclotomo/ctfrefine.h"
#include "cyclotomo/extract.h"
#include "cyclotomo/polish.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/refine3d.h"
#include "cyclotomo/simulate.h"

static char g_root[128];

static int set_up(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	cyc_simulate_options p;
	cyc_simulate_options_default(&p);
	cyc_simulate_options_preset(&p, CYC_SIMULATE_TINY);
	snprintf(g_root, sizeof g_root, "%s/sim", temp_dir);
	p.out_dir = g_root;
	p.n_series = 2;
	p.n_tilts = 3;
	p.tilt_step_rad = 0.5;
	p.n_particles = 2;
	p.image_nx = p.image_ny = 120;
	p.box_px = 24;
	p.radius_A = 30;
	p.symmetry = "C1";
	p.motion_A = 0.5; /* trajectories too */
	p.signal = 8;
	return cyc_simulate_run(NULL, &p) == CYC_OK ? 0 : -1;
}

static cyc_reconstruct_options reconstruct_options(void)
{
	cyc_reconstruct_options o;
	cyc_reconstruct_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "truth/optimisation_set.star";
	o.out_dir = "R";
	o.box_px = 24;
	o.crop_px = 20;
	o.taper_px = 3;
	o.symmetry = "C3";
	o.whiten = true;
	o.write_sums = true;
	o.backup_interval_s = 0;
	o.n_threads = 2;
	return o;
}

static cyc_status reconstruct(void)
{
	const cyc_reconstruct_options o = reconstruct_options();
	cyc_reconstruct_result r;
	cyc_status st = cyc_reconstruct_run(&r, &o);
	cyc_reconstruct_result_deinit(&r);
	return st;
}

static cyc_status reconstruct_on_strict(void)
{
	cyc_reconstruct_options o = reconstruct_options();
	o.backend = "strict";
	o.n_threads = 1;
	return cyc_reconstruct_run(NULL, &o);
}

static cyc_status reconstruct_on_emulate(void)
{
	cyc_reconstruct_options o = reconstruct_options();
	o.backend = "emulate";
	o.n_threads = 1;
	return cyc_reconstruct_run(NULL, &o);
}

static cyc_status refine_with(bool has_figures, bool everything)
{
	cyc_ctfrefine_options o;
	cyc_ctfrefine_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.ref1 = o.ref2 = "truth/map.mrc";
	o.mask = "mask_align.mrc";
	o.out_dir = "R";
	o.box_px = 24;
	o.k_min_A = 40;
	o.n_threads = 2;
	o.no_figures = !has_figures;
	if (everything) {
		o.do_even_aberrations = o.do_odd_aberrations = o.do_magnification = o.do_bfactor = true;
		o.scale_model = CYC_SCALE_ICE;
	}
	cyc_ctfrefine_result r;
	cyc_status st = cyc_ctfrefine_run(&r, &o);
	cyc_ctfrefine_result_deinit(&r);
	return st;
}

static cyc_status refine(void) { return refine_with(false, false); }
static cyc_status refine_and_draw(void) { return refine_with(true, false); }
static cyc_status refine_everything(void) { return refine_with(true, true); }

static cyc_status polish_with(bool has_figures)
{
	cyc_polish_options o;
	cyc_polish_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.ref1 = o.ref2 = "truth/map.mrc";
	o.mask = "mask_align.mrc";
	o.out_dir = "R";
	o.box_px = 24;
	o.range_px = 3;
	o.do_motion = true;
	o.accept_worse = true; /* so that there is something to draw */
	o.n_threads = 2;
	o.no_figures = !has_figures;
	cyc_polish_result r;
	cyc_status st = cyc_polish_run(&r, &o);
	cyc_polish_result_deinit(&r);
	return st;
}

static cyc_status polish(void) { return polish_with(false); }
static cyc_status polish_and_draw(void) { return polish_with(true); }

static cyc_status check_and_fix(void)
{
	cyc_check_options o;
	cyc_check_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.ref1 = o.ref2 = "truth/map.mrc";
	o.mask = "mask_align.mrc";
	o.is_deep = true;
	o.box_px = 24;
	o.k_min_A = 40;
	o.fix_dir = "R";
	o.n_threads = 2;
	/* It writes over nothing. */
	char folder[200];
	snprintf(folder, sizeof folder, "%s/R", g_root);
	nftw(folder, temp_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	mkdir(folder, 0777);
	cyc_check_result r;
	cyc_status st = cyc_check_run(&r, &o);
	cyc_check_result_deinit(&r);
	return st;
}

static cyc_status extract_as(bool stacks)
{
	cyc_extract_options o;
	cyc_extract_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "truth/optimisation_set.star";
	o.out_dir = "R";
	o.box_px = 24;
	o.crop_px = 20;
	o.stacks = stacks;
	o.cone_weight = !stacks;
	o.n_threads = 2;
	cyc_extract_result r;
	cyc_status st = cyc_extract_run(&r, &o);
	cyc_extract_result_deinit(&r);
	return st;
}

static cyc_status extract_stacks(void) { return extract_as(true); }
static cyc_status extract_volumes(void) { return extract_as(false); }

static cyc_status reconstruct_stacks(void)
{
	cyc_reconstruct_options o = reconstruct_options();
	o.input.optimisation_set = "S/optimisation_set.star";
	o.from_stacks = true;
	o.whiten = false;
	return cyc_reconstruct_run(NULL, &o);
}

static cyc_status refine_poses_from(bool from_stacks)
{
	cyc_refine3d_options o;
	cyc_refine3d_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.ref1 = "truth/map.mrc";
	o.mask = "mask_align.mrc";
	o.lowpass_A = 20;
	o.out_dir = "R";
	if (from_stacks) {
		o.input.optimisation_set = "S/optimisation_set.star";
		o.from_stacks = true;
	} else {
		o.box_px = 32;
		o.crop_px = 24;
	}
	o.healpix_order = o.auto_local_order = 3;
	o.offset_range_px = 0;
	o.max_iterations = 1;
	o.n_threads = 2;
	cyc_refine3d_result r;
	cyc_status st = cyc_refine3d_run(&r, &o);
	cyc_refine3d_result_deinit(&r);
	return st;
}

static cyc_status refine_poses(void) { return refine_poses_from(false); }
static cyc_status refine_poses_of_stacks(void) { return refine_poses_from(true); }

/* Outputs that must not be there after a failure, and temporary files that must never be. */
static int count_one(const char *path, const struct stat *s, int flag, struct FTW *f)
{
	(void)s;
	(void)f;
	assert_null(strstr(path, ".tmp"));
	/* The one without a prefix is the last. */
	return flag == FTW_F && strstr(path, "/optimisation_set.star") ? 1 : 0;
}

static void every_failure_is_reported(cyc_status (*run)(void), const char *output, int n_ends, int n_samples)
{
	char set[200], run_set[200], file[200], *wanted = NULL, *got = NULL, folder[200];
	size_t n_wanted, n_got;
	snprintf(folder, sizeof folder, "%s/R", g_root);
	snprintf(set, sizeof set, "%s/R/optimisation_set.star", g_root);
	snprintf(run_set, sizeof run_set, "%s/R/run_optimisation_set.star", g_root);
	snprintf(file, sizeof file, "%s/R/%s", g_root, output);
	ASSERT_OK(run());
	unlink(set);
	unlink(run_set);
	int64_t before = cyc_alloc_count();
	ASSERT_OK(run());
	int64_t n = cyc_alloc_count() - before;
	ASSERT_OK(cyc_read_file(&wanted, &n_wanted, file));
	assert_true(n > 100);
	/* The first and the last ones, and samples between them: most are cells of STAR files. */
	int64_t step = n / n_samples + 1;
	for (int64_t k = 1; k <= n; k += k < n_ends || k > n - n_ends ? 1
	                                 : k + step > n - n_ends      ? n - n_ends + 1 - k
	                                                              : step) {
		unlink(set);
		unlink(run_set);
		cyc_error_clear();
		cyc_alloc_fail_at(k);
		cyc_status st = run();
		cyc_alloc_fail_at(0);
		if (st != CYC_E_NOMEM)
			fail_msg("allocation %lld of %lld failed, the run said %s: %s", (long long)k, (long long)n,
			         cyc_status_name(st), cyc_error_get()->message);
		assert_non_null(strstr(cyc_error_get()->message, "memory"));
		if (nftw(folder, count_one, 16, FTW_PHYS) != 0)
			fail_msg("allocation %lld failed, but the optimisation set was written", (long long)k);
	}
	ASSERT_OK(run());
	ASSERT_OK(cyc_read_file(&got, &n_got, file));
	assert_int_equal(n_got, n_wanted);
	assert_memory_equal(got, wanted, n_wanted);
	cyc_free(wanted);
	cyc_free(got);
}

static void reconstruction(void **state)
{
	(void)state;
	every_failure_is_reported(reconstruct, "merged.mrc", 20, 50);
}

static void reconstruction_on_a_device(void **state)
{
	(void)state;
	every_failure_is_reported(reconstruct_on_strict, "merged.mrc", 2, 20);
	every_failure_is_reported(reconstruct_on_emulate, "merged.mrc", 2, 20);
}

static void refinement(void **state)
{
	(void)state;
	every_failure_is_reported(refine, "refinement.txt", 20, 40);
	every_failure_is_reported(refine_and_draw, "refinement.txt", 1, 8);
	every_failure_is_reported(refine_everything, "aberrations.star", 1, 40);
}

static void polishing(void **state)
{
	(void)state;
	every_failure_is_reported(polish, "particles.star", 20, 60);
	every_failure_is_reported(polish_and_draw, "motion.star", 1, 8);
}

/* Phase shifts of a plate that was not there: something to correct. */
static void set_phase_shifts(double degrees)
{
	for (int i = 1; i <= 2; i++) {
		cyc_star *star = NULL;
		char path[200], name[32];
		int32_t column;
		snprintf(path, sizeof path, "%s/tilt_series/TS_%02d.star", g_root, i);
		snprintf(name, sizeof name, "TS_%02d", i);
		ASSERT_OK(cyc_star_read(&star, path));
		cyc_star_block *b = cyc_star_find(star, name);
		ASSERT_OK(cyc_star_ensure_column(&column, b, "rlnPhaseShift", "0"));
		for (int64_t row = 0; row < cyc_star_n_rows(b); row++)
			ASSERT_OK(cyc_star_set_double(b, row, column, degrees));
		ASSERT_OK(cyc_star_write(star, path));
		cyc_star_destroy(&star);
	}
}

static void checking(void **state)
{
	(void)state;
	set_phase_shifts(180);
	every_failure_is_reported(check_and_fix, "tilt_series/TS_02.star", 20, 60);
	set_phase_shifts(0);
}

static void extraction(void **state)
{
	(void)state;
	every_failure_is_reported(extract_stacks, "Subtomograms/TS_02/1_stack2d.mrcs", 20, 60);
	every_failure_is_reported(extract_volumes, "Subtomograms/TS_02/1_weights.mrc", 5, 20);
}

static void reconstruction_from_stacks(void **state)
{
	(void)state;
	char from[200], to[200];
	ASSERT_OK(extract_stacks());
	snprintf(from, sizeof from, "%s/R/Subtomograms", g_root);
	snprintf(to, sizeof to, "%s/S", g_root);
	/* Where it is made stays the name of the stacks; the set moves away, since that of the maps takes its
	 * place. */
	ASSERT_OK(cyc_make_dirs(to));
	snprintf(from, sizeof from, "%s/R/optimisation_set.star", g_root);
	snprintf(to, sizeof to, "%s/S/optimisation_set.star", g_root);
	assert_int_equal(rename(from, to), 0);
	every_failure_is_reported(reconstruct_stacks, "merged.mrc", 20, 50);
}

static void refinement_of_poses(void **state)
{
	(void)state;
	every_failure_is_reported(refine_poses, "run_data.star", 6, 30);
	every_failure_is_reported(refine_poses_of_stacks, "run_data.star", 6,
	                          30); /* those of reconstruction_from_stacks() */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reconstruction),
		cmocka_unit_test(reconstruction_on_a_device),
		cmocka_unit_test(refinement),
		cmocka_unit_test(polishing),
		cmocka_unit_test(checking),
		cmocka_unit_test(extraction),
		cmocka_unit_test(reconstruction_from_stacks),
		cmocka_unit_test(refinement_of_poses),
	};
	return cmocka_run_group_tests(tests, set_up, temp_dir_remove);
}

#include "command.h"

#include "cyclotomo/joint.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_refine_tilts_options o;
	bool skip_motion;
} tilts_args;

#define O(member) offsetof(tilts_args, o.member)

static const cyc_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	CYC_PROJECT_INPUT_OPTIONS(tilts_args, o.input),
	CYC_REFERENCE_OPTIONS(tilts_args, o),
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(out_dir),
	  .unit = "<folder>",
	  .help =
	      "Folder of the result's optimisation set and of the blocks: Polish/job001, CtfRefine/job002 ..." },
	{ .name = "What is refined", .type = CYC_OPT_HEADING },
	{ .name = "rounds",
	  .type = CYC_OPT_INT,
	  .offset = O(n_rounds),
	  .unit = "<n>",
	  .min = "1",
	  .help = "Times that alignment and CTFs are refined in turn." },
	{ .name = "skip-motion",
	  .type = CYC_OPT_FLAG,
	  .offset = offsetof(tilts_args, skip_motion),
	  .help = "Leave the particles' motion as it is." },
	{ .name = "velocity-sigma",
	  .alias = "--s_vel",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(polish.motion_sigma_A_per_dose),
	  .unit = "<Å/(e/Å2)>",
	  .help = "Expected speed of the particles; the images may tell another." },
	{ .name = "motion-distance",
	  .alias = "--s_div",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(polish.motion_correlation_A),
	  .unit = "<Å>",
	  .help = "Distance over which particles move together." },
	{ .name = "even-aberrations",
	  .alias = "--do_even_aberrations",
	  .type = CYC_OPT_FLAG,
	  .offset = O(ctfrefine.do_even_aberrations),
	  .help = "Even aberrations of the optics groups too." },
	{ .name = "odd-aberrations",
	  .alias = "--do_odd_aberrations",
	  .type = CYC_OPT_FLAG,
	  .offset = O(ctfrefine.do_odd_aberrations),
	  .help = "Odd aberrations of the optics groups too." },
	{ .name = "Evidence", .type = CYC_OPT_HEADING },
	{ .name = "box",
	  .alias = "--b",
	  .type = CYC_OPT_INT,
	  .offset = O(box_px),
	  .unit = "<px>",
	  .min = "8",
	  .help = "Box of the windows, unbinned pixels: that of the reconstruction, or more.",
	  .no_default = "required" },
	{ .name = "range",
	  .alias = "--r",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(polish.range_px),
	  .unit = "<px>",
	  .help = "Largest displacement in an image." },
	{ .name = "defocus-range",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(ctfrefine.defocus_range_A),
	  .unit = "<Å>",
	  .help = "Search defocus this far on both sides of the input." },
	{ .name = "whole-windows",
	  .type = CYC_OPT_FLAG,
	  .offset = O(whole_windows),
	  .help = "Leave out windows that are partly outside their image." },
	{ .name = "Work", .type = CYC_OPT_HEADING },
	{ .name = "cache",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(cache_GB),
	  .unit = "<GB>",
	  .min = "0",
	  .help = "Memory for tilt images that are kept between readings." },
	{ .name = "resume",
	  .alias = "--only_do_unfinished",
	  .type = CYC_OPT_FLAG,
	  .offset = O(resume),
	  .help = "Continue an interrupted run of the same input." },
	{ .name = "no-figures", .type = CYC_OPT_FLAG, .offset = O(no_figures), .help = "Write no plots." },
	{ .name = "backend",
	  .type = CYC_OPT_TEXT,
	  .offset = O(backend),
	  .unit = "<name>",
	  .help = "What computes: cpu, or strict (a fake device, for testing)." },
	{ .name = "dry-run", .type = CYC_OPT_FLAG, .offset = O(dry_run), .help = "Check everything and stop." },
	CYC_COMMON_OPTIONS(tilts_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("refine-tilts", "Alignment and CTFs of the tilts in turn, with the images read once",
                    "  cyclotomo refine-tilts --i PostProcess/job002/postprocess_optimisation_set.star "
                    "--mask mask.mrc --b 192 --o Tilts/job003/\n"
                    "does what polish and ctfrefine do, one after the other, against the same half maps.",
                    OPTIONS);

cyc_status cyc_cmd_refine_tilts(int argc, char **argv);
cyc_status cyc_cmd_refine_tilts(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	tilts_args a = { 0 };
	cyc_run run = { 0 };
	cyc_refine_tilts_result result = { 0 };
	cyc_refine_tilts_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.polish.do_motion = !a.skip_motion;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_refine_tilts_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir)
		CYC_TRY((a.o.dry_run ? cyc_run_check_job : cyc_run_job)(&run, a.o.out_dir, "relion.framealigntomo"));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_REFINE_TILTS));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_run_reference_inputs(&run, a.o.ref1, a.o.ref2, a.o.mask, a.o.fsc));
	CYC_TRY(cyc_refine_tilts_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	printf("%d rounds of alignment and CTFs: %s\n", a.o.n_rounds, result.optimisation_set);
done:
	cyc_refine_tilts_result_deinit(&result);
	return cyc_run_end(&run, st);
}

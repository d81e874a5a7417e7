#include "command.h"

#include "cyclotomo/polish.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_polish_options o;
} polish_args;

#define O(member) offsetof(polish_args, o.member)

static const cyc_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	CYC_PROJECT_INPUT_OPTIONS(polish_args, o.input),
	CYC_REFERENCE_OPTIONS(polish_args, o),
	{ .name = "output", .alias = "--o", .type = CYC_OPT_TEXT, .offset = O(out_dir), .unit = "<folder>", .help = "Folder for the polished project files." },
	{ .name = "What is refined", .type = CYC_OPT_HEADING },
	{ .name = "motion", .type = CYC_OPT_FLAG, .offset = O(do_motion), .help = "Beam-induced motion of each particle." },
	{ .name = "velocity-sigma", .alias = "--s_vel", .type = CYC_OPT_DOUBLE, .offset = O(motion_sigma_A_per_dose), .unit = "<Å/(e/Å2)>",
	  .help = "Expected speed of the particles." },
	{ .name = "motion-distance", .alias = "--s_div", .type = CYC_OPT_DOUBLE, .offset = O(motion_correlation_A), .unit = "<Å>",
	  .help = "Distance over which particles move together." },
	{ .name = "gaussian-decay", .alias = "--sq_exp_ker", .type = CYC_OPT_FLAG, .offset = O(squared_exponential),
	  .help = "Correlation exp(-r^2/d^2) instead of exp(-r/d)." },
	{ .name = "max-modes", .alias = "--max_ed", .type = CYC_OPT_INT, .offset = O(motion_max_modes), .unit = "<n>", .help = "Modes of motion.",
	  .no_default = "those that hold 99.9 % of the variance" },
	{ .name = "const-positions", .alias = "--const_p", .type = CYC_OPT_FLAG, .offset = O(const_positions), .help = "Leave the particles where they are." },
	{ .name = "const-angles", .alias = "--const_a", .type = CYC_OPT_FLAG, .offset = O(const_angles), .help = "Leave the tilt angles." },
	{ .name = "const-shifts", .alias = "--const_s", .type = CYC_OPT_FLAG, .offset = O(const_shifts), .help = "Leave the tilt shifts." },
	{ .name = "shift-only", .alias = "--shift_only_by_particles", .type = CYC_OPT_FLAG, .offset = O(shift_only),
	  .help = "One shift per tilt, from its particles; nothing else changes." },
	{ .name = "Evidence", .type = CYC_OPT_HEADING },
	{ .name = "box", .alias = "--b", .type = CYC_OPT_INT, .offset = O(box_px), .unit = "<px>", .min = "8",
	  .help = "Box of the windows, unbinned pixels: that of the reconstruction, or more.", .no_default = "required" },
	{ .name = "range", .alias = "--r", .type = CYC_OPT_DOUBLE, .offset = O(range_px), .unit = "<px>", .help = "Largest displacement in an image." },
	{ .name = "kmin", .type = CYC_OPT_DOUBLE, .offset = O(k_min_A), .unit = "<Å>", .help = "Coarsest resolution used.", .no_default = "all" },
	{ .name = "resolution", .alias = "--freq_cutoff", .type = CYC_OPT_DOUBLE, .offset = O(frequency_cutoff_A), .unit = "<Å>", .help = "Finest resolution used.",
	  .no_default = "where the FSC falls below 0.143" },
	{ .name = "dose-cutoff", .alias = "--cutoff_fract", .type = CYC_OPT_DOUBLE, .offset = O(cutoff_frac), .unit = "<fraction>", .min = "0",
	  .help = "Frequencies whose dose weight is not above this are not used." },
	{ .name = "partial-windows", .type = CYC_OPT_FLAG, .offset = O(partial_windows), .help = "Also use windows that leave the image." },
	{ .name = "keep-self-correlation", .type = CYC_OPT_FLAG, .offset = O(keep_self_correlation),
	  .help = "Compare each image with the half map as it is, the image itself in it." },
	{ .name = "accept-worse", .type = CYC_OPT_FLAG, .offset = O(accept_worse), .help = "Also take on series whose held-out images agree less than before." },
	{ .name = "Work", .type = CYC_OPT_HEADING },
	{ .name = "resume", .alias = "--only_do_unfinished", .type = CYC_OPT_FLAG, .offset = O(resume), .help = "Continue an interrupted run of the same input." },
	{ .name = "no-figures", .type = CYC_OPT_FLAG, .offset = O(no_figures), .help = "Write no plots." },
	{ .name = "backend", .type = CYC_OPT_TEXT, .offset = O(backend), .unit = "<name>", .help = "What computes: cpu, or strict (a fake device, for testing)." },
	{ .name = "dry-run", .type = CYC_OPT_FLAG, .offset = O(dry_run), .help = "Check everything, say what would be done, and stop." },
	CYC_COMMON_OPTIONS(polish_args, common),
};
static const cyc_command COMMAND =
    CYC_COMMAND_DEF("polish", "Tilt geometry, particle positions and beam-induced motion",
                    "  cyclotomo polish --i PostProcess/job002/postprocess_optimisation_set.star --mask mask.mrc --b 192 --motion --o Polish/job003/\n"
                    "moves projections and particles to where the images agree best with projections of the half maps.",
                    OPTIONS);

cyc_status cyc_cmd_polish(int argc, char **argv);
cyc_status cyc_cmd_polish(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	polish_args a = { 0 };
	cyc_run run = { 0 };
	cyc_polish_result result = { 0 };
	cyc_polish_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	if (!a.o.dry_run && a.o.out_dir) CYC_TRY(cyc_run_job(&run, a.o.out_dir, "relion.framealigntomo"));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_run_reference_inputs(&run, a.o.ref1, a.o.ref2, a.o.mask, a.o.fsc));
	CYC_TRY(cyc_polish_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "tomograms", result.tomograms));
	CYC_TRY(cyc_run_output(&run, "particles", result.particles));
	CYC_TRY(cyc_run_output(&run, "trajectories", result.trajectories));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	printf("%d of %d tilt series improved: %s\n", result.n_improved, result.n_series, result.tomograms);
done:
	cyc_polish_result_deinit(&result);
	return cyc_run_end(&run, st);
}

#include "command.h"

#include "cyclotomo/polish.h"

#include <stdio.h>
#include <strings.h>

typedef struct {
	cyc_common_options common;
	cyc_polish_options o;
	bool do_deformation;
	const char *deformation_model;
} polish_args;

#define O(member) offsetof(polish_args, o.member)

static const cyc_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	CYC_PROJECT_INPUT_OPTIONS(polish_args, o.input),
	CYC_REFERENCE_OPTIONS(polish_args, o),
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(out_dir),
	  .unit = "<folder>",
	  .help = "Folder for the polished project files." },
	{ .name = "What is refined", .type = CYC_OPT_HEADING },
	{ .name = "motion",
	  .type = CYC_OPT_FLAG,
	  .offset = O(do_motion),
	  .help = "Beam-induced motion of each particle." },
	{ .name = "velocity-sigma",
	  .alias = "--s_vel",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(motion_sigma_A_per_dose),
	  .unit = "<Å/(e/Å2)>",
	  .help = "Expected speed of the particles; the images may tell another, see --fixed-speed." },
	{ .name = "fixed-speed",
	  .type = CYC_OPT_FLAG,
	  .offset = O(fixed_speed),
	  .help = "Take the expected speed as it is given." },
	{ .name = "motion-distance",
	  .alias = "--s_div",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(motion_correlation_A),
	  .unit = "<Å>",
	  .help = "Distance over which particles move together." },
	{ .name = "gaussian-decay",
	  .alias = "--sq_exp_ker",
	  .type = CYC_OPT_FLAG,
	  .offset = O(squared_exponential),
	  .help = "Correlation exp(-r^2/d^2) instead of exp(-r/d)." },
	{ .name = "max-modes",
	  .alias = "--max_ed",
	  .type = CYC_OPT_INT,
	  .offset = O(motion_max_modes),
	  .unit = "<n>",
	  .help = "Modes of motion.",
	  .no_default = "those that hold 99.9 % of the variance" },
	{ .name = "const-positions",
	  .alias = "--const_p",
	  .type = CYC_OPT_FLAG,
	  .offset = O(const_positions),
	  .help = "Leave the particles where they are." },
	{ .name = "const-angles",
	  .alias = "--const_a",
	  .type = CYC_OPT_FLAG,
	  .offset = O(const_angles),
	  .help = "Leave the tilt angles." },
	{ .name = "const-shifts",
	  .alias = "--const_s",
	  .type = CYC_OPT_FLAG,
	  .offset = O(const_shifts),
	  .help = "Leave the tilt shifts." },
	{ .name = "shift-only",
	  .alias = "--shift_only",
	  .type = CYC_OPT_FLAG,
	  .offset = O(shift_only),
	  .help = "One shift per tilt, of any size, by comparing the whole image with all its predicted "
	          "particles; nothing else changes." },
	{ .name = "shift-only-by-particles",
	  .alias = "--shift_only_by_particles",
	  .type = CYC_OPT_FLAG,
	  .offset = O(shift_by_particles),
	  .help = "One shift per tilt, up to --range, from the windows of its particles; nothing else changes." },
	{ .name = "deformation",
	  .type = CYC_OPT_FLAG,
	  .offset = offsetof(polish_args, do_deformation),
	  .help = "Refine a 2D deformation of the tilt images as well." },
	{ .name = "deformation-model",
	  .alias = "--def_model",
	  .type = CYC_OPT_TEXT,
	  .offset = offsetof(polish_args, deformation_model),
	  .unit = "<linear|spline|Fourier>",
	  .help = "Form of the deformation." },
	{ .name = "deformation-grid-x",
	  .alias = "--def_w",
	  .type = CYC_OPT_INT,
	  .offset = O(deformation_grid[0]),
	  .unit = "<n>",
	  .min = "1",
	  .help = "Nodes (spline) or frequencies (Fourier) along x." },
	{ .name = "deformation-grid-y",
	  .alias = "--def_h",
	  .type = CYC_OPT_INT,
	  .offset = O(deformation_grid[1]),
	  .unit = "<n>",
	  .min = "1",
	  .help = "The same along y." },
	{ .name = "deformation-regulariser",
	  .alias = "--def_reg",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(deformation_regulariser),
	  .unit = "<lambda>",
	  .min = "0",
	  .help = "Penalty on squared coefficients.",
	  .no_default = "images are expected to move by a pixel or so" },
	{ .name = "deformation-per-tilt",
	  .alias = "--per_frame_deformation",
	  .type = CYC_OPT_FLAG,
	  .offset = O(deformation_per_tilt),
	  .help = "A deformation for each tilt instead of one for the series." },
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
	  .offset = O(range_px),
	  .unit = "<px>",
	  .help = "Largest displacement in an image." },
	{ .name = "kmin",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(k_min_A),
	  .unit = "<Å>",
	  .help = "Coarsest resolution used.",
	  .no_default = "all" },
	{ .name = "resolution",
	  .alias = "--freq_cutoff",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(frequency_cutoff_A),
	  .unit = "<Å>",
	  .help = "Finest resolution used.",
	  .no_default = "where the FSC falls below 0.143" },
	{ .name = "dose-cutoff",
	  .alias = "--cutoff_fract",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(cutoff_frac),
	  .unit = "<fraction>",
	  .min = "0",
	  .help = "Frequencies whose dose weight is not above this are not used." },
	{ .name = "whole-windows",
	  .type = CYC_OPT_FLAG,
	  .offset = O(whole_windows),
	  .help = "Leave out windows that are partly outside their image." },
	{ .name = "passes",
	  .type = CYC_OPT_INT,
	  .offset = O(max_passes),
	  .unit = "<n>",
	  .min = "1",
	  .help = "Times that windows are cut, if particles have moved far from where they were." },
	{ .name = "first-tilt",
	  .alias = "--min_frame",
	  .type = CYC_OPT_INT,
	  .offset = O(first_tilt),
	  .unit = "<n>",
	  .min = "0",
	  .help = "First tilt that is looked at, in the order of exposure, from 0." },
	{ .name = "last-tilt",
	  .alias = "--max_frame",
	  .type = CYC_OPT_INT,
	  .offset = O(last_tilt),
	  .unit = "<n>",
	  .help = "Last tilt that is looked at.",
	  .no_default = "the last one" },
	{ .name = "compat-relion5",
	  .type = CYC_OPT_FLAG,
	  .offset = O(compat_relion5),
	  .help = "Evidence, priors and weights as in RELION 5.0.1, for comparison; what it leaves to chance "
	          "stays free." },
	{ .name = "keep-self-correlation",
	  .type = CYC_OPT_FLAG,
	  .offset = O(keep_self_correlation),
	  .help = "Compare each image with the half map as it is, the image itself in it." },
	{ .name = "accept-worse",
	  .type = CYC_OPT_FLAG,
	  .offset = O(accept_worse),
	  .help = "Also take on series whose held-out images agree less than before." },
	{ .name = "Work", .type = CYC_OPT_HEADING },
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
	{ .name = "dry-run",
	  .type = CYC_OPT_FLAG,
	  .offset = O(dry_run),
	  .help = "Check everything, say what would be done, and stop." },
	CYC_COMMON_OPTIONS(polish_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"polish", "Tilt geometry, particle positions and beam-induced motion",
	"  cyclotomo polish --i PostProcess/job002/postprocess_optimisation_set.star --mask mask.mrc --b 192 "
	"--motion --o Polish/job003/\n"
	"moves projections and particles to where the images agree best with projections of the half maps.",
	OPTIONS);

static cyc_status read_deformation(polish_args *a)
{
	cyc_status st = CYC_OK;
	static const struct {
		const char *name;
		cyc_deformation_type type;
	} models[] = { { "linear", CYC_DEFORMATION_LINEAR },
		           { "spline", CYC_DEFORMATION_SPLINE },
		           { "fourier", CYC_DEFORMATION_FOURIER } };
	for (size_t i = 0; i < sizeof models / sizeof *models; i++)
		if (strcasecmp(a->deformation_model, models[i].name) == 0) a->o.deformation = models[i].type;
	CYC_CHECK(a->o.deformation != CYC_DEFORMATION_NONE, CYC_E_USAGE,
	          "--deformation-model is linear, spline or Fourier, not '%s'", a->deformation_model);
	if (!a->do_deformation) a->o.deformation = CYC_DEFORMATION_NONE;
done:
	return st;
}

cyc_status cyc_cmd_polish(int argc, char **argv);
cyc_status cyc_cmd_polish(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	polish_args a = { 0 };
	cyc_run run = { 0 };
	cyc_polish_result result = { 0 };
	cyc_polish_options_default(&a.o);
	a.deformation_model = "spline";
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_TRY(read_deformation(&a));
	if (a.o.shift_by_particles) a.o.shift_only = true;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_polish_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir)
		CYC_TRY((a.o.dry_run ? cyc_run_check_job : cyc_run_job)(&run, a.o.out_dir, "relion.framealigntomo"));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_POLISH));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_run_reference_inputs(&run, a.o.ref1, a.o.ref2, a.o.mask, a.o.fsc));
	CYC_TRY(cyc_polish_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "tomograms", result.tomograms));
	CYC_TRY(cyc_run_output(&run, "particles", result.particles));
	CYC_TRY(cyc_run_output(&run, "trajectories", result.trajectories));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	printf("%d of %d tilt series better, %d worse: %s\n", result.n_improved, result.n_series, result.n_worse,
	       result.tomograms);
done:
	cyc_polish_result_deinit(&result);
	return cyc_run_end(&run, st);
}

#include "command.h"

#include "cyclotomo/ctfrefine.h"
#include "cyclotomo/optics.h"

#include <math.h>
#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_ctfrefine_options o;
	bool only_defocus, only_scale, only_even, only_odd, per_tilt_scale, per_tomogram_scale, regularise,
		no_defocus, no_scale; /* RELION's switches, and ours */
	double range_low_A, range_high_A, lambda;
	bool has_low, has_high, has_lambda;
} ctfrefine_args;

#define O(member) offsetof(ctfrefine_args, o.member)
#define A(member) offsetof(ctfrefine_args, member)

static const char SCALE_MODELS[] = "tilt,ice,tomogram,global";

static const cyc_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	CYC_PROJECT_INPUT_OPTIONS(ctfrefine_args, o.input),
	CYC_REFERENCE_OPTIONS(ctfrefine_args, o),
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(out_dir),
	  .unit = "<folder>",
	  .help = "Folder for the refined tomograms." },
	{ .name = "What is refined", .type = CYC_OPT_HEADING },
	{ .name = "do-defocus",
	  .alias = "--do_defocus",
	  .type = CYC_OPT_FLAG,
	  .offset = A(only_defocus),
	  .help = "Only what is named: defocus and astigmatism." },
	{ .name = "do-scale",
	  .alias = "--do_scale",
	  .type = CYC_OPT_FLAG,
	  .offset = A(only_scale),
	  .help = "Only what is named: contrast scale per tilt." },
	{ .name = "skip-defocus",
	  .type = CYC_OPT_FLAG,
	  .offset = A(no_defocus),
	  .help = "Leave defocus and astigmatism." },
	{ .name = "skip-scale", .type = CYC_OPT_FLAG, .offset = A(no_scale), .help = "Leave the scale." },
	{ .name = "scale-model",
	  .type = CYC_OPT_CHOICE,
	  .offset = O(scale_model),
	  .unit = "<law>",
	  .choices = SCALE_MODELS,
	  .help = "Scales of tilts: each for itself (tilt), drawn to what ice of some thickness and slope would "
	          "give (ice), or by that law alone with a luminance per "
	          "tomogram (tomogram) or for the data set (global)." },
	{ .name = "per-tilt-bfactor",
	  .type = CYC_OPT_FLAG,
	  .offset = O(do_bfactor),
	  .help = "Also a B-factor of each tilt, relative to the best one." },
	{ .name = "even-aberrations",
	  .type = CYC_OPT_FLAG,
	  .offset = O(do_even_aberrations),
	  .help = "Also the even aberrations of the optics groups: tetrafoil, error of the spherical aberration, "
	          "..." },
	{ .name = "odd-aberrations",
	  .type = CYC_OPT_FLAG,
	  .offset = O(do_odd_aberrations),
	  .help = "Also the odd ones: coma (beam tilt), trefoil." },
	{ .name = "even-order",
	  .alias = "--ne",
	  .type = CYC_OPT_INT,
	  .offset = O(even_order),
	  .unit = "<n>",
	  .help = "Highest order of the even ones: 4, 6 or 8." },
	{ .name = "odd-order",
	  .alias = "--no",
	  .type = CYC_OPT_INT,
	  .offset = O(odd_order),
	  .unit = "<n>",
	  .help = "Highest order of the odd ones: 3, 5 or 7." },
	{ .name = "magnification",
	  .type = CYC_OPT_FLAG,
	  .offset = O(do_magnification),
	  .help = "Also anisotropic magnification of the optics groups." },
	{ .name = "do-even-aberrations",
	  .alias = "--do_even_aberrations",
	  .type = CYC_OPT_FLAG,
	  .offset = A(only_even),
	  .help = "Only what is named: even aberrations." },
	{ .name = "do-odd-aberrations",
	  .alias = "--do_odd_aberrations",
	  .type = CYC_OPT_FLAG,
	  .offset = A(only_odd),
	  .help = "Only what is named: odd aberrations." },
	{ .name = "min-tilt",
	  .alias = "--min_frame",
	  .type = CYC_OPT_INT,
	  .offset = O(min_tilt),
	  .unit = "<row>",
	  .min = "0",
	  .help = "First row of the tilt tables, from 0." },
	{ .name = "max-tilt",
	  .alias = "--max_frame",
	  .type = CYC_OPT_INT,
	  .offset = O(max_tilt),
	  .unit = "<row>",
	  .help = "Last row.",
	  .no_default = "last" },
	{ .name = "Evidence", .type = CYC_OPT_HEADING },
	{ .name = "box",
	  .alias = "--b",
	  .type = CYC_OPT_INT,
	  .offset = O(box_px),
	  .unit = "<px>",
	  .min = "8",
	  .help = "Box of the windows, unbinned pixels: that of the reconstruction, or more.",
	  .no_default = "required" },
	{ .name = "defocus-range",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(defocus_range_A),
	  .unit = "<Å>",
	  .help = "Search this far on both sides of the input; to 40000 Å where nothing is found." },
	{ .name = "d0",
	  .type = CYC_OPT_DOUBLE,
	  .offset = A(range_low_A),
	  .is_set = A(has_low),
	  .unit = "<Å>",
	  .help = "RELION's: lower end of the search." },
	{ .name = "d1",
	  .type = CYC_OPT_DOUBLE,
	  .offset = A(range_high_A),
	  .is_set = A(has_high),
	  .unit = "<Å>",
	  .help = "RELION's: upper end of the search." },
	{ .name = "kmin",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(k_min_A),
	  .unit = "<Å>",
	  .help = "Coarsest resolution used." },
	{ .name = "resolution",
	  .alias = "--freq_cutoff",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(frequency_cutoff_A),
	  .unit = "<Å>",
	  .help = "Finest resolution used.",
	  .no_default = "where the FSC falls below 0.143" },
	{ .name = "sigma-defocus",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(sigma_defocus_A),
	  .unit = "<Å>",
	  .help = "Expected error of the input defocus.",
	  .no_default = "learned from the data" },
	{ .name = "sigma-astigmatism",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(sigma_astigmatism_A),
	  .unit = "<Å>",
	  .help = "Expected error of the input astigmatism.",
	  .no_default = "learned from the data" },
	{ .name = "common-noise",
	  .type = CYC_OPT_FLAG,
	  .offset = O(common_noise),
	  .help = "One noise spectrum for all tilts of a series instead of one each." },
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
	{ .name = "per-tilt-scale",
	  .alias = "--per_frame_scale",
	  .type = CYC_OPT_FLAG,
	  .offset = A(per_tilt_scale),
	  .help = "RELION's; accepted: scales are per tilt." },
	{ .name = "per-tomogram-scale",
	  .alias = "--per_tomogram_scale,--per_tomo_scale",
	  .type = CYC_OPT_FLAG,
	  .offset = A(per_tomogram_scale),
	  .help = "RELION's: as --scale-model tomogram." },
	{ .name = "regularise",
	  .alias = "--do_reg_defocus",
	  .type = CYC_OPT_FLAG,
	  .offset = A(regularise),
	  .help = "RELION's; accepted: priors are always learned." },
	{ .name = "lambda",
	  .type = CYC_OPT_DOUBLE,
	  .offset = A(lambda),
	  .is_set = A(has_lambda),
	  .unit = "<strength>",
	  .help = "RELION's; accepted, not used: priors have widths in Å (--sigma-defocus, --sigma-astigmatism), "
	          "learned unless given." },
	CYC_COMMON_OPTIONS(ctfrefine_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"ctfrefine", "Defocus, astigmatism and contrast scale of every tilt image; aberrations of optics groups",
	"  cyclotomo ctfrefine --i PostProcess/job002/postprocess_optimisation_set.star --mask mask.mrc --b 192 "
	"--o CtfRefine/job003/\n"
	"compares the tilt images with projections of the half maps. Evidence decides how far a tilt may move; "
	"refinement.txt\n"
	"says which moved and why, uncertainty.star how certain the new values are.",
	OPTIONS);

static cyc_status interpret(ctfrefine_args *a)
{
	cyc_status st = CYC_OK;
	if (a->only_defocus || a->only_scale || a->only_even || a->only_odd) {
		a->o.do_defocus = a->only_defocus;
		a->o.do_scale = a->only_scale;
		a->o.do_even_aberrations = a->o.do_even_aberrations || a->only_even;
		a->o.do_odd_aberrations = a->o.do_odd_aberrations || a->only_odd;
	}
	if (a->no_defocus) a->o.do_defocus = false;
	if (a->no_scale) a->o.do_scale = false;
	CYC_CHECK(!(a->only_defocus && a->no_defocus) && !(a->only_scale && a->no_scale), CYC_E_USAGE,
	          "the same thing is asked for and forbidden");
	if (a->per_tomogram_scale) {
		CYC_CHECK(!a->per_tilt_scale, CYC_E_USAGE, "scales are per tilt or per tomogram, not both");
		a->o.scale_model = CYC_SCALE_TOMOGRAM;
	}
	if (a->has_lambda)
		cyc_warn("--lambda is not used: how far a tilt may move is learned from the data; --sigma-defocus "
		         "sets it in Å");
	if (a->has_low || a->has_high) {
		CYC_CHECK(
			a->has_low && a->has_high && fabs(a->range_low_A + a->range_high_A) < 1e-6 && a->range_high_A > 0,
			CYC_E_USAGE,
			"--d0 and --d1 must lie equally far on both sides of zero, got %g and %g; or use --defocus-range",
			a->range_low_A, a->range_high_A);
		a->o.defocus_range_A = a->range_high_A;
	}
done:
	return st;
}

cyc_status cyc_cmd_ctfrefine(int argc, char **argv);
cyc_status cyc_cmd_ctfrefine(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	ctfrefine_args a = { 0 };
	cyc_run run = { 0 };
	cyc_ctfrefine_result result = { 0 };
	cyc_ctfrefine_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_TRY(interpret(&a));
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_ctfrefine_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir)
		CYC_TRY((a.o.dry_run ? cyc_run_check_job : cyc_run_job)(&run, a.o.out_dir, "relion.ctfrefinetomo"));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_CTFREFINE));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_run_reference_inputs(&run, a.o.ref1, a.o.ref2, a.o.mask, a.o.fsc));
	CYC_TRY(cyc_ctfrefine_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	if (result.tomograms) CYC_TRY(cyc_run_output(&run, "tomograms", result.tomograms));
	if (result.particles) CYC_TRY(cyc_run_output(&run, "particles", result.particles));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	if (result.particles)
		printf("%d aberrations, %d magnifications found: %s\n", result.n_aberrations, result.n_magnifications,
		       result.particles);
	if (result.tomograms)
		printf("%lld tilts, %lld moved (defocus by %.0f Å rms), %lld flagged: %s\n",
		       (long long)result.n_tilts, (long long)result.n_moved, result.defocus_change_rms_A,
		       (long long)result.n_flagged, result.tomograms);
done:
	cyc_ctfrefine_result_deinit(&result);
	return cyc_run_end(&run, st);
}

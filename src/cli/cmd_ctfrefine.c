#include "command.h"

#include "cyclotomo/ctfrefine.h"
#include "cyclotomo/optics.h"

#include <math.h>
#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_ctfrefine_options o;
	bool only_defocus, only_scale, only_even, only_odd, per_tilt_scale, per_tomogram_scale, regularise;
	double range_low_A, range_high_A, lambda;
	bool has_low, has_high, has_lambda;
} ctfrefine_args;

#define ARG(type, name, member, ...) CYC_OPTION(ctfrefine_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	CYC_NESTED(ctfrefine_args, o, &cyc_ctfrefine_table),
	CYC_HEADING("RELION's switches"),
	ARG(FLAG, "do-defocus", only_defocus, .alias = "--do_defocus",
	    .help = "Refine defocus and astigmatism; of the --do-... options, only what is named is refined."),
	ARG(FLAG, "do-scale", only_scale, .alias = "--do_scale",
	    .help = "Refine the contrast scale per tilt; see --do-defocus."),
	ARG(FLAG, "do-even-aberrations", only_even, .alias = "--do_even_aberrations",
	    .help = "Refine even aberrations; see --do-defocus."),
	ARG(FLAG, "do-odd-aberrations", only_odd, .alias = "--do_odd_aberrations",
	    .help = "Refine odd aberrations; see --do-defocus."),
	ARG(DOUBLE, "d0", range_low_A, .is_set = offsetof(ctfrefine_args, has_low), .unit = "<Å>",
	    .help = "RELION's lower end of the defocus search; must be -d1. Use --defocus-range."),
	ARG(DOUBLE, "d1", range_high_A, .is_set = offsetof(ctfrefine_args, has_high), .unit = "<Å>",
	    .help = "RELION's upper end of the defocus search. Use --defocus-range."),
	ARG(FLAG, "per-tilt-scale", per_tilt_scale, .alias = "--per_frame_scale",
	    .help = "Accepted; scales are per tilt anyway."),
	ARG(FLAG, "per-tomogram-scale", per_tomogram_scale, .alias = "--per_tomogram_scale,--per_tomo_scale",
	    .help = "The same as --scale-model tomogram."),
	ARG(FLAG, "regularise", regularise, .alias = "--do_reg_defocus",
	    .help = "Accepted; defocus is always regularised, with a strength learned from the data."),
	ARG(DOUBLE, "lambda", lambda, .is_set = offsetof(ctfrefine_args, has_lambda), .unit = "<strength>",
	    .help = "Accepted but not used: the strength is learned, or set in Å with --sigma-defocus and "
	            "--sigma-astigmatism."),
	CYC_COMMON_OPTIONS(ctfrefine_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"ctfrefine", "Defocus, astigmatism and contrast scale of every tilt image; aberrations of optics groups",
	"  cyclotomo ctfrefine --i PostProcess/job002/postprocess_optimisation_set.star --mask mask.mrc --b 192 "
	"--o CtfRefine/job003/\n"
	"compares the tilt images with projections of the half maps. How far a tilt's values may change depends "
	"on its signal;\n"
	"refinement.txt lists what changed, with a status per tilt, and uncertainty.star the standard errors.",
	OPTIONS);

static cyc_status interpret(ctfrefine_args *a)
{
	cyc_status st = CYC_OK;
	CYC_CHECK((a->o.do_defocus || !a->only_defocus) && (a->o.do_scale || !a->only_scale), CYC_E_USAGE,
	          "the same thing is requested (--do-...) and excluded (--skip-...)");
	if (a->only_defocus || a->only_scale || a->only_even || a->only_odd) {
		a->o.do_defocus = a->only_defocus;
		a->o.do_scale = a->only_scale;
		a->o.do_even_aberrations = a->o.do_even_aberrations || a->only_even;
		a->o.do_odd_aberrations = a->o.do_odd_aberrations || a->only_odd;
	}
	if (a->per_tomogram_scale) {
		CYC_CHECK(!a->per_tilt_scale, CYC_E_USAGE,
		          "--per-tilt-scale and --per-tomogram-scale exclude each other");
		a->o.scale_model = CYC_SCALE_TOMOGRAM;
	}
	if (a->has_lambda)
		cyc_warn("--lambda is not used: the strength of the regularisation is learned from the data; "
		         "--sigma-defocus sets it in Å");
	if (a->has_low || a->has_high) {
		CYC_CHECK(
			a->has_low && a->has_high && fabs(a->range_low_A + a->range_high_A) < 1e-6 && a->range_high_A > 0,
			CYC_E_USAGE, "--d0 and --d1 must be symmetric about zero, got %g and %g; or use --defocus-range",
			a->range_low_A, a->range_high_A);
		a->o.defocus_range_A = a->range_high_A;
	}
done:
	return st;
}

cyc_status cyc_cmd_ctfrefine(int argc, char **argv);
/* A list of counts as lines that the window of RELION's GUI can show: broken behind commas. */
static void break_lines(char *text)
{
	enum { WIDTH = 100 };
	char *start = text, *comma = NULL;
	for (char *c = text; *c; c++) {
		if (c - start >= WIDTH && comma) {
			comma[1] = '\n';
			start = comma + 2;
			comma = NULL;
		}
		if (c[0] == ',' && c[1] == ' ') comma = c;
	}
}

cyc_status cyc_cmd_ctfrefine(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	char text[400];
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
	if (a.o.out_dir) CYC_TRY(cyc_run_job(&run, a.o.out_dir, "relion.ctfrefinetomo", a.o.dry_run));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_CTFREFINE));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_run_reference_inputs(&run, a.o.ref1, a.o.ref2, a.o.mask, a.o.fsc));
	CYC_TRY(cyc_ctfrefine_run(&result, &a.o));
	if (a.o.dry_run || cyc_run_print_part(&result.part, a.o.out_dir)) goto done;
	if (result.tomograms) CYC_TRY(cyc_run_output(&run, "tomograms", result.tomograms));
	if (result.particles) CYC_TRY(cyc_run_output(&run, "particles", result.particles));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	if (result.particles)
		printf("%d aberrations and %d magnifications written: %s\n", result.n_aberrations,
		       result.n_magnifications, result.particles);
	if (result.tomograms) {
		cyc_ctfrefine_describe(text, sizeof text, &result);
		break_lines(text);
		printf("%s;\ndefocus changed by %.0f Å RMS: %s\n", text, result.defocus_change_rms_A,
		       result.tomograms);
	}
done:
	cyc_ctfrefine_result_deinit(&result);
	return cyc_run_end(&run, st);
}

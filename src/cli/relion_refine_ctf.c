#include "relion.h"

#include "cyclotomo/ctfrefine.h"

#include <stdlib.h>
#include <string.h>

cyc_status cyc_cmd_ctfrefine(int argc, char **argv);

static const cyc_relion_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	CYC_RELION_REFERENCE_OPTIONS,
	{ .name = "Defocus", .type = CYC_OPT_HEADING },
	{ .name = "--do_defocus",
	  .type = CYC_OPT_FLAG,
	  .help = "Refine defocus and astigmatism.",
	  .becomes = CYC_RELION_READ,
	  .to = "do-defocus" },
	{ .name = "--do_reg_defocus",
	  .type = CYC_OPT_FLAG,
	  .help = "Regularise them.",
	  .becomes = CYC_RELION_ALWAYS,
	  .note = "the strength of the regularisation is learned from the data" },
	{ .name = "--lambda",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<strength>",
	  .help = "Strength of the regularisation.",
	  .value = "0.001",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "the strength of the regularisation is learned from the data; cyclotomo ctfrefine "
	          "--sigma-defocus sets it in Å" },
	{ .name = "--d0",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<Å>",
	  .help = "Lower end of the search.",
	  .value = "-3000",
	  .becomes = CYC_RELION_READ,
	  .to = "defocus-range",
	  .note = "the search is symmetric" },
	{ .name = "--d1",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<Å>",
	  .help = "Upper end of the search.",
	  .value = "3000",
	  .becomes = CYC_RELION_READ,
	  .to = "defocus-range",
	  .note = "the search is symmetric" },
	{ .name = "--ds",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "Steps of the search.",
	  .value = "100",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "steps depend on the resolution" },
	{ .name = "--reset_to_common",
	  .type = CYC_OPT_FLAG,
	  .help = "Start all tilts from the first one's CTF.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "Scale", .type = CYC_OPT_HEADING },
	{ .name = "--do_scale",
	  .type = CYC_OPT_FLAG,
	  .help = "Refine the contrast scale.",
	  .becomes = CYC_RELION_READ,
	  .to = "do-scale" },
	{ .name = "--per_frame_scale",
	  .type = CYC_OPT_FLAG,
	  .help = "One per tilt.",
	  .becomes = CYC_RELION_READ,
	  .note = "without it scales follow the ice thickness, with one beam intensity for all series" },
	{ .name = "--per_tomogram_scale,--per_tomo_scale",
	  .type = CYC_OPT_FLAG,
	  .help = "An ice model per series (the GUI uses the second spelling).",
	  .becomes = CYC_RELION_READ,
	  .to = "scale-model",
	  .note = "scales follow the ice thickness of each series" },
	{ .name = "Aberrations", .type = CYC_OPT_HEADING },
	{ .name = "--do_even_aberrations",
	  .type = CYC_OPT_FLAG,
	  .help = "Refine even aberrations.",
	  .becomes = CYC_RELION_SAME,
	  .to = "do-even-aberrations" },
	{ .name = "--do_odd_aberrations",
	  .type = CYC_OPT_FLAG,
	  .help = "Refine odd aberrations.",
	  .becomes = CYC_RELION_SAME,
	  .to = "do-odd-aberrations" },
	{ .name = "Work", .type = CYC_OPT_HEADING },
	{ .name = "--max_frame",
	  .type = CYC_OPT_INT,
	  .unit = "<row>",
	  .help = "Last row; 0 or less: all.",
	  .value = "-1",
	  .becomes = CYC_RELION_READ,
	  .to = "max-tilt" },
	CYC_RELION_THREADS_OPTION("6"),
	CYC_RELION_COMMON_OPTIONS,
};

static cyc_status emit_range(cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	double low = cyc_relion_number(c, "--d0"), high = cyc_relion_number(c, "--d1"),
		   widest = fmax(fabs(low), fabs(high));
	CYC_CHECK(low < high, CYC_E_USAGE, "--d0 must be below --d1, got %g and %g Å", low, high);
	if (fabs(low + high) > 1e-6)
		cyc_warn("--d0 %g --d1 %g: the search is symmetric, so it goes from %g to %g Å", low, high, -widest,
		         widest);
	CYC_TRY(cyc_relion_emit_number(c, "defocus-range", widest));
done:
	return st;
}

static cyc_status translate(cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	bool do_defocus = cyc_relion_is_given(c, "--do_defocus"), do_scale = cyc_relion_is_given(c, "--do_scale");
	if (!do_defocus && !do_scale && !cyc_relion_is_given(c, "--do_even_aberrations") &&
	    !cyc_relion_is_given(c, "--do_odd_aberrations")) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "nothing to refine was requested");
		cyc_error_hint("give --do_defocus, --do_scale --per_frame_scale, or both");
		goto done;
	}
	if (do_defocus) CYC_TRY(cyc_relion_emit(c, "do-defocus", NULL));
	if (do_scale) CYC_TRY(cyc_relion_emit(c, "do-scale", NULL));
	bool is_per_tomogram = cyc_relion_is_given(c, "--per_tomogram_scale"),
		 is_per_tilt = cyc_relion_is_given(c, "--per_frame_scale");
	CYC_CHECK(!(is_per_tomogram && is_per_tilt), CYC_E_USAGE,
	          "--per_frame_scale and --per_tomogram_scale exclude each other");
	if (do_scale && !is_per_tilt)
		CYC_TRY(cyc_relion_emit(c, "scale-model", is_per_tomogram ? "tomogram" : "global"));
	if (cyc_relion_is_given(c, "--d0") || cyc_relion_is_given(c, "--d1")) CYC_TRY(emit_range(c));
	if (cyc_relion_number(c, "--max_frame") > 0.0)
		CYC_TRY(cyc_relion_emit(c, "max-tilt", cyc_relion_text(c, "--max_frame")));
	CYC_TRY(cyc_relion_emit(c, "exclude-negative-scales", NULL));
	CYC_TRY(cyc_relion_emit_threads(c, (int64_t)cyc_relion_number(c, "--j")));
done:
	return st;
}

static const cyc_job_variable VARIABLES[] = {
	CYC_JOB_PROJECT_VARIABLES,
	CYC_JOB_REFERENCE_VARIABLES,
	{ .variable = "box_size", .becomes = CYC_JOB_VALUE, .option = "--b", .what = "box" },
	{ .variable = "do_defocus", .becomes = CYC_JOB_FLAG, .option = "--do_defocus", .what = "refine defocus" },
	{ .variable = "focus_range",
	  .becomes = CYC_JOB_READ,
	  .option = "--d1",
	  .what = "range of the defocus search" },
	{ .variable = "do_reg_def",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--do_reg_defocus",
	  .needs = "do_defocus",
	  .what = "regularise defocus" },
	{ .variable = "lambda", .becomes = CYC_JOB_READ, .option = "--lambda", .what = "strength of that" },
	{ .variable = "do_scale",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--do_scale",
	  .what = "refine contrast scale" },
	{ .variable = "do_frame_scale",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--per_frame_scale",
	  .needs = "do_scale",
	  .what = "scale per frame" },
	{ .variable = "do_tomo_scale",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--per_tomo_scale",
	  .needs = "do_scale",
	  .what = "scale per tomogram" },
	{ .variable = "do_even_aberrations",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--do_even_aberrations",
	  .what = "even aberrations" },
	{ .variable = "do_odd_aberrations",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--do_odd_aberrations",
	  .what = "odd aberrations" },
	{ .variable = "nr_threads", .becomes = CYC_JOB_VALUE, .option = "--j", .what = "threads" },
};

static cyc_status map_job(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	char *low = NULL;
	const char *range = cyc_job_text(j, "focus_range"), *lambda = cyc_job_text(j, "lambda");
	CYC_TRY(cyc_job_emit_project(j));
	CYC_TRY(cyc_job_emit_reference(j));
	CYC_TRY(cyc_job_emit(j, "--o", j->folder));
	if (cyc_job_is_yes(j, "do_defocus") && range[0]) {
		CYC_TRY(cyc_asprintf(&low, "-%s", range));
		CYC_TRY(cyc_job_emit(j, "--d0", low));
		CYC_TRY(cyc_job_emit(j, "--d1", range));
		if (cyc_job_is_yes(j, "do_reg_def") && lambda[0]) CYC_TRY(cyc_job_emit(j, "--lambda", lambda));
	}
	if (j->is_continued) CYC_TRY(cyc_job_emit(j, "--only_do_unfinished", NULL));
done:
	cyc_free(low);
	return st;
}

extern const cyc_relion_program cyc_relion_refine_ctf;
const cyc_relion_program cyc_relion_refine_ctf = {
	.name = "relion_tomo_refine_ctf",
	.summary = "Defocus, astigmatism and contrast scale of every tilt image",
	.command = "ctfrefine",
	.run = cyc_cmd_ctfrefine,
	.table = &cyc_ctfrefine_table,
	CYC_RELION_TABLES(OPTIONS, VARIABLES),
	.translate = translate,
	.job_type = "relion.ctfrefinetomo",
	.map_job = map_job,
};

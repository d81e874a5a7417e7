#include "relion.h"

#include "cyclotomo/map.h"

#include <string.h>

cyc_status cyc_cmd_postprocess(int argc, char **argv);

static const char AUTO_MASK[] =
	"make the mask with relion_mask_create and give it with --mask: RELION's program refuses this too";
static const char MASK_FILE[] = "make masks with relion_mask_create";

static const cyc_relion_option OPTIONS[] = {
	{ .name = "Mask", .type = CYC_OPT_HEADING },
	{ .name = "--auto_mask",
	  .type = CYC_OPT_FLAG,
	  .help = "Obsolete: make a mask.",
	  .becomes = CYC_RELION_UNSUPPORTED,
	  .note = AUTO_MASK },
	{ .name = "--inimask_threshold",
	  .type = CYC_OPT_DOUBLE,
	  .help = "Obsolete: for the automatic mask.",
	  .value = "0.02",
	  .becomes = CYC_RELION_INERT,
	  .note = MASK_FILE },
	{ .name = "--extend_inimask",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<px>",
	  .help = "Obsolete: for the automatic mask.",
	  .value = "3",
	  .becomes = CYC_RELION_INERT,
	  .note = MASK_FILE },
	{ .name = "--width_mask_edge",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<px>",
	  .help = "Obsolete: for the automatic mask.",
	  .value = "6",
	  .becomes = CYC_RELION_INERT,
	  .note = MASK_FILE },
	{ .name = "Sharpening", .type = CYC_OPT_HEADING },
	{ .name = "--auto_bfac",
	  .type = CYC_OPT_FLAG,
	  .help = "Fit the B-factor.",
	  .becomes = CYC_RELION_READ,
	  .to = "auto-bfactor" },
	{ .name = "--adhoc_bfac",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<Å²>",
	  .help = "Use this B-factor.",
	  .value = "0",
	  .becomes = CYC_RELION_READ,
	  .to = "adhoc-bfactor",
	  .note = "without this and --auto_bfac the map is not sharpened (0)" },
	{ .name = "FSC", .type = CYC_OPT_HEADING },
	{ .name = "--interpolate",
	  .type = CYC_OPT_FLAG,
	  .help = "Also print the interpolated resolution.",
	  .becomes = CYC_RELION_SAME,
	  .to = "interpolate" },
	{ .name = "--random_seed",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "Seed of the random phases; negative: from the clock.",
	  .value = "0",
	  .becomes = CYC_RELION_READ,
	  .to = "seed",
	  .note = "never from the clock: the same input gives the same result" },
	{ .name = "--verb",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "0: print nothing.",
	  .value = "1",
	  .becomes = CYC_RELION_READ,
	  .to = "quiet",
	  .note = "at 0" },
	{ .name = "Local resolution", .type = CYC_OPT_HEADING },
	{ .name = "--locres",
	  .type = CYC_OPT_FLAG,
	  .help = "Local resolution.",
	  .becomes = CYC_RELION_SAME,
	  .to = "locres",
	  .note = "written in addition to the post-processing results, which RELION then leaves out" },
	CYC_RELION_COMMON_OPTIONS,
	{ .name = "--compare-to",
	  .type = CYC_OPT_TEXT,
	  .unit = "<star>",
	  .help = "Optimisation set of another state, to compare with.",
	  .becomes = CYC_RELION_OWN },
	{ .name = "--j",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "Threads; default 1, as in RELION's program.",
	  .value = "1",
	  .becomes = CYC_RELION_READ,
	  .to = "threads" },
};

static cyc_status translate(cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	bool is_auto = cyc_relion_is_given(c, "--auto_bfac"),
		 has_adhoc = fabs(cyc_relion_number(c, "--adhoc_bfac")) > 0.0;
	double seed = cyc_relion_number(c, "--random_seed");
	CYC_CHECK(!(is_auto && has_adhoc), CYC_E_USAGE, "--auto_bfac and --adhoc_bfac exclude each other");
	if (is_auto) CYC_TRY(cyc_relion_emit(c, "auto-bfactor", NULL));
	else CYC_TRY(cyc_relion_emit(c, "adhoc-bfactor", cyc_relion_text(c, "--adhoc_bfac")));
	if (seed < 0.0)
		cyc_warn("--random_seed %g asks for a seed from the clock; 0 is used instead, so that the result is "
		         "reproducible",
		         seed);
	else if (cyc_relion_is_given(c, "--random_seed")) CYC_TRY(cyc_relion_emit_number(c, "seed", seed));
	if (cyc_relion_number(c, "--verb") < 1.0) CYC_TRY(cyc_relion_emit(c, "quiet", NULL));
	CYC_TRY(cyc_relion_emit_threads(c, (int64_t)cyc_relion_number(c, "--j")));
done:
	return st;
}

static const cyc_job_variable VARIABLES[] = {
	{ .variable = "fn_in", .becomes = CYC_JOB_VALUE, .option = "--i", .what = "half map" },
	{ .variable = "fn_mask", .becomes = CYC_JOB_VALUE, .option = "--mask", .what = "mask" },
	{ .variable = "angpix", .becomes = CYC_JOB_VALUE, .option = "--angpix", .what = "pixel size" },
	{ .variable = "do_auto_bfac",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--auto_bfac",
	  .what = "fit the B-factor" },
	{ .variable = "autob_lowres",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--autob_lowres",
	  .needs = "do_auto_bfac",
	  .what = "lowest resolution of the fit" },
	{ .variable = "do_adhoc_bfac",
	  .becomes = CYC_JOB_READ,
	  .what = "own B-factor",
	  .fate = CYC_JOB_HONOURED },
	{ .variable = "adhoc_bfac",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--adhoc_bfac",
	  .needs = "do_adhoc_bfac",
	  .what = "its value" },
	{ .variable = "do_skip_fsc_weighting",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--skip_fsc_weighting",
	  .what = "skip FSC weighting" },
	{ .variable = "low_pass",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--low_pass",
	  .needs = "do_skip_fsc_weighting",
	  .what = "low-pass filter instead" },
	{ .variable = "fn_mtf", .becomes = CYC_JOB_VALUE, .option = "--mtf", .what = "MTF" },
	{ .variable = "mtf_angpix",
	  .becomes = CYC_JOB_READ,
	  .option = "--mtf_angpix",
	  .what = "pixel size of the detector" },
};

static cyc_status map_job(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	char *output = NULL;
	if (cyc_job_text(j, "fn_mtf")[0] && cyc_job_text(j, "mtf_angpix")[0])
		CYC_TRY(cyc_job_emit(j, "--mtf_angpix", cyc_job_text(j, "mtf_angpix")));
	CYC_TRY(cyc_asprintf(&output, "%spostprocess", j->folder));
	CYC_TRY(cyc_job_emit(j, "--o", output));
done:
	cyc_free(output);
	return st;
}

extern const cyc_relion_program cyc_relion_postprocess;
const cyc_relion_program cyc_relion_postprocess = {
	.name = "relion_postprocess",
	.summary = "FSC, resolution, sharpened map, local resolution",
	.command = "postprocess",
	.run = cyc_cmd_postprocess,
	.table = &cyc_postprocess_table,
	CYC_RELION_TABLES(OPTIONS, VARIABLES),
	.translate = translate,
	.job_type = "relion.postprocess",
	.map_job = map_job,
};

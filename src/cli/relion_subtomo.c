#include "relion.h"

#include "cyclotomo/extract.h"

#include <string.h>

cyc_status cyc_cmd_extract(int argc, char **argv);

static const cyc_relion_option OPTIONS[] = {
	{ .name = "Images", .type = CYC_OPT_HEADING },
	{ .name = "--min_frames",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "Minimum number of images of a particle.",
	  .value = "1",
	  .becomes = CYC_RELION_READ,
	  .to = "min-frames",
	  .note = "0 would keep particles without any image and is refused" },
	{ .name = "--grid_precorr",
	  .type = CYC_OPT_FLAG,
	  .help = "Gridding correction of the images.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--real_subtomo",
	  .type = CYC_OPT_FLAG,
	  .help = "Cut from reconstructed tomograms.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "Volumes", .type = CYC_OPT_HEADING },
	{ .name = "--multi",
	  .type = CYC_OPT_FLAG,
	  .help = "Also write multiplicity volumes.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--ctf",
	  .type = CYC_OPT_FLAG,
	  .help = "Also write CTF² volumes.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--div",
	  .type = CYC_OPT_FLAG,
	  .help = "Also write CTF-corrected volumes.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--nrm",
	  .type = CYC_OPT_FLAG,
	  .help = "Also write volumes divided by their multiplicity.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--no_comb",
	  .type = CYC_OPT_FLAG,
	  .help = "Do not write weight volumes.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--sum",
	  .type = CYC_OPT_FLAG,
	  .help = "Also write the sum of all volumes.",
	  .becomes = CYC_RELION_UNSUPPORTED,
	  .note = "relion_tomo_reconstruct_particle makes a better map" },
	{ .name = "--no_writing",
	  .type = CYC_OPT_FLAG,
	  .help = "Write only the sum.",
	  .becomes = CYC_RELION_UNSUPPORTED,
	  .note = "relion_tomo_reconstruct_particle makes a better map" },
	{ .name = "--SNR",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<ratio>",
	  .help = "Wiener constant of the sum and the CTF-corrected volumes.",
	  .value = "-1",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "neither is written" },
	{ .name = "--taper",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<px>",
	  .help = "Soft edge of CTF-corrected volumes.",
	  .value = "5",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "they are not written" },
	{ .name = "--no_center",
	  .type = CYC_OPT_FLAG,
	  .help = "Keep the mean of CTF-corrected volumes.",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "they are not written" },
	{ .name = "--env",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<px>",
	  .help = "Nothing.",
	  .value = "-1",
	  .becomes = CYC_RELION_INERT },
	{ .name = "Work", .type = CYC_OPT_HEADING },
	{ .name = "--diag",
	  .type = CYC_OPT_FLAG,
	  .help = "Diagnostic images.",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "RELION's diagnostic images are not written" },
	CYC_RELION_THREADS_OPTION("6"),
	CYC_RELION_COMMON_OPTIONS,
};

static cyc_status translate(cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	double n = cyc_relion_number(c, "--min_frames");
	CYC_CHECK(n >= 0.0, CYC_E_USAGE, "--min_frames must not be negative, got %g", n);
	if (n < 1.0) {
		st = cyc_error_raise(CYC_E_UNSUPPORTED, __FILE__, __LINE__, __func__,
		                     "--min_frames 0 is not supported: particles without any image have no stack");
		cyc_error_hint("leave it out or give 1");
		goto done;
	}
	if (cyc_relion_is_given(c, "--min_frames"))
		CYC_TRY(cyc_relion_emit(c, "min-frames", cyc_relion_text(c, "--min_frames")));
	CYC_TRY(cyc_relion_emit(c, "exclude-negative-scales", NULL));
	CYC_TRY(cyc_relion_emit_threads(c, (int64_t)cyc_relion_number(c, "--j")));
done:
	return st;
}

static const cyc_job_variable VARIABLES[] = {
	CYC_JOB_PROJECT_VARIABLES,
	{ .variable = "box_size", .becomes = CYC_JOB_VALUE, .option = "--b", .what = "box" },
	{ .variable = "crop_size", .becomes = CYC_JOB_VALUE, .option = "--crop", .what = "cropped box" },
	{ .variable = "binning", .becomes = CYC_JOB_VALUE, .option = "--bin", .what = "binning" },
	{ .variable = "max_dose", .becomes = CYC_JOB_VALUE, .option = "--max_dose", .what = "maximum dose" },
	{ .variable = "min_frames",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--min_frames",
	  .what = "minimum number of frames" },
	{ .variable = "do_stack2d", .becomes = CYC_JOB_FLAG, .option = "--stack2d", .what = "2D stacks" },
	{ .variable = "do_float16", .becomes = CYC_JOB_FLAG, .option = "--float16", .what = "float16" },
	{ .variable = "do_real_subtomo",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--real_subtomo",
	  .what = "real 3D subtomograms (RELION 5.1)" },
	{ .variable = "nr_threads", .becomes = CYC_JOB_VALUE, .option = "--j", .what = "threads" },
};

static cyc_status map_job(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_job_emit_project(j));
	CYC_TRY(cyc_job_emit(j, "--o", j->folder));
	if (j->is_continued) CYC_TRY(cyc_job_emit(j, "--only_do_unfinished", NULL));
done:
	return st;
}

extern const cyc_relion_program cyc_relion_subtomo;
const cyc_relion_program cyc_relion_subtomo = {
	.name = "relion_tomo_subtomo",
	.summary = "Cut particles out of the tilt images, as 2D stacks or 3D volumes",
	.command = "extract",
	.run = cyc_cmd_extract,
	.table = &cyc_extract_table,
	CYC_RELION_TABLES(OPTIONS, VARIABLES),
	.translate = translate,
	.job_type = "relion.pseudosubtomo",
	.map_job = map_job,
};

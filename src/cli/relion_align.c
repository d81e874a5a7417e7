#include "relion.h"

#include "cyclotomo/polish.h"

#include <string.h>

cyc_status cyc_cmd_polish(int argc, char **argv);

static const cyc_relion_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	CYC_RELION_REFERENCE_OPTIONS,
	{ .name = "What is refined", .type = CYC_OPT_HEADING },
	{ .name = "--it",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "Maximum number of iterations.",
	  .value = "10000",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "it stops when nothing changes any more" },
	{ .name = "--shift_only_by_particles",
	  .type = CYC_OPT_FLAG,
	  .help = "One shift per tilt, from the particles.",
	  .becomes = CYC_RELION_SAME,
	  .to = "shift-only-by-particles",
	  .note = "also without --shift_only" },
	{ .name = "--range_reg",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<strength>",
	  .help = "Penalty outside the search range.",
	  .value = "0",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "Motion", .type = CYC_OPT_HEADING },
	{ .name = "--s_vel",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<Å/(e/Å2)>",
	  .help = "Expected speed.",
	  .value = "0.5",
	  .becomes = CYC_RELION_SAME,
	  .to = "velocity-sigma",
	  .passes_default = true,
	  .note = "learned from the images unless --fixed-speed" },
	{ .name = "--abs_params",
	  .type = CYC_OPT_FLAG,
	  .help = "Do not scale by the dose.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "Deformation", .type = CYC_OPT_HEADING },
	{ .name = "--def_reg",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<strength>",
	  .help = "Its prior.",
	  .value = "0",
	  .becomes = CYC_RELION_SAME,
	  .to = "deformation-regulariser",
	  .note = "0: displacements of about a pixel are expected" },
	{ .name = "Evidence", .type = CYC_OPT_HEADING },
	{ .name = "--pad",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<factor>",
	  .help = "Padding of the correlation.",
	  .value = "1",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "correlations are sampled as finely as their band limit needs" },
	{ .name = "--no_whiten",
	  .type = CYC_OPT_FLAG,
	  .help = "Do not flatten the noise.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--hp",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<px>",
	  .help = "High-pass.",
	  .value = "-1",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--srp",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<power>",
	  .help = "Ramp on the weights.",
	  .value = "0",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--max_frame",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "Last tilt; 0 or less: all.",
	  .value = "-1",
	  .becomes = CYC_RELION_READ,
	  .to = "last-tilt" },
	{ .name = "--aniso", .type = CYC_OPT_FLAG, .help = "Nothing.", .becomes = CYC_RELION_INERT },
	{ .name = "--per_tilt_aniso", .type = CYC_OPT_FLAG, .help = "Nothing.", .becomes = CYC_RELION_INERT },
	{ .name = "--whiten_abs", .type = CYC_OPT_FLAG, .help = "Nothing.", .becomes = CYC_RELION_INERT },
	{ .name = "Work", .type = CYC_OPT_HEADING },
	CYC_RELION_THREADS_OPTION("6"),
	CYC_RELION_COMMON_OPTIONS,
};

static cyc_status translate(cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	bool is_shift_only =
		cyc_relion_is_given(c, "--shift_only") || cyc_relion_is_given(c, "--shift_only_by_particles");
	CYC_CHECK(!(is_shift_only && cyc_relion_is_given(c, "--motion")), CYC_E_USAGE,
	          "--motion and --shift_only exclude each other");
	if (cyc_relion_number(c, "--max_frame") > 0.0)
		CYC_TRY(cyc_relion_emit(c, "last-tilt", cyc_relion_text(c, "--max_frame")));
	CYC_TRY(cyc_relion_emit(c, "exclude-negative-scales", NULL));
	CYC_TRY(cyc_relion_emit_threads(c, (int64_t)cyc_relion_number(c, "--j")));
done:
	return st;
}

static const cyc_job_variable VARIABLES[] = {
	CYC_JOB_PROJECT_VARIABLES,
	CYC_JOB_REFERENCE_VARIABLES,
	{ .variable = "box_size", .becomes = CYC_JOB_VALUE, .option = "--b", .what = "box" },
	{ .variable = "max_error", .becomes = CYC_JOB_VALUE, .option = "--r", .what = "largest position error" },
	{ .variable = "do_shift_align",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--shift_only",
	  .what = "only shifts" },
	{ .variable = "shift_align_type",
	  .becomes = CYC_JOB_READ,
	  .option = "--shift_only_by_particles",
	  .what = "shifts of entire micrographs or by particles only" },
	{ .variable = "do_motion", .becomes = CYC_JOB_FLAG, .option = "--motion", .what = "per-particle motion" },
	{ .variable = "sigma_vel",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--s_vel",
	  .needs = "do_motion",
	  .what = "velocity" },
	{ .variable = "sigma_div",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--s_div",
	  .needs = "do_motion",
	  .what = "divergence" },
	{ .variable = "do_sq_exp_ker",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--sq_exp_ker",
	  .needs = "do_motion",
	  .what = "Gaussian decay" },
	{ .variable = "nr_threads", .becomes = CYC_JOB_VALUE, .option = "--j", .what = "threads" },
};

static cyc_status map_job(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_job_emit_project(j));
	CYC_TRY(cyc_job_emit_reference(j));
	CYC_TRY(cyc_job_emit(j, "--o", j->folder));
	if (cyc_job_is_yes(j, "do_shift_align") &&
	    strcmp(cyc_job_text(j, "shift_align_type"), "Only particles") == 0)
		CYC_TRY(cyc_job_emit(j, "--shift_only_by_particles", NULL));
	if (j->is_continued) CYC_TRY(cyc_job_emit(j, "--only_do_unfinished", NULL));
done:
	return st;
}

extern const cyc_relion_program cyc_relion_align;
const cyc_relion_program cyc_relion_align = {
	.name = "relion_tomo_align",
	.summary = "Refine tilt geometry, particle positions and beam-induced motion",
	.command = "polish",
	.run = cyc_cmd_polish,
	.table = &cyc_polish_table,
	CYC_RELION_TABLES(OPTIONS, VARIABLES),
	.translate = translate,
	.job_type = "relion.framealigntomo",
	.map_job = map_job,
};

#include "relion.h"

#include "cyclotomo/map.h"

#include <stdlib.h>

cyc_status cyc_cmd_mask(int argc, char **argv);

#define SECOND_MAP(spelling, text)                                                                           \
	{                                                                                                        \
		.name = "--" spelling, .type = CYC_OPT_TEXT, .unit = "<map>", .help = text,                          \
		.becomes = CYC_RELION_READ, .to = spelling,                                                          \
		.note = "if several are given the first of and, or, and_not, or_not is used"                         \
	}

static const cyc_relion_option OPTIONS[] = {
	SECOND_MAP("and", "Mask where both maps are above the threshold."),
	SECOND_MAP("or", "Mask where at least one of the maps is."),
	SECOND_MAP("and_not", "Mask where the first is above and this one below."),
	SECOND_MAP("or_not", "Mask where the first is above or this one below."),
	{ .name = "--ini_threshold",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<grey>",
	  .help = "Voxels with this value or more are inside.",
	  .value = "0.01",
	  .becomes = CYC_RELION_READ,
	  .to = "threshold",
	  .note = "0.01 unless given; never automatic" },
	CYC_RELION_THREADS_OPTION("1"),
	CYC_RELION_COMMON_OPTIONS,
};

static cyc_status translate(cyc_relion_call *c)
{
	static const struct {
		const char *relion, *to;
	} SECOND[] = {
		{ "--and", "and" }, { "--or", "or" }, { "--and_not", "and-not" }, { "--or_not", "or-not" }
	};
	cyc_status st = CYC_OK;
	const char *used = NULL;
	for (size_t i = 0; i < sizeof SECOND / sizeof *SECOND; i++) {
		if (!cyc_relion_is_given(c, SECOND[i].relion)) continue;
		if (used) {
			cyc_warn("%s is not used: of several second maps RELION uses that of %s", SECOND[i].relion, used);
			continue;
		}
		used = SECOND[i].relion;
		CYC_TRY(cyc_relion_emit(c, SECOND[i].to, cyc_relion_text(c, used)));
	}
	if (!cyc_relion_is_given(c, "--denovo"))
		CYC_TRY(cyc_relion_emit(c, "threshold", cyc_relion_text(c, "--ini_threshold")));
	CYC_TRY(cyc_relion_emit_threads(c, (int64_t)cyc_relion_number(c, "--j")));
done:
	return st;
}

static const cyc_job_variable VARIABLES[] = {
	{ .variable = "fn_in", .becomes = CYC_JOB_VALUE, .option = "--i", .what = "map" },
	{ .variable = "lowpass_filter",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--lowpass",
	  .what = "low-pass filter" },
	{ .variable = "angpix", .becomes = CYC_JOB_VALUE, .option = "--angpix", .what = "pixel size" },
	{ .variable = "inimask_threshold",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--ini_threshold",
	  .what = "threshold" },
	{ .variable = "extend_inimask",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--extend_inimask",
	  .what = "extend" },
	{ .variable = "width_mask_edge",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--width_soft_edge",
	  .what = "soft edge" },
	{ .variable = "do_helix", .becomes = CYC_JOB_FLAG, .option = "--helix", .what = "helix" },
	{ .variable = "helical_z_percentage",
	  .becomes = CYC_JOB_READ,
	  .option = "--z_percentage",
	  .what = "central part of the helix" },
	{ .variable = "nr_threads", .becomes = CYC_JOB_VALUE, .option = "--j", .what = "threads" },
};

static cyc_status map_job(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	char *output = NULL, fraction[32];
	CYC_TRY(cyc_asprintf(&output, "%smask.mrc", j->folder));
	CYC_TRY(cyc_job_emit(j, "--o", output));
	if (cyc_job_is_yes(j, "do_helix") && cyc_job_text(j, "helical_z_percentage")[0]) {
		snprintf(fraction, sizeof fraction, "%.10g",
		         strtod(cyc_job_text(j, "helical_z_percentage"), NULL) / 100.0);
		CYC_TRY(cyc_job_emit(j, "--z_percentage", fraction));
	}
done:
	cyc_free(output);
	return st;
}

extern const cyc_relion_program cyc_relion_mask_create;
const cyc_relion_program cyc_relion_mask_create = {
	.name = "relion_mask_create",
	.summary = "Make a soft solvent mask from a map",
	.command = "mask",
	.run = cyc_cmd_mask,
	.table = &cyc_mask_table,
	CYC_RELION_TABLES(OPTIONS, VARIABLES),
	.translate = translate,
	.job_type = "relion.maskcreate",
	.map_job = map_job,
};

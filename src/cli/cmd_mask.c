#include "command.h"

#include "cyclotomo/map.h"

#include <math.h>
#include <string.h>

/* RELION has an option per way of combining, each naming the second map. */
enum { N_COMBINE = 4 };

typedef struct {
	cyc_common_options common;
	cyc_mask_options o;
	const char *combine[N_COMBINE]; /* by cyc_mask_options.combine */
	double centre_px[3];
} mask_args;

#define ARG(type, name, member, ...) CYC_OPTION(mask_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	CYC_NESTED(mask_args, o, &cyc_mask_table),
	CYC_HEADING("With a second map"),
	ARG(TEXT, "and", combine[CYC_MASK_AND], .unit = "<map>",
	    .help = "Mask where both maps are above the threshold."),
	ARG(TEXT, "or", combine[CYC_MASK_OR], .unit = "<map>", .help = "Mask where at least one of them is."),
	ARG(TEXT, "and-not", combine[CYC_MASK_AND_NOT], .alias = "--and_not", .unit = "<map>",
	    .help = "Mask where the first is above and this one is below."),
	ARG(TEXT, "or-not", combine[CYC_MASK_OR_NOT], .alias = "--or_not", .unit = "<map>",
	    .help = "Mask where the first is above or this one is below."),
	CYC_COMMON_OPTIONS(mask_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"mask", "Make a soft solvent mask from a map",
	"The map is low-pass filtered, voxels at or above a threshold are taken as the particle, and the mask is "
	"extended and given\n"
	"a soft edge. Without --threshold a suitable one is found from the grey values, and printed:\n"
	"  cyclotomo mask --i Reconstruct/job001/merged.mrc --o mask.mrc",
	OPTIONS);

static void report(const mask_args *a, const cyc_mask_result *r)
{
	if (!isnan(r->threshold))
		printf("threshold %.6g%s\n", r->threshold, a->o.has_threshold ? "" : " (automatic)");
	printf("mask of %.2f %% of the box, %d px, %.4f Å/px: %s\n", 100.0 * r->volume_frac, r->box_px,
	       r->pixel_size_A, a->o.output);
}

cyc_status cyc_cmd_mask(int argc, char **argv);
cyc_status cyc_cmd_mask(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	mask_args a = { 0 };
	cyc_run run = { 0 };
	cyc_mask_result result = { 0 };
	cyc_mask_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	if (!a.o.output) a.o.output = "mask.mrc";
	for (int i = N_COMBINE - 1; i >= 0; i--) {
		if (!a.combine[i]) continue;
		CYC_CHECK(!a.o.combine_with, CYC_E_USAGE, "--and, --or, --and-not and --or-not exclude each other");
		a.o.combine_with = a.combine[i];
		a.o.combine = (cyc_mask_combine)i;
	}
	CYC_TRY(cyc_mask_spare_inputs(&a.o));
	if (!a.o.dry_run) CYC_TRY(cyc_run_job_file(&run, a.o.output, "relion.maskcreate"));
	CYC_TRY(cyc_run_input(&run, "map", a.o.input));
	CYC_TRY(cyc_run_input(&run, "second map", a.o.combine_with));
	CYC_TRY(cyc_mask_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "mask", a.o.output));
	report(&a, &result);
done:
	return cyc_run_end(&run, st);
}

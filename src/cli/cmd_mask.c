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

#define O(member) offsetof(mask_args, o.member)

static const cyc_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	{ .name = "input",
	  .alias = "--i",
	  .type = CYC_OPT_TEXT,
	  .offset = O(input),
	  .unit = "<map>",
	  .help = "Map that the mask is made from." },
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(output),
	  .unit = "<mask>",
	  .help = "Mask to write.",
	  .no_default = "mask.mrc" },
	{ .name = "pixel-size",
	  .alias = "--angpix",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(pixel_size_A),
	  .unit = "<Å>",
	  .help = "Pixel size, in place of the one in the header.",
	  .no_default = "header" },
	{ .name = "Mask", .type = CYC_OPT_HEADING },
	{ .name = "threshold",
	  .alias = "--ini_threshold",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(threshold),
	  .is_set = O(has_threshold),
	  .unit = "<grey>",
	  .help = "Voxels of this value and more are inside.",
	  .no_default = "automatic, and printed" },
	{ .name = "lowpass",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(lowpass_A),
	  .is_set = O(has_lowpass),
	  .unit = "<Å>",
	  .help = "Low-pass the map first; negative or 0: not.",
	  .no_default = "15 with the automatic threshold, else off" },
	{ .name = "extend",
	  .alias = "--extend_inimask",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(extend_px),
	  .is_set = O(has_extend),
	  .unit = "<px>",
	  .help = "Grow the mask by this much (strictly less: 1 does nothing); negative: shrink it.",
	  .no_default = "3 with the automatic threshold, else 0" },
	{ .name = "soft-edge",
	  .alias = "--width_soft_edge",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(soft_edge_px),
	  .is_set = O(has_soft_edge),
	  .unit = "<px>",
	  .help = "Width of the raised-cosine edge outside of it.",
	  .no_default = "6 with the automatic threshold, else 0" },
	{ .name = "invert", .type = CYC_OPT_FLAG, .offset = O(invert), .help = "Write 1 - mask." },
	{ .name = "With a second map", .type = CYC_OPT_HEADING },
	{ .name = "and",
	  .type = CYC_OPT_TEXT,
	  .offset = offsetof(mask_args, combine[CYC_MASK_AND]),
	  .unit = "<map>",
	  .help = "Inside where both maps are above the threshold." },
	{ .name = "or",
	  .type = CYC_OPT_TEXT,
	  .offset = offsetof(mask_args, combine[CYC_MASK_OR]),
	  .unit = "<map>",
	  .help = "Inside where one of them is above." },
	{ .name = "and-not",
	  .alias = "--and_not",
	  .type = CYC_OPT_TEXT,
	  .offset = offsetof(mask_args, combine[CYC_MASK_AND_NOT]),
	  .unit = "<map>",
	  .help = "Inside where the first is above and this one is below." },
	{ .name = "or-not",
	  .alias = "--or_not",
	  .type = CYC_OPT_TEXT,
	  .offset = offsetof(mask_args, combine[CYC_MASK_OR_NOT]),
	  .unit = "<map>",
	  .help = "Inside where the first is above or this one is below." },
	{ .name = "Helices", .type = CYC_OPT_HEADING },
	{ .name = "helix",
	  .type = CYC_OPT_FLAG,
	  .offset = O(helix),
	  .help = "Keep only the central part along z." },
	{ .name = "helix-z",
	  .alias = "--z_percentage",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(helix_z_frac),
	  .unit = "<fraction>",
	  .help = "Part of the box that is kept, 0.1 to 0.9." },
	{ .name = "Without a map", .type = CYC_OPT_HEADING },
	{ .name = "denovo", .type = CYC_OPT_FLAG, .offset = O(denovo), .help = "Make a spherical shell." },
	{ .name = "box-size",
	  .alias = "--box_size",
	  .type = CYC_OPT_INT,
	  .offset = O(box_px),
	  .unit = "<px>",
	  .help = "Box of the mask." },
	{ .name = "inner-radius",
	  .alias = "--inner_radius",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(inner_radius_px),
	  .unit = "<px>",
	  .help = "Inner radius of the shell." },
	{ .name = "outer-radius",
	  .alias = "--outer_radius",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(outer_radius_px),
	  .unit = "<px>",
	  .help = "Outer radius of the shell." },
	{ .name = "centre-x",
	  .alias = "--center_x",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(centre_px[0]),
	  .unit = "<px>",
	  .help = "Centre, from the centre of the box." },
	{ .name = "centre-y",
	  .alias = "--center_y",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(centre_px[1]),
	  .unit = "<px>",
	  .help = "As above, y." },
	{ .name = "centre-z",
	  .alias = "--center_z",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(centre_px[2]),
	  .unit = "<px>",
	  .help = "As above, z." },
	{ .name = "dry-run",
	  .type = CYC_OPT_FLAG,
	  .offset = O(dry_run),
	  .help = "Check everything, say what would be done, and stop." },
	CYC_COMMON_OPTIONS(mask_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("mask", "Soft solvent mask from a map",
                    "The map is low-passed, voxels at and above a threshold are the particle, the mask is "
                    "extended and given a soft edge.\n"
                    "Without --threshold one is found that splits the grey values best in two, and printed:\n"
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
		CYC_CHECK(!a.o.combine_with, CYC_E_USAGE, "only one of --and, --or, --and-not, --or-not can be used");
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

#include "command.h"

#include "cyclotomo/reconstruct.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_reconstruct_options o;
	int32_t ignored_threads[2];
	double ignored_memory;
} reconstruct_args;

#define O(member) offsetof(reconstruct_args, o.member)

static const cyc_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	CYC_PROJECT_INPUT_OPTIONS(reconstruct_args, o.input),
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(out_dir),
	  .unit = "<folder>",
	  .help = "Folder for the maps." },
	{ .name = "from-stacks",
	  .type = CYC_OPT_FLAG,
	  .offset = O(from_stacks),
	  .help = "Reconstruct from the 2D stacks of an extraction, which the particles name, instead of from "
	          "the tilt images." },
	{ .name = "Map", .type = CYC_OPT_HEADING },
	{ .name = "box",
	  .alias = "--b",
	  .type = CYC_OPT_INT,
	  .offset = O(box_px),
	  .unit = "<px>",
	  .min = "8",
	  .help =
	      "Box of the windows and full maps, binned pixels; room for the particle and what the CTF spreads.",
	  .no_default = "required; of stacks twice their box" },
	{ .name = "crop",
	  .type = CYC_OPT_INT,
	  .offset = O(crop_px),
	  .unit = "<px>",
	  .help = "Box of the final maps, binned pixels.",
	  .no_default = "no crop; of stacks their box" },
	{ .name = "bin",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(binning),
	  .unit = "<factor>",
	  .min = "1",
	  .help = "Binning of the tilt images." },
	{ .name = "symmetry",
	  .alias = "--sym",
	  .type = CYC_OPT_TEXT,
	  .offset = O(symmetry),
	  .unit = "<group>",
	  .help = "Point group: Cn, Dn, T, O, I1 to I4." },
	{ .name = "snr",
	  .alias = "--SNR",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(snr),
	  .unit = "<ratio>",
	  .help = "Signal-to-noise ratio of a Wiener filter.",
	  .no_default = "off: weights are only kept from vanishing" },
	{ .name = "taper",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(taper_px),
	  .unit = "<px>",
	  .help = "Soft edge of the sphere that the map is cut to." },
	{ .name = "absolute-scale",
	  .type = CYC_OPT_FLAG,
	  .offset = O(absolute_scale),
	  .help = "Grey values as density per unbinned voxel, instead of RELION's, which grow with sqrt(box) and "
	          "binning." },
	{ .name = "Helix", .type = CYC_OPT_HEADING },
	{ .name = "helical-units",
	  .alias = "--nr_helical_asu",
	  .type = CYC_OPT_INT,
	  .offset = O(helical_n_asu),
	  .unit = "<n>",
	  .min = "1",
	  .help = "Number of helical units to average; 1: no helix." },
	{ .name = "helical-rise",
	  .alias = "--helical_rise",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(helical_rise_A),
	  .unit = "<Å>",
	  .help = "Rise per unit." },
	{ .name = "helical-twist",
	  .alias = "--helical_twist",
	  .type = CYC_OPT_ANGLE,
	  .offset = O(helical_twist_rad),
	  .unit = "<degree>",
	  .help = "Twist per unit, positive for a right-handed helix." },
	{ .name = "Images", .type = CYC_OPT_HEADING },
	{ .name = "no-noise-weights",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_noise_weights),
	  .help = "Count all images alike, instead of by their contrast scale over their noise." },
	{ .name = "whiten",
	  .type = CYC_OPT_FLAG,
	  .offset = O(whiten),
	  .help = "Flatten the noise spectrum of each tilt image." },
	{ .name = "no-ctf",
	  .alias = "--no_ctf",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_ctf),
	  .help = "Neither CTF nor dose weighting." },
	{ .name = "no-circle-crop",
	  .alias = "--no_circle_crop",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_circle_crop),
	  .help = "Keep the corners of the windows." },
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
	  .help = "Leave out windows that are partly outside their image, instead of using them for what they "
	          "show, weighted by it." },
	{ .name = "crop-images",
	  .type = CYC_OPT_FLAG,
	  .offset = O(crop_images),
	  .help = "Crop images after they were multiplied by the CTF, as an extraction does, instead of windows "
	          "before: better where the box is small for the defocus." },
	{ .name = "listed-frames",
	  .type = CYC_OPT_FLAG,
	  .offset = O(listed_frames),
	  .help = "Use the images that rlnTomoVisibleFrames of extracted particles lists; pixels outside of them "
	          "repeat their border." },
	{ .name = "Work", .type = CYC_OPT_HEADING },
	{ .name = "resume",
	  .alias = "--only_do_unfinished",
	  .type = CYC_OPT_FLAG,
	  .offset = O(resume),
	  .help = "Continue an interrupted run of the same input." },
	{ .name = "no-backup",
	  .alias = "--no_backup",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_backup),
	  .help = "Keep no sums on disk to resume from." },
	{ .name = "backup-interval",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(backup_interval_s),
	  .unit = "<s>",
	  .min = "0",
	  .help = "Least time between two backups." },
	{ .name = "no-maps",
	  .alias = "--no_recon",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_maps),
	  .help = "Stop before the maps." },
	{ .name = "write-sums",
	  .type = CYC_OPT_FLAG,
	  .offset = O(write_sums),
	  .help = "Also write data_*.mrc and weight_*.mrc." },
	{ .name = "backend",
	  .type = CYC_OPT_TEXT,
	  .offset = O(backend),
	  .unit = "<name>",
	  .help = "What computes: cpu, or strict (a fake device, for testing)." },
	{ .name = "dry-run",
	  .type = CYC_OPT_FLAG,
	  .offset = O(dry_run),
	  .help = "Check everything, say what would be done, and stop." },
	{ .name = "j-in",
	  .alias = "--j_in",
	  .type = CYC_OPT_INT,
	  .offset = offsetof(reconstruct_args, ignored_threads[0]),
	  .unit = "<n>",
	  .help = "RELION's; accepted, not needed: all threads work on one sum." },
	{ .name = "j-out",
	  .alias = "--j_out",
	  .type = CYC_OPT_INT,
	  .offset = offsetof(reconstruct_args, ignored_threads[1]),
	  .unit = "<n>",
	  .help = "As --j-in." },
	{ .name = "mem",
	  .type = CYC_OPT_DOUBLE,
	  .offset = offsetof(reconstruct_args, ignored_memory),
	  .unit = "<GB>",
	  .help = "As --j-in." },
	CYC_COMMON_OPTIONS(reconstruct_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"reconstruct", "Half maps and merged map from the tilt images",
	"  cyclotomo reconstruct --i optimisation_set.star --b 192 --crop 96 --sym C6 --o Reconstruct/job001/\n"
	"writes half1.mrc, half2.mrc and merged.mrc (half1_full.mrc, ... before the crop) and an optimisation "
	"set\n"
	"that names them.",
	OPTIONS);

cyc_status cyc_cmd_reconstruct(int argc, char **argv);
cyc_status cyc_cmd_reconstruct(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	reconstruct_args a = { 0 };
	cyc_run run = { 0 };
	cyc_reconstruct_result result = { 0 };
	cyc_reconstruct_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_reconstruct_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir)
		CYC_TRY((a.o.dry_run ? cyc_run_check_job : cyc_run_job)(&run, a.o.out_dir,
		                                                        "relion.reconstructparticletomo"));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_RECONSTRUCT));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_reconstruct_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "half map 1", result.half1));
	CYC_TRY(cyc_run_output(&run, "half map 2", result.half2));
	CYC_TRY(cyc_run_output(&run, "merged map", result.merged));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	printf("%lld particles, %lld images: %s\n", (long long)result.n_particles, (long long)result.n_images,
	       result.merged ? result.merged : "sums only");
done:
	cyc_reconstruct_result_deinit(&result);
	return cyc_run_end(&run, st);
}

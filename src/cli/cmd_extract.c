#include "command.h"

#include "cyclotomo/extract.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_extract_options o;
} extract_args;

#define O(member) offsetof(extract_args, o.member)

static const cyc_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	CYC_PROJECT_INPUT_OPTIONS(extract_args, o.input),
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(out_dir),
	  .unit = "<folder>",
	  .help = "Folder for what is extracted." },
	{ .name = "stacks",
	  .alias = "--stack2d",
	  .type = CYC_OPT_FLAG,
	  .offset = O(stacks),
	  .help = "2D stacks of tilt images, instead of 3D volumes." },
	{ .name = "float16",
	  .type = CYC_OPT_FLAG,
	  .offset = O(float16),
	  .help = "Two bytes per voxel instead of four." },
	{ .name = "Images", .type = CYC_OPT_HEADING },
	{ .name = "box",
	  .alias = "--b",
	  .type = CYC_OPT_INT,
	  .offset = O(box_px),
	  .unit = "<px>",
	  .min = "8",
	  .help = "Box of the windows, binned pixels; room for the particle and what the CTF spreads.",
	  .no_default = "required" },
	{ .name = "crop",
	  .type = CYC_OPT_INT,
	  .offset = O(crop_px),
	  .unit = "<px>",
	  .help = "Box of what is written, binned pixels.",
	  .no_default = "no crop" },
	{ .name = "bin",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(binning),
	  .unit = "<factor>",
	  .min = "1",
	  .help = "Binning of the tilt images." },
	{ .name = "max-dose",
	  .alias = "--max_dose",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(max_dose_e_per_A2),
	  .unit = "<e/Å2>",
	  .help = "Leave out tilt images with a higher dose before them.",
	  .no_default = "no limit" },
	{ .name = "min-frames",
	  .alias = "--min_frames",
	  .type = CYC_OPT_INT,
	  .offset = O(min_frames),
	  .unit = "<n>",
	  .min = "1",
	  .help = "Leave out particles that fewer tilt images show." },
	{ .name = "no-ctf",
	  .alias = "--no_ctf",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_ctf),
	  .help = "Multiply neither by the CTF nor by dose weights." },
	{ .name = "no-inversion",
	  .alias = "--no_ic",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_inversion),
	  .help = "Leave particles dark." },
	{ .name = "no-circle-crop",
	  .alias = "--no_circle_crop",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_circle_crop),
	  .help = "Leave the corners of the images and their mean as they are." },
	{ .name = "circle-precrop",
	  .alias = "--circle_precrop",
	  .type = CYC_OPT_FLAG,
	  .offset = O(circle_precrop),
	  .help = "Cut windows to their circle before the CTF, too." },
	{ .name = "whiten",
	  .type = CYC_OPT_FLAG,
	  .offset = O(whiten),
	  .help = "Flatten the noise spectrum of each tilt image." },
	{ .name = "Poses", .type = CYC_OPT_HEADING },
	{ .name = "keep-offsets",
	  .alias = "--dont_apply_offsets",
	  .type = CYC_OPT_FLAG,
	  .offset = O(keep_offsets),
	  .help = "Cut at the coordinates and leave the offsets (rlnOrigin...); else offsets are taken into the "
	          "coordinates." },
	{ .name = "apply-orientations",
	  .alias = "--apply_orientations",
	  .type = CYC_OPT_FLAG,
	  .offset = O(apply_orientations),
	  .help = "Volumes in the orientation of the map: rlnAngle... become rlnTomoSubtomogram..." },
	{ .name = "Volumes", .type = CYC_OPT_HEADING },
	{ .name = "dose-cutoff",
	  .alias = "--cutoff_fract",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(cutoff_frac),
	  .unit = "<fraction>",
	  .min = "0",
	  .help = "Frequencies whose dose weight is not above this are not inserted." },
	{ .name = "cone-weight",
	  .alias = "--cone_weight",
	  .type = CYC_OPT_FLAG,
	  .offset = O(cone_weight),
	  .help = "Weight down a double cone along the z axis of the map, where membranes are." },
	{ .name = "cone-angle",
	  .alias = "--cone_angle",
	  .type = CYC_OPT_ANGLE,
	  .offset = O(cone_angle_rad),
	  .unit = "<degrees>",
	  .help = "Opening angle of the cone." },
	{ .name = "cone-sigma",
	  .alias = "--cone_sig0",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(cone_sigma_px),
	  .unit = "<px>",
	  .help = "Its width at the origin, Fourier pixels." },
	{ .name = "Work", .type = CYC_OPT_HEADING },
	{ .name = "resume",
	  .alias = "--only_do_unfinished",
	  .type = CYC_OPT_FLAG,
	  .offset = O(resume),
	  .help = "Keep what an interrupted run of the same input and options has finished." },
	{ .name = "backend",
	  .type = CYC_OPT_TEXT,
	  .offset = O(backend),
	  .unit = "<name>",
	  .help = "What computes: cpu, or strict (a fake device, for testing)." },
	{ .name = "dry-run",
	  .type = CYC_OPT_FLAG,
	  .offset = O(dry_run),
	  .help = "Check everything, say what would be done, and stop." },
	CYC_COMMON_OPTIONS(extract_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("extract", "Particles cut out of the tilt images, as 2D stacks or 3D volumes",
                    "  cyclotomo extract --i Polish/job003/optimisation_set.star --stacks --float16 --b 192 "
                    "--crop 96 --o Extract/job004/\n"
                    "writes a file (for volumes two) per particle into Subtomograms/, and a particles.star "
                    "and an optimisation set for\n"
                    "3D refinement.",
                    OPTIONS);

cyc_status cyc_cmd_extract(int argc, char **argv);
cyc_status cyc_cmd_extract(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	extract_args a = { 0 };
	cyc_run run = { 0 };
	cyc_extract_result result = { 0 };
	cyc_extract_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_extract_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir)
		CYC_TRY((a.o.dry_run ? cyc_run_check_job : cyc_run_job)(&run, a.o.out_dir, "relion.pseudosubtomo"));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_EXTRACT));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_extract_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "particles", result.particles));
	CYC_TRY(cyc_run_output(&run, "trajectories", result.trajectories));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	printf("%lld particles, %lld images, %.3g GB: %s\n", (long long)result.n_particles,
	       (long long)result.n_images, result.disk_bytes / 1e9, result.particles);
done:
	cyc_extract_result_deinit(&result);
	return cyc_run_end(&run, st);
}

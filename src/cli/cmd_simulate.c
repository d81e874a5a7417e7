#include "command.h"

#include "cyclotomo/simulate.h"

#include <string.h>

typedef struct {
	cyc_common_options common;
	cyc_simulate_options o;
	cyc_simulate_preset preset;
} simulate_args;

#define O(member) offsetof(simulate_args, o.member)

static const char PRESETS[] = "demo,tiny,large";

static const cyc_option OPTIONS[] = {
	{ .name = "Output", .type = CYC_OPT_HEADING },
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(out_dir),
	  .unit = "<folder>",
	  .help = "Project folder to write." },
	{ .name = "preset",
	  .type = CYC_OPT_CHOICE,
	  .offset = offsetof(simulate_args, preset),
	  .unit = "<name>",
	  .choices = PRESETS,
	  .help =
	      "Where the other options start from: the demonstration, a tiny set for tests, or large images." },
	{ .name = "force",
	  .type = CYC_OPT_FLAG,
	  .offset = O(force),
	  .help = "Write over a project that is there already." },
	{ .name = "stack",
	  .type = CYC_OPT_FLAG,
	  .offset = O(as_stack),
	  .help = "One .mrcs per tilt series instead of a file per image." },
	{ .name = "float32",
	  .type = CYC_OPT_FLAG,
	  .offset = O(float32),
	  .help = "Images as 4-byte floats instead of float16." },
	{ .name = "seed",
	  .alias = "--random_seed",
	  .type = CYC_OPT_INT64,
	  .offset = O(seed),
	  .unit = "<n>",
	  .min = "0",
	  .help = "Of all random numbers." },
	{ .name = "Sample", .type = CYC_OPT_HEADING },
	{ .name = "series", .type = CYC_OPT_INT, .offset = O(n_series), .unit = "<n>", .help = "Tilt series." },
	{ .name = "particles",
	  .type = CYC_OPT_INT,
	  .offset = O(n_particles),
	  .unit = "<n>",
	  .help = "Particles in each." },
	{ .name = "sym",
	  .type = CYC_OPT_TEXT,
	  .offset = O(symmetry),
	  .unit = "<group>",
	  .help = "Point group: C1, C2 ..., D2 ..., T, O, I." },
	{ .name = "radius",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(radius_A),
	  .unit = "<Å>",
	  .help = "Of the particle.",
	  .no_default = "0.3 of the box" },
	{ .name = "box",
	  .alias = "--b",
	  .type = CYC_OPT_INT,
	  .offset = O(box_px),
	  .unit = "<px>",
	  .help = "Edge of the true map and the masks." },
	{ .name = "bfactor",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(bfactor_A2),
	  .unit = "<Å²>",
	  .help = "B-factor of the atoms." },
	{ .name = "thickness",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(thickness_A),
	  .unit = "<Å>",
	  .help = "Of the ice." },
	{ .name = "subtomogram-angles",
	  .type = CYC_OPT_FLAG,
	  .offset = O(subtomogram_angles),
	  .help = "Split the poses between subtomogram and refined angles, with origin offsets." },
	{ .name = "Microscope", .type = CYC_OPT_HEADING },
	{ .name = "size",
	  .type = CYC_OPT_INT,
	  .offset = O(image_nx),
	  .unit = "<px>",
	  .help = "Width of the images." },
	{ .name = "size-y",
	  .type = CYC_OPT_INT,
	  .offset = O(image_ny),
	  .unit = "<px>",
	  .help = "Height of the images; 0: square." },
	{ .name = "edge-px",
	  .type = CYC_OPT_INT,
	  .offset = O(edge_px),
	  .unit = "<px>",
	  .help =
	      "Projected particles keep this distance from the image border in all tilts; 0: half of the box." },
	{ .name = "pixel-size",
	  .alias = "--angpix",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(pixel_size_A),
	  .unit = "<Å>",
	  .help = "Of the images." },
	{ .name = "tilts",
	  .type = CYC_OPT_INT,
	  .offset = O(n_tilts),
	  .unit = "<n>",
	  .help = "Tilt images, taken in the dose-symmetric order." },
	{ .name = "tilt-step",
	  .type = CYC_OPT_ANGLE,
	  .offset = O(tilt_step_rad),
	  .unit = "<degrees>",
	  .help = "Between neighbouring tilts." },
	{ .name = "dose",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(dose_e_per_A2),
	  .unit = "<e/Å²>",
	  .help = "Per tilt image." },
	{ .name = "voltage",
	  .alias = "--kV",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(voltage_kV),
	  .unit = "<kV>",
	  .help = "Acceleration voltage." },
	{ .name = "cs",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(spherical_aberration_mm),
	  .unit = "<mm>",
	  .help = "Spherical aberration." },
	{ .name = "amplitude-contrast",
	  .alias = "--Q0",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(amplitude_contrast_frac),
	  .unit = "<fraction>",
	  .help = "Amplitude contrast." },
	{ .name = "hand",
	  .type = CYC_OPT_INT,
	  .offset = O(hand),
	  .unit = "<1 or -1>",
	  .help = "Sign of the defocus slope along projected z." },
	{ .name = "defocus-min",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(defocus_min_A),
	  .unit = "<Å>",
	  .help = "Least mean underfocus of a series." },
	{ .name = "defocus-max",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(defocus_max_A),
	  .unit = "<Å>",
	  .help = "Largest mean underfocus of a series." },
	{ .name = "astigmatism",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(astigmatism_A),
	  .unit = "<Å>",
	  .help = "Half the difference of U and V." },
	{ .name = "aberrations",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(aberration_rad),
	  .unit = "<rad>",
	  .help = "Coma, trefoil, tetrafoil and spherical aberration: phase at Nyquist. Only truth/ has them in "
	          "its metadata." },
	{ .name = "magnification",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(magnification_frac),
	  .unit = "<fraction>",
	  .help = "Anisotropic magnification, as 0.01. Only truth/ has it in its metadata." },
	{ .name = "mean-free-path",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(mean_free_path_A),
	  .unit = "<Å>",
	  .help = "Of inelastic scattering in ice: contrast falls with the path as exp(-path/this)." },
	{ .name = "motion",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(motion_A),
	  .unit = "<Å>",
	  .help = "Beam-induced motion per tilt and axis, rms." },
	{ .name = "motion-length",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(motion_length_A),
	  .unit = "<Å>",
	  .help = "Distance over which it is alike." },
	{ .name = "signal",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(signal),
	  .unit = "<factor>",
	  .help =
	      "On the scattering of the particles; 1 is an ideal microscope and camera, 0 gives pure noise." },
	{ .name = "ice-noise",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(ice_noise),
	  .unit = "<ratio>",
	  .help = "Power of low-resolution noise to shot noise." },
	{ .name = "noise-free",
	  .type = CYC_OPT_FLAG,
	  .offset = O(noise_free),
	  .help = "Images without any noise." },
	{ .name = "Errors planted in the metadata, rms; 0 is none", .type = CYC_OPT_HEADING },
	{ .name = "error-defocus",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(error_defocus_A),
	  .unit = "<Å>",
	  .help = "Per tilt." },
	{ .name = "error-astigmatism",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(error_astigmatism_A),
	  .unit = "<Å>",
	  .help = "Per tilt, of the vector." },
	{ .name = "error-scale",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(error_scale),
	  .unit = "<fraction>",
	  .help = "Per tilt." },
	{ .name = "error-shift",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(error_shift_A),
	  .unit = "<Å>",
	  .help = "Per tilt and image axis." },
	{ .name = "error-angle",
	  .type = CYC_OPT_ANGLE,
	  .offset = O(error_angle_rad),
	  .unit = "<degrees>",
	  .help = "Per tilt, of each of the three angles." },
	{ .name = "error-position",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(error_position_A),
	  .unit = "<Å>",
	  .help = "Per particle and axis." },
	{ .name = "error-orientation",
	  .type = CYC_OPT_ANGLE,
	  .offset = O(error_orientation_rad),
	  .unit = "<degrees>",
	  .help = "Per particle." },
	CYC_COMMON_OPTIONS(simulate_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("simulate", "a small RELION-5 project with known truth",
                    "  cyclotomo simulate --o demo\n"
                    "  cyclotomo cycle --root demo --i optimisation_set.star --mask-align mask_align.mrc "
                    "--mask-fsc mask_fsc.mrc \\\n"
                    "            --b 128 --crop 96 --sym O --o Cycle\n"
                    "makes the demonstration project and improves it. What the metadata should be, the "
                    "motion and the map are in its\n"
                    "folder truth/.",
                    OPTIONS);

/* The preset sets what the other options start from, so it is looked for before they are read. Mistakes are
 * left to the parser. */
static cyc_simulate_preset find_preset(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *value = NULL;
		if (strncmp(argv[i], "--preset=", 9) == 0) value = argv[i] + 9;
		else if (strcmp(argv[i], "--preset") == 0 && i + 1 < argc) value = argv[i + 1];
		if (value && strcmp(value, "tiny") == 0) return CYC_SIMULATE_TINY;
		if (value && strcmp(value, "large") == 0) return CYC_SIMULATE_LARGE;
	}
	return CYC_SIMULATE_DEMO;
}

cyc_status cyc_cmd_simulate(int argc, char **argv);

cyc_status cyc_cmd_simulate(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	simulate_args a = { .preset = CYC_SIMULATE_DEMO };
	cyc_simulate_result result = { 0 };
	cyc_run run = { 0 };
	char *folder = NULL, *set = NULL;
	a.preset = find_preset(argc, argv);
	cyc_simulate_options_default(&a.o);
	cyc_simulate_options_preset(&a.o, a.preset);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_CHECK(a.o.out_dir, CYC_E_USAGE, "the output folder is missing: give it with --o");
	CYC_TRY(cyc_path_join(&set, a.o.out_dir, "optimisation_set.star"));
	CYC_TRY(cyc_path_join(&folder, a.common.root, a.o.out_dir));
	cyc_simulate_options o = a.o;
	o.out_dir = folder;
	o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_simulate_run(&result, &o));
	CYC_TRY(cyc_run_job_file(&run, set, "cyclotomo.simulate"));
	CYC_TRY(cyc_run_output(&run, "optimisation set", set));
	printf("project    %s\n", folder);
	printf("particle   %.0f kDa, radius %.0f Å, symmetry %s, %lld atoms\n", result.mass_kDa, result.radius_A,
	       a.o.symmetry, (long long)result.n_atoms);
	printf("images     %lld of %d x %d px, %.2f Å/px, %.1f MB\n", (long long)result.n_images,
	       (int)a.o.image_nx, (int)(a.o.image_ny > 0 ? a.o.image_ny : a.o.image_nx), a.o.pixel_size_A,
	       1e-6 * (double)result.image_bytes);
	printf("particles  %d in %d tilt series\n", (int)(a.o.n_particles * a.o.n_series), (int)a.o.n_series);
done:
	st = cyc_run_end(&run, st);
	cyc_free(folder);
	cyc_free(set);
	return st;
}

#include "relion.h"

#include "cyclotomo/refine3d.h"
#include "project/labels.h"

#include <stdlib.h>
#include <string.h>

cyc_status cyc_cmd_refine(int argc, char **argv);

static const char OWN_NOISE[] = "noise spectra are measured in the images";
static const char CACHED[] = "images stay in memory as far as --cache allows";
static const char BY_WEIGHTS[] = "it is seen in the weights of the volumes";
static const char SIGMA[] =
	"not used in local searches (as in RELION, unless all three are given); refused in global ones";
static const char ONLY_AUTO[] = "only 3D auto-refinement of one map is done here";
static const char GRIDDING[] = "there is only one way of interpolation and gridding correction";

#define UNSUPPORTED_FLAG(option, text, why)                                                                  \
	{                                                                                                        \
		.name = option, .type = CYC_OPT_FLAG, .help = text, .becomes = CYC_RELION_UNSUPPORTED, .note = why   \
	}
#define ALWAYS_FLAG(option, text, how)                                                                       \
	{                                                                                                        \
		.name = option, .type = CYC_OPT_FLAG, .help = text, .becomes = CYC_RELION_ALWAYS, .note = how        \
	}
#define NUMBER(option, u, text, v, b, why)                                                                   \
	{                                                                                                        \
		.name = option, .type = CYC_OPT_DOUBLE, .unit = u, .help = text, .value = v, .becomes = b,           \
		.note = why                                                                                          \
	}
#define WHOLE(option, u, text, v, b, why)                                                                    \
	{                                                                                                        \
		.name = option, .type = CYC_OPT_INT, .unit = u, .help = text, .value = v, .becomes = b, .note = why  \
	}

static const cyc_relion_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	{ .name = "--ios",
	  .type = CYC_OPT_TEXT,
	  .unit = "<star>",
	  .help = "Optimisation set.",
	  .becomes = CYC_RELION_SAME,
	  .to = "optimisation-set" },
	{ .name = "--i",
	  .type = CYC_OPT_TEXT,
	  .unit = "<star>",
	  .help = "Particles, instead of those of the optimisation set.",
	  .becomes = CYC_RELION_SAME,
	  .to = "particles" },
	{ .name = "--tomograms",
	  .type = CYC_OPT_TEXT,
	  .unit = "<star>",
	  .help = "Tomograms, instead of those of the optimisation set.",
	  .becomes = CYC_RELION_SAME,
	  .to = "tomograms" },
	{ .name = "--trajectories",
	  .type = CYC_OPT_TEXT,
	  .unit = "<star>",
	  .help = "Trajectories, instead of those of the optimisation set.",
	  .becomes = CYC_RELION_SAME,
	  .to = "trajectories" },
	{ .name = "--ref",
	  .type = CYC_OPT_TEXT,
	  .unit = "<map>",
	  .help = "Reference; given one of two half maps, both are used.",
	  .becomes = CYC_RELION_SAME,
	  .to = "ref",
	  .is_required = true },
	{ .name = "--o",
	  .type = CYC_OPT_TEXT,
	  .unit = "<folder/run>",
	  .help = "Root name of the outputs.",
	  .becomes = CYC_RELION_READ,
	  .to = "output",
	  .note = "its folder; files in it are named run_...",
	  .is_required = true },
	{ .name = "--continue",
	  .type = CYC_OPT_TEXT,
	  .unit = "<optimiser.star>",
	  .help = "Continue an interrupted run.",
	  .becomes = CYC_RELION_READ,
	  .to = "resume",
	  .note =
	      "from the last complete iteration, whichever is named; options that are not given are those of the "
	      "first call; a run that RELION began is handed on to it" },
	ALWAYS_FLAG("--trust_ref_size", "Resize the reference.",
	            "references are always rescaled and resized to fit"),
	NUMBER("--ref_angpix", "<Å>", "Pixel size of the reference, instead of that in the header.", "-1",
	       CYC_RELION_UNSUPPORTED, "put the pixel size into the map's header"),
	{ .name = "Refinement", .type = CYC_OPT_HEADING },
	{ .name = "--auto_refine",
	  .type = CYC_OPT_FLAG,
	  .help = "3D auto-refinement.",
	  .becomes = CYC_RELION_READ,
	  .note = "a call without it is refused" },
	{ .name = "--split_random_halves",
	  .type = CYC_OPT_FLAG,
	  .help = "Two half-sets.",
	  .becomes = CYC_RELION_READ,
	  .note = "a call without it is refused; half-sets are those of rlnRandomSubset" },
	WHOLE("--K", "<n>", "Number of classes.", "1", CYC_RELION_UNSUPPORTED, ONLY_AUTO),
	WHOLE("--iter", "<n>", "Number of iterations of a classification.", NULL, CYC_RELION_UNSUPPORTED,
	      "--auto_iter_max limits the iterations of a refinement"),
	UNSUPPORTED_FLAG("--grad", "Gradient optimisation.", ONLY_AUTO),
	UNSUPPORTED_FLAG("--blush", "Regularisation by a neural network (Blush).", NULL),
	UNSUPPORTED_FLAG("--helix", "Helices.", NULL),
	{ .name = "--relax_sym",
	  .type = CYC_OPT_TEXT,
	  .unit = "<group>",
	  .help = "Symmetry to relax.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	UNSUPPORTED_FLAG("--force_converge", "Make this iteration the last one.",
	                 "--auto_iter_max limits the iterations"),
	ALWAYS_FLAG("--firstiter_cc", "Cross-correlation in the first iteration.",
	            "the grey scale of the reference is fitted, so it need not be trusted"),
	{ .name = "--random_seed",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "Seed; negative: from the clock.",
	  .value = "-1",
	  .becomes = CYC_RELION_READ,
	  .to = "seed",
	  .note = "never from the clock: the same input gives the same result" },
	{ .name = "Images and masks", .type = CYC_OPT_HEADING },
	{ .name = "--ctf",
	  .type = CYC_OPT_FLAG,
	  .help = "Correct for the CTF.",
	  .becomes = CYC_RELION_READ,
	  .note = "a call without it is refused" },
	UNSUPPORTED_FLAG("--ctf_intact_first_peak", "Ignore the CTF before its first peak.", NULL),
	UNSUPPORTED_FLAG("--only_flip_phases", "Flip phases only.", NULL),
	UNSUPPORTED_FLAG("--ctf_phase_flipped", "Phases are already flipped.", NULL),
	ALWAYS_FLAG("--pad_ctf", "Padded CTFs.", "weights allow for what the crop does to the CTF"),
	ALWAYS_FLAG("--flatten_solvent", "Mask the reference.", "it is always masked"),
	ALWAYS_FLAG("--zero_mask", "Zeros outside the particle diameter.",
	            "it is always filled with zeros, never with noise"),
	{ .name = "--solvent_mask",
	  .type = CYC_OPT_TEXT,
	  .unit = "<mask>",
	  .help = "Mask of the reference.",
	  .becomes = CYC_RELION_SAME,
	  .to = "mask",
	  .note = "default: that of the optimisation set, else a sphere" },
	{ .name = "--solvent_mask2",
	  .type = CYC_OPT_TEXT,
	  .unit = "<mask>",
	  .help = "A second mask.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--lowpass_mask",
	  .type = CYC_OPT_TEXT,
	  .unit = "<mask>",
	  .help = "Mask of a low-pass filtered part.",
	  .becomes = CYC_RELION_UNSUPPORTED },
	{ .name = "--solvent_correct_fsc",
	  .type = CYC_OPT_FLAG,
	  .help = "Correct the FSC for the mask.",
	  .becomes = CYC_RELION_READ,
	  .to = "no-fsc-correction",
	  .note = "without it, that option is set" },
	NUMBER("--maskedge", "<px>", "Edge of the images' mask.", "5", CYC_RELION_UNUSED, "it is 5 px"),
	ALWAYS_FLAG("--norm", "Correct the norm of each image.", "not used for tilt series, neither by RELION"),
	{ .name = "--scale",
	  .type = CYC_OPT_FLAG,
	  .help = "Contrast of each tilt series.",
	  .becomes = CYC_RELION_READ,
	  .to = "no-scale",
	  .note = "without it, that option is set" },
	NUMBER("--pad", "<factor>", "Padding of references.", "2", CYC_RELION_UNUSED, "the padding is always 2"),
	{ .name = "--sigma",
	  .type = CYC_OPT_TEXT,
	  .unit = "<star>",
	  .help = "Noise spectra.",
	  .becomes = CYC_RELION_UNSUPPORTED,
	  .note = OWN_NOISE },
	UNSUPPORTED_FLAG("--fix_sigma_noise", "Keep the first noise spectra.", OWN_NOISE),
	NUMBER("--sigma2_fudge", "<factor>", "Factor on the noise.", "1", CYC_RELION_UNSUPPORTED, OWN_NOISE),
	WHOLE("--nr_parts_sigma2noise", "<n>", "Number of particles for the first noise spectra.", "10",
	      CYC_RELION_UNUSED, OWN_NOISE),
	NUMBER("--strict_highres_exp", "<Å>", "Highest resolution used for poses.", "-1", CYC_RELION_UNSUPPORTED,
	       NULL),
	NUMBER("--strict_lowres_exp", "<Å>", "Lowest resolution used for poses.", "-1", CYC_RELION_UNSUPPORTED,
	       NULL),
	NUMBER("--subtomo_multi_thr", "<fraction>", "Minimum multiplicity in volumes.", "0.01", CYC_RELION_UNUSED,
	       "coefficients count as much as their weights"),
	ALWAYS_FLAG("--normalised_subtomo", "Volumes are divided by their multiplicity.", BY_WEIGHTS),
	ALWAYS_FLAG("--skip_subtomo_multi", "Volumes have no multiplicity.", BY_WEIGHTS),
	ALWAYS_FLAG(
		"--ctf3d_not_squared", "CTF volumes are not squared.",
		"the optics table says whether images are multiplied by the CTF, and so which of the two it is"),
	{ .name = "--NN",
	  .type = CYC_OPT_FLAG,
	  .help = "Nearest-neighbour interpolation of references.",
	  .becomes = CYC_RELION_UNUSED,
	  .note = GRIDDING },
	WHOLE("--r_min_nn", "<shells>", "Interpolation up to this shell.", "10", CYC_RELION_UNUSED, GRIDDING),
	{ .name = "--dont_skip_gridding",
	  .type = CYC_OPT_FLAG,
	  .help = "Iterative gridding correction.",
	  .becomes = CYC_RELION_UNUSED,
	  .note = GRIDDING },
	WHOLE("--gridding_iter", "<n>", "Number of these iterations.", "10", CYC_RELION_UNUSED, GRIDDING),
	{ .name = "Poses", .type = CYC_OPT_HEADING },
	NUMBER("--offset_range_x", "<Å>", "Range of offsets along x.", "-1", CYC_RELION_UNSUPPORTED,
	       "--offset_range applies to all axes"),
	NUMBER("--offset_range_y", "<Å>", "Range of offsets along y.", "-1", CYC_RELION_UNSUPPORTED,
	       "--offset_range applies to all axes"),
	NUMBER("--offset_range_z", "<Å>", "Range of offsets along z.", "-1", CYC_RELION_UNSUPPORTED,
	       "--offset_range applies to all axes"),
	UNSUPPORTED_FLAG("--fix_sigma_offset", "Keep this width.", NULL),
	NUMBER("--min_sigma2_offset", "<Å2>", "Minimum variance of the offsets.", "2", CYC_RELION_UNUSED,
	       "it is that of the particles' offsets"),
	NUMBER("--sigma_rot", "<degrees>", "The same, for rot alone.", "-1", CYC_RELION_READ, SIGMA),
	NUMBER("--sigma_tilt", "<degrees>", "The same, for tilt alone.", "-1", CYC_RELION_READ, SIGMA),
	NUMBER("--sigma_psi", "<degrees>", "The same, for psi alone.", "-1", CYC_RELION_READ, SIGMA),
	NUMBER("--limit_tilt", "<degrees>", "Limit of tilt.", "-91", CYC_RELION_UNSUPPORTED, NULL),
	NUMBER("--perturb", "<steps>", "Random shift of the grids.", "0.5", CYC_RELION_UNUSED,
	       "poses are refined continuously from the best grid points"),
	WHOLE("--maxsig", "<n>", "Maximum number of samples in the second pass.", "-1", CYC_RELION_UNUSED,
	      "all significant ones are used"),
	WHOLE("--incr_size", "<shells>", "Shells beyond the resolution.", "10", CYC_RELION_UNUSED,
	      "each shell is weighted by its FSC"),
	WHOLE("--coarse_size", "<px>", "Box of the first pass.", "-1", CYC_RELION_UNUSED,
	      "it depends on the angular step"),
	NUMBER("--minimum_angular_sampling", "<degrees>", "Do not stop before this step.", "0", CYC_RELION_UNUSED,
	       "steps follow from the errors of the poses"),
	NUMBER("--maximum_angular_sampling", "<degrees>", "No finer steps.", "0", CYC_RELION_UNUSED,
	       "poses are refined continuously from the best grid points"),
	{ .name = "--auto_ignore_angles",
	  .type = CYC_OPT_FLAG,
	  .help = "Go to finer steps before poses have settled.",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "poses are refined continuously from the best grid points" },
	{ .name = "--auto_resol_angles",
	  .type = CYC_OPT_FLAG,
	  .help = "Steps by the resolution.",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "poses are refined continuously from the best grid points" },
	UNSUPPORTED_FLAG("--skip_align", "Keep poses.",
	                 "use relion_tomo_reconstruct_particle for a map with the poses as they are"),
	{ .name = "Work", .type = CYC_OPT_HEADING },
	CYC_RELION_THREADS_OPTION("1"),
	WHOLE("--pool", "<n>", "Number of particles processed at once.", "1", CYC_RELION_ALWAYS,
	      "particles are processed by tilt series"),
	{ .name = "--gpu",
	  .type = CYC_OPT_TEXT,
	  .unit = "<ids>",
	  .help = "GPUs.",
	  .becomes = CYC_RELION_UNUSED,
	  .note = "CPU cores are used; --backend cuda, which has not been tested, asks for a GPU",
	  .may_be_bare = true },
	ALWAYS_FLAG("--cpu", "Vectorised code.", "it always is"),
	ALWAYS_FLAG("--preread_images", "All stacks into memory.", CACHED),
	{ .name = "--scratch_dir",
	  .type = CYC_OPT_TEXT,
	  .unit = "<folder>",
	  .help = "Copy stacks there first.",
	  .becomes = CYC_RELION_ALWAYS,
	  .note = CACHED },
	NUMBER("--keep_free_scratch", "<GB>", "Room to leave there.", "10", CYC_RELION_ALWAYS, CACHED),
	ALWAYS_FLAG("--reuse_scratch", "Reuse earlier copies.", CACHED),
	ALWAYS_FLAG("--keep_scratch", "Leave them there.", CACHED),
	ALWAYS_FLAG("--no_parallel_disc_io", "One rank reads for all.", "one process does"),
	ALWAYS_FLAG("--dont_combine_weights_via_disc", "Sums go from rank to rank.",
	            "there is one sum per half-set"),
	ALWAYS_FLAG("--dont_check_norm", "Do not check the images' norm.", "their noise is measured"),
	WHOLE("--verb", "<n>", "0: print nothing.", "1", CYC_RELION_READ, "0: --quiet"),
	CYC_RELION_COMMON_OPTIONS,
	{ .name = "--b,--box",
	  .type = CYC_OPT_INT,
	  .unit = "<px>",
	  .help =
	      "Cut windows of this box (binned pixels) from the tilt images, instead of reading the images that "
	      "the particles name.",
	  .becomes = CYC_RELION_OWN,
	  .to = "box",
	  .note = "--crop and --bin say the size of the maps" },
};

/* RELION writes its version into the first line of its files. */
static bool is_of_relion(const char *path)
{
	char line[64] = "";
	FILE *f = fopen(path, "r");
	if (!f) return false;
	bool is_read = fgets(line, sizeof line, f) != NULL;
	fclose(f);
	return is_read && strncmp(line, "# RELION", 8) == 0;
}

/* Options of RELION's that stand for another kind of job, and of helices. */
static const char *mode_of_option(const char *word)
{
	static const char *const MODES[][2] = {
		{ "--print_symmetry_ops", "printing symmetry operators" },
		{ "--denovo_3dref", "making an initial model" },
		{ "--multibody_masks", "multi-body refinement" },
		{ "--grad", "gradient refinement" },
		{ "--blush", "regularisation by Blush" },
		{ "--helix", "refinement of helices" },
		{ "--skip_align", "a run without alignment" },
		{ "--skip_rotate", "a run without rotations" },
		{ "--som", "a self-organising map" },
	};
	for (size_t i = 0; i < sizeof MODES / sizeof *MODES; i++)
		if (strcmp(word, MODES[i][0]) == 0) return MODES[i][1];
	return NULL;
}

static const char *other_mode(int argc, char **argv)
{
	const char *from = cyc_relion_word_value(argc, argv, "--continue"),
			   *relaxed = cyc_relion_word_value(argc, argv, "--relax_sym"),
			   *classes = cyc_relion_word_value(argc, argv, "--K");
	for (int i = 1; i < argc; i++) {
		const char *mode = mode_of_option(argv[i]);
		if (mode) return mode;
	}
	if (relaxed && relaxed[0]) return "refinement with relaxed symmetry";
	if (from && cyc_relion_has_call(from, argc, argv)) return NULL;
	if (from && is_of_relion(from)) return "continuing a run of RELION's own";
	if (from && !cyc_relion_word_value(argc, argv, "--auto_refine")) return NULL;
	if ((classes && strtol(classes, NULL, 10) > 1) || !cyc_relion_word_value(argc, argv, "--auto_refine"))
		return cyc_relion_word_value(argc, argv, "--ref") ? "3D classification" : "2D classification";
	if (cyc_relion_word_value(argc, argv, "--i") && !cyc_relion_word_value(argc, argv, "--tomograms") &&
	    !cyc_relion_word_value(argc, argv, "--ios"))
		return "refinement of single particles (no tomograms are given: --ios, or --tomograms)";
	if (!cyc_relion_word_value(argc, argv, "--ctf")) return "refinement without --ctf";
	return NULL;
}

/* Another kind of job of the same program must not run as a refinement. */
static cyc_status check_kind(const cyc_relion_call *c)
{
	static const char *const NEEDED[][2] = {
		{ "--auto_refine", "only 3D auto-refinement is done here" },
		{ "--split_random_halves", "half-sets are always refined separately" },
		{ "--ctf", "refinement without CTF correction is not supported" }
	};
	cyc_status st = CYC_OK;
	for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++) {
		if (cyc_relion_is_given(c, NEEDED[i][0])) continue;
		st = cyc_error_raise(CYC_E_UNSUPPORTED, __FILE__, __LINE__, __func__,
		                     "a call without %s is not supported: %s", NEEDED[i][0], NEEDED[i][1]);
		cyc_error_hint("add %s, or run RELION's own program", NEEDED[i][0]);
		goto done;
	}
	if (!cyc_relion_is_given(c, "--ios") && !cyc_relion_is_given(c, "--i")) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "no particles given: --ios, or --i and --tomograms, is missing");
		cyc_error_hint("%s", cyc_relion_is_given(c, "--continue")
		                         ? "--continue needs all options of the first call as well"
		                         : "see 'relion_refine --help'");
	}
done:
	return st;
}

static cyc_status check_sigmas(const cyc_relion_call *c)
{
	static const char *const NAMES[] = { "--sigma_rot", "--sigma_tilt", "--sigma_psi" };
	cyc_status st = CYC_OK;
	bool is_local =
			 cyc_relion_number(c, "--healpix_order") >= cyc_relion_number(c, "--auto_local_healpix_order"),
		 are_all = true;
	for (int i = 0; i < 3; i++) are_all = are_all && cyc_relion_number(c, NAMES[i]) > 0.0;
	for (int i = 0; i < 3; i++) {
		if (!(cyc_relion_number(c, NAMES[i]) > 0.0)) continue;
		if (is_local && !are_all) {
			cyc_warn("%s is not used: searches are local, and the width of their prior follows from the "
			         "angular step",
			         NAMES[i]);
			continue;
		}
		st = cyc_error_raise(CYC_E_UNSUPPORTED, __FILE__, __LINE__, __func__, "%s is not supported yet",
		                     NAMES[i]);
		cyc_error_hint("%s", are_all ? "--sigma_ang sets one width for all three"
		                             : "leave it out, or start with local searches: --healpix_order must be "
		                               "at least --auto_local_healpix_order");
		goto done;
	}
done:
	return st;
}

/* REF/run: the job's folder, and how names of files begin. */
static cyc_status emit_folder(cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	const char *root = cyc_relion_text(c, "--o"), *slash = strrchr(root, '/'),
			   *base = slash ? slash + 1 : root;
	char *folder = NULL;
	CYC_TRY(cyc_asprintf(&folder, "%.*s", slash ? (int)(slash - root) + 1 : 2, slash ? root : "./"));
	if (strcmp(base, "run") != 0)
		cyc_warn("--o %s: file names start with 'run_', in the folder %s", root, folder);
	CYC_TRY(cyc_relion_emit(c, "output", folder));
done:
	cyc_free(folder);
	return st;
}

static const char *given_text(const cyc_relion_call *c, const char *name)
{
	const char *text = cyc_relion_text(c, name);
	return text[0] ? text : NULL;
}

/* The particles' table has the column of an extraction. Files that cannot be read are reported by the job. */
static bool have_images(const cyc_relion_call *c)
{
	const cyc_project_input in = { .root = cyc_relion_text(c, "--root"),
		                           .optimisation_set = given_text(c, "--ios"),
		                           .particles = given_text(c, "--i"),
		                           .tomograms = given_text(c, "--tomograms") };
	cyc_optimisation_set *set = NULL;
	cyc_star *star = NULL;
	char *path = NULL;
	bool have = false;
	if (cyc_project_resolve(&set, &in) == CYC_OK && cyc_path_join(&path, in.root, set->particles) == CYC_OK &&
	    cyc_star_read(&star, path) == CYC_OK) {
		const cyc_star_block *b = cyc_star_find(star, "particles");
		const char *name = b && cyc_star_n_rows(b) > 0 ? cyc_star_text_of(b, 0, CYC_RLN_IMAGE_NAME) : NULL;
		have = name && name[0];
	}
	cyc_star_destroy(&star);
	cyc_free(path);
	cyc_optimisation_set_destroy(&set);
	cyc_error_clear();
	return have;
}

/* RELION refines the images that the particles name: they may have been edited, or be all there is. */
static cyc_status emit_images(cyc_relion_call *c)
{
	bool is_said = cyc_relion_is_given(c, "--b") || cyc_relion_is_given(c, "--from-stacks");
	return !is_said && have_images(c) ? cyc_relion_emit(c, "from-stacks", NULL) : CYC_OK;
}

static cyc_status translate(cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	double seed = cyc_relion_number(c, "--random_seed");
	CYC_TRY(check_kind(c));
	CYC_TRY(check_sigmas(c));
	CYC_TRY(emit_folder(c));
	CYC_TRY(emit_images(c));
	if (cyc_relion_is_given(c, "--continue")) CYC_TRY(cyc_relion_emit(c, "resume", NULL));
	if (!cyc_relion_is_given(c, "--solvent_correct_fsc"))
		CYC_TRY(cyc_relion_emit(c, "no-fsc-correction", NULL));
	if (!cyc_relion_is_given(c, "--scale")) CYC_TRY(cyc_relion_emit(c, "no-scale", NULL));
	if (seed >= 0.0) CYC_TRY(cyc_relion_emit_number(c, "seed", seed));
	if (cyc_relion_number(c, "--verb") <= 0.0) CYC_TRY(cyc_relion_emit(c, "quiet", NULL));
	CYC_TRY(cyc_relion_emit(c, "exclude-negative-scales", NULL));
	CYC_TRY(cyc_relion_emit_threads(c, (int64_t)cyc_relion_number(c, "--j")));
done:
	return st;
}

/* ---------------------------------------------------------------- job.star */

static const cyc_job_variable VARIABLES[] = {
	CYC_JOB_PROJECT_VARIABLES,
	{ .variable = "fn_ref", .becomes = CYC_JOB_VALUE, .option = "--ref", .what = "reference" },
	{ .variable = "fn_mask", .becomes = CYC_JOB_VALUE, .option = "--solvent_mask", .what = "mask" },
	{ .variable = "fn_cont", .becomes = CYC_JOB_READ, .option = "--continue", .what = "continue from here" },
	{ .variable = "fn_img",
	  .becomes = CYC_JOB_READ,
	  .what = "single particles",
	  .fate = CYC_JOB_REFUSED,
	  .note = "from the GUI: handed on to RELION" },
	{ .variable = "ref_correct_greyscale",
	  .becomes = CYC_JOB_READ,
	  .option = "--firstiter_cc",
	  .what = "reference on absolute grey scale" },
	{ .variable = "trust_ref_size",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--trust_ref_size",
	  .what = "resize the reference" },
	{ .variable = "ini_high",
	  .becomes = CYC_JOB_READ,
	  .option = "--ini_high",
	  .what = "initial low-pass filter" },
	{ .variable = "sym_name", .becomes = CYC_JOB_VALUE, .option = "--sym", .what = "symmetry" },
	{ .variable = "do_ctf_correction",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--ctf",
	  .what = "CTF correction",
	  .fate = CYC_JOB_HONOURED,
	  .note = "without it the call is not ours: handed on to RELION, or refused" },
	{ .variable = "ctf_intact_first_peak",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--ctf_intact_first_peak",
	  .needs = "do_ctf_correction",
	  .what = "ignore CTFs until first peak" },
	{ .variable = "particle_diameter",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--particle_diameter",
	  .what = "mask diameter" },
	{ .variable = "do_zero_mask",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--zero_mask",
	  .what = "mask particles with zeros" },
	{ .variable = "do_solvent_fsc",
	  .becomes = CYC_JOB_READ,
	  .option = "--solvent_correct_fsc",
	  .what = "solvent-flattened FSCs" },
	{ .variable = "do_blush", .becomes = CYC_JOB_FLAG, .option = "--blush", .what = "Blush" },
	{ .variable = "sampling",
	  .becomes = CYC_JOB_READ,
	  .option = "--healpix_order",
	  .what = "initial angular sampling" },
	{ .variable = "auto_local_sampling",
	  .becomes = CYC_JOB_READ,
	  .option = "--auto_local_healpix_order",
	  .what = "local searches from" },
	{ .variable = "offset_range",
	  .becomes = CYC_JOB_VALUE,
	  .option = "--offset_range",
	  .what = "offset range" },
	{ .variable = "offset_step", .becomes = CYC_JOB_READ, .option = "--offset_step", .what = "offset step" },
	{ .variable = "relax_sym", .becomes = CYC_JOB_VALUE, .option = "--relax_sym", .what = "relax symmetry" },
	{ .variable = "sigma_tilt",
	  .becomes = CYC_JOB_READ,
	  .what = "prior width on tilt",
	  .fate = CYC_JOB_IGNORED,
	  .note = "in local searches; refused in global ones" },
	{ .variable = "auto_faster",
	  .becomes = CYC_JOB_READ,
	  .option = "--auto_resol_angles",
	  .what = "finer sampling faster" },
	{ .variable = "do_helix",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--helix",
	  .what = "helical reconstruction" },
	/* Of helices only; their values stay in the file when do_helix is No. */
	{ .variable = "helical_*",
	  .becomes = CYC_JOB_NOTHING,
	  .what = "helix",
	  .fate = CYC_JOB_NEEDLESS,
	  .note = "only with do_helix" },
	{ .variable = "do_apply_helical_symmetry",
	  .becomes = CYC_JOB_NOTHING,
	  .what = "apply helical symmetry",
	  .fate = CYC_JOB_NEEDLESS,
	  .note = "only with do_helix" },
	{ .variable = "do_local_search_helical_symmetry",
	  .becomes = CYC_JOB_NOTHING,
	  .what = "local search of helical symmetry",
	  .fate = CYC_JOB_NEEDLESS,
	  .note = "only with do_helix" },
	{ .variable = "keep_tilt_prior_fixed",
	  .becomes = CYC_JOB_NOTHING,
	  .what = "keep tilt prior fixed",
	  .fate = CYC_JOB_NEEDLESS,
	  .note = "only with do_helix" },
	{ .variable = "range_*",
	  .becomes = CYC_JOB_NOTHING,
	  .what = "search ranges of helices",
	  .fate = CYC_JOB_NEEDLESS,
	  .note = "only with do_helix" },
	{ .variable = "do_pad1", .becomes = CYC_JOB_READ, .option = "--pad", .what = "skip padding" },
	{ .variable = "do_combine_thru_disc",
	  .becomes = CYC_JOB_READ,
	  .option = "--dont_combine_weights_via_disc",
	  .what = "combine through disc" },
	{ .variable = "do_parallel_discio",
	  .becomes = CYC_JOB_READ,
	  .option = "--no_parallel_disc_io",
	  .what = "parallel disc I/O" },
	{ .variable = "do_preread_images",
	  .becomes = CYC_JOB_FLAG,
	  .option = "--preread_images",
	  .what = "pre-read images" },
	{ .variable = "scratch_dir",
	  .becomes = CYC_JOB_READ,
	  .option = "--scratch_dir",
	  .what = "scratch folder" },
	{ .variable = "nr_pool", .becomes = CYC_JOB_VALUE, .option = "--pool", .what = "pooled particles" },
	{ .variable = "use_gpu", .becomes = CYC_JOB_READ, .option = "--gpu", .what = "use GPU" },
	{ .variable = "gpu_ids",
	  .becomes = CYC_JOB_READ,
	  .option = "--gpu",
	  .what = "which GPUs",
	  .note = "with use_gpu" },
	{ .variable = "nr_threads", .becomes = CYC_JOB_VALUE, .option = "--j", .what = "threads" },
};

/* "7.5 degrees" is the fine step of the menu; the order is that of the step twice as wide. */
static cyc_status emit_order(cyc_relion_job *j, const char *variable, const char *option)
{
	static const char *const MENU[] = { "30", "15", "7.5", "3.7", "1.8", "0.9", "0.5", "0.2", "0.1" };
	cyc_status st = CYC_OK;
	const char *text = cyc_job_text(j, variable);
	if (!text[0]) return CYC_OK;
	for (int i = 0; i < (int)(sizeof MENU / sizeof *MENU); i++) {
		char order[16];
		size_t n = strlen(MENU[i]);
		if (strncmp(text, MENU[i], n) != 0 || (text[n] != ' ' && text[n] != '\0')) continue;
		snprintf(order, sizeof order, "%d", i);
		return cyc_job_emit(j, option, order);
	}
	CYC_RAISE(CYC_E_DATA, "%s: '%s' is not one of the steps in the menu", variable, text);
done:
	return st;
}

static cyc_status emit_sampling(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	char text[32];
	double step = strtod(cyc_job_text(j, "offset_step"), NULL);
	CYC_TRY(cyc_job_emit(j, "--oversampling", "1"));
	CYC_TRY(emit_order(j, "sampling", "--healpix_order"));
	CYC_TRY(emit_order(j, "auto_local_sampling", "--auto_local_healpix_order"));
	/* As with angles, the menu has the fine step. */
	snprintf(text, sizeof text, "%g", 2.0 * step);
	if (step > 0.0) CYC_TRY(cyc_job_emit(j, "--offset_step", text));
	if (strtod(cyc_job_text(j, "sigma_tilt"), NULL) > 0.0)
		CYC_TRY(cyc_job_emit(j, "--sigma_tilt", cyc_job_text(j, "sigma_tilt")));
	if (cyc_job_is_yes(j, "auto_faster")) {
		CYC_TRY(cyc_job_emit(j, "--auto_ignore_angles", NULL));
		CYC_TRY(cyc_job_emit(j, "--auto_resol_angles", NULL));
	}
done:
	return st;
}

static cyc_status emit_work(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	if (!cyc_job_is_yes(j, "do_combine_thru_disc"))
		CYC_TRY(cyc_job_emit(j, "--dont_combine_weights_via_disc", NULL));
	if (cyc_job_text(j, "do_parallel_discio")[0] && !cyc_job_is_yes(j, "do_parallel_discio"))
		CYC_TRY(cyc_job_emit(j, "--no_parallel_disc_io", NULL));
	if (!cyc_job_is_yes(j, "do_preread_images") && cyc_job_text(j, "scratch_dir")[0])
		CYC_TRY(cyc_job_emit(j, "--scratch_dir", cyc_job_text(j, "scratch_dir")));
	if (cyc_job_is_yes(j, "use_gpu")) CYC_TRY(cyc_job_emit(j, "--gpu", cyc_job_text(j, "gpu_ids")));
done:
	return st;
}

static cyc_status map_job(cyc_relion_job *j)
{
	static const char *const ALWAYS[] = { "--auto_refine", "--split_random_halves", "--flatten_solvent",
		                                  "--norm", "--scale" };
	cyc_status st = CYC_OK;
	char *root = NULL;
	if (cyc_job_text(j, "fn_img")[0]) {
		st = cyc_error_raise(CYC_E_UNSUPPORTED, __FILE__, __LINE__, __func__,
		                     "single-particle refinements (fn_img is %s) are not supported here",
		                     cyc_job_text(j, "fn_img"));
		cyc_error_hint("particles of tilt series come with an optimisation set");
		goto done;
	}
	CYC_TRY(cyc_job_emit_project_as(
		j, (const char *const[4]){ "--ios", "--i", "--tomograms", "--trajectories" }));
	CYC_TRY(cyc_asprintf(&root, "%srun", j->folder));
	CYC_TRY(cyc_job_emit(j, "--o", root));
	for (size_t i = 0; i < sizeof ALWAYS / sizeof *ALWAYS; i++) CYC_TRY(cyc_job_emit(j, ALWAYS[i], NULL));
	/* The additional arguments may have another value. */
	if (!strstr(cyc_job_text(j, "other_args"), "--low_resol_join_halves"))
		CYC_TRY(cyc_job_emit(j, "--low_resol_join_halves", "40"));
	CYC_TRY(cyc_job_emit(j, "--pad", cyc_job_is_yes(j, "do_pad1") ? "1" : "2"));
	if (j->is_continued && cyc_job_text(j, "fn_cont")[0])
		CYC_TRY(cyc_job_emit(j, "--continue", cyc_job_text(j, "fn_cont")));
	if (!cyc_job_is_yes(j, "ref_correct_greyscale")) CYC_TRY(cyc_job_emit(j, "--firstiter_cc", NULL));
	if (strtod(cyc_job_text(j, "ini_high"), NULL) > 0.0)
		CYC_TRY(cyc_job_emit(j, "--ini_high", cyc_job_text(j, "ini_high")));
	if (cyc_job_text(j, "fn_mask")[0] && cyc_job_is_yes(j, "do_solvent_fsc"))
		CYC_TRY(cyc_job_emit(j, "--solvent_correct_fsc", NULL));
	CYC_TRY(emit_sampling(j));
	CYC_TRY(emit_work(j));
done:
	cyc_free(root);
	return st;
}

extern const cyc_relion_program cyc_relion_refine;
const cyc_relion_program cyc_relion_refine = {
	.name = "relion_refine",
	.summary = "Refine orientation and position of every particle",
	.command = "refine",
	.run = cyc_cmd_refine,
	.table = &cyc_refine3d_table,
	CYC_RELION_TABLES(OPTIONS, VARIABLES),
	.other_mode = other_mode,
	.keeps_call = true,
	.translate = translate,
	.job_type = "relion.refine3d",
	.map_job = map_job,
};

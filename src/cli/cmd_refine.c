#include "command.h"

#include "cyclotomo/refine3d.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_refine3d_options o;
	double cache_GB;
	bool accepted;
	int32_t ignored_number;
} refine_args;

#define O(member) offsetof(refine_args, o.member)
/* RELION's switches of what is always on here, or has no meaning. */
#define ACCEPTED(hyphened, relion, text)                                                                     \
	{                                                                                                        \
		.name = hyphened, .alias = relion, .type = CYC_OPT_FLAG, .offset = offsetof(refine_args, accepted),  \
		.help = text                                                                                         \
	}

static const cyc_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	CYC_PROJECT_INPUT_OPTIONS(refine_args, o.input),
	{ .name = "ref",
	  .alias = "--ref1",
	  .type = CYC_OPT_TEXT,
	  .offset = O(ref1),
	  .unit = "<map>",
	  .help = "Half map 1 (the other is found by its name), or one map for both half-sets.",
	  .no_default = "of the optimisation set" },
	{ .name = "ref2", .type = CYC_OPT_TEXT, .offset = O(ref2), .unit = "<map>", .help = "Half map 2." },
	{ .name = "mask",
	  .alias = "--solvent_mask",
	  .type = CYC_OPT_TEXT,
	  .offset = O(mask),
	  .unit = "<mask>",
	  .help = "Soft mask.",
	  .no_default = "of the optimisation set, else a sphere" },
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(out_dir),
	  .unit = "<folder>",
	  .help = "Folder for the results." },
	{ .name = "from-stacks",
	  .type = CYC_OPT_FLAG,
	  .offset = O(from_stacks),
	  .help = "Refine from the 2D stacks of an extraction, which the particles name, instead of from the "
	          "tilt images." },
	{ .name = "Images and maps", .type = CYC_OPT_HEADING },
	{ .name = "box",
	  .alias = "--b",
	  .type = CYC_OPT_INT,
	  .offset = O(box_px),
	  .unit = "<px>",
	  .min = "8",
	  .help = "Box of the windows, binned pixels; room for the particle and what the CTF spreads.",
	  .no_default = "of extracted particles: twice their images' size, with --crop and --bin as theirs" },
	{ .name = "crop",
	  .type = CYC_OPT_INT,
	  .offset = O(crop_px),
	  .unit = "<px>",
	  .help = "Box of maps and poses, binned pixels.",
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
	{ .name = "particle-diameter",
	  .alias = "--particle_diameter",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(particle_diameter_A),
	  .unit = "<Å>",
	  .help = "Images are masked outside of it.",
	  .no_default = "what fits into the cropped box" },
	{ .name = "lowpass",
	  .alias = "--ini_high",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(lowpass_A),
	  .unit = "<Å>",
	  .help = "Initial low-pass of the reference.",
	  .no_default = "none: half maps are weighted by their FSC" },
	{ .name = "no-fsc-correction",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_fsc_correction),
	  .help = "FSC of the maps as they are, not under the mask." },
	{ .name = "dose-cutoff",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(cutoff_frac),
	  .unit = "<fraction>",
	  .min = "0",
	  .help = "Frequencies whose dose weight is not above this are not used for poses." },
	{ .name = "Poses", .type = CYC_OPT_HEADING },
	{ .name = "healpix-order",
	  .alias = "--healpix_order",
	  .type = CYC_OPT_INT,
	  .offset = O(healpix_order),
	  .unit = "<n>",
	  .min = "0",
	  .help = "Coarse angular step: 2 is 15 degrees, 3 7.5, 4 3.75, 5 1.9." },
	{ .name = "local-from",
	  .alias = "--auto_local_healpix_order",
	  .type = CYC_OPT_INT,
	  .offset = O(auto_local_order),
	  .unit = "<n>",
	  .min = "0",
	  .help = "Order from which on only rotations near the old ones are looked at." },
	{ .name = "oversampling",
	  .type = CYC_OPT_INT,
	  .offset = O(oversampling),
	  .unit = "<n>",
	  .min = "0",
	  .help = "Halvings of the steps in the second pass." },
	{ .name = "sigma-angle",
	  .alias = "--sigma_ang",
	  .type = CYC_OPT_ANGLE,
	  .offset = O(sigma_angle_rad),
	  .unit = "<degrees>",
	  .help = "Width of the prior about the old rotation.",
	  .no_default = "two fine steps" },
	{ .name = "offset-range",
	  .alias = "--offset_range",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(offset_range_px),
	  .unit = "<px>",
	  .min = "0",
	  .help = "Offsets up to this are looked at, binned pixels." },
	{ .name = "offset-step",
	  .alias = "--offset_step",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(offset_step_px),
	  .unit = "<px>",
	  .help = "Coarse step of the offsets." },
	{ .name = "sigma-offset",
	  .alias = "--offset",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(sigma_offset_A),
	  .unit = "<Å>",
	  .help = "Width of the prior of the offsets, at first." },
	{ .name = "adaptive-fraction",
	  .alias = "--adaptive_fraction",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(adaptive_frac),
	  .unit = "<fraction>",
	  .help = "Share of the posterior that is looked at in the second pass." },
	{ .name = "perturbation",
	  .alias = "--perturb",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(perturbation),
	  .unit = "<steps>",
	  .min = "0",
	  .help = "Random shift of the grids; only with --no-polish." },
	{ .name = "min-separation",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(min_separation_A),
	  .unit = "<Å>",
	  .min = "0",
	  .help = "Of particles that end nearer to each other than this only the one that agrees best with the "
	          "map is kept.",
	  .no_default = "all are kept" },
	{ .name = "no-search",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_search),
	  .help = "Sample nothing: follow the old poses to the next maximum." },
	{ .name = "no-polish",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_polish),
	  .help = "Only sample, on finer and finer grids." },
	{ .name = "Refinement", .type = CYC_OPT_HEADING },
	{ .name = "join",
	  .alias = "--low_resol_join_halves",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(join_A),
	  .unit = "<Å>",
	  .help = "Coarser than this the references of both half-sets are the same; 0: nowhere." },
	{ .name = "tau2-fudge",
	  .alias = "--tau2_fudge",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(tau2_fudge),
	  .unit = "<factor>",
	  .help = "Trust in the data against the prior." },
	{ .name = "only-judge",
	  .type = CYC_OPT_FLAG,
	  .offset = O(only_judge),
	  .help = "No new poses: which particles agree with the map where they are; writes particles.star with "
	          "their probabilities." },
	{ .name = "keep-all",
	  .type = CYC_OPT_FLAG,
	  .offset = O(keep_all),
	  .help = "Particles count alike, whatever their images say; those that are probably not the particle "
	          "are still reported." },
	{ .name = "no-scale",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_scale),
	  .help = "The same contrast for all tilt series." },
	{ .name = "keep-self-correlation",
	  .type = CYC_OPT_FLAG,
	  .offset = O(keep_self_correlation),
	  .help = "Compare each image with the half map as it is, the image itself in it." },
	{ .name = "iterations",
	  .alias = "--auto_iter_max",
	  .type = CYC_OPT_INT,
	  .offset = O(max_iterations),
	  .unit = "<n>",
	  .min = "1",
	  .help = "Most iterations." },
	{ .name = "seed",
	  .alias = "--random_seed",
	  .type = CYC_OPT_INT64,
	  .offset = O(seed),
	  .unit = "<n>",
	  .help = "Of perturbations and randomised phases." },
	{ .name = "Comparison with RELION", .type = CYC_OPT_HEADING },
	{ .name = "relion-noise",
	  .type = CYC_OPT_TEXT,
	  .offset = O(relion_model),
	  .unit = "<star>",
	  .help = "model.star: its noise spectra, one per optics group, are used as RELION does.",
	  .no_default = "spectra of the tilt images" },
	{ .name = "relion-grid",
	  .type = CYC_OPT_FLAG,
	  .offset = O(relion_grid),
	  .help = "Local searches on the grid that is fixed to the reference." },
	{ .name = "absolute-scale",
	  .type = CYC_OPT_FLAG,
	  .offset = O(absolute_grey_scale),
	  .help = "Trust the grey scale of the references." },
	{ .name = "perturbation-value",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(perturbation_given),
	  .unit = "<steps>",
	  .help = "This perturbation.",
	  .no_default = "random" },
	{ .name = "Accepted, as RELION's GUI gives them", .type = CYC_OPT_HEADING },
	ACCEPTED("auto-refine", "--auto_refine", "It always is."),
	ACCEPTED("split-random-halves", "--split_random_halves", "They always are; rlnRandomSubset says how."),
	ACCEPTED("firstiter-cc", "--firstiter_cc", "Not needed: the grey scale is fitted."),
	ACCEPTED("trust-ref-size", "--trust_ref_size", "Maps of other sizes are always made to fit."),
	ACCEPTED("flatten-solvent", "--flatten_solvent", "Always."),
	ACCEPTED("zero-mask", "--zero_mask", "Always."),
	ACCEPTED("solvent-correct-fsc", "--solvent_correct_fsc", "Always, but with --no-fsc-correction."),
	ACCEPTED("ctf", "--ctf", "Always."),
	ACCEPTED("norm", "--norm", "No meaning for tilt series."),
	ACCEPTED("scale", "--scale", "Always, but with --no-scale."),
	ACCEPTED("dont-combine-weights-via-disc", "--dont_combine_weights_via_disc", "No meaning here."),
	ACCEPTED("no-parallel-disc-io", "--no_parallel_disc_io", "No meaning here."),
	ACCEPTED("preread-images", "--preread_images", "No meaning here: see --cache."),
	{ .name = "pad",
	  .type = CYC_OPT_INT,
	  .offset = offsetof(refine_args, ignored_number),
	  .unit = "<factor>",
	  .help = "References are always padded twice.",
	  .no_default = "2" },
	{ .name = "pool",
	  .type = CYC_OPT_INT,
	  .offset = offsetof(refine_args, ignored_number),
	  .unit = "<n>",
	  .help = "No meaning here.",
	  .no_default = "none" },
	{ .name = "Work", .type = CYC_OPT_HEADING },
	{ .name = "resume",
	  .alias = "--continue",
	  .type = CYC_OPT_FLAG,
	  .offset = O(resume),
	  .help = "Continue an interrupted run of the same input." },
	{ .name = "cache",
	  .type = CYC_OPT_DOUBLE,
	  .offset = offsetof(refine_args, cache_GB),
	  .unit = "<GB>",
	  .help = "Memory for particle images; where it does not suffice they are cut again in every iteration.",
	  .no_default = "half of the machine's" },
	{ .name = "backend",
	  .type = CYC_OPT_TEXT,
	  .offset = O(backend),
	  .unit = "<name>",
	  .help = "What computes: cpu, or strict (a fake device, for testing)." },
	{ .name = "dry-run",
	  .type = CYC_OPT_FLAG,
	  .offset = O(dry_run),
	  .help = "Check everything, say what would be done, and stop." },
	CYC_COMMON_OPTIONS(refine_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"refine", "Orientation and position of every particle from its tilt images",
	"  cyclotomo refine --i Reconstruct/job005/optimisation_set.star --mask mask.mrc --b 192 --crop 96 --sym "
	"C6 --particle-diameter 230 --o Refine3D/job006/\n"
	"refines poses against the half maps of their own half-set, straight from the tilt images.",
	OPTIONS);

cyc_status cyc_cmd_refine(int argc, char **argv);
cyc_status cyc_cmd_refine(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	refine_args a = { .cache_GB = -1 };
	cyc_run run = { 0 };
	cyc_refine3d_result result = { 0 };
	cyc_refine3d_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	a.o.cache_bytes = a.cache_GB >= 0 ? 1e9 * a.cache_GB : -1;
	CYC_TRY(cyc_refine3d_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir)
		CYC_TRY((a.o.dry_run ? cyc_run_check_job : cyc_run_job)(&run, a.o.out_dir, "relion.refine3d.tomo"));
	CYC_TRY(cyc_run_owns_folder(&run, a.o.only_judge ? CYC_OUTPUT_JUDGE : CYC_OUTPUT_REFINE));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_run_reference_inputs(&run, a.o.ref1, a.o.ref2, a.o.mask, NULL));
	CYC_TRY(cyc_refine3d_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "particles", result.particles));
	CYC_TRY(cyc_run_output(&run, "half map 1", result.half1));
	CYC_TRY(cyc_run_output(&run, "half map 2", result.half2));
	CYC_TRY(cyc_run_output(&run, "map", result.map));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	if (result.n_improbable > 0)
		printf("%lld of %lld particles are probably not the particle: see run_improbable.star\n",
		       (long long)result.n_improbable, (long long)result.n_particles);
	printf("%lld particles, %d iterations, FSC 0.143 at %.2f Å: %s\n", (long long)result.n_particles,
	       result.n_iterations, result.resolution_A, result.particles);
done:
	cyc_refine3d_result_deinit(&result);
	return cyc_run_end(&run, st);
}

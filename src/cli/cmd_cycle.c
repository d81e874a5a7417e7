#include "command.h"

#include "cyclotomo/cycle.h"

cyc_status cyc_cmd_cycle(int argc, char **argv);

typedef struct {
	cyc_common_options common;
	cyc_cycle_options o;
	bool is_dry_run;
} cycle_args;

#define AT(member) .offset = offsetof(cycle_args, o.member)
static const cyc_option OPTIONS[] = {
	{ .name = "Input", .type = CYC_OPT_HEADING },
	CYC_PROJECT_INPUT_OPTIONS(cycle_args, o.input),
	{ .name = "mask-align",
	  .alias = "--mask_align",
	  .type = CYC_OPT_TEXT,
	  AT(mask_align),
	  .unit = "<map>",
	  .help = "Mask on the half maps when they are references; wide and soft.",
	  .no_default = "as --mask-fsc" },
	{ .name = "mask-fsc",
	  .alias = "--mask_fsc",
	  .type = CYC_OPT_TEXT,
	  AT(mask_fsc),
	  .unit = "<map>",
	  .help = "Mask for the FSC.",
	  .no_default = "as --mask-align" },

	{ .name = "Output", .type = CYC_OPT_HEADING },
	{ .name = "output",
	  .alias = "--o,--out",
	  .type = CYC_OPT_TEXT,
	  AT(out_dir),
	  .unit = "<folder>",
	  .help = "Folder of the run: job folders, default_pipeline.star, summary.html. Started again with the "
	          "same options it continues where it was." },
	{ .name = "dry-run",
	  .alias = "--dry_run",
	  .type = CYC_OPT_FLAG,
	  .offset = offsetof(cycle_args, is_dry_run),
	  .help = "Read the project, print the plan, sizes, memory and disk need, and which images cannot be "
	          "found; write nothing. "
	          "Ends with the exit code that the run would end with if it could not start." },
	{ .name = "no-figures",
	  .type = CYC_OPT_FLAG,
	  AT(no_figures),
	  .help = "No figures beside the jobs' results." },

	{ .name = "Maps", .type = CYC_OPT_HEADING },
	{ .name = "box",
	  .alias = "--b",
	  .type = CYC_OPT_INT,
	  AT(box_px),
	  .unit = "<px>",
	  .min = "2",
	  .no_default = "none, must be given",
	  .help = "Edge of the windows cut out around the particles: large enough that the delocalised signal "
	          "fits." },
	{ .name = "crop",
	  .type = CYC_OPT_INT,
	  AT(crop_px),
	  .unit = "<px>",
	  .min = "0",
	  .no_default = "as --box",
	  .help = "Edge of the maps." },
	{ .name = "symmetry",
	  .alias = "--sym",
	  .type = CYC_OPT_TEXT,
	  AT(symmetry),
	  .unit = "<group>",
	  .help = "Point group: C1, C6, D2, O, I1 ..." },
	{ .name = "snr",
	  .alias = "--SNR",
	  .type = CYC_OPT_DOUBLE,
	  AT(snr),
	  .min = "0",
	  .no_default = "heuristic",
	  .help = "Signal-to-noise ratio for a Wiener filter in the reconstruction." },
	{ .name = "whole-windows",
	  .type = CYC_OPT_FLAG,
	  AT(whole_windows),
	  .help = "Leave out windows that are partly outside their image, instead of using what is there." },
	{ .name = "skip-crop",
	  .type = CYC_OPT_FLAG,
	  AT(skip_crop),
	  .help = "Insert windows as they are, instead of cropping each image to --crop after it was multiplied "
	          "by the CTF." },
	{ .name = "bfactor",
	  .alias = "--adhoc_bfac",
	  .type = CYC_OPT_DOUBLE,
	  AT(adhoc_bfactor_A2),
	  .is_set = offsetof(cycle_args, o.has_bfactor),
	  .unit = "<Å²>",
	  .help = "B-factor for sharpening; negative sharpens.",
	  .no_default = "automatic" },
	{ .name = "bfactor-low",
	  .alias = "--autob_lowres",
	  .type = CYC_OPT_DOUBLE,
	  AT(bfactor_low_A),
	  .unit = "<Å>",
	  .help = "Low-resolution end of the automatic B-factor's fit." },
	{ .name = "bfactor-high",
	  .alias = "--autob_highres",
	  .type = CYC_OPT_DOUBLE,
	  AT(bfactor_high_A),
	  .unit = "<Å>",
	  .no_default = "where the signal ends",
	  .help = "High-resolution end of the fit." },
	{ .name = "mtf",
	  .type = CYC_OPT_TEXT,
	  AT(mtf),
	  .unit = "<file>",
	  .help = "Modulation transfer function of the detector." },

	{ .name = "Refinement", .type = CYC_OPT_HEADING },
	{ .name = "cycles",
	  .type = CYC_OPT_INT,
	  AT(n_cycles),
	  .unit = "<n>",
	  .min = "0",
	  .help = "Times that the CTFs (and before them the alignment) are refined, each followed by a "
	          "reconstruction and its FSC. A finished run continues with a larger number." },
	{ .name = "skip-defocus",
	  .type = CYC_OPT_FLAG,
	  AT(skip_defocus),
	  .help = "Leave defocus and astigmatism as they are." },
	{ .name = "skip-scale",
	  .type = CYC_OPT_FLAG,
	  AT(skip_scale),
	  .help = "Leave the contrast scale as it is." },
	{ .name = "defocus-range",
	  .type = CYC_OPT_DOUBLE,
	  AT(defocus_range_A),
	  .unit = "<Å>",
	  .min = "0",
	  .help = "Search defocus this far on both sides of the input; to 40000 Å where nothing is found." },
	{ .name = "kmin",
	  .type = CYC_OPT_DOUBLE,
	  AT(ctf_kmin_A),
	  .unit = "<Å>",
	  .min = "0",
	  .help = "Coarsest resolution used in the refinement of the CTFs." },
	{ .name = "skip-polish",
	  .type = CYC_OPT_FLAG,
	  AT(skip_polish),
	  .help = "Leave tilt geometry, particle positions and motion as they are." },
	{ .name = "skip-motion",
	  .type = CYC_OPT_FLAG,
	  AT(skip_motion),
	  .help = "Leave the particles' motion as it is." },
	{ .name = "keep-all",
	  .type = CYC_OPT_FLAG,
	  AT(keep_all),
	  .help = "Particles count alike, whatever their images say; those that are probably not the particle "
	          "are still reported." },
	{ .name = "skip-refine",
	  .type = CYC_OPT_FLAG,
	  AT(skip_refine),
	  .help = "Leave the particles' orientations as they are." },
	{ .name = "skip-check",
	  .type = CYC_OPT_FLAG,
	  AT(skip_check),
	  .help = "Do not look for mistakes in the metadata when the first maps are there." },
	{ .name = "particle-diameter",
	  .alias = "--particle_diameter",
	  .type = CYC_OPT_DOUBLE,
	  AT(particle_diameter_A),
	  .unit = "<Å>",
	  .help = "Images are masked outside of it when orientations are refined.",
	  .no_default = "what fits into the map" },
	{ .name = "refine-order",
	  .type = CYC_OPT_INT,
	  AT(refine_order),
	  .unit = "<n>",
	  .help = "Coarse angular steps of that: 4 is 3.7 degrees, 5 1.9, 6 0.9; halved once." },
	{ .name = "velocity-sigma",
	  .alias = "--s_vel",
	  .type = CYC_OPT_DOUBLE,
	  AT(motion_sigma_A_per_dose),
	  .unit = "<Å/(e/Å2)>",
	  .help = "Expected speed of the particles." },
	{ .name = "motion-distance",
	  .alias = "--s_div",
	  .type = CYC_OPT_DOUBLE,
	  AT(motion_correlation_A),
	  .unit = "<Å>",
	  .help = "Distance over which particles move together." },
	{ .name = "polish-range",
	  .type = CYC_OPT_DOUBLE,
	  AT(polish_range_px),
	  .unit = "<px>",
	  .help = "Largest displacement in an image that polishing sees." },
	{ .name = "duplicates",
	  .type = CYC_OPT_CHOICE,
	  AT(duplicates),
	  .unit = "<what>",
	  .choices = "remove,refuse,keep",
	  .help = "Particles that are in both half-sets, nearer to each other than a quarter of their diameter: "
	          "leave one of each pair out of the run, "
	          "refuse to start, or keep them." },
	{ .name = "accept-worse",
	  .alias = "--keep-all",
	  .type = CYC_OPT_FLAG,
	  AT(accept_worse),
	  .help = "Accept turns that are worse too; without it they are reported and the run continues from "
	          "before them." },
	{ .name = "backend",
	  .type = CYC_OPT_TEXT,
	  AT(backend),
	  .unit = "<name>",
	  .help = "What computes: cpu, or strict (slow, finds mistakes)." },
	CYC_COMMON_OPTIONS(cycle_args, common),
};

static const char DETAILS[] =
	"Reconstructs and post-processes; then, in each cycle, polishes (tilt geometry, positions, motion), "
	"refines the CTFs and\n"
	"the orientations, each followed by a reconstruction and its FSC. Every step has a job folder in the run "
	"folder and is fed by the one before.\n"
	"A refinement that makes the FSC significantly worse is reported and rejected.\n\n"
	"  cyclotomo cycle --i optimisation_set.star --b 192 --crop 112 --sym O \\\n"
	"      --mask-align mask_wide.mrc --mask-fsc mask_tight.mrc --o Cycle/";
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("cycle", "all steps of the refinement cycle in turn", DETAILS, OPTIONS);

/* Ends with what the run would end with at its start. */
static cyc_status dry_run(const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK, outcome = CYC_OK;
	char *text = NULL;
	CYC_TRY(cyc_cycle_plan(&text, &outcome, o));
	fputs(text, stdout);
	fflush(stdout);
	st = outcome;
done:
	cyc_free(text);
	return st;
}

/* A line of "Where to look", with the root in front so that it can be opened from here. */
static void print_path(const char *root, const char *path, const char *what)
{
	char *full = NULL;
	if (path && cyc_path_join(&full, root, path) == CYC_OK) printf("  %-16s %s\n", what, full);
	cyc_free(full);
}

static void print_result(const cyc_cycle_result *r, const char *root)
{
	printf("\n%s\n\n", r->verdict);
	printf("  resolution   %.2f -> %.2f Å\n  mean FSC     %.4f -> %.4f\n  steps        %d",
	       r->resolution_before_A, r->resolution_after_A, r->mean_fsc_before, r->mean_fsc_after, r->n_steps);
	if (r->n_steps_kept > 0) printf(" (%d finished earlier)", r->n_steps_kept);
	printf("; of %d refinements %d better, %d no difference, %d worse (%d accepted)\n\nWhere to look\n\n",
	       r->n_turns, r->n_better, r->n_same, r->n_turns - r->n_better - r->n_same, r->n_turns_taken);
	print_path(root, r->summary, "summary");
	print_path(root, r->final_map, "final map");
	print_path(root, r->final_set, "next job's --i");
}

cyc_status cyc_cmd_cycle(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	cycle_args a = { 0 };
	cyc_run run = { 0 };
	cyc_cycle_result result = { 0 };
	cyc_cycle_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_cycle_spare_inputs(&a.o));
	CYC_TRY(cyc_run_check_job(&run, a.o.out_dir, "relion.external"));
	if (a.is_dry_run) {
		CYC_TRY(dry_run(&a.o));
		goto done;
	}
	cyc_run_minds_closed_pipe();
	CYC_TRY(cyc_cycle_run(&result, &a.o, NULL));
	CYC_TRY(cyc_run_record_in(&run, a.o.out_dir));
	CYC_TRY(cyc_run_input(&run, "optimisation set", a.o.input.optimisation_set));
	CYC_TRY(cyc_run_input(&run, "particles", a.o.input.particles));
	CYC_TRY(cyc_run_input(&run, "tomograms", a.o.input.tomograms));
	CYC_TRY(cyc_run_input(&run, "trajectories", a.o.input.trajectories));
	CYC_TRY(cyc_run_input(&run, "mask for references", a.o.mask_align));
	CYC_TRY(cyc_run_input(&run, "mask for the FSC", a.o.mask_fsc));
	CYC_TRY(cyc_run_output(&run, "summary", result.summary));
	CYC_TRY(cyc_run_output(&run, "final map", result.final_map));
	CYC_TRY(cyc_run_output(&run, "final optimisation set", result.final_set));
	print_result(&result, a.common.root);
done:
	st = cyc_run_end(&run, st);
	cyc_cycle_result_deinit(&result);
	return st;
}

#include "command.h"

#include "cyclotomo/map.h"
#include "project/labels.h"

#include <string.h>

typedef struct {
	cyc_common_options common;
	cyc_postprocess_options o;
	bool asked_auto, has_adhoc, interpolate;
	const char *randomised_fsc;
	int32_t verbosity; /* RELION's --verb, of no use here */
} postprocess_args;

#define O(member) offsetof(postprocess_args, o.member)

static const cyc_option OPTIONS[] = {
	{ .name = "Input and output", .type = CYC_OPT_HEADING },
	{ .name = "half1",
	  .alias = "--i",
	  .type = CYC_OPT_TEXT,
	  .offset = O(half1),
	  .unit = "<map>",
	  .help = "One unfiltered half map.",
	  .no_default = "of the optimisation set" },
	{ .name = "half2",
	  .alias = "--i2",
	  .type = CYC_OPT_TEXT,
	  .offset = O(half2),
	  .unit = "<map>",
	  .help = "The other one.",
	  .no_default = "first one's name with half1 and half2 swapped" },
	{ .name = "optimisation-set",
	  .alias = "--ios",
	  .type = CYC_OPT_TEXT,
	  .offset = O(optimisation_set),
	  .unit = "<star>",
	  .help = "Where the half maps are named; a copy that names the FSC is written." },
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(out_root),
	  .unit = "<root name>",
	  .help = "Start of the names of all outputs." },
	{ .name = "mask",
	  .type = CYC_OPT_TEXT,
	  .offset = O(mask),
	  .unit = "<map>",
	  .help = "Soft solvent mask, values 0 to 1.",
	  .no_default = "none" },
	{ .name = "pixel-size",
	  .alias = "--angpix",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(pixel_size_A),
	  .unit = "<Å>",
	  .help = "Pixel size, in place of the one in the header.",
	  .no_default = "header" },
	{ .name = "half-maps",
	  .alias = "--half_maps",
	  .type = CYC_OPT_FLAG,
	  .offset = O(write_half_maps),
	  .help = "Write the two half maps sharpened in the same way." },
	{ .name = "no-figures", .type = CYC_OPT_FLAG, .offset = O(no_figures), .help = "No plots." },
	{ .name = "FSC", .type = CYC_OPT_HEADING },
	{ .name = "force-mask",
	  .alias = "--force_mask",
	  .type = CYC_OPT_FLAG,
	  .offset = O(force_mask),
	  .help = "Use the masked FSC even if the unmasked one reaches a higher resolution." },
	{ .name = "randomise-at-fsc",
	  .alias = "--randomize_at_fsc",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(randomise_at_fsc),
	  .unit = "<FSC>",
	  .help = "Randomise phases from the shell where the unmasked FSC falls below this." },
	{ .name = "randomise-at",
	  .alias = "--randomize_at_A",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(randomise_at_A),
	  .unit = "<Å>",
	  .help = "Randomise phases from here, whatever the FSC.",
	  .no_default = "by the FSC" },
	{ .name = "random-draws",
	  .type = CYC_OPT_INT,
	  .offset = O(n_random_draws),
	  .unit = "<n>",
	  .min = "1",
	  .help = "The phase-randomised FSC is the mean over this many draws." },
	{ .name = "seed",
	  .alias = "--random_seed",
	  .type = CYC_OPT_INT64,
	  .offset = O(seed),
	  .unit = "<n>",
	  .min = "0",
	  .help = "Seed of the draws." },
	{ .name = "randomised-fsc",
	  .type = CYC_OPT_TEXT,
	  .offset = offsetof(postprocess_args, randomised_fsc),
	  .unit = "<star>",
	  .help = "Take the phase-randomised FSC from this postprocess.star, to compare programs.",
	  .no_default = "computed" },
	{ .name = "molecular-weight",
	  .alias = "--molweight",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(molecular_weight_kDa),
	  .unit = "<kDa>",
	  .help = "Weight of the particle, for a solvent-corrected FSC column.",
	  .no_default = "not given" },
	{ .name = "amplitude-correlation",
	  .alias = "--ampl_corr",
	  .type = CYC_OPT_FLAG,
	  .offset = O(amplitude_correlation),
	  .help = "Even out the half maps' amplitudes over directions, from --bfactor-low on, and add curves of "
	          "amplitude correlation and phase residual." },
	{ .name = "compare-to",
	  .type = CYC_OPT_TEXT,
	  .offset = O(compare_to),
	  .unit = "<star>",
	  .no_default = "none",
	  .help = "Optimisation set of another state of the same particles: the difference of the mean FSC to "
	          "that of its half maps, with its standard error." },
	{ .name = "symmetry",
	  .alias = "--sym",
	  .type = CYC_OPT_TEXT,
	  .offset = O(symmetry),
	  .unit = "<group>",
	  .no_default = "C1",
	  .help = "Point group that the maps have, for standard errors: coefficients that it makes equal count "
	          "once." },
	{ .name = "interpolate",
	  .type = CYC_OPT_FLAG,
	  .offset = offsetof(postprocess_args, interpolate),
	  .help = "Print the resolution interpolated between shells too." },
	{ .name = "Sharpening", .type = CYC_OPT_HEADING },
	{ .name = "auto-bfactor",
	  .alias = "--auto_bfac",
	  .type = CYC_OPT_FLAG,
	  .offset = offsetof(postprocess_args, asked_auto),
	  .help = "Fit the B-factor to the Guinier plot; done unless --adhoc-bfactor is given." },
	{ .name = "bfactor-low",
	  .alias = "--autob_lowres",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(bfactor_low_A),
	  .unit = "<Å>",
	  .help = "Fit from this resolution.",
	  .min = "0" },
	{ .name = "bfactor-high",
	  .alias = "--autob_highres",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(bfactor_high_A),
	  .unit = "<Å>",
	  .help = "Fit to this resolution; 0: the last shell with signal.",
	  .min = "0" },
	{ .name = "adhoc-bfactor",
	  .alias = "--adhoc_bfac",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(adhoc_bfactor_A2),
	  .is_set = offsetof(postprocess_args, has_adhoc),
	  .unit = "<Å²>",
	  .help = "Use this B-factor; negative sharpens.",
	  .no_default = "fitted" },
	{ .name = "mtf",
	  .type = CYC_OPT_TEXT,
	  .offset = O(mtf),
	  .unit = "<star>",
	  .help = "Detector response to divide by.",
	  .no_default = "none" },
	{ .name = "mtf-pixel-size",
	  .alias = "--mtf_angpix",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(mtf_pixel_size_A),
	  .unit = "<Å>",
	  .help = "Pixel size of the images as recorded.",
	  .no_default = "that of the maps" },
	{ .name = "skip-fsc-weighting",
	  .alias = "--skip_fsc_weighting",
	  .type = CYC_OPT_FLAG,
	  .offset = O(skip_fsc_weighting),
	  .help = "Do not weight shells by their FSC." },
	{ .name = "lowpass",
	  .alias = "--low_pass",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(lowpass_A),
	  .unit = "<Å>",
	  .help = "Low-pass the result; 0: not; negative: at the final resolution." },
	{ .name = "filter-edge",
	  .alias = "--filter_edge_width",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(filter_edge_px),
	  .unit = "<px>",
	  .min = "0",
	  .help = "Width of the low-pass's edge, in Fourier pixels." },
	{ .name = "Local resolution", .type = CYC_OPT_HEADING },
	{ .name = "locres",
	  .type = CYC_OPT_FLAG,
	  .offset = O(local_resolution),
	  .help = "Local resolution and a locally filtered map as well." },
	{ .name = "locres-sampling",
	  .alias = "--locres_sampling",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(locres_sampling_A),
	  .unit = "<Å>",
	  .help = "Distance of the spheres." },
	{ .name = "locres-mask-radius",
	  .alias = "--locres_maskrad",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(locres_mask_radius_A),
	  .unit = "<Å>",
	  .help = "Radius of the spheres.",
	  .no_default = "half the sampling" },
	{ .name = "locres-edge",
	  .alias = "--locres_edgwidth",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(locres_edge_A),
	  .unit = "<Å>",
	  .help = "Their soft edge.",
	  .no_default = "the sampling" },
	{ .name = "locres-randomise-at",
	  .alias = "--locres_randomize_at",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(locres_randomise_at_A),
	  .unit = "<Å>",
	  .help = "Randomise phases from here." },
	{ .name = "locres-min-resolution",
	  .alias = "--locres_minres",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(locres_min_A),
	  .unit = "<Å>",
	  .help = "Worst resolution that is written." },
	{ .name = "dry-run",
	  .type = CYC_OPT_FLAG,
	  .offset = O(dry_run),
	  .help = "Check everything, say what would be done, and stop." },
	{ .name = "verb",
	  .type = CYC_OPT_INT,
	  .offset = offsetof(postprocess_args, verbosity),
	  .unit = "<n>",
	  .help = "Accepted and ignored." },
	CYC_COMMON_OPTIONS(postprocess_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("postprocess", "FSC, resolution, sharpened map, local resolution",
                    "The gold-standard FSC of two half maps, corrected for the mask by phase randomisation, "
                    "the resolution where it falls\n"
                    "below 0.143, and the average map sharpened and weighted by it:\n"
                    "  cyclotomo postprocess --i Reconstruct/job001/half1.mrc --mask mask.mrc --o "
                    "PostProcess/job002/postprocess",
                    OPTIONS);

/* What the curve says between the last shell above 0.143 and the next. */
static double interpolated_resolution_A(const cyc_postprocess_result *r)
{
	int32_t i = cyc_fsc_resolution_shell(r->fsc_corrected, r->n_shells);
	if (i < 1 || i + 1 >= r->n_shells) return r->final_resolution_A;
	double v0 = r->fsc_corrected[i] - 0.143, v1 = r->fsc_corrected[i + 1] - 0.143;
	return r->final_resolution_A * i / (i + v0 / (v0 - v1));
}

static void report(const postprocess_args *a, const cyc_postprocess_result *r)
{
	printf("final resolution %.3f Å\n", r->final_resolution_A);
	if (a->interpolate) printf("interpolated resolution %.3f Å\n", interpolated_resolution_A(r));
	if (r->fsc_masked) printf("phases randomised from %.2f Å\n", r->randomise_from_A);
	printf("B-factor %.2f Å²%s\n", r->bfactor_A2, a->o.auto_bfactor ? "" : " (given)");
	printf("mean FSC %.4f\n", r->mean_fsc);
	if (a->o.compare_to)
		printf("mean FSC changed by %+.4f, standard error %.4f\n", r->difference, r->difference_error);
	printf("FSC of the last %d shells %+.4f, standard error %.4f", r->n_edge_shells, r->edge_fsc,
	       r->edge_fsc_error);
	if (r->fsc_masked)
		printf("; outside of the mask %+.4f, %.4f", r->edge_fsc_outside, r->edge_fsc_outside_error);
	printf("\ncurves in %s\n", r->star);
	if (r->optimisation_set) printf("optimisation set %s\n", r->optimisation_set);
}

/* The curve that is read here, not by the job. */
static cyc_status spare_curve(const postprocess_args *a)
{
	cyc_output_plan plan = { .kind = CYC_OUTPUT_POSTPROCESS,
		                     .out = a->o.out_root,
		                     .root = a->o.root,
		                     .files = &a->randomised_fsc,
		                     .n_files = 1 };
	return cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL);
}

cyc_status cyc_cmd_postprocess(int argc, char **argv);
cyc_status cyc_cmd_postprocess(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	postprocess_args a = { 0 };
	cyc_run run = { 0 };
	cyc_postprocess_result result = { 0 };
	double *randomised = NULL;
	char *path = NULL;
	cyc_postprocess_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_CHECK(!(a.asked_auto && a.has_adhoc), CYC_E_USAGE,
	          "--auto-bfactor and --adhoc-bfactor exclude each other");
	a.o.auto_bfactor = !a.has_adhoc;
	a.o.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	if (a.randomised_fsc) {
		CYC_TRY(cyc_path_join(&path, a.o.root, a.randomised_fsc));
		CYC_TRY(
			cyc_fsc_read_column(&randomised, &a.o.n_randomised_fsc, path,
		                        CYC_RLN_CORRECTED_FOURIER_SHELL_CORRELATION_PHASE_RANDOMIZED_MASKED_MAPS));
		a.o.randomised_fsc = randomised;
	}
	CYC_TRY(cyc_postprocess_spare_inputs(&a.o));
	CYC_TRY(spare_curve(&a));
	if (!a.o.dry_run) CYC_TRY(cyc_run_job_file(&run, a.o.out_root, "relion.postprocess"));
	CYC_TRY(cyc_run_input(&run, "half map 1", a.o.half1));
	CYC_TRY(cyc_run_input(&run, "half map 2", a.o.half2));
	CYC_TRY(cyc_run_input(&run, "optimisation set", a.o.optimisation_set));
	CYC_TRY(cyc_run_input(&run, "mask", a.o.mask));
	CYC_TRY(cyc_run_input(&run, "MTF", a.o.mtf));
	CYC_TRY(cyc_run_input(&run, "phase-randomised FSC", a.randomised_fsc));
	CYC_TRY(cyc_postprocess_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "post-process STAR", result.star));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	report(&a, &result);
done:
	cyc_postprocess_result_deinit(&result);
	cyc_free(randomised);
	cyc_free(path);
	return cyc_run_end(&run, st);
}

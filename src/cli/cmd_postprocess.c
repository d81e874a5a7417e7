#include "command.h"

#include "cyclotomo/map.h"
#include "project/labels.h"

#include <string.h>
#include <sys/stat.h>

typedef struct {
	cyc_common_options common;
	cyc_postprocess_options o;
	bool asked_auto, interpolate;
	const char *randomised_fsc;
	int32_t verbosity; /* RELION's --verb, of no use here */
} postprocess_args;

#define ARG(type, name, member, ...) CYC_OPTION(postprocess_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	CYC_NESTED(postprocess_args, o, &cyc_postprocess_table),
	CYC_HEADING("On the command line"),
	ARG(TEXT, "randomised-fsc", randomised_fsc, .unit = "<star>", .no_default = "computed",
	    .help = "Take the phase-randomised FSC from this postprocess.star (to compare programs)."),
	ARG(FLAG, "interpolate", interpolate, .help = "Also print the resolution interpolated between shells."),
	ARG(FLAG, "auto-bfactor", asked_auto, .alias = "--auto_bfac",
	    .help = "Accepted; the B-factor is fitted to the Guinier plot unless --adhoc-bfactor is given."),
	ARG(INT, "verb", verbosity, .unit = "<n>", .help = "Accepted and ignored."),
	CYC_COMMON_OPTIONS(postprocess_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("postprocess", "FSC, resolution, sharpened map, local resolution",
                    "Computes the gold-standard FSC of two half maps, corrected for the mask by phase "
                    "randomisation, and the resolution where\n"
                    "it falls below 0.143; sharpens and FSC-weights the average map:\n"
                    "  cyclotomo postprocess --ios Reconstruct/job001/optimisation_set.star --mask mask.mrc "
                    "--o PostProcess/job002/postprocess",
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
	printf("B-factor %.2f Å²%s\n", r->bfactor_A2, a->o.has_bfactor ? " (given)" : "");
	printf("mean FSC %.4f\n", r->mean_fsc);
	if (a->o.compare_to)
		printf("mean FSC changed by %+.4f, standard error %.4f\n", r->difference, r->difference_error);
	printf("FSC of the last %d shells %+.4f, standard error %.4f", r->n_edge_shells, r->edge_fsc,
	       r->edge_fsc_error);
	if (r->fsc_masked)
		printf("; outside the mask %+.4f, standard error %.4f", r->edge_fsc_outside,
		       r->edge_fsc_outside_error);
	printf("\ncurves in %s\n", r->star);
	if (r->optimisation_set) printf("optimisation set %s\n", r->optimisation_set);
}

/* --o takes how names begin, as RELION's does, or a folder, as that of all other jobs: then names begin with
 * "postprocess". */
static cyc_status name_in_folder(char **named, postprocess_args *a)
{
	cyc_status st = CYC_OK;
	struct stat s;
	char *path = NULL;
	size_t n = a->o.out_root ? strlen(a->o.out_root) : 0;
	if (n == 0) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, a->common.root, a->o.out_root));
	if (a->o.out_root[n - 1] == '/' || (stat(path, &s) == 0 && S_ISDIR(s.st_mode))) {
		CYC_TRY(cyc_path_join(named, a->o.out_root, "postprocess"));
		a->o.out_root = *named;
	}
done:
	cyc_free(path);
	return st;
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
	char *path = NULL, *named = NULL;
	cyc_postprocess_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_TRY(name_in_folder(&named, &a));
	CYC_CHECK(!(a.asked_auto && a.o.has_bfactor), CYC_E_USAGE,
	          "--auto-bfactor and --adhoc-bfactor exclude each other");
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
	cyc_outputs_watch(CYC_OUTPUT_POSTPROCESS);
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
	/* As scripts look for it. */
	if (run.called_as) printf("  + FINAL RESOLUTION: %12.3f\n", result.final_resolution_A);
done:
	cyc_postprocess_result_deinit(&result);
	cyc_free(randomised);
	cyc_free(path);
	st = cyc_run_end(&run, st);
	cyc_free(named);
	return st;
}

#include "command.h"

#include "cyclotomo/polish.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_polish_options o;
} polish_args;

static const cyc_option OPTIONS[] = {
	CYC_NESTED(polish_args, o, &cyc_polish_table),
	CYC_COMMON_OPTIONS(polish_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("polish", "Refine tilt geometry, particle positions and beam-induced motion",
                    "  cyclotomo polish --i PostProcess/job002/postprocess_optimisation_set.star --mask "
                    "mask.mrc --b 192 --motion --o Polish/job003/\n"
                    "refines tilt shifts, tilt angles and particle positions by comparing the images with "
                    "projections of the half maps.",
                    OPTIONS);

cyc_status cyc_cmd_polish(int argc, char **argv);
cyc_status cyc_cmd_polish(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	polish_args a = { 0 };
	cyc_run run = { 0 };
	cyc_polish_result result = { 0 };
	cyc_polish_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_polish_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir) CYC_TRY(cyc_run_job(&run, a.o.out_dir, "relion.framealigntomo", a.o.dry_run));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_POLISH));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_run_reference_inputs(&run, a.o.ref1, a.o.ref2, a.o.mask, a.o.fsc));
	CYC_TRY(cyc_polish_run(&result, &a.o));
	if (a.o.dry_run || cyc_run_print_part(&result.part, a.o.out_dir)) goto done;
	CYC_TRY(cyc_run_output(&run, "tomograms", result.tomograms));
	CYC_TRY(cyc_run_output(&run, "particles", result.particles));
	CYC_TRY(cyc_run_output(&run, "trajectories", result.trajectories));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	printf("%d of %d tilt series better, %d worse: %s\n", result.n_improved, result.n_series, result.n_worse,
	       result.tomograms);
done:
	cyc_polish_result_deinit(&result);
	return cyc_run_end(&run, st);
}

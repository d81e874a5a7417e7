#include "command.h"

#include "cyclotomo/joint.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_refine_tilts_options o;
} tilts_args;

static const cyc_option OPTIONS[] = {
	CYC_NESTED(tilts_args, o, &cyc_refine_tilts_table),
	CYC_COMMON_OPTIONS(tilts_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("refine-tilts", "Polish and refine CTFs in turn, reading the images once",
                    "  cyclotomo refine-tilts --i PostProcess/job002/postprocess_optimisation_set.star "
                    "--mask mask.mrc --b 192 --o Tilts/job003/\n"
                    "runs polish and ctfrefine one after the other against the same half maps.",
                    OPTIONS);

cyc_status cyc_cmd_refine_tilts(int argc, char **argv);
cyc_status cyc_cmd_refine_tilts(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	tilts_args a = { 0 };
	cyc_run run = { 0 };
	cyc_refine_tilts_result result = { 0 };
	cyc_refine_tilts_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_refine_tilts_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir) CYC_TRY(cyc_run_job(&run, a.o.out_dir, "relion.framealigntomo", a.o.dry_run));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_REFINE_TILTS));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_run_reference_inputs(&run, a.o.ref1, a.o.ref2, a.o.mask, a.o.fsc));
	CYC_TRY(cyc_refine_tilts_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	printf("%d round%s of alignment and CTF refinement: %s\n", a.o.n_rounds, cyc_plural(a.o.n_rounds),
	       result.optimisation_set);
done:
	cyc_refine_tilts_result_deinit(&result);
	return cyc_run_end(&run, st);
}

#include "command.h"

#include "cyclotomo/extract.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_extract_options o;
} extract_args;

static const cyc_option OPTIONS[] = {
	CYC_NESTED(extract_args, o, &cyc_extract_table),
	CYC_COMMON_OPTIONS(extract_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("extract", "Cut particles out of the tilt images, as 2D stacks or 3D volumes",
                    "  cyclotomo extract --i Polish/job003/optimisation_set.star --stacks --float16 --b 192 "
                    "--crop 96 --o Extract/job004/\n"
                    "writes one file per particle (two for volumes) into Subtomograms/, and a particles.star "
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
	if (a.o.out_dir) CYC_TRY(cyc_run_job(&run, a.o.out_dir, "relion.pseudosubtomo", a.o.dry_run));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_EXTRACT));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_extract_run(&result, &a.o));
	if (a.o.dry_run || cyc_run_print_part(&result.part, a.o.out_dir)) goto done;
	CYC_TRY(cyc_run_output(&run, "particles", result.particles));
	CYC_TRY(cyc_run_output(&run, "trajectories", result.trajectories));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	printf("%lld particles, %lld images, %.3g GB: %s\n", (long long)result.n_particles,
	       (long long)result.n_images, result.disk_bytes / 1e9, result.particles);
done:
	cyc_extract_result_deinit(&result);
	return cyc_run_end(&run, st);
}

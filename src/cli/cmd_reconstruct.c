#include "command.h"

#include "cyclotomo/reconstruct.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_reconstruct_options o;
	int32_t ignored_threads[2];
	double ignored_memory;
} reconstruct_args;

#define ARG(type, name, member, ...) CYC_OPTION(reconstruct_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	CYC_NESTED(reconstruct_args, o, &cyc_reconstruct_table),
	CYC_HEADING("Accepted for RELION's GUI"),
	ARG(INT, "j-in", ignored_threads[0], .alias = "--j_in", .unit = "<n>",
	    .help = "Accepted and ignored: all threads work on one sum."),
	ARG(INT, "j-out", ignored_threads[1], .alias = "--j_out", .unit = "<n>", .help = "As --j-in."),
	ARG(DOUBLE, "mem", ignored_memory, .unit = "<GB>", .help = "As --j-in."),
	CYC_COMMON_OPTIONS(reconstruct_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"reconstruct", "Reconstruct half maps and a merged map from the tilt images",
	"  cyclotomo reconstruct --i optimisation_set.star --b 192 --crop 96 --sym C6 --o Reconstruct/job001/\n"
	"writes half1.mrc, half2.mrc and merged.mrc (uncropped: half1_full.mrc, ...) and an optimisation set\n"
	"that names them.",
	OPTIONS);

cyc_status cyc_cmd_reconstruct(int argc, char **argv);
cyc_status cyc_cmd_reconstruct(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	reconstruct_args a = { 0 };
	cyc_run run = { 0 };
	cyc_reconstruct_result result = { 0 };
	cyc_reconstruct_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_reconstruct_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir) CYC_TRY(cyc_run_job(&run, a.o.out_dir, "relion.reconstructparticletomo", a.o.dry_run));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_RECONSTRUCT));
	CYC_TRY(cyc_run_project_inputs(&run, &a.o.input));
	CYC_TRY(cyc_reconstruct_run(&result, &a.o));
	if (a.o.dry_run) goto done;
	CYC_TRY(cyc_run_output(&run, "half map 1", result.half1));
	CYC_TRY(cyc_run_output(&run, "half map 2", result.half2));
	CYC_TRY(cyc_run_output(&run, "merged map", result.merged));
	CYC_TRY(cyc_run_output(&run, "optimisation set", result.optimisation_set));
	printf("%lld particles, %lld images: %s\n", (long long)result.n_particles, (long long)result.n_images,
	       result.merged ? result.merged : "sums only");
done:
	cyc_reconstruct_result_deinit(&result);
	return cyc_run_end(&run, st);
}

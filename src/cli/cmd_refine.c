#include "command.h"

#include "cyclotomo/refine3d.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_refine3d_options o;
	bool accepted;
	int32_t ignored_number;
} refine_args;

/* RELION's switches of what is always on here, or has no meaning. */
#define ACCEPTED(hyphened, relion, text)                                                                     \
	{                                                                                                        \
		.name = hyphened, .alias = relion, .type = CYC_OPT_FLAG, .offset = offsetof(refine_args, accepted),  \
		.help = text                                                                                         \
	}

#define ARG(type, name, member, ...) CYC_OPTION(refine_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	CYC_NESTED(refine_args, o, &cyc_refine3d_table),
	CYC_HEADING("Accepted for RELION's GUI"),
	ACCEPTED("auto-refine", "--auto_refine", "Always on."),
	ACCEPTED("split-random-halves", "--split_random_halves",
	         "Always on; half-sets are those of rlnRandomSubset."),
	ACCEPTED("firstiter-cc", "--firstiter_cc", "Not needed: the grey scale is fitted."),
	ACCEPTED("trust-ref-size", "--trust_ref_size", "References are always rescaled and resized to fit."),
	ACCEPTED("flatten-solvent", "--flatten_solvent", "Always on."),
	ACCEPTED("zero-mask", "--zero_mask", "Always on."),
	ACCEPTED("solvent-correct-fsc", "--solvent_correct_fsc", "On unless --no-fsc-correction is given."),
	ACCEPTED("ctf", "--ctf", "Always on."),
	ACCEPTED("norm", "--norm", "Ignored: not used for tilt series."),
	ACCEPTED("scale", "--scale", "On unless --no-scale is given."),
	ACCEPTED("dont-combine-weights-via-disc", "--dont_combine_weights_via_disc", "Ignored."),
	ACCEPTED("no-parallel-disc-io", "--no_parallel_disc_io", "Ignored."),
	ACCEPTED("preread-images", "--preread_images", "Ignored: see --cache."),
	ARG(INT, "pad", ignored_number, .unit = "<factor>", .no_default = "2",
	    .help = "Ignored: the padding is always 2."),
	ARG(INT, "pool", ignored_number, .unit = "<n>", .no_default = "none", .help = "Ignored."),
	CYC_COMMON_OPTIONS(refine_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"refine", "Refine orientation and position of every particle",
	"  cyclotomo refine --i Reconstruct/job005/optimisation_set.star --mask mask.mrc --b 256 --crop 192 "
	"--sym C6 \\\n"
	"      --particle-diameter 230 --o Refine3D/job006/\n"
	"refines poses against the half map of their own half-set, directly from the tilt images.",
	OPTIONS);

cyc_status cyc_cmd_refine(int argc, char **argv);
cyc_status cyc_cmd_refine(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	refine_args a = { 0 };
	cyc_run run = { 0 };
	cyc_refine3d_result result = { 0 };
	cyc_refine3d_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_refine3d_spare_inputs(&a.o, CYC_OUTPUT_ALL));
	if (a.o.out_dir) CYC_TRY(cyc_run_job(&run, a.o.out_dir, "relion.refine3d.tomo", a.o.dry_run));
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
		printf("%lld of %lld picks probably do not show the particle: see run_improbable.star\n",
		       (long long)result.n_improbable, (long long)result.n_particles);
	printf("%lld particle%s, %d iteration%s, resolution %.2f Å (FSC 0.143): %s\n",
	       (long long)result.n_particles, cyc_plural(result.n_particles), result.n_iterations,
	       cyc_plural(result.n_iterations), result.resolution_A, result.particles);
done:
	cyc_refine3d_result_deinit(&result);
	return cyc_run_end(&run, st);
}

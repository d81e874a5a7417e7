#include "command.h"

#include "cyclotomo/survey.h"

#include <stdio.h>

typedef struct {
	cyc_common_options common;
	cyc_project_input input;
	const char *output, *score;
	double min_separation_A;
} separate_args;

#define ARG(type, name, member, ...) CYC_OPTION(separate_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	CYC_HEADING("Input and output"),
	CYC_NESTED(separate_args, input, &cyc_project_input_table),
	ARG(TEXT, "output", output, .alias = "--o", .unit = "<folder>", .help = "Output folder."),
	CYC_HEADING("Which particles"),
	ARG(DOUBLE, "min-separation", min_separation_A, .unit = "<Å>", .range = "[0,", .no_default = "required",
	    .help =
	        "Minimum distance between two particles of a tomogram; of pairs that are closer one is removed."),
	ARG(TEXT, "score", score, .unit = "<LABEL>", .no_default = "keep the first in the file",
	    .help = "Column with a score: of two that are too close keep the one with the higher value (for "
	            "example rlnMaxValueProbDistribution)."),
	CYC_COMMON_OPTIONS(separate_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("separate", "Remove duplicates: particles closer than a given distance",
                    "  cyclotomo separate --i Refine3D/job034/run_optimisation_set.star --min-separation 30 "
                    "--o Select/job035/\n"
                    "writes particles.star without the duplicates, and an optimisation set. Positions "
                    "include the offsets (rlnOrigin...).",
                    OPTIONS);

static cyc_status write_files(cyc_run *run, const separate_args *a, cyc_optimisation_set *set,
                              const cyc_particle_set *particles, const bool *keep)
{
	cyc_status st = CYC_OK;
	char *name = NULL, *set_name = NULL, *path = NULL;
	CYC_TRY(cyc_path_join(&name, a->output, "particles.star"));
	CYC_TRY(cyc_path_join(&path, a->common.root, name));
	CYC_TRY(cyc_particle_set_write(particles, keep, path));
	CYC_TRY(cyc_run_output(run, "particles", name));
	CYC_TRY(cyc_path_join(&set_name, a->output, "optimisation_set.star"));
	const cyc_set_changes now = { .particles = name, .keeps_references = true };
	CYC_TRY(cyc_optimisation_set_write_result(a->common.root, set_name, set, &now));
	CYC_TRY(cyc_run_output(run, "optimisation set", set_name));
done:
	cyc_free(name);
	cyc_free(set_name);
	cyc_free(path);
	return st;
}

static cyc_status separate(cyc_run *run, const separate_args *a)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *particles = NULL;
	bool *keep = NULL;
	double *score = NULL;
	int64_t n_removed;
	cyc_project_size size;
	CYC_TRY(cyc_project_resolve(&set, &a->input));
	CYC_TRY(cyc_tomogram_set_read_unchecked(&tomograms, set->tomograms, a->common.root));
	CYC_TRY(cyc_particle_set_read(&particles, set->particles, NULL, tomograms, a->common.root));
	const cyc_project_view view = {
		.root = a->common.root, .set = set, .tomograms = tomograms, .particles = particles
	};
	const cyc_survey_options survey = { .skip_images = true, .skip_orientations = true, .n_threads = 1 };
	CYC_TRY(cyc_survey_require(&view, &a->input, &survey));
	CYC_TRY(cyc_project_size_of(&size, tomograms, particles, a->common.root));
	CYC_TRY(cyc_memory_require(cyc_separate_memory_bytes(&size), 1,
	                           "split the particle set and separate the parts one by one"));
	CYC_TRY(cyc_alloc(&keep, particles->n, sizeof *keep));
	if (a->score) {
		CYC_TRY(cyc_alloc(&score, particles->n, sizeof *score));
		CYC_TRY(cyc_particle_column(score, particles, a->score));
	}
	CYC_TRY(cyc_particle_set_separate(keep, &n_removed, particles, a->min_separation_A, score));
	CYC_TRY(write_files(run, a, set, particles, keep));
	printf("%lld of %lld particles kept, %lld removed (closer than %g Å to one that is kept)\n",
	       (long long)(particles->n - n_removed), (long long)particles->n, (long long)n_removed,
	       a->min_separation_A);
done:
	cyc_free(keep);
	cyc_free(score);
	cyc_particle_set_destroy(&particles);
	cyc_tomogram_set_destroy(&tomograms);
	cyc_optimisation_set_destroy(&set);
	return st;
}

cyc_status cyc_cmd_separate(int argc, char **argv);
cyc_status cyc_cmd_separate(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	separate_args a = { 0 };
	cyc_run run = { 0 };
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.input.root = a.common.root;
	CYC_CHECK(a.output && a.output[0], CYC_E_USAGE, "an output folder is needed (--o)");
	CYC_CHECK(a.min_separation_A > 0, CYC_E_USAGE, "a distance is needed (--min-separation)");
	cyc_output_plan plan = {
		.kind = CYC_OUTPUT_SEPARATE, .out = a.output, .root = a.common.root, .input = &a.input
	};
	CYC_TRY(cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL));
	CYC_TRY(cyc_run_job(&run, a.output, "relion.select.removeduplicates", false));
	CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_SEPARATE));
	CYC_TRY(cyc_run_project_inputs(&run, &a.input));
	CYC_TRY(separate(&run, &a));
done:
	return cyc_run_end(&run, st);
}

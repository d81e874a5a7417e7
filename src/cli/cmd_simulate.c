#include "command.h"

#include "cyclotomo/simulate.h"

#include <string.h>

typedef struct {
	cyc_common_options common;
	cyc_simulate_options o;
	cyc_simulate_preset preset;
} simulate_args;

static const char PRESETS[] = "demo,tiny,large";

#define ARG(type, name, member, ...) CYC_OPTION(simulate_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	CYC_HEADING("Preset"),
	ARG(CHOICE, "preset", preset, .unit = "<name>", .choices = PRESETS,
	    .help = "Defaults of the other options: the demonstration, a tiny set for tests, or large images."),
	CYC_NESTED(simulate_args, o, &cyc_simulate_table),
	CYC_COMMON_OPTIONS(simulate_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("simulate", "Make a small RELION-5 project with known truth",
                    "  cyclotomo simulate --o demo\n"
                    "  cyclotomo cycle --root demo --i optimisation_set.star --mask-align mask_align.mrc "
                    "--mask-fsc mask_fsc.mrc \\\n"
                    "            --b 128 --crop 96 --sym O --o Cycle\n"
                    "makes the demonstration project and refines it. The true metadata, motion and map are "
                    "in its folder truth/.",
                    OPTIONS);

/* The preset sets what the other options start from, so it is looked for before they are read. Mistakes are
 * left to the parser. */
static cyc_simulate_preset find_preset(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *value = NULL;
		if (strncmp(argv[i], "--preset=", 9) == 0) value = argv[i] + 9;
		else if (strcmp(argv[i], "--preset") == 0 && i + 1 < argc) value = argv[i + 1];
		if (value && strcmp(value, "tiny") == 0) return CYC_SIMULATE_TINY;
		if (value && strcmp(value, "large") == 0) return CYC_SIMULATE_LARGE;
	}
	return CYC_SIMULATE_DEMO;
}

cyc_status cyc_cmd_simulate(int argc, char **argv);

cyc_status cyc_cmd_simulate(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	simulate_args a = { .preset = CYC_SIMULATE_DEMO };
	cyc_simulate_result result = { 0 };
	cyc_run run = { 0 };
	char *folder = NULL, *set = NULL;
	a.preset = find_preset(argc, argv);
	cyc_simulate_options_default(&a.o);
	cyc_simulate_options_preset(&a.o, a.preset);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_CHECK(a.o.out_dir, CYC_E_USAGE, "the output folder is missing: give it with --o");
	CYC_TRY(cyc_path_join(&set, a.o.out_dir, "optimisation_set.star"));
	CYC_TRY(cyc_path_join(&folder, a.common.root, a.o.out_dir));
	cyc_simulate_options o = a.o;
	o.out_dir = folder;
	o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_simulate_run(&result, &o));
	CYC_TRY(cyc_run_job_file(&run, set, "cyclotomo.simulate"));
	CYC_TRY(cyc_run_output(&run, "optimisation set", set));
	printf("project    %s\n", folder);
	printf("particle   %.0f kDa, radius %.0f Å, symmetry %s, %lld atoms\n", result.mass_kDa, result.radius_A,
	       a.o.symmetry, (long long)result.n_atoms);
	printf("images     %lld of %d x %d px, %.2f Å/px, %.1f MB\n", (long long)result.n_images,
	       (int)a.o.image_nx, (int)(a.o.image_ny > 0 ? a.o.image_ny : a.o.image_nx), a.o.pixel_size_A,
	       1e-6 * (double)result.image_bytes);
	printf("particles  %d in %d tilt series\n", (int)(a.o.n_particles * a.o.n_series), (int)a.o.n_series);
done:
	st = cyc_run_end(&run, st);
	cyc_free(folder);
	cyc_free(set);
	return st;
}

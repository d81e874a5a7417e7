#include "command.h"

#include "cyclotomo/cycle.h"

#include <string.h>

cyc_status cyc_cmd_cycle(int argc, char **argv);
cyc_status cyc_cmd_polish(int argc, char **argv);
cyc_status cyc_cmd_ctfrefine(int argc, char **argv);

typedef struct {
	cyc_common_options common;
	cyc_cycle_options o;
	bool is_dry_run;
	const char *part;
} cycle_args;

static const cyc_option OPTIONS[] = {
	CYC_NESTED(cycle_args, o, &cyc_cycle_table),
	CYC_HEADING("Plan"),
	CYC_OPTION(cycle_args, FLAG, "dry-run", is_dry_run, .alias = "--dry_run",
	           .help = "Check everything, print the plan with sizes, memory and disk space, and missing "
	                   "images; write nothing. The exit code is that of the run if it cannot start, else 0."),
	CYC_HEADING("Parts"),
	CYC_OPTION(cycle_args, TEXT, "part", part, .unit = "<k/n>",
	           .help =
	               "Compute only part k of n of the step that a run with --parts n has stopped at. Of the "
	               "other options only --o, --root and --threads may be given; the rest is the run's."),
	CYC_COMMON_OPTIONS(cycle_args, common),
};

static const char DETAILS[] = "Reconstructs and post-processes; then each cycle polishes (tilt geometry, "
							  "positions, motion), refines CTFs and refines\n"
							  "orientations. After each of these a new map is made, and its FSC decides: a "
							  "refinement that makes it significantly worse\n"
							  "is rejected. Every step has a job folder in the run folder and starts from "
							  "the result of the one before.\n"
							  "\n"
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
	printf("; %d refinements: %d better, %d no difference, %d worse (%d accepted)\n\nResults\n\n", r->n_turns,
	       r->n_better, r->n_same, r->n_turns - r->n_better - r->n_same, r->n_turns_taken);
	print_path(root, r->summary, "summary");
	print_path(root, r->final_map, "final map");
	print_path(root, r->final_set, "next job's --i");
}

/* Options that --part takes from the run must not seem to be given. */
static cyc_status refuse_other_options(const cycle_args *a)
{
	cyc_status st = CYC_OK;
	cyc_cycle_options given = a->o, by_default;
	uint64_t h = CYC_HASH_INIT, h_default = CYC_HASH_INIT;
	cyc_cycle_options_default(&by_default);
	given.out_dir = by_default.out_dir;
	given.n_cycles = by_default.n_cycles;
	CYC_TRY(cyc_options_hash(&h, &given, &cyc_cycle_table, CYC_OPTIONS_ALL));
	CYC_TRY(cyc_options_hash(&h_default, &by_default, &cyc_cycle_table, CYC_OPTIONS_ALL));
	CYC_CHECK(h == h_default && !a->is_dry_run && a->o.n_parts == 0, CYC_E_USAGE,
	          "--part takes its options from the run: give only --o, --root and --threads beside it");
	CYC_CHECK(a->o.out_dir && a->o.out_dir[0], CYC_E_USAGE, "the run folder is missing: give it with --o");
done:
	return st;
}

/* One part of the step that the run waits for, by the command of its job. */
static cyc_status compute_part(const cycle_args *a)
{
	cyc_status st = CYC_OK;
	char **words = NULL, *dir = NULL;
	int n = 0;
	const cyc_part_call call = { a->common.root, a->o.out_dir, a->part, a->common.n_threads };
	CYC_TRY(refuse_other_options(a));
	CYC_TRY(cyc_path_join(&dir, a->common.root, a->o.out_dir));
	CYC_CHECK(cyc_path_exists(dir), CYC_E_IO, "there is no run in '%s'", dir);
	CYC_TRY(cyc_cycle_part_command(&words, &n, &call));
	if (!words) printf("no step of %s waits for parts\n", a->o.out_dir);
	else if (strcmp(words[0], "polish") == 0) CYC_TRY(cyc_cmd_polish(n, words));
	else if (strcmp(words[0], "ctfrefine") == 0) CYC_TRY(cyc_cmd_ctfrefine(n, words));
	else CYC_RAISE(CYC_E_FORMAT, "a step of the kind '%s' cannot be dealt", words[0]);
done:
	cyc_cycle_words_free(words);
	cyc_free(dir);
	return st;
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
	if (a.part) {
		run.has_begun = false; /* the job's command has its own line of times */
		CYC_TRY(compute_part(&a));
		goto done;
	}
	a.o.input.root = a.common.root;
	a.o.n_threads = a.common.n_threads;
	CYC_TRY(cyc_cycle_spare_inputs(&a.o));
	CYC_TRY(cyc_run_job(&run, a.o.out_dir, "relion.external", true));
	if (a.is_dry_run) {
		CYC_TRY(dry_run(&a.o));
		goto done;
	}
	cyc_run_minds_closed_pipe();
	CYC_TRY(cyc_cycle_run(&result, &a.o, NULL));
	if (result.waiting) {
		printf(
			"%s waits for its %d parts: cyclotomo cycle%s%s --o %s --part k/%d, then repeat this command\n",
			result.waiting, a.o.n_parts, a.common.root[0] ? " --root " : "", a.common.root, a.o.out_dir,
			a.o.n_parts);
		goto done;
	}
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

#include "command.h"

#include "cyclotomo/import.h"

#include <stdio.h>
#include <string.h>

typedef struct {
	cyc_common_options common;
	cyc_import_options o;
	enum { ALPHA_UNKNOWN, ALPHA_IGNORE, ALPHA_X_TILT } alpha; /* of ALPHA */
} import_args;

static const char ALPHA[] = "unknown,ignore,x-tilt";

static const cyc_option OPTIONS[] = {
	CYC_NESTED(import_args, o, &cyc_import_table),
	CYC_HEADING("AreTomo"),
	CYC_OPTION(import_args, CHOICE, "alpha-offset", alpha, .choices = ALPHA,
	           .no_default = "must be given if there is one",
	           .help = "AreTomo: is an AlphaOffset a tilt of all images about x?"),
	CYC_COMMON_OPTIONS(import_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"import", "Make a RELION-5 project from files of Warp, M, IMOD or AreTomo",
	"Warp:    cyclotomo import --tomograms matching_tomograms.star --particles matching.star \\\n"
	"           --images 'tiltstack/*/*.st' --warp 'warp_tiltseries/*.xml' --o Import/job001/\n"
	"IMOD:    cyclotomo import --xf 'imod/*/*.xf' --tilt-angles 'imod/*/*.tlt' --images 'imod/*/*.st' \\\n"
	"           --mdoc 'mdocs/*.mdoc' --ctf 'imod/*/*.defocus' --tilt-com 'imod/*/tilt.com' \\\n"
	"           --pixel-size 1.35 --voltage 300 --cs 2.7 --amplitude-contrast 0.1 --hand -1 \\\n"
	"           --tomogram-axes rotx --particles picks.txt --binning 8 --o Import/job001/\n"
	"AreTomo: the same with --aln 'aretomo/*.aln' and --tomogram-size, without --xf and IMOD's other "
	"options.\n"
	"How each program's numbers are converted: docs/import.md. Then run `cyclotomo check` on the project.",
	OPTIONS);

static void report(const import_args *a, const cyc_import_result *r)
{
	printf("tilt series  %d with %d tilts", r->n_series, r->n_tilts);
	if (r->n_left_out > 0) printf(", %d left out", r->n_left_out);
	if (r->n_excluded > 0) printf(", %d of scale 0 (excluded)", r->n_excluded);
	printf("\n");
	if (r->n_matrices > 0)
		printf("geometry     projection matrices kept: angles and shifts alone would be off by up to %.3g px "
		       "for %d tilts\n",
		       r->worst_px, r->n_matrices);
	else printf("geometry     angles and shifts, within %.1e px of the alignment\n", r->worst_px);
	if (a->o.dry_run) return;
	printf("particles    %lld, half-sets of %lld and %lld%s\n", (long long)r->n_particles,
	       (long long)r->n_half[0], (long long)r->n_half[1], r->made_halves ? " (assigned now)" : "");
	printf("next: cyclotomo check --i %s%soptimisation_set.star\n", a->o.out_dir,
	       a->o.out_dir[strlen(a->o.out_dir) - 1] == '/' ? "" : "/");
}

static cyc_status note_outputs(cyc_run *run, const cyc_import_options *o)
{
	static const char *const NAMES[][2] = { { "tomograms", "tomograms.star" },
		                                    { "particles", "particles.star" },
		                                    { "optimisation set", "optimisation_set.star" } };
	cyc_status st = CYC_OK;
	char *name = NULL;
	for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
		CYC_TRY(cyc_path_join(&name, o->out_dir, NAMES[i][1]));
		CYC_TRY(cyc_run_output(run, NAMES[i][0], name));
		cyc_free(name);
		name = NULL;
	}
done:
	cyc_free(name);
	return st;
}

cyc_status cyc_cmd_import(int argc, char **argv);
cyc_status cyc_cmd_import(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	import_args a = { 0 };
	cyc_run run = { 0 };
	cyc_import_result result = { 0 };
	cyc_import_options_default(&a.o);
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	a.o.root = a.common.root;
	a.o.has_alpha = a.alpha != ALPHA_UNKNOWN;
	a.o.alpha_is_x_tilt = a.alpha == ALPHA_X_TILT;
	CYC_CHECK(a.o.dry_run || (a.o.out_dir && a.o.out_dir[0]), CYC_E_USAGE,
	          "an output folder is needed (--o)");
	CYC_TRY(cyc_import_spare_inputs(&a.o));
	if (!a.o.dry_run) {
		CYC_TRY(cyc_run_job(&run, a.o.out_dir, "cyclotomo.import", false));
		CYC_TRY(cyc_run_owns_folder(&run, CYC_OUTPUT_IMPORT));
	}
	CYC_TRY(cyc_run_input(&run, "tomograms", a.o.tomograms));
	if (a.o.particles && !strchr(a.o.particles, '*'))
		CYC_TRY(cyc_run_input(&run, "particles", a.o.particles));
	CYC_TRY(cyc_import_run(&result, &a.o));
	report(&a, &result);
	if (!a.o.dry_run) CYC_TRY(note_outputs(&run, &a.o));
done:
	return cyc_run_end(&run, st);
}

#include "command.h"

#include "cyclotomo/import.h"

#include <stdio.h>
#include <string.h>

typedef struct {
	cyc_common_options common;
	cyc_import_options o;
	int alpha; /* of ALPHA */
} import_args;

#define O(member) offsetof(import_args, o.member)
static const char ALPHA[] = "unknown,ignore,x-tilt";
enum { ALPHA_UNKNOWN, ALPHA_IGNORE, ALPHA_X_TILT };

static const cyc_option OPTIONS[] = {
	{ .name = "Alignment: one of these", .type = CYC_OPT_HEADING },
	{ .name = "tomograms",
	  .alias = "--t",
	  .type = CYC_OPT_TEXT,
	  .offset = O(tomograms),
	  .unit = "<star>",
	  .help = "Warp, M, RELION-4: tomograms.star with projection matrices." },
	{ .name = "xf",
	  .type = CYC_OPT_TEXT,
	  .offset = O(xf),
	  .unit = "<files>",
	  .help =
	      "IMOD: transforms of the final alignment. In names of files a * stands for the name of the tilt "
	      "series; quote them." },
	{ .name = "aln",
	  .type = CYC_OPT_TEXT,
	  .offset = O(aln),
	  .unit = "<files>",
	  .help = "AreTomo: alignments." },
	{ .name = "What goes with it", .type = CYC_OPT_HEADING },
	{ .name = "images",
	  .type = CYC_OPT_TEXT,
	  .offset = O(images),
	  .unit = "<files>",
	  .help = "Raw tilt stacks: those that were aligned, with all their sections." },
	{ .name = "tilt-angles",
	  .alias = "--tlt",
	  .type = CYC_OPT_TEXT,
	  .offset = O(tilts),
	  .unit = "<files>",
	  .help = "IMOD: tilt angles of the final alignment (.tlt)." },
	{ .name = "x-tilts",
	  .alias = "--xtilt",
	  .type = CYC_OPT_TEXT,
	  .offset = O(x_tilts),
	  .unit = "<files>",
	  .help = "IMOD: tilts about x (.xtilt)." },
	{ .name = "tilt-com",
	  .type = CYC_OPT_TEXT,
	  .offset = O(tilt_com),
	  .unit = "<files>",
	  .help = "IMOD: tilt.com, for sections that are left out, offsets, and the size of the tomogram." },
	{ .name = "alpha-offset",
	  .type = CYC_OPT_CHOICE,
	  .offset = offsetof(import_args, alpha),
	  .choices = ALPHA,
	  .help = "AreTomo: whether an AlphaOffset is a tilt about x of all images.",
	  .no_default = "asked for where there is one" },
	{ .name = "warp",
	  .type = CYC_OPT_TEXT,
	  .offset = O(warp),
	  .unit = "<files>",
	  .help =
	      "Warp: .xml (or .tomostar) of the tilt series, for the shifts that matrices of Warp do not have." },
	{ .name = "averages",
	  .type = CYC_OPT_TEXT,
	  .offset = O(averages),
	  .unit = "<folder>",
	  .help = "Warp: averages of the tilts, in place of stacks." },
	{ .name = "stacks-only",
	  .type = CYC_OPT_FLAG,
	  .offset = O(stacks_only),
	  .help = "Warp: no tilt images; a project of the 2D stacks that the particles name." },
	{ .name = "Microscope (IMOD and AreTomo)", .type = CYC_OPT_HEADING },
	{ .name = "pixel-size",
	  .alias = "--angpix",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(pixel_size_A),
	  .is_set = O(has_pixel_size),
	  .unit = "<Å>",
	  .help = "Pixel size of the raw stacks.",
	  .no_default = "required" },
	{ .name = "voltage",
	  .alias = "--kV",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(voltage_kV),
	  .is_set = O(has_voltage),
	  .unit = "<kV>",
	  .help = "Acceleration voltage.",
	  .no_default = "required" },
	{ .name = "cs",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(spherical_aberration_mm),
	  .is_set = O(has_cs),
	  .unit = "<mm>",
	  .help = "Spherical aberration.",
	  .no_default = "required" },
	{ .name = "amplitude-contrast",
	  .alias = "--Q0",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(amplitude_contrast_frac),
	  .is_set = O(has_amplitude_contrast),
	  .unit = "<fraction>",
	  .help = "Amplitude contrast.",
	  .no_default = "required" },
	{ .name = "hand",
	  .type = CYC_OPT_INT,
	  .offset = O(hand),
	  .is_set = O(has_hand),
	  .unit = "<1|-1>",
	  .help =
	      "Whether defocus grows (1) or falls (-1) with z of the untilted tomogram; `cyclotomo check` tells "
	      "it from the images.",
	  .no_default = "required" },
	{ .name = "mdoc",
	  .type = CYC_OPT_TEXT,
	  .offset = O(mdoc),
	  .unit = "<files>",
	  .help = "SerialEM's files of the stacks: dose before each tilt." },
	{ .name = "dose-per-tilt",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(dose_e_per_A2),
	  .is_set = O(has_dose),
	  .unit = "<e/Å2>",
	  .help = "Dose of a tilt; its order in time is the mdoc's.",
	  .no_default = "the mdoc's" },
	{ .name = "exposures",
	  .type = CYC_OPT_TEXT,
	  .offset = O(exposures),
	  .unit = "<files>",
	  .help = "In place of an mdoc: dose before each section in e/Å2, a number a line." },
	{ .name = "no-dose",
	  .type = CYC_OPT_FLAG,
	  .offset = O(no_dose),
	  .help = "Doses are not known: all tilts weigh alike." },
	{ .name = "ctf",
	  .type = CYC_OPT_TEXT,
	  .offset = O(ctf),
	  .unit = "<files>",
	  .help = "ctfplotter's .defocus, or text files of CTFFIND or AreTomo." },
	{ .name = "defocus",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(defocus_A),
	  .is_set = O(has_defocus),
	  .unit = "<Å>",
	  .help = "Underfocus of all tilts, for want of fits.",
	  .no_default = "off" },
	{ .name = "flat-scales",
	  .type = CYC_OPT_FLAG,
	  .offset = O(flat_scales),
	  .help = "Contrast scales of 1 to begin with, not cos(tilt) as RELION gives them." },
	{ .name = "tomogram-size",
	  .type = CYC_OPT_TEXT,
	  .offset = O(tomogram_size),
	  .unit = "<X,Y,Z>",
	  .help = "Size of the tomogram in unbinned pixels, Z the thickness.",
	  .no_default = "tilt.com's" },
	{ .name = "tomogram-axes",
	  .type = CYC_OPT_CHOICE,
	  .offset = O(axes),
	  .choices = "unknown,relion,rotx,yz,raw",
	  .help =
	      "Volume in which particles were picked: made by RELION or Warp from this alignment; by IMOD or "
	      "AreTomo and turned about x (trimvol -rx); with Y and Z exchanged (trimvol -yz); as it came, with "
	      "the thickness second.",
	  .no_default = "required" },
	{ .name = "Particles", .type = CYC_OPT_HEADING },
	{ .name = "particles",
	  .alias = "--p",
	  .type = CYC_OPT_TEXT,
	  .offset = O(particles),
	  .unit = "<files>",
	  .help = "STAR file, or text: tomogram's name, x y z, and rot tilt psi in degrees if known. Without "
	          "names: a "
	          "file for each tilt series." },
	{ .name = "coordinates",
	  .type = CYC_OPT_CHOICE,
	  .offset = O(unit),
	  .choices = "px,A,centred-A",
	  .help = "Pixels or Å from the corner of the volume, or Å from its centre." },
	{ .name = "binning",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(binning),
	  .is_set = O(has_binning),
	  .unit = "<factor>",
	  .help = "Pixel size of the volume over that of the raw stack.",
	  .no_default = "required for pixels; that of 2D stacks" },
	{ .name = "first-voxel",
	  .type = CYC_OPT_DOUBLE,
	  .offset = O(first_voxel),
	  .is_set = O(has_first_voxel),
	  .unit = "<px>",
	  .help = "Coordinate of the centre of the first voxel: 0.5 in IMOD's models, 1 in Dynamo and MATLAB.",
	  .no_default = "0" },
	{ .name = "seed",
	  .type = CYC_OPT_INT64,
	  .offset = O(seed),
	  .unit = "<n>",
	  .help = "Of the half-sets, where the list has none." },
	{ .name = "Output", .type = CYC_OPT_HEADING },
	{ .name = "output",
	  .alias = "--o",
	  .type = CYC_OPT_TEXT,
	  .offset = O(out_dir),
	  .unit = "<folder>",
	  .help = "Folder for the project's STAR files." },
	{ .name = "dry-run",
	  .type = CYC_OPT_FLAG,
	  .offset = O(dry_run),
	  .help = "Read all files, say what would be done, and stop." },
	CYC_COMMON_OPTIONS(import_args, common),
};
static const cyc_command COMMAND = CYC_COMMAND_DEF(
	"import", "A RELION-5 project from files of Warp, M, IMOD or AreTomo",
	"Warp:    cyclotomo import --tomograms matching_tomograms.star --particles matching.star \\\n"
	"           --images 'tiltstack/*/*.st' --warp 'warp_tiltseries/*.xml' --o Import/job001/\n"
	"IMOD:    cyclotomo import --xf 'imod/*/*.xf' --tilt-angles 'imod/*/*.tlt' --images 'imod/*/*.st' \\\n"
	"           --mdoc 'mdocs/*.mdoc' --ctf 'imod/*/*.defocus' --tilt-com 'imod/*/tilt.com' \\\n"
	"           --pixel-size 1.35 --voltage 300 --cs 2.7 --amplitude-contrast 0.1 --hand -1 \\\n"
	"           --tomogram-axes rotx --particles picks.txt --binning 8 --o Import/job001/\n"
	"AreTomo: the same with --aln 'aretomo/*.aln' and --tomogram-size, without --xf and what is IMOD's.\n"
	"What each program's numbers are taken for: docs/import.md. `cyclotomo check` then looks at the project.",
	OPTIONS);

static void report(const import_args *a, const cyc_import_result *r)
{
	printf("tilt series  %d with %d tilts", r->n_series, r->n_tilts);
	if (r->n_left_out > 0) printf(", %d left out", r->n_left_out);
	if (r->n_excluded > 0) printf(", %d of scale 0 (excluded)", r->n_excluded);
	printf("\n");
	if (r->n_matrices > 0)
		printf(
			"geometry     matrices are kept: angles and shifts alone are off by up to %.3g px for %d tilts\n",
			r->worst_px, r->n_matrices);
	else printf("geometry     angles and shifts, within %.1e px of the alignment\n", r->worst_px);
	if (a->o.dry_run) return;
	printf("particles    %lld, half-sets of %lld and %lld%s\n", (long long)r->n_particles,
	       (long long)r->n_half[0], (long long)r->n_half[1], r->made_halves ? " (made here)" : "");
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
		CYC_TRY(cyc_run_job(&run, a.o.out_dir, "cyclotomo.import"));
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

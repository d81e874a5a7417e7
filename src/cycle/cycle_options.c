#include "cyclotomo/cycle.h"

#define ROW(type, name, member, ...) CYC_OPTION(cyc_cycle_options, type, name, member, __VA_ARGS__)
#define JOB(member, table, title, ...)                                                                       \
	CYC_NESTED(cyc_cycle_options, member, table, .name = #member,                                            \
	           .help = title ": each also as --" #member ".NAME", __VA_ARGS__)

/* What the cycle gives to all jobs alike, or decides for them. */
#define HIDDEN "box,crop,bin,symmetry,whole-windows,from-stacks,resume,no-figures,backend,dry-run"

static const cyc_option ROWS[] = {
	CYC_HEADING("Input"),
	CYC_NESTED(cyc_cycle_options, input, &cyc_project_input_table),
	ROW(FILE, "mask-align", mask_align, .alias = "--mask_align", .unit = "<map>",
	    .no_default = "as --mask-fsc",
	    .help = "Mask on the half maps when they are references; wide and soft."),
	ROW(FILE, "mask-fsc", mask_fsc, .alias = "--mask_fsc", .unit = "<map>", .no_default = "as --mask-align",
	    .help = "Mask for the FSC."),
	CYC_HEADING("Output"),
	ROW(TEXT, "output", out_dir, .alias = "--o,--out", .unit = "<folder>", .purpose = CYC_FOR_FILES,
	    .help = "Folder of the run: job folders, default_pipeline.star, summary.html. Started again with the "
	            "same options it continues where it was."),
	ROW(FLAG, "no-figures", no_figures, .purpose = CYC_FOR_RUN,
	    .help = "No figures beside the jobs' results."),
	CYC_HEADING("Maps"),
	ROW(INT, "box", box_px, .alias = "--b", .unit = "<px>", .range = "[2,",
	    .no_default = "none, must be given",
	    .help = "Edge of the windows cut out around the particles: large enough that the delocalised signal "
	            "fits."),
	ROW(INT, "crop", crop_px, .unit = "<px>", .range = "[0,", .no_default = "as --box",
	    .help = "Edge of the maps."),
	ROW(TEXT, "symmetry", symmetry, .alias = "--sym", .unit = "<group>", .value = "C1",
	    .help = "Point group: C1, C6, D2, O, I1 ..."),
	ROW(FLAG, "whole-windows", whole_windows,
	    .help = "Leave out windows that are partly outside their image, instead of using what is there."),
	ROW(FLAG, "skip-crop", skip_crop,
	    .help = "Insert windows as they are, instead of cropping each image to --crop after it was "
	            "multiplied by the CTF."),
	CYC_HEADING("Refinement"),
	ROW(INT, "cycles", n_cycles, .unit = "<n>", .value = "1", .range = "[0,", .purpose = CYC_FOR_RUN,
	    .help = "Times that the CTFs (and before them the alignment) are refined, each followed by a "
	            "reconstruction and its FSC. A finished run continues with a larger number."),
	ROW(FLAG, "skip-polish", skip_polish,
	    .help = "Leave tilt geometry, particle positions and motion as they are."),
	ROW(CLEAR, "skip-motion", polish.do_motion, .help = "Leave the particles' motion as it is."),
	ROW(FLAG, "skip-refine", skip_refine, .help = "Leave the particles' orientations as they are."),
	ROW(FLAG, "skip-check", skip_check, .purpose = CYC_FOR_RUN,
	    .help = "Do not look for mistakes in the metadata when the first maps are there."),
	ROW(CHOICE, "duplicates", duplicates, .unit = "<what>", .choices = "remove,refuse,keep",
	    .help = "Particles that are in both half-sets, nearer to each other than a quarter of their "
	            "diameter: leave one of each pair out of the run, refuse to start, or keep them."),
	ROW(FLAG, "accept-worse", accept_worse, .purpose = CYC_FOR_RUN,
	    .help = "Accept turns that are worse too; without it they are reported and the run continues from "
	            "before them."),
	CYC_BACKEND_OPTION(cyc_cycle_options),
	JOB(reconstruct, &cyc_reconstruct_table, "Reconstruction", .hides = HIDDEN ",crop-images,no-maps"),
	JOB(postprocess, &cyc_postprocess_table, "Post-processing", .hides = HIDDEN ",pixel-size",
	    .alias = "adhoc-bfactor=bfactor"),
	JOB(ctfrefine, &cyc_ctfrefine_table, "CTF refinement", .hides = HIDDEN, .alias = "kmin=kmin"),
	JOB(polish, &cyc_polish_table, "Polishing", .hides = HIDDEN, .alias = "range=polish-range"),
	JOB(refine, &cyc_refine3d_table, "Orientations", .hides = HIDDEN ",only-judge",
	    .alias = "healpix-order=refine-order", .value = "healpix-order=5,offset-range=3"),
	JOB(check, &cyc_check_table, "Check of the metadata", .hides = HIDDEN ",deep,fix,max-images"),
};
const cyc_option_table cyc_cycle_table = CYC_OPTION_TABLE("cycle", ROWS);

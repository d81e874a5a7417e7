#include "cyclotomo/cycle.h"

#define ROW(type, name, member, ...) CYC_OPTION(cyc_cycle_options, type, name, member, __VA_ARGS__)
#define JOB(member, table, title, ...)                                                                       \
	CYC_NESTED(cyc_cycle_options, member, table, .name = #member,                                            \
	           .help = title ": each also as --" #member ".NAME", __VA_ARGS__)

/* Options that the cycle passes to all jobs alike, or sets for them. */
#define HIDDEN "box,crop,bin,symmetry,whole-windows,from-stacks,resume,part,no-figures,backend,dry-run"

static const cyc_option ROWS[] = {
	CYC_HEADING("Input"),
	CYC_NESTED(cyc_cycle_options, input, &cyc_project_input_table),
	ROW(FILE, "mask-align", mask_align, .alias = "--mask_align", .unit = "<map>",
	    .no_default = "as --mask-fsc", .help = "Wide, soft mask for the half maps as references."),
	ROW(FILE, "mask-fsc", mask_fsc, .alias = "--mask_fsc", .unit = "<map>", .no_default = "as --mask-align",
	    .help = "Mask for the FSC (tight, soft)."),
	CYC_HEADING("Output"),
	ROW(TEXT, "output", out_dir, .alias = "--o,--out", .unit = "<folder>", .purpose = CYC_FOR_FILES,
	    .help = "Run folder, with job folders, default_pipeline.star and summary.html. Repeat the same "
	            "command to resume an interrupted run."),
	ROW(FLAG, "project", in_project, .purpose = CYC_FOR_FILES,
	    .help =
	        "Make the jobs jobs of the project, as if RELION's GUI had started them: in Reconstruct/, "
	        "PostProcess/, CtfRefine/, Polish/ and Refine3D/ of the project, numbered on and listed in its "
	        "default_pipeline.star. The run folder has the page and the records only."),
	ROW(DOUBLE, "pipeline-wait", pipeline_wait_s, .unit = "<s>", .value = "60", .range = "[0,",
	    .purpose = CYC_FOR_RUN,
	    .help = "With --project: how long to wait while another program has the pipeline locked."),
	ROW(DOUBLE, "run-wait", run_wait_s, .unit = "<s>", .value = "0", .range = "[0,", .purpose = CYC_FOR_RUN,
	    .help = "How long to wait while another 'cyclotomo cycle' runs in the run folder, before refusing to "
	            "start. The jobs of 'cyclotomo slurm' wait for a day."),
	ROW(FLAG, "no-figures", no_figures, .purpose = CYC_FOR_RUN,
	    .help = "Write no figures in the job folders."),
	ROW(INT, "parts", n_parts, .unit = "<n>", .range = "[0,10000]", .purpose = CYC_FOR_RUN,
	    .no_default = "one process does all",
	    .help =
	        "Stop before each step that can be dealt (polishing, CTF refinement) until n parts of it have "
	        "finished; they are computed by 'cyclotomo cycle --o FOLDER --part k/n'. 'cyclotomo slurm' runs "
	        "all that on a cluster."),
	CYC_HEADING("Maps"),
	ROW(INT, "box", box_px, .alias = "--b", .unit = "<px>", .range = "[2,", .no_default = "required",
	    .help = "Box of the windows cut from the tilt images, unbinned pixels: large enough for the signal "
	            "delocalised by the CTF."),
	ROW(INT, "crop", crop_px, .unit = "<px>", .range = "[0,", .no_default = "as --box",
	    .help = "Box of the maps and masks, unbinned pixels."),
	ROW(TEXT, "symmetry", symmetry, .alias = "--sym", .unit = "<group>", .value = "C1",
	    .help = "Point group: C1, C6, D2, O, I1 ..."),
	ROW(FLAG, "whole-windows", whole_windows,
	    .help = "Leave out particle windows that are partly outside their image, instead of using the part "
	            "inside."),
	ROW(FLAG, "skip-crop", skip_crop,
	    .help = "Insert whole windows instead of cropping each image to --crop after multiplication by the "
	            "CTF (as `reconstruct` without --crop-images)."),
	CYC_HEADING("Refinement"),
	ROW(INT, "cycles", n_cycles, .unit = "<n>", .value = "1", .range = "[0,1000]", .purpose = CYC_FOR_RUN,
	    .help = "Number of cycles: polishing, CTF refinement, orientation refinement, each judged by a new "
	            "map. Repeat the command with a larger number to extend a finished run."),
	ROW(FLAG, "skip-polish", skip_polish,
	    .help = "Do not refine tilt geometry, particle positions and motion."),
	ROW(CLEAR, "skip-motion", polish.do_motion, .help = "Do not refine the particles' motion."),
	ROW(FLAG, "skip-refine", skip_refine, .help = "Do not refine the particles' orientations."),
	ROW(FLAG, "skip-check", skip_check, .purpose = CYC_FOR_RUN,
	    .help = "Do not compare the metadata with the images after the first maps."),
	ROW(CHOICE, "duplicates", duplicates, .unit = "<what>", .choices = "remove,refuse,keep",
	    .help = "Pairs of particles in different half-sets that are closer than a quarter of their diameter: "
	            "leave one of each pair out of the run, refuse to start, or keep them."),
	ROW(FLAG, "accept-worse", accept_worse, .purpose = CYC_FOR_RUN,
	    .help = "Also accept refinements that make the FSC worse; without it they are rejected."),
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

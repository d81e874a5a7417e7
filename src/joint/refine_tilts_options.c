#include "cyclotomo/joint.h"

#define ROW(type, name, member, ...) CYC_OPTION(cyc_refine_tilts_options, type, name, member, __VA_ARGS__)

/* What both jobs have from the options here. */
#define HIDDEN "box,whole-windows,resume,part,no-figures,backend,dry-run"

static const cyc_option ROWS[] = {
	CYC_HEADING("Input and output"),
	CYC_NESTED(cyc_refine_tilts_options, input, &cyc_project_input_table, .purpose = CYC_FOR_FILES),
	CYC_REFERENCE_OPTIONS(cyc_refine_tilts_options),
	ROW(TEXT, "output", out_dir, .alias = "--o", .unit = "<folder>", .purpose = CYC_FOR_FILES,
	    .help =
	        "Folder for the final optimisation set and the single jobs: Polish/job001, CtfRefine/job002 ..."),
	CYC_HEADING("What is refined"),
	ROW(INT, "rounds", n_rounds, .unit = "<n>", .value = "1", .range = "[1,",
	    .help = "Number of rounds of polishing and CTF refinement."),
	ROW(CLEAR, "skip-motion", polish.do_motion, .help = "Do not refine the particles' motion."),
	ROW(FLAG, "even-aberrations", ctfrefine.do_even_aberrations,
	    .alias = "--do_even_aberrations,--ctfrefine.even-aberrations",
	    .help = "Also refine even aberrations per optics group."),
	ROW(FLAG, "odd-aberrations", ctfrefine.do_odd_aberrations,
	    .alias = "--do_odd_aberrations,--ctfrefine.odd-aberrations",
	    .help = "Also refine odd aberrations per optics group."),
	CYC_HEADING("Evidence"),
	ROW(INT, "box", box_px, .alias = "--b", .unit = "<px>", .range = "[8,", .no_default = "required",
	    .help = "Box of the windows cut from the tilt images, unbinned pixels: that of the reconstruction, "
	            "or larger."),
	ROW(FLAG, "whole-windows", whole_windows,
	    .help = "Leave out particle windows that are partly outside their image."),
	CYC_HEADING("Work"),
	ROW(DOUBLE, "cache", cache_GB, .unit = "<GB>", .value = "4", .range = "[0,", .purpose = CYC_FOR_RUN,
	    .help = "Memory for keeping tilt images between rounds."),
	ROW(FLAG, "resume", resume, .alias = "--only_do_unfinished", .purpose = CYC_FOR_RUN,
	    .help = "Continue an interrupted run of the same input."),
	CYC_NO_FIGURES_OPTION(cyc_refine_tilts_options),
	CYC_BACKEND_OPTION(cyc_refine_tilts_options),
	CYC_DRY_RUN_OPTION(cyc_refine_tilts_options),
	CYC_NESTED(cyc_refine_tilts_options, polish, &cyc_polish_table, .name = "polish", .hides = HIDDEN,
	           .help = "Alignment: each also as --polish.NAME"),
	CYC_NESTED(cyc_refine_tilts_options, ctfrefine, &cyc_ctfrefine_table, .name = "ctfrefine",
	           .hides = HIDDEN, .help = "CTF refinement: each also as --ctfrefine.NAME"),
};

const cyc_option_table cyc_refine_tilts_table = CYC_OPTION_TABLE("refine-tilts", ROWS);

#include "cyclotomo/project.h"

#define ROW(type, name, member, ...) CYC_OPTION(cyc_project_input, type, name, member, __VA_ARGS__)

static const cyc_option ROWS[] = {
	ROW(TEXT, "optimisation-set", optimisation_set, .alias = "--ios", .relion = "--i", .unit = "<star>",
	    .purpose = CYC_FOR_FILES, .help = "Optimisation set, which names the files below."),
	ROW(TEXT, "particles", particles, .relion = "--p", .unit = "<star>", .purpose = CYC_FOR_FILES,
	    .help = "Particles, instead of those of the optimisation set."),
	ROW(TEXT, "tomograms", tomograms, .relion = "--t", .unit = "<star>", .purpose = CYC_FOR_FILES,
	    .help = "Tomograms, instead of those of the optimisation set."),
	ROW(TEXT, "trajectories", trajectories, .relion = "--mot", .unit = "<star>", .purpose = CYC_FOR_FILES,
	    .help = "Particle motion, instead of that of the optimisation set."),
	ROW(FLAG, "exclude-negative-scales", exclude_negative_scales,
	    .help = "Exclude tilts with a negative contrast scale, which RELION may write, instead of refusing "
	            "them."),
	ROW(FLAG, "keep-outliers", keep_outliers,
	    .help = "Do not replace hot and dead pixels, X-ray hits and constant areas of the images by noise."),
	ROW(FLAG, "erase-beads", erase_beads,
	    .help = "Replace gold beads by noise: useful where particles were picked on beads; particles next to "
	            "beads become worse."),
};
const cyc_option_table cyc_project_input_table = CYC_OPTION_TABLE("project", ROWS);

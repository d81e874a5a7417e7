#include "cyclotomo/project.h"

#define ROW(type, name, member, ...) CYC_OPTION(cyc_project_input, type, name, member, __VA_ARGS__)

static const cyc_option ROWS[] = {
	ROW(TEXT, "optimisation-set", optimisation_set, .alias = "--ios", .relion = "--i", .unit = "<star>",
	    .purpose = CYC_FOR_FILES, .help = "Optimisation set: names the files below."),
	ROW(TEXT, "particles", particles, .relion = "--p", .unit = "<star>", .purpose = CYC_FOR_FILES,
	    .help = "Particles, in place of the set's."),
	ROW(TEXT, "tomograms", tomograms, .relion = "--t", .unit = "<star>", .purpose = CYC_FOR_FILES,
	    .help = "Tomograms, in place of the set's."),
	ROW(TEXT, "trajectories", trajectories, .relion = "--mot", .unit = "<star>", .purpose = CYC_FOR_FILES,
	    .help = "Particle motion, in place of the set's."),
	ROW(FLAG, "exclude-negative-scales", exclude_negative_scales,
	    .help = "Take tilts with a negative contrast scale, as RELION may write it, as excluded instead of "
	            "refusing them."),
	ROW(FLAG, "keep-outliers", keep_outliers,
	    .help = "Use hot and dead pixels, X-ray hits and constant areas of the images as they are, not noise "
	            "in their place."),
	ROW(FLAG, "erase-beads", erase_beads,
	    .help = "Replace gold beads by noise: of use where particles were picked on beads; particles beside "
	            "beads lose by it."),
};
const cyc_option_table cyc_project_input_table = CYC_OPTION_TABLE("project", ROWS);

#include "cyclotomo/check.h"

#define ROW(type, name, member, ...) CYC_OPTION(cyc_check_options, type, name, member, __VA_ARGS__)

static const cyc_option ROWS[] = {
	CYC_HEADING("Input and output"),
	CYC_NESTED(cyc_check_options, input, &cyc_project_input_table, .purpose = CYC_FOR_FILES),
	ROW(TEXT, "fix", fix_dir, .unit = "<folder>", .no_default = "nothing is written",
	    .help =
	        "Write a corrected project there, if something can be corrected; the old one stays as it is."),
	CYC_HEADING("Comparison with the images"),
	ROW(FLAG, "deep", is_deep,
	    .help = "Read all images (pixels that are no numbers, constant and dead images), and compare them "
	            "with projections of the half maps."),
	CYC_REFERENCE_OPTIONS(cyc_check_options),
	ROW(INT, "box", box_px, .alias = "--b", .unit = "<px>", .range = "[8,",
	    .no_default = "half more than the maps'", .help = "Box of the windows, unbinned pixels."),
	ROW(DOUBLE, "kmin", k_min_A, .unit = "<Å>", .value = "30", .help = "Coarsest resolution used."),
	ROW(INT64, "max-images", max_images, .unit = "<n>", .range = "[0,", .no_default = "all",
	    .help = "Look at a part of the particles, about so many images a series."),
	ROW(FLAG, "skip-size", skip_stretch, .help = "Do not compare pixel sizes, which takes half of the time."),
	CYC_BACKEND_OPTION(cyc_check_options),
};

const cyc_option_table cyc_check_table = CYC_OPTION_TABLE("check", ROWS);

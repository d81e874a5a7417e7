#include "cyclotomo/check.h"

#define ROW(type, name, member, ...) CYC_OPTION(cyc_check_options, type, name, member, __VA_ARGS__)

static const cyc_option ROWS[] = {
	CYC_HEADING("Input and output"),
	CYC_NESTED(cyc_check_options, input, &cyc_project_input_table, .purpose = CYC_FOR_FILES),
	ROW(TEXT, "fix", fix_dir, .unit = "<folder>", .no_default = "do not correct",
	    .help = "Write a corrected project into this folder, if there is something to correct; the input "
	            "stays as it is."),
	CYC_HEADING("Comparison with the images"),
	ROW(FLAG, "deep", is_deep,
	    .help = "Read all images (to find non-numbers, constant and dead images) and compare them with "
	            "projections of the half maps."),
	CYC_REFERENCE_OPTIONS(cyc_check_options),
	ROW(INT, "box", box_px, .alias = "--b", .unit = "<px>", .range = "[8,",
	    .no_default = "1.5 times the maps' box",
	    .help = "Box of the windows cut from the tilt images, unbinned pixels."),
	ROW(DOUBLE, "kmin", k_min_A, .unit = "<Å>", .value = "30", .help = "Lowest resolution used."),
	ROW(INT64, "max-images", max_images, .unit = "<n>", .range = "[0,", .no_default = "all",
	    .help = "Use only some of the particles: about this many images per series. Faster."),
	ROW(FLAG, "skip-size", skip_stretch, .help = "Do not compare pixel sizes; saves half of the time."),
	CYC_BACKEND_OPTION(cyc_check_options),
};

const cyc_option_table cyc_check_table = CYC_OPTION_TABLE("check", ROWS);

#include "cyclotomo/ctfrefine.h"

#define ROW(type, name, member, ...) CYC_OPTION(cyc_ctfrefine_options, type, name, member, __VA_ARGS__)

static const cyc_option ROWS[] = {
	CYC_HEADING("Input and output"),
	CYC_NESTED(cyc_ctfrefine_options, input, &cyc_project_input_table, .purpose = CYC_FOR_FILES),
	CYC_REFERENCE_OPTIONS(cyc_ctfrefine_options),
	ROW(TEXT, "output", out_dir, .relion = "--o", .unit = "<folder>", .purpose = CYC_FOR_FILES,
	    .no_default = "required", .help = "Folder for the refined tomograms."),
	CYC_HEADING("What is refined"),
	ROW(CLEAR, "skip-defocus", do_defocus, .help = "Do not refine defocus and astigmatism."),
	ROW(CLEAR, "skip-scale", do_scale, .help = "Do not refine the contrast scale."),
	ROW(CHOICE, "scale-model", scale_model, .choices = "tilt,ice,tomogram,global", .unit = "<law>",
	    .help = "Contrast scales of the tilts: independent (tilt), restrained by an ice layer with a "
	            "thickness and slope (ice), or determined by that layer alone, with a beam intensity per "
	            "tomogram (tomogram) or for the data set (global)."),
	ROW(FLAG, "per-tilt-bfactor", do_bfactor,
	    .help = "Also refine a B-factor per tilt, relative to the best tilt."),
	ROW(FLAG, "even-aberrations", do_even_aberrations,
	    .help = "Also refine even aberrations per optics group: tetrafoil, error of the spherical "
	            "aberration, ..."),
	ROW(FLAG, "odd-aberrations", do_odd_aberrations,
	    .help = "Also refine odd aberrations per optics group: coma (beam tilt), trefoil."),
	ROW(INT, "even-order", even_order, .relion = "--ne", .relion_default = "4", .unit = "<n>", .value = "4",
	    .help = "Highest order of even aberrations: 4, 6 or 8."),
	ROW(INT, "odd-order", odd_order, .relion = "--no", .relion_default = "3", .unit = "<n>", .value = "3",
	    .help = "Highest order of odd aberrations: 3, 5 or 7."),
	ROW(FLAG, "magnification", do_magnification,
	    .help = "Also refine anisotropic magnification per optics group."),
	ROW(INT, "min-tilt", min_tilt, .relion = "--min_frame", .relion_default = "0", .unit = "<row>",
	    .range = "[0,", .help = "First row of the tilt tables that is refined, counted from 0."),
	ROW(INT, "max-tilt", max_tilt, .alias = "--max_frame", .unit = "<row>", .value = "-1",
	    .no_default = "last", .help = "Last row that is refined."),
	CYC_HEADING("Evidence"),
	ROW(INT, "box", box_px, .relion = "--b", .unit = "<px>", .range = "[8,", .no_default = "required",
	    .help = "Box of the windows cut from the tilt images, unbinned pixels: that of the reconstruction, "
	            "or larger."),
	ROW(DOUBLE, "defocus-range", defocus_range_A, .unit = "<Å>", .value = "3000", .range = "[1,1e5]",
	    .help = "Search defocus this far on both sides of the input; extended up to 40000 Å where nothing is "
	            "found."),
	ROW(DOUBLE, "kmin", k_min_A, .relion = "--kmin", .relion_default = "30", .unit = "<Å>", .value = "30",
	    .range = "(0,", .help = "Lowest resolution used."),
	ROW(DOUBLE, "resolution", frequency_cutoff_A, .relion = "--freq_cutoff", .relion_default = "-1",
	    .unit = "<Å>", .no_default = "where the FSC falls below 0.143", .help = "Highest resolution used."),
	ROW(DOUBLE, "sigma-defocus", sigma_defocus_A, .unit = "<Å>", .no_default = "learned from the data",
	    .help = "Expected error of the input defocus: how far it may change."),
	ROW(DOUBLE, "sigma-astigmatism", sigma_astigmatism_A, .unit = "<Å>",
	    .no_default = "learned from the data", .help = "Expected error of the input astigmatism."),
	ROW(FLAG, "common-noise", common_noise,
	    .help = "One noise spectrum for all tilts of a series instead of one per tilt."),
	ROW(DOUBLE, "dose-cutoff", cutoff_frac, .relion = "--cutoff_fract", .relion_default = "0.02",
	    .unit = "<fraction>", .value = "0.02", .range = "[0,1)",
	    .help = "Frequencies with a dose weight at or below this are not used."),
	ROW(FLAG, "whole-windows", whole_windows,
	    .help = "Leave out particle windows that are partly outside their image."),
	CYC_HEADING("Work"),
	ROW(FLAG, "resume", resume, .relion = "--only_do_unfinished", .purpose = CYC_FOR_RUN,
	    .help = "Continue an interrupted run of the same input."),
	CYC_PART_OPTION(cyc_ctfrefine_options),
	CYC_NO_FIGURES_OPTION(cyc_ctfrefine_options),
	CYC_BACKEND_OPTION(cyc_ctfrefine_options),
	CYC_DRY_RUN_OPTION(cyc_ctfrefine_options),
};

const cyc_option_table cyc_ctfrefine_table = CYC_OPTION_TABLE("ctfrefine", ROWS);

/**
 * @file import.h
 * Projects from other programs' files: Warp and M, IMOD, AreTomo, and lists of particles.
 *
 * The result is a RELION-5 project in one folder: tomograms.star, tilt_series/NAME.star, particles.star and
 * optimisation_set.star. Images stay where they are and are named as "k@stack". The conventions of each
 * program, and what is assumed of it: docs/import.md.
 *
 * File options are patterns relative to the root: a `*` stands for the name of the tilt series, the same text
 * wherever it is. The series are those of the alignments (tomograms, xf or aln).
 */
#ifndef CYCLOTOMO_IMPORT_H
#define CYCLOTOMO_IMPORT_H

#include "cyclotomo/outputs.h"
#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The volume in which the particles were picked, which is the frame of the project. */
typedef enum {
	CYC_IMPORT_AXES_UNKNOWN,
	CYC_IMPORT_AXES_RELION, /**< made by RELION-5 or Warp with this alignment: turned about voxel size/2 */
	CYC_IMPORT_AXES_ROTX,   /**< IMOD's, turned by trimvol -rx (or clip rotx) */
	CYC_IMPORT_AXES_YZ,     /**< IMOD's, with Y and Z exchanged (trimvol -yz, clip flipyz): a mirror image */
	CYC_IMPORT_AXES_RAW     /**< as IMOD's tilt writes it: the second axis is the thickness */
} cyc_import_axes;
/** In what the coordinates of a list are. */
typedef enum { CYC_IMPORT_PIXELS, CYC_IMPORT_ANGSTROM, CYC_IMPORT_CENTRED_ANGSTROM } cyc_import_unit;

/** Borrowed strings; NULL or has_... false: not given. */
typedef struct {
	const char *root, *out_dir;
	/* One of these three. */
	const char *tomograms; /**< tomograms.star with matrices, as Warp, M and RELION-4 write it */
	const char *xf;        /**< IMOD: final alignment transforms */
	const char *aln;       /**< AreTomo */
	/* Images. */
	const char *images;   /**< raw tilt stacks */
	const char *averages; /**< Warp: folder of one average per tilt, named after the movies */
	bool stacks_only;     /**< no tilt images: a project of the particles' own 2D stacks */
	/* What belongs to an alignment. */
	const char *tilts;    /**< IMOD: .tlt */
	const char *x_tilts;  /**< IMOD: .xtilt */
	const char *tilt_com; /**< IMOD: tilt.com */
	const char *warp;     /**< Warp: .xml of the tilt series, or .tomostar */
	bool has_alpha;       /**< AreTomo: alpha_is_x_tilt was given */
	bool alpha_is_x_tilt; /**< its AlphaOffset is a tilt about x; else it is left out */
	const char *mdoc;
	const char *exposures; /**< a number per section: dose before it [e/Å2] */
	bool has_dose;
	double dose_e_per_A2; /**< of one tilt, where the mdoc has none */
	bool no_dose;         /**< unknown: 0 for all tilts */
	const char *ctf;      /**< ctfplotter's .defocus, or the text file of CTFFIND or AreTomo */
	bool has_defocus;
	double defocus_A; /**< of all tilts, for want of fits */
	bool flat_scales; /**< contrast scales of 1; else cos(tilt), as RELION's own import gives them */
	bool has_pixel_size, has_voltage, has_cs, has_amplitude_contrast, has_hand;
	double pixel_size_A, voltage_kV, spherical_aberration_mm, amplitude_contrast_frac;
	int32_t hand;              /**< +1 or -1 */
	const char *tomogram_size; /**< "X,Y,Z", unbinned px, in the project's axes */
	cyc_import_axes axes;
	/* Particles. */
	const char *particles; /**< STAR or text */
	cyc_import_unit unit;
	bool has_binning, has_first_voxel;
	double binning;     /**< of the volume in which particles were picked */
	double first_voxel; /**< coordinate of the centre of its first voxel */
	int64_t seed;       /**< of half-sets, where the list has none */
	bool dry_run;
} cyc_import_options;
extern const cyc_option_table cyc_import_table;
void cyc_import_options_default(cyc_import_options *o);

typedef struct {
	int32_t n_series, n_tilts;
	int32_t n_left_out; /**< sections of the stacks without a row */
	int32_t n_excluded; /**< rows with a contrast scale of 0 */
	int32_t n_matrices; /**< tilts whose matrices were kept, since angles and shifts cannot express them */
	double worst_px;    /**< most that angles and shifts are off, at the corners of the tomograms */
	int64_t n_particles, n_half[2], n_outside; /**< outside of their tomogram */
	bool made_halves;
} cyc_import_result;

/** The run refuses to write on what it reads (outputs.h). */
CYC_MUST_CHECK cyc_status cyc_import_spare_inputs(const cyc_import_options *o);
/**
 * Read everything, then write the project; the optimisation set comes last.
 * @return CYC_E_USAGE for what has to be given by an option, naming it; CYC_E_FORMAT or CYC_E_DATA for files
 * that cannot be used or do not fit together, naming file and row.
 */
CYC_MUST_CHECK cyc_status cyc_import_run(cyc_import_result *result, const cyc_import_options *o);

#ifdef __cplusplus
}
#endif
#endif

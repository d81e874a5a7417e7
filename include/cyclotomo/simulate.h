/**
 * @file simulate.h
 * A complete small RELION-5 project with known truth, for demonstrations and tests
 * (docs/theory/05-simulation.md).
 *
 * Written below the output folder, which is the project root of the result:
 *   optimisation_set.star particles.star tomograms.star tilt_series/   metadata with the planted errors
 *   frames/ or stacks/                                                 tilt images
 *   mask_align.mrc mask_fsc.mrc                                        wide and tight mask
 *   truth/                                                             the same STAR files without errors,
 * motion.star, map.mrc
 */
#ifndef CYCLOTOMO_SIMULATE_H
#define CYCLOTOMO_SIMULATE_H

#include "cyclotomo/options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
	CYC_SIMULATE_DEMO, /**< the project of the README: seconds to make, CTF refinement improves it clearly */
	CYC_SIMULATE_TINY, /**< one series of a few small images, for tests */
	CYC_SIMULATE_LARGE /**< one series of 2400 x 2400 px, boxes of 512 px fit around 50 particles */
} cyc_simulate_preset;

typedef struct {
	const char *out_dir; /**< folder, created */
	bool force;          /**< write over an existing project */
	/* The sample and the microscope. */
	int32_t n_series, n_particles; /**< particles per series */
	int32_t image_nx, image_ny;    /**< px; image_ny <= 0: square */
	int32_t box_px;                /**< edge of the true map and the masks, even */
	double pixel_size_A;
	const char *symmetry;
	double radius_A;    /**< of the particle; <= 0: 0.3 box */
	double bfactor_A2;  /**< of the atoms */
	double thickness_A; /**< of the ice */
	int32_t edge_px;    /**< projected centres keep this distance from the image border in all tilts; <= 0:
	                       box_px / 2 */
	/* How. */
	int32_t n_tilts;
	double tilt_step_rad, dose_e_per_A2; /**< dose per tilt image; dose-symmetric scheme */
	double voltage_kV, spherical_aberration_mm, amplitude_contrast_frac;
	int32_t hand;                        /**< +1 or -1 */
	double defocus_min_A, defocus_max_A; /**< mean underfocus of a series, uniform between the two */
	double astigmatism_A;                /**< mean |U - V| / 2 */
	double aberration_rad; /**< coma, trefoil, tetrafoil and more spherical aberration: phase at Nyquist; the
	                          given metadata does not know */
	double magnification_frac; /**< anisotropic magnification 1 + this along x, 1 - this along y, half of it
	                              askew; neither */
	double mean_free_path_A;   /**< of inelastic scattering: contrast exp(-t/(L cos)) */
	double motion_A;           /**< beam-induced motion per tilt and axis, rms; 0: none */
	double motion_length_A;    /**< correlation length of the motion */
	double signal;             /**< multiplies the scattering of the particles; 0: pure noise */
	double ice_noise;          /**< power of low-resolution noise over that of shot noise */
	bool noise_free;           /**< images without any noise */
	bool subtomogram_angles;   /**< poses split between subtomogram and refined angles, with origin offsets */
	/* Errors planted in the metadata, rms. */
	double error_defocus_A,
		error_astigmatism_A;      /**< per tilt: of (U + V)/2; of the vector (U - V)/2 (cos 2a, sin 2a) */
	double error_scale;           /**< per tilt, relative */
	double error_shift_A;         /**< per tilt and axis */
	double error_angle_rad;       /**< per tilt, of each of the three angles */
	double error_position_A;      /**< per particle and axis */
	double error_orientation_rad; /**< per particle, total angle */
	/* Files. */
	bool as_stack; /**< one .mrcs per series instead of one .mrc per tilt */
	bool float32;  /**< else float16 */
	int64_t seed;
	int32_t n_threads;
} cyc_simulate_options;
/** The demo preset. */
extern const cyc_option_table cyc_simulate_table;
void cyc_simulate_options_default(cyc_simulate_options *o);
/** Every member but out_dir, force and n_threads as the preset has it. */
void cyc_simulate_options_preset(cyc_simulate_options *o, cyc_simulate_preset preset);

typedef struct {
	int64_t n_images, n_atoms;
	double radius_A, mass_kDa; /**< of the particle made */
	int64_t image_bytes;
} cyc_simulate_result;

/**
 * Write the project. Same bits for any n_threads.
 * @return CYC_E_USAGE for options out of range, CYC_E_DATA if the particles do not fit into the images or the
 * ice, CYC_E_IO if a project exists and `force` is not set; the STAR files are written last.
 */
CYC_MUST_CHECK cyc_status cyc_simulate_run(cyc_simulate_result *result, const cyc_simulate_options *options);
/** The most memory that cyc_simulate_run() holds at one time [bytes]; about. */
double cyc_simulate_memory_bytes(const cyc_simulate_options *options);

#ifdef __cplusplus
}
#endif
#endif

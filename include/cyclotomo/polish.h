/**
 * @file polish.h
 * Bayesian polishing: projection geometry of every tilt, 3D positions of the particles and their beam-induced
 * motion, by comparing the tilt images with projections of the half maps (docs/theory/06-polishing.md).
 */
#ifndef CYCLOTOMO_POLISH_H
#define CYCLOTOMO_POLISH_H

#include "cyclotomo/outputs.h"
#include "cyclotomo/parts.h"
#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	cyc_project_input input;
	const char *ref1, *ref2, *mask, *fsc; /**< NULL: from the optimisation set */
	const char *out_dir;
	int32_t box_px;
	double range_px; /**< largest displacement in the image that is searched */
	bool do_motion;
	double motion_sigma_A_per_dose; /**< s_vel: expected width of the velocity per e/Å2 at the series' dose
	                                   per tilt */
	bool fixed_speed;               /**< take it as it is, instead of learning a factor from the images */
	double motion_correlation_A;    /**< s_div: distance over which particles move together */
	bool squared_exponential;       /**< exp(-r^2/d^2) instead of exp(-r/d) */
	int32_t motion_max_modes;       /**< < 0: as many as hold 99.9 % of the variance */
	bool const_positions, const_angles, const_shifts;
	bool shift_only;                  /**< one shift per tilt, from the whole image; nothing else changes */
	bool shift_by_particles;          /**< with shift_only: from the particles' windows, within range_px */
	bool do_deformation;              /**< refine a 2D deformation too; else existing ones stay */
	cyc_deformation_type deformation; /**< its form */
	int32_t deformation_grid[2];
	double deformation_regulariser; /**< lambda of RELION's penalty; <= 0: images are expected to move by a
	                                   pixel or so */
	bool deformation_per_tilt;      /**< one for each tilt, not one for the series */
	int32_t max_passes;             /**< most passes: windows are cut again if particles have shifted far */
	int32_t first_tilt, last_tilt;  /**< chronological range of tilts used; last < 0: to the end */
	bool compat_relion5;            /**< evidence, priors and weights of RELION 5.0.1, for comparison */
	double k_min_A;                 /**< coarsest resolution used; <= 0: all */
	double cutoff_frac;             /**< dose weights at or below this are not used */
	double frequency_cutoff_A;      /**< > 0: finest resolution used */
	bool whole_windows;             /**< leave out windows that are partly outside their image */
	bool keep_self_correlation;     /**< compare with the half map as it is, with each image in it */
	bool accept_worse; /**< accept a series also if images that were not fitted agree clearly less */
	bool resume;
	const char *part; /**< "k/n": only this share, see cyclotomo/parts.h; NULL: all */
	int32_t n_threads;
	const char *backend;
	struct cyc_image_cache
		*images; /**< images kept from another job, see cyclotomo/images.h; NULL: none. Borrowed */
	bool no_figures, dry_run;
} cyc_polish_options;
extern const cyc_option_table cyc_polish_table;
extern const cyc_rank_job cyc_polish_rank_job;
void cyc_polish_options_default(cyc_polish_options *o);
/** The deformation that is refined. */
static inline cyc_deformation_type cyc_polish_deformation(const cyc_polish_options *o)
{
	return o->do_deformation ? o->deformation : CYC_DEFORMATION_NONE;
}
/** Continue a hash with every option that results depend on; not with the files, which cyc_refine_hash()
 * takes by content. */
CYC_MUST_CHECK cyc_status cyc_polish_options_hash(uint64_t *h, const cyc_polish_options *o);

typedef struct {
	int32_t n_series, n_improved, n_worse; /**< clearly better, clearly worse (they keep their input) by
	                                          images that were not fitted; the rest: no difference */
	double shift_rms_A, position_rms_A, motion_rms_A;
	double heldout_before,
		heldout_after;    /**< agreement of images that were not fitted, log-likelihood units */
	double heldout_error; /**< standard error of their difference */
	char *tomograms, *particles, *trajectories,
		*optimisation_set; /**< written files, relative to root; NULL if not written */
	cyc_part_outcome part; /**< of a part, which names no files here */
} cyc_polish_result;
void cyc_polish_result_deinit(cyc_polish_result *r);
/** Whether the job could run with these options on a project: nothing is computed or written. The job itself
 * asks it first. */
CYC_MUST_CHECK cyc_status cyc_polish_check(const cyc_polish_options *options,
                                           const cyc_project_view *project);
CYC_MUST_CHECK cyc_status cyc_polish_run(cyc_polish_result *result, const cyc_polish_options *options);
/** Refuse to overwrite inputs: cyc_outputs_spare_inputs() for this job. Part of its run. */
CYC_MUST_CHECK cyc_status cyc_polish_spare_inputs(const cyc_polish_options *o, cyc_output_extent extent);
/**
 * The most memory that cyc_polish_run() holds at one time [bytes]: what it reports, and refuses to start
 * without.
 * @param[in] map_px  edge of the half maps
 * @param[in] radius  last shell of the box that they have signal in; 0: not known, as many as there are
 */
double cyc_polish_memory_bytes(const cyc_polish_options *options, const cyc_project_size *project,
                               int32_t map_px, int32_t radius);
/** The same of the memory of a device. @param[in] batch_bytes  that a batch of images may take at most */
double cyc_polish_device_bytes(const cyc_polish_options *options, const cyc_project_size *project,
                               int32_t map_px, int32_t radius, size_t batch_bytes);

#ifdef __cplusplus
}
#endif
#endif

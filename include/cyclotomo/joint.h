/**
 * @file joint.h
 * Alignment and CTFs of the tilts together: polishing and CTF refinement in turn, against the same half maps,
 * with the images read once. Defocus, shifts and aberrations disturb each other; each turn sees what the one
 * before has corrected.
 */
#ifndef CYCLOTOMO_JOINT_H
#define CYCLOTOMO_JOINT_H

#include "cyclotomo/ctfrefine.h"
#include "cyclotomo/polish.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	/** Options of the two; their project input, half maps, mask, fsc, out_dir, box, whole_windows, resume,
	 * threads, backend, figures and dry_run are overwritten by the members below. */
	cyc_polish_options polish;
	cyc_ctfrefine_options ctfrefine;
	cyc_project_input input;
	const char *ref1, *ref2, *mask, *fsc; /**< NULL: from the optimisation set */
	const char *out_dir;
	int32_t box_px;
	int32_t n_rounds; /**< of polishing and CTF refinement each */
	double cache_GB;  /**< memory for tilt images that are kept between readings */
	bool whole_windows, resume, no_figures, dry_run;
	int32_t n_threads;
	const char *backend;
} cyc_refine_tilts_options;
extern const cyc_option_table cyc_refine_tilts_table;
void cyc_refine_tilts_options_default(cyc_refine_tilts_options *o);

typedef struct {
	int32_t n_blocks_done, n_blocks_kept; /**< refined now, and taken over from an interrupted run */
	int64_t n_images_read, n_images_kept;
	double defocus_change_rms_A, shift_rms_A, position_rms_A; /**< of the last round */
	char *optimisation_set; /**< names the last tomograms, particles and trajectories; relative to root */
} cyc_refine_tilts_result;
void cyc_refine_tilts_result_deinit(cyc_refine_tilts_result *r);

/** Whether the job could run with these options on a project: nothing is computed or written. The job itself
 * asks it first. */
CYC_MUST_CHECK cyc_status cyc_refine_tilts_check(const cyc_refine_tilts_options *options,
                                                 const cyc_project_view *project);
/**
 * @return CYC_E_USAGE, CYC_E_DATA and others of the two jobs, with the block that failed in the message.
 * Results of finished blocks stay in their folders, out_dir/Polish/job001, CtfRefine/job002, Polish/job003
 * ..., and `resume` continues after them if input and options are the same.
 * @note Results do not depend on threads or on what is kept in memory.
 */
CYC_MUST_CHECK cyc_status cyc_refine_tilts_run(cyc_refine_tilts_result *result,
                                               const cyc_refine_tilts_options *options);
/** The most memory that cyc_refine_tilts_run() holds at one time [bytes], with the images that it keeps;
 * map_px and radius as of cyc_polish_memory_bytes(). */
double cyc_refine_tilts_memory_bytes(const cyc_refine_tilts_options *options, const cyc_project_size *project,
                                     int32_t map_px, int32_t radius);
/** Refuse to overwrite inputs: cyc_outputs_spare_inputs() for this job. Part of its run. */
CYC_MUST_CHECK cyc_status cyc_refine_tilts_spare_inputs(const cyc_refine_tilts_options *o,
                                                        cyc_output_extent extent);

#ifdef __cplusplus
}
#endif
#endif

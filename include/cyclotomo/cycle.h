/**
 * @file cycle.h
 * The refinement cycle: the jobs in their order, each fed by the one before, in job folders of one run folder.
 *
 *   start:          Reconstruct/job001, PostProcess/job002
 *   each cycle:     CtfRefine/job003, Reconstruct/job004, PostProcess/job005; CtfRefine/job006, ...
 *   with polishing: Polish/job003, Reconstruct/job004, PostProcess/job005; CtfRefine/job006, ...
 *
 * A turn is a refining step and the reconstruction and post-processing that judge it. It is taken on if it does not
 * lower the mean over all shells of the corrected FSC of the half maps under the mask; else the run goes on from the
 * state before it. A run that was killed continues where it was: what a finished step needs to say is in its folder's
 * cyclotomo_step.star, written last, and what the run was started with in the run folder's cyclotomo_cycle.star.
 */
#ifndef CYCLOTOMO_CYCLE_H
#define CYCLOTOMO_CYCLE_H

#include "cyclotomo/ctfrefine.h"
#include "cyclotomo/map.h"
#include "cyclotomo/polish.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/refine3d.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	cyc_project_input input;
	const char *mask_align;        /**< applied to the half maps before they are references; NULL: mask_fsc, else the set's mask */
	const char *mask_fsc;          /**< for the FSC; NULL: mask_align, else the set's mask, else none */
	const char *out_dir;           /**< run folder, relative to the root */
	int32_t box_px, crop_px;       /**< as in cyc_reconstruct_options; the box is also that of the CTF refinement */
	const char *symmetry;
	double snr;
	bool whole_windows;           /**< leave out windows that are partly outside their image */
	bool skip_crop;                /**< insert windows as they are, instead of cropping images to crop_px after the CTF */
	int32_t n_cycles;
	bool skip_defocus, skip_scale;     /**< leave defocus or contrast scale as they are */
	double defocus_range_A, ctf_kmin_A;
	bool skip_polish;                  /**< leave tilt geometry, particle positions and motion, which come before the CTFs in each cycle */
	bool skip_motion;                  /**< leave beam-induced motion */
	bool keep_all;                     /**< particles count alike, even if they are probably none */
	bool skip_refine;                  /**< leave the particles' orientations, which come last in each cycle */
	double particle_diameter_A;        /**< <= 0: what fits into the map; images are masked outside of it when orientations are refined */
	int32_t refine_order;              /**< HEALPix order of the coarse angular steps there; local searches, 5 (1.9 degrees, halved) */
	double motion_sigma_A_per_dose, motion_correlation_A, polish_range_px;
	double adhoc_bfactor_A2;       /**< used instead of the automatic one if has_bfactor */
	bool has_bfactor;
	double bfactor_low_A, bfactor_high_A;
	const char *mtf;
	bool accept_worse;             /**< take on turns that lower the FSC too */
	bool no_figures;
	int32_t n_threads;
	const char *backend;
} cyc_cycle_options;
void cyc_cycle_options_default(cyc_cycle_options *o);

/** The library calls behind the steps; tests put others in their place. */
typedef struct {
	cyc_status (*reconstruct)(cyc_reconstruct_result *result, const cyc_reconstruct_options *options);
	cyc_status (*postprocess)(cyc_postprocess_result *result, const cyc_postprocess_options *options);
	cyc_status (*ctfrefine)(cyc_ctfrefine_result *result, const cyc_ctfrefine_options *options);
	cyc_status (*polish)(cyc_polish_result *result, const cyc_polish_options *options);
	cyc_status (*refine3d)(cyc_refine3d_result *result, const cyc_refine3d_options *options);
	/** A first look at the particles before CTF refinement; NULL: none. */
	cyc_status (*judge)(cyc_refine3d_result *result, const cyc_refine3d_options *options);
} cyc_cycle_ops;

typedef struct {
	double resolution_before_A, resolution_after_A;
	double mean_fsc_before, mean_fsc_after;
	int32_t n_steps, n_steps_kept;           /**< all of the run; those that an earlier run had finished */
	int32_t n_turns, n_turns_taken;
	char *verdict;                           /**< sentences for the user */
	char *final_map, *final_set, *summary;   /**< relative to the root */
} cyc_cycle_result;
void cyc_cycle_result_deinit(cyc_cycle_result *r);

/**
 * Run the cycle, or go on with it.
 * @param[in] ops  NULL: the library's own steps.
 * @return CYC_E_USAGE if the run folder was started with other options, CYC_E_DATA if inputs or finished steps have
 *         changed since (both name what changed), CYC_E_IO if another process is at work there; the statuses of the steps.
 */
CYC_MUST_CHECK cyc_status cyc_cycle_run(cyc_cycle_result *result, const cyc_cycle_options *options, const cyc_cycle_ops *ops);

/**
 * What cyc_cycle_run() would do: steps and folders, particles per series and half-set, sizes, memory and disk need, and
 * what is in the way: images that cannot be found, contrast scales that are negative. Writes nothing.
 * @param[out] text     lines for the user; cyc_free.
 * @param[out] can_run  false: the run would be refused at its start, for the reasons given in the text.
 */
CYC_MUST_CHECK cyc_status cyc_cycle_plan(char **text, bool *can_run, const cyc_cycle_options *options);

#ifdef __cplusplus
}
#endif
#endif

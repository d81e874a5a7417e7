/**
 * @file reconstruct.h
 * Reconstruct particle: half maps and merged map straight from the tilt images
 * (docs/theory/02-reconstruct.md).
 */
#ifndef CYCLOTOMO_RECONSTRUCT_H
#define CYCLOTOMO_RECONSTRUCT_H

#include "cyclotomo/outputs.h"
#include "cyclotomo/project.h"
#include "cyclotomo/ranks.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	cyc_project_input input;
	const char *out_dir; /**< folder, created; relative to the root */
	int32_t box_px;      /**< edge of the windows and full maps, binned px, even */
	int32_t crop_px;     /**< edge of the cropped maps; <= 0 or = box: no crop */
	double binning;      /**< >= 1 */
	double snr;          /**< > 0: Wiener constant; else the heuristic weight floor */
	const char *symmetry;
	int32_t helical_n_asu; /**< 1: no helix */
	double helical_rise_A, helical_twist_rad;
	double taper_px;
	double cutoff_frac; /**< dose weights at or below this are not used */
	bool from_stacks; /**< insert the images that an extraction wrote (rlnImageName) instead of windows of the
	                     tilt images: box_px <= 0 is twice theirs (they are padded with zeros), crop_px <= 0
	                     is theirs; binning must be 1 or theirs */
	bool crop_images; /**< crop windows to the circle of crop_px after they were multiplied by the CTF, and
	                     insert what is left */
	bool listed_frames; /**< use the images that rlnTomoVisibleFrames lists, instead of those whose window
	                       lies in the image */
	bool whiten, no_ctf, no_circle_crop;
	bool no_noise_weights; /**< all images have the same weight, however noisy they are. Not with whiten or
	                          no_ctf, which have no such weights */
	bool whole_windows;    /**< leave out windows that are partly outside their image */
	bool resume; /**< continue from the per-series sums of an interrupted run with the same input and options
	              */
	bool no_backup;           /**< do not write these sums */
	double backup_interval_s; /**< least time between two of them; 0: after every tilt series */
	bool no_maps;             /**< stop after the sums */
	bool write_sums;          /**< also data_*.mrc and weight_*.mrc */
	bool absolute_scale; /**< divide by binning sqrt(box): density per unbinned voxel instead of RELION's grey
	                        scale */
	int32_t n_threads;
	const char *backend; /**< as for cyc_backend_open() */
	bool dry_run;        /**< check everything, print the plan, write nothing */
} cyc_reconstruct_options;
extern const cyc_option_table cyc_reconstruct_table;
extern const cyc_rank_job cyc_reconstruct_rank_job;
void cyc_reconstruct_options_default(cyc_reconstruct_options *o);

typedef struct {
	int64_t n_particles, n_images, n_images_outside; /**< images dropped because the window leaves the image,
	                                                    or because they are not listed */
	char *half1, *half2, *merged,
		*optimisation_set; /**< written files relative to root, NULL if not written; cyc_free */
} cyc_reconstruct_result;
void cyc_reconstruct_result_deinit(cyc_reconstruct_result *r);

/**
 * Whether the job could run with these options on a project: nothing is computed or written. The job itself
 * asks it first.
 * @return what the job would end with
 */
CYC_MUST_CHECK cyc_status cyc_reconstruct_check(const cyc_reconstruct_options *options,
                                                const cyc_project_view *project);
/**
 * Run the job: files in, files out. Same bits for any n_threads.
 * @param[out] result  zeroed first; deinit it also after a failure. NULL if not needed.
 * @return any status; on failure no map of this job is half written.
 */
CYC_MUST_CHECK cyc_status cyc_reconstruct_run(cyc_reconstruct_result *result,
                                              const cyc_reconstruct_options *options);
/** Refuse to overwrite inputs: cyc_outputs_spare_inputs() for this job. Part of its run. */
CYC_MUST_CHECK cyc_status cyc_reconstruct_spare_inputs(const cyc_reconstruct_options *o,
                                                       cyc_output_extent extent);
/** Edges that decide what a reconstruction needs. */
typedef struct {
	int32_t window_px, box_px, crop_px; /**< of the windows, of the sums (binned), of the maps */
	int32_t stack_px;                   /**< of extracted images; 0 from tilt images */
} cyc_reconstruct_sizes;
/**
 * The most memory that cyc_reconstruct_run() holds at one time [bytes]: what it reports, and refuses to start
 * without.
 * @param[in] options  number of threads, symmetry and what is written
 */
double cyc_reconstruct_memory_bytes(const cyc_reconstruct_options *options, const cyc_project_size *project,
                                    const cyc_reconstruct_sizes *sizes);
/** The same of the memory of a device. */
double cyc_reconstruct_device_bytes(const cyc_reconstruct_options *options, const cyc_project_size *project,
                                    const cyc_reconstruct_sizes *sizes);

#ifdef __cplusplus
}
#endif
#endif

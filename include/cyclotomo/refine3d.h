/**
 * @file refine3d.h
 * 3D refinement: orientation and position of every particle from its tilt images, two half-sets apart
 * (docs/theory/08-refinement.md).
 */
#ifndef CYCLOTOMO_REFINE3D_H
#define CYCLOTOMO_REFINE3D_H

#include "cyclotomo/outputs.h"
#include "cyclotomo/project.h"
#include "cyclotomo/ranks.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	cyc_project_input input;
	const char *ref1, *ref2; /**< ref2 NULL: "half1" <-> "half2" in ref1's name, or the same map for both;
	                            ref1 NULL: optimisation set */
	const char *mask;        /**< NULL: of the optimisation set, else a sphere of the particle's diameter */
	const char *out_dir;
	bool from_stacks; /**< images are those of an extraction that the particles name, by this program, RELION
	                     or WarpTools */
	int32_t box_px, crop_px; /**< of the windows; of maps and coefficients (<= 0: box_px); binned px */
	double binning; /**< box_px <= 0: all three as the optics table of extracted particles says, windows twice
	                   as wide */
	const char *symmetry;
	double particle_diameter_A; /**< <= 0: what fits into the cropped box */
	double lowpass_A;           /**< ini_high; <= 0: none, which only half maps allow */
	bool no_fsc_correction;     /**< FSC of the maps as they are, not under the mask */
	int32_t healpix_order;      /**< of the coarse grid; local searches from auto_local_order on */
	int32_t auto_local_order, oversampling;
	double sigma_angle_rad; /**< <= 0: twice the fine step */
	double offset_range_px, offset_step_px, sigma_offset_A;
	double perturbation; /**< of the grids, share of a step; only without following */
	double adaptive_frac;
	bool no_search;             /**< only follow the old poses to the maximum */
	bool no_follow;             /**< only sample: the best child is the pose */
	bool keep_self_correlation; /**< compare each image with the half map as it is, the image itself in it */
	bool
		only_judge; /**< no poses, no maps: particles are judged where they are, and particles.star written */
	bool keep_all;  /**< all particles have weight 1, whatever their probability */
	bool no_scale;  /**< no contrast per tilt series */
	double join_A;  /**< low_resol_join_halves; <= 0: nowhere */
	double tau2_fudge;
	double cutoff_frac; /**< dose weights at or below this are not used, 0.1: below it is 1 % of the weight */
	int32_t max_iterations;
	double min_separation_A; /**< > 0: of particles nearer than this at the end only the one that agrees best
	                            stays in run_data.star */
	double cache_GB; /**< particle images are kept in memory up to this much; < 0: half of the machine's */
	uint64_t seed;
	bool resume;
	int32_t n_threads;
	const char *backend;
	bool dry_run;
	/* For comparisons with RELION: its grid, its likelihood. */
	const char *relion_model;  /**< model.star whose noise spectra are used as RELION uses them; NULL: spectra
	                              per tilt (T8.4) */
	bool relion_grid;          /**< rotations of the grid that is fixed to the reference */
	bool absolute_grey_scale;  /**< references are densities per image voxel; their scale is not fitted */
	double perturbation_given; /**< NaN: drawn */
} cyc_refine3d_options;
extern const cyc_option_table cyc_refine3d_table;
extern const cyc_rank_job cyc_refine3d_rank_job;
void cyc_refine3d_options_default(cyc_refine3d_options *o);

typedef struct {
	int64_t n_particles, n_images;
	int64_t n_removed;                 /**< as duplicates */
	int64_t n_improbable;              /**< particles whose probability of being the particle is below 1/2 */
	int64_t n_searched, n_found_again; /**< searched for among all rotations because they agreed too little,
	                                      and found there */
	int32_t n_iterations;
	bool has_converged;
	double resolution_A;                       /**< FSC 0.143 of the last half maps */
	double rotation_error_rad, offset_error_A; /**< median standard errors; 0 without following */
	double average_p_max;
	char *particles, *half1, *half2, *map, *optimisation_set; /**< written files relative to root */
} cyc_refine3d_result;
void cyc_refine3d_result_deinit(cyc_refine3d_result *r);
/** Whether the job could run with these options on a project: nothing is computed or written. The job itself
 * asks it first. */
CYC_MUST_CHECK cyc_status cyc_refine3d_check(const cyc_refine3d_options *options,
                                             const cyc_project_view *project);
/**
 * Run the job: files in, files out. Same bits for any n_threads. Half-sets share the FSC of their maps
 * and the decisions that depend on it, nothing else.
 * @param[out] result  zeroed first; deinit it also after a failure. NULL if not needed.
 */
CYC_MUST_CHECK cyc_status cyc_refine3d_run(cyc_refine3d_result *result, const cyc_refine3d_options *options);
/** Refuse to overwrite inputs: cyc_outputs_spare_inputs() for this job. Part of its run. */
CYC_MUST_CHECK cyc_status cyc_refine3d_spare_inputs(const cyc_refine3d_options *o, cyc_output_extent extent);
/** Sizes that decide what a refinement needs. */
typedef struct {
	int32_t window_px, box_px, crop_px; /**< of the windows, of the sums (binned), of maps and references */
	int32_t map_px;                     /**< of the half maps as they are given */
	int32_t
		radius; /**< last shell of crop_px that these have signal in; 0: not known, as many as there are */
	bool is_resampled; /**< these have another pixel size */
	int32_t n_groups;  /**< of cyc_refine3d_n_groups() */
	double pixel_size_A, particle_diameter_A;
	double images_bytes, series_images_bytes; /**< of cyc_refine3d_images_bytes() */
	double volumes_bytes;                     /**< of reading particles that are volumes; 0: they are not */
} cyc_refine3d_sizes;
/** Number of groups that half-sets are divided into; 1: none. */
int32_t cyc_refine3d_n_groups(const cyc_refine3d_options *options, const cyc_project_size *project);
/** Bytes of the images of all particles, up to the frequencies that their dose leaves; and of one tilt series
 * at most. */
double cyc_refine3d_images_bytes(double *most_of_series, const cyc_tomogram_set *tomograms,
                                 const cyc_particle_set *set, int32_t crop_px, double pixel_size_A,
                                 double cutoff_frac);
/**
 * The most memory that cyc_refine3d_run() holds at one time [bytes]: what it reports, and refuses to start
 * without. With less memory available it plans for less, and reads images again or makes references twice:
 * results are the same.
 */
double cyc_refine3d_memory_bytes(const cyc_refine3d_options *options, const cyc_project_size *project,
                                 const cyc_refine3d_sizes *sizes);
/** The same of the memory of a device, with one reference at a time; references that it has room for besides
 * need not be made twice. @param[in] batch_bytes  that a batch of images may take at most */
double cyc_refine3d_device_bytes(const cyc_refine3d_options *options, const cyc_project_size *project,
                                 const cyc_refine3d_sizes *sizes, size_t batch_bytes);

#ifdef __cplusplus
}
#endif
#endif

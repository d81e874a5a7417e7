/**
 * @file ctfrefine.h
 * CTF refinement: defocus, astigmatism and contrast scale of every tilt image, and aberrations of optics
 * groups, by comparing the tilt images with projections of the half maps (docs/theory/04-ctf-refinement.md).
 */
#ifndef CYCLOTOMO_CTFREFINE_H
#define CYCLOTOMO_CTFREFINE_H

#include "cyclotomo/outputs.h"
#include "cyclotomo/parts.h"
#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Where the contrast scales of tilts come from. */
typedef enum {
	CYC_SCALE_TILT, /**< each tilt's images, within a trend of its series: input and neighbours */
	CYC_SCALE_ICE,  /**< the same, the trend being that of ice of some thickness and slope, which is written
	                   too; tilts without particles follow it */
	CYC_SCALE_TOMOGRAM, /**< the law of the ice (Beer-Lambert) itself, thickness, slope and luminance for each
	                       tomogram */
	CYC_SCALE_GLOBAL    /**< the same, one luminance per dose for the data set */
} cyc_scale_model;

typedef struct {
	cyc_project_input input;
	const char *ref1, *ref2, *mask; /**< NULL: from the optimisation set */
	const char
		*fsc; /**< postprocess.star; NULL: set, else computed from the half maps (optimistic, logged) */
	const char *out_dir;
	int32_t box_px;
	bool do_defocus, do_scale;
	bool do_even_aberrations, do_odd_aberrations; /**< of the optics groups */
	cyc_scale_model scale_model;
	bool do_bfactor;               /**< a B-factor of each tilt, relative to the best one */
	bool do_magnification;         /**< anisotropic magnification of the optics groups */
	int32_t even_order, odd_order; /**< highest orders of these: 4 (.. 8) and 3 (.. 7) */
	double defocus_range_A;        /**< search this far on both sides of the input */
	double k_min_A;                /**< coarsest resolution used */
	double cutoff_frac;            /**< dose weights at or below this are not used */
	double frequency_cutoff_A;     /**< > 0: finest resolution used */
	double sigma_defocus_A,
		sigma_astigmatism_A;    /**< > 0: prior widths given by the user; else learned from the data */
	int32_t min_tilt, max_tilt; /**< rows refined; max < 0: last */
	bool common_noise;          /**< one noise spectrum for all tilts of a series instead of one each */
	bool whole_windows;         /**< leave out windows that are partly outside their image */
	bool resume;
	const char *part; /**< "k/n": only this share, see cyclotomo/parts.h; NULL: all */
	int32_t n_threads;
	const char *backend;
	struct cyc_image_cache
		*images; /**< images kept from another job, see cyclotomo/images.h; NULL: none. Borrowed */
	bool no_figures;
	bool dry_run;
} cyc_ctfrefine_options;
extern const cyc_option_table cyc_ctfrefine_table;
extern const cyc_rank_job cyc_ctfrefine_rank_job;
void cyc_ctfrefine_options_default(cyc_ctfrefine_options *o);
/** Continue a hash with every option that results depend on; not with the files, which cyc_refine_hash()
 * takes by content. */
CYC_MUST_CHECK cyc_status cyc_ctfrefine_options_hash(uint64_t *h, const cyc_ctfrefine_options *o);

typedef struct {
	int64_t n_tilts;
	/** Of these, by what happened to them (refinement.txt says it tilt by tilt): changed by more than two
	 * standard errors; agree with the input; are decided mostly by the trend of their series; were elsewhere
	 * in their image; show no particles where they should (their scale is 0 now); have their best defocus
	 * beyond the search; and those kept as they were: without particles, excluded, not asked for. */
	int64_t n_moved, n_confirmed, n_from_trend, n_shifted, n_bad, n_at_limit;
	int64_t n_no_particles, n_excluded, n_not_asked;
	int64_t n_flagged; /**< from trend, bad, at the limit, without particles or excluded */
	double defocus_change_rms_A, scale_change_rms;
	int32_t n_aberrations;    /**< even or odd aberrations of a group that were found and written */
	int32_t n_magnifications; /**< groups whose magnification was found and written */
	/** Written files, relative to root; cyc_free. particles: NULL unless aberrations or magnification were
	 * asked for, tomograms: unless defocus or scale were */
	char *tomograms, *particles, *optimisation_set;
	cyc_part_outcome part; /**< of a part, which sets nothing else here */
} cyc_ctfrefine_result;
void cyc_ctfrefine_result_deinit(cyc_ctfrefine_result *r);
/** "82 tilts: 40 changed by more than two standard errors, 30 agree with the input, ...": all of them, by
 * what happened to them; what happened to none is left out, but for the first three. */
void cyc_ctfrefine_describe(char *text, size_t size, const cyc_ctfrefine_result *r);
/** Whether the job could run with these options on a project: nothing is computed or written. The job itself
 * asks it first. */
CYC_MUST_CHECK cyc_status cyc_ctfrefine_check(const cyc_ctfrefine_options *options,
                                              const cyc_project_view *project);
CYC_MUST_CHECK cyc_status cyc_ctfrefine_run(cyc_ctfrefine_result *result,
                                            const cyc_ctfrefine_options *options);
/** Refuse to overwrite inputs: cyc_outputs_spare_inputs() for this job. Part of its run. */
CYC_MUST_CHECK cyc_status cyc_ctfrefine_spare_inputs(const cyc_ctfrefine_options *o,
                                                     cyc_output_extent extent);
/**
 * The most memory that cyc_ctfrefine_run() holds at one time [bytes]: what it reports, and refuses to start
 * without.
 * @param[in] map_px  edge of the half maps
 * @param[in] radius  last shell of the box that they have signal in; 0: not known, as many as there are
 */
double cyc_ctfrefine_memory_bytes(const cyc_ctfrefine_options *options, const cyc_project_size *project,
                                  int32_t map_px, int32_t radius);
/** The same of the memory of a device. @param[in] batch_bytes  that a batch of images may take at most */
double cyc_ctfrefine_device_bytes(const cyc_ctfrefine_options *options, const cyc_project_size *project,
                                  int32_t map_px, int32_t radius, size_t batch_bytes);

#ifdef __cplusplus
}
#endif
#endif

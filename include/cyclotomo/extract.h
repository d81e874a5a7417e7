/**
 * @file extract.h
 * Extract: pseudo-subtomograms, particle by particle, as 2D stacks or as 3D volumes
 * (docs/theory/07-extract.md).
 */
#ifndef CYCLOTOMO_EXTRACT_H
#define CYCLOTOMO_EXTRACT_H

#include "cyclotomo/outputs.h"
#include "cyclotomo/parts.h"
#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	cyc_project_input input;
	const char *out_dir;      /**< folder, created; relative to the root */
	int32_t box_px;           /**< edge of the windows, binned px, even */
	int32_t crop_px;          /**< edge of what is written; <= 0 or = box: no crop */
	double binning;           /**< >= 1 */
	bool stacks;              /**< 2D stacks; else 3D data and weight volumes */
	bool float16;             /**< MRC mode 12 instead of float32 */
	double max_dose_e_per_A2; /**< tilts with a higher pre-exposure are left out; <= 0: none are */
	int32_t min_frames;       /**< particles seen in fewer tilts are left out; >= 1 */
	bool keep_offsets;        /**< cut at the coordinates alone and leave rlnOrigin* as they are */
	bool apply_orientations;  /**< the refined orientation becomes that of the subtomogram; not with
	                             keep_offsets */
	bool no_ctf;              /**< neither CTF nor dose weighting */
	bool no_inversion;        /**< leave particles dark */
	bool no_circle_crop;      /**< leave what is outside the circle of the cropped box */
	bool circle_precrop;      /**< circle crop of the window before the CTF too */
	bool whiten;
	bool cone_weight;      /**< 3D: suppress a double cone along the map's z axis */
	double cone_angle_rad; /**< opening angle of the cone */
	double cone_sigma_px;  /**< width at the origin, Fourier px */
	double cutoff_frac;    /**< 3D: frequencies whose dose weight is at or below this are not inserted */
	bool resume; /**< keep the files that an interrupted run with the same input and options has finished */
	const char *part; /**< "k/n": only this share, see cyclotomo/parts.h; NULL: all */
	int32_t n_threads;
	const char *backend; /**< as for cyc_backend_open() */
	bool dry_run;        /**< check everything, print the plan, write nothing */
} cyc_extract_options;
extern const cyc_option_table cyc_extract_table;
extern const cyc_rank_job cyc_extract_rank_job;
void cyc_extract_options_default(cyc_extract_options *o);

typedef struct {
	int64_t n_particles; /**< extracted */
	int64_t n_rejected;  /**< left out: seen in fewer tilts than min_frames */
	int64_t n_kept;      /**< of the extracted, finished by an earlier run */
	int64_t n_images;    /**< tilt images that show them */
	double disk_bytes;   /**< size of all files of particles */
	char *particles, *trajectories,
		*optimisation_set; /**< written files relative to root, NULL if not written; cyc_free */
	cyc_part_outcome part; /**< of a part, which names no files here */
} cyc_extract_result;
void cyc_extract_result_deinit(cyc_extract_result *r);

/** Whether the job could run with these options on a project: nothing is computed or written. The job itself
 * asks it first. */
CYC_MUST_CHECK cyc_status cyc_extract_check(const cyc_extract_options *options,
                                            const cyc_project_view *project);
/**
 * Run the job: files in, files out. Same bytes for any n_threads. Files of particles come first, STAR files
 * last.
 * @param[out] result  zeroed first; deinit it also after a failure. NULL if not needed.
 * @return any status; CYC_E_IO before anything is written if the disk has not the room. On failure finished
 * files of particles stay for a resumed run; no partial files are left.
 */
CYC_MUST_CHECK cyc_status cyc_extract_run(cyc_extract_result *result, const cyc_extract_options *options);
/** Refuse to overwrite inputs: cyc_outputs_spare_inputs() for this job. Part of its run. */
CYC_MUST_CHECK cyc_status cyc_extract_spare_inputs(const cyc_extract_options *o, cyc_output_extent extent);

#ifdef __cplusplus
}
#endif
#endif

/**
 * @file check.h
 * Checks of a project's metadata, from the tables alone and from the images compared with half
 * maps (docs/theory/09-evidence.md): hand, order of the doses, sign of the stage angles, contrast, pixel
 * sizes, grey values.
 */
#ifndef CYCLOTOMO_CHECK_H
#define CYCLOTOMO_CHECK_H

#include "cyclotomo/survey.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What is known about a tilt series. Gains are log L(-1) - log L(1), of slopes that should be 1. */
typedef struct {
	const char *name; /**< borrowed from the result */
	int32_t n_particles;
	int64_t n_images;      /**< particle images that were compared */
	cyc_measured contrast; /**< images over predictions: negative if inverted against the map */
	cyc_measured hand;     /**< defocus against height as the table has it: 1 right, -1 wrong hand */
	double hand_gain;
	cyc_measured dose; /**< dose that images show against the table's: 1 right, -1 reversed */
	double dose_gain;
	cyc_measured stage;    /**< stage angle against rlnTomoYTilt: 1 or -1 */
	cyc_measured stretch;  /**< size of the particles over that of the projections, minus 1 */
	cyc_measured log_grey; /**< log of the grey scale, from the noise, over the median of all series */
	double noise;          /**< noise power over the geometric mean of all series */
	const char *order; /**< where no doses are given, the order of the tilts that fits best: "away from zero
	                      tilt", ...; NULL: none. Static */
	cyc_measured order_dose; /**< dose per tilt in that order, e/Å2 */
} cyc_series_evidence;

typedef struct {
	cyc_project_input input;
	bool is_deep; /**< read all images, and compare them with half maps if there are some */
	const char *ref1, *ref2, *mask, *fsc; /**< NULL: from the optimisation set */
	int32_t box_px;                       /**< of the windows; 0: that of the half maps */
	double k_min_A;                       /**< coarsest resolution used */
	int64_t max_images;  /**< particle images per series, about; a part of the particles is taken; 0: all */
	bool skip_stretch;   /**< leave out sizes, which take half of the time */
	const char *fix_dir; /**< folder for a corrected project, or NULL */
	int n_threads;
	const char *backend;
} cyc_check_options;
extern const cyc_option_table cyc_check_table;
void cyc_check_options_default(cyc_check_options *o);

typedef struct {
	int32_t n_series;
	cyc_series_evidence *series; /**< n_series, those without particles with n_particles = 0 */
	cyc_measured density; /**< of the particle over its surroundings, in units of its standard error's ... see
	                         (T9.9); NaN: not measured */
	cyc_finding_list found; /**< most severe first */
	char *fixed_set; /**< optimisation set of the corrected project, relative to the root; NULL: none was
	                    written */
	int32_t n_fixed;
	char **names; /**< owner of the series' names */
} cyc_check_result;
void cyc_check_result_deinit(cyc_check_result *r);

/**
 * Check a project. It is not changed: with fix_dir a corrected one is written into that folder, if there is
 * something to correct.
 * @return CYC_OK also with findings, of which a project that cannot be read is one; CYC_E_USAGE if no project
 * is named, fix_dir is where a file of the project lies, or images are to be compared with half maps that
 * neither options nor set name (the result then has what was found without them); the statuses of the
 * comparison.
 */
CYC_MUST_CHECK cyc_status cyc_check_run(cyc_check_result *result, const cyc_check_options *options);
/** The most memory that cyc_check_run() holds at one time [bytes], for half maps and a mask of so many px; 0:
 * none. radius as of cyc_polish_memory_bytes(). */
double cyc_check_memory_bytes(const cyc_check_options *options, const cyc_project_size *project,
                              int32_t map_px, int32_t radius, int32_t mask_px);
/** The same of the memory of a device. @param[in] batch_bytes  that a batch of images may take at most */
double cyc_check_device_bytes(const cyc_check_options *options, const cyc_project_size *project,
                              int32_t map_px, int32_t radius, size_t batch_bytes);
/** The whole result as JSON; free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_check_json(char **out, const cyc_check_result *r);

#ifdef __cplusplus
}
#endif
#endif

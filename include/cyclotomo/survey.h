/**
 * @file survey.h
 * What is wrong with a project, from its tables, the headers of its images and its masks: found in seconds,
 * before anything is computed. docs/checks.md has the list.
 */
#ifndef CYCLOTOMO_SURVEY_H
#define CYCLOTOMO_SURVEY_H

#include "cyclotomo/json.h"
#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- findings */

/** A number and its standard error; both NaN if it could not be measured. */
typedef struct {
	double value, error;
} cyc_measured;

/** Errors stop a job; warnings are reported and counted; notes are shown by `cyclotomo check` only. */
typedef enum { CYC_FINDING_NOTE, CYC_FINDING_WARNING, CYC_FINDING_ERROR } cyc_finding_level;
/** Something that is not as it should be. Texts are owned. */
typedef struct {
	cyc_finding_level level;
	cyc_status code;  /**< what a job that stops at it ends with */
	const char *kind; /**< "value", "label", "image", "mask", "hand", "dose" ...: docs/checks.md. Static */
	int32_t i_series; /**< -1: of the project */
	char *series;     /**< its name, or NULL */
	char *file;       /**< relative to the root; NULL: of none */
	int64_t row;      /**< 1-based row of the table, 0: the whole column */
	char *column;     /**< label, NULL: none */
	int64_t n_more;   /**< further rows of this column with the same fault */
	cyc_measured measured; /**< NaN: nothing was measured */
	double expected;
	double sigma; /**< distance of the two in standard errors, NaN: none */
	double gain;  /**< log-likelihood of the alternative over that of what is given, NaN: none */
	char *found, *wanted, *action; /**< for people */
	bool can_fix;                  /**< cyc_check_options.fix_dir corrects it */
} cyc_finding;

/** Zeroed: empty. */
typedef struct {
	int32_t n;
	cyc_finding *items;
} cyc_finding_list;
void cyc_finding_list_deinit(cyc_finding_list *l);
/** A new finding at the end: of the project, with numbers that are NaN. Borrowed until the next one. */
CYC_MUST_CHECK cyc_status cyc_finding_add(cyc_finding **out, cyc_finding_list *l, cyc_finding_level level,
                                          const char *kind);
/** File and column; NULL: none. */
CYC_MUST_CHECK cyc_status cyc_finding_put(cyc_finding *f, const char *file, const char *column);
/** printf into a text of a finding, in place of what it said, in a function with the label `done`. */
#define CYC_FINDING_SAY(text, ...) CYC_TRY(cyc_reprintf(&(text), __VA_ARGS__))
/** The error that was raised last becomes a finding (its hint is what to do), and is cleared. */
CYC_MUST_CHECK cyc_status cyc_finding_add_raised(cyc_finding **out, cyc_finding_list *l, const char *kind,
                                                 cyc_status raised);
int32_t cyc_finding_count(const cyc_finding_list *l, cyc_finding_level level);
/** The most severe first, then in the order of the series. */
void cyc_finding_sort(cyc_finding_list *l);
/** One line: where, what was found and expected, what to do. Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_finding_text(char **out, const cyc_finding *f);
void cyc_finding_json(cyc_json *j, const cyc_finding *f);
void cyc_measured_json(cyc_json *j, const char *key, cyc_measured m);
/** Warn of each warning, of many of one kind of the first three and their number. */
CYC_MUST_CHECK cyc_status cyc_finding_warn(const cyc_finding_list *l);
/** Raise the first error, with the number of further ones; CYC_OK if there is none. */
CYC_MUST_CHECK cyc_status cyc_finding_raise(const cyc_finding_list *l);

/* ---------------------------------------------------------------- the project */

/** So many pixels are read in about a second. */
#define CYC_SURVEY_FEW_PIXELS 5e7
typedef struct {
	bool skip_images;            /**< look at tables only */
	bool is_deep;                /**< read all images: pixels that are no numbers, constant and dead images */
	bool skip_hands;             /**< the caller finds them from the images */
	bool skip_orientations;      /**< those of the particles are not used, or searched for */
	double most_pixels;          /**< images that have no more altogether are read as if is_deep */
	double duplicate_distance_A; /**< particles closer than this are listed twice; 0: not checked */
	int n_threads;
} cyc_survey_options;

/**
 * Look at a project: values that cannot be, tables that contradict each other, labels of other programs that
 * are not read, images. Opens the tilt series that have particles. Nothing is written.
 * @param[in,out] found  findings are added
 * @return CYC_OK also with findings; CYC_E_NOMEM, CYC_E_CANCELLED.
 * @note Not thread-safe on one project. The same findings for any number of threads.
 */
CYC_MUST_CHECK cyc_status cyc_survey_project(cyc_finding_list *found, const cyc_project_view *p,
                                             const cyc_survey_options *o);
/**
 * For jobs: the survey, unless the caller has done it (input->is_checked). Warnings are logged.
 * @return the first error found
 */
CYC_MUST_CHECK cyc_status cyc_survey_require(const cyc_project_view *p, const cyc_project_input *input,
                                             const cyc_survey_options *o);

/**
 * Slope of the stage's angles against the projections' (1 or -1) with the error that the scatter about the
 * line gives; NaN where there are too few tilts, or they spread too little.
 */
cyc_measured cyc_stage_slope(const cyc_tilt_series *ts);

/* ---------------------------------------------------------------- what jobs check */

/**
 * A mask for maps of n_px voxels (0: any) of a pixel size (0: any, or none): readable, that size, between 0
 * and 1, not empty.
 * @param[in] option  what names it, for the message: "--mask"
 */
CYC_MUST_CHECK cyc_status cyc_check_mask(const char *root, const char *mask, const char *option, int32_t n_px,
                                         double pixel_size_A);
/** A window of so many pixels fits into the images of every series with particles; opens the series. */
CYC_MUST_CHECK cyc_status cyc_check_window(const cyc_project_view *p, int32_t window_px);
/**
 * A folder (relative to the root) can be made and written to, and its file system has room. Nothing is
 * written.
 * @param[in] need_bytes  0: not known
 */
CYC_MUST_CHECK cyc_status cyc_check_output(const char *root, const char *out_dir, double need_bytes);

#ifdef __cplusplus
}
#endif
#endif

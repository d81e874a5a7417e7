/**
 * @file run.h
 * The state of a run: what it started from, its steps, the state it is in. The summary reads it
 * (src/summary), the cycle fills it (src/cycle).
 */
#ifndef CYC_RUN_RUN_H
#define CYC_RUN_RUN_H

#include "run/inputs.h"
#include "run/step.h"

typedef struct cyc__progress cyc__progress; /* summary/progress.h */

/** A run: the steps that were done or are being done, in order. */
typedef struct {
	const cyc_cycle_options *o;
	const cyc_cycle_ops *ops;
	cyc__inputs in;
	cyc_project_input start; /**< what the first step gets: the inputs, with the run's own copy of the
	                            particles if some were left out */
	char *own_particles, *own_trajectories;
	char *before_set;    /**< the state before the turn with the turn's particles and weights, whose maps the
	                        post-processing makes to    compare with; NULL: they did not change */
	uint64_t before_key; /**< hash of its files */
	int32_t n_steps;
	cyc__step *steps;
	int32_t i_best;         /**< post-processing step of the state that the run is in; -1 before the first */
	cyc_option_list list;   /**< all options of the run */
	cyc__pairs options;     /**< of cyc__record_options() */
	cyc__pairs inputs;      /**< of cyc__inputs_hashes() */
	uint64_t start_key;     /**< hash of the inputs that all steps depend on */
	uint64_t images_record; /**< times of the images, if their record is to be written */
	bool has_done_step; /**< since the run was started or resumed: later records may be of another state */
	bool metadata_is_clear; /**< the images could show whether hand and doses are right */
	cyc__step project;  /**< no step: holds the warnings about the project, which go to the first step's */
	const char *status; /**< of the newest step, as the pipeline file says it */
	cyc__progress *progress;            /**< progress.h; NULL: nobody follows */
	struct cyc__page_cache *page_cache; /**< page.h; pictures that the page has had already */
} cyc__cycle;

/** Index of the post-processing step of the start, -1 before it is done. */
int32_t cyc__first_postprocess(const cyc__cycle *c);
/** How to read the project with the files of another set: all that the run's input says but the files
 * themselves. */
cyc_project_input cyc__input_of(const cyc__cycle *c, const char *set);
/** File of that step's folder with what the images showed of each tilt series. */
extern const char CYC__EVIDENCE[];

#endif

/**
 * @file progress.h
 * What a run is doing: for its page, for the bar on the terminal, and in RUN/.cyclotomo_progress for
 * `cyclotomo status` in another one.
 */
#ifndef CYC_SUMMARY_PROGRESS_H
#define CYC_SUMMARY_PROGRESS_H

#include "run/plan.h"
#include "run/run.h"

typedef enum { CYC__RUNNING, CYC__FINISHED, CYC__STOPPED } cyc__run_state;

/** File in the run folder; STAR inside, hidden, for it is of no use to other programs. */
extern const char CYC__PROGRESS_FILE[];

/** Start to follow a run; *out lives in c. Later failures to write the file are no failures of the run. */
CYC_MUST_CHECK cyc_status cyc__progress_create(cyc__progress **out, const cyc__cycle *c);
void cyc__progress_destroy(cyc__progress **p);
/** The newest step of the cycle is being done from now on. */
void cyc__progress_begin_step(cyc__progress *p);
/** It is done, or the run has ended. */
void cyc__progress_end_step(cyc__progress *p, cyc__run_state state, const char *message);

typedef struct {
	cyc__run_state state;
	const char *message;    /**< why it stopped, else "" */
	double started, now;    /**< Unix time */
	int32_t i_step, n_plan; /**< being done or done last, from 1; of how many if nothing is left out */
	const cyc__step *step;  /**< NULL before the first */
	bool is_at_work;        /**< on that step */
	cyc__planned next[3];   /**< kinds that follow */
	int32_t n_next;
	double step_left_s, left_s; /**< from the times of steps that are done; NaN if none is */
} cyc__progress_view;
void cyc__progress_look(cyc__progress_view *out, const cyc__progress *p);

#endif

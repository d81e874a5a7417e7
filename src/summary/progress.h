/**
 * @file progress.h
 * Progress of a run: for its page, for the bar on the terminal, and in RUN/.cyclotomo_progress for `cyclotomo
 * status` elsewhere.
 */
#ifndef CYC_SUMMARY_PROGRESS_H
#define CYC_SUMMARY_PROGRESS_H

#include "run/plan.h"
#include "run/run.h"

typedef enum { CYC__RUNNING, CYC__FINISHED, CYC__STOPPED } cyc__run_state;

/** File in the run folder; A STAR file, hidden because other programs have no use for it. */
extern const char CYC__PROGRESS_FILE[];

/** Start to follow a run; *out lives in c. Later failures to write the file are no failures of the run. */
CYC_MUST_CHECK cyc_status cyc__progress_create(cyc__progress **out, const cyc__cycle *c);
void cyc__progress_destroy(cyc__progress **p);
/** The newest step of the cycle has begun. */
void cyc__progress_begin_step(cyc__progress *p);
/** It has finished, or the run has ended. */
void cyc__progress_end_step(cyc__progress *p, cyc__run_state state, const char *message);

typedef struct {
	cyc__run_state state;
	const char *message;    /**< why it stopped, else "" */
	double started, now;    /**< Unix time */
	int32_t i_step, n_plan; /**< current or last one, from 1; total if none is skipped */
	const cyc__step *step;  /**< NULL before the first */
	bool is_at_work;        /**< on that step */
	cyc__planned next[3];   /**< kinds that follow */
	int32_t n_next;
	double step_left_s, left_s; /**< from the times of finished steps; NaN without any */
} cyc__progress_view;
void cyc__progress_look(cyc__progress_view *out, const cyc__progress *p);

#endif

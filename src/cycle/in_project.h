/**
 * @file in_project.h
 * A run whose jobs are jobs of the project (--project): their numbers, its pipeline, what RELION's GUI shows.
 */
#ifndef CYC_CYCLE_IN_PROJECT_H
#define CYC_CYCLE_IN_PROJECT_H

#include "cycle/steps.h"
#include "project/pipeline_file.h"

/** The jobs that the run has, by the order of its steps: RUN/cyclotomo_jobs.star. Zeroed: none. */
typedef struct {
	int32_t n;
	struct {
		cyc__kind kind;
		int32_t job; /**< number in the project; 0: not known */
	} * items;
} cyc__project_jobs;
/** Empty without a record. @return CYC_E_FORMAT if it is damaged, since the jobs are then unknown. */
CYC_MUST_CHECK cyc_status cyc__project_jobs_read(cyc__project_jobs *out, const cyc_cycle_options *o);
void cyc__project_jobs_deinit(cyc__project_jobs *j);
/** CYC_E_USAGE if the run folder is that of a run whose jobs are elsewhere (with --project, or without). */
CYC_MUST_CHECK cyc_status cyc__project_check_mode(const cyc_cycle_options *o);

/** Number of the folder of step i (from 0) in a plan: nothing is taken. */
CYC_MUST_CHECK cyc_status cyc__planned_job(int32_t *job, const cyc_cycle_options *o, cyc__kind kind,
                                           int32_t i);
/**
 * Number of the folder of the run's next step, which is not among its steps yet. In the project it is that of
 * the record, or a new one, which the pipeline lists from then on as a running job.
 */
CYC_MUST_CHECK cyc_status cyc__take_job(int32_t *job, const cyc__cycle *c, cyc__kind kind);
/** Bring the project's pipeline up to date with all steps of the run, and what RELION keeps in the folder of
 * the newest one. */
CYC_MUST_CHECK cyc_status cyc__project_update(const cyc__cycle *c);
/** After the end of a step: a pipeline that stays locked is a warning, since the next update repairs it. */
CYC_MUST_CHECK cyc_status cyc__project_update_if_free(const cyc__cycle *c);
/** The job of a step in a pipeline: its status, the files it reads and those it has written. (pipeline.c) */
CYC_MUST_CHECK cyc_status cyc__pipeline_add_step(cyc_pipeline_file *p, const cyc__cycle *c,
                                                 const cyc__step *s, const char *status);

/**
 * job.star of a step as RELION's GUI writes it for the tab of its job (joboptions.c). Options that the tab
 * has no field for are among the additional arguments.
 */
CYC_MUST_CHECK cyc_status cyc__joboptions(cyc__pairs *out, const cyc__step *s, const cyc__cycle *c,
                                          const cyc__job_options *o);

/** Log of a step: run.out and run.err in its folder (job_log.c). Only one at a time. */
CYC_MUST_CHECK cyc_status cyc__job_log_begin(const cyc__cycle *c, const cyc__step *s);
/** Last lines: the resolution as RELION prints it, or the error. Does nothing without a log. */
void cyc__job_log_end(const cyc__step *s, cyc_status result);

#endif

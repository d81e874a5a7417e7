/**
 * @file steps.h
 * How the steps of a run are done: from a step to the options of its job, the job, and what is kept of its
 * result.
 */
#ifndef CYC_CYCLE_STEPS_H
#define CYC_CYCLE_STEPS_H

#include "cycle/needs.h"
#include "run/plan.h"
#include "run/run.h"

/** Options of the job of a step. */
typedef union {
	cyc_reconstruct_options reconstruct;
	cyc_postprocess_options postprocess;
	cyc_ctfrefine_options ctfrefine;
	cyc_polish_options polish;
	cyc_refine3d_options refine3d;
} cyc__job_options;

/** What kinds of steps do. A new kind of refinement is a row of this table, of the names in run/step.c and of
 * PLAN_TURNS in run/plan.c. */
typedef struct {
	/** Names are filled in already (cyc__step_name()). */
	void (*options)(cyc__job_options *out, const cyc__step *s, const cyc__cycle *c);
	cyc_status (*run)(cyc__step *s, const cyc__cycle *c, const cyc__job_options *o);
	/** The job's own check; half maps are still to be made. */
	cyc_status (*check)(const cyc__job_options *o, const cyc_project_view *project);
	/** What a step of a turn needs; `out` is zeroed. */
	void (*need)(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o);
	/** A line on what it changed, for the log; NULL: the step refines nothing. */
	void (*log)(const cyc__step *s);
} cyc__kind_work;
const cyc__kind_work *cyc__kind_work_of(cyc__kind kind);
/** What a step of the plan needs. */
cyc__need cyc__need_of(const cyc__planned *step, const cyc__inputs *in, const cyc_cycle_options *o);
/** Fill in the names that its options need; it has its input set already. */
CYC_MUST_CHECK cyc_status cyc__step_name(cyc__step *s, const cyc__cycle *c);
/** Command line that does the same, for note.txt. */
CYC_MUST_CHECK cyc_status cyc__step_command(char **out, const cyc__step *s, const cyc__cycle *c);
/** Continue a hash with all options that the step's result depends on. */
CYC_MUST_CHECK cyc_status cyc__step_options_hash(uint64_t *h, const cyc__step *s, const cyc__cycle *c);

/** Command line for the maps that a post-processing makes itself, of c->before_set; NULL: none. */
CYC_MUST_CHECK cyc_status cyc__before_command(char **out, const cyc__cycle *c, const cyc__step *s);

#endif

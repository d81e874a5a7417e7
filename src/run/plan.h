/**
 * @file plan.h
 * The order of the steps.
 */
#ifndef CYC_RUN_PLAN_H
#define CYC_RUN_PLAN_H

#include "run/step.h"

/** Kinds of all steps in order with their turns, if every turn is run; free with cyc_free(). */
typedef struct {
	cyc__kind kind;
	int32_t i_turn;
} cyc__planned;
CYC_MUST_CHECK cyc_status cyc__plan_steps(cyc__planned **out, int32_t *n, const cyc_cycle_options *o);
/** What each cycle refines, in order, each a turn of its own; returns their number. */
int cyc__plan_turns(cyc__kind turns[CYC__N_KINDS], const cyc_cycle_options *o);

#endif

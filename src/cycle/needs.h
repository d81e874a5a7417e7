/** @file needs.h  Memory and disk that steps need, by the jobs' own functions. */
#ifndef CYC_CYCLE_NEEDS_H
#define CYC_CYCLE_NEEDS_H

#include "run/inputs.h"

/** [bytes] */
typedef struct {
	double memory; /**< of the job, as it says itself */
	double first;  /**< memory of what the step does before its job; 0: nothing */
	double disk;   /**< roughly */
} cyc__need;

void cyc__need_reconstruct(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_postprocess(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_ctfrefine(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_polish(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_refine3d(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o);

#endif

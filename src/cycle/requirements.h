/**
 * @file requirements.h
 * What a run must have before its first step.
 */
#ifndef CYC_CYCLE_REQUIREMENTS_H
#define CYC_CYCLE_REQUIREMENTS_H

#include "run/inputs.h"

/**
 * Problems that a plan reports and a run cannot start with: images that are missing, negative scales,
 * duplicates to be refused, errors of the check of the project, options that a step of the plan would refuse,
 * a folder that cannot be written to, or a full disk.
 */
CYC_MUST_CHECK cyc_status cyc__inputs_require_all(const cyc__inputs *in, const cyc_cycle_options *o);
/** CYC_E_NOMEM, naming the step, if one needs more memory than is available. */
CYC_MUST_CHECK cyc_status cyc__require_memory(const cyc__inputs *in, const cyc_cycle_options *o);

#endif

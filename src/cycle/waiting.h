/**
 * @file waiting.h
 * A run of several processes: it stops before a step that can be divided, and leaves a note with the command
 * by which parts compute their shares; when all have finished, the run collects their results
 * (docs/dev/parts.md).
 */
#ifndef CYC_CYCLE_WAITING_H
#define CYC_CYCLE_WAITING_H

#include "cycle/steps.h"

#include "cyclotomo/refine3d.h"

/** --part of the look by which a run of n parts prepares a step, and sees which parts have finished. */
typedef struct {
	char text[32];
} cyc__part_text;
cyc__part_text cyc__preparation(int32_t n_parts);
/** Leave the note: step s waits. */
CYC_MUST_CHECK cyc_status cyc__waiting_write(const cyc__cycle *c, const cyc__step *s,
                                             const cyc__job_options *o);
/** No step waits any more. */
CYC_MUST_CHECK cyc_status cyc__waiting_forget(const cyc__cycle *c);

/**
 * Result of judging the particles before CTF refinement, kept while its parts are computed: they start from
 * it, so it must not be written again meanwhile.
 */
CYC_MUST_CHECK cyc_status cyc__judged_write(const cyc__cycle *c, const cyc__step *s,
                                            const cyc_refine3d_result *r);
/** *found: false without one that has this step's key and matches the current particles. */
CYC_MUST_CHECK cyc_status cyc__judged_read(bool *found, const cyc__cycle *c, const cyc__step *s,
                                           cyc_refine3d_result *r);
CYC_MUST_CHECK cyc_status cyc__judged_forget(const cyc__cycle *c, const cyc__step *s);

#endif

/**
 * @file waiting.h
 * A run of several processes: it stops before a step that can be dealt and leaves a note of the command by
 * which parts compute their shares of it; when all have finished the run takes their results
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
void cyc__waiting_forget(const cyc__cycle *c);

/**
 * What became of the look at the particles before CTF refinement, kept while its parts are computed: they
 * start from its result, which nobody may write again meanwhile.
 */
CYC_MUST_CHECK cyc_status cyc__judged_write(const cyc__cycle *c, const cyc__step *s,
                                            const cyc_refine3d_result *r);
/** *found: false if there is none of this step's key and of the particles as they lie there. */
CYC_MUST_CHECK cyc_status cyc__judged_read(bool *found, const cyc__cycle *c, const cyc__step *s,
                                           cyc_refine3d_result *r);
void cyc__judged_forget(const cyc__cycle *c, const cyc__step *s);

#endif

/**
 * @file records.h
 * What a run was started with, and what its finished steps left: written so that the same command resumes it,
 * and another one is refused (docs/dev/records.md).
 */
#ifndef CYC_CYCLE_RECORDS_H
#define CYC_CYCLE_RECORDS_H

#include "cyclotomo/profile.h"
#include "run/run.h"

/** Options that influence results, as text. */
CYC_MUST_CHECK cyc_status cyc__record_options(cyc__pairs *out, const cyc__cycle *c);
/** Kinds of steps that depend on an option or input by its name, bit 1 << kind, apart from what they start
 * from. */
unsigned cyc__dependents(const char *name, const cyc__cycle *c);
/** Roles of inputs on which not all steps depend, in their names: masks for references and FSC. */
extern const char *const CYC__ROLES[2];
/** Entry of the inputs for the particles that a run leaves out. */
extern const char CYC__LEFT_OUT[];
/**
 * Compare with the record of the run folder, or write it if this is the first start there. What differs
 * without a finished step that depends on it is a correction: it is told, and the record is written anew.
 * @return CYC_E_USAGE / CYC_E_DATA naming each other option / input that differs; CYC_E_USAGE if the folder
 * holds something else.
 */
CYC_MUST_CHECK cyc_status cyc__record_start(cyc__cycle *c);
/** The same comparison for a plan; nothing is written. */
CYC_MUST_CHECK cyc_status cyc__record_compare(const cyc__inputs *in, const cyc_cycle_options *o);
/** File name of a step's record. */
extern const char CYC__STEP_RECORD[];
/** Mark a finished step's files (s->files, s->state_key) and write its cyclotomo_step.star. */
CYC_MUST_CHECK cyc_status cyc__record_step_write(cyc__step *s, const cyc_cycle_options *o);
/**
 * Fill a step from its record, if that is whole and all files that other steps may read are as the step left
 * them.
 * @param[out] found     false: the step has to be run; if there was a record it is removed, and a warning
 * says why.
 * @param[in]  may_redo  a record of another key is of a state that was since replaced: no error
 * @return CYC_E_DATA if the record has another key.
 */
CYC_MUST_CHECK cyc_status cyc__record_step_read(bool *found, cyc__step *s, const cyc_cycle_options *o,
                                                bool may_redo);
/** run.json of a step: time, threads, memory, operations; and the time read back, NaN if there is none. */
CYC_MUST_CHECK cyc_status cyc__record_time_write(const cyc__step *s, const cyc__cycle *c,
                                                 const cyc_costs *costs);
double cyc__record_time_read(const cyc__step *s, const cyc_cycle_options *o);
/**
 * "name, hash" of each file that influences the result (names relative to the root), "name (role)" for masks
 * and MTF, images and the particles that are left out as one entry each.
 */
CYC_MUST_CHECK cyc_status cyc__inputs_hashes(cyc__pairs *out, const cyc__inputs *in,
                                             const cyc_cycle_options *o);

#endif

/**
 * @file options.h
 * The options of a run's jobs: those given by the user for each, and those passed by the run to all alike.
 */
#ifndef CYC_RUN_OPTIONS_H
#define CYC_RUN_OPTIONS_H

#include "run/pairs.h"

#include "cyclotomo/cycle.h"

/** Options of the jobs but for their inputs and outputs; of the look at the particles before CTF refinement.
 */
cyc_reconstruct_options cyc__reconstruct_options(const cyc_cycle_options *o);
cyc_postprocess_options cyc__postprocess_options(const cyc_cycle_options *o);
cyc_ctfrefine_options cyc__ctfrefine_options(const cyc_cycle_options *o);
cyc_polish_options cyc__polish_options(const cyc_cycle_options *o);
cyc_refine3d_options cyc__refine3d_options(const cyc_cycle_options *o);
cyc_refine3d_options cyc__judge_options(const cyc_cycle_options *o);
/** Whether the CTF refinement has anything to do; and whether that writes particles, with optics groups. */
bool cyc__refines_ctfs(const cyc_cycle_options *o);
bool cyc__refines_optics(const cyc_cycle_options *o);
/** Options as names and values: all of a job, or those that a command line needs (flags without a value). */
CYC_MUST_CHECK cyc_status cyc__arguments(cyc__pairs *out, const void *options, const cyc_option_table *table,
                                         bool with_all);
/** Names of the options that are files whose content counts, and the files. */
CYC_MUST_CHECK cyc_status cyc__option_files(cyc__pairs *out, const cyc_cycle_options *o);

#endif

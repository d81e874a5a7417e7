/**
 * @file needs.h
 * Memory and disk that kinds of steps need, roughly, by the jobs' own functions. [bytes]
 */
#ifndef CYC_CYCLE_NEEDS_H
#define CYC_CYCLE_NEEDS_H

#include "run/inputs.h"

void cyc__need_reconstruct(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_postprocess(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_ctfrefine(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_polish(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);
void cyc__need_refine3d(double *memory, double *disk, const cyc__inputs *in, const cyc_cycle_options *o);

#endif

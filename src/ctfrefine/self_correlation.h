/**
 * @file self_correlation.h
 * How much of the self-correlation that was taken off (T4.14) was too much or too little, as the images tell.
 */
#ifndef CYC_CTF_SELF_CORRELATION_H
#define CYC_CTF_SELF_CORRELATION_H

#include "ctfrefine/hierarchy.h"

typedef struct {
	double value, error;
} cyc_self_excess;
/**
 * The part of the self-correlation that is left in the sums of fitted series (negative: too much was taken
 * off), with its standard error: regression of the cross terms on prediction and self-correlation. (T4.31)
 */
CYC_MUST_CHECK cyc_status cyc_self_excess_measure(cyc_self_excess *out, const cyc_series_fit *series,
                                                  const cyc_ctf_model *m, const cyc_series_sums *const *sums,
                                                  int32_t n_series, int n_threads);
/** Take `excess` times the self-correlation off the sums, those of parts too. */
void cyc_self_excess_take(cyc_series_sums *sums, int32_t n_coefficients, double excess);

#endif

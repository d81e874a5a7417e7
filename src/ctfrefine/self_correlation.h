/**
 * @file self_correlation.h
 * Whether too much or too little self-correlation was subtracted (T4.14), estimated from the images.
 */
#ifndef CYC_CTF_SELF_CORRELATION_H
#define CYC_CTF_SELF_CORRELATION_H

#include "ctfrefine/hierarchy.h"

typedef struct {
	double value, error;
} cyc_self_excess;
/**
 * The share of the self-correlation remaining in the sums of fitted series (negative: too much was
 * subtracted), with its standard error: regression of the cross terms on prediction and self-correlation.
 * (T4.31)
 */
CYC_MUST_CHECK cyc_status cyc_self_excess_measure(cyc_self_excess *out, const cyc_series_fit *series,
                                                  const cyc_ctf_model *m, const cyc_series_sums *const *sums,
                                                  int32_t n_series, int n_threads);
/** Subtract `excess` times the self-correlation from the sums, those of parts too. */
void cyc_self_excess_take(cyc_series_sums *sums, int32_t n_coefficients, double excess);

#endif

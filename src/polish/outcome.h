/** @file outcome.h  Whether images that were not fitted agree better, by a paired comparison with its
 * standard error. */
#ifndef CYC_POLISH_OUTCOME_H
#define CYC_POLISH_OUTCOME_H

#include "cyclotomo/base.h"

typedef enum { CYC_POLISH_NO_DIFFERENCE, CYC_POLISH_BETTER, CYC_POLISH_WORSE } cyc_polish_outcome;
/**
 * Sum D of differences of log-likelihood (after minus before) of n independent parts, and its standard error
 * from their scatter, s = sqrt(n / (n - 1) sum (d - mean)^2). Better if D > t s and worse if D < -allowance -
 * t s, t the 97.5 % point of Student's distribution with n - 1 degrees of freedom; else, or with one part, no
 * difference.                                  (T6.10)
 * @param[in] allowance  loss expected for another reason, >= 0
 */
cyc_polish_outcome cyc_polish_judge(double *error, const double *differences, int32_t n, double allowance);
/** "better", "no difference", "worse". */
const char *cyc_polish_outcome_name(cyc_polish_outcome outcome);

#endif

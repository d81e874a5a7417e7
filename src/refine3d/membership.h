/**
 * @file membership.h
 * Is it the particle? How well images agree with the reference, in two bands of resolution, for all particles
 * of a half-set: a mixture of those that are the particle at their pose and those that are not. (T8.20 -
 * T8.24)
 */
#ifndef CYC_REFINE3D_MEMBERSHIP_H
#define CYC_REFINE3D_MEMBERSHIP_H

#include "cyclotomo/base.h"
#include "cyclotomo/status.h"

enum { CYC_BAND_LOW, CYC_BAND_HIGH, CYC_N_BANDS };

/** What the images of a particle say in a band, at its pose. */
typedef struct {
	double amplitude; /**< x: data over prediction; near 1 for a typical particle (T8.20) */
	double variance;  /**< v: its variance by noise; 0: the band carries no information */
} cyc_band_agreement;
typedef struct {
	cyc_band_agreement band[CYC_N_BANDS];
} cyc_agreement;

/** What is learned of a half-set. */
typedef struct {
	double share;                            /**< share of the set that are particles */
	double mean[CYC_N_BANDS];                /**< amplitude of particles */
	double spread[CYC_N_BANDS][CYC_N_BANDS]; /**< its covariance beyond noise */
	double other_mean[CYC_N_BANDS];          /**< of what is not the particle, in units of the noise */
	double other_spread[CYC_N_BANDS];
	double typical, scatter; /**< median amplitude of particles at high resolution, and their variance beyond
	                            noise by the median deviation */
	bool is_told_apart;      /**< false: too little agrees; all probabilities are 1 */
} cyc_membership;

/**
 * Probability that each of n is a particle, by expectation maximisation from a fixed start.
 * @param[out] probability  n values by the caller
 * @param[in]  agreement    n; those without information in either band get the share
 * @param[in]  n_poses      that each pose was chosen from: noise agrees with the best of them by about sqrt(2
 * ln n_poses)
 */
CYC_MUST_CHECK cyc_status cyc_membership_fit(double *probability, cyc_membership *model,
                                             const cyc_agreement *agreement, int64_t n, double n_poses);
/**
 * Is the agreement at high resolution far below that of particles? By three of their standard deviations; or
 * closer to zero than to the typical value, by more than noise explains. (T8.24)
 */
bool cyc_membership_is_far_below(const cyc_membership *m, const cyc_agreement *a);
/**
 * Half-width that holds 0.683 of a quantity known to `error` if this is a particle, and to `width` if it is
 * not.    (T8.25)
 */
double cyc_membership_error(double probability, double error, double width);

#endif

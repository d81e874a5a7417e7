/**
 * @file pose_follow.h
 * Poses followed to the maximum of their posterior (T8.3), step by step. The driver evaluates the images of
 * many poses at once.
 */
#ifndef CYC_POSE_FOLLOW_H
#define CYC_POSE_FOLLOW_H

#include "refine3d/pose_search.h"

/** The constants of one particle's search. */
typedef struct {
	int32_t i; /**< its number in the block */
	const cyc_search_particle *of;
	const cyc_search_spec *spec;
	cyc_mat3 R_part_old;
	double sigma_rotation_rad, sigma_offset_A; /**< of its half-set */
	const cyc_rotation_grid *grid;             /**< NULL: nothing is sampled */
} cyc_search_one;

/** What is known of the posterior at a pose. */
typedef struct {
	cyc_pose pose;
	double log_posterior, log_likelihood;
	cyc_pose_derivatives images, at; /**< of the likelihood, and of the posterior */
	cyc_image_terms *terms;          /**< of each image; NULL: not wanted */
} cyc_peak;

/** A pose on its way to a maximum. Its driver fills next.images (and next.terms) at next.pose, then calls
 * cyc_track_advance(), until has_ended. */
typedef struct {
	cyc_peak best, next;
	double damping;
	int32_t radius, n_left; /**< coefficients up to this shell; steps that are left */
	bool has_begun, has_ended;
} cyc_track;

/** @param[in] max_steps  0: only the start itself is evaluated. The caller provides room for terms, if
 * wanted.
 */
void cyc_track_begin(cyc_track *t, const cyc_pose *start, int32_t radius, int32_t max_steps);
/** Levenberg-Marquardt: a step is taken if the posterior rises, and is the last if it gains next to nothing.
 * (T8.3) */
void cyc_track_advance(cyc_track *t, const cyc_search_one *s);
/** Standard errors by the inverse curvature, all 0 if there is none; returns half the log of its determinant.
 */
double cyc_peak_errors(double error[CYC_POSE_PARAMETERS], const cyc_pose_derivatives *at);
/**
 * The poses of the distinct maxima worth following, best first; of two equal ones the higher is kept. (T8.10)
 * @param[in] tracks  n <= CYC_MAX_STARTS that have ended
 * @return how many there are
 */
int32_t cyc_peaks_different(cyc_pose poses[CYC_MAX_STARTS], const cyc_track *tracks, int32_t n,
                            const cyc_search_one *s);
/** The highest maximum, and its share of the posterior among the different ones, in out->p_max. (T8.10)
 * @return its track */
int32_t cyc_peaks_best(cyc_found_pose *out, const cyc_track *tracks, int32_t n, const cyc_search_one *s);
/** Distance between the closest symmetry mates: a nearby mate is not a second maximum. */
double cyc_search_distance_rad(const cyc_search_one *s, cyc_mat3 a, cyc_mat3 b);

#endif

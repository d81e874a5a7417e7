/**
 * @file motion_model.h
 * Prior of beam-induced motion: velocities of all particles in one exposure are a sample of a 3D Gaussian
 * process in space, independent in time, so that positions do a random walk in dose:
 * docs/theory/06-polishing.md, (T6.5).
 */
#ifndef CYC_MOTION_MODEL_H
#define CYC_MOTION_MODEL_H

#include "cyclotomo/base.h"
#include "cyclotomo/geom.h"

typedef struct {
	int32_t n_particles, n_modes;
	double *modes; /**< n_particles x n_modes: column b is sqrt(eigenvalue) times the eigenvector, unit prior
	                  variance each */
} cyc_motion_model;
typedef struct {
	double correlation_A;
	bool is_squared;   /**< exp(-r^2 / d^2) instead of exp(-|r| / d) */
	bool is_relative;  /**< only motion relative to the particles' mean: the rest is left to the tilts' shifts
	                    */
	int32_t max_modes; /**< < 0: as many as hold 99.9 % of the variance */
} cyc_motion_options;
/**
 * Modes of K_pq = exp(-|r_p - r_q| / d) or exp(-|r_p - r_q|^2 / d^2), largest first; orthogonal. Up to 1,500
 * particles by eigenvectors of K, beyond by those of its pivoted Cholesky factor of at most 400 columns.
 * @return CYC_E_USAGE: correlation length not positive.
 */
CYC_MUST_CHECK cyc_status cyc_motion_model_create(cyc_motion_model **out, const cyc_vec3 *positions_A,
                                                  int32_t n, const cyc_motion_options *options);
void cyc_motion_model_destroy(cyc_motion_model **m);

#endif

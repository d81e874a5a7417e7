/**
 * @file motion_model.h
 * Prior of beam-induced motion: velocities of all particles in one exposure are a sample of a 3D Gaussian process in space,
 * independent in time, so that positions do a random walk in dose: docs/theory/06-polishing.md, (T6.5).
 */
#ifndef CYC_MOTION_MODEL_H
#define CYC_MOTION_MODEL_H

#include "cyclotomo/base.h"
#include "cyclotomo/geom.h"

typedef struct {
	int32_t n_particles, n_modes;
	double *modes; /**< n_particles x n_modes: column b is sqrt(eigenvalue) times the eigenvector, unit prior variance each */
} cyc_motion_model;
/**
 * Modes of K_pq = exp(-|r_p - r_q| / d) or exp(-|r_p - r_q|^2 / d^2), largest first, holding 99.9 % of the trace or max_modes.
 * Up to 1,500 particles by eigenvectors, beyond by pivoted Cholesky, whose columns serve as well.
 */
CYC_MUST_CHECK cyc_status cyc_motion_model_create(cyc_motion_model **out, const cyc_vec3 *positions_A, int32_t n, double correlation_A, bool squared_exponential,
                                                  int32_t max_modes);
void cyc_motion_model_destroy(cyc_motion_model **m);

#endif

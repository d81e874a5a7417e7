/**
 * @file schur.h
 * Inverse of an alignment's curvature: exact for tilts and particles, whose blocks are eliminated (Schur
 * complement), and mode by mode for the motion, a chain in time. Preconditioner of the Gauss-Newton step, and
 * source of the standard errors.     (T6.12)
 */
#ifndef CYC_SCHUR_H
#define CYC_SCHUR_H

#include "polish/alignment.h"

typedef struct cyc_schur cyc_schur;
CYC_MUST_CHECK cyc_status cyc_schur_create(cyc_schur **out, const cyc_alignment *a);
void cyc_schur_destroy(cyc_schur **s);
/** Fill and factorise for the present linearisation of `a`. */
CYC_MUST_CHECK cyc_status cyc_schur_factor(cyc_schur *s, const cyc_alignment *a);
/** x = (blocks of the curvature)^-1 g; deformations by the diagonal alone. */
CYC_MUST_CHECK cyc_status cyc_schur_solve(double *x, cyc_schur *s, const cyc_alignment *a, const double *g);
/** Variances of the standardised tilt (n_tilts x 5) and particle (n x 3) parameters, motion held; destroys
 * the factors. */
CYC_MUST_CHECK cyc_status cyc_schur_variances(double *tilts, double *particles, cyc_schur *s,
                                              const cyc_alignment *a);
/** Their covariance, 5 n_tilts x 5 n_tilts, both triangles; after cyc_schur_variances(). */
const double *cyc_schur_tilt_covariance(const cyc_schur *s);
/** Precision of the modes' amplitudes: n_tilts (chronological) x 3 x n_modes [1/Å2 of a unit amplitude]; of
 * the factorised `s`. */
const double *cyc_schur_mode_precision(const cyc_schur *s);

#endif

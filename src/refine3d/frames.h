/** @file frames.h  Rotation and shift between two half maps of the same particle. */
#ifndef CYC_REFINE3D_FRAMES_H
#define CYC_REFINE3D_FRAMES_H

#include "cyclotomo/geom.h"
#include "refine3d/half_maps.h"

/** Map 2 is map 1 turned by the rotation vector [rad] about its centre and then shifted [Å]; what symmetry
 * forbids is 0. */
typedef struct {
	cyc_vec3 turn_rad, shift_A;
} cyc_frame;
/**
 * By least squares, to first order in both: with B the derivatives of the mean of the maps,
 *   (sum_k B_i* B_j / n) p = sum_k B_i* (V_1 - V_2) / n,   n the power of V_1 - V_2 in its shell (T8.26) or
 * nothing where chi^2 does not exceed what noise makes by three standard deviations. The noise of the sum of
 * two maps is independent of that of their difference, so noise does not bias the result.
 * @param[in] weight  Wiener factors of the mean of the maps, crop_px/2 + 1
 */
CYC_MUST_CHECK cyc_status cyc_frame_between(cyc_frame *out, const cyc_half_maps *maps, const double *weight,
                                            const cyc_symmetry *symmetry, const cyc_half_maps_spec *spec);

#endif

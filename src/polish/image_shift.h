/**
 * @file image_shift.h
 * One shift per tilt from the whole image: all particles' predictions at their positions, correlated with the
 * image. It finds shifts of any size, for series with poor alignment. (T6.14)
 */
#ifndef CYC_IMAGE_SHIFT_H
#define CYC_IMAGE_SHIFT_H

#include "reference/prediction_pass.h"

typedef struct {
	double error_px[2]; /**< standard errors, by the curvature of log L at the peak; NaN where it has none, 0
	                       if is_found is false */
	double shift_px[2]; /**< to be added to the tilt's projection; 0 if is_found is false */
	bool is_found;      /**< the peak stands out */
	double peak;        /**< height of the peak over the standard deviation of the correlation */
	double top, near; /**< the correlation (2 S C of (T6.2) at S = 1) at the peak, and its highest value near
	                     no shift */
	double power; /**< sum of |prediction|^2 over noise: log L = S top - S^2 power / 2 against no particles at
	                 all */
	double heldout_before; /**< correlation (log L units) of each half-set's prediction at no shift ... */
	double heldout_after;  /**< ... and at the shift that the other half-set's prediction finds */
	int64_t n_images, n_outside;
} cyc_image_shift;

/** Lower peaks are taken for noise: one of 10^7 positions reaches 5.4 by chance. */
#define CYC_IMAGE_SHIFT_LEAST_PEAK 7.0

/** Shift of row i_tilt of an open series. @param[in] near_px  largest shift that counts as none, along each
 * axis
 */
CYC_MUST_CHECK cyc_status cyc_image_shift_find(cyc_image_shift *out, cyc_prediction_pass *pass,
                                               const cyc_tilt_series *ts, int32_t i_tilt,
                                               const cyc_particle_set *set, int32_t i_series, double near_px);
/** Bytes that it takes beside the pass: a search in images of nx x ny with windows of box_px. */
double cyc_image_shift_bytes(int32_t nx, int32_t ny, int32_t box_px, int n_threads);

#endif

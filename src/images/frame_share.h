/** @file frame_share.h  The fraction of a particle's signal that lies inside a tilt image, near its border.
 */
#ifndef CYC_FRAME_SHARE_H
#define CYC_FRAME_SHARE_H

#include "backends/backend.h"
#include "images/tilt_batch.h"

/** Radius of a particle, for its weights, of the radius of the circle to which images are cropped. */
#define CYC_PARTICLE_SHARE 0.75
/** Of its radius a particle's centre must be inside of the frame; less, and a third of the particle is cut
 * off. */
#define CYC_LEAST_INSIDE 0.25

/** Tables of one tilt. Start from a zeroed struct. */
typedef struct {
	int32_t s;
	double radius_px; /**< of the particle, binned px */
	double farthest;  /**< largest distance that a frequency is moved, in radii */
	float *moved;     /**< s x (s/2 + 1): that distance in radii over |k| in index units */
	float *reach;     /**< s: largest of these distances in each row, rounded up */
	int32_t *last;    /**< s: the last column of each row whose share is asked for, -1: none */
	float *disc;      /**< disc_beside_line() at N steps of its argument */
} cyc_frame_share;
/**
 * How far defocus moves each frequency, |lambda Df k - Cs lambda^3 k^3|, of the mean defocus. (T7.7)
 * @param[in] limit      radius beyond which coefficients are left as they are, index units; s: none are
 * @param[in] radius_px  of the particle, binned px */
CYC_MUST_CHECK cyc_status cyc_frame_share_fill(cyc_frame_share *t, const cyc_tilt_series *ts, int32_t i_tilt,
                                               int32_t s, int32_t limit, double pixel_size_A,
                                               double radius_px);
void cyc_frame_share_deinit(cyc_frame_share *t);
/** Whether the frame shows all signal of all images of a batch: no share is below 1. */
bool cyc_frame_share_is_whole(const cyc_frame_share *t, const cyc_tilt_series *ts,
                              const cyc_tilt_batch *batch, double binning);
/** Multiply the weights of packed slices (cyc_packed_count(s) floats each) by the share of their signal that
 * the frame shows. (T2.7) */
CYC_MUST_CHECK cyc_status cyc_frame_share_apply(float *packed, const cyc_frame_share *t,
                                                const cyc_tilt_series *ts, const cyc_tilt_batch *batch,
                                                double binning, int n_threads);
/**
 * Multiply predictions of a batch by the root of that share and divide observations by it: products of both
 * stay what they are, and the power of the predictions becomes that of what the frame shows. (T2.7) Whole
 * windows (weight 1 in the batch) stay as they are.
 * @param[in,out] observed, predicted  batch->n x s x (s/2 + 1)
 */
CYC_MUST_CHECK cyc_status cyc_frame_share_balance(cyc_cfloat *observed, cyc_cfloat *predicted,
                                                  const cyc_frame_share *t, const cyc_tilt_series *ts,
                                                  const cyc_tilt_batch *batch, double binning, int n_threads);
/** Share of a disc of radius 1 on the near side of a line, at a signed distance `d` from its centre. */
double cyc_disc_beside_line(double d);

#endif

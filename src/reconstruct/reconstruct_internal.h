/** @file reconstruct_internal.h  The parts of the particle reconstruction: sums, their symmetry, and maps
 * from them. */
#ifndef CYC_RECONSTRUCT_INTERNAL_H
#define CYC_RECONSTRUCT_INTERNAL_H

#include "backends/backend.h"
#include "cyclotomo/reconstruct.h"

/** An operation of the symmetry in Fourier space: rotation and, for helices, a shift in the map's pixels. */
typedef struct {
	cyc_mat3 R;
	double shift_z_px;
	bool is_permutation; /**< voxels land on voxels */
} cyc_fourier_op;
/** Point group and helix as one list without the identity. Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc__fourier_ops(cyc_fourier_op **out, int32_t *n, const char *symmetry,
                                           int32_t helical_n_asu, double helical_rise_A,
                                           double helical_twist_rad, double pixel_size_A);
/**
 * Average a sum over the symmetry: D'(p) = [D(p) + sum_j exp(2 pi i p.t_j / s) D(R_j p)] / (n + 1), weights
 * alike.  (T2.3)
 * @param[out] out   s x s x sh x {re, im, weight, 0}; @param[in] sum the same
 */
CYC_MUST_CHECK cyc_status cyc__symmetrise(float *out, const float *sum, int32_t s, const cyc_fourier_op *ops,
                                          int32_t n_ops, int n_threads);
/** As cyc__symmetrise() inside the sphere |p| <= radius; undefined outside of it. */
CYC_MUST_CHECK cyc_status cyc__symmetrise_within(float *out, const float *sum, int32_t s, int32_t radius,
                                                 const cyc_fourier_op *ops, int32_t n_ops, int n_threads);

/** How maps are made from sums. */
typedef struct {
	int32_t box_px;
	double pixel_size_A, snr, grey_scale;
} cyc_finish_spec;
/**
 * Map of one or two sums (their total): gridding correction, division by the weights, inverse transform.
 * (T2.4)
 * @param[out] full     map of edge box, untapered; centre at box/2
 * @param[out] data, weight  full-size sums for inspection, or NULL
 */
CYC_MUST_CHECK cyc_status cyc__finish(cyc_volume **full, cyc_volume **data, cyc_volume **weight,
                                      cyc_backend *be, const float *sum1, const float *sum2,
                                      const cyc_finish_spec *spec);
/** Spherical taper: subtract the weighted mean of the sphere, fall to zero over `taper_px` at its rim. (T2.6)
 */
void cyc__taper(cyc_volume *v, double taper_px);

/** Bytes of one sum; of symmetrising one; of making a map from one or two. */
double cyc__sum_bytes(int32_t s);
double cyc__symmetrise_bytes(const char *symmetry, int32_t s);
double cyc__finish_bytes(int32_t s, int32_t crop_px, int n_threads);

#endif

/**
 * @file sums.h
 * Sums of particle images in Fourier space: of half-sets or of groups of them. docs/theory/02-reconstruct.md
 */
#ifndef CYC_HALFMAPS_SUMS_H
#define CYC_HALFMAPS_SUMS_H

#include "backends/backend.h"
#include "cyclotomo/geom.h"

/**
 * n sums of integers over the same voxels. Integers add up to the same in any order, and differences of sums
 * are exact. (T2.10)
 */
typedef struct {
	cyc_backend *be;
	int32_t box_px;       /**< s */
	int32_t n;            /**< even: the first half of them are of half-set 1 */
	cyc_sum_spec spec[2]; /**< of the half-sets; scale 0: not yet known, nothing can be added */
	cyc_ball *ball;
	cyc_buffer **sum; /**< n x ball->count x {re, im, weight} int64_t; NULL: given up */
	bool is_zero;     /**< nothing has been added yet: whoever adds says so */
} cyc_sums;
/**
 * Zero sums of the voxels |p| <= radius.
 * @param[in] inner  voxels |p| <= inner are left out; -1: none
 */
CYC_MUST_CHECK cyc_status cyc_sums_create(cyc_sums **out, cyc_backend *be, int32_t box_px, int32_t radius,
                                          int32_t inner, int32_t n);
void cyc_sums_destroy(cyc_sums **s);
/** Set all to zero and keep the memory. */
CYC_MUST_CHECK cyc_status cyc_sums_clear(cyc_sums *s);
/** Bytes of one sum. */
double cyc_sum_bytes(double radius);
/** Half-set of a sum. */
static inline int32_t cyc_sums_half(const cyc_sums *s, int32_t i) { return i >= s->n / 2; }
/**
 * Choose the scales of a half-set, from the slices that one batch adds to it: powers of two, so that typical
 * values are resolved to 2^-26 and 256 times the largest one can be added n_additions times. Does nothing if
 * they are chosen already, or if the slices are zero. (T2.10)
 * @param[in] packed, slices  as for cyc_op_slice_insert()
 */
CYC_MUST_CHECK cyc_status cyc_sums_choose_scale(cyc_sums *s, int32_t half, cyc_buffer *packed,
                                                const cyc_slices *slices, double n_additions);
/** Add those of all ranks (cyclotomo/ranks.h): afterwards every rank has the sums of all images. */
CYC_MUST_CHECK cyc_status cyc_sums_add_ranks(cyc_sums *s);
/** Scales for images that are all zero. */
void cyc_sums_scale_any(cyc_sums *s, int32_t half);

/**
 * A finished sum in single precision, {re, im, weight, 0} of each voxel |p| <= radius, and zeros in a rim of
 * two voxels around them, so that interpolation needs to look at no border.
 */
typedef struct {
	int32_t box_px, radius;
	cyc_ball *ball; /**< of radius + 2 */
	float *value;   /**< ball->count x 4 */
} cyc_half_sum;
/** Largest |y| and |z| of its voxels: frequencies -s/2 and s/2 are one, and left out. */
static inline int32_t cyc_half_sum_top(const cyc_half_sum *s)
{
	return s->radius < s->box_px / 2 ? s->radius : s->box_px / 2 - 1;
}
CYC_MUST_CHECK cyc_status cyc_half_sum_create(cyc_half_sum **out, int32_t box_px, int32_t radius);
void cyc_half_sum_destroy(cyc_half_sum **s);
double cyc_half_sum_bytes(double radius);
/**
 * Sum of sums first .. first + count - 1 without number `but` (-1: of all), and beyond their inner sphere,
 * where there is one, of another set of sums.
 * @param[in,out] out   of the radius of `s`, or of `rest`; made if NULL
 * @param[in]     rest  NULL, or sums that hold what is beyond the radius of `s`: number i_rest of them
 */
CYC_MUST_CHECK cyc_status cyc_sums_take(cyc_half_sum **out, cyc_sums *s, int32_t first, int32_t count,
                                        int32_t but, cyc_sums *rest, int32_t i_rest);

/* ---------------------------------------------------------------- symmetry */

/** An operation of the symmetry in Fourier space: rotation and, for helices, a shift in the map's pixels. */
typedef struct {
	cyc_mat3 R;
	double shift_z_px;
	bool is_permutation; /**< voxels land on voxels */
} cyc_fourier_op;
/** Point group and helix as one list without the identity. Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_fourier_ops(cyc_fourier_op **out, int32_t *n, const char *symmetry,
                                          int32_t helical_n_asu, double helical_rise_A,
                                          double helical_twist_rad, double pixel_size_A);
/**
 * Average a sum over the symmetry: D'(p) = [D(p) + sum_j exp(2 pi i p.t_j / s) D(R_j p)] / (n + 1), weights
 * alike. (T2.3)
 * @param[in,out] sum    overwritten
 * @param[in,out] other  of the same radius, work memory; made if NULL. The two may change places.
 */
CYC_MUST_CHECK cyc_status cyc_symmetrise(cyc_half_sum **sum, cyc_half_sum **other, const cyc_fourier_op *ops,
                                         int32_t n_ops, int n_threads);

/**
 * The two sums of half-sets, symmetrised; the integers are freed on the way.
 * @param[in,out] sums  two of them
 */
CYC_MUST_CHECK cyc_status cyc_sums_to_halves(cyc_half_sum *out[2], cyc_sums *sums, const cyc_fourier_op *ops,
                                             int32_t n_ops);
/** Most bytes that are held meanwhile, those of the integers included. */
double cyc_sums_to_halves_bytes(double radius, bool has_symmetry);

/* ---------------------------------------------------------------- maps */

/** How maps are made from sums. */
typedef struct {
	double pixel_size_A, snr, grey_scale;
} cyc_finish_spec;
/**
 * Map of one or two sums (their total): gridding correction, division by the weights, inverse transform.
 * (T2.4)
 * @param[out] full     map of edge box, untapered; centre at box/2
 * @param[out] data, weight  full-size sums for inspection, or NULL
 */
CYC_MUST_CHECK cyc_status cyc_finish_map(cyc_volume **full, cyc_volume **data, cyc_volume **weight,
                                         cyc_backend *be, const cyc_half_sum *sum1, const cyc_half_sum *sum2,
                                         const cyc_finish_spec *spec);
double cyc_finish_bytes(int32_t s, int32_t crop_px, int n_threads);
/** Bytes that it takes on a device. */
double cyc_finish_device_bytes(int32_t s);
/** The spherical taper at a distance r from the centre, for a sphere of radius R [px]. (T2.6) */
double cyc_taper_weight(double r_px, double R_px, double taper_px);
/** Spherical taper: subtract the weighted mean of the sphere, fall to zero over `taper_px` at its rim. (T2.6)
 */
CYC_MUST_CHECK cyc_status cyc_taper_map(cyc_volume *v, double taper_px, int n_threads);

#endif

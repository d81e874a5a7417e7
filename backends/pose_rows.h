/** @file pose_rows.h  What operations on poses are asked, as the host and the kernels have it. C17 and C++17.
 */
#ifndef CYC_POSE_ROWS_H
#define CYC_POSE_ROWS_H

#include <stdint.h>

/** References of one call at most; coefficients that are added up in single precision, in so many lanes. */
enum { CYC_MOST_POSE_MAPS = 12, CYC_POSE_BLOCK = 256, CYC_POSE_LANES = 16 };

/** One image at one pose. */
typedef struct {
	int64_t first;    /**< of its data and weights in their buffers */
	int32_t n;        /**< coefficients that count: a beginning of the list */
	int32_t reach;    /**< largest |kx| and |ky| among them, or more */
	int32_t map;      /**< number of the reference */
	float x[3], y[3]; /**< reference index of (1, 0) and (0, 1) of the image */
	double shift_px[2];
	double amplitude; /**< s: data = s times prediction */
} cyc_pose_row;

/** Sums over the coefficients of an image (T8.3); parameters are three angles about the reference's axes and
 * two displacements [px]. */
enum {
	CYC_POSE_CROSS,                          /**< Re[Y V*] */
	CYC_POSE_POWER,                          /**< W |V|^2 */
	CYC_POSE_SLOPES,                         /**< 5: Re[(Y - s W V) dV*] */
	CYC_POSE_PRODUCTS = CYC_POSE_SLOPES + 5, /**< 15: W Re[dV dV*], rows of the lower triangle */
	CYC_N_POSE_TERMS = CYC_POSE_PRODUCTS + 15
};

/** An image that trials have, a rotation and an offset of one, with the logarithms of their priors. */
typedef struct {
	int64_t first;           /**< of its data and weights in their buffers */
	double R_img_tomo[2][3]; /**< the axes of the image */
	double px_per_A;
	int32_t n; /**< coefficients that count: a beginning of the list */
} cyc_pose_image;
typedef struct {
	double R_tomo_ref[3][3], log_prior;
} cyc_pose_rotation;
typedef struct {
	double A[3], log_prior;
} cyc_pose_offset;
/** Rotations and offsets of a particle that are tried with each other: ranges of the lists of a call. */
typedef struct {
	int32_t first_image, n_images, first_rotation, n_rotations, first_offset, n_offsets, map;
	double amplitude;
} cyc_pose_trial;
/** One of them, numbers from the beginning of the trial's ranges. */
typedef struct {
	double score; /**< log-likelihood (T8.2), without priors */
	int32_t rotation, offset;
} cyc_pose_sample;

#endif

/**
 * @file pose_model.h
 * The log-likelihood (T8.1) of a particle's pose, summed over its tilt images. Scores, gradient and curvature
 * at many poses are computed by the backend (pose_store.h); sums by shell, at one pose of each particle, on
 * the host.
 *
 * A pose is R_tomo_ref and an offset in Å (tomogram axes) from where the images were cut.
 */
#ifndef CYC_POSE_MODEL_H
#define CYC_POSE_MODEL_H

#include "refine3d/particle_images.h"

typedef struct {
	cyc_mat3 R_tomo_ref;
	cyc_vec3 offset_A;
} cyc_pose;

/** The reference of one half-set. */
typedef struct {
	int32_t map; /**< its number in a cyc_pose_store */
	const cyc_cfloat
		*grid; /**< edge x edge x (edge/2 + 2): cyc_reference.half; NULL while it is not the host's */
	int32_t m, edge, box_px, radius;
	const float *own_share; /**< box/2 + 1: Wiener factor times noise of the reference, per shell, if it is
	                           made of these images; or NULL */
	const float *spread; /**< box/2 + 1: variance of the prediction V per shell, for which images count less
	                        (T8.19); NULL: 0 */
	double amplitude;    /**< s: data = s times prediction */
} cyc_pose_reference;

/** The images of one particle. */
typedef struct {
	const cyc_coefficients *list;
	const cyc_particle_image *images;
	int32_t n_images;
	uint8_t *use; /**< n_images flags or NULL: images with 0 are left out */
} cyc_pose_data;

/** Work memory of one thread. */
typedef struct cyc_pose_work cyc_pose_work;
CYC_MUST_CHECK cyc_status cyc_pose_work_create(cyc_pose_work **out, const cyc_coefficients *list);
/** Bytes that it takes. */
double cyc_pose_work_bytes(const cyc_coefficients *list);
void cyc_pose_work_destroy(cyc_pose_work **w);

enum { CYC_POSE_PARAMETERS = 6 };
/** Value, gradient and curvature at a pose; parameters: rotation about the reference's axes (rad), offset (Å,
 * tomogram axes). */
typedef struct {
	double value;
	double gradient[CYC_POSE_PARAMETERS];
	double curvature[CYC_POSE_PARAMETERS][CYC_POSE_PARAMETERS]; /**< expected, positive */
} cyc_pose_derivatives;
/** One image's part of gradient and curvature, by three angles about the reference's axes and two
 * displacements [px]. */
typedef struct {
	float gradient[5], curvature[15]; /**< curvature: rows of the lower triangle */
	float axes[2][3];                 /**< displacement per Å along the tomogram's axes */
	int32_t i_tilt;
	bool is_used; /**< false: the end of the list */
} cyc_image_terms;
/**
 * Sums over images and coefficients at a pose, added to: per shell Re[D V*] and W |V|^2, and the part of the
 * former that is each image with itself (per unit of the amplitude). The best-fitting amplitude is cross /
 * (own + power).                   (T8.6)
 * @param[in,out] by_shell  list box/2 + 1 x {cross, power}
 */
void cyc_pose_amplitudes(float (*by_shell)[2], double *own, cyc_pose_work *w, const cyc_pose_data *data,
                         const cyc_pose_reference *reference, const cyc_pose *pose, int32_t radius);
/** Sums over a particle's images and the coefficients of a shell, at a pose. */
typedef struct {
	double cross;    /**< Re[D V*] exp(..) */
	double own;      /**< the part that is each image with itself, in a map that contains it (T8.5); 0 without
	                    own_share */
	double power;    /**< W |V|^2: the expected value of cross is s power */
	double residual; /**< |D - s W V|^2 */
	double noise; /**< W: the residual expected from noise alone, apart from the share that the mask leaves */
} cyc_pose_agreement;
/**
 * How the images of a particle agree with the reference, shell by shell. (T8.20)
 * @param[out] shells  box/2 + 1, zeroed by the caller; adds to
 */
void cyc_pose_agree(cyc_pose_agreement *shells, cyc_pose_work *w, const cyc_pose_data *data,
                    const cyc_pose_reference *reference, const cyc_pose *pose, int32_t radius);
/** R exp([w]) and offset + t. */
cyc_pose cyc_pose_step(const cyc_pose *pose, const double step[CYC_POSE_PARAMETERS]);

#endif

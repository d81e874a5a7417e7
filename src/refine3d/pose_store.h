/**
 * @file pose_store.h
 * References, and the images of the particles that are searched together, in the memory of the backend.
 * Evaluates the images at many poses at once.
 *
 * Not thread-safe: it uses the backend's threads.
 */
#ifndef CYC_POSE_STORE_H
#define CYC_POSE_STORE_H

#include "refine3d/pose_model.h"

typedef struct cyc_pose_store cyc_pose_store;
/** Borrows the backend and the list. */
CYC_MUST_CHECK cyc_status cyc_pose_store_create(cyc_pose_store **out, cyc_backend *be,
                                                const cyc_coefficients *list);
void cyc_pose_store_destroy(cyc_pose_store **s);
cyc_backend *cyc_pose_store_backend(const cyc_pose_store *s);
const cyc_coefficients *cyc_pose_store_list(const cyc_pose_store *s);

/**
 * Reference i, < CYC_MOST_POSE_MAPS, in place of the one before.
 * @param[in] map     borrowed: edge x edge x (edge/2 + 2) complex, as of cyc_slice_extract_in; NULL: none
 * @param[in] zoom    samples per frequency of the list
 * @param[in] spread  box/2 + 1: variance of its predictions (T8.19), copied; or NULL
 */
CYC_MUST_CHECK cyc_status cyc_pose_store_set_map(cyc_pose_store *s, int32_t i, cyc_buffer *map, double zoom,
                                                 int32_t edge, const float *spread);
/** Host access to all references, for sums computed on the host; no operation may run meanwhile. */
CYC_MUST_CHECK cyc_status cyc_pose_store_open_maps(cyc_pose_store *s);
CYC_MUST_CHECK cyc_status cyc_pose_store_close_maps(cyc_pose_store *s);
/** NULL while they are closed. */
const cyc_cfloat *cyc_pose_store_grid(const cyc_pose_store *s, int32_t i);

/** Bytes that the images of a particle take. */
double cyc_pose_store_image_bytes(const cyc_pose_data *data);
/** The images of n particles in place of those before. */
CYC_MUST_CHECK cyc_status cyc_pose_store_set_images(cyc_pose_store *s, const cyc_pose_data *data, int32_t n);

/** Where the data of image f of a particle begin there. */
int64_t cyc_pose_store_place(const cyc_pose_store *s, int32_t particle, int32_t f);
/** Coefficients of image f up to a radius, at most that of the reference; 0: it is not used. */
int32_t cyc_pose_count(const cyc_pose_data *data, const cyc_pose_reference *reference, int32_t radius,
                       int32_t f);

/** A particle at a pose, and where the answer goes. */
typedef struct {
	int32_t particle;          /**< number in cyc_pose_store_set_images() */
	const cyc_pose_data *data; /**< the same as there, but for the images that are used */
	const cyc_pose_reference *reference;
	cyc_pose pose;
	int32_t radius; /**< last shell */
	cyc_pose_derivatives *out;
	cyc_image_terms *terms; /**< what each image that is used adds, ended by is_used = false: room for
	                           n_images + 1; or NULL */
} cyc_pose_query;
/**
 * L at poses, with R_tomo_ref exp([w]) and offset + t as the parameters' meaning, exact derivatives of the
 * interpolated reference, and the expected curvature 2 s^2 sum W Re[dV dV*]. (T8.3)
 */
CYC_MUST_CHECK cyc_status cyc_pose_ask(cyc_pose_store *s, const cyc_pose_query *queries, int32_t n);
/**
 * Scores of many poses: cyc_op_pose_scores().
 * @param[out] samples  room for cyc_pose_trials_count(): those that are kept
 * @param[out] counts   in->n: of each trial
 */
CYC_MUST_CHECK cyc_status cyc_pose_try(cyc_pose_sample *samples, int64_t *counts, cyc_pose_store *s,
                                       const cyc_pose_trials *in);

#endif

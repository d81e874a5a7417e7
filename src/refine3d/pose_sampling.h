/** @file pose_sampling.h  Poses of a grid by their posterior: where to start from, or the best of them. */
#ifndef CYC_POSE_SAMPLING_H
#define CYC_POSE_SAMPLING_H

#include "refine3d/pose_follow.h"

/** Work memory of one thread. */
typedef struct cyc_sampler cyc_sampler;
CYC_MUST_CHECK cyc_status cyc_sampler_create(cyc_sampler **out, const cyc_coefficients *list,
                                             const cyc_search_spec *spec, int32_t max_images);
/** Bytes that cyc_sampler_create() takes; of grids, n is read. Bounded for any grid. */
double cyc_sampler_bytes(const cyc_coefficients *list, const cyc_search_spec *spec, int32_t max_images);
void cyc_sampler_destroy(cyc_sampler **w);
cyc_pose_work *cyc_sampler_model(cyc_sampler *w);
/**
 * The poses that are worth following, best first: the old pose where samples lie around it, and the best
 * samples that are more than a step apart. Or, if poses are not followed, the best child of the significant
 * samples. (T8.9), (T8.10)
 * @param[out]    n_starts  at least 1
 * @param[in,out] out       n_significant; if poses are not followed pose, log_likelihood and p_max
 */
CYC_MUST_CHECK cyc_status cyc_sampler_run(cyc_pose starts[CYC_MAX_STARTS], int32_t *n_starts,
                                          cyc_found_pose *out, cyc_sampler *w, const cyc_search_one *s);

#endif

/** @file pose_sampling.h  Poses of a grid by their posterior: where to start from, or the best of them. */
#ifndef CYC_POSE_SAMPLING_H
#define CYC_POSE_SAMPLING_H

#include "refine3d/pose_follow.h"

/** A particle, and where its result goes. */
typedef struct {
	const cyc_search_one *s;
	cyc_pose *starts;      /**< CYC_MAX_STARTS */
	int32_t *n_starts;     /**< at least 1 */
	cyc_found_pose *found; /**< n_significant; if poses are not followed pose, log_likelihood and p_max */
} cyc_sampling;

/** Work memory of a block of particles. Not thread-safe; it uses the backend's threads. */
typedef struct cyc_sampler cyc_sampler;
CYC_MUST_CHECK cyc_status cyc_sampler_create(cyc_sampler **out, cyc_pose_store *store,
                                             const cyc_search_spec *spec, int32_t n_particles,
                                             int32_t max_images);
/** Bytes that it takes, including one call of the backend; of grids, only n is read. Bounded for any grid. */
double cyc_sampler_bytes(const cyc_search_spec *spec, int32_t n_particles, int32_t max_images);
/** Bytes that its calls take on a device, at most. */
double cyc_sampler_device_bytes(void);
void cyc_sampler_destroy(cyc_sampler **w);
/**
 * The poses of n particles that are worth following, best first: the old pose where samples lie around it,
 * and the best samples that are more than a step apart. Or, if poses are not followed, the best child of the
 * significant samples. Their images are in the store. (T8.9), (T8.10)
 */
CYC_MUST_CHECK cyc_status cyc_sampler_run(cyc_sampler *w, const cyc_sampling *particles, int32_t n);

#endif

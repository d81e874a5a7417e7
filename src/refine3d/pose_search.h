/**
 * @file pose_search.h
 * The best poses of a block of particles: sampled, then followed to the maximum. The particles of a block are
 * followed in lockstep, so that all their images are evaluated at once. They are independent: results depend
 * neither on the block nor on the number of threads.
 */
#ifndef CYC_POSE_SEARCH_H
#define CYC_POSE_SEARCH_H

#include "refine3d/membership.h"
#include "refine3d/pose_store.h"
#include "refine3d/sampling.h"

enum { CYC_MAX_STARTS = 8 };
/** Settings of a search, the same for all particles of an iteration. */
typedef struct {
	const cyc_rotation_grid *rotations; /**< NULL: nothing is sampled, unless is_near */
	const cyc_offset_grid *offsets;
	bool is_near; /**< RELION's local grid, made for each particle: order, oversampling and sigma below */
	int32_t order, oversampling;
	double perturbation_rad, offset_perturbation_A;
	bool do_follow;   /**< follow to the maximum instead of sampling children */
	int32_t n_starts; /**< most poses that are followed, <= CYC_MAX_STARTS */
	int32_t coarse_radius, radius;
	double sigma_rotation_rad[2]; /**< prior about the prior's centre, per axis and half-set */
	double sigma_offset_A[2];
	const cyc_symmetry *symmetry; /**< symmetry-related poses count as one; NULL: none */
	double adaptive_fraction;     /**< share of the posterior held by the significant samples, 0.999 */
} cyc_search_spec;

typedef struct {
	cyc_pose pose;
	double log_likelihood;             /**< relative to no particle */
	double p_max;                      /**< posterior of the pose among those evaluated */
	int64_t n_significant;             /**< coarse samples; where more than 2^19 would be, as many */
	double error[CYC_POSE_PARAMETERS]; /**< standard errors: rotation about the reference's axes [rad], offset
	                                      [Å]; 0 if not followed */
	/** How the images agree with the reference there, coarser and finer than about 20 Å; filled by the
	 * caller of the search. */
	cyc_pose_agreement agreement[CYC_N_BANDS];
	double amplitude; /**< of that reference */
	/** How far the pose would move with the map of the other half-set in place of its own (T8.27); NaN: not
	 * computed. For errors only. */
	double map_step[CYC_POSE_PARAMETERS];
} cyc_found_pose;

static inline double cyc_vec3_norm2(cyc_vec3 v) { return v.x * v.x + v.y * v.y + v.z * v.z; }

/** The prior on one particle's pose. */
typedef struct {
	cyc_pose old;         /**< pose that the reference was made with; samples are taken around it */
	cyc_pose prior;       /**< centre of the prior */
	cyc_mat3 R_tomo_part; /**< axes of the offset lattice */
	int32_t half;
	cyc_image_terms *terms; /**< filled at the pose that was followed to: one for each image at most, ended by
	                           is_used = false; or NULL */
	int32_t n_terms;        /**< room */
} cyc_pose_start;
typedef struct {
	cyc_pose_data data;
	cyc_pose_reference reference;
	cyc_pose_start start;
	cyc_found_pose *found; /**< where the result goes */
} cyc_search_particle;

/** What one search is made for. */
typedef struct {
	int32_t n_particles, max_images; /**< of any block; of any particle */
} cyc_search_size;
/** Work memory of a search, and what it found last. Not thread-safe; it uses the backend's threads. */
typedef struct cyc_search_work cyc_search_work;
/**
 * @param[in] store  borrowed, with the references
 * @param[in] spec   borrowed; may be changed between searches, but for the sizes of grids
 */
CYC_MUST_CHECK cyc_status cyc_search_work_create(cyc_search_work **out, cyc_pose_store *store,
                                                 const cyc_search_spec *spec, const cyc_search_size *size);
/** Bytes that it takes, and the largest call of the backend (of grids, n is read). Bounded for any grid. */
double cyc_search_work_bytes(const cyc_search_spec *spec, const cyc_search_size *size);
void cyc_search_work_destroy(cyc_search_work **w);
/** Poses of n particles, at most size.n_particles. Their images stay in the store. */
CYC_MUST_CHECK cyc_status cyc_pose_search(cyc_search_work *w, const cyc_search_particle *particles,
                                          int32_t n);
/** Gradient and curvature of the images alone at the pose that particle i of the last block was followed to,
 * without the priors. */
const cyc_pose_derivatives *cyc_search_work_at(const cyc_search_work *w, int32_t i);

#endif

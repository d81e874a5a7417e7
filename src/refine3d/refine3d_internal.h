/** @file refine3d_internal.h  One run of the refinement: what its parts share. */
#ifndef CYC_REFINE3D_INTERNAL_H
#define CYC_REFINE3D_INTERNAL_H

#include "cyclotomo/parts.h"
#include "cyclotomo/refine3d.h"
#include "reference/refine_input.h"
#include "refine3d/frames.h"
#include "refine3d/group_maps.h"
#include "refine3d/half_maps.h"
#include "refine3d/membership.h"
#include "refine3d/pose_search.h"
#include "refine3d/stack_images.h"
#include "refine3d/volume_images.h"

/** Particles of a unit of the search at most: enough for all cores, few enough for the memory. */
enum { CYC_UNIT_PARTICLES = 64 };
enum { CYC_STARTS_LOCAL = 3 };         /* poses that are followed after a local search */
#define CYC_SEARCH_SCRATCH_BYTES 0.4e6 /* of a thread, in the backend */
#define CYC_UNIT_BYTES 128e6           /* of their images, unless it is one particle */

#define CYC_IMPROBABLE 0.5 /* particles with a lower probability are reported as improbable */

/** Where a particle's images are cut: its position when the run began. */
typedef struct {
	cyc_vec3 offset_A; /**< from the particle's coordinates; tomogram axes */
	cyc_vec3 position_A;
} cyc_cut_place;

/** A particle between iterations. */
typedef struct {
	cyc_cut_place cut; /**< never changes; poses have their offsets from there */
	cyc_pose pose;     /**< the present one */
	cyc_pose prior;    /**< pose that the prior is about: at the start of the run, or before the images were
	                      first refined */
	double log_likelihood, p_max, error[CYC_POSE_PARAMETERS];
	int64_t n_significant;
	/* Whether this is the particle: judge.c. */
	cyc_pose_agreement agreement[CYC_N_BANDS];                  /**< at the pose */
	double amplitude;                                           /**< of the reference then */
	double probability;                                         /**< that it is the particle, at its pose */
	double expected;                                            /**< log-likelihood of a particle here */
	bool is_far_below;                                          /**< the agreement is, at high resolution */
	double found_amplitude[CYC_N_BANDS], residual[CYC_N_BANDS]; /**< over what is typical */
	bool was_searched;    /**< among all rotations, because it agreed too little */
	bool was_found_again; /**< and is the particle there */
} cyc_refined;

/** Windows, maps (binned px) and binning. */
typedef struct {
	int32_t box_px, crop_px;
	double binning;
} cyc_refine3d_boxes;
/**
 * Boxes of particles that an extraction wrote: maps of their images' size, windows twice as wide where an
 * image is at least four times as wide, else as wide as half of it. Logged.
 * @return CYC_E_USAGE if the optics table has no size; CYC_E_UNSUPPORTED for groups of several sizes.
 */
CYC_MUST_CHECK cyc_status cyc_refine3d_boxes_of_stacks(cyc_refine3d_boxes *out, const cyc_refine_input *in);

/** State that determines the next iteration. */
typedef struct {
	int32_t iteration;
	int32_t order; /**< HEALPix order of the coarse grid */
	double offset_range_A, offset_step_A;
	double sigma_angle_rad[2], sigma_offset_A[2]; /**< priors of the poses, per axis and half-set */
	double perturbation;                          /**< present one, share of a step */
	double resolution_A;                          /**< at FSC 0.5 (SSNR 1), RELION's figure */
	double resolution_143_A, best_resolution_A;
	double mean_fsc; /**< over all shells */
	int32_t n_without_gain, n_without_change;
	double change_rotation_rad, change_offset_A; /**< means over particles of the last iteration */
	double rotation_error_rad, offset_error_A;   /**< medians */
	double error_factor[2][4]; /**< by half-set: errors of rotations, of offsets along x, y, z, over those
	                              expected from the curvature (T8.17) */
	double average_p_max, average_significant;
	double log_likelihood[2];
	double amplitude[2]; /**< grey scale: data over prediction, per half-set */
	int64_t n_images, n_outside;
	int32_t best_radius;    /**< last shell of the references of the best poses */
	int32_t best_iteration; /**< whose poses have the best evidence; 0: the start, -1: none compared */
	double least_moved;     /**< least that poses moved by in an iteration, in standard errors; 0: none yet */
	double evidence_gain, evidence_gain_error; /**< of the poses compared last over the best before */
	int32_t radius;                            /**< last shell of the references */
	bool began_with_given;                     /**< the first references were half maps of other images */
	bool has_converged, is_settled; /**< is_settled: because poses moved by less than their errors */
	cyc_membership membership[2];   /**< per half-set */
	double n_poses;                 /**< that a pose was chosen from */
	int64_t n_improbable, n_searched, n_found_again;
	bool has_searched;
} cyc_refine3d_state;

/** What is kept in memory together. */
typedef struct {
	double bytes;            /**< most at one time */
	bool keeps_images;       /**< of all series; else one series at a time is cut again in each iteration */
	double references_room;  /**< for references of groups; if not all fit, some are made twice */
	double references_bytes; /**< what is taken of it by those of the planned resolution */
} cyc_refine3d_memory;
void cyc_refine3d_plan_memory(cyc_refine3d_memory *out, const cyc_refine3d_options *o,
                              const cyc_project_size *p, const cyc_refine3d_sizes *z);
/** Bytes of one reference, of both half-sets. */
double cyc_refine3d_reference_bytes(const cyc_refine3d_sizes *z);
/** Poses that a search looks at for each particle, about. */
double cyc_refine3d_n_poses(const cyc_refine3d_options *o, int32_t n_symmetry);
/** Bytes of the search: work of all threads, and grids. */
double cyc_refine3d_search_bytes(const cyc_refine3d_options *o, const cyc_refine3d_sizes *z,
                                 const cyc_project_size *p);
/** Whether half-sets are dealt to groups if they are large enough. */
bool cyc_refine3d_wants_groups(const cyc_refine3d_options *o);

typedef struct {
	const cyc_refine3d_options *o;
	cyc_refine_input in;
	const cyc_particle_set *particles; /**< as read; constant during a run */
	cyc_particle_set posed; /**< the same at their present poses and probabilities, as maps are made of them:
	                           shares all but the particles */
	char *ref2_name;        /**< owned, if it was made from ref1 */
	bool is_one_map;
	cyc_box box;
	int32_t crop_px;
	double particle_diameter_A;
	cyc_symmetry *symmetry;
	cyc_backend *be;
	cyc_coefficients *list;
	cyc_tilt_source *source;        /**< NULL with --from-stacks */
	cyc_stacks *stacks;             /**< NULL: from the tilt images; offsets are where images are cut */
	cyc_stacks posed_stacks;        /**< the same with offsets of the present poses: shares all but these */
	cyc_stack_source *stack_source; /**< NULL for volumes */
	bool is_start; /**< while the files of iteration 0 are written: of poses that nothing was found out about
	                */
	cyc_volume_images_spec volumes; /**< of volumes */
	cyc_series_images **images;     /**< n_series; NULL: not in memory */
	cyc_project_size size;
	cyc_refine3d_sizes sizes;
	cyc_refine3d_memory memory;
	double *group_sigma2; /**< of relion_model, n_optics x (crop/2 + 1); or NULL */
	int32_t *owner;       /**< n_series: rank whose images they are */
	bool *is_counted;     /**< n_series: its images are in the counts and the noise */
	double **counts;      /**< n_series: of images read on this rank, until they are counted; else NULL */
	double *noise_sum;    /**< n_optics x (crop/2 + 1): sigma^2 in RELION's unit, summed over images */
	int64_t *noise_count; /**< n_optics */
	cyc_volume *mask;
	cyc_half_maps_spec maps_spec;
	cyc_half_maps *maps;
	cyc_volume *filtered[2];
	cyc_reference
		*reference;   /**< of the half maps; without grids where groups have references of their own */
	float *own_share; /**< crop/2 + 1 */
	float *spread;    /**< 2 x (crop/2 + 1), by half-set: variance of predictions from references of groups
	                     (T8.19) */
	double
		given_scale[2]; /**< grey scale of the groups' maps over that of half maps that were given; else 1 */
	double *map_noise;  /**< crop/2 + 1: noise of the half maps */
	double lowpass_A;   /**< of the present references; 0: none */
	int32_t n_groups, *group;             /**< 1: not dealt to groups; n particles */
	cyc_group_maps *groups;               /**< sums at the present poses */
	bool uses_groups[2], has_told_groups; /**< by half-set, in this iteration */
	int32_t n_at_once, block; /**< references that are kept in memory together; those that are open */
	cyc_reference *group_references[CYC_MOST_GROUPS]; /**< memory stays from iteration to iteration */
	bool is_made[CYC_MOST_GROUPS];                    /**< holds the present maps */
	cyc_pose_store *store;  /**< has the open references: number 2 x group + half-set; last: the half maps */
	cyc_image_terms *terms; /**< of all images at the poses; series_terms: where a series begins (n_series +
	                           1), n_tilts a particle */
	int64_t *series_terms;
	float (*shells)[2]; /**< n particles x (crop/2 + 1): data with prediction, prediction with itself, at the
	                       poses that the references are made of */
	cyc_refined *best;  /**< n particles at state.best_iteration, */
	float (*best_shells)[2]; /**< and theirs */
	cyc_frame frame;         /**< of the second half map against the first, of the present references */
	bool start_is_refined;   /**< the given poses were already refined from images */
	bool has_no_prior;       /**< they were, and the poses before that are unknown */
	double *series_scale;    /**< 2 x n_series */
	cyc_refined *refined;    /**< n particles, order of the set */
	cyc_refine3d_state state;
	uint64_t hash;
	cyc_refine3d_result *result;
} cyc_refine3d_job;

/** Divide particles into groups, if wanted. */
CYC_MUST_CHECK cyc_status cyc_refine3d_deal_groups(cyc_refine3d_job *j);
/** Sums of the groups at the current poses, for given or resumed half maps; skipped if the given maps are
 * of other images. */
CYC_MUST_CHECK cyc_status cyc_refine3d_start_groups(cyc_refine3d_job *j);
/** Half maps, their FSC and sums of the groups at the present poses. */
CYC_MUST_CHECK cyc_status cyc_refine3d_make_maps(cyc_refine3d_job *j, bool with_merged);
/** Wiener factors and resolution of the next references, filtered maps; the references themselves are made
 * when they are opened. */
CYC_MUST_CHECK cyc_status cyc_refine3d_make_reference(cyc_refine3d_job *j);
void cyc_refine3d_drop_references(cyc_refine3d_job *j);
/** References are opened block by block: a pass over all particles visits all blocks, and in each skips
 * particles outside it. */
int32_t cyc_refine3d_n_blocks(const cyc_refine3d_job *j);
CYC_MUST_CHECK cyc_status cyc_refine3d_open_block(cyc_refine3d_job *j, int32_t block);
CYC_MUST_CHECK cyc_status cyc_refine3d_close_block(cyc_refine3d_job *j);
bool cyc_refine3d_is_in_block(const cyc_refine3d_job *j, int64_t p);
/** Reference for particle p of an open block. */
cyc_pose_reference cyc_refine3d_reference_of(const cyc_refine3d_job *j, int64_t p, bool is_for_poses);
/** The same with the map of the other half-set: to learn how the noise of a map affects poses, never to
 * find a pose. */
cyc_pose_reference cyc_refine3d_other_reference_of(const cyc_refine3d_job *j, int64_t p);

/** Find the poses of all particles with the current references; updates refined, state and, in the particle
 * set, poses and positions. */
CYC_MUST_CHECK cyc_status cyc_refine3d_expectation(cyc_refine3d_job *j);
CYC_MUST_CHECK cyc_status cyc_refine3d_alloc_terms(cyc_refine3d_job *j);
cyc_image_terms *cyc_refine3d_terms_of(const cyc_refine3d_job *j, int64_t p);
/**
 * Standard errors from the scatter of the images' slopes (T8.17), and from what the noise of the map does to
 * poses (T8.27); the priors are those that the poses were found with.
 * @param[in] found  n particles: their map_step
 */
CYC_MUST_CHECK cyc_status cyc_refine3d_scatter_errors(cyc_refine3d_job *j, const cyc_found_pose *found,
                                                      const double sigma_rotation_rad[2],
                                                      const double sigma_offset_A[2]);
/** Whether map_step of a pose that cyc_pose_search() has just found is to be filled; every so many particles
 * are asked, all if they are few. */
bool cyc_refine3d_wants_map_step(const cyc_found_pose *found, const cyc_refine3d_job *j, int64_t p,
                                 const cyc_search_spec *spec);
/** Fill it. @param[in] own, other  what the images say there by the map of their half-set, and of the other
 */
void cyc_refine3d_note_map_step(cyc_found_pose *found, const cyc_pose_derivatives *own,
                                const cyc_pose_derivatives *other, int32_t half, const cyc_search_spec *spec);
/** Apply the learned factors to the errors of a pose found later. */
void cyc_refine3d_widen_errors(cyc_refine3d_job *j, int64_t p);
/**
 * Grey scales of the half-sets' references and contrasts of the series, whose weighted mean is 1. (T8.6)
 * @param[in,out] amplitude  by half-set; kept with --absolute-grey-scale
 * @param[out] series_scale  n_series x 2
 * @param[in] sums  n_series x 2 x 3: Re[D V*], the images' own part of the reference, W |V|^2
 */
void cyc_refine3d_fit_scales(double amplitude[2], double *series_scale, const double *sums, int32_t n_series,
                             const cyc_refine3d_options *o);
/** Widths of the priors of both half-sets by the poses found and their errors, into j->state.
 * @param[in] first  0: of rotations and offsets, 1: of offsets alone. (T8.13) */
CYC_MUST_CHECK cyc_status cyc_refine3d_learn_priors(cyc_refine3d_job *j, int first);
/**
 * Widths before the first iteration, of poses that were refined already and whose prior is centred on those
 * before that: root mean square deviation, if that is narrower. (T8.13)
 */
void cyc_refine3d_start_priors(cyc_refine3d_job *j);
/** Grey scale of the references and contrast of the series, from the images at the present poses. */
CYC_MUST_CHECK cyc_status cyc_refine3d_amplitudes(cyc_refine3d_job *j);
/** Make the posed particles (and stacks), at the poses of `refined`. */
CYC_MUST_CHECK cyc_status cyc_refine3d_create_posed(cyc_refine3d_job *j);
/** Move both half-sets to the middle of their frames; `frame` is the offset that poses found inherited from
 * the references. */
void cyc_refine3d_join_frames(cyc_refine3d_job *j);
/** Update the posed particles to the current poses. */
void cyc_refine3d_apply_poses(cyc_refine3d_job *j);
/** Last shell of the band of low resolution, in which particles are compared with a reference of `radius`
 * shells: 20 Å, or an octave below its limit. (8.7) */
int32_t cyc__low_band_end(const cyc_refine3d_job *j, int32_t radius);
/** Agreement of a particle's images with the reference at the pose that was found. @param[out] shells  crop/2
 * + 1, work memory */
void cyc_refine3d_note_agreement(cyc_found_pose *out, const cyc_refine3d_job *j, cyc_pose_agreement *shells,
                                 cyc_pose_work *work, const cyc_pose_data *data, const cyc_pose_reference *r);
/** The same for all particles at their current poses, without a search. */
CYC_MUST_CHECK cyc_status cyc_refine3d_look(cyc_refine3d_job *j);
/** particles.star with the probabilities, and the list of improbable particles: the only output of a run
 * that only judges. */
CYC_MUST_CHECK cyc_status cyc_refine3d_write_judged(cyc_refine3d_job *j);
/** Are particles judged at all? */
bool cyc_refine3d_judges(const cyc_refine3d_job *j);
/** Probabilities of all particles from their agreement, separately for each half-set, into refined and the
 * particle set.       (T8.20 - T8.24) */
CYC_MUST_CHECK cyc_status cyc_refine3d_judge(cyc_refine3d_job *j);
/** Find particles that agree far less than expected and were not yet searched for among all rotations;
 * returns their number. */
int64_t cyc_refine3d_doubtful(bool *is_doubtful, const cyc_refine3d_job *j);
/** Search for particles among all rotations; those that agree better elsewhere are moved there. They must
 * be judged again. */
CYC_MUST_CHECK cyc_status cyc_refine3d_search_again(cyc_refine3d_job *j, const bool *which);
CYC_MUST_CHECK cyc_status cyc_refine3d_start_progress(cyc_refine3d_job *j);
/**
 * Compare the evidence of the poses of an iteration, which the present references are made of, with the best
 * before, and keep them if it is better. (T8.18)
 * @param[out] is_better  false: it is not
 */
CYC_MUST_CHECK cyc_status cyc_refine3d_note_progress(bool *is_better, cyc_refine3d_job *j, int32_t iteration);
/** Whether the given half maps, made from other images, predict these images better than their own maps do.
 * For the second iteration. */
CYC_MUST_CHECK cyc_status cyc_refine3d_given_are_better(bool *are_better, const cyc_refine3d_job *j);
/** The best poses become those of the particles. @return whether they differ from the present ones */
bool cyc_refine3d_restore_best(cyc_refine3d_job *j);
/** Weight of particle p in maps and sums: its probability, or 1 if all count alike. */
static inline double cyc_refine3d_weight(const cyc_refine3d_job *j, int64_t p)
{
	return j->o->keep_all ? 1 : j->refined[p].probability;
}
/** Make images of a series present. */
CYC_MUST_CHECK cyc_status cyc_refine3d_load_series(cyc_refine3d_job *j, int32_t i_series);
void cyc_refine3d_release_series(cyc_refine3d_job *j, int32_t i_series);

/** A file of the job from `prefix` and `name`, relative to the root and with it. Free both with cyc_free().
 */
CYC_MUST_CHECK cyc_status cyc_refine3d_name(char **relative, char **path, const cyc_refine3d_job *j,
                                            const char *prefix, const char *name);
/** half1_model.star, half2_model.star, sampling.star, optimiser.star behind `prefix`; or model.star of both
 * together. */
CYC_MUST_CHECK cyc_status cyc_refine3d_write_models(const cyc_refine3d_job *j, const char *prefix,
                                                    bool is_final);
/** What RELION needs in optimiser.star, sampling.star and model.star to continue, beyond the state of the
 * refinement: other settings, the directions of the grid, and their (uniform) prior. */
CYC_MUST_CHECK cyc_status cyc_refine3d_settle_optimiser(cyc_star *s, const cyc_refine3d_job *j);
CYC_MUST_CHECK cyc_status cyc_refine3d_add_directions(cyc_star *s, const cyc_refine3d_job *j);
CYC_MUST_CHECK cyc_status cyc_refine3d_add_direction_prior(cyc_star *s, const cyc_refine3d_job *j);
/** run_class001_angdist.bild: number of particles by viewing direction, as sticks around the map, for
 * ChimeraX. */
CYC_MUST_CHECK cyc_status cyc_refine3d_write_views(const cyc_refine3d_job *j, const double *rot,
                                                   const double *tilt, int64_t n);
/** Files of an iteration: run_itNNN_*; the maps and metadata that RELION's GUI shows. */
CYC_MUST_CHECK cyc_status cyc_refine3d_write_iteration(cyc_refine3d_job *j);
/** run_it000_*: the poses, references and settings that the first iteration begins with, so that RELION can
 * continue from there. Once its references are made and its images loaded. */
CYC_MUST_CHECK cyc_status cyc_refine3d_write_start(cyc_refine3d_job *j);
/** run_data.star, run_class001.mrc, run_half1_class001_unfil.mrc, ..., the optimisation set last. */
CYC_MUST_CHECK cyc_status cyc_refine3d_write_final(cyc_refine3d_job *j);
/** run_figures.pdf and run_directions.png; part of cyc_refine3d_write_final(). */
CYC_MUST_CHECK cyc_status cyc_refine3d_write_figures(const cyc_refine3d_job *j);

/** State, poses and maps after an iteration, exact to the bit. */
CYC_MUST_CHECK cyc_status cyc_refine3d_checkpoint_write(const cyc_refine3d_job *j);
/** The last checkpoint of this hash; state.iteration stays 0 if there is none. */
CYC_MUST_CHECK cyc_status cyc_refine3d_checkpoint_read(cyc_refine3d_job *j);
/** Its file. Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_refine3d_checkpoint_path(char **path, const cyc_refine3d_job *j);

/** Images that a particle of a series can have: its tilts, or sections of its volume. */
int32_t cyc_refine3d_n_views(const cyc_refine3d_job *j, int32_t i_series);
static inline bool cyc_refine3d_has_volumes(const cyc_refine3d_job *j)
{
	return j->stacks && !j->stacks->are_2d;
}
/** Threads that the largest series gives work to. */
int cyc_refine3d_n_workers(const cyc_refine3d_job *j);

#endif

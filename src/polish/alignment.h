/**
 * @file alignment.h
 * The alignment of one tilt series as an optimisation problem: projections, positions, motion and deformation
 * that make observed and predicted images agree best, given priors: docs/theory/06-polishing.md, (T6.3) to
 * (T6.9).
 *
 * Units: Å and rad; deformations and everything in images px. Tilts in row order; motion steps in
 * chronological order.
 *
 * Parameters are standardised by their prior widths, in this order: per tilt 3 angles and 2 shifts, per
 * particle 3 offsets, motion modes (step, axis, mode), deformation coefficients (once, or per tilt). Blocks
 * that are not refined have zero derivatives and so stay zero.
 */
#ifndef CYC_ALIGNMENT_H
#define CYC_ALIGNMENT_H

#include "cyclotomo/tilt.h"
#include "polish/local_map.h"
#include "polish/motion_model.h"

/** What is known of one particle in one tilt. */
typedef struct {
	float *map; /**< spline coefficients of the cross-correlation; NULL: not visible. Owned by the evidence */
	double start_px[2]; /**< where the window was cut: the map's zero */
	double curve[3];    /**< xx, xy, yy of the expected curvature of -log L per px^2, at scale 1 */
	double power;       /**< sum of weight |c V|^2 */
} cyc_pair;

/** Change of one tilt's projection: a rotation about the image of the tomogram's centre, then a shift. */
typedef struct {
	cyc_mat3 Q;
	double shift_A[2];
} cyc_tilt_change;

/**
 * Widths of the priors; learned within the bounds of a pseudo-count. Each tilt angle is expected near its
 * input and near the series' own geometry: constant X tilt and in-plane rotation, Y tilt a constant away from
 * the stage's.             (T6.4)
 */
typedef struct {
	double angle_input_rad, angle_trend_rad, shift_A, position_A;
} cyc_alignment_widths;

/** Derivatives of the image position of one pair, and the curvature there. */
typedef struct {
	double angle[2][3]; /**< px per standardised angle */
	double shift[2][2]; /**< px per standardised shift */
	double axes[2][3];  /**< px per Å in the specimen */
	double H[3]; /**< xx, xy, yy of the expected curvature per px^2 at the present strength; 0: not seen */
	double at_px[2]; /**< before the deformation */
} cyc_linear_pair;

typedef struct {
	int32_t n_tilts, n_particles, n_threads;
	const cyc_tilt_series *ts;
	const cyc_projection *projections; /**< n_tilts, of the input */
	const cyc_vec3 *positions_A;       /**< n_particles, of the input */
	const float *const *old_motion_A; /**< n_particles, NULL entries: none; used when motion is not refined */
	const int32_t *order;             /**< n_tilts rows, chronological */
	const double *step_sigma_A; /**< n_tilts - 1: prior width of the displacement of step t, times speed and
	                               step_factor */
	const double *step_dose; /**< n_tilts - 1: dose [e/Å2] from the first tilt to the middle of step t; NULL:
	                            speeds do not slow down */
	const cyc_motion_model *motion; /**< NULL: not refined */
	cyc_local_grid grid;
	const cyc_pair *pairs;   /**< n_particles x n_tilts */
	const bool *left_out;    /**< n_particles: not fitted (held-out half); NULL: none */
	double *particle_weight; /**< n_particles, 0..1: outliers count less */
	double amplitude;  /**< S: strength of the images over the prediction; learned unless is_unweighted */
	double agreement;  /**< strength by the height of the maps, to compare particles and tilts with */
	double *sharpness; /**< n_tilts: curvature of the maps over that expected from reference, amplitude and
	                      tilt_strength */
	double dispersion; /**< squared slopes of the maps at the solution over those of noise alone; log L is
	                      divided by it */
	double *tilt_strength; /**< n_tilts: factor on S, also learned: 0 for a tilt that does not show its
	                          particles */
	bool is_unweighted;    /**< particles count alike, and the strength is as given */
	double speed;          /**< factor on step_sigma_A; learned unless has_fixed_speed */
	double *step_factor; /**< n_tilts - 1: speeds of the steps relative to each other, also learned; NULL: all
	                        equal */
	bool has_fixed_speed;
	bool do_angles, do_shifts, do_positions;
	cyc_alignment_widths widths;
	int stage_sign;       /**< Y tilt = stage_sign x stage angle + constant; 0: unrelated to the stage */
	bool has_no_geometry; /**< no prior on the series' geometry, only on the input */
	/* Centres of the prior about the input, relative to the present metadata; NULL: 0. */
	const double *input_angles;   /**< n_tilts x 3 [rad] */
	const double *input_shifts_A; /**< n_tilts x 2 */
	bool has_dependent_input; /**< the input came from these images: its widths are as given, not learned */
	const double *start_shifts_A;            /**< n_tilts x 2: where the shifts start; NULL: 0 */
	cyc_deformation_model deformation_model; /**< of `deformation`: the series' own, or the refined one */
	const double *deformation_width;         /**< deformation_model.n: prior widths, if do_deformation */
	bool do_deformation, is_deformation_per_tilt;
	/* The solution. */
	cyc_tilt_change *tilts; /**< n_tilts */
	cyc_vec3 *offsets_A;    /**< n_particles: new minus old position */
	double *modes;          /**< (n_tilts - 1) x 3 x n_modes, standard normal under the prior */
	double *deformation;    /**< n_tilts x deformation_model.n; rows are equal if the deformation is common */
	double *angles;         /**< n_tilts x 3: changes of X tilt, Y tilt, in-plane rotation [rad] */
	double *base_angles;    /**< n_tilts x 3: of the input */
	double *angle_centre;   /**< n_tilts x 3: changes the prior expects */
	double *angle_width_rad; /**< n_tilts x 3: its width about them */
	double *shift_width_A;   /**< n_tilts */
	double *displacement_A;  /**< n_particles x n_tilts x 3: motion, derived from modes */
	/* Work. */
	cyc_linear_pair *linear; /**< n_particles x n_tilts, of cyc_alignment_linearise() */
} cyc_alignment;

enum { CYC_PER_TILT = 5 };

/** Prior width of the displacement of step t at the present speed [Å]. */
static inline double cyc_step_sigma(const cyc_alignment *a, size_t t)
{
	return a->speed * (a->step_factor ? a->step_factor[t] : 1) * a->step_sigma_A[t];
}

/**
 * Solution set to "nothing changes"; the caller has filled the given members. Free with
 * cyc_alignment_deinit(). A deformation that is refined starts from the series' own where that has the same
 * form (their mean, if it becomes common), else from none.
 */
CYC_MUST_CHECK cyc_status cyc_alignment_init(cyc_alignment *a);
void cyc_alignment_deinit(cyc_alignment *a);
/** Predicted image position of a particle under the current solution [px]. */
void cyc_alignment_position(double at_px[2], const cyc_alignment *a, int32_t particle, int32_t tilt);
static inline const cyc_pair *cyc_pair_of(const cyc_alignment *a, int32_t p, int32_t f)
{
	return &a->pairs[(size_t)p * (size_t)a->n_tilts + (size_t)f];
}
static inline bool cyc_pair_is_seen(const cyc_alignment *a, int32_t p, int32_t f)
{
	return cyc_pair_of(a, p, f)->map && !(a->left_out && a->left_out[p]);
}
static inline cyc_linear_pair *cyc_linear_of(const cyc_alignment *a, int32_t p, int32_t f)
{
	return &a->linear[(size_t)p * (size_t)a->n_tilts + (size_t)f];
}

/** Log-likelihood (cross terms only) and log prior of the current solution. */
CYC_MUST_CHECK cyc_status cyc_alignment_log_likelihood(double *value, const cyc_alignment *a);
/** The log-likelihood of each particle (n_particles; 0 of those that are left out). */
CYC_MUST_CHECK cyc_status cyc_alignment_log_likelihoods(double *values, const cyc_alignment *a);
double cyc_alignment_log_prior(const cyc_alignment *a);

/** First parameter of each block, and their number. */
typedef struct {
	size_t particles, motion, deformation, n;
	size_t n_modes;       /**< per step and axis */
	size_t n_deformation; /**< coefficients that are refined, per tilt or in all */
} cyc_alignment_blocks;
cyc_alignment_blocks cyc_alignment_blocks_of(const cyc_alignment *a);
int64_t cyc_alignment_n_parameters(const cyc_alignment *a);
/** Doubles of scratch that the following need. */
int64_t cyc_alignment_scratch(const cyc_alignment *a);
/** Derivatives and curvatures of all pairs at the current solution: the basis of gradient, curvature and
 * errors. */
CYC_MUST_CHECK cyc_status cyc_alignment_linearise(cyc_alignment *a);
/** Gradient of (log L + log prior) in the standardised parameters; linearised before. */
CYC_MUST_CHECK cyc_status cyc_alignment_gradient(double *gradient, const cyc_alignment *a, double *scratch);
/** Slope of log L in each particle's position at each tilt (n_particles x n_tilts x 3) [1/Å]; linearised
 * before. */
CYC_MUST_CHECK cyc_status cyc_alignment_slopes(double *slopes_invA, const cyc_alignment *a, double *scratch);
/** out = (1 + A^T J A) v: the Gauss-Newton curvature of -(log L + log prior); linearised before. */
CYC_MUST_CHECK cyc_status cyc_alignment_curvature(double *out, const cyc_alignment *a, const double *v,
                                                  double *scratch);
/** Move the solution by a step in the standardised parameters. */
CYC_MUST_CHECK cyc_status cyc_alignment_step(cyc_alignment *a, const double *step, double factor);

/** How Y tilts follow the stage: Y tilt = sign x stage angle + constant. */
typedef struct {
	bool is_known; /**< there are stage angles to compare with */
	int sign;      /**< 1, -1, or 0: neither explains three quarters of the variance */
	double slope, slope_error;
	double scatter_rad; /**< about the relation with that sign (of 0: with the better one) */
	double without_rad; /**< of the Y tilts themselves */
} cyc_stage_relation;
/** By a robust regression (median of all slopes). @param[in] angles  n_tilts x 3 [rad], X tilt, Y tilt,
 * in-plane       (T6.4) */
CYC_MUST_CHECK cyc_status cyc_stage_relation_find(cyc_stage_relation *out, const cyc_tilt_series *ts,
                                                  const double *angles);
/** Robust scatter of the input angles about the series' geometry, root mean square of the three angles. */
CYC_MUST_CHECK cyc_status cyc_alignment_geometry_scatter(double *scatter_rad, const cyc_alignment *a);
/**
 * Centres and widths of the tilts' priors from the present widths and solution: two normal priors on each
 * angle are one. A tilt far outside is an outlier; its prior is as wide as its distance.
 */
CYC_MUST_CHECK cyc_status cyc_alignment_set_priors(cyc_alignment *a);
/** Minus the log prior of tilt f's shift after a change of it [Å]; of an outlier it grows with the logarithm
 * of its distance. */
double cyc_alignment_shift_cost(const cyc_alignment *a, int32_t f, double more_x_A, double more_y_A);
/** Update the prior widths from the solution and its errors, then the priors. (T6.7) */
CYC_MUST_CHECK cyc_status cyc_alignment_learn_widths(cyc_alignment *a);
/** The tilts' parameters in units of their priors: n_tilts x 5. */
void cyc_alignment_standardised_tilts(double *x, const cyc_alignment *a);
/**
 * Update the strength of the images over the prediction, and the weights of unusual particles and tilts.
 * (T6.8)
 * @param[in] is_settled  the maps are at their maxima, so that their curvature can be used
 */
CYC_MUST_CHECK cyc_status cyc_alignment_learn_strengths(cyc_alignment *a, bool is_settled);
/** Displacements of all particles (n_particles x n_tilts x 3 [Å]) from mode coefficients, at the present
 * speed. */
CYC_MUST_CHECK cyc_status cyc_alignment_displacements(double *out, const cyc_alignment *a,
                                                      const double *modes);
/** Its transpose: forces on displacements to mode coefficients; overwrites `force` with velocities' share. */
CYC_MUST_CHECK cyc_status cyc_alignment_mode_forces(double *modes, const cyc_alignment *a, double *force);

/** Extent of an optimisation. */
typedef struct {
	bool learn;         /**< prior widths, speed of the motion */
	bool search_shifts; /**< start with one shift per tilt (T6.6) */
	bool is_brief;      /**< few rounds, for a comparison */
} cyc_alignment_effort;
/** Optimise from the current solution. Logs at debug level. */
CYC_MUST_CHECK cyc_status cyc_alignment_solve(cyc_alignment *a, const cyc_alignment_effort *effort);
/** One shift per tilt from the sum of all particles' maps: the robust start. (T6.6) */
CYC_MUST_CHECK cyc_status cyc_alignment_search_shifts(cyc_alignment *a);
/**
 * Speed of the motion with the motion itself integrated out: for each step, the root mean square over speeds
 * and decays weighted by their evidence. (T6.11)
 * @param[out] factors  n_tilts - 1, of the steps, with a mean square of 1
 * @param[in] precision  of the modes, cyc_alignment_free_precision()
 */
CYC_MUST_CHECK cyc_status cyc_alignment_learn_speed(double *speed, double *factors, const cyc_alignment *a,
                                                    const double *precision, double *scratch);

/**
 * Posterior standard errors of the parameters themselves: per tilt 3 angles [rad] and 2 shifts [Å] (n_tilts x
 * 5), per particle 3 axes [Å] (n x 3), with motion and deformation held. They include the gauge.
 */
CYC_MUST_CHECK cyc_status cyc_alignment_errors(double *tilt_errors, double *particle_errors,
                                               cyc_alignment *a);
/**
 * Errors without the gauge, which no image determines: a common offset and a common rotation of specimen and
 * tilts. (T6.15) Per tilt (n_tilts x 5) the turn [rad] about the axis across the tilt axis in the image,
 * about the tilt axis, and about the beam, less the mean turn of the tilts in the specimen; and the shift [Å]
 * less the best offset of the specimen. Per particle (n x 3 [Å]) its place along the specimen's axes, mean
 * over the tilts, less the best offset and rotation of all; with fewer than four particles they include the
 * gauge. Deformation is held; motion counts in the mean place, and in turns, which it may be. A tilt without
 * images has the widths of its prior; what is not refined has 0. Per tilt the motion's (n_tilts [Å], of one
 * axis, mean over particles; 0 without motion).
 * @param[out] held_errors  n x 3 [Å]: what the errors of tilts and motion are of a place, a part of
 *                          particle_errors: places that are refined later with these held have it as well
 *                          (of the motion alone if positions are not refined here)
 */
CYC_MUST_CHECK cyc_status cyc_alignment_free_errors(double *tilt_errors, double *particle_errors,
                                                    double *motion_errors, double *held_errors,
                                                    cyc_alignment *a);
/**
 * Precision of the modes' amplitudes with shifts and angles free, separately for each tilt (n_tilts x 3 x
 * n_modes).
 * @param[in] held  the same with tilts held, cyc_schur_mode_precision() at the present linearisation
 */
CYC_MUST_CHECK cyc_status cyc_alignment_free_precision(double *precision, const cyc_alignment *a,
                                                       const double *held);
/** Turns of a tilt about three axes at right angles (across the tilt axis in the image, the tilt axis, the
 * beam) per change of its parameters, from R = Rz Ry Rx. */
void cyc_alignment_turn_rows(double rows[3][CYC_PER_TILT], double ytilt_rad);
/**
 * Variance of each tilt's turns (n_tilts x 3 [rad2], axes of cyc_alignment_turn_rows()) that comes from
 * motion: with the modes' amplitudes unknown but for the prior, minus that with them known. A rotation of all
 * particles is no more precise for more or better images; of other motion the images tell what it is.
 * (T6.15)
 * @param[in] prior  n_tilts, chronological: variance of the amplitudes
 * @note After cyc_alignment_linearise().
 */
CYC_MUST_CHECK cyc_status cyc_alignment_turns_in_motion(double *turns, const cyc_alignment *a,
                                                        const double *prior);
/**
 * Errors of the motion alone, modes and axes independent: its error at each tilt (n_tilts, row order [Å],
 * root mean square over particles and axes; from the position at the lowest dose), the variance that it adds
 * to each particle's mean place over the tilts (n x 3 [Å2]), and to each tilt's turn about the mean of all
 * (cyc_alignment_turns_in_motion(), with the prior variance of the walk about its mean over the tilts).
 * @param[in] precision  as in cyc_alignment_learn_speed()
 */
CYC_MUST_CHECK cyc_status cyc_alignment_motion_errors(double *motion_errors, double *extra, double *turns,
                                                      const cyc_alignment *a, const double *precision);
/**
 * Remove the mean rotation of the tilts: positions rotate with the specimen; on average predicted views, and
 * so the orientations found with them, stay. (T6.9)
 */
void cyc_alignment_fix_gauge(cyc_alignment *a);

#endif

/**
 * @file alignment.h
 * The alignment of one tilt series as an optimisation problem: projections, positions and motion that make observed and
 * predicted images agree best, given priors: docs/theory/06-polishing.md, (T6.3) to (T6.8).
 *
 * Units: Å and rad. Tilts in row order; motion steps in chronological order.
 */
#ifndef CYC_ALIGNMENT_H
#define CYC_ALIGNMENT_H

#include "cyclotomo/tilt.h"
#include "polish/local_map.h"
#include "polish/motion_model.h"

/** What is known of one particle in one tilt. */
typedef struct {
	float *map;          /**< spline coefficients of the cross-correlation; NULL: not visible. Owned by the evidence */
	double start_px[2];  /**< where the window was cut: zero of the map */
	double curve[3];     /**< xx, xy, yy of the expected curvature of -log L per px^2, at scale 1 */
	double power;        /**< sum of weight |c V|^2 */
} cyc_pair;

/** Change of one tilt's projection: a rotation about the image of the tomogram's centre, then a shift. */
typedef struct {
	cyc_mat3 Q;
	double shift_A[2];
} cyc_tilt_change;

/**
 * Widths of the priors; learned within the bounds of a pseudo-count. Each tilt angle is expected near its input and near the
 * series' own geometry: constant X tilt and in-plane rotation, Y tilt a constant away from the stage's.             (T6.4)
 */
typedef struct {
	double angle_input_rad, angle_trend_rad, shift_A, position_A;
} cyc_alignment_widths;

typedef struct {
	int32_t n_tilts, n_particles;
	const cyc_tilt_series *ts;
	const cyc_projection *projections; /**< n_tilts, of the input */
	const cyc_vec3 *positions_A;       /**< n_particles, of the input */
	const float *const *old_motion_A;  /**< n_particles, NULL entries: none; used when motion is not refined */
	const int32_t *order;              /**< n_tilts rows, chronological */
	const double *step_sigma_A;        /**< n_tilts - 1: prior width of the displacement of step t */
	const cyc_motion_model *motion;    /**< NULL: not refined */
	cyc_local_grid grid;
	const cyc_pair *pairs;             /**< n_particles x n_tilts */
	const bool *left_out;              /**< n_particles: not fitted (held-out half); NULL: none */
	double *particle_weight;           /**< n_particles, 0..1: outliers count less */
	double amplitude;                  /**< S: strength of the images over the prediction */
	bool do_angles, do_shifts, do_positions;
	cyc_alignment_widths widths;
	/* The solution. */
	cyc_tilt_change *tilts;            /**< n_tilts */
	cyc_vec3 *offsets_A;               /**< n_particles: new minus old position */
	double *modes;                     /**< (n_tilts - 1) x 3 x n_modes, standard normal under the prior */
	double *angles;                    /**< n_tilts x 3: changes of X tilt, Y tilt, in-plane rotation [rad] */
	double *base_angles;               /**< n_tilts x 3: of the input */
	double *angle_centre;              /**< n_tilts x 3: changes the prior expects */
	double angle_width_rad;            /**< its width about them */
	double *displacement_A;            /**< n_particles x n_tilts x 3: motion, derived from modes */
} cyc_alignment;

/** Solution set to "nothing changes"; the caller has filled the given members. Free with cyc_alignment_deinit(). */
CYC_MUST_CHECK cyc_status cyc_alignment_init(cyc_alignment *a);
void cyc_alignment_deinit(cyc_alignment *a);
/** Predicted image position of a particle under the current solution [px]. */
void cyc_alignment_position(double at_px[2], const cyc_alignment *a, int32_t particle, int32_t tilt);
/** Log-likelihood (cross terms only) and log prior of the current solution. */
double cyc_alignment_log_likelihood(const cyc_alignment *a);
double cyc_alignment_log_prior(const cyc_alignment *a);
/** Number of parameters, and the gradient of (log L + log prior) in the standardised ones (tests, optimiser). */
int64_t cyc_alignment_n_parameters(const cyc_alignment *a);
void cyc_alignment_gradient(double *gradient, const cyc_alignment *a);
/** out = (1 + A^T J A) v: the Gauss-Newton curvature of -(log L + log prior). */
void cyc_alignment_curvature(double *out, const cyc_alignment *a, const double *v, double *scratch);
/** Doubles of scratch the above needs. */
int64_t cyc_alignment_scratch(const cyc_alignment *a);
/** Move the solution by a step in the standardised parameters. */
void cyc_alignment_step(cyc_alignment *a, const double *step, double factor);
/** Optimise: search, Gauss-Newton rounds, prior widths. Logs at debug level. */
CYC_MUST_CHECK cyc_status cyc_alignment_solve(cyc_alignment *a, bool learn_widths);
/** Standard errors with motion held: per tilt 3 angles [rad] and 2 shifts [Å] (n_tilts x 5), per particle 3 axes [Å] (n x 3). */
CYC_MUST_CHECK cyc_status cyc_alignment_errors(double *tilt_errors, double *particle_errors, const cyc_alignment *a);
/**
 * Take the mean rotation of the tilts out: positions turn with the specimen, predicted views stay where they were on average,
 * and so do the orientations that were found with them.                                                            (T6.9)
 */
void cyc_alignment_fix_gauge(cyc_alignment *a);
/** One shift per tilt from the sum of all particles' maps: the robust start.                                       (T6.6) */
void cyc_alignment_search_shifts(cyc_alignment *a);

#endif

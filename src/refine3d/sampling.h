/** @file sampling.h  Grids of rotations and offsets: HEALPix directions times in-plane angles, a lattice of
 * offsets. */
#ifndef CYC_SAMPLING_H
#define CYC_SAMPLING_H

#include "cyclotomo/geom.h"

/** Angular step of HEALPix order h, as RELION counts: 360 / (6 2^h) degrees. */
double cyc_healpix_step_rad(int32_t order);
/** Centre of pixel i (nested order) as rot and tilt: phi in (-pi, pi], theta in [0, pi] (Górski et al. 2005).
 */
void cyc_healpix_direction(double *rot, double *tilt, int32_t order, int64_t i);

/**
 * Pixels without symmetry-related copies: directions closer to a generic fixed direction than their mates
 * are.
 * @param[out] pixels  *n of them, ascending; cyc_free
 */
CYC_MUST_CHECK cyc_status cyc_healpix_unique(int64_t **pixels, int64_t *n, int32_t order,
                                             const cyc_symmetry *symmetry);

/** Rotations of a coarse grid with their prior, each with 8^oversampling finer children. */
typedef struct {
	int32_t order, oversampling, n;
	int64_t *direction; /**< n: HEALPix pixel */
	int32_t *psi;       /**< n: index of the in-plane angle */
	int32_t n_psi;      /**< of the whole circle */
	double *log_prior;  /**< n */
	bool is_relative; /**< turns of an old pose, about its own view: T8.8; else rotations of the reference */
	double perturbation_rad; /**< all rotations are followed by E(x, x, x) */
} cyc_rotation_grid;
/**
 * Turns around an old pose: directions within 3 sigma of it times in-plane angles within 3 sigma, with normal
 * priors; the same for all particles. (T8.8)
 */
CYC_MUST_CHECK cyc_status cyc_rotation_grid_local(cyc_rotation_grid **out, int32_t order,
                                                  int32_t oversampling, double sigma_rad);
/** RELION's: directions of the grid fixed to the reference within 3 sigma of a pose, in-plane angles within 3
 * sigma of its psi. */
CYC_MUST_CHECK cyc_status cyc_rotation_grid_near(cyc_rotation_grid **out, int32_t order, int32_t oversampling,
                                                 double sigma_rad, cyc_mat3 R_part_ref);
/**
 * All rotations without symmetry-related copies: directions closer to a generic fixed direction than their
 * mates are.
 */
CYC_MUST_CHECK cyc_status cyc_rotation_grid_global(cyc_rotation_grid **out, int32_t order,
                                                   int32_t oversampling, const cyc_symmetry *symmetry);
void cyc_rotation_grid_destroy(cyc_rotation_grid **g);
/** Children per rotation: 8^oversampling. */
int32_t cyc_rotation_grid_n_children(const cyc_rotation_grid *g);
/** R_part_ref of rotation i; `child` < 0: itself, else its child. `old` is the old pose, for relative grids.
 */
cyc_mat3 cyc_rotation_grid_at(const cyc_rotation_grid *g, int32_t i, int32_t child, cyc_mat3 old);

/** Offsets step (i, j, k) within a sphere. */
typedef struct {
	int32_t n;
	double step_A;
	cyc_vec3 *offset_A;
} cyc_offset_grid;
CYC_MUST_CHECK cyc_status cyc_offset_grid_create(cyc_offset_grid **out, double range_A, double step_A);
void cyc_offset_grid_destroy(cyc_offset_grid **g);
/** Child c (0 .. 7) of an offset, half a step apart. */
cyc_vec3 cyc_offset_grid_child(const cyc_offset_grid *g, int32_t i, int32_t child);

/** The vector along the axis of a rotation whose length is its angle [rad], 0 to pi. */
void cyc_rotation_vector(double v[3], cyc_mat3 R);
/** Angle between the rotations a and b S, over the symmetry mates S; *mate is the nearest. */
double cyc_rotation_distance_rad(cyc_mat3 a, cyc_mat3 b, const cyc_symmetry *symmetry, int32_t *mate);

#endif

/** @file polish_output.h  Results of polishing: per series in memory and on disk, and the files users get. */
#ifndef CYC_POLISH_OUTPUT_H
#define CYC_POLISH_OUTPUT_H

#include "cyclotomo/polish.h"
#include "polish/alignment.h"
#include "polish/outcome.h"

/** Solution of one series; zeroed: a series without particles. */
typedef struct {
	int32_t n_tilts, n_particles;
	cyc_polish_outcome outcome;
	bool is_taken, has_errors;
	int64_t n_images;
	double heldout_before, heldout_after, heldout_error;
	cyc_tilt_change *tilts;  /**< n_tilts */
	cyc_vec3 *offsets_A;     /**< n_particles */
	double *displacement_A;  /**< n_particles x n_tilts x 3 */
	double *tilt_errors;     /**< n_tilts x 5: angles [rad], shifts [Å] */
	double *particle_errors; /**< n_particles x 3 [Å] */
	double *motion_errors;   /**< n_tilts [Å] */
	double *held_errors; /**< n_particles x 3 [Å]: of places, by the errors of tilts and motion, along the
	                        specimen's axes */
	double motion_speed; /**< found over expected; 0: motion was not refined */
	/* A refined deformation. */
	cyc_deformation_type deformation_type;
	int32_t deformation_grid[2], n_deformation;
	double *deformation; /**< n_tilts x n_deformation; NULL if n_deformation is 0: the series' own stays */
} cyc_polished;
/** Nothing changed. */
CYC_MUST_CHECK cyc_status cyc_polished_create(cyc_polished *r, int32_t n_tilts, int32_t n_particles);
void cyc_polished_deinit(cyc_polished *r);
/** Tilts, positions, motion and refined deformation of a solution. */
CYC_MUST_CHECK cyc_status cyc_polished_take(cyc_polished *r, const cyc_alignment *a);
/** New five numbers of row f, such that the tomogram's centre lands where it did, plus the shift. */
CYC_MUST_CHECK cyc_status cyc_tilt_change_apply(cyc_tilt_series *ts, int32_t f,
                                                const cyc_tilt_change *change);
/**
 * Record of a finished series, exact to the bit; `found` is false without a file, with another hash (counted
 * in n_other), or a damaged one (a warning).
 */
CYC_MUST_CHECK cyc_status cyc_polished_write(const char *path, const cyc_polished *r, uint64_t hash);
CYC_MUST_CHECK cyc_status cyc_polished_read(bool *found, int64_t *n_other, cyc_polished *r, const char *path,
                                            int32_t n_tilts, int32_t n_particles, uint64_t hash);

typedef struct {
	cyc_tomogram_set *tomograms; /**< geometry is updated */
	cyc_particle_set *particles; /**< its STAR document is updated */
	const cyc_polished *results;
	const cyc_optimisation_set *input;
	const char *out_dir, *out, *root;
	bool write_particles, write_motion, write_figures;
	int n_threads;
} cyc_polish_files;
/** tomograms.star, tilt series, particles.star, motion.star, optimisation set, uncertainty.star, figures;
 * removes the records. */
CYC_MUST_CHECK cyc_status cyc_polish_write(cyc_polish_result *result, const cyc_polish_files *f);

#endif

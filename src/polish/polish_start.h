/** @file polish_start.h  Starting point of the alignment of a series, and the centres of its priors. */
#ifndef CYC_POLISH_START_H
#define CYC_POLISH_START_H

#include "polish/alignment.h"
#include "polish/image_shift.h"
#include "reference/prediction_pass.h"

/**
 * Tilts that do not show their particles anywhere near where they are expected, and where in the whole image
 * they are instead. A position counts as found if the log-likelihood of the particles there, minus the
 * logarithm of the number of positions, exceeds that of no particles and of any position near the input by
 * odds of 100 to 1.                              (T6.16)
 * @param[out] shifts_A  n_tilts x 2: to be added to the shifts; 0 where nothing is found
 * @param[out] is_moved  n_tilts
 * @param[in]  a         initialised, its maps about the input
 * A warning names each tilt that is moved, or searched for in vain.
 */
CYC_MUST_CHECK cyc_status cyc_polish_find_lost_tilts(double *shifts_A, bool *is_moved, const cyc_alignment *a,
                                                     cyc_prediction_pass *pass, const cyc_particle_set *set,
                                                     int32_t i_series);

/**
 * Whether a tilt's particles are where the whole image shows them best: by odds of 100 to 1 over no particles
 * at all, and over any place near the expected one, the number of places in the image considered. (T6.16)
 * @param[in] strength      S of the series
 * @param[in] log_n_places  logarithm of the number of pixels
 */
bool cyc__is_found_elsewhere(const cyc_image_shift *found, double strength, double log_n_places);

/**
 * The series' angles and shifts before any refinement: columns cycInput* of its table,
 * which polishing writes, relative to the present ones. (T6.17)
 * @param[out] angles_rad, shifts_A  n_tilts x 3, n_tilts x 2: original minus present
 * @param[out] is_found  false if the table has no such columns
 */
CYC_MUST_CHECK cyc_status cyc_polish_original_input(bool *is_found, double *angles_rad, double *shifts_A,
                                                    const cyc_tomogram_set *tomograms, int32_t i_series);
/** Write such columns with the present angles and shifts into the documents of all series that have none.
 * Series with matrices are open. */
CYC_MUST_CHECK cyc_status cyc_polish_keep_original_input(cyc_tomogram_set *tomograms);
/** Whether tomograms.star is the result of a job that aligns frames, by the job.star beside it. @param[in]
 * path  relative to root */
CYC_MUST_CHECK cyc_status cyc_polish_is_result(bool *is_result, const char *path, const char *root);

/**
 * Whether symmetry holds the centres of the half maps, axis by axis: then the maps' correlation has its
 * maximum at no shift exactly. Detected where symmetry mates fall on grid points (all but odd rotations); an
 * axis that is not detected counts as free. (T6.18)
 */
CYC_MUST_CHECK cyc_status cyc_polish_held_axes(bool is_held[3], const char *half1, const char *half2,
                                               const char *root, int n_threads);
/**
 * Positions of the particles before any refinement: columns cycInputCoordinate*Angst, or the present places.
 * n_particles by the caller, those of the set.
 */
CYC_MUST_CHECK cyc_status cyc_polish_original_positions(cyc_vec3 *positions_A, const cyc_particle_set *set);
/** Write such columns with the present places into the document of a set that has none. */
CYC_MUST_CHECK cyc_status cyc_polish_keep_original_positions(cyc_particle_set *set);

#endif

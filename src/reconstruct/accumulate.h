/** @file accumulate.h  Adding the particle images of tilt series to the half-set sums. */
#ifndef CYC_ACCUMULATE_H
#define CYC_ACCUMULATE_H

#include "cyclotomo/reconstruct.h"
#include "cyclotomo/stacks.h"
#include "tilt/tilt_batch.h"

/** Work memory of an insertion run; one at a time per backend. */
typedef struct cyc_accumulator cyc_accumulator;
/** @param[in] box  of the windows; its pixel size belongs to the series whose scale the map has */
CYC_MUST_CHECK cyc_status cyc__accumulator_create(cyc_accumulator **out, cyc_backend *be, const cyc_box *box,
                                                  const cyc_reconstruct_options *options);
/**
 * As cyc__accumulator_create() with any number of sums, at most 127.
 * @param[in] slot  sum of each particle of the set, -1: none (it is left out); borrowed. NULL: its half-set
 */
CYC_MUST_CHECK cyc_status cyc__accumulator_create_slots(cyc_accumulator **out, cyc_backend *be,
                                                        const cyc_box *box,
                                                        const cyc_reconstruct_options *options,
                                                        int32_t n_sums, const int8_t *slot);
void cyc__accumulator_destroy(cyc_accumulator **a);
/** Which windows are used, and how they are cut, of a box that cyc_box_create() made: set this before the
 * accumulator is created. */
void cyc__accumulator_box(cyc_box *box, const cyc_reconstruct_options *options);
/**
 * Weigh images by their noise from now on; reads up to three of each series. Without it all images count
 * alike. Not with whitening, without CTFs, or from stacks. (T2.8), (T2.9)
 */
CYC_MUST_CHECK cyc_status cyc__accumulator_learn_noise(cyc_accumulator *a, cyc_tomogram_set *tomograms,
                                                       const cyc_particle_set *set, const char *root);
/** Add all particles of a series; opens it, leaves its images closed. Counts images in *n_images, those left
 * out in *n_outside. */
CYC_MUST_CHECK cyc_status cyc__accumulate_series(cyc_accumulator *a, int64_t *n_images, int64_t *n_outside,
                                                 cyc_tilt_series *ts, const cyc_particle_set *set,
                                                 int32_t i_series, const char *root);
/** Add all particles of a series from the images of an extraction, padded with zeros to the box. */
CYC_MUST_CHECK cyc_status cyc__accumulate_stacks(cyc_accumulator *a, int64_t *n_images,
                                                 const cyc_stacks *stacks, int32_t i_series);
/** Share of a disc of radius r that is in another of radius R >= r, at a distance between the centres. */
double cyc__disc_coverage(double r, double R, double distance);
/** The sums of a half-set (0 or 1), or of a slot: s x s x (s/2+1) x {re, im, weight, 0}. Borrowed. */
cyc_buffer *cyc__accumulator_sum(cyc_accumulator *a, int half);
/** Free everything but the sums, when no more series come. */
void cyc__accumulator_release_work(cyc_accumulator *a);
/** Give the sum of a half-set away (replaced by another one after symmetrising). */
void cyc__accumulator_set_sum(cyc_accumulator *a, int half, cyc_buffer *sum);
/** Bytes of the work memory of an insertion: windows of S px, box s. The sums come on top. */
double cyc__accumulator_work_bytes(const cyc_project_size *project, int32_t s, int32_t S, bool crops_images,
                                   int n_threads);

#endif

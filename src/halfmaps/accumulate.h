/** @file accumulate.h  Adding the particle images of tilt series to the sums of half-sets. */
#ifndef CYC_ACCUMULATE_H
#define CYC_ACCUMULATE_H

#include "cyclotomo/parts.h"
#include "cyclotomo/stacks.h"
#include "halfmaps/sums.h"
#include "images/tilt_batch.h"

/** How particle images are cut and weighted: docs/theory/02-reconstruct.md. */
typedef struct {
	int32_t crop_px;     /**< of the maps; images are cropped to a circle of this diameter */
	double cutoff_frac;  /**< coefficients are used where the dose leaves more than this of them */
	bool crop_images;    /**< crop after multiplying with the CTF (T7.7), instead of before */
	bool no_ctf;         /**< neither CTFs nor dose */
	bool whiten;         /**< divide by the noise amplitude of the tilt image (T1.10) */
	bool no_circle_crop; /**< windows keep their corners */
	bool whole_windows;  /**< only windows that lie in their image */
	bool listed_frames;  /**< only images that an extraction listed */
} cyc_accumulator_options;
/** Where particle images are added. */
typedef struct {
	cyc_sums *sums; /**< one per slot, at most 127; borrowed */
	/** NULL, or two sums of what is beyond the radius of `sums`, by half-set: the slots are then as many of
	 * one half-set as of the other, one after the other. Borrowed. */
	cyc_sums *rest;
	int64_t most_particles; /**< of a tilt series; 0: not known */
	const int8_t *slot; /**< sum of each particle of the set, -1: none (it is left out); NULL: its half-set */
} cyc_accumulator_sums;
/** Work memory of adding particle images to sums; one at a time per backend. */
typedef struct cyc_accumulator cyc_accumulator;
/** @param[in] box  of the windows; its pixel size belongs to the series whose scale the map has */
CYC_MUST_CHECK cyc_status cyc_accumulator_create(cyc_accumulator **out, cyc_backend *be, const cyc_box *box,
                                                 const cyc_accumulator_options *options,
                                                 const cyc_accumulator_sums *sums);
void cyc_accumulator_destroy(cyc_accumulator **a);
/** Which windows are used, and how they are cut, of a box that cyc_box_create() made: set this before the
 * accumulator is created. */
void cyc_accumulator_box(cyc_box *box, const cyc_accumulator_options *options);
/**
 * Weigh images by their noise from now on; reads up to three of each series. Without it all images count
 * alike. Not with whitening, without CTFs, or from stacks. (T2.8), (T2.9)
 */
CYC_MUST_CHECK cyc_status cyc_accumulator_learn_noise(cyc_accumulator *a, cyc_tomogram_set *tomograms,
                                                      const cyc_particle_set *set, const char *root);
/**
 * Choose the scales of the sums by the first images of the set; to be called before anything is added. They
 * depend on the input alone, wherever a run begins or resumes. (T2.10)
 * @param[in] stacks  images of an extraction; NULL: the tilt images
 */
CYC_MUST_CHECK cyc_status cyc_accumulator_measure(cyc_accumulator *a, cyc_tomogram_set *tomograms,
                                                  const cyc_particle_set *set, const cyc_stacks *stacks,
                                                  const char *root);
/**
 * Add all particles of a series, from its tilt images or from the images of an extraction, padded with zeros
 * to the box. Opens the series, leaves its images closed. Counts images in *n_images, those left out in
 * *n_outside.
 */
CYC_MUST_CHECK cyc_status cyc_accumulator_add(cyc_accumulator *a, int64_t *n_images, int64_t *n_outside,
                                              cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                                              const cyc_stacks *stacks, int32_t i_series, const char *root);
/** From here on cyc_accumulator_add() adds these tilts alone, of tilt images: `own` by series, borrowed;
 * NULL: all. */
void cyc_accumulator_set_tilts(cyc_accumulator *a, const cyc_tilt_range *own);
/** Slices of box s, packed in batches of up to `batch`, that wait for their insertion together. */
int32_t cyc_accumulator_waiting(int32_t s, int32_t batch);
/** Bytes of the work memory: windows of S px, box s. The sums come on top. */
double cyc_accumulator_work_bytes(const cyc_project_size *project, int32_t s, int32_t S, bool crops_images,
                                  int n_threads);
/** The same on a device. */
double cyc_accumulator_device_bytes(const cyc_project_size *project, int32_t s, int32_t S, bool crops_images);

#endif

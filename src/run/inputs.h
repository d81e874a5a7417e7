/**
 * @file inputs.h
 * The input of a run, as found in the project: tables, images, masks, duplicates.
 */
#ifndef CYC_RUN_INPUTS_H
#define CYC_RUN_INPUTS_H

#include "run/pairs.h"

#include "cyclotomo/cycle.h"

enum { CYC__MISSING_NAMED = 3 };
typedef struct {
	int64_t n_particles, n_half[2];
	int64_t n_images, n_missing;       /**< of a series without particles neither is counted */
	char *missing[CYC__MISSING_NAMED]; /**< the first few */
} cyc__series_inputs;

/** What the run starts from. */
typedef struct {
	cyc_optimisation_set *set; /**< after overrides */
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
	const char *mask_align, *mask_fsc; /**< borrowed from the options or the set; NULL: none */
	double pixel_size_A;               /**< coarsest of all series with particles; usually they have one */
	int32_t crop_px;                   /**< edge of the maps after cropping */
	int32_t image_nx, image_ny;        /**< largest found, 0 if none was */
	int32_t most_tilts;
	cyc_project_size size; /**< what the memory of steps depends on */
	int64_t n_tilts, n_images, n_missing;
	cyc__series_inputs *series;
	double diameter_A;         /**< of the particle, to distinguish duplicates from neighbours */
	const char *diameter_from; /**< where it comes from, for the user */
	cyc_duplicates duplicates;
	bool *keep;             /**< particles that are left where one of each pair is left out */
	cyc_finding_list found; /**< of the check of the project, sorted */
} cyc__inputs;
/** Read and check all but the content of images; missing images are counted, negative scales let through. */
CYC_MUST_CHECK cyc_status cyc__inputs_read(cyc__inputs *in, const cyc_cycle_options *o);
void cyc__inputs_deinit(cyc__inputs *in);
/** A line on what is done about duplicates across half-sets, and on those within one; "" without any. */
void cyc__inputs_describe_duplicates(char *text, size_t size, const cyc__inputs *in,
                                     const cyc_cycle_options *o);
/** Particles that the run works with. */
int64_t cyc__inputs_n_particles(const cyc__inputs *in, const cyc_cycle_options *o);

#endif

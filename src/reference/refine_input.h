/**
 * @file refine_input.h
 * Input of jobs that refine against half maps, read and checked before they start.
 */
#ifndef CYC_REFINE_INPUT_H
#define CYC_REFINE_INPUT_H

#include "reference/reference.h"
#include "images/tilt_batch.h"

/** Command line of such a job; borrowed strings, NULL when not given. */
typedef struct {
	const cyc_project_input *project;
	const char *ref1, *ref2, *mask, *fsc; /**< NULL: from the optimisation set */
	const char *out_dir;
	int32_t box_px;
	bool is_partial;
	bool has_own_box; /**< the caller makes its box itself: box_px and cyc_refine_input.box are not used */
	bool skip_images; /**< tilt images are not used */
	bool skip_orientations; /**< those of the particles are searched for */
} cyc_refine_request;

typedef struct {
	const char *root;    /**< never NULL */
	char *out_dir, *out; /**< output folder relative to the root, with its final slash; and with the root */
	cyc_optimisation_set *set;
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
	const char *reference_files[4]; /**< half maps, mask, FSC; the last two may be NULL. Borrowed */
	cyc_box box;
	int32_t first_series; /**< first one with particles: it gives the pixel size */
} cyc_refine_input;

/**
 * What such jobs need of a project: half-sets, one pixel size and voltage, a box that fits into the images,
 * half maps or (where they are still to be made) their size, a mask that fits them, a folder for results.
 * Nothing is read but headers and the mask.
 */
CYC_MUST_CHECK cyc_status cyc_refine_check(const cyc_refine_request *request,
                                           const cyc_project_view *project);
/**
 * Read sets and particles; check folder, box, half maps, half-sets, and that all series have one pixel size
 * and voltage. Zero `in` first; cyc_refine_input_deinit() also after a failure.
 */
CYC_MUST_CHECK cyc_status cyc_refine_input_read(cyc_refine_input *in, const cyc_refine_request *request);
void cyc_refine_input_deinit(cyc_refine_input *in);
/** What is read, for a job's check. */
static inline cyc_project_view cyc_refine_view(const cyc_refine_input *in)
{
	return (cyc_project_view){
		.root = in->root, .set = in->set, .tomograms = in->tomograms, .particles = in->particles
	};
}
/**
 * What the job's memory depends on: the project, the edge of its half maps as their header has it, and the
 * last shell of the box that they have signal in. With a box of the request, windows that are larger than
 * tilt images are refused here.
 */
CYC_MUST_CHECK cyc_status cyc_refine_plan(cyc_project_size *size, int32_t *map_px, int32_t *radius,
                                          const cyc_refine_input *in, double frequency_cutoff_A,
                                          int n_threads);
static inline int64_t cyc_refine_n_particles(const cyc_refine_input *in, int32_t i_series)
{
	return in->particles->series_first[i_series + 1] - in->particles->series_first[i_series];
}
/**
 * Some series with particles must have tilts `first` to `last` (< 0: to the end), counted from 0; CYC_E_USAGE
 * names the range and the most tilts there are. Warns of series that have none of them.
 */
CYC_MUST_CHECK cyc_status cyc_refine_require_tilts(const cyc_refine_input *in, int32_t first, int32_t last);
/** Hash of project, reference files and the text of the options: what an unfinished result belongs to. */
CYC_MUST_CHECK cyc_status cyc_refine_hash(uint64_t *hash, const cyc_refine_input *in, const char *options);
/** Load the reference; warns if there is no mask. */
CYC_MUST_CHECK cyc_status cyc_refine_reference(cyc_reference **out, const cyc_refine_input *in,
                                               cyc_backend *be, double frequency_cutoff_A);

#endif

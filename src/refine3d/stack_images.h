/** @file stack_images.h  Particle images for 3D refinement from the 2D stacks of an extraction. */
#ifndef CYC_STACK_IMAGES_H
#define CYC_STACK_IMAGES_H

#include "cyclotomo/stacks.h"
#include "refine3d/particle_images.h"

/** How the images of stacks are used. */
typedef struct {
	const cyc_stacks
		*stacks; /**< 2D; borrowed. Its offsets say where the particles are when a series is loaded */
	int64_t most_particles;    /**< of a tilt series; 0: not known */
	double particle_radius_px; /**< everything outside this is masked */
	double cutoff_frac;
	const double
		*group_sigma2; /**< as in cyc_tilt_source_spec; NULL: noise of the images themselves (T8.14) */
} cyc_stack_source_spec;
typedef struct cyc_stack_source cyc_stack_source;
/** The coefficients' box must be that of the stacks. One source at a time per backend. */
CYC_MUST_CHECK cyc_status cyc_stack_source_create(cyc_stack_source **out, cyc_backend *be,
                                                  const cyc_coefficients *coefficients,
                                                  const cyc_stack_source_spec *spec);
void cyc_stack_source_destroy(cyc_stack_source **s);
/**
 * Read the images of a series. Needs no tilt images; same bits for any number of threads.
 * @return CYC_E_DATA naming the file for values that are not finite, for images that are zero, or whose
 * offset moves the particle out of the image; CYC_E_IO, CYC_E_FORMAT of reading.
 */
CYC_MUST_CHECK cyc_status cyc_stack_source_load(cyc_series_images **out, cyc_stack_source *s,
                                                int32_t i_series);

/**
 * Noise of premultiplied images that were cropped to a disc, over that before the multiplication: share C^2 +
 * rest envelope^2. The disc keeps less of the CTF's oscillation the larger the defocus. (T8.14)
 * @param[out] share, rest  by coefficient of the list, whose box is that of the images
 */
void cyc_stack_noise_shares(double *share, double *rest, const cyc_coefficients *list,
                            const cyc_tilt_series *ts, int32_t f, double pixel_size_A, double radius_px);

#endif

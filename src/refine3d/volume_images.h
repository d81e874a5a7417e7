/** @file volume_images.h  Particle images for 3D refinement from particles that are 3D volumes. */
#ifndef CYC_VOLUME_IMAGES_H
#define CYC_VOLUME_IMAGES_H

#include "halfmaps/volume_sections.h"
#include "refine3d/particle_images.h"

/** How volumes are used. */
typedef struct {
	cyc_backend *be;
	const cyc_coefficients *coefficients; /**< of the volumes' box */
	const cyc_stacks *stacks;             /**< volumes; offsets are those of loading */
	double particle_radius_px;
} cyc_volume_images_spec;
/**
 * Read the volumes of a series as central sections, which stand for its tilt images; their noise is that of
 * the optics group and half-set in the series (T8.28). Sections in which the volume has no weight are left
 * out.
 * @return as cyc_volume_sections_load()
 */
CYC_MUST_CHECK cyc_status cyc_volume_images_load(cyc_series_images **out, const cyc_volume_images_spec *spec,
                                                 int32_t i_series);
/** Bytes of the images of all particles, and of the series that has most. */
double cyc_volume_images_bytes(double *most_of_series, const cyc_particle_set *set, int32_t n_series,
                               int32_t box_px, double radius_px);

#endif

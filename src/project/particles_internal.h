/* Shared by particles.c and particle_poses.c only. */
#ifndef CYC_PROJECT_PARTICLES_INTERNAL_H
#define CYC_PROJECT_PARTICLES_INTERNAL_H

#include "cyclotomo/project.h"

/* Rows of the particles block and what is known of them before the particles are made. */
typedef struct {
	cyc_particle_set *set;
	const cyc_tomogram_set *tomograms;
	cyc_star_block *block;
	int64_t n_rows;
	int32_t *series; /* of each row, -1 for a tomogram that is not in the set */
	int32_t *optics; /* of each row */
	int32_t name_column;
} cyc__particle_reader;

/* Optics groups, from the block of the file or from the tomograms; fills reader->optics and checks
 * consistency. */
CYC_MUST_CHECK cyc_status cyc__particles_read_optics(cyc__particle_reader *r);
/* Positions, orientations, half-sets and visible frames of set->particles, whose rows and series are known.
 */
CYC_MUST_CHECK cyc_status cyc__particles_read_poses(cyc__particle_reader *r);
CYC_MUST_CHECK cyc_status cyc__particles_read_trajectories(cyc__particle_reader *r, const char *path);

#endif

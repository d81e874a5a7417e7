/* Input of the drawing of a surface: the part of a map that it fills, interpolated where the picture needs
 * that. Shared by surface.c, surface_field.c and their tests. */
#ifndef CYC_REPORT_SURFACE_H
#define CYC_REPORT_SURFACE_H

#include "cyclotomo/report.h"

enum { CYC__SURFACE_BLOCK = 4 };

/* Values on a grid of n[0] x n[1] x n[2] points, x fastest; grid point g is voxel origin + g / fineness. */
typedef struct {
	int32_t n[3], n_blocks[3], n_shade[3];
	double origin[3], fineness;
	float level;
	float *value;
	float *highest; /* of each block and the points next to it: rays pass where this is below the level */
	float *shade;   /* share of the surroundings that is inside, on every second point; blurred */
	double reach;   /* of that blur, in grid points */
	bool is_empty;  /* nothing above the level */
} cyc__field;

/*
 * The surroundings of all that is above the level, without blobs of less than 1/50 of the largest; points
 * between the voxels are interpolated (Catmull-Rom) until there are as many as the picture can show.
 */
CYC_MUST_CHECK cyc_status cyc__field_create(cyc__field *f, const cyc_volume *map, double level,
                                            int32_t edge_px);
void cyc__field_deinit(cyc__field *f);

/* edge_px^2 words of cairo's ARGB32 (premultiplied, row 0 at the top). */
CYC_MUST_CHECK cyc_status cyc__surface_draw(uint32_t *argb, const cyc__field *f, const cyc_surface *s,
                                            int32_t edge_px, int n_threads);

#endif

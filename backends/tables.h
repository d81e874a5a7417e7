/** @file tables.h  Tables that the cpu backend and the host part of devices make alike. */
#ifndef CYC_BACKEND_TABLES_H
#define CYC_BACKEND_TABLES_H

#include "backends/backend.h"

/** Where window i lies: its first pixel. */
void cyc__window_corner(int32_t *x0, int32_t *y0, const double *at_px, int32_t box_px);
/** Largest |kx|, |ky| of the transforms that is wanted. */
int32_t cyc__window_radius(const cyc_window_spec *spec);
/** Pixels first to last - 1 of a window that are in the image. */
typedef struct {
	int32_t first_x, last_x, first_y, last_y;
} cyc_window_part;
cyc_window_part cyc__window_part(const cyc_window_spec *spec, int32_t x0, int32_t y0, int32_t nx, int32_t ny);
/**
 * The circle crop of windows of edge S.
 * @param[out] circle       S x S: weight inside, 0 in the corners
 * @param[out] corner       S x S: 1 in the corners, whose mean is the background, 0 inside
 * @param[out] circle_from  S: in each row nothing is corner from here to as far from the other end
 */
void cyc__window_circle(float *circle, float *corner, int32_t *circle_from, int32_t S);
/**
 * What turns a window's transform: exp(2 pi i k.t / s) centres the particle, (-1)^(kx+ky) moves the phase
 * origin to pixel S/2, 1/S makes it unitary, and 1/binning keeps the grey level of binned pixels.
 * @param[out] ramp_x  0 .. radius;  ramp_y: s rows, with the scale
 */
void cyc__window_ramps(cyc_cfloat *ramp_x, cyc_cfloat *ramp_y, const cyc_window_spec *spec,
                       const double *at_px);
/**
 * The circle of particle images.
 * @param[out] circle         c x c: weight; -1 marks what is outside the circle
 * @param[out] outside_count  pixels of the s-box outside the circle
 */
void cyc__image_circle(float *circle, double *outside_count, const cyc_particle_image_spec *spec);
/** exp(2 pi i k d / s) for k = first .. last and the displacements d of a grid, in rows of `width`. */
void cyc__turn_table(float *re, float *im, int32_t first, int32_t last, cyc_local_grid grid, size_t width,
                     int32_t s);

#endif

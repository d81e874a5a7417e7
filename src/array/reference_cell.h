/** @file reference_cell.h  The eight voxels of a reference around points: what all operations on the host
 * interpolate between. (T4.1) */
#ifndef CYC_REFERENCE_CELL_H
#define CYC_REFERENCE_CELL_H

#include "cyclotomo/base.h"

#include <math.h>

/* Four floats that live in one register on every x86-64 and Arm64. */
typedef float cyc_v4 __attribute__((vector_size(16)));

/** The cell around a point: its corners, its fractions, and -1 if the conjugate half is looked up. */
typedef struct {
	cyc_v4 a, b, c,
		d; /**< (y0, z0), (y1, z0), (y0, z1), (y1, z1): {re, im} of the neighbours x0 and x0 + 1 */
	float fx, fy, fz, mirror;
} cyc_cell;

/**
 * Points whose cells are to be looked up. A reference is far larger than a cache: the points are listed
 * first, and their cells fetched some points ahead.
 */
enum { CYC_CELLS = 256, CYC_CELLS_AHEAD = 16 };
typedef struct {
	float x[CYC_CELLS], y[CYC_CELLS], z[CYC_CELLS]; /**< in index units of the reference; then fractions */
	float mirror[CYC_CELLS];
	int32_t x0[CYC_CELLS], row[4][CYC_CELLS]; /**< rows z edge + y of the corners a to d */
} cyc_cells;

/* Where the corner k of point i is, and its neighbour in x. */
static inline const float *cyc__cell_corner(const cyc_cells *l, const cyc_cfloat *F, int32_t edge, int32_t i,
                                            int k)
{
	return (const float *)(F + (size_t)l->row[k][i] * (size_t)(edge / 2 + 2) + (size_t)l->x0[i]);
}

static inline void cyc__cell_fetch(const cyc_cells *l, const cyc_cfloat *F, int32_t edge, int32_t i)
{
	for (int k = 0; k < 4; k++) __builtin_prefetch(cyc__cell_corner(l, F, edge, i, k));
}

/**
 * List the n points that x, y and z hold, of which the fractions are left, and fetch the first cells. Points
 * outside of what is held are moved to its rim, where values and slopes are 0.
 * @param[in] F  edge x edge x (edge/2 + 2), see cyc_reference_count()
 */
static inline void cyc__cells_list(cyc_cells *l, const cyc_cfloat *F, int32_t edge, int32_t n)
{
	float rim = (float)(edge / 2 - 1), low = -rim - 1;
	for (int32_t i = 0; i < n; i++) {
		float mirror = l->x[i] < 0 ? -1.F : 1.F, x = mirror * l->x[i], y = mirror * l->y[i],
			  z = mirror * l->z[i];
		x = x < rim ? x : rim;
		y = y < rim ? y : rim;
		y = y > low ? y : low;
		z = z < rim ? z : rim;
		z = z > low ? z : low;
		float yf = floorf(y), zf = floorf(z);
		int32_t x0 = (int32_t)x, y0 = (int32_t)yf, z0 = (int32_t)zf, y1 = y0 + 1, z1 = z0 + 1;
		y0 += y0 < 0 ? edge : 0;
		y1 += y1 < 0 ? edge : 0;
		z0 += z0 < 0 ? edge : 0;
		z1 += z1 < 0 ? edge : 0;
		l->mirror[i] = mirror;
		l->x[i] = x - (float)x0;
		l->y[i] = y - yf;
		l->z[i] = z - zf;
		l->x0[i] = x0;
		l->row[0][i] = z0 * edge + y0;
		l->row[1][i] = z0 * edge + y1;
		l->row[2][i] = z1 * edge + y0;
		l->row[3][i] = z1 * edge + y1;
	}
	for (int32_t i = 0; i < n && i < CYC_CELLS_AHEAD; i++) cyc__cell_fetch(l, F, edge, i);
}

/** The same for points of a central slice: kx times the reference index `x` of (1, 0), and ky times that of
 * (0, 1). */
static inline void cyc__cells_of_slice(cyc_cells *l, const cyc_cfloat *F, int32_t edge, const float x[3],
                                       const float y[3], const float *kx, const float *ky, int32_t n)
{
	for (int32_t i = 0; i < n; i++) {
		l->x[i] = x[0] * kx[i] + y[0] * ky[i];
		l->y[i] = x[1] * kx[i] + y[1] * ky[i];
		l->z[i] = x[2] * kx[i] + y[2] * ky[i];
	}
	cyc__cells_list(l, F, edge, n);
}

/** The cell of point i of the n listed ones, after those before it. */
static inline cyc_cell cyc__cell_next(const cyc_cells *l, const cyc_cfloat *F, int32_t edge, int32_t i,
                                      int32_t n)
{
	cyc_v4 corner[4];
	if (i + CYC_CELLS_AHEAD < n) cyc__cell_fetch(l, F, edge, i + CYC_CELLS_AHEAD);
	for (int k = 0; k < 4; k++) {
		/* Two neighbours in x are one 16-byte load: {re0, im0, re1, im1}. */
		const float *f = cyc__cell_corner(l, F, edge, i, k);
		corner[k] = (cyc_v4){ f[0], f[1], f[2], f[3] };
	}
	return (cyc_cell){ corner[0], corner[1], corner[2], corner[3], l->x[i], l->y[i], l->z[i], l->mirror[i] };
}

/** Between the corners along y and z: {re, im} at x0 and at x0 + 1. */
static inline cyc_v4 cyc__cell_along_x(const cyc_cell *q)
{
	cyc_v4 low = q->a + q->fy * (q->b - q->a), high = q->c + q->fy * (q->d - q->c);
	return low + q->fz * (high - low);
}

#endif

/** @file reference_cell.h  The eight voxels of a reference around a point: what all operations of the cpu
 * backend interpolate between. (T4.1) */
#ifndef CYC_CPU_REFERENCE_CELL_H
#define CYC_CPU_REFERENCE_CELL_H

#include "backends/cpu/cpu_internal.h"

#include <math.h>

/** The cell around a point: its corners, its fractions, and -1 if the conjugate half is looked up. */
typedef struct {
	cyc_v4 a, b, c,
		d; /**< (y0, z0), (y1, z0), (y0, z1), (y1, z1): {re, im} of the neighbours x0 and x0 + 1 */
	float fx, fy, fz, mirror;
} cyc_cell;

/* Two neighbours in x are one 16-byte load: {re0, im0, re1, im1}. */
static inline cyc_v4 cyc__cell_pair(const cyc_cfloat *p)
{
	const float *f = (const float *)p;
	return (cyc_v4){ f[0], f[1], f[2], f[3] };
}

/** @param[in] F  m x m x (m/2 + 2), see cyc_reference_count();  x, y, z in its index units */
static inline cyc_cell cyc__cell_at(const cyc_cfloat *F, int32_t m, float x, float y, float z)
{
	cyc_cell q;
	q.mirror = x < 0 ? -1.F : 1.F;
	x *= q.mirror;
	y *= q.mirror;
	z *= q.mirror;
	float yf = floorf(y), zf = floorf(z);
	int32_t x0 = (int32_t)x, y0 = (int32_t)yf, z0 = (int32_t)zf, y1 = y0 + 1, z1 = z0 + 1;
	q.fx = x - (float)x0;
	q.fy = y - yf;
	q.fz = z - zf;
	if (y0 < 0) y0 += m;
	if (y1 < 0) y1 += m;
	if (z0 < 0) z0 += m;
	if (z1 < 0) z1 += m;
	size_t width = (size_t)(m / 2 + 2), slab = width * (size_t)m;
	const cyc_cfloat *p = F + (size_t)x0;
	q.a = cyc__cell_pair(p + (size_t)z0 * slab + (size_t)y0 * width);
	q.b = cyc__cell_pair(p + (size_t)z0 * slab + (size_t)y1 * width);
	q.c = cyc__cell_pair(p + (size_t)z1 * slab + (size_t)y0 * width);
	q.d = cyc__cell_pair(p + (size_t)z1 * slab + (size_t)y1 * width);
	return q;
}

/** Between the corners along y and z: {re, im} at x0 and at x0 + 1. */
static inline cyc_v4 cyc__cell_along_x(const cyc_cell *q)
{
	cyc_v4 low = q->a + q->fy * (q->b - q->a), high = q->c + q->fy * (q->d - q->c);
	return low + q->fz * (high - low);
}

#endif

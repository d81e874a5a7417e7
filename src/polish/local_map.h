/**
 * @file local_map.h
 * A function on a small grid, evaluated anywhere with its gradient: cubic B-splines. The grid of the
 * correlation maps is finer than twice their band limit, where the spline is good to 1 % at the highest
 * frequency and much better below.
 */
#ifndef CYC_LOCAL_MAP_H
#define CYC_LOCAL_MAP_H

#include "backends/backend.h"

/** Samples (n x n, y slow) to spline coefficients, in place; mirror boundaries. `line` is scratch of n. */
void cyc_local_map_prefilter(float *map, int32_t n, double *line);
/**
 * Value and gradient at (x, y) [px] from the middle of the grid. Beyond the reach of the grid the value is
 * that of the nearest point inside, and the gradient is zero along the axes that lie outside.
 */
double cyc_local_map_value(double gradient[2], const float *map, cyc_local_grid grid, double x, double y);
/** Largest distance from the middle at which the map is evaluated [px]. */
double cyc_local_map_reach(cyc_local_grid grid);

#endif

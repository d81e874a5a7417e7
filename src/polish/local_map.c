#include "polish/local_map.h"

#include <math.h>

/* Recursive filter of the cubic B-spline (Unser 1999, IEEE Signal Process Mag 16:22): pole sqrt(3) - 2,
 * gain 6. */
static void prefilter_line(double *c, int32_t n)
{
	const double pole = -0.26794919243112270647;
	double sum = c[0], power = pole;
	if (n < 2) return;
	for (int32_t i = 1; i < n; i++, power *= pole)
		sum += power * c[i]; /* mirror start; the rest of the series is below float */
	c[0] = sum;
	for (int32_t i = 1; i < n; i++) c[i] += pole * c[i - 1];
	c[n - 1] = pole / (pole * pole - 1) * (c[n - 1] + pole * c[n - 2]);
	for (int32_t i = n - 2; i >= 0; i--) c[i] = pole * (c[i + 1] - c[i]);
	for (int32_t i = 0; i < n; i++) c[i] *= 6;
}

void cyc_local_map_prefilter(float *map, int32_t n, double *line)
{
	for (int pass = 0; pass < 2; pass++)
		for (int32_t a = 0; a < n; a++) {
			size_t first = pass == 0 ? (size_t)a * (size_t)n : (size_t)a, step = pass == 0 ? 1 : (size_t)n;
			for (int32_t i = 0; i < n; i++) line[i] = (double)map[first + (size_t)i * step];
			prefilter_line(line, n);
			for (int32_t i = 0; i < n; i++) map[first + (size_t)i * step] = (float)line[i];
		}
}

double cyc_local_map_reach(cyc_local_grid grid) { return (grid.n / 2 - 1.01) * grid.step_px; }

static void weights(double w[4], double d[4], double t)
{
	double u = 1 - t;
	w[0] = u * u * u / 6;
	w[1] = 2.0 / 3 - t * t * (2 - t) / 2;
	w[2] = 2.0 / 3 - u * u * (2 - u) / 2;
	w[3] = t * t * t / 6;
	d[0] = -u * u / 2;
	d[1] = t * (3 * t - 4) / 2;
	d[2] = -u * (3 * u - 4) / 2;
	d[3] = t * t / 2;
}

double cyc_local_map_value(double g[2], const float *map, cyc_local_grid grid, double x, double y)
{
	double reach = cyc_local_map_reach(grid), at[2] = { x, y }, w[2][4], d[2][4], value = 0;
	int32_t first[2];
	bool is_inside[2];
	for (int k = 0; k < 2; k++) {
		is_inside[k] = fabs(at[k]) <= reach;
		double u = fmin(fmax(at[k], -reach), reach) / grid.step_px + grid.n / 2;
		first[k] = (int32_t)u - 1;
		weights(w[k], d[k], u - (int32_t)u);
	}
	g[0] = g[1] = 0;
	for (int j = 0; j < 4; j++) {
		const float *row = map + (size_t)(first[1] + j) * (size_t)grid.n + first[0];
		double v = 0, dv = 0;
		for (int i = 0; i < 4; i++) {
			v += w[0][i] * (double)row[i];
			dv += d[0][i] * (double)row[i];
		}
		value += w[1][j] * v;
		g[0] += w[1][j] * dv;
		g[1] += d[1][j] * v;
	}
	for (int k = 0; k < 2; k++) g[k] = is_inside[k] ? g[k] / grid.step_px : 0;
	return value;
}

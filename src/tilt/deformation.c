/*
 * 2D deformations of tilt images. Each type is a sum of shapes: scalar functions of the position that a
 * coefficient multiplies in x or in y. The shapes and their slopes are all that differs.
 */
#include "cyclotomo/tilt.h"

#include <math.h>
#include <string.h>

/* A scalar shape at a position: value and slopes per px. */
typedef struct {
	double value, by_x, by_y;
} shape;

/* What is done with the shape that coefficient `i` multiplies in component `k` (0: x, 1: y). */
typedef void (*visitor)(void *arg, int32_t i, int k, const shape *s);

static int32_t n_fourier_pairs(const int32_t grid[2])
{
	int32_t n = 0;
	for (int32_t row = 0; row < grid[1]; row++) n += grid[0] / 2 + (row > 0 && row < grid[1] / 2 ? 1 : 0);
	return n;
}

int32_t cyc_deformation_n_coefficients(cyc_deformation_type type, const int32_t grid[2])
{
	switch (type) {
	case CYC_DEFORMATION_LINEAR: return 3;
	case CYC_DEFORMATION_SPLINE: return 8 * grid[0] * grid[1];
	case CYC_DEFORMATION_FOURIER: return 4 * n_fourier_pairs(grid);
	case CYC_DEFORMATION_NONE: break;
	}
	return 0;
}

cyc_deformation_model cyc_deformation_model_of(const cyc_tilt_series *ts)
{
	cyc_deformation_model m = { .type = ts->deformation_type,
		                        .grid = { ts->deformation_grid[0], ts->deformation_grid[1] },
		                        .image_nx = ts->image_nx,
		                        .image_ny = ts->image_ny };
	m.n = cyc_deformation_n_coefficients(m.type, m.grid);
	return m;
}

static void visit_linear(const cyc_deformation_model *m, double x, double y, visitor visit, void *arg)
{
	const shape by_x = { x - 0.5 * m->image_nx, 1, 0 }, by_y = { y - 0.5 * m->image_ny, 0, 1 };
	visit(arg, 0, 0, &by_x);
	visit(arg, 1, 1, &by_x);
	visit(arg, 2, 1, &by_y);
}

/* Cubic Hermite weights of one axis: [end][value or slope of the node], and their derivatives in t. */
static void hermite(double h[2][2], double d[2][2], double t)
{
	double t2 = t * t, t3 = t2 * t;
	h[0][0] = 1 - 3 * t2 + 2 * t3;
	h[1][0] = 3 * t2 - 2 * t3;
	h[0][1] = t - 2 * t2 + t3;
	h[1][1] = t3 - t2;
	d[0][0] = 6 * (t2 - t);
	d[1][0] = 6 * (t - t2);
	d[0][1] = 1 - 4 * t + 3 * t2;
	d[1][1] = 3 * t2 - 2 * t;
}

/* Four numbers per node: value, slope_x, slope_y (per cell), twist; x component first, then y. */
static void visit_spline(const cyc_deformation_model *m, double x, double y, visitor visit, void *arg)
{
	const double at[2] = { x, y }, size[2] = { m->image_nx, m->image_ny };
	double h[2][2][2], d[2][2][2], per_px[2];
	int32_t first[2];
	for (int a = 0; a < 2; a++) {
		double cells = m->grid[a] - 1, u = at[a] * cells / size[a], inside = fmin(fmax(u, 0), cells);
		first[a] = (int32_t)fmin(floor(inside), cells - 1);
		hermite(h[a], d[a], inside - first[a]);
		per_px[a] = u == inside ? cells / size[a] : 0;
	}
	for (int32_t j = 0; j < 2; j++)
		for (int32_t i = 0; i < 2; i++)
			for (int32_t n = 0; n < 4; n++) {
				int nx = n & 1, ny = n >> 1;
				const shape s = { h[0][i][nx] * h[1][j][ny], per_px[0] * d[0][i][nx] * h[1][j][ny],
					              per_px[1] * h[0][i][nx] * d[1][j][ny] };
				int32_t c = 4 * ((first[1] + j) * m->grid[0] + first[0] + i) + n;
				visit(arg, c, 0, &s);
				visit(arg, 4 * m->grid[0] * m->grid[1] + c, 1, &s);
			}
}

/* Frequency [rad/px] of the pair at (row, nx), which then are those of the next one. */
static void fourier_frequency(double w[2], const cyc_deformation_model *m, int32_t *row, int32_t *nx)
{
	int32_t gy = m->grid[1], ny = *row < gy / 2 ? *row : *row - gy;
	w[0] = CYC_PI * *nx / m->image_nx;
	w[1] = CYC_PI * ny / m->image_ny;
	if (++*nx > m->grid[0] / 2) {
		int32_t next = ++*row;
		*nx = next > 0 && next < gy / 2 ? 0 : 1;
	}
}

static void visit_fourier(const cyc_deformation_model *m, double x, double y, visitor visit, void *arg)
{
	int32_t n_pairs = m->n / 4, row = 0, nx = 1;
	for (int32_t i = 0; i < n_pairs; i++) {
		double w[2];
		fourier_frequency(w, m, &row, &nx);
		double c = cos(w[0] * x + w[1] * y), s = sin(w[0] * x + w[1] * y);
		const shape even = { c, -w[0] * s, -w[1] * s }, odd = { s, w[0] * c, w[1] * c };
		for (int k = 0; k < 2; k++) {
			visit(arg, 2 * (k * n_pairs + i), k, &even);
			visit(arg, 2 * (k * n_pairs + i) + 1, k, &odd);
		}
	}
}

static void visit_shapes(const cyc_deformation_model *m, double x, double y, visitor visit, void *arg)
{
	switch (m->type) {
	case CYC_DEFORMATION_LINEAR: visit_linear(m, x, y, visit, arg); break;
	case CYC_DEFORMATION_SPLINE: visit_spline(m, x, y, visit, arg); break;
	case CYC_DEFORMATION_FOURIER: visit_fourier(m, x, y, visit, arg); break;
	case CYC_DEFORMATION_NONE: break;
	}
}

typedef struct {
	const double *coefficients;
	double *u, (*J)[2];
} sum;

static void add_to_sum(void *arg, int32_t i, int k, const shape *s)
{
	sum *a = arg;
	double c = a->coefficients[i];
	a->u[k] += c * s->value;
	if (!a->J) return;
	a->J[k][0] += c * s->by_x;
	a->J[k][1] += c * s->by_y;
}

void cyc_deformation_value(double u[2], double J[2][2], const cyc_deformation_model *m,
                           const double *coefficients, double x, double y)
{
	sum a = { coefficients, u, J };
	u[0] = u[1] = 0;
	if (J) J[0][0] = J[0][1] = J[1][0] = J[1][1] = 0;
	if (coefficients) visit_shapes(m, x, y, add_to_sum, &a);
}

static void set_column(void *arg, int32_t i, int k, const shape *s)
{
	double *columns = arg;
	columns[2 * i + k] = s->value;
}

void cyc_deformation_columns(double *columns, const cyc_deformation_model *m, double x, double y)
{
	memset(columns, 0, 2 * (size_t)m->n * sizeof *columns);
	visit_shapes(m, x, y, set_column, columns);
}

void cyc_deformation_frequencies(double *rad_per_px, const cyc_deformation_model *m)
{
	int32_t n_pairs = m->n / 4, row = 0, nx = 1;
	for (int32_t i = 0; i < n_pairs; i++) {
		double w[2];
		fourier_frequency(w, m, &row, &nx);
		for (int32_t k = 0; k < 2; k++)
			for (int32_t j = 0; j < 2; j++) rad_per_px[2 * (k * n_pairs + i) + j] = hypot(w[0], w[1]);
	}
}

void cyc_deformation(double *dx, double *dy, const cyc_tilt_series *ts, int32_t i_tilt, double x, double y)
{
	const cyc_tilt *t = &ts->tilts[i_tilt];
	cyc_deformation_model m = cyc_deformation_model_of(ts);
	double u[2];
	if (t->n_deformation < m.n) m.n = t->n_deformation; /* a Fourier table may end early */
	cyc_deformation_value(u, NULL, &m, t->deformation, x, y);
	*dx = u[0];
	*dy = u[1];
}

#include "backends/tables.h"

#include <math.h>

void cyc__window_corner(int32_t *x0, int32_t *y0, const double *at_px, int32_t box_px)
{
	*x0 = (int32_t)round(at_px[0]) - box_px / 2;
	*y0 = (int32_t)round(at_px[1]) - box_px / 2;
}

int32_t cyc__window_radius(const cyc_window_spec *spec)
{
	return spec->radius > 0 && spec->radius < spec->box_binned / 2 ? spec->radius : spec->box_binned / 2;
}

cyc_window_part cyc__window_part(const cyc_window_spec *spec, int32_t x0, int32_t y0, int32_t nx, int32_t ny)
{
	int32_t S = spec->box_px;
	if (!spec->is_partial) return (cyc_window_part){ 0, S, 0, S };
	cyc_window_part p = { .first_x = x0 < 0 ? -x0 : 0,
		                  .last_x = x0 + S > nx ? nx - x0 : S,
		                  .first_y = y0 < 0 ? -y0 : 0,
		                  .last_y = y0 + S > ny ? ny - y0 : S };
	/* Of a window that lies beside the image altogether, nothing. */
	if (p.first_x > S) p.first_x = S;
	if (p.last_x < p.first_x) p.last_x = p.first_x;
	return p;
}

void cyc__window_circle(float *circle, float *corner, int32_t *circle_from, int32_t S)
{
	double R = 0.5 * S;
	for (int32_t y = 0; y < S; y++) {
		circle_from[y] = S;
		for (int32_t x = 0; x < S; x++) {
			double r = hypot(x - R, y - R), g = cyc_circle_crop_weight(S, r);
			size_t at = (size_t)y * (size_t)S + (size_t)x;
			bool is_corner = r > R;
			circle[at] = is_corner ? 0 : (float)g;
			corner[at] = is_corner ? 1 : 0;
			if (!is_corner && x < circle_from[y]) circle_from[y] = x;
		}
	}
}

void cyc__window_ramps(cyc_cfloat *ramp_x, cyc_cfloat *ramp_y, const cyc_window_spec *spec,
                       const double *at_px)
{
	int32_t x0, y0, radius = cyc__window_radius(spec), half = spec->box_binned / 2;
	double S = spec->box_px, s = spec->box_binned, binning = S / s;
	cyc__window_corner(&x0, &y0, at_px, spec->box_px);
	double tx = (at_px[0] - x0) / binning - 0.5 * s, ty = (at_px[1] - y0) / binning - 0.5 * s;
	for (int32_t x = 0; x <= radius; x++) {
		double phase = 2 * CYC_PI * tx * x / s, sign = x % 2 ? -1 : 1;
		ramp_x[x] = (float)(sign * cos(phase)) + (float)(sign * sin(phase)) * I;
	}
	double scale = 1 / (S * binning);
	for (int32_t y = 0; y < spec->box_binned; y++) {
		double ky = y < half ? y : y - s, phase = 2 * CYC_PI * ty * ky / s, sign = y % 2 ? -scale : scale;
		ramp_y[y] = (float)(sign * cos(phase)) + (float)(sign * sin(phase)) * I;
	}
}

void cyc__image_circle(float *circle, double *outside_count, const cyc_particle_image_spec *spec)
{
	size_t s = (size_t)spec->box_binned, c = (size_t)spec->circle_px;
	double R = 0.5 * (double)c;
	/* Two pixels on the circle itself, (c/2, 0) and (0, c/2) from its centre, lie beyond its square. */
	*outside_count = (double)(s * s - c * c) - (c < s ? 2 : 0);
	for (size_t y = 0; y < c; y++)
		for (size_t x = 0; x < c; x++) {
			double r = hypot((double)x - R, (double)y - R);
			bool is_outside = r > R;
			*outside_count += is_outside;
			circle[y * c + x] = is_outside ? -1.F : (float)cyc_circle_crop_weight(spec->circle_px, r);
		}
}

void cyc__turn_table(float *re, float *im, int32_t first, int32_t last, cyc_local_grid grid, size_t width,
                     int32_t s)
{
	for (int32_t j = 0; j < grid.n; j++) {
		double turn = 2 * CYC_PI * (j - grid.n / 2) * grid.step_px / s;
		for (int32_t k = first; k <= last; k++) {
			size_t at = (size_t)(k - first) * width + (size_t)j;
			re[at] = (float)cos(turn * k);
			im[at] = (float)sin(turn * k);
		}
	}
}

/* The distribution of directions over the sphere, in an equal-area projection. */
#include "cyclotomo/report.h"
#include "report/canvas.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Mollweide's ellipse is twice as wide as high. Lengths in points; two pixels each. */
enum { WIDTH = 560, HEIGHT = WIDTH / 2, SIDE = 46, TOP = 26, BELOW = 62, BAR_WIDTH = 200, SCALE = 2 };
static const cyc__colour k_ink = { 0.15, 0.15, 0.15 }, k_line = { 0.70, 0.70, 0.70 };
static const double k_wanted_in_cell = 10;

/* Bands of equal height in tilt, each cut into cells of about the same area. */
typedef struct {
	int32_t n_bands, n_cells;
	int32_t *first;  /* n_bands + 1 */
	double *density; /* n_cells: share of the directions over share of the sphere */
	double highest;
} cell_grid;

static void grid_deinit(cell_grid *g)
{
	cyc_free(g->first);
	cyc_free(g->density);
}

static int32_t cell_of(const cell_grid *g, double rot, double tilt)
{
	int32_t band = (int32_t)(tilt / CYC_PI * g->n_bands);
	band = band < 0 ? 0 : band >= g->n_bands ? g->n_bands - 1 : band;
	int32_t n = g->first[band + 1] - g->first[band];
	double turn = rot / (2 * CYC_PI);
	int32_t i = (int32_t)((turn - floor(turn)) * n);
	return g->first[band] + (i < n ? i : n - 1);
}

static cyc_status grid_create(cell_grid *g, int64_t n_directions)
{
	cyc_status st = CYC_OK;
	double step = sqrt(4 * CYC_PI * k_wanted_in_cell / (double)(n_directions > 1 ? n_directions : 1));
	step = fmax(CYC_PI / 45, fmin(CYC_PI / 12, step));
	g->n_bands = (int32_t)lround(CYC_PI / step);
	CYC_TRY(cyc_alloc(&g->first, g->n_bands + 1, sizeof *g->first));
	for (int32_t b = 0; b < g->n_bands; b++) {
		int32_t n = (int32_t)lround(2 * CYC_PI * sin((b + 0.5) * CYC_PI / g->n_bands) / step);
		g->first[b + 1] = g->first[b] + (n > 3 ? n : 3);
	}
	g->n_cells = g->first[g->n_bands];
	CYC_TRY(cyc_alloc(&g->density, g->n_cells, sizeof *g->density));
done:
	return st;
}

/* Counts, then over what equally spread directions would give; the number of directions counted. */
static int64_t grid_fill(cell_grid *g, const double *rot_rad, const double *tilt_rad, int64_t n)
{
	int64_t n_counted = 0;
	for (int64_t i = 0; i < n; i++) {
		if (!isfinite(rot_rad[i]) || !isfinite(tilt_rad[i])) continue;
		/* Tilts beyond 0 and 180 degrees are the same directions from the other side. */
		double tilt = acos(fmax(-1, fmin(1, cos(tilt_rad[i]))));
		double rot = sin(tilt_rad[i]) < 0 ? rot_rad[i] + CYC_PI : rot_rad[i];
		g->density[cell_of(g, rot, tilt)] += 1;
		n_counted++;
	}
	for (int32_t b = 0; b < g->n_bands; b++) {
		double share = 0.5 * (cos(b * CYC_PI / g->n_bands) - cos((b + 1) * CYC_PI / g->n_bands)) /
		               (g->first[b + 1] - g->first[b]);
		for (int32_t i = g->first[b]; i < g->first[b + 1] && n_counted > 0; i++) {
			g->density[i] /= share * (double)n_counted;
			g->highest = fmax(g->highest, g->density[i]);
		}
	}
	return n_counted;
}

/* ---------------------------------------------------------------- drawing */

/* Steep near zero, so that rare directions can be distinguished from missing ones. */
static cyc__colour colour_of(double share)
{
	static const cyc__colour low = { 0.95, 0.95, 0.95 }, high = { 0.03, 0.19, 0.42 };
	double t = share > 0 ? 0.08 + 0.92 * sqrt(fmin(1, share)) : 0;
	return (cyc__colour){ low.r + t * (high.r - low.r), low.g + t * (high.g - low.g),
		                  low.b + t * (high.b - low.b) };
}

static uint32_t pixel_of(cyc__colour c)
{
	return (uint32_t)lround(255 * c.r) << 16 | (uint32_t)lround(255 * c.g) << 8 | (uint32_t)lround(255 * c.b);
}

/* Place on the map, in units of its half width and half height, y up. */
static void project(double *x, double *y, double rot, double tilt)
{
	double latitude = CYC_PI / 2 - tilt, t = latitude;
	/* 2t + sin 2t = pi sin(latitude), by Newton's method; at the poles t is the latitude. */
	for (int i = 0; i < 40 && fabs(latitude) < CYC_PI / 2 - 1e-9; i++)
		t -= (2 * t + sin(2 * t) - CYC_PI * sin(latitude)) / (2 + 2 * cos(2 * t) + 1e-12);
	*x = rot / CYC_PI * cos(t);
	*y = sin(t);
}

/* The colour of each cell. */
static cyc_status colour_cells(uint32_t **out, const cell_grid *g)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_alloc(out, g->n_cells, sizeof **out));
	for (int32_t i = 0; i < g->n_cells; i++)
		(*out)[i] = pixel_of(colour_of(g->highest > 0 ? g->density[i] / g->highest : 0));
done:
	return st;
}

static cyc_status draw_cells(cyc__canvas *c, const cell_grid *g)
{
	cyc_status st = CYC_OK;
	enum { NX = WIDTH * SCALE, NY = HEIGHT * SCALE };
	int stride = cairo_format_stride_for_width(CAIRO_FORMAT_RGB24, NX);
	unsigned char *pixels = NULL;
	uint32_t *colour = NULL;
	CYC_TRY(colour_cells(&colour, g));
	CYC_TRY(cyc_alloc(&pixels, (size_t)NY * (size_t)stride, 1));
	for (int v = 0; v < NY; v++) {
		/* The projection back; a row of the map has one tilt. */
		double y = 1 - (v + 0.5) / NY * 2, t = asin(y), cos_t = cos(t);
		double tilt = CYC_PI / 2 - asin(fmax(-1, fmin(1, (2 * t + sin(2 * t)) / CYC_PI)));
		for (int u = 0; u < NX; u++) {
			double x = (u + 0.5) / NX * 2 - 1;
			bool is_inside = x * x + y * y < 1;
			uint32_t rgb = is_inside ? colour[cell_of(g, CYC_PI * x / cos_t, tilt)] : 0xFFFFFF;
			memcpy(pixels + (size_t)v * (size_t)stride + 4 * (size_t)u, &rgb, 4);
		}
	}
	cairo_surface_t *image = cairo_image_surface_create_for_data(pixels, CAIRO_FORMAT_RGB24, NX, NY, stride);
	cairo_save(c->cr);
	cairo_translate(c->cr, SIDE, TOP);
	cairo_scale(c->cr, 1.0 / SCALE, 1.0 / SCALE);
	cairo_set_source_surface(c->cr, image, 0, 0);
	cairo_pattern_set_filter(cairo_get_source(c->cr), CAIRO_FILTER_NEAREST);
	cairo_paint(c->cr);
	cairo_restore(c->cr);
	cairo_surface_destroy(image);
done:
	cyc_free(colour);
	cyc_free(pixels);
	return st;
}

/* Circles every 30 degrees of tilt and 60 of rot, with what they are. */
static void draw_grid(cyc__canvas *c)
{
	enum { N = 61 };
	double xy[2 * N], x, y;
	char text[16];
	for (int line = -3; line <= 3; line++) {
		for (int i = 0; i < N; i++) {
			project(&x, &y, line * CYC_PI / 3, CYC_PI * i / (N - 1));
			xy[2 * i] = SIDE + 0.5 * WIDTH * (1 + x);
			xy[2 * i + 1] = TOP + 0.5 * HEIGHT * (1 - y);
		}
		cyc__canvas_polyline(c, xy, N, line == -3 || line == 3 ? 1 : 0.5, 0, k_line);
	}
	for (int line = 1; line <= 5; line++) {
		project(&x, &y, CYC_PI, line * CYC_PI / 6);
		double at = TOP + 0.5 * HEIGHT * (1 - y), half = 0.5 * WIDTH * x, middle = SIDE + 0.5 * WIDTH;
		cyc__canvas_line(c, middle - half, at, middle + half, at, 0.5, 0, k_line);
		snprintf(text, sizeof text, "%d\xC2\xB0", 30 * line);
		cyc__canvas_text(c, middle - half - 5, at + 4, text,
		                 (cyc__text_style){ 11, CYC__RIGHT, false, false, k_ink });
	}
	cyc__canvas_text(c, SIDE + 0.5 * WIDTH, TOP - 8, "tilt 0\xC2\xB0",
	                 (cyc__text_style){ 11, CYC__CENTRE, false, false, k_ink });
	for (int k = -2; k <= 2; k++) {
		snprintf(text, sizeof text, "%s%d\xC2\xB0", k == -2 ? "rot " : "", 60 * k);
		double width = cyc__text_width(text, 10);
		cyc__canvas_fill_rect(c, SIDE + 0.5 * WIDTH * (1 + k / 3.0) - 0.5 * width, TOP + 0.5 * HEIGHT - 13,
		                      width, 12, (cyc__colour){ 1, 1, 1 });
		cyc__canvas_text(c, SIDE + 0.5 * WIDTH * (1 + k / 3.0), TOP + 0.5 * HEIGHT - 4, text,
		                 (cyc__text_style){ 10, CYC__CENTRE, false, false, k_ink });
	}
}

static void draw_bar(cyc__canvas *c, double highest)
{
	enum { STEPS = 101 };
	char text[64];
	double left = SIDE + 0.5 * (WIDTH - BAR_WIDTH), top = TOP + HEIGHT + 22,
		   width = (double)BAR_WIDTH / STEPS;
	for (int i = 0; i < STEPS; i++)
		cyc__canvas_fill_rect(c, left + i * width, top, width + 0.5, 8, colour_of((double)i / (STEPS - 1)));
	cyc__canvas_text(c, left, top + 21, "0", (cyc__text_style){ 11, CYC__CENTRE, false, false, k_ink });
	snprintf(text, sizeof text, "%.3g", 0.5 * highest);
	cyc__canvas_text(c, left + 0.5 * BAR_WIDTH, top + 21, text,
	                 (cyc__text_style){ 11, CYC__CENTRE, false, false, k_ink });
	snprintf(text, sizeof text, "%.3g", highest);
	cyc__canvas_text(c, left + BAR_WIDTH, top + 21, text,
	                 (cyc__text_style){ 11, CYC__CENTRE, false, false, k_ink });
	cyc__canvas_text(c, left + BAR_WIDTH + 22, top + 8, "times uniform",
	                 (cyc__text_style){ 11, CYC__LEFT, false, false, k_ink });
}

cyc_status cyc_directions_png(char **out, size_t *n, const double *rot_rad, const double *tilt_rad,
                              int64_t n_directions)
{
	cyc_status st = CYC_OK;
	cyc__canvas c = { .width = WIDTH + 2 * SIDE, .height = TOP + HEIGHT + BELOW };
	cyc__buffer png = { 0 };
	cell_grid g = { 0 };
	cairo_surface_t *surface = NULL;
	*out = NULL;
	*n = 0;
	CYC_CHECK(n_directions >= 0 && (n_directions == 0 || (rot_rad && tilt_rad)), CYC_E_USAGE,
	          "%lld directions, but no arrays", (long long)n_directions);
	CYC_TRY(grid_create(&g, n_directions));
	int64_t n_counted = grid_fill(&g, rot_rad, tilt_rad, n_directions);
	surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, SCALE * (int)c.width, SCALE * (int)c.height);
	c.cr = cairo_create(surface);
	cairo_scale(c.cr, SCALE, SCALE);
	cyc__canvas_fill_rect(&c, 0, 0, c.width, c.height, (cyc__colour){ 1, 1, 1 });
	CYC_TRY(draw_cells(&c, &g));
	draw_grid(&c);
	if (n_counted > 0) draw_bar(&c, g.highest);
	else
		cyc__canvas_text(&c, 0.5 * c.width, TOP + HEIGHT + 36, "no directions",
		                 (cyc__text_style){ 12, CYC__CENTRE, false, false, k_ink });
	CYC_TRY(cyc__canvas_png(&png, &c));
	*out = png.data;
	*n = png.n;
	png.data = NULL;
done:
	if (c.cr) cairo_destroy(c.cr);
	if (surface) cairo_surface_destroy(surface);
	cyc_free(png.data);
	grid_deinit(&g);
	return st;
}

/* Squares of values in colour, with colour bars: for phases and other fields with a sign. */
#include "cyclotomo/report.h"
#include "report/canvas.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { EDGE = 260, GAP = 40, TITLE = 34, LABEL = 24, BAR = 44, MAX_VALUE_PANELS = 40 };
static const cyc__colour k_ink = { 0.15, 0.15, 0.15 };

/* White in the middle, blue below, red above: distinguishable for colour-blind readers. */
static cyc__colour colour_of(double v)
{
	static const cyc__colour low = { 0.02, 0.19, 0.58 }, high = { 0.60, 0.05, 0.08 };
	double t = fmin(1, fabs(v));
	cyc__colour end = v < 0 ? low : high;
	/* Twice as steep near zero: weak values are seen. */
	t = t * (1.6 - 0.6 * t);
	return (cyc__colour){ 1 + t * (end.r - 1), 1 + t * (end.g - 1), 1 + t * (end.b - 1) };
}

static uint32_t pixel_of(const cyc_value_panel *p, size_t i)
{
	double o = p->opacity ? fmin(1, fmax(0, (double)p->opacity[i])) : 1, v = (double)p->value[i] / p->limit;
	cyc__colour c = colour_of(isfinite(v) ? fmin(1, fmax(-1, v)) : 0);
	const double grey = 0.93;
	double rgb[3] = { grey + o * (c.r - grey), grey + o * (c.g - grey), grey + o * (c.b - grey) };
	uint32_t word = 0;
	for (int k = 0; k < 3; k++) word = word << 8 | (uint32_t)lround(255 * rgb[k]);
	return word;
}

static cyc_status draw_square(cyc__canvas *c, const cyc_value_panel *p, double left, double top)
{
	cyc_status st = CYC_OK;
	int stride = cairo_format_stride_for_width(CAIRO_FORMAT_RGB24, p->n);
	unsigned char *pixels = NULL;
	CYC_TRY(cyc_alloc(&pixels, (size_t)p->n * (size_t)stride, 1));
	for (size_t y = 0; y < (size_t)p->n; y++)
		for (size_t x = 0; x < (size_t)p->n; x++) {
			uint32_t rgb = pixel_of(p, ((size_t)p->n - 1 - y) * (size_t)p->n + x);
			memcpy(pixels + y * (size_t)stride + 4 * x, &rgb, 4);
		}
	cairo_surface_t *image =
		cairo_image_surface_create_for_data(pixels, CAIRO_FORMAT_RGB24, p->n, p->n, stride);
	cairo_save(c->cr);
	cairo_translate(c->cr, left, top);
	cairo_scale(c->cr, (double)EDGE / p->n, (double)EDGE / p->n);
	cairo_set_source_surface(c->cr, image, 0, 0);
	cairo_pattern_set_filter(cairo_get_source(c->cr), CAIRO_FILTER_NEAREST);
	cairo_rectangle(c->cr, 0, 0, p->n, p->n);
	cairo_fill(c->cr);
	cairo_restore(c->cr);
	cairo_surface_destroy(image);
done:
	cyc_free(pixels);
	return st;
}

static void draw_bar(cyc__canvas *c, const cyc_value_panel *p, double left, double top)
{
	enum { STEPS = 65 };
	char text[48];
	double width = (double)EDGE / STEPS;
	for (int i = 0; i < STEPS; i++)
		cyc__canvas_fill_rect(c, left + i * width, top, width + 0.5, 8, colour_of(2.0 * i / (STEPS - 1) - 1));
	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof text, "%.3g%s%s", (i - 1) * p->limit, i == 2 && p->unit ? " " : "",
		         i == 2 && p->unit ? p->unit : "");
		cyc__canvas_text(c, left + 0.5 * i * EDGE, top + 21, text,
		                 (cyc__text_style){ 11, (cyc__anchor)i, false, false, k_ink });
	}
}

cyc_status cyc_values_write(const char *path, const char *title, const cyc_value_panel *panels,
                            int32_t n_panels)
{
	cyc_status st = CYC_OK;
	cyc__buffer out = { 0 };
	cyc__canvas c = { 0 };
	cairo_surface_t *surface = NULL;
	CYC_CHECK(n_panels >= 1 && n_panels <= MAX_VALUE_PANELS, CYC_E_USAGE,
	          "1 to %d panels can be drawn, not %d", MAX_VALUE_PANELS, n_panels);
	for (int32_t i = 0; i < n_panels; i++)
		CYC_CHECK(panels[i].n >= 1 && panels[i].n <= 16384 && panels[i].limit > 0, CYC_E_USAGE,
		          "panel %d: edge %d, limit %g", i + 1, panels[i].n, panels[i].limit);
	c.width = 3 * GAP + 2 * EDGE;
	c.height = TITLE + (n_panels + 1) / 2 * (EDGE + LABEL + BAR);
	surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, 2 * (int)c.width, 2 * (int)c.height);
	c.cr = cairo_create(surface);
	cairo_scale(c.cr, 2, 2);
	cyc__canvas_fill_rect(&c, 0, 0, c.width, c.height, (cyc__colour){ 1, 1, 1 });
	if (title)
		cyc__canvas_text(&c, 0.5 * c.width, 22, title,
		                 (cyc__text_style){ 14, CYC__CENTRE, true, false, k_ink });
	for (int32_t i = 0; i < n_panels; i++) {
		double left = GAP + i % 2 * (EDGE + GAP), top = TITLE + i / 2 * (EDGE + LABEL + BAR) + LABEL;
		if (panels[i].title)
			cyc__canvas_text(&c, left + 0.5 * EDGE, top - 8, panels[i].title,
			                 (cyc__text_style){ 12, CYC__CENTRE, false, false, k_ink });
		CYC_TRY(draw_square(&c, &panels[i], left, top));
		draw_bar(&c, &panels[i], left, top + EDGE + 8);
	}
	CYC_TRY(cyc__canvas_png(&out, &c));
	CYC_TRY(cyc_write_file(path, out.data, out.n));
done:
	if (c.cr) cairo_destroy(c.cr);
	if (surface) cairo_surface_destroy(surface);
	cyc_free(out.data);
	return st;
}

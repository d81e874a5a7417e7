/* Drawing surface of the report module: the few calls that plots use, on cairo (PNG, PDF) or as SVG text.
 * SVG is written by hand: native text stays readable and searchable, and nothing carries an id that could
 * collide with that of another figure of the same HTML page. Lengths are in points, y downwards. */
#ifndef CYC_REPORT_CANVAS_H
#define CYC_REPORT_CANVAS_H

#include "cyclotomo/base.h"
#include <cairo.h>

/* Growing byte string; the first failure sticks, so that drawing calls need not be checked one by one. */
typedef struct {
	char *data;
	size_t n, capacity;
	cyc_status status;
} cyc__buffer;
void cyc__buffer_add(cyc__buffer *b, const void *data, size_t n);
void cyc__buffer_printf(cyc__buffer *b, const char *fmt, ...) CYC_PRINTF(2, 3);

typedef struct {
	double r, g, b;
} cyc__colour;
typedef enum { CYC__LEFT, CYC__CENTRE, CYC__RIGHT } cyc__anchor;

typedef struct {
	cairo_t *cr; /* or NULL: SVG into `svg` */
	cyc__buffer svg;
	double width, height;
} cyc__canvas;

/* `title` is what readers that show no pictures say. */
void cyc__canvas_svg_begin(cyc__canvas *c, double width, double height, const char *title);
void cyc__canvas_svg_end(cyc__canvas *c);
void cyc__canvas_fill_rect(cyc__canvas *c, double x, double y, double w, double h, cyc__colour colour);
/* n points; dash 0: solid. */
void cyc__canvas_polyline(cyc__canvas *c, const double *xy, int32_t n, double width, double dash,
                          cyc__colour colour);
void cyc__canvas_line(cyc__canvas *c, double x0, double y0, double x1, double y1, double width, double dash,
                      cyc__colour colour);
void cyc__canvas_ring(cyc__canvas *c, double x, double y, double r, double width, cyc__colour colour);
void cyc__canvas_disc(cyc__canvas *c, double x, double y, double r, cyc__colour colour);
typedef struct {
	double size;
	cyc__anchor anchor;
	bool is_bold, is_upright; /* upright: read from below (axis labels) */
	cyc__colour colour;
} cyc__text_style;
/* Text with its baseline at y. `text` is any bytes: bad UTF-8 becomes '?'. */
void cyc__canvas_text(cyc__canvas *c, double x, double y, const char *text, cyc__text_style style);
/* The picture of a canvas on a cairo image surface, appended as PNG; failures of all calls before show here.
 */
CYC_MUST_CHECK cyc_status cyc__canvas_png(cyc__buffer *out, const cyc__canvas *c);
/* Room for a text. Estimated from the number of characters: the layout must not depend on the fonts
 * installed. */
double cyc__text_width(const char *text, double size);

#endif

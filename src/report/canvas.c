#include "cyclotomo/report.h"
#include "report/canvas.h"

#include <stdio.h>
#include <string.h>

/* Fontconfig keeps what it has read until the process ends, and the leak checker reports it. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CYC_HAS_LEAK_CHECK
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CYC_HAS_LEAK_CHECK
#endif
#ifdef CYC_HAS_LEAK_CHECK
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig\n"; }
#endif

void cyc__buffer_add(cyc__buffer *b, const void *data, size_t n)
{
	if (b->status != CYC_OK) return;
	if (b->capacity - b->n < n + 1) {
		size_t capacity = 2 * (b->n + n) + 4096;
		b->status = cyc_realloc(&b->data, b->capacity, capacity, 1);
		if (b->status != CYC_OK) return;
		b->capacity = capacity;
	}
	memcpy(b->data + b->n, data, n);
	b->n += n;
	b->data[b->n] = '\0';
}

void cyc__buffer_printf(cyc__buffer *b, const char *fmt, ...)
{
	char text[512];
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	CYC_ASSERT(n >= 0 && n < (int)sizeof text);
	if (n > 0) cyc__buffer_add(b, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* ---------------------------------------------------------------- text */

/* Length of the UTF-8 character at s, 0 if it may not stand in a picture. */
static int character_length(const unsigned char *s)
{
	if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7F;
	int n = s[0] >= 0xF0 && s[0] <= 0xF4  ? 4
	        : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
	        : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
	                                      : 0;
	for (int i = 1; i < n; i++)
		if ((s[i] & 0xC0) != 0x80) return 0;
	if (n == 3) {
		bool is_overlong = s[0] == 0xE0 && s[1] < 0xA0, is_surrogate = s[0] == 0xED && s[1] >= 0xA0;
		bool is_noncharacter = s[0] == 0xEF && s[1] == 0xBF && s[2] >= 0xBE;
		if (is_overlong || is_surrogate || is_noncharacter) return 0;
	}
	if (n == 4 && ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] >= 0x90))) return 0;
	return n;
}

/* Names come from files: what is not printable UTF-8 becomes '?', what XML reserves is escaped for SVG. */
static void add_text(cyc__buffer *b, const char *text, bool for_xml)
{
	const unsigned char *s = (const unsigned char *)text;
	while (*s) {
		int n = character_length(s);
		if (n == 0) cyc__buffer_add(b, "?", 1);
		else if (for_xml && *s == '<') cyc__buffer_add(b, "&lt;", 4);
		else if (for_xml && *s == '>') cyc__buffer_add(b, "&gt;", 4);
		else if (for_xml && *s == '&') cyc__buffer_add(b, "&amp;", 5);
		else cyc__buffer_add(b, s, (size_t)n);
		s += n > 0 ? n : 1;
	}
}

double cyc__text_width(const char *text, double size)
{
	double n = 0;
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) n += (*s & 0xC0) != 0x80;
	return 0.6 * size * n;
}

/* ---------------------------------------------------------------- drawing */

static const char *hex(char out[8], cyc__colour c)
{
	snprintf(out, 8, "#%02x%02x%02x", (unsigned)(c.r * 255 + 0.5) & 255u, (unsigned)(c.g * 255 + 0.5) & 255u,
	         (unsigned)(c.b * 255 + 0.5) & 255u);
	return out;
}

void cyc__canvas_svg_begin(cyc__canvas *c, double width, double height, const char *title)
{
	c->width = width;
	c->height = height;
	cyc__buffer_printf(
		&c->svg,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
		"role=\"img\" font-family=\"'DejaVu Sans', 'Liberation Sans', Helvetica, Arial, "
		"sans-serif\">\n<title>",
		width, height, width, height);
	add_text(&c->svg, title, true);
	cyc__buffer_printf(&c->svg, "</title>\n");
}

void cyc__canvas_svg_end(cyc__canvas *c) { cyc__buffer_printf(&c->svg, "</svg>\n"); }

void cyc__canvas_fill_rect(cyc__canvas *c, double x, double y, double w, double h, cyc__colour colour)
{
	char s[8];
	if (c->cr) {
		cairo_set_source_rgb(c->cr, colour.r, colour.g, colour.b);
		cairo_rectangle(c->cr, x, y, w, h);
		cairo_fill(c->cr);
	} else {
		cyc__buffer_printf(&c->svg,
		                   "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>\n", x, y,
		                   w, h, hex(s, colour));
	}
}

void cyc__canvas_polyline(cyc__canvas *c, const double *xy, int32_t n, double width, double dash,
                          cyc__colour colour)
{
	char s[8];
	if (n < 2) return;
	if (c->cr) {
		cairo_set_source_rgb(c->cr, colour.r, colour.g, colour.b);
		cairo_set_line_width(c->cr, width);
		cairo_set_line_join(c->cr, CAIRO_LINE_JOIN_ROUND);
		cairo_set_dash(c->cr, &dash, dash > 0 ? 1 : 0, 0);
		cairo_move_to(c->cr, xy[0], xy[1]);
		for (int32_t i = 1; i < n; i++) cairo_line_to(c->cr, xy[2 * i], xy[2 * i + 1]);
		cairo_stroke(c->cr);
		return;
	}
	cyc__buffer_printf(&c->svg,
	                   "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%.2f\" stroke-linejoin=\"round\"",
	                   hex(s, colour), width);
	if (dash > 0) cyc__buffer_printf(&c->svg, " stroke-dasharray=\"%.2f\"", dash);
	cyc__buffer_printf(&c->svg, " d=\"M");
	for (int32_t i = 0; i < n; i++)
		cyc__buffer_printf(&c->svg, "%s%.2f %.2f", i ? "L" : "", xy[2 * i], xy[2 * i + 1]);
	cyc__buffer_printf(&c->svg, "\"/>\n");
}

void cyc__canvas_line(cyc__canvas *c, double x0, double y0, double x1, double y1, double width, double dash,
                      cyc__colour colour)
{
	cyc__canvas_polyline(c, (double[]){ x0, y0, x1, y1 }, 2, width, dash, colour);
}

void cyc__canvas_disc(cyc__canvas *c, double x, double y, double r, cyc__colour colour)
{
	char s[8];
	if (c->cr) {
		cairo_set_source_rgb(c->cr, colour.r, colour.g, colour.b);
		cairo_new_path(c->cr);
		cairo_arc(c->cr, x, y, r, 0, 2 * CYC_PI);
		cairo_fill(c->cr);
	} else {
		cyc__buffer_printf(&c->svg, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%.2f\" fill=\"%s\"/>\n", x, y, r,
		                   hex(s, colour));
	}
}

void cyc__canvas_ring(cyc__canvas *c, double x, double y, double r, double width, cyc__colour colour)
{
	char s[8];
	if (c->cr) {
		cairo_set_source_rgb(c->cr, colour.r, colour.g, colour.b);
		cairo_set_line_width(c->cr, width);
		cairo_set_dash(c->cr, NULL, 0, 0);
		cairo_new_path(c->cr);
		cairo_arc(c->cr, x, y, r, 0, 2 * CYC_PI);
		cairo_stroke(c->cr);
	} else {
		cyc__buffer_printf(&c->svg,
		                   "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%.2f\" fill=\"none\" stroke=\"%s\" "
		                   "stroke-width=\"%.2f\"/>\n",
		                   x, y, r, hex(s, colour), width);
	}
}

/* Glyphs as the font has them. By default they are fitted to the pixels, and whether they are depends on what
 * the process has drawn before: the same figure would have other bytes after a restart. */
static void set_plain_glyphs(cairo_t *cr)
{
	cairo_font_options_t *options = cairo_font_options_create();
	cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
	cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
	cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
	cairo_set_font_options(cr, options);
	cairo_font_options_destroy(options);
}

static void text_cairo(cyc__canvas *c, double x, double y, const char *text, cyc__text_style style)
{
	cairo_text_extents_t extents;
	cyc__buffer clean = { 0 };
	add_text(&clean, text, false);
	if (clean.status == CYC_OK && clean.n > 0) {
		cairo_save(c->cr);
		cairo_select_font_face(c->cr, "sans", CAIRO_FONT_SLANT_NORMAL,
		                       style.is_bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
		cairo_set_font_size(c->cr, style.size);
		set_plain_glyphs(c->cr);
		cairo_set_source_rgb(c->cr, style.colour.r, style.colour.g, style.colour.b);
		cairo_text_extents(c->cr, clean.data, &extents);
		cairo_translate(c->cr, x, y);
		if (style.is_upright) cairo_rotate(c->cr, -CYC_PI / 2);
		cairo_move_to(c->cr,
		              style.anchor == CYC__LEFT     ? 0
		              : style.anchor == CYC__CENTRE ? -extents.x_advance / 2
		                                            : -extents.x_advance,
		              0);
		cairo_show_text(c->cr, clean.data);
		cairo_restore(c->cr);
	}
	/* Kept where the caller looks for failures. */
	if (clean.status != CYC_OK) c->svg.status = clean.status;
	cyc_free(clean.data);
}

void cyc__canvas_text(cyc__canvas *c, double x, double y, const char *text, cyc__text_style style)
{
	static const char *const anchors[] = { "start", "middle", "end" };
	char s[8];
	if (c->cr) {
		text_cairo(c, x, y, text, style);
		return;
	}
	cyc__buffer_printf(&c->svg, "<text font-size=\"%.0f\" text-anchor=\"%s\" fill=\"%s\"%s", style.size,
	                   anchors[style.anchor], hex(s, style.colour),
	                   style.is_bold ? " font-weight=\"bold\"" : "");
	if (style.is_upright)
		cyc__buffer_printf(&c->svg, " transform=\"translate(%.2f %.2f) rotate(-90)\">", x, y);
	else cyc__buffer_printf(&c->svg, " x=\"%.2f\" y=\"%.2f\">", x, y);
	add_text(&c->svg, text, true);
	cyc__buffer_printf(&c->svg, "</text>\n");
}

/* ---------------------------------------------------------------- PNG */

static cairo_status_t write_chunk(void *buffer, const unsigned char *data, unsigned n)
{
	cyc__buffer *b = buffer;
	cyc__buffer_add(b, data, n);
	return b->status == CYC_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

cyc_status cyc__canvas_png(cyc__buffer *out, const cyc__canvas *c)
{
	cyc_status st = CYC_OK;
	CYC_TRY(c->svg.status);
	cairo_status_t s = cairo_status(c->cr);
	if (s == CAIRO_STATUS_SUCCESS)
		s = cairo_surface_write_to_png_stream(cairo_get_target(c->cr), write_chunk, out);
	CYC_TRY(out->status);
	CYC_CHECK(s == CAIRO_STATUS_SUCCESS, s == CAIRO_STATUS_NO_MEMORY ? CYC_E_NOMEM : CYC_E_INTERNAL,
	          "the drawing library (cairo) failed: %s", cairo_status_to_string(s));
done:
	return st;
}

cyc_status cyc_base64(char **out, const void *data, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	cyc_status st = CYC_OK;
	const unsigned char *b = data;
	*out = NULL;
	CYC_TRY(cyc_alloc(out, 4 * ((n + 2) / 3) + 1, 1));
	char *t = *out;
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = 0;
		for (size_t j = 0; j < 3; j++) v = v << 8 | (i + j < n ? b[i + j] : 0U);
		for (size_t j = 0; j < 4; j++) *t++ = i + j <= n ? digits[v >> (18 - 6 * j) & 63] : '=';
	}
	*t = '\0';
done:
	return st;
}

cyc_status cyc_png_data_uri(char **out, const char *png, size_t n)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	*out = NULL;
	CYC_TRY(cyc_base64(&text, png, n));
	CYC_TRY(cyc_asprintf(out, "data:image/png;base64,%s", text));
done:
	cyc_free(text);
	return st;
}

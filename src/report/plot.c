/* Line plots: one routine lays out and draws a figure on a canvas; the writers below choose the canvas. */
#include "cyclotomo/report.h"
#include "report/canvas.h"

#include <cairo-pdf.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Points. */
enum { FIGURE_WIDTH = 640, PLOT_HEIGHT = 230, MAX_PANELS = 40 };
static const double k_tick_size = 11, k_label_size = 12, k_title_size = 14, k_legend_row = 18,
					k_png_scale = 2;

/* Okabe & Ito's palette without its yellow: distinguishable for colour-blind readers, dark enough on white.
 */
static const cyc__colour k_palette[] = {
	{ 0.000, 0.447, 0.698 }, { 0.835, 0.369, 0.000 }, { 0.000, 0.620, 0.451 }, { 0.800, 0.475, 0.655 },
	{ 0.902, 0.624, 0.000 }, { 0.337, 0.706, 0.914 }, { 0.200, 0.200, 0.200 },
};
enum { N_PALETTE = sizeof k_palette / sizeof k_palette[0] };
static const cyc__colour k_ink = { 0.15, 0.15, 0.15 }, k_grey = { 0.42, 0.42, 0.42 },
						 k_grid = { 0.90, 0.90, 0.90 }, k_white = { 1, 1, 1 },
						 k_bad = { 0.776, 0.110, 0.110 };

typedef struct {
	double min, max, step;
} axis;
typedef struct {
	axis x, y;
	double left, top, width, height; /* of the plot rectangle */
	double below;                    /* room under it */
	bool has_data;
} layout;

/* NaN, infinities and numbers whose differences overflow leave gaps. */
static bool is_plottable(double v) { return fabs(v) < 1e300; }

/* ---------------------------------------------------------------- axes */

static double nice_step(double range, int n_wanted)
{
	double raw = range / n_wanted, power = pow(10, floor(log10(raw))), m = raw / power;
	return power * (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10);
}

/* Range and tick step; `given` if the caller has set it, else the data's with `margin` (share of the range)
 * around it. */
static axis make_axis(double given_min, double given_max, double min, double max, double margin, int n_ticks)
{
	axis a = { given_min, given_max, 0 };
	if (!(given_min < given_max) || !is_plottable(given_min) || !is_plottable(given_max)) {
		double centre = min + (max - min) / 2;
		/* Less than rounding noise counts as constant: such a curve is drawn through the middle. */
		if (!(max - min > 1e-12 * fabs(centre))) {
			double half = fabs(centre) > 0 ? 0.1 * fabs(centre) : 1;
			min = centre - half;
			max = centre + half;
			margin = 0;
		}
		a.min = min - margin * (max - min);
		a.max = max + margin * (max - min);
	}
	a.step = nice_step(a.max - a.min, n_ticks);
	return a;
}

/* "-" is typeset as a minus sign; zero has no sign. */
static void tick_text(char *out, size_t size, const axis *a, double v)
{
	char digits[48];
	double largest = fmax(fabs(a->min), fabs(a->max));
	int decimals = a->step < 1 ? (int)ceil(-log10(a->step) - 1e-9) : 0;
	if (fabs(v) < 1e-9 * a->step) v = 0;
	if (largest >= 1e6 || decimals > 5) snprintf(digits, sizeof digits, "%.4g", v);
	else snprintf(digits, sizeof digits, "%.*f", decimals, v);
	snprintf(out, size, "%s%s", digits[0] == '-' ? "\xE2\x88\x92" : "",
	         digits[0] == '-' ? digits + 1 : digits);
}

/* 0.15 1/Å -> "6.67 Å"; digits enough to distinguish shells, no trailing zeros. */
static void resolution_text(char *out, size_t size, double inverse_A)
{
	char digits[48];
	double r = 1 / inverse_A;
	snprintf(digits, sizeof digits, "%.*f", r >= 100 ? 0 : r >= 10 ? 1 : 2, r);
	if (strchr(digits, '.')) {
		size_t n = strlen(digits);
		while (digits[n - 1] == '0') digits[--n] = '\0';
		if (digits[n - 1] == '.') digits[n - 1] = '\0';
	}
	snprintf(out, size, "%s \xC3\x85", digits);
}

static int64_t first_tick(const axis *a) { return (int64_t)ceil(a->min / a->step - 1e-6); }
static int64_t last_tick(const axis *a) { return (int64_t)floor(a->max / a->step + 1e-6); }

static void data_range(const cyc_plot *p, double x[2], double y[2], bool *has_points)
{
	for (int32_t s = 0; s < p->n_series; s++) {
		const cyc_plot_series *c = &p->series[s];
		for (int32_t i = 0; i < c->n; i++) {
			if (!is_plottable(c->x[i]) || !is_plottable(c->y[i])) continue;
			double e = c->y_error && is_plottable(c->y_error[i]) ? fabs(c->y_error[i]) : 0;
			x[0] = fmin(x[0], c->x[i]);
			x[1] = fmax(x[1], c->x[i]);
			y[0] = fmin(y[0], c->y[i] - e);
			y[1] = fmax(y[1], c->y[i] + e);
			if (c->style != CYC_PLOT_LINE) *has_points = true;
		}
	}
}

/* ---------------------------------------------------------------- layout */

static bool has_text(const char *s) { return s && s[0]; }

static double line_width(const cyc_plot_series *v) { return v->width > 0 ? v->width : 1.8; }

/* Whether any point of a panel has this mark. */
static bool has_mark(const cyc_plot *p, unsigned char mark)
{
	for (int32_t s = 0; s < p->n_series; s++)
		for (int32_t i = 0; p->series[s].marks && i < p->series[s].n; i++)
			if (p->series[s].marks[i] == mark) return true;
	return false;
}

static void draw_mark(cyc__canvas *c, double x, double y, unsigned char mark)
{
	const double r = 4.2;
	if (mark == CYC_MARK_EXCLUDED) cyc__canvas_ring(c, x, y, r, 1.6, k_grey);
	if (mark != CYC_MARK_BAD) return;
	cyc__canvas_line(c, x - r, y - r, x + r, y + r, 2.2, 0, k_bad);
	cyc__canvas_line(c, x - r, y + r, x + r, y - r, 2.2, 0, k_bad);
}

/* Legend entries flow in rows; returns the number of rows and, with a canvas, draws them. */
static int32_t draw_legend(cyc__canvas *c, const cyc_plot *p, double left, double y)
{
	double x = left;
	int32_t n_rows = 0, next = 0;
	static const char *const MARKS[] = { "", "bad", "left out" };
	for (int32_t s = 0; s < p->n_series + CYC_MARK_EXCLUDED; s++) {
		unsigned char mark = (unsigned char)(s < p->n_series ? 0 : s - p->n_series + 1);
		if (mark && !has_mark(p, mark)) continue;
		const cyc_plot_series entry = { .label = MARKS[mark], .colour = 0 };
		const cyc_plot_series *v = mark ? &entry : &p->series[s];
		int32_t colour = v->colour >= 0 ? v->colour % N_PALETTE : next++ % N_PALETTE;
		if (!has_text(v->label)) continue;
		double width = 34 + cyc__text_width(v->label, k_tick_size) + 12;
		if (n_rows == 0) n_rows = 1;
		else if (x + width > FIGURE_WIDTH - 10 && x > left) {
			x = left;
			n_rows++;
		}
		if (c) {
			double yr = y + (n_rows - 1) * k_legend_row, yl = yr - 0.36 * k_tick_size;
			draw_mark(c, x + 13, yl, mark);
			if (v->style != CYC_PLOT_POINTS && !mark)
				cyc__canvas_line(c, x, yl, x + 26, yl, line_width(v), v->is_dashed ? 5 : 0,
				                 k_palette[colour]);
			if (v->style != CYC_PLOT_LINE) cyc__canvas_disc(c, x + 13, yl, 3.2, k_palette[colour]);
			cyc__canvas_text(c, x + 32, yr, v->label,
			                 (cyc__text_style){ k_tick_size, CYC__LEFT, false, false, k_ink });
		}
		x += width;
	}
	return n_rows;
}

/* Fills everything but the left margin; returns the height of the panel. */
static double lay_out(layout *l, const cyc_plot *p, double top)
{
	double x[2] = { HUGE_VAL, -HUGE_VAL }, y[2] = { HUGE_VAL, -HUGE_VAL };
	bool has_points = false;
	data_range(p, x, y, &has_points);
	l->has_data = x[0] <= x[1];
	if (!l->has_data) x[0] = y[0] = 0, x[1] = y[1] = 1;
	if (is_plottable(p->h_line)) {
		y[0] = fmin(y[0], p->h_line);
		y[1] = fmax(y[1], p->h_line);
	}
	l->x = make_axis(p->x_min, p->x_max, x[0], x[1], has_points ? 0.02 : 0, 7);
	l->y = make_axis(p->y_min, p->y_max, y[0], y[1], 0.05, 6);
	double above = 16 + (has_text(p->title) ? k_title_size + 8 : 0);
	above += k_legend_row * draw_legend(NULL, p, 0, 0);
	l->top = top + above;
	l->height = PLOT_HEIGHT;
	l->below = 22 + (p->x_is_inverse_A ? 14 : 0) + (has_text(p->x_label) ? k_label_size + 8 : 0) + 6;
	return above + l->height + l->below;
}

static double left_margin(const layout *l, const cyc_plot *p)
{
	char text[64];
	double w = 0;
	for (int64_t i = first_tick(&l->y); i <= last_tick(&l->y); i++) {
		tick_text(text, sizeof text, &l->y, (double)i * l->y.step);
		w = fmax(w, cyc__text_width(text, k_tick_size));
	}
	return w + 16 + (has_text(p->y_label) ? k_label_size + 12 : 0);
}

static double x_of(const layout *l, double v)
{
	return l->left + (v - l->x.min) / (l->x.max - l->x.min) * l->width;
}
static double y_of(const layout *l, double v)
{
	return l->top + l->height - (v - l->y.min) / (l->y.max - l->y.min) * l->height;
}

/* ---------------------------------------------------------------- curves */

/* The part of a segment inside the plot rectangle (Liang & Barsky 1984); false if none. */
static bool clip(const layout *l, double s[4])
{
	double t0 = 0, t1 = 1, dx = s[2] - s[0], dy = s[3] - s[1], x = s[0], y = s[1];
	double p[4] = { -dx, dx, -dy, dy };
	double q[4] = { x - l->left, l->left + l->width - x, y - l->top, l->top + l->height - y };
	for (int i = 0; i < 4; i++) {
		if (p[i] < 0) t0 = fmax(t0, q[i] / p[i]);
		else if (p[i] > 0) t1 = fmin(t1, q[i] / p[i]);
		else if (q[i] < 0) return false;
	}
	if (t0 > t1) return false;
	/* An end that is inside stays bit for bit what it was: runs of points are recognised by that. */
	if (t1 < 1) {
		s[2] = x + t1 * dx;
		s[3] = y + t1 * dy;
	}
	if (t0 > 0) {
		s[0] = x + t0 * dx;
		s[1] = y + t0 * dy;
	}
	return true;
}

static void draw_clipped_line(cyc__canvas *c, const layout *l, double s[4], double width, double dash,
                              cyc__colour colour)
{
	if (clip(l, s)) cyc__canvas_line(c, s[0], s[1], s[2], s[3], width, dash, colour);
}

/* One polyline per run of points that are numbers and inside the axes. `xy` has room for 2 n points. */
static void draw_curve(cyc__canvas *c, const layout *l, const cyc_plot_series *v, double *xy,
                       cyc__colour colour)
{
	int32_t n = 0;
	double dash = v->is_dashed ? 5 : 0;
	for (int32_t i = 1; i < v->n; i++) {
		double s[4] = { x_of(l, v->x[i - 1]), y_of(l, v->y[i - 1]), x_of(l, v->x[i]), y_of(l, v->y[i]) };
		bool is_drawn = is_plottable(s[0]) && is_plottable(s[1]) && is_plottable(s[2]) &&
		                is_plottable(s[3]) && clip(l, s);
		/* memcmp: the run continues only if the last point was not cut, i.e. is bit for bit the same. */
		if (!is_drawn || (n > 0 && memcmp(&xy[2 * (n - 1)], s, 2 * sizeof *s) != 0)) {
			cyc__canvas_polyline(c, xy, n, line_width(v), dash, colour);
			n = 0;
		}
		if (!is_drawn) continue;
		if (n == 0) {
			xy[0] = s[0];
			xy[1] = s[1];
			n = 1;
		}
		xy[2 * n] = s[2];
		xy[2 * n + 1] = s[3];
		n++;
	}
	cyc__canvas_polyline(c, xy, n, line_width(v), dash, colour);
}

static void draw_points(cyc__canvas *c, const layout *l, const cyc_plot_series *v, bool with_discs,
                        cyc__colour colour)
{
	for (int32_t i = 0; i < v->n; i++) {
		if (!is_plottable(v->x[i]) || !is_plottable(v->y[i])) continue;
		double x = x_of(l, v->x[i]), y = y_of(l, v->y[i]);
		if (x < l->left - 0.5 || x > l->left + l->width + 0.5) continue;
		if (v->y_error && is_plottable(v->y_error[i]) && fabs(v->y_error[i]) > 0) {
			double y0 = y_of(l, v->y[i] - v->y_error[i]), y1 = y_of(l, v->y[i] + v->y_error[i]);
			draw_clipped_line(c, l, (double[]){ x, y0, x, y1 }, 1, 0, colour);
			draw_clipped_line(c, l, (double[]){ x - 2.5, y0, x + 2.5, y0 }, 1, 0, colour);
			draw_clipped_line(c, l, (double[]){ x - 2.5, y1, x + 2.5, y1 }, 1, 0, colour);
		}
		bool is_inside = y >= l->top - 0.5 && y <= l->top + l->height + 0.5;
		unsigned char mark = v->marks ? v->marks[i] : CYC_MARK_NONE;
		if (with_discs && is_inside && mark == CYC_MARK_NONE) cyc__canvas_disc(c, x, y, 2.8, colour);
		if (is_inside) draw_mark(c, x, y, mark);
	}
}

static cyc_status draw_series(cyc__canvas *c, const layout *l, const cyc_plot *p)
{
	cyc_status st = CYC_OK;
	double *xy = NULL;
	int32_t next = 0;
	for (int32_t s = 0; s < p->n_series; s++) {
		const cyc_plot_series *v = &p->series[s];
		cyc__colour colour = k_palette[v->colour >= 0 ? v->colour % N_PALETTE : next++ % N_PALETTE];
		if (v->style != CYC_PLOT_POINTS && v->n > 0) {
			CYC_TRY(cyc_alloc(&xy, 4 * (size_t)v->n, sizeof *xy));
			draw_curve(c, l, v, xy, colour);
			cyc_free(xy);
			xy = NULL;
		}
		draw_points(c, l, v, v->style != CYC_PLOT_LINE, colour);
	}
done:
	cyc_free(xy);
	return st;
}

/* ---------------------------------------------------------------- panel and figure */

static void draw_ticks(cyc__canvas *c, const layout *l, const cyc_plot *p)
{
	char text[64];
	double right = l->left + l->width, bottom = l->top + l->height;
	for (int64_t i = first_tick(&l->y); i <= last_tick(&l->y); i++) {
		double y = y_of(l, (double)i * l->y.step);
		cyc__canvas_line(c, l->left, y, right, y, 0.8, 0, k_grid);
		cyc__canvas_line(c, l->left - 4, y, l->left, y, 1, 0, k_ink);
		tick_text(text, sizeof text, &l->y, (double)i * l->y.step);
		cyc__canvas_text(c, l->left - 7, y + 0.36 * k_tick_size, text,
		                 (cyc__text_style){ k_tick_size, CYC__RIGHT, false, false, k_ink });
	}
	for (int64_t i = first_tick(&l->x); i <= last_tick(&l->x); i++) {
		double v = (double)i * l->x.step, x = x_of(l, v);
		cyc__canvas_line(c, x, l->top, x, bottom, 0.8, 0, k_grid);
		cyc__canvas_line(c, x, bottom, x, bottom + 4, 1, 0, k_ink);
		tick_text(text, sizeof text, &l->x, v);
		cyc__canvas_text(c, x, bottom + 6 + k_tick_size, text,
		                 (cyc__text_style){ k_tick_size, CYC__CENTRE, false, false, k_ink });
		if (p->x_is_inverse_A && v > 1e-9 * l->x.step) {
			resolution_text(text, sizeof text, v);
			cyc__canvas_text(c, x, bottom + 20 + k_tick_size, text,
			                 (cyc__text_style){ k_tick_size, CYC__CENTRE, false, false, k_grey });
		}
	}
}

/* With its label at the top, on the side where there is room. */
static void draw_v_line(cyc__canvas *c, const layout *l, const cyc_plot *p)
{
	if (!has_text(p->v_line_label) || !is_plottable(p->v_line)) return;
	double x = x_of(l, p->v_line), right = l->left + l->width;
	if (x < l->left - 0.5 || x > right + 0.5) return;
	bool is_left = x + cyc__text_width(p->v_line_label, k_tick_size) + 6 > right;
	cyc__canvas_line(c, x, l->top, x, l->top + l->height, 1.2, 4, k_grey);
	cyc__canvas_text(c, is_left ? x - 5 : x + 5, l->top + k_tick_size + 2, p->v_line_label,
	                 (cyc__text_style){ k_tick_size, is_left ? CYC__RIGHT : CYC__LEFT, true, false, k_ink });
}

static cyc_status draw_panel(cyc__canvas *c, const layout *l, const cyc_plot *p, double top)
{
	cyc_status st = CYC_OK;
	double right = l->left + l->width, bottom = l->top + l->height, y = top + 10;
	if (has_text(p->title)) {
		y += k_title_size;
		cyc__canvas_text(c, l->left, y, p->title,
		                 (cyc__text_style){ k_title_size, CYC__LEFT, true, false, k_ink });
		y += 8;
	}
	draw_legend(c, p, l->left, y + k_tick_size);
	draw_ticks(c, l, p);
	double guide = is_plottable(p->h_line) ? y_of(l, p->h_line) : -1;
	bool has_guide = guide >= l->top - 0.5 && guide <= bottom + 0.5;
	if (has_guide) cyc__canvas_line(c, l->left, guide, right, guide, 1.2, 4, k_grey);
	draw_v_line(c, l, p);
	CYC_TRY(draw_series(c, l, p));
	cyc__canvas_line(c, l->left, l->top, l->left, bottom, 1, 0, k_ink);
	cyc__canvas_line(c, l->left, bottom, right, bottom, 1, 0, k_ink);
	if (has_guide && has_text(p->h_line_label)) {
		/* Above the line unless that is outside; on the left, where correlations are far above it. */
		double yt = guide - l->top > k_tick_size + 6 ? guide - 4 : guide + k_tick_size + 2;
		cyc__canvas_text(c, l->left + 5, yt, p->h_line_label,
		                 (cyc__text_style){ k_tick_size, CYC__LEFT, false, false, k_grey });
	}
	if (!l->has_data)
		cyc__canvas_text(c, l->left + l->width / 2, l->top + l->height / 2, "no data",
		                 (cyc__text_style){ k_title_size, CYC__CENTRE, false, false, k_grey });
	if (has_text(p->x_label))
		cyc__canvas_text(c, l->left + l->width / 2, bottom + l->below - 8, p->x_label,
		                 (cyc__text_style){ k_label_size, CYC__CENTRE, false, false, k_ink });
	if (has_text(p->y_label))
		cyc__canvas_text(c, k_label_size + 6, l->top + l->height / 2, p->y_label,
		                 (cyc__text_style){ k_label_size, CYC__CENTRE, false, true, k_ink });
done:
	return st;
}

static cyc_status check_panels(const cyc_plot *panels, int32_t n_panels)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(panels && n_panels >= 1 && n_panels <= MAX_PANELS, CYC_E_USAGE,
	          "a figure has 1 to %d panels, got %d", MAX_PANELS, (int)n_panels);
	for (int32_t i = 0; i < n_panels; i++) {
		CYC_CHECK(panels[i].n_series >= 0 && (panels[i].n_series == 0 || panels[i].series), CYC_E_USAGE,
		          "panel %d has %d series but no array of them", (int)i, (int)panels[i].n_series);
		for (int32_t s = 0; s < panels[i].n_series; s++) {
			const cyc_plot_series *v = &panels[i].series[s];
			CYC_CHECK(v->n >= 0 && (v->n == 0 || (v->x && v->y)), CYC_E_USAGE,
			          "panel %d, series %d has %d points but no x or y", (int)i, (int)s, (int)v->n);
		}
	}
done:
	return st;
}

/* Height of a figure; with a canvas (of that height) also draws it. */
static cyc_status draw_figure(cyc__canvas *c, double *height, const cyc_plot *panels, int32_t n_panels)
{
	cyc_status st = CYC_OK;
	layout l[MAX_PANELS];
	double y = 0, left = 0, top[MAX_PANELS];
	memset(l, 0, sizeof l);
	for (int32_t i = 0; i < n_panels; i++) {
		top[i] = y;
		y += lay_out(&l[i], &panels[i], y);
		/* One left margin for all panels, so that the axes stand below each other. */
		left = fmax(left, left_margin(&l[i], &panels[i]));
	}
	*height = ceil(y);
	if (c) {
		cyc__canvas_fill_rect(c, 0, 0, c->width, c->height, k_white);
		for (int32_t i = 0; i < n_panels; i++) {
			l[i].left = left;
			l[i].width = FIGURE_WIDTH - left - 24;
			CYC_TRY(draw_panel(c, &l[i], &panels[i], top[i]));
		}
	}
done:
	return st;
}

/* ---------------------------------------------------------------- writers */

static cairo_status_t write_chunk(void *buffer, const unsigned char *data, unsigned n)
{
	cyc__buffer *b = buffer;
	cyc__buffer_add(b, data, n);
	return b->status == CYC_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static cyc_status check_cairo(cairo_status_t s)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(s != CAIRO_STATUS_NO_MEMORY, CYC_E_NOMEM, "not enough memory for a picture");
	CYC_CHECK(s == CAIRO_STATUS_SUCCESS, CYC_E_INTERNAL, "the drawing library failed: %s",
	          cairo_status_to_string(s));
done:
	return st;
}

cyc_status cyc_plot_svg(char **out, const cyc_plot *panels, int32_t n_panels)
{
	cyc_status st = CYC_OK;
	cyc__canvas c = { 0 };
	double height = 0;
	char title[256];
	*out = NULL;
	CYC_TRY(check_panels(panels, n_panels));
	CYC_TRY(draw_figure(NULL, &height, panels, n_panels));
	const cyc_plot *p = &panels[0];
	if (has_text(p->title) || !has_text(p->x_label) || !has_text(p->y_label))
		snprintf(title, sizeof title, "%s", has_text(p->title) ? p->title : "plot");
	else snprintf(title, sizeof title, "%s against %s", p->y_label, p->x_label);
	cyc__canvas_svg_begin(&c, FIGURE_WIDTH, height, title);
	CYC_TRY(draw_figure(&c, &height, panels, n_panels));
	cyc__canvas_svg_end(&c);
	CYC_TRY(c.svg.status);
	*out = c.svg.data;
	c.svg.data = NULL;
done:
	cyc_free(c.svg.data);
	return st;
}

static cyc_status plot_png(cyc__buffer *out, const cyc_plot *panels, int32_t n_panels)
{
	cyc_status st = CYC_OK;
	cyc__canvas c = { .width = FIGURE_WIDTH };
	cairo_surface_t *surface = NULL;
	CYC_TRY(check_panels(panels, n_panels));
	CYC_TRY(draw_figure(NULL, &c.height, panels, n_panels));
	surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(k_png_scale * c.width),
	                                     (int)(k_png_scale * c.height));
	CYC_TRY(check_cairo(cairo_surface_status(surface)));
	c.cr = cairo_create(surface);
	cairo_scale(c.cr, k_png_scale, k_png_scale);
	CYC_TRY(draw_figure(&c, &c.height, panels, n_panels));
	CYC_TRY(c.svg.status);
	CYC_TRY(check_cairo(cairo_status(c.cr)));
	cairo_status_t s = cairo_surface_write_to_png_stream(surface, write_chunk, out);
	CYC_TRY(out->status);
	CYC_TRY(check_cairo(s));
done:
	if (c.cr) cairo_destroy(c.cr);
	if (surface) cairo_surface_destroy(surface);
	return st;
}

static cyc_status plot_pdf(cyc__buffer *out, const cyc_plot *const *figures, const int32_t *n_panels,
                           int32_t n_figures)
{
	cyc_status st = CYC_OK;
	cyc__canvas c = { .width = FIGURE_WIDTH };
	cairo_surface_t *surface = NULL;
	CYC_CHECK(figures && n_panels && n_figures > 0, CYC_E_USAGE, "a PDF file needs at least one figure");
	for (int32_t i = 0; i < n_figures; i++) CYC_TRY(check_panels(figures[i], n_panels[i]));
	surface = cairo_pdf_surface_create_for_stream(write_chunk, out, FIGURE_WIDTH, PLOT_HEIGHT);
	CYC_TRY(check_cairo(cairo_surface_status(surface)));
	cairo_pdf_surface_set_metadata(surface, CAIRO_PDF_METADATA_CREATOR, "cyclotomo");
	/* A fixed date: same input, same bytes. */
	cairo_pdf_surface_set_metadata(surface, CAIRO_PDF_METADATA_CREATE_DATE, "2000-01-01T00:00:00Z");
	c.cr = cairo_create(surface);
	for (int32_t i = 0; i < n_figures; i++) {
		CYC_TRY(draw_figure(NULL, &c.height, figures[i], n_panels[i]));
		cairo_pdf_surface_set_size(surface, c.width, c.height);
		CYC_TRY(draw_figure(&c, &c.height, figures[i], n_panels[i]));
		CYC_TRY(c.svg.status);
		cairo_show_page(c.cr);
		CYC_TRY(out->status);
	}
	CYC_TRY(check_cairo(cairo_status(c.cr)));
	cairo_surface_finish(surface);
	CYC_TRY(out->status);
	CYC_TRY(check_cairo(cairo_surface_status(surface)));
done:
	if (c.cr) cairo_destroy(c.cr);
	/* Destroying an unfinished surface still writes into `out`: the caller frees it after this. */
	if (surface) cairo_surface_destroy(surface);
	return st;
}

cyc_status cyc_plot_write_pdf(const char *path, const cyc_plot *const *figures, const int32_t *n_panels,
                              int32_t n_figures)
{
	cyc_status st = CYC_OK;
	cyc__buffer b = { 0 };
	CYC_TRY(plot_pdf(&b, figures, n_panels, n_figures));
	CYC_TRY(cyc_write_file(path, b.data, b.n));
done:
	cyc_free(b.data);
	return st;
}

cyc_status cyc_plot_write(const char *path, const cyc_plot *panels, int32_t n_panels)
{
	cyc_status st = CYC_OK;
	cyc__buffer b = { 0 };
	char *svg = NULL;
	const char *suffix = strrchr(path, '.');
	if (suffix && strcmp(suffix, ".svg") == 0) {
		CYC_TRY(cyc_plot_svg(&svg, panels, n_panels));
		CYC_TRY(cyc_write_file(path, svg, strlen(svg)));
	} else if (suffix && strcmp(suffix, ".png") == 0) {
		CYC_TRY(plot_png(&b, panels, n_panels));
		CYC_TRY(cyc_write_file(path, b.data, b.n));
	} else if (suffix && strcmp(suffix, ".pdf") == 0) {
		CYC_TRY(cyc_plot_write_pdf(path, &panels, &n_panels, 1));
	} else {
		CYC_RAISE(CYC_E_USAGE, "a figure is written as .svg, .png or .pdf, not as '%s'", path);
	}
done:
	cyc_free(svg);
	cyc_free(b.data);
	return st;
}

typedef struct {
	const char *pdf_path;
	const char *const *paths;
	const cyc_plot *const *figures;
	const int32_t *n_panels;
	int32_t n_figures;
} book;

/* The PDF takes longest, and is begun first. */
static cyc_status book_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const book *b = arg;
	if (i == 0) return cyc_plot_write_pdf(b->pdf_path, b->figures, b->n_panels, b->n_figures);
	return cyc_plot_write(b->paths[i - 1], b->figures[i - 1], b->n_panels[i - 1]);
}

cyc_status cyc_plot_write_book(const char *pdf_path, const char *const *paths, const cyc_plot *const *figures,
                               const int32_t *n_panels, int32_t n_figures, int n_threads)
{
	book b = { pdf_path, paths, figures, n_panels, n_figures };
	return cyc_parallel_for((int64_t)n_figures + 1, n_threads, book_task, &b);
}

void cyc_histogram_outline(double *x, double *y, const double *values, int64_t n, double low, double high)
{
	double width = (high - low) / CYC_HISTOGRAM_BINS;
	for (int i = 0; i < CYC_HISTOGRAM_POINTS; i++) {
		x[i] = low + (i / 2) * width;
		y[i] = 0;
	}
	for (int64_t i = 0; i < n; i++) {
		if (!(values[i] >= low && values[i] <= high)) continue;
		int bin = (int)((values[i] - low) / width);
		bin = bin < CYC_HISTOGRAM_BINS ? bin : CYC_HISTOGRAM_BINS - 1;
		y[2 * bin + 1] += 1;
		y[2 * bin + 2] += 1;
	}
}

cyc_plot cyc_fsc_plot(const char *title, const cyc_plot_series *series, int32_t n_series)
{
	return (cyc_plot){ .title = title,
		               .x_label = "spatial frequency (1/Å)",
		               .y_label = "FSC",
		               .y_min = -0.1,
		               .y_max = 1.05,
		               .x_is_inverse_A = true,
		               .h_line = 0.143,
		               .h_line_label = "0.143",
		               .n_series = n_series,
		               .series = series };
}

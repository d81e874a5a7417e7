/* Surface of a map as a picture: parallel rays, lit by the gradient of the density. Every pixel is a function
 * of the map and the view alone. */
#include "report/surface.h"

#include "report/canvas.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 2, N_REFINE = 4 };
/* A pixel is sampled more finely where it differs from a neighbour by more: in the linear light of a colour,
 * and in depth, in pixels. */
static const double LIGHT_STEP = 0.08, DEPTH_STEP = 3;
/* Of a step from one sample of a ray to the next, in points of the field. */
static const double STEP = 0.7;

typedef struct {
	double x, y, z;
} vec;
static vec add_scaled(vec a, double f, vec b) { return (vec){ a.x + f * b.x, a.y + f * b.y, a.z + f * b.z }; }
static double dot(vec a, vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static vec normalised(vec a)
{
	double n = sqrt(dot(a, a));
	return n > 0 ? (vec){ a.x / n, a.y / n, a.z / n } : (vec){ 0, 0, 1 };
}

typedef struct {
	const cyc__field *f;
	const cyc_surface *s;
	vec right, up, towards, centre; /* centre: of the map, in points of the field */
	double scale;                   /* points of the field per pixel */
	int32_t edge_px;
	struct sample *middle; /* edge_px^2: the rays through the pixels' middles */
	uint32_t *argb;
} drawing;

/* What a ray met; is_hit is 0 or 1. */
typedef struct sample {
	float rgb[3], depth_px, is_hit;
} sample;

/* ---------------------------------------------------------------- values */

/* Trilinear; outside of the grid the value at its rim. */
static double value_at(const float *v, const int32_t n[3], double x, double y, double z)
{
	double p[3] = { x, y, z }, w[3];
	size_t i[3], step[3] = { 1, (size_t)n[0], (size_t)n[0] * (size_t)n[1] };
	for (int k = 0; k < 3; k++) {
		double last = n[k] - 1, at = p[k] > 0 ? p[k] < last ? p[k] : last : 0;
		size_t cell = (size_t)at;
		if (cell + 1 >= (size_t)n[k] && cell > 0) cell--;
		i[k] = cell;
		w[k] = at - (double)cell;
		if (n[k] == 1) step[k] = 0;
	}
	const float *c = v + i[2] * step[2] + i[1] * step[1] + i[0] * step[0];
	double plane[2];
	for (int k = 0; k < 2; k++, c += step[2]) {
		double low = (double)c[0] + w[0] * ((double)c[step[0]] - (double)c[0]);
		const float *d = c + step[1];
		double high = (double)d[0] + w[0] * ((double)d[step[0]] - (double)d[0]);
		plane[k] = low + w[1] * (high - low);
	}
	return plane[0] + w[2] * (plane[1] - plane[0]);
}

/* The same, without the care for the rim where there is no need of it: rays spend most of their time here. */
static double density(const cyc__field *f, vec p)
{
	if (!(p.x >= 0 && p.y >= 0 && p.z >= 0 && p.x < f->n[0] - 1 && p.y < f->n[1] - 1 && p.z < f->n[2] - 1))
		return value_at(f->value, f->n, p.x, p.y, p.z);
	int32_t x = (int32_t)p.x, y = (int32_t)p.y, z = (int32_t)p.z;
	size_t nx = (size_t)f->n[0], plane = nx * (size_t)f->n[1];
	const float *c = f->value + (size_t)z * plane + (size_t)y * nx + (size_t)x, *d = c + plane;
	float wx = (float)(p.x - x), wy = (float)(p.y - y), wz = (float)(p.z - z);
	float a = c[0] + wx * (c[1] - c[0]), b = c[nx] + wx * (c[nx + 1] - c[nx]);
	float e = d[0] + wx * (d[1] - d[0]), g = d[nx] + wx * (d[nx + 1] - d[nx]);
	float near = a + wy * (b - a), far = e + wy * (g - e);
	return (double)(near + wz * (far - near));
}

/* Out of the particle; over two points of the field, but not less than a voxel. */
static vec normal_at(const cyc__field *f, vec p)
{
	double h = fmax(1, 0.6 * f->fineness);
	return normalised(
		(vec){ density(f, (vec){ p.x - h, p.y, p.z }) - density(f, (vec){ p.x + h, p.y, p.z }),
	           density(f, (vec){ p.x, p.y - h, p.z }) - density(f, (vec){ p.x, p.y + h, p.z }),
	           density(f, (vec){ p.x, p.y, p.z - h }) - density(f, (vec){ p.x, p.y, p.z + h }) });
}

/* ---------------------------------------------------------------- rays */

/* The part of the ray p + t d inside a box; false if none. */
static bool clip_ray(double *t0, double *t1, vec p, vec d, const double low[3], const double high[3])
{
	const double o[3] = { p.x, p.y, p.z }, v[3] = { d.x, d.y, d.z };
	for (int k = 0; k < 3; k++) {
		if (fabs(v[k]) < 1e-12) {
			if (o[k] < low[k] || o[k] > high[k]) return false;
			continue;
		}
		double a = (low[k] - o[k]) / v[k], b = (high[k] - o[k]) / v[k];
		*t0 = fmax(*t0, fmin(a, b));
		*t1 = fmin(*t1, fmax(a, b));
	}
	return *t0 <= *t1;
}

/* Where the ray leaves the block that it is in at t (never before t); whether that block reaches the level.
 */
static bool block_at(double *leave, const cyc__field *f, vec start, vec d, double t)
{
	vec p = add_scaled(start, t, d);
	const double v[3] = { p.x, p.y, p.z };
	double low[3], high[3], t0 = 0;
	size_t i[3];
	for (int k = 0; k < 3; k++) {
		int32_t b = v[k] > 0 ? (int32_t)(v[k] / CYC__SURFACE_BLOCK) : 0;
		if (b >= f->n_blocks[k]) b = f->n_blocks[k] - 1;
		i[k] = (size_t)b;
		low[k] = b * CYC__SURFACE_BLOCK;
		high[k] = low[k] + CYC__SURFACE_BLOCK;
	}
	*leave = HUGE_VAL;
	if (!clip_ray(&t0, leave, start, d, low, high) || *leave < t) *leave = t;
	return f->highest[(i[2] * (size_t)f->n_blocks[1] + i[1]) * (size_t)f->n_blocks[0] + i[0]] >= f->level;
}

/* Between a place below the level and one, t, that is not: bracketed secant. */
static double crossing(const cyc__field *f, vec start, vec d, double before, double value_before, double t,
                       double value)
{
	double level = (double)f->level;
	for (int i = 0; i < N_REFINE; i++) {
		double share = (level - value_before) / (value - value_before);
		double middle = before + fmin(0.95, fmax(0.05, share)) * (t - before);
		double v = density(f, add_scaled(start, middle, d));
		if (v < level) {
			before = middle;
			value_before = v;
		} else {
			t = middle;
			value = v;
		}
	}
	return t;
}

/* First point where the ray enters the region above the level; false if there is none. */
static bool hit(double *found, const cyc__field *f, vec start, vec d)
{
	double t = 0, end = HUGE_VAL, before = 0, value_before = 0, level = (double)f->level, leave;
	const double low[3] = { 0, 0, 0 }, high[3] = { f->n[0] - 1.0, f->n[1] - 1.0, f->n[2] - 1.0 };
	bool has_before = false;
	if (!clip_ray(&t, &end, start, d, low, high)) return false;
	while (t <= end) {
		if (!block_at(&leave, f, start, d, t)) {
			t = leave + 1e-6;
			has_before = false;
			continue;
		}
		do {
			double value = density(f, add_scaled(start, t, d));
			if (value >= level) {
				*found = has_before ? crossing(f, start, d, before, value_before, t, value) : t;
				return true;
			}
			before = t;
			value_before = value;
			has_before = true;
			t += STEP;
		} while (t <= leave && t <= end);
	}
	return false;
}

/* ---------------------------------------------------------------- light and colour */

/* Tol's "sunset": blue to red over pale yellow, distinguishable for colour-blind readers. */
static const double COLOURS[11][3] = {
	{ 54, 75, 154 },   { 74, 123, 183 },  { 110, 166, 205 }, { 152, 202, 225 },
	{ 194, 228, 239 }, { 234, 236, 204 }, { 254, 218, 139 }, { 253, 179, 102 },
	{ 246, 126, 75 },  { 221, 61, 45 },   { 165, 0, 38 },
};
static const double PLAIN[3] = { 158, 178, 200 };

void cyc_surface_colour(double rgb[3], double share)
{
	double at = 10 * fmin(1, fmax(0, isfinite(share) ? share : 0));
	int i = at < 10 ? (int)at : 9;
	for (int k = 0; k < 3; k++)
		rgb[k] = (COLOURS[i][k] + (at - i) * (COLOURS[i + 1][k] - COLOURS[i][k])) / 255;
}

/* Colour of the surface before light falls on it. */
static void paint(double rgb[3], const drawing *g, vec p)
{
	const cyc_surface *s = g->s;
	for (int k = 0; k < 3; k++) rgb[k] = PLAIN[k] / 255;
	if (!s->colour_by) return;
	const int32_t n[3] = { s->colour_by->nx, s->colour_by->ny, s->colour_by->nz };
	double fine = g->f->fineness;
	double v = value_at(s->colour_by->data, n, p.x / fine + g->f->origin[0], p.y / fine + g->f->origin[1],
	                    p.z / fine + g->f->origin[2]);
	if (v > 0) cyc_surface_colour(rgb, (v - s->colour_low) / (s->colour_high - s->colour_low));
}

/* What a place sees of its surroundings: 1 on a plane or a ridge, less in cavities. */
static double openness(const cyc__field *f, vec p, vec normal)
{
	vec q = add_scaled(p, f->reach, normal);
	double inside = value_at(f->shade, f->n_shade, q.x / 2, q.y / 2, q.z / 2);
	return fmax(0, 1 - 2.2 * fmax(0, inside - 0.06));
}

static void light(double rgb[3], const drawing *g, vec p, vec normal, double depth)
{
	const vec n = { dot(normal, g->right), dot(normal, g->up), dot(normal, g->towards) };
	const vec key = normalised((vec){ -0.45, 0.62, 0.78 }), fill = normalised((vec){ 0.8, -0.1, 0.55 });
	const vec half = normalised((vec){ key.x, key.y, key.z + 1 });
	double open = openness(g->f, p, normal), facing = fmax(0, n.z);
	double diffuse = 0.78 * fmax(0, dot(n, key)) + 0.16 * fmax(0, dot(n, fill)) + 0.24 * (0.7 + 0.3 * n.y);
	double shine = 0.10 * pow(fmax(0, dot(n, half)), 28) * open;
	double rim = 1 - 0.22 * (1 - facing) * (1 - facing);
	double bright = diffuse * (0.35 + 0.65 * open) * rim * (1 - 0.22 * depth);
	for (int k = 0; k < 3; k++) rgb[k] = pow(rgb[k], 2.2) * bright * 1.22 + shine;
}

/* The ray through a place of the picture, in pixels from its top left corner. */
static sample trace(const drawing *g, double x, double y)
{
	const cyc__field *f = g->f;
	double u = (x - 0.5 * g->edge_px) * g->scale, v = (0.5 * g->edge_px - y) * g->scale;
	double far = f->n[0] + f->n[1] + f->n[2] + fabs(g->centre.x) + fabs(g->centre.y) + fabs(g->centre.z), t;
	vec start = add_scaled(add_scaled(add_scaled(g->centre, u, g->right), v, g->up), far, g->towards);
	vec d = { -g->towards.x, -g->towards.y, -g->towards.z };
	if (!hit(&t, f, start, d)) return (sample){ 0 };
	vec p = add_scaled(start, t, d);
	double rgb[3], half = 0.5 * g->scale * g->edge_px;
	sample s = { .depth_px = (float)(t / g->scale), .is_hit = 1 };
	paint(rgb, g, p);
	/* 0 at the near side of the picture's cube, 1 at the far one. */
	light(rgb, g, p, normal_at(f, p), fmin(1, fmax(0, 0.5 * (t - far + half) / half)));
	for (int k = 0; k < 3; k++) s.rgb[k] = (float)fmin(1, rgb[k]);
	return s;
}

static cyc_status middle_task(void *arg, int64_t row, int i_thread)
{
	const drawing *g = arg;
	(void)i_thread;
	for (int32_t x = 0; x < g->edge_px; x++)
		g->middle[(size_t)row * (size_t)g->edge_px + (size_t)x] = trace(g, x + 0.5, (double)row + 0.5);
	return CYC_OK;
}

static bool differs(const sample *a, const sample *b)
{
	bool yes = a->is_hit != b->is_hit || fabs((double)a->depth_px - (double)b->depth_px) > DEPTH_STEP;
	for (int k = 0; k < 3; k++) yes = yes || fabs((double)a->rgb[k] - (double)b->rgb[k]) > LIGHT_STEP;
	return yes;
}

/* Whether one ray does not stand for the pixel. */
static bool is_uneven(const drawing *g, int32_t x, int32_t y)
{
	int32_t n = g->edge_px;
	const sample *s = &g->middle[(size_t)y * (size_t)n + (size_t)x];
	return (x > 0 && differs(s, s - 1)) || (x < n - 1 && differs(s, s + 1)) || (y > 0 && differs(s, s - n)) ||
	       (y < n - 1 && differs(s, s + n));
}

static cyc_status row_task(void *arg, int64_t row, int i_thread)
{
	const drawing *g = arg;
	int32_t n = g->edge_px, y = (int32_t)row;
	(void)i_thread;
	for (int32_t x = 0; x < n; x++) {
		sample sum = g->middle[(size_t)y * (size_t)n + (size_t)x];
		int n_samples = 1;
		if (is_uneven(g, x, y)) {
			sum = (sample){ 0 };
			n_samples = SAMPLES * SAMPLES;
			for (int i = 0; i < n_samples; i++) {
				sample s = trace(g, x + (i % SAMPLES + 0.5) / SAMPLES, y + (i / SAMPLES + 0.5) / SAMPLES);
				for (int k = 0; k < 3; k++) sum.rgb[k] += s.rgb[k];
				sum.is_hit += s.is_hit;
			}
		}
		double hits = (double)sum.is_hit, alpha = hits / n_samples;
		uint32_t word = (uint32_t)lround(255 * alpha);
		for (int k = 0; k < 3; k++) {
			double c = hits > 0 ? pow((double)sum.rgb[k] / hits, 1 / 2.2) * alpha : 0;
			word = word << 8 | (uint32_t)lround(255 * fmin(alpha, c));
		}
		g->argb[(size_t)y * (size_t)n + (size_t)x] = word;
	}
	return CYC_OK;
}

/* ---------------------------------------------------------------- the picture */

cyc_status cyc__surface_draw(uint32_t *argb, const cyc__field *f, const cyc_surface *s, int32_t edge_px,
                             int n_threads)
{
	cyc_status st = CYC_OK;
	double radius_px = s->radius_px > 0 ? s->radius_px : 0.5 * s->map->nx;
	drawing g = { .f = f, .s = s, .edge_px = edge_px, .argb = argb };
	g.right = (vec){ s->view[0][0], s->view[0][1], s->view[0][2] };
	g.up = (vec){ s->view[1][0], s->view[1][1], s->view[1][2] };
	g.towards = (vec){ s->view[2][0], s->view[2][1], s->view[2][2] };
	g.scale = 2 * radius_px * f->fineness / edge_px;
	double c = s->map->nx / 2;
	g.centre = (vec){ (c - f->origin[0]) * f->fineness, (c - f->origin[1]) * f->fineness,
		              (c - f->origin[2]) * f->fineness };
	memset(argb, 0, (size_t)edge_px * (size_t)edge_px * sizeof *argb);
	if (f->is_empty) goto done;
	CYC_TRY(cyc_alloc(&g.middle, (size_t)edge_px * (size_t)edge_px, sizeof *g.middle));
	CYC_TRY(cyc_parallel_for(edge_px, n_threads, middle_task, &g));
	CYC_TRY(cyc_parallel_for(edge_px, n_threads, row_task, &g));
done:
	cyc_free(g.middle);
	return st;
}

static cyc_status to_png(char **out, size_t *n, uint32_t *argb, int32_t edge_px)
{
	cyc_status st = CYC_OK;
	cyc__buffer b = { 0 };
	cyc__canvas c = { 0 };
	cairo_surface_t *image = cairo_image_surface_create_for_data((unsigned char *)argb, CAIRO_FORMAT_ARGB32,
	                                                             edge_px, edge_px, 4 * edge_px);
	c.cr = cairo_create(image);
	CYC_TRY(cyc__canvas_png(&b, &c));
	*out = b.data;
	*n = b.n;
	b.data = NULL;
done:
	cairo_destroy(c.cr);
	cairo_surface_destroy(image);
	cyc_free(b.data);
	return st;
}

static cyc_status check(const cyc_surface *s, int32_t edge_px)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(cyc_volume_is_cubic(s->map), CYC_E_SHAPE,
	          "surfaces are drawn of cubic maps, not of %d x %d x %d", (int)s->map->nx, (int)s->map->ny,
	          (int)s->map->nz);
	CYC_CHECK(edge_px >= 16 && edge_px <= 4000, CYC_E_USAGE, "surfaces are drawn 16 to 4000 px wide, not %d",
	          (int)edge_px);
	CYC_CHECK(s->level > 0 && isfinite(s->level), CYC_E_USAGE,
	          "the level of a surface must be positive, got %g", s->level);
	if (!s->colour_by) goto done;
	CYC_CHECK(s->colour_by->nx == s->map->nx && cyc_volume_is_cubic(s->colour_by), CYC_E_SHAPE,
	          "the values to colour by have %d voxels along x, the map %d", (int)s->colour_by->nx,
	          (int)s->map->nx);
	CYC_CHECK(s->colour_high > s->colour_low, CYC_E_USAGE, "colours from %g to %g", s->colour_low,
	          s->colour_high);
done:
	return st;
}

cyc_status cyc_surface_pngs(char **out, size_t *n, const cyc_surface *s, const double (*views)[3][3],
                            int32_t n_views, int32_t edge_px, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc__field f = { 0 };
	uint32_t *argb = NULL;
	cyc_surface one = *s;
	for (int32_t i = 0; i < n_views; i++) out[i] = NULL;
	CYC_TRY(check(s, edge_px));
	CYC_TRY(cyc_alloc(&argb, (size_t)edge_px * (size_t)edge_px, sizeof *argb));
	CYC_TRY(cyc__field_create(&f, s->map, s->level, edge_px));
	for (int32_t i = 0; i < n_views; i++) {
		memcpy(one.view, views[i], sizeof one.view);
		CYC_TRY(cyc__surface_draw(argb, &f, &one, edge_px, n_threads));
		CYC_TRY(to_png(&out[i], &n[i], argb, edge_px));
	}
done:
	for (int32_t i = 0; st != CYC_OK && i < n_views; i++) {
		cyc_free(out[i]);
		out[i] = NULL;
	}
	cyc__field_deinit(&f);
	cyc_free(argb);
	return st;
}

/* Central slices of a map as a picture. */
#include "cyclotomo/report.h"
#include "report/canvas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 6, N_SLICES = 3 };

/* slices[s] is n x n with its second axis upwards, ready for drawing from the top. */
static void take_slices(float *slices, const cyc_volume *map)
{
	int32_t n = map->nx, c = n / 2;
	size_t count = (size_t)n * (size_t)n;
	for (int32_t row = 0; row < n; row++)
		for (int32_t x = 0; x < n; x++) {
			size_t v = (size_t)(n - 1 - row), to = (size_t)row * (size_t)n + (size_t)x, nn = (size_t)n,
				   cc = (size_t)c;
			slices[to] = map->data[(cc * nn + v) * nn + (size_t)x];
			slices[count + to] = map->data[(v * nn + cc) * nn + (size_t)x];
			slices[2 * count + to] = map->data[(v * nn + (size_t)x) * nn + cc];
		}
}

static int compare_floats(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static cyc_status grey_range(float *low, float *high, const float *values, size_t n)
{
	cyc_status st = CYC_OK;
	float *sorted = NULL;
	CYC_TRY(cyc_alloc(&sorted, n, sizeof *sorted));
	memcpy(sorted, values, n * sizeof *sorted);
	qsort(sorted, n, sizeof *sorted, compare_floats);
	*low = sorted[(size_t)(0.01 * (double)(n - 1))];
	*high = sorted[(size_t)(0.998 * (double)(n - 1))];
	/* Masked maps may be constant almost everywhere. */
	if (!(*high > *low)) {
		*low = sorted[0];
		*high = sorted[n - 1];
	}
done:
	cyc_free(sorted);
	return st;
}

static void draw_slice(cairo_t *cr, const unsigned char *pixels, int32_t n, int stride, double x, double edge)
{
	cairo_surface_t *image = cairo_image_surface_create_for_data((unsigned char *)(uintptr_t)pixels,
	                                                             CAIRO_FORMAT_RGB24, n, n, stride);
	cairo_save(cr);
	cairo_translate(cr, x, 0);
	cairo_scale(cr, edge / n, edge / n);
	cairo_set_source_surface(cr, image, 0, 0);
	cairo_pattern_set_filter(cairo_get_source(cr), CAIRO_FILTER_BILINEAR);
	cairo_pattern_set_extend(cairo_get_source(cr), CAIRO_EXTEND_PAD);
	cairo_rectangle(cr, 0, 0, n, n);
	cairo_fill(cr);
	cairo_restore(cr);
	cairo_surface_destroy(image);
}

/* A bar of 1, 2 or 5 times a power of ten Å, at most a third of the slice. Pages show large slices at two
 * thirds of their size. */
static void draw_scale_bar(cyc__canvas *c, const cyc_volume *map, double edge)
{
	if (!(map->pixel_size_A > 0)) return;
	char label[32];
	double third = map->nx * map->pixel_size_A / 3, power = pow(10, floor(log10(third))), m = third / power;
	double bar_A = power * (m >= 5 ? 5 : m >= 2 ? 2 : 1), bar = bar_A / (map->nx * map->pixel_size_A) * edge;
	snprintf(label, sizeof label, "%g \xC3\x85", bar_A);
	cyc__colour white = { 1, 1, 1 };
	cyc__canvas_fill_rect(c, 8, edge - 11, bar, 3, white);
	cyc__canvas_text(c, 8, edge - 17, label,
	                 (cyc__text_style){ fmax(11, edge / 15), CYC__LEFT, false, false, white });
}

static cyc_status draw_png(cyc__buffer *out, const unsigned char *pixels, int stride, const cyc_volume *map,
                           int32_t edge)
{
	cyc_status st = CYC_OK;
	cyc__canvas c = { .width = N_SLICES * edge + (N_SLICES - 1) * GAP, .height = edge };
	cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)c.width, (int)c.height);
	c.cr = cairo_create(surface);
	cyc__canvas_fill_rect(&c, 0, 0, c.width, c.height, (cyc__colour){ 0, 0, 0 });
	for (int s = 0; s < N_SLICES; s++)
		draw_slice(c.cr, pixels + (size_t)s * (size_t)stride * (size_t)map->nx, map->nx, stride,
		           s * (edge + GAP), edge);
	draw_scale_bar(&c, map, edge);
	CYC_TRY(cyc__canvas_png(out, &c));
done:
	cairo_destroy(c.cr);
	cairo_surface_destroy(surface);
	return st;
}

cyc_status cyc_slices_png(char **out, size_t *n, const cyc_volume *map, int32_t edge_px)
{
	cyc_status st = CYC_OK;
	cyc__buffer b = { 0 };
	float *slices = NULL, low, high;
	unsigned char *pixels = NULL;
	*out = NULL;
	CYC_CHECK(cyc_volume_is_cubic(map), CYC_E_SHAPE,
	          "slices are drawn of cubic maps, not of %d x %d x %d voxels", (int)map->nx, (int)map->ny,
	          (int)map->nz);
	CYC_CHECK(edge_px >= 32 && edge_px <= 2000, CYC_E_USAGE, "slices are drawn 32 to 2000 px wide, not %d",
	          (int)edge_px);
	size_t edge = (size_t)map->nx, count = N_SLICES * edge * edge;
	int stride = cairo_format_stride_for_width(CAIRO_FORMAT_RGB24, map->nx);
	CYC_TRY(cyc_alloc(&slices, count, sizeof *slices));
	CYC_TRY(cyc_alloc(&pixels, N_SLICES * edge * (size_t)stride, 1));
	take_slices(slices, map);
	CYC_TRY(grey_range(&low, &high, slices, count));
	for (size_t row = 0; row < N_SLICES * edge; row++)
		for (size_t x = 0; x < edge; x++) {
			float v = high > low ? (slices[row * edge + x] - low) / (high - low) : 0;
			uint32_t g = (uint32_t)lroundf(255 * fminf(1, fmaxf(0, v))), rgb = g << 16 | g << 8 | g;
			memcpy(pixels + row * (size_t)stride + 4 * x, &rgb, 4);
		}
	CYC_TRY(draw_png(&b, pixels, stride, map, edge_px));
	*out = b.data;
	*n = b.n;
	b.data = NULL;
done:
	cyc_free(b.data);
	cyc_free(slices);
	cyc_free(pixels);
	return st;
}

cyc_status cyc_slices_data_uri(char **out, const cyc_volume *map, int32_t edge_px)
{
	cyc_status st = CYC_OK;
	char *png = NULL;
	size_t n = 0;
	*out = NULL;
	CYC_TRY(cyc_slices_png(&png, &n, map, edge_px));
	CYC_TRY(cyc_png_data_uri(out, png, n));
done:
	cyc_free(png);
	return st;
}

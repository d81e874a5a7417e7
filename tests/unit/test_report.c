/* Plots: what is in the SVG, same bytes for the same input, gaps, empty and constant data, refused input. */
#include "cyclotomo/report.h"

#include <cairo.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NO_VALUE ((double)NAN)

enum { N = 41 };
static double g_x[N], g_fsc[N], g_fsc2[N], g_error[N];
static char g_dir[] = "/tmp/cyc_report_XXXXXX";

static int setup(void **state)
{
	(void)state;
	for (int i = 0; i < N; i++) {
		g_x[i] = 0.005 * i;
		g_fsc[i] = 1 / (1 + exp((g_x[i] - 0.10) / 0.012));
		g_fsc2[i] = 1 / (1 + exp((g_x[i] - 0.14) / 0.012)) + 0.02 * sin(9.0 * i);
		g_error[i] = 0.03;
	}
	return mkdtemp(g_dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	char command[64];
	snprintf(command, sizeof command, "rm -rf %s", g_dir);
	return system(command);
}

static int count(const char *text, const char *what)
{
	int n = 0;
	for (const char *p = text; (p = strstr(p, what)); p++) n++;
	return n;
}

static cyc_plot make_plot(const cyc_plot_series *series, int32_t n)
{
	return (cyc_plot){ .title = "FSC",
		               .x_label = "resolution",
		               .y_label = "FSC",
		               .y_min = 0,
		               .y_max = 1,
		               .x_is_inverse_A = true,
		               .h_line = 0.143,
		               .h_line_label = "0.143",
		               .n_series = n,
		               .series = series };
}

static void svg_has_what_was_asked(void **state)
{
	(void)state;
	char *svg = NULL;
	cyc_plot_series s[2] = { { .label = "start & <1>", .n = N, .x = g_x, .y = g_fsc, .colour = -1 },
		                     { .label = "refined",
		                       .n = N,
		                       .x = g_x,
		                       .y = g_fsc2,
		                       .y_error = g_error,
		                       .style = CYC_PLOT_LINE_POINTS,
		                       .is_dashed = true,
		                       .colour = -1 } };
	cyc_plot p = make_plot(s, 2);
	p.y_min = -0.1;
	p.y_max = 1.1;
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	assert_true(strncmp(svg, "<svg ", 5) == 0);
	assert_string_equal(svg + strlen(svg) - 7, "</svg>\n");
	assert_int_equal(count(svg, "start &amp; &lt;1&gt;"), 1);
	assert_non_null(strstr(svg, ">25 \xC3\x85<"));
	assert_non_null(strstr(svg, ">8.33 \xC3\x85<"));
	assert_non_null(strstr(svg, ">0.143<"));
	assert_int_equal(count(svg, "<circle"), N + 1);
	assert_int_equal(count(svg, "<text"), count(svg, "</text>"));
	/* Figures stand next to each other in one page: nothing may refer to an id. */
	assert_null(strstr(svg, " id="));
	assert_null(strstr(svg, "url("));
	assert_null(strstr(svg, "nan"));
	assert_null(strstr(svg, "inf"));
	cyc_free(svg);
}

static void curve_lies_where_it_should(void **state)
{
	(void)state;
	char *svg = NULL;
	double x[3] = { 0, 1, 2 }, y[3] = { 0, 2, 1 }, px[3], py[3];
	cyc_plot_series s = { .n = 3, .x = x, .y = y };
	cyc_plot p = {
		.h_line = NO_VALUE, .x_min = 0, .x_max = 2, .y_min = 0, .y_max = 2, .n_series = 1, .series = &s
	};
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	const char *path = strstr(svg, "stroke-width=\"1.80\"");
	assert_non_null(path);
	path = strstr(path, " d=\"M") + 5;
	for (int i = 0; i < 3; i++) {
		char *end;
		px[i] = strtod(path, &end);
		py[i] = strtod(end, &end);
		path = end + 1;
	}
	/* Two decimals in the file. */
	assert_true(fabs((px[1] - px[0]) - (px[2] - px[1])) < 0.021);
	assert_true(fabs((py[0] - py[1]) - 230) < 0.011);
	assert_true(fabs((py[0] - py[2]) - 115) < 0.011);
	cyc_free(svg);
}

static void gaps_split_curves_and_clipping_keeps_inside(void **state)
{
	(void)state;
	char *svg = NULL;
	double y[N];
	memcpy(y, g_fsc, sizeof y);
	cyc_plot_series s = { .n = N, .x = g_x, .y = y };
	cyc_plot p = make_plot(&s, 1);
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	int n_whole = count(svg, "stroke-width=\"1.80\"");
	cyc_free(svg);
	y[10] = NO_VALUE;
	y[20] = HUGE_VAL;
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	assert_int_equal(count(svg, "stroke-width=\"1.80\""), n_whole + 2);
	assert_null(strstr(svg, "nan"));
	cyc_free(svg);
	/* An excursion out of the axes and back leaves two runs, cut at the frame. */
	memcpy(y, g_fsc, sizeof y);
	y[5] = 50;
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	assert_int_equal(count(svg, "stroke-width=\"1.80\""), n_whole + 1);
	assert_null(strstr(svg, "L-"));
	cyc_free(svg);
}

static void empty_and_constant_data_are_drawn(void **state)
{
	(void)state;
	char *svg = NULL;
	double same[3] = { 7, 7, 7 }, x[3] = { 1, 2, 3 }, none[3] = { NO_VALUE, NO_VALUE, NO_VALUE };
	cyc_plot_series s = { .label = "a", .n = 3, .x = x, .y = same, .style = CYC_PLOT_LINE_POINTS };
	cyc_plot p = { .h_line = NO_VALUE, .n_series = 1, .series = &s };
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	assert_null(strstr(svg, "no data"));
	assert_int_equal(count(svg, "<circle"), 4);
	cyc_free(svg);
	s.n = 1;
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	assert_int_equal(count(svg, "<circle"), 2);
	cyc_free(svg);
	s = (cyc_plot_series){ .n = 3, .x = x, .y = none };
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	assert_non_null(strstr(svg, "no data"));
	cyc_free(svg);
	s.n = 0;
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	assert_non_null(strstr(svg, "no data"));
	cyc_free(svg);
	p.n_series = 0;
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	cyc_free(svg);
	/* Extremes must give a finite picture too. */
	double huge[3] = { -1e300, 0, 1e300 }, tiny[3] = { 1e-300, 2e-300, 3e-300 };
	s = (cyc_plot_series){ .n = 3, .x = tiny, .y = huge };
	p = (cyc_plot){ .h_line = NO_VALUE, .n_series = 1, .series = &s };
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	assert_null(strstr(svg, "nan"));
	cyc_free(svg);
}

static void bad_text_becomes_question_marks(void **state)
{
	(void)state;
	char *svg = NULL, path[64];
	cyc_plot_series s = { .label = "a\xFF\x01"
		                           "b",
		                  .n = N,
		                  .x = g_x,
		                  .y = g_fsc };
	cyc_plot p = make_plot(&s, 1);
	assert_int_equal(cyc_plot_svg(&svg, &p, 1), CYC_OK);
	assert_non_null(strstr(svg, ">a??b<"));
	cyc_free(svg);
	snprintf(path, sizeof path, "%s/t.pdf", g_dir);
	assert_int_equal(cyc_plot_write(path, &p, 1), CYC_OK);
}

static void same_input_same_bytes(void **state)
{
	(void)state;
	static const char *const suffix[] = { "svg", "png", "pdf" };
	static const char *const magic[] = { "<svg ", "\x89PNG", "%PDF-" };
	cyc_plot_series s = { .label = "a", .n = N, .x = g_x, .y = g_fsc, .y_error = g_error };
	cyc_plot p[2] = { make_plot(&s, 1), make_plot(&s, 1) };
	for (int i = 0; i < 3; i++) {
		char path[64], *data[2] = { NULL, NULL };
		size_t n[2];
		for (int j = 0; j < 2; j++) {
			snprintf(path, sizeof path, "%s/%d.%s", g_dir, j, suffix[i]);
			assert_int_equal(cyc_plot_write(path, p, 2), CYC_OK);
			assert_int_equal(cyc_read_file(&data[j], &n[j], path), CYC_OK);
			/* PDF dates have a resolution of seconds. */
			if (i == 2 && j == 0) sleep(1);
		}
		assert_memory_equal(data[0], magic[i], strlen(magic[i]));
		assert_int_equal(n[0], n[1]);
		assert_memory_equal(data[0], data[1], n[0]);
		cyc_free(data[0]);
		cyc_free(data[1]);
	}
}

/* In a process of its own, which has drawn nothing before but n PDF files. */
static void draw_after(const char *name, int n, const cyc_plot *p)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char path[64];
		bool is_well = true;
		for (int i = 0; i < n; i++) {
			snprintf(path, sizeof path, "%s/before.%s", g_dir, i % 2 ? "png" : "pdf");
			is_well = is_well && cyc_plot_write(path, p, 1) == CYC_OK;
		}
		snprintf(path, sizeof path, "%s/%s.png", g_dir, name);
		_exit(is_well && cyc_plot_write(path, p, 1) == CYC_OK ? 0 : 1);
	}
	int status;
	assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A run that resumes has drawn less before. The first test: children have what this process has drawn. */
static void pictures_do_not_depend_on_earlier_ones(void **state)
{
	(void)state;
	cyc_plot_series s = { .label = "corrected", .n = N, .x = g_x, .y = g_fsc };
	cyc_plot p = make_plot(&s, 1);
	char path[64], *data[2];
	size_t n[2];
	draw_after("alone", 0, &p);
	draw_after("later", 3, &p);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s.png", g_dir, i ? "later" : "alone");
		assert_int_equal(cyc_read_file(&data[i], &n[i], path), CYC_OK);
	}
	assert_int_equal(n[0], n[1]);
	assert_memory_equal(data[0], data[1], n[0]);
	cyc_free(data[0]);
	cyc_free(data[1]);
}

static void pdf_has_a_page_per_figure(void **state)
{
	(void)state;
	char path[64], *data = NULL;
	size_t n;
	cyc_plot_series s = { .label = "a", .n = N, .x = g_x, .y = g_fsc };
	cyc_plot p[3] = { make_plot(&s, 1), make_plot(&s, 1), make_plot(&s, 1) };
	const cyc_plot *figures[2] = { p, p + 1 };
	snprintf(path, sizeof path, "%s/log.pdf", g_dir);
	assert_int_equal(cyc_plot_write_pdf(path, figures, (int32_t[]){ 1, 2 }, 2), CYC_OK);
	assert_int_equal(cyc_read_file(&data, &n, path), CYC_OK);
	int pages = 0;
	for (size_t i = 0; i + 12 < n; i++)
		pages += memcmp(data + i, "/Type /Page", 11) == 0 && data[i + 11] != 's';
	assert_int_equal(pages, 2);
	cyc_free(data);
}

static void bad_input_is_refused(void **state)
{
	(void)state;
	char path[64];
	cyc_plot_series s = { .label = "a", .n = N, .x = g_x, .y = g_fsc };
	cyc_plot p = make_plot(&s, 1);
	snprintf(path, sizeof path, "%s/bad.jpg", g_dir);
	assert_int_equal(cyc_plot_write(path, &p, 1), CYC_E_USAGE);
	assert_non_null(strstr(cyc_error_get()->message, "bad.jpg"));
	assert_false(cyc_path_exists(path));
	assert_int_equal(cyc_plot_write("noending", &p, 1), CYC_E_USAGE);
	snprintf(path, sizeof path, "%s/bad.svg", g_dir);
	assert_int_equal(cyc_plot_write(path, &p, 0), CYC_E_USAGE);
	s.x = NULL;
	assert_int_equal(cyc_plot_write(path, &p, 1), CYC_E_USAGE);
	assert_false(cyc_path_exists(path));
	s.x = g_x;
	assert_int_equal(cyc_plot_write("/proc/nowhere/a.png", &p, 1), CYC_E_IO);
	assert_int_equal(cyc_plot_write_pdf(path, NULL, NULL, 0), CYC_E_USAGE);
}

static void memory_failures_are_reported(void **state)
{
	(void)state;
	static const char *const suffix[] = { "svg", "png", "pdf" };
	cyc_plot_series s = { .label = "a", .n = N, .x = g_x, .y = g_fsc };
	cyc_plot p = make_plot(&s, 1);
	for (int i = 0; i < 3; i++) {
		char path[64];
		snprintf(path, sizeof path, "%s/memory.%s", g_dir, suffix[i]);
		for (int64_t k = 1;; k++) {
			cyc_alloc_fail_at(k);
			cyc_status st = cyc_plot_write(path, &p, 1);
			cyc_alloc_fail_at(0);
			if (st == CYC_OK) break;
			assert_int_equal(st, CYC_E_NOMEM);
			assert_false(cyc_path_exists(path));
			assert_true(k < 1000);
		}
		assert_true(cyc_path_exists(path));
	}
}

/* PNG bytes out of the data URI, as a browser would decode them. */
static size_t decode_base64(unsigned char *out, const char *text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = 0;
	uint32_t bits = 0;
	int n_bits = 0;
	for (; *text && *text != '='; text++) {
		bits = bits << 6 | (uint32_t)(strchr(digits, *text) - digits);
		n_bits += 6;
		if (n_bits >= 8) out[n++] = (unsigned char)(bits >> (n_bits -= 8));
	}
	return n;
}

typedef struct {
	const char *data;
	size_t n, at;
} memory_file;
static cairo_status_t read_chunk(void *file, unsigned char *data, unsigned n)
{
	memory_file *f = file;
	if (f->n - f->at < n) return CAIRO_STATUS_READ_ERROR;
	memcpy(data, f->data + f->at, n);
	f->at += n;
	return CAIRO_STATUS_SUCCESS;
}

static void slices_show_the_map(void **state)
{
	(void)state;
	enum { BOX = 32, EDGE = 64 };
	cyc_volume *v = NULL;
	char *png = NULL, *again = NULL, *uri = NULL;
	size_t n, n_again;
	assert_int_equal(cyc_volume_create(&v, BOX, BOX, BOX, 0), CYC_OK);
	/* A cube of 8 voxels at high x, low y, middle z: right and bottom in xy, right and middle in xz, left and
	 * middle in yz. */
	for (int z = 12; z < 20; z++)
		for (int y = 2; y < 20; y++)
			for (int x = 12; x < 30; x++) v->data[(z * BOX + y) * BOX + x] = 1;
	assert_int_equal(cyc_slices_png(&png, &n, v, EDGE), CYC_OK);
	assert_int_equal(cyc_slices_png(&again, &n_again, v, EDGE), CYC_OK);
	assert_int_equal(n, n_again);
	assert_memory_equal(png, again, n);
	memory_file f = { png, n, 0 };
	cairo_surface_t *s = cairo_image_surface_create_from_png_stream(read_chunk, &f);
	assert_int_equal(cairo_image_surface_get_width(s), 3 * EDGE + 12);
	assert_int_equal(cairo_image_surface_get_height(s), EDGE);
	const unsigned char *pixels = cairo_image_surface_get_data(s);
	int stride = cairo_image_surface_get_stride(s);
	/* Picture px of voxel (a, b) of slice i: 2 px per voxel, b upwards. */
#define GREY(i, a, b) pixels[(EDGE - 1 - 2 * (b)) * stride + 4 * ((i) * (EDGE + 6) + 2 * (a))]
	assert_int_equal(GREY(0, 28, 4), 255);
	assert_int_equal(GREY(0, 28, 28), 0);
	assert_int_equal(GREY(0, 4, 4), 0);
	assert_int_equal(GREY(1, 28, 16), 255);
	assert_int_equal(GREY(1, 28, 24), 0);
	assert_int_equal(GREY(2, 4, 16), 255);
	assert_int_equal(GREY(2, 28, 16), 0);
	cairo_surface_destroy(s);
	assert_int_equal(cyc_slices_data_uri(&uri, v, EDGE), CYC_OK);
	assert_memory_equal(uri, "data:image/png;base64,", 22);
	assert_int_equal(strlen(uri + 22) % 4, 0);
	unsigned char *decoded = malloc(n + 3);
	assert_non_null(decoded);
	assert_int_equal(decode_base64(decoded, uri + 22), n);
	assert_memory_equal(decoded, png, n);
	free(decoded);
	cyc_free(uri);
	cyc_free(png);
	cyc_free(again);
	/* Constant maps are grey pictures, and wrong ones refused. */
	memset(v->data, 0, sizeof(float) * BOX * BOX * BOX);
	v->pixel_size_A = 1.5;
	assert_int_equal(cyc_slices_png(&png, &n, v, EDGE), CYC_OK);
	cyc_free(png);
	assert_int_equal(cyc_slices_png(&png, &n, v, 5), CYC_E_USAGE);
	cyc_volume_destroy(&v);
	assert_int_equal(cyc_volume_create(&v, 8, 8, 4, 1), CYC_OK);
	assert_int_equal(cyc_slices_data_uri(&uri, v, EDGE), CYC_E_SHAPE);
	cyc_volume_destroy(&v);
}

static void values_are_drawn(void **state)
{
	(void)state;
	enum { EDGE_PX = 21 };
	float value[EDGE_PX * EDGE_PX], opacity[EDGE_PX * EDGE_PX];
	char path[2][64], *png[2] = { NULL, NULL };
	size_t n[2];
	for (int i = 0; i < EDGE_PX * EDGE_PX; i++) {
		value[i] = (float)(0.1 * (i % EDGE_PX - EDGE_PX / 2));
		opacity[i] = (float)(i / EDGE_PX) / EDGE_PX;
	}
	value[3] = NAN; /* drawn as nothing, not a reason to fail */
	const cyc_value_panel panels[3] = { { "images", EDGE_PX, value, opacity, 1, "rad" },
		                                { "fit", EDGE_PX, value, NULL, 0.5, NULL },
		                                { NULL, 1, value, NULL, 2, "x" } };
	for (int k = 0; k < 2; k++) {
		snprintf(path[k], sizeof path[k], "%s/values%d.png", g_dir, k);
		assert_int_equal(cyc_values_write(path[k], "phases", panels, 3), CYC_OK);
		assert_int_equal(cyc_read_file(&png[k], &n[k], path[k]), CYC_OK);
	}
	assert_true(n[0] == n[1] && memcmp(png[0], png[1], n[0]) == 0);
	cairo_surface_t *image = cairo_image_surface_create_from_png(path[0]);
	assert_int_equal(cairo_surface_status(image), CAIRO_STATUS_SUCCESS);
	/* Red to the right, blue to the left, in the second panel (opaque): its middle row. */
	const unsigned char *row = cairo_image_surface_get_data(image) +
	                           (size_t)cairo_image_surface_get_stride(image) * (2 * (34 + 24 + 130));
	const unsigned char *left = row + 4 * (2 * (40 + 260 + 40 + 20)),
						*right = row + 4 * (2 * (40 + 260 + 40 + 240));
	assert_true(left[0] > left[2] + 60 && right[2] > right[0] + 60);
	cairo_surface_destroy(image);
	for (int k = 0; k < 2; k++) cyc_free(png[k]);
	assert_int_equal(cyc_values_write(path[0], NULL, panels, 0), CYC_E_USAGE);
	const cyc_value_panel wrong = { NULL, EDGE_PX, value, NULL, 0, NULL };
	assert_int_equal(cyc_values_write(path[0], NULL, &wrong, 1), CYC_E_USAGE);
	snprintf(path[1], sizeof path[1], "%s/values0.png/no.png", g_dir);
	assert_int_equal(cyc_values_write(path[1], NULL, panels, 1), CYC_E_IO);
}

/* Picture px of a direction's place on the map, in the middle of the image's rows and columns as they are
 * drawn. */
static int shade_at(cairo_surface_t *image, double x, double y)
{
	int u = (int)(2 * (46 + 280 * (1 + x))), v = (int)(2 * (26 + 140 * (1 - y)));
	return cairo_image_surface_get_data(
		image)[(size_t)v * (size_t)cairo_image_surface_get_stride(image) + 4 * (size_t)u + 2]; /* red */
}

static cairo_surface_t *draw_directions(const double *rot, const double *tilt, int64_t n)
{
	char *png = NULL, *again = NULL;
	size_t size = 0, size_again = 0;
	assert_int_equal(cyc_directions_png(&png, &size, rot, tilt, n), CYC_OK);
	assert_int_equal(cyc_directions_png(&again, &size_again, rot, tilt, n), CYC_OK);
	assert_true(size == size_again && memcmp(png, again, size) == 0);
	memory_file f = { png, size, 0 };
	cairo_surface_t *image = cairo_image_surface_create_from_png_stream(read_chunk, &f);
	assert_int_equal(cairo_surface_status(image), CAIRO_STATUS_SUCCESS);
	cyc_free(png);
	cyc_free(again);
	return image;
}

static void directions_lie_where_they_should(void **state)
{
	(void)state;
	enum { MANY = 100000, EMPTY = 220 };
	/* Half way to the right on the equator; the pole; and, by Mollweide's equation, latitude 45 degrees at
	 * the middle. */
	const struct {
		double rot, tilt, x, y;
	} AT[] = { { 0.5, 0.5, 0.5, 0 },
		       { -0.5, 0.5, -0.5, 0 },
		       { 0.3, 0, 0, 0.985 },
		       { 0.05, 0.25, 0.05, 0.5919 },
		       { -0.05, 0.75, -0.05, -0.5919 } };
	enum { N_AT = sizeof AT / sizeof *AT };
	for (int k = 0; k < N_AT; k++) {
		/* 0.02: not on a line of the grid. Whole turns, and the other way round the pole, change nothing. */
		double rot[3] = { CYC_PI * AT[k].rot + 0.02, CYC_PI * (AT[k].rot + 2) + 0.02,
			              CYC_PI * (AT[k].rot + 1) + 0.02 };
		double tilt[3] = { CYC_PI * AT[k].tilt + 0.02, CYC_PI * AT[k].tilt + 0.02,
			               -CYC_PI * AT[k].tilt - 0.02 };
		cairo_surface_t *image = draw_directions(rot, tilt, 3);
		for (int i = 0; i < N_AT; i++) {
			int shade = shade_at(image, AT[i].x + 0.012, AT[i].y - 0.012);
			if (i == k ? shade > 20 : shade < 220)
				fail_msg("direction %d: shade %d at place %d", k, shade, i);
		}
		assert_int_equal(shade_at(image, 0.9, 0.9), 255); /* outside */
		cairo_surface_destroy(image);
	}
	/* None at all, and none that can be told. */
	double nothing = NO_VALUE;
	for (int k = 0; k < 2; k++) {
		cairo_surface_t *image = draw_directions(&nothing, &nothing, k);
		assert_true(shade_at(image, 0.512, -0.012) > EMPTY);
		cairo_surface_destroy(image);
	}
	/* Many, evenly spread: near the highest density everywhere. Spread over one half: that half only. */
	double *rot = malloc(MANY * sizeof *rot), *tilt = malloc(MANY * sizeof *tilt);
	assert_true(rot && tilt);
	for (int half = 0; half < 2; half++) {
		for (int i = 0; i < MANY; i++) {
			rot[i] =
				(half ? CYC_PI : 2 * CYC_PI) * fmod(0.6180339887498949 * i, 1); /* a spiral of equal areas */
			tilt[i] = acos(1 - 2 * (i + 0.5) / MANY);
		}
		cairo_surface_t *image = draw_directions(rot, tilt, MANY);
		int n_dark = 0, n_all = 0;
		for (double x = -0.88; x < 0.9; x += 0.07)
			for (double y = -0.43; y < 0.5; y += 0.07) {
				if (fabs(y) < 0.12 || fabs(x) < 0.05) continue; /* names and lines of the grid */
				int shade = shade_at(image, x, y);
				if (half && x < 0) assert_true(shade > 170); /* a line at most */
				if (half && x < 0) continue;
				n_dark += shade < 90;
				n_all++;
			}
		assert_true(n_dark > 0.8 * n_all && n_all > 50); /* the rest are lines */
		cairo_surface_destroy(image);
	}
	free(rot);
	free(tilt);
	char *png;
	size_t size;
	assert_int_equal(cyc_directions_png(&png, &size, NULL, NULL, 3), CYC_E_USAGE);
	assert_int_equal(cyc_directions_png(&png, &size, NULL, NULL, -1), CYC_E_USAGE);
	cyc_status st = CYC_E_NOMEM;
	for (int64_t k = 1; st == CYC_E_NOMEM; k++) {
		double one = 1;
		cyc_alloc_fail_at(k);
		st = cyc_directions_png(&png, &size, &one, &one, 1);
		cyc_alloc_fail_at(0);
		assert_true(st == CYC_OK || (st == CYC_E_NOMEM && !png));
		assert_true(k < 1000);
	}
	assert_int_equal(st, CYC_OK);
	cyc_free(png);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pictures_do_not_depend_on_earlier_ones),
		cmocka_unit_test(svg_has_what_was_asked),
		cmocka_unit_test(curve_lies_where_it_should),
		cmocka_unit_test(gaps_split_curves_and_clipping_keeps_inside),
		cmocka_unit_test(empty_and_constant_data_are_drawn),
		cmocka_unit_test(bad_text_becomes_question_marks),
		cmocka_unit_test(same_input_same_bytes),
		cmocka_unit_test(pdf_has_a_page_per_figure),
		cmocka_unit_test(bad_input_is_refused),
		cmocka_unit_test(memory_failures_are_reported),
		cmocka_unit_test(slices_show_the_map),
		cmocka_unit_test(values_are_drawn),
		cmocka_unit_test(directions_lie_where_they_should),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

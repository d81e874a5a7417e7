/* Warp's own files of a tilt series: .tomostar, and the .xml that Warp and M keep the alignment in. */
#include "import/import_internal.h"

#include "project/labels.h"

#include <stdlib.h>
#include <string.h>

void cyc__warp_series_deinit(cyc__warp_series *w)
{
	for (int k = 0; k < 2; k++) cyc_free(w->offset_A[k]);
	cyc_free(w->dose);
	for (int32_t i = 0; w->movie && i < w->n; i++) cyc_free(w->movie[i]);
	cyc_free(w->movie);
	cyc_free(w->path);
	*w = (cyc__warp_series){ 0 };
}

/* ---------------------------------------------------------------- .tomostar */

static cyc_status read_column(double **out, const cyc_star_block *b, const char *label, bool is_required)
{
	cyc_status st = CYC_OK;
	int32_t column = cyc_star_column(b, label);
	if (column < 0 && !is_required) return CYC_OK;
	st = cyc_star_require_column(&column, b, label);
	if (st != CYC_OK)
		cyc_error_hint("the file is from before the alignment: give the .xml of the tilt series instead");
	CYC_TRY(st);
	CYC_TRY(cyc_alloc(out, cyc_star_n_rows(b), sizeof **out));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) CYC_TRY(cyc_star_double(&(*out)[i], b, i, column));
done:
	return st;
}

static cyc_status read_tomostar(cyc__warp_series *w, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	CYC_TRY(cyc_star_read(&star, path));
	const cyc_star_block *b = cyc_star_block_at(star, 0);
	int32_t movie = b ? cyc_star_column(b, CYC_WRP_MOVIE_NAME) : -1;
	CYC_CHECK(b && cyc_star_n_rows(b) > 0 && cyc_star_n_rows(b) < 1 << 20, CYC_E_DATA, "'%s' has no tilts",
	          path);
	w->n = (int32_t)cyc_star_n_rows(b);
	CYC_TRY(read_column(&w->offset_A[0], b, CYC_WRP_AXIS_OFFSET_X, true));
	CYC_TRY(read_column(&w->offset_A[1], b, CYC_WRP_AXIS_OFFSET_Y, true));
	CYC_TRY(read_column(&w->dose, b, CYC_WRP_DOSE, false));
	if (movie < 0) goto done;
	CYC_TRY(cyc_alloc(&w->movie, w->n, sizeof *w->movie));
	for (int32_t i = 0; i < w->n; i++) CYC_TRY(cyc_strdup(&w->movie[i], cyc_star_text(b, i, movie)));
done:
	cyc_star_destroy(&star);
	return st;
}

/* ---------------------------------------------------------------- .xml */

/* Text between <tag> and </tag>, or NULL. */
static const char *element(size_t *n, const char *xml, const char *tag)
{
	char open[64], end[64];
	snprintf(open, sizeof open, "<%s>", tag);
	snprintf(end, sizeof end, "</%s>", tag);
	const char *at = strstr(xml, open);
	if (!at) return NULL;
	at += strlen(open);
	const char *to = strstr(at, end);
	*n = to ? (size_t)(to - at) : 0;
	return to ? at : NULL;
}

/* The lines of an element; NULL and 0 if it is not there. */
static cyc_status read_lines(char ***out, int32_t *n, const char *xml, const char *tag)
{
	cyc_status st = CYC_OK;
	size_t length = 0, room = 1;
	const char *text = element(&length, xml, tag);
	*out = NULL;
	*n = 0;
	if (!text) return CYC_OK;
	for (size_t i = 0; i < length; i++) room += text[i] == '\n' || text[i] == '\r';
	CYC_TRY(cyc_alloc(out, room, sizeof **out));
	for (size_t i = 0; i < length;) {
		i += strspn(text + i, " \t\r\n");
		if (i >= length) break;
		size_t k = strcspn(text + i, "\r\n");
		if (k > length - i) k = length - i;
		CYC_TRY(cyc_asprintf(&(*out)[*n], "%.*s", (int)k, text + i));
		(*n)++;
		i += k;
	}
done:
	return st;
}

static cyc_status read_numbers(double **out, cyc__warp_series *w, const char *xml, const char *tag,
                               bool is_required)
{
	cyc_status st = CYC_OK;
	char **lines = NULL;
	int32_t n = 0;
	CYC_TRY(read_lines(&lines, &n, xml, tag));
	CYC_CHECK(n > 0 || !is_required, CYC_E_FORMAT,
	          "'%s' has no element <%s>: it is not the .xml of an aligned tilt "
	          "series",
	          w->path, tag);
	if (n == 0) goto done;
	if (w->n == 0) w->n = n;
	CYC_CHECK(n == w->n, CYC_E_FORMAT, "'%s': <%s> has %d values, but earlier elements have %d", w->path, tag,
	          n, w->n);
	CYC_TRY(cyc_alloc(out, n, sizeof **out));
	for (int32_t i = 0; i < n; i++) {
		CYC_CHECK(cyc__is_number(lines[i]), CYC_E_FORMAT, "'%s': <%s>: value %d is '%s', expected a number",
		          w->path, tag, i + 1, lines[i]);
		(*out)[i] = strtod(lines[i], NULL);
	}
done:
	for (int32_t i = 0; lines && i < n; i++) cyc_free(lines[i]);
	cyc_free(lines);
	return st;
}

/* Whether a grid of M's says more than nothing. */
static bool has_values(const char *xml, const char *tag)
{
	char open[64], end[64];
	snprintf(open, sizeof open, "<%s ", tag);
	snprintf(end, sizeof end, "</%s>", tag);
	const char *at = strstr(xml, open), *to = at ? strstr(at, end) : NULL;
	while (at && to && (at = strstr(at, "Value=\"")) != NULL && at < to) {
		at += strlen("Value=\"");
		if (fabs(strtod(at, NULL)) > 1e-6) return true;
	}
	return false;
}

static cyc_status read_xml(cyc__warp_series *w, const char *path)
{
	cyc_status st = CYC_OK;
	static const char *const GRIDS[] = { "GridMovementX", "GridMovementY", "GridVolumeWarpX",
		                                 "GridVolumeWarpY", "GridVolumeWarpZ" };
	char *xml = NULL;
	size_t size;
	int32_t n = 0;
	CYC_TRY(cyc_read_file(&xml, &size, path));
	CYC_TRY(read_numbers(&w->offset_A[0], w, xml, "AxisOffsetX", true));
	CYC_TRY(read_numbers(&w->offset_A[1], w, xml, "AxisOffsetY", true));
	CYC_TRY(read_numbers(&w->dose, w, xml, "Dose", false));
	CYC_TRY(read_lines(&w->movie, &n, xml, "MoviePath"));
	CYC_CHECK(!w->movie || n == w->n, CYC_E_FORMAT, "'%s': <MoviePath> has %d lines, <AxisOffsetX> %d", path,
	          n, w->n);
	for (size_t i = 0; i < sizeof GRIDS / sizeof *GRIDS; i++) {
		if (!has_values(xml, GRIDS[i])) continue;
		cyc_warn("'%s': M's deformations (<%s> and others) are ignored: positions may be some pixels off "
		         "until tilts and particles are refined",
		         path, GRIDS[i]);
		break;
	}
done:
	cyc_free(xml);
	if (st != CYC_OK && w->movie && n != w->n) {
		for (int32_t i = 0; i < n; i++) cyc_free(w->movie[i]);
		cyc_free(w->movie);
		w->movie = NULL;
	}
	return st;
}

cyc_status cyc__warp_series_read(cyc__warp_series *out, const char *path)
{
	cyc_status st = CYC_OK;
	size_t n = strlen(path);
	*out = (cyc__warp_series){ 0 };
	CYC_TRY(cyc_strdup(&out->path, path));
	if (n > 4 && strcmp(path + n - 4, ".xml") == 0) CYC_TRY(read_xml(out, path));
	else CYC_TRY(read_tomostar(out, path));
done:
	if (st != CYC_OK) cyc__warp_series_deinit(out);
	return st;
}

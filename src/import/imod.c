/* IMOD: transforms, tilt angles and tilt.com. Conventions: docs/import.md. */
#include "import/import_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What is taken from tilt.com; lengths are unbinned pixels there, whatever the binning of the tomogram. */
typedef struct {
	double offset_deg, x_axis_tilt_deg, shift[2];
	double full_image[2], width, thickness;
	const char *ignored;
} tilt_com;

/* "3" or "5-8": sections, from 1, that the tomogram is made without. */
static cyc_status exclude(cyc__view_series *s, const cyc__rows *rows, int64_t i)
{
	cyc_status st = CYC_OK;
	for (int32_t k = 1; k < rows->rows[i].n; k++) {
		char *end;
		long first = strtol(rows->rows[i].token[k], &end, 10), last = first;
		if (*end == '-') last = strtol(end + 1, &end, 10);
		if (*end || first < 1 || last < first || last > s->n) {
			st = cyc__rows_raise(CYC_E_DATA, rows, i, "expected sections from 1 to %d, found '%s'", s->n,
			                     rows->rows[i].token[k]);
			goto done;
		}
		for (long v = first; v <= last; v++) s->views[v - 1].is_used = false;
	}
done:
	return st;
}

static cyc_status read_com_row(tilt_com *c, cyc__view_series *s, const cyc__rows *rows, int64_t i)
{
	cyc_status st = CYC_OK;
	static const char *const IGNORED[] = { "LOCALFILE", "ZFACTORFILE" };
	const struct {
		const char *key;
		double *to;
		int n, n_required;
	} NUMBERS[] = { { "OFFSET", &c->offset_deg, 1, 1 }, { "XAXISTILT", &c->x_axis_tilt_deg, 1, 1 },
		            { "SHIFT", c->shift, 2, 1 },        { "FULLIMAGE", c->full_image, 2, 2 },
		            { "WIDTH", &c->width, 1, 1 },       { "THICKNESS", &c->thickness, 1, 1 } };
	const char *key = rows->rows[i].token[0];
	for (size_t k = 0; k < sizeof NUMBERS / sizeof *NUMBERS; k++) {
		if (strcasecmp(key, NUMBERS[k].key) != 0) continue;
		for (int j = 0; j < NUMBERS[k].n && (j < NUMBERS[k].n_required || j + 1 < rows->rows[i].n); j++)
			CYC_TRY(cyc__rows_double(&NUMBERS[k].to[j], rows, i, j + 1, NUMBERS[k].key));
	}
	if (strncasecmp(key, "EXCLUDELIST", 11) == 0) CYC_TRY(exclude(s, rows, i));
	for (size_t k = 0; k < sizeof IGNORED / sizeof *IGNORED; k++)
		if (strcasecmp(key, IGNORED[k]) == 0) c->ignored = IGNORED[k];
	if (strcasecmp(key, "SLICE") == 0) {
		/* A tomogram of part of the rows would have another origin in Y. */
		st = cyc__rows_raise(CYC_E_UNSUPPORTED, rows, i,
		                     "the tomogram covers only part of the rows (SLICE), which is not supported");
		cyc_error_hint("remove the line and add the first row to the Y coordinates of the particles");
	}
done:
	return st;
}

static int32_t whole(double v) { return v > 0 && v < 1e6 ? (int32_t)lround(v) : 0; }

static cyc_status read_tilt_com(tilt_com *c, cyc__view_series *s, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc__rows *rows = NULL;
	char *path = NULL;
	CYC_TRY(cyc__require_file(&path, o->root, o->tilt_com, s->name, "--tilt-com"));
	if (!path) goto done;
	CYC_TRY(cyc__rows_read(&rows, path));
	for (int64_t i = 0; i < rows->n; i++) {
		if (strchr("#$", rows->rows[i].token[0][0])) continue;
		CYC_TRY(read_com_row(c, s, rows, i));
	}
	if (c->ignored)
		cyc_warn("'%s': %s is ignored: positions follow the global alignment and may be some pixels off "
		         "until tilts and particles are refined",
		         path, c->ignored);
	s->size_px[0] = whole(c->width > 0 ? c->width : c->full_image[0]);
	s->size_px[1] = whole(c->full_image[1]);
	s->size_px[2] = whole(c->thickness);
	/* Tomograms of other programs know of the alignment only. */
	if (o->axes == CYC_IMPORT_AXES_RELION) *c = (tilt_com){ 0 };
	s->tomogram_shift_px[0] = c->shift[0];
	s->tomogram_shift_px[1] = c->shift[1];
done:
	cyc__rows_destroy(&rows);
	cyc_free(path);
	return st;
}

static cyc_status read_transforms(cyc__view_series *s, const cyc__rows *rows)
{
	cyc_status st = CYC_OK;
	for (int64_t i = 0, v = 0; i < rows->n; i++) {
		if (cyc__is_comment(&rows->rows[i])) continue;
		double *const to[6] = { &s->views[v].matrix[0][0], &s->views[v].matrix[0][1],
			                    &s->views[v].matrix[1][0], &s->views[v].matrix[1][1],
			                    &s->views[v].shift_px[0],  &s->views[v].shift_px[1] };
		for (int k = 0; k < 6; k++)
			CYC_TRY(cyc__rows_double(to[k], rows, i, k, "a number of a transform (A11 A12 A21 A22 DX DY)"));
		const double(*m)[2] = (const double(*)[2])s->views[v].matrix;
		double det = m[0][0] * m[1][1] - m[0][1] * m[1][0];
		if (!(det > 0.5 && det < 2)) {
			st = cyc__rows_raise(
				CYC_E_DATA, rows, i,
				"the transform changes areas by a factor of %g: it is not an alignment of tilt images", det);
			goto done;
		}
		v++;
	}
done:
	return st;
}

/* The numbers of a file with one for each view. */
static cyc_status read_angles(double **out, const cyc__view_series *s, const cyc_import_options *o,
                              const char *pattern, const char *option)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	int32_t n;
	*out = NULL;
	CYC_TRY(cyc__require_file(&path, o->root, pattern, s->name, option));
	if (!path) goto done;
	CYC_TRY(cyc__read_numbers(out, &n, path, "an angle in degrees"));
	CYC_CHECK(n == s->n, CYC_E_DATA, "'%s' has %d angles, but there are %d transforms", path, n, s->n);
	for (int32_t i = 0; i < n; i++)
		CYC_CHECK(fabs((*out)[i]) <= 180, CYC_E_DATA, "'%s': angle %d is %g°", path, i + 1, (*out)[i]);
done:
	cyc_free(path);
	return st;
}

cyc_status cyc__read_imod(cyc__view_series *s, const cyc_import_options *o, const char *name)
{
	cyc_status st = CYC_OK;
	cyc__rows *rows = NULL;
	char *path = NULL;
	double *tilt = NULL, *x_tilt = NULL;
	tilt_com com = { 0 };
	int32_t n = 0;
	CYC_TRY(cyc__require_file(&path, o->root, o->xf, name, "--xf"));
	CYC_TRY(cyc__rows_read(&rows, path));
	for (int64_t i = 0; i < rows->n; i++) n += !cyc__is_comment(&rows->rows[i]);
	CYC_CHECK(n > 0, CYC_E_DATA, "'%s' has no transforms", path);
	CYC_TRY(cyc__view_series_alloc(s, name, n));
	CYC_TRY(read_transforms(s, rows));
	CYC_TRY(cyc__read_stack(s, o));
	CYC_TRY(read_angles(&tilt, s, o, o->tilts, "--tilt-angles"));
	CYC_TRY(read_angles(&x_tilt, s, o, o->x_tilts, "--x-tilts"));
	CYC_TRY(read_tilt_com(&com, s, o));
	for (int32_t v = 0; v < n; v++) {
		s->views[v].ytilt_rad = cyc_deg_to_rad(tilt[v] + com.offset_deg);
		s->views[v].xtilt_rad = cyc_deg_to_rad((x_tilt ? x_tilt[v] : 0) + com.x_axis_tilt_deg);
	}
done:
	cyc__rows_destroy(&rows);
	cyc_free(path);
	cyc_free(tilt);
	cyc_free(x_tilt);
	return st;
}

/* AreTomo: the .aln file. Conventions: docs/import.md. */
#include "import/import_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What the comments say. */
typedef struct {
	int32_t raw_size[3], n_patches;
	double alpha_deg;
	int64_t alpha_row, dark[256]; /* sections of dark frames, as numbered there */
	int32_t n_dark;
	int64_t end; /* row where the local alignment begins */
} aln_head;

/* "# Key = a b c", with or without a blank behind the #: the token behind "=", and its key. */
static int32_t value_of(const cyc__row *r, const char *key)
{
	int32_t at = r->token[0][1] ? 0 : 1;
	const char *word = at < r->n ? r->token[at] + (at == 0 ? 1 : 0) : "";
	if (strcasecmp(word, key) != 0) return -1;
	at++;
	return at < r->n && strcmp(r->token[at], "=") == 0 ? at + 1 : at;
}

static cyc_status read_whole(int32_t *out, const cyc__rows *rows, int64_t i, int32_t token, const char *what)
{
	cyc_status st = CYC_OK;
	double v;
	CYC_TRY(cyc__rows_double(&v, rows, i, token, what));
	if (!(v >= 0 && v < 1e6 && v == floor(v)))
		st = cyc__rows_raise(CYC_E_FORMAT, rows, i, "expected %s, found %g", what, v);
	else *out = (int32_t)v;
done:
	return st;
}

static cyc_status read_comment(aln_head *h, const cyc__rows *rows, int64_t i)
{
	cyc_status st = CYC_OK;
	const cyc__row *r = &rows->rows[i];
	int32_t at, section = 0;
	if ((at = value_of(r, "RawSize")) > 0)
		for (int k = 0; k < 3; k++)
			CYC_TRY(read_whole(&h->raw_size[k], rows, i, at + k, "the size of the stack"));
	if ((at = value_of(r, "NumPatches")) > 0)
		CYC_TRY(read_whole(&h->n_patches, rows, i, at, "a number of patches"));
	if ((at = value_of(r, "AlphaOffset")) > 0) {
		CYC_TRY(cyc__rows_double(&h->alpha_deg, rows, i, at, "an angle"));
		h->alpha_row = i;
	}
	if ((at = value_of(r, "DarkFrame")) > 0 && h->n_dark < 256) {
		CYC_TRY(read_whole(&section, rows, i, at + 1, "the section of a dark frame"));
		h->dark[h->n_dark++] = section;
	}
	if (strcasecmp(r->token[0], "#Local") == 0 || (r->n > 1 && strcasecmp(r->token[1], "Local") == 0))
		h->end = i;
done:
	return st;
}

/* Sections are counted from 0 by some versions, from 1 by others: the file itself shows it. */
static cyc_status find_first_section(int32_t *first, const aln_head *h, const cyc__rows *rows)
{
	cyc_status st = CYC_OK;
	double v, low = HUGE_VAL, high = -1;
	for (int64_t i = 0; i < h->end; i++) {
		if (cyc__is_comment(&rows->rows[i])) continue;
		CYC_TRY(cyc__rows_double(&v, rows, i, 0, "a section (SEC)"));
		low = v < low ? v : low;
		high = v > high ? v : high;
	}
	for (int32_t i = 0; i < h->n_dark; i++) {
		low = (double)h->dark[i] < low ? (double)h->dark[i] : low;
		high = (double)h->dark[i] > high ? (double)h->dark[i] : high;
	}
	CYC_CHECK(high >= 0, CYC_E_DATA, "'%s' has no aligned sections", rows->path);
	*first = low < 1 ? 0 : 1;
	if (low < 0 || low > 1 || (*first == 1 && high != h->raw_size[2]) ||
	    (*first == 0 && high > h->raw_size[2] - 1)) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "'%s': the sections go from %g to %g, of a stack of %d (RawSize): they could be "
		                     "counted from 0 or from 1",
		                     rows->path, low, high, h->raw_size[2]);
		cyc_error_hint("add lines '# DarkFrame = SEC SEC ANGLE' for the sections that were left out");
	}
done:
	return st;
}

/* SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT: raw = Rz(ROT) aligned + T. */
static cyc_status read_section(cyc__view_series *s, const cyc__rows *rows, int64_t i, int32_t first,
                               double xtilt_rad)
{
	cyc_status st = CYC_OK;
	int32_t section = 0;
	double rot, magnification, t[2], tilt;
	CYC_TRY(read_whole(&section, rows, i, 0, "a section (SEC)"));
	CYC_TRY(cyc__rows_double(&rot, rows, i, 1, "the axis angle (ROT)"));
	CYC_TRY(cyc__rows_double(&magnification, rows, i, 2, "the magnification (GMAG)"));
	CYC_TRY(cyc__rows_double(&t[0], rows, i, 3, "the shift (TX)"));
	CYC_TRY(cyc__rows_double(&t[1], rows, i, 4, "the shift (TY)"));
	CYC_TRY(cyc__rows_double(&tilt, rows, i, 9, "the tilt angle (TILT)"));
	section -= first;
	if (section < 0 || section >= s->n || s->views[section].is_used) {
		st = cyc__rows_raise(CYC_E_DATA, rows, i, "section %d %s", section + first,
		                     section < 0 || section >= s->n ? "is not in the stack" : "occurs twice");
		goto done;
	}
	if (fabs(magnification - 1) > 1e-4 || fabs(tilt) > 180) {
		st = cyc__rows_raise(CYC_E_UNSUPPORTED, rows, i, "a magnification of %g and a tilt of %g°",
		                     magnification, tilt);
		cyc_error_hint("sections of another magnification (GMAG) cannot be imported");
		goto done;
	}
	double c = cos(cyc_deg_to_rad(rot)), sn = sin(cyc_deg_to_rad(rot));
	cyc__view *v = &s->views[section];
	*v = (cyc__view){ .is_used = true,
		              .matrix = { { c, sn }, { -sn, c } },
		              .shift_px = { -(c * t[0] + sn * t[1]), -(c * t[1] - sn * t[0]) },
		              .ytilt_rad = cyc_deg_to_rad(tilt),
		              .xtilt_rad = xtilt_rad };
done:
	return st;
}

static cyc_status check_alpha(const aln_head *h, const cyc__rows *rows, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	if (h->alpha_deg == 0 || o->has_alpha) return CYC_OK;
	st = cyc__rows_raise(CYC_E_USAGE, rows, h->alpha_row,
	                     "AlphaOffset is %g°, and it is not known whether the tomograms were made with it",
	                     h->alpha_deg);
	cyc_error_hint("give --alpha-offset x-tilt if they were, else --alpha-offset ignore");
	return st;
}

cyc_status cyc__read_aretomo(cyc__view_series *s, const cyc_import_options *o, const char *name)
{
	cyc_status st = CYC_OK;
	cyc__rows *rows = NULL;
	char *path = NULL;
	aln_head h = { 0 };
	int32_t first = 0;
	CYC_TRY(cyc__require_file(&path, o->root, o->aln, name, "--aln"));
	CYC_TRY(cyc__rows_read(&rows, path));
	h.end = rows->n;
	for (int64_t i = 0; i < h.end; i++)
		if (cyc__is_comment(&rows->rows[i])) CYC_TRY(read_comment(&h, rows, i));
	CYC_CHECK(h.raw_size[2] > 0, CYC_E_FORMAT, "'%s' has no line '# RawSize = X Y N'", path);
	CYC_TRY(check_alpha(&h, rows, o));
	CYC_TRY(find_first_section(&first, &h, rows));
	CYC_TRY(cyc__view_series_alloc(s, name, h.raw_size[2]));
	for (int32_t v = 0; v < s->n; v++) s->views[v].is_used = false;
	for (int64_t i = 0; i < h.end; i++)
		if (!cyc__is_comment(&rows->rows[i]))
			CYC_TRY(read_section(s, rows, i, first, o->alpha_is_x_tilt ? cyc_deg_to_rad(h.alpha_deg) : 0));
	CYC_TRY(cyc__read_stack(s, o));
	CYC_CHECK(s->image_nx == h.raw_size[0] && s->image_ny == h.raw_size[1], CYC_E_SHAPE,
	          "'%s' is for images of %d x %d px, but those of '%s' have %d x %d: shifts are in pixels of the "
	          "stack that was aligned",
	          path, h.raw_size[0], h.raw_size[1], s->stack, s->image_nx, s->image_ny);
	if (h.n_patches > 0) cyc_warn("'%s': the local alignment of %d patches is ignored", path, h.n_patches);
done:
	cyc__rows_destroy(&rows);
	cyc_free(path);
	return st;
}

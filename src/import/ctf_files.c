/* Fits of the CTF: ctfplotter's .defocus, and the text files of CTFFIND and AreTomo. */
#include "import/import_internal.h"

#include <stdlib.h>
#include <string.h>

/* A row of a .defocus file: of a range of views, from 1. */
typedef struct {
	double first, last, defocus_nm[2], angle_deg, phase_deg;
} defocus_range;

enum { HAS_ASTIGMATISM = 1, ANGLES_IN_RAD = 2, HAS_PHASE = 4, PHASES_IN_RAD = 8 };

/* startView endView startAngle endAngle defocus1 [defocus2 axis] [phase] */
static cyc_status read_range(defocus_range *d, const cyc__rows *rows, int64_t i, int flags, int base)
{
	cyc_status st = CYC_OK;
	int32_t at = 4;
	CYC_TRY(cyc__rows_double(&d->first, rows, i, 0, "the first view"));
	CYC_TRY(cyc__rows_double(&d->last, rows, i, 1, "the last view"));
	d->first += 1 - base;
	d->last += 1 - base;
	CYC_TRY(cyc__rows_double(&d->defocus_nm[0], rows, i, at++, "the defocus in nm"));
	d->defocus_nm[1] = d->defocus_nm[0];
	if (flags & HAS_ASTIGMATISM) {
		CYC_TRY(cyc__rows_double(&d->defocus_nm[1], rows, i, at++, "the second defocus in nm"));
		CYC_TRY(cyc__rows_double(&d->angle_deg, rows, i, at++, "the axis of the astigmatism"));
		if (flags & ANGLES_IN_RAD) d->angle_deg = cyc_rad_to_deg(d->angle_deg);
	}
	if (flags & HAS_PHASE) {
		CYC_TRY(cyc__rows_double(&d->phase_deg, rows, i, at, "the phase shift"));
		if (flags & PHASES_IN_RAD) d->phase_deg = cyc_rad_to_deg(d->phase_deg);
	}
done:
	return st;
}

/* A view is between the middles of two ranges, or beyond the last. The axes of fits are not turned into each
 * other: the nearer range's is taken. */
static void set_view(cyc__view *v, double view, const defocus_range *d, int32_t n)
{
	int32_t a = -1, b = -1;
	for (int32_t i = 0; i < n; i++) {
		double at = 0.5 * (d[i].first + d[i].last);
		if (at <= view && (a < 0 || at >= 0.5 * (d[a].first + d[a].last))) a = i;
		if (at >= view && (b < 0 || at <= 0.5 * (d[b].first + d[b].last))) b = i;
	}
	if (a < 0) a = b;
	if (b < 0) b = a;
	double at_a = 0.5 * (d[a].first + d[a].last), at_b = 0.5 * (d[b].first + d[b].last);
	double w = at_b > at_a ? (view - at_a) / (at_b - at_a) : 0;
	const defocus_range *near = w > 0.5 ? &d[b] : &d[a];
	double mean = (1 - w) * 0.5 * (d[a].defocus_nm[0] + d[a].defocus_nm[1]) +
	              w * 0.5 * (d[b].defocus_nm[0] + d[b].defocus_nm[1]);
	double half = 0.5 * (near->defocus_nm[0] - near->defocus_nm[1]);
	v->defocus_u_A = 10 * (mean + half);
	v->defocus_v_A = 10 * (mean - half);
	v->defocus_angle_rad = cyc_deg_to_rad(near->angle_deg);
	v->phase_shift_rad = cyc_deg_to_rad((1 - w) * d[a].phase_deg + w * d[b].phase_deg);
	v->has_ctf = true;
}

static cyc_status read_defocus(cyc__view_series *s, const cyc__rows *rows)
{
	cyc_status st = CYC_OK;
	defocus_range *d = NULL;
	int32_t n = 0;
	double flags = 0, version = 0;
	const cyc__row *r = &rows->rows[0];
	/* Version 2 has its number behind the first row; 3 has a row of flags before all. */
	if (r->n > 5) CYC_TRY(cyc__rows_double(&version, rows, 0, 5, "the version"));
	if (version != 0 && version != 2 && version != 3) {
		st = cyc__rows_raise(CYC_E_UNSUPPORTED, rows, 0, "unknown version %g of a .defocus file", version);
		goto done;
	}
	if (version == 3) CYC_TRY(cyc__rows_double(&flags, rows, 0, 0, "the flags"));
	CYC_TRY(cyc_alloc(&d, rows->n, sizeof *d));
	for (int64_t i = version == 3; i < rows->n; i++) {
		if (cyc__is_comment(&rows->rows[i])) continue;
		CYC_TRY(read_range(&d[n], rows, i, (int)flags, version == 0 ? 0 : 1));
		if (!(d[n].first >= 1 && d[n].last >= d[n].first && d[n].last <= s->n)) {
			st = cyc__rows_raise(CYC_E_DATA, rows, i, "views %g to %g are not in the stack of %d sections",
			                     d[n].first, d[n].last, s->n);
			goto done;
		}
		n++;
	}
	CYC_CHECK(n > 0, CYC_E_DATA, "'%s' has no defocus", rows->path);
	for (int32_t v = 0; v < s->n; v++) set_view(&s->views[v], v + 1, d, n);
	s->has_phase = ((int)flags & HAS_PHASE) != 0;
done:
	cyc_free(d);
	return st;
}

/* number, defocus 1 and 2 [Å], angle [degrees], phase [rad], ... */
static cyc_status read_fit(cyc__view_series *s, cyc__view *v, const cyc__rows *rows, int64_t i)
{
	cyc_status st = CYC_OK;
	double angle;
	CYC_TRY(cyc__rows_double(&v->defocus_u_A, rows, i, 1, "defocus 1 in Å"));
	CYC_TRY(cyc__rows_double(&v->defocus_v_A, rows, i, 2, "defocus 2 in Å"));
	CYC_TRY(cyc__rows_double(&angle, rows, i, 3, "the azimuth of the astigmatism"));
	CYC_TRY(cyc__rows_double(&v->phase_shift_rad, rows, i, 4, "the phase shift in rad"));
	v->defocus_angle_rad = cyc_deg_to_rad(angle);
	v->has_ctf = true;
	s->has_phase = s->has_phase || v->phase_shift_rad != 0;
done:
	return st;
}

/* A row for each section, or for each that was aligned, in their order. */
static cyc_status read_fits(cyc__view_series *s, const cyc__rows *rows)
{
	cyc_status st = CYC_OK;
	int32_t n = 0, n_used = 0, v = 0;
	for (int64_t i = 0; i < rows->n; i++) n += !cyc__is_comment(&rows->rows[i]);
	for (int32_t k = 0; k < s->n; k++) n_used += s->views[k].is_used;
	CYC_CHECK(n == s->n || n == n_used, CYC_E_DATA,
	          "'%s' has %d fits, but the stack has %d sections, of which %d are aligned", rows->path, n, s->n,
	          n_used);
	double last = -1, number;
	for (int64_t i = 0; i < rows->n; i++) {
		if (cyc__is_comment(&rows->rows[i])) continue;
		CYC_TRY(cyc__rows_double(&number, rows, i, 0, "the number of the image"));
		if (!(number > last)) {
			st = cyc__rows_raise(CYC_E_DATA, rows, i,
			                     "image %g after image %g: rows must be in the order of the stack", number,
			                     last);
			goto done;
		}
		last = number;
		while (n != s->n && !s->views[v].is_used) v++;
		CYC_TRY(read_fit(s, &s->views[v++], rows, i));
	}
done:
	return st;
}

cyc_status cyc__read_ctf(cyc__view_series *s, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc__rows *rows = NULL;
	char *path = NULL;
	for (int32_t v = 0; v < s->n && o->has_defocus; v++)
		s->views[v].defocus_u_A = s->views[v].defocus_v_A = o->defocus_A;
	CYC_TRY(cyc__require_file(&path, o->root, o->ctf, s->name, "--ctf"));
	if (!path) goto done;
	CYC_TRY(cyc__rows_read(&rows, path));
	size_t n = strlen(path);
	bool is_imod = n > 8 && strcmp(path + n - 8, ".defocus") == 0;
	CYC_TRY(is_imod ? read_defocus(s, rows) : read_fits(s, rows));
	for (int32_t v = 0; v < s->n; v++) {
		const cyc__view *w = &s->views[v];
		CYC_CHECK(!w->is_used || (fabs(w->defocus_u_A) < 5e5 && fabs(w->defocus_v_A) < 5e5), CYC_E_DATA,
		          "'%s': the defocus of section %d is %g, %g Å: the file must be ctfplotter's, named "
		          ".defocus (nm), or in CTFFIND's format (Å)",
		          path, v + 1, w->defocus_u_A, w->defocus_v_A);
	}
done:
	cyc__rows_destroy(&rows);
	cyc_free(path);
	return st;
}

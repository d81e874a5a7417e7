/* Series of views: stacks, doses, fits of the CTF. */
#include "import/import_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void cyc__view_series_deinit(cyc__view_series *s)
{
	cyc_free(s->name);
	cyc_free(s->stack);
	cyc_free(s->views);
	*s = (cyc__view_series){ 0 };
}

cyc_status cyc__view_series_alloc(cyc__view_series *s, const char *name, int32_t n)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_strdup(&s->name, name));
	CYC_TRY(cyc_alloc(&s->views, n, sizeof *s->views));
	s->n = n;
	for (int32_t v = 0; v < n; v++) s->views[v].is_used = true;
done:
	return st;
}

cyc_status cyc__read_stack(cyc__view_series *s, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc_mrc_info info;
	char *path = NULL, *name = NULL;
	CYC_TRY(cyc__fill_pattern(&s->stack, o->images, s->name));
	CYC_TRY(cyc__require_file(&path, o->root, o->images, s->name, "--images"));
	CYC_TRY(cyc_asprintf(&name, "%s:mrcs", path));
	CYC_TRY(cyc_mrc_read_info(&info, name));
	if (info.nz != s->n) {
		st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                     "'%s' has %d sections, but the alignment of '%s' has %d", path, info.nz, s->name,
		                     s->n);
		cyc_error_hint("give the raw stack that was aligned, with all its sections: --images");
		goto done;
	}
	if (info.pixel_size_A > 0 && fabs(info.pixel_size_A / o->pixel_size_A - 1) > 0.01 &&
	    fabs(info.pixel_size_A - 1) > 1e-6)
		cyc_warn("the header of '%s' gives a pixel size of %.4g Å, but --pixel-size is %.4g Å, which is used",
		         path, info.pixel_size_A, o->pixel_size_A);
	s->image_nx = info.nx;
	s->image_ny = info.ny;
done:
	cyc_free(path);
	cyc_free(name);
	return st;
}

/* ---------------------------------------------------------------- mdoc */

/* A section of an mdoc. */
typedef struct {
	bool is_there, has_angle, has_dose, has_prior, has_time;
	double angle_deg, dose, prior, time;
	int64_t row;
} mdoc_section;

/* "24-Nov-19  18:03:55" or with four digits of the year: a number that grows with time. */
static bool parse_time(double *out, const cyc__row *r)
{
	static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	int day, year, hour, minute;
	double second;
	char month[4];
	if (r->n < 4 || sscanf(r->token[2], "%d-%3s-%d", &day, month, &year) != 3) return false;
	if (sscanf(r->token[3], "%d:%d:%lf", &hour, &minute, &second) != 3) return false;
	const char *at = strlen(month) == 3 ? strstr(MONTHS, month) : NULL;
	if (!at) return false;
	double days = 31.0 * (12.0 * (year % 100) + (double)((at - MONTHS) / 3)) + day;
	*out = ((days * 24 + hour) * 60 + minute) * 60 + second;
	return true;
}

static cyc_status read_mdoc_value(mdoc_section *m, const cyc__rows *rows, int64_t i)
{
	cyc_status st = CYC_OK;
	const cyc__row *r = &rows->rows[i];
	if (r->n < 3 || strcmp(r->token[1], "=") != 0) return CYC_OK;
	if (strcmp(r->token[0], "TiltAngle") == 0) {
		CYC_TRY(cyc__rows_double(&m->angle_deg, rows, i, 2, "the tilt angle"));
		m->has_angle = true;
	} else if (strcmp(r->token[0], "ExposureDose") == 0) {
		CYC_TRY(cyc__rows_double(&m->dose, rows, i, 2, "the dose"));
		m->has_dose = m->dose > 0;
	} else if (strcmp(r->token[0], "PriorRecordDose") == 0) {
		CYC_TRY(cyc__rows_double(&m->prior, rows, i, 2, "the dose before"));
		m->has_prior = true;
	} else if (strcmp(r->token[0], "DateTime") == 0) {
		m->has_time = parse_time(&m->time, r);
	}
done:
	return st;
}

static cyc_status read_mdoc(mdoc_section *m, const cyc__view_series *s, const cyc__rows *rows)
{
	cyc_status st = CYC_OK;
	mdoc_section *now = NULL;
	for (int64_t i = 0; i < rows->n; i++) {
		const cyc__row *r = &rows->rows[i];
		if (strcmp(r->token[0], "[ZValue") == 0 && r->n >= 3) {
			long z = strtol(r->token[2], NULL, 10);
			if (z < 0 || z >= s->n || m[z].is_there) {
				st = cyc__rows_raise(CYC_E_DATA, rows, i, "ZValue %ld %s", z,
				                     z < 0 || z >= s->n ? "is not a section of the stack" : "occurs twice");
				goto done;
			}
			now = &m[z];
			now->is_there = true;
			now->row = i;
		} else if (r->token[0][0] == '[') {
			now = NULL;
		} else if (now) {
			CYC_TRY(read_mdoc_value(now, rows, i));
		}
	}
done:
	return st;
}

/* An mdoc of the stack as it was before somebody sorted it would give doses to the wrong images. */
static cyc_status check_mdoc(const mdoc_section *m, const cyc__view_series *s, const cyc__rows *rows)
{
	static const double LARGEST_DIFFERENCE_DEG = 5;
	cyc_status st = CYC_OK;
	double *difference = NULL;
	size_t n = 0;
	CYC_TRY(cyc_alloc(&difference, s->n, sizeof *difference));
	for (int32_t v = 0; v < s->n; v++) {
		CYC_CHECK(m[v].is_there, CYC_E_DATA,
		          "'%s' has no section [ZValue = %d], but the stack has %d sections", rows->path, v, s->n);
		if (m[v].has_angle && s->views[v].is_used)
			difference[n++] = cyc_rad_to_deg(s->views[v].ytilt_rad) - m[v].angle_deg;
	}
	/* Refined angles may have another zero, of lamellas by tens of degrees: steps are compared. */
	double offset = cyc_median(difference, n);
	for (int32_t v = 0; v < s->n; v++) {
		double tilt = cyc_rad_to_deg(s->views[v].ytilt_rad);
		if (!m[v].has_angle || !s->views[v].is_used ||
		    fabs(tilt - offset - m[v].angle_deg) <= LARGEST_DIFFERENCE_DEG)
			continue;
		st = cyc__rows_raise(CYC_E_DATA, rows, m[v].row,
		                     "the tilt angle of ZValue %d is %g°, but that of the alignment %g°", v,
		                     m[v].angle_deg, tilt);
		cyc_error_hint("the sections of the mdoc must be those of the stack, in the same order");
		goto done;
	}
done:
	cyc_free(difference);
	return st;
}

static cyc_status doses_of_mdoc(cyc__view_series *s, const cyc_import_options *o, const char *path)
{
	cyc_status st = CYC_OK;
	cyc__rows *rows = NULL;
	mdoc_section *m = NULL;
	CYC_TRY(cyc__rows_read(&rows, path));
	CYC_TRY(cyc_alloc(&m, s->n, sizeof *m));
	CYC_TRY(read_mdoc(m, s, rows));
	CYC_TRY(check_mdoc(m, s, rows));
	bool has_prior = !o->has_dose, has_dose = true, has_time = true;
	for (int32_t v = 0; v < s->n; v++) {
		has_prior = has_prior && m[v].has_prior;
		has_dose = has_dose && m[v].has_dose;
		has_time = has_time && m[v].has_time;
	}
	if (!has_prior && !(has_time && (has_dose || o->has_dose))) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "'%s' does not give the dose before each tilt: it needs PriorRecordDose, or "
		                     "DateTime with ExposureDose, for every section",
		                     path);
		cyc_error_hint(has_time ? "give the dose of a tilt with --dose-per-tilt"
		                        : "give the dose before each section in a file: --exposures");
		goto done;
	}
	for (int32_t v = 0; v < s->n; v++) {
		double before = has_prior ? m[v].prior : 0;
		for (int32_t u = 0; u < s->n && !has_prior; u++)
			if (m[u].time < m[v].time || (m[u].time == m[v].time && u < v))
				before += o->has_dose ? o->dose_e_per_A2 : m[u].dose;
		s->views[v].pre_exposure_e_per_A2 = before;
		s->views[v].has_stage = m[v].has_angle;
		s->views[v].stage_rad = cyc_deg_to_rad(m[v].angle_deg);
	}
done:
	cyc__rows_destroy(&rows);
	cyc_free(m);
	return st;
}

cyc_status cyc__read_doses(cyc__view_series *s, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	double *dose = NULL;
	int32_t n;
	if (o->exposures) {
		CYC_TRY(cyc__require_file(&path, o->root, o->exposures, s->name, "--exposures"));
		CYC_TRY(cyc__read_numbers(&dose, &n, path, "a dose in e/Å2"));
		CYC_CHECK(n == s->n, CYC_E_DATA, "'%s' has %d doses, but the stack has %d sections", path, n, s->n);
		for (int32_t v = 0; v < n; v++) {
			CYC_CHECK(dose[v] >= 0, CYC_E_DATA, "'%s': dose %d is %g e/Å2", path, v + 1, dose[v]);
			s->views[v].pre_exposure_e_per_A2 = dose[v];
		}
	} else if (o->mdoc) {
		CYC_TRY(cyc__require_file(&path, o->root, o->mdoc, s->name, "--mdoc"));
		CYC_TRY(doses_of_mdoc(s, o, path));
	}
done:
	cyc_free(path);
	cyc_free(dose);
	return st;
}

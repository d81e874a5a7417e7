#include "project/particles_internal.h"

#include "cyclotomo/optics.h"
#include "project/name_map.h"
#include "project/labels.h"
#include <math.h>
#include <string.h>

static cyc_status read_vector_of(double **out, int32_t *n, const cyc_star_block *b, int64_t row,
                                 const char *label)
{
	int32_t column = cyc_star_column(b, label);
	return column < 0 ? CYC_OK : cyc_star_vector(out, n, b, row, column);
}

/* More than this is no distortion but a mistake. */
static const double LARGEST_DISTORTION = 0.2;

static cyc_status read_magnification(cyc_optics_group *o, const cyc_star_block *b, int64_t row)
{
	cyc_status st = CYC_OK;
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 2; j++) {
			double neutral = i == j ? 1 : 0, *v = &o->magnification[i][j];
			CYC_TRY(cyc_star_double_or(v, b, row, CYC_LABELS_MAGNIFICATION[i][j], neutral));
			if (!(fabs(*v - neutral) <= LARGEST_DISTORTION)) {
				st = cyc_star_raise(CYC_E_DATA, b, row,
				                    "_%s of optics group '%s' must be within %g of %g, found %g",
				                    CYC_LABELS_MAGNIFICATION[i][j], o->name, LARGEST_DISTORTION, neutral, *v);
				cyc_error_hint("magnification matrices are close to the identity; correct a wrong pixel size "
				               "in the pixel size column");
				goto done;
			}
			o->has_magnification = o->has_magnification || fabs(*v - neutral) > 1e-9;
		}
done:
	return st;
}

/* Beam tilt is a coma: as odd coefficients it is used like all others. */
static cyc_status read_beam_tilt(cyc_optics_group *o, const cyc_star_block *b, int64_t row)
{
	cyc_status st = CYC_OK;
	double x, y, odd[6] = { 0 }, *all = NULL;
	CYC_TRY(cyc_star_double_or(&x, b, row, CYC_RLN_BEAM_TILT_X, 0));
	CYC_TRY(cyc_star_double_or(&y, b, row, CYC_RLN_BEAM_TILT_Y, 0));
	if (x == 0 && y == 0) goto done;
	if (!(o->voltage_kV > 0) || !isfinite(o->spherical_aberration_mm)) {
		st = cyc_star_raise(
			CYC_E_DATA, b, row,
			"optics group '%s' has a beam tilt of %g, %g mrad, but no _%s and _%s to convert it into a phase",
			o->name, x, y, CYC_RLN_VOLTAGE, CYC_RLN_SPHERICAL_ABERRATION);
		cyc_error_hint("add both columns to the optics table, or remove _%s and _%s", CYC_RLN_BEAM_TILT_X,
		               CYC_RLN_BEAM_TILT_Y);
		goto done;
	}
	int32_t n = o->n_odd < 6 ? 6 : o->n_odd;
	cyc_add_beam_tilt(odd, x, y, o->voltage_kV, o->spherical_aberration_mm);
	CYC_TRY(cyc_alloc(&all, n, sizeof *all));
	for (int32_t i = 0; i < n; i++) all[i] = (i < o->n_odd ? o->odd_zernike[i] : 0) + (i < 6 ? odd[i] : 0);
	cyc_free(o->odd_zernike);
	o->odd_zernike = all;
	o->n_odd = n;
	all = NULL;
	cyc_info(
		"optics group %s: the beam tilt of %g, %g mrad is used as coma (RELION's tomo programs ignore it)",
		o->name, x, y);
done:
	cyc_free(all);
	return st;
}

static cyc_status read_group(cyc_optics_group *o, const cyc_star_block *b, int64_t row)
{
	cyc_status st = CYC_OK;
	const char *name = cyc_star_text_of(b, row, CYC_RLN_OPTICS_GROUP_NAME);
	if (name) CYC_TRY(cyc__require_name(name, b, row, CYC_RLN_OPTICS_GROUP_NAME));
	if (name) CYC_TRY(cyc_strdup(&o->name, name));
	else CYC_TRY(cyc_asprintf(&o->name, "opticsGroup%lld", (long long)row + 1));
	CYC_TRY(cyc_star_double_or(&o->voltage_kV, b, row, CYC_RLN_VOLTAGE, (double)NAN));
	CYC_TRY(
		cyc_star_double_or(&o->spherical_aberration_mm, b, row, CYC_RLN_SPHERICAL_ABERRATION, (double)NAN));
	CYC_TRY(cyc_star_double_or(&o->amplitude_contrast_frac, b, row, CYC_RLN_AMPLITUDE_CONTRAST, (double)NAN));
	CYC_TRY(cyc_star_double_or(&o->pixel_size_A, b, row, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE, (double)NAN));
	CYC_TRY(read_vector_of(&o->even_zernike, &o->n_even, b, row, CYC_RLN_EVEN_ZERNIKE));
	CYC_TRY(read_vector_of(&o->odd_zernike, &o->n_odd, b, row, CYC_RLN_ODD_ZERNIKE));
	CYC_TRY(read_beam_tilt(o, b, row));
	CYC_TRY(read_magnification(o, b, row));
done:
	return st;
}

/* Number of the optics table -> its row; numbers are small. */
static cyc_status map_group_numbers(int32_t **row_of, int64_t *n_numbers, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	int64_t n = cyc_star_n_rows(b), highest = 0, number;
	int32_t column = cyc_star_column(b, CYC_RLN_OPTICS_GROUP);
	for (int64_t i = 0; i < n; i++) {
		number = i + 1;
		if (column >= 0) CYC_TRY(cyc_star_int(&number, b, i, column));
		if (number < 1 || number > 10000000) {
			st = cyc_star_raise(CYC_E_DATA, b, i, "_%s must be 1 or more, found %lld", CYC_RLN_OPTICS_GROUP,
			                    (long long)number);
			goto done;
		}
		if (number > highest) highest = number;
	}
	CYC_TRY(cyc_alloc(row_of, (size_t)highest + 1, sizeof **row_of));
	for (int64_t i = 0; i <= highest; i++) (*row_of)[i] = -1;
	for (int64_t i = 0; i < n; i++) {
		number = i + 1;
		if (column >= 0) CYC_TRY(cyc_star_int(&number, b, i, column));
		if ((*row_of)[number] >= 0) {
			st = cyc_star_raise(CYC_E_DATA, b, i, "optics group %lld occurs twice, first in row %d",
			                    (long long)number, (*row_of)[number] + 1);
			goto done;
		}
		(*row_of)[number] = (int32_t)i;
	}
	*n_numbers = highest + 1;
done:
	return st;
}

static cyc_status read_groups(cyc__particle_reader *r, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	cyc_particle_set *s = r->set;
	int32_t *row_of = NULL, column = cyc_star_column(r->block, CYC_RLN_OPTICS_GROUP);
	int64_t n = cyc_star_n_rows(b), n_numbers = 0, number = 1;
	CYC_CHECK(n > 0 && n < 1 << 24, CYC_E_DATA, "'%s': block 'optics' has %lld rows", cyc_star_name(s->star),
	          (long long)n);
	CYC_TRY(cyc_alloc(&s->optics, (size_t)n, sizeof *s->optics));
	s->n_optics = (int32_t)n;
	for (int32_t i = 0; i < s->n_optics; i++) CYC_TRY(read_group(&s->optics[i], b, i));
	CYC_TRY(map_group_numbers(&row_of, &n_numbers, b));
	if (column < 0 && n > 1) CYC_TRY(cyc_star_require_column(&column, r->block, CYC_RLN_OPTICS_GROUP));
	for (int64_t row = 0; row < r->n_rows; row++) {
		if (column >= 0) CYC_TRY(cyc_star_int(&number, r->block, row, column));
		if (number < 0 || number >= n_numbers || row_of[number] < 0) {
			st = cyc_star_raise(CYC_E_DATA, r->block, row, "optics group %lld is not in block 'optics'",
			                    (long long)number);
			goto done;
		}
		r->optics[row] = row_of[number];
	}
done:
	cyc_free(row_of);
	return st;
}

/* Also put into the document, so that what is written from it can be read by all programs. */
static cyc_status add_group(cyc_particle_set *s, const cyc_tilt_series *ts, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column;
	int64_t row;
	CYC_TRY(cyc_star_require(&b, s->star, "optics"));
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_OPTICS_GROUP, ""));
	CYC_TRY(cyc_star_set_int(b, row, column, i + 1));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_OPTICS_GROUP_NAME, ""));
	CYC_TRY(cyc_star_set_text(b, row, column, ts->optics_group_name));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_SPHERICAL_ABERRATION, ""));
	CYC_TRY(cyc_star_set_double(b, row, column, ts->spherical_aberration_mm));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_VOLTAGE, ""));
	CYC_TRY(cyc_star_set_double(b, row, column, ts->voltage_kV));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_AMPLITUDE_CONTRAST, ""));
	CYC_TRY(cyc_star_set_double(b, row, column, ts->amplitude_contrast_frac));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE, ""));
	CYC_TRY(cyc_star_set_double(b, row, column, ts->pixel_size_A));
	cyc_optics_group *o = &s->optics[i];
	CYC_TRY(cyc_strdup(&o->name, ts->optics_group_name));
	o->voltage_kV = ts->voltage_kV;
	o->spherical_aberration_mm = ts->spherical_aberration_mm;
	o->amplitude_contrast_frac = ts->amplitude_contrast_frac;
	o->pixel_size_A = ts->pixel_size_A;
done:
	return st;
}

/* No optics table: a group for each name of the tomograms, numbered as the particles meet them. */
static cyc_status make_groups(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	cyc_particle_set *s = r->set;
	cyc__name_map groups = { 0 };
	cyc_star_block *b;
	int32_t column;
	CYC_TRY(cyc_star_add_block(&b, s->star, "optics", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&column, r->block, CYC_RLN_OPTICS_GROUP, "1"));
	CYC_TRY(cyc_alloc(&s->optics, (size_t)s->n_series, sizeof *s->optics));
	for (int64_t row = 0; row < r->n_rows; row++) {
		if (r->series[row] < 0) continue;
		const cyc_tilt_series *ts = &r->tomograms->series[r->series[row]];
		int64_t i = cyc__name_map_get(&groups, ts->optics_group_name);
		if (i < 0) {
			CYC_TRY(cyc__name_map_add(&i, &groups, ts->optics_group_name, s->n_optics));
			s->n_optics++;
			CYC_TRY(add_group(s, ts, (int32_t)i));
		}
		r->optics[row] = (int32_t)i;
		CYC_TRY(cyc_star_set_int(r->block, row, column, i + 1));
	}
	cyc_info("'%s' has no optics groups: %d were made from '%s'", s->path, s->n_optics, r->tomograms->path);
done:
	cyc__name_map_deinit(&groups);
	return st;
}

static cyc_status check_same(const cyc__particle_reader *r, int64_t row, const char *what, double particles,
                             double tomogram)
{
	/* NaN: the optics table does not say. */
	if (isnan(particles) || fabs(particles - tomogram) <= 1e-3) return CYC_OK;
	const cyc_tilt_series *ts = &r->tomograms->series[r->series[row]];
	cyc_status st = cyc_star_raise(
		CYC_E_DATA, r->block, row, "%s of optics group '%s' is %g, but of tomogram '%s' (in '%s') %g", what,
		r->set->optics[r->optics[row]].name, particles, ts->name, r->tomograms->path, tomogram);
	cyc_error_hint("correct the optics table of the particles, or of the tomograms");
	return st;
}

static cyc_status check_groups(const cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	int32_t last_series = -1, last_optics = -1;
	for (int64_t row = 0; row < r->n_rows; row++) {
		if (r->series[row] < 0 || (r->series[row] == last_series && r->optics[row] == last_optics)) continue;
		last_series = r->series[row];
		last_optics = r->optics[row];
		const cyc_tilt_series *ts = &r->tomograms->series[last_series];
		const cyc_optics_group *o = &r->set->optics[last_optics];
		CYC_TRY(check_same(r, row, "the tilt series' pixel size (Å)", o->pixel_size_A, ts->pixel_size_A));
		CYC_TRY(check_same(r, row, "the voltage (kV)", o->voltage_kV, ts->voltage_kV));
		CYC_TRY(check_same(r, row, "the spherical aberration (mm)", o->spherical_aberration_mm,
		                   ts->spherical_aberration_mm));
		CYC_TRY(check_same(r, row, "the amplitude contrast", o->amplitude_contrast_frac,
		                   ts->amplitude_contrast_frac));
	}
done:
	return st;
}

typedef struct {
	const char *label;
	size_t offset; /* of a double in cyc_tilt_series */
} optics_number;

/* One column for all groups, from the series that the particles of each are in; a group without particles
 * gets the first series'. */
static cyc_status add_number(const cyc__particle_reader *r, cyc_star_block *b, const optics_number *what,
                             const int32_t *series_of)
{
	cyc_status st = CYC_OK;
	int32_t column;
	if (cyc_star_column(b, what->label) >= 0) goto done;
	for (int64_t row = 0; row < r->n_rows; row++) {
		if (r->series[row] < 0) continue;
		const cyc_tilt_series *first = &r->tomograms->series[series_of[r->optics[row]]],
							  *now = &r->tomograms->series[r->series[row]];
		double a = *(const double *)((const char *)first + what->offset),
			   c = *(const double *)((const char *)now + what->offset);
		if (fabs(a - c) <= 1e-3) continue;
		cyc_warn("'%s': optics group '%s' has no %s, and its tilt series %s and %s have different ones (%g, "
		         "%g), so the output has none either; give each series its own optics group",
		         r->set->path, r->set->optics[r->optics[row]].name, what->label, first->name, now->name, a,
		         c);
		goto done;
	}
	CYC_TRY(cyc_star_ensure_column(&column, b, what->label, ""));
	for (int32_t g = 0; g < r->set->n_optics; g++) {
		const cyc_tilt_series *ts = &r->tomograms->series[series_of[g] >= 0 ? series_of[g] : 0];
		CYC_TRY(cyc_star_set_double(b, g, column, *(const double *)((const char *)ts + what->offset)));
	}
done:
	return st;
}

/* What RELION wants of an optics table and the particles lacked comes from the tomograms, so that it is in
 * all that is written. */
static cyc_status fill_document(cyc__particle_reader *r, cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	static const optics_number NUMBERS[] = {
		{ CYC_RLN_SPHERICAL_ABERRATION, offsetof(cyc_tilt_series, spherical_aberration_mm) },
		{ CYC_RLN_VOLTAGE, offsetof(cyc_tilt_series, voltage_kV) },
		{ CYC_RLN_AMPLITUDE_CONTRAST, offsetof(cyc_tilt_series, amplitude_contrast_frac) },
		{ CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE, offsetof(cyc_tilt_series, pixel_size_A) }
	};
	int32_t *series_of = NULL, column;
	if (r->tomograms->n_series == 0) return CYC_OK;
	CYC_TRY(cyc_alloc(&series_of, r->set->n_optics, sizeof *series_of));
	for (int32_t g = 0; g < r->set->n_optics; g++) series_of[g] = -1;
	for (int64_t row = 0; row < r->n_rows; row++)
		if (r->series[row] >= 0 && series_of[r->optics[row]] < 0) series_of[r->optics[row]] = r->series[row];
	if (cyc_star_column(b, CYC_RLN_OPTICS_GROUP_NAME) < 0) {
		CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_OPTICS_GROUP_NAME, ""));
		/* The tomograms know the name where the optics table has none. */
		for (int32_t g = 0; g < r->set->n_optics; g++) {
			const char *known =
				series_of[g] >= 0 ? r->tomograms->series[series_of[g]].optics_group_name : NULL;
			CYC_TRY(cyc_star_set_text(
				b, g, column, known && known[0] && r->set->n_optics == 1 ? known : r->set->optics[g].name));
		}
	}
	for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++)
		CYC_TRY(add_number(r, b, &NUMBERS[i], series_of));
	if (cyc_star_column(b, CYC_RLN_OPTICS_GROUP) < 0) {
		CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_OPTICS_GROUP, ""));
		for (int32_t g = 0; g < r->set->n_optics; g++) CYC_TRY(cyc_star_set_int(b, g, column, g + 1));
	}
	/* There is one group only, or they would have been refused. */
	if (cyc_star_column(r->block, CYC_RLN_OPTICS_GROUP) < 0)
		CYC_TRY(cyc_star_ensure_column(&column, r->block, CYC_RLN_OPTICS_GROUP,
		                               cyc_star_text_of(b, 0, CYC_RLN_OPTICS_GROUP)));
done:
	cyc_free(series_of);
	return st;
}

cyc_status cyc__particles_read_optics(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b = cyc_star_find(r->set->star, "optics");
	CYC_TRY(b ? read_groups(r, b) : make_groups(r));
	CYC_TRY(check_groups(r));
	CYC_TRY(fill_document(r, cyc_star_find(r->set->star, "optics")));
	for (int64_t i = 0; i < r->set->n; i++)
		r->set->particles[i].i_optics = r->optics[r->set->particles[i].row];
done:
	return st;
}

/* One vector column for all groups: a group that has none gets zeros. */
static cyc_status put_vectors(cyc_particle_set *s, cyc_star_block *b, const char *label, bool is_odd)
{
	cyc_status st = CYC_OK;
	int32_t column, n = 0;
	double *zeros = NULL;
	CYC_TRY(cyc_star_ensure_column(&column, b, label, "[]"));
	for (int32_t i = 0; i < s->n_optics; i++)
		n = s->optics[i].n_odd > n && is_odd     ? s->optics[i].n_odd
		    : s->optics[i].n_even > n && !is_odd ? s->optics[i].n_even
		                                         : n;
	CYC_TRY(cyc_alloc(&zeros, n, sizeof *zeros));
	for (int32_t i = 0; i < s->n_optics; i++) {
		const cyc_optics_group *o = &s->optics[i];
		const double *v = is_odd ? o->odd_zernike : o->even_zernike;
		int32_t n_own = is_odd ? o->n_odd : o->n_even;
		CYC_TRY(cyc_star_set_vector(b, i, column, n_own > 0 ? v : zeros, n_own > 0 ? n_own : n));
	}
done:
	cyc_free(zeros);
	return st;
}

static cyc_status copy_vector(double **to, int32_t *n_to, const double *from, int32_t n)
{
	cyc_status st = CYC_OK;
	double *v = NULL;
	CYC_TRY(cyc_alloc(&v, n, sizeof *v));
	memcpy(v, from, (size_t)n * sizeof *v);
	cyc_free(*to);
	*to = v;
	*n_to = n;
done:
	return st;
}

cyc_status cyc_particle_set_put_aberrations(cyc_particle_set *s, int32_t i_optics, const double *even,
                                            int32_t n_even, const double *odd, int32_t n_odd)
{
	cyc_status st = CYC_OK;
	static const char *const TILTS[] = { CYC_RLN_BEAM_TILT_X, CYC_RLN_BEAM_TILT_Y };
	cyc_optics_group *o = &s->optics[i_optics];
	cyc_star_block *b;
	CYC_TRY(cyc_star_require(&b, s->star, "optics"));
	if (even) CYC_TRY(copy_vector(&o->even_zernike, &o->n_even, even, n_even));
	if (odd) CYC_TRY(copy_vector(&o->odd_zernike, &o->n_odd, odd, n_odd));
	if (even) CYC_TRY(put_vectors(s, b, CYC_RLN_EVEN_ZERNIKE, false));
	if (odd) CYC_TRY(put_vectors(s, b, CYC_RLN_ODD_ZERNIKE, true));
	for (int k = 0; k < 2 && odd; k++) {
		int32_t column = cyc_star_column(b, TILTS[k]);
		for (int32_t i = 0; i < s->n_optics && column >= 0; i++)
			CYC_TRY(cyc_star_set_double(b, i, column, 0)); /* all are in the vectors now */
	}
done:
	return st;
}

cyc_status cyc_particle_set_put_magnification(cyc_particle_set *s, int32_t i_optics,
                                              const double magnification[2][2])
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column;
	CYC_TRY(cyc_star_require(&b, s->star, "optics"));
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 2; j++) {
			double neutral = i == j ? 1 : 0;
			s->optics[i_optics].magnification[i][j] = magnification[i][j];
			s->optics[i_optics].has_magnification = (i + j > 0 && s->optics[i_optics].has_magnification) ||
			                                        fabs(magnification[i][j] - neutral) > 1e-9;
			CYC_TRY(cyc_star_ensure_column(&column, b, CYC_LABELS_MAGNIFICATION[i][j],
			                               i == j ? "1.000000" : "0.000000"));
			CYC_TRY(cyc_star_set_double(b, i_optics, column, magnification[i][j]));
		}
done:
	return st;
}

/* Impossible values: the range of each column, and the reason for it, is in the table of labels. */
#include "survey/survey_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a column beyond the limits, and the first of them. */
typedef struct {
	int64_t first, n;
	double value;
} outside;

static void note(outside *o, int64_t row, double value)
{
	if (o->n++ > 0) return;
	o->first = row;
	o->value = value;
}

/* Tilts of scale 0 take part in nothing. */
static bool is_used(const cyc_survey *s, const cyc_survey_table *t, int64_t row)
{
	return t->kind != CYC_TABLE_TILTS || s->p->tomograms->series[t->i_series].tilts[row].scale != 0;
}

static cyc_status add_outside(cyc_survey *s, const cyc_survey_table *t, const cyc_label_info *label,
                              const outside *o, bool is_error)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	const cyc_label_range *range = label->range;
	const char *unit = label->unit, *space = unit[0] ? " " : "";
	double low = is_error ? range->low : range->usual_low, high = is_error ? range->high : range->usual_high;
	CYC_TRY(cyc_survey_add(&f, s, is_error ? CYC_FINDING_ERROR : CYC_FINDING_WARNING, "value", t->i_series,
	                       t->file, label->name));
	f->row = o->first + 1;
	f->n_more = o->n - 1;
	f->measured.value = o->value;
	CYC_FINDING_SAY(f->found, "_%s is %g%s%s", label->name, o->value, space, unit);
	CYC_FINDING_SAY(f->wanted, "%g to %g%s%s: %s", low, high, space, unit, range->why);
	CYC_FINDING_SAY(f->action, "%s", is_error ? "correct the value" : "check whether it is intended");
	if (t->kind == CYC_TABLE_TILTS)
		CYC_FINDING_SAY(f->action, "%s, or exclude the tilt with a _%s of 0",
		                is_error ? "correct the value" : "check whether it is intended",
		                CYC_RLN_CTF_SCALEFACTOR);
done:
	return st;
}

/* Of a column that was not read. "None" is nobody's harm, but a number that is none is handed on to programs
 * that need one; among particles, tables of several origins have such in columns that nobody needs. */
static bool is_not_finite(const cyc_survey_table *t, int64_t row, int32_t column)
{
	char *end = NULL;
	double v = strtod(cyc_star_text(t->block, row, column), &end);
	return t->kind != CYC_TABLE_PARTICLES && *end == '\0' && end != cyc_star_text(t->block, row, column) &&
	       !isfinite(v);
}

static cyc_status check_column(cyc_survey *s, const cyc_survey_table *t, int32_t column,
                               const cyc_label_info *label)
{
	cyc_status st = CYC_OK;
	outside wrong = { 0 }, odd = { 0 };
	for (int64_t row = 0; row < cyc_star_n_rows(t->block); row++) {
		double v;
		if (!is_used(s, t, row)) continue;
		if (cyc_star_double(&v, t->block, row, column) != CYC_OK) {
			cyc_error_clear();
			if (is_not_finite(t, row, column)) note(&wrong, row, CYC_NAN);
			continue;
		}
		if (v < label->range->low || v > label->range->high) note(&wrong, row, v);
		else if (v < label->range->usual_low || v > label->range->usual_high) note(&odd, row, v);
	}
	if (wrong.n > 0) CYC_TRY(add_outside(s, t, label, &wrong, true));
	if (odd.n > 0) CYC_TRY(add_outside(s, t, label, &odd, false));
done:
	return st;
}

static cyc_status check_table(cyc_survey *s, const cyc_survey_table *t)
{
	cyc_status st = CYC_OK;
	size_t n;
	const cyc_label_info *labels = cyc_label_table(&n);
	for (size_t k = 0; k < n; k++) {
		if (!labels[k].range->why || !(labels[k].tables & (unsigned)t->kind)) continue;
		int32_t column = cyc_star_column(t->block, labels[k].name);
		if (column >= 0) CYC_TRY(check_column(s, t, column, &labels[k]));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- vectors */

/* Lists of numbers: projection matrices, deformations, aberrations, trajectories. */
static cyc_status check_vector(cyc_survey *s, int32_t i_series, const char *file, const char *label,
                               int64_t row, const double *v, int32_t n, double most)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	for (int32_t i = 0; i < n; i++) {
		if (fabs(v[i]) <= most) continue;
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_ERROR, "value", i_series, file, label));
		f->row = row + 1;
		f->measured.value = v[i];
		CYC_FINDING_SAY(f->found, "number %d of _%s is %g", i + 1, label, v[i]);
		CYC_FINDING_SAY(f->wanted, "at most %g", most);
		CYC_FINDING_SAY(f->action, "correct the value, or use an earlier, undamaged table");
		break;
	}
done:
	return st;
}

static cyc_status check_series_vectors(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	static const char *const MATRIX[3] = { CYC_RLN_TOMO_PROJ_X, CYC_RLN_TOMO_PROJ_Y, CYC_RLN_TOMO_PROJ_Z };
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *t = &ts->tilts[f];
		if (t->scale == 0) continue;
		for (int k = 0; k < 3 && t->has_matrix; k++) {
			CYC_TRY(check_vector(s, i, ts->table_path, MATRIX[k], f, t->matrix[k], 3, 10));
			CYC_TRY(check_vector(s, i, ts->table_path, MATRIX[k], f, t->matrix[k] + 3, 1, 1e6));
		}
		CYC_TRY(check_vector(s, i, ts->table_path, CYC_RLN_TOMO_DEFORMATION_COEFFICIENTS, f, t->deformation,
		                     t->n_deformation, 1e5));
	}
done:
	return st;
}

/* Trajectories: no particle is carried further than this, not even by the stage. */
static const double MOST_MOTION_A = 1e4;

static cyc_status check_motion(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	const cyc_particle_set *set = s->p->particles;
	for (int64_t i = 0; i < set->n && set->motion_data; i++) {
		const cyc_particle *p = &set->particles[i];
		int32_t n = 3 * s->p->tomograms->series[p->i_series].n_tilts, worst = -1;
		for (int32_t k = 0; k < n && p->motion_A && worst < 0; k++)
			if (!(fabs((double)p->motion_A[k]) <= MOST_MOTION_A)) worst = k;
		if (worst < 0) continue;
		CYC_TRY(
			cyc_survey_add(&f, s, CYC_FINDING_ERROR, "value", p->i_series, s->p->set->trajectories, NULL));
		f->row = worst / 3 + 1;
		f->measured.value = (double)p->motion_A[worst];
		CYC_FINDING_SAY(f->found, "the trajectory of particle %s is %g Å away", p->name,
		                (double)p->motion_A[worst]);
		CYC_FINDING_SAY(f->wanted, "at most %g Å", MOST_MOTION_A);
		CYC_FINDING_SAY(f->action, "correct the trajectory (block '%s'), or leave the trajectories out",
		                p->name);
	}
done:
	return st;
}

/* RELION reads as many trajectories as the file says that it has. */
static cyc_status check_motion_count(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	const cyc_particle_set *set = s->p->particles;
	if (!set->motion_data || set->n_trajectories_said < 0 || set->n_trajectories_said == set->n_trajectories)
		goto done;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "contradiction", -1, s->p->set->trajectories,
	                       CYC_RLN_PARTICLE_NUMBER));
	f->row = 1;
	f->measured.value = (double)set->n_trajectories_said;
	CYC_FINDING_SAY(f->found, "%lld particles in block 'general', but %lld trajectories follow",
	                (long long)set->n_trajectories_said, (long long)set->n_trajectories);
	CYC_FINDING_SAY(f->wanted, "%lld, the number of its trajectories", (long long)set->n_trajectories);
	CYC_FINDING_SAY(f->action,
	                "correct the number if the file is whole; else make the trajectories again (polish)");
done:
	return st;
}

cyc_status cyc_survey_ranges(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	CYC_TRY(cyc_survey_each_table(s, check_table));
	for (int32_t i = 0; i < s->p->tomograms->n_series; i++)
		if (cyc_survey_has_particles(s, i)) CYC_TRY(check_series_vectors(s, i));
	for (int32_t g = 0; g < set->n_optics; g++) {
		const cyc_optics_group *o = &set->optics[g];
		CYC_TRY(check_vector(s, -1, set->path, CYC_RLN_EVEN_ZERNIKE, g, o->even_zernike, o->n_even, 1e9));
		CYC_TRY(check_vector(s, -1, set->path, CYC_RLN_ODD_ZERNIKE, g, o->odd_zernike, o->n_odd, 1e9));
	}
	CYC_TRY(check_motion_count(s));
	CYC_TRY(check_motion(s));
done:
	return st;
}

/* Requirements of a refinement on the tables as a whole. */
#include "check/check_internal.h"
#include "project/labels.h"

#include <math.h>

/* Pixel sizes that count as one. */
static const double SAME_PIXEL_SIZE = 2e-3;

static cyc_status check_pixel_size(cyc_check *c, int32_t i, int32_t first)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &c->tomograms->series[i], *other = &c->tomograms->series[first];
	cyc_finding *f;
	if (fabs(ts->pixel_size_A / other->pixel_size_A - 1) < SAME_PIXEL_SIZE) goto done;
	CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_ERROR, "mixed-pixel-sizes", i));
	CYC_TRY(cyc_finding_put(f, c->set->tomograms, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE));
	f->row = i + 1;
	CYC_FINDING_SAY(f->found, "pixel size of %.4g Å, but tilt series %s has %.4g", ts->pixel_size_A,
	                other->name, other->pixel_size_A);
	CYC_FINDING_SAY(f->wanted, "the same pixel size, to %g %%", 100 * SAME_PIXEL_SIZE);
	CYC_FINDING_SAY(f->action, "refine series of different pixel sizes in separate runs");
done:
	return st;
}

static cyc_status check_voltage(cyc_check *c, int32_t i, int32_t first)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &c->tomograms->series[i], *other = &c->tomograms->series[first];
	cyc_finding *f;
	if (fabs(ts->voltage_kV - other->voltage_kV) <= 0) goto done;
	CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_ERROR, "mixed-voltages", i));
	CYC_TRY(cyc_finding_put(f, c->set->tomograms, CYC_RLN_VOLTAGE));
	f->row = i + 1;
	CYC_FINDING_SAY(f->found, "%g kV, but tilt series %s has %g", ts->voltage_kV, other->name,
	                other->voltage_kV);
	CYC_FINDING_SAY(f->wanted, "one voltage");
	CYC_FINDING_SAY(f->action, "refine series of different voltages in separate runs");
done:
	return st;
}

/* Names that only one of the two tables has. */
static cyc_status check_names(cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	int32_t n_empty = 0, first = -1;
	for (int32_t i = 0; i < c->result->n_series; i++) {
		if (c->result->series[i].n_particles > 0) continue;
		if (n_empty++ == 0) first = i;
	}
	if (c->particles->n_unknown_tomogram > 0) {
		CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_WARNING, "names", -1));
		CYC_TRY(cyc_finding_put(f, c->set->particles, CYC_RLN_TOMO_NAME));
		CYC_FINDING_SAY(f->found, "%lld particles belong to tomograms that are not in '%s'",
		                (long long)c->particles->n_unknown_tomogram, c->set->tomograms);
		CYC_FINDING_SAY(f->wanted, "names in that table");
		CYC_FINDING_SAY(f->action, "they are left out: correct the names, or add the tomograms");
	}
	if (n_empty > 0) {
		CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_NOTE, "names", first));
		CYC_TRY(cyc_finding_put(f, c->set->tomograms, CYC_RLN_TOMO_NAME));
		f->row = first + 1;
		f->n_more = n_empty - 1;
		CYC_FINDING_SAY(f->found, "it has no particles");
		CYC_FINDING_SAY(f->action, "it is not used");
	}
done:
	return st;
}

cyc_status cyc_check_tables(cyc_check *c)
{
	cyc_status st = CYC_OK;
	int32_t first = -1;
	if (!c->o->input.is_checked) CYC_TRY(check_names(c));
	for (int32_t i = 0; i < c->result->n_series; i++) {
		if (c->result->series[i].n_particles == 0) continue;
		if (first < 0) first = i;
		c->result->series[i].stage = cyc_stage_slope(&c->tomograms->series[i]);
		CYC_TRY(check_pixel_size(c, i, first));
		CYC_TRY(check_voltage(c, i, first));
	}
done:
	return st;
}

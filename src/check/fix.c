/* A corrected project beside the old one. */
#include "check/check_internal.h"

#include "cyclotomo/outputs.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* In a column of a series' tilt table: value -> factor value + term. */
static cyc_status change_column(cyc_check *c, int32_t i, const char *label, const char *fill, double factor,
                                double term)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column;
	CYC_TRY(cyc_star_require(&b, c->tomograms->series_star[i], c->tomograms->series[i].name));
	CYC_TRY(cyc_star_ensure_column(&column, b, label, fill));
	for (int64_t row = 0; row < cyc_star_n_rows(b); row++) {
		double v;
		CYC_TRY(cyc_star_double(&v, b, row, column));
		CYC_TRY(cyc_star_set_double(b, row, column, factor * v + term));
	}
done:
	return st;
}

static cyc_status reverse_doses(cyc_check *c, int32_t i)
{
	const cyc_tilt_series *ts = &c->tomograms->series[i];
	double low = HUGE_VAL, high = -HUGE_VAL;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		low = fmin(low, ts->tilts[f].pre_exposure_e_per_A2);
		high = fmax(high, ts->tilts[f].pre_exposure_e_per_A2);
	}
	return change_column(c, i, CYC_RLN_MICROGRAPH_PRE_EXPOSURE, "0", -1, low + high);
}

static cyc_status turn_hand(cyc_check *c, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_star_block *global;
	int32_t column;
	CYC_TRY(cyc_star_require(&global, c->tomograms->star, "global"));
	CYC_TRY(cyc_star_ensure_column(&column, global, CYC_RLN_TOMO_HAND, "1"));
	CYC_TRY(cyc_star_set_int(global, i, column, c->tomograms->series[i].hand > 0 ? -1 : 1));
done:
	return st;
}

/* The particles of a series get an optics group of their own, unless they have one; its index. */
static cyc_status own_group(int32_t *group, cyc_star *particles, const char *series)
{
	cyc_status st = CYC_OK;
	cyc_star_block *optics, *rows;
	int32_t name, number, of_row;
	int64_t first = -1, others = 0, new_row;
	CYC_TRY(cyc_star_require(&optics, particles, "optics"));
	CYC_TRY(cyc_star_require(&rows, particles, "particles"));
	CYC_TRY(cyc_star_require_column(&number, optics, CYC_RLN_OPTICS_GROUP));
	CYC_TRY(cyc_star_require_column(&name, rows, CYC_RLN_TOMO_NAME));
	CYC_TRY(cyc_star_require_column(&of_row, rows, CYC_RLN_OPTICS_GROUP));
	for (int64_t r = 0; r < cyc_star_n_rows(rows); r++) {
		int64_t g;
		if (strcmp(cyc_star_text(rows, r, name), series) != 0) continue;
		CYC_TRY(cyc_star_int(&g, rows, r, of_row));
		if (first < 0) first = g;
		others += g != first;
	}
	CYC_CHECK(first >= 1 && first <= cyc_star_n_rows(optics) && others == 0, CYC_E_UNSUPPORTED,
	          "the particles of %s are in several optics groups: correct their magnification by hand",
	          series);
	for (int64_t r = 0; r < cyc_star_n_rows(rows); r++) {
		int64_t g;
		CYC_TRY(cyc_star_int(&g, rows, r, of_row));
		others += g == first && strcmp(cyc_star_text(rows, r, name), series) != 0;
	}
	*group = (int32_t)first - 1;
	if (others == 0) goto done;
	CYC_TRY(cyc_star_add_row(&new_row, optics));
	for (int32_t k = 0; k < cyc_star_n_columns(optics); k++)
		CYC_TRY(cyc_star_set_text(optics, new_row, k, cyc_star_text(optics, first - 1, k)));
	CYC_TRY(cyc_star_set_int(optics, new_row, number, new_row + 1));
	for (int64_t r = 0; r < cyc_star_n_rows(rows); r++)
		if (strcmp(cyc_star_text(rows, r, name), series) == 0)
			CYC_TRY(cyc_star_set_int(rows, r, of_row, new_row + 1));
	*group = (int32_t)new_row;
done:
	return st;
}

/* What stretches the particles' images only: where they lie in the image is what geometry says, found in the
 * images as they are. (T1.14) */
static cyc_status stretch(cyc_check *c, int32_t i, double size)
{
	cyc_status st = CYC_OK;
	static const char *const LABELS[4] = { CYC_RLN_MAG_MAT00, CYC_RLN_MAG_MAT01, CYC_RLN_MAG_MAT10,
		                                   CYC_RLN_MAG_MAT11 };
	static const char *const IDENTITY[4] = { "1.000000", "0.000000", "0.000000", "1.000000" };
	cyc_star_block *optics;
	int32_t group = 0, column;
	CYC_TRY(own_group(&group, c->particles->star, c->tomograms->series[i].name));
	CYC_TRY(cyc_star_require(&optics, c->particles->star, "optics"));
	for (int k = 0; k < 4; k++) {
		double v;
		CYC_TRY(cyc_star_ensure_column(&column, optics, LABELS[k], IDENTITY[k]));
		CYC_TRY(cyc_star_double(&v, optics, group, column));
		CYC_TRY(cyc_star_set_double(optics, group, column, v * size));
	}
done:
	return st;
}

/* No existing file may be overwritten, of this project or another. */
static cyc_status refuse_existing(const cyc_check *c, const char *dir)
{
	cyc_status st = CYC_OK;
	cyc_output_plan plan = { .kind = CYC_OUTPUT_CHECK, .out = dir, .root = c->root, .input = &c->o->input };
	char *found = NULL;
	CYC_TRY(cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL));
	CYC_TRY(cyc_outputs_find(&found, CYC_OUTPUT_CHECK, c->root, dir));
	CYC_CHECK(!found, CYC_E_USAGE, "%s already exists: name a new folder for the corrected project (--fix)",
	          found);
done:
	cyc_free(found);
	return st;
}

static cyc_status change(cyc_check *c, const cyc_finding *f, bool *has_particles)
{
	int32_t i = f->i_series;
	if (strcmp(f->kind, "hand") == 0) return turn_hand(c, i);
	if (strcmp(f->kind, "dose") == 0) return reverse_doses(c, i);
	if (strcmp(f->kind, "stage-sign") == 0)
		return change_column(c, i, CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE, "0", -1, 0);
	if (strcmp(f->kind, "contrast") == 0) return change_column(c, i, CYC_RLN_PHASE_SHIFT, "0", 1, 180);
	*has_particles = true;
	return stretch(c, i, 1 + f->measured.value);
}

/* The set last: its being there says that all is. Maps belong to the old metadata and are not named any more.
 */
static cyc_status write_project(cyc_check *c, const char *dir, bool has_particles)
{
	cyc_status st = CYC_OK;
	char *tomograms = NULL, *particles = NULL, *path = NULL;
	CYC_TRY(cyc_tomogram_set_write(c->tomograms, dir, c->root, 0));
	CYC_TRY(cyc_path_join(&tomograms, dir, "tomograms.star"));
	if (has_particles) {
		CYC_TRY(cyc_path_join(&particles, dir, "particles.star"));
		CYC_TRY(cyc_path_join(&path, c->root, particles));
		CYC_TRY(cyc_star_write(c->particles->star, path));
	}
	const cyc_set_changes now = { .tomograms = tomograms, .particles = particles };
	CYC_TRY(cyc_path_join(&c->result->fixed_set, dir, "optimisation_set.star"));
	CYC_TRY(cyc_optimisation_set_write_result(c->root, c->result->fixed_set, c->set, &now));
done:
	cyc_free(tomograms);
	cyc_free(particles);
	cyc_free(path);
	return st;
}

cyc_status cyc_check_fix(cyc_check *c)
{
	cyc_status st = CYC_OK;
	bool has_particles = false;
	for (int32_t k = 0; k < c->result->found.n; k++) {
		const cyc_finding *f = &c->result->found.items[k];
		if (!f->can_fix) continue;
		CYC_TRY_CTX(change(c, f, &has_particles), "correcting %s", f->series);
		c->result->n_fixed++;
	}
	if (c->result->n_fixed > 0) CYC_TRY(write_project(c, c->o->fix_dir, has_particles));
done:
	return st;
}

cyc_status cyc_check_fix_folder(const cyc_check *c)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(c->o->fix_dir[0], CYC_E_USAGE, "a folder is needed for the corrected project (--fix)");
	CYC_TRY(refuse_existing(c, c->o->fix_dir));
done:
	return st;
}

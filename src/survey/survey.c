/* The survey: its parts in order. */
#include "survey/survey_internal.h"

#include "cyclotomo/ranks.h"

#include <string.h>

cyc_star_block *cyc_survey_particle_table(const cyc_survey *s)
{
	cyc_star_block *b = cyc_star_find(s->p->particles->star, "particles");
	return b ? b : cyc_star_block_at(s->p->particles->star, 0);
}

cyc_status cyc_survey_add(cyc_finding **out, cyc_survey *s, cyc_finding_level level, const char *kind,
                          int32_t i_series, const char *file, const char *column)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_finding_add(out, s->found, level, kind));
	(*out)->i_series = i_series;
	if (i_series >= 0) CYC_TRY(cyc_strdup(&(*out)->series, s->p->tomograms->series[i_series].name));
	CYC_TRY(cyc_finding_put(*out, file, column));
done:
	return st;
}

cyc_status cyc_survey_each_table(cyc_survey *s, cyc_status (*visit)(cyc_survey *s, const cyc_survey_table *t))
{
	cyc_status st = CYC_OK;
	const cyc_tomogram_set *tomograms = s->p->tomograms;
	const cyc_particle_set *particles = s->p->particles;
	const cyc_survey_table global = { cyc_star_find(tomograms->star, "global"), CYC_TABLE_TOMOGRAMS,
		                              tomograms->path, -1 };
	const cyc_survey_table optics = { cyc_star_find(particles->star, "optics"), CYC_TABLE_OPTICS,
		                              particles->path, -1 };
	const cyc_survey_table rows = { cyc_survey_particle_table(s), CYC_TABLE_PARTICLES, particles->path, -1 };
	if (global.block) CYC_TRY(visit(s, &global));
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		const cyc_survey_table tilts = { cyc_survey_tilt_table(s, i), CYC_TABLE_TILTS,
			                             tomograms->series[i].table_path, i };
		if (tilts.block && cyc_survey_has_particles(s, i)) CYC_TRY(visit(s, &tilts));
	}
	if (optics.block) CYC_TRY(visit(s, &optics));
	if (rows.block) CYC_TRY(visit(s, &rows));
done:
	return st;
}

static cyc_status find_rows(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	int64_t n = cyc_star_n_rows(cyc_survey_particle_table(s));
	CYC_TRY(cyc_alloc(&s->row_series, n, sizeof *s->row_series));
	for (int64_t i = 0; i < n; i++) s->row_series[i] = -1;
	for (int64_t i = 0; i < set->n; i++) s->row_series[set->particles[i].row] = set->particles[i].i_series;
done:
	return st;
}

/* Of all images of the series that are open. */
static double count_pixels(const cyc_survey *s)
{
	double n = 0;
	for (int32_t i = 0; i < s->p->tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &s->p->tomograms->series[i];
		if (ts->image_info) n += (double)ts->n_tilts * ts->image_nx * ts->image_ny;
	}
	return n;
}

cyc_status cyc_survey_project(cyc_finding_list *found, const cyc_project_view *p, const cyc_survey_options *o)
{
	cyc_status st = CYC_OK;
	cyc_survey s = { .found = found, .p = p, .o = o };
	CYC_TRY(cyc_alloc(&s.is_broken, p->tomograms->n_series, sizeof *s.is_broken));
	CYC_TRY(find_rows(&s));
	CYC_TRY(cyc_survey_ranges(&s));
	for (int32_t i = 0; i < found->n; i++)
		if (found->items[i].level == CYC_FINDING_ERROR && found->items[i].i_series >= 0)
			s.is_broken[found->items[i].i_series] = true;
	CYC_TRY(cyc_survey_labels(&s));
	CYC_TRY(cyc_survey_tilts(&s));
	CYC_TRY(cyc_survey_series(&s));
	CYC_TRY(cyc_survey_particles(&s));
	if (o->skip_images) goto done;
	CYC_TRY(cyc_cancel_check());
	CYC_TRY(cyc_survey_images(&s));
	CYC_TRY(cyc_survey_places(&s));
	if (o->is_deep || count_pixels(&s) <= o->most_pixels) CYC_TRY(cyc_survey_pixels(&s));
done:
	cyc_free(s.row_series);
	cyc_free(s.is_broken);
	return st;
}

cyc_status cyc_survey_require(const cyc_project_view *p, const cyc_project_input *input,
                              const cyc_survey_options *o)
{
	cyc_status st = CYC_OK;
	cyc_finding_list found = { 0 };
	/* The word of rank 0 counts for all: they leave the job together. */
	if (input->is_checked || !cyc_is_first_rank()) return CYC_OK;
	CYC_TRY(cyc_survey_project(&found, p, o));
	cyc_finding_sort(&found);
	CYC_TRY(cyc_finding_raise(&found));
	CYC_TRY(cyc_finding_warn(&found));
done:
	cyc_finding_list_deinit(&found);
	return st;
}

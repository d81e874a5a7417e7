/* The selection: the tilt images that show each particle, and the particles that enough of them show. */
#include "extract/extract_internal.h"

#include <math.h>
#include <string.h>

void cyc__extract_selection_deinit(cyc_extract_selection *s)
{
	cyc_free(s->visible);
	cyc_free(s->first);
	cyc_free(s->n_visible);
	cyc_free(s->is_kept);
	memset(s, 0, sizeof *s);
}

static cyc_status select_series(cyc_extract_job *j, int32_t i_series)
{
	cyc_status st = CYC_OK;
	cyc_extract_selection *s = &j->selection;
	cyc_tilt_series *ts = &j->tomograms->series[i_series];
	int64_t first = j->particles->series_first[i_series], end = j->particles->series_first[i_series + 1];
	double max_dose = j->o->max_dose_e_per_A2;
	if (first == end) goto done;
	CYC_TRY(cyc_tilt_series_open(ts, j->root));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		cyc_projection p;
		/* A contrast scale of 0 says that the tilt is excluded: its images would be nothing but zeros. */
		if (ts->tilts[f].scale == 0 || (max_dose > 0 && ts->tilts[f].pre_exposure_e_per_A2 > max_dose))
			continue;
		CYC_TRY(cyc_projection_of_tilt(&p, ts, f));
		for (int64_t i = first; i < end; i++) {
			double x, y;
			const cyc_particle *particle = &j->particles->particles[i];
			cyc_particle_position_px(&x, &y, &p, ts, f, particle);
			bool is_visible = cyc_is_visible(ts, x, y, j->box.margin_px);
			s->visible[s->first[i] + (size_t)f] = is_visible;
			s->n_visible[i] += is_visible;
			if (!is_visible || j->o->stacks) continue;
			cyc_mat3 R = cyc__extract_orientation(j->o, &p, particle);
			s->height_frac = fmax(s->height_frac, hypot(R.m[0][2], R.m[1][2]));
		}
	}
done:
	return st;
}

cyc_status cyc__extract_select(cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	cyc_extract_selection *s = &j->selection;
	const cyc_particle_set *set = j->particles;
	size_t total = 0;
	CYC_TRY(cyc_alloc(&s->first, set->n, sizeof *s->first));
	CYC_TRY(cyc_alloc(&s->n_visible, set->n, sizeof *s->n_visible));
	CYC_TRY(cyc_alloc(&s->is_kept, set->n, sizeof *s->is_kept));
	for (int64_t i = 0; i < set->n; i++) {
		s->first[i] = total;
		total += (size_t)j->tomograms->series[set->particles[i].i_series].n_tilts;
	}
	CYC_TRY(cyc_alloc(&s->visible, total, sizeof *s->visible));
	for (int32_t i = 0; i < set->n_series; i++) CYC_TRY(select_series(j, i));
	for (int64_t i = 0; i < set->n; i++) {
		s->is_kept[i] = s->n_visible[i] >= j->o->min_frames;
		if (!s->is_kept[i]) continue;
		s->n_kept++;
		s->n_images += s->n_visible[i];
	}
	if (s->n_kept == 0) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "none of the %lld particles is visible in at least %d tilt images with a border "
		                     "of %g px around it",
		                     (long long)set->n, j->o->min_frames, j->box.margin_px);
		cyc_error_hint("use a smaller --crop or --min-frames, or a higher --max-dose");
		goto done;
	}
done:
	return st;
}

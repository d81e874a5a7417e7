/* Particles against the tomograms and images they should be in. The series are open. */
#include "survey/survey_internal.h"

#include "cyclotomo/tilt.h"
#include "project/labels.h"

#include <math.h>

/* Tomograms are about as wide as the images they are made of. */
static const double MOST_SIZE_RATIO = 2.5;

/* Sizes in binned pixels put the corner, and so all corner coordinates and heights, elsewhere. */
static cyc_status check_size(cyc_survey *s, int32_t i)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	double longest = fmax(ts->size_px[0], ts->size_px[1]), image = fmax(ts->image_nx, ts->image_ny);
	cyc_finding *f;
	if (longest < MOST_SIZE_RATIO * image && longest > image / MOST_SIZE_RATIO) return CYC_OK;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "tomogram-size", i, s->p->tomograms->path,
	                       CYC_RLN_TOMO_SIZE_X));
	f->row = i + 1;
	CYC_FINDING_SAY(f->found, "the tomogram has %d x %d px, the images have %d x %d", ts->size_px[0],
	                ts->size_px[1], ts->image_nx, ts->image_ny);
	CYC_FINDING_SAY(f->wanted, "_%s/Y/Z in unbinned pixels of the tilt images", CYC_RLN_TOMO_SIZE_X);
	CYC_FINDING_SAY(f->action, "if these are sizes of a binned tomogram multiply them by its binning");
done:
	return st;
}

static bool is_in_tomogram(const cyc_tilt_series *ts, const cyc_particle *p)
{
	const double at[3] = { p->position_A.x, p->position_A.y, p->position_A.z };
	/* A particle may be cut at the border; one that is as far outside again is not in it. */
	for (int a = 0; a < 3; a++)
		if (fabs(at[a]) > 0.55 * ts->size_px[a] * ts->pixel_size_A) return false;
	return true;
}

/* Row of a tilt that shows the particle, from the last one that did on; -1: none. */
static int32_t find_image(const cyc_projection *projections, const cyc_tilt_series *ts, const cyc_particle *p,
                          int32_t from)
{
	for (int32_t k = 0; k < ts->n_tilts; k++) {
		int32_t f = (from + k) % ts->n_tilts;
		double x, y;
		if (ts->tilts[f].scale == 0) continue;
		cyc_particle_position_px(&x, &y, &projections[f], ts, f, p);
		if (cyc_is_visible(ts, x, y, 0)) return f;
	}
	return -1;
}

typedef struct {
	int64_t n, first_row;
	int32_t i_series;
} lost;

static void note(lost *l, const cyc_particle *p)
{
	if (l->n++ > 0) return;
	l->first_row = p->row;
	l->i_series = p->i_series;
}

static cyc_status check_series(cyc_survey *s, int32_t i, lost *outside, lost *unseen)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->p->tomograms->series[i];
	const cyc_particle_set *set = s->p->particles;
	cyc_projection *projections = NULL;
	int32_t from = ts->n_tilts / 2;
	CYC_TRY(cyc_alloc(&projections, ts->n_tilts, sizeof *projections));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		if (!ts->tilts[f].has_angles && !ts->tilts[f].has_matrix) goto done;
		CYC_TRY(cyc_projection_of_tilt(&projections[f], ts, f));
	}
	for (int64_t k = set->series_first[i]; k < set->series_first[i + 1]; k++) {
		const cyc_particle *p = &set->particles[k];
		int32_t seen = find_image(projections, ts, p, from);
		if (seen >= 0) from = seen;
		else note(unseen, p);
		if (seen >= 0 && !is_in_tomogram(ts, p)) note(outside, p);
	}
done:
	cyc_free(projections);
	return st;
}

static cyc_status add_lost(cyc_survey *s, const lost *l, bool is_unseen)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	cyc_finding *f;
	if (l->n == 0) return CYC_OK;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, is_unseen ? "outside-images" : "outside-tomogram", -1,
	                       set->path, NULL));
	f->row = l->first_row + 1;
	f->n_more = l->n - 1;
	CYC_FINDING_SAY(f->found, "%lld of %lld particles are outside %s, the first in tilt series %s",
	                (long long)l->n, (long long)set->n,
	                is_unseen ? "all images of their tilt series" : "their tomograms",
	                s->p->tomograms->series[l->i_series].name);
	CYC_FINDING_SAY(f->wanted,
	                "positions inside, in Å from the centre of the tomogram (_rlnCenteredCoordinate*Angst)");
	CYC_FINDING_SAY(f->action, "check whether coordinates, tomogram sizes and pixel sizes are consistent");
done:
	return st;
}

cyc_status cyc_survey_places(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	lost outside = { 0 }, unseen = { 0 };
	for (int32_t i = 0; i < s->p->tomograms->n_series; i++) {
		if (!cyc_survey_has_particles(s, i) || s->is_broken[i] || s->p->tomograms->series[i].image_nx == 0)
			continue;
		CYC_TRY(check_size(s, i));
		CYC_TRY(check_series(s, i, &outside, &unseen));
	}
	CYC_TRY(add_lost(s, &outside, false));
	CYC_TRY(add_lost(s, &unseen, true));
done:
	return st;
}

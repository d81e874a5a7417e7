/* Particles: half-sets, particles that are listed twice, angles and coordinates that count in other units or
 * from elsewhere. */
#include "survey/survey_internal.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* Half-sets are dealt evenly; by chance they never differ by this factor. */
static const double MOST_HALF_RATIO = 3;
/* So many particles do not lie in one corner by chance. */
enum { LEAST_PARTICLES = 20 };
/* So many do not have one orientation by chance. */
enum { LEAST_ORIENTED = 4 };
/* Centred coordinates of pickers fill more of the tomograms' width and height than this; in nm, or in pixels
 * of 4 Å, they do not. */
static const double LEAST_SPREAD = 0.26;
/* Rotations of particles are not all this small in degrees while their median is above the other. */
static const double FULL_TURN = 2 * CYC_PI + 1e-3, MEDIAN_TURN = 1;

static cyc_status check_halves(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	int64_t n[2] = { 0, 0 };
	cyc_finding *f;
	for (int64_t i = 0; i < set->n && set->has_halves; i++)
		n[set->particles[i].half > 0] += set->particles[i].probability > 0;
	/* Jobs that need both half-sets refuse a project where one is empty, and so does the check. */
	if (set->has_halves && (n[0] == 0 || n[1] == 0)) goto done;
	bool is_uneven =
		(double)n[0] > MOST_HALF_RATIO * (double)n[1] || (double)n[1] > MOST_HALF_RATIO * (double)n[0];
	if (set->has_halves && (!is_uneven || n[0] + n[1] < LEAST_PARTICLES)) goto done;
	/* Jobs that need half-sets refuse a project without, with their own words. */
	CYC_TRY(cyc_survey_add(&f, s, set->has_halves ? CYC_FINDING_WARNING : CYC_FINDING_NOTE, "half-sets", -1,
	                       set->path, CYC_RLN_RANDOM_SUBSET));
	if (!set->has_halves) CYC_FINDING_SAY(f->found, "there are no half-sets");
	else
		CYC_FINDING_SAY(f->found, "the half-sets have %lld and %lld particles", (long long)n[0],
		                (long long)n[1]);
	CYC_FINDING_SAY(f->wanted, "two half-sets of about the same size");
	CYC_FINDING_SAY(f->action, "%s",
	                set->has_halves ? "assign the particles to half-sets again, unless this is intended; the "
	                                  "smaller half-set limits the FSC"
	                                : "a 3D auto-refinement assigns them: use its run_data.star");
done:
	return st;
}

/* ---------------------------------------------------------------- the same particle twice */

static cyc_status check_duplicates(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	cyc_duplicates d;
	cyc_finding *f;
	char text[512];
	if (!(s->o->duplicate_distance_A > 0)) return CYC_OK;
	CYC_TRY(cyc_particle_set_find_duplicates(&d, NULL, set, s->o->duplicate_distance_A));
	if (d.n_across > 0) {
		cyc_duplicates_describe(text, sizeof text, &d, set);
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "duplicates-across", -1, set->path, NULL));
		CYC_FINDING_SAY(f->found, "%s: both half maps contain their noise, and the FSC is too good", text);
		CYC_FINDING_SAY(f->wanted, "each particle once");
		CYC_FINDING_SAY(f->action, "cyclotomo separate --min-separation %.1f keeps one of each",
		                d.distance_A);
	}
	if (d.n_within > 0) {
		CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "duplicates-within", -1, set->path, NULL));
		CYC_FINDING_SAY(f->found,
		                "%lld pair%s of particles in the same half-set %s closer than %.1f Å: the same "
		                "images count twice",
		                (long long)d.n_within, d.n_within == 1 ? "" : "s", d.n_within == 1 ? "is" : "are",
		                d.distance_A);
		CYC_FINDING_SAY(f->wanted, "each particle once");
		CYC_FINDING_SAY(f->action, "cyclotomo separate keeps one of each; for overlapping segments and "
		                           "symmetry-expanded sets this is normal");
	}
done:
	return st;
}

/* ---------------------------------------------------------------- coordinates */

static bool has_all(const cyc_star_block *b, const char *const labels[3])
{
	return cyc_star_column(b, labels[0]) >= 0 && cyc_star_column(b, labels[1]) >= 0 &&
	       cyc_star_column(b, labels[2]) >= 0;
}

static void read_three(double v[3], const cyc_star_block *b, int64_t row, const char *const labels[3])
{
	for (int a = 0; a < 3; a++) {
		v[a] = CYC_NAN;
		if (cyc_star_double_of(&v[a], b, row, labels[a]) != CYC_OK) cyc_error_clear();
	}
}

/* Where both kinds exist only the centred ones are read. Do they mean the same place? */
static cyc_status compare_coordinates(cyc_survey *s, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	int64_t n = 0;
	double worst = 0;
	int64_t row = -1;
	cyc_finding *f;
	for (int64_t i = 0; i < set->n; i++) {
		const cyc_tilt_series *ts = &s->p->tomograms->series[set->particles[i].i_series];
		double at[3], corner[3], off = 0;
		read_three(at, b, set->particles[i].row, CYC_LABELS_CENTRED);
		read_three(corner, b, set->particles[i].row, CYC_LABELS_COORDINATE);
		for (int a = 0; a < 3; a++)
			off = fmax(off, fabs(at[a] - (corner[a] - 0.5 * ts->size_px[a]) * ts->pixel_size_A));
		if (!(off > 4 * ts->pixel_size_A)) continue;
		if (n++ == 0) row = set->particles[i].row;
		worst = fmax(worst, off);
	}
	if (n == 0) return CYC_OK;
	/* Pickers write pixels of binned tomograms beside the right ones, which does no harm. */
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_NOTE, "coordinates", -1, set->path, CYC_LABELS_COORDINATE[0]));
	f->row = row + 1;
	f->n_more = n - 1;
	f->measured.value = worst;
	CYC_FINDING_SAY(f->found,
	                "_%s/Y/Z, as unbinned pixels, are up to %.0f Å from _rlnCenteredCoordinate*Angst, "
	                "which are used",
	                CYC_RLN_COORDINATE_X, worst);
	CYC_FINDING_SAY(f->action, "remove the wrong ones");
done:
	return st;
}

/* Where the particles of all series reach to, as a share of the tomogram from its corner. */
typedef struct {
	double low[3], high[3];
	int64_t n;
} extent;

static extent extent_of(const cyc_survey *s)
{
	const cyc_particle_set *set = s->p->particles;
	extent e = { .low = { HUGE_VAL, HUGE_VAL, HUGE_VAL },
		         .high = { -HUGE_VAL, -HUGE_VAL, -HUGE_VAL },
		         .n = set->n };
	for (int64_t i = 0; i < set->n; i++) {
		const cyc_tilt_series *ts = &s->p->tomograms->series[set->particles[i].i_series];
		const cyc_vec3 *x = &set->particles[i].position_A;
		const double at[3] = { x->x, x->y, x->z };
		for (int a = 0; a < 3; a++) {
			double share = at[a] / (ts->size_px[a] * ts->pixel_size_A) + 0.5;
			e.low[a] = fmin(e.low[a], share);
			e.high[a] = fmax(e.high[a], share);
		}
	}
	return e;
}

static double binning_of(const cyc_survey *s)
{
	const cyc_star_block *optics = cyc_star_find(s->p->particles->star, "optics");
	double b = 1;
	if (optics && cyc_star_n_rows(optics) > 0 &&
	    cyc_star_double_or(&b, optics, 0, CYC_RLN_TOMO_SUBTOMOGRAM_BINNING, 1) != CYC_OK) {
		cyc_error_clear();
		b = 1;
	}
	return b;
}

/* Pixels of a binned tomogram, taken as unbinned ones, all lie in its first corner. */
static cyc_status check_corner(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	const extent e = extent_of(s);
	double binning = binning_of(s), most = 0, share = binning >= 1.5 ? 1.05 / binning : 0.5;
	cyc_finding *f;
	for (int a = 0; a < 3; a++) most = fmax(most, e.high[a]);
	bool are_few = set->n < (binning >= 1.5 ? LEAST_PARTICLES / 2 : LEAST_PARTICLES);
	/* Stacks come with their binning, which reading has applied. */
	if ((set->are_2d_stacks && binning > 1) || are_few || most > share) return CYC_OK;
	CYC_TRY(
		cyc_survey_add(&f, s, CYC_FINDING_WARNING, "coordinates", -1, set->path, CYC_LABELS_COORDINATE[0]));
	f->measured.value = most;
	if (binning >= 1.5)
		CYC_FINDING_SAY(f->found,
		                "all %lld particles lie within 1/%.3g of the tomograms from their corner, and the "
		                "table gives a binning of %.3g: coordinates seem to be in binned pixels",
		                (long long)set->n, binning, binning);
	else
		CYC_FINDING_SAY(f->found,
		                "all %lld particles lie in one corner of the tomograms, within %.2f of their size: "
		                "coordinates seem to be in binned pixels",
		                (long long)set->n, most);
	CYC_FINDING_SAY(f->wanted, "unbinned pixels of the tilt series");
	CYC_FINDING_SAY(f->action, "multiply _%s/Y/Z by the binning of the tomograms used for picking",
	                CYC_RLN_COORDINATE_X);
done:
	return st;
}

/* Centred coordinates are of both signs; those from a corner are not. */
static cyc_status check_centre(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	const extent e = extent_of(s);
	bool is_corner = set->n >= LEAST_PARTICLES;
	cyc_finding *f;
	for (int a = 0; a < 3; a++) is_corner = is_corner && e.low[a] >= 0.5 && e.high[a] > 0.55;
	if (!is_corner) return CYC_OK;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "coordinates", -1, set->path, CYC_LABELS_CENTRED[0]));
	CYC_FINDING_SAY(
		f->found,
		"none of the %lld particles has a negative coordinate: coordinates seem to be counted from a corner",
		(long long)set->n);
	CYC_FINDING_SAY(f->wanted, "Å from the centre of the tomogram");
	CYC_FINDING_SAY(f->action, "subtract half of the tomogram's size, _%s/Y/Z times the pixel size",
	                CYC_RLN_TOMO_SIZE_X);
done:
	return st;
}

/* Centred coordinates all in the middle of several tomograms. */
static cyc_status check_spread(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	const extent e = extent_of(s);
	double most = 0;
	int32_t n_series = 0;
	cyc_finding *f;
	for (int32_t i = 0; i < s->p->tomograms->n_series; i++) n_series += cyc_survey_has_particles(s, i);
	for (int a = 0; a < 2; a++) most = fmax(most, 2 * fmax(e.high[a] - 0.5, 0.5 - e.low[a]));
	if (n_series < 2 || set->n < LEAST_PARTICLES || most > LEAST_SPREAD) return CYC_OK;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "coordinates", -1, set->path, CYC_LABELS_CENTRED[0]));
	f->measured.value = most;
	CYC_FINDING_SAY(f->found,
	                "all %lld particles lie within the middle %.2g of the tomograms' width and height",
	                (long long)set->n, most);
	CYC_FINDING_SAY(f->wanted, "Å from the centre of the tomogram");
	CYC_FINDING_SAY(f->action,
	                "check the unit: multiply by 10 if these are nm, by the pixel size if they are "
	                "pixels");
done:
	return st;
}

/* ---------------------------------------------------------------- angles */

/* Radians: no angle is above a full turn of 6.28, and most are not small either. */
static cyc_status check_angles(cyc_survey *s, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	double *angle[3] = { NULL, NULL, NULL }, most[3] = { 0, 0, 0 }, sub[3], v[3], median = 0;
	bool is_subtomogram = false;
	cyc_finding *f;
	if (set->n < LEAST_PARTICLES || !has_all(b, CYC_LABELS_ANGLE)) return CYC_OK;
	for (int a = 0; a < 3; a++) CYC_TRY(cyc_alloc(&angle[a], set->n, sizeof **angle));
	for (int64_t i = 0; i < set->n; i++) {
		read_three(v, b, set->particles[i].row, CYC_LABELS_ANGLE);
		for (int a = 0; a < 3; a++) {
			angle[a][i] = fabs(v[a]);
			most[a] = fmax(most[a], fabs(v[a]));
		}
		if (!has_all(b, CYC_LABELS_SUBTOMOGRAM)) continue;
		/* Angles that come on top of these may all be small. */
		read_three(sub, b, set->particles[i].row, CYC_LABELS_SUBTOMOGRAM);
		for (int a = 0; a < 3; a++) is_subtomogram = is_subtomogram || fabs(sub[a]) > 0;
	}
	for (int a = 0; a < 3; a++) median = fmax(median, cyc_median(angle[a], (size_t)set->n));
	double largest = fmax(most[0], fmax(most[1], most[2]));
	if (is_subtomogram || largest > FULL_TURN || most[1] > 0.5 * FULL_TURN || median < MEDIAN_TURN) goto done;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "angles", -1, set->path, CYC_LABELS_ANGLE[0]));
	f->measured.value = largest;
	CYC_FINDING_SAY(f->found, "no angle of the %lld particles is above %.3g: angles seem to be in radians",
	                (long long)set->n, largest);
	CYC_FINDING_SAY(f->wanted, "degrees");
	CYC_FINDING_SAY(f->action, "multiply _%s, _%s and _%s by 57.29578 if they are radians",
	                CYC_LABELS_ANGLE[0], CYC_LABELS_ANGLE[1], CYC_LABELS_ANGLE[2]);
done:
	for (int a = 0; a < 3; a++) cyc_free(angle[a]);
	return st;
}

/* Do all particles have the same orientation? */
static bool are_parallel(const cyc_particle_set *set)
{
	const cyc_mat3 *first = &set->particles[0].R_tomo_ref;
	for (int64_t i = 1; i < set->n; i++)
		for (int k = 0; k < 9; k++)
			if (fabs(set->particles[i].R_tomo_ref.m[k / 3][k % 3] - first->m[k / 3][k % 3]) > 1e-6)
				return false;
	return true;
}

/* Particles as a picker leaves them: nothing has found out how they lie. */
static cyc_status check_orientations(cyc_survey *s, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	bool has_none = !has_all(b, CYC_LABELS_ANGLE) && !has_all(b, CYC_LABELS_SUBTOMOGRAM);
	cyc_finding *f;
	if (s->o->skip_orientations || set->n == 0) return CYC_OK;
	if (!has_none && (set->n < LEAST_ORIENTED || !are_parallel(set))) return CYC_OK;
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "orientations", -1, set->path, CYC_LABELS_ANGLE[0]));
	if (has_none)
		CYC_FINDING_SAY(
			f->found,
			"the particles have no orientations, neither _%s/Tilt/Psi nor _%s/Tilt/Psi: all are used "
			"as they lie in the tomograms",
			CYC_LABELS_ANGLE[0], CYC_LABELS_SUBTOMOGRAM[0]);
	else
		CYC_FINDING_SAY(
			f->found,
			"all %lld particles have the same orientation: nothing has found out how each of them lies",
			(long long)set->n);
	CYC_FINDING_SAY(f->wanted, "the orientation of each particle");
	CYC_FINDING_SAY(f->action,
	                "give the table of an alignment (run_data.star), or search among all rotations first: "
	                "cyclotomo refine with a reference and --healpix-order 2");
done:
	return st;
}

/* ---------------------------------------------------------------- optics groups */

/* Particles in another group than their tomogram's, where there is a group of that name: they were mixed up.
 */
static cyc_status check_groups(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->p->particles;
	int64_t n = 0, first = -1;
	int32_t last_series = -1, wanted = -1;
	cyc_finding *f;
	for (int64_t i = 0; i < set->n; i++) {
		const cyc_particle *p = &set->particles[i];
		if (p->i_series != last_series) {
			const char *name = s->p->tomograms->series[p->i_series].optics_group_name;
			last_series = p->i_series;
			wanted = -1;
			for (int32_t g = 0; g < set->n_optics && wanted < 0; g++)
				if (strcmp(set->optics[g].name, name) == 0) wanted = g;
		}
		if (wanted < 0 || strcmp(set->optics[p->i_optics].name, set->optics[wanted].name) == 0) continue;
		if (n++ == 0) first = i;
	}
	if (n == 0) return CYC_OK;
	const cyc_particle *p = &set->particles[first];
	CYC_TRY(cyc_survey_add(&f, s, CYC_FINDING_WARNING, "optics-group", p->i_series, set->path,
	                       CYC_RLN_OPTICS_GROUP));
	f->row = p->row + 1;
	f->n_more = n - 1;
	CYC_FINDING_SAY(f->found, "the particle is in optics group '%s', its tomogram ('%s') in '%s'",
	                set->optics[p->i_optics].name, s->p->tomograms->path,
	                s->p->tomograms->series[p->i_series].optics_group_name);
	CYC_FINDING_SAY(f->wanted, "the same group");
	CYC_FINDING_SAY(f->action,
	                "that of the particle is used for aberrations and magnification; correct one of the two");
done:
	return st;
}

cyc_status cyc_survey_particles(cyc_survey *s)
{
	cyc_status st = CYC_OK;
	const cyc_star_block *b = cyc_survey_particle_table(s);
	bool is_centered = has_all(b, CYC_LABELS_CENTRED), is_corner = has_all(b, CYC_LABELS_COORDINATE);
	CYC_TRY(check_halves(s));
	CYC_TRY(check_duplicates(s));
	CYC_TRY(check_groups(s));
	CYC_TRY(check_orientations(s, b));
	CYC_TRY(check_angles(s, b));
	if (is_centered && is_corner && !(s->p->particles->are_2d_stacks && binning_of(s) > 1))
		CYC_TRY(compare_coordinates(s, b));
	CYC_TRY(is_centered ? check_centre(s) : check_corner(s));
	if (is_centered) CYC_TRY(check_spread(s));
done:
	return st;
}

#include "project/particles_internal.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* Three columns that come together: true if all exist, an error if only some do. */
static cyc_status find_three(int32_t column[3], bool *are_there, const cyc_star_block *b,
                             const char *const label[3])
{
	cyc_status st = CYC_OK;
	int n = 0;
	for (int a = 0; a < 3; a++) n += (column[a] = cyc_star_column(b, label[a])) >= 0;
	*are_there = n == 3;
	for (int a = 0; a < 3 && n > 0; a++) CYC_TRY(cyc_star_require_column(&column[a], b, label[a]));
done:
	if (st != CYC_OK)
		cyc_error_hint("_%s, _%s and _%s are needed together: restore the missing ones, or remove all three",
		               label[0], label[1], label[2]);
	return st;
}

static cyc_status read_three(double v[3], const cyc_star_block *b, int64_t row, const int32_t column[3])
{
	cyc_status st = CYC_OK;
	for (int a = 0; a < 3; a++) CYC_TRY(cyc_star_double(&v[a], b, row, column[a]));
done:
	return st;
}

static cyc_mat3 euler_of_degrees(const double deg[3])
{
	return cyc_euler_to_matrix(cyc_deg_to_rad(deg[0]), cyc_deg_to_rad(deg[1]), cyc_deg_to_rad(deg[2]));
}

static cyc_status read_orientations(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	int32_t part[3], ref[3];
	bool has_part, has_ref;
	double v[3];
	CYC_TRY(find_three(part, &has_part, r->block, CYC_LABELS_SUBTOMOGRAM));
	CYC_TRY(find_three(ref, &has_ref, r->block, CYC_LABELS_ANGLE));
	for (int64_t i = 0; i < r->set->n; i++) {
		cyc_particle *p = &r->set->particles[i];
		p->R_tomo_part = p->R_tomo_ref = cyc_mat3_identity();
		if (has_part) {
			CYC_TRY(read_three(v, r->block, p->row, part));
			p->R_tomo_part = p->R_tomo_ref = euler_of_degrees(v);
		}
		if (has_ref) {
			CYC_TRY(read_three(v, r->block, p->row, ref));
			p->R_tomo_ref = cyc_mat3_mul(p->R_tomo_part, euler_of_degrees(v));
		}
	}
done:
	return st;
}

/*
 * Factor from rlnCoordinate* to unbinned pixels, by optics group. RELION-4 wrote unbinned pixels; 2D stacks
 * are newer than that, so a set of stacks with these columns comes from WarpTools, which counts in the
 * stacks' binned pixels.
 */
static cyc_status coordinate_factors(double **factor, const cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *s = r->set;
	cyc_star_block *optics = cyc_star_find(s->star, "optics");
	CYC_TRY(cyc_alloc(factor, (size_t)s->n_optics, sizeof **factor));
	for (int32_t i = 0; i < s->n_optics; i++) {
		(*factor)[i] = 1.0;
		if (!s->are_2d_stacks) continue;
		CYC_TRY(cyc_star_double_or(&(*factor)[i], optics, i, CYC_RLN_TOMO_SUBTOMOGRAM_BINNING, 1.0));
		if (!((*factor)[i] > 0.0)) {
			st = cyc_star_raise(CYC_E_DATA, optics, i, "_%s must be positive, found %g",
			                    CYC_RLN_TOMO_SUBTOMOGRAM_BINNING, (*factor)[i]);
			goto done;
		}
	}
	if (s->are_2d_stacks && (*factor)[0] != 1.0) {
		cyc_info("'%s': the _%s/Y/Z of these 2D stacks (WarpTools) are taken as pixels binned by %g", s->path,
		         CYC_RLN_COORDINATE_X, (*factor)[0]);
	}
done:
	return st;
}

static cyc_status read_positions(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	const cyc_star_block *b = r->block;
	int32_t place[3], origin[3];
	bool is_centered, has_corner = false, has_origin;
	double v[3], o[3], *factor = NULL;
	/* Both kinds may be there in part; what counts is whether one is complete. */
	is_centered = cyc_star_column(b, CYC_LABELS_CENTRED[0]) >= 0 &&
	              cyc_star_column(b, CYC_LABELS_CENTRED[1]) >= 0 &&
	              cyc_star_column(b, CYC_LABELS_CENTRED[2]) >= 0;
	if (is_centered) {
		CYC_TRY(find_three(place, &is_centered, b, CYC_LABELS_CENTRED));
	} else {
		CYC_TRY(find_three(place, &has_corner, b, CYC_LABELS_COORDINATE));
		if (!has_corner) {
			bool is_part;
			CYC_TRY(find_three(place, &is_part, b, CYC_LABELS_CENTRED));
			st = cyc_error_raise(
				CYC_E_FORMAT, __FILE__, __LINE__, __func__,
				"'%s': the particles have no coordinates, neither _%s/Y/Z in Å from the centre nor "
				"_%s/Y/Z in pixels from the corner of the tomogram",
				r->set->path, CYC_LABELS_CENTRED[0], CYC_LABELS_COORDINATE[0]);
			cyc_error_hint("give the table of a picker or an alignment, with three such columns");
			goto done;
		}
		CYC_TRY(coordinate_factors(&factor, r));
	}
	CYC_TRY(find_three(origin, &has_origin, b, CYC_LABELS_ORIGIN));
	for (int64_t i = 0; i < r->set->n; i++) {
		cyc_particle *p = &r->set->particles[i];
		const cyc_tilt_series *ts = &r->tomograms->series[p->i_series];
		CYC_TRY(read_three(v, b, p->row, place));
		for (int a = 0; a < 3 && !is_centered; a++)
			v[a] = (v[a] * factor[p->i_optics] - 0.5 * ts->size_px[a]) * ts->pixel_size_A;
		p->position_A = (cyc_vec3){ v[0], v[1], v[2] };
		if (!has_origin) continue;
		/* The offset moves data towards the reference: minus. It lives in the subtomogram's frame. */
		CYC_TRY(read_three(o, b, p->row, origin));
		cyc_vec3 d = cyc_mat3_apply(p->R_tomo_part, (cyc_vec3){ o[0], o[1], o[2] });
		p->position_A = (cyc_vec3){ v[0] - d.x, v[1] - d.y, v[2] - d.z };
	}
done:
	cyc_free(factor);
	return st;
}

static cyc_status read_halves(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	int32_t column = cyc_star_column(r->block, CYC_RLN_RANDOM_SUBSET);
	r->set->has_halves = column >= 0;
	for (int64_t i = 0; i < r->set->n && column >= 0; i++) {
		int64_t half;
		cyc_particle *p = &r->set->particles[i];
		CYC_TRY(cyc_star_int(&half, r->block, p->row, column));
		if (half != 1 && half != 2) {
			st = cyc_star_raise(CYC_E_DATA, r->block, p->row, "_%s must be 1 or 2, found %lld",
			                    CYC_RLN_RANDOM_SUBSET, (long long)half);
			goto done;
		}
		p->half = (int32_t)half - 1;
	}
done:
	return st;
}

static cyc_status read_probabilities(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	int32_t column = cyc_star_column(r->block, CYC_OWN_PARTICLE_PROBABILITY);
	for (int64_t i = 0; i < r->set->n; i++) {
		cyc_particle *p = &r->set->particles[i];
		p->probability = 1;
		if (column < 0) continue;
		CYC_TRY(cyc_star_double(&p->probability, r->block, p->row, column));
		if (!(p->probability >= 0 && p->probability <= 1)) {
			st = cyc_star_raise(CYC_E_DATA, r->block, p->row, "_%s must be from 0 to 1, found %g",
			                    CYC_OWN_PARTICLE_PROBABILITY, p->probability);
			goto done;
		}
	}
done:
	return st;
}

/* "[1,0,1]" with one digit each, as all programs write it: n flags, or -1 if it looks different. */
static int64_t parse_flags(uint8_t *flags, int32_t n_max, const char *text)
{
	int64_t n = 0;
	if (*text++ != '[') return -1;
	for (;;) {
		if (*text != '0' && *text != '1') return -1;
		if (n < n_max) flags[n] = *text == '1';
		n++;
		text++;
		if (*text == ']') return text[1] ? -1 : n;
		if (*text++ != ',') return -1;
	}
}

/* As other numbers than single digits: their number, which may be larger than what fits into flags. */
static cyc_status read_flags(int64_t *n, uint8_t *flags, int32_t n_max, const cyc__particle_reader *r,
                             int64_t row)
{
	cyc_status st = CYC_OK;
	int32_t column = cyc_star_column(r->block, CYC_RLN_TOMO_VISIBLE_FRAMES), n_values;
	double *v = NULL;
	CYC_TRY(cyc_star_vector(&v, &n_values, r->block, row, column));
	for (int32_t f = 0; f < n_values; f++) {
		if (v[f] != 0.0 && v[f] != 1.0) {
			st = cyc_star_raise(CYC_E_DATA, r->block, row, "_%s must be flags of 0 or 1, found %g",
			                    CYC_RLN_TOMO_VISIBLE_FRAMES, v[f]);
			goto done;
		}
		if (f < n_max) flags[f] = v[f] != 0.0;
	}
	*n = n_values;
done:
	cyc_free(v);
	return st;
}

static cyc_status read_visible(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	cyc_particle_set *s = r->set;
	int32_t column = cyc_star_column(r->block, CYC_RLN_TOMO_VISIBLE_FRAMES);
	size_t total = 0;
	if (column < 0) goto done;
	for (int64_t i = 0; i < s->n; i++)
		total += (size_t)r->tomograms->series[s->particles[i].i_series].n_tilts;
	CYC_TRY(cyc_alloc(&s->visible_data, total, 1));
	uint8_t *flags = s->visible_data;
	for (int64_t i = 0; i < s->n; i++) {
		cyc_particle *p = &s->particles[i];
		const cyc_tilt_series *ts = &r->tomograms->series[p->i_series];
		int64_t n = parse_flags(flags, ts->n_tilts, cyc_star_text(r->block, p->row, column));
		if (n < 0) CYC_TRY(read_flags(&n, flags, ts->n_tilts, r, p->row));
		if (n != ts->n_tilts) {
			st = cyc_star_raise(CYC_E_DATA, r->block, p->row,
			                    "_%s of particle '%s' has %lld flags, but tilt series '%s' has %d tilts",
			                    CYC_RLN_TOMO_VISIBLE_FRAMES, p->name, (long long)n, ts->name, ts->n_tilts);
			goto done;
		}
		p->visible_frames = flags;
		flags += ts->n_tilts;
	}
done:
	return st;
}

cyc_status cyc__particles_read_poses(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	CYC_TRY(read_orientations(r));
	CYC_TRY(read_positions(r));
	CYC_TRY(read_halves(r));
	CYC_TRY(read_probabilities(r));
	CYC_TRY(read_visible(r));
done:
	return st;
}

/* ---------------------------------------------------------------- trajectories */

static cyc_status read_trajectory(float *motion_A, const cyc_star_block *b, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	int32_t column[3];
	bool are_there;
	double v[3];
	CYC_TRY(find_three(column, &are_there, b, CYC_LABELS_ORIGIN));
	if (!are_there) CYC_TRY(cyc_star_require_column(&column[0], b, CYC_LABELS_ORIGIN[0]));
	if (cyc_star_n_rows(b) != ts->n_tilts) {
		st = cyc_star_raise(CYC_E_DATA, b, 0,
		                    "the trajectory has %lld rows, but tilt series '%s' has %d tilts",
		                    (long long)cyc_star_n_rows(b), ts->name, ts->n_tilts);
		cyc_error_hint("use the trajectories made with these tomograms");
		goto done;
	}
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		CYC_TRY(read_three(v, b, f, column));
		for (int a = 0; a < 3; a++) motion_A[3 * f + a] = (float)v[a];
	}
done:
	return st;
}

/* Whose trajectory is it? Told by the particle's own name, or by the row in a file of as many rows. */
static cyc_status check_can_match(const cyc__particle_reader *r, const cyc_star *star, int32_t first,
                                  bool by_row)
{
	cyc_status st = CYC_OK;
	int64_t n = cyc_star_n_blocks(star) - first;
	if (by_row && n != r->n_rows) {
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"'%s' numbers its %lld trajectories by row, but '%s' has %lld particles: they cannot be matched",
			cyc_star_name(star), (long long)n, r->set->path, (long long)r->n_rows);
	} else if (!by_row && r->set->has_generated_names) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "'%s' has trajectories by particle name, but '%s' has no _%s: they cannot "
		                     "be matched",
		                     cyc_star_name(star), r->set->path, CYC_RLN_TOMO_PARTICLE_NAME);
	}
	if (st != CYC_OK)
		cyc_error_hint(
			"use the particles with which the trajectories were made, with their names, or no trajectories");
	return st;
}

/* How many trajectories a file says that it has; -1: it does not say. */
static cyc_status read_count(int64_t *n, const cyc_star_block *general)
{
	cyc_status st = CYC_OK;
	*n = -1;
	if (!general || cyc_star_n_rows(general) == 0) goto done;
	int32_t column = cyc_star_column(general, CYC_RLN_PARTICLE_NUMBER);
	if (column >= 0) CYC_TRY(cyc_star_int(n, general, 0, column));
done:
	return st;
}

cyc_status cyc__particles_read_trajectories(cyc__particle_reader *r, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_particle_set *s = r->set;
	cyc_star *star = NULL;
	size_t total = 0;
	CYC_TRY(cyc_star_read(&star, path));
	/* Early RELION-4 numbered its tables from 0 in the order of the particles. */
	int32_t first = cyc_star_find(star, "general") ? 1 : 0;
	cyc_star_block *b = cyc_star_block_at(star, first);
	bool by_row = b && strcmp(cyc_star_block_name(b), "0") == 0;
	CYC_TRY(check_can_match(r, star, first, by_row));
	s->n_trajectories = cyc_star_n_blocks(star) - first;
	CYC_TRY(read_count(&s->n_trajectories_said, cyc_star_find(star, "general")));
	for (int64_t i = 0; i < s->n; i++)
		total += (size_t)r->tomograms->series[s->particles[i].i_series].n_tilts * 3;
	CYC_TRY(cyc_alloc(&s->motion_data, total, sizeof *s->motion_data));
	float *motion = s->motion_data;
	for (int64_t i = 0; i < s->n; i++) {
		cyc_particle *p = &s->particles[i];
		const cyc_tilt_series *ts = &r->tomograms->series[p->i_series];
		b = by_row ? (p->row < INT32_MAX - 1 ? cyc_star_block_at(star, first + (int32_t)p->row) : NULL)
		           : cyc_star_find(star, p->name);
		if (!b) {
			st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
			                     "'%s' has no trajectory of particle '%s' (row %lld of '%s')", path, p->name,
			                     (long long)p->row + 1, s->path);
			cyc_error_hint("use the trajectories of these particles, or none");
			goto done;
		}
		CYC_TRY(cyc_star_check_unique(b));
		CYC_TRY_CTX(read_trajectory(motion, b, ts), "particle '%s'", p->name);
		p->motion_A = motion;
		motion += 3 * (size_t)ts->n_tilts;
	}
done:
	cyc_star_destroy(&star);
	return st;
}

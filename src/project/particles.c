#include "project/particles_internal.h"

#include "project/name_map.h"
#include "project/labels.h"
#include <string.h>

void cyc_particle_set_destroy(cyc_particle_set **s)
{
	if (!s || !*s) return;
	for (int32_t i = 0; i < (*s)->n_optics && (*s)->optics; i++) {
		cyc_free((*s)->optics[i].name);
		cyc_free((*s)->optics[i].even_zernike);
		cyc_free((*s)->optics[i].odd_zernike);
	}
	cyc_free((*s)->optics);
	cyc_free((*s)->particles);
	cyc_free((*s)->series_first);
	cyc_free((*s)->motion_data);
	cyc_free((*s)->visible_data);
	cyc_star_destroy(&(*s)->star);
	cyc_free((*s)->path);
	cyc_free(*s);
	*s = NULL;
}

/* ---------------------------------------------------------------- tomograms and names of the rows */

/* Which tomogram each row belongs to. */
static cyc_status find_series(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	cyc__name_map known = { 0 };
	const cyc_star_block *b = r->block;
	int32_t column;
	int64_t found, n_unknown = 0;
	const char *last = "", *first_unknown = NULL;
	int32_t last_series = -1;
	st = cyc_star_require_column(&column, b, CYC_RLN_TOMO_NAME);
	if (st != CYC_OK && cyc_star_column(b, CYC_RLN_MICROGRAPH_NAME) >= 0)
		cyc_error_hint("RELION 3, Warp and PyTom give the tomogram in the column _%s: write its name, as in "
		               "'%s', into a column _%s",
		               CYC_RLN_MICROGRAPH_NAME, r->tomograms->path, CYC_RLN_TOMO_NAME);
	CYC_TRY(st);
	for (int32_t i = 0; i < r->tomograms->n_series; i++)
		CYC_TRY(cyc__name_map_add(&found, &known, r->tomograms->series[i].name, i));
	for (int64_t row = 0; row < r->n_rows; row++) {
		const char *name = cyc_star_text(b, row, column);
		/* Files are mostly sorted by tomogram. */
		if (row == 0 || strcmp(name, last) != 0) {
			CYC_TRY(cyc__require_name(name, b, row, CYC_RLN_TOMO_NAME));
			last_series = (int32_t)cyc__name_map_get(&known, name);
			last = name;
		}
		r->series[row] = last_series;
		if (last_series < 0 && n_unknown++ == 0) first_unknown = name;
	}
	r->set->n_unknown_tomogram = n_unknown;
	if (n_unknown == r->n_rows) {
		st = cyc_star_raise(
			CYC_E_DATA, b, 0,
			"none of the %lld particles belongs to a tomogram in '%s' (this one belongs to '%s')",
			(long long)r->n_rows, r->tomograms->path, first_unknown);
		cyc_error_hint(
			"check that particles and tomograms belong to the same project; the first tomogram there is '%s'",
			r->tomograms->series[0].name);
	} else if (n_unknown > 0) {
		cyc_warn("'%s': %lld of %lld particles are left out because their tomogram is not in '%s' (the first "
		         "is '%s')",
		         r->set->path, (long long)n_unknown, (long long)r->n_rows, r->tomograms->path, first_unknown);
	}
done:
	cyc__name_map_deinit(&known);
	return st;
}

/* TOMO/i with i counted from 1 in each tomogram, where the file has no names. */
static cyc_status generate_names(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	cyc__name_map tomograms = { 0 };
	int64_t *count = NULL;
	char *name = NULL;
	int32_t tomogram;
	CYC_TRY(cyc_star_require_column(&tomogram, r->block, CYC_RLN_TOMO_NAME));
	CYC_TRY(cyc_star_ensure_column(&r->name_column, r->block, CYC_RLN_TOMO_PARTICLE_NAME, ""));
	CYC_TRY(cyc_alloc(&count, (size_t)r->n_rows, sizeof *count));
	for (int64_t row = 0; row < r->n_rows; row++) {
		int64_t first;
		const char *text = cyc_star_text(r->block, row, tomogram);
		CYC_TRY(cyc__name_map_add(&first, &tomograms, text, row));
		CYC_TRY(cyc_asprintf(&name, "%s/%lld", text, (long long)++count[first]));
		CYC_TRY(cyc_star_set_text(r->block, row, r->name_column, name));
		cyc_free(name);
		name = NULL;
	}
	cyc_info("'%s' has no _%s: particles are named TOMOGRAM/1, TOMOGRAM/2, ...", r->set->path,
	         CYC_RLN_TOMO_PARTICLE_NAME);
done:
	cyc_free(name);
	cyc_free(count);
	cyc__name_map_deinit(&tomograms);
	return st;
}

static cyc_status check_names(const cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	cyc__name_map names = { 0 };
	for (int64_t row = 0; row < r->n_rows; row++) {
		int64_t first;
		const char *name = cyc_star_text(r->block, row, r->name_column);
		CYC_TRY(cyc__require_name(name, r->block, row, CYC_RLN_TOMO_PARTICLE_NAME));
		CYC_TRY(cyc__name_map_add(&first, &names, name, row));
		if (first != row || !name[0]) {
			st = name[0]
			         ? cyc_star_raise(CYC_E_DATA, r->block, row,
			                          "particle '%s' occurs twice, first in row %lld", name,
			                          (long long)first + 1)
			         : cyc_star_raise(CYC_E_DATA, r->block, row, "_%s is empty", CYC_RLN_TOMO_PARTICLE_NAME);
			cyc_error_hint("particle names must be unique; remove the column _%s to have "
			               "them generated (trajectories cannot be used then)",
			               CYC_RLN_TOMO_PARTICLE_NAME);
			goto done;
		}
	}
done:
	cyc__name_map_deinit(&names);
	return st;
}

/* ---------------------------------------------------------------- the set */

/* Particles in the order of their series, and of the file within one. */
static cyc_status make_particles(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	cyc_particle_set *s = r->set;
	int64_t *next = NULL;
	s->n_series = r->tomograms->n_series;
	s->n = r->n_rows - s->n_unknown_tomogram;
	CYC_TRY(cyc_alloc(&s->particles, (size_t)s->n, sizeof *s->particles));
	CYC_TRY(cyc_alloc(&s->series_first, (size_t)s->n_series + 1, sizeof *s->series_first));
	CYC_TRY(cyc_alloc(&next, (size_t)s->n_series + 1, sizeof *next));
	for (int64_t row = 0; row < r->n_rows; row++) {
		if (r->series[row] >= 0) s->series_first[r->series[row] + 1]++;
	}
	for (int32_t i = 0; i < s->n_series; i++) s->series_first[i + 1] += s->series_first[i];
	memcpy(next, s->series_first, ((size_t)s->n_series + 1) * sizeof *next);
	for (int64_t row = 0; row < r->n_rows; row++) {
		if (r->series[row] < 0) continue;
		cyc_particle *p = &s->particles[next[r->series[row]]++];
		p->row = row;
		p->i_series = r->series[row];
		p->name = cyc_star_text(r->block, row, r->name_column);
		p->half = -1;
	}
done:
	cyc_free(next);
	return st;
}

/* What the images' own columns say: their dimension, or the extension of stacks. */
static bool look_like_2d_stacks(const cyc__particle_reader *r)
{
	const cyc_star_block *optics = cyc_star_find(r->set->star, "optics");
	int32_t column = cyc_star_column(r->block, CYC_RLN_IMAGE_NAME);
	const char *dimension = optics && cyc_star_n_rows(optics) > 0
	                            ? cyc_star_text_of(optics, 0, CYC_RLN_IMAGE_DIMENSIONALITY)
	                            : NULL;
	if (dimension) return column >= 0 && strcmp(dimension, "2") == 0;
	size_t n = column >= 0 ? strlen(cyc_star_text(r->block, 0, column)) : 0;
	return n > 5 && strcmp(cyc_star_text(r->block, 0, column) + n - 5, ".mrcs") == 0;
}

/* The block general says whether images are 2D stacks. Scripts lose it, since it has no loop_; then the
 * images' own columns say it, and the block is restored for programs that read what is written from this. */
static cyc_status find_stacks(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	static const char *const LABEL = CYC_RLN_TOMO_SUB_TOMOS_ARE_2D_STACKS;
	cyc_particle_set *s = r->set;
	cyc_star_block *general = cyc_star_find(s->star, "general");
	const char *text = general && cyc_star_n_rows(general) > 0 ? cyc_star_text_of(general, 0, LABEL) : NULL;
	bool is_known = text && text[0], look = look_like_2d_stacks(r);
	int64_t flag = 0;
	if (is_known) {
		CYC_TRY(cyc_star_int(&flag, general, 0, cyc_star_column(general, LABEL)));
		if (flag != 0 && flag != 1) {
			st = cyc_star_raise(CYC_E_DATA, general, 0, "_%s must be 0 or 1, found %s", LABEL, text);
			cyc_error_hint("1 if images are 2D stacks, 0 if they are 3D volumes");
			goto done;
		}
	}
	s->are_2d_stacks = is_known ? flag == 1 : look;
	if (is_known && look && !s->are_2d_stacks)
		cyc_warn("'%s': _%s is %s, but the images look like 2D stacks: they, and positions in _%s/Y/Z, are "
		         "read as those of 3D volumes; write 1 if they are stacks",
		         s->path, LABEL, text, CYC_RLN_COORDINATE_X);
	const cyc_star_block *optics = cyc_star_find(s->star, "optics");
	const char *dimension = optics && cyc_star_n_rows(optics) > 0
	                            ? cyc_star_text_of(optics, 0, CYC_RLN_IMAGE_DIMENSIONALITY)
	                            : NULL;
	if (s->are_2d_stacks && dimension && strcmp(dimension, "3") == 0)
		cyc_warn("'%s': _%s is 1, but _%s is 3: images are read as 2D stacks; correct one of the two",
		         s->path, LABEL, CYC_RLN_IMAGE_DIMENSIONALITY);
	if (is_known || !look) goto done;
	cyc_warn("'%s' does not state whether its images are 2D stacks (_%s in block general); from their "
	         "columns they seem to be, and are read as such",
	         s->path, LABEL);
	if (!general) CYC_TRY(cyc_star_add_block(&general, s->star, "general", CYC_STAR_LIST));
	if (cyc_star_block_kind(general) == CYC_STAR_LIST) CYC_TRY(cyc_star_list_set_text(general, LABEL, "1"));
done:
	return st;
}

static cyc_status find_block(cyc__particle_reader *r)
{
	cyc_status st = CYC_OK;
	cyc_star *star = r->set->star;
	r->block = cyc_star_find(star, "particles");
	/* Coordinates imported from elsewhere come as one table of any name. */
	if (!r->block && cyc_star_n_blocks(star) == 1) r->block = cyc_star_block_at(star, 0);
	if (!r->block) CYC_TRY(cyc_star_require(&r->block, star, "particles"));
	CYC_TRY(cyc_star_check_unique(r->block));
	CYC_TRY(cyc_star_check_unique(cyc_star_find(star, "optics")));
	CYC_TRY(cyc_star_check_unique(cyc_star_find(star, "general")));
	r->n_rows = cyc_star_n_rows(r->block);
	CYC_CHECK(cyc_star_block_kind(r->block) == CYC_STAR_TABLE && r->n_rows > 0, CYC_E_DATA,
	          "'%s': block '%s' has no particles", cyc_star_name(star), cyc_star_block_name(r->block));
	CYC_TRY(find_stacks(r));
done:
	return st;
}

cyc_status cyc_particle_set_read(cyc_particle_set **out, const char *path, const char *trajectories,
                                 const cyc_tomogram_set *tomograms, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_particle_set *s = NULL;
	cyc__particle_reader r = { .tomograms = tomograms };
	char *file = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	CYC_TRY(cyc_strdup(&s->path, path));
	CYC_TRY(cyc_path_join(&file, root, path));
	CYC_TRY(cyc_star_read(&s->star, file));
	r.set = s;
	CYC_TRY(find_block(&r));
	CYC_TRY(cyc_alloc(&r.series, (size_t)r.n_rows, sizeof *r.series));
	CYC_TRY(cyc_alloc(&r.optics, (size_t)r.n_rows, sizeof *r.optics));
	CYC_TRY(find_series(&r));
	r.name_column = cyc_star_column(r.block, CYC_RLN_TOMO_PARTICLE_NAME);
	s->has_generated_names = r.name_column < 0;
	if (r.name_column < 0) CYC_TRY(generate_names(&r));
	CYC_TRY(check_names(&r));
	CYC_TRY(make_particles(&r));
	CYC_TRY(cyc__particles_read_optics(&r));
	CYC_TRY(cyc__particles_read_poses(&r));
	if (trajectories && trajectories[0]) {
		cyc_free(file);
		file = NULL;
		CYC_TRY(cyc_path_join(&file, root, trajectories));
		CYC_TRY(cyc__particles_read_trajectories(&r, file));
	}
	*out = s;
	s = NULL;
done:
	cyc_free(file);
	cyc_free(r.series);
	cyc_free(r.optics);
	cyc_particle_set_destroy(&s);
	return st;
}

int32_t cyc_particle_set_first_series(const cyc_particle_set *s)
{
	int32_t i = 0;
	while (i + 1 < s->n_series && s->series_first[i + 1] == 0) i++;
	return i;
}

int64_t cyc_particle_set_most(const cyc_particle_set *s)
{
	int64_t most = 0;
	for (int32_t i = 0; i < s->n_series; i++) {
		int64_t n = s->series_first[i + 1] - s->series_first[i];
		if (n > most) most = n;
	}
	return most;
}

cyc_status cyc_particle_set_require_halves(const cyc_particle_set *s)
{
	cyc_status st = CYC_OK;
	long long n[2] = { 0, 0 }, n_counted[2] = { 0, 0 };
	if (!s->has_halves) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "'%s' has no half-sets: column _%s is missing", s->path, CYC_RLN_RANDOM_SUBSET);
		cyc_error_hint("half-sets are assigned by a 3D auto-refinement; use its run_data.star");
		return st;
	}
	for (int64_t i = 0; i < s->n; i++) {
		n[s->particles[i].half]++;
		n_counted[s->particles[i].half] += s->particles[i].probability > 0;
	}
	for (int h = 0; h < 2 && st == CYC_OK; h++) {
		if (n[h] == 0) {
			st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
			                     "'%s': half-set %d has no particles (half-set %d has %lld)", s->path, h + 1,
			                     2 - h, n[1 - h]);
			cyc_error_hint("half-sets are assigned by a 3D auto-refinement; use its run_data.star");
		} else if (n_counted[h] == 0) {
			st = cyc_error_raise(
				CYC_E_DATA, __FILE__, __LINE__, __func__,
				"'%s': none of the %lld particles of half-set %d has any weight: _%s is 0 for all", s->path,
				n[h], h + 1, CYC_OWN_PARTICLE_PROBABILITY);
			cyc_error_hint("remove the column _%s to use all particles", CYC_OWN_PARTICLE_PROBABILITY);
		}
	}
	return st;
}

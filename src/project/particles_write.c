/* Parts of a particle set as files of their own, and which part that is. */
#include "cyclotomo/project.h"
#include "project/labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

cyc_status cyc_particle_origins(cyc_vec3 *origins_A, const cyc_particle_set *s)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column[3];
	memset(origins_A, 0, (size_t)s->n * sizeof *origins_A);
	CYC_TRY(cyc_star_require(&b, s->star, "particles"));
	for (int k = 0; k < 3; k++) column[k] = cyc_star_column(b, CYC_LABELS_ORIGIN[k]);
	if (column[0] < 0) goto done; /* all three or none, as the set was read */
	for (int64_t i = 0; i < s->n; i++) {
		double v[3];
		for (int k = 0; k < 3; k++) CYC_TRY(cyc_star_double(&v[k], b, s->particles[i].row, column[k]));
		origins_A[i] = (cyc_vec3){ v[0], v[1], v[2] };
	}
done:
	return st;
}

cyc_status cyc_particle_column(double *values, const cyc_particle_set *s, const char *label)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column;
	CYC_TRY(cyc_star_require(&b, s->star, "particles"));
	CYC_TRY(cyc_star_require_column(&column, b, label));
	for (int64_t i = 0; i < s->n; i++) CYC_TRY(cyc_star_double(&values[i], b, s->particles[i].row, column));
done:
	return st;
}

cyc_status cyc_particle_set_put_probabilities(cyc_particle_set *s, const double *probability)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column;
	CYC_TRY(cyc_star_require(&b, s->star, "particles"));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_OWN_PARTICLE_PROBABILITY, "1.000000"));
	for (int64_t i = 0; i < s->n; i++) {
		CYC_CHECK(probability[i] >= 0 && probability[i] <= 1, CYC_E_INTERNAL,
		          "particle '%s' has the probability %g", s->particles[i].name, probability[i]);
		s->particles[i].probability = probability[i];
		CYC_TRY(cyc_star_set_double(b, s->particles[i].row, column, probability[i]));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- separation */

typedef struct {
	double score;
	int64_t row, i;
} ranked;

static int by_rank(const void *a, const void *b)
{
	const ranked *x = a, *y = b;
	if (x->score != y->score) return x->score > y->score ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

/* Particles kept so far, in the cells of a hashed grid of the distance's width: neighbours are in 27 cells.
 */
typedef struct {
	int64_t *first, *next; /* n_cells; next of each particle of the tomogram, -1 ends a chain */
	size_t n_cells;
	double width_A;
	const cyc_particle *particles;
} grid;

static size_t cell_of(const grid *g, int64_t x, int64_t y, int64_t z)
{
	const int64_t at[3] = { x, y, z };
	return (size_t)(cyc_hash(CYC_HASH_INIT, at, sizeof at) % g->n_cells);
}

static void cell_at(int64_t at[3], const grid *g, cyc_vec3 p)
{
	at[0] = (int64_t)floor(p.x / g->width_A);
	at[1] = (int64_t)floor(p.y / g->width_A);
	at[2] = (int64_t)floor(p.z / g->width_A);
}

static bool has_neighbour(const grid *g, cyc_vec3 p)
{
	int64_t at[3];
	cell_at(at, g, p);
	for (int k = 0; k < 27; k++)
		for (int64_t j = g->first[cell_of(g, at[0] + k % 3 - 1, at[1] + k / 3 % 3 - 1, at[2] + k / 9 - 1)];
		     j >= 0; j = g->next[j]) {
			cyc_vec3 q = g->particles[j].position_A;
			if (cyc_square(p.x - q.x) + cyc_square(p.y - q.y) + cyc_square(p.z - q.z) <
			    cyc_square(g->width_A))
				return true;
		}
	return false;
}

static cyc_status separate_series(bool *keep, const cyc_particle *particles, const double *score, int64_t n,
                                  double width_A)
{
	cyc_status st = CYC_OK;
	ranked *order = NULL;
	grid g = { .n_cells = 2 * (size_t)n + 1, .width_A = width_A, .particles = particles };
	CYC_TRY(cyc_alloc(&order, n, sizeof *order));
	CYC_TRY(cyc_alloc(&g.first, g.n_cells, sizeof *g.first));
	CYC_TRY(cyc_alloc(&g.next, n, sizeof *g.next));
	for (size_t c = 0; c < g.n_cells; c++) g.first[c] = -1;
	for (int64_t i = 0; i < n; i++) order[i] = (ranked){ score ? score[i] : 0, particles[i].row, i };
	qsort(order, (size_t)n, sizeof *order, by_rank);
	for (int64_t k = 0; k < n; k++) {
		int64_t i = order[k].i, at[3];
		keep[i] = !has_neighbour(&g, particles[i].position_A);
		if (!keep[i]) continue;
		cell_at(at, &g, particles[i].position_A);
		size_t c = cell_of(&g, at[0], at[1], at[2]);
		g.next[i] = g.first[c];
		g.first[c] = i;
	}
done:
	cyc_free(order);
	cyc_free(g.first);
	cyc_free(g.next);
	return st;
}

cyc_status cyc_particle_set_separate(bool *keep, int64_t *n_removed, const cyc_particle_set *s,
                                     double min_separation_A, const double *score)
{
	cyc_status st = CYC_OK;
	*n_removed = 0;
	CYC_CHECK(min_separation_A > 0 && isfinite(min_separation_A), CYC_E_USAGE,
	          "the minimum distance must be positive, got %g Å", min_separation_A);
	for (int64_t i = 0; i < s->n && score; i++)
		CYC_CHECK(!isnan(score[i]), CYC_E_DATA, "'%s': row %lld: the score of particle '%s' is not a number",
		          s->path, (long long)s->particles[i].row + 1, s->particles[i].name);
	for (int32_t t = 0; t < s->n_series; t++) {
		int64_t first = s->series_first[t], n = s->series_first[t + 1] - first;
		if (n > 0)
			CYC_TRY(separate_series(keep + first, s->particles + first, score ? score + first : NULL, n,
			                        min_separation_A));
	}
	for (int64_t i = 0; i < s->n; i++) *n_removed += !keep[i];
done:
	return st;
}

/* ---------------------------------------------------------------- files */

cyc_status cyc_particle_set_write(const cyc_particle_set *s, const bool *keep, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_star *copy = NULL;
	cyc_star_block *b;
	bool *rows = NULL;
	CYC_TRY(cyc_star_copy(&copy, s->star));
	CYC_TRY(cyc_star_require(&b, copy, "particles"));
	CYC_TRY(cyc_alloc(&rows, cyc_star_n_rows(b), sizeof *rows));
	for (int64_t i = 0; i < s->n; i++) rows[s->particles[i].row] = !keep || keep[i];
	cyc_star_keep_rows(b, rows);
	CYC_TRY(cyc_star_write(copy, path));
done:
	cyc_free(rows);
	cyc_star_destroy(&copy);
	return st;
}

cyc_status cyc_trajectories_write(const cyc_particle_set *s, const cyc_tomogram_set *tomograms,
                                  const bool *keep, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_trajectory_file file = { 0 };
	double(*moved)[3] = NULL;
	int64_t n = 0;
	int32_t most = 0;
	for (int64_t i = 0; i < s->n; i++) n += !keep || keep[i];
	for (int32_t t = 0; t < tomograms->n_series; t++)
		if (tomograms->series[t].n_tilts > most) most = tomograms->series[t].n_tilts;
	CYC_TRY(cyc_alloc(&moved, most, sizeof *moved));
	CYC_TRY(cyc_trajectory_file_open(&file, path, n));
	for (int64_t i = 0; i < s->n; i++) {
		const cyc_particle *p = &s->particles[i];
		int32_t n_tilts = tomograms->series[p->i_series].n_tilts;
		if (keep && !keep[i]) continue;
		CYC_CHECK(p->motion_A, CYC_E_INTERNAL, "particle '%s' was read without a trajectory", p->name);
		for (int32_t f = 0; f < n_tilts; f++)
			for (int k = 0; k < 3; k++) moved[f][k] = (double)p->motion_A[3 * f + k];
		CYC_TRY(cyc_trajectory_file_add(&file, p->name, (const double(*)[3])moved, n_tilts));
	}
	CYC_TRY(cyc_trajectory_file_commit(&file));
done:
	cyc_trajectory_file_abandon(&file);
	cyc_free(moved);
	return st;
}

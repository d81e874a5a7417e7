/* The state before a turn with the particles and weights after it, for a fair comparison of maps. */
#include "cycle/between_steps.h"
#include "project/labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const LABEL = CYC_OWN_PARTICLE_PROBABILITY;
/* Weights that change by less than this, of all particles, change a mean FSC by less than F (1 - F) times it:
 * below its error. */
static const double LEAST_CHANGE = 0.002;

typedef struct {
	const char *name;
	double weight;
} weighted;

static int by_name(const void *a, const void *b)
{
	return strcmp(((const weighted *)a)->name, ((const weighted *)b)->name);
}

static cyc_status read_set(cyc_optimisation_set **set, cyc_star **star, cyc_star_block **b,
                           const cyc__cycle *c, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *particles = NULL;
	CYC_TRY(cyc_path_join(&path, c->o->input.root, name));
	CYC_TRY(cyc_optimisation_set_read(set, path));
	CYC_CHECK((*set)->particles, CYC_E_INTERNAL, "'%s' names no particles", path);
	CYC_TRY(cyc_path_join(&particles, c->o->input.root, (*set)->particles));
	CYC_TRY(cyc_star_read(star, particles));
	CYC_TRY(cyc_star_require(b, *star, "particles"));
done:
	cyc_free(path);
	cyc_free(particles);
	return st;
}

/* Name and weight of each row, in the order of the names; without the column all count once. */
static cyc_status read_weights(weighted **out, int64_t *n, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	int32_t name;
	CYC_TRY(cyc_star_require_column(&name, b, CYC_RLN_TOMO_PARTICLE_NAME));
	*n = cyc_star_n_rows(b);
	CYC_TRY(cyc_alloc(out, *n, sizeof **out));
	for (int64_t i = 0; i < *n; i++) {
		(*out)[i].name = cyc_star_text(b, i, name);
		CYC_TRY(cyc_star_double_or(&(*out)[i].weight, b, i, LABEL, 1.0));
	}
	qsort(*out, (size_t)*n, sizeof **out, by_name);
done:
	return st;
}

/* Give the rows of the old table the new weights, and drop those that the turn dropped; *change is the sum of
 * what changes. */
static cyc_status take_weights(double *change, cyc_star_block *old, const weighted *now, int64_t n_now)
{
	cyc_status st = CYC_OK;
	bool *keep = NULL;
	int32_t name, column;
	int64_t n = cyc_star_n_rows(old);
	*change = 0.0;
	CYC_TRY(cyc_star_require_column(&name, old, CYC_RLN_TOMO_PARTICLE_NAME));
	CYC_TRY(cyc_star_ensure_column(&column, old, LABEL, "1"));
	CYC_TRY(cyc_alloc(&keep, n, sizeof *keep));
	for (int64_t i = 0; i < n; i++) {
		double was;
		const weighted wanted = { cyc_star_text(old, i, name), 0.0 };
		const weighted *found = bsearch(&wanted, now, (size_t)n_now, sizeof *now, by_name);
		CYC_TRY(cyc_star_double(&was, old, i, column));
		*change += fabs((found ? found->weight : 0.0) - was);
		keep[i] = found != NULL;
		if (found) CYC_TRY(cyc_star_set_double(old, i, column, found->weight));
	}
	cyc_star_keep_rows(old, keep);
done:
	cyc_free(keep);
	return st;
}

static cyc_status write_state(cyc__cycle *c, const cyc__step *s, cyc_optimisation_set *set,
                              const cyc_star *particles)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	uint64_t h[2];
	cyc_free(set->particles);
	set->particles = NULL;
	CYC_TRY(cyc_path_join(&set->particles, s->dir, "cyclotomo_before_particles.star"));
	CYC_TRY(cyc_path_join(&path, c->o->input.root, set->particles));
	CYC_TRY(cyc_star_write(particles, path));
	CYC_TRY(cyc_hash_file(&h[0], path));
	cyc_free(path);
	path = NULL;
	CYC_TRY(cyc_path_join(&c->before_set, s->dir, "cyclotomo_before.star"));
	CYC_TRY(cyc_path_join(&path, c->o->input.root, c->before_set));
	CYC_TRY(cyc_optimisation_set_write(set, path));
	CYC_TRY(cyc_hash_file(&h[1], path));
	c->before_key = cyc_hash(CYC_HASH_INIT, h, sizeof h);
done:
	cyc_free(path);
	return st;
}

cyc_status cyc__reweight(cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set[2] = { NULL, NULL };
	cyc_star *star[2] = { NULL, NULL };
	cyc_star_block *b[2];
	weighted *now = NULL;
	int64_t n_now;
	double change;
	cyc_free(c->before_set);
	c->before_set = NULL;
	CYC_TRY(read_set(&set[0], &star[0], &b[0], c, c->steps[c->i_best].output_set));
	CYC_TRY(read_set(&set[1], &star[1], &b[1], c, s->output_set));
	if (strcmp(set[0]->particles, set[1]->particles) == 0 ||
	    cyc_star_column(b[0], CYC_RLN_TOMO_PARTICLE_NAME) < 0)
		goto done;
	double n_before = (double)cyc_star_n_rows(b[0]);
	CYC_TRY(read_weights(&now, &n_now, b[1]));
	CYC_TRY(take_weights(&change, b[0], now, n_now));
	if (change < LEAST_CHANGE * n_before) goto done;
	CYC_TRY(write_state(c, s, set[0], star[0]));
	cyc_info("%s: the weights of particles changed by %.1f of %.0f; for comparison, maps of the state before "
	         "are made again with the new weights",
	         s->dir, change, n_before);
done:
	for (int i = 0; i < 2; i++) {
		cyc_optimisation_set_destroy(&set[i]);
		cyc_star_destroy(&star[i]);
	}
	cyc_free(now);
	return st;
}

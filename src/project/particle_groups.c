#include "cyclotomo/project.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
	uint64_t key;
	int64_t i;
	const char *name;
} dealt;

static int by_key(const void *a, const void *b)
{
	const dealt *x = a, *y = b;
	if (x->key != y->key) return x->key < y->key ? -1 : 1;
	return strcmp(x->name, y->name);
}

cyc_status cyc_particles_shuffled(int64_t **order, const cyc_particle_set *s, uint64_t hash)
{
	cyc_status st = CYC_OK;
	dealt *d = NULL;
	*order = NULL;
	CYC_TRY(cyc_alloc(&d, s->n, sizeof *d));
	CYC_TRY(cyc_alloc(order, s->n, sizeof **order));
	for (int64_t i = 0; i < s->n; i++) {
		const char *name = s->particles[i].name;
		d[i] = (dealt){ cyc_hash_string(hash, name), i, name };
	}
	qsort(d, (size_t)s->n, sizeof *d, by_key);
	for (int64_t k = 0; k < s->n; k++) (*order)[k] = d[k].i;
done:
	cyc_free(d);
	return st;
}

cyc_status cyc_particle_groups(int32_t *group, const cyc_particle_set *s, int32_t n_groups)
{
	cyc_status st = CYC_OK;
	int64_t *order = NULL, n_dealt[3] = { 0 }; /* of half -1 (none), 0, 1 */
	CYC_CHECK(n_groups >= 1, CYC_E_INTERNAL, "particles cannot be divided into %d groups", n_groups);
	CYC_TRY(cyc_particles_shuffled(&order, s, CYC_HASH_INIT));
	for (int64_t k = 0; k < s->n; k++)
		group[order[k]] = (int32_t)(n_dealt[s->particles[order[k]].half + 1]++ % n_groups);
done:
	cyc_free(order);
	return st;
}

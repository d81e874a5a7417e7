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

cyc_status cyc_particle_groups(int32_t *group, const cyc_particle_set *s, int32_t n_groups)
{
	cyc_status st = CYC_OK;
	dealt *d = NULL;
	CYC_CHECK(n_groups >= 1, CYC_E_INTERNAL, "particles cannot be dealt to %d groups", n_groups);
	CYC_TRY(cyc_alloc(&d, s->n, sizeof *d));
	for (int32_t half = -1; half < 2; half++) {
		size_t n = 0;
		for (int64_t i = 0; i < s->n; i++) {
			if (s->particles[i].half != half) continue;
			const char *name = s->particles[i].name;
			d[n++] = (dealt){ cyc_hash_string(CYC_HASH_INIT, name), i, name };
		}
		qsort(d, n, sizeof *d, by_key);
		for (size_t k = 0; k < n; k++) group[d[k].i] = (int32_t)(k % (size_t)n_groups);
	}
done:
	cyc_free(d);
	return st;
}

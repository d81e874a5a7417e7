#include "project/name_map.h"

#include <string.h>

static size_t slot_of(const cyc__name_map *m, const char *key)
{
	size_t i = (size_t)cyc_hash_string(CYC_HASH_INIT, key) & (m->size - 1);
	while (m->keys[i] && strcmp(m->keys[i], key) != 0) i = (i + 1) & (m->size - 1);
	return i;
}

static cyc_status grow(cyc__name_map *m)
{
	cyc_status st = CYC_OK;
	cyc__name_map g = { .n = m->n, .size = m->size ? m->size * 2 : 64 };
	CYC_TRY(cyc_alloc(&g.keys, g.size, sizeof *g.keys));
	CYC_TRY(cyc_alloc(&g.values, g.size, sizeof *g.values));
	for (size_t i = 0; i < m->size; i++) {
		if (!m->keys[i]) continue;
		size_t slot = slot_of(&g, m->keys[i]);
		g.keys[slot] = m->keys[i];
		g.values[slot] = m->values[i];
	}
	cyc__name_map old = *m;
	*m = g;
	g = old;
done:
	cyc__name_map_deinit(&g);
	return st;
}

cyc_status cyc__name_map_add(int64_t *found, cyc__name_map *m, const char *key, int64_t value)
{
	cyc_status st = CYC_OK;
	if (m->n * 2 >= m->size) CYC_TRY(grow(m));
	size_t slot = slot_of(m, key);
	if (!m->keys[slot]) {
		m->keys[slot] = key;
		m->values[slot] = value;
		m->n++;
	}
	*found = m->values[slot];
done:
	return st;
}

int64_t cyc__name_map_get(const cyc__name_map *m, const char *key)
{
	if (!m->size) return -1;
	size_t slot = slot_of(m, key);
	return m->keys[slot] ? m->values[slot] : -1;
}

void cyc__name_map_deinit(cyc__name_map *m)
{
	cyc_free(m->keys);
	cyc_free(m->values);
	memset(m, 0, sizeof *m);
}

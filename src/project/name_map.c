#include "project/name_map.h"

#include "project/labels.h"

#include <string.h>
#include <strings.h>

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

/* pandas and others write so; and what reads as a number that is none, they read as such. */
static bool stands_for_none(const char *name)
{
	static const char *const NOT_FINITE[] = { "nan", "inf", "infinity" };
	static const char *const NONE[] = { "<NA>", "None", "NULL" };
	const char *bare = name + (name[0] == '-' || name[0] == '+');
	for (int i = 0; i < 3; i++)
		if (strcasecmp(bare, NOT_FINITE[i]) == 0 || strcasecmp(name, NONE[i]) == 0) return true;
	return false;
}

cyc_status cyc__require_name(const char *name, const cyc_star_block *b, int64_t row, const char *label)
{
	/* Results have a block for each tomogram, trajectories one for each particle, beside a block of this
	 * name. */
	const char *taken = strcmp(label, CYC_RLN_TOMO_PARTICLE_NAME) == 0 ? "general"
	                    : strcmp(label, CYC_RLN_TOMO_NAME) == 0        ? "particles"
	                                                                   : "";
	if (strcmp(name, taken) == 0 && name[0]) {
		cyc_status raised = cyc_star_raise(CYC_E_DATA, b, row, "_%s cannot be '%s'", label, name);
		cyc_error_hint("a block of the results has this name: choose another one");
		return raised;
	}
	if (!stands_for_none(name)) return CYC_OK;
	cyc_status st = cyc_star_raise(CYC_E_DATA, b, row, "_%s is '%s', which is no name", label, name);
	cyc_error_hint("programs write this where a name is missing: correct it, or remove the row");
	return st;
}

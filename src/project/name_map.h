/* Names to numbers: tomograms, particles, optics groups. Keys are borrowed and must outlive the map. */
#ifndef CYC_PROJECT_NAME_MAP_H
#define CYC_PROJECT_NAME_MAP_H

#include "cyclotomo/star.h"

typedef struct {
	const char **keys;
	int64_t *values;
	size_t n, size; /* size: a power of two, at least twice n */
} cyc__name_map;

/* Set key -> value unless the key exists; *found is its value afterwards. */
CYC_MUST_CHECK cyc_status cyc__name_map_add(int64_t *found, cyc__name_map *m, const char *key, int64_t value);
/* Value of a key, -1 if there is none. */
int64_t cyc__name_map_get(const cyc__name_map *m, const char *key);
void cyc__name_map_deinit(cyc__name_map *m);

/* CYC_E_DATA for what programs write where a name is missing ("nan", "<NA>", "None"), and for names that a
 * block of the results has already; with the row and the label. */
CYC_MUST_CHECK cyc_status cyc__require_name(const char *name, const cyc_star_block *b, int64_t row,
                                            const char *label);

#endif

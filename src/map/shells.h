/*
 * Shells of a map's transform and radial tables: docs/theory/03-maps.md. For src/map and what stands above
 * it.
 *
 * A "radial table" holds one value per squared frequency index r2 = x^2 + y^2 + z^2, r2 = 0 .. 3 (n/2)^2:
 * filters and spectra of an n^3 map are functions of r2 only, so they are worked out there once and applied
 * in one pass.
 */
#ifndef CYC_MAP_SHELLS_H
#define CYC_MAP_SHELLS_H

#include "cyclotomo/map.h"

#include <math.h>

/** Frequency of index j of an axis of n, absolute value: signs do not matter to shells. */
static inline int64_t cyc__frequency(int64_t j, int32_t n) { return j <= n / 2 ? j : n - j; }
/** round(sqrt(r2)) in integers: shell s holds s(s-1) < r2 <= s(s+1), and no r2 lies on a border. */
static inline int32_t cyc__shell(int64_t r2)
{
	int64_t s = (int64_t)sqrt((double)r2);
	while (s * (s + 1) < r2) s++;
	while (s * (s - 1) >= r2 && s > 0) s--;
	return (int32_t)s;
}
static inline int32_t cyc__n_shells(int32_t n) { return n / 2 + 1; }
static inline size_t cyc__n_radial(int32_t n) { return 3 * (size_t)(n / 2) * (size_t)(n / 2) + 1; }
/** Resolution of a shell [Å]; 999 for shell 0, as in RELION's files. */
static inline double cyc__shell_resolution_A(int32_t i, int32_t n, double pixel_size_A)
{
	return i > 0 ? n * pixel_size_A / i : 999.0;
}
/** ft(p) *= scale * table(|p|^2). */
CYC_MUST_CHECK cyc_status cyc__filter_apply(cyc_cfloat *ft, int32_t n, const double *table, double scale,
                                            int n_threads);

#endif

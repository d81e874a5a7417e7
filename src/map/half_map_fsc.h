/* Fourier shell correlation of half maps, with random phases and without: docs/theory/03-maps.md. For src/map
 * and what stands above it. */
#ifndef CYC_MAP_HALF_MAP_FSC_H
#define CYC_MAP_HALF_MAP_FSC_H

#include "cyclotomo/map.h"

/* ---------------------------------------------------------------- fsc.c */

/** As cyc_fsc_compute() on n_threads threads; same bits. */
CYC_MUST_CHECK cyc_status cyc__fsc_compute_threads(double *fsc, const cyc_cfloat *ft1, const cyc_cfloat *ft2,
                                                   int32_t n, int n_threads);

/** Mean over all shells but the first. */
double cyc__mean_fsc(const double *fsc, int32_t n_shells);

/* ---------------------------------------------------------------- random_phases.c */

typedef struct {
	const cyc_cfloat *ft[2]; /**< half transforms of the unmasked half maps */
	const float *mask;       /**< n^3 */
	int32_t n;
	int32_t randomise_from; /**< shell R: coefficients with |p| >= R get random phases */
	uint64_t seed;
	int32_t n_draws;
	int n_threads;
} cyc__random_fsc_input;
/** Bytes that cyc__random_fsc() takes, and draws that are made side by side. */
double cyc__random_fsc_bytes(int32_t n, int n_draws, int n_threads);
int cyc__random_fsc_workers(int32_t n, int n_draws, int n_threads);
/** FSC of the masked maps after phase randomisation, mean over the draws. n/2+1 values. (T3.3) */
CYC_MUST_CHECK cyc_status cyc__random_fsc(double *fsc, const cyc__random_fsc_input *in);
/** Copy of a half transform with random phases from shell R on; draw and half choose the phases. */
CYC_MUST_CHECK cyc_status cyc__randomise_phases(cyc_cfloat *out, const cyc_cfloat *ft, int32_t n,
                                                int32_t randomise_from, uint64_t seed, int32_t draw,
                                                int32_t half, int n_threads);

#endif

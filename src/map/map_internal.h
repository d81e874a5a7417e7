/*
 * What the files of src/map share. Shells, radial tables and slab sums: docs/theory/03-maps.md.
 *
 * A "radial table" holds one value per squared frequency index r2 = x^2 + y^2 + z^2, r2 = 0 .. 3 (n/2)^2:
 * filters and spectra of an n^3 map are functions of r2 only, so they are worked out there once and applied
 * in one pass.
 */
#ifndef CYC_MAP_INTERNAL_H
#define CYC_MAP_INTERNAL_H

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
/** FSC of the masked maps after phase randomisation, mean over the draws. n/2+1 values. (T3.3) */
/** Bytes that it takes, and draws that are made side by side. */
double cyc__random_fsc_bytes(int32_t n, int n_draws, int n_threads);
int cyc__random_fsc_workers(int32_t n, int n_draws, int n_threads);
CYC_MUST_CHECK cyc_status cyc__random_fsc(double *fsc, const cyc__random_fsc_input *in);
/** Copy of a half transform with random phases from shell R on; draw and half choose the phases. */
CYC_MUST_CHECK cyc_status cyc__randomise_phases(cyc_cfloat *out, const cyc_cfloat *ft, int32_t n,
                                                int32_t randomise_from, uint64_t seed, int32_t draw,
                                                int32_t half, int n_threads);

/* ---------------------------------------------------------------- filter.c */

/** Low-pass of a half width of floor(edge_px / 2) shells around round(n a / resolution), times into a radial
 * table. (T3.7) */
void cyc__filter_lowpass(double *table, int32_t n, double pixel_size_A, double resolution_A, double edge_px);
/** FSC weight sqrt(2 FSC / (1 + FSC)) up to the shell before FSC first drops below 1e-4, 0 beyond. (T3.5) */
void cyc__filter_fsc_weight(double *table, int32_t n, const double *fsc);
/** exp(-B k^2 / 4) up to Nyquist, 0 beyond; nothing at all if B = 0. (T3.6) */
void cyc__filter_bfactor(double *table, int32_t n, double pixel_size_A, double bfactor_A2);
/** Detector response: value against frequency, rows in order of frequency. Destroy with cyc__mtf_destroy().
 */
typedef struct {
	int32_t n;
	double step_invA; /**< (last - first) / n, see T3.4 */
	double *frequency_invA, *value;
} cyc__mtf;
/** From frequencies in 1/pixel of the detector. CYC_E_DATA: fewer than 2 rows, not increasing, values below
 * 1e-10. */
CYC_MUST_CHECK cyc_status cyc__mtf_create(cyc__mtf **out, const double *inverse_px, const double *value,
                                          int32_t n, double pixel_size_A);
void cyc__mtf_destroy(cyc__mtf **m);
double cyc__mtf_value(const cyc__mtf *m, double frequency_invA);
/** Divide by the response below Nyquist. (T3.4) */
CYC_MUST_CHECK cyc_status cyc__filter_mtf(double *table, int32_t n, double pixel_size_A, const cyc__mtf *mtf);
/** ft(p) *= scale * table(|p|^2). */
CYC_MUST_CHECK cyc_status cyc__filter_apply(cyc_cfloat *ft, int32_t n, const double *table, double scale,
                                            int n_threads);

/** Sums of |F| and numbers of stored coefficients per r2. */
CYC_MUST_CHECK cyc_status cyc__radial_amplitudes(double *amplitude, int64_t *count, const cyc_cfloat *ft,
                                                 int32_t n, int n_threads);

/** One Guinier curve: ln of the mean amplitude against squared frequency, n/2+1 points. (T3.8) */
typedef struct {
	int32_t n;
	double *x_invA2, *y;
	bool *is_fitted; /**< inside the fit range and with signal */
} cyc__guinier;
CYC_MUST_CHECK cyc_status cyc__guinier_create(cyc__guinier **out, const double *amplitude,
                                              const int64_t *count, const double *table, int32_t n,
                                              double pixel_size_A, double low_A, double high_A);
void cyc__guinier_destroy(cyc__guinier **g);
typedef struct {
	double slope_A2, intercept, correlation;
	int32_t n_points;
} cyc__line;
/** Least-squares line through the fitted points; all zero with fewer than 3 of them or no spread. */
cyc__line cyc__guinier_fit(const cyc__guinier *g);

/* ---------------------------------------------------------------- amplitudes.c */

/**
 * From shell `from_shell` (1 to n/2) to Nyquist: divide each coefficient by the root of the mean relative
 * power in its direction. Serial sums in fixed order; same bits for any n_threads. (T3.14)
 */
CYC_MUST_CHECK cyc_status cyc__flatten_directions(cyc_cfloat *ft, int32_t n, int32_t from_shell,
                                                  int n_threads);
/** Pearson correlation of the amplitudes, and amplitude-weighted phase residual [degrees], per shell; n/2+1
 * each. (T3.15, T3.16) */
CYC_MUST_CHECK cyc_status cyc__amplitude_curves(double *correlation, double *residual_deg,
                                                const cyc_cfloat *ft1, const cyc_cfloat *ft2, int32_t n,
                                                int n_threads);

/* ---------------------------------------------------------------- read_map.c */

/**
 * A cubic map of even box. pixel_size_A > 0 replaces the header's. `what` names its role in errors ("half map
 * 1"). Destroy with cyc_volume_destroy().
 */
CYC_MUST_CHECK cyc_status cyc__read_map(cyc_volume **out, const char *root, const char *name,
                                        double pixel_size_A, const char *what);

/* ---------------------------------------------------------------- postprocess.c */

/** The other half's name: "half1" <-> "half2" in the file name, the last of them if there are several;
 * CYC_E_USAGE if none. */
CYC_MUST_CHECK cyc_status cyc__other_half(char **out, const char *name);

/* ---------------------------------------------------------------- mask_ops.c */

/** Where the squared distance to the nearest set voxel is < limit2, that distance, else a value >= limit2
 * (exact, integers). */
CYC_MUST_CHECK cyc_status cyc__distance2(int32_t *d2, const uint8_t *set, int32_t n, double limit2,
                                         int n_threads);
/** Grow (extend > 0) or shrink (extend < 0) a binary mask: strictly less than |extend| voxels. (T3.10) */
CYC_MUST_CHECK cyc_status cyc__mask_extend(uint8_t *set, int32_t n, double extend_px, int n_threads);
/** Binary mask to soft mask with a raised-cosine edge outside of it. (T3.11) */
CYC_MUST_CHECK cyc_status cyc__mask_soften(float *mask, const uint8_t *set, int32_t n, double edge_px,
                                           int n_threads);
/** Threshold that splits the grey values inside the inscribed sphere best in two (Otsu). (T3.9) */
CYC_MUST_CHECK cyc_status cyc__mask_auto_threshold(double *out, const float *map, int32_t n);
/** Low-pass a map in place, edge of 2 shells. */
CYC_MUST_CHECK cyc_status cyc__map_lowpass(float *map, int32_t n, double pixel_size_A, double resolution_A,
                                           int n_threads);

/** Correlation of all voxels of two maps of one size about their means; 0 if one is constant. */
double cyc__volume_correlation(const cyc_volume *a, const cyc_volume *b);

#endif

/* Shared by the files of src/map only. */
#ifndef CYC_MAP_INTERNAL_H
#define CYC_MAP_INTERNAL_H

#include "map/half_map_fsc.h"
#include "map/map_files.h"
#include "map/shells.h"

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
CYC_MUST_CHECK cyc_status cyc__volume_correlation(double *out, const cyc_volume *a, const cyc_volume *b,
                                                  int n_threads);

#endif

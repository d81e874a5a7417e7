/**
 * @file series_fit.h
 * What the images of a tilt series show about its metadata, from their ring sums: docs/theory/09-evidence.md.
 */
#ifndef CYC_CHECK_SERIES_FIT_H
#define CYC_CHECK_SERIES_FIT_H

#include "check/ring_sums.h"
#include "cyclotomo/check.h"

/** What a fit takes from the tilt table. */
typedef struct {
	double wavelength_A;
	double bfactor_per_dose_A2; /**< dose model, see cyc_dose_weight() */
	const double *dose;         /**< n_tilts, e/Å2, as stated */
	const double *angle_rad; /**< n_tilts: of the tilt, for orders that are tried where all doses are equal */
} cyc_series_optics;

/**
 * Fill all measurements of `e` but those of tables and maps. NaN where the images do not determine them.
 * @note Same results for any number of threads: it uses one.
 */
CYC_MUST_CHECK cyc_status cyc_series_fit_images(cyc_series_evidence *e, const cyc_ring_sums *sums,
                                                const cyc_series_optics *optics);

/** Sums over the particles of each tilt at the right phases, without doses. */
typedef struct {
	int32_t n_tilts, n_rings;
	const double *k_invA;
	const double *cross, *power; /**< n_tilts x n_rings */
	double bfactor_per_dose_A2;
} cyc_dose_data;
/**
 * How well doses d_f = b x_f explain the fall-off of the tilts' shells. (T9.6)
 * @param[out] slope  b at its best
 * @param[out] log_l  at the best b, at b = 1 and at b = -1
 * @param[in]  x      n_tilts doses, or an order of the tilts
 */
CYC_MUST_CHECK cyc_status cyc_dose_fit(cyc_measured *slope, double log_l[3], const cyc_dose_data *data,
                                       const double *x);

#endif

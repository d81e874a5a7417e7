/**
 * @file fsc_sectors.h
 * FSC by sectors: directions of Fourier space that no symmetry relates, in parts of equal size. Leaving one
 * out at a time gives the standard error of anything that is computed from FSC curves (T3.17).
 */
#ifndef CYC_FSC_SECTORS_H
#define CYC_FSC_SECTORS_H

#include "cyclotomo/map.h"

/** The sectors; coefficients that the point group or Friedel's law makes equal are in the same one. */
typedef struct {
	int32_t n_sectors;
	int32_t n_equal;       /**< rotations of the group */
	uint8_t *of_direction; /**< by cell of a cube around the origin, half of its faces */
} cyc__sectors;
/** @return CYC_E_USAGE if there is no point group of this name. Destroy with cyc__sectors_deinit(). */
CYC_MUST_CHECK cyc_status cyc__sectors_init(cyc__sectors *s, const char *symmetry);
void cyc__sectors_deinit(cyc__sectors *s);
/** Sector of frequency (x, y, z), not zero. */
int32_t cyc__sector_of(const cyc__sectors *s, int32_t x, int32_t y, int32_t z);

/** Sums of a pair of maps: re(F1 F2*), |F1|^2, |F2|^2 by sector and shell. */
typedef struct {
	int32_t n_shells, n_sectors;
	double *sums; /**< (n_sectors + 1) x n_shells x 3; the last sector is the total */
} cyc__sector_sums;
/** From half transforms of edge n; shells before the first one that is asked for stay 0. Same bits for any
 * number of threads. Destroy with cyc__sector_sums_deinit(). */
CYC_MUST_CHECK cyc_status cyc__sector_sums_init(cyc__sector_sums *s, const cyc__sectors *sectors,
                                                const cyc_cfloat *ft1, const cyc_cfloat *ft2, int32_t n,
                                                int32_t first_shell, int n_threads);
void cyc__sector_sums_deinit(cyc__sector_sums *s);
/** FSC of all but one sector (without = -1: of all); n_shells values. A shell of which nothing is left has
 * the FSC of all. */
void cyc__sector_fsc(double *fsc, const cyc__sector_sums *s, int32_t without);
/**
 * Standard error of a statistic from its values with one sector left out each (n_sectors of them). (T3.17)
 * @param[in] shell        where the statistic has most of its scatter: the width of sectors is taken there
 * @param[in] diameter_px  of what the map is confined to in its box of n, which makes coefficients near each
 * other alike
 */
double cyc__sector_error(const double *left_out, const cyc__sectors *s, double shell, double diameter_px,
                         int32_t n);

#endif

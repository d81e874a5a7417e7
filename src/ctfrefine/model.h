/**
 * @file model.h
 * Likelihood of one tilt image's CTF, from its sums: docs/theory/04-ctf-refinement.md, (T4.4) to (T4.8).
 *
 * With the phase error delta(k) = z g0 + a1 g1 + a2 g2, g = -pi lambda (k^2, kx^2 - ky^2, 2 kx ky), a scale
 * factor S, a shift d of the whole image and an amplitude factor alpha of each shell, log L = sum_k 2 S alpha
 * Re[(xc cos delta + xq sin delta) exp(2 pi i k.d)]
 *               - S^2 alpha^2 (cc cos^2 delta + 2 cq cos delta sin delta + qq sin^2 delta). (T4.4) z, a1, a2
 * are changes of the mean defocus and of the astigmatism vector [Å].
 */
#ifndef CYC_CTF_MODEL_H
#define CYC_CTF_MODEL_H

#include "ctfrefine/statistics.h"

/** Constants of all tilts of one wavelength. Immutable but for `alpha`. */
typedef struct {
	const cyc_ctf_support *support;
	float *g[3]; /**< n of the support each */
	int32_t *shell, n_shells;
	double *alpha;       /**< n_shells: amplitude of the data over that of the prediction */
	int32_t n_z, n_bins; /**< grid of z, and bins of k^2 on which the scan works */
	double *z_A, z_step_A;
	int32_t *bin;
	float *cos_table, *sin_table; /**< n_z x n_bins */
} cyc_ctf_model;
/** Grid of +-range_A in steps fine enough for the support's highest frequency. */
CYC_MUST_CHECK cyc_status cyc_ctf_model_create(cyc_ctf_model **out, const cyc_ctf_support *support,
                                               double wavelength_A, double range_A);
void cyc_ctf_model_destroy(cyc_ctf_model **m);

/** Scratch of one thread. */
typedef struct {
	float *xc, *xq, *cc, *cq, *qq; /**< n each: shifted, with alpha */
	double *bins;                  /**< 5 x n_bins */
	double *scan;                  /**< 2 x n_z: cross and power terms of a scan */
	double *row_re, *row_im;       /**< n_row x trial shifts: sums over the columns */
	double *turn;                  /**< 2 x n_column x trial shifts */
	int32_t n_row, n_column;
} cyc_ctf_scratch;
CYC_MUST_CHECK cyc_status cyc_ctf_scratch_create(cyc_ctf_scratch **out, const cyc_ctf_model *m);
void cyc_ctf_scratch_destroy(cyc_ctf_scratch **s);

/** Change of defocus and astigmatism vector [Å]. */
typedef struct {
	double z, a[2];
} cyc_ctf_change;

/**
 * Shift d [Å] of the whole image that maximises log L at a given change, with a normal prior of width sigma_A
 * on each component: the misalignment of the tilt, which would otherwise look like a phase error of the CTF.
 * (T4.5)
 * @param[out] variance_A2  of each component
 */
void cyc_ctf_fit_shift(double d_A[2], double *variance_A2, const cyc_ctf_model *m, const cyc_tilt_sums *t,
                       cyc_ctf_change at, double sigma_A, cyc_ctf_scratch *scratch);
/** The maximum closest to d_A, without a prior, for large shifts. d_A is kept if there is none. */
void cyc_ctf_refine_shift(double d_A[2], double *variance_A2, const cyc_ctf_model *m, const cyc_tilt_sums *t,
                          cyc_ctf_change at, cyc_ctf_scratch *scratch);
/** Fill the scratch with the tilt's sums: shift undone, alpha applied. */
void cyc_ctf_load(cyc_ctf_scratch *scratch, const cyc_ctf_model *m, const cyc_tilt_sums *t,
                  const double d_A[2]);
/**
 * Cross and power terms of the loaded tilt (log L = 2 S cross - S^2 power) on the grid of z about centre.z,
 * with a fixed astigmatism change. (T4.6)
 * @param[out] cross, power  n_z each
 */
void cyc_ctf_scan(double *cross, double *power, const cyc_ctf_model *m, cyc_ctf_scratch *scratch,
                  cyc_ctf_change centre);
/**
 * Cross terms of a tilt at shifts of whole steps, -n_half .. n_half of them in x (fast) and y. (T4.30)
 * @param[out] cross  (2 n_half + 1)^2
 * @param[out] power  the same at all shifts
 */
CYC_MUST_CHECK cyc_status cyc_ctf_shift_map(double *cross, double *power, const cyc_ctf_model *m,
                                            const cyc_tilt_sums *t, cyc_ctf_change at, int32_t n_half,
                                            double step_A, cyc_ctf_scratch *scratch);
/** Cross and power terms of the loaded tilt: S = cross/power. Optionally per shell (n_shells each,
 * overwritten). */
void cyc_ctf_amplitude(double *cross, double *power, double *shell_cross, double *shell_power,
                       const cyc_ctf_model *m, const cyc_ctf_scratch *scratch, cyc_ctf_change at);
/**
 * Sums over each shell's coefficients for the regression of a tilt's terms y = (xc, xq) on the prediction p
 * and on the subtracted self-correlation s, each over the variance of the noise. (T4.31)
 */
typedef struct {
	double pp, ps, ss, py, sy;
} cyc_self_terms;
void cyc_ctf_self_terms(cyc_self_terms *shells, const cyc_ctf_model *m, const cyc_tilt_sums *t,
                        cyc_ctf_change at, const double d_A[2]);
/** Gradient and Gauss-Newton curvature of -log L in (z, a1, a2) of the loaded tilt at scale factor S. (T4.7)
 */
void cyc_ctf_curvature(double gradient[3], double curvature[3][3], const cyc_ctf_model *m,
                       const cyc_ctf_scratch *scratch, cyc_ctf_change at, double S);

#endif

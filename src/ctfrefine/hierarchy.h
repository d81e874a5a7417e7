/**
 * @file hierarchy.h
 * How far the evidence of a tilt image may move it: two normal (or Student) models of its true value, learned from all
 * tilts at once: docs/theory/04-ctf-refinement.md, (T4.9) to (T4.12).
 *
 *   true value = input + systematic error of the input + error of this tilt's input
 *   true value = trend in tilt and dose of its series + deviation of this tilt
 *
 * The widths of both are the same in the whole data set and are estimated (expectation maximisation); the coefficients of
 * trend and systematic error belong to a series.
 */
#ifndef CYC_CTF_HIERARCHY_H
#define CYC_CTF_HIERARCHY_H

#include "cyclotomo/optics.h"
#include "ctfrefine/ice.h"
#include "ctfrefine/model.h"

/** One tilt image in the fit. */
typedef struct {
	bool has_data;         /**< particles were seen; else nothing here is touched */
	double sin_tilt, cos_tilt, dose_e_per_A2;
	cyc_defocus input;
	double input_scale;
	double *log_l;         /**< n_z: scan of the mean defocus (T4.6) */
	double shift_A[2];     /**< nuisance shift (T4.5) */
	cyc_ctf_change change; /**< posterior mean */
	double z_variance;     /**< [Å2] */
	double a_data[2], a_information[2][2]; /**< estimate of the astigmatism change from the image alone, and its precision */
	double a_variance[2];
	double log_s_data, log_s_information;  /**< the same of the log of the scale factor */
	double gain;           /**< log-likelihood at the new CTF minus that at the input's, each with its best scale */
	double log_s, log_s_variance;          /**< posterior, of (new scale / input scale) */
	double ice_path;       /**< path through the ice over its thickness; 0: 1/cos(tilt), for ice that lies flat */
	double b_data, b_information;          /**< change of the B-factor [Å2] by the image alone, and its precision */
	double b, b_variance;  /**< posterior */
} cyc_tilt_fit;

typedef struct {
	int32_t n_tilts;
	cyc_tilt_fit *tilts;
	cyc_ice_series ice; /**< views of the series; its fit is the prior of the scales if that is asked for */
} cyc_series_fit;

/** Widths of the two models of each quantity; in the file of hyperparameters. */
typedef struct {
	double shift_A;                    /**< misalignment of a tilt, each component */
	double z_input_A, z_trend_A;       /**< input errors are z_input / cos(tilt), Student with 4 degrees of freedom */
	double a_input_A, a_trend_A;       /**< each component */
	double s_input, s_trend;           /**< of the log scale */
	double b_A2;                       /**< of B-factors about their trend */
	bool z_input_is_given, a_input_is_given; /**< by the user: not estimated */
} cyc_ctf_widths;
cyc_ctf_widths cyc_ctf_widths_default(void);

/**
 * Posterior mean and variance of the mean defocus of all tilts; updates the widths if `learn`.
 * @param[in] z_A  grid of the scans, n_z values
 */
CYC_MUST_CHECK cyc_status cyc_hierarchy_defocus(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, const double *z_A, int32_t n_z, bool learn);
/** The same for the astigmatism vector; the trend of a series is a constant. */
CYC_MUST_CHECK cyc_status cyc_hierarchy_astigmatism(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, bool learn);
/** The same for the change of the B-factor about a trend in dose and 1/cos tilt.                                      (T4.26) */
CYC_MUST_CHECK cyc_status cyc_hierarchy_bfactor(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, bool learn);
/** The same for the log scale; trend c0 + c1 (path - 1): Beer-Lambert of a slab. */
CYC_MUST_CHECK cyc_status cyc_hierarchy_scale(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, bool learn);

#endif

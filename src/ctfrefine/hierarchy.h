/**
 * @file hierarchy.h
 * Limits on how far the evidence of a tilt image may move it: two Student models of its true value (normal
 * for astigmatism), learned from all tilts together: docs/theory/04-ctf-refinement.md, (T4.9) to (T4.12).
 *
 *   true value = input + systematic error of the input + error of this tilt's input
 *   true value = trend in tilt and dose of its series + deviation of this tilt
 *
 * The widths of both are the same in the whole data set and are estimated (expectation maximisation); the
 * coefficients of trend and systematic error belong to a series.
 */
#ifndef CYC_CTF_HIERARCHY_H
#define CYC_CTF_HIERARCHY_H

#include "cyclotomo/optics.h"
#include "ctfrefine/ice.h"
#include "ctfrefine/model.h"

/** One tilt image in the fit. */
typedef struct {
	bool has_data; /**< particles were seen; else nothing here is changed */
	double sin_tilt, cos_tilt, dose_e_per_A2;
	cyc_defocus input; /**< what the sums were made with; changes are relative to it */
	double input_scale;
	/* The input of (T4.9), relative to that: not the same where these images have been refined against
	 * before. */
	cyc_defocus given;
	double given_log_scale;
	bool input_is_refined; /**< the values come from these images, and the original ones are unknown: no
	                          (T4.9) */
	double *log_l;         /**< n_tiles x n_z: scan of the mean defocus (T4.6) */
	int32_t n_tiles;       /**< odd: the scan spans this many grids, centred; 0: one */
	bool is_at_end;        /**< the posterior is largest at an end of the scan */
	double shift_A[2];     /**< nuisance shift (T4.5) */
	cyc_ctf_change change; /**< posterior mean */
	double z_variance;     /**< [Å2] */
	double z_expected;     /**< change to the value of the trend */
	double z_log_prior;    /**< log prior density of the change over the largest */
	double z_weight[2], z_follows[2],
		z_information[2][2]; /**< of (T4.9), (T4.10): Student weights, and terms for (T4.27) */
	double a_data[2],
		a_information[2]
					 [2]; /**< estimate of the astigmatism change from the image alone, and its precision */
	double a_variance[2];
	double s_data, s_information;         /**< the same of the scale factor; the estimate may be negative */
	double log_s_data, log_s_information; /**< that as a normal likelihood of its logarithm */
	double gain; /**< log-likelihood at the new CTF minus that at the input CTF, each with its best scale */
	double s_per_level;           /**< how much of an error of the level of the series' shells is in that */
	double log_s, log_s_variance; /**< posterior, of (new scale / input scale) */
	double log_s_expected, log_s_expected_variance; /**< the same by input and trend alone */
	double s_weight[2];                             /**< Student weights of (T4.10), (T4.9) */
	double p_bad;  /**< probability that it shows no particles where there should be some: it counts less for
	                  the others */
	double p_good; /**< probability that it shows what is expected */
	double expected_gain, found_gain; /**< log-likelihood that the particles should add, and what they do */
	bool is_shifted;                  /**< a shift beyond the range of the prior was found */
	bool has_looked, is_found; /**< other places were looked at; one was found, and fits start from there */
	double ice_path;           /**< path through the ice over its thickness; 0: 1/cos(tilt), for flat ice */
	double b_data, b_information; /**< change of the B-factor [Å2] by the image alone, and its precision */
	double b, b_variance;         /**< posterior */
} cyc_tilt_fit;

typedef struct {
	int32_t n_tilts;
	cyc_tilt_fit *tilts;
	cyc_ice_series ice; /**< views of the series; its fit is the prior of the scales if that is asked for */
	double level_error; /**< of the shells' amplitudes of the series, as a logarithm (T4.33) */
	bool is_spared;     /**< most tilts show nothing: none of them is called bad */
} cyc_series_fit;

/** Widths of the two models of each quantity; in the file of hyperparameters. */
typedef struct {
	double shift_A; /**< misalignment of a tilt, each component */
	double z_input_A,
		z_trend_A; /**< input errors are z_input / cos(tilt), Student with 4 degrees of freedom */
	double a_input_A, a_trend_A; /**< each component */
	double s_input, s_trend;     /**< of the log scale */
	double b_A2;                 /**< of B-factors about their trend */
	double bad_frac;             /**< share of bad tilts */
	double self_excess;          /**< of the self-correlation: what is to be taken off beyond (T4.14) */
	bool z_input_is_given, a_input_is_given; /**< by the user: not estimated */
} cyc_ctf_widths;
cyc_ctf_widths cyc_ctf_widths_default(void);

/**
 * Posterior mean and variance of the mean defocus of all tilts; updates the widths if `learn`.
 * @param[in] z_A  grid of the scans, n_z values
 * @param[in] n_threads  for the tilts' posteriors; the result does not depend on it
 */
CYC_MUST_CHECK cyc_status cyc_hierarchy_defocus(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series,
                                                const double *z_A, int32_t n_z, bool learn, int n_threads);
/** The same for the astigmatism vector; the trend of a series is a constant. */
CYC_MUST_CHECK cyc_status cyc_hierarchy_astigmatism(cyc_ctf_widths *w, cyc_series_fit *series,
                                                    int32_t n_series, bool learn);
/** The same for the change of the B-factor about a trend in dose and 1/cos tilt. (T4.26) */
CYC_MUST_CHECK cyc_status cyc_hierarchy_bfactor(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series,
                                                bool learn);
/** The same for the log scale; trend c0 + c1 (path - 1): Beer-Lambert of a slab. */
CYC_MUST_CHECK cyc_status cyc_hierarchy_scale(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series,
                                              bool learn);

#endif

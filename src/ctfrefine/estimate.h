/**
 * @file estimate.h
 * CTF parameters of tilt series from their sums: rounds of shift, scan, curvature and the hierarchical
 * models.
 */
#ifndef CYC_CTF_ESTIMATE_H
#define CYC_CTF_ESTIMATE_H

#include "ctfrefine/hierarchy.h"

/** Measured scales of a series, for cyc_ice_fit(): those of the images alone, with their scatter about the
 * trend. */
void cyc_ice_measure(cyc_ice_series *ice, const cyc_series_fit *fit, const cyc_ctf_widths *w);

/** Set up the fits of a series: geometry, input, scans. The series must be open. Free with
 * cyc_series_fit_deinit(). */
CYC_MUST_CHECK cyc_status cyc_series_fit_init(cyc_series_fit *out, const cyc_tilt_series *ts,
                                              const cyc_series_sums *sums, const cyc_ctf_model *m);
/**
 * The values of the series before any refinement, from its table (CYC_OWN_INPUT_DEFOCUS_U ...). Without such
 * columns, in tables from CTF refinement, they are unknown. (T4.32)
 * @param[in] is_refined  the tables are those of such a job
 */
CYC_MUST_CHECK cyc_status cyc_series_fit_recall(cyc_series_fit *s, const cyc_tomogram_set *tomograms,
                                                int32_t i_series, bool is_refined);
void cyc_series_fit_deinit(cyc_series_fit *s);

typedef struct {
	bool do_defocus, do_scale;
	bool learn; /**< also estimate the widths and the shells' amplitudes (model->alpha) from these series */
	int n_threads;
	int n_rounds;       /**< 0: the default number */
	bool do_bfactor;    /**< also a B-factor of each tilt */
	bool has_ice_prior; /**< the trend of the scales follows the path through ice that may be inclined */
} cyc_ctf_estimate_options;
/**
 * Fit series[i] from sums[i], i < n_series.
 * @param[in,out] widths, model  read; updated if options->learn
 * @note Same bits for any n_threads.
 */
CYC_MUST_CHECK cyc_status cyc_ctf_estimate(cyc_series_fit *series, cyc_ctf_widths *widths,
                                           cyc_ctf_model *model, const cyc_series_sums *const *sums,
                                           int32_t n_series, const cyc_ctf_estimate_options *options);

#endif

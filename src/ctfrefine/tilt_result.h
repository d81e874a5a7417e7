/**
 * @file tilt_result.h
 * Refined values of a tilt series with their errors: in memory, as the record of a finished series (exact to
 * the bit), and as uncertainty.star for users.
 */
#ifndef CYC_TILT_RESULT_H
#define CYC_TILT_RESULT_H

#include "ctfrefine/estimate.h"
#include "cyclotomo/project.h"

/** Origin of a tilt's values. */
typedef enum {
	CYC_TILT_MOVED,     /**< changed by more than two standard errors */
	CYC_TILT_CONFIRMED, /**< the images agree with the input */
	CYC_TILT_WEAK,      /**< its image has little information: values follow input and neighbours */
	CYC_TILT_SHIFTED,   /**< its particles are all in another place: its shift is corrected, the rest refined
	                       there */
	CYC_TILT_BAD,       /**< its image shows no particles where it should: scale 0, the rest kept */
	CYC_TILT_AT_LIMIT,  /**< the likeliest defocus is at the end of the search: defocus kept, and its error is
	                       the search's range */
	CYC_TILT_NO_DATA,   /**< no particle is visible: input kept */
	CYC_TILT_EXCLUDED,  /**< scale 0: input kept */
	CYC_TILT_NOT_ASKED, /**< outside the rows to refine: input kept */
	CYC_N_TILT_STATUS
} cyc_tilt_status;
const char *cyc_tilt_status_name(cyc_tilt_status s);

typedef struct {
	cyc_tilt_status status;
	double defocus_u_A, defocus_v_A, defocus_angle_rad, scale;
	double defocus_error_A, astigmatism_error_A,
		scale_error; /**< one standard error; NaN where the input was kept */
	double defocus_change_A, astigmatism_change_A, scale_ratio;
	double bfactor_A2, bfactor_change_A2, bfactor_error_A2; /**< error NaN where it was not refined */
	double scale_measured,
		scale_precision; /**< by the image alone (with its scatter), for cyc_ice_fit(); 0: nothing measured */
	double gain;         /**< log-likelihood gained by the new CTF */
	double shift_A[2];   /**< misalignment found; applied where the status is `shifted` */
	double p_bad;        /**< probability that the image shows no particles where it should */
	bool is_blank;       /**< the image is constant where its particles are */
	double expected_gain, found_gain; /**< log-likelihood the particles should add, and what they add */
	int64_t n_particles;
} cyc_tilt_result;

/** Results from a fit of rows tilts[0] to tilts[1]. `gauge` multiplies the scale factors of the whole data
 * set. */
void cyc_tilt_results_from_fit(cyc_tilt_result *r, const cyc_tilt_series *ts, const cyc_series_fit *fit,
                               const cyc_series_sums *sums, const cyc_ctf_widths *w, double gauge,
                               const cyc_ctf_estimate_options *what, const int32_t tilts[2]);
/**
 * Scales by the ice's thickness: of all tilts, or only of those without particles. (T4.24)
 * @param[in] gauge  multiplies the law's scales
 */
void cyc_tilt_results_take_ice(cyc_tilt_result *r, const cyc_tilt_series *ts, const cyc_ice_series *ice,
                               double gauge, bool only_without_particles);
/** Put the refined values into the series. */
void cyc_tilt_results_apply(cyc_tilt_series *ts, const cyc_tilt_result *r,
                            const cyc_ctf_estimate_options *what);

/** Record of a finished series; read: found is false without a file, with another hash, or a damaged one (a
 * warning). */
CYC_MUST_CHECK cyc_status cyc_tilt_results_write(const char *path, const cyc_tilt_result *r, int32_t n_tilts,
                                                 uint64_t hash);
CYC_MUST_CHECK cyc_status cyc_tilt_results_read(bool *found, cyc_tilt_result *r, int32_t n_tilts,
                                                const char *path, uint64_t hash);
/** uncertainty.star: a block per series, a row per tilt. results[i] belongs to series i. */
CYC_MUST_CHECK cyc_status cyc_uncertainty_write(const char *path, const cyc_tomogram_set *tomograms,
                                                cyc_tilt_result *const *results, bool has_bfactors);

#endif

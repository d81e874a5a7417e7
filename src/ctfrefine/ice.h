/**
 * @file ice.h
 * Contrast scales from the thickness of the ice, by Beer and Lambert: docs/theory/04-ctf-refinement.md,
 * (T4.24), (T4.25).
 *
 *   S_f = L exp(-tau / |n.v_f|),   n = cos(phi) q + sin(phi) p
 *
 * v_f: direction of the beam in tilt f; c: tilt axis; p, q: across it, q along the mean v. tau: thickness
 * along the normal n over the mean free path of the electrons.
 */
#ifndef CYC_ICE_H
#define CYC_ICE_H

#include "cyclotomo/project.h"

typedef struct {
	cyc_vec3 view;    /**< v_f, unit vector in tomogram axes */
	double scale;     /**< measured */
	double precision; /**< 1/variance of it; 0: not measured */
} cyc_ice_tilt;

typedef struct {
	int32_t n_tilts;
	cyc_ice_tilt *tilts;
	double dose;    /**< luminance of the series over that of the data set; 1 where each series has its own */
	bool is_fitted; /**< false: too few tilts were measured */
	double log_luminance; /**< of L, without the dose */
	double thickness, angle_rad;
	double covariance[3][3]; /**< of (log L, tau, phi) */
	cyc_vec3 p, q, normal;
} cyc_ice_series;

/** Views and frame of a series; scales are filled by the caller. Free with cyc_ice_series_deinit(). */
CYC_MUST_CHECK cyc_status cyc_ice_series_init(cyc_ice_series *out, const cyc_tilt_series *ts);
void cyc_ice_series_deinit(cyc_ice_series *s);
/**
 * Maximum of the posterior of (L, tau, phi), tau >= 0, with weak priors: tau 0.3 +- 1, phi 0 +- 20 degrees.
 * @param[in] is_global  one L for all series, times their doses; else one each
 */
CYC_MUST_CHECK cyc_status cyc_ice_fit(cyc_ice_series *series, int32_t n_series, bool is_global);
/** 1/|n.v_f|: path through the ice over its thickness; at most 10. */
double cyc_ice_path(const cyc_ice_series *s, int32_t i_tilt);
/** S_f of the fit and, unless NULL, the standard error of its logarithm. */
double cyc_ice_scale(double *log_error, const cyc_ice_series *s, int32_t i_tilt);
/** rlnTomoRelativeLuminance, rlnTomoRelativeIceThickness, rlnTomoIceNormal* in the table of tomograms; gauge
 * multiplies luminances. */
CYC_MUST_CHECK cyc_status cyc_ice_put(cyc_tomogram_set *s, const cyc_ice_series *series, double gauge);
#endif

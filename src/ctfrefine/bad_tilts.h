/**
 * @file bad_tilts.h
 * Whether a tilt image shows its particles: the likelihood of its amplitude, from zero up, against what input
 * and neighbours predict; and where the particles may be if it does not:
 * docs/theory/04-ctf-refinement.md, 4.9.
 */
#ifndef CYC_CTF_BAD_TILTS_H
#define CYC_CTF_BAD_TILTS_H

#include "ctfrefine/hierarchy.h"

/** The amplitude S of a tilt, relative to its prediction, before its image is looked at. */
typedef struct {
	double mean, sd;
	double bad_frac; /**< share of tilts that are damaged in whatever way */
	bool is_known;   /**< false: nothing is known yet, any S >= 0 is allowed */
} cyc_amplitude_prior;
/** Of a tilt: its scale as expected from the others and the input. */
cyc_amplitude_prior cyc_amplitude_prior_of(const cyc_tilt_fit *t, const cyc_ctf_widths *w);
/** log of int exp(2 S cross - S^2 power) p(S) dS; if nothing is known, the maximum over S >= 0. (T4.29) */
double cyc_amplitude_log_l(double cross, double power, const cyc_amplitude_prior *p);

/** The evidence of a tilt's image, at its current CTF. */
typedef struct {
	const double *shell_cross, *shell_power; /**< n_shells */
	double bfactor_A2;                       /**< of its fall-off, where that is refined */
	double largest_shift_A;
} cyc_tilt_view;
/**
 * Set p_bad, p_good, expected_gain and found_gain of a tilt.                                        (T4.29)
 * @param[in] w  widths, of which the share of damaged tilts is used
 */
void cyc_tilt_judge(cyc_tilt_fit *t, const cyc_ctf_model *m, const cyc_tilt_view *view,
                    const cyc_ctf_widths *w);
/**
 * What may be wrong with a tilt that shows less than expected: its particles are all in another place, or its
 * defocus is far off. If nearly certain, change and shift_A are set to it as the start of the next round, and
 * is_shifted in the first case; from now on the scan spans all defoci. Searches only once. (T4.30)
 */
CYC_MUST_CHECK cyc_status cyc_tilt_look_further(cyc_tilt_fit *t, const cyc_ctf_model *m,
                                                const cyc_tilt_sums *sums, const cyc_tilt_view *view,
                                                const cyc_ctf_widths *w, cyc_ctf_scratch *scratch);

#endif

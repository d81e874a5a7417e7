/** @file polish_series.h  Polishing one tilt series: evidence, cross-validation, solution. */
#ifndef CYC_POLISH_SERIES_H
#define CYC_POLISH_SERIES_H

#include "polish/evidence.h"
#include "polish/polish_output.h"
#include "reference/refine_input.h"

/** What all series of a job share. Borrowed. */
typedef struct {
	const cyc_polish_options *o;
	cyc_refine_input *in;
	cyc_evidence_pass *pass;
	const cyc_vec3 *original_A; /**< of all particles: cyc_polish_original_positions() */
	bool is_axis_held[3];       /**< of the particle: cyc_polish_held_axes() */
	int64_t n_half[2];          /**< particles of each half map */
	bool is_dependent;          /**< the input is the result of a job that aligned frames by these images */
} cyc_polish_shared;

/**
 * Polish series i_series, which has particles. `r` is zeroed and becomes its result: with is_taken = false
 * and a warning if nothing is changed. Project data of the series are modified during the call and restored
 * at its end.
 */
CYC_MUST_CHECK cyc_status cyc_polish_series(cyc_polished *r, const cyc_polish_shared *shared,
                                            int32_t i_series);

/**
 * Share of the visible pairs whose image position is farther than 0.9 of the range from where their window
 * was cut; above 1 % windows are cut again.
 * @param[in] range_px  reach of the correlation maps
 */
double cyc__share_far_away(const cyc_alignment *a, double range_px);

#endif

/**
 * @file aberration_output.h
 * Final results on aberrations: the last step, the check, Zernike coefficients with errors; records of
 * series, pictures, and aberrations.star.
 */
#ifndef CYC_ABERRATION_OUTPUT_H
#define CYC_ABERRATION_OUTPUT_H

#include "ctfrefine/aberration.h"
#include "cyclotomo/project.h"

/** Evidence of the data set, series by series. */
typedef struct {
	cyc_aberration_evidence *total; /**< n_groups */
	bool *has_more;                 /**< n_groups: also from series that did not take part in learning */
} cyc_aberration_tally;
CYC_MUST_CHECK cyc_status cyc_aberration_tally_create(cyc_aberration_tally *t, const cyc_aberrations *a,
                                                      bool has_pictures);
void cyc_aberration_tally_deinit(cyc_aberration_tally *t, int32_t n_groups);
/** Add one series; was_learned[n_groups]: the group had been learned before it. */
void cyc_aberration_tally_add(cyc_aberration_tally *t, const cyc_aberrations *a,
                              const cyc_aberration_evidence *series, const bool *was_learned);

/** Record of a finished series: its evidence, and theta of its groups. Read: found as in
 * cyc_tilt_results_read(). */
CYC_MUST_CHECK cyc_status cyc_aberration_record_write(const char *path, const cyc_aberrations *a,
                                                      const cyc_aberration_evidence *series,
                                                      const bool *was_learned, uint64_t hash);
CYC_MUST_CHECK cyc_status cyc_aberration_record_read(bool *found, cyc_aberrations *a,
                                                     cyc_aberration_evidence *series, bool *was_learned,
                                                     const char *path, uint64_t hash);

/** Result for one group and parity. */
typedef struct {
	bool is_asked, is_written;
	int32_t n;                   /**< terms */
	double theta[CYC_MAX_TERMS]; /**< found [rad at k_max]: increments; also where they are not written */
	double theta_error[CYC_MAX_TERMS];
	double zernike[CYC_MAX_TERMS]; /**< the same as Zernike coefficients */
	double zernike_error[CYC_MAX_TERMS];
	double rms_rad; /**< of the phase over the coefficients used, less the part of the low terms */
	cyc_aberration_check check;
} cyc_aberration_result;
/** results[n_groups][CYC_N_PARITIES]. @note a's theta becomes the final one. */
CYC_MUST_CHECK cyc_status cyc_aberration_results(cyc_aberration_result (*results)[CYC_N_PARITIES],
                                                 cyc_aberrations *a, const cyc_aberration_tally *tally);
/** Add what is written to the particles' optics groups. */
CYC_MUST_CHECK cyc_status cyc_aberration_results_apply(cyc_particle_set *set,
                                                       cyc_aberration_result (*results)[CYC_N_PARITIES]);
/** aberrations.star: a row per coefficient. */
CYC_MUST_CHECK cyc_status cyc_aberration_results_write(const char *path, const cyc_particle_set *set,
                                                       const cyc_aberrations *a,
                                                       cyc_aberration_result (*results)[CYC_N_PARITIES]);
/** out_dir/aberrations_group<g>.png: the phases that the images have, and the fit. */
CYC_MUST_CHECK cyc_status cyc_aberration_pictures_write(const char *out_dir, const cyc_particle_set *set,
                                                        const cyc_aberrations *a,
                                                        const cyc_aberration_tally *tally);
#endif

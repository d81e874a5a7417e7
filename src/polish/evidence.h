/** @file evidence.h  Reading a tilt series once: local correlation maps of all particles in all tilts (T6.2),
 * under the model of (T6.1).
 */
#ifndef CYC_POLISH_EVIDENCE_H
#define CYC_POLISH_EVIDENCE_H

#include "polish/alignment.h"
#include "reference/prediction_pass.h"
#include "images/tilt_batch.h"

typedef struct {
	int32_t n_particles, n_tilts;
	cyc_local_grid grid;
	cyc_pair *pairs; /**< n_particles x n_tilts */
	float *maps;     /**< memory of the maps */
	int64_t n_visible, n_outside;
} cyc_evidence;
void cyc_evidence_destroy(cyc_evidence **e);

/** Samples of a correlation map that reaches range_px, of windows of box_px and a reference to shell
 * `radius`. */
cyc_local_grid cyc_evidence_grid(double range_px, int32_t box_px, int32_t radius);
/** Work memory of a pass; one at a time per backend. */
typedef struct cyc_evidence_pass cyc_evidence_pass;
typedef struct {
	double range_px, k_min_index, cutoff_frac;
	bool keep_self_correlation;
	int64_t most_particles;        /**< of a tilt series; 0: not known */
	int32_t first_tilt, last_tilt; /**< chronological; others are not used. last < 0: to the end */
	bool has_relion5_weights; /**< those of RELION 5.0.1: half of the band along x, one noise spectrum per
	                             series, no Wiener factor */
} cyc_evidence_options;
CYC_MUST_CHECK cyc_status cyc_evidence_pass_create(cyc_evidence_pass **out, cyc_backend *be,
                                                   const cyc_box *box, const cyc_reference *reference,
                                                   const cyc_evidence_options *options);
void cyc_evidence_pass_destroy(cyc_evidence_pass **p);
/** The pass that reads and predicts images, for other use between series. Borrowed. */
cyc_prediction_pass *cyc_evidence_predictions(cyc_evidence_pass *p);
/** Maps of a series around the particles' present positions (motion and deformation included); opens it. */
CYC_MUST_CHECK cyc_status cyc_evidence_collect(cyc_evidence **out, cyc_evidence_pass *p, cyc_tilt_series *ts,
                                               const cyc_particle_set *set, int32_t i_series,
                                               const char *root);
/** The same for some rows (n_tilts flags) of existing evidence, at the particles' current positions. */
CYC_MUST_CHECK cyc_status cyc_evidence_refresh(cyc_evidence *e, cyc_evidence_pass *p, cyc_tilt_series *ts,
                                               const cyc_particle_set *set, int32_t i_series,
                                               const char *root, const bool *rows);

#endif

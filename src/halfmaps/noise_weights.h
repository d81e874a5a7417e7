/** @file noise_weights.h  The weight of each tilt image by its noise, and which series have grey values of
 * another scale. */
#ifndef CYC_NOISE_WEIGHTS_H
#define CYC_NOISE_WEIGHTS_H

#include "cyclotomo/project.h"

typedef struct {
	int32_t n_series;
	double *gain; /**< n_series: what the contrast scales of a series are multiplied by, 1 for most */
	double level; /**< noise over contrast, as an amplitude, of the first tilts of most particles */
} cyc_noise_weights;

/**
 * Learn them from up to three images per series, those of least exposure. (T2.8)
 * @param[out] out   zeroed first; deinit it
 * @param[in,out] tomograms  series with particles are opened
 */
CYC_MUST_CHECK cyc_status cyc_noise_weights_learn(cyc_noise_weights *out, cyc_tomogram_set *tomograms,
                                                  const cyc_particle_set *set, const char *root,
                                                  int n_threads);
void cyc_noise_weights_deinit(cyc_noise_weights *w);
/**
 * Weight u of an image and the scale it is used with. (T2.9)
 * @param[out] scale     in place of the contrast scale of the tilt
 * @param[in]  variance  of the image's pixels
 * @return 0 for an image without noise, which has no data
 */
double cyc_noise_weight(double *scale, const cyc_noise_weights *w, int32_t i_series, const cyc_tilt *tilt,
                        double variance);

#endif

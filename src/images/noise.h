/** @file noise.h  Noise spectra with a plan that is kept from image to image. */
#ifndef CYC_NOISE_H
#define CYC_NOISE_H

#include "cyclotomo/array.h"

/** The transform of a tile. @param[in] box  even, > 1: else CYC_E_SHAPE */
CYC_MUST_CHECK cyc_status cyc_noise_plan_create(cyc_fft2_band **out, int32_t box);
/** cyc_noise_spectrum() with the plan of this box. */
CYC_MUST_CHECK cyc_status cyc_noise_spectrum_planned(double *power, const cyc_fft2_band *plan,
                                                     const float *image, int32_t nx, int32_t ny, int32_t box,
                                                     int n_threads);

#endif

/** @file beads.h  Gold beads in a tilt image: compact spots that let fewer than half of the electrons
 * through. */
#ifndef CYC_BEADS_H
#define CYC_BEADS_H

#include "cyclotomo/status.h"

#include <stdint.h>

/**
 * Find beads and replace them by noise of the background. (T1.18) Only of images whose zero means no
 * electrons: where more than one pixel in a hundred is negative nothing is done.
 * @param[out] n_beads    spots that were replaced
 * @param[out] n_pixels   their pixels
 * @param[in] variance    of the noise of the image's pixels
 * @param[in] key         of the noise: another one for each image
 */
CYC_MUST_CHECK cyc_status cyc_image_erase_beads(int32_t *n_beads, int64_t *n_pixels, float *pixels,
                                                int32_t nx, int32_t ny, double pixel_size_A, double variance,
                                                uint64_t key);

#endif

/**
 * @file images.h
 * Tilt images as jobs read them: their noise, what whitens them, and those that are kept in memory. Batches
 * of particles in an image and prepared images are of the library alone (src/images).
 */
#ifndef CYCLOTOMO_IMAGES_H
#define CYCLOTOMO_IMAGES_H

#include "cyclotomo/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Noise power of one image by overlapping blocks: box x box tiles at step box/2 (at most 5 along an axis,
 * then evenly spread), no window, mean kept; unitary transform; |F|^2 averaged over tiles and, with linear
 * splitting between neighbouring shells, over directions.  (T1.10)
 * @param[out] power    box/2 + 1 shells
 * @param[in]  image    ny x nx
 * @return CYC_E_SHAPE if no tile fits.
 * @note Thread-safe. `n_threads` shares out the tiles; sums are in tile order whatever the number of threads.
 */
CYC_MUST_CHECK cyc_status cyc_noise_spectrum(double *power, const float *image, int32_t nx, int32_t ny,
                                             int32_t box, int n_threads);
/** Bytes that cyc_noise_spectrum() takes. */
double cyc_noise_spectrum_bytes(int32_t nx, int32_t ny, int32_t box, int n_threads);
/**
 * Tilt images and their noise spectra, kept in memory for jobs that read the same ones again. It keeps what
 * it gets until it is full, and forgets nothing: a data set larger than it is read again in part. Not
 * thread-safe; results do not depend on it.
 */
typedef struct cyc_image_cache cyc_image_cache;
CYC_MUST_CHECK cyc_status cyc_image_cache_create(cyc_image_cache **out, double most_bytes);
void cyc_image_cache_destroy(cyc_image_cache **c);
/** Images that were taken from the cache, and that were read. */
void cyc_image_cache_counts(int64_t *n_kept, int64_t *n_read, const cyc_image_cache *c);

/** Value at a real radius, linear between shells, the last value beyond. */
double cyc_radial_at(const double *shells, int32_t n_shells, double r);
/** 1/sqrt(power) at every coefficient of the half plane s x (s/2 + 1), 0 where the power is 0: what whitens a
 * transform of this frequency step. */
void cyc_whitening_plane(float *plane, int32_t s, const double *power, int32_t n_shells);

#ifdef __cplusplus
}
#endif
#endif

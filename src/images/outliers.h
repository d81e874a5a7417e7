/** @file outliers.h  Pixels of a tilt image without data: hot and dead ones, X-ray hits, constant areas.
 */
#ifndef CYC_OUTLIERS_H
#define CYC_OUTLIERS_H

#include "cyclotomo/status.h"

#include <stdbool.h>
#include <stdint.h>

/** Sums of squares of larger values leave the range of numbers. */
#define CYC_LARGEST_PIXEL 1e15

typedef struct {
	int64_t
		n_outliers; /**< pixels beyond what the image's own tails explain, and those that are no numbers */
	int64_t n_constant; /**< pixels of constant areas */
	double variance;  /**< of the pixels about their local mean, typical of the image; 0: a constant image */
	double high, low; /**< limits in local standard deviations; low is negative */
	double largest;   /**< what the values that are no outliers reach, positive or negative; about */
} cyc_image_state;

/** A pixel y nx + x that was given another value. */
typedef struct {
	uint32_t at;
	float value;
} cyc_changed_pixel;

/** All of them in an image, if there is room; n < 0: there was not, or the image is blank. */
typedef struct {
	cyc_changed_pixel *pixels; /**< room for `most`, owned by the caller */
	int64_t n, most;
} cyc_changed_pixels;

/**
 * Judge the pixels of an image and, by default, replace those without data by noise of the
 * local mean and variance. Limits come from the image's own distribution: less than one false alarm in ten
 * images for any distribution with tails that fall at least exponentially. (T1.16), (T1.17)
 * @param[in,out] pixels  ny x nx
 * @param[in] key         of the noise: another one for each image
 * @param[in] keep        count only
 * @param[in,out] changed  filled with what was replaced, by which the same image can be mended again; or NULL
 * An image without data stays or becomes one value: 0 if the square of another left the range of numbers.
 * @note Same bits for any number of threads; thread-safe. Not finite pixels are always replaced.
 */
CYC_MUST_CHECK cyc_status cyc_image_mend(cyc_image_state *out, cyc_changed_pixels *changed, float *pixels,
                                         int32_t nx, int32_t ny, uint64_t key, bool keep);

#endif

/** @file tilt_image.h  One tilt image at a time, on the host and in a backend's memory; and images kept for
 * another reading. */
#ifndef CYC_TILT_IMAGE_H
#define CYC_TILT_IMAGE_H

#include "backends/backend.h"
#include "cyclotomo/images.h"
#include "cyclotomo/tilt.h"
#include "images/read_ahead.h"

/** Most images of a series that are read ahead at a time. */
enum { CYC_MOST_READERS = 8 };
/** How many are where n_threads work on an image: to read and mend one takes a twelfth of the work on it. */
int cyc_n_readers(int n_threads);

/**
 * Start from a zeroed struct; buffers grow with the largest image.
 */
typedef struct {
	cyc_buffer *device;
	cyc_ready_image loaded;        /**< the image just loaded; the variance of a constant image is 0 */
	struct cyc_image_cache *cache; /**< images kept from an earlier reading, or NULL. Borrowed */
	bool reads_ahead; /**< while an image is worked on, the next ones of the series that are not excluded are
	                     read by threads more, where the backend has several: for passes over all tilts in
	                     order */
	const cyc_tilt_series *next; /**< read after the present one: its first images are read ahead, too, behind
	                                the last ones of this; NULL: none. Borrowed while images are loaded */
	struct cyc_read_ahead *ahead[CYC_MOST_READERS]; /**< NULL: not used so far */
	cyc_fft2_band *noise_plan;                      /**< of the last noise spectrum, and its box */
	int32_t noise_box;
} cyc_tilt_image;
/**
 * Read row i_tilt of an open series. Pixels that are no data are replaced by noise unless the series says
 * otherwise; their number is reported once per image and series, in the log and in n_outliers and n_constant
 * of the series.                     (T1.16), (T1.17)
 */
CYC_MUST_CHECK cyc_status cyc_tilt_image_load(cyc_tilt_image *t, cyc_backend *be, const cyc_tilt_series *ts,
                                              int32_t i_tilt);
void cyc_tilt_image_deinit(cyc_tilt_image *t);
/**
 * The series that comes after series i, for `next`; NULL if there is none, or if it is not open. It costs an
 * image that is read in vain if another one follows.
 * @param[in] is_own  of each series, whether it is this part's and rank's (cyc_share); NULL: those with
 *                    particles, none where several ranks work
 */
const cyc_tilt_series *cyc_tilt_series_after(const cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                                             const bool *is_own, int32_t i);
/** Noise spectrum of the image just loaded, box/2 + 1 shells; kept for those who read the image again.
 * (T1.10) */
CYC_MUST_CHECK cyc_status cyc_tilt_image_noise(double *power, cyc_tilt_image *t, const cyc_tilt_series *ts,
                                               int32_t box, int n_threads);

/** Bytes of the host for a tilt image in work, with those that are read ahead, and for its noise spectrum. */
double cyc_image_bytes(int32_t nx, int32_t ny, int32_t window_px, int n_threads);

#endif

/**
 * @file read_ahead.h
 * The next tilt images are read and mended, each on a thread of its own, while the one before is worked on:
 * disks and file servers are slow, and most of this is work for one thread, which many threads would wait
 * for.
 *
 * Such a thread works on a copy of what it needs of the tilt series, changes nothing else, and logs nothing;
 * who takes the image does that. So results, messages and their order are those of reading image after image.
 */
#ifndef CYC_READ_AHEAD_H
#define CYC_READ_AHEAD_H

#include "images/known_images.h"
#include "images/outliers.h"

/** An image as it was read, without what is no data (T1.16), (T1.17), (T1.18). */
typedef struct {
	float *pixels; /**< room for `count` values, owned by who made the struct */
	int64_t count;
	cyc_image_state state;
	int32_t n_beads;
	cyc_known_key known; /**< of the image as it was read */
} cyc_ready_image;

/** Have room for the images of an open series; what was there is lost. Free image->pixels with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_ready_image_reserve(cyc_ready_image *image, const cyc_tilt_series *ts);
/**
 * Read row i_tilt of an open series into out->pixels and mend it: what read-ahead does, on this thread.
 * @param[in,out] out  with room for the image
 * @return what reading returns; CYC_E_DATA for values that are too large
 */
CYC_MUST_CHECK cyc_status cyc_ready_image_make(cyc_ready_image *out, const cyc_tilt_series *ts,
                                               int32_t i_tilt);

typedef struct cyc_read_ahead cyc_read_ahead;
/**
 * Begin to read row i_tilt of an open series. The series may be closed, changed or destroyed afterwards.
 * @param[in,out] r  NULL, or what an earlier call has made, with no image under way
 * @return CYC_E_NOMEM. Where no thread can be started nothing is read ahead, which is no failure
 */
CYC_MUST_CHECK cyc_status cyc_read_ahead_start(cyc_read_ahead **r, const cyc_tilt_series *ts, int32_t i_tilt);
/** Whether row i_tilt of this series is under way. @param[in] r  NULL: nothing is */
bool cyc_read_ahead_is(const cyc_read_ahead *r, const cyc_tilt_series *ts, int32_t i_tilt);
/** Wait for what is under way, and forget it. @param[in] r  may be NULL */
void cyc_read_ahead_drop(cyc_read_ahead *r);
/**
 * Wait for the image under way, and take it if it is this one: out->pixels and the room of the reader are
 * exchanged. Another one is dropped.
 * @param[out] found  whether it was this one; its error is then the result
 */
CYC_MUST_CHECK cyc_status cyc_read_ahead_take(bool *found, cyc_ready_image *out, cyc_read_ahead *r,
                                              const cyc_tilt_series *ts, int32_t i_tilt);
/** Wait for what is under way, and free. */
void cyc_read_ahead_destroy(cyc_read_ahead **r);

#endif

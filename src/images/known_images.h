/**
 * @file known_images.h
 * What was measured of tilt images, kept for whoever reads them next in this process: the jobs of a cycle,
 * and the passes of a job. Pixels are not kept, so an image costs some kilobytes.
 *
 * A key stands for all that the value depends on, the state of the file on disk among it: an entry is found
 * again only where computing it anew would give the same bits.
 * @note Thread-safe. At most CYC_KNOWN_BYTES are held, until the process ends; what comes later is not kept.
 */
#ifndef CYC_KNOWN_IMAGES_H
#define CYC_KNOWN_IMAGES_H

#include "cyclotomo/project.h"

enum { CYC_KNOWN_BYTES = 32 << 20 };

/** Of an image, or of a kind of value of it; {0, 0}: nothing is known, nor can it be kept. */
typedef struct {
	uint64_t a, b;
} cyc_known_key;

/** What of a tilt series the pixels of one of its images depend on; texts are borrowed. */
typedef struct {
	char *series, *path; /**< the name is the key of the noise in mended pixels */
	int64_t section;
	int32_t nx, ny, i_tilt;
	bool keep_outliers, erase_beads;
	double pixel_size_A;
} cyc_known_image;
cyc_known_image cyc_known_image_of(const cyc_tilt_series *ts, int32_t i_tilt);

/** Of the image, as its file is now: to be asked for before it is read. */
cyc_known_key cyc_known_key_of(const cyc_known_image *image);

/** Kinds of values. */
typedef enum { CYC_KNOWN_MENDING = 1, CYC_KNOWN_NOISE } cyc_known_kind;
/** @param[in] detail  of the kind: the box of a spectrum */
cyc_known_key cyc_known_part(cyc_known_key image, cyc_known_kind kind, int32_t detail);

/**
 * A copy of what is known.
 * @param[out] bytes  freed by the caller with cyc_free(); NULL: nothing is known
 * @return CYC_E_NOMEM
 */
CYC_MUST_CHECK cyc_status cyc_known_find(void **bytes, size_t *n_bytes, cyc_known_key key);
/** Keep a copy; what is known already stays, and where there is no room left nothing is kept. */
CYC_MUST_CHECK cyc_status cyc_known_keep(cyc_known_key key, const void *bytes, size_t n_bytes);
/** Free everything: for tests. */
void cyc_known_forget(void);

#endif

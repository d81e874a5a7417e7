/**
 * @file prediction_pass.h
 * Observed and predicted images of the particles of a tilt image, batch by batch: what CTF refinement and
 * polishing are made of.
 */
#ifndef CYC_PREDICTION_PASS_H
#define CYC_PREDICTION_PASS_H

#include "reference/reference.h"
#include "images/frame_share.h"
#include "images/tilt_batch.h"
#include "images/tilt_image.h"

/** Work memory of a pass; one at a time per backend. Read-only outside prediction_pass.c. */
typedef struct {
	cyc_backend *be;
	cyc_box box;
	const cyc_reference *reference;
	double cutoff_frac;
	cyc_tilt_image image;
	double *power;         /**< box/2 + 1: noise of the present image (T1.10) */
	cyc_tilt_batch *batch; /**< the present particles */
	cyc_tilt_tables *tables;
	int32_t radius;         /**< last shell that the present image and the reference both have */
	cyc_buffer *ft;         /**< observations X, batch->capacity half planes */
	cyc_buffer *prediction; /**< V from each particle's own half map (T4.1) */
	cyc_buffer *ctf;
	cyc_buffer *quadrature; /**< NULL unless asked for */
	cyc_buffer *turns, *envelope, *phase_memory, *k2_memory;
	const cyc_buffer *phase; /**< exp(i odd phase) of the present optics group, or NULL */
	bool weighs_partial; /**< set it before use: predictions of windows that leave their image are of what the
	                        frame shows (T2.7) */
	cyc_frame_share frame; /**< of partial windows */
	int32_t frame_tilt;    /**< whose frame that is; -1: none yet */
	const cyc_buffer *k2;  /**< |k|^2 of its magnified images, or NULL */
} cyc_prediction_pass;

/**
 * @param[in] reference      outlives the pass; Borrowed
 * @param[in] has_quadrature also the CTF's quadrature
 * @param[in] more_bytes     memory per particle that the caller's own buffers take: they count for the batch
 * size
 * @param[in] most_particles of a tilt series; 0: not known
 */
CYC_MUST_CHECK cyc_status cyc_prediction_pass_create(cyc_prediction_pass **out, cyc_backend *be,
                                                     const cyc_box *box, const cyc_reference *reference,
                                                     double cutoff_frac, bool has_quadrature,
                                                     size_t more_bytes, int64_t most_particles);
void cyc_prediction_pass_destroy(cyc_prediction_pass **p);
/** Bytes of a pass, with the image that it reads and the scratch of the operations on it. */
double cyc_prediction_pass_bytes(const cyc_project_size *project, int32_t window_px, bool has_quadrature,
                                 double more_bytes, int n_threads);
/** Bytes that cutting windows from an image takes. */
double cyc_window_scratch_bytes(int32_t window_px, int n_threads);
/** Bytes that a pass takes on a device, with its image and the scratch of the operations on it. */
double cyc_prediction_pass_device_bytes(const cyc_project_size *project, int32_t window_px,
                                        bool has_quadrature, double more_bytes, size_t batch_bytes);
/**
 * Bytes that cutting windows of S px for n images of box s, and making images of them, takes on a device,
 * with the tilt image.
 */
double cyc_window_device_bytes(const cyc_project_size *project, int32_t S, int32_t s, double n);
/** Open a series and see that a window fits into its images. */
CYC_MUST_CHECK cyc_status cyc_prediction_pass_open(const cyc_prediction_pass *p, cyc_tilt_series *ts,
                                                   const char *root);
/** Read the image of row i_tilt and its noise spectrum. */
CYC_MUST_CHECK cyc_status cyc_prediction_pass_image(cyc_prediction_pass *p, const cyc_tilt_series *ts,
                                                    int32_t i_tilt);
/** CTF tables of that image for an optics group. */
CYC_MUST_CHECK cyc_status cyc_prediction_pass_group(cyc_prediction_pass *p, const cyc_tilt_series *ts,
                                                    int32_t i_tilt, const cyc_optics_group *group);
/**
 * The next batch of a group: X, V, CTF (and quadrature) of batch->n particles; n = 0 when there are no more.
 * X and V are multiplied by the root of the particle's probability, so that all that is quadratic in them
 * counts by it (T1.15).
 * @param[in,out] cursor, n_outside  as in cyc_tilt_batch_fill()
 */
CYC_MUST_CHECK cyc_status cyc_prediction_pass_next(cyc_prediction_pass *p, int64_t *cursor,
                                                   int64_t *n_outside, const cyc_image_group *of);
/**
 * Part of one image in its own reference at a radius [index units], as it counts against |X|^2 of cropped
 * windows.     (T4.14)
 * @param[in] noise_power  of the image there
 */
double cyc_self_share(const cyc_reference *reference, double radius, double noise_power, double crop_power);

#endif

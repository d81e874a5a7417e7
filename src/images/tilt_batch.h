/**
 * @file tilt_batch.h
 * The particles of one tilt image, ready for the backend's operations: what reconstruction, CTF refinement
 * and polishing have in common.
 */
#ifndef CYC_TILT_BATCH_H
#define CYC_TILT_BATCH_H

#include "backends/backend.h"
#include "cyclotomo/tilt.h"

/** Box and sampling of the windows of a job. */
typedef struct {
	cyc_window_spec window;
	double binning;
	double pixel_size_A; /**< of the binned windows */
	bool listed_frames;  /**< images that show a particle are listed by rlnTomoVisibleFrames, where there is
	                        such a  column, not by the margin */
	double margin_px;    /**< distance a position must keep from the image border, image px */
	double partial_margin_px; /**< the same of partial windows; 0: a quarter of the window, so that its middle
	                             half is inside */
	bool with_improbable;     /**< particles of probability 0 as well */
} cyc_box;
/**
 * Box of s binned px at a binning. @return CYC_E_USAGE for an odd box, binning < 1, or a window binning * s
 * that is not an even whole number of pixels (the message names the nearest box that is).
 */
CYC_MUST_CHECK cyc_status cyc_box_create(cyc_box *out, int32_t box_px, double binning, double pixel_size_A);

/** Particles of one tilt image and one optics group. Arrays hold `capacity` entries. */
typedef struct {
	int32_t n, capacity;
	const cyc_particle **particles;
	double *at_px;        /**< n x 2 image positions */
	double *turns_per_k2; /**< n, extra defocus as phase, unit of cyc_op_ctf() */
	double *weight;       /**< n, share of the window's circle inside the image (1 without partial windows) */
	double *probability;  /**< n, of the particles: what else they count */
	cyc_mat3 *R_img_ref;  /**< n; with the group's magnification in it: what slices are taken along, not where
	                         particles are */
	int8_t *half;         /**< n, 0 or 1 (0 if the set has no halves) */
} cyc_tilt_batch;
CYC_MUST_CHECK cyc_status cyc_tilt_batch_create(cyc_tilt_batch **out, int32_t capacity);
void cyc_tilt_batch_destroy(cyc_tilt_batch **b);
/**
 * Batch size for which n_bytes_per_particle of work memory stay within batch_bytes, and at least 4.
 * CYC_BATCH_BYTES are enough for many threads at a box of 512 px, too. Of the number of threads it is
 * independent.
 * @param[in] most_particles  of a tilt series; 0: not known
 * @param[in] batch_bytes     cyc_backend_batch_bytes(); where the batch shows in the result, CYC_BATCH_BYTES
 */
int32_t cyc_tilt_batch_capacity(size_t n_bytes_per_particle, int64_t most_particles, size_t batch_bytes);
/** The most that it ever is. */
enum { CYC_TILT_BATCH_MOST = 512 };

/** Particles of one optics group in one tilt image. Borrows all. */
typedef struct {
	const cyc_tilt_series *ts;
	int32_t i_tilt;
	const cyc_particle_set *set;
	int32_t i_series, i_optics;
} cyc_image_group;

/**
 * Fill a batch with the next particles of a group that its tilt image shows.
 * @param[in,out] cursor  offset into the series' particles; start at 0, done when it reaches their number
 * @param[in,out] n_outside  counts particles left out because their window leaves the image
 */
CYC_MUST_CHECK cyc_status cyc_tilt_batch_fill(cyc_tilt_batch *b, int64_t *cursor, int64_t *n_outside,
                                              const cyc_image_group *of, const cyc_box *box);
/**
 * Multiply item i of n, each `size` bytes of float, by factor[i] (by its square root if is_root); factors of
 * 1 cost nothing. Statistics that are quadratic in observations and predictions count particles by their
 * probability when both are multiplied by the root.   (T1.15)
 */
CYC_MUST_CHECK cyc_status cyc_scale_items(cyc_buffer *items, cyc_backend *be, const double *factor,
                                          bool is_root, int32_t n, size_t size);
/** Share of a circle around an image position that lies in the image; as exact as a weight needs. */
double cyc_visible_share(const cyc_tilt_series *ts, double x_px, double y_px, double radius_px);
/** Which optics groups the particles of a series belong to: flags[n_optics], host memory of the caller. */
void cyc_optics_used(bool *flags, const cyc_particle_set *set, int32_t i_series);

/** Per-tilt tables of the CTF on the host; see cyc_op_ctf(). */
typedef struct {
	int32_t s, radius;       /**< insertion radius: nothing beyond it has weight */
	int n_threads;           /**< that fill them */
	float *turns, *envelope; /**< s x (s/2+1) */
	cyc_cfloat *odd_phase;   /**< s x (s/2+1), exp(i odd phase); NULL unless has_odd */
	bool has_odd;
	bool is_full_plane; /**< set it before filling: the envelope has values beyond the cutoff and the Nyquist
	                       circle too */
	/* Aberrations are those of an optics group, not of a tilt: kept from call to call. */
	const cyc_optics_group *group; /**< whose tables these are; NULL: none yet */
	double group_step_invA;
	bool has_even;
	float *even_turns; /**< s x (s/2+1), even Zernike phase / 2 pi; NULL unless has_even */
	bool has_k2;
	float *k2; /**< s x (s/2+1), |k|^2 of the object [index^2], for cyc_op_ctf(); NULL unless has_k2 */
} cyc_tilt_tables;
CYC_MUST_CHECK cyc_status cyc_tilt_tables_create(cyc_tilt_tables **out, int32_t s, int n_threads);
void cyc_tilt_tables_destroy(cyc_tilt_tables **t);
/**
 * @param[in] group  borrowed for the life of `t`: its aberrations are computed once and must not change.
 * NULL: none. turns = gamma / 2 pi of the tilt reduced to [-1/2, 1/2]; envelope = scale exp(-B k^2/4) D(k), 0
 * where the dose weight D is at or below cutoff_frac or beyond the Nyquist circle. All at the frequency that
 * the group's magnification gives.   (T1.14)
 */
CYC_MUST_CHECK cyc_status cyc_tilt_tables_fill(cyc_tilt_tables *t, const cyc_tilt_series *ts, int32_t i_tilt,
                                               const cyc_optics_group *group, double pixel_size_A,
                                               double cutoff_frac);
/** Width of the soft edge of cyc_particle_mask() [px]. */
#define CYC_PARTICLE_EDGE_PX 5.0
/** Mask of an image or volume at a distance from its particle: 1 within the radius, a cosine to 0 beyond it.
 */
double cyc_particle_mask(double r_px, double radius_px);
/** Phase of one extra ångström of defocus: turns per (index^2) for box s. */
double cyc_turns_per_k2(double extra_defocus_A, double voltage_kV, double pixel_size_A, int32_t s);

#endif

/**
 * @file particle_images.h
 * What 3D refinement knows of its particles' images: coefficients, CTF weights, projections.
 *
 * This is the seam to where images come from. A source fills a cyc_series_images per tilt series; the rest of
 * the refinement sees nothing else. There are three: one cuts the images from the tilt series
 * (cyc_tilt_source_create()), the others read those of an extraction (stack_images.h), or volumes
 * (volume_images.h).
 */
#ifndef CYC_PARTICLE_IMAGES_H
#define CYC_PARTICLE_IMAGES_H

#include "backends/backend.h"
#include "images/tilt_batch.h"

/**
 * The Fourier coefficients of a box that count, each pair k, -k once: 0 < |k| <= n/2 - 1, kx > 0 or (kx = 0
 * and ky > 0). Bands of BAND shells, rows in order within a band: every resolution is (within a band) a
 * beginning of the list, and neighbours in the list are neighbours in the plane.
 */
typedef struct {
	int32_t box_px, n;
	int16_t *kx, *ky; /**< n */
	float *fx, *fy;   /**< the same as floats, zeros behind */
	int32_t *shell;   /**< n: round(|k|) */
	int32_t n_bands;
	int32_t *band_end; /**< n_bands: number of coefficients of shells up to its last */
} cyc_coefficients;
enum { CYC_COEFFICIENT_BAND = 4 };
CYC_MUST_CHECK cyc_status cyc_coefficients_create(cyc_coefficients **out, int32_t box_px);
void cyc_coefficients_destroy(cyc_coefficients **c);
/** Number of leading coefficients that hold all shells up to `radius`. */
int32_t cyc_coefficients_within(const cyc_coefficients *c, int32_t radius);
/** Largest |kx| and |ky| among the first n coefficients, or more. */
int32_t cyc_coefficients_reach(const cyc_coefficients *c, int32_t n);

/**
 * One tilt image of a particle. With the prediction V(k) of (T4.1), shifted by d [px], its log-likelihood is
 *   sum_k 2 Re[D V* exp(2 pi i k.d/s)] - W |V|^2 (T8.1)
 */
typedef struct {
	int32_t i_tilt, n; /**< n: coefficients of this image, the first of the list */
	cyc_mat3 R_img_tomo;
	double px_per_A;        /**< displacement [px of the box] per Å along an image axis */
	bool is_in_map;         /**< this image is in the maps, so its own noise is in the reference */
	const cyc_cfloat *data; /**< n: D = -CTF X exp(-i odd phase) / noise, masked to the particle */
	const float *weight;    /**< n: W = CTF^2 / noise */
} cyc_particle_image;

/** The images of the particles of one tilt series. */
typedef struct {
	int32_t n_particles;
	int32_t *n_images;           /**< n_particles */
	cyc_particle_image **images; /**< n_particles; tilts in row order */
	int64_t n_outside, n_total;
	double *noise_sum;    /**< n_optics x (s/2 + 1): sum over images of noise x mean CTF^2 per shell */
	int64_t *noise_count; /**< n_optics */
	void *memory;         /**< of the source: n_blocks blocks, and what is left of the last */
	int32_t n_blocks;
	char *room;
	size_t room_bytes;
	size_t bytes;
} cyc_series_images;
void cyc_series_images_destroy(cyc_series_images **s);
/** Without images yet; n_tilts: the most that a particle can have. @param[in] box_px  s */
CYC_MUST_CHECK cyc_status cyc_series_images_create(cyc_series_images **out, int32_t n_particles,
                                                   int32_t n_tilts, int32_t n_optics, int32_t box_px);
/** Zeroed memory that lives as long as the images: writes the address of n elements of `size` bytes to *(void
 * **)out. */
CYC_MUST_CHECK cyc_status cyc_series_images_block(void *out, cyc_series_images *s, size_t n, size_t size);
/**
 * Noise level of a shell from sums by shell, power over expected power: of so many neighbours on both sides
 * that there are 100 coefficients. (T8.14), (T8.28)
 * @param[in] power, expected, count  n_shells of each, count: of coefficients; the first and the last are not
 * used
 * @return 0 where nothing was expected
 */
double cyc_shell_noise(const double *power, const double *expected, const double *count, int32_t n_shells,
                       int32_t shell);

/** How particle images are cut from tilt series. */
typedef struct {
	cyc_box box;               /**< of the windows that are multiplied with the CTF; binned */
	int32_t crop_px;           /**< s: box of the coefficients */
	double particle_radius_px; /**< everything outside this is masked */
	double cutoff_frac;
	double map_margin_px;     /**< images whose particle is farther inside are in the maps */
	int64_t most_particles;   /**< of a tilt series; 0: not known */
	bool only_visible_frames; /**< tilts in the particle's stack by rlnTomoVisibleFrames */
	/** Not the likelihood of (T8.1): noise per optics group, n_optics x (s/2 + 1) sigma^2 of RELION's files;
	 * NULL: per tilt. (T8.4) */
	const double *group_sigma2;
} cyc_tilt_source_spec;
typedef struct cyc_tilt_source cyc_tilt_source;
CYC_MUST_CHECK cyc_status cyc_tilt_source_create(cyc_tilt_source **out, cyc_backend *be,
                                                 const cyc_coefficients *coefficients,
                                                 const cyc_tilt_source_spec *spec);
void cyc_tilt_source_destroy(cyc_tilt_source **s);
/** The series that will be loaded after the next one, or NULL: its first images are read ahead. Borrowed. */
void cyc_tilt_source_expect(cyc_tilt_source *s, const cyc_tilt_series *next);
/** Cut the images of a series at the current positions of `set`. Opens the series. */
CYC_MUST_CHECK cyc_status cyc_tilt_source_load(cyc_series_images **out, cyc_tilt_source *s,
                                               cyc_tilt_series *ts, const cyc_particle_set *set,
                                               int32_t i_series, const char *root);

#endif

/**
 * @file statistics.h
 * Sums over the tilt images for their CTFs, collected in one pass: docs/theory/04-ctf-refinement.md, (T4.2),
 * (T4.3).
 */
#ifndef CYC_CTF_STATISTICS_H
#define CYC_CTF_STATISTICS_H

#include "ctfrefine/magnification.h"

/** Limits on the series that widths and amplitudes are learned from: number, and bytes of sums. */
enum { CYC_MAX_LEARNING_SERIES = 8 };
#define CYC_LEARNING_BYTES 256e6

/** The Fourier coefficients that are used: k_min <= |k| <= radius of the half plane. */
typedef struct {
	int32_t n;
	int32_t *x, *y;   /**< index in the half plane: column, signed row */
	float *share;     /**< 1, or 1/2 in the column x = 0, which holds each pair twice */
	double step_invA; /**< frequency of index 1 */
} cyc_ctf_support;
CYC_MUST_CHECK cyc_status cyc_ctf_support_create(cyc_ctf_support **out, int32_t s, double k_min_index,
                                                 int32_t radius, double step_invA);
void cyc_ctf_support_destroy(cyc_ctf_support **p);

/**
 * Sums over the particles of one tilt image, whitened: with w = share / noise power of the tilt,
 *   cc, cq, qq = w sum |V|^2 (c c, c q, q q),   xc, xq = w sum (-X conj(V)) (c, q)
 * c = CTF with the scale of the input, q its quadrature (T1.6), V the prediction.
 */
typedef struct cyc_tilt_sums {
	int64_t n_particles; /**< particle images included; 0: no information on this tilt */
	bool is_blank;       /**< all windows are constant: an empty image, without even noise */
	float *cc, *cq, *qq; /**< n of the support; NULL when n_particles = 0 */
	float *xc_re, *xc_im, *xq_re, *xq_im;
	float *self_c, *self_q; /**< already subtracted from xc_re, xq_re: each image's correlation with its own
	                           part of the half map */
	/* Where aberrations are fitted: the same sums by optics group and half-set, which add up to those above.
	 */
	int32_t n_parts;
	struct cyc_tilt_sums *parts;
	int32_t i_optics, half; /**< of a part */
} cyc_tilt_sums;

/** One block of CYC_N_SUMS x n for all sums of a tilt. */
CYC_MUST_CHECK cyc_status cyc_tilt_sums_create(cyc_tilt_sums *t, size_t n);

typedef struct {
	int32_t n_tilts;
	cyc_tilt_sums *tilts;
	int64_t n_outside;
	cyc_stretch_model
		*stretch; /**< n_optics x 2, by group and half-set; NULL unless magnification is fitted */
} cyc_series_sums;
void cyc_series_sums_destroy(cyc_series_sums **p);

typedef struct {
	double cutoff_frac;
	bool common_noise;              /**< one spectrum for all tilts of a series */
	bool has_parts;                 /**< keep the sums by optics group and half-set too */
	bool has_magnification;         /**< also collect the sums for it */
	double k_min_index;             /**< of that */
	struct cyc_image_cache *images; /**< images kept from another reading, or NULL. Borrowed */
	int64_t most_particles;         /**< of a tilt series; 0: not known */
} cyc_ctf_pass_options;
/** Work memory of the pass; one at a time per backend. */
typedef struct cyc_ctf_pass cyc_ctf_pass;
CYC_MUST_CHECK cyc_status cyc_ctf_pass_create(cyc_ctf_pass **out, cyc_backend *be, const cyc_box *box,
                                              const cyc_reference *reference,
                                              const cyc_ctf_pass_options *options);
void cyc_ctf_pass_destroy(cyc_ctf_pass **p);
/** The series that will be collected after the next one, or NULL: its first images are read ahead. Borrowed.
 */
void cyc_ctf_pass_expect(cyc_ctf_pass *p, const cyc_tilt_series *next);
/** Collect the sums of the rows tilts[0] to tilts[1] of a series; opens it. The particles' own half map
 * predicts them. */
CYC_MUST_CHECK cyc_status cyc_ctf_pass_series(cyc_series_sums **out, cyc_ctf_pass *p,
                                              const cyc_ctf_support *support, cyc_tilt_series *ts,
                                              const cyc_particle_set *set, int32_t i_series,
                                              const int32_t tilts[2], const char *root);

#endif

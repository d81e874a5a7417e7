/**
 * @file ring_sums.h
 * What each particle image says about its own phase, amplitude and size, in rings of frequency:
 * docs/theory/09-evidence.md.
 *
 * CTF refinement adds up the particles of a tilt and keeps directions; here particles stay apart and
 * directions are added up, so that what differs between particles of one image (their height) can be asked
 * for.
 */
#ifndef CYC_CHECK_RING_SUMS_H
#define CYC_CHECK_RING_SUMS_H

#include "reference/prediction_pass.h"

/**
 * Per particle image and ring, with w = share / noise of the image, x = -X exp(-i odd phase), V the
 * prediction, c and q the CTF and its quadrature without the envelope of the dose, G = dV / d ln k: (T9.1)
 */
enum {
	CYC_RING_XC,
	CYC_RING_XQ, /**< w Re(x V*) (c, q), each image's part in its half map taken off (T4.14) */
	CYC_RING_CC,
	CYC_RING_CQ,
	CYC_RING_QQ, /**< w |V|^2 (c c, c q, q q) */
	CYC_RING_GC,
	CYC_RING_GQ, /**< w Re(x G*) (c, q) */
	CYC_RING_VGCC,
	CYC_RING_VGCQ,
	CYC_RING_VGQQ, /**< w Re(V G*) (c c, c q, q q) */
	CYC_RING_GGCC,
	CYC_RING_GGCQ,
	CYC_RING_GGQQ, /**< w |G|^2 (c c, c q, q q) */
	CYC_RING_N
};

/** All images of a tilt series. */
typedef struct {
	int32_t n_particles, n_tilts, n_rings;
	double *k_invA;   /**< n_rings */
	bool *is_seen;    /**< n_particles x n_tilts */
	double *height_A; /**< n_particles x n_tilts: what the particle's height adds to its defocus, as the
	                     metadata has it (T1.9) */
	float *sums;      /**< n_particles x n_tilts x n_rings x CYC_RING_N */
	double *noise;    /**< n_tilts x n_rings: noise power of the images */
	int64_t n_images;
	bool has_stretch; /**< the sums with G are filled */
} cyc_ring_sums;
void cyc_ring_sums_destroy(cyc_ring_sums **s);
static inline float *cyc_ring_sums_of(const cyc_ring_sums *s, int32_t i_particle, int32_t i_tilt)
{
	return s->sums +
	       ((size_t)i_particle * (size_t)s->n_tilts + (size_t)i_tilt) * (size_t)s->n_rings * CYC_RING_N;
}

/** Work memory of the pass; one at a time per backend. */
typedef struct cyc_ring_pass cyc_ring_pass;
/**
 * @param[in] has_stretch  also the sums for the size of the particles: twice the time
 * @param[in] most_particles  of a tilt series; 0: not known
 */
CYC_MUST_CHECK cyc_status cyc_ring_pass_create(cyc_ring_pass **out, cyc_backend *be, const cyc_box *box,
                                               const cyc_reference *reference, double k_min_A,
                                               bool has_stretch, int64_t most_particles);
void cyc_ring_pass_destroy(cyc_ring_pass **p);
/**
 * Read all images of a series; opens it. Tilts of scale 0 are left out.
 */
CYC_MUST_CHECK cyc_status cyc_ring_pass_series(cyc_ring_sums **out, cyc_ring_pass *p, cyc_tilt_series *ts,
                                               const cyc_particle_set *set, int32_t i_series,
                                               const char *root);

#endif

/**
 * @file volume_sections.h
 * Particles that are 3D volumes, as central sections: a source of slices for maps and poses, like tilt
 * images.
 *
 * The volume of a particle is F(k) = C(k) V(R^T k) + noise in three dimensions. Its log-likelihood is a sum
 * over all of its coefficients of 2 Re[D V*] - W |V|^2, with D = C F and W = C^2. V and D belong to objects
 * that fill a sphere only, so the sum over the lattice equals the integral, and that a sum over sections that
 * have the y axis in common, each coefficient with the area that it stands for (T7.8). Nothing is projected:
 * V is looked up where the coefficients of the sections lie, as for images.
 */
#ifndef CYC_VOLUME_SECTIONS_H
#define CYC_VOLUME_SECTIONS_H

#include "cyclotomo/stacks.h"
#include "reference/reference.h"

/** Which part of the volumes is used, and how finely it is sampled. */
typedef struct {
	const cyc_stacks *stacks; /**< volumes; borrowed */
	double radius_px;         /**< everything outside of this sphere around the particle is masked */
	int32_t box_px; /**< s of the sections, at least the volumes' N: finer than N where it is larger */
	/** Beyond the last shell of the volume data are 0. If set, weights have the value of that shell there, so
	 * that a map ends in zeros; else they are 0, too. */
	bool extends_weights;
} cyc_volume_sections_spec;
typedef struct cyc_volume_sections cyc_volume_sections;
/** Not thread-safe: it uses the threads of the backend. Borrows the backend. */
CYC_MUST_CHECK cyc_status cyc_volume_sections_create(cyc_volume_sections **out, cyc_backend *be,
                                                     const cyc_volume_sections_spec *spec);
void cyc_volume_sections_destroy(cyc_volume_sections **s);
/** Sections that a volume of N px takes, for a sphere of this radius. */
int32_t cyc_volume_section_count(int32_t box_px, double radius_px);
/** Sections of this source. */
int32_t cyc_volume_sections_n(const cyc_volume_sections *s);
/** Axes of section i of n: section <- volume. Neighbours in number are far apart in angle. */
cyc_mat3 cyc_volume_section_axes(int32_t i, int32_t n);
/** Mean square of the mask over the volume. */
double cyc_volume_sections_mask2(const cyc_volume_sections *s);
/** Bytes that a source takes. */
double cyc_volume_sections_bytes(int32_t box_px, int32_t section_px, int n_threads);
/** Bytes on a device. */
double cyc_volume_sections_device_bytes(int32_t box_px, int32_t section_px);

/**
 * Read and transform the volumes of a particle. Volumes and weights that were divided by their multiplicity
 * are sums again, if the file has the multiplicities: it is seen in the weights, which then do not grow with
 * the number of images at a coefficient.
 * @param[in,out] power, expected  N/2 + 1, added to: by shell the power of D around the particle, over the
 * share of the box that this is, and W: their ratio is the noise of an image (T8.28). Nothing is added where
 * there is no room around the particle. Or NULL.
 * @return CYC_E_DATA naming the file for values that are not finite, weights that are negative or zero
 * everywhere, and offsets that move the particle out of its volume; CYC_E_IO, CYC_E_FORMAT, CYC_E_SHAPE of
 * reading.
 */
CYC_MUST_CHECK cyc_status cyc_volume_sections_load(cyc_volume_sections *s, double *power, double *expected,
                                                   int64_t i_particle);
/**
 * Some of the sections of the particle that was loaded, as s x (s/2 + 1) planes. Both outputs have the area
 * that a coefficient stands for as a factor.
 * @param[out] data    count planes: D, around the particle, in the grey scale of stacks
 * @param[out] weight  count planes: W, >= 0
 * @param[in]  count   at most CYC_SECTIONS_AT_ONCE
 */
CYC_MUST_CHECK cyc_status cyc_volume_sections_fill(cyc_cfloat *data, float *weight, cyc_volume_sections *s,
                                                   int32_t first, int32_t count);
enum { CYC_SECTIONS_AT_ONCE = 16 };

#endif

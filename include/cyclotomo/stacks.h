/**
 * @file stacks.h
 * Particles that an extraction has cut out, by this program, RELION or WarpTools: 2D stacks of tilt images,
 * or 3D data and weight volumes, as a source of data (docs/theory/07-extract.md).
 *
 * Images are bright where there is density, their phase origin is pixel N/2, and odd aberrations are off
 * them. Their model is image_f = FT^-1[c_f^2 V(R_img_ref^T (k, 0))] + noise   if they were multiplied by the
 * CTF at extraction, else c_f in place of c_f^2, c_f the CTF with dose weight, scale, B-factor and even
 * aberrations of the tilt at the particle's depth: cyc_ctf_of_tilt() with cyc_stack_view.extra_defocus_A,
 * times cyc_dose_weight(); src/images/tilt_batch.h has both as tables.
 *
 * Volumes were multiplied by the CTF and come with its square (pseudo-subtomograms: slices spread by
 * trilinear weights), or were cut from tomograms and come with the CTF; src/halfmaps/volume_sections.h makes
 * central sections of them.
 */
#ifndef CYCLOTOMO_STACKS_H
#define CYCLOTOMO_STACKS_H

#include "cyclotomo/array.h"
#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One image of a particle: where it comes from and how the particle lies in it. */
typedef struct {
	int32_t i_tilt; /**< row of the tilt table */
	cyc_mat3
		R_img_part; /**< image <- subtomogram: R_img_tomo R_tomo_part; times R_part_ref it is R_img_ref */
	double extra_defocus_A;        /**< of the particle over the tilt's, at its position with the offset */
	double shift_x_px, shift_y_px; /**< from pixel N/2 to the particle: 0 unless the file has offsets
	                                  (rlnOrigin*) left, px of the images */
} cyc_stack_view;

/** Extracted particles. All members are read-only but for origins_A, which a refinement moves; borrows the
 * sets it was opened with. */
typedef struct {
	const cyc_particle_set *particles;
	const cyc_tomogram_set *tomograms;
	bool are_2d;            /**< stacks of images; else volumes */
	int32_t box_px;         /**< N, edge of images or volumes, even */
	double binning;         /**< rlnTomoSubtomogramBinning, 1 if not given */
	double pixel_size_A;    /**< of images or volumes */
	bool *is_premultiplied; /**< by optics group: rlnCtfDataAreCtfPremultiplied */
	int32_t *n_views;       /**< by particle of the set: images that show it; 0 for volumes */
	bool *has_all_tilts; /**< by particle: the stack has a section for every tilt, seen or not, as WarpTools
	                        writes it */
	bool *has_multiplicity;  /**< by particle: multiplicities follow in the file of the weights */
	cyc_vec3 *origins_A;     /**< by particle: offset that is left, subtomogram axes */
	char **data_files;       /**< by particle, with the root */
	char **weight_files;     /**< by particle, with the root; NULL for stacks */
	cyc_mrc_info *data_info; /**< by particle */
} cyc_stacks;

/**
 * Find the files of all particles and check that they exist and have one size, that stacks have as many
 * sections as rlnTomoVisibleFrames has ones (or flags: WarpTools), and that the optics groups agree in
 * binning and pixel size. Reads no images; tilt images need not be there.
 * @return CYC_E_FORMAT if a column is missing; CYC_E_IO, CYC_E_DATA, CYC_E_SHAPE naming the particle, file,
 * expected and found.
 * @note Needs cyc_stacks_close() before the sets are destroyed.
 */
CYC_MUST_CHECK cyc_status cyc_stacks_open(cyc_stacks **out, const cyc_particle_set *particles,
                                          const cyc_tomogram_set *tomograms, const char *root);
void cyc_stacks_close(cyc_stacks **s);
/** The n_views[i] views of particle i, in the order of the tilts. Thread-safe. */
CYC_MUST_CHECK cyc_status cyc_stacks_views(cyc_stack_view *views, const cyc_stacks *s, int64_t i);
/** Images of particle i: n_views[i] x N x N float. CYC_E_DATA if one of a tilt that is used is constant.
 * Thread-safe. */
CYC_MUST_CHECK cyc_status cyc_stacks_read(float *images, const cyc_stacks *s, int64_t i);
/**
 * Volumes of particle i, in the axes of the subtomogram. Thread-safe.
 * @param[out] data          N^3 float, centre at voxel N/2: sum of its spread images, not divided by the
 * weights
 * @param[out] weight        N x N x (N/2+1) float, corner origin: sum of spread c^2; the CTF c itself if the
 * optics group says that volumes are not multiplied by it
 * @param[out] multiplicity  the same: sum of what was spread, of 1; untouched if the file has none
 * (has_multiplicity). Or NULL.
 */
CYC_MUST_CHECK cyc_status cyc_stacks_read_volume(float *data, float *weight, float *multiplicity,
                                                 const cyc_stacks *s, int64_t i);

#ifdef __cplusplus
}
#endif
#endif

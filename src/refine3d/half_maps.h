/** @file half_maps.h  The maps of a refinement: made from poses, compared, turned into references. */
#ifndef CYC_REFINE3D_HALF_MAPS_H
#define CYC_REFINE3D_HALF_MAPS_H

#include "cyclotomo/map.h"
#include "halfmaps/accumulate.h"
#include "halfmaps/sums.h"
#include "reference/reference.h"

/** What maps are made with, constant through a refinement. */
typedef struct {
	cyc_backend *be;
	const cyc_box *box; /**< of the windows */
	const cyc_stacks
		*stacks; /**< images of an extraction, which maps are made from; NULL: from the tilt images */
	int32_t crop_px;
	const char *symmetry;
	double cutoff_frac, taper_px;
	const cyc_volume *mask; /**< crop_px; never NULL */
	double mask_diameter_px;
	bool correct_fsc; /**< FSC under the mask, corrected with random phases; else that of the unmasked maps
	                   */
	double join_A;    /**< at coarser resolution the two references are equal; 0: nowhere */
	double tau2_fudge;
	uint64_t seed;
	bool no_grids;      /**< references are not sliced: cyc_reference_spec.no_grids */
	bool whole_windows; /**< windows as they are, and only those that lie in their image, instead of images
	                       cropped after the CTF */
} cyc_half_maps_spec;

/** Two half maps of edge crop_px with the grey scale binning sqrt(box), unmasked and unfiltered, and their
 * FSC. */
typedef struct {
	cyc_volume *half[2], *merged; /**< merged may be NULL */
	double *fsc, *fsc_unmasked;   /**< crop/2 + 1 */
} cyc_half_maps;
void cyc_half_maps_destroy(cyc_half_maps **m);
/** Maps given by files: takes both volumes. Computes the FSC; a copy of one map has no FSC of its own and
 * gets 1. */
CYC_MUST_CHECK cyc_status cyc_half_maps_take(cyc_half_maps **out, cyc_volume *half[2], bool is_one_map,
                                             const cyc_half_maps_spec *spec);
/** How the images of these maps are cut: as `reconstruct --crop-images` does it where the maps are smaller
 * than the windows. */
void cyc_half_maps_options(cyc_accumulator_options *o, cyc_box *box, const cyc_half_maps_spec *spec);
/** Add all particles at the current poses of `set` to sums: each rank those of its own tilt series, then
 * the ranks' sums are added. */
CYC_MUST_CHECK cyc_status cyc_half_maps_insert(cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                                               const char *root, const cyc_half_maps_spec *spec,
                                               const cyc_accumulator_sums *sums);
/** Reconstruct from the current poses of `set`. @param[in] with_merged  also the map of all particles */
CYC_MUST_CHECK cyc_status cyc_half_maps_reconstruct(cyc_half_maps **out, cyc_tomogram_set *tomograms,
                                                    const cyc_particle_set *set, const char *root,
                                                    const cyc_half_maps_spec *spec, bool with_merged);
struct cyc_group_maps;
/**
 * As cyc_half_maps_reconstruct(), keeping the sums of groups.
 * @param[in] curves  maps whose FSC are taken; NULL: they are computed
 */
CYC_MUST_CHECK cyc_status cyc_half_maps_reconstruct_groups(cyc_half_maps **out, struct cyc_group_maps *groups,
                                                           cyc_tomogram_set *tomograms,
                                                           const cyc_particle_set *set, const char *root,
                                                           const cyc_half_maps_spec *spec,
                                                           const cyc_half_maps *curves, bool with_merged);
/**
 * Wiener factors T SNR / (1 + T SNR), SNR = share FSC / (1 - FSC), of a map of a share of a half-set's
 * images, times the low-pass. Allocates crop_px/2 + 1.
 */
CYC_MUST_CHECK cyc_status cyc_half_maps_wiener(double **weight, const double *fsc, double lowpass_A,
                                               double share, const cyc_half_maps_spec *spec);
/**
 * References for slicing: joined at low resolution, masked, Wiener-filtered with the FSC.
 * @param[in]  lowpass_A  > 0: initial low-pass, edge of two shells
 * @param[out] filtered   the references as maps in real space, or NULL
 */
CYC_MUST_CHECK cyc_status cyc_half_maps_reference(cyc_reference **out, cyc_volume *filtered[2],
                                                  const cyc_half_maps *maps, double lowpass_A,
                                                  double grey_scale, const cyc_half_maps_spec *spec);
/** Low-pass weight of shell r, one shell beyond the last on each side of resolution_A. (T8.7) */
double cyc_lowpass_weight(double r, int32_t box_px, double pixel_size_A, double resolution_A);
/** Multiply a map's transform by a weight per shell (n/2 + 1; 0 beyond). */
CYC_MUST_CHECK cyc_status cyc_volume_filter(cyc_volume *v, const double *weight, int n_threads);
/** Map with pixels of another size and another edge: Fourier coefficients kept or cut, then real-space
 * padding or cutting. */
CYC_MUST_CHECK cyc_status cyc_volume_resample(cyc_volume **out, const cyc_volume *v, double pixel_size_A,
                                              int32_t box_px, int n_threads);

#endif

/* One post-processing from its inputs to its files; what postprocess.c, postprocess_write.c and
 * local_resolution.c share. */
#ifndef CYC_POSTPROCESS_INTERNAL_H
#define CYC_POSTPROCESS_INTERNAL_H

#include "fsc_sectors.h"
#include "map_internal.h"

typedef struct {
	const cyc_postprocess_options *o;
	cyc_optimisation_set *set; /**< read from o->optimisation_set, or NULL */
	char *half[2];             /**< names of the half maps, relative to the root */
	int32_t n, n_shells;
	double pixel_size_A;
	cyc_volume *mask; /**< NULL: unmasked */
	cyc_fft3 *plan;
	cyc_cfloat *ft[2]; /**< unmasked half maps, unscaled transforms */
	double *fsc_unmasked, *fsc_masked, *fsc_randomised,
		*fsc_corrected; /**< masked, randomised: NULL without mask */
	double *fsc_judged; /**< corrected for the mask even where fsc_corrected is the unmasked curve */
	bool used_unmasked;
	cyc__sectors sectors;
	cyc__sector_sums
		judged; /**< of the masked maps, or the maps without mask; only to compare with another state */
	double difference, difference_error; /**< NaN without compare_to */
	double edge_fsc, edge_fsc_error, edge_fsc_outside, edge_fsc_outside_error;
	int32_t n_edge_shells;
	bool are_halves_suspect;
	double *amplitude_correlation[2], *phase_residual_deg[2]; /**< unmasked, masked; NULL unless asked for */
	int32_t randomise_from;                                   /**< shell; 0 without mask */
	int32_t resolution_shell;
	double mask_fraction; /**< of voxels above 0.5 */
	cyc__mtf *mtf;
	double *filter; /**< radial table of everything done to the average */
	cyc__guinier *guinier_original, *guinier_mtf, *guinier_weighted,
		*guinier_sharpened; /**< NULL: that step was not done */
	cyc__line fit;
	double bfactor_A2;
} cyc__postprocess;

/** What the unmasked FSC would be if the solvent were not there: f FSC / (1 + (f - 1) FSC). (T3.12) */
double cyc__fsc_of_particle(double fsc_unmasked, double fraction);
/** 0.476 over the part of the box that a protein of this weight fills. */
double cyc__molecular_weight_fraction(double weight_kDa, int32_t n, double pixel_size_A);

/** Test that the half maps have nothing in common where there is no signal: the edge_* figures. (T3.18) */
CYC_MUST_CHECK cyc_status cyc__test_independence(cyc__postprocess *p, cyc_cfloat *const masked[2]);
/** Mean FSC of this state less that of o->compare_to, with its standard error. (T3.17) */
CYC_MUST_CHECK cyc_status cyc__compare_states(cyc__postprocess *p);
/** All files of a finished post-processing; the STAR file last, so that its presence means that all others
 * exist.
 */
CYC_MUST_CHECK cyc_status cyc__postprocess_write(char **star, char **optimisation_set,
                                                 const cyc__postprocess *p);
/** Local resolution and locally filtered map, with their files. (T3.13) */
CYC_MUST_CHECK cyc_status cyc__local_resolution_run(const cyc__postprocess *p);

#endif

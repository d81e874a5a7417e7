/**
 * @file map.h
 * Operations on maps: Fourier shell correlation, masks, filters, post-processing, local resolution,
 * comparison.
 */
#ifndef CYCLOTOMO_MAP_H
#define CYCLOTOMO_MAP_H

#include "cyclotomo/outputs.h"
#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Write a map as ROOT/NAME: float voxels, its pixel size, and `label` ("cyclotomo JOB"; NULL: none) in the
 * header. Folders are made; the file appears when it is complete.
 */
CYC_MUST_CHECK cyc_status cyc_map_write(const char *root, const char *name, const cyc_volume *v,
                                        const char *label, int n_threads);

/* ---------------------------------------------------------------- FSC */

/**
 * Fourier shell correlation of two half transforms (n x n x (n/2+1), corner origin).
 *   FSC(i) = sum Re(F1 F2*) / sqrt(sum |F1|^2 sum |F2|^2),  shell i = round(|k|), i = 0..n/2 (T3.1) over the
 * stored half volume with unit weights (RELION's convention: pairs in the kx = 0 and Nyquist planes count
 * twice). Shells without power give 0. Sums are double, in fixed order. Thread-safe.
 * @param[out] fsc  n/2 + 1 values.
 */
void cyc_fsc_compute(double *fsc, const cyc_cfloat *ft1, const cyc_cfloat *ft2, int32_t n);
/** Corrected FSC: fsc_masked up to shell randomise_from + 1, then (m - r)/(1 - r) (T3.2) */
void cyc_fsc_correct(double *corrected, const double *masked, const double *randomised, int32_t n_shells,
                     int32_t randomise_from);
/** First shell i > 0 with fsc < 0.8 (threshold); -1 if there is none. */
int32_t cyc_fsc_randomise_from(const double *fsc_unmasked, int32_t n_shells, double threshold);
/** Last shell before the first one below 0.143, as RELION reports it: no interpolation. 0 if shell 1 is
 * below. */
int32_t cyc_fsc_resolution_shell(const double *fsc, int32_t n_shells);

/**
 * A column of the fsc block of a postprocess.star, for example
 * "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps".
 * @param[out] out  n values; free with cyc_free().
 */
CYC_MUST_CHECK cyc_status cyc_fsc_read_column(double **out, int32_t *n, const char *path, const char *label);

/* ---------------------------------------------------------------- masks */

/** How two maps I, M at threshold t make a mask: I > t and/or M > t, or M < t for the "not" forms. */
typedef enum { CYC_MASK_AND, CYC_MASK_OR, CYC_MASK_AND_NOT, CYC_MASK_OR_NOT } cyc_mask_combine;
typedef struct {
	const char *root;
	const char *input;        /**< map; NULL with denovo */
	const char *output;       /**< .mrc */
	const char *combine_with; /**< second map, or NULL; needs a threshold */
	cyc_mask_combine combine;
	bool has_threshold; /**< false: automatic (T3.9) */
	double threshold;
	/**
	 * Without has_x the value depends on the threshold: with a given one nothing is done (as in RELION), with
	 * the automatic one the map is low-passed to 15 Å, the mask grown by 3 px and given a soft edge of 6 px.
	 */
	bool has_extend, has_soft_edge, has_lowpass;
	double extend_px; /**< < 0 shrinks */
	double soft_edge_px;
	double lowpass_A;    /**< <= 0: off */
	double pixel_size_A; /**< <= 0: header */
	bool invert;
	bool helix;          /**< keep the central part along z only, ending in the soft edge */
	double helix_z_frac; /**< 0.1 .. 0.9 of the box */
	bool denovo;         /**< a spherical shell, without input */
	int32_t box_px;
	double inner_radius_px, outer_radius_px;
	double centre_px[3]; /**< x, y, z from voxel box/2 */
	int32_t n_threads;
	bool dry_run; /**< check options and headers, print the plan, write nothing */
} cyc_mask_options;
extern const cyc_option_table cyc_mask_table;
void cyc_mask_options_default(cyc_mask_options *o);
typedef struct {
	double threshold;                          /**< used; NaN with denovo */
	double volume_frac;                        /**< mean of the mask */
	double lowpass_A, extend_px, soft_edge_px; /**< used */
	int32_t box_px;
	double pixel_size_A;
} cyc_mask_result;
/**
 * Soft mask from a map: low-pass, threshold (>=), extend (strictly less than extend_px), raised-cosine edge,
 * in this order as RELION does (T3.9 - T3.11); or a spherical shell. Written to a temporary name, then
 * renamed.
 * @return CYC_E_USAGE: options that do not go together; CYC_E_SHAPE: map not cubic, odd, or the second of
 * another size; CYC_E_DATA: NaN, no voxel above the threshold.
 */
CYC_MUST_CHECK cyc_status cyc_mask_run(cyc_mask_result *result, const cyc_mask_options *options);
/** The most memory that cyc_mask_run() holds at one time [bytes], for a map of n px. */
double cyc_mask_memory_bytes(const cyc_mask_options *options, int32_t n);
/** Refuse to overwrite inputs: cyc_outputs_spare_inputs() for this job. Part of its run. */
CYC_MUST_CHECK cyc_status cyc_mask_spare_inputs(const cyc_mask_options *o);

/* ---------------------------------------------------------------- half maps */

/** CYC_E_DATA if a map is constant or zero: nothing can be learned from it. `what` stands for it, "half map
 * 1". Thread-safe. */
CYC_MUST_CHECK cyc_status cyc_half_map_check(const cyc_volume *v, const char *what, const char *name);
/** As above for both, and CYC_E_DATA if one is the other, but for scale or sign: their FSC is no measure
 * then. */
CYC_MUST_CHECK cyc_status cyc_half_maps_check(cyc_volume *const half[2], const char *const name[2],
                                              int n_threads);
/** Whether file names say that map 1 is the second half and map 2 the first ("half2" and "half1", "half_B"
 * and "half_A", in any case): particles would be compared with the map that contains them. NULL: no.
 * Thread-safe. */
bool cyc_half_maps_are_swapped(const char *name1, const char *name2);
/** The second part, from their correlation, -1 to 1. */
CYC_MUST_CHECK cyc_status cyc_half_maps_differ(double correlation, const char *name1, const char *name2);

/* ---------------------------------------------------------------- post-processing */

typedef struct {
	const char *root;
	const char *half1, *half2;    /**< half2 NULL: "half1" <-> "half2" swapped in the file name */
	const char *optimisation_set; /**< source of the half maps if half1 is NULL; a copy naming the FSC file is
	                                 written */
	const char *mask;             /**< NULL: unmasked */
	const char *out_root;         /**< e.g. "PostProcess/job002/postprocess" */
	bool force_mask;
	const char *compare_to; /**< optimisation set of another state of the same particles: its half maps are
	                           compared with these (T3.17); NULL: none */
	const char *symmetry;   /**< NULL: C1. Not applied: coefficients that it makes equal are counted once in
	                           standard errors */
	double pixel_size_A;    /**< <= 0: header */
	double molecular_weight_kDa;          /**< <= 0: not given */
	const char *mtf;                      /**< STAR file or NULL */
	double mtf_pixel_size_A;              /**< <= 0: pixel size of the map */
	bool has_bfactor;                     /**< use adhoc_bfactor_A2 instead of the automatic one */
	double bfactor_low_A, bfactor_high_A; /**< fit range; high <= 0: to the last shell with signal */
	double adhoc_bfactor_A2;
	bool skip_fsc_weighting;
	double lowpass_A; /**< 0 off, < 0 at the final resolution */
	double filter_edge_px;
	double randomise_at_fsc; /**< FSC below which phases are randomised */
	double randomise_at_A;   /**< > 0 overrides */
	int32_t n_random_draws;  /**< the randomised FSC is the mean over these keyed draws, made in fours
	                            (T3.3) */
	uint64_t seed;
	const double *randomised_fsc; /**< given curve instead of draws (tests, comparisons); NULL: compute */
	int32_t n_randomised_fsc;
	bool write_half_maps;
	bool amplitude_correlation; /**< even the amplitudes out over directions first; curves of amplitudes and
	                               phases too (T3.14) */
	bool local_resolution;
	double locres_sampling_A;     /**< distance of the spheres */
	double locres_mask_radius_A;  /**< <= 0: half the sampling */
	double locres_edge_A;         /**< <= 0: the sampling */
	double locres_randomise_at_A; /**< phases are randomised from here */
	double locres_min_A;          /**< worst resolution that is written */
	bool no_figures;
	int32_t n_threads;
	bool dry_run; /**< check options, headers and MTF, print the plan, write nothing */
} cyc_postprocess_options;
extern const cyc_option_table cyc_postprocess_table;
void cyc_postprocess_options_default(cyc_postprocess_options *o);

typedef struct {
	double final_resolution_A, bfactor_A2;
	double randomise_from_A;              /**< 0 without mask */
	int32_t n_shells;                     /**< box/2 + 1 */
	double *fsc_corrected, *fsc_unmasked; /**< n_shells */
	double *fsc_masked, *fsc_randomised;  /**< n_shells; NULL without mask */
	double *fsc_judged; /**< n_shells: corrected for the mask wherever there is one, also where fsc_corrected
	                       fell back to the unmasked curve */
	double mean_fsc;    /**< mean of fsc_judged over shells 1 to n_shells - 1 */
	bool used_unmasked; /**< resolution and sharpening are of the unmasked curve, though there is a mask */
	/** Against the state of compare_to (T3.17); NaN without. */
	double difference, difference_error;
	/** Mean unmasked FSC of the outermost shells, and outside of the mask (NaN without), with standard
	 * errors; 0 unless half maps share more than signal (T3.18). */
	double edge_fsc, edge_fsc_error, edge_fsc_outside, edge_fsc_outside_error;
	int32_t n_edge_shells;
	bool are_halves_suspect; /**< by these figures the half maps are not independent */
	char *star;              /**< written file, relative to root; NULL after a dry run, which fills nothing */
	char *optimisation_set;  /**< written file or NULL */
} cyc_postprocess_result;
void cyc_postprocess_result_deinit(cyc_postprocess_result *r);
/**
 * Whether the job could run with these options: MTF, symmetry, folder, and the mask against half maps that
 * are still to be made (of a project's map_px). Nothing is computed or written. The job itself asks it first.
 * @param[in] project  NULL: the half maps exist, and the job reads their headers itself
 */
CYC_MUST_CHECK cyc_status cyc_postprocess_check(const cyc_postprocess_options *options,
                                                const cyc_project_view *project);
/**
 * FSC of two half maps (T3.1 - T3.3), resolution, sharpened average (T3.4 - T3.8), optionally local
 * resolution (T3.13).
 *
 * Writes, all with out_root in front: .mrc, _masked.mrc, _fsc.xml, _fsc.dat, _fsc and _guinier as .svg and
 * .png, .star; logfile.pdf beside them; with write_half_maps _half1.mrc, _half2.mrc (+ _masked); with an
 * optimisation set _optimisation_set.star; with local_resolution _locres.mrc, _locres_filtered.mrc and, if
 * figures are requested, a histogram (also as histogram.pdf beside them, RELION's name). Each file appears
 * complete or not at all, the STAR file last. Nothing is written if an input is refused.
 *
 * @param[out] result  to be freed with cyc_postprocess_result_deinit(); untouched on failure.
 * @return CYC_E_USAGE: options, half2 not to be found; CYC_E_SHAPE: sizes or pixel sizes that differ, maps
 * not cubic or odd; CYC_E_DATA: NaN, mask outside [0, 1] or empty, unusable MTF; CYC_E_IO, CYC_E_FORMAT,
 * CYC_E_NOMEM.
 * @note Same bits for any n_threads. Peak memory about 6.6 arrays of box^3 floats (n_threads x 2.5 more for
 * small boxes).
 */
CYC_MUST_CHECK cyc_status cyc_postprocess_run(cyc_postprocess_result *result,
                                              const cyc_postprocess_options *options);
/** Refuse to overwrite inputs: cyc_outputs_spare_inputs() for this job. Part of its run. */
CYC_MUST_CHECK cyc_status cyc_postprocess_spare_inputs(const cyc_postprocess_options *o);
/** The most memory that cyc_postprocess_run() holds at one time [bytes], for maps of n px. */
double cyc_postprocess_memory_bytes(const cyc_postprocess_options *options, int32_t n, double pixel_size_A);

/**
 * Local resolution of two half maps [Å]: the FSC inside soft spheres 25 Å apart, as post-processing has it
 * with its defaults, without files and without the filtered map. (T3.13)
 * @param[out] out  of the maps' size, 0 where no sphere reaches; cyc_volume_destroy()
 * @return CYC_E_SHAPE: not cubic, odd, of different sizes, without pixel size; CYC_E_USAGE: too small a box
 * for the spheres; CYC_E_NOMEM
 * @note Same bits for any n_threads. Peak memory about 8 arrays of box^3 floats.
 */
CYC_MUST_CHECK cyc_status cyc_local_resolution(cyc_volume **out, const cyc_volume *half1,
                                               const cyc_volume *half2, int n_threads);

#ifdef __cplusplus
}
#endif
#endif

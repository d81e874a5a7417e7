/**
 * @file compare.h
 * Comparison of two maps, or of two STAR files: for users, and for tests that compare results with recorded
 * ones.
 */
#ifndef CYCLOTOMO_COMPARE_H
#define CYCLOTOMO_COMPARE_H

#include "cyclotomo/array.h"
#include "cyclotomo/star.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- maps */

typedef struct {
	double resolution_A; /**< limit of the figures "to resolution"; <= 0: to Nyquist */
	bool mirror_z;       /**< mirror the second map in z first (z -> -z about voxel n/2): the other hand */
	int32_t n_threads;
} cyc_map_compare_options;

typedef struct {
	int32_t n_shells; /**< n/2 + 1 with a box of n voxels, 0 if the arrays are not cubes of an even size */
	double *fsc;      /**< of the masked maps, shell i at i / (n pixel size) */
	double *scale;    /**< <ab>/<aa> in each shell */
	double mean_fsc;  /**< shells 1 .. n/2 - 1 */
	double min_fsc;   /**< lowest FSC from shell 1 to the resolution limit */
	double resolution_0143_A,
		resolution_05_A; /**< first crossing, linear between shells; Nyquist if there is none */
	double limit_A;      /**< resolution limit that was used */
	double correlation, correlation_to_limit; /**< of the masked maps, means removed */
	double scale_all, scale_to_limit;         /**< b ~ scale x a, least squares, means removed */
	double rms_a, rms_b;                      /**< standard deviations */
	double rms_difference;                    /**< of b - a, means kept */
	double max_difference;                    /**< |b - a| */
	int32_t max_at[3];                        /**< its voxel x, y, z, counted from 0 */
} cyc_map_comparison;

/**
 * Compare two maps voxel by voxel and shell by shell; both are multiplied by the mask first.
 * Arrays of any shape (images, stacks) are compared by voxels only.
 * @param[in] mask  of the same size, or NULL.
 * @return CYC_E_SHAPE if sizes or pixel sizes (to 1e-3) differ. The result is independent of the thread
 * count.
 */
CYC_MUST_CHECK cyc_status cyc_map_compare(cyc_map_comparison **out, const cyc_volume *a, const cyc_volume *b,
                                          const cyc_volume *mask, const cyc_map_compare_options *options);
void cyc_map_comparison_destroy(cyc_map_comparison **c);

/* ---------------------------------------------------------------- STAR files */

typedef struct {
	double tolerance; /**< numbers a, b are the same if |a - b| <= tolerance + relative max(|a|, |b|) */
	double relative;
	const char *columns; /**< tolerances of single columns: "rlnDefocusU=0.5,rlnDefocusV=0.5"; NULL: none */
	const char *ignore;  /**< labels that are not compared: "rlnMicrographName,rlnCtfImage"; NULL: none */
	const char *key;     /**< label that rows are matched by; NULL: found, or by order */
	const char *block;   /**< compare this block only; NULL: all */
	bool common_only;    /**< blocks, columns and rows that only one file has are no difference */
} cyc_star_compare_options;

typedef enum {
	CYC_COLUMN_SAME,
	CYC_COLUMN_DIFFERENT,
	CYC_COLUMN_ONLY_FIRST,
	CYC_COLUMN_ONLY_SECOND,
	CYC_COLUMN_IGNORED
} cyc_column_state;

typedef struct {
	const char *label;
	cyc_column_state state;
	int64_t n_different;                   /**< rows */
	int64_t n_numbers;                     /**< pairs of numbers (elements of vectors too) */
	double max_difference, rms_difference; /**< over them */
	int64_t row_a, row_b; /**< where the largest difference is, or the first text that differs; -1: nowhere */
	const char *text_a, *text_b; /**< the values there; NULL: nowhere */
} cyc_column_comparison;

typedef struct {
	const char *name;
	bool in_a, in_b;
	const char *key; /**< label rows were matched by, NULL: by order */
	int64_t n_rows_a, n_rows_b, n_matched;
	bool is_reordered; /**< matched rows stand in another order */
	int32_t n_columns;
	cyc_column_comparison *columns; /**< of the first file in order, then those only the second has */
	bool is_same;
} cyc_block_comparison;

/** Borrows names and texts of both documents: destroy it before them. */
typedef struct {
	int32_t n_blocks;
	cyc_block_comparison *blocks;
	bool is_same;
} cyc_star_comparison;

/** @return CYC_E_USAGE if options->columns cannot be read, or the key or block is in neither file. */
CYC_MUST_CHECK cyc_status cyc_star_compare(cyc_star_comparison **out, const cyc_star *a, const cyc_star *b,
                                           const cyc_star_compare_options *options);
void cyc_star_comparison_destroy(cyc_star_comparison **c);

#ifdef __cplusplus
}
#endif
#endif

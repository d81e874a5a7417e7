/** @file check_internal.h  Parts of the check: findings (findings.c), what tables show (tables.c), maps
 * (density.c), corrections (fix.c). */
#ifndef CYC_CHECK_INTERNAL_H
#define CYC_CHECK_INTERNAL_H

#include "check/series_fit.h"
#include "reference/refine_input.h"

/** What a check has read. */
typedef struct {
	const cyc_check_options *o;
	const char *root;
	cyc_optimisation_set *set;
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
	const char *ref1, *ref2, *mask, *fsc; /**< borrowed; NULL: none */
	cyc_check_result *result;
} cyc_check;

/** A new finding of a tilt series, or of the project (-1). Borrowed. */
CYC_MUST_CHECK cyc_status cyc_check_add(cyc_finding **out, cyc_check *c, cyc_finding_level level,
                                        const char *kind, int32_t i_series);

/** Edge of the windows, of half maps of map_px. */
int32_t cyc_check_box(const cyc_check_options *o, int32_t map_px);
/** What a refinement needs of the tables as a whole: one pixel size, one voltage. */
CYC_MUST_CHECK cyc_status cyc_check_tables(cyc_check *c);
/** Correlation of density with detail in the half maps: positive where matter is dense, as it should be
 * (T9.9). NaN if the maps are too coarse or small. */
CYC_MUST_CHECK cyc_status cyc_check_density(cyc_measured *density, const char *map1, const char *map2,
                                            const char *root, int n_threads);
/** Findings of what the images said; all findings in their order. */
CYC_MUST_CHECK cyc_status cyc_check_judge(cyc_check *c);
/** CYC_E_USAGE if files of a project are in the folder for the corrected one already. */
CYC_MUST_CHECK cyc_status cyc_check_fix_folder(const cyc_check *c);
/** The corrected project, if a finding can be corrected. Changes the documents of the project in memory. */
CYC_MUST_CHECK cyc_status cyc_check_fix(cyc_check *c);

#endif

/** @file figures.h  Figures of CTF refinement: a table and plots of defocus and scale against tilt. */
#ifndef CYC_CTF_FIGURES_H
#define CYC_CTF_FIGURES_H

#include "ctfrefine/tilt_result.h"

/** Plain-text table: a line per tilt with values, errors, changes and why. results[i] NULL: series without
 * particles. blind_follow_ice: tilts without particles have scales by the law of the ice. */
CYC_MUST_CHECK cyc_status cyc_ctf_table_write(const char *path, const cyc_tomogram_set *tomograms,
                                              cyc_tilt_result *const *results, bool blind_follow_ice);
/** out_dir/<series>_ctf.png per series and all of them in out_dir/logfile.pdf. The tomograms hold the values
 * before refinement. */
CYC_MUST_CHECK cyc_status cyc_ctf_figures_write(const char *out_dir, const cyc_tomogram_set *tomograms,
                                                cyc_tilt_result *const *results, int n_threads);

#endif

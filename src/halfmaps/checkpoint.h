/** @file checkpoint.h  The sums of an unfinished reconstruction on disk, exact to the bit. */
#ifndef CYC_CHECKPOINT_H
#define CYC_CHECKPOINT_H

#include "halfmaps/sums.h"

typedef struct {
	int32_t n_series_done;
	int64_t n_images, n_outside;
} cyc_checkpoint_counts;

/** Write both sums under a temporary name, then rename. `hash` stands for the inputs and options. */
CYC_MUST_CHECK cyc_status cyc_sums_checkpoint_write(const char *path, const cyc_checkpoint_counts *counts,
                                                    const cyc_sums *sums, uint64_t hash);
/** Read them back. No file: counts are zero. Another hash or a damaged file: a warning, and counts are zero.
 */
CYC_MUST_CHECK cyc_status cyc_sums_checkpoint_read(cyc_checkpoint_counts *counts, cyc_sums *sums,
                                                   const char *path, uint64_t hash, int32_t n_series);
/** Remove the file, and its folder if that is empty. */
void cyc_sums_checkpoint_remove(const char *path, const char *folder);

#endif

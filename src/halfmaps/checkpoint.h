/** @file checkpoint.h  The sums of an unfinished reconstruction on disk, exact to the bit. */
#ifndef CYC_CHECKPOINT_H
#define CYC_CHECKPOINT_H

#include "halfmaps/sums.h"

typedef struct {
	int32_t n_series;
	bool *is_done; /**< n_series: tilt series whose images are in the sums; borrowed */
	int64_t n_images, n_outside;
} cyc_checkpoint_state;

/** File of a rank in a folder. Free with cyc_free(). */
CYC_MUST_CHECK cyc_status cyc_sums_checkpoint_path(char **out, const char *folder, int rank);
/** Write both sums under a temporary name, then rename. `hash` stands for the inputs and options. */
CYC_MUST_CHECK cyc_status cyc_sums_checkpoint_write(const char *path, const cyc_checkpoint_state *state,
                                                    const cyc_sums *sums, uint64_t hash);
/**
 * Add what the checkpoints of a folder hold, those of all ranks that there were, to the sums, and mark their
 * series as done. One that has a series which is done already is left out: it is older. Another hash or a
 * damaged file: a warning, and nothing of it is used.
 * @param[in,out] state  zero and nothing done at first
 */
CYC_MUST_CHECK cyc_status cyc_sums_checkpoint_read_all(cyc_checkpoint_state *state, cyc_sums *sums,
                                                       const char *folder, uint64_t hash);
/** Remove the checkpoints of all ranks but for `keep` (a path; NULL: all), and the folder if that is empty.
 */
void cyc_sums_checkpoint_remove(const char *folder, const char *keep);

#endif

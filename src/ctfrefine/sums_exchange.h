/**
 * @file sums_exchange.h
 * Sums of a tilt series whose tilts several ranks have read, together on rank 0.
 */
#ifndef CYC_CTF_SUMS_EXCHANGE_H
#define CYC_CTF_SUMS_EXCHANGE_H

#include "ctfrefine/statistics.h"

/**
 * Called by all ranks. Sums of tilts are what they are wherever they were made, so rank 0 has the bits of one
 * process. Nothing is done where there is one rank. Takes the memory of the sums once more meanwhile.
 * @param[in,out] sums       of the tilts that this rank has read; on rank 0 of all afterwards, on the others
 * of none
 * @param[in]     n_stretch  stretch models of sums->stretch; whole series have one reader then
 */
CYC_MUST_CHECK cyc_status cyc_series_sums_to_first_rank(cyc_series_sums *sums, const cyc_ctf_support *support,
                                                        int32_t n_stretch);

#endif

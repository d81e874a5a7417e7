/* Maps by name: reading one for a purpose, finding the other half. For src/map and the modules above it. */
#ifndef CYC_MAP_MAP_FILES_H
#define CYC_MAP_MAP_FILES_H

#include "cyclotomo/map.h"

/* ---------------------------------------------------------------- read_map.c */

/**
 * A cubic map of even box. pixel_size_A > 0 replaces the header's. `what` names its role in errors ("half map
 * 1"). Destroy with cyc_volume_destroy().
 */
CYC_MUST_CHECK cyc_status cyc__read_map(cyc_volume **out, const char *root, const char *name,
                                        double pixel_size_A, const char *what, int n_threads);
/** A map of any shape, as its file has it. Destroy with cyc_volume_destroy(). */
CYC_MUST_CHECK cyc_status cyc__read_any_map(cyc_volume **out, const char *root, const char *name,
                                            int n_threads);

/* ---------------------------------------------------------------- postprocess.c */

/** The other half's name: "half1" <-> "half2" in the file name, the last of them if there are several;
 * CYC_E_USAGE if none. */
CYC_MUST_CHECK cyc_status cyc__other_half(char **out, const char *name);

#endif

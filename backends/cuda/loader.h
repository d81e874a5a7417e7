/** @file loader.h  Finds and opens the plug-in with the CUDA device. */
#ifndef CYC_CUDA_LOADER_H
#define CYC_CUDA_LOADER_H

#include "cyclotomo/base.h"

/** create() of the backend `cuda`. @param[in] options  number of the device, or "". CYC_E_UNSUPPORTED if
 * there is no plug-in, or none of its devices can be used. */
CYC_MUST_CHECK cyc_status cyc__cuda_create(void **self, int n_threads, const char *options);
/** Whether a plug-in is installed, whether or not it can be used. */
bool cyc__cuda_is_installed(void);

#endif

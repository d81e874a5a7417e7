/**
 * @file trial.h
 * A trial of a device before a job relies on it: driver, transforms and kernels of a machine that nobody has
 * looked at.
 */
#ifndef CYC_BACKEND_TRIAL_H
#define CYC_BACKEND_TRIAL_H

#include "backends/backend.h"

/**
 * Compute every operation of backend.h once on small inputs, on a backend and on the cpu. Those without a
 * Fourier transform must give the same bits, the others agree to 1e-5 of their largest value.
 * @param[in] name  of the device, for the error
 * @return CYC_E_UNSUPPORTED naming the first operation that does not; what an operation failed with
 */
CYC_MUST_CHECK cyc_status cyc__backend_try(cyc_backend *be, const char *name);

#endif

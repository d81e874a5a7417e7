/** @file emulate.h  Kernels as loops on the host, in a shuffled order. */
#ifndef CYC_EMULATE_H
#define CYC_EMULATE_H

#include "backends/device/device_api.h"
#include "cyclotomo/base.h"

typedef struct {
	void (*run)(const void *args, cyc_block block, void *shared);
	int32_t n_lanes;
	size_t shared_bytes;
} cyc_emulated_kernel;

/** A kernel of the list. */
const cyc_emulated_kernel *cyc__emulated_kernel(cyc_kernel_id kernel);
/** Run all blocks of a kernel, blocks and lanes in the order of a seed, blocks on n_threads threads. */
CYC_MUST_CHECK cyc_status cyc__emulate_launch(const cyc_emulated_kernel *kernel, const void *args,
                                              int64_t n_blocks, uint64_t seed, int n_threads);

/** create() of the backend `emulate`. @param[in] options  the seed, or "" */
CYC_MUST_CHECK cyc_status cyc__emulate_create(void **self, int n_threads, const char *options);

#endif

/**
 * @file cuda_device.h
 * A GPU, for the files of the plug-in libcyclotomo_cuda.so. All its work is on one stream, so that what is
 * asked for first is done first, and memory may be used again as soon as its last use is queued. C++17.
 */
#ifndef CYC_CUDA_DEVICE_H
#define CYC_CUDA_DEVICE_H

#include "backends/device/device_api.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <cuda_runtime.h>
#include <cufft.h>

/** A plan of transforms; its work area is the device's. */
struct cyc_cuda_plan {
	bool is_made;
	cufftHandle handle;
	cufftType type;
	int32_t s, n, rank;
	int64_t real_distance, ft_distance;
	size_t work_bytes;
};

/** Memory of the host that the GPU reads and writes by itself, and when it has done so. */
struct cyc_cuda_stage {
	char *memory; /* CYC_CUDA_STAGE_BYTES; NULL before its first use */
	cudaEvent_t is_done;
	size_t n_used;
};

/** Bytes of a stage; tests have small ones, which are soon full. */
#ifndef CYC_CUDA_STAGE_BYTES
#define CYC_CUDA_STAGE_BYTES (8 << 20)
#endif

enum {
	CYC_CUDA_STAGES = 4,   /**< of copies to the GPU: the host fills one while others are under way */
	CYC_CUDA_RECEIVED = 2, /**< of copies from it */
	/** Of a job there are at most 8 sizes of windows and images each: 4 for each doubling. */
	CYC_CUDA_PLANS = 24
};

struct cyc_cuda_device {
	int number;
	char name[512], what[512];
	cudaStream_t stream;
	bool has_pool;
	cudaMemPool_t pool; /* memory that is given back stays with the process, in the order of the stream */
	cyc_cuda_stage stages[CYC_CUDA_STAGES], received[CYC_CUDA_RECEIVED];
	int stage;
	int64_t n_asked, n_received;
	cyc_cuda_plan plans[CYC_CUDA_PLANS];
	int next_plan;
	void *work; /* of transforms */
	size_t work_bytes;
};

/** The device for the calling thread of the host. */
cyc_device_result cyc__cuda_use(cyc_cuda_device *d);
/** What a call of CUDA returned; a failure becomes the text of what(). */
cyc_device_result cyc__cuda_result(cyc_cuda_device *d, cudaError_t error, const char *what);
cyc_device_result cyc__cuda_room(void *device, size_t *bytes);
cyc_device_result cyc__cuda_alloc(void *device, void **address, size_t bytes, int32_t is_scratch);
void cyc__cuda_free(void *device, void *address, size_t bytes);
/** Give back what the process keeps and does not use, after waiting for the device. */
void cyc__cuda_trim(cyc_cuda_device *d);
cyc_device_result cyc__cuda_fill(void *device, void *address, int32_t byte, size_t bytes);
cyc_device_result cyc__cuda_stage(void *device, void **host, size_t bytes);
cyc_device_result cyc__cuda_send(void *device, void *address, size_t bytes);
cyc_device_result cyc__cuda_receive(void *device, const void *address, size_t bytes);
cyc_device_result cyc__cuda_received(void *device, void **host);
cyc_device_result cyc__cuda_finish(void *device);
void cyc__cuda_drop_stages(cyc_cuda_device *d);
cyc_device_result cyc__cuda_launch(void *device, cyc_kernel_id kernel, const void *args, int64_t n_blocks);
cyc_device_result cyc__cuda_fft2(void *device, const cyc_fft2_call *call);
cyc_device_result cyc__cuda_fft3(void *device, const cyc_fft3_call *call);
void cyc__cuda_drop_plans(cyc_cuda_device *d);

#endif

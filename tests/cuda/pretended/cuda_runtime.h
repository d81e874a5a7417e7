/**
 * @file cuda_runtime.h
 * A pretended CUDA, for tests of the plug-in on machines without a GPU: what the plug-in needs of the CUDA
 * runtime, with its names, for a host's compiler. Kernels are loops over the lanes of a block.
 *
 * It is lazier than a GPU. What is queued on a stream is done when somebody waits for it, as late as CUDA
 * allows, or earlier by chance (PRETEND_SEED). A copy reads the host's memory when it is done, not when it is
 * asked for; memory of the device is closed to the host, poisoned when it is taken and gone when it is freed;
 * work areas and the inputs of inverse transforms are overwritten. So what uses memory too early, too late or
 * on the wrong side changes a result or ends the process. It aborts where a device is closed with memory not
 * freed, and refuses copies from memory that the driver does not know, as they would wait.
 *
 * Environment variables:
 *   PRETEND_DEVICES  number of GPUs (1)          PRETEND_DRIVER   version of the driver (13000); 0: none
 *   PRETEND_MAJOR    compute capability (9)      PRETEND_MEMORY   bytes of each GPU (2^34)
 *   PRETEND_POOLS    0: no memory pools          PRETEND_SEED     of what is done early; 0: nothing (default)
 *   PRETEND_OPEN     1: memory stays open to the host, for long jobs: closing it takes most of the time
 *   PRETEND_FAIL     WHAT:K: the K-th call of this kind in the process fails: launch, copy, fft (their work
 * fails, and all calls from then on, as after an error of the device), plan, host (memory); memory: from then
 * on the GPU has none, as if another process had taken it
 *   PRETEND_WRONG    K: the K-th launch of the process does nothing, and nobody says so
 */
#ifndef CYC_PRETENDED_CUDA_RUNTIME_H
#define CYC_PRETENDED_CUDA_RUNTIME_H

#include <cstddef>
#include <cstdint>
#include <functional>

#define CUDART_VERSION 13000

/** Numbers and meanings of CUDA. */
typedef enum {
	cudaSuccess = 0,
	cudaErrorInvalidValue = 1,
	cudaErrorMemoryAllocation = 2,
	cudaErrorInitializationError = 3,
	cudaErrorInsufficientDriver = 35,
	cudaErrorNoDevice = 100,
	cudaErrorInvalidDevice = 101,
	cudaErrorInvalidResourceHandle = 400,
	cudaErrorLaunchFailure = 719
} cudaError_t;
typedef struct pretended_stream *cudaStream_t;
typedef struct pretended_event *cudaEvent_t;
typedef struct pretended_pool *cudaMemPool_t;
typedef enum { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 } cudaMemcpyKind;
typedef enum { cudaDevAttrMemoryPoolsSupported = 115 } cudaDeviceAttr;
typedef enum { cudaMemPoolAttrReleaseThreshold = 4 } cudaMemPoolAttr;
typedef struct {
	char name[256];
	int major, minor;
} cudaDeviceProp;
struct dim3 {
	unsigned x;
	explicit dim3(unsigned n) : x(n) {}
};
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };

cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetLastError(void);
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaMemGetInfo(size_t *n_free, size_t *n_all);
cudaError_t cudaMalloc(void **address, size_t bytes);
cudaError_t cudaFree(void *address);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);
cudaError_t cudaMallocFromPoolAsync(void **address, size_t bytes, cudaMemPool_t pool, cudaStream_t stream);
cudaError_t cudaFreeAsync(void *address, cudaStream_t stream);
cudaError_t cudaMallocHost(void **address, size_t bytes);
cudaError_t cudaFreeHost(void *address);
cudaError_t cudaMemsetAsync(void *address, int byte, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);

/* ---------------------------------------------------------------- kernels */

#define __global__
#define __launch_bounds__(lanes)
#define __shared__ static thread_local

/** The block that runs, with its lanes in their order: a cyc_block of kernels/dialect.h. */
extern __thread int64_t pretended_block;
extern __thread const int16_t *pretended_order;
extern __thread int32_t pretended_lanes;
#define CYC_THIS_BLOCK                                                                                       \
	{                                                                                                        \
		pretended_block, pretended_order, pretended_lanes                                                    \
	}
cudaError_t pretended_launch(const std::function<void()> &body, unsigned n_blocks, unsigned n_lanes,
                             cudaStream_t stream);
/** Arguments are copied when the kernel is asked for, as CUDA does. */
template <class A>
cudaError_t cudaLaunchKernel(void (*kernel)(A), dim3 n_blocks, dim3 n_lanes, void **args, size_t,
                             cudaStream_t stream)
{
	A a = *static_cast<A *>(args[0]);
	return pretended_launch([kernel, a] { kernel(a); }, n_blocks.x, n_lanes.x, stream);
}

/* ---------------------------------------------------------------- for the pretended cuFFT */

/** Queue work that touches memory of the device; `kind` as in PRETEND_FAIL. */
cudaError_t pretended_queue(const char *kind, const std::function<void()> &work, cudaStream_t stream);
/** Whether the K-th call of this kind was to fail, and this is it. */
bool pretended_failure(const char *kind);
/** Whether all these bytes are memory of a device that is not freed. */
bool pretended_is_live(const void *address, size_t bytes);

#endif

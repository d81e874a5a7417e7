/* The kernels, compiled for the GPU with -fmad=false: their arithmetic is that of the host. */
#include "backends/cuda/cuda_device.h"
#include "backends/kernels/kernels.h"

/* Which block a lane is in; the pretended CUDA of the tests says more. */
#ifndef CYC_THIS_BLOCK
#define CYC_THIS_BLOCK                                                                                       \
	{                                                                                                        \
		(int64_t) blockIdx.x                                                                                 \
	}
#endif

#define CYC_CUDA_KERNEL(name, lanes)                                                                         \
	static __global__ void __launch_bounds__(lanes) global_##name(const cyc_##name##_args a)                 \
	{                                                                                                        \
		__shared__ cyc_##name##_shared shared;                                                               \
		cyc_block block = CYC_THIS_BLOCK;                                                                    \
		cyc_##name##_kernel(&a, block, &shared);                                                             \
	}                                                                                                        \
	static cudaError_t launch_##name(const void *args, unsigned n_blocks, cudaStream_t stream)               \
	{                                                                                                        \
		cyc_##name##_args a = *(const cyc_##name##_args *)args;                                              \
		void *list[] = { &a };                                                                               \
		return cudaLaunchKernel(global_##name, dim3(n_blocks), dim3(lanes), list, 0, stream);                \
	}
CYC_KERNEL_LIST(CYC_CUDA_KERNEL)

typedef cudaError_t (*launcher)(const void *args, unsigned n_blocks, cudaStream_t stream);
static launcher launcher_of(cyc_kernel_id kernel)
{
	switch (kernel) {
#define CYC_CUDA_CASE(name, lanes)                                                                           \
	case CYC_KERNEL_##name: return launch_##name;
		CYC_KERNEL_LIST(CYC_CUDA_CASE)
	default: return nullptr;
	}
}

cyc_device_result cyc__cuda_launch(void *device, cyc_kernel_id kernel, const void *args, int64_t n_blocks)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	launcher f = launcher_of(kernel);
	if (n_blocks == 0) return CYC_DEVICE_OK;
	if (!f || n_blocks < 0 || n_blocks > INT32_MAX) {
		snprintf(d->what, sizeof d->what, "kernel %d with %lld blocks", (int)kernel, (long long)n_blocks);
		return CYC_DEVICE_FAILED;
	}
	cyc_device_result r = cyc__cuda_use(d);
	if (r != CYC_DEVICE_OK) return r;
	return cyc__cuda_result(d, f(args, (unsigned)n_blocks, d->stream), "the launch of a kernel");
}

/*
 * The plug-in libcyclotomo_cuda.so: kernels compiled for the GPU, memory, copies, transforms by cuFFT. Built
 * with -fmad=false, so that its arithmetic is that of the host. All work of a device is on one stream; a copy
 * to the host waits for it, and there the errors of kernels appear.
 */
#include "backends/device/device_api.h"
#include "backends/kernels/kernels.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <cuda_runtime.h>
#include <cufft.h>

/* ---------------------------------------------------------------- kernels */

#define CYC_CUDA_KERNEL(name, lanes)                                                                         \
	static __global__ void __launch_bounds__(lanes) global_##name(const cyc_##name##_args a)                 \
	{                                                                                                        \
		__shared__ cyc_##name##_shared shared;                                                               \
		cyc_block block;                                                                                     \
		block.index = (int64_t)blockIdx.x;                                                                   \
		cyc_##name##_kernel(&a, block, &shared);                                                             \
	}                                                                                                        \
	static void launch_##name(const void *args, unsigned n_blocks)                                           \
	{                                                                                                        \
		global_##name<<<n_blocks, lanes>>>(*(const cyc_##name##_args *)args);                                \
	}
CYC_KERNEL_LIST(CYC_CUDA_KERNEL)

typedef void (*launcher)(const void *args, unsigned n_blocks);
static launcher launcher_of(cyc_kernel_id kernel)
{
	switch (kernel) {
#define CYC_CUDA_CASE(name, lanes)                                                                           \
	case CYC_KERNEL_##name: return launch_##name;
		CYC_KERNEL_LIST(CYC_CUDA_CASE)
	default: return nullptr;
	}
}

/* ---------------------------------------------------------------- the device */

/* Plans of transforms: making one takes milliseconds. The last batch of a tilt is a smaller one. */
struct plan {
	bool is_made;
	cufftHandle handle;
	cufftType type;
	int32_t s, n, rank;
	int64_t real_distance, ft_distance;
};
enum { N_PLANS = 8 };

struct device {
	int number;
	char name[512], what[512];
	plan plans[N_PLANS];
	int next_plan;
};

static cyc_device_result result_of(device *d, cudaError_t error, const char *what)
{
	if (error == cudaSuccess) return CYC_DEVICE_OK;
	(void)cudaGetLastError(); /* clears an error that does not last */
	snprintf(d->what, sizeof d->what, "GPU %d: %s: %s", d->number, what, cudaGetErrorString(error));
	return error == cudaErrorMemoryAllocation ? CYC_DEVICE_NO_MEMORY : CYC_DEVICE_FAILED;
}

static const char *fft_error(cufftResult r)
{
	switch (r) {
	case CUFFT_ALLOC_FAILED: return "not enough device memory";
	case CUFFT_INVALID_SIZE: return "a size that cuFFT does not support";
	case CUFFT_SETUP_FAILED: return "cuFFT could not be initialised";
	case CUFFT_EXEC_FAILED: return "cuFFT could not run";
	default: return "cuFFT failed";
	}
}

/* The current device is one per thread of the host. */
static cyc_device_result use(device *d) { return result_of(d, cudaSetDevice(d->number), "selecting it"); }

static cyc_device_result fft_result_of(device *d, cufftResult r, int32_t s)
{
	if (r == CUFFT_SUCCESS) return CYC_DEVICE_OK;
	snprintf(d->what, sizeof d->what, "GPU %d: transforms of %d px: %s (%d)", d->number, s, fft_error(r),
	         (int)r);
	return r == CUFFT_ALLOC_FAILED ? CYC_DEVICE_NO_MEMORY : CYC_DEVICE_FAILED;
}

/* Compute capability 8.0 and later: what the kernels are compiled for. */
enum { LEAST_MAJOR = 8 };

static cyc_device_result describe(device *d, char *why, size_t n_why)
{
	cudaDeviceProp p;
	size_t n_free = 0, n_all = 0;
	cudaError_t e = cudaGetDeviceProperties(&p, d->number);
	if (e == cudaSuccess && p.major < LEAST_MAJOR) {
		snprintf(why, n_why, "GPU %d, %s, has compute capability %d.%d; %d.0 is the least", d->number, p.name,
		         p.major, p.minor, (int)LEAST_MAJOR);
		return CYC_DEVICE_UNUSABLE;
	}
	if (e == cudaSuccess) e = cudaSetDevice(d->number);
	if (e == cudaSuccess) e = cudaMemGetInfo(&n_free, &n_all);
	if (e != cudaSuccess) {
		snprintf(why, n_why, "GPU %d cannot be used: %s", d->number, cudaGetErrorString(e));
		return CYC_DEVICE_UNUSABLE;
	}
	snprintf(d->name, sizeof d->name, "GPU %d, %s, %.1f of %.1f GB free", d->number, p.name,
	         (double)n_free / 1e9, (double)n_all / 1e9);
	return CYC_DEVICE_OK;
}

static cyc_device_result open_(void **out, const char *options, int32_t, char *why, size_t n_why)
{
	int n_devices = 0, driver = 0;
	char *end = nullptr;
	/* The devices of a machine in turn: its processes may be more. */
	bool is_next = strncmp(options, "next:", 5) == 0;
	long number = strtol(is_next ? options + 5 : options, &end, 10);
	if (options[0] && (*end || number < 0 || end == options)) {
		snprintf(why, n_why, "the number of the GPU in 'cuda:%s' must be a whole number", options);
		return CYC_DEVICE_USAGE;
	}
	cudaError_t e = cudaGetDeviceCount(&n_devices);
	(void)cudaDriverGetVersion(&driver);
	if (driver == 0) {
		snprintf(why, n_why, "no NVIDIA GPU can be used: there is no driver on this machine");
		return CYC_DEVICE_UNUSABLE;
	}
	if (e != cudaSuccess || n_devices == 0) {
		snprintf(why, n_why,
		         "no NVIDIA GPU can be used: %s; the driver is for CUDA %d.%d, this was built for %d.%d",
		         e == cudaSuccess ? "none is there" : cudaGetErrorString(e), driver / 1000,
		         driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
		return CYC_DEVICE_UNUSABLE;
	}
	if (is_next) number %= n_devices;
	if (number >= n_devices) {
		snprintf(why, n_why, "there is no GPU %ld: this machine shows %d, numbered from 0", number,
		         n_devices);
		return CYC_DEVICE_UNUSABLE;
	}
	device *d = (device *)calloc(1, sizeof *d);
	if (!d) {
		snprintf(why, n_why, "not enough memory");
		return CYC_DEVICE_NO_HOST_MEMORY;
	}
	d->number = (int)number;
	cyc_device_result r = describe(d, why, n_why);
	if (r == CYC_DEVICE_OK) *out = d;
	else free(d);
	return r;
}

static void close_(void *self)
{
	device *d = (device *)self;
	if (!d) return;
	(void)cudaSetDevice(d->number);
	for (int i = 0; i < N_PLANS; i++)
		if (d->plans[i].is_made) (void)cufftDestroy(d->plans[i].handle);
	free(d);
}

static const char *name_(void *self) { return ((device *)self)->name; }
static const char *what_(void *self) { return ((device *)self)->what; }

/* ---------------------------------------------------------------- memory */

static cyc_device_result alloc(void *self, void **address, size_t bytes, int32_t)
{
	device *d = (device *)self;
	size_t n_free = 0, n_all = 0;
	cudaError_t e = cudaSetDevice(d->number);
	if (e == cudaSuccess) e = cudaMalloc(address, bytes);
	if (e != cudaErrorMemoryAllocation) return result_of(d, e, "memory");
	(void)cudaGetLastError();
	(void)cudaMemGetInfo(&n_free, &n_all);
	snprintf(d->what, sizeof d->what, "GPU %d has no room for %.1f MB more: %.1f of %.1f MB are free",
	         d->number, (double)bytes / 1e6, (double)n_free / 1e6, (double)n_all / 1e6);
	return CYC_DEVICE_NO_MEMORY;
}

static void free_(void *self, void *address, size_t)
{
	(void)cudaSetDevice(((device *)self)->number);
	(void)cudaFree(address);
}

static cyc_device_result fill(void *self, void *address, int32_t byte, size_t bytes)
{
	device *d = (device *)self;
	cyc_device_result r = use(d);
	return r != CYC_DEVICE_OK ? r : result_of(d, cudaMemset(address, byte, bytes), "memory");
}

static cyc_device_result upload(void *self, void *address, const void *host, size_t bytes)
{
	device *d = (device *)self;
	cyc_device_result r = use(d);
	return r != CYC_DEVICE_OK
	           ? r
	           : result_of(d, cudaMemcpy(address, host, bytes, cudaMemcpyHostToDevice), "copy");
}

static cyc_device_result download(void *self, void *host, const void *address, size_t bytes)
{
	device *d = (device *)self;
	cyc_device_result r = use(d);
	if (r != CYC_DEVICE_OK) return r;
	return result_of(d, cudaMemcpy(host, address, bytes, cudaMemcpyDeviceToHost),
	                 "copy from the GPU, or a kernel before it");
}

static cyc_device_result launch(void *self, cyc_kernel_id kernel, const void *args, int64_t n_blocks)
{
	device *d = (device *)self;
	launcher f = launcher_of(kernel);
	if (n_blocks == 0) return CYC_DEVICE_OK;
	if (!f || n_blocks < 0 || n_blocks > INT32_MAX) {
		snprintf(d->what, sizeof d->what, "kernel %d with %lld blocks", (int)kernel, (long long)n_blocks);
		return CYC_DEVICE_FAILED;
	}
	cyc_device_result r = use(d);
	if (r != CYC_DEVICE_OK) return r;
	f(args, (unsigned)n_blocks);
	return result_of(d, cudaGetLastError(), "launch");
}

/* ---------------------------------------------------------------- transforms */

static bool is_same(const plan *p, const plan *q)
{
	return p->is_made && p->type == q->type && p->s == q->s && p->n == q->n && p->rank == q->rank &&
	       p->real_distance == q->real_distance && p->ft_distance == q->ft_distance;
}

static cufftResult make(plan *p)
{
	int size[3] = { p->s, p->s, p->s };
	bool is_forward = p->type == CUFFT_R2C;
	int real_embed[3] = { p->s, p->s, p->s }, ft_embed[3] = { p->s, p->s, p->s / 2 + 1 };
	int *real_last = real_embed + 3 - p->rank, *ft_last = ft_embed + 3 - p->rank;
	size_t n_bytes = 0;
	cufftResult r = cufftCreate(&p->handle);
	if (r != CUFFT_SUCCESS) return r;
	p->is_made = true;
	return cufftMakePlanMany(p->handle, p->rank, size, is_forward ? real_last : ft_last, 1,
	                         (int)(is_forward ? p->real_distance : p->ft_distance),
	                         is_forward ? ft_last : real_last, 1,
	                         (int)(is_forward ? p->ft_distance : p->real_distance), p->type, p->n, &n_bytes);
}

/* The plan like `wanted`, in place of the oldest one if it has to be made. */
static cufftResult find(cufftHandle *out, device *d, const plan *wanted)
{
	for (int i = 0; i < N_PLANS; i++)
		if (is_same(&d->plans[i], wanted)) {
			*out = d->plans[i].handle;
			return CUFFT_SUCCESS;
		}
	plan *p = &d->plans[d->next_plan];
	d->next_plan = (d->next_plan + 1) % N_PLANS;
	if (p->is_made) (void)cufftDestroy(p->handle);
	*p = *wanted;
	cufftResult r = make(p);
	if (r != CUFFT_SUCCESS && p->is_made) {
		(void)cufftDestroy(p->handle);
		p->is_made = false;
	}
	*out = p->handle;
	return r;
}

static cufftResult transform(device *d, const plan *wanted, float *real, cyc_pair *ft)
{
	cufftHandle handle;
	cufftResult r = find(&handle, d, wanted);
	if (r != CUFFT_SUCCESS) return r;
	return wanted->type == CUFFT_R2C ? cufftExecR2C(handle, real, (cufftComplex *)ft)
	                                 : cufftExecC2R(handle, (cufftComplex *)ft, real);
}

static plan wanted_plan(bool is_forward, int32_t s, int32_t n, int32_t rank, int64_t real_distance,
                        int64_t ft_distance)
{
	plan p;
	memset(&p, 0, sizeof p);
	p.type = is_forward ? CUFFT_R2C : CUFFT_C2R;
	p.s = s;
	p.n = n;
	p.rank = rank;
	p.real_distance = real_distance;
	p.ft_distance = ft_distance;
	return p;
}

static cyc_device_result fft2(void *self, const cyc_fft2_call *c)
{
	device *d = (device *)self;
	plan p = wanted_plan(c->is_forward, c->s, c->n, 2, c->real_distance, c->ft_distance);
	cyc_device_result r = use(d);
	return r != CYC_DEVICE_OK ? r : fft_result_of(d, transform(d, &p, c->real, c->ft), c->s);
}

static cyc_device_result fft3(void *self, const cyc_fft3_call *c)
{
	device *d = (device *)self;
	int64_t s = c->s, n_real = s * s * s;
	plan p = wanted_plan(c->is_forward, c->s, 1, 3, 1, 1); /* distances of a batch of one */
	cyc_device_result r = use(d);
	if (r == CYC_DEVICE_OK) r = fft_result_of(d, transform(d, &p, c->real, c->ft), c->s);
	if (r != CYC_DEVICE_OK || c->is_forward) return r;
	cyc_scale_args a = { c->real, (float)(1.0 / ((double)s * (double)s * (double)s)), n_real };
	return launch(self, CYC_KERNEL_scale, &a, cyc_n_blocks(n_real, CYC_SCALE_LANES));
}

/* ---------------------------------------------------------------- entry */

extern "C" __attribute__((visibility("default"))) const cyc_device_api *cyc_device_plugin_1(int32_t abi)
{
	static cyc_device_api api;
	if (abi != CYC_DEVICE_ABI) return nullptr;
	memset(&api, 0, sizeof api);
	api.abi = CYC_DEVICE_ABI;
	api.version = CYC_PLUGIN_VERSION;
#define CYC_CUDA_BYTES(name, lanes) api.kernel_bytes[CYC_KERNEL_##name] = (int32_t)sizeof(cyc_##name##_args);
	CYC_KERNEL_LIST(CYC_CUDA_BYTES)
	api.open = open_;
	api.close = close_;
	api.name = name_;
	api.what = what_;
	api.alloc = alloc;
	api.free = free_;
	api.fill = fill;
	api.upload = upload;
	api.download = download;
	api.launch = launch;
	api.fft2 = fft2;
	api.fft3 = fft3;
	return &api;
}

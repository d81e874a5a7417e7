/* The plug-in libcyclotomo_cuda.so: which GPU is used, or why none can be. */
#include "backends/cuda/cuda_device.h"

cyc_device_result cyc__cuda_result(cyc_cuda_device *d, cudaError_t error, const char *what)
{
	if (error == cudaSuccess) return CYC_DEVICE_OK;
	(void)cudaGetLastError(); /* clears an error that does not last */
	snprintf(d->what, sizeof d->what, "GPU %d: %s (at %s, or in what was queued before)", d->number,
	         cudaGetErrorString(error), what);
	return error == cudaErrorMemoryAllocation ? CYC_DEVICE_NO_MEMORY : CYC_DEVICE_FAILED;
}

/* The current device is one per thread of the host. */
cyc_device_result cyc__cuda_use(cyc_cuda_device *d)
{
	return cyc__cuda_result(d, cudaSetDevice(d->number), "its selection");
}

/* Compute capability 8.0 and later: what the kernels are compiled for. */
enum { LEAST_MAJOR = 8 };

static cyc_device_result describe(cyc_cuda_device *d, char *why, size_t n_why)
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

/* Shared virtual GPUs have no pools: memory is then asked of the driver each time. */
static cudaError_t find_pool(cyc_cuda_device *d)
{
	int has_pool = 0;
	uint64_t keep = UINT64_MAX;
	cudaError_t e = cudaDeviceGetAttribute(&has_pool, cudaDevAttrMemoryPoolsSupported, d->number);
	if (e != cudaSuccess || !has_pool) return e;
	e = cudaDeviceGetDefaultMemPool(&d->pool, d->number);
	if (e == cudaSuccess) e = cudaMemPoolSetAttribute(d->pool, cudaMemPoolAttrReleaseThreshold, &keep);
	d->has_pool = e == cudaSuccess;
	return e;
}

static cyc_device_result start(cyc_cuda_device *d, char *why, size_t n_why)
{
	cyc_device_result r = describe(d, why, n_why);
	if (r != CYC_DEVICE_OK) return r;
	cudaError_t e = cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
	if (e == cudaSuccess) e = find_pool(d);
	if (e == cudaSuccess) return CYC_DEVICE_OK;
	snprintf(why, n_why, "GPU %d cannot be used: %s", d->number, cudaGetErrorString(e));
	return CYC_DEVICE_UNUSABLE;
}

static void close_(void *self)
{
	cyc_cuda_device *d = (cyc_cuda_device *)self;
	if (!d) return;
	(void)cudaSetDevice(d->number);
	if (d->stream) (void)cudaStreamSynchronize(d->stream);
	cyc__cuda_drop_plans(d);
	cyc__cuda_drop_stages(d);
	if (d->stream) (void)cudaStreamDestroy(d->stream);
	free(d);
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
	cyc_cuda_device *d = (cyc_cuda_device *)calloc(1, sizeof *d);
	if (!d) {
		snprintf(why, n_why, "not enough memory");
		return CYC_DEVICE_NO_HOST_MEMORY;
	}
	d->number = (int)number;
	cyc_device_result r = start(d, why, n_why);
	if (r == CYC_DEVICE_OK) *out = d;
	else close_(d);
	return r;
}

static const char *name_(void *self) { return ((cyc_cuda_device *)self)->name; }
static const char *what_(void *self) { return ((cyc_cuda_device *)self)->what; }

extern "C" __attribute__((visibility("default"))) const cyc_device_api *cyc_device_plugin_3(int32_t abi)
{
	static cyc_device_api api;
	if (abi != CYC_DEVICE_ABI) return nullptr;
	memset(&api, 0, sizeof api);
	api.abi = CYC_DEVICE_ABI;
	api.version = CYC_PLUGIN_VERSION;
#define CYC_CUDA_BYTES(name, lanes) api.kernel_bytes[CYC_KERNEL_##name] = (int32_t)sizeof(cyc_##name##_args);
	CYC_KERNEL_LIST(CYC_CUDA_BYTES)
	api.piece_bytes = CYC_CUDA_STAGE_BYTES;
	api.open = open_;
	api.close = close_;
	api.name = name_;
	api.what = what_;
	api.room = cyc__cuda_room;
	api.alloc = cyc__cuda_alloc;
	api.free = cyc__cuda_free;
	api.fill = cyc__cuda_fill;
	api.stage = cyc__cuda_stage;
	api.send = cyc__cuda_send;
	api.receive = cyc__cuda_receive;
	api.received = cyc__cuda_received;
	api.finish = cyc__cuda_finish;
	api.launch = cyc__cuda_launch;
	api.fft2 = cyc__cuda_fft2;
	api.fft3 = cyc__cuda_fft3;
	return &api;
}

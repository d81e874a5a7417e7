/*
 * Memory of the GPU and copies. Both are in the order of the stream: nothing waits but received() and
 * finish(), and a stage() that all others are ahead of.
 */
#include "backends/cuda/cuda_device.h"

static cyc_device_result no_room(cyc_cuda_device *d, size_t bytes)
{
	size_t n_free = 0, n_all = 0;
	(void)cudaMemGetInfo(&n_free, &n_all);
	snprintf(d->what, sizeof d->what, "GPU %d has no room for %.1f MB more: %.1f of %.1f MB are free",
	         d->number, (double)bytes / 1e6, (double)n_free / 1e6, (double)n_all / 1e6);
	return CYC_DEVICE_NO_MEMORY;
}

cyc_device_result cyc__cuda_room(void *device, size_t *bytes)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	size_t n_all = 0;
	cyc_device_result r = cyc__cuda_use(d);
	return r == CYC_DEVICE_OK ? cyc__cuda_result(d, cudaMemGetInfo(bytes, &n_all), "a look at its memory")
	                          : r;
}

static cudaError_t take(cyc_cuda_device *d, void **address, size_t bytes)
{
	cudaError_t e = d->has_pool ? cudaMallocFromPoolAsync(address, bytes, d->pool, d->stream)
	                            : cudaMalloc(address, bytes);
	if (e == cudaErrorMemoryAllocation) (void)cudaGetLastError(); /* it does not last */
	return e;
}

void cyc__cuda_trim(cyc_cuda_device *d)
{
	if (!d->has_pool) return;
	(void)cudaStreamSynchronize(d->stream);
	(void)cudaMemPoolTrimTo(d->pool, 0);
}

cyc_device_result cyc__cuda_alloc(void *device, void **address, size_t bytes, int32_t)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	cyc_device_result r = cyc__cuda_use(d);
	if (r != CYC_DEVICE_OK) return r;
	cudaError_t e = take(d, address, bytes);
	if (e == cudaErrorMemoryAllocation) { /* what is kept may be in pieces of other sizes */
		cyc__cuda_trim(d);
		e = take(d, address, bytes);
	}
	return e == cudaErrorMemoryAllocation ? no_room(d, bytes)
	                                      : cyc__cuda_result(d, e, "a request for memory");
}

void cyc__cuda_free(void *device, void *address, size_t)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	(void)cudaSetDevice(d->number);
	(void)(d->has_pool ? cudaFreeAsync(address, d->stream) : cudaFree(address));
}

cyc_device_result cyc__cuda_fill(void *device, void *address, int32_t byte, size_t bytes)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	cyc_device_result r = cyc__cuda_use(d);
	if (r != CYC_DEVICE_OK) return r;
	return cyc__cuda_result(d, cudaMemsetAsync(address, byte, bytes, d->stream), "a fill");
}

/* ---------------------------------------------------------------- copies */

static cyc_device_result open_stage(cyc_cuda_device *d, cyc_cuda_stage *s)
{
	if (s->memory) return CYC_DEVICE_OK;
	cudaError_t e = cudaMallocHost((void **)&s->memory, CYC_CUDA_STAGE_BYTES);
	if (e == cudaSuccess) e = cudaEventCreateWithFlags(&s->is_done, cudaEventDisableTiming);
	if (e == cudaSuccess) return CYC_DEVICE_OK;
	(void)cudaGetLastError();
	if (s->memory) (void)cudaFreeHost(s->memory);
	s->memory = nullptr;
	snprintf(d->what, sizeof d->what, "GPU %d: no memory of the host for copies, %d MB: %s", d->number,
	         (int)(CYC_CUDA_STAGE_BYTES >> 20), cudaGetErrorString(e));
	return e == cudaErrorMemoryAllocation ? CYC_DEVICE_NO_HOST_MEMORY : CYC_DEVICE_FAILED;
}

static void close_stage(cyc_cuda_stage *s)
{
	if (!s->memory) return;
	(void)cudaEventDestroy(s->is_done);
	(void)cudaFreeHost(s->memory);
	s->memory = nullptr;
}

void cyc__cuda_drop_stages(cyc_cuda_device *d)
{
	for (cyc_cuda_stage &s : d->stages) close_stage(&s);
	for (cyc_cuda_stage &s : d->received) close_stage(&s);
}

/* Small copies lie in a stage one after the other; a whole one is used again when all its copies are done. */
cyc_device_result cyc__cuda_stage(void *device, void **host, size_t bytes)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	cyc_cuda_stage *s = &d->stages[d->stage];
	cyc_device_result r = cyc__cuda_use(d);
	if (r == CYC_DEVICE_OK && s->n_used + bytes > CYC_CUDA_STAGE_BYTES) {
		d->stage = (d->stage + 1) % CYC_CUDA_STAGES;
		s = &d->stages[d->stage];
		if (s->n_used > 0) r = cyc__cuda_result(d, cudaEventSynchronize(s->is_done), "copies to it");
		s->n_used = 0;
	}
	if (r == CYC_DEVICE_OK) r = open_stage(d, s);
	if (r == CYC_DEVICE_OK) *host = s->memory + s->n_used;
	return r;
}

cyc_device_result cyc__cuda_send(void *device, void *address, size_t bytes)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	cyc_cuda_stage *s = &d->stages[d->stage];
	cyc_device_result r = cyc__cuda_use(d);
	if (r != CYC_DEVICE_OK) return r;
	cudaError_t e = cudaMemcpyAsync(address, s->memory + s->n_used, bytes, cudaMemcpyHostToDevice, d->stream);
	if (e == cudaSuccess) e = cudaEventRecord(s->is_done, d->stream);
	s->n_used += (bytes + 255) / 256 * 256;
	if (s->n_used > CYC_CUDA_STAGE_BYTES) s->n_used = CYC_CUDA_STAGE_BYTES;
	return cyc__cuda_result(d, e, "a copy to it");
}

cyc_device_result cyc__cuda_receive(void *device, const void *address, size_t bytes)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	cyc_cuda_stage *s = &d->received[d->n_asked % CYC_CUDA_RECEIVED];
	if (d->n_asked - d->n_received >= CYC_CUDA_RECEIVED) {
		snprintf(d->what, sizeof d->what, "GPU %d: a copy too many is under way", d->number);
		return CYC_DEVICE_FAILED;
	}
	cyc_device_result r = cyc__cuda_use(d);
	if (r == CYC_DEVICE_OK) r = open_stage(d, s);
	if (r != CYC_DEVICE_OK) return r;
	cudaError_t e = cudaMemcpyAsync(s->memory, address, bytes, cudaMemcpyDeviceToHost, d->stream);
	if (e == cudaSuccess) e = cudaEventRecord(s->is_done, d->stream);
	if (e == cudaSuccess) d->n_asked++;
	return cyc__cuda_result(d, e, "a copy from it");
}

cyc_device_result cyc__cuda_received(void *device, void **host)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	cyc_cuda_stage *s = &d->received[d->n_received % CYC_CUDA_RECEIVED];
	cyc_device_result r = cyc__cuda_use(d);
	if (r != CYC_DEVICE_OK) return r;
	d->n_received++;
	*host = s->memory;
	return cyc__cuda_result(d, cudaEventSynchronize(s->is_done), "the end of a copy");
}

cyc_device_result cyc__cuda_finish(void *device)
{
	cyc_cuda_device *d = (cyc_cuda_device *)device;
	cyc_device_result r = cyc__cuda_use(d);
	if (r != CYC_DEVICE_OK) return r;
	return cyc__cuda_result(d, cudaStreamSynchronize(d->stream), "the end of an operation");
}

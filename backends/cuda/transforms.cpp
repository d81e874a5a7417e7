/*
 * Fourier transforms by cuFFT. Making a plan takes milliseconds, so plans are kept. They share one work area,
 * since one transform runs at a time.
 */
#include "backends/cuda/cuda_device.h"

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

static cyc_device_result fft_result(cyc_cuda_device *d, cufftResult r, int32_t s)
{
	if (r == CUFFT_SUCCESS) return CYC_DEVICE_OK;
	(void)cudaGetLastError();
	snprintf(d->what, sizeof d->what, "GPU %d: transforms of %d px: %s (%d)", d->number, s, fft_error(r),
	         (int)r);
	return r == CUFFT_ALLOC_FAILED ? CYC_DEVICE_NO_MEMORY : CYC_DEVICE_FAILED;
}

static bool is_same(const cyc_cuda_plan *p, const cyc_cuda_plan *q)
{
	return p->is_made && p->type == q->type && p->s == q->s && p->n == q->n && p->rank == q->rank &&
	       p->real_distance == q->real_distance && p->ft_distance == q->ft_distance;
}

static void drop(cyc_cuda_plan *p)
{
	if (p->is_made) (void)cufftDestroy(p->handle);
	p->is_made = false;
}

void cyc__cuda_drop_plans(cyc_cuda_device *d)
{
	for (cyc_cuda_plan &p : d->plans) drop(&p);
	if (d->work) cyc__cuda_free(d, d->work, d->work_bytes);
	d->work = nullptr;
	d->work_bytes = 0;
}

static cufftResult make(cyc_cuda_plan *p, cudaStream_t stream)
{
	int size[3] = { p->s, p->s, p->s };
	bool is_forward = p->type == CUFFT_R2C;
	int real_embed[3] = { p->s, p->s, p->s }, ft_embed[3] = { p->s, p->s, p->s / 2 + 1 };
	int *real_last = real_embed + 3 - p->rank, *ft_last = ft_embed + 3 - p->rank;
	cufftResult r = cufftCreate(&p->handle);
	if (r != CUFFT_SUCCESS) return r;
	p->is_made = true;
	r = cufftSetAutoAllocation(p->handle, 0);
	if (r == CUFFT_SUCCESS)
		r = cufftMakePlanMany(
			p->handle, p->rank, size, is_forward ? real_last : ft_last, 1,
			(int)(is_forward ? p->real_distance : p->ft_distance), is_forward ? ft_last : real_last, 1,
			(int)(is_forward ? p->ft_distance : p->real_distance), p->type, p->n, &p->work_bytes);
	return r == CUFFT_SUCCESS ? cufftSetStream(p->handle, stream) : r;
}

/* The plan like `wanted`, in place of the oldest one if it has to be made. */
static cufftResult find(cyc_cuda_plan **out, cyc_cuda_device *d, const cyc_cuda_plan *wanted)
{
	for (cyc_cuda_plan &p : d->plans)
		if (is_same(&p, wanted)) {
			*out = &p;
			return CUFFT_SUCCESS;
		}
	cyc_cuda_plan *p = &d->plans[d->next_plan];
	d->next_plan = (d->next_plan + 1) % CYC_CUDA_PLANS;
	if (p->is_made) (void)cudaStreamSynchronize(d->stream); /* it may still be at work */
	drop(p);
	*p = *wanted;
	cufftResult r = make(p, d->stream);
	if (r == CUFFT_ALLOC_FAILED) { /* cuFFT's own tables: what the process keeps may be in their way */
		drop(p);
		cyc__cuda_trim(d);
		r = make(p, d->stream);
	}
	if (r != CUFFT_SUCCESS) drop(p);
	*out = p;
	return r;
}

static cyc_device_result provide_work(cyc_cuda_device *d, size_t bytes)
{
	if (bytes <= d->work_bytes) return CYC_DEVICE_OK;
	if (d->work) cyc__cuda_free(d, d->work, d->work_bytes);
	d->work = nullptr;
	d->work_bytes = 0;
	cyc_device_result r = cyc__cuda_alloc(d, &d->work, bytes, true);
	if (r == CYC_DEVICE_OK) d->work_bytes = bytes;
	return r;
}

static cyc_device_result transform(cyc_cuda_device *d, const cyc_cuda_plan *wanted, float *real, cyc_pair *ft)
{
	cyc_cuda_plan *p;
	cyc_device_result result = cyc__cuda_use(d);
	if (result != CYC_DEVICE_OK) return result;
	cufftResult r = find(&p, d, wanted);
	if (r != CUFFT_SUCCESS) return fft_result(d, r, wanted->s);
	result = provide_work(d, p->work_bytes);
	if (result != CYC_DEVICE_OK) return result;
	if (p->work_bytes > 0) r = cufftSetWorkArea(p->handle, d->work);
	if (r == CUFFT_SUCCESS)
		r = wanted->type == CUFFT_R2C ? cufftExecR2C(p->handle, real, (cufftComplex *)ft)
		                              : cufftExecC2R(p->handle, (cufftComplex *)ft, real);
	return fft_result(d, r, wanted->s);
}

static cyc_cuda_plan wanted_plan(bool is_forward, int32_t s, int32_t n, int32_t rank, int64_t real_distance,
                                 int64_t ft_distance)
{
	cyc_cuda_plan p;
	memset(&p, 0, sizeof p);
	p.type = is_forward ? CUFFT_R2C : CUFFT_C2R;
	p.s = s;
	p.n = n;
	p.rank = rank;
	p.real_distance = real_distance;
	p.ft_distance = ft_distance;
	return p;
}

cyc_device_result cyc__cuda_fft2(void *device, const cyc_fft2_call *c)
{
	cyc_cuda_plan p = wanted_plan(c->is_forward, c->s, c->n, 2, c->real_distance, c->ft_distance);
	return transform((cyc_cuda_device *)device, &p, c->real, c->ft);
}

cyc_device_result cyc__cuda_fft3(void *device, const cyc_fft3_call *c)
{
	int64_t s = c->s, n_real = s * s * s;
	cyc_cuda_plan p = wanted_plan(c->is_forward, c->s, 1, 3, 1, 1); /* distances of a batch of one */
	cyc_device_result r = transform((cyc_cuda_device *)device, &p, c->real, c->ft);
	if (r != CYC_DEVICE_OK || c->is_forward) return r;
	cyc_scale_args a = { c->real, (float)(1.0 / ((double)s * (double)s * (double)s)), n_real };
	return cyc__cuda_launch(device, CYC_KERNEL_scale, &a, cyc_n_blocks(n_real, CYC_SCALE_LANES));
}

/* The pretended cuFFT: FFTW, when the stream comes to it; see cuda_runtime.h. */
#include "cufft.h"

#include <cstring>
#include <map>

#include <fftw3.h>

namespace
{

struct plan {
	int rank, n[3], real_embed[3], ft_embed[3], real_distance, ft_distance, batch;
	cufftType type;
	bool is_made, is_automatic;
	size_t work_bytes;
	void *work;
	cudaStream_t stream;
};
std::map<int, plan> plans;
int last_plan;

int product(const int *n, int rank)
{
	int p = 1;
	for (int i = 0; i < rank; i++) p *= n[i];
	return p;
}

void forward(const plan &p, float *in, cufftComplex *out)
{
	fftwf_plan f = fftwf_plan_many_dft_r2c(p.rank, p.n, p.batch, in, p.real_embed, 1, p.real_distance,
	                                       (fftwf_complex *)out, p.ft_embed, 1, p.ft_distance,
	                                       FFTW_ESTIMATE | FFTW_PRESERVE_INPUT);
	fftwf_execute(f);
	fftwf_destroy_plan(f);
	memset(p.work, 0xff, p.work_bytes);
}

void inverse(const plan &p, cufftComplex *in, float *out)
{
	fftwf_plan f =
		fftwf_plan_many_dft_c2r(p.rank, p.n, p.batch, (fftwf_complex *)in, p.ft_embed, 1, p.ft_distance, out,
	                            p.real_embed, 1, p.real_distance, FFTW_ESTIMATE);
	fftwf_execute(f);
	fftwf_destroy_plan(f);
	for (int i = 0; i < p.batch; i++)
		memset(in + (size_t)i * (size_t)p.ft_distance, 0xff,
		       (size_t)product(p.ft_embed, p.rank) * sizeof *in);
	memset(p.work, 0xff, p.work_bytes);
}

cufftResult check(plan **out, cufftHandle handle, cufftType type, const void *real, const void *ft)
{
	auto found = plans.find(handle);
	if (found == plans.end() || !found->second.is_made || found->second.type != type)
		return CUFFT_INVALID_PLAN;
	plan *p = &found->second;
	size_t n_real = (size_t)(p->batch - 1) * (size_t)p->real_distance + (size_t)product(p->n, p->rank),
		   n_ft = (size_t)(p->batch - 1) * (size_t)p->ft_distance + (size_t)product(p->ft_embed, p->rank);
	if (!pretended_is_live(real, n_real * sizeof(float)) ||
	    !pretended_is_live(ft, n_ft * sizeof(cufftComplex)) || !pretended_is_live(p->work, p->work_bytes))
		return CUFFT_INVALID_VALUE;
	*out = p;
	return CUFFT_SUCCESS;
}

} // namespace

cufftResult cufftCreate(cufftHandle *handle)
{
	*handle = ++last_plan;
	plans[*handle] = plan();
	plans[*handle].is_automatic = true;
	return CUFFT_SUCCESS;
}

cufftResult cufftSetAutoAllocation(cufftHandle handle, int is_automatic)
{
	plans[handle].is_automatic = is_automatic != 0;
	return CUFFT_SUCCESS;
}

/* Half a transform of work area for each of a batch, so that it matters. */
cufftResult cufftMakePlanMany(cufftHandle handle, int rank, int *n, int *inembed, int istride, int idist,
                              int *onembed, int ostride, int odist, cufftType type, int batch,
                              size_t *work_bytes)
{
	plan *p = &plans[handle];
	if (p->is_automatic || istride != 1 || ostride != 1 || rank < 1 || rank > 3) return CUFFT_INVALID_VALUE;
	if (pretended_failure("plan")) return CUFFT_ALLOC_FAILED;
	bool is_forward = type == CUFFT_R2C;
	p->rank = rank;
	for (int i = 0; i < rank; i++) {
		p->n[i] = n[i];
		p->real_embed[i] = (is_forward ? inembed : onembed)[i];
		p->ft_embed[i] = (is_forward ? onembed : inembed)[i];
	}
	p->real_distance = is_forward ? idist : odist;
	p->ft_distance = is_forward ? odist : idist;
	p->batch = batch;
	p->type = type;
	p->work_bytes = (size_t)batch * (size_t)product(n, rank) * sizeof(float) / 2;
	p->is_made = true;
	*work_bytes = p->work_bytes;
	return CUFFT_SUCCESS;
}

cufftResult cufftSetStream(cufftHandle handle, cudaStream_t stream)
{
	plans[handle].stream = stream;
	return CUFFT_SUCCESS;
}

cufftResult cufftSetWorkArea(cufftHandle handle, void *area)
{
	plans[handle].work = area;
	return CUFFT_SUCCESS;
}

cufftResult cufftExecR2C(cufftHandle handle, float *in, cufftComplex *out)
{
	plan *p;
	cufftResult r = check(&p, handle, CUFFT_R2C, in, out);
	if (r != CUFFT_SUCCESS) return r;
	plan copy = *p;
	return pretended_queue(
			   "fft", [copy, in, out] { forward(copy, in, out); }, p->stream) == cudaSuccess
	           ? CUFFT_SUCCESS
	           : CUFFT_EXEC_FAILED;
}

cufftResult cufftExecC2R(cufftHandle handle, cufftComplex *in, float *out)
{
	plan *p;
	cufftResult r = check(&p, handle, CUFFT_C2R, out, in);
	if (r != CUFFT_SUCCESS) return r;
	plan copy = *p;
	return pretended_queue(
			   "fft", [copy, in, out] { inverse(copy, in, out); }, p->stream) == cudaSuccess
	           ? CUFFT_SUCCESS
	           : CUFFT_EXEC_FAILED;
}

cufftResult cufftDestroy(cufftHandle handle)
{
	return plans.erase(handle) == 1 ? CUFFT_SUCCESS : CUFFT_INVALID_PLAN;
}

/** @file cufft.h  What the plug-in needs of cuFFT, by FFTW: see cuda_runtime.h. */
#ifndef CYC_PRETENDED_CUFFT_H
#define CYC_PRETENDED_CUFFT_H

#include "cuda_runtime.h"

typedef enum {
	CUFFT_SUCCESS = 0,
	CUFFT_INVALID_PLAN = 1,
	CUFFT_ALLOC_FAILED = 2,
	CUFFT_INVALID_VALUE = 4,
	CUFFT_EXEC_FAILED = 6,
	CUFFT_SETUP_FAILED = 7,
	CUFFT_INVALID_SIZE = 8
} cufftResult;
typedef enum { CUFFT_R2C = 0x2a, CUFFT_C2R = 0x2c } cufftType;
typedef int cufftHandle;
typedef struct {
	float re, im;
} cufftComplex;

cufftResult cufftCreate(cufftHandle *plan);
cufftResult cufftSetAutoAllocation(cufftHandle plan, int is_automatic);
cufftResult cufftMakePlanMany(cufftHandle plan, int rank, int *n, int *inembed, int istride, int idist,
                              int *onembed, int ostride, int odist, cufftType type, int batch,
                              size_t *work_bytes);
cufftResult cufftSetStream(cufftHandle plan, cudaStream_t stream);
cufftResult cufftSetWorkArea(cufftHandle plan, void *area);
cufftResult cufftExecR2C(cufftHandle plan, float *in, cufftComplex *out);
cufftResult cufftExecC2R(cufftHandle plan, cufftComplex *in, float *out);
cufftResult cufftDestroy(cufftHandle plan);

#endif

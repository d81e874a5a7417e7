/** @file turns.h  Sine and cosine, the same in the cpu backend and the kernels to the bit. C17 and C++17. */
#ifndef CYC_TURNS_H
#define CYC_TURNS_H

#include <math.h>

#ifdef __CUDACC__
#define CYC_TURNS_INLINE static __device__ __forceinline__
#else
#define CYC_TURNS_INLINE static inline __attribute__((always_inline))
#endif

/*
 * sin and cos of 2 pi t by Taylor series on [-1/4, 1/4] turns: errors below 1e-7, no branches, no library
 * call, so that loops become vector code. Adding and taking off 1.5 x 2^23 rounds to an integer.
 */
CYC_TURNS_INLINE void cyc_sincos_turns(float *sin_out, float *cos_out, float t)
{
	const float MAGIC = 12582912.F;
	float j = (2 * t + MAGIC) - MAGIC, f = t - 0.5F * j;
	float odd = j - 2 * ((0.5F * j + MAGIC) - MAGIC), sign = 1 - 2 * odd * odd; /* (-1)^j */
	float a = 6.28318530717958648F * f, b = a * a;
	float sn =
		a * (1 + b * (-1.F / 6 +
	                  b * (1.F / 120 + b * (-1.F / 5040 + b * (1.F / 362880 + b * (-1.F / 39916800))))));
	float cs =
		1 + b * (-0.5F + b * (1.F / 24 + b * (-1.F / 720 + b * (1.F / 40320 + b * (-1.F / 3628800 +
	                                                                               b * (1.F / 479001600))))));
	*sin_out = sign * sn;
	*cos_out = sign * cs;
}

/* The same in double precision, by quarters of a turn: errors below 3e-16. */
CYC_TURNS_INLINE void cyc_sincos_turns_double(double *sin_out, double *cos_out, double t)
{
	double q = floor(4 * t + 0.5), a = 6.283185307179586477 * (t - 0.25 * q), b = a * a;
	double sn =
		a * (1 + b * (-1.0 / 6 +
	                  b * (1.0 / 120 +
	                       b * (-1.0 / 5040 +
	                            b * (1.0 / 362880 +
	                                 b * (-1.0 / 39916800 +
	                                      b * (1.0 / 6227020800 + b * (-1.0 / 1307674368000 +
	                                                                   b * (1.0 / 355687428096000)))))))));
	double cs =
		1 + b * (-0.5 +
	             b * (1.0 / 24 + b * (-1.0 / 720 +
	                                  b * (1.0 / 40320 +
	                                       b * (-1.0 / 3628800 +
	                                            b * (1.0 / 479001600 + b * (-1.0 / 87178291200 +
	                                                                        b * (1.0 / 20922789888000))))))));
	double quarter = q - 4 * floor(0.25 * q); /* 0 .. 3 */
	double is_odd = quarter - 2 * floor(0.5 * quarter), sign = quarter > 1.5 ? -1 : 1;
	double turned = is_odd > 0.5 ? cs : sn, beside = is_odd > 0.5 ? -sn : cs;
	*sin_out = sign * turned;
	*cos_out = sign * beside;
}

#endif

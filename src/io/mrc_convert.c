#include "io/mrc_internal.h"

#include <string.h>

static inline uint32_t bits_of(float v)
{
	uint32_t u;
	memcpy(&u, &v, sizeof u);
	return u;
}

static inline float float_of(uint32_t u)
{
	float v;
	memcpy(&v, &u, sizeof v);
	return v;
}

/* Written without branches, so that compilers turn loops over them into vector code on any machine. */
static inline float half_to_float(uint16_t h)
{
	/* The half's fields, moved to a float's place, mean a number 2^112 too small, subnormals included. */
	float v = float_of((uint32_t)(h & 0x7FFF) << 13) * 0x1p112f;
	uint32_t special = (h & 0x7C00) == 0x7C00 ? 0x7F800000u : 0;
	return float_of(bits_of(v) | special | (uint32_t)(h & 0x8000) << 16);
}

static inline uint16_t float_to_half(float v)
{
	uint32_t a = bits_of(v) & 0x7FFFFFFFu, sign = bits_of(v) >> 16 & 0x8000u;
	/* Half an ulp is added to the magnitude: ties go away from zero. Subnormal halves are not written. */
	uint32_t h = ((a + 0x1000u) >> 13) - (112u << 10);
	h = a < 0x38800000u ? 0 : h;       /* 2^-14 */
	h = a > 0x477FE000u ? 0x7BFFu : h; /* 65504 */
	h = a == 0x7F800000u ? 0x7C00u : h;
	h = a > 0x7F800000u ? 0x7E00u : h;
	return (uint16_t)(sign | h);
}

float cyc_half_to_float(uint16_t h) { return half_to_float(h); }
uint16_t cyc_float_to_half(float v) { return float_to_half(v); }

CYC_SIMD void cyc__floats_to_half(uint16_t *dst, const float *src, size_t n)
{
	for (size_t i = 0; i < n; i++) dst[i] = float_to_half(src[i]);
}

CYC_SIMD static void from_half(float *restrict dst, const uint16_t *restrict src, size_t n)
{
	for (size_t i = 0; i < n; i++) dst[i] = half_to_float(src[i]);
}

CYC_SIMD static void from_int8(float *restrict dst, const int8_t *restrict src, size_t n)
{
	for (size_t i = 0; i < n; i++) dst[i] = (float)src[i];
}

CYC_SIMD static void from_int16(float *restrict dst, const int16_t *restrict src, size_t n)
{
	for (size_t i = 0; i < n; i++) dst[i] = (float)src[i];
}

CYC_SIMD static void from_uint16(float *restrict dst, const uint16_t *restrict src, size_t n)
{
	for (size_t i = 0; i < n; i++) dst[i] = (float)src[i];
}

static uint16_t swapped16(const void *p)
{
	const uint8_t *b = p;
	return (uint16_t)(b[0] << 8 | b[1]);
}

static uint32_t swapped32(const void *p)
{
	const uint8_t *b = p;
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

size_t cyc__mrc_mode_bytes(int32_t mode)
{
	switch (mode) {
	case 0: return 1;
	case 1:
	case 6:
	case 12: return 2;
	case 2: return 4;
	default: return 0;
	}
}

static void from_swapped(float *dst, const char *src, size_t n, int32_t mode)
{
	for (size_t i = 0; i < n; i++) {
		switch (mode) {
		case 1: dst[i] = (float)(int16_t)swapped16(src + 2 * i); break;
		case 6: dst[i] = (float)swapped16(src + 2 * i); break;
		case 12: dst[i] = half_to_float(swapped16(src + 2 * i)); break;
		default: dst[i] = float_of(swapped32(src + 4 * i)); break;
		}
	}
}

void cyc__mrc_to_float(float *dst, const void *src, size_t n, int32_t mode, bool is_swapped)
{
	if (mode == 0) from_int8(dst, src, n);
	else if (is_swapped) from_swapped(dst, src, n, mode);
	else if (mode == 1) from_int16(dst, src, n);
	else if (mode == 6) from_uint16(dst, src, n);
	else if (mode == 12) from_half(dst, src, n);
	else memmove(dst, src, n * sizeof *dst);
}

CYC_SIMD static uint32_t any_not_finite(const float *v, size_t n)
{
	uint32_t any = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, &v[i], sizeof u);
		any |= (u & 0x7F800000u) == 0x7F800000u ? 1u : 0u;
	}
	return any;
}

size_t cyc__first_not_finite(const float *v, size_t n)
{
	if (!any_not_finite(v, n)) return n;
	size_t i = 0;
	while ((bits_of(v[i]) & 0x7F800000u) != 0x7F800000u) i++;
	return i;
}

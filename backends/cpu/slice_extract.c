#include "backends/cpu/cpu_internal.h"

#include <math.h>

typedef struct {
	cyc_cfloat *ft;
	const cyc_cfloat *reference;
	const cyc_slice_extract_in *in;
} work;

/* Two neighbours in x are one 16-byte load: {re0, im0, re1, im1}. */
static inline cyc_v4 pair(const cyc_cfloat *p)
{
	const float *f = (const float *)p;
	return (cyc_v4){ f[0], f[1], f[2], f[3] };
}

static inline cyc_cfloat sample(const cyc_cfloat *F, int32_t m, float x, float y, float z)
{
	float mirror = x < 0 ? -1.F : 1.F;
	x *= mirror;
	y *= mirror;
	z *= mirror;
	float yf = floorf(y), zf = floorf(z);
	int32_t x0 = (int32_t)x, y0 = (int32_t)yf, z0 = (int32_t)zf, y1 = y0 + 1, z1 = z0 + 1;
	float fx = x - (float)x0, fy = y - yf, fz = z - zf;
	if (y0 < 0) y0 += m;
	if (y1 < 0) y1 += m;
	if (z0 < 0) z0 += m;
	if (z1 < 0) z1 += m;
	size_t width = (size_t)(m / 2 + 2), slab = width * (size_t)m;
	const cyc_cfloat *p = F + (size_t)x0;
	cyc_v4 a = pair(p + (size_t)z0 * slab + (size_t)y0 * width),
		   b = pair(p + (size_t)z0 * slab + (size_t)y1 * width);
	cyc_v4 c = pair(p + (size_t)z1 * slab + (size_t)y0 * width),
		   d = pair(p + (size_t)z1 * slab + (size_t)y1 * width);
	cyc_v4 low = a + fy * (b - a), high = c + fy * (d - c), v = low + fz * (high - low);
	return (v[0] + fx * (v[2] - v[0])) + mirror * (v[1] + fx * (v[3] - v[1])) * I;
}

CYC_SIMD static void extract(cyc_cfloat *out, const work *a, const cyc_mat3 *M)
{
	int32_t s = a->in->s, sh = s / 2 + 1, m = a->in->m, radius = a->in->radius;
	double zoom = (double)m / s;
	/* At the rim the neighbours beyond m/2 - 1 would wrap around. */
	int32_t R = radius < s / 2 - 1 ? radius : s / 2 - 1;
	float xx = (float)(zoom * M->m[0][0]), xy = (float)(zoom * M->m[0][1]), xz = (float)(zoom * M->m[0][2]);
	for (int32_t y = 0; y < s; y++) {
		int32_t ky = y < s / 2 ? y : y - s,
				last = ky * ky > R * R ? -1 : (int32_t)sqrt((double)(R * R - ky * ky));
		cyc_cfloat *row = out + (size_t)y * (size_t)sh;
		float ox = (float)(zoom * M->m[1][0] * ky), oy = (float)(zoom * M->m[1][1] * ky),
			  oz = (float)(zoom * M->m[1][2] * ky);
		for (int32_t x = 0; x <= last; x++)
			row[x] = sample(a->reference, m, ox + xx * (float)x, oy + xy * (float)x, oz + xz * (float)x);
		for (int32_t x = last + 1; x < sh; x++) row[x] = 0;
	}
}

static cyc_status extract_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	const cyc_slice_extract_in *in = a->in;
	if (!in->use || in->use[i] == in->select)
		extract(a->ft + (size_t)i * cyc_half_count2(in->s), a, &in->M[i]);
	return CYC_OK;
}

cyc_status cyc_slice_extract_cpu(void *self, cyc_cfloat *ft, const cyc_slice_extract_in *in)
{
	work a = { ft, cyc_buffer_address(in->reference), in };
	return cyc_parallel_for(in->n, ((cyc_cpu *)self)->n_threads, extract_task, &a);
}

#include "backends/cpu/reference_cell.h"

#include <math.h>

typedef struct {
	cyc_cfloat *ft;
	const cyc_cfloat *reference;
	const cyc_slice_extract_in *in;
} work;

static inline cyc_cfloat sample(const cyc_cfloat *F, int32_t m, float x, float y, float z)
{
	const cyc_cell q = cyc__cell_at(F, m, x, y, z);
	cyc_v4 v = cyc__cell_along_x(&q);
	return (v[0] + q.fx * (v[2] - v[0])) + q.mirror * (v[1] + q.fx * (v[3] - v[1])) * I;
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

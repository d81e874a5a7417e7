#include "backends/cpu/cpu_internal.h"

#include <math.h>

typedef struct {
	cyc_cfloat *ft;
	const cyc_cfloat *reference;
	const cyc_slice_extract_in *in;
} work;

/* Points of some rows, and where their values go. */
typedef struct {
	cyc_cells cells;
	int32_t to[CYC_CELLS], n;
} listed;

static inline void look_up(cyc_cfloat *out, const work *a, listed *l)
{
	int32_t edge = a->in->edge, n = l->n;
	cyc__cells_list(&l->cells, a->reference, edge, n);
	for (int32_t i = 0; i < n; i++) {
		const cyc_cell q = cyc__cell_next(&l->cells, a->reference, edge, i, n);
		cyc_v4 v = cyc__cell_along_x(&q);
		out[l->to[i]] = (v[0] + q.fx * (v[2] - v[0])) + q.mirror * (v[1] + q.fx * (v[3] - v[1])) * I;
	}
	l->n = 0;
}

CYC_SIMD static void extract(cyc_cfloat *out, const work *a, const cyc_mat3 *M)
{
	int32_t s = a->in->s, sh = s / 2 + 1, radius = a->in->radius;
	double zoom = (double)a->in->m / s;
	/* At the rim the neighbours beyond m/2 - 1 would wrap around. */
	int32_t R = radius < s / 2 - 1 ? radius : s / 2 - 1;
	float xx = (float)(zoom * M->m[0][0]), xy = (float)(zoom * M->m[0][1]), xz = (float)(zoom * M->m[0][2]);
	listed l;
	l.n = 0;
	for (int32_t y = 0; y < s; y++) {
		int32_t ky = y < s / 2 ? y : y - s,
				last = ky * ky > R * R ? -1 : (int32_t)sqrt((double)(R * R - ky * ky));
		float ox = (float)(zoom * M->m[1][0] * ky), oy = (float)(zoom * M->m[1][1] * ky),
			  oz = (float)(zoom * M->m[1][2] * ky);
		for (int32_t x = last + 1; x < sh; x++) out[y * sh + x] = 0;
		for (int32_t x = 0; x <= last;) {
			int32_t n = last + 1 - x < CYC_CELLS - l.n ? last + 1 - x : CYC_CELLS - l.n;
			for (int32_t i = 0; i < n; i++) {
				l.cells.x[l.n + i] = ox + xx * (float)(x + i);
				l.cells.y[l.n + i] = oy + xy * (float)(x + i);
				l.cells.z[l.n + i] = oz + xz * (float)(x + i);
				l.to[l.n + i] = y * sh + x + i;
			}
			x += n;
			l.n += n;
			if (l.n == CYC_CELLS) look_up(out, a, &l);
		}
	}
	look_up(out, a, &l);
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

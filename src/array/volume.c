#include "cyclotomo/array.h"

#include <math.h>
#include <string.h>

cyc_status cyc_volume_create(cyc_volume **out, int32_t nx, int32_t ny, int32_t nz, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	*out = NULL;
	CYC_CHECK(nx > 0 && ny > 0 && nz > 0, CYC_E_SHAPE, "sizes of a map must be positive, got %d x %d x %d",
	          nx, ny, nz);
	CYC_TRY(cyc_alloc(&v, 1, sizeof *v));
	v->nx = nx;
	v->ny = ny;
	v->nz = nz;
	v->pixel_size_A = pixel_size_A;
	CYC_TRY(cyc_alloc_(&v->data, cyc_volume_count(v), sizeof *v->data, "a map"));
	*out = v;
	v = NULL;
done:
	cyc_volume_destroy(&v);
	return st;
}

void cyc_volume_destroy(cyc_volume **v)
{
	if (!*v) return;
	cyc_free((*v)->data);
	cyc_free(*v);
	*v = NULL;
}

cyc_status cyc_volume_copy(cyc_volume **out, const cyc_volume *v)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_volume_create(out, v->nx, v->ny, v->nz, v->pixel_size_A));
	memcpy((*out)->data, v->data, cyc_volume_count(v) * sizeof *v->data);
done:
	return st;
}

typedef struct {
	cyc_volume *to;
	const cyc_volume *from;
	int32_t to_first, from_first, n; /* of a plane, a row and a voxel; how many */
} resizing;

static cyc_status resize_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const resizing *r = arg;
	size_t n_to = (size_t)r->to->nx, n_from = (size_t)r->from->nx, to = (size_t)r->to_first,
		   from = (size_t)r->from_first;
	for (size_t y = 0; y < (size_t)r->n; y++)
		memcpy(r->to->data + (((size_t)z + to) * n_to + y + to) * n_to + to,
		       r->from->data + (((size_t)z + from) * n_from + y + from) * n_from + from,
		       (size_t)r->n * sizeof(float));
	return CYC_OK;
}

cyc_status cyc_volume_resize(cyc_volume **out, const cyc_volume *v, int32_t n, int n_threads)
{
	cyc_status st = CYC_OK;
	*out = NULL;
	CYC_CHECK(cyc_volume_is_cubic(v) && v->nx % 2 == 0, CYC_E_SHAPE,
	          "only cubic maps of even edge can be resized, got %d x %d x %d", v->nx, v->ny, v->nz);
	CYC_CHECK(n > 0 && n % 2 == 0, CYC_E_SHAPE, "the edge of a map must be even and positive, got %d", n);
	CYC_TRY(cyc_volume_create(out, n, n, n, v->pixel_size_A));
	int32_t m = n < v->nx ? n : v->nx;
	resizing r = { *out, v, (n - m) / 2, (v->nx - m) / 2, m };
	CYC_TRY(cyc_parallel_for(m, n_threads, resize_task, &r));
done:
	return st;
}

bool cyc_mask_is_inverted(const cyc_volume *mask)
{
	const float HALF = 0.5F;
	size_t nx = (size_t)mask->nx, ny = (size_t)mask->ny, nz = (size_t)mask->nz;
	for (size_t k = 0; k < 8; k++) {
		size_t x = k & 1 ? nx - 1 : 0, y = k & 2 ? ny - 1 : 0, z = k & 4 ? nz - 1 : 0;
		if (!(mask->data[(z * ny + y) * nx + x] > HALF)) return false;
	}
	return mask->data[(nz / 2 * ny + ny / 2) * nx + nx / 2] < HALF;
}

CYC_SIMD static bool any_above(const float *row, int32_t n, float limit)
{
	uint32_t any = 0;
	for (int32_t x = 0; x < n; x++) any |= row[x] > limit ? 1u : 0u;
	return any != 0;
}

double cyc_mask_reach_px(const cyc_volume *mask)
{
	const float OUTSIDE = 0.01F;
	const float *w = mask->data;
	double far2 = -1;
	for (int32_t z = 0; z < mask->nz; z++)
		for (int32_t y = 0; y < mask->ny; y++, w += mask->nx) {
			if (!any_above(w, mask->nx, OUTSIDE)) continue;
			int32_t first = 0, last = mask->nx - 1; /* one of them is the farthest of the row */
			while (!(w[first] > OUTSIDE)) first++;
			while (!(w[last] > OUTSIDE)) last--;
			far2 = fmax(far2, cyc_square(y - mask->ny / 2) + cyc_square(z - mask->nz / 2) +
			                      fmax(cyc_square(first - mask->nx / 2), cyc_square(last - mask->nx / 2)));
		}
	return far2 < 0 ? -1 : sqrt(far2);
}

/*
 * Insertion by gathering: every voxel near a slice looks up what the slice says there. No two tasks write to
 * one voxel, so the threads share out the z planes and each plane adds its slices in their order: the sum
 * does not depend on the threads. A plane first adds up the batch by itself: large sums then take one
 * rounding per batch instead of one per slice.
 */
#include "backends/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

typedef struct {
	const cyc_cpu *cpu;
	float *sum;
	const float *packed;
	const cyc_mat3 *M;
	const int32_t *radius;
	const int8_t *use;
	int8_t select;
	int32_t n, s;
	int32_t radius_max;
	bool is_direct; /* few slices: a plane between would be cleared and added for a few lines in it */
} work;

/* Up to so many slices per call are added to the sum one by one. */
enum { DIRECT = 12 };

static inline cyc_v4 look_up(const cyc_v4 *slice, size_t width, int32_t row_of_zero, float u, float v)
{
	/* The slice holds u >= 0; the other half is the conjugate of its mirror image. */
	float mirror = u < 0 ? -1.F : 1.F;
	u *= mirror;
	v *= mirror;
	int32_t u0 = (int32_t)u,
			v0 = (int32_t)(v + (float)row_of_zero); /* both arguments are >= 0: truncation is floor */
	float fu = u - (float)u0, fv = v + (float)row_of_zero - (float)v0;
	const cyc_v4 *p = slice + (size_t)v0 * width + (size_t)u0;
	cyc_v4 low = p[0] + fu * (p[1] - p[0]), high = p[width] + fu * (p[width + 1] - p[width]);
	cyc_v4 value = low + fv * (high - low);
	return value * (cyc_v4){ 1, mirror, 1, 1 };
}

/* Row s/2 is frequency -s/2: +s/2 has no row of its own. */
static inline int32_t last_row(int32_t ry, int32_t s) { return ry < s / 2 ? ry : s / 2 - 1; }

/*
 * Voxels of a plane that a slice reaches. A row of voxels has two or three of them: they are listed first, a
 * fixed number per row without a branch, and then looked up in one long loop. Branches on their number would
 * be mispredicted in each row.
 */
enum { LISTED = 1024, AT_ONCE = 4 };
typedef struct {
	float u[LISTED + AT_ONCE], v[LISTED + AT_ONCE], weight[LISTED + AT_ONCE];
	int32_t to[LISTED + AT_ONCE], n;
} reached;

static inline void add_reached(cyc_v4 *plane, const cyc_v4 *slice, int32_t s, reached *l)
{
	size_t width = (size_t)(s / 2 + 2);
	int32_t row_of_zero = s / 2 + 1;
	for (int32_t i = 0; i < l->n; i++)
		plane[l->to[i]] += l->weight[i] * look_up(slice, width, row_of_zero, l->u[i], l->v[i]);
	l->n = 0;
}

/* @param last  per |ky|: the last voxel of the row inside the sphere */
CYC_SIMD static bool add_slice(cyc_v4 *plane, const cyc_v4 *slice, const cyc_mat3 *M, const int32_t *last,
                               int32_t ry, int32_t kz, int32_t s)
{
	int32_t sh = s / 2 + 1;
	const float ux = (float)M->m[0][0], vx = (float)M->m[1][0], hx = (float)M->m[2][0];
	bool is_across = fabsf(hx) > 1e-6F, is_touched = false;
	const float inv = is_across ? 1 / hx : 0;
	reached l;
	l.n = 0;
	for (int32_t ky = -ry; ky <= last_row(ry, s); ky++) {
		int32_t from = 0, to = last[ky < 0 ? -ky : ky];
		float u = (float)(M->m[0][1] * ky + M->m[0][2] * kz), v = (float)(M->m[1][1] * ky + M->m[1][2] * kz);
		float h = (float)(M->m[2][1] * ky + M->m[2][2] * kz);
		/* |h + hx x| < 1 */
		if (is_across) {
			float a = (-1 - h) * inv, b = (1 - h) * inv, low = a < b ? a : b, high = a < b ? b : a;
			if (high < 0 || low > (float)to) continue;
			from = low > 0 ? (int32_t)ceilf(low) : 0;
			to = high < (float)to ? (int32_t)high : to;
		} else if (fabsf(h) >= 1) {
			continue;
		}
		int32_t row = (ky < 0 ? ky + s : ky) * sh;
		for (int32_t x = from; x <= to; x += AT_ONCE) {
			for (int32_t k = 0; k < AT_ONCE; k++) {
				float fx = (float)(x + k), weight = 1 - fabsf(h + hx * fx);
				l.u[l.n + k] = u + ux * fx;
				l.v[l.n + k] = v + vx * fx;
				l.weight[l.n + k] = weight > 0 ? weight : 0;
				l.to[l.n + k] = row + x + k;
			}
			l.n += to - x < AT_ONCE ? to - x + 1 : AT_ONCE;
			if (l.n < LISTED) continue;
			add_reached(plane, slice, s, &l);
			is_touched = true;
		}
	}
	is_touched = is_touched || l.n > 0;
	add_reached(plane, slice, s, &l);
	return is_touched;
}

static cyc_status plane_task(void *arg, int64_t z, int i_thread)
{
	const work *a = arg;
	int32_t s = a->s, kz = z < s / 2 ? (int32_t)z : (int32_t)z - s,
			left = a->radius_max * a->radius_max - kz * kz;
	size_t sh = (size_t)(s / 2 + 1), plane_count = (size_t)s * sh;
	cyc_v4 *plane = cyc__cpu_scratch_of(a->cpu, i_thread), *sum = (cyc_v4 *)a->sum + (size_t)z * plane_count;
	bool is_touched = false;
	if (left < 0) return CYC_OK;
	/* Only what the slices can reach is cleared and added: at high dose that is a small part of the plane. */
	int32_t ry = (int32_t)sqrtf((float)left);
	size_t count = (size_t)a->radius_max + 1 < sh ? (size_t)a->radius_max + 1 : sh;
	if (a->is_direct) plane = sum;
	for (int32_t ky = -ry; ky <= last_row(ry, s) && !a->is_direct; ky++)
		memset(plane + (size_t)(ky < 0 ? ky + s : ky) * sh, 0, count * sizeof *plane);
	int32_t *last = (int32_t *)(void *)((cyc_v4 *)cyc__cpu_scratch_of(a->cpu, i_thread) + plane_count),
			last_R = 0, slice_ry = 0;
	for (int32_t i = 0; i < a->n; i++) {
		int32_t R = a->radius[i];
		if (R < (kz < 0 ? -kz : kz) || R == 0 || (a->use && a->use[i] != a->select)) continue;
		const cyc_v4 *slice = (const cyc_v4 *)(a->packed + (size_t)i * cyc_packed_count(s));
		if (R != last_R) {
			slice_ry = (int32_t)sqrtf((float)(R * R - kz * kz));
			for (int32_t y = 0; y <= slice_ry; y++)
				last[y] = (int32_t)sqrtf((float)(R * R - kz * kz - y * y));
			last_R = R;
		}
		is_touched = add_slice(plane, slice, &a->M[i], last, slice_ry, kz, s) || is_touched;
	}
	for (int32_t ky = -ry; ky <= last_row(ry, s) && is_touched && !a->is_direct; ky++) {
		size_t row = (size_t)(ky < 0 ? ky + s : ky) * sh;
		for (size_t j = row; j < row + count; j++) sum[j] += plane[j];
	}
	return CYC_OK;
}

cyc_status cyc_slice_insert_cpu(void *self, float *sum, const float *packed, const cyc_mat3 *M,
                                const int32_t *radius, const int8_t *use, int8_t select, int32_t n, int32_t s)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	/* A plane, and the lengths of its rows. */
	CYC_TRY(cyc__cpu_scratch(
		cpu, s, (size_t)s * (size_t)(s / 2 + 1) * sizeof(cyc_v4) + (size_t)(s + 1) * sizeof(int32_t)));
	work a = { cpu, sum, packed, M, radius, use, select, n, s, 0, false };
	int32_t n_selected = 0;
	for (int32_t i = 0; i < n; i++) {
		if (use && use[i] != select) continue;
		n_selected++;
		if (radius[i] > a.radius_max) a.radius_max = radius[i];
	}
	a.is_direct = n_selected <= DIRECT;
	CYC_TRY(cyc_parallel_for(s, cpu->n_threads, plane_task, &a));
done:
	return st;
}

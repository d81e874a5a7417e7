/*
 * Insertion by gathering: every voxel near a slice looks up what the slice says there. No two tasks write to
 * one voxel, so the threads share out the z planes and each plane adds its slices in their order. A plane
 * first adds up the batch in single precision and then rounds it to integers, or, where slices are few,
 * rounds each.
 */
#include "backends/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

typedef struct {
	const cyc_cpu *cpu;
	int64_t *sum;
	const cyc_sum_spec *spec;
	const float *packed;
	const cyc_slices *l;
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

/* ---------------------------------------------------------------- rounding */

typedef double d2 __attribute__((vector_size(16)));
typedef int64_t i2 __attribute__((vector_size(16)));

/* 1.5 x 2^52: added to a number below 2^51, it leaves that number, rounded to the nearest, in the last bits.
 */
static const double ROUNDER = 6755399441055744.0;

/* Adds a value to the three integers of a voxel; false if it is too large, or not a number. */
static inline bool add_rounded(int64_t *to, cyc_v4 v, const cyc_sum_spec *spec)
{
	d2 data = { (double)v[0] * spec->scale[0], (double)v[1] * spec->scale[0] };
	double weight = (double)v[2] * spec->scale[1], limit = spec->limit;
	d2 shifted = data + ROUNDER;
	double shifted_weight = weight + ROUNDER;
	i2 old, bits;
	int64_t bits_weight, rounder;
	memcpy(&rounder, &ROUNDER, sizeof rounder);
	memcpy(&bits, &shifted, sizeof bits);
	memcpy(&bits_weight, &shifted_weight, sizeof bits_weight);
	memcpy(&old, to, sizeof old);
	old += bits - rounder;
	memcpy(to, &old, sizeof old);
	to[2] += bits_weight - rounder;
	return fabs(data[0]) <= limit && fabs(data[1]) <= limit && fabs(weight) <= limit;
}

/* ---------------------------------------------------------------- planes */

/*
 * Voxels of a plane that a slice reaches. A row of voxels has two or three of them: they are listed first, a
 * fixed number per row without a branch, and then looked up in one long loop. Branches on their number would
 * be mispredicted in each row.
 */
enum { LISTED = 1024, AT_ONCE = 4 };
typedef struct {
	float u[LISTED + AT_ONCE], v[LISTED + AT_ONCE], weight[LISTED + AT_ONCE];
	size_t to[LISTED + AT_ONCE];
	int32_t n;
} reached;

/* What a plane is added to: one of both. */
typedef struct {
	cyc_v4 *plane;    /* (2 top + 1) x (radius + 1) */
	int64_t *integer; /* the first voxel of the plane in the sum */
	const cyc_sum_spec *spec;
} target;

static inline bool add_reached(const target *t, const cyc_v4 *slice, int32_t s, reached *l)
{
	size_t width = (size_t)(s / 2 + 2);
	int32_t row_of_zero = s / 2 + 1;
	bool is_good = true;
	if (t->integer) {
		for (int32_t i = 0; i < l->n; i++)
			is_good &=
				add_rounded(t->integer + 3 * l->to[i],
			                l->weight[i] * look_up(slice, width, row_of_zero, l->u[i], l->v[i]), t->spec);
	} else {
		for (int32_t i = 0; i < l->n; i++)
			t->plane[l->to[i]] += l->weight[i] * look_up(slice, width, row_of_zero, l->u[i], l->v[i]);
	}
	l->n = 0;
	return is_good;
}

/* One slice and one plane. */
typedef struct {
	const cyc_v4 *slice;
	const cyc_mat3 *M;
	const int32_t *last,
		*skip;           /* per |ky|: last voxel inside the slice's sphere, voxels inside the inner one */
	const size_t *start; /* per ky + ry_most: of the row, in the target */
	int32_t ry, ry_most, kz, s;
} crossing;

/* @param[out] is_touched  set if a voxel is reached */
CYC_SIMD static bool add_slice(const target *t, const crossing *c, bool *is_touched)
{
	const cyc_mat3 *M = c->M;
	const float ux = (float)M->m[0][0], vx = (float)M->m[1][0], hx = (float)M->m[2][0];
	bool is_across = fabsf(hx) > 1e-6F, is_good = true;
	const float inv = is_across ? 1 / hx : 0;
	int32_t kz = c->kz;
	reached l;
	l.n = 0;
	for (int32_t ky = -c->ry; ky <= c->ry; ky++) {
		int32_t a_ky = ky < 0 ? -ky : ky, from = c->skip[a_ky], to = c->last[a_ky];
		float u = (float)(M->m[0][1] * ky + M->m[0][2] * kz), v = (float)(M->m[1][1] * ky + M->m[1][2] * kz);
		float h = (float)(M->m[2][1] * ky + M->m[2][2] * kz);
		/* |h + hx x| < 1 */
		if (is_across) {
			float a = (-1 - h) * inv, b = (1 - h) * inv, low = a < b ? a : b, high = a < b ? b : a;
			if (high < 0 || low > (float)to) continue;
			if (low > (float)from) from = (int32_t)ceilf(low);
			to = high < (float)to ? (int32_t)high : to;
		} else if (fabsf(h) >= 1) {
			continue;
		}
		size_t row = c->start[ky + c->ry_most];
		for (int32_t x = from; x <= to; x += AT_ONCE) {
			for (int32_t k = 0; k < AT_ONCE; k++) {
				float fx = (float)(x + k), weight = 1 - fabsf(h + hx * fx);
				l.u[l.n + k] = u + ux * fx;
				l.v[l.n + k] = v + vx * fx;
				l.weight[l.n + k] = weight > 0 ? weight : 0;
				l.to[l.n + k] = row + (size_t)(x + k);
			}
			l.n += to - x < AT_ONCE ? to - x + 1 : AT_ONCE;
			if (l.n < LISTED) continue;
			is_good &= add_reached(t, c->slice, c->s, &l);
			*is_touched = true;
		}
	}
	if (l.n > 0) *is_touched = true;
	return add_reached(t, c->slice, c->s, &l) && is_good;
}

enum { CHUNK = 64 }; /* voxels */

/* As add_rounded() does, for a row of voxels. Three numbers each and no branch: a loop that vector units run.
 */
static inline int64_t add_row(int64_t *restrict to, const cyc_v4 *row, int32_t n, const double *scales,
                              double limit)
{
	float flat[3 * CHUNK + 1];
	int64_t rounder, n_bad = 0;
	memcpy(&rounder, &ROUNDER, sizeof rounder);
	for (int32_t x = 0; x < n; x += CHUNK) {
		int32_t m = n - x < CHUNK ? n - x : CHUNK;
		for (int32_t i = 0; i < m; i++) memcpy(flat + 3 * i, &row[x + i], sizeof *row);
		for (int32_t i = 0; i < 3 * m; i++) {
			double value = (double)flat[i] * scales[i], shifted = value + ROUNDER;
			int64_t bits;
			memcpy(&bits, &shifted, sizeof bits);
			to[3 * x + i] += bits - rounder;
			n_bad += !(fabs(value) <= limit);
		}
	}
	return n_bad;
}

CYC_SIMD static bool add_rows(int64_t *sum, const cyc_v4 *plane, size_t width, const work *a,
                              const int32_t *skip, int32_t ry, int32_t kz)
{
	const cyc_ball *ball = a->spec->ball;
	double scales[3 * CHUNK];
	int64_t n_bad = 0;
	for (int i = 0; i < 3 * CHUNK; i++) scales[i] = a->spec->scale[i % 3 == 2];
	for (int32_t ky = -ry; ky <= ry; ky++) {
		size_t row = cyc_ball_row(ball, kz, ky);
		int32_t from = skip[ky < 0 ? -ky : ky], n = cyc_ball_length(ball, row);
		if (n > (int32_t)width) n = (int32_t)width;
		if (n <= from) continue;
		n_bad += add_row(sum + 3 * (ball->first[row] + (size_t)from),
		                 plane + (size_t)(ky + ry) * width + (size_t)from, n - from, scales, a->spec->limit);
	}
	return n_bad == 0;
}

/* sqrt of what remains of a squared radius, -1 if nothing does. */
static int32_t chord(int32_t R, int32_t a, int32_t b)
{
	int64_t left = (int64_t)R * R - (int64_t)a * a - (int64_t)b * b;
	return left < 0 ? -1 : (int32_t)sqrt((double)left);
}

/* Scratch of a thread: a plane of the sums, then three tables of its rows. */
static size_t scratch_bytes(const cyc_ball *ball)
{
	size_t side = (size_t)(2 * ball->top + 1);
	return side * (size_t)(ball->radius + 1) * sizeof(cyc_v4) + side * sizeof(size_t) +
	       2 * (size_t)(ball->top + 1) * sizeof(int32_t);
}

static cyc_status plane_task(void *arg, int64_t i_plane, int i_thread)
{
	const work *a = arg;
	const cyc_ball *ball = a->spec->ball;
	const cyc_slices *l = a->l;
	int32_t s = l->s, kz = (int32_t)i_plane - ball->top;
	int32_t R_most = a->radius_max < ball->radius ? a->radius_max : ball->radius, ry = chord(R_most, kz, 0);
	size_t side = (size_t)(2 * ball->top + 1), width = (size_t)R_most + 1;
	bool is_touched = false, is_good = true;
	if (ry < 0) return CYC_OK;
	if (ry > ball->top) ry = ball->top;
	cyc_v4 *plane = cyc__cpu_scratch_of(a->cpu, i_thread);
	size_t *start = (size_t *)(void *)(plane + side * (size_t)(ball->radius + 1));
	int32_t *last = (int32_t *)(void *)(start + side), *skip = last + ball->top + 1, last_R = 0, slice_ry = 0;
	size_t first = ball->first[cyc_ball_row(ball, kz, -ball->top)];
	for (int32_t ky = -ry; ky <= ry; ky++)
		start[ky + ry] =
			a->is_direct ? ball->first[cyc_ball_row(ball, kz, ky)] - first : (size_t)(ky + ry) * width;
	for (int32_t y = 0; y <= ry; y++) skip[y] = a->spec->inner < 0 ? 0 : chord(a->spec->inner, kz, y) + 1;
	if (!a->is_direct) memset(plane, 0, (size_t)(2 * ry + 1) * width * sizeof *plane);
	const target t = { plane, a->is_direct ? a->sum + 3 * first : NULL, a->spec };
	for (int32_t i = 0; i < l->n; i++) {
		int32_t R = l->radius[i] < ball->radius ? l->radius[i] : ball->radius;
		if (R < (kz < 0 ? -kz : kz) || R == 0 || R <= a->spec->inner || (l->use && l->use[i] != l->select))
			continue;
		if (R != last_R) {
			slice_ry = chord(R, kz, 0);
			if (slice_ry > ry) slice_ry = ry;
			for (int32_t y = 0; y <= slice_ry; y++) last[y] = chord(R, kz, y);
			last_R = R;
		}
		const crossing c = { .slice = (const cyc_v4 *)(a->packed + (size_t)i * cyc_packed_count(s)),
			                 .M = &l->M[i],
			                 .last = last,
			                 .skip = skip,
			                 .start = start,
			                 .ry = slice_ry,
			                 .ry_most = ry,
			                 .kz = kz,
			                 .s = s };
		is_good &= add_slice(&t, &c, &is_touched);
	}
	if (is_touched && !a->is_direct) is_good &= add_rows(a->sum, plane, width, a, skip, ry, kz);
	if (is_good) return CYC_OK;
	return cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
	                       "grey values are not numbers, or far larger than those of the first images");
}

cyc_status cyc_slice_insert_cpu(void *self, int64_t *sum, const cyc_sum_spec *spec, const float *packed,
                                const cyc_slices *slices)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	int32_t n_planes = 2 * spec->ball->top + 1;
	CYC_TRY(cyc__cpu_scratch(cpu, n_planes, scratch_bytes(spec->ball)));
	work a = { .cpu = cpu, .sum = sum, .spec = spec, .packed = packed, .l = slices };
	int32_t n_selected = 0;
	for (int32_t i = 0; i < slices->n; i++) {
		if (slices->use && slices->use[i] != slices->select) continue;
		n_selected++;
		if (slices->radius[i] > a.radius_max) a.radius_max = slices->radius[i];
	}
	if (n_selected == 0 || a.radius_max == 0 || a.radius_max <= spec->inner) goto done;
	a.is_direct = n_selected <= DIRECT;
	CYC_TRY(cyc_parallel_for(n_planes, cpu->n_threads, plane_task, &a));
done:
	return st;
}

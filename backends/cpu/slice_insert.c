/*
 * Insertion by gathering: every voxel near a slice looks up what the slice says there, rounds it to integers
 * and adds these. No two tasks write to one voxel: the threads share out slabs of z planes. A slab is small
 * enough to stay in the cache while all slices of the call are added to it.
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
	int32_t n_slab; /* planes of a slab */
} work;

/* Of the sum, in a slab: half of a core's second-level cache, as most have it. */
enum { SLAB_BYTES = 1 << 20, MOST_PLANES = 16 };

/* ---------------------------------------------------------------- voxels */

typedef double d4 __attribute__((vector_size(32)));
typedef int64_t l4 __attribute__((vector_size(32)));
typedef uint64_t u4 __attribute__((vector_size(32))); /* for sums that may wrap around where a value is bad */
typedef uint64_t u2 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));

/*
 * Voxels of a plane that a slice reaches. A row of voxels has two or three of them: they are listed first, a
 * fixed number per row without a branch, and then looked up in one long loop. Branches on their number would
 * be mispredicted in each row, and from the list the memory that is needed soon can be fetched.
 */
enum { LISTED = 1024, AT_ONCE = 4, AHEAD = 24 };
typedef struct {
	float fu[LISTED + AT_ONCE], fv[LISTED + AT_ONCE];     /* between the samples of the slice */
	float weight[LISTED + AT_ONCE], im[LISTED + AT_ONCE]; /* im: weight of the imaginary part */
	int32_t at[LISTED + AT_ONCE + AHEAD];                 /* the sample */
	int32_t to[LISTED + AT_ONCE + AHEAD];                 /* the voxel, from the first of the slab */
	int32_t n;
} reached;

/* A slice as its samples are found: the first row is that of v = -row_of_zero. */
typedef struct {
	const cyc_v4 *samples;
	int32_t width;
	float row_of_zero;
} sampled;

/* List the voxels x to x + 3 of a row, of which `count` count: (u, v) = (u + ux x, ...), height h + hx x. */
static inline void list_voxels(reached *l, const sampled *f, const float u[2], const float v[2],
                               const float h[2], int32_t row, int32_t x, int32_t count)
{
	const i4 sign = { INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN };
	cyc_v4 fx = { (float)x, (float)(x + 1), (float)(x + 2), (float)(x + 3) };
	cyc_v4 at_u = u[0] + u[1] * fx, at_v = v[0] + v[1] * fx,
		   weight = 1 - (cyc_v4)((i4)(h[0] + h[1] * fx) & ~sign);
	weight = (cyc_v4)((i4)weight & (weight > 0));
	/* The slice holds u >= 0; the other half is the conjugate of its mirror image. */
	i4 mirror = (at_u < 0) & sign;
	at_u = (cyc_v4)((i4)at_u ^ mirror);
	at_v = (cyc_v4)((i4)at_v ^ mirror) + f->row_of_zero;
	/* Both are >= 0: truncation is floor. */
	i4 u0 = __builtin_convertvector(at_u, i4), v0 = __builtin_convertvector(at_v, i4);
	cyc_v4 fu = at_u - __builtin_convertvector(u0, cyc_v4), fv = at_v - __builtin_convertvector(v0, cyc_v4),
		   im = (cyc_v4)((i4)weight ^ mirror);
	i4 at = v0 * f->width + u0, to = { row + x, row + x + 1, row + x + 2, row + x + 3 };
	memcpy(l->fu + l->n, &fu, sizeof fu);
	memcpy(l->fv + l->n, &fv, sizeof fv);
	memcpy(l->weight + l->n, &weight, sizeof weight);
	memcpy(l->im + l->n, &im, sizeof im);
	memcpy(l->at + l->n, &at, sizeof at);
	memcpy(l->to + l->n, &to, sizeof to);
	l->n += count;
}

/* What is added to, as one task sees it. */
typedef struct {
	int64_t *sum; /* of the slab */
	d4 scale, limit;
	l4 is_good; /* all bits set while no value was too large, or not a number */
} target;

/* 1.5 x 2^52: added to a number below 2^51, it leaves that number, rounded to the nearest, in the last bits.
 */
static const double ROUNDER = 6755399441055744.0;

/* Adds a value to the three integers of a voxel: to two and one, since four, of which the last is the next
 * voxel's, would be read there before they are in the cache. */
static inline void add_rounded(target *t, int32_t voxel, cyc_v4 v)
{
	d4 value = __builtin_convertvector(v, d4) * t->scale, shifted = value + ROUNDER;
	int64_t *to = t->sum + 3 * (size_t)voxel;
	uint64_t rounder;
	u2 old, added;
	u4 bits;
	memcpy(&rounder, &ROUNDER, sizeof rounder);
	bits = (u4)shifted - rounder;
	memcpy(&added, &bits, sizeof added);
	memcpy(&old, to, sizeof old);
	old += added;
	memcpy(to, &old, sizeof old);
	to[2] = (int64_t)((uint64_t)to[2] + bits[2]);
	t->is_good &= (d4)((l4)value & INT64_MAX) <= t->limit; /* without the sign */
}

static inline void add_reached(target *t, const sampled *f, reached *l)
{
	for (int32_t i = l->n; i < l->n + AHEAD; i++) l->at[i] = l->to[i] = 0;
	for (int32_t i = 0; i < l->n; i++) {
		const cyc_v4 *p = f->samples + l->at[i], *q = p + f->width, *soon = f->samples + l->at[i + AHEAD];
		__builtin_prefetch(soon);
		__builtin_prefetch(soon + f->width);
		__builtin_prefetch(t->sum + 3 * (size_t)l->to[i + AHEAD], 1);
		float fu = l->fu[i], weight = l->weight[i];
		cyc_v4 low = p[0] + fu * (p[1] - p[0]), high = q[0] + fu * (q[1] - q[0]);
		cyc_v4 value = low + l->fv[i] * (high - low);
		add_rounded(t, l->to[i], value * (cyc_v4){ weight, l->im[i], weight, weight });
	}
	l->n = 0;
}

/* ---------------------------------------------------------------- planes */

/* One slice and one plane. */
typedef struct {
	sampled slice;
	const cyc_mat3 *M;
	const int32_t *last,
		*skip;           /* per |ky|: last voxel inside the slice's sphere, voxels inside the inner one */
	const size_t *first; /* per ky, negative ones too: the row's first voxel in the sum */
	size_t slab;         /* the first voxel of the slab in the sum */
	int32_t ry, R, kz;
} crossing;

/*
 * Rows of the plane where the slab |h| < 1 may meet 0 <= x <= R: its middle x = -h / hx moves along x by the
 * same step from row to row, so they are one interval. With room for rounding: each row is looked at closely
 * afterwards.
 */
static void find_rows(int32_t *from, int32_t *to, const crossing *c)
{
	const cyc_mat3 *M = c->M;
	double inv = 1 / M->m[2][0], half = fabs(inv), room = 1 + 1e-5 * half * c->R;
	double middle = -inv * M->m[2][2] * c->kz, step = -inv * M->m[2][1];
	double low = -half - room - middle, high = c->R + half + room - middle; /* low < step ky < high */
	*from = -c->ry;
	*to = c->ry;
	if (fabs(step) < 1e-9) return;
	double a = low / step, b = high / step, first = fmin(a, b), last = fmax(a, b);
	if (first > *from) *from = first > *to ? *to + 1 : (int32_t)floor(first);
	if (last < *to) *to = last < *from ? *from - 1 : (int32_t)ceil(last);
}

CYC_SIMD static void add_slice(target *t, const crossing *c)
{
	const cyc_mat3 *M = c->M;
	const float hx = (float)M->m[2][0];
	float u[2] = { 0, (float)M->m[0][0] }, v[2] = { 0, (float)M->m[1][0] }, h[2] = { 0, hx };
	bool is_across = fabsf(hx) > 1e-6F;
	const float inv = is_across ? 1 / hx : 0;
	int32_t kz = c->kz, first_row = -c->ry, last_row = c->ry;
	reached l;
	l.n = 0;
	if (is_across) find_rows(&first_row, &last_row, c);
	for (int32_t ky = first_row; ky <= last_row; ky++) {
		int32_t a_ky = ky < 0 ? -ky : ky, from = c->skip[a_ky], to = c->last[a_ky];
		u[0] = (float)(M->m[0][1] * ky + M->m[0][2] * kz);
		v[0] = (float)(M->m[1][1] * ky + M->m[1][2] * kz);
		h[0] = (float)(M->m[2][1] * ky + M->m[2][2] * kz);
		/* |h + hx x| < 1 */
		if (is_across) {
			float a = (-1 - h[0]) * inv, b = (1 - h[0]) * inv, low = a < b ? a : b, high = a < b ? b : a;
			if (high < 0 || low > (float)to) continue;
			if (low > (float)from) from = (int32_t)ceilf(low);
			to = high < (float)to ? (int32_t)high : to;
		} else if (fabsf(h[0]) >= 1) {
			continue;
		}
		int32_t row = (int32_t)(c->first[ky] - c->slab);
		for (int32_t x = from; x <= to; x += AT_ONCE) {
			list_voxels(&l, &c->slice, u, v, h, row, x, to - x < AT_ONCE ? to - x + 1 : AT_ONCE);
			if (l.n >= LISTED) add_reached(t, &c->slice, &l);
		}
	}
	add_reached(t, &c->slice, &l);
}

/* sqrt of what remains of a squared radius, -1 if nothing does. */
static int32_t chord(int32_t R, int32_t a, int32_t b)
{
	int64_t left = (int64_t)R * R - (int64_t)a * a - (int64_t)b * b;
	return left < 0 ? -1 : (int32_t)sqrt((double)left);
}

/* The tables of a plane: of its rows, the last voxel within a slice's radius, and the voxels left out. */
typedef struct {
	int32_t *last, *skip;
	int32_t kz, ry, R; /* R: the radius that `last` and `ry` are of */
} plane;

static void set_radius(plane *p, int32_t R, int32_t top)
{
	p->R = R;
	p->ry = chord(R, p->kz, 0);
	if (p->ry > top) p->ry = top;
	for (int32_t y = 0; y <= p->ry; y++) p->last[y] = chord(R, p->kz, y);
}

static size_t tables_bytes(const cyc_ball *ball) { return 2 * (size_t)(ball->top + 1) * sizeof(int32_t); }

static cyc_status slab_task(void *arg, int64_t i_slab, int i_thread)
{
	const work *a = arg;
	const cyc_ball *ball = a->spec->ball;
	const cyc_slices *l = a->l;
	int32_t top = ball->top, first = (int32_t)i_slab * a->n_slab - top,
			end = first + a->n_slab <= top ? first + a->n_slab : top + 1;
	const double *scale = a->spec->scale, limit = a->spec->limit;
	int32_t *tables = cyc__cpu_scratch_of(a->cpu, i_thread);
	size_t slab = ball->first[cyc_ball_row(ball, first, -top)];
	target t = { .sum = a->sum + 3 * slab,
		         .scale = { scale[0], scale[0], scale[1], 0 },
		         .limit = { limit, limit, limit, limit },
		         .is_good = { -1, -1, -1, -1 } };
	plane planes[MOST_PLANES];
	for (int32_t kz = first; kz < end; kz++) {
		plane *p = &planes[kz - first];
		p->last = tables + 2 * (kz - first) * (top + 1);
		p->skip = p->last + top + 1;
		p->kz = kz;
		p->R = -1;
		for (int32_t y = 0; y <= top; y++)
			p->skip[y] = a->spec->inner < 0 ? 0 : chord(a->spec->inner, kz, y) + 1;
	}
	for (int32_t i = 0; i < l->n; i++) {
		int32_t R = l->radius[i] < ball->radius ? l->radius[i] : ball->radius;
		if (R == 0 || R <= a->spec->inner || (l->use && l->use[i] != l->select)) continue;
		for (plane *p = planes; p < planes + (end - first); p++) {
			if (R < (p->kz < 0 ? -p->kz : p->kz)) continue;
			if (R != p->R) set_radius(p, R, top);
			const crossing c = { .slice = { (const cyc_v4 *)(a->packed + (size_t)i * cyc_packed_count(l->s)),
				                            l->s / 2 + 2, (float)(l->s / 2 + 1) },
				                 .M = &l->M[i],
				                 .last = p->last,
				                 .skip = p->skip,
				                 .first = &ball->first[cyc_ball_row(ball, p->kz, 0)],
				                 .slab = slab,
				                 .ry = p->ry,
				                 .R = R,
				                 .kz = p->kz };
			add_slice(&t, &c);
		}
	}
	if (t.is_good[0] && t.is_good[1] && t.is_good[2]) return CYC_OK;
	return cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
	                       "grey values are not numbers, or far larger than those of the first images");
}

/* Planes of a slab: a task is small enough for the cache, and there are enough of them for the threads. */
static int32_t slab_planes(const cyc_ball *ball, int n_threads)
{
	int32_t n_planes = 2 * ball->top + 1, of_task = n_planes / (8 * n_threads);
	double plane_bytes = 3.0 * sizeof(int64_t) * (double)ball->count / n_planes, n = SLAB_BYTES / plane_bytes;
	int32_t fit = n > MOST_PLANES ? MOST_PLANES : (int32_t)n;
	if (fit > of_task) fit = of_task;
	return fit < 1 ? 1 : fit;
}

cyc_status cyc_slice_insert_cpu(void *self, int64_t *sum, const cyc_sum_spec *spec, const float *packed,
                                const cyc_slices *slices)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	int32_t n_planes = 2 * spec->ball->top + 1, radius_max = 0;
	work a = { .cpu = cpu,
		       .sum = sum,
		       .spec = spec,
		       .packed = packed,
		       .l = slices,
		       .n_slab = slab_planes(spec->ball, cpu->n_threads) };
	int32_t n_slabs = (n_planes + a.n_slab - 1) / a.n_slab;
	for (int32_t i = 0; i < slices->n; i++) {
		if (slices->use && slices->use[i] != slices->select) continue;
		if (slices->radius[i] > radius_max) radius_max = slices->radius[i];
	}
	if (radius_max == 0 || radius_max <= spec->inner) goto done;
	CYC_TRY(cyc__cpu_scratch(cpu, n_slabs, (size_t)a.n_slab * tables_bytes(spec->ball)));
	CYC_TRY(cyc_parallel_for(n_slabs, cpu->n_threads, slab_task, &a));
done:
	return st;
}

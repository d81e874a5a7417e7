#include "halfmaps/sums.h"

#include "cyclotomo/ranks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 26, HEADROOM = 8, MOST_BITS = 62 };

/* ---------------------------------------------------------------- integers */

void cyc_sums_destroy(cyc_sums **p)
{
	cyc_sums *s = *p;
	if (!s) return;
	for (int32_t i = 0; i < s->n && s->sum; i++) cyc_buffer_destroy(&s->sum[i]);
	cyc_free(s->sum);
	cyc_ball_destroy(&s->ball);
	cyc_free(s);
	*p = NULL;
}

double cyc_sum_bytes(double radius) { return 3 * sizeof(int64_t) * cyc_ball_count(radius); }

cyc_status cyc_sums_create(cyc_sums **out, cyc_backend *be, int32_t box_px, int32_t radius, int32_t inner,
                           int32_t n)
{
	cyc_status st = CYC_OK;
	cyc_sums *s = NULL;
	*out = NULL;
	CYC_ASSERT(radius >= 1 && radius <= box_px / 2 && n >= 2 && n % 2 == 0);
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->be = be;
	s->box_px = box_px;
	/* Frequencies -s/2 and s/2 are one, and no map has them. */
	CYC_TRY(cyc_ball_create(&s->ball, radius, radius < box_px / 2 ? radius : box_px / 2 - 1));
	for (int h = 0; h < 2; h++) {
		s->spec[h].ball = s->ball;
		s->spec[h].inner = inner;
	}
	CYC_TRY(cyc_alloc(&s->sum, n, sizeof *s->sum));
	s->n = n;
	s->is_zero = true;
	for (int32_t i = 0; i < n; i++)
		CYC_TRY(cyc_buffer_create(&s->sum[i], be, 3 * s->ball->count, sizeof(int64_t)));
	*out = s;
	s = NULL;
done:
	cyc_sums_destroy(&s);
	return st;
}

typedef struct {
	char *bytes;
	size_t n;
} clearing;
enum { CLEARED_AT_ONCE = 1 << 22 };

static cyc_status clear_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const clearing *c = arg;
	size_t first = (size_t)i * CLEARED_AT_ONCE, left = c->n - first;
	memset(c->bytes + first, 0, left < CLEARED_AT_ONCE ? left : CLEARED_AT_ONCE);
	return CYC_OK;
}

cyc_status cyc_sums_clear(cyc_sums *s)
{
	cyc_status st = CYC_OK;
	/* Pages of new memory are better first touched where they are needed, by all threads. */
	for (int32_t i = 0; i < s->n && !s->is_zero; i++) {
		clearing c = { .n = 3 * s->ball->count * sizeof(int64_t) };
		CYC_TRY(cyc_buffer_map_discard(&c.bytes, s->sum[i]));
		CYC_TRY(cyc_parallel_for((int64_t)((c.n + CLEARED_AT_ONCE - 1) / CLEARED_AT_ONCE),
		                         cyc_backend_n_threads(s->be), clear_task, &c));
		CYC_TRY(cyc_buffer_unmap(s->sum[i]));
	}
	s->is_zero = true;
	for (int h = 0; h < 2; h++) s->spec[h].scale[0] = s->spec[h].scale[1] = 0;
done:
	return st;
}

/* Sum of squares and largest magnitude of data (0) and weights (1). */
typedef struct {
	double square[2], most[2], count;
} extent;

/* A packed slice has row v + s/2 + 1, column u, of (s + 4) x (s/2 + 2). */
static void extend(extent *e, const float *packed, int32_t radius, int32_t s)
{
	for (int32_t v = -radius; v <= radius; v++) {
		int32_t last = (int32_t)sqrt((double)radius * radius - (double)v * v);
		const float *row = packed + 4 * (size_t)(v + s / 2 + 1) * (size_t)(s / 2 + 2);
		for (int32_t u = 0; u <= last; u++) {
			double re = (double)row[4 * u], im = (double)row[4 * u + 1], w = (double)row[4 * u + 2];
			e->square[0] += 0.5 * (re * re + im * im);
			e->square[1] += w * w;
			e->most[0] = fmax(e->most[0], fmax(fabs(re), fabs(im)));
			e->most[1] = fmax(e->most[1], fabs(w));
			e->count++;
		}
	}
}

cyc_status cyc_sums_choose_scale(cyc_sums *s, int32_t half, cyc_buffer *packed, const cyc_slices *slices,
                                 double n_additions)
{
	cyc_status st = CYC_OK;
	extent e = { .count = 0 };
	const float *host;
	cyc_sum_spec *spec = &s->spec[half];
	if (spec->scale[0] > 0) goto done;
	double limit = fmin(exp2(MOST_BITS - ceil(log2(fmax(n_additions, 1)))), CYC_MOST_ADDED);
	CYC_TRY(cyc_buffer_map(&host, packed));
	for (int32_t i = 0; i < slices->n; i++)
		if (slices->radius[i] > 0 && slices->use[i] == slices->select)
			extend(&e, host + (size_t)i * cyc_packed_count(s->box_px), slices->radius[i], s->box_px);
	CYC_TRY(cyc_buffer_unmap(packed));
	if (!(e.square[0] > 0) || !(e.square[1] > 0) || !isfinite(e.square[0]) || !isfinite(e.square[1]))
		goto done;
	for (int k = 0; k < 2; k++) {
		double fine = BITS - ceil(log2(sqrt(e.square[k] / e.count))),
			   safe = floor(log2(limit)) - HEADROOM - ceil(log2(e.most[k]));
		spec->scale[k] = exp2(fmin(fine, safe));
	}
	spec->limit = limit;
done:
	return st;
}

cyc_status cyc_sums_add_ranks(cyc_sums *s)
{
	cyc_status st = CYC_OK;
	if (cyc_n_ranks() == 1) return CYC_OK;
	s->is_zero = false;
	for (int32_t i = 0; i < s->n; i++) {
		int64_t *host;
		if (!s->sum[i]) continue;
		CYC_TRY(cyc_buffer_map(&host, s->sum[i]));
		st = cyc_ranks_sum(host, 3 * s->ball->count);
		cyc_status unmapped = cyc_buffer_unmap(s->sum[i]);
		CYC_TRY(st);
		CYC_TRY(unmapped);
	}
done:
	return st;
}

void cyc_sums_scale_any(cyc_sums *s, int32_t half)
{
	s->spec[half].scale[0] = s->spec[half].scale[1] = s->spec[half].limit = 1;
}

/* ---------------------------------------------------------------- single precision */

void cyc_half_sum_destroy(cyc_half_sum **p)
{
	cyc_half_sum *s = *p;
	if (!s) return;
	cyc_ball_destroy(&s->ball);
	cyc_free(s->value);
	cyc_free(s);
	*p = NULL;
}

double cyc_half_sum_bytes(double radius) { return 4 * sizeof(float) * cyc_ball_count(radius + 2); }

cyc_status cyc_half_sum_create(cyc_half_sum **out, int32_t box_px, int32_t radius)
{
	cyc_status st = CYC_OK;
	cyc_half_sum *s = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->box_px = box_px;
	s->radius = radius;
	CYC_TRY(cyc_ball_create(&s->ball, radius + 2, radius + 2));
	CYC_TRY(cyc_alloc(&s->value, 4 * s->ball->count, sizeof *s->value));
	*out = s;
	s = NULL;
done:
	cyc_half_sum_destroy(&s);
	return st;
}

typedef struct {
	cyc_half_sum *out;
	const cyc_sums *s, *rest;
	const int64_t **of; /* n_of sums that are added up */
	const int64_t *beyond;
	int32_t n_of;
	const double *scale; /* of the half-set */
} taking;

static void to_float(float *out, const int64_t sum[3], const double scale[2])
{
	out[0] = (float)((double)sum[0] / scale[0]);
	out[1] = (float)((double)sum[1] / scale[0]);
	out[2] = (float)((double)sum[2] / scale[1]);
	out[3] = 0;
}

static cyc_status take_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const taking *t = arg;
	const cyc_ball *to = t->out->ball, *from = t->s->ball, *far = t->rest ? t->rest->ball : NULL;
	int32_t top = far ? far->top : from->top, z = (int32_t)i - top;
	for (int32_t y = -top; y <= top; y++) {
		float *row = t->out->value + 4 * to->first[cyc_ball_row(to, z, y)];
		int32_t x = 0;
		if (abs(z) <= from->top && abs(y) <= from->top) {
			size_t at = cyc_ball_row(from, z, y);
			for (; x < cyc_ball_length(from, at); x++) {
				int64_t sum[3] = { 0, 0, 0 };
				for (int32_t k = 0; k < t->n_of; k++)
					for (int c = 0; c < 3; c++)
						sum[c] += t->of[k][3 * (from->first[at] + (size_t)x) + (size_t)c];
				to_float(row + 4 * x, sum, t->scale);
			}
		}
		if (!far) continue;
		size_t at = cyc_ball_row(far, z, y);
		for (; x < cyc_ball_length(far, at); x++)
			to_float(row + 4 * x, t->beyond + 3 * (far->first[at] + (size_t)x), t->scale);
	}
	return CYC_OK;
}

cyc_status cyc_sums_take(cyc_half_sum **out, cyc_sums *s, int32_t first, int32_t count, int32_t but,
                         cyc_sums *rest, int32_t i_rest)
{
	cyc_status st = CYC_OK;
	int32_t radius = rest ? rest->ball->radius : s->ball->radius;
	int32_t half = cyc_sums_half(s, first);
	taking t = { .s = s, .rest = rest, .scale = s->spec[half].scale };
	CYC_ASSERT(t.scale[0] > 0 && cyc_sums_half(s, first + count - 1) == half &&
	           (!rest || rest->spec[half].inner == s->ball->radius));
	if (!*out) CYC_TRY(cyc_half_sum_create(out, s->box_px, radius));
	t.out = *out;
	CYC_ASSERT(t.out->radius == radius && t.out->box_px == s->box_px);
	CYC_TRY(cyc_alloc(&t.of, count, sizeof *t.of));
	for (int32_t i = first; i < first + count; i++)
		if (i != but) CYC_TRY(cyc_buffer_map(&t.of[t.n_of++], s->sum[i]));
	if (rest) CYC_TRY(cyc_buffer_map(&t.beyond, rest->sum[i_rest]));
	CYC_TRY(cyc_parallel_for(2 * (rest ? rest->ball->top : s->ball->top) + 1, cyc_backend_n_threads(s->be),
	                         take_task, &t));
	for (int32_t i = first; i < first + count; i++)
		if (i != but) CYC_TRY(cyc_buffer_unmap(s->sum[i]));
	if (rest) CYC_TRY(cyc_buffer_unmap(rest->sum[i_rest]));
done:
	cyc_free(t.of);
	return st;
}

cyc_status cyc_sums_to_halves(cyc_half_sum *out[2], cyc_sums *sums, const cyc_fourier_op *ops, int32_t n_ops)
{
	cyc_status st = CYC_OK;
	cyc_half_sum *other = NULL;
	CYC_ASSERT(sums->n == 2);
	for (int32_t h = 0; h < 2; h++) {
		CYC_TRY(cyc_sums_take(&out[h], sums, h, 1, -1, NULL, 0));
		cyc_buffer_destroy(&sums->sum[h]);
		CYC_TRY(cyc_symmetrise(&out[h], &other, ops, n_ops, cyc_backend_n_threads(sums->be)));
	}
done:
	cyc_half_sum_destroy(&other);
	return st;
}

double cyc_sums_to_halves_bytes(double radius, bool has_symmetry)
{
	/* Both integers and one half; then one integer and two halves; with symmetry one half more. */
	double half = cyc_half_sum_bytes(radius), sum = cyc_sum_bytes(radius);
	return sum + half + fmax(sum, half) + (has_symmetry ? half : 0);
}

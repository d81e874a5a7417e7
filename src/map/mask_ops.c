#include "map_internal.h"

#include <string.h>

/* ---------------------------------------------------------------- distances */

/*
 * Squared Euclidean distance separates by axis: d2(p) = min over y', z' of dx2 + (y - y')^2 + (z - z')^2.
 * Only distances below a limit of a few voxels are asked for, so each axis looks that far and no farther:
 * whole rows at a time, in integers, which is exact and vectorises (an unlimited transform with lower
 * envelopes does neither well).
 */
typedef struct {
	int32_t *from, *to;
	const uint8_t *set;
	int64_t n, reach;
	int32_t none; /* "farther than the limit"; adding a squared reach must not overflow */
} distance_work;

static void row_distance(int32_t *d2, const uint8_t *set, int64_t n, int64_t reach, int32_t none)
{
	int64_t last = -reach - 1;
	for (int64_t x = 0; x < n; x++) {
		if (set[x]) last = x;
		int64_t d = x - last;
		d2[x] = d <= reach ? (int32_t)(d * d) : none;
	}
	last = n + reach;
	for (int64_t x = n - 1; x >= 0; x--) {
		if (set[x]) last = x;
		int64_t d = last - x;
		if (d <= reach && d * d < d2[x]) d2[x] = (int32_t)(d * d);
	}
}

CYC_SIMD static void lower_row(int32_t *restrict to, const int32_t *restrict from, int32_t add, int64_t n)
{
	for (int64_t x = 0; x < n; x++) {
		int32_t v = from[x] + add;
		to[x] = v < to[x] ? v : to[x];
	}
}

static void lower_rows(int32_t *to, const int32_t *from, int64_t stride, int64_t i, const distance_work *w)
{
	int64_t first = i > w->reach ? i - w->reach : 0, last = i + w->reach < w->n - 1 ? i + w->reach : w->n - 1;
	for (int64_t j = first; j <= last; j++)
		lower_row(to, from + (j - i) * stride, (int32_t)((j - i) * (j - i)), w->n);
}

static cyc_status distance_xy(void *arg, int64_t z, int i_thread)
{
	const distance_work *w = arg;
	(void)i_thread;
	int64_t n = w->n, plane = z * n * n;
	for (int64_t y = 0; y < n; y++)
		row_distance(w->from + plane + y * n, w->set + plane + y * n, n, w->reach, w->none);
	for (int64_t y = 0; y < n; y++) {
		int32_t *to = w->to + plane + y * n;
		const int32_t *from = w->from + plane + y * n;
		memcpy(to, from, (size_t)n * sizeof *to);
		lower_rows(to, from, n, y, w);
	}
	return CYC_OK;
}

static cyc_status distance_z(void *arg, int64_t z, int i_thread)
{
	const distance_work *w = arg;
	(void)i_thread;
	int64_t n = w->n;
	for (int64_t y = 0; y < n; y++) {
		int32_t *to = w->to + (z * n + y) * n;
		const int32_t *from = w->from + (z * n + y) * n;
		memcpy(to, from, (size_t)n * sizeof *to);
		lower_rows(to, from, n * n, z, w);
	}
	return CYC_OK;
}

cyc_status cyc__distance2(int32_t *d2, const uint8_t *set, int32_t n, double limit2, int n_threads)
{
	cyc_status st = CYC_OK;
	int32_t *work = NULL;
	double reach = ceil(sqrt(limit2));
	if (reach > n) reach = n;
	CYC_TRY(cyc_alloc(&work, (size_t)n * (size_t)n * (size_t)n, sizeof *work));
	distance_work w = {
		.from = d2, .to = work, .set = set, .n = n, .reach = (int64_t)reach, .none = INT32_MAX / 4
	};
	CYC_TRY(cyc_parallel_for(n, n_threads, distance_xy, &w));
	w.from = work;
	w.to = d2;
	CYC_TRY(cyc_parallel_for(n, n_threads, distance_z, &w));
done:
	cyc_free(work);
	return st;
}

/* ---------------------------------------------------------------- binary and soft masks */

cyc_status cyc__mask_extend(uint8_t *set, int32_t n, double extend_px, int n_threads)
{
	cyc_status st = CYC_OK;
	int32_t *d2 = NULL;
	size_t count = (size_t)n * (size_t)n * (size_t)n;
	double limit2 = extend_px * extend_px;
	bool grow = extend_px > 0.0;
	if (!(fabs(extend_px) > 0.0)) return CYC_OK;
	CYC_TRY(cyc_alloc(&d2, count, sizeof *d2));
	/* Shrinking grows the outside. Voxels beyond the box are neither inside nor outside. */
	if (!grow)
		for (size_t i = 0; i < count; i++) set[i] = !set[i];
	CYC_TRY(cyc__distance2(d2, set, n, limit2, n_threads));
	for (size_t i = 0; i < count; i++) set[i] = (d2[i] < limit2) == grow;
done:
	cyc_free(d2);
	return st;
}

cyc_status cyc__mask_soften(float *mask, const uint8_t *set, int32_t n, double edge_px, int n_threads)
{
	/* RELION's search never finds voxels at squared distances of 9999 and more. */
	const double MAX_DISTANCE2 = 9999.0;
	cyc_status st = CYC_OK;
	int32_t *d2 = NULL;
	float *profile = NULL;
	size_t count = (size_t)n * (size_t)n * (size_t)n;
	double limit2 = edge_px * edge_px < MAX_DISTANCE2 ? edge_px * edge_px : MAX_DISTANCE2;
	if (!(edge_px > 0.0)) {
		for (size_t i = 0; i < count; i++) mask[i] = set[i] ? 1.0f : 0.0f;
		return CYC_OK;
	}
	CYC_TRY(cyc_alloc(&d2, count, sizeof *d2));
	CYC_TRY(cyc_alloc(&profile, (size_t)ceil(limit2) + 1, sizeof *profile));
	for (int32_t i = 0; i < limit2; i++) profile[i] = (float)(0.5 + 0.5 * cos(CYC_PI * sqrt(i) / edge_px));
	CYC_TRY(cyc__distance2(d2, set, n, limit2, n_threads));
	for (size_t i = 0; i < count; i++) mask[i] = d2[i] < limit2 ? profile[d2[i]] : 0.0f;
done:
	cyc_free(d2);
	cyc_free(profile);
	return st;
}

/* ---------------------------------------------------------------- threshold */

cyc_status cyc__mask_auto_threshold(double *out, const float *map, int32_t n)
{
	enum { N_BINS = 4096 };
	cyc_status st = CYC_OK;
	double *count = NULL;
	int64_t c = n / 2, r2_max = (int64_t)(n / 2) * (n / 2);
	float low = INFINITY, high = -INFINITY;
	CYC_TRY(cyc_alloc(&count, N_BINS, sizeof *count));
	for (int pass = 0; pass < 2; pass++) {
		double scale = pass ? N_BINS / ((double)high - (double)low) : 0.0;
		for (int64_t z = 0; z < n; z++)
			for (int64_t y = 0; y < n; y++)
				for (int64_t x = 0; x < n; x++) {
					if (cyc_square((double)(z - c)) + cyc_square((double)(y - c)) +
					        cyc_square((double)(x - c)) >=
					    (double)r2_max)
						continue;
					float v = map[(z * n + y) * n + x];
					if (pass == 0) {
						low = v < low ? v : low;
						high = v > high ? v : high;
					} else {
						int32_t i = (int32_t)(((double)v - (double)low) * scale);
						count[i < N_BINS ? i : N_BINS - 1] += 1.0;
					}
				}
		CYC_CHECK(high > low, CYC_E_DATA,
		          "the map has the same value (%g) everywhere: no threshold can be found", (double)low);
	}
	double total = 0.0, total_sum = 0.0, below = 0.0, below_sum = 0.0, best = -1.0;
	for (int i = 0; i < N_BINS; i++) {
		total += count[i];
		total_sum += count[i] * (i + 0.5);
	}
	for (int i = 0; i < N_BINS - 1; i++) {
		below += count[i];
		below_sum += count[i] * (i + 0.5);
		double above = total - below;
		if (below <= 0.0 || above <= 0.0) continue;
		double between = below * above * cyc_square(below_sum / below - (total_sum - below_sum) / above);
		if (between > best) {
			best = between;
			*out = (double)low + (i + 1) * ((double)high - (double)low) / N_BINS;
		}
	}
done:
	cyc_free(count);
	return st;
}

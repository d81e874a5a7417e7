#include "map_internal.h"

#include <string.h>

/* ---------------------------------------------------------------- radial tables */

void cyc__filter_lowpass(double *table, int32_t n, double pixel_size_A, double resolution_A, double edge_px)
{
	double centre = round(n * pixel_size_A / resolution_A), half_width = floor(edge_px / 2.0);
	double low = centre - half_width, high = centre + half_width;
	size_t n_radial = cyc__n_radial(n);
	for (size_t r2 = 0; r2 < n_radial; r2++) {
		double r = sqrt((double)r2);
		if (r > high) table[r2] = 0.0;
		else if (r > low) table[r2] *= 0.5 + 0.5 * cos(CYC_PI * (r - low) / (high - low));
	}
}

void cyc__filter_fsc_weight(double *table, int32_t n, const double *fsc)
{
	const double MIN_FSC = 1e-4;
	int64_t n_shells = cyc__n_shells(n), i_max = -1, n_radial = (int64_t)cyc__n_radial(n);
	while (i_max + 1 < n_shells && fsc[i_max + 1] >= MIN_FSC) i_max++;
	int64_t r2 = 0;
	for (int64_t i = 0; i <= i_max; i++) {
		double weight = sqrt(2.0 * fsc[i] / (1.0 + fsc[i]));
		for (; r2 <= i * (i + 1) && r2 < n_radial; r2++) table[r2] *= weight;
	}
	for (; r2 < n_radial; r2++) table[r2] = 0.0;
}

void cyc__filter_bfactor(double *table, int32_t n, double pixel_size_A, double bfactor_A2)
{
	size_t n_radial = cyc__n_radial(n), nyquist2 = (size_t)(n / 2) * (size_t)(n / 2);
	double to_invA2 = 1.0 / cyc_square(n * pixel_size_A);
	if (!(fabs(bfactor_A2) > 0.0)) return;
	for (size_t r2 = 0; r2 < n_radial; r2++)
		table[r2] = r2 <= nyquist2 ? table[r2] * exp(-bfactor_A2 / 4.0 * (double)r2 * to_invA2) : 0.0;
}

typedef struct {
	cyc_cfloat *ft;
	const double *table;
	int32_t n;
	double scale;
} apply_work;

static cyc_status apply_plane(void *arg, int64_t z, int i_thread)
{
	const apply_work *w = arg;
	(void)i_thread;
	int64_t n = w->n, n_half = n / 2 + 1, fz = cyc__frequency(z, w->n);
	for (int64_t y = 0; y < n; y++) {
		int64_t fy = cyc__frequency(y, w->n), base = fz * fz + fy * fy;
		float *row = (float *)(w->ft + (z * n + y) * n_half);
		for (int64_t x = 0; x < n_half; x++) {
			float f = (float)(w->table[base + x * x] * w->scale);
			row[2 * x] *= f;
			row[2 * x + 1] *= f;
		}
	}
	return CYC_OK;
}

cyc_status cyc__filter_apply(cyc_cfloat *ft, int32_t n, const double *table, double scale, int n_threads)
{
	apply_work w = { ft, table, n, scale };
	return cyc_parallel_for(n, n_threads, apply_plane, &w);
}

cyc_status cyc__map_lowpass(float *map, int32_t n, double pixel_size_A, double resolution_A, int n_threads)
{
	const double EDGE_PX = 2.0;
	cyc_status st = CYC_OK;
	cyc_fft3 *plan = NULL;
	cyc_cfloat *ft = NULL;
	double *table = NULL;
	size_t n_radial = cyc__n_radial(n);
	CYC_TRY(cyc_fft3_create(&plan, n, n_threads));
	CYC_TRY(cyc_alloc(&ft, cyc_half_count3(n), sizeof *ft));
	CYC_TRY(cyc_alloc(&table, n_radial, sizeof *table));
	for (size_t i = 0; i < n_radial; i++) table[i] = 1.0;
	cyc__filter_lowpass(table, n, pixel_size_A, resolution_A, EDGE_PX);
	CYC_TRY(cyc_fft3_forward(ft, plan, map));
	CYC_TRY(cyc__filter_apply(ft, n, table, 1.0, n_threads));
	CYC_TRY(cyc_fft3_inverse(map, plan, ft));
done:
	cyc_fft3_destroy(&plan);
	cyc_free(ft);
	cyc_free(table);
	return st;
}

/* ---------------------------------------------------------------- detector response */

/* 1 at frequency 0 by definition; measured curves are a little above in places. */
static const double MIN_MTF = 1e-10, MOST_MTF = 2;

cyc_status cyc__mtf_create(cyc__mtf **out, const double *inverse_px, const double *value, int32_t n,
                           double pixel_size_A)
{
	cyc_status st = CYC_OK;
	cyc__mtf *m = NULL;
	*out = NULL;
	CYC_CHECK(n >= 2, CYC_E_DATA, "an MTF needs at least 2 rows, got %d", n);
	CYC_TRY(cyc_alloc(&m, 1, sizeof *m));
	CYC_TRY(cyc_alloc(&m->frequency_invA, n, sizeof *m->frequency_invA));
	CYC_TRY(cyc_alloc(&m->value, n, sizeof *m->value));
	m->n = n;
	for (int32_t i = 0; i < n; i++) {
		CYC_CHECK(value[i] >= MIN_MTF, CYC_E_DATA, "row %d: an MTF value must be positive, got %g", i + 1,
		          value[i]);
		CYC_CHECK(value[i] <= MOST_MTF, CYC_E_DATA,
		          "row %d: an MTF value must be a fraction of at most 1, not in percent, got %g", i + 1,
		          value[i]);
		CYC_CHECK(i == 0 || inverse_px[i] > inverse_px[i - 1], CYC_E_DATA,
		          "row %d: MTF frequencies must increase, got %g after %g", i + 1, inverse_px[i],
		          inverse_px[i - 1]);
		m->frequency_invA[i] = inverse_px[i] / pixel_size_A;
		m->value[i] = value[i];
	}
	m->step_invA = (m->frequency_invA[n - 1] - m->frequency_invA[0]) / n;
	*out = m;
	m = NULL;
done:
	cyc__mtf_destroy(&m);
	return st;
}

void cyc__mtf_destroy(cyc__mtf **m)
{
	if (!*m) return;
	cyc_free((*m)->frequency_invA);
	cyc_free((*m)->value);
	cyc_free(*m);
	*m = NULL;
}

double cyc__mtf_value(const cyc__mtf *m, double frequency_invA)
{
	double cell = floor(frequency_invA / m->step_invA);
	if (cell <= 0.0) return m->value[0];
	if (cell >= m->n - 1) return m->value[m->n - 1];
	int32_t i = (int32_t)cell;
	double f0 = m->frequency_invA[i], f1 = m->frequency_invA[i + 1];
	return m->value[i] + (m->value[i + 1] - m->value[i]) * (frequency_invA - f0) / (f1 - f0);
}

cyc_status cyc__filter_mtf(double *table, int32_t n, double pixel_size_A, const cyc__mtf *mtf)
{
	cyc_status st = CYC_OK;
	int64_t nyquist2 = (int64_t)(n / 2) * (n / 2);
	for (int64_t r2 = 0; r2 < nyquist2; r2++) {
		double k = sqrt((double)r2) / (n * pixel_size_A), v = cyc__mtf_value(mtf, k);
		CYC_CHECK(v >= MIN_MTF, CYC_E_DATA, "the MTF is not positive at %.4f 1/A (%g)", k, v);
		table[r2] /= v;
	}
done:
	return st;
}

/* ---------------------------------------------------------------- Guinier curves */

enum { N_CHUNKS = 8 }; /* fixed, so that the order of the sums does not depend on the threads */

typedef struct {
	const cyc_cfloat *ft;
	int32_t n;
	size_t n_radial;
	double *amplitude;
	int64_t *count;
} radial_work;

static cyc_status radial_chunk(void *arg, int64_t chunk, int i_thread)
{
	const radial_work *w = arg;
	(void)i_thread;
	int64_t n = w->n, n_half = n / 2 + 1;
	double *amplitude = w->amplitude + (size_t)chunk * w->n_radial;
	int64_t *count = w->count + (size_t)chunk * w->n_radial;
	for (int64_t z = chunk * n / N_CHUNKS; z < (chunk + 1) * n / N_CHUNKS; z++) {
		int64_t fz = cyc__frequency(z, w->n);
		for (int64_t y = 0; y < n; y++) {
			int64_t fy = cyc__frequency(y, w->n), base = fz * fz + fy * fy;
			const float *row = (const float *)(w->ft + (z * n + y) * n_half);
			for (int64_t x = 0; x < n_half; x++) {
				double re = (double)row[2 * x], im = (double)row[2 * x + 1];
				amplitude[base + x * x] += sqrt(re * re + im * im);
				count[base + x * x]++;
			}
		}
	}
	return CYC_OK;
}

cyc_status cyc__radial_amplitudes(double *amplitude, int64_t *count, const cyc_cfloat *ft, int32_t n,
                                  int n_threads)
{
	cyc_status st = CYC_OK;
	radial_work w = { .ft = ft, .n = n, .n_radial = cyc__n_radial(n) };
	CYC_TRY(cyc_alloc(&w.amplitude, N_CHUNKS * w.n_radial, sizeof *w.amplitude));
	CYC_TRY(cyc_alloc(&w.count, N_CHUNKS * w.n_radial, sizeof *w.count));
	CYC_TRY(cyc_parallel_for(N_CHUNKS, n_threads, radial_chunk, &w));
	for (size_t i = 0; i < w.n_radial; i++) {
		amplitude[i] = 0.0;
		count[i] = 0;
		for (size_t c = 0; c < N_CHUNKS; c++) {
			amplitude[i] += w.amplitude[c * w.n_radial + i];
			count[i] += w.count[c * w.n_radial + i];
		}
	}
done:
	cyc_free(w.amplitude);
	cyc_free(w.count);
	return st;
}

cyc_status cyc__guinier_create(cyc__guinier **out, const double *amplitude, const int64_t *count,
                               const double *table, int32_t n, double pixel_size_A, double low_A,
                               double high_A)
{
	const double NO_VALUE = -99.0; /* RELION's mark in its files */
	cyc_status st = CYC_OK;
	cyc__guinier *g = NULL;
	int64_t n_shells = cyc__n_shells(n), n_radial = (int64_t)cyc__n_radial(n), r2 = 0;
	*out = NULL;
	CYC_TRY(cyc_alloc(&g, 1, sizeof *g));
	g->n = (int32_t)n_shells;
	CYC_TRY(cyc_alloc(&g->x_invA2, n_shells, sizeof *g->x_invA2));
	CYC_TRY(cyc_alloc(&g->y, n_shells, sizeof *g->y));
	CYC_TRY(cyc_alloc(&g->is_fitted, n_shells, sizeof *g->is_fitted));
	for (int64_t i = 0; i < n_shells; i++) {
		double sum = 0.0;
		int64_t n_in_shell = 0;
		for (; r2 <= i * (i + 1) && r2 < n_radial; r2++) {
			sum += amplitude[r2] * (table ? table[r2] : 1.0);
			n_in_shell += count[r2];
		}
		double resolution_A = i > 0 ? n * pixel_size_A / (double)i : (double)INFINITY;
		g->x_invA2[i] = cyc_square((double)i / (n * pixel_size_A));
		g->y[i] = sum > 0.0 ? log(sum / (double)n_in_shell) : NO_VALUE;
		g->is_fitted[i] = sum > 0.0 && resolution_A <= low_A && resolution_A >= high_A;
	}
	*out = g;
	g = NULL;
done:
	cyc__guinier_destroy(&g);
	return st;
}

void cyc__guinier_destroy(cyc__guinier **g)
{
	if (!*g) return;
	cyc_free((*g)->x_invA2);
	cyc_free((*g)->y);
	cyc_free((*g)->is_fitted);
	cyc_free(*g);
	*g = NULL;
}

cyc__line cyc__guinier_fit(const cyc__guinier *g)
{
	double n = 0.0, mean_x = 0.0, mean_y = 0.0, xx = 0.0, yy = 0.0, xy = 0.0;
	cyc__line line = { 0 };
	for (int32_t i = 0; i < g->n; i++) {
		if (!g->is_fitted[i]) continue;
		n += 1.0;
		mean_x += g->x_invA2[i];
		mean_y += g->y[i];
	}
	line.n_points = (int32_t)n;
	if (n < 3.0) return line;
	mean_x /= n;
	mean_y /= n;
	for (int32_t i = 0; i < g->n; i++) {
		if (!g->is_fitted[i]) continue;
		double x = g->x_invA2[i] - mean_x, y = g->y[i] - mean_y;
		xx += x * x;
		yy += y * y;
		xy += x * y;
	}
	line.slope_A2 = xy / xx;
	line.intercept = mean_y - line.slope_A2 * mean_x;
	line.correlation = yy > 0.0 ? xy * xy / (xx * yy) : 0.0;
	return line;
}

/*
 * Amplitudes without their phases: evened out over directions, and how well those of two maps agree
 * (docs/theory/03-maps.md, T3.14 - T3.16).
 */
#include "map_internal.h"

/* ---------------------------------------------------------------- sums over the shells of one transform pair
 */

enum { SUM_N, SUM_A, SUM_B, SUM_AA, SUM_BB, SUM_AB, SUM_WEIGHT, SUM_PHASE2, N_SUMS };

typedef struct {
	const cyc_cfloat *ft1, *ft2; /* ft2 NULL: only the sums of the first */
	int32_t n;
	double *sums; /* n planes x n_shells x N_SUMS */
} shell_work;

static cyc_status shell_task(void *arg, int64_t z, int i_thread)
{
	const shell_work *w = arg;
	(void)i_thread;
	int64_t n = w->n, n_half = n / 2 + 1, n_shells = cyc__n_shells(w->n), fz = cyc__frequency(z, w->n);
	for (int64_t y = 0; y < n; y++) {
		int64_t fy = cyc__frequency(y, w->n), base = fz * fz + fy * fy;
		const float *a = (const float *)(w->ft1 + (z * n + y) * n_half),
					*b = w->ft2 ? (const float *)(w->ft2 + (z * n + y) * n_half) : a;
		for (int64_t x = 0; x < n_half; x++) {
			int32_t shell = cyc__shell(base + x * x);
			if (shell >= n_shells) break;
			double *s = w->sums + (z * n_shells + shell) * N_SUMS;
			double ar = (double)a[2 * x], ai = (double)a[2 * x + 1], br = (double)b[2 * x],
				   bi = (double)b[2 * x + 1];
			double am = sqrt(ar * ar + ai * ai), bm = sqrt(br * br + bi * bi);
			s[SUM_N] += 1.0;
			s[SUM_A] += am;
			s[SUM_AA] += am * am;
			if (!w->ft2) continue;
			s[SUM_B] += bm;
			s[SUM_BB] += bm * bm;
			s[SUM_AB] += am * bm;
			s[SUM_WEIGHT] += am + bm;
			s[SUM_PHASE2] += (am + bm) * cyc_square(atan2(ai * br - ar * bi, ar * br + ai * bi));
		}
	}
	return CYC_OK;
}

/* n_shells x N_SUMS, planes added in their order. Free with cyc_free(). */
static cyc_status shell_sums(double **out, const cyc_cfloat *ft1, const cyc_cfloat *ft2, int32_t n,
                             int n_threads)
{
	cyc_status st = CYC_OK;
	size_t n_values = (size_t)cyc__n_shells(n) * N_SUMS;
	shell_work w = { ft1, ft2, n, NULL };
	*out = NULL;
	CYC_TRY(cyc_alloc(&w.sums, (size_t)n * n_values, sizeof *w.sums));
	CYC_TRY(cyc_parallel_for(n, n_threads, shell_task, &w));
	CYC_TRY(cyc_alloc(out, n_values, sizeof **out));
	for (size_t z = 0; z < (size_t)n; z++)
		for (size_t i = 0; i < n_values; i++) (*out)[i] += w.sums[z * n_values + i];
done:
	cyc_free(w.sums);
	return st;
}

cyc_status cyc__amplitude_curves(double *correlation, double *residual_deg, const cyc_cfloat *ft1,
                                 const cyc_cfloat *ft2, int32_t n, int n_threads)
{
	cyc_status st = CYC_OK;
	double *sums = NULL;
	CYC_TRY(shell_sums(&sums, ft1, ft2, n, n_threads));
	for (int32_t i = 0; i < cyc__n_shells(n); i++) {
		const double *s = sums + (size_t)i * N_SUMS;
		double aa = s[SUM_AA] - s[SUM_A] * s[SUM_A] / s[SUM_N],
			   bb = s[SUM_BB] - s[SUM_B] * s[SUM_B] / s[SUM_N];
		double ab = s[SUM_AB] - s[SUM_A] * s[SUM_B] / s[SUM_N];
		correlation[i] = aa > 0.0 && bb > 0.0 ? ab / sqrt(aa * bb) : 0.0;
		residual_deg[i] = s[SUM_WEIGHT] > 0.0 ? cyc_rad_to_deg(sqrt(s[SUM_PHASE2] / s[SUM_WEIGHT])) : 0.0;
	}
done:
	cyc_free(sums);
	return st;
}

/* ---------------------------------------------------------------- directions */

/* Points of shell m with x >= 0, row by row along x: each row has the few where the line meets the shell. */
typedef struct {
	int32_t m;
	int32_t *first;   /* (2 m + 3)^2 + 1 rows of (z, y): number of the first point */
	int32_t *first_x; /* and its x */
} shell_points;

static size_t row_of(const shell_points *s, int64_t y, int64_t z)
{
	return (size_t)((z + s->m + 1) * (2 * (int64_t)s->m + 3) + y + s->m + 1);
}

static cyc_status shell_points_create(shell_points *s, int32_t m)
{
	cyc_status st = CYC_OK;
	size_t width = 2 * (size_t)m + 3, row = 0;
	*s = (shell_points){ .m = m };
	CYC_TRY(cyc_alloc(&s->first, width * width + 1, sizeof *s->first));
	CYC_TRY(cyc_alloc(&s->first_x, width * width, sizeof *s->first_x));
	for (int64_t z = -m - 1; z <= m + 1; z++)
		for (int64_t y = -m - 1; y <= m + 1; y++, row++) {
			double left = cyc_square(m - 1) - (double)(y * y + z * z);
			int64_t x = left > 0.0 ? (int64_t)sqrt(left) : 0;
			while (cyc__shell(x * x + y * y + z * z) < m) x++;
			s->first_x[row] = (int32_t)x;
			while (cyc__shell(x * x + y * y + z * z) == m) x++;
			s->first[row + 1] = s->first[row] + (int32_t)x - s->first_x[row];
		}
done:
	return st;
}

static void shell_points_deinit(shell_points *s)
{
	cyc_free(s->first);
	cyc_free(s->first_x);
}

static int32_t shell_points_count(const shell_points *s)
{
	return s->first[row_of(s, s->m + 1, s->m + 1) + 1];
}

/*
 * A direction is a lattice point of shell m: the one nearest to where a coefficient's own direction meets the
 * sphere of radius m.
 */
typedef struct {
	int32_t n, m;
	shell_points points;
	int32_t *point; /* per coefficient of the half transform; -1: below shell m or beyond Nyquist */
	cyc_cfloat *ft;
	const double *factor; /* per point */
} direction_work;

static int64_t signed_frequency(int64_t j, int32_t n) { return j <= n / 2 ? j : j - n; }

static int32_t nearest_point(const shell_points *s, int64_t x, int64_t y, int64_t z)
{
	int32_t m = s->m;
	enum { REACH = 2 };
	double scale = m / sqrt((double)(x * x + y * y + z * z)), best = (double)INFINITY;
	double v[3] = { (double)x * scale, (double)y * scale, (double)z * scale };
	int64_t at[3] = { llrint(v[0]), llrint(v[1]), llrint(v[2]) }, found[3] = { 0, 0, 0 };
	for (int64_t c = at[2] - REACH; c <= at[2] + REACH; c++)
		for (int64_t b = at[1] - REACH; b <= at[1] + REACH; b++)
			for (int64_t a = at[0] < REACH ? 0 : at[0] - REACH; a <= at[0] + REACH; a++) {
				double d = cyc_square((double)a - v[0]) + cyc_square((double)b - v[1]) +
				           cyc_square((double)c - v[2]);
				if (d >= best || cyc__shell(a * a + b * b + c * c) != m) continue;
				best = d;
				found[0] = a;
				found[1] = b;
				found[2] = c;
			}
	/* Both ends of a direction in the plane x = 0 are one: the transform stays that of a real map. */
	if (found[0] == 0 && (found[2] < 0 || (found[2] == 0 && found[1] < 0))) {
		found[1] = -found[1];
		found[2] = -found[2];
	}
	size_t row = row_of(s, found[1], found[2]);
	return s->first[row] + (int32_t)found[0] - s->first_x[row];
}

static cyc_status point_task(void *arg, int64_t z, int i_thread)
{
	const direction_work *w = arg;
	(void)i_thread;
	int64_t n = w->n, n_half = n / 2 + 1, fz = signed_frequency(z, w->n);
	for (int64_t y = 0; y < n; y++) {
		int64_t fy = signed_frequency(y, w->n);
		int32_t *row = w->point + (z * n + y) * n_half;
		for (int64_t x = 0; x < n_half; x++) {
			int32_t shell = cyc__shell(x * x + fy * fy + fz * fz);
			row[x] = shell < w->m || shell > n / 2 ? -1 : nearest_point(&w->points, x, fy, fz);
		}
	}
	return CYC_OK;
}

static cyc_status divide_task(void *arg, int64_t z, int i_thread)
{
	const direction_work *w = arg;
	(void)i_thread;
	size_t n_plane = (size_t)w->n * (size_t)(w->n / 2 + 1), first = (size_t)z * n_plane;
	for (size_t i = first; i < first + n_plane; i++) {
		if (w->point[i] < 0) continue;
		float f = (float)w->factor[w->point[i]], *c = (float *)&w->ft[i];
		c[0] *= f;
		c[1] *= f;
	}
	return CYC_OK;
}

/* One over the root of the mean of |F|^2 / <|F|^2> at each point; 1 where it is undefined. */
static void direction_factors(double *factor, int64_t *count, int64_t n_points, const direction_work *w,
                              const double *sums)
{
	int64_t n = w->n, n_half = n / 2 + 1;
	for (int64_t z = 0; z < n; z++)
		for (int64_t y = 0; y < n; y++) {
			int64_t fz = cyc__frequency(z, w->n), fy = cyc__frequency(y, w->n), first = (z * n + y) * n_half;
			for (int64_t x = 0; x < n_half; x++) {
				int32_t p = w->point[first + x];
				if (p < 0) continue;
				const double *s = sums + (int64_t)cyc__shell(x * x + fy * fy + fz * fz) * N_SUMS;
				const float *c = (const float *)&w->ft[first + x];
				if (!(s[SUM_AA] > 0.0)) continue;
				factor[p] +=
					((double)c[0] * (double)c[0] + (double)c[1] * (double)c[1]) * s[SUM_N] / s[SUM_AA];
				count[p]++;
			}
		}
	for (int64_t p = 0; p < n_points; p++)
		factor[p] = factor[p] > 0.0 ? sqrt((double)count[p] / factor[p]) : 1.0;
}

cyc_status cyc__flatten_directions(cyc_cfloat *ft, int32_t n, int32_t from_shell, int n_threads)
{
	cyc_status st = CYC_OK;
	int64_t n_points, *count = NULL;
	direction_work w = { .n = n, .m = from_shell, .ft = ft };
	double *factor = NULL, *sums = NULL;
	CYC_TRY(cyc_alloc(&w.point, cyc_half_count3(n), sizeof *w.point));
	CYC_TRY(shell_points_create(&w.points, from_shell));
	n_points = shell_points_count(&w.points);
	CYC_TRY(cyc_alloc(&factor, n_points, sizeof *factor));
	CYC_TRY(cyc_alloc(&count, n_points, sizeof *count));
	CYC_TRY(shell_sums(&sums, ft, NULL, n, n_threads));
	CYC_TRY(cyc_parallel_for(n, n_threads, point_task, &w));
	direction_factors(factor, count, n_points, &w, sums);
	w.factor = factor;
	CYC_TRY(cyc_parallel_for(n, n_threads, divide_task, &w));
done:
	cyc_free(w.point);
	shell_points_deinit(&w.points);
	cyc_free(factor);
	cyc_free(count);
	cyc_free(sums);
	return st;
}

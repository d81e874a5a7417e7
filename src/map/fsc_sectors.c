#include "fsc_sectors.h"

#include "map_internal.h"

#include <stdlib.h>
#include <string.h>

/* A power of two, for halving. With more of them the error is better known (to 1/sqrt(2 (n - 1)) of itself),
 * but neighbours share more. */
enum { N_SECTORS = 16, N_LEVELS = 4, CELLS = 96, N_SAMPLES = 6000 };

typedef struct {
	double x[3];
	int32_t sector;
} direction;

/* The one of all directions equal by symmetry that is nearest to a direction of no meaning, away from all
 * axes of point groups. */
static void make_canonical(double x[3], const cyc_symmetry *group)
{
	static const double POLE[3] = { 0.8103, 0.4871, 0.3258 };
	double best = -2.0, found[3] = { 0.0, 0.0, 0.0 };
	for (int32_t g = 0; g < group->n; g++) {
		cyc_vec3 v = cyc_mat3_apply(group->ops[g], (cyc_vec3){ x[0], x[1], x[2] });
		double along = v.x * POLE[0] + v.y * POLE[1] + v.z * POLE[2], sign = along < 0.0 ? -1.0 : 1.0;
		if (sign * along <= best) continue;
		best = sign * along;
		found[0] = sign * v.x;
		found[1] = sign * v.y;
		found[2] = sign * v.z;
	}
	memcpy(x, found, sizeof found);
}

/* ---------------------------------------------------------------- a tree of halvings */

typedef struct {
	int axis[N_SECTORS - 1];
	double at[N_SECTORS - 1]; /* node k has the children 2 k + 1 and 2 k + 2 */
} tree;

static int by_x(const void *a, const void *b)
{
	const double p = ((const direction *)a)->x[0], q = ((const direction *)b)->x[0];
	return (p > q) - (p < q);
}
static int by_y(const void *a, const void *b)
{
	const double p = ((const direction *)a)->x[1], q = ((const direction *)b)->x[1];
	return (p > q) - (p < q);
}
static int by_z(const void *a, const void *b)
{
	const double p = ((const direction *)a)->x[2], q = ((const direction *)b)->x[2];
	return (p > q) - (p < q);
}

static void halve(tree *t, int node, direction *d, int n)
{
	static int (*const BY[3])(const void *, const void *) = { by_x, by_y, by_z };
	double widest = -1.0;
	if (node >= N_SECTORS - 1) return;
	for (int k = 0; k < 3; k++) {
		double low = 2.0, high = -2.0;
		for (int i = 0; i < n; i++) {
			if (d[i].x[k] < low) low = d[i].x[k];
			if (d[i].x[k] > high) high = d[i].x[k];
		}
		if (high - low <= widest) continue;
		widest = high - low;
		t->axis[node] = k;
	}
	qsort(d, (size_t)n, sizeof *d, BY[t->axis[node]]);
	t->at[node] = 0.5 * (d[n / 2 - 1].x[t->axis[node]] + d[n / 2].x[t->axis[node]]);
	halve(t, 2 * node + 1, d, n / 2);
	halve(t, 2 * node + 2, d + n / 2, n - n / 2);
}

static int leaf_of(const tree *t, const double x[3])
{
	int node = 0;
	for (int level = 0; level < N_LEVELS; level++) node = 2 * node + (x[t->axis[node]] < t->at[node] ? 1 : 2);
	return node - (N_SECTORS - 1);
}

static cyc_status grow(tree *t, const cyc_symmetry *group)
{
	cyc_status st = CYC_OK;
	direction *d = NULL;
	CYC_TRY(cyc_alloc(&d, N_SAMPLES, sizeof *d));
	/* An even spread: Fibonacci's spiral. */
	for (int i = 0; i < N_SAMPLES; i++) {
		double z = 1.0 - (2.0 * i + 1.0) / N_SAMPLES, r = sqrt(1.0 - z * z),
			   phi = i * CYC_PI * (3.0 - sqrt(5.0));
		d[i] = (direction){ .x = { r * cos(phi), r * sin(phi), z } };
		make_canonical(d[i].x, group);
	}
	halve(t, 0, d, N_SAMPLES);
done:
	cyc_free(d);
	return st;
}

/* ---------------------------------------------------------------- directions */

/* Cell of a direction: the face of the cube it leaves by, turned to the positive side, and where. */
static size_t cell_of(const double x[3])
{
	int k = fabs(x[0]) >= fabs(x[1]) ? 0 : 1;
	if (fabs(x[2]) > fabs(x[k])) k = 2;
	double u = 0.5 + 0.5 * x[(k + 1) % 3] / x[k], v = 0.5 + 0.5 * x[(k + 2) % 3] / x[k];
	size_t iu = (size_t)fmin(u * CELLS, CELLS - 1), iv = (size_t)fmin(v * CELLS, CELLS - 1);
	return ((size_t)k * CELLS + iv) * CELLS + iu;
}

cyc_status cyc__sectors_init(cyc__sectors *s, const char *symmetry)
{
	cyc_status st = CYC_OK;
	cyc_symmetry *group = NULL;
	tree t = { 0 };
	*s = (cyc__sectors){ .n_sectors = N_SECTORS };
	CYC_TRY(cyc_symmetry_create(&group, symmetry && symmetry[0] ? symmetry : "C1"));
	s->n_equal = group->n;
	CYC_TRY(grow(&t, group));
	CYC_TRY(cyc_alloc(&s->of_direction, (size_t)3 * CELLS * CELLS, sizeof *s->of_direction));
	for (int k = 0; k < 3; k++) {
		for (int i = 0; i < CELLS * CELLS; i++) {
			double x[3] = { 1.0, 1.0, 1.0 };
			x[(k + 1) % 3] = 2.0 * (i % CELLS + 0.5) / CELLS - 1.0;
			x[(k + 2) % 3] = 2.0 * (i / CELLS + 0.5) / CELLS - 1.0;
			double r = sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
			for (int j = 0; j < 3; j++) x[j] /= r;
			make_canonical(x, group);
			s->of_direction[(size_t)k * CELLS * CELLS + (size_t)i] = (uint8_t)leaf_of(&t, x);
		}
	}
done:
	cyc_symmetry_destroy(&group);
	if (st != CYC_OK) cyc__sectors_deinit(s);
	return st;
}

void cyc__sectors_deinit(cyc__sectors *s)
{
	cyc_free(s->of_direction);
	*s = (cyc__sectors){ 0 };
}

int32_t cyc__sector_of(const cyc__sectors *s, int32_t x, int32_t y, int32_t z)
{
	return s->of_direction[cell_of((const double[3]){ x, y, z })];
}

/* ---------------------------------------------------------------- sums */

typedef struct {
	const cyc__sectors *sectors;
	const cyc_cfloat *ft1, *ft2;
	int32_t n, first_shell;
	double *sums; /* n planes x n_sectors x n_shells x 3 */
} work;

static cyc_status plane_task(void *arg, int64_t z, int i_thread)
{
	const work *w = arg;
	(void)i_thread;
	int32_t n = w->n, n_half = n / 2 + 1, n_shells = cyc__n_shells(n),
			fz = (int32_t)z <= n / 2 ? (int32_t)z : (int32_t)z - n;
	double *sums = w->sums + (size_t)z * (size_t)w->sectors->n_sectors * (size_t)n_shells * 3;
	for (int32_t y = 0; y < n; y++) {
		int32_t fy = y <= n / 2 ? y : y - n;
		size_t row = ((size_t)z * (size_t)n + (size_t)y) * (size_t)n_half;
		const float *a = (const float *)(w->ft1 + row), *b = (const float *)(w->ft2 + row);
		int64_t base = (int64_t)fz * fz + (int64_t)fy * fy;
		int32_t shell = cyc__shell(base);
		for (int32_t x = 0; x < n_half; x++) {
			while (base + (int64_t)x * x > (int64_t)shell * (shell + 1)) shell++;
			if (shell >= n_shells) break;
			if (shell < w->first_shell) continue;
			int32_t sector = shell == 0 ? 0 : cyc__sector_of(w->sectors, x, fy, fz);
			double *to = sums + ((size_t)sector * (size_t)n_shells + (size_t)shell) * 3;
			double ar = (double)a[2 * x], ai = (double)a[2 * x + 1], br = (double)b[2 * x],
				   bi = (double)b[2 * x + 1];
			to[0] += ar * br + ai * bi;
			to[1] += ar * ar + ai * ai;
			to[2] += br * br + bi * bi;
		}
	}
	return CYC_OK;
}

cyc_status cyc__sector_sums_init(cyc__sector_sums *s, const cyc__sectors *sectors, const cyc_cfloat *ft1,
                                 const cyc_cfloat *ft2, int32_t n, int32_t first_shell, int n_threads)
{
	cyc_status st = CYC_OK;
	work w = { .sectors = sectors, .ft1 = ft1, .ft2 = ft2, .n = n, .first_shell = first_shell };
	size_t m = (size_t)cyc__n_shells(n) * 3, each = (size_t)sectors->n_sectors * m;
	*s = (cyc__sector_sums){ .n_shells = cyc__n_shells(n), .n_sectors = sectors->n_sectors };
	CYC_TRY(cyc_alloc(&s->sums, each + m, sizeof *s->sums));
	CYC_TRY(cyc_alloc(&w.sums, (size_t)n * each, sizeof *w.sums));
	CYC_TRY(cyc_parallel_for(n, n_threads, plane_task, &w));
	for (size_t z = 0; z < (size_t)n; z++) {
		for (size_t i = 0; i < each; i++) s->sums[i] += w.sums[z * each + i];
	}
	for (size_t i = 0; i < each; i++) s->sums[each + i % m] += s->sums[i];
done:
	cyc_free(w.sums);
	if (st != CYC_OK) cyc__sector_sums_deinit(s);
	return st;
}

void cyc__sector_sums_deinit(cyc__sector_sums *s)
{
	cyc_free(s->sums);
	*s = (cyc__sector_sums){ 0 };
}

/* ---------------------------------------------------------------- what follows from them */

static double correlation(const double t[3])
{
	return t[1] > 0.0 && t[2] > 0.0 ? t[0] / (sqrt(t[1]) * sqrt(t[2])) : 0.0;
}

void cyc__sector_fsc(double *fsc, const cyc__sector_sums *s, int32_t without)
{
	/* What is left of a sum after taking nearly all of it away is rounding. */
	const double LEAST_LEFT = 1e-6;
	size_t m = (size_t)s->n_shells * 3;
	for (size_t i = 0; i < (size_t)s->n_shells; i++) {
		const double *all = s->sums + (size_t)s->n_sectors * m + 3 * i;
		double left[3] = { all[0], all[1], all[2] };
		for (int k = 0; k < 3 && without >= 0; k++)
			left[k] -= s->sums[(size_t)without * m + 3 * i + (size_t)k];
		bool is_left = left[1] > LEAST_LEFT * all[1] && left[2] > LEAST_LEFT * all[2];
		fsc[i] = correlation(is_left ? left : all);
	}
}

double cyc__sector_error(const double *left_out, const cyc__sectors *s, double shell, double diameter_px,
                         int32_t n)
{
	const double MOST_LOST = 0.5;
	double mean = 0.0, sum = 0.0, K = s->n_sectors;
	for (int32_t i = 0; i < s->n_sectors; i++) mean += left_out[i] / K;
	for (int32_t i = 0; i < s->n_sectors; i++) sum += cyc_square(left_out[i] - mean);
	/* What neighbouring sectors have in common is missing in the scatter: mean reach of the correlation over
	 * the width of a sector. */
	double width = sqrt(2.0 * CYC_PI * shell * shell / (s->n_equal * K)), reach = 0.4 * n / diameter_px;
	double lost = width > 0.0 ? fmin(reach / width, MOST_LOST) : MOST_LOST;
	return sqrt(sum * (K - 1.0) / K) / (1.0 - lost);
}

#include "map_internal.h"

#include <string.h>

enum { SHELL_BLOCK = 1024 }; /* sums on the stack: a box of 2048 in one pass, larger ones in several */

typedef struct {
	double cross[SHELL_BLOCK], power1[SHELL_BLOCK], power2[SHELL_BLOCK];
} shell_sums;

/* Shells first .. first + SHELL_BLOCK - 1 of one z plane. */
static void add_plane(shell_sums *s, const cyc_cfloat *ft1, const cyc_cfloat *ft2, int32_t n, int64_t z,
                      int32_t first)
{
	int64_t n_half = n / 2 + 1, last = n / 2 < first + SHELL_BLOCK - 1 ? n / 2 : first + SHELL_BLOCK - 1;
	int64_t fz = cyc__frequency(z, n);
	for (int64_t y = 0; y < n; y++) {
		int64_t fy = cyc__frequency(y, n), base = fz * fz + fy * fy;
		const float *a = (const float *)(ft1 + (z * n + y) * n_half),
					*b = (const float *)(ft2 + (z * n + y) * n_half);
		int64_t shell = cyc__shell(base);
		for (int64_t x = 0; x < n_half && shell <= last;) {
			double c = 0.0, p = 0.0, q = 0.0;
			for (; x < n_half && base + x * x <= shell * (shell + 1); x++) {
				double ar = (double)a[2 * x], ai = (double)a[2 * x + 1], br = (double)b[2 * x],
					   bi = (double)b[2 * x + 1];
				c += ar * br + ai * bi;
				p += ar * ar + ai * ai;
				q += br * br + bi * bi;
			}
			if (shell >= first) {
				s->cross[shell - first] += c;
				s->power1[shell - first] += p;
				s->power2[shell - first] += q;
			}
			shell++;
		}
	}
}

static double correlation(double cross, double power1, double power2)
{
	return power1 > 0.0 && power2 > 0.0 ? cross / (sqrt(power1) * sqrt(power2)) : 0.0;
}

void cyc_fsc_compute(double *fsc, const cyc_cfloat *ft1, const cyc_cfloat *ft2, int32_t n)
{
	shell_sums plane, total;
	int32_t n_shells = cyc__n_shells(n);
	for (int32_t first = 0; first < n_shells; first += SHELL_BLOCK) {
		int32_t m = n_shells - first < SHELL_BLOCK ? n_shells - first : SHELL_BLOCK;
		memset(&total, 0, sizeof total);
		for (int64_t z = 0; z < n; z++) {
			memset(&plane, 0, sizeof plane);
			add_plane(&plane, ft1, ft2, n, z, first);
			for (int32_t i = 0; i < m; i++) {
				total.cross[i] += plane.cross[i];
				total.power1[i] += plane.power1[i];
				total.power2[i] += plane.power2[i];
			}
		}
		for (int32_t i = 0; i < m; i++)
			fsc[first + i] = correlation(total.cross[i], total.power1[i], total.power2[i]);
	}
}

typedef struct {
	const cyc_cfloat *ft1, *ft2;
	int32_t n;
	double *sums; /* n planes x 3 x n_shells */
} fsc_work;

static cyc_status plane_task(void *arg, int64_t z, int i_thread)
{
	fsc_work *w = arg;
	(void)i_thread;
	shell_sums plane;
	int32_t n_shells = cyc__n_shells(w->n);
	double *to = w->sums + (size_t)z * 3 * (size_t)n_shells;
	for (int32_t first = 0; first < n_shells; first += SHELL_BLOCK) {
		size_t m = (size_t)(n_shells - first < SHELL_BLOCK ? n_shells - first : SHELL_BLOCK);
		memset(&plane, 0, sizeof plane);
		add_plane(&plane, w->ft1, w->ft2, w->n, z, first);
		memcpy(to + first, plane.cross, m * sizeof *to);
		memcpy(to + n_shells + first, plane.power1, m * sizeof *to);
		memcpy(to + 2 * n_shells + first, plane.power2, m * sizeof *to);
	}
	return CYC_OK;
}

cyc_status cyc__fsc_compute_threads(double *fsc, const cyc_cfloat *ft1, const cyc_cfloat *ft2, int32_t n,
                                    int n_threads)
{
	cyc_status st = CYC_OK;
	fsc_work w = { .ft1 = ft1, .ft2 = ft2, .n = n };
	int32_t n_shells = cyc__n_shells(n);
	if (n_threads <= 1) {
		cyc_fsc_compute(fsc, ft1, ft2, n);
		return CYC_OK;
	}
	CYC_TRY(cyc_alloc(&w.sums, (size_t)n * 3 * (size_t)n_shells, sizeof *w.sums));
	CYC_TRY(cyc_parallel_for(n, n_threads, plane_task, &w));
	for (int32_t i = 0; i < n_shells; i++) {
		double t[3] = { 0.0, 0.0, 0.0 };
		for (int64_t z = 0; z < n; z++)
			for (int j = 0; j < 3; j++) t[j] += w.sums[(z * 3 + j) * n_shells + i];
		fsc[i] = correlation(t[0], t[1], t[2]);
	}
done:
	cyc_free(w.sums);
	return st;
}

void cyc_fsc_correct(double *corrected, const double *masked, const double *randomised, int32_t n_shells,
                     int32_t randomise_from)
{
	for (int32_t i = 0; i < n_shells; i++) {
		double m = i == 0 && masked[0] <= 0.0 ? 1.0 : masked[i];
		/* A randomised curve of 1 means nothing was randomised there: there is nothing to correct. */
		if (i < randomise_from + 2 || randomised[i] >= 1.0) corrected[i] = m;
		else corrected[i] = (m - randomised[i]) / (1.0 - randomised[i]);
	}
}

int32_t cyc_fsc_randomise_from(const double *fsc_unmasked, int32_t n_shells, double threshold)
{
	for (int32_t i = 1; i < n_shells; i++)
		if (fsc_unmasked[i] < threshold) return i;
	return -1;
}

int32_t cyc_fsc_resolution_shell(const double *fsc, int32_t n_shells)
{
	int32_t i = 0;
	while (i + 1 < n_shells && fsc[i + 1] >= 0.143) i++;
	return i;
}

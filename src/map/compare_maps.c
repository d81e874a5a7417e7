#include "cyclotomo/compare.h"

#include "map_internal.h"

#include <string.h>

void cyc_map_comparison_destroy(cyc_map_comparison **c)
{
	if (!c || !*c) return;
	cyc_free((*c)->fsc);
	cyc_free((*c)->scale);
	cyc_free(*c);
	*c = NULL;
}

/* ---------------------------------------------------------------- voxels */

static void compare_voxels(cyc_map_comparison *c, const cyc_volume *a, const cyc_volume *b)
{
	size_t n = cyc_volume_count(a), at = 0;
	double sum_a = 0.0, sum_b = 0.0, aa = 0.0, bb = 0.0, ab = 0.0, dd = 0.0, largest = 0.0;
	for (size_t i = 0; i < n; i++) {
		sum_a += (double)a->data[i];
		sum_b += (double)b->data[i];
	}
	double mean_a = sum_a / (double)n, mean_b = sum_b / (double)n;
	for (size_t i = 0; i < n; i++) {
		double x = (double)a->data[i] - mean_a, y = (double)b->data[i] - mean_b,
			   d = (double)b->data[i] - (double)a->data[i];
		aa += x * x;
		bb += y * y;
		ab += x * y;
		dd += d * d;
		if (fabs(d) > largest) {
			largest = fabs(d);
			at = i;
		}
	}
	c->rms_a = sqrt(aa / (double)n);
	c->rms_b = sqrt(bb / (double)n);
	c->rms_difference = sqrt(dd / (double)n);
	c->max_difference = largest;
	c->max_at[0] = (int32_t)(at % (size_t)a->nx);
	c->max_at[1] = (int32_t)(at / (size_t)a->nx % (size_t)a->ny);
	c->max_at[2] = (int32_t)(at / ((size_t)a->nx * (size_t)a->ny));
	c->correlation = aa > 0.0 && bb > 0.0 ? ab / sqrt(aa) / sqrt(bb) : 0.0;
	c->scale_all = aa > 0.0 ? ab / aa : 0.0;
}

/* ---------------------------------------------------------------- shells */

typedef struct {
	const cyc_cfloat *ft[2];
	int32_t n, n_shells;
	double *sums; /* n planes x n_shells x (ab, aa, bb) */
} shell_task;

/* One z plane; coefficients whose mate is not stored count twice, so that the sums are those of the voxels.
 */
static cyc_status add_plane(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	shell_task *t = arg;
	int64_t n_half = t->n / 2 + 1, fz = cyc__frequency(z, t->n);
	double *sums = t->sums + z * t->n_shells * 3;
	for (int64_t y = 0; y < t->n; y++) {
		int64_t fy = cyc__frequency(y, t->n);
		const float *a = (const float *)(t->ft[0] + (z * t->n + y) * n_half),
					*b = (const float *)(t->ft[1] + (z * t->n + y) * n_half);
		for (int64_t x = 0; x < n_half; x++) {
			int32_t shell = cyc__shell(fz * fz + fy * fy + x * x);
			if (shell >= t->n_shells) break;
			double weight = x == 0 || x == t->n / 2 ? 1.0 : 2.0;
			double ar = (double)a[2 * x], ai = (double)a[2 * x + 1], br = (double)b[2 * x],
				   bi = (double)b[2 * x + 1];
			sums[3 * shell] += weight * (ar * br + ai * bi);
			sums[3 * shell + 1] += weight * (ar * ar + ai * ai);
			sums[3 * shell + 2] += weight * (br * br + bi * bi);
		}
	}
	return CYC_OK;
}

static double crossing_A(const cyc_map_comparison *c, int32_t n, double pixel_size_A, double threshold)
{
	for (int32_t i = 1; i < c->n_shells - 1; i++) {
		if (c->fsc[i] >= threshold) continue;
		double before = c->fsc[i - 1],
			   at =
				   (double)(i - 1) + (before > threshold ? (before - threshold) / (before - c->fsc[i]) : 0.0);
		return n * pixel_size_A / (at > 1.0 ? at : 1.0);
	}
	return 2.0 * pixel_size_A;
}

static void shell_figures(cyc_map_comparison *c, const double *sums, int32_t n, double pixel_size_A,
                          double resolution_A)
{
	int32_t last = c->n_shells - 2;
	/* A shell belongs to the limit if its own resolution is not finer. */
	if (resolution_A > 0.0 && pixel_size_A > 0.0) {
		double shell = floor(n * pixel_size_A / resolution_A + 1e-9);
		if (shell < last) last = shell > 1.0 ? (int32_t)shell : 1;
	}
	double ab = 0.0, aa = 0.0, bb = 0.0;
	c->min_fsc = 1.0;
	for (int32_t i = 1; i <= last; i++) {
		ab += sums[3 * i];
		aa += sums[3 * i + 1];
		bb += sums[3 * i + 2];
		if (c->fsc[i] < c->min_fsc) c->min_fsc = c->fsc[i];
	}
	for (int32_t i = 0; i < c->n_shells; i++)
		c->scale[i] = sums[3 * i + 1] > 0.0 ? sums[3 * i] / sums[3 * i + 1] : 0.0;
	for (int32_t i = 1; i < c->n_shells - 1; i++) c->mean_fsc += c->fsc[i] / (double)(c->n_shells - 2);
	c->limit_A = n * pixel_size_A / last;
	c->correlation_to_limit = aa > 0.0 && bb > 0.0 ? ab / sqrt(aa) / sqrt(bb) : 0.0;
	c->scale_to_limit = aa > 0.0 ? ab / aa : 0.0;
	c->resolution_0143_A = crossing_A(c, n, pixel_size_A, 0.143);
	c->resolution_05_A = crossing_A(c, n, pixel_size_A, 0.5);
}

static cyc_status compare_shells(cyc_map_comparison *c, const cyc_volume *a, const cyc_volume *b,
                                 const cyc_map_compare_options *options)
{
	cyc_status st = CYC_OK;
	cyc_fft3 *plan = NULL;
	cyc_cfloat *ft[2] = { NULL, NULL };
	double *sums = NULL;
	int32_t n = a->nx;
	c->n_shells = cyc__n_shells(n);
	CYC_TRY(cyc_alloc(&c->fsc, c->n_shells, sizeof *c->fsc));
	CYC_TRY(cyc_alloc(&c->scale, c->n_shells, sizeof *c->scale));
	CYC_TRY(cyc_alloc(&sums, (size_t)n * (size_t)c->n_shells * 3, sizeof *sums));
	CYC_TRY(cyc_fft3_create(&plan, n, options->n_threads));
	for (int k = 0; k < 2; k++) {
		CYC_TRY(cyc_alloc(&ft[k], cyc_half_count3(n), sizeof *ft[k]));
		CYC_TRY(cyc_fft3_forward(ft[k], plan, k == 0 ? a->data : b->data));
	}
	CYC_TRY(cyc__fsc_compute_threads(c->fsc, ft[0], ft[1], n, options->n_threads));
	shell_task task = { { ft[0], ft[1] }, n, c->n_shells, sums };
	CYC_TRY(cyc_parallel_for(n, options->n_threads, add_plane, &task));
	for (int64_t z = 1; z < n; z++) {
		for (int32_t i = 0; i < 3 * c->n_shells; i++) sums[i] += sums[z * c->n_shells * 3 + i];
	}
	shell_figures(c, sums, n, a->pixel_size_A, options->resolution_A);
done:
	cyc_fft3_destroy(&plan);
	cyc_free(ft[0]);
	cyc_free(ft[1]);
	cyc_free(sums);
	return st;
}

/* ---------------------------------------------------------------- the whole */

static cyc_status check_same_grid(const cyc_volume *a, const cyc_volume *b, const char *what)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(a->nx == b->nx && a->ny == b->ny && a->nz == b->nz, CYC_E_SHAPE,
	          "the first map has %d x %d x %d voxels, the %s %d x %d x %d", a->nx, a->ny, a->nz, what, b->nx,
	          b->ny, b->nz);
	CYC_CHECK(a->pixel_size_A <= 0.0 || b->pixel_size_A <= 0.0 ||
	              fabs(a->pixel_size_A - b->pixel_size_A) <= 1e-3 * a->pixel_size_A,
	          CYC_E_SHAPE, "the first map has a pixel size of %g Å, the %s %g Å", a->pixel_size_A, what,
	          b->pixel_size_A);
done:
	return st;
}

static void multiply(cyc_volume *v, const cyc_volume *mask)
{
	size_t n = cyc_volume_count(v);
	for (size_t i = 0; i < n && mask; i++) v->data[i] *= mask->data[i];
}

/* z -> -z about the centre voxel n/2, periodic: plane z goes to (n - z) mod n. */
static void mirror_z(cyc_volume *v)
{
	size_t plane = (size_t)v->nx * (size_t)v->ny;
	for (int32_t z = 1; z < v->nz - z; z++) {
		float *p = v->data + (size_t)z * plane, *q = v->data + (size_t)(v->nz - z) * plane;
		for (size_t i = 0; i < plane; i++) {
			float keep = p[i];
			p[i] = q[i];
			q[i] = keep;
		}
	}
}

cyc_status cyc_map_compare(cyc_map_comparison **out, const cyc_volume *a, const cyc_volume *b,
                           const cyc_volume *mask, const cyc_map_compare_options *options)
{
	cyc_status st = CYC_OK;
	cyc_map_comparison *c = NULL;
	cyc_volume *x = NULL, *y = NULL;
	*out = NULL;
	CYC_TRY(check_same_grid(a, b, "second"));
	if (mask) CYC_TRY(check_same_grid(a, mask, "mask"));
	CYC_TRY(cyc_alloc(&c, 1, sizeof *c));
	CYC_TRY(cyc_volume_copy(&x, a));
	CYC_TRY(cyc_volume_copy(&y, b));
	if (options->mirror_z) mirror_z(y);
	multiply(x, mask);
	multiply(y, mask);
	compare_voxels(c, x, y);
	if (cyc_volume_is_cubic(a) && a->nx % 2 == 0 && a->nx >= 4) CYC_TRY(compare_shells(c, x, y, options));
	*out = c;
	c = NULL;
done:
	cyc_volume_destroy(&x);
	cyc_volume_destroy(&y);
	cyc_map_comparison_destroy(&c);
	return st;
}

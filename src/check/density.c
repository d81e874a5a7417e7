/*
 * Is the particle denser than the ice around it? Where a map has detail there is matter, whatever the sign of
 * the map: the local power of its fine shells outlines the particle without a mask. Coarse shells must be
 * higher there; where they are lower, the images are inverted.
 */
#include "check/check_internal.h"

#include "map/map_files.h"

#include <math.h>
#include <string.h>

/* Detail lies between the first two, density between the last two, in Å. */
static const double FINEST_A = 8, BORDER_A = 25, COARSEST_A = 100;
/* Edge of the blocks that are left out in turn for the error. */
static const double BLOCK_A = 30;

typedef struct {
	int32_t n;
	double pixel_size_A;
	const cyc_fft3 *plan;
	cyc_cfloat *work;
} mapping;

/* Frequencies of a transform between two resolutions, the rest 0. */
static void keep_band(cyc_cfloat *ft, const mapping *m, double finest_A, double coarsest_A)
{
	size_t sh = (size_t)m->n / 2 + 1;
	double length = m->n * m->pixel_size_A, low = length / coarsest_A, high = length / finest_A;
	for (int32_t z = 0; z < m->n; z++)
		for (int32_t y = 0; y < m->n; y++)
			for (int32_t x = 0; x <= m->n / 2; x++) {
				int32_t ky = y < m->n / 2 ? y : y - m->n, kz = z < m->n / 2 ? z : z - m->n;
				double r = sqrt((double)x * x + (double)ky * ky + (double)kz * kz);
				if (r < low || r > high || r == 0)
					ft[((size_t)z * (size_t)m->n + (size_t)y) * sh + (size_t)x] = 0;
			}
}

static cyc_status band(float *out, const mapping *m, const float *in, double finest_A, double coarsest_A)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_fft3_forward(m->work, m->plan, in));
	keep_band(m->work, m, finest_A, coarsest_A);
	CYC_TRY(cyc_fft3_inverse(out, m->plan, m->work));
done:
	return st;
}

/* n, sums of a, b, aa, bb, ab */
typedef struct {
	double n, a, b, aa, bb, ab;
} moments;

static double correlation(const moments *m)
{
	double aa = m->aa - m->a * m->a / m->n, bb = m->bb - m->b * m->b / m->n, ab = m->ab - m->a * m->b / m->n;
	return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* Correlation in the sphere that the box holds; its error by leaving out each block of space in turn. */
static cyc_status correlate(cyc_measured *out, const float *a, const float *b, const mapping *m)
{
	cyc_status st = CYC_OK;
	moments *blocks = NULL, all = { 0 };
	int32_t edge = (int32_t)fmax(2, round(BLOCK_A / m->pixel_size_A)), per_axis = (m->n + edge - 1) / edge;
	size_t n_blocks = (size_t)per_axis * (size_t)per_axis * (size_t)per_axis;
	double radius = m->n / 2 - 2, n_used = 0, sum = 0, sum2 = 0;
	CYC_TRY(cyc_alloc(&blocks, n_blocks, sizeof *blocks));
	for (int32_t z = 0; z < m->n; z++)
		for (int32_t y = 0; y < m->n; y++)
			for (int32_t x = 0; x < m->n; x++) {
				if (cyc_square(x - m->n / 2) + cyc_square(y - m->n / 2) + cyc_square(z - m->n / 2) >
				    radius * radius)
					continue;
				size_t at = ((size_t)z * (size_t)m->n + (size_t)y) * (size_t)m->n + (size_t)x;
				moments *k =
					&blocks[((size_t)(z / edge) * (size_t)per_axis + (size_t)(y / edge)) * (size_t)per_axis +
				            (size_t)(x / edge)];
				double u = (double)a[at], v = (double)b[at];
				*k = (moments){ k->n + 1, k->a + u, k->b + v, k->aa + u * u, k->bb + v * v, k->ab + u * v };
			}
	for (size_t i = 0; i < n_blocks; i++)
		all = (moments){ all.n + blocks[i].n,   all.a + blocks[i].a,   all.b + blocks[i].b,
			             all.aa + blocks[i].aa, all.bb + blocks[i].bb, all.ab + blocks[i].ab };
	for (size_t i = 0; i < n_blocks; i++) {
		const moments *k = &blocks[i], rest = { all.n - k->n,   all.a - k->a,   all.b - k->b,
			                                    all.aa - k->aa, all.bb - k->bb, all.ab - k->ab };
		if (k->n == 0 || rest.n == 0) continue;
		double r = correlation(&rest);
		n_used++;
		sum += r;
		sum2 += r * r;
	}
	if (n_used < 8 || !(all.n > 0)) goto done;
	out->value = correlation(&all);
	out->error = sqrt((n_used - 1) / n_used * fmax(0, sum2 - sum * sum / n_used));
done:
	cyc_free(blocks);
	return st;
}

cyc_status cyc_check_density(cyc_measured *out, const char *map1, const char *map2, const char *root,
                             int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_volume *half[2] = { NULL, NULL };
	float *fine[2] = { NULL, NULL }, *coarse = NULL;
	cyc_fft3 *plan = NULL;
	mapping m = { 0 };
	*out = (cyc_measured){ CYC_NAN, CYC_NAN };
	CYC_TRY(cyc__read_any_map(&half[0], root, map1, n_threads));
	CYC_TRY(cyc__read_any_map(&half[1], root, map2, n_threads));
	CYC_CHECK(half[0]->nx == half[1]->nx, CYC_E_SHAPE,
	          "the half maps have different boxes: %s %d px, %s %d px", map1, half[0]->nx, map2, half[1]->nx);
	m.n = half[0]->nx;
	m.pixel_size_A = half[0]->pixel_size_A;
	size_t n = cyc_volume_count(half[0]);
	if (!(m.pixel_size_A > 0) || 2 * m.pixel_size_A > 0.6 * BORDER_A || m.n * m.pixel_size_A < 2 * BORDER_A)
		goto done;
	CYC_TRY(cyc_fft3_create(&plan, m.n, n_threads));
	m.plan = plan;
	CYC_TRY(cyc_alloc(&m.work, cyc_half_count3(m.n), sizeof *m.work));
	CYC_TRY(cyc_alloc(&coarse, n, sizeof *coarse));
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc_alloc(&fine[h], n, sizeof *fine[h]));
		CYC_TRY(band(fine[h], &m, half[h]->data, FINEST_A, BORDER_A));
	}
	/* The product of the halves: their noise does not agree, so that it adds nothing on average. */
	for (size_t i = 0; i < n; i++) {
		fine[0][i] *= fine[1][i];
		coarse[i] = 0.5F * (half[0]->data[i] + half[1]->data[i]);
	}
	CYC_TRY(band(fine[0], &m, fine[0], BORDER_A, COARSEST_A));
	CYC_TRY(band(coarse, &m, coarse, BORDER_A, COARSEST_A));
	CYC_TRY(correlate(out, fine[0], coarse, &m));
done:
	for (int h = 0; h < 2; h++) {
		cyc_volume_destroy(&half[h]);
		cyc_free(fine[h]);
	}
	cyc_free(coarse);
	cyc_free(m.work);
	cyc_fft3_destroy(&plan);
	return st;
}

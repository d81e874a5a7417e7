#include "cyclotomo/tilt.h"

#include <math.h>
#include <string.h>

typedef struct {
	const float *image;
	int32_t nx, box, n_across;
	cyc_fft2 *fft;
	float *tiles;     /* n_threads x box x box */
	cyc_cfloat *fts;  /* n_threads x box x (box/2 + 1) */
	double *power;    /* n_tiles x (box/2 + 1): kept apart so that the sum over tiles has a fixed order */
	const float *radius; /* box x (box/2 + 1) */
} tiling;

static cyc_status tile_task(void *arg, int64_t i, int i_thread)
{
	tiling *t = arg;
	size_t box = (size_t)t->box, half = box / 2 + 1;
	float *tile = t->tiles + (size_t)i_thread * box * box;
	cyc_cfloat *ft = t->fts + (size_t)i_thread * box * half;
	double *power = t->power + (size_t)i * half;
	size_t x0 = (size_t)(i % t->n_across) * (box / 2), y0 = (size_t)(i / t->n_across) * (box / 2);
	for (size_t y = 0; y < box; y++) memcpy(tile + y * box, t->image + (y0 + y) * (size_t)t->nx + x0, box * sizeof *tile);
	cyc_fft2_forward(ft, t->fft, tile);
	for (size_t j = 0; j < box * half; j++) {
		double r = (double)t->radius[j], re = (double)crealf(ft[j]), im = (double)cimagf(ft[j]), p = re * re + im * im;
		size_t shell = (size_t)r;
		if (shell >= half) continue;
		double f = r - (double)shell;
		power[shell] += (1 - f) * p;
		if (shell + 1 < half) power[shell + 1] += f * p;
	}
	return CYC_OK;
}

cyc_status cyc_noise_spectrum(double *power, const float *image, int32_t nx, int32_t ny, int32_t box, int n_threads)
{
	cyc_status st = CYC_OK;
	tiling t = { .image = image, .nx = nx, .box = box };
	float *radius = NULL;
	double *weight = NULL;
	size_t n = (size_t)box, half = n / 2 + 1;
	CYC_CHECK(box > 1 && box % 2 == 0, CYC_E_SHAPE, "the box must be even and positive, got %d px", box);
	CYC_CHECK(nx >= box && ny >= box, CYC_E_SHAPE, "a box of %d px does not fit into the tilt image of %d x %d px", box, nx, ny);
	t.n_across = (nx - box) / (box / 2) + 1;
	int32_t n_tiles = t.n_across * ((ny - box) / (box / 2) + 1);
	if (n_threads < 1) n_threads = 1;
	CYC_TRY(cyc_fft2_create(&t.fft, box, box));
	CYC_TRY(cyc_alloc(&t.tiles, (size_t)n_threads * n * n, sizeof *t.tiles));
	CYC_TRY(cyc_alloc(&t.fts, (size_t)n_threads * n * half, sizeof *t.fts));
	CYC_TRY(cyc_alloc(&t.power, (size_t)n_tiles * half, sizeof *t.power));
	CYC_TRY(cyc_alloc(&radius, n * half, sizeof *radius));
	CYC_TRY(cyc_alloc(&weight, half, sizeof *weight));
	for (size_t y = 0; y < n; y++)
		for (size_t x = 0; x < half; x++) {
			double ky = y < n / 2 ? (double)y : (double)y - (double)n, r = hypot((double)x, ky);
			size_t shell = (size_t)r;
			radius[y * half + x] = (float)r;
			if (shell >= half) continue;
			weight[shell] += 1 - (r - (double)shell);
			if (shell + 1 < half) weight[shell + 1] += r - (double)shell;
		}
	t.radius = radius;
	CYC_TRY(cyc_parallel_for(n_tiles, n_threads, tile_task, &t));
	for (size_t s = 0; s < half; s++) {
		double sum = 0;
		for (int32_t i = 0; i < n_tiles; i++) sum += t.power[(size_t)i * half + s];
		/* The transform is unscaled: the unitary one carries 1/box, its power 1/box^2. */
		power[s] = sum / (weight[s] * n_tiles * (double)(n * n));
	}
done:
	cyc_fft2_destroy(&t.fft);
	cyc_free(t.tiles);
	cyc_free(t.fts);
	cyc_free(t.power);
	cyc_free(radius);
	cyc_free(weight);
	return st;
}

double cyc_radial_at(const double *shells, int32_t n_shells, double r)
{
	int32_t i = (int32_t)r;
	if (i >= n_shells - 1) return shells[n_shells - 1];
	double f = r - i;
	return (1 - f) * shells[i] + f * shells[i + 1];
}

void cyc_whitening_plane(float *plane, int32_t s, const double *power, int32_t n_shells)
{
	int32_t sh = s / 2 + 1;
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < sh; x++) {
			double p = cyc_radial_at(power, n_shells, hypot(x, y < s / 2 ? y : y - s));
			plane[(size_t)y * (size_t)sh + (size_t)x] = p > 0 ? (float)(1 / sqrt(p)) : 0;
		}
}

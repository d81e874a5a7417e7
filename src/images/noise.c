#include "images/noise.h"

#include "cyclotomo/images.h"

#include <math.h>
#include <string.h>

typedef struct {
	const float *image;
	int32_t nx, ny, box, n_across, n_down;
	const cyc_fft2_band *fft;
	float *tiles;    /* n_threads x box x box */
	cyc_cfloat *fts; /* n_threads x box x (box/2 + 1) */
	float *power;    /* of each tile box x (box/2 + 1): kept apart so that sums have a fixed order */
} tiling;

CYC_SIMD static void power_of(float *power, const cyc_cfloat *ft, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		float re = crealf(ft[i]), im = cimagf(ft[i]);
		power[i] = re * re + im * im;
	}
}

CYC_SIMD static void add(float *sum, const float *power, size_t n)
{
	for (size_t i = 0; i < n; i++) sum[i] += power[i];
}

/*
 * Tiles along an axis: at steps of half a box, but no more than MOST_TILES. 25 tiles determine each shell but
 * the first few to two or three per cent; more would only take time.
 */
enum { MOST_TILES = 5 };

static int32_t n_tiles_along(int32_t n, int32_t box)
{
	int32_t all = (n - box) / (box / 2) + 1;
	return all < MOST_TILES ? all : MOST_TILES;
}

static size_t tile_start(int32_t i, int32_t n_tiles, int32_t n, int32_t box)
{
	if (n_tiles < MOST_TILES) return (size_t)i * (size_t)(box / 2);
	return (size_t)((int64_t)i * (n - box) / (n_tiles - 1));
}

static cyc_status tile_task(void *arg, int64_t i, int i_thread)
{
	const tiling *t = arg;
	size_t box = (size_t)t->box, half = box / 2 + 1,
		   x0 = tile_start((int32_t)i % t->n_across, t->n_across, t->nx, t->box),
		   y0 = tile_start((int32_t)i / t->n_across, t->n_down, t->ny, t->box);
	float *tile = t->tiles + (size_t)i_thread * box * box;
	cyc_cfloat *ft = t->fts + (size_t)i_thread * box * half;
	for (size_t y = 0; y < box; y++)
		memcpy(tile + y * box, t->image + (y0 + y) * (size_t)t->nx + x0, box * sizeof *tile);
	cyc_fft2_band_forward(ft, t->fft, tile);
	power_of(t->power + (size_t)i * box * half, ft, box * half);
	return CYC_OK;
}

/* Row y of the planes: of each row of tiles the sum, in the plane of its first tile. */
static cyc_status sum_task(void *arg, int64_t y, int i_thread)
{
	(void)i_thread;
	const tiling *t = arg;
	size_t box = (size_t)t->box, half = box / 2 + 1;
	for (int32_t j = 0; j < t->n_down; j++) {
		float *first = t->power + ((size_t)j * (size_t)t->n_across * box + (size_t)y) * half;
		for (int32_t i = 1; i < t->n_across; i++) add(first, first + (size_t)i * box * half, half);
	}
	return CYC_OK;
}

/* Mean over directions of the sum of the rows of tiles, split linearly between neighbouring shells. */
static cyc_status radial_mean(double *power, const tiling *t)
{
	cyc_status st = CYC_OK;
	double *weight = NULL;
	size_t n = (size_t)t->box, half = n / 2 + 1, distance = (size_t)t->n_across * n * half;
	int32_t n_tiles = t->n_across * t->n_down;
	CYC_TRY(cyc_alloc(&weight, half, sizeof *weight));
	memset(power, 0, half * sizeof *power);
	for (size_t y = 0; y < n; y++)
		for (size_t x = 0; x < half; x++) {
			double ky = y < n / 2 ? (double)y : (double)y - (double)n, r = sqrt((double)(x * x) + ky * ky),
				   sum = 0;
			size_t shell = (size_t)r;
			if (shell >= half) continue;
			for (int32_t i = 0; i < t->n_down; i++)
				sum += (double)t->power[(size_t)i * distance + y * half + x];
			double f = r - (double)shell;
			power[shell] += (1 - f) * sum;
			weight[shell] += 1 - f;
			if (shell + 1 >= half) continue;
			power[shell + 1] += f * sum;
			weight[shell + 1] += f;
		}
	/* The transform is unscaled: the unitary one carries 1/box, its power 1/box^2. */
	for (size_t s = 0; s < half; s++) power[s] /= weight[s] * n_tiles * (double)(n * n);
done:
	cyc_free(weight);
	return st;
}

cyc_status cyc_noise_spectrum_planned(double *power, const cyc_fft2_band *plan, const float *image,
                                      int32_t nx, int32_t ny, int32_t box, int n_threads)
{
	cyc_status st = CYC_OK;
	tiling t = { .image = image, .nx = nx, .ny = ny, .box = box, .fft = plan };
	size_t n = (size_t)box, half = n / 2 + 1;
	CYC_CHECK(nx >= box && ny >= box, CYC_E_SHAPE,
	          "a box of %d px does not fit into a tilt image of %d x %d px", box, nx, ny);
	t.n_across = n_tiles_along(nx, box);
	t.n_down = n_tiles_along(ny, box);
	int32_t n_tiles = t.n_across * t.n_down;
	size_t n_workers = (size_t)cyc_n_workers(n_tiles, n_threads);
	CYC_TRY(cyc_alloc(&t.tiles, n_workers * n * n, sizeof *t.tiles));
	CYC_TRY(cyc_alloc(&t.fts, n_workers * n * half, sizeof *t.fts));
	CYC_TRY(cyc_alloc(&t.power, (size_t)n_tiles * n * half, sizeof *t.power));
	CYC_TRY(cyc_parallel_for(n_tiles, n_threads, tile_task, &t));
	CYC_TRY(cyc_parallel_for(box, n_threads, sum_task, &t));
	CYC_TRY(radial_mean(power, &t));
done:
	cyc_free(t.tiles);
	cyc_free(t.fts);
	cyc_free(t.power);
	return st;
}

cyc_status cyc_noise_plan_create(cyc_fft2_band **out, int32_t box)
{
	cyc_status st = CYC_OK;
	*out = NULL;
	CYC_CHECK(box > 1 && box % 2 == 0, CYC_E_SHAPE, "the box must be even and positive, got %d px", box);
	CYC_TRY(cyc_fft2_band_create(out, box, box, box / 2 + 1, 0, box));
done:
	return st;
}

cyc_status cyc_noise_spectrum(double *power, const float *image, int32_t nx, int32_t ny, int32_t box,
                              int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fft2_band *plan = NULL;
	CYC_TRY(cyc_noise_plan_create(&plan, box));
	CYC_TRY(cyc_noise_spectrum_planned(power, plan, image, nx, ny, box, n_threads));
done:
	cyc_fft2_band_destroy(&plan);
	return st;
}

double cyc_noise_spectrum_bytes(int32_t nx, int32_t ny, int32_t box, int n_threads)
{
	double area = (double)box * box;
	int32_t n_tiles = (nx >= box ? n_tiles_along(nx, box) : 1) * (ny >= box ? n_tiles_along(ny, box) : 1);
	/* Power of each tile; of each thread a tile and its transform. */
	return 2 * area * n_tiles + cyc_n_workers(n_tiles, n_threads) * 8 * area;
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

/* Outlier pixels: docs/theory/01-image-formation.md, "Pixels without data". */
#include "images/outliers.h"

#include "cyclotomo/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	TILE_PX = 32, /* the mean and variance of so many pixels squared are known to 3 % */
	N_SAMPLE = 4096,
	LEAST_RUN = 8,
	N_BINS = 1200, /* of the histogram of deviations */
	MOST_HISTOGRAM = 1 << 17,
	LEAST_IN_TILE = 16,
	SPARSE_ROWS = 8,      /* every eighth row is enough to see whether there are many outliers */
	PURPOSE = 0x6d656e64, /* of the random numbers */
};
static const double FALSE_ALARMS = 0.1;   /* per image and kind */
static const double BIN = 0.05, CLIP = 3; /* of the distance between the median and the quantiles of 5 and 95
                                             %: 5 standard deviations of a normal distribution */
/* Two quantiles of a tail; what lies beyond is judged by the line through them. The inner pair stands more
 * contamination. */
static const double INNER[2] = { 0.1, 0.02 }, OUTER[2] = { 0.01, 0.001 };
static const double MANY = 1e-4;
static const double SAME_STEP = 0.9; /* survival functions that differ by less are on one step */

typedef struct {
	float *pixels;
	int32_t nx, ny, across, down;
	uint64_t key;
	float clip_low, clip_high;
	double most_frequent; /* share of the pixels that have the commonest value */
	float *mean, *sigma,
		*widest;                 /* down x across tiles; widest: largest sigma of a tile and its neighbours */
	float *row_mean, *row_sigma; /* nx */
	cyc_changed_pixels *changed; /* or NULL */
} mending;

/* ---------------------------------------------------------------- range of the values */

static int compare_floats(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

/* Sort finite numbers by their bits, which are in the order of their values once those of negative ones are
 * turned: 11 at a time. */
static cyc_status sort_floats(float *v, size_t n)
{
	enum { BITS = 11, N_PASSES = 3, N_DIGITS = 1 << BITS };
	cyc_status st = CYC_OK;
	uint32_t *keys = NULL, *other = NULL, *start = NULL;
	CYC_TRY(cyc_alloc(&keys, n, sizeof *keys));
	CYC_TRY(cyc_alloc(&other, n, sizeof *other));
	CYC_TRY(cyc_alloc(&start, N_DIGITS + 1, sizeof *start));
	memcpy(keys, v, n * sizeof *keys);
	for (size_t i = 0; i < n; i++) keys[i] ^= keys[i] >> 31 ? UINT32_MAX : 1U << 31;
	for (int pass = 0; pass < N_PASSES; pass++) {
		memset(start, 0, (N_DIGITS + 1) * sizeof *start);
		for (size_t i = 0; i < n; i++) start[(keys[i] >> (BITS * pass)) % N_DIGITS + 1]++;
		for (size_t d = 0; d < N_DIGITS; d++) start[d + 1] += start[d];
		for (size_t i = 0; i < n; i++) other[start[(keys[i] >> (BITS * pass)) % N_DIGITS]++] = keys[i];
		uint32_t *swap = keys;
		keys = other;
		other = swap;
	}
	for (size_t i = 0; i < n; i++) keys[i] ^= keys[i] >> 31 ? 1U << 31 : UINT32_MAX;
	memcpy(v, keys, n * sizeof *keys);
done:
	cyc_free(keys);
	cyc_free(other);
	cyc_free(start);
	return st;
}

/* Where values are clipped for means and variances: some way beyond the central 90 %. */
static cyc_status find_range(bool *is_constant, mending *m)
{
	cyc_status st = CYC_OK;
	float *sample = NULL;
	size_t n = (size_t)m->nx * (size_t)m->ny, step = n / N_SAMPLE + 1, count = 0, run = 0, longest = 0;
	/* A step that shares no factor with the width visits all columns. */
	while (step > 1 && (size_t)m->nx % step == 0) step++;
	CYC_TRY(cyc_alloc(&sample, n / step + 1, sizeof *sample));
	for (size_t i = 0; i < n; i += step)
		if (isfinite(m->pixels[i])) sample[count++] = m->pixels[i];
	*is_constant = count == 0;
	if (count == 0) goto done;
	CYC_TRY(sort_floats(sample, count));
	double low = (double)sample[count / 200], middle = (double)sample[count / 2],
		   high = (double)sample[count - 1 - count / 200];
	/* Outliers may be one in a hundred; counts may be zero for nineteen in twenty. */
	double inner_low = (double)sample[count / 20], inner_high = (double)sample[count - 1 - count / 20];
	m->clip_low = (float)(middle - CLIP * (middle - (inner_low < middle ? inner_low : low)));
	m->clip_high = (float)(middle + CLIP * ((inner_high > middle ? inner_high : high) - middle));
	for (size_t i = 0; i < count; i++) {
		run = i > 0 && sample[i] == sample[i - 1] ? run + 1 : 1;
		if (run > longest) longest = run;
	}
	m->most_frequent = (double)longest / (double)count;
	*is_constant = !(high > low);
done:
	cyc_free(sample);
	return st;
}

/* ---------------------------------------------------------------- constant areas */

/* Lengths of the runs of equal values that end in this row; the longest. */
CYC_SIMD static int32_t longest_down(int32_t *down, const float *row, const float *above, int32_t n)
{
	int32_t longest = 1;
	for (int32_t x = 0; x < n && !above; x++) down[x] = 1;
	for (int32_t x = 0; x < n && above; x++) {
		int32_t same = row[x] == above[x];
		down[x] = same * down[x] + 1;
		longest = down[x] > longest ? down[x] : longest;
	}
	return longest;
}

enum { SHORT_RUN = 5 }; /* that is looked for first; fewer than LEAST_RUN */

/* Whether SHORT_RUN pixels in a row are equal: rare, and tested without a branch for each pixel. */
CYC_SIMD static bool has_short_run(const float *row, int32_t n)
{
	int32_t count = 0;
	for (int32_t x = SHORT_RUN - 1; x < n; x++)
		count += (row[x] == row[x - 1]) & (row[x - 1] == row[x - 2]) & (row[x - 2] == row[x - 3]) &
		         (row[x - 3] == row[x - 4]);
	return count > 0;
}

static int32_t longest_across(const float *row, int32_t n)
{
	int32_t across = 1, longest = 1;
	for (int32_t x = 1; x < n; x++) {
		across = row[x] == row[x - 1] ? across + 1 : 1;
		longest = across > longest ? across : longest;
	}
	return longest;
}

/*
 * Runs of equal values along rows and columns, longer than chance makes them once in ten images: a value that
 * a share q of the pixels have repeats L times with q^(L-1). (T1.17)
 */
static cyc_status remove_constant(int64_t *n_constant, mending *m)
{
	cyc_status st = CYC_OK;
	size_t nx = (size_t)m->nx, ny = (size_t)m->ny;
	double q = fmin(fmax(m->most_frequent, 1e-3), 0.9999);
	int32_t least = (int32_t)fmax(LEAST_RUN, ceil(1 + log((double)(nx * ny) / FALSE_ALARMS) / -log(q)));
	uint8_t *is_constant = NULL;
	int32_t *down = NULL;
	CYC_TRY(cyc_alloc(&down, nx, sizeof *down));
	*n_constant = 0;
	for (size_t y = 0; y < ny; y++) {
		const float *row = m->pixels + y * nx;
		bool has_run = longest_down(down, row, y > 0 ? row - nx : NULL, m->nx) >= least ||
		               (has_short_run(row, m->nx) && longest_across(row, m->nx) >= least);
		int32_t across = 1;
		if (!has_run) continue;
		if (!is_constant) CYC_TRY(cyc_alloc(&is_constant, nx * ny, sizeof *is_constant));
		for (size_t x = 0; x < nx; x++) {
			across = x > 0 && row[x] == row[x - 1] ? across + 1 : 1;
			if (across == least) memset(is_constant + y * nx + x + 1 - (size_t)least, 1, (size_t)least);
			if (across > least) is_constant[y * nx + x] = 1;
			for (int32_t k = 0; down[x] == least && k < least; k++) is_constant[(y - (size_t)k) * nx + x] = 1;
			if (down[x] > least) is_constant[y * nx + x] = 1;
		}
	}
	for (size_t i = 0; i < nx * ny && is_constant; i++) *n_constant += is_constant[i];
	/* What is constant for the most part is no noisy image with a border, but made by a computer. */
	if (2 * *n_constant > (int64_t)(nx * ny)) *n_constant = 0;
	for (size_t i = 0; i<nx * ny && * n_constant> 0; i++)
		if (is_constant[i]) m->pixels[i] = NAN;
done:
	cyc_free(is_constant);
	cyc_free(down);
	return st;
}

/* ---------------------------------------------------------------- local mean and variance */

enum { LANES = 16, GROUP = 8 };

static int32_t tile_from(int32_t i, int32_t n_tiles, int32_t n)
{
	return (int32_t)((int64_t)i * n / n_tiles);
}

typedef struct {
	float count, sum, squares; /* about the middle of the values */
} tile_sums;

/*
 * Add a row of pixels to the sums of up to GROUP tiles; what is no number counts for nothing. The lanes of a
 * tile are added up one after another, whatever the vector unit, those of several tiles side by side.
 * @param[in] from  where each tile begins, and the last one ends
 */
CYC_SIMD static void add_row(tile_sums *tiles, const int32_t *from, int32_t n_tiles, const float *row,
                             float low, float high, float middle)
{
	float s1[LANES][GROUP], s2[LANES][GROUP], t1[GROUP], t2[GROUP];
	if (n_tiles < GROUP) {
		memset(s1, 0, sizeof s1);
		memset(s2, 0, sizeof s2);
		memset(t1, 0, sizeof t1);
		memset(t2, 0, sizeof t2);
	}
	for (int32_t g = 0; g < n_tiles; g++) {
		float a[LANES] = { 0 }, b[LANES] = { 0 };
		int32_t n_none = 0, n = (from[g + 1] - from[g]) / LANES * LANES;
		for (int32_t x = from[g]; x + LANES <= from[g + 1]; x += LANES)
			for (int32_t i = 0; i < LANES; i++) {
				float v = row[x + i], c = v < low ? low : v > high ? high : v;
				c = v == v ? c - middle : 0;
				a[i] += c;
				b[i] += c * c;
			}
		for (int32_t x = from[g]; x < from[g] + n; x++) n_none += row[x] != row[x];
		tiles[g].count += (float)(n - n_none);
		t1[g] = tiles[g].sum;
		t2[g] = tiles[g].squares;
		for (int32_t i = 0; i < LANES; i++) {
			s1[i][g] = a[i];
			s2[i][g] = b[i];
		}
	}
	for (int32_t i = 0; i < LANES; i++)
		for (int32_t g = 0; g < GROUP; g++) {
			t1[g] += s1[i][g];
			t2[g] += s2[i][g];
		}
	for (int32_t g = 0; g < n_tiles; g++) {
		tiles[g].sum = t1[g];
		tiles[g].squares = t2[g];
		for (int32_t x = from[g] + (from[g + 1] - from[g]) / LANES * LANES; x < from[g + 1]; x++) {
			float v = row[x], c = v < low ? low : v > high ? high : v;
			if (v != v) continue;
			tiles[g].count += 1;
			tiles[g].sum += c - middle;
			tiles[g].squares += (c - middle) * (c - middle);
		}
	}
}

static cyc_status measure_tiles(mending *m)
{
	cyc_status st = CYC_OK;
	float middle = 0.5F * (m->clip_low + m->clip_high);
	int32_t *from = NULL;
	tile_sums *sums = NULL;
	CYC_TRY(cyc_alloc(&from, m->across + 1, sizeof *from));
	CYC_TRY(cyc_alloc(&sums, m->across, sizeof *sums));
	for (int32_t i = 0; i <= m->across; i++) from[i] = tile_from(i, m->across, m->nx);
	for (int32_t j = 0; j < m->down; j++) {
		memset(sums, 0, (size_t)m->across * sizeof *sums);
		for (int32_t y = tile_from(j, m->down, m->ny); y < tile_from(j + 1, m->down, m->ny); y++)
			for (int32_t i = 0; i < m->across; i += GROUP)
				add_row(sums + i, from + i, m->across - i < GROUP ? m->across - i : GROUP,
				        m->pixels + (size_t)y * (size_t)m->nx, m->clip_low, m->clip_high, middle);
		for (int32_t i = 0; i < m->across; i++) {
			size_t at = (size_t)j * (size_t)m->across + (size_t)i;
			double count = (double)sums[i].count, mean = count > 0 ? (double)sums[i].sum / count : 0,
				   variance = count > 1 ? (double)sums[i].squares / count - mean * mean : 0;
			m->mean[at] = (float)(mean + (double)middle);
			m->sigma[at] = count >= LEAST_IN_TILE && variance > 0 ? (float)sqrt(variance) : 0;
		}
	}
done:
	cyc_free(from);
	cyc_free(sums);
	return st;
}

/* Mean of the neighbours that had values before this round. */
static bool fill_tile(mending *m, const uint8_t *has_data, int32_t i, int32_t j)
{
	float mean = 0, sigma = 0, count = 0;
	for (int32_t k = 0; k < 4; k++) {
		int32_t a = i + (k == 0) - (k == 1), b = j + (k == 2) - (k == 3);
		if (a < 0 || b < 0 || a >= m->across || b >= m->down) continue;
		size_t at = (size_t)b * (size_t)m->across + (size_t)a;
		if (!has_data[at]) continue;
		mean += m->mean[at];
		sigma += m->sigma[at];
		count += 1;
	}
	if (!(count > 0)) return false;
	m->mean[(size_t)j * (size_t)m->across + (size_t)i] = mean / count;
	m->sigma[(size_t)j * (size_t)m->across + (size_t)i] = sigma / count;
	return true;
}

/* Tiles without data take the values of those around them, from the border inwards. */
static cyc_status fill_tiles(mending *m)
{
	cyc_status st = CYC_OK;
	size_t n = (size_t)m->across * (size_t)m->down, n_empty = n;
	uint8_t *has_data = NULL;
	CYC_TRY(cyc_alloc(&has_data, n, sizeof *has_data));
	for (size_t last = n + 1; n_empty > 0 && n_empty < last;) {
		last = n_empty;
		n_empty = 0;
		for (size_t t = 0; t < n; t++) has_data[t] = m->sigma[t] > 0;
		for (size_t t = 0; t < n; t++)
			if (!has_data[t] && !fill_tile(m, has_data, (int32_t)t % m->across, (int32_t)t / m->across))
				n_empty++;
	}
	for (int32_t j = 0; j < m->down; j++)
		for (int32_t i = 0; i < m->across; i++) {
			float widest = 0;
			for (int32_t b = j > 0 ? j - 1 : 0; b <= j + 1 && b < m->down; b++)
				for (int32_t a = i > 0 ? i - 1 : 0; a <= i + 1 && a < m->across; a++)
					widest = fmaxf(widest, m->sigma[(size_t)b * (size_t)m->across + (size_t)a]);
			m->widest[(size_t)j * (size_t)m->across + (size_t)i] = widest;
		}
done:
	cyc_free(has_data);
	return st;
}

static double tile_position(int32_t x, int32_t n_tiles, int32_t n)
{
	double at = (x + 0.5) * n_tiles / n - 0.5;
	return at < 0 ? 0 : at > n_tiles - 1 ? n_tiles - 1 : at;
}

/* Mean and standard deviation along a row of pixels: linear between the centres of the tiles. */
CYC_SIMD static void interpolate_row(float *mean, float *sigma, const mending *m, const float *sigmas,
                                     int32_t y)
{
	double at_y = tile_position(y, m->down, m->ny);
	int32_t j = (int32_t)at_y, across = m->across, next = j + 1 < m->down ? across : 0;
	float fy = (float)(at_y - j);
	const float *a = m->mean + (size_t)j * (size_t)across, *b = sigmas + (size_t)j * (size_t)across;
	double step = (double)across / m->nx;
	for (int32_t i = -1; i < across; i++) {
		int32_t left = i < 0 ? 0 : i, right = i + 1 < across ? i + 1 : i;
		/* Pixels between the centres of tiles i and i + 1. */
		int32_t x0 = i < 0 ? 0 : (int32_t)ceil((i + 0.5) / step - 0.5),
				x1 = i + 1 < across ? (int32_t)ceil((i + 1.5) / step - 0.5) : m->nx;
		float m0 = a[left] + fy * (a[left + next] - a[left]),
			  m1 = a[right] + fy * (a[right + next] - a[right]);
		float s0 = b[left] + fy * (b[left + next] - b[left]),
			  s1 = b[right] + fy * (b[right + next] - b[right]);
		float f0 = (float)((x0 + 0.5) * step - 0.5 - i), df = (float)step;
		if (i < 0 || i + 1 >= across) f0 = df = 0;
		for (int32_t x = x0; x < x1; x++) {
			float f = f0 + df * (float)(x - x0);
			mean[x] = m0 + f * (m1 - m0);
			sigma[x] = s0 + f * (s1 - s0);
		}
	}
}

/* ---------------------------------------------------------------- limits */

enum { NO_BIN = 2 * N_BINS, N_TABLES = 2 };

/* Where the pixels of a row are counted: deviations below the mean, then those above, then what is beyond. */
CYC_SIMD static void find_bins(int32_t *bin, const float *row, const float *mean, const float *sigma,
                               int32_t n, float low, float high)
{
	for (int32_t x = 0; x < n; x++) {
		float z = (row[x] - mean[x]) / sigma[x], q = fabsf(z) / (float)BIN;
		int32_t i = (int32_t)(q < N_BINS - 1 ? q : N_BINS - 1), above = z > 0 ? N_BINS : 0;
		bin[x] = z >= low && z <= high ? i + above : NO_BIN;
	}
}

/* Neighbours are often in one bin, and an addition has to wait for the last one to it: tables in turn. */
static void count_bins(uint32_t *count, const int32_t *bin, int32_t n)
{
	for (int32_t x = 0; x < n; x++) count[(size_t)(x % N_TABLES) * (NO_BIN + 1) + (size_t)bin[x]]++;
}

static cyc_status make_histogram(double histogram[2][N_BINS], double *n, mending *m, const double limits[2])
{
	cyc_status st = CYC_OK;
	int32_t step = (int32_t)((int64_t)m->nx * m->ny / MOST_HISTOGRAM) + 1, *bin = NULL;
	uint32_t *count = NULL;
	CYC_TRY(cyc_alloc(&bin, m->nx, sizeof *bin));
	CYC_TRY(cyc_alloc(&count, N_TABLES * (NO_BIN + 1), sizeof *count));
	for (int32_t y = 0; y < m->ny; y += step) {
		interpolate_row(m->row_mean, m->row_sigma, m, m->widest, y);
		find_bins(bin, m->pixels + (size_t)y * (size_t)m->nx, m->row_mean, m->row_sigma, m->nx,
		          (float)limits[0], (float)limits[1]);
		count_bins(count, bin, m->nx);
	}
	*n = 0;
	for (size_t i = 0; i < NO_BIN; i++) {
		double sum = 0;
		for (size_t t = 0; t < N_TABLES; t++) sum += count[t * (NO_BIN + 1) + i];
		histogram[i / N_BINS][i % N_BINS] = sum;
		*n += sum;
	}
done:
	cyc_free(bin);
	cyc_free(count);
	return st;
}

/*
 * Distance at which less than FALSE_ALARMS of n_pixels are expected. The logarithm of a log-concave survival
 * function (normal, Poisson, gamma of shape above 1) lies below each of its secants beyond the second point:
 * the line is an upper bound. Where values are counts the survival function has steps: the second point is at
 * the far end of one.                      (T1.16)
 */
static double limit_of_tail(const double histogram[N_BINS], double n, double n_pixels,
                            const double quantiles[2])
{
	double beyond = 0, inner = 0, outer = 0;
	int32_t i_outer = N_BINS;
	for (int32_t i = N_BINS - 1; i >= 0; i--) {
		beyond += histogram[i];
		if (beyond < quantiles[1] * n) {
			if (outer < SAME_STEP * beyond) {
				outer = beyond;
				i_outer = i;
			}
			continue;
		}
		if (beyond < quantiles[0] * n) continue;
		inner = beyond;
		if (!(outer > 0)) return HUGE_VAL;
		double slope = log(inner / outer) / ((i_outer - i) * BIN);
		return i_outer * BIN + fmax(0, log(outer / n * n_pixels / FALSE_ALARMS)) / slope;
	}
	return HUGE_VAL;
}

static cyc_status find_limits(cyc_image_state *out, mending *m)
{
	cyc_status st = CYC_OK;
	double(*histogram)[N_BINS] = NULL, n = 0, n_pixels = (double)m->nx * m->ny;
	double limits[2] = { -HUGE_VAL, HUGE_VAL };
	CYC_TRY(cyc_alloc(&histogram, 2, sizeof *histogram));
	for (int round = 0; round < 2; round++) {
		CYC_TRY(make_histogram(histogram, &n, m, limits));
		limits[0] = -limit_of_tail(histogram[0], n, n_pixels, round == 0 ? INNER : OUTER);
		limits[1] = limit_of_tail(histogram[1], n, n_pixels, round == 0 ? INNER : OUTER);
	}
	out->low = limits[0];
	out->high = limits[1];
done:
	cyc_free(histogram);
	return st;
}

/* ---------------------------------------------------------------- replacing */

CYC_SIMD static int32_t count_beyond(const float *row, const float *mean, const float *sigma, int32_t n,
                                     float low, float high)
{
	int32_t count = 0;
	for (int32_t x = 0; x < n; x++) {
		float d = row[x] - mean[x];
		count += !(d >= low * sigma[x] && d <= high * sigma[x]);
	}
	return count;
}

static double count_outliers(mending *m, const cyc_image_state *state)
{
	double n = 0;
	for (int32_t y = 0; y < m->ny; y += SPARSE_ROWS) {
		interpolate_row(m->row_mean, m->row_sigma, m, m->widest, y);
		n += SPARSE_ROWS * count_beyond(m->pixels + (size_t)y * (size_t)m->nx, m->row_mean, m->row_sigma,
		                                m->nx, (float)state->low, (float)state->high);
	}
	return n;
}

static void remove_outliers(mending *m, const cyc_image_state *state)
{
	float low = (float)state->low, high = (float)state->high;
	for (int32_t y = 0; y < m->ny; y++) {
		float *row = m->pixels + (size_t)y * (size_t)m->nx;
		interpolate_row(m->row_mean, m->row_sigma, m, m->widest, y);
		for (int32_t x = 0; x < m->nx; x++) {
			float d = row[x] - m->row_mean[x];
			if (!(d >= low * m->row_sigma[x] && d <= high * m->row_sigma[x])) row[x] = NAN;
		}
	}
}

static void note_change(cyc_changed_pixels *c, size_t at, float value)
{
	if (!c || c->n < 0) return;
	if (c->n == c->most || at > UINT32_MAX) {
		c->n = -1;
		return;
	}
	c->pixels[c->n++] = (cyc_changed_pixel){ (uint32_t)at, value };
}

static void replace_row(int64_t *n_outliers, mending *m, int32_t y, float low, float high, float *sigma,
                        bool keep)
{
	float *row = m->pixels + (size_t)y * (size_t)m->nx;
	interpolate_row(m->row_mean, sigma, m, m->sigma, y);
	for (int32_t x = 0; x < m->nx; x++) {
		float d = row[x] - m->row_mean[x];
		bool is_number = isfinite(row[x]);
		if (is_number && d >= low * m->row_sigma[x] && d <= high * m->row_sigma[x]) continue;
		(*n_outliers)++;
		if (is_number && keep) continue;
		cyc_rng noise = cyc_rng_make(m->key, PURPOSE, (uint64_t)y * (uint64_t)m->nx + (uint64_t)x);
		row[x] = m->row_mean[x] + sigma[x] * (float)cyc_rng_normal(&noise);
		note_change(m->changed, (size_t)y * (size_t)m->nx + (size_t)x, row[x]);
	}
}

/* Pixels within these limits are within those of all pixels of a row of tiles, by more than rounding. */
static void narrow_limits(double limits[2], const mending *m, int32_t j, const cyc_image_state *state)
{
	limits[0] = -HUGE_VAL;
	limits[1] = HUGE_VAL;
	for (int32_t i = 0; i < m->across; i++) {
		size_t at = (size_t)j * (size_t)m->across + (size_t)i;
		double mean = (double)m->mean[at], widest = (double)m->widest[at];
		for (int k = 0; k < 2; k++) {
			double distance = (k == 0 ? -state->low : state->high) * widest,
				   inside = distance - 1e-5 * (fabs(mean) + distance);
			/* Also if one of them is no number. */
			if (!(inside > 0)) inside = 0;
			if (k == 0) limits[0] = fmax(limits[0], mean - inside);
			else limits[1] = fmin(limits[1], mean + inside);
		}
	}
}

/* What lies between the limits of two rows of tiles lies between those of each pixel from one to the other.
 */
CYC_SIMD static bool is_between(const float *row, int32_t n, float low, float high)
{
	int32_t count = 0;
	for (int32_t x = 0; x < n; x++) count += (row[x] >= low) & (row[x] <= high);
	return count == n;
}

static cyc_status replace(cyc_image_state *out, mending *m, bool keep)
{
	cyc_status st = CYC_OK;
	float *sigma = NULL, low = (float)out->low, high = (float)out->high;
	double(*limits)[2] = NULL;
	CYC_TRY(cyc_alloc(&sigma, m->nx, sizeof *sigma));
	CYC_TRY(cyc_alloc(&limits, m->down, sizeof *limits));
	for (int32_t j = 0; j < m->down; j++) narrow_limits(limits[j], m, j, out);
	for (int32_t y = 0; y < m->ny; y++) {
		int32_t j = (int32_t)tile_position(y, m->down, m->ny), next = j + 1 < m->down ? j + 1 : j;
		if (is_between(m->pixels + (size_t)y * (size_t)m->nx, m->nx,
		               (float)fmax(limits[j][0], limits[next][0]),
		               (float)fmin(limits[j][1], limits[next][1])))
			continue;
		interpolate_row(m->row_mean, m->row_sigma, m, m->widest, y);
		if (count_beyond(m->pixels + (size_t)y * (size_t)m->nx, m->row_mean, m->row_sigma, m->nx, low, high) >
		    0)
			replace_row(&out->n_outliers, m, y, low, high, sigma, keep);
	}
	/* Constant areas were made no numbers before. */
	out->n_outliers -= out->n_constant;
done:
	cyc_free(sigma);
	cyc_free(limits);
	return st;
}

/* Median of the tiles: a grid bar or a row of beads does not count. */
static cyc_status typical_variance(double *variance, const mending *m)
{
	cyc_status st = CYC_OK;
	size_t n = 0, n_tiles = (size_t)m->across * (size_t)m->down;
	float *sorted = NULL;
	CYC_TRY(cyc_alloc(&sorted, n_tiles, sizeof *sorted));
	for (size_t i = 0; i < n_tiles; i++)
		if (m->sigma[i] > 0) sorted[n++] = m->sigma[i];
	qsort(sorted, n, sizeof *sorted, compare_floats);
	*variance = n > 0 ? cyc_square((double)sorted[n / 2]) : 0;
done:
	cyc_free(sorted);
	return st;
}

/* An image without data stays, or becomes, one value: no variance, no noise, no weight. */
static void make_blank(cyc_image_state *out, const mending *m)
{
	size_t n = (size_t)m->nx * (size_t)m->ny;
	float value = 0;
	for (size_t i = 0; i < n; i++)
		if (isfinite(m->pixels[i])) value = m->pixels[i];
	bool is_huge = fabs((double)value) > CYC_LARGEST_PIXEL;
	for (size_t i = 0; i < n; i++)
		if (is_huge || !isfinite(m->pixels[i])) m->pixels[i] = is_huge ? 0 : value;
	if (m->changed) m->changed->n = -1;
	out->variance = out->largest = 0;
	out->n_outliers = 0;
	out->n_constant = (int64_t)n;
}

cyc_status cyc_image_mend(cyc_image_state *out, cyc_changed_pixels *changed, float *pixels, int32_t nx,
                          int32_t ny, uint64_t key, bool keep)
{
	cyc_status st = CYC_OK;
	bool is_constant;
	mending m = { .pixels = pixels,
		          .nx = nx,
		          .ny = ny,
		          .key = key,
		          .changed = changed,
		          .across = nx / TILE_PX > 0 ? nx / TILE_PX : 1,
		          .down = ny / TILE_PX > 0 ? ny / TILE_PX : 1 };
	size_t n_tiles = (size_t)m.across * (size_t)m.down;
	*out = (cyc_image_state){ .low = -HUGE_VAL, .high = HUGE_VAL };
	if (changed) changed->n = 0;
	CYC_TRY(find_range(&is_constant, &m));
	if (!is_constant && !keep) {
		CYC_TRY(remove_constant(&out->n_constant, &m));
		/* Once more without them. */
		if (out->n_constant > 0) CYC_TRY(find_range(&is_constant, &m));
	}
	CYC_TRY(cyc_alloc(&m.mean, n_tiles, sizeof *m.mean));
	CYC_TRY(cyc_alloc(&m.sigma, n_tiles, sizeof *m.sigma));
	CYC_TRY(cyc_alloc(&m.widest, n_tiles, sizeof *m.widest));
	CYC_TRY(cyc_alloc(&m.row_mean, nx, sizeof *m.row_mean));
	CYC_TRY(cyc_alloc(&m.row_sigma, nx, sizeof *m.row_sigma));
	out->largest = fmax(fabs((double)m.clip_low), fabs((double)m.clip_high));
	CYC_TRY(measure_tiles(&m));
	CYC_TRY(typical_variance(&out->variance, &m));
	if (is_constant || !(out->variance > 0)) {
		make_blank(out, &m);
		goto done;
	}
	for (int pass = 0; pass < 2; pass++) {
		CYC_TRY(fill_tiles(&m));
		CYC_TRY(find_limits(out, &m));
		/* Many of them have a part in the local variances: once more without them. */
		if (keep || pass > 0 || count_outliers(&m, out) < MANY * nx * ny) break;
		remove_outliers(&m, out);
		CYC_TRY(measure_tiles(&m));
		CYC_TRY(typical_variance(&out->variance, &m));
	}
	CYC_TRY(replace(out, &m, keep));
done:
	cyc_free(m.mean);
	cyc_free(m.sigma);
	cyc_free(m.widest);
	cyc_free(m.row_mean);
	cyc_free(m.row_sigma);
	return st;
}

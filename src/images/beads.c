/* Gold beads: docs/theory/01-image-formation.md, "Beads". */
#include "images/beads.h"

#include "cyclotomo/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	PURPOSE = 0x62656164, /* of the random numbers */
	REACH = 10,  /* the background is the median of the blocks up to this distance on all sides ... */
	SPACING = 5, /* ... at every fifth block, and linear between */
};
static const double BLOCK_A = 16;
/* Biological matter of the thickness of ice scatters a few per cent of the electrons away, gold of 5 nm and
 * more most of them. */
static const double SEED_SHARE = 0.5, PART_SHARE = 0.75;
static const double SEED_SIGMA = 8;
static const double LARGEST_A2 = 53000; /* a disc of 26 nm: what is larger is a bar, carbon, or dirt */
static const double NEGATIVE_SHARE = 0.01;

typedef struct {
	const float *pixels;
	int32_t nx, ny, q, across,
		down; /* blocks of q x q px; the remainder at the right and below belongs to the last ones */
	float *mean, *wide, *background; /* down x across: of a block, of 3 x 3 of them, of what is around */
	uint8_t *mark;                   /* 1: part of a bead; 2: of something larger */
} blocks;

static int32_t block_end(int32_t i, int32_t n_blocks, int32_t q, int32_t n)
{
	return i + 1 < n_blocks ? (i + 1) * q : n;
}

CYC_SIMD static void add_line(float *sum, const float *row, int32_t n, int32_t *n_negative)
{
	int32_t negative = 0;
	for (int32_t x = 0; x < n; x++) {
		sum[x] += row[x];
		negative += row[x] < 0;
	}
	*n_negative += negative;
}

static cyc_status measure(int64_t *n_negative, blocks *b)
{
	cyc_status st = CYC_OK;
	float *sum = NULL;
	*n_negative = 0;
	CYC_TRY(cyc_alloc(&sum, b->nx, sizeof *sum));
	for (int32_t j = 0; j < b->down; j++) {
		int32_t y0 = j * b->q, y1 = block_end(j, b->down, b->q, b->ny), negative = 0;
		memset(sum, 0, (size_t)b->nx * sizeof *sum);
		for (int32_t y = y0; y < y1; y++)
			add_line(sum, b->pixels + (size_t)y * (size_t)b->nx, b->nx, &negative);
		*n_negative += negative;
		for (int32_t i = 0; i < b->across; i++) {
			int32_t x0 = i * b->q, x1 = block_end(i, b->across, b->q, b->nx);
			double total = 0;
			for (int32_t x = x0; x < x1; x++) total += (double)sum[x];
			b->mean[(size_t)j * (size_t)b->across + (size_t)i] =
				(float)(total / ((double)(x1 - x0) * (y1 - y0)));
		}
	}
	for (int32_t j = 0; j < b->down; j++)
		for (int32_t i = 0; i < b->across; i++) {
			float total = 0, count = 0;
			for (int32_t y = j > 0 ? j - 1 : 0; y <= j + 1 && y < b->down; y++)
				for (int32_t x = i > 0 ? i - 1 : 0; x <= i + 1 && x < b->across; x++) {
					total += b->mean[(size_t)y * (size_t)b->across + (size_t)x];
					count += 1;
				}
			b->wide[(size_t)j * (size_t)b->across + (size_t)i] = total / count;
		}
done:
	cyc_free(sum);
	return st;
}

static int compare_floats(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static float median_around(const blocks *b, float *values, int32_t i, int32_t j)
{
	size_t n = 0;
	for (int32_t y = j - REACH < 0 ? 0 : j - REACH; y <= j + REACH && y < b->down; y++)
		for (int32_t x = i - REACH < 0 ? 0 : i - REACH; x <= i + REACH && x < b->across; x++)
			values[n++] = b->mean[(size_t)y * (size_t)b->across + (size_t)x];
	qsort(values, n, sizeof *values, compare_floats);
	return values[n / 2];
}

static cyc_status find_background(blocks *b)
{
	cyc_status st = CYC_OK;
	float *values = NULL, *node = NULL;
	int32_t nodes_x = (b->across - 1) / SPACING + 2, nodes_y = (b->down - 1) / SPACING + 2;
	CYC_TRY(cyc_alloc(&values, (2 * REACH + 1) * (2 * REACH + 1), sizeof *values));
	CYC_TRY(cyc_alloc(&node, (size_t)nodes_x * (size_t)nodes_y, sizeof *node));
	for (int32_t j = 0; j < nodes_y; j++)
		for (int32_t i = 0; i < nodes_x; i++) {
			int32_t x = i * SPACING < b->across ? i * SPACING : b->across - 1,
					y = j * SPACING < b->down ? j * SPACING : b->down - 1;
			node[(size_t)j * (size_t)nodes_x + (size_t)i] = median_around(b, values, x, y);
		}
	for (int32_t j = 0; j < b->down; j++)
		for (int32_t i = 0; i < b->across; i++) {
			const float *at = node + (size_t)(j / SPACING) * (size_t)nodes_x + (size_t)(i / SPACING);
			float fx = (float)(i % SPACING) / SPACING, fy = (float)(j % SPACING) / SPACING;
			float above = at[0] + fx * (at[1] - at[0]),
				  below = at[nodes_x] + fx * (at[nodes_x + 1] - at[nodes_x]);
			b->background[(size_t)j * (size_t)b->across + (size_t)i] = above + fy * (below - above);
		}
done:
	cyc_free(values);
	cyc_free(node);
	return st;
}

/* Robust spread of what 3 x 3 blocks have more than their background. */
static cyc_status spread(double *sigma, const blocks *b)
{
	cyc_status st = CYC_OK;
	size_t n = (size_t)b->across * (size_t)b->down;
	float *deviation = NULL;
	CYC_TRY(cyc_alloc(&deviation, n, sizeof *deviation));
	for (size_t i = 0; i < n; i++) deviation[i] = fabsf(b->wide[i] - b->background[i]);
	qsort(deviation, n, sizeof *deviation, compare_floats);
	*sigma = 1.4826 * (double)deviation[n / 2];
done:
	cyc_free(deviation);
	return st;
}

/* Marks the spot that a seed belongs to; takes the marks back if it is too large for a bead. Returns its
 * blocks. */
static int32_t mark_spot(blocks *b, int32_t *stack, int32_t seed, double most)
{
	int32_t n = 0, n_done = 0;
	stack[n++] = seed;
	b->mark[seed] = 1;
	while (n_done < n) {
		int32_t at = stack[n_done++], i = at % b->across, j = at / b->across;
		for (int32_t k = 0; k < 4; k++) {
			int32_t x = i + (k == 0) - (k == 1), y = j + (k == 2) - (k == 3), next = y * b->across + x;
			if (x < 0 || y < 0 || x >= b->across || y >= b->down || b->mark[next]) continue;
			if ((double)b->mean[next] > PART_SHARE * (double)b->background[next]) continue;
			b->mark[next] = 1;
			stack[n++] = next;
		}
	}
	if (n <= most) return n;
	for (int32_t k = 0; k < n; k++) b->mark[stack[k]] = 2; /* seen, no bead */
	return 0;
}

/* Noise of the background in place of the marked blocks. */
static void fill(int64_t *n_pixels, float *pixels, const blocks *b, double variance, uint64_t key)
{
	int32_t n = b->across * b->down;
	double typical = 0;
	for (int32_t i = 0; i < n; i++) typical += (double)b->background[i] / n;
	for (int32_t i = 0; i < n; i++) {
		if (b->mark[i] != 1) continue;
		int32_t x0 = i % b->across * b->q, y0 = i / b->across * b->q;
		int32_t x1 = block_end(i % b->across, b->across, b->q, b->nx),
				y1 = block_end(i / b->across, b->down, b->q, b->ny);
		/* Counts: the variance goes with the mean. */
		float mean = b->background[i], sigma = (float)sqrt(variance * (double)mean / typical);
		for (int32_t y = y0; y < y1; y++)
			for (int32_t x = x0; x < x1; x++) {
				uint64_t at = (uint64_t)y * (uint64_t)b->nx + (uint64_t)x;
				cyc_rng noise = cyc_rng_make(key, PURPOSE, at);
				pixels[at] = mean + sigma * (float)cyc_rng_normal(&noise);
			}
		*n_pixels += (int64_t)(x1 - x0) * (y1 - y0);
	}
}

cyc_status cyc_image_erase_beads(int32_t *n_beads, int64_t *n_pixels, float *pixels, int32_t nx, int32_t ny,
                                 double pixel_size_A, double variance, uint64_t key)
{
	cyc_status st = CYC_OK;
	int32_t *stack = NULL, q = (int32_t)fmax(1, floor(BLOCK_A / pixel_size_A + 0.5));
	blocks b = { .pixels = pixels, .nx = nx, .ny = ny, .q = q, .across = nx / q, .down = ny / q };
	int64_t n_negative;
	double sigma;
	*n_beads = 0;
	*n_pixels = 0;
	if (b.across < 2 * REACH || b.down < 2 * REACH || !(variance > 0)) goto done;
	size_t n = (size_t)b.across * (size_t)b.down;
	CYC_TRY(cyc_alloc(&b.mean, n, sizeof *b.mean));
	CYC_TRY(cyc_alloc(&b.wide, n, sizeof *b.wide));
	CYC_TRY(cyc_alloc(&b.background, n, sizeof *b.background));
	CYC_TRY(cyc_alloc(&b.mark, n, sizeof *b.mark));
	CYC_TRY(cyc_alloc(&stack, n, sizeof *stack));
	CYC_TRY(measure(&n_negative, &b));
	if ((double)n_negative > NEGATIVE_SHARE * nx * (double)ny) goto done;
	CYC_TRY(find_background(&b));
	CYC_TRY(spread(&sigma, &b));
	for (size_t i = 0; i < n; i++) {
		double background = (double)b.background[i], wide = (double)b.wide[i];
		if (b.mark[i] || !(background > 0) || wide > SEED_SHARE * background ||
		    wide > background - SEED_SIGMA * sigma)
			continue;
		if (mark_spot(&b, stack, (int32_t)i, LARGEST_A2 / cyc_square(q * pixel_size_A)) > 0) (*n_beads)++;
	}
	if (*n_beads > 0) fill(n_pixels, pixels, &b, variance, key);
done:
	cyc_free(b.mean);
	cyc_free(b.wide);
	cyc_free(b.background);
	cyc_free(b.mark);
	cyc_free(stack);
	return st;
}

/* The field that surfaces are found in: cut out, cleaned, refined, with blocks that let rays skip empty
 * space. */
#include "report/surface.h"

#include <math.h>
#include <string.h>

/* Blobs of fewer voxels than this share of the largest are noise to the eye. */
static const double DUST = 0.02;
enum { MARGIN = 4, MOST_FINE = 4, MOST_POINTS = 40000000 };

static size_t count(const int32_t n[3]) { return (size_t)n[0] * (size_t)n[1] * (size_t)n[2]; }
static size_t at(const int32_t n[3], int32_t x, int32_t y, int32_t z)
{
	return ((size_t)z * (size_t)n[1] + (size_t)y) * (size_t)n[0] + (size_t)x;
}

void cyc__field_deinit(cyc__field *f)
{
	cyc_free(f->value);
	cyc_free(f->highest);
	cyc_free(f->shade);
	*f = (cyc__field){ 0 };
}

/* ---------------------------------------------------------------- blobs */

typedef struct {
	int32_t n[3];
	int32_t *label; /* of each voxel; 0: below the level, -1: not seen yet */
	size_t *stack, *size, n_labels;
} blobs;

static void push(blobs *b, size_t *n_stack, int32_t x, int32_t y, int32_t z, int32_t label)
{
	size_t i = at(b->n, x, y, z);
	if (b->label[i] != -1) return;
	b->label[i] = label;
	b->stack[(*n_stack)++] = i;
}

static size_t flood(blobs *b, size_t start, int32_t label)
{
	size_t n_stack = 0, size = 0, nx = (size_t)b->n[0], ny = (size_t)b->n[1];
	b->label[start] = label;
	b->stack[n_stack++] = start;
	while (n_stack > 0) {
		size_t i = b->stack[--n_stack];
		int32_t x = (int32_t)(i % nx), y = (int32_t)(i / nx % ny), z = (int32_t)(i / (nx * ny));
		size++;
		if (x > 0) push(b, &n_stack, x - 1, y, z, label);
		if (x < b->n[0] - 1) push(b, &n_stack, x + 1, y, z, label);
		if (y > 0) push(b, &n_stack, x, y - 1, z, label);
		if (y < b->n[1] - 1) push(b, &n_stack, x, y + 1, z, label);
		if (z > 0) push(b, &n_stack, x, y, z - 1, label);
		if (z < b->n[2] - 1) push(b, &n_stack, x, y, z + 1, label);
	}
	return size;
}

/* Labels of the voxels of blobs that are drawn are > 0, all others <= 0. */
static cyc_status find_blobs(blobs *b, const cyc_volume *map, double level)
{
	cyc_status st = CYC_OK;
	size_t n = cyc_volume_count(map), largest = 0, room = 64;
	b->n[0] = map->nx, b->n[1] = map->ny, b->n[2] = map->nz;
	CYC_TRY(cyc_alloc(&b->label, n, sizeof *b->label));
	CYC_TRY(cyc_alloc(&b->stack, n, sizeof *b->stack));
	CYC_TRY(cyc_alloc(&b->size, room, sizeof *b->size));
	for (size_t i = 0; i < n; i++) b->label[i] = (double)map->data[i] >= level ? -1 : 0;
	for (size_t i = 0; i < n; i++) {
		if (b->label[i] != -1) continue;
		if (b->n_labels + 1 >= room) {
			CYC_TRY(cyc_realloc(&b->size, room, 2 * room, sizeof *b->size));
			room *= 2;
		}
		b->n_labels++;
		b->size[b->n_labels] = flood(b, i, (int32_t)b->n_labels);
		if (b->size[b->n_labels] > largest) largest = b->size[b->n_labels];
	}
	for (size_t i = 0; i < n; i++)
		if (b->label[i] > 0 && (double)b->size[b->label[i]] < DUST * (double)largest) b->label[i] = -2;
done:
	return st;
}

/* ---------------------------------------------------------------- cutting out */

static bool bounds(int32_t low[3], int32_t high[3], const blobs *b)
{
	bool has_any = false;
	for (int32_t z = 0; z < b->n[2]; z++)
		for (int32_t y = 0; y < b->n[1]; y++)
			for (int32_t x = 0; x < b->n[0]; x++) {
				const int32_t v[3] = { x, y, z };
				if (b->label[at(b->n, x, y, z)] <= 0) continue;
				for (int k = 0; k < 3; k++) {
					if (!has_any || v[k] < low[k]) low[k] = v[k];
					if (!has_any || v[k] > high[k]) high[k] = v[k];
				}
				has_any = true;
			}
	return has_any;
}

/* With a rim below the level all around, so that what the box cuts is closed. */
static cyc_status cut_out(cyc__field *f, const cyc_volume *map, const blobs *b)
{
	cyc_status st = CYC_OK;
	int32_t low[3] = { 0 }, high[3] = { 0 };
	f->is_empty = !bounds(low, high, b);
	if (f->is_empty) goto done;
	for (int k = 0; k < 3; k++) {
		f->origin[k] = low[k] - MARGIN;
		f->n[k] = high[k] - low[k] + 1 + 2 * MARGIN;
	}
	CYC_TRY(cyc_alloc(&f->value, count(f->n), sizeof *f->value));
	for (int32_t z = 0; z < f->n[2]; z++)
		for (int32_t y = 0; y < f->n[1]; y++)
			for (int32_t x = 0; x < f->n[0]; x++) {
				int32_t v[3] = { low[0] - MARGIN + x, low[1] - MARGIN + y, low[2] - MARGIN + z };
				bool is_inside = true;
				for (int k = 0; k < 3; k++) is_inside = is_inside && v[k] >= 0 && v[k] < b->n[k];
				size_t i = is_inside ? at(b->n, v[0], v[1], v[2]) : 0;
				float value = is_inside ? map->data[i] : 0;
				if (is_inside && b->label[i] == -2) value = fminf(value, 0.3f * f->level); /* dust */
				f->value[at(f->n, x, y, z)] = value;
			}
done:
	return st;
}

/* ---------------------------------------------------------------- finer */

/* Twice as fine along one axis: between two points (-1, 9, 9, -1) / 16 of their neighbours. */
static cyc_status refine_axis(cyc__field *f, int axis)
{
	cyc_status st = CYC_OK;
	float *finer = NULL;
	int32_t n[3] = { f->n[0], f->n[1], f->n[2] }, last = f->n[axis] - 1;
	size_t step = axis == 0 ? 1 : axis == 1 ? (size_t)f->n[0] : (size_t)f->n[0] * (size_t)f->n[1];
	n[axis] = 2 * last + 1;
	CYC_TRY(cyc_alloc(&finer, count(n), sizeof *finer));
	for (int32_t z = 0; z < n[2]; z++)
		for (int32_t y = 0; y < n[1]; y++)
			for (int32_t x = 0; x < n[0]; x++) {
				int32_t v[3] = { x, y, z }, k = v[axis] / 2;
				bool is_between = v[axis] % 2 != 0;
				v[axis] = k;
				const float *p = f->value + at(f->n, v[0], v[1], v[2]);
				float *to = finer + at(n, x, y, z);
				if (!is_between) {
					*to = *p;
					continue;
				}
				float before = k > 0 ? *(p - step) : *p, after = k + 2 <= last ? p[2 * step] : p[step];
				*to = (9 * (p[0] + p[step]) - before - after) / 16;
			}
	cyc_free(f->value);
	f->value = finer;
	f->n[axis] = n[axis];
	finer = NULL;
done:
	cyc_free(finer);
	return st;
}

static cyc_status refine(cyc__field *f, int32_t map_px, int32_t edge_px)
{
	cyc_status st = CYC_OK;
	f->fineness = 1;
	while (f->fineness < MOST_FINE && edge_px > 2.5 * map_px * f->fineness && 8 * count(f->n) < MOST_POINTS) {
		for (int axis = 0; axis < 3; axis++) CYC_TRY(refine_axis(f, axis));
		f->fineness *= 2;
	}
done:
	return st;
}

/* ---------------------------------------------------------------- what helps drawing */

static cyc_status find_highest(cyc__field *f)
{
	cyc_status st = CYC_OK;
	for (int k = 0; k < 3; k++) f->n_blocks[k] = (f->n[k] + CYC__SURFACE_BLOCK - 1) / CYC__SURFACE_BLOCK;
	CYC_TRY(cyc_alloc(&f->highest, count(f->n_blocks), sizeof *f->highest));
	for (size_t i = 0; i < count(f->n_blocks); i++) f->highest[i] = -HUGE_VALF;
	for (int32_t z = 0; z < f->n[2]; z++)
		for (int32_t y = 0; y < f->n[1]; y++)
			for (int32_t x = 0; x < f->n[0]; x++) {
				float v = f->value[at(f->n, x, y, z)];
				/* A point is a corner of the cells before it, too. */
				for (int corner = 0; corner < 8; corner++) {
					int32_t b[3] = { (x - (corner & 1)) / CYC__SURFACE_BLOCK,
						             (y - (corner >> 1 & 1)) / CYC__SURFACE_BLOCK,
						             (z - (corner >> 2)) / CYC__SURFACE_BLOCK };
					float *h = &f->highest[at(f->n_blocks, b[0], b[1], b[2])];
					if (v > *h) *h = v;
				}
			}
done:
	return st;
}

/* Mean over 2 radius + 1 points of a line; what lies beyond its ends counts as outside of the surface. */
static void blur_line(float *line, float *copy, int32_t n, size_t step, int32_t radius)
{
	double sum = 0;
	for (int32_t i = 0; i < n; i++) copy[i] = line[(size_t)i * step];
	for (int32_t i = 0; i < radius && i < n; i++) sum += (double)copy[i];
	for (int32_t i = 0; i < n; i++) {
		if (i + radius < n) sum += (double)copy[i + radius];
		line[(size_t)i * step] = (float)(sum / (2 * radius + 1));
		if (i - radius >= 0) sum -= (double)copy[i - radius];
	}
}

static cyc_status blur(float *v, const int32_t n[3], int32_t radius)
{
	cyc_status st = CYC_OK;
	float *copy = NULL;
	size_t steps[3] = { 1, (size_t)n[0], (size_t)n[0] * (size_t)n[1] };
	int32_t most = n[0] > n[1] ? n[0] : n[1];
	CYC_TRY(cyc_alloc(&copy, most > n[2] ? most : n[2], sizeof *copy));
	for (int pass = 0; pass < 2; pass++)
		for (int axis = 0; axis < 3; axis++) {
			int a = (axis + 1) % 3, b = (axis + 2) % 3;
			for (int32_t i = 0; i < n[a]; i++)
				for (int32_t k = 0; k < n[b]; k++)
					blur_line(v + (size_t)i * steps[a] + (size_t)k * steps[b], copy, n[axis], steps[axis],
					          radius);
		}
done:
	cyc_free(copy);
	return st;
}

/* Cavities are darker: how much around a point is inside. */
static cyc_status make_shade(cyc__field *f)
{
	cyc_status st = CYC_OK;
	double largest = fmax(f->n[0], fmax(f->n[1], f->n[2]));
	int32_t radius = (int32_t)fmax(1, round(largest / 60));
	for (int k = 0; k < 3; k++) f->n_shade[k] = (f->n[k] + 1) / 2;
	CYC_TRY(cyc_alloc(&f->shade, count(f->n_shade), sizeof *f->shade));
	for (int32_t z = 0; z < f->n_shade[2]; z++)
		for (int32_t y = 0; y < f->n_shade[1]; y++)
			for (int32_t x = 0; x < f->n_shade[0]; x++)
				f->shade[at(f->n_shade, x, y, z)] =
					f->value[at(f->n, 2 * x, 2 * y, 2 * z)] >= f->level ? 1 : 0;
	CYC_TRY(blur(f->shade, f->n_shade, radius));
	f->reach = 2 * (radius + 0.5) * 1.6;
done:
	return st;
}

cyc_status cyc__field_create(cyc__field *f, const cyc_volume *map, double level, int32_t edge_px)
{
	cyc_status st = CYC_OK;
	blobs b = { 0 };
	*f = (cyc__field){ .level = (float)level, .fineness = 1 };
	CYC_TRY(find_blobs(&b, map, (double)f->level));
	CYC_TRY(cut_out(f, map, &b));
	if (f->is_empty) goto done;
	CYC_TRY(refine(f, map->nx, edge_px));
	CYC_TRY(find_highest(f));
	CYC_TRY(make_shade(f));
done:
	cyc_free(b.label);
	cyc_free(b.stack);
	cyc_free(b.size);
	if (st != CYC_OK) cyc__field_deinit(f);
	return st;
}

enum { LEVEL_BITS = 16, N_LEVELS = 1 << LEVEL_BITS };

/* Bits of a number that are in the order of its value. */
static uint32_t ordered_bits(float v)
{
	uint32_t bits;
	memcpy(&bits, &v, sizeof bits);
	return bits >> 31 ? ~bits : bits | (1U << 31);
}

/* The upper half of the bits of the wanted value by counting, then the lower half: no copy of the map. */
cyc_status cyc_surface_level(double *level, const cyc_volume *map, double share)
{
	cyc_status st = CYC_OK;
	size_t *n_of = NULL, n = cyc_volume_count(map);
	size_t wanted = (size_t)llround((1 - fmin(1, fmax(0, share))) * (double)(n - 1)), below = 0;
	uint32_t upper = 0, lower = 0, bits;
	float value;
	CYC_TRY(cyc_alloc(&n_of, N_LEVELS, sizeof *n_of));
	for (size_t i = 0; i < n; i++) n_of[ordered_bits(map->data[i]) >> LEVEL_BITS]++;
	for (; below + n_of[upper] <= wanted; upper++) below += n_of[upper];
	memset(n_of, 0, N_LEVELS * sizeof *n_of);
	for (size_t i = 0; i < n; i++) {
		bits = ordered_bits(map->data[i]);
		if (bits >> LEVEL_BITS == upper) n_of[bits % N_LEVELS]++;
	}
	for (; below + n_of[lower] <= wanted; lower++) below += n_of[lower];
	bits = upper << LEVEL_BITS | lower;
	bits = bits >> 31 ? bits ^ (1U << 31) : ~bits;
	memcpy(&value, &bits, sizeof value);
	*level = (double)value;
done:
	cyc_free(n_of);
	return st;
}

#include "backends/cpu/cpu_internal.h"
#include "backends/turns.h"

#include <math.h>
#include <string.h>

/* Rotations and offsets of a tile, rotations of a task. */
enum { BLOCK = CYC_POSE_BLOCK, TILE = 8, SLAB = 64 };
_Static_assert((int)BLOCK <= (int)CYC_CELLS, "a block of coefficients is listed at once");

typedef struct {
	int32_t trial, rotation;
} slab;

typedef struct {
	const float *fx, *fy;
	const int32_t *shell;
	const cyc_cfloat *data;
	const float *weight, *spread;
	const cyc_pose_images *images;
	const cyc_pose_trials *in;
	const cyc_cpu *cpu;
	const slab *slabs;
	int64_t *first_score; /* n + 1 */
	double *scores;
	double *limits;
	int64_t *counts, *first_sample;
	cyc_pose_sample *samples;
	int32_t width; /* of rows of shifted data */
} work;

/* ---------------------------------------------------------------- one image */

/* A block of coefficients: data shifted by all offsets of a trial, rows of `width`, and weights. */
typedef struct {
	float *re, *im; /* BLOCK x width */
	float *x, *y;   /* width: turns per index of the axes */
	float weight[BLOCK], share[BLOCK];
	int32_t n, width, n_rows;
	const float *kx, *ky, *data;
} shifted;

static void set_shifts(shifted *b, const work *a, const cyc_pose_trial *t, const cyc_pose_image *f)
{
	b->width = (t->n_offsets + TILE - 1) / TILE * TILE;
	for (int32_t d = 0; d < b->width; d++) {
		const double *A = a->in->offsets[t->first_offset + (d < t->n_offsets ? d : t->n_offsets - 1)].A;
		float *const to[2] = { b->x, b->y };
		for (int i = 0; i < 2; i++) {
			const double *axis = f->R_img_tomo[i];
			double along = axis[0] * A[0] + axis[1] * A[1] + axis[2] * A[2];
			to[i][d] = (float)(f->px_per_A * along / a->images->box_px);
		}
	}
}

/* Where predictions are uncertain, data and weights count less. (T8.19) */
static void weigh(shifted *b, const work *a, const cyc_pose_trial *t, const cyc_pose_image *f, int32_t first)
{
	const float *weight = a->weight + f->first + first,
				*spread = a->images->has_spread[t->map]
	                          ? a->spread + (size_t)t->map * ((size_t)a->images->box_px / 2 + 1)
	                          : NULL;
	float s2 = (float)(t->amplitude * t->amplitude);
	b->n = f->n - first < BLOCK ? f->n - first : BLOCK;
	b->kx = a->fx + first;
	b->ky = a->fy + first;
	b->data = (const float *)(a->data + f->first + first);
	for (int32_t k = 0; k < b->n; k++) {
		b->share[k] = spread ? 1 / (1 + s2 * weight[k] * spread[a->shell[first + k]]) : 1;
		b->weight[k] = b->share[k] * weight[k];
	}
}

CYC_SIMD static void shift(shifted *b)
{
	const float *x = b->x, *y = b->y;
	for (int32_t k = 0; k < b->n; k++) {
		float kx = b->kx[k], ky = b->ky[k], d_re = b->data[2 * k], d_im = b->data[2 * k + 1],
			  share = b->share[k];
		float *re = b->re + (size_t)k * (size_t)b->width, *im = b->im + (size_t)k * (size_t)b->width;
		for (int32_t d = 0; d < b->width; d++) {
			float sn, cs;
			cyc_sincos_turns(&sn, &cs, kx * x[d] + ky * y[d]);
			re[d] = share * (d_re * cs - d_im * sn);
			im[d] = share * (d_re * sn + d_im * cs);
		}
	}
}

/* ---------------------------------------------------------------- slices */

/* Slices by the rotations of a tile at a block of coefficients, and what they add to W |V|^2. */
typedef struct {
	float re[BLOCK][TILE], im[BLOCK][TILE], power[BLOCK][TILE];
	float x[TILE][3], y[TILE][3];
} slices;

static void set_axes(slices *v, double zoom, const cyc_pose_image *f, const cyc_pose_rotation *r, int32_t n)
{
	for (int32_t o = 0; o < TILE; o++) {
		const double(*R)[3] = r[o < n ? o : n - 1].R_tomo_ref;
		for (int k = 0; k < 3; k++) {
			double along[2];
			for (int i = 0; i < 2; i++) {
				const double *axis = f->R_img_tomo[i];
				along[i] = axis[0] * R[0][k] + axis[1] * R[1][k] + axis[2] * R[2][k];
			}
			v->x[o][k] = (float)(zoom * along[0]);
			v->y[o][k] = (float)(zoom * along[1]);
		}
	}
}

CYC_SIMD static void fill_slices(slices *out, const shifted *b, const cyc_cfloat *F, int32_t edge)
{
	cyc_cells l;
	for (int32_t o = 0; o < TILE; o++) {
		cyc__cells_of_slice(&l, F, edge, out->x[o], out->y[o], b->kx, b->ky, b->n);
		for (int32_t k = 0; k < b->n; k++) {
			const cyc_cell q = cyc__cell_next(&l, F, edge, k, b->n);
			cyc_v4 v = cyc__cell_along_x(&q);
			float re = v[0] + q.fx * (v[2] - v[0]), im = q.mirror * (v[1] + q.fx * (v[3] - v[1]));
			out->re[k][o] = re;
			out->im[k][o] = im;
			out->power[k][o] = b->weight[k] * (re * re + im * im);
		}
	}
}

/* ---------------------------------------------------------------- products */

typedef float v8 __attribute__((vector_size(4 * TILE)));

/* Adds the products of a tile of slices with all shifted data to rows of scores, and its powers. */
CYC_SIMD static void multiply(double *scores, double *power, const slices *v, const shifted *b,
                              int32_t n_offsets)
{
	float sum[TILE] = { 0 };
	for (int32_t k = 0; k < b->n; k++)
		for (int o = 0; o < TILE; o++) sum[o] += v->power[k][o];
	for (int o = 0; o < TILE; o++) power[o] += (double)sum[o];
	for (int32_t d = 0; d < b->width; d += TILE) {
		v8 part[TILE];
		for (int o = 0; o < TILE; o++) part[o] = (v8){ 0 };
		for (int32_t k = 0; k < b->n; k++) {
			v8 re, im;
			memcpy(&re, b->re + (size_t)k * (size_t)b->width + d, sizeof re);
			memcpy(&im, b->im + (size_t)k * (size_t)b->width + d, sizeof im);
			for (int o = 0; o < TILE; o++) part[o] += v->re[k][o] * re + v->im[k][o] * im;
		}
		for (int o = 0; o < b->n_rows; o++)
			for (int32_t i = 0; i < TILE && d + i < n_offsets; i++)
				scores[(size_t)o * (size_t)n_offsets + (size_t)(d + i)] += (double)part[o][i];
	}
}

static size_t scratch_bytes(const work *a)
{
	return sizeof(slices) + (2 * BLOCK + 2) * (size_t)a->width * sizeof(float) + 64;
}

static cyc_status slab_task(void *arg, int64_t i, int i_thread)
{
	const work *a = arg;
	const slab *s = &a->slabs[i];
	const cyc_pose_trial *t = &a->in->trials[s->trial];
	int32_t n = t->n_rotations - s->rotation < SLAB ? t->n_rotations - s->rotation : SLAB, n_t = t->n_offsets;
	const cyc_cfloat *map = cyc_buffer_address(a->images->maps[t->map]);
	double *scores = a->scores + a->first_score[s->trial] + (int64_t)s->rotation * n_t, power[SLAB] = { 0 };
	const cyc_pose_rotation *rotations = a->in->rotations + t->first_rotation + s->rotation;
	double zoom = a->images->zoom[t->map];
	slices *v = cyc__cpu_scratch_of(a->cpu, i_thread);
	float *room = (float *)(v + 1);
	shifted b = { .re = room,
		          .im = room + (size_t)BLOCK * (size_t)a->width,
		          .x = room + 2 * (size_t)BLOCK * (size_t)a->width };
	b.y = b.x + a->width;
	memset(scores, 0, (size_t)n * (size_t)n_t * sizeof *scores);
	for (int32_t f = t->first_image; f < t->first_image + t->n_images; f++) {
		const cyc_pose_image *image = &a->in->images[f];
		set_shifts(&b, a, t, image);
		for (int32_t first = 0; first < image->n; first += BLOCK) {
			weigh(&b, a, t, image, first);
			shift(&b);
			for (int32_t o = 0; o < n; o += TILE) {
				b.n_rows = n - o < TILE ? n - o : TILE;
				set_axes(v, zoom, image, rotations + o, b.n_rows);
				fill_slices(v, &b, map, a->images->edge[t->map]);
				multiply(scores + (size_t)o * (size_t)n_t, power + o, v, &b, n_t);
			}
		}
	}
	double amplitude = t->amplitude;
	for (int32_t o = 0; o < n; o++)
		for (int32_t d = 0; d < n_t; d++) {
			double *to = &scores[(size_t)o * (size_t)n_t + (size_t)d];
			*to = 2 * amplitude * *to - amplitude * amplitude * power[o];
		}
	return CYC_OK;
}

/* ---------------------------------------------------------------- what is kept */

static double weight_of(const work *a, const cyc_pose_trial *t, const double *scores, int32_t o, int32_t d)
{
	return scores[(size_t)o * (size_t)t->n_offsets + (size_t)d] +
	       a->in->rotations[t->first_rotation + o].log_prior + a->in->offsets[t->first_offset + d].log_prior;
}

static cyc_status count_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	const cyc_pose_trial *t = &a->in->trials[i];
	const double *scores = a->scores + a->first_score[i];
	double best = -HUGE_VAL;
	int64_t n = 0;
	for (int32_t o = 0; o < t->n_rotations; o++)
		for (int32_t d = 0; d < t->n_offsets; d++) {
			double w = weight_of(a, t, scores, o, d);
			if (w > best) best = w;
		}
	a->limits[i] = best - a->in->margin;
	for (int32_t o = 0; o < t->n_rotations; o++)
		for (int32_t d = 0; d < t->n_offsets; d++) n += weight_of(a, t, scores, o, d) >= a->limits[i];
	a->counts[i] = n;
	return CYC_OK;
}

static cyc_status keep_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	const cyc_pose_trial *t = &a->in->trials[i];
	const double *scores = a->scores + a->first_score[i];
	cyc_pose_sample *to = a->samples + a->first_sample[i];
	for (int32_t o = 0; o < t->n_rotations; o++)
		for (int32_t d = 0; d < t->n_offsets; d++)
			if (weight_of(a, t, scores, o, d) >= a->limits[i])
				*to++ = (cyc_pose_sample){ scores[(size_t)o * (size_t)t->n_offsets + (size_t)d], o, d };
	return CYC_OK;
}

static cyc_status list_slabs(slab **out, int64_t *n_slabs, work *a)
{
	cyc_status st = CYC_OK;
	int64_t n = 0;
	for (int32_t i = 0; i < a->in->n; i++) {
		const cyc_pose_trial *t = &a->in->trials[i];
		a->first_score[i + 1] = a->first_score[i] + (int64_t)t->n_rotations * t->n_offsets;
		n += (t->n_rotations + SLAB - 1) / SLAB;
		if (t->n_offsets > a->width) a->width = t->n_offsets;
	}
	a->width = (a->width + TILE - 1) / TILE * TILE;
	CYC_TRY(cyc_alloc(out, (size_t)n, sizeof **out));
	*n_slabs = 0;
	for (int32_t i = 0; i < a->in->n; i++)
		for (int32_t o = 0; o < a->in->trials[i].n_rotations; o += SLAB)
			(*out)[(*n_slabs)++] = (slab){ i, o };
done:
	return st;
}

cyc_status cyc_pose_scores_cpu(void *self, cyc_pose_sample *samples, int64_t *counts,
                               const cyc_pose_images *images, const cyc_pose_trials *in)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	slab *slabs = NULL;
	int64_t n_slabs;
	work a = { .fx = cyc_buffer_address(images->fx),
		       .fy = cyc_buffer_address(images->fy),
		       .shell = cyc_buffer_address(images->shell),
		       .data = cyc_buffer_address(images->data),
		       .weight = cyc_buffer_address(images->weight),
		       .spread = cyc_buffer_address(images->spread),
		       .images = images,
		       .in = in,
		       .cpu = cpu,
		       .counts = counts,
		       .samples = samples };
	size_t n = (size_t)in->n;
	CYC_TRY(cyc_alloc(&a.first_score, n + 1, sizeof *a.first_score));
	CYC_TRY(cyc_alloc(&a.first_sample, n + 1, sizeof *a.first_sample));
	CYC_TRY(cyc_alloc(&a.limits, n, sizeof *a.limits));
	CYC_TRY(list_slabs(&slabs, &n_slabs, &a));
	a.slabs = slabs;
	CYC_TRY(cyc_alloc(&a.scores, (size_t)a.first_score[n], sizeof *a.scores));
	CYC_TRY(cyc__cpu_scratch(cpu, n_slabs, scratch_bytes(&a)));
	CYC_TRY(cyc_parallel_for(n_slabs, cpu->n_threads, slab_task, &a));
	CYC_TRY(cyc_parallel_for(in->n, cpu->n_threads, count_task, &a));
	for (size_t i = 0; i < n; i++) a.first_sample[i + 1] = a.first_sample[i] + counts[i];
	CYC_TRY(cyc_parallel_for(in->n, cpu->n_threads, keep_task, &a));
done:
	cyc_free(slabs);
	cyc_free(a.first_score);
	cyc_free(a.first_sample);
	cyc_free(a.limits);
	cyc_free(a.scores);
	return st;
}

/*
 * Phase randomisation (Chen et al. 2013, Ultramicroscopy 135:24): what correlation does the mask alone make?
 *
 * A phase is one of 4096 equally spaced ones, taken from a table: all moments of its phasor below order 4096
 * are those of a continuous uniform phase. A generator stream per row of coefficients, so that rows can be
 * done in any order.
 *
 * Draws come in fours. Transforms are linear: a masked, randomised map is M L + M H, L the kept and H the
 * randomised part, and -H is as good a draw as H. So one pair of transforms of M H1 and M H2 gives the draws
 * (+,+), (-,-), (+,-), (-,+), at a quarter of the cost; and in their mean the accidental correlations of H1
 * and H2 with each other and with L, which make single draws a lottery, cancel.
 */
#include "map_internal.h"

#include <string.h>

enum { N_PHASES = 4096, RNG_RANDOM_PHASES = 0x52504853 };

typedef enum { KEEP_LOW, ONLY_HIGH, ONLY_LOW } part; /* what becomes of the two sides of shell R */

typedef struct {
	cyc_cfloat *out;
	const cyc_cfloat *ft, *phasors;
	int32_t n;
	int64_t r2_from;
	uint64_t seed, stream;
	part what;
} randomise_work;

/* Turning by a random phase keeps the amplitude and leaves a random phase. Each coefficient of a row has its
 * own bits of the stream, whichever are turned. */
static void turn_row(cyc_cfloat *out, const cyc_cfloat *in, int64_t first, int64_t end,
                     const cyc_cfloat *phasors, cyc_rng rng)
{
	uint32_t bits = 0;
	for (int64_t x = 0; x < first; x += 2) bits = cyc_rng_u32(&rng);
	for (int64_t x = first; x < end; x++) {
		bits = x % 2 == 0 ? cyc_rng_u32(&rng) : bits >> 16;
		const cyc_cfloat p = phasors[bits % N_PHASES];
		float a = crealf(in[x]), b = cimagf(in[x]), c = crealf(p), d = cimagf(p);
		out[x] = (a * c - b * d) + (a * d + b * c) * I;
	}
}

static cyc_status randomise_plane(void *arg, int64_t z, int i_thread)
{
	const randomise_work *w = arg;
	(void)i_thread;
	int64_t n = w->n, n_half = n / 2 + 1, fz = cyc__frequency(z, w->n);
	for (int64_t y = 0; y < n; y++) {
		int64_t fy = cyc__frequency(y, w->n), base = fz * fz + fy * fy;
		const cyc_cfloat *in = w->ft + (z * n + y) * n_half;
		cyc_cfloat *out = w->out + (z * n + y) * n_half;
		int64_t n_low = 0;
		while (n_low < n_half && base + n_low * n_low < w->r2_from) n_low++;
		if (w->what == ONLY_HIGH) memset(out, 0, (size_t)n_low * sizeof *out);
		else memcpy(out, in, (size_t)n_low * sizeof *out);
		if (w->what == ONLY_LOW) memset(out + n_low, 0, (size_t)(n_half - n_low) * sizeof *out);
		else
			turn_row(out, in, n_low, n_half, w->phasors,
			         cyc_rng_make(w->seed, RNG_RANDOM_PHASES,
			                      (w->stream * (uint64_t)n + (uint64_t)z) * (uint64_t)n + (uint64_t)y));
	}
	return CYC_OK;
}

static cyc_status make_phasors(cyc_cfloat **out)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_alloc(out, N_PHASES, sizeof **out));
	for (int i = 0; i < N_PHASES; i++) {
		double a = 2.0 * CYC_PI * i / N_PHASES;
		float *p = (float *)(*out + i);
		p[0] = (float)cos(a);
		p[1] = (float)sin(a);
	}
done:
	return st;
}

static cyc_status randomise(const randomise_work *template, int32_t draw, int32_t half, int n_threads)
{
	randomise_work w = *template;
	w.stream = (uint64_t)draw * 2 + (uint64_t)half;
	return cyc_parallel_for(w.n, n_threads, randomise_plane, &w);
}

cyc_status cyc__randomise_phases(cyc_cfloat *out, const cyc_cfloat *ft, int32_t n, int32_t randomise_from,
                                 uint64_t seed, int32_t draw, int32_t half, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_cfloat *phasors = NULL;
	CYC_TRY(make_phasors(&phasors));
	randomise_work w = { .out = out,
		                 .ft = ft,
		                 .phasors = phasors,
		                 .n = n,
		                 .r2_from = (int64_t)randomise_from * randomise_from,
		                 .seed = seed };
	CYC_TRY(randomise(&w, draw, half, n_threads));
done:
	cyc_free(phasors);
	return st;
}

/* ---------------------------------------------------------------- mean FSC of the draws */

/* The coefficients of shells 0 .. n/2, row by row: half of the box, so half of the memory. */
typedef struct {
	int32_t n;
	int64_t *row; /* n x n + 1: where each row starts */
} sphere;

static cyc_status make_sphere(sphere *s, int32_t n)
{
	cyc_status st = CYC_OK;
	int64_t r2_max = (int64_t)(n / 2) * (n / 2 + 1);
	s->n = n;
	CYC_TRY(cyc_alloc(&s->row, (size_t)n * (size_t)n + 1, sizeof *s->row));
	for (int64_t k = 0; k < (int64_t)n * n; k++) {
		int64_t fz = cyc__frequency(k / n, n), fy = cyc__frequency(k % n, n), x = 0;
		while (x <= n / 2 && fz * fz + fy * fy + x * x <= r2_max) x++;
		s->row[k + 1] = s->row[k] + x;
	}
done:
	return st;
}

static int64_t sphere_count(const sphere *s) { return s->row[(int64_t)s->n * s->n]; }

typedef struct {
	cyc_fft3 *plan;
	cyc_cfloat *ft; /* whole transform: randomised, then of the masked map */
	float *real;
	cyc_cfloat *b1; /* sphere: transform of M H1 */
	double *sums;   /* n planes x N_SUMS x n_shells */
} scratch;

typedef struct {
	const cyc__random_fsc_input *in;
	const cyc_cfloat *phasors;
	sphere sphere;
	cyc_cfloat *a[2]; /* sphere: transforms of M L1, M L2 */
	scratch *scratch; /* one per worker */
	double *curves;   /* n_draws x n_shells */
	int n_inner;      /* threads inside one draw */
} draws_work;

/* Shell sums of products of A = M L and B = M H of both halves. */
enum { A1A2, A1B2, B1A2, B1B2, A1A1, A1B1, B1B1, A2A2, A2B2, B2B2, N_SUMS };

typedef struct {
	float *map;
	const float *mask;
	size_t n_plane;
} mask_work;

static cyc_status mask_plane(void *arg, int64_t z, int i_thread)
{
	const mask_work *w = arg;
	(void)i_thread;
	float *map = w->map + (size_t)z * w->n_plane;
	const float *mask = w->mask + (size_t)z * w->n_plane;
	for (size_t i = 0; i < w->n_plane; i++) map[i] *= mask[i];
	return CYC_OK;
}

/* s->ft = transform of mask x (part of a half map). */
static cyc_status masked_part(scratch *s, const draws_work *d, int half, int32_t draw, part what)
{
	cyc_status st = CYC_OK;
	const cyc__random_fsc_input *in = d->in;
	randomise_work w = { .out = s->ft,
		                 .ft = in->ft[half],
		                 .phasors = d->phasors,
		                 .n = in->n,
		                 .r2_from = (int64_t)in->randomise_from * in->randomise_from,
		                 .seed = in->seed,
		                 .what = what };
	mask_work m = { s->real, in->mask, (size_t)in->n * (size_t)in->n };
	CYC_TRY(randomise(&w, draw, half, d->n_inner));
	CYC_TRY(cyc_fft3_inverse(s->real, s->plan, s->ft));
	CYC_TRY(cyc_parallel_for(in->n, d->n_inner, mask_plane, &m));
	CYC_TRY(cyc_fft3_forward(s->ft, s->plan, s->real));
done:
	return st;
}

static void keep_sphere(cyc_cfloat *to, const sphere *s, const cyc_cfloat *ft)
{
	int64_t n_half = s->n / 2 + 1;
	for (int64_t k = 0; k < (int64_t)s->n * s->n; k++)
		memcpy(to + s->row[k], ft + k * n_half, (size_t)(s->row[k + 1] - s->row[k]) * sizeof *to);
}

typedef struct {
	const draws_work *d;
	scratch *s;
} sums_work;

static double dot(const float *a, const float *b)
{
	return (double)a[0] * (double)b[0] + (double)a[1] * (double)b[1];
}

static cyc_status sums_plane(void *arg, int64_t z, int i_thread)
{
	const sums_work *w = arg;
	(void)i_thread;
	int64_t n = w->d->in->n, n_half = n / 2 + 1, n_shells = n / 2 + 1, fz = cyc__frequency(z, w->d->in->n);
	double *sums = w->s->sums + z * N_SUMS * n_shells;
	memset(sums, 0, (size_t)(N_SUMS * n_shells) * sizeof *sums);
	for (int64_t y = 0; y < n; y++) {
		int64_t fy = cyc__frequency(y, w->d->in->n), base = fz * fz + fy * fy, shell = cyc__shell(base);
		int64_t first = w->d->sphere.row[z * n + y], m = w->d->sphere.row[z * n + y + 1] - first;
		const float *a1 = (const float *)(w->d->a[0] + first), *a2 = (const float *)(w->d->a[1] + first);
		const float *b1 = (const float *)(w->s->b1 + first),
					*b2 = (const float *)(w->s->ft + (z * n + y) * n_half);
		for (int64_t x = 0; x < m; shell++) {
			double t[N_SUMS] = { 0.0 };
			for (; x < m && base + x * x <= shell * (shell + 1); x++) {
				int64_t i = 2 * x;
				t[A1A2] += dot(a1 + i, a2 + i);
				t[A1B2] += dot(a1 + i, b2 + i);
				t[B1A2] += dot(b1 + i, a2 + i);
				t[B1B2] += dot(b1 + i, b2 + i);
				t[A1A1] += dot(a1 + i, a1 + i);
				t[A1B1] += dot(a1 + i, b1 + i);
				t[B1B1] += dot(b1 + i, b1 + i);
				t[A2A2] += dot(a2 + i, a2 + i);
				t[A2B2] += dot(a2 + i, b2 + i);
				t[B2B2] += dot(b2 + i, b2 + i);
			}
			for (int k = 0; k < N_SUMS; k++) sums[k * n_shells + shell] += t[k];
		}
	}
	return CYC_OK;
}

/* The draws 4 i .. 4 i + 3, or those of them that are wanted. */
static cyc_status four_draws(void *arg, int64_t i_four, int i_thread)
{
	static const double SIGN[4][2] = { { 1, 1 }, { -1, -1 }, { 1, -1 }, { -1, 1 } };
	cyc_status st = CYC_OK;
	const draws_work *d = arg;
	scratch *s = &d->scratch[i_thread];
	sums_work w = { d, s };
	int32_t n = d->in->n, n_shells = cyc__n_shells(n);
	CYC_TRY(masked_part(s, d, 0, (int32_t)i_four, ONLY_HIGH));
	keep_sphere(s->b1, &d->sphere, s->ft);
	CYC_TRY(masked_part(s, d, 1, (int32_t)i_four, ONLY_HIGH));
	CYC_TRY(cyc_parallel_for(n, d->n_inner, sums_plane, &w));
	for (int32_t shell = 0; shell < n_shells; shell++) {
		double t[N_SUMS] = { 0.0 };
		for (int64_t z = 0; z < n; z++)
			for (int k = 0; k < N_SUMS; k++) t[k] += s->sums[(z * N_SUMS + k) * n_shells + shell];
		for (int64_t j = 0; j < 4 && 4 * i_four + j < d->in->n_draws; j++) {
			double s1 = SIGN[j][0], s2 = SIGN[j][1];
			double cross = t[A1A2] + s2 * t[A1B2] + s1 * t[B1A2] + s1 * s2 * t[B1B2];
			double power1 = t[A1A1] + 2.0 * s1 * t[A1B1] + t[B1B1],
				   power2 = t[A2A2] + 2.0 * s2 * t[A2B2] + t[B2B2];
			d->curves[(4 * i_four + j) * n_shells + shell] =
				power1 > 0.0 && power2 > 0.0 ? cross / (sqrt(power1) * sqrt(power2)) : 0.0;
		}
	}
done:
	return st;
}

/* Draws side by side while that is small; else one after the other, each on all threads. */
int cyc__random_fsc_workers(int32_t n, int n_draws, int n_threads)
{
	const double SMALL_BYTES = 256e6;
	double bytes = 2.5 * (double)n * (double)n * (double)n * sizeof(float);
	int n_workers = cyc_n_workers((n_draws + 3) / 4, n_threads);
	return n_workers > 1 && bytes * n_workers <= SMALL_BYTES ? n_workers : 1;
}

static cyc_status begin(draws_work *d, int n_workers)
{
	cyc_status st = CYC_OK;
	int32_t n = d->in->n;
	CYC_TRY(make_sphere(&d->sphere, n));
	size_t n_sphere = (size_t)sphere_count(&d->sphere);
	CYC_TRY(cyc_alloc(&d->curves, (size_t)d->in->n_draws * (size_t)cyc__n_shells(n), sizeof *d->curves));
	CYC_TRY(cyc_alloc(&d->scratch, n_workers, sizeof *d->scratch));
	for (int i = 0; i < n_workers; i++) {
		scratch *s = &d->scratch[i];
		CYC_TRY(cyc_fft3_create(&s->plan, n, d->n_inner));
		CYC_TRY(cyc_alloc(&s->ft, cyc_half_count3(n), sizeof *s->ft));
		CYC_TRY(cyc_alloc(&s->real, (size_t)n * (size_t)n * (size_t)n, sizeof *s->real));
		CYC_TRY(cyc_alloc(&s->b1, n_sphere, sizeof *s->b1));
		CYC_TRY(cyc_alloc(&s->sums, (size_t)n * N_SUMS * (size_t)cyc__n_shells(n), sizeof *s->sums));
	}
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc_alloc(&d->a[h], n_sphere, sizeof(cyc_cfloat)));
		CYC_TRY(masked_part(&d->scratch[0], d, h, 0, ONLY_LOW));
		keep_sphere(d->a[h], &d->sphere, d->scratch[0].ft);
	}
done:
	return st;
}

cyc_status cyc__random_fsc(double *fsc, const cyc__random_fsc_input *in)
{
	cyc_status st = CYC_OK;
	int32_t n_shells = cyc__n_shells(in->n), n_fours = (in->n_draws + 3) / 4;
	int n_workers = cyc__random_fsc_workers(in->n, in->n_draws, in->n_threads);
	cyc_cfloat *phasors = NULL;
	draws_work d = { .in = in, .n_inner = n_workers > 1 ? 1 : in->n_threads };
	CYC_CHECK(in->n_draws > 0, CYC_E_USAGE,
	          "at least one set of random phases is needed (--random-draws), got %d", in->n_draws);
	CYC_TRY(make_phasors(&phasors));
	d.phasors = phasors;
	CYC_TRY(begin(&d, n_workers));
	if (n_workers > 1) {
		CYC_TRY(cyc_parallel_for(n_fours, n_workers, four_draws, &d));
	} else {
		for (int32_t i = 0; i < n_fours; i++) {
			CYC_TRY(four_draws(&d, i, 0));
			CYC_TRY(cyc_cancel_check());
		}
	}
	for (int32_t i = 0; i < n_shells; i++) {
		double sum = 0.0;
		for (int32_t draw = 0; draw < in->n_draws; draw++)
			sum += d.curves[(size_t)draw * (size_t)n_shells + (size_t)i];
		fsc[i] = sum / in->n_draws;
	}
done:
	for (int i = 0; d.scratch && i < n_workers; i++) {
		cyc_fft3_destroy(&d.scratch[i].plan);
		cyc_free(d.scratch[i].ft);
		cyc_free(d.scratch[i].real);
		cyc_free(d.scratch[i].b1);
		cyc_free(d.scratch[i].sums);
	}
	cyc_free(d.scratch);
	cyc_free(d.sphere.row);
	cyc_free(d.a[0]);
	cyc_free(d.a[1]);
	cyc_free(d.curves);
	cyc_free(phasors);
	return st;
}

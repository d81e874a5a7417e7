/*
 * Phase randomisation (Chen et al. 2013, Ultramicroscopy 135:24): what correlation does the mask alone make?
 *
 * A phase is one of 4096 equally spaced ones, taken from a table: all moments of its phasor below order 4096 are those of
 * a continuous uniform phase. A generator stream per row of coefficients, so that rows can be done in any order.
 */
#include "map_internal.h"

#include <string.h>

enum { N_PHASES = 4096, RNG_RANDOM_PHASES = 0x52504853 };

typedef struct {
	cyc_cfloat *out;
	const cyc_cfloat *ft, *phasors;
	int32_t n;
	int64_t r2_from;
	uint64_t seed, stream;
} randomise_work;

static cyc_status randomise_plane(void *arg, int64_t z, int i_thread)
{
	const randomise_work *w = arg;
	(void)i_thread;
	int64_t n = w->n, n_half = n / 2 + 1, fz = cyc__frequency(z, w->n);
	for (int64_t y = 0; y < n; y++) {
		int64_t fy = cyc__frequency(y, w->n), base = fz * fz + fy * fy;
		const cyc_cfloat *in = w->ft + (z * n + y) * n_half;
		cyc_cfloat *out = w->out + (z * n + y) * n_half;
		cyc_rng rng = cyc_rng_make(w->seed, RNG_RANDOM_PHASES, (w->stream * (uint64_t)n + (uint64_t)z) * (uint64_t)n + (uint64_t)y);
		uint32_t bits = 0;
		for (int64_t x = 0; x < n_half; x++) {
			bits = x % 2 == 0 ? cyc_rng_u32(&rng) : bits >> 16;
			/* Turning by a random phase keeps the amplitude and leaves a random phase. */
			out[x] = base + x * x < w->r2_from ? in[x] : in[x] * w->phasors[bits % N_PHASES];
		}
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

cyc_status cyc__randomise_phases(cyc_cfloat *out, const cyc_cfloat *ft, int32_t n, int32_t randomise_from, uint64_t seed, int32_t draw,
                                 int32_t half, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_cfloat *phasors = NULL;
	CYC_TRY(make_phasors(&phasors));
	randomise_work w = { out, ft, phasors, n, (int64_t)randomise_from * randomise_from, seed, 0 };
	CYC_TRY(randomise(&w, draw, half, n_threads));
done:
	cyc_free(phasors);
	return st;
}

/* ---------------------------------------------------------------- mean FSC of the draws */

typedef struct {
	cyc_fft3 *plan;
	cyc_cfloat *ft[2];
	float *real;
} scratch;

typedef struct {
	const cyc__random_fsc_input *in;
	const cyc_cfloat *phasors;
	scratch *scratch; /* one per worker */
	double *curves;   /* n_draws x n_shells */
	int n_inner;      /* threads inside one draw */
} draws_work;

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

static cyc_status draw_task(void *arg, int64_t draw, int i_thread)
{
	cyc_status st = CYC_OK;
	const draws_work *d = arg;
	const cyc__random_fsc_input *in = d->in;
	scratch *s = &d->scratch[i_thread];
	int32_t n = in->n;
	for (int half = 0; half < 2; half++) {
		randomise_work w = { s->ft[half], in->ft[half], d->phasors, n, (int64_t)in->randomise_from * in->randomise_from, in->seed, 0 };
		mask_work m = { s->real, in->mask, (size_t)n * (size_t)n };
		CYC_TRY(randomise(&w, (int32_t)draw, half, d->n_inner));
		CYC_TRY(cyc_fft3_inverse(s->real, s->plan, s->ft[half]));
		CYC_TRY(cyc_parallel_for(n, d->n_inner, mask_plane, &m));
		CYC_TRY(cyc_fft3_forward(s->ft[half], s->plan, s->real));
	}
	CYC_TRY(cyc__fsc_compute_threads(d->curves + draw * cyc__n_shells(n), s->ft[0], s->ft[1], n, d->n_inner));
done:
	return st;
}

/* Draws side by side while that is small; else one after the other, each on all threads: memory stays 3 maps. */
static int choose_n_workers(const cyc__random_fsc_input *in)
{
	const double SMALL_BYTES = 256e6;
	double bytes = 3.0 * (double)in->n * (double)in->n * (double)in->n * sizeof(float);
	int n_workers = in->n_threads < in->n_draws ? in->n_threads : in->n_draws;
	return n_workers > 1 && bytes * n_workers <= SMALL_BYTES ? n_workers : 1;
}

cyc_status cyc__random_fsc(double *fsc, const cyc__random_fsc_input *in)
{
	cyc_status st = CYC_OK;
	int32_t n = in->n, n_shells = cyc__n_shells(n);
	int n_workers = choose_n_workers(in);
	cyc_cfloat *phasors = NULL;
	draws_work d = { .in = in, .n_inner = n_workers > 1 ? 1 : in->n_threads };
	CYC_CHECK(in->n_draws > 0, CYC_E_USAGE, "at least one draw of random phases is needed, got %d", in->n_draws);
	CYC_TRY(make_phasors(&phasors));
	d.phasors = phasors;
	CYC_TRY(cyc_alloc(&d.curves, (size_t)in->n_draws * (size_t)n_shells, sizeof *d.curves));
	CYC_TRY(cyc_alloc(&d.scratch, n_workers, sizeof *d.scratch));
	for (int i = 0; i < n_workers; i++) {
		CYC_TRY(cyc_fft3_create(&d.scratch[i].plan, n, d.n_inner));
		CYC_TRY(cyc_alloc(&d.scratch[i].ft[0], cyc_half_count3(n), sizeof(cyc_cfloat)));
		CYC_TRY(cyc_alloc(&d.scratch[i].ft[1], cyc_half_count3(n), sizeof(cyc_cfloat)));
		CYC_TRY(cyc_alloc(&d.scratch[i].real, (size_t)n * (size_t)n * (size_t)n, sizeof(float)));
	}
	if (n_workers > 1) {
		CYC_TRY(cyc_parallel_for(in->n_draws, n_workers, draw_task, &d));
	} else {
		for (int32_t i = 0; i < in->n_draws; i++) {
			CYC_TRY(draw_task(&d, i, 0));
			CYC_TRY(cyc_cancel_check());
		}
	}
	for (int32_t i = 0; i < n_shells; i++) {
		double sum = 0.0;
		for (int32_t draw = 0; draw < in->n_draws; draw++) sum += d.curves[(size_t)draw * (size_t)n_shells + (size_t)i];
		fsc[i] = sum / in->n_draws;
	}
done:
	for (int i = 0; d.scratch && i < n_workers; i++) {
		cyc_fft3_destroy(&d.scratch[i].plan);
		cyc_free(d.scratch[i].ft[0]);
		cyc_free(d.scratch[i].ft[1]);
		cyc_free(d.scratch[i].real);
	}
	cyc_free(d.scratch);
	cyc_free(d.curves);
	cyc_free(phasors);
	return st;
}

#include "backends/cpu/cpu_internal.h"

#include <string.h>

typedef struct {
	float *packed;
	const cyc_cfloat *ft;
	const float *ctf;
	const cyc_cfloat *phase;
	const float *whiten;
	const double *particle_weight;
	int32_t s;
} work;

/* A row before the phase. */
CYC_SIMD static void modulate_row(float *restrict to, const float *restrict ft, const float *ctf,
                                  const float *whiten, float weight, size_t n)
{
	for (size_t x = 0; x < n; x++) {
		float c = ctf ? ctf[x] : 1, w = whiten ? weight * whiten[x] : weight, factor = -(w * c);
		to[4 * x] = factor * ft[2 * x];
		to[4 * x + 1] = factor * ft[2 * x + 1];
		to[4 * x + 2] = w * c * c;
		to[4 * x + 3] = 0;
	}
}

static cyc_status modulate_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	size_t s = (size_t)a->s, sh = s / 2 + 1, width = sh + 1;
	const cyc_cfloat *ft = a->ft + (size_t)i * s * sh;
	const float *ctf = a->ctf ? a->ctf + (size_t)i * s * sh : NULL;
	float *packed = a->packed + (size_t)i * cyc_packed_count(a->s),
		  weight = a->particle_weight ? (float)a->particle_weight[i] : 1;
	/* Rows -s/2-1 .. s/2+2 in order, columns 0 .. s/2+1, so that bilinear look-ups need no wrapping. */
	for (size_t row = 0; row < s + 4; row++) {
		size_t from = (row + s - s / 2 - 1) % s * sh;
		float *to = packed + 4 * row * width;
		modulate_row(to, (const float *)(ft + from), ctf ? ctf + from : NULL,
		             a->whiten ? a->whiten + from : NULL, weight, sh);
		for (size_t x = 0; x < sh && a->phase; x++) {
			cyc_cfloat d = to[4 * x] + to[4 * x + 1] * I;
			d *= conjf(a->phase[from + x]);
			to[4 * x] = crealf(d);
			to[4 * x + 1] = cimagf(d);
		}
		memset(to + 4 * sh, 0, 4 * sizeof *to);
	}
	return CYC_OK;
}

cyc_status cyc_modulate_cpu(void *self, float *packed, const cyc_modulate_in *in)
{
	work a = { .packed = packed + (size_t)in->first * cyc_packed_count(in->s),
		       .ft = cyc_buffer_address(in->ft),
		       .ctf = cyc_buffer_address(in->ctf),
		       .phase = cyc_buffer_address(in->phase),
		       .whiten = cyc_buffer_address(in->whiten),
		       .particle_weight = in->particle_weight,
		       .s = in->s };
	return cyc_parallel_for(in->n, ((cyc_cpu *)self)->n_threads, modulate_task, &a);
}

/* ---------------------------------------------------------------- images of an extraction */

typedef struct {
	float *packed;
	const cyc_cfloat *ft;
	const float *ctf, *share, *rest;
	bool is_premultiplied;
	int32_t s;
} pack_work;

static cyc_status pack_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const pack_work *a = arg;
	size_t s = (size_t)a->s, sh = s / 2 + 1, width = sh + 1;
	const cyc_cfloat *ft = a->ft + (size_t)i * s * sh;
	const float *ctf = a->ctf + (size_t)i * s * sh;
	float *packed = a->packed + (size_t)i * cyc_packed_count(a->s);
	for (size_t row = 0; row < s + 4; row++) {
		size_t from = (row + s - s / 2 - 1) % s * sh;
		cyc_v4 *to = (cyc_v4 *)packed + row * width;
		for (size_t x = 0; x < sh; x++) {
			float c = ctf[from + x], share = a->share[from + x], rest = a->rest[from + x];
			/* Where nothing is known of the CTF, beyond the dose cutoff, what the image has is not used. */
			cyc_cfloat d = share == 0 && rest == 0 ? 0
			               : a->is_premultiplied   ? ft[from + x]
			                                       : c * ft[from + x];
			to[x] = (cyc_v4){ crealf(d), cimagf(d), share * c * c + rest, 0 };
		}
		to[sh] = (cyc_v4){ 0, 0, 0, 0 };
	}
	return CYC_OK;
}

cyc_status cyc_pack_cpu(void *self, float *packed, const cyc_pack_in *in)
{
	pack_work a = { .packed = packed + (size_t)in->first * cyc_packed_count(in->s),
		            .ft = cyc_buffer_address(in->ft),
		            .ctf = cyc_buffer_address(in->ctf),
		            .share = cyc_buffer_address(in->share),
		            .rest = cyc_buffer_address(in->rest),
		            .is_premultiplied = in->is_premultiplied,
		            .s = in->s };
	return cyc_parallel_for(in->n, ((cyc_cpu *)self)->n_threads, pack_task, &a);
}

/* Every operation of backend.h: all backends and thread counts give the same bits, and these are what the
 * formulae of the header say, evaluated here in double precision without any of the operations' tricks. */
#include "backends/backend.h"
#include "backends/tables.h"

#include <complex.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sanitizers.h"
#include "temp_dir.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

/* ---------------------------------------------------------------- inputs */

/* Everything any operation needs for n particles and a box s. Half planes are Hermitian, as transforms of
 * images are. */
typedef struct {
	int32_t s, n, m, nx, ny;
	size_t plane;
	cyc_window_spec spec;
	float *image, *ctf, *quadrature, *turns, *envelope, *whiten, *real, *packed;
	double *at_px, *turns_per_k2, *weight, *sums;
	cyc_cfloat *ft, *prediction, *phase, *reference, *ft3;
	cyc_mat3 *M;
	int32_t *radius;
	int8_t *use;
} inputs;

static double k2_of(int32_t s, size_t i)
{
	int32_t sh = s / 2 + 1, x = (int32_t)i % sh, y = (int32_t)i / sh, ky = y < s / 2 ? y : y - s;
	return x * x + ky * ky;
}

static void fill_planes(cyc_cfloat *out, int32_t s, int32_t n, cyc_rng *rng)
{
	cyc_fft2 *plan = NULL;
	float *image = NULL;
	ASSERT_OK(cyc_fft2_create(&plan, s, s));
	ASSERT_OK(cyc_alloc(&image, (size_t)s * (size_t)s, sizeof *image));
	cyc_cfloat *one = NULL;
	ASSERT_OK(cyc_alloc(&one, cyc_half_count2(s), sizeof *one));
	for (int32_t i = 0; i < n; i++) {
		for (int32_t j = 0; j < s * s; j++) image[j] = (float)cyc_rng_normal(rng);
		cyc_fft2_forward(one, plan, image);
		memcpy(out + (size_t)i * cyc_half_count2(s), one, cyc_half_count2(s) * sizeof *one);
	}
	cyc_free(image);
	cyc_free(one);
	cyc_fft2_destroy(&plan);
}

static void fill_reference(inputs *in, cyc_rng *rng)
{
	int32_t m = in->m;
	size_t width = (size_t)m / 2 + 2, count = (size_t)m * (size_t)m * (size_t)m;
	cyc_fft3 *plan = NULL;
	float *map = NULL;
	cyc_cfloat *ft = NULL;
	ASSERT_OK(cyc_fft3_create(&plan, m, 1));
	ASSERT_OK(cyc_alloc(&map, count, sizeof *map));
	ASSERT_OK(cyc_alloc(&ft, cyc_half_count3(m), sizeof *ft));
	for (size_t i = 0; i < count; i++) map[i] = (float)cyc_rng_normal(rng);
	ASSERT_OK(cyc_fft3_forward(ft, plan, map));
	for (size_t row = 0; row < (size_t)m * (size_t)m; row++)
		memcpy(in->reference + row * width, ft + row * (width - 1), (width - 1) * sizeof *ft);
	cyc_free(map);
	cyc_free(ft);
	cyc_fft3_destroy(&plan);
}

static void fill_tables(inputs *in, cyc_rng *rng)
{
	int32_t s = in->s, sh = s / 2 + 1;
	for (size_t i = 0; i < in->plane; i++) {
		double k2 = k2_of(s, i), x = (double)((int32_t)i % sh),
			   y = (double)((int32_t)i / sh < s / 2 ? (int32_t)i / sh : (int32_t)i / sh - s);
		double turns = 0.013 * k2 + 0.002 * x * y, odd = 0.04 * x - 0.03 * y + 2e-4 * y * k2;
		in->turns[i] = (float)(turns - round(turns));
		in->envelope[i] = k2 <= s * s / 4.0 ? (float)(0.9 * exp(-k2 / (s * s))) : 0;
		in->whiten[i] = (float)(1 / (1 + 0.1 * sqrt(k2)));
		in->phase[i] = (float)cos(odd) + (float)sin(odd) * I;
	}
	for (int32_t i = 0; i < in->n; i++) {
		for (size_t j = 0; j < in->plane; j++) {
			in->ctf[(size_t)i * in->plane + j] = (float)sin(0.03 * k2_of(s, j) + i);
			in->quadrature[(size_t)i * in->plane + j] = (float)cos(0.03 * k2_of(s, j) + i);
		}
		in->turns_per_k2[i] = 0.02 * cyc_rng_normal(rng);
		in->weight[i] = 0.5 + 0.5 * cyc_rng_uniform(rng);
		in->M[i] =
			cyc_euler_to_matrix(6 * cyc_rng_uniform(rng), 3 * cyc_rng_uniform(rng), 6 * cyc_rng_uniform(rng));
		in->radius[i] = i % 4 == 3 ? s / 4 : s / 2;
		in->use[i] = (int8_t)(i % 3 == 1);
	}
	in->M[0] = cyc_mat3_identity(); /* u, v, h whole numbers */
	if (in->n > 5) {
		in->M[4] = cyc_euler_to_matrix(0.3, CYC_PI / 2, 0);
		in->M[5] = cyc_mat3_mul(cyc_rot_x(0.4), cyc_rot_z(CYC_PI / 2));
		in->radius[5] = 0;
		for (int k = 0; k < 9; k++) in->M[2].m[k / 3][k % 3] *= 0.97; /* another pixel size */
	}
}

static inputs *inputs_create(int32_t s, int32_t n)
{
	inputs *in = NULL;
	cyc_rng rng = cyc_rng_make(7, (uint32_t)s, (uint64_t)n);
	ASSERT_OK(cyc_alloc(&in, 1, sizeof *in));
	in->s = s;
	in->n = n;
	in->m = s + 6;
	in->nx = 3 * s + 5;
	in->ny = 2 * s + 15;
	in->plane = cyc_half_count2(s);
	in->spec = (cyc_window_spec){ .box_px = s + 4, .box_binned = s };
	size_t all = (size_t)n * in->plane, pixels = (size_t)in->nx * (size_t)in->ny;
	ASSERT_OK(cyc_alloc(&in->image, pixels, sizeof(float)));
	ASSERT_OK(cyc_alloc(&in->ctf, all, sizeof(float)));
	ASSERT_OK(cyc_alloc(&in->quadrature, all, sizeof(float)));
	ASSERT_OK(cyc_alloc(&in->turns, in->plane, sizeof(float)));
	ASSERT_OK(cyc_alloc(&in->envelope, in->plane, sizeof(float)));
	ASSERT_OK(cyc_alloc(&in->whiten, in->plane, sizeof(float)));
	ASSERT_OK(cyc_alloc(&in->real, (size_t)s * (size_t)s * (size_t)s, sizeof(float)));
	ASSERT_OK(cyc_alloc(&in->packed, (size_t)n * cyc_packed_count(s), sizeof(float)));
	ASSERT_OK(cyc_alloc(&in->at_px, 2 * (size_t)n, sizeof(double)));
	ASSERT_OK(cyc_alloc(&in->turns_per_k2, n, sizeof(double)));
	ASSERT_OK(cyc_alloc(&in->weight, n, sizeof(double)));
	ASSERT_OK(cyc_alloc(&in->sums, CYC_N_SUMS * in->plane, sizeof(double)));
	ASSERT_OK(cyc_alloc(&in->ft, all, sizeof(cyc_cfloat)));
	ASSERT_OK(cyc_alloc(&in->prediction, all, sizeof(cyc_cfloat)));
	ASSERT_OK(cyc_alloc(&in->phase, in->plane, sizeof(cyc_cfloat)));
	ASSERT_OK(cyc_alloc(&in->reference, cyc_reference_count(in->m), sizeof(cyc_cfloat)));
	ASSERT_OK(cyc_alloc(&in->ft3, cyc_half_count3(s), sizeof(cyc_cfloat)));
	ASSERT_OK(cyc_alloc(&in->M, n, sizeof *in->M));
	ASSERT_OK(cyc_alloc(&in->radius, n, sizeof *in->radius));
	ASSERT_OK(cyc_alloc(&in->use, n, sizeof *in->use));
	for (size_t i = 0; i < pixels; i++) in->image[i] = (float)(5 + cyc_rng_normal(&rng));
	for (size_t i = 0; i < (size_t)s * (size_t)s * (size_t)s; i++) in->real[i] = (float)cyc_rng_normal(&rng);
	for (size_t i = 0; i < CYC_N_SUMS * in->plane; i++) in->sums[i] = cyc_rng_normal(&rng);
	for (int32_t i = 0; i < n; i++) {
		in->at_px[2 * i] = in->nx * cyc_rng_uniform(&rng); /* also beyond the borders' margins */
		in->at_px[2 * i + 1] = in->ny * cyc_rng_uniform(&rng);
	}
	in->at_px[0] = in->nx / 2 + 0.5; /* half away from zero */
	in->at_px[1] = in->ny / 2;
	fill_planes(in->ft, s, n, &rng);
	fill_planes(in->prediction, s, n, &rng);
	fill_reference(in, &rng);
	fill_tables(in, &rng);
	for (size_t i = 0; i < (size_t)n * cyc_packed_count(s) / 4; i++)
		for (size_t c = 0; c < 3 && i % ((size_t)s / 2 + 2) != (size_t)s / 2 + 1; c++)
			in->packed[4 * i + c] = (float)cyc_rng_normal(&rng);
	cyc_fft3 *plan = NULL;
	ASSERT_OK(cyc_fft3_create(&plan, s, 1));
	ASSERT_OK(cyc_fft3_forward(in->ft3, plan, in->real));
	cyc_fft3_destroy(&plan);
	return in;
}

static void inputs_destroy(inputs *in)
{
	void *const all[] = {
		in->image,  in->ctf,       in->quadrature,   in->turns,  in->envelope, in->whiten, in->real,
		in->packed, in->at_px,     in->turns_per_k2, in->weight, in->sums,     in->ft,     in->prediction,
		in->phase,  in->reference, in->ft3,          in->M,      in->radius,   in->use,    in
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(all[i]);
}

/* ---------------------------------------------------------------- running an operation */

static cyc_buffer *up(cyc_backend *be, const void *host, size_t n, size_t size)
{
	cyc_buffer *b = NULL;
	ASSERT_OK(cyc_buffer_create(&b, be, n, size));
	if (host) ASSERT_OK(cyc_buffer_upload(b, host, n * size));
	return b;
}

static void *down(cyc_buffer **b, size_t *bytes)
{
	void *host = NULL;
	*bytes = cyc_buffer_bytes(*b);
	ASSERT_OK(cyc_alloc(&host, *bytes, 1));
	ASSERT_OK(cyc_buffer_download(host, *b, *bytes));
	cyc_buffer_destroy(b);
	return host;
}

typedef void *(*runner)(size_t *bytes, cyc_backend *be, const inputs *in);

static void *run_window(size_t *bytes, cyc_backend *be, const inputs *in)
{
	cyc_buffer *image = up(be, in->image, (size_t)in->nx * (size_t)in->ny, sizeof(float)),
			   *ft = up(be, NULL, (size_t)in->n * in->plane, sizeof(cyc_cfloat));
	ASSERT_OK(cyc_op_window(ft, be, image, in->nx, in->ny, in->at_px, in->n, &in->spec));
	cyc_buffer_destroy(&image);
	return down(&ft, bytes);
}

static void *run_ctf(size_t *bytes, cyc_backend *be, const inputs *in)
{
	size_t all = (size_t)in->n * in->plane, b1, b2;
	cyc_buffer *turns = up(be, in->turns, in->plane, sizeof(float)),
			   *envelope = up(be, in->envelope, in->plane, sizeof(float));
	cyc_buffer *c = up(be, NULL, all, sizeof(float)), *q = up(be, NULL, all, sizeof(float)),
			   *alone = up(be, NULL, all, sizeof(float));
	float *both = NULL;
	const cyc_ctf_in ctf_in = {
		.turns = turns, .envelope = envelope, .turns_per_k2 = in->turns_per_k2, .n = in->n, .s = in->s
	};
	ASSERT_OK(cyc_op_ctf(c, q, be, &ctf_in));
	ASSERT_OK(cyc_op_ctf(alone, NULL, be, &ctf_in));
	cyc_buffer_destroy(&turns);
	cyc_buffer_destroy(&envelope);
	void *hc = down(&c, &b1), *hq = down(&q, &b2), *ha = down(&alone, bytes);
	ASSERT_OK(cyc_alloc(&both, 3 * all, sizeof *both));
	memcpy(both, hc, b1);
	memcpy(both + all, hq, b2);
	memcpy(both + 2 * all, ha, *bytes);
	cyc_free(hc);
	cyc_free(hq);
	cyc_free(ha);
	*bytes = 3 * all * sizeof(float);
	return both;
}

static void *modulate(size_t *bytes, cyc_backend *be, const inputs *in, bool has_ctf, bool has_phase,
                      bool has_whiten, bool has_weight)
{
	size_t all = (size_t)in->n * in->plane;
	cyc_buffer *ft = up(be, in->ft, all, sizeof(cyc_cfloat)), *ctf = up(be, in->ctf, all, sizeof(float)),
			   *phase = up(be, in->phase, in->plane, sizeof(cyc_cfloat));
	cyc_buffer *whiten = up(be, in->whiten, in->plane, sizeof(float)),
			   *packed = up(be, in->packed, (size_t)in->n * cyc_packed_count(in->s), sizeof(float));
	const cyc_modulate_in modulate_in = { .ft = ft,
		                                  .ctf = has_ctf ? ctf : NULL,
		                                  .phase = has_phase ? phase : NULL,
		                                  .whiten = has_whiten ? whiten : NULL,
		                                  .particle_weight = has_weight ? in->weight : NULL,
		                                  .n = in->n,
		                                  .s = in->s };
	ASSERT_OK(cyc_op_modulate(packed, be, &modulate_in));
	cyc_buffer_destroy(&ft);
	cyc_buffer_destroy(&ctf);
	cyc_buffer_destroy(&phase);
	cyc_buffer_destroy(&whiten);
	return down(&packed, bytes);
}
static void *run_modulate(size_t *bytes, cyc_backend *be, const inputs *in)
{
	return modulate(bytes, be, in, true, true, true, true);
}

static void *particle_image(size_t *bytes, cyc_backend *be, const inputs *in,
                            const cyc_particle_image_spec *spec, bool has_ctf, bool has_phase,
                            bool has_whiten)
{
	size_t all = (size_t)in->n * in->plane;
	cyc_buffer *ft = up(be, in->ft, all, sizeof(cyc_cfloat)), *ctf = up(be, in->ctf, all, sizeof(float)),
			   *phase = up(be, in->phase, in->plane, sizeof(cyc_cfloat));
	cyc_buffer *whiten = up(be, in->whiten, in->plane, sizeof(float)),
			   *images = up(be, NULL, (size_t)(in->n * spec->edge_px * spec->edge_px), sizeof(float));
	ASSERT_OK(cyc_op_particle_image(images, be, ft, has_ctf ? ctf : NULL, has_phase ? phase : NULL,
	                                has_whiten ? whiten : NULL, spec, in->n));
	cyc_buffer_destroy(&ft);
	cyc_buffer_destroy(&ctf);
	cyc_buffer_destroy(&phase);
	cyc_buffer_destroy(&whiten);
	return down(&images, bytes);
}
static void *run_particle_image(size_t *bytes, cyc_backend *be, const inputs *in)
{
	const cyc_particle_image_spec spec = {
		.box_binned = in->s, .circle_px = in->s - 2, .edge_px = in->s - 2, .factor = -0.5
	};
	return particle_image(bytes, be, in, &spec, true, true, true);
}

static void *pack(size_t *bytes, cyc_backend *be, const inputs *in, bool is_premultiplied)
{
	size_t all = (size_t)in->n * in->plane;
	cyc_buffer *ft = up(be, in->ft, all, sizeof(cyc_cfloat)), *ctf = up(be, in->ctf, all, sizeof(float)),
			   *share = up(be, in->envelope, in->plane, sizeof(float));
	cyc_buffer *rest = up(be, in->envelope, in->plane, sizeof(float)),
			   *packed = up(be, NULL, (size_t)in->n * cyc_packed_count(in->s), sizeof(float));
	const cyc_pack_in pack_in = { .ft = ft,
		                          .ctf = ctf,
		                          .share = share,
		                          .rest = rest,
		                          .is_premultiplied = is_premultiplied,
		                          .n = in->n,
		                          .s = in->s };
	ASSERT_OK(cyc_op_pack(packed, be, &pack_in));
	cyc_buffer_destroy(&ft);
	cyc_buffer_destroy(&ctf);
	cyc_buffer_destroy(&share);
	cyc_buffer_destroy(&rest);
	return down(&packed, bytes);
}
static void *run_pack(size_t *bytes, cyc_backend *be, const inputs *in) { return pack(bytes, be, in, true); }

static const double SUM_SCALE[2] = { 1 << 30, 1 << 28 };

/* Sums of all slices, or of those with use = select, of voxels inner < |p| <= radius. */
static void *insert(size_t *bytes, cyc_backend *be, const inputs *in, bool has_use, int8_t select,
                    const cyc_ball *ball, int32_t inner)
{
	size_t count = (size_t)in->n * cyc_packed_count(in->s), n_packed;
	const cyc_sum_spec spec = { ball, inner, { SUM_SCALE[0], SUM_SCALE[1] }, CYC_MOST_ADDED };
	const cyc_slices slices = { .M = in->M,
		                        .radius = in->radius,
		                        .use = has_use ? in->use : NULL,
		                        .select = select,
		                        .n = in->n,
		                        .s = in->s };
	cyc_buffer *sum = up(be, NULL, 3 * ball->count, sizeof(int64_t));
	void *host = modulate(&n_packed, be, in, true, false, false, true);
	cyc_buffer *packed = up(be, host, count, sizeof(float));
	ASSERT_OK(cyc_op_slice_insert(sum, be, &spec, packed, &slices));
	cyc_buffer_destroy(&packed);
	cyc_free(host);
	return down(&sum, bytes);
}
static void *run_insert(size_t *bytes, cyc_backend *be, const inputs *in)
{
	cyc_ball *ball = NULL;
	ASSERT_OK(cyc_ball_create(&ball, in->s / 2, in->s / 2 - 1));
	void *sum = insert(bytes, be, in, in->n < 10, 0, ball, 1);
	cyc_ball_destroy(&ball);
	return sum;
}

static void *run_extract(size_t *bytes, cyc_backend *be, const inputs *in)
{
	cyc_buffer *reference = up(be, in->reference, cyc_reference_count(in->m), sizeof(cyc_cfloat)),
			   *ft = up(be, in->ft, (size_t)in->n * in->plane, sizeof(cyc_cfloat));
	const cyc_slice_extract_in extract_in = { .reference = reference,
		                                      .m = in->m,
		                                      .edge = in->m,
		                                      .M = in->M,
		                                      .radius = in->s / 2 - 2,
		                                      .use = in->use,
		                                      .n = in->n,
		                                      .s = in->s };
	ASSERT_OK(cyc_op_slice_extract(ft, be, &extract_in));
	cyc_buffer_destroy(&reference);
	return down(&ft, bytes);
}

static void *run_sums(size_t *bytes, cyc_backend *be, const inputs *in)
{
	size_t all = (size_t)in->n * in->plane;
	cyc_buffer *ft = up(be, in->ft, all, sizeof(cyc_cfloat)),
			   *v = up(be, in->prediction, all, sizeof(cyc_cfloat)), *c = up(be, in->ctf, all, sizeof(float));
	cyc_buffer *q = up(be, in->quadrature, all, sizeof(float)),
			   *phase = up(be, in->phase, in->plane, sizeof(cyc_cfloat));
	cyc_buffer *sums = up(be, in->sums, CYC_N_SUMS * in->plane, sizeof(double));
	const cyc_ctf_sums_in sums_in = { .ft = ft,
		                              .prediction = v,
		                              .ctf = c,
		                              .quadrature = q,
		                              .phase = phase,
		                              .radius = in->s / 2 - 1,
		                              .use = in->use,
		                              .n = in->n,
		                              .s = in->s };
	ASSERT_OK(cyc_op_ctf_sums(sums, be, &sums_in));
	cyc_buffer *const done[] = { ft, v, c, q, phase };
	for (size_t i = 0; i < sizeof done / sizeof *done; i++) {
		cyc_buffer *b = done[i];
		cyc_buffer_destroy(&b);
	}
	return down(&sums, bytes);
}

/* Every |k|^2 a little larger than the image's. */
static void *run_ctf_magnified(size_t *bytes, cyc_backend *be, const inputs *in)
{
	size_t all = (size_t)in->n * in->plane, n_q;
	float *table = NULL, *both = NULL;
	ASSERT_OK(cyc_alloc(&table, in->plane, sizeof *table));
	for (size_t j = 0; j < in->plane; j++) table[j] = (float)(1.03 * k2_of(in->s, j));
	cyc_buffer *turns = up(be, in->turns, in->plane, sizeof(float)),
			   *envelope = up(be, in->envelope, in->plane, sizeof(float)),
			   *k2 = up(be, table, in->plane, sizeof(float));
	cyc_buffer *c = up(be, NULL, all, sizeof(float)), *q = up(be, NULL, all, sizeof(float));
	const cyc_ctf_in ctf_in = { .turns = turns,
		                        .envelope = envelope,
		                        .k2 = k2,
		                        .turns_per_k2 = in->turns_per_k2,
		                        .n = in->n,
		                        .s = in->s };
	ASSERT_OK(cyc_op_ctf(c, q, be, &ctf_in));
	cyc_buffer_destroy(&turns);
	cyc_buffer_destroy(&envelope);
	cyc_buffer_destroy(&k2);
	void *hc = down(&c, bytes), *hq = down(&q, &n_q);
	ASSERT_OK(cyc_alloc(&both, 2 * all, sizeof *both));
	memcpy(both, hc, *bytes);
	memcpy(both + all, hq, n_q);
	cyc_free(hc);
	cyc_free(hq);
	cyc_free(table);
	*bytes += n_q;
	return both;
}

/* What coefficients count: a half in the column kx = 0, nothing at 0 and beyond the circle's neighbourhood.
 */
static void correlation_weights(float *weight, float *own, const inputs *in)
{
	for (size_t j = 0; j < in->plane; j++) {
		double k2 = k2_of(in->s, j);
		bool is_used = k2 > 0 && k2 < in->s * in->s / 4.0;
		weight[j] = is_used ? (float)((j % ((size_t)in->s / 2 + 1) == 0 ? 0.5 : 1) / (1 + 0.1 * k2)) : 0;
		own[j] = is_used ? (float)(0.02 + 0.001 * sqrt(k2)) : 0;
	}
}

/* Maps and curves of one call, one after the other. */
static void *correlate(size_t *bytes, cyc_backend *be, const inputs *in, int32_t radius, cyc_local_grid grid,
                       bool has_phase, bool has_own)
{
	size_t all = (size_t)in->n * in->plane, n_map = (size_t)in->n * (size_t)grid.n * (size_t)grid.n,
		   n_maps_bytes, n_curves_bytes;
	float *weight = NULL, *own = NULL;
	char *both = NULL;
	ASSERT_OK(cyc_alloc(&weight, in->plane, sizeof *weight));
	ASSERT_OK(cyc_alloc(&own, in->plane, sizeof *own));
	correlation_weights(weight, own, in);
	cyc_buffer *ft = up(be, in->ft, all, sizeof(cyc_cfloat)),
			   *v = up(be, in->prediction, all, sizeof(cyc_cfloat)), *c = up(be, in->ctf, all, sizeof(float));
	cyc_buffer *phase = up(be, in->phase, in->plane, sizeof(cyc_cfloat)),
			   *w = up(be, weight, in->plane, sizeof(float)), *o = up(be, own, in->plane, sizeof(float));
	cyc_buffer *maps = up(be, NULL, n_map, sizeof(float)),
			   *curves = up(be, NULL, (size_t)in->n * CYC_N_CURVE, sizeof(double));
	const cyc_correlate_in correlate_in = { .ft = ft,
		                                    .prediction = v,
		                                    .ctf = c,
		                                    .phase = has_phase ? phase : NULL,
		                                    .weight = w,
		                                    .self = has_own ? o : NULL,
		                                    .radius = radius,
		                                    .grid = grid,
		                                    .n = in->n,
		                                    .s = in->s };
	ASSERT_OK(cyc_op_correlate(maps, curves, be, &correlate_in));
	cyc_buffer *const inputs_done[] = { ft, v, c, phase, w, o };
	for (size_t i = 0; i < sizeof inputs_done / sizeof *inputs_done; i++) {
		cyc_buffer *b = inputs_done[i];
		cyc_buffer_destroy(&b);
	}
	void *m = down(&maps, &n_maps_bytes), *u = down(&curves, &n_curves_bytes);
	*bytes = n_maps_bytes + n_curves_bytes;
	ASSERT_OK(cyc_alloc(&both, *bytes, 1));
	memcpy(both, u, n_curves_bytes); /* doubles first, for their alignment */
	memcpy(both + n_curves_bytes, m, n_maps_bytes);
	cyc_free(m);
	cyc_free(u);
	cyc_free(weight);
	cyc_free(own);
	return both;
}
static const cyc_local_grid GRID = { 7, 0.9 };
static void *run_correlate(size_t *bytes, cyc_backend *be, const inputs *in)
{
	return correlate(bytes, be, in, in->s / 2 - 1, GRID, true, true);
}

static void *run_fft3_forward(size_t *bytes, cyc_backend *be, const inputs *in)
{
	cyc_buffer *real = up(be, in->real, (size_t)in->s * (size_t)in->s * (size_t)in->s, sizeof(float)),
			   *ft = up(be, NULL, cyc_half_count3(in->s), sizeof(cyc_cfloat));
	ASSERT_OK(cyc_op_fft3_forward(ft, be, real, in->s));
	cyc_buffer_destroy(&real);
	return down(&ft, bytes);
}

static void *run_fft3_inverse(size_t *bytes, cyc_backend *be, const inputs *in)
{
	cyc_buffer *ft = up(be, in->ft3, cyc_half_count3(in->s), sizeof(cyc_cfloat)),
			   *real = up(be, NULL, (size_t)in->s * (size_t)in->s * (size_t)in->s, sizeof(float));
	ASSERT_OK(cyc_op_fft3_inverse(real, be, ft, in->s));
	cyc_buffer_destroy(&ft);
	return down(&real, bytes);
}

/* The same with other arguments: what is left out, filled, cut off. */
static void *run_window_partial(size_t *bytes, cyc_backend *be, const inputs *in)
{
	inputs other = *in;
	other.spec = (cyc_window_spec){
		.box_px = in->s + 20, .box_binned = in->s, .is_partial = true, .radius = in->s / 4
	};
	return run_window(bytes, be, &other);
}
static void *run_window_whole(size_t *bytes, cyc_backend *be, const inputs *in)
{
	inputs other = *in;
	other.spec = (cyc_window_spec){ .box_px = in->s, .box_binned = in->s, .no_circle_crop = true };
	return run_window(bytes, be, &other);
}
static void *run_window_filled(size_t *bytes, cyc_backend *be, const inputs *in)
{
	inputs other = *in;
	other.spec =
		(cyc_window_spec){ .box_px = in->s, .box_binned = in->s, .no_circle_crop = true, .is_partial = true };
	return run_window(bytes, be, &other);
}
/* A window whose outer rows are zero, on a machine that is told and on one that makes no use of it. */
static void *run_window_rows(size_t *bytes, cyc_backend *be, const inputs *in)
{
	inputs other = *in;
	size_t pixels = (size_t)in->nx * (size_t)in->ny;
	int32_t x0, y0, n_rows = in->s / 4 * 2;
	other.n = 1;
	other.spec =
		(cyc_window_spec){ .box_px = in->s, .box_binned = in->s, .no_circle_crop = true, .n_rows = n_rows };
	ASSERT_OK(cyc_alloc(&other.image, pixels, sizeof(float)));
	cyc__window_corner(&x0, &y0, in->at_px, in->s);
	for (int32_t y = 0; y < in->ny; y++)
		if (abs(2 * (y - y0) + 1 - in->s) < n_rows)
			memcpy(other.image + (size_t)y * (size_t)in->nx, in->image + (size_t)y * (size_t)in->nx,
			       (size_t)in->nx * sizeof(float));
	void *out = run_window(bytes, be, &other);
	cyc_free(other.image);
	return out;
}
static void *run_modulate_bare(size_t *bytes, cyc_backend *be, const inputs *in)
{
	return modulate(bytes, be, in, false, false, false, false);
}
static void *run_particle_image_whole(size_t *bytes, cyc_backend *be, const inputs *in)
{
	const cyc_particle_image_spec spec = {
		.box_binned = in->s, .circle_px = in->s, .edge_px = in->s, .factor = 2
	};
	return particle_image(bytes, be, in, &spec, false, false, false);
}
static void *run_particle_image_rim(size_t *bytes, cyc_backend *be, const inputs *in)
{
	const cyc_particle_image_spec spec = {
		.box_binned = in->s, .circle_px = in->s - 4, .edge_px = in->s, .factor = 1
	};
	return particle_image(bytes, be, in, &spec, true, false, true);
}
static void *run_particle_image_uncropped(size_t *bytes, cyc_backend *be, const inputs *in)
{
	const cyc_particle_image_spec spec = {
		.box_binned = in->s, .circle_px = in->s - 4, .edge_px = in->s - 4, .no_circle_crop = true, .factor = 1
	};
	return particle_image(bytes, be, in, &spec, true, true, false);
}
static void *run_pack_raw(size_t *bytes, cyc_backend *be, const inputs *in)
{
	return pack(bytes, be, in, false);
}
static void *run_insert_all(size_t *bytes, cyc_backend *be, const inputs *in)
{
	cyc_ball *ball = NULL;
	ASSERT_OK(cyc_ball_create(&ball, in->s / 2 - 1, in->s / 2 - 2));
	void *sum = insert(bytes, be, in, false, 0, ball, -1);
	cyc_ball_destroy(&ball);
	return sum;
}
static void *run_correlate_bare(size_t *bytes, cyc_backend *be, const inputs *in)
{
	/* More displacements than a block has lanes. */
	return correlate(bytes, be, in, in->s / 4, (cyc_local_grid){ 67, 0.05 }, false, false);
}

static const struct {
	const char *name;
	runner run;
	bool has_transform; /* whose rounding differs from library to library; the results are floats */
} OPERATIONS[] = { { "window", run_window, true },
	               { "ctf", run_ctf, false },
	               { "ctf_magnified", run_ctf_magnified, false },
	               { "modulate", run_modulate, false },
	               { "particle_image", run_particle_image, true },
	               { "pack", run_pack, false },
	               { "slice_insert", run_insert, false },
	               { "slice_extract", run_extract, false },
	               { "ctf_sums", run_sums, false },
	               { "correlate", run_correlate, false },
	               { "fft3_forward", run_fft3_forward, true },
	               { "fft3_inverse", run_fft3_inverse, true },
	               { "window, partial", run_window_partial, true },
	               { "window, whole", run_window_whole, true },
	               { "window, filled", run_window_filled, true },
	               { "window, rows", run_window_rows, true },
	               { "modulate, bare", run_modulate_bare, false },
	               { "particle_image, whole", run_particle_image_whole, true },
	               { "particle_image, with a rim", run_particle_image_rim, true },
	               { "particle_image, uncropped", run_particle_image_uncropped, true },
	               { "pack, not multiplied", run_pack_raw, false },
	               { "slice_insert, all", run_insert_all, false },
	               { "correlate, bare", run_correlate_bare, false } };
static const int32_t SHAPES[][2] = { { 8, 1 }, { 16, 3 }, { 34, 7 }, { 16, 9 }, { 16, 20 }, { 12, 150 } };
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES };

static void backends_and_threads_agree_bit_for_bit(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		int n_threads;
	} others[] = { { "cpu", 2 },       { "cpu", 3 },       { "strict", 1 },    { "strict", 2 },
		           { "emulate", 1 },   { "emulate", 2 },   { "emulate:1", 1 }, { "emulate:2", 1 },
		           { "emulate:3", 2 }, { "emulate:4", 1 }, { "emulate:5", 1 }, { "emulate:6", 1 },
		           { "emulate:7", 3 } };
	for (int i = 0; i < N_SHAPES; i++) {
		inputs *in = inputs_create(SHAPES[i][0], SHAPES[i][1]);
		for (size_t k = 0; k < sizeof OPERATIONS / sizeof *OPERATIONS; k++) {
			cyc_backend *be = NULL;
			size_t n_wanted, n;
			ASSERT_OK(cyc_backend_open(&be, NULL, 1));
			assert_string_equal(cyc_backend_name(be), "cpu");
			void *wanted = OPERATIONS[k].run(&n_wanted, be, in),
				 *again = OPERATIONS[k].run(&n, be, in); /* the second run finds plans made */
			assert_int_equal(n, n_wanted);
			assert_memory_equal(again, wanted, n);
			cyc_free(again);
			cyc_backend_close(&be);
			for (size_t j = 0; j < sizeof others / sizeof *others; j++) {
				ASSERT_OK(cyc_backend_open(&be, others[j].name, others[j].n_threads));
				assert_int_equal(cyc_backend_n_threads(be), others[j].n_threads);
				void *got = OPERATIONS[k].run(&n, be, in);
				assert_int_equal(n, n_wanted);
				if (memcmp(got, wanted, n) != 0)
					fail_msg("%s, box %d, %d particles: %s with %d threads differs", OPERATIONS[k].name,
					         in->s, in->n, others[j].name, others[j].n_threads);
				cyc_free(got);
				cyc_backend_close(&be);
			}
			cyc_free(wanted);
		}
		inputs_destroy(in);
	}
}

/*
 * Largest difference of a transform of another library, over the largest value: a few roundings of single
 * precision, as for the formulae below.
 */
static const double TRANSFORM_BOUND = 4e-6;

static void close_floats(const char *what, const char *backend, const float *got, const float *wanted,
                         size_t n)
{
	double scale = 0, worst = 0;
	for (size_t i = 0; i < n; i++) {
		double d = fabs((double)got[i] - (double)wanted[i]);
		scale = fmax(scale, fabs((double)wanted[i]));
		if (!(d <= worst)) worst = d;
	}
	if (!(worst <= TRANSFORM_BOUND * scale))
		fail_msg("%s on %s: differs by %.3g of the largest value", what, backend, worst / scale);
}

/* The bits of cpu for operations without a transform, a bound for those with one, twice the same bits for
 * all. Without a GPU only `emulate` is here to be compared. */
static void devices_agree_with_cpu(void **state)
{
	(void)state;
	static const char *const names[] = { "emulate", "cuda" };
	/* Sanitizers and the driver of a GPU do not go together. */
	size_t n_devices = IS_SANITIZED && !getenv("CYCLOTOMO_PRETENDED_CUDA") ? 1 : sizeof names / sizeof *names;
	for (size_t k = 0; k < n_devices; k++) {
		cyc_backend *device = NULL, *be = NULL;
		if (cyc_backend_open(&device, names[k], 2) != CYC_OK) {
			print_message("not compared: %s\n", cyc_error_get()->message);
			cyc_error_clear();
			assert_string_equal(names[k], "cuda");
			assert_null(getenv("CYCLOTOMO_PRETENDED_CUDA"));
			continue;
		}
		ASSERT_OK(cyc_backend_open(&be, "cpu", 2));
		for (int i = 0; i < N_SHAPES; i++) {
			inputs *in = inputs_create(SHAPES[i][0], SHAPES[i][1]);
			for (size_t j = 0; j < sizeof OPERATIONS / sizeof *OPERATIONS; j++) {
				size_t n_wanted, n, n_again;
				void *wanted = OPERATIONS[j].run(&n_wanted, be, in), *got = OPERATIONS[j].run(&n, device, in),
					 *again = OPERATIONS[j].run(&n_again, device, in);
				assert_int_equal(n, n_wanted);
				assert_int_equal(n_again, n_wanted);
				if (memcmp(got, again, n) != 0)
					fail_msg("%s on %s is not the same twice", OPERATIONS[j].name, names[k]);
				if (OPERATIONS[j].has_transform)
					close_floats(OPERATIONS[j].name, names[k], got, wanted, n / sizeof(float));
				else if (memcmp(got, wanted, n) != 0)
					fail_msg("%s on %s, box %d, %d particles: other bits than cpu", OPERATIONS[j].name,
					         names[k], in->s, in->n);
				cyc_free(wanted);
				cyc_free(got);
				cyc_free(again);
			}
			inputs_destroy(in);
		}
		cyc_backend_close(&device);
		cyc_backend_close(&be);
	}
}

/* ---------------------------------------------------------------- the formulae in double precision */

/* Largest difference over the largest expected value. */
static void close_all(const char *what, const float *got, const double *wanted, size_t n, double bound)
{
	double scale = 0, worst = 0;
	size_t where = 0;
	for (size_t i = 0; i < n; i++) {
		double d = fabs((double)got[i] - wanted[i]);
		scale = fmax(scale, fabs(wanted[i]));
		if (!(d <= worst)) {
			worst = d;
			where = i;
		}
	}
	if (!(worst <= bound * scale))
		fail_msg("%s: value %zu is %.8g, not %.8g; the largest is %.4g", what, where, (double)got[where],
		         wanted[where], scale);
}

static const double complex i_unit = (double complex)I;

static cyc_backend *cpu(void)
{
	cyc_backend *be = NULL;
	ASSERT_OK(cyc_backend_open(&be, "cpu", 2));
	return be;
}

/* One window pixel by pixel, its transform by its definition, about the particle's position. */
static void direct_window(double complex *out, const inputs *in, int32_t i)
{
	int32_t S = in->spec.box_px, s = in->spec.box_binned, sh = s / 2 + 1;
	double qx = in->at_px[2 * i], qy = in->at_px[2 * i + 1], mean = 0, count = 0, *w = NULL;
	int32_t x0 = (int32_t)round(qx) - S / 2, y0 = (int32_t)round(qy) - S / 2;
	ASSERT_OK(cyc_alloc(&w, (size_t)S * (size_t)S, sizeof *w));
	for (int pass = 0; pass < 2; pass++)
		for (int32_t y = 0; y < S; y++)
			for (int32_t x = 0; x < S; x++) {
				int32_t ix = x0 + x, iy = y0 + y;
				bool is_outside = ix < 0 || iy < 0 || ix >= in->nx || iy >= in->ny;
				double r = hypot(x - S / 2, y - S / 2);
				ix = ix < 0 ? 0 : ix >= in->nx ? in->nx - 1 : ix;
				iy = iy < 0 ? 0 : iy >= in->ny ? in->ny - 1 : iy;
				double v = (double)in->image[iy * in->nx + ix];
				if (pass == 0 && r > S / 2 && !(is_outside && in->spec.is_partial)) {
					mean += v;
					count++;
				}
				if (pass == 0) continue;
				if (is_outside && in->spec.is_partial) v = mean / count;
				if (!in->spec.no_circle_crop) {
					double edge = S / 2 - r, g = edge <= 0  ? 0
					                             : edge > 5 ? 1
					                                        : 0.5 - 0.5 * cos(CYC_PI * edge / 5);
					v = g * (v - mean / count);
				}
				w[y * S + x] = v;
			}
	for (int32_t y = 0; y < s; y++) {
		int32_t ky = y < s / 2 ? y : y - s;
		for (int32_t kx = 0; kx < sh; kx++) {
			double complex sum = 0;
			for (int32_t a = 0; a < S; a++) {
				double complex row = 0;
				for (int32_t b = 0; b < S; b++)
					row += w[a * S + b] * cexp(-2 * i_unit * CYC_PI * kx * (b + x0 - qx) / S);
				sum += row * cexp(-2 * i_unit * CYC_PI * ky * (a + y0 - qy) / S);
			}
			out[y * sh + kx] = sum / S * s / S;
		}
	}
	cyc_free(w);
}

static void window_is_a_cut_and_a_transform(void **state)
{
	(void)state;
	for (int k = 0; k < 6; k++) {
		inputs *in = inputs_create(16, 4);
		in->spec = (cyc_window_spec){ .box_px = k % 3 == 0   ? 16
			                                    : k % 3 == 1 ? 24
			                                                 : 32,
			                          .box_binned = 16,
			                          .no_circle_crop = k == 1 || k == 5,
			                          .is_partial = k >= 3 };
		in->at_px[2] = 3.3; /* over two borders */
		in->at_px[3] = in->ny - 6.8;
		in->at_px[4] = in->nx - 5.1;
		in->at_px[5] = in->ny / 2 - 0.49;
		cyc_backend *be = cpu();
		size_t bytes;
		float *got = run_window(&bytes, be, in);
		double complex *wanted = NULL;
		ASSERT_OK(cyc_alloc(&wanted, in->plane, sizeof *wanted));
		for (int32_t i = 0; i < in->n; i++) {
			direct_window(wanted, in, i);
			close_all("window", got + 2 * (size_t)i * in->plane, (const double *)wanted, 2 * in->plane, 4e-6);
		}
		cyc_free(wanted);
		cyc_free(got);
		cyc_backend_close(&be);
		inputs_destroy(in);
	}
	/* White noise of variance 1 has |F|^2 of 1 before the crop, and this much after it. */
	double power = cyc_circle_crop_power(64);
	assert_true(power > 0.5 && power < CYC_PI / 4);
}

static void ctf_is_a_sine(void **state)
{
	(void)state;
	inputs *in = inputs_create(34, 5);
	in->turns_per_k2[1] = 0.4; /* hundreds of turns at the corner: 4 µm deeper than the tilt */
	cyc_backend *be = cpu();
	size_t bytes, all = (size_t)in->n * in->plane;
	float *got = run_ctf(&bytes, be, in);
	for (int32_t i = 0; i < in->n; i++)
		for (size_t j = 0; j < in->plane; j++) {
			size_t at = (size_t)i * in->plane + j;
			double phase = 2 * CYC_PI *
			               ((double)in->turns[j] + (double)(float)in->turns_per_k2[i] * k2_of(in->s, j)),
				   e = (double)in->envelope[j];
			/* Single precision resolves a phase of t turns to t x 6e-8 turns. */
			double bound = 2e-6 + 4e-7 * fabs(phase);
			if (!(fabs((double)got[at] + e * sin(phase)) < bound) ||
			    !(fabs((double)got[all + at] + e * cos(phase)) < bound))
				fail_msg("CTF at %zu of particle %d: %.7g, %.7g", j, i, (double)got[at],
				         (double)got[all + at]);
		}
	for (size_t i = 0; i < all; i++)
		assert_true(fabsf(got[i] - got[2 * all + i]) <= 1e-7F); /* with and without quadrature */
	cyc_free(got);
	got = run_ctf_magnified(&bytes, be, in);
	for (int32_t i = 0; i < in->n; i++)
		for (size_t j = 0; j < in->plane; j++) {
			size_t at = (size_t)i * in->plane + j;
			double phase = 2 * CYC_PI *
			               ((double)in->turns[j] +
			                (double)(float)in->turns_per_k2[i] * (double)(float)(1.03 * k2_of(in->s, j))),
				   e = (double)in->envelope[j];
			double bound = 2e-6 + 4e-7 * fabs(phase);
			if (!(fabs((double)got[at] + e * sin(phase)) < bound) ||
			    !(fabs((double)got[all + at] + e * cos(phase)) < bound))
				fail_msg("magnified CTF at %zu of particle %d: %.7g, %.7g", j, i, (double)got[at],
				         (double)got[all + at]);
		}
	cyc_free(got);
	cyc_backend_close(&be);
	inputs_destroy(in);
}

static void modulate_packs_data_and_weights(void **state)
{
	(void)state;
	for (int k = 0; k < 16; k++) {
		inputs *in = inputs_create(16, 3);
		bool has_ctf = k & 1, has_phase = k & 2, has_whiten = k & 4, has_weight = k & 8;
		cyc_backend *be = cpu();
		size_t bytes, width = (size_t)in->s / 2 + 2, count = (size_t)in->n * cyc_packed_count(in->s);
		float *got = modulate(&bytes, be, in, has_ctf, has_phase, has_whiten, has_weight);
		double *wanted = NULL;
		ASSERT_OK(cyc_alloc(&wanted, count, sizeof *wanted));
		for (int32_t i = 0; i < in->n; i++)
			for (int32_t row = 0; row < in->s + 4; row++)
				for (size_t x = 0; x + 1 < width; x++) {
					int32_t ky = row - in->s / 2 - 1, y = ((ky % in->s) + in->s) % in->s;
					size_t j = (size_t)y * (width - 1) + x, at = (size_t)i * in->plane + j;
					double c = has_ctf ? (double)in->ctf[at] : 1,
						   w = (has_whiten ? (double)in->whiten[j] : 1) * (has_weight ? in->weight[i] : 1);
					double complex d = -(double complex)in->ft[at] * c * w *
					                   (has_phase ? conj((double complex)in->phase[j]) : 1);
					double *to = wanted + (size_t)i * cyc_packed_count(in->s) + ((size_t)row * width + x) * 4;
					to[0] = creal(d);
					to[1] = cimag(d);
					to[2] = w * c * c;
				}
		close_all("modulate", got, wanted, count, 1e-6);
		cyc_free(wanted);
		cyc_free(got);
		cyc_backend_close(&be);
		inputs_destroy(in);
	}
}

/* Real-space value at a pixel from the half plane: y = sum_k Y(k) exp(2 pi i k.x / s) / s, the Nyquist row at
 * -s/2, real part. */
static double image_value(const inputs *in, int32_t i, const cyc_particle_image_spec *spec, bool has_phase,
                          bool has_whiten, int32_t px, int32_t py)
{
	int32_t s = in->s, sh = s / 2 + 1;
	double sum = 0;
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < sh; x++) {
			size_t j = (size_t)y * (size_t)sh + (size_t)x, at = (size_t)i * in->plane + j;
			double complex v = (double complex)in->ft[at] * (double)in->ctf[at] * spec->factor *
			                   (has_phase ? conj((double complex)in->phase[j]) : 1);
			if (has_whiten) v *= (double)in->whiten[j];
			double angle = 2 * CYC_PI * (x * (px - s / 2) + y * (double)(py - s / 2)) / s;
			sum += (x == 0 || x == s / 2 ? 1 : 2) * creal(v * cexp(i_unit * angle)) / s;
		}
	return sum;
}

static void particle_images_are_inverse_transforms(void **state)
{
	(void)state;
	for (int k = 0; k < 12; k++) {
		inputs *in = inputs_create(16, 2);
		bool has_phase = k & 1, has_whiten = k & 2, no_crop = k >= 8;
		const cyc_particle_image_spec spec = { .box_binned = 16,
			                                   .circle_px = 12,
			                                   .edge_px = k & 4 ? 16 : 12,
			                                   .factor = -0.7,
			                                   .no_circle_crop = no_crop };
		cyc_backend *be = cpu();
		size_t bytes, edge = (size_t)spec.edge_px, count = (size_t)in->n * edge * edge;
		float *got = particle_image(&bytes, be, in, &spec, true, has_phase, has_whiten);
		double *wanted = NULL, pixels[16][16];
		ASSERT_OK(cyc_alloc(&wanted, count, sizeof *wanted));
		for (int32_t i = 0; i < in->n; i++) {
			double mean = 0, n = 0;
			for (int32_t y = 0; y < 16; y++)
				for (int32_t x = 0; x < 16; x++) {
					pixels[y][x] = image_value(in, i, &spec, has_phase, has_whiten, x, y);
					if (hypot(x - 8, y - 8) > 6) {
						mean += pixels[y][x];
						n++;
					}
				}
			for (int32_t y = 0; y < spec.edge_px; y++)
				for (int32_t x = 0; x < spec.edge_px; x++) {
					int32_t bx = x + (16 - spec.edge_px) / 2, by = y + (16 - spec.edge_px) / 2;
					double r = hypot(bx - 8, by - 8), g = r < 1   ? 1
					                                      : r < 6 ? 0.5 - 0.5 * cos(CYC_PI * (6 - r) / 5)
					                                              : 0;
					wanted[(size_t)i * edge * edge + (size_t)y * edge + (size_t)x] =
						no_crop ? pixels[by][bx] : g * (pixels[by][bx] - mean / n);
				}
		}
		close_all("particle_image", got, wanted, count, 3e-6);
		cyc_free(wanted);
		cyc_free(got);
		cyc_backend_close(&be);
		inputs_destroy(in);
	}
}

static void packing_weighs_cropped_images(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		inputs *in = inputs_create(16, 3);
		cyc_backend *be = cpu();
		size_t bytes, width = (size_t)in->s / 2 + 2, count = (size_t)in->n * cyc_packed_count(in->s);
		float *got = pack(&bytes, be, in, k);
		double *wanted = NULL;
		ASSERT_OK(cyc_alloc(&wanted, count, sizeof *wanted));
		for (int32_t i = 0; i < in->n; i++)
			for (int32_t row = 0; row < in->s + 4; row++)
				for (size_t x = 0; x + 1 < width; x++) {
					int32_t ky = row - in->s / 2 - 1, y = ((ky % in->s) + in->s) % in->s;
					size_t j = (size_t)y * (width - 1) + x, at = (size_t)i * in->plane + j;
					double c = (double)in->ctf[at], e = (double)in->envelope[j];
					double complex d = e == 0 ? 0 : (double complex)in->ft[at] * (k ? 1 : c);
					double *to = wanted + (size_t)i * cyc_packed_count(in->s) + ((size_t)row * width + x) * 4;
					to[0] = creal(d);
					to[1] = cimag(d);
					to[2] = e * c * c + e;
				}
		close_all("pack", got, wanted, count, 1e-6);
		cyc_free(wanted);
		cyc_free(got);
		cyc_backend_close(&be);
		inputs_destroy(in);
	}
}

/* A half plane at whole frequencies, any sign: {re, im, weight}. */
static void plane_at(double v[3], const inputs *in, int32_t i, int32_t u, int32_t w)
{
	int32_t s = in->s, sh = s / 2 + 1;
	if (u > s / 2) {
		v[0] = v[1] = v[2] = 0;
		return;
	}
	size_t j = (size_t)(((w % s) + s) % s) * (size_t)sh + (size_t)u, at = (size_t)i * in->plane + j;
	double c = (double)in->ctf[at], weight = in->weight[i];
	v[0] = -weight * c * (double)crealf(in->ft[at]);
	v[1] = -weight * c * (double)cimagf(in->ft[at]);
	v[2] = weight * c * c;
}

static void bilinear(double v[3], const inputs *in, int32_t i, double u, double w)
{
	double sign = u < 0 ? -1 : 1, u0 = floor(sign * u), w0 = floor(sign * w), fu = sign * u - u0,
		   fw = sign * w - w0;
	v[0] = v[1] = v[2] = 0;
	for (int b = 0; b < 2; b++)
		for (int a = 0; a < 2; a++) {
			double p[3], f = (a ? fu : 1 - fu) * (b ? fw : 1 - fw);
			plane_at(p, in, i, (int32_t)u0 + a, (int32_t)w0 + b);
			for (int c = 0; c < 3; c++) v[c] += f * p[c];
		}
	v[1] *= sign;
}

#define ASSERT_STATUS(call, status, text)                                                                    \
	do {                                                                                                     \
		cyc_error_clear();                                                                                   \
		cyc_status got_ = (call);                                                                            \
		if (got_ != (status) || !strstr(cyc_error_get()->message, (text)))                                   \
			fail_msg("%s: %s; wanted %s with '%s'", cyc_status_name(got_), cyc_error_get()->message,         \
			         cyc_status_name(status), text);                                                         \
	} while (0)

/* What a voxel gets from slice i. */
static void inserted(double v[3], const inputs *in, int32_t i, int32_t x, int32_t y, int32_t z)
{
	cyc_vec3 q = cyc_mat3_apply(in->M[i], (cyc_vec3){ x, y, z });
	v[0] = v[1] = v[2] = 0;
	if (in->radius[i] == 0 || x * x + y * y + z * z > in->radius[i] * in->radius[i] || fabs(q.z) >= 1) return;
	bilinear(v, in, i, q.x, q.y);
	for (int c = 0; c < 3; c++) v[c] *= 1 - fabs(q.z);
}

static void insertion_is_a_sum_over_voxels(void **state)
{
	(void)state;
	/* Few slices and many, some of them, a smaller ball, a hollow one. */
	static const struct {
		int32_t s, n, radius, inner;
		bool has_use;
	} CASES[] = { { 16, 9, 8, -1, false },  { 16, 9, 8, -1, true },  { 8, 1, 4, -1, false },
		          { 16, 30, 8, -1, false }, { 16, 30, 5, -1, true }, { 16, 30, 8, 4, false },
		          { 16, 9, 8, 4, true } };
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
		inputs *in = inputs_create(CASES[k].s, CASES[k].n);
		int32_t R = CASES[k].radius, top = R < in->s / 2 ? R : in->s / 2 - 1, inner = CASES[k].inner;
		cyc_backend *be = cpu();
		cyc_ball *ball = NULL;
		size_t bytes;
		double most = 0, worst = 0;
		ASSERT_OK(cyc_ball_create(&ball, R, top));
		int64_t *got = insert(&bytes, be, in, CASES[k].has_use, 1, ball, inner);
		assert_true(bytes == 3 * ball->count * sizeof *got);
		for (int32_t z = -top; z <= top; z++)
			for (int32_t y = -top; y <= top; y++) {
				size_t row = cyc_ball_row(ball, z, y);
				for (int32_t x = 0; x < cyc_ball_length(ball, row); x++) {
					double wanted[3] = { 0, 0, 0 }, v[3];
					for (int32_t i = 0; i < in->n; i++) {
						if (CASES[k].has_use && in->use[i] != 1) continue;
						if (inner >= 0 && x * x + y * y + z * z <= inner * inner) continue;
						inserted(v, in, i, x, y, z);
						for (int c = 0; c < 3; c++) wanted[c] += v[c];
					}
					for (int c = 0; c < 3; c++) {
						double value =
							(double)got[3 * (ball->first[row] + (size_t)x) + (size_t)c] / SUM_SCALE[c / 2];
						most = fmax(most, fabs(wanted[c]));
						worst = fmax(worst, fabs(value - wanted[c]));
					}
				}
			}
		assert_true(most > 0 && worst < 3e-6 * most);
		cyc_free(got);
		cyc_ball_destroy(&ball);
		cyc_backend_close(&be);
		inputs_destroy(in);
	}
}

/* Calls in another order, and one call for all, leave the same bits: each value is rounded on its own. */
static void insertion_does_not_depend_on_order(void **state)
{
	(void)state;
	inputs *in = inputs_create(16, 30);
	cyc_backend *be = cpu();
	cyc_ball *ball = NULL;
	size_t bytes, n_bytes;
	ASSERT_OK(cyc_ball_create(&ball, 8, 7));
	const cyc_sum_spec spec = { ball, -1, { SUM_SCALE[0], SUM_SCALE[1] }, CYC_MOST_ADDED };
	void *host = modulate(&bytes, be, in, true, false, false, true);
	cyc_buffer *packed = up(be, host, (size_t)in->n * cyc_packed_count(in->s), sizeof(float));
	int64_t *sums[3];
	for (int k = 0; k < 3; k++) {
		cyc_buffer *sum = up(be, NULL, 3 * ball->count, sizeof(int64_t));
		for (int8_t i = 0; i < (k < 2 ? 2 : 1); i++) {
			const cyc_slices slices = { .M = in->M,
				                        .radius = in->radius,
				                        .use = k < 2 ? in->use : NULL,
				                        .select = k ? 1 - i : i,
				                        .n = in->n,
				                        .s = in->s };
			ASSERT_OK(cyc_op_slice_insert(sum, be, &spec, packed, &slices));
		}
		sums[k] = down(&sum, &n_bytes);
	}
	for (int k = 1; k < 3; k++) assert_memory_equal(sums[0], sums[k], n_bytes);
	for (int k = 0; k < 3; k++) cyc_free(sums[k]);
	cyc_buffer_destroy(&packed);
	cyc_free(host);
	cyc_ball_destroy(&ball);
	cyc_backend_close(&be);
	inputs_destroy(in);
}

static void insertion_refuses_what_does_not_fit(void **state)
{
	(void)state;
	for (int32_t k = 0; k < 4; k++) {
		inputs *in = inputs_create(16, k % 2 ? 30 : 3);
		cyc_backend *be = NULL;
		cyc_ball *ball = NULL;
		ASSERT_OK(cyc_backend_open(&be, k / 2 ? "emulate" : "cpu", 2));
		size_t bytes, count = (size_t)in->n * cyc_packed_count(in->s);
		ASSERT_OK(cyc_ball_create(&ball, 8, 7));
		cyc_sum_spec spec = { ball, -1, { 1 << 20, 1 << 20 }, 100 };
		const cyc_slices slices = { .M = in->M, .radius = in->radius, .n = in->n, .s = in->s };
		float *host = modulate(&bytes, be, in, true, false, false, true);
		cyc_buffer *packed = up(be, host, count, sizeof(float)),
				   *sum = up(be, NULL, 3 * ball->count, sizeof(int64_t));
		ASSERT_STATUS(cyc_op_slice_insert(sum, be, &spec, packed, &slices), CYC_E_DATA, "far larger");
		spec.limit = CYC_MOST_ADDED;
		ASSERT_OK(cyc_op_slice_insert(sum, be, &spec, packed, &slices));
		for (size_t i = 0; i < count; i++) host[i] = CYC_NAN;
		ASSERT_OK(cyc_buffer_upload(packed, host, count * sizeof *host));
		ASSERT_STATUS(cyc_op_slice_insert(sum, be, &spec, packed, &slices), CYC_E_DATA, "not numbers");
		spec.limit = 2 * CYC_MOST_ADDED;
		ASSERT_STATUS(cyc_op_slice_insert(sum, be, &spec, packed, &slices), CYC_E_INTERNAL, "do not fit");
		cyc_buffer_destroy(&packed);
		cyc_buffer_destroy(&sum);
		cyc_free(host);
		cyc_ball_destroy(&ball);
		cyc_backend_close(&be);
		inputs_destroy(in);
	}
}

static double complex reference_at(const inputs *in, double x, double y, double z)
{
	int32_t m = in->m;
	double sign = x < 0 ? -1 : 1;
	double complex sum = 0;
	x *= sign;
	y *= sign;
	z *= sign;
	for (int c = 0; c < 8; c++) {
		double f[3] = { x - floor(x), y - floor(y), z - floor(z) }, w = 1;
		int32_t i[3] = { (int32_t)floor(x) + (c & 1), (int32_t)floor(y) + (c >> 1 & 1),
			             (int32_t)floor(z) + (c >> 2) };
		for (int k = 0; k < 3; k++) w *= c >> k & 1 ? f[k] : 1 - f[k];
		sum +=
			w *
			(double complex)in->reference[((size_t)((i[2] + m) % m) * (size_t)m + (size_t)((i[1] + m) % m)) *
		                                      ((size_t)m / 2 + 2) +
		                                  (size_t)i[0]];
	}
	return sign < 0 ? conj(sum) : sum;
}

static void extraction_is_trilinear(void **state)
{
	(void)state;
	inputs *in = inputs_create(16, 7);
	int32_t s = in->s, sh = s / 2 + 1, radius = s / 2 - 2;
	for (int k = 0; k < 9; k++)
		in->M[2].m[k / 3][k % 3] =
			cyc_euler_to_matrix(1, 2, 3).m[k / 3][k % 3]; /* a rotation: nothing leaves the grid */
	cyc_backend *be = cpu();
	size_t bytes;
	float *got = run_extract(&bytes, be, in);
	double complex *wanted = NULL;
	ASSERT_OK(cyc_alloc(&wanted, (size_t)in->n * in->plane, sizeof *wanted));
	for (int32_t i = 0; i < in->n; i++)
		for (int32_t y = 0; y < s; y++)
			for (int32_t x = 0; x < sh; x++) {
				int32_t ky = y < s / 2 ? y : y - s;
				double zoom = (double)in->m / s;
				cyc_vec3 p =
					cyc_mat3_apply(cyc_mat3_transpose(in->M[i]), (cyc_vec3){ zoom * x, zoom * ky, 0 });
				size_t at = (size_t)i * in->plane + (size_t)y * (size_t)sh + (size_t)x;
				if (in->use[i] != 0) wanted[at] = (double complex)in->ft[at]; /* not selected: kept */
				else wanted[at] = x * x + ky * ky <= radius * radius ? reference_at(in, p.x, p.y, p.z) : 0;
			}
	close_all("slice_extract", got, (const double *)wanted, 2 * (size_t)in->n * in->plane, 3e-6);
	cyc_free(wanted);
	cyc_free(got);
	cyc_backend_close(&be);
	inputs_destroy(in);
}

static void sums_are_sums(void **state)
{
	(void)state;
	inputs *in = inputs_create(16, 5);
	int32_t radius = in->s / 2 - 1;
	cyc_backend *be = cpu();
	size_t bytes;
	double *got = run_sums(&bytes, be, in);
	for (size_t j = 0; j < in->plane; j++) {
		double wanted[CYC_N_SUMS], size[CYC_N_SUMS];
		for (size_t k = 0; k < CYC_N_SUMS; k++) size[k] = fabs(wanted[k] = in->sums[k * in->plane + j]);
		for (int32_t i = 0; i < in->n && k2_of(in->s, j) <= radius * radius; i++) {
			size_t at = (size_t)i * in->plane + j;
			double complex X = (double complex)in->ft[at], V = (double complex)in->prediction[at],
						   a = -X * conj((double complex)in->phase[j]) * conj(V);
			double c = (double)in->ctf[at], q = (double)in->quadrature[at], v = creal(V * conj(V)),
				   p = creal(X * conj(X));
			double add[CYC_N_SUMS];
			if (in->use[i] != 0) continue;
			add[CYC_SUM_CC] = v * c * c;
			add[CYC_SUM_CQ] = v * c * q;
			add[CYC_SUM_QQ] = v * q * q;
			add[CYC_SUM_XC_RE] = creal(a) * c;
			add[CYC_SUM_XC_IM] = cimag(a) * c;
			add[CYC_SUM_XQ_RE] = creal(a) * q;
			add[CYC_SUM_XQ_IM] = cimag(a) * q;
			add[CYC_SUM_PC] = p * c * c;
			add[CYC_SUM_PQ] = p * c * q;
			for (int k = 0; k < CYC_N_SUMS; k++) {
				wanted[k] += add[k];
				size[k] += k == CYC_SUM_PC || k == CYC_SUM_PQ ? p : k < CYC_SUM_XC_RE ? v : cabs(a);
			}
		}
		for (size_t k = 0; k < CYC_N_SUMS; k++)
			if (!(fabs(got[k * in->plane + j] - wanted[k]) <= 5e-7 * size[k]))
				fail_msg("sum %zu of %zu: %.9g, not %.9g", k, j, got[k * in->plane + j], wanted[k]);
	}
	cyc_free(got);
	cyc_backend_close(&be);
	inputs_destroy(in);
}

/* The correlation at (dx, dy) and the curvature sums of particle i, from the formula of the header. */
static double correlation_at(double curve[CYC_N_CURVE], double *size, const inputs *in, int32_t i,
                             int32_t radius, double dx, double dy, bool has_phase, bool has_own,
                             const float *weight, const float *own)
{
	double sum = 0;
	int32_t s = in->s, sh = s / 2 + 1;
	memset(curve, 0, CYC_N_CURVE * sizeof *curve);
	*size = 0;
	for (size_t j = 0; j < in->plane; j++) {
		if (k2_of(s, j) > radius * radius) continue;
		int32_t kx = (int32_t)j % sh, y = (int32_t)j / sh, ky = y < s / 2 ? y : y - s;
		size_t at = (size_t)i * in->plane + j;
		double complex X = (double complex)in->ft[at], V = (double complex)in->prediction[at],
					   phase = has_phase ? (double complex)in->phase[j] : 1;
		double c = (double)in->ctf[at], w = (double)weight[j], self = has_own ? (double)own[j] : 0,
			   power = w * c * c * creal(V * conj(V));
		double complex a = -X * conj(phase) * conj(c * V) - self * c * c * creal(X * conj(X));
		sum += w * creal(a * cexp(2 * i_unit * CYC_PI * (kx * dx + ky * dy) / s));
		*size += w * cabs(a);
		curve[CYC_CURVE_1] += power;
		curve[CYC_CURVE_XX] += power * kx * kx;
		curve[CYC_CURVE_XY] += power * kx * ky;
		curve[CYC_CURVE_YY] += power * ky * ky;
	}
	return sum;
}

static void correlation_is_a_sum(void **state)
{
	(void)state;
	inputs *in = inputs_create(16, 3);
	cyc_backend *be = cpu();
	float weight[16 * 9], own[16 * 9];
	assert_int_equal(in->plane, sizeof weight / sizeof *weight);
	correlation_weights(weight, own, in);
	for (int variant = 0; variant < 8; variant++) {
		bool has_phase = variant & 1, has_own = variant & 2;
		int32_t radius = variant & 4 ? 4 : 7;
		cyc_local_grid grid =
			variant & 4 ? (cyc_local_grid){ 19, 0.35 } : GRID; /* more points than a vector holds, or fewer */
		size_t bytes;
		double *curves = correlate(&bytes, be, in, radius, grid, has_phase, has_own);
		const float *map = (const float *)(curves + in->n * CYC_N_CURVE);
		for (int32_t k = 0; k < in->n * grid.n * grid.n; k++) {
			int32_t i = k / (grid.n * grid.n), x = k % grid.n - grid.n / 2,
					y = k / grid.n % grid.n - grid.n / 2;
			double curve[CYC_N_CURVE], size,
				wanted = correlation_at(curve, &size, in, i, radius, x * grid.step_px, y * grid.step_px,
			                            has_phase, has_own, weight, own);
			if (!(fabs((double)map[k] - wanted) <= 1e-6 * size))
				fail_msg("variant %d, particle %d at (%d, %d): %.9g, not %.9g", variant, i, x, y,
				         (double)map[k], wanted);
			for (int c = 0; c < CYC_N_CURVE; c++) {
				double got = curves[i * CYC_N_CURVE + c], scale = curve[CYC_CURVE_1] * radius * radius;
				if (!(fabs(got - curve[c]) <= 1e-6 * scale))
					fail_msg("variant %d, curvature %d: %.9g, not %.9g", variant, c, got, curve[c]);
			}
		}
		cyc_free(curves);
	}
	cyc_backend_close(&be);
	inputs_destroy(in);
}

static void transforms_follow_their_definition(void **state)
{
	(void)state;
	inputs *in = inputs_create(8, 1);
	int32_t s = in->s, sh = s / 2 + 1;
	cyc_backend *be = cpu();
	size_t bytes;
	double complex *wanted = NULL;
	double *back = NULL;
	ASSERT_OK(cyc_alloc(&wanted, cyc_half_count3(s), sizeof *wanted));
	ASSERT_OK(cyc_alloc(&back, s * s * s, sizeof *back));
	for (int32_t k = 0; k < s * s * sh; k++)
		for (int32_t x = 0; x < s * s * s; x++) {
			int32_t turns = k % sh * (x % s) + k / sh % s * (x / s % s) + k / sh / s * (x / s / s);
			wanted[k] += (double)in->real[x] * cexp(-2 * i_unit * CYC_PI * turns / s);
		}
	for (int32_t x = 0; x < s * s * s; x++) back[x] = (double)in->real[x];
	float *forward = run_fft3_forward(&bytes, be, in), *inverse = run_fft3_inverse(&bytes, be, in);
	close_all("fft3_forward", forward, (const double *)wanted, 2 * cyc_half_count3(s), 1e-6);
	close_all("fft3_inverse", inverse, back, (size_t)s * (size_t)s * (size_t)s, 1e-6);
	cyc_free(forward);
	cyc_free(inverse);
	cyc_free(wanted);
	cyc_free(back);
	cyc_backend_close(&be);
	inputs_destroy(in);
}

/* ---------------------------------------------------------------- misuse */

/* Images of two calls, packed one behind the other: the first are kept, the second are what they are at the
 * beginning. What is written into a part of a buffer stays within it. */
static void slices_are_packed_behind_others(void **state)
{
	(void)state;
	static const char *const names[] = { "cpu", "strict", "emulate" };
	inputs *in = inputs_create(16, 3);
	size_t all = (size_t)in->n * in->plane, slice = cyc_packed_count(in->s), one = (size_t)in->n * slice;
	for (size_t k = 0; k < sizeof names / sizeof *names; k++)
		for (int is_pack = 0; is_pack < 2; is_pack++) {
			cyc_backend *be = NULL;
			float *part;
			size_t bytes, n_single;
			ASSERT_OK(cyc_backend_open(&be, names[k], 2));
			cyc_buffer *ft = up(be, in->ft, all, sizeof(cyc_cfloat)),
					   *ctf = up(be, in->ctf, all, sizeof(float)),
					   *share = up(be, in->envelope, in->plane, sizeof(float)),
					   *packed = up(be, NULL, 2 * one, sizeof(float));
			for (int32_t first = 0; first <= in->n; first += in->n)
				if (is_pack)
					ASSERT_OK(cyc_op_pack(packed, be,
					                      &(cyc_pack_in){ .ft = ft,
					                                      .ctf = ctf,
					                                      .share = share,
					                                      .rest = share,
					                                      .is_premultiplied = true,
					                                      .first = first,
					                                      .n = in->n,
					                                      .s = in->s }));
				else
					ASSERT_OK(cyc_op_modulate(
						packed, be,
						&(cyc_modulate_in){ .ft = ft, .ctf = ctf, .first = first, .n = in->n, .s = in->s }));
			ASSERT_OK(cyc_buffer_map_part(&part, packed, (one + slice) * sizeof *part, slice * sizeof *part));
			for (size_t i = 0; i < slice; i++) part[i] = 7;
			ASSERT_OK(cyc_buffer_unmap(packed));
			ASSERT_STATUS(cyc_buffer_map_part(&part, packed, 2 * one * sizeof *part - 4, 8), CYC_E_INTERNAL,
			              "of a buffer of");
			float *single = is_pack ? pack(&n_single, be, in, true)
			                        : modulate(&n_single, be, in, true, false, false, false),
				  *both = down(&packed, &bytes);
			assert_memory_equal(both, single, one * sizeof *both);
			assert_memory_equal(both + one, single, slice * sizeof *both);
			for (size_t i = 0; i < slice; i++) assert_true(both[one + slice + i] == 7);
			assert_memory_equal(both + one + 2 * slice, single + 2 * slice, slice * sizeof *both);
			cyc_free(single);
			cyc_free(both);
			cyc_buffer_destroy(&ft);
			cyc_buffer_destroy(&ctf);
			cyc_buffer_destroy(&share);
			cyc_backend_close(&be);
		}
	inputs_destroy(in);
}

static void misuse_is_reported(void **state)
{
	static const char *const names[] = { "cpu", "strict", "emulate" };
	(void)state;
	for (int k = 0; k < 3; k++) {
		cyc_backend *be = NULL, *other = NULL;
		cyc_buffer *image = NULL, *ft = NULL, *foreign = NULL;
		float pixels[64] = { 0 }, *host, *again;
		double at[4] = { 4, 4, 4, 4 };
		cyc_mat3 M = cyc_mat3_identity();
		int32_t large = 5;
		ASSERT_OK(cyc_backend_open(&be, names[k], 1));
		ASSERT_OK(cyc_backend_open(&other, names[k], 1));
		ASSERT_OK(cyc_buffer_create(&image, be, 64, sizeof(float)));
		ASSERT_OK(cyc_buffer_create(&ft, be, cyc_half_count2(8), sizeof(cyc_cfloat)));
		ASSERT_OK(cyc_buffer_create(&foreign, other, 64, sizeof(float)));
		for (int i = 0; i < 64; i++) pixels[i] = (float)i;
		const cyc_window_spec spec = { .box_px = 8, .box_binned = 8 }, odd = { .box_px = 8, .box_binned = 7 },
							  wide = { .box_px = 8, .box_binned = 10 };
		ASSERT_STATUS(cyc_buffer_upload(image, pixels, sizeof pixels + 1), CYC_E_INTERNAL,
		              "257 bytes to a buffer of 256");
		ASSERT_STATUS(cyc_buffer_download(pixels, image, sizeof pixels + 1), CYC_E_INTERNAL,
		              "257 bytes from a buffer of 256");
		ASSERT_OK(cyc_buffer_upload(image, pixels, sizeof pixels));
		ASSERT_STATUS(cyc_op_window(ft, be, image, 8, 8, at, 2, &spec), CYC_E_INTERNAL,
		              "argument 0 has 320 bytes, 640 are needed");
		ASSERT_STATUS(cyc_op_window(ft, be, image, 8, 9, at, 1, &spec), CYC_E_INTERNAL,
		              "argument 1 has 256 bytes, 288 are needed");
		ASSERT_STATUS(cyc_op_window(ft, be, foreign, 8, 8, at, 1, &spec), CYC_E_INTERNAL,
		              "of another backend");
		ASSERT_STATUS(cyc_op_window(ft, be, image, 8, 8, at, 1, &odd), CYC_E_SHAPE, "even");
		ASSERT_STATUS(cyc_op_window(ft, be, image, 8, 8, at, 1, &wide), CYC_E_SHAPE, "not larger");
		const cyc_particle_image_spec crop = { .box_binned = 8, .circle_px = 6, .edge_px = 7 };
		ASSERT_STATUS(cyc_op_particle_image(image, be, ft, NULL, NULL, NULL, &crop, 1), CYC_E_SHAPE,
		              "images of 7 px with a circle of 6 px from a box of 8 px");
		cyc_ball *ball = NULL;
		ASSERT_OK(cyc_ball_create(&ball, 3, 3));
		const cyc_sum_spec sum_spec = { ball, -1, { 1, 1 }, 1 };
		const cyc_slices slices = { .M = &M, .radius = &large, .n = 1, .s = 8 };
		ASSERT_STATUS(cyc_op_slice_insert(image, be, &sum_spec, ft, &slices), CYC_E_INTERNAL, "radius 5");
		cyc_ball_destroy(&ball);
		ASSERT_STATUS(cyc_buffer_unmap(image), CYC_E_INTERNAL, "not mapped");
		ASSERT_OK(cyc_buffer_map(&host, image));
		assert_memory_equal(host, pixels, sizeof pixels);
		ASSERT_STATUS(cyc_buffer_map(&again, image), CYC_E_INTERNAL, "mapped twice");
		ASSERT_STATUS(cyc_op_window(ft, be, image, 8, 8, at, 1, &spec), CYC_E_INTERNAL, "mapped");
		ASSERT_STATUS(cyc_buffer_upload(image, pixels, 4), CYC_E_INTERNAL, "mapped");
		ASSERT_STATUS(cyc_buffer_download(pixels, image, 4), CYC_E_INTERNAL, "mapped");
		host[3] = -7;
		ASSERT_OK(cyc_buffer_unmap(image));
		ASSERT_OK(cyc_buffer_download(pixels, image, sizeof pixels));
		assert_true(pixels[3] == -7);
		ASSERT_OK(cyc_op_window(ft, be, image, 8, 8, at, 1, &spec)); /* none of this has broken anything */
		ASSERT_OK(cyc_buffer_map(&host, image));
		cyc_buffer_destroy(&image); /* mapped: nothing leaks */
		assert_null(image);
		cyc_buffer_destroy(&image);
		cyc_buffer_destroy(&ft);
		cyc_buffer_destroy(&foreign);
		ASSERT_STATUS(cyc_buffer_create(&image, be, SIZE_MAX / 2, 4), CYC_E_NOMEM, "cannot allocate");
		cyc_backend_close(&be);
		cyc_backend_close(&be);
		cyc_backend_close(&other);
	}
	cyc_backend *be = NULL;
	ASSERT_STATUS(cyc_backend_open(&be, "vulkan", 1), CYC_E_DEVICE,
	              "'vulkan' in this program; it has cpu, cuda, auto");
	assert_null(be);
	ASSERT_STATUS(cyc_backend_open(&be, "emulate:x", 1), CYC_E_USAGE, "must be a whole number");
	assert_null(be);
	ASSERT_STATUS(cyc_backend_open(&be, "cpu:2", 1), CYC_E_USAGE, "has no options");
	assert_null(be);
}

/* ---------------------------------------------------------------- the strict backend's memory */

/* Signal that ends a process which reads (or writes) this byte; 0: it lives. */
static int touched(void *address, bool is_write)
{
	int status = 0;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL); /* cmocka has a handler */
		volatile char *p = address;
		if (is_write) *p = 1;
		else (void)*p;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void device_memory_is_closed_to_the_host(void **state)
{
	(void)state;
	if (HAS_SANITIZER) skip(); /* which catches the signal */
	const struct cyc_backend_ops *ops = &cyc_backend_strict;
	void *self = NULL, *p = NULL;
	char data[5000] = "data", back[5000];
	ASSERT_OK(ops->create(&self, 1, ""));
	ASSERT_OK(ops->alloc(self, &p, sizeof data));
	assert_int_equal(touched(p, false), SIGSEGV);
	ASSERT_OK(ops->upload(self, p, data, sizeof data));
	assert_int_equal(touched((char *)p + 4999, true), SIGSEGV);
	ASSERT_OK(ops->download(self, back, p, sizeof data));
	assert_memory_equal(back, data, sizeof data);
	assert_int_equal(touched(p, false), SIGSEGV);
	ops->enter(self, p, sizeof data);
	assert_int_equal(touched(p, true), 0);
	/* What follows it is closed all the same; it begins at the next multiple of 64 bytes. */
	assert_int_equal(touched((char *)p + 5055, true), 0);
	assert_int_equal(touched((char *)p + 5056, true), SIGSEGV);
	ops->leave(self, p, sizeof data);
	assert_int_equal(touched(p, true), SIGSEGV);
	ops->free(self, p, sizeof data);
	ops->destroy(self);
}

static void assert_mapped_as_a_copy(const char *backend)
{
	cyc_backend *be = NULL;
	cyc_buffer *b = NULL;
	char data[300] = "data", *host;
	void *p;
	ASSERT_OK(cyc_backend_open(&be, backend, 1));
	ASSERT_OK(cyc_buffer_create(&b, be, sizeof data, 1));
	const void *address = cyc_buffer_address(b);
	memcpy(&p, &address, sizeof p);
	assert_int_equal(touched(p, false), SIGSEGV);
	ASSERT_OK(cyc_buffer_upload(b, data, sizeof data));
	assert_int_equal(touched(p, false), SIGSEGV);
	ASSERT_OK(cyc_buffer_map(&host, b));
	assert_string_equal(host, "data");
	assert_int_equal(touched(host, true), 0);
	assert_int_equal(touched(p, false), SIGSEGV);
	strcpy(host, "more");
	ASSERT_OK(cyc_buffer_unmap(b));
	ASSERT_OK(cyc_buffer_download(data, b, sizeof data));
	assert_string_equal(data, "more");
	cyc_buffer_destroy(&b);
	cyc_backend_close(&be);
}

static void memory_out_of_reach_is_mapped_as_a_copy(void **state)
{
	(void)state;
	if (HAS_SANITIZER) skip();
	assert_mapped_as_a_copy("strict");
	assert_mapped_as_a_copy("emulate");
}

/* A backend that keeps plans gives what one that has just been opened gives, whatever came before. */
static void windows_of_several_kinds_take_turns(void **state)
{
	(void)state;
	static const int ORDER[] = { 0, 1, 0, 1, 2, 1, 0, 2, 3, 0, 4, 4, 1, 3, 2, 0 };
	inputs *in = inputs_create(24, 3);
	const cyc_window_spec kinds[] = {
		{ .box_px = 28, .box_binned = 24 },
		{ .box_px = 24, .box_binned = 24, .no_circle_crop = true, .n_rows = 12 },
		{ .box_px = 24, .box_binned = 24, .no_circle_crop = true },
		{ .box_px = 28, .box_binned = 24, .is_partial = true },
		{ .box_px = 28, .box_binned = 24, .radius = 7 }
	};
	cyc_backend *kept = cpu();
	for (size_t i = 0; i < sizeof ORDER / sizeof *ORDER; i++) {
		size_t n = 0, m = 0;
		cyc_backend *fresh = cpu();
		in->spec = kinds[ORDER[i]];
		void *got = run_window(&n, kept, in), *wanted = run_window(&m, fresh, in);
		assert_int_equal(n, m);
		assert_memory_equal(got, wanted, n);
		cyc_free(got);
		cyc_free(wanted);
		cyc_backend_close(&fresh);
	}
	cyc_backend_close(&kept);
	inputs_destroy(in);
}

/* Host memory that is shown to a backend is what operations see, as it is then; only cpu does not copy it. */
static void memory_is_shown(void **state)
{
	(void)state;
	static const char *const NAMES[] = { "cpu", "strict", "emulate" };
	inputs *in = inputs_create(16, 2);
	size_t n_pixels = (size_t)in->nx * (size_t)in->ny, bytes;
	for (size_t k = 0; k < sizeof NAMES / sizeof *NAMES && (k == 0 || !HAS_SANITIZER); k++) {
		cyc_backend *be = NULL;
		cyc_buffer *shown = NULL;
		float small[4] = { 1, 2, 3, 4 };
		ASSERT_OK(cyc_backend_open(&be, NAMES[k], 1));
		ASSERT_OK(cyc_buffer_show(&shown, be, small, sizeof small));
		for (int round = 0; round < 2; round++) {
			cyc_buffer *ft = up(be, NULL, (size_t)in->n * in->plane, sizeof(cyc_cfloat));
			in->image[n_pixels / 2] += (float)round;
			void *wanted = run_window(&bytes, be, in);
			ASSERT_OK(cyc_buffer_show(&shown, be, in->image, n_pixels * sizeof(float)));
			assert_int_equal(cyc_buffer_bytes(shown), n_pixels * sizeof(float));
			bool is_there = cyc_buffer_address(shown) == (const void *)in->image;
			assert_int_equal(is_there, k == 0 && !getenv("CYCLOTOMO_CPU_BACKEND"));
			ASSERT_OK(cyc_op_window(ft, be, shown, in->nx, in->ny, in->at_px, in->n, &in->spec));
			void *got = down(&ft, &bytes);
			assert_memory_equal(got, wanted, bytes);
			cyc_free(got);
			cyc_free(wanted);
		}
		cyc_buffer_destroy(&shown);
		cyc_backend_close(&be);
	}
	in->image[0] = in->image[0] + 1; /* still the caller's */
	inputs_destroy(in);
}

/* With the name of a test, only that one. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backends_and_threads_agree_bit_for_bit),
		cmocka_unit_test(devices_agree_with_cpu),
		cmocka_unit_test(window_is_a_cut_and_a_transform),
		cmocka_unit_test(ctf_is_a_sine),
		cmocka_unit_test(modulate_packs_data_and_weights),
		cmocka_unit_test(particle_images_are_inverse_transforms),
		cmocka_unit_test(packing_weighs_cropped_images),
		cmocka_unit_test(insertion_is_a_sum_over_voxels),
		cmocka_unit_test(insertion_does_not_depend_on_order),
		cmocka_unit_test(insertion_refuses_what_does_not_fit),
		cmocka_unit_test(extraction_is_trilinear),
		cmocka_unit_test(sums_are_sums),
		cmocka_unit_test(correlation_is_a_sum),
		cmocka_unit_test(transforms_follow_their_definition),
		cmocka_unit_test(slices_are_packed_behind_others),
		cmocka_unit_test(misuse_is_reported),
		cmocka_unit_test(device_memory_is_closed_to_the_host),
		cmocka_unit_test(memory_out_of_reach_is_mapped_as_a_copy),
		cmocka_unit_test(windows_of_several_kinds_take_turns),
		cmocka_unit_test(memory_is_shown),
	};
	if (argc > 1) cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

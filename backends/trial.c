/* Inputs of noise, all operations on two backends, and a comparison. */
#include "backends/trial.h"

#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Nothing here is a multiple of a block, and there are more windows than plans are made for one by one. */
enum { S = 40, SH = S / 2 + 1, PLANE = S * SH, N = 21, BOX = 44, NX = 150, NY = 130, M = 2 * S, EDGE = 48 };
enum { RADIUS = 18, MOST_COEFFICIENTS = 800, N_ROTATIONS = 37, N_OFFSETS = 19, N_IMAGES = 5 };
static const double TRANSFORM_BOUND = 1e-5;
/* Integers per unit of what is inserted. */
static const double SUM_SCALE[2] = { 1 << 30, 1 << 28 };
static const cyc_window_spec WINDOW = { .box_px = BOX, .box_binned = S };

/* ---------------------------------------------------------------- inputs */

typedef struct {
	float image[NX * NY], ctf[N * PLANE], quadrature[N * PLANE], turns[PLANE], envelope[PLANE], weight[PLANE],
		real[S * S * S], fx[MOST_COEFFICIENTS], fy[MOST_COEFFICIENTS],
		pose_weight[N_IMAGES * MOST_COEFFICIENTS], spread[S / 2 + 1];
	cyc_cfloat prediction[N * PLANE], phase[PLANE], pose_data[N_IMAGES * MOST_COEFFICIENTS];
	cyc_cfloat *reference; /* of edge EDGE */
	float *packed;         /* N slices */
	double at_px[2 * N], turns_per_k2[N], particle_weight[N];
	cyc_mat3 A[N];
	int32_t radius[N], shell[MOST_COEFFICIENTS], n_list;
	int8_t use[N];
	cyc_ball *ball;
	cyc_pose_row rows[N_IMAGES];
	cyc_pose_image images[N_IMAGES];
	cyc_pose_rotation rotations[N_ROTATIONS];
	cyc_pose_offset offsets[N_OFFSETS];
} inputs;

static void fill(float *to, size_t n, cyc_rng *rng)
{
	for (size_t i = 0; i < n; i++) to[i] = (float)cyc_rng_normal(rng);
}
static void fill_complex(cyc_cfloat *to, size_t n, cyc_rng *rng)
{
	for (size_t i = 0; i < n; i++) to[i] = (float)cyc_rng_normal(rng) + (float)cyc_rng_normal(rng) * I;
}

static cyc_mat3 any_rotation(cyc_rng *rng)
{
	return cyc_euler_to_matrix(6 * cyc_rng_uniform(rng), 3 * cyc_rng_uniform(rng), 6 * cyc_rng_uniform(rng));
}

static void fill_planes(inputs *in, cyc_rng *rng)
{
	for (int32_t i = 0; i < PLANE; i++) {
		int32_t x = i % SH, y = i / SH < S / 2 ? i / SH : i / SH - S;
		double k2 = x * x + y * y, odd = 0.04 * x - 0.03 * y;
		double turns = 0.013 * k2 + 0.002 * x * y;
		in->turns[i] = (float)(turns - round(turns));
		in->envelope[i] = (float)exp(-k2 / (S * S));
		in->weight[i] = k2 > 0 ? (float)((x == 0 ? 0.5 : 1) / (1 + 0.1 * k2)) : 0;
		in->phase[i] = (float)cos(odd) + (float)sin(odd) * I;
		for (int32_t j = 0; j < N; j++) {
			in->ctf[j * PLANE + i] = (float)sin(0.03 * k2 + j);
			in->quadrature[j * PLANE + i] = (float)cos(0.03 * k2 + j);
		}
	}
	for (int32_t i = 0; i < N; i++) {
		in->at_px[2 * i] = NX * cyc_rng_uniform(rng);
		in->at_px[2 * i + 1] = NY * cyc_rng_uniform(rng);
		in->turns_per_k2[i] = 0.02 * cyc_rng_normal(rng);
		in->particle_weight[i] = 0.5 + cyc_rng_uniform(rng);
		in->A[i] = any_rotation(rng);
		in->radius[i] = i % 4 == 3 ? S / 4 : S / 2;
		in->use[i] = (int8_t)(i % 3 == 1);
	}
}

static void fill_poses(inputs *in, cyc_rng *rng)
{
	for (int32_t y = -RADIUS; y <= RADIUS; y++)
		for (int32_t x = 0; x <= RADIUS; x++) {
			double r = hypot(x, y);
			if (r > RADIUS) continue;
			in->fx[in->n_list] = (float)x;
			in->fy[in->n_list] = (float)y;
			in->shell[in->n_list++] = (int32_t)lround(r);
		}
	for (int32_t i = 0; i < N_IMAGES; i++) {
		cyc_mat3 R = any_rotation(rng), T = cyc_tilt_to_matrix(0.02, 0.3 * i - 0.6, 0.4);
		int32_t n = in->n_list - 37 * i;
		in->rows[i] = (cyc_pose_row){ .first = (int64_t)i * in->n_list,
			                          .n = n,
			                          .reach = RADIUS,
			                          .shift_px = { cyc_rng_normal(rng), cyc_rng_normal(rng) },
			                          .amplitude = 0.8 };
		for (int k = 0; k < 3; k++) {
			in->rows[i].x[k] = (float)((double)M / S * R.m[0][k]);
			in->rows[i].y[k] = (float)((double)M / S * R.m[1][k]);
		}
		in->images[i] = (cyc_pose_image){ .first = (int64_t)i * in->n_list, .px_per_A = 0.7, .n = n };
		memcpy(in->images[i].R_img_tomo, T.m, sizeof in->images[i].R_img_tomo);
	}
	for (int i = 0; i < N_ROTATIONS; i++) {
		cyc_mat3 R = any_rotation(rng);
		memcpy(in->rotations[i].R_tomo_ref, R.m, sizeof R.m);
	}
	for (int i = 0; i < N_OFFSETS; i++)
		for (int k = 0; k < 3; k++) in->offsets[i].A[k] = 2 * cyc_rng_normal(rng);
}

static void destroy(inputs *in)
{
	if (!in) return;
	cyc_ball_destroy(&in->ball);
	cyc_free(in->reference);
	cyc_free(in->packed);
	cyc_free(in);
}

static cyc_status create(inputs **out)
{
	cyc_status st = CYC_OK;
	inputs *in = NULL;
	cyc_rng rng = cyc_rng_make(3, S, N);
	CYC_TRY(cyc_alloc(&in, 1, sizeof *in));
	CYC_TRY(cyc_alloc(&in->reference, cyc_reference_count(EDGE), sizeof *in->reference));
	CYC_TRY(cyc_alloc(&in->packed, N * cyc_packed_count(S), sizeof *in->packed));
	CYC_TRY(cyc_ball_create(&in->ball, S / 2, S / 2 - 1));
	fill(in->image, NX * NY, &rng);
	fill(in->real, S * S * S, &rng);
	fill(in->packed, N * cyc_packed_count(S), &rng);
	fill_complex(in->reference, cyc_reference_count(EDGE), &rng);
	fill_complex(in->prediction, N * PLANE, &rng);
	fill_complex(in->pose_data, N_IMAGES * MOST_COEFFICIENTS, &rng);
	for (int i = 0; i < N_IMAGES * MOST_COEFFICIENTS; i++) in->pose_weight[i] = (float)cyc_rng_uniform(&rng);
	for (int i = 0; i <= S / 2; i++) in->spread[i] = (float)cyc_rng_uniform(&rng);
	fill_planes(in, &rng);
	fill_poses(in, &rng);
	*out = in;
	in = NULL;
done:
	destroy(in);
	return st;
}

/* ---------------------------------------------------------------- operations */

/* What an operation gives is compared as what it is. */
typedef enum { BITS, FLOATS } kind;
enum { MOST_RESULTS = 16, MOST_BUFFERS = 40 };
typedef struct {
	struct {
		const char *operation;
		kind is;
		void *bytes;
		size_t n;
	} results[MOST_RESULTS];
	int n;
} answers;
typedef struct {
	cyc_backend *be;
	cyc_buffer *all[MOST_BUFFERS];
	int n;
	answers *to;
} bench;

static cyc_status up(cyc_buffer **out, bench *b, const void *host, size_t n_bytes)
{
	cyc_status st = CYC_OK;
	*out = NULL;
	CYC_CHECK(b->n < MOST_BUFFERS, CYC_E_INTERNAL, "too many buffers");
	CYC_TRY(cyc_buffer_create(&b->all[b->n], b->be, n_bytes, 1));
	*out = b->all[b->n++];
	if (host) CYC_TRY(cyc_buffer_upload(*out, host, n_bytes));
done:
	return st;
}

static cyc_status down(bench *b, const char *operation, kind is, const cyc_buffer *from, size_t n_bytes)
{
	cyc_status st = CYC_OK;
	answers *a = b->to;
	CYC_CHECK(a->n < MOST_RESULTS, CYC_E_INTERNAL, "too many results");
	a->results[a->n].operation = operation;
	a->results[a->n].is = is;
	a->results[a->n].n = n_bytes;
	CYC_TRY(cyc_alloc_(&a->results[a->n++].bytes, n_bytes > 0 ? n_bytes : 1, 1, "a trial"));
	if (n_bytes > 0) CYC_TRY(cyc_buffer_download(a->results[a->n - 1].bytes, from, n_bytes));
done:
	return st;
}

/* Buffers that several operations read. */
typedef struct {
	cyc_buffer *ft, *prediction, *ctf, *quadrature, *turns, *envelope, *weight, *phase, *reference, *packed;
} planes;

static cyc_status try_windows(cyc_buffer **ft, bench *b, const inputs *in)
{
	cyc_status st = CYC_OK;
	cyc_buffer *image;
	CYC_TRY(up(&image, b, in->image, sizeof in->image));
	CYC_TRY(up(ft, b, NULL, sizeof in->prediction));
	CYC_TRY(cyc_op_window(*ft, b->be, image, NX, NY, in->at_px, N, &WINDOW));
	CYC_TRY(down(b, "window", FLOATS, *ft, sizeof in->prediction));
done:
	return st;
}

static cyc_status try_images(bench *b, const planes *p, const inputs *in)
{
	cyc_status st = CYC_OK;
	cyc_buffer *c, *q, *images, *packed;
	const cyc_particle_image_spec spec = {
		.box_binned = S, .circle_px = S - 2, .edge_px = S - 2, .factor = -0.5
	};
	size_t n_images = N * (size_t)(spec.edge_px * spec.edge_px) * sizeof(float),
		   n_packed = N * cyc_packed_count(S) * sizeof(float);
	CYC_TRY(up(&c, b, NULL, sizeof in->ctf));
	CYC_TRY(up(&q, b, NULL, sizeof in->ctf));
	CYC_TRY(up(&images, b, NULL, n_images));
	CYC_TRY(up(&packed, b, NULL, n_packed));
	CYC_TRY(cyc_op_ctf(
		c, q, b->be,
		&(cyc_ctf_in){
			.turns = p->turns, .envelope = p->envelope, .turns_per_k2 = in->turns_per_k2, .n = N, .s = S }));
	CYC_TRY(down(b, "ctf", BITS, c, sizeof in->ctf));
	CYC_TRY(down(b, "ctf", BITS, q, sizeof in->ctf));
	CYC_TRY(cyc_op_particle_image(images, b->be, p->ft, p->ctf, p->phase, p->envelope, &spec, N));
	CYC_TRY(down(b, "particle_image", FLOATS, images, n_images));
	CYC_TRY(cyc_op_modulate(packed, b->be,
	                        &(cyc_modulate_in){ .ft = p->ft,
	                                            .ctf = p->ctf,
	                                            .phase = p->phase,
	                                            .whiten = p->envelope,
	                                            .particle_weight = in->particle_weight,
	                                            .n = N,
	                                            .s = S }));
	CYC_TRY(down(b, "modulate", BITS, packed, n_packed));
	CYC_TRY(cyc_op_pack(
		packed, b->be,
		&(cyc_pack_in){
			.ft = p->ft, .ctf = p->ctf, .share = p->envelope, .rest = p->envelope, .n = N, .s = S }));
	CYC_TRY(down(b, "pack", BITS, packed, n_packed));
done:
	return st;
}

static cyc_status try_slices(bench *b, const planes *p, const inputs *in)
{
	cyc_status st = CYC_OK;
	cyc_buffer *sum, *ft;
	size_t n_sum = 3 * in->ball->count * sizeof(int64_t);
	const cyc_sum_spec spec = { in->ball, 1, { SUM_SCALE[0], SUM_SCALE[1] }, CYC_MOST_ADDED };
	const cyc_slices slices = { .M = in->A, .radius = in->radius, .use = in->use, .n = N, .s = S };
	CYC_TRY(up(&sum, b, NULL, n_sum));
	CYC_TRY(up(&ft, b, NULL, sizeof in->prediction));
	CYC_TRY(cyc_op_slice_insert(sum, b->be, &spec, p->packed, &slices));
	CYC_TRY(down(b, "slice_insert", BITS, sum, n_sum));
	CYC_TRY(cyc_op_slice_extract(
		ft, b->be,
		&(cyc_slice_extract_in){
			.reference = p->reference, .m = M, .edge = EDGE, .M = in->A, .radius = RADIUS, .n = N, .s = S }));
	CYC_TRY(down(b, "slice_extract", BITS, ft, sizeof in->prediction));
done:
	return st;
}

static cyc_status try_sums(bench *b, const planes *p)
{
	cyc_status st = CYC_OK;
	cyc_buffer *sums, *maps, *curves;
	const cyc_local_grid grid = { 7, 0.9 };
	size_t n_sums = (size_t)CYC_N_SUMS * PLANE * sizeof(double),
		   n_maps = (size_t)N * (size_t)(grid.n * grid.n) * sizeof(float),
		   n_curves = (size_t)N * CYC_N_CURVE * sizeof(double);
	CYC_TRY(up(&sums, b, NULL, n_sums));
	CYC_TRY(up(&maps, b, NULL, n_maps));
	CYC_TRY(up(&curves, b, NULL, n_curves));
	CYC_TRY(cyc_op_ctf_sums(sums, b->be,
	                        &(cyc_ctf_sums_in){ .ft = p->ft,
	                                            .prediction = p->prediction,
	                                            .ctf = p->ctf,
	                                            .quadrature = p->quadrature,
	                                            .phase = p->phase,
	                                            .radius = RADIUS,
	                                            .n = N,
	                                            .s = S }));
	CYC_TRY(down(b, "ctf_sums", BITS, sums, n_sums));
	CYC_TRY(cyc_op_correlate(maps, curves, b->be,
	                         &(cyc_correlate_in){ .ft = p->ft,
	                                              .prediction = p->prediction,
	                                              .ctf = p->ctf,
	                                              .phase = p->phase,
	                                              .weight = p->weight,
	                                              .self = p->weight,
	                                              .radius = RADIUS,
	                                              .grid = grid,
	                                              .n = N,
	                                              .s = S }));
	CYC_TRY(down(b, "correlate", BITS, maps, n_maps));
	CYC_TRY(down(b, "correlate", BITS, curves, n_curves));
done:
	return st;
}

static cyc_status try_poses(bench *b, const planes *p, const inputs *in)
{
	cyc_status st = CYC_OK;
	cyc_buffer *fx, *fy, *shell, *data, *weight, *spread, *terms, *samples;
	int64_t count;
	size_t n = (size_t)in->n_list, n_terms = (size_t)N_IMAGES * CYC_N_POSE_TERMS * sizeof(double);
	const cyc_pose_trial trial = {
		.n_images = N_IMAGES, .n_rotations = N_ROTATIONS, .n_offsets = N_OFFSETS, .amplitude = 0.8
	};
	CYC_TRY(up(&fx, b, in->fx, n * sizeof(float)));
	CYC_TRY(up(&fy, b, in->fy, n * sizeof(float)));
	CYC_TRY(up(&shell, b, in->shell, n * sizeof(int32_t)));
	CYC_TRY(up(&data, b, in->pose_data, N_IMAGES * n * sizeof(cyc_cfloat)));
	CYC_TRY(up(&weight, b, in->pose_weight, N_IMAGES * n * sizeof(float)));
	CYC_TRY(up(&spread, b, in->spread, sizeof in->spread));
	CYC_TRY(up(&terms, b, NULL, n_terms));
	CYC_TRY(up(&samples, b, NULL, (size_t)N_ROTATIONS * N_OFFSETS * sizeof(cyc_pose_sample)));
	const cyc_pose_images images = { .fx = fx,
		                             .fy = fy,
		                             .shell = shell,
		                             .n = in->n_list,
		                             .box_px = S,
		                             .data = data,
		                             .weight = weight,
		                             .n_data = N_IMAGES * n,
		                             .maps = { p->reference },
		                             .has_spread = { true },
		                             .spread = spread,
		                             .zoom = { (double)M / S },
		                             .edge = { EDGE },
		                             .n_maps = 1 };
	CYC_TRY(cyc_op_pose_terms(terms, b->be, &images, in->rows, N_IMAGES));
	CYC_TRY(down(b, "pose_terms", BITS, terms, n_terms));
	CYC_TRY(cyc_op_pose_scores(samples, &count, b->be, &images,
	                           &(cyc_pose_trials){ .trials = &trial,
	                                               .n = 1,
	                                               .images = in->images,
	                                               .n_images = N_IMAGES,
	                                               .rotations = in->rotations,
	                                               .n_rotations = N_ROTATIONS,
	                                               .offsets = in->offsets,
	                                               .n_offsets = N_OFFSETS,
	                                               .margin = 300 }));
	CYC_CHECK(count >= 0 && count <= N_ROTATIONS * N_OFFSETS, CYC_E_DATA, "pose_scores gives another result");
	CYC_TRY(down(b, "pose_scores", BITS, samples, (size_t)count * sizeof(cyc_pose_sample)));
done:
	return st;
}

/* Also back: both directions have plans of their own. */
static cyc_status try_transforms(bench *b, const inputs *in)
{
	cyc_status st = CYC_OK;
	cyc_buffer *real, *ft;
	CYC_TRY(up(&real, b, in->real, sizeof in->real));
	CYC_TRY(up(&ft, b, NULL, S * PLANE * sizeof(cyc_cfloat)));
	CYC_TRY(cyc_op_fft3_forward(ft, b->be, real, S));
	CYC_TRY(down(b, "fft3_forward", FLOATS, ft, S * PLANE * sizeof(cyc_cfloat)));
	CYC_TRY(cyc_op_fft3_inverse(real, b->be, ft, S));
	CYC_TRY(down(b, "fft3_inverse", FLOATS, real, sizeof in->real));
done:
	return st;
}

/* All of them. The transforms of windows that others begin with are the cpu's: fewer things differ. */
static cyc_status answer(answers *to, cyc_backend *be, const inputs *in, const cyc_cfloat *windows)
{
	cyc_status st = CYC_OK;
	bench b = { .be = be, .to = to };
	planes p = { 0 };
	const struct {
		cyc_buffer **to;
		const void *host;
		size_t n;
	} all[] = { { &p.prediction, in->prediction, sizeof in->prediction },
		        { &p.ctf, in->ctf, sizeof in->ctf },
		        { &p.quadrature, in->quadrature, sizeof in->quadrature },
		        { &p.turns, in->turns, sizeof in->turns },
		        { &p.envelope, in->envelope, sizeof in->envelope },
		        { &p.weight, in->weight, sizeof in->weight },
		        { &p.phase, in->phase, sizeof in->phase },
		        { &p.reference, in->reference, cyc_reference_count(EDGE) * sizeof(cyc_cfloat) },
		        { &p.packed, in->packed, N * cyc_packed_count(S) * sizeof(float) } };
	CYC_TRY(try_windows(&p.ft, &b, in));
	if (windows) CYC_TRY(cyc_buffer_upload(p.ft, windows, sizeof in->prediction));
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) CYC_TRY(up(all[i].to, &b, all[i].host, all[i].n));
	CYC_TRY(try_images(&b, &p, in));
	CYC_TRY(try_slices(&b, &p, in));
	CYC_TRY(try_sums(&b, &p));
	CYC_TRY(try_poses(&b, &p, in));
	CYC_TRY(try_transforms(&b, in));
done:
	for (int i = 0; i < b.n; i++) cyc_buffer_destroy(&b.all[i]);
	return st;
}

/* ---------------------------------------------------------------- comparison */

static bool are_close(const float *a, const float *b, size_t n)
{
	double most = 0, difference = 0;
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(a[i]) || !isfinite(b[i])) return false;
		most = fmax(most, fabs((double)b[i]));
		difference = fmax(difference, fabs((double)a[i] - (double)b[i]));
	}
	return difference <= TRANSFORM_BOUND * most;
}

static cyc_status compare(const answers *got, const answers *wanted, const char *name)
{
	cyc_status st = CYC_OK;
	for (int i = 0; i < wanted->n; i++) {
		size_t n = wanted->results[i].n;
		const void *a = got->results[i].bytes, *b = wanted->results[i].bytes;
		bool is_same =
			got->results[i].n == n &&
			(wanted->results[i].is == BITS ? memcmp(a, b, n) == 0 : are_close(a, b, n / sizeof(float)));
		CYC_CHECK(is_same, CYC_E_UNSUPPORTED, "%s does not compute as the processor: %s gives another result",
		          name, wanted->results[i].operation);
	}
done:
	return st;
}

static void drop(answers *a)
{
	for (int i = 0; i < a->n; i++) cyc_free(a->results[i].bytes);
}

cyc_status cyc__backend_try(cyc_backend *be, const char *name)
{
	cyc_status st = CYC_OK;
	inputs *in = NULL;
	cyc_backend *cpu = NULL;
	answers got = { .n = 0 }, wanted = { .n = 0 };
	char why[CYC_ERROR_TEXT];
	CYC_TRY(create(&in));
	CYC_TRY(cyc_backend_open(&cpu, "cpu", 1));
	cyc__backend_count(cpu, false);
	cyc__backend_count(be, false);
	CYC_TRY(answer(&wanted, cpu, in, NULL));
	st = answer(&got, be, in, wanted.results[0].bytes);
	/* What makes no sense to an operation, which the cpu has just done with the same inputs. */
	if (st == CYC_E_DATA || st == CYC_E_INTERNAL) {
		snprintf(why, sizeof why, "%s", cyc_error_get()->message);
		CYC_CHECK(false, CYC_E_UNSUPPORTED, "%s does not compute as the processor: %s", name, why);
	}
	CYC_TRY(st);
	CYC_TRY(compare(&got, &wanted, name));
done:
	if (st == CYC_E_UNSUPPORTED)
		cyc_error_hint("'--backend cpu' computes on the processor; please tell us of the GPU and its driver");
	cyc__backend_count(be, true);
	cyc_backend_close(&cpu);
	drop(&got);
	drop(&wanted);
	destroy(in);
	return st;
}

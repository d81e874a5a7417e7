/* What images say at poses: all backends and thread counts give the same bits, and these are what the
 * formulae of backend.h say, evaluated here in double precision. */
#include <complex.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sanitizers.h"
#include "temp_dir.h"

#include "refine3d/particle_images.h"

enum { N_IMAGES = 7, N_MAPS = 3, N_ROWS = 23, N_TRIALS = 5, N_ROTATIONS = 108, N_OFFSETS = 34 };

/* Images of noise and references of noise. */
typedef struct {
	cyc_coefficients *list;
	int32_t m[N_MAPS], edge[N_MAPS], box_px;
	size_t n_data;
	cyc_cfloat *data, *grid[N_MAPS];
	float *weight, *spread;
	cyc_pose_row rows[N_ROWS];
	cyc_pose_image images[N_IMAGES];
	cyc_pose_rotation rotations[N_ROTATIONS];
	cyc_pose_offset offsets[N_OFFSETS];
} inputs;

/* Of all sizes: more than a tile and a slab, one sample, no image. */
static const cyc_pose_trial TRIALS[N_TRIALS] = { { 0, 3, 0, 5, 0, 3, 0, 0.8 },
	                                             { 2, N_IMAGES - 2, 5, 77, 3, 19, 1, 0.6 },
	                                             { 1, 1, 82, 1, 4, 1, 2, 1.1 },
	                                             { 0, 0, 83, 9, 0, 2, 0, 0.9 },
	                                             { 3, 2, 92, 16, 2, 32, 2, 0.7 } };

/* The same images as parts of particles, and poses to try. */
static void make_trials(inputs *in)
{
	cyc_rng rng = cyc_rng_make(10, (uint32_t)in->box_px, 0);
	for (int i = 0; i < N_IMAGES; i++) {
		cyc_mat3 R = cyc_tilt_to_matrix(0.02, 0.3 * i - 1, 0.4);
		in->images[i] = (cyc_pose_image){ .first = (int64_t)i * in->list->n,
			                              .px_per_A = 0.6 + 0.1 * i,
			                              .n = i == 2 ? 0 : in->list->n * (i + 1) / N_IMAGES };
		memcpy(in->images[i].R_img_tomo, R.m, sizeof in->images[i].R_img_tomo);
	}
	for (int i = 0; i < N_ROTATIONS; i++) {
		cyc_mat3 R = cyc_euler_to_matrix(6 * cyc_rng_uniform(&rng), 3 * cyc_rng_uniform(&rng),
		                                 6 * cyc_rng_uniform(&rng));
		memcpy(in->rotations[i].R_tomo_ref, R.m, sizeof R.m);
		in->rotations[i].log_prior = -10 * cyc_rng_uniform(&rng);
	}
	for (int i = 0; i < N_OFFSETS; i++) {
		for (int k = 0; k < 3; k++) in->offsets[i].A[k] = 3 * cyc_rng_normal(&rng);
		in->offsets[i].log_prior = -10 * cyc_rng_uniform(&rng);
	}
}

static cyc_pose_trials trials_of(const inputs *in, double margin)
{
	return (cyc_pose_trials){ TRIALS,      N_TRIALS,    in->images, N_IMAGES, in->rotations,
		                      N_ROTATIONS, in->offsets, N_OFFSETS,  margin };
}

static double zoom_of(const inputs *in, int32_t map) { return (double)in->m[map] / in->box_px; }

static void make_inputs(inputs *in, int32_t box_px)
{
	cyc_rng rng = cyc_rng_make(9, (uint32_t)box_px, 0);
	memset(in, 0, sizeof *in);
	ASSERT_OK(cyc_coefficients_create(&in->list, box_px));
	in->box_px = box_px;
	in->n_data = N_IMAGES * (size_t)in->list->n;
	ASSERT_OK(cyc_alloc(&in->data, in->n_data, sizeof *in->data));
	ASSERT_OK(cyc_alloc(&in->weight, in->n_data, sizeof *in->weight));
	ASSERT_OK(cyc_alloc(&in->spread, N_MAPS * ((size_t)box_px / 2 + 1), sizeof *in->spread));
	for (size_t i = 0; i < in->n_data; i++) {
		in->data[i] = (float)cyc_rng_normal(&rng) + (float)cyc_rng_normal(&rng) * I;
		in->weight[i] = (float)cyc_rng_uniform(&rng);
	}
	for (size_t i = 0; i < N_MAPS * ((size_t)box_px / 2 + 1); i++)
		in->spread[i] = (float)cyc_rng_uniform(&rng);
	for (int k = 0; k < N_MAPS; k++) {
		/* In small boxes the second one is finer, and only the part of it is held that is looked up. */
		bool is_finer = k == 1 && box_px <= 24;
		in->m[k] = (is_finer ? 4 : 2) * box_px;
		in->edge[k] = in->m[k] - (is_finer ? 2 : 0);
		ASSERT_OK(cyc_alloc(&in->grid[k], cyc_reference_count(in->edge[k]), sizeof **in->grid));
		for (size_t i = 0; i < cyc_reference_count(in->edge[k]); i++)
			in->grid[k][i] = (float)cyc_rng_normal(&rng) + (float)cyc_rng_normal(&rng) * I;
	}
	for (int i = 0; i < N_ROWS; i++) {
		cyc_mat3 R = cyc_euler_to_matrix(6 * cyc_rng_uniform(&rng), 3 * cyc_rng_uniform(&rng),
		                                 6 * cyc_rng_uniform(&rng));
		int32_t n = i == 3       ? 0
		            : i % 3 == 0 ? in->list->n
		                         : 1 + (int32_t)(cyc_rng_uniform(&rng) * (in->list->n - 1));
		cyc_pose_row *r = &in->rows[i];
		*r = (cyc_pose_row){ .first = (int64_t)(i % N_IMAGES) * in->list->n,
			                 .n = n,
			                 .reach = cyc_coefficients_reach(in->list, n),
			                 .map = i % N_MAPS,
			                 .shift_px = { 3 * cyc_rng_normal(&rng), 3 * cyc_rng_normal(&rng) },
			                 .amplitude = 0.5 + cyc_rng_uniform(&rng) };
		for (int k = 0; k < 3; k++) {
			r->x[k] = (float)(zoom_of(in, r->map) * R.m[0][k]);
			r->y[k] = (float)(zoom_of(in, r->map) * R.m[1][k]);
		}
	}
	make_trials(in);
}

static void drop_inputs(inputs *in)
{
	cyc_coefficients_destroy(&in->list);
	cyc_free(in->data);
	cyc_free(in->weight);
	cyc_free(in->spread);
	for (int k = 0; k < N_MAPS; k++) cyc_free(in->grid[k]);
}

/* ---------------------------------------------------------------- running an operation */

enum { N_BUFFERS = 6 + N_MAPS, N_SAMPLES = 5 * 3 + 77 * 19 + 1 + 9 * 2 + 16 * 32 };
typedef struct {
	cyc_backend *be;
	cyc_buffer *all[N_BUFFERS];
	cyc_pose_images images;
} room;

static cyc_buffer *up(room *r, int i, const void *host, size_t n, size_t size)
{
	ASSERT_OK(cyc_buffer_create(&r->all[i], r->be, n, size));
	ASSERT_OK(cyc_buffer_upload(r->all[i], host, n * size));
	return r->all[i];
}

static void open_room(room *r, const inputs *in, const char *backend, int n_threads)
{
	size_t n = (size_t)in->list->n;
	memset(r, 0, sizeof *r);
	ASSERT_OK(cyc_backend_open(&r->be, backend, n_threads));
	r->images = (cyc_pose_images){ .fx = up(r, 0, in->list->fx, n, sizeof(float)),
		                           .fy = up(r, 1, in->list->fy, n, sizeof(float)),
		                           .shell = up(r, 2, in->list->shell, n, sizeof(int32_t)),
		                           .n = in->list->n,
		                           .box_px = in->box_px,
		                           .data = up(r, 3, in->data, in->n_data, sizeof(cyc_cfloat)),
		                           .weight = up(r, 4, in->weight, in->n_data, sizeof(float)),
		                           .n_data = in->n_data,
		                           .spread = up(r, 5, in->spread, N_MAPS * ((size_t)in->box_px / 2 + 1),
		                                        sizeof(float)),
		                           .has_spread = { false, true, false },
		                           .n_maps = N_MAPS };
	for (int k = 0; k < N_MAPS; k++) {
		r->images.maps[k] = up(r, 6 + k, in->grid[k], cyc_reference_count(in->edge[k]), sizeof(cyc_cfloat));
		r->images.zoom[k] = zoom_of(in, k);
		r->images.edge[k] = in->edge[k];
	}
}

static void close_room(room *r)
{
	for (int k = 0; k < N_BUFFERS; k++) cyc_buffer_destroy(&r->all[k]);
	cyc_backend_close(&r->be);
}

static void run_terms(double *out, const inputs *in, const char *backend, int n_threads)
{
	room r;
	cyc_buffer *sums = NULL;
	size_t n = (size_t)N_ROWS * CYC_N_POSE_TERMS;
	open_room(&r, in, backend, n_threads);
	ASSERT_OK(cyc_buffer_create(&sums, r.be, n, sizeof *out));
	ASSERT_OK(cyc_op_pose_terms(sums, r.be, &r.images, in->rows, N_ROWS));
	ASSERT_OK(cyc_buffer_download(out, sums, n * sizeof *out));
	cyc_buffer_destroy(&sums);
	close_room(&r);
}

/* Returns the number of samples that are kept. */
static int64_t run_scores(cyc_pose_sample *out, int64_t counts[N_TRIALS], const inputs *in, double margin,
                          const char *backend, int n_threads)
{
	room r;
	cyc_buffer *samples = NULL;
	const cyc_pose_trials trials = trials_of(in, margin);
	int64_t n = 0;
	assert_int_equal(cyc_pose_trials_count(&trials), N_SAMPLES);
	open_room(&r, in, backend, n_threads);
	ASSERT_OK(cyc_buffer_create(&samples, r.be, N_SAMPLES, sizeof *out));
	ASSERT_OK(cyc_op_pose_scores(samples, counts, r.be, &r.images, &trials));
	for (int i = 0; i < N_TRIALS; i++) n += counts[i];
	assert_true(n <= N_SAMPLES);
	ASSERT_OK(cyc_buffer_download(out, samples, (size_t)n * sizeof *out));
	cyc_buffer_destroy(&samples);
	close_room(&r);
	return n;
}

static const struct {
	const char *name;
	int n_threads;
} OTHERS[] = { { "cpu", 2 },       { "cpu", 7 },       { "strict", 1 },    { "emulate", 1 },
	           { "emulate:1", 2 }, { "emulate:2", 1 }, { "emulate:3", 1 }, { "emulate:4", 3 },
	           { "emulate:5", 1 }, { "emulate:6", 1 }, { "emulate:7", 1 }, { "cuda", 1 } };
enum { N_OTHERS = sizeof OTHERS / sizeof *OTHERS };

/* The thread sanitizer has nothing to find in one thread, and takes ten times as long. */
static bool is_worth_it(int n_threads)
{
#ifdef __SANITIZE_THREAD__
	return n_threads > 1;
#else
	return n_threads > 0;
#endif
}

/* Whether a backend can be had here; a GPU need not be. */
static bool is_here(const char *name)
{
	/* The driver of a GPU and sanitizers do not go together. */
	if (IS_SANITIZED && strcmp(name, "cuda") == 0 && !getenv("CYCLOTOMO_PRETENDED_CUDA")) return false;
	if (cyc_backend_check(name) == CYC_OK) return true;
	print_message("not compared: %s\n", cyc_error_get()->message);
	cyc_error_clear();
	assert_string_equal(name, "cuda");
	assert_null(getenv("CYCLOTOMO_PRETENDED_CUDA"));
	return false;
}

static void backends_and_threads_agree_bit_for_bit(void **state)
{
	(void)state;
	static const int32_t BOXES[] = { 16, 48, 70 };
	for (size_t k = 0; k < sizeof BOXES / sizeof *BOXES; k++) {
		inputs in;
		int64_t counts[2][N_TRIALS], n_wanted[2];
		static const double MARGINS[2] = { HUGE_VAL, 20 };
		static cyc_pose_sample samples[2][N_SAMPLES], others[N_SAMPLES];
		double wanted[N_ROWS * CYC_N_POSE_TERMS], got[N_ROWS * CYC_N_POSE_TERMS];
		make_inputs(&in, BOXES[k]);
		run_terms(wanted, &in, "cpu", 1);
		for (int m = 0; m < 2; m++)
			n_wanted[m] = run_scores(samples[m], counts[m], &in, MARGINS[m], "cpu", 1);
		for (int i = 0; i < N_OTHERS; i++) {
			if (!is_worth_it(OTHERS[i].n_threads) || !is_here(OTHERS[i].name)) continue;
			run_terms(got, &in, OTHERS[i].name, OTHERS[i].n_threads);
			if (memcmp(got, wanted, sizeof got) != 0)
				fail_msg("box %d: %s with %d threads differs", BOXES[k], OTHERS[i].name, OTHERS[i].n_threads);
			for (int m = 0; m < 2; m++) {
				int64_t again[N_TRIALS];
				int64_t n = run_scores(others, again, &in, MARGINS[m], OTHERS[i].name, OTHERS[i].n_threads);
				assert_int_equal(n, n_wanted[m]);
				if (memcmp(again, counts[m], sizeof again) != 0 ||
				    memcmp(others, samples[m], (size_t)n * sizeof *others) != 0)
					fail_msg("box %d: scores of %s with %d threads differ", BOXES[k], OTHERS[i].name,
					         OTHERS[i].n_threads);
			}
		}
		drop_inputs(&in);
	}
}

/* What is held of a reference, and the whole of it. */
static void what_is_beyond_the_held_part_is_zero(void **state)
{
	(void)state;
	enum { REACH = 13, EDGE = 2 * (REACH + 1) };
	static const char *const NAMES[] = { "cpu", "strict", "emulate" };
	for (int b = 0; b < 3; b++) {
		inputs in;
		int64_t counts[2][N_TRIALS], n[2];
		static cyc_pose_sample samples[2][N_SAMPLES];
		double terms[2][N_ROWS * CYC_N_POSE_TERMS];
		make_inputs(&in, 24);
		int32_t m = in.m[0];
		cyc_cfloat *whole = in.grid[0], *held = NULL;
		ASSERT_OK(cyc_alloc(&held, cyc_reference_count(EDGE), sizeof *held));
		for (int32_t z = -m / 2; z < m / 2; z++)
			for (int32_t y = -m / 2; y < m / 2; y++)
				for (int32_t x = 0; x < m / 2 + 2; x++) {
					size_t at =
						((size_t)((z + m) % m) * (size_t)m + (size_t)((y + m) % m)) * (size_t)(m / 2 + 2) +
						(size_t)x;
					if (x * x + y * y + z * z >= REACH * REACH) whole[at] = 0;
					else
						held[((size_t)((z + EDGE) % EDGE) * EDGE + (size_t)((y + EDGE) % EDGE)) *
						         (EDGE / 2 + 2) +
						     (size_t)x] = whole[at];
				}
		for (int k = 0; k < 2; k++) {
			in.edge[0] = k ? EDGE : m;
			in.grid[0] = k ? held : whole;
			run_terms(terms[k], &in, NAMES[b], 1);
			n[k] = run_scores(samples[k], counts[k], &in, HUGE_VAL, NAMES[b], 1);
		}
		assert_true(n[0] == n[1]);
		/* Zeros have no sign here. */
		for (int i = 0; i < N_ROWS * CYC_N_POSE_TERMS; i++) assert_true(terms[0][i] == terms[1][i]);
		for (int64_t i = 0; i < n[0]; i++) assert_true(samples[0][i].score == samples[1][i].score);
		cyc_free(whole);
		drop_inputs(&in);
	}
}

/* ---------------------------------------------------------------- the formulae */

static double complex corner(const inputs *in, int32_t map, int32_t x, int32_t y, int32_t z)
{
	int32_t edge = in->edge[map];
	size_t row = (size_t)(z < 0 ? z + edge : z) * (size_t)edge + (size_t)(y < 0 ? y + edge : y);
	return (double complex)in->grid[map][row * (size_t)(edge / 2 + 2) + (size_t)x];
}

/* V and its slopes along the axes of the reference. Which cell a frequency falls into is a matter of single
 * precision. */
static void prediction(double complex v[4], const inputs *in, int32_t map, const float x[3], const float y[3],
                       float kx, float ky)
{
	float q[3], sign;
	for (int k = 0; k < 3; k++) q[k] = x[k] * kx + y[k] * ky;
	sign = q[0] < 0 ? -1.F : 1.F;
	double f[3];
	int32_t at[3];
	for (int k = 0; k < 3; k++) {
		at[k] = (int32_t)floorf(sign * q[k]);
		f[k] = (double)(sign * q[k]) - at[k];
	}
	for (int k = 0; k < 4; k++) v[k] = 0;
	for (int c = 0; c < 8; c++) {
		const int b[3] = { c & 1, c >> 1 & 1, c >> 2 };
		double complex F = corner(in, map, at[0] + b[0], at[1] + b[1], at[2] + b[2]);
		double share[3], slope[3];
		for (int k = 0; k < 3; k++) {
			share[k] = b[k] ? f[k] : 1 - f[k];
			slope[k] = b[k] ? 1 : -1;
		}
		v[0] += share[0] * share[1] * share[2] * F;
		v[1] += slope[0] * share[1] * share[2] * F;
		v[2] += share[0] * slope[1] * share[2] * F;
		v[3] += share[0] * share[1] * slope[2] * F;
	}
	if (sign > 0) return;
	v[0] = conj(v[0]);
	for (int k = 1; k < 4; k++) v[k] = -conj(v[k]);
}

/* Sums of one row, and the sums of the absolute values of what is added. */
static void terms(double sum[CYC_N_POSE_TERMS], double size[CYC_N_POSE_TERMS], const inputs *in,
                  const cyc_pose_row *r, bool has_spread)
{
	const double complex i_unit = (double complex)I;
	memset(sum, 0, CYC_N_POSE_TERMS * sizeof *sum);
	memset(size, 0, CYC_N_POSE_TERMS * sizeof *size);
	for (int32_t j = 0; j < r->n; j++) {
		double kx = in->list->kx[j], ky = in->list->ky[j], q[3], W = (double)in->weight[r->first + j],
			   V = (double)
		               in->spread[(size_t)r->map * ((size_t)in->box_px / 2 + 1) + (size_t)in->list->shell[j]],
			   share = has_spread ? 1 / (1 + r->amplitude * r->amplitude * W * V) : 1, part[CYC_N_POSE_TERMS];
		double complex v[4], d[5], Y;
		prediction(v, in, r->map, r->x, r->y, (float)kx, (float)ky);
		for (int k = 0; k < 3; k++) q[k] = (double)r->x[k] * kx + (double)r->y[k] * ky;
		Y = share * (double complex)in->data[r->first + j] *
		    cexp(2 * i_unit * CYC_PI * (kx * r->shift_px[0] + ky * r->shift_px[1]) / in->box_px);
		W *= share;
		/* q x grad V, of which dV by an angle is the negative; signs come later. */
		for (int k = 0; k < 3; k++)
			d[k] = q[(k + 2) % 3] * v[1 + (k + 1) % 3] - q[(k + 1) % 3] * v[1 + (k + 2) % 3];
		d[3] = -2 * i_unit * CYC_PI * kx / in->box_px * v[0];
		d[4] = -2 * i_unit * CYC_PI * ky / in->box_px * v[0];
		part[CYC_POSE_CROSS] = creal(Y * conj(v[0]));
		part[CYC_POSE_POWER] = W * creal(v[0] * conj(v[0]));
		for (int i = 0, p = CYC_POSE_PRODUCTS; i < 5; i++) {
			part[CYC_POSE_SLOPES + i] = creal((Y - r->amplitude * W * v[0]) * conj(d[i]));
			for (int k = 0; k <= i; k++) part[p++] = W * creal(d[i] * conj(d[k]));
		}
		for (int k = 0; k < CYC_N_POSE_TERMS; k++) {
			sum[k] += part[k];
			size[k] += fabs(part[k]);
		}
	}
}

static void terms_are_the_formula(void **state)
{
	(void)state;
	static const double ROUNDING = 2e-6; /* of sums in single precision, over the sum of absolute values */
	inputs in;
	double got[N_ROWS * CYC_N_POSE_TERMS];
	make_inputs(&in, 48);
	run_terms(got, &in, "cpu", 1);
	for (int i = 0; i < N_ROWS; i++) {
		double wanted[CYC_N_POSE_TERMS], size[CYC_N_POSE_TERMS];
		terms(wanted, size, &in, &in.rows[i], in.rows[i].map == 1);
		for (int k = 0; k < CYC_N_POSE_TERMS; k++)
			if (!(fabs(got[i * CYC_N_POSE_TERMS + k] - wanted[k]) <= ROUNDING * size[k]))
				fail_msg("row %d, sum %d: %.9g, not %.9g", i, k, got[i * CYC_N_POSE_TERMS + k], wanted[k]);
	}
	drop_inputs(&in);
}

/* One score by (T8.2), and the sum of the absolute values of what is added. */
static double score(double *size, const inputs *in, const cyc_pose_trial *t, const cyc_pose_rotation *r,
                    const cyc_pose_offset *d, bool has_spread)
{
	double sum = 0;
	*size = 0;
	for (int32_t f = t->first_image; f < t->first_image + t->n_images; f++) {
		const cyc_pose_image *image = &in->images[f];
		cyc_pose_row row = { .first = image->first, .n = image->n, .map = t->map, .amplitude = t->amplitude };
		double part[CYC_N_POSE_TERMS], sizes[CYC_N_POSE_TERMS], s = t->amplitude;
		for (int k = 0; k < 3; k++) {
			double x = 0, y = 0;
			for (int m = 0; m < 3; m++) {
				x += image->R_img_tomo[0][m] * r->R_tomo_ref[m][k];
				y += image->R_img_tomo[1][m] * r->R_tomo_ref[m][k];
				row.shift_px[0] += k ? 0 : image->px_per_A * image->R_img_tomo[0][m] * d->A[m];
				row.shift_px[1] += k ? 0 : image->px_per_A * image->R_img_tomo[1][m] * d->A[m];
			}
			row.x[k] = (float)(zoom_of(in, t->map) * x);
			row.y[k] = (float)(zoom_of(in, t->map) * y);
		}
		terms(part, sizes, in, &row, has_spread);
		sum += 2 * s * part[CYC_POSE_CROSS] - s * s * part[CYC_POSE_POWER];
		*size += 2 * s * sizes[CYC_POSE_CROSS] + s * s * sizes[CYC_POSE_POWER];
	}
	return sum;
}

static void scores_are_the_formula(void **state)
{
	(void)state;
	static const double ROUNDING = 2e-6, MARGIN = 30;
	inputs in;
	static cyc_pose_sample all[N_SAMPLES], kept[N_SAMPLES];
	int64_t counts[N_TRIALS], n_kept[N_TRIALS];
	make_inputs(&in, 24);
	run_scores(all, counts, &in, HUGE_VAL, "cpu", 1);
	run_scores(kept, n_kept, &in, MARGIN, "cpu", 1);
	const cyc_pose_sample *s = all, *next = kept;
	for (int i = 0; i < N_TRIALS; i++) {
		const cyc_pose_trial *t = &TRIALS[i];
		double best = -HUGE_VAL;
		assert_int_equal(counts[i], t->n_rotations * t->n_offsets);
		for (int64_t k = 0; k < counts[i]; k++) {
			const cyc_pose_rotation *r = &in.rotations[t->first_rotation + s[k].rotation];
			const cyc_pose_offset *d = &in.offsets[t->first_offset + s[k].offset];
			double size, wanted = score(&size, &in, t, r, d, t->map == 1);
			assert_int_equal(s[k].rotation, k / t->n_offsets);
			assert_int_equal(s[k].offset, k % t->n_offsets);
			if (!(fabs(s[k].score - wanted) <= ROUNDING * size))
				fail_msg("trial %d, sample %lld: %.9g, not %.9g", i, (long long)k, s[k].score, wanted);
			best = fmax(best, s[k].score + r->log_prior + d->log_prior);
		}
		int64_t n = 0;
		for (int64_t k = 0; k < counts[i]; k++) {
			double weight = s[k].score + in.rotations[t->first_rotation + s[k].rotation].log_prior +
			                in.offsets[t->first_offset + s[k].offset].log_prior;
			if (weight < best - MARGIN) continue;
			assert_memory_equal(&s[k], next, sizeof *s);
			next++;
			n++;
		}
		assert_int_equal(n, n_kept[i]);
		s += counts[i];
	}
	assert_true(n_kept[1] > 1 && n_kept[1] < counts[1]);
	drop_inputs(&in);
}

/* ---------------------------------------------------------------- misuse */

static void misuse_is_reported(void **state)
{
	(void)state;
	inputs in;
	room r;
	cyc_buffer *sums = NULL;
	make_inputs(&in, 16);
	open_room(&r, &in, "cpu", 1);
	ASSERT_OK(cyc_buffer_create(&sums, r.be, CYC_N_POSE_TERMS, sizeof(double)));
	ASSERT_FAILS(cyc_op_pose_terms(sums, r.be, &r.images, in.rows, 2), CYC_E_INTERNAL, "352 are needed");
	cyc_pose_row row = in.rows[0];
	row.first = (int64_t)in.n_data - row.n + 1;
	ASSERT_FAILS(cyc_op_pose_terms(sums, r.be, &r.images, &row, 1), CYC_E_INTERNAL, "an image of");
	row = in.rows[0];
	row.map = N_MAPS;
	ASSERT_FAILS(cyc_op_pose_terms(sums, r.be, &r.images, &row, 1), CYC_E_INTERNAL, "reference 3 of 3");
	row = in.rows[0];
	row.reach = 8;
	ASSERT_FAILS(cyc_op_pose_terms(sums, r.be, &r.images, &row, 1), CYC_E_INTERNAL, "reaches to 8");
	ASSERT_OK(cyc_op_pose_terms(sums, r.be, &r.images, in.rows, 1));
	int64_t counts[N_TRIALS];
	cyc_pose_trials trials = trials_of(&in, 1);
	ASSERT_FAILS(cyc_op_pose_scores(sums, counts, r.be, &r.images, &trials), CYC_E_INTERNAL, "are needed");
	trials.n_offsets--;
	ASSERT_FAILS(cyc_op_pose_scores(sums, counts, r.be, &r.images, &trials), CYC_E_INTERNAL, "trial 4");
	trials = trials_of(&in, 1);
	trials.n_rotations++;
	ASSERT_FAILS(cyc_op_pose_scores(sums, counts, r.be, &r.images, &trials), CYC_E_INTERNAL,
	             "trials of 108 rotations, there are 109");
	cyc_buffer_destroy(&sums);
	close_room(&r);
	drop_inputs(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backends_and_threads_agree_bit_for_bit),
		cmocka_unit_test(what_is_beyond_the_held_part_is_zero),
		cmocka_unit_test(terms_are_the_formula),
		cmocka_unit_test(scores_are_the_formula),
		cmocka_unit_test(misuse_is_reported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

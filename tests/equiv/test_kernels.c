/*
 * What `emulate` finds. Here the kernels are built once more, without their barriers; those of the program
 * must give the same in every order of blocks and lanes, these must not. The same for a kernel in which two
 * blocks, or two lanes, add to one number.
 */
#define CYC_WITHOUT_BARRIERS
#include "backends/emulate/emulate.h"
#include "backends/kernels/kernels.h"

#include "cyclotomo/array.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "temp_dir.h"

enum { N_SEEDS = 8 };

#define RUN(name, lanes)                                                                                     \
	static void run_##name(const void *args, cyc_block block, void *shared)                                  \
	{                                                                                                        \
		cyc_##name##_kernel(args, block, shared);                                                            \
	}
#define ROW(name, lanes) [CYC_KERNEL_##name] = { run_##name, lanes, sizeof(cyc_##name##_shared) },
CYC_KERNEL_LIST(RUN)
static const cyc_emulated_kernel BROKEN[CYC_N_KERNELS] = { CYC_KERNEL_LIST(ROW) };

/* Runs a kernel with all seeds; the number of results (n bytes of `out`) that are not the first of `wanted`,
 * which is filled if it is empty. */
static int n_different(const cyc_emulated_kernel *kernel, const void *args, int64_t n_blocks, void *out,
                       size_t n, void **wanted, int n_threads)
{
	int n_found = 0;
	for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
		memset(out, 0, n);
		ASSERT_OK(cyc__emulate_launch(kernel, args, n_blocks, seed, n_threads));
		if (!*wanted) {
			ASSERT_OK(cyc_alloc(wanted, n, 1));
			memcpy(*wanted, out, n);
		}
		n_found += memcmp(*wanted, out, n) != 0;
	}
	return n_found;
}

static void barriers_matter(const char *name, cyc_kernel_id kernel, const void *args, int64_t n_blocks,
                            void *out, size_t n)
{
	void *wanted = NULL;
	int whole = n_different(cyc__emulated_kernel(kernel), args, n_blocks, out, n, &wanted, 1),
		on_threads = n_different(cyc__emulated_kernel(kernel), args, n_blocks, out, n, &wanted, 2),
		broken = n_different(&BROKEN[kernel], args, n_blocks, out, n, &wanted, 1);
	if (whole + on_threads > 0)
		fail_msg("%s: %d of %d orders give other results", name, whole + on_threads, 2 * N_SEEDS);
	if (broken < N_SEEDS / 2)
		fail_msg("%s without barriers: only %d of %d orders give other results", name, broken, N_SEEDS);
	cyc_free(wanted);
}

static float *noise(size_t n, uint64_t index)
{
	float *v = NULL;
	cyc_rng rng = cyc_rng_make(11, 0, index);
	ASSERT_OK(cyc_alloc(&v, n, sizeof *v));
	for (size_t i = 0; i < n; i++) v[i] = (float)cyc_rng_normal(&rng);
	return v;
}

static void *room(size_t n_bytes)
{
	void *p = NULL;
	ASSERT_OK(cyc_alloc_(&p, n_bytes, 1, "room"));
	return p;
}

static void correlation_needs_its_barriers(void **state)
{
	(void)state;
	enum { S = 16, SH = S / 2 + 1, N = 2, RADIUS = 7, GRID = 9, ROWS = 2 * RADIUS + 1, TURNS = ROWS * GRID };
	size_t n = N * S * SH, n_rows = (size_t)N * ROWS * GRID;
	float *ft = noise(2 * n, 1), *v = noise(2 * n, 2), *c = noise(n, 3), *w = noise(S * SH, 4),
		  *ex = noise(2 * TURNS, 5), *rows = room(2 * n_rows * sizeof(float));
	double *curves = room((size_t)N * ROWS * 3 * sizeof(double));
	const cyc_correlate_rows_args a = { .rows_re = rows,
		                                .rows_im = rows + n_rows,
		                                .curve_rows = curves,
		                                .ft = (void *)ft,
		                                .prediction = (void *)v,
		                                .ctf = c,
		                                .weight = w,
		                                .ex_re = ex,
		                                .ex_im = ex + TURNS,
		                                .radius = RADIUS,
		                                .n_grid = GRID,
		                                .s = S };
	barriers_matter("correlate_rows", CYC_KERNEL_correlate_rows, &a, (int64_t)N * ROWS, rows,
	                2 * n_rows * sizeof(float));
	void *const all[] = { ft, v, c, w, ex, rows, curves };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(all[i]);
}

/* Two images of noise and a reference of noise for the kernels of poses. */
enum { POSE_BOX = 24, POSE_M = 2 * POSE_BOX, POSE_N = 300 };
static cyc_pose_inputs pose_inputs(void *own[6])
{
	float *fx = room(POSE_N * sizeof *fx), *fy = room(POSE_N * sizeof *fy);
	int32_t *shell = room(POSE_N * sizeof *shell);
	for (int32_t j = 0; j < POSE_N; j++) {
		fx[j] = (float)(1 + j % 8);
		fy[j] = (float)(j / 8 % 15 - 7);
		shell[j] = j % (POSE_BOX / 2);
	}
	own[0] = fx;
	own[1] = fy;
	own[2] = shell;
	own[3] = noise(4 * POSE_N, 20);
	own[4] = noise(2 * POSE_N, 21);
	own[5] = noise(2 * (size_t)POSE_M * POSE_M * (POSE_M / 2 + 2), 22);
	return (cyc_pose_inputs){ .fx = fx,
		                      .fy = fy,
		                      .shell = shell,
		                      .data = own[3],
		                      .weight = own[4],
		                      .maps = { own[5] },
		                      .zoom = { (double)POSE_M / POSE_BOX },
		                      .edge = { POSE_M },
		                      .box_px = POSE_BOX };
}

static void terms_of_poses_need_their_barriers(void **state)
{
	(void)state;
	enum { N = 2, REACH = 8 };
	void *own[6];
	float *ramps = noise(2 * (size_t)N * (3 * REACH + 2), 23);
	double *sums = room((size_t)N * CYC_N_POSE_TERMS * sizeof *sums);
	cyc_pose_row rows[N];
	for (int i = 0; i < N; i++)
		rows[i] = (cyc_pose_row){ .first = (int64_t)i * POSE_N,
			                      .n = POSE_N,
			                      .reach = REACH,
			                      .x = { 1.5F, 0.8F, 0.3F },
			                      .y = { -0.6F, 1.1F, (float)i },
			                      .amplitude = 1 };
	const cyc_pose_terms_args a = {
		.sums = sums, .in = pose_inputs(own), .rows = rows, .ramps = (void *)ramps, .reach = REACH
	};
	barriers_matter("pose_terms", CYC_KERNEL_pose_terms, &a, N, sums,
	                (size_t)N * CYC_N_POSE_TERMS * sizeof *sums);
	for (int i = 0; i < 6; i++) cyc_free(own[i]);
	cyc_free(ramps);
	cyc_free(sums);
}

static void scores_of_poses_need_their_barriers(void **state)
{
	(void)state;
	enum { N_O = 20, N_T = 18, N_PLACES = 4 };
	void *own[6];
	cyc_pose_rotation rotations[N_O];
	cyc_pose_offset offsets[N_T];
	double *scores = room((size_t)N_O * N_T * sizeof *scores), limit = 0;
	int32_t counts[N_O];
	void *wanted = NULL;
	for (int o = 0; o < N_O; o++) {
		double c = cos(0.1 * o), s = sin(0.1 * o);
		rotations[o] = (cyc_pose_rotation){ { { c, s, 0 }, { -s, c, 0 }, { 0, 0, 1 } }, 100 * o };
	}
	for (int t = 0; t < N_T; t++) offsets[t] = (cyc_pose_offset){ { 0.3 * t, 0.1, 0 }, -0.1 * t };
	const cyc_pose_trial trial = { .n_images = 1, .n_rotations = N_O, .n_offsets = N_T, .amplitude = 1 };
	const cyc_pose_image image = { .R_img_tomo = { { 1, 0, 0 }, { 0, 1, 0 } }, .px_per_A = 0.5, .n = POSE_N };
	const int64_t first = 0;
	const cyc_pose_place places[N_PLACES] = { { 0, 0, 0 }, { 0, 0, 16 }, { 0, 16, 0 }, { 0, 16, 16 } };
	const cyc_pose_table table = { &trial, rotations, offsets, &first, scores };
	const cyc_pose_scores_args a = { pose_inputs(own), table, &image, places };
	barriers_matter("pose_scores", CYC_KERNEL_pose_scores, &a, N_PLACES, scores,
	                (size_t)N_O * N_T * sizeof *scores);
	memset(scores, 0, (size_t)N_O * N_T * sizeof *scores);
	const cyc_pose_count_args c = { table, 1e9, -1e300, &limit, counts };
	assert_int_equal(
		n_different(cyc__emulated_kernel(CYC_KERNEL_pose_count), &c, 1, &limit, sizeof limit, &wanted, 1), 0);
	assert_true(n_different(&BROKEN[CYC_KERNEL_pose_count], &c, 1, &limit, sizeof limit, &wanted, 1) > 0);
	assert_int_equal(counts[0], N_T);
	for (int i = 0; i < 6; i++) cyc_free(own[i]);
	cyc_free(wanted);
	cyc_free(scores);
}

static void insertion_needs_its_barriers(void **state)
{
	(void)state;
	enum { S = 24, N = 300 };
	cyc_ball *ball = NULL;
	cyc_inserted *slices = room(N * sizeof *slices);
	uint64_t *first = NULL;
	float *packed = noise((size_t)N * (S + 4) * (S / 2 + 2) * 4, 6);
	ASSERT_OK(cyc_ball_create(&ball, S / 2 - 1, S / 2 - 2));
	int64_t n_blocks = cyc_n_bricks(ball->radius, ball->top), *sum = room(3 * ball->count * sizeof *sum);
	size_t side = (size_t)(2 * ball->top + 1);
	first = room((side * side + 1) * sizeof *first);
	for (size_t i = 0; i <= side * side; i++) first[i] = ball->first[i];
	for (int32_t i = 0; i < N; i++) {
		double turn = 0.07 * i;
		slices[i] = (cyc_inserted){ .ux = (float)cos(turn),
			                        .u = { 0, sin(turn) },
			                        .v = { 1, 0 },
			                        .hx = (float)-sin(turn),
			                        .h = { 0, cos(turn) },
			                        .inverse = i > 0 ? -1 / (float)sin(turn) : 0,
			                        .radius = ball->radius,
			                        .image = i };
	}
	const cyc_slice_insert_args a = { .sum = sum,
		                              .first = first,
		                              .packed = (void *)packed,
		                              .slices = slices,
		                              .is_bad = room((size_t)n_blocks),
		                              .scale = { 1 << 20, 1 << 20 },
		                              .limit = 1e12,
		                              .n = N,
		                              .s = S,
		                              .top = ball->top,
		                              .R = ball->radius,
		                              .reach = ball->top,
		                              .inner = -1 };
	/* More slices than a block looks at in one go: without the barrier a lane sees flags of those before. */
	barriers_matter("slice_insert", CYC_KERNEL_slice_insert, &a, n_blocks, sum,
	                3 * ball->count * sizeof *sum);
	void *const all[] = { sum, first, packed, slices, a.is_bad };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(all[i]);
	cyc_ball_destroy(&ball);
}

static void flags_need_their_barrier(void **state)
{
	(void)state;
	unsigned char flags[1000] = { 0 };
	int32_t any = 0;
	const cyc_any_args a = { .out = &any, .flags = flags, .n = sizeof flags };
	barriers_matter("any", CYC_KERNEL_any, &a, 1, &any, sizeof any);
	flags[999] = 1;
	ASSERT_OK(cyc__emulate_launch(cyc__emulated_kernel(CYC_KERNEL_any), &a, 1, 0, 1));
	assert_int_equal(any, 1);
}

static void means_need_their_barriers(void **state)
{
	(void)state;
	enum { S = 40, N = 3, NX = 100 };
	float *image = noise(NX * NX, 7), *corner = room(S * S * sizeof *corner), means[N];
	int32_t from[S];
	cyc_window_at at[N];
	double totals[N] = { 1, 2, 3 };
	for (int32_t i = 0; i < S * S; i++) corner[i] = i % 7 == 0 ? 1 : 0;
	for (int32_t y = 0; y < S; y++) from[y] = S;
	for (int32_t i = 0; i < N; i++) at[i] = (cyc_window_at){ 20 * i, 10 * i, 0, S, 0, S };
	const cyc_window_means_args window = { .means = means,
		                                   .image = image,
		                                   .at = at,
		                                   .corner = corner,
		                                   .circle_from = from,
		                                   .nx = NX,
		                                   .ny = NX,
		                                   .S = S };
	barriers_matter("window_means", CYC_KERNEL_window_means, &window, N, means, sizeof means);
	const cyc_image_means_args images = { .means = means,
		                                  .real = image,
		                                  .stride = S * S,
		                                  .totals = totals,
		                                  .circle = corner,
		                                  .outside_count = 10,
		                                  .s = S,
		                                  .c = S - 4 };
	barriers_matter("image_means", CYC_KERNEL_image_means, &images, N, means, sizeof means);
	cyc_free(image);
	cyc_free(corner);
}

/* ---------------------------------------------------------------- races */

typedef struct {
	float *sum;
	const float *values;
	int32_t per_block; /* numbers that each block adds to; 1: all blocks to the same */
} cyc_racing_args;
typedef cyc_no_shared cyc_racing_shared;
enum { RACING_LANES = 32, RACING_BLOCKS = 64 };

/* One number per block, added to by all its lanes; or one per lane, added to by all blocks. */
CYC_KERNEL(racing)
{
	(void)sh;
	CYC_LANES(lane)
	{
		int64_t to = a->per_block == 1 ? lane : block.index;
		a->sum[to] += a->values[block.index * RACING_LANES + lane];
	}
}
RUN(racing, RACING_LANES)

static void races_are_found(void **state)
{
	(void)state;
	const cyc_emulated_kernel kernel = { run_racing, RACING_LANES, 1 };
	float *values = noise(RACING_BLOCKS * RACING_LANES, 8), sum[RACING_BLOCKS];
	for (int32_t per_block = 0; per_block < 2; per_block++) {
		const cyc_racing_args a = { sum, values, per_block };
		void *wanted = NULL;
		int n = n_different(&kernel, &a, RACING_BLOCKS, sum, sizeof sum, &wanted, 1);
		if (n < N_SEEDS / 2)
			fail_msg("a race between %s: only %d of %d orders give other results",
			         per_block == 1 ? "blocks" : "lanes", n, N_SEEDS);
		cyc_free(wanted);
	}
	cyc_free(values);
}

/* ---------------------------------------------------------------- order */

typedef struct {
	int32_t *count;
} cyc_counting_args;
typedef cyc_no_shared cyc_counting_shared;
enum { COUNTING_LANES = 48 };

CYC_KERNEL(counting)
{
	(void)sh;
	CYC_LANES(lane) a->count[block.index * COUNTING_LANES + lane]++;
}
RUN(counting, COUNTING_LANES)

static void every_lane_of_every_block_runs_once(void **state)
{
	(void)state;
	const cyc_emulated_kernel kernel = { run_counting, COUNTING_LANES, 1 };
	static const int64_t N_BLOCKS[] = { 1, 2, 17, 360, 1009 };
	for (size_t k = 0; k < sizeof N_BLOCKS / sizeof *N_BLOCKS; k++)
		for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
			size_t n = (size_t)N_BLOCKS[k] * COUNTING_LANES;
			int32_t *count = room(n * sizeof *count);
			const cyc_counting_args a = { count };
			ASSERT_OK(cyc__emulate_launch(&kernel, &a, N_BLOCKS[k], seed, 2));
			for (size_t i = 0; i < n; i++) assert_int_equal(count[i], 1);
			cyc_free(count);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(correlation_needs_its_barriers),
		cmocka_unit_test(insertion_needs_its_barriers),
		cmocka_unit_test(terms_of_poses_need_their_barriers),
		cmocka_unit_test(scores_of_poses_need_their_barriers),
		cmocka_unit_test(flags_need_their_barrier),
		cmocka_unit_test(means_need_their_barriers),
		cmocka_unit_test(races_are_found),
		cmocka_unit_test(every_lane_of_every_block_runs_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

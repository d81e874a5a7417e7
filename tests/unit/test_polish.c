/* Splines, motion modes, and gradient and curvature of an alignment against finite differences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "polish/alignment.h"
#include "polish/outcome.h"
#include "polish/schur.h"

enum { T = 7, N = 5, N_MAPS = N * T, GRID = 21 };
static const double STEP_PX = 0.7;

static double truth(double x, double y)
{
	return cos(0.9 * x - 0.4) * cos(0.7 * y + 0.3) + 0.3 * sin(1.1 * x + 0.8 * y);
}

static void fill_map(float *map, double cx, double cy)
{
	double line[GRID];
	for (int j = 0; j < GRID; j++)
		for (int i = 0; i < GRID; i++)
			map[j * GRID + i] = (float)truth((i - GRID / 2) * STEP_PX - cx, (j - GRID / 2) * STEP_PX - cy);
	cyc_local_map_prefilter(map, GRID, line);
}

static void spline(void **state)
{
	(void)state;
	static float map[GRID * GRID];
	const cyc_local_grid grid = { GRID, STEP_PX };
	fill_map(map, 0.3, -0.2);
	double g[2], unused[2], h = 1e-4;
	for (int i = 0; i < 200; i++) {
		double x = 9 * (cyc_rng_uniform_at(1, 0, (uint64_t)i, 0) - 0.5),
			   y = 9 * (cyc_rng_uniform_at(1, 0, (uint64_t)i, 1) - 0.5);
		double v = cyc_local_map_value(g, map, grid, x, y);
		assert_true(fabs(v - truth(x - 0.3, y + 0.2)) < 3e-3);
		double dx = (cyc_local_map_value(unused, map, grid, x + h, y) -
		             cyc_local_map_value(unused, map, grid, x - h, y)) /
		            (2 * h);
		double dy = (cyc_local_map_value(unused, map, grid, x, y + h) -
		             cyc_local_map_value(unused, map, grid, x, y - h)) /
		            (2 * h);
		assert_true(fabs(dx - g[0]) < 1e-6 && fabs(dy - g[1]) < 1e-6);
	}
	/* Samples are reproduced, and beyond the reach the value stays. */
	assert_true(fabs(cyc_local_map_value(g, map, grid, 2 * STEP_PX, -STEP_PX) -
	                 truth(2 * STEP_PX - 0.3, -STEP_PX + 0.2)) < 1e-5);
	double reach = cyc_local_map_reach(grid), edge = cyc_local_map_value(g, map, grid, reach, 0.5);
	assert_true(cyc_local_map_value(g, map, grid, reach + 5, 0.5) == edge);
	assert_true(g[0] == 0 && g[1] != 0);
}

static void modes_reproduce_the_covariance(void **state)
{
	(void)state;
	enum { M = 60 };
	cyc_vec3 r[M];
	for (int i = 0; i < M; i++)
		r[i] = (cyc_vec3){ 3000 * cyc_rng_uniform_at(2, 0, (uint64_t)i, 0),
			               3000 * cyc_rng_uniform_at(2, 0, (uint64_t)i, 1),
			               800 * cyc_rng_uniform_at(2, 0, (uint64_t)i, 2) };
	for (int is_squared = 0; is_squared < 2; is_squared++) {
		cyc_motion_model *m = NULL;
		const cyc_motion_options o = { .correlation_A = 2500,
			                           .is_squared = is_squared != 0,
			                           .max_modes = -1 };
		ASSERT_OK(cyc_motion_model_create(&m, r, M, &o));
		double error = 0;
		for (int p = 0; p < M; p++)
			for (int q = 0; q < M; q++) {
				double d2 = cyc_square(r[p].x - r[q].x) + cyc_square(r[p].y - r[q].y) +
				            cyc_square(r[p].z - r[q].z),
					   k = 0;
				for (int b = 0; b < m->n_modes; b++)
					k += m->modes[p * m->n_modes + b] * m->modes[q * m->n_modes + b];
				error =
					fmax(error, fabs(k - (is_squared ? exp(-d2 / (2500.0 * 2500)) : exp(-sqrt(d2) / 2500))));
			}
		assert_true(error <
		            0.05); /* 0.1 % of the trace is left out: 0.06 over all particles, far less for one */
		assert_true(m->n_modes <= M && (!is_squared || m->n_modes < M / 2));
		cyc_motion_model_destroy(&m);
	}
}

/* Relative motion: no mode moves all particles, and the covariance is that of motion minus its mean. Beyond
 * 1,500 particles the modes come from another decomposition; they are orthogonal all the same. */
static void relative_modes_have_no_mean(void **state)
{
	(void)state;
	static const int COUNT[2] = { 40, 1600 };
	for (int k = 0; k < 2; k++) {
		int n = COUNT[k];
		cyc_vec3 *r = NULL;
		cyc_motion_model *m = NULL;
		ASSERT_OK(cyc_alloc(&r, n, sizeof *r));
		for (int i = 0; i < n; i++)
			r[i] = (cyc_vec3){ 3000 * cyc_rng_uniform_at(2, 0, (uint64_t)i, 0),
				               3000 * cyc_rng_uniform_at(2, 0, (uint64_t)i, 1), 0 };
		const cyc_motion_options o = {
			.correlation_A = 4000, .is_squared = true, .is_relative = true, .max_modes = -1
		};
		ASSERT_OK(cyc_motion_model_create(&m, r, n, &o));
		assert_true(m->n_modes > 3);
		double trace = 0, expected = 0;
		for (int b = 0; b < m->n_modes; b++) {
			double mean = 0, cross = 0, own = 0;
			for (int p = 0; p < n; p++) {
				double v = m->modes[p * m->n_modes + b];
				mean += v / n;
				own += v * v;
				cross += b > 0 ? v * m->modes[p * m->n_modes + b - 1] : 0;
			}
			trace += own;
			assert_true(fabs(mean) < 1e-9 && fabs(cross) < 1e-8 * n);
		}
		for (int p = 0; p < n; p++)
			for (int q = 0; q < n; q++)
				expected +=
					((p == q) - 1.0 / n) *
					exp(-(cyc_square(r[p].x - r[q].x) + cyc_square(r[p].y - r[q].y)) / (4000.0 * 4000));
		assert_true(fabs(trace - expected) <
		            0.01 * expected); /* 0.1 % of the whole trace is left out, twice */
		cyc_motion_model_destroy(&m);
		cyc_free(r);
	}
}

/* ---------------------------------------------------------------- a small alignment with random maps */

#include "alignment_world.h"

/* What is refined besides geometry and positions. */
typedef struct {
	bool has_motion;
	cyc_deformation_type deformation;
	bool is_per_tilt;
} variant;
static const variant VARIANTS[] = {
	{ false, CYC_DEFORMATION_NONE, false },  { true, CYC_DEFORMATION_NONE, false },
	{ false, CYC_DEFORMATION_LINEAR, true }, { true, CYC_DEFORMATION_SPLINE, false },
	{ false, CYC_DEFORMATION_SPLINE, true }, { false, CYC_DEFORMATION_FOURIER, false },
	{ true, CYC_DEFORMATION_FOURIER, true }
};
enum { N_VARIANTS = sizeof VARIANTS / sizeof *VARIANTS, MAX_COEFFICIENTS = 72 };
static const variant STATIC = { 0 }, MOVING = { .has_motion = true };

static double deformation_width[MAX_COEFFICIENTS];

static void make_world(variant v)
{
	begin_world();
	for (int f = 0; f < T; f++) {
		const cyc_tilt tilt = { .xtilt_rad = 0.01,
			                    .ytilt_rad = 0.25 * (f - T / 2),
			                    .zrot_rad = 1.4,
			                    .has_angles = true,
			                    .scale = 1,
			                    .has_nominal_tilt = f != 2,
			                    .nominal_tilt_rad = 0.25 * (f - T / 2) };
		place_tilt(f, tilt, (f * 3) % T, 0.5 + 0.1 * f);
	}
	for (int p = 0; p < N; p++) place_particle(p, 200, p == 1 ? 0.5 : 1);
	const cyc_motion_options o = { .correlation_A = 1500, .is_relative = v.is_per_tilt, .max_modes = -1 };
	if (v.has_motion) ASSERT_OK(cyc_motion_model_create(&w.motion, w.positions, N, &o));
	w.a = alignment_of_world(1.3);
	w.a.n_threads = 2;
	w.a.speed = 0.8;
	w.a.do_deformation = v.deformation != CYC_DEFORMATION_NONE;
	w.a.is_deformation_per_tilt = v.is_per_tilt;
	w.a.deformation_model =
		(cyc_deformation_model){ .type = v.deformation, .grid = { 3, 3 }, .image_nx = 400, .image_ny = 300 };
	w.a.deformation_model.n = cyc_deformation_n_coefficients(v.deformation, w.a.deformation_model.grid);
	for (int i = 0; i < MAX_COEFFICIENTS; i++)
		deformation_width[i] = v.deformation == CYC_DEFORMATION_LINEAR ? 0.004 : 0.5 + 0.01 * i;
	w.a.deformation_width = deformation_width;
	assert_int_equal(cyc_alignment_init(&w.a), CYC_OK);
	for (int p = 0; p < N; p++)
		for (int f = 0; f < T; f++) {
			cyc_pair *pair = &w.pairs[p * T + f];
			if (p == 2 && f == 3) continue; /* not visible */
			fill_map(w.maps[p * T + f], 0.5 * sin(p + 2.0 * f), 0.5 * cos(3.0 * p + f));
			pair->map = w.maps[p * T + f];
			pair->power = 1;
			pair->curve[0] = 2 + 0.1 * p;
			pair->curve[1] = 0.3;
			pair->curve[2] = 1.5 + 0.1 * f;
			cyc_alignment_position(pair->start_px, &w.a, p, f);
		}
}

static double objective(void)
{
	double value;
	ASSERT_OK(cyc_alignment_log_likelihood(&value, &w.a));
	return value + cyc_alignment_log_prior(&w.a);
}

static double *numbers(int64_t n)
{
	double *v = NULL;
	assert_int_equal(cyc_alloc(&v, n, sizeof *v), CYC_OK);
	return v;
}

static void random_step(double *v, int64_t n, uint64_t seed, double size)
{
	cyc_rng r = cyc_rng_make(seed, 1, 0);
	for (int64_t i = 0; i < n; i++) v[i] = size * cyc_rng_normal(&r);
}

static void gradient_in_every_block(void **state)
{
	(void)state;
	for (int k = 0; k < N_VARIANTS; k++) {
		make_world(VARIANTS[k]);
		int64_t n = cyc_alignment_n_parameters(&w.a);
		double *v = numbers(n), *g = numbers(n), *scratch = numbers(cyc_alignment_scratch(&w.a));
		random_step(v, n, 4, 0.3);
		ASSERT_OK(cyc_alignment_step(&w.a, v, 1));
		ASSERT_OK(cyc_alignment_linearise(&w.a));
		ASSERT_OK(cyc_alignment_gradient(g, &w.a, scratch));
		for (int64_t i = 0; i < n; i++) {
			const double h = 1e-4;
			memset(v, 0, (size_t)n * sizeof *v);
			v[i] = 1;
			ASSERT_OK(cyc_alignment_step(&w.a, v, h));
			double up = objective();
			ASSERT_OK(cyc_alignment_step(&w.a, v, -2 * h));
			double down = objective();
			ASSERT_OK(cyc_alignment_step(&w.a, v, h));
			double expected = (up - down) / (2 * h);
			if (!(fabs(expected - g[i]) < 1e-5 * (1 + fabs(expected))))
				fail_msg("variant %d, parameter %d of %d: gradient %.8g, differences %.8g", k, (int)i, (int)n,
				         g[i], expected);
		}
		cyc_free(v);
		cyc_free(g);
		cyc_free(scratch);
		drop_world();
	}
}

/* v (1 + A^T J A) v = |v|^2 + sum of J-weighted squared displacements, which finite differences of positions
 * give. */
static void curvature_is_that_of_the_displacements(void **state)
{
	(void)state;
	static double up[N * T][2], down[N * T][2];
	const double h = 1e-4;
	for (int k = 0; k < N_VARIANTS; k++) {
		make_world(VARIANTS[k]);
		int64_t n = cyc_alignment_n_parameters(&w.a);
		double *v = numbers(n), *u = numbers(n), *Cv = numbers(n), *Cu = numbers(n),
			   *scratch = numbers(cyc_alignment_scratch(&w.a));
		random_step(v, n, 5, 0.3);
		ASSERT_OK(cyc_alignment_step(&w.a, v, 1));
		ASSERT_OK(cyc_alignment_linearise(&w.a));
		random_step(v, n, 6, 1);
		random_step(u, n, 7, 1);
		ASSERT_OK(cyc_alignment_curvature(Cv, &w.a, v, scratch));
		ASSERT_OK(cyc_alignment_curvature(Cu, &w.a, u, scratch));
		double vCv = 0, uCv = 0, vCu = 0, expected = 0;
		for (int64_t i = 0; i < n; i++) {
			vCv += v[i] * Cv[i];
			uCv += u[i] * Cv[i];
			vCu += v[i] * Cu[i];
			expected += v[i] * v[i];
		}
		ASSERT_OK(cyc_alignment_step(&w.a, v, h));
		for (int i = 0; i < N * T; i++) cyc_alignment_position(up[i], &w.a, i / T, i % T);
		ASSERT_OK(cyc_alignment_step(&w.a, v, -2 * h));
		for (int i = 0; i < N * T; i++) cyc_alignment_position(down[i], &w.a, i / T, i % T);
		for (int i = 0; i < N * T; i++) {
			if (!w.pairs[i].map) continue;
			double x = (up[i][0] - down[i][0]) / (2 * h), y = (up[i][1] - down[i][1]) / (2 * h),
				   scale = 1.3 * 1.3 * w.weight[i / T];
			expected += scale * (w.pairs[i].curve[0] * x * x + 2 * w.pairs[i].curve[1] * x * y +
			                     w.pairs[i].curve[2] * y * y);
		}
		assert_true(fabs(vCv - expected) < 1e-5 * expected);
		assert_true(fabs(uCv - vCu) < 1e-9 * fabs(vCv));
		double *const all[] = { v, u, Cv, Cu, scratch };
		for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(all[i]);
		drop_world();
	}
}

/* Without motion and deformation the preconditioner is the inverse of the curvature; a mode of the motion by
 * itself as well. */
static void elimination_inverts_the_curvature(void **state)
{
	(void)state;
	for (int has_motion = 0; has_motion < 2; has_motion++) {
		make_world(has_motion ? MOVING : STATIC);
		if (has_motion) w.a.do_angles = w.a.do_shifts = w.a.do_positions = false;
		w.motion = w.a.motion ? w.motion : NULL;
		if (has_motion) { /* particles that move alike are one mode, whose axes a view along z keeps apart */
			w.motion->n_modes = 1;
			for (int p = 0; p < N; p++) w.motion->modes[p] = 1;
			for (int f = 0; f < T; f++) w.projections[f].linear = cyc_mat3_identity();
			for (int i = 0; i < N * T; i++) w.pairs[i].curve[1] = 0;
		}
		ASSERT_OK(cyc_alignment_linearise(&w.a));
		int64_t n = cyc_alignment_n_parameters(&w.a);
		double *v = numbers(n), *Cv = numbers(n), *x = numbers(n),
			   *scratch = numbers(cyc_alignment_scratch(&w.a));
		cyc_schur *s = NULL;
		random_step(v, n, 9, 1);
		ASSERT_OK(cyc_alignment_curvature(Cv, &w.a, v, scratch));
		ASSERT_OK(cyc_schur_create(&s, &w.a));
		ASSERT_OK(cyc_schur_factor(s, &w.a));
		ASSERT_OK(cyc_schur_solve(x, s, &w.a, Cv));
		for (int64_t i = 0; i < n; i++) assert_true(fabs(x[i] - v[i]) < 1e-9);
		cyc_schur_destroy(&s);
		cyc_free(v);
		cyc_free(Cv);
		cyc_free(x);
		cyc_free(scratch);
		drop_world();
	}
}

static void gauge_keeps_positions_and_removes_the_mean_rotation(void **state)
{
	(void)state;
	make_world(MOVING);
	int64_t n = cyc_alignment_n_parameters(&w.a);
	double *v = numbers(n), before[N * T][2], after[2];
	random_step(v, n, 8, 0.5);
	for (int f = 0; f < T; f++) v[5 * f + 1] += 3; /* all tilts turn about Y */
	ASSERT_OK(cyc_alignment_step(&w.a, v, 1));
	for (int i = 0; i < N * T; i++) cyc_alignment_position(before[i], &w.a, i / T, i % T);
	cyc_alignment_fix_gauge(&w.a);
	for (int i = 0; i < N * T; i++) {
		cyc_alignment_position(after, &w.a, i / T, i % T);
		assert_true(fabs(after[0] - before[i][0]) < 1e-9 && fabs(after[1] - before[i][1]) < 1e-9);
	}
	double mean[3] = { 0, 0, 0 };
	for (int f = 0; f < T; f++) {
		cyc_mat3 R = w.projections[f].linear,
				 E = cyc_mat3_mul(cyc_mat3_transpose(R), cyc_mat3_mul(w.a.tilts[f].Q, R));
		mean[0] += E.m[2][1] - E.m[1][2];
		mean[1] += E.m[0][2] - E.m[2][0];
		mean[2] += E.m[1][0] - E.m[0][1];
	}
	for (int k = 0; k < 3; k++)
		assert_true(fabs(mean[k]) / (2 * T) < 3e-4); /* one tilt sees a particle less; rotations were 5e-3 */
	cyc_free(v);
	drop_world();
}

static void errors_shrink_with_information(void **state)
{
	(void)state;
	double tilt[2][5 * T], particle[2][3 * N];
	for (int k = 0; k < 2; k++) {
		make_world(STATIC);
		for (int i = 0; i < N * T && k == 1; i++)
			for (int c = 0; c < 3; c++) w.pairs[i].curve[c] *= 100;
		ASSERT_OK(cyc_alignment_errors(tilt[k], particle[k], &w.a));
		drop_world();
	}
	for (int i = 0; i < 3 * N; i++)
		assert_true(particle[1][i] < particle[0][i] && particle[0][i] < 3.0 && particle[1][i] > 0);
	for (int i = 0; i < 5 * T; i++)
		assert_true(tilt[1][i] < tilt[0][i] && tilt[1][i] > 0 && tilt[0][i] < (i % 5 < 3 ? 0.003 : 2.0));
}

/* An input that sharp images agree with to the last digit may have been refined on them: it is not nailed
 * down, by less than a tenth of a degree and 2 Å. One that they contradict has wide priors. (T6.7) */
static void agreement_does_not_nail_the_input_down(void **state)
{
	(void)state;
	static const double LEAST_DEG = 0.1, LEAST_A = 2, ROUNDING = 1e-9, WRONG_A = 20;
	for (int k = 0; k < 2; k++) {
		make_world(STATIC);
		for (int i = 0; i < N * T; i++)
			for (int c = 0; c < 3; c++) w.pairs[i].curve[c] *= 1e4;
		for (int f = 0; f < T && k == 1; f++) w.a.tilts[f].shift_A[0] = f % 2 ? WRONG_A : -WRONG_A;
		for (int round = 0; round < 3; round++) ASSERT_OK(cyc_alignment_learn_widths(&w.a));
		assert_true(w.a.widths.angle_input_rad >= cyc_deg_to_rad(LEAST_DEG) * (1 - ROUNDING));
		if (k == 0) assert_true(w.a.widths.shift_A >= LEAST_A && w.a.widths.shift_A < 2 * LEAST_A);
		else assert_true(w.a.widths.shift_A > 0.3 * WRONG_A);
		drop_world();
	}
}

/* Covariance of all parameters [rad, Å] from the curvature itself: n x n, by Gauss-Jordan elimination. */
static double *dense_covariance(int64_t n, bool tilts_are_held)
{
	double *M = numbers(n * n), *C = numbers(n * n), *v = numbers(n),
		   *scratch = numbers(cyc_alignment_scratch(&w.a));
	ASSERT_OK(cyc_alignment_linearise(&w.a));
	for (int64_t i = 0; i < n; i++) {
		memset(v, 0, (size_t)n * sizeof *v);
		v[i] = C[i * n + i] = 1;
		ASSERT_OK(cyc_alignment_curvature(M + i * n, &w.a, v, scratch));
	}
	for (int64_t i = 0; i < n * n && tilts_are_held; i++)
		if ((i / n < 5 * T) != (i % n < 5 * T)) M[i] = 0;
	for (int64_t i = 0; i < n; i++) {
		double pivot = M[i * n + i];
		for (int64_t j = 0; j < n; j++) {
			M[i * n + j] /= pivot;
			C[i * n + j] /= pivot;
		}
		for (int64_t k = 0; k < n; k++) {
			double factor = M[k * n + i];
			for (int64_t j = 0; j < n && k != i; j++) {
				M[k * n + j] -= factor * M[i * n + j];
				C[k * n + j] -= factor * C[i * n + j];
			}
		}
	}
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < n; j++) {
			double width[2];
			const int64_t at[2] = { i, j };
			for (int k = 0; k < 2; k++)
				width[k] = at[k] >= 5 * T  ? w.a.widths.position_A
				           : at[k] % 5 < 3 ? w.a.angle_width_rad[3 * (at[k] / 5) + at[k] % 5]
				                           : w.a.shift_width_A[at[k] / 5];
			C[i * n + j] *= width[0] * width[1];
		}
	cyc_free(M);
	cyc_free(v);
	cyc_free(scratch);
	return C;
}

/* Variances of n numbers x = L theta less their weighted least squares fit by m columns of B, by
 * orthogonalising the columns. */
static void variances_without(double *out, const double *L, const double *B, const double *weight, int n,
                              int m, const double *C, int64_t n_all)
{
	double *Q = numbers(n * m), *R = numbers(n * n_all);
	for (int k = 0; k < m; k++) { /* Gram-Schmidt in the weighted product */
		for (int i = 0; i < n; i++) Q[i * m + k] = B[i * m + k];
		for (int l = 0; l <= k; l++) {
			double dot = 0;
			for (int i = 0; i < n; i++) dot += weight[i] * Q[i * m + k] * Q[i * m + l];
			for (int i = 0; i < n; i++)
				Q[i * m + k] = l < k ? Q[i * m + k] - dot * Q[i * m + l] : Q[i * m + k] / sqrt(dot);
		}
	}
	for (int i = 0; i < n; i++)
		for (int64_t c = 0; c < n_all; c++) {
			double v = L[i * n_all + c];
			for (int k = 0; k < m; k++)
				for (int j = 0; j < n; j++) v -= Q[i * m + k] * Q[j * m + k] * weight[j] * L[j * n_all + c];
			R[i * n_all + c] = v;
		}
	for (int i = 0; i < n; i++) {
		out[i] = 0;
		for (int64_t c = 0; c < n_all; c++)
			for (int64_t d = 0; d < n_all; d++)
				out[i] += R[i * n_all + c] * C[c * n_all + d] * R[i * n_all + d];
	}
	cyc_free(Q);
	cyc_free(R);
}

static void assert_errors(const char *what, const double *errors, const double *variances, int n,
                          double tolerance)
{
	for (int i = 0; i < n; i++)
		if (!(fabs(errors[i] / sqrt(variances[i]) - 1) < tolerance))
			fail_msg("%s %d: error %g, by brute force %g", what, i, errors[i], sqrt(variances[i]));
}

/* What users get holds neither a common offset nor a common rotation of the specimen. */
static void free_errors_are_those_without_the_gauge(void **state)
{
	(void)state;
	double tilt[5 * T], particle[3 * N], motion[T], by_tilts[3 * N], raw_tilt[5 * T], raw_particle[3 * N],
		B[3 * (N + T) * 6], errors[3 * (N + T)], found[3 * (N + T)], one[3 * (N + T)], weight[2 * T] = { 0 };
	double sum = 0, raw_sum = 0;
	make_world(STATIC);
	w.a.widths.shift_A = w.a.widths.position_A = 20; /* the gauge is hardly known */
	ASSERT_OK(cyc_alignment_set_priors(&w.a));
	int64_t n = cyc_alignment_n_parameters(&w.a);
	double *C = dense_covariance(n, false), *L = numbers(3 * (N + T) * n);
	for (int i = 0; i < 3 * (N + T); i++) one[i] = 1;
	ASSERT_OK(cyc_alignment_free_errors(tilt, particle, motion, by_tilts, &w.a));
	ASSERT_OK(cyc_alignment_errors(raw_tilt, raw_particle, &w.a));
	for (int i = 0; i < 3 * N; i++) {
		const double x[3] = { w.positions[i / 3].x, w.positions[i / 3].y, w.positions[i / 3].z };
		L[i * n + 5 * T + i] = 1;
		for (int k = 0; k < 3; k++) {
			int j = 3 - k - i % 3; /* the third axis */
			B[i * 6 + k] = k == i % 3;
			B[i * 6 + 3 + k] = k == i % 3 ? 0 : (k == (i + 1) % 3 ? x[j] : -x[j]); /* e_k x r */
		}
		assert_true(raw_particle[i] > 3 * particle[i]);
	}
	for (int p = 0; p < N; p++) { /* the share of the images in what is known, axes taken together */
		double told = 0;
		for (int f = 0; f < T; f++) {
			const double *c = w.pairs[p * T + f].curve;
			double g[2][3], scale = 1.3 * 1.3 * w.weight[p] / cyc_square(w.ts.pixel_size_A);
			for (int k = 0; k < 3; k++)
				for (int i = 0; i < 2; i++) g[i][k] = w.projections[f].linear.m[i][k];
			for (int k = 0; k < 3 && w.pairs[p * T + f].map; k++)
				told += scale *
				        (c[0] * g[0][k] * g[0][k] + 2 * c[1] * g[0][k] * g[1][k] + c[2] * g[1][k] * g[1][k]);
		}
		for (int k = 0; k < 3; k++) one[3 * p + k] = told / (told + 3 / cyc_square(w.a.widths.position_A));
	}
	variances_without(found, L, B, one, 3 * N, 6, C, n);
	assert_errors("position", particle, found, 3 * N, 1e-6);
	double *held = dense_covariance(n, true);
	variances_without(errors, L, B, one, 3 * N, 6, held, n);
	for (int i = 0; i < 3 * N; i++) {
		found[i] -= errors[i]; /* what the tilts' errors are of it */
		sum += found[i];
		raw_sum += errors[i];
	}
	print_message("places: %.3g of the variance with the tilts held is added by the tilts\n", sum / raw_sum);
	assert_true(sum > 0.01 * raw_sum);
	sum = raw_sum = 0;
	assert_errors("position by the tilts", by_tilts, found, 3 * N, 1e-5);
	cyc_free(held);
	for (int i = 0; i < 3 * (N + T); i++) one[i] = 1;
	memset(L, 0, (size_t)(3 * (N + T) * n) * sizeof *L);
	for (int i = 0; i < 3 * T; i++) {
		cyc_mat3 R = cyc_tilt_to_matrix(w.tilts[i / 3].xtilt_rad, w.tilts[i / 3].ytilt_rad, 0);
		double y = w.tilts[i / 3].ytilt_rad;
		for (int k = 0; k < 3; k++) B[i * 3 + k] = R.m[i % 3][k];
		L[i * n + 5 * (i / 3) + i % 3] = i % 3 == 0 ? cos(y) : 1;
		if (i % 3 == 2) L[i * n + 5 * (i / 3)] = -sin(y);
		errors[i] = tilt[5 * (i / 3) + i % 3];
	}
	variances_without(found, L, B, one, 3 * T, 3, C, n);
	assert_errors("turn", errors, found, 3 * T, 1e-6);
	memset(L, 0, (size_t)(3 * (N + T) * n) * sizeof *L);
	for (int i = 0; i < 2 * T; i++) {
		for (int k = 0; k < 3; k++) B[i * 3 + k] = w.projections[i / 2].linear.m[i % 2][k];
		L[i * n + 5 * (i / 2) + 3 + i % 2] = 1;
		errors[i] = tilt[5 * (i / 2) + 3 + i % 2];
		for (int p = 0; p < N; p++)
			weight[i] +=
				w.pairs[p * T + i / 2].map ? w.weight[p] * w.pairs[p * T + i / 2].curve[2 * (i % 2)] : 0;
		sum += cyc_square(errors[i]);
		raw_sum += cyc_square(raw_tilt[5 * (i / 2) + 3 + i % 2]);
	}
	print_message("shifts: %g with the gauge, %g without\n", sqrt(raw_sum / (2 * T)), sqrt(sum / (2 * T)));
	assert_true(raw_sum > 4 * sum);
	variances_without(found, L, B, weight, 2 * T, 3, C, n);
	assert_errors("shift", errors, found, 2 * T, 1e-6);
	cyc_free(C);
	cyc_free(L);
	drop_world();
}

/* What a mode's amplitude at one tilt is known to when the tilt's five parameters are not: from the inverse
 * of the 6 x 6 curvature. */
static void precision_of_modes_with_free_tilts(void **state)
{
	(void)state;
	make_world(MOVING);
	int n_modes = w.motion->n_modes;
	double *held = numbers(3 * T * n_modes), *found = numbers(3 * T * n_modes);
	ASSERT_OK(cyc_alignment_linearise(&w.a));
	double largest = 0;
	for (int pass = 0; pass < 2; pass++) {
		if (pass == 1) ASSERT_OK(cyc_alignment_free_precision(found, &w.a, held));
		for (int t = 0; t < T; t++)
			for (int k = 0; k < 3; k++)
				for (int b = 0; b < n_modes; b++) {
					double M[6][12] = { { 0 } };
					int f = w.order[t], at = (3 * t + k) * n_modes + b;
					for (int p = 0; p < N; p++) {
						const cyc_linear_pair *j = cyc_linear_of(&w.a, p, f);
						double c[6][2], m = w.motion->modes[p * n_modes + b];
						for (int i = 0; i < 2; i++) {
							for (int l = 0; l < 3; l++) c[l][i] = j->angle[i][l];
							for (int l = 0; l < 2; l++) c[3 + l][i] = j->shift[i][l];
							c[5][i] = m * j->axes[i][k];
						}
						for (int r = 0; r < 6; r++)
							for (int l = 0; l < 6; l++)
								M[r][l] += c[r][0] * (j->H[0] * c[l][0] + j->H[1] * c[l][1]) +
								           c[r][1] * (j->H[1] * c[l][0] + j->H[2] * c[l][1]);
					}
					held[at] = M[5][5];
					if (pass == 0) continue;
					for (int r = 0; r < 6; r++) {
						M[r][r] += r < 5 ? 1 : 1e-9; /* priors of the tilt; none of the mode */
						M[r][6 + r] = 1;
					}
					for (int r = 0; r < 6; r++) {
						double pivot = M[r][r];
						for (int l = 0; l < 12; l++) M[r][l] /= pivot;
						for (int q = 0; q < 6; q++) {
							double factor = M[q][r];
							for (int l = 0; l < 12 && q != r; l++) M[q][l] -= factor * M[r][l];
						}
					}
					if (!(fabs(1 / M[5][11] - found[at]) < 1e-6 * (1 + held[at])))
						fail_msg("tilt %d, axis %d, mode %d: precision %g, by inversion %g", t, k, b,
						         found[at], 1 / M[5][11]);
					largest = fmax(largest, held[at] > 0 ? 1 - found[at] / held[at] : 0);
				}
	}
	assert_true(largest > 0.9); /* the first mode moves all alike: a shift makes up for it */
	cyc_free(held);
	cyc_free(found);
	drop_world();
}

/* Turns with the motion unknown, by inversion of the curvature of all modes and the tilt's five parameters;
 * better images leave more of the variance to motion, but never more than its own. */
static void turns_that_may_be_motion(void **state)
{
	(void)state;
	make_world(MOVING);
	enum { MOST = CYC_PER_TILT + 3 * N };
	int n_modes = w.motion->n_modes, n = CYC_PER_TILT + 3 * n_modes;
	double prior[T], turns[3 * T], (*M)[2 * MOST] = (void *)numbers(2 * MOST * MOST);
	assert_true(n <= MOST);
	for (int t = 0; t < T; t++) prior[t] = 0.5 + 0.1 * t;
	prior[2] = 0;
	ASSERT_OK(cyc_alignment_linearise(&w.a));
	ASSERT_OK(cyc_alignment_turns_in_motion(turns, &w.a, prior));
	for (int t = 0; t < T; t++) {
		int f = w.order[t];
		double variances[2][3], rows[3][CYC_PER_TILT];
		cyc_alignment_turn_rows(rows, w.a.base_angles[3 * f + 1] + w.a.angles[3 * f + 1]);
		for (int pass = 0; pass < 2; pass++) { /* motion known, unknown */
			memset(M, 0, MOST * sizeof *M);
			for (int p = 0; p < N; p++) {
				const cyc_linear_pair *j = cyc_linear_of(&w.a, p, f);
				double c[MOST][2];
				for (int i = 0; i < 2; i++) {
					for (int l = 0; l < 3; l++) c[l][i] = j->angle[i][l];
					for (int l = 0; l < 2; l++) c[3 + l][i] = j->shift[i][l];
					for (int q = 0; q < 3 * n_modes; q++)
						c[CYC_PER_TILT + q][i] =
							w.motion->modes[p * n_modes + q % n_modes] * j->axes[i][q / n_modes];
				}
				for (int r = 0; r < n; r++)
					for (int l = 0; l < n; l++)
						M[r][l] += c[r][0] * (j->H[0] * c[l][0] + j->H[1] * c[l][1]) +
						           c[r][1] * (j->H[1] * c[l][0] + j->H[2] * c[l][1]);
			}
			for (int r = 0; r < n; r++) {
				M[r][r] += r < CYC_PER_TILT ? 1 : pass == 1 && prior[t] > 0 ? 1 / prior[t] : 1e12;
				M[r][n + r] = 1;
			}
			for (int r = 0; r < n; r++) {
				double pivot = M[r][r];
				for (int l = 0; l < 2 * n; l++) M[r][l] /= pivot;
				for (int q = 0; q < n; q++) {
					double times = M[q][r];
					for (int l = 0; l < 2 * n && q != r; l++) M[q][l] -= times * M[r][l];
				}
			}
			for (int i = 0; i < 3; i++) {
				variances[pass][i] = 0;
				for (int k = 0; k < 3; k++)
					for (int l = 0; l < 3; l++)
						variances[pass][i] += rows[i][k] * w.a.angle_width_rad[3 * f + k] * rows[i][l] *
						                      w.a.angle_width_rad[3 * f + l] * M[k][n + l];
			}
		}
		for (int i = 0; i < 3; i++) {
			double wanted = variances[1][i] - variances[0][i];
			if (!(fabs(turns[3 * f + i] - wanted) <= 1e-6 * variances[1][i]))
				fail_msg("tilt %d, axis %d: variance %g, by inversion %g", t, i, turns[3 * f + i], wanted);
			assert_true(t == 2 ? turns[3 * f + i] == 0 : turns[3 * f + i] > 0);
		}
	}
	/* Images a thousand times better: a rotation that motion contains is known no better. */
	double better[3 * T];
	for (int i = 0; i < N * T; i++)
		for (int k = 0; k < 3; k++) w.pairs[i].curve[k] *= 1e3;
	ASSERT_OK(cyc_alignment_linearise(&w.a));
	ASSERT_OK(cyc_alignment_turns_in_motion(better, &w.a, prior));
	for (int i = 0; i < 3 * T; i++)
		if (turns[i] > 0 && !(better[i] > 0.5 * turns[i]))
			fail_msg("number %d: variance %g, with better images %g", i, turns[i], better[i]);
	cyc_free(M);
	drop_world();
}

/* Posterior of one chain in information form: offset and steps, seen as sums. C is T x T, offset first. */
static void chain_posterior(double C[T][T], double offset_variance, const double *precision)
{
	double M[T][2 * T] = { { 0 } };
	for (int i = 0; i < T; i++) {
		M[i][i] = 1 / (i == 0 ? offset_variance : cyc_square(cyc_step_sigma(&w.a, (size_t)i - 1)));
		M[i][T + i] = 1;
		for (int j = 0; j < T; j++)
			for (int t = i > j ? i : j; t < T; t++) M[i][j] += precision[t];
	}
	for (int r = 0; r < T; r++) {
		double pivot = M[r][r];
		for (int c = 0; c < 2 * T; c++) M[r][c] /= pivot;
		for (int q = 0; q < T; q++) {
			double factor = M[q][r];
			for (int c = 0; c < 2 * T && q != r; c++) M[q][c] -= factor * M[r][c];
		}
	}
	for (int i = 0; i < T; i++)
		for (int j = 0; j < T; j++) C[i][j] = M[i][T + j];
}

static double quadratic(double C[T][T], const double v[T])
{
	double sum = 0;
	for (int i = 0; i < T; i++)
		for (int j = 0; j < T; j++) sum += v[i] * C[i][j] * v[j];
	return sum;
}

/* Errors of the motion and what it leaves of places, against the posterior of offset and steps by inversion.
 */
static void motion_errors_are_those_of_the_posterior(void **state)
{
	(void)state;
	make_world(MOVING);
	int B = w.motion->n_modes;
	double *precision = numbers(3 * T * B), motion[T], extra[3 * N], turns[3 * T], walk[T] = { 0 },
		   places[3 * N] = { 0 };
	for (int i = 0; i < 3 * T * B; i++) precision[i] = i % 11 == 0 ? 0 : 0.3 + 0.2 * cos(i);
	ASSERT_OK(cyc_alignment_linearise(&w.a));
	ASSERT_OK(cyc_alignment_motion_errors(motion, extra, turns, &w.a, precision));
	for (int c = 0; c < 3 * B; c++) {
		double D[T], C[T][T], v[T], norm = 0, all = 0, offset;
		for (int p = 0; p < N; p++) norm += cyc_square(w.motion->modes[p * B + c % B]);
		for (int t = 0; t < T; t++) all += D[t] = precision[3 * t * B + c];
		offset = cyc_square(w.a.widths.position_A) / norm;
		chain_posterior(C, offset, D);
		for (int t = 0; t < T; t++) {
			for (int i = 0; i < T; i++) v[i] = i > 0 && i <= t;
			walk[w.order[t]] += norm * quadratic(C, v) / (3.0 * N);
		}
		for (int i = 0; i < T; i++) v[i] = (double)(T - i) / T; /* offset and mean of the sums */
		double more = quadratic(C, v) - offset / (1 + offset * all);
		for (int p = 0; p < N; p++)
			places[3 * p + c / B] += cyc_square(w.motion->modes[p * B + c % B]) * fmax(more, 0);
	}
	for (int t = 0; t < T; t++)
		if (!(fabs(motion[t] - sqrt(walk[t])) < 1e-6))
			fail_msg("motion at tilt %d: error %g, by inversion %g", t, motion[t], sqrt(walk[t]));
	for (int i = 0; i < 3 * N; i++)
		if (!(fabs(extra[i] - places[i]) < 1e-6))
			fail_msg("place %d: variance %g more, by inversion %g", i, extra[i], places[i]);
	double sum[T] = { 0 }, prior[T], wanted[3 * T];
	for (int t = 1; t < T; t++) sum[t] = sum[t - 1] + cyc_square(cyc_step_sigma(&w.a, (size_t)t - 1));
	for (int t = 0; t < T; t++) {
		prior[t] = sum[t];
		for (int r = 0; r < T; r++) {
			prior[t] -= 2 * fmin(sum[r], sum[t]) / T;
			for (int q = 0; q < T; q++) prior[t] += fmin(sum[r], sum[q]) / T / T;
		}
	}
	ASSERT_OK(cyc_alignment_turns_in_motion(wanted, &w.a, prior));
	for (int i = 0; i < 3 * T; i++) assert_true(wanted[i] > 0 && fabs(turns[i] / wanted[i] - 1) < 1e-9);
	cyc_free(precision);
	drop_world();
}

/* Y tilts against stage angles: the sign, and whether there is a relation at all; two tilts of nine are
 * anywhere. */
static void stage_relation(void **state)
{
	(void)state;
	enum { M = 9 };
	cyc_tilt tilts[M];
	double angles[3 * M] = { 0 };
	cyc_tilt_series ts = { .name = "test", .n_tilts = M, .tilts = tilts };
	cyc_stage_relation r;
	for (int k = 0; k < 4; k++) { /* rises, falls, no relation, no stage angles */
		memset(tilts, 0, sizeof tilts);
		for (int f = 0; f < M; f++) {
			tilts[f].has_nominal_tilt = k < 3;
			tilts[f].nominal_tilt_rad = 0.1 * (f - M / 2);
			angles[3 * f + 1] =
				0.02 + (k == 2 ? 0.4 * sin(2.5 * f * f + 1) : (k == 1 ? -1 : 1) * tilts[f].nominal_tilt_rad) +
				0.002 * cos(5 * f);
			if (f == 2 || f == 7) angles[3 * f + 1] += 0.3;
		}
		ASSERT_OK(cyc_stage_relation_find(&r, &ts, angles));
		assert_int_equal(r.is_known, k < 3);
		assert_int_equal(r.sign, k == 1 ? -1 : k == 2 ? 0 : 1);
		if (k < 2)
			assert_true(fabs(r.slope - (k == 1 ? -1 : 1)) < 0.05 && r.scatter_rad < 0.01 &&
			            r.slope_error < 0.02);
	}
}

/* The error is that of the sum, and three outcomes come from it: with a true gain of 0 in every twentieth
 * case at most a difference is seen. */
static void outcomes_have_their_error(void **state)
{
	(void)state;
	enum { PARTS = 30, TRIALS = 2000 };
	int n[3] = { 0 };
	double d[PARTS], error, mean_error = 0, square = 0;
	for (int t = 0; t < TRIALS; t++) {
		double sum = 0;
		cyc_rng r = cyc_rng_make(11, 0, (uint64_t)t);
		for (int i = 0; i < PARTS; i++) sum += d[i] = 3 * cyc_rng_normal(&r);
		n[cyc_polish_judge(&error, d, PARTS, 0)]++;
		mean_error += error * error / TRIALS;
		square += sum * sum / TRIALS;
	}
	assert_true(fabs(mean_error / square - 1) < 0.1);
	int wrong = n[CYC_POLISH_BETTER] + n[CYC_POLISH_WORSE];
	if (!(wrong > 0.035 * TRIALS && wrong < 0.065 * TRIALS))
		fail_msg("%d of %d trials without a difference show one", wrong, TRIALS);
	for (int i = 0; i < PARTS; i++) d[i] = 1 + 0.1 * cos(i);
	assert_int_equal(cyc_polish_judge(&error, d, PARTS, 0), CYC_POLISH_BETTER);
	for (int i = 0; i < PARTS; i++) d[i] = -d[i];
	assert_int_equal(cyc_polish_judge(&error, d, PARTS, 0), CYC_POLISH_WORSE);
	assert_int_equal(cyc_polish_judge(&error, d, PARTS, PARTS), CYC_POLISH_NO_DIFFERENCE);
	assert_int_equal(cyc_polish_judge(&error, d, 1, 0), CYC_POLISH_NO_DIFFERENCE);
}

/* A tilt that shows nothing gets no strength, whatever the others' spread; it then says nothing about the
 * particles. */
static void a_tilt_without_signal_has_no_strength(void **state)
{
	(void)state;
	make_world(STATIC);
	for (int i = 0; i < N * T; i++) w.pairs[i].power = 400; /* strengths are known to some percent */
	for (int i = 0; i < N * T; i++)
		for (int j = 0; j < GRID * GRID; j++) w.maps[i][j] = i % T == 4 ? 0 : w.maps[i][j] * 500;
	w.a.is_unweighted = false;
	ASSERT_OK(cyc_alignment_learn_strengths(&w.a, false));
	for (int f = 0; f < T; f++)
		if (!(f == 4 ? w.strength[f] < 0.05 : fabs(w.strength[f] - 1) < 0.4))
			fail_msg("tilt %d has strength %.3f", f, w.strength[f]);
	drop_world();
}

/* What is learned from a solution whose errors are nil: shifts of +-sigma about the input, with those of the
 * last tilt off by `outlier`. */
static void learn_widths_of(double shift_sigma_A, double angle_sigma_rad, double outlier_A, uint64_t trial)
{
	static const double CERTAIN = 1e9; /* of curvature, over that of the world's maps */
	cyc_rng r = cyc_rng_make(17, 1, trial);
	make_world(STATIC);
	for (int i = 0; i < N * T; i++)
		for (int k = 0; k < 3; k++) w.pairs[i].curve[k] *= CERTAIN;
	for (int f = 0; f < T; f++) {
		for (int k = 0; k < 3; k++) w.a.angles[3 * f + k] = angle_sigma_rad * cyc_rng_normal(&r);
		for (int k = 0; k < 2; k++)
			w.a.tilts[f].shift_A[k] = shift_sigma_A * cyc_rng_normal(&r) + (f == T - 1 ? outlier_A : 0);
	}
	ASSERT_OK(cyc_alignment_learn_widths(&w.a));
}

/* An input that the solution agrees with to the last digit is not taken for certain: the floors of (T6.7). */
static void agreement_with_the_input_has_a_floor(void **state)
{
	(void)state;
	static const double FLOOR_DEG = 0.1, FLOOR_A = 2, ROUNDING = 1e-6;
	learn_widths_of(0, 0, 0, 0);
	assert_float_equal(cyc_rad_to_deg(w.a.widths.angle_input_rad), FLOOR_DEG, ROUNDING);
	assert_float_equal(w.a.widths.shift_A, FLOOR_A, ROUNDING);
	drop_world();
}

/* Widths are those of the numbers, with ten that are expected among them; and a tilt that is far off changes
 * them by less than half. (T6.7) */
static void widths_are_those_of_the_numbers(void **state)
{
	(void)state;
	enum { TRIALS = 60, PSEUDO = 10, N_SHIFTS = 2 * T };
	static const double SIGMA_A = 6, FAR_A = 300, EXPECTED_A = 1;
	/* 14 numbers in each of 60 trials are known to 3 %, what the cut takes from few of them included. */
	static const double CLOSE = 0.1, MOST_BY_OUTLIER = 1.5;
	double mean[2] = { 0, 0 };
	for (int is_off = 0; is_off < 2; is_off++)
		for (int t = 0; t < TRIALS; t++) {
			learn_widths_of(SIGMA_A, 0.01, is_off ? FAR_A : 0, (uint64_t)t);
			mean[is_off] += cyc_square(w.a.widths.shift_A) / TRIALS;
			drop_world();
		}
	double expected = (N_SHIFTS * SIGMA_A * SIGMA_A + PSEUDO * EXPECTED_A * EXPECTED_A) / (N_SHIFTS + PSEUDO);
	print_message("width of shifts %.2f A, expected %.2f; %.2f with a tilt that is far off\n", sqrt(mean[0]),
	              sqrt(expected), sqrt(mean[1]));
	assert_true(fabs(sqrt(mean[0] / expected) - 1) < CLOSE);
	assert_true(mean[1] < cyc_square(MOST_BY_OUTLIER) * mean[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(spline),
		                                cmocka_unit_test(modes_reproduce_the_covariance),
		                                cmocka_unit_test(relative_modes_have_no_mean),
		                                cmocka_unit_test(elimination_inverts_the_curvature),
		                                cmocka_unit_test(gradient_in_every_block),
		                                cmocka_unit_test(curvature_is_that_of_the_displacements),
		                                cmocka_unit_test(gauge_keeps_positions_and_removes_the_mean_rotation),
		                                cmocka_unit_test(errors_shrink_with_information),
		                                cmocka_unit_test(agreement_does_not_nail_the_input_down),
		                                cmocka_unit_test(free_errors_are_those_without_the_gauge),
		                                cmocka_unit_test(stage_relation),
		                                cmocka_unit_test(precision_of_modes_with_free_tilts),
		                                cmocka_unit_test(turns_that_may_be_motion),
		                                cmocka_unit_test(motion_errors_are_those_of_the_posterior),
		                                cmocka_unit_test(outcomes_have_their_error),
		                                cmocka_unit_test(a_tilt_without_signal_has_no_strength),
		                                cmocka_unit_test(agreement_with_the_input_has_a_floor),
		                                cmocka_unit_test(widths_are_those_of_the_numbers) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

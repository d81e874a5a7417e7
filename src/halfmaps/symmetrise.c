#include "halfmaps/sums.h"

#include <math.h>
#include <string.h>

typedef float v4 __attribute__((vector_size(16)));

/* Axes permuted and mirrored: voxels land on voxels. All of O, and the two- and four-folds of the others. */
static bool is_permutation(const cyc_mat3 *R)
{
	for (int i = 0; i < 9; i++) {
		double v = fabs(R->m[i / 3][i % 3]);
		if (v > 1e-12 && fabs(v - 1) > 1e-12) return false;
	}
	return true;
}

cyc_status cyc_fourier_ops(cyc_fourier_op **out, int32_t *n, const char *symmetry, int32_t n_asu,
                           double rise_A, double twist_rad, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	cyc_symmetry *group = NULL;
	*out = NULL;
	*n = 0;
	CYC_CHECK(n_asu >= 1, CYC_E_USAGE, "the number of helical asymmetric units must be at least 1, got %d",
	          n_asu);
	CYC_TRY(cyc_symmetry_create(&group, symmetry));
	CYC_TRY(cyc_alloc(out, (size_t)group->n * (size_t)n_asu, sizeof **out));
	/* Units -floor(n/2) .. up, so that the helix stays centred; group and helix are multiplied out. */
	for (int32_t i = 0; i < n_asu; i++) {
		int32_t h = i - n_asu / 2;
		for (int32_t g = 0; g < group->n; g++) {
			if (g == 0 && h == 0) continue;
			cyc_mat3 R = cyc_mat3_mul(cyc_rot_z(-h * twist_rad), group->ops[g]);
			(*out)[(*n)++] = (cyc_fourier_op){ R, -h * rise_A / pixel_size_A, is_permutation(&R) };
		}
	}
done:
	cyc_symmetry_destroy(&group);
	return st;
}

typedef struct {
	const cyc_ball *ball; /* of both, with its rim */
	v4 *out;
	const v4 *sum;
	int32_t s, radius, top, n_ops; /* frequencies -s/2 and s/2 are one, and stay 0 */
	const cyc_fourier_op *ops;
} work;

static inline const v4 *row_at(const work *a, int32_t z, int32_t y)
{
	return a->sum + a->ball->first[cyc_ball_row(a->ball, z, y)];
}

static inline v4 sample(const work *a, float x, float y, float z)
{
	float mirror = x < 0 ? -1.F : 1.F;
	x *= mirror;
	y *= mirror;
	z *= mirror;
	float yf = floorf(y), zf = floorf(z);
	int32_t x0 = (int32_t)x, y0 = (int32_t)yf, z0 = (int32_t)zf;
	float fx = x - (float)x0, fy = y - yf, fz = z - zf;
	const v4 *q = row_at(a, z0, y0) + x0, *b = row_at(a, z0, y0 + 1) + x0, *c = row_at(a, z0 + 1, y0) + x0,
			 *d = row_at(a, z0 + 1, y0 + 1) + x0;
	v4 va = q[0] + fx * (q[1] - q[0]), vb = b[0] + fx * (b[1] - b[0]), vc = c[0] + fx * (c[1] - c[0]),
	   vd = d[0] + fx * (d[1] - d[0]);
	v4 low = va + fy * (vb - va), high = vc + fy * (vd - vc);
	return (low + fz * (high - low)) * (v4){ 1, mirror, 1, 1 };
}

/* Voxels land on voxels: those of a row come from a row, as it is or mirrored, or from the same place of as
 * many rows, in the order in which these are stored. */
static void add_permuted(v4 *row, const work *a, const cyc_mat3 *R, int32_t ky, int32_t kz, int32_t last)
{
	const v4 CONJUGATE = { 1, -1, 1, 1 }, SAME = { 1, 1, 1, 1 };
	int32_t from[3], step[3]; /* of voxel 0, and from one to the next */
	for (int i = 0; i < 3; i++) {
		from[i] = (int32_t)round(R->m[i][1]) * ky + (int32_t)round(R->m[i][2]) * kz;
		step[i] = (int32_t)round(R->m[i][0]);
	}
	if (step[0] != 0) {
		const v4 *along = row_at(a, step[0] * from[2], step[0] * from[1]),
				 sign = step[0] < 0 ? CONJUGATE : SAME;
		row[0] += row_at(a, from[2], from[1])[0];
		for (int32_t x = 1; x <= last; x++) row[x] += along[x] * sign;
		return;
	}
	int32_t mirror = from[0] < 0 ? -1 : 1, y = mirror * from[1], z = mirror * from[2];
	const v4 *column = a->sum + mirror * from[0], sign = mirror < 0 ? CONJUGATE : SAME;
	const size_t *first = a->ball->first + cyc_ball_row(a->ball, z, y);
	int64_t next = last == 0 ? 0
	                         : (int64_t)cyc_ball_row(a->ball, z + mirror * step[2], y + mirror * step[1]) -
	                               (int64_t)cyc_ball_row(a->ball, z, y);
	for (int64_t x = 0; x <= last; x++) row[x] += column[first[x * next]] * sign;
}

/* Add one operation's share to a row of voxels x = 0 .. last. */
CYC_SIMD static void add_row(v4 *row, const work *a, const cyc_fourier_op *op, int32_t ky, int32_t kz,
                             int32_t last)
{
	const cyc_mat3 *R = &op->R;
	if (op->is_permutation && op->shift_z_px == 0) {
		add_permuted(row, a, R, ky, kz, last);
		return;
	}
	double phase = 2 * CYC_PI * kz * op->shift_z_px / a->s;
	float c = (float)cos(phase), sn = (float)sin(phase), o[3], d[3];
	for (int i = 0; i < 3; i++) {
		o[i] = (float)(R->m[i][1] * ky + R->m[i][2] * kz);
		d[i] = (float)R->m[i][0];
	}
	for (int32_t x = 0; x <= last; x++) {
		float fx = (float)x;
		v4 v = sample(a, o[0] + d[0] * fx, o[1] + d[1] * fx, o[2] + d[2] * fx);
		row[x] += (v4){ c * v[0] - sn * v[1], c * v[1] + sn * v[0], v[2], 0 };
	}
}

static cyc_status plane_task(void *arg, int64_t i_plane, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	int32_t R = a->radius, kz = (int32_t)i_plane - a->top;
	float share = (float)(1.0 / (a->n_ops + 1));
	for (int32_t ky = -a->top; ky <= a->top; ky++) {
		int64_t left = (int64_t)R * R - (int64_t)ky * ky - (int64_t)kz * kz;
		if (left < 0) continue;
		int32_t last = (int32_t)sqrt((double)left);
		size_t first = a->ball->first[cyc_ball_row(a->ball, kz, ky)];
		v4 *row = a->out + first;
		memcpy(row, a->sum + first, (size_t)(last + 1) * sizeof *row);
		for (int32_t i = 0; i < a->n_ops; i++) add_row(row, a, &a->ops[i], ky, kz, last);
		for (int32_t x = 0; x <= last; x++) row[x] *= share;
	}
	return CYC_OK;
}

/* ---------------------------------------------------------------- groups of permutations */

enum { MOST_PERMUTATIONS = 24, MOST_STEPS = 6 }; /* all rotations of the cube */

static bool is_same(const cyc_mat3 *a, const cyc_mat3 *b)
{
	for (int i = 0; i < 9; i++)
		if (fabs(a->m[i / 3][i % 3] - b->m[i / 3][i % 3]) > 0.5) return false;
	return true;
}

static bool has(const cyc_mat3 *set, int32_t n, const cyc_mat3 *R)
{
	for (int32_t i = 0; i < n; i++)
		if (is_same(&set[i], R)) return true;
	return false;
}

/* The subgroup that a subgroup and one more element make. */
static int32_t close_group(cyc_mat3 *out, const cyc_mat3 *H, int32_t n, const cyc_mat3 *g)
{
	for (int32_t i = 0; i < n; i++) out[i] = H[i];
	out[n++] = *g;
	for (int32_t i = 0; i < n; i++)
		for (int32_t j = 0; j < n && n < MOST_PERMUTATIONS; j++) {
			cyc_mat3 R = cyc_mat3_mul(out[i], out[j]);
			if (!has(out, n, &R)) out[n++] = R;
		}
	return n;
}

/* One average of a chain: over the cosets of the subgroup that was averaged over before. */
typedef struct {
	int32_t n_ops;
	cyc_fourier_op ops[MOST_PERMUTATIONS];
} step;

/*
 * A chain of subgroups from {1} to the group, each as small as can be: averaging over the cosets H r of each
 * in the next, D'(p) = mean over r of D(r p), needs 5 operations in 4 steps in place of the 23 of O.
 * Permutations only: those do not interpolate. 0 steps: not such a group.
 */
static int32_t find_chain(step *steps, const cyc_fourier_op *ops, int32_t n_ops)
{
	cyc_mat3 H[MOST_PERMUTATIONS + 1] = { cyc_mat3_identity() }, next[MOST_PERMUTATIONS + 1],
								   best[MOST_PERMUTATIONS + 1];
	int32_t n = 1, n_steps = 0;
	if (n_ops + 1 > MOST_PERMUTATIONS) return 0;
	for (int32_t i = 0; i < n_ops; i++)
		if (!ops[i].is_permutation || ops[i].shift_z_px != 0) return 0;
	while (n < n_ops + 1 && n_steps < MOST_STEPS) {
		int32_t n_best = MOST_PERMUTATIONS + 1;
		for (int32_t i = 0; i < n_ops; i++) {
			if (has(H, n, &ops[i].R)) continue;
			int32_t m = close_group(next, H, n, &ops[i].R);
			if (m < n_best) {
				n_best = m;
				memcpy(best, next, (size_t)m * sizeof *best);
			}
		}
		/* Representatives r of H r, the first element of each that is in none before. */
		cyc_mat3 seen[MOST_PERMUTATIONS + 1];
		int32_t n_seen = n;
		step *to = &steps[n_steps++];
		memcpy(seen, H, (size_t)n * sizeof *seen);
		to->n_ops = 0;
		for (int32_t i = 0; i < n_best; i++) {
			if (has(seen, n_seen, &best[i])) continue;
			to->ops[to->n_ops++] = (cyc_fourier_op){ best[i], 0, true };
			for (int32_t k = 0; k < n && n_seen < MOST_PERMUTATIONS; k++)
				seen[n_seen++] = cyc_mat3_mul(H[k], best[i]);
		}
		memcpy(H, best, (size_t)n_best * sizeof *H);
		n = n_best;
	}
	return n == n_ops + 1 ? n_steps : 0;
}

/* Average `sum` over operations into `other`; the two change places. */
static cyc_status average(cyc_half_sum **sum, cyc_half_sum **other, const cyc_fourier_op *ops, int32_t n_ops,
                          int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_half_sum *from = *sum;
	const work a = { .ball = from->ball,
		             .out = (v4 *)(void *)(*other)->value,
		             .sum = (const v4 *)(const void *)from->value,
		             .s = from->box_px,
		             .radius = from->radius,
		             .top = cyc_half_sum_top(from),
		             .n_ops = n_ops,
		             .ops = ops };
	CYC_TRY(cyc_parallel_for(2 * a.top + 1, n_threads, plane_task, (void *)&a));
	*sum = *other;
	*other = from;
done:
	return st;
}

cyc_status cyc_symmetrise(cyc_half_sum **sum, cyc_half_sum **other, const cyc_fourier_op *ops, int32_t n_ops,
                          int n_threads)
{
	cyc_status st = CYC_OK;
	step steps[MOST_STEPS];
	int32_t n_steps = find_chain(steps, ops, n_ops);
	if (n_ops == 0) goto done;
	if (!*other) CYC_TRY(cyc_half_sum_create(other, (*sum)->box_px, (*sum)->radius));
	CYC_ASSERT((*other)->radius == (*sum)->radius);
	if (n_steps == 0) CYC_TRY(average(sum, other, ops, n_ops, n_threads));
	for (int32_t i = 0; i < n_steps; i++)
		CYC_TRY(average(sum, other, steps[i].ops, steps[i].n_ops, n_threads));
done:
	return st;
}

#include "reconstruct/reconstruct_internal.h"

#include <math.h>

typedef float v4 __attribute__((vector_size(16)));

cyc_status cyc__fourier_ops(cyc_fourier_op **out, int32_t *n, const char *symmetry, int32_t n_asu, double rise_A, double twist_rad, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	cyc_symmetry *group = NULL;
	*out = NULL;
	*n = 0;
	CYC_CHECK(n_asu >= 1, CYC_E_USAGE, "the number of helical asymmetric units must be at least 1, got %d", n_asu);
	CYC_TRY(cyc_symmetry_create(&group, symmetry));
	CYC_TRY(cyc_alloc(out, (size_t)group->n * (size_t)n_asu, sizeof **out));
	/* Units -floor(n/2) .. up, so that the helix stays centred; group and helix are multiplied out. */
	for (int32_t i = 0; i < n_asu; i++) {
		int32_t h = i - n_asu / 2;
		for (int32_t g = 0; g < group->n; g++) {
			if (g == 0 && h == 0) continue;
			(*out)[(*n)++] = (cyc_fourier_op){ cyc_mat3_mul(cyc_rot_z(-h * twist_rad), group->ops[g]), -h * rise_A / pixel_size_A };
		}
	}
done:
	cyc_symmetry_destroy(&group);
	return st;
}

typedef struct {
	v4 *out;
	const v4 *sum;
	int32_t s, n_ops;
	const cyc_fourier_op *ops;
} work;

static inline size_t wrap(int32_t i, int32_t s) { return (size_t)(i < 0 ? i + s : i); }

static v4 sample(const v4 *sum, int32_t s, double x, double y, double z)
{
	float mirror = x < 0 ? -1.F : 1.F;
	x *= (double)mirror;
	y *= (double)mirror;
	z *= (double)mirror;
	int32_t x0 = (int32_t)x, y0 = (int32_t)floor(y), z0 = (int32_t)floor(z), x1 = x0 + 1;
	float fx = (float)(x - x0), fy = (float)(y - y0), fz = (float)(z - z0);
	size_t sh = (size_t)(s / 2 + 1), slab = sh * (size_t)s;
	if (x1 > s / 2) x1 = s / 2; /* only for fx = 0 up to rounding */
	v4 value = { 0, 0, 0, 0 };
	for (int32_t k = 0; k < 2; k++)
		for (int32_t j = 0; j < 2; j++) {
			/* At the rim y0 + 1 may be s/2, whose values stand at -s/2. */
			int32_t yy = y0 + j, zz = z0 + k;
			if (yy >= s / 2) yy -= s;
			if (zz >= s / 2) zz -= s;
			const v4 *row = sum + wrap(zz, s) * slab + wrap(yy, s) * sh;
			value += (k ? fz : 1 - fz) * (j ? fy : 1 - fy) * (row[x0] + fx * (row[x1] - row[x0]));
		}
	return value * (v4){ 1, mirror, 1, 1 };
}

static cyc_status plane_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const work *a = arg;
	int32_t s = a->s, sh = s / 2 + 1, kz = z < s / 2 ? (int32_t)z : (int32_t)z - s;
	float share = (float)(1.0 / (a->n_ops + 1));
	for (int32_t y = 0; y < s; y++) {
		int32_t ky = y < s / 2 ? y : y - s;
		size_t row = ((size_t)z * (size_t)s + (size_t)y) * (size_t)sh;
		for (int32_t x = 0; x < sh; x++) {
			v4 value = a->sum[row + (size_t)x];
			/* Nothing is ever inserted beyond the Nyquist sphere. */
			if (x * x + ky * ky + kz * kz > s * s / 4) {
				a->out[row + (size_t)x] = (v4){ 0, 0, 0, 0 };
				continue;
			}
			for (int32_t i = 0; i < a->n_ops; i++) {
				const cyc_fourier_op *op = &a->ops[i];
				cyc_vec3 q = cyc_mat3_apply(op->R, (cyc_vec3){ x, ky, kz });
				v4 other = sample(a->sum, s, q.x, q.y, q.z);
				if (op->shift_z_px != 0) {
					double phase = 2 * CYC_PI * kz * op->shift_z_px / s;
					float c = (float)cos(phase), sn = (float)sin(phase);
					other = (v4){ c * other[0] - sn * other[1], c * other[1] + sn * other[0], other[2], 0 };
				}
				value += other;
			}
			a->out[row + (size_t)x] = share * value;
		}
	}
	return CYC_OK;
}

cyc_status cyc__symmetrise(float *out, const float *sum, int32_t s, const cyc_fourier_op *ops, int32_t n_ops, int n_threads)
{
	work a = { (v4 *)out, (const v4 *)sum, s, n_ops, ops };
	return cyc_parallel_for(s, n_threads, plane_task, &a);
}

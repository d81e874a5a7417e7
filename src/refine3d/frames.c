#include "refine3d/frames.h"

#include "map/shells.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

static const double SIGNIFICANT =
	3; /* standard deviations of chi^2: noise alone makes a smaller difference */

enum { N = 6 }; /* shift along x, y, z, turn about x, y, z */

typedef struct {
	int32_t n;
	double pixel_size_A;
	int n_threads;
	cyc_fft3 *plan;
	cyc_cfloat *mean, *difference, *B[N];
	double *noise; /* power of the difference by shell */
} work;

static inline int32_t frequency(int32_t j, int32_t n) { return j < n / 2 ? j : j - n; }

/* All coefficients of the half transform but its Nyquist planes. */
#define FOR_COEFFICIENTS(n)                                                                                  \
	for (int32_t z = 0, fz = 0; z < (n); z++, fz = frequency(z, n))                                          \
		for (int32_t y = 0, fy = 0; y < (n); y++, fy = frequency(y, n))                                      \
			for (int32_t x = 0; x < (n) / 2; x++)

static size_t at(int32_t n, int32_t z, int32_t y, int32_t x)
{
	return ((size_t)z * (size_t)n + (size_t)y) * (size_t)(n / 2 + 1) + (size_t)x;
}

/* Sum (filtered) and difference of the masked maps. */
static cyc_status transform(work *w, const cyc_half_maps *maps, const double *weight, const cyc_volume *mask)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	double *count = NULL;
	CYC_TRY(cyc_volume_copy(&v, mask));
	CYC_TRY(cyc_alloc(&count, w->n / 2 + 1, sizeof *count));
	for (int k = 0; k < 2; k++) {
		cyc_cfloat **ft = k ? &w->difference : &w->mean;
		for (size_t i = 0; i < cyc_volume_count(v); i++) {
			float a = maps->half[0]->data[i], b = maps->half[1]->data[i];
			v->data[i] = mask->data[i] * (k ? a - b : 0.5F * (a + b));
		}
		CYC_TRY(cyc_alloc(ft, cyc_half_count3(w->n), sizeof **ft));
		CYC_TRY(cyc_fft3_forward(*ft, w->plan, v->data));
	}
	FOR_COEFFICIENTS(w->n)
	{
		int32_t shell = cyc__shell((int64_t)fz * fz + (int64_t)fy * fy + (int64_t)x * x);
		size_t i = at(w->n, z, y, x);
		w->mean[i] *= shell < w->n / 2 ? (float)weight[shell] : 0;
		if (shell >= w->n / 2) continue;
		double re = (double)crealf(w->difference[i]), im = (double)cimagf(w->difference[i]);
		w->noise[shell] += re * re + im * im;
		count[shell]++;
	}
	for (int32_t r = 0; r < w->n / 2; r++) w->noise[r] /= fmax(count[r], 1);
done:
	cyc_free(count);
	cyc_volume_destroy(&v);
	return st;
}

/* Slopes of the mean along the axes, and x cross slope, as transforms. */
static cyc_status derive(work *w)
{
	cyc_status st = CYC_OK;
	int32_t n = w->n;
	size_t count = (size_t)n * (size_t)n * (size_t)n;
	float *slope[3] = { NULL, NULL, NULL }, *turned = NULL;
	cyc_cfloat *copy = NULL;
	double per_A = 2 * CYC_PI / (n * w->pixel_size_A);
	CYC_TRY(cyc_alloc(&copy, cyc_half_count3(n), sizeof *copy));
	CYC_TRY(cyc_alloc(&turned, count, sizeof *turned));
	for (int i = 0; i < N; i++) CYC_TRY(cyc_alloc(&w->B[i], cyc_half_count3(n), sizeof *w->B[i]));
	for (int a = 0; a < 3; a++) {
		FOR_COEFFICIENTS(n)
		w->B[a][at(n, z, y, x)] = (float)(per_A * (a == 0   ? x
		                                           : a == 1 ? fy
		                                                    : fz)) *
		                          I * w->mean[at(n, z, y, x)];
		CYC_TRY(cyc_alloc(&slope[a], count, sizeof **slope));
		memcpy(copy, w->B[a], cyc_half_count3(n) * sizeof *copy);
		CYC_TRY(cyc_fft3_inverse(slope[a], w->plan, copy));
	}
	for (int a = 0; a < 3; a++) {
		int b = (a + 1) % 3, c = (a + 2) % 3;
		for (size_t i = 0; i < count; i++) {
			const double p[3] = { (double)(i % (size_t)n) - n / 2,
				                  (double)(i / (size_t)n % (size_t)n) - n / 2,
				                  (double)(i / (size_t)n / (size_t)n) - n / 2 };
			turned[i] = (float)(w->pixel_size_A * (p[b] * (double)slope[c][i] - p[c] * (double)slope[b][i]));
		}
		CYC_TRY(cyc_fft3_forward(w->B[3 + a], w->plan, turned));
	}
done:
	for (int a = 0; a < 3; a++) cyc_free(slope[a]);
	cyc_free(copy);
	cyc_free(turned);
	return st;
}

/* Directions that symmetry leaves free: all in C1, the axis of a cyclic group, none otherwise. */
static int32_t free_directions(cyc_vec3 out[3], const cyc_symmetry *symmetry)
{
	double P[3][3] = { { 0 } }, trace = 0;
	int32_t best = 0;
	for (int32_t s = 0; s < symmetry->n; s++)
		for (int i = 0; i < 9; i++) P[i / 3][i % 3] += symmetry->ops[s].m[i / 3][i % 3] / symmetry->n;
	for (int i = 0; i < 3; i++) trace += P[i][i];
	int32_t rank = (int32_t)(trace + 0.5);
	if (rank == 3)
		for (int i = 0; i < 3; i++) out[i] = (cyc_vec3){ i == 0, i == 1, i == 2 };
	if (rank != 1) return rank == 3 ? 3 : 0;
	for (int32_t i = 1; i < 3; i++)
		if (P[i][i] > P[best][best]) best = i;
	double length = sqrt(P[best][best]); /* P = a a^T */
	out[0] = (cyc_vec3){ P[0][best] / length, P[1][best] / length, P[2][best] / length };
	return 1;
}

/* Only shells that the maps resolve: beyond them the derivatives are artefacts of the box edge. */
static void normal_equations(double M[N][N], double v[N], const work *w, const double *weight)
{
	memset(M, 0, N * N * sizeof(double));
	memset(v, 0, N * sizeof *v);
	FOR_COEFFICIENTS(w->n)
	{
		int32_t shell = cyc__shell((int64_t)fz * fz + (int64_t)fy * fy + (int64_t)x * x);
		if (shell == 0 || shell >= w->n / 2 || !(w->noise[shell] > 0) || !(weight[shell] > 0)) continue;
		size_t i = at(w->n, z, y, x);
		double u = (x == 0 ? 1 : 2) / w->noise[shell];
		for (int a = 0; a < N; a++) {
			v[a] += u * (double)crealf(w->B[a][i] * conjf(w->difference[i]));
			for (int b = 0; b <= a; b++) M[a][b] += u * (double)crealf(w->B[a][i] * conjf(w->B[b][i]));
		}
	}
	for (int a = 0; a < N; a++)
		for (int b = 0; b < a; b++) M[b][a] = M[a][b];
}

cyc_status cyc_frame_between(cyc_frame *out, const cyc_half_maps *maps, const double *weight,
                             const cyc_symmetry *symmetry, const cyc_half_maps_spec *spec)
{
	cyc_status st = CYC_OK;
	work w = { .n = spec->crop_px,
		       .pixel_size_A = spec->box->pixel_size_A,
		       .n_threads = cyc_backend_n_threads(spec->be) };
	cyc_vec3 direction[3];
	int32_t n_free = free_directions(direction, symmetry), n = 2 * n_free;
	double M[N][N], v[N], basis[N][N] = { { 0 } }, A[N * N], p[N] = { 0 };
	memset(out, 0, sizeof *out);
	if (n_free == 0) return CYC_OK;
	CYC_TRY(cyc_alloc(&w.noise, w.n / 2 + 1, sizeof *w.noise));
	CYC_TRY(cyc_fft3_create(&w.plan, w.n, w.n_threads));
	CYC_TRY(transform(&w, maps, weight, spec->mask));
	CYC_TRY(derive(&w));
	normal_equations(M, v, &w, weight);
	for (int32_t k = 0; k < n; k++) {
		const double d[3] = { direction[k % n_free].x, direction[k % n_free].y, direction[k % n_free].z };
		for (int i = 0; i < 3; i++) basis[k][(k < n_free ? 0 : 3) + i] = d[i];
	}
	for (int32_t k = 0; k < n; k++) {
		p[k] = 0;
		for (int i = 0; i < N; i++) p[k] += basis[k][i] * v[i];
		for (int32_t l = 0; l < n; l++) {
			A[k * n + l] = 0;
			for (int i = 0; i < N; i++)
				for (int m = 0; m < N; m++) A[k * n + l] += basis[k][i] * M[i][m] * basis[l][m];
		}
	}
	double right[N], chi2 = 0, filled = 0;
	memcpy(right, p, sizeof right);
	if (LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', n, 1, A, n, p, 1) != 0)
		goto done; /* maps without detail do not define a frame */
	/* Under a mask coefficients are not independent: their effective number falls by the share of the box
	 * that it fills. */
	for (int32_t k = 0; k < n; k++) chi2 += right[k] * p[k];
	for (size_t i = 0; i < cyc_volume_count(spec->mask); i++)
		filled += (double)spec->mask->data[i] / (double)cyc_volume_count(spec->mask);
	if (chi2 * filled < n + SIGNIFICANT * sqrt(2.0 * n)) goto done;
	for (int32_t k = 0; k < n_free; k++) {
		const cyc_vec3 d = direction[k];
		out->shift_A = (cyc_vec3){ out->shift_A.x + p[k] * d.x, out->shift_A.y + p[k] * d.y,
			                       out->shift_A.z + p[k] * d.z };
		double t = p[n_free + k];
		out->turn_rad =
			(cyc_vec3){ out->turn_rad.x + t * d.x, out->turn_rad.y + t * d.y, out->turn_rad.z + t * d.z };
	}
done:
	cyc_free(w.noise);
	cyc_free(w.mean);
	cyc_free(w.difference);
	for (int i = 0; i < N; i++) cyc_free(w.B[i]);
	cyc_fft3_destroy(&w.plan);
	return st;
}

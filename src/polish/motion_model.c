#include "polish/motion_model.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

static const double KEPT_FRACTION = 0.999;
enum { LARGEST_DENSE = 1500, LARGEST_RANK = 400 };

void cyc_motion_model_destroy(cyc_motion_model **m)
{
	if (!*m) return;
	cyc_free((*m)->modes);
	cyc_free(*m);
	*m = NULL;
}

static double covariance(cyc_vec3 a, cyc_vec3 b, double d, bool is_squared)
{
	double r2 = cyc_square(a.x - b.x) + cyc_square(a.y - b.y) + cyc_square(a.z - b.z);
	return is_squared ? exp(-r2 / (d * d)) : exp(-sqrt(r2) / d);
}

static cyc_status dense_modes(cyc_motion_model *m, const cyc_vec3 *r, double d, bool is_squared, int32_t max_modes)
{
	cyc_status st = CYC_OK;
	int32_t n = m->n_particles;
	double *K = NULL, *values = NULL, sum = 0;
	CYC_TRY(cyc_alloc(&K, (size_t)n * (size_t)n, sizeof *K));
	CYC_TRY(cyc_alloc(&values, n, sizeof *values));
	for (int32_t i = 0; i < n; i++)
		for (int32_t j = 0; j < n; j++) K[(size_t)i * (size_t)n + (size_t)j] = covariance(r[i], r[j], d, is_squared);
	CYC_CHECK(LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'U', n, K, n, values) == 0, CYC_E_NUMERIC, "the covariance of the motion of %d particles has no eigenvectors", n);
	/* Ascending: take from the end. */
	while (m->n_modes < n && m->n_modes < max_modes && sum < KEPT_FRACTION * n && values[n - 1 - m->n_modes] > 1e-10) sum += values[n - 1 - m->n_modes++];
	CYC_TRY(cyc_alloc(&m->modes, (size_t)n * (size_t)m->n_modes, sizeof *m->modes));
	for (int32_t b = 0; b < m->n_modes; b++)
		for (int32_t i = 0; i < n; i++)
			m->modes[(size_t)i * (size_t)m->n_modes + (size_t)b] = sqrt(values[n - 1 - b]) * K[(size_t)i * (size_t)n + (size_t)(n - 1 - b)];
done:
	cyc_free(K);
	cyc_free(values);
	return st;
}

static cyc_status cholesky_modes(cyc_motion_model *m, const cyc_vec3 *r, double d, bool is_squared, int32_t max_modes)
{
	cyc_status st = CYC_OK;
	int32_t n = m->n_particles, rank = max_modes < LARGEST_RANK ? max_modes : LARGEST_RANK;
	double *left = NULL, trace = n;
	CYC_TRY(cyc_alloc(&left, n, sizeof *left));
	CYC_TRY(cyc_alloc(&m->modes, (size_t)n * (size_t)rank, sizeof *m->modes));
	for (int32_t i = 0; i < n; i++) left[i] = 1;
	while (m->n_modes < rank && trace > (1 - KEPT_FRACTION) * n) {
		int32_t pivot = 0, b = m->n_modes;
		for (int32_t i = 1; i < n; i++)
			if (left[i] > left[pivot]) pivot = i;
		double root = sqrt(left[pivot]);
		const double *of_pivot = m->modes + (size_t)pivot * (size_t)rank;
		trace = 0;
		for (int32_t i = 0; i < n; i++) {
			double *row = m->modes + (size_t)i * (size_t)rank, v = covariance(r[i], r[pivot], d, is_squared);
			for (int32_t k = 0; k < b; k++) v -= row[k] * of_pivot[k];
			row[b] = i == pivot ? root : v / root;
			left[i] = fmax(left[i] - row[b] * row[b], 0);
			trace += left[i];
		}
		left[pivot] = 0;
		m->n_modes++;
	}
	/* Rows were laid out for the largest rank. */
	for (int32_t i = 0; i < n; i++) memmove(m->modes + (size_t)i * (size_t)m->n_modes, m->modes + (size_t)i * (size_t)rank, (size_t)m->n_modes * sizeof *m->modes);
done:
	cyc_free(left);
	return st;
}

cyc_status cyc_motion_model_create(cyc_motion_model **out, const cyc_vec3 *r, int32_t n, double correlation_A, bool is_squared, int32_t max_modes)
{
	cyc_status st = CYC_OK;
	cyc_motion_model *m = NULL;
	*out = NULL;
	CYC_CHECK(correlation_A > 0, CYC_E_USAGE, "the correlation length of the motion must be positive, got %g Å", correlation_A);
	if (max_modes < 0 || max_modes > n) max_modes = n;
	CYC_TRY(cyc_alloc(&m, 1, sizeof *m));
	m->n_particles = n;
	if (n <= LARGEST_DENSE) CYC_TRY(dense_modes(m, r, correlation_A, is_squared, max_modes));
	else CYC_TRY(cholesky_modes(m, r, correlation_A, is_squared, max_modes));
	*out = m;
	m = NULL;
done:
	cyc_motion_model_destroy(&m);
	return st;
}

#include "polish/motion_model.h"

#include <cblas.h>
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

/* Subtract the mean of each column of an n x m matrix. */
static void centre_columns(double *A, int32_t n, int32_t m)
{
	for (int32_t j = 0; j < m; j++) {
		double sum = 0;
		for (int32_t i = 0; i < n; i++) sum += A[(size_t)i * (size_t)m + (size_t)j];
		for (int32_t i = 0; i < n; i++) A[(size_t)i * (size_t)m + (size_t)j] -= sum / n;
	}
}

/* Number of the largest of n ascending eigenvalues that hold the wanted share of their sum. */
static int32_t n_kept(const double *values, int32_t n, int32_t max_modes)
{
	double all = 0, sum = 0;
	int32_t kept = 0;
	for (int32_t i = 0; i < n; i++) all += fmax(values[i], 0);
	while (kept < n && kept < max_modes && sum < KEPT_FRACTION * all && values[n - 1 - kept] > 1e-10)
		sum += values[n - 1 - kept++];
	return kept;
}

static cyc_status dense_modes(cyc_motion_model *m, const cyc_vec3 *r, const cyc_motion_options *o,
                              int32_t max_modes)
{
	cyc_status st = CYC_OK;
	int32_t n = m->n_particles;
	double *K = NULL, *values = NULL;
	CYC_TRY(cyc_alloc(&K, (size_t)n * (size_t)n, sizeof *K));
	CYC_TRY(cyc_alloc(&values, n, sizeof *values));
	for (int32_t i = 0; i < n; i++)
		for (int32_t j = 0; j < n; j++)
			K[(size_t)i * (size_t)n + (size_t)j] = covariance(r[i], r[j], o->correlation_A, o->is_squared);
	if (o->is_relative) {
		/* Of a symmetric matrix both sides: columns, and by their symmetric change rows. */
		centre_columns(K, n, n);
		for (int32_t i = 0; i < n; i++) {
			double sum = 0;
			for (int32_t j = 0; j < n; j++) sum += K[(size_t)i * (size_t)n + (size_t)j];
			for (int32_t j = 0; j < n; j++) K[(size_t)i * (size_t)n + (size_t)j] -= sum / n;
		}
	}
	CYC_CHECK(LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'U', n, K, n, values) == 0, CYC_E_NUMERIC,
	          "the covariance of the motion of %d particles has no eigenvectors", n);
	m->n_modes = n_kept(values, n, max_modes);
	CYC_TRY(cyc_alloc(&m->modes, (size_t)n * (size_t)m->n_modes + 1, sizeof *m->modes));
	for (int32_t b = 0; b < m->n_modes; b++)
		for (int32_t i = 0; i < n; i++)
			m->modes[(size_t)i * (size_t)m->n_modes + (size_t)b] =
				sqrt(values[n - 1 - b]) * K[(size_t)i * (size_t)n + (size_t)(n - 1 - b)];
done:
	cyc_free(K);
	cyc_free(values);
	return st;
}

/* Columns L (n x rank, filled to *n_columns) with K = L L^T but for 0.1 % of the trace. */
static cyc_status cholesky_columns(double *L, int32_t *n_columns, int32_t rank, const cyc_vec3 *r, int32_t n,
                                   const cyc_motion_options *o)
{
	cyc_status st = CYC_OK;
	double *left = NULL, trace = n;
	CYC_TRY(cyc_alloc(&left, n, sizeof *left));
	for (int32_t i = 0; i < n; i++) left[i] = 1;
	for (*n_columns = 0; *n_columns < rank && trace > (1 - KEPT_FRACTION) * n; (*n_columns)++) {
		int32_t pivot = 0, b = *n_columns;
		for (int32_t i = 1; i < n; i++)
			if (left[i] > left[pivot]) pivot = i;
		double root = sqrt(left[pivot]);
		const double *of_pivot = L + (size_t)pivot * (size_t)rank;
		trace = 0;
		for (int32_t i = 0; i < n; i++) {
			double *row = L + (size_t)i * (size_t)rank,
				   v = covariance(r[i], r[pivot], o->correlation_A, o->is_squared);
			for (int32_t k = 0; k < b; k++) v -= row[k] * of_pivot[k];
			row[b] = i == pivot ? root : v / root;
			left[i] = fmax(left[i] - row[b] * row[b], 0);
			trace += left[i];
		}
		left[pivot] = 0;
	}
done:
	cyc_free(left);
	return st;
}

/* L U with U the eigenvectors of L^T L: columns that are orthogonal, with the same product. */
static cyc_status cholesky_modes(cyc_motion_model *m, const cyc_vec3 *r, const cyc_motion_options *o,
                                 int32_t max_modes)
{
	cyc_status st = CYC_OK;
	int32_t n = m->n_particles, rank = LARGEST_RANK < n ? LARGEST_RANK : n, columns = 0;
	double *L = NULL, *U = NULL, *values = NULL;
	CYC_TRY(cyc_alloc(&L, (size_t)n * (size_t)rank, sizeof *L));
	CYC_TRY(cyc_alloc(&U, (size_t)rank * (size_t)rank, sizeof *U));
	CYC_TRY(cyc_alloc(&values, rank, sizeof *values));
	CYC_TRY(cholesky_columns(L, &columns, rank, r, n, o));
	if (o->is_relative) centre_columns(L, n, rank);
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, columns, columns, n, 1, L, rank, L, rank, 0, U,
	            columns);
	CYC_CHECK(LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'U', columns, U, columns, values) == 0, CYC_E_NUMERIC,
	          "the covariance of the motion of %d particles has no eigenvectors", n);
	m->n_modes = n_kept(values, columns, max_modes);
	CYC_TRY(cyc_alloc(&m->modes, (size_t)n * (size_t)m->n_modes + 1, sizeof *m->modes));
	/* The wanted eigenvectors are the last columns of U, largest last. */
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, m->n_modes, columns, 1, L, rank,
	            U + (columns - m->n_modes), columns, 0, m->modes, m->n_modes);
	for (int32_t i = 0; i < n; i++)
		for (int32_t b = 0; b < m->n_modes / 2; b++) {
			double *x = m->modes + (size_t)i * (size_t)m->n_modes, swap = x[b];
			x[b] = x[m->n_modes - 1 - b];
			x[m->n_modes - 1 - b] = swap;
		}
done:
	cyc_free(L);
	cyc_free(U);
	cyc_free(values);
	return st;
}

cyc_status cyc_motion_model_create(cyc_motion_model **out, const cyc_vec3 *r, int32_t n,
                                   const cyc_motion_options *o)
{
	cyc_status st = CYC_OK;
	cyc_motion_model *m = NULL;
	*out = NULL;
	CYC_CHECK(o->correlation_A > 0, CYC_E_USAGE,
	          "the correlation length of the motion must be positive, got %g Å", o->correlation_A);
	int32_t max_modes = o->max_modes < 0 || o->max_modes > n ? n : o->max_modes;
	CYC_TRY(cyc_alloc(&m, 1, sizeof *m));
	m->n_particles = n;
	if (n <= LARGEST_DENSE) CYC_TRY(dense_modes(m, r, o, max_modes));
	else CYC_TRY(cholesky_modes(m, r, o, max_modes));
	*out = m;
	m = NULL;
done:
	cyc_motion_model_destroy(&m);
	return st;
}

/*
 * Transforms with FFTW. Plans are of type FFTW_ESTIMATE: FFTW_MEASURE would choose by timing, and so round
 * differently from run to run. A 3D transform is made of 2D transforms of the z planes and 1D transforms
 * along z, each by one thread: the threads share out the planes, so their number cannot change a result.
 */
#include "cyclotomo/array.h"

#include <fftw3.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

static pthread_mutex_t g_planner = PTHREAD_MUTEX_INITIALIZER; /* FFTW's planner is not thread-safe */

struct cyc_fft2 {
	int32_t nx, ny;
	fftwf_plan forward, inverse;
};

static void destroy_plan(fftwf_plan p)
{
	if (!p) return;
	pthread_mutex_lock(&g_planner);
	fftwf_destroy_plan(p);
	pthread_mutex_unlock(&g_planner);
}

/* An image and its transform, for a plan to be made with; freed afterwards. */
static cyc_status plan_arrays(float **real, cyc_cfloat **ft, int32_t nx, int32_t ny)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(nx > 0 && ny > 0, CYC_E_SHAPE, "the sizes of a Fourier transform must be positive, got %d x %d",
	          nx, ny);
	CYC_TRY(cyc_alloc(real, (size_t)nx * (size_t)ny, sizeof **real));
	CYC_TRY(cyc_alloc(ft, (size_t)(nx / 2 + 1) * (size_t)ny, sizeof **ft));
done:
	return st;
}

cyc_status cyc_fft2_create(cyc_fft2 **out, int32_t nx, int32_t ny)
{
	cyc_status st = CYC_OK;
	cyc_fft2 *p = NULL;
	float *real = NULL;
	cyc_cfloat *ft = NULL;
	*out = NULL;
	CYC_TRY(plan_arrays(&real, &ft, nx, ny));
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->nx = nx;
	p->ny = ny;
	pthread_mutex_lock(&g_planner);
	p->forward = fftwf_plan_dft_r2c_2d(ny, nx, real, ft, FFTW_ESTIMATE);
	p->inverse = fftwf_plan_dft_c2r_2d(ny, nx, ft, real, FFTW_ESTIMATE);
	pthread_mutex_unlock(&g_planner);
	CYC_CHECK(p->forward && p->inverse, CYC_E_NOMEM, "FFTW could not plan a transform of %d x %d", nx, ny);
	*out = p;
	p = NULL;
done:
	cyc_free(real);
	cyc_free(ft);
	cyc_fft2_destroy(&p);
	return st;
}

void cyc_fft2_destroy(cyc_fft2 **p)
{
	if (!*p) return;
	destroy_plan((*p)->forward);
	destroy_plan((*p)->inverse);
	cyc_free(*p);
	*p = NULL;
}

void cyc_fft2_forward(cyc_cfloat *ft, const cyc_fft2 *p, float *real)
{
	fftwf_execute_dft_r2c(p->forward, real, ft);
}
void cyc_fft2_inverse(float *real, const cyc_fft2 *p, cyc_cfloat *ft)
{
	fftwf_execute_dft_c2r(p->inverse, ft, real);
}

struct cyc_fft2_band {
	int32_t nx, ny, first_row, n_rows;
	fftwf_plan rows, columns;
};

static bool is_row_range(int32_t ny, int32_t first_row, int32_t n_rows)
{
	return first_row >= 0 && n_rows > 0 && n_rows <= ny - first_row;
}

cyc_status cyc_fft2_band_create(cyc_fft2_band **out, int32_t nx, int32_t ny, int32_t n_columns,
                                int32_t first_row, int32_t n_rows)
{
	cyc_status st = CYC_OK;
	cyc_fft2_band *p = NULL;
	float *real = NULL;
	cyc_cfloat *ft = NULL;
	int32_t half = nx / 2 + 1;
	*out = NULL;
	CYC_TRY(plan_arrays(&real, &ft, nx, ny));
	CYC_CHECK(n_columns > 0 && n_columns <= half, CYC_E_SHAPE, "%d columns of a transform of %d x %d",
	          n_columns, nx, ny);
	CYC_CHECK(is_row_range(ny, first_row, n_rows), CYC_E_SHAPE, "%d rows from row %d of an image of %d x %d",
	          n_rows, first_row, nx, ny);
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	*p = (cyc_fft2_band){ .nx = nx, .ny = ny, .first_row = first_row, .n_rows = n_rows };
	pthread_mutex_lock(&g_planner);
	p->rows = fftwf_plan_many_dft_r2c(1, &nx, n_rows, real + (size_t)first_row * (size_t)nx, NULL, 1, nx,
	                                  ft + (size_t)first_row * (size_t)half, NULL, 1, half, FFTW_ESTIMATE);
	p->columns = fftwf_plan_many_dft(1, &ny, n_columns, ft, NULL, half, 1, ft, NULL, half, 1, FFTW_FORWARD,
	                                 FFTW_ESTIMATE);
	pthread_mutex_unlock(&g_planner);
	CYC_CHECK(p->rows && p->columns, CYC_E_NOMEM, "FFTW could not plan a transform of %d x %d", nx, ny);
	*out = p;
	p = NULL;
done:
	cyc_free(real);
	cyc_free(ft);
	cyc_fft2_band_destroy(&p);
	return st;
}

void cyc_fft2_band_destroy(cyc_fft2_band **p)
{
	if (!*p) return;
	destroy_plan((*p)->rows);
	destroy_plan((*p)->columns);
	cyc_free(*p);
	*p = NULL;
}

void cyc_fft2_band_forward(cyc_cfloat *ft, const cyc_fft2_band *p, float *real)
{
	size_t half = (size_t)p->nx / 2 + 1, first = (size_t)p->first_row, end = first + (size_t)p->n_rows;
	memset(ft, 0, first * half * sizeof *ft);
	fftwf_execute_dft_r2c(p->rows, real + first * (size_t)p->nx, ft + first * half);
	memset(ft + end * half, 0, ((size_t)p->ny - end) * half * sizeof *ft);
	fftwf_execute_dft(p->columns, ft, ft);
}

struct cyc_fft2_rows {
	int32_t nx, first_row;
	fftwf_plan columns, rows;
};

cyc_status cyc_fft2_rows_create(cyc_fft2_rows **out, int32_t nx, int32_t ny, int32_t first_row,
                                int32_t n_rows)
{
	cyc_status st = CYC_OK;
	cyc_fft2_rows *p = NULL;
	float *real = NULL;
	cyc_cfloat *ft = NULL;
	int32_t half = nx / 2 + 1;
	*out = NULL;
	CYC_TRY(plan_arrays(&real, &ft, nx, ny));
	CYC_CHECK(is_row_range(ny, first_row, n_rows), CYC_E_SHAPE,
	          "%d rows from row %d of a transform of %d x %d", n_rows, first_row, nx, ny);
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->nx = nx;
	p->first_row = first_row;
	pthread_mutex_lock(&g_planner);
	p->columns =
		fftwf_plan_many_dft(1, &ny, half, ft, NULL, half, 1, ft, NULL, half, 1, FFTW_BACKWARD, FFTW_ESTIMATE);
	p->rows = fftwf_plan_many_dft_c2r(1, &nx, n_rows, ft + (size_t)first_row * (size_t)half, NULL, 1, half,
	                                  real + (size_t)first_row * (size_t)nx, NULL, 1, nx, FFTW_ESTIMATE);
	pthread_mutex_unlock(&g_planner);
	CYC_CHECK(p->rows && p->columns, CYC_E_NOMEM, "FFTW could not plan a transform of %d x %d", nx, ny);
	*out = p;
	p = NULL;
done:
	cyc_free(real);
	cyc_free(ft);
	cyc_fft2_rows_destroy(&p);
	return st;
}

void cyc_fft2_rows_destroy(cyc_fft2_rows **p)
{
	if (!*p) return;
	destroy_plan((*p)->columns);
	destroy_plan((*p)->rows);
	cyc_free(*p);
	*p = NULL;
}

void cyc_fft2_rows_inverse(float *real, const cyc_fft2_rows *p, cyc_cfloat *ft)
{
	size_t first = (size_t)p->first_row, nx = (size_t)p->nx;
	fftwf_execute_dft(p->columns, ft, ft);
	fftwf_execute_dft_c2r(p->rows, ft + first * (nx / 2 + 1), real + first * nx);
}

/* ---------------------------------------------------------------- columns of planes */

enum { COLUMN_BATCH = 16 }; /* columns per 1D batch: 16 x 8 bytes = two cache lines of each row or plane */

/* In place, interleaved: element i of column j is columns[i * COLUMN_BATCH + j]. */
static fftwf_plan plan_columns(cyc_cfloat *columns, int32_t n, int sign)
{
	pthread_mutex_lock(&g_planner);
	fftwf_plan p = fftwf_plan_many_dft(1, &n, COLUMN_BATCH, columns, NULL, COLUMN_BATCH, 1, columns, NULL,
	                                   COLUMN_BATCH, 1, sign, FFTW_ESTIMATE);
	pthread_mutex_unlock(&g_planner);
	return p;
}

/* Columns first .. first + COLUMN_BATCH - 1, or as many as there are, of n rows that are `length` long. */
static void transform_columns(cyc_cfloat *rows, size_t n, size_t length, size_t first, fftwf_plan plan,
                              cyc_cfloat *columns)
{
	size_t m = length - first < COLUMN_BATCH ? length - first : COLUMN_BATCH;
	for (size_t i = 0; i < n; i++)
		memcpy(columns + i * COLUMN_BATCH, rows + i * length + first, m * sizeof *columns);
	fftwf_execute_dft(plan, columns, columns);
	for (size_t i = 0; i < n; i++)
		memcpy(rows + i * length + first, columns + i * COLUMN_BATCH, m * sizeof *columns);
}

/* ---------------------------------------------------------------- one large image */

struct cyc_fft2_image {
	int32_t nx, ny;
	int n_threads;
	fftwf_plan row_forward, row_inverse, column_forward, column_inverse;
	cyc_cfloat *columns; /* n_threads x ny x COLUMN_BATCH */
};

cyc_status cyc_fft2_image_create(cyc_fft2_image **out, int32_t nx, int32_t ny, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fft2_image *p = NULL;
	float *row = NULL;
	cyc_cfloat *row_ft = NULL;
	*out = NULL;
	CYC_TRY(plan_arrays(&row, &row_ft, nx, 1));
	CYC_CHECK(ny > 0, CYC_E_SHAPE, "a transform of %d x %d pixels", nx, ny);
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	*p = (cyc_fft2_image){ .nx = nx, .ny = ny, .n_threads = cyc_n_workers(ny, n_threads) };
	CYC_TRY(cyc_alloc(&p->columns, (size_t)p->n_threads * (size_t)ny * COLUMN_BATCH, sizeof *p->columns));
	/* Rows of an image begin anywhere: the plan must not expect them where vectors do. */
	pthread_mutex_lock(&g_planner);
	p->row_forward = fftwf_plan_dft_r2c_1d(nx, row, row_ft, FFTW_ESTIMATE | FFTW_UNALIGNED);
	p->row_inverse = fftwf_plan_dft_c2r_1d(nx, row_ft, row, FFTW_ESTIMATE | FFTW_UNALIGNED);
	pthread_mutex_unlock(&g_planner);
	p->column_forward = plan_columns(p->columns, ny, FFTW_FORWARD);
	p->column_inverse = plan_columns(p->columns, ny, FFTW_BACKWARD);
	CYC_CHECK(p->row_forward && p->row_inverse && p->column_forward && p->column_inverse, CYC_E_NOMEM,
	          "FFTW could not plan a transform of %d x %d", nx, ny);
	*out = p;
	p = NULL;
done:
	cyc_free(row);
	cyc_free(row_ft);
	cyc_fft2_image_destroy(&p);
	return st;
}

void cyc_fft2_image_destroy(cyc_fft2_image **p)
{
	if (!*p) return;
	destroy_plan((*p)->row_forward);
	destroy_plan((*p)->row_inverse);
	destroy_plan((*p)->column_forward);
	destroy_plan((*p)->column_inverse);
	cyc_free((*p)->columns);
	cyc_free(*p);
	*p = NULL;
}

typedef struct {
	const cyc_fft2_image *p;
	float *real;
	cyc_cfloat *ft;
	bool is_forward;
} image_pass;

static cyc_status image_row_task(void *arg, int64_t y, int i_thread)
{
	const image_pass *a = arg;
	(void)i_thread;
	float *row = a->real + (size_t)y * (size_t)a->p->nx;
	cyc_cfloat *row_ft = a->ft + (size_t)y * (size_t)(a->p->nx / 2 + 1);
	if (a->is_forward) fftwf_execute_dft_r2c(a->p->row_forward, row, row_ft);
	else fftwf_execute_dft_c2r(a->p->row_inverse, row_ft, row);
	return CYC_OK;
}

static cyc_status image_column_task(void *arg, int64_t i, int i_thread)
{
	const image_pass *a = arg;
	size_t ny = (size_t)a->p->ny, half = (size_t)(a->p->nx / 2 + 1);
	transform_columns(a->ft, ny, half, (size_t)i * COLUMN_BATCH,
	                  a->is_forward ? a->p->column_forward : a->p->column_inverse,
	                  a->p->columns + (size_t)i_thread * ny * COLUMN_BATCH);
	return CYC_OK;
}

static cyc_status image_columns(image_pass *a)
{
	int64_t half = a->p->nx / 2 + 1;
	return cyc_parallel_for((half + COLUMN_BATCH - 1) / COLUMN_BATCH, a->p->n_threads, image_column_task, a);
}

cyc_status cyc_fft2_image_forward(cyc_cfloat *ft, const cyc_fft2_image *p, float *real)
{
	cyc_status st = CYC_OK;
	image_pass a = { .p = p, .real = real, .ft = ft, .is_forward = true };
	CYC_TRY(cyc_parallel_for(p->ny, p->n_threads, image_row_task, &a));
	CYC_TRY(image_columns(&a));
done:
	return st;
}

cyc_status cyc_fft2_image_inverse(float *real, const cyc_fft2_image *p, cyc_cfloat *ft)
{
	cyc_status st = CYC_OK;
	image_pass a = { .p = p, .real = real, .ft = ft };
	CYC_TRY(image_columns(&a));
	CYC_TRY(cyc_parallel_for(p->ny, p->n_threads, image_row_task, &a));
done:
	return st;
}

/* ---------------------------------------------------------------- 3D */

struct cyc_fft3 {
	int32_t n;
	int n_threads;
	cyc_fft2 *plane;
	fftwf_plan z_forward, z_inverse; /* COLUMN_BATCH interleaved columns, in place, in a thread's buffer */
	cyc_cfloat *columns;             /* n_threads x n x COLUMN_BATCH */
	float *planes;                   /* n_threads x n x n: c2r and r2c destroy or need aligned planes */
};

/* There are n planes, and about as many batches of columns as there are columns in one of them. */
static int workers3(int32_t n, int n_threads) { return cyc_n_workers(n, n_threads); }

double cyc_fft3_bytes(int32_t n, int n_threads)
{
	double in_thread = 4.0 * n * (double)n + 8.0 * n * COLUMN_BATCH;
	/* One plane and its transform while the plan is made. */
	return workers3(n, n_threads) * in_thread + 4.0 * n * (double)n + 8.0 * (double)cyc_half_count2(n);
}

cyc_status cyc_fft3_create(cyc_fft3 **out, int32_t n, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fft3 *p = NULL;
	*out = NULL;
	CYC_CHECK(n > 0, CYC_E_SHAPE, "the edge of a Fourier transform must be positive, got %d", n);
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->n = n;
	p->n_threads = n_threads = workers3(n, n_threads);
	CYC_TRY(cyc_fft2_create(&p->plane, n, n));
	CYC_TRY(cyc_alloc(&p->columns, (size_t)n_threads * (size_t)n * COLUMN_BATCH, sizeof *p->columns));
	CYC_TRY(cyc_alloc(&p->planes, (size_t)n_threads * ((size_t)n * (size_t)n + 16), sizeof *p->planes));
	p->z_forward = plan_columns(p->columns, n, FFTW_FORWARD);
	p->z_inverse = plan_columns(p->columns, n, FFTW_BACKWARD);
	CYC_CHECK(p->z_forward && p->z_inverse, CYC_E_NOMEM, "FFTW could not plan a transform of %d^3", n);
	*out = p;
	p = NULL;
done:
	cyc_fft3_destroy(&p);
	return st;
}

void cyc_fft3_destroy(cyc_fft3 **p)
{
	if (!*p) return;
	cyc_fft2_destroy(&(*p)->plane);
	destroy_plan((*p)->z_forward);
	destroy_plan((*p)->z_inverse);
	cyc_free((*p)->columns);
	cyc_free((*p)->planes);
	cyc_free(*p);
	*p = NULL;
}

typedef struct {
	const cyc_fft3 *p;
	cyc_cfloat *ft;
	const float *in;
	float *out;
	bool is_forward;
} pass;

static float *plane_of(const cyc_fft3 *p, int i_thread)
{
	size_t n = (size_t)p->n, stride = (n * n + 15) / 16 * 16;
	return p->planes + (size_t)i_thread * stride;
}

static cyc_status plane_task(void *arg, int64_t z, int i_thread)
{
	const pass *a = arg;
	size_t n = (size_t)a->p->n, real_count = n * n, half_count = (n / 2 + 1) * n;
	float *plane = plane_of(a->p, i_thread);
	cyc_cfloat *half = a->ft + (size_t)z * half_count;
	if (a->is_forward) {
		memcpy(plane, a->in + (size_t)z * real_count, real_count * sizeof *plane);
		cyc_fft2_forward(half, a->p->plane, plane);
	} else {
		cyc_fft2_inverse(plane, a->p->plane, half);
		float scale = (float)(1.0 / ((double)n * (double)n * (double)n)),
			  *out = a->out + (size_t)z * real_count;
		for (size_t i = 0; i < real_count; i++) out[i] = plane[i] * scale;
	}
	return CYC_OK;
}

static cyc_status column_task(void *arg, int64_t i, int i_thread)
{
	const pass *a = arg;
	size_t n = (size_t)a->p->n;
	transform_columns(a->ft, n, (n / 2 + 1) * n, (size_t)i * COLUMN_BATCH,
	                  a->is_forward ? a->p->z_forward : a->p->z_inverse,
	                  a->p->columns + (size_t)i_thread * n * COLUMN_BATCH);
	return CYC_OK;
}

static cyc_status run_columns(pass *a)
{
	size_t half_count = cyc_half_count2(a->p->n);
	return cyc_parallel_for((int64_t)((half_count + COLUMN_BATCH - 1) / COLUMN_BATCH), a->p->n_threads,
	                        column_task, a);
}

cyc_status cyc_fft3_forward(cyc_cfloat *ft, const cyc_fft3 *p, const float *real)
{
	cyc_status st = CYC_OK;
	pass a = { .p = p, .ft = ft, .in = real, .is_forward = true };
	CYC_TRY(cyc_parallel_for(p->n, p->n_threads, plane_task, &a));
	CYC_TRY(run_columns(&a));
done:
	return st;
}

cyc_status cyc_fft3_inverse(float *real, const cyc_fft3 *p, cyc_cfloat *ft)
{
	cyc_status st = CYC_OK;
	pass a = { .p = p, .ft = ft, .out = real };
	CYC_TRY(run_columns(&a));
	CYC_TRY(cyc_parallel_for(p->n, p->n_threads, plane_task, &a));
done:
	return st;
}

/* ---------------------------------------------------------------- 3D, of a padded map */

struct cyc_fft3_padded {
	int32_t n, m, reach;
	int n_threads;
	cyc_fft2 *plane; /* m x m */
	fftwf_plan z;
	cyc_cfloat *columns, *halves; /* of each thread: m x COLUMN_BATCH; transform of a plane */
	float *planes;                /* of each thread */
	size_t *first;                /* m + 1: samples of a plane that are kept, by row */
	cyc_cfloat *kept;             /* n planes of them */
};

int32_t cyc_row_within(int32_t reach, int32_t most, int64_t z, int64_t y)
{
	int64_t left = (int64_t)reach * reach - z * z - y * y;
	if (left < 0) return 0;
	int32_t n = (int32_t)sqrt((double)left) + 1;
	return n < most ? n : most;
}

static int32_t frequency(int32_t i, int32_t m) { return i < m / 2 ? i : i - m; }

double cyc_fft3_padded_bytes(int32_t n, int32_t m, int32_t reach, int n_threads)
{
	double plane = 4.0 * m * (double)m + 8.0 * (double)cyc_half_count2(m), count = 0;
	for (int32_t y = 0; y < m; y++) count += cyc_row_within(reach, m / 2 + 1, 0, frequency(y, m));
	return workers3(m, n_threads) * (plane + 8.0 * m * COLUMN_BATCH) + plane + 8.0 * n * count + 8.0 * m;
}

cyc_status cyc_fft3_padded_create(cyc_fft3_padded **out, int32_t n, int32_t m, int32_t reach, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fft3_padded *p = NULL;
	*out = NULL;
	CYC_ASSERT(n > 0 && n <= m && m % 2 == 0 && reach >= 0);
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->n = n;
	p->m = m;
	p->reach = reach;
	p->n_threads = n_threads = workers3(m, n_threads);
	CYC_TRY(cyc_alloc(&p->first, (size_t)m + 1, sizeof *p->first));
	for (int32_t y = 0; y < m; y++)
		p->first[y + 1] = p->first[y] + (size_t)cyc_row_within(reach, m / 2 + 1, 0, frequency(y, m));
	CYC_TRY(cyc_fft2_create(&p->plane, m, m));
	CYC_TRY(cyc_alloc(&p->columns, (size_t)n_threads * (size_t)m * COLUMN_BATCH, sizeof *p->columns));
	CYC_TRY(cyc_alloc(&p->planes, (size_t)n_threads * ((size_t)m * (size_t)m + 16), sizeof *p->planes));
	CYC_TRY(cyc_alloc(&p->halves, (size_t)n_threads * (cyc_half_count2(m) + 8), sizeof *p->halves));
	CYC_TRY(cyc_alloc(&p->kept, (size_t)n * p->first[m], sizeof *p->kept));
	p->z = plan_columns(p->columns, m, FFTW_FORWARD);
	CYC_CHECK(p->z, CYC_E_NOMEM, "FFTW could not plan a transform of %d^3", m);
	*out = p;
	p = NULL;
done:
	cyc_fft3_padded_destroy(&p);
	return st;
}

void cyc_fft3_padded_destroy(cyc_fft3_padded **p)
{
	if (!*p) return;
	cyc_fft2_destroy(&(*p)->plane);
	destroy_plan((*p)->z);
	cyc_free((*p)->columns);
	cyc_free((*p)->halves);
	cyc_free((*p)->planes);
	cyc_free((*p)->first);
	cyc_free((*p)->kept);
	cyc_free(*p);
	*p = NULL;
}

typedef struct {
	const cyc_fft3_padded *p;
	const cyc_fft3_padded_io *io;
} padded_pass;

/* Elements from one thread's part to the next one's, so that all are aligned as the first. */
static size_t aligned(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

static cyc_status padded_plane_task(void *arg, int64_t z, int i_thread)
{
	const padded_pass *a = arg;
	const cyc_fft3_padded *p = a->p;
	size_t m = (size_t)p->m, from = (m - (size_t)p->n) / 2;
	float *plane = p->planes + (size_t)i_thread * aligned(m * m, 16);
	cyc_cfloat *half = p->halves + (size_t)i_thread * aligned(cyc_half_count2(p->m), 8),
			   *kept = p->kept + (size_t)z * p->first[m];
	memset(plane, 0, m * m * sizeof *plane);
	for (int32_t y = 0; y < p->n; y++)
		a->io->row(plane + ((size_t)y + from) * m + from, a->io->arg, y, (int32_t)z);
	cyc_fft2_forward(half, p->plane, plane);
	for (size_t y = 0; y < m; y++)
		memcpy(kept + p->first[y], half + y * (m / 2 + 1), (p->first[y + 1] - p->first[y]) * sizeof *kept);
	return CYC_OK;
}

/* The columns of row i of the planes. */
static cyc_status padded_column_task(void *arg, int64_t i, int i_thread)
{
	const padded_pass *a = arg;
	const cyc_fft3_padded *p = a->p;
	int32_t m = p->m, y = frequency((int32_t)i, m), length = (int32_t)(p->first[i + 1] - p->first[i]);
	size_t from = (size_t)(m - p->n) / 2;
	cyc_cfloat *columns = p->columns + (size_t)i_thread * (size_t)m * COLUMN_BATCH;
	for (int32_t x = 0; x < length; x += COLUMN_BATCH) {
		int32_t n = length - x < COLUMN_BATCH ? length - x : COLUMN_BATCH;
		const cyc_cfloat *kept = p->kept + p->first[i] + x;
		memset(columns, 0, (size_t)m * COLUMN_BATCH * sizeof *columns);
		for (size_t z = 0; z < (size_t)p->n; z++)
			memcpy(columns + (z + from) * COLUMN_BATCH, kept + z * p->first[m], (size_t)n * sizeof *columns);
		fftwf_execute_dft(p->z, columns, columns);
		/* Each row begins at another height, so that threads touch memory for the first time in places apart.
		 */
		for (int32_t turn = 0, z = (int32_t)i; turn < m; turn++, z = z + 1 < m ? z + 1 : 0) {
			int32_t kz = frequency(z, m), within = cyc_row_within(p->reach, m / 2 + 1, kz, y) - x;
			if (within > 0)
				a->io->samples(a->io->arg, columns + (size_t)z * COLUMN_BATCH, within < n ? within : n, x, y,
				               kz);
		}
	}
	return CYC_OK;
}

cyc_status cyc_fft3_padded_forward(const cyc_fft3_padded *p, const cyc_fft3_padded_io *io)
{
	cyc_status st = CYC_OK;
	padded_pass a = { p, io };
	CYC_TRY(cyc_parallel_for(p->n, p->n_threads, padded_plane_task, &a));
	CYC_TRY(cyc_parallel_for(p->m, p->n_threads, padded_column_task, &a));
done:
	return st;
}

double cyc_sinc(double x) { return fabs(x) < 1e-9 ? 1 : sin(CYC_PI * x) / (CYC_PI * x); }

int32_t cyc_fft_good_size(int32_t n)
{
	for (int32_t m = n + n % 2;; m += 2) {
		int32_t r = m;
		for (int32_t f = 2; f <= 7; f += f == 2 ? 1 : 2)
			while (r % f == 0) r /= f;
		if (r == 1) return m;
	}
}

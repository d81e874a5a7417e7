/**
 * @file array.h
 * Containers of numbers: volumes (and images, and stacks of images) of float, and their Fourier transforms.
 *
 * Arrays are row-major [z][y][x], x fastest. A real array is nz x ny x nx. Its half transform is
 * nz x ny x (nx/2+1) complex, origin at index (0,0,0); index j stands for frequency j if j < (n+1)/2, else
 * j-n (so the Nyquist row is negative; do not use it: see docs/conventions.md). The forward transform is F(k)
 * = sum_x f(x) exp(-2 pi i k.x/n),  unscaled; the inverse divides by the number of voxels. The centre of an
 * even box n is voxel n/2.
 */
#ifndef CYCLOTOMO_ARRAY_H
#define CYCLOTOMO_ARRAY_H

#include "cyclotomo/base.h"
#ifdef __cplusplus
/* C++ sees the same bytes as two floats. */
typedef struct {
	float re, im;
} cyc_cfloat;
extern "C" {
#else
#include <complex.h>
typedef float complex cyc_cfloat;
#endif

/** A 3D map (or an image when nz = 1, or a stack of nz images). Owns its data. */
typedef struct {
	int32_t nx, ny, nz;
	double pixel_size_A; /**< 0 if unknown */
	float *data;         /**< nz x ny x nx */
} cyc_volume;

/** Zero-filled volume. @return CYC_E_SHAPE for a size < 1, CYC_E_NOMEM. Destroy with cyc_volume_destroy(). */
CYC_MUST_CHECK cyc_status cyc_volume_create(cyc_volume **out, int32_t nx, int32_t ny, int32_t nz,
                                            double pixel_size_A);
void cyc_volume_destroy(cyc_volume **v);
CYC_MUST_CHECK cyc_status cyc_volume_copy(cyc_volume **out, const cyc_volume *v);
static inline size_t cyc_volume_count(const cyc_volume *v)
{
	return (size_t)v->nx * (size_t)v->ny * (size_t)v->nz;
}
/** True if nx = ny = nz. */
static inline bool cyc_volume_is_cubic(const cyc_volume *v) { return v->nx == v->ny && v->ny == v->nz; }
/** Central part (n smaller) or zero-padded copy (n larger) of a cubic map; centre voxel box/2 -> n/2. Even
 * sizes only. */
CYC_MUST_CHECK cyc_status cyc_volume_resize(cyc_volume **out, const cyc_volume *v, int32_t n, int n_threads);

/** Distance in voxels from a mask's centre, voxel n/2, to its farthest voxel above 0.01; -1 if there is none.
 */
double cyc_mask_reach_px(const cyc_volume *mask);
/** The solvent's mask: above 0.5 at the eight corners of the box, below in its centre. */
bool cyc_mask_is_inverted(const cyc_volume *mask);
/** A mask that reaches less far leaves no reference, and too little to compare maps in. */
enum { CYC_LEAST_MASK_RADIUS_PX = 2 };

/** Number of complex values of the half transform of an n^3 map. */
static inline size_t cyc_half_count3(int32_t n) { return (size_t)(n / 2 + 1) * (size_t)n * (size_t)n; }
/** Bytes of a map of n^3 voxels, and of its transform. */
static inline double cyc_map_bytes(double n) { return 4.0 * n * n * n; }
static inline double cyc_transform_bytes(int32_t n) { return 8.0 * (double)cyc_half_count3(n); }
static inline size_t cyc_half_count2(int32_t n) { return (size_t)(n / 2 + 1) * (size_t)n; }

/**
 * Half a ball of Fourier coefficients: voxels (x, y, z), x >= 0, |p|^2 <= radius^2, |y|, |z| <= top, as rows
 * of x one after the other. Row (z, y), z slow, has x = 0 .. cyc_ball_length() - 1. A half transform of an
 * n^3 map without its corners: about half of it.
 */
typedef struct {
	int32_t radius, top;
	size_t count;  /**< voxels */
	size_t *first; /**< (2 top + 1)^2 + 1: of each row */
} cyc_ball;
/** Destroy with cyc_ball_destroy(). @param[in] top  <= radius */
CYC_MUST_CHECK cyc_status cyc_ball_create(cyc_ball **out, int32_t radius, int32_t top);
void cyc_ball_destroy(cyc_ball **b);
/** Number of its voxels, for plans of memory. */
double cyc_ball_count(double radius);
/** Row of -top <= z, y <= top. */
static inline size_t cyc_ball_row(const cyc_ball *b, int32_t z, int32_t y)
{
	return (size_t)(z + b->top) * (size_t)(2 * b->top + 1) + (size_t)(y + b->top);
}
static inline int32_t cyc_ball_length(const cyc_ball *b, size_t row)
{
	return (int32_t)(b->first[row + 1] - b->first[row]);
}

/**
 * 3D transform plan for n x n x n maps, built from fixed 1D/2D pieces so that results are the same for any
 * number of threads and from run to run (FFTW plans of type "estimate", one thread each).
 */
typedef struct cyc_fft3 cyc_fft3;
CYC_MUST_CHECK cyc_status cyc_fft3_create(cyc_fft3 **out, int32_t n, int n_threads);
/** Bytes of its scratch, for as many threads as have work. */
double cyc_fft3_bytes(int32_t n, int n_threads);
void cyc_fft3_destroy(cyc_fft3 **p);
/** ft (n x n x (n/2+1)) = forward transform of real (n^3), unscaled. `real` is left unchanged. Not
 * thread-safe per plan. */
CYC_MUST_CHECK cyc_status cyc_fft3_forward(cyc_cfloat *ft, const cyc_fft3 *p, const float *real);
/** real (n^3) = inverse transform of ft, divided by n^3. DESTROYS ft. */
CYC_MUST_CHECK cyc_status cyc_fft3_inverse(float *real, const cyc_fft3 *p, cyc_cfloat *ft);

/** How many samples of a row (z, y) of a half transform are within reach, of at most `most`: x = 0, 1 and so
 * on. */
int32_t cyc_row_within(int32_t reach, int32_t most, int64_t z, int64_t y);
/**
 * Transform of a map of n^3 in the middle of m^3 zeros, of which the ball |k| <= reach is wanted: bit for bit
 * as cyc_fft3_forward() makes it, but neither the zeros nor the rest of the transform take memory or time.
 */
typedef struct cyc_fft3_padded cyc_fft3_padded;
CYC_MUST_CHECK cyc_status cyc_fft3_padded_create(cyc_fft3_padded **out, int32_t n, int32_t m, int32_t reach,
                                                 int n_threads);
/** Bytes that it takes. */
double cyc_fft3_padded_bytes(int32_t n, int32_t m, int32_t reach, int n_threads);
void cyc_fft3_padded_destroy(cyc_fft3_padded **p);
/** Where the map comes from and the samples go to; called by several threads. */
typedef struct {
	void (*row)(float *to, const void *arg, int32_t y, int32_t z); /**< n voxels of the map */
	/** n samples from (x, y, z) on along x; -m/2 <= y, z < m/2 */
	void (*samples)(const void *arg, const cyc_cfloat *ft, int32_t n, int32_t x, int32_t y, int32_t z);
	const void *arg;
} cyc_fft3_padded_io;
/** Not thread-safe per plan. */
CYC_MUST_CHECK cyc_status cyc_fft3_padded_forward(const cyc_fft3_padded *p, const cyc_fft3_padded_io *io);

/** 2D plan for ny x nx images; execution is thread-safe on distinct buffers of cyc_alloc(). */
typedef struct cyc_fft2 cyc_fft2;
CYC_MUST_CHECK cyc_status cyc_fft2_create(cyc_fft2 **out, int32_t nx, int32_t ny);
void cyc_fft2_destroy(cyc_fft2 **p);
/** ft (ny x (nx/2+1)) = forward transform of real (ny x nx), unscaled. */
void cyc_fft2_forward(cyc_cfloat *ft, const cyc_fft2 *p, float *real);
/** real = inverse transform of ft, UNSCALED. Destroys ft. */
void cyc_fft2_inverse(float *real, const cyc_fft2 *p, cyc_cfloat *ft);
/**
 * Inverse plan of which only the rows first_row .. first_row + n_rows - 1 of the image are needed: those of a
 * particle in the middle of its window.
 */
typedef struct cyc_fft2_rows cyc_fft2_rows;
CYC_MUST_CHECK cyc_status cyc_fft2_rows_create(cyc_fft2_rows **out, int32_t nx, int32_t ny, int32_t first_row,
                                               int32_t n_rows);
void cyc_fft2_rows_destroy(cyc_fft2_rows **p);
/** As cyc_fft2_inverse(), to within rounding; real has room for all rows, and the others stay as they are. */
void cyc_fft2_rows_inverse(float *real, const cyc_fft2_rows *p, cyc_cfloat *ft);
/**
 * Forward plan of which only the columns x < n_columns are needed, those that lie within a radius, and only
 * the rows first_row .. first_row + n_rows - 1 of the image are read: the others are zero.
 */
typedef struct cyc_fft2_band cyc_fft2_band;
CYC_MUST_CHECK cyc_status cyc_fft2_band_create(cyc_fft2_band **out, int32_t nx, int32_t ny, int32_t n_columns,
                                               int32_t first_row, int32_t n_rows);
void cyc_fft2_band_destroy(cyc_fft2_band **p);
/** As cyc_fft2_forward(); columns from n_columns on are undefined. */
void cyc_fft2_band_forward(cyc_cfloat *ft, const cyc_fft2_band *p, float *real);
/**
 * Plan for one large image by several threads, rows and columns shared out; the result does not depend on
 * their number. As cyc_fft2_forward() and cyc_fft2_inverse(), to within rounding. Not thread-safe per plan.
 */
typedef struct cyc_fft2_image cyc_fft2_image;
CYC_MUST_CHECK cyc_status cyc_fft2_image_create(cyc_fft2_image **out, int32_t nx, int32_t ny, int n_threads);
void cyc_fft2_image_destroy(cyc_fft2_image **p);
CYC_MUST_CHECK cyc_status cyc_fft2_image_forward(cyc_cfloat *ft, const cyc_fft2_image *p, float *real);
CYC_MUST_CHECK cyc_status cyc_fft2_image_inverse(float *real, const cyc_fft2_image *p, cyc_cfloat *ft);
/** Smallest even size >= n whose prime factors are 2, 3, 5 (7): sizes the transform is fast for. */
int32_t cyc_fft_good_size(int32_t n);
/** sin(pi x)/(pi x): the transform of a box; its square that of trilinear look-up along one axis. */
double cyc_sinc(double x);

#ifdef __cplusplus
}
#endif
#endif

/**
 * @file tilt.h
 * From tomogram to tilt image: where a particle lies in each image, how deep, which images show it, and the
 * noise there.
 */
#ifndef CYCLOTOMO_TILT_H
#define CYCLOTOMO_TILT_H

#include "cyclotomo/array.h"
#include "cyclotomo/optics.h"
#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The projection of one tilt image:  q_px = linear x_A / a + origin_px,  a = pixel size, x_A relative to the
 * tomogram centre size/2. q.x, q.y are pixels of the image (centre of the first pixel = 0), q.z the depth in
 * pixels.  (T1.1)
 */
typedef struct {
	cyc_mat3 linear;    /**< R_img_tomo (RELION-4 matrices may carry shear or scale) */
	cyc_vec3 origin_px; /**< where the tomogram centre lands */
	double pixel_size_A;
} cyc_projection;
/** Projection of row i_tilt. The series must be open (the image centre is that of the image). Thread-safe. */
CYC_MUST_CHECK cyc_status cyc_projection_of_tilt(cyc_projection *out, const cyc_tilt_series *ts,
                                                 int32_t i_tilt);
/** Its linear part alone, R_img_tomo, which needs no images: the series may be closed. */
CYC_MUST_CHECK cyc_status cyc_projection_linear(cyc_mat3 *out, const cyc_tilt_series *ts, int32_t i_tilt);
/** Projected position [px], without deformation. */
cyc_vec3 cyc_project(const cyc_projection *p, cyc_vec3 position_A);
/** 2D deformation of row i_tilt at an image position: what is added to (x, y) [px]. (T1.3) */
void cyc_deformation(double *dx_px, double *dy_px, const cyc_tilt_series *ts, int32_t i_tilt, double x_px,
                     double y_px);
/** The form of a 2D deformation u(x, y), linear in its coefficients: docs/theory/01-image-formation.md,
 * (T1.3). */
typedef struct {
	cyc_deformation_type type;
	int32_t grid[2]; /**< nodes (spline) or frequencies (Fourier) in x and y */
	int32_t image_nx, image_ny;
	int32_t n; /**< coefficients; a Fourier table may end early */
} cyc_deformation_model;
/** Number of coefficients of a type and grid; 0 for none. */
int32_t cyc_deformation_n_coefficients(cyc_deformation_type type, const int32_t grid[2]);
/** The form that the coefficients of an open series have. */
cyc_deformation_model cyc_deformation_model_of(const cyc_tilt_series *ts);
/**
 * Displacement u [px] and its derivatives J[i][j] = d u_i / d x_j at an image position. Beyond the image a
 * spline keeps its value at the border, so its derivative is 0 there.
 * @param[in] coefficients  model->n in the order of RELION's rlnTomoDeformationCoefficients; NULL: zero
 * @param[out] J            NULL: not needed
 * @note Thread-safe.
 */
void cyc_deformation_value(double u[2], double J[2][2], const cyc_deformation_model *model,
                           const double *coefficients, double x_px, double y_px);
/** Derivatives of u in the coefficients at an image position: model->n x 2. They do not depend on the
 * coefficients. */
void cyc_deformation_columns(double *columns, const cyc_deformation_model *model, double x_px, double y_px);
/** Spatial frequency [rad/px] of each coefficient of a Fourier deformation, model->n. */
void cyc_deformation_frequencies(double *rad_per_px, const cyc_deformation_model *model);
/** Image position of a particle in row i_tilt: position + motion, projected, deformed. (T1.2) */
void cyc_particle_position_px(double *x_px, double *y_px, const cyc_projection *p, const cyc_tilt_series *ts,
                              int32_t i_tilt, const cyc_particle *particle);
/** Defocus of a particle minus that of the tilt [Å]: hand slope (depth of its static position). (T1.9) */
double cyc_particle_extra_defocus_A(const cyc_projection *p, const cyc_tilt_series *ts,
                                    const cyc_particle *particle);
/** Strictly inside by margin_px on all sides: margin < x < nx - margin, the same for y. */
bool cyc_is_visible(const cyc_tilt_series *ts, double x_px, double y_px, double margin_px);
/** CTF of a tilt with the aberrations of an optics group (may be NULL). Borrows the group's coefficients. */
cyc_ctf cyc_ctf_of_tilt(const cyc_tilt_series *ts, int32_t i_tilt, const cyc_optics_group *group);

/**
 * Noise power of one image by overlapping blocks: box x box tiles at step box/2 (at most 5 along an axis,
 * then evenly spread), no window, mean kept; unitary transform; |F|^2 averaged over tiles and, with linear
 * splitting between neighbouring shells, over directions.  (T1.10)
 * @param[out] power    box/2 + 1 shells
 * @param[in]  image    ny x nx
 * @return CYC_E_SHAPE if no tile fits.
 * @note Thread-safe. `n_threads` shares out the tiles; sums are in tile order whatever the number of threads.
 */
CYC_MUST_CHECK cyc_status cyc_noise_spectrum(double *power, const float *image, int32_t nx, int32_t ny,
                                             int32_t box, int n_threads);
/**
 * Tilt images and their noise spectra, kept in memory for jobs that read the same ones again. It keeps what
 * it gets until it is full, and forgets nothing: a data set larger than it is read again in part. Not
 * thread-safe; results do not depend on it.
 */
typedef struct cyc_image_cache cyc_image_cache;
CYC_MUST_CHECK cyc_status cyc_image_cache_create(cyc_image_cache **out, double most_bytes);
void cyc_image_cache_destroy(cyc_image_cache **c);
/** Images that were taken from the cache, and that were read. */
void cyc_image_cache_counts(int64_t *n_kept, int64_t *n_read, const cyc_image_cache *c);

/** Value at a real radius, linear between shells, the last value beyond. */
double cyc_radial_at(const double *shells, int32_t n_shells, double r);
/** 1/sqrt(power) at every coefficient of the half plane s x (s/2 + 1), 0 where the power is 0: what whitens a
 * transform of this frequency step. */
void cyc_whitening_plane(float *plane, int32_t s, const double *power, int32_t n_shells);

#ifdef __cplusplus
}
#endif
#endif

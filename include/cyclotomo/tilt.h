/**
 * @file tilt.h
 * From tomogram to tilt image: where a particle lies in each image, how deep, and which images show it.
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

#ifdef __cplusplus
}
#endif
#endif

/**
 * @file magnification.h
 * Anisotropic magnification of optics groups, from how the transforms of particle images are stretched
 * against their predictions: docs/theory/04-ctf-refinement.md, (T4.21) to (T4.23).
 *
 * An image is c V((1 + E) k) with a small 2 x 2 matrix E. Its antisymmetric part is a rotation, which is the
 * tilt's, and its trace is the pixel size, which matters only between groups. This leaves (E_xx - E_yy)/2 and
 * (E_xy + E_yx)/2.
 */
#ifndef CYC_MAGNIFICATION_H
#define CYC_MAGNIFICATION_H

#include "cyclotomo/project.h"
#include "reference/prediction_pass.h"

/** Quadratic model of the log-likelihood in (trace/2, (E_xx - E_yy)/2, (E_xy + E_yx)/2), the tilts' scale,
 * shift and rotation free. */
enum { CYC_N_STRETCH = 3 };
typedef struct {
	int64_t n_particles;
	double g[CYC_N_STRETCH], H[CYC_N_STRETCH][CYC_N_STRETCH];
} cyc_stretch_model;

/** Work memory: predictions at stretched frequencies. One at a time per backend. */
typedef struct cyc_magnification_pass cyc_magnification_pass;
/** Bytes per particle that it takes. */
size_t cyc_magnification_bytes(int32_t box_px);
CYC_MUST_CHECK cyc_status cyc_magnification_pass_create(cyc_magnification_pass **out,
                                                        const cyc_prediction_pass *predict,
                                                        double k_min_index);
void cyc_magnification_pass_destroy(cyc_magnification_pass **p);
/** Before the first batch of an optics group of a tilt image. */
void cyc_magnification_begin(cyc_magnification_pass *p);
/** Add the present batch of the prediction pass. */
CYC_MUST_CHECK cyc_status cyc_magnification_add(cyc_magnification_pass *p);
/** After its last batch: the evidence of both half-sets is added to models[2]. */
CYC_MUST_CHECK cyc_status cyc_magnification_end(cyc_stretch_model models[2], cyc_magnification_pass *p);

/** Result for a group. */
typedef struct {
	bool is_written;
	double E[2][2]; /**< found: symmetric increment of the matrix */
	double stretch[CYC_N_STRETCH], error[CYC_N_STRETCH];
	double gain; /**< log-likelihood that each half-set gains by the other's fit */
} cyc_magnification_result;
/**
 * @param[in] models   n_groups x 2: by group and half-set
 * Groups share their pixel size: the mean trace is taken out, all of it if there is one group.
 */
CYC_MUST_CHECK cyc_status cyc_magnification_results(cyc_magnification_result *results,
                                                    const cyc_stretch_model *models, int32_t n_groups);
/** New matrices M (1 + E) of the groups whose result is to be written. */
CYC_MUST_CHECK cyc_status cyc_magnification_apply(cyc_particle_set *set,
                                                  const cyc_magnification_result *results);

/** Record of a series, as for the other results. */
CYC_MUST_CHECK cyc_status cyc_magnification_record_write(const char *path, const cyc_stretch_model *models,
                                                         int32_t n_groups, uint64_t hash);
CYC_MUST_CHECK cyc_status cyc_magnification_record_read(bool *found, cyc_stretch_model *models,
                                                        int32_t n_groups, const char *path, uint64_t hash);
#endif

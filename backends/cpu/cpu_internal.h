/** @file cpu_internal.h  What the operations of the cpu backend share: its context and their declarations. */
#ifndef CYC_CPU_INTERNAL_H
#define CYC_CPU_INTERNAL_H

#include "backends/backend.h"
#include "array/reference_cell.h"

typedef struct cyc_window_plan cyc_window_plan;
typedef struct cyc_image_plan cyc_image_plan;

/** Windows of a tilt image and of the images cut from it take turns. */
enum { CYC_CPU_WINDOW_PLANS = 2 };

typedef struct {
	int n_threads;
	cyc_window_plan *window[CYC_CPU_WINDOW_PLANS]; /**< of the last cyc_window_specs, the latest first */
	cyc_image_plan *image;                         /**< of the last cyc_particle_image_spec */
	cyc_fft3 *fft3;                                /**< of the last size */
	int32_t fft3_n;
	void *scratch; /**< n_scratch x scratch_bytes */
	int n_scratch;
	size_t scratch_bytes;
} cyc_cpu;

/** Scratch memory of at least `bytes` for each thread that n_items keep busy; thread i's part starts at i x
 * scratch_bytes. Contents undefined. */
CYC_MUST_CHECK cyc_status cyc__cpu_scratch(cyc_cpu *cpu, int64_t n_items, size_t bytes);
static inline void *cyc__cpu_scratch_of(const cyc_cpu *cpu, int i_thread)
{
	return (char *)cpu->scratch + (size_t)i_thread * cpu->scratch_bytes;
}
void cyc__window_plan_destroy(cyc_window_plan **p);
void cyc__image_plan_destroy(cyc_image_plan **p);

cyc_status cyc_window_cpu(void *self, cyc_cfloat *ft, const float *image, int32_t nx, int32_t ny,
                          const double *at_px, int32_t n, const cyc_window_spec *spec);
cyc_status cyc_ctf_cpu(void *self, float *ctf, float *quadrature, const cyc_ctf_in *in);
cyc_status cyc_particle_image_cpu(void *self, float *images, const cyc_cfloat *ft, const float *ctf,
                                  const cyc_cfloat *phase, const float *whiten,
                                  const cyc_particle_image_spec *spec, int32_t n);
cyc_status cyc_pack_cpu(void *self, float *packed, const cyc_pack_in *in);
cyc_status cyc_modulate_cpu(void *self, float *packed, const cyc_modulate_in *in);
cyc_status cyc_slice_insert_cpu(void *self, int64_t *sum, const cyc_sum_spec *spec, const float *packed,
                                const cyc_slices *slices);
cyc_status cyc_slice_extract_cpu(void *self, cyc_cfloat *ft, const cyc_slice_extract_in *in);
cyc_status cyc_ctf_sums_cpu(void *self, double *sums, const cyc_ctf_sums_in *in);
cyc_status cyc_correlate_cpu(void *self, float *maps, double *curves, const cyc_correlate_in *in);
cyc_status cyc_pose_terms_cpu(void *self, double *sums, const cyc_pose_images *images,
                              const cyc_pose_row *rows, int64_t n);
cyc_status cyc_pose_scores_cpu(void *self, cyc_pose_sample *samples, int64_t *counts,
                               const cyc_pose_images *images, const cyc_pose_trials *in);
cyc_status cyc_fft3_forward_cpu(void *self, cyc_cfloat *ft, const float *real, int32_t s);
cyc_status cyc_fft3_inverse_cpu(void *self, float *real, cyc_cfloat *ft, int32_t s);

#endif

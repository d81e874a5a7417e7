/**
 * @file device.h
 * The operations of backend.h on a device: tables are made on the host, kernels do the rest. Backends differ
 * in their device_api only.
 */
#ifndef CYC_DEVICE_H
#define CYC_DEVICE_H

#include "backends/backend.h"
#include "backends/device/device_api.h"

/** Memory that an operation needs besides its arguments, kept from call to call. */
enum {
	CYC_SCRATCH_REAL,
	CYC_SCRATCH_FT,
	CYC_SCRATCH_A, /* small tables */
	CYC_SCRATCH_B,
	CYC_SCRATCH_C,
	CYC_SCRATCH_D,
	CYC_SCRATCH_TRIALS, /* of poses: */
	CYC_SCRATCH_ROTATIONS,
	CYC_SCRATCH_OFFSETS,
	CYC_SCRATCH_TILES,
	CYC_SCRATCH_SCORES,
	CYC_SCRATCH_LIMITS,
	CYC_SCRATCH_ROWS,
	CYC_SCRATCH_CIRCLE, /* of the last window_spec */
	CYC_SCRATCH_CORNER,
	CYC_SCRATCH_CIRCLE_FROM,
	CYC_SCRATCH_IMAGE_CIRCLE, /* of the last cyc_particle_image_spec */
	CYC_SCRATCH_BALL,         /* of the last ball */
	CYC_SCRATCH_TURNS,        /* of the last grid */
	CYC_N_SCRATCH
};

typedef struct {
	const cyc_device_api *api;
	void *device;
	int n_threads;
	size_t held,
		peak; /* bytes of buffers and scratch memory; what transforms take for themselves is not in it */
	bool is_stepwise; /* wait for the end of each operation: CYCLOTOMO_DEVICE_STEPWISE is set */
	struct {
		void *address;
		size_t bytes;
	} scratch[CYC_N_SCRATCH];
	/* What the tables in scratch memory were made for; zeroed: for nothing. */
	cyc_window_spec window;
	cyc_particle_image_spec image;
	double outside_count;
	int32_t ball_radius, ball_top;
	cyc_local_grid grid;
	int32_t grid_radius, grid_s;
} cyc_device;

/** Open a device of an API. CYC_E_UNSUPPORTED if no device can be used. */
CYC_MUST_CHECK cyc_status cyc__device_create(void **self, const cyc_device_api *api, int n_threads,
                                             const char *options);
/** A line about it, for the log. */
const char *cyc__device_name(const void *self);
/** Bytes of its memory that are this backend's or can be had now; HUGE_VAL: as many as the host has. */
CYC_MUST_CHECK cyc_status cyc__device_room(double *bytes, const void *self);
/** The most bytes that buffers and scratch memory had at one time. */
double cyc__device_peak_bytes(const void *self);
/** Raise what a call of the device returned. */
CYC_MUST_CHECK cyc_status cyc__device_check(const cyc_device *d, cyc_device_result result, const char *what);
/** At least `bytes` of scratch memory, contents undefined. */
CYC_MUST_CHECK cyc_status cyc__device_scratch(void *address_out, cyc_device *d, int slot, size_t bytes);
/** Host data in scratch memory. */
CYC_MUST_CHECK cyc_status cyc__device_put(void *address_out, cyc_device *d, int slot, const void *host,
                                          size_t bytes);
/** Wait for all that was asked for, and copy to the host. */
CYC_MUST_CHECK cyc_status cyc__device_get(cyc_device *d, void *host, const void *address, size_t bytes);
#define cyc__device_launch(d, kernel, args, n_blocks)                                                        \
	cyc__device_check((d), (d)->api->launch((d)->device, CYC_KERNEL_##kernel, (args), (n_blocks)), #kernel)

cyc_status cyc_window_device(void *self, cyc_cfloat *ft, const float *image, int32_t nx, int32_t ny,
                             const double *at_px, int32_t n, const cyc_window_spec *spec);
cyc_status cyc_ctf_device(void *self, float *ctf, float *quadrature, const cyc_ctf_in *in);
cyc_status cyc_particle_image_device(void *self, float *images, const cyc_cfloat *ft, const float *ctf,
                                     const cyc_cfloat *phase, const float *whiten,
                                     const cyc_particle_image_spec *spec, int32_t n);
cyc_status cyc_pack_device(void *self, float *packed, const cyc_pack_in *in);
cyc_status cyc_modulate_device(void *self, float *packed, const cyc_modulate_in *in);
cyc_status cyc_slice_insert_device(void *self, int64_t *sum, const cyc_sum_spec *spec, const float *packed,
                                   const cyc_slices *slices);
cyc_status cyc_slice_extract_device(void *self, cyc_cfloat *ft, const cyc_slice_extract_in *in);
cyc_status cyc_ctf_sums_device(void *self, double *sums, const cyc_ctf_sums_in *in);
cyc_status cyc_correlate_device(void *self, float *maps, double *curves, const cyc_correlate_in *in);
cyc_status cyc_pose_terms_device(void *self, double *sums, const cyc_pose_images *images,
                                 const cyc_pose_row *rows, int64_t n);
cyc_status cyc_pose_scores_device(void *self, cyc_pose_sample *samples, int64_t *counts,
                                  const cyc_pose_images *images, const cyc_pose_trials *in);

/** All operations but create(), for the table of a backend. */
extern const struct cyc_backend_ops cyc__device_ops;

#endif

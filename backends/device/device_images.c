/* Windows and images of particles: kernels before and after batches of transforms. */
#include "backends/device/device.h"
#include "backends/kernels/particle_image.h"
#include "backends/kernels/window.h"
#include "backends/tables.h"

#include <string.h>

/* Distances of planes in a batch: whole cache lines, so that all are aligned alike. */
static int64_t real_distance(int32_t s) { return ((int64_t)s * s + 15) / 16 * 16; }
static int64_t ft_distance(int32_t s) { return ((int64_t)cyc_half_count2(s) + 7) / 8 * 8; }

/*
 * Planes that are transformed for n: plans are made for a number of planes, which takes milliseconds, and the
 * number of particles is another one in every tilt. 4 numbers for each doubling; what is too many is not
 * used.
 */
static int32_t n_planes(int32_t n)
{
	int32_t step = 1;
	while (n > 8 * step) step *= 2;
	return (n + step - 1) / step * step;
}

static cyc_status batch_create(cyc_fft2_call *call, cyc_device *d, int32_t s, int32_t n)
{
	cyc_status st = CYC_OK;
	call->s = s;
	call->n = n_planes(n);
	call->n_columns = s / 2 + 1;
	call->real_distance = real_distance(s);
	call->ft_distance = ft_distance(s);
	CYC_TRY(cyc__device_scratch(&call->real, d, CYC_SCRATCH_REAL,
	                            (size_t)call->n * (size_t)call->real_distance * sizeof(float)));
	CYC_TRY(cyc__device_scratch(&call->ft, d, CYC_SCRATCH_FT,
	                            (size_t)call->n * (size_t)call->ft_distance * sizeof(cyc_pair)));
done:
	return st;
}

static cyc_status transform(cyc_device *d, const cyc_fft2_call *call)
{
	return cyc__device_check(d, d->api->fft2(d->device, call), "a transform of images");
}

/* ---------------------------------------------------------------- windows */

static cyc_status put_circle(cyc_device *d, int32_t S)
{
	cyc_status st = CYC_OK;
	float *circle = NULL, *corner = NULL;
	int32_t *from = NULL;
	void *p;
	size_t count = (size_t)S * (size_t)S;
	CYC_TRY(cyc_alloc(&circle, count, sizeof *circle));
	CYC_TRY(cyc_alloc(&corner, count, sizeof *corner));
	CYC_TRY(cyc_alloc(&from, S, sizeof *from));
	cyc__window_circle(circle, corner, from, S);
	d->window.box_px = 0;
	CYC_TRY(cyc__device_put(&p, d, CYC_SCRATCH_CIRCLE, circle, count * sizeof *circle));
	CYC_TRY(cyc__device_put(&p, d, CYC_SCRATCH_CORNER, corner, count * sizeof *corner));
	CYC_TRY(cyc__device_put(&p, d, CYC_SCRATCH_CIRCLE_FROM, from, (size_t)S * sizeof *from));
	d->window.box_px = S;
done:
	cyc_free(circle);
	cyc_free(corner);
	cyc_free(from);
	return st;
}

/* Tables of the windows of a call, made on the host's threads. */
typedef struct {
	cyc_window_at *at;
	cyc_cfloat *ramps; /* n x (s/2 + 1 + s) */
	const double *at_px;
	const cyc_window_spec *spec;
	int32_t nx, ny;
} window_tables;

static cyc_status table_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const window_tables *t = arg;
	size_t s = (size_t)t->spec->box_binned, sh = s / 2 + 1;
	cyc_cfloat *ramps = t->ramps + (size_t)i * (sh + s);
	int32_t x0, y0;
	cyc__window_corner(&x0, &y0, t->at_px + 2 * i, t->spec->box_px);
	cyc_window_part part = cyc__window_part(t->spec, x0, y0, t->nx, t->ny);
	t->at[i] = (cyc_window_at){ x0, y0, part.first_x, part.last_x, part.first_y, part.last_y };
	cyc__window_ramps(ramps, ramps + sh, t->spec, t->at_px + 2 * i);
	return CYC_OK;
}

static cyc_status cut_windows(cyc_device *d, const cyc_fft2_call *call, const float *image,
                              const window_tables *t, int32_t n)
{
	cyc_status st = CYC_OK;
	const cyc_window_spec *spec = t->spec;
	int32_t S = spec->box_px;
	cyc_window_cut_args cut = {
		.real = call->real, .stride = call->real_distance, .image = image, .nx = t->nx, .ny = t->ny, .S = S
	};
	CYC_TRY(cyc__device_put(&cut.at, d, CYC_SCRATCH_A, t->at, (size_t)n * sizeof *t->at));
	if (!spec->no_circle_crop || spec->is_partial) {
		cyc_window_means_args means = { .image = image, .at = cut.at, .nx = t->nx, .ny = t->ny, .S = S };
		if (d->window.box_px != S) CYC_TRY(put_circle(d, S));
		means.corner = d->scratch[CYC_SCRATCH_CORNER].address;
		means.circle_from = d->scratch[CYC_SCRATCH_CIRCLE_FROM].address;
		CYC_TRY(cyc__device_scratch(&means.means, d, CYC_SCRATCH_B, (size_t)n * sizeof(float)));
		CYC_TRY(cyc__device_launch(d, window_means, &means, n));
		cut.means = means.means;
		if (!spec->no_circle_crop) cut.circle = d->scratch[CYC_SCRATCH_CIRCLE].address;
	}
	CYC_TRY(cyc__device_launch(d, window_cut, &cut, n * cyc_n_blocks((int64_t)S * S, CYC_WINDOW_CUT_LANES)));
done:
	return st;
}

cyc_status cyc_window_device(void *self, cyc_cfloat *ft, const float *image, int32_t nx, int32_t ny,
                             const double *at_px, int32_t n, const cyc_window_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	int32_t s = spec->box_binned;
	size_t n_ramps = (size_t)n * (size_t)(s / 2 + 1 + s);
	window_tables t = { .at_px = at_px, .spec = spec, .nx = nx, .ny = ny };
	cyc_fft2_call call = { .is_forward = true };
	if (n == 0) goto done;
	CYC_TRY(cyc_alloc(&t.at, n, sizeof *t.at));
	CYC_TRY(cyc_alloc(&t.ramps, n_ramps, sizeof *t.ramps));
	CYC_TRY(cyc_parallel_for(n, d->n_threads, table_task, &t));
	CYC_TRY(batch_create(&call, d, spec->box_px, n));
	call.n_columns = cyc__window_radius(spec) + 1;
	CYC_TRY(cut_windows(d, &call, image, &t, n));
	CYC_TRY(transform(d, &call));
	cyc_window_turn_args turn = { .ft = (void *)ft,
		                          .big = call.ft,
		                          .stride = call.ft_distance,
		                          .S = spec->box_px,
		                          .s = s,
		                          .radius = call.n_columns - 1 };
	CYC_TRY(cyc__device_put(&turn.ramps, d, CYC_SCRATCH_C, t.ramps, n_ramps * sizeof *t.ramps));
	CYC_TRY(cyc__device_launch(d, window_turn, &turn,
	                           n * cyc_n_blocks((int64_t)cyc_half_count2(s), CYC_WINDOW_TURN_LANES)));
done:
	cyc_free(t.at);
	cyc_free(t.ramps);
	return st;
}

/* ---------------------------------------------------------------- images of particles */

static cyc_status put_image_circle(cyc_device *d, const cyc_particle_image_spec *spec)
{
	cyc_status st = CYC_OK;
	float *circle = NULL;
	void *p;
	size_t c = (size_t)spec->circle_px;
	if (d->image.box_binned == spec->box_binned && d->image.circle_px == spec->circle_px) goto done;
	memset(&d->image, 0, sizeof d->image);
	CYC_TRY(cyc_alloc(&circle, c * c, sizeof *circle));
	cyc__image_circle(circle, &d->outside_count, spec);
	CYC_TRY(cyc__device_put(&p, d, CYC_SCRATCH_IMAGE_CIRCLE, circle, c * c * sizeof *circle));
	d->image = *spec;
done:
	cyc_free(circle);
	return st;
}

static cyc_status cut_images(cyc_device *d, float *images, const cyc_fft2_call *call, const double *totals,
                             const cyc_particle_image_spec *spec, int32_t n)
{
	cyc_status st = CYC_OK;
	int32_t edge = spec->edge_px;
	cyc_image_cut_args cut = { .images = images,
		                       .real = call->real,
		                       .stride = call->real_distance,
		                       .s = spec->box_binned,
		                       .c = spec->circle_px,
		                       .edge = edge };
	if (!spec->no_circle_crop) {
		CYC_TRY(put_image_circle(d, spec));
		cyc_image_means_args means = { .real = call->real,
			                           .stride = call->real_distance,
			                           .totals = totals,
			                           .circle = d->scratch[CYC_SCRATCH_IMAGE_CIRCLE].address,
			                           .outside_count = d->outside_count,
			                           .s = spec->box_binned,
			                           .c = spec->circle_px };
		CYC_TRY(cyc__device_scratch(&means.means, d, CYC_SCRATCH_B, (size_t)n * sizeof(float)));
		CYC_TRY(cyc__device_launch(d, image_means, &means, n));
		cut.means = means.means;
		cut.circle = means.circle;
	}
	CYC_TRY(
		cyc__device_launch(d, image_cut, &cut, n * cyc_n_blocks((int64_t)edge * edge, CYC_IMAGE_CUT_LANES)));
done:
	return st;
}

cyc_status cyc_particle_image_device(void *self, float *images, const cyc_cfloat *ft, const float *ctf,
                                     const cyc_cfloat *phase, const float *whiten,
                                     const cyc_particle_image_spec *spec, int32_t n)
{
	cyc_status st = CYC_OK;
	cyc_device *d = self;
	int32_t s = spec->box_binned;
	cyc_fft2_call call = { .is_forward = false };
	if (n == 0) goto done;
	CYC_TRY(batch_create(&call, d, s, n));
	cyc_image_weigh_args weigh = { .out = call.ft,
		                           .stride = call.ft_distance,
		                           .ft = (const void *)ft,
		                           .ctf = ctf,
		                           .phase = (const void *)phase,
		                           .whiten = whiten,
		                           .factor = spec->factor,
		                           .s = s };
	CYC_TRY(cyc__device_scratch(&weigh.totals, d, CYC_SCRATCH_A, (size_t)n * sizeof(double)));
	CYC_TRY(cyc__device_launch(d, image_weigh, &weigh,
	                           n * cyc_n_blocks((int64_t)cyc_half_count2(s), CYC_IMAGE_WEIGH_LANES)));
	CYC_TRY(transform(d, &call));
	CYC_TRY(cut_images(d, images, &call, weigh.totals, spec, n));
done:
	return st;
}

#include "reconstruct/accumulate.h"
#include "tilt/tilt_image.h"

#include <math.h>

struct cyc_accumulator {
	cyc_backend *be;
	cyc_box box;
	const cyc_reconstruct_options *options;
	cyc_buffer *sum[2];
	cyc_tilt_image image;
	cyc_buffer *ft, *ctf, *packed, *turns, *envelope, *phase, *whiten, *k2;
	cyc_tilt_batch *batch;
	cyc_tilt_tables *tables;
	int32_t *radius;
	cyc_mat3 *M;
	double *power;
	float *whiten_host;
};

static size_t bytes_per_particle(int32_t s)
{
	return cyc_half_count2(s) * (sizeof(cyc_cfloat) + sizeof(float)) + cyc_packed_count(s) * sizeof(float);
}

cyc_status cyc__accumulator_create(cyc_accumulator **out, cyc_backend *be, const cyc_box *box, const cyc_reconstruct_options *options)
{
	cyc_status st = CYC_OK;
	cyc_accumulator *a = NULL;
	int32_t s = box->window.box_binned, capacity = cyc_tilt_batch_capacity(bytes_per_particle(s));
	size_t plane = cyc_half_count2(s), n = (size_t)capacity;
	*out = NULL;
	CYC_TRY(cyc_alloc(&a, 1, sizeof *a));
	a->be = be;
	a->box = *box;
	a->options = options;
	for (int h = 0; h < 2; h++) CYC_TRY(cyc_buffer_create(&a->sum[h], be, 4 * cyc_half_count3(s), sizeof(float)));
	CYC_TRY(cyc_buffer_create(&a->ft, be, n * plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&a->ctf, be, n * plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&a->packed, be, n * cyc_packed_count(s), sizeof(float)));
	CYC_TRY(cyc_buffer_create(&a->turns, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&a->envelope, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&a->phase, be, plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&a->whiten, be, plane, sizeof(float)));
	CYC_TRY(cyc_tilt_batch_create(&a->batch, capacity));
	CYC_TRY(cyc_tilt_tables_create(&a->tables, s));
	CYC_TRY(cyc_alloc(&a->radius, capacity, sizeof *a->radius));
	CYC_TRY(cyc_alloc(&a->M, capacity, sizeof *a->M));
	CYC_TRY(cyc_alloc(&a->power, (size_t)box->window.box_px / 2 + 1, sizeof *a->power));
	CYC_TRY(cyc_alloc(&a->whiten_host, plane, sizeof *a->whiten_host));
	*out = a;
	a = NULL;
done:
	cyc__accumulator_destroy(&a);
	return st;
}

void cyc__accumulator_release_work(cyc_accumulator *a)
{
	cyc_buffer **const buffers[] = { &a->ft, &a->ctf, &a->packed, &a->turns, &a->envelope, &a->phase, &a->whiten, &a->k2 };
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) cyc_buffer_destroy(buffers[i]);
	cyc_tilt_image_deinit(&a->image);
}

void cyc__accumulator_destroy(cyc_accumulator **p)
{
	cyc_accumulator *a = *p;
	if (!a) return;
	cyc__accumulator_release_work(a);
	for (int h = 0; h < 2; h++) cyc_buffer_destroy(&a->sum[h]);
	cyc_tilt_batch_destroy(&a->batch);
	cyc_tilt_tables_destroy(&a->tables);
	cyc_free(a->radius);
	cyc_free(a->M);
	cyc_free(a->power);
	cyc_free(a->whiten_host);
	cyc_free(a);
	*p = NULL;
}

cyc_buffer *cyc__accumulator_sum(cyc_accumulator *a, int half) { return a->sum[half]; }

void cyc__accumulator_set_sum(cyc_accumulator *a, int half, cyc_buffer *sum)
{
	cyc_buffer_destroy(&a->sum[half]);
	a->sum[half] = sum;
}

double cyc__accumulator_memory_bytes(int32_t s, int32_t S, int32_t nx, int32_t ny, int n_threads)
{
	double sums = 2.0 * 16 * (double)cyc_half_count3(s), maps = 2.0 * 4 * s * (double)s * s, image = 8.0 * nx * (double)ny;
	double batch = (double)cyc_tilt_batch_capacity(bytes_per_particle(s)) * (double)bytes_per_particle(s);
	double threads = n_threads * fmax(16.0 * (double)cyc_half_count2(s), 8.5 * S * (double)S);
	return sums + fmax(maps, image + batch) + threads + 30e6;
}

/* 1/sqrt of the noise power at each coefficient. Window and binned box have the same frequency step, so the same index. */
static cyc_status load_whitening(cyc_accumulator *a, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	int32_t S = a->box.window.box_px, s = a->box.window.box_binned, sh = s / 2 + 1;
	CYC_TRY(cyc_noise_spectrum(a->power, a->image.pixels, ts->image_nx, ts->image_ny, S, cyc_backend_n_threads(a->be)));
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < sh; x++) {
			double p = cyc_radial_at(a->power, S / 2 + 1, hypot(x, y < s / 2 ? y : y - s));
			a->whiten_host[(size_t)y * (size_t)sh + (size_t)x] = p > 0 ? (float)(1 / sqrt(p)) : 0;
		}
	CYC_TRY(cyc_buffer_upload(a->whiten, a->whiten_host, cyc_half_count2(s) * sizeof(float)));
done:
	return st;
}

static cyc_status insert_batch(cyc_accumulator *a, const cyc_tilt_series *ts, double pixel_ratio)
{
	cyc_status st = CYC_OK;
	const cyc_reconstruct_options *o = a->options;
	const cyc_tilt_batch *b = a->batch;
	int32_t s = a->box.window.box_binned;
	CYC_TRY(cyc_op_window(a->ft, a->be, a->image.device, ts->image_nx, ts->image_ny, b->at_px, b->n, &a->box.window));
	if (!o->no_ctf)
		CYC_TRY(cyc_op_ctf_magnified(a->ctf, NULL, a->be, a->turns, a->envelope, a->tables->has_k2 ? a->k2 : NULL, b->turns_per_k2, b->n, s));
	CYC_TRY(cyc_op_modulate(a->packed, a->be, a->ft, o->no_ctf ? NULL : a->ctf, a->tables->has_odd ? a->phase : NULL, o->whiten ? a->whiten : NULL,
	                        b->weight, b->n, s));
	int32_t radius = o->no_ctf ? s / 2 : a->tables->radius, radius_in_map = (int32_t)fmin(radius / pixel_ratio, s / 2);
	for (int32_t i = 0; i < b->n; i++) {
		/* Frequencies map with the inverse transpose: the matrix itself for rotations, not for RELION-4's shears. */
		a->M[i] = cyc_mat3_transpose(cyc_mat3_inverse(b->R_img_ref[i]));
		for (int j = 0; j < 9; j++) a->M[i].m[j / 3][j % 3] *= pixel_ratio;
		a->radius[i] = radius_in_map;
	}
	for (int8_t h = 0; h < 2; h++) CYC_TRY(cyc_op_slice_insert(a->sum[h], a->be, a->packed, a->M, a->radius, b->half, h, b->n, s));
done:
	return st;
}

cyc_status cyc__accumulate_series(cyc_accumulator *a, int64_t *n_images, int64_t *n_outside, cyc_tilt_series *ts, const cyc_particle_set *set,
                                  int32_t i_series, const char *root)
{
	cyc_status st = CYC_OK;
	const cyc_reconstruct_options *o = a->options;
	int32_t s = a->box.window.box_binned, S = a->box.window.box_px;
	cyc_box box = a->box; /* of this series: windows have its own pixel size */
	bool *used = NULL;
	box.pixel_size_A = a->box.binning * ts->pixel_size_A;
	/* Index p of the map is frequency p / (s output pixel), and so index p own/output of this series' windows. */
	double pixel_ratio = box.pixel_size_A / a->box.pixel_size_A;
	CYC_TRY(cyc_tilt_series_open(ts, root));
	CYC_CHECK(S <= ts->image_nx && S <= ts->image_ny, CYC_E_SHAPE, "the window of %d px is larger than the tilt images of %s (%d x %d px)", S, ts->name,
	          ts->image_nx, ts->image_ny);
	CYC_TRY(cyc_alloc(&used, (size_t)set->n_optics + 1, sizeof *used));
	cyc_optics_used(used, set, i_series);
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		CYC_TRY(cyc_cancel_check());
		if (ts->tilts[f].scale == 0) continue;
		CYC_TRY(cyc_tilt_image_load(&a->image, a->be, ts, f));
		if (o->whiten) CYC_TRY(load_whitening(a, ts));
		for (int32_t g = 0; g < set->n_optics; g++) {
			if (!used[g]) continue;
			CYC_TRY(cyc_tilt_tables_fill(a->tables, ts, f, &set->optics[g], box.pixel_size_A, o->cutoff_frac));
			CYC_TRY(cyc_buffer_upload(a->turns, a->tables->turns, cyc_half_count2(s) * sizeof(float)));
			CYC_TRY(cyc_buffer_upload(a->envelope, a->tables->envelope, cyc_half_count2(s) * sizeof(float)));
			if (a->tables->has_odd) CYC_TRY(cyc_buffer_upload(a->phase, a->tables->odd_phase, cyc_half_count2(s) * sizeof(cyc_cfloat)));
			if (a->tables->has_k2) {
				if (!a->k2) CYC_TRY(cyc_buffer_create(&a->k2, a->be, cyc_half_count2(s), sizeof(float)));
				CYC_TRY(cyc_buffer_upload(a->k2, a->tables->k2, cyc_half_count2(s) * sizeof(float)));
			}
			int64_t count = set->series_first[i_series + 1] - set->series_first[i_series];
			for (int64_t cursor = 0; cursor < count;) {
				CYC_TRY(cyc_tilt_batch_fill(a->batch, &cursor, n_outside, ts, f, set, i_series, g, &box));
				*n_images += a->batch->n;
				if (a->batch->n > 0) CYC_TRY(insert_batch(a, ts, pixel_ratio));
			}
		}
	}
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	cyc_free(used);
	return st;
}

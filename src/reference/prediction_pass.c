#include "reference/prediction_pass.h"

#include <math.h>

cyc_status cyc_prediction_pass_create(cyc_prediction_pass **out, cyc_backend *be, const cyc_box *box,
                                      const cyc_reference *reference, double cutoff_frac, bool has_quadrature,
                                      size_t more_bytes, int64_t most_particles)
{
	cyc_status st = CYC_OK;
	cyc_prediction_pass *p = NULL;
	int32_t s = box->window.box_binned;
	size_t plane = cyc_half_count2(s);
	*out = NULL;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->be = be;
	p->box = *box;
	p->reference = reference;
	p->cutoff_frac = cutoff_frac;
	int32_t capacity = cyc_tilt_batch_capacity(
		plane * (2 * sizeof(cyc_cfloat) + (has_quadrature ? 2 : 1) * sizeof(float)) + more_bytes,
		most_particles, cyc_backend_batch_bytes(be));
	size_t n = (size_t)capacity;
	CYC_TRY(cyc_buffer_create(&p->ft, be, n * plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&p->prediction, be, n * plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&p->ctf, be, n * plane, sizeof(float)));
	if (has_quadrature) CYC_TRY(cyc_buffer_create(&p->quadrature, be, n * plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->turns, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->envelope, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->phase_memory, be, plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_tilt_batch_create(&p->batch, capacity));
	CYC_TRY(cyc_tilt_tables_create(&p->tables, s, cyc_backend_n_threads(be)));
	CYC_TRY(cyc_alloc(&p->power, (size_t)box->window.box_px / 2 + 1, sizeof *p->power));
	*out = p;
	p = NULL;
done:
	cyc_prediction_pass_destroy(&p);
	return st;
}

void cyc_prediction_pass_destroy(cyc_prediction_pass **pp)
{
	cyc_prediction_pass *p = *pp;
	if (!p) return;
	cyc_buffer **const buffers[] = { &p->ft,    &p->prediction, &p->ctf,          &p->quadrature,
		                             &p->turns, &p->envelope,   &p->phase_memory, &p->k2_memory };
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) cyc_buffer_destroy(buffers[i]);
	cyc_tilt_image_deinit(&p->image);
	cyc_frame_share_deinit(&p->frame);
	cyc_tilt_batch_destroy(&p->batch);
	cyc_tilt_tables_destroy(&p->tables);
	cyc_free(p->power);
	cyc_free(p);
	*pp = NULL;
}

cyc_status cyc_prediction_pass_open(const cyc_prediction_pass *p, cyc_tilt_series *ts, const char *root)
{
	return cyc_tilt_series_open_for(ts, root, p->box.window.box_px);
}

cyc_status cyc_prediction_pass_image(cyc_prediction_pass *p, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	p->frame_tilt = -1;
	CYC_TRY(cyc_tilt_image_load(&p->image, p->be, ts, i_tilt));
	CYC_TRY(
		cyc_tilt_image_noise(p->power, &p->image, ts, p->box.window.box_px, cyc_backend_n_threads(p->be)));
done:
	return st;
}

cyc_status cyc_prediction_pass_group(cyc_prediction_pass *p, const cyc_tilt_series *ts, int32_t i_tilt,
                                     const cyc_optics_group *group)
{
	cyc_status st = CYC_OK;
	size_t plane = cyc_half_count2(p->box.window.box_binned);
	CYC_TRY(cyc_tilt_tables_fill(p->tables, ts, i_tilt, group, p->box.pixel_size_A, p->cutoff_frac));
	CYC_TRY(cyc_buffer_upload(p->turns, p->tables->turns, plane * sizeof(float)));
	CYC_TRY(cyc_buffer_upload(p->envelope, p->tables->envelope, plane * sizeof(float)));
	p->phase = NULL;
	if (p->tables->has_odd) {
		CYC_TRY(cyc_buffer_upload(p->phase_memory, p->tables->odd_phase, plane * sizeof(cyc_cfloat)));
		p->phase = p->phase_memory;
	}
	p->k2 = NULL;
	if (p->tables->has_k2) {
		if (!p->k2_memory) CYC_TRY(cyc_buffer_create(&p->k2_memory, p->be, plane, sizeof(float)));
		CYC_TRY(cyc_buffer_upload(p->k2_memory, p->tables->k2, plane * sizeof(float)));
		p->k2 = p->k2_memory;
	}
	p->radius = p->tables->radius < p->reference->radius ? p->tables->radius : p->reference->radius;
	p->box.window.radius = p->radius;
done:
	return st;
}

/* Windows that leave their image: predictions of what the frame shows. */
static cyc_status weigh_partial(cyc_prediction_pass *p, const cyc_tilt_series *ts, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	cyc_cfloat *observed = NULL, *predicted = NULL;
	bool is_partial = false;
	for (int32_t i = 0; i < p->batch->n; i++) is_partial = is_partial || p->batch->weight[i] < 1;
	if (!is_partial) goto done;
	if (p->frame_tilt != i_tilt)
		CYC_TRY(cyc_frame_share_fill(
			&p->frame, ts, i_tilt, p->box.window.box_binned, p->box.window.box_binned, p->box.pixel_size_A,
			fmin(0.5 * p->reference->map_diameter_px, 0.25 * p->box.window.box_binned)));
	p->frame_tilt = i_tilt;
	CYC_TRY(cyc_buffer_map(&observed, p->ft));
	CYC_TRY(cyc_buffer_map(&predicted, p->prediction));
	CYC_TRY(cyc_frame_share_balance(observed, predicted, &p->frame, ts, p->batch, p->box.binning,
	                                cyc_backend_n_threads(p->be)));
	CYC_TRY(cyc_buffer_unmap(p->ft));
	CYC_TRY(cyc_buffer_unmap(p->prediction));
done:
	return st;
}

cyc_status cyc_prediction_pass_next(cyc_prediction_pass *p, int64_t *cursor, int64_t *n_outside,
                                    const cyc_image_group *of)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = of->ts;
	int32_t s = p->box.window.box_binned;
	const cyc_tilt_batch *b = p->batch;
	CYC_TRY(cyc_tilt_batch_fill(p->batch, cursor, n_outside, of, &p->box));
	if (b->n == 0) goto done;
	CYC_TRY(cyc_op_window(p->ft, p->be, p->image.device, ts->image_nx, ts->image_ny, b->at_px, b->n,
	                      &p->box.window));
	CYC_TRY(cyc_op_ctf(p->ctf, p->quadrature, p->be,
	                   &(cyc_ctf_in){ .turns = p->turns,
	                                  .envelope = p->envelope,
	                                  .k2 = p->k2,
	                                  .turns_per_k2 = b->turns_per_k2,
	                                  .n = b->n,
	                                  .s = s }));
	for (int8_t h = 0; h < 2; h++)
		CYC_TRY(cyc_op_slice_extract(p->prediction, p->be,
		                             &(cyc_slice_extract_in){ .reference = p->reference->half[h],
		                                                      .m = p->reference->n_grid,
		                                                      .edge = p->reference->edge,
		                                                      .M = b->R_img_ref,
		                                                      .radius = p->radius,
		                                                      .use = b->half,
		                                                      .select = h,
		                                                      .n = b->n,
		                                                      .s = s }));
	if (p->weighs_partial) CYC_TRY(weigh_partial(p, ts, of->i_tilt));
	CYC_TRY(
		cyc_scale_items(p->ft, p->be, b->probability, true, b->n, cyc_half_count2(s) * sizeof(cyc_cfloat)));
	CYC_TRY(cyc_scale_items(p->prediction, p->be, b->probability, true, b->n,
	                        cyc_half_count2(s) * sizeof(cyc_cfloat)));
done:
	return st;
}

double cyc_self_share(const cyc_reference *reference, double radius, double noise_power, double crop_power)
{
	int32_t n = reference->box_px / 2 + 1;
	if (!(noise_power > 0)) return 0;
	return cyc_radial_at(reference->wiener, n, radius) * cyc_radial_at(reference->noise, n, radius) /
	       (noise_power * crop_power);
}

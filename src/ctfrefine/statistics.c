#include "ctfrefine/statistics.h"

#include "tilt/tilt_image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

cyc_status cyc_ctf_support_create(cyc_ctf_support **out, int32_t s, double k_min_index, int32_t radius, double step_invA)
{
	cyc_status st = CYC_OK;
	cyc_ctf_support *p = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->step_invA = step_invA;
	for (int pass = 0; pass < 2; pass++) {
		if (pass == 1) {
			CYC_TRY(cyc_alloc(&p->x, p->n, sizeof *p->x));
			CYC_TRY(cyc_alloc(&p->y, p->n, sizeof *p->y));
			CYC_TRY(cyc_alloc(&p->share, p->n, sizeof *p->share));
		}
		p->n = 0;
		for (int32_t y = -radius; y <= radius; y++)
			for (int32_t x = 0; x <= radius && x < s / 2; x++) {
				double k2 = (double)x * x + (double)y * y;
				if (k2 > (double)radius * radius || k2 < k_min_index * k_min_index || (x == 0 && y == 0) || 2 * abs(y) >= s) continue;
				if (pass == 1) {
					p->x[p->n] = x;
					p->y[p->n] = y;
					p->share[p->n] = x == 0 ? 0.5F : 1.F;
				}
				p->n++;
			}
	}
	*out = p;
	p = NULL;
done:
	cyc_ctf_support_destroy(&p);
	return st;
}

void cyc_ctf_support_destroy(cyc_ctf_support **p)
{
	if (!*p) return;
	cyc_free((*p)->x);
	cyc_free((*p)->y);
	cyc_free((*p)->share);
	cyc_free(*p);
	*p = NULL;
}

void cyc_series_sums_destroy(cyc_series_sums **p)
{
	if (!*p) return;
	for (int32_t f = 0; (*p)->tilts && f < (*p)->n_tilts; f++) cyc_free((*p)->tilts[f].cc); /* one block holds all seven */
	cyc_free((*p)->tilts);
	cyc_free(*p);
	*p = NULL;
}

struct cyc_ctf_pass {
	cyc_backend *be;
	cyc_box box;
	const cyc_reference *reference;
	double cutoff_frac;
	bool common_noise;
	cyc_tilt_image image;
	cyc_buffer *ft, *prediction, *ctf, *quadrature, *turns, *envelope, *phase, *sums;
	cyc_tilt_batch *batch;
	cyc_tilt_tables *tables;
	double *power; /* n_shells, then the mean over tilts */
};

cyc_status cyc_ctf_pass_create(cyc_ctf_pass **out, cyc_backend *be, const cyc_box *box, const cyc_reference *reference, double cutoff_frac, bool common_noise)
{
	cyc_status st = CYC_OK;
	cyc_ctf_pass *p = NULL;
	int32_t s = box->window.box_binned;
	size_t plane = cyc_half_count2(s);
	*out = NULL;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->be = be;
	p->box = *box;
	p->reference = reference;
	p->cutoff_frac = cutoff_frac;
	p->common_noise = common_noise;
	int32_t capacity = cyc_tilt_batch_capacity(plane * (2 * sizeof(cyc_cfloat) + 2 * sizeof(float)));
	size_t n = (size_t)capacity;
	CYC_TRY(cyc_buffer_create(&p->ft, be, n * plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&p->prediction, be, n * plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&p->ctf, be, n * plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->quadrature, be, n * plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->turns, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->envelope, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->phase, be, plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&p->sums, be, CYC_N_SUMS * plane, sizeof(double)));
	CYC_TRY(cyc_tilt_batch_create(&p->batch, capacity));
	CYC_TRY(cyc_tilt_tables_create(&p->tables, s));
	*out = p;
	p = NULL;
done:
	cyc_ctf_pass_destroy(&p);
	return st;
}

void cyc_ctf_pass_destroy(cyc_ctf_pass **pp)
{
	cyc_ctf_pass *p = *pp;
	if (!p) return;
	cyc_buffer **const buffers[] = { &p->ft, &p->prediction, &p->ctf, &p->quadrature, &p->turns, &p->envelope, &p->phase, &p->sums };
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) cyc_buffer_destroy(buffers[i]);
	cyc_tilt_image_deinit(&p->image);
	cyc_tilt_batch_destroy(&p->batch);
	cyc_tilt_tables_destroy(&p->tables);
	cyc_free(p->power);
	cyc_free(p);
	*pp = NULL;
}

/* All particles of one optics group of one tilt image. */
static cyc_status add_group(int64_t *n_particles, int64_t *n_outside, cyc_ctf_pass *p, const cyc_tilt_series *ts, int32_t f, const cyc_particle_set *set,
                            int32_t i_series, int32_t g)
{
	cyc_status st = CYC_OK;
	int32_t s = p->box.window.box_binned, radius = p->reference->radius;
	const cyc_tilt_batch *b = p->batch;
	const cyc_buffer *phase = NULL;
	CYC_TRY(cyc_tilt_tables_fill(p->tables, ts, f, &set->optics[g], p->box.pixel_size_A, p->cutoff_frac));
	CYC_TRY(cyc_buffer_upload(p->turns, p->tables->turns, cyc_half_count2(s) * sizeof(float)));
	CYC_TRY(cyc_buffer_upload(p->envelope, p->tables->envelope, cyc_half_count2(s) * sizeof(float)));
	if (p->tables->has_odd) {
		CYC_TRY(cyc_buffer_upload(p->phase, p->tables->odd_phase, cyc_half_count2(s) * sizeof(cyc_cfloat)));
		phase = p->phase;
	}
	if (p->tables->radius < radius) radius = p->tables->radius;
	int64_t count = set->series_first[i_series + 1] - set->series_first[i_series];
	for (int64_t cursor = 0; cursor < count;) {
		CYC_TRY(cyc_tilt_batch_fill(p->batch, &cursor, n_outside, ts, f, set, i_series, g, &p->box));
		if (b->n == 0) continue;
		*n_particles += b->n;
		CYC_TRY(cyc_op_window(p->ft, p->be, p->image.device, ts->image_nx, ts->image_ny, b->at_px, b->n, &p->box.window));
		CYC_TRY(cyc_op_ctf(p->ctf, p->quadrature, p->be, p->turns, p->envelope, b->turns_per_k2, b->n, s));
		for (int8_t h = 0; h < 2; h++)
			CYC_TRY(cyc_op_slice_extract(p->prediction, p->be, p->reference->half[h], p->reference->n_grid, b->R_img_ref, radius, b->half, h, b->n, s));
		CYC_TRY(cyc_op_ctf_sums(p->sums, p->be, p->ft, p->prediction, p->ctf, p->quadrature, phase, radius, b->n, s));
	}
done:
	return st;
}

/* From the planes of the backend to the list of the support, in float; weights come later. */
static cyc_status gather(cyc_tilt_sums *t, cyc_ctf_pass *p, const cyc_ctf_support *support)
{
	cyc_status st = CYC_OK;
	int32_t s = p->box.window.box_binned;
	size_t sh = (size_t)(s / 2 + 1), plane = cyc_half_count2(s), n = (size_t)support->n;
	double *sums = NULL;
	CYC_TRY(cyc_alloc(&t->cc, CYC_N_SUMS * n, sizeof *t->cc));
	float **const parts[CYC_N_SUMS] = { &t->cc, &t->cq, &t->qq, &t->xc_re, &t->xc_im, &t->xq_re, &t->xq_im, &t->self_c, &t->self_q };
	for (int k = 1; k < CYC_N_SUMS; k++) *parts[k] = t->cc + (size_t)k * n;
	CYC_TRY(cyc_buffer_map(&sums, p->sums));
	for (size_t i = 0; i < n; i++) {
		int32_t y = support->y[i] < 0 ? support->y[i] + s : support->y[i];
		size_t at = (size_t)y * sh + (size_t)support->x[i];
		for (int k = 0; k < CYC_N_SUMS; k++) (*parts[k])[i] = (float)sums[(size_t)k * plane + at];
	}
	memset(sums, 0, CYC_N_SUMS * plane * sizeof *sums);
	CYC_TRY(cyc_buffer_unmap(p->sums));
done:
	return st;
}

/*
 * Weights, and the removal of self-correlation. A half map holds each of its images: V contains r c (-X), r being the share of
 * one image at this frequency, and so every image agrees with the CTF it was reconstructed with, which hides errors. The
 * same share makes the noise of the map out of the noise of the images, so it is known: r = noise(map) / noise(images).  (T4.14)
 * The mask keeps the middle of the window, where the circle crop takes nothing; |X|^2 is of the whole cropped window, which
 * holds the part crop_power of the noise.
 */
static void whiten(cyc_tilt_sums *t, double crop_power, const cyc_ctf_support *support, const double *power, int32_t n_shells, const cyc_reference *reference)
{
	size_t n = (size_t)support->n;
	for (size_t i = 0; i < n; i++) {
		double radius = hypot(support->x[i], support->y[i]), noise = cyc_radial_at(power, n_shells, radius);
		int32_t n_half = reference->box_px / 2 + 1;
		float w = noise > 0 ? (float)((double)support->share[i] / noise) : 0;
		float share = noise > 0 ? (float)(cyc_radial_at(reference->wiener, n_half, radius) * cyc_radial_at(reference->noise, n_half, radius) / (noise * crop_power)) : 0;
		for (size_t k = 0; k < CYC_N_SUMS; k++) t->cc[k * n + i] *= w;
		t->self_c[i] *= share;
		t->self_q[i] *= share;
		t->xc_re[i] -= t->self_c[i];
		t->xq_re[i] -= t->self_q[i];
	}
}

cyc_status cyc_ctf_pass_series(cyc_series_sums **out, cyc_ctf_pass *p, const cyc_ctf_support *support, cyc_tilt_series *ts, const cyc_particle_set *set,
                               int32_t i_series, int32_t first_tilt, int32_t last_tilt, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_series_sums *sums = NULL;
	bool *used = NULL;
	int32_t n_shells = p->box.window.box_px / 2 + 1, n_read = 0;
	*out = NULL;
	CYC_TRY(cyc_tilt_series_open(ts, root));
	CYC_CHECK(p->box.window.box_px <= ts->image_nx && p->box.window.box_px <= ts->image_ny, CYC_E_SHAPE,
	          "the window of %d px is larger than the tilt images of %s (%d x %d px)", p->box.window.box_px, ts->name, ts->image_nx, ts->image_ny);
	cyc_free(p->power);
	CYC_TRY(cyc_alloc(&p->power, (size_t)n_shells * (size_t)(ts->n_tilts + 1), sizeof *p->power));
	CYC_TRY(cyc_alloc(&sums, 1, sizeof *sums));
	sums->n_tilts = ts->n_tilts;
	CYC_TRY(cyc_alloc(&sums->tilts, ts->n_tilts, sizeof *sums->tilts));
	CYC_TRY(cyc_alloc(&used, (size_t)set->n_optics + 1, sizeof *used));
	cyc_optics_used(used, set, i_series);
	double crop_power = cyc_circle_crop_power(p->box.window.box_px);
	double *mean = p->power + (size_t)n_shells * (size_t)ts->n_tilts;
	for (int32_t f = first_tilt; f <= last_tilt; f++) {
		cyc_tilt_sums *t = &sums->tilts[f];
		double *power = p->power + (size_t)n_shells * (size_t)f;
		CYC_TRY(cyc_cancel_check());
		if (ts->tilts[f].scale == 0) continue;
		CYC_TRY(cyc_tilt_image_load(&p->image, p->be, ts, f));
		CYC_TRY(cyc_noise_spectrum(power, p->image.pixels, ts->image_nx, ts->image_ny, p->box.window.box_px, cyc_backend_n_threads(p->be)));
		n_read++;
		for (int32_t i = 0; i < n_shells; i++) mean[i] += power[i];
		for (int32_t g = 0; g < set->n_optics; g++)
			if (used[g]) CYC_TRY(add_group(&t->n_particles, &sums->n_outside, p, ts, f, set, i_series, g));
		if (t->n_particles > 0) CYC_TRY(gather(t, p, support));
	}
	for (int32_t i = 0; i < n_shells && n_read > 0; i++) mean[i] /= n_read;
	for (int32_t f = first_tilt; f <= last_tilt; f++)
		if (sums->tilts[f].n_particles > 0) whiten(&sums->tilts[f], crop_power, support, p->common_noise ? mean : p->power + (size_t)n_shells * (size_t)f, n_shells, p->reference);
	*out = sums;
	sums = NULL;
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	cyc_free(used);
	cyc_series_sums_destroy(&sums);
	return st;
}

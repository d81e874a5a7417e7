#include "ctfrefine/statistics.h"

#include "reference/prediction_pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

cyc_status cyc_ctf_support_create(cyc_ctf_support **out, int32_t s, double k_min_index, int32_t radius,
                                  double step_invA)
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
				if (k2 > (double)radius * radius || k2 < k_min_index * k_min_index || (x == 0 && y == 0) ||
				    2 * abs(y) >= s)
					continue;
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
	for (int32_t f = 0; (*p)->tilts && f < (*p)->n_tilts; f++) {
		cyc_tilt_sums *t = &(*p)->tilts[f];
		cyc_free(t->cc); /* one block holds all nine */
		for (int32_t i = 0; i < t->n_parts; i++) cyc_free(t->parts[i].cc);
		cyc_free(t->parts);
	}
	cyc_free((*p)->tilts);
	cyc_free((*p)->stretch);
	cyc_free(*p);
	*p = NULL;
}

struct cyc_ctf_pass {
	cyc_prediction_pass *predict;
	cyc_magnification_pass *magnification; /* NULL: not asked for */
	bool common_noise, has_parts;
	cyc_buffer *sums[2]; /* of both half-sets, or one for all */
	double *power;       /* n_tilts x n_shells, then the mean over tilts */
};

cyc_status cyc_ctf_pass_create(cyc_ctf_pass **out, cyc_backend *be, const cyc_box *box,
                               const cyc_reference *reference, const cyc_ctf_pass_options *o)
{
	cyc_status st = CYC_OK;
	cyc_ctf_pass *p = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->common_noise = o->common_noise;
	p->has_parts = o->has_parts;
	CYC_TRY(cyc_prediction_pass_create(
		&p->predict, be, box, reference, o->cutoff_frac, true,
		o->has_magnification ? cyc_magnification_bytes(box->window.box_binned) : 0, o->most_particles));
	p->predict->image.cache = o->images;
	p->predict->image.reads_ahead = true;
	p->predict->weighs_partial = true;
	if (o->has_magnification)
		CYC_TRY(cyc_magnification_pass_create(&p->magnification, p->predict, o->k_min_index));
	for (int h = 0; h < (o->has_parts ? 2 : 1); h++)
		CYC_TRY(cyc_buffer_create(&p->sums[h], be, CYC_N_SUMS * cyc_half_count2(box->window.box_binned),
		                          sizeof(double)));
	*out = p;
	p = NULL;
done:
	cyc_ctf_pass_destroy(&p);
	return st;
}

void cyc_ctf_pass_destroy(cyc_ctf_pass **p)
{
	if (!*p) return;
	cyc_magnification_pass_destroy(&(*p)->magnification);
	cyc_prediction_pass_destroy(&(*p)->predict);
	for (int h = 0; h < 2; h++) cyc_buffer_destroy(&(*p)->sums[h]);
	cyc_free((*p)->power);
	cyc_free(*p);
	*p = NULL;
}

/* All particles of one optics group of one tilt image; n_particles[2] by half-set if these are kept apart. */
static cyc_status add_group(int64_t n_particles[2], cyc_stretch_model *stretch, int64_t *n_outside,
                            cyc_ctf_pass *p, const cyc_image_group *of)
{
	cyc_status st = CYC_OK;
	cyc_prediction_pass *q = p->predict;
	const int64_t *first = of->set->series_first;
	int64_t cursor = 0, count = first[of->i_series + 1] - first[of->i_series];
	CYC_TRY(cyc_prediction_pass_group(q, of->ts, of->i_tilt, &of->set->optics[of->i_optics]));
	if (p->magnification) cyc_magnification_begin(p->magnification);
	while (cursor < count) {
		CYC_TRY(cyc_prediction_pass_next(q, &cursor, n_outside, of));
		if (q->batch->n == 0) continue;
		for (int32_t i = 0; i < q->batch->n; i++) n_particles[p->has_parts ? q->batch->half[i] : 0]++;
		for (int8_t h = 0; h < (p->has_parts ? 2 : 1); h++)
			CYC_TRY(cyc_op_ctf_sums(p->sums[h], q->be,
			                        &(cyc_ctf_sums_in){ .ft = q->ft,
			                                            .prediction = q->prediction,
			                                            .ctf = q->ctf,
			                                            .quadrature = q->quadrature,
			                                            .phase = q->phase,
			                                            .radius = q->radius,
			                                            .use = p->has_parts ? q->batch->half : NULL,
			                                            .select = h,
			                                            .n = q->batch->n,
			                                            .s = q->box.window.box_binned }));
		if (p->magnification) CYC_TRY(cyc_magnification_add(p->magnification));
	}
	if (p->magnification) CYC_TRY(cyc_magnification_end(stretch + 2 * of->i_optics, p->magnification));
done:
	return st;
}

cyc_status cyc_tilt_sums_create(cyc_tilt_sums *t, size_t n)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_alloc(&t->cc, CYC_N_SUMS * n, sizeof *t->cc));
	float **const parts[CYC_N_SUMS] = { &t->cc,    &t->cq,    &t->qq,     &t->xc_re, &t->xc_im,
		                                &t->xq_re, &t->xq_im, &t->self_c, &t->self_q };
	for (int k = 1; k < CYC_N_SUMS; k++) *parts[k] = t->cc + (size_t)k * n;
done:
	return st;
}

/* From the planes of the backend to the list of the support, in float; weights come later. */
static cyc_status gather(cyc_tilt_sums *t, cyc_ctf_pass *p, int half, const cyc_ctf_support *support)
{
	cyc_status st = CYC_OK;
	int32_t s = p->predict->box.window.box_binned;
	size_t sh = (size_t)(s / 2 + 1), plane = cyc_half_count2(s), n = (size_t)support->n;
	double *sums = NULL;
	CYC_TRY(cyc_tilt_sums_create(t, n));
	CYC_TRY(cyc_buffer_map(&sums, p->sums[half]));
	for (size_t i = 0; i < n; i++) {
		int32_t y = support->y[i] < 0 ? support->y[i] + s : support->y[i];
		size_t at = (size_t)y * sh + (size_t)support->x[i];
		for (int k = 0; k < CYC_N_SUMS; k++) t->cc[(size_t)k * n + i] = (float)sums[(size_t)k * plane + at];
	}
	memset(sums, 0, CYC_N_SUMS * plane * sizeof *sums);
	CYC_TRY(cyc_buffer_unmap(p->sums[half]));
done:
	return st;
}

/* The sums of one optics group become two parts of the tilt and are added to its own. */
static cyc_status gather_parts(cyc_tilt_sums *t, cyc_ctf_pass *p, const int64_t n_particles[2],
                               int32_t i_optics, const cyc_ctf_support *support)
{
	cyc_status st = CYC_OK;
	size_t n = CYC_N_SUMS * (size_t)support->n;
	for (int h = 0; h < 2; h++) {
		if (n_particles[h] == 0) continue;
		cyc_tilt_sums *part = &t->parts[t->n_parts];
		*part = (cyc_tilt_sums){ .n_particles = n_particles[h], .i_optics = i_optics, .half = h };
		CYC_TRY(gather(part, p, h, support));
		t->n_parts++;
		if (!t->cc) CYC_TRY(cyc_tilt_sums_create(t, (size_t)support->n));
		for (size_t i = 0; i < n; i++) t->cc[i] += part->cc[i];
		t->n_particles += n_particles[h];
	}
done:
	return st;
}

/*
 * Weights, and the removal of self-correlation. A half map holds each of its images: V contains r c (-X), r
 * being the share of one image at this frequency, so every image agrees with the CTF it was reconstructed
 * with, which hides errors. The share is known, since it also turns the noise of the images into that of the
 * map: r = noise(map) / noise(images).  (T4.14) The mask keeps the middle of the window, inside the circle
 * crop; |X|^2 is that of the whole cropped window, which contains the share crop_power of the noise.
 */
static void whiten(cyc_tilt_sums *t, double crop_power, const cyc_ctf_support *support, const double *power,
                   int32_t n_shells, const cyc_reference *reference)
{
	size_t n = (size_t)support->n;
	for (size_t i = 0; i < n; i++) {
		double radius = hypot(support->x[i], support->y[i]), noise = cyc_radial_at(power, n_shells, radius);
		float w = noise > 0 ? (float)((double)support->share[i] / noise) : 0;
		float share = (float)cyc_self_share(reference, radius, noise, crop_power);
		for (size_t k = 0; k < CYC_N_SUMS; k++) t->cc[k * n + i] *= w;
		t->self_c[i] *= share;
		t->self_q[i] *= share;
		t->xc_re[i] -= t->self_c[i];
		t->xq_re[i] -= t->self_q[i];
	}
}

static bool is_blank(const double *power, int32_t n_shells)
{
	for (int32_t i = 1; i < n_shells; i++)
		if (power[i] > 0) return false;
	return true;
}

static void whiten_tilt(cyc_tilt_sums *t, double crop_power, const cyc_ctf_support *support,
                        const double *power, int32_t n_shells, const cyc_reference *reference)
{
	if (t->n_particles > 0) whiten(t, crop_power, support, power, n_shells, reference);
	for (int32_t i = 0; i < t->n_parts; i++)
		whiten(&t->parts[i], crop_power, support, power, n_shells, reference);
}

/* The particles of one tilt image, whose pixels are loaded. */
static cyc_status collect_tilt(cyc_tilt_sums *t, cyc_series_sums *series, cyc_ctf_pass *p,
                               const cyc_ctf_support *support, cyc_image_group of, const bool *used)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = of.set;
	int32_t n_used = 0;
	for (int32_t g = 0; g < set->n_optics; g++) n_used += used[g];
	if (p->has_parts) CYC_TRY(cyc_alloc(&t->parts, 2 * (size_t)n_used, sizeof *t->parts));
	for (int32_t g = 0; g < set->n_optics; g++) {
		int64_t n_particles[2] = { 0, 0 };
		if (!used[g]) continue;
		of.i_optics = g;
		CYC_TRY(add_group(n_particles, series->stretch, &series->n_outside, p, &of));
		if (p->has_parts) CYC_TRY(gather_parts(t, p, n_particles, g, support));
		else t->n_particles += n_particles[0];
	}
	if (!p->has_parts && t->n_particles > 0) CYC_TRY(gather(t, p, 0, support));
done:
	return st;
}

void cyc_ctf_pass_expect(cyc_ctf_pass *p, const cyc_tilt_series *next) { p->predict->image.next = next; }

cyc_status cyc_ctf_pass_series(cyc_series_sums **out, cyc_ctf_pass *p, const cyc_ctf_support *support,
                               cyc_tilt_series *ts, const cyc_particle_set *set, int32_t i_series,
                               const int32_t tilts[2], const char *root)
{
	cyc_status st = CYC_OK;
	cyc_series_sums *sums = NULL;
	bool *used = NULL;
	int32_t window = p->predict->box.window.box_px, n_shells = window / 2 + 1, n_read = 0;
	*out = NULL;
	CYC_TRY(cyc_prediction_pass_open(p->predict, ts, root));
	cyc_free(p->power);
	CYC_TRY(cyc_alloc(&p->power, (size_t)n_shells * (size_t)(ts->n_tilts + 1), sizeof *p->power));
	CYC_TRY(cyc_alloc(&sums, 1, sizeof *sums));
	sums->n_tilts = ts->n_tilts;
	CYC_TRY(cyc_alloc(&sums->tilts, ts->n_tilts, sizeof *sums->tilts));
	CYC_TRY(cyc_alloc(&used, (size_t)set->n_optics + 1, sizeof *used));
	if (p->magnification)
		CYC_TRY(cyc_alloc(&sums->stretch, 2 * (size_t)set->n_optics, sizeof *sums->stretch));
	cyc_optics_used(used, set, i_series);
	double crop_power = cyc_circle_crop_power(window);
	double *mean = p->power + (size_t)n_shells * (size_t)ts->n_tilts;
	for (int32_t f = tilts[0]; f <= tilts[1]; f++) {
		cyc_tilt_sums *t = &sums->tilts[f];
		double *power = p->power + (size_t)n_shells * (size_t)f;
		CYC_TRY(cyc_cancel_check());
		if (ts->tilts[f].scale == 0) continue;
		CYC_TRY(cyc_prediction_pass_image(p->predict, ts, f));
		memcpy(power, p->predict->power, (size_t)n_shells * sizeof *power);
		n_read++;
		for (int32_t i = 0; i < n_shells; i++) mean[i] += power[i];
		CYC_TRY(collect_tilt(t, sums, p, support, (cyc_image_group){ ts, f, set, i_series, 0 }, used));
	}
	for (int32_t i = 0; i < n_shells && n_read > 0; i++) mean[i] /= n_read;
	for (int32_t f = tilts[0]; f <= tilts[1]; f++) {
		sums->tilts[f].is_blank =
			sums->tilts[f].n_particles > 0 && is_blank(p->power + (size_t)n_shells * (size_t)f, n_shells);
		whiten_tilt(&sums->tilts[f], crop_power, support,
		            p->common_noise ? mean : p->power + (size_t)n_shells * (size_t)f, n_shells,
		            p->predict->reference);
	}
	*out = sums;
	sums = NULL;
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	cyc_free(used);
	cyc_series_sums_destroy(&sums);
	return st;
}

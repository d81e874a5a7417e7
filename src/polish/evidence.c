#include "polish/evidence.h"

#include "reference/prediction_pass.h"

#include <math.h>
#include <string.h>

/* Samples per band limit: the spline is good to 1 % at the highest frequency (a period of 4.4 samples). */
static const double OVERSAMPLING = 2.2;

struct cyc_evidence_pass {
	cyc_prediction_pass *predict;
	cyc_evidence_options o;
	cyc_local_grid grid;
	cyc_buffer *weight, *self, *maps, *curves;
	float *weight_host, *self_host;
	double crop_power;
	double *series_power; /* box/2 + 1: mean noise of all images of the series, if that is what counts */
};

void cyc_evidence_destroy(cyc_evidence **e)
{
	if (!*e) return;
	cyc_free((*e)->pairs);
	cyc_free((*e)->maps);
	cyc_free(*e);
	*e = NULL;
}

cyc_local_grid cyc_evidence_grid(double range_px, int32_t box_px, int32_t radius)
{
	cyc_local_grid grid = { 0 };
	/* Band limit of the product: the reference's radius. One spare sample on each side of the reach. */
	grid.step_px = box_px / (2.0 * radius) / OVERSAMPLING;
	grid.n = 2 * ((int32_t)ceil(range_px / grid.step_px) + 2) + 1;
	return grid;
}

cyc_status cyc_evidence_pass_create(cyc_evidence_pass **out, cyc_backend *be, const cyc_box *box,
                                    const cyc_reference *reference, const cyc_evidence_options *o)
{
	cyc_status st = CYC_OK;
	cyc_evidence_pass *p = NULL;
	int32_t s = box->window.box_binned;
	size_t plane = cyc_half_count2(s);
	*out = NULL;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->o = *o;
	p->grid = cyc_evidence_grid(o->range_px, s, reference->radius);
	size_t map = (size_t)p->grid.n * (size_t)p->grid.n;
	CYC_TRY(cyc_prediction_pass_create(&p->predict, be, box, reference, o->cutoff_frac, false,
	                                   map * sizeof(float), o->most_particles));
	size_t n = (size_t)p->predict->batch->capacity;
	CYC_TRY(cyc_buffer_create(&p->weight, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->self, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->maps, be, n * map, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&p->curves, be, n * CYC_N_CURVE, sizeof(double)));
	p->crop_power = cyc_circle_crop_power(s);
	CYC_TRY(cyc_alloc(&p->series_power, (size_t)s / 2 + 1, sizeof *p->series_power));
	CYC_TRY(cyc_alloc(&p->weight_host, plane, sizeof *p->weight_host));
	CYC_TRY(cyc_alloc(&p->self_host, plane, sizeof *p->self_host));
	*out = p;
	p = NULL;
done:
	cyc_evidence_pass_destroy(&p);
	return st;
}

void cyc_evidence_pass_destroy(cyc_evidence_pass **pp)
{
	cyc_evidence_pass *p = *pp;
	if (!p) return;
	cyc_buffer **const buffers[] = { &p->weight, &p->self, &p->maps, &p->curves };
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) cyc_buffer_destroy(buffers[i]);
	cyc_prediction_pass_destroy(&p->predict);
	cyc_free(p->weight_host);
	cyc_free(p->self_host);
	cyc_free(p->series_power);
	cyc_free(p);
	*pp = NULL;
}

cyc_prediction_pass *cyc_evidence_predictions(cyc_evidence_pass *p) { return p->predict; }

/* 1/noise and the share of each image in its own reference, per coefficient of the band used; 0 elsewhere. */
static cyc_status load_weights(cyc_evidence_pass *p)
{
	cyc_status st = CYC_OK;
	const cyc_reference *ref = p->predict->reference;
	int32_t s = ref->box_px, sh = s / 2 + 1, R = ref->radius;
	for (int32_t ky = -R; ky <= R; ky++)
		for (int32_t x = 0; x <= R; x++) {
			size_t at = (size_t)(ky < 0 ? ky + s : ky) * (size_t)sh + (size_t)x;
			double r = sqrt((double)(x * x + ky * ky)),
				   noise =
					   cyc_radial_at(p->o.has_relion5_weights ? p->series_power : p->predict->power, sh, r);
			double wiener = p->o.has_relion5_weights ? cyc_radial_at(ref->wiener, sh, r) : 1;
			bool is_used = r > 0 && r >= p->o.k_min_index && r <= R && noise > 0 && wiener > 0 &&
			               !(p->o.has_relion5_weights && x >= sh / 2);
			p->weight_host[at] = is_used ? (float)((x == 0 ? 0.5 : 1) / (noise * wiener)) : 0;
			p->self_host[at] = is_used ? (float)cyc_self_share(ref, r, noise, p->crop_power) : 0;
		}
	CYC_TRY(cyc_buffer_upload(p->weight, p->weight_host, cyc_half_count2(s) * sizeof(float)));
	CYC_TRY(cyc_buffer_upload(p->self, p->self_host, cyc_half_count2(s) * sizeof(float)));
done:
	return st;
}

typedef struct {
	cyc_evidence *e;
	const cyc_tilt_batch *b;
	const cyc_particle *first;
	const float *maps;
	const double *curves;
	int32_t f;
	double unit;
} keeping;

static cyc_status keep_task(void *arg, int64_t i, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const keeping *k = arg;
	cyc_evidence *e = k->e;
	double *line = NULL;
	size_t n_map = (size_t)e->grid.n * (size_t)e->grid.n,
		   at = (size_t)(k->b->particles[i] - k->first) * (size_t)e->n_tilts + (size_t)k->f;
	cyc_pair *pair = &e->pairs[at];
	const double *c = k->curves + i * CYC_N_CURVE;
	CYC_TRY(cyc_alloc(&line, e->grid.n, sizeof *line));
	pair->map = e->maps + at * n_map;
	memcpy(pair->map, k->maps + (size_t)i * n_map, n_map * sizeof *pair->map);
	cyc_local_map_prefilter(pair->map, e->grid.n, line);
	memcpy(pair->start_px, k->b->at_px + 2 * i, sizeof pair->start_px);
	/* Outside the image a window is empty: that share of the particle is missing in X, and must be missing
	 * in |V|^2 too. */
	double share = k->b->weight[i];
	pair->power = share * c[CYC_CURVE_1];
	pair->curve[0] = share * k->unit * c[CYC_CURVE_XX];
	pair->curve[1] = share * k->unit * c[CYC_CURVE_XY];
	pair->curve[2] = share * k->unit * c[CYC_CURVE_YY];
done:
	cyc_free(line);
	return st;
}

/* The maps of one batch into the evidence, as splines. */
static cyc_status keep(cyc_evidence *e, cyc_evidence_pass *p, int32_t f, const cyc_particle *first)
{
	cyc_status st = CYC_OK;
	/* d log L'' per px^2: 2 (2 pi / s)^2 sum weight c^2 |V|^2 k k. */
	keeping k = { .e = e,
		          .b = p->predict->batch,
		          .first = first,
		          .f = f,
		          .unit = 2 * cyc_square(2 * CYC_PI / p->predict->box.window.box_binned) };
	CYC_TRY(cyc_buffer_map(&k.maps, p->maps));
	CYC_TRY(cyc_buffer_map(&k.curves, p->curves));
	CYC_TRY(cyc_parallel_for(k.b->n, cyc_backend_n_threads(p->predict->be), keep_task, &k));
	e->n_visible += k.b->n;
	CYC_TRY(cyc_buffer_unmap(p->maps));
	CYC_TRY(cyc_buffer_unmap(p->curves));
done:
	return st;
}

static cyc_status collect_group(cyc_evidence *e, cyc_evidence_pass *p, const cyc_tilt_series *ts, int32_t f,
                                const cyc_particle_set *set, int32_t i_series, int32_t g)
{
	cyc_status st = CYC_OK;
	cyc_prediction_pass *q = p->predict;
	const cyc_particle *first = &set->particles[set->series_first[i_series]];
	CYC_TRY(cyc_prediction_pass_group(q, ts, f, &set->optics[g]));
	for (int64_t cursor = 0; cursor < e->n_particles;) {
		CYC_TRY(cyc_prediction_pass_next(q, &cursor, &e->n_outside,
		                                 &(cyc_image_group){ ts, f, set, i_series, g }));
		if (q->batch->n == 0) continue;
		CYC_TRY(cyc_op_correlate(p->maps, p->curves, q->be,
		                         &(cyc_correlate_in){ .ft = q->ft,
		                                              .prediction = q->prediction,
		                                              .ctf = q->ctf,
		                                              .phase = q->phase,
		                                              .weight = p->weight,
		                                              .self = p->o.keep_self_correlation ? NULL : p->self,
		                                              .radius = q->radius,
		                                              .grid = p->grid,
		                                              .n = q->batch->n,
		                                              .s = q->box.window.box_binned }));
		CYC_TRY(keep(e, p, f, first));
	}
done:
	return st;
}

static cyc_status average_noise(cyc_evidence_pass *p, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	int32_t n = p->predict->box.window.box_px / 2 + 1;
	memset(p->series_power, 0, (size_t)n * sizeof *p->series_power);
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		CYC_TRY(cyc_cancel_check());
		CYC_TRY(cyc_prediction_pass_image(p->predict, ts, f));
		for (int32_t i = 0; i < n; i++) p->series_power[i] += p->predict->power[i] / ts->n_tilts;
	}
done:
	return st;
}

/* The rows used. */
static cyc_status choose_tilts(bool **out, const cyc_evidence_pass *p, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	int32_t *order = NULL, last = p->o.last_tilt < 0 ? ts->n_tilts - 1 : p->o.last_tilt;
	CYC_TRY(cyc_alloc(&order, ts->n_tilts, sizeof *order));
	CYC_TRY(cyc_alloc(out, ts->n_tilts, sizeof **out));
	cyc_tilt_series_chronological(order, ts);
	for (int32_t t = p->o.first_tilt; t <= last && t < ts->n_tilts; t++)
		(*out)[order[t]] = ts->tilts[order[t]].scale != 0;
done:
	cyc_free(order);
	return st;
}

/* Correlation maps of the wanted rows, into the evidence. */
static cyc_status collect_rows(cyc_evidence *e, cyc_evidence_pass *p, const cyc_tilt_series *ts,
                               const cyc_particle_set *set, int32_t i_series, const bool *rows)
{
	cyc_status st = CYC_OK;
	int32_t n_rows = 0;
	bool *used = NULL;
	CYC_TRY(cyc_alloc(&used, (size_t)set->n_optics + 1, sizeof *used));
	cyc_optics_used(used, set, i_series);
	for (int32_t f = 0; f < ts->n_tilts; f++) n_rows += rows[f];
	/* If few are wanted, the next one rarely is. */
	p->predict->image.reads_ahead = 2 * n_rows > ts->n_tilts;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		CYC_TRY(cyc_cancel_check());
		if (!rows[f]) continue;
		CYC_TRY(cyc_prediction_pass_image(p->predict, ts, f));
		CYC_TRY(load_weights(p));
		for (int32_t g = 0; g < set->n_optics; g++)
			if (used[g]) CYC_TRY(collect_group(e, p, ts, f, set, i_series, g));
	}
done:
	p->predict->image.reads_ahead = false;
	cyc_free(used);
	return st;
}

cyc_status cyc_evidence_refresh(cyc_evidence *e, cyc_evidence_pass *p, cyc_tilt_series *ts,
                                const cyc_particle_set *set, int32_t i_series, const char *root,
                                const bool *rows)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_prediction_pass_open(p->predict, ts, root));
	for (int32_t i = 0; i < e->n_particles; i++)
		for (int32_t f = 0; f < e->n_tilts; f++) {
			cyc_pair *pair = &e->pairs[(size_t)i * (size_t)e->n_tilts + (size_t)f];
			if (!rows[f]) continue;
			e->n_visible -= pair->map != NULL;
			memset(pair, 0, sizeof *pair);
		}
	CYC_TRY(collect_rows(e, p, ts, set, i_series, rows));
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	return st;
}

cyc_status cyc_evidence_collect(cyc_evidence **out, cyc_evidence_pass *p, cyc_tilt_series *ts,
                                const cyc_particle_set *set, int32_t i_series, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_evidence *e = NULL;
	bool *is_chosen = NULL;
	int64_t count = set->series_first[i_series + 1] - set->series_first[i_series];
	*out = NULL;
	CYC_TRY(cyc_prediction_pass_open(p->predict, ts, root));
	CYC_TRY(choose_tilts(&is_chosen, p, ts));
	if (p->o.has_relion5_weights) CYC_TRY(average_noise(p, ts));
	CYC_TRY(cyc_alloc(&e, 1, sizeof *e));
	e->n_particles = (int32_t)count;
	e->n_tilts = ts->n_tilts;
	e->grid = p->grid;
	size_t n_pairs = (size_t)count * (size_t)ts->n_tilts;
	CYC_TRY(cyc_alloc(&e->pairs, n_pairs, sizeof *e->pairs));
	CYC_TRY(cyc_alloc(&e->maps, n_pairs * (size_t)p->grid.n * (size_t)p->grid.n, sizeof *e->maps));
	CYC_TRY(collect_rows(e, p, ts, set, i_series, is_chosen));
	*out = e;
	e = NULL;
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	cyc_free(is_chosen);
	cyc_evidence_destroy(&e);
	return st;
}

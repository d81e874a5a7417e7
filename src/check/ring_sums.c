#include "check/ring_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Frequencies are stretched by this on both sides for the derivative: half a sample of the reference at the
 * edge of a box of 100. */
static const double STRETCH = 0.005;
/* What a projection's position may be wrong by. */
static const double SHIFT_SD_A = 3;

struct cyc_ring_pass {
	cyc_prediction_pass *predict;
	double k_min_index, crop_power;
	bool has_stretch;
	cyc_buffer *plus, *minus;
	cyc_mat3 *M;
	float *weight, *self; /* s x (s/2 + 1): of the present image; weight 0 where a coefficient is not used */
	int16_t *ring;        /* s x (s/2 + 1) */
	cyc_cfloat *cross;    /* s x (s/2 + 1): w sum x conj(c V) of a tilt */
	double *power;        /* s: w sum |c V|^2 by row */
	cyc_cfloat *turn;     /* s x (s/2 + 1): what moves the present image to where it is predicted */
};

void cyc_ring_sums_destroy(cyc_ring_sums **s)
{
	if (!*s) return;
	cyc_free((*s)->k_invA);
	cyc_free((*s)->is_seen);
	cyc_free((*s)->height_A);
	cyc_free((*s)->sums);
	cyc_free((*s)->noise);
	cyc_free(*s);
	*s = NULL;
}

cyc_status cyc_ring_pass_create(cyc_ring_pass **out, cyc_backend *be, const cyc_box *box,
                                const cyc_reference *reference, double k_min_A, bool has_stretch,
                                int64_t most_particles)
{
	cyc_status st = CYC_OK;
	cyc_ring_pass *p = NULL;
	int32_t s = box->window.box_binned;
	size_t plane = cyc_half_count2(s);
	*out = NULL;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->has_stretch = has_stretch;
	p->k_min_index = s * box->pixel_size_A / k_min_A;
	p->crop_power = cyc_circle_crop_power(box->window.box_px);
	CYC_TRY(cyc_prediction_pass_create(&p->predict, be, box, reference, 0, true,
	                                   has_stretch ? 2 * plane * sizeof(cyc_cfloat) : 0, most_particles));
	size_t n = (size_t)p->predict->batch->capacity;
	if (has_stretch) {
		CYC_TRY(cyc_buffer_create(&p->plus, be, n * plane, sizeof(cyc_cfloat)));
		CYC_TRY(cyc_buffer_create(&p->minus, be, n * plane, sizeof(cyc_cfloat)));
	}
	CYC_TRY(cyc_alloc(&p->M, n, sizeof *p->M));
	CYC_TRY(cyc_alloc(&p->weight, plane, sizeof *p->weight));
	CYC_TRY(cyc_alloc(&p->self, plane, sizeof *p->self));
	CYC_TRY(cyc_alloc(&p->ring, plane, sizeof *p->ring));
	CYC_TRY(cyc_alloc(&p->cross, plane, sizeof *p->cross));
	CYC_TRY(cyc_alloc(&p->power, s, sizeof *p->power));
	CYC_TRY(cyc_alloc(&p->turn, plane, sizeof *p->turn));
	*out = p;
	p = NULL;
done:
	cyc_ring_pass_destroy(&p);
	return st;
}

void cyc_ring_pass_destroy(cyc_ring_pass **p)
{
	if (!*p) return;
	cyc_buffer_destroy(&(*p)->plus);
	cyc_buffer_destroy(&(*p)->minus);
	cyc_prediction_pass_destroy(&(*p)->predict);
	cyc_free((*p)->M);
	cyc_free((*p)->weight);
	cyc_free((*p)->self);
	cyc_free((*p)->ring);
	cyc_free((*p)->cross);
	cyc_free((*p)->power);
	cyc_free((*p)->turn);
	cyc_free(*p);
	*p = NULL;
}

static int32_t first_ring(const cyc_ring_pass *p) { return (int32_t)fmax(1, ceil(p->k_min_index)); }

static void load_weights(cyc_ring_pass *p, double dose, double bfactor_per_dose_A2)
{
	const cyc_prediction_pass *q = p->predict;
	double step_invA = 1 / (q->box.window.box_binned * q->box.pixel_size_A);
	int32_t s = q->box.window.box_binned, sh = s / 2 + 1, first = first_ring(p);
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < sh; x++) {
			size_t at = (size_t)y * (size_t)sh + (size_t)x;
			double r = hypot(x, y < s / 2 ? y : y - s), noise = cyc_radial_at(q->power, sh, r);
			int32_t ring = (int32_t)(r + 0.5) - first;
			bool is_used = ring >= 0 && r <= q->radius && noise > 0 && x < s / 2 && y != s / 2;
			p->weight[at] = is_used ? (float)((x == 0 ? 0.5 : 1) / noise) : 0;
			/* The half map was made with the doses of the table; the sums here are without. */
			p->self[at] = is_used ? (float)(cyc_self_share(q->reference, r, noise, p->crop_power) *
			                                cyc_dose_weight(r * step_invA, dose, bfactor_per_dose_A2))
			                      : 0;
			p->ring[at] = (int16_t)ring;
		}
}

typedef struct {
	const cyc_ring_pass *p;
	cyc_ring_sums *out;
	const cyc_particle *first;
	const cyc_projection *projection;
	const cyc_tilt_series *ts;
	int32_t i_tilt;
	double dose; /* of the table */
	const cyc_cfloat *X, *V, *phase, *plus, *minus;
	const float *ctf, *quadrature;
} image_work;

/* One particle image: sums over the half plane in the order of memory, whatever the number of threads. */
static cyc_status image_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const image_work *a = arg;
	const cyc_ring_pass *p = a->p;
	const cyc_tilt_batch *b = p->predict->batch;
	int32_t i_particle = (int32_t)(b->particles[i] - a->first);
	size_t plane = cyc_half_count2(p->predict->box.window.box_binned), from = (size_t)i * plane;
	size_t at_image = (size_t)i_particle * (size_t)a->out->n_tilts + (size_t)a->i_tilt;
	float *sums = cyc_ring_sums_of(a->out, i_particle, a->i_tilt);
	/* A window that leaves its image shows a part of what is predicted. */
	float shown = (float)b->weight[i];
	for (size_t k = 0; k < plane; k++) {
		float w = p->weight[k];
		if (w == 0) continue;
		cyc_cfloat x = -a->X[from + k], v = a->V[from + k];
		x *= p->turn[k];
		if (a->phase) x *= conjf(a->phase[k]);
		float c = a->ctf[from + k], q = a->quadrature[from + k], xr = crealf(x), xi = cimagf(x),
			  vr = crealf(v), vi = cimagf(v);
		float own = w * p->self[k] * c * (xr * xr + xi * xi), xv = w * (xr * vr + xi * vi),
			  vv = shown * w * (vr * vr + vi * vi);
		float *r = sums + (size_t)p->ring[k] * CYC_RING_N;
		r[CYC_RING_XC] += xv * c - own * c;
		r[CYC_RING_XQ] += xv * q - own * q;
		r[CYC_RING_CC] += vv * c * c;
		r[CYC_RING_CQ] += vv * c * q;
		r[CYC_RING_QQ] += vv * q * q;
		if (!a->plus) continue;
		cyc_cfloat g = (float)(0.5 / STRETCH) * (a->plus[from + k] - a->minus[from + k]);
		float gr = crealf(g), gi = cimagf(g), xg = w * (xr * gr + xi * gi),
			  vg = shown * w * (vr * gr + vi * gi), gg = shown * w * (gr * gr + gi * gi);
		r[CYC_RING_GC] += xg * c;
		r[CYC_RING_GQ] += xg * q;
		r[CYC_RING_VGCC] += vg * c * c;
		r[CYC_RING_VGCQ] += vg * c * q;
		r[CYC_RING_VGQQ] += vg * q * q;
		r[CYC_RING_GGCC] += gg * c * c;
		r[CYC_RING_GGCQ] += gg * c * q;
		r[CYC_RING_GGQQ] += gg * q * q;
	}
	a->out->is_seen[at_image] = true;
	a->out->height_A[at_image] = cyc_particle_extra_defocus_A(a->projection, a->ts, b->particles[i]);
	return CYC_OK;
}

/* Slices at (1 + by) k. */
static cyc_status extract_stretched(cyc_buffer *to, cyc_ring_pass *p, double by)
{
	cyc_status st = CYC_OK;
	const cyc_prediction_pass *q = p->predict;
	cyc_mat3 A = cyc_mat3_identity();
	A.m[0][0] = A.m[1][1] = 1 + by;
	for (int32_t i = 0; i < q->batch->n; i++) p->M[i] = cyc_mat3_mul(A, q->batch->R_img_ref[i]);
	for (int8_t h = 0; h < 2; h++)
		CYC_TRY(cyc_op_slice_extract(to, q->be,
		                             &(cyc_slice_extract_in){ .reference = q->reference->half[h],
		                                                      .m = q->reference->n_grid,
		                                                      .edge = q->reference->edge,
		                                                      .M = p->M,
		                                                      .radius = q->radius,
		                                                      .use = q->batch->half,
		                                                      .select = h,
		                                                      .n = q->batch->n,
		                                                      .s = q->box.window.box_binned }));
done:
	return st;
}

/* ---------------------------------------------------------------- shift of a tilt */

/* Row y of the sums that measure how far the image of a tilt is from its predicted position: particles in
 * their order. */
static cyc_status cross_task(void *arg, int64_t y, int i_thread)
{
	(void)i_thread;
	const image_work *a = arg;
	const cyc_ring_pass *p = a->p;
	int32_t s = p->predict->box.window.box_binned, sh = s / 2 + 1;
	size_t plane = cyc_half_count2(s), row = (size_t)y * (size_t)sh;
	for (int32_t i = 0; i < p->predict->batch->n; i++)
		for (size_t k = row; k < row + (size_t)sh; k++) {
			float w = p->weight[k], c;
			if (w == 0) continue;
			size_t at = (size_t)i * plane + k;
			cyc_cfloat x = -a->X[at], v = a->V[at];
			if (a->phase) x *= conjf(a->phase[k]);
			c = a->ctf[at];
			p->cross[k] += w * c * (x * conjf(v));
			p->power[y] += (double)(w * c * c * (crealf(v) * crealf(v) + cimagf(v) * cimagf(v)));
		}
	return CYC_OK;
}

/* sum Re(cross exp(2 pi i k.d / s)) */
static double cross_at(const cyc_ring_pass *p, double dx, double dy)
{
	const cyc_prediction_pass *q = p->predict;
	int32_t s = q->box.window.box_binned, R = q->radius;
	size_t sh = (size_t)(s / 2 + 1);
	double sum = 0, unit = 2 * CYC_PI / s, step_re = cos(unit * dx), step_im = sin(unit * dx);
	for (int32_t ky = -R; ky <= R; ky++) {
		const cyc_cfloat *row = p->cross + (size_t)(ky < 0 ? ky + s : ky) * sh;
		double re = cos(unit * ky * dy), im = sin(unit * ky * dy);
		for (int32_t x = 0; x <= R && x < s / 2; x++) {
			double was = re;
			sum += (double)crealf(row[x]) * re - (double)cimagf(row[x]) * im;
			re = was * step_re - im * step_im;
			im = was * step_im + im * step_re;
		}
	}
	return sum;
}

/*
 * Positions of unpolished projections are wrong by some Å, which hides what fine rings have to say: each tilt
 * is moved to where its particles together agree best with their predictions, under a prior about where the
 * metadata has it.                        (T9.10)
 */
static void find_shift(double d[2], const cyc_ring_pass *p, double pixel_size_A)
{
	enum { REACH = 9 };
	const cyc_prediction_pass *q = p->predict;
	int32_t s = q->box.window.box_binned;
	double step = 0.2 * s / q->radius, best = -HUGE_VAL, power = 0, sign = cross_at(p, 0, 0) < 0 ? -1 : 1,
		   sd = SHIFT_SD_A / pixel_size_A;
	int at[2] = { 0, 0 };
	for (int32_t y = 0; y < s; y++) power += p->power[y];
	d[0] = d[1] = 0;
	if (!(power > 0)) return;
	double amplitude = fmin(fmax(sign * cross_at(p, 0, 0) / power, 0.1), 1);
	double map[2 * REACH + 1][2 * REACH + 1];
	int n = (int)fmin(REACH, ceil(3 * sd / step));
	for (int y = -n; y <= n; y++)
		for (int x = -n; x <= n; x++) {
			double log_l = 2 * amplitude * sign * cross_at(p, x * step, y * step) -
			               0.5 * (x * x + y * y) * cyc_square(step / sd);
			map[y + n][x + n] = log_l;
			if (log_l <= best) continue;
			best = log_l;
			at[0] = x;
			at[1] = y;
		}
	for (int k = 0; k < 2; k++) {
		d[k] = at[k] * step;
		if (abs(at[k]) == n) continue;
		double low = map[at[1] - (k == 1) + n][at[0] - (k == 0) + n],
			   high = map[at[1] + (k == 1) + n][at[0] + (k == 0) + n], bend = low - 2 * best + high;
		if (bend < 0) d[k] += step * fmin(fmax(0.5 * (low - high) / bend, -0.5), 0.5);
	}
}

static void set_turn(cyc_ring_pass *p, const double d[2])
{
	int32_t s = p->predict->box.window.box_binned, sh = s / 2 + 1;
	double unit = 2 * CYC_PI / s;
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < sh; x++) {
			double phase = unit * (x * d[0] + (y < s / 2 ? y : y - s) * d[1]);
			p->turn[(size_t)y * (size_t)sh + (size_t)x] = (float)cos(phase) + (float)sin(phase) * I;
		}
}

/* ---------------------------------------------------------------- a tilt */

static cyc_status map_batch(image_work *a, cyc_prediction_pass *q)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_buffer_map(&a->X, q->ft));
	CYC_TRY(cyc_buffer_map(&a->V, q->prediction));
	CYC_TRY(cyc_buffer_map(&a->ctf, q->ctf));
	CYC_TRY(cyc_buffer_map(&a->quadrature, q->quadrature));
	a->phase = NULL;
	if (q->phase) CYC_TRY(cyc_buffer_map(&a->phase, q->phase_memory));
done:
	return st;
}

static cyc_status unmap_batch(cyc_prediction_pass *q)
{
	cyc_status st = CYC_OK;
	if (q->phase) CYC_TRY(cyc_buffer_unmap(q->phase_memory));
	CYC_TRY(cyc_buffer_unmap(q->quadrature));
	CYC_TRY(cyc_buffer_unmap(q->ctf));
	CYC_TRY(cyc_buffer_unmap(q->prediction));
	CYC_TRY(cyc_buffer_unmap(q->ft));
done:
	return st;
}

static cyc_status add_cross(image_work *a, cyc_ring_pass *p)
{
	cyc_status st = CYC_OK;
	cyc_prediction_pass *q = p->predict;
	CYC_TRY(map_batch(a, q));
	CYC_TRY(cyc_parallel_for(q->box.window.box_binned, cyc_backend_n_threads(q->be), cross_task, a));
	CYC_TRY(unmap_batch(q));
done:
	return st;
}

static cyc_status add_images(image_work *a, cyc_ring_pass *p)
{
	cyc_status st = CYC_OK;
	cyc_prediction_pass *q = p->predict;
	if (p->has_stretch) {
		CYC_TRY(extract_stretched(p->plus, p, STRETCH));
		CYC_TRY(extract_stretched(p->minus, p, -STRETCH));
		CYC_TRY(cyc_buffer_map(&a->plus, p->plus));
		CYC_TRY(cyc_buffer_map(&a->minus, p->minus));
	}
	CYC_TRY(map_batch(a, q));
	CYC_TRY(cyc_parallel_for(q->batch->n, cyc_backend_n_threads(q->be), image_task, a));
	CYC_TRY(unmap_batch(q));
	if (p->has_stretch) {
		CYC_TRY(cyc_buffer_unmap(p->minus));
		CYC_TRY(cyc_buffer_unmap(p->plus));
	}
	a->out->n_images += q->batch->n;
done:
	return st;
}

/* The particles of one optics group: once for the shift, once for the rings; cut only once if a batch holds
 * them all. */
static cyc_status add_group(image_work *a, cyc_ring_pass *p, const cyc_tilt_series *ts,
                            const cyc_particle_set *set, int32_t i_series, int32_t g)
{
	cyc_status st = CYC_OK;
	cyc_prediction_pass *q = p->predict;
	int32_t s = q->box.window.box_binned;
	int64_t n_outside = 0, count = set->series_first[i_series + 1] - set->series_first[i_series];
	double d[2];
	CYC_TRY(cyc_prediction_pass_group(q, ts, a->i_tilt, &set->optics[g]));
	load_weights(p, a->dose, ts->bfactor_per_dose_A2);
	memset(p->cross, 0, cyc_half_count2(s) * sizeof *p->cross);
	memset(p->power, 0, (size_t)s * sizeof *p->power);
	int n_batches = 0;
	for (int64_t cursor = 0; cursor < count; n_batches++) {
		CYC_TRY(cyc_prediction_pass_next(q, &cursor, &n_outside,
		                                 &(cyc_image_group){ ts, a->i_tilt, set, i_series, g }));
		if (q->batch->n > 0) CYC_TRY(add_cross(a, p));
	}
	find_shift(d, p, ts->pixel_size_A);
	set_turn(p, d);
	if (n_batches == 1) {
		if (q->batch->n > 0) CYC_TRY(add_images(a, p));
		goto done;
	}
	for (int64_t cursor = 0; cursor < count;) {
		CYC_TRY(cyc_prediction_pass_next(q, &cursor, &n_outside,
		                                 &(cyc_image_group){ ts, a->i_tilt, set, i_series, g }));
		if (q->batch->n > 0) CYC_TRY(add_images(a, p));
	}
done:
	return st;
}

static cyc_status add_tilt(cyc_ring_sums *sums, cyc_ring_pass *p, cyc_tilt_series *ts, int32_t f,
                           const cyc_particle_set *set, int32_t i_series, const bool *used)
{
	cyc_status st = CYC_OK;
	cyc_projection projection;
	int32_t sh = p->predict->box.window.box_binned / 2 + 1;
	double *dose = &ts->tilts[f].pre_exposure_e_per_A2;
	image_work a = { .p = p,
		             .out = sums,
		             .first = &set->particles[set->series_first[i_series]],
		             .projection = &projection,
		             .ts = ts,
		             .i_tilt = f,
		             .dose = *dose };
	/* Tables of the CTF without the damage: it is one of the things asked for. */
	*dose = 0;
	CYC_TRY(cyc_prediction_pass_image(p->predict, ts, f));
	CYC_TRY(cyc_projection_of_tilt(&projection, ts, f));
	for (int32_t r = 0; r < sums->n_rings; r++)
		sums->noise[(size_t)f * (size_t)sums->n_rings + (size_t)r] =
			cyc_radial_at(p->predict->power, sh, r + first_ring(p));
	for (int32_t g = 0; g < set->n_optics; g++)
		if (used[g]) CYC_TRY(add_group(&a, p, ts, set, i_series, g));
done:
	*dose = a.dose;
	return st;
}

cyc_status cyc_ring_pass_series(cyc_ring_sums **out, cyc_ring_pass *p, cyc_tilt_series *ts,
                                const cyc_particle_set *set, int32_t i_series, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_ring_sums *sums = NULL;
	bool *used = NULL;
	*out = NULL;
	CYC_TRY(cyc_prediction_pass_open(p->predict, ts, root));
	CYC_TRY(cyc_alloc(&sums, 1, sizeof *sums));
	sums->n_particles = (int32_t)(set->series_first[i_series + 1] - set->series_first[i_series]);
	sums->n_tilts = ts->n_tilts;
	sums->n_rings = p->predict->reference->radius - first_ring(p) + 1;
	sums->has_stretch = p->has_stretch;
	CYC_CHECK(sums->n_rings >= 2, CYC_E_DATA,
	          "the reference reaches only %.1f Å, too low a resolution to compare images with",
	          p->predict->reference->box_px * p->predict->reference->pixel_size_A /
	              p->predict->reference->radius);
	size_t n = (size_t)sums->n_particles * (size_t)ts->n_tilts, n_rings = (size_t)sums->n_rings;
	CYC_TRY(cyc_alloc(&sums->k_invA, n_rings, sizeof *sums->k_invA));
	CYC_TRY(cyc_alloc(&sums->is_seen, n, sizeof *sums->is_seen));
	CYC_TRY(cyc_alloc(&sums->height_A, n, sizeof *sums->height_A));
	CYC_TRY(cyc_alloc(&sums->sums, n * n_rings * CYC_RING_N, sizeof *sums->sums));
	CYC_TRY(cyc_alloc(&sums->noise, (size_t)ts->n_tilts * n_rings, sizeof *sums->noise));
	CYC_TRY(cyc_alloc(&used, (size_t)set->n_optics + 1, sizeof *used));
	cyc_optics_used(used, set, i_series);
	for (int32_t r = 0; r < sums->n_rings; r++)
		sums->k_invA[r] =
			(r + first_ring(p)) / (p->predict->box.window.box_binned * p->predict->box.pixel_size_A);
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		CYC_TRY(cyc_cancel_check());
		if (ts->tilts[f].scale != 0) CYC_TRY(add_tilt(sums, p, ts, f, set, i_series, used));
	}
	*out = sums;
	sums = NULL;
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	cyc_free(used);
	cyc_ring_sums_destroy(&sums);
	return st;
}

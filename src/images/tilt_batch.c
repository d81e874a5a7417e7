#include "images/tilt_batch.h"

#include <math.h>

cyc_status cyc_box_create(cyc_box *out, int32_t box, double binning, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(box >= 8 && box % 2 == 0, CYC_E_USAGE,
	          "the box must be an even number of pixels, at least 8; got %d", box);
	CYC_CHECK(binning >= 1 && isfinite(binning), CYC_E_USAGE, "binning must be at least 1, got %g", binning);
	double window = binning * box;
	int32_t S = (int32_t)floor(window + 0.5);
	if (S % 2 != 0 || fabs(window - S) > 1e-6 * window) {
		int32_t good = box;
		for (int32_t d = 2; d < 200; d += 2) { /* the nearest even box whose window is whole and even */
			for (int sign = -1; sign <= 1 && good == box; sign += 2) {
				double w = binning * (box + sign * d);
				if (box + sign * d >= 8 && fabs(w - 2 * round(w / 2)) < 1e-6 * w) good = box + sign * d;
			}
			if (good != box) break;
		}
		cyc_error_raise(
			CYC_E_USAGE, __FILE__, __LINE__, __func__,
			"a box of %d px at binning %g needs a window of %g image pixels; it must be an even whole number",
			box, binning, window);
		if (good != box) cyc_error_hint("use --b %d", good);
		else cyc_error_hint("use another binning");
		st = CYC_E_USAGE;
		goto done;
	}
	*out = (cyc_box){ .window = { .box_px = S, .box_binned = box },
		              .binning = binning,
		              .pixel_size_A = binning * pixel_size_A,
		              .margin_px = 0.5 * S };
done:
	return st;
}

cyc_status cyc_tilt_batch_create(cyc_tilt_batch **out, int32_t capacity)
{
	cyc_status st = CYC_OK;
	cyc_tilt_batch *b = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&b, 1, sizeof *b));
	b->capacity = capacity;
	CYC_TRY(cyc_alloc(&b->particles, capacity, sizeof *b->particles));
	CYC_TRY(cyc_alloc(&b->at_px, 2 * (size_t)capacity, sizeof *b->at_px));
	CYC_TRY(cyc_alloc(&b->turns_per_k2, capacity, sizeof *b->turns_per_k2));
	CYC_TRY(cyc_alloc(&b->weight, capacity, sizeof *b->weight));
	CYC_TRY(cyc_alloc(&b->probability, capacity, sizeof *b->probability));
	CYC_TRY(cyc_alloc(&b->R_img_ref, capacity, sizeof *b->R_img_ref));
	CYC_TRY(cyc_alloc(&b->half, capacity, sizeof *b->half));
	*out = b;
	b = NULL;
done:
	cyc_tilt_batch_destroy(&b);
	return st;
}

void cyc_tilt_batch_destroy(cyc_tilt_batch **b)
{
	if (!*b) return;
	cyc_free((*b)->particles);
	cyc_free((*b)->at_px);
	cyc_free((*b)->turns_per_k2);
	cyc_free((*b)->weight);
	cyc_free((*b)->probability);
	cyc_free((*b)->R_img_ref);
	cyc_free((*b)->half);
	cyc_free(*b);
	*b = NULL;
}

int32_t cyc_tilt_batch_capacity(size_t n_bytes_per_particle, int64_t most_particles, size_t batch_bytes)
{
	size_t n = batch_bytes / (n_bytes_per_particle + 1);
	if (n < 4) n = 4;
	if (n > CYC_TILT_BATCH_MOST) n = CYC_TILT_BATCH_MOST;
	return most_particles > 0 && most_particles < (int64_t)n ? (int32_t)most_particles : (int32_t)n;
}

double cyc_particle_mask(double r_px, double radius_px)
{
	double edge = (r_px - radius_px) / CYC_PARTICLE_EDGE_PX;
	return edge <= 0 ? 1 : edge >= 1 ? 0 : 0.5 + 0.5 * cos(CYC_PI * edge);
}

double cyc_turns_per_k2(double extra_defocus_A, double voltage_kV, double pixel_size_A, int32_t s)
{
	double step_invA = 1 / (s * pixel_size_A);
	return -0.5 * cyc_electron_wavelength_A(voltage_kV) * extra_defocus_A * step_invA * step_invA;
}

/* By counting rows. */
double cyc_visible_share(const cyc_tilt_series *ts, double x, double y, double radius)
{
	enum { ROWS = 64 };
	double inside = 0, all = 0;
	for (int i = 0; i < ROWS; i++) {
		double dy = radius * (2 * (i + 0.5) / ROWS - 1), half = sqrt(radius * radius - dy * dy);
		all += 2 * half;
		if (y + dy < 0 || y + dy > ts->image_ny - 1) continue;
		double low = fmax(x - half, 0), high = fmin(x + half, ts->image_nx - 1);
		if (high > low) inside += high - low;
	}
	return inside / all;
}

cyc_status cyc_tilt_batch_fill(cyc_tilt_batch *b, int64_t *cursor, int64_t *n_outside,
                               const cyc_image_group *of, const cyc_box *box)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = of->ts;
	const cyc_particle_set *set = of->set;
	int32_t i_tilt = of->i_tilt, i_optics = of->i_optics;
	cyc_projection p;
	int64_t first = set->series_first[of->i_series], count = set->series_first[of->i_series + 1] - first;
	CYC_TRY(cyc_projection_of_tilt(&p, ts, i_tilt));
	/* A slice holds F(R^T k); magnified images want F(R^T M k). (T1.14) */
	const cyc_optics_group *group = set->optics ? &set->optics[i_optics] : NULL;
	cyc_mat3 linear = p.linear;
	if (group && group->has_magnification) {
		const double(*M)[2] = (const double(*)[2])group->magnification;
		linear = cyc_mat3_mul((cyc_mat3){ { { M[0][0], M[1][0], 0 }, { M[0][1], M[1][1], 0 }, { 0, 0, 1 } } },
		                      p.linear);
	}
	b->n = 0;
	for (; *cursor < count && b->n < b->capacity; (*cursor)++) {
		const cyc_particle *particle = &set->particles[first + *cursor];
		double x, y, weight = 1;
		if (particle->i_optics != i_optics || (particle->probability == 0 && !box->with_improbable)) continue;
		cyc_particle_position_px(&x, &y, &p, ts, i_tilt, particle);
		if (box->listed_frames && particle->visible_frames) {
			if (!particle->visible_frames[i_tilt]) {
				(*n_outside)++;
				continue;
			}
		} else if (!cyc_is_visible(ts, x, y, box->margin_px)) {
			/* A partial window must at least show the middle half of the box, where the particle is, or what
			 * the caller says. */
			double least = box->partial_margin_px > 0 ? box->partial_margin_px : 0.25 * box->window.box_px;
			if (!box->window.is_partial || !cyc_is_visible(ts, x, y, least)) {
				(*n_outside)++;
				continue;
			}
			weight = cyc_visible_share(ts, x, y, 0.5 * box->window.box_px);
		}
		int32_t i = b->n++;
		b->particles[i] = particle;
		b->at_px[2 * i] = x;
		b->at_px[2 * i + 1] = y;
		b->weight[i] = weight;
		b->probability[i] = particle->probability;
		b->half[i] = (int8_t)(particle->half > 0);
		b->R_img_ref[i] = cyc_mat3_mul(linear, particle->R_tomo_ref);
		b->turns_per_k2[i] = cyc_turns_per_k2(cyc_particle_extra_defocus_A(&p, ts, particle), ts->voltage_kV,
		                                      box->pixel_size_A, box->window.box_binned);
	}
done:
	return st;
}

typedef struct {
	float *items;
	const double *factor;
	size_t n_floats;
	bool is_root;
} scaling;

static cyc_status scale_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const scaling *w = arg;
	float *item = w->items + (size_t)i * w->n_floats,
		  factor = (float)(w->is_root ? sqrt(w->factor[i]) : w->factor[i]);
	for (size_t k = 0; k < w->n_floats && factor != 1; k++) item[k] *= factor;
	return CYC_OK;
}

cyc_status cyc_scale_items(cyc_buffer *items, cyc_backend *be, const double *factor, bool is_root, int32_t n,
                           size_t size)
{
	cyc_status st = CYC_OK;
	scaling w = { .factor = factor, .n_floats = size / sizeof(float), .is_root = is_root };
	bool is_plain = true;
	for (int32_t i = 0; i < n && is_plain; i++) is_plain = factor[i] == 1;
	if (is_plain) goto done;
	CYC_TRY(cyc_buffer_map_part(&w.items, items, 0, (size_t)n * size));
	CYC_TRY(cyc_parallel_for(n, cyc_backend_n_threads(be), scale_task, &w));
	CYC_TRY(cyc_buffer_unmap(items));
done:
	return st;
}

void cyc_optics_used(bool *flags, const cyc_particle_set *set, int32_t i_series)
{
	for (int32_t g = 0; g < set->n_optics; g++) flags[g] = false;
	for (int64_t i = set->series_first[i_series]; i < set->series_first[i_series + 1]; i++)
		flags[set->particles[i].i_optics] = true;
}

cyc_status cyc_tilt_tables_create(cyc_tilt_tables **out, int32_t s, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_tilt_tables *t = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&t, 1, sizeof *t));
	t->s = s;
	t->n_threads = n_threads;
	CYC_TRY(cyc_alloc(&t->turns, cyc_half_count2(s), sizeof *t->turns));
	CYC_TRY(cyc_alloc(&t->envelope, cyc_half_count2(s), sizeof *t->envelope));
	*out = t;
	t = NULL;
done:
	cyc_tilt_tables_destroy(&t);
	return st;
}

void cyc_tilt_tables_destroy(cyc_tilt_tables **t)
{
	if (!*t) return;
	cyc_free((*t)->turns);
	cyc_free((*t)->envelope);
	cyc_free((*t)->odd_phase);
	cyc_free((*t)->even_turns);
	cyc_free((*t)->k2);
	cyc_free(*t);
	*t = NULL;
}

static bool has_terms(const double *c, int32_t n)
{
	for (int32_t i = 0; i < n; i++)
		if (c[i] != 0) return true;
	return false;
}

/* Frequency [index units] of the object at an image's coefficient. */
static void object_frequency(double k[2], const cyc_optics_group *group, int32_t x, int32_t y)
{
	k[0] = x;
	k[1] = y;
	if (!group || !group->has_magnification) return;
	for (int i = 0; i < 2; i++) k[i] = group->magnification[i][0] * x + group->magnification[i][1] * y;
}

/* Zernike sums over the half plane are dear: once per optics group, not per tilt. */
static cyc_status load_group(cyc_tilt_tables *t, const cyc_optics_group *group, double step_invA)
{
	cyc_status st = CYC_OK;
	int32_t s = t->s, sh = s / 2 + 1;
	if (group == t->group && step_invA == t->group_step_invA) goto done;
	t->group = NULL;
	t->has_even = group && has_terms(group->even_zernike, group->n_even);
	t->has_odd = group && has_terms(group->odd_zernike, group->n_odd);
	t->has_k2 = group && group->has_magnification;
	if (t->has_even && !t->even_turns)
		CYC_TRY(cyc_alloc(&t->even_turns, cyc_half_count2(s), sizeof *t->even_turns));
	if (t->has_odd && !t->odd_phase)
		CYC_TRY(cyc_alloc(&t->odd_phase, cyc_half_count2(s), sizeof *t->odd_phase));
	if (t->has_k2 && !t->k2) CYC_TRY(cyc_alloc(&t->k2, cyc_half_count2(s), sizeof *t->k2));
	const cyc_ctf even_only = { .even_zernike = group ? group->even_zernike : NULL,
		                        .n_even = group ? group->n_even : 0 };
	for (int32_t y = 0; y < s && (t->has_even || t->has_odd || t->has_k2); y++)
		for (int32_t x = 0; x < sh; x++) {
			size_t at = (size_t)y * (size_t)sh + (size_t)x;
			double k[2];
			object_frequency(k, group, x, y < s / 2 ? y : y - s);
			if (t->has_k2) t->k2[at] = (float)(k[0] * k[0] + k[1] * k[1]);
			if (t->has_even)
				t->even_turns[at] =
					(float)(cyc_ctf_phase(&even_only, k[0] * step_invA, k[1] * step_invA, 0) / (2 * CYC_PI));
			if (!t->has_odd) continue;
			double phase =
				cyc_odd_phase(group->odd_zernike, group->n_odd, k[0] * step_invA, k[1] * step_invA);
			t->odd_phase[at] = (float)cos(phase) + (float)sin(phase) * I;
		}
	t->group = group;
	t->group_step_invA = step_invA;
done:
	return st;
}

/* Squared radii of the coefficients that are used, 0 to one less than this. */
static int32_t n_squares(const cyc_tilt_tables *t)
{
	return t->is_full_plane ? t->s * t->s / 2 + 1 : t->s * t->s / 4 + 1;
}

/* What the tables of one tilt are made of. */
typedef struct {
	cyc_tilt_tables *t;
	const cyc_tilt_series *ts;
	const cyc_optics_group *group;
	cyc_ctf ctf, round_ctf; /* the latter without defocus and scale */
	cyc_defocus defocus;
	double step_invA, cutoff_frac, dose_e_per_A2;
	double *radial; /* n_k2 x {envelope, turns of the round part}, by squared index */
	int32_t n_k2;
} table_work;

enum { RADII_AT_ONCE = 512 };

/* The envelope and the round part of the phase depend on k^2 alone, and in index units k^2 is a whole number.
 */
static cyc_status radial_task(void *arg, int64_t i_piece, int i_thread)
{
	table_work *w = arg;
	(void)i_thread;
	int32_t first = (int32_t)i_piece * RADII_AT_ONCE,
			end = first + RADII_AT_ONCE < w->n_k2 ? first + RADII_AT_ONCE : w->n_k2;
	for (int32_t i = first; i < end; i++) {
		double k = w->step_invA * sqrt((double)i),
			   weight = cyc_dose_weight(k, w->dose_e_per_A2, w->ts->bfactor_per_dose_A2);
		if (!(weight > w->cutoff_frac) && !w->t->is_full_plane)
			break; /* and none of what is finer: weights fall, and the table is zero */
		w->radial[2 * i] = w->ctf.scale * weight * exp(-0.25 * w->ctf.bfactor_A2 * k * k);
		w->radial[2 * i + 1] = cyc_ctf_phase(&w->round_ctf, k, 0, 0) / (2 * CYC_PI);
	}
	return CYC_OK;
}

/* Radius of the last coefficient with weight. */
static int32_t radius_with_weight(const table_work *w)
{
	int32_t low = 0, high = w->n_k2; /* weights fall: the first is above the cutoff, none from `high` on is */
	while (high - low > 1) {
		int32_t i = low + (high - low) / 2;
		double k = w->step_invA * sqrt((double)i);
		if (cyc_dose_weight(k, w->dose_e_per_A2, w->ts->bfactor_per_dose_A2) > w->cutoff_frac) low = i;
		else high = i;
	}
	return (int32_t)sqrt((double)low);
}

/* A row where |k|^2 is no whole number: each coefficient separately. The same ones are used as without
 * magnification, those with a value in `radial`, which has it by the k^2 of the image. */
static void fill_magnified(const table_work *w, int32_t y)
{
	cyc_tilt_tables *t = w->t;
	int32_t s = t->s, sh = s / 2 + 1, ky = y < s / 2 ? y : y - s;
	const cyc_defocus *d = &w->defocus;
	double per_A = -0.5 * w->ctf.wavelength_A * w->step_invA * w->step_invA;
	for (int32_t x = 0; x < sh; x++) {
		size_t at = (size_t)y * (size_t)sh + (size_t)x;
		double k[2];
		t->turns[at] = 0;
		t->envelope[at] = 0;
		if (x * x + ky * ky >= w->n_k2 || w->radial[2 * (x * x + ky * ky)] == 0) continue;
		object_frequency(k, w->group, x, ky);
		double k2 = k[0] * k[0] + k[1] * k[1], r = w->step_invA * sqrt(k2),
			   weight = cyc_dose_weight(r, w->dose_e_per_A2, w->ts->bfactor_per_dose_A2);
		double turns = cyc_ctf_phase(&w->round_ctf, r, 0, 0) / (2 * CYC_PI) +
		               per_A * (d->mean_A * k2 + d->astig_x_A * (k[0] * k[0] - k[1] * k[1]) +
		                        2 * d->astig_y_A * k[0] * k[1]);
		if (t->has_even) turns += (double)t->even_turns[at];
		t->turns[at] = (float)(turns - round(turns));
		t->envelope[at] = (float)(w->ctf.scale * weight * exp(-0.25 * w->ctf.bfactor_A2 * r * r));
	}
}

static void fill_plain(const table_work *w, int32_t y)
{
	cyc_tilt_tables *t = w->t;
	int32_t s = t->s, sh = s / 2 + 1, ky = y < s / 2 ? y : y - s;
	const cyc_defocus *d = &w->defocus;
	const double *radial = w->radial, per_A = -0.5 * w->ctf.wavelength_A * w->step_invA * w->step_invA;
	for (int32_t x = 0; x < sh; x++) {
		size_t at = (size_t)y * (size_t)sh + (size_t)x;
		int32_t k2 = x * x + ky * ky;
		t->turns[at] = 0;
		t->envelope[at] = 0;
		if (k2 >= w->n_k2 || radial[2 * k2] == 0) continue;
		double turns = radial[2 * k2 + 1] + per_A * (d->mean_A * k2 + d->astig_x_A * (x * x - ky * ky) +
		                                             2 * d->astig_y_A * x * ky);
		if (t->has_even) turns += (double)t->even_turns[at];
		t->turns[at] = (float)(turns - round(turns));
		t->envelope[at] = (float)radial[2 * k2];
	}
}

enum { ROWS_AT_ONCE = 16 };

static cyc_status rows_task(void *arg, int64_t i_piece, int i_thread)
{
	const table_work *w = arg;
	(void)i_thread;
	int32_t first = (int32_t)i_piece * ROWS_AT_ONCE,
			end = first + ROWS_AT_ONCE < w->t->s ? first + ROWS_AT_ONCE : w->t->s;
	for (int32_t y = first; y < end; y++) {
		if (w->t->has_k2) fill_magnified(w, y);
		else fill_plain(w, y);
	}
	return CYC_OK;
}

cyc_status cyc_tilt_tables_fill(cyc_tilt_tables *t, const cyc_tilt_series *ts, int32_t i_tilt,
                                const cyc_optics_group *group, double pixel_size_A, double cutoff_frac)
{
	cyc_status st = CYC_OK;
	int32_t s = t->s;
	const cyc_ctf ctf = cyc_ctf_of_tilt(ts, i_tilt, group);
	table_work w = { .t = t,
		             .ts = ts,
		             .group = group,
		             .ctf = ctf,
		             .round_ctf = { .wavelength_A = ctf.wavelength_A,
		                            .spherical_aberration_mm = ctf.spherical_aberration_mm,
		                            .scale = 1,
		                            .amplitude_contrast_frac = ctf.amplitude_contrast_frac,
		                            .phase_shift_rad = ctf.phase_shift_rad },
		             .defocus = cyc_defocus_from_uva(ctf.defocus_u_A, ctf.defocus_v_A, ctf.defocus_angle_rad),
		             .step_invA = 1 / (s * pixel_size_A),
		             .cutoff_frac = cutoff_frac,
		             .dose_e_per_A2 = ts->tilts[i_tilt].pre_exposure_e_per_A2,
		             .n_k2 = n_squares(t) };
	CYC_TRY(load_group(t, group, w.step_invA));
	CYC_TRY(cyc_alloc(&w.radial, 2 * (size_t)w.n_k2, sizeof *w.radial));
	CYC_TRY(cyc_parallel_for((w.n_k2 + RADII_AT_ONCE - 1) / RADII_AT_ONCE, t->n_threads, radial_task, &w));
	/* The first shell without weight still belongs to the triangle that reaches back into the last one with
	 * it. */
	t->radius = radius_with_weight(&w);
	if (t->radius < s / 2) t->radius++;
	if (t->radius > s / 2) t->radius = s / 2;
	CYC_TRY(cyc_parallel_for((s + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE, t->n_threads, rows_task, &w));
done:
	cyc_free(w.radial);
	return st;
}

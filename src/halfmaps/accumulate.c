#include "halfmaps/accumulate.h"

#include "halfmaps/noise_weights.h"
#include "halfmaps/volume_sections.h"
#include "images/frame_share.h"
#include "images/tilt_image.h"

#include <math.h>
#include <string.h>

/* What insertion of cropped images needs in addition: of windows that are cropped here, or of the images of
 * an extraction. */
typedef struct {
	cyc_buffer *images;       /* capacity x s x s, one below the other */
	cyc_buffer *share, *rest; /* of the weights, s x sh */
	float *plane;             /* 2 x s x sh, of the host */
	double *left;             /* s^2/4 + 1: what the crop leaves of a particle, by squared radius */
	double *centres;          /* capacity x 2: of the images */
	/* Of an extraction. */
	float *read;                   /* images of a few particles, as they were read */
	size_t *first;                 /* where each of these begins */
	cyc_stack_view *views;         /* n_tilts of each */
	int32_t *slot, *section;       /* of the batch: which of the particles, which of its images */
	cyc_volume_sections *sections; /* of volumes */
} crop_work;

/* Packed slices that wait for their insertion, of several tilt images and optics groups of a series. */
typedef struct {
	cyc_buffer *packed; /* capacity x cyc_packed_count(s) */
	int32_t n, capacity;
	int32_t *radius;
	cyc_mat3 *M;
	int8_t *slot;
	double *probability;
} waiting_slices;

struct cyc_accumulator {
	cyc_backend *be;
	cyc_box box;
	cyc_accumulator_options options;
	cyc_sums *sums, *rest; /* rest: NULL, or what is beyond the radius of the sums, by half-set */
	const int8_t *slot;    /* sum of each particle of the set, or NULL: by half-set */
	bool has_half[2];      /* whether there are any of it */
	bool is_measuring;     /* nothing is inserted: scales are chosen by the first batch */
	double n_additions;    /* to a voxel, at most */
	cyc_tilt_image image;
	cyc_buffer *ft, *ctf, *turns, *envelope, *phase, *whiten, *k2;
	waiting_slices waiting;
	cyc_tilt_batch *batch;
	cyc_tilt_tables *tables;
	double *power;
	float *whiten_host;
	crop_work crop;
	cyc_noise_weights noise; /* gain NULL: all images count alike */
	cyc_frame_share frame;
	int32_t frame_tilt;        /* whose frame that is; -1: none yet */
	double image_weight;       /* u of the present image (T2.9) */
	const cyc_tilt_range *own; /* by series, NULL: all tilts */
};

void cyc_accumulator_set_tilts(cyc_accumulator *a, const cyc_tilt_range *own) { a->own = own; }

static size_t bytes_per_particle(int32_t s)
{
	return cyc_half_count2(s) * (sizeof(cyc_cfloat) + sizeof(float)) + cyc_packed_count(s) * sizeof(float);
}

/* Slices that wait for their insertion. A sum is read and written whole for them, and far larger than a
 * cache: there should be enough of them for each of some ten sums. */
static const size_t WAITING_BYTES = (size_t)64 << 20;
enum { MOST_WAITING = 1024 };

int32_t cyc_accumulator_waiting(int32_t s, int32_t batch)
{
	size_t n = WAITING_BYTES / (cyc_packed_count(s) * sizeof(float));
	return n < (size_t)batch ? batch : n > MOST_WAITING ? MOST_WAITING : (int32_t)n;
}

static cyc_status create_waiting(waiting_slices *w, cyc_backend *be, int32_t s, int32_t batch)
{
	cyc_status st = CYC_OK;
	w->capacity = cyc_accumulator_waiting(s, batch);
	CYC_TRY(cyc_buffer_create(&w->packed, be, (size_t)w->capacity * cyc_packed_count(s), sizeof(float)));
	CYC_TRY(cyc_alloc(&w->radius, w->capacity, sizeof *w->radius));
	CYC_TRY(cyc_alloc(&w->M, w->capacity, sizeof *w->M));
	CYC_TRY(cyc_alloc(&w->slot, w->capacity, sizeof *w->slot));
	CYC_TRY(cyc_alloc(&w->probability, w->capacity, sizeof *w->probability));
done:
	return st;
}

static void deinit_waiting(waiting_slices *w)
{
	cyc_buffer_destroy(&w->packed);
	cyc_free(w->radius);
	cyc_free(w->M);
	cyc_free(w->slot);
	cyc_free(w->probability);
}

cyc_status cyc_accumulator_create(cyc_accumulator **out, cyc_backend *be, const cyc_box *box,
                                  const cyc_accumulator_options *options, const cyc_accumulator_sums *sums)
{
	cyc_status st = CYC_OK;
	cyc_accumulator *a = NULL;
	/* The scales of sums are taken from the first images that are inserted together: of these there are as
	 * many on any device. */
	int32_t s = box->window.box_binned,
			capacity = cyc_tilt_batch_capacity(bytes_per_particle(s), sums->most_particles, CYC_BATCH_BYTES);
	size_t plane = cyc_half_count2(s), n = (size_t)capacity;
	*out = NULL;
	CYC_TRY(cyc_alloc(&a, 1, sizeof *a));
	a->be = be;
	a->box = *box;
	a->options = *options;
	a->image_weight = 1;
	a->sums = sums->sums;
	a->rest = sums->rest;
	a->slot = sums->slot;
	CYC_ASSERT(a->sums->n <= INT8_MAX && a->sums->box_px == s && (!a->rest || a->sums->n % 2 == 0));
	CYC_TRY(cyc_buffer_create(&a->ft, be, n * plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&a->ctf, be, n * plane, sizeof(float)));
	CYC_TRY(create_waiting(&a->waiting, be, s, capacity));
	CYC_TRY(cyc_buffer_create(&a->turns, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&a->envelope, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&a->phase, be, plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&a->whiten, be, plane, sizeof(float)));
	CYC_TRY(cyc_tilt_batch_create(&a->batch, capacity));
	CYC_TRY(cyc_tilt_tables_create(&a->tables, s, cyc_backend_n_threads(be)));
	a->tables->is_full_plane = options->crop_images; /* what is cut off sharply would ring in the crop */
	CYC_TRY(cyc_alloc(&a->power, (size_t)box->window.box_px / 2 + 1, sizeof *a->power));
	CYC_TRY(cyc_alloc(&a->whiten_host, plane, sizeof *a->whiten_host));
	*out = a;
	a = NULL;
done:
	cyc_accumulator_destroy(&a);
	return st;
}

void cyc_accumulator_destroy(cyc_accumulator **p)
{
	cyc_accumulator *a = *p;
	if (!a) return;
	cyc_buffer **const buffers[] = { &a->ft,     &a->ctf, &a->turns,       &a->envelope,   &a->phase,
		                             &a->whiten, &a->k2,  &a->crop.images, &a->crop.share, &a->crop.rest };
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) cyc_buffer_destroy(buffers[i]);
	deinit_waiting(&a->waiting);
	cyc_volume_sections_destroy(&a->crop.sections);
	cyc_tilt_image_deinit(&a->image);
	cyc_noise_weights_deinit(&a->noise);
	cyc_frame_share_deinit(&a->frame);
	void *const blocks[] = { a->crop.plane, a->crop.left, a->crop.centres, a->crop.read, a->crop.first,
		                     a->crop.views, a->crop.slot, a->crop.section, a->power,     a->whiten_host };
	for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) cyc_free(blocks[i]);
	cyc_tilt_batch_destroy(&a->batch);
	cyc_tilt_tables_destroy(&a->tables);
	cyc_free(a);
	*p = NULL;
}

/* Window and binned box have the same frequency step, so the same index of the spectrum. */
static cyc_status load_whitening(cyc_accumulator *a, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	int32_t S = a->box.window.box_px, s = a->box.window.box_binned;
	CYC_TRY(cyc_tilt_image_noise(a->power, &a->image, ts, S, cyc_backend_n_threads(a->be)));
	cyc_whitening_plane(a->whiten_host, s, a->power, S / 2 + 1);
	CYC_TRY(cyc_buffer_upload(a->whiten, a->whiten_host, cyc_half_count2(s) * sizeof(float)));
done:
	return st;
}

cyc_status cyc_accumulator_learn_noise(cyc_accumulator *a, cyc_tomogram_set *tomograms,
                                       const cyc_particle_set *set, const char *root)
{
	return cyc_noise_weights_learn(&a->noise, tomograms, set, root, cyc_backend_n_threads(a->be));
}

/* Radius of the particles, binned px: three quarters of the circle that they are cropped to, or what is in
 * the middle half. */
static double particle_radius_px(const cyc_accumulator_options *o, int32_t s)
{
	return o->crop_px > CYC_CIRCLE_EDGE_PX && o->crop_px < s
	           ? CYC_PARTICLE_SHARE * 0.5 * (o->crop_px - CYC_CIRCLE_EDGE_PX)
	           : 0.25 * s;
}

void cyc_accumulator_box(cyc_box *box, const cyc_accumulator_options *o)
{
	int32_t s = box->window.box_binned;
	/* RELION asks for half the binned box, so that with binning parts of the windows may lie outside. With
	 * cropped images, as an extraction does it, the crop must be inside, and the window is cut after the CTF
	 * instead of before. */
	box->margin_px = o->crop_images ? 0.5 * box->binning * o->crop_px : 0.5 * s;
	box->window.no_circle_crop = o->no_circle_crop || o->crop_images;
	/* Images of an extraction are cut with their border repeated, and weighted alike. */
	box->window.is_partial = !(o->whole_windows || o->listed_frames);
	box->partial_margin_px = o->no_ctf ? 0 : CYC_LEAST_INSIDE * particle_radius_px(o, s) * box->binning;
	box->listed_frames = o->listed_frames;
}

/* Slots in place of half-sets; particles without one are taken out of the batch. */
static void take_slots(cyc_accumulator *a, const cyc_particle_set *set)
{
	cyc_tilt_batch *b = a->batch;
	int32_t n = 0;
	for (int32_t i = 0; i < b->n && a->slot; i++) {
		int8_t slot = a->slot[b->particles[i] - set->particles];
		if (slot < 0) continue;
		b->particles[n] = b->particles[i];
		b->at_px[2 * n] = b->at_px[2 * i];
		b->at_px[2 * n + 1] = b->at_px[2 * i + 1];
		b->weight[n] = b->weight[i];
		b->probability[n] = b->probability[i];
		b->R_img_ref[n] = b->R_img_ref[i];
		b->turns_per_k2[n] = b->turns_per_k2[i];
		b->half[n++] = slot;
	}
	if (a->slot) b->n = n;
}

/* Insert what waits: each slice into its slot, and what of it is beyond the slots' sphere into the rest. */
static cyc_status insert_waiting(cyc_accumulator *a)
{
	cyc_status st = CYC_OK;
	waiting_slices *w = &a->waiting;
	int32_t s = a->box.window.box_binned;
	cyc_slices slices = { .M = w->M, .radius = w->radius, .use = w->slot, .n = w->n, .s = s };
	if (w->n == 0) goto done;
	CYC_ASSERT(a->sums->spec[0].scale[0] > 0 && a->sums->spec[1].scale[0] > 0);
	a->sums->is_zero = false;
	CYC_TRY(
		cyc_scale_items(w->packed, a->be, w->probability, false, w->n, cyc_packed_count(s) * sizeof(float)));
	for (int32_t i = 0; i < a->sums->n; i++) {
		int32_t h = cyc_sums_half(a->sums, i);
		slices.select = (int8_t)i;
		CYC_TRY(cyc_op_slice_insert(a->sums->sum[i], a->be, &a->sums->spec[h], w->packed, &slices));
		if (a->rest)
			CYC_TRY(cyc_op_slice_insert(a->rest->sum[h], a->be, &a->rest->spec[h], w->packed, &slices));
	}
	w->n = 0;
done:
	return st;
}

/* Scales of the sums, of the first slices, which wait. */
static cyc_status measure_waiting(cyc_accumulator *a)
{
	cyc_status st = CYC_OK;
	waiting_slices *w = &a->waiting;
	int32_t s = a->box.window.box_binned;
	CYC_TRY(
		cyc_scale_items(w->packed, a->be, w->probability, false, w->n, cyc_packed_count(s) * sizeof(float)));
	for (int32_t i = 0; i < w->n; i++) w->slot[i] = (int8_t)cyc_sums_half(a->sums, w->slot[i]);
	for (int8_t h = 0; h < 2; h++) {
		const cyc_slices slices = { .radius = w->radius, .use = w->slot, .select = h, .n = w->n, .s = s };
		CYC_TRY(cyc_sums_choose_scale(a->sums, h, w->packed, &slices, a->n_additions));
	}
	w->n = 0;
done:
	return st;
}

/* Room for a batch among the slices that wait. To be called before it is packed, as slices waiting.n and on.
 */
static cyc_status make_place(cyc_accumulator *a)
{
	return a->waiting.n + a->batch->n > a->waiting.capacity ? insert_waiting(a) : CYC_OK;
}

/* The batch has been packed, and waits, too. */
static cyc_status let_wait(cyc_accumulator *a, int32_t radius, double pixel_ratio)
{
	const cyc_tilt_batch *b = a->batch;
	waiting_slices *w = &a->waiting;
	int32_t radius_in_map = (int32_t)fmin(radius / pixel_ratio, a->box.window.box_binned / 2);
	for (int32_t i = 0; i < b->n; i++, w->n++) {
		/* Frequencies map with the inverse transpose: the matrix itself for rotations, not for RELION-4's
		 * shears. */
		cyc_mat3 *M = &w->M[w->n];
		*M = cyc_mat3_transpose(cyc_mat3_inverse(b->R_img_ref[i]));
		for (int j = 0; j < 9; j++) M->m[j / 3][j % 3] *= pixel_ratio;
		w->radius[w->n] = radius_in_map;
		w->slot[w->n] = b->half[i];
		w->probability[w->n] = b->probability[i];
	}
	return a->is_measuring ? measure_waiting(a) : CYC_OK;
}

/* Tables of the weights of images cropped to a circle of crop_px. (T7.7) */
static cyc_status load_weights(cyc_accumulator *a, const cyc_tilt_series *ts, int32_t f, int32_t crop_px,
                               bool is_premultiplied)
{
	cyc_status st = CYC_OK;
	enum { UNUSED = 2 };
	int32_t s = a->box.window.box_binned, sh = s / 2 + 1;
	size_t plane = cyc_half_count2(s);
	const cyc_tilt *tilt = &ts->tilts[f];
	double step_invA = 1 / (s * a->box.pixel_size_A), lambda = cyc_electron_wavelength_A(ts->voltage_kV),
		   Cs_A = 1e7 * ts->spherical_aberration_mm;
	double defocus_A = 0.5 * (tilt->defocus_u_A + tilt->defocus_v_A),
		   crop = 0.5 * (crop_px - CYC_CIRCLE_EDGE_PX), radius = CYC_PARTICLE_SHARE * crop;
	float *share = a->crop.plane, *rest = share + plane;
	int32_t most = s * s / 4; /* squared radius */
	double *left = a->crop.left;
	/* Filled where it is asked for: the sums of two squares are a third of all numbers. */
	for (int32_t i = 0; i <= most; i++) left[i] = -1;
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < sh; x++) {
			size_t at = (size_t)y * (size_t)sh + (size_t)x;
			int32_t ky = y < s / 2 ? y : y - s, r2 = x * x + ky * ky;
			double e = (double)a->tables->envelope[at];
			share[at] = rest[at] = 0;
			if (r2 > most) continue;
			if (left[r2] < 0) {
				double k = step_invA * sqrt((double)r2);
				double moved_px =
					fabs(lambda * defocus_A * k - Cs_A * pow(lambda, 3) * k * k * k) / a->box.pixel_size_A;
				bool is_used = cyc_dose_weight(k, tilt->pre_exposure_e_per_A2, ts->bfactor_per_dose_A2) >
				               a->options.cutoff_frac;
				left[r2] =
					is_used ? cyc_disc_coverage(radius, crop, (is_premultiplied ? 2 : 1) * moved_px) : UNUSED;
			}
			if (left[r2] >= UNUSED) continue;
			share[at] = (float)(a->image_weight * left[r2]);
			rest[at] = is_premultiplied ? (float)(a->image_weight * 0.5 * (1 - left[r2]) * e * e) : 0;
		}
	CYC_TRY(cyc_buffer_upload(a->crop.share, share, plane * sizeof(float)));
	CYC_TRY(cyc_buffer_upload(a->crop.rest, rest, plane * sizeof(float)));
done:
	return st;
}

static cyc_status create_crop_work(cyc_accumulator *a)
{
	cyc_status st = CYC_OK;
	crop_work *w = &a->crop;
	size_t s = (size_t)a->box.window.box_binned, capacity = (size_t)a->batch->capacity,
		   plane = cyc_half_count2(a->box.window.box_binned);
	CYC_CHECK(s * capacity < INT32_MAX, CYC_E_UNSUPPORTED, "a box of %zu px is too large", s);
	if (w->images) goto done;
	CYC_TRY(cyc_alloc(&w->plane, 2 * plane, sizeof *w->plane));
	CYC_TRY(cyc_alloc(&w->left, s * s / 4 + 1, sizeof *w->left));
	CYC_TRY(cyc_alloc(&w->centres, 2 * capacity, sizeof *w->centres));
	CYC_TRY(cyc_alloc(&w->slot, capacity, sizeof *w->slot));
	CYC_TRY(cyc_alloc(&w->section, capacity, sizeof *w->section));
	CYC_TRY(cyc_buffer_create(&w->share, a->be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&w->rest, a->be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&w->images, a->be, capacity * s * s, sizeof(float)));
	for (size_t i = 0; i < capacity; i++) {
		w->centres[2 * i] = 0.5 * (double)s;
		w->centres[2 * i + 1] = (double)(i * s) + 0.5 * (double)s;
	}
done:
	return st;
}

/* The weights of packed slices near the border of the image, for what the frame shows of them. */
static cyc_status weigh_partial(cyc_accumulator *a, const cyc_tilt_series *ts, int32_t f)
{
	cyc_status st = CYC_OK;
	int32_t s = a->box.window.box_binned;
	size_t slice = cyc_packed_count(s) * sizeof(float);
	float *packed;
	if (!a->box.window.is_partial || a->options.no_ctf) goto done;
	if (a->frame_tilt != f) /* Insertion reads a sample beyond its radius. */
		CYC_TRY(cyc_frame_share_fill(&a->frame, ts, f, s, a->tables->radius + 2,
		                             a->box.binning * ts->pixel_size_A, particle_radius_px(&a->options, s)));
	a->frame_tilt = f;
	if (cyc_frame_share_is_whole(&a->frame, ts, a->batch, a->box.binning)) goto done;
	CYC_TRY(cyc_buffer_map_part(&packed, a->waiting.packed, (size_t)a->waiting.n * slice,
	                            (size_t)a->batch->n * slice));
	CYC_TRY(
		cyc_frame_share_apply(packed, &a->frame, ts, a->batch, a->box.binning, cyc_backend_n_threads(a->be)));
	CYC_TRY(cyc_buffer_unmap(a->waiting.packed));
done:
	return st;
}

/*
 * Pack the images of the batch, which lie in crop.images around `centres` and have the CTFs of `ctf`.
 * @param[in] n_rows  > 0: all but so many rows in their middle are zero
 */
static cyc_status pack_images(cyc_accumulator *a, const double *centres, int32_t n_rows,
                              bool is_premultiplied)
{
	cyc_status st = CYC_OK;
	int32_t s = a->box.window.box_binned, n = a->batch->n;
	const cyc_window_spec whole = { .box_px = s, .box_binned = s, .no_circle_crop = true, .n_rows = n_rows };
	CYC_TRY(cyc_op_window(a->ft, a->be, a->crop.images, s, s * a->batch->capacity, centres, n, &whole));
	CYC_TRY(make_place(a));
	CYC_TRY(cyc_op_pack(a->waiting.packed, a->be,
	                    &(cyc_pack_in){ .ft = a->ft,
	                                    .ctf = a->ctf,
	                                    .share = a->crop.share,
	                                    .rest = a->crop.rest,
	                                    .is_premultiplied = is_premultiplied,
	                                    .first = a->waiting.n,
	                                    .n = n,
	                                    .s = s }));
done:
	return st;
}

/* The CTFs of the batch. */
static cyc_status fill_ctf(cyc_accumulator *a, bool has_k2)
{
	return cyc_op_ctf(a->ctf, NULL, a->be,
	                  &(cyc_ctf_in){ .turns = a->turns,
	                                 .envelope = a->envelope,
	                                 .k2 = has_k2 ? a->k2 : NULL,
	                                 .turns_per_k2 = a->batch->turns_per_k2,
	                                 .n = a->batch->n,
	                                 .s = a->box.window.box_binned });
}

/* Windows multiplied by the CTF and only then cropped: what it had spread beyond the crop is back in the
 * particle. */
static cyc_status insert_cropped(cyc_accumulator *a, const cyc_tilt_series *ts, int32_t f, double pixel_ratio)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_batch *b = a->batch;
	int32_t s = a->box.window.box_binned;
	const cyc_particle_image_spec spec = {
		.box_binned = s, .circle_px = a->options.crop_px, .edge_px = s, .factor = -1
	};
	CYC_TRY(cyc_op_window(a->ft, a->be, a->image.device, ts->image_nx, ts->image_ny, b->at_px, b->n,
	                      &a->box.window));
	CYC_TRY(fill_ctf(a, a->tables->has_k2));
	CYC_TRY(cyc_op_particle_image(a->crop.images, a->be, a->ft, a->ctf, a->tables->has_odd ? a->phase : NULL,
	                              a->noise.gain ? a->whiten : NULL, &spec, b->n));
	CYC_TRY(pack_images(a, a->crop.centres, spec.circle_px, true));
	CYC_TRY(weigh_partial(a, ts, f));
	CYC_TRY(let_wait(a, a->tables->radius, pixel_ratio));
done:
	return st;
}

static cyc_status insert_batch(cyc_accumulator *a, const cyc_tilt_series *ts, int32_t f, double pixel_ratio)
{
	cyc_status st = CYC_OK;
	const cyc_accumulator_options *o = &a->options;
	const cyc_tilt_batch *b = a->batch;
	int32_t s = a->box.window.box_binned;
	cyc_window_spec window = a->box.window;
	/* What a window does not show is missing from its data, and so it is from the weights only; without a CTF
	 * data are weighted, too. */
	for (int32_t i = 0; i < b->n && !o->no_ctf; i++) b->weight[i] = a->image_weight;
	/* Insertion reads a sample beyond its radius. */
	window.radius = o->no_ctf ? 0 : a->tables->radius + 2;
	CYC_TRY(
		cyc_op_window(a->ft, a->be, a->image.device, ts->image_nx, ts->image_ny, b->at_px, b->n, &window));
	if (!o->no_ctf) CYC_TRY(fill_ctf(a, a->tables->has_k2));
	CYC_TRY(make_place(a));
	CYC_TRY(cyc_op_modulate(a->waiting.packed, a->be,
	                        &(cyc_modulate_in){ .ft = a->ft,
	                                            .ctf = o->no_ctf ? NULL : a->ctf,
	                                            .phase = a->tables->has_odd ? a->phase : NULL,
	                                            .whiten = o->whiten ? a->whiten : NULL,
	                                            .particle_weight = b->weight,
	                                            .first = a->waiting.n,
	                                            .n = b->n,
	                                            .s = s }));
	CYC_TRY(weigh_partial(a, ts, f));
	CYC_TRY(let_wait(a, o->no_ctf ? s / 2 : a->tables->radius, pixel_ratio));
done:
	return st;
}

/* Scales of both half-sets are known. Each is of its own images: half-sets share nothing. */
static bool has_measured(const cyc_accumulator *a)
{
	return a->is_measuring && (!a->has_half[0] || a->sums->spec[0].scale[0] > 0) &&
	       (!a->has_half[1] || a->sums->spec[1].scale[0] > 0);
}

/* The particles of one tilt image, whose pixels are loaded. */
static cyc_status accumulate_tilt(cyc_accumulator *a, int64_t *n_images, int64_t *n_outside,
                                  const cyc_tilt_series *ts, int32_t f, const cyc_particle_set *set,
                                  int32_t i_series, const bool *used)
{
	cyc_status st = CYC_OK;
	const cyc_accumulator_options *o = &a->options;
	size_t plane = cyc_half_count2(a->box.window.box_binned);
	int64_t count = set->series_first[i_series + 1] - set->series_first[i_series];
	cyc_box box = a->box; /* of this series: windows have its own pixel size */
	box.pixel_size_A = a->box.binning * ts->pixel_size_A;
	/* Index p of the map is frequency p / (s output pixel), and so index p own/output of this series'
	 * windows. */
	double pixel_ratio = box.pixel_size_A / a->box.pixel_size_A;
	a->frame_tilt = -1;
	if (o->whiten) CYC_TRY(load_whitening(a, ts));
	for (int32_t g = 0; g < set->n_optics; g++) {
		if (!used[g]) continue;
		CYC_TRY(cyc_tilt_tables_fill(a->tables, ts, f, &set->optics[g], box.pixel_size_A, o->cutoff_frac));
		CYC_TRY(cyc_buffer_upload(a->turns, a->tables->turns, plane * sizeof(float)));
		CYC_TRY(cyc_buffer_upload(a->envelope, a->tables->envelope, plane * sizeof(float)));
		if (o->crop_images) CYC_TRY(load_weights(a, ts, f, o->crop_px, true));
		if (a->tables->has_odd)
			CYC_TRY(cyc_buffer_upload(a->phase, a->tables->odd_phase, plane * sizeof(cyc_cfloat)));
		if (a->tables->has_k2) {
			if (!a->k2) CYC_TRY(cyc_buffer_create(&a->k2, a->be, plane, sizeof(float)));
			CYC_TRY(cyc_buffer_upload(a->k2, a->tables->k2, plane * sizeof(float)));
		}
		const cyc_image_group of = { ts, f, set, i_series, g };
		for (int64_t cursor = 0; cursor < count && !has_measured(a);) {
			CYC_TRY(cyc_tilt_batch_fill(a->batch, &cursor, n_outside, &of, &box));
			take_slots(a, set);
			*n_images += a->batch->n;
			if (a->batch->n > 0)
				CYC_TRY(o->crop_images ? insert_cropped(a, ts, f, pixel_ratio)
				                       : insert_batch(a, ts, f, pixel_ratio));
		}
	}
done:
	return st;
}

/* The weight of the image just loaded and, in its place in the table, the scale it is used with. */
static cyc_status weigh_image(cyc_accumulator *a, cyc_tilt_series *ts, int32_t f, int32_t i_series)
{
	cyc_status st = CYC_OK;
	size_t plane = cyc_half_count2(a->box.window.box_binned);
	a->image_weight = 1;
	if (!a->noise.gain) goto done;
	a->image_weight = cyc_noise_weight(&ts->tilts[f].scale, &a->noise, i_series, &ts->tilts[f],
	                                   a->image.loaded.state.variance);
	for (size_t i = 0; i < plane; i++) a->whiten_host[i] = (float)a->image_weight;
	CYC_TRY(cyc_buffer_upload(a->whiten, a->whiten_host, plane * sizeof(float)));
done:
	return st;
}

static cyc_status add_series(cyc_accumulator *a, int64_t *n_images, int64_t *n_outside, cyc_tilt_series *ts,
                             const cyc_particle_set *set, int32_t i_series, const char *root)
{
	cyc_status st = CYC_OK;
	bool *used = NULL;
	const cyc_tilt_range all = { 0, ts->n_tilts }, own = a->own && !a->is_measuring ? a->own[i_series] : all;
	if (own.first == own.end) return CYC_OK;
	CYC_TRY(cyc_tilt_series_open_for(ts, root, a->box.window.box_px));
	CYC_TRY(cyc_alloc(&used, (size_t)set->n_optics + 1, sizeof *used));
	cyc_optics_used(used, set, i_series);
	if (a->options.crop_images) CYC_TRY(create_crop_work(a));
	/* Scales are often known after the first image. */
	a->image.reads_ahead = !a->is_measuring;
	for (int32_t f = own.first; f < own.end && !has_measured(a); f++) {
		double scale = ts->tilts[f].scale;
		CYC_TRY(cyc_cancel_check());
		if (scale == 0) continue;
		CYC_TRY(cyc_tilt_image_load(&a->image, a->be, ts, f));
		CYC_TRY(weigh_image(a, ts, f, i_series));
		if (a->image_weight > 0) st = accumulate_tilt(a, n_images, n_outside, ts, f, set, i_series, used);
		ts->tilts[f].scale = scale;
		CYC_TRY(st);
	}
	CYC_TRY(insert_waiting(a));
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	cyc_free(used);
	return st;
}

/* ---------------------------------------------------------------- from stacks */

/* Images of as many particles at a time as this has room for. */
static const double STACK_BYTES = 256e6;

typedef struct {
	cyc_accumulator *a;
	const cyc_stacks *stacks;
	int64_t first;
	float *padded;
	int32_t n_tilts;
} stack_pass;

static cyc_status read_task(void *arg, int64_t k, int i_thread)
{
	(void)i_thread;
	cyc_status st = CYC_OK;
	const stack_pass *p = arg;
	int64_t i = p->first + k;
	const cyc_particle *particle = &p->stacks->particles->particles[i];
	CYC_TRY(cyc_stacks_read(p->a->crop.read + p->a->crop.first[k], p->stacks, i));
	CYC_TRY(cyc_stacks_views(p->a->crop.views + k * p->n_tilts, p->stacks, i));
done:
	if (st != CYC_OK) cyc_error_context("particle '%s'", particle->name);
	return st;
}

/* The nearest whole number; what is left is in [-1/2, 1/2), so that rounding a position again finds the same
 * pixel. */
static double whole(double x) { return floor(x + 0.5); }

/* Copy an image into the middle of a padded one, moved by whole pixels so that the particle is within half a
 * pixel of the centre. */
static cyc_status pad_task(void *arg, int64_t k, int i_thread)
{
	(void)i_thread;
	const stack_pass *p = arg;
	const crop_work *w = &p->a->crop;
	int32_t N = p->stacks->box_px, s = p->a->box.window.box_binned;
	const cyc_stack_view *v = &w->views[w->slot[k] * p->n_tilts + w->section[k]];
	const float *from = w->read + w->first[w->slot[k]] + (size_t)w->section[k] * (size_t)N * (size_t)N;
	float *to = p->padded + (size_t)k * (size_t)s * (size_t)s;
	int32_t x0 = (s - N) / 2 - (int32_t)whole(v->shift_x_px),
			y0 = (s - N) / 2 - (int32_t)whole(v->shift_y_px);
	memset(to, 0, (size_t)s * (size_t)s * sizeof *to);
	int32_t x_first = x0 < 0 ? -x0 : 0, x_end = x0 + N > s ? s - x0 : N;
	for (int32_t y = y0 < 0 ? -y0 : 0; y < N && y + y0 < s && x_end > x_first; y++)
		memcpy(to + (size_t)(y + y0) * (size_t)s + (size_t)(x0 + x_first),
		       from + (size_t)y * (size_t)N + (size_t)x_first, (size_t)(x_end - x_first) * sizeof *to);
	return CYC_OK;
}

/* The next images of tilt f and optics group g, of particles p->first and on. */
static void fill_from_stacks(stack_pass *p, int64_t *cursor, int64_t n, const cyc_tilt_series *ts, int32_t f,
                             int32_t g)
{
	cyc_accumulator *a = p->a;
	cyc_tilt_batch *b = a->batch;
	int32_t s = a->box.window.box_binned;
	b->n = 0;
	for (; *cursor < n && b->n < b->capacity; (*cursor)++) {
		const cyc_particle *particle = &p->stacks->particles->particles[p->first + *cursor];
		int8_t slot = a->slot ? a->slot[p->first + *cursor] : (int8_t)(particle->half > 0);
		if (particle->i_optics != g || !particle->visible_frames[f] || slot < 0 || particle->probability == 0)
			continue;
		int32_t i = b->n++, section = 0;
		b->probability[i] = particle->probability;
		for (int32_t k = 0; k < f; k++) section += particle->visible_frames[k] != 0;
		const cyc_stack_view *v = &a->crop.views[*cursor * p->n_tilts + section];
		a->crop.slot[i] = (int32_t)*cursor;
		a->crop.section[i] = section;
		b->at_px[2 * i] = s / 2 + v->shift_x_px - whole(v->shift_x_px);
		b->at_px[2 * i + 1] = (double)i * s + s / 2 + v->shift_y_px - whole(v->shift_y_px);
		b->half[i] = slot;
		/* The pose of the map in the image; the linear part of the projection is in R_img_part. */
		b->R_img_ref[i] = cyc_mat3_mul(
			v->R_img_part, cyc_mat3_mul(cyc_mat3_inverse(particle->R_tomo_part), particle->R_tomo_ref));
		b->turns_per_k2[i] = cyc_turns_per_k2(v->extra_defocus_A, ts->voltage_kV, a->box.pixel_size_A, s);
	}
}

static cyc_status insert_from_stacks(stack_pass *p, bool is_premultiplied)
{
	cyc_status st = CYC_OK;
	cyc_accumulator *a = p->a;
	CYC_TRY(cyc_buffer_map(&p->padded, a->crop.images));
	CYC_TRY(cyc_parallel_for(a->batch->n, cyc_backend_n_threads(a->be), pad_task, p));
	CYC_TRY(cyc_buffer_unmap(a->crop.images));
	CYC_TRY(fill_ctf(a, false));
	CYC_TRY(pack_images(a, a->batch->at_px, 0, is_premultiplied));
	CYC_TRY(let_wait(a, a->tables->radius, 1));
done:
	return st;
}

/* Particles p->first and n - 1 more, whose images have been read. */
static cyc_status insert_particles(stack_pass *p, int64_t n, int64_t *n_images, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	cyc_accumulator *a = p->a;
	const cyc_particle_set *set = p->stacks->particles;
	size_t plane = cyc_half_count2(a->box.window.box_binned);
	for (int32_t f = 0; f < ts->n_tilts && !has_measured(a); f++) {
		if (ts->tilts[f].scale == 0) continue;
		CYC_TRY(cyc_cancel_check());
		for (int32_t g = 0; g < set->n_optics; g++) {
			bool is_used = false;
			for (int64_t k = 0; k < n && !is_used; k++) is_used = set->particles[p->first + k].i_optics == g;
			if (!is_used) continue;
			CYC_TRY(cyc_tilt_tables_fill(a->tables, ts, f, &set->optics[g], a->box.pixel_size_A,
			                             a->options.cutoff_frac));
			CYC_TRY(cyc_buffer_upload(a->turns, a->tables->turns, plane * sizeof(float)));
			CYC_TRY(cyc_buffer_upload(a->envelope, a->tables->envelope, plane * sizeof(float)));
			CYC_TRY(load_weights(a, ts, f, p->stacks->box_px, p->stacks->is_premultiplied[g]));
			for (int64_t cursor = 0; cursor < n && !has_measured(a);) {
				fill_from_stacks(p, &cursor, n, ts, f, g);
				*n_images += a->batch->n;
				if (a->batch->n > 0) CYC_TRY(insert_from_stacks(p, p->stacks->is_premultiplied[g]));
			}
		}
	}
done:
	return st;
}

/* Room for the images and views of some particles. */
static cyc_status make_room(cyc_accumulator *a, int64_t n_particles, int32_t n_tilts, size_t n_floats)
{
	cyc_status st = CYC_OK;
	crop_work *w = &a->crop;
	cyc_free(w->read);
	cyc_free(w->first);
	cyc_free(w->views);
	w->read = NULL;
	w->first = NULL;
	w->views = NULL;
	CYC_TRY(cyc_alloc_(&w->read, n_floats, sizeof *w->read, "images of particles"));
	CYC_TRY(cyc_alloc(&w->first, n_particles, sizeof *w->first));
	CYC_TRY(cyc_alloc(&w->views, (size_t)n_particles * (size_t)n_tilts, sizeof *w->views));
done:
	return st;
}

static cyc_status add_stacks(cyc_accumulator *a, int64_t *n_images, const cyc_stacks *stacks,
                             int32_t i_series)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = stacks->particles;
	const cyc_tilt_series *ts = &stacks->tomograms->series[i_series];
	stack_pass p = { .a = a, .stacks = stacks, .n_tilts = ts->n_tilts, .first = set->series_first[i_series] };
	size_t pixels = (size_t)stacks->box_px * (size_t)stacks->box_px;
	CYC_TRY(create_crop_work(a));
	for (int64_t end = set->series_first[i_series + 1]; p.first < end && !has_measured(a);) {
		size_t count = 0;
		int64_t n = 0;
		for (; p.first + n < end; n++) {
			size_t more = (size_t)stacks->n_views[p.first + n] * pixels;
			if (n > 0 && 4.0 * (double)(count + more) > STACK_BYTES) break;
			count += more;
		}
		CYC_TRY(make_room(a, n, ts->n_tilts, count));
		count = 0;
		for (int64_t k = 0; k < n; k++) {
			a->crop.first[k] = count;
			count += (size_t)stacks->n_views[p.first + k] * pixels;
		}
		CYC_TRY(cyc_parallel_for(n, cyc_backend_n_threads(a->be), read_task, &p));
		CYC_TRY(insert_particles(&p, n, n_images, ts));
		p.first += n;
	}
	CYC_TRY(insert_waiting(a));
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	return st;
}

/* ---------------------------------------------------------------- from volumes */

/* Everything that a crop could have taken away was there when the volume was made. */
static cyc_status prepare_volumes(cyc_accumulator *a, const cyc_stacks *stacks)
{
	cyc_status st = CYC_OK;
	int32_t s = a->box.window.box_binned, N = stacks->box_px;
	size_t plane = cyc_half_count2(s);
	CYC_TRY(create_crop_work(a));
	if (a->crop.sections) goto done;
	for (size_t i = 0; i < plane; i++) {
		a->crop.plane[i] = 1;
		a->crop.plane[plane + i] = 0;
	}
	CYC_TRY(cyc_buffer_upload(a->crop.share, a->crop.plane, plane * sizeof(float)));
	CYC_TRY(cyc_buffer_upload(a->crop.rest, a->crop.plane + plane, plane * sizeof(float)));
	CYC_TRY(cyc_volume_sections_create(&a->crop.sections, a->be,
	                                   &(cyc_volume_sections_spec){ .stacks = stacks,
	                                                                .radius_px = 0.5 * N - CYC_CIRCLE_EDGE_PX,
	                                                                .box_px = s,
	                                                                .extends_weights = true }));
done:
	return st;
}

/* Some sections of a particle, packed like images that were multiplied by their CTF. */
static cyc_status insert_sections(cyc_accumulator *a, const cyc_particle *p, int8_t slot, int32_t first,
                                  int32_t count)
{
	cyc_status st = CYC_OK;
	cyc_tilt_batch *b = a->batch;
	int32_t s = a->box.window.box_binned, n = cyc_volume_sections_n(a->crop.sections);
	/* The volume's axes are those of the particle before its orientation. */
	cyc_mat3 R_part_ref = cyc_mat3_mul(cyc_mat3_transpose(p->R_tomo_part), p->R_tomo_ref);
	cyc_cfloat *ft;
	float *ctf;
	for (b->n = 0; b->n < count; b->n++) {
		b->R_img_ref[b->n] = cyc_mat3_mul(cyc_volume_section_axes(first + b->n, n), R_part_ref);
		b->half[b->n] = slot;
		b->probability[b->n] = p->probability;
	}
	CYC_TRY(cyc_buffer_map(&ft, a->ft));
	CYC_TRY(cyc_buffer_map(&ctf, a->ctf));
	CYC_TRY(cyc_volume_sections_fill(ft, ctf, a->crop.sections, first, count));
	for (size_t i = 0; i < (size_t)count * cyc_half_count2(s); i++) ctf[i] = sqrtf(ctf[i]);
	CYC_TRY(cyc_buffer_unmap(a->ctf));
	CYC_TRY(cyc_buffer_unmap(a->ft));
	CYC_TRY(make_place(a));
	CYC_TRY(cyc_op_pack(a->waiting.packed, a->be,
	                    &(cyc_pack_in){ .ft = a->ft,
	                                    .ctf = a->ctf,
	                                    .share = a->crop.share,
	                                    .rest = a->crop.rest,
	                                    .is_premultiplied = true,
	                                    .first = a->waiting.n,
	                                    .n = count,
	                                    .s = s }));
	CYC_TRY(let_wait(a, s / 2, 1));
done:
	return st;
}

static cyc_status add_volumes(cyc_accumulator *a, int64_t *n_images, const cyc_stacks *stacks,
                              int32_t i_series)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = stacks->particles;
	CYC_TRY(prepare_volumes(a, stacks));
	int32_t most = a->batch->capacity < CYC_SECTIONS_AT_ONCE ? a->batch->capacity : CYC_SECTIONS_AT_ONCE,
			n = cyc_volume_sections_n(a->crop.sections);
	for (int64_t i = set->series_first[i_series]; i < set->series_first[i_series + 1] && !has_measured(a);
	     i++) {
		const cyc_particle *p = &set->particles[i];
		int8_t slot = a->slot ? a->slot[i] : (int8_t)(p->half > 0);
		CYC_TRY(cyc_cancel_check());
		if (slot < 0 || p->probability == 0) continue;
		CYC_TRY(cyc_volume_sections_load(a->crop.sections, NULL, NULL, i));
		for (int32_t first = 0; first < n && !has_measured(a); first += most)
			CYC_TRY(insert_sections(a, p, slot, first, n - first < most ? n - first : most));
		(*n_images)++;
	}
	CYC_TRY(insert_waiting(a));
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", stacks->tomograms->series[i_series].name);
	return st;
}

/* ---------------------------------------------------------------- all of a set */

cyc_status cyc_accumulator_add(cyc_accumulator *a, int64_t *n_images, int64_t *n_outside,
                               cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                               const cyc_stacks *stacks, int32_t i_series, const char *root)
{
	cyc_status st = CYC_OK;
	a->waiting.n = 0; /* an error may have left some */
	if (set->series_first[i_series + 1] == set->series_first[i_series]) goto done;
	if (stacks && !stacks->are_2d) CYC_TRY(add_volumes(a, n_images, stacks, i_series));
	else if (stacks) CYC_TRY(add_stacks(a, n_images, stacks, i_series));
	else {
		a->image.next = a->is_measuring ? NULL : cyc_tilt_series_after(tomograms, set, NULL, i_series);
		CYC_TRY(add_series(a, n_images, n_outside, &tomograms->series[i_series], set, i_series, root));
	}
done:
	return st;
}

cyc_status cyc_accumulator_measure(cyc_accumulator *a, cyc_tomogram_set *tomograms,
                                   const cyc_particle_set *set, const cyc_stacks *stacks, const char *root)
{
	cyc_status st = CYC_OK;
	int64_t n_images = 0, n_outside = 0;
	a->n_additions = 0;
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		double n = (double)(set->series_first[i + 1] - set->series_first[i]);
		a->n_additions +=
			n * (stacks && !stacks->are_2d ? cyc_volume_section_count(stacks->box_px, 0.5 * stacks->box_px)
		                                   : tomograms->series[i].n_tilts);
	}
	a->has_half[0] = a->has_half[1] = false;
	for (int64_t i = 0; i < set->n; i++) {
		int8_t slot = a->slot ? a->slot[i] : (int8_t)(set->particles[i].half > 0);
		if (slot >= 0) a->has_half[cyc_sums_half(a->sums, slot)] = true;
	}
	a->is_measuring = true;
	for (int32_t i = 0; i < tomograms->n_series && !has_measured(a); i++)
		CYC_TRY(cyc_accumulator_add(a, &n_images, &n_outside, tomograms, set, stacks, i, root));
	for (int h = 0; h < 2; h++) {
		cyc_sum_spec *spec = &a->sums->spec[h];
		if (!(spec->scale[0] > 0)) cyc_sums_scale_any(a->sums, h);
		if (!a->rest) continue;
		a->rest->spec[h].limit = spec->limit;
		memcpy(a->rest->spec[h].scale, spec->scale, sizeof spec->scale);
	}
done:
	a->is_measuring = false;
	return st;
}

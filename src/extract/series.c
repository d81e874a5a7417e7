/* The passes over the images of a tilt series: as many of its particles at a time as memory has room for,
 * each tilt image read once in a pass. */
#include "extract/extract_internal.h"
#include "images/tilt_image.h"
#include "reference/prediction_pass.h"

#include <math.h>
#include <string.h>

/* Particles of one pass: their images or sums stay in memory until they are written. Few of them mean many
 * passes, each of which reads and mends all images of the tilt series: for few threads that is no more than
 * the memory costs, many threads would wait for it. Sums are larger. */
static double most_pass_bytes(const cyc_extract_options *o)
{
	static const double STACKS = 512e6, VOLUMES = 2e9;
	enum { THREADS = 8 };
	return o->stacks ? fmin(STACKS * fmax((double)o->n_threads / THREADS, 1), VOLUMES) : VOLUMES;
}
/* And no more than a third of what there is: the results do not depend on it. */
static double pass_bytes(const cyc_extract_job *j)
{
	return fmin(most_pass_bytes(j->o), j->available_bytes / 3);
}

struct cyc_extract_work {
	cyc_backend *be;
	cyc_tilt_image image;
	cyc_buffer *ft, *ctf, *images, *turns, *envelope, *k2, *phase, *whiten;
	cyc_tilt_tables *tables;
	cyc_tilt_batch *batch;
	int32_t *slot; /* of the batch's particles: which of the pass */
	double *power;
	float *whiten_host;
	int32_t *row_limits;
	/* The pass. */
	int64_t *particles; /* indices in the set */
	int64_t n, capacity;
	size_t *offset; /* of each particle's floats in `data` */
	float *data;
	/* 3D only. */
	cyc_fft2 *fft2;
	cyc_fft3 **fft3; /* n_threads: particles are shared out, not the planes of one */
	int n_threads;
	cyc_cfloat *ft2, *ft3; /* n_threads x s x sh; n_threads x c x c x (c/2+1) */
};

/* Transforms of threads begin where vector instructions like it. */
static size_t aligned(size_t n_complex) { return (n_complex + 7) / 8 * 8; }

static size_t bytes_per_image(const cyc_extract_job *j)
{
	size_t s = (size_t)j->o->box_px, edge = j->o->stacks ? (size_t)j->crop_px : s;
	return cyc_half_count2(j->o->box_px) * (sizeof(cyc_cfloat) + sizeof(float)) + edge * edge * sizeof(float);
}

static size_t floats_of_particle(const cyc_extract_job *j, int64_t i)
{
	size_t c = (size_t)j->crop_px;
	return j->o->stacks ? (size_t)j->selection.n_visible[i] * c * c : cyc__volume_sums(j->crop_px);
}

/* Particles of the next pass, from *i on; their number and the bytes of their floats. `particles` may be
 * NULL. */
static int64_t next_pass(int64_t *i, double *bytes, int64_t *particles, const cyc_extract_job *j, int64_t end)
{
	double all = 0, more;
	int64_t n = 0;
	for (; *i < end; ++*i) {
		if (!j->selection.is_kept[*i] || j->is_done[*i]) continue;
		more = 4.0 * (double)floats_of_particle(j, *i);
		if (n > 0 && all + more > pass_bytes(j)) break;
		all += more;
		if (particles) particles[n] = *i;
		n++;
	}
	if (bytes) *bytes = all;
	return n;
}

/* The largest pass of all series: its bytes and its particles. */
static void largest_pass(double *bytes, int64_t *n, const cyc_extract_job *j)
{
	*bytes = 0;
	*n = 0;
	for (int32_t s = 0; s < j->tomograms->n_series; s++)
		for (int64_t i = j->particles->series_first[s], end = j->particles->series_first[s + 1]; i < end;) {
			double here;
			int64_t count = next_pass(&i, &here, NULL, j, end);
			*bytes = fmax(*bytes, here);
			if (count > *n) *n = count;
		}
}

/* Images of a batch, where a pass has at most so many particles. More than the threads need, and than 64 MB,
 * leave the caches between one operation and the next. */
static int32_t batch_capacity(const cyc_extract_job *j, int64_t most, size_t batch_bytes)
{
	enum { LEAST_BATCH = 16 };
	size_t bytes = bytes_per_image(j);
	int32_t n = cyc_tilt_batch_capacity(bytes, most, batch_bytes);
	double useful = fmax(LEAST_BATCH + 4.0 * j->o->n_threads, 67e6 / (double)bytes);
	if (n > useful) n = (int32_t)useful;
	return most < n ? (int32_t)(most > 1 ? most : 1) : n;
}

cyc_status cyc__extract_work_create(cyc_extract_work **out, const cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	cyc_extract_work *w = NULL;
	double bytes;
	int64_t most;
	largest_pass(&bytes, &most, j);
	int32_t s = j->o->box_px, c = j->crop_px,
			n_batch = batch_capacity(j, most, cyc_backend_batch_bytes(j->be));
	size_t plane = cyc_half_count2(s), n = (size_t)n_batch, edge = j->o->stacks ? (size_t)c : (size_t)s;
	*out = NULL;
	CYC_TRY(cyc_alloc(&w, 1, sizeof *w));
	w->be = j->be;
	w->image.reads_ahead = true;
	CYC_TRY(cyc_buffer_create(&w->ft, j->be, n * plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&w->ctf, j->be, n * plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&w->images, j->be, n * edge * edge, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&w->turns, j->be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&w->k2, j->be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&w->envelope, j->be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&w->phase, j->be, plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&w->whiten, j->be, plane, sizeof(float)));
	CYC_TRY(cyc_tilt_tables_create(&w->tables, s, j->o->n_threads));
	w->tables->is_full_plane = true;
	CYC_TRY(cyc_tilt_batch_create(&w->batch, n_batch));
	CYC_TRY(cyc_alloc(&w->slot, n, sizeof *w->slot));
	CYC_TRY(cyc_alloc(&w->power, (size_t)j->box.window.box_px / 2 + 1, sizeof *w->power));
	CYC_TRY(cyc_alloc(&w->whiten_host, plane, sizeof *w->whiten_host));
	CYC_TRY(cyc_alloc(&w->row_limits, s, sizeof *w->row_limits));
	if (!j->o->stacks) {
		CYC_TRY(cyc_fft2_create(&w->fft2, s, s));
		w->n_threads = cyc_n_workers(most, j->o->n_threads);
		CYC_TRY(cyc_alloc(&w->fft3, w->n_threads, sizeof *w->fft3));
		for (int i = 0; i < w->n_threads; i++) CYC_TRY(cyc_fft3_create(&w->fft3[i], c, 1));
		CYC_TRY(cyc_alloc(&w->ft2, (size_t)w->n_threads * aligned(plane), sizeof *w->ft2));
		CYC_TRY(cyc_alloc(&w->ft3, (size_t)w->n_threads * aligned(cyc_half_count3(c)), sizeof *w->ft3));
	}
	*out = w;
	w = NULL;
done:
	cyc__extract_work_destroy(&w);
	return st;
}

void cyc__extract_work_destroy(cyc_extract_work **p)
{
	cyc_extract_work *w = *p;
	if (!w) return;
	cyc_buffer **const buffers[] = { &w->ft,       &w->ctf, &w->images, &w->turns,
		                             &w->envelope, &w->k2,  &w->phase,  &w->whiten };
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) cyc_buffer_destroy(buffers[i]);
	cyc_tilt_image_deinit(&w->image);
	cyc_tilt_tables_destroy(&w->tables);
	cyc_tilt_batch_destroy(&w->batch);
	cyc_fft2_destroy(&w->fft2);
	for (int i = 0; i < w->n_threads && w->fft3; i++) cyc_fft3_destroy(&w->fft3[i]);
	cyc_free(w->fft3);
	cyc_free(w->slot);
	cyc_free(w->power);
	cyc_free(w->whiten_host);
	cyc_free(w->row_limits);
	cyc_free(w->particles);
	cyc_free(w->offset);
	cyc_free(w->data);
	cyc_free(w->ft2);
	cyc_free(w->ft3);
	cyc_free(w);
	*p = NULL;
}

/* Of the bytes of a pass, those that are written to: of volumes, the planes below the highest tilt. */
static double reached_bytes(double pass, const cyc_extract_job *j)
{
	if (j->o->stacks || pass < CYC_MAPPED_BYTES) return pass;
	/* At both ends planes, and pages of 2 MB, that are reached in part. */
	double c = j->crop_px, pages = 4e6 / (4.0 * (double)cyc__volume_sums(j->crop_px));
	return pass * fmin(j->selection.height_frac + 4 / c + pages, 1);
}

double cyc__extract_memory_bytes(const cyc_extract_job *j)
{
	double image = 0, pass, s = j->o->box_px, S = j->box.window.box_px, c = j->crop_px;
	int64_t most;
	for (int32_t i = 0; i < j->tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &j->tomograms->series[i];
		image =
			fmax(image, cyc_image_bytes(ts->image_nx, ts->image_ny, j->box.window.box_px, j->o->n_threads));
	}
	largest_pass(&pass, &most, j);
	double batch = (double)batch_capacity(j, most, CYC_BATCH_BYTES) * (double)bytes_per_image(j);
	int n = cyc_n_workers(most, j->o->n_threads);
	double threads = cyc_n_workers(CYC_TILT_BATCH_MOST, j->o->n_threads) * fmax(8.1 * S * S, 8.1 * s * s) +
	                 (j->o->stacks ? 0 : n * 4 * s * s);
	/* Of each thread a volume, its transform and the weights, as large as the volume; sums that are weighed.
	 */
	double weighed = j->o->cone_weight ? 4.0 * (double)cyc__volume_sums(j->crop_px) : 0;
	double volume = j->o->stacks ? 0 : n * (12 * c * c * c + weighed + cyc_fft3_bytes(j->crop_px, 1));
	return CYC_PROGRAM_BYTES + image + reached_bytes(pass, j) + batch + threads + volume + 20 * S * S;
}

double cyc__extract_device_bytes(const void *job, size_t batch_bytes)
{
	const cyc_extract_job *j = job;
	double pass, plane = (double)cyc_half_count2(j->o->box_px);
	int64_t most;
	cyc_project_size size = { .image_nx = 1 };
	for (int32_t i = 0; i < j->tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &j->tomograms->series[i];
		if (ts->image_nx > size.image_nx) size.image_nx = ts->image_nx;
		if (ts->image_ny > size.image_ny) size.image_ny = ts->image_ny;
	}
	largest_pass(&pass, &most, j);
	double n = batch_capacity(j, most, batch_bytes);
	return n * (double)bytes_per_image(j) + 24 * plane +
	       cyc_window_device_bytes(&size, j->box.window.box_px, j->o->box_px, n);
}

/* ---------------------------------------------------------------- one batch */

/* The next particles of the pass that row i_tilt shows, of one optics group. */
static void fill_batch(cyc_extract_work *w, int64_t *cursor, const cyc_extract_job *j,
                       const cyc_tilt_series *ts, int32_t i_tilt, int32_t i_optics, const cyc_projection *p)
{
	cyc_tilt_batch *b = w->batch;
	double pixel_size_A = j->o->binning * ts->pixel_size_A;
	b->n = 0;
	for (; *cursor < w->n && b->n < b->capacity; (*cursor)++) {
		int64_t i = w->particles[*cursor];
		const cyc_particle *particle = &j->particles->particles[i];
		if (particle->i_optics != i_optics || !cyc__visible(&j->selection, i)[i_tilt]) continue;
		int32_t k = b->n++;
		b->particles[k] = particle;
		w->slot[k] = (int32_t)*cursor;
		cyc_particle_position_px(&b->at_px[2 * k], &b->at_px[2 * k + 1], p, ts, i_tilt, particle);
		b->R_img_ref[k] = cyc__extract_orientation(j->o, p, particle);
		b->turns_per_k2[k] = cyc_turns_per_k2(cyc_particle_extra_defocus_A(p, ts, particle), ts->voltage_kV,
		                                      pixel_size_A, j->o->box_px);
	}
}

typedef struct {
	const cyc_extract_job *j;
	cyc_extract_work *w;
	const float *images;
	int32_t i_tilt;
} keeping;

/* Images go behind each other in the order of the tilts. */
static cyc_status keep_task(void *arg, int64_t k, int i_thread)
{
	(void)i_thread;
	const keeping *a = arg;
	int32_t slot = a->w->slot[k];
	const uint8_t *visible = cyc__visible(&a->j->selection, a->w->particles[slot]);
	size_t pixels = (size_t)a->j->crop_px * (size_t)a->j->crop_px, section = 0;
	for (int32_t f = 0; f < a->i_tilt; f++) section += visible[f];
	memcpy(a->w->data + a->w->offset[slot] + section * pixels, a->images + (size_t)k * pixels,
	       pixels * sizeof *a->images);
	return CYC_OK;
}

static cyc_status keep_images(const cyc_extract_job *j, cyc_extract_work *w, int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	keeping a = { .j = j, .w = w, .i_tilt = i_tilt };
	CYC_TRY(cyc_buffer_map(&a.images, w->images));
	CYC_TRY(cyc_parallel_for(w->batch->n, j->o->n_threads, keep_task, &a));
	CYC_TRY(cyc_buffer_unmap(w->images));
done:
	return st;
}

typedef struct {
	const cyc_extract_job *j;
	cyc_extract_work *w;
	float *images;
	const float *ctf;
} volume_pass;

static cyc_status volume_task(void *arg, int64_t k, int i_thread)
{
	const volume_pass *a = arg;
	cyc_extract_work *w = a->w;
	int32_t s = a->j->o->box_px;
	size_t plane = cyc_half_count2(s), n = (size_t)s, sh = n / 2 + 1;
	cyc_cfloat *ft = w->ft2 + (size_t)i_thread * aligned(plane);
	cyc_fft2_forward(ft, w->fft2, a->images + (size_t)k * n * n);
	for (size_t y = 0; y < n; y++)
		for (size_t x = 0; x < sh; x++) ft[y * sh + x] *= (float)((x + y) % 2 ? -1.0 / s : 1.0 / s);
	cyc__volume_insert(w->data + w->offset[w->slot[k]], a->j->crop_px, ft,
	                   a->ctf ? a->ctf + (size_t)k * plane : NULL, a->j->o->whiten ? w->whiten_host : NULL, s,
	                   w->row_limits, &w->batch->R_img_ref[k]);
	return CYC_OK;
}

static cyc_status insert_images(const cyc_extract_job *j, cyc_extract_work *w)
{
	cyc_status st = CYC_OK;
	volume_pass a = { .j = j, .w = w };
	CYC_TRY(cyc_buffer_map(&a.images, w->images));
	if (!j->o->no_ctf) CYC_TRY(cyc_buffer_map(&a.ctf, w->ctf));
	CYC_TRY(cyc_parallel_for(w->batch->n, j->o->n_threads, volume_task, &a));
	if (!j->o->no_ctf) CYC_TRY(cyc_buffer_unmap(w->ctf));
	CYC_TRY(cyc_buffer_unmap(w->images));
done:
	return st;
}

static cyc_status do_batch(const cyc_extract_job *j, cyc_extract_work *w, const cyc_tilt_series *ts,
                           int32_t i_tilt)
{
	cyc_status st = CYC_OK;
	const cyc_extract_options *o = j->o;
	const cyc_tilt_batch *b = w->batch;
	int32_t s = o->box_px, c = j->crop_px;
	/* Line sums of a map of binned voxels run over b-fold fewer of them: dividing makes densities the same at
	 * any binning. */
	const cyc_particle_image_spec spec = { .box_binned = s,
		                                   .circle_px = c,
		                                   .edge_px = o->stacks ? c : s,
		                                   .no_circle_crop = o->no_circle_crop,
		                                   .factor =
		                                       (o->no_inversion ? 1 : -1) / (o->stacks ? o->binning : 1) };
	CYC_TRY(cyc_op_window(w->ft, w->be, w->image.device, ts->image_nx, ts->image_ny, b->at_px, b->n,
	                      &j->box.window));
	if (!o->no_ctf)
		CYC_TRY(cyc_op_ctf(w->ctf, NULL, w->be,
		                   &(cyc_ctf_in){ .turns = w->turns,
		                                  .envelope = w->envelope,
		                                  .k2 = w->tables->has_k2 ? w->k2 : NULL,
		                                  .turns_per_k2 = b->turns_per_k2,
		                                  .n = b->n,
		                                  .s = s }));
	CYC_TRY(cyc_op_particle_image(w->images, w->be, w->ft, o->no_ctf ? NULL : w->ctf,
	                              w->tables->has_odd ? w->phase : NULL, o->whiten ? w->whiten : NULL, &spec,
	                              b->n));
	CYC_TRY(o->stacks ? keep_images(j, w, i_tilt) : insert_images(j, w));
done:
	return st;
}

/* ---------------------------------------------------------------- one pass */

static cyc_status do_tilt(const cyc_extract_job *j, cyc_extract_work *w, cyc_tilt_series *ts, int32_t f,
                          const bool *used)
{
	cyc_status st = CYC_OK;
	const cyc_extract_options *o = j->o;
	int32_t s = o->box_px, S = j->box.window.box_px;
	double pixel_size_A = o->binning * ts->pixel_size_A;
	size_t plane = cyc_half_count2(s);
	cyc_projection p;
	CYC_TRY(cyc_cancel_check());
	CYC_TRY(cyc_tilt_image_load(&w->image, w->be, ts, f));
	CYC_TRY(cyc_projection_of_tilt(&p, ts, f));
	if (o->whiten) {
		CYC_TRY(cyc_tilt_image_noise(w->power, &w->image, ts, S, o->n_threads));
		cyc_whitening_plane(w->whiten_host, s, w->power, S / 2 + 1);
		CYC_TRY(cyc_buffer_upload(w->whiten, w->whiten_host, plane * sizeof(float)));
	}
	if (!o->stacks)
		cyc__volume_row_limits(w->row_limits, s, pixel_size_A, ts, f, o->no_ctf ? 0 : o->cutoff_frac);
	for (int32_t g = 0; g < j->particles->n_optics; g++) {
		if (!used[g]) continue;
		/* Beyond the last frequency that is used too, since what is cut off sharply here would ring in the
		 * crop. */
		CYC_TRY(
			cyc_tilt_tables_fill(w->tables, ts, f, &j->particles->optics[g], pixel_size_A, o->cutoff_frac));
		CYC_TRY(cyc_buffer_upload(w->turns, w->tables->turns, plane * sizeof(float)));
		if (w->tables->has_k2) CYC_TRY(cyc_buffer_upload(w->k2, w->tables->k2, plane * sizeof(float)));
		CYC_TRY(cyc_buffer_upload(w->envelope, w->tables->envelope, plane * sizeof(float)));
		if (w->tables->has_odd)
			CYC_TRY(cyc_buffer_upload(w->phase, w->tables->odd_phase, plane * sizeof(cyc_cfloat)));
		for (int64_t cursor = 0; cursor < w->n;) {
			fill_batch(w, &cursor, j, ts, f, g, &p);
			if (w->batch->n > 0) CYC_TRY(do_batch(j, w, ts, f));
		}
	}
done:
	return st;
}

typedef struct {
	const cyc_extract_job *j;
	const cyc_extract_work *w;
} write_pass;

static cyc_status write_stack_task(void *arg, int64_t k, int i_thread)
{
	(void)i_thread;
	cyc_status st = CYC_OK;
	const write_pass *a = arg;
	const cyc_extract_job *j = a->j;
	int64_t i = a->w->particles[k];
	char *name = NULL, *path = NULL;
	const cyc_volume stack = {
		.nx = j->crop_px,
		.ny = j->crop_px,
		.nz = j->selection.n_visible[i],
		.data = a->w->data + a->w->offset[k],
		.pixel_size_A = j->o->binning * j->tomograms->series[j->particles->particles[i].i_series].pixel_size_A
	};
	CYC_TRY(cyc__extract_file(&name, j, i, CYC__SUFFIX_STACK));
	CYC_TRY(cyc_path_join(&path, j->root, name));
	CYC_TRY(cyc_mrc_write_sealed(path, &stack, j->o->float16 ? 12 : 2, j->label));
done:
	cyc_free(name);
	cyc_free(path);
	return st;
}

static cyc_status write_volume_task(void *arg, int64_t k, int i_thread)
{
	const write_pass *a = arg;
	const cyc_extract_work *w = a->w;
	return cyc__volume_write(a->j, w->particles[k], w->data + w->offset[k], w->fft3[i_thread],
	                         w->ft3 + (size_t)i_thread * aligned(cyc_half_count3(a->j->crop_px)));
}

static cyc_status do_pass(cyc_extract_job *j, cyc_extract_work *w, int32_t i_series)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *ts = &j->tomograms->series[i_series];
	bool *used = NULL;
	size_t count = 0;
	for (int64_t k = 0; k < w->n; k++) {
		w->offset[k] = count;
		count += (floats_of_particle(j, w->particles[k]) + 15) / 16 * 16;
	}
	/* Allocated for each pass, not cleared: the parts of Fourier volumes that no tilt reaches then take no
	 * memory. */
	cyc_free(w->data);
	w->data = NULL;
	CYC_TRY(cyc_alloc_(&w->data, count, sizeof *w->data, "images of particles"));
	CYC_TRY(cyc_alloc(&used, (size_t)j->particles->n_optics + 1, sizeof *used));
	cyc_optics_used(used, j->particles, i_series);
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		bool is_seen = false;
		for (int64_t k = 0; k < w->n && !is_seen; k++)
			is_seen = cyc__visible(&j->selection, w->particles[k])[f];
		if (is_seen) CYC_TRY(do_tilt(j, w, ts, f, used));
	}
	write_pass a = { j, w };
	CYC_TRY(cyc_parallel_for(w->n, j->o->n_threads, j->o->stacks ? write_stack_task : write_volume_task, &a));
done:
	cyc_free(used);
	return st;
}

cyc_status cyc__extract_series(cyc_extract_job *j, cyc_extract_work *w, int32_t i_series)
{
	cyc_status st = CYC_OK;
	int64_t first = j->particles->series_first[i_series], end = j->particles->series_first[i_series + 1];
	if (end - first > w->capacity) {
		cyc_free(w->particles);
		cyc_free(w->offset);
		w->particles = NULL;
		w->offset = NULL;
		w->capacity = 0;
		CYC_TRY(cyc_alloc(&w->particles, end - first, sizeof *w->particles));
		CYC_TRY(cyc_alloc(&w->offset, end - first, sizeof *w->offset));
		w->capacity = end - first;
	}
	for (int64_t i = first; i < end;) {
		w->n = next_pass(&i, NULL, w->particles, j, end);
		w->image.next =
			i < end ? NULL : cyc_tilt_series_after(j->tomograms, j->particles, j->share.is_own, i_series);
		if (w->n > 0)
			CYC_TRY_CTX(do_pass(j, w, i_series), "tilt series %s", j->tomograms->series[i_series].name);
	}
done:
	return st;
}

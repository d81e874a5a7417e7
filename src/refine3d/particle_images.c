#include "refine3d/particle_images.h"

#include "images/tilt_image.h"

#include <math.h>
#include <string.h>

static const double LEAST_COUNT = 100; /* coefficients that a noise level is estimated from */

/* ---------------------------------------------------------------- coefficients */

void cyc_coefficients_destroy(cyc_coefficients **p)
{
	cyc_coefficients *c = *p;
	if (!c) return;
	cyc_free(c->kx);
	cyc_free(c->ky);
	cyc_free(c->fx);
	cyc_free(c->fy);
	cyc_free(c->shell);
	cyc_free(c->band_end);
	cyc_free(c);
	*p = NULL;
}

cyc_status cyc_coefficients_create(cyc_coefficients **out, int32_t box)
{
	cyc_status st = CYC_OK;
	cyc_coefficients *c = NULL;
	int32_t last = box / 2 - 1;
	*out = NULL;
	CYC_TRY(cyc_alloc(&c, 1, sizeof *c));
	c->box_px = box;
	c->n_bands = (last + CYC_COEFFICIENT_BAND - 1) / CYC_COEFFICIENT_BAND;
	size_t most = cyc_half_count2(box);
	CYC_TRY(cyc_alloc(&c->kx, most, sizeof *c->kx));
	CYC_TRY(cyc_alloc(&c->ky, most, sizeof *c->ky));
	CYC_TRY(cyc_alloc(&c->fx, most, sizeof *c->fx));
	CYC_TRY(cyc_alloc(&c->fy, most, sizeof *c->fy));
	CYC_TRY(cyc_alloc(&c->shell, most, sizeof *c->shell));
	CYC_TRY(cyc_alloc(&c->band_end, c->n_bands, sizeof *c->band_end));
	for (int32_t b = 0; b < c->n_bands; b++) {
		for (int32_t ky = -last; ky <= last; ky++)
			for (int32_t kx = 0; kx <= last; kx++) {
				int32_t shell = (int32_t)(sqrt((double)(kx * kx + ky * ky)) + 0.5);
				if ((kx == 0 && ky <= 0) || shell > last || shell == 0 ||
				    (shell - 1) / CYC_COEFFICIENT_BAND != b)
					continue;
				c->kx[c->n] = (int16_t)kx;
				c->ky[c->n] = (int16_t)ky;
				c->fx[c->n] = (float)kx;
				c->fy[c->n] = (float)ky;
				c->shell[c->n++] = shell;
			}
		c->band_end[b] = c->n;
	}
	*out = c;
	c = NULL;
done:
	cyc_coefficients_destroy(&c);
	return st;
}

int32_t cyc_coefficients_within(const cyc_coefficients *c, int32_t radius)
{
	if (radius < 1) return 0;
	int32_t b = (radius - 1) / CYC_COEFFICIENT_BAND;
	return c->band_end[b < c->n_bands ? b : c->n_bands - 1];
}

int32_t cyc_coefficients_reach(const cyc_coefficients *c, int32_t n)
{
	int32_t b = 0, last = c->box_px / 2 - 1;
	while (b + 1 < c->n_bands && c->band_end[b] < n) b++;
	int32_t reach = (b + 1) * CYC_COEFFICIENT_BAND;
	return reach < last ? reach : last;
}

/* ---------------------------------------------------------------- images of a series */

void cyc_series_images_destroy(cyc_series_images **p)
{
	cyc_series_images *s = *p;
	if (!s) return;
	void **blocks = s->memory;
	for (int32_t i = 0; blocks && i < s->n_blocks; i++) cyc_free(blocks[i]);
	for (int32_t i = 0; s->images && i < s->n_particles; i++) cyc_free(s->images[i]);
	cyc_free(s->memory);
	cyc_free(s->images);
	cyc_free(s->n_images);
	cyc_free(s->noise_sum);
	cyc_free(s->noise_count);
	cyc_free(s);
	*p = NULL;
}

cyc_status cyc_series_images_create(cyc_series_images **out, int32_t n_particles, int32_t n_tilts,
                                    int32_t n_optics, int32_t crop)
{
	cyc_status st = CYC_OK;
	cyc_series_images *s = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->n_particles = n_particles;
	CYC_TRY(cyc_alloc(&s->n_images, n_particles, sizeof *s->n_images));
	CYC_TRY(cyc_alloc(&s->images, n_particles, sizeof *s->images));
	for (int32_t i = 0; i < n_particles; i++)
		CYC_TRY(cyc_alloc(&s->images[i], n_tilts, sizeof *s->images[i]));
	CYC_TRY(cyc_alloc(&s->noise_sum, (size_t)n_optics * (size_t)(crop / 2 + 1), sizeof *s->noise_sum));
	CYC_TRY(cyc_alloc(&s->noise_count, n_optics, sizeof *s->noise_count));
	*out = s;
	s = NULL;
done:
	cyc_series_images_destroy(&s);
	return st;
}

/* Requests are alike and many: blocks have room for several. Those from CYC_MAPPED_BYTES on come clear from
 * the system, by the threads that write to them first; smaller ones are cleared by the thread that asks,
 * while the others wait. What is not written to is no memory yet. The sanitizers see each request. */
#ifdef CYC_SANITIZED
static const size_t MOST_OF_BLOCK = 0;
#else
static const size_t MOST_OF_BLOCK = (size_t)64 << 20;
#endif
static const size_t ALIGNMENT = 64;

static size_t block_bytes(size_t request)
{
	enum { REQUESTS = 16 };
	size_t several = request < MOST_OF_BLOCK / REQUESTS ? REQUESTS * request : MOST_OF_BLOCK;
	return several > request ? several : request;
}

static cyc_status add_block(cyc_series_images *s, size_t bytes)
{
	cyc_status st = CYC_OK;
	void **blocks = s->memory;
	CYC_TRY(cyc_realloc(&blocks, (size_t)s->n_blocks, (size_t)s->n_blocks + 1, sizeof *blocks));
	s->memory = blocks;
	CYC_TRY(cyc_alloc(&blocks[s->n_blocks], bytes, 1));
	s->room = blocks[s->n_blocks++];
	s->room_bytes = bytes;
done:
	return st;
}

cyc_status cyc_series_images_block(void *out, cyc_series_images *s, size_t n, size_t size)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(n <= (SIZE_MAX - ALIGNMENT) / size, CYC_E_NOMEM, "cannot allocate %zu x %zu bytes", n, size);
	size_t bytes = (n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (bytes == 0) bytes = ALIGNMENT;
	if (bytes > s->room_bytes) CYC_TRY(add_block(s, block_bytes(bytes)));
	/* Pointers of other types are objects of their own. */
	void *p = s->room;
	memcpy(out, &p, sizeof p);
	s->room += bytes;
	s->room_bytes -= bytes;
	s->bytes += n * size;
done:
	return st;
}

/* ---------------------------------------------------------------- the source */

struct cyc_tilt_source {
	cyc_backend *be;
	const cyc_coefficients *coefficients;
	cyc_tilt_source_spec spec;
	cyc_tilt_image image;
	cyc_tilt_batch *batch;
	cyc_tilt_tables *tables, *crop_tables; /* of the windows' box, and of the coefficients' */
	cyc_buffer *ft, *ctf, *crop_ctf, *turns, *envelope;
	cyc_fft2_rows *fft; /* of the window; the rows of the crop */
	cyc_fft2 *crop_fft;
	double *power, *crop_turns, *share;
	float *inverse_noise;         /* half plane of the window's box */
	float *mask;                  /* s x s */
	cyc_cfloat *ft_work;          /* per thread: half plane of the window's box */
	float *real_work, *crop_work; /* per thread: window, crop */
	cyc_cfloat *crop_ft_work;
	double *shell_count; /* coefficients per shell of the crop */
	bool *is_kept;       /* of the batch's images */
};

void cyc_tilt_source_destroy(cyc_tilt_source **p)
{
	cyc_tilt_source *s = *p;
	if (!s) return;
	cyc_buffer **const buffers[] = { &s->ft, &s->ctf, &s->crop_ctf, &s->turns, &s->envelope };
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) cyc_buffer_destroy(buffers[i]);
	cyc_tilt_image_deinit(&s->image);
	cyc_tilt_batch_destroy(&s->batch);
	cyc_tilt_tables_destroy(&s->tables);
	cyc_tilt_tables_destroy(&s->crop_tables);
	cyc_fft2_rows_destroy(&s->fft);
	cyc_fft2_destroy(&s->crop_fft);
	cyc_free(s->power);
	cyc_free(s->crop_turns);
	cyc_free(s->share);
	cyc_free(s->inverse_noise);
	cyc_free(s->mask);
	cyc_free(s->ft_work);
	cyc_free(s->real_work);
	cyc_free(s->crop_work);
	cyc_free(s->crop_ft_work);
	cyc_free(s->shell_count);
	cyc_free(s->is_kept);
	cyc_free(s);
	*p = NULL;
}

double cyc_shell_noise(const double *power, const double *expected, const double *count, int32_t n_shells,
                       int32_t shell)
{
	for (int32_t wide = 0;; wide++) {
		double power_sum = 0, expected_sum = 0, count_sum = 0;
		int32_t from = shell - wide < 1 ? 1 : shell - wide,
				to = shell + wide > n_shells - 2 ? n_shells - 2 : shell + wide;
		for (int32_t r = from; r <= to; r++) {
			power_sum += power[r];
			expected_sum += expected[r];
			count_sum += count[r];
		}
		if (count_sum >= LEAST_COUNT || (from == 1 && to == n_shells - 2))
			return expected_sum > 0 ? power_sum / expected_sum : 0;
	}
}

static cyc_status make_mask(cyc_tilt_source *s)
{
	cyc_status st = CYC_OK;
	int32_t n = s->spec.crop_px;
	double R = s->spec.particle_radius_px;
	CYC_TRY(cyc_alloc(&s->mask, (size_t)n * (size_t)n, sizeof *s->mask));
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++)
			s->mask[(size_t)y * (size_t)n + (size_t)x] =
				(float)cyc_particle_mask(hypot(x - n / 2, y - n / 2), R);
done:
	return st;
}

static cyc_status count_shells(cyc_tilt_source *s)
{
	cyc_status st = CYC_OK;
	int32_t n_shells = s->spec.crop_px / 2 + 1;
	CYC_TRY(cyc_alloc(&s->shell_count, n_shells, sizeof *s->shell_count));
	for (int32_t j = 0; j < s->coefficients->n; j++)
		if (s->coefficients->shell[j] < n_shells) s->shell_count[s->coefficients->shell[j]]++;
done:
	return st;
}

cyc_status cyc_tilt_source_create(cyc_tilt_source **out, cyc_backend *be,
                                  const cyc_coefficients *coefficients, const cyc_tilt_source_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_tilt_source *s = NULL;
	int32_t b = spec->box.window.box_binned, n = spec->crop_px;
	size_t plane = cyc_half_count2(b), crop_plane = cyc_half_count2(n);
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->be = be;
	s->image.reads_ahead = true;
	s->coefficients = coefficients;
	s->spec = *spec;
	int32_t capacity =
		cyc_tilt_batch_capacity(plane * (sizeof(cyc_cfloat) + sizeof(float)) + crop_plane * sizeof(float),
	                            spec->most_particles, cyc_backend_batch_bytes(be));
	size_t n_threads = (size_t)cyc_n_workers(capacity, cyc_backend_n_threads(be));
	CYC_TRY(cyc_buffer_create(&s->ft, be, (size_t)capacity * plane, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&s->ctf, be, (size_t)capacity * plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&s->crop_ctf, be, (size_t)capacity * crop_plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&s->turns, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&s->envelope, be, plane, sizeof(float)));
	CYC_TRY(cyc_tilt_batch_create(&s->batch, capacity));
	CYC_TRY(cyc_tilt_tables_create(&s->tables, b, cyc_backend_n_threads(be)));
	CYC_TRY(cyc_tilt_tables_create(&s->crop_tables, n, cyc_backend_n_threads(be)));
	CYC_TRY(cyc_fft2_rows_create(&s->fft, b, b, (b - n) / 2, n));
	CYC_TRY(cyc_fft2_create(&s->crop_fft, n, n));
	CYC_TRY(cyc_alloc(&s->power, (size_t)spec->box.window.box_px / 2 + 1, sizeof *s->power));
	CYC_TRY(cyc_alloc(&s->crop_turns, capacity, sizeof *s->crop_turns));
	CYC_TRY(cyc_alloc(&s->share, capacity, sizeof *s->share));
	CYC_TRY(cyc_alloc(&s->inverse_noise, plane, sizeof *s->inverse_noise));
	CYC_TRY(cyc_alloc(&s->ft_work, n_threads * plane, sizeof *s->ft_work));
	CYC_TRY(cyc_alloc(&s->real_work, n_threads * (size_t)b * (size_t)b, sizeof *s->real_work));
	CYC_TRY(cyc_alloc(&s->crop_work, n_threads * (size_t)n * (size_t)n, sizeof *s->crop_work));
	CYC_TRY(cyc_alloc(&s->crop_ft_work, n_threads * crop_plane, sizeof *s->crop_ft_work));
	CYC_TRY(cyc_alloc(&s->is_kept, capacity, sizeof *s->is_kept));
	CYC_TRY(count_shells(s));
	CYC_TRY(make_mask(s));
	*out = s;
	s = NULL;
done:
	cyc_tilt_source_destroy(&s);
	return st;
}

/* What the tasks of a batch share. */
typedef struct {
	const cyc_tilt_source *s;
	const cyc_cfloat *ft;
	const float *ctf, *crop_ctf;
	cyc_cfloat *data; /* per particle of the batch: n coefficients */
	float *weight;
	int32_t n;
	const double *sigma2; /* of the optics group, or NULL */
	double *noise_ctf2;   /* per particle: s/2 + 1 sums of CTF^2 */
	const double *share;  /* per particle: of its circle in the image */
} cut;

/* Windows to the wanted contrast, in real space, particle in the middle: -CTF X exp(-i odd phase) / noise. */
static void premultiply(float *real, cyc_cfloat *work, const cut *c, int64_t i)
{
	const cyc_tilt_source *s = c->s;
	int32_t b = s->spec.box.window.box_binned, bh = b / 2 + 1;
	size_t plane = cyc_half_count2(b);
	const cyc_cfloat *X = c->ft + (size_t)i * plane,
					 *phase = s->tables->has_odd ? s->tables->odd_phase : NULL;
	const float *ctf = c->ctf + (size_t)i * plane;
	for (int32_t y = 0; y < b; y++)
		for (int32_t x = 0; x < bh; x++) {
			size_t at = (size_t)y * (size_t)bh + (size_t)x;
			float w = ctf[at] * s->inverse_noise[at];
			cyc_cfloat v = (x + y) % 2 ? w * X[at] : -w * X[at];
			work[at] = phase ? v * conjf(phase[at]) : v;
		}
	cyc_fft2_rows_inverse(real, s->fft, work);
}

/* The middle of the window under the mask, after subtraction of the level outside the particle. */
static void crop(float *out, const cyc_tilt_source *s, const float *real)
{
	int32_t b = s->spec.box.window.box_binned, n = s->spec.crop_px, from = (b - n) / 2;
	double sum = 0, count = 0;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++) {
			double outside = 1 - (double)s->mask[y * n + x];
			sum += outside * (double)real[(size_t)(y + from) * (size_t)b + (size_t)(x + from)];
			count += outside;
		}
	float level = count > 0 ? (float)(sum / count) : 0, scale = (float)(1.0 / ((double)b * n));
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++)
			out[y * n + x] = scale * s->mask[y * n + x] *
			                 (real[(size_t)(y + from) * (size_t)b + (size_t)(x + from)] - level);
}

static cyc_status cut_task(void *arg, int64_t i, int i_thread)
{
	const cut *c = arg;
	const cyc_tilt_source *s = c->s;
	const cyc_coefficients *list = s->coefficients;
	int32_t b = s->spec.box.window.box_binned, n = s->spec.crop_px, nh = n / 2 + 1;
	float *real = s->real_work + (size_t)i_thread * (size_t)b * (size_t)b,
		  *cropped = s->crop_work + (size_t)i_thread * (size_t)n * (size_t)n;
	cyc_cfloat *ft = s->crop_ft_work + (size_t)i_thread * cyc_half_count2(n);
	premultiply(real, s->ft_work + (size_t)i_thread * cyc_half_count2(b), c, i);
	crop(cropped, s, real);
	cyc_fft2_forward(ft, s->crop_fft, cropped);
	cyc_cfloat *data = c->data + (size_t)i * (size_t)c->n;
	float *weight = c->weight + (size_t)i * (size_t)c->n;
	const float *ctf = c->crop_ctf + (size_t)i * cyc_half_count2(n);
	double *ctf2 = c->noise_ctf2 + (size_t)i * (size_t)nh, to_window = (double)b / n;
	for (int32_t j = 0; j < c->n; j++) {
		int32_t kx = list->kx[j], ky = list->ky[j], row = ky < 0 ? ky + n : ky;
		size_t at = (size_t)row * (size_t)nh + (size_t)kx;
		double C = cyc_square((double)ctf[at]), factor = 1, noise;
		if (c->sigma2) {
			/* RELION's weights: one noise level for images that carry the CTF already. Its sigma^2 is per
			 * component of transforms divided by n^2; these are divided by n. */
			noise = 2 * c->sigma2[list->shell[j]] * n * (double)n;
			factor = noise > 0 ? C / noise : 0;
			weight[j] = (float)(factor * C * c->share[i]);
		} else {
			noise = cyc_radial_at(s->power, s->spec.box.window.box_px / 2 + 1,
			                      to_window * sqrt((double)(kx * kx + ky * ky)));
			weight[j] = noise > 0 ? (float)(C / noise * c->share[i]) : 0;
		}
		data[j] = (float)((kx + ky) % 2 ? -factor : factor) * ft[at];
		ctf2[list->shell[j]] += C;
	}
	return CYC_OK;
}

/* 1 / noise at each coefficient of the window; only the sign and CTF if the noise is that of an optics group.
 */
static void fill_inverse_noise(cyc_tilt_source *s)
{
	int32_t b = s->spec.box.window.box_binned, bh = b / 2 + 1;
	for (int32_t y = 0; y < b; y++)
		for (int32_t x = 0; x < bh; x++) {
			double p =
				cyc_radial_at(s->power, s->spec.box.window.box_px / 2 + 1, hypot(x, y < b / 2 ? y : y - b));
			s->inverse_noise[(size_t)y * (size_t)bh + (size_t)x] = s->spec.group_sigma2 ? 1
			                                                       : p > 0              ? (float)(1 / p)
			                                                                            : 0;
		}
}

/*
 * The noise that images multiplied by their CTF have, in RELION's unit: for model files only. Of the batch's
 * images only those that are kept count.
 */
static void add_noise(cyc_series_images *out, const cyc_tilt_source *s, const double *ctf2,
                      const bool *is_kept, int32_t n, int32_t i_optics)
{
	int32_t nh = s->spec.crop_px / 2 + 1;
	double per_component = 0.5 / cyc_square(s->spec.crop_px),
		   to_window = (double)s->spec.box.window.box_binned / s->spec.crop_px;
	for (int32_t k = 1; k < nh - 1; k++) {
		double C = 0;
		for (int32_t i = 0; i < n; i++) C += is_kept[i] ? ctf2[(size_t)i * (size_t)nh + (size_t)k] : 0;
		if (!(s->shell_count[k] > 0)) continue;
		out->noise_sum[(size_t)i_optics * (size_t)nh + (size_t)k] +=
			per_component * C / s->shell_count[k] *
			cyc_radial_at(s->power, s->spec.box.window.box_px / 2 + 1, to_window * k);
	}
	for (int32_t i = 0; i < n; i++) {
		out->noise_count[i_optics] += is_kept[i] ? 1 : 0;
		out->n_total += is_kept[i] ? 1 : 0;
	}
}

/* Cut the particles of one optics group that one tilt shows. */
static cyc_status load_group(cyc_series_images *out, cyc_tilt_source *s, cyc_tilt_series *ts, int32_t f,
                             const cyc_particle_set *set, int32_t i_series, int32_t g)
{
	cyc_status st = CYC_OK;
	cyc_box box = s->spec.box;
	int32_t b = box.window.box_binned, n = s->spec.crop_px;
	size_t plane = cyc_half_count2(b), crop_plane = cyc_half_count2(n);
	double *ctf2 = NULL;
	int64_t first = set->series_first[i_series], count = set->series_first[i_series + 1] - first;
	box.pixel_size_A = box.binning * ts->pixel_size_A;
	CYC_TRY(cyc_tilt_tables_fill(s->tables, ts, f, &set->optics[g], box.pixel_size_A, s->spec.cutoff_frac));
	CYC_TRY(
		cyc_tilt_tables_fill(s->crop_tables, ts, f, &set->optics[g], box.pixel_size_A, s->spec.cutoff_frac));
	int32_t n_coefficients = cyc_coefficients_within(s->coefficients, s->crop_tables->radius);
	const cyc_image_group of = { ts, f, set, i_series, g };
	for (int64_t cursor = 0; cursor < count;) {
		const cyc_tilt_batch *batch = s->batch;
		cut c = { .s = s,
			      .n = n_coefficients,
			      .sigma2 =
			          s->spec.group_sigma2 ? s->spec.group_sigma2 + (size_t)g * (size_t)(n / 2 + 1) : NULL };
		CYC_TRY(cyc_tilt_batch_fill(s->batch, &cursor, &out->n_outside, &of, &box));
		if (batch->n == 0) continue;
		CYC_TRY(cyc_op_window(s->ft, s->be, s->image.device, ts->image_nx, ts->image_ny, batch->at_px,
		                      batch->n, &box.window));
		CYC_TRY(cyc_buffer_upload(s->turns, s->tables->turns, plane * sizeof(float)));
		CYC_TRY(cyc_buffer_upload(s->envelope, s->tables->envelope, plane * sizeof(float)));
		cyc_ctf_in ctf_in = { .turns = s->turns,
			                  .envelope = s->envelope,
			                  .turns_per_k2 = batch->turns_per_k2,
			                  .n = batch->n,
			                  .s = b };
		CYC_TRY(cyc_op_ctf(s->ctf, NULL, s->be, &ctf_in));
		CYC_TRY(cyc_buffer_upload(s->turns, s->crop_tables->turns, crop_plane * sizeof(float)));
		CYC_TRY(cyc_buffer_upload(s->envelope, s->crop_tables->envelope, crop_plane * sizeof(float)));
		for (int32_t i = 0; i < batch->n; i++) {
			s->crop_turns[i] = batch->turns_per_k2[i] * cyc_square((double)b / n);
			s->share[i] = cyc_visible_share(ts, batch->at_px[2 * i], batch->at_px[2 * i + 1],
			                                s->spec.particle_radius_px * box.binning);
		}
		c.share = s->share;
		ctf_in.turns_per_k2 = s->crop_turns;
		ctf_in.s = n;
		CYC_TRY(cyc_op_ctf(s->crop_ctf, NULL, s->be, &ctf_in));
		CYC_TRY(
			cyc_series_images_block(&c.data, out, (size_t)batch->n * (size_t)n_coefficients, sizeof *c.data));
		CYC_TRY(cyc_series_images_block(&c.weight, out, (size_t)batch->n * (size_t)n_coefficients,
		                                sizeof *c.weight));
		CYC_TRY(cyc_alloc(&ctf2, (size_t)batch->n * (size_t)(n / 2 + 1), sizeof *ctf2));
		c.noise_ctf2 = ctf2;
		CYC_TRY(cyc_buffer_map(&c.ft, s->ft));
		CYC_TRY(cyc_buffer_map(&c.ctf, s->ctf));
		CYC_TRY(cyc_buffer_map(&c.crop_ctf, s->crop_ctf));
		CYC_TRY(cyc_parallel_for(batch->n, cyc_backend_n_threads(s->be), cut_task, &c));
		CYC_TRY(cyc_buffer_unmap(s->crop_ctf));
		CYC_TRY(cyc_buffer_unmap(s->ctf));
		CYC_TRY(cyc_buffer_unmap(s->ft));
		for (int32_t i = 0; i < batch->n; i++) {
			int64_t p = batch->particles[i] - &set->particles[first];
			const uint8_t *visible = batch->particles[i]->visible_frames;
			cyc_projection projection;
			s->is_kept[i] = !(s->spec.only_visible_frames && visible && !visible[f]);
			if (!s->is_kept[i]) continue;
			CYC_TRY(cyc_projection_of_tilt(&projection, ts, f));
			out->images[p][out->n_images[p]++] =
				(cyc_particle_image){ .i_tilt = f,
				                      .n = n_coefficients,
				                      .R_img_tomo = projection.linear,
				                      .px_per_A = 1 / box.pixel_size_A,
				                      .is_in_map =
				                          cyc_is_visible(ts, batch->at_px[2 * i], batch->at_px[2 * i + 1],
				                                         s->spec.map_margin_px),
				                      .data = c.data + (size_t)i * (size_t)n_coefficients,
				                      .weight = c.weight + (size_t)i * (size_t)n_coefficients };
		}
		add_noise(out, s, ctf2, s->is_kept, batch->n, g);
		cyc_free(ctf2);
		ctf2 = NULL;
	}
done:
	cyc_free(ctf2);
	return st;
}

void cyc_tilt_source_expect(cyc_tilt_source *s, const cyc_tilt_series *next) { s->image.next = next; }

cyc_status cyc_tilt_source_load(cyc_series_images **out, cyc_tilt_source *s, cyc_tilt_series *ts,
                                const cyc_particle_set *set, int32_t i_series, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_series_images *images = NULL;
	bool *used = NULL;
	const int32_t S = s->spec.box.window.box_px;
	*out = NULL;
	CYC_TRY(cyc_tilt_series_open_for(ts, root, S));
	CYC_TRY(cyc_alloc(&used, (size_t)set->n_optics + 1, sizeof *used));
	cyc_optics_used(used, set, i_series);
	CYC_TRY(cyc_series_images_create(&images,
	                                 (int32_t)(set->series_first[i_series + 1] - set->series_first[i_series]),
	                                 ts->n_tilts, set->n_optics, s->spec.crop_px));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		CYC_TRY(cyc_cancel_check());
		if (ts->tilts[f].scale == 0) continue;
		CYC_TRY(cyc_tilt_image_load(&s->image, s->be, ts, f));
		CYC_TRY(cyc_tilt_image_noise(s->power, &s->image, ts, s->spec.box.window.box_px,
		                             cyc_backend_n_threads(s->be)));
		/* Binned windows keep their grey level: their transforms are smaller by the binning. */
		for (int32_t i = 0; i <= S / 2; i++) s->power[i] /= cyc_square(s->spec.box.binning);
		fill_inverse_noise(s);
		for (int32_t g = 0; g < set->n_optics; g++)
			if (used[g]) CYC_TRY(load_group(images, s, ts, f, set, i_series, g));
	}
	*out = images;
	images = NULL;
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	cyc_free(used);
	cyc_series_images_destroy(&images);
	return st;
}

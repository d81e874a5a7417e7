/* Particle images from the stacks of an extraction: read, masked, transformed, and divided by the noise that
 * they have. */
#include "refine3d/stack_images.h"

#include "halfmaps/accumulate.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

static const double READ_BYTES = 256e6;    /* as many particles at a time as fit in this many bytes */
static const double LARGEST_OFFSET = 0.25; /* of the box: farther out too much of the particle is missing */

struct cyc_stack_source {
	cyc_backend *be;
	const cyc_coefficients *coefficients;
	cyc_stack_source_spec spec;
	int32_t capacity;
	cyc_tilt_tables *tables;
	cyc_buffer *ctf, *turns, *envelope;
	cyc_fft2 *fft;
	double *turns_per_k2;
	int32_t *slot, *section; /* of the batch: which particle of the pass, which of its images */
	double *share, *rest;    /* by coefficient: noise power = (share C^2 + rest) sigma0^2 */
	float *real_work;        /* per thread: N x N */
	cyc_cfloat *ft_work;     /* per thread: half plane */
};

void cyc_stack_source_destroy(cyc_stack_source **p)
{
	cyc_stack_source *s = *p;
	if (!s) return;
	cyc_buffer_destroy(&s->ctf);
	cyc_buffer_destroy(&s->turns);
	cyc_buffer_destroy(&s->envelope);
	cyc_tilt_tables_destroy(&s->tables);
	cyc_fft2_destroy(&s->fft);
	cyc_free(s->turns_per_k2);
	cyc_free(s->slot);
	cyc_free(s->section);
	cyc_free(s->share);
	cyc_free(s->rest);
	cyc_free(s->real_work);
	cyc_free(s->ft_work);
	cyc_free(s);
	*p = NULL;
}

cyc_status cyc_stack_source_create(cyc_stack_source **out, cyc_backend *be,
                                   const cyc_coefficients *coefficients, const cyc_stack_source_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_stack_source *s = NULL;
	int32_t N = spec->stacks->box_px;
	size_t plane = cyc_half_count2(N),
		   n_threads = (size_t)cyc_n_workers(INT64_MAX, cyc_backend_n_threads(be));
	*out = NULL;
	CYC_CHECK(coefficients->box_px == N, CYC_E_INTERNAL, "the box of %d px does not fit images of %d px",
	          coefficients->box_px, N);
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->be = be;
	s->coefficients = coefficients;
	s->spec = *spec;
	s->capacity =
		cyc_tilt_batch_capacity(plane * sizeof(float), spec->most_particles, cyc_backend_batch_bytes(be));
	CYC_TRY(cyc_buffer_create(&s->ctf, be, (size_t)s->capacity * plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&s->turns, be, plane, sizeof(float)));
	CYC_TRY(cyc_buffer_create(&s->envelope, be, plane, sizeof(float)));
	CYC_TRY(cyc_tilt_tables_create(&s->tables, N, cyc_backend_n_threads(be)));
	CYC_TRY(cyc_fft2_create(&s->fft, N, N));
	CYC_TRY(cyc_alloc(&s->turns_per_k2, s->capacity, sizeof *s->turns_per_k2));
	CYC_TRY(cyc_alloc(&s->slot, s->capacity, sizeof *s->slot));
	CYC_TRY(cyc_alloc(&s->section, s->capacity, sizeof *s->section));
	CYC_TRY(cyc_alloc(&s->share, coefficients->n, sizeof *s->share));
	CYC_TRY(cyc_alloc(&s->rest, coefficients->n, sizeof *s->rest));
	CYC_TRY(cyc_alloc(&s->real_work, n_threads * (size_t)N * (size_t)N, sizeof *s->real_work));
	CYC_TRY(cyc_alloc(&s->ft_work, n_threads * plane, sizeof *s->ft_work));
	*out = s;
	s = NULL;
done:
	cyc_stack_source_destroy(&s);
	return st;
}

/* ---------------------------------------------------------------- a pass: some particles of a series */

/* One series while it is loaded. Sums are by tilt, optics group of its particles, half-set and shell. */
typedef struct {
	cyc_stack_source *s;
	cyc_series_images *out;
	const cyc_tilt_series *ts;
	int32_t i_series, n_shells, n_used;
	int32_t *used;         /* n_optics: which of the series' groups it is, -1: none */
	int64_t first, n;      /* particles of the pass */
	float *read;           /* their images */
	size_t *at;            /* n: where each particle's begin */
	cyc_stack_view *views; /* n x n_tilts */
	double *power, *expected, *count, *ctf2, *noise;
	int64_t *n_images; /* at the first shell of each */
} load;

/* What the tasks of a batch share: images of one tilt and optics group. */
typedef struct {
	const load *l;
	const float *ctf, *envelope;
	bool is_premultiplied;
	int32_t n;
	cyc_cfloat *data;
	float *weight;
	double *sums; /* per image: 4 x n_shells, power, expected, count, CTF^2 */
} batch;

static size_t sum_index(const load *l, int32_t f, int32_t g, int32_t half)
{
	return (((size_t)f * (size_t)l->n_used + (size_t)l->used[g]) * 2 + (size_t)half) * (size_t)l->n_shells;
}

static int32_t half_of(const cyc_particle *p) { return p->half > 0; }

static cyc_status read_task(void *arg, int64_t k, int i_thread)
{
	(void)i_thread;
	cyc_status st = CYC_OK;
	const load *l = arg;
	const cyc_stacks *stacks = l->s->spec.stacks;
	int64_t i = l->first + k;
	CYC_TRY(cyc_stacks_read(l->read + l->at[k], stacks, i));
	CYC_TRY(cyc_stacks_views(l->views + k * l->ts->n_tilts, stacks, i));
	for (int32_t v = 0; v < stacks->n_views[i]; v++) {
		const cyc_stack_view *view = &l->views[k * l->ts->n_tilts + v];
		if (l->ts->tilts[view->i_tilt].scale == 0) continue;
		double shift_px = hypot(view->shift_x_px, view->shift_y_px);
		if (!(shift_px <= LARGEST_OFFSET * stacks->box_px)) {
			cyc_error_raise(
				CYC_E_DATA, __FILE__, __LINE__, __func__,
				"its offsets (rlnOrigin...) shift the particle by %.1f px, out of its images of %d px",
				shift_px, stacks->box_px);
			cyc_error_hint("extract again: 'cyclotomo extract' cuts at the refined positions");
			st = CYC_E_DATA;
			goto done;
		}
	}
done:
	if (st != CYC_OK)
		cyc_error_context("particle '%s'", l->s->spec.stacks->particles->particles[l->first + k].name);
	return st;
}

/* Cut to the circle around the particle, after subtraction of the level outside. Returns the mean square
 * of the mask. */
static double mask_image(float *out, const float *image, int32_t N, double radius_px, double x0, double y0,
                         float scale)
{
	double sum = 0, count = 0, square = 0;
	for (int32_t y = 0; y < N; y++)
		for (int32_t x = 0; x < N; x++) {
			double w = cyc_particle_mask(hypot(x - N / 2 - x0, y - N / 2 - y0), radius_px);
			out[(size_t)y * (size_t)N + (size_t)x] = (float)w;
			sum += (1 - w) * (double)image[(size_t)y * (size_t)N + (size_t)x];
			count += 1 - w;
			square += w * w;
		}
	float level = count > 0 ? (float)(sum / count) : 0;
	for (size_t i = 0; i < (size_t)N * (size_t)N; i++) out[i] *= scale * (image[i] - level);
	return square / ((double)N * N);
}

/* Multiply an image by its CTF, if the extraction did not. */
static void multiply_by_ctf(float *image, cyc_cfloat *ft, const cyc_stack_source *s, const float *ctf)
{
	int32_t N = s->spec.stacks->box_px;
	float scale = (float)(1 / ((double)N * N));
	cyc_fft2_forward(ft, s->fft, image);
	for (size_t i = 0; i < cyc_half_count2(N); i++) ft[i] *= scale * ctf[i];
	cyc_fft2_inverse(image, s->fft, ft);
}

static cyc_status cut_task(void *arg, int64_t i, int i_thread)
{
	const batch *b = arg;
	const load *l = b->l;
	const cyc_stack_source *s = l->s;
	const cyc_coefficients *list = s->coefficients;
	int32_t N = s->spec.stacks->box_px, nh = N / 2 + 1;
	size_t pixels = (size_t)N * (size_t)N;
	const float *image = l->read + l->at[s->slot[i]] + (size_t)s->section[i] * pixels,
				*ctf = b->ctf + (size_t)i * cyc_half_count2(N);
	const cyc_stack_view *v = &l->views[s->slot[i] * l->ts->n_tilts + s->section[i]];
	float *real = s->real_work + (size_t)i_thread * pixels, *weight = b->weight + (size_t)i * (size_t)b->n;
	cyc_cfloat *ft = s->ft_work + (size_t)i_thread * cyc_half_count2(N),
			   *data = b->data + (size_t)i * (size_t)b->n;
	double *power = b->sums + (size_t)i * 4 * (size_t)l->n_shells, *expected = power + l->n_shells,
		   *count = expected + l->n_shells, *ctf2 = count + l->n_shells;
	/* Unitary, in the grey scale of the tilt images. */
	float scale = (float)(s->spec.stacks->binning / N);
	double norm =
		1 / mask_image(real, image, N, s->spec.particle_radius_px, v->shift_x_px, v->shift_y_px, scale);
	if (!b->is_premultiplied) { /* the noise is that of the image as it is */
		cyc_fft2_forward(ft, s->fft, real);
		for (int32_t j = 0; j < list->n; j++) {
			cyc_cfloat y = ft[(size_t)(list->ky[j] < 0 ? list->ky[j] + N : list->ky[j]) * (size_t)nh +
			                  (size_t)list->kx[j]];
			power[list->shell[j]] += norm * (cyc_square((double)crealf(y)) + cyc_square((double)cimagf(y)));
		}
		memcpy(real, image, pixels * sizeof *real);
		multiply_by_ctf(real, ft, s, ctf);
		/* mask_image() reads and writes pixel by pixel, but for the level, so it needs the two apart. */
		float *multiplied = (float *)ft;
		memcpy(multiplied, real, pixels * sizeof *real);
		(void)mask_image(real, multiplied, N, s->spec.particle_radius_px, v->shift_x_px, v->shift_y_px,
		                 scale);
	}
	cyc_fft2_forward(ft, s->fft, real);
	for (int32_t j = 0; j < list->n; j++) {
		int32_t kx = list->kx[j], ky = list->ky[j], shell = list->shell[j];
		size_t at = (size_t)(ky < 0 ? ky + N : ky) * (size_t)nh + (size_t)kx;
		double C = cyc_square((double)ctf[at]), envelope = (double)b->envelope[at],
			   phase = 2 * CYC_PI * (kx * v->shift_x_px + ky * v->shift_y_px) / N;
		if (b->is_premultiplied) {
			power[shell] += norm * (cyc_square((double)crealf(ft[at])) + cyc_square((double)cimagf(ft[at])));
			expected[shell] += s->share[j] * C + s->rest[j] * cyc_square(envelope);
		} else {
			expected[shell] += 1;
		}
		count[shell] += 1;
		ctf2[shell] += C;
		if (j >= b->n) continue;
		float sign = envelope <= 0 ? 0 : (kx + ky) % 2 ? -1 : 1;
		data[j] = sign * ((float)cos(phase) + (float)sin(phase) * I) * ft[at];
		weight[j] = (float)C;
	}
	return CYC_OK;
}

void cyc_stack_noise_shares(double *share, double *rest, const cyc_coefficients *list,
                            const cyc_tilt_series *ts, int32_t f, double pixel_size_A, double radius_px)
{
	const cyc_tilt *tilt = &ts->tilts[f];
	double a = pixel_size_A, lambda = cyc_electron_wavelength_A(ts->voltage_kV),
		   Cs_A = 1e7 * ts->spherical_aberration_mm;
	double defocus_A = 0.5 * (tilt->defocus_u_A + tilt->defocus_v_A), step_invA = 1 / (list->box_px * a),
		   R = radius_px;
	for (int32_t j = 0; j < list->n; j++) {
		double k = step_invA * hypot(list->kx[j], list->ky[j]);
		double kept =
			cyc_disc_coverage(R, R, 2 * fabs(lambda * defocus_A * k - Cs_A * pow(lambda, 3) * k * k * k) / a);
		share[j] = kept;
		rest[j] = 0.5 * (1 - kept);
	}
}

/* The next images of a tilt and optics group. */
static int32_t fill_batch(const load *l, int64_t *cursor, int32_t f, int32_t g)
{
	cyc_stack_source *s = l->s;
	const cyc_stacks *stacks = s->spec.stacks;
	int32_t n = 0;
	for (; *cursor < l->n && n < s->capacity; (*cursor)++) {
		const cyc_particle *p = &stacks->particles->particles[l->first + *cursor];
		int32_t section = 0;
		if (p->i_optics != g || !p->visible_frames[f]) continue;
		for (int32_t k = 0; k < f; k++) section += p->visible_frames[k] != 0;
		s->slot[n] = (int32_t)*cursor;
		s->section[n] = section;
		s->turns_per_k2[n++] = cyc_turns_per_k2(l->views[*cursor * l->ts->n_tilts + section].extra_defocus_A,
		                                        l->ts->voltage_kV, stacks->pixel_size_A, stacks->box_px);
	}
	return n;
}

static void add_sums(load *l, const batch *b, int32_t n, int32_t f, int32_t g)
{
	for (int32_t i = 0; i < n; i++) {
		size_t at =
			sum_index(l, f, g, half_of(&l->s->spec.stacks->particles->particles[l->first + l->s->slot[i]]));
		const double *sums = b->sums + (size_t)i * 4 * (size_t)l->n_shells;
		double *const to[] = { l->power, l->expected, l->count, l->ctf2 };
		for (size_t k = 0; k < sizeof to / sizeof *to; k++)
			for (int32_t r = 0; r < l->n_shells; r++)
				to[k][at + (size_t)r] += sums[k * (size_t)l->n_shells + (size_t)r];
		l->n_images[at]++;
	}
}

/* The images of a tilt and optics group: not yet divided by the noise. */
static cyc_status load_group(load *l, int32_t f, int32_t g)
{
	cyc_status st = CYC_OK;
	cyc_stack_source *s = l->s;
	const cyc_stacks *stacks = s->spec.stacks;
	cyc_projection projection = { .pixel_size_A = l->ts->pixel_size_A };
	size_t plane = cyc_half_count2(stacks->box_px);
	batch b = { .l = l, .envelope = s->tables->envelope, .is_premultiplied = stacks->is_premultiplied[g] };
	CYC_TRY(cyc_tilt_tables_fill(s->tables, l->ts, f, &stacks->particles->optics[g], stacks->pixel_size_A,
	                             s->spec.cutoff_frac));
	CYC_TRY(cyc_buffer_upload(s->turns, s->tables->turns, plane * sizeof(float)));
	CYC_TRY(cyc_buffer_upload(s->envelope, s->tables->envelope, plane * sizeof(float)));
	CYC_TRY(cyc_projection_linear(&projection.linear, l->ts, f));
	cyc_stack_noise_shares(s->share, s->rest, s->coefficients, l->ts, f, stacks->pixel_size_A,
	                       s->spec.particle_radius_px);
	b.n = cyc_coefficients_within(s->coefficients, s->tables->radius);
	for (int64_t cursor = 0; cursor < l->n;) {
		int32_t n = fill_batch(l, &cursor, f, g);
		if (n == 0) continue;
		CYC_TRY(cyc_op_ctf(s->ctf, NULL, s->be,
		                   &(cyc_ctf_in){ .turns = s->turns,
		                                  .envelope = s->envelope,
		                                  .turns_per_k2 = s->turns_per_k2,
		                                  .n = n,
		                                  .s = stacks->box_px }));
		CYC_TRY(cyc_series_images_block(&b.data, l->out, (size_t)n * (size_t)b.n, sizeof *b.data));
		CYC_TRY(cyc_series_images_block(&b.weight, l->out, (size_t)n * (size_t)b.n, sizeof *b.weight));
		CYC_TRY(cyc_alloc(&b.sums, (size_t)n * 4 * (size_t)l->n_shells, sizeof *b.sums));
		CYC_TRY(cyc_buffer_map(&b.ctf, s->ctf));
		CYC_TRY(cyc_parallel_for(n, cyc_backend_n_threads(s->be), cut_task, &b));
		CYC_TRY(cyc_buffer_unmap(s->ctf));
		add_sums(l, &b, n, f, g);
		for (int32_t i = 0; i < n; i++) {
			int64_t p = l->first + s->slot[i] - stacks->particles->series_first[l->i_series];
			l->out->images[p][l->out->n_images[p]++] =
				(cyc_particle_image){ .i_tilt = f,
				                      .n = b.n,
				                      .R_img_tomo = projection.linear,
				                      .px_per_A = 1 / stacks->pixel_size_A,
				                      .is_in_map = true,
				                      .data = b.data + (size_t)i * (size_t)b.n,
				                      .weight = b.weight + (size_t)i * (size_t)b.n };
		}
		l->out->n_total += n;
		cyc_free(b.sums);
		b.sums = NULL;
	}
done:
	cyc_free(b.sums);
	return st;
}

static cyc_status load_pass(load *l)
{
	cyc_status st = CYC_OK;
	const cyc_stacks *stacks = l->s->spec.stacks;
	size_t pixels = (size_t)stacks->box_px * (size_t)stacks->box_px, count = 0;
	int64_t end = stacks->particles->series_first[l->i_series + 1];
	for (l->n = 0; l->first + l->n < end; l->n++) {
		size_t more = (size_t)stacks->n_views[l->first + l->n] * pixels;
		if (l->n > 0 && 4.0 * (double)(count + more) > READ_BYTES) break;
		count += more;
	}
	CYC_TRY(cyc_alloc_(&l->read, count, sizeof *l->read, "images of particles"));
	CYC_TRY(cyc_alloc(&l->at, l->n, sizeof *l->at));
	CYC_TRY(cyc_alloc(&l->views, (size_t)l->n * (size_t)l->ts->n_tilts, sizeof *l->views));
	count = 0;
	for (int64_t k = 0; k < l->n; k++) {
		l->at[k] = count;
		count += (size_t)stacks->n_views[l->first + k] * pixels;
	}
	CYC_TRY(cyc_parallel_for(l->n, cyc_backend_n_threads(l->s->be), read_task, l));
	for (int32_t f = 0; f < l->ts->n_tilts; f++) {
		CYC_TRY(cyc_cancel_check());
		if (l->ts->tilts[f].scale == 0) continue;
		for (int32_t g = 0; g < stacks->particles->n_optics; g++)
			if (l->used[g] >= 0) CYC_TRY(load_group(l, f, g));
	}
	l->first += l->n;
done:
	cyc_free(l->read);
	cyc_free(l->at);
	cyc_free(l->views);
	l->read = NULL;
	l->at = NULL;
	l->views = NULL;
	return st;
}

/* ---------------------------------------------------------------- noise */

/* Sums become noise levels. What images multiplied by their CTF have of it goes to the model files, in
 * RELION's unit. */
static void estimate_noise(load *l)
{
	const cyc_stacks *stacks = l->s->spec.stacks;
	int32_t n_optics = stacks->particles->n_optics, N = stacks->box_px;
	double per_component = 0.5 / cyc_square(N) / cyc_square(stacks->binning);
	for (int32_t f = 0; f < l->ts->n_tilts; f++)
		for (int32_t g = 0; g < n_optics; g++)
			for (int32_t half = 0; half < 2 && l->used[g] >= 0; half++) {
				size_t at = sum_index(l, f, g, half);
				double n = (double)l->n_images[at];
				if (n == 0) continue;
				for (int32_t r = 1; r < l->n_shells - 1; r++)
					l->noise[at + (size_t)r] =
						cyc_shell_noise(l->power + at, l->expected + at, l->count + at, l->n_shells, r);
				for (int32_t r = 1; r < l->n_shells - 1; r++)
					l->out->noise_sum[(size_t)g * (size_t)l->n_shells + (size_t)r] +=
						per_component * n * l->noise[at + (size_t)r] *
						(stacks->is_premultiplied[g] ? l->ctf2[at + (size_t)r] / l->count[at + (size_t)r]
					                                 : 1);
				l->out->noise_count[g] += l->n_images[at];
			}
}

static cyc_status divide_task(void *arg, int64_t p, int i_thread)
{
	(void)i_thread;
	const load *l = arg;
	const cyc_stack_source *s = l->s;
	const cyc_stacks *stacks = s->spec.stacks;
	const cyc_particle *particle =
		&stacks->particles->particles[stacks->particles->series_first[l->i_series] + p];
	const double *sigma2 =
		s->spec.group_sigma2 ? s->spec.group_sigma2 + (size_t)particle->i_optics * (size_t)l->n_shells : NULL;
	for (int32_t i = 0; i < l->out->n_images[p]; i++) {
		cyc_particle_image *image = &l->out->images[p][i];
		const double *noise = l->noise + sum_index(l, image->i_tilt, particle->i_optics, half_of(particle));
		/* The coefficients are this source's own, handed out as const. */
		cyc_cfloat *data = (cyc_cfloat *)image->data;
		float *weight = (float *)image->weight;
		for (int32_t j = 0; j < image->n; j++) {
			int32_t shell = s->coefficients->shell[j];
			double n = sigma2 ? 2 * sigma2[shell] * cyc_square((double)stacks->box_px * stacks->binning)
			                  : noise[shell],
				   factor = n > 0 ? 1 / n : 0;
			if (sigma2 && stacks->is_premultiplied[particle->i_optics])
				factor *= (double)weight[j]; /* (T8.4) */
			data[j] *= (float)factor;
			weight[j] *= (float)factor;
		}
	}
	return CYC_OK;
}

cyc_status cyc_stack_source_load(cyc_series_images **out, cyc_stack_source *s, int32_t i_series)
{
	cyc_status st = CYC_OK;
	const cyc_stacks *stacks = s->spec.stacks;
	const cyc_particle_set *set = stacks->particles;
	const cyc_tilt_series *ts = &stacks->tomograms->series[i_series];
	int64_t end = set->series_first[i_series + 1];
	load l = { .s = s,
		       .ts = ts,
		       .i_series = i_series,
		       .n_shells = stacks->box_px / 2 + 1,
		       .first = set->series_first[i_series] };
	int32_t n = (int32_t)(end - l.first);
	double **const sums[] = { &l.power, &l.expected, &l.count, &l.ctf2, &l.noise };
	*out = NULL;
	CYC_TRY(cyc_alloc(&l.used, set->n_optics, sizeof *l.used));
	for (int32_t g = 0; g < set->n_optics; g++) l.used[g] = -1;
	for (int64_t p = l.first; p < end; p++)
		if (l.used[set->particles[p].i_optics] < 0) l.used[set->particles[p].i_optics] = l.n_used++;
	size_t n_sums = (size_t)ts->n_tilts * (size_t)l.n_used * 2 * (size_t)l.n_shells;
	for (size_t k = 0; k < sizeof sums / sizeof *sums; k++)
		CYC_TRY(cyc_alloc(sums[k], n_sums, sizeof **sums[k]));
	CYC_TRY(cyc_alloc(&l.n_images, n_sums, sizeof *l.n_images));
	CYC_TRY(cyc_series_images_create(&l.out, n, ts->n_tilts, set->n_optics, stacks->box_px));
	while (l.first < end) CYC_TRY(load_pass(&l));
	estimate_noise(&l);
	CYC_TRY(cyc_parallel_for(n, cyc_backend_n_threads(s->be), divide_task, &l));
	*out = l.out;
	l.out = NULL;
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	for (size_t k = 0; k < sizeof sums / sizeof *sums; k++) cyc_free(*sums[k]);
	cyc_free(l.n_images);
	cyc_free(l.used);
	cyc_series_images_destroy(&l.out);
	return st;
}

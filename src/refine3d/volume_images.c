/* Particle images from volumes: central sections, divided by the noise that the volumes have. */
#include "refine3d/volume_images.h"

#include <math.h>
#include <string.h>

static const double LEAST_WEIGHT = 1e-4; /* of the strongest section: weaker ones are in a missing wedge */

/* A series while it is loaded. Sums are by optics group, half-set and shell. */
typedef struct {
	const cyc_volume_images_spec *spec;
	cyc_volume_sections *sections;
	cyc_series_images *out;
	int64_t first;
	int32_t n_shells, s;
	cyc_cfloat *data; /* planes of some sections */
	float *weight;
	double *power, *expected, *inner, *inner_expected, *count, *noise; /* n_optics x 2 x n_shells */
} load;

/* A section of a particle on its way to the list. */
typedef struct {
	const load *l;
	const cyc_cfloat *from;
	const float *weight_from;
	cyc_particle_image *images;
	double *sums; /* per section: 3 x n_shells */
} batch;

static size_t sum_index(const load *l, const cyc_particle *p)
{
	return ((size_t)p->i_optics * 2 + (size_t)(p->half > 0)) * (size_t)l->n_shells;
}

static cyc_status list_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const batch *b = arg;
	const load *l = b->l;
	const cyc_coefficients *list = l->spec->coefficients;
	size_t plane = cyc_half_count2(l->s), sh = (size_t)l->s / 2 + 1;
	/* The coefficients are this source's own, handed out as const. */
	cyc_cfloat *data = (cyc_cfloat *)b->images[i].data;
	float *weight = (float *)b->images[i].weight;
	double *power = b->sums + (size_t)i * 3 * (size_t)l->n_shells, *expected = power + l->n_shells,
		   *count = expected + l->n_shells;
	int32_t n = cyc_volume_sections_n(l->sections);
	for (int32_t j = 0; j < list->n; j++) {
		int32_t kx = list->kx[j], ky = list->ky[j], shell = list->shell[j];
		size_t at = (size_t)i * plane + (size_t)(ky < 0 ? ky + l->s : ky) * sh + (size_t)kx;
		double area = CYC_PI / n * (kx > 0 ? (double)kx : 1.0 / 6), re = (double)crealf(b->from[at]) / area,
			   im = (double)cimagf(b->from[at]) / area;
		data[j] = b->from[at];
		weight[j] = b->weight_from[at];
		power[shell] += area * (re * re + im * im);
		expected[shell] += (double)weight[j];
		count[shell] += area;
	}
	return CYC_OK;
}

static double total_weight(const cyc_particle_image *image)
{
	double sum = 0;
	for (int32_t j = 0; j < image->n; j++) sum += (double)image->weight[j];
	return sum;
}

/* Sections that say nothing are taken out, their memory stays with the series. */
static void drop_empty(cyc_series_images *out, int32_t p)
{
	int32_t n = 0;
	double most = 0;
	for (int32_t i = 0; i < out->n_images[p]; i++) most = fmax(most, total_weight(&out->images[p][i]));
	for (int32_t i = 0; i < out->n_images[p]; i++)
		if (total_weight(&out->images[p][i]) > LEAST_WEIGHT * most) out->images[p][n++] = out->images[p][i];
	out->n_images[p] = n;
}

static cyc_status load_particle(load *l, int32_t p)
{
	cyc_status st = CYC_OK;
	const cyc_stacks *stacks = l->spec->stacks;
	const cyc_particle *particle = &stacks->particles->particles[l->first + p];
	int32_t n = cyc_volume_sections_n(l->sections), n_list = l->spec->coefficients->n;
	cyc_mat3 R_part_tomo = cyc_mat3_transpose(particle->R_tomo_part);
	batch b = { .l = l, .from = l->data, .weight_from = l->weight };
	size_t to = sum_index(l, particle);
	double *const sums[] = { l->inner + to, l->inner_expected + to, l->count + to };
	CYC_TRY(cyc_volume_sections_load(l->sections, l->power + to, l->expected + to, l->first + p));
	CYC_TRY(cyc_alloc(&b.sums, (size_t)CYC_SECTIONS_AT_ONCE * 3 * (size_t)l->n_shells, sizeof *b.sums));
	for (int32_t first = 0; first < n; first += CYC_SECTIONS_AT_ONCE) {
		int32_t count = n - first < CYC_SECTIONS_AT_ONCE ? n - first : CYC_SECTIONS_AT_ONCE;
		cyc_cfloat *data;
		float *weight;
		CYC_TRY(cyc_series_images_block(&data, l->out, (size_t)count * (size_t)n_list, sizeof *data));
		CYC_TRY(cyc_series_images_block(&weight, l->out, (size_t)count * (size_t)n_list, sizeof *weight));
		b.images = l->out->images[p] + first;
		for (int32_t i = 0; i < count; i++)
			b.images[i] = (cyc_particle_image){ .i_tilt = first + i,
				                                .n = n_list,
				                                .R_img_tomo = cyc_mat3_mul(
													cyc_volume_section_axes(first + i, n), R_part_tomo),
				                                .px_per_A = 1 / stacks->pixel_size_A,
				                                .is_in_map = true,
				                                .data = data + (size_t)i * (size_t)n_list,
				                                .weight = weight + (size_t)i * (size_t)n_list };
		memset(b.sums, 0, (size_t)CYC_SECTIONS_AT_ONCE * 3 * (size_t)l->n_shells * sizeof *b.sums);
		CYC_TRY(cyc_volume_sections_fill(l->data, l->weight, l->sections, first, count));
		CYC_TRY(cyc_parallel_for(count, cyc_backend_n_threads(l->spec->be), list_task, &b));
		for (int32_t i = 0; i < 3 * count; i++)
			for (int32_t r = 0; r < l->n_shells; r++)
				sums[i % 3][r] += b.sums[(size_t)i * (size_t)l->n_shells + (size_t)r] /
				                  (i % 3 == 0 ? cyc_volume_sections_mask2(l->sections) : 1);
	}
	l->out->n_images[p] = n;
	l->out->n_total++;
	drop_empty(l->out, p);
done:
	cyc_free(b.sums);
	return st;
}

/* ---------------------------------------------------------------- noise */

/* Without room around the particles the noise is that of their spheres, too high by the power of the
 * particle. */
static void use_inner(load *l, size_t at)
{
	double sum = 0;
	for (int32_t r = 0; r < l->n_shells; r++) sum += l->expected[at + (size_t)r];
	if (sum > 0) return;
	memcpy(l->power + at, l->inner + at, (size_t)l->n_shells * sizeof *l->power);
	memcpy(l->expected + at, l->inner_expected + at, (size_t)l->n_shells * sizeof *l->expected);
}

/* Sums become noise levels. What images multiplied by their CTF have of it goes to the model files, in
 * RELION's unit. */
static void estimate_noise(load *l)
{
	const cyc_stacks *stacks = l->spec->stacks;
	const cyc_particle_set *set = stacks->particles;
	double per_component = 0.5 / cyc_square(stacks->box_px) / cyc_square(stacks->binning);
	for (size_t at = 0; at < (size_t)set->n_optics * 2 * (size_t)l->n_shells; at += (size_t)l->n_shells) {
		use_inner(l, at);
		for (int32_t r = 1; r < l->n_shells - 1; r++)
			l->noise[at + (size_t)r] =
				cyc_shell_noise(l->power + at, l->expected + at, l->count + at, l->n_shells, r);
	}
	for (int32_t p = 0; p < l->out->n_particles; p++) {
		const cyc_particle *particle = &set->particles[l->first + p];
		size_t at = sum_index(l, particle);
		double *noise_sum = l->out->noise_sum + (size_t)particle->i_optics * (size_t)l->n_shells;
		for (int32_t r = 1; r < l->n_shells - 1; r++)
			noise_sum[r] +=
				per_component * l->noise[at + (size_t)r] *
				(l->count[at + (size_t)r] > 0 ? l->inner_expected[at + (size_t)r] / l->count[at + (size_t)r]
			                                  : 0);
		l->out->noise_count[particle->i_optics]++;
	}
}

static cyc_status divide_task(void *arg, int64_t p, int i_thread)
{
	(void)i_thread;
	const load *l = arg;
	const int32_t *shell = l->spec->coefficients->shell;
	size_t at = sum_index(l, &l->spec->stacks->particles->particles[l->first + p]);
	for (int32_t i = 0; i < l->out->n_images[p]; i++) {
		cyc_particle_image *image = &l->out->images[p][i];
		cyc_cfloat *data = (cyc_cfloat *)image->data;
		float *weight = (float *)image->weight;
		for (int32_t j = 0; j < image->n; j++) {
			double n = l->noise[at + (size_t)shell[j]];
			float factor = n > 0 ? (float)(1 / n) : 0;
			data[j] *= factor;
			weight[j] *= factor;
		}
	}
	return CYC_OK;
}

cyc_status cyc_volume_images_load(cyc_series_images **out, const cyc_volume_images_spec *spec,
                                  int32_t i_series)
{
	cyc_status st = CYC_OK;
	const cyc_stacks *stacks = spec->stacks;
	const cyc_particle_set *set = stacks->particles;
	load l = { .spec = spec,
		       .s = stacks->box_px,
		       .n_shells = stacks->box_px / 2 + 1,
		       .first = set->series_first[i_series] };
	int32_t n = (int32_t)(set->series_first[i_series + 1] - l.first);
	size_t n_sums = (size_t)set->n_optics * 2 * (size_t)l.n_shells, plane = cyc_half_count2(l.s);
	*out = NULL;
	CYC_CHECK(spec->coefficients->box_px == l.s, CYC_E_INTERNAL,
	          "the box of %d px does not fit volumes of %d px", spec->coefficients->box_px, l.s);
	CYC_TRY(cyc_volume_sections_create(&l.sections, spec->be,
	                                   &(cyc_volume_sections_spec){ .stacks = stacks,
	                                                                .radius_px = spec->particle_radius_px,
	                                                                .box_px = l.s }));
	CYC_TRY(cyc_alloc(&l.data, CYC_SECTIONS_AT_ONCE * plane, sizeof *l.data));
	CYC_TRY(cyc_alloc(&l.weight, CYC_SECTIONS_AT_ONCE * plane, sizeof *l.weight));
	CYC_TRY(cyc_alloc(&l.power, n_sums, sizeof *l.power));
	CYC_TRY(cyc_alloc(&l.expected, n_sums, sizeof *l.expected));
	CYC_TRY(cyc_alloc(&l.inner, n_sums, sizeof *l.inner));
	CYC_TRY(cyc_alloc(&l.inner_expected, n_sums, sizeof *l.inner_expected));
	CYC_TRY(cyc_alloc(&l.count, n_sums, sizeof *l.count));
	CYC_TRY(cyc_alloc(&l.noise, n_sums, sizeof *l.noise));
	CYC_TRY(cyc_series_images_create(&l.out, n, cyc_volume_sections_n(l.sections), set->n_optics, l.s));
	for (int32_t p = 0; p < n; p++) {
		CYC_TRY(cyc_cancel_check());
		CYC_TRY(load_particle(&l, p));
	}
	estimate_noise(&l);
	CYC_TRY(cyc_parallel_for(n, cyc_backend_n_threads(spec->be), divide_task, &l));
	*out = l.out;
	l.out = NULL;
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", stacks->tomograms->series[i_series].name);
	cyc_volume_sections_destroy(&l.sections);
	cyc_free(l.data);
	cyc_free(l.weight);
	cyc_free(l.power);
	cyc_free(l.expected);
	cyc_free(l.inner);
	cyc_free(l.inner_expected);
	cyc_free(l.count);
	cyc_free(l.noise);
	cyc_series_images_destroy(&l.out);
	return st;
}

double cyc_volume_images_bytes(double *most_of_series, const cyc_particle_set *set, int32_t n_series,
                               int32_t N, double radius_px)
{
	double all = 0, r = N / 2 - 1,
		   each = cyc_volume_section_count(N, radius_px) *
	              (sizeof(cyc_particle_image) +
	               0.5 * CYC_PI * cyc_square(r + 1) * (sizeof(cyc_cfloat) + sizeof(float)));
	*most_of_series = 0;
	for (int32_t i = 0; i < n_series; i++) {
		double bytes = each * (double)(set->series_first[i + 1] - set->series_first[i]);
		all += bytes;
		*most_of_series = fmax(*most_of_series, bytes);
	}
	return all;
}

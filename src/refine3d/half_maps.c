#include "refine3d/half_maps.h"

#include "cyclotomo/parts.h"
#include "map/half_map_fsc.h"
#include "map/shells.h"
#include "refine3d/group_maps.h"

#include <math.h>
#include <string.h>

static const int32_t LEAST_SHELL = 5; /* a reference always has these */
static const double RANDOMISE_AT_FSC = 0.8;
enum { N_DRAWS = 8 };

void cyc_half_maps_destroy(cyc_half_maps **p)
{
	cyc_half_maps *m = *p;
	if (!m) return;
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&m->half[h]);
	cyc_volume_destroy(&m->merged);
	cyc_free(m->fsc);
	cyc_free(m->fsc_unmasked);
	cyc_free(m);
	*p = NULL;
}

static cyc_status transform(cyc_cfloat **ft, const cyc_volume *v, const cyc_volume *mask, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fft3 *plan = NULL;
	cyc_volume *masked = NULL;
	CYC_TRY(cyc_fft3_create(&plan, v->nx, n_threads));
	CYC_TRY(cyc_alloc(ft, cyc_half_count3(v->nx), sizeof **ft));
	if (mask) {
		CYC_TRY(cyc_volume_copy(&masked, v));
		for (size_t i = 0; i < cyc_volume_count(v); i++) masked->data[i] *= mask->data[i];
	}
	CYC_TRY(cyc_fft3_forward(*ft, plan, masked ? masked->data : v->data));
done:
	cyc_volume_destroy(&masked);
	cyc_fft3_destroy(&plan);
	return st;
}

/* FSC of the unmasked maps, and of the masked maps corrected for the effect of the mask (T3.1 - T3.3). */
static cyc_status compare(cyc_half_maps *m, const cyc_half_maps_spec *spec)
{
	cyc_status st = CYC_OK;
	int32_t n = spec->crop_px, n_shells = n / 2 + 1;
	int n_threads = cyc_backend_n_threads(spec->be);
	cyc_cfloat *ft[2] = { NULL, NULL }, *masked[2] = { NULL, NULL };
	double *fsc_masked = NULL, *randomised = NULL;
	CYC_TRY(cyc_alloc(&m->fsc, n_shells, sizeof *m->fsc));
	CYC_TRY(cyc_alloc(&m->fsc_unmasked, n_shells, sizeof *m->fsc_unmasked));
	for (int h = 0; h < 2; h++) CYC_TRY(transform(&ft[h], m->half[h], NULL, n_threads));
	CYC_TRY(cyc__fsc_compute_threads(m->fsc_unmasked, ft[0], ft[1], n, n_threads));
	memcpy(m->fsc, m->fsc_unmasked, (size_t)n_shells * sizeof *m->fsc);
	int32_t from = cyc_fsc_randomise_from(m->fsc_unmasked, n_shells, RANDOMISE_AT_FSC);
	if (!spec->correct_fsc || from < 1) goto done;
	CYC_TRY(cyc_alloc(&fsc_masked, n_shells, sizeof *fsc_masked));
	CYC_TRY(cyc_alloc(&randomised, n_shells, sizeof *randomised));
	for (int h = 0; h < 2; h++) CYC_TRY(transform(&masked[h], m->half[h], spec->mask, n_threads));
	CYC_TRY(cyc__fsc_compute_threads(fsc_masked, masked[0], masked[1], n, n_threads));
	const cyc__random_fsc_input in = { .ft = { ft[0], ft[1] },
		                               .mask = spec->mask->data,
		                               .n = n,
		                               .randomise_from = from,
		                               .seed = spec->seed,
		                               .n_draws = N_DRAWS,
		                               .n_threads = n_threads };
	CYC_TRY(cyc__random_fsc(randomised, &in));
	cyc_fsc_correct(m->fsc, fsc_masked, randomised, n_shells, from);
done:
	/* Processors with other vector units differ in the last bits, but decisions must be the same on all
	 * ranks. */
	if (st == CYC_OK) st = cyc_ranks_broadcast(m->fsc, (size_t)n_shells * sizeof *m->fsc, 0);
	if (st == CYC_OK)
		st = cyc_ranks_broadcast(m->fsc_unmasked, (size_t)n_shells * sizeof *m->fsc_unmasked, 0);
	for (int h = 0; h < 2; h++) {
		cyc_free(ft[h]);
		cyc_free(masked[h]);
	}
	cyc_free(fsc_masked);
	cyc_free(randomised);
	return st;
}

cyc_status cyc_half_maps_take(cyc_half_maps **out, cyc_volume *half[2], bool is_one_map,
                              const cyc_half_maps_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_half_maps *m = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&m, 1, sizeof *m));
	for (int h = 0; h < 2; h++) {
		m->half[h] = half[h];
		half[h] = NULL;
	}
	CYC_TRY(compare(m, spec));
	for (int32_t i = 0; i <= spec->crop_px / 2 && is_one_map; i++) m->fsc[i] = m->fsc_unmasked[i] = 1;
	*out = m;
	m = NULL;
done:
	cyc_half_maps_destroy(&m);
	return st;
}

/* ---------------------------------------------------------------- reconstruction */

static cyc_status finish(cyc_volume **out, const cyc_half_sum *a, const cyc_half_sum *b,
                         const cyc_half_maps_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_volume *full = NULL;
	/* Stacks have grey values divided by the binning. */
	const cyc_finish_spec f = { .pixel_size_A = spec->box->pixel_size_A,
		                        .snr = -1,
		                        .grey_scale = spec->stacks ? spec->box->binning : 1 };
	CYC_TRY(cyc_finish_map(&full, NULL, NULL, spec->be, a, b, &f));
	CYC_TRY(cyc_volume_resize(out, full, spec->crop_px, cyc_backend_n_threads(spec->be)));
	CYC_TRY(cyc_taper_map(*out, spec->taper_px, cyc_backend_n_threads(spec->be)));
done:
	cyc_volume_destroy(&full);
	return st;
}

static cyc_status finish_all(cyc_half_maps *m, const cyc_half_sum *const half[2],
                             const cyc_half_maps_spec *spec, bool with_merged)
{
	cyc_status st = CYC_OK;
	cyc_volume **const maps[3] = { &m->half[0], &m->half[1], &m->merged };
	for (int i = 0; i < (with_merged ? 3 : 2); i++)
		if (cyc_ranks_maker(i) == cyc_rank())
			CYC_TRY(finish(maps[i], half[i == 1], i == 2 ? half[1] : NULL, spec));
	for (int i = 0; i < (with_merged ? 3 : 2); i++) {
		int32_t n = spec->crop_px;
		if (!*maps[i]) CYC_TRY(cyc_volume_create(maps[i], n, n, n, spec->box->pixel_size_A));
		CYC_TRY(cyc_ranks_pass_on((*maps[i])->data, cyc_volume_count(*maps[i]) * sizeof(float), i));
	}
done:
	return st;
}

void cyc_half_maps_options(cyc_accumulator_options *o, cyc_box *box, const cyc_half_maps_spec *spec)
{
	*box = *spec->box;
	*o = (cyc_accumulator_options){ .crop_px = spec->crop_px, .cutoff_frac = spec->cutoff_frac };
	o->crop_images = !spec->stacks && !spec->whole_windows && spec->crop_px >= 12 &&
	                 spec->crop_px < box->window.box_binned;
	if (o->crop_images) cyc_accumulator_box(box, o);
}

cyc_status cyc_half_maps_insert(cyc_tomogram_set *tomograms, const cyc_particle_set *set, const char *root,
                                const cyc_half_maps_spec *spec, const cyc_accumulator_sums *sums)
{
	cyc_status st = CYC_OK;
	cyc_accumulator *a = NULL;
	int64_t n_images = 0, n_outside = 0;
	int32_t *owner = NULL;
	cyc_tilt_range *own = NULL;
	cyc_accumulator_options o;
	cyc_box box = *spec->box;
	cyc_half_maps_options(&o, &box, spec);
	CYC_TRY(cyc_accumulator_create(&a, spec->be, &box, &o, sums));
	CYC_TRY(cyc_accumulator_measure(a, tomograms, set, spec->stacks, root));
	CYC_TRY(cyc_project_deal(&owner, tomograms, set, NULL));
	CYC_TRY(cyc_project_deal_tilts(&own, tomograms, set, NULL));
	/* Images of an extraction are stored by particle. */
	if (!spec->stacks) cyc_accumulator_set_tilts(a, own);
	for (int32_t i = 0; i < tomograms->n_series; i++)
		if (!spec->stacks || owner[i] == cyc_rank())
			CYC_TRY(cyc_accumulator_add(a, &n_images, &n_outside, tomograms, set, spec->stacks, i, root));
	CYC_TRY(cyc_sums_add_ranks(sums->sums));
	if (sums->rest) CYC_TRY(cyc_sums_add_ranks(sums->rest));
done:
	cyc_free(owner);
	cyc_free(own);
	cyc_accumulator_destroy(&a);
	return st;
}

cyc_status cyc_half_maps_reconstruct(cyc_half_maps **out, cyc_tomogram_set *tomograms,
                                     const cyc_particle_set *set, const char *root,
                                     const cyc_half_maps_spec *spec, bool with_merged)
{
	cyc_status st = CYC_OK;
	cyc_half_maps *m = NULL;
	cyc_sums *sums = NULL;
	cyc_half_sum *half[2] = { NULL, NULL };
	cyc_fourier_op *ops = NULL;
	int32_t n_ops = 0, s = spec->box->window.box_binned;
	*out = NULL;
	CYC_TRY(cyc_alloc(&m, 1, sizeof *m));
	CYC_TRY(cyc_sums_create(&sums, spec->be, s, s / 2, -1, 2));
	CYC_TRY(cyc_half_maps_insert(
		tomograms, set, root, spec,
		&(cyc_accumulator_sums){ .sums = sums, .most_particles = cyc_particle_set_most(set) }));
	CYC_TRY(cyc_fourier_ops(&ops, &n_ops, spec->symmetry, 1, 0, 0, spec->box->pixel_size_A));
	CYC_TRY(cyc_sums_to_halves(half, sums, ops, n_ops));
	cyc_sums_destroy(&sums);
	CYC_TRY(finish_all(m, (const cyc_half_sum *const *)half, spec, with_merged));
	for (int h = 0; h < 2; h++) cyc_half_sum_destroy(&half[h]);
	CYC_TRY(compare(m, spec));
	*out = m;
	m = NULL;
done:
	cyc_sums_destroy(&sums);
	for (int h = 0; h < 2; h++) cyc_half_sum_destroy(&half[h]);
	cyc_free(ops);
	cyc_half_maps_destroy(&m);
	return st;
}

cyc_status cyc_half_maps_reconstruct_groups(cyc_half_maps **out, cyc_group_maps *groups,
                                            cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                                            const char *root, const cyc_half_maps_spec *spec,
                                            const cyc_half_maps *curves, bool with_merged)
{
	cyc_status st = CYC_OK;
	cyc_half_maps *m = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&m, 1, sizeof *m));
	CYC_TRY(cyc_group_maps_insert(groups, tomograms, set, root));
	const cyc_half_sum *const half[2] = { cyc_group_maps_full(groups, 0), cyc_group_maps_full(groups, 1) };
	CYC_TRY(finish_all(m, half, spec, with_merged));
	cyc_group_maps_drop_full(groups);
	if (!curves) {
		CYC_TRY(compare(m, spec));
	} else {
		size_t n_shells = (size_t)spec->crop_px / 2 + 1;
		CYC_TRY(cyc_alloc(&m->fsc, n_shells, sizeof *m->fsc));
		CYC_TRY(cyc_alloc(&m->fsc_unmasked, n_shells, sizeof *m->fsc_unmasked));
		memcpy(m->fsc, curves->fsc, n_shells * sizeof *m->fsc);
		memcpy(m->fsc_unmasked, curves->fsc_unmasked, n_shells * sizeof *m->fsc_unmasked);
	}
	*out = m;
	m = NULL;
done:
	cyc_half_maps_destroy(&m);
	return st;
}

/* ---------------------------------------------------------------- references */

cyc_status cyc_half_maps_wiener(double **weight, const double *fsc, double lowpass_A, double share,
                                const cyc_half_maps_spec *spec)
{
	cyc_status st = CYC_OK;
	int32_t n = spec->crop_px;
	CYC_TRY(cyc_alloc(weight, n / 2 + 1, sizeof **weight));
	for (int32_t i = 0; i <= n / 2; i++) {
		double f = fmin(fmax(fsc[i], 0), 0.999), ratio = spec->tau2_fudge * share * f / (1 - f),
			   *w = &(*weight)[i];
		*w = i <= LEAST_SHELL ? fmax(ratio / (1 + ratio), 0.15) : ratio / (1 + ratio);
		if (lowpass_A > 0) *w *= cyc_lowpass_weight(i, n, spec->box->pixel_size_A, lowpass_A);
	}
done:
	return st;
}

double cyc_lowpass_weight(double r, int32_t box_px, double pixel_size_A, double resolution_A)
{
	double from_edge = r - box_px * pixel_size_A / resolution_A;
	return from_edge <= -1 ? 1 : from_edge >= 1 ? 0 : 0.5 - 0.5 * sin(0.5 * CYC_PI * from_edge);
}

cyc_status cyc_volume_filter(cyc_volume *v, const double *weight, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fft3 *plan = NULL;
	cyc_cfloat *ft = NULL;
	double *table = NULL;
	int32_t n = v->nx;
	CYC_TRY(cyc_alloc(&table, cyc__n_radial(n), sizeof *table));
	for (size_t r2 = 0; r2 < cyc__n_radial(n); r2++) {
		int32_t shell = cyc__shell((int64_t)r2);
		table[r2] = shell <= n / 2 ? weight[shell] : 0;
	}
	CYC_TRY(cyc_fft3_create(&plan, n, n_threads));
	CYC_TRY(cyc_alloc(&ft, cyc_half_count3(n), sizeof *ft));
	CYC_TRY(cyc_fft3_forward(ft, plan, v->data));
	CYC_TRY(cyc__filter_apply(ft, n, table, 1, n_threads));
	CYC_TRY(cyc_fft3_inverse(v->data, plan, ft));
done:
	cyc_free(ft);
	cyc_free(table);
	cyc_fft3_destroy(&plan);
	return st;
}

typedef struct {
	cyc_cfloat *ft[2];
	int32_t n, join_shell;
} join_work;

static cyc_status join_task(void *arg, int64_t z, int i_thread)
{
	const join_work *w = arg;
	(void)i_thread;
	int64_t n = w->n, nh = n / 2 + 1, fz = cyc__frequency(z, w->n);
	for (int64_t y = 0; y < n; y++) {
		int64_t fy = cyc__frequency(y, w->n);
		for (int64_t x = 0; x < nh && cyc__shell(fz * fz + fy * fy + x * x) <= w->join_shell; x++) {
			size_t i = (size_t)((z * n + y) * nh + x);
			w->ft[0][i] = w->ft[1][i] = 0.5F * (w->ft[0][i] + w->ft[1][i]);
		}
	}
	return CYC_OK;
}

/* Average the halves up to a shell. */
static cyc_status join(cyc_volume *half[2], int32_t join_shell, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fft3 *plan = NULL;
	join_work w = { .n = half[0]->nx, .join_shell = join_shell };
	CYC_TRY(cyc_fft3_create(&plan, w.n, n_threads));
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc_alloc(&w.ft[h], cyc_half_count3(w.n), sizeof *w.ft[h]));
		CYC_TRY(cyc_fft3_forward(w.ft[h], plan, half[h]->data));
	}
	CYC_TRY(cyc_parallel_for(w.n, n_threads, join_task, &w));
	for (int h = 0; h < 2; h++) CYC_TRY(cyc_fft3_inverse(half[h]->data, plan, w.ft[h]));
done:
	for (int h = 0; h < 2; h++) cyc_free(w.ft[h]);
	cyc_fft3_destroy(&plan);
	return st;
}

cyc_status cyc_half_maps_reference(cyc_reference **out, cyc_volume *filtered[2], const cyc_half_maps *maps,
                                   double lowpass_A, double grey_scale, const cyc_half_maps_spec *spec)
{
	cyc_status st = CYC_OK;
	int32_t n = spec->crop_px, n_shells = n / 2 + 1;
	double a = spec->box->pixel_size_A, *weight = NULL;
	int n_threads = cyc_backend_n_threads(spec->be);
	cyc_volume *half[2] = { NULL, NULL };
	CYC_TRY(cyc_half_maps_wiener(&weight, maps->fsc, lowpass_A, 1, spec));
	for (int h = 0; h < 2; h++) CYC_TRY(cyc_volume_copy(&half[h], maps->half[h]));
	if (spec->join_A > 0) CYC_TRY(join(half, (int32_t)fmin(n * a / spec->join_A + 0.5, 2 * n), n_threads));
	for (int h = 0; h < 2; h++)
		for (size_t i = 0; i < cyc_volume_count(half[h]); i++) half[h]->data[i] *= spec->mask->data[i];
	for (int h = 0; h < 2 && filtered; h++) {
		CYC_TRY(cyc_volume_copy(&filtered[h], half[h]));
		CYC_TRY(cyc_volume_filter(filtered[h], weight, n_threads));
	}
	const cyc_reference_spec r = { .fsc = weight,
		                           .n_fsc = n_shells,
		                           .fsc_box = n,
		                           .box_px = n,
		                           .pixel_size_A = a,
		                           .grey_scale = grey_scale,
		                           .map_diameter_px = spec->mask_diameter_px,
		                           .no_grids = spec->no_grids };
	CYC_TRY(cyc_reference_from_maps(out, spec->be, half, &r));
done:
	cyc_free(weight);
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&half[h]);
	return st;
}

/* ---------------------------------------------------------------- resampling */

/* Coefficients that both boxes have; the Nyquist planes are left out. */
static void copy_coefficients(cyc_cfloat *to, int32_t n_to, const cyc_cfloat *from, int32_t n_from)
{
	int32_t last = (n_to < n_from ? n_to : n_from) / 2 - 1;
	double ratio = (double)n_to / n_from;
	float scale = (float)(ratio * ratio * ratio);
	for (int32_t z = -last; z <= last; z++)
		for (int32_t y = -last; y <= last; y++)
			for (int32_t x = 0; x <= last; x++) {
				size_t i = ((size_t)(z < 0 ? z + n_to : z) * (size_t)n_to + (size_t)(y < 0 ? y + n_to : y)) *
				               (size_t)(n_to / 2 + 1) +
				           (size_t)x;
				size_t j =
					((size_t)(z < 0 ? z + n_from : z) * (size_t)n_from + (size_t)(y < 0 ? y + n_from : y)) *
						(size_t)(n_from / 2 + 1) +
					(size_t)x;
				/* Voxel n/2 stays the centre: (-1)^(x+y+z) is the same in both. */
				to[i] = scale * from[j];
			}
}

cyc_status cyc_volume_resample(cyc_volume **out, const cyc_volume *v, double pixel_size_A, int32_t box_px,
                               int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_fft3 *forward = NULL, *inverse = NULL;
	cyc_cfloat *from = NULL, *to = NULL;
	cyc_volume *fine = NULL;
	int32_t n = v->nx, m = 2 * (int32_t)floor(0.5 * n * v->pixel_size_A / pixel_size_A + 0.5);
	*out = NULL;
	if (fabs(v->pixel_size_A / pixel_size_A - 1) < 1e-3) return cyc_volume_resize(out, v, box_px, n_threads);
	CYC_CHECK(m >= 8, CYC_E_SHAPE, "a map of %d px of %.4g Å cannot have pixels of %.4g Å", n,
	          v->pixel_size_A, pixel_size_A);
	CYC_TRY(cyc_fft3_create(&forward, n, n_threads));
	CYC_TRY(cyc_fft3_create(&inverse, m, n_threads));
	CYC_TRY(cyc_alloc(&from, cyc_half_count3(n), sizeof *from));
	CYC_TRY(cyc_alloc(&to, cyc_half_count3(m), sizeof *to));
	CYC_TRY(cyc_volume_create(&fine, m, m, m, n * v->pixel_size_A / m));
	CYC_TRY(cyc_fft3_forward(from, forward, v->data));
	copy_coefficients(to, m, from, n);
	CYC_TRY(cyc_fft3_inverse(fine->data, inverse, to));
	CYC_TRY(cyc_volume_resize(out, fine, box_px, n_threads));
done:
	cyc_free(from);
	cyc_free(to);
	cyc_fft3_destroy(&forward);
	cyc_fft3_destroy(&inverse);
	cyc_volume_destroy(&fine);
	return st;
}

/* Compares all particles with the references: one tilt series after the other, its particles divided among
 * threads. */
#include "images/tilt_image.h"
#include "refine3d/refine3d_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STARTS_GLOBAL = CYC_MAX_STARTS, PRIOR_ROUNDS = 50 };
static const double ANY_ROTATION_RAD = 1e6; /* width of a prior that says nothing */
static const double LEAST_WIDTH = 0.1;      /* of a prior, in typical errors: narrower ones change nothing */
static const double LEAST_SIGMA_OFFSET_A = 1.4142; /* RELION's */
/* Of the prior's width before the first iteration, in steps of the finest grid. */
static const double LEAST_START_STEPS = 0.25;

/*
 * Counts and noise of series. What an image adds is known to the rank that reads it; all ranks then add the
 * series in their order. A row: images in all, images outside, then for each optics group its images and its
 * noise per shell.
 */
static size_t count_row(const cyc_refine3d_job *j)
{
	return 2 + (size_t)j->particles->n_optics * (size_t)(j->crop_px / 2 + 2);
}

static cyc_status keep_counts(cyc_refine3d_job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	int32_t n_optics = j->particles->n_optics, n_shells = j->crop_px / 2 + 1;
	const cyc_series_images *s = j->images[i];
	if (j->is_counted[i] || j->counts[i]) return CYC_OK;
	CYC_TRY(cyc_alloc(&j->counts[i], count_row(j), sizeof *j->counts[i]));
	double *to = j->counts[i];
	*to++ = (double)s->n_total;
	*to++ = (double)s->n_outside;
	for (int32_t g = 0; g < n_optics; g++) *to++ = (double)s->noise_count[g];
	memcpy(to, s->noise_sum, (size_t)n_optics * (size_t)n_shells * sizeof *to);
done:
	return st;
}

static cyc_status add_counts(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	int32_t n_optics = j->particles->n_optics, n_shells = j->crop_px / 2 + 1;
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		if (j->is_counted[i] || cyc_refine_n_particles(&j->in, i) == 0) continue;
		if (!j->counts[i]) CYC_TRY(cyc_alloc(&j->counts[i], count_row(j), sizeof *j->counts[i]));
		CYC_TRY(cyc_ranks_broadcast(j->counts[i], count_row(j) * sizeof *j->counts[i], j->owner[i]));
		const double *from = j->counts[i];
		j->state.n_images += (int64_t)*from++;
		j->state.n_outside += (int64_t)*from++;
		for (int32_t g = 0; g < n_optics; g++) j->noise_count[g] += (int64_t)*from++;
		for (int32_t k = 0; k < n_optics * n_shells; k++) j->noise_sum[k] += *from++;
		cyc_free(j->counts[i]);
		j->counts[i] = NULL;
		j->is_counted[i] = true;
	}
done:
	return st;
}

cyc_status cyc_refine3d_load_series(cyc_refine3d_job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	if (j->images[i]) return CYC_OK;
	if (cyc_refine3d_has_volumes(j)) CYC_TRY(cyc_volume_images_load(&j->images[i], &j->volumes, i));
	else if (j->stacks) CYC_TRY(cyc_stack_source_load(&j->images[i], j->stack_source, i));
	else {
		const cyc_tilt_series *next = cyc_tilt_series_after(j->in.tomograms, j->particles, NULL, i);
		bool is_loaded = next && j->images[next - j->in.tomograms->series];
		cyc_tilt_source_expect(j->source, is_loaded ? NULL : next);
		CYC_TRY(cyc_tilt_source_load(&j->images[i], j->source, &j->in.tomograms->series[i], j->particles, i,
		                             j->in.root));
	}
	CYC_TRY(keep_counts(j, i));
done:
	return st;
}

void cyc_refine3d_release_series(cyc_refine3d_job *j, int32_t i)
{
	if (!j->memory.keeps_images) cyc_series_images_destroy(&j->images[i]);
}

static int32_t series_count(const cyc_refine3d_job *j, int32_t i)
{
	return (int32_t)cyc_refine_n_particles(&j->in, i);
}
static int64_t series_first(const cyc_refine3d_job *j, int32_t i) { return j->particles->series_first[i]; }

/* What is done with the particles of a series; those outside the block are skipped. */
typedef cyc_status (*visitor)(void *arg, int32_t i_series);

/*
 * Visit all particles of this rank: by blocks of references, and within a block by tilt series. The caller
 * passes the results on to the other ranks (share()). `what`: title of the progress bar, or NULL.
 */
static cyc_status for_all_series(cyc_refine3d_job *j, visitor visit, void *arg, const char *what)
{
	cyc_status st = CYC_OK;
	int64_t n_all = 0;
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++)
		if (j->owner[i] == cyc_rank()) n_all += series_count(j, i);
	for (int32_t block = 0; block < cyc_refine3d_n_blocks(j); block++) {
		int64_t n_done = 0;
		CYC_TRY(cyc_refine3d_open_block(j, block));
		for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
			int32_t n = series_count(j, i);
			if (n == 0 || j->owner[i] != cyc_rank()) continue;
			CYC_TRY(cyc_refine3d_load_series(j, i));
			CYC_TRY(visit(arg, i));
			cyc_refine3d_release_series(j, i);
			n_done += n;
			if (what && block == 0) cyc_progress(what, n_done, n_all);
		}
		CYC_TRY(cyc_refine3d_close_block(j));
	}
	CYC_TRY(add_counts(j));
done:
	return st;
}

/* Pass results, `size` bytes per particle, from the ranks that found them to all others. */
static cyc_status share(const cyc_refine3d_job *j, void *items, size_t size)
{
	return cyc_ranks_share(items, size, j->particles->series_first, j->owner, j->in.tomograms->n_series);
}

/* ---------------------------------------------------------------- amplitudes */

typedef struct {
	const cyc_refine3d_job *j;
	int32_t i_series;
	cyc_pose_work **work;
	double *own; /* per particle of the set */
} amplitude_work;

static cyc_status amplitude_task(void *arg, int64_t i, int i_thread)
{
	const amplitude_work *a = arg;
	const cyc_refine3d_job *j = a->j;
	int64_t p = series_first(j, a->i_series) + i;
	const cyc_series_images *s = j->images[a->i_series];
	if (!cyc_refine3d_is_in_block(j, p)) return CYC_OK;
	const cyc_pose_data data = { j->list, s->images[i], s->n_images[i], NULL };
	const cyc_pose_reference r = cyc_refine3d_reference_of(j, p, false);
	int64_t n_shells = j->crop_px / 2 + 1;
	memset(j->shells + p * n_shells, 0, (size_t)n_shells * sizeof *j->shells);
	cyc_pose_amplitudes(j->shells + p * n_shells, &a->own[p], a->work[i_thread], &data, &r,
	                    &j->refined[p].pose, j->reference->radius);
	return CYC_OK;
}

static cyc_status amplitudes_of_series(void *arg, int32_t i_series)
{
	cyc_status st = CYC_OK;
	amplitude_work *a = arg;
	a->i_series = i_series;
	CYC_TRY(cyc_pose_store_open_maps(a->j->store));
	CYC_TRY(cyc_parallel_for(series_count(a->j, i_series), a->j->o->n_threads, amplitude_task, a));
	CYC_TRY(cyc_pose_store_close_maps(a->j->store));
done:
	return st;
}

void cyc_refine3d_fit_scales(double amplitude[2], double *series_scale, const double *sums, int32_t n_series,
                             const cyc_refine3d_options *o)
{
	for (int32_t h = 0; h < 2; h++) {
		double all[3] = { 0, 0, 0 }, mean = 0, count = 0;
		for (int32_t i = 0; i < n_series; i++)
			for (int k = 0; k < 3; k++) all[k] += sums[(2 * i + h) * 3 + k];
		/* Noise gives the sum of Re[D V*] the variance W |V|^2 / 2. If nothing agrees with the reference,
		 * its standard deviation is taken as the amplitude. */
		if (!o->absolute_grey_scale && all[2] > 0)
			amplitude[h] = fmax(all[0], sqrt(0.5 * all[2])) / (all[1] + all[2]);
		for (int32_t i = 0; i < n_series; i++) {
			const double *s = sums + (2 * i + h) * 3;
			double scale = s[1] + s[2] > 0 ? s[0] / (s[1] + s[2]) / amplitude[h] : 1;
			series_scale[2 * i + h] = o->no_scale ? 1 : fmin(fmax(scale, 0.2), 5);
			if (s[2] <= 0) continue;
			mean += series_scale[2 * i + h] * s[2];
			count += s[2];
		}
		for (int32_t i = 0; i < n_series && !o->no_scale && mean > 0; i++)
			series_scale[2 * i + h] *= count / mean;
	}
}

cyc_status cyc_refine3d_amplitudes(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	amplitude_work a = { .j = j };
	int n_threads = cyc_refine3d_n_workers(j);
	int32_t n_series = j->in.tomograms->n_series;
	int64_t n_shells = j->crop_px / 2 + 1;
	double *series_sums = NULL;
	CYC_TRY(cyc_alloc(&series_sums, 6 * (size_t)n_series, sizeof *series_sums));
	CYC_TRY(cyc_alloc(&a.own, j->particles->n, sizeof *a.own));
	CYC_TRY(cyc_alloc(&a.work, n_threads, sizeof *a.work));
	for (int t = 0; t < n_threads; t++) CYC_TRY(cyc_pose_work_create(&a.work[t], j->list));
	CYC_TRY(for_all_series(j, amplitudes_of_series, &a, NULL));
	CYC_TRY(share(j, a.own, sizeof *a.own));
	CYC_TRY(share(j, j->shells, (size_t)n_shells * sizeof *j->shells));
	for (int64_t p = 0; p < j->particles->n; p++) {
		const cyc_particle *particle = &j->particles->particles[p];
		double *to = series_sums + (2 * particle->i_series + particle->half) * 3,
			   weight = cyc_refine3d_weight(j, p);
		to[1] += weight * a.own[p];
		for (int64_t r = 0; r < n_shells; r++) {
			to[0] += weight * (double)j->shells[p * n_shells + r][0];
			to[2] += weight * (double)j->shells[p * n_shells + r][1];
		}
	}
	cyc_refine3d_fit_scales(j->state.amplitude, j->series_scale, series_sums, n_series, j->o);
done:
	for (int t = 0; a.work && t < n_threads; t++) cyc_pose_work_destroy(&a.work[t]);
	cyc_free(a.work);
	cyc_free(a.own);
	cyc_free(series_sums);
	return st;
}

/* ---------------------------------------------------------------- poses */

/* A unit of the search: some particles of a series, whose images are evaluated together. */
typedef struct {
	cyc_refine3d_job *j;
	const cyc_search_spec *spec;
	cyc_search_work *work;
	cyc_found_pose *found;          /* n particles of the set */
	const bool *which;              /* n flags: particles to search for; NULL: all */
	cyc_pose_work **models;         /* of each thread */
	cyc_pose_agreement *shells;     /* the same */
	cyc_search_particle *particles; /* n_most */
	int64_t *numbers;               /* theirs in the set */
	int32_t n, n_most, i_series;
	double bytes; /* of their images */
	cyc_pose_reference *others;
	cyc_pose_query *queries;
	cyc_pose_derivatives *answers;
} pose_work;

static void add_particle(pose_work *a, int32_t i_series, int64_t p)
{
	cyc_refine3d_job *j = a->j;
	const cyc_particle *particle = &j->particles->particles[p];
	const cyc_series_images *s = j->images[i_series];
	int64_t i = p - series_first(j, i_series);
	const cyc_refined *refined = &j->refined[p];
	cyc_vec3 c = refined->cut.offset_A;
	/* Followed poses: about the start of the run. Sampled ones as in RELION: about the old rotation and the
	 * coordinates. */
	const cyc_pose_start start = {
		.old = refined->pose,
		.prior = { a->spec->do_follow ? refined->prior.R_tomo_ref : refined->pose.R_tomo_ref,
		           a->spec->do_follow ? refined->prior.offset_A : (cyc_vec3){ -c.x, -c.y, -c.z } },
		.R_tomo_part = particle->R_tomo_part,
		.half = particle->half,
		.n_terms = cyc_refine3d_n_views(j, i_series),
		.terms = a->spec->do_follow ? cyc_refine3d_terms_of(j, p) : NULL
	};
	a->particles[a->n] = (cyc_search_particle){ .data = { j->list, s->images[i], s->n_images[i], NULL },
		                                        .reference = cyc_refine3d_reference_of(j, p, true),
		                                        .start = start,
		                                        .found = &a->found[p] };
	a->bytes += cyc_pose_store_image_bytes(&a->particles[a->n].data);
	a->numbers[a->n++] = p;
}

/* Evaluate the poses found with the map of the other half-set. */
static cyc_status note_map_steps(pose_work *a)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_job *j = a->j;
	int32_t n = 0;
	for (int32_t i = 0; i < a->n; i++) {
		cyc_search_particle *particle = &a->particles[i];
		for (int k = 0; k < CYC_POSE_PARAMETERS; k++) particle->found->map_step[k] = CYC_NAN;
		if (!cyc_refine3d_wants_map_step(particle->found, j, a->numbers[i], a->spec)) continue;
		a->others[i] = cyc_refine3d_other_reference_of(j, a->numbers[i]);
		a->queries[n++] = (cyc_pose_query){ .particle = i,
			                                .data = &particle->data,
			                                .reference = &a->others[i],
			                                .pose = particle->found->pose,
			                                .radius = a->spec->radius,
			                                .out = &a->answers[i] };
	}
	CYC_TRY(cyc_pose_ask(j->store, a->queries, n));
	for (int32_t k = 0; k < n; k++) {
		int32_t i = a->queries[k].particle;
		cyc_refine3d_note_map_step(a->particles[i].found, cyc_search_work_at(a->work, i), &a->answers[i],
		                           a->particles[i].start.half, a->spec);
	}
done:
	return st;
}

static cyc_status search_unit(pose_work *a)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_pose_search(a->work, a->particles, a->n));
	CYC_TRY(note_map_steps(a));
	a->n = 0;
	a->bytes = 0;
done:
	return st;
}

static bool is_wanted(const pose_work *a, int64_t p)
{
	return cyc_refine3d_is_in_block(a->j, p) && (!a->which || a->which[p]);
}

static cyc_status agreement_task(void *arg, int64_t i, int i_thread)
{
	const pose_work *a = arg;
	const cyc_refine3d_job *j = a->j;
	int64_t p = series_first(j, a->i_series) + i;
	const cyc_series_images *s = j->images[a->i_series];
	const cyc_pose_data data = { j->list, s->images[i], s->n_images[i], NULL };
	if (!is_wanted(a, p)) return CYC_OK;
	const cyc_pose_reference r = cyc_refine3d_reference_of(j, p, true);
	cyc_refine3d_note_agreement(&a->found[p], j, a->shells + (size_t)i_thread * (size_t)(j->crop_px / 2 + 1),
	                            a->models[i_thread], &data, &r);
	return CYC_OK;
}

static cyc_status search_series(void *arg, int32_t i_series)
{
	cyc_status st = CYC_OK;
	pose_work *a = arg;
	const cyc_refine3d_job *j = a->j;
	const cyc_series_images *s = j->images[i_series];
	int64_t first = series_first(j, i_series), n = series_count(j, i_series);
	for (int64_t i = 0; i < n; i++) {
		const cyc_pose_data data = { j->list, s->images[i], s->n_images[i], NULL };
		if (!is_wanted(a, first + i)) continue;
		if (a->n == a->n_most || (a->n > 0 && a->bytes + cyc_pose_store_image_bytes(&data) > CYC_UNIT_BYTES))
			CYC_TRY(search_unit(a));
		add_particle(a, i_series, first + i);
	}
	if (a->n > 0) CYC_TRY(search_unit(a));
	if (!cyc_refine3d_judges(j)) goto done;
	a->i_series = i_series;
	CYC_TRY(cyc_pose_store_open_maps(j->store));
	CYC_TRY(cyc_parallel_for(n, j->o->n_threads, agreement_task, a));
	CYC_TRY(cyc_pose_store_close_maps(j->store));
done:
	if (st != CYC_OK) cyc_error_context("tilt series %s", j->in.tomograms->series[i_series].name);
	return st;
}

static double norm(const double v[3]) { return sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]); }

/* A deviation from the start, its standard error by the curvature under the old width, and what that is
 * multiplied by (T8.17). */
typedef struct {
	double x, error, factor;
} deviation;

/*
 * Width of normal deviations from the start: the width that makes them most likely, by expectation
 * maximisation. Not narrower than `least`. With J the information of the images by the curvature, and
 * J/factor^2 what it is by their scatter.      (T8.13)
 */
static double learn_width(const deviation *d, int64_t n, double old, double least)
{
	double width = old;
	for (int round = 0; round < PRIOR_ROUNDS; round++) {
		double sum = 0, count = 0;
		for (int64_t i = 0; i < n; i++) {
			double all = 1 / cyc_square(d[i].error),
				   images = (all - 1 / cyc_square(old)) / cyc_square(d[i].factor);
			if (!(images > 0)) continue; /* it carries no information about the width */
			double now = images + 1 / cyc_square(width), mean = all * d[i].x / cyc_square(d[i].factor) / now;
			sum += mean * mean + 1 / now;
			count++;
		}
		if (count > 0) width = fmax(sqrt(sum / count), least);
	}
	return width;
}

/* Rotation vector and offset of a pose from the start of the run; of symmetry mates the nearest. */
static void from_start(double change[CYC_POSE_PARAMETERS], const cyc_refined *r, const cyc_symmetry *symmetry)
{
	int32_t mate = 0;
	(void)cyc_rotation_distance_rad(r->prior.R_tomo_ref, r->pose.R_tomo_ref, symmetry, &mate);
	cyc_mat3 R = cyc_mat3_mul(r->pose.R_tomo_ref, symmetry->ops[mate]);
	cyc_rotation_vector(change, cyc_mat3_mul(cyc_mat3_transpose(r->prior.R_tomo_ref), R));
	change[3] = r->pose.offset_A.x - r->prior.offset_A.x;
	change[4] = r->pose.offset_A.y - r->prior.offset_A.y;
	change[5] = r->pose.offset_A.z - r->prior.offset_A.z;
}

/* kind 0: rotations, 1: offsets; from `first` on. */
cyc_status cyc_refine3d_learn_priors(cyc_refine3d_job *j, int first)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_state *s = &j->state;
	int64_t n = j->particles->n;
	deviation *d = NULL;
	CYC_TRY(cyc_alloc(&d, 3 * (size_t)n, sizeof *d));
	for (int32_t h = 0; h < 2; h++)
		for (int kind = first; kind < 2; kind++) {
			int64_t m = 0;
			for (int64_t p = 0; p < n; p++) {
				const cyc_refined *r = &j->refined[p];
				double change[CYC_POSE_PARAMETERS];
				if (j->particles->particles[p].half != h || !(r->error[0] > 0) ||
				    r->probability < CYC_IMPROBABLE)
					continue;
				from_start(change, r, j->symmetry);
				for (int k = 3 * kind; k < 3 * kind + 3; k++, m++) {
					double factor = s->error_factor[h][kind ? k - 2 : 0];
					d[m] = (deviation){ change[k], r->error[k] / factor, factor };
				}
			}
			double *width = kind ? &s->sigma_offset_A[h] : &s->sigma_angle_rad[h];
			/* The centre is a pose that these images had no part in, so it may be better than they are: 20
			 * particles cannot improve on a good start. Offsets have outliers, which a narrow normal prior
			 * would hold back; RELION's floor is kept. */
			double typical = 0, old = *width;
			for (int64_t i = 0; i < m; i++) typical += 1 / (d[i].error * d[i].factor);
			if (m > 0)
				*width = learn_width(
					d, m, old,
					fmax(fmin(LEAST_WIDTH * (double)m / typical, old), kind ? LEAST_SIGMA_OFFSET_A : 0));
		}
done:
	cyc_free(d);
	return st;
}

void cyc_refine3d_start_priors(cyc_refine3d_job *j)
{
	cyc_refine3d_state *s = &j->state;
	const double least[2] = { LEAST_START_STEPS *
		                          cyc_healpix_step_rad(j->o->healpix_order + j->o->oversampling),
		                      LEAST_SIGMA_OFFSET_A };
	for (int32_t h = 0; h < 2; h++) {
		double sum[2] = { 0, 0 }, count = 0;
		for (int64_t p = 0; p < j->particles->n; p++) {
			const cyc_refined *r = &j->refined[p];
			double change[CYC_POSE_PARAMETERS];
			if (j->particles->particles[p].half != h || r->probability < CYC_IMPROBABLE) continue;
			from_start(change, r, j->symmetry);
			for (int k = 0; k < CYC_POSE_PARAMETERS; k++) sum[k >= 3] += cyc_square(change[k]);
			count += 3;
		}
		for (int kind = 0; kind < 2 && count > 0; kind++) {
			double *width = kind ? &s->sigma_offset_A[h] : &s->sigma_angle_rad[h];
			*width = fmin(*width, fmax(sqrt(sum[kind] / count), least[kind]));
		}
	}
}

static void take_pose(cyc_refined *r, const cyc_found_pose *f)
{
	r->pose = f->pose;
	r->log_likelihood = f->log_likelihood;
	r->p_max = f->p_max;
	r->n_significant = f->n_significant;
	memcpy(r->error, f->error, sizeof r->error);
	memcpy(r->agreement, f->agreement, sizeof r->agreement);
	r->amplitude = f->amplitude;
}

/* Changes, errors and averages of the iteration; takes the new poses. */
static cyc_status take_poses(cyc_refine3d_job *j, const cyc_found_pose *found, const cyc_search_spec *spec,
                             bool is_global)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_state *s = &j->state;
	bool is_followed = spec->do_follow;
	int64_t n = j->particles->n, n_seen = 0;
	double *rotation = NULL, *offset = NULL, moved2 = 0, whole2[2] = { 0, 0 }, n_half[2] = { 0, 0 };
	for (int64_t p = 0; p < n; p++) {
		memcpy(j->refined[p].agreement, found[p].agreement, sizeof found[p].agreement);
		j->refined[p].amplitude = found[p].amplitude;
	}
	CYC_TRY(cyc_refine3d_judge(j));
	CYC_TRY(cyc_alloc(&rotation, n, sizeof *rotation));
	CYC_TRY(cyc_alloc(&offset, n, sizeof *offset));
	s->change_rotation_rad = s->change_offset_A = s->average_p_max = s->average_significant = 0;
	s->log_likelihood[0] = s->log_likelihood[1] = 0;
	for (int64_t p = 0; p < n; p++) {
		cyc_refined *r = &j->refined[p];
		const cyc_found_pose *f = &found[p];
		int32_t h = j->particles->particles[p].half;
		if (f->p_max <= 0) continue;
		/* Objects that are not the particle say nothing about how far particles move or how well their
		 * poses are known. */
		if (r->probability < CYC_IMPROBABLE) {
			take_pose(r, f);
			continue;
		}
		s->change_rotation_rad +=
			cyc_rotation_distance_rad(r->pose.R_tomo_ref, f->pose.R_tomo_ref, j->symmetry, NULL);
		moved2 += cyc_vec3_norm2((cyc_vec3){ f->pose.offset_A.x - r->pose.offset_A.x,
		                                     f->pose.offset_A.y - r->pose.offset_A.y,
		                                     f->pose.offset_A.z - r->pose.offset_A.z });
		take_pose(r, f);
		n_seen++;
		whole2[h] += cyc_vec3_norm2((cyc_vec3){ r->pose.offset_A.x + r->cut.offset_A.x,
		                                        r->pose.offset_A.y + r->cut.offset_A.y,
		                                        r->pose.offset_A.z + r->cut.offset_A.z });
		n_half[h]++;
		s->average_p_max += f->p_max;
		s->average_significant += (double)f->n_significant;
		s->log_likelihood[h] += f->log_likelihood;
	}
	double count = n_seen > 0 ? (double)n_seen : 1;
	if (is_followed)
		CYC_TRY(cyc_refine3d_scatter_errors(j, found, spec->sigma_rotation_rad, spec->sigma_offset_A));
	n_seen = 0;
	for (int64_t p = 0; p < n; p++) {
		if (found[p].p_max <= 0 || j->refined[p].probability < CYC_IMPROBABLE) continue;
		rotation[n_seen] = norm(j->refined[p].error);
		offset[n_seen++] = norm(j->refined[p].error + 3);
	}
	s->change_rotation_rad /= count;
	s->change_offset_A = sqrt(moved2 / (2 * count));
	s->average_p_max /= count;
	s->average_significant /= count;
	s->rotation_error_rad = cyc_median(rotation, (size_t)n_seen);
	s->offset_error_A = cyc_median(offset, (size_t)n_seen);
	for (int h = 0; h < 2 && !is_followed; h++)
		s->sigma_offset_A[h] = fmax(sqrt(whole2[h] / fmax(3 * n_half[h], 1)), LEAST_SIGMA_OFFSET_A);
	/* After a global search the old rotation means nothing: from now on the prior is centred on the new
	 * one. */
	for (int64_t p = 0; p < n && is_global; p++)
		j->refined[p].prior.R_tomo_ref = j->refined[p].pose.R_tomo_ref;
	if (is_followed && !j->has_no_prior) CYC_TRY(cyc_refine3d_learn_priors(j, is_global ? 1 : 0));
done:
	cyc_free(rotation);
	cyc_free(offset);
	return st;
}

/* Offset of a stack's image whose particle is `offset_A` from its coordinates: position = coordinate -
 * R_tomo_part origin. */
static cyc_vec3 stack_origin(const cyc_refine3d_job *j, int64_t p, cyc_vec3 offset_A)
{
	cyc_vec3 o = cyc_mat3_apply(cyc_mat3_transpose(j->particles->particles[p].R_tomo_part), offset_A);
	return (cyc_vec3){ -o.x, -o.y, -o.z };
}

cyc_status cyc_refine3d_create_posed(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	int64_t n = j->particles->n;
	j->posed = *j->particles;
	j->posed.particles = NULL;
	CYC_TRY(cyc_alloc(&j->posed.particles, n, sizeof *j->posed.particles));
	memcpy(j->posed.particles, j->particles->particles, (size_t)n * sizeof *j->posed.particles);
	if (j->stacks) {
		j->posed_stacks = *j->stacks;
		j->posed_stacks.particles = &j->posed;
		j->posed_stacks.origins_A = NULL;
		CYC_TRY(cyc_alloc(&j->posed_stacks.origins_A, n, sizeof *j->posed_stacks.origins_A));
		for (int64_t p = 0; p < n; p++)
			j->stacks->origins_A[p] = stack_origin(j, p, j->refined[p].cut.offset_A);
	}
	cyc_refine3d_apply_poses(j);
done:
	return st;
}

void cyc_refine3d_join_frames(cyc_refine3d_job *j)
{
	cyc_vec3 turn = j->frame.turn_rad, shift = j->frame.shift_A;
	double angle = sqrt(cyc_vec3_norm2(turn));
	if (angle == 0 && cyc_vec3_norm2(shift) == 0) return;
	for (int64_t p = 0; p < j->particles->n; p++) {
		cyc_pose *pose = &j->refined[p].pose;
		double share = j->particles->particles[p].half ? 0.5 : -0.5;
		cyc_vec3 d = cyc_mat3_apply(pose->R_tomo_ref, shift);
		pose->offset_A = (cyc_vec3){ pose->offset_A.x + share * d.x, pose->offset_A.y + share * d.y,
			                         pose->offset_A.z + share * d.z };
		if (angle > 0) pose->R_tomo_ref = cyc_mat3_mul(pose->R_tomo_ref, cyc_rot_axis(turn, share * angle));
	}
}

void cyc_refine3d_apply_poses(cyc_refine3d_job *j)
{
	for (int64_t p = 0; p < j->particles->n; p++) {
		cyc_particle *to = &j->posed.particles[p];
		const cyc_refined *r = &j->refined[p];
		to->R_tomo_ref = r->pose.R_tomo_ref;
		to->probability = cyc_refine3d_weight(j, p);
		to->position_A =
			(cyc_vec3){ r->cut.position_A.x + r->pose.offset_A.x, r->cut.position_A.y + r->pose.offset_A.y,
			            r->cut.position_A.z + r->pose.offset_A.z };
		if (j->stacks)
			j->posed_stacks.origins_A[p] = stack_origin(j, p,
			                                            (cyc_vec3){ r->cut.offset_A.x + r->pose.offset_A.x,
			                                                        r->cut.offset_A.y + r->pose.offset_A.y,
			                                                        r->cut.offset_A.z + r->pose.offset_A.z });
	}
}

/* @param[in] which  NULL: all particles */
static cyc_status search_all(cyc_found_pose *found, cyc_refine3d_job *j, const cyc_search_spec *spec,
                             const bool *which)
{
	cyc_status st = CYC_OK;
	pose_work a = { .j = j, .spec = spec, .found = found, .which = which };
	int n_threads = cyc_refine3d_n_workers(j);
	cyc_search_size size = { .n_particles = 1 };
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		int32_t n_views = cyc_refine3d_n_views(j, i);
		if (n_views > size.max_images) size.max_images = n_views;
		if (series_count(j, i) > size.n_particles) size.n_particles = series_count(j, i);
	}
	if (size.n_particles > CYC_UNIT_PARTICLES) size.n_particles = CYC_UNIT_PARTICLES;
	a.n_most = size.n_particles;
	CYC_TRY(cyc_search_work_create(&a.work, j->store, spec, &size));
	CYC_TRY(cyc_alloc(&a.models, n_threads, sizeof *a.models));
	for (int t = 0; t < n_threads; t++) CYC_TRY(cyc_pose_work_create(&a.models[t], j->list));
	CYC_TRY(cyc_alloc(&a.particles, CYC_UNIT_PARTICLES, sizeof *a.particles));
	CYC_TRY(cyc_alloc(&a.numbers, CYC_UNIT_PARTICLES, sizeof *a.numbers));
	CYC_TRY(cyc_alloc(&a.others, CYC_UNIT_PARTICLES, sizeof *a.others));
	CYC_TRY(cyc_alloc(&a.queries, CYC_UNIT_PARTICLES, sizeof *a.queries));
	CYC_TRY(cyc_alloc(&a.answers, CYC_UNIT_PARTICLES, sizeof *a.answers));
	CYC_TRY(cyc_alloc(&a.shells, (size_t)n_threads * (size_t)(j->crop_px / 2 + 1), sizeof *a.shells));
	CYC_TRY(for_all_series(j, search_series, &a, "poses"));
	CYC_TRY(share(j, found, sizeof *found));
	if (spec->do_follow)
		CYC_TRY(cyc_ranks_share(j->terms, sizeof *j->terms, j->series_terms, j->owner,
		                        j->in.tomograms->n_series));
done:
	cyc_search_work_destroy(&a.work);
	for (int t = 0; a.models && t < n_threads; t++) cyc_pose_work_destroy(&a.models[t]);
	cyc_free(a.models);
	cyc_free(a.particles);
	cyc_free(a.numbers);
	cyc_free(a.others);
	cyc_free(a.queries);
	cyc_free(a.answers);
	cyc_free(a.shells);
	return st;
}

/* Shell that an angular step resolves at the particle's edge, as RELION counts it. */
static int32_t coarse_radius(const cyc_refine3d_job *j, int32_t order, double looseness)
{
	double resolution_A = looseness * cyc_healpix_step_rad(order) / 2 * j->particle_diameter_A / 1.2;
	return (int32_t)ceil(j->crop_px * j->box.pixel_size_A / resolution_A);
}

cyc_status cyc_refine3d_expectation(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_options *o = j->o;
	cyc_refine3d_state *s = &j->state;
	cyc_rotation_grid *grid = NULL;
	cyc_offset_grid *offsets = NULL;
	cyc_found_pose *found = NULL;
	bool is_local = s->order >= o->auto_local_order;
	double step = cyc_healpix_step_rad(s->order);
	/* Global searches continue while particles still turn by more than following can correct. */
	bool is_sampled = o->no_follow ||
	                  (!o->no_search && (s->iteration == 1 || (!is_local && s->change_rotation_rad > step)));
	bool is_global = is_sampled && !is_local;
	/* Samples that are followed need only lie on the slope of the right maximum. Among all rotations, that
	 * maximum must be distinguished from others. */
	double looseness = o->no_follow ? 1 : is_local ? 3.4 : 1.7;
	cyc_search_spec spec = { .order = s->order,
		                     .oversampling = o->oversampling,
		                     .do_follow = !o->no_follow,
		                     .n_starts = is_global ? MAX_STARTS_GLOBAL : CYC_STARTS_LOCAL,
		                     .coarse_radius = coarse_radius(j, s->order, looseness),
		                     .radius = j->reference->radius,
		                     .sigma_rotation_rad = { is_global ? ANY_ROTATION_RAD : s->sigma_angle_rad[0],
		                                             is_global ? ANY_ROTATION_RAD : s->sigma_angle_rad[1] },
		                     .sigma_offset_A = { s->sigma_offset_A[0], s->sigma_offset_A[1] },
		                     .adaptive_fraction = o->adaptive_frac,
		                     .symmetry = j->symmetry };
	if (spec.coarse_radius > spec.radius) spec.coarse_radius = spec.radius;
	CYC_TRY(cyc_alloc(&found, j->particles->n, sizeof *found));
	if (is_sampled) {
		CYC_TRY(cyc_offset_grid_create(&offsets, s->offset_range_A, s->offset_step_A));
		spec.offsets = offsets;
		spec.perturbation_rad = o->no_follow ? s->perturbation * step : 0;
		spec.offset_perturbation_A = o->no_follow ? s->perturbation * s->offset_step_A : 0;
		spec.is_near = is_local && o->relion_grid;
		if (!is_local) CYC_TRY(cyc_rotation_grid_global(&grid, s->order, o->oversampling, j->symmetry));
		else if (!spec.is_near)
			CYC_TRY(cyc_rotation_grid_local(&grid, s->order, o->oversampling, s->sigma_angle_rad[0]));
		if (grid) grid->perturbation_rad = spec.perturbation_rad;
		spec.rotations = grid;
		cyc_info("%s search: %d rotations, steps of %.2f degrees, and %d offsets, to %.1f Å",
		         is_local ? "local" : "global", grid ? grid->n : 0, cyc_rad_to_deg(step), offsets->n,
		         j->crop_px * j->box.pixel_size_A / spec.coarse_radius);
	}
	if (is_sampled) s->n_poses = fmax(s->n_poses, (grid ? grid->n : 1) * (double)offsets->n);
	CYC_TRY(search_all(found, j, &spec, NULL));
	CYC_TRY(take_poses(j, found, &spec, is_global));
	cyc_refine3d_join_frames(j);
	cyc_refine3d_apply_poses(j);
done:
	cyc_free(found);
	cyc_rotation_grid_destroy(&grid);
	cyc_offset_grid_destroy(&offsets);
	return st;
}

/* Order of the global grid. With symmetry the grid has few rotations; without, twice the step and a
 * coarser image keep the cost low. */
static int32_t again_order(const cyc_refine3d_job *j) { return j->symmetry->n >= 4 ? 3 : 2; }

cyc_status cyc_refine3d_search_again(cyc_refine3d_job *j, const bool *which)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_state *s = &j->state;
	cyc_rotation_grid *grid = NULL;
	cyc_offset_grid *offsets = NULL;
	cyc_found_pose *found = NULL;
	int32_t order = again_order(j);
	cyc_search_spec spec = { .order = order,
		                     .do_follow = true,
		                     .n_starts = MAX_STARTS_GLOBAL,
		                     .coarse_radius = coarse_radius(j, order, 1.7),
		                     .radius = j->reference->radius,
		                     .sigma_rotation_rad = { ANY_ROTATION_RAD, ANY_ROTATION_RAD },
		                     .sigma_offset_A = { s->sigma_offset_A[0], s->sigma_offset_A[1] },
		                     .adaptive_fraction = j->o->adaptive_frac,
		                     .symmetry = j->symmetry };
	if (spec.coarse_radius > spec.radius) spec.coarse_radius = spec.radius;
	CYC_TRY(cyc_alloc(&found, j->particles->n, sizeof *found));
	CYC_TRY(cyc_offset_grid_create(&offsets, s->offset_range_A, s->offset_step_A));
	CYC_TRY(cyc_rotation_grid_global(&grid, order, 0, j->symmetry));
	spec.offsets = offsets;
	spec.rotations = grid;
	CYC_TRY(search_all(found, j, &spec, which));
	s->n_poses = fmax(s->n_poses, grid->n * (double)offsets->n);
	for (int64_t p = 0; p < j->particles->n; p++) {
		cyc_refined *r = &j->refined[p];
		if (!which[p]) continue;
		r->was_searched = true;
		s->n_searched++;
		if (found[p].p_max <= 0 || found[p].log_likelihood <= r->log_likelihood) continue;
		take_pose(r, &found[p]);
		cyc_refine3d_widen_errors(j, p);
		r->was_found_again = true; /* if it is the particle there */
		r->prior.R_tomo_ref = r->pose.R_tomo_ref;
	}
	cyc_refine3d_apply_poses(j);
done:
	cyc_free(found);
	cyc_rotation_grid_destroy(&grid);
	cyc_offset_grid_destroy(&offsets);
	return st;
}

/* ---------------------------------------------------------------- judging alone */

typedef struct {
	cyc_refine3d_job *j;
	int32_t i_series;
	cyc_pose_work **work;
	cyc_pose_agreement *shells; /* of each thread */
} look;

static cyc_status look_task(void *arg, int64_t i, int i_thread)
{
	const look *a = arg;
	cyc_refine3d_job *j = a->j;
	int64_t p = series_first(j, a->i_series) + i;
	const cyc_series_images *s = j->images[a->i_series];
	const cyc_pose_data data = { j->list, s->images[i], s->n_images[i], NULL };
	if (!cyc_refine3d_is_in_block(j, p)) return CYC_OK;
	const cyc_pose_reference r = cyc_refine3d_reference_of(j, p, true);
	cyc_refined *out = &j->refined[p];
	cyc_found_pose here = { .pose = out->pose };
	cyc_refine3d_note_agreement(&here, j, a->shells + (size_t)i_thread * (size_t)(j->crop_px / 2 + 1),
	                            a->work[i_thread], &data, &r);
	memcpy(out->agreement, here.agreement, sizeof out->agreement);
	out->amplitude = here.amplitude;
	out->log_likelihood = 0;
	for (int b = 0; b < CYC_N_BANDS; b++) {
		const cyc_pose_agreement *at = &out->agreement[b];
		out->log_likelihood +=
			2 * r.amplitude * (at->cross - r.amplitude * at->own) - cyc_square(r.amplitude) * at->power;
	}
	return CYC_OK;
}

static cyc_status look_at_series(void *arg, int32_t i_series)
{
	cyc_status st = CYC_OK;
	look *a = arg;
	a->i_series = i_series;
	CYC_TRY(cyc_pose_store_open_maps(a->j->store));
	CYC_TRY(cyc_parallel_for(series_count(a->j, i_series), a->j->o->n_threads, look_task, a));
	CYC_TRY(cyc_pose_store_close_maps(a->j->store));
done:
	return st;
}

cyc_status cyc_refine3d_look(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	look a = { .j = j };
	int n_threads = cyc_refine3d_n_workers(j);
	CYC_TRY(cyc_alloc(&a.work, n_threads, sizeof *a.work));
	CYC_TRY(cyc_alloc(&a.shells, (size_t)n_threads * (size_t)(j->crop_px / 2 + 1), sizeof *a.shells));
	for (int t = 0; t < n_threads; t++) CYC_TRY(cyc_pose_work_create(&a.work[t], j->list));
	CYC_TRY(for_all_series(j, look_at_series, &a, NULL));
	CYC_TRY(share(j, j->refined, sizeof *j->refined));
done:
	for (int t = 0; a.work && t < n_threads; t++) cyc_pose_work_destroy(&a.work[t]);
	cyc_free(a.work);
	cyc_free(a.shells);
	return st;
}

#include "refine3d/pose_sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 192, SHIFT_CHUNK = 128 };
static const double NEGLIGIBLE = 25; /* e^-25 of the best weight */
static const double COARSE_SHARE =
	0.85; /* of the weight that images used for sampling hold, if samples are only starts */

typedef struct {
	union {
		double weight; /* log */
		struct {
			int32_t rank, first; /* by weight, and that of the best sample of the same rotation */
		};
	};
	int32_t o, t;
} sample;

/*
 * Samples that are kept at most, however fine the grids are. Where more of them count, the posterior is so
 * flat that the best of half a million are as good as all. The list is twice as long, so that it is seldom
 * sorted.
 */
enum { KEPT = 1 << 19, ROOM = 2 * KEPT };

typedef struct {
	double weight;
	int32_t i;
} ranked;

struct cyc_sampler {
	cyc_pose_work *model;
	int32_t n_o, n_t;
	float *scores;          /* CHUNK x SHIFT_CHUNK */
	cyc_mat3 *rotations;    /* CHUNK */
	cyc_vec3 *offsets;      /* n_t lattice offsets in tomogram axes, then SHIFT_CHUNK children */
	double *log_prior_t;    /* n_t */
	sample *samples;        /* room for room(n_o, n_t): those that are not negligible */
	double lost, lost_best; /* sum of exp(weight - lost_best) of samples that count, but were not kept */
	uint8_t *use;           /* flags of some images */
	ranked *ranking;        /* images by weight */
};

void cyc_sampler_destroy(cyc_sampler **p)
{
	cyc_sampler *w = *p;
	if (!w) return;
	cyc_pose_work_destroy(&w->model);
	cyc_free(w->scores);
	cyc_free(w->rotations);
	cyc_free(w->offsets);
	cyc_free(w->log_prior_t);
	cyc_free(w->samples);
	cyc_free(w->use);
	cyc_free(w->ranking);
	cyc_free(w);
	*p = NULL;
}

static size_t room(int32_t n_o, int32_t n_t)
{
	size_t all = (size_t)n_o * (size_t)n_t;
	return all < ROOM ? all : ROOM;
}

static bool does_sample(const cyc_search_spec *spec) { return spec->rotations || spec->is_near; }

/* Most coefficients of one image in a coarse and in a fine pass. */
static int32_t coarse_count(const cyc_coefficients *list, const cyc_search_spec *spec)
{
	bool is_last = !spec->do_follow && spec->oversampling == 0;
	return cyc_coefficients_within(list, is_last ? spec->radius : spec->coarse_radius);
}

static cyc_pose_room model_room(const cyc_coefficients *list, const cyc_search_spec *spec, int32_t n_t)
{
	cyc_pose_room r = { .n_slice = (size_t)list->n, .n_shift = (size_t)list->n };
	if (!does_sample(spec)) return r;
	size_t coarse = (size_t)coarse_count(list, spec),
		   fine = spec->do_follow ? 0 : (size_t)cyc_coefficients_within(list, spec->radius);
	size_t shifts = (size_t)(n_t < SHIFT_CHUNK ? n_t : SHIFT_CHUNK),
		   children = (size_t)1 << 3 * spec->oversampling;
	const size_t slices[] = { CHUNK * coarse, children * fine },
				 shifted[] = { shifts * coarse, SHIFT_CHUNK * fine };
	for (int k = 0; k < 2; k++) {
		if (slices[k] > r.n_slice) r.n_slice = slices[k];
		if (shifted[k] > r.n_shift) r.n_shift = shifted[k];
	}
	return r;
}

double cyc_sampler_bytes(const cyc_coefficients *list, const cyc_search_spec *spec, int32_t max_images)
{
	bool samples = does_sample(spec);
	int32_t n_t = samples ? spec->offsets->n : 1, n_o = samples && spec->rotations ? spec->rotations->n : 1;
	const cyc_pose_room r = model_room(list, spec, n_t);
	return cyc_pose_work_bytes(list, &r) + (double)room(n_o, n_t) * sizeof(sample) +
	       CHUNK * (SHIFT_CHUNK * sizeof(float) + sizeof(cyc_mat3)) +
	       n_t * (double)(sizeof(cyc_vec3) + sizeof(double)) + max_images * (double)(sizeof(ranked) + 1);
}

cyc_status cyc_sampler_create(cyc_sampler **out, const cyc_coefficients *list, const cyc_search_spec *spec,
                              int32_t max_images)
{
	cyc_status st = CYC_OK;
	cyc_sampler *w = NULL;
	bool samples = does_sample(spec);
	*out = NULL;
	CYC_TRY(cyc_alloc(&w, 1, sizeof *w));
	w->n_t = samples ? spec->offsets->n : 1;
	w->n_o = samples && spec->rotations ? spec->rotations->n : 1;
	const cyc_pose_room r = model_room(list, spec, w->n_t);
	CYC_TRY(cyc_pose_work_create_room(&w->model, list, &r));
	CYC_TRY(cyc_alloc(&w->scores, samples ? CHUNK * SHIFT_CHUNK : 1, sizeof *w->scores));
	CYC_TRY(cyc_alloc(&w->samples, room(w->n_o, w->n_t), sizeof *w->samples));
	CYC_TRY(cyc_alloc(&w->rotations, CHUNK, sizeof *w->rotations));
	CYC_TRY(cyc_alloc(&w->offsets, (size_t)w->n_t + SHIFT_CHUNK, sizeof *w->offsets));
	CYC_TRY(cyc_alloc(&w->log_prior_t, w->n_t, sizeof *w->log_prior_t));
	CYC_TRY(cyc_alloc(&w->use, max_images, sizeof *w->use));
	CYC_TRY(cyc_alloc(&w->ranking, max_images, sizeof *w->ranking));
	*out = w;
	w = NULL;
done:
	cyc_sampler_destroy(&w);
	return st;
}

cyc_pose_work *cyc_sampler_model(cyc_sampler *w) { return w->model; }

/* Grids made for one particle may be larger than the last one's. */
static cyc_status reserve(cyc_sampler *w, int32_t n_o)
{
	cyc_status st = CYC_OK;
	size_t n = room(n_o, w->n_t);
	if (n_o <= w->n_o) return CYC_OK;
	w->n_o = n_o;
	cyc_free(w->samples);
	w->samples = NULL;
	CYC_TRY(cyc_alloc(&w->samples, n, sizeof *w->samples));
done:
	return st;
}

/* ---------------------------------------------------------------- sampling */

/* One particle's sampling. */
typedef struct {
	cyc_sampler *w;
	const cyc_search_one *of;
	const cyc_pose_start *start;
	const cyc_search_spec *spec;
	const cyc_pose_data *data;
	const cyc_pose_reference *reference;
	const cyc_rotation_grid *grid;
} search;

static cyc_vec3 minus(cyc_vec3 a, cyc_vec3 b) { return (cyc_vec3){ a.x - b.x, a.y - b.y, a.z - b.z }; }

static double log_prior_offset(const search *s, cyc_vec3 offset_A)
{
	return -0.5 * cyc_vec3_norm2(minus(offset_A, s->start->prior.offset_A)) /
	       cyc_square(s->of->sigma_offset_A);
}

static int by_weight(const void *a, const void *b)
{
	const sample *x = a, *y = b;
	if (x->weight != y->weight) return x->weight < y->weight ? 1 : -1;
	return x->o != y->o ? (x->o > y->o) - (x->o < y->o) : (x->t > y->t) - (x->t < y->t);
}

/* A lattice offset counts against the position: rlnOrigin is subtracted. */
static cyc_vec3 to_tomogram(const search *s, cyc_vec3 lattice_A)
{
	double p = s->spec->offset_perturbation_A;
	return minus(s->start->old.offset_A,
	             cyc_mat3_apply(s->start->R_tomo_part,
	                            (cyc_vec3){ lattice_A.x + p, lattice_A.y + p, lattice_A.z + p }));
}

static cyc_mat3 rotation(const search *s, int32_t o, int32_t child)
{
	return cyc_mat3_mul(s->start->R_tomo_part, cyc_rotation_grid_at(s->grid, o, child, s->of->R_part_old));
}

static int by_rank(const void *a, const void *b)
{
	const ranked *x = a, *y = b;
	return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1) : (x->i > y->i) - (x->i < y->i);
}

/* Flags of the images with most weight, enough for a share of all weight. */
static void choose_images(cyc_sampler *w, const cyc_pose_data *data, int32_t radius, double share)
{
	ranked *r = w->ranking;
	double all = 0, sum = 0;
	int32_t within = cyc_coefficients_within(data->list, radius);
	for (int32_t f = 0; f < data->n_images; f++) {
		const cyc_particle_image *image = &data->images[f];
		r[f] = (ranked){ 0, f };
		for (int32_t j = 0; j < image->n && j < within; j++) r[f].weight += (double)image->weight[j];
		all += r[f].weight;
		w->use[f] = 0;
	}
	qsort(r, (size_t)data->n_images, sizeof *r, by_rank);
	for (int32_t f = 0; f < data->n_images && sum < share * all; f++) {
		sum += r[f].weight;
		w->use[r[f].i] = 1;
	}
}

/* Sort the samples and leave out what is negligible; of more than KEPT, the worst too, whose sum is noted.
 * Returns how many stay. */
static int64_t keep_best(cyc_sampler *w, int64_t n, double best)
{
	qsort(w->samples, (size_t)n, sizeof *w->samples, by_weight);
	while (n > 0 && w->samples[n - 1].weight < best - NEGLIGIBLE) n--;
	for (; n > KEPT; n--) {
		double weight = w->samples[n - 1].weight;
		if (weight > w->lost_best) {
			w->lost *= exp(w->lost_best - weight);
			w->lost_best = weight;
		}
		w->lost += exp(weight - w->lost_best);
	}
	return n;
}

/* Scores of all coarse samples; those worth anything as a sorted list. */
static int64_t coarse_pass(search *s, int32_t radius)
{
	cyc_sampler *w = s->w;
	const cyc_rotation_grid *g = s->grid;
	int64_t n = 0, most = (int64_t)room(w->n_o, w->n_t);
	double best = -HUGE_VAL;
	w->lost = 0;
	w->lost_best = -HUGE_VAL;
	for (int32_t t = 0; t < w->n_t; t++) {
		const cyc_vec3 *lattice = &s->spec->offsets->offset_A[t];
		w->log_prior_t[t] = log_prior_offset(
			s, minus(s->start->old.offset_A, cyc_mat3_apply(s->start->R_tomo_part, *lattice)));
		w->offsets[t] = to_tomogram(s, *lattice);
	}
	for (int32_t first = 0; first < g->n; first += CHUNK) {
		int32_t here = g->n - first < CHUNK ? g->n - first : CHUNK;
		for (int32_t o = 0; o < here; o++) w->rotations[o] = rotation(s, first + o, -1);
		for (int32_t t = 0; t < w->n_t; t += SHIFT_CHUNK) {
			int32_t n_t = w->n_t - t < SHIFT_CHUNK ? w->n_t - t : SHIFT_CHUNK;
			const cyc_pose_grid chunk = { w->rotations, here, w->offsets + t, n_t };
			cyc_pose_scores(w->scores, w->model, s->data, s->reference, &chunk, radius);
			for (int32_t k = 0; k < here * n_t; k++) {
				int32_t o = first + k / n_t, i = t + k % n_t;
				double weight = (double)w->scores[k] + g->log_prior[o] + w->log_prior_t[i];
				if (weight > best) best = weight;
				if (weight < best - NEGLIGIBLE) continue;
				if (n == most) n = keep_best(w, n, best);
				w->samples[n++] = (sample){ .weight = weight, .o = o, .t = i };
			}
		}
	}
	return keep_best(w, n, best);
}

/* The fewest samples that hold the adaptive fraction of the posterior; all that were kept if they do not hold
 * it. */
static int64_t count_significant(const cyc_sampler *w, int64_t n, double fraction)
{
	const sample *samples = w->samples;
	double sum = 0, part = 0;
	for (int64_t i = 0; i < n; i++) sum += exp(samples[i].weight - samples[0].weight);
	if (w->lost > 0) sum += w->lost * exp(w->lost_best - samples[0].weight);
	for (int64_t i = 0; i < n; i++) {
		part += exp(samples[i].weight - samples[0].weight);
		if (part > fraction * sum) return i + 1;
	}
	return n;
}

static int by_rotation(const void *a, const void *b)
{
	const sample *x = a, *y = b;
	return x->o != y->o ? (x->o > y->o) - (x->o < y->o) : (x->rank > y->rank) - (x->rank < y->rank);
}

static int by_group(const void *a, const void *b)
{
	const sample *x = a, *y = b;
	return x->first != y->first ? (x->first > y->first) - (x->first < y->first)
	                            : (x->rank > y->rank) - (x->rank < y->rank);
}

/* Sorted samples so that those of one rotation lie together, rotations and samples of each in the old order;
 * the weights are lost. */
static void group_by_rotation(sample *samples, int64_t n)
{
	for (int64_t i = 0; i < n; i++) samples[i].rank = (int32_t)i;
	qsort(samples, (size_t)n, sizeof *samples, by_rotation);
	for (int64_t i = 0; i < n; i++)
		samples[i].first = i > 0 && samples[i].o == samples[i - 1].o ? samples[i - 1].first : samples[i].rank;
	qsort(samples, (size_t)n, sizeof *samples, by_group);
}

/* Scores of all children of n_t shifts of rotation o, which lie behind the lattice; keeps the best. */
static void fine_chunk(cyc_found_pose *out, double *best, double *sum, search *s, int32_t o,
                       const double *prior, int32_t n_t)
{
	cyc_sampler *w = s->w;
	int32_t n_children = cyc_rotation_grid_n_children(s->grid);
	float scores[64 * SHIFT_CHUNK];
	const cyc_pose_grid children = { w->rotations, n_children, w->offsets + w->n_t, n_t };
	cyc_pose_scores(scores, w->model, s->data, s->reference, &children, s->spec->radius);
	for (int32_t c = 0; c < n_children; c++)
		for (int32_t t = 0; t < n_t; t++) {
			double likelihood = (double)scores[c * n_t + t],
				   weight = likelihood + s->grid->log_prior[o] + prior[t];
			if (weight > *best) {
				*sum *= exp(*best - weight);
				*best = weight;
				out->pose = (cyc_pose){ w->rotations[c], w->offsets[w->n_t + t] };
				out->log_likelihood = likelihood;
			}
			*sum += exp(weight - *best);
		}
}

/* Children of the significant samples, each at the full resolution; keeps the best. Uses the samples up.
 * (T8.9) */
static void fine_pass(cyc_found_pose *out, search *s, int64_t n_significant)
{
	cyc_sampler *w = s->w;
	int32_t n_children = cyc_rotation_grid_n_children(s->grid),
			n_shift_children = s->spec->oversampling > 0 ? 8 : 1, n_t = 0;
	double best = -HUGE_VAL, sum = 0, prior[SHIFT_CHUNK];
	group_by_rotation(w->samples, n_significant);
	for (int64_t i = 0; i < n_significant; i++) {
		int32_t o = w->samples[i].o, t = w->samples[i].t;
		bool is_first = i == 0 || w->samples[i - 1].o != o,
			 is_last = i + 1 == n_significant || w->samples[i + 1].o != o;
		for (int32_t c = 0; c < n_children && is_first; c++)
			w->rotations[c] = rotation(s, o, s->spec->oversampling > 0 ? c : -1);
		for (int32_t c = 0; c < n_shift_children; c++) {
			cyc_vec3 lattice = n_shift_children > 1 ? cyc_offset_grid_child(s->spec->offsets, t, c)
			                                        : s->spec->offsets->offset_A[t];
			prior[n_t] = w->log_prior_t[t];
			w->offsets[w->n_t + n_t++] = to_tomogram(s, lattice);
		}
		if (n_t + 8 <= SHIFT_CHUNK && !is_last) continue;
		fine_chunk(out, &best, &sum, s, o, prior, n_t);
		n_t = 0;
	}
	out->p_max = sum > 0 ? 1 / sum : 0;
}

/* Where to start: the old pose, and the best samples that are more than a step apart. */
static int32_t choose_starts(cyc_pose starts[CYC_MAX_STARTS], const search *s, int64_t n_samples)
{
	int32_t n = 0;
	double step = 1.2 * cyc_healpix_step_rad(s->grid->order);
	if (s->grid->is_relative) starts[n++] = s->start->old;
	for (int64_t i = 0; i < n_samples && n < s->spec->n_starts; i++) {
		const sample *q = &s->w->samples[i];
		cyc_mat3 R = rotation(s, q->o, -1);
		bool is_apart = true;
		for (int32_t j = 0; j < n && is_apart; j++)
			is_apart = cyc_search_distance_rad(s->of, R, starts[j].R_tomo_ref) >
			           (j == 0 && s->grid->is_relative ? 0.5 * step : step);
		if (is_apart) starts[n++] = (cyc_pose){ R, s->w->offsets[q->t] };
	}
	return n;
}

/* Samples at the coarse resolution, from some of the images if they are only starts. */
static int64_t sample_coarsely(search *s)
{
	const cyc_search_spec *spec = s->spec;
	const cyc_pose_data *all = s->data;
	cyc_pose_data some = *all;
	bool is_last = !spec->do_follow && spec->oversampling == 0;
	if (spec->do_follow) {
		choose_images(s->w, all, spec->coarse_radius, COARSE_SHARE);
		some.use = s->w->use;
		s->data = &some;
	}
	int64_t n = coarse_pass(s, is_last ? spec->radius : spec->coarse_radius);
	s->data = all;
	return n;
}

cyc_status cyc_sampler_run(cyc_pose starts[CYC_MAX_STARTS], int32_t *n_starts, cyc_found_pose *out,
                           cyc_sampler *w, const cyc_search_one *of)
{
	cyc_status st = CYC_OK;
	cyc_rotation_grid *own = NULL;
	const cyc_search_spec *spec = of->spec;
	cyc_pose_reference reference = of->of->reference;
	search s = { w, of, &of->of->start, spec, &of->of->data, &reference, of->grid };
	reference.grid = cyc_pose_store_grid(of->store, reference.map);
	*n_starts = 1;
	starts[0] = s.start->old;
	if (spec->is_near) {
		CYC_TRY(cyc_rotation_grid_near(&own, spec->order, spec->oversampling, of->sigma_rotation_rad,
		                               of->R_part_old));
		own->perturbation_rad = spec->perturbation_rad;
		CYC_TRY(reserve(w, own->n));
		s.grid = own;
	}
	if (!s.grid) goto done;
	int64_t n = sample_coarsely(&s);
	out->n_significant = count_significant(w, n, spec->adaptive_fraction);
	if (spec->do_follow) {
		*n_starts = choose_starts(starts, &s, n);
	} else {
		fine_pass(out, &s, out->n_significant);
		starts[0] = out->pose;
	}
done:
	cyc_rotation_grid_destroy(&own);
	return st;
}

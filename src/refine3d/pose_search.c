#include "refine3d/pose_search.h"

#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 192, SHIFT_CHUNK = 128, MAX_STEPS = 12, COARSE_STEPS = 4 };
static const double NEGLIGIBLE = 25; /* e^-25 of the best weight */
static const double ENOUGH =
	5e-3; /* expected gain of a step that is not worth it: a tenth of a standard error */
static const double COARSE_SHARE =
	0.85; /* of the weight that images used for sampling hold, if samples are only starts */
static const double HOPELESS =
	12; /* log-posterior at the coarse resolution that a maximum may lie below the best */

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

struct cyc_search_work {
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
	int32_t n_terms;        /* room for one pose */
	cyc_image_terms *terms; /* CYC_MAX_STARTS + 1 poses */
	cyc_pose_derivatives at;
};

void cyc_search_work_destroy(cyc_search_work **p)
{
	cyc_search_work *w = *p;
	if (!w) return;
	cyc_pose_work_destroy(&w->model);
	cyc_free(w->scores);
	cyc_free(w->rotations);
	cyc_free(w->offsets);
	cyc_free(w->log_prior_t);
	cyc_free(w->samples);
	cyc_free(w->use);
	cyc_free(w->ranking);
	cyc_free(w->terms);
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

/* Terms are kept of the maxima that poses are followed to, and of a step. */
static double terms_count(const cyc_search_spec *spec, int32_t max_images)
{
	return spec->do_follow ? (CYC_MAX_STARTS + 1) * (max_images + 1.0) : 0;
}

double cyc_search_work_bytes(const cyc_coefficients *list, const cyc_search_spec *spec, int32_t max_images)
{
	bool samples = does_sample(spec);
	int32_t n_t = samples ? spec->offsets->n : 1, n_o = samples && spec->rotations ? spec->rotations->n : 1;
	const cyc_pose_room r = model_room(list, spec, n_t);
	return cyc_pose_work_bytes(list, &r) + (double)room(n_o, n_t) * sizeof(sample) +
	       CHUNK * (SHIFT_CHUNK * sizeof(float) + sizeof(cyc_mat3)) +
	       n_t * (double)(sizeof(cyc_vec3) + sizeof(double)) + max_images * (double)(sizeof(ranked) + 1) +
	       terms_count(spec, max_images) * (double)sizeof(cyc_image_terms);
}

cyc_status cyc_search_work_create(cyc_search_work **out, const cyc_coefficients *list,
                                  const cyc_search_spec *spec, int32_t max_images)
{
	cyc_status st = CYC_OK;
	cyc_search_work *w = NULL;
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
	w->n_terms = max_images + 1;
	CYC_TRY(cyc_alloc(&w->terms, terms_count(spec, max_images), sizeof *w->terms));
	*out = w;
	w = NULL;
done:
	cyc_search_work_destroy(&w);
	return st;
}

cyc_pose_work *cyc_search_work_model(cyc_search_work *w) { return w->model; }
const cyc_pose_derivatives *cyc_search_work_at(const cyc_search_work *w) { return &w->at; }

/* Grids made for one particle may be larger than the last one's. */
static cyc_status reserve(cyc_search_work *w, int32_t n_o)
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

/* ---------------------------------------------------------------- priors */

typedef struct {
	cyc_search_work *w;
	const cyc_pose_data *data;
	const cyc_pose_reference *reference;
	const cyc_search_spec *spec;
	const cyc_pose_start *start;
	cyc_mat3 R_part_old;
	double sigma_rotation_rad, sigma_offset_A;
	const cyc_rotation_grid *grid;
} search;

static cyc_vec3 minus(cyc_vec3 a, cyc_vec3 b) { return (cyc_vec3){ a.x - b.x, a.y - b.y, a.z - b.z }; }

static double log_prior_offset(const search *s, cyc_vec3 offset_A)
{
	return -0.5 * cyc_vec3_norm2(minus(offset_A, s->start->prior.offset_A)) / cyc_square(s->sigma_offset_A);
}

/* ---------------------------------------------------------------- sampling */

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
	return cyc_mat3_mul(s->start->R_tomo_part, cyc_rotation_grid_at(s->grid, o, child, s->R_part_old));
}

static int by_rank(const void *a, const void *b)
{
	const ranked *x = a, *y = b;
	return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1) : (x->i > y->i) - (x->i < y->i);
}

/* Flags of the images with most weight, enough for a share of all weight. */
static void choose_images(cyc_search_work *w, const cyc_pose_data *data, int32_t radius, double share)
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
static int64_t keep_best(cyc_search_work *w, int64_t n, double best)
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
	cyc_search_work *w = s->w;
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
static int64_t count_significant(const cyc_search_work *w, int64_t n, double fraction)
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
	cyc_search_work *w = s->w;
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
	cyc_search_work *w = s->w;
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

/* ---------------------------------------------------------------- following to the maximum */

typedef struct {
	cyc_pose pose;
	double log_posterior, log_likelihood;
	cyc_pose_derivatives images, at; /* of the likelihood and of the posterior */
	cyc_image_terms *terms;          /* of each image, or NULL */
} peak;

/* Log posterior with its derivatives. */
static void evaluate(peak *p, const search *s, const cyc_pose *pose, int32_t radius)
{
	double sigma2 = cyc_square(s->sigma_rotation_rad), offset2 = cyc_square(s->sigma_offset_A);
	cyc_mat3 d = cyc_mat3_mul(cyc_mat3_transpose(s->start->prior.R_tomo_ref), pose->R_tomo_ref);
	cyc_vec3 moved = minus(pose->offset_A, s->start->prior.offset_A);
	const double offset[3] = { moved.x, moved.y, moved.z };
	double turn[3];
	cyc_rotation_vector(turn, d);
	cyc_pose_evaluate(&p->images, p->terms, s->w->model, s->data, s->reference, pose, radius);
	p->at = p->images;
	p->pose = *pose;
	p->log_likelihood = p->log_posterior = p->at.value;
	for (int k = 0; k < 3; k++) {
		p->log_posterior -= 0.5 * (turn[k] * turn[k] / sigma2 + offset[k] * offset[k] / offset2);
		p->at.gradient[k] -= turn[k] / sigma2;
		p->at.curvature[k][k] += 1 / sigma2;
		p->at.gradient[3 + k] -= offset[k] / offset2;
		p->at.curvature[3 + k][3 + k] += 1 / offset2;
	}
}

/* Solve (C + damping diag C) x = g; false if C cannot be inverted. */
static bool solve(double x[CYC_POSE_PARAMETERS], const cyc_pose_derivatives *at, double damping)
{
	double A[CYC_POSE_PARAMETERS * CYC_POSE_PARAMETERS];
	for (int i = 0; i < CYC_POSE_PARAMETERS; i++) {
		x[i] = at->gradient[i];
		for (int j = 0; j < CYC_POSE_PARAMETERS; j++)
			A[i * CYC_POSE_PARAMETERS + j] = at->curvature[i][j] * (i == j ? 1 + damping : 1);
	}
	return LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', CYC_POSE_PARAMETERS, 1, A, CYC_POSE_PARAMETERS, x, 1) == 0;
}

static cyc_image_terms *terms_of(const cyc_search_work *w, int32_t i)
{
	return w->terms + (size_t)i * (size_t)w->n_terms;
}

/* Each keeps its own room for terms. */
static void replace(peak *to, const peak *from, const cyc_search_work *w)
{
	cyc_image_terms *terms = to->terms;
	if (terms) memcpy(terms, from->terms, (size_t)w->n_terms * sizeof *terms);
	*to = *from;
	to->terms = terms;
}

/* Levenberg-Marquardt from a pose: a step is taken if the posterior rises, and is the last if it gains next
 * to nothing.  (T8.3) */
static void follow(peak *best, const search *s, const cyc_pose *start, int32_t radius, int max_steps)
{
	double damping = 1e-3;
	peak next = { .terms = best->terms ? terms_of(s->w, CYC_MAX_STARTS) : NULL };
	evaluate(best, s, start, radius);
	for (int i = 0; i < max_steps && damping < 1e6; i++) {
		double step[CYC_POSE_PARAMETERS], gain = 0;
		if (!solve(step, &best->at, damping)) break;
		for (int k = 0; k < CYC_POSE_PARAMETERS; k++) gain += 0.5 * step[k] * best->at.gradient[k];
		if (gain < ENOUGH) break;
		cyc_pose pose = cyc_pose_step(&best->pose, step);
		evaluate(&next, s, &pose, radius);
		if (next.log_posterior > best->log_posterior) {
			replace(best, &next, s->w);
			damping = fmax(damping * 0.1, 1e-4);
		} else {
			damping *= 10;
		}
	}
}

/* Inverse curvature: standard errors, and half the log of its determinant. */
static double errors_of(double error[CYC_POSE_PARAMETERS], const cyc_pose_derivatives *at)
{
	enum { N = CYC_POSE_PARAMETERS };
	double A[N * N], log_root = 0;
	for (int i = 0; i < N * N; i++) A[i] = at->curvature[i / N][i % N];
	for (int k = 0; k < N; k++) error[k] = 0;
	if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'U', N, A, N) != 0) return 0;
	for (int k = 0; k < N; k++) log_root -= log(A[k * N + k]);
	if (LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'U', N, A, N) != 0) return 0;
	for (int k = 0; k < N; k++) error[k] = sqrt(A[k * N + k]);
	return log_root;
}

/* Between the nearest of their symmetry mates: a mate in sight of another is no second maximum. */
static double distance_rad(const search *s, cyc_mat3 a, cyc_mat3 b)
{
	static cyc_mat3 identity = { { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } } };
	const cyc_symmetry none = { .n = 1, .ops = &identity };
	return cyc_rotation_distance_rad(a, b, s->spec->symmetry ? s->spec->symmetry : &none, NULL);
}

/* Where to start: the old pose, and the best samples that are more than a step apart. */
static int32_t choose_starts(cyc_pose starts[CYC_MAX_STARTS], const search *s, int64_t n_samples)
{
	int32_t n = 0;
	double step = s->grid ? 1.2 * cyc_healpix_step_rad(s->grid->order) : 0;
	if (!s->grid || s->grid->is_relative) starts[n++] = s->start->old;
	for (int64_t i = 0; i < n_samples && n < s->spec->n_starts; i++) {
		const sample *q = &s->w->samples[i];
		cyc_mat3 R = rotation(s, q->o, -1);
		bool is_apart = true;
		for (int32_t j = 0; j < n && is_apart; j++)
			is_apart = distance_rad(s, R, starts[j].R_tomo_ref) >
			           (j == 0 && s->grid->is_relative ? 0.5 * step : step);
		if (is_apart) starts[n++] = (cyc_pose){ R, s->w->offsets[q->t] };
	}
	return n;
}

static bool is_same_peak(const search *s, const peak *a, const peak *b,
                         const double error[CYC_POSE_PARAMETERS])
{
	return distance_rad(s, a->pose.R_tomo_ref, b->pose.R_tomo_ref) < 3 * (error[0] + error[1] + error[2]);
}

/* Put a maximum among those kept, best first; of two that are the same the higher stays. */
static void keep_peak(peak peaks[CYC_MAX_STARTS], int32_t *n_kept, const search *s, const peak *now)
{
	double error[CYC_POSE_PARAMETERS];
	int32_t at = *n_kept;
	(void)errors_of(error, &now->at);
	for (int32_t k = 0; k < *n_kept; k++) {
		if (!is_same_peak(s, now, &peaks[k], error)) continue;
		if (!(now->log_posterior > peaks[k].log_posterior)) return;
		at = k;
		break;
	}
	if (at == *n_kept) ++*n_kept;
	for (; at > 0 && now->log_posterior > peaks[at - 1].log_posterior; at--) peaks[at] = peaks[at - 1];
	peaks[at] = *now;
}

/* Follow the starts at the coarse resolution and keep the different maxima that have a chance; best first. */
static int32_t follow_coarsely(cyc_pose starts[CYC_MAX_STARTS], const search *s, int32_t n)
{
	peak peaks[CYC_MAX_STARTS], now;
	int32_t n_kept = 0, n_out = 0;
	for (int32_t i = 0; i < n; i++) {
		now.terms = NULL;
		follow(&now, s, &starts[i], s->spec->coarse_radius, COARSE_STEPS);
		keep_peak(peaks, &n_kept, s, &now);
	}
	for (int32_t k = 0; k < n_kept; k++)
		if (peaks[k].log_posterior > peaks[0].log_posterior - HOPELESS) starts[n_out++] = peaks[k].pose;
	return n_out;
}

/* The highest maximum that the starts lead to; its share of the posterior among the different ones. (T8.10)
 */
static void follow_best(cyc_found_pose *out, const search *s, int64_t n_samples)
{
	peak peaks[CYC_MAX_STARTS];
	cyc_pose starts[CYC_MAX_STARTS];
	double error[CYC_MAX_STARTS][CYC_POSE_PARAMETERS], log_mass[CYC_MAX_STARTS], sum = 0;
	int32_t n = choose_starts(starts, s, n_samples), best = 0;
	if (s->grid && s->spec->coarse_radius < s->spec->radius) n = follow_coarsely(starts, s, n);
	for (int32_t i = 0; i < n; i++) {
		peaks[i].terms = s->start->terms ? terms_of(s->w, i) : NULL;
		follow(&peaks[i], s, &starts[i], s->spec->radius, MAX_STEPS);
		log_mass[i] = peaks[i].log_posterior + errors_of(error[i], &peaks[i].at);
		if (peaks[i].log_posterior > peaks[best].log_posterior) best = i;
	}
	for (int32_t i = 0; i < n; i++)
		if (i == best || !is_same_peak(s, &peaks[i], &peaks[best], error[best]))
			sum += exp(fmax(log_mass[i] - log_mass[best], -700));
	s->w->at = peaks[best].images;
	for (int32_t f = 0; s->start->terms && f < s->start->n_terms; f++) {
		s->start->terms[f] = peaks[best].terms[f];
		if (!peaks[best].terms[f].is_used) break;
	}
	out->pose = peaks[best].pose;
	out->log_likelihood = peaks[best].log_likelihood;
	out->p_max = 1 / sum;
	memcpy(out->error, error[best], sizeof out->error);
}

cyc_status cyc_pose_search(cyc_found_pose *out, cyc_search_work *w, const cyc_pose_data *data,
                           const cyc_pose_reference *reference, const cyc_search_spec *spec,
                           const cyc_pose_start *start)
{
	cyc_status st = CYC_OK;
	cyc_rotation_grid *own = NULL;
	int64_t n = 0;
	const cyc_pose *old = &start->old;
	search s = { w,
		         data,
		         reference,
		         spec,
		         start,
		         cyc_mat3_mul(cyc_mat3_transpose(start->R_tomo_part), old->R_tomo_ref),
		         spec->sigma_rotation_rad[start->half],
		         spec->sigma_offset_A[start->half],
		         spec->rotations };
	memset(out, 0, sizeof *out);
	out->pose = *old;
	if (data->n_images == 0) goto done;
	if (spec->is_near) {
		CYC_TRY(cyc_rotation_grid_near(&own, spec->order, spec->oversampling, s.sigma_rotation_rad,
		                               s.R_part_old));
		own->perturbation_rad = spec->perturbation_rad;
		CYC_TRY(reserve(w, own->n));
		s.grid = own;
	}
	if (s.grid) {
		bool is_last = !spec->do_follow && spec->oversampling == 0;
		cyc_pose_data some = *data;
		if (spec->do_follow) {
			choose_images(w, data, spec->coarse_radius, COARSE_SHARE);
			some.use = w->use;
			s.data = &some;
		}
		n = coarse_pass(&s, is_last ? spec->radius : spec->coarse_radius);
		s.data = data;
		out->n_significant = count_significant(w, n, spec->adaptive_fraction);
		if (!spec->do_follow) {
			peak p = { .terms = NULL };
			fine_pass(out, &s, out->n_significant);
			evaluate(&p, &s, &out->pose, spec->radius);
			(void)errors_of(out->error, &p.at);
		}
	}
	CYC_ASSERT(!start->terms || data->n_images <= start->n_terms);
	if (spec->do_follow) follow_best(out, &s, n);
done:
	cyc_rotation_grid_destroy(&own);
	return st;
}

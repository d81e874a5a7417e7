#include "refine3d/pose_sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * Rotations and offsets of a trial, and the largest call: one or more whole particles, or part of one. Which
 * samples are kept depends on the trials alone.
 */
enum {
	CHUNK = 192,
	SHIFT_CHUNK = 128,
	CALL_SAMPLES = 1 << 18,
	CALL_TRIALS = 2048,
	CALL_ROTATIONS = 1 << 15,
	CALL_OFFSETS = 1 << 16
};
static const double NEGLIGIBLE = 25; /* e^-25 of the best weight */
static const double COARSE_SHARE =
	0.85; /* of the weight that images used for sampling hold, if samples are only starts */

typedef struct {
	union {
		double weight; /* log */
		struct {
			int32_t rank, first; /* by weight, and by that of the best sample of the same rotation */
		};
	};
	int32_t o, t;
} sample;

/*
 * Largest number of samples kept, however fine the grids. If more are significant, the posterior is so flat
 * that the best half million are as good as all. The list is twice as long, so that it is rarely sorted.
 */
enum { KEPT = 1 << 19, ROOM = 2 * KEPT };

typedef struct {
	double weight;
	int32_t i;
} ranked;

/* One particle's sampling. */
typedef struct {
	const cyc_search_one *s;
	cyc_sampling out;
	const cyc_rotation_grid *grid;
	cyc_rotation_grid *own; /* made for it, or NULL */
	cyc_pose_data some;     /* its images that are used */
	int32_t next_o, next_t; /* what is not tried yet */
	double lost, lost_best; /* sum of exp(weight - lost_best) of samples that count, but were not kept */
} one;

/* Where a trial's rotations and offsets begin in the grids of its particle; the part of a call that one
 * particle has. */
typedef struct {
	int32_t i, o, t;
} origin;
typedef struct {
	one *of;
	int32_t first_trial, end_trial;
	int64_t first, n;       /* samples */
	bool is_first, is_last; /* the particle's samples begin, and end, in this call */
} part;

struct cyc_sampler {
	cyc_pose_store *store;
	const cyc_search_spec *spec;
	int32_t n_most, max_images;
	one *ones;       /* n_most */
	uint8_t *use;    /* n_most x max_images */
	ranked *ranking; /* the same */
	cyc_pose_trials in;
	cyc_pose_trial *trials;
	cyc_pose_image *images;
	cyc_pose_rotation *rotations;
	cyc_pose_offset *offsets;
	origin *origins; /* of trials */
	int64_t *counts; /* of trials */
	sample *samples; /* CALL_SAMPLES: samples kept from a call */
	part *parts;     /* n_most */
	int32_t n_parts;
	/* For a particle that needs several calls, and for the children of samples. */
	sample *list; /* ROOM, made when it is needed */
	int64_t n_list;
	cyc_pose_sample *children; /* CALL_SAMPLES, made when they are needed */
};

void cyc_sampler_destroy(cyc_sampler **p)
{
	cyc_sampler *w = *p;
	if (!w) return;
	for (int32_t i = 0; w->ones && i < w->n_most; i++) cyc_rotation_grid_destroy(&w->ones[i].own);
	void *const all[] = { w->ones,    w->use,    w->ranking, w->trials, w->images, w->rotations, w->offsets,
		                  w->origins, w->counts, w->samples, w->parts,  w->list,   w->children };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(all[i]);
	cyc_free(w);
	*p = NULL;
}

static int32_t most_offsets(const cyc_search_spec *spec)
{
	return spec->offsets->n > CALL_OFFSETS ? spec->offsets->n : CALL_OFFSETS;
}

double cyc_sampler_bytes(const cyc_search_spec *spec, int32_t n_particles, int32_t max_images)
{
	double all = (double)n_particles * max_images;
	bool is_long = spec->is_near || (double)spec->rotations->n * spec->offsets->n > CALL_SAMPLES;
	return n_particles * (double)(sizeof(one) + sizeof(part)) +
	       all * (double)(1 + sizeof(ranked) + sizeof(cyc_pose_image)) +
	       CALL_TRIALS * (double)(sizeof(cyc_pose_trial) + sizeof(origin) + sizeof(int64_t)) +
	       CALL_ROTATIONS * (double)sizeof(cyc_pose_rotation) +
	       most_offsets(spec) * (double)sizeof(cyc_pose_offset) +
	       CALL_SAMPLES * (double)(2 * sizeof(sample) + sizeof(double)) +
	       (is_long ? ROOM * (double)sizeof(sample) : 0) +
	       (spec->do_follow ? 0 : CALL_SAMPLES * (double)sizeof(cyc_pose_sample));
}

double cyc_sampler_device_bytes(void)
{
	return CALL_SAMPLES * (double)(sizeof(cyc_pose_sample) + sizeof(double)) +
	       CALL_ROTATIONS * (double)sizeof(cyc_pose_rotation);
}

cyc_status cyc_sampler_create(cyc_sampler **out, cyc_pose_store *store, const cyc_search_spec *spec,
                              int32_t n_particles, int32_t max_images)
{
	cyc_status st = CYC_OK;
	cyc_sampler *w = NULL;
	size_t n = (size_t)n_particles, all = n * (size_t)max_images;
	*out = NULL;
	CYC_TRY(cyc_alloc(&w, 1, sizeof *w));
	w->store = store;
	w->spec = spec;
	w->n_most = n_particles;
	w->max_images = max_images;
	CYC_TRY(cyc_alloc(&w->ones, n, sizeof *w->ones));
	CYC_TRY(cyc_alloc(&w->parts, n, sizeof *w->parts));
	CYC_TRY(cyc_alloc(&w->use, all, sizeof *w->use));
	CYC_TRY(cyc_alloc(&w->ranking, all, sizeof *w->ranking));
	CYC_TRY(cyc_alloc(&w->images, all, sizeof *w->images));
	CYC_TRY(cyc_alloc(&w->trials, CALL_TRIALS, sizeof *w->trials));
	CYC_TRY(cyc_alloc(&w->origins, CALL_TRIALS, sizeof *w->origins));
	CYC_TRY(cyc_alloc(&w->counts, CALL_TRIALS, sizeof *w->counts));
	CYC_TRY(cyc_alloc(&w->rotations, CALL_ROTATIONS, sizeof *w->rotations));
	CYC_TRY(cyc_alloc(&w->offsets, most_offsets(spec), sizeof *w->offsets));
	CYC_TRY(cyc_alloc(&w->samples, CALL_SAMPLES, sizeof *w->samples));
	*out = w;
	w = NULL;
done:
	cyc_sampler_destroy(&w);
	return st;
}

/* ---------------------------------------------------------------- one particle */

static cyc_vec3 minus(cyc_vec3 a, cyc_vec3 b) { return (cyc_vec3){ a.x - b.x, a.y - b.y, a.z - b.z }; }

static double log_prior_offset(const one *p, cyc_vec3 offset_A)
{
	return -0.5 * cyc_vec3_norm2(minus(offset_A, p->s->of->start.prior.offset_A)) /
	       cyc_square(p->s->sigma_offset_A);
}

/* A lattice offset counts against the position: rlnOrigin is subtracted. */
static cyc_pose_offset offset_of(const one *p, cyc_vec3 lattice_A, double log_prior)
{
	double shift = p->s->spec->offset_perturbation_A;
	cyc_vec3 t =
		minus(p->s->of->start.old.offset_A,
	          cyc_mat3_apply(p->s->of->start.R_tomo_part,
	                         (cyc_vec3){ lattice_A.x + shift, lattice_A.y + shift, lattice_A.z + shift }));
	return (cyc_pose_offset){ { t.x, t.y, t.z }, log_prior };
}

static double lattice_prior(const one *p, int32_t t)
{
	const cyc_pose_start *start = &p->s->of->start;
	return log_prior_offset(
		p, minus(start->old.offset_A, cyc_mat3_apply(start->R_tomo_part, p->s->spec->offsets->offset_A[t])));
}

static cyc_mat3 rotation(const one *p, int32_t o, int32_t child)
{
	return cyc_mat3_mul(p->s->of->start.R_tomo_part,
	                    cyc_rotation_grid_at(p->grid, o, child, p->s->R_part_old));
}

static void set_rotation(cyc_pose_rotation *r, const one *p, int32_t o, int32_t child)
{
	cyc_mat3 R = rotation(p, o, child);
	memcpy(r->R_tomo_ref, R.m, sizeof r->R_tomo_ref);
	r->log_prior = p->grid->log_prior[o];
}

static int by_weight(const void *a, const void *b)
{
	const sample *x = a, *y = b;
	if (x->weight != y->weight) return x->weight < y->weight ? 1 : -1;
	return x->o != y->o ? (x->o > y->o) - (x->o < y->o) : (x->t > y->t) - (x->t < y->t);
}

static int by_rank(const void *a, const void *b)
{
	const ranked *x = a, *y = b;
	return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1) : (x->i > y->i) - (x->i < y->i);
}

/* Flags of the images with most weight, enough for a share of all weight. */
static void choose_images(uint8_t *use, ranked *r, const cyc_pose_data *data, int32_t radius, double share)
{
	double all = 0, sum = 0;
	int32_t within = cyc_coefficients_within(data->list, radius);
	for (int32_t f = 0; f < data->n_images; f++) {
		const cyc_particle_image *image = &data->images[f];
		r[f] = (ranked){ 0, f };
		for (int32_t j = 0; j < image->n && j < within; j++) r[f].weight += (double)image->weight[j];
		all += r[f].weight;
		use[f] = 0;
	}
	qsort(r, (size_t)data->n_images, sizeof *r, by_rank);
	for (int32_t f = 0; f < data->n_images && sum < share * all; f++) {
		sum += r[f].weight;
		use[r[f].i] = 1;
	}
}

/* Sort the samples and drop negligible ones; beyond KEPT also the worst, whose sum is noted. Returns the
 * number kept. */
static int64_t keep_best(one *p, sample *samples, int64_t n)
{
	if (n > 0) qsort(samples, (size_t)n, sizeof *samples, by_weight);
	while (n > 0 && samples[n - 1].weight < samples[0].weight - NEGLIGIBLE) n--;
	for (; n > KEPT; n--) {
		double weight = samples[n - 1].weight;
		if (weight > p->lost_best) {
			p->lost *= exp(p->lost_best - weight);
			p->lost_best = weight;
		}
		p->lost += exp(weight - p->lost_best);
	}
	return n;
}

/* The fewest samples that hold the adaptive fraction of the posterior; all kept samples if these do not. */
static int64_t count_significant(const one *p, const sample *samples, int64_t n, double fraction)
{
	double sum = 0, so_far = 0;
	for (int64_t i = 0; i < n; i++) sum += exp(samples[i].weight - samples[0].weight);
	if (p->lost > 0) sum += p->lost * exp(p->lost_best - samples[0].weight);
	for (int64_t i = 0; i < n; i++) {
		so_far += exp(samples[i].weight - samples[0].weight);
		if (so_far > fraction * sum) return i + 1;
	}
	return n;
}

/* Where to start: the old pose, and the best samples that are more than a step apart. */
static int32_t choose_starts(const one *p, const sample *samples, int64_t n_samples)
{
	cyc_pose *starts = p->out.starts;
	int32_t n = 0;
	double step = 1.2 * cyc_healpix_step_rad(p->grid->order);
	if (p->grid->is_relative) starts[n++] = p->s->of->start.old;
	for (int64_t i = 0; i < n_samples && n < p->s->spec->n_starts; i++) {
		const sample *q = &samples[i];
		cyc_mat3 R = rotation(p, q->o, -1);
		bool is_apart = true;
		for (int32_t j = 0; j < n && is_apart; j++)
			is_apart = cyc_search_distance_rad(p->s, R, starts[j].R_tomo_ref) >
			           (j == 0 && p->grid->is_relative ? 0.5 * step : step);
		const cyc_pose_offset t = offset_of(p, p->s->spec->offsets->offset_A[q->t], 0);
		if (is_apart) starts[n++] = (cyc_pose){ R, { t.A[0], t.A[1], t.A[2] } };
	}
	if (n == 0) starts[n++] = p->s->of->start.old; /* no score is a number */
	return n;
}

/* ---------------------------------------------------------------- calls */

static void clear_call(cyc_sampler *w)
{
	w->in = (cyc_pose_trials){ .trials = w->trials,
		                       .images = w->images,
		                       .rotations = w->rotations,
		                       .offsets = w->offsets,
		                       .margin = NEGLIGIBLE };
	w->n_parts = 0;
}

/* The images of a particle up to a radius, for the following trials. */
static void add_images(cyc_sampler *w, const one *p, const cyc_pose_data *data, int32_t radius)
{
	for (int32_t f = 0; f < data->n_images; f++) {
		const cyc_particle_image *image = &data->images[f];
		int32_t n = cyc_pose_count(data, &p->s->of->reference, radius, f);
		if (n == 0) continue;
		cyc_pose_image *to = &w->images[w->in.n_images++];
		*to = (cyc_pose_image){ .first = cyc_pose_store_place(w->store, p->s->i, f),
			                    .px_per_A = image->px_per_A,
			                    .n = n };
		memcpy(to->R_img_tomo, image->R_img_tomo.m, sizeof to->R_img_tomo);
	}
}

/* A trial of the next items of the lists; its images are the last n_images. */
static void add_trial(cyc_sampler *w, const one *p, int32_t n_images, const cyc_pose_trial *ranges)
{
	cyc_pose_trial *t = &w->trials[w->in.n++];
	*t = *ranges;
	t->first_image = w->in.n_images - n_images;
	t->n_images = n_images;
	t->first_rotation = w->in.n_rotations;
	t->map = p->s->of->reference.map;
	t->amplitude = p->s->of->reference.amplitude;
	w->in.n_rotations += t->n_rotations;
}

/* ---------------------------------------------------------------- children */

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

/* Group sorted samples by rotation; the order of rotations, and of samples within each, is kept. The
 * weights are lost. */
static void group_by_rotation(sample *samples, int64_t n)
{
	for (int64_t i = 0; i < n; i++) samples[i].rank = (int32_t)i;
	qsort(samples, (size_t)n, sizeof *samples, by_rotation);
	for (int64_t i = 0; i < n; i++)
		samples[i].first = i > 0 && samples[i].o == samples[i - 1].o ? samples[i - 1].first : samples[i].rank;
	qsort(samples, (size_t)n, sizeof *samples, by_group);
}

/* The best of the children, and the sum of all by it. */
typedef struct {
	double best, sum;
} fine;

static cyc_status try_children(fine *f, const one *p, cyc_sampler *w)
{
	cyc_status st = CYC_OK;
	cyc_found_pose *out = p->out.found;
	const cyc_pose_sample *s = w->children;
	if (w->in.n == 0) goto done;
	CYC_TRY(cyc_pose_try(w->children, w->counts, w->store, &w->in));
	for (int32_t i = 0; i < w->in.n; i++)
		for (int64_t k = 0; k < w->counts[i]; k++, s++) {
			const cyc_pose_rotation *r = &w->rotations[w->trials[i].first_rotation + s->rotation];
			const cyc_pose_offset *t = &w->offsets[w->trials[i].first_offset + s->offset];
			double weight = s->score + r->log_prior + t->log_prior;
			if (weight > f->best) {
				f->sum *= exp(f->best - weight);
				f->best = weight;
				memcpy(out->pose.R_tomo_ref.m, r->R_tomo_ref, sizeof r->R_tomo_ref);
				out->pose.offset_A = (cyc_vec3){ t->A[0], t->A[1], t->A[2] };
				out->log_likelihood = s->score;
			}
			f->sum += exp(weight - f->best);
		}
done:
	return st;
}

static void begin_children(cyc_sampler *w, const one *p)
{
	clear_call(w);
	add_images(w, p, &p->s->of->data, p->s->spec->radius);
}

/* The children of one sample's offset. */
static void add_offset_children(cyc_sampler *w, const one *p, int32_t t)
{
	const cyc_search_spec *spec = p->s->spec;
	double prior = lattice_prior(p, t);
	int32_t n = spec->oversampling > 0 ? 8 : 1;
	for (int32_t c = 0; c < n; c++)
		w->offsets[w->in.n_offsets++] = offset_of(
			p, n > 1 ? cyc_offset_grid_child(spec->offsets, t, c) : spec->offsets->offset_A[t], prior);
}

/* Children of the significant samples, each at the full resolution; keeps the best. Uses the samples up.
 * (T8.9) */
static cyc_status fine_pass(const one *p, cyc_sampler *w, sample *samples, int64_t n_significant)
{
	cyc_status st = CYC_OK;
	int32_t n_children = cyc_rotation_grid_n_children(p->grid), n_t = 0;
	fine f = { -HUGE_VAL, 0 };
	if (!w->children) CYC_TRY(cyc_alloc(&w->children, CALL_SAMPLES, sizeof *w->children));
	group_by_rotation(samples, n_significant);
	begin_children(w, p);
	for (int64_t i = 0; i < n_significant; i++) {
		int32_t o = samples[i].o;
		bool is_last = i + 1 == n_significant || samples[i + 1].o != o;
		add_offset_children(w, p, samples[i].t);
		n_t = w->in.n_offsets -
		      (w->in.n ? w->trials[w->in.n - 1].first_offset + w->trials[w->in.n - 1].n_offsets : 0);
		if (n_t + 8 <= SHIFT_CHUNK && !is_last) continue;
		for (int32_t c = 0; c < n_children; c++)
			set_rotation(&w->rotations[w->in.n_rotations + c], p, o, p->s->spec->oversampling > 0 ? c : -1);
		add_trial(w, p, w->in.n_images,
		          &(cyc_pose_trial){
					  .n_rotations = n_children, .first_offset = w->in.n_offsets - n_t, .n_offsets = n_t });
		if (cyc_pose_trials_count(&w->in) + (int64_t)n_children * SHIFT_CHUNK <= CALL_SAMPLES &&
		    w->in.n_offsets + SHIFT_CHUNK <= CALL_OFFSETS &&
		    w->in.n_rotations + n_children <= CALL_ROTATIONS && w->in.n < CALL_TRIALS)
			continue;
		CYC_TRY(try_children(&f, p, w));
		begin_children(w, p);
	}
	CYC_TRY(try_children(&f, p, w));
	p->out.found->p_max = f.sum > 0 ? 1 / f.sum : 0;
	p->out.starts[0] = p->out.found->pose;
done:
	return st;
}

/* ---------------------------------------------------------------- samples */

/* The prior at all rotations and offsets, before a particle's images are evaluated. */
static cyc_status begin_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	cyc_status st = CYC_OK;
	cyc_sampler *w = arg;
	const cyc_search_spec *spec = w->spec;
	one *p = &w->ones[i];
	size_t at = (size_t)i * (size_t)w->max_images;
	p->next_o = p->next_t = 0;
	p->lost = 0;
	p->lost_best = -HUGE_VAL;
	p->grid = p->s->grid;
	p->some = p->s->of->data;
	*p->out.n_starts = 1;
	p->out.starts[0] = p->s->of->start.old;
	if (spec->do_follow) {
		choose_images(w->use + at, w->ranking + at, &p->some, spec->coarse_radius, COARSE_SHARE);
		p->some.use = w->use + at;
	}
	cyc_rotation_grid_destroy(&p->own);
	if (!spec->is_near) goto done;
	CYC_TRY(cyc_rotation_grid_near(&p->own, spec->order, spec->oversampling, p->s->sigma_rotation_rad,
	                               p->s->R_part_old));
	p->own->perturbation_rad = spec->perturbation_rad;
	p->grid = p->own;
done:
	return st;
}

static cyc_status rotations_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	cyc_sampler *w = arg;
	const cyc_pose_trial *t = &w->trials[i];
	for (int32_t o = 0; o < t->n_rotations; o++)
		set_rotation(&w->rotations[t->first_rotation + o], &w->ones[w->origins[i].i], w->origins[i].o + o,
		             -1);
	return CYC_OK;
}

/* The next trials of a particle, as many as there is room for. */
static void add_part(cyc_sampler *w, int32_t i)
{
	one *p = &w->ones[i];
	const cyc_search_spec *spec = w->spec;
	bool is_last = !spec->do_follow && spec->oversampling == 0;
	int32_t first_offset = w->in.n_offsets, n_images = w->in.n_images, n_t = spec->offsets->n;
	part *q = &w->parts[w->n_parts++];
	*q = (part){ .of = p, .first_trial = w->in.n, .is_first = p->next_o == 0 && p->next_t == 0 };
	add_images(w, p, &p->some, is_last ? spec->radius : spec->coarse_radius);
	n_images = w->in.n_images - n_images;
	for (int32_t t = 0; t < n_t; t++)
		w->offsets[w->in.n_offsets++] = offset_of(p, spec->offsets->offset_A[t], lattice_prior(p, t));
	int64_t n_samples = cyc_pose_trials_count(&w->in);
	while (p->next_o < p->grid->n) {
		int32_t o = p->next_o, t = p->next_t;
		const cyc_pose_trial ranges = { .n_rotations = p->grid->n - o < CHUNK ? p->grid->n - o : CHUNK,
			                            .first_offset = first_offset + t,
			                            .n_offsets = n_t - t < SHIFT_CHUNK ? n_t - t : SHIFT_CHUNK };
		n_samples += (int64_t)ranges.n_rotations * ranges.n_offsets;
		if (n_samples > CALL_SAMPLES || w->in.n == CALL_TRIALS ||
		    w->in.n_rotations + ranges.n_rotations > CALL_ROTATIONS)
			break;
		w->origins[w->in.n] = (origin){ i, o, t };
		add_trial(w, p, n_images, &ranges);
		p->next_t = t + ranges.n_offsets < n_t ? t + ranges.n_offsets : 0;
		if (p->next_t == 0) p->next_o += ranges.n_rotations;
	}
	q->end_trial = w->in.n;
	q->is_last = p->next_o == p->grid->n;
}

/* Whole particles, as many as there is room for, or a part of one. Returns the next particle. */
static int32_t fill_call(cyc_sampler *w, int32_t i, int32_t n)
{
	clear_call(w);
	for (; i < n; i++) {
		const one *p = &w->ones[i];
		int32_t n_t = w->spec->offsets->n,
				n_trials = ((p->grid->n + CHUNK - 1) / CHUNK) * ((n_t + SHIFT_CHUNK - 1) / SHIFT_CHUNK);
		int64_t n_rotations = (int64_t)p->grid->n * ((n_t + SHIFT_CHUNK - 1) / SHIFT_CHUNK);
		bool fits = cyc_pose_trials_count(&w->in) + (int64_t)p->grid->n * n_t <= CALL_SAMPLES &&
		            w->in.n + n_trials <= CALL_TRIALS && w->in.n_rotations + n_rotations <= CALL_ROTATIONS &&
		            w->in.n_offsets + n_t <= CALL_OFFSETS;
		if (!fits && w->n_parts > 0) return i;
		add_part(w, i);
		if (!w->parts[w->n_parts - 1].is_last) return i;
		if (!fits) return i + 1;
	}
	return n;
}

/* Scores of a part to weights, numbers of trials to those of the grids. */
static void convert(cyc_sampler *w, const part *q)
{
	sample *to = w->samples + q->first;
	for (int32_t i = q->first_trial; i < q->end_trial; i++) {
		const cyc_pose_trial *t = &w->trials[i];
		for (int64_t k = 0; k < w->counts[i]; k++, to++) {
			cyc_pose_sample from;
			_Static_assert(sizeof from == sizeof *to, "samples are made in place");
			memcpy(&from, to, sizeof from);
			*to = (sample){ .weight = from.score + w->rotations[t->first_rotation + from.rotation].log_prior +
				                      w->offsets[t->first_offset + from.offset].log_prior,
				            .o = w->origins[i].o + from.rotation,
				            .t = w->origins[i].t + from.offset };
		}
	}
}

/* From all samples of a particle, in any order: the number of significant ones, and the starts of followed
 * poses. */
static int64_t finish(one *p, sample *samples, int64_t n)
{
	const cyc_search_spec *spec = p->s->spec;
	n = keep_best(p, samples, n);
	p->out.found->n_significant = count_significant(p, samples, n, spec->adaptive_fraction);
	if (spec->do_follow) *p->out.n_starts = choose_starts(p, samples, n);
	return n;
}

static cyc_status part_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	cyc_sampler *w = arg;
	const part *q = &w->parts[i];
	convert(w, q);
	if (q->is_first && q->is_last) (void)finish(q->of, w->samples + q->first, q->n);
	return CYC_OK;
}

/* A particle that takes several calls: its best samples carry over from call to call. */
static cyc_status add_to_list(cyc_sampler *w, const part *q)
{
	cyc_status st = CYC_OK;
	if (!w->list) CYC_TRY(cyc_alloc(&w->list, ROOM, sizeof *w->list));
	if (q->is_first) w->n_list = 0;
	for (int64_t k = 0; k < q->n; k++) {
		if (w->n_list == ROOM) w->n_list = keep_best(q->of, w->list, w->n_list);
		w->list[w->n_list++] = w->samples[q->first + k];
	}
	if (q->is_last) w->n_list = finish(q->of, w->list, w->n_list);
done:
	return st;
}

static cyc_status end_call(cyc_sampler *w, int n_threads)
{
	cyc_status st = CYC_OK;
	int64_t n = 0;
	for (int32_t k = 0; k < w->n_parts; k++) {
		part *q = &w->parts[k];
		q->first = n;
		for (int32_t i = q->first_trial; i < q->end_trial; i++) n += w->counts[i];
		q->n = n - q->first;
	}
	CYC_TRY(cyc_parallel_for(w->n_parts, n_threads, part_task, w));
	int32_t n_parts = w->n_parts;
	for (int32_t k = 0; k < n_parts; k++) {
		const part *q = &w->parts[k];
		bool is_whole = q->is_first && q->is_last;
		if (!is_whole) CYC_TRY(add_to_list(w, q));
		if (w->spec->do_follow || !q->is_last) continue;
		CYC_TRY(
			fine_pass(q->of, w, is_whole ? w->samples + q->first : w->list, q->of->out.found->n_significant));
	}
done:
	return st;
}

cyc_status cyc_sampler_run(cyc_sampler *w, const cyc_sampling *particles, int32_t n)
{
	cyc_status st = CYC_OK;
	int n_threads = cyc_backend_n_threads(cyc_pose_store_backend(w->store));
	CYC_ASSERT(n <= w->n_most);
	for (int32_t i = 0; i < n; i++) {
		w->ones[i].s = particles[i].s;
		w->ones[i].out = particles[i];
	}
	CYC_TRY(cyc_parallel_for(n, n_threads, begin_task, w));
	for (int32_t i = 0; i < n;) {
		CYC_TRY(cyc_cancel_check());
		i = fill_call(w, i, n);
		CYC_TRY(cyc_parallel_for(w->in.n, n_threads, rotations_task, w));
		CYC_TRY(cyc_pose_try((void *)w->samples, w->counts, w->store, &w->in));
		CYC_TRY(end_call(w, n_threads));
	}
done:
	return st;
}

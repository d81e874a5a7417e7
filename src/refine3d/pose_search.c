#include "refine3d/pose_search.h"

#include "refine3d/pose_follow.h"
#include "refine3d/pose_sampling.h"

#include <math.h>
#include <string.h>

enum { MAX_STEPS = 12, COARSE_STEPS = 4 };

/* One particle of a block: its maxima are followed first at the coarse resolution, then at the full one. */
typedef struct {
	cyc_search_one s;
	cyc_pose starts[CYC_MAX_STARTS];
	int32_t n_tracks, best; /* best: track of the pose that was found */
	bool is_coarse, has_ended;
	cyc_track tracks[CYC_MAX_STARTS];
} place;

struct cyc_search_work {
	cyc_pose_store *store;
	const cyc_search_spec *spec;
	int n_threads;
	cyc_sampler *sampler;       /* NULL: nothing is sampled */
	cyc_sampling *samplings;    /* n_threads */
	int32_t n_most, n, n_terms; /* n_terms: room for one pose */
	place *places;              /* n_most */
	cyc_image_terms *terms;     /* n_most x n_tracks() x 2 poses */
	cyc_pose_data *data;        /* n_most */
	cyc_pose_query *queries;    /* n_most x n_tracks(): the next poses of tracks */
	int32_t n_queries;
};

void cyc_search_work_destroy(cyc_search_work **p)
{
	cyc_search_work *w = *p;
	if (!w) return;
	cyc_sampler_destroy(&w->sampler);
	cyc_free(w->samplings);
	cyc_free(w->places);
	cyc_free(w->terms);
	cyc_free(w->data);
	cyc_free(w->queries);
	cyc_free(w);
	*p = NULL;
}

/* Most maxima of a particle that are followed. */
static int32_t n_tracks(const cyc_search_spec *spec) { return spec->n_starts > 1 ? spec->n_starts : 1; }

/* Terms are kept of the maxima that poses are followed to, and of their next steps. */
static size_t terms_count(const cyc_search_spec *spec, int32_t max_images)
{
	return spec->do_follow ? 2 * (size_t)n_tracks(spec) * ((size_t)max_images + 1) : 0;
}

static bool does_sample(const cyc_search_spec *spec) { return spec->rotations || spec->is_near; }

double cyc_search_work_bytes(const cyc_search_spec *spec, const cyc_search_size *size)
{
	return (does_sample(spec) ? cyc_sampler_bytes(spec, size->n_particles, size->max_images) : 0) +
	       size->n_particles *
	           ((double)(sizeof(place) + sizeof(cyc_sampling) + sizeof(cyc_pose_data)) +
	            n_tracks(spec) * (double)sizeof(cyc_pose_query) +
	            (double)terms_count(spec, size->max_images) * (double)sizeof(cyc_image_terms));
}

cyc_status cyc_search_work_create(cyc_search_work **out, cyc_pose_store *store, const cyc_search_spec *spec,
                                  const cyc_search_size *size)
{
	cyc_status st = CYC_OK;
	cyc_search_work *w = NULL;
	size_t n = (size_t)size->n_particles;
	*out = NULL;
	CYC_ASSERT(spec->n_starts <= CYC_MAX_STARTS);
	CYC_TRY(cyc_alloc(&w, 1, sizeof *w));
	w->store = store;
	w->spec = spec;
	w->n_most = size->n_particles;
	w->n_terms = size->max_images + 1;
	w->n_threads = cyc_backend_n_threads(cyc_pose_store_backend(store));
	if (does_sample(spec))
		CYC_TRY(cyc_sampler_create(&w->sampler, store, spec, size->n_particles, size->max_images));
	CYC_TRY(cyc_alloc(&w->samplings, n, sizeof *w->samplings));
	CYC_TRY(cyc_alloc(&w->places, n, sizeof *w->places));
	CYC_TRY(cyc_alloc(&w->terms, n * terms_count(spec, size->max_images), sizeof *w->terms));
	CYC_TRY(cyc_alloc(&w->data, n, sizeof *w->data));
	CYC_TRY(cyc_alloc(&w->queries, n * (size_t)n_tracks(spec), sizeof *w->queries));
	*out = w;
	w = NULL;
done:
	cyc_search_work_destroy(&w);
	return st;
}

const cyc_pose_derivatives *cyc_search_work_at(const cyc_search_work *w, int32_t i)
{
	const place *p = &w->places[i];
	return &p->tracks[p->best].best.images;
}

/* ---------------------------------------------------------------- one particle */

/* Follow all starts from here. */
static void begin_tracks(place *p, int32_t n, bool is_coarse)
{
	const cyc_search_spec *spec = p->s.spec;
	p->n_tracks = n;
	p->is_coarse = is_coarse;
	for (int32_t i = 0; i < n; i++)
		cyc_track_begin(&p->tracks[i], &p->starts[i], is_coarse ? spec->coarse_radius : spec->radius,
		                !spec->do_follow ? 0
		                : is_coarse      ? COARSE_STEPS
		                                 : MAX_STEPS);
}

static void share_terms(cyc_search_work *w, int32_t i)
{
	place *p = &w->places[i];
	bool has_terms = p->s.of->start.terms && w->spec->do_follow;
	int32_t n = n_tracks(w->spec);
	for (int32_t k = 0; k < n; k++) {
		cyc_image_terms *t = has_terms ? w->terms + 2 * (size_t)(i * n + k) * (size_t)w->n_terms : NULL;
		p->tracks[k].best.terms = t;
		p->tracks[k].next.terms = has_terms ? t + w->n_terms : NULL;
	}
}

/* Where to begin, whatever is sampled. */
static cyc_status begin_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	cyc_search_work *w = arg;
	place *p = &w->places[i];
	const cyc_search_particle *of = p->s.of;
	cyc_found_pose *out = of->found;
	memset(out, 0, sizeof *out);
	out->pose = p->starts[0] = of->start.old;
	p->n_tracks = 1;
	p->best = 0;
	memset(&p->tracks[0].best, 0, sizeof p->tracks[0].best);
	CYC_ASSERT(!of->start.terms || of->data.n_images <= of->start.n_terms);
	p->has_ended = of->data.n_images == 0 || (!does_sample(w->spec) && !w->spec->do_follow);
	return CYC_OK;
}

/* The first poses to follow. */
static cyc_status follow_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	cyc_search_work *w = arg;
	const cyc_search_spec *spec = w->spec;
	place *p = &w->places[i];
	if (p->has_ended) return CYC_OK;
	share_terms(w, (int32_t)i);
	begin_tracks(p, p->n_tracks, does_sample(spec) && spec->do_follow && spec->coarse_radius < spec->radius);
	return CYC_OK;
}

/* All maxima are reached: distinct ones are followed at the full resolution, or the best is the result. */
static void end_stage(place *p)
{
	cyc_found_pose *out = p->s.of->found;
	if (p->is_coarse) {
		begin_tracks(p, cyc_peaks_different(p->starts, p->tracks, p->n_tracks, &p->s), false);
		return;
	}
	p->has_ended = true;
	if (!p->s.spec->do_follow) {
		(void)cyc_peak_errors(out->error, &p->tracks[0].best.at);
		return;
	}
	p->best = cyc_peaks_best(out, p->tracks, p->n_tracks, &p->s);
	const cyc_pose_start *start = &p->s.of->start;
	const cyc_image_terms *terms = p->tracks[p->best].best.terms;
	for (int32_t f = 0; start->terms && f < start->n_terms; f++) {
		start->terms[f] = terms[f];
		if (!terms[f].is_used) break;
	}
}

static cyc_status advance_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	cyc_search_work *w = arg;
	place *p = &w->places[i];
	bool is_waiting = false;
	if (p->has_ended) return CYC_OK;
	for (int32_t k = 0; k < p->n_tracks; k++) {
		if (!p->tracks[k].has_ended) cyc_track_advance(&p->tracks[k], &p->s);
		is_waiting = is_waiting || !p->tracks[k].has_ended;
	}
	if (!is_waiting) end_stage(p);
	return CYC_OK;
}

/* ---------------------------------------------------------------- all particles */

/* The next poses of all tracks; false: all have ended. */
static bool list_queries(cyc_search_work *w)
{
	w->n_queries = 0;
	for (int32_t i = 0; i < w->n; i++) {
		place *p = &w->places[i];
		for (int32_t k = 0; k < p->n_tracks && !p->has_ended; k++) {
			cyc_track *t = &p->tracks[k];
			if (t->has_ended) continue;
			w->queries[w->n_queries++] = (cyc_pose_query){ .particle = i,
				                                           .data = &p->s.of->data,
				                                           .reference = &p->s.of->reference,
				                                           .pose = t->next.pose,
				                                           .radius = t->radius,
				                                           .out = &t->next.images,
				                                           .terms = p->is_coarse ? NULL : t->next.terms };
		}
	}
	return w->n_queries > 0;
}

static cyc_status sample(cyc_search_work *w)
{
	int32_t n = 0;
	for (int32_t i = 0; i < w->n; i++) {
		place *p = &w->places[i];
		if (!p->has_ended)
			w->samplings[n++] = (cyc_sampling){ &p->s, p->starts, &p->n_tracks, p->s.of->found };
	}
	return cyc_sampler_run(w->sampler, w->samplings, n);
}

cyc_status cyc_pose_search(cyc_search_work *w, const cyc_search_particle *particles, int32_t n)
{
	cyc_status st = CYC_OK;
	const cyc_search_spec *spec = w->spec;
	CYC_ASSERT(n <= w->n_most);
	w->n = n;
	for (int32_t i = 0; i < n; i++) {
		const cyc_pose_start *start = &particles[i].start;
		w->places[i].s = (cyc_search_one){ .i = i,
			                               .of = &particles[i],
			                               .spec = spec,
			                               .R_part_old = cyc_mat3_mul(cyc_mat3_transpose(start->R_tomo_part),
			                                                          start->old.R_tomo_ref),
			                               .sigma_rotation_rad = spec->sigma_rotation_rad[start->half],
			                               .sigma_offset_A = spec->sigma_offset_A[start->half],
			                               .grid = spec->rotations };
		w->data[i] = particles[i].data;
	}
	CYC_TRY(cyc_pose_store_set_images(w->store, w->data, n));
	CYC_TRY(cyc_parallel_for(n, w->n_threads, begin_task, w));
	if (does_sample(spec)) CYC_TRY(sample(w));
	CYC_TRY(cyc_parallel_for(n, w->n_threads, follow_task, w));
	while (list_queries(w)) {
		CYC_TRY(cyc_cancel_check());
		CYC_TRY(cyc_pose_ask(w->store, w->queries, w->n_queries));
		CYC_TRY(cyc_parallel_for(n, w->n_threads, advance_task, w));
	}
done:
	return st;
}

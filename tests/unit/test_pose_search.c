/* The search for the pose of one particle whose images follow the model: which samples count, which maxima
 * are followed, with which images, and how wrong the pose is that is found. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "blob_particle.h"
#include "temp_dir.h"

#include "refine3d/pose_search.h"
#include "refine3d/refine3d_internal.h"
#include "refine3d/stack_images.h"

enum { COARSE = 7 };
static const double FLAT = 1e6; /* width of a prior that says nothing */
static const cyc_symmetry NONE = { .n = 1, .ops = &(cyc_mat3){ { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } } } };

typedef struct {
	cyc_rotation_grid *grid;
	cyc_offset_grid *offsets;
	cyc_search_spec spec;
	cyc_pose_start start;
	cyc_search_work *work;
} search_room;

static void open_search(search_room *r, const model *m, int32_t order, bool do_follow)
{
	cyc_symmetry *none = NULL;
	memset(r, 0, sizeof *r);
	ASSERT_OK(cyc_symmetry_create(&none, "C1"));
	ASSERT_OK(cyc_rotation_grid_global(&r->grid, order, 0, none));
	ASSERT_OK(cyc_offset_grid_create(&r->offsets, 2.1, 2));
	r->spec = (cyc_search_spec){ .rotations = r->grid,
		                         .offsets = r->offsets,
		                         .do_follow = do_follow,
		                         .n_starts = CYC_MAX_STARTS,
		                         .coarse_radius = COARSE,
		                         .radius = do_follow ? S / 2 - 1 : COARSE,
		                         .sigma_rotation_rad = { FLAT, FLAT },
		                         .sigma_offset_A = { FLAT, FLAT },
		                         .adaptive_fraction = 0.999 };
	r->start = (cyc_pose_start){ .old = { cyc_mat3_identity(), { 0, 0, 0 } },
		                         .prior = { cyc_mat3_identity(), { 0, 0, 0 } },
		                         .R_tomo_part = cyc_mat3_identity() };
	ASSERT_OK(cyc_search_work_create(&r->work, m->store, &r->spec, &(cyc_search_size){ 1, N_IMAGES }));
	cyc_symmetry_destroy(&none);
}

static cyc_status search_one(cyc_found_pose *found, search_room *r, const model *m)
{
	const cyc_search_particle one = { m->particle, m->reference, r->start, found };
	return cyc_pose_search(r->work, &one, 1);
}

static void close_search(search_room *r)
{
	cyc_search_work_destroy(&r->work);
	cyc_rotation_grid_destroy(&r->grid);
	cyc_offset_grid_destroy(&r->offsets);
}

static double degrees_apart(cyc_mat3 a, cyc_mat3 b)
{
	return cyc_rad_to_deg(cyc_rotation_distance_rad(a, b, &NONE, NULL));
}

/* Data and weights of an image times a factor each. */
static void scale_image(model *m, int f, float data, float weight)
{
	for (int32_t j = 0; j < m->list->n; j++) {
		size_t at = (size_t)f * (size_t)m->list->n + (size_t)j;
		m->data[at] *= data;
		m->weight[at] *= weight;
	}
}

static int downward(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x < y) - (x > y);
}

/* The samples called significant are the fewest of all that hold the fraction of the posterior, whatever is
 * left out on the way. */
static void significant_samples_are_the_fewest(void **state)
{
	(void)state;
	static const double ROUNDING = 0.01; /* of scores in single precision, at the last sample */
	model m;
	search_room r;
	cyc_found_pose found;
	make_model(&m);
	for (int k = 0; k < 3; k++) {
		for (int f = 0; f < N_IMAGES; f++) scale_image(&m, f, k ? 3 : 2e-4F, k ? 3 : 2e-4F);
		open_search(&r, &m, 1, false);
		int64_t n = (int64_t)r.grid->n * r.offsets->n, fewest = 0;
		double *weight = NULL, sum = 0, part = 0;
		ASSERT_OK(cyc_alloc(&weight, n, sizeof *weight));
		cyc_mat3 *R = NULL;
		ASSERT_OK(cyc_alloc(&R, r.grid->n, sizeof *R));
		for (int32_t o = 0; o < r.grid->n; o++)
			R[o] = cyc_rotation_grid_at(r.grid, o, -1, cyc_mat3_identity());
		try_poses(weight, &m, R, r.grid->n, r.offsets->offset_A, r.offsets->n, COARSE);
		cyc_free(R);
		qsort(weight, (size_t)n, sizeof *weight, downward);
		for (int64_t i = 0; i < n; i++) sum += exp(weight[i] - weight[0]);
		while (fewest < n && part <= r.spec.adaptive_fraction * sum)
			part += exp(weight[fewest++] - weight[0]);
		ASSERT_OK(search_one(&found, &r, &m));
		print_message("%lld of %lld samples are significant, %lld by all scores\n",
		              (long long)found.n_significant, (long long)n, (long long)fewest);
		assert_true(fewest > 1);
		assert_true(fabs((double)(found.n_significant - fewest)) <= ROUNDING * (double)fewest + 1);
		cyc_free(weight);
		close_search(&r);
	}
	drop_model(&m);
}

/* Images of which the coarse part shows another pose, by as much as the log-likelihood of that one is to be
 * higher there; the rest shows the true pose. */
static void lead_astray(model *m, const cyc_pose *other, double by)
{
	model second;
	const cyc_pose right = true_pose();
	make_model_at(&second, other);
	size_t n = (size_t)m->list->n;
	int32_t n_coarse = cyc_coefficients_within(m->list, COARSE);
	for (int f = 0; f < N_IMAGES; f++) scale_image(&second, f, 0.01F, 0.01F);
	for (int f = 0; f < N_IMAGES; f++) scale_image(m, f, 0.01F, 0.01F);
	/* Linear in the strength of the other: two values tell all. */
	double lead[2];
	for (int k = 0; k < 2; k++) {
		lead[k] = formula(m, other, COARSE) - formula(m, &right, COARSE);
		for (size_t f = 0; f < N_IMAGES && k == 0; f++)
			for (int32_t j = 0; j < n_coarse; j++)
				m->data[f * n + (size_t)j] += second.data[f * n + (size_t)j];
	}
	double more = (by - lead[1]) / (lead[1] - lead[0]);
	for (size_t f = 0; f < N_IMAGES; f++)
		for (int32_t j = 0; j < n_coarse; j++)
			m->data[f * n + (size_t)j] += (float)more * second.data[f * n + (size_t)j];
	print_message("the other pose leads by %.1f at the coarse resolution, by %.1f at the full one\n",
	              formula(m, other, COARSE) - formula(m, &right, COARSE),
	              formula(m, other, S / 2 - 1) - formula(m, &right, S / 2 - 1));
	drop_model(&second);
}

/* By chance the right pose lies a few below another at the coarse resolution: it is followed all the same,
 * and the full resolution tells. */
static void what_may_be_right_is_followed(void **state)
{
	(void)state;
	/* At the poses themselves; about half of it at the maxima next to them. The coarse part pulls at the
	 * pose. */
	static const double LEAD = 14, NEAR_DEG = 3;
	const cyc_pose other = { cyc_euler_to_matrix(2.2, 0.7, 1.5), { -0.8, 0.6, 0.5 } };
	model m;
	search_room r;
	cyc_found_pose found;
	make_model(&m);
	lead_astray(&m, &other, LEAD);
	open_search(&r, &m, 2, true);
	ASSERT_OK(search_one(&found, &r, &m));
	double off = degrees_apart(found.pose.R_tomo_ref, true_pose().R_tomo_ref);
	print_message("found %.2f degrees from the true pose, %.1f from the other\n", off,
	              degrees_apart(found.pose.R_tomo_ref, other.R_tomo_ref));
	assert_true(off < NEAR_DEG);
	close_search(&r);
	drop_model(&m);
}

/* An image without the particle that weighs most does not decide where poses are followed from. */
static void one_image_does_not_choose(void **state)
{
	(void)state;
	static const double NEAR_DEG = 1;
	for (int bad = 0; bad < N_IMAGES; bad++) {
		model m;
		search_room r;
		cyc_found_pose found;
		make_model(&m);
		scale_image(&m, bad, 0, 1.6F);
		open_search(&r, &m, 2, true);
		ASSERT_OK(search_one(&found, &r, &m));
		double off = degrees_apart(found.pose.R_tomo_ref, true_pose().R_tomo_ref);
		print_message("image %d is empty: found %.2f degrees from the true pose\n", bad, off);
		assert_true(off < NEAR_DEG);
		close_search(&r);
		drop_model(&m);
	}
}

/* Over many draws of the noise, poses deviate from where they are without noise by their standard errors. */
static void standard_errors_are_what_noise_does(void **state)
{
	(void)state;
	enum { DRAWS = 60 };
	static const double SCATTER =
		4; /* standard deviations of a root mean square of 60 x 6 numbers, and more */
	model m;
	search_room r;
	cyc_found_pose still, found;
	make_model(&m);
	open_search(&r, &m, 2, true);
	r.spec.rotations = NULL; /* followed from the true pose */
	r.start.old = true_pose();
	ASSERT_OK(search_one(&still, &r, &m));
	size_t n = N_IMAGES * (size_t)m.list->n;
	cyc_cfloat *signal = NULL;
	ASSERT_OK(cyc_alloc(&signal, n, sizeof *signal));
	memcpy(signal, m.data, n * sizeof *signal);
	double sum = 0;
	for (int draw = 0; draw < DRAWS; draw++) {
		cyc_rng rng = cyc_rng_make(5, (uint32_t)draw, 0);
		/* Re and Im of the data have half the variance W of a coefficient each. */
		for (size_t i = 0; i < n; i++) {
			double sd = sqrt(0.5 * (double)m.weight[i]), re = sd * cyc_rng_normal(&rng),
				   im = sd * cyc_rng_normal(&rng);
			m.data[i] = signal[i] + (float)re + (float)im * I;
		}
		ASSERT_OK(search_one(&found, &r, &m));
		double turn[3], z[CYC_POSE_PARAMETERS];
		cyc_rotation_vector(turn,
		                    cyc_mat3_mul(cyc_mat3_transpose(still.pose.R_tomo_ref), found.pose.R_tomo_ref));
		for (int k = 0; k < 3; k++) z[k] = turn[k] / found.error[k];
		z[3] = (found.pose.offset_A.x - still.pose.offset_A.x) / found.error[3];
		z[4] = (found.pose.offset_A.y - still.pose.offset_A.y) / found.error[4];
		z[5] = (found.pose.offset_A.z - still.pose.offset_A.z) / found.error[5];
		for (int k = 0; k < CYC_POSE_PARAMETERS; k++) sum += z[k] * z[k] / (DRAWS * CYC_POSE_PARAMETERS);
	}
	print_message("deviations over standard errors %.3f\n", sqrt(sum));
	assert_true(fabs(sqrt(sum) - 1) < SCATTER / sqrt(2.0 * DRAWS * CYC_POSE_PARAMETERS));
	cyc_free(signal);
	close_search(&r);
	drop_model(&m);
}

enum { MANY = 7 };

/* Particles of different noise, images and starts, all with the reference of the first one. */
typedef struct {
	model models[MANY];
	cyc_search_particle particles[MANY];
	cyc_found_pose found[MANY];
	cyc_image_terms terms[MANY][N_IMAGES + 1];
} crowd;

static void make_crowd(crowd *c, const search_room *r, bool has_terms)
{
	memset(c, 0, sizeof *c);
	for (int i = 0; i < MANY; i++) {
		model *m = &c->models[i];
		make_model(m);
		cyc_rng rng = cyc_rng_make(6, (uint32_t)i, 0);
		for (size_t k = 0; k < N_IMAGES * (size_t)m->list->n; k++) {
			double sd = sqrt(0.5 * (double)m->weight[k]), re = sd * cyc_rng_normal(&rng),
				   im = sd * cyc_rng_normal(&rng);
			m->data[k] += (float)re + (float)im * I;
		}
		m->particle.n_images = N_IMAGES - i % 3;
		c->particles[i] = (cyc_search_particle){ m->particle, m->reference, r->start, &c->found[i] };
		c->particles[i].start.old.offset_A.x = 0.3 * i;
		c->particles[i].start.half = i % 2;
		c->particles[i].start.terms = has_terms ? c->terms[i] : NULL;
		c->particles[i].start.n_terms = N_IMAGES + 1;
	}
}

static void drop_crowd(crowd *c)
{
	for (int i = 0; i < MANY; i++) drop_model(&c->models[i]);
}

/* Poses of the crowd, by blocks of some size and another backend. */
static void search_crowd(crowd *c, const search_room *r, const char *backend, int n_threads, int32_t block)
{
	cyc_search_work *work = NULL;
	const cyc_search_size size = { block, N_IMAGES };
	model *m = &c->models[0];
	memset(c->found, 0, sizeof c->found);
	memset(c->terms, 0, sizeof c->terms);
	close_store(m);
	ASSERT_OK(cyc_backend_open(&m->be, backend, n_threads));
	open_store(m);
	ASSERT_OK(cyc_search_work_create(&work, m->store, &r->spec, &size));
	for (int32_t i = 0; i < MANY; i += block)
		ASSERT_OK(cyc_pose_search(work, c->particles + i, i + block < MANY ? block : MANY - i));
	cyc_search_work_destroy(&work);
}

/* Poses, errors and terms of images are the same to the bit for any size of the block, number of threads and
 * backend. */
static void blocks_threads_and_backends_do_not_matter(void **state)
{
	(void)state;
	static const struct {
		const char *backend;
		int n_threads;
		int32_t block;
	} WAYS[] = { { "cpu", 1, 1 },    { "cpu", 1, 3 },    { "cpu", 1, MANY },       { "cpu", 2, MANY },
		         { "cpu", 7, MANY }, { "strict", 2, 3 }, { "emulate:3", 2, MANY }, { "emulate:4", 1, 2 } };
	for (int is_followed = 0; is_followed < 2; is_followed++) {
		search_room r;
		crowd *c = NULL, *wanted = NULL;
		ASSERT_OK(cyc_alloc(&c, 1, sizeof *c));
		ASSERT_OK(cyc_alloc(&wanted, 1, sizeof *wanted));
		model m;
		make_model(&m);
		open_search(&r, &m, 1, is_followed);
		r.spec.oversampling = is_followed ? 0 : 1;
		make_crowd(c, &r, is_followed);
		for (size_t k = 0; k < sizeof WAYS / sizeof *WAYS; k++) {
			search_crowd(c, &r, WAYS[k].backend, WAYS[k].n_threads, WAYS[k].block);
			if (k == 0) *wanted = *c;
			for (int i = 0; i < MANY; i++) {
				assert_true(c->found[i].p_max > 0 && c->found[i].error[0] > 0);
				assert_true(!is_followed || c->terms[i][N_IMAGES - i % 3 - 1].is_used);
			}
			if (memcmp(c->found, wanted->found, sizeof c->found) != 0 ||
			    memcmp(c->terms, wanted->terms, sizeof c->terms) != 0)
				fail_msg("%s, %d threads, blocks of %d: other poses", WAYS[k].backend, WAYS[k].n_threads,
				         WAYS[k].block);
		}
		drop_crowd(c);
		close_search(&r);
		drop_model(&m);
		cyc_free(c);
		cyc_free(wanted);
	}
}

/* Wherever it starts, it ends at the maximum, well within the standard errors. */
static void following_ends_at_the_maximum(void **state)
{
	(void)state;
	enum { STARTS = 6 };
	static const double FAR_RAD = 0.06, FAR_A = 1.2; /* of the starts, per axis */
	static const double APART = 0.2;                 /* standard errors: a tenth for each end */
	cyc_rng rng = cyc_rng_make(5, 2, 0);
	cyc_found_pose first = { 0 }, found;
	model m;
	search_room r;
	double most = 0;
	make_model(&m);
	open_search(&r, &m, 1, true);
	r.spec.rotations = NULL;
	r.spec.offsets = NULL;
	for (int i = 0; i < STARTS; i++) {
		double turn[3], shift[3], w[3];
		const cyc_pose truth = true_pose();
		for (int a = 0; a < 3; a++) {
			turn[a] = FAR_RAD * (2 * cyc_rng_uniform(&rng) - 1);
			shift[a] = FAR_A * (2 * cyc_rng_uniform(&rng) - 1);
		}
		r.start.old.R_tomo_ref =
			cyc_mat3_mul(truth.R_tomo_ref, cyc_euler_to_matrix(turn[0], turn[1], turn[2]));
		r.start.old.offset_A = (cyc_vec3){ truth.offset_A.x + shift[0], truth.offset_A.y + shift[1],
			                               truth.offset_A.z + shift[2] };
		ASSERT_OK(search_one(&found, &r, &m));
		if (i == 0) first = found;
		cyc_rotation_vector(w,
		                    cyc_mat3_mul(cyc_mat3_transpose(first.pose.R_tomo_ref), found.pose.R_tomo_ref));
		const double off[CYC_POSE_PARAMETERS] = { w[0],
			                                      w[1],
			                                      w[2],
			                                      found.pose.offset_A.x - first.pose.offset_A.x,
			                                      found.pose.offset_A.y - first.pose.offset_A.y,
			                                      found.pose.offset_A.z - first.pose.offset_A.z };
		for (int k = 0; k < CYC_POSE_PARAMETERS; k++) most = fmax(most, fabs(off[k]) / first.error[k]);
	}
	print_message("from %d starts: at most %.3f standard errors apart\n", STARTS, most);
	assert_true(most < APART);
	close_search(&r);
	drop_model(&m);
}

static void same(double a, double b) { assert_true(fabs(a - b) <= 1e-12 * fmax(1, fabs(b))); }

/* Of three series with the same power of the reference: contrasts have the mean 1, noise makes none of them
 * negative or huge, and a reference that agrees with nothing is weak but not of no amplitude. (T8.6) */
static void contrasts_stay_within_bounds(void **state)
{
	(void)state;
	enum { N = 3 };
	static const double POWER = 1000, LEAST = 0.2, MOST = 5;
	cyc_refine3d_options o;
	double amplitude[2] = { 1, 1 }, scale[2 * N], sums[6 * N];
	cyc_refine3d_options_default(&o);
	/* In half-set 1 one series shows nothing, in 2 a small one seems to be all. Some is of the images
	 * themselves. */
	const double shown[2][N] = { { 900, 700, -20 }, { 600, 600, 20 } },
				 power[2][N] = { { POWER, POWER, POWER }, { POWER, POWER, 1 } };
	for (int i = 0; i < N; i++)
		for (int h = 0; h < 2; h++) {
			sums[(2 * i + h) * 3] = shown[h][i];
			sums[(2 * i + h) * 3 + 1] = 0.25 * power[h][i];
			sums[(2 * i + h) * 3 + 2] = power[h][i];
		}
	cyc_refine3d_fit_scales(amplitude, scale, sums, N, &o);
	for (int h = 0; h < 2; h++) {
		double all[2] = { 0, 0 }, mean = 0, weight = 0;
		for (int i = 0; i < N; i++) {
			all[0] += shown[h][i];
			all[1] += 1.25 * power[h][i];
			mean += scale[2 * i + h] * power[h][i];
			weight += power[h][i];
		}
		same(amplitude[h], all[0] / all[1]);
		same(mean / weight, 1);
	}
	/* Against a series whose contrast is what the images say. */
	same(scale[4] / scale[0], LEAST / (shown[0][0] / (1.25 * POWER) / amplitude[0]));
	same(scale[5] / scale[1], MOST / (shown[1][0] / (1.25 * POWER) / amplitude[1]));
	/* Nothing but noise: the standard deviation of the sum, sqrt(W |V|^2 / 2), is what is left. */
	for (int i = 0; i < 2 * N; i++) sums[3 * i] = i % 2 ? 0 : -5;
	cyc_refine3d_fit_scales(amplitude, scale, sums, N, &o);
	same(amplitude[0], sqrt(0.5 * N * POWER) / (1.25 * N * POWER));
	assert_true(amplitude[1] > 0);
}

/* White noise multiplied by a CTF is spread by it; of a disc that is large against this the power is C^2, of
 * one that is small the mean of C^2, a half, and in between part of each. (T8.14) */
static void noise_of_cropped_images_loses_the_oscillation(void **state)
{
	(void)state;
	enum { BOX = 64 };
	cyc_coefficients *list = NULL;
	cyc_tilt tilt = { 0 };
	const cyc_tilt_series ts = { .voltage_kV = 300, .n_tilts = 1, .tilts = &tilt };
	double *share = NULL, *rest = NULL, last = 1;
	ASSERT_OK(cyc_coefficients_create(&list, BOX));
	ASSERT_OK(cyc_alloc(&share, list->n, sizeof *share));
	ASSERT_OK(cyc_alloc(&rest, list->n, sizeof *rest));
	for (int k = 0; k < 4; k++) {
		tilt.defocus_u_A = tilt.defocus_v_A = k == 3 ? 1e6 : 5000.0 * k;
		cyc_stack_noise_shares(share, rest, list, &ts, 0, 2, 0.4 * BOX);
		int32_t farthest = 0;
		for (int32_t j = 0; j < list->n; j++) {
			if (hypot(list->kx[j], list->ky[j]) > hypot(list->kx[farthest], list->ky[farthest])) farthest = j;
			assert_true(share[j] >= 0 && share[j] <= 1 + 1e-12);
			same(share[j] + 2 * rest[j], 1);
		}
		assert_true(k == 0 ? share[farthest] > 1 - 1e-9 : share[farthest] < last);
		last = share[farthest];
	}
	assert_true(last < 1e-9);
	cyc_free(share);
	cyc_free(rest);
	cyc_coefficients_destroy(&list);
}

/* A reference of larger pixels in a smaller box, as those of groups are, has the same samples at the same
 * frequencies. */
static void scores_do_not_depend_on_the_box_of_the_reference(void **state)
{
	(void)state;
	enum { SMALL = S / 2, RADIUS = S / 4 - 4, N = 6 };
	model m;
	cyc_cfloat *grid;
	cyc_buffer *map = NULL;
	double wanted[N * 2], got[N * 2];
	cyc_mat3 R[N];
	const cyc_vec3 offsets_A[2] = { { 0, 0, 0 }, { 1, -0.5, 0.7 } };
	make_model(&m);
	for (int i = 0; i < N; i++) R[i] = cyc_euler_to_matrix(0.3 * i, 1 + 0.1 * i, -0.2 * i);
	m.reference.radius = RADIUS;
	try_poses(wanted, &m, R, N, offsets_A, 2, RADIUS);
	/* M/S = S/SMALL: the middle of the same transform. */
	ASSERT_OK(cyc_buffer_create(&map, m.be, cyc_reference_count(S), sizeof *grid));
	ASSERT_OK(cyc_buffer_map(&grid, map));
	for (int32_t z = -S / 2; z < S / 2; z++)
		for (int32_t y = -S / 2; y < S / 2; y++)
			for (int32_t x = 0; x <= S / 2; x++)
				grid[((size_t)((z + S) % S) * S + (size_t)((y + S) % S)) * (S / 2 + 2) + (size_t)x] =
					m.grid[((size_t)((z + M) % M) * M + (size_t)((y + M) % M)) * (M / 2 + 2) + (size_t)x];
	ASSERT_OK(cyc_buffer_unmap(map));
	ASSERT_OK(cyc_pose_store_set_map(m.store, 0, map, (double)S / SMALL, S, NULL));
	m.reference.m = m.reference.edge = S;
	m.reference.box_px = SMALL;
	try_poses(got, &m, R, N, offsets_A, 2, RADIUS);
	for (int i = 0; i < N * 2; i++) assert_true(got[i] == wanted[i] && got[i] != 0);
	ASSERT_OK(cyc_pose_store_set_map(m.store, 0, NULL, 0, 0, NULL));
	cyc_buffer_destroy(&map);
	drop_model(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scores_do_not_depend_on_the_box_of_the_reference),
		cmocka_unit_test(significant_samples_are_the_fewest),
		cmocka_unit_test(what_may_be_right_is_followed),
		cmocka_unit_test(one_image_does_not_choose),
		cmocka_unit_test(standard_errors_are_what_noise_does),
		cmocka_unit_test(following_ends_at_the_maximum),
		cmocka_unit_test(contrasts_stay_within_bounds),
		cmocka_unit_test(noise_of_cropped_images_loses_the_oscillation),
		cmocka_unit_test(blocks_threads_and_backends_do_not_matter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

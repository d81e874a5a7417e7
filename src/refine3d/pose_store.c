#include "refine3d/pose_store.h"

#include <string.h>

enum { N_IMAGE = 5 }; /* parameters of an image: three angles, two displacements */

struct cyc_pose_store {
	cyc_backend *be;
	const cyc_coefficients *list;
	cyc_buffer *fx, *fy, *shell, *spread, *data, *weight, *sums, *samples;
	cyc_buffer *maps[CYC_MOST_POSE_MAPS]; /* not owned */
	const cyc_cfloat *grids[CYC_MOST_POSE_MAPS];
	bool has_spread[CYC_MOST_POSE_MAPS];
	float *spreads; /* CYC_MOST_POSE_MAPS x (box/2 + 1) */
	double zoom[CYC_MOST_POSE_MAPS];
	int32_t edge[CYC_MOST_POSE_MAPS];
	size_t n_data, n_sums; /* length of data and weight, rows of sums */
	/* Where the images of the particles begin: number of a particle's first image, place of each image. */
	int64_t *first_image, *first;
	size_t n_first_image, n_first;
	/* The rows of a call. */
	cyc_pose_row *rows;
	double *answers;
	int64_t *first_row;
	size_t n_rows, n_first_row;
	const cyc_pose_query *queries;
};

void cyc_pose_store_destroy(cyc_pose_store **p)
{
	cyc_pose_store *s = *p;
	if (!s) return;
	cyc_buffer **const buffers[] = { &s->fx,   &s->fy,     &s->shell, &s->spread,
		                             &s->data, &s->weight, &s->sums,  &s->samples };
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) cyc_buffer_destroy(buffers[i]);
	cyc_free(s->spreads);
	cyc_free(s->first_image);
	cyc_free(s->first);
	cyc_free(s->rows);
	cyc_free(s->answers);
	cyc_free(s->first_row);
	cyc_free(s);
	*p = NULL;
}

cyc_status cyc_pose_store_create(cyc_pose_store **out, cyc_backend *be, const cyc_coefficients *list)
{
	cyc_status st = CYC_OK;
	cyc_pose_store *s = NULL;
	size_t n = (size_t)list->n, n_spread = CYC_MOST_POSE_MAPS * ((size_t)list->box_px / 2 + 1);
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->be = be;
	s->list = list;
	CYC_TRY(cyc_buffer_create(&s->fx, be, n, sizeof(float)));
	CYC_TRY(cyc_buffer_upload(s->fx, list->fx, n * sizeof(float)));
	CYC_TRY(cyc_buffer_create(&s->fy, be, n, sizeof(float)));
	CYC_TRY(cyc_buffer_upload(s->fy, list->fy, n * sizeof(float)));
	CYC_TRY(cyc_buffer_create(&s->shell, be, n, sizeof(int32_t)));
	CYC_TRY(cyc_buffer_upload(s->shell, list->shell, n * sizeof(int32_t)));
	CYC_TRY(cyc_buffer_create(&s->spread, be, n_spread, sizeof(float)));
	CYC_TRY(cyc_alloc(&s->spreads, n_spread, sizeof *s->spreads));
	*out = s;
	s = NULL;
done:
	cyc_pose_store_destroy(&s);
	return st;
}

cyc_backend *cyc_pose_store_backend(const cyc_pose_store *s) { return s->be; }
const cyc_coefficients *cyc_pose_store_list(const cyc_pose_store *s) { return s->list; }

/* ---------------------------------------------------------------- references */

cyc_status cyc_pose_store_set_map(cyc_pose_store *s, int32_t i, cyc_buffer *map, double zoom, int32_t edge,
                                  const float *spread)
{
	cyc_status st = CYC_OK;
	size_t n_shells = (size_t)s->list->box_px / 2 + 1;
	CYC_ASSERT(i >= 0 && i < CYC_MOST_POSE_MAPS && !s->grids[i]);
	s->maps[i] = map;
	s->has_spread[i] = map && spread;
	s->zoom[i] = zoom;
	s->edge[i] = edge;
	if (!s->has_spread[i]) goto done;
	memcpy(s->spreads + (size_t)i * n_shells, spread, n_shells * sizeof *spread);
	CYC_TRY(cyc_buffer_upload(s->spread, s->spreads, CYC_MOST_POSE_MAPS * n_shells * sizeof *spread));
done:
	return st;
}

cyc_status cyc_pose_store_open_maps(cyc_pose_store *s)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < CYC_MOST_POSE_MAPS; i++)
		if (s->maps[i]) CYC_TRY(cyc_buffer_map(&s->grids[i], s->maps[i]));
done:
	return st;
}

cyc_status cyc_pose_store_close_maps(cyc_pose_store *s)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < CYC_MOST_POSE_MAPS; i++) {
		if (!s->grids[i]) continue;
		s->grids[i] = NULL;
		CYC_TRY(cyc_buffer_unmap(s->maps[i]));
	}
done:
	return st;
}

const cyc_cfloat *cyc_pose_store_grid(const cyc_pose_store *s, int32_t i) { return s->grids[i]; }

/* ---------------------------------------------------------------- images */

/* Room for n elements of `size` bytes at *(void **)p, whose contents are lost if it grows. */
static cyc_status reserve(void *p, size_t *have, size_t n, size_t size)
{
	cyc_status st = CYC_OK;
	void *old;
	memcpy(&old, p, sizeof old);
	if (n <= *have) goto done;
	cyc_free(old);
	old = NULL;
	memcpy(p, &old, sizeof old);
	*have = 0;
	CYC_TRY(cyc_alloc_(p, n, size, "poses"));
	*have = n;
done:
	return st;
}

static cyc_status reserve_data(cyc_pose_store *s, size_t n)
{
	cyc_status st = CYC_OK;
	if (s->data && n <= s->n_data) goto done;
	cyc_buffer_destroy(&s->data);
	cyc_buffer_destroy(&s->weight);
	CYC_TRY(cyc_buffer_create(&s->data, s->be, n, sizeof(cyc_cfloat)));
	CYC_TRY(cyc_buffer_create(&s->weight, s->be, n, sizeof(float)));
	s->n_data = n;
done:
	return st;
}

double cyc_pose_store_image_bytes(const cyc_pose_data *data)
{
	double n = 0;
	for (int32_t f = 0; f < data->n_images; f++) n += data->images[f].n;
	return n * (sizeof(cyc_cfloat) + sizeof(float));
}

typedef struct {
	const cyc_pose_store *s;
	const cyc_pose_data *data;
	cyc_cfloat *to_data;
	float *to_weight;
} copies;

static cyc_status copy_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const copies *c = arg;
	const cyc_pose_data *from = &c->data[i];
	for (int32_t f = 0; f < from->n_images; f++) {
		int64_t at = c->s->first[c->s->first_image[i] + f];
		size_t n = (size_t)from->images[f].n;
		memcpy(c->to_data + at, from->images[f].data, n * sizeof *c->to_data);
		memcpy(c->to_weight + at, from->images[f].weight, n * sizeof *c->to_weight);
	}
	return CYC_OK;
}

cyc_status cyc_pose_store_set_images(cyc_pose_store *s, const cyc_pose_data *data, int32_t n)
{
	cyc_status st = CYC_OK;
	int64_t n_images = 0, n_data = 0;
	copies c = { .s = s, .data = data };
	CYC_TRY(reserve(&s->first_image, &s->n_first_image, (size_t)n, sizeof *s->first_image));
	for (int32_t i = 0; i < n; i++) {
		s->first_image[i] = n_images;
		n_images += data[i].n_images;
	}
	CYC_TRY(reserve(&s->first, &s->n_first, (size_t)n_images, sizeof *s->first));
	for (int32_t i = 0; i < n; i++)
		for (int32_t f = 0; f < data[i].n_images; f++) {
			s->first[s->first_image[i] + f] = n_data;
			n_data += data[i].images[f].n;
		}
	CYC_TRY(reserve_data(s, (size_t)n_data));
	CYC_TRY(cyc_buffer_map_discard(&c.to_data, s->data));
	CYC_TRY(cyc_buffer_map_discard(&c.to_weight, s->weight));
	CYC_TRY(cyc_parallel_for(n, cyc_backend_n_threads(s->be), copy_task, &c));
	CYC_TRY(cyc_buffer_unmap(s->weight));
	CYC_TRY(cyc_buffer_unmap(s->data));
done:
	return st;
}

static cyc_pose_images images_of(const cyc_pose_store *s)
{
	cyc_pose_images images = { .fx = s->fx,
		                       .fy = s->fy,
		                       .shell = s->shell,
		                       .n = s->list->n,
		                       .box_px = s->list->box_px,
		                       .data = s->data,
		                       .weight = s->weight,
		                       .n_data = s->n_data,
		                       .spread = s->spread,
		                       .n_maps = CYC_MOST_POSE_MAPS };
	for (int32_t i = 0; i < CYC_MOST_POSE_MAPS; i++) {
		images.maps[i] = s->maps[i];
		images.zoom[i] = s->zoom[i];
		images.edge[i] = s->edge[i];
		images.has_spread[i] = s->has_spread[i];
	}
	return images;
}

/* ---------------------------------------------------------------- what images say */

int64_t cyc_pose_store_place(const cyc_pose_store *s, int32_t particle, int32_t f)
{
	return s->first[s->first_image[particle] + f];
}

int32_t cyc_pose_count(const cyc_pose_data *data, const cyc_pose_reference *r, int32_t radius, int32_t f)
{
	int32_t within = cyc_coefficients_within(data->list, radius < r->radius ? radius : r->radius),
			n = data->images[f].n < within ? data->images[f].n : within;
	return data->use && !data->use[f] ? 0 : n;
}

static int32_t count_of(const cyc_pose_query *q, int32_t f)
{
	return cyc_pose_count(q->data, q->reference, q->radius, f);
}

static cyc_status rows_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	cyc_pose_store *s = arg;
	const cyc_pose_query *q = &s->queries[i];
	const cyc_pose_reference *r = q->reference;
	cyc_pose_row *row = s->rows + s->first_row[i];
	double zoom = (double)r->m / r->box_px;
	for (int32_t f = 0; f < q->data->n_images; f++) {
		const cyc_particle_image *image = &q->data->images[f];
		int32_t n = count_of(q, f);
		if (n == 0) continue;
		cyc_mat3 R = cyc_mat3_mul(image->R_img_tomo, q->pose.R_tomo_ref);
		cyc_vec3 d = cyc_mat3_apply(image->R_img_tomo, q->pose.offset_A);
		*row = (cyc_pose_row){ .first = cyc_pose_store_place(s, q->particle, f),
			                   .n = n,
			                   .reach = cyc_coefficients_reach(s->list, n),
			                   .map = r->map,
			                   .shift_px = { image->px_per_A * d.x, image->px_per_A * d.y },
			                   .amplitude = r->amplitude };
		for (int k = 0; k < 3; k++) {
			row->x[k] = (float)(zoom * R.m[0][k]);
			row->y[k] = (float)(zoom * R.m[1][k]);
		}
		row++;
	}
	return CYC_OK;
}

static void keep_terms(cyc_image_terms *t, const cyc_particle_image *image, const double *sums, double s)
{
	t->i_tilt = image->i_tilt;
	t->is_used = true;
	for (int i = 0; i < N_IMAGE; i++) t->gradient[i] = (float)(2 * s * sums[CYC_POSE_SLOPES + i]);
	for (int i = CYC_POSE_PRODUCTS; i < CYC_N_POSE_TERMS; i++)
		t->curvature[i - CYC_POSE_PRODUCTS] = (float)(2 * s * s * sums[i]);
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 3; k++) t->axes[i][k] = (float)(image->px_per_A * image->R_img_tomo.m[i][k]);
}

/* Image parameters to those of the particle. */
static void add_image(cyc_pose_derivatives *out, const cyc_particle_image *image, const double *sums,
                      double s)
{
	double J[N_IMAGE][CYC_POSE_PARAMETERS] = { { 0 } };
	for (int k = 0; k < 3; k++) {
		J[k][k] = 1;
		for (int i = 0; i < 2; i++) J[3 + i][3 + k] = image->px_per_A * image->R_img_tomo.m[i][k];
	}
	out->value += 2 * s * sums[CYC_POSE_CROSS] - s * s * sums[CYC_POSE_POWER];
	for (int i = 0, p = CYC_POSE_PRODUCTS; i < N_IMAGE; i++) {
		for (int k = 0; k < CYC_POSE_PARAMETERS; k++)
			out->gradient[k] += 2 * s * sums[CYC_POSE_SLOPES + i] * J[i][k];
		for (int j = 0; j <= i; j++, p++)
			for (int k = 0; k < CYC_POSE_PARAMETERS; k++)
				for (int l = 0; l < CYC_POSE_PARAMETERS; l++) {
					double c = 2 * s * s * sums[p] * J[i][k] * J[j][l];
					out->curvature[k][l] += c;
					if (i != j) out->curvature[l][k] += c;
				}
	}
}

static cyc_status answer_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const cyc_pose_store *s = arg;
	const cyc_pose_query *q = &s->queries[i];
	const double *sums = s->answers + s->first_row[i] * CYC_N_POSE_TERMS;
	int32_t n_terms = 0;
	memset(q->out, 0, sizeof *q->out);
	for (int32_t f = 0; f < q->data->n_images; f++) {
		const cyc_particle_image *image = &q->data->images[f];
		if (count_of(q, f) == 0) continue;
		if (q->terms) keep_terms(&q->terms[n_terms++], image, sums, q->reference->amplitude);
		add_image(q->out, image, sums, q->reference->amplitude);
		sums += CYC_N_POSE_TERMS;
	}
	if (q->terms) memset(&q->terms[n_terms], 0, sizeof *q->terms);
	return CYC_OK;
}

static cyc_status reserve_rows(cyc_pose_store *s, size_t n)
{
	cyc_status st = CYC_OK;
	if (s->sums && n <= s->n_rows) goto done;
	cyc_buffer_destroy(&s->sums);
	cyc_free(s->answers);
	s->answers = NULL;
	CYC_TRY(reserve(&s->rows, &s->n_rows, n, sizeof *s->rows));
	CYC_TRY(cyc_alloc(&s->answers, n * CYC_N_POSE_TERMS, sizeof *s->answers));
	CYC_TRY(cyc_buffer_create(&s->sums, s->be, n * CYC_N_POSE_TERMS, sizeof(double)));
done:
	return st;
}

cyc_status cyc_pose_ask(cyc_pose_store *s, const cyc_pose_query *queries, int32_t n)
{
	cyc_status st = CYC_OK;
	int n_threads = cyc_backend_n_threads(s->be);
	int64_t n_rows = 0;
	s->queries = queries;
	CYC_TRY(reserve(&s->first_row, &s->n_first_row, (size_t)n, sizeof *s->first_row));
	for (int32_t i = 0; i < n; i++) {
		s->first_row[i] = n_rows;
		for (int32_t f = 0; f < queries[i].data->n_images; f++) n_rows += count_of(&queries[i], f) > 0;
	}
	CYC_TRY(reserve_rows(s, (size_t)n_rows));
	CYC_TRY(cyc_parallel_for(n, n_threads, rows_task, s));
	const cyc_pose_images images = images_of(s);
	CYC_TRY(cyc_op_pose_terms(s->sums, s->be, &images, s->rows, n_rows));
	CYC_TRY(cyc_buffer_download(s->answers, s->sums, (size_t)n_rows * CYC_N_POSE_TERMS * sizeof *s->answers));
	CYC_TRY(cyc_parallel_for(n, n_threads, answer_task, s));
done:
	return st;
}

cyc_status cyc_pose_try(cyc_pose_sample *samples, int64_t *counts, cyc_pose_store *s,
                        const cyc_pose_trials *in)
{
	cyc_status st = CYC_OK;
	size_t n = (size_t)cyc_pose_trials_count(in), n_kept = 0;
	const cyc_pose_images images = images_of(s);
	if (!s->samples || cyc_buffer_bytes(s->samples) < n * sizeof *samples) {
		cyc_buffer_destroy(&s->samples);
		CYC_TRY(cyc_buffer_create(&s->samples, s->be, n, sizeof *samples));
	}
	CYC_TRY(cyc_op_pose_scores(s->samples, counts, s->be, &images, in));
	for (int32_t i = 0; i < in->n; i++) n_kept += (size_t)counts[i];
	CYC_TRY(cyc_buffer_download(samples, s->samples, n_kept * sizeof *samples));
done:
	return st;
}

/* A particle of a few blobs and its images without noise, and the log-likelihood (T8.1) by its formula. */
#ifndef TESTS_BLOB_PARTICLE_H
#define TESTS_BLOB_PARTICLE_H

#include <math.h>
#include <string.h>

#include "refine3d/pose_store.h"
#include "temp_dir.h"

enum { S = 32, M = 64, N_BLOBS = 5, N_IMAGES = 4 };

/* Transform of a few Gaussian blobs at an index of the grid, phase origin in their middle. */
static cyc_cfloat blobs(double x, double y, double z)
{
	static const double AT[N_BLOBS][4] = {
		{ 3, 1, -2, 1 }, { -4, 2, 1, 0.7 }, { 0, -5, 3, 1.2 }, { 2, 4, 4, 0.9 }, { -2, -3, -4, 1.1 }
	};
	double re = 0, im = 0;
	for (int b = 0; b < N_BLOBS; b++) {
		double phase = -2 * CYC_PI * (x * AT[b][0] + y * AT[b][1] + z * AT[b][2]) / M,
			   a = AT[b][3] * exp(-(x * x + y * y + z * z) * 6.0 / (M * M));
		re += a * cos(phase);
		im += a * sin(phase);
	}
	return (float)re + (float)im * I;
}

typedef struct {
	cyc_coefficients *list;
	cyc_cfloat *grid, *data;
	float *weight, own[S / 2 + 1];
	cyc_particle_image images[N_IMAGES];
	cyc_pose_data particle;
	cyc_pose_reference reference;
	cyc_pose_work *work;
	cyc_backend *be;
	cyc_buffer *map;
	cyc_pose_store *store;
} model;

static cyc_pose true_pose(void)
{
	return (cyc_pose){ cyc_euler_to_matrix(0.4, 1.1, -0.6), { 1.1, -0.7, 0.4 } };
}

/* The reference in the memory of the model's backend. */
static void open_store(model *m)
{
	size_t count = cyc_reference_count(M);
	ASSERT_OK(cyc_buffer_create(&m->map, m->be, count, sizeof *m->grid));
	ASSERT_OK(cyc_buffer_upload(m->map, m->grid, count * sizeof *m->grid));
	ASSERT_OK(cyc_pose_store_create(&m->store, m->be, m->list));
	ASSERT_OK(cyc_pose_store_set_map(m->store, 0, m->map, (double)M / S, M, NULL));
}

static void close_store(model *m)
{
	cyc_pose_store_destroy(&m->store);
	cyc_buffer_destroy(&m->map);
	cyc_backend_close(&m->be);
}

/* Images of the blobs at a pose, without noise. */
static void make_model_at(model *m, const cyc_pose *pose)
{
	memset(m, 0, sizeof *m);
	ASSERT_OK(cyc_coefficients_create(&m->list, S));
	ASSERT_OK(cyc_alloc(&m->grid, cyc_reference_count(M), sizeof *m->grid));
	for (int z = 0; z < M; z++)
		for (int y = 0; y < M; y++)
			for (int x = 0; x < M / 2 + 2; x++)
				m->grid[((size_t)z * M + (size_t)y) * (M / 2 + 2) + (size_t)x] =
					blobs(x, y < M / 2 ? y : y - M, z < M / 2 ? z : z - M);
	size_t n = (size_t)m->list->n;
	ASSERT_OK(cyc_alloc(&m->data, N_IMAGES * n, sizeof *m->data));
	ASSERT_OK(cyc_alloc(&m->weight, N_IMAGES * n, sizeof *m->weight));
	for (int f = 0; f < N_IMAGES; f++) {
		cyc_particle_image *image = &m->images[f];
		*image = (cyc_particle_image){ .i_tilt = f,
			                           .n = m->list->n,
			                           .R_img_tomo = cyc_tilt_to_matrix(0.02, 0.5 * f - 0.8, 0.3),
			                           .px_per_A = 0.5,
			                           .is_in_map = true,
			                           .data = m->data + (size_t)f * n,
			                           .weight = m->weight + (size_t)f * n };
		cyc_mat3 R = cyc_mat3_mul(image->R_img_tomo, pose->R_tomo_ref);
		cyc_vec3 d = cyc_mat3_apply(image->R_img_tomo, pose->offset_A);
		for (size_t j = 0; j < n; j++) {
			double kx = m->list->kx[j], ky = m->list->ky[j], q[3],
				   phase = -2 * CYC_PI * 0.5 * (kx * d.x + ky * d.y) / S;
			for (int k = 0; k < 3; k++) q[k] = (double)M / S * (R.m[0][k] * kx + R.m[1][k] * ky);
			float w = (float)(30 * cyc_square(sin(0.3 * hypot(kx, ky) + f)));
			m->weight[(size_t)f * n + j] = w;
			m->data[(size_t)f * n + j] =
				w * blobs(q[0], q[1], q[2]) * ((float)cos(phase) + (float)sin(phase) * I);
		}
	}
	for (int i = 0; i <= S / 2; i++) m->own[i] = 0.01F;
	m->particle = (cyc_pose_data){ m->list, m->images, N_IMAGES, NULL };
	m->reference = (cyc_pose_reference){ .grid = m->grid,
		                                 .m = M,
		                                 .edge = M,
		                                 .box_px = S,
		                                 .radius = S / 2 - 1,
		                                 .own_share = m->own,
		                                 .amplitude = 0.9 };
	ASSERT_OK(cyc_pose_work_create(&m->work, m->list));
	ASSERT_OK(cyc_backend_open(&m->be, "cpu", 1));
	open_store(m);
}

static void make_model(model *m)
{
	const cyc_pose pose = true_pose();
	make_model_at(m, &pose);
}

static void drop_model(model *m)
{
	close_store(m);
	cyc_pose_work_destroy(&m->work);
	cyc_coefficients_destroy(&m->list);
	cyc_free(m->grid);
	cyc_free(m->data);
	cyc_free(m->weight);
}

/* (T8.1) summed coefficient by coefficient, with the blobs themselves. */
static double formula(const model *m, const cyc_pose *pose, int32_t radius)
{
	double sum = 0, s = m->reference.amplitude;
	int32_t n = cyc_coefficients_within(m->list, radius);
	for (int f = 0; f < N_IMAGES; f++) {
		cyc_mat3 R = cyc_mat3_mul(m->images[f].R_img_tomo, pose->R_tomo_ref);
		cyc_vec3 d = cyc_mat3_apply(m->images[f].R_img_tomo, pose->offset_A);
		for (int32_t j = 0; j < n; j++) {
			double kx = m->list->kx[j], ky = m->list->ky[j], q[3],
				   phase = 2 * CYC_PI * 0.5 * (kx * d.x + ky * d.y) / S;
			for (int k = 0; k < 3; k++) q[k] = (double)M / S * (R.m[0][k] * kx + R.m[1][k] * ky);
			cyc_cfloat V = blobs(q[0], q[1], q[2]), D = m->images[f].data[j];
			double v_re = (double)crealf(V), v_im = (double)cimagf(V), re = (double)crealf(D),
				   im = (double)cimagf(D), c = cos(phase), sn = sin(phase);
			sum += 2 * s * ((re * c - im * sn) * v_re + (re * sn + im * c) * v_im) -
			       s * s * (double)m->images[f].weight[j] * (v_re * v_re + v_im * v_im);
		}
	}
	return sum;
}

/* Scores of rotations with offsets, all of them. */
static inline void try_poses(double *scores, const model *m, const cyc_mat3 *R, int32_t n_rotations,
                             const cyc_vec3 *offsets_A, int32_t n_offsets, int32_t radius)
{
	cyc_pose_image images[N_IMAGES];
	cyc_pose_rotation *rotations = NULL;
	cyc_pose_offset *offsets = NULL;
	cyc_pose_sample *samples = NULL;
	int64_t count;
	ASSERT_OK(cyc_alloc(&rotations, n_rotations, sizeof *rotations));
	ASSERT_OK(cyc_alloc(&offsets, n_offsets, sizeof *offsets));
	ASSERT_OK(cyc_alloc(&samples, (size_t)n_rotations * (size_t)n_offsets, sizeof *samples));
	ASSERT_OK(cyc_pose_store_set_images(m->store, &m->particle, 1));
	for (int32_t f = 0; f < m->particle.n_images; f++) {
		images[f] = (cyc_pose_image){ .first = cyc_pose_store_place(m->store, 0, f),
			                          .px_per_A = m->images[f].px_per_A,
			                          .n = cyc_pose_count(&m->particle, &m->reference, radius, f) };
		memcpy(images[f].R_img_tomo, m->images[f].R_img_tomo.m, sizeof images[f].R_img_tomo);
	}
	for (int32_t o = 0; o < n_rotations; o++) memcpy(rotations[o].R_tomo_ref, R[o].m, sizeof R[o].m);
	for (int32_t t = 0; t < n_offsets; t++)
		offsets[t] = (cyc_pose_offset){ { offsets_A[t].x, offsets_A[t].y, offsets_A[t].z }, 0 };
	const cyc_pose_trial trial = { .n_images = m->particle.n_images,
		                           .n_rotations = n_rotations,
		                           .n_offsets = n_offsets,
		                           .amplitude = m->reference.amplitude };
	const cyc_pose_trials in = { &trial,  1,         images,  m->particle.n_images, rotations, n_rotations,
		                         offsets, n_offsets, HUGE_VAL };
	ASSERT_OK(cyc_pose_try(samples, &count, m->store, &in));
	assert_int_equal(count, n_rotations * n_offsets);
	for (int64_t i = 0; i < count; i++) scores[i] = samples[i].score;
	cyc_free(rotations);
	cyc_free(offsets);
	cyc_free(samples);
}

#endif

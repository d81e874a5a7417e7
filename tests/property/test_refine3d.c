/* 3D refinement: its grids, its likelihood and derivatives against the formulas; and simulated projects with
 * planted errors: what comes back, what the half-sets know of each other, and the same bits for any number of
 * threads, any backend and after a kill. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "blob_particle.h"
#include "project_fixture.h"

#include "cyclotomo/extract.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/refine3d.h"
#include "refine3d/frames.h"
#include "refine3d/group_maps.h"
#include "refine3d/half_maps.h"
#include "refine3d/pose_model.h"
#include "refine3d/pose_search.h"
#include "refine3d/sampling.h"

/* ---------------------------------------------------------------- grids */

static cyc_vec3 view(double rot, double tilt)
{
	return (cyc_vec3){ sin(tilt) * cos(rot), sin(tilt) * sin(rot), cos(tilt) };
}
static double dot(cyc_vec3 a, cyc_vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

/* Equal areas: the second moments of all centres are those of the sphere; children lie around their parent.
 */
static void healpix_centres(void **state)
{
	(void)state;
	for (int32_t order = 0; order <= 4; order++) {
		int64_t n = 12 * ((int64_t)1 << 2 * order);
		double sum[3] = { 0 }, square[3] = { 0 };
		for (int64_t i = 0; i < n; i++) {
			double rot, tilt, r, t, nearest = 0;
			cyc_healpix_direction(&rot, &tilt, order, i);
			assert_true(rot > -CYC_PI - 1e-9 && rot <= CYC_PI + 1e-9 && tilt >= 0 && tilt <= CYC_PI);
			cyc_vec3 v = view(rot, tilt);
			const double x[3] = { v.x, v.y, v.z };
			for (int k = 0; k < 3; k++) {
				sum[k] += x[k] / (double)n;
				square[k] += x[k] * x[k] / (double)n;
			}
			cyc_vec3 mean = { 0, 0, 0 };
			for (int64_t c = 0; c < 4; c++) {
				cyc_healpix_direction(&r, &t, order + 1, 4 * i + c);
				cyc_vec3 w = view(r, t);
				nearest = fmax(nearest, acos(fmin(dot(v, w), 1)));
				mean = (cyc_vec3){ mean.x + w.x / 4, mean.y + w.y / 4, mean.z + w.z / 4 };
			}
			assert_true(nearest < cyc_healpix_step_rad(order));
			/* At the corners of the base pixels four children are no square, but still around it. */
			assert_true(acos(fmin(dot(v, mean) / sqrt(dot(mean, mean)), 1)) <
			            0.15 * cyc_healpix_step_rad(order));
		}
		for (int k = 0; k < 3; k++) {
			assert_float_equal(sum[k], 0, 1e-9);
			if (order > 0) assert_float_equal(square[k], 1.0 / 3, (0.6 / (double)n));
		}
	}
}

/* The global grid has each rotation once up to symmetry: about all of them over the order of the group. */
static void global_grids_hold_one_of_each_mate(void **state)
{
	(void)state;
	static const char *const GROUP[] = { "C1", "C4", "D3", "T", "O", "I2" };
	for (size_t g = 0; g < sizeof GROUP / sizeof *GROUP; g++) {
		cyc_symmetry *s = NULL;
		cyc_rotation_grid *grid = NULL;
		ASSERT_OK(cyc_symmetry_create(&s, GROUP[g]));
		ASSERT_OK(cyc_rotation_grid_global(&grid, 3, 1, s));
		double all = 768.0 * grid->n_psi, share = grid->n * s->n / all;
		print_message("%s: %d of %.0f rotations\n", GROUP[g], grid->n, all);
		assert_true(share > 0.8 && share < 1.15);
		/* Any rotation has a mate near one of the grid. */
		for (int k = 0; k < 20; k++) {
			cyc_mat3 R = cyc_euler_to_matrix(0.7 * k, 0.15 * k, 1.3 * k);
			double least = 10;
			for (int32_t i = 0; i < grid->n; i++)
				least = fmin(least, cyc_rotation_distance_rad(
										cyc_rotation_grid_at(grid, i, -1, cyc_mat3_identity()), R, s, NULL));
			if (!(least < cyc_healpix_step_rad(3)))
				fail_msg("%s: the nearest rotation is %g degrees away", GROUP[g], cyc_rad_to_deg(least));
		}
		cyc_rotation_grid_destroy(&grid);
		cyc_symmetry_destroy(&s);
	}
}

/* From the smallest turns to half turns, about any axis. */
static void rotation_vectors_are_what_turns(void **state)
{
	(void)state;
	static const double ANGLE[] = { 0, 1e-9, 1e-5, 0.1, 1.5, 3, 3.14159, CYC_PI - 1e-8, CYC_PI };
	static const double AXIS[][3] = {
		{ 1, 0, 0 }, { 0, -1, 0 }, { 0.6, 0, -0.8 }, { -1. / 3, 2. / 3, 2. / 3 }
	};
	for (size_t a = 0; a < sizeof ANGLE / sizeof *ANGLE; a++)
		for (size_t k = 0; k < sizeof AXIS / sizeof *AXIS; k++) {
			double step[CYC_POSE_PARAMETERS] = { 0 }, v[3], error = 0, other = 0;
			for (int i = 0; i < 3; i++) step[i] = ANGLE[a] * AXIS[k][i];
			const cyc_pose start = { .R_tomo_ref = cyc_mat3_identity() };
			cyc_rotation_vector(v, cyc_pose_step(&start, step).R_tomo_ref);
			for (int i = 0; i < 3; i++) {
				error += cyc_square(v[i] - step[i]);
				other += cyc_square(v[i] + step[i]);
			}
			/* Half a turn is the same both ways round. */
			if (ANGLE[a] > 3.1415926) error = fmin(error, other);
			if (!(sqrt(error) <= 1e-7 * fmax(ANGLE[a], 1e-3)))
				fail_msg("%g rad about axis %zu is found as %g %g %g", ANGLE[a], k, v[0], v[1], v[2]);
		}
}

/* Local grids: about 177 turns at any order, the old pose among them, none further than three sigma each way.
 */
static void local_grids_are_around_the_old_pose(void **state)
{
	(void)state;
	const cyc_symmetry none = { .n = 1, .ops = &(cyc_mat3){ { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } } } };
	cyc_mat3 old = cyc_euler_to_matrix(0.3, 2.9, -1);
	for (int32_t order = 3; order <= 6; order++) {
		double sigma = 2 * cyc_healpix_step_rad(order + 1), sum = 0, least = 10, most = 0, furthest_child = 0;
		cyc_rotation_grid *g = NULL;
		ASSERT_OK(cyc_rotation_grid_local(&g, order, 1, sigma));
		assert_true(g->n > 80 && g->n < 260);
		for (int32_t i = 0; i < g->n; i++) {
			cyc_mat3 R = cyc_rotation_grid_at(g, i, -1, old);
			double d = cyc_rotation_distance_rad(R, old, &none, NULL);
			least = fmin(least, d);
			most = fmax(most, d);
			sum += exp(g->log_prior[i]);
			assert_true(cyc_mat3_orthogonality_error(R) < 1e-9);
			for (int32_t c = 0; c < cyc_rotation_grid_n_children(g); c++)
				furthest_child =
					fmax(furthest_child,
				         cyc_rotation_distance_rad(cyc_rotation_grid_at(g, i, c, old), R, &none, NULL));
		}
		assert_float_equal(sum, 1, 1e-9);
		assert_true(least < 0.8 * cyc_healpix_step_rad(order) && most < 1.5 * 3 * sigma &&
		            furthest_child < cyc_healpix_step_rad(order));
		cyc_rotation_grid_destroy(&g);
	}
}

static void offset_lattice(void **state)
{
	(void)state;
	static const struct {
		double ratio;
		int32_t n;
	} EXPECTED[] = { { 1.5, 19 }, { 2, 33 }, { 2.5, 81 }, { 3, 123 }, { 4, 257 } };
	for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++) {
		cyc_offset_grid *g = NULL;
		ASSERT_OK(cyc_offset_grid_create(&g, 3.4 * EXPECTED[i].ratio, 3.4));
		assert_int_equal(g->n, EXPECTED[i].n);
		cyc_vec3 mean = { 0, 0, 0 };
		for (int32_t c = 0; c < 8; c++) {
			cyc_vec3 t = cyc_offset_grid_child(g, 3, c);
			mean = (cyc_vec3){ mean.x + t.x / 8, mean.y + t.y / 8, mean.z + t.z / 8 };
		}
		assert_float_equal(mean.x, g->offset_A[3].x, 1e-12);
		assert_float_equal(mean.z, g->offset_A[3].z, 1e-12);
		cyc_offset_grid_destroy(&g);
	}
}

/* ---------------------------------------------------------------- the likelihood */

static const double INTERPOLATION = 0.02; /* of trilinear look-up, padding 2 */

static void look_at(cyc_pose_derivatives *out, const model *m, const cyc_pose *pose, int32_t radius)
{
	const cyc_pose_query query = {
		.data = &m->particle, .reference = &m->reference, .pose = *pose, .radius = radius, .out = out
	};
	ASSERT_OK(cyc_pose_store_set_images(m->store, &m->particle, 1));
	ASSERT_OK(cyc_pose_ask(m->store, &query, 1));
}

static void scores_are_the_formula(void **state)
{
	(void)state;
	model m;
	make_model(&m);
	cyc_mat3 R[3];
	cyc_vec3 t[2] = { { 1.1, -0.7, 0.4 }, { -1, 0.5, 2 } };
	double scores[6];
	double best = formula(&m, &(cyc_pose){ true_pose().R_tomo_ref, t[0] }, 12);
	for (int i = 0; i < 3; i++)
		R[i] = cyc_mat3_mul(true_pose().R_tomo_ref, cyc_rot_axis((cyc_vec3){ 1, 0.5, -0.2 }, 0.1 * i));
	try_poses(scores, &m, R, 3, t, 2, 12);
	for (int o = 0; o < 3; o++)
		for (int i = 0; i < 2; i++) {
			cyc_pose pose = { R[o], t[i] };
			cyc_pose_derivatives d;
			look_at(&d, &m, &pose, 12);
			double expected = formula(&m, &pose, 12);
			if (!(fabs(scores[2 * o + i] - expected) < INTERPOLATION * best))
				fail_msg("score %d %d: %g, formula %g", o, i, scores[2 * o + i], expected);
			assert_true(fabs(d.value - scores[2 * o + i]) < 1e-4 * best);
		}
	assert_true(scores[0] > scores[1] && scores[0] > scores[2] && scores[0] > scores[4]);
	drop_model(&m);
}

static void derivatives_are_those_of_the_value(void **state)
{
	(void)state;
	model m;
	make_model(&m);
	cyc_pose origin = true_pose();
	const double away[CYC_POSE_PARAMETERS] = { 0.03, -0.02, 0.04, 0.3, -0.2, 0.25 };
	cyc_pose pose = cyc_pose_step(&origin, away);
	cyc_pose_derivatives at, plus, minus;
	look_at(&at, &m, &pose, S);
	for (int k = 0; k < CYC_POSE_PARAMETERS; k++) {
		double step[CYC_POSE_PARAMETERS] = { 0 }, h = k < 3 ? 4e-3 : 0.02;
		step[k] = h;
		cyc_pose p = cyc_pose_step(&pose, step);
		look_at(&plus, &m, &p, S);
		step[k] = -h;
		p = cyc_pose_step(&pose, step);
		look_at(&minus, &m, &p, S);
		double slope = (plus.value - minus.value) / (2 * h),
			   curvature = -(plus.gradient[k] - minus.gradient[k]) / (2 * h);
		/* The slope jumps where the interpolation changes cells: few per cent over the step. */
		if (!(fabs(slope - at.gradient[k]) < 0.03 * sqrt(at.curvature[k][k] * fabs(at.value))))
			fail_msg("parameter %d: slope %g, derivative %g", k, slope, at.gradient[k]);
		if (!(curvature > 0.4 * at.curvature[k][k] && curvature < 2 * at.curvature[k][k]))
			fail_msg("parameter %d: curvature %g, expected one %g", k, curvature, at.curvature[k][k]);
		for (int l = 0; l < CYC_POSE_PARAMETERS; l++)
			assert_float_equal(at.curvature[k][l], at.curvature[l][k], (1e-9 * at.curvature[k][k]));
	}
	drop_model(&m);
}

/* However fine the grids: the work memory of a unit stays the same, and small. */
static void search_memory_is_bounded(void **state)
{
	(void)state;
	model m;
	make_model(&m);
	cyc_offset_grid *offsets = NULL;
	ASSERT_OK(cyc_offset_grid_create(&offsets, 5, 2));
	double bytes[2];
	for (int k = 0; k < 2; k++) {
		const cyc_rotation_grid grid = { .order = 4 + 2 * k, .n = k ? 294912 * 64 : 294912 };
		const cyc_search_spec spec = { .rotations = &grid,
			                           .offsets = offsets,
			                           .do_follow = true,
			                           .coarse_radius = 12,
			                           .radius = S / 2 - 1 };
		bytes[k] = cyc_search_work_bytes(&spec, &(cyc_search_size){ 64, N_IMAGES });
	}
	assert_true(bytes[0] == bytes[1]);
	assert_true(bytes[0] < 40e6);
	cyc_offset_grid_destroy(&offsets);
	drop_model(&m);
}

/* Half a million of the best samples are kept where all count alike; fewer wherever the images tell any
 * difference. */
static void flat_posteriors_are_searched_too(void **state)
{
	(void)state;
	model m;
	make_model(&m);
	cyc_rotation_grid *grid = NULL;
	cyc_offset_grid *offsets = NULL;
	cyc_symmetry *none = NULL;
	cyc_search_work *work = NULL;
	cyc_found_pose flat, sharp;
	ASSERT_OK(cyc_symmetry_create(&none, "C1"));
	ASSERT_OK(cyc_offset_grid_create(&offsets, 8, 2));
	ASSERT_OK(cyc_rotation_grid_global(&grid, 2, 0, none));
	cyc_search_spec spec = { .rotations = grid,
		                     .offsets = offsets,
		                     .coarse_radius = 3,
		                     .radius = 3,
		                     .oversampling = 0,
		                     .sigma_rotation_rad = { 1e6, 1e6 },
		                     .sigma_offset_A = { 1e6, 1e6 },
		                     .adaptive_fraction = 0.999 };
	const cyc_pose_start start = { .old = { cyc_mat3_identity(), { 0, 0, 0 } },
		                           .prior = { cyc_mat3_identity(), { 0, 0, 0 } },
		                           .R_tomo_part = cyc_mat3_identity() };
	assert_true((int64_t)grid->n * offsets->n > 1 << 20);
	ASSERT_OK(cyc_search_work_create(&work, m.store, &spec, &(cyc_search_size){ 1, N_IMAGES }));
	m.reference.amplitude = 1e-6;
	m.particle.n_images = 1;
	cyc_search_particle one = { m.particle, m.reference, start, &flat };
	ASSERT_OK(cyc_pose_search(work, &one, 1));
	assert_int_equal(flat.n_significant, 1 << 19);
	assert_true(flat.p_max > 0 && flat.p_max < 1e-5);
	m.reference.amplitude = 0.9;
	one = (cyc_search_particle){ m.particle, m.reference, start, &sharp };
	ASSERT_OK(cyc_pose_search(work, &one, 1));
	assert_true(sharp.n_significant < 1 << 19);
	assert_true(sharp.p_max > flat.p_max);
	cyc_search_work_destroy(&work);
	cyc_rotation_grid_destroy(&grid);
	cyc_offset_grid_destroy(&offsets);
	cyc_symmetry_destroy(&none);
	drop_model(&m);
}

/* ---------------------------------------------------------------- maps */

static void resampling_keeps_the_map(void **state)
{
	(void)state;
	cyc_volume *v = NULL, *coarse = NULL, *back = NULL;
	ASSERT_OK(cyc_volume_create(&v, 48, 48, 48, 2));
	for (int32_t z = 0; z < 48; z++)
		for (int32_t y = 0; y < 48; y++)
			for (int32_t x = 0; x < 48; x++)
				v->data[(z * 48 + y) * 48 + x] = (float)exp(
					-0.5 * (cyc_square(x - 27) + cyc_square(y - 22) + cyc_square(z - 24)) / cyc_square(4.0));
	ASSERT_OK(cyc_volume_resample(&coarse, v, 3, 32, 1));
	assert_float_equal(coarse->pixel_size_A, 3, 1e-9);
	/* (27 - 24) voxels of 2 Å are 2 of 3 Å. */
	assert_float_equal(coarse->data[(16 * 32 + 16) * 32 + 18], exp(-0.5 * cyc_square((22 - 24) / 4.0)), 1e-3);
	ASSERT_OK(cyc_volume_resample(&back, coarse, 2, 48, 2));
	for (size_t i = 0; i < cyc_volume_count(v); i++) assert_float_equal(back->data[i], v->data[i], 2e-3);
	cyc_volume_destroy(&v);
	cyc_volume_destroy(&coarse);
	cyc_volume_destroy(&back);
}

/* Gaussian blobs at places that a rotation vector and a shift [Å] have moved. */
static void draw_blobs(cyc_volume *v, cyc_vec3 turn, cyc_vec3 shift)
{
	static const double AT[4][3] = { { 8, 3, -5 }, { -9, 6, 2 }, { 1, -10, 7 }, { -4, -3, -9 } };
	double angle = sqrt(dot(turn, turn));
	cyc_mat3 R = angle > 0 ? cyc_rot_axis(turn, angle) : cyc_mat3_identity();
	int32_t n = v->nx;
	for (int b = 0; b < 4; b++) {
		cyc_vec3 c = cyc_mat3_apply(R, (cyc_vec3){ AT[b][0], AT[b][1], AT[b][2] });
		for (int32_t z = 0; z < n; z++)
			for (int32_t y = 0; y < n; y++)
				for (int32_t x = 0; x < n; x++) {
					double d2 = cyc_square((x - n / 2) * v->pixel_size_A - c.x - shift.x) +
					            cyc_square((y - n / 2) * v->pixel_size_A - c.y - shift.y) +
					            cyc_square((z - n / 2) * v->pixel_size_A - c.z - shift.z);
					v->data[(z * n + y) * n + x] += (float)exp(-0.5 * d2 / cyc_square(3.0));
				}
	}
}

/* A turn and a shift between two half maps come back, as far as symmetry leaves them free; noise makes none.
 * (T8.20) */
static void frames_of_half_maps_come_back(void **state)
{
	(void)state;
	enum { M_BOX = 32 };
	static const char *const GROUP[] = { "C1", "C4", "O" };
	const cyc_vec3 turn = { 0.01, -0.006, 0.014 }, shift = { 0.15, 0.2, -0.25 };
	double weight[M_BOX / 2 + 1];
	cyc_backend *be = NULL;
	cyc_volume *mask = NULL;
	cyc_half_maps maps = { 0 };
	cyc_box box = { .window = { .box_px = M_BOX, .box_binned = M_BOX }, .binning = 1, .pixel_size_A = 1.5 };
	ASSERT_OK(cyc_backend_open(&be, "cpu", 2));
	ASSERT_OK(cyc_volume_create(&mask, M_BOX, M_BOX, M_BOX, 1.5));
	for (size_t i = 0; i < cyc_volume_count(mask); i++) mask->data[i] = 1;
	for (int i = 0; i <= M_BOX / 2; i++) weight[i] = i < 12 ? 1 : 0;
	for (int h = 0; h < 2; h++) {
		ASSERT_OK(cyc_volume_create(&maps.half[h], M_BOX, M_BOX, M_BOX, 1.5));
		draw_blobs(maps.half[h], h ? turn : (cyc_vec3){ 0, 0, 0 }, h ? shift : (cyc_vec3){ 0, 0, 0 });
		for (size_t i = 0; i < cyc_volume_count(mask); i++)
			maps.half[h]->data[i] += (float)(0.0001 * (cyc_rng_uniform_at(7, (uint32_t)h, i, 0) - 0.5));
	}
	const cyc_half_maps_spec spec = { .be = be, .box = &box, .crop_px = M_BOX, .mask = mask };
	for (int g = 0; g < 3; g++) {
		cyc_symmetry *symmetry = NULL;
		cyc_frame f;
		ASSERT_OK(cyc_symmetry_create(&symmetry, GROUP[g]));
		ASSERT_OK(cyc_frame_between(&f, &maps, weight, symmetry, &spec));
		print_message("%s: turn %.4f %.4f %.4f, shift %.3f %.3f %.3f\n", GROUP[g], f.turn_rad.x, f.turn_rad.y,
		              f.turn_rad.z, f.shift_A.x, f.shift_A.y, f.shift_A.z);
		if (g == 0) {
			assert_float_equal(f.turn_rad.x, turn.x, 8e-4);
			assert_float_equal(f.turn_rad.y, turn.y, 8e-4);
			assert_float_equal(f.turn_rad.z, turn.z, 8e-4);
			assert_float_equal(f.shift_A.x, shift.x, 0.015);
			assert_float_equal(f.shift_A.y, shift.y, 0.015);
			assert_float_equal(f.shift_A.z, shift.z, 0.015);
		}
		if (g > 0)
			assert_true(f.turn_rad.x == 0 && f.turn_rad.y == 0 && f.shift_A.x == 0 && f.shift_A.y == 0);
		if (g == 2) assert_true(f.turn_rad.z == 0 && f.shift_A.z == 0);
		cyc_symmetry_destroy(&symmetry);
	}
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&maps.half[h]);
	cyc_volume_destroy(&mask);
	cyc_backend_close(&be);
}

/* ---------------------------------------------------------------- projects */

enum { BOX = 48, CROP = 40 };
static const char *g_symmetry = "O";

static void make_project(const char *name, int32_t n_series, int32_t n_particles, double signal)
{
	cyc_simulate_options p = simulated_project(name);
	p.symmetry = g_symmetry;
	p.n_series = n_series;
	p.n_particles = n_particles;
	p.edge_px = 30;
	p.n_tilts = 11;
	p.tilt_step_rad = cyc_deg_to_rad(8);
	p.dose_e_per_A2 = 3;
	p.defocus_min_A = 8000;
	p.defocus_max_A = 10000;
	p.signal *= signal;
	p.subtomogram_angles = true;
	p.error_defocus_A = p.error_astigmatism_A = p.error_scale = p.error_shift_A = p.error_angle_rad = 0;
	p.error_position_A = 1.5;
	p.error_orientation_rad = cyc_deg_to_rad(4);
	p.n_threads = 2;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	if (signal == 0) return;
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.input.root = g_root;
	r.input.optimisation_set = "optimisation_set.star";
	r.out_dir = "R";
	r.box_px = BOX;
	r.crop_px = CROP;
	r.symmetry = g_symmetry;
	r.n_threads = 2;
	ASSERT_OK(cyc_reconstruct_run(NULL, &r));
}

static cyc_refine3d_options options(const char *out)
{
	cyc_refine3d_options o;
	cyc_refine3d_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.ref1 = "R/half1.mrc";
	o.out_dir = out;
	o.box_px = BOX;
	o.crop_px = CROP;
	o.symmetry = g_symmetry;
	o.healpix_order = 3;
	o.auto_local_order = 3;
	o.offset_range_px = 1;
	o.offset_step_px = 1;
	o.max_iterations = 2;
	o.n_threads = 2;
	return o;
}

/* RMS angle [degrees] and distance [Å] from the truth, of all particles or of one half-set. */
static void errors(double *angle, double *distance, const char *particles)
{
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *truth = NULL, *found = NULL;
	cyc_symmetry *symmetry = NULL;
	ASSERT_OK(cyc_symmetry_create(&symmetry, "O"));
	ASSERT_OK(cyc_tomogram_set_read(&tomograms, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&truth, "truth/particles.star", NULL, tomograms, g_root));
	ASSERT_OK(cyc_particle_set_read(&found, particles, NULL, tomograms, g_root));
	*angle = *distance = 0;
	for (int64_t i = 0; i < truth->n; i++) {
		const cyc_particle *a = &truth->particles[i], *b = &found->particles[i];
		assert_string_equal(a->name, b->name);
		*angle += cyc_square(cyc_rad_to_deg(
					  cyc_rotation_distance_rad(a->R_tomo_ref, b->R_tomo_ref, symmetry, NULL))) /
		          (double)truth->n;
		*distance +=
			(cyc_square(a->position_A.x - b->position_A.x) + cyc_square(a->position_A.y - b->position_A.y) +
		     cyc_square(a->position_A.z - b->position_A.z)) /
			(double)truth->n;
	}
	*angle = sqrt(*angle);
	*distance = sqrt(*distance);
	cyc_particle_set_destroy(&truth);
	cyc_particle_set_destroy(&found);
	cyc_tomogram_set_destroy(&tomograms);
	cyc_symmetry_destroy(&symmetry);
}

static double number_of(const cyc_star *s, const char *block, int64_t row, const char *label)
{
	double value;
	const cyc_star_block *b = cyc_star_find(s, block);
	assert_non_null(b);
	ASSERT_OK(cyc_star_double_of(&value, b, row, label));
	return value;
}

/* Priors are learned (T8.13): poses that are known to half a degree and an Angstrom, from a start that is
 * wrong by 4 degrees and 1.5 Angstrom [per axis, 30 numbers to a half-set: to 13 %], have priors of about
 * that width, whatever they began with. The contrast of series is relative to all (T8.6): their mean is 1. */
static void assert_learned(const char *file)
{
	static const double START_DEG = 4, START_A = 1.5, LEAST_SHARE = 0.3, MOST_SHARE = 1.5;
	static const double MEAN_OF_SCALES = 0.02, SAME_CONTRAST = 0.3; /* series of ten particles in equal ice */
	cyc_star *s = NULL;
	ASSERT_OK(cyc_star_read(&s, in_root(file)));
	double rotation = number_of(s, "model_general", 0, "rlnSigmaPriorRotAngle"),
		   offset = number_of(s, "model_general", 0, "rlnSigmaOffsetsAngst"),
		   scale[2] = { number_of(s, "model_groups", 0, "rlnGroupScaleCorrection"),
		                number_of(s, "model_groups", 1, "rlnGroupScaleCorrection") };
	print_message("priors of %.2f degrees and %.2f A, contrasts of series %.3f and %.3f\n", rotation, offset,
	              scale[0], scale[1]);
	assert_true(rotation > LEAST_SHARE * START_DEG && rotation < MOST_SHARE * START_DEG);
	assert_true(offset > LEAST_SHARE * START_A && offset < MOST_SHARE * START_A);
	assert_true(fabs(0.5 * (scale[0] + scale[1]) - 1) < MEAN_OF_SCALES + 0.5 * fabs(scale[0] - scale[1]));
	assert_true(fabs(scale[0] - scale[1]) < SAME_CONTRAST);
	cyc_star_destroy(&s);
}

static void poses_come_back(void **state)
{
	(void)state;
	double before[2], after[2];
	cyc_refine3d_result r;
	make_project("project", 2, 10, 4);
	errors(&before[0], &before[1], "particles.star");
	cyc_refine3d_options o = options("P");
	ASSERT_OK(cyc_refine3d_run(&r, &o));
	assert_string_equal(r.particles, "P/run_data.star");
	errors(&after[0], &after[1], r.particles);
	print_message("orientations %.2f -> %.2f degrees, positions %.2f -> %.2f A; known to %.2f and %.2f; FSC "
	              "to %.1f A, %d iterations\n",
	              before[0], after[0], before[1], after[1], cyc_rad_to_deg(r.rotation_error_rad),
	              r.offset_error_A, r.resolution_A, r.n_iterations);
	if (!(after[0] < 0.5 * before[0])) fail_msg("orientations: %.2f -> %.2f degrees", before[0], after[0]);
	if (!(after[1] < 0.7 * before[1])) fail_msg("positions: %.2f -> %.2f Å", before[1], after[1]);
	/* Standard errors are what the errors are, within the scatter of twenty particles and what neighbours do
	 * to each other. */
	assert_true(cyc_rad_to_deg(r.rotation_error_rad) > 0.3 * after[0] &&
	            cyc_rad_to_deg(r.rotation_error_rad) < 2 * after[0]);
	cyc_refine3d_result_deinit(&r);
	static const char *const FILES[] = { "run_class001.mrc",
		                                 "run_half1_class001_unfil.mrc",
		                                 "run_half2_class001_unfil.mrc",
		                                 "run_model.star",
		                                 "run_optimiser.star",
		                                 "run_sampling.star",
		                                 "run_uncertainty.star",
		                                 "run_optimisation_set.star",
		                                 "run_it001_half2_class001.mrc",
		                                 "run_it001_half1_class001_unfil.mrc",
		                                 "run_it001_half1_model.star",
		                                 "run_it001_data.star" };
	for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
		char name[80];
		snprintf(name, sizeof name, "P/%s", FILES[i]);
		if (!cyc_path_exists(in_root(name))) fail_msg("%s was not written", name);
	}
	assert_false(cyc_path_exists(in_root("P/temp")));
	assert_learned("P/run_it001_half1_model.star");
}

/* Rotation vectors from the truth, less their mean, which is the map's, over their standard errors: root mean
 * square. */
static double rotation_z(const char *particles, const char *uncertainty)
{
	enum { MOST = 200 };
	static const char *const LABEL[3] = { "cycRotationXErrorDeg", "cycRotationYErrorDeg",
		                                  "cycRotationZErrorDeg" };
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *truth = NULL, *found = NULL;
	cyc_star *s = NULL;
	cyc_star_block *b;
	double v[MOST][3], mean[3] = { 0 }, sum = 0;
	ASSERT_OK(cyc_tomogram_set_read(&tomograms, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&truth, "truth/particles.star", NULL, tomograms, g_root));
	ASSERT_OK(cyc_particle_set_read(&found, particles, NULL, tomograms, g_root));
	ASSERT_OK(cyc_star_read(&s, in_root(uncertainty)));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	assert_true(truth->n <= MOST);
	for (int64_t i = 0; i < truth->n; i++) {
		cyc_mat3 d =
			cyc_mat3_mul(cyc_mat3_transpose(truth->particles[i].R_tomo_ref), found->particles[i].R_tomo_ref);
		const double w[3] = { 0.5 * (d.m[2][1] - d.m[1][2]), 0.5 * (d.m[0][2] - d.m[2][0]),
			                  0.5 * (d.m[1][0] - d.m[0][1]) };
		for (int k = 0; k < 3; k++) {
			v[i][k] = cyc_rad_to_deg(w[k]);
			mean[k] += v[i][k] / (double)truth->n;
		}
	}
	for (int64_t i = 0; i < truth->n; i++)
		for (int k = 0; k < 3; k++) {
			double error;
			ASSERT_OK(cyc_star_double_of(&error, b, i, LABEL[k]));
			sum += cyc_square((v[i][k] - mean[k]) / error) / (3.0 * (double)truth->n);
		}
	cyc_star_destroy(&s);
	cyc_particle_set_destroy(&truth);
	cyc_particle_set_destroy(&found);
	cyc_tomogram_set_destroy(&tomograms);
	return sqrt(sum);
}

/* In C1 a half map of few images has noise that moves the poses; the map of the other half tells how much.
 * (T8.27) */
static void errors_hold_the_noise_of_the_map(void **state)
{
	(void)state;
	cyc_refine3d_result r;
	static char root[96];
	snprintf(root, sizeof root, "%s", g_root);
	g_symmetry = "C1";
	make_project("c1", 2, 20, 12);
	cyc_refine3d_options o = options("E");
	o.max_iterations = 6;
	ASSERT_OK(cyc_refine3d_run(&r, &o));
	double z = rotation_z(r.particles, "E/run_uncertainty.star");
	print_message("C1, 40 particles: rotations known to %.2f degrees, errors over standard errors %.2f, %d "
	              "iterations\n",
	              cyc_rad_to_deg(r.rotation_error_rad), z, r.n_iterations);
	/* 120 numbers: the root mean square is known to 7 per cent. Without the map's noise it is 1.62; what
	 * neighbours in so thin a sample do to each other is left. */
	if (!(z > 0.7 && z < 1.45)) fail_msg("errors are %.2f standard errors", z);
	cyc_refine3d_result_deinit(&r);
	g_symmetry = "O";
	g_root = root;
}

/* The map of all groups but one is that of a set without the particles of that one. (T8.5) */
static void groups_are_compared_with_the_others(void **state)
{
	(void)state;
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *set = NULL;
	cyc_backend *be = NULL;
	cyc_volume *mask = NULL;
	cyc_group_maps *all = NULL, *others = NULL;
	cyc_reference *a = NULL, *b = NULL;
	cyc_box box;
	double fsc[CROP / 2 + 1];
	int32_t *group = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&tomograms, "tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&set, "particles.star", NULL, tomograms, g_root));
	ASSERT_OK(cyc_backend_open(&be, "cpu", 2));
	ASSERT_OK(cyc_box_create(&box, BOX, 1, tomograms->series[0].pixel_size_A));
	box.margin_px = 0.5 * BOX;
	ASSERT_OK(cyc_volume_create(&mask, CROP, CROP, CROP, box.pixel_size_A));
	for (size_t i = 0; i < cyc_volume_count(mask); i++) mask->data[i] = 1;
	for (int i = 0; i <= CROP / 2; i++) fsc[i] = i < 15 ? 0.8 : 0;
	const cyc_half_maps_spec spec = { .be = be,
		                              .box = &box,
		                              .crop_px = CROP,
		                              .symmetry = "O",
		                              .cutoff_frac = 0.01,
		                              .taper_px = 4,
		                              .mask = mask,
		                              .mask_diameter_px = CROP,
		                              .join_A = 40,
		                              .tau2_fudge = 1 };
	ASSERT_OK(cyc_alloc(&group, set->n, sizeof *group));
	ASSERT_OK(cyc_particle_groups(group, set, 3));
	ASSERT_OK(cyc_group_maps_create(&all, &spec, 3, group, 14));
	ASSERT_OK(cyc_group_maps_insert(all, tomograms, set, g_root));
	ASSERT_OK(cyc_group_maps_reference(&a, all, 0, fsc, 0, 7));
	/* Group 0 moved away: its particles are now turned and displaced, which the reference of group 0 must not
	 * feel. */
	for (int64_t i = 0; i < set->n; i++)
		if (group[i] == 0 && set->particles[i].half == 0) {
			set->particles[i].R_tomo_ref = cyc_mat3_mul(set->particles[i].R_tomo_ref, cyc_rot_z(0.4));
			set->particles[i].position_A.x += 30;
		}
	ASSERT_OK(cyc_group_maps_create(&others, &spec, 3, group, 14));
	ASSERT_OK(cyc_group_maps_insert(others, tomograms, set, g_root));
	for (int k = 0; k < 2; k++) {
		double d2 = 0, v2 = 0;
		float *x, *y;
		ASSERT_OK(cyc_group_maps_reference(&b, others, k, fsc, 0, 7));
		ASSERT_OK(cyc_buffer_map(&x, a->half[0]));
		ASSERT_OK(cyc_buffer_map(&y, b->half[0]));
		for (size_t i = 0; i < 2 * cyc_reference_count(a->edge); i++) {
			d2 += cyc_square((double)x[i] - (double)y[i]);
			v2 += cyc_square((double)x[i]);
		}
		ASSERT_OK(cyc_buffer_unmap(a->half[0]));
		ASSERT_OK(cyc_buffer_unmap(b->half[0]));
		print_message("group %d: the references differ by %.2g of their power\n", k, d2 / v2);
		if (k == 0) assert_true(d2 < 1e-8 * v2);
		else assert_true(d2 > 1e-3 * v2);
		cyc_reference_destroy(&b);
	}
	cyc_reference_destroy(&a);
	cyc_group_maps_destroy(&all);
	/* Sums of groups that do not go to the edge of the box, and the rest: together the map of all. */
	static const int32_t RADIUS[2] = { 5, CROP / 2 - 1 };
	cyc_half_maps *plain = NULL;
	ASSERT_OK(cyc_half_maps_reconstruct(&plain, tomograms, set, g_root, &spec, true));
	for (int k = 0; k < 2; k++) {
		cyc_half_maps *dealt = NULL;
		double d2 = 0, v2 = 0;
		ASSERT_OK(cyc_group_maps_create(&all, &spec, 3, group, RADIUS[k]));
		ASSERT_OK(cyc_half_maps_reconstruct_groups(&dealt, all, tomograms, set, g_root, &spec, NULL, true));
		for (size_t i = 0; i < cyc_volume_count(plain->merged); i++) {
			d2 += cyc_square((double)(plain->merged->data[i] - dealt->merged->data[i]));
			v2 += cyc_square((double)plain->merged->data[i]);
		}
		assert_true(v2 > 0 && d2 < 1e-12 * v2);
		cyc_half_maps_destroy(&dealt);
		cyc_group_maps_destroy(&all);
	}
	cyc_half_maps_destroy(&plain);
	cyc_group_maps_destroy(&others);
	cyc_volume_destroy(&mask);
	cyc_backend_close(&be);
	cyc_free(group);
	cyc_particle_set_destroy(&set);
	cyc_tomogram_set_destroy(&tomograms);
}

/* A refinement of what was refined has the prior of the first, and does not end on worse poses. */
static void a_second_refinement_knows_the_first_start(void **state)
{
	(void)state;
	cyc_star *s[2] = { NULL, NULL };
	cyc_star_block *b[2];
	double first[2], second[2];
	cyc_refine3d_options o = options("Second");
	o.input.particles = "P/run_data.star";
	o.ref1 = "P/run_half1_class001_unfil.mrc";
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	errors(&first[0], &first[1], "P/run_data.star");
	errors(&second[0], &second[1], "Second/run_data.star");
	print_message("refined again: %.3f -> %.3f degrees, %.3f -> %.3f A\n", first[0], second[0], first[1],
	              second[1]);
	assert_true(second[0] < 1.15 * first[0] && second[1] < 1.15 * first[1]);
	for (int k = 0; k < 2; k++) {
		ASSERT_OK(cyc_star_read(&s[k], in_root(k ? "Second/run_data.star" : "particles.star")));
		ASSERT_OK(cyc_star_require(&b[k], s[k], "particles"));
	}
	for (int64_t i = 0; i < cyc_star_n_rows(b[0]); i++) {
		double angle[2][3];
		static const char *const LABEL[2][3] = { { "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi" },
			                                     { "cycPriorAngleRot", "cycPriorAngleTilt",
			                                       "cycPriorAnglePsi" } };
		for (int k = 0; k < 6; k++)
			ASSERT_OK(cyc_star_double_of(&angle[k / 3][k % 3], b[k / 3], i, LABEL[k / 3][k % 3]));
		cyc_mat3 R[2];
		for (int k = 0; k < 2; k++)
			R[k] = cyc_euler_to_matrix(cyc_deg_to_rad(angle[k][0]), cyc_deg_to_rad(angle[k][1]),
			                           cyc_deg_to_rad(angle[k][2]));
		const cyc_symmetry none = { .n = 1, .ops = &(cyc_mat3){ { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } } } };
		assert_true(cyc_rotation_distance_rad(R[0], R[1], &none, NULL) < 1e-4);
	}
	for (int k = 0; k < 2; k++) cyc_star_destroy(&s[k]);
}

/* A symmetry mate is as good an input as any; and so is a reference a thousand times too strong. */
static void mates_and_grey_scales_do_not_matter(void **state)
{
	(void)state;
	static const char *const ANGLE[3] = { "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi" };
	cyc_star *s = NULL;
	cyc_star_block *b;
	cyc_symmetry *symmetry = NULL;
	double plain[2], mates[2], strong[2];
	errors(&plain[0], &plain[1], "P/run_data.star");
	ASSERT_OK(cyc_symmetry_create(&symmetry, "O"));
	ASSERT_OK(cyc_star_read(&s, in_root("particles.star")));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		double a[3];
		for (int k = 0; k < 3; k++) ASSERT_OK(cyc_star_double_of(&a[k], b, i, ANGLE[k]));
		cyc_mat3 R = cyc_mat3_mul(
			cyc_euler_to_matrix(cyc_deg_to_rad(a[0]), cyc_deg_to_rad(a[1]), cyc_deg_to_rad(a[2])),
			symmetry->ops[(7 * i + 5) % 24]);
		cyc_euler_from_matrix(&a[0], &a[1], &a[2], R);
		for (int k = 0; k < 3; k++)
			ASSERT_OK(cyc_star_set_double(b, i, cyc_star_column(b, ANGLE[k]), cyc_rad_to_deg(a[k])));
	}
	ASSERT_OK(cyc_star_write(s, in_root("mates.star")));
	cyc_star_destroy(&s);
	cyc_symmetry_destroy(&symmetry);
	cyc_refine3d_options o = options("Mates");
	o.input.particles = "mates.star";
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	errors(&mates[0], &mates[1], "Mates/run_data.star");
	for (int h = 1; h <= 2; h++) {
		cyc_volume *v = NULL;
		char name[32];
		snprintf(name, sizeof name, "R/half%d.mrc", h);
		ASSERT_OK(cyc_mrc_read_map(&v, in_root(name)));
		for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] *= 1000;
		snprintf(name, sizeof name, "strong_half%d.mrc", h);
		ASSERT_OK(cyc_mrc_write(in_root(name), v, 2, NULL));
		cyc_volume_destroy(&v);
	}
	o = options("Strong");
	o.ref1 = "strong_half1.mrc";
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	errors(&strong[0], &strong[1], "Strong/run_data.star");
	print_message("%.3f degrees, %.3f from mates, %.3f from strong maps\n", plain[0], mates[0], strong[0]);
	assert_float_equal(mates[0], plain[0], (0.1 * plain[0]));
	assert_float_equal(strong[0], plain[0], (0.1 * plain[0]));
	assert_float_equal(mates[1], plain[1], (0.1 * plain[1]));
}

static void assert_same_results(const char *a, const char *b)
{
	static const char *const FILES[] = { "run_data.star", "run_uncertainty.star", "run_class001.mrc",
		                                 "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc" };
	assert_same_files(a, b, FILES, sizeof FILES / sizeof *FILES);
}

static void same_bits_for_threads_caches_and_after_kills(void **state)
{
	(void)state;
	cyc_refine3d_options o = options("T1");
	o.n_threads = 1;
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	o.out_dir = "T3";
	o.n_threads = 3;
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_same_results("T1", "T3");
	o.out_dir = "NoCache";
	o.cache_GB = 0;
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_same_results("T1", "NoCache");
	o.cache_GB = -1;
	o.out_dir = "Strict";
	o.backend = "strict";
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_same_results("T1", "Strict");
	o.backend = "cpu";
	o.out_dir = "Killed";
	o.resume = true;
	/* Progress is told once per tilt series and iteration: killed in the first iteration, and in the second
	 * after the first was kept. */
	for (int at = 1; at <= 3; at += 2) {
		RUN_UNTIL_KILLED(at, cyc_refine3d_run, &o);
		assert_int_equal(cyc_path_exists(in_root("Killed/temp/iteration.checkpoint")), at == 3);
	}
	/* Other options do not take the checkpoint, nor is a damaged one used. */
	cyc_refine3d_options other = o;
	other.tau2_fudge = 2;
	other.max_iterations = 1;
	char *kept;
	size_t n;
	ASSERT_OK(cyc_read_file(&kept, &n, in_root("Killed/temp/iteration.checkpoint")));
	ASSERT_OK(cyc_refine3d_run(NULL, &other));
	for (int damaged = 0; damaged < 2; damaged++) {
		ASSERT_OK(cyc_make_dirs(in_root("Killed/temp")));
		if (damaged) kept[n / 2] ^= 1; /* one bit of a map */
		ASSERT_OK(cyc_write_file(in_root("Killed/temp/iteration.checkpoint"), kept, n));
		ASSERT_OK(cyc_refine3d_run(NULL, &o));
		assert_same_results("T1", "Killed");
	}
	cyc_free(kept);
}

static void sampling_alone_gets_there_too(void **state)
{
	(void)state;
	double before[2], after[2];
	errors(&before[0], &before[1], "particles.star");
	cyc_refine3d_options o = options("Sampled");
	o.no_follow = true;
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	errors(&after[0], &after[1], "Sampled/run_data.star");
	print_message("sampled: %.2f -> %.2f degrees, %.2f -> %.2f A\n", before[0], after[0], before[1],
	              after[1]);
	assert_true(after[0] < 0.85 * before[0]);
	/* From nothing: poses are forgotten, a low-passed true map is the reference, the search is global. */
	cyc_star *s = NULL;
	cyc_star_block *b;
	ASSERT_OK(cyc_star_read(&s, in_root("particles.star")));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	static const char *const ANGLE[3] = { "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi" };
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++)
		for (int k = 0; k < 3; k++)
			ASSERT_OK(
				cyc_star_set_double(b, i, cyc_star_column(b, ANGLE[k]), 10.0 * (double)(i % 7) + 20 * k));
	ASSERT_OK(cyc_star_write(s, in_root("lost.star")));
	cyc_star_destroy(&s);
	errors(&before[0], &before[1], "lost.star");
	o = options("Global");
	o.input.particles = "lost.star";
	o.ref1 = "truth/map.mrc";
	o.lowpass_A = 25;
	o.auto_local_order = 4;
	o.max_iterations = 2;
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	errors(&after[0], &after[1], "Global/run_data.star");
	print_message("global: %.2f -> %.2f degrees\n", before[0], after[0]);
	assert_true(after[0] < 0.3 * before[0]);
}

static const char *result_of(const char *folder, const char *file)
{
	static char name[4][80];
	static int i;
	i = (i + 1) % 4;
	snprintf(name[i], sizeof name[i], "%.30s/%.45s", folder, file);
	return name[i];
}

/* Map and particles of half-set 1 have the same bits in both results, those of half-set 2 have not. */
static void assert_only_half_2_changed(const char *a, const char *b)
{
	assert_same_file(result_of(a, "run_half1_class001_unfil.mrc"),
	                 result_of(b, "run_half1_class001_unfil.mrc"));
	char *data[2];
	size_t n[2];
	ASSERT_OK(cyc_read_file(&data[0], &n[0], in_root(result_of(a, "run_half2_class001_unfil.mrc"))));
	ASSERT_OK(cyc_read_file(&data[1], &n[1], in_root(result_of(b, "run_half2_class001_unfil.mrc"))));
	assert_true(memcmp(data[0], data[1], n[0]) != 0);
	for (int i = 0; i < 2; i++) cyc_free(data[i]);
	cyc_star *s[2] = { NULL, NULL };
	cyc_star_block *block[2];
	int64_t n_same = 0, n_other = 0;
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(cyc_star_read(&s[i], in_root(result_of(i ? b : a, "run_data.star"))));
		ASSERT_OK(cyc_star_require(&block[i], s[i], "particles"));
	}
	for (int64_t r = 0; r < cyc_star_n_rows(block[0]); r++) {
		bool is_first = strcmp(cyc_star_text_of(block[0], r, "rlnRandomSubset"), "1") == 0, is_same = true;
		for (int32_t c = 0; c < cyc_star_n_columns(block[0]); c++)
			is_same = is_same && strcmp(cyc_star_text(block[0], r, c), cyc_star_text(block[1], r, c)) == 0;
		if (is_first && !is_same) fail_msg("row %d of half-set 1 changed", (int)r);
		n_same += is_first;
		n_other += !is_first && !is_same;
	}
	assert_true(n_same > 0 && n_other > 0);
	for (int i = 0; i < 2; i++) cyc_star_destroy(&s[i]);
}

/* ---------------------------------------------------------------- stacks */

static void extract_as(const char *particles, const char *out, bool stacks, bool keep_offsets, bool no_ctf)
{
	cyc_extract_options o;
	cyc_extract_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.input.particles = particles;
	o.out_dir = out;
	o.box_px = BOX;
	o.crop_px = CROP;
	o.stacks = stacks;
	o.keep_offsets = keep_offsets;
	o.no_ctf = no_ctf;
	o.n_threads = 2;
	ASSERT_OK(cyc_extract_run(NULL, &o));
}

static void extract(const char *particles, const char *out, bool keep_offsets, bool no_ctf)
{
	extract_as(particles, out, true, keep_offsets, no_ctf);
}

static cyc_refine3d_options stack_options(const char *set, const char *out)
{
	cyc_refine3d_options o = options(out);
	o.input.optimisation_set = set;
	o.from_stacks = true;
	o.box_px = 0;
	o.crop_px = -1;
	return o;
}

/* RMS angle [degrees] and distance [Å] between two refinements of the same particles. */
static void apart(double *angle, double *distance, const char *a, const char *b)
{
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *set[2] = { NULL, NULL };
	cyc_symmetry *symmetry = NULL;
	ASSERT_OK(cyc_symmetry_create(&symmetry, "O"));
	ASSERT_OK(cyc_tomogram_set_read(&tomograms, "tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&set[0], a, NULL, tomograms, g_root));
	ASSERT_OK(cyc_particle_set_read(&set[1], b, NULL, tomograms, g_root));
	assert_int_equal(set[0]->n, set[1]->n);
	*angle = *distance = 0;
	for (int64_t i = 0; i < set[0]->n; i++) {
		const cyc_particle *x = &set[0]->particles[i], *y = &set[1]->particles[i];
		assert_string_equal(x->name, y->name);
		*angle += cyc_square(cyc_rad_to_deg(
					  cyc_rotation_distance_rad(x->R_tomo_ref, y->R_tomo_ref, symmetry, NULL))) /
		          (double)set[0]->n;
		*distance +=
			(cyc_square(x->position_A.x - y->position_A.x) + cyc_square(x->position_A.y - y->position_A.y) +
		     cyc_square(x->position_A.z - y->position_A.z)) /
			(double)set[0]->n;
	}
	*angle = sqrt(*angle);
	*distance = sqrt(*distance);
	for (int k = 0; k < 2; k++) cyc_particle_set_destroy(&set[k]);
	cyc_tomogram_set_destroy(&tomograms);
	cyc_symmetry_destroy(&symmetry);
}

/* The same images, cut before instead of on the way: with offsets 0, with offsets left, and without the CTF.
 */
static void stacks_give_the_poses_of_tilt_images(void **state)
{
	(void)state;
	static const struct {
		const char *particles, *set, *out;
		bool keep_offsets, no_ctf;
	} CASES[] = {
		{ "particles.star", "EX/optimisation_set.star", "S", false, false },
		{ "P/run_data.star", "EXO/optimisation_set.star", "SO", true, false },
		{ "particles.star", "EXN/optimisation_set.star", "SN", false, true },
	};
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		cyc_refine3d_result r;
		char folder[16];
		double angle, distance, error[2];
		snprintf(folder, sizeof folder, "%.*s", (int)(strchr(CASES[i].set, '/') - CASES[i].set),
		         CASES[i].set);
		extract(CASES[i].particles, folder, CASES[i].keep_offsets, CASES[i].no_ctf);
		cyc_refine3d_options o = stack_options(CASES[i].set, CASES[i].out);
		ASSERT_OK(cyc_refine3d_run(&r, &o));
		apart(&angle, &distance, "P/run_data.star", r.particles);
		errors(&error[0], &error[1], r.particles);
		print_message("%s: %.2f degrees and %.2f A from those of tilt images; known to %.2f and %.2f; wrong "
		              "by %.2f and %.2f\n",
		              folder, angle, distance, cyc_rad_to_deg(r.rotation_error_rad), r.offset_error_A,
		              error[0], error[1]);
		if (!(angle < cyc_rad_to_deg(r.rotation_error_rad) && distance < r.offset_error_A))
			fail_msg("%s: %.2f degrees and %.2f A apart", folder, angle, distance);
		cyc_refine3d_result_deinit(&r);
	}
}

static void stacks_same_bits_for_threads_caches_and_after_stops(void **state)
{
	(void)state;
	cyc_refine3d_options o = stack_options("EX/optimisation_set.star", "S3");
	o.n_threads = 3;
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_same_results("S", "S3");
	o.out_dir = "SNoCache";
	o.cache_GB = 0;
	o.backend = "strict";
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_same_results("S", "SNoCache");
	o.out_dir = "SKilled";
	o.resume = true;
	RUN_UNTIL_KILLED(3, cyc_refine3d_run, &o);
	assert_true(cyc_path_exists(in_root("SKilled/temp/iteration.checkpoint")));
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_same_results("S", "SKilled");
}

/* All stacks of half-set 2 are changed: poses and map of half-set 1 keep their bits, noise spectra and all.
 */
static void halves_of_stacks_know_nothing_of_each_other(void **state)
{
	(void)state;
	cyc_star *s = NULL;
	cyc_star_block *b;
	cyc_refine3d_options o = stack_options("EX/optimisation_set.star", "SH1");
	o.join_A = 0;
	o.max_iterations = 1;
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	ASSERT_OK(cyc_star_read(&s, in_root("EX/particles.star")));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		const char *path = in_root(cyc_star_text_of(b, i, "rlnImageName"));
		char *data;
		size_t n;
		if (strcmp(cyc_star_text_of(b, i, "rlnRandomSubset"), "2") != 0) continue;
		ASSERT_OK(cyc_read_file(&data, &n, path));
		float *pixels = (float *)(data + 1024);
		for (size_t x = 0; x < (n - 1024) / sizeof *pixels; x++) pixels[x] = 3 * pixels[x] + (float)(x % 13);
		ASSERT_OK(cyc_write_file(path, data, n));
		cyc_free(data);
	}
	cyc_star_destroy(&s);
	o.out_dir = "SH2";
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_only_half_2_changed("SH1", "SH2");
}

/* The file of the first particle. */
static const char *first_stack(void)
{
	static char path[600];
	cyc_star *s = NULL;
	cyc_star_block *b;
	ASSERT_OK(cyc_star_read(&s, in_root("EX/particles.star")));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	snprintf(path, sizeof path, "%s", in_root(cyc_star_text_of(b, 0, "rlnImageName")));
	cyc_star_destroy(&s);
	return path;
}

static void bad_stacks(void **state)
{
	(void)state;
	cyc_refine3d_options o = stack_options("optimisation_set.star", "BadS");
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_FORMAT, "rlnImageName");
	o = stack_options("EX/optimisation_set.star", "BadS");
	o.crop_px = CROP - 2;
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_USAGE, "box of the extracted images");
	o = stack_options("EX/optimisation_set.star", "BadS");
	o.box_px = CROP - 2;
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_USAGE, "not smaller than the extracted images");
	o = stack_options("EX/optimisation_set.star", "BadS");
	o.binning = 2;
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_USAGE, "a binning of 2 was given");
	o = stack_options("EX/optimisation_set.star", "BadS");
	char *kept;
	size_t n;
	const char *path = first_stack();
	ASSERT_OK(cyc_read_file(&kept, &n, path));
	float *pixels = (float *)(kept + 1024), old = pixels[50];
	pixels[50] = NAN;
	ASSERT_OK(cyc_write_file(path, kept, n));
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_DATA, "NaN");
	pixels[50] = old;
	memset(pixels, 0, CROP * CROP * sizeof *pixels);
	ASSERT_OK(cyc_write_file(path, kept, n));
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_DATA, "zero everywhere");
	assert_int_equal(remove(path), 0);
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_IO, "EX/");
	assert_false(cyc_path_exists(in_root("BadS/run_data.star")));
	cyc_free(kept);
}

/* ---------------------------------------------------------------- volumes */

static double map_correlation(const char *a, const char *b)
{
	cyc_volume *v[2];
	double sum[2] = { 0 }, xx = 0, yy = 0, xy = 0;
	ASSERT_OK(cyc_mrc_read(&v[0], in_root(a)));
	ASSERT_OK(cyc_mrc_read(&v[1], in_root(b)));
	size_t n = cyc_volume_count(v[0]);
	assert_true(n == cyc_volume_count(v[1]));
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < 2; k++) sum[k] += (double)v[k]->data[i] / (double)n;
	for (size_t i = 0; i < n; i++) {
		double x = (double)v[0]->data[i] - sum[0], y = (double)v[1]->data[i] - sum[1];
		xx += x * x;
		yy += y * y;
		xy += x * y;
	}
	for (int k = 0; k < 2; k++) cyc_volume_destroy(&v[k]);
	return xy / sqrt(xx * yy);
}

/* Volumes that were not multiplied by a CTF: those of `from` divided by the root of their weights, which is
 * theirs. */
static void divide_by_ctf(const char *set)
{
	cyc_star *s = NULL;
	cyc_star_block *b;
	cyc_fft3 *fft = NULL;
	cyc_cfloat *ft;
	char name[300];
	snprintf(name, sizeof name, "%s/particles.star", set);
	ASSERT_OK(cyc_star_read(&s, in_root(name)));
	ASSERT_OK(cyc_star_require(&b, s, "optics"));
	ASSERT_OK(cyc_star_set_text(b, 0, cyc_star_column(b, "rlnCtfDataAreCtfPremultiplied"), "0"));
	ASSERT_OK(cyc_star_write(s, in_root(name)));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	ASSERT_OK(cyc_fft3_create(&fft, CROP, 1));
	ASSERT_OK(cyc_alloc(&ft, cyc_half_count3(CROP), sizeof *ft));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		const char *data_name = in_root(cyc_star_text_of(b, i, "rlnImageName")),
				   *weight_name = in_root(cyc_star_text_of(b, i, "rlnCtfImage"));
		cyc_volume *data, *weight, *ctf;
		ASSERT_OK(cyc_mrc_read(&data, data_name));
		ASSERT_OK(cyc_mrc_read(&weight, weight_name));
		ASSERT_OK(cyc_volume_create(&ctf, CROP / 2 + 1, CROP, CROP, weight->pixel_size_A));
		/* A tomogram has what trilinear spreading took from the rim of the volume. */
		for (int32_t z = 0; z < CROP; z++)
			for (int32_t y = 0; y < CROP; y++)
				for (int32_t x = 0; x < CROP; x++) {
					double kept = 1;
					const int32_t at[] = { x - CROP / 2, y - CROP / 2, z - CROP / 2 };
					for (int k = 0; k < 3; k++) {
						double t = CYC_PI * at[k] / CROP;
						if (at[k] != 0) kept *= cyc_square(sin(t) / t);
					}
					data->data[((size_t)z * CROP + (size_t)y) * CROP + (size_t)x] /= (float)kept;
				}
		ASSERT_OK(cyc_fft3_forward(ft, fft, data->data));
		for (size_t k = 0; k < cyc_half_count3(CROP); k++) {
			ctf->data[k] = sqrtf(weight->data[k]);
			ft[k] = weight->data[k] > 1e-3F ? ft[k] / ctf->data[k] : 0;
		}
		ASSERT_OK(cyc_fft3_inverse(data->data, fft, ft));
		ASSERT_OK(cyc_mrc_write(data_name, data, 2, NULL));
		ASSERT_OK(cyc_mrc_write(weight_name, ctf, 2, NULL));
		cyc_volume_destroy(&data);
		cyc_volume_destroy(&weight);
		cyc_volume_destroy(&ctf);
	}
	cyc_free(ft);
	cyc_fft3_destroy(&fft);
	cyc_star_destroy(&s);
}

/* The same images spread in three dimensions: poses and map are those of the stacks, also with offsets, and
 * from volumes that were not multiplied by the CTF. */
static void volumes_give_the_poses_of_stacks(void **state)
{
	(void)state;
	static const struct {
		const char *particles, *set, *out;
		bool keep_offsets, is_divided;
	} CASES[] = {
		{ "particles.star", "EV/optimisation_set.star", "V", false, false },
		{ "P/run_data.star", "EVO/optimisation_set.star", "VO", true, false },
		{ "particles.star", "EVN/optimisation_set.star", "VN", false, true },
	};
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		cyc_refine3d_result r;
		char folder[16], map[64];
		double angle, distance, error[2];
		snprintf(folder, sizeof folder, "%.*s", (int)(strchr(CASES[i].set, '/') - CASES[i].set),
		         CASES[i].set);
		extract_as(CASES[i].particles, folder, false, CASES[i].keep_offsets, false);
		if (CASES[i].is_divided) divide_by_ctf(folder);
		cyc_refine3d_options o = stack_options(CASES[i].set, CASES[i].out);
		ASSERT_OK(cyc_refine3d_run(&r, &o));
		snprintf(map, sizeof map, "%s/run_class001.mrc", CASES[i].out);
		double same = map_correlation("S/run_class001.mrc", map);
		apart(&angle, &distance, "S/run_data.star", r.particles);
		errors(&error[0], &error[1], r.particles);
		print_message(
			"%s: %.2f degrees and %.2f A from those of stacks; known to %.2f and %.2f; wrong by %.2f and "
			"%.2f; maps correlate by %.4f\n",
			folder, angle, distance, cyc_rad_to_deg(r.rotation_error_rad), r.offset_error_A, error[0],
			error[1], same);
		if (!(angle < cyc_rad_to_deg(r.rotation_error_rad) && distance < r.offset_error_A && same > 0.98))
			fail_msg("%s: %.2f degrees and %.2f A apart, maps %.4f", folder, angle, distance, same);
		cyc_refine3d_result_deinit(&r);
	}
}

/* RELION's "normalised" volumes: data and weights divided by the multiplicity, which follows in the file. */
static void divide_by_multiplicity(const char *set)
{
	cyc_star *s = NULL;
	cyc_star_block *b;
	cyc_fft3 *fft = NULL;
	cyc_cfloat *ft;
	char name[300];
	size_t n = cyc_half_count3(CROP);
	snprintf(name, sizeof name, "%s/particles.star", set);
	ASSERT_OK(cyc_star_read(&s, in_root(name)));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	ASSERT_OK(cyc_fft3_create(&fft, CROP, 1));
	ASSERT_OK(cyc_alloc(&ft, n, sizeof *ft));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		const char *data_name = in_root(cyc_star_text_of(b, i, "rlnImageName")),
				   *weight_name = in_root(cyc_star_text_of(b, i, "rlnCtfImage"));
		cyc_volume *data, *weight;
		ASSERT_OK(cyc_mrc_read(&data, data_name));
		ASSERT_OK(cyc_mrc_read(&weight, weight_name));
		ASSERT_OK(cyc_fft3_forward(ft, fft, data->data));
		for (size_t k = 0; k < n; k++) {
			float multiplicity = weight->data[n + k];
			/* Below it is the rounding of the data that would be divided. */
			bool is_there = multiplicity > 1e-3F;
			ft[k] = is_there ? ft[k] / multiplicity : 0;
			weight->data[k] = is_there ? weight->data[k] / multiplicity : 0;
		}
		ASSERT_OK(cyc_fft3_inverse(data->data, fft, ft));
		ASSERT_OK(cyc_mrc_write(data_name, data, 2, NULL));
		ASSERT_OK(cyc_mrc_write(weight_name, weight, 2, NULL));
		cyc_volume_destroy(&data);
		cyc_volume_destroy(&weight);
	}
	cyc_free(ft);
	cyc_fft3_destroy(&fft);
	cyc_star_destroy(&s);
}

static void volumes_divided_by_their_multiplicity(void **state)
{
	(void)state;
	cyc_refine3d_result r;
	double angle, distance;
	extract_as("particles.star", "EVM", false, false, false);
	divide_by_multiplicity("EVM");
	cyc_refine3d_options o = stack_options("EVM/optimisation_set.star", "VM");
	ASSERT_OK(cyc_refine3d_run(&r, &o));
	apart(&angle, &distance, "V/run_data.star", r.particles);
	double same = map_correlation("V/run_class001.mrc", "VM/run_class001.mrc");
	print_message(
		"divided by their multiplicity: %.4f degrees and %.4f A from the sums, maps correlate by %.6f\n",
		angle, distance, same);
	assert_true(angle < 0.02 && distance < 0.01 && same > 0.9999);
	cyc_refine3d_result_deinit(&r);
}

static void volumes_same_bits_for_threads_and_backends(void **state)
{
	(void)state;
	cyc_refine3d_options o = stack_options("EV/optimisation_set.star", "V3");
	o.n_threads = 3;
	o.cache_GB = 0;
	o.backend = "emulate";
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_same_results("V", "V3");
}

static void bad_volumes(void **state)
{
	(void)state;
	cyc_refine3d_options o = stack_options("EV/optimisation_set.star", "BadV");
	cyc_star *s = NULL;
	cyc_star_block *b;
	char data_name[600], weight_name[600], *kept[2];
	size_t n[2];
	ASSERT_OK(cyc_star_read(&s, in_root("EV/particles.star")));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	snprintf(data_name, sizeof data_name, "%s", in_root(cyc_star_text_of(b, 0, "rlnImageName")));
	snprintf(weight_name, sizeof weight_name, "%s", in_root(cyc_star_text_of(b, 0, "rlnCtfImage")));
	cyc_star_destroy(&s);
	ASSERT_OK(cyc_read_file(&kept[0], &n[0], data_name));
	ASSERT_OK(cyc_read_file(&kept[1], &n[1], weight_name));
	float *voxels = (float *)(kept[0] + 1024), *weights = (float *)(kept[1] + 1024), old = voxels[50];
	voxels[50] = NAN;
	ASSERT_OK(cyc_write_file(data_name, kept[0], n[0]));
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_DATA, "NaN");
	voxels[50] = old;
	/* Of a file that is found nothing is said about where it is looked for. */
	ASSERT_OK(cyc_write_file(data_name, kept[0], n[0] / 2));
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_FORMAT, "is truncated");
	assert_null(strstr(cyc_error_get()->hint, "--root"));
	assert_int_equal(remove(data_name), 0);
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_IO, "cannot open");
	assert_non_null(strstr(cyc_error_get()->hint, "--root"));
	ASSERT_OK(cyc_write_file(data_name, kept[0], n[0]));
	weights[5] = -1e3F;
	ASSERT_OK(cyc_write_file(weight_name, kept[1], n[1]));
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_DATA, "never negative");
	weights[5] = NAN;
	ASSERT_OK(cyc_write_file(weight_name, kept[1], n[1]));
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_DATA, "NaN");
	memset(weights, 0, n[1] - 1024);
	ASSERT_OK(cyc_write_file(weight_name, kept[1], n[1]));
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_DATA, "weights are zero everywhere");
	assert_int_equal(remove(weight_name), 0);
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_IO, "weights");
	cyc_free(kept[1]);
	ASSERT_OK(cyc_write_file(weight_name, kept[0], n[0]));
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_SHAPE, "half transform of a CTF");
	o.relion_model = "some_model.star";
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_UNSUPPORTED, "3D volumes");
	assert_false(cyc_path_exists(in_root("BadV/run_data.star")));
	cyc_free(kept[0]);
}

/* ---------------------------------------------------------------- half-sets */

/* Particles of the first series are half-set 1, those of the second half-set 2. */
static void split_by_series(const char *out)
{
	cyc_star *s = NULL;
	cyc_star_block *b;
	ASSERT_OK(cyc_star_read(&s, in_root("particles.star")));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++)
		ASSERT_OK(cyc_star_set_int(b, i, cyc_star_column(b, "rlnRandomSubset"),
		                           strcmp(cyc_star_text_of(b, i, "rlnTomoName"), "TS_01") == 0 ? 1 : 2));
	ASSERT_OK(cyc_star_write(s, in_root(out)));
	cyc_star_destroy(&s);
}

/* All images of half-set 2 are changed: poses and map of half-set 1 keep their bits. */
static void halves_know_nothing_of_each_other(void **state)
{
	(void)state;
	cyc_tomogram_set *tomograms = NULL;
	split_by_series("split.star");
	cyc_refine3d_options o = options("H1");
	o.input.particles = "split.star";
	o.join_A = 0;
	o.max_iterations = 1; /* from the second iteration on they share the FSC of their maps */
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	ASSERT_OK(cyc_tomogram_set_read(&tomograms, "tomograms.star", g_root));
	cyc_tilt_series *ts = &tomograms->series[1];
	ASSERT_OK(cyc_tilt_series_open(ts, g_root));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		cyc_volume *v = NULL;
		ASSERT_OK(cyc_mrc_read(&v, ts->image_path[f]));
		for (size_t i = 0; i < cyc_volume_count(v); i++)
			v->data[i] = 3 * v->data[cyc_volume_count(v) - 1 - i] + (float)(i % 13);
		ASSERT_OK(cyc_mrc_write(ts->image_path[f], v, 2, NULL));
		cyc_volume_destroy(&v);
	}
	cyc_tomogram_set_destroy(&tomograms);
	o.out_dir = "H2";
	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	assert_only_half_2_changed("H1", "H2");
}

/* A map that has nothing to do with the images: balls of a few voxels. */
static void write_balls(const char *name)
{
	static const int32_t AT[5][3] = { { 0, 0, 0 }, { 6, 1, -2 }, { -3, 5, 4 }, { -5, -4, 1 }, { 2, -6, -4 } };
	cyc_volume *v = NULL;
	cyc_tomogram_set *tomograms = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&tomograms, "tomograms.star", g_root));
	ASSERT_OK(cyc_volume_create(&v, CROP, CROP, CROP, tomograms->series[0].pixel_size_A));
	for (int32_t i = 0; i < CROP * CROP * CROP; i++)
		for (int k = 0; k < 5; k++) {
			int32_t x = i % CROP - CROP / 2 - AT[k][0], y = i / CROP % CROP - CROP / 2 - AT[k][1],
					z = i / CROP / CROP - CROP / 2 - AT[k][2];
			v->data[i] += expf(-(float)(x * x + y * y + z * z) / 8);
		}
	ASSERT_OK(cyc_mrc_write(in_root(name), v, 2, NULL));
	cyc_volume_destroy(&v);
	cyc_tomogram_set_destroy(&tomograms);
}

/* Noise aligned to a reference looks like the reference, up to its initial low-pass; beyond, the halves have
 * nothing in common. */
static void noise_stays_noise(void **state)
{
	(void)state;
	static const double LOWPASS_A = 30;
	make_project("noise", 1, 24, 0);
	cyc_refine3d_options o = options("N");
	write_balls("balls.mrc");
	o.ref1 = "balls.mrc";
	o.lowpass_A = LOWPASS_A;
	o.symmetry = "C1";
	o.no_fsc_correction = true;
	o.max_iterations = 2;

	ASSERT_OK(cyc_refine3d_run(NULL, &o));
	cyc_star *s = NULL;
	cyc_star_block *b;
	double sum = 0, count = 0, most = 0;
	ASSERT_OK(cyc_star_read(&s, in_root("N/run_model.star")));
	ASSERT_OK(cyc_star_require(&b, s, "model_class_1"));
	for (int64_t i = 1; i < cyc_star_n_rows(b) - 1; i++) {
		double resolution, fsc;
		ASSERT_OK(cyc_star_double_of(&resolution, b, i, "rlnAngstromResolution"));
		ASSERT_OK(cyc_star_double_of(&fsc, b, i, "rlnGoldStandardFsc"));
		if (resolution > 0.85 * LOWPASS_A) continue; /* the filter has an edge */
		sum += fsc;
		count++;
		most = fmax(most, fabs(fsc));
	}
	print_message("noise: FSC beyond the low-pass %.3f on average, at most %.3f\n", sum / count, most);
	assert_true(count > 5);
	assert_true(fabs(sum / count) < 0.05 && most < 0.25);
	cyc_star_destroy(&s);
}

/* ---------------------------------------------------------------- bad input */

static void bad_input(void **state)
{
	(void)state;
	cyc_refine3d_options o = options("Bad");
	o.ref1 = "truth/map.mrc";
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_USAGE, "one map for both half-sets");
	o = options("Bad");
	o.crop_px = 50;
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_USAGE, "cropped box");
	o = options("Bad");
	o.particle_diameter_A = 1e4;
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_USAGE, "does not fit");
	o = options("Bad");
	o.no_follow = o.no_search = true;
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_USAGE, "nothing to refine");
	o = options("Bad");
	o.ref1 = "missing_half1.mrc";
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_IO, "missing_half1.mrc");
	o = options("Bad");
	o.symmetry = "Q3";
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_USAGE, "Q3");
	o = options("Bad");
	o.mask = "truth/map.mrc";
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_SHAPE, "neither as wide");
	o.mask = "R/half1.mrc";
	ASSERT_FAILS(cyc_refine3d_run(NULL, &o), CYC_E_DATA, "masks must be between 0 and 1");
	assert_false(cyc_path_exists(in_root("Bad")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(healpix_centres),
		cmocka_unit_test(global_grids_hold_one_of_each_mate),
		cmocka_unit_test(rotation_vectors_are_what_turns),
		cmocka_unit_test(local_grids_are_around_the_old_pose),
		cmocka_unit_test(offset_lattice),
		cmocka_unit_test(scores_are_the_formula),
		cmocka_unit_test(derivatives_are_those_of_the_value),
		cmocka_unit_test(search_memory_is_bounded),
		cmocka_unit_test(flat_posteriors_are_searched_too),
		cmocka_unit_test(resampling_keeps_the_map),
		cmocka_unit_test(frames_of_half_maps_come_back),
		cmocka_unit_test(poses_come_back),
		cmocka_unit_test(groups_are_compared_with_the_others),
		cmocka_unit_test(a_second_refinement_knows_the_first_start),
		cmocka_unit_test(mates_and_grey_scales_do_not_matter),
		cmocka_unit_test(same_bits_for_threads_caches_and_after_kills),
		cmocka_unit_test(sampling_alone_gets_there_too),
		cmocka_unit_test(bad_input),
		cmocka_unit_test(stacks_give_the_poses_of_tilt_images),
		cmocka_unit_test(stacks_same_bits_for_threads_caches_and_after_stops),
		cmocka_unit_test(halves_of_stacks_know_nothing_of_each_other),
		cmocka_unit_test(bad_stacks),
		cmocka_unit_test(volumes_give_the_poses_of_stacks),
		cmocka_unit_test(volumes_divided_by_their_multiplicity),
		cmocka_unit_test(volumes_same_bits_for_threads_and_backends),
		cmocka_unit_test(bad_volumes),
		cmocka_unit_test(halves_know_nothing_of_each_other),
		cmocka_unit_test(noise_stays_noise),
		cmocka_unit_test(errors_hold_the_noise_of_the_map),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

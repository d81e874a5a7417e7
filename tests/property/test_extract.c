/* Extraction of simulated particles: where a particle lands in its images, which images and particles are
 * taken, what is written, and that a map made from it is that of the tilt images. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "project_fixture.h"

#include "cyclotomo/compare.h"
#include "cyclotomo/extract.h"
#include "cyclotomo/map.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/stacks.h"
#include "cyclotomo/tilt.h"

static int set_up(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	cyc_simulate_options p = simulated_project("sim");
	p.noise_free = true;
	p.n_series = 2;
	p.n_particles = 6;
	p.edge_px = 20;
	p.n_tilts = 21;
	p.tilt_step_rad = cyc_deg_to_rad(6);
	p.dose_e_per_A2 = 2;
	p.defocus_min_A = 8000;
	p.defocus_max_A = 10000;
	p.motion_A = 2;
	p.subtomogram_angles = true;
	p.n_threads = 2;
	return cyc_simulate_run(NULL, &p) == CYC_OK ? 0 : -1;
}

static cyc_extract_options options(const char *out)
{
	cyc_extract_options o;
	cyc_extract_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "truth/optimisation_set.star";
	o.out_dir = out;
	o.box_px = 48;
	o.crop_px = 32;
	o.stacks = true;
	return o;
}

static void run(const cyc_extract_options *o, cyc_extract_result *r)
{
	cyc_extract_result own;
	ASSERT_OK(cyc_extract_run(r ? r : &own, o));
	if (!r) cyc_extract_result_deinit(&own);
}

/* Sets of an extraction, and its stacks. */
typedef struct {
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
	cyc_stacks *stacks;
} extracted;

static extracted read_extracted(const char *particles)
{
	extracted e = { 0 };
	ASSERT_OK(cyc_tomogram_set_read(&e.tomograms, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&e.particles, particles, NULL, e.tomograms, g_root));
	ASSERT_OK(cyc_stacks_open(&e.stacks, e.particles, e.tomograms, g_root));
	return e;
}

static void drop(extracted *e)
{
	cyc_stacks_close(&e->stacks);
	cyc_particle_set_destroy(&e->particles);
	cyc_tomogram_set_destroy(&e->tomograms);
}

/* ---------------------------------------------------------------- tests */

/* Replace every tilt image by dots where the particles are: the sharpest picture of where windows are cut. */
static void paint_dots(const char *set, double sigma_px)
{
	cyc_optimisation_set *s = NULL;
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *p = NULL;
	ASSERT_OK(cyc_optimisation_set_read(&s, in_root(set)));
	ASSERT_OK(cyc_tomogram_set_read(&t, s->tomograms, g_root));
	ASSERT_OK(cyc_particle_set_read(&p, s->particles, s->trajectories, t, g_root));
	for (int32_t i = 0; i < t->n_series; i++) {
		cyc_tilt_series *ts = &t->series[i];
		ASSERT_OK(cyc_tilt_series_open(ts, g_root));
		for (int32_t f = 0; f < ts->n_tilts; f++) {
			cyc_volume *v = NULL;
			cyc_projection projection;
			ASSERT_OK(cyc_volume_create(&v, ts->image_nx, ts->image_ny, 1, ts->pixel_size_A));
			ASSERT_OK(cyc_projection_of_tilt(&projection, ts, f));
			/* One particle a series, or their dots would be in each other's windows. */
			double x, y;
			cyc_particle_position_px(&x, &y, &projection, ts, f, &p->particles[p->series_first[i]]);
			for (int32_t v_y = 0; v_y < ts->image_ny; v_y++)
				for (int32_t v_x = 0; v_x < ts->image_nx; v_x++)
					v->data[v_y * ts->image_nx + v_x] =
						(float)exp(-0.5 * (cyc_square(v_x - x) + cyc_square(v_y - y)) / cyc_square(sigma_px));
			char name[64];
			snprintf(name, sizeof name, "dots/%s_%d.mrc", ts->name, f);
			ASSERT_OK(cyc_mrc_write(in_root(name), v, 2, NULL));
			cyc_volume_destroy(&v);
			cyc_star_block *b = cyc_star_find(t->series_star[i], ts->name);
			ASSERT_OK(cyc_star_set_text(b, f, cyc_star_column(b, "rlnMicrographName"), name));
		}
	}
	ASSERT_OK(cyc_tomogram_set_write(t, "dots/", g_root, 0));
	cyc_particle_set_destroy(&p);
	cyc_tomogram_set_destroy(&t);
	cyc_optimisation_set_destroy(&s);
}

static void centroid(double *cx, double *cy, double *sum, const float *image, int32_t n)
{
	*cx = *cy = *sum = 0;
	for (int32_t y = 0; y < n; y++)
		for (int32_t x = 0; x < n; x++) {
			double v = (double)image[y * n + x];
			*sum += v;
			*cx += v * x;
			*cy += v * y;
		}
	*cx /= *sum;
	*cy /= *sum;
}

static void particles_are_in_the_middle(void **state)
{
	(void)state;
	static const double BINNING[3] = { 1, 2, 1.5 };
	double sums[3];
	paint_dots("truth/optimisation_set.star", 2.5);
	for (int k = 0; k < 3; k++) {
		char out[16];
		snprintf(out, sizeof out, "D%d", k);
		cyc_extract_options o = options(out);
		o.input.tomograms = "dots/tomograms.star";
		o.binning = BINNING[k];
		o.box_px = k ? 32 : 48;
		o.crop_px = k ? 20 : 32;
		o.no_ctf = o.no_inversion = true;
		run(&o, NULL);
		char particles[32];
		snprintf(particles, sizeof particles, "%s/particles.star", out);
		extracted e = read_extracted(particles);
		assert_int_equal(e.stacks->box_px, o.crop_px);
		assert_true(fabs(e.stacks->binning - o.binning) < 1e-6 &&
		            fabs(e.stacks->pixel_size_A - o.binning * e.tomograms->series[0].pixel_size_A) < 1e-4);
		assert_false(e.stacks->is_premultiplied[0]);
		for (int32_t t = 0; t < e.tomograms->n_series; t++) {
			int64_t i = e.particles->series_first[t];
			float *images = NULL;
			size_t pixels = (size_t)o.crop_px * (size_t)o.crop_px;
			ASSERT_OK(cyc_alloc(&images, (size_t)e.stacks->n_views[i] * pixels, sizeof *images));
			ASSERT_OK(cyc_stacks_read(images, e.stacks, i));
			for (int32_t f = 0; f < e.stacks->n_views[i]; f++) {
				double x, y;
				centroid(&x, &y, &sums[k], images + (size_t)f * pixels, o.crop_px);
				if (fabs(x - o.crop_px / 2) > 0.02 || fabs(y - o.crop_px / 2) > 0.02)
					fail_msg("binning %g, series %d, image %d: the particle is at %.4f, %.4f", o.binning, t,
					         f, x, y);
			}
			cyc_free(images);
		}
		drop(&e);
	}
	/* Pixels are means over b^2 pixels divided by b: sums go with 1/b^3. */
	for (int k = 1; k < 3; k++) {
		double ratio = sums[0] / sums[k] / pow(BINNING[k], 3);
		if (fabs(ratio - 1) > 0.01)
			fail_msg("binning %g: grey values are off by a factor of %.4f", BINNING[k], ratio);
	}
}

static void outside_of_the_circle_is_zero(void **state)
{
	(void)state;
	cyc_extract_options o = options("Z");
	o.input.optimisation_set = "truth/optimisation_set.star";
	run(&o, NULL);
	extracted e = read_extracted("Z/particles.star");
	assert_true(e.stacks->are_2d && e.stacks->is_premultiplied[0]);
	float *images = NULL;
	ASSERT_OK(cyc_alloc(&images, (size_t)e.stacks->n_views[0] * 32 * 32, sizeof *images));
	ASSERT_OK(cyc_stacks_read(images, e.stacks, 0));
	double inside = 0;
	for (int32_t f = 0; f < e.stacks->n_views[0]; f++)
		for (int32_t y = 0; y < 32; y++)
			for (int32_t x = 0; x < 32; x++) {
				float v = images[(f * 32 + y) * 32 + x];
				if (hypot(x - 16, y - 16) >= 16) assert_true(v == 0.F);
				else inside += (double)(v * v);
			}
	assert_true(inside > 0);
	cyc_free(images);
	drop(&e);
}

/* Flags as (T7.1) has them, counted again from the files. */
static void visible_frames_follow_border_and_dose(void **state)
{
	(void)state;
	cyc_extract_options o = options("V");
	cyc_extract_result r;
	extracted all = { 0 };
	ASSERT_OK(cyc_tomogram_set_read(&all.tomograms, "truth/tomograms.star", g_root));
	/* The dose of a tilt itself: equality is kept. */
	o.max_dose_e_per_A2 = all.tomograms->series[0].tilts[3].pre_exposure_e_per_A2;
	o.box_px = o.crop_px = 100;
	run(&o, &r);
	extracted e = read_extracted("V/particles.star");
	cyc_particle_set *with_motion = NULL;
	ASSERT_OK(cyc_particle_set_read(&with_motion, "truth/particles.star", "truth/motion.star", e.tomograms,
	                                g_root));
	int64_t n_images = 0, n_outside = 0, k = 0;
	for (int64_t i = 0; i < with_motion->n; i++) {
		const cyc_particle *p = &with_motion->particles[i];
		cyc_tilt_series *ts = &e.tomograms->series[p->i_series];
		ASSERT_OK(cyc_tilt_series_open(ts, g_root));
		int32_t seen = 0;
		bool wanted[64];
		for (int32_t f = 0; f < ts->n_tilts; f++) {
			cyc_projection projection;
			double x, y;
			ASSERT_OK(cyc_projection_of_tilt(&projection, ts, f));
			cyc_particle_position_px(&x, &y, &projection, ts, f, p);
			bool is_inside = x > 50 && y > 50 && x < ts->image_nx - 50 && y < ts->image_ny - 50;
			n_outside += !is_inside;
			wanted[f] = is_inside && ts->tilts[f].pre_exposure_e_per_A2 <= o.max_dose_e_per_A2;
			seen += wanted[f];
		}
		n_images += seen;
		if (seen == 0) continue;
		assert_string_equal(e.particles->particles[k].name, p->name);
		for (int32_t f = 0; f < ts->n_tilts; f++)
			assert_int_equal(e.particles->particles[k].visible_frames[f], wanted[f]);
		assert_int_equal(e.stacks->n_views[k], seen);
		k++;
	}
	assert_int_equal(k, e.particles->n);
	assert_int_equal(r.n_particles, k);
	assert_int_equal(r.n_images, n_images);
	assert_true(n_outside > 0);
	cyc_extract_result_deinit(&r);
	cyc_particle_set_destroy(&with_motion);
	drop(&e);
	cyc_tomogram_set_destroy(&all.tomograms);
}

static void particles_with_few_frames_are_left_out(void **state)
{
	(void)state;
	cyc_extract_options o = options("F");
	cyc_extract_result r;
	o.box_px = o.crop_px = 100;
	o.min_frames = 21;
	o.input.optimisation_set = "truth/optimisation_set.star";
	run(&o, &r);
	assert_true(r.n_rejected > 0 && r.n_particles > 0);
	assert_string_equal(r.trajectories, "F/motion.star");
	/* Their trajectories went with them; what is left fits together. */
	extracted e = read_extracted("F/particles.star");
	assert_int_equal(e.particles->n, r.n_particles);
	cyc_particle_set *again = NULL, *before = NULL;
	ASSERT_OK(cyc_particle_set_read(&again, "F/particles.star", "F/motion.star", e.tomograms, g_root));
	ASSERT_OK(
		cyc_particle_set_read(&before, "truth/particles.star", "truth/motion.star", e.tomograms, g_root));
	for (int64_t i = 0, k = 0; i < again->n; i++) {
		while (strcmp(before->particles[k].name, again->particles[i].name) != 0) k++;
		const cyc_particle *a = &again->particles[i], *b = &before->particles[k];
		assert_memory_equal(a->motion_A, b->motion_A,
		                    3 * sizeof(float) * (size_t)e.tomograms->series[a->i_series].n_tilts);
	}
	cyc_optimisation_set *set = NULL;
	ASSERT_OK(cyc_optimisation_set_read(&set, in_root(r.optimisation_set)));
	assert_string_equal(set->trajectories, "F/motion.star");
	assert_string_equal(set->particles, "F/particles.star");
	cyc_optimisation_set_destroy(&set);
	cyc_particle_set_destroy(&again);
	cyc_particle_set_destroy(&before);
	drop(&e);
	cyc_extract_result_deinit(&r);
	o.min_frames = 22;
	ASSERT_FAILS(cyc_extract_run(NULL, &o), CYC_E_DATA, "none of the 12 particles", "22 tilt images");
}

/* The same particles, whichever way offsets and orientations are written. */
static void poses_mean_the_same(void **state)
{
	(void)state;
	cyc_extract_options o = options("P0");
	run(&o, NULL);
	extracted before = { 0 }, after = read_extracted("P0/particles.star");
	ASSERT_OK(cyc_tomogram_set_read(&before.tomograms, "truth/tomograms.star", g_root));
	ASSERT_OK(
		cyc_particle_set_read(&before.particles, "truth/particles.star", NULL, before.tomograms, g_root));
	bool has_offset = false;
	for (int64_t i = 0; i < after.particles->n; i++) {
		cyc_vec3 a = before.particles->particles[i].position_A, b = after.particles->particles[i].position_A,
				 o_A = after.stacks->origins_A[i];
		assert_true(fabs(a.x - b.x) < 1e-4 && fabs(a.y - b.y) < 1e-4 && fabs(a.z - b.z) < 1e-4);
		assert_true(o_A.x == 0 && o_A.y == 0 && o_A.z == 0);
	}
	o = options("P1");
	o.keep_offsets = true;
	run(&o, NULL);
	extracted kept = read_extracted("P1/particles.star");
	for (int64_t i = 0; i < kept.particles->n; i++) {
		/* The image is cut beside the particle now, and the views say by how much. */
		cyc_stack_view views[64];
		float *x = NULL, *y = NULL;
		cyc_vec3 p = kept.stacks->origins_A[i];
		has_offset = has_offset || fabs(p.x) > 1;
		ASSERT_OK(cyc_stacks_views(views, kept.stacks, i));
		cyc_vec3 d = cyc_mat3_apply(views[0].R_img_part, p);
		assert_true(fabs(views[0].shift_x_px + d.x / kept.stacks->pixel_size_A) < 1e-9 &&
		            fabs(views[0].shift_y_px + d.y / kept.stacks->pixel_size_A) < 1e-9);
		cyc_vec3 a = before.particles->particles[i].position_A, b = kept.particles->particles[i].position_A;
		assert_true(fabs(a.x - b.x) < 1e-4 && fabs(a.y - b.y) < 1e-4 && fabs(a.z - b.z) < 1e-4);
		cyc_free(x);
		cyc_free(y);
	}
	assert_true(has_offset);
	cyc_particle_set_destroy(&before.particles);
	cyc_tomogram_set_destroy(&before.tomograms);
	drop(&after);
	drop(&kept);
}

static void threads_backends_and_kills_change_nothing(void **state)
{
	(void)state;
	static const char *const FILES[3] = { "TS_01/1", "TS_01/6", "TS_02/3" };
	for (int k = 0; k < 2; k++) {
		cyc_extract_options o = options(k ? "T3" : "T2");
		cyc_extract_result r;
		char a[96], b[96];
		o.stacks = !k;
		o.float16 = !k;
		o.whiten = true;
		o.cone_weight = k;
		run(&o, NULL);
		o.out_dir = "TX";
		o.n_threads = 3;
		run(&o, NULL);
		for (int i = 0; i < 3; i++) {
			snprintf(a, sizeof a, "%s/Subtomograms/%s%s", k ? "T3" : "T2", FILES[i],
			         k ? "_data.mrc" : "_stack2d.mrcs");
			snprintf(b, sizeof b, "TX/Subtomograms/%s%s", FILES[i], k ? "_data.mrc" : "_stack2d.mrcs");
			assert_same_file(a, b);
		}
		o.backend = "strict";
		o.out_dir = "TY";
		run(&o, NULL);
		snprintf(a, sizeof a, "TY/Subtomograms/%s%s", FILES[2], k ? "_data.mrc" : "_stack2d.mrcs");
		assert_same_file(a, b);
		/* One file cut short, one of other options: both are made again, the others are kept. */
		o.backend = "cpu";
		o.out_dir = "TX";
		o.resume = true;
		assert_int_equal(truncate(in_root(b), 2000), 0);
		run(&o, &r);
		assert_int_equal(r.n_kept, r.n_particles - 1);
		cyc_extract_result_deinit(&r);
		assert_same_file(a, b);
		/* Whole, but one voxel was changed. */
		FILE *f = fopen(in_root(b), "r+b");
		assert_non_null(f);
		assert_int_equal(fseek(f, 1024 + 401, SEEK_SET), 0);
		int c = fgetc(f);
		assert_int_equal(fseek(f, 1024 + 401, SEEK_SET), 0);
		fputc(c ^ 4, f);
		assert_int_equal(fclose(f), 0);
		run(&o, &r);
		assert_int_equal(r.n_kept, r.n_particles - 1);
		cyc_extract_result_deinit(&r);
		assert_same_file(a, b);
		o.no_inversion = true;
		run(&o, &r);
		assert_int_equal(r.n_kept, 0);
		cyc_extract_result_deinit(&r);
	}
}

/* Other images of the same size and header: nothing is kept, not even what a run that was not resumed has not
 * replaced yet. */
static void images_that_were_replaced_count(void **state)
{
	(void)state;
	cyc_extract_options o = options("KI");
	cyc_extract_result r;
	cyc_tomogram_set *t = NULL;
	run(&o, NULL);
	o.resume = true;
	run(&o, &r);
	assert_int_equal(r.n_kept, r.n_particles);
	cyc_extract_result_deinit(&r);
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", in_root("")));
	const struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	assert_int_equal(utimensat(AT_FDCWD, in_root(t->series[0].tilts[0].image), times, 0), 0);
	cyc_tomogram_set_destroy(&t);
	o.resume = false;
	RUN_UNTIL_KILLED(1, cyc_extract_run, &o);
	o.resume = true;
	run(&o, &r);
	assert_int_equal(r.n_kept, 6); /* of the first series, which the killed run has replaced */
	cyc_extract_result_deinit(&r);
}

static void a_killed_run_goes_on(void **state)
{
	(void)state;
	cyc_extract_options o = options("KW");
	run(&o, NULL);
	o.out_dir = "K";
	o.resume = true;
	for (int at = 1; at <= 2; at++) RUN_UNTIL_KILLED(at, cyc_extract_run, &o);
	run(&o, NULL);
	assert_same_file("K/Subtomograms/TS_01/1_stack2d.mrcs", "KW/Subtomograms/TS_01/1_stack2d.mrcs");
	assert_same_file("K/Subtomograms/TS_02/6_stack2d.mrcs", "KW/Subtomograms/TS_02/6_stack2d.mrcs");
}

/* Data over weights of a noise-free particle: what was put in comes out, so both sides agree about every
 * factor. */
static void volumes_carry_their_weights(void **state)
{
	(void)state;
	cyc_extract_options o = options("W");
	o.stacks = false;
	o.no_ctf = true;
	run(&o, NULL);
	extracted e = read_extracted("W/particles.star");
	assert_false(e.stacks->are_2d);
	size_t n = cyc_half_count3(32);
	float *data = NULL, *weight = NULL, *multiplicity = NULL;
	ASSERT_OK(cyc_alloc(&data, 32 * 32 * 32, sizeof *data));
	ASSERT_OK(cyc_alloc(&weight, n, sizeof *weight));
	ASSERT_OK(cyc_alloc(&multiplicity, n, sizeof *multiplicity));
	ASSERT_OK(cyc_stacks_read_volume(data, weight, multiplicity, e.stacks, 0));
	double sum = 0;
	for (size_t i = 0; i < n; i++) {
		/* A CTF of 1: the weight is the multiplicity. */
		assert_true(fabsf(weight[i] - multiplicity[i]) <= 1e-5F * multiplicity[i]);
		sum += (double)multiplicity[i];
	}
	/* Every inserted coefficient spreads kappa = (c/s)^2, twice what falls on the plane x = 0: more than
	 * once, less than twice in all. */
	double inserted = 21 * cyc_square(32.0 / 48) * CYC_PI / 2 * 24 * 24;
	print_message("multiplicity %.0f, of %.0f inserted\n", sum, inserted);
	assert_true(sum > 0.95 * inserted && sum < 1.3 * inserted);
	cyc_free(data);
	cyc_free(weight);
	cyc_free(multiplicity);
	drop(&e);
}

/* In the map's own axes: the cone along its z axis is empty, what is across is as it was, and the poses say
 * so. */
static void orientations_and_cones_are_of_the_map(void **state)
{
	(void)state;
	extracted e[2];
	static float data[32 * 32 * 32], weight[2][32 * 32 * 17];
	for (int k = 0; k < 2; k++) {
		cyc_extract_options o = options(k ? "A1" : "A0");
		char name[32];
		o.stacks = false;
		o.apply_orientations = true;
		o.cone_weight = k;
		run(&o, NULL);
		snprintf(name, sizeof name, "%s/particles.star", o.out_dir);
		e[k] = read_extracted(name);
		ASSERT_OK(cyc_stacks_read_volume(data, weight[k], NULL, e[k].stacks, 0));
	}
	for (int32_t z = -8; z < 8; z++)
		for (int32_t y = -8; y < 8; y++)
			for (int32_t x = 0; x < 8; x++) {
				size_t i = (size_t)(((z + 32) % 32 * 32 + (y + 32) % 32) * 17 + x);
				double t = hypot(x, y) / (abs(z) * sin(cyc_deg_to_rad(5)) + 2),
					   wanted = (1 - exp(-0.5 * t * t)) * (double)weight[0][i];
				assert_true(fabs((double)weight[1][i] - wanted) <= 1e-5 * (double)weight[0][i]);
			}
	cyc_particle_set *before = NULL;
	ASSERT_OK(cyc_particle_set_read(&before, "truth/particles.star", NULL, e[0].tomograms, g_root));
	for (int64_t i = 0; i < before->n; i++) {
		const cyc_particle *a = &before->particles[i], *b = &e[0].particles->particles[i];
		for (int k = 0; k < 9; k++) {
			assert_true(fabs(a->R_tomo_ref.m[k / 3][k % 3] - b->R_tomo_ref.m[k / 3][k % 3]) < 1e-6);
			assert_true(fabs(a->R_tomo_ref.m[k / 3][k % 3] - b->R_tomo_part.m[k / 3][k % 3]) < 1e-6);
		}
	}
	cyc_particle_set_destroy(&before);
	drop(&e[0]);
	drop(&e[1]);
}

static void reconstruct(const char *out, const char *set, bool from_stacks, bool crop_images,
                        const char *tomograms)
{
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.input.root = g_root;
	r.input.optimisation_set = set;
	r.input.tomograms = tomograms;
	r.out_dir = out;
	r.box_px = from_stacks ? 0 : 64;
	r.crop_px = 32;
	r.symmetry = "O";
	r.from_stacks = from_stacks;
	r.crop_images = crop_images;
	/* Stacks have whole images only, and no noise to weigh by. */
	r.whole_windows = crop_images;
	r.no_noise_weights = true;
	r.n_threads = 2;
	cyc_reconstruct_result result;
	ASSERT_OK(cyc_reconstruct_run(&result, &r));
	assert_true(result.n_images > 0);
	cyc_reconstruct_result_deinit(&result);
}

static double least_fsc(double *scale, const char *a, const char *b)
{
	cyc_volume *v[3] = { 0 };
	cyc_map_comparison *c = NULL;
	ASSERT_OK(cyc_mrc_read(&v[0], in_root(a)));
	ASSERT_OK(cyc_mrc_read(&v[1], in_root(b)));
	ASSERT_OK(cyc_mrc_read(&v[2], in_root("mask_align.mrc")));
	const cyc_map_compare_options o = { .resolution_A = 2.5 * v[0]->pixel_size_A, .n_threads = 1 };
	ASSERT_OK(cyc_map_compare(&c, v[0], v[1], v[2], &o));
	double fsc = c->min_fsc;
	*scale = c->scale_to_limit;
	cyc_map_comparison_destroy(&c);
	for (int i = 0; i < 3; i++) cyc_volume_destroy(&v[i]);
	return fsc;
}

static void maps_of_stacks_are_those_of_tilt_images(void **state)
{
	(void)state;
	double scale;
	cyc_extract_options o = options("S");
	o.box_px = 64;
	run(&o, NULL);
	reconstruct("RS", "S/optimisation_set.star", true, false, NULL);
	reconstruct("RC", "truth/optimisation_set.star", false, true, NULL);
	reconstruct("RT", "truth/optimisation_set.star", false, false, NULL);
	double same = least_fsc(&scale, "RS/merged.mrc", "RC/merged.mrc");
	print_message("stacks and images cropped alike: FSC %.6f, scale %.5f\n", same, scale);
	assert_true(same > 0.9999 && fabs(scale - 1) < 1e-3);
	double other = least_fsc(&scale, "RS/merged.mrc", "RT/merged.mrc");
	print_message("stacks and windows: FSC %.4f, scale %.4f\n", other, scale);
	assert_true(other > 0.95 && fabs(scale - 1) < 0.1);
	/* Offsets that were kept are taken off when the images are inserted. */
	o.out_dir = "SO";
	o.keep_offsets = true;
	run(&o, NULL);
	reconstruct("RO", "SO/optimisation_set.star", true, false, NULL);
	double moved = least_fsc(&scale, "RS/merged.mrc", "RO/merged.mrc");
	print_message("with offsets kept: FSC %.4f\n", moved);
	assert_true(moved > 0.95);
	/* Images that were not multiplied are multiplied now. */
	o = options("SN");
	o.box_px = 64;
	o.no_ctf = true;
	run(&o, NULL);
	reconstruct("RN", "SN/optimisation_set.star", true, false, NULL);
	double raw = least_fsc(&scale, "RS/merged.mrc", "RN/merged.mrc");
	print_message("without CTF: FSC %.4f, scale %.4f\n", raw, scale);
	assert_true(raw > 0.9);
	/* Binned: the grey values of the map are those of a reconstruction of that binning. */
	o = options("SB");
	o.binning = 2;
	o.box_px = 32;
	o.crop_px = 16;
	run(&o, NULL);
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.input.root = g_root;
	r.input.optimisation_set = "SB/optimisation_set.star";
	r.out_dir = "RB";
	r.symmetry = "O";
	r.taper_px = 3;
	r.from_stacks = true;
	ASSERT_OK(cyc_reconstruct_run(NULL, &r));
	r.input.optimisation_set = "truth/optimisation_set.star";
	r.out_dir = "RBT";
	r.from_stacks = false;
	r.crop_images = r.whole_windows = r.no_noise_weights = true;
	r.binning = 2;
	r.box_px = 32;
	r.crop_px = 16;
	ASSERT_OK(cyc_reconstruct_run(NULL, &r));
	cyc_volume *a = NULL, *b = NULL;
	double ab = 0, aa = 0;
	ASSERT_OK(cyc_mrc_read(&a, in_root("RB/merged.mrc")));
	ASSERT_OK(cyc_mrc_read(&b, in_root("RBT/merged.mrc")));
	for (size_t i = 0; i < cyc_volume_count(a); i++) {
		ab += (double)(a->data[i] * b->data[i]);
		aa += (double)(a->data[i] * a->data[i]);
	}
	assert_true(fabs(ab / aa - 1) < 1e-3);
	cyc_volume_destroy(&a);
	cyc_volume_destroy(&b);
}

static void options_that_cannot_be(void **state)
{
	(void)state;
	cyc_extract_options o = options("");
	ASSERT_FAILS(cyc_extract_run(NULL, &o), CYC_E_USAGE, "output folder");
	o = options("N");
	o.box_px = 0;
	ASSERT_FAILS(cyc_extract_run(NULL, &o), CYC_E_USAGE, "box size");
	o = options("N");
	o.crop_px = 50;
	ASSERT_FAILS(cyc_extract_run(NULL, &o), CYC_E_USAGE, "48 px, got 50");
	o = options("N");
	o.crop_px = 10;
	ASSERT_FAILS(cyc_extract_run(NULL, &o), CYC_E_USAGE, "at least 12 px");
	o = options("N");
	o.min_frames = 0;
	ASSERT_FAILS(cyc_extract_run(NULL, &o), CYC_E_USAGE, "at least 1, got 0");
	o = options("N");
	o.cone_weight = true;
	ASSERT_FAILS(cyc_extract_run(NULL, &o), CYC_E_USAGE, "cone");
	o = options("N");
	o.apply_orientations = true;
	ASSERT_FAILS(cyc_extract_run(NULL, &o), CYC_E_USAGE, "orientations");
	o = options("N");
	o.binning = 1.1;
	ASSERT_FAILS(cyc_extract_run(NULL, &o), CYC_E_USAGE, "48 px at binning 1.1");
	assert_false(cyc_path_exists(in_root("N")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(particles_are_in_the_middle),
		cmocka_unit_test(outside_of_the_circle_is_zero),
		cmocka_unit_test(visible_frames_follow_border_and_dose),
		cmocka_unit_test(particles_with_few_frames_are_left_out),
		cmocka_unit_test(poses_mean_the_same),
		cmocka_unit_test(threads_backends_and_kills_change_nothing),
		cmocka_unit_test(images_that_were_replaced_count),
		cmocka_unit_test(a_killed_run_goes_on),
		cmocka_unit_test(volumes_carry_their_weights),
		cmocka_unit_test(orientations_and_cones_are_of_the_map),
		cmocka_unit_test(maps_of_stacks_are_those_of_tilt_images),
		cmocka_unit_test(options_that_cannot_be),
	};
	return cmocka_run_group_tests(tests, set_up, temp_dir_remove);
}

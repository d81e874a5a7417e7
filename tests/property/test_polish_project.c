/* Polishing of simulated projects with planted errors: what comes back to the truth, what must stay, and the
 * same bits for any number of threads, any backend and after a kill. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "project_fixture.h"

#include "cyclotomo/polish.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/tilt.h"
#include "polish/evidence.h"
#include "polish/polish_start.h"
#include "reference/refine_input.h"

enum { BOX = 48 };

/* Images whose alignment alone is wrong, and half maps made with the true metadata. */
static void simulate(const char *name, int32_t n_series, int32_t n_particles, double motion_A,
                     bool noise_free)
{
	cyc_simulate_options p = simulated_project(name);
	p.noise_free = noise_free;
	p.n_series = n_series;
	p.n_particles = n_particles;
	p.edge_px = 30;
	p.n_tilts = n_series > 1 ? 11 : 21;
	p.tilt_step_rad = cyc_deg_to_rad(n_series > 1 ? 10 : 5);
	p.dose_e_per_A2 = 3;
	p.defocus_min_A = 8000;
	p.defocus_max_A = 10000;
	p.motion_A = motion_A;
	p.error_defocus_A = p.error_astigmatism_A = p.error_scale = p.error_orientation_rad = 0;
	p.error_shift_A = 1.6; /* less than half a wave of the finest resolution, with the positions: beyond,
	                          there are other maxima */
	p.error_angle_rad = cyc_deg_to_rad(0.15);
	p.error_position_A = 1.6;
	p.n_threads = 2;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.input.root = g_root;
	r.input.optimisation_set = "truth/optimisation_set.star";
	r.input.keep_outliers = noise_free; /* without noise the particles themselves stand out */
	r.no_noise_weights = noise_free;
	r.out_dir = "R";
	r.box_px = BOX;
	r.crop_px = 32;
	r.symmetry = "O";
	r.n_threads = 2;
	ASSERT_OK(cyc_reconstruct_run(NULL, &r));
}

static void make_project(const char *name, int32_t n_series, double motion_A)
{
	simulate(name, n_series, n_series > 1 ? 6 : 12, motion_A, true);
}
static void make_noisy_project(const char *name) { simulate(name, 3, 24, 0, false); }

static cyc_polish_options options(const char *out)
{
	cyc_polish_options o;
	cyc_polish_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.input.keep_outliers = true; /* without noise the particles themselves stand out */
	o.ref1 = "R/half1.mrc";
	o.ref2 = "R/half2.mrc";
	o.mask = "mask_align.mrc";
	o.out_dir = out;
	o.box_px = BOX;
	o.range_px = 5;
	o.no_figures = true;
	return o;
}

/* ---------------------------------------------------------------- comparison with the truth */

typedef struct {
	cyc_tomogram_set *tomograms;
	cyc_particle_set *particles;
} metadata;

static metadata read_metadata(const char *tomograms, const char *particles, const char *motion)
{
	metadata m = { 0 };
	ASSERT_OK(cyc_tomogram_set_read(&m.tomograms, tomograms, g_root));
	ASSERT_OK(cyc_particle_set_read(&m.particles, particles, motion, m.tomograms, g_root));
	for (int32_t i = 0; i < m.tomograms->n_series; i++)
		ASSERT_OK(cyc_tilt_series_open(&m.tomograms->series[i], g_root));
	return m;
}

static void drop(metadata *m)
{
	cyc_particle_set_destroy(&m->particles);
	cyc_tomogram_set_destroy(&m->tomograms);
}

static void project(double at[2], cyc_mat3 *view, const metadata *m, int64_t i, int32_t f)
{
	const cyc_particle *p = &m->particles->particles[i];
	cyc_projection projection;
	cyc_vec3 x = p->position_A;
	ASSERT_OK(cyc_projection_of_tilt(&projection, &m->tomograms->series[p->i_series], f));
	if (p->motion_A) {
		x.x += (double)p->motion_A[3 * f];
		x.y += (double)p->motion_A[3 * f + 1];
		x.z += (double)p->motion_A[3 * f + 2];
	}
	cyc_vec3 q = cyc_project(&projection, x);
	double u, v;
	cyc_deformation(&u, &v, &m->tomograms->series[p->i_series], f, q.x, q.y);
	at[0] = q.x + u;
	at[1] = q.y + v;
	*view = cyc_mat3_mul(projection.linear, p->R_tomo_ref);
}

/* Solve the 3 x 3 system by Cramer's rule. */
static double determinant(double a[3][3])
{
	return a[0][0] * (a[1][1] * a[2][2] - a[1][2] * a[2][1]) -
	       a[0][1] * (a[1][0] * a[2][2] - a[1][2] * a[2][0]) +
	       a[0][2] * (a[1][0] * a[2][1] - a[1][1] * a[2][0]);
}

static int64_t g_left_out = -1; /* particle that distance_px() passes over */

/* RMS distance [px] of projected positions from the truth, less a common offset in the particle frame, which
 * is only where the map's centre is. */
static double distance_px(const char *tomograms, const char *particles, const char *motion,
                          const char *true_motion)
{
	metadata t = read_metadata("truth/tomograms.star", "truth/particles.star", true_motion),
			 q = read_metadata(tomograms, particles, motion);
	double G[3][3] = { { 0 } }, b[3] = { 0 }, offset[3], e2 = 0, n = 0;
	for (int pass = 0; pass < 2; pass++) {
		for (int64_t i = 0; i < t.particles->n; i++) {
			assert_string_equal(t.particles->particles[i].name, q.particles->particles[i].name);
			if (i == g_left_out) continue;
			for (int32_t f = 0; f < t.tomograms->series[t.particles->particles[i].i_series].n_tilts; f++) {
				double a[2], c[2];
				cyc_mat3 view, other;
				project(a, &view, &t, i, f);
				project(c, &other, &q, i, f);
				for (int k = 0; k < 2; k++) {
					const double *m = view.m[k];
					double e = c[k] - a[k];
					for (int j = 0; j < 3; j++) {
						if (pass) e -= m[j] * offset[j];
						else b[j] += m[j] * e;
						for (int l = 0; l < 3 && !pass; l++) G[j][l] += m[j] * m[l];
					}
					if (pass) e2 += e * e;
				}
				n += pass;
			}
		}
		for (int j = 0; j < 3 && !pass; j++) {
			double H[3][3];
			memcpy(H, G, sizeof H);
			for (int l = 0; l < 3; l++) H[l][j] = b[l];
			offset[j] = determinant(H) / determinant(G);
		}
	}
	drop(&t);
	drop(&q);
	return sqrt(e2 / n);
}

/* ---------------------------------------------------------------- tests */

static void planted_errors_come_back(void **state)
{
	(void)state;
	make_project("one", 1, 0);
	cyc_polish_options o = options("P");
	cyc_polish_result r;
	o.n_threads = 2;
	ASSERT_OK(cyc_polish_run(&r, &o));
	assert_int_equal(r.n_series, 1);
	assert_int_equal(r.n_improved, 1);
	assert_string_equal(r.particles, "P/particles.star");
	assert_null(r.trajectories);
	assert_true(r.heldout_after > r.heldout_before);
	cyc_polish_result_deinit(&r);
	double before = distance_px("tomograms.star", "particles.star", NULL, NULL),
		   after = distance_px("P/tomograms.star", "P/particles.star", NULL, NULL);
	print_message("projected positions: %.3f -> %.4f px\n", before, after);
	assert_true(before > 0.5);
	if (!(after < 0.02))
		fail_msg("projected positions are %.4f px from the truth after polishing, %.3f px before", after,
		         before);
}

static void a_still_specimen_does_not_move(void **state)
{
	(void)state;
	cyc_polish_options o = options("M");
	cyc_polish_result r;
	o.n_threads = 2;
	o.do_motion = true;
	o.motion_sigma_A_per_dose = 0.2;
	ASSERT_OK(cyc_polish_run(&r, &o));
	assert_string_equal(r.trajectories, "M/motion.star");
	double after = distance_px("M/tomograms.star", "M/particles.star", "M/motion.star", NULL);
	/* Motion may stand for errors of shifts and angles, which move the particles too; where they are seen is
	 * what counts. */
	print_message("motion %.3f A rms per axis, projected positions %.4f px from the truth\n", r.motion_rms_A,
	              after);
	if (!(after < 0.02)) fail_msg("projected positions are %.4f px from the truth", after);
	assert_true(r.motion_rms_A < 0.05);
	cyc_polish_result_deinit(&r);
	/* With nothing wrong in the input all of it is near zero. */
	o.input.optimisation_set = "truth/optimisation_set.star";
	ASSERT_OK(cyc_polish_run(&r, &o));
	print_message("from the truth: motion %.3f A, shifts %.3f A, positions %.3f A\n", r.motion_rms_A,
	              r.shift_rms_A, r.position_rms_A);
	assert_true(r.motion_rms_A < 0.25 && r.shift_rms_A < 0.25 && r.position_rms_A < 0.25);
	cyc_polish_result_deinit(&r);
}

/* Of shifts alone the shifts have errors, of the size of a fraction of a pixel, and nothing else has: -1, or
 * no row. */
static void assert_only_shifts_have_errors(const char *path)
{
	static const char *const LABEL[5] = { "cycAngleXErrorDeg", "cycAngleYErrorDeg", "cycAngleZErrorDeg",
		                                  "cycShiftXErrorAngst", "cycShiftYErrorAngst" };
	cyc_star *s = NULL;
	cyc_star_block *b, *particles;
	ASSERT_OK(cyc_star_read(&s, in_root(path)));
	ASSERT_OK(cyc_star_require(&b, s, "TS_01"));
	assert_true(cyc_star_n_rows(b) > 0);
	for (int64_t row = 0; row < cyc_star_n_rows(b); row++)
		for (int k = 0; k < 5; k++) {
			double v;
			ASSERT_OK(cyc_star_double_of(&v, b, row, LABEL[k]));
			if (k < 3 ? fabs(v + 1) > 0 : !(v > 0.005 && v < 8))
				fail_msg("%s, row %d: %s is %g", path, (int)row + 1, LABEL[k], v);
		}
	ASSERT_OK(cyc_star_require(&particles, s, "particles"));
	assert_int_equal(cyc_star_n_rows(particles), 0);
	cyc_star_destroy(&s);
}

static void only_shifts(void **state)
{
	(void)state;
	cyc_polish_options o = options("S");
	cyc_polish_result r;
	o.shift_only = o.shift_by_particles = true;
	ASSERT_OK(cyc_polish_run(&r, &o));
	assert_null(r.particles);
	assert_null(r.trajectories);
	cyc_polish_result_deinit(&r);
	assert_false(cyc_path_exists(in_root("S/particles.star")));
	assert_false(cyc_path_exists(in_root("S/motion.star")));
	assert_only_shifts_have_errors("S/uncertainty.star");
	cyc_optimisation_set *set = NULL;
	ASSERT_OK(cyc_optimisation_set_read(&set, in_root("S/optimisation_set.star")));
	assert_string_equal(set->particles, "particles.star");
	assert_string_equal(set->tomograms, "S/tomograms.star");
	cyc_optimisation_set_destroy(&set);
	metadata in = read_metadata("tomograms.star", "particles.star", NULL),
			 out = read_metadata("S/tomograms.star", "particles.star", NULL);
	double moved = 0;
	for (int32_t f = 0; f < in.tomograms->series[0].n_tilts; f++) {
		const cyc_tilt *a = &in.tomograms->series[0].tilts[f], *c = &out.tomograms->series[0].tilts[f];
		assert_float_equal(cyc_rad_to_deg(c->xtilt_rad - a->xtilt_rad), 0, 2e-5);
		assert_float_equal(cyc_rad_to_deg(c->ytilt_rad - a->ytilt_rad), 0, 2e-5);
		assert_float_equal(cyc_rad_to_deg(c->zrot_rad - a->zrot_rad), 0, 2e-5);
		moved += fabs(c->shift_x_A - a->shift_x_A) + fabs(c->shift_y_A - a->shift_y_A);
	}
	assert_true(moved > 5);
	drop(&in);
	drop(&out);
	double before = distance_px("tomograms.star", "particles.star", NULL, NULL),
		   after = distance_px("S/tomograms.star", "particles.star", NULL, NULL);
	if (!(after < 0.8 * before)) fail_msg("shifts alone: %.3f -> %.3f px", before, after);
}

/* Shifts far beyond any window are found in the whole image, which is not square; a tilt whose particles are
 * not there stays. */
static void gross_shifts_are_found(void **state)
{
	(void)state;
	cyc_tomogram_set *s = NULL, *truth = NULL, *out = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&s, "tomograms.star", g_root));
	cyc_tilt_series *ts = &s->series[0];
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		ts->tilts[f].shift_x_A += ts->pixel_size_A * (30 * sin(2.0 * f + 1));
		ts->tilts[f].shift_y_A += ts->pixel_size_A * (30 * cos(3.0 * f));
	}
	double pixel_A = ts->pixel_size_A;
	ASSERT_OK(cyc_tomogram_set_write(s, "gross/", g_root, CYC_WRITE_GEOMETRY));
	cyc_tomogram_set_destroy(&s);
	cyc_polish_options o = options("G");
	o.input.tomograms = "gross/tomograms.star";
	o.shift_only = true;
	cyc_polish_result r;
	ASSERT_OK(cyc_polish_run(&r, &o));
	assert_int_equal(r.n_improved, 1);
	assert_true(r.heldout_after > r.heldout_before);
	assert_only_shifts_have_errors("G/uncertainty.star");
	cyc_polish_result_deinit(&r);
	ASSERT_OK(cyc_tomogram_set_read(&truth, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&out, "G/tomograms.star", g_root));
	/* Other angles and positions than the true ones are part of what a shift makes up for: 1.6 A of each
	 * particle. */
	for (int32_t f = 0; f < truth->series[0].n_tilts; f++) {
		const cyc_tilt *a = &truth->series[0].tilts[f], *c = &out->series[0].tilts[f];
		double off_px = hypot(c->shift_x_A - a->shift_x_A, c->shift_y_A - a->shift_y_A) / pixel_A;
		if (!(off_px < 1)) fail_msg("tilt %d is %.2f px off", f, off_px);
	}
	cyc_tomogram_set_destroy(&truth);
	cyc_tomogram_set_destroy(&out);
}

/* Particles that leave the range that was looked at are looked at again, from where they are now. */
static void windows_follow_particles(void **state)
{
	(void)state;
	double after[2];
	cyc_tomogram_set *s = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&s, "tomograms.star", g_root));
	for (int32_t f = 0; f < s->series[0].n_tilts; f++)
		s->series[0].tilts[f].shift_x_A += s->series[0].pixel_size_A * (f % 2 ? 3 : -3);
	ASSERT_OK(cyc_tomogram_set_write(s, "off/", g_root, CYC_WRITE_GEOMETRY));
	cyc_tomogram_set_destroy(&s);
	for (int k = 0; k < 2; k++) {
		cyc_polish_options o = options(k ? "Followed" : "Once");
		o.input.tomograms = "off/tomograms.star";
		o.frequency_cutoff_A = 14; /* the range reaches to the slope of the right maximum */
		o.range_px = 1;
		o.max_passes = k ? 4 : 1;
		o.accept_worse = true;
		ASSERT_OK(cyc_polish_run(NULL, &o));
		after[k] = distance_px(k ? "Followed/tomograms.star" : "Once/tomograms.star",
		                       k ? "Followed/particles.star" : "Once/particles.star", NULL, NULL);
	}
	print_message("range of 1 px: %.4f px once, %.4f px with windows cut again\n", after[0], after[1]);
	assert_true(after[1] < 0.05);
	assert_true(after[1] < 0.5 * after[0]);
}

/* A particle that is not there (a coordinate 60 A off) does not bend the rest. */
static void one_bad_particle_is_alone(void **state)
{
	(void)state;
	cyc_star *star = NULL;
	cyc_star_block *b;
	double x;
	ASSERT_OK(cyc_star_read(&star, in_root("particles.star")));
	ASSERT_OK(cyc_star_require(&b, star, "particles"));
	int32_t column = cyc_star_column(b, "rlnCenteredCoordinateXAngst");
	ASSERT_OK(cyc_star_double(&x, b, 2, column));
	ASSERT_OK(cyc_star_set_double(b, 2, column, x + 60));
	ASSERT_OK(cyc_star_write(star, in_root("bad.star")));
	cyc_star_destroy(&star);
	cyc_polish_options o = options("Bad");
	o.input.particles = "bad.star";
	ASSERT_OK(cyc_polish_run(NULL, &o));
	g_left_out = 2;
	double after = distance_px("Bad/tomograms.star", "Bad/particles.star", NULL, NULL);
	g_left_out = -1;
	print_message("beside a bad particle: %.4f px\n", after);
	if (!(after < 0.03)) fail_msg("a bad particle moves the others to %.4f px from the truth", after);
}

/* A particle of probability 0 has no say, and stays where it is; with one of 1/4 each for all, the images
 * have a quarter of the say. */
static void improbable_particles_have_no_say(void **state)
{
	(void)state;
	double start[2], end[2][2];
	cyc_star *star = NULL;
	cyc_star_block *b;
	metadata m = read_metadata("tomograms.star", "bad.star", NULL);
	double *probability = NULL;
	cyc_mat3 view;
	ASSERT_OK(cyc_alloc(&probability, m.particles->n, sizeof *probability));
	for (int64_t i = 0; i < m.particles->n; i++) probability[i] = i != 2;
	ASSERT_OK(cyc_particle_set_put_probabilities(m.particles, probability));
	ASSERT_OK(cyc_particle_set_write(m.particles, NULL, in_root("none.star")));
	project(start, &view, &m, 2, 3);
	drop(&m);
	cyc_free(probability);
	/* The same without it, by hand. */
	ASSERT_OK(cyc_star_read(&star, in_root("none.star")));
	ASSERT_OK(cyc_star_require(&b, star, "particles"));
	bool keep[64];
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) keep[i] = i != 2;
	cyc_star_keep_rows(b, keep);
	ASSERT_OK(cyc_star_write(star, in_root("less.star")));
	cyc_star_destroy(&star);
	for (int k = 0; k < 2; k++) {
		cyc_polish_options o = options(k ? "Less" : "None");
		o.input.particles = k ? "less.star" : "none.star";
		ASSERT_OK(cyc_polish_run(NULL, &o));
		m = read_metadata(k ? "Less/tomograms.star" : "None/tomograms.star",
		                  k ? "Less/particles.star" : "None/particles.star", NULL);
		project(end[k], &view, &m, k ? 2 : 3, 3); /* the one behind it, in both */
		if (k == 0) {
			double at[2];
			project(at, &view, &m, 2, 3);
			/* It goes with the tilts, which are corrected by pixels, and not to where its neighbours would
			 * draw it. */
			assert_true(hypot(at[0] - start[0], at[1] - start[1]) < 4);
		}
		drop(&m);
	}
	if (!(hypot(end[0][0] - end[1][0], end[0][1] - end[1][1]) < 1e-4))
		fail_msg("a particle of probability 0 moves another by %.5f px",
		         hypot(end[0][0] - end[1][0], end[0][1] - end[1][1]));
}

/* A deformation that the metadata have and the images do not is refined away; whatever its form, and if it is
 * one for all tilts or one for each. Where there is none to find, and the images are left as they are, it is
 * rejected. */
static void deformations_come_back(void **state)
{
	(void)state;
	static const struct {
		cyc_deformation_type type;
		bool is_per_tilt;
	} VARIANTS[] = { { CYC_DEFORMATION_LINEAR, false },
		             { CYC_DEFORMATION_LINEAR, true },
		             { CYC_DEFORMATION_SPLINE, false },
		             { CYC_DEFORMATION_FOURIER, false } };
	for (size_t k = 0; k < sizeof VARIANTS / sizeof *VARIANTS; k++) {
		cyc_tomogram_set *s = NULL;
		ASSERT_OK(cyc_tomogram_set_read(&s, "truth/tomograms.star", g_root));
		cyc_tilt_series *ts = &s->series[0];
		ts->deformation_type = VARIANTS[k].type;
		ts->deformation_grid[0] = ts->deformation_grid[1] = 2;
		int32_t n = cyc_deformation_n_coefficients(ts->deformation_type, ts->deformation_grid);
		for (int32_t f = 0; f < ts->n_tilts; f++) {
			ASSERT_OK(cyc_alloc(&ts->tilts[f].deformation, n, sizeof(double)));
			ts->tilts[f].n_deformation = n;
			double scale = (VARIANTS[k].type == CYC_DEFORMATION_LINEAR   ? 0.012
			                : VARIANTS[k].type == CYC_DEFORMATION_SPLINE ? 1.2
			                                                             : 0.4) *
			               (VARIANTS[k].is_per_tilt ? cos(f) : 1);
			for (int32_t i = 0; i < n; i++) ts->tilts[f].deformation[i] = scale * cos(1.3 * i + 0.5);
		}
		ASSERT_OK(cyc_tomogram_set_write(s, "bent/", g_root, CYC_WRITE_GEOMETRY | CYC_WRITE_DEFORMATION));
		cyc_tomogram_set_destroy(&s);
		double before = distance_px("bent/tomograms.star", "truth/particles.star", NULL, NULL);
		cyc_polish_options o = options("Straight");
		o.input.tomograms = "bent/tomograms.star";
		o.input.particles = "truth/particles.star";
		o.do_deformation = true;
		o.deformation = VARIANTS[k].type;
		o.deformation_grid[0] = o.deformation_grid[1] = 2;
		o.deformation_per_tilt = VARIANTS[k].is_per_tilt;
		ASSERT_OK(cyc_polish_run(NULL, &o));
		double after = distance_px("Straight/tomograms.star", "Straight/particles.star", NULL, NULL);
		print_message("deformation %d%s: %.3f -> %.4f px\n", (int)VARIANTS[k].type,
		              VARIANTS[k].is_per_tilt ? " per tilt" : "", before, after);
		assert_true(before > 0.4);
		if (!(after < 0.03)) fail_msg("deformation %d: %.4f px from the truth", (int)VARIANTS[k].type, after);
	}
}

/* An excluded tilt and one that shows no particle say nothing about their shifts. */
static void tilts_without_evidence_stay(void **state)
{
	(void)state;
	cyc_tomogram_set *s = NULL, *in = NULL, *out = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&s, "tomograms.star", g_root));
	s->series[0].tilts[3].scale = 0;
	s->series[0].tilts[7].shift_x_A = 9000;
	ASSERT_OK(cyc_tomogram_set_write(s, "edited/", g_root, CYC_WRITE_SCALE | CYC_WRITE_GEOMETRY));
	cyc_tomogram_set_destroy(&s);
	cyc_polish_options o = options("B");
	o.input.tomograms = "edited/tomograms.star";
	o.const_angles = true;
	ASSERT_OK(cyc_polish_run(NULL, &o));
	ASSERT_OK(cyc_tomogram_set_read(&in, "edited/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&out, "B/tomograms.star", g_root));
	for (int32_t f = 0; f < in->series[0].n_tilts; f++) {
		const cyc_tilt *a = &in->series[0].tilts[f], *c = &out->series[0].tilts[f];
		assert_true(isfinite(c->shift_x_A) && isfinite(c->shift_y_A));
		bool is_blind = f == 3 || f == 7;
		double moved = hypot(c->shift_x_A - a->shift_x_A, c->shift_y_A - a->shift_y_A);
		if (is_blind && !(moved < 1e-3)) fail_msg("tilt %d without evidence moved by %g Å", f, moved);
		assert_float_equal(c->scale, a->scale, 1e-6);
	}
	cyc_tomogram_set_destroy(&in);
	cyc_tomogram_set_destroy(&out);
	/* With angles: finite, and not far. */
	o = options("BA");
	o.input.tomograms = "edited/tomograms.star";
	ASSERT_OK(cyc_polish_run(NULL, &o));
	ASSERT_OK(cyc_tomogram_set_read(&in, "edited/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&out, "BA/tomograms.star", g_root));
	for (int32_t f = 3; f <= 7; f += 4) {
		const cyc_tilt *a = &in->series[0].tilts[f], *c = &out->series[0].tilts[f];
		double turned = fabs(c->xtilt_rad - a->xtilt_rad) + fabs(c->ytilt_rad - a->ytilt_rad) +
		                fabs(c->zrot_rad - a->zrot_rad);
		if (!(cyc_rad_to_deg(turned) < 1))
			fail_msg("tilt %d without evidence turned by %g degrees", f, cyc_rad_to_deg(turned));
	}
	cyc_tomogram_set_destroy(&in);
	cyc_tomogram_set_destroy(&out);
}

/* Change a column of TS_01's table by a function of its row, and write the project to a folder. */
static void edit_column(const char *folder, const char *label, double (*change)(double old, int row))
{
	cyc_tomogram_set *s = NULL;
	cyc_star_block *b;
	int32_t column;
	char name[200];
	ASSERT_OK(cyc_tomogram_set_read(&s, "tomograms.star", g_root));
	ASSERT_OK(cyc_star_require(&b, s->series_star[0], s->series[0].name));
	ASSERT_OK(cyc_star_ensure_column(&column, b, label, "0"));
	for (int f = 0; f < s->series[0].n_tilts; f++) {
		double x;
		ASSERT_OK(cyc_star_double(&x, b, f, column));
		ASSERT_OK(cyc_star_set_double(b, f, column, change(x, f)));
	}
	snprintf(name, sizeof name, "%s/", folder);
	ASSERT_OK(cyc_tomogram_set_write(s, name, g_root, 0));
	cyc_tomogram_set_destroy(&s);
}

static double reversed(double old, int row)
{
	(void)row;
	return -old;
}

static double scrambled(double old, int row)
{
	(void)old;
	return 50 * sin(7.3 * row * row + row);
}

/* Stage angles of the other sign are used as they are meant; ones that mean nothing are not used. */
static void stage_angles_are_not_trusted_blindly(void **state)
{
	(void)state;
	edit_column("stage1", "rlnTomoNominalStageTiltAngle", reversed);
	edit_column("stage2", "rlnTomoNominalStageTiltAngle", scrambled);
	for (int k = 1; k <= 2; k++) {
		cyc_polish_result r;
		cyc_polish_options o = options(k == 1 ? "Stage1" : "Stage2");
		o.input.tomograms = k == 1 ? "stage1/tomograms.star" : "stage2/tomograms.star";
		ASSERT_OK(cyc_polish_run(&r, &o));
		assert_int_equal(r.n_improved, 1);
		cyc_polish_result_deinit(&r);
	}
	metadata right = read_metadata("P/tomograms.star", "P/particles.star", NULL),
			 other = read_metadata("Stage1/tomograms.star", "Stage1/particles.star", NULL);
	for (int32_t f = 0; f < right.tomograms->series[0].n_tilts; f++) {
		const cyc_tilt *a = &right.tomograms->series[0].tilts[f], *c = &other.tomograms->series[0].tilts[f];
		assert_true(a->ytilt_rad == c->ytilt_rad && a->shift_x_A == c->shift_x_A);
	}
	drop(&right);
	drop(&other);
	double after = distance_px("Stage2/tomograms.star", "Stage2/particles.star", NULL, NULL);
	print_message("with stage angles that mean nothing: %.4f px\n", after);
	if (!(after < 0.03))
		fail_msg("with stage angles that mean nothing positions are %.4f px from the truth", after);
}

/* A tilt off by many times the range is found in its image; one whose image is empty keeps its place, and
 * neither harms the others. */
static void lost_tilts_are_found(void **state)
{
	(void)state;
	cyc_tomogram_set *s = NULL, *truth = NULL, *out = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&s, "tomograms.star", g_root));
	cyc_tilt_series *ts = &s->series[0];
	double pixel_A = ts->pixel_size_A;
	ASSERT_OK(cyc_tilt_series_open(ts, g_root));
	cyc_volume *empty = NULL;
	ASSERT_OK(cyc_volume_create(&empty, ts->image_nx, ts->image_ny, 1, pixel_A));
	ASSERT_OK(cyc_mrc_write(in_root("empty.mrc"), empty, 2, NULL));
	cyc_volume_destroy(&empty);
	cyc_star_block *b;
	ASSERT_OK(cyc_star_require(&b, s->series_star[0], ts->name));
	ASSERT_OK(cyc_star_set_text(b, 12, cyc_star_column(b, "rlnMicrographName"), "empty.mrc"));
	ts->tilts[5].shift_x_A += 22 * pixel_A;
	ts->tilts[5].shift_y_A -= 17 * pixel_A;
	ASSERT_OK(cyc_tomogram_set_write(s, "lost/", g_root, CYC_WRITE_GEOMETRY));
	cyc_polish_options o = options("Lost");
	o.input.tomograms = "lost/tomograms.star";
	ASSERT_OK(cyc_polish_run(NULL, &o));
	ASSERT_OK(cyc_tomogram_set_read(&truth, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&out, "Lost/tomograms.star", g_root));
	double worst = 0;
	for (int32_t f = 0; f < truth->series[0].n_tilts; f++) {
		const cyc_tilt *a = &truth->series[0].tilts[f], *c = &out->series[0].tilts[f];
		double off_px = hypot(c->shift_x_A - a->shift_x_A, c->shift_y_A - a->shift_y_A) / pixel_A;
		assert_true(isfinite(off_px));
		if (f != 12) worst = fmax(worst, off_px);
	}
	print_message("with a tilt off by 28 px and an empty one: at most %.3f px off\n", worst);
	if (!(worst < 0.2))
		fail_msg("with a lost tilt and an empty one, shifts are up to %.3f px off",
		         worst); /* a common offset is free */
	/* The empty tilt is where its input was, but for what turns and offsets of all do to it. */
	double stayed = hypot(out->series[0].tilts[12].shift_x_A - ts->tilts[12].shift_x_A,
	                      out->series[0].tilts[12].shift_y_A - ts->tilts[12].shift_y_A);
	if (!(stayed < 0.1)) fail_msg("an empty tilt moved by %.3f Å", stayed);
	cyc_tomogram_set_destroy(&s);
	cyc_tomogram_set_destroy(&truth);
	cyc_tomogram_set_destroy(&out);
}

/* The second polishing knows what the first one's input was, and its priors are about that. */
static void the_first_input_is_kept(void **state)
{
	(void)state;
	static const char *const KEPT[5] = { "cycInputXTiltDeg", "cycInputYTiltDeg", "cycInputZRotDeg",
		                                 "cycInputXShiftAngst", "cycInputYShiftAngst" };
	static const char *const OWN[5] = { "rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst",
		                                "rlnTomoYShiftAngst" };
	cyc_polish_options o = options("Second");
	o.input.tomograms = "P/tomograms.star";
	o.input.particles = "P/particles.star";
	ASSERT_OK(cyc_polish_run(NULL, &o));
	cyc_tomogram_set *s[3] = { NULL };
	const char *const name[3] = { "tomograms.star", "P/tomograms.star", "Second/tomograms.star" };
	for (int i = 0; i < 3; i++) ASSERT_OK(cyc_tomogram_set_read(&s[i], name[i], g_root));
	for (int f = 0; f < s[0]->series[0].n_tilts; f++)
		for (int k = 0; k < 5; k++) {
			double input, kept[2];
			ASSERT_OK(cyc_star_double_of(&input, cyc_star_find(s[0]->series_star[0], s[0]->series[0].name), f,
			                             OWN[k]));
			for (int i = 0; i < 2; i++)
				ASSERT_OK(cyc_star_double_of(
					&kept[i], cyc_star_find(s[1 + i]->series_star[0], s[0]->series[0].name), f, KEPT[k]));
			assert_float_equal(kept[0], input, 1e-5);
			assert_true(kept[1] == kept[0]);
		}
	/* A tilt whose image is empty has only its prior, which is about the first input; one that is excluded
	 * stays where it is. */
	cyc_star_block *b;
	ASSERT_OK(cyc_star_require(&b, s[1]->series_star[0], s[1]->series[0].name));
	ASSERT_OK(cyc_star_set_text(b, 6, cyc_star_column(b, "rlnMicrographName"), "empty.mrc"));
	s[1]->series[0].tilts[4].scale = 0;
	ASSERT_OK(cyc_tomogram_set_write(s[1], "blind/", g_root, CYC_WRITE_SCALE));
	o.out_dir = "Blind";
	o.input.tomograms = "blind/tomograms.star";
	o.const_angles = true;
	cyc_tomogram_set_destroy(&s[2]);
	o.accept_worse = true; /* images without noise take every difference for a clear one */
	ASSERT_OK(cyc_polish_run(NULL, &o));
	ASSERT_OK(cyc_tomogram_set_read(&s[2], "Blind/tomograms.star", g_root));
	for (int f = 4; f <= 6; f += 2) {
		const cyc_tilt *first = &s[0]->series[0].tilts[f], *given = &s[1]->series[0].tilts[f],
					   *c = &s[2]->series[0].tilts[f];
		const cyc_tilt *a = f == 4 ? given : first;
		if (!(hypot(c->shift_x_A - a->shift_x_A, c->shift_y_A - a->shift_y_A) < 1e-3))
			fail_msg("tilt %d without images is at %.3f, %.3f Å; its first input was %.3f, %.3f, the last "
			         "%.3f, %.3f",
			         f, c->shift_x_A, c->shift_y_A, first->shift_x_A, first->shift_y_A, given->shift_x_A,
			         given->shift_y_A);
	}
	for (int i = 0; i < 3; i++) cyc_tomogram_set_destroy(&s[i]);
}

/* Frame alignment is known by its job.star; other jobs, other files and none at all are not. */
static void results_of_frame_alignment_are_recognised(void **state)
{
	(void)state;
	static const struct {
		const char *job;
		bool is_result;
	} CASES[] = { { "data_job\n\n_rlnJobTypeLabel relion.framealigntomo\n_rlnJobIsContinue 0\n", true },
		          { "data_job\n\n_rlnJobTypeLabel relion.ctfrefinetomo\n_rlnJobIsContinue 0\n", false },
		          { "data_job\n\nloop_\n_a #1\n_b #2\n1\n", false },
		          { NULL, false } };
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		char folder[40], file[60];
		bool is_result = !CASES[i].is_result;
		snprintf(folder, sizeof folder, "Job%d", (int)i);
		ASSERT_OK(cyc_make_dirs(in_root(folder)));
		snprintf(file, sizeof file, "%s/job.star", folder);
		if (CASES[i].job) ASSERT_OK(cyc_write_file(in_root(file), CASES[i].job, strlen(CASES[i].job)));
		snprintf(file, sizeof file, "%s/tomograms.star", folder);
		ASSERT_OK(cyc_polish_is_result(&is_result, file, g_root));
		if (is_result != CASES[i].is_result)
			fail_msg("case %d is%s taken for frame alignment", (int)i, is_result ? "" : " not");
	}
	bool is_result = true;
	ASSERT_OK(cyc_polish_is_result(&is_result, "tomograms.star", g_root));
	assert_false(is_result);
}

/* What a window shows in part it tells in part: its power and curvature are the share of those of the whole
 * window. */
static void partial_windows_count_for_their_share(void **state)
{
	(void)state;
	cyc_project_input project = { .root = g_root, .optimisation_set = "truth/optimisation_set.star" };
	enum { WIDE = 80 }; /* wider than the rim that has no particles */
	const cyc_refine_request request = { .project = &project,
		                                 .ref1 = "R/half1.mrc",
		                                 .ref2 = "R/half2.mrc",
		                                 .mask = "mask_align.mrc",
		                                 .out_dir = "Partial",
		                                 .box_px = WIDE,
		                                 .is_partial = true };
	cyc_refine_input in = { 0 };
	cyc_backend *be = NULL;
	cyc_reference *reference = NULL;
	cyc_evidence_pass *pass = NULL;
	cyc_evidence *e[2] = { NULL };
	ASSERT_OK(cyc_refine_input_read(&in, &request));
	ASSERT_OK(cyc_backend_open(&be, "cpu", 2));
	ASSERT_OK(cyc_refine_reference(&reference, &in, be, 0));
	const cyc_evidence_options o = { .range_px = 2, .cutoff_frac = 0.02, .last_tilt = -1 };
	ASSERT_OK(cyc_evidence_pass_create(&pass, be, &in.box, reference, &o));
	cyc_tilt_series *ts = &in.tomograms->series[0];
	for (int is_cut = 0; is_cut < 2; is_cut++) {
		for (int32_t f = 0; f < ts->n_tilts && is_cut; f++) ts->tilts[f].shift_x_A += 15 * ts->pixel_size_A;
		ASSERT_OK(cyc_evidence_collect(&e[is_cut], pass, ts, in.particles, 0, g_root));
	}
	int n = 0;
	for (int32_t i = 0; i < e[0]->n_particles * e[0]->n_tilts; i++) {
		const cyc_pair *whole = &e[0]->pairs[i], *cut = &e[1]->pairs[i];
		if (!whole->map || !cut->map) continue;
		double share[2];
		for (int k = 0; k < 2; k++)
			share[k] =
				cyc_visible_share(ts, e[k]->pairs[i].start_px[0], e[k]->pairs[i].start_px[1], 0.5 * WIDE);
		double expected = share[1] / share[0];
		if (fabs(expected - 1) < 0.02) continue;
		n++;
		if (!(fabs(cut->power / whole->power - expected) < 2e-3 &&
		      fabs(cut->curve[0] / whole->curve[0] - expected) < 2e-3))
			fail_msg("a window of which %.3f times as much is seen has %.3f times the power and %.3f times "
			         "the curvature",
			         expected, cut->power / whole->power, cut->curve[0] / whole->curve[0]);
	}
	assert_true(n > 3);
	for (int k = 0; k < 2; k++) cyc_evidence_destroy(&e[k]);
	cyc_evidence_pass_destroy(&pass);
	cyc_reference_destroy(&reference);
	cyc_backend_close(&be);
	cyc_refine_input_deinit(&in);
}

static void assert_same_results(const char *a, const char *b, int32_t n_series)
{
	char name[3][40];
	const char *files[3 + 3] = { "particles.star", "motion.star", "uncertainty.star" };
	for (int32_t i = 0; i < n_series; i++) {
		snprintf(name[i], sizeof name[i], "tilt_series/TS_%02d.star", i + 1);
		files[3 + i] = name[i];
	}
	assert_same_files(a, b, files, 3 + (size_t)n_series);
}

/* Sum of squares of (shift - truth) / error of a series, less the offset of the specimen that makes it least;
 * 2 n_tilts - 3 are expected. */
static double shift_chi2(const cyc_tilt_series *truth, const cyc_tilt_series *found,
                         const cyc_star_block *errors)
{
	static const char *const LABEL[2] = { "cycShiftXErrorAngst", "cycShiftYErrorAngst" };
	double G[3][3] = { { 0 } }, b[3] = { 0 }, chi2 = 0;
	for (int32_t f = 0; f < truth->n_tilts; f++) {
		cyc_projection P;
		ASSERT_OK(cyc_projection_of_tilt(&P, truth, f));
		for (int k = 0; k < 2; k++) {
			double sigma, e = k == 0 ? found->tilts[f].shift_x_A - truth->tilts[f].shift_x_A
			                         : found->tilts[f].shift_y_A - truth->tilts[f].shift_y_A;
			ASSERT_OK(cyc_star_double_of(&sigma, errors, f, LABEL[k]));
			assert_true(sigma > 0 && isfinite(sigma));
			chi2 += cyc_square(e / sigma);
			for (int i = 0; i < 3; i++) {
				b[i] += P.linear.m[k][i] * e / cyc_square(sigma);
				for (int j = 0; j < 3; j++)
					G[i][j] += P.linear.m[k][i] * P.linear.m[k][j] / cyc_square(sigma);
			}
		}
	}
	for (int i = 0; i < 3; i++) {
		double H[3][3];
		memcpy(H, G, sizeof H);
		for (int l = 0; l < 3; l++) H[l][i] = b[l];
		chi2 -= b[i] * determinant(H) / determinant(G);
	}
	return chi2;
}

/* Root mean square of (place - truth) / error over particles and axes, less the mean offset of each series.
 */
static double places_z(const char *particles, const cyc_star_block *errors)
{
	static const char *const LABEL[3] = { "cycPositionXErrorAngst", "cycPositionYErrorAngst",
		                                  "cycPositionZErrorAngst" };
	metadata truth = read_metadata("truth/tomograms.star", "truth/particles.star", NULL),
			 found = read_metadata("truth/tomograms.star", particles, NULL);
	double chi2 = 0;
	assert_non_null(errors);
	assert_int_equal(cyc_star_n_rows(errors), truth.particles->n);
	for (int32_t s = 0; s < truth.tomograms->n_series; s++) {
		int64_t first = truth.particles->series_first[s], last = truth.particles->series_first[s + 1];
		double mean[3] = { 0 };
		for (int pass = 0; pass < 2; pass++)
			for (int64_t i = first; i < last; i++) {
				const cyc_particle *a = &found.particles->particles[i], *b = &truth.particles->particles[i];
				const double d[3] = { a->position_A.x - b->position_A.x, a->position_A.y - b->position_A.y,
					                  a->position_A.z - b->position_A.z };
				for (int k = 0; k < 3; k++) {
					double sigma;
					ASSERT_OK(cyc_star_double_of(&sigma, errors, i, LABEL[k]));
					assert_true(sigma > 0 && isfinite(sigma));
					if (pass == 0) mean[k] += d[k] / (double)(last - first);
					else chi2 += cyc_square((d[k] - mean[k]) / sigma);
				}
			}
	}
	double n = 3 * (double)truth.particles->n;
	drop(&truth);
	drop(&found);
	return sqrt(chi2 / n);
}

/* An error bar is a promise: of noisy images, errors of shifts are as large as is said, neither much larger
 * nor much smaller. */
static void errors_are_as_large_as_is_said(void **state)
{
	(void)state;
	make_noisy_project("noisy");
	cyc_polish_options o = options("N");
	o.n_threads = 2;
	ASSERT_OK(cyc_polish_run(NULL, &o));
	cyc_tomogram_set *truth = NULL, *out = NULL;
	cyc_star *errors = NULL;
	double chi2 = 0, expected = 0;
	ASSERT_OK(cyc_tomogram_set_read(&truth, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&out, "N/tomograms.star", g_root));
	ASSERT_OK(cyc_star_read(&errors, in_root("N/uncertainty.star")));
	for (int32_t i = 0; i < truth->n_series; i++) {
		ASSERT_OK(cyc_tilt_series_open(&truth->series[i], g_root));
		chi2 += shift_chi2(&truth->series[i], &out->series[i], cyc_star_find(errors, truth->series[i].name));
		expected += 2 * truth->series[i].n_tilts - 3;
	}
	print_message("shifts: RMS of error over standard error %.3f\n", sqrt(chi2 / expected));
	/* With 130 numbers the ratio scatters by 6 %; errors of orientations and of the reference are in the data
	 * as well. */
	if (!(chi2 > 0.6 * expected && chi2 < 1.7 * expected))
		fail_msg("shifts: RMS of error over standard error is %.3f", sqrt(chi2 / expected));
	/* The common rotation, which is in the places but not in their errors, and the half maps' centres widen
	 * it. */
	static const double LEAST_Z = 0.5, MOST_Z = 2;
	double z = places_z("N/particles.star", cyc_star_find(errors, "particles"));
	print_message("places: RMS of error over standard error %.3f\n", z);
	assert_true(z > LEAST_Z && z < MOST_Z);
	cyc_star_destroy(&errors);
	cyc_tomogram_set_destroy(&truth);
	cyc_tomogram_set_destroy(&out);
}

static void same_bits_for_threads_and_after_kills(void **state)
{
	(void)state;
	make_project("three", 3, 0.8);
	cyc_polish_options o = options("T1");
	o.do_motion = true;
	ASSERT_OK(cyc_polish_run(NULL, &o));
	o.out_dir = "T2";
	o.n_threads = 2;
	ASSERT_OK(cyc_polish_run(NULL, &o));
	assert_same_results("T1", "T2", 3);
	/* Motion is known since the lowest dose, where it is nil, and worse the later. */
	cyc_star *errors = NULL;
	ASSERT_OK(cyc_star_read(&errors, in_root("T1/uncertainty.star")));
	const cyc_star_block *b = cyc_star_find(errors, "TS_01");
	assert_non_null(b);
	int n_nil = 0;
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		double sigma;
		ASSERT_OK(cyc_star_double_of(&sigma, b, i, "cycMotionErrorAngst"));
		assert_true(sigma >= 0 && isfinite(sigma));
		n_nil += sigma <= 0;
	}
	assert_int_equal(n_nil, 1);
	cyc_star_destroy(&errors);
	o.out_dir = "Strict";
	o.backend = "strict";
	ASSERT_OK(cyc_polish_run(NULL, &o));
	assert_same_results("T1", "Strict", 3);
	o.backend = "cpu";
	o.out_dir = "Killed";
	o.resume = true;
	for (int at = 1; at <= 3; at++) {
		RUN_UNTIL_KILLED(at, cyc_polish_run, &o);
		char record[40];
		snprintf(record, sizeof record, "Killed/temp/TS_%02d.polish", at);
		assert_true(cyc_path_exists(in_root(record)));
		if (at == 2) { /* one bit of the solution: the series is polished again */
			char *data = NULL;
			size_t n;
			ASSERT_OK(cyc_read_file(&data, &n, in_root(record)));
			data[n / 2] ^= 0x40;
			ASSERT_OK(cyc_write_file(in_root(record), data, n));
			cyc_free(data);
		}
		if (at == 3) {
			cyc_polish_options other = o; /* other options do not take the records */
			other.out_dir = "Other";
			other.motion_sigma_A_per_dose = 0.1;
			other.resume = false;
			ASSERT_OK(cyc_polish_run(NULL, &other));
			other.resume = true;
			other.out_dir = "Killed";
			ASSERT_OK(cyc_polish_run(NULL, &other));
			assert_same_results("Other", "Killed", 3);
		}
		ASSERT_OK(cyc_polish_run(NULL, &o));
		assert_same_results("T1", "Killed", 3);
		assert_false(cyc_path_exists(in_root("Killed/temp")));
	}
}

static void motion_is_found_or_kept(void **state)
{
	(void)state;
	double before = distance_px("tomograms.star", "particles.star", NULL, "truth/motion.star");
	double with =
		distance_px("T1/tomograms.star", "T1/particles.star", "T1/motion.star", "truth/motion.star");
	cyc_polish_options o = options("Still");
	ASSERT_OK(cyc_polish_run(NULL, &o));
	double without = distance_px("Still/tomograms.star", "Still/particles.star", NULL, "truth/motion.star");
	print_message("moving specimen: %.3f px, %.4f without motion, %.4f with\n", before, without, with);
	assert_true(before > 1);
	if (!(with < 0.05)) fail_msg("projected positions are %.4f px from the truth with motion refined", with);
	/* Given trajectories stay what they are when motion is not refined, and what is refined counts with them.
	 */
	o.out_dir = "Kept";
	o.frequency_cutoff_A = 14; /* three particles of a half-set cannot tell the right maximum from its
	                              neighbours at high resolution */
	o.input.trajectories = "truth/motion.star";
	cyc_polish_result r;
	ASSERT_OK(cyc_polish_run(&r, &o));
	assert_null(r.trajectories);
	cyc_polish_result_deinit(&r);
	assert_false(cyc_path_exists(in_root("Kept/motion.star")));
	cyc_optimisation_set *set = NULL;
	ASSERT_OK(cyc_optimisation_set_read(&set, in_root("Kept/optimisation_set.star")));
	assert_string_equal(set->trajectories, "truth/motion.star");
	cyc_optimisation_set_destroy(&set);
	double kept =
		distance_px("Kept/tomograms.star", "Kept/particles.star", "truth/motion.star", "truth/motion.star");
	print_message("with the true motion given: %.4f px\n", kept);
	if (!(kept < 0.1)) fail_msg("with the true motion given: %.4f px from the truth", kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(planted_errors_come_back),
		cmocka_unit_test(a_still_specimen_does_not_move),
		cmocka_unit_test(only_shifts),
		cmocka_unit_test(gross_shifts_are_found),
		cmocka_unit_test(windows_follow_particles),
		cmocka_unit_test(one_bad_particle_is_alone),
		cmocka_unit_test(improbable_particles_have_no_say),
		cmocka_unit_test(deformations_come_back),
		cmocka_unit_test(tilts_without_evidence_stay),
		cmocka_unit_test(stage_angles_are_not_trusted_blindly),
		cmocka_unit_test(lost_tilts_are_found),
		cmocka_unit_test(the_first_input_is_kept),
		cmocka_unit_test(results_of_frame_alignment_are_recognised),
		cmocka_unit_test(partial_windows_count_for_their_share),
		cmocka_unit_test(same_bits_for_threads_and_after_kills),
		cmocka_unit_test(motion_is_found_or_kept),
		cmocka_unit_test(errors_are_as_large_as_is_said),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

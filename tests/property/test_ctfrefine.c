/* CTF refinement: the likelihood against differences and planted values, how far evidence moves a tilt, and
 * simulated projects with planted errors from end to end. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "project_fixture.h"
#include "project_maps.h"

#include "ctfrefine/estimate.h"
#include "cyclotomo/ctfrefine.h"

static void close_to(double value, double expected, double bound)
{
	if (!(fabs(value - expected) <= bound))
		fail_msg("got %.9g, expected %.9g within %g", value, expected, bound);
}

/* ---------------------------------------------------------------- sums with planted values */

static const double LAMBDA = 0.0197, RANGE_A = 1500;
static const cyc_ctf_change PLANTED = { 430, { 120, -75 } };
static const double PLANTED_S = 1.3, PLANTED_SHIFT[2] = { 2.3, -1.7 };

typedef struct {
	cyc_ctf_support *support;
	cyc_ctf_model *m;
	cyc_ctf_scratch *scratch;
	cyc_tilt_sums sums;
} planted;

/* Noise-free sums over particles at several heights whose phase is wrong by PLANTED, in an image shifted by
 * `shift`. */
static void planted_create(planted *p, const double shift[2])
{
	memset(p, 0, sizeof *p);
	ASSERT_OK(cyc_ctf_support_create(&p->support, 48, 5, 20, 1 / (48 * 2.5)));
	ASSERT_OK(cyc_ctf_model_create(&p->m, p->support, LAMBDA, RANGE_A));
	ASSERT_OK(cyc_ctf_scratch_create(&p->scratch, p->m));
	size_t n = (size_t)p->support->n;
	float **const lists[] = { &p->sums.cc,    &p->sums.cq,    &p->sums.qq,   &p->sums.xc_re,
		                      &p->sums.xc_im, &p->sums.xq_re, &p->sums.xq_im };
	for (int i = 0; i < 7; i++) ASSERT_OK(cyc_alloc(lists[i], n, sizeof(float)));
	p->sums.n_particles = 6;
	for (int32_t r = 0; r < p->m->n_shells; r++) p->m->alpha[r] = 1 + 0.02 * r;
	for (size_t i = 0; i < n; i++) {
		double kx = p->support->x[i] * p->support->step_invA, ky = p->support->y[i] * p->support->step_invA,
			   k2 = kx * kx + ky * ky;
		double delta = -CYC_PI * LAMBDA *
		               (PLANTED.z * k2 + PLANTED.a[0] * (kx * kx - ky * ky) + PLANTED.a[1] * 2 * kx * ky);
		double turn = -2 * CYC_PI * (kx * shift[0] + ky * shift[1]), alpha = p->m->alpha[p->m->shell[i]];
		for (int k = 0; k < 6; k++) {
			double gamma = -CYC_PI * LAMBDA * (21000 + 150 * k) * k2 - 0.1, v = 40 * exp(-30 * k2),
				   c = -sin(gamma), q = -cos(gamma);
			double x = PLANTED_S * alpha * (c * cos(delta) + q * sin(delta)) * v;
			p->sums.cc[i] += (float)(v * c * c);
			p->sums.cq[i] += (float)(v * c * q);
			p->sums.qq[i] += (float)(v * q * q);
			p->sums.xc_re[i] += (float)(x * c * cos(turn));
			p->sums.xc_im[i] += (float)(x * c * sin(turn));
			p->sums.xq_re[i] += (float)(x * q * cos(turn));
			p->sums.xq_im[i] += (float)(x * q * sin(turn));
		}
	}
}

static void planted_destroy(planted *p)
{
	float *const lists[] = { p->sums.cc,    p->sums.cq,    p->sums.qq,   p->sums.xc_re,
		                     p->sums.xc_im, p->sums.xq_re, p->sums.xq_im };
	for (int i = 0; i < 7; i++) cyc_free(lists[i]);
	cyc_ctf_scratch_destroy(&p->scratch);
	cyc_ctf_model_destroy(&p->m);
	cyc_ctf_support_destroy(&p->support);
}

static double minus_log_l(const planted *p, cyc_ctf_change at, double S)
{
	double cross, power;
	cyc_ctf_amplitude(&cross, &power, NULL, NULL, p->m, p->scratch, at);
	return -2 * S * cross + S * S * power;
}

static cyc_ctf_change moved(cyc_ctf_change at, int i, double by)
{
	if (i == 0) at.z += by;
	else at.a[i - 1] += by;
	return at;
}

static void derivatives_are_differences(void **state)
{
	(void)state;
	planted p;
	planted_create(&p, (double[]){ 0, 0 });
	static const double no_shift[2] = { 0, 0 };
	static const cyc_ctf_change points[] = {
		{ 0, { 0, 0 } }, { 300, { 40, 60 } }, { -800, { -200, 10 } }, { 430, { 120, -75 } }
	};
	cyc_ctf_load(p.scratch, p.m, &p.sums, no_shift);
	for (size_t k = 0; k < sizeof points / sizeof *points; k++) {
		double g[3], H[3][3], up[3], down[3], ignored[3][3], scale = 0;
		bool is_optimum = k == 3;
		double S = is_optimum ? PLANTED_S : 0.9;
		cyc_ctf_curvature(g, H, p.m, p.scratch, points[k], S);
		for (int i = 0; i < 3; i++) scale = fmax(scale, H[i][i]);
		for (int i = 0; i < 3; i++) {
			double difference = (minus_log_l(&p, moved(points[k], i, 0.1), S) -
			                     minus_log_l(&p, moved(points[k], i, -0.1), S)) /
			                    0.2;
			close_to(g[i], difference, 1e-4 * scale);
			if (!is_optimum) continue;
			/* Without noise Gauss-Newton's curvature is the curvature, at the optimum. */
			close_to(g[i], 0, 0.05 * scale);
			cyc_ctf_curvature(up, ignored, p.m, p.scratch, moved(points[k], i, 0.5), S);
			cyc_ctf_curvature(down, ignored, p.m, p.scratch, moved(points[k], i, -0.5), S);
			for (int j = 0; j < 3; j++) {
				close_to(H[i][j], up[j] - down[j], 1e-3 * scale);
				close_to(H[i][j], H[j][i], 1e-12 * scale);
			}
		}
	}
	planted_destroy(&p);
}

static void amplitude_shift_and_scan_find_what_was_planted(void **state)
{
	(void)state;
	planted p;
	double d[2], variance, cross, power, *log_l = NULL, *shells = NULL, sum = 0;
	planted_create(&p, PLANTED_SHIFT);
	cyc_ctf_fit_shift(d, &variance, p.m, &p.sums, PLANTED, 5, p.scratch);
	close_to(d[0], PLANTED_SHIFT[0], 0.02);
	close_to(d[1], PLANTED_SHIFT[1], 0.02);
	assert_true(variance > 0 && variance < 1);
	/* A narrow prior holds it, no data leave it to the prior. */
	cyc_ctf_fit_shift(d, &variance, p.m, &p.sums, PLANTED, 1e-3, p.scratch);
	close_to(hypot(d[0], d[1]), 0, 0.1);
	cyc_tilt_sums nothing = p.sums;
	ASSERT_OK(cyc_alloc(&nothing.cc, p.support->n, sizeof(float)));
	nothing.cq = nothing.qq = nothing.xc_re = nothing.xc_im = nothing.xq_re = nothing.xq_im = nothing.cc;
	cyc_ctf_fit_shift(d, &variance, p.m, &nothing, PLANTED, 3, p.scratch);
	close_to(hypot(d[0], d[1]), 0, 0);
	close_to(variance, 9, 1e-9);
	cyc_free(nothing.cc);

	cyc_ctf_load(p.scratch, p.m, &p.sums, PLANTED_SHIFT);
	ASSERT_OK(cyc_alloc(&shells, 2 * (size_t)p.m->n_shells, sizeof *shells));
	cyc_ctf_amplitude(&cross, &power, shells, shells + p.m->n_shells, p.m, p.scratch, PLANTED);
	close_to(cross / power, PLANTED_S, 1e-4);
	for (int32_t r = 0; r < p.m->n_shells; r++) {
		sum += shells[r];
		if (shells[p.m->n_shells + r] > 0) close_to(shells[r] / shells[p.m->n_shells + r], PLANTED_S, 1e-3);
	}
	close_to(sum, cross, 1e-9 * cross);

	int32_t best = 0;
	ASSERT_OK(cyc_alloc(&log_l, p.m->n_z, sizeof *log_l));
	cyc_ctf_scan(p.scratch->scan, p.scratch->scan + p.m->n_z, p.m, p.scratch,
	             (cyc_ctf_change){ 0, { PLANTED.a[0], PLANTED.a[1] } });
	for (int32_t j = 0; j < p.m->n_z; j++) {
		const double c = p.scratch->scan[j], q = p.scratch->scan[p.m->n_z + j];
		log_l[j] = c > 0 ? c * c / q : 0;
		if (log_l[j] > log_l[best]) best = j;
	}
	for (int32_t j = 0; j < p.m->n_z; j++) {
		cyc_ctf_amplitude(&cross, &power, NULL, NULL, p.m, p.scratch,
		                  (cyc_ctf_change){ p.m->z_A[j], { PLANTED.a[0], PLANTED.a[1] } });
		close_to(log_l[j], cross > 0 ? cross * cross / power : 0, 0.02 * log_l[best]);
	}
	close_to(p.m->z_A[best], PLANTED.z, p.m->z_step_A);
	assert_true(p.m->z_A[0] <= -RANGE_A && p.m->z_A[p.m->n_z - 1] >= RANGE_A && p.m->z_step_A <= 25);
	cyc_free(log_l);
	cyc_free(shells);
	planted_destroy(&p);
}

static void support_holds_each_pair_once(void **state)
{
	(void)state;
	cyc_ctf_support *p = NULL;
	double share = 0, all = 0;
	ASSERT_OK(cyc_ctf_support_create(&p, 32, 3.5, 14, 0.01));
	for (int32_t i = 0; i < p->n; i++) {
		int32_t k2 = p->x[i] * p->x[i] + p->y[i] * p->y[i];
		assert_true(p->x[i] >= 0 && k2 >= 13 && k2 <= 14 * 14);
		share += 2 * (double)p->share[i];
	}
	for (int32_t y = -16; y < 16; y++)
		for (int32_t x = -16; x < 16; x++) all += x * x + y * y >= 13 && x * x + y * y <= 14 * 14;
	close_to(share, all, 1e-9);
	cyc_ctf_support_destroy(&p);
}

/* All rounds together, on sums without noise: every parameter comes out, also the sign of each. */
static void estimate_finds_what_was_planted(void **state)
{
	(void)state;
	enum { N = 5 };
	planted p;
	planted_create(&p, PLANTED_SHIFT);
	float *const lists[] = { p.sums.cc,    p.sums.cq,    p.sums.qq,   p.sums.xc_re,
		                     p.sums.xc_im, p.sums.xq_re, p.sums.xq_im };
	for (int k = 0; k < 7; k++)
		for (int32_t i = 0; i < p.support->n; i++) lists[k][i] *= 1e3F; /* much evidence */
	cyc_tilt_sums tilts[N];
	cyc_tilt_fit fits[N];
	cyc_series_sums sums = { .n_tilts = N, .tilts = tilts };
	const cyc_series_sums *const list[] = { &sums };
	cyc_series_fit fit = { .n_tilts = N, .tilts = fits };
	for (int threads = 1; threads < 3; threads++) {
		cyc_ctf_widths w = cyc_ctf_widths_default();
		const cyc_ctf_estimate_options o = { .do_defocus = true, .do_scale = true, .n_threads = threads };
		memset(fits, 0, sizeof fits);
		for (int f = 0; f < N; f++) {
			tilts[f] = p.sums;
			fits[f] = (cyc_tilt_fit){ .has_data = true,
				                      .sin_tilt = 0.2 * f,
				                      .cos_tilt = sqrt(1 - 0.04 * f * f),
				                      .dose_e_per_A2 = 3 * f,
				                      .input = { 21000, 50, 0 },
				                      .input_scale = 0.8 };
			ASSERT_OK(cyc_alloc(&fits[f].log_l, p.m->n_z, sizeof(double)));
		}
		ASSERT_OK(cyc_ctf_estimate(&fit, &w, p.m, list, 1, &o));
		for (int f = 0; f < N; f++) {
			close_to(fits[f].change.z, PLANTED.z, 5);
			close_to(fits[f].change.a[0], PLANTED.a[0], 5);
			close_to(fits[f].change.a[1], PLANTED.a[1], 5);
			close_to(fits[f].shift_A[0], PLANTED_SHIFT[0], 0.05);
			close_to(fits[f].shift_A[1], PLANTED_SHIFT[1], 0.05);
			close_to(fits[f].log_s, log(PLANTED_S), 0.01);
			assert_true(fits[f].gain > 0);
			cyc_free(fits[f].log_l);
		}
	}
	planted_destroy(&p);
}

/* ---------------------------------------------------------------- evidence, input and neighbours */

enum { N_TILTS = 31, N_Z = 161 };
static double g_grid[N_Z];

/* Tilts from -60 to 60 degrees with inputs on a trend; `scatter` off it. */
static void fit_create(cyc_series_fit *s, double scatter)
{
	cyc_rng rng = cyc_rng_make(2, 3, 4);
	*s = (cyc_series_fit){ .n_tilts = N_TILTS };
	ASSERT_OK(cyc_alloc(&s->tilts, N_TILTS, sizeof *s->tilts));
	for (int32_t j = 0; j < N_Z; j++) g_grid[j] = 25 * (j - N_Z / 2);
	for (int32_t f = 0; f < N_TILTS; f++) {
		cyc_tilt_fit *t = &s->tilts[f];
		double angle = cyc_deg_to_rad(4.0 * (f - N_TILTS / 2));
		t->has_data = true;
		t->sin_tilt = sin(angle);
		t->cos_tilt = cos(angle);
		t->dose_e_per_A2 = 3 * abs(2 * (f - N_TILTS / 2));
		t->input = (cyc_defocus){ 25000 + 400 * t->sin_tilt + scatter * cyc_rng_normal(&rng), 100, -50 };
		t->input_scale = 1;
		ASSERT_OK(cyc_alloc(&t->log_l, N_Z, sizeof *t->log_l));
	}
}

static void overwhelming_evidence_wins(void **state)
{
	(void)state;
	cyc_ctf_widths w = cyc_ctf_widths_default();
	cyc_series_fit s;
	double z[N_TILTS];
	cyc_rng rng = cyc_rng_make(9, 9, 9);
	fit_create(&s, 100);
	for (int32_t f = 0; f < N_TILTS; f++) {
		cyc_tilt_fit *t = &s.tilts[f];
		z[f] = 600 * cyc_rng_normal(&rng);
		for (int32_t j = 0; j < N_Z; j++) t->log_l[j] = -0.5 * cyc_square((g_grid[j] - z[f]) / 4);
		t->a_data[0] = 300 * cyc_rng_normal(&rng);
		t->a_data[1] = 300 * cyc_rng_normal(&rng);
		t->a_information[0][0] = t->a_information[1][1] = 1 / 4.0;
		t->log_s_data = 0.4 * cyc_rng_normal(&rng);
		t->log_s_information = 1e8;
	}
	for (int learn = 0; learn < 2; learn++) {
		ASSERT_OK(cyc_hierarchy_defocus(&w, &s, 1, g_grid, N_Z, learn, 2));
		ASSERT_OK(cyc_hierarchy_astigmatism(&w, &s, 1, learn));
		ASSERT_OK(cyc_hierarchy_scale(&w, &s, 1, learn));
		for (int32_t f = 0; f < N_TILTS; f++) {
			const cyc_tilt_fit *t = &s.tilts[f];
			close_to(t->change.z, z[f], 2);
			close_to(sqrt(t->z_variance), 4, 1);
			for (int k = 0; k < 2; k++) {
				close_to(t->change.a[k], t->a_data[k], 3);
				close_to(sqrt(t->a_variance[k]), 2, 0.1);
			}
			close_to(t->log_s, t->log_s_data, 1e-4);
		}
	}
	/* The widths follow from what is seen. */
	if (!(w.z_input_A > 300 && w.z_input_A < 1000)) fail_msg("width of the input's errors: %g", w.z_input_A);
	cyc_series_fit_deinit(&s);
}

static void without_evidence_the_input_stays(void **state)
{
	(void)state;
	cyc_ctf_widths w = cyc_ctf_widths_default();
	cyc_series_fit s;
	fit_create(&s, 0);
	for (int32_t f = 0; f < N_TILTS; f++) s.tilts[f].log_s_information = f < N_TILTS / 2 ? 0 : 1e6;
	ASSERT_OK(cyc_hierarchy_defocus(&w, &s, 1, g_grid, N_Z, false, 1));
	ASSERT_OK(cyc_hierarchy_astigmatism(&w, &s, 1, false));
	ASSERT_OK(cyc_hierarchy_scale(&w, &s, 1, false));
	for (int32_t f = 0; f < N_TILTS; f++) {
		const cyc_tilt_fit *t = &s.tilts[f];
		close_to(t->change.z, 0, 5);
		assert_true(t->z_variance > cyc_square(80)); /* and is not said to be known */
		close_to(hypot(t->change.a[0], t->change.a[1]), 0, 0.5);
		close_to(t->log_s, 0, 0.02); /* here the other half of the tilts tells that the input is right */
		if (f < N_TILTS / 2) assert_true(t->log_s_variance > 0.003);
	}
	cyc_series_fit_deinit(&s);
	/* An input off the trend is drawn towards it, not beyond. */
	cyc_series_fit scattered, smooth;
	fit_create(&scattered, 150);
	fit_create(&smooth, 0);
	ASSERT_OK(cyc_hierarchy_defocus(&w, &scattered, 1, g_grid, N_Z, false, 1));
	double before = 0, after = 0;
	for (int32_t f = 0; f < N_TILTS; f++) {
		before += cyc_square(scattered.tilts[f].input.mean_A - smooth.tilts[f].input.mean_A);
		after += cyc_square(scattered.tilts[f].input.mean_A + scattered.tilts[f].change.z -
		                    smooth.tilts[f].input.mean_A);
	}
	assert_true(after < before);
	cyc_series_fit_deinit(&scattered);
	cyc_series_fit_deinit(&smooth);
}

/* One tilt in the middle tells nothing: the input of a tilt that the others disprove is corrected by them. */
static void neighbours_help_a_blind_tilt(void **state)
{
	(void)state;
	cyc_ctf_widths w = cyc_ctf_widths_default();
	cyc_series_fit s;
	fit_create(&s, 0);
	for (int32_t f = 0; f < N_TILTS; f++) /* all inputs are 300 Å too small */
		for (int32_t j = 0; j < N_Z && f != 20; j++)
			s.tilts[f].log_l[j] = -0.5 * cyc_square((g_grid[j] - 300) / 20);
	ASSERT_OK(cyc_hierarchy_defocus(&w, &s, 1, g_grid, N_Z, true, 3));
	close_to(s.tilts[20].change.z, 300, 60);
	assert_true(s.tilts[20].z_variance > 4 * s.tilts[19].z_variance);
	cyc_series_fit_deinit(&s);
}

static void slopes_of_the_scale_are_found(void **state)
{
	(void)state;
	cyc_ctf_widths w = cyc_ctf_widths_default();
	cyc_series_fit s;
	cyc_rng rng = cyc_rng_make(1, 1, 77);
	double rms = 0;
	fit_create(&s, 0);
	for (int32_t f = 0; f < N_TILTS; f++) { /* truth: absorption 0.6; input: a guess, the cosine */
		cyc_tilt_fit *t = &s.tilts[f];
		double information = f % 3 == 0 ? 0.1 : 900, log_true = -0.6 * (1 / t->cos_tilt - 1);
		t->input_scale = t->cos_tilt;
		t->log_s_data = log_true - log(t->input_scale) + cyc_rng_normal(&rng) / sqrt(information);
		t->log_s_information = information;
	}
	ASSERT_OK(cyc_hierarchy_scale(&w, &s, 1, true));
	for (int32_t f = 0; f < N_TILTS; f++) {
		const cyc_tilt_fit *t = &s.tilts[f];
		double error = log(t->input_scale) + t->log_s + 0.6 * (1 / t->cos_tilt - 1);
		rms += error * error / N_TILTS;
		close_to(error, 0, 0.12);
	}
	if (!(sqrt(rms) < 0.04)) fail_msg("scales are wrong by %.3f", sqrt(rms));
	cyc_series_fit_deinit(&s);
}

/* ---------------------------------------------------------------- simulated projects */

static cyc_simulate_options project(const char *name)
{
	cyc_simulate_options o;
	cyc_simulate_options_default(&o);
	cyc_simulate_options_preset(&o, CYC_SIMULATE_TINY);
	use_project(name);
	o.out_dir = g_root;
	return o;
}

static cyc_ctfrefine_options options(const char *out)
{
	cyc_ctfrefine_options o;
	cyc_ctfrefine_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.out_dir = out;
	o.box_px = 48;
	o.no_figures = true;
	return o;
}

/* Errors against the truth: of the mean defocus, of the astigmatism vector, of the log scale about its mean.
 */
typedef struct {
	double defocus_A, astigmatism_A, log_scale;
} errors;

static errors errors_of(const char *tomograms)
{
	cyc_tomogram_set *truth = NULL, *s = NULL;
	double z2 = 0, a2 = 0, l = 0, l2 = 0, n = 0;
	ASSERT_OK(cyc_tomogram_set_read(&truth, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&s, tomograms, g_root));
	assert_int_equal(truth->n_series, s->n_series);
	for (int32_t i = 0; i < s->n_series; i++)
		for (int32_t f = 0; f < s->series[i].n_tilts; f++) {
			const cyc_tilt *t = &s->series[i].tilts[f], *u = &truth->series[i].tilts[f];
			cyc_defocus a = cyc_defocus_from_uva(t->defocus_u_A, t->defocus_v_A, t->defocus_angle_rad);
			cyc_defocus b = cyc_defocus_from_uva(u->defocus_u_A, u->defocus_v_A, u->defocus_angle_rad);
			z2 += cyc_square(a.mean_A - b.mean_A);
			a2 += cyc_square(a.astig_x_A - b.astig_x_A) + cyc_square(a.astig_y_A - b.astig_y_A);
			l += log(t->scale / u->scale);
			l2 += cyc_square(log(t->scale / u->scale));
			n++;
		}
	cyc_tomogram_set_destroy(&truth);
	cyc_tomogram_set_destroy(&s);
	return (errors){ sqrt(z2 / n), sqrt(a2 / n), sqrt(l2 / n - l * l / n / n) };
}

static void planted_errors_shrink(void **state)
{
	(void)state;
	cyc_simulate_options p = project("errors");
	p.n_series = 2;
	p.n_particles = 12;
	p.symmetry = "O";
	p.image_nx = 250;
	p.image_ny = 237;
	p.thickness_A = 700;
	p.edge_px = 26;
	p.n_tilts = 21;
	p.tilt_step_rad = cyc_deg_to_rad(5);
	p.dose_e_per_A2 = 5;
	p.defocus_min_A = 12000;
	p.defocus_max_A = 15000;
	p.signal = 4;
	p.error_defocus_A = 600;
	p.error_astigmatism_A = 200;
	p.error_scale = 0.2;
	p.n_threads = 2;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	reconstruct_project();
	cyc_ctfrefine_options o = options("C");
	o.ref1 = "R/half1.mrc";
	o.ref2 = "R/half2.mrc";
	o.mask = "mask_align.mrc";
	o.n_threads = 2;
	cyc_ctfrefine_result r;
	ASSERT_OK(cyc_ctfrefine_run(&r, &o));
	assert_int_equal(r.n_tilts, 42);
	assert_string_equal(r.tomograms, "C/tomograms.star");
	errors before = errors_of("tomograms.star"), after = errors_of("C/tomograms.star");
	print_message("defocus %.0f -> %.0f A, astigmatism %.0f -> %.0f A, scale %.3f -> %.3f, %lld moved\n",
	              before.defocus_A, after.defocus_A, before.astigmatism_A, after.astigmatism_A,
	              before.log_scale, after.log_scale, (long long)r.n_moved);
	if (!(after.defocus_A < 0.5 * before.defocus_A))
		fail_msg("defocus: %.0f Å before, %.0f Å after", before.defocus_A, after.defocus_A);
	if (!(after.astigmatism_A < 0.75 * before.astigmatism_A))
		fail_msg("astigmatism: %.0f Å before, %.0f Å after", before.astigmatism_A, after.astigmatism_A);
	if (!(after.log_scale < 0.6 * before.log_scale))
		fail_msg("scale: %.3f before, %.3f after", before.log_scale, after.log_scale);
	cyc_ctfrefine_result_deinit(&r);
	/* Only what was asked for. */
	o.do_scale = false;
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	after = errors_of("C/tomograms.star");
	close_to(after.log_scale, before.log_scale, 1e-5);
	assert_true(after.defocus_A < 0.6 * before.defocus_A);
	o.do_scale = true;
	o.do_defocus = false;
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	after = errors_of("C/tomograms.star");
	close_to(after.defocus_A, before.defocus_A, 1e-3);
	assert_true(after.log_scale < 0.8 * before.log_scale);
}

/* Ten series: more than are learned from, so that a killed run has finished ones. The true map twice as
 * strong is the reference. */
static void make_many(void)
{
	cyc_volume *map = NULL;
	cyc_simulate_options p = project("many");
	p.n_series = 10;
	p.n_particles = 3;
	p.n_tilts = 5;
	p.tilt_step_rad = cyc_deg_to_rad(20);
	p.edge_px = 26;
	p.image_nx = 180;
	p.image_ny = 170;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	char path[200];
	snprintf(path, sizeof path, "%s/truth/map.mrc", g_root);
	ASSERT_OK(cyc_mrc_read(&map, path));
	for (size_t i = 0; i < cyc_volume_count(map); i++) map->data[i] *= (float)(2 * sqrt(48.0));
	snprintf(path, sizeof path, "%s/ref.mrc", g_root);
	ASSERT_OK(cyc_mrc_write(path, map, 2, NULL));
	cyc_volume_destroy(&map);
	/* Row 1 of the first series excluded, row 2 moved away from all particles. */
	cyc_tomogram_set *s = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&s, "tomograms.star", g_root));
	s->series[0].tilts[1].scale = 0;
	s->series[0].tilts[2].shift_x_A = 4000;
	ASSERT_OK(cyc_tomogram_set_write(s, "edited/", g_root, CYC_WRITE_SCALE | CYC_WRITE_GEOMETRY));
	cyc_tomogram_set_destroy(&s);
}

static cyc_ctfrefine_options many_options(const char *out)
{
	cyc_ctfrefine_options o = options(out);
	o.input.tomograms = "edited/tomograms.star";
	o.ref1 = o.ref2 = "ref.mrc";
	o.mask = "mask_align.mrc";
	return o;
}

static void blind_and_excluded_tilts_keep_their_input(void **state)
{
	(void)state;
	make_many();
	cyc_ctfrefine_options o = many_options("Blind");
	cyc_ctfrefine_result r;
	ASSERT_OK(cyc_ctfrefine_run(&r, &o));
	assert_true(r.n_flagged >= 2);
	cyc_ctfrefine_result_deinit(&r);
	cyc_tomogram_set *in = NULL, *out = NULL;
	cyc_star *u = NULL;
	char path[200];
	ASSERT_OK(cyc_tomogram_set_read(&in, "edited/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&out, "Blind/tomograms.star", g_root));
	snprintf(path, sizeof path, "%s/Blind/uncertainty.star", g_root);
	ASSERT_OK(cyc_star_read(&u, path));
	const cyc_star_block *b = cyc_star_find(u, in->series[0].name);
	assert_non_null(b);
	static const char *const status[] = { NULL, "excluded", "no-particles" };
	for (int f = 1; f < 3; f++) {
		const cyc_tilt *a = &in->series[0].tilts[f], *c = &out->series[0].tilts[f];
		assert_string_equal(cyc_star_text(b, f, cyc_star_column(b, "cycTiltStatus")), status[f]);
		assert_string_equal(cyc_star_text(b, f, cyc_star_column(b, "cycParticlesUsed")), "0");
		close_to(c->defocus_u_A, a->defocus_u_A, 1e-3);
		close_to(c->defocus_v_A, a->defocus_v_A, 1e-3);
		close_to(c->defocus_angle_rad, a->defocus_angle_rad, 1e-6);
		close_to(c->scale, a->scale, 1e-6);
	}
	cyc_star_destroy(&u);
	/* The reference is twice too strong, which is nobody's contrast: on average the scales stay. */
	double mean = 0;
	for (int32_t i = 0; i < in->n_series; i++)
		for (int32_t f = 0; f < in->series[i].n_tilts; f++)
			if (in->series[i].tilts[f].scale > 0)
				mean += log(out->series[i].tilts[f].scale / in->series[i].tilts[f].scale) / 49;
	close_to(mean, 0, 0.1);
	cyc_tomogram_set_destroy(&in);
	cyc_tomogram_set_destroy(&out);
}

static void assert_same_results(const char *dir_a, const char *dir_b)
{
	/* Tables of tilts lie where the input has them. */
	static const char *const files[] = { "uncertainty.star", "refinement.txt",
		                                 "edited/tilt_series/TS_01.star", "edited/tilt_series/TS_09.star",
		                                 "edited/tilt_series/TS_10.star" };
	assert_same_files(dir_a, dir_b, files, sizeof files / sizeof *files);
}

static void same_bits_for_threads_and_after_kills(void **state)
{
	(void)state;
	use_project("many");
	cyc_ctfrefine_options o = many_options("T1");
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	o.out_dir = "T2";
	o.n_threads = 2;
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	assert_same_results("T1", "T2");
	o.backend = "strict";
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	assert_same_results("T1", "T2");
	o.backend = "cpu";
	o.out_dir = "Killed";
	o.resume = true;
	static const int points[] = { 3, 9,
		                          10 }; /* while learning, and after the first and second series after that */
	for (size_t k = 0; k < sizeof points / sizeof *points; k++) {
		char path[200];
		RUN_UNTIL_KILLED(points[k], cyc_ctfrefine_run, &o);
		snprintf(path, sizeof path, "%s/Killed/temp/.learned.ctf", g_root);
		assert_int_equal(cyc_path_exists(path), k > 0);
		if (k == 2) { /* a digit is another: learned again */
			char *data = NULL;
			size_t n;
			ASSERT_OK(cyc_read_file(&data, &n, path));
			data[n - 20] ^= 1;
			ASSERT_OK(cyc_write_file(path, data, n));
			cyc_free(data);
		}
		/* That of a series that was learned from is gone. */
		snprintf(path, sizeof path, "%s/Killed/temp/TS_02.ctf", g_root);
		if (k == 1) assert_int_equal(remove(path), 0);
		ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
		assert_same_results("T1", "Killed");
		snprintf(path, sizeof path, "%s/Killed/temp", g_root);
		assert_false(cyc_path_exists(path));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(derivatives_are_differences),
		cmocka_unit_test(amplitude_shift_and_scan_find_what_was_planted),
		cmocka_unit_test(support_holds_each_pair_once),
		cmocka_unit_test(estimate_finds_what_was_planted),
		cmocka_unit_test(overwhelming_evidence_wins),
		cmocka_unit_test(without_evidence_the_input_stays),
		cmocka_unit_test(neighbours_help_a_blind_tilt),
		cmocka_unit_test(slopes_of_the_scale_are_found),
		cmocka_unit_test(planted_errors_shrink),
		cmocka_unit_test(blind_and_excluded_tilts_keep_their_input),
		cmocka_unit_test(same_bits_for_threads_and_after_kills),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

/* Tilts that went wrong: the evidence of an amplitude from zero on, other places, uncertain trends, and input
 * that was refined before. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "project_fixture.h"
#include "project_maps.h"

#include "ctfrefine/bad_tilts.h"
#include "ctfrefine/estimate.h"
#include "ctfrefine/self_correlation.h"
#include "cyclotomo/ctfrefine.h"
#include "project/labels.h"

static void close_to(double value, double expected, double bound)
{
	if (!(fabs(value - expected) <= bound))
		fail_msg("got %.9g, expected %.9g within %g", value, expected, bound);
}

/* ---------------------------------------------------------------- evidence */

static double by_quadrature(double cross, double power, const cyc_amplitude_prior *p)
{
	enum { N = 400000 };
	double range = 1.5 * p->mean, low = 0, step = (p->mean + 10 * p->sd - low) / N, sum = 0;
	for (int i = 0; i < N; i++) {
		double S = low + (i + 0.5) * step, t = (S - p->mean) / p->sd;
		double good = exp(-0.5 * t * t) / (p->sd * sqrt(2 * CYC_PI)),
			   damaged = S > 0 && S < range ? 1 / range : 0;
		sum += ((1 - p->bad_frac) * good + p->bad_frac * damaged) * exp(2 * S * cross - S * S * power) * step;
	}
	return log(sum);
}

static void amplitudes_are_integrated_out(void **state)
{
	(void)state;
	static const double cases[][2] = {
		{ 0, 0 }, { 5, 6 }, { -3, 10 }, { 40, 40 }, { 0.5, 90 }, { 1e-9, 1e-9 }
	};
	const cyc_amplitude_prior p = { 0.9, 0.05, 0.02, true };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		close_to(cyc_amplitude_log_l(cases[i][0], cases[i][1], &p),
		         by_quadrature(cases[i][0], cases[i][1], &p), 1e-3);
	/* Far out in either tail there are numbers still. */
	for (int sign = -1; sign <= 1; sign += 2) {
		double l = cyc_amplitude_log_l(sign * 3e4, 1e4, &p);
		assert_true(isfinite(l) && (l > 0) == (sign > 0));
	}
	/* As long as nothing is known: the maximum over S >= 0. */
	const cyc_amplitude_prior unknown = { 0 };
	close_to(cyc_amplitude_log_l(3, 4, &unknown), 9.0 / 4, 1e-12);
	close_to(cyc_amplitude_log_l(-3, 4, &unknown), 0, 0);
}

/* ---------------------------------------------------------------- sums with planted values */

enum { N_TILTS = 15, BOX = 64 };
static const double LAMBDA = 0.0197, RANGE_A = 1500;

typedef struct {
	double z, shift[2], S, blur_A2;
	bool is_noise;
} planted;

typedef struct {
	cyc_ctf_support *support;
	cyc_ctf_model *m;
	cyc_tilt_sums sums[N_TILTS];
	cyc_tilt_fit fits[N_TILTS];
	cyc_series_fit series;
	cyc_series_sums all;
} specimen;

/* Sums over particles at several heights, with the noise they would have; evidence falls with the dose. */
static void plant(cyc_tilt_sums *t, const specimen *s, const planted *p, double strength, cyc_rng *rng)
{
	size_t n = (size_t)s->support->n;
	ASSERT_OK(cyc_alloc(&t->cc, 9 * n, sizeof(float)));
	float **const lists[] = { &t->cc,    &t->cq,    &t->qq,     &t->xc_re, &t->xc_im,
		                      &t->xq_re, &t->xq_im, &t->self_c, &t->self_q };
	for (size_t k = 1; k < 9; k++) *lists[k] = t->cc + k * n;
	t->n_particles = 6;
	for (size_t i = 0; i < n; i++) {
		double kx = s->support->x[i] * s->support->step_invA, ky = s->support->y[i] * s->support->step_invA,
			   k2 = kx * kx + ky * ky;
		double delta = -CYC_PI * LAMBDA * p->z * k2,
			   turn = -2 * CYC_PI * (kx * p->shift[0] + ky * p->shift[1]);
		for (int k = 0; k < 6; k++) {
			double gamma = -CYC_PI * LAMBDA * (21000 + 150 * k) * k2 - 0.1, v = strength * exp(-30 * k2),
				   c = -sin(gamma), q = -cos(gamma);
			double x = p->S * exp(-0.25 * p->blur_A2 * k2) * (c * cos(delta) + q * sin(delta)) * v;
			double noise[2] = { sqrt(0.5 * v) * cyc_rng_normal(rng), sqrt(0.5 * v) * cyc_rng_normal(rng) };
			t->cc[i] += (float)(v * c * c);
			t->cq[i] += (float)(v * c * q);
			t->qq[i] += (float)(v * q * q);
			t->xc_re[i] += (float)(c * (x * cos(turn) + noise[0]));
			t->xc_im[i] += (float)(c * (x * sin(turn) + noise[1]));
			t->xq_re[i] += (float)(q * (x * cos(turn) + noise[0]));
			t->xq_im[i] += (float)(q * (x * sin(turn) + noise[1]));
		}
	}
}

static void specimen_create(specimen *s, const planted tilts[N_TILTS], uint32_t seed)
{
	cyc_rng rng = cyc_rng_make(5, seed, 0);
	memset(s, 0, sizeof *s);
	ASSERT_OK(cyc_ctf_support_create(&s->support, BOX, 5, 26, 1 / (BOX * 2.5)));
	ASSERT_OK(cyc_ctf_model_create(&s->m, s->support, LAMBDA, RANGE_A));
	for (int f = 0; f < N_TILTS; f++) {
		double angle = cyc_deg_to_rad((f % 2 ? 4.0 : -4.0) * ((f + 1) / 2)), dose = 6.0 * f;
		plant(&s->sums[f], s, &tilts[f], 3 * exp(-dose / 10), &rng);
		s->fits[f] = (cyc_tilt_fit){ .has_data = true,
			                         .sin_tilt = sin(angle),
			                         .cos_tilt = cos(angle),
			                         .dose_e_per_A2 = dose,
			                         .input = { 21000 - tilts[f].z, 0, 0 },
			                         .input_scale = 1 };
		ASSERT_OK(cyc_alloc(&s->fits[f].log_l, s->m->n_z, sizeof(double)));
	}
	s->series = (cyc_series_fit){ .n_tilts = N_TILTS, .tilts = s->fits };
	s->all = (cyc_series_sums){ .n_tilts = N_TILTS, .tilts = s->sums };
}

static void specimen_estimate(specimen *s)
{
	cyc_ctf_widths w = cyc_ctf_widths_default();
	const cyc_ctf_estimate_options o = {
		.do_defocus = true, .do_scale = true, .learn = true, .n_threads = 2
	};
	const cyc_series_sums *const list[] = { &s->all };
	ASSERT_OK(cyc_ctf_estimate(&s->series, &w, s->m, list, 1, &o));
}

static void specimen_destroy(specimen *s)
{
	for (int f = 0; f < N_TILTS; f++) {
		cyc_free(s->sums[f].cc);
		cyc_free(s->fits[f].log_l);
	}
	cyc_ctf_model_destroy(&s->m);
	cyc_ctf_support_destroy(&s->support);
}

static void good_tilts(planted tilts[N_TILTS])
{
	for (int f = 0; f < N_TILTS; f++) tilts[f] = (planted){ .z = 30.0 * (f % 5 - 2), .S = 1 };
}

static void only_tilts_that_show_nothing_are_bad(void **state)
{
	(void)state;
	planted tilts[N_TILTS];
	specimen s;
	for (int with = 0; with < 2; with++) {
		good_tilts(tilts);
		if (with) {
			tilts[1].S = 0;
			tilts[4] = (planted){ .S = 1, .blur_A2 = 4000 };
		}
		specimen_create(&s, tilts, 1);
		specimen_estimate(&s);
		for (int f = 0; f < N_TILTS; f++) {
			const cyc_tilt_fit *t = &s.fits[f];
			bool is_bad = with && (f == 1 || f == 4);
			if ((t->p_bad > 0.5) != is_bad) fail_msg("tilt %d: bad with probability %.3f", f, t->p_bad);
			if (is_bad) continue;
			if (!(fabs(t->change.z - tilts[f].z) < 4.5 * sqrt(t->z_variance)))
				fail_msg("tilt %d: %g, not %g", f, t->change.z, tilts[f].z);
			if (!(fabs(t->log_s) < 4.5 * sqrt(t->log_s_variance) + 0.02))
				fail_msg("tilt %d: log scale %g +- %g", f, t->log_s, sqrt(t->log_s_variance));
		}
		/* The last ones have no evidence either way. */
		if (!(s.fits[N_TILTS - 1].expected_gain < 3))
			fail_msg("%g expected", s.fits[N_TILTS - 1].expected_gain);
		specimen_destroy(&s);
	}
}

static void what_lies_elsewhere_is_found(void **state)
{
	(void)state;
	planted tilts[N_TILTS];
	specimen s;
	good_tilts(tilts);
	tilts[2].shift[0] = 24;
	tilts[2].shift[1] = -17;
	tilts[3].z = -30000;
	tilts[5].z = 5000;
	specimen_create(&s, tilts, 2);
	specimen_estimate(&s);
	close_to(s.fits[2].shift_A[0], 24, 1);
	close_to(s.fits[2].shift_A[1], -17, 1);
	assert_true(s.fits[2].is_shifted && s.fits[2].p_bad < 0.5);
	for (int f = 0; f < N_TILTS; f++) {
		const cyc_tilt_fit *t = &s.fits[f];
		assert_true(t->p_bad < 0.5);
		if (!(fabs(t->change.z - tilts[f].z) < 4.5 * sqrt(t->z_variance)))
			fail_msg("tilt %d: %g +- %g, not %g", f, t->change.z, sqrt(t->z_variance), tilts[f].z);
	}
	specimen_destroy(&s);
}

/* Where most tilts show nothing, or the contrast is the other way round, it is not the tilts. */
static void majorities_are_spared(void **state)
{
	(void)state;
	planted tilts[N_TILTS];
	specimen s;
	for (int sign = -1; sign <= 0; sign++) {
		good_tilts(tilts);
		for (int f = 0; f < N_TILTS; f++) tilts[f].S = sign;
		specimen_create(&s, tilts, 3);
		specimen_estimate(&s);
		int n_bad = 0;
		for (int f = 0; f < N_TILTS; f++) {
			n_bad += s.fits[f].p_bad > 0.5;
			assert_true(isfinite(s.fits[f].change.z) && isfinite(s.fits[f].log_s) &&
			            s.fits[f].z_variance > 0);
		}
		if (n_bad > N_TILTS / 5) fail_msg("contrast %d: %d tilts are bad", sign, n_bad);
		specimen_destroy(&s);
	}
}

/* ---------------------------------------------------------------- input that was refined before */

static void a_second_fit_finds_what_the_first_did(void **state)
{
	(void)state;
	planted tilts[N_TILTS], moved[N_TILTS];
	specimen first, second;
	for (int f = 0; f < N_TILTS; f++) tilts[f] = (planted){ .z = f % 2 ? 150 : -150, .S = 1 };
	specimen_create(&first, tilts, 4);
	specimen_estimate(&first);
	/* The same images, with the first result as their CTFs. */
	for (int f = 0; f < N_TILTS; f++) {
		moved[f] = tilts[f];
		moved[f].z = tilts[f].z - first.fits[f].change.z;
	}
	specimen_create(&second, moved, 4);
	for (int f = 0; f < N_TILTS; f++) {
		second.fits[f].input.mean_A = first.fits[f].input.mean_A + first.fits[f].change.z;
		second.fits[f].given.mean_A = -first.fits[f].change.z;
	}
	specimen_estimate(&second);
	for (int f = 0; f < N_TILTS; f++) {
		const cyc_tilt_fit *a = &first.fits[f], *b = &second.fits[f];
		close_to(b->input.mean_A + b->change.z, a->input.mean_A + a->change.z, 0.35 * sqrt(a->z_variance));
		close_to(sqrt(b->z_variance), sqrt(a->z_variance), 0.15 * sqrt(a->z_variance));
	}
	specimen_destroy(&first);
	specimen_destroy(&second);
}

/* ---------------------------------------------------------------- uncertain trends */

/* Many series whose scales follow a trend, with little evidence at high tilt: errors are what is said of
 * them. */
static void errors_of_trends_are_in_the_errors_of_tilts(void **state)
{
	(void)state;
	enum { N_SERIES = 60, N = 21 };
	cyc_series_fit series[N_SERIES];
	cyc_rng rng = cyc_rng_make(8, 1, 1);
	double truth[N_SERIES][N], z2 = 0, inside = 0, n = 0;
	for (int i = 0; i < N_SERIES; i++) {
		series[i] = (cyc_series_fit){ .n_tilts = N };
		ASSERT_OK(cyc_alloc(&series[i].tilts, N, sizeof *series[i].tilts));
		double absorption = 0.3 + 0.1 * cyc_rng_normal(&rng);
		for (int f = 0; f < N; f++) {
			cyc_tilt_fit *t = &series[i].tilts[f];
			double angle = cyc_deg_to_rad(6.0 * (f - N / 2)), path = 1 / cos(angle) - 1;
			*t = (cyc_tilt_fit){
				.has_data = true, .cos_tilt = cos(angle), .sin_tilt = sin(angle), .input_scale = 1
			};
			truth[i][f] = -absorption * path + 0.03 * cyc_rng_normal(&rng);
			t->input_scale = exp(truth[i][f] + 0.3 * path + 0.1 * cyc_rng_normal(&rng));
			t->log_s_information = 2500 * exp(-3 * path);
			t->log_s_data =
				truth[i][f] - log(t->input_scale) + cyc_rng_normal(&rng) / sqrt(t->log_s_information);
		}
	}
	cyc_ctf_widths w = cyc_ctf_widths_default();
	ASSERT_OK(cyc_hierarchy_scale(&w, series, N_SERIES, true));
	for (int i = 0; i < N_SERIES; i++) {
		for (int f = 0; f < N; f++) {
			const cyc_tilt_fit *t = &series[i].tilts[f];
			double z = (log(t->input_scale) + t->log_s - truth[i][f]) / sqrt(t->log_s_variance);
			z2 += z * z;
			inside += fabs(z) < 1;
			n++;
		}
		cyc_free(series[i].tilts);
	}
	if (!(sqrt(z2 / n) > 0.85 && sqrt(z2 / n) < 1.15 && inside / n > 0.6 && inside / n < 0.76))
		fail_msg("RMS of error/sigma %.2f, %.2f within one", sqrt(z2 / n), inside / n);
}

/* ---------------------------------------------------------------- self-correlation */

static void self_correlation_left_is_measured(void **state)
{
	(void)state;
	planted tilts[N_TILTS];
	specimen s;
	cyc_self_excess left;
	for (int f = 0; f < N_TILTS; f++) tilts[f] = (planted){ .z = f % 2 ? 600 : -600, .S = 0.3 };
	specimen_create(&s, tilts, 6);
	for (int f = 0; f < N_TILTS; f++) {
		cyc_tilt_sums *t = &s.sums[f];
		for (int32_t i = 0; i < s.support->n; i++) {
			t->self_c[i] = 0.5F * t->cc[i];
			t->self_q[i] = 0.5F * t->cq[i];
			t->xc_re[i] -= 0.4F * t->self_c[i];
			t->xq_re[i] -= 0.4F * t->self_q[i];
		}
		s.fits[f].change.z = tilts[f].z;
	}
	const cyc_series_sums *const list[] = { &s.all };
	ASSERT_OK(cyc_self_excess_measure(&left, &s.series, s.m, list, 1, 2));
	if (!(fabs(left.value + 0.4) < 3 * left.error + 0.1 && left.error < 0.15))
		fail_msg("%g +- %g of it is left, not -0.4", left.value, left.error);
	double before = left.value;
	cyc_self_excess_take(&s.all, s.support->n, left.value);
	ASSERT_OK(cyc_self_excess_measure(&left, &s.series, s.m, list, 1, 1));
	close_to(left.value, 0, 0.2 * fabs(before));
	/* Before any image is seen: up to half too much or too little, and nothing is done about it. (T4.31) */
	static const double SD_BEFORE = 0.5;
	ASSERT_OK(cyc_self_excess_measure(&left, &s.series, s.m, list, 0, 1));
	close_to(left.value, 0, 0);
	close_to(left.error, SD_BEFORE, 1e-12);
	specimen_destroy(&s);
}

/* ---------------------------------------------------------------- from end to end */

enum { ROW_SHIFTED = 3, ROW_OUT_OF_FOCUS = 5 };
static const double FAR_A = 8000, AWAY_A = 22;

static void make_project(void)
{
	cyc_simulate_options p = simulated_project("bad");
	cyc_tomogram_set *s = NULL;
	p.n_series = 2;
	p.n_particles = 12;
	p.edge_px = 26;
	p.n_tilts = 21;
	p.tilt_step_rad = cyc_deg_to_rad(5);
	p.dose_e_per_A2 = 5;
	p.defocus_min_A = 12000;
	p.defocus_max_A = 15000;
	p.signal = 4;
	p.error_defocus_A = 300;
	p.n_threads = 2;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	reconstruct_project();
	ASSERT_OK(cyc_tomogram_set_read(&s, "tomograms.star", g_root));
	s->series[0].tilts[ROW_SHIFTED].shift_x_A -= AWAY_A;
	s->series[1].tilts[ROW_OUT_OF_FOCUS].defocus_u_A += FAR_A;
	s->series[1].tilts[ROW_OUT_OF_FOCUS].defocus_v_A += FAR_A;
	ASSERT_OK(cyc_tomogram_set_write(s, "edited/", g_root, CYC_WRITE_DEFOCUS | CYC_WRITE_GEOMETRY));
	cyc_tomogram_set_destroy(&s);
}

static void refine(const char *tomograms, const char *out)
{
	cyc_ctfrefine_options o;
	cyc_ctfrefine_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.input.tomograms = tomograms;
	o.out_dir = out;
	o.box_px = 48;
	o.no_figures = true;
	o.ref1 = "R/half1.mrc";
	o.ref2 = "R/half2.mrc";
	o.mask = "mask_align.mrc";
	o.n_threads = 2;
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
}

static void wrong_rows_are_mended_and_inputs_kept(void **state)
{
	(void)state;
	make_project();
	refine("edited/tomograms.star", "C1");
	refine("C1/tomograms.star", "C2");
	cyc_tomogram_set *truth = NULL, *in = NULL, *out[2] = { NULL, NULL };
	ASSERT_OK(cyc_tomogram_set_read(&truth, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&in, "edited/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&out[0], "C1/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&out[1], "C2/tomograms.star", g_root));
	const cyc_tilt *moved = &out[0]->series[0].tilts[ROW_SHIFTED],
				   *focused = &out[0]->series[1].tilts[ROW_OUT_OF_FOCUS];
	close_to(moved->shift_x_A, in->series[0].tilts[ROW_SHIFTED].shift_x_A + AWAY_A, 4);
	close_to(focused->defocus_u_A, truth->series[1].tilts[ROW_OUT_OF_FOCUS].defocus_u_A, 600);
	for (int32_t i = 0; i < 2; i++)
		for (int32_t f = 0; f < in->series[i].n_tilts; f++) {
			const cyc_tilt *first = &out[0]->series[i].tilts[f], *second = &out[1]->series[i].tilts[f];
			bool found;
			double v;
			assert_true(first->scale > 0);
			for (int k = 0; k < 2; k++) { /* of both cycles: what was there before the first */
				ASSERT_OK(cyc_tilt_input_get(&found, &v, out[k], i, f, CYC_OWN_INPUT_DEFOCUS_U));
				assert_true(found);
				close_to(v, in->series[i].tilts[f].defocus_u_A, 0.01);
			}
			if (f < 12) close_to(second->defocus_u_A, first->defocus_u_A, 250);
		}
	cyc_tomogram_set_destroy(&truth);
	cyc_tomogram_set_destroy(&in);
	for (int k = 0; k < 2; k++) cyc_tomogram_set_destroy(&out[k]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(amplitudes_are_integrated_out),
		cmocka_unit_test(only_tilts_that_show_nothing_are_bad),
		cmocka_unit_test(what_lies_elsewhere_is_found),
		cmocka_unit_test(majorities_are_spared),
		cmocka_unit_test(a_second_fit_finds_what_the_first_did),
		cmocka_unit_test(errors_of_trends_are_in_the_errors_of_tilts),
		cmocka_unit_test(self_correlation_left_is_measured),
		cmocka_unit_test(wrong_rows_are_mended_and_inputs_kept),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

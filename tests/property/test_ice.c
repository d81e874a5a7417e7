/* Contrast by the thickness of the ice, and B-factors of tilts: the law and its slope come out of scales,
 * priors hold where nothing is measured, blind tilts follow, and what is wrong in a file is put right by the
 * images. */
#include <math.h>
#include <setjmp.h>
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

/* ---------------------------------------------------------------- the law */

enum { N_TILTS = 41, N_SERIES = 3 };

typedef struct {
	cyc_tilt tilts[N_TILTS];
	cyc_tilt_series ts;
	cyc_ice_series ice;
	double luminance, thickness, angle;
} specimen;

/* Tilts of +-range about an axis turned in the plane; scales of the law with noise. */
static void specimen_create(specimen *s, int i, double range_deg, double thickness, double angle_deg,
                            double dose, double noise)
{
	cyc_rng rng = cyc_rng_make(8, 1, (uint64_t)i);
	memset(s, 0, sizeof *s);
	s->ts = (cyc_tilt_series){ .n_tilts = N_TILTS, .tilts = s->tilts, .name = (char[]){ "TS" } };
	for (int f = 0; f < N_TILTS; f++) {
		s->tilts[f].has_angles = true;
		s->tilts[f].ytilt_rad = cyc_deg_to_rad(range_deg * (2.0 * f / (N_TILTS - 1) - 1));
		s->tilts[f].zrot_rad = cyc_deg_to_rad(85 - 30 * i);
	}
	ASSERT_OK(cyc_ice_series_init(&s->ice, &s->ts));
	s->luminance = 0.4;
	s->thickness = thickness;
	s->angle = cyc_deg_to_rad(angle_deg);
	s->ice.dose = dose;
	for (int f = 0; f < N_TILTS; f++) {
		/* About the tilt axis y the beam is (-sin, 0, cos) in the tomogram; the normal the same with the
		 * other angle. */
		double path = 1 / fabs(cos(s->tilts[f].ytilt_rad + s->angle)),
			   S = dose * s->luminance * exp(-thickness * path);
		s->ice.tilts[f].scale = S * (1 + noise * cyc_rng_normal(&rng));
		s->ice.tilts[f].precision = 1 / cyc_square((noise > 0 ? noise : 1e-3) * S);
	}
}

/* -log posterior, written down again. */
static double cost(const specimen *s, double log_l, double tau, double phi)
{
	double sum = 0.5 * (cyc_square((tau - 0.3) / 1) + cyc_square(phi / cyc_deg_to_rad(20)));
	cyc_ice_series at = s->ice;
	at.log_luminance = log_l;
	at.thickness = tau;
	at.angle_rad = phi;
	for (int f = 0; f < N_TILTS; f++)
		sum +=
			0.5 * s->ice.tilts[f].precision * cyc_square(cyc_ice_scale(NULL, &at, f) - s->ice.tilts[f].scale);
	return sum;
}

static void the_law_comes_out(void **state)
{
	(void)state;
	specimen s;
	for (int i = 0; i < N_SERIES; i++) {
		static const double angles[N_SERIES] = { 0, 5, -12 };
		for (int noisy = 0; noisy < 2; noisy++) {
			specimen_create(&s, i, 60, 0.35, angles[i], 1, noisy ? 0.02 : 0);
			ASSERT_OK(cyc_ice_fit(&s.ice, 1, false));
			assert_true(s.ice.is_fitted);
			cyc_vec3 n = s.ice.normal;
			double angle = cyc_rad_to_deg(atan2(n.x, n.z));
			close_to(n.x * n.x + n.y * n.y + n.z * n.z, 1, 1e-9);
			close_to(fabs(n.y), 0, 1e-6);
			close_to(fabs(angle), fabs(angles[i]), noisy ? 2 : 0.05);
			if (angles[i] != 0) assert_true(angle * angles[i] > 0);
			close_to(s.ice.thickness, 0.35, noisy ? 0.035 : 1e-3);
			close_to(exp(s.ice.log_luminance), 0.4, noisy ? 0.012 : 1e-3);
			/* An optimum of the cost, and errors that say how well it is known. */
			double L = s.ice.log_luminance, t = s.ice.thickness, p = s.ice.angle_rad, h = 1e-4,
				   at = cost(&s, L, t, p);
			double slopes[3] = { cost(&s, L + h, t, p) - cost(&s, L - h, t, p),
				                 cost(&s, L, t + h, p) - cost(&s, L, t - h, p),
				                 cost(&s, L, t, p + h) - cost(&s, L, t, p - h) };
			for (int k = 0; k < 3; k++) {
				double sd = sqrt(s.ice.covariance[k][k]);
				assert_true(fabs(slopes[k] / (2 * h)) * sd < 0.02);
				assert_true(sd > 0 && sd < 0.2);
			}
			assert_true(cost(&s, L + h, t, p) > at - 1e-9 && cost(&s, L, t, p - h) > at - 1e-9);
			if (noisy) assert_true(fabs(s.ice.thickness - 0.35) < 4 * sqrt(s.ice.covariance[1][1]));
			cyc_ice_series_deinit(&s.ice);
		}
	}
}

static void one_luminance_for_all(void **state)
{
	(void)state;
	specimen s[N_SERIES];
	cyc_ice_series list[N_SERIES];
	static const double doses[N_SERIES] = { 3, 2, 4.5 }, thickness[N_SERIES] = { 0.2, 0.6, 0.4 },
						angles[N_SERIES] = { 0, 6, -8 };
	for (int i = 0; i < N_SERIES; i++) {
		specimen_create(&s[i], i, 60, thickness[i], angles[i], doses[i], 0.02);
		list[i] = s[i].ice;
	}
	ASSERT_OK(cyc_ice_fit(list, N_SERIES, true));
	double log_luminance = list[0].log_luminance;
	for (int i = 0; i < N_SERIES; i++) {
		assert_true(list[i].log_luminance == log_luminance);
		close_to(exp(list[i].log_luminance), 0.4, 0.012);
		close_to(list[i].thickness, thickness[i], 0.035);
		cyc_ice_series_deinit(&list[i]);
	}
}

/* Scales known to 30 % leave most to the priors: the fit is where the posterior as written down here is
 * lowest. */
static void priors_count_for_what_they_are(void **state)
{
	(void)state;
	static const double STEP = 1e-3;
	specimen s;
	specimen_create(&s, 0, 40, 1.2, 0, 1, 0.3);
	ASSERT_OK(cyc_ice_fit(&s.ice, 1, false));
	assert_true(s.ice.is_fitted);
	double L = s.ice.log_luminance, t = s.ice.thickness, p = s.ice.angle_rad;
	double slope = (cost(&s, L, t + STEP, p) - cost(&s, L, t - STEP, p)) / (2 * STEP);
	print_message("thickness %.3f, slope of the posterior there %.4f\n", t, slope);
	assert_true(t > 0.05);
	close_to(slope, 0, 0.01);
	cyc_ice_series_deinit(&s.ice);
}

/* A narrow range of tilts cannot tell thickness and luminance apart, and thin ice has none: the priors hold,
 * nothing is negative. */
static void little_evidence_stays_sane(void **state)
{
	(void)state;
	specimen s;
	specimen_create(&s, 0, 8, 0.4, 0, 1, 0.05);
	ASSERT_OK(cyc_ice_fit(&s.ice, 1, false));
	assert_true(s.ice.is_fitted && s.ice.thickness >= 0 && s.ice.thickness < 3);
	for (int f = 0; f < N_TILTS; f++) close_to(cyc_ice_scale(NULL, &s.ice, f), 0.4 * exp(-0.4), 0.02);
	cyc_ice_series_deinit(&s.ice);
	specimen_create(&s, 1, 60, 0, 0, 1, 0.05);
	ASSERT_OK(cyc_ice_fit(&s.ice, 1, false));
	assert_true(s.ice.thickness >= 0 && s.ice.thickness < 0.1);
	/* Negative and missing scales count for what they are. */
	for (int f = 0; f < N_TILTS; f++) s.ice.tilts[f].precision = f < 3 ? 1 : 0;
	s.ice.is_fitted = false;
	ASSERT_OK(cyc_ice_fit(&s.ice, 1, false));
	assert_false(s.ice.is_fitted);
	cyc_ice_series_deinit(&s.ice);
}

/* ---------------------------------------------------------------- B-factors from sums */

static void planted_falloff_is_found(void **state)
{
	(void)state;
	enum { N = 9 };
	cyc_ctf_support *support = NULL;
	cyc_ctf_model *m = NULL;
	ASSERT_OK(cyc_ctf_support_create(&support, 64, 4, 28, 1 / (64 * 2.0)));
	ASSERT_OK(cyc_ctf_model_create(&m, support, 0.0197, 1500));
	cyc_tilt_sums tilts[N];
	cyc_tilt_fit fits[N];
	cyc_series_sums sums = { .n_tilts = N, .tilts = tilts };
	const cyc_series_sums *const list[] = { &sums };
	cyc_series_fit fit = { .n_tilts = N, .tilts = fits };
	size_t n = (size_t)support->n;
	memset(tilts, 0, sizeof tilts);
	memset(fits, 0, sizeof fits);
	for (int f = 0; f < N; f++) {
		cyc_tilt_sums *t = &tilts[f];
		double B = 6.0 * f - 24, S = 0.8 + 0.05 * f, angle = cyc_deg_to_rad(10.0 * (f - N / 2));
		ASSERT_OK(cyc_alloc(&t->cc, 7 * n, sizeof(float)));
		float **const lists[] = { &t->cc, &t->cq, &t->qq, &t->xc_re, &t->xc_im, &t->xq_re, &t->xq_im };
		for (size_t k = 1; k < 7; k++) *lists[k] = t->cc + k * n;
		t->n_particles = 5;
		for (size_t i = 0; i < n; i++) {
			double k2 =
				cyc_square(support->step_invA) * (cyc_square(support->x[i]) + cyc_square(support->y[i]));
			for (int k = 0; k < 5; k++) {
				double gamma = -CYC_PI * 0.0197 * (21000 + 300 * k) * k2 - 0.1, v = 400, c = -sin(gamma),
					   q = -cos(gamma), x = S * exp(-0.25 * B * k2) * c * v;
				t->cc[i] += (float)(v * c * c);
				t->cq[i] += (float)(v * c * q);
				t->qq[i] += (float)(v * q * q);
				t->xc_re[i] += (float)(x * c);
				t->xq_re[i] += (float)(x * q);
			}
		}
		fits[f] = (cyc_tilt_fit){ .has_data = true,
			                      .sin_tilt = sin(angle),
			                      .cos_tilt = cos(angle),
			                      .dose_e_per_A2 = 3 * f,
			                      .input = { 21000, 0, 0 },
			                      .input_scale = 1 };
		ASSERT_OK(cyc_alloc(&fits[f].log_l, m->n_z, sizeof(double)));
	}
	for (int with = 0; with < 2; with++) {
		cyc_ctf_widths w = cyc_ctf_widths_default();
		const cyc_ctf_estimate_options o = {
			.do_defocus = true, .do_scale = true, .n_threads = 2, .do_bfactor = with
		};
		ASSERT_OK(cyc_ctf_estimate(&fit, &w, m, list, 1, &o));
		for (int f = 0; f < N && with; f++) {
			close_to(fits[f].b, 6.0 * f - 24, 0.5);
			close_to(exp(fits[f].log_s), 0.8 + 0.05 * f, 0.01);
			assert_true(fits[f].b_variance > 0 && fits[f].b_variance < 1);
		}
		/* Without them the fall-off goes into the scale. */
		if (!with) assert_true(exp(fits[0].log_s) > 0.85 && exp(fits[N - 1].log_s) < 1.15);
	}
	for (int f = 0; f < N; f++) {
		cyc_free(tilts[f].cc);
		cyc_free(fits[f].log_l);
	}
	cyc_ctf_model_destroy(&m);
	cyc_ctf_support_destroy(&support);
}

/* ---------------------------------------------------------------- simulated projects */

static void make_project(void)
{
	cyc_simulate_options p = simulated_project("ice");
	p.n_series = 2;
	p.n_particles = 14;
	p.mean_free_path_A = 1500;
	p.edge_px = 26;
	p.n_tilts = 21;
	p.tilt_step_rad = cyc_deg_to_rad(5);
	p.dose_e_per_A2 = 4;
	p.defocus_min_A = 9000;
	p.defocus_max_A = 12000;
	p.signal = 4;
	p.error_defocus_A = p.error_astigmatism_A = p.error_shift_A = p.error_position_A =
		p.error_orientation_rad = 0;
	p.error_scale = 0.25;
	p.n_threads = 2;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	reconstruct_project();
	/* Row 3 of the first series moved away from all particles; B-factors that are not there in every second
	 * row. */
	cyc_tomogram_set *s = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&s, "tomograms.star", g_root));
	s->series[0].tilts[3].shift_x_A = 4000;
	ASSERT_OK(cyc_tomogram_set_write(s, "edited/", g_root, CYC_WRITE_SCALE | CYC_WRITE_GEOMETRY));
	for (int i = 0; i < 2; i++)
		for (int f = 1; f < 21; f += 2) s->series[i].tilts[f].bfactor_A2 = 200;
	ASSERT_OK(cyc_tomogram_set_write(s, "edited2/", g_root, CYC_WRITE_BFACTOR));
	cyc_tomogram_set_destroy(&s);
}

static cyc_ctfrefine_options options(const char *tomograms, const char *out)
{
	cyc_ctfrefine_options o;
	cyc_ctfrefine_options_default(&o);
	o.input.root = g_root;
	o.input.optimisation_set = "optimisation_set.star";
	o.input.tomograms = tomograms;
	o.ref1 = "R/half1.mrc";
	o.ref2 = "R/half2.mrc";
	o.mask = "mask_align.mrc";
	o.out_dir = out;
	o.box_px = 48;
	o.no_figures = true;
	o.n_threads = 2;
	return o;
}

/* RMS error of the log scales about their mean. */
static double scale_error(const char *tomograms)
{
	cyc_tomogram_set *truth = NULL, *s = NULL;
	double sum = 0, squares = 0, n = 0;
	ASSERT_OK(cyc_tomogram_set_read(&truth, "truth/tomograms.star", g_root));
	ASSERT_OK(cyc_tomogram_set_read(&s, tomograms, g_root));
	for (int32_t i = 0; i < s->n_series; i++)
		for (int32_t f = 0; f < s->series[i].n_tilts; f++, n++) {
			double e = log(s->series[i].tilts[f].scale / truth->series[i].tilts[f].scale);
			sum += e;
			squares += e * e;
		}
	cyc_tomogram_set_destroy(&truth);
	cyc_tomogram_set_destroy(&s);
	return sqrt(squares / n - sum * sum / n / n);
}

static void laws_for_scales(void **state)
{
	(void)state;
	static const char *const names[] = { "S_tilt/tomograms.star", "S_ice/tomograms.star",
		                                 "S_tomogram/tomograms.star", "S_global/tomograms.star" };
	double error[4];
	make_project();
	for (int k = 0; k < 4; k++) {
		char out[32];
		snprintf(out, sizeof out, "%.*s", (int)(strchr(names[k], '/') - names[k]), names[k]);
		cyc_ctfrefine_options o = options("edited/tomograms.star", out);
		o.do_defocus = false;
		o.scale_model = (cyc_scale_model)k;
		ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
		error[k] = scale_error(names[k]);
		cyc_tomogram_set *s = NULL;
		ASSERT_OK(cyc_tomogram_set_read(&s, names[k], g_root));
		cyc_star_block *b = cyc_star_find(s->star, "global");
		assert_int_equal(cyc_star_column(b, "rlnTomoRelativeIceThickness") >= 0, k > 0);
		for (int i = 0; i < 2 && k > 0; i++) {
			double tau, nz;
			ASSERT_OK(cyc_star_double_of(&tau, b, i, "rlnTomoRelativeIceThickness"));
			ASSERT_OK(cyc_star_double_of(&nz, b, i, "rlnTomoIceNormalZ"));
			close_to(tau, 700.0 / 1500, 0.15);
			assert_true(nz > 0.98);
		}
		/* The blind tilt keeps its input, or follows the law. */
		cyc_tomogram_set *in = NULL, *truth = NULL;
		ASSERT_OK(cyc_tomogram_set_read(&in, "edited/tomograms.star", g_root));
		ASSERT_OK(cyc_tomogram_set_read(&truth, "truth/tomograms.star", g_root));
		double now = s->series[0].tilts[3].scale / s->series[0].tilts[4].scale,
			   law = truth->series[0].tilts[3].scale / truth->series[0].tilts[4].scale;
		if (k == 0) close_to(s->series[0].tilts[3].scale, in->series[0].tilts[3].scale, 1e-5);
		else close_to(now / law, 1, 0.08);
		cyc_tomogram_set_destroy(&in);
		cyc_tomogram_set_destroy(&truth);
		cyc_tomogram_set_destroy(&s);
	}
	double before = scale_error("edited/tomograms.star");
	print_message(
		"scale errors: %.3f before; %.3f per tilt, %.3f with ice as prior, %.3f per tomogram, %.3f global\n",
		before, error[0], error[1], error[2], error[3]);
	for (int k = 0; k < 4; k++) assert_true(error[k] < 0.5 * before);
	assert_true(error[2] < error[0] && error[3] < error[0]);
	cyc_ctfrefine_options o = options("edited/tomograms.star", "Never");
	o.do_scale = false;
	o.scale_model = CYC_SCALE_GLOBAL;
	ASSERT_FAILS(cyc_ctfrefine_run(NULL, &o), CYC_E_USAGE, "needs scales to be refined");
}

static void wrong_bfactors_are_put_right(void **state)
{
	(void)state;
	double mean[2] = { 0, 0 };
	use_project("ice");
	cyc_ctfrefine_options o = options("edited2/tomograms.star", "B");
	o.do_bfactor = true;
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	cyc_tomogram_set *s = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&s, "B/tomograms.star", g_root));
	double lowest = 1e9;
	for (int i = 0; i < 2; i++)
		for (int f = 0; f < 10; f++) { /* low dose: these say something */
			mean[f % 2] += s->series[i].tilts[f].bfactor_A2 / 10;
			lowest = fmin(lowest, s->series[i].tilts[f].bfactor_A2);
		}
	print_message("B-factors: %.0f A2 where none were given, %.0f where 200 were\n", mean[0], mean[1]);
	close_to(mean[1] - mean[0], 0, 80);
	close_to(lowest, 0, 1e-3); /* that of the best tilts stays what it was */
	cyc_tomogram_set_destroy(&s);
	char path[200];
	cyc_star *u = NULL;
	snprintf(path, sizeof path, "%s/B/uncertainty.star", g_root);
	ASSERT_OK(cyc_star_read(&u, path));
	assert_true(cyc_star_column(cyc_star_find(u, "TS_01"), "cycBfactorError") >= 0);
	cyc_star_destroy(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_law_comes_out),
		cmocka_unit_test(one_luminance_for_all),
		cmocka_unit_test(priors_count_for_what_they_are),
		cmocka_unit_test(little_evidence_stays_sane),
		cmocka_unit_test(planted_falloff_is_found),
		cmocka_unit_test(laws_for_scales),
		cmocka_unit_test(wrong_bfactors_are_put_right),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

/* Mistakes planted in the metadata of a simulated project, each of which must be found, named and mended; and
 * none where there is none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"
#include "sanitizers.h"

#include "check/series_fit.h"
#include "cyclotomo/check.h"
#include "cyclotomo/optics.h"
#include "cyclotomo/reconstruct.h"
#include "cyclotomo/simulate.h"

enum { BOX = 96 };

/* ---------------------------------------------------------------- sums with planted values */

enum { N_PARTICLES = 30, N_TILTS = 21, N_RINGS = 30 };
typedef struct {
	double h, dose_slope, size, sign, noise;
} truth;

/* Ring sums of images that obey the model: defocus off by z_f + (h - 1) H, damage of other doses, another
 * size; with noise of unit power. */
static cyc_ring_sums *make_sums(const double *dose, const truth *t, uint64_t seed)
{
	cyc_ring_sums *s = NULL;
	cyc_rng rng = cyc_rng_make(seed, 1, 2);
	const size_t n = (size_t)N_PARTICLES * N_TILTS;
	ASSERT_OK(cyc_alloc(&s, 1, sizeof *s));
	*s = (cyc_ring_sums){ .n_particles = N_PARTICLES,
		                  .n_tilts = N_TILTS,
		                  .n_rings = N_RINGS,
		                  .n_images = (int64_t)n,
		                  .has_stretch = true };
	ASSERT_OK(cyc_alloc(&s->k_invA, N_RINGS, sizeof(double)));
	ASSERT_OK(cyc_alloc(&s->is_seen, n, sizeof(bool)));
	ASSERT_OK(cyc_alloc(&s->height_A, n, sizeof(double)));
	ASSERT_OK(cyc_alloc(&s->sums, n * N_RINGS * CYC_RING_N, sizeof(float)));
	ASSERT_OK(cyc_alloc(&s->noise, (size_t)N_TILTS * N_RINGS, sizeof(double)));
	for (int r = 0; r < N_RINGS; r++) s->k_invA[r] = (r + 6) / 200.0;
	for (int i = 0; i < N_TILTS * N_RINGS; i++) s->noise[i] = 1;
	for (int p = 0; p < N_PARTICLES; p++) {
		double x = 800 * (cyc_rng_uniform(&rng) - 0.5) * 2, z = 200 * (cyc_rng_uniform(&rng) - 0.5);
		for (int f = 0; f < N_TILTS; f++) {
			size_t i = (size_t)p * N_TILTS + (size_t)f;
			double angle = cyc_deg_to_rad(6 * (f - N_TILTS / 2)), wrong = 200 * sin(7.0 * f);
			s->is_seen[i] = true;
			s->height_A[i] = x * sin(angle) + z * cos(angle);
			float *ring = cyc_ring_sums_of(s, p, f);
			for (int r = 0; r < N_RINGS; r++, ring += CYC_RING_N) {
				double k = s->k_invA[r], k2 = k * k, unit = CYC_PI * 0.0197;
				double gamma = -unit * (20000 + s->height_A[i]) * k2 - 0.1, c = -sin(gamma), q = -cos(gamma);
				double delta = -unit * (wrong + (t->h - 1) * s->height_A[i]) * k2,
					   c_true = c * cos(delta) + q * sin(delta);
				double v2 = 40 * exp(-20 * k2), overlap = -0.3 * v2, g2 = 4 * v2;
				double damage =
					t->sign * 0.9 *
					cyc_dose_weight(k, t->dose_slope * dose[f] + (t->dose_slope < 0 ? 120 : 0), 0);
				/* x = damage c_true V((1 + m) k) = damage c_true (V + m G), noise of variance 1/2 in each
				 * part of (T9.1). */
				double xv = damage * c_true * (v2 + t->size * overlap),
					   xg = damage * c_true * (overlap + t->size * g2);
				double n1 = t->noise * sqrt(0.5 * v2) * cyc_rng_normal(&rng),
					   n2 = t->noise * sqrt(0.5 * g2) * cyc_rng_normal(&rng);
				ring[CYC_RING_XC] = (float)((xv + n1) * c);
				ring[CYC_RING_XQ] = (float)((xv + n1) * q);
				ring[CYC_RING_GC] = (float)((xg + n2) * c);
				ring[CYC_RING_GQ] = (float)((xg + n2) * q);
				const double pairs[3] = { c * c, c * q, q * q };
				for (int j = 0; j < 3; j++) {
					ring[CYC_RING_CC + j] = (float)(v2 * pairs[j]);
					ring[CYC_RING_VGCC + j] = (float)(overlap * pairs[j]);
					ring[CYC_RING_GGCC + j] = (float)(g2 * pairs[j]);
				}
			}
		}
	}
	return s;
}

static cyc_series_evidence fit_sums(const truth *t, uint64_t seed)
{
	double dose[N_TILTS], angle[N_TILTS];
	for (int f = 0; f < N_TILTS; f++) {
		angle[f] = cyc_deg_to_rad(6 * (f - N_TILTS / 2));
		dose[f] = fabs(6.0 * (2 * (f - N_TILTS / 2))) + (f > N_TILTS / 2 ? -6 : 0);
	}
	cyc_ring_sums *s = make_sums(dose, t, seed);
	const cyc_series_optics optics = { 0.0197, 0, dose, angle };
	cyc_series_evidence e = { .name = "TS", .hand = { CYC_NAN, CYC_NAN }, .stretch = { CYC_NAN, CYC_NAN } };
	ASSERT_OK(cyc_series_fit_images(&e, s, &optics));
	cyc_ring_sums_destroy(&s);
	return e;
}

/* Values come out, errors hold: over draws the differences are as large as the errors say. */
static void measurements_are_right_and_so_are_their_errors(void **state)
{
	(void)state;
	enum { N_DRAWS = 16 };
	static const truth cases[] = { { 1, 1, 0, 1, 1 }, { -1, 1, 0.015, 1, 1 }, { 1, -1, -0.01, -1, 1 } };
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		const truth *t = &cases[k];
		double z2[3] = { 0 };
		for (int draw = 0; draw < N_DRAWS; draw++) {
			cyc_series_evidence e = fit_sums(t, 100 * k + (uint64_t)draw);
			z2[0] += cyc_square((e.hand.value - t->h) / e.hand.error);
			z2[1] += cyc_square((e.dose.value - t->dose_slope) / e.dose.error);
			z2[2] += cyc_square((e.stretch.value - t->size) / e.stretch.error);
			assert_true(e.hand.error < 0.1 && e.dose.error < 0.1 && e.stretch.error < 0.004);
			assert_true((e.contrast.value > 0) == (t->sign > 0));
			assert_true((e.hand_gain > 50) == (t->h < 0) && (e.hand_gain < -50) == (t->h > 0));
			assert_true((e.dose_gain > 50) == (t->dose_slope < 0) &&
			            (e.dose_gain < -50) == (t->dose_slope > 0));
		}
		/* Mean square of (value - truth) / error over 16 draws: 1 +- 0.35. */
		for (int i = 0; i < 3; i++)
			if (!(z2[i] / N_DRAWS > 0.3 && z2[i] / N_DRAWS < 2.2))
				fail_msg("case %d, quantity %d: mean square %.2f", (int)k, i, z2[i] / N_DRAWS);
	}
}

/* Images of nothing say nothing: no verdict. */
static void noise_says_nothing(void **state)
{
	(void)state;
	int n_certain = 0;
	for (uint64_t seed = 0; seed < 12; seed++) {
		static const truth nothing = { 1, 1, 0, 1e-6, 1 };
		cyc_series_evidence e = fit_sums(&nothing, seed);
		assert_false(e.hand_gain > 12.5 && 1 - e.hand.value > 5 * e.hand.error && e.hand.value < 0);
		assert_false(e.dose_gain > 12.5 && 1 - e.dose.value > 5 * e.dose.error && e.dose.value < 0);
		n_certain += (e.hand.error < 0.2) + (e.dose.error < 0.2);
	}
	/* An error that says "known" where nothing is known would be as bad as a false verdict. */
	assert_true(n_certain <= 2);
}

/* ---------------------------------------------------------------- a project */

typedef enum { NONE, HAND_ONE, DOSE, NO_DOSE, STAGE, INVERTED, SIZE, GREY } mistake;

static void edit_column(const char *name, const char *block, int64_t only_row, const char *label,
                        double factor, double term)
{
	cyc_star *star = NULL;
	cyc_star_block *b;
	int32_t column;
	ASSERT_OK(cyc_star_read(&star, temp_path(name)));
	ASSERT_OK(cyc_star_require(&b, star, block));
	ASSERT_OK(cyc_star_ensure_column(&column, b, label, strncmp(label, "rlnMagMat", 9) == 0 ? "1" : "0"));
	for (int64_t r = 0; r < cyc_star_n_rows(b); r++) {
		double v;
		if (only_row >= 0 && r != only_row) continue;
		ASSERT_OK(cyc_star_double(&v, b, r, column));
		ASSERT_OK(cyc_star_set_double(b, r, column, factor * v + term));
	}
	ASSERT_OK(cyc_star_write(star, temp_path(name)));
	cyc_star_destroy(&star);
}

/* The second series gets optics group 2, whose magnification the images do not have. */
static void plant_size(double size)
{
	cyc_star *star = NULL;
	cyc_star_block *optics, *particles;
	int64_t row;
	ASSERT_OK(cyc_star_read(&star, temp_path("p/particles.star")));
	ASSERT_OK(cyc_star_require(&optics, star, "optics"));
	ASSERT_OK(cyc_star_require(&particles, star, "particles"));
	ASSERT_OK(cyc_star_add_row(&row, optics));
	for (int32_t k = 0; k < cyc_star_n_columns(optics); k++)
		ASSERT_OK(cyc_star_set_text(optics, row, k, cyc_star_text(optics, 0, k)));
	ASSERT_OK(cyc_star_set_text(optics, row, cyc_star_column(optics, "rlnOpticsGroup"), "2"));
	for (int64_t r = 0; r < cyc_star_n_rows(particles); r++)
		if (strcmp(cyc_star_text_of(particles, r, "rlnTomoName"), "TS_02") == 0)
			ASSERT_OK(cyc_star_set_text(particles, r, cyc_star_column(particles, "rlnOpticsGroup"), "2"));
	ASSERT_OK(cyc_star_write(star, temp_path("p/particles.star")));
	cyc_star_destroy(&star);
	static const char *const LABELS[4] = { "rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11" };
	for (int k = 0; k < 4; k++) {
		edit_column("p/particles.star", "optics", 0, LABELS[k], 0, k % 3 == 0);
		edit_column("p/particles.star", "optics", 1, LABELS[k], 0, k % 3 == 0 ? size : 0);
	}
}

static void scale_images(float by)
{
	for (int f = 1; f <= N_TILTS; f++) {
		cyc_volume *v = NULL;
		char name[40];
		snprintf(name, sizeof name, "p/frames/TS_02_%03d.mrc", f);
		ASSERT_OK(cyc_mrc_read(&v, temp_path(name)));
		for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] *= by;
		ASSERT_OK(cyc_mrc_write(temp_path(name), v, 2, NULL));
		cyc_volume_destroy(&v);
	}
}

static void plant(mistake m)
{
	static const char *const TABLES[2] = { "p/tilt_series/TS_01.star", "p/tilt_series/TS_02.star" };
	static const char *const NAMES[2] = { "TS_01", "TS_02" };
	for (int i = 0; i < 2; i++) {
		if (m == HAND_ONE && i == 1) edit_column("p/tomograms.star", "global", i, "rlnTomoHand", -1, 0);
		if (m == DOSE) edit_column(TABLES[i], NAMES[i], -1, "rlnMicrographPreExposure", -1, 120);
		if (m == NO_DOSE) edit_column(TABLES[i], NAMES[i], -1, "rlnMicrographPreExposure", 0, 0);
		if (m == STAGE) edit_column(TABLES[i], NAMES[i], -1, "rlnTomoNominalStageTiltAngle", -1, 0);
		if (m == INVERTED) edit_column(TABLES[i], NAMES[i], -1, "rlnPhaseShift", 1, 180);
	}
	if (m == SIZE) plant_size(1.025);
	if (m == GREY) scale_images(5);
}

enum { N_FILES = 4 };
static const char *const FILES[N_FILES] = { "p/tomograms.star", "p/particles.star",
	                                        "p/tilt_series/TS_01.star", "p/tilt_series/TS_02.star" };
static char *g_right[N_FILES];

/* The project as it was simulated, with a mistake. */
static void write_tables(mistake m)
{
	for (int i = 0; i < N_FILES; i++) temp_write(FILES[i], g_right[i]);
	plant(m);
}

static void simulate(void)
{
	cyc_simulate_options o = { 0 };
	cyc_simulate_options_preset(&o, CYC_SIMULATE_DEMO);
	o.out_dir = temp_path("p");
	o.force = true;
	o.n_particles = 16;
	o.n_tilts = 21;
	o.tilt_step_rad = cyc_deg_to_rad(6);
	o.dose_e_per_A2 = 6;
	o.signal = 2;
	o.error_defocus_A = 200;
	o.n_threads = 2;
	ASSERT_OK(cyc_simulate_run(&(cyc_simulate_result){ 0 }, &o));
	for (int i = 0; i < N_FILES; i++) {
		size_t n;
		ASSERT_OK(cyc_read_file(&g_right[i], &n, temp_path(FILES[i])));
	}
}

static void reconstruct(const char *set, const char *out)
{
	cyc_reconstruct_options o;
	cyc_reconstruct_result r = { 0 };
	cyc_reconstruct_options_default(&o);
	o.input = (cyc_project_input){ .root = temp_path("p"), .optimisation_set = set };
	o.out_dir = out;
	o.box_px = 128;
	o.crop_px = BOX;
	o.symmetry = "O";
	o.crop_images = true;
	o.n_threads = 2;
	ASSERT_OK(cyc_reconstruct_run(&r, &o));
	cyc_reconstruct_result_deinit(&r);
}

static void check(cyc_check_result *r, const char *set, const char *fix)
{
	cyc_check_options o;
	cyc_check_options_default(&o);
	o.input = (cyc_project_input){ .root = temp_path("p"), .optimisation_set = set };
	o.mask = "mask_align.mrc";
	o.is_deep = true;
	o.box_px = 128;
	o.fix_dir = fix;
	o.n_threads = 2;
	ASSERT_OK(cyc_check_run(r, &o));
	for (int32_t i = 0; i < r->found.n; i++) {
		char *text = NULL;
		ASSERT_OK(cyc_finding_text(&text, &r->found.items[i]));
		assert_non_null(r->found.items[i].action);
		assert_non_null(strstr(text, r->found.items[i].series));
		cyc_free(text);
	}
}

/* All findings are of one kind and about these series, with much evidence. */
static void expect(const cyc_check_result *r, const char *kind, const char *column, int32_t first, int32_t n,
                   double least_sigma)
{
	if (r->found.n != n)
		fail_msg("%d findings instead of %d of the kind %s", r->found.n, n, kind ? kind : "none");
	for (int32_t i = 0; i < n; i++) {
		const cyc_finding *f = &r->found.items[i];
		assert_string_equal(f->kind, kind);
		assert_string_equal(f->column, column);
		assert_int_equal(f->i_series, first + i);
		if (!(f->sigma >= least_sigma)) fail_msg("%s: %.1f standard errors", kind, f->sigma);
	}
}

static void same_numbers(const char *a, const char *b, const char *block, const char *label)
{
	cyc_star *star[2] = { NULL, NULL };
	cyc_star_block *rows[2];
	ASSERT_OK(cyc_star_read(&star[0], temp_path(a)));
	ASSERT_OK(cyc_star_read(&star[1], temp_path(b)));
	for (int i = 0; i < 2; i++) ASSERT_OK(cyc_star_require(&rows[i], star[i], block));
	assert_int_equal(cyc_star_n_rows(rows[0]), cyc_star_n_rows(rows[1]));
	for (int64_t r = 0; r < cyc_star_n_rows(rows[0]); r++) {
		double v[2];
		for (int i = 0; i < 2; i++) ASSERT_OK(cyc_star_double_of(&v[i], rows[i], r, label));
		if (!(fabs(v[0] - v[1]) < 1e-4)) fail_msg("%s row %d: %g and %g", label, (int)r, v[0], v[1]);
	}
	for (int i = 0; i < 2; i++) cyc_star_destroy(&star[i]);
}

/* Columns that were made wrong are those of the simulation again, and those that were right still are. */
static void are_right(const char *fixed, mistake m)
{
	static const char *const LABELS[] = { "rlnMicrographPreExposure", "rlnTomoNominalStageTiltAngle",
		                                  "rlnTomoYTilt" };
	char path[2][64];
	if (m == INVERTED || m == SIZE) return;
	for (int i = 0; i < 2; i++) {
		const char *name = i == 0 ? "TS_01" : "TS_02";
		snprintf(path[0], sizeof path[0], "p/%s/tilt_series/%s.star", fixed, name);
		snprintf(path[1], sizeof path[1], "right/%s.star", name);
		temp_write(path[1], g_right[2 + i]);
		for (size_t l = 0; l < sizeof LABELS / sizeof *LABELS; l++)
			same_numbers(path[0], path[1], name, LABELS[l]);
	}
	snprintf(path[0], sizeof path[0], "p/%s/tomograms.star", fixed);
	temp_write("right/tomograms.star", g_right[0]);
	same_numbers(path[0], "right/tomograms.star", "global", "rlnTomoHand");
}

static void each_mistake_is_found_and_mended(void **state)
{
	(void)state;
	static const struct {
		mistake m;
		const char *kind, *column;
		int32_t first, n;
		double least_sigma;
	} cases[] = {
		{ NONE, NULL, NULL, 0, 0, 0 },
		{ HAND_ONE, "hand", "rlnTomoHand", 1, 1, 8 },
		{ DOSE, "dose", "rlnMicrographPreExposure", 0, 2, 10 },
		{ NO_DOSE, "no-dose", "rlnMicrographPreExposure", 0, 2, 10 },
		{ STAGE, "stage-sign", "rlnTomoNominalStageTiltAngle", 0, 2, 100 },
		{ INVERTED, "contrast", "rlnPhaseShift", 0, 2, 10 },
		{ SIZE, "pixel-size", "rlnTomoTiltSeriesPixelSize", -1, 1, 8 },
		{ GREY, "grey-values", "rlnMicrographName", 1, 1, 50 },
	};
	simulate();
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		cyc_check_result r = { 0 }, again = { 0 };
		char maps[32], set[64], fixed[32];
		snprintf(maps, sizeof maps, "R%d", (int)k);
		snprintf(set, sizeof set, "R%d/optimisation_set.star", (int)k);
		snprintf(fixed, sizeof fixed, "F%d", (int)k);
		write_tables(cases[k].m);
		reconstruct("optimisation_set.star", maps);
		check(&r, set, fixed);
		/* Of two series of different size either may be named. */
		expect(&r, cases[k].kind, cases[k].column,
		       cases[k].first < 0 && r.found.n > 0 ? r.found.items[0].i_series : cases[k].first, cases[k].n,
		       cases[k].least_sigma);
		if (cases[k].m == NONE || cases[k].m == NO_DOSE || cases[k].m == GREY) {
			assert_null(r.fixed_set);
		} else {
			assert_non_null(r.fixed_set);
			assert_int_equal(r.n_fixed, cases[k].n);
			are_right(fixed, cases[k].m);
		}
		/* What no table of the simulation can be compared with shows in new maps. */
		if (!IS_SANITIZED && (cases[k].m == INVERTED || cases[k].m == SIZE)) {
			snprintf(set, sizeof set, "G%d/optimisation_set.star", (int)k);
			snprintf(maps, sizeof maps, "G%d", (int)k);
			reconstruct(r.fixed_set, maps);
			check(&again, set, NULL);
			assert_int_equal(again.found.n, 0);
		}
		cyc_check_result_deinit(&r);
		cyc_check_result_deinit(&again);
	}
}

static void a_project_is_never_written_over(void **state)
{
	(void)state;
	cyc_check_result r = { 0 };
	cyc_check_options o;
	char *json = NULL;
	write_tables(STAGE);
	cyc_check_options_default(&o);
	o.input = (cyc_project_input){ .root = temp_path("p"), .optimisation_set = "optimisation_set.star" };
	o.fix_dir = "";
	ASSERT_FAILS(cyc_check_run(&r, &o), CYC_E_USAGE, "--fix");
	cyc_check_result_deinit(&r);
	o.fix_dir = ".";
	ASSERT_FAILS(cyc_check_run(&r, &o), CYC_E_USAGE, "the project itself");
	cyc_check_result_deinit(&r);
	/* Tables alone need no maps; images do. */
	o.fix_dir = "only_tables";
	ASSERT_OK(cyc_check_run(&r, &o));
	/* The images are those of the last case, whose grey values differ: seen without maps, too. */
	assert_int_equal(r.found.n, 3);
	assert_string_equal(r.found.items[0].kind, "stage-sign");
	assert_string_equal(r.found.items[1].kind, "grey-values");
	assert_string_equal(r.found.items[2].kind, "stage-sign");
	assert_true(temp_exists("p/only_tables/optimisation_set.star"));
	ASSERT_OK(cyc_check_json(&json, &r));
	assert_non_null(strstr(json, "\"kind\": \"stage-sign\""));
	cyc_free(json);
	cyc_check_result_deinit(&r);
	o.fix_dir = NULL;
	o.is_deep = true;
	ASSERT_FAILS(cyc_check_run(&r, &o), CYC_E_USAGE, "half maps", "--ref1");
	cyc_check_result_deinit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(measurements_are_right_and_so_are_their_errors),
		cmocka_unit_test(noise_says_nothing),
		cmocka_unit_test(each_mistake_is_found_and_mended),
		cmocka_unit_test(a_project_is_never_written_over),
	};
	int failed = cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
	for (int i = 0; i < N_FILES; i++) cyc_free(g_right[i]);
	return failed;
}

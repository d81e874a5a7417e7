/* RELION projects: what is read, what is refused, what is written. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"
#include "small_project.h"

/* Before each test, so that none sees what another has left. */
static int set_up(void **state)
{
	(void)state;
	small_project_write();
	return 0;
}
#define PROJECT_TEST(f) cmocka_unit_test_setup(f, set_up)

static char g_log[4096];
static void keep_log(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	(void)level;
	size_t n = strlen(g_log);
	snprintf(g_log + n, sizeof g_log - n, "%s\n", text);
}
static void begin_log(void)
{
	g_log[0] = '\0';
	cyc_log_set_sink(keep_log, NULL, CYC_LOG_INFO);
}
static int count_in_log(const char *text)
{
	int n = 0;
	for (const char *p = g_log; (p = strstr(p, text)) != NULL; p++) n++;
	return n;
}

static void replace(char *out, size_t size, const char *text, const char *old, const char *with)
{
	const char *p = strstr(text, old);
	assert_non_null(p);
	snprintf(out, size, "%.*s%s%s", (int)(p - text), text, with, p + strlen(old));
}

static cyc_tomogram_set *read_tomograms(void)
{
	cyc_tomogram_set *s = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&s, "tomograms.star", temp_dir));
	return s;
}

/* ---------------------------------------------------------------- optimisation set */

static void optimisation_set(void **state)
{
	(void)state;
	cyc_optimisation_set *s = NULL, *c = NULL;
	temp_write("o.star", "data_\n\n_rlnTomoParticlesFile  p.star\n_rlnTomoTomogramsFile "
	                     "t.star\n_rlnTomoTrajectoriesFile \"\"\n");
	ASSERT_OK(cyc_optimisation_set_read(&s, temp_path("o.star")));
	assert_string_equal(s->particles, "p.star");
	assert_string_equal(s->tomograms, "t.star");
	assert_null(s->trajectories);
	ASSERT_OK(cyc_strdup(&s->reference_fsc, "with blank.star"));
	ASSERT_OK(cyc_optimisation_set_copy(&c, s));
	cyc_optimisation_set_destroy(&s);
	ASSERT_OK(cyc_optimisation_set_write(c, temp_path("o2.star")));
	cyc_optimisation_set_destroy(&c);
	ASSERT_OK(cyc_optimisation_set_read(&s, temp_path("o2.star")));
	assert_string_equal(s->tomograms, "t.star");
	assert_string_equal(s->reference_fsc, "with blank.star");
	assert_null(s->reference_map1);
	cyc_optimisation_set_destroy(&s);
	/* A picker writes a table of one row. */
	temp_write("o.star",
	           "data_optimisation_set\nloop_\n_rlnTomoTomogramsFile\n_rlnTomoParticlesFile\nt.star p.star\n");
	ASSERT_OK(cyc_optimisation_set_read(&s, temp_path("o.star")));
	assert_string_equal(s->particles, "p.star");
	cyc_optimisation_set_destroy(&s);
	temp_write("o.star", "data_x\n_a 1\n");
	ASSERT_FAILS(cyc_optimisation_set_read(&s, temp_path("o.star")), CYC_E_FORMAT, "o.star",
	             "_rlnTomoParticlesFile");
	temp_write("o.star", "data_x\nloop_\n_rlnTomoParticlesFile\na\nb\n");
	ASSERT_FAILS(cyc_optimisation_set_read(&s, temp_path("o.star")), CYC_E_FORMAT, "o.star", "one row",
	             "found 2");
	temp_write("o.star", "data_\n_rlnTomoParticlesFile p.star\n\ndata_\n_rlnTomoParticlesFile q.star\n");
	ASSERT_FAILS(cyc_optimisation_set_read(&s, temp_path("o.star")), CYC_E_DATA, "o.star", "2 blocks ''");
	temp_write("o.star", "data_\n_rlnTomoParticlesFile p.star\n_rlnTomoTrajectoriesFile None\n");
	ASSERT_OK(cyc_optimisation_set_read(&s, temp_path("o.star")));
	assert_null(s->trajectories);
	cyc_optimisation_set_destroy(&s);
	temp_write("o.star", "");
	ASSERT_FAILS(cyc_optimisation_set_read(&s, temp_path("o.star")), CYC_E_FORMAT, "o.star");
	assert_null(s);
}

static void resolve(void **state)
{
	(void)state;
	cyc_optimisation_set *s = NULL;
	temp_write("o.star", "data_\n_rlnTomoParticlesFile p.star\n_rlnTomoTomogramsFile "
	                     "t.star\n_rlnTomoTrajectoriesFile m.star\n");
	cyc_project_input in = { .root = temp_dir, .optimisation_set = "o.star", .particles = "mine.star" };
	/* What only the set names has to be there. */
	ASSERT_FAILS(cyc_project_resolve(&s, &in), CYC_E_IO, "t.star", "o.star", "_rlnTomoTomogramsFile");
	temp_write("t.star", "");
	ASSERT_FAILS(cyc_project_resolve(&s, &in), CYC_E_IO, "m.star", "o.star", "_rlnTomoTrajectoriesFile");
	temp_write("m.star", "");
	ASSERT_OK(cyc_project_resolve(&s, &in));
	assert_string_equal(s->particles, "mine.star");
	assert_string_equal(s->tomograms, "t.star");
	assert_string_equal(s->trajectories, "m.star");
	cyc_optimisation_set_destroy(&s);
	in = (cyc_project_input){ .particles = "p.star" };
	ASSERT_FAILS(cyc_project_resolve(&s, &in), CYC_E_USAGE, "tomograms");
	in = (cyc_project_input){ .tomograms = "t.star" };
	ASSERT_FAILS(cyc_project_resolve(&s, &in), CYC_E_USAGE, "particles");
	assert_non_null(strstr(cyc_error_get()->hint, "--p"));
	in = (cyc_project_input){ .root = temp_dir, .optimisation_set = "nothing.star" };
	ASSERT_FAILS(cyc_project_resolve(&s, &in), CYC_E_IO, "nothing.star");
	assert_null(s);
}

/* ---------------------------------------------------------------- tomograms */

static void tomograms_relion5(void **state)
{
	(void)state;
	begin_log();
	cyc_tomogram_set *s = read_tomograms();
	assert_int_equal(count_in_log("contrast scale of 0"), 1);
	assert_int_equal(s->n_series, 2);
	assert_false(s->is_relion4);
	const cyc_tilt_series *a = &s->series[0], *b = &s->series[1];
	assert_string_equal(a->name, "TS_01");
	assert_string_equal(a->optics_group_name, "og1");
	assert_true(a->hand == -1.0 && b->hand == 1.0 && a->pixel_size_A == 2.0 && a->voltage_kV == 300.0);
	assert_int_equal(b->size_px[0], 200);
	assert_int_equal(a->n_tilts, 3);
	assert_true(a->defocus_slope == 1.0 && a->bfactor_per_dose_A2 == 0.0);
	assert_true(a->fractional_dose_e_per_A2 == 3.0 && b->fractional_dose_e_per_A2 == 0.0);
	const cyc_tilt *t = &a->tilts[1];
	assert_string_equal(t->image, "frames/a2.mrc");
	assert_true(t->has_angles && !t->has_matrix && !t->has_nominal_tilt);
	assert_true(fabs(t->defocus_angle_rad + CYC_PI / 6) < 1e-15 && t->shift_y_A == -6.0 &&
	            t->phase_shift_rad == 0.0);
	assert_true(fabs(a->tilts[0].ytilt_rad - 25 * CYC_PI / 180) < 1e-15);
	assert_true(a->tilts[0].scale == 0.9 && a->tilts[2].scale == 0.0);
	int32_t order[3];
	cyc_tilt_series_chronological(order, a);
	assert_int_equal(order[0], 1);
	assert_int_equal(order[1], 2);
	assert_int_equal(order[2], 0);
	cyc_tilt_series_chronological(order, b);
	assert_int_equal(order[0], 0);
	assert_int_equal(order[1], 1);
	assert_int_equal(cyc_tomogram_set_find(s, "TS_02"), 1);
	assert_int_equal(cyc_tomogram_set_find(s, "TS_03"), -1);
	cyc_tomogram_set_destroy(&s);
}

#define RELION4                                                                                              \
	TOMOGRAMS_HEAD "_rlnTomoTiltSeriesName\n_rlnTomoFrameCount\nTS_04 300 2.7 0.1 1.35 -1 4000 4000 2000 "   \
				   "og x stack.mrc 2\n\n"                                                                    \
				   "data_TS_04\nloop_\n_rlnTomoProjX\n_rlnTomoProjY\n_rlnTomoProjZ\n_rlnTomoProjW\n_"        \
				   "rlnDefocusU\n_rlnDefocusV\n"                                                             \
				   "_rlnDefocusAngle\n_rlnMicrographPreExposure\n"                                           \
				   "[0.0754790871,-0.9961946981,0.0435778714,3736.853350] "                                  \
				   "[0.8627299157,0.0871557427,0.4980973491,-552.868666] "                                   \
				   "[-0.5,0,0.8660254038,133.974596] [0,0,0,1] 3e4 3e4 0 0\n"                                \
				   "[1,0,0,0] [0,1,0,0] [0,0,1,0] [0,0,0,1] 3e4 3e4 0 3\n"

/* Matrices stay in the files until geometry is written; then they become the five numbers of the worked
 * example. */
static void tomograms_relion4(void **state)
{
	(void)state;
	cyc_tomogram_set *s = NULL;
	temp_write("old/tomograms.star", RELION4);
	ASSERT_OK(cyc_tomogram_set_read(&s, "old/tomograms.star", temp_dir));
	assert_true(s->is_relion4);
	assert_string_equal(s->series[0].star_path, "old/tilt_series/TS_04.star");
	assert_string_equal(s->series[0].stack, "stack.mrc");
	const cyc_tilt *t = &s->series[0].tilts[0];
	assert_true(t->has_matrix && !t->has_angles && t->matrix[1][3] == -552.868666 && t->scale == 1.0);
	ASSERT_OK(cyc_tomogram_set_write(s, "Ctf/", temp_dir, CYC_WRITE_DEFOCUS));
	assert_null(cyc_star_find(s->star, "TS_04"));
	cyc_tomogram_set_destroy(&s);
	ASSERT_OK(cyc_tomogram_set_read(&s, "Ctf/tomograms.star", temp_dir));
	assert_false(s->is_relion4);
	assert_string_equal(s->series[0].star_path, "Ctf/old/tilt_series/TS_04.star");
	t = &s->series[0].tilts[0];
	assert_true(t->has_matrix && t->matrix[1][3] == -552.868666);
	ASSERT_FAILS(cyc_tomogram_set_write(s, "Polish", temp_dir, CYC_WRITE_GEOMETRY), CYC_E_DATA, "TS_04",
	             "size of the images");
	s->series[0].image_nx = 3838;
	s->series[0].image_ny = 3710;
	ASSERT_OK(cyc_tomogram_set_write(s, "Polish", temp_dir, CYC_WRITE_GEOMETRY));
	cyc_tomogram_set_destroy(&s);
	ASSERT_OK(cyc_tomogram_set_read(&s, "Polish/tomograms.star", temp_dir));
	t = &s->series[0].tilts[0];
	assert_true(t->has_angles && !t->has_matrix);
	assert_true(fabs(cyc_rad_to_deg(t->xtilt_rad)) < 1e-5 && fabs(cyc_rad_to_deg(t->ytilt_rad) - 30) < 1e-5 &&
	            fabs(cyc_rad_to_deg(t->zrot_rad) - 85) < 1e-5);
	assert_true(fabs(t->shift_x_A - 27.0) < 1e-4 && fabs(t->shift_y_A + 13.5) < 1e-4);
	cyc_tomogram_set_destroy(&s);
}

/* Any geometry: five numbers -> matrix by its definition -> five numbers in the file, to the digits it has.
 */
static void matrices_become_angles(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 50; i++) {
		cyc_rng r = cyc_rng_make(21, 0, i);
		cyc_tomogram_set *s = read_tomograms();
		cyc_tilt_series *ts = &s->series[0];
		ts->image_nx = 128;
		ts->image_ny = 121;
		ts->size_px[2] = 61;
		double angle[3][3], shift[3][2];
		for (int f = 0; f < 3; f++) {
			cyc_tilt *t = &ts->tilts[f];
			for (int a = 0; a < 3; a++) angle[f][a] = (cyc_rng_uniform(&r) - 0.5) * (a == 2 ? 6.0 : 2.0);
			for (int a = 0; a < 2; a++) shift[f][a] = 100.0 * cyc_rng_normal(&r);
			cyc_mat3 R = cyc_tilt_to_matrix(angle[f][0], angle[f][1], angle[f][2]);
			const double c[3] = { 50, 50, 30 }, b[3] = { 64, 60, 0 };
			for (int k = 0; k < 3; k++) {
				for (int l = 0; l < 3; l++) t->matrix[k][l] = R.m[k][l];
				t->matrix[k][3] = b[k] + (k < 2 ? shift[f][k] / ts->pixel_size_A : 3.0) - R.m[k][0] * c[0] -
				                  R.m[k][1] * c[1] - R.m[k][2] * c[2];
			}
			t->has_matrix = true;
		}
		ASSERT_OK(cyc_tomogram_set_write(s, "Geo/", temp_dir, CYC_WRITE_GEOMETRY));
		cyc_tomogram_set_destroy(&s);
		ASSERT_OK(cyc_tomogram_set_read(&s, "Geo/tomograms.star", temp_dir));
		for (int f = 0; f < 3; f++) {
			const cyc_tilt *t = &s->series[0].tilts[f];
			assert_true(fabs(t->xtilt_rad - angle[f][0]) < 2e-7 && fabs(t->ytilt_rad - angle[f][1]) < 2e-7 &&
			            fabs(t->zrot_rad - angle[f][2]) < 2e-7);
			assert_true(fabs(t->shift_x_A - shift[f][0]) < 1e-5 && fabs(t->shift_y_A - shift[f][1]) < 1e-5);
		}
		cyc_tomogram_set_destroy(&s);
	}
}

static void refuse_tilts(const char *old, const char *with, cyc_status status, const char *a, const char *b,
                         const char *c)
{
	char text[4096];
	cyc_tomogram_set *s = NULL;
	replace(text, sizeof text, TS_01, old, with);
	temp_write("Import/job001/tilt_series/TS_01.star", text);
	ASSERT_FAILS(cyc_tomogram_set_read(&s, "tomograms.star", temp_dir), status, "TS_01.star", a, b, c);
	assert_null(s);
	temp_write("Import/job001/tilt_series/TS_01.star", TS_01);
}

static void refuse_tomograms(const char *old, const char *with, cyc_status status, const char *a,
                             const char *b)
{
	char text[4096];
	cyc_tomogram_set *s = NULL;
	replace(text, sizeof text, TOMOGRAMS, old, with);
	temp_write("bad.star", text);
	ASSERT_FAILS(cyc_tomogram_set_read(&s, "bad.star", temp_dir), status, a, b);
	assert_null(s);
}

static void bad_tomograms(void **state)
{
	(void)state;
	refuse_tilts(" -30 1 q", " -30 -0.05 q", CYC_E_DATA, "line 17", "row 2", "negative: -0.05");
	refuse_tilts("_rlnDefocusV\n", "_x\n", CYC_E_FORMAT, "no column", "_rlnDefocusV", "TS_01");
	refuse_tilts("_rlnMicrographPreExposure\n", "_x\n", CYC_E_FORMAT, "no column",
	             "_rlnMicrographPreExposure", "TS_01");
	refuse_tilts("_rlnTomoZRot\n", "_x\n", CYC_E_FORMAT, "no tilt geometry", "_rlnTomoZRot", "_rlnTomoProjX");
	refuse_tilts("30000 29000 45", "30000 29x 45", CYC_E_FORMAT, "line 16", "_rlnDefocusV", "29x");
	refuse_tilts("a1.mrc 6", "a1.mrc -6", CYC_E_DATA, "line 16", "_rlnMicrographPreExposure", "-6");
	refuse_tilts(" 10 0 r", " 10 0", CYC_E_FORMAT, "line 18", "expected 12", "found 11");
	refuse_tilts("data_TS_01", "data_TS_1", CYC_E_FORMAT, "no block 'TS_01'", "'TS_1'", "TS_01.star");
	refuse_tomograms("2.0 1 200", "2.0 1.5 200", CYC_E_DATA, "_rlnTomoHand", "1.5");
	refuse_tomograms("2.0 1 200", "0 1 200", CYC_E_DATA, "_rlnTomoTiltSeriesPixelSize", "row 2");
	refuse_tomograms("2.0 1 200", "2.0 1 200.5", CYC_E_DATA, "_rlnTomoSizeX", "200.5");
	refuse_tomograms("2.7 0.1 2.0 1", "2.7 1.1 2.0 1", CYC_E_DATA, "_rlnAmplitudeContrast", "1.1");
	refuse_tomograms("TS_02 300", "TS_01 300", CYC_E_DATA, "'TS_01' occurs twice", "row 2");
	refuse_tomograms("TS_02 300", "\"\" 300", CYC_E_DATA, "no name", "row 2");
	refuse_tomograms("_rlnVoltage\n", "_x\n", CYC_E_FORMAT, "_rlnVoltage", "bad.star");
	refuse_tomograms("job001/tilt_series/TS_02.star", "job001/none.star", CYC_E_IO, "none.star",
	                 "row 2 of 'bad.star'");
	assert_non_null(strstr(cyc_error_get()->hint, "--root"));
	refuse_tomograms("data_global", "data_globl", CYC_E_FORMAT, "no block 'global'", "'globl'");
	refuse_tomograms("_rlnTomoTiltSeriesStarFile", "_y", CYC_E_FORMAT, "no block 'TS_01'", "bad.star");
	cyc_tomogram_set *s = NULL;
	temp_write("bad.star", "data_global\nloop_\n_rlnTomoName\n");
	ASSERT_FAILS(cyc_tomogram_set_read(&s, "bad.star", temp_dir), CYC_E_DATA, "0 tomograms");
	temp_write("old/tomograms.star", RELION4);
	char text[4096];
	replace(text, sizeof text, RELION4, "[0,1,0,0]", "[0,1,0]");
	temp_write("bad.star", text);
	ASSERT_FAILS(cyc_tomogram_set_read(&s, "bad.star", temp_dir), CYC_E_DATA, "_rlnTomoProjY",
	             "4 numbers, found 3", "row 2");
}

/* Plans may look at a set with negative scales; jobs may not use it. */
static void unchecked_scales(void **state)
{
	(void)state;
	char text[4096];
	cyc_tomogram_set *s = NULL;
	replace(text, sizeof text, TS_01, " -30 1 q", " -30 -0.05 q");
	temp_write("Import/job001/tilt_series/TS_01.star", text);
	ASSERT_OK(cyc_tomogram_set_read_unchecked(&s, "tomograms.star", temp_dir));
	ASSERT_FAILS(cyc_tomogram_set_check_scales(s), CYC_E_DATA, "TS_01.star", "line 17", "1 tilt in all");
	cyc_tomogram_set_destroy(&s);
	/* Refused, unless the user wants such tilts excluded: that is all that happens to them. */
	const cyc_optimisation_set set = { .tomograms = (char *)"tomograms.star" };
	cyc_project_input in = { .root = temp_dir };
	ASSERT_FAILS(cyc_project_read_tomograms(&s, &set, &in), CYC_E_DATA, "TS_01.star", "line 17", "negative");
	in.exclude_negative_scales = true;
	int64_t n_warnings = cyc_log_n_warnings();
	ASSERT_OK(cyc_project_read_tomograms(&s, &set, &in));
	assert_int_equal(cyc_log_n_warnings(),
	                 n_warnings + 2); /* one of them of the scale that is 0 in the file */
	assert_true(fabs(s->series[0].tilts[1].scale) <= 0.0);
	assert_true(fabs(s->series[0].tilts[0].scale - 0.9) < 1e-12 && fabs(s->series[0].tilts[2].scale) <= 0.0);
	cyc_tomogram_set_destroy(&s);
	temp_write("Import/job001/tilt_series/TS_01.star", TS_01);
}

static void deformations(void **state)
{
	(void)state;
	char text[4096], globals[4096];
	cyc_tomogram_set *s = NULL;
	replace(globals, sizeof globals, TOMOGRAMS, "_myOwnColumn\n", "_rlnTomoDeformationType\n");
	replace(text, sizeof text, globals, "\"my own\"", "linear");
	replace(globals, sizeof globals, text, " other ", " none ");
	temp_write("deformed.star", globals);
	replace(text, sizeof text, TS_01, "_rlnMyColumn", "_rlnTomoDeformationCoefficients");
	replace(globals, sizeof globals, text, " p\n", " [1e-3,2,3]\n");
	replace(text, sizeof text, globals, " q\n", " [1,2,-3]\n");
	replace(globals, sizeof globals, text, " r\n", " []\n");
	temp_write("Import/job001/tilt_series/TS_01.star", globals);
	ASSERT_OK(cyc_tomogram_set_read(&s, "deformed.star", temp_dir));
	assert_int_equal(s->series[0].deformation_type, CYC_DEFORMATION_LINEAR);
	assert_int_equal(s->series[1].deformation_type, CYC_DEFORMATION_NONE);
	assert_int_equal(s->series[0].tilts[1].n_deformation, 3);
	assert_true(s->series[0].tilts[1].deformation[2] == -3.0);
	assert_int_equal(s->series[0].tilts[2].n_deformation, 0);
	s->series[0].tilts[1].deformation[0] = 0.125;
	ASSERT_OK(cyc_tomogram_set_write(s, "Def/", temp_dir, CYC_WRITE_DEFORMATION));
	cyc_tomogram_set_destroy(&s);
	ASSERT_OK(cyc_tomogram_set_read(&s, "Def/tomograms.star", temp_dir));
	assert_true(s->series[0].tilts[1].deformation[0] == 0.125);
	cyc_tomogram_set_destroy(&s);
	replace(text, sizeof text, globals, "[1,2,-3]", "[1,2]");
	temp_write("Import/job001/tilt_series/TS_01.star", text);
	ASSERT_FAILS(cyc_tomogram_set_read(&s, "deformed.star", temp_dir), CYC_E_DATA, "TS_01.star", "line 17",
	             "expected 3", "found 2");
	temp_write("Import/job001/tilt_series/TS_01.star", TS_01);
}

/* How programs say that a tomogram has no deformation. */
static void no_deformation(void **state)
{
	(void)state;
	static const char *const WORDS[] = { "empty", "None", "\"\"", "<NA>", "spline", "Fourier" };
	char text[4096], globals[4096];
	cyc_tomogram_set *s = NULL;
	for (size_t k = 0; k < sizeof WORDS / sizeof *WORDS; k++) {
		replace(globals, sizeof globals, TOMOGRAMS, "_myOwnColumn\n", "_rlnTomoDeformationType\n");
		replace(text, sizeof text, globals, "\"my own\"", WORDS[k]);
		replace(globals, sizeof globals, text, " other ", " none ");
		temp_write("deformed.star", globals);
		ASSERT_OK(cyc_tomogram_set_read(&s, "deformed.star", temp_dir));
		assert_int_equal(s->series[0].deformation_type, CYC_DEFORMATION_NONE);
		cyc_tomogram_set_destroy(&s);
	}
	replace(text, sizeof text, globals, "Fourier", "bent");
	temp_write("deformed.star", text);
	ASSERT_FAILS(cyc_tomogram_set_read(&s, "deformed.star", temp_dir), CYC_E_UNSUPPORTED, "row 1", "'bent'");
}

static void write_back(void **state)
{
	(void)state;
	cyc_tomogram_set *s = read_tomograms();
	char *before = NULL, *after = NULL;
	size_t n;
	/* Nothing asked: the same values under a new path. */
	ASSERT_OK(cyc_tomogram_set_write(s, "Same/job002/", temp_dir, 0));
	assert_string_equal(s->path, "Same/job002/tomograms.star");
	assert_string_equal(s->series[0].star_path, "Same/job002/tilt_series/TS_01.star");
	ASSERT_OK(cyc_read_file(&before, &n, temp_path("Same/job002/tilt_series/TS_01.star")));
	s->series[0].tilts[1].defocus_u_A = 31234.5;
	s->series[0].tilts[1].defocus_angle_rad = -CYC_PI / 4;
	s->series[0].tilts[0].scale = 0.75;
	ASSERT_OK(cyc_tomogram_set_write(s, "Ctf/job003", temp_dir, CYC_WRITE_DEFOCUS | CYC_WRITE_SCALE));
	cyc_tomogram_set_destroy(&s);
	ASSERT_OK(cyc_tomogram_set_read(&s, "Ctf/job003/tomograms.star", temp_dir));
	assert_string_equal(s->series[1].star_path, "Ctf/job003/tilt_series/TS_02.star");
	const cyc_tilt *t = s->series[0].tilts;
	assert_true(t[1].defocus_u_A == 31234.5 && t[1].defocus_v_A == 30000.0 &&
	            fabs(t[1].defocus_angle_rad + CYC_PI / 4) < 1e-7);
	assert_true(t[0].scale == 0.75 && t[2].scale == 0.0);
	assert_string_equal(cyc_star_text_of(cyc_star_find(s->series_star[0], "TS_01"), 1, "rlnMyColumn"), "q");
	assert_string_equal(cyc_star_text_of(cyc_star_find(s->star, "global"), 0, "myOwnColumn"), "my own");
	/* Files of another job are left alone. */
	ASSERT_OK(cyc_read_file(&after, &n, temp_path("Same/job002/tilt_series/TS_01.star")));
	assert_string_equal(before, after);
	cyc_free(before);
	cyc_free(after);
	s->series[0].tilts[0].scale = -1.0;
	assert_int_equal(cyc_tomogram_set_write(s, "Bad/", temp_dir, CYC_WRITE_SCALE), CYC_E_NUMERIC);
	s->series[0].tilts[0].scale = CYC_NAN;
	assert_int_equal(cyc_tomogram_set_write(s, "Bad/", temp_dir, CYC_WRITE_SCALE), CYC_E_NUMERIC);
	assert_false(temp_exists("Bad/tomograms.star"));
	cyc_tomogram_set_destroy(&s);
}

/* ---------------------------------------------------------------- images */

static void open_images(void **state)
{
	(void)state;
	cyc_tomogram_set *s = read_tomograms();
	float *image = NULL;
	int32_t n_missing;
	bool missing[3];
	ASSERT_OK(cyc_alloc(&image, 128 * 120, sizeof *image));
	ASSERT_OK(cyc_tilt_series_find_missing(missing, &n_missing, &s->series[0], temp_dir));
	assert_int_equal(n_missing, 0);
	assert_int_equal(cyc_tilt_series_read_image(image, &s->series[0], 0), CYC_E_INTERNAL);
	ASSERT_OK(cyc_tilt_series_open(&s->series[0], temp_dir));
	ASSERT_OK(cyc_tilt_series_open(&s->series[0], temp_dir));
	ASSERT_OK(cyc_tilt_series_open(&s->series[1], temp_dir));
	assert_int_equal(s->series[1].image_nx, 128);
	assert_int_equal(s->series[1].image_ny, 120);
	ASSERT_OK(cyc_tilt_series_read_image(image, &s->series[1], 1));
	assert_true(image[0] == 2.0f);
	cyc_tomogram_set_destroy(&s);

	s = read_tomograms();
	assert_int_equal(rename(temp_path("frames/a2.mrc"), temp_path("frames/gone.mrc")), 0);
	ASSERT_OK(cyc_tilt_series_find_missing(missing, &n_missing, &s->series[0], temp_dir));
	assert_true(n_missing == 1 && missing[1] && !missing[0]);
	ASSERT_FAILS(cyc_tilt_series_open(&s->series[0], temp_dir), CYC_E_IO, "TS_01", "a2.mrc", "row 2",
	             "1 of the 3");
	assert_null(s->series[0].image_info);
	small_project_image("frames/a2.mrc", 2);
	ASSERT_FAILS(cyc_tilt_series_open(&s->series[0], temp_dir), CYC_E_SHAPE, "a2.mrc", "row 2", "2 sections");
	assert_int_equal(rename(temp_path("frames/gone.mrc"), temp_path("frames/a2.mrc")), 0);
	cyc_volume *v = NULL;
	ASSERT_OK(cyc_volume_create(&v, 128, 118, 1, 2.0));
	ASSERT_OK(cyc_mrc_write(temp_path("frames/a3.mrc"), v, 2, NULL));
	ASSERT_FAILS(cyc_tilt_series_open(&s->series[0], temp_dir), CYC_E_SHAPE, "a3.mrc", "128 x 118",
	             "128 x 120");
	assert_int_equal(truncate(temp_path("frames/a3.mrc"), 5000), 0);
	ASSERT_FAILS(cyc_tilt_series_open(&s->series[0], temp_dir), CYC_E_FORMAT, "TS_01", "row 3", "a3.mrc",
	             "truncated");
	cyc_volume_destroy(&v);
	small_project_image("frames/a3.mrc", 1);
	small_project_image("frames/b.mrcs", 1);
	ASSERT_FAILS(cyc_tilt_series_open(&s->series[1], temp_dir), CYC_E_DATA, "row 2", "section 2", "b.mrcs",
	             "has 1");
	small_project_image("frames/b.mrcs", 2);
	cyc_free(s->series[0].tilts[1].image);
	s->series[0].tilts[1].image = NULL;
	ASSERT_FAILS(cyc_tilt_series_open(&s->series[0], temp_dir), CYC_E_DATA, "row 2", "names no image");
	cyc_tomogram_set_destroy(&s);

	/* A whole stack named once: rows are sections, whatever its extension. */
	s = read_tomograms();
	small_project_image("frames/stack.mrc", 3);
	ASSERT_OK(cyc_strdup(&s->series[0].stack, "frames/stack.mrc"));
	ASSERT_OK(cyc_tilt_series_open(&s->series[0], temp_dir));
	ASSERT_OK(cyc_tilt_series_read_image(image, &s->series[0], 2));
	assert_true(image[0] == 3.0f);
	cyc_tomogram_set_destroy(&s);
	cyc_free(image);
}

/* ---------------------------------------------------------------- particles */

static void particles_relion5(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	ASSERT_OK(cyc_particle_set_read(&s, "particles.star", "motion.star", t, temp_dir));
	assert_int_equal(s->n, 5);
	assert_true(s->are_2d_stacks && s->has_halves);
	static const char *const ORDER[] = { "TS_01/1", "TS_01/7", "x", "TS_02/1", "TS_02/2" };
	static const int64_t ROWS[] = { 1, 3, 4, 0, 2 };
	static const int32_t HALVES[] = { 1, 0, 0, 0, 1 };
	for (int i = 0; i < 5; i++) {
		assert_string_equal(s->particles[i].name, ORDER[i]);
		assert_int_equal(s->particles[i].row, ROWS[i]);
		assert_int_equal(s->particles[i].half, HALVES[i]);
		assert_int_equal(s->particles[i].i_series, i < 3 ? 0 : 1);
		assert_int_equal(s->particles[i].i_optics, i < 3 ? 0 : 1);
	}
	assert_int_equal(s->series_first[0], 0);
	assert_int_equal(s->series_first[1], 3);
	assert_int_equal(s->series_first[2], 5);
	assert_true(s->particles[0].position_A.x == 12.0 && s->particles[0].position_A.y == -9.0 &&
	            s->particles[0].position_A.z == 8.0);
	assert_true(s->particles[0].R_tomo_ref.m[0][0] == 1.0 && s->particles[0].R_tomo_ref.m[0][1] == 0.0);
	assert_true(s->particles[0].motion_A[7] == 5.0f && s->particles[3].motion_A[2] == 9.0f &&
	            s->particles[1].motion_A[6] == -0.5f);
	assert_null(s->particles[0].visible_frames);
	assert_int_equal(s->n_optics, 2);
	assert_int_equal(s->optics[1].n_odd, 2);
	assert_true(s->optics[1].odd_zernike[1] == -1.0 && isnan(s->optics[1].spherical_aberration_mm));
	ASSERT_OK(cyc_particle_set_require_halves(s));
	cyc_particle_set_destroy(&s);
	cyc_tomogram_set_destroy(&t);
}

/* The offset is subtracted, and lives in the subtomogram's frame: worked example with E(0, 90, 0). */
static void poses(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	temp_write("poses.star", "data_particles\nloop_\n_rlnTomoName\n_rlnCenteredCoordinateXAngst\n_"
	                         "rlnCenteredCoordinateYAngst\n_rlnCenteredCoordinateZAngst\n"
	                         "_rlnTomoSubtomogramRot\n_rlnTomoSubtomogramTilt\n_rlnTomoSubtomogramPsi\n_"
	                         "rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n"
	                         "_rlnOriginXAngst\n_rlnOriginYAngst\n_rlnOriginZAngst\n_rlnTomoVisibleFrames\n"
	                         "TS_01 540 -270 135 0 90 0 30 40 50 2.7 0 5.4 [1,0,1]\nTS_02 0 0 0 0 0 0 30 40 "
	                         "50 1 2 3 \"[0, 1.0]\"\n");
	ASSERT_OK(cyc_particle_set_read(&s, "poses.star", NULL, t, temp_dir));
	const cyc_particle *p = s->particles;
	assert_true(fabs(p->position_A.x - 545.4) < 1e-9 && fabs(p->position_A.y + 270) < 1e-9 &&
	            fabs(p->position_A.z - 132.3) < 1e-9);
	static const double PART[3][3] = { { 0, 0, -1 }, { 0, 1, 0 }, { 1, 0, 0 } };
	static const double E[3][3] = { { 0.043412, 0.909616, -0.413176 },
		                            { -0.829598, 0.263258, 0.492404 },
		                            { 0.556670, 0.321394, 0.766044 } };
	for (int i = 0; i < 3; i++) {
		for (int j = 0; j < 3; j++) {
			double product = 0.0;
			for (int k = 0; k < 3; k++) product += PART[i][k] * E[k][j];
			assert_true(fabs(p->R_tomo_part.m[i][j] - PART[i][j]) < 1e-12);
			assert_true(fabs(p->R_tomo_ref.m[i][j] - product) < 1e-6);
			assert_true(fabs(p[1].R_tomo_ref.m[i][j] - E[i][j]) < 1e-6);
		}
	}
	assert_true(p[1].position_A.x == -1.0 && p[1].position_A.y == -2.0 && p[1].position_A.z == -3.0);
	assert_true(p->visible_frames[0] == 1 && p->visible_frames[1] == 0 && p->visible_frames[2] == 1);
	assert_true(p[1].visible_frames[0] == 0 && p[1].visible_frames[1] == 1);
	/* No names, no optics, no half-sets in the file. */
	assert_string_equal(p->name, "TS_01/1");
	assert_string_equal(p[1].name, "TS_02/1");
	assert_int_equal(s->n_optics, 2);
	assert_string_equal(s->optics[0].name, "og1");
	assert_true(s->optics[0].pixel_size_A == 2.0 && s->optics[0].amplitude_contrast_frac == 0.1);
	assert_int_equal(p[1].i_optics, 1);
	assert_int_equal(p->half, -1);
	assert_string_equal(cyc_star_text_of(cyc_star_find(s->star, "particles"), 1, "rlnOpticsGroup"), "2");
	assert_int_equal(cyc_star_n_rows(cyc_star_find(s->star, "optics")), 2);
	ASSERT_FAILS(cyc_particle_set_require_halves(s), CYC_E_DATA, "poses.star", "_rlnRandomSubset");
	cyc_particle_set_destroy(&s);
	cyc_tomogram_set_destroy(&t);
}

static void coordinates_from_the_corner(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	static const char BODY[] = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n_"
							   "rlnTomoSubtomogramBinning\n1 2 4\n\n"
							   "data_particles\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_"
							   "rlnCoordinateZ\n_rlnOpticsGroup\nTS_01 15 10 5 1\n";
	char text[1024];
	/* RELION-4: unbinned pixels. */
	temp_write("corner.star", BODY);
	ASSERT_OK(cyc_particle_set_read(&s, "corner.star", NULL, t, temp_dir));
	assert_true(s->particles[0].position_A.x == -70.0 && s->particles[0].position_A.y == -80.0 &&
	            s->particles[0].position_A.z == -50.0);
	cyc_particle_set_destroy(&s);
	/* 2D stacks by WarpTools: pixels of the stacks. */
	snprintf(text, sizeof text, "data_general\n_rlnTomoSubTomosAre2DStacks 1\n\n%s", BODY);
	temp_write("corner.star", text);
	begin_log();
	ASSERT_OK(cyc_particle_set_read(&s, "corner.star", NULL, t, temp_dir));
	assert_int_equal(count_in_log("binned by 4"), 1);
	assert_true(s->particles[0].position_A.x == 20.0 && s->particles[0].position_A.y == -20.0 &&
	            s->particles[0].position_A.z == -20.0);
	cyc_particle_set_destroy(&s);
	cyc_tomogram_set_destroy(&t);
}

/* Beam tilt becomes a coma, magnification is kept; both go back into the file when new ones are put. */
static void optics_with_beam_tilt_and_magnification(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	static const char BODY[] = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_"
							   "rlnTomoTiltSeriesPixelSize\n_rlnMagMat00\n_rlnMagMat01\n_rlnBeamTiltX\n"
							   "_rlnVoltage\n_rlnSphericalAberration\n_rlnEvenZernike\n"
							   "1 og1 2 1.010000 0.002000 0.3 300 2.7 "
							   "[0,0,0,0,0,0,0,0,0,0,7]\n\ndata_particles\nloop_\n_rlnTomoName\n_"
							   "rlnCenteredCoordinateXAngst\n_rlnCenteredCoordinateYAngst\n"
							   "_rlnCenteredCoordinateZAngst\n_rlnOpticsGroup\nTS_01 15 10 5 1\n";
	temp_write("optics.star", BODY);
	begin_log();
	ASSERT_OK(cyc_particle_set_read(&s, "optics.star", NULL, t, temp_dir));
	assert_int_equal(count_in_log("used as coma"), 1);
	const cyc_optics_group *o = &s->optics[0];
	assert_int_equal(o->n_odd, 6);
	double coma = -65.755164 * 0.3 / 3; /* 2e4 pi Cs lambda^2, mrad */
	assert_true(fabs(o->odd_zernike[4] - coma) < 1e-5 && fabs(o->odd_zernike[1] - 2 * coma) < 1e-5 &&
	            o->odd_zernike[3] == 0);
	assert_true(o->has_magnification && o->magnification[0][0] == 1.01 && o->magnification[0][1] == 0.002 &&
	            o->magnification[1][1] == 1);
	/* What is put is read again, the tilt only once. */
	const double odd[6] = { 1, 2, 3, 4, 5, 6 }, M[2][2] = { { 1, 0.004 }, { 0.004, 0.98 } };
	char path[512];
	ASSERT_OK(cyc_particle_set_put_aberrations(s, 0, NULL, 0, odd, 6));
	ASSERT_OK(cyc_particle_set_put_magnification(s, 0, M));
	snprintf(path, sizeof path, "%s/optics2.star", temp_dir);
	ASSERT_OK(cyc_star_write(s->star, path));
	cyc_particle_set_destroy(&s);
	ASSERT_OK(cyc_particle_set_read(&s, "optics2.star", NULL, t, temp_dir));
	o = &s->optics[0];
	assert_true(o->n_even == 11 && o->even_zernike[10] == 7 && o->n_odd == 6);
	for (int i = 0; i < 6; i++) assert_true(o->odd_zernike[i] == odd[i]);
	assert_true(o->has_magnification && o->magnification[0][0] == 1 && o->magnification[1][0] == 0.004 &&
	            o->magnification[1][1] == 0.98);
	cyc_particle_set_destroy(&s);
	/* Not a distortion but a mistake; a tilt that cannot be a phase. */
	char text[2048];
	replace(text, sizeof text, BODY, "1.010000 0.002000", "2.000000 0.000000");
	temp_write("optics.star", text);
	assert_int_equal(cyc_particle_set_read(&s, "optics.star", NULL, t, temp_dir), CYC_E_DATA);
	assert_non_null(strstr(cyc_error_get()->message, "_rlnMagMat00"));
	replace(text, sizeof text, BODY, "_rlnVoltage", "_cycVoltage");
	temp_write("optics.star", text);
	assert_int_equal(cyc_particle_set_read(&s, "optics.star", NULL, t, temp_dir), CYC_E_DATA);
	assert_non_null(strstr(cyc_error_get()->message, "beam tilt"));
	cyc_tomogram_set_destroy(&t);
}

static void unknown_tomograms(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	char text[4096];
	replace(text, sizeof text, PARTICLES, "TS_01 TS_01/7", "TS_99 TS_01/7");
	temp_write("unknown.star", text);
	begin_log();
	ASSERT_OK(cyc_particle_set_read(&s, "unknown.star", "motion.star", t, temp_dir));
	assert_int_equal(s->n, 4);
	assert_int_equal(s->n_unknown_tomogram, 1);
	assert_int_equal(count_in_log("TS_99"), 1);
	assert_int_equal(s->series_first[1], 2);
	cyc_particle_set_destroy(&s);
	temp_write("unknown.star",
	           "data_particles\nloop_\n_rlnTomoName\n_rlnCenteredCoordinateXAngst\nTS_99 1\nTS_98 2\n");
	ASSERT_FAILS(cyc_particle_set_read(&s, "unknown.star", NULL, t, temp_dir), CYC_E_DATA, "unknown.star",
	             "none of the 2", "TS_99", "tomograms.star");
	cyc_tomogram_set_destroy(&t);
}

static void refuse_particles(const char *old, const char *with, cyc_status status, const char *a,
                             const char *b)
{
	char text[4096];
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	replace(text, sizeof text, PARTICLES, old, with);
	temp_write("bad.star", text);
	ASSERT_FAILS(cyc_particle_set_read(&s, "bad.star", NULL, t, temp_dir), status, "bad.star", a, b);
	assert_null(s);
	cyc_tomogram_set_destroy(&t);
}

static void bad_particles(void **state)
{
	(void)state;
	refuse_particles("TS_02/2 2 4 5 6 2", "TS_02/2 2 4 5 6 3", CYC_E_DATA, "row 3",
	                 "_rlnRandomSubset must be 1 or 2, found 3");
	refuse_particles("TS_02/2 2", "TS_02/1 2", CYC_E_DATA, "row 3", "'TS_02/1' occurs twice, first in row 1");
	refuse_particles("TS_02/2 2", "\"\" 2", CYC_E_DATA, "row 3", "_rlnTomoParticleName is empty");
	refuse_particles("TS_02/2 2", "TS_02/2 3", CYC_E_DATA, "row 3", "optics group 3");
	refuse_particles("1 og1 300 2.0", "1 og1 300 2.1", CYC_E_DATA, "pixel size", "TS_01");
	refuse_particles("1 og1 300 2.0", "1 og1 200 2.0", CYC_E_DATA, "voltage", "TS_01");
	refuse_particles("2 og2 300.0005", "1 og2 300", CYC_E_DATA, "optics group 1 occurs twice", "row 2");
	refuse_particles("_rlnCenteredCoordinateYAngst", "_y", CYC_E_FORMAT, "_rlnCenteredCoordinateYAngst",
	                 "no column");
	refuse_particles(
		"_rlnCenteredCoordinateXAngst\n_rlnCenteredCoordinateYAngst\n_rlnCenteredCoordinateZAngst",
		"_x\n_y\n_z", CYC_E_FORMAT, "no coordinates", "_rlnCoordinateX");
	refuse_particles("_rlnTomoName\n", "_x\n", CYC_E_FORMAT, "_rlnTomoName", "no column");
	refuse_particles("_rlnRandomSubset", "_rlnOriginXAngst", CYC_E_FORMAT, "_rlnOriginYAngst", "no column");
	refuse_particles("_rlnRandomSubset", "_rlnAngleRot", CYC_E_FORMAT, "_rlnAngleTilt", "no column");
	refuse_particles("12 -9 8", "12 nan 8", CYC_E_FORMAT, "row 2", "_rlnCenteredCoordinateYAngst");
	refuse_particles("_rlnRandomSubset", "_rlnTomoVisibleFrames", CYC_E_FORMAT, "_rlnTomoVisibleFrames",
	                 "like [1,2,3]");
	refuse_particles("data_particles", "data_particle", CYC_E_FORMAT, "no block 'particles'",
	                 "'general', 'optics', 'particle'");
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	temp_write("bad.star", "data_particles\nloop_\n_rlnTomoName\n_rlnTomoVisibleFrames\n_"
	                       "rlnCenteredCoordinateXAngst\n_rlnCenteredCoordinateYAngst\n"
	                       "_rlnCenteredCoordinateZAngst\nTS_01 [1,1,1,1] 1 2 3\n");
	ASSERT_FAILS(cyc_particle_set_read(&s, "bad.star", NULL, t, temp_dir), CYC_E_DATA, "line 8", "4 flags",
	             "3 tilts");
	temp_write("bad.star", "data_particles\nloop_\n_rlnTomoName\n");
	ASSERT_FAILS(cyc_particle_set_read(&s, "bad.star", NULL, t, temp_dir), CYC_E_DATA, "no particles");
	cyc_tomogram_set_destroy(&t);
}

static void half_sets(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	temp_write("half.star", "data_particles\nloop_\n_rlnTomoName\n_rlnRandomSubset\n_"
	                        "rlnCenteredCoordinateXAngst\n_rlnCenteredCoordinateYAngst\n"
	                        "_rlnCenteredCoordinateZAngst\nTS_01 2 1 2 3\nTS_01 2 1 2 3\n");
	ASSERT_OK(cyc_particle_set_read(&s, "half.star", NULL, t, temp_dir));
	ASSERT_FAILS(cyc_particle_set_require_halves(s), CYC_E_DATA, "half.star", "half-set 1 has no particles",
	             "half-set 2 has 2");
	cyc_particle_set_destroy(&s);
	cyc_tomogram_set_destroy(&t);
}

/* What a particle counts: 1 where nothing is said, in the document and in what a resumed job compares; never
 * outside 0 to 1. */
static void probabilities(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL, *again = NULL;
	double put[5] = { 1, 0, 0.25, 0.5, 1 };
	ASSERT_OK(cyc_particle_set_read(&s, "particles.star", NULL, t, temp_dir));
	for (int64_t i = 0; i < s->n; i++) assert_true(s->particles[i].probability == 1);
	uint64_t hash = cyc_project_hash(CYC_HASH_INIT, t, s);
	ASSERT_OK(cyc_particle_set_put_probabilities(s, put));
	assert_true(cyc_project_hash(CYC_HASH_INIT, t, s) != hash);
	ASSERT_OK(cyc_particle_set_write(s, NULL, temp_path("probable.star")));
	ASSERT_OK(cyc_particle_set_read(&again, "probable.star", NULL, t, temp_dir));
	for (int64_t i = 0; i < s->n; i++) assert_true(again->particles[i].probability == put[i]);
	cyc_particle_set_destroy(&again);
	put[3] = 1.5;
	ASSERT_FAILS(cyc_particle_set_put_probabilities(s, put), CYC_E_INTERNAL, "1.5");
	/* A half-set whose particles all have 0 is as empty as one without particles. */
	ASSERT_OK(cyc_particle_set_require_halves(s));
	for (int64_t i = 0; i < s->n; i++) s->particles[i].probability = s->particles[i].half == 0;
	ASSERT_FAILS(cyc_particle_set_require_halves(s), CYC_E_DATA, "of half-set 2 has any weight",
	             "_cycParticleProbability is 0");
	cyc_particle_set_destroy(&s);
	static const char *const BAD[] = { "1.01", "-0.1" };
	for (int k = 0; k < 2; k++) {
		char text[500];
		snprintf(text, sizeof text, "%s_cycParticleProbability\nTS_01 a 1 0 0 0 1 1\nTS_01 b 1 0 0 0 1 %s\n",
		         PARTICLES_HEAD, BAD[k]);
		temp_write("bad.star", text);
		ASSERT_FAILS(cyc_particle_set_read(&s, "bad.star", NULL, t, temp_dir), CYC_E_DATA, "bad.star",
		             "row 2", "_cycParticleProbability", BAD[k]);
	}
	cyc_tomogram_set_destroy(&t);
}

static void bad_trajectories(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	char text[4096];
	replace(text, sizeof text, MOTION, "data_TS_02/2", "data_TS_02/3");
	temp_write("bad.star", text);
	ASSERT_FAILS(cyc_particle_set_read(&s, "particles.star", "bad.star", t, temp_dir), CYC_E_DATA, "bad.star",
	             "'TS_02/2'", "row 3");
	replace(text, sizeof text, MOTION, "7 8 9\n", "");
	temp_write("bad.star", text);
	ASSERT_FAILS(cyc_particle_set_read(&s, "particles.star", "bad.star", t, temp_dir), CYC_E_DATA, "bad.star",
	             "TS_02/1", "1 rows", "2 tilts");
	replace(text, sizeof text, MOTION, "7 8 9\n", "7 eight 9\n");
	temp_write("bad.star", text);
	ASSERT_FAILS(cyc_particle_set_read(&s, "particles.star", "bad.star", t, temp_dir), CYC_E_FORMAT,
	             "bad.star", "eight", "line");
	ASSERT_FAILS(cyc_particle_set_read(&s, "particles.star", "none.star", t, temp_dir), CYC_E_IO,
	             "none.star");
	/* Early RELION-4: tables named 0, 1, ... in the order of the rows. */
	temp_write("one.star", "data_particles\nloop_\n_rlnTomoName\n_rlnCenteredCoordinateXAngst\n_"
	                       "rlnCenteredCoordinateYAngst\n_rlnCenteredCoordinateZAngst\n"
	                       "TS_02 0 0 0\nTS_01 0 0 0\n");
	temp_write("numbered.star", "data_general\n_rlnParticleNumber 2\n" MOTION_TABLE(
									"0") "1 2 3\n4 5 6\n" MOTION_TABLE("1") "7 8 9\n0 0 0\n0 0 0\n");
	ASSERT_OK(cyc_particle_set_read(&s, "one.star", "numbered.star", t, temp_dir));
	assert_true(s->particles[0].motion_A[0] == 7.0f && s->particles[1].motion_A[5] == 6.0f);
	cyc_particle_set_destroy(&s);
	cyc_tomogram_set_destroy(&t);
}

/* Names that this program has made up mean nothing in a file of trajectories. */
static void trajectories_need_names(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	temp_write("one.star", "data_particles\nloop_\n_rlnTomoName\n_rlnCenteredCoordinateXAngst\n_"
	                       "rlnCenteredCoordinateYAngst\n_rlnCenteredCoordinateZAngst\n"
	                       "TS_02 0 0 0\nTS_01 0 0 0\n");
	ASSERT_FAILS(cyc_particle_set_read(&s, "one.star", "motion.star", t, temp_dir), CYC_E_DATA, "motion.star",
	             "one.star", "no _rlnTomoParticleName");
	temp_write("numbered.star",
	           "data_general\n_rlnParticleNumber 3\n" MOTION_TABLE("0") "1 2 3\n4 5 6\n" MOTION_TABLE(
				   "1") "7 8 9\n0 0 0\n0 0 0\n" MOTION_TABLE("2") "0 0 0\n0 0 0\n");
	ASSERT_FAILS(cyc_particle_set_read(&s, "one.star", "numbered.star", t, temp_dir), CYC_E_DATA,
	             "3 trajectories by row", "2 particles");
	ASSERT_OK(cyc_particle_set_read(&s, "one.star", NULL, t, temp_dir));
	assert_true(s->has_generated_names);
	cyc_particle_set_destroy(&s);
	temp_write("twice.star", MOTION MOTION);
	ASSERT_FAILS(cyc_particle_set_read(&s, "particles.star", "twice.star", t, temp_dir), CYC_E_DATA,
	             "twice.star", "2 blocks 'TS_01/1'");
	temp_write("twice.star", PARTICLES PARTICLES);
	ASSERT_FAILS(cyc_particle_set_read(&s, "twice.star", NULL, t, temp_dir), CYC_E_DATA, "twice.star",
	             "2 blocks 'particles'");
	cyc_tomogram_set_destroy(&t);
}

/* The block general says that images are 2D stacks; where it is lost the images' own columns do. */
static void stacks_without_general(void **state)
{
	(void)state;
	static const struct {
		const char *general, *dimension, *image;
		bool are_stacks;
	} cases[] = {
		{ "data_general\n_rlnTomoSubTomosAre2DStacks 1\n\n", "3", "a.mrc", true },
		{ "", "2", "a.mrcs", true },
		{ "", "2", "a_stack2d.mrc", true },
		{ "", "3", "a.mrcs", false },
		{ "data_general\n_rlnOther 1\n\n", "2", "a.mrcs", true },
		{ "data_general\n_rlnTomoSubTomosAre2DStacks 0\n\n", "2", "a.mrcs", false },
	};
	cyc_tomogram_set *t = read_tomograms();
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		cyc_particle_set *s = NULL;
		char text[1024];
		snprintf(text, sizeof text,
		         "%sdata_optics\nloop_\n_rlnOpticsGroup\n_rlnImageDimensionality\n_"
		         "rlnTomoSubtomogramBinning\n1 %s 2\n\n"
		         "data_particles\nloop_\n_rlnTomoName\n_rlnOpticsGroup\n_rlnImageName\n_rlnCoordinateX\n_"
		         "rlnCoordinateY\n_rlnCoordinateZ\n"
		         "TS_01 1 %s 30 20 10\n",
		         cases[k].general, cases[k].dimension, cases[k].image);
		temp_write("stacks.star", text);
		ASSERT_OK(cyc_particle_set_read(&s, "stacks.star", NULL, t, temp_dir));
		assert_int_equal(s->are_2d_stacks, cases[k].are_stacks);
		/* The tomogram has 100 x 100 x 60 px of 2 Å; Warp counts in binned pixels. */
		assert_true(s->particles[0].position_A.x == 2.0 * ((cases[k].are_stacks ? 60 : 30) - 50));
		cyc_star_block *general = cyc_star_find(s->star, "general");
		if (cases[k].are_stacks)
			assert_string_equal(cyc_star_text_of(general, 0, "rlnTomoSubTomosAre2DStacks"), "1");
		cyc_particle_set_destroy(&s);
	}
	cyc_tomogram_set_destroy(&t);
}

/* ---------------------------------------------------------------- FSC files, job folders */

#define AT(name, x, score) "TS_01 " name " " x " 0 0 " score "\n"

/* A chain at distances of 8 Å: who stays depends on the scores, not on the order of the rows. */
static void separation(void **state)
{
	(void)state;
	static const char *const HEAD = "data_particles\nloop_\n_rlnTomoName\n_rlnTomoParticleName\n_"
									"rlnCenteredCoordinateXAngst\n_rlnCenteredCoordinateYAngst\n"
									"_rlnCenteredCoordinateZAngst\n_myScore\n";
	static const char *const ORDERS[2] = { AT("a", "0", "1") AT("b", "8", "2") AT("c", "16", "3")
		                                       AT("d", "24", "2.5") AT("e", "-90", "0"),
		                                   AT("d", "24", "2.5") AT("e", "-90", "0") AT("c", "16", "3")
		                                       AT("a", "0", "1") AT("b", "8", "2") };
	cyc_tomogram_set *t = read_tomograms();
	for (int k = 0; k < 3; k++) {
		char text[1024];
		cyc_particle_set *s = NULL;
		bool keep[5];
		double score[5];
		int64_t n_removed;
		snprintf(text, sizeof text, "%s%s", HEAD, ORDERS[k % 2]);
		temp_write("chain.star", text);
		ASSERT_OK(cyc_particle_set_read(&s, "chain.star", NULL, t, temp_dir));
		ASSERT_OK(cyc_particle_column(score, s, "myScore"));
		ASSERT_OK(cyc_particle_set_separate(keep, &n_removed, s, 10, k < 2 ? score : NULL));
		/* With scores c stays, and takes b and d with it, so a stays; without them a and c, in the order of
		 * the file. */
		assert_int_equal(n_removed, 2);
		for (int i = 0; i < 5; i++) assert_int_equal(keep[i], strchr("ace", s->particles[i].name[0]) != NULL);
		ASSERT_OK(cyc_particle_set_separate(keep, &n_removed, s, 8,
		                                    score)); /* exactly at the distance is far enough */
		assert_int_equal(n_removed, 0);
		ASSERT_OK(cyc_particle_set_separate(keep, &n_removed, s, 200, score));
		assert_int_equal(n_removed, 4);
		ASSERT_OK(cyc_particle_set_write(s, keep, temp_path("left.star")));
		cyc_particle_set_destroy(&s);
		ASSERT_OK(cyc_particle_set_read(&s, "left.star", NULL, t, temp_dir));
		assert_int_equal(s->n, 1);
		assert_string_equal(s->particles[0].name, "c");
		ASSERT_FAILS(cyc_particle_set_separate(keep, &n_removed, s, 0, NULL), CYC_E_USAGE, "positive, got 0");
		score[0] = CYC_NAN;
		ASSERT_FAILS(cyc_particle_set_separate(keep, &n_removed, s, 1, score), CYC_E_DATA, "left.star",
		             "row 1", "'c'");
		ASSERT_FAILS(cyc_particle_column(score, s, "other"), CYC_E_FORMAT, "_other");
		cyc_particle_set_destroy(&s);
	}
	cyc_tomogram_set_destroy(&t);
}

/* Tables joined from several jobs have one name behind their job folders; a path may lead out of the output
 * folder. */
static void tables_stay_apart_and_inside(void **state)
{
	(void)state;
	static const char *const PATHS[2][2] = { { "Align/job001/ts.star", "Align/job002/ts.star" },
		                                     { "../up/TS_01.star", "Align/job002/TS_02.star" } };
	for (int k = 0; k < 2; k++) {
		char text[2048], from[64];
		snprintf(text, sizeof text,
		         TOMOGRAMS_HEAD "_rlnTomoTiltSeriesStarFile\nTS_01 300 2.7 0.1 2.0 -1 100 100 60 og1 a %s\n"
		                        "TS_02 300 2.7 0.1 2.0 1 200 100 60 og2 b %s\n",
		         PATHS[k][0], PATHS[k][1]);
		temp_write("deep/tomograms.star", text);
		snprintf(from, sizeof from, "deep/%s", PATHS[k][0]);
		ASSERT_OK(cyc_make_dirs(temp_path("deep")));
		temp_write(from, TS_01);
		snprintf(from, sizeof from, "deep/%s", PATHS[k][1]);
		temp_write(from, TS_02);
		cyc_tomogram_set *t = NULL;
		ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", temp_path("deep")));
		ASSERT_OK(cyc_tomogram_set_write(t, "Out/job009/", temp_path("deep"), CYC_WRITE_DEFOCUS));
		assert_string_equal(t->series[0].star_path, "Out/job009/tilt_series/TS_01.star");
		cyc_tomogram_set_destroy(&t);
		ASSERT_OK(cyc_tomogram_set_read(&t, "Out/job009/tomograms.star", temp_path("deep")));
		assert_int_equal(t->series[0].n_tilts, 3);
		assert_int_equal(t->series[1].n_tilts, 2);
		cyc_tomogram_set_destroy(&t);
	}
}

/* Equal sizes in each half-set, and the same groups for any order of the rows. */
static void groups(void **state)
{
	(void)state;
	enum { N = 23, N_GROUPS = 4 };
	cyc_tomogram_set *t = read_tomograms();
	int32_t of_number[2][N];
	for (int order = 0; order < 2; order++) {
		char text[4096];
		cyc_particle_set *s = NULL;
		int32_t group[N];
		int count[2][N_GROUPS] = { { 0 } };
		int n = snprintf(text, sizeof text, "%s", PARTICLES_HEAD);
		for (int i = 0; i < N; i++) {
			int k = order ? N - 1 - i : i;
			n += snprintf(text + n, sizeof text - (size_t)n, "TS_01 p%d 1 0 0 0 %d\n", k, k < 9 ? 1 : 2);
		}
		temp_write("many.star", text);
		ASSERT_OK(cyc_particle_set_read(&s, "many.star", NULL, t, temp_dir));
		ASSERT_OK(cyc_particle_groups(group, s, N_GROUPS));
		for (int i = 0; i < N; i++) {
			count[s->particles[i].half][group[i]]++;
			of_number[order][strtol(s->particles[i].name + 1, NULL, 10)] = group[i];
		}
		for (int g = 0; g < N_GROUPS; g++) {
			assert_in_range(count[0][g], 2, 3);
			assert_in_range(count[1][g], 3, 4);
		}
		ASSERT_FAILS(cyc_particle_groups(group, s, 0), CYC_E_INTERNAL, "0 groups");
		cyc_particle_set_destroy(&s);
	}
	assert_memory_equal(of_number[0], of_number[1], sizeof of_number[0]);
	cyc_tomogram_set_destroy(&t);
}

/* Against all pairs, one by one; none left over half-sets afterwards, and nobody left out without need. */
static void duplicates(void **state)
{
	(void)state;
	enum { N = 60 };
	const double DISTANCE_A = 12;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL;
	cyc_particle_pair *pairs = NULL;
	cyc_duplicates d;
	char text[8192];
	bool keep[N];
	int64_t n_pairs, n_expected = 0, n_across = 0, n_left_out = 0;
	int n = snprintf(text, sizeof text, "%s", PARTICLES_HEAD);
	for (int i = 0; i < N; i++) {
		n += snprintf(text + n, sizeof text - (size_t)n, "TS_0%d p%d 1 %.2f %.2f %.2f %d\n", 1 + i % 2, i,
		              60 * cyc_rng_uniform_at(5, 1, 0, (uint64_t)i),
		              60 * cyc_rng_uniform_at(5, 1, 1, (uint64_t)i),
		              30 * cyc_rng_uniform_at(5, 1, 2, (uint64_t)i), 1 + i / 2 % 2);
	}
	temp_write("crowd.star", text);
	ASSERT_OK(cyc_particle_set_read(&s, "crowd.star", NULL, t, temp_dir));
	ASSERT_OK(cyc_particle_pairs(&pairs, &n_pairs, s, DISTANCE_A));
	ASSERT_OK(cyc_particle_set_find_duplicates(&d, keep, s, DISTANCE_A));
	for (int i = 0; i < N; i++) {
		bool could_stay = true;
		for (int k = 0; k < N; k++) {
			const cyc_particle *p = &s->particles[i], *q = &s->particles[k];
			double r2 = cyc_square(p->position_A.x - q->position_A.x) +
			            cyc_square(p->position_A.y - q->position_A.y) +
			            cyc_square(p->position_A.z - q->position_A.z);
			bool is_near = i != k && p->i_series == q->i_series && r2 < DISTANCE_A * DISTANCE_A,
				 is_across = p->half != q->half;
			n_expected += is_near && k > i;
			n_across += is_near && is_across && k > i;
			assert_false(is_near && is_across && keep[i] && keep[k]);
			could_stay = could_stay && !(is_near && is_across && keep[k]);
		}
		assert_true(keep[i] || !could_stay);
		n_left_out += !keep[i];
	}
	assert_true(n_across > 5 && n_across < n_expected);
	assert_int_equal(n_pairs, n_expected);
	assert_int_equal(d.n_across, n_across);
	assert_int_equal(d.n_within, n_expected - n_across);
	assert_int_equal(d.n_left_out, n_left_out);
	for (int64_t k = 1; k < n_pairs; k++) assert_true(pairs[k].distance_A >= pairs[k - 1].distance_A);
	cyc_duplicates_describe(text, sizeof text, &d, s);
	assert_non_null(strstr(text, "pairs of particles in different half-sets are closer than 12.0 Å (rows "));
	assert_non_null(strstr(text, ", ...)"));
	cyc_free(pairs);
	ASSERT_FAILS(cyc_particle_pairs(&pairs, &n_pairs, s, CYC_NAN), CYC_E_USAGE, "positive");
	cyc_particle_set_destroy(&s);
	cyc_tomogram_set_destroy(&t);
}

static void trajectories_of_a_part(void **state)
{
	(void)state;
	cyc_tomogram_set *t = read_tomograms();
	cyc_particle_set *s = NULL, *part = NULL;
	ASSERT_OK(cyc_particle_set_read(&s, "particles.star", "motion.star", t, temp_dir));
	bool keep[5] = { false, true, false, true, true };
	ASSERT_OK(cyc_particle_set_write(s, keep, temp_path("part.star")));
	ASSERT_OK(cyc_trajectories_write(s, t, keep, temp_path("part_motion.star")));
	ASSERT_OK(cyc_particle_set_read(&part, "part.star", "part_motion.star", t, temp_dir));
	assert_int_equal(part->n, 3);
	for (int k = 0, i = 0; k < 5; k++) {
		if (!keep[k]) continue;
		const cyc_particle *a = &s->particles[k], *b = &part->particles[i++];
		assert_string_equal(a->name, b->name);
		assert_memory_equal(a->motion_A, b->motion_A,
		                    3 * sizeof(float) * (size_t)t->series[a->i_series].n_tilts);
	}
	cyc_particle_set_destroy(&part);
	ASSERT_FAILS(cyc_particle_set_read(&part, "particles.star", "part_motion.star", t, temp_dir), CYC_E_DATA,
	             "part_motion.star", "no trajectory");
	cyc_particle_set_destroy(&s);
	cyc_tomogram_set_destroy(&t);
}

static void fsc_files(void **state)
{
	(void)state;
	static const char FSC[] =
		"# comment\ndata_general\n_rlnFinalResolution "
		"3.6\ndata_fsc\nloop_\n_rlnSpectralIndex\n_rlnResolution\n_rlnFourierShellCorrelationCorrected\n"
		"0 0 1\n1 0.0925926 0.9\n2 0.1851852 -0.01\n";
	cyc_fsc_file *f = NULL;
	char text[1024];
	temp_write("fsc.star", FSC);
	ASSERT_OK(cyc_fsc_file_read(&f, temp_path("fsc.star")));
	assert_int_equal(f->n_shells, 3);
	assert_int_equal(f->box, 4);
	assert_true(fabs(f->pixel_size_A - 2.7) < 1e-5 && f->corrected[1] == 0.9 && f->final_resolution_A == 3.6);
	cyc_fsc_file_destroy(&f);
	replace(text, sizeof text, FSC, "CorrelationCorrected", "CorrelationUnmaskedMaps");
	temp_write("fsc.star", text);
	begin_log();
	ASSERT_OK(cyc_fsc_file_read(&f, temp_path("fsc.star")));
	assert_int_equal(count_in_log("no corrected FSC"), 1);
	cyc_fsc_file_destroy(&f);
	replace(text, sizeof text, FSC, "CorrelationCorrected", "CorrelationX");
	temp_write("fsc.star", text);
	ASSERT_FAILS(cyc_fsc_file_read(&f, temp_path("fsc.star")), CYC_E_FORMAT,
	             "_rlnFourierShellCorrelationCorrected");
	replace(text, sizeof text, FSC, "0.9\n", "nan\n");
	temp_write("fsc.star", text);
	ASSERT_FAILS(cyc_fsc_file_read(&f, temp_path("fsc.star")), CYC_E_FORMAT, "line 10", "nan");
	replace(text, sizeof text, FSC, "\n1 0.0", "\n2 0.0");
	temp_write("fsc.star", text);
	ASSERT_FAILS(cyc_fsc_file_read(&f, temp_path("fsc.star")), CYC_E_DATA, "expected shell 1", "found 2");
	assert_null(f);
}

static void job_folder(void **state)
{
	(void)state;
	const cyc_job_option options[] = { { "in_mask", "" }, { "box_size", "512" }, { "do_scale", "Yes" } };
	char *text = NULL;
	size_t n;
	temp_write("Job/job007/RELION_JOB_EXIT_FAILURE", "");
	temp_write("Job/job007/RELION_JOB_ABORT_NOW", "");
	ASSERT_OK(cyc_job_begin(temp_path("Job/job007/"), "relion.ctfrefinetomo", options, 3,
	                        "cyclotomo ctfrefine --b 512"));
	assert_false(temp_exists("Job/job007/RELION_JOB_EXIT_FAILURE"));
	assert_false(temp_exists("Job/job007/RELION_JOB_ABORT_NOW"));
	ASSERT_OK(cyc_read_file(&text, &n, temp_path("Job/job007/job.star")));
	assert_string_equal(
		text, "\n# version 50001\n\ndata_job\n\n_rlnJobTypeLabel             relion.ctfrefinetomo\n"
			  "_rlnJobIsContinue                       0\n_rlnJobIsTomo                           0\n \n\n# "
			  "version 50001\n\n"
			  "data_joboptions_values\n\nloop_ \n_rlnJobOptionVariable #1 \n_rlnJobOptionValue #2 \n"
			  "  box_size        512 \n  do_scale        Yes \n   in_mask         \"\" \n \n");
	cyc_free(text);
	ASSERT_OK(cyc_job_begin(temp_path("Job/job007"), "relion.postprocess", NULL, 0, "again"));
	ASSERT_OK(cyc_read_file(&text, &n, temp_path("Job/job007/note.txt")));
	assert_true(strncmp(text, " ++++ Executing new job on ", 27) == 0);
	assert_non_null(strstr(
		text, " ++++ with the following command(s): \ncyclotomo ctfrefine --b 512\n ++++ \n ++++ Executing"));
	assert_non_null(strstr(text, "\nagain\n ++++ \n"));
	cyc_free(text);
	ASSERT_OK(cyc_job_end(temp_path("Job/job007"), CYC_E_IO));
	assert_true(temp_exists("Job/job007/RELION_JOB_EXIT_FAILURE"));
	ASSERT_OK(cyc_job_end(temp_path("Job/job007"), CYC_E_CANCELLED));
	assert_true(temp_exists("Job/job007/RELION_JOB_EXIT_ABORTED"));
	assert_false(temp_exists("Job/job007/RELION_JOB_EXIT_FAILURE"));
	ASSERT_OK(cyc_job_end(temp_path("Job/job007/"), CYC_OK));
	assert_true(temp_exists("Job/job007/RELION_JOB_EXIT_SUCCESS"));
	assert_int_equal(cyc_job_begin("/proc/x/", "relion.postprocess", NULL, 0, ""), CYC_E_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROJECT_TEST(optimisation_set),
		PROJECT_TEST(resolve),
		PROJECT_TEST(tomograms_relion5),
		PROJECT_TEST(tomograms_relion4),
		PROJECT_TEST(bad_tomograms),
		PROJECT_TEST(unchecked_scales),
		PROJECT_TEST(matrices_become_angles),
		PROJECT_TEST(deformations),
		PROJECT_TEST(write_back),
		PROJECT_TEST(open_images),
		PROJECT_TEST(particles_relion5),
		PROJECT_TEST(poses),
		PROJECT_TEST(coordinates_from_the_corner),
		PROJECT_TEST(optics_with_beam_tilt_and_magnification),
		PROJECT_TEST(unknown_tomograms),
		PROJECT_TEST(bad_particles),
		PROJECT_TEST(half_sets),
		PROJECT_TEST(bad_trajectories),
		PROJECT_TEST(trajectories_need_names),
		PROJECT_TEST(stacks_without_general),
		PROJECT_TEST(no_deformation),
		PROJECT_TEST(separation),
		PROJECT_TEST(groups),
		PROJECT_TEST(tables_stay_apart_and_inside),
		PROJECT_TEST(probabilities),
		PROJECT_TEST(duplicates),
		PROJECT_TEST(trajectories_of_a_part),
		PROJECT_TEST(fsc_files),
		PROJECT_TEST(job_folder),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

/* The check of a project: a simulated one has nothing wrong, and each mistake is found where it is, as what
 * it is. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "cyclotomo/reconstruct.h"
#include "cyclotomo/simulate.h"
#include "cyclotomo/survey.h"

#define TILTS_1 "p/tilt_series/TS_01.star"
#define TILTS_2 "p/tilt_series/TS_02.star"
#define TOMOGRAMS "p/tomograms.star"
#define PARTICLES "p/particles.star"

static const char *const FILES[] = { TOMOGRAMS, PARTICLES, TILTS_1, TILTS_2 };
enum { N_FILES = sizeof FILES / sizeof *FILES };
static char *g_right[N_FILES];

static int simulate(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	cyc_simulate_options o;
	cyc_simulate_options_default(&o);
	cyc_simulate_options_preset(&o, CYC_SIMULATE_TINY);
	o.out_dir = temp_path("p");
	o.n_series = 2;
	o.n_tilts = 7;
	o.tilt_step_rad = cyc_deg_to_rad(15);
	o.n_particles = 12;
	o.signal = 4;
	cyc_simulate_result r = { 0 };
	if (cyc_simulate_run(&r, &o) != CYC_OK) return -1;
	for (int i = 0; i < N_FILES; i++) {
		size_t n;
		if (cyc_read_file(&g_right[i], &n, temp_path(FILES[i])) != CYC_OK) return -1;
	}
	return 0;
}

static int clean_up(void **state)
{
	for (int i = 0; i < N_FILES; i++) cyc_free(g_right[i]);
	return temp_dir_remove(state);
}

static int restore(void **state)
{
	(void)state;
	for (int i = 0; i < N_FILES; i++) temp_write(FILES[i], g_right[i]);
	return 0;
}

/* ---------------------------------------------------------------- help */

/* A value of a table; the column is added if it is not there. Row -1: all rows. */
static void put(const char *file, const char *block, const char *label, int64_t row, const char *value)
{
	cyc_star *s = NULL;
	cyc_star_block *b;
	int32_t column;
	ASSERT_OK(cyc_star_read(&s, temp_path(file)));
	ASSERT_OK(cyc_star_require(&b, s, block));
	ASSERT_OK(cyc_star_ensure_column(&column, b, label, "0"));
	for (int64_t r = 0; r < cyc_star_n_rows(b); r++)
		if (row < 0 || r == row) ASSERT_OK(cyc_star_set_text(b, r, column, value));
	ASSERT_OK(cyc_star_write(s, temp_path(file)));
	cyc_star_destroy(&s);
}

static const char *g_trajectories; /* file of them, or NULL */

/* What the survey finds; CYC_OK also if there is something. */
static void survey_images_of(cyc_finding_list *found, bool is_deep, double most_pixels)
{
	const cyc_project_input in = { .root = temp_path("p"),
		                           .optimisation_set = "optimisation_set.star",
		                           .trajectories = g_trajectories };
	cyc_optimisation_set *set = NULL;
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *particles = NULL;
	*found = (cyc_finding_list){ 0 };
	ASSERT_OK(cyc_project_resolve(&set, &in));
	ASSERT_OK(cyc_project_read_tomograms(&tomograms, set, &in));
	ASSERT_OK(cyc_particle_set_read(&particles, set->particles, set->trajectories, tomograms, in.root));
	const cyc_project_view view = {
		.root = in.root, .set = set, .tomograms = tomograms, .particles = particles
	};
	const cyc_survey_options o = {
		.is_deep = is_deep, .most_pixels = most_pixels, .duplicate_distance_A = 8, .n_threads = 2
	};
	ASSERT_OK(cyc_survey_project(found, &view, &o));
	cyc_finding_sort(found);
	cyc_particle_set_destroy(&particles);
	cyc_tomogram_set_destroy(&tomograms);
	cyc_optimisation_set_destroy(&set);
}

static void survey(cyc_finding_list *found, bool is_deep) { survey_images_of(found, is_deep, 0); }

static void print_all(const cyc_finding_list *l)
{
	for (int32_t i = 0; i < l->n; i++) {
		char *text = NULL;
		ASSERT_OK(cyc_finding_text(&text, &l->items[i]));
		print_error("%s: %s\n", l->items[i].kind, text);
		cyc_free(text);
	}
}

/* The finding of a kind, which has all that a finding has to have. */
static const cyc_finding *find(const cyc_finding_list *l, const char *kind, cyc_finding_level level)
{
	for (int32_t i = 0; i < l->n; i++) {
		const cyc_finding *f = &l->items[i];
		if (strcmp(f->kind, kind) != 0 || f->level != level) continue;
		assert_true(f->found && f->found[0] && f->action && f->action[0]);
		if (f->file) assert_true(temp_exists("p") && cyc_path_exists(temp_path("p")));
		return f;
	}
	print_all(l);
	fail_msg("no finding '%s' of level %d", kind, (int)level);
	return NULL;
}

static void expect_nothing(bool is_deep)
{
	cyc_finding_list l;
	survey(&l, is_deep);
	if (l.n > 0) print_all(&l);
	assert_int_equal(l.n, 0);
	cyc_finding_list_deinit(&l);
}

/* ---------------------------------------------------------------- tests */

static void a_right_project_has_no_findings(void **state)
{
	(void)state;
	expect_nothing(false);
	expect_nothing(true);
}

/* One wrong value: file, row and column are told, and a job stops. */
static void impossible_values(void **state)
{
	(void)state;
	static const struct {
		const char *file, *block, *label, *value;
		int64_t row;
		cyc_finding_level level;
	} cases[] = {
		{ TILTS_1, "TS_01", "rlnTomoYTilt", "1567301525373690323140608.00", 2, CYC_FINDING_ERROR },
		{ TILTS_2, "TS_02", "rlnTomoXTilt", "-1e9", 0, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "rlnTomoZRot", "9999", 3, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "rlnTomoNominalStageTiltAngle", "1e7", 3, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "rlnTomoYShiftAngst", "-1e30", 5, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "rlnDefocusV", "1e9", 4, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "rlnDefocusU", "-20000", 4, CYC_FINDING_WARNING },
		{ TILTS_1, "TS_01", "rlnDefocusAngle", "1e5", 4, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "rlnPhaseShift", "1e5", 6, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "rlnCtfScalefactor", "1e20", 6, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "rlnCtfBfactor", "-1e9", 1, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "rlnMicrographPreExposure", "1e6", 1, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "cycInputDefocusU", "1e9", 1, CYC_FINDING_ERROR },
		{ TILTS_1, "TS_01", "cycInputYTiltDeg", "4000", 1, CYC_FINDING_ERROR },
		{ TOMOGRAMS, "global", "rlnTomoImportFractionalDose", "1e5", 1, CYC_FINDING_ERROR },
		{ TOMOGRAMS, "global", "rlnTomoSizeZ", "200000", 0, CYC_FINDING_ERROR },
		{ TOMOGRAMS, "global", "rlnTomoDefocusSlope", "1e3", 0, CYC_FINDING_ERROR },
		{ PARTICLES, "optics", "rlnBeamTiltX", "1e4", 0, CYC_FINDING_ERROR },
		{ PARTICLES, "particles", "rlnCenteredCoordinateZAngst", "1e9", 7, CYC_FINDING_ERROR },
		{ PARTICLES, "particles", "rlnAngleTilt", "1e30", 11, CYC_FINDING_ERROR },
		{ PARTICLES, "particles", "rlnTomoSubtomogramRot", "-1e6", 3, CYC_FINDING_ERROR },
	};
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		cyc_finding_list l;
		char label[64];
		restore(NULL);
		put(cases[k].file, cases[k].block, cases[k].label, cases[k].row, cases[k].value);
		if (strcmp(cases[k].label, "rlnTomoSubtomogramRot") == 0) {
			put(cases[k].file, cases[k].block, "rlnTomoSubtomogramTilt", -1, "0");
			put(cases[k].file, cases[k].block, "rlnTomoSubtomogramPsi", -1, "0");
		}
		survey(&l, false);
		const cyc_finding *f = find(&l, "value", cases[k].level);
		assert_string_equal(f->file, cases[k].file + 2);
		assert_string_equal(f->column, cases[k].label);
		assert_int_equal(f->row, cases[k].row + 1);
		assert_int_equal(f->n_more, 0);
		if (cases[k].level == CYC_FINDING_ERROR) {
			snprintf(label, sizeof label, "_%s", cases[k].label);
			ASSERT_FAILS(cyc_finding_raise(&l), CYC_E_DATA, label, "expected: ", cases[k].file + 2);
		}
		cyc_finding_list_deinit(&l);
	}
}

/* An excluded tilt may hold what it likes. */
static void excluded_tilts_are_not_looked_at(void **state)
{
	(void)state;
	put(TILTS_1, "TS_01", "rlnDefocusU", 2, "1e9");
	put(TILTS_1, "TS_01", "rlnCtfScalefactor", 2, "0");
	expect_nothing(false);
}

static void many_rows_are_one_finding(void **state)
{
	(void)state;
	cyc_finding_list l;
	put(TILTS_1, "TS_01", "rlnDefocusV", -1, "1e9");
	survey(&l, false);
	const cyc_finding *f = find(&l, "value", CYC_FINDING_ERROR);
	assert_int_equal(f->row, 1);
	assert_int_equal(f->n_more, 6);
	assert_int_equal(l.n, 1);
	cyc_finding_list_deinit(&l);
}

/* A scale of nearly 0 is a finding, and bends no line from which the others then differ. */
static void a_scale_of_nearly_nothing(void **state)
{
	(void)state;
	cyc_finding_list l;
	put(TILTS_1, "TS_01", "rlnCtfScalefactor", 0, "1e-9");
	survey(&l, false);
	if (l.n != 1) print_all(&l);
	assert_int_equal(l.n, 1);
	assert_int_equal(find(&l, "scale", CYC_FINDING_WARNING)->row, 1);
	cyc_finding_list_deinit(&l);
}

/* Tilts without a defocus are one finding, and not also far from that of the series. */
static void tilts_without_a_defocus(void **state)
{
	(void)state;
	cyc_finding_list l;
	restore(NULL);
	put(TILTS_1, "TS_01", "rlnDefocusU", -1, "30000");
	put(TILTS_1, "TS_01", "rlnDefocusV", -1, "30000");
	for (int64_t row = 1; row < 3; row++) {
		put(TILTS_1, "TS_01", "rlnDefocusU", row, "0");
		put(TILTS_1, "TS_01", "rlnDefocusV", row, "0");
	}
	survey(&l, false);
	int n = 0;
	for (int32_t i = 0; i < l.n; i++) n += strcmp(l.items[i].kind, "defocus") == 0;
	assert_int_equal(n, 1);
	const cyc_finding *f = find(&l, "defocus", CYC_FINDING_WARNING);
	assert_int_equal(f->row, 2);
	assert_int_equal(f->n_more, 1);
	cyc_finding_list_deinit(&l);
	restore(NULL);
}

/* Tables that contradict themselves or each other, and labels that are not read. */
static void contradictions_and_labels(void **state)
{
	(void)state;
	static const struct {
		const char *file, *block, *label, *value;
		int64_t row;
		const char *kind;
	} cases[] = {
		{ TOMOGRAMS, "global", "rlnTomoFrameCount", "41", -1, "contradiction" },
		{ TILTS_1, "TS_01", "rlnTomoDeformationCoefficients", "[1,2,3]", -1, "contradiction" },
		{ TILTS_1, "TS_01", "rlnTomoNominalStageTiltAngle", "40", 0, "stage-angle" },
		{ TILTS_1, "TS_01", "rlnMicrographPreExposure", "5", -1, "no-dose" },
		{ TILTS_1, "TS_01", "rlnTomoYTilt", "0.5", -1, "stage-angle" },
		{ TILTS_1, "TS_01", "rlnDefocusAngle", "400", 0, "value" },
		{ TILTS_1, "TS_01", "rlnDefocusU", "80000", 2, "defocus" },
		{ TILTS_1, "TS_01", "rlnCtfScalefactor", "20", 3, "scale" },
		{ TOMOGRAMS, "global", "rlnOpticsGroupName", "other", 0, NULL },
		{ TILTS_1, "TS_01", "rlnCtfScalefactor", "20", -1, "series-scale" },
		{ TOMOGRAMS, "global", "rlnTomoSizeX", "4000", 0, "tomogram-size" },
		{ PARTICLES, "particles", "rlnOriginX", "3.5", 4, "label" },
		{ PARTICLES, "particles", "rlnPhaseShift", "90", -1, "label" },
		{ PARTICLES, "particles", "rlnVoltage", "200", -1, "label" },
		{ PARTICLES, "particles", "rlnDetectorPixelSize", "16", -1, "voxel-size" },
		{ PARTICLES, "optics", "rlnImagePixelSize", "16", -1, "voxel-size" },
		{ PARTICLES, "particles", "rlnangletilt", "3", -1, NULL },
		{ PARTICLES, "particles", "rlnIsFlip", "1", 7, "label" },
		{ TOMOGRAMS, "global", "rlnPhaseShift", "90", 0, "label" },
		{ TOMOGRAMS, "global", "rlnDefocusU", "30000", 0, "label" },
		{ TILTS_1, "TS_01", "wrpAxisAngle", "84", -1, NULL },
		{ TOMOGRAMS, "global", "rlnTomoHand", "1", 1, "mixed-hands" },
		{ TOMOGRAMS, "global", "rlnTomoImportFractionalDose", "0.3", 1, "dose-step" },
		{ PARTICLES, "particles", "rlnTomoSubTomogramRot", "3", -1, "label" },
		{ TILTS_1, "TS_01", "rlnBeamTiltY", "2", -1, "label" },
		{ PARTICLES, "particles", "rlnCenteredCoordinateXAngst", "5000", 2, "outside-images" },
	};
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		cyc_finding_list l;
		restore(NULL);
		put(cases[k].file, cases[k].block, cases[k].label, cases[k].row, cases[k].value);
		survey(&l, false);
		if (cases[k].kind) {
			const cyc_finding *f = find(&l, cases[k].kind, CYC_FINDING_WARNING);
			if (cases[k].row >= 0 && f->row > 0) assert_int_equal(f->row, cases[k].row + 1);
			ASSERT_OK(cyc_finding_raise(&l));
		} else {
			/* The label that is read is there too; a group that no table has contradicts none. */
			assert_int_equal(l.n, 0);
		}
		cyc_finding_list_deinit(&l);
	}
	/* What says nothing new is no finding. */
	restore(NULL);
	put(PARTICLES, "particles", "rlnOriginX", -1, "0");
	put(PARTICLES, "particles", "rlnVoltage", -1, "300");
	put(TOMOGRAMS, "global", "rlnTomoFrameCount", -1, "7");
	expect_nothing(false);
}

/* Trajectories at rest for all particles, in a file that says it has `said` of them. */
static void write_trajectories(int64_t said)
{
	cyc_star *s = NULL;
	cyc_star_block *b;
	cyc_trajectory_file t;
	const double rest[7][3] = { { 0 } };
	ASSERT_OK(cyc_star_read(&s, temp_path(PARTICLES)));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	int32_t column = cyc_star_column(b, "rlnTomoParticleName");
	ASSERT_OK(cyc_trajectory_file_open(&t, temp_path("p/motion.star"), said));
	for (int64_t r = 0; r < cyc_star_n_rows(b); r++)
		ASSERT_OK(cyc_trajectory_file_add(&t, cyc_star_text(b, r, column), rest, 7));
	ASSERT_OK(cyc_trajectory_file_commit(&t));
	cyc_star_destroy(&s);
}

/* RELION reads as many trajectories as their file says that it has. */
static void a_wrong_number_of_trajectories(void **state)
{
	(void)state;
	static const int64_t SAID[] = { 24, 23, 25, 0 };
	g_trajectories = "motion.star";
	restore(NULL);
	for (size_t k = 0; k < sizeof SAID / sizeof *SAID; k++) {
		cyc_finding_list l;
		write_trajectories(SAID[k]);
		survey(&l, false);
		assert_int_equal(l.n, k > 0);
		if (k > 0) {
			const cyc_finding *f = find(&l, "contradiction", CYC_FINDING_WARNING);
			assert_string_equal(f->file, "motion.star");
			assert_string_equal(f->column, "rlnParticleNumber");
			assert_int_equal(f->row, 1);
			assert_true(f->measured.value == (double)SAID[k]);
		}
		cyc_finding_list_deinit(&l);
	}
	g_trajectories = NULL;
}

/* An MTF that a table names, if it is there, goes to the edge of the transforms. */
static void an_mtf_that_ends_early(void **state)
{
	(void)state;
	static const struct {
		const char *rows;
		int64_t row; /* of the warning, -1: none, 0: no row */
	} CASES[] = { { "0 1\n0.25 0.7\n0.495 0.4\n", -1 },
		          { "0 1\n0.25 0.7\n0.4 0.5\n", 3 },
		          { "0 1\n0.25 x\n", 0 },
		          { NULL, -1 } };
	for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
		cyc_finding_list l;
		char text[200];
		restore(NULL);
		put(PARTICLES, "optics", "rlnMtfFileName", -1, CASES[k].rows ? "mtf.star" : "nothere.star");
		if (CASES[k].rows) {
			snprintf(text, sizeof text, "data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n%s",
			         CASES[k].rows);
			temp_write("p/mtf.star", text);
		}
		survey(&l, false);
		assert_int_equal(l.n, CASES[k].row >= 0 ? 2 : 1);
		assert_non_null(find(&l, "label", CYC_FINDING_NOTE));
		if (CASES[k].row >= 0) {
			const cyc_finding *f = find(&l, "mtf", CYC_FINDING_WARNING);
			assert_int_equal(f->row, CASES[k].row);
			assert_string_equal(f->file, "mtf.star");
		}
		cyc_finding_list_deinit(&l);
	}
	restore(NULL);
}

/* Every value of a column (numbers) times a factor. */
static void multiply(const char *file, const char *block, const char *label, double factor)
{
	cyc_star *s = NULL;
	cyc_star_block *b;
	ASSERT_OK(cyc_star_read(&s, temp_path(file)));
	ASSERT_OK(cyc_star_require(&b, s, block));
	int32_t column = cyc_star_column(b, label);
	assert_true(column >= 0);
	for (int64_t r = 0; r < cyc_star_n_rows(b); r++) {
		double v;
		ASSERT_OK(cyc_star_double(&v, b, r, column));
		ASSERT_OK(cyc_star_set_double(b, r, column, factor * v));
	}
	ASSERT_OK(cyc_star_write(s, temp_path(file)));
	cyc_star_destroy(&s);
}

/* Whole columns in another unit: nm, radians, pixels, doses of frames. */
static void other_units(void **state)
{
	(void)state;
	static const struct {
		const char *file, *block, *labels[3], *kind;
		double factor;
	} cases[] = {
		{ TILTS_1, "TS_01", { "rlnDefocusU", "rlnDefocusV" }, "defocus", 0.1 },
		{ TILTS_1, "TS_01", { "rlnDefocusU", "rlnDefocusV" }, "defocus", 1e-4 },
		{ TILTS_1, "TS_01", { "rlnMicrographPreExposure" }, "dose-step", 0.1 },
		{ TILTS_2, "TS_02", { "rlnMicrographPreExposure" }, "dose-step", 8 },
		{ PARTICLES, "particles", { "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi" }, "angles", CYC_PI / 180 },
		{ PARTICLES,
		  "particles",
		  { "rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst" },
		  "coordinates",
		  0.1 },
		{ PARTICLES,
		  "particles",
		  { "rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst" },
		  "coordinates",
		  0.25 },
	};
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		cyc_finding_list l;
		restore(NULL);
		for (int a = 0; a < 3 && cases[k].labels[a]; a++)
			multiply(cases[k].file, cases[k].block, cases[k].labels[a], cases[k].factor);
		survey(&l, false);
		const cyc_finding *f = find(&l, cases[k].kind, CYC_FINDING_WARNING);
		if (strcmp(cases[k].file, TILTS_1) == 0) assert_int_equal(f->i_series, 0);
		cyc_finding_list_deinit(&l);
	}
	/* A phase plate, doses that differ as data sets do, and small angles on top of those of subtomograms. */
	restore(NULL);
	multiply(TILTS_1, "TS_01", "rlnDefocusU", 0.2);
	multiply(TILTS_1, "TS_01", "rlnDefocusV", 0.2);
	put(TILTS_1, "TS_01", "rlnPhaseShift", -1, "90");
	multiply(TILTS_2, "TS_02", "rlnMicrographPreExposure", 2);
	put(TOMOGRAMS, "global", "rlnTomoHand", -1, "1");
	put(PARTICLES, "particles", "rlnAngleRot", -1, "2");
	put(PARTICLES, "particles", "rlnAngleTilt", -1, "2");
	put(PARTICLES, "particles", "rlnAnglePsi", -1, "2");
	put(PARTICLES, "particles", "rlnTomoSubtomogramRot", -1, "30");
	put(PARTICLES, "particles", "rlnTomoSubtomogramRot", 0, "-70");
	put(PARTICLES, "particles", "rlnTomoSubtomogramTilt", -1, "60");
	put(PARTICLES, "particles", "rlnTomoSubtomogramPsi", -1, "0");
	expect_nothing(false);
}

/* A picker's table: no angles, or the same for all. Jobs that do not use them do not ask. */
static void no_orientations(void **state)
{
	(void)state;
	static const char *const ANGLES[3] = { "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi" };
	for (int k = 0; k < 2; k++) {
		cyc_finding_list l;
		restore(NULL);
		if (k == 0) {
			cyc_star *s = NULL;
			cyc_star_block *b;
			ASSERT_OK(cyc_star_read(&s, temp_path(PARTICLES)));
			ASSERT_OK(cyc_star_require(&b, s, "particles"));
			for (int a = 0; a < 3; a++) cyc_star_remove_column(b, ANGLES[a]);
			ASSERT_OK(cyc_star_write(s, temp_path(PARTICLES)));
			cyc_star_destroy(&s);
		}
		for (int a = 0; a < 3 && k == 1; a++) put(PARTICLES, "particles", ANGLES[a], -1, "0");
		survey(&l, false);
		const cyc_finding *f = find(&l, "orientations", CYC_FINDING_WARNING);
		assert_string_equal(f->column, "rlnAngleRot");
		assert_non_null(strstr(f->found, k == 0 ? "no orientations" : "same orientation"));
		assert_non_null(strstr(f->action, "--healpix-order"));
		cyc_finding_list_deinit(&l);
	}
	/* Angles of subtomograms are orientations, too. */
	for (int a = 0; a < 3; a++) {
		char sub[40];
		snprintf(sub, sizeof sub, "rlnTomoSubtomogram%s", ANGLES[a] + strlen("rlnAngle"));
		put(PARTICLES, "particles", sub, -1, "0");
		for (int64_t r = 0; r < 12; r++) put(PARTICLES, "particles", sub, r, a == 1 ? "50" : "-80");
	}
	expect_nothing(false);
}

static void particles_twice(void **state)
{
	(void)state;
	cyc_finding_list l;
	cyc_star *s = NULL;
	cyc_star_block *b;
	static const char *const LABELS[] = { "rlnTomoName", "rlnCenteredCoordinateXAngst",
		                                  "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst" };
	ASSERT_OK(cyc_star_read(&s, temp_path(PARTICLES)));
	ASSERT_OK(cyc_star_require(&b, s, "particles"));
	for (size_t k = 0; k < sizeof LABELS / sizeof *LABELS; k++) {
		int32_t column = cyc_star_column(b, LABELS[k]);
		char *text = NULL;
		ASSERT_OK(cyc_strdup(&text, cyc_star_text(b, 0, column)));
		for (int64_t r = 1; r < 3; r++) ASSERT_OK(cyc_star_set_text(b, r, column, text));
		cyc_free(text);
	}
	int32_t half = cyc_star_column(b, "rlnRandomSubset");
	ASSERT_OK(cyc_star_set_int(b, 0, half, 1));
	ASSERT_OK(cyc_star_set_int(b, 1, half, 1));
	ASSERT_OK(cyc_star_set_int(b, 2, half, 2));
	ASSERT_OK(cyc_star_write(s, temp_path(PARTICLES)));
	cyc_star_destroy(&s);
	survey(&l, false);
	assert_non_null(find(&l, "duplicates-across", CYC_FINDING_WARNING));
	assert_non_null(find(&l, "duplicates-within", CYC_FINDING_WARNING));
	cyc_finding_list_deinit(&l);
	restore(NULL);
	put(PARTICLES, "particles", "rlnRandomSubset", -1, "1");
	for (int64_t r = 0; r < 3; r++) put(PARTICLES, "particles", "rlnRandomSubset", r, "2");
	survey(&l, false);
	assert_non_null(find(&l, "half-sets", CYC_FINDING_WARNING));
	cyc_finding_list_deinit(&l);
}

/* Corner coordinates of a tomogram that was binned by 4, and centred ones that are not. */
static void coordinates(void **state)
{
	(void)state;
	static const char *const CORNER[3] = { "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ" };
	static const char *const CENTERED[3] = { "rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst",
		                                     "rlnCenteredCoordinateZAngst" };
	for (int pass = 0; pass < 3; pass++) {
		cyc_finding_list l;
		cyc_star *s = NULL, *t = NULL;
		cyc_star_block *b, *global;
		restore(NULL);
		ASSERT_OK(cyc_star_read(&s, temp_path(PARTICLES)));
		ASSERT_OK(cyc_star_read(&t, temp_path(TOMOGRAMS)));
		ASSERT_OK(cyc_star_require(&b, s, "particles"));
		ASSERT_OK(cyc_star_require(&global, t, "global"));
		for (int a = 0; a < 3; a++) {
			static const char *const SIZE[3] = { "rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ" };
			int32_t corner, centered = cyc_star_column(b, CENTERED[a]);
			double size, px, v;
			ASSERT_OK(cyc_star_double_of(&size, global, 0, SIZE[a]));
			ASSERT_OK(cyc_star_double_of(&px, global, 0, "rlnTomoTiltSeriesPixelSize"));
			ASSERT_OK(cyc_star_ensure_column(&corner, b, pass < 2 ? CORNER[a] : CENTERED[a], "0"));
			for (int64_t r = 0; r < cyc_star_n_rows(b); r++) {
				ASSERT_OK(cyc_star_double(&v, b, r, centered));
				double at_px = v / px + size / 2;
				ASSERT_OK(cyc_star_set_double(b, r, corner,
				                              pass == 0   ? at_px
				                              : pass == 1 ? at_px / 4
				                                          : at_px * px));
			}
		}
		for (int a = 0; a < 3 && pass < 2; a++) cyc_star_remove_column(b, CENTERED[a]);
		ASSERT_OK(cyc_star_write(s, temp_path(PARTICLES)));
		cyc_star_destroy(&s);
		cyc_star_destroy(&t);
		survey(&l, false);
		if (pass == 0 && l.n > 0) print_all(&l);
		if (pass == 0) assert_int_equal(l.n, 0);
		else assert_non_null(find(&l, "coordinates", CYC_FINDING_WARNING));
		cyc_finding_list_deinit(&l);
	}
}

/* ---------------------------------------------------------------- images */

/* The image of a row of series 1 is made again: with other values, or another header. */
static void change_image(const char *name, double factor, double add, double pixel_size_A)
{
	cyc_volume *v = NULL;
	ASSERT_OK(cyc_mrc_read(&v, temp_path(name)));
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] = (float)(factor * (double)v->data[i] + add);
	if (pixel_size_A > 0) v->pixel_size_A = pixel_size_A;
	ASSERT_OK(cyc_mrc_write(temp_path("p/other.mrc"), v, 2, NULL));
	cyc_volume_destroy(&v);
}

static const char *image_of(int64_t row)
{
	static char name[128];
	cyc_star *s = NULL;
	cyc_star_block *b;
	ASSERT_OK(cyc_star_read(&s, temp_path(TILTS_1)));
	ASSERT_OK(cyc_star_require(&b, s, "TS_01"));
	snprintf(name, sizeof name, "p/%s", cyc_star_text_of(b, row, "rlnMicrographName"));
	cyc_star_destroy(&s);
	return name;
}

static void images(void **state)
{
	(void)state;
	cyc_finding_list l;
	char first[128];
	snprintf(first, sizeof first, "%s", image_of(0) + 2);
	/* The same file under another name. */
	assert_int_equal(link(temp_path(image_of(0)), temp_path("p/again.mrc")), 0);
	put(TILTS_1, "TS_01", "rlnMicrographName", 4, "again.mrc");
	survey(&l, false);
	assert_int_equal(find(&l, "image-twice", CYC_FINDING_ERROR)->row, 5);
	cyc_finding_list_deinit(&l);
	restore(NULL);
	put(TILTS_2, "TS_02", "rlnMicrographName", 4, first);
	survey(&l, false);
	assert_int_equal(find(&l, "image-twice", CYC_FINDING_WARNING)->i_series, 1);
	cyc_finding_list_deinit(&l);
	/* A header of super-resolution pixels. */
	restore(NULL);
	change_image(image_of(2), 1, 0, 1.0);
	put(TILTS_1, "TS_01", "rlnMicrographName", 2, "other.mrc");
	survey(&l, false);
	const cyc_finding *f = find(&l, "header-pixel-size", CYC_FINDING_WARNING);
	assert_int_equal(f->row, 3);
	assert_non_null(strstr(f->found, "other.mrc"));
	cyc_finding_list_deinit(&l);
	/* Cut short, missing, a pipe: each an error of its own kind. */
	ASSERT_OK(cyc_write_file(temp_path("p/other.mrc"), "short", 5));
	survey(&l, false);
	ASSERT_FAILS(cyc_finding_raise(&l), CYC_E_FORMAT, "other.mrc", "row 3");
	cyc_finding_list_deinit(&l);
	assert_int_equal(unlink(temp_path("p/other.mrc")), 0);
	survey(&l, false);
	ASSERT_FAILS(cyc_finding_raise(&l), CYC_E_IO, "other.mrc", "row 3", "1 of the 7");
	cyc_finding_list_deinit(&l);
	assert_int_equal(mkfifo(temp_path("p/other.mrc"), 0600), 0);
	survey(&l, false);
	ASSERT_FAILS(cyc_finding_raise(&l), CYC_E_IO, "other.mrc");
	cyc_finding_list_deinit(&l);
	assert_int_equal(unlink(temp_path("p/other.mrc")), 0);
}

static void pixels(void **state)
{
	(void)state;
	static const struct {
		double factor, add;
		const char *kind;
	} cases[] = { { 0, 7, "image-constant" }, { 100, 0, "image-noise" } };
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		cyc_finding_list l;
		restore(NULL);
		change_image(image_of(1), cases[k].factor, cases[k].add, 0);
		put(TILTS_1, "TS_01", "rlnMicrographName", 1, "other.mrc");
		survey(&l, false);
		for (int32_t i = 0; i < l.n; i++) assert_string_not_equal(l.items[i].kind, cases[k].kind);
		cyc_finding_list_deinit(&l);
		survey(&l, true);
		assert_int_equal(find(&l, cases[k].kind, CYC_FINDING_WARNING)->row, 2);
		cyc_finding_list_deinit(&l);
	}
	/* One pixel that is no number, far from the rows that a glance looks at. */
	cyc_finding_list l;
	float nan = NAN;
	change_image(image_of(1), 1, 0, 0);
	FILE *f = fopen(temp_path("p/other.mrc"), "r+b");
	assert_non_null(f);
	assert_int_equal(fseek(f, 1024, SEEK_SET), 0);
	assert_int_equal(fwrite(&nan, sizeof nan, 1, f), 1);
	assert_int_equal(fclose(f), 0);
	survey(&l, true);
	const cyc_finding *d = find(&l, "image", CYC_FINDING_ERROR);
	assert_int_equal(d->row, 2);
	assert_non_null(strstr(d->found, "voxel x 0, y 0"));
	cyc_finding_list_deinit(&l);
}

/* Images of one series with 16 times the grey values. */
/* Copies of an image, in one series or two; of small projects all pixels are read. */
static void copies_and_small_projects(void **state)
{
	(void)state;
	cyc_finding_list l;
	change_image(image_of(2), 1, 0, 0);
	put(TILTS_1, "TS_01", "rlnMicrographName", 5, "other.mrc");
	survey(&l, true);
	const cyc_finding *f = find(&l, "image-twice", CYC_FINDING_WARNING);
	assert_int_equal(f->i_series, 0);
	assert_int_equal(f->row, 6);
	assert_non_null(strstr(f->found, "row 3"));
	cyc_finding_list_deinit(&l);
	put(TILTS_1, "TS_01", "rlnCtfScalefactor", 5, "0");
	expect_nothing(true);
	restore(NULL);
	put(TILTS_2, "TS_02", "rlnMicrographName", 5, "other.mrc");
	survey(&l, true);
	assert_int_equal(find(&l, "image-twice", CYC_FINDING_WARNING)->i_series, 1);
	cyc_finding_list_deinit(&l);
	/* A pixel of the fourth tilt is no number. */
	restore(NULL);
	cyc_volume *v = NULL;
	ASSERT_OK(cyc_mrc_read(&v, temp_path(image_of(3))));
	double n_pixels = 14.0 * v->nx * v->ny;
	cyc_volume_destroy(&v);
	change_image(image_of(3), 1, 0, 0);
	char *bytes = NULL;
	size_t n;
	ASSERT_OK(cyc_read_file(&bytes, &n, temp_path("p/other.mrc")));
	cyc_free(bytes);
	FILE *file = fopen(temp_path("p/other.mrc"), "r+b");
	assert_non_null(file);
	const float no_number = (float)CYC_NAN;
	assert_int_equal(fseek(file, (long)n - 4 * 1000, SEEK_SET), 0);
	assert_int_equal(fwrite(&no_number, sizeof no_number, 1, file), 1);
	assert_int_equal(fclose(file), 0);
	put(TILTS_1, "TS_01", "rlnMicrographName", 3, "other.mrc");
	survey_images_of(&l, false, n_pixels - 1);
	assert_int_equal(cyc_finding_count(&l, CYC_FINDING_ERROR), 0);
	cyc_finding_list_deinit(&l);
	survey_images_of(&l, false, n_pixels);
	assert_int_equal(find(&l, "image", CYC_FINDING_ERROR)->row, 4);
	cyc_finding_list_deinit(&l);
}

static void grey_values(void **state)
{
	(void)state;
	cyc_finding_list l;
	char name[32], path[48];
	for (int64_t r = 0; r < 7; r++) {
		cyc_volume *v = NULL;
		ASSERT_OK(cyc_mrc_read(&v, temp_path(image_of(r))));
		for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] *= 16;
		snprintf(name, sizeof name, "loud_%d.mrc", (int)r);
		snprintf(path, sizeof path, "p/%s", name);
		ASSERT_OK(cyc_mrc_write(temp_path(path), v, 2, NULL));
		cyc_volume_destroy(&v);
		put(TILTS_1, "TS_01", "rlnMicrographName", r, name);
	}
	survey(&l, false);
	assert_int_equal(find(&l, "grey-values", CYC_FINDING_WARNING)->i_series, 0);
	assert_int_equal(l.n, 1);
	cyc_finding_list_deinit(&l);
}

/* ---------------------------------------------------------------- what jobs check */

static void masks_and_folders(void **state)
{
	(void)state;
	cyc_volume *v = NULL;
	char root[256];
	snprintf(root, sizeof root, "%s", temp_path("p"));
	ASSERT_OK(cyc_volume_create(&v, 16, 16, 16, 4));
#define MASK() ASSERT_OK(cyc_mrc_write(temp_path("p/m.mrc"), v, 2, NULL))
	MASK();
	ASSERT_FAILS(cyc_check_mask(root, "m.mrc", "--mask", 16, 4), CYC_E_DATA, "m.mrc", "--mask",
	             "no voxel is above 0.5");
	v->data[8 + 16 * 8 + 256 * 9] = 1;
	MASK();
	ASSERT_FAILS(cyc_check_mask(root, "m.mrc", "--mask", 16, 4), CYC_E_DATA, "m.mrc", "less than 2 px");
	v->data[5 + 16 * 6 + 256 * 7] = 1;
	MASK();
	ASSERT_OK(cyc_check_mask(root, "m.mrc", "--mask", 16, 4));
	ASSERT_FAILS(cyc_check_mask(root, "m.mrc", "--mask", 18, 4), CYC_E_SHAPE, "16 x 16 x 16", "18 cubed");
	ASSERT_FAILS(cyc_check_mask(root, "m.mrc", "--mask", 16, 2), CYC_E_SHAPE, "pixels of 4", "2");
	v->data[3] = 1.05F;
	MASK();
	ASSERT_FAILS(cyc_check_mask(root, "m.mrc", "--mask", 16, 4), CYC_E_DATA, "voxel 3, 0, 0 is 1.05");
	v->data[3] = 0;
	v->pixel_size_A = 0;
	MASK();
	ASSERT_FAILS(cyc_check_mask(root, "m.mrc", "--mask", 16, 4), CYC_E_DATA, "no pixel size");
	ASSERT_OK(cyc_check_mask(root, "m.mrc", "--mask", 16, 0));
	ASSERT_OK(cyc_check_mask(root, NULL, "--mask", 16, 4));
	/* All of the box is a mask, its corners alone are not; nor is a shell of a virus inverted. */
	for (size_t i = 0; i < 4096; i++) v->data[i] = 1;
	MASK();
	ASSERT_OK(cyc_check_mask(root, "m.mrc", "--mask", 16, 0));
	v->data[8 + 16 * 8 + 256 * 8] = 0;
	MASK();
	ASSERT_FAILS(cyc_check_mask(root, "m.mrc", "--mask", 16, 0), CYC_E_DATA, "m.mrc", "is inverted");
	v->data[4095] = 0;
	MASK();
	ASSERT_OK(cyc_check_mask(root, "m.mrc", "--mask", 16, 0));
	ASSERT_FAILS(cyc_check_mask(root, "no.mrc", "--mask", 16, 4), CYC_E_IO, "no.mrc");
	cyc_volume_destroy(&v);
	ASSERT_OK(cyc_check_output(root, "new/job001/", 1e3));
	ASSERT_OK(cyc_check_output("", temp_dir, 0));
	assert_false(temp_exists("p/new"));
	ASSERT_FAILS(cyc_check_output(root, "m.mrc", 0), CYC_E_IO, "not a folder");
	ASSERT_FAILS(cyc_check_output(root, "m.mrc/job001", 0), CYC_E_IO, "m.mrc");
	ASSERT_FAILS(cyc_check_output("", "/proc/job", 0), CYC_E_IO, "/proc");
	ASSERT_FAILS(cyc_check_output(root, "new", 1e30), CYC_E_IO, "Not enough space", "new");
	assert_int_equal(symlink("nowhere", temp_path("p/link")), 0);
	ASSERT_FAILS(cyc_check_output(root, "link/job", 0), CYC_E_IO, "is a broken link");
}

/* A job stops before it has made anything, unless its caller has looked already. */
static void jobs_stop_at_errors(void **state)
{
	(void)state;
	cyc_reconstruct_options o;
	cyc_reconstruct_options_default(&o);
	put(TILTS_1, "TS_01", "rlnTomoXShiftAngst", 2, "1e30");
	o.input = (cyc_project_input){ .root = temp_path("p"), .optimisation_set = "optimisation_set.star" };
	o.out_dir = "R";
	o.box_px = 24;
	o.taper_px = 3;
	ASSERT_FAILS(cyc_reconstruct_run(NULL, &o), CYC_E_DATA, "TS_01", "_rlnTomoXShiftAngst is 1e+30", "row 3");
	assert_false(temp_exists("p/R"));
	o.input.is_checked = true;
	ASSERT_OK(cyc_reconstruct_run(NULL, &o));
	restore(NULL);
	o.symmetry = "X7";
	ASSERT_FAILS(cyc_reconstruct_run(NULL, &o), CYC_E_USAGE, "X7");
	o.symmetry = "C1";
	o.box_px = 4000;
	ASSERT_FAILS(cyc_reconstruct_run(NULL, &o), CYC_E_SHAPE, "4000 px is larger than the tilt images");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, restore)
	const struct CMUnitTest tests[] = {
		TEST(a_right_project_has_no_findings),
		TEST(impossible_values),
		TEST(excluded_tilts_are_not_looked_at),
		TEST(many_rows_are_one_finding),
		TEST(a_scale_of_nearly_nothing),
		TEST(tilts_without_a_defocus),
		TEST(contradictions_and_labels),
		TEST(a_wrong_number_of_trajectories),
		TEST(an_mtf_that_ends_early),
		TEST(other_units),
		TEST(no_orientations),
		TEST(particles_twice),
		TEST(coordinates),
		TEST(images),
		TEST(pixels),
		TEST(copies_and_small_projects),
		TEST(grey_values),
		TEST(masks_and_folders),
		TEST(jobs_stop_at_errors),
	};
	return cmocka_run_group_tests(tests, simulate, clean_up);
}

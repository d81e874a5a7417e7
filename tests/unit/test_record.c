/* Records: used as a whole or not at all. Hashes: everything that a result depends on changes them. */
#include "cyclotomo/record.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "temp_dir.h"
#include "small_project.h"

static char g_warnings[4000];
static void note_warning(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	(void)level;
	size_t n = strlen(g_warnings);
	snprintf(g_warnings + n, sizeof g_warnings - n, "%s\n", text);
}
#define ASSERT_WARNED(text) assert_non_null(strstr(g_warnings, text))

static const char KIND[] = "a test";
enum { KEY = 4711, N_NUMBERS = 300 };

static void put_record(const char *path)
{
	double numbers[N_NUMBERS];
	const int64_t sizes[2] = { 3, N_NUMBERS };
	for (int i = 0; i < N_NUMBERS; i++) numbers[i] = 0.1 * i;
	const cyc_record_part parts[3] = { { sizes, sizeof *sizes, 2 },
		                               { numbers, sizeof *numbers, N_NUMBERS },
		                               { NULL, 8, 0 } };
	ASSERT_OK(cyc_record_write(path, KIND, KEY, parts, 3));
}

static bool opens(const char *path, const char *kind, uint64_t key)
{
	cyc_record *r = NULL;
	g_warnings[0] = '\0';
	ASSERT_OK(cyc_record_open(&r, path, kind, key, "nothing is lost", NULL));
	bool is_open = r != NULL;
	cyc_record_close(&r);
	return is_open;
}

static void round_trip(void **state)
{
	(void)state;
	const char *path = temp_path("round.record");
	cyc_record *r = NULL;
	double numbers[N_NUMBERS];
	int64_t sizes[2], n_other = 0;
	put_record(path);
	g_warnings[0] = '\0';
	ASSERT_OK(cyc_record_open(&r, path, KIND, KEY, "nothing is lost", NULL));
	assert_non_null(r);
	assert_true(cyc_record_has(r, 0, sizeof *sizes, 2) && !cyc_record_has(r, 0, sizeof *sizes, 3));
	assert_false(cyc_record_has(r, 0, 4, 2) || cyc_record_has(r, 3, 8, 0) || cyc_record_has(r, -1, 8, 0));
	assert_int_equal(cyc_record_count(r, 1, sizeof(double)), N_NUMBERS);
	assert_int_equal(cyc_record_count(r, 1, sizeof(float)), 0);
	ASSERT_OK(cyc_record_read(r, 0, sizes, sizeof *sizes, 2));
	ASSERT_OK(cyc_record_read(r, 1, numbers, sizeof *numbers, N_NUMBERS));
	ASSERT_FAILS(cyc_record_read(r, 1, numbers, sizeof *numbers, N_NUMBERS - 1), CYC_E_FORMAT, "other sizes");
	assert_int_equal(sizes[1], N_NUMBERS);
	for (int i = 0; i < N_NUMBERS; i++) assert_true(numbers[i] == 0.1 * i);
	cyc_record_close(&r);
	assert_string_equal(g_warnings, "");
	/* Another key or kind is another result; where there may be many, they are counted. */
	assert_false(opens(path, KIND, KEY + 1));
	ASSERT_WARNED("round.record' was made with other input or options; nothing is lost");
	assert_false(opens(path, "something else", KEY));
	ASSERT_WARNED("is another kind of record");
	g_warnings[0] = '\0';
	ASSERT_OK(cyc_record_open(&r, path, KIND, KEY + 1, "nothing is lost", &n_other));
	assert_null(r);
	assert_int_equal(n_other, 1);
	assert_string_equal(g_warnings, "");
	/* None is no reason to warn. */
	assert_false(opens(temp_path("nothing.record"), KIND, KEY));
	assert_string_equal(g_warnings, "");
}

/* Every byte counts: changed anywhere, cut anywhere, or longer, a record is not used, and a warning names it.
 */
static void damage(void **state)
{
	(void)state;
	const char *path = temp_path("damaged.record");
	char *data = NULL;
	size_t n = 0;
	put_record(path);
	ASSERT_OK(cyc_read_file(&data, &n, path));
	for (size_t i = 0; i < n; i += i < 300 ? 1 : 37) {
		data[i] ^= 0x20;
		ASSERT_OK(cyc_write_file(path, data, n));
		if (opens(path, KIND, KEY)) fail_msg("byte %zu of %zu was changed unnoticed", i, n);
		ASSERT_WARNED("damaged.record' ");
		data[i] ^= 0x20;
		ASSERT_OK(cyc_write_file(path, data, i));
		if (opens(path, KIND, KEY)) fail_msg("%zu of %zu bytes were accepted", i, n);
		ASSERT_WARNED(i < 8 ? "is not used" : "is truncated and is not used; nothing is lost");
	}
	char *longer = NULL;
	ASSERT_OK(cyc_alloc(&longer, n + 8, 1));
	memcpy(longer, data, n);
	ASSERT_OK(cyc_write_file(path, longer, n + 8));
	assert_false(opens(path, KIND, KEY));
	ASSERT_WARNED("is longer than when it was written");
	ASSERT_OK(cyc_write_file(path, data, n));
	assert_true(opens(path, KIND, KEY));
	assert_int_equal(mkfifo(temp_path("pipe.record"), 0600), 0);
	assert_false(opens(temp_path("pipe.record"), KIND, KEY));
	ASSERT_WARNED("cannot be read");
	cyc_free(longer);
	cyc_free(data);
}

static void texts(void **state)
{
	(void)state;
	const char *path = temp_path("text.record");
	char *text = NULL;
	cyc_text_stream s = { 0 };
	ASSERT_OK(cyc_text_stream_open(&s));
	for (int i = 0; i < 1000; i++) fprintf(s.f, "%d\n", i);
	ASSERT_OK(cyc_text_stream_finish(&s));
	ASSERT_OK(cyc_record_write_text(path, KIND, KEY, s.text));
	ASSERT_OK(cyc_record_read_text(&text, path, KIND, KEY, "", NULL));
	assert_string_equal(text, s.text);
	cyc_free(text);
	ASSERT_OK(cyc_record_read_text(&text, temp_path("nothing.record"), KIND, KEY, "", NULL));
	assert_null(text);
	cyc_text_stream_deinit(&s);
}

/* ---------------------------------------------------------------- hashes */

static uint64_t hash_of_project(void)
{
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *p = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", temp_dir));
	ASSERT_OK(cyc_particle_set_read(&p, "particles.star", "motion.star", t, temp_dir));
	uint64_t h = cyc_project_hash(CYC_HASH_INIT, t, p);
	ASSERT_OK(cyc_images_hash(&h, t, p, temp_dir, true));
	cyc_particle_set_destroy(&p);
	cyc_tomogram_set_destroy(&t);
	return h;
}

/* A word of a file is replaced: the hash is another; put back: the old one. */
static void assert_counts(const char *file, const char *from, const char *to, uint64_t was)
{
	char *text = NULL, *other = NULL;
	size_t n;
	ASSERT_OK(cyc_read_file(&text, &n, temp_path(file)));
	char *at = strstr(text, from);
	assert_non_null(at);
	ASSERT_OK(cyc_asprintf(&other, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)));
	temp_write(file, other);
	if (hash_of_project() == was) fail_msg("%s: '%s' instead of '%s' changes no hash", file, to, from);
	temp_write(file, text);
	assert_true(hash_of_project() == was);
	cyc_free(text);
	cyc_free(other);
}

static void what_counts(void **state)
{
	(void)state;
	small_project_write();
	temp_write("Import/job001/tilt_series/TS_01.star",
	           "data_TS_01\nloop_\n_rlnMicrographName\n_rlnMicrographPreExposure\n_rlnTomoXTilt\n_"
	           "rlnTomoYTilt\n_rlnTomoZRot\n"
	           "_rlnTomoXShiftAngst\n_rlnTomoYShiftAngst\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_"
	           "rlnCtfScalefactor\n"
	           "_rlnTomoNominalStageTiltAngle\n_rlnTomoDeformationCoefficients\n_rlnMyColumn\n"
	           "frames/a1.mrc 6 3 25 80 5 -7 30000 29000 45 0.9 24.7 [1,2,3,4] p\n"
	           "frames/a2.mrc 0 3 0 80 4 -6 31000 30000 -30 1 0.3 [1,2,3,4] q\n"
	           "frames/a3.mrc 3 3 -25 80 3 -5 32000 31000 10 0.8 -24.3 [1,2,3,4] r\n");
	temp_write(
		"tomograms.star", TOMOGRAMS_HEAD
		"_rlnTomoImportFractionalDose\n_rlnTomoDeformationType\n_rlnTomoDeformationGridSizeX\n"
		"_rlnTomoDeformationGridSizeY\n_rlnTomoTiltSeriesStarFile\n"
		"TS_01 300 2.7 0.1 2.0 -1 100 100 60 og1 \"my own\" 3.25 Fourier 3 4 "
		"Import/job001/tilt_series/TS_01.star\n"
		"TS_02 300 2.7 0.1 2.0 1 200 100 60 og2 other 1.5 none 3 4 Import/job001/tilt_series/TS_02.star\n");
	const char *tilts = "Import/job001/tilt_series/TS_01.star";
	uint64_t was = hash_of_project();
	assert_counts(tilts, " 24.7 ", " 24.8 ", was);
	assert_counts(tilts, "[1,2,3,4]", "[1,2,3,5]", was);
	assert_counts(tilts, "_rlnTomoNominalStageTiltAngle", "_someOtherAngle", was);
	assert_counts(tilts, " 31000 ", " 31001 ", was);
	assert_counts(tilts, " q\n", " changed\n", was);
	assert_counts("tomograms.star", " 3.25 ", " 3.26 ", was);
	assert_counts("tomograms.star", " none 3 4", " linear 3 4", was);
	assert_counts("tomograms.star", " Fourier 3 4", " Fourier 4 3", was);
	assert_counts("particles.star", "[]\n2 og2 300.0005 2.0 [0.5,-1]", "[0.5,-1]\n2 og2 300.0005 2.0 []",
	              was);
	assert_counts("particles.star", "[]\n2 og2 300.0005 2.0 [0.5,-1]", "[0.5]\n2 og2 300.0005 2.0 [-1]", was);
	assert_counts("particles.star", "TS_01/1 1 12", "TS_01/1 2 12", was);
	assert_counts("particles.star", " 12 -9", " 12.001 -9", was);
	assert_counts("motion.star", "4 5 6", "4 5 7", was);
}

static void set_time(const char *name, long s)
{
	const struct timespec t[2] = { { .tv_sec = s }, { .tv_sec = s } };
	assert_int_equal(utimensat(AT_FDCWD, temp_path(name), t, 0), 0);
}

/* Other images under the old names: of another time, another size or another header. */
static void images_count(void **state)
{
	(void)state;
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *p = NULL;
	uint64_t h[2], other;
	small_project_write();
	set_time("frames/a2.mrc", 1000000);
	uint64_t was = hash_of_project();
	set_time("frames/a2.mrc", 1000001);
	assert_true(hash_of_project() != was);
	set_time("frames/a2.mrc", 1000000);
	assert_true(hash_of_project() == was);
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", temp_dir));
	ASSERT_OK(cyc_particle_set_read(&p, "particles.star", NULL, t, temp_dir));
	for (int i = 0; i < 2; i++) {
		h[i] = CYC_HASH_INIT;
		ASSERT_OK(cyc_images_hash(&h[i], t, p, temp_dir, false));
		set_time("frames/a1.mrc", 2000000 + i); /* of which no notice is taken here */
	}
	assert_true(h[0] == h[1]);
	small_project_image("frames/a1.mrc", 2);
	other = CYC_HASH_INIT;
	ASSERT_OK(cyc_images_hash(&other, t, p, temp_dir, false));
	assert_true(other != h[0]);
	assert_int_equal(unlink(temp_path("frames/a1.mrc")), 0);
	h[1] = CYC_HASH_INIT;
	ASSERT_OK(cyc_images_hash(&h[1], t, p, temp_dir, false));
	assert_true(h[1] != h[0] && h[1] != other);
	cyc_particle_set_destroy(&p);
	cyc_tomogram_set_destroy(&t);
}

static void star_hashes(void **state)
{
	(void)state;
	cyc_star *s = NULL, *again = NULL;
	const char *text = "data_a\n_x 1\n_y 'two words'\n\ndata_b\nloop_\n_u\n_v\n1 2\n3 4\n";
	ASSERT_OK(cyc_star_parse(&s, text, strlen(text), "text"));
	cyc_star_block *b = cyc_star_find(s, "b");
	ASSERT_OK(cyc_star_set_double(b, 0, 0, 1.5));
	ASSERT_OK(cyc_star_write(s, temp_path("written.star")));
	ASSERT_OK(cyc_star_read(&again, temp_path("written.star")));
	assert_true(cyc_star_hash(1, s, NULL) == cyc_star_hash(1, again, NULL));
	assert_true(cyc_star_hash(1, s, NULL) != cyc_star_hash(2, s, NULL));
	uint64_t without = cyc_star_hash(1, s, "a"), with = cyc_star_hash(1, s, NULL);
	ASSERT_OK(cyc_star_set_text(cyc_star_find(s, "a"), 0, 1, "two words."));
	assert_true(cyc_star_hash(1, s, NULL) != with && cyc_star_hash(1, s, "a") == without);
	/* Values cannot move between cells unnoticed. */
	ASSERT_OK(cyc_star_set_text(b, 1, 0, "34"));
	ASSERT_OK(cyc_star_set_text(b, 1, 1, ""));
	uint64_t moved = cyc_star_hash(1, s, NULL);
	ASSERT_OK(cyc_star_set_text(b, 1, 0, "3"));
	ASSERT_OK(cyc_star_set_text(b, 1, 1, "4"));
	assert_true(cyc_star_hash(1, s, NULL) != moved);
	cyc_star_destroy(&s);
	cyc_star_destroy(&again);
}

/* ---------------------------------------------------------------- files */

static bool wants_stars(const char *name) { return strstr(name, ".star") != NULL; }

static void file_hashes(void **state)
{
	(void)state;
	char *data = NULL;
	size_t n = 3000001;
	uint64_t whole, part, again;
	ASSERT_OK(cyc_alloc(&data, n, 1));
	for (size_t i = 0; i < n; i++) data[i] = (char)(i * i >> 7);
	ASSERT_OK(cyc_write_file(temp_path("big"), data, n));
	ASSERT_OK(cyc_hash_file(&whole, temp_path("big")));
	assert_true(whole == cyc_hash(CYC_HASH_INIT, data, n)); /* pieces leave no trace */
	ASSERT_OK(cyc_hash_file_part(&part, temp_path("big"), 1000, (int64_t)n - 1000));
	assert_true(part == cyc_hash(CYC_HASH_INIT, data + 1000, n - 1000));
	ASSERT_FAILS(cyc_hash_file_part(&part, temp_path("big"), 1000, (int64_t)n), CYC_E_IO, "3000001",
	             "2999001");
	data[n - 1] ^= 1;
	ASSERT_OK(cyc_write_file(temp_path("big"), data, n));
	ASSERT_OK(cyc_hash_file(&again, temp_path("big")));
	assert_true(again != whole);
	ASSERT_FAILS(cyc_hash_file(&again, temp_path("nothing")), CYC_E_IO, "nothing");
	cyc_free(data);
}

static void marks(void **state)
{
	(void)state;
	cyc_file_marks m = { 0 };
	cyc_file_state states[4];
	static const char *const FILES[] = { "out/b.star",       "out/sub/a.star",   "out/c.mrc",
		                                 "out/.hidden.star", "out/d.star.tmp12", "out/temp/e.star" };
	for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) temp_write(FILES[i], "some text");
	ASSERT_OK(cyc_file_marks_add_folder(&m, temp_dir, "out/", wants_stars));
	assert_int_equal(m.n, 2);
	assert_string_equal(m.items[0].name, "out/b.star");
	assert_string_equal(m.items[1].name, "out/sub/a.star");
	ASSERT_OK(cyc_file_marks_add(&m, "out/c.mrc"));
	ASSERT_OK(cyc_file_marks_add(&m, "out/b.star"));
	assert_int_equal(m.n, 3);
	ASSERT_OK(cyc_file_marks_take(&m, temp_dir, 2));
	ASSERT_OK(cyc_file_marks_compare(states, &m, temp_dir, 2));
	for (int i = 0; i < 3; i++) assert_int_equal(states[i], CYC_FILE_SAME);
	uint64_t h = cyc_file_marks_hash(1, &m);
	temp_write("out/b.star", "some texT");
	assert_int_equal(unlink(temp_path("out/sub/a.star")), 0);
	temp_write("out/c.mrc", "some tex");
	ASSERT_OK(cyc_file_marks_compare(states, &m, temp_dir, 1));
	assert_int_equal(states[0], CYC_FILE_CHANGED);
	assert_int_equal(states[1], CYC_FILE_MISSING);
	assert_int_equal(states[2], CYC_FILE_CHANGED);
	m.items[1].hash++;
	assert_true(cyc_file_marks_hash(1, &m) != h);
	ASSERT_FAILS(cyc_file_marks_take(&m, temp_dir, 1), CYC_E_IO, "sub/a.star");
	cyc_file_marks_deinit(&m);
	ASSERT_OK(cyc_file_marks_add_folder(&m, temp_dir, "no folder", NULL));
	assert_int_equal(m.n, 0);
}

static int g_n_heard;
static void hear(void *user, cyc_log_level level, const char *text)
{
	(void)user, (void)level, (void)text;
	g_n_heard++;
}

/* What was logged while a record was made is in it. Opening gives it again: to a process that has not given
 * it yet, and to a listener in any case. */
static void log_of_record(void **state)
{
	(void)state;
	static const char KEPT[] = "\1the image is dark\0\1the image is bright\0\1cut of";
	const char *path = temp_path("log.record");
	size_t n;
	g_warnings[0] = '\0';
	cyc_log_keep();
	cyc_log_repeat(KEPT, sizeof KEPT - 1);
	assert_string_equal(g_warnings, "the image is dark\nthe image is bright\n");
	cyc_warn("the image is noisy");
	cyc_log_kept(&n);
	assert_int_equal(n, sizeof "-the image is dark" + sizeof "-the image is bright" +
	                        sizeof "-the image is noisy");
	put_record(path);
	cyc_log_keep_end();
	put_record(temp_path("silent.record"));
	cyc_log_set_warning_listener(hear, NULL);
	assert_true(opens(path, KIND, KEY));
	assert_string_equal(g_warnings, ""); /* given already */
	assert_int_equal(g_n_heard, 3);
	assert_true(opens(temp_path("silent.record"), KIND, KEY));
	assert_int_equal(g_n_heard, 3);
	cyc_log_set_warning_listener(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),  cmocka_unit_test(damage),       cmocka_unit_test(texts),
		cmocka_unit_test(what_counts), cmocka_unit_test(images_count), cmocka_unit_test(star_hashes),
		cmocka_unit_test(file_hashes), cmocka_unit_test(marks),        cmocka_unit_test(log_of_record),
	};
	cyc_log_set_sink(note_warning, NULL, CYC_LOG_WARN);
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

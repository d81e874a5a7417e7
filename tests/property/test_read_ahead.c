/* Reading the next tilt image while one is worked on changes nothing: pixels, what is told, and errors are
 * those of reading image after image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "project_fixture.h"

#include "cyclotomo/project.h"
#include "images/read_ahead.h"
#include "images/tilt_image.h"

enum { N_TILTS = 7, EXCLUDED = 3, BROKEN = 5 };

static int make_project(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	cyc_simulate_options p = simulated_project("p");
	p.n_series = 2;
	p.n_tilts = N_TILTS;
	p.tilt_step_rad = cyc_deg_to_rad(15);
	p.n_particles = 2;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	return 0;
}

static cyc_tomogram_set *open_project(void)
{
	cyc_tomogram_set *t;
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", g_root));
	ASSERT_OK(cyc_tilt_series_open_for(&t->series[0], g_root, 48));
	t->series[0].tilts[EXCLUDED].scale = 0;
	return t;
}

static char g_log[4000];

static void keep_log(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	(void)level;
	size_t n = strlen(g_log);
	snprintf(g_log + n, sizeof g_log - n, "%s\n", text);
}

/* A pass over the series; hashes of the images, 0 of those that are left out. */
static void pass(uint64_t hash[N_TILTS], int n_readers, const int32_t *order, int32_t n)
{
	cyc_tomogram_set *t = open_project();
	cyc_backend *be;
	cyc_tilt_image image = { .reads_ahead = n_readers > 0 };
	int n_threads = 2;
	while (cyc_n_readers(n_threads) < n_readers) n_threads++;
	ASSERT_OK(cyc_backend_open(&be, "cpu", n_threads));
	g_log[0] = 0;
	cyc_log_set_sink(keep_log, NULL, CYC_LOG_INFO);
	memset(hash, 0, N_TILTS * sizeof *hash);
	for (int32_t i = 0; i < n; i++) {
		const cyc_tilt_series *ts = &t->series[0];
		size_t bytes = (size_t)ts->image_nx * (size_t)ts->image_ny * sizeof(float);
		float *device;
		if (ts->tilts[order[i]].scale == 0) continue;
		ASSERT_OK(cyc_tilt_image_load(&image, be, ts, order[i]));
		hash[order[i]] = cyc_hash(CYC_HASH_INIT, image.loaded.pixels, bytes);
		ASSERT_OK(cyc_buffer_map(&device, image.device));
		assert_memory_equal(device, image.loaded.pixels, bytes);
		ASSERT_OK(cyc_buffer_unmap(image.device));
	}
	cyc_log_set_sink(NULL, NULL, CYC_LOG_INFO);
	for (int k = 0; k < CYC_MOST_READERS; k++) assert_int_equal(image.ahead[k] != NULL, k < n_readers);
	/* The series may go before what was read of it. */
	cyc_tomogram_set_destroy(&t);
	cyc_tilt_image_deinit(&image);
	cyc_backend_close(&be);
}

static void images_are_the_same(void **state)
{
	(void)state;
	static const int32_t IN_ORDER[N_TILTS] = { 0, 1, 2, 3, 4, 5, 6 },
						 JUMPING[N_TILTS] = { 4, 1, 6, 0, 5, 2, 3 };
	uint64_t wanted[N_TILTS], found[N_TILTS];
	char log[sizeof g_log];
	pass(wanted, 0, IN_ORDER, N_TILTS);
	strcpy(log, g_log);
	for (int k = 0; k < 6; k++) {
		int n_readers = 1 + k % 3;
		pass(found, n_readers, IN_ORDER, N_TILTS);
		assert_memory_equal(found, wanted, sizeof found);
		assert_string_equal(g_log, log);
		/* What was read ahead in vain is dropped. */
		pass(found, n_readers, JUMPING, N_TILTS);
		assert_memory_equal(found, wanted, sizeof found);
	}
	for (int32_t f = 0; f < N_TILTS; f++) assert_int_equal(wanted[f] == 0, f == EXCLUDED);
}

/* An image that cannot be read is an error of that image, not of the one before, with the same text. */
static void errors_belong_to_their_image(void **state)
{
	(void)state;
	cyc_tomogram_set *t = open_project();
	cyc_tilt_series *ts = &t->series[0];
	cyc_backend *be;
	char message[2][sizeof cyc_error_get()->message];
	ASSERT_OK(cyc_backend_open(&be, "cpu", 2));
	cyc_free(ts->image_path[BROKEN]);
	ASSERT_OK(cyc_strdup(&ts->image_path[BROKEN], in_root("frames/none.mrc")));
	for (int k = 0; k < 2; k++) {
		cyc_tilt_image image = { .reads_ahead = k == 1 };
		ASSERT_OK(cyc_tilt_image_load(&image, be, ts, BROKEN - 1));
		ASSERT_FAILS(cyc_tilt_image_load(&image, be, ts, BROKEN), CYC_E_IO, "none.mrc");
		snprintf(message[k], sizeof message[k], "%s", cyc_error_get()->message);
		/* Afterwards others can be read. */
		ASSERT_OK(cyc_tilt_image_load(&image, be, ts, 0));
		cyc_tilt_image_deinit(&image);
	}
	assert_string_equal(message[0], message[1]);
	cyc_backend_close(&be);
	cyc_tomogram_set_destroy(&t);
}

static uint64_t load(cyc_tilt_image *image, cyc_backend *be, const cyc_tilt_series *ts, int32_t row)
{
	ASSERT_OK(cyc_tilt_image_load(image, be, ts, row));
	return cyc_hash(CYC_HASH_INIT, image->loaded.pixels,
	                (size_t)ts->image_nx * (size_t)ts->image_ny * sizeof(float));
}

static bool is_being_read(const cyc_tilt_image *image, const cyc_tilt_series *ts, int32_t row)
{
	bool is = false;
	for (int k = 0; k < CYC_MOST_READERS; k++) is = is || cyc_read_ahead_is(image->ahead[k], ts, row);
	return is;
}

/* Behind the last images of a series come the first ones of the next, if it is open. */
static void the_next_series_is_read_ahead(void **state)
{
	(void)state;
	cyc_tomogram_set *t = open_project();
	cyc_tilt_series *first = &t->series[0], *second = &t->series[1];
	cyc_backend *be;
	ASSERT_OK(cyc_backend_open(&be, "cpu", 2));
	cyc_tilt_image image = { .reads_ahead = true, .next = second }, plain = { .reads_ahead = false };
	(void)load(&image, be, first, N_TILTS - 1);
	for (int32_t f = 0; f < N_TILTS; f++) assert_false(is_being_read(&image, second, f));
	ASSERT_OK(cyc_tilt_series_open_for(second, g_root, 48));
	second->tilts[0].scale = 0;
	(void)load(&image, be, first, N_TILTS - 2);
	assert_true(is_being_read(&image, first, N_TILTS - 1));
	(void)load(&image, be, first, N_TILTS - 1);
	assert_true(is_being_read(&image, second, 1) && !is_being_read(&image, second, 0));
	image.next = NULL;
	for (int32_t f = 1; f < N_TILTS; f++)
		assert_true(load(&image, be, second, f) == load(&plain, be, second, f));
	assert_false(is_being_read(&image, first, 0));
	cyc_tilt_image_deinit(&image);
	cyc_tilt_image_deinit(&plain);
	cyc_backend_close(&be);
	cyc_tomogram_set_destroy(&t);
}

static void series_come_in_the_order_of_the_table(void **state)
{
	(void)state;
	cyc_tomogram_set *t = open_project();
	int64_t both[] = { 0, 2, 4 }, one[] = { 0, 2, 2 };
	const cyc_particle_set has_both = { .series_first = both }, has_one = { .series_first = one };
	assert_null(cyc_tilt_series_after(t, &has_both, NULL, 0)); /* not open */
	ASSERT_OK(cyc_tilt_series_open_for(&t->series[1], g_root, 48));
	assert_ptr_equal(cyc_tilt_series_after(t, &has_both, NULL, 0), &t->series[1]);
	assert_null(cyc_tilt_series_after(t, &has_one, NULL, 0));                     /* without particles */
	assert_null(cyc_tilt_series_after(t, &has_both, (bool[]){ true, false }, 0)); /* another part's */
	assert_ptr_equal(cyc_tilt_series_after(t, &has_both, (bool[]){ false, true }, 0), &t->series[1]);
	assert_null(cyc_tilt_series_after(t, &has_both, NULL, 1));
	cyc_tomogram_set_destroy(&t);
}

static void a_dropped_error_is_forgotten(void **state)
{
	(void)state;
	cyc_tomogram_set *t = open_project();
	cyc_tilt_series *ts = &t->series[0];
	cyc_read_ahead *r = NULL;
	cyc_ready_image out = { .count = (int64_t)ts->image_nx * ts->image_ny };
	bool found;
	ASSERT_OK(cyc_alloc(&out.pixels, out.count, sizeof *out.pixels));
	char *right = ts->image_path[BROKEN];
	ASSERT_OK(cyc_strdup(&ts->image_path[BROKEN], in_root("frames/none.mrc")));
	ASSERT_OK(cyc_read_ahead_start(&r, ts, BROKEN));
	cyc_free(ts->image_path[BROKEN]);
	ts->image_path[BROKEN] = right;
	ASSERT_OK(cyc_read_ahead_take(&found, &out, r, ts, BROKEN));
	assert_false(found); /* another file by now */
	ASSERT_OK(cyc_read_ahead_take(&found, &out, r, ts, BROKEN));
	assert_false(found); /* none under way */
	ASSERT_OK(cyc_read_ahead_start(&r, ts, BROKEN));
	ASSERT_OK(cyc_read_ahead_take(&found, &out, r, ts, BROKEN));
	assert_true(found);
	cyc_read_ahead_destroy(&r);
	cyc_free(out.pixels);
	cyc_tomogram_set_destroy(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images_are_the_same),
		cmocka_unit_test(errors_belong_to_their_image),
		cmocka_unit_test(the_next_series_is_read_ahead),
		cmocka_unit_test(series_come_in_the_order_of_the_table),
		cmocka_unit_test(a_dropped_error_is_forgotten),
	};
	return cmocka_run_group_tests(tests, make_project, temp_dir_remove);
}

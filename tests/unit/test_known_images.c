/* What is kept of tilt images: found again only where nothing it depends on has changed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cyclotomo/mrc.h"
#include "images/read_ahead.h"
#include "images/tilt_image.h"

enum { NX = 96, NY = 80 };
static char g_path[] = "/tmp/cyclotomo_known_XXXXXX.mrc";

static void write_image(uint64_t seed)
{
	cyc_volume *v = NULL;
	assert_int_equal(cyc_volume_create(&v, NX, NY, 1, 2.0), CYC_OK);
	for (uint64_t i = 0; i < NX * NY; i++) {
		cyc_rng r = cyc_rng_make(seed, 3, i);
		v->data[i] = (float)cyc_rng_normal(&r);
	}
	v->data[17 * NX + 5] = 100;
	v->data[60 * NX + 44] = -100;
	assert_int_equal(cyc_mrc_write(g_path, v, 2, "test"), CYC_OK);
	cyc_volume_destroy(&v);
}

/* A series of the image in the file; the numbers of what was found in it are nobody's. */
static cyc_tilt_series one_image(void)
{
	static char *path = g_path, name[] = "TS_01";
	static int64_t section, outliers, constant, beads;
	static cyc_tilt tilt = { .scale = 1 };
	static cyc_mrc_info info;
	assert_int_equal(cyc_mrc_read_info(&info, g_path), CYC_OK);
	return (cyc_tilt_series){ .name = name,
		                      .image_path = &path,
		                      .image_section = &section,
		                      .image_info = &info,
		                      .image_nx = NX,
		                      .image_ny = NY,
		                      .n_tilts = 1,
		                      .tilts = &tilt,
		                      .n_outliers = &outliers,
		                      .n_constant = &constant,
		                      .n_beads = &beads,
		                      .pixel_size_A = 2 };
}

/* Pixels as they are read, into room of the caller. */
static cyc_ready_image read_image(float *pixels, cyc_tilt_series *ts)
{
	cyc_ready_image image = { .pixels = pixels, .count = NX * NY };
	assert_int_equal(cyc_ready_image_make(&image, ts, 0), CYC_OK);
	return image;
}

static bool is_known(cyc_known_key image, cyc_known_kind kind, int32_t detail)
{
	void *bytes;
	size_t n;
	assert_int_equal(cyc_known_find(&bytes, &n, cyc_known_part(image, kind, detail)), CYC_OK);
	cyc_free(bytes);
	return n > 0;
}

static void images_are_mended_once(void **state)
{
	(void)state;
	static float first[NX * NY], again[NX * NY], other[NX * NY];
	char name2[] = "TS_02";
	write_image(1);
	cyc_tilt_series ts = one_image();
	char *name = ts.name;
	cyc_known_forget();
	cyc_ready_image a = read_image(first, &ts);
	assert_int_equal(a.state.n_outliers, 2);
	assert_true(fabsf(first[17 * NX + 5]) < 6 && fabsf(first[60 * NX + 44]) < 6);
	assert_true(is_known(a.known, CYC_KNOWN_MENDING, 0));
	cyc_ready_image b = read_image(again, &ts);
	assert_memory_equal(first, again, sizeof first);
	assert_memory_equal(&a.state, &b.state, sizeof a.state);
	/* That it is not measured again: what is known is believed. */
	void *bytes;
	size_t n;
	assert_int_equal(cyc_known_find(&bytes, &n, cyc_known_part(a.known, CYC_KNOWN_MENDING, 0)), CYC_OK);
	cyc_known_forget();
	((cyc_image_state *)bytes)->variance = 42;
	assert_int_equal(cyc_known_keep(cyc_known_part(a.known, CYC_KNOWN_MENDING, 0), bytes, n), CYC_OK);
	cyc_free(bytes);
	assert_true(read_image(again, &ts).state.variance == 42);

	/* Another series has other noise; kept outliers and another file are other images. */
	ts.name = name2;
	assert_true(read_image(other, &ts).state.variance != 42);
	assert_true(other[17 * NX + 5] != first[17 * NX + 5]);
	ts.name = name;
	ts.keep_outliers = true;
	assert_true(read_image(other, &ts).state.variance != 42);
	assert_true(other[17 * NX + 5] == 100);
	ts.keep_outliers = false;
	write_image(2);
	b = read_image(other, &ts);
	assert_true(b.state.variance != 42 && b.known.a != a.known.a && b.known.b != a.known.b);
	assert_true(other[0] != first[0]);
	cyc_known_forget();
}

static void spectra_are_measured_once(void **state)
{
	(void)state;
	cyc_backend *be = NULL;
	cyc_tilt_image t = { 0 };
	double power[17], again[17], other[9];
	write_image(1);
	cyc_tilt_series ts = one_image();
	cyc_known_forget();
	assert_int_equal(cyc_backend_open(&be, "cpu", 1), CYC_OK);
	assert_int_equal(cyc_tilt_image_load(&t, be, &ts, 0), CYC_OK);
	assert_int_equal(cyc_tilt_image_noise(power, &t, &ts, 32, 1), CYC_OK);
	assert_true(is_known(t.loaded.known, CYC_KNOWN_NOISE, 32));
	assert_false(is_known(t.loaded.known, CYC_KNOWN_NOISE, 16));
	t.loaded.pixels[0] += 1000; /* that they are not looked at */
	assert_int_equal(cyc_tilt_image_noise(again, &t, &ts, 32, 1), CYC_OK);
	assert_memory_equal(power, again, sizeof power);
	assert_int_equal(cyc_tilt_image_noise(other, &t, &ts, 16, 1), CYC_OK);
	assert_true(other[0] > 2 * power[0]);
	cyc_tilt_image_deinit(&t);
	cyc_backend_close(&be);
	cyc_known_forget();
}

static void room_is_limited(void **state)
{
	(void)state;
	static char bytes[CYC_KNOWN_BYTES / 1000];
	const cyc_known_key image = { 5, 6 }, none = { 0, 0 };
	int n_known = 0;
	cyc_known_forget();
	assert_int_equal(cyc_known_keep(none, bytes, sizeof bytes), CYC_OK);
	assert_false(is_known(none, CYC_KNOWN_NOISE, 1));
	for (int i = 0; i < 1200; i++) {
		memset(bytes, i % 100, sizeof bytes);
		assert_int_equal(cyc_known_keep(cyc_known_part(image, CYC_KNOWN_NOISE, i), bytes, sizeof bytes),
		                 CYC_OK);
	}
	for (int i = 0; i < 1200; i++) {
		void *found;
		size_t n;
		assert_int_equal(cyc_known_find(&found, &n, cyc_known_part(image, CYC_KNOWN_NOISE, i)), CYC_OK);
		if (!found) continue;
		n_known++;
		assert_int_equal(n, sizeof bytes);
		assert_int_equal(((char *)found)[n - 1], i % 100);
		cyc_free(found);
	}
	assert_in_range(n_known, 990, 1000);
	cyc_known_forget();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(images_are_mended_once),
		                                cmocka_unit_test(spectra_are_measured_once),
		                                cmocka_unit_test(room_is_limited) };
	int fd = mkstemps(g_path, 4);
	if (fd < 0) return 1;
	close(fd);
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(g_path);
	return rc;
}

/* MRC files: names, headers, modes, byte orders, bad files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cyclotomo/mrc.h"
#include "temp_dir.h"

/* ---------------------------------------------------------------- names */

static void check_name(const char *name, const char *path, int64_t section, bool is_stack)
{
	char *p = NULL;
	int64_t s;
	bool k;
	ASSERT_OK(cyc_mrc_split_name(&p, &s, &k, name));
	assert_string_equal(p, path);
	assert_int_equal(s, section);
	assert_int_equal(k, is_stack);
	cyc_free(p);
}

static void names(void **state)
{
	(void)state;
	check_name("a/b.mrc", "a/b.mrc", 0, false);
	check_name("a/b.MRC", "a/b.MRC", 0, false);
	check_name("000012@a/b.mrcs", "a/b.mrcs", 12, true);
	check_name("3@b.mrc", "b.mrc", 3, true);
	check_name("x.ctf:mrc", "x.ctf", 0, false);
	check_name("x.ali:mrcs", "x.ali", 0, true);
	check_name("2@x.preali:mrcs", "x.preali", 2, true);
	check_name("x.st", "x.st", 0, true);
	check_name("x.ali", "x.ali", 0, true);
	check_name("x.rec", "x.rec", 0, false);
	check_name("x.map", "x.map", 0, false);
	check_name("TS_01_-57.0.mrc", "TS_01_-57.0.mrc", 0, false);
	check_name("C:/dir/x.mrc", "C:/dir/x.mrc", 0, false);
	check_name("a@b.mrc", "a@b.mrc", 0, false);
	char *p = NULL;
	int64_t s;
	bool k;
	ASSERT_FAILS(cyc_mrc_split_name(&p, &s, &k, "x.ctf"), CYC_E_FORMAT, "x.ctf",
	             "'ctf' is not the extension");
	assert_non_null(strstr(cyc_error_get()->hint, "x.ctf:mrc"));
	ASSERT_FAILS(cyc_mrc_split_name(&p, &s, &k, "x.tif"), CYC_E_UNSUPPORTED, "x.tif");
	ASSERT_FAILS(cyc_mrc_split_name(&p, &s, &k, "dir.mrc/x"), CYC_E_FORMAT, "dir.mrc/x");
	ASSERT_FAILS(cyc_mrc_split_name(&p, &s, &k, "0@x.mrcs"), CYC_E_FORMAT, "counted from 1");
	ASSERT_FAILS(cyc_mrc_split_name(&p, &s, &k, "@x.mrcs"), CYC_E_FORMAT, "@x.mrcs");
	ASSERT_FAILS(cyc_mrc_split_name(&p, &s, &k, "5@:mrc"), CYC_E_FORMAT, "no file");
	assert_null(p);
}

static void check_join(const char *root, const char *name, const char *expected)
{
	char *p = NULL;
	ASSERT_OK(cyc_mrc_join_name(&p, root, name));
	assert_string_equal(p, expected);
	cyc_free(p);
}

static void names_with_root(void **state)
{
	(void)state;
	check_join("/data", "a.mrc", "/data/a.mrc");
	check_join("/data/", "003@a.mrcs", "003@/data/a.mrcs");
	check_join(NULL, "003@a.mrcs", "003@a.mrcs");
	check_join("/data", "3@/abs/a.mrcs", "3@/abs/a.mrcs");
	check_join("/data", "a@b.mrc", "/data/a@b.mrc");
}

/* ---------------------------------------------------------------- float16 */

static void half_bit_patterns(void **state)
{
	(void)state;
	static const struct {
		float v;
		uint16_t h;
	} KNOWN[] = {
		{ 1.0f, 0x3C00 },     { 0.1f, 0x2E66 },     { -2.5f, 0xC100 },     { 65504.0f, 0x7BFF },
		{ 65519.0f, 0x7BFF }, { 65520.0f, 0x7BFF }, { 1e30f, 0x7BFF },     { -1e30f, 0xFBFF },
		{ 0.0f, 0x0000 },     { -0.0f, 0x8000 },    { 0x1p-14f, 0x0400 },  { 0x1.fffp-15f, 0x0000 },
		{ -1e-8f, 0x8000 },   { INFINITY, 0x7C00 }, { -INFINITY, 0xFC00 }, { 2049.0f, 0x6801 },
		{ -2049.0f, 0xE801 }, { 2047.5f, 0x6800 },
	};
	for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
		assert_int_equal(cyc_float_to_half(KNOWN[i].v), KNOWN[i].h);
	assert_int_equal(cyc_float_to_half(NAN) & 0x7C00, 0x7C00);
	assert_true((cyc_float_to_half(NAN) & 0x3FF) != 0);
}

/* Every one of the 65536 patterns, against the definition of binary16. */
static void half_values(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 65536; h++) {
		int e = (int)(h >> 10 & 31);
		double m = (double)(h & 1023), sign = h >> 15 ? -1.0 : 1.0;
		float v = cyc_half_to_float((uint16_t)h);
		if (e == 31) {
			assert_true(m > 0.0 ? isnan(v) : isinf(v) && (double)v * sign > 0.0);
			continue;
		}
		double expected = sign * (e == 0 ? ldexp(m, -24) : ldexp(1024.0 + m, e - 25));
		assert_true((double)v == expected);
		/* What is not subnormal comes back as it was. */
		if (e > 0 || m == 0.0) assert_int_equal(cyc_float_to_half(v), h);
		else assert_int_equal(cyc_float_to_half(v), h & 0x8000);
	}
}

/* ---------------------------------------------------------------- files made by hand */

typedef struct {
	uint8_t bytes[8192];
	size_t n;
} raw_file;

static void put32(raw_file *f, int word, uint32_t v, bool swap)
{
	for (int k = 0; k < 4; k++) f->bytes[4 * word + k] = (uint8_t)(v >> 8 * (swap ? 3 - k : k));
}

static void put_float(raw_file *f, int word, float v, bool swap)
{
	uint32_t u;
	memcpy(&u, &v, 4);
	put32(f, word, u, swap);
}

/* nx x ny x nz voxels with the values 1, 2, 3, ... (mode 0 and 1: alternating sign). */
static float expected_voxel(int i, int mode)
{
	return (mode == 0 || mode == 1 || mode == 2 || mode == 12) && i % 2 ? (float)-(i + 1) : (float)(i + 1);
}

static void make_raw(raw_file *f, int nx, int ny, int nz, int mode, bool swap, int extended)
{
	memset(f, 0, sizeof *f);
	const int size[3] = { nx, ny, nz };
	for (int a = 0; a < 3; a++) {
		put32(f, a, (uint32_t)size[a], swap);
		put32(f, 7 + a, (uint32_t)size[a], swap);
		put_float(f, 10 + a, 2.5f * (float)size[a], swap);
	}
	put32(f, 3, (uint32_t)mode, swap);
	put32(f, 23, (uint32_t)extended, swap);
	f->n = 1024 + (size_t)extended;
	for (int i = 0; i < nx * ny * nz; i++) {
		float v = expected_voxel(i, mode);
		uint32_t u;
		memcpy(&u, &v, 4);
		int n_bytes = mode == 0 ? 1 : mode == 2 ? 4 : 2;
		if (mode == 12) u = cyc_float_to_half(v);
		else if (mode != 2) u = (uint32_t)(int32_t)v;
		for (int k = 0; k < n_bytes; k++) f->bytes[f->n++] = (uint8_t)(u >> 8 * (swap ? n_bytes - 1 - k : k));
	}
}

static void save(const raw_file *f, const char *name)
{
	ASSERT_OK(cyc_write_file(temp_path(name), (const char *)f->bytes, f->n));
}

static void all_modes_both_orders(void **state)
{
	(void)state;
	static const int MODES[] = { 0, 1, 2, 6, 12 };
	raw_file f;
	for (int k = 0; k < 20; k++) {
		int mode = MODES[k % 5], extended = k / 10 * 160;
		bool swap = k / 5 % 2;
		make_raw(&f, 5, 4, 3, mode, swap, extended);
		save(&f, "raw.mrc");
		cyc_volume *v = NULL;
		ASSERT_OK(cyc_mrc_read(&v, temp_path("raw.mrc")));
		assert_int_equal(v->nx, 5);
		assert_int_equal(v->ny, 4);
		assert_int_equal(v->nz, 3);
		assert_true(v->pixel_size_A == 2.5);
		for (int i = 0; i < 60; i++) assert_true(v->data[i] == expected_voxel(i, mode));
		cyc_volume_destroy(&v);
		/* One section by name and by number. */
		char name[128];
		snprintf(name, sizeof name, "000002@%s", temp_path("raw.mrc"));
		ASSERT_OK(cyc_mrc_read(&v, name));
		assert_int_equal(v->nz, 1);
		for (int i = 0; i < 20; i++) assert_true(v->data[i] == expected_voxel(20 + i, mode));
		cyc_volume_destroy(&v);
		cyc_mrc_info info;
		float image[20];
		ASSERT_OK(cyc_mrc_read_info(&info, temp_path("raw.mrc:mrcs")));
		assert_true(info.is_stack);
		assert_int_equal(info.is_swapped, swap);
		assert_int_equal(info.data_offset_bytes, 1024 + extended);
		ASSERT_OK(cyc_mrc_read_section(image, &info, temp_path("raw.mrc"), 2));
		for (int i = 0; i < 20; i++) assert_true(image[i] == expected_voxel(40 + i, mode));
		ASSERT_FAILS(cyc_mrc_read_section(image, &info, temp_path("raw.mrc"), 3), CYC_E_DATA, "raw.mrc",
		             "section 4", "has 3");
	}
}

static void bad_files(void **state)
{
	(void)state;
	raw_file f;
	cyc_volume *v = NULL;
	cyc_mrc_info info;
	make_raw(&f, 5, 4, 3, 2, false, 0);
	f.n -= 3;
	save(&f, "short.mrc");
	ASSERT_FAILS(cyc_mrc_read(&v, temp_path("short.mrc")), CYC_E_FORMAT, "short.mrc", "truncated", "1264",
	             "1261");
	f.n = 1000;
	save(&f, "short.mrc");
	ASSERT_FAILS(cyc_mrc_read_info(&info, temp_path("short.mrc")), CYC_E_FORMAT, "short.mrc", "1024", "1000");
	f.n = 0;
	save(&f, "short.mrc");
	ASSERT_FAILS(cyc_mrc_read_info(&info, temp_path("short.mrc")), CYC_E_FORMAT, "short.mrc", "has 0");
	ASSERT_FAILS(cyc_mrc_read_info(&info, temp_path("none.mrc")), CYC_E_IO, "none.mrc");
	static const int REFUSED[] = { 3, 4, 101, -1, 77 };
	for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
		make_raw(&f, 5, 4, 3, 2, false, 0);
		put32(&f, 3, (uint32_t)REFUSED[i], false);
		save(&f, "mode.mrc");
		ASSERT_FAILS(cyc_mrc_read_info(&info, temp_path("mode.mrc")), CYC_E_UNSUPPORTED, "mode.mrc", "mode");
	}
	make_raw(&f, 5, 4, 3, 2, false, 0);
	put32(&f, 1, 0, false);
	save(&f, "size.mrc");
	ASSERT_FAILS(cyc_mrc_read_info(&info, temp_path("size.mrc")), CYC_E_FORMAT, "size.mrc", "5 x 0 x 3");
	put32(&f, 1, 0xFFFFFF, false);
	put32(&f, 2, 0x7FFFFFFF, false);
	save(&f, "size.mrc");
	ASSERT_FAILS(cyc_mrc_read_info(&info, temp_path("size.mrc")), CYC_E_FORMAT, "size.mrc", "truncated");
	make_raw(&f, 5, 4, 3, 2, false, 0);
	put32(&f, 23, 0x80000000u, false);
	save(&f, "ext.mrc");
	ASSERT_FAILS(cyc_mrc_read_info(&info, temp_path("ext.mrc")), CYC_E_FORMAT, "extended header");
	static const float BAD[] = { NAN, INFINITY, -INFINITY };
	for (size_t i = 0; i < 3; i++) {
		make_raw(&f, 5, 4, 3, 2, i == 1, 0);
		put_float(&f, 256 + 20 + 5 + 3, BAD[i], i == 1);
		save(&f, "nan.mrc");
		ASSERT_FAILS(cyc_mrc_read(&v, temp_path("nan.mrc")), CYC_E_DATA, "nan.mrc", "x 3, y 1, z 1",
		             i == 0 ? "NaN" : "infinite");
	}
	make_raw(&f, 5, 4, 3, 12, false, 0);
	f.bytes[1024 + 2 * 7 + 1] = 0x7E;
	save(&f, "nan.mrc");
	ASSERT_FAILS(cyc_mrc_read(&v, temp_path("nan.mrc")), CYC_E_DATA, "nan.mrc", "x 2, y 1, z 0");
	assert_null(v);
}

/* ---------------------------------------------------------------- maps */

static void maps(void **state)
{
	(void)state;
	raw_file f;
	cyc_volume *v = NULL;
	make_raw(&f, 4, 4, 4, 2, false, 0);
	save(&f, "map.mrc");
	ASSERT_OK(cyc_mrc_read_map(&v, temp_path("map.mrc")));
	cyc_volume_destroy(&v);
	put_float(&f, 12, 11.0f, false);
	save(&f, "map.mrc");
	ASSERT_FAILS(cyc_mrc_read_map(&v, temp_path("map.mrc")), CYC_E_SHAPE, "map.mrc", "2.5 x 2.5 x 2.75");
	put_float(&f, 10, 0.0f, false);
	save(&f, "map.mrc");
	ASSERT_FAILS(cyc_mrc_read_map(&v, temp_path("map.mrc")), CYC_E_DATA, "map.mrc", "no pixel size");
	put_float(&f, 10, NAN, false);
	save(&f, "map.mrc");
	ASSERT_FAILS(cyc_mrc_read_map(&v, temp_path("map.mrc")), CYC_E_DATA, "map.mrc", "no pixel size");
	make_raw(&f, 4, 4, 2, 2, false, 0);
	save(&f, "map.mrc");
	ASSERT_FAILS(cyc_mrc_read_map(&v, temp_path("map.mrc")), CYC_E_SHAPE, "map.mrc", "4 x 4 x 2");
	make_raw(&f, 3, 3, 3, 2, false, 0);
	save(&f, "map.mrc");
	ASSERT_FAILS(cyc_mrc_read_map(&v, temp_path("map.mrc")), CYC_E_SHAPE, "map.mrc", "even");
	assert_null(v);
}

/* ---------------------------------------------------------------- writing */

static uint32_t word(const char *bytes, int i)
{
	uint32_t u;
	memcpy(&u, bytes + 4 * i, 4);
	return u;
}

static float float_word(const char *bytes, int i)
{
	float v;
	memcpy(&v, bytes + 4 * i, 4);
	return v;
}

static void written_header(void **state)
{
	(void)state;
	cyc_volume *v = NULL;
	char *a = NULL, *b = NULL;
	size_t n;
	ASSERT_OK(cyc_volume_create(&v, 3, 2, 2, 1.5));
	for (int i = 0; i < 12; i++) v->data[i] = (float)i;
	ASSERT_OK(cyc_mrc_write(temp_path("w.mrc"), v, 2, "cyclotomo 0.1.0 test"));
	ASSERT_OK(cyc_read_file(&a, &n, temp_path("w.mrc")));
	assert_int_equal(n, 1024 + 48);
	assert_int_equal(word(a, 0), 3);
	assert_int_equal(word(a, 2), 2);
	assert_int_equal(word(a, 3), 2);
	assert_int_equal(word(a, 8), 2);
	assert_true(float_word(a, 10) == 4.5f && float_word(a, 11) == 3.0f && float_word(a, 12) == 3.0f);
	assert_true(float_word(a, 13) == 90.0f && float_word(a, 15) == 90.0f);
	assert_int_equal(word(a, 16), 1);
	assert_int_equal(word(a, 18), 3);
	assert_true(float_word(a, 19) == 0.0f && float_word(a, 20) == 11.0f && float_word(a, 21) == 5.5f);
	assert_true(fabs((double)float_word(a, 54) - sqrt(143.0 / 12.0)) < 1e-6);
	assert_memory_equal(a + 208, "MAP \x44\x41\0\0", 8);
	assert_int_equal(word(a, 55), 1);
	assert_string_equal(a + 224, "cyclotomo 0.1.0 test");
	/* The same bytes at another time. */
	ASSERT_OK(cyc_mrc_write(temp_path("w2.mrc"), v, 2, "cyclotomo 0.1.0 test"));
	ASSERT_OK(cyc_read_file(&b, &n, temp_path("w2.mrc")));
	assert_memory_equal(a, b, n);
	cyc_free(b);
	cyc_free(a);
	ASSERT_OK(cyc_mrc_write(temp_path("w.mrcs"), v, 12, NULL));
	ASSERT_OK(cyc_read_file(&a, &n, temp_path("w.mrcs")));
	assert_int_equal(n, 1024 + 24);
	assert_int_equal(word(a, 3), 12);
	assert_true(float_word(a, 12) == 2.0f);
	assert_true(strncmp(a + 224, "cyclotomo ", 10) == 0);
	cyc_free(a);
	cyc_volume_destroy(&v);
	ASSERT_OK(cyc_mrc_read(&v, temp_path("w.mrcs")));
	for (int i = 0; i < 12; i++) assert_true(v->data[i] == (float)i);
	cyc_volume_destroy(&v);
}

static void what_cannot_be_written(void **state)
{
	(void)state;
	cyc_volume *v = NULL;
	ASSERT_OK(cyc_volume_create(&v, 3, 2, 2, 1.5));
	v->data[7] = NAN;
	ASSERT_FAILS(cyc_mrc_write(temp_path("n.mrc"), v, 2, NULL), CYC_E_DATA, "n.mrc", "x 1, y 0, z 1", "NaN");
	v->data[7] = -INFINITY;
	ASSERT_FAILS(cyc_mrc_write(temp_path("n.mrc"), v, 12, NULL), CYC_E_DATA, "n.mrc", "infinite");
	v->data[7] = 0.0f;
	assert_int_equal(cyc_mrc_write(temp_path("n.mrc"), v, 1, NULL), CYC_E_USAGE);
	assert_int_equal(cyc_mrc_write("1@n.mrcs", v, 2, NULL), CYC_E_USAGE);
	assert_int_equal(cyc_mrc_write(temp_path("n.png"), v, 2, NULL), CYC_E_FORMAT);
	assert_int_equal(cyc_mrc_write("/proc/no/n.mrc", v, 2, NULL), CYC_E_IO);
	assert_false(temp_exists("n.mrc"));
	cyc_volume_destroy(&v);
}

/* The same file, and the same map from it, on any number of threads; its figures are those of the voxels. */
static void threads_make_no_difference(void **state)
{
	(void)state;
	enum { NX = 22, NY = 14, NZ = 18, N = NX * NY * NZ };
	cyc_volume *v = NULL, *back = NULL;
	cyc_rng rng = cyc_rng_make(3, 0, 0);
	char *file[2] = { NULL, NULL };
	size_t n[2];
	double sum = 0, squares = 0, low = HUGE_VAL, high = -HUGE_VAL;
	float figures[4];
	ASSERT_OK(cyc_volume_create(&v, NX, NY, NZ, 1.5));
	for (int32_t i = 0; i < N; i++) {
		v->data[i] = (float)(1000 + i / (NX * NY) + cyc_rng_normal(&rng));
		double x = (double)v->data[i];
		sum += x;
		low = fmin(low, x);
		high = fmax(high, x);
	}
	for (int32_t i = 0; i < N; i++) squares += cyc_square((double)v->data[i] - sum / N);
	for (int32_t mode = 2; mode <= 12; mode += 10) {
		for (int k = 0; k < 2; k++) {
			ASSERT_OK(cyc_mrc_write_threaded(temp_path("threads.mrc"), v, mode, "label", k ? 5 : 1));
			ASSERT_OK(cyc_read_file(&file[k], &n[k], temp_path("threads.mrc")));
			ASSERT_OK(cyc_mrc_read_threaded(&back, temp_path("threads.mrc"), k ? 5 : 1));
			for (int32_t i = 0; i < N; i++)
				assert_true(back->data[i] ==
				            (mode == 2 ? v->data[i] : cyc_half_to_float(cyc_float_to_half(v->data[i]))));
			cyc_volume_destroy(&back);
		}
		assert_int_equal(n[0], n[1]);
		assert_memory_equal(file[0], file[1], n[0]);
		memcpy(figures, file[0] + 76, 3 * sizeof *figures);
		memcpy(figures + 3, file[0] + 216, sizeof *figures);
		assert_true((double)figures[0] == low && (double)figures[1] == high);
		assert_true(fabs((double)figures[2] - sum / N) < 1e-4);
		assert_true(fabs((double)figures[3] / sqrt(squares / N) - 1) < 1e-6);
		for (int k = 0; k < 2; k++) cyc_free(file[k]);
	}
	/* Two bad voxels: the first one is named. */
	v->data[(11 * NY + 5) * NX + 7] = NAN;
	v->data[(3 * NY + 2) * NX + 1] = INFINITY;
	for (int n_threads = 1; n_threads <= 5; n_threads += 4)
		ASSERT_FAILS(cyc_mrc_write_threaded(temp_path("bad.mrc"), v, 2, NULL, n_threads), CYC_E_DATA,
		             "bad.mrc", "x 1, y 2, z 3", "infinite");
	assert_false(temp_exists("bad.mrc"));
	v->data[(3 * NY + 2) * NX + 1] = 2e15F;
	v->data[(11 * NY + 5) * NX + 7] = -3e15F;
	ASSERT_OK(cyc_mrc_write(temp_path("large.mrc"), v, 2, NULL));
	for (int n_threads = 1; n_threads <= 5; n_threads += 4)
		ASSERT_FAILS(cyc_mrc_read_threaded(&back, temp_path("large.mrc"), n_threads), CYC_E_DATA, "large.mrc",
		             "x 1, y 2, z 3", "2e+15");
	cyc_volume_destroy(&v);
}

static void files_of_a_run_are_known_by_their_label(void **state)
{
	(void)state;
	cyc_volume *v = NULL;
	ASSERT_OK(cyc_volume_create(&v, 4, 3, 2, 1.0));
	ASSERT_OK(cyc_mrc_write(temp_path("label.mrcs"), v, 12, "made by run 7"));
	const char *path = temp_path("label.mrcs");
	assert_true(cyc_mrc_is_written(path, 4, 3, 2, 12, "made by run 7"));
	assert_false(cyc_mrc_is_written(path, 4, 3, 2, 12, "made by run 8"));
	assert_false(cyc_mrc_is_written(path, 4, 3, 2, 12, "made by run 70"));
	assert_false(cyc_mrc_is_written(path, 4, 3, 1, 12, "made by run 7"));
	assert_false(cyc_mrc_is_written(path, 2, 6, 2, 12, "made by run 7"));
	assert_false(cyc_mrc_is_written(path, 4, 3, 2, 2, "made by run 7"));
	assert_int_equal(truncate(path, 1024 + 47), 0);
	assert_false(cyc_mrc_is_written(path, 4, 3, 2, 12, "made by run 7"));
	assert_false(cyc_mrc_is_written(temp_path("nothing.mrcs"), 4, 3, 2, 12, "made by run 7"));
	cyc_volume_destroy(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(names_with_root),
		cmocka_unit_test(half_bit_patterns),
		cmocka_unit_test(half_values),
		cmocka_unit_test(all_modes_both_orders),
		cmocka_unit_test(bad_files),
		cmocka_unit_test(maps),
		cmocka_unit_test(written_header),
		cmocka_unit_test(what_cannot_be_written),
		cmocka_unit_test(threads_make_no_difference),
		cmocka_unit_test(files_of_a_run_are_known_by_their_label),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

/* Comparison of maps and of STAR files: figures that are known beforehand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cyclotomo/compare.h"
#include "cyclotomo/map.h"
#include "temp_dir.h"

/* ---------------------------------------------------------------- maps */

enum { BOX = 16 };

static cyc_volume *noise(uint64_t seed)
{
	cyc_volume *v = NULL;
	ASSERT_OK(cyc_volume_create(&v, BOX, BOX, BOX, 2.0));
	cyc_rng r = cyc_rng_make(seed, 0, 0);
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] = (float)cyc_rng_normal(&r);
	return v;
}

static cyc_map_comparison *compare(const cyc_volume *a, const cyc_volume *b, const cyc_volume *mask,
                                   cyc_map_compare_options o)
{
	cyc_map_comparison *c = NULL;
	o.n_threads = 1;
	ASSERT_OK(cyc_map_compare(&c, a, b, mask, &o));
	return c;
}

static void a_scaled_map(void **state)
{
	(void)state;
	cyc_volume *a = noise(1), *b = noise(1);
	for (size_t i = 0; i < cyc_volume_count(b); i++) b->data[i] = 0.5f * a->data[i] + 3.0f;
	cyc_map_comparison *c = compare(a, b, NULL, (cyc_map_compare_options){ .resolution_A = 8.0 });
	assert_int_equal(c->n_shells, 9);
	for (int i = 1; i < 9; i++) {
		assert_true(fabs(c->fsc[i] - 1.0) < 1e-5);
		assert_true(fabs(c->scale[i] - 0.5) < 1e-5);
	}
	assert_true(fabs(c->correlation - 1.0) < 1e-6 && fabs(c->scale_all - 0.5) < 1e-6);
	assert_true(fabs(c->correlation_to_limit - 1.0) < 1e-6 && fabs(c->scale_to_limit - 0.5) < 1e-6);
	/* 16 x 2 Å / 8 Å: shell 4. */
	assert_true(c->limit_A == 8.0);
	assert_true(fabs(c->rms_b - 0.5 * c->rms_a) < 1e-6);
	assert_true(c->resolution_0143_A == 4.0 && c->resolution_05_A == 4.0);
	cyc_map_comparison_destroy(&c);
	cyc_volume_destroy(&a);
	cyc_volume_destroy(&b);
}

/* Band-limited: a map with noise beyond shell 4 crosses between shells 4 and 5. */
static void resolution_of_a_crossing(void **state)
{
	(void)state;
	cyc_volume *a = noise(1), *b = noise(2);
	cyc_fft3 *plan = NULL;
	cyc_cfloat *fa = NULL, *fb = NULL;
	ASSERT_OK(cyc_fft3_create(&plan, BOX, 1));
	ASSERT_OK(cyc_alloc(&fa, cyc_half_count3(BOX), sizeof *fa));
	ASSERT_OK(cyc_alloc(&fb, cyc_half_count3(BOX), sizeof *fb));
	ASSERT_OK(cyc_fft3_forward(fa, plan, a->data));
	ASSERT_OK(cyc_fft3_forward(fb, plan, b->data));
	for (int z = 0, i = 0; z < BOX; z++) {
		for (int y = 0; y < BOX; y++) {
			for (int x = 0; x <= BOX / 2; x++, i++) {
				int fz = z > BOX / 2 ? z - BOX : z, fy = y > BOX / 2 ? y - BOX : y;
				if (lround(sqrt(fz * fz + fy * fy + x * x)) <= 4) fb[i] = 2.0f * fa[i];
			}
		}
	}
	ASSERT_OK(cyc_fft3_inverse(b->data, plan, fb));
	cyc_map_comparison *c = compare(a, b, NULL, (cyc_map_compare_options){ 0 });
	assert_true(c->fsc[4] > 0.9999 && c->fsc[5] < 0.4);
	assert_true(c->resolution_05_A < 32.0 / 4 && c->resolution_05_A > 32.0 / 5);
	double at = 4.0 + (c->fsc[4] - 0.143) / (c->fsc[4] - c->fsc[5]);
	if (c->fsc[5] < 0.143) assert_true(fabs(c->resolution_0143_A - 32.0 / at) < 1e-9);
	assert_true(c->min_fsc < 0.4);
	cyc_map_comparison_destroy(&c);
	c = compare(a, b, NULL, (cyc_map_compare_options){ .resolution_A = 8.0 });
	assert_true(c->min_fsc > 0.9999 && fabs(c->scale_to_limit - 2.0) < 1e-4);
	cyc_map_comparison_destroy(&c);
	cyc_free(fa);
	cyc_free(fb);
	cyc_fft3_destroy(&plan);
	cyc_volume_destroy(&a);
	cyc_volume_destroy(&b);
}

static void one_voxel(void **state)
{
	(void)state;
	cyc_volume *a = noise(1), *b = noise(1), *mask = NULL;
	b->data[(3 * BOX + 2) * BOX + 1] += 0.25f;
	cyc_map_comparison *c = compare(a, b, NULL, (cyc_map_compare_options){ 0 });
	assert_true(fabs(c->max_difference - 0.25) < 1e-6);
	assert_int_equal(c->max_at[0], 1);
	assert_int_equal(c->max_at[1], 2);
	assert_int_equal(c->max_at[2], 3);
	assert_true(fabs(c->rms_difference - 0.25 / 64.0) < 1e-7);
	cyc_map_comparison_destroy(&c);
	/* Outside of the mask nothing counts. */
	ASSERT_OK(cyc_volume_copy(&mask, a));
	for (size_t i = 0; i < cyc_volume_count(mask); i++) mask->data[i] = i % BOX > 7 ? 1.0f : 0.0f;
	c = compare(a, b, mask, (cyc_map_compare_options){ 0 });
	assert_true(c->max_difference == 0.0 && c->rms_difference == 0.0 && fabs(c->min_fsc - 1.0) < 1e-6);
	cyc_map_comparison_destroy(&c);
	cyc_volume_destroy(&a);
	cyc_volume_destroy(&b);
	cyc_volume_destroy(&mask);
}

static void the_other_hand(void **state)
{
	(void)state;
	cyc_volume *a = noise(1), *b = noise(1);
	for (int z = 0; z < BOX; z++) {
		memcpy(b->data + (BOX - z) % BOX * BOX * BOX, a->data + z * BOX * BOX, BOX * BOX * sizeof(float));
	}
	cyc_map_comparison *c = compare(a, b, NULL, (cyc_map_compare_options){ .mirror_z = true });
	assert_true(c->max_difference == 0.0);
	cyc_map_comparison_destroy(&c);
	c = compare(a, b, NULL, (cyc_map_compare_options){ 0 });
	assert_true(c->max_difference > 1.0);
	cyc_map_comparison_destroy(&c);
	cyc_volume_destroy(&a);
	cyc_volume_destroy(&b);
}

static void same_figures_for_any_threads(void **state)
{
	(void)state;
	cyc_volume *a = noise(1), *b = noise(2);
	cyc_map_comparison *c1 = NULL, *c2 = NULL;
	cyc_map_compare_options o = { .resolution_A = 6.0, .n_threads = 1 };
	ASSERT_OK(cyc_map_compare(&c1, a, b, NULL, &o));
	o.n_threads = 3;
	ASSERT_OK(cyc_map_compare(&c2, a, b, NULL, &o));
	assert_memory_equal(c1->fsc, c2->fsc, 9 * sizeof *c1->fsc);
	assert_memory_equal(c1->scale, c2->scale, 9 * sizeof *c1->scale);
	assert_true(c1->scale_to_limit == c2->scale_to_limit && c1->correlation == c2->correlation);
	cyc_map_comparison_destroy(&c1);
	cyc_map_comparison_destroy(&c2);
	cyc_volume_destroy(&a);
	cyc_volume_destroy(&b);
}

static void other_shapes(void **state)
{
	(void)state;
	cyc_volume *a = NULL, *b = NULL, *c = noise(1);
	cyc_map_comparison *r = NULL;
	cyc_map_compare_options o = { .n_threads = 1 };
	ASSERT_OK(cyc_volume_create(&a, 5, 4, 3, 1.0));
	ASSERT_OK(cyc_volume_create(&b, 5, 4, 3, 1.0));
	b->data[7] = 1.0f;
	ASSERT_OK(cyc_map_compare(&r, a, b, NULL, &o));
	assert_int_equal(r->n_shells, 0);
	assert_true(r->max_difference == 1.0 && r->correlation == 0.0);
	cyc_map_comparison_destroy(&r);
	ASSERT_FAILS(cyc_map_compare(&r, a, c, NULL, &o), CYC_E_SHAPE, "5 x 4 x 3", "16 x 16 x 16");
	ASSERT_FAILS(cyc_map_compare(&r, a, b, c, &o), CYC_E_SHAPE, "mask");
	b->pixel_size_A = 1.1;
	ASSERT_FAILS(cyc_map_compare(&r, a, b, NULL, &o), CYC_E_SHAPE, "pixel size", "1.1");
	assert_null(r);
	cyc_volume_destroy(&a);
	cyc_volume_destroy(&b);
	cyc_volume_destroy(&c);
}

/* ---------------------------------------------------------------- STAR files */

static cyc_star *parse(const char *text)
{
	cyc_star *s = NULL;
	ASSERT_OK(cyc_star_parse(&s, text, strlen(text), "x.star"));
	return s;
}

#define HEAD "data_particles\nloop_\n_rlnTomoParticleName\n_rlnX\n_rlnText\n_rlnV\n"

/* Compare two texts; *c is of the last block. */
static bool same(const char *ta, const char *tb, cyc_star_compare_options o, cyc_block_comparison *last,
                 cyc_column_comparison *column, int j)
{
	cyc_star *a = parse(ta), *b = parse(tb);
	cyc_star_comparison *c = NULL;
	ASSERT_OK(cyc_star_compare(&c, a, b, &o));
	bool is_same = c->is_same;
	if (last) *last = c->blocks[c->n_blocks - 1];
	if (column) *column = c->blocks[c->n_blocks - 1].columns[j];
	cyc_star_comparison_destroy(&c);
	cyc_star_destroy(&a);
	cyc_star_destroy(&b);
	return is_same;
}

static void tolerances(void **state)
{
	(void)state;
	const char *a = HEAD "p/1 1 a [1,2]\np/2 100 b [3,4]\n",
			   *b = HEAD "p/1 1.000000 a [1,2.5]\np/2 1.01e2 b [3,4]\n";
	cyc_column_comparison column;
	assert_true(same(a, a, (cyc_star_compare_options){ 0 }, NULL, NULL, 0));
	assert_false(same(a, b, (cyc_star_compare_options){ 0 }, NULL, &column, 1));
	assert_int_equal(column.state, CYC_COLUMN_DIFFERENT);
	assert_int_equal(column.n_different, 1);
	assert_int_equal(column.n_numbers, 2);
	assert_int_equal(column.row_a, 1);
	assert_true(column.max_difference == 1.0 && fabs(column.rms_difference - sqrt(0.5)) < 1e-12);
	assert_false(same(a, b, (cyc_star_compare_options){ .tolerance = 0.9 }, NULL, &column, 3));
	assert_int_equal(column.state, CYC_COLUMN_SAME);
	assert_true(column.max_difference == 0.5 && column.n_numbers == 4);
	assert_true(same(a, b, (cyc_star_compare_options){ .tolerance = 1.0 }, NULL, NULL, 0));
	assert_true(same(a, b, (cyc_star_compare_options){ .relative = 0.21 }, NULL, NULL, 0));
	assert_false(same(a, b, (cyc_star_compare_options){ .relative = 0.1 }, NULL, NULL, 0));
	assert_true(same(a, b, (cyc_star_compare_options){ .columns = "rlnX=1,rlnV=0.5" }, NULL, NULL, 0));
	assert_false(
		same(a, b, (cyc_star_compare_options){ .columns = "rlnX=0.5", .tolerance = 5.0 }, NULL, NULL, 0));
	assert_true(same(a, b, (cyc_star_compare_options){ .ignore = "rlnV,rlnX" }, NULL, &column, 1));
	assert_int_equal(column.state, CYC_COLUMN_IGNORED);
	/* Texts, and vectors of another length, have no tolerance. */
	assert_false(same(a, HEAD "p/1 1 a [1,2]\np/2 100 c [3,4]\n",
	                  (cyc_star_compare_options){ .tolerance = 1e9 }, NULL, &column, 2));
	assert_int_equal(column.n_different, 1);
	assert_int_equal(column.n_numbers, 0);
	assert_false(same(a, HEAD "p/1 1 a [1,2,3]\np/2 100 b [3,4]\n",
	                  (cyc_star_compare_options){ .tolerance = 1e9 }, NULL, NULL, 0));
}

static void rows_are_matched_by_name(void **state)
{
	(void)state;
	const char *a = HEAD "p/1 1 a []\np/2 2 b []\np/3 3 c []\n",
			   *b = HEAD "p/3 3 c []\np/1 1 a []\np/2 2 b []\n";
	cyc_block_comparison block;
	assert_true(same(a, b, (cyc_star_compare_options){ 0 }, &block, NULL, 0));
	assert_string_equal(block.key, "rlnTomoParticleName");
	assert_true(block.is_reordered && block.n_matched == 3);
	const char *fewer = HEAD "p/3 3 c []\np/1 1 a []\n";
	assert_false(same(a, fewer, (cyc_star_compare_options){ 0 }, &block, NULL, 0));
	assert_int_equal(block.n_matched, 2);
	assert_false(same(fewer, a, (cyc_star_compare_options){ 0 }, NULL, NULL, 0));
	assert_true(same(fewer, a, (cyc_star_compare_options){ .common_only = true }, NULL, NULL, 0));
	/* Names that are there twice are no key: by order. */
	assert_false(same(HEAD "p 1 a []\np 2 b []\n", HEAD "p 2 b []\np 1 a []\n",
	                  (cyc_star_compare_options){ 0 }, &block, NULL, 0));
	assert_null(block.key);
	assert_true(same(a, b, (cyc_star_compare_options){ .key = "rlnText" }, &block, NULL, 0));
	assert_string_equal(block.key, "rlnText");
}

static void blocks_and_columns(void **state)
{
	(void)state;
	const char *a = "data_general\n_a 1\n_b x\n\ndata_t\nloop_\n_c\n5\n",
			   *b = "data_t\nloop_\n_d\n_c\n1 5\n\ndata_general\n_a 1.0\n";
	cyc_column_comparison column;
	assert_false(same(a, b, (cyc_star_compare_options){ 0 }, NULL, &column, 1));
	assert_int_equal(column.state, CYC_COLUMN_ONLY_SECOND);
	assert_true(same(a, b, (cyc_star_compare_options){ .common_only = true }, NULL, NULL, 0));
	assert_false(same(a, b, (cyc_star_compare_options){ .block = "general" }, NULL, &column, 1));
	assert_int_equal(column.state, CYC_COLUMN_ONLY_FIRST);
	assert_true(same(a, b, (cyc_star_compare_options){ .block = "general", .ignore = "b" }, NULL, NULL, 0));
	assert_false(same(a, "data_general\n_a 1\n_b x\n", (cyc_star_compare_options){ 0 }, NULL, NULL, 0));
	assert_false(same("data_general\n_a 1\n_b x\n", a, (cyc_star_compare_options){ 0 }, NULL, NULL, 0));
	/* The same name twice: first with first, second with second. */
	assert_true(same("data_x\n_a 1\ndata_x\n_a 2\n", "data_x\n_a 1\ndata_x\n_a 2\n",
	                 (cyc_star_compare_options){ 0 }, NULL, NULL, 0));
	assert_false(same("data_x\n_a 1\ndata_x\n_a 2\n", "data_x\n_a 1\ndata_x\n_a 3\n",
	                  (cyc_star_compare_options){ 0 }, NULL, NULL, 0));
	assert_false(same("data_x\n_a 1\n", "data_x\n_a 1\ndata_x\n_a 3\n", (cyc_star_compare_options){ 0 }, NULL,
	                  NULL, 0));
}

static void bad_options(void **state)
{
	(void)state;
	cyc_star *a = parse(HEAD "p/1 1 a []\n");
	cyc_star_comparison *c = NULL;
	ASSERT_FAILS(cyc_star_compare(&c, a, a, &(cyc_star_compare_options){ .columns = "rlnX" }), CYC_E_USAGE,
	             "'rlnX'", "LABEL=TOLERANCE");
	ASSERT_FAILS(cyc_star_compare(&c, a, a, &(cyc_star_compare_options){ .columns = "rlnX=1,rlnV=x" }),
	             CYC_E_USAGE, "'rlnV=x'");
	ASSERT_FAILS(cyc_star_compare(&c, a, a, &(cyc_star_compare_options){ .columns = "rlnX=-1" }), CYC_E_USAGE,
	             "'rlnX=-1'");
	ASSERT_FAILS(cyc_star_compare(&c, a, a, &(cyc_star_compare_options){ .block = "nope" }), CYC_E_USAGE,
	             "'nope'");
	ASSERT_FAILS(cyc_star_compare(&c, a, a, &(cyc_star_compare_options){ .key = "rlnNope" }), CYC_E_USAGE,
	             "_rlnNope");
	ASSERT_FAILS(cyc_star_compare(&c, a, a, &(cyc_star_compare_options){ .tolerance = -1.0 }), CYC_E_USAGE,
	             "negative");
	assert_null(c);
	cyc_star_destroy(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_scaled_map),
		cmocka_unit_test(resolution_of_a_crossing),
		cmocka_unit_test(one_voxel),
		cmocka_unit_test(the_other_hand),
		cmocka_unit_test(same_figures_for_any_threads),
		cmocka_unit_test(other_shapes),
		cmocka_unit_test(tolerances),
		cmocka_unit_test(rows_are_matched_by_name),
		cmocka_unit_test(blocks_and_columns),
		cmocka_unit_test(bad_options),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Shares of a job: what --part accepts, how units are dealt, and the notes of parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "cyclotomo/parts.h"
#include "cyclotomo/record.h"

#include <pthread.h>
#include <stdatomic.h>

static void test_parse(void **state)
{
	(void)state;
	cyc_part p;
	ASSERT_OK(cyc_part_parse(&p, NULL));
	assert_int_equal(p.n, 0);
	ASSERT_OK(cyc_part_parse(&p, "2/5"));
	assert_int_equal(p.k, 2);
	assert_int_equal(p.n, 5);
	ASSERT_OK(cyc_part_parse(&p, "0/7"));
	assert_int_equal(p.k, 0);
	static const char *const FAULTY[] = { "6/5", "1/0",   "-1/5",  "1",    "1/",      "/5",
		                                  "a/b", "1/2/3", "1.5/2", " 1/2", "1/10001", "1/99999999999" };
	for (size_t i = 0; i < sizeof FAULTY / sizeof *FAULTY; i++)
		ASSERT_FAILS(cyc_part_parse(&p, FAULTY[i]), CYC_E_USAGE, "--part", FAULTY[i]);
}

enum { N_UNITS = 200 };

static void test_shares_are_even(void **state)
{
	(void)state;
	double cost[N_UNITS], sum = 0, most = 0;
	int32_t owner[N_UNITS];
	for (int i = 0; i < N_UNITS; i++) {
		cost[i] = 1 + (i * 7919) % 100;
		sum += cost[i];
		most = cost[i] > most ? cost[i] : most;
	}
	for (int32_t n = 1; n <= 2 * N_UNITS; n = 2 * n + 1) {
		double load[2 * N_UNITS] = { 0 }, largest = 0;
		ASSERT_OK(cyc_parts_deal(owner, cost, N_UNITS, n));
		for (int i = 0; i < N_UNITS; i++) {
			assert_in_range(owner[i], 0, n - 1);
			load[owner[i]] += cost[i];
		}
		for (int32_t p = 0; p < n; p++) largest = load[p] > largest ? load[p] : largest;
		assert_true(largest <= sum / n + most);
		/* Of 31 parts the largest share of these is within 2 % of the mean: one after the other they would
		 * not be. */
		if (n == 31) assert_true(largest <= 1.02 * sum / n);
	}
	ASSERT_OK(cyc_parts_deal(owner, cost, 0, 3));
}

static void test_equal_units_in_order(void **state)
{
	(void)state;
	static const double COST[6] = { 1, 1, 1, 1, 1, 1 };
	static const int32_t WANTED[6] = { 0, 1, 2, 3, 0, 1 };
	int32_t owner[6];
	ASSERT_OK(cyc_parts_deal(owner, COST, 6, 4));
	assert_memory_equal(owner, WANTED, sizeof WANTED);
}

/* A project of three series; the second has no particles. */
typedef struct {
	cyc_tilt_series series[3];
	int64_t first[4];
	cyc_tomogram_set tomograms;
	cyc_particle_set particles;
} project;

static void make(project *p)
{
	*p = (project){ .first = { 0, 4, 4, 10 } };
	for (int i = 0; i < 3; i++) p->series[i].n_tilts = 11;
	p->tomograms.n_series = 3;
	p->tomograms.series = p->series;
	p->particles.series_first = p->first;
	p->particles.n = 10;
}

static void share(cyc_share *s, const project *p, const char *part)
{
	ASSERT_OK(cyc_share_create(s, part, &p->tomograms, &p->particles));
}

static void finish(const project *p, const char *part, const char *out, uint64_t key)
{
	cyc_share s;
	cyc_part_outcome outcome;
	share(&s, p, part);
	ASSERT_OK(cyc_share_begin(&s, out, key, false));
	ASSERT_OK(cyc_share_end(&outcome, &s, out, key));
	cyc_share_deinit(&s);
}

static void test_every_series_has_one_owner(void **state)
{
	(void)state;
	project p;
	make(&p);
	for (int n = 1; n < 6; n++) {
		int count[3] = { 0 };
		for (int k = 0; k <= n; k++) {
			char text[16];
			cyc_share s;
			snprintf(text, sizeof text, "%d/%d", k, n);
			share(&s, &p, text);
			for (int i = 0; i < 3; i++) count[i] += s.is_own[i];
			cyc_share_deinit(&s);
		}
		assert_int_equal(count[0], 1);
		assert_int_equal(count[1], 0);
		assert_int_equal(count[2], 1);
	}
}

static void test_notes(void **state)
{
	(void)state;
	project p;
	cyc_share s;
	make(&p);
	const char *out = temp_path("job/");
	assert_false(cyc_parts_exist(out));
	/* Begun, and not finished. */
	share(&s, &p, "1/2");
	ASSERT_OK(cyc_share_begin(&s, out, 7, false));
	assert_true(s.uses_records && s.begun_s > 0 && !s.are_all_finished);
	int64_t begun_s = s.begun_s, begun_ns = s.begun_ns;
	cyc_share_deinit(&s);
	assert_true(cyc_parts_exist(out));
	finish(&p, "2/2", out, 7);
	share(&s, &p, NULL);
	ASSERT_OK(cyc_share_begin(&s, out, 7, false));
	assert_true(s.uses_records && !s.are_all_finished);
	cyc_share_deinit(&s);
	/* All of them; the first's beginning is kept. */
	finish(&p, "1/2", out, 7);
	share(&s, &p, NULL);
	ASSERT_OK(cyc_share_begin(&s, out, 7, false));
	assert_true(s.are_all_finished && s.begun_s == begun_s && s.begun_ns == begun_ns);
	cyc_share_deinit(&s);
	/* Two of two are not two of three. */
	share(&s, &p, "0/3");
	ASSERT_OK(cyc_share_begin(&s, out, 7, false));
	assert_false(s.are_all_finished);
	cyc_share_deinit(&s);
	cyc_parts_forget(out);
	assert_false(cyc_parts_exist(out));
	share(&s, &p, NULL);
	ASSERT_OK(cyc_share_begin(&s, out, 7, false));
	assert_false(s.uses_records || s.are_all_finished);
	cyc_share_deinit(&s);
}

static void test_other_key(void **state)
{
	(void)state;
	project p;
	cyc_share s;
	make(&p);
	const char *out = temp_path("other/");
	finish(&p, "1/2", out, 7);
	for (int i = 0; i < 2; i++) {
		share(&s, &p, i == 0 ? "2/2" : NULL);
		ASSERT_FAILS(cyc_share_begin(&s, out, 8, false), CYC_E_USAGE, "part 1/2", "other input or options");
		cyc_share_deinit(&s);
	}
	share(&s, &p, "2/2");
	ASSERT_OK(cyc_share_begin(&s, out, 8, true));
	cyc_share_deinit(&s);
	assert_false(temp_exists("other/temp/part1of2.record"));
	assert_true(temp_exists("other/temp/part2of2.record"));
}

/* A note is written again while others read it: they find the old one or the new one, whole. */
static void *write_again(void *is_done)
{
	static const char *const TEXTS[] = { "begun\n", "finished; begun at 1790000000 123456789\n" };
	for (int i = 0; i < 3000; i++)
		if (cyc_record_write_text(temp_path("rewritten.record"), "part", 7, TEXTS[i % 2]) != CYC_OK) break;
	atomic_store((atomic_bool *)is_done, true);
	return NULL;
}

static void test_read_while_written(void **state)
{
	(void)state;
	atomic_bool is_done = false;
	pthread_t writer;
	char path[600];
	int n = 0;
	snprintf(path, sizeof path, "%s", temp_path("rewritten.record"));
	ASSERT_OK(cyc_record_write_text(path, "part", 7, "begun\n"));
	assert_int_equal(pthread_create(&writer, NULL, write_again, &is_done), 0);
	while (!atomic_load(&is_done)) {
		char *text = NULL;
		ASSERT_OK(cyc_record_read_text(&text, path, "part", 7, "it counts as not done", NULL));
		if (!text) fail_msg("a whole record was not read, the %d-th time", n);
		cyc_free(text);
		n++;
	}
	pthread_join(writer, NULL);
	assert_true(n > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_shares_are_even),
		cmocka_unit_test(test_equal_units_in_order),
		cmocka_unit_test(test_every_series_has_one_owner),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_other_key),
		cmocka_unit_test(test_read_while_written),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

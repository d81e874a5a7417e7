/* Memory, error records, logging, threads, cancelling, random numbers, paths and files. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "base/thread_start.h"
#include "cyclotomo/profile.h"

#include "temp_dir.h"

/* ---------------------------------------------------------------- memory */

static void shares_of_the_machine(void **state)
{
	(void)state;
	int n = cyc_n_processors();
	cyc_processors_divide(2);
	assert_int_equal(cyc_n_processors(), n > 1 ? n / 2 : 1);
	cyc_processors_divide(1000000);
	assert_int_equal(cyc_n_processors(), 1);
	cyc_processors_divide(1);
	assert_int_equal(cyc_n_processors(), n);
	/* What is available changes all the time; a limit of addresses is of each process, whatever the others
	 * have. */
	double bytes = cyc_memory_available_bytes();
	cyc_memory_divide(100);
	assert_true(cyc_memory_available_bytes() < bytes / 10);
	cyc_memory_divide(1);
	assert_true(cyc_memory_available_bytes() > bytes / 10);
}

static void memory(void **state)
{
	(void)state;
	unsigned char *p = NULL;
	for (size_t n = 0; n < 300; n += 37) {
		ASSERT_OK(cyc_alloc(&p, n, 1));
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 64, 0);
		for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
		cyc_free(p);
	}
	/* Blocks that come from the system, too, also where one was given back before. */
	for (int i = 0; i < 3; i++) {
		unsigned char *large[2] = { NULL };
		size_t n = (33U << 20) + 5;
		for (int k = 0; k < 2; k++) {
			ASSERT_OK(cyc_alloc(&large[k], n, 1));
			assert_int_equal((uintptr_t)large[k] % 64, 0);
			for (size_t at = 0; at < n; at += 509) assert_int_equal(large[k][at], 0);
			assert_int_equal(large[k][n - 1], 0);
			memset(large[k], 7, n);
		}
		ASSERT_OK(cyc_realloc(&large[0], n, 2 * n, 1));
		assert_true(large[0][n - 1] == 7 && large[0][n] == 0 && large[0][2 * n - 1] == 0);
		ASSERT_OK(cyc_realloc(&large[0], 2 * n, 10, 1));
		assert_true(large[0][9] == 7);
		assert_true(large[1][n - 1] == 7);
		cyc_free(large[0]);
		cyc_free(large[1]);
	}
	ASSERT_FAILS(cyc_alloc(&p, SIZE_MAX / 2, 3), CYC_E_NOMEM, "bytes for p");
	assert_null(p);
	ASSERT_FAILS(cyc_alloc(&p, SIZE_MAX, 1), CYC_E_NOMEM, "cannot allocate");
	int *a = NULL;
	ASSERT_OK(cyc_realloc(&a, 0, 3, sizeof *a));
	for (int i = 0; i < 3; i++) a[i] = i + 1;
	ASSERT_OK(cyc_realloc(&a, 3, 500, sizeof *a));
	assert_true(a[0] == 1 && a[2] == 3 && a[3] == 0 && a[499] == 0);
	ASSERT_OK(cyc_realloc(&a, 500, 2, sizeof *a));
	assert_true(a[0] == 1 && a[1] == 2);
	/* A failure leaves what was there. */
	cyc_alloc_fail_at(1);
	ASSERT_FAILS(cyc_realloc(&a, 2, 10, sizeof *a), CYC_E_NOMEM, "memory");
	assert_non_null(strstr(cyc_error_get()->hint, "--j"));
	cyc_alloc_fail_at(0);
	assert_true(a[0] == 1 && a[1] == 2);
	cyc_free(a);
	cyc_free(NULL);
	char *s = NULL;
	ASSERT_OK(cyc_asprintf(&s, "%s %d", "x", 7));
	assert_string_equal(s, "x 7");
	ASSERT_OK(cyc_reprintf(&s, "%s, again", s));
	assert_string_equal(s, "x 7, again");
	cyc_alloc_fail_at(1);
	ASSERT_FAILS(cyc_reprintf(&s, "%s, not again", s), CYC_E_NOMEM, "memory");
	cyc_alloc_fail_at(0);
	assert_string_equal(s, "x 7, again");
	cyc_free(s);
	s = NULL;
	ASSERT_OK(cyc_reprintf(&s, "%s", "new"));
	assert_string_equal(s, "new");
	cyc_free(s);
	ASSERT_OK(cyc_strdup(&s, ""));
	assert_string_equal(s, "");
	cyc_free(s);
	int64_t before = cyc_alloc_count();
	cyc_alloc_fail_at(2);
	ASSERT_OK(cyc_strdup(&s, "first"));
	cyc_free(s);
	assert_int_equal(cyc_strdup(&s, "second"), CYC_E_NOMEM);
	assert_null(s);
	ASSERT_OK(cyc_strdup(&s, "third")); /* once only */
	cyc_free(s);
	cyc_alloc_fail_at(0);
	assert_int_equal(cyc_alloc_count() - before, 3);
	assert_true(cyc_peak_memory_bytes() > 1000000);
}

/* ---------------------------------------------------------------- errors */

static cyc_status inner(int x)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(x > 0, CYC_E_DATA, "x must be positive, got %d", x);
done:
	return st;
}

static cyc_status outer(int x)
{
	cyc_status st = CYC_OK;
	CYC_TRY_CTX(inner(x), "row %d", 12);
done:
	if (st != CYC_OK) cyc_error_hint("the first hint");
	if (st != CYC_OK) cyc_error_hint("not this one");
	return st;
}

static void error_records(void **state)
{
	(void)state;
	cyc_error_clear();
	ASSERT_OK(outer(1));
	assert_int_equal(cyc_error_get()->status, CYC_OK);
	assert_int_equal(outer(-4), CYC_E_DATA);
	const cyc_error *e = cyc_error_get();
	assert_int_equal(e->status, CYC_E_DATA);
	assert_string_equal(e->message, "row 12: x must be positive, got -4");
	assert_string_equal(e->hint, "the first hint");
	assert_int_equal(e->n_frames, 2);
	assert_string_equal(e->frames[0].function, "inner");
	assert_string_equal(e->frames[1].function, "outer");
	/* A new failure starts afresh, and may quote the old one. */
	(void)cyc_error_raise(CYC_E_IO, "f.c", 1, "f", "again: %s", cyc_error_get()->message);
	assert_string_equal(e->message, "again: row 12: x must be positive, got -4");
	assert_string_equal(e->hint, "");
	/* A place that is named already is not named twice. */
	(void)cyc_error_raise(CYC_E_IO, "f.c", 1, "f", "series 'S_1', row 3: not a number");
	cyc_error_context("series S_1");
	assert_string_equal(e->message, "series 'S_1', row 3: not a number");
	cyc_error_context("'f.star'");
	cyc_error_context("series S_1");
	assert_string_equal(e->message, "'f.star': series 'S_1', row 3: not a number");
	(void)cyc_error_raise(CYC_E_IO, "f.c", 1, "f", "series S_10: not a number");
	cyc_error_context("series S_1");
	assert_string_equal(e->message, "series S_1: series S_10: not a number");
	/* Nothing overflows. */
	for (int i = 0; i < 1000; i++) cyc_error_context("context number %d of very many", i);
	for (int i = 0; i < 100; i++) (void)cyc_error_frame(CYC_E_IO, "f.c", i, "f");
	assert_int_equal(e->n_frames, CYC_ERROR_FRAMES);
	assert_true(strlen(e->message) < CYC_ERROR_TEXT);
	assert_memory_equal(e->message, "context number 999", 18);
	cyc_error_clear();
	assert_string_equal(cyc_error_get()->message, "");
	assert_string_equal(cyc_status_name((cyc_status)1234), "CYC_E_INTERNAL");
	assert_int_equal(cyc_status_exit_code((cyc_status)-1), 1);
}

/* ---------------------------------------------------------------- log */

static int g_n_lines;
static char g_last[100];
static double g_done;
static void log_sink(void *user, cyc_log_level level, const char *text)
{
	assert_ptr_equal(user, &g_n_lines);
	assert_true(level <= CYC_LOG_INFO);
	g_n_lines++;
	snprintf(g_last, sizeof g_last, "%s", text);
}
static void progress_sink(void *user, const char *what, int64_t n_done, int64_t n_total)
{
	(void)user;
	assert_string_equal(what, "work");
	g_done = (double)n_done / (double)n_total;
}

static void logging(void **state)
{
	(void)state;
	int64_t warnings = cyc_log_n_warnings();
	cyc_log_set_sink(log_sink, &g_n_lines, CYC_LOG_INFO);
	cyc_debug("not shown");
	assert_int_equal(g_n_lines, 0);
	cyc_info("%d", 5);
	assert_string_equal(g_last, "5");
	cyc_warn("careful");
	cyc_log_set_sink(NULL, NULL, CYC_LOG_INFO);
	cyc_warn("to nobody, but counted");
	assert_int_equal(g_n_lines, 2);
	assert_int_equal(cyc_log_n_warnings(), warnings + 2);
	/* Counted once, whether they reach anybody or not; informations are given once. */
	int64_t different = cyc_log_n_different_warnings();
	for (int i = 0; i < 3; i++) cyc_warn("a text of its own");
	assert_int_equal(cyc_log_n_different_warnings(), different + 1);
	cyc_progress_set_sink(progress_sink, NULL);
	cyc_progress("work", 3, 4);
	assert_true(g_done == 0.75);
	cyc_progress("work", 3, 0);
	cyc_progress_set_sink(NULL, NULL);
	cyc_progress("work", 4, 4);
	assert_true(g_done == 0.75);
}

/* ---------------------------------------------------------------- threads */

enum { N_ITEMS = 1000 };
typedef struct {
	atomic_int count[N_ITEMS], n_done;
	int n_threads, fail_from;
} loop_record;

static cyc_status item(void *arg, int64_t i, int i_thread)
{
	cyc_status st = CYC_OK;
	loop_record *r = arg;
	assert_true(i_thread >= 0 && i_thread < r->n_threads);
	atomic_fetch_add(&r->count[i], 1);
	atomic_fetch_add(&r->n_done, 1);
	CYC_CHECK(i < r->fail_from, CYC_E_NUMERIC, "item %d", (int)i);
done:
	return st;
}

static cyc_status nested(void *arg, int64_t i, int i_thread)
{
	(void)i;
	(void)i_thread;
	loop_record *r = arg;
	return cyc_parallel_for(10, 4, item, r);
}

static void copies_of_large_memory(void **state)
{
	(void)state;
	enum { MOST = 3 * (1 << 20) + 5, AROUND = 8 };
	static const size_t sizes[] = { 0, 1, 1 << 20, (1 << 20) + 1, MOST };
	unsigned char *from = NULL, *to = NULL;
	ASSERT_OK(cyc_alloc(&from, MOST, 1));
	ASSERT_OK(cyc_alloc(&to, MOST + 2 * AROUND, 1));
	for (size_t i = 0; i < MOST; i++) from[i] = (unsigned char)(1 + i * 7 % 251);
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
		for (int n_threads = 1; n_threads <= 4; n_threads += 3) {
			size_t n = sizes[k], n_wrong = 0;
			memset(to, 255, MOST + 2 * AROUND);
			ASSERT_OK(cyc_copy(to + AROUND, from, n, n_threads));
			assert_memory_equal(to + AROUND, from, n);
			for (size_t i = 0; i < MOST + 2 * AROUND; i++)
				n_wrong += to[i] != 255 && !(i >= AROUND && i < AROUND + n);
			assert_int_equal(n_wrong, 0);
		}
	cyc_free(from);
	cyc_free(to);
}

static void parallel_loops(void **state)
{
	(void)state;
	static loop_record r;
	for (int threads = -1; threads < 6; threads++) {
		memset(&r, 0, sizeof r);
		r.n_threads = threads < 1 ? 1 : threads;
		r.fail_from = N_ITEMS;
		ASSERT_OK(cyc_parallel_for(N_ITEMS, threads, item, &r));
		for (int i = 0; i < N_ITEMS; i++) assert_int_equal(r.count[i], 1);
		/* The first item that fails is the one reported: those before it all ran. */
		memset(&r.count, 0, sizeof r.count);
		r.fail_from = 300;
		ASSERT_FAILS(cyc_parallel_for(N_ITEMS, threads, item, &r), CYC_E_NUMERIC, "item 300");
		for (int i = 0; i < N_ITEMS; i++)
			assert_true(r.count[i] == (i <= 300) || (i > 300 && i < 310 && r.count[i] <= 1));
		memset(&r.count, 0, sizeof r.count);
		r.fail_from = N_ITEMS;
		atomic_store(&r.n_done, 0);
		ASSERT_OK(cyc_parallel_for(7, threads, nested, &r));
		assert_int_equal(r.n_done, 70);
	}
	ASSERT_OK(cyc_parallel_for(0, 3, item, NULL));
	assert_true(cyc_n_processors() >= 1);
	cyc_thread_usage usage;
	cyc_thread_usage_get(&usage);
	assert_true(usage.loops_s > 0 && usage.busy_s > 0 && usage.most_threads == 5);
}

static cyc_status sleeps(void *arg, int64_t i, int i_thread)
{
	const struct timespec fifth_s = { 0, 200000000 };
	(void)arg, (void)i, (void)i_thread;
	nanosleep(&fifth_s, NULL);
	return CYC_OK;
}

static double seconds_all_busy(int n_items, int n_threads)
{
	cyc_thread_usage before, after;
	cyc_thread_usage_get(&before);
	ASSERT_OK(cyc_parallel_for(n_items, n_threads, sleeps, NULL));
	cyc_thread_usage_get(&after);
	return after.full_s - before.full_s;
}

static void threads_that_are_all_busy(void **state)
{
	(void)state;
	enum { ALL = 7 }; /* more than any loop before */
	double none = seconds_all_busy(1, ALL), most = seconds_all_busy(ALL - 1, ALL),
		   one = seconds_all_busy(1, 1), all = seconds_all_busy(ALL, ALL),
		   part = seconds_all_busy(ALL + 1, ALL);
	assert_true(none <= 0 && most <= 0 && one <= 0);
	/* The machine may be slow to start the other threads, but not for all of the time. */
	assert_true(all > 0.02 && all < 0.35 && part > 0.02 && part < 0.4);
	/* One that works beside the loop counts. */
	cyc_work_begin();
	most = seconds_all_busy(ALL - 1, ALL);
	cyc_work_end();
	assert_true(most > 0.02 && most < 0.35);
}

static void profile_adds_calls(void **state)
{
	(void)state;
	cyc_profile_row rows[CYC_PROFILE_MOST_ROWS];
	int n = cyc_profile_get(rows);
	cyc_profile_add(&(cyc_profile_row){ .name = "short", .rows = 2, .seconds = 1, .work = 10, .bytes = 5 });
	cyc_profile_add(&(cyc_profile_row){ .name = "long", .rows = 1, .seconds = 1e6, .work = 1, .bytes = 1 });
	cyc_profile_add(&(cyc_profile_row){ .name = "short", .rows = 3, .seconds = 2, .work = 20, .bytes = 7 });
	assert_int_equal(cyc_profile_get(rows), n + 2);
	assert_string_equal(rows[0].name, "long");
	assert_string_equal(rows[1].name, "short");
	assert_true(rows[1].calls == 2 && rows[1].rows == 5 && rows[1].seconds > 2.9 && rows[1].seconds < 3.1);
	assert_true(rows[1].work > 29 && rows[1].work < 31 && rows[1].bytes > 11 && rows[1].bytes < 13);
	/* What came since: of these three rows, one. */
	cyc_costs start, since;
	cyc_costs_get(&start);
	cyc_profile_add(&(cyc_profile_row){ .name = "short", .rows = 4, .seconds = 8, .work = 40, .bytes = 3 });
	cyc_costs_get(&since);
	cyc_costs_subtract(&since, &start);
	assert_int_equal(since.n, 1);
	assert_string_equal(since.rows[0].name, "short");
	assert_true(since.rows[0].calls == 1 && since.rows[0].rows == 4 && since.rows[0].work == 40);
	assert_true(since.cpu_s >= 0 && since.cpu_s < start.cpu_s + 1 && since.bytes_read >= 0);
	double clock = cyc_clock_s(), before = cyc_profile_bytes_read();
	char *text;
	size_t size;
	ASSERT_OK(cyc_read_file(&text, &size, "/proc/self/exe"));
	cyc_free(text);
	assert_true(cyc_clock_s() >= clock);
	assert_true(before > 0 && cyc_profile_bytes_read() >= before + (double)size);
}

static void *loop_of_a_thread(void *arg)
{
	loop_record *r = arg;
	for (int k = 0; k < 200; k++)
		if (cyc_parallel_for(N_ITEMS, 3, item, r) != CYC_OK) return NULL;
	return r;
}

/* Loops of two threads at once, and of a process that was forked from one with threads. */
static void loops_beside_each_other(void **state)
{
	(void)state;
	static loop_record r[2];
	pthread_t thread;
	void *result = NULL;
	for (int k = 0; k < 2; k++) {
		r[k].n_threads = 3;
		r[k].fail_from = N_ITEMS;
	}
	assert_int_equal(pthread_create(&thread, NULL, loop_of_a_thread, &r[0]), 0);
	assert_ptr_equal(loop_of_a_thread(&r[1]), &r[1]);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, &r[0]);
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < N_ITEMS; i++) assert_int_equal(r[k].count[i], 200);
	int status;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) _exit(loop_of_a_thread(&r[0]) && r[0].count[7] == 400 ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void cancelling(void **state)
{
	(void)state;
	ASSERT_OK(cyc_cancel_check());
	ASSERT_OK(cyc_cancel_watch_file(temp_path("RELION_JOB_ABORT_NOW")));
	ASSERT_OK(cyc_cancel_check());
	temp_write("RELION_JOB_ABORT_NOW", "");
	ASSERT_FAILS(cyc_cancel_check(), CYC_E_CANCELLED, "RELION_JOB_ABORT_NOW");
	ASSERT_OK(cyc_cancel_watch_file(NULL));
	ASSERT_OK(cyc_cancel_check());
	/* In a process of its own, so that no other test is interrupted. */
	int status;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		static loop_record r = { .n_threads = 2, .fail_from = N_ITEMS };
		cyc_cancel_request("interrupted");
		bool is_right = cyc_cancel_check() == CYC_E_CANCELLED &&
		                cyc_parallel_for(N_ITEMS, 2, item, &r) == CYC_E_CANCELLED && r.n_done == 0;
		_exit(is_right ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---------------------------------------------------------------- random numbers */

static void random_numbers_are_philox(void **state)
{
	(void)state;
	/* Known answers of the generator's authors: key, counter, output. */
	static const struct {
		uint64_t key, stream, counter;
		uint32_t out[4];
	} known[] = {
		{ 0, 0, 0, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
		{ UINT64_MAX, UINT64_MAX, UINT64_MAX, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
		{ 0x299f31d0a4093822,
		  0x0370734413198a2e,
		  0x85a308d3243f6a88,
		  { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
	};
	for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
		cyc_rng r = { .key = known[k].key, .stream = known[k].stream, .counter = known[k].counter };
		for (int i = 0; i < 4; i++) assert_int_equal(cyc_rng_u32(&r), known[k].out[i]);
	}
	/* Streams are functions of their names; the uniform and normal draws have their moments. */
	cyc_rng a = cyc_rng_make(1, 2, 3), b = cyc_rng_make(1, 2, 3), c = cyc_rng_make(1, 3, 2);
	double u1 = 0, u2 = 0, n1 = 0, n2 = 0, n4 = 0;
	int n_equal = 0;
	enum { N = 40000 };
	for (int i = 0; i < N; i++) {
		double u = cyc_rng_uniform(&a), v = cyc_rng_normal(&c);
		assert_true(u == cyc_rng_uniform(&b));
		assert_true(u >= 0 && u < 1);
		n_equal += cyc_rng_uniform_at(1, 2, 3, (uint64_t)i) == cyc_rng_uniform_at(1, 2, 4, (uint64_t)i);
		u1 += u / N;
		u2 += u * u / N;
		n1 += v / N;
		n2 += v * v / N;
		n4 += v * v * v * v / N;
	}
	assert_int_equal(n_equal, 0);
	assert_true(fabs(u1 - 0.5) < 0.01 && fabs(u2 - 1.0 / 3) < 0.01);
	assert_true(fabs(n1) < 0.02 && fabs(n2 - 1) < 0.03 && fabs(n4 - 3) < 0.2);
	assert_true(cyc_rng_uniform_at(9, 8, 7, 6) == cyc_rng_uniform_at(9, 8, 7, 6));
}

/* ---------------------------------------------------------------- paths, files, hashes */

static void assert_text(cyc_status st, char *got, const char *wanted)
{
	ASSERT_OK(st);
	assert_string_equal(got, wanted);
	cyc_free(got);
}
#define PATH(call, wanted)                                                                                   \
	do {                                                                                                     \
		char *p_ = NULL;                                                                                     \
		cyc_status st_ = (call);                                                                             \
		assert_text(st_, p_, (wanted));                                                                      \
	} while (0)

static void paths(void **state)
{
	(void)state;
	PATH(cyc_path_join(&p_, "a", "b"), "a/b");
	PATH(cyc_path_join(&p_, "a/", "b/c"), "a/b/c");
	PATH(cyc_path_join(&p_, "a", "/b"), "/b");
	PATH(cyc_path_join(&p_, "", "b"), "b");
	PATH(cyc_path_join(&p_, NULL, "b"), "b");
	PATH(cyc_path_dir(&p_, "a/b/c.mrc"), "a/b/");
	PATH(cyc_path_dir(&p_, "c.mrc"), "");
	PATH(cyc_path_dir(&p_, "/c"), "/");
	ASSERT_OK(cyc_make_dirs(temp_path("x/y//z/")));
	ASSERT_OK(cyc_make_dirs(temp_path("x/y")));
	ASSERT_OK(cyc_make_dirs(""));
	assert_true(temp_exists("x/y/z"));
	temp_write("x/file", "here");
	ASSERT_FAILS(cyc_make_dirs(temp_path("x/file")), CYC_E_IO, "x/file' exists but is not a folder");
	ASSERT_FAILS(cyc_make_dirs(temp_path("x/file/deeper")), CYC_E_IO, "x/file");
	double here = 0, there = 0;
	ASSERT_OK(cyc_disk_free(&here, temp_dir));
	ASSERT_OK(cyc_disk_free(&there, temp_path("not/yet//there/")));
	assert_true(here > 0 && there > 0);
	ASSERT_OK(cyc_disk_free(&there, "not/yet"));
	ASSERT_OK(cyc_disk_free(&there, ""));
	ASSERT_FAILS(cyc_disk_free(&there, temp_path("x/file/deeper")), CYC_E_IO, "x/file/deeper");
	uint64_t ab = cyc_hash_string(cyc_hash_string(CYC_HASH_INIT, "ab"), "c"),
			 bc = cyc_hash_string(cyc_hash_string(CYC_HASH_INIT, "a"), "bc");
	assert_true(ab != bc && cyc_hash_string(CYC_HASH_INIT, NULL) != cyc_hash_string(CYC_HASH_INIT, ""));
}

static void names_of_files(void **state)
{
	(void)state;
	static const char *const ODD[] = { "",   ".",       "..",        "../x",        "a/b", "/a",
		                               "a/", ".hidden", "tab\there", "back\\slash", "a_b" };
	enum { N = sizeof ODD / sizeof *ODD };
	char *name[N], *again = NULL, long_name[400];
	PATH(cyc_file_name(&p_, "TS_01"), "TS_01");
	PATH(cyc_file_name(&p_, "Position 3 (b), Å"), "Position 3 (b), Å");
	PATH(cyc_file_path_name(&p_, "TS_01/7"), "TS_01/7");
	for (int i = 0; i < N; i++) {
		ASSERT_OK(cyc_file_name(&name[i], ODD[i]));
		assert_true(name[i][0] && name[i][0] != '.' && !strchr(name[i], '/') && strlen(name[i]) < 200);
		for (int k = 0; k < i; k++) assert_string_not_equal(name[i], name[k]);
	}
	for (int i = 0; i < N; i++) cyc_free(name[i]);
	memset(long_name, 'x', sizeof long_name);
	long_name[sizeof long_name - 1] = '\0';
	ASSERT_OK(cyc_file_name(&again, long_name));
	assert_true(strlen(again) < 200);
	cyc_free(again);
	static const char *const NOT_PLAIN[] = { "TS_01//1", "TS_01/./1", "TS_01/../1", "/1", "1/", "" };
	for (size_t i = 0; i < sizeof NOT_PLAIN / sizeof *NOT_PLAIN; i++) {
		assert_false(cyc_is_plain_path(NOT_PLAIN[i]));
		ASSERT_OK(cyc_file_path_name(&again, NOT_PLAIN[i]));
		assert_true(cyc_is_plain_path(again) && !strchr(again, '/'));
		cyc_free(again);
	}
}

static int count_files(const char *path, const struct stat *s, int flag, struct FTW *f)
{
	(void)s;
	(void)f;
	return flag == FTW_F && strstr(path, ".tmp") ? 1 : 0;
}
static void assert_no_temporary_files(void)
{
	assert_int_equal(nftw(temp_dir, count_files, 16, FTW_PHYS), 0);
}

static void files_appear_when_complete(void **state)
{
	(void)state;
	cyc_outfile o = { 0 };
	char *data = NULL;
	size_t n = 0;
	ASSERT_OK(cyc_outfile_open(&o, temp_path("new/folder/out.txt")));
	fputs("whole", o.f);
	assert_false(temp_exists("new/folder/out.txt"));
	ASSERT_OK(cyc_outfile_commit(&o));
	cyc_outfile_abandon(&o);
	ASSERT_OK(cyc_read_file(&data, &n, temp_path("new/folder/out.txt")));
	assert_int_equal(n, 5);
	assert_string_equal(data, "whole");
	cyc_free(data);
	/* Abandoned: the old one stays. */
	ASSERT_OK(cyc_outfile_open(&o, temp_path("new/folder/out.txt")));
	fputs("half", o.f);
	cyc_outfile_abandon(&o);
	cyc_outfile_abandon(&o);
	ASSERT_OK(cyc_read_file(&data, &n, temp_path("new/folder/out.txt")));
	assert_string_equal(data, "whole");
	cyc_free(data);
	/* A write that fails, seen at the commit or before. */
	ASSERT_OK(cyc_outfile_open(&o, temp_path("full.txt")));
	FILE *full = freopen("/dev/full", "wb", o.f);
	assert_non_null(full);
	fputs("lost", o.f);
	ASSERT_FAILS(cyc_outfile_commit(&o), CYC_E_IO, "full.txt");
	assert_non_null(strstr(cyc_error_get()->hint, "disk"));
	assert_false(temp_exists("full.txt"));
	/* The name is taken by a folder. */
	ASSERT_OK(cyc_make_dirs(temp_path("taken")));
	ASSERT_OK(cyc_make_dirs(temp_path("taken/in")));
	ASSERT_FAILS(cyc_write_file(temp_path("taken"), "x", 1), CYC_E_IO, "taken", "cannot rename");
	ASSERT_FAILS(cyc_write_file("/proc/nothing/here", "x", 1), CYC_E_IO, "/proc/nothing");
	assert_no_temporary_files();
}

/* A file whose disk is full. */
static void open_full(cyc_outfile *o, const char *name)
{
	ASSERT_OK(cyc_outfile_open(o, temp_path(name)));
	assert_non_null(freopen("/dev/full", "wb", o->f));
	fputs("lost", o->f);
}

static void files_are_completed_by_another_thread(void **state)
{
	(void)state;
	cyc_outfile o = { 0 };
	cyc_commits_begin();
	ASSERT_OK(cyc_write_file(temp_path("late1.txt"), "one", 3));
	ASSERT_OK(cyc_write_file(temp_path("late2.txt"), "two", 3));
	assert_true(temp_exists("late1.txt")); /* in their order */
	ASSERT_OK(cyc_commits_end(CYC_OK));
	assert_true(temp_exists("late2.txt"));
	ASSERT_OK(cyc_commits_end(CYC_OK));
	/* What failed is said by the next commit, whose file is not written, or by the end. */
	cyc_commits_begin();
	open_full(&o, "late3.txt");
	ASSERT_OK(cyc_outfile_commit(&o));
	ASSERT_FAILS(cyc_write_file(temp_path("late4.txt"), "x", 1), CYC_E_IO, "late3.txt");
	assert_non_null(strstr(cyc_error_get()->hint, "disk"));
	ASSERT_OK(cyc_commits_end(CYC_OK));
	assert_false(temp_exists("late3.txt") || temp_exists("late4.txt"));
	cyc_commits_begin();
	open_full(&o, "late5.txt");
	ASSERT_OK(cyc_outfile_commit(&o));
	ASSERT_FAILS(cyc_commits_end(CYC_OK), CYC_E_IO, "late5.txt");
	/* An earlier error stays the one that is reported. */
	cyc_commits_begin();
	open_full(&o, "late6.txt");
	ASSERT_OK(cyc_outfile_commit(&o));
	cyc_status st = cyc_read_file(&(char *){ NULL }, &(size_t){ 0 }, temp_path("nothing.txt"));
	assert_int_equal(cyc_commits_end(st), st);
	assert_non_null(strstr(cyc_error_get()->message, "nothing.txt"));
	cyc_error_clear();
	/* And now commits wait again. */
	open_full(&o, "late7.txt");
	ASSERT_FAILS(cyc_outfile_commit(&o), CYC_E_IO, "late7.txt");
	assert_no_temporary_files();
}

static void files_are_read_whole(void **state)
{
	(void)state;
	char *data = NULL;
	size_t n = 1;
	ASSERT_FAILS(cyc_read_file(&data, &n, temp_path("absent")), CYC_E_IO, "absent", "No such file");
	assert_null(data);
	ASSERT_FAILS(cyc_read_file(&data, &n, temp_dir), CYC_E_IO, "is not a file");
	temp_write("empty", "");
	ASSERT_OK(cyc_read_file(&data, &n, temp_path("empty")));
	assert_int_equal(n, 0);
	assert_string_equal(data, "");
	cyc_free(data);
	assert_int_equal(cyc_write_file(temp_path("zeros"), "a\0b", 3), CYC_OK);
	ASSERT_OK(cyc_read_file(&data, &n, temp_path("zeros")));
	assert_int_equal(n, 3);
	assert_memory_equal(data, "a\0b", 4);
	cyc_free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory),
		cmocka_unit_test(shares_of_the_machine),
		cmocka_unit_test(error_records),
		cmocka_unit_test(logging),
		cmocka_unit_test(parallel_loops),
		cmocka_unit_test(copies_of_large_memory),
		cmocka_unit_test(threads_that_are_all_busy),
		cmocka_unit_test(profile_adds_calls),
		cmocka_unit_test(loops_beside_each_other),
		cmocka_unit_test(cancelling),
		cmocka_unit_test(random_numbers_are_philox),
		cmocka_unit_test(paths),
		cmocka_unit_test(names_of_files),
		cmocka_unit_test(files_appear_when_complete),
		cmocka_unit_test(files_are_completed_by_another_thread),
		cmocka_unit_test(files_are_read_whole),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

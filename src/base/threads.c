#include "base/thread_start.h"

#include "cyclotomo/base.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---------------------------------------------------------------- cancelling */

static _Atomic(const char *) g_cancel; /* why, NULL: nobody asked */
static char *g_watch, *g_watch_step;   /* files that ask for it */
static atomic_int_least64_t g_watched_at_ms;

void cyc_cancel_request(const char *reason) { atomic_store(&g_cancel, reason); }

static cyc_status watch(char **where, const char *path)
{
	cyc_free(*where);
	*where = NULL;
	return path ? cyc_strdup(where, path) : CYC_OK;
}

cyc_status cyc_cancel_watch_file(const char *path) { return watch(&g_watch, path); }
cyc_status cyc_cancel_watch_step(const char *path) { return watch(&g_watch_step, path); }

cyc_status cyc_cancel_check(void)
{
	cyc_status st = CYC_OK;
	const char *reason = atomic_load(&g_cancel);
	CYC_CHECK(!reason, CYC_E_CANCELLED, "%s", reason);
	CYC_CHECK(!g_watch || access(g_watch, F_OK) != 0, CYC_E_CANCELLED, "stopped on request: %s", g_watch);
	CYC_CHECK(!g_watch_step || access(g_watch_step, F_OK) != 0, CYC_E_CANCELLED, "stopped on request: %s",
	          g_watch_step);
done:
	return st;
}

/* For loops of many short items: a signal is seen at once, the file is looked for about once a second. */
static cyc_status poll_cancel(void)
{
	struct timespec t;
	if (atomic_load(&g_cancel)) return cyc_cancel_check();
	if (!g_watch && !g_watch_step) return CYC_OK;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	int_least64_t now_ms = (int_least64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000,
				  last_ms = atomic_load(&g_watched_at_ms);
	bool is_due =
		now_ms - last_ms >= 1000 && atomic_compare_exchange_strong(&g_watched_at_ms, &last_ms, now_ms);
	return is_due ? cyc_cancel_check() : CYC_OK;
}

/* ---------------------------------------------------------------- parallel loop */

/* A few threads a processor, for work that waits for files; more would only wait for each other. */
enum { THREADS_OF_PROCESSOR = 4, ALWAYS_ALLOWED = 16 };

int cyc_n_workers(int64_t n_items, int n_threads)
{
	static atomic_int most; /* of this machine; 0: not asked yet */
	int limit = atomic_load(&most);
	if (limit == 0 && n_threads > ALWAYS_ALLOWED) {
		limit = THREADS_OF_PROCESSOR * cyc_n_processors();
		if (limit < ALWAYS_ALLOWED) limit = ALWAYS_ALLOWED;
		atomic_store(&most, limit);
	}
	int64_t n = n_items < n_threads ? n_items : n_threads;
	if (limit > 0 && n > limit) n = limit;
	return n < 1 ? 1 : (int)n;
}

typedef struct {
	cyc_task task;
	void *arg;
	int64_t n;
	atomic_int_least64_t next;
	atomic_bool failed;
	pthread_mutex_t lock;
	int64_t failed_item;
	cyc_status status;
	cyc_error error;
	int n_threads;       /* that it is for */
	atomic_int n_joined; /* of them, so far */
	/* Between these all that joined are at work; the end is negative, so that the first is the largest. */
	atomic_int_least64_t last_start_ns, first_end_ns;
} loop;

static _Thread_local bool t_in_task;

static void run_items(loop *l, int i_thread)
{
	t_in_task = true;
	while (!atomic_load(&l->failed)) {
		int64_t i = atomic_fetch_add(&l->next, 1);
		if (i >= l->n) break;
		cyc_status st = poll_cancel();
		if (st == CYC_OK) st = l->task(l->arg, i, i_thread);
		if (st != CYC_OK) {
			pthread_mutex_lock(&l->lock);
			if (!atomic_load(&l->failed) || i < l->failed_item) {
				l->failed_item = i;
				l->status = st;
				l->error = *cyc_error_get();
			}
			atomic_store(&l->failed, true);
			pthread_mutex_unlock(&l->lock);
		}
	}
	t_in_task = false;
}

/*
 * Threads that wait for loops: made when a loop first wants as many, and kept. A loop is offered to the first
 * n_wanted of them; those that wake up after its last item was taken find it withdrawn.
 */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t offered, left;
	int n_threads;
	loop *offer; /* NULL: none */
	uint64_t number;
	int n_wanted, n_inside;
	bool is_used; /* by a loop that has not returned */
} g_pool = { .lock = PTHREAD_MUTEX_INITIALIZER,
	         .offered = PTHREAD_COND_INITIALIZER,
	         .left = PTHREAD_COND_INITIALIZER };

static atomic_int_least64_t g_loops_ns, g_busy_ns, g_full_ns;
static atomic_int g_most_threads;

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void keep_largest(atomic_int_least64_t *at, int64_t value)
{
	int_least64_t old = atomic_load(at);
	while (old < value && !atomic_compare_exchange_weak(at, &old, value)) {
	}
}

static void run_timed(loop *l, int i_thread)
{
	int64_t start = now_ns();
	atomic_fetch_add(&l->n_joined, 1);
	keep_largest(&l->last_start_ns, start);
	run_items(l, i_thread);
	int64_t end = now_ns();
	keep_largest(&l->first_end_ns, -end);
	atomic_fetch_add(&g_busy_ns, end - start);
}

static void *worker(void *p)
{
	int me = (int)(intptr_t)p; /* from 1 */
	uint64_t seen = 0;
	pthread_mutex_lock(&g_pool.lock);
	for (;;) {
		while (!g_pool.offer || g_pool.number == seen || me > g_pool.n_wanted)
			pthread_cond_wait(&g_pool.offered, &g_pool.lock);
		loop *l = g_pool.offer;
		seen = g_pool.number;
		g_pool.n_inside++;
		pthread_mutex_unlock(&g_pool.lock);
		run_timed(l, me);
		cyc_error_clear();
		pthread_mutex_lock(&g_pool.lock);
		if (--g_pool.n_inside == 0) pthread_cond_signal(&g_pool.left);
	}
	return NULL;
}

/* A forked process has none of the threads, whatever state the pool was in. */
static void reset_in_child(void)
{
	pthread_mutex_init(&g_pool.lock, NULL);
	pthread_cond_init(&g_pool.offered, NULL);
	pthread_cond_init(&g_pool.left, NULL);
	g_pool.n_threads = g_pool.n_wanted = g_pool.n_inside = 0;
	g_pool.offer = NULL;
	g_pool.is_used = false;
}

static void register_reset(void) { pthread_atfork(NULL, NULL, reset_in_child); }

/* Threads have the stack that `ulimit -s` gives, but not less than tasks and libraries need. */
static const size_t LEAST_STACK = 1 << 20;

bool cyc_thread_start(pthread_t *out, void *(*run)(void *), void *arg)
{
	pthread_attr_t attributes;
	size_t bytes = 0;
	if (pthread_attr_init(&attributes) != 0) return false;
	if (pthread_attr_getstacksize(&attributes, &bytes) == 0 && bytes < LEAST_STACK)
		pthread_attr_setstacksize(&attributes, LEAST_STACK);
	int result = pthread_create(out, &attributes, run, arg);
	pthread_attr_destroy(&attributes);
	return result == 0;
}

static bool start_thread(int number)
{
	pthread_t thread;
	if (!cyc_thread_start(&thread, worker, (void *)(intptr_t)number)) return false;
	pthread_detach(thread);
	return true;
}

/* With the lock held: threads 1 .. n, or as many as are available. */
static void start_threads(int n)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static bool has_warned;
	pthread_once(&once, register_reset);
	for (; g_pool.n_threads < n; g_pool.n_threads++) {
		if (!start_thread(g_pool.n_threads + 1)) break;
	}
	if (g_pool.n_threads < n && !has_warned)
		cyc_warn("only %d of %d threads could be started; continuing with these", g_pool.n_threads + 1,
		         n + 1);
	has_warned = has_warned || g_pool.n_threads < n;
}

/* Run a loop on this thread and n_extra others; on this one alone while another thread's loop has them. */
static void run_loop(loop *l, int n_extra)
{
	bool is_shared = false;
	int64_t start = now_ns();
	if (n_extra > 0) {
		pthread_mutex_lock(&g_pool.lock);
		if (!g_pool.is_used) {
			start_threads(n_extra);
			is_shared = g_pool.is_used = true;
			g_pool.offer = l;
			g_pool.number++;
			g_pool.n_wanted = n_extra;
			pthread_cond_broadcast(&g_pool.offered);
		}
		pthread_mutex_unlock(&g_pool.lock);
	}
	run_timed(l, 0);
	if (is_shared) {
		pthread_mutex_lock(&g_pool.lock);
		g_pool.offer = NULL;
		while (g_pool.n_inside > 0) pthread_cond_wait(&g_pool.left, &g_pool.lock);
		g_pool.is_used = false;
		pthread_mutex_unlock(&g_pool.lock);
	}
	atomic_fetch_add(&g_loops_ns, now_ns() - start);
	int64_t full = -atomic_load(&l->first_end_ns) - atomic_load(&l->last_start_ns);
	if (full > 0 && atomic_load(&l->n_joined) >= l->n_threads) atomic_fetch_add(&g_full_ns, full);
	int most = atomic_load(&g_most_threads);
	while (most < n_extra + 1 && !atomic_compare_exchange_weak(&g_most_threads, &most, n_extra + 1)) {
	}
}

cyc_status cyc_parallel_for(int64_t n, int n_threads, cyc_task task, void *arg)
{
	cyc_status st = CYC_OK;
	if (n <= 0) return CYC_OK;
	if (t_in_task) {
		/* Called from inside a task: the threads are busy already. */
		for (int64_t i = 0; i < n; i++) {
			CYC_TRY(poll_cancel());
			CYC_TRY(task(arg, i, 0));
		}
		return CYC_OK;
	}
	loop l = {
		.task = task, .arg = arg, .n = n, .status = CYC_OK, .n_threads = n_threads, .first_end_ns = INT64_MIN
	};
	pthread_mutex_init(&l.lock, NULL);
	run_loop(&l, cyc_n_workers(n, n_threads) - 1);
	pthread_mutex_destroy(&l.lock);
	if (atomic_load(&l.failed)) {
		cyc_error_set(&l.error);
		st = cyc_error_frame(l.status, __FILE__, __LINE__, __func__);
	}
done:
	return st;
}

/* ---------------------------------------------------------------- memory */

enum { PIECE = 1 << 20 };

typedef struct {
	char *to;
	const char *from;
	size_t n;
} copying;

static cyc_status copy_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const copying *c = arg;
	size_t first = (size_t)i * PIECE, n = c->n - first < PIECE ? c->n - first : PIECE;
	memcpy(c->to + first, c->from + first, n);
	return CYC_OK;
}

cyc_status cyc_copy(void *to, const void *from, size_t n_bytes, int n_threads)
{
	copying c = { to, from, n_bytes };
	return cyc_parallel_for((int64_t)((n_bytes + PIECE - 1) / PIECE), n_threads, copy_task, &c);
}

void cyc_thread_usage_get(cyc_thread_usage *out)
{
	out->loops_s = 1e-9 * (double)atomic_load(&g_loops_ns);
	out->full_s = 1e-9 * (double)atomic_load(&g_full_ns);
	out->busy_s = 1e-9 * (double)atomic_load(&g_busy_ns);
	out->most_threads = atomic_load(&g_most_threads);
}

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
 * Threads that wait for loops: made when a loop first wants as many, and kept. One loop at a time is offered
 * to the first n_wanted of them. A thread joins and leaves by changing `state`, without a lock: on 64
 * processors they would queue for it longer than many loops last. One that comes after the last item was
 * taken finds the loop closed, and does not touch it: it may be gone.
 *
 * Threads without work look out for the next loop for a moment before they sleep (patience_ns): a job is
 * thousands of loops of milliseconds with little between them, and to be woken takes a tenth of one.
 */
enum { INSIDE = 0xffff, OPEN = 0x10000, NUMBER_STEP = 0x20000 };
static struct {
	atomic_uint_least64_t state; /* threads inside, OPEN, and the number of the loop in the bits above */
	loop *_Atomic offer;         /* its loop, valid for those inside */
	atomic_int n_wanted;
	atomic_bool is_used;   /* by a loop that has not returned */
	atomic_int n_sleeping; /* threads of the pool */
	atomic_bool is_waited; /* somebody sleeps until the last one has left */
	pthread_mutex_t lock;  /* of sleeping and waking, and of n_threads */
	pthread_cond_t offered, left;
	int n_threads;
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

/*
 * Threads at work (bits below ALL), and how many all are (from ALL on). Time with all at work is the sum of
 * the moments at which their number falls below all, less those at which it reaches it: they take turns, so
 * what a thread adds late is still right. Moments are counted from so long ago that a sum in which one is
 * missing cannot be taken for a time.
 */
static const uint64_t ALL = (uint64_t)1 << 32;
static const int64_t LONG_AGO_NS = (int64_t)1 << 58; /* nine years */
static atomic_uint_least64_t g_at_work = 1;          /* the thread that starts the others */

static void all_are_at_work(bool begins)
{
	int64_t now = now_ns() + LONG_AGO_NS;
	atomic_fetch_add(&g_full_ns, begins ? -now : now);
}

void cyc_work_begin(void)
{
	uint64_t before = atomic_fetch_add(&g_at_work, 1);
	if (before % ALL + 1 == before / ALL) all_are_at_work(true);
}

void cyc_work_end(void)
{
	uint64_t before = atomic_fetch_sub(&g_at_work, 1);
	if (before % ALL == before / ALL) all_are_at_work(false);
}

static void expect_threads(int n)
{
	uint64_t before = atomic_load(&g_at_work);
	do
		if (n < 1 || before / ALL >= (uint64_t)n) return;
	while (!atomic_compare_exchange_weak(&g_at_work, &before, (uint64_t)n * ALL + before % ALL));
	bool were_all = before / ALL > 0 && before % ALL >= before / ALL, are_all = before % ALL >= (uint64_t)n;
	if (were_all != are_all) all_are_at_work(are_all);
}

static int64_t full_ns(void)
{
	for (;;) {
		uint64_t at_work = atomic_load(&g_at_work);
		bool are_all = at_work / ALL > 0 && at_work % ALL >= at_work / ALL;
		int64_t sum = atomic_load(&g_full_ns) + (are_all ? now_ns() + LONG_AGO_NS : 0);
		/* Else a thread has changed one of them and not yet the other. */
		if (sum > -LONG_AGO_NS / 2 && sum < LONG_AGO_NS / 2) return sum > 0 ? sum : 0;
	}
}

static void run_timed(loop *l, int i_thread)
{
	int64_t start = now_ns();
	run_items(l, i_thread);
	atomic_fetch_add(&g_busy_ns, now_ns() - start);
}

/* How long to look out for what others do: not at all where there are not processors for all. */
static const int64_t PATIENCE_NS = 50 * 1000;
static atomic_int_least64_t g_patience_ns;

static void look_away(void)
{
#if defined __x86_64__ || defined __i386__
	__builtin_ia32_pause();
#elif defined __aarch64__
	__asm__ volatile("yield");
#endif
}

/* Whether a loop with another number than `seen` is open; after a moment's looking out. */
static bool is_offered(uint64_t *state, uint64_t seen)
{
	*state = atomic_load(&g_pool.state);
	return (*state & OPEN) && *state / NUMBER_STEP != seen;
}

static bool look_out(uint64_t *state, uint64_t seen)
{
	enum { LOOKS_A_TIME = 16 };
	int64_t until = now_ns() + atomic_load(&g_patience_ns);
	do
		for (int i = 0; i < LOOKS_A_TIME; i++) {
			if (is_offered(state, seen)) return true;
			look_away();
		}
	while (now_ns() < until);
	return false;
}

/* The number is looked at after n_sleeping has grown, and loops are opened before n_sleeping is read: no
 * thread sleeps through a loop that nobody wakes it for. */
static void sleep_until_offered(uint64_t *state, uint64_t seen)
{
	pthread_mutex_lock(&g_pool.lock);
	atomic_fetch_add(&g_pool.n_sleeping, 1);
	while (!is_offered(state, seen)) pthread_cond_wait(&g_pool.offered, &g_pool.lock);
	atomic_fetch_sub(&g_pool.n_sleeping, 1);
	pthread_mutex_unlock(&g_pool.lock);
}

static void leave(void)
{
	uint64_t before = atomic_fetch_sub(&g_pool.state, 1);
	if ((before & INSIDE) != 1 || !atomic_load(&g_pool.is_waited)) return;
	pthread_mutex_lock(&g_pool.lock);
	pthread_cond_signal(&g_pool.left);
	pthread_mutex_unlock(&g_pool.lock);
}

static void *worker(void *p)
{
	int me = (int)(intptr_t)p; /* from 1 */
	uint64_t seen = 0, state;
	for (;;) {
		if (!look_out(&state, seen)) sleep_until_offered(&state, seen);
		bool is_wanted = me <= atomic_load(&g_pool.n_wanted);
		/* Joining succeeds only while that loop is open, so n_wanted was its. */
		if (is_wanted && !atomic_compare_exchange_strong(&g_pool.state, &state, state + 1)) continue;
		seen = state / NUMBER_STEP;
		if (!is_wanted) continue;
		cyc_work_begin();
		run_timed(atomic_load(&g_pool.offer), me);
		cyc_work_end();
		cyc_error_clear();
		leave();
	}
	return NULL;
}

static void offer_loop(loop *l, int n_wanted)
{
	atomic_store(&g_pool.offer, l);
	atomic_store(&g_pool.n_wanted, n_wanted);
	/* Closed and empty: nobody else changes it. */
	uint64_t number = atomic_load(&g_pool.state) / NUMBER_STEP + 1;
	atomic_store(&g_pool.state, number * NUMBER_STEP + OPEN);
	if (atomic_load(&g_pool.n_sleeping) == 0) return;
	pthread_mutex_lock(&g_pool.lock);
	pthread_cond_broadcast(&g_pool.offered);
	pthread_mutex_unlock(&g_pool.lock);
}

static void wait_for_others(void)
{
	for (int64_t until = now_ns() + atomic_load(&g_patience_ns); now_ns() < until;) {
		if ((atomic_load(&g_pool.state) & INSIDE) == 0) return;
		look_away();
	}
	pthread_mutex_lock(&g_pool.lock);
	atomic_store(&g_pool.is_waited, true);
	while ((atomic_load(&g_pool.state) & INSIDE) > 0) pthread_cond_wait(&g_pool.left, &g_pool.lock);
	atomic_store(&g_pool.is_waited, false);
	pthread_mutex_unlock(&g_pool.lock);
}

/* No more may join; those inside finish their items. */
static void withdraw_loop(void)
{
	atomic_fetch_and(&g_pool.state, ~(uint64_t)OPEN);
	if ((atomic_load(&g_pool.state) & INSIDE) == 0) return;
	cyc_work_end();
	wait_for_others();
	cyc_work_begin();
}

/* A forked process has none of the threads, whatever state the pool was in. */
static void reset_in_child(void)
{
	pthread_mutex_init(&g_pool.lock, NULL);
	pthread_cond_init(&g_pool.offered, NULL);
	pthread_cond_init(&g_pool.left, NULL);
	g_pool.n_threads = 0;
	atomic_store(&g_pool.state, 0);
	atomic_store(&g_pool.n_wanted, 0);
	atomic_store(&g_pool.n_sleeping, 0);
	atomic_store(&g_pool.is_waited, false);
	atomic_store(&g_pool.is_used, false);
	/* One thread is at work, and has been since now. */
	uint64_t all = atomic_load(&g_at_work) / ALL;
	atomic_store(&g_at_work, all * ALL + 1);
	atomic_store(&g_full_ns, 0);
	if (all == 1) all_are_at_work(true);
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

static void have_threads(int n)
{
	pthread_mutex_lock(&g_pool.lock);
	if (g_pool.n_threads < n) {
		start_threads(n);
		bool are_enough = g_pool.n_threads < cyc_n_processors();
		atomic_store(&g_patience_ns, are_enough ? PATIENCE_NS : 0);
	}
	pthread_mutex_unlock(&g_pool.lock);
}

/* Run a loop on this thread and n_extra others; on this one alone while another thread's loop has them. */
static void run_loop(loop *l, int n_extra)
{
	bool is_free = false,
		 is_shared = n_extra > 0 && atomic_compare_exchange_strong(&g_pool.is_used, &is_free, true);
	int64_t start = now_ns();
	if (is_shared) {
		have_threads(n_extra);
		offer_loop(l, n_extra);
	}
	run_timed(l, 0);
	if (is_shared) {
		withdraw_loop();
		atomic_store(&g_pool.is_used, false);
	}
	atomic_fetch_add(&g_loops_ns, now_ns() - start);
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
	loop l = { .task = task, .arg = arg, .n = n, .status = CYC_OK };
	expect_threads(n_threads);
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
	out->full_s = 1e-9 * (double)full_ns();
	out->busy_s = 1e-9 * (double)atomic_load(&g_busy_ns);
	out->most_threads = atomic_load(&g_most_threads);
}

#include "cyclotomo/base.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* ---------------------------------------------------------------- cancelling */

static _Atomic(const char *) g_cancel; /* why, NULL: nobody asked */
static char *g_watch;
static atomic_int_least64_t g_watched_at_ms;

void cyc_cancel_request(const char *reason) { atomic_store(&g_cancel, reason); }

cyc_status cyc_cancel_watch_file(const char *path)
{
	cyc_free(g_watch);
	g_watch = NULL;
	return path ? cyc_strdup(&g_watch, path) : CYC_OK;
}

cyc_status cyc_cancel_check(void)
{
	cyc_status st = CYC_OK;
	const char *reason = atomic_load(&g_cancel);
	CYC_CHECK(!reason, CYC_E_CANCELLED, "%s", reason);
	CYC_CHECK(!g_watch || access(g_watch, F_OK) != 0, CYC_E_CANCELLED, "stopped on request of %s", g_watch);
done:
	return st;
}

/* For loops of many short items: a signal is seen at once, the file is looked for about once a second. */
static cyc_status poll_cancel(void)
{
	struct timespec t;
	if (atomic_load(&g_cancel)) return cyc_cancel_check();
	if (!g_watch) return CYC_OK;
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

typedef struct {
	loop *l;
	int i_thread;
} worker_arg;

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

static void *worker(void *p)
{
	worker_arg *a = p;
	run_items(a->l, a->i_thread);
	return NULL;
}

/* Threads have the stack that `ulimit -s` gives, but not less than tasks and libraries need. */
static const size_t LEAST_STACK = 1 << 20;

static int start_thread(pthread_t *thread, worker_arg *arg)
{
	pthread_attr_t attributes;
	size_t bytes = 0;
	if (pthread_attr_init(&attributes) != 0) return pthread_create(thread, NULL, worker, arg);
	if (pthread_attr_getstacksize(&attributes, &bytes) == 0 && bytes < LEAST_STACK)
		pthread_attr_setstacksize(&attributes, LEAST_STACK);
	int result = pthread_create(thread, &attributes, worker, arg);
	pthread_attr_destroy(&attributes);
	return result;
}

cyc_status cyc_parallel_for(int64_t n, int n_threads, cyc_task task, void *arg)
{
	cyc_status st = CYC_OK;
	pthread_t *threads = NULL;
	worker_arg *args = NULL;
	int n_started = 0;
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
	pthread_mutex_init(&l.lock, NULL);
	int n_extra = cyc_n_workers(n, n_threads) - 1;
	if (n_extra > 0) {
		CYC_TRY(cyc_alloc(&threads, n_extra, sizeof *threads));
		CYC_TRY(cyc_alloc(&args, n_extra, sizeof *args));
		for (; n_started < n_extra; n_started++) {
			args[n_started] = (worker_arg){ &l, n_started + 1 };
			if (start_thread(&threads[n_started], &args[n_started]) != 0) break;
		}
		if (n_started < n_extra)
			cyc_warn("only %d of %d threads could be started; the work goes on with these", n_started + 1,
			         n_extra + 1);
	}
	run_items(&l, 0);
	for (int i = 0; i < n_started; i++) pthread_join(threads[i], NULL);
	if (atomic_load(&l.failed)) {
		cyc_error_set(&l.error);
		st = cyc_error_frame(l.status, __FILE__, __LINE__, __func__);
	}
done:
	cyc_free(threads);
	cyc_free(args);
	return st;
}

#include "cyclotomo/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static cyc_log_sink g_sink;
static void *g_user;
static cyc_log_level g_level = CYC_LOG_INFO;
static _Atomic int64_t g_n_warnings;
static cyc_log_sink g_listener;
static void *g_listener_user;
static cyc_progress_sink g_progress;
static void *g_progress_user;

void cyc_log_set_sink(cyc_log_sink sink, void *user, cyc_log_level max_level)
{
	g_sink = sink;
	g_user = user;
	g_level = max_level;
}

void cyc_log(cyc_log_level level, const char *fmt, ...)
{
	if (level == CYC_LOG_WARN) g_n_warnings++;
	bool is_logged = g_sink && level <= g_level, is_heard = g_listener && level == CYC_LOG_WARN;
	if (!is_logged && !is_heard) return;
	char text[4096];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&g_lock);
	if (is_logged) g_sink(g_user, level, text);
	if (is_heard) g_listener(g_listener_user, level, text);
	pthread_mutex_unlock(&g_lock);
}

void cyc_log_set_warning_listener(cyc_log_sink listener, void *user)
{
	pthread_mutex_lock(&g_lock);
	g_listener = listener;
	g_listener_user = user;
	pthread_mutex_unlock(&g_lock);
}

int64_t cyc_log_n_warnings(void) { return g_n_warnings; }

void cyc_progress_set_sink(cyc_progress_sink sink, void *user)
{
	g_progress = sink;
	g_progress_user = user;
}

void cyc_progress(const char *what, int64_t i_done, int64_t n_total)
{
	if (!g_progress || n_total <= 0) return;
	pthread_mutex_lock(&g_lock);
	g_progress(g_progress_user, what, (double)i_done / (double)n_total);
	pthread_mutex_unlock(&g_lock);
}

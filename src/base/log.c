#include "cyclotomo/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static cyc_log_sink g_sink;
static void *g_user;
static cyc_log_level g_level = CYC_LOG_INFO;
static _Atomic int64_t g_n_warnings;
static cyc_log_sink g_listener;
static void *g_listener_user;
static cyc_log_sink g_transcript;
static void *g_transcript_user;
static cyc_progress_sink g_progress;
static void *g_progress_user;
static cyc_progress_sink g_progress_listener;
static void *g_progress_listener_user;
static char g_whole[160];

/* Texts that were given already, by their hash. */
typedef struct {
	uint64_t *hashes;
	size_t n, room;
} text_set;
static text_set g_warned, g_told;

/* Texts that are kept for a record: level, text, zero. */
static struct {
	bool is_on;
	char *bytes;
	size_t n, room;
} g_kept;

static bool has(const text_set *s, uint64_t hash)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->hashes[i] == hash) return true;
	return false;
}

/* Without memory every text is new. */
static bool is_new(text_set *s, const char *text)
{
	uint64_t hash = cyc_hash_string(CYC_HASH_INIT, text);
	if (has(s, hash)) return false;
	if (s->n == s->room) {
		size_t room = s->room > 0 ? 2 * s->room : 64;
		uint64_t *larger = realloc(s->hashes, room * sizeof *larger);
		if (!larger) return true;
		s->hashes = larger;
		s->room = room;
	}
	s->hashes[s->n++] = hash;
	return true;
}

void cyc_log_set_sink(cyc_log_sink sink, void *user, cyc_log_level max_level)
{
	g_sink = sink;
	g_user = user;
	g_level = max_level;
}

static void put(cyc_log_level level, const char *text)
{
	if (g_sink && level <= g_level) g_sink(g_user, level, text);
	if (g_listener && level == CYC_LOG_WARN) g_listener(g_listener_user, level, text);
	if (g_transcript && level <= CYC_LOG_INFO) g_transcript(g_transcript_user, level, text);
}

/* Does anybody want lines of this level? */
static bool is_heard(cyc_log_level level)
{
	return (g_sink && level <= g_level) || (g_transcript && level <= CYC_LOG_INFO);
}

/* Under the lock. What is kept counts as given, so that a record of this process repeats nothing in it. */
static void keep(cyc_log_level level, const char *text)
{
	size_t length = strlen(text) + 2;
	if (!g_kept.is_on || (level != CYC_LOG_WARN && level != CYC_LOG_INFO)) return;
	if (level == CYC_LOG_INFO) (void)is_new(&g_told, text);
	if (g_kept.n + length > g_kept.room) {
		size_t room = 2 * (g_kept.n + length);
		char *larger = realloc(g_kept.bytes, room);
		if (!larger) return;
		g_kept.bytes = larger;
		g_kept.room = room;
	}
	g_kept.bytes[g_kept.n] = (char)level;
	memcpy(g_kept.bytes + g_kept.n + 1, text, length - 1);
	g_kept.n += length;
}

void cyc_log_keep(void)
{
	pthread_mutex_lock(&g_lock);
	g_kept.is_on = true;
	g_kept.n = 0;
	pthread_mutex_unlock(&g_lock);
}

void cyc_log_keep_end(void)
{
	pthread_mutex_lock(&g_lock);
	free(g_kept.bytes);
	memset(&g_kept, 0, sizeof g_kept);
	pthread_mutex_unlock(&g_lock);
}

const char *cyc_log_kept(size_t *n)
{
	*n = g_kept.is_on ? g_kept.n : 0;
	return g_kept.bytes;
}

void cyc_log_repeat(const char *kept, size_t n)
{
	pthread_mutex_lock(&g_lock);
	for (size_t at = 0; at < n;) {
		cyc_log_level level = (cyc_log_level)kept[at++];
		const char *text = kept + at, *end = memchr(text, '\0', n - at);
		if (!end) break;
		at += (size_t)(end - text) + 1;
		if (level != CYC_LOG_WARN && level != CYC_LOG_INFO) continue;
		bool is_first = is_new(level == CYC_LOG_WARN ? &g_warned : &g_told, text);
		if (is_first) keep(level, text);
		if (is_first && level == CYC_LOG_WARN) g_n_warnings++;
		if (is_first) put(level, text);
		else if (g_listener && level == CYC_LOG_WARN) g_listener(g_listener_user, level, text);
	}
	pthread_mutex_unlock(&g_lock);
}

void cyc_log(cyc_log_level level, const char *fmt, ...)
{
	bool is_warning = level == CYC_LOG_WARN;
	if (!is_warning && !g_kept.is_on && !is_heard(level)) return;
	char text[4096];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&g_lock);
	if (is_warning) (void)is_new(&g_warned, text);
	keep(level, text);
	if (is_warning) g_n_warnings++;
	put(level, text);
	pthread_mutex_unlock(&g_lock);
}

bool cyc_log_has_warned(const char *text)
{
	pthread_mutex_lock(&g_lock);
	bool has_warned = has(&g_warned, cyc_hash_string(CYC_HASH_INIT, text));
	pthread_mutex_unlock(&g_lock);
	return has_warned;
}

void cyc_info_once(const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	if (!g_kept.is_on && !is_heard(CYC_LOG_INFO)) return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&g_lock);
	if (is_new(&g_told, text)) {
		keep(CYC_LOG_INFO, text);
		put(CYC_LOG_INFO, text);
	}
	pthread_mutex_unlock(&g_lock);
}

void cyc_log_set_warning_listener(cyc_log_sink listener, void *user)
{
	pthread_mutex_lock(&g_lock);
	g_listener = listener;
	g_listener_user = user;
	pthread_mutex_unlock(&g_lock);
}

void cyc_log_set_transcript(cyc_log_sink listener, void *user)
{
	pthread_mutex_lock(&g_lock);
	g_transcript = listener;
	g_transcript_user = user;
	pthread_mutex_unlock(&g_lock);
}

int64_t cyc_log_n_warnings(void) { return g_n_warnings; }

int64_t cyc_log_n_different_warnings(void)
{
	pthread_mutex_lock(&g_lock);
	int64_t n = (int64_t)g_warned.n;
	pthread_mutex_unlock(&g_lock);
	return n;
}

void cyc_progress_set_sink(cyc_progress_sink sink, void *user)
{
	g_progress = sink;
	g_progress_user = user;
}

void cyc_progress_set_listener(cyc_progress_sink listener, void *user)
{
	g_progress_listener = listener;
	g_progress_listener_user = user;
}

void cyc_progress_set_whole(const char *text)
{
	pthread_mutex_lock(&g_lock);
	snprintf(g_whole, sizeof g_whole, "%s", text);
	pthread_mutex_unlock(&g_lock);
}

const char *cyc_progress_whole(void) { return g_whole; }

void cyc_progress(const char *what, int64_t n_done, int64_t n_total)
{
	if (n_total <= 0) return;
	if (g_progress_listener) g_progress_listener(g_progress_listener_user, what, n_done, n_total);
	if (!g_progress) return;
	pthread_mutex_lock(&g_lock);
	g_progress(g_progress_user, what, n_done, n_total);
	pthread_mutex_unlock(&g_lock);
}

void cyc_format_seconds(char *out, size_t size, double seconds)
{
	if (!isfinite(seconds) || seconds < 0 || seconds > 1e9) {
		snprintf(out, size, "-");
		return;
	}
	long s = lround(seconds);
	if (s < 60) snprintf(out, size, "%ld s", s);
	else if (s < 3600) snprintf(out, size, "%ld:%02ld min", s / 60, s % 60);
	else snprintf(out, size, "%ld:%02ld h", s / 3600, s / 60 % 60);
}

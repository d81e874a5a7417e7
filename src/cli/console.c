#include "command.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
	const char *command;
	FILE *talk; /* of what is no warning; NULL: stderr */
	struct timespec start;
	bool is_terminal, is_verbose, has_bar;
	/* Progress of one stage. */
	char what[64];
	double stage_start, last_shown;
	int last_tenth;
} g_console;

static double seconds_since(const struct timespec *start)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

static FILE *talk(void) { return g_console.talk ? g_console.talk : stderr; }
void cyc_console_talk_on(FILE *f) { g_console.talk = f; }

double cyc_console_seconds(void) { return seconds_since(&g_console.start); }
bool cyc_console_is_verbose(void) { return g_console.is_verbose; }

void cyc_console_clear(void)
{
	if (g_console.has_bar) fputs("\r\033[K", stderr);
	g_console.has_bar = false;
}

static void on_log(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	cyc_console_clear();
	const char *prefix = level == CYC_LOG_WARN ? "warning: " : level == CYC_LOG_ERROR ? "error: " : "";
	/* Results on stdout come before the log lines that follow them, also when both go to one file. */
	fflush(stdout);
	fprintf(level <= CYC_LOG_WARN ? stderr : talk(), "[%7.1fs %s] %s%s\n", cyc_console_seconds(),
	        g_console.command, prefix, text);
}

static void show_bar(const char *what, double done_frac, double elapsed)
{
	enum { WIDTH = 24 };
	int n = (int)lrint(done_frac * WIDTH);
	char eta[32] = "";
	if (elapsed > 1.0 && done_frac > 0.02 && done_frac < 1.0) {
		long left = lrint(elapsed * (1.0 - done_frac) / done_frac);
		snprintf(eta, sizeof eta, " %ld:%02ld left", left / 60, left % 60);
	}
	fprintf(stderr, "\r\033[K%s [%.*s%.*s] %3.0f%%%s", what, n, "########################", WIDTH - n,
	        "........................", 100.0 * done_frac, eta);
	fflush(stderr);
	g_console.has_bar = true;
}

/* A bar on a terminal, at most twice a second; elsewhere a line for every tenth of what takes long. */
static void on_progress(void *user, const char *what, double done_frac)
{
	static const double BAR_INTERVAL_S = 0.5, LONG_STAGE_S = 10.0;
	(void)user;
	double now = cyc_console_seconds();
	done_frac = done_frac < 0.0 ? 0.0 : done_frac > 1.0 ? 1.0 : done_frac;
	if (strncmp(g_console.what, what, sizeof g_console.what - 1) != 0 ||
	    (int)(10.0 * done_frac) < g_console.last_tenth) {
		snprintf(g_console.what, sizeof g_console.what, "%s", what);
		g_console.stage_start = now;
		g_console.last_shown = now;
		g_console.last_tenth = 0;
	}
	if (g_console.is_terminal) {
		if (done_frac >= 1.0) {
			cyc_console_clear();
		} else if (now - g_console.last_shown >= BAR_INTERVAL_S) {
			show_bar(what, done_frac, now - g_console.stage_start);
			g_console.last_shown = now;
		}
		g_console.last_tenth = (int)(10.0 * done_frac);
		return;
	}
	int tenth = (int)(10.0 * done_frac);
	if (tenth > g_console.last_tenth && tenth < 10 && now - g_console.stage_start > LONG_STAGE_S) {
		fprintf(talk(), "[%7.1fs %s] %s %d%%\n", now, g_console.command, what, 10 * tenth);
	}
	g_console.last_tenth = tenth;
}

void cyc_console_begin(const char *command)
{
	g_console.command = command;
	g_console.is_terminal = isatty(STDERR_FILENO) == 1;
	clock_gettime(CLOCK_MONOTONIC, &g_console.start);
	cyc_console_set_level(false, false);
}

void cyc_console_set_level(bool is_quiet, bool is_verbose)
{
	g_console.is_verbose = is_verbose;
	cyc_log_set_sink(on_log, NULL, is_verbose ? CYC_LOG_DEBUG : is_quiet ? CYC_LOG_WARN : CYC_LOG_INFO);
	cyc_progress_set_sink(is_quiet && !is_verbose ? NULL : on_progress, NULL);
}

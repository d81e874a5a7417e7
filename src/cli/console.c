#include "command.h"

#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct {
	const char *command;
	FILE *talk; /* of what is no warning; NULL: stderr */
	void (*words)(char *to, size_t size, const char *text);
	double start; /* by cyc_clock_s() */
	bool is_terminal, is_verbose, has_bar;
	/* Progress of one stage. */
	char what[64];
	double stage_start, last_shown;
	int64_t last_done;
} g_console;

static FILE *talk(void) { return g_console.talk ? g_console.talk : stderr; }
void cyc_console_talk_on(FILE *f) { g_console.talk = f; }
void cyc_console_word(void (*words)(char *to, size_t size, const char *text)) { g_console.words = words; }

double cyc_console_seconds(void) { return cyc_clock_s() - g_console.start; }
bool cyc_console_is_verbose(void) { return g_console.is_verbose; }

void cyc_console_clear(void)
{
	if (g_console.has_bar) fputs("\r\033[K", stderr);
	g_console.has_bar = false;
}

/* RELION's windows are as wide as this, and have no good way to show longer lines. Warnings are whole lines:
 * the window of stderr shows the last ones. */
static void print_wrapped(FILE *f, const char *text, size_t column)
{
	enum { WIDTH = 108, INDENT = 12 };
	bool is_first = true;
	while (*text) {
		size_t n = strcspn(text, " "), n_bytes = n, n_columns = 0;
		for (size_t i = 0; i < n; i++) n_columns += ((unsigned char)text[i] & 0xc0) != 0x80;
		if (!is_first && column + 1 + n_columns > WIDTH) {
			fprintf(f, "\n%*s", INDENT, "");
			column = INDENT;
		} else if (!is_first) {
			fputc(' ', f);
			column++;
		}
		fprintf(f, "%.*s", (int)n_bytes, text);
		column += n_columns;
		text += n_bytes + (text[n_bytes] == ' ');
		is_first = false;
	}
	fputc('\n', f);
}

static void on_log(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	char worded[4096];
	cyc_console_clear();
	/* Longer ones than fit stay as they are. */
	if (g_console.words && strlen(text) < sizeof worded / 2) {
		g_console.words(worded, sizeof worded, text);
		text = worded;
	}
	const char *prefix = level == CYC_LOG_WARN ? "warning: " : level == CYC_LOG_ERROR ? "error: " : "";
	/* Results on stdout come before the log lines that follow them, also when both go to one file. */
	fflush(stdout);
	FILE *f = level <= CYC_LOG_WARN ? stderr : talk();
	int n = fprintf(f, "[%7.1fs %s] %s", cyc_console_seconds(), g_console.command, prefix);
	if (g_console.talk && f == g_console.talk) print_wrapped(f, text, n > 0 ? (size_t)n : 0);
	else fprintf(f, "%s\n", text);
}

/* What is done, the rate, and the time left: of this stage, and of what it is part of. */
static void describe(char *text, size_t size, int64_t n_done, int64_t n_total, double elapsed)
{
	const char *whole = cyc_progress_whole();
	char left[40];
	int n = snprintf(text, size, "%lld of %lld", (long long)n_done, (long long)n_total);
	if (elapsed > 1.0 && n_done > 0 && n_done < n_total) {
		double rate = (double)n_done / elapsed;
		cyc_format_seconds(left, sizeof left, (double)(n_total - n_done) / rate);
		/* Slow work by the minute: 0.0 a second says nothing. */
		bool is_slow = rate < 0.5;
		n += snprintf(text + n, size - (size_t)n, ", %.3g per %s, %s left", is_slow ? 60 * rate : rate,
		              is_slow ? "min" : "s", left);
	}
	if (whole[0] && n > 0 && (size_t)n < size) snprintf(text + n, size - (size_t)n, "; %s", whole);
}

static int terminal_columns(void)
{
	struct winsize w;
	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20 ? w.ws_col : 80;
}

/* One line, cut to the terminal: a line that wraps would be left behind. */
static void show_bar(const char *what, int64_t n_done, int64_t n_total, double elapsed)
{
	enum { WIDTH = 20 };
	char text[240], line[400];
	int n = (int)((double)WIDTH * (double)n_done / (double)n_total), most = terminal_columns() - 1;
	describe(text, sizeof text, n_done, n_total, elapsed);
	snprintf(line, sizeof line, "%s [%.*s%.*s] %s", what, n, "####################", WIDTH - n,
	         "....................", text);
	fprintf(stderr, "\r\033[K%.*s", most, line);
	fflush(stderr);
	g_console.has_bar = true;
}

static void begin_stage(const char *what, int64_t n_done, double now)
{
	snprintf(g_console.what, sizeof g_console.what, "%s", what);
	g_console.stage_start = now;
	g_console.last_shown = now;
	g_console.last_done = n_done;
}

/* A bar on a terminal, at most twice a second; elsewhere a line each few minutes. */
static void on_progress(void *user, const char *what, int64_t n_done, int64_t n_total)
{
	static const double BAR_INTERVAL_S = 0.5, LINE_INTERVAL_S = 120.0;
	(void)user;
	double now = cyc_console_seconds();
	n_done = n_done < 0 ? 0 : n_done > n_total ? n_total : n_done;
	if (strncmp(g_console.what, what, sizeof g_console.what - 1) != 0 || n_done < g_console.last_done)
		begin_stage(what, n_done, now);
	g_console.last_done = n_done;
	if (n_done == n_total) {
		cyc_console_clear();
		return;
	}
	if (now - g_console.last_shown < (g_console.is_terminal ? BAR_INTERVAL_S : LINE_INTERVAL_S)) return;
	g_console.last_shown = now;
	if (g_console.is_terminal) {
		show_bar(what, n_done, n_total, now - g_console.stage_start);
		return;
	}
	char text[240];
	describe(text, sizeof text, n_done, n_total, now - g_console.stage_start);
	fprintf(talk(), "[%7.1fs %s] %s: %s\n", now, g_console.command, what, text);
}

void cyc_console_begin(const char *command)
{
	g_console.command = command;
	g_console.is_terminal = isatty(STDERR_FILENO) == 1;
	g_console.start = cyc_clock_s();
	cyc_console_set_level(false, false);
}

void cyc_console_set_level(bool is_quiet, bool is_verbose)
{
	g_console.is_verbose = is_verbose;
	cyc_log_set_sink(on_log, NULL, is_verbose ? CYC_LOG_DEBUG : is_quiet ? CYC_LOG_WARN : CYC_LOG_INFO);
	cyc_progress_set_sink(is_quiet && !is_verbose ? NULL : on_progress, NULL);
}

/* `cyclotomo reconstruct --help | head`: the reader has seen enough, and nothing went wrong. */
static void on_help_closed(int number)
{
	(void)number;
	_exit(0);
}

void cyc_help_ends_with_pipe(void) { signal(SIGPIPE, on_help_closed); }

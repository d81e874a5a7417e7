/* run.out and run.err of a step, which RELION's GUI shows: what is logged while the step runs. */
#include "cycle/in_project.h"

#include "cyclotomo/version.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

static struct {
	FILE *out, *err;
} g_log;

static void print_head(const char *what)
{
	char date[64] = "";
	struct utsname host;
	struct tm tm;
	time_t now = time(NULL);
	bool has_host = uname(&host) == 0;
	if (localtime_r(&now, &tm)) strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(g_log.out, "cyclotomo %s cycle, %s: %s%s%s\n", CYCLOTOMO_VERSION, what, date,
	        has_host ? " on " : "", has_host ? host.nodename : "");
	fflush(g_log.out);
}

/* Called under the lock of the log. */
static void hear(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	FILE *f = level <= CYC_LOG_WARN ? g_log.err : g_log.out;
	fprintf(f, "%s%s\n", level == CYC_LOG_ERROR ? "error: " : level == CYC_LOG_WARN ? "warning: " : "", text);
	fflush(f);
}

static cyc_status open_log(FILE **f, const char *dir, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, dir, name));
	*f = fopen(path, "ae");
	CYC_CHECK(*f, CYC_E_IO, "cannot write '%s': %s", path, strerror(errno));
done:
	cyc_free(path);
	return st;
}

static void close_log(void)
{
	cyc_log_set_transcript(NULL, NULL);
	if (g_log.out) fclose(g_log.out);
	if (g_log.err) fclose(g_log.err);
	g_log.out = g_log.err = NULL;
}

cyc_status cyc__job_log_begin(const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	char *dir = NULL;
	CYC_TRY(cyc_path_join(&dir, c->o->input.root, s->dir));
	CYC_TRY(open_log(&g_log.out, dir, "run.out"));
	CYC_TRY(open_log(&g_log.err, dir, "run.err"));
	print_head(cyc__kind_get(s->kind)->what);
	cyc_log_set_transcript(hear, NULL);
done:
	if (st != CYC_OK) close_log();
	cyc_free(dir);
	return st;
}

void cyc__job_log_end(const cyc__step *s, cyc_status result)
{
	if (!g_log.out) return;
	cyc_log_set_transcript(NULL, NULL);
	if (result != CYC_OK) {
		const cyc_error *e = cyc_error_get();
		fprintf(g_log.err, "error: %s%s%s%s\n", e->message, e->hint[0] ? " (" : "", e->hint,
		        e->hint[0] ? ")" : "");
	} else if (s->kind == CYC__POSTPROCESS) {
		fprintf(g_log.out, "  + FINAL RESOLUTION: %12.3f\n", s->resolution_A);
	}
	close_log();
}

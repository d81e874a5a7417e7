/* A run as another process sees it. */
#include "summary/page.h"
#include "summary/progress.h"

#include "cyclotomo/cycle.h"
#include "project/labels.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* Whether a process holds the lock of the folder. Where locks do not work, the file decides. */
static bool is_locked(const char *dir, bool said)
{
	char *path = NULL;
	bool is = said;
	if (cyc_path_join(&path, dir, ".cyclotomo_lock") != CYC_OK) return said;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (flock(fd, LOCK_SH | LOCK_NB) == 0) is = false;
		else if (errno == EWOULDBLOCK) is = true;
		close(fd);
	}
	cyc_free(path);
	return is;
}

static double number(const cyc_star_block *b, int64_t row, const char *label)
{
	double v;
	if (cyc_star_double_or(&v, b, row, label, -1) == CYC_OK) return v;
	cyc_error_clear();
	return -1;
}

static const char *word(const cyc_star_block *b, int64_t row, const char *label)
{
	const char *text = cyc_star_text_of(b, row, label);
	return text && strcmp(text, "-") != 0 ? text : "";
}

static void put_times(FILE *f, const cyc_star_block *g, bool is_running)
{
	char text[40], at[40];
	struct tm local;
	time_t updated = (time_t)number(g, 0, CYC_OWN_UPDATED);
	cyc_format_seconds(text, sizeof text,
	                   (is_running ? (double)time(NULL) : (double)updated) - number(g, 0, CYC_OWN_STARTED));
	strftime(at, sizeof at, "%Y-%m-%d %H:%M:%S", localtime_r(&updated, &local) ? &local : &(struct tm){ 0 });
	fprintf(f,
	        is_running ? " on %s, process %.0f, for %s; last update at %s\n"
	                   : " on %s, process %.0f, after %s, at %s\n",
	        word(g, 0, CYC_OWN_HOST), number(g, 0, CYC_OWN_PROCESS), text, at);
}

static void put_left(FILE *f, const char *what, double seconds)
{
	char text[40];
	cyc_format_seconds(text, sizeof text, seconds);
	if (seconds > 0) fprintf(f, "  %-10s about %s left\n", what, text);
}

static void put_work(FILE *f, const cyc_star_block *g, const cyc_star_block *steps)
{
	int64_t last = cyc_star_n_rows(steps) - 1;
	double done = number(g, 0, CYC_OWN_DONE), total = number(g, 0, CYC_OWN_TOTAL),
		   elapsed = number(g, 0, CYC_OWN_STAGE_SECONDS);
	fprintf(f, "  step %.0f of %.0f  ", number(g, 0, CYC_OWN_STEP), number(g, 0, CYC_OWN_PLANNED_STEPS));
	if (last >= 0)
		fprintf(f, "%s: %s (%s)\n", word(steps, last, CYC_OWN_JOB), word(steps, last, CYC_OWN_WHAT),
		        word(steps, last, CYC_OWN_STATE));
	else fprintf(f, "starting\n");
	if (total > 0) {
		fprintf(f, "  %-10s %.0f of %.0f (%.0f %%)", word(g, 0, CYC_OWN_STAGE), done, total,
		        100 * done / total);
		if (done > 0 && elapsed > 1) fprintf(f, ", %.3g per min", 60 * done / elapsed);
		fputc('\n', f);
	}
	put_left(f, "this step", number(g, 0, CYC_OWN_STEP_LEFT));
	put_left(f, "the run", number(g, 0, CYC_OWN_LEFT));
	if (word(g, 0, CYC_OWN_NEXT)[0]) fprintf(f, "  next       %s\n", word(g, 0, CYC_OWN_NEXT));
}

static void put_results(FILE *f, const cyc_star_block *steps)
{
	char text[40];
	bool has_any = false;
	for (int64_t i = 0; i < cyc_star_n_rows(steps); i++) {
		if (!word(steps, i, CYC_OWN_REFINEMENT)[0]) continue;
		if (!has_any) fprintf(f, "\n  %-26s %11s %9s  %s\n", "state", "resolution", "mean FSC", "decision");
		has_any = true;
		snprintf(text, sizeof text, "%.2f Å", number(steps, i, CYC_OWN_RESOLUTION_ANGST));
		/* Å is two bytes. */
		fprintf(f, "  %-26s %12s %9.4f  %s%s%s%s\n", word(steps, i, CYC_OWN_REFINEMENT), text,
		        number(steps, i, CYC_OWN_MEAN_FSC), word(steps, i, CYC_OWN_DECISION),
		        word(steps, i, CYC_OWN_CHANGE)[0] ? " (" : "", word(steps, i, CYC_OWN_CHANGE),
		        word(steps, i, CYC_OWN_CHANGE)[0] ? ")" : "");
	}
}

cyc_status cyc_cycle_status(char **text, bool *is_running, const char *root, const char *run)
{
	cyc_status st = CYC_OK;
	char *dir = NULL, *path = NULL;
	cyc_star *s = NULL;
	cyc_star_block *general, *steps;
	cyc_text_stream out = { 0 };
	*text = NULL;
	CYC_TRY(cyc_path_join(&dir, root, run));
	CYC_TRY(cyc_path_join(&path, dir, CYC__PROGRESS_FILE));
	if (!cyc_path_exists(path)) {
		st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__,
		                     "'%s' is not the folder of a cycle: it has no %s", dir, CYC__PROGRESS_FILE);
		cyc_error_hint("give the folder that 'cyclotomo cycle --o' was given");
		goto done;
	}
	CYC_TRY(cyc_star_read(&s, path));
	CYC_TRY(cyc_star_require(&general, s, "general"));
	CYC_TRY(cyc_star_require(&steps, s, "steps"));
	const char *said = word(general, 0, CYC_OWN_STATE);
	bool is_at_work = is_locked(dir, strcmp(said, "running") == 0);
	CYC_TRY(cyc_text_stream_open(&out));
	fprintf(out.f, "%s: %s", dir,
	        is_at_work                     ? "running"
	        : strcmp(said, "running") == 0 ? "stopped (killed)"
	                                       : said);
	put_times(out.f, general, is_at_work);
	if (word(general, 0, CYC_OWN_MESSAGE)[0] && !is_at_work)
		fprintf(out.f, "  %s\n", word(general, 0, CYC_OWN_MESSAGE));
	if (strcmp(said, "finished") != 0 || is_at_work) put_work(out.f, general, steps);
	put_results(out.f, steps);
	CYC_TRY(cyc_text_stream_finish(&out));
	CYC_TRY(cyc_strdup(text, out.text));
	if (is_running) *is_running = is_at_work;
done:
	cyc_text_stream_deinit(&out);
	cyc_star_destroy(&s);
	cyc_free(dir);
	cyc_free(path);
	return st;
}

#include "summary/progress.h"

#include "summary/page.h"
#include "project/labels.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

const char CYC__PROGRESS_FILE[] = ".cyclotomo_progress";
static const double WRITE_INTERVAL_S = 2.0;

struct cyc__progress {
	const cyc__cycle *c;
	cyc__planned *plan;
	int32_t n_plan;
	char *path, *new_path;
	cyc__run_state state;
	char message[300];
	bool is_at_work;
	double started, step_started, last_written; /* monotonic */
	double started_unix;
	/* Of the stage that the step is in. */
	pthread_mutex_t lock;
	char what[64];
	int64_t n_done, n_total;
	double stage_started;
};

static double unix_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---------------------------------------------------------------- times */

/* Of steps that have not been done yet in this run, by that of a reconstruction; typical of small
 * projects. They are used only until the step has been measured. */
static const double TYPICAL[CYC__N_KINDS] = { [CYC__RECONSTRUCT] = 1,
	                                          [CYC__POSTPROCESS] = 0.2,
	                                          [CYC__CTFREFINE] = 2.5,
	                                          [CYC__POLISH] = 0.8,
	                                          [CYC__REFINE3D] = 12 };

/* Mean over the finished steps of a kind; NaN without any. */
static double measured_s(const cyc__cycle *c, cyc__kind kind)
{
	double sum = 0;
	int n = 0;
	for (int32_t i = 0; i < c->n_steps; i++) {
		if (c->steps[i].kind != kind || !isfinite(c->steps[i].seconds)) continue;
		sum += c->steps[i].seconds;
		n++;
	}
	return n > 0 ? sum / n : CYC_NAN;
}

static double expected_s(const cyc__cycle *c, cyc__kind kind)
{
	double own = measured_s(c, kind);
	return isfinite(own) ? own : TYPICAL[kind] * measured_s(c, CYC__RECONSTRUCT);
}

/* Whether a planned step comes after the newest one. */
static bool is_ahead(const cyc__progress *p, int32_t i)
{
	const cyc__cycle *c = p->c;
	if (c->n_steps == 0) return true;
	const cyc__step *s = &c->steps[c->n_steps - 1];
	if (p->plan[i].i_turn != s->i_turn) return p->plan[i].i_turn > s->i_turn;
	for (int32_t k = i; k >= 0 && p->plan[k].i_turn == s->i_turn; k--)
		if (p->plan[k].kind == s->kind) return k < i;
	return false;
}

/* By the steps of its kind, or by the rate of its stage if that is longer. */
static double step_left_s(const cyc__progress *p)
{
	const cyc__cycle *c = p->c;
	double now = cyc_clock_s(), elapsed = now - p->step_started, of_stage = 0;
	if (!p->is_at_work || c->n_steps == 0) return 0;
	if (p->n_total > 0 && p->n_done > 0)
		of_stage = (now - p->stage_started) * (double)(p->n_total - p->n_done) / (double)p->n_done;
	double left = expected_s(c, c->steps[c->n_steps - 1].kind) - elapsed;
	return isfinite(left) ? fmax(left, of_stage) : of_stage > 0 ? of_stage : CYC_NAN;
}

void cyc__progress_look(cyc__progress_view *out, const cyc__progress *p)
{
	const cyc__cycle *c = p->c;
	*out = (cyc__progress_view){ .state = p->state,
		                         .message = p->message,
		                         .started = p->started_unix,
		                         .now = unix_s(),
		                         .n_plan = p->n_plan,
		                         .i_step = c->n_steps,
		                         .is_at_work = p->is_at_work,
		                         .step = c->n_steps > 0 ? &c->steps[c->n_steps - 1] : NULL,
		                         .step_left_s = step_left_s(p) };
	out->left_s = out->step_left_s;
	for (int32_t i = 0; i < p->n_plan && p->state == CYC__RUNNING; i++) {
		if (!is_ahead(p, i)) continue;
		if (out->n_next < 3) out->next[out->n_next++] = p->plan[i];
		out->left_s += expected_s(c, p->plan[i].kind);
	}
}

/* ---------------------------------------------------------------- the file */

static const char *const STATES[] = { "running", "finished", "stopped" };

/* A table has no empty words; unknown values are -1. */
static cyc_status put_text(cyc_star_block *b, int64_t row, const char *label, const char *text)
{
	return cyc_label_put_text(b, row, label, text[0] ? text : "-");
}

static cyc_status put_number(cyc_star_block *b, int64_t row, const char *label, double v)
{
	return cyc_label_put(b, row, label, isfinite(v) ? v : -1);
}

static cyc_status add_step(cyc_star_block *b, const cyc__cycle *c, const cyc__step *s, const char *state)
{
	cyc_status st = CYC_OK;
	int64_t row;
	char name[80];
	bool is_judged = s->kind == CYC__POSTPROCESS && s->n_shells > 0;
	cyc__name_state(name, sizeof name, c, s);
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(put_text(b, row, CYC_OWN_JOB, s->name));
	CYC_TRY(put_text(b, row, CYC_OWN_WHAT, cyc__kind_get(s->kind)->what));
	CYC_TRY(put_text(b, row, CYC_OWN_STATE, state));
	CYC_TRY(put_number(b, row, CYC_OWN_SECONDS, s->seconds));
	CYC_TRY(put_text(b, row, CYC_OWN_REFINEMENT, is_judged ? name : ""));
	CYC_TRY(put_number(b, row, CYC_OWN_RESOLUTION_ANGST, is_judged ? s->resolution_A : CYC_NAN));
	CYC_TRY(put_number(b, row, CYC_OWN_MEAN_FSC, is_judged ? s->mean_fsc : CYC_NAN));
	CYC_TRY(put_text(b, row, CYC_OWN_CHANGE,
	                 is_judged && isfinite(s->difference) ? cyc__difference_format(s).text : ""));
	CYC_TRY(put_text(b, row, CYC_OWN_DECISION, is_judged ? cyc__decision_text(s->decision) : ""));
done:
	return st;
}

static cyc_status fill_general(cyc_star_block *b, const cyc__progress *p)
{
	cyc_status st = CYC_OK;
	cyc__progress_view v;
	char next[100] = "", host[256] = "", started[32], now[32];
	cyc__progress_look(&v, p);
	gethostname(host, sizeof host - 1);
	for (int32_t i = 0; i < v.n_next && i < 1; i++)
		snprintf(next, sizeof next, "%s", cyc__kind_get(v.next[i].kind)->what);
	const struct {
		const char *label;
		double v;
	} NUMBERS[] = {
		{ CYC_OWN_STEP, v.i_step },
		{ CYC_OWN_PLANNED_STEPS, v.n_plan },
		{ CYC_OWN_STEP_LEFT, v.step_left_s },
		{ CYC_OWN_LEFT, v.left_s },
		{ CYC_OWN_DONE, (double)p->n_done },
		{ CYC_OWN_TOTAL, (double)p->n_total },
		{ CYC_OWN_PROCESS, (double)getpid() },
		{ CYC_OWN_STAGE_SECONDS, p->n_total > 0 ? cyc_clock_s() - p->stage_started : 0 },
	};
	snprintf(started, sizeof started, "%.0f", v.started);
	snprintf(now, sizeof now, "%.0f", v.now);
	CYC_TRY(put_text(b, 0, CYC_OWN_STARTED, started));
	CYC_TRY(put_text(b, 0, CYC_OWN_UPDATED, now));
	CYC_TRY(put_text(b, 0, CYC_OWN_STATE, STATES[p->state]));
	CYC_TRY(put_text(b, 0, CYC_OWN_MESSAGE, p->message));
	CYC_TRY(put_text(b, 0, CYC_OWN_HOST, host));
	CYC_TRY(put_text(b, 0, CYC_OWN_STAGE, p->what));
	CYC_TRY(put_text(b, 0, CYC_OWN_NEXT, next));
	for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++)
		CYC_TRY(put_number(b, 0, NUMBERS[i].label, NUMBERS[i].v));
done:
	return st;
}

/* Not part of a job's files, and not worth waiting for the disk: written under another name, then renamed. */
static cyc_status write_file(const cyc__progress *p)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	cyc_star_block *general, *steps;
	int64_t row;
	FILE *f = NULL;
	char *text = NULL;
	size_t n = 0;
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(cyc_star_add_block(&general, s, "general", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_add_row(&row, general));
	CYC_TRY(fill_general(general, p));
	CYC_TRY(cyc_star_add_block(&steps, s, "steps", CYC_STAR_TABLE));
	for (int32_t i = 0; i < p->c->n_steps; i++) {
		bool is_last = i == p->c->n_steps - 1;
		CYC_TRY(add_step(steps, p->c, &p->c->steps[i],
		                 is_last && p->is_at_work              ? "running"
		                 : is_last && p->state == CYC__STOPPED ? "stopped"
		                                                       : "done"));
	}
	CYC_TRY(cyc_star_print(&text, &n, s));
	f = fopen(p->new_path, "we");
	CYC_CHECK(f, CYC_E_IO, "cannot write '%s': %s", p->new_path, strerror(errno));
	bool is_written = fwrite(text, 1, n, f) == n;
	is_written = fclose(f) == 0 && is_written;
	CYC_CHECK(is_written && rename(p->new_path, p->path) == 0, CYC_E_IO, "cannot write '%s': %s", p->path,
	          strerror(errno));
done:
	cyc_free(text);
	cyc_star_destroy(&s);
	return st;
}

/* A run must not fail because its progress cannot be shown. */
static void write_quietly(cyc__progress *p)
{
	cyc_error record = *cyc_error_get();
	if (write_file(p) != CYC_OK) unlink(p->new_path);
	cyc_error_set(&record);
	p->last_written = cyc_clock_s();
}

/* ---------------------------------------------------------------- following */

static void tell_console(const cyc__progress *p)
{
	cyc__progress_view v;
	char text[160] = "", left[40];
	cyc__progress_look(&v, p);
	if (v.step && p->is_at_work) {
		snprintf(text, sizeof text, "step %d of %d", v.i_step, v.n_plan);
		if (isfinite(v.left_s) && v.left_s > 0) {
			size_t n = strlen(text);
			cyc_format_seconds(left, sizeof left, v.left_s);
			snprintf(text + n, sizeof text - n, ", %s left for the run", left);
		}
	}
	cyc_progress_set_whole(text);
}

static void on_progress(void *user, const char *what, int64_t n_done, int64_t n_total)
{
	cyc__progress *p = user;
	double now = cyc_clock_s();
	pthread_mutex_lock(&p->lock);
	if (strncmp(p->what, what, sizeof p->what - 1) != 0 || n_done < p->n_done) {
		snprintf(p->what, sizeof p->what, "%s", what);
		p->stage_started = now;
	}
	p->n_done = n_done;
	p->n_total = n_total;
	if (now - p->last_written > WRITE_INTERVAL_S) write_quietly(p);
	tell_console(p);
	pthread_mutex_unlock(&p->lock);
}

cyc_status cyc__progress_create(cyc__progress **out, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc__progress *p = NULL;
	char *dir = NULL;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->c = c;
	pthread_mutex_init(&p->lock, NULL);
	p->started = cyc_clock_s();
	p->started_unix = unix_s();
	CYC_TRY(cyc__plan_steps(&p->plan, &p->n_plan, c->o));
	CYC_TRY(cyc_path_join(&dir, c->o->input.root, c->o->out_dir));
	CYC_TRY(cyc_path_join(&p->path, dir, CYC__PROGRESS_FILE));
	CYC_TRY(cyc_asprintf(&p->new_path, "%s.new", p->path));
	cyc_progress_set_listener(on_progress, p);
	write_quietly(p);
	*out = p;
	p = NULL;
done:
	cyc__progress_destroy(&p);
	cyc_free(dir);
	return st;
}

void cyc__progress_destroy(cyc__progress **progress)
{
	cyc__progress *p = *progress;
	if (!p) return;
	cyc_progress_set_listener(NULL, NULL);
	cyc_progress_set_whole("");
	pthread_mutex_destroy(&p->lock);
	cyc_free(p->plan);
	cyc_free(p->path);
	cyc_free(p->new_path);
	cyc_free(p);
	*progress = NULL;
}

void cyc__progress_begin_step(cyc__progress *p)
{
	if (!p) return;
	pthread_mutex_lock(&p->lock);
	p->is_at_work = true;
	p->step_started = p->stage_started = cyc_clock_s();
	p->n_done = p->n_total = 0;
	p->what[0] = '\0';
	write_quietly(p);
	tell_console(p);
	pthread_mutex_unlock(&p->lock);
}

void cyc__progress_end_step(cyc__progress *p, cyc__run_state state, const char *message)
{
	if (!p) return;
	pthread_mutex_lock(&p->lock);
	p->is_at_work = false;
	p->state = state;
	p->n_done = p->n_total = 0;
	p->what[0] = '\0';
	snprintf(p->message, sizeof p->message, "%s", message ? message : "");
	for (char *at = p->message; *at; at++) *at = *at == '"' ? '\'' : (unsigned char)*at < ' ' ? ' ' : *at;
	write_quietly(p);
	tell_console(p);
	pthread_mutex_unlock(&p->lock);
}

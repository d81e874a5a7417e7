#include "cycle/in_project.h"
#include "run/sealed.h"

#include "project/labels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char JOBS_FILE[] = "cyclotomo_jobs.star", BEFORE_FILE[] = "default_pipeline_before.star",
				  PIPELINE_FILE[] = "default_pipeline.star", RUNNING[] = "Running";

static cyc_status run_path(char **path, const cyc_cycle_options *o, const char *file)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_path_join(&name, o->out_dir, file));
	CYC_TRY(cyc_path_join(path, o->input.root, name));
done:
	cyc_free(name);
	return st;
}

static cyc_status job_name(char **out, cyc__kind kind, int32_t job)
{
	return cyc_asprintf(out, "%s/job%03d/", cyc__kind_get(kind)->folder, job);
}

/* ---------------------------------------------------------------- the run's own list of its jobs */

void cyc__project_jobs_deinit(cyc__project_jobs *j)
{
	cyc_free(j->items);
	*j = (cyc__project_jobs){ 0 };
}

/* Entries up to i; new ones are not known. */
static cyc_status make_room(cyc__project_jobs *j, int32_t i)
{
	cyc_status st = CYC_OK;
	if (i < j->n) return CYC_OK;
	CYC_TRY(cyc_realloc(&j->items, (size_t)j->n, (size_t)i + 1, sizeof *j->items));
	for (int32_t k = j->n; k <= i; k++) {
		j->items[k].kind = CYC__N_KINDS;
		j->items[k].job = 0;
	}
	j->n = i + 1;
done:
	return st;
}

/* "Polish/job030/" */
static bool parse_job(cyc__kind *kind, int32_t *job, const char *text)
{
	for (int k = 0; k < CYC__N_KINDS; k++) {
		size_t n = strlen(cyc__kind_get((cyc__kind)k)->folder);
		if (strncmp(text, cyc__kind_get((cyc__kind)k)->folder, n) != 0 || strncmp(text + n, "/job", 4) != 0)
			continue;
		*kind = (cyc__kind)k;
		*job = (int32_t)strtol(text + n + 4, NULL, 10);
		return *job > 0;
	}
	return false;
}

cyc_status cyc__project_jobs_read(cyc__project_jobs *out, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc__pairs pairs = { 0 };
	char *path = NULL;
	CYC_TRY(run_path(&path, o, JOBS_FILE));
	if (!cyc_path_exists(path)) goto done;
	CYC_TRY(cyc__read_sealed(&star, path));
	if (star) CYC_TRY(cyc__read_table(&pairs, star, "jobs", CYC_OWN_STEP, CYC_OWN_JOB));
	bool is_good = star != NULL;
	for (int32_t i = 0; i < pairs.n && is_good; i++) {
		int32_t at = (int32_t)strtol(pairs.items[i].name, NULL, 10) - 1;
		is_good = at >= 0 && at <= 1000000;
		if (!is_good) break;
		CYC_TRY(make_room(out, at));
		is_good = parse_job(&out->items[at].kind, &out->items[at].job, pairs.items[i].value);
	}
	if (is_good) goto done;
	st = cyc_error_raise(CYC_E_FORMAT, __FILE__, __LINE__, __func__,
	                     "'%s', which names the jobs of this run, is damaged or from another version of the "
	                     "program",
	                     path);
	cyc_error_hint("restore it, or start a new run with another --o");
done:
	cyc_star_destroy(&star);
	cyc__pairs_deinit(&pairs);
	cyc_free(path);
	return st;
}

cyc_status cyc__project_check_mode(const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(run_path(&path, o, o->in_project ? PIPELINE_FILE : JOBS_FILE));
	if (!cyc_path_exists(path)) goto done;
	st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
	                     "the run in %s was started with other options: --project (was %s)", o->out_dir,
	                     o->in_project ? "no, now yes" : "yes, now no");
	cyc_error_hint("its jobs are %s; use the same option as before, or start a new run with another --o",
	               o->in_project ? "in the run folder" : "among those of the project");
done:
	cyc_free(path);
	return st;
}

static cyc_status write_jobs(const cyc__project_jobs *j, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc__pairs pairs = { 0 };
	char *path = NULL, *name = NULL, order[16];
	for (int32_t i = 0; i < j->n; i++) {
		if (j->items[i].job == 0) continue;
		CYC_TRY(job_name(&name, j->items[i].kind, j->items[i].job));
		snprintf(order, sizeof order, "%d", i + 1);
		CYC_TRY(cyc__pairs_add(&pairs, order, "%s", name));
		cyc_free(name);
		name = NULL;
	}
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc__add_table(star, "jobs", CYC_OWN_STEP, CYC_OWN_JOB, &pairs));
	CYC_TRY(run_path(&path, o, JOBS_FILE));
	CYC_TRY(cyc__write_sealed(star, path));
done:
	cyc_star_destroy(&star);
	cyc__pairs_deinit(&pairs);
	cyc_free(path);
	cyc_free(name);
	return st;
}

/* ---------------------------------------------------------------- numbers */

static bool is_known(const cyc__project_jobs *j, int32_t i, cyc__kind kind)
{
	return i < j->n && j->items[i].job > 0 && j->items[i].kind == kind;
}

cyc_status cyc__planned_job(int32_t *job, const cyc_cycle_options *o, cyc__kind kind, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc__project_jobs jobs = { 0 };
	*job = i + 1;
	if (!o->in_project) return CYC_OK;
	CYC_TRY(cyc__project_jobs_read(&jobs, o));
	if (is_known(&jobs, i, kind)) {
		*job = jobs.items[i].job;
	} else {
		CYC_TRY(cyc_pipeline_peek(job, o->input.root));
		*job += i >= jobs.n ? i - jobs.n : 0;
	}
done:
	cyc__project_jobs_deinit(&jobs);
	return st;
}

/* The pipeline as it was before the run changed it, byte by byte. */
static cyc_status keep_copy(const cyc_pipeline_file *p, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	char *to = NULL, *text = NULL;
	size_t n;
	CYC_TRY(run_path(&to, o, BEFORE_FILE));
	if (cyc_path_exists(to) || !cyc_path_exists(p->path)) goto done;
	CYC_TRY(cyc_read_file(&text, &n, p->path));
	CYC_TRY(cyc_write_file(to, text, n));
done:
	cyc_free(to);
	cyc_free(text);
	return st;
}

/* A job that the run began under this number and does not continue, since another kind of step took its
 * place. */
static cyc_status give_up(cyc_pipeline_file *p, cyc__kind kind, int32_t job)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(job_name(&name, kind, job));
	const char *status = cyc_pipeline_status(p, name);
	if (status && strcmp(status, RUNNING) == 0)
		CYC_TRY(cyc_pipeline_set(p, name, cyc__kind_get(kind)->type_label, "Aborted"));
done:
	cyc_free(name);
	return st;
}

/* That of the record if nobody else has it, else a new one, which is in the record before it is in the
 * pipeline: so a run killed between the two finds it again. */
static cyc_status choose_job(int32_t *job, cyc_pipeline_file *p, cyc__project_jobs *jobs,
                             const cyc_cycle_options *o, cyc__kind kind, int32_t i)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	*job = 0;
	CYC_TRY(make_room(jobs, i));
	if (is_known(jobs, i, kind)) {
		CYC_TRY(job_name(&name, kind, jobs->items[i].job));
		if (!cyc_pipeline_is_taken(p, jobs->items[i].job, name)) *job = jobs->items[i].job;
	} else if (jobs->items[i].job > 0) {
		CYC_TRY(give_up(p, jobs->items[i].kind, jobs->items[i].job));
	}
	if (*job > 0) goto done;
	CYC_TRY(cyc_pipeline_free_number(job, p));
	jobs->items[i].kind = kind;
	jobs->items[i].job = *job;
	CYC_TRY(write_jobs(jobs, o));
done:
	cyc_free(name);
	return st;
}

cyc_status cyc__take_job(int32_t *job, const cyc__cycle *c, cyc__kind kind)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	cyc_pipeline_file p = { 0 };
	cyc__project_jobs jobs = { 0 };
	char *name = NULL;
	*job = c->n_steps + 1;
	if (!o->in_project) return CYC_OK;
	CYC_TRY(cyc__project_jobs_read(&jobs, o));
	CYC_TRY(cyc_pipeline_open(&p, o->input.root, o->pipeline_wait_s));
	CYC_TRY(keep_copy(&p, o));
	CYC_TRY(choose_job(job, &p, &jobs, o, kind, c->n_steps));
	CYC_TRY(job_name(&name, kind, *job));
	CYC_TRY(cyc_pipeline_count_to(&p, *job + 1));
	if (!cyc_pipeline_status(&p, name))
		CYC_TRY(cyc_pipeline_set(&p, name, cyc__kind_get(kind)->type_label, RUNNING));
	CYC_TRY(cyc_pipeline_save(&p));
done:
	cyc_pipeline_close(&p);
	cyc__project_jobs_deinit(&jobs);
	cyc_free(name);
	return st;
}

/* ---------------------------------------------------------------- the pipeline */

/* As RELION keeps them in a job's folder: the pipeline as it is, and its part about this job. */
static cyc_status write_copies(const cyc_pipeline_file *p, const cyc__step *s, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_pipeline_file part = { 0 };
	char *dir = NULL, *path = NULL;
	CYC_TRY(cyc_path_join(&dir, root, s->dir));
	CYC_TRY(cyc_make_dirs(dir));
	CYC_TRY(cyc_path_join(&path, dir, PIPELINE_FILE));
	CYC_TRY(cyc_star_write(p->star, path));
	cyc_free(path);
	path = NULL;
	CYC_TRY(cyc_pipeline_of_job(&part, p, s->name));
	CYC_TRY(cyc_path_join(&path, dir, "job_pipeline.star"));
	CYC_TRY(cyc_star_write(part.star, path));
done:
	cyc_pipeline_close(&part);
	cyc_free(dir);
	cyc_free(path);
	return st;
}

/* .Nodes/DensityMap/Reconstruct/job085/merged.mrc: what the file dialogues of RELION's GUI list. */
static cyc_status touch_nodes(const cyc_pipeline_file *p, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	char *name = NULL, *path = NULL, *dir = NULL;
	for (int64_t i = 0; i < cyc_star_n_rows(p->nodes); i++) {
		const char *file = cyc_star_text_of(p->nodes, i, CYC_RLN_PIPE_LINE_NODE_NAME),
				   *type = cyc_star_text_of(p->nodes, i, CYC_RLN_PIPE_LINE_NODE_TYPE_LABEL);
		if (strncmp(file, s->name, strlen(s->name)) != 0) continue;
		CYC_TRY(cyc_asprintf(&name, ".Nodes/%.*s/%s", (int)strcspn(type, "."), type, file));
		CYC_TRY(cyc_path_join(&path, p->root, name));
		CYC_TRY(cyc_path_dir(&dir, path));
		CYC_TRY(cyc_make_dirs(dir));
		CYC_TRY(cyc_write_file(path, "", 0));
		cyc_free(name);
		cyc_free(path);
		cyc_free(dir);
		name = path = dir = NULL;
	}
done:
	cyc_free(name);
	cyc_free(path);
	cyc_free(dir);
	return st;
}

cyc_status cyc__project_update(const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc_pipeline_file p = { 0 };
	const cyc__step *last = &c->steps[c->n_steps - 1];
	CYC_TRY(cyc_pipeline_open(&p, c->o->input.root, c->o->pipeline_wait_s));
	for (int32_t i = 0; i < c->n_steps; i++) {
		const char *status = &c->steps[i] == last ? c->status : "Succeeded";
		CYC_TRY(cyc__pipeline_add_step(&p, c, &c->steps[i], status));
		CYC_TRY(cyc_pipeline_count_to(&p, c->steps[i].job + 1));
	}
	CYC_TRY(cyc_pipeline_save(&p));
	CYC_TRY(write_copies(&p, last, c->o->input.root));
	CYC_TRY(touch_nodes(&p, last));
done:
	cyc_pipeline_close(&p);
	return st;
}

cyc_status cyc__project_update_if_free(const cyc__cycle *c)
{
	cyc_status st = cyc__project_update(c);
	if (st != CYC_E_IO) return st;
	cyc_warn("%s; until the run's next step RELION's GUI shows %s as it was", cyc_error_get()->message,
	         c->steps[c->n_steps - 1].name);
	cyc_error_clear();
	return CYC_OK;
}

#include "cycle/between_steps.h"
#include "cycle/in_project.h"
#include "cycle/records.h"
#include "cycle/requirements.h"
#include "cycle/steps.h"
#include "cycle/waiting.h"
#include "run/options.h"
#include "run/plan.h"
#include "summary/page.h"
#include "summary/progress.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static const cyc_cycle_ops LIBRARY = { cyc_reconstruct_run, cyc_postprocess_run, cyc_ctfrefine_run,
	                                   cyc_polish_run,      cyc_refine3d_run,    cyc_check_run,
	                                   cyc_refine3d_run };

void cyc_cycle_options_default(cyc_cycle_options *o)
{
	*o = (cyc_cycle_options){ .n_threads = cyc_n_processors() };
	cyc_options_set_defaults(o, &cyc_cycle_table);
}

void cyc_cycle_result_deinit(cyc_cycle_result *r)
{
	cyc_free(r->verdict);
	cyc_free(r->final_map);
	cyc_free(r->final_set);
	cyc_free(r->summary);
	cyc_free(r->waiting);
	*r = (cyc_cycle_result){ 0 };
}

/* ---------------------------------------------------------------- a step */

/* What a step starts from: the run's inputs, or what the steps before it left. */
static uint64_t state_of(const cyc__cycle *c, const char *set)
{
	for (int32_t i = 0; i < c->n_steps && set[0]; i++) {
		if (c->steps[i].output_set && strcmp(c->steps[i].output_set, set) == 0) return c->steps[i].state_key;
	}
	return c->start_key;
}

/* Everything its result depends on: the state it starts from and is compared with, inputs, and the options
 * of its job. */
static cyc_status step_key(uint64_t *key, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	uint64_t h = s->start_key;
	if (s->kind == CYC__POSTPROCESS) {
		if (c->i_best >= 0) h = cyc_hash(h, &c->steps[c->i_best].state_key, sizeof c->steps->state_key);
		if (c->before_set) h = cyc_hash(h, &c->before_key, sizeof c->before_key);
	}
	for (int32_t i = 0; i < c->inputs.n; i++) {
		const cyc__pair *p = &c->inputs.items[i];
		if (!(cyc__dependents(p->name, c) & 1U << s->kind)) continue;
		h = cyc_hash_string(cyc_hash_string(h, p->name), p->value);
	}
	CYC_TRY(cyc__step_options_hash(&h, s, c));
	*key = h;
done:
	return st;
}

static cyc_status begin_job(const cyc__cycle *c, const cyc__step *s, const cyc__job_options *o,
                            const char *dir)
{
	cyc_status st = CYC_OK;
	const cyc__kind_names *kind = cyc__kind_get(s->kind);
	cyc__pairs all = { 0 };
	cyc_job_option *options = NULL;
	char *command = NULL, *before = NULL, *both = NULL;
	CYC_TRY(c->o->in_project ? cyc__joboptions(&all, s, c, o) : cyc__arguments(&all, o, kind->table, true));
	CYC_TRY(cyc_alloc(&options, all.n, sizeof *options));
	for (int32_t i = 0; i < all.n; i++)
		options[i] = (cyc_job_option){ all.items[i].name, all.items[i].value };
	CYC_TRY(cyc__step_command(&command, s, c));
	CYC_TRY(cyc__before_command(&before, c, s));
	if (before) CYC_TRY(cyc_asprintf(&both, "%s\n%s", before, command));
	CYC_TRY(cyc_make_dirs(dir));
	CYC_TRY(cyc_job_begin(dir, kind->type_label, options, all.n, both ? both : command));
done:
	cyc__pairs_deinit(&all);
	cyc_free(options);
	cyc_free(command);
	cyc_free(before);
	cyc_free(both);
	return st;
}

/* Flags and pipeline of a failed step; its error stays the one reported. */
static void note_failure(cyc__cycle *c, const char *dir, cyc_status failure)
{
	cyc_error record = *cyc_error_get();
	c->status = failure == CYC_E_CANCELLED ? "Aborted" : "Failed";
	if (cyc_job_end(dir, failure) != CYC_OK || cyc__pipeline_write(c) != CYC_OK)
		cyc_warn("the exit flag of %s could not be written", dir);
	cyc_error_set(&record);
}

/* Files that a killed run was writing: "name.tmp" and its process number. Only one run works here, so they
 * are abandoned. */
static void remove_leftovers(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	while (d && (e = readdir(d)) != NULL) {
		const char *suffix = strrchr(e->d_name, '.');
		char *path = NULL;
		bool is_leftover = suffix && strncmp(suffix, ".tmp", 4) == 0 && suffix[4] &&
		                   suffix[4 + strspn(suffix + 4, "0123456789")] == '\0';
		if (is_leftover && cyc_path_join(&path, dir, e->d_name) == CYC_OK) unlink(path);
		cyc_free(path);
	}
	if (d) closedir(d);
}

/* In the project its log is in its folder, and the GUI's Abort puts a file there. */
static cyc_status run_step(const cyc__cycle *c, cyc__step *s, const cyc__job_options *o, const char *dir)
{
	cyc_status st = CYC_OK;
	char *abort_file = NULL;
	if (c->o->in_project) {
		CYC_TRY(cyc_path_join(&abort_file, dir, "RELION_JOB_ABORT_NOW"));
		CYC_TRY(cyc_cancel_watch_step(abort_file));
		CYC_TRY(cyc__job_log_begin(c, s));
	}
	cyc__listen(s);
	st = cyc__kind_work_of(s->kind)->run(s, c, o);
	cyc__listen(NULL);
	cyc__job_log_end(s, st);
done:
	if (cyc_cancel_watch_step(NULL) != CYC_OK) cyc_debug("the request to stop is still looked for");
	cyc_free(abort_file);
	return st;
}

static cyc_status do_step(cyc__cycle *c, cyc__step *s)
{
	cyc_status st = CYC_OK;
	char *dir = NULL;
	cyc__job_options options;
	double start = cyc_clock_s();
	cyc_costs before, costs;
	cyc_costs_get(&before);
	cyc__kind_work_of(s->kind)->options(&options, s, c);
	CYC_TRY(cyc_path_join(&dir, c->o->input.root, s->dir));
	remove_leftovers(dir);
	c->status = "Running";
	CYC_TRY(cyc__pipeline_write(c));
	CYC_TRY(begin_job(c, s, &options, dir));
	cyc__progress_begin_step(c->progress);
	st = run_step(c, s, &options, dir);
	if (st != CYC_OK) {
		cyc_error_frame(st, __FILE__, __LINE__, __func__);
		cyc_error_context("%s", s->dir);
		note_failure(c, dir, st);
		goto done;
	}
	if (s->waits) {
		CYC_TRY(cyc__waiting_write(c, s, &options));
		goto done;
	}
	cyc_memory_give_back();
	s->seconds = cyc_clock_s() - start;
	cyc__progress_end_step(c->progress, CYC__RUNNING, NULL);
	cyc_costs_get(&costs);
	cyc_costs_subtract(&costs, &before);
	CYC_TRY(cyc__record_time_write(s, c, &costs));
	CYC_TRY(cyc_job_end(dir, CYC_OK));
	/* Last: without this file the step counts as not done. */
	CYC_TRY(cyc__record_step_write(s, c->o));
	CYC_TRY(cyc__waiting_forget(c));
	c->status = "Succeeded";
	CYC_TRY(c->o->in_project ? cyc__project_update_if_free(c) : cyc__pipeline_write(c));
done:
	cyc_free(dir);
	return st;
}

/* The next step of the run, from the state that `input_set` names: taken from an earlier run, or done. */
static cyc_status next_step(cyc__cycle *c, cyc__kind kind, int32_t i_turn, const char *input_set)
{
	cyc_status st = CYC_OK;
	int32_t job;
	CYC_TRY(cyc_cancel_check());
	CYC_TRY(cyc__take_job(&job, c, kind));
	CYC_TRY(cyc_realloc(&c->steps, (size_t)c->n_steps, (size_t)c->n_steps + 1, sizeof *c->steps));
	cyc__step *s = &c->steps[c->n_steps];
	c->n_steps++;
	CYC_TRY(cyc__step_init(s, c->o, kind, i_turn, job));
	CYC_TRY(cyc_strdup(&s->input_set, input_set));
	CYC_TRY(cyc__step_name(s, c));
	s->start_key = state_of(c, input_set);
	CYC_TRY(step_key(&s->key, c, s));
	CYC_TRY(cyc__record_step_read(&s->was_kept, s, c->o, c->has_done_step));
	if (s->was_kept) {
		s->seconds = cyc__record_time_read(s, c->o);
		c->status = "Succeeded";
		cyc_info("%s is already finished", s->dir);
	} else {
		cyc_info("%s: %s", s->dir, cyc__kind_get(kind)->what);
		c->has_done_step = true;
		CYC_TRY(do_step(c, s));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- turns */

static void log_result(const cyc__cycle *c, const cyc__step *s)
{
	if (c->i_best < 0) {
		cyc_info("%s: resolution %.2f Å, mean FSC %.4f (%.1f s)", s->dir, s->resolution_A, s->mean_fsc,
		         s->seconds);
		return;
	}
	cyc_info("%s: resolution %.2f Å (%+.2f), mean FSC %.4f (%s): %s (%.1f s)", s->dir, s->resolution_A,
	         s->resolution_A - c->steps[c->i_best].resolution_A, s->mean_fsc, cyc__difference_format(s).text,
	         cyc__decision_text(s->decision), s->seconds);
}

/* One in 31 of equal states seems worse by this much (Student, 15 degrees of freedom). Then a harmless
 * turn is lost; accepting one that is really worse would start the next turns from worse maps. Without
 * significance the refinement's own held-out evidence decides. */
static const double WORSE_SIGMAS = 2.0;

static cyc__decision decide(const cyc__cycle *c, const cyc__step *s)
{
	if (c->i_best < 0) return CYC__TURN_START;
	double threshold = WORSE_SIGMAS * s->difference_error;
	if (s->difference > threshold) return CYC__TURN_BETTER;
	if (!(s->difference < -threshold)) return CYC__TURN_SAME;
	return c->o->accept_worse ? CYC__TURN_WORSE_ACCEPTED : CYC__TURN_WORSE;
}

/* The page for the steps so far, and summary.json once there are results. */
static cyc_status write_summary(const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *verdict = NULL;
	if (c->i_best >= 0) CYC_TRY(cyc__verdict(&verdict, c));
	CYC_TRY(cyc__summary_write(c, verdict));
done:
	cyc_free(verdict);
	return st;
}

/* Reconstruction and post-processing of a state, and whether it becomes the run's. */
static cyc_status judge_state(cyc__cycle *c, int32_t i_turn, const char *set)
{
	cyc_status st = CYC_OK;
	CYC_TRY(next_step(c, CYC__RECONSTRUCT, i_turn, set));
	const cyc__step *r = &c->steps[c->n_steps - 1];
	if (!r->was_kept)
		cyc_info("%s: %.0f particles, %.0f windows; %.0f other windows lie outside their images (%.1f s)",
		         r->dir, r->n_particles, r->n_images, r->n_images_outside, r->seconds);
	if (!r->was_kept) CYC_TRY(write_summary(c));
	r = &c->steps[c->n_steps - 1];
	CYC_TRY(next_step(c, CYC__POSTPROCESS, i_turn, r->output_set));
	cyc__step *s = &c->steps[c->n_steps - 1];
	s->decision = decide(c, s);
	log_result(c, s);
	if (cyc__is_rejected(s->decision)) {
		cyc_warn("%s is worse: its mean FSC differs by %s from that of %s. The refinement is rejected, and "
		         "the run continues from the state before it (--accept-worse would accept it)",
		         s->dir, cyc__difference_format(s).text, c->steps[c->i_best].dir);
	} else {
		c->i_best = c->n_steps - 1;
	}
done:
	return st;
}

/* The page says that the run has stopped, and why; its error stays the one reported. */
static void note_stop(cyc__cycle *c)
{
	cyc_error record = *cyc_error_get();
	cyc__progress_end_step(c->progress, CYC__STOPPED, record.message);
	if (c->progress && write_summary(c) != CYC_OK)
		cyc_debug("the page could not be written: %s", cyc_error_get()->message);
	cyc_error_set(&record);
}

static cyc_status run_turns(cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	int32_t i_turn = 0, refused_at[CYC__N_KINDS];
	cyc__kind turns[CYC__N_KINDS];
	int n_turns = cyc__plan_turns(turns, c->o);
	for (int k = 0; k < CYC__N_KINDS; k++) refused_at[k] = -1;
	CYC_TRY(judge_state(c, i_turn++, ""));
	cyc__move_warnings(&c->steps[0], &c->project);
	CYC_TRY(cyc__check_metadata(c));
	if (!c->steps[c->n_steps - 1].was_kept) CYC_TRY(write_summary(c));
	for (int32_t i_cycle = 0; i_cycle < c->o->n_cycles; i_cycle++) {
		for (int k = 0; k < n_turns; k++, i_turn++) {
			cyc__kind kind = turns[k];
			int32_t i_start = c->i_best;
			/* From the same state it would give the same result. */
			if (refused_at[kind] == i_start) {
				cyc_info("cycle %d: %s is skipped, since it would only repeat what was rejected", i_cycle + 1,
				         cyc__kind_get(kind)->folder);
				continue;
			}
			CYC_TRY(next_step(c, kind, i_turn, c->steps[i_start].output_set));
			int32_t i_step = c->n_steps - 1;
			if (c->steps[i_step].waits) goto done;
			if (!c->steps[i_step].was_kept) {
				cyc__kind_work_of(kind)->log(&c->steps[i_step]);
				CYC_TRY(write_summary(c));
			}
			CYC_TRY(cyc__reweight(c, &c->steps[i_step]));
			CYC_TRY(judge_state(c, i_turn, c->steps[i_step].output_set));
			if (c->i_best != i_start) CYC_TRY(cyc__check_metadata(c));
			if (c->i_best == i_start) refused_at[kind] = i_start;
			if (!c->steps[c->n_steps - 1].was_kept) CYC_TRY(write_summary(c));
		}
	}
done:
	return st;
}

/* The page shows the progress; the parts continue from here. */
static cyc_status note_waiting(char **step, cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	const cyc__step *s = &c->steps[c->n_steps - 1];
	CYC_TRY(cyc_asprintf(&text, "%s waits for its %d parts", s->dir, c->o->n_parts));
	cyc__progress_end_step(c->progress, CYC__STOPPED, text);
	CYC_TRY(write_summary(c));
	cyc_info("%s", text);
	CYC_TRY(cyc_strdup(step, s->dir));
done:
	cyc_free(text);
	return st;
}

/* ---------------------------------------------------------------- the run */

/* Another process has the lock: it is asked for again and again, since a call that blocks is not interrupted.
 */
static cyc_status wait_for_lock(int lock, const char *dir, double wait_s)
{
	cyc_status st = CYC_OK;
	const double start = cyc_clock_s();
	bool is_told = false;
	while (flock(lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
		CYC_CHECK(cyc_clock_s() - start < wait_s, CYC_E_IO, "another 'cyclotomo cycle' is running in %s",
		          dir);
		if (!is_told) cyc_info("waiting for another 'cyclotomo cycle' that is running in %s", dir);
		is_told = true;
		CYC_TRY(cyc_cancel_check());
		nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
	}
done:
	return st;
}

/* One process at a time; the lock is released when the process ends, however that happens. */
static cyc_status lock_folder(int *lock, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	char *dir = NULL, *path = NULL;
	*lock = -1;
	CYC_TRY(cyc_path_join(&dir, o->input.root, o->out_dir));
	CYC_TRY(cyc_make_dirs(dir));
	CYC_TRY(cyc_path_join(&path, dir, ".cyclotomo_lock"));
	*lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	CYC_CHECK(*lock >= 0, CYC_E_IO, "cannot write '%s': %s", path, strerror(errno));
	CYC_TRY(wait_for_lock(*lock, dir, o->run_wait_s));
	if (flock(*lock, LOCK_EX | LOCK_NB) != 0)
		cyc_warn("%s cannot be locked (%s): make sure that no other run uses it", dir, strerror(errno));
done:
	cyc_free(dir);
	cyc_free(path);
	return st;
}

static cyc_status fill_result(cyc_cycle_result *result, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const cyc__step *first = &c->steps[cyc__first_postprocess(c)], *best = &c->steps[c->i_best];
	const char *map = cyc__pairs_get(&best->outputs, "sharpened map");
	result->resolution_before_A = first->resolution_A;
	result->resolution_after_A = best->resolution_A;
	result->mean_fsc_before = first->mean_fsc;
	result->mean_fsc_after = best->mean_fsc;
	result->n_steps = c->n_steps;
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		result->n_steps_kept += s->was_kept;
		if (s->kind != CYC__POSTPROCESS || s->decision == CYC__TURN_START) continue;
		result->n_turns++;
		result->n_turns_taken += !cyc__is_rejected(s->decision);
		result->n_better += s->decision == CYC__TURN_BETTER;
		result->n_same += s->decision == CYC__TURN_SAME;
	}
	CYC_TRY(cyc__verdict(&result->verdict, c));
	if (map) CYC_TRY(cyc_strdup(&result->final_map, map));
	CYC_TRY(cyc_path_join(&result->final_set, c->o->out_dir, "optimisation_set.star"));
	CYC_TRY(cyc_path_join(&result->summary, c->o->out_dir, "summary.html"));
done:
	return st;
}

/* RUN/optimisation_set.star: the state the run ends in, under a name that does not depend on the number of
 * jobs. */
static cyc_status write_final_set(const cyc__cycle *c, const char *final_set)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	char *from = NULL, *to = NULL;
	CYC_TRY(cyc_path_join(&from, c->o->input.root, c->steps[c->i_best].output_set));
	CYC_TRY(cyc_path_join(&to, c->o->input.root, final_set));
	CYC_TRY(cyc_optimisation_set_read(&set, from));
	CYC_TRY(cyc_optimisation_set_write(set, to));
done:
	cyc_optimisation_set_destroy(&set);
	cyc_free(from);
	cyc_free(to);
	return st;
}

/* "./Cycle//" and "Cycle" are one folder, and so one name in all records. */
static cyc_status tidy_name(char **out, const char *name)
{
	cyc_status st = CYC_OK;
	char *tidy = NULL;
	size_t n = 0;
	*out = NULL;
	if (!name) return CYC_OK;
	CYC_TRY(cyc_strdup(&tidy, name));
	for (const char *c = name; *c; c++) {
		bool at_start = n == 0 || tidy[n - 1] == '/';
		if (at_start && c[0] == '.' && c[1] == '/') c++;
		else if (c[0] != '/' || !at_start || c == name) tidy[n++] = *c;
	}
	while (n > 1 && tidy[n - 1] == '/') n--;
	if (n == 0 && name[0]) tidy[n++] = '.';
	tidy[n] = '\0';
	*out = tidy;
done:
	return st;
}

/* The page and the records need a folder other than the project's job folders. */
static cyc_status check_place(const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	if (!o->in_project) return CYC_OK;
	bool is_root = !o->out_dir || !o->out_dir[0] || strcmp(o->out_dir, ".") == 0, is_type = false;
	for (int k = 0; k < CYC__N_KINDS && !is_root; k++)
		is_type = is_type || strcmp(o->out_dir, cyc__kind_get((cyc__kind)k)->folder) == 0;
	CYC_CHECK(!is_root && !is_type, CYC_E_USAGE,
	          "--project: the page and the records of the run need a folder of their own, but --o is '%s'; "
	          "give another, such as --o Cycle",
	          o->out_dir ? o->out_dir : "");
done:
	return st;
}

/* The run's own copy of the particles, without duplicates; written again at each start, always identical. */
static cyc_status mend_duplicates(cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char text[900], *path = NULL;
	c->start = c->o->input;
	cyc__inputs_describe_duplicates(text, sizeof text, &c->in, c->o);
	if (text[0]) cyc_warn("%s", text);
	if (c->in.duplicates.n_left_out == 0 || c->o->duplicates != CYC_DUPLICATES_REMOVE) goto done;
	CYC_TRY(cyc_path_join(&c->own_particles, c->o->out_dir, "particles.star"));
	CYC_TRY(cyc_path_join(&path, c->o->input.root, c->own_particles));
	CYC_TRY(cyc_particle_set_write(c->in.particles, c->in.keep, path));
	c->start.particles = c->own_particles;
	if (!c->in.set->trajectories) goto done;
	cyc_free(path);
	path = NULL;
	CYC_TRY(cyc_path_join(&c->own_trajectories, c->o->out_dir, "motion.star"));
	CYC_TRY(cyc_path_join(&path, c->o->input.root, c->own_trajectories));
	CYC_TRY(cyc_trajectories_write(c->in.particles, c->in.tomograms, c->in.keep, path));
	c->start.trajectories = c->own_trajectories;
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_cycle_run(cyc_cycle_result *result, const cyc_cycle_options *options, const cyc_cycle_ops *ops)
{
	cyc_status st = CYC_OK;
	cyc_cycle_options tidy = *options;
	cyc__cycle c = { .o = &tidy, .ops = ops ? ops : &LIBRARY, .i_best = -1, .status = "Running" };
	char *out_dir = NULL;
	int lock = -1;
	*result = (cyc_cycle_result){ 0 };
	CYC_TRY(tidy_name(&out_dir, options->out_dir));
	tidy.out_dir = out_dir;
	CYC_TRY(check_place(&tidy));
	CYC_TRY(cyc_option_list_make(&c.list, &cyc_cycle_table));
	CYC_TRY(cyc_cycle_spare_inputs(&tidy));
	CYC_TRY(cyc__inputs_read(&c.in, &tidy));
	CYC_TRY(cyc__inputs_require_all(&c.in, &tidy));
	CYC_TRY(lock_folder(&lock, &tidy));
	CYC_TRY(cyc__record_start(&c));
	cyc__listen(&c.project);
	st = cyc_finding_warn(&c.in.found);
	cyc__listen(NULL);
	CYC_TRY(st);
	CYC_TRY(mend_duplicates(&c));
	CYC_TRY(cyc_alloc(&c.page_cache, 1, sizeof *c.page_cache));
	CYC_TRY(cyc__progress_create(&c.progress, &c));
	CYC_TRY(run_turns(&c));
	CYC_TRY(cyc__pipeline_write(&c));
	if (c.steps[c.n_steps - 1].waits) {
		CYC_TRY(note_waiting(&result->waiting, &c));
		goto done;
	}
	CYC_TRY(fill_result(result, &c));
	CYC_TRY(write_final_set(&c, result->final_set));
	cyc__progress_end_step(c.progress, CYC__FINISHED, NULL);
	CYC_TRY(write_summary(&c));
done:
	if (st != CYC_OK && c.progress) note_stop(&c);
	cyc__progress_destroy(&c.progress);
	cyc__page_cache_destroy(&c.page_cache);
	if (lock >= 0) close(lock);
	for (int32_t i = 0; i < c.n_steps; i++) cyc__step_deinit(&c.steps[i]);
	cyc_free(c.steps);
	cyc_option_list_deinit(&c.list);
	cyc__pairs_deinit(&c.options);
	cyc__step_deinit(&c.project);
	cyc__pairs_deinit(&c.inputs);
	cyc__inputs_deinit(&c.in);
	cyc_free(c.own_particles);
	cyc_free(c.own_trajectories);
	cyc_free(c.before_set);
	cyc_free(out_dir);
	return st;
}

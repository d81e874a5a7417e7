/* Records of steps: what each was made from, what it left, and what the run goes by. */
#include "cycle/records.h"
#include "cycle/steps.h"
#include "run/sealed.h"

#include "cyclotomo/json.h"
#include "cyclotomo/version.h"
#include "project/labels.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char CYC__STEP_RECORD[] = "cyclotomo_step.star";
static const char STEP_TIME[] = "run.json";

static cyc_status step_file(char **out, const cyc__step *s, const cyc_cycle_options *o, const char *file)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_path_join(&name, s->dir, file));
	CYC_TRY(cyc_path_join(out, o->input.root, name));
done:
	cyc_free(name);
	return st;
}

/* ---------------------------------------------------------------- files of a step */

/* Not of times and hosts, nor what other parts of the run put into the folder later. */
static bool is_output(const char *name)
{
	static const char *const OTHERS[] = { "note.txt",
		                                  "run.json",
		                                  "cyclotomo_step.star",
		                                  "metadata.txt",
		                                  "evidence.star",
		                                  "cyclotomo_before.star",
		                                  "cyclotomo_before_particles.star" };
	for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
		if (strcmp(name, OTHERS[i]) == 0) return false;
	}
	return strncmp(name, "RELION_JOB_", 11) != 0 && strncmp(name, "run_part", 8) != 0;
}

/* Of a job of the project, whose settings and log RELION's GUI may write again. */
static bool is_output_in_project(const char *name)
{
	static const char *const OTHERS[] = { "job.star", "job_pipeline.star", "default_pipeline.star", "run.out",
		                                  "run.err" };
	for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
		if (strcmp(name, OTHERS[i]) == 0) return false;
	}
	return is_output(name);
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);
	return n > m && strcmp(name + n - m, end) == 0;
}

/*
 * What another step may read: tables and maps. Not those of iterations, which users remove to save room, nor
 * uncropped maps.
 */
static bool is_needed(const char *path)
{
	static const char ITERATION[] = "run_it";
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = sizeof ITERATION - 1;
	bool is_of_iteration = strncmp(name, ITERATION, n) == 0 && strspn(name + n, "0123456789") >= 3;
	return (ends_with(name, ".star") || ends_with(name, ".mrc")) && !is_of_iteration &&
	       !ends_with(name, "_full.mrc");
}

static cyc_status mark_outputs(cyc__step *s, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc_file_marks_deinit(&s->files);
	CYC_TRY(cyc_file_marks_add_folder(&s->files, o->input.root, s->dir,
	                                  o->in_project ? is_output_in_project : is_output));
	for (int32_t i = 0; i < s->outputs.n; i++)
		CYC_TRY(cyc_file_marks_add(&s->files, s->outputs.items[i].value));
	CYC_TRY(cyc_file_marks_take(&s->files, o->input.root, o->n_threads));
done:
	return st;
}

/* Hash of what other steps may read, continuing h. */
static uint64_t hash_outputs(uint64_t h, const cyc__step *s)
{
	for (int32_t i = 0; i < s->files.n; i++) {
		const cyc_file_marks one = { 1, &s->files.items[i] };
		if (is_needed(one.items[0].name)) h = cyc_file_marks_hash(h, &one);
	}
	return h;
}

static cyc_status add_outputs(cyc_star *star, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc__pairs states = { 0 };
	CYC_TRY(cyc__add_table(star, "outputs", CYC_OWN_FILE_ROLE, CYC_OWN_FILE_NAME, &s->outputs));
	for (int32_t i = 0; i < s->files.n; i++) {
		const cyc_file_mark *m = &s->files.items[i];
		CYC_TRY(
			cyc__pairs_add(&states, m->name, "%" PRId64 ":%s", m->n_bytes, cyc__hash_format(m->hash).text));
	}
	CYC_TRY(cyc__add_table(star, "files", CYC_OWN_FILE_NAME, CYC_OWN_FILE_STATE, &states));
done:
	cyc__pairs_deinit(&states);
	return st;
}

/* 17 digits: what is read back is what was written, so that a resumed run decides as an uninterrupted one. */
static cyc_status set_exactly(cyc_star_block *b, int64_t row, int32_t column, double v)
{
	char text[32];
	snprintf(text, sizeof text, "%.17g", v);
	return cyc_star_set_text(b, row, column, text);
}

static cyc_status add_figures(cyc_star *star, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc__pairs figures = { 0 };
#define ADD_FIGURE(name)                                                                                     \
	if (isfinite(s->name)) CYC_TRY(cyc__pairs_add(&figures, #name, "%.17g", s->name));
	CYC__STEP_FIGURES(ADD_FIGURE)
#undef ADD_FIGURE
	CYC_TRY(cyc__add_table(star, "figures", CYC_OWN_FIGURE_NAME, CYC_OWN_FIGURE_VALUE, &figures));
done:
	cyc__pairs_deinit(&figures);
	return st;
}

static cyc_status add_fsc(cyc_star *star, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t c[2];
	int64_t row;
	CYC_TRY(cyc_star_add_block(&b, star, "fsc", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&c[0], b, CYC_OWN_FSC, ""));
	CYC_TRY(cyc_star_ensure_column(&c[1], b, CYC_OWN_FSC_UNMASKED, ""));
	for (int32_t i = 0; i < s->n_shells; i++) {
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(set_exactly(b, row, c[0], s->fsc[i]));
		CYC_TRY(set_exactly(b, row, c[1], s->fsc_unmasked[i]));
	}
done:
	return st;
}

static cyc_status add_warnings(cyc_star *star, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column;
	int64_t row;
	if (s->n_warnings == 0) return CYC_OK;
	CYC_TRY(cyc_star_add_block(&b, star, "warnings", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_OWN_WARNING, ""));
	for (int32_t i = 0; i < s->n_warnings; i++) {
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_text(b, row, column, s->warnings[i]));
	}
done:
	return st;
}

static cyc_status read_warnings(cyc__step *s, const cyc_star *star)
{
	cyc_status st = CYC_OK;
	const cyc_star_block *b = cyc_star_find(star, "warnings");
	int32_t column;
	if (!b) return CYC_OK;
	CYC_TRY(cyc_star_require_column(&column, b, CYC_OWN_WARNING));
	CYC_TRY(cyc_alloc(&s->warnings, cyc_star_n_rows(b), sizeof *s->warnings));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		CYC_TRY(cyc_strdup(&s->warnings[i], cyc_star_text(b, i, column)));
		s->n_warnings++;
	}
done:
	return st;
}

cyc_status cyc__record_step_write(cyc__step *s, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b;
	char *path = NULL;
	CYC_TRY(mark_outputs(s, o));
	s->state_key = hash_outputs(s->start_key, s);
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&b, star, "step", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_text(b, CYC_OWN_VERSION, CYCLOTOMO_VERSION));
	CYC_TRY(cyc_star_list_set_text(b, CYC_OWN_STEP_KEY, cyc__hash_format(s->key).text));
	CYC_TRY(cyc_star_list_set_text(b, CYC_OWN_INPUT_SET, s->input_set));
	CYC_TRY(cyc_star_list_set_text(b, CYC_OWN_OUTPUT_SET, s->output_set));
	CYC_TRY(add_outputs(star, s));
	CYC_TRY(add_figures(star, s));
	if (s->n_shells > 0) CYC_TRY(add_fsc(star, s));
	CYC_TRY(add_warnings(star, s));
	CYC_TRY(step_file(&path, s, o, CYC__STEP_RECORD));
	CYC_TRY(cyc__write_sealed(star, path));
done:
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

static cyc_status read_outputs(cyc__step *s, const cyc_star *star)
{
	cyc_status st = CYC_OK;
	cyc__pairs states = { 0 };
	CYC_TRY(cyc__read_table(&s->outputs, star, "outputs", CYC_OWN_FILE_ROLE, CYC_OWN_FILE_NAME));
	CYC_TRY(cyc__read_table(&states, star, "files", CYC_OWN_FILE_NAME, CYC_OWN_FILE_STATE));
	for (int32_t i = 0; i < states.n; i++) {
		const char *name = states.items[i].name, *state = states.items[i].value;
		CYC_TRY(cyc_file_marks_add(&s->files, name));
		cyc_file_mark *m = &s->files.items[s->files.n - 1];
		CYC_CHECK(sscanf(state, "%" SCNd64 ":%" SCNx64, &m->n_bytes, &m->hash) == 2, CYC_E_FORMAT,
		          "the state of %s is '%s'", name, state);
	}
done:
	cyc__pairs_deinit(&states);
	return st;
}

/* Are files as the step left them? Without those that no step reads it stays as it is. */
static cyc_status compare_outputs(bool *is_whole, const cyc__step *s, const cyc_cycle_options *o)
{
	static const char *const WHAT[] = {
		[CYC_FILE_SAME] = "", [CYC_FILE_CHANGED] = "was changed", [CYC_FILE_MISSING] = "is missing"
	};
	cyc_status st = CYC_OK;
	cyc_file_state *states = NULL;
	int32_t needed = -1, other = -1, n_others = 0;
	CYC_TRY(cyc_alloc(&states, s->files.n, sizeof *states));
	CYC_TRY(cyc_file_marks_compare(states, &s->files, o->input.root, o->n_threads));
	for (int32_t i = s->files.n - 1; i >= 0; i--) {
		bool is_same = states[i] == CYC_FILE_SAME, is_read = is_needed(s->files.items[i].name);
		if (!is_same && is_read) needed = i;
		if (is_same || is_read) continue;
		other = i;
		n_others++;
	}
	*is_whole = needed < 0;
	if (needed >= 0) {
		cyc_warn("%s %s after its step had finished: %s is repeated", s->files.items[needed].name,
		         WHAT[states[needed]], s->dir);
	} else if (n_others == 1) {
		cyc_warn("%s %s after its step had finished; no other step reads it", s->files.items[other].name,
		         WHAT[states[other]]);
	} else if (n_others > 1) {
		cyc_warn("%d files of %s were changed or removed after it had finished, but no other step reads "
		         "them; the first: %s",
		         n_others, s->dir, s->files.items[other].name);
	}
done:
	cyc_free(states);
	return st;
}

static cyc_status read_figures(cyc__step *s, const cyc_star *star)
{
	cyc_status st = CYC_OK;
	cyc__pairs figures = { 0 };
	const char *text;
	CYC_TRY(cyc__read_table(&figures, star, "figures", CYC_OWN_FIGURE_NAME, CYC_OWN_FIGURE_VALUE));
#define READ_FIGURE(name)                                                                                    \
	if ((text = cyc__pairs_get(&figures, #name)) != NULL) s->name = strtod(text, NULL);
	CYC__STEP_FIGURES(READ_FIGURE)
#undef READ_FIGURE
done:
	cyc__pairs_deinit(&figures);
	return st;
}

static cyc_status read_fsc(cyc__step *s, const cyc_star *star)
{
	cyc_status st = CYC_OK;
	const cyc_star_block *b = cyc_star_find(star, "fsc");
	int32_t c[2];
	if (!b) return CYC_OK;
	CYC_TRY(cyc_star_require_column(&c[0], b, CYC_OWN_FSC));
	CYC_TRY(cyc_star_require_column(&c[1], b, CYC_OWN_FSC_UNMASKED));
	int32_t n = (int32_t)cyc_star_n_rows(b);
	CYC_TRY(cyc_alloc(&s->fsc, n, sizeof *s->fsc));
	CYC_TRY(cyc_alloc(&s->fsc_unmasked, n, sizeof *s->fsc_unmasked));
	s->n_shells = n;
	for (int32_t i = 0; i < n; i++) {
		CYC_TRY(cyc_star_double(&s->fsc[i], b, i, c[0]));
		CYC_TRY(cyc_star_double(&s->fsc_unmasked[i], b, i, c[1]));
	}
done:
	return st;
}

/* Back to a step that has not run. */
static void forget_results(cyc__step *s)
{
	cyc_free(s->output_set);
	s->output_set = NULL;
	cyc__pairs_deinit(&s->outputs);
	cyc_file_marks_deinit(&s->files);
	cyc_free(s->fsc);
	cyc_free(s->fsc_unmasked);
	s->fsc = s->fsc_unmasked = NULL;
	s->n_shells = 0;
	for (int32_t i = 0; i < s->n_warnings; i++) cyc_free(s->warnings[i]);
	cyc_free(s->warnings);
	s->warnings = NULL;
	s->n_warnings = 0;
#define FORGET(name) s->name = CYC_NAN;
	CYC__STEP_FIGURES(FORGET)
#undef FORGET
}

static cyc_status read_results(cyc__step *s, const cyc_star *star, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	CYC_TRY(cyc_star_require(&b, star, "step"));
	const char *set = cyc_star_text_of(b, 0, CYC_OWN_OUTPUT_SET);
	CYC_CHECK(set, CYC_E_FORMAT, "%s: no %s", path, CYC_OWN_OUTPUT_SET);
	CYC_TRY(cyc_strdup(&s->output_set, set));
	CYC_TRY(read_outputs(s, star));
	CYC_TRY(read_figures(s, star));
	CYC_TRY(read_fsc(s, star));
	CYC_TRY(read_warnings(s, star));
	CYC_CHECK((s->n_shells > 0) == (s->kind == CYC__POSTPROCESS), CYC_E_FORMAT,
	          "%s: the table of the FSC is missing or not expected", path);
done:
	return st;
}

static cyc_status compare_key(bool *is_of_key, const cyc_star *star, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	CYC_TRY(cyc_star_require(&b, star, "step"));
	const char *key = cyc_star_text_of(b, 0, CYC_OWN_STEP_KEY);
	*is_of_key = key && strcmp(key, cyc__hash_format(s->key).text) == 0;
done:
	return st;
}

/* A sealed record of this key; NULL if there is none, with a warning if there is something else. */
static cyc_status open_step_record(cyc_star **out, const char *path, const cyc__step *s, bool may_redo)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	bool is_of_key = false;
	*out = NULL;
	CYC_TRY(cyc__read_sealed(&star, path));
	if (!star) {
		cyc_warn("'%s' is damaged or from another version of the program, and is not used: %s is repeated",
		         path, s->dir);
		goto done;
	}
	CYC_TRY(compare_key(&is_of_key, star, s));
	if (!is_of_key && !may_redo) {
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"the finished step %s started from an input or options other than the current ones", s->dir);
		cyc_error_hint(
			"start a new run with another --o, or use the same options as before (including --accept-worse)");
		goto done;
	}
	if (!is_of_key) {
		cyc_warn("%s was made from the old result of an earlier step that was repeated: it is repeated, too",
		         s->dir);
		goto done;
	}
	*out = star;
	star = NULL;
done:
	cyc_star_destroy(&star);
	return st;
}

cyc_status cyc__record_step_read(bool *found, cyc__step *s, const cyc_cycle_options *o, bool may_redo)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	char *path = NULL;
	*found = false;
	CYC_TRY(step_file(&path, s, o, CYC__STEP_RECORD));
	if (!cyc_path_exists(path)) goto done;
	CYC_TRY(open_step_record(&star, path, s, may_redo));
	if (star) {
		CYC_TRY(read_results(s, star, path));
		CYC_TRY(compare_outputs(found, s, o));
		s->state_key = hash_outputs(s->start_key, s);
	}
	if (*found) goto done;
	forget_results(s);
	/* Killed in the middle of it, it is not finished. */
	CYC_CHECK(unlink(path) == 0, CYC_E_IO, "cannot remove '%s': %s", path, strerror(errno));
done:
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- times */

cyc_status cyc__record_time_write(const cyc__step *s, const cyc__cycle *c, const cyc_costs *costs)
{
	cyc_status st = CYC_OK;
	cyc_json j = { 0 };
	char *text = NULL, *path = NULL, *command = NULL;
	CYC_TRY(cyc__step_command(&command, s, c));
	cyc_json_begin_object(&j, NULL);
	cyc_json_text(&j, "program", "cyclotomo");
	cyc_json_text(&j, "version", CYCLOTOMO_VERSION);
	cyc_json_text(&j, "command", command);
	cyc_json_int(&j, "threads", c->o->n_threads);
	cyc_json_double(&j, "wall_s", s->seconds);
	cyc_json_int(&j, "peak_memory_bytes", cyc_peak_memory_bytes());
	cyc_costs_json(&j, costs, s->seconds, c->o->n_threads);
	cyc_json_end_object(&j);
	CYC_TRY(cyc_json_finish(&text, &j));
	CYC_TRY(step_file(&path, s, c->o, STEP_TIME));
	CYC_TRY(cyc_write_file(path, text, strlen(text)));
done:
	cyc_json_deinit(&j);
	cyc_free(text);
	cyc_free(path);
	cyc_free(command);
	return st;
}

double cyc__record_time_read(const cyc__step *s, const cyc_cycle_options *o)
{
	static const char KEY[] = "\"wall_s\": ";
	char *path = NULL, *text = NULL;
	size_t n;
	double seconds = CYC_NAN;
	/* Only for show: a time that cannot be read is none. */
	if (step_file(&path, s, o, STEP_TIME) == CYC_OK && cyc_path_exists(path) &&
	    cyc_read_file(&text, &n, path) == CYC_OK) {
		const char *at = strstr(text, KEY);
		char *end = NULL;
		double v = at ? strtod(at + sizeof KEY - 1, &end) : CYC_NAN;
		if (at && end != at + sizeof KEY - 1) seconds = v;
	}
	cyc_free(path);
	cyc_free(text);
	return seconds;
}

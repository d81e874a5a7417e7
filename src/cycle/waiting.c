#include "cycle/waiting.h"

#include "cyclotomo/record.h"
#include "project/labels.h"
#include "run/options.h"
#include "run/sealed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char NOTE[] = ".cyclotomo_parts";

cyc__part_text cyc__preparation(int32_t n_parts)
{
	cyc__part_text t;
	snprintf(t.text, sizeof t.text, "0/%d", n_parts);
	return t;
}

/* ---------------------------------------------------------------- the note */

static cyc_status note_path(char **out, const char *root, const char *run)
{
	cyc_status st = CYC_OK;
	char *dir = NULL;
	CYC_TRY(cyc_path_join(&dir, root, run));
	CYC_TRY(cyc_path_join(out, dir, NOTE));
done:
	cyc_free(dir);
	return st;
}

/* Options of how a job runs are left out of a step's command; of these the records depend on some. */
static cyc_status add_running(cyc__pairs *words, const cyc__job_options *options,
                              const cyc_option_table *table)
{
	cyc_status st = CYC_OK;
	char *value = NULL;
	for (int i = 0; i < table->n; i++) {
		const cyc_option *o = &table->rows[i];
		if (o->type == CYC_OPT_HEADING || o->type == CYC_OPT_TABLE || o->purpose != CYC_FOR_RUN) continue;
		/* A part has its own of these. */
		if (strcmp(o->name, "resume") == 0 || strcmp(o->name, "part") == 0) continue;
		if (cyc_option_is_default(options, o)) continue;
		CYC_TRY(cyc_option_value(&value, options, o));
		CYC_TRY(cyc__pairs_add(words, o->name, cyc_option_is_flag(o) ? "flag" : "=%s", value));
		cyc_free(value);
		value = NULL;
	}
done:
	cyc_free(value);
	return st;
}

cyc_status cyc__waiting_write(const cyc__cycle *c, const cyc__step *s, const cyc__job_options *o)
{
	cyc_status st = CYC_OK;
	const cyc_option_table *table = cyc__kind_get(s->kind)->table;
	cyc__pairs options = { 0 }, words = { 0 }, step = { 0 };
	cyc_star *star = NULL;
	char *path = NULL;
	CYC_TRY(cyc__pairs_add(&step, "step", "%s", s->dir));
	CYC_TRY(cyc__pairs_add(&step, "command", "%s", table->name));
	CYC_TRY(cyc__pairs_add(&step, "parts", "%d", c->o->n_parts));
	CYC_TRY(cyc__arguments(&options, o, table, false));
	for (int32_t i = 0; i < options.n; i++) {
		const cyc__pair *p = &options.items[i];
		CYC_TRY(cyc__pairs_add(&words, p->name, p->value[0] ? "=%s" : "flag", p->value));
	}
	CYC_TRY(add_running(&words, o, table));
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc__add_table(star, "step", CYC_OWN_OPTION_NAME, CYC_OWN_OPTION_VALUE, &step));
	CYC_TRY(cyc__add_table(star, "options", CYC_OWN_OPTION_NAME, CYC_OWN_OPTION_VALUE, &words));
	CYC_TRY(note_path(&path, c->o->input.root, c->o->out_dir));
	CYC_TRY(cyc__write_sealed(star, path));
done:
	cyc_star_destroy(&star);
	cyc__pairs_deinit(&options);
	cyc__pairs_deinit(&words);
	cyc__pairs_deinit(&step);
	cyc_free(path);
	return st;
}

cyc_status cyc__waiting_forget(const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(note_path(&path, c->o->input.root, c->o->out_dir));
	unlink(path);
done:
	cyc_free(path);
	return st;
}

static cyc_status add_word(char **words, int *n, const char *text)
{
	return cyc_strdup(&words[(*n)++], text);
}

/* The command of the note with the words of one part. */
static cyc_status make_words(char ***out, int *n, const cyc__pairs *step, const cyc__pairs *options,
                             const cyc_part_call *call)
{
	cyc_status st = CYC_OK;
	char **words = NULL, text[32];
	CYC_TRY(cyc_alloc(&words, 2 * (int64_t)options->n + 16, sizeof *words));
	*out = words;
	CYC_TRY(add_word(words, n, cyc__pairs_get(step, "command")));
	if (call->root && call->root[0]) {
		CYC_TRY(add_word(words, n, "--root"));
		CYC_TRY(add_word(words, n, call->root));
	}
	for (int32_t i = 0; i < options->n; i++) {
		const cyc__pair *p = &options->items[i];
		CYC_TRY(cyc_asprintf(&words[(*n)++], "--%s", p->name));
		if (p->value[0] == '=') CYC_TRY(add_word(words, n, p->value + 1));
	}
	CYC_TRY(add_word(words, n, "--threads"));
	snprintf(text, sizeof text, "%d", call->n_threads);
	CYC_TRY(add_word(words, n, text));
	CYC_TRY(add_word(words, n, "--part"));
	CYC_TRY(add_word(words, n, call->part));
done:
	return st;
}

void cyc_cycle_words_free(char **words)
{
	for (int i = 0; words && words[i]; i++) cyc_free(words[i]);
	cyc_free(words);
}

/* Read the note; nothing is read without one. */
static cyc_status read_note(cyc__pairs *step, cyc__pairs *options, const char *root, const char *run)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	char *path = NULL;
	CYC_TRY(note_path(&path, root, run));
	if (!cyc_path_exists(path)) goto done;
	CYC_TRY(cyc__read_sealed(&star, path));
	if (!star) {
		st = cyc_error_raise(CYC_E_FORMAT, __FILE__, __LINE__, __func__,
		                     "'%s' is damaged or from another version of the program", path);
		cyc_error_hint("repeat 'cyclotomo cycle --parts n ...', which writes it");
		goto done;
	}
	CYC_TRY(cyc__read_table(step, star, "step", CYC_OWN_OPTION_NAME, CYC_OWN_OPTION_VALUE));
	CYC_TRY(cyc__read_table(options, star, "options", CYC_OWN_OPTION_NAME, CYC_OWN_OPTION_VALUE));
	CYC_CHECK(cyc__pairs_get(step, "step") && cyc__pairs_get(step, "command") &&
	              cyc__pairs_get(step, "parts"),
	          CYC_E_FORMAT, "'%s' names no step", path);
done:
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

cyc_status cyc_cycle_waiting(char **step_dir, int32_t *n_parts, const char *root, const char *run)
{
	cyc_status st = CYC_OK;
	cyc__pairs step = { 0 }, options = { 0 };
	*step_dir = NULL;
	*n_parts = 0;
	CYC_TRY(read_note(&step, &options, root, run));
	if (step.n == 0) goto done;
	CYC_TRY(cyc_strdup(step_dir, cyc__pairs_get(&step, "step")));
	*n_parts = (int32_t)strtol(cyc__pairs_get(&step, "parts"), NULL, 10);
done:
	cyc__pairs_deinit(&step);
	cyc__pairs_deinit(&options);
	return st;
}

cyc_status cyc_cycle_part_command(char ***words, int *n_words, const cyc_part_call *call)
{
	cyc_status st = CYC_OK;
	cyc__pairs step = { 0 }, options = { 0 };
	cyc_part part;
	*words = NULL;
	*n_words = 0;
	CYC_TRY(cyc_part_parse(&part, call->part));
	CYC_TRY(read_note(&step, &options, call->root, call->run));
	if (step.n == 0) goto done;
	long n = strtol(cyc__pairs_get(&step, "parts"), NULL, 10);
	CYC_CHECK(part.n == n, CYC_E_USAGE, "%s waits for %ld parts, but --part is %s",
	          cyc__pairs_get(&step, "step"), n, call->part);
	CYC_TRY(make_words(words, n_words, &step, &options, call));
done:
	if (st != CYC_OK) {
		cyc_cycle_words_free(*words);
		*words = NULL;
	}
	cyc__pairs_deinit(&step);
	cyc__pairs_deinit(&options);
	return st;
}

/* ---------------------------------------------------------------- particles that were judged */

static const char KIND[] = "judged particles";

static cyc_status judged_path(char **out, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_path_join(&name, s->dir, "temp/judged.record"));
	CYC_TRY(cyc_path_join(out, c->o->input.root, name));
done:
	cyc_free(name);
	return st;
}

static cyc_status hash_particles(uint64_t *h, const cyc__cycle *c, const char *particles)
{
	cyc_status st = CYC_OK;
	*h = CYC_HASH_INIT;
	CYC_TRY(cyc_input_file_hash(h, particles, c->o->input.root));
done:
	return st;
}

cyc_status cyc__judged_write(const cyc__cycle *c, const cyc__step *s, const cyc_refine3d_result *r)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *text = NULL;
	uint64_t h;
	CYC_TRY(hash_particles(&h, c, r->particles));
	CYC_TRY(cyc_asprintf(&text, "%" PRIu64 " %" PRId64 " %" PRId64 " %s", h, (int64_t)r->n_particles,
	                     (int64_t)r->n_improbable, r->particles));
	CYC_TRY(judged_path(&path, c, s));
	CYC_TRY(cyc_record_write_text(path, KIND, s->key, text));
done:
	cyc_free(path);
	cyc_free(text);
	return st;
}

cyc_status cyc__judged_read(bool *found, const cyc__cycle *c, const cyc__step *s, cyc_refine3d_result *r)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *text = NULL;
	uint64_t was, is = 0;
	int64_t n_other = 0, n, n_improbable;
	int used = 0;
	*found = false;
	CYC_TRY(judged_path(&path, c, s));
	CYC_TRY(cyc_record_read_text(&text, path, KIND, s->key, "particles are judged again", &n_other));
	if (!text || sscanf(text, "%" SCNu64 " %" SCNd64 " %" SCNd64 " %n", &was, &n, &n_improbable, &used) != 3)
		goto done;
	if (hash_particles(&is, c, text + used) != CYC_OK) cyc_error_clear();
	else *found = is == was;
	if (!*found) goto done;
	CYC_TRY(cyc_strdup(&r->particles, text + used));
	r->n_particles = n;
	r->n_improbable = n_improbable;
done:
	cyc_free(path);
	cyc_free(text);
	return st;
}

cyc_status cyc__judged_forget(const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(judged_path(&path, c, s));
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path); /* stays if something else is in it */
done:
	cyc_free(path);
	return st;
}

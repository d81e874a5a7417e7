#include "cycle/records.h"
#include "cycle/in_project.h"
#include "run/sealed.h"

#include "cyclotomo/record.h"
#include "cyclotomo/version.h"
#include "project/labels.h"

#include <string.h>

static const char RUN_RECORD[] = "cyclotomo_cycle.star", IMAGES_RECORD[] = "cyclotomo_images.record",
				  IMAGES_KIND[] = "images of a cycle";

/* ---------------------------------------------------------------- the run's own record */

static bool is_recorded(const cyc_option *o)
{
	return o->type != CYC_OPT_HEADING && o->purpose != CYC_FOR_RUN && strcmp(o->name, "output") != 0;
}

cyc_status cyc__record_options(cyc__pairs *out, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *value = NULL;
	for (int i = 0; i < c->list.n; i++) {
		const cyc_option *o = &c->list.rows[i];
		if (!is_recorded(o)) continue;
		CYC_TRY(cyc_option_value(&value, c->o, o));
		CYC_TRY(cyc__pairs_add(out, o->name, "%s", cyc_option_is_default(c->o, o) && o->is_set ? "" : value));
		cyc_free(value);
		value = NULL;
	}
done:
	cyc_free(value);
	return st;
}

/* Options that an earlier version did not have were at their defaults. */
static cyc_status add_new_options(cyc__pairs *old, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *value = NULL;
	for (int i = 0; i < c->list.n; i++) {
		const cyc_option *o = &c->list.rows[i];
		if (!is_recorded(o) || cyc__pairs_get(old, o->name)) continue;
		CYC_TRY(cyc_option_default_value(&value, o));
		CYC_TRY(cyc__pairs_add(old, o->name, "%s", o->is_set ? "" : value));
		cyc_free(value);
		value = NULL;
	}
done:
	cyc_free(value);
	return st;
}

/* Names of the pairs that differ, "box (was 192, now 256), ...", into text; false if none does. */
static bool list_differences(char *text, size_t size, const cyc__pairs *was, const cyc__pairs *is,
                             bool with_values)
{
	size_t n = 0;
	text[0] = '\0';
	for (int pass = 0; pass < 2; pass++) {
		const cyc__pairs *a = pass == 0 ? was : is, *b = pass == 0 ? is : was;
		for (int32_t i = 0; i < a->n; i++) {
			const char *old = a->items[i].value, *now = cyc__pairs_get(b, a->items[i].name);
			if (now && (pass == 1 || strcmp(old, now) == 0)) continue;
			const char *separator = n ? ", " : "";
			int m;
			if (now && with_values) {
				m = snprintf(text + n, size - n, "%s--%s (was %s, now %s)", separator, a->items[i].name,
				             old[0] ? old : "not given", now[0] ? now : "not given");
			} else {
				m = snprintf(text + n, size - n, "%s%s%s%s", separator, with_values ? "--" : "",
				             a->items[i].name,
				             now           ? ""
				             : pass == 1   ? " (new)"
				             : with_values ? " (no longer given)"
				                           : " (no longer an input)");
			}
			n = m < 0 || n + (size_t)m >= size ? size - 1 : n + (size_t)m;
		}
	}
	return n > 0;
}

static const char MASK_REFERENCES[] = "mask for references", MASK_FSC[] = "mask for the FSC";

enum {
	R = 1 << CYC__RECONSTRUCT,
	P = 1 << CYC__POSTPROCESS,
	C = 1 << CYC__CTFREFINE,
	M = 1 << CYC__POLISH,
	O = 1 << CYC__REFINE3D,
	ALL = R | P | C | M | O
};
/* Steps that depend on options of the run itself directly, not only through what they start from; all on
 * those that are not listed. Options that determine the list of steps affect those whose places change. */
static const struct {
	const char *name;
	unsigned kinds;
} DEPENDENTS[] = {
	{ "mask-align", M | C | O },
	{ "mask-fsc", P },
	{ "skip-defocus", C | O },
	{ "skip-scale", C | O },
	{ "skip-polish", M | C | O },
	{ "skip-refine", C | O },
	{ "keep-all", C | O },
	{ "refine-order", O },
	{ "offset-range", O },
	{ "duplicates", O }, /* the result changes the particles, which are an input */
};

/* The options of a job, by where they are; 0 for those of the run. */
static unsigned kind_of_member(size_t offset, const cyc_cycle_options *o)
{
	/* Particles are looked at before CTF refinement if their orientations are refined, too. */
	bool are_judged = !o->skip_refine && !o->refine.keep_all;
	const struct {
		size_t first, size;
		unsigned kinds;
	} jobs[] = {
		{ offsetof(cyc_cycle_options, reconstruct), sizeof o->reconstruct, ALL },
		{ offsetof(cyc_cycle_options, postprocess), sizeof o->postprocess, P },
		{ offsetof(cyc_cycle_options, check), sizeof o->check, P }, /* findings are kept with it */
		{ offsetof(cyc_cycle_options, ctfrefine), sizeof o->ctfrefine, C },
		{ offsetof(cyc_cycle_options, polish), sizeof o->polish, M },
		{ offsetof(cyc_cycle_options, refine), sizeof o->refine, are_judged ? C | O : O },
	};
	for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
		if (offset >= jobs[i].first && offset < jobs[i].first + jobs[i].size) return jobs[i].kinds;
	}
	return 0;
}

unsigned cyc__dependents(const char *name, const cyc__cycle *c)
{
	char word[80];
	/* Files of options: "mtf.star (--mtf)". */
	const char *option = strstr(name, "(--");
	snprintf(word, sizeof word, "--%.*s", option ? (int)strcspn(option + 3, ")") : 70,
	         option ? option + 3 : name);
	for (size_t i = 0; i < sizeof DEPENDENTS / sizeof *DEPENDENTS; i++) {
		if (strcmp(word + 2, DEPENDENTS[i].name) == 0) return DEPENDENTS[i].kinds;
	}
	int row = cyc_option_find(c->list.rows, c->list.n, word, strlen(word));
	unsigned kinds = row < 0 ? 0 : kind_of_member(c->list.rows[row].offset, c->o);
	if (kinds) return kinds;
	/* Inputs in a role: "mask.mrc (mask for the FSC)". */
	if (strstr(name, MASK_REFERENCES)) return M | C | O;
	if (strstr(name, MASK_FSC)) return P;
	return ALL;
}

const char CYC__LEFT_OUT[] = "particles that are left out";
const char *const CYC__ROLES[2] = { MASK_REFERENCES, MASK_FSC };

/* ---------------------------------------------------------------- corrections */

/* Steps finished by earlier starts: kinds, and the folder of each kind's first job. */
typedef struct {
	unsigned kinds;
	int32_t first[CYC__N_KINDS];
} finished_steps;

/* If the step of this folder has finished. */
static cyc_status note_finished(bool *is_finished, finished_steps *f, const cyc_cycle_options *o, int k,
                                int32_t job)
{
	cyc_status st = CYC_OK;
	cyc__step s = { 0 };
	char *name = NULL, *path = NULL;
	CYC_TRY(cyc__step_init(&s, o, (cyc__kind)k, 0, job));
	CYC_TRY(cyc_path_join(&name, s.dir, CYC__STEP_RECORD));
	CYC_TRY(cyc_path_join(&path, o->input.root, name));
	*is_finished = cyc_path_exists(path);
	if (*is_finished && !(f->kinds & 1U << k)) f->first[k] = job;
	if (*is_finished) f->kinds |= 1U << k;
done:
	cyc__step_deinit(&s);
	cyc_free(name);
	cyc_free(path);
	return st;
}

static cyc_status find_finished(finished_steps *f, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__project_jobs jobs = { 0 };
	bool is_finished;
	*f = (finished_steps){ 0 };
	if (o->in_project) {
		CYC_TRY(cyc__project_jobs_read(&jobs, o));
		for (int32_t i = 0; i < jobs.n; i++)
			CYC_TRY(note_finished(&is_finished, f, o, (int)jobs.items[i].kind, jobs.items[i].job));
		goto done;
	}
	/* Only users make gaps in a run; it ends where a whole cycle of folders is missing. */
	for (int32_t job = 1, n_missing = 0; n_missing < 4 * CYC__N_KINDS; job++) {
		n_missing++;
		for (int k = 0; k < CYC__N_KINDS; k++) {
			CYC_TRY(note_finished(&is_finished, f, o, k, job));
			if (is_finished) n_missing = 0;
		}
	}
done:
	cyc__project_jobs_deinit(&jobs);
	return st;
}

/* The earliest finished step of these kinds: "CtfRefine/job006". */
static void name_first(char *text, size_t size, const finished_steps *f, unsigned kinds)
{
	int first = -1;
	for (int k = 0; k < CYC__N_KINDS; k++) {
		if (f->kinds & kinds & 1U << k && (first < 0 || f->first[k] < f->first[first])) first = k;
	}
	if (first < 0) snprintf(text, size, "a step");
	else snprintf(text, size, "%s/job%03d", cyc__kind_get((cyc__kind)first)->folder, f->first[first]);
}

/* The pairs on which finished steps depend, or the others. */
static cyc_status pick(cyc__pairs *out, const cyc__pairs *p, unsigned finished, bool that_count,
                       const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < p->n; i++) {
		bool counts = (cyc__dependents(p->items[i].name, c) & finished) != 0;
		if (counts == that_count) CYC_TRY(cyc__pairs_add(out, p->items[i].name, "%s", p->items[i].value));
	}
done:
	return st;
}

static unsigned kinds_of_differences(const cyc__pairs *was, const cyc__pairs *is, const cyc__cycle *c)
{
	unsigned kinds = 0;
	for (int pass = 0; pass < 2; pass++) {
		const cyc__pairs *a = pass == 0 ? was : is, *b = pass == 0 ? is : was;
		for (int32_t i = 0; i < a->n; i++) {
			const char *other = cyc__pairs_get(b, a->items[i].name);
			if (!other || strcmp(other, a->items[i].value) != 0)
				kinds |= cyc__dependents(a->items[i].name, c);
		}
	}
	return kinds;
}

/*
 * Differences that a finished step depends on are refused; others are corrections, and reported.
 * @param[in,out] is_corrected  set if there are some
 */
static cyc_status compare_pairs(bool *is_corrected, const cyc__pairs *was, const cyc__pairs *is,
                                const finished_steps *f, const cyc__cycle *c, bool are_options)
{
	cyc_status st = CYC_OK;
	cyc__pairs part[4] = { { 0 } };
	char list[700], step[64];
	for (int k = 0; k < 2; k++) {
		CYC_TRY(pick(&part[2 * k], was, f->kinds, k == 0, c));
		CYC_TRY(pick(&part[2 * k + 1], is, f->kinds, k == 0, c));
	}
	if (list_differences(list, sizeof list, &part[0], &part[1], are_options)) {
		if (are_options)
			st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
			                     "the run in %s was started with other options: %s", c->o->out_dir, list);
		else
			st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
			                     "inputs of the run in %s have changed since it was started: %s",
			                     c->o->out_dir, list);
		name_first(step, sizeof step, f, kinds_of_differences(&part[0], &part[1], c));
		cyc_error_hint("%s is finished and was made with the old %s: restore %s, or start a new run with "
		               "another --o; nothing was changed",
		               step, are_options ? "options" : "inputs", are_options ? "them" : "these files");
		goto done;
	}
	if (list_differences(list, sizeof list, &part[2], &part[3], are_options)) {
		*is_corrected = true;
		cyc_info("%s changed, but no finished step depends on it: %s", are_options ? "options" : "inputs",
		         list);
	}
done:
	for (int k = 0; k < 4; k++) cyc__pairs_deinit(&part[k]);
	return st;
}

/* The record is used only if it is intact. */
static cyc_status open_record(cyc_star **out, const char *path)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc__read_sealed(out, path));
	if (*out) goto done;
	cyc_warn("'%s' is damaged or from another version of the program, and is not used: it is rewritten, and "
	         "finished steps are compared with the current options and inputs by their own records",
	         path);
done:
	return st;
}

/* Excluded particles follow from options, which are named instead. */
static cyc_status compare_left_out(const cyc__pairs *old_options, const cyc__pairs *options,
                                   const cyc__pairs *old_inputs, const finished_steps *f, const cyc__cycle *c)
{
	char list[700];
	const char *was = cyc__pairs_get(old_inputs, CYC__LEFT_OUT),
			   *is = cyc__pairs_get(&c->inputs, CYC__LEFT_OUT);
	if (!f->kinds || !was || !is || strcmp(was, is) == 0) return CYC_OK;
	if (!list_differences(list, sizeof list, old_options, options, true)) return CYC_OK;
	cyc_status st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
	                                "the run in %s was started with other options: %s; with these, other "
	                                "particles would be left out as duplicates",
	                                c->o->out_dir, list);
	cyc_error_hint("restore them, or start a new run with another --o; nothing was changed");
	return st;
}

static cyc_status compare_record(bool *is_corrected, const cyc_star *star, const cyc__cycle *c,
                                 const cyc__pairs *options, const finished_steps *finished)
{
	cyc_status st = CYC_OK;
	cyc__pairs old_options = { 0 }, old_inputs = { 0 };
	CYC_TRY(cyc__read_table(&old_options, star, "options", CYC_OWN_OPTION_NAME, CYC_OWN_OPTION_VALUE));
	CYC_TRY(add_new_options(&old_options, c));
	CYC_TRY(cyc__read_table(&old_inputs, star, "inputs", CYC_OWN_FILE_NAME, CYC_OWN_FILE_HASH));
	CYC_TRY(compare_pairs(is_corrected, &old_options, options, finished, c, true));
	CYC_TRY(compare_left_out(&old_options, options, &old_inputs, finished, c));
	CYC_TRY(compare_pairs(is_corrected, &old_inputs, &c->inputs, finished, c, false));
	const cyc_star_block *general = cyc_star_find(star, "general");
	const char *version = general ? cyc_star_text_of(general, 0, CYC_OWN_VERSION) : NULL;
	if (version && strcmp(version, CYCLOTOMO_VERSION) != 0) {
		cyc_warn(
			"the run was started with version %s, this is %s: earlier and later steps may not be comparable",
			version, CYCLOTOMO_VERSION);
	}
done:
	cyc__pairs_deinit(&old_options);
	cyc__pairs_deinit(&old_inputs);
	return st;
}

static cyc_status record_path(char **path, const cyc_cycle_options *o, const char *file)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_path_join(&name, o->out_dir, file));
	CYC_TRY(cyc_path_join(path, o->input.root, name));
done:
	cyc_free(name);
	return st;
}

/*
 * Times of the tilt images: in a file of its own, so that the other records of a run are the same on a copy
 * of the project. Images with the same names and other times are taken for other images.
 */
static cyc_status compare_images(uint64_t *to_be_written, const cyc__cycle *c, const finished_steps *finished)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_record *r = NULL;
	int64_t n_other = 0;
	uint64_t key = CYC_HASH_INIT;
	*to_be_written = 0;
	CYC_TRY(cyc_images_hash(&key, c->in.tomograms, c->in.particles, c->o->input.root, true));
	CYC_TRY(record_path(&path, c->o, IMAGES_RECORD));
	CYC_TRY(cyc_record_open(&r, path, IMAGES_KIND, key, "it is rewritten", &n_other));
	if (r) goto done;
	if (n_other > 0 && finished->kinds) {
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"tilt images of the run in %s have changed since it was started: their modification times differ",
			c->o->out_dir);
		cyc_error_hint("if they are the same images (a copy without 'cp -p' or 'rsync -a'), remove '%s'; "
		               "else start a new run with "
		               "another --o",
		               path);
		goto done;
	}
	*to_be_written = key;
done:
	cyc_record_close(&r);
	cyc_free(path);
	return st;
}

static cyc_status write_record(const char *path, const cyc__cycle *c, const cyc__pairs *options)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b;
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&b, star, "general", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_text(b, CYC_OWN_VERSION, CYCLOTOMO_VERSION));
	CYC_TRY(cyc__add_table(star, "options", CYC_OWN_OPTION_NAME, CYC_OWN_OPTION_VALUE, options));
	CYC_TRY(cyc__add_table(star, "inputs", CYC_OWN_FILE_NAME, CYC_OWN_FILE_HASH, &c->inputs));
	CYC_TRY(cyc__write_sealed(star, path));
done:
	cyc_star_destroy(&star);
	return st;
}

/* A folder with jobs but without a record belongs to another project. */
static cyc_status refuse_foreign_folder(const char *root, const char *out_dir)
{
	cyc_status st = CYC_OK;
	char *dir = NULL, *path = NULL;
	CYC_TRY(cyc_path_join(&dir, root, out_dir));
	for (int i = -1; i < CYC__N_KINDS; i++) {
		cyc_free(path);
		CYC_TRY(
			cyc_path_join(&path, dir, i < 0 ? "default_pipeline.star" : cyc__kind_get((cyc__kind)i)->folder));
		if (!cyc_path_exists(path)) continue;
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "'%s' exists but was not made by 'cyclotomo cycle'", path);
		cyc_error_hint("give the run its own folder with --o");
		goto done;
	}
done:
	cyc_free(dir);
	cyc_free(path);
	return st;
}

/* Inputs that all steps depend on, and how they are read. */
static cyc_status hash_start(uint64_t *key, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	uint64_t h = CYC_HASH_INIT;
	for (int32_t i = 0; i < c->inputs.n; i++) {
		if (cyc__dependents(c->inputs.items[i].name, c) != ALL) continue;
		h = cyc_hash_string(cyc_hash_string(h, c->inputs.items[i].name), c->inputs.items[i].value);
	}
	CYC_TRY(cyc_options_hash(&h, &c->o->input, &cyc_project_input_table, CYC_OPTIONS_RESULT));
	*key = h;
done:
	return st;
}

/* Compare all with what the folder has; nothing is written. */
static cyc_status compare_all(bool *is_new, bool *is_corrected, cyc__cycle *c, const char *path)
{
	cyc_status st = CYC_OK;
	finished_steps finished;
	cyc_star *star = NULL;
	*is_new = *is_corrected = false;
	if (cyc_path_exists(path)) CYC_TRY(cyc__project_check_mode(c->o));
	CYC_TRY(cyc__record_options(&c->options, c));
	CYC_TRY(cyc__inputs_hashes(&c->inputs, &c->in, c->o));
	CYC_TRY(find_finished(&finished, c->o));
	if (cyc_path_exists(path)) {
		CYC_TRY(open_record(&star, path));
		if (star) CYC_TRY(compare_record(is_corrected, star, c, &c->options, &finished));
		*is_new = !star;
	} else {
		CYC_TRY(refuse_foreign_folder(c->o->input.root, c->o->out_dir));
		*is_new = true;
	}
	CYC_TRY(compare_images(&c->images_record, c, &finished));
done:
	cyc_star_destroy(&star);
	return st;
}

cyc_status cyc__record_start(cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *images = NULL;
	bool is_new, is_corrected;
	CYC_TRY(record_path(&path, c->o, RUN_RECORD));
	CYC_TRY(compare_all(&is_new, &is_corrected, c, path));
	CYC_TRY(hash_start(&c->start_key, c));
	CYC_TRY(record_path(&images, c->o, IMAGES_RECORD));
	if (c->images_record) CYC_TRY(cyc_record_write_text(images, IMAGES_KIND, c->images_record, ""));
	if (is_new || is_corrected) CYC_TRY(write_record(path, c, &c->options));
done:
	cyc_free(path);
	cyc_free(images);
	return st;
}

cyc_status cyc__record_compare(const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__cycle c = { .o = o, .in = *in };
	char *path = NULL;
	bool is_new, is_corrected;
	CYC_TRY(cyc_option_list_make(&c.list, &cyc_cycle_table));
	CYC_TRY(record_path(&path, o, RUN_RECORD));
	/* Without a record there is nothing to compare, and the images of a large project need not be read. */
	if (cyc_path_exists(path)) CYC_TRY(compare_all(&is_new, &is_corrected, &c, path));
	else CYC_TRY(refuse_foreign_folder(o->input.root, o->out_dir));
done:
	cyc_option_list_deinit(&c.list);
	cyc__pairs_deinit(&c.options);
	cyc__pairs_deinit(&c.inputs);
	cyc_free(path);
	return st;
}

#include "cycle_internal.h"

#include "cyclotomo/json.h"
#include "cyclotomo/version.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char RUN_RECORD[] = "cyclotomo_cycle.star", STEP_RECORD[] = "cyclotomo_step.star", STEP_TIME[] = "run.json";

/* ---------------------------------------------------------------- pairs as STAR tables */

static cyc_status add_table(cyc_star *star, const char *name, const char *label1, const char *label2, const cyc__pairs *p)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t c1, c2;
	int64_t row;
	CYC_TRY(cyc_star_add_block(&b, star, name, CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&c1, b, label1, ""));
	CYC_TRY(cyc_star_ensure_column(&c2, b, label2, ""));
	for (int32_t i = 0; i < p->n; i++) {
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_text(b, row, c1, p->items[i].name));
		CYC_TRY(cyc_star_set_text(b, row, c2, p->items[i].value));
	}
done:
	return st;
}

static cyc_status read_table(cyc__pairs *out, const cyc_star *star, const char *name, const char *label1, const char *label2)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t c1, c2;
	CYC_TRY(cyc_star_require(&b, star, name));
	CYC_TRY(cyc_star_require_column(&c1, b, label1));
	CYC_TRY(cyc_star_require_column(&c2, b, label2));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		CYC_TRY(cyc__pairs_add(out, cyc_star_text(b, i, c1), "%s", cyc_star_text(b, i, c2)));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- the run's own record */

static cyc_status add_text(cyc__pairs *out, const char *name, const char *value)
{
	return cyc__pairs_add(out, name, "%s", value ? value : "");
}

cyc_status cyc__record_options(cyc__pairs *out, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	CYC_TRY(add_text(out, "optimisation-set", o->input.optimisation_set));
	CYC_TRY(add_text(out, "particles", o->input.particles));
	CYC_TRY(add_text(out, "tomograms", o->input.tomograms));
	CYC_TRY(add_text(out, "trajectories", o->input.trajectories));
	CYC_TRY(cyc__pairs_add(out, "exclude-negative-scales", "%d", o->input.exclude_negative_scales));
	CYC_TRY(cyc__pairs_add(out, "keep-outliers", "%d", o->input.keep_outliers));
	CYC_TRY(cyc__pairs_add(out, "erase-beads", "%d", o->input.erase_beads));
	CYC_TRY(add_text(out, "mask-align", o->mask_align));
	CYC_TRY(add_text(out, "mask-fsc", o->mask_fsc));
	CYC_TRY(cyc__pairs_add(out, "box", "%d", o->box_px));
	CYC_TRY(cyc__pairs_add(out, "crop", "%d", o->crop_px));
	CYC_TRY(add_text(out, "symmetry", o->symmetry));
	CYC_TRY(cyc__pairs_add(out, "snr", "%.17g", o->snr));
	CYC_TRY(cyc__pairs_add(out, "whole-windows", "%d", o->whole_windows));
	CYC_TRY(cyc__pairs_add(out, "skip-crop", "%d", o->skip_crop));
	CYC_TRY(cyc__pairs_add(out, "skip-defocus", "%d", o->skip_defocus));
	CYC_TRY(cyc__pairs_add(out, "skip-scale", "%d", o->skip_scale));
	CYC_TRY(cyc__pairs_add(out, "defocus-range", "%.17g", o->defocus_range_A));
	CYC_TRY(cyc__pairs_add(out, "kmin", "%.17g", o->ctf_kmin_A));
	CYC_TRY(cyc__pairs_add(out, "skip-polish", "%d", o->skip_polish));
	CYC_TRY(cyc__pairs_add(out, "skip-motion", "%d", o->skip_motion));
	CYC_TRY(cyc__pairs_add(out, "skip-refine", "%d", o->skip_refine));
	CYC_TRY(cyc__pairs_add(out, "keep-all", "%d", o->keep_all));
	CYC_TRY(cyc__pairs_add(out, "particle-diameter", "%.17g", o->particle_diameter_A));
	CYC_TRY(cyc__pairs_add(out, "refine-order", "%d", o->refine_order));
	CYC_TRY(cyc__pairs_add(out, "polish-range", "%.17g", o->polish_range_px));
	CYC_TRY(cyc__pairs_add(out, "velocity-sigma", "%.17g", o->motion_sigma_A_per_dose));
	CYC_TRY(cyc__pairs_add(out, "motion-distance", "%.17g", o->motion_correlation_A));
	if (o->has_bfactor) CYC_TRY(cyc__pairs_add(out, "bfactor", "%.17g", o->adhoc_bfactor_A2));
	else CYC_TRY(cyc__pairs_add(out, "bfactor", "automatic"));
	CYC_TRY(cyc__pairs_add(out, "bfactor-low", "%.17g", o->bfactor_low_A));
	CYC_TRY(cyc__pairs_add(out, "bfactor-high", "%.17g", o->bfactor_high_A));
	CYC_TRY(add_text(out, "mtf", o->mtf));
	static const char *const DUPLICATES[] = { "remove", "refuse", "keep" };
	CYC_TRY(add_text(out, "duplicates", DUPLICATES[o->duplicates]));
	CYC_TRY(add_text(out, "backend", o->backend));
done:
	return st;
}

/* Names of the pairs that differ, "box (was 192, now 256), ...", into text; false if none does. */
static bool list_differences(char *text, size_t size, const cyc__pairs *was, const cyc__pairs *is, bool with_values)
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
				m = snprintf(text + n, size - n, "%s--%s (was %s, now %s)", separator, a->items[i].name, old[0] ? old : "not given", now[0] ? now : "not given");
			} else {
				m = snprintf(text + n, size - n, "%s%s%s%s", separator, with_values ? "--" : "", a->items[i].name,
				             now ? "" : pass == 1 ? " (new)" : with_values ? " (no longer given)" : " (no longer an input)");
			}
			n = m < 0 || n + (size_t)m >= size ? size - 1 : n + (size_t)m;
		}
	}
	return n > 0;
}

static cyc_status compare_record(const cyc_star *star, const cyc__cycle *c, const cyc__pairs *options)
{
	cyc_status st = CYC_OK;
	cyc__pairs old_options = { 0 }, old_inputs = { 0 };
	char list[700];
	CYC_TRY(read_table(&old_options, star, "options", "cycOptionName", "cycOptionValue"));
	CYC_TRY(read_table(&old_inputs, star, "inputs", "cycFileName", "cycFileHash"));
	if (list_differences(list, sizeof list, &old_options, options, true)) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "the run in %s was started with other options: %s", c->o->out_dir, list);
	} else if (list_differences(list, sizeof list, &old_inputs, &c->inputs, false)) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "inputs of the run in %s have changed since it was started: %s", c->o->out_dir, list);
	}
	if (st != CYC_OK) {
		cyc_error_hint("start a new run with another --o; nothing was changed");
		goto done;
	}
	const cyc_star_block *general = cyc_star_find(star, "general");
	const char *version = general ? cyc_star_text_of(general, 0, "cycVersion") : NULL;
	if (version && strcmp(version, CYCLOTOMO_VERSION) != 0) {
		cyc_warn("the run was started by version %s, this is %s: steps before and after may not compare", version, CYCLOTOMO_VERSION);
	}
done:
	cyc__pairs_deinit(&old_options);
	cyc__pairs_deinit(&old_inputs);
	return st;
}

static cyc_status write_record(const char *path, const cyc__cycle *c, const cyc__pairs *options)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b;
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&b, star, "general", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_text(b, "cycVersion", CYCLOTOMO_VERSION));
	CYC_TRY(add_table(star, "options", "cycOptionName", "cycOptionValue", options));
	CYC_TRY(add_table(star, "inputs", "cycFileName", "cycFileHash", &c->inputs));
	CYC_TRY(cyc_star_write(star, path));
done:
	cyc_star_destroy(&star);
	return st;
}

/* A folder that holds jobs but no record is a project of somebody else's. */
static cyc_status refuse_foreign_folder(const char *root, const char *out_dir)
{
	cyc_status st = CYC_OK;
	char *dir = NULL, *path = NULL;
	CYC_TRY(cyc_path_join(&dir, root, out_dir));
	for (int i = -1; i < CYC__N_KINDS; i++) {
		cyc_free(path);
		CYC_TRY(cyc_path_join(&path, dir, i < 0 ? "default_pipeline.star" : cyc__kind_get((cyc__kind)i)->folder));
		if (!cyc_path_exists(path)) continue;
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "'%s' is there already, but not from 'cyclotomo cycle'", path);
		cyc_error_hint("give the run a folder of its own with --o");
		goto done;
	}
done:
	cyc_free(dir);
	cyc_free(path);
	return st;
}

cyc_status cyc__record_start(cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const char *root = c->o->input.root;
	cyc__pairs options = { 0 };
	char *name = NULL, *path = NULL;
	cyc_star *star = NULL;
	CYC_TRY(cyc__record_options(&options, c->o));
	CYC_TRY(cyc__inputs_hashes(&c->inputs, &c->in, c->o));
	c->start_key = CYC_HASH_INIT;
	for (int32_t i = 0; i < options.n; i++) {
		c->start_key = cyc_hash_string(cyc_hash_string(c->start_key, options.items[i].name), options.items[i].value);
	}
	for (int32_t i = 0; i < c->inputs.n; i++) {
		c->start_key = cyc_hash_string(cyc_hash_string(c->start_key, c->inputs.items[i].name), c->inputs.items[i].value);
	}
	CYC_TRY(cyc_path_join(&name, c->o->out_dir, RUN_RECORD));
	CYC_TRY(cyc_path_join(&path, root, name));
	if (cyc_path_exists(path)) {
		CYC_TRY(cyc_star_read(&star, path));
		CYC_TRY(compare_record(star, c, &options));
	} else {
		CYC_TRY(refuse_foreign_folder(root, c->o->out_dir));
		CYC_TRY(write_record(path, c, &options));
	}
done:
	cyc__pairs_deinit(&options);
	cyc_star_destroy(&star);
	cyc_free(name);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- records of steps */

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

/* Size of an output, and for STAR files the hash: maps are large, and changing one keeps its size only by intent. */
static cyc_status output_state(char **out, const cyc_cycle_options *o, const char *output)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	struct stat file;
	uint64_t h = 0;
	size_t n = strlen(output);
	CYC_TRY(cyc_path_join(&path, o->input.root, output));
	CYC_CHECK(stat(path, &file) == 0, CYC_E_IO, "cannot read '%s': %s", path, strerror(errno));
	if (n > 5 && strcmp(output + n - 5, ".star") == 0) CYC_TRY(cyc__hash_file(&h, path));
	CYC_TRY(cyc_asprintf(out, "%" PRId64 ":%s", (int64_t)file.st_size, cyc__hash_format(h).text));
done:
	cyc_free(path);
	return st;
}

static cyc_status add_outputs(cyc_star *star, const cyc__step *s, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t c[3];
	int64_t row;
	char *state = NULL;
	CYC_TRY(cyc_star_add_block(&b, star, "outputs", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&c[0], b, "cycFileRole", ""));
	CYC_TRY(cyc_star_ensure_column(&c[1], b, "cycFileName", ""));
	CYC_TRY(cyc_star_ensure_column(&c[2], b, "cycFileState", ""));
	for (int32_t i = 0; i < s->outputs.n; i++) {
		cyc_free(state);
		state = NULL;
		CYC_TRY(output_state(&state, o, s->outputs.items[i].value));
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_text(b, row, c[0], s->outputs.items[i].name));
		CYC_TRY(cyc_star_set_text(b, row, c[1], s->outputs.items[i].value));
		CYC_TRY(cyc_star_set_text(b, row, c[2], state));
	}
done:
	cyc_free(state);
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
#define ADD_FIGURE(name) \
	if (isfinite(s->name)) CYC_TRY(cyc__pairs_add(&figures, #name, "%.17g", s->name));
	CYC__STEP_FIGURES(ADD_FIGURE)
#undef ADD_FIGURE
	CYC_TRY(add_table(star, "figures", "cycFigureName", "cycFigureValue", &figures));
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
	CYC_TRY(cyc_star_ensure_column(&c[0], b, "cycFsc", ""));
	CYC_TRY(cyc_star_ensure_column(&c[1], b, "cycFscUnmasked", ""));
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
	CYC_TRY(cyc_star_ensure_column(&column, b, "cycWarning", ""));
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
	CYC_TRY(cyc_star_require_column(&column, b, "cycWarning"));
	CYC_TRY(cyc_alloc(&s->warnings, cyc_star_n_rows(b), sizeof *s->warnings));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		CYC_TRY(cyc_strdup(&s->warnings[i], cyc_star_text(b, i, column)));
		s->n_warnings++;
	}
done:
	return st;
}

cyc_status cyc__record_step_write(const cyc__step *s, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b;
	char *path = NULL;
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&b, star, "step", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_text(b, "cycStepKey", cyc__hash_format(s->key).text));
	CYC_TRY(cyc_star_list_set_text(b, "cycInputSet", s->input_set));
	CYC_TRY(cyc_star_list_set_text(b, "cycOutputSet", s->output_set));
	CYC_TRY(add_outputs(star, s, o));
	CYC_TRY(add_figures(star, s));
	if (s->n_shells > 0) CYC_TRY(add_fsc(star, s));
	CYC_TRY(add_warnings(star, s));
	/* A record that was cut short lacks its end. */
	CYC_TRY(cyc_star_add_block(&b, star, "end", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_text(b, "cycIsComplete", "1"));
	CYC_TRY(step_file(&path, s, o, STEP_RECORD));
	CYC_TRY(cyc_star_write(star, path));
done:
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

static cyc_status read_outputs(cyc__step *s, const cyc_star *star, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__pairs states = { 0 };
	char *state = NULL;
	CYC_TRY(read_table(&s->outputs, star, "outputs", "cycFileRole", "cycFileName"));
	CYC_TRY(read_table(&states, star, "outputs", "cycFileName", "cycFileState"));
	for (int32_t i = 0; i < states.n; i++) {
		cyc_free(state);
		state = NULL;
		st = output_state(&state, o, states.items[i].name);
		if (st == CYC_OK && strcmp(state, states.items[i].value) != 0) {
			st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "%s was changed after the step that wrote it had finished", states.items[i].name);
		}
		if (st != CYC_OK) {
			cyc_error_context("the finished step %s", s->dir);
			cyc_error_hint("restore the file, or remove %s%s to have this step done again", s->dir, STEP_RECORD);
			goto done;
		}
	}
done:
	cyc__pairs_deinit(&states);
	cyc_free(state);
	return st;
}

static cyc_status read_figures(cyc__step *s, const cyc_star *star)
{
	cyc_status st = CYC_OK;
	cyc__pairs figures = { 0 };
	const char *text;
	CYC_TRY(read_table(&figures, star, "figures", "cycFigureName", "cycFigureValue"));
#define READ_FIGURE(name) \
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
	CYC_TRY(cyc_star_require_column(&c[0], b, "cycFsc"));
	CYC_TRY(cyc_star_require_column(&c[1], b, "cycFscUnmasked"));
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

cyc_status cyc__record_step_read(bool *found, cyc__step *s, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b;
	char *path = NULL;
	*found = false;
	CYC_TRY(step_file(&path, s, o, STEP_RECORD));
	if (!cyc_path_exists(path)) goto done;
	CYC_TRY(cyc_star_read(&star, path));
	const cyc_star_block *end = cyc_star_find(star, "end");
	const char *is_complete = end ? cyc_star_text_of(end, 0, "cycIsComplete") : NULL;
	CYC_CHECK(is_complete && strcmp(is_complete, "1") == 0, CYC_E_FORMAT, "%s is not complete", path);
	CYC_TRY(cyc_star_require(&b, star, "step"));
	const char *key = cyc_star_text_of(b, 0, "cycStepKey"), *set = cyc_star_text_of(b, 0, "cycOutputSet");
	CYC_CHECK(key && set, CYC_E_FORMAT, "%s: no cycStepKey or cycOutputSet", path);
	if (strcmp(key, cyc__hash_format(s->key).text) != 0) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "the finished step %s started from something else than this run has now", s->dir);
		cyc_error_hint("start a new run with another --o, or remove %s%s and those of the later job folders to have them done again",
		               s->dir, STEP_RECORD);
		goto done;
	}
	CYC_TRY(cyc_strdup(&s->output_set, set));
	CYC_TRY(read_outputs(s, star, o));
	CYC_TRY(read_figures(s, star));
	CYC_TRY(read_fsc(s, star));
	CYC_TRY(read_warnings(s, star));
	CYC_CHECK((s->n_shells > 0) == (s->kind == CYC__POSTPROCESS), CYC_E_FORMAT, "%s: the table of the FSC is missing or not expected", path);
	*found = true;
done:
	if (st == CYC_E_FORMAT) cyc_error_hint("remove %s%s to have this step done again", s->dir, STEP_RECORD);
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- times */

cyc_status cyc__record_time_write(const cyc__step *s, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc_json j = { 0 };
	char *text = NULL, *path = NULL, *command = NULL;
	CYC_TRY(cyc__step_command(&command, s));
	cyc_json_begin_object(&j, NULL);
	cyc_json_text(&j, "program", "cyclotomo");
	cyc_json_text(&j, "version", CYCLOTOMO_VERSION);
	cyc_json_text(&j, "command", command);
	cyc_json_int(&j, "threads", o->n_threads);
	cyc_json_double(&j, "wall_s", s->seconds);
	cyc_json_int(&j, "peak_memory_bytes", cyc_peak_memory_bytes());
	cyc_json_end_object(&j);
	CYC_TRY(cyc_json_finish(&text, &j));
	CYC_TRY(step_file(&path, s, o, STEP_TIME));
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
	if (step_file(&path, s, o, STEP_TIME) == CYC_OK && cyc_path_exists(path) && cyc_read_file(&text, &n, path) == CYC_OK) {
		const char *at = strstr(text, KEY);
		char *end = NULL;
		double v = at ? strtod(at + sizeof KEY - 1, &end) : CYC_NAN;
		if (at && end != at + sizeof KEY - 1) seconds = v;
	}
	cyc_free(path);
	cyc_free(text);
	return seconds;
}

/* Errors in the metadata that the first maps reveal: reported at the start, since no step corrects them. */
#include "cycle/between_steps.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* Particle images per series at first, and if the alternatives do not differ by ten standard errors. */
static const int64_t FEW_IMAGES = 500, MANY_IMAGES = 4000;
static const double CLEAR_ERROR = 0.2;

/* Slopes of 1 and -1 are distinguished. More images do not help a dose slope without an error (one tilt). */
static bool is_clear(const cyc_check_result *r)
{
	for (int32_t i = 0; i < r->n_series; i++) {
		const cyc_series_evidence *e = &r->series[i];
		if (e->n_images > 0 &&
		    (!(e->hand.error <= CLEAR_ERROR) || (e->dose.error > CLEAR_ERROR && !e->order)))
			return false;
	}
	return true;
}

static cyc_status compare(cyc_check_result *r, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc_check_options o = c->o->check;
	o.input = cyc__input_of(c, s->output_set);
	o.input.is_checked = true;
	o.mask = c->in.mask_align;
	o.is_deep = true;
	o.box_px = c->o->box_px;
	o.n_threads = c->o->n_threads;
	o.backend = c->o->backend;
	o.max_images = FEW_IMAGES;
	CYC_TRY(c->ops->check(r, &o));
	if (is_clear(r)) goto done;
	cyc_check_result_deinit(r);
	o.max_images = MANY_IMAGES;
	CYC_TRY(c->ops->check(r, &o));
done:
	return st;
}

static const char *word_of(bool can_tell) { return can_tell ? "clear" : "not clear"; }

/* `of_evidence`: hash of the file with the slopes. */
static cyc__hash_text seal_of(const char *word, const char *lines, uint64_t of_evidence)
{
	uint64_t h = cyc_hash_string(cyc_hash_string(CYC_HASH_INIT, word), lines);
	return cyc__hash_format(cyc_hash(h, &of_evidence, sizeof of_evidence));
}

/* The record: findings, one a line; the first line holds whether the images gave a clear answer, and a
 * hash of that, the other lines and the file with the slopes, which is there already. */
static cyc_status write_record(const char *path, const char *evidence, const cyc_check_result *r)
{
	cyc_status st = CYC_OK;
	cyc_text_stream lines = { 0 };
	char *text = NULL;
	uint64_t of_evidence;
	const char *word = word_of(is_clear(r));
	CYC_TRY(cyc_hash_file(&of_evidence, evidence));
	CYC_TRY(cyc_text_stream_open(&lines));
	for (int32_t i = 0; i < r->found.n; i++) {
		if (r->found.items[i].level == CYC_FINDING_NOTE) continue;
		CYC_TRY(cyc_finding_text(&text, &r->found.items[i]));
		fprintf(lines.f, "%s\n", text);
		cyc_free(text);
		text = NULL;
	}
	CYC_TRY(cyc_text_stream_finish(&lines));
	CYC_TRY(cyc_asprintf(&text, "%s %s\n%s", word, seal_of(word, lines.text, of_evidence).text, lines.text));
	CYC_TRY(cyc_write_file(path, text, strlen(text)));
done:
	cyc_text_stream_deinit(&lines);
	cyc_free(text);
	return st;
}

/* Slopes that the images show, for the page. */
static cyc_status write_evidence(const char *path, const cyc_check_result *r)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	cyc_star_block *b;
	int64_t row;
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(cyc_star_set_comment(s, "Hand and doses of the tables compared with the images "
	                                "(docs/theory/09-evidence.md): slopes that should be 1,\n"
	                                "with standard errors; an error of -1 means unknown.\n"));
	CYC_TRY(cyc_star_add_block(&b, s, "evidence", CYC_STAR_TABLE));
	for (int32_t i = 0; i < r->n_series; i++) {
		const cyc_series_evidence *e = &r->series[i];
		const double values[4] = { e->hand.value, e->hand.error, e->dose.value, e->dose.error };
		static const char *const LABELS[4] = { CYC_OWN_HAND_SLOPE, CYC_OWN_HAND_SLOPE_ERROR,
			                                   CYC_OWN_DOSE_SLOPE, CYC_OWN_DOSE_SLOPE_ERROR };
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_TOMO_NAME, e->name));
		for (int k = 0; k < 4; k++)
			CYC_TRY(cyc_label_put(b, row, LABELS[k], isfinite(values[k]) ? values[k] : k % 2 ? -1 : 0));
	}
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	return st;
}

/* Whether an intact record exists, with the slopes that it was written with. */
static cyc_status has_record(bool *has, const char *path, const char *evidence, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	size_t n;
	uint64_t of_evidence = 0;
	*has = false;
	if (!s->was_kept || !cyc_path_exists(path)) return CYC_OK;
	CYC_TRY(cyc_read_file(&text, &n, path));
	if (cyc_path_exists(evidence)) CYC_TRY(cyc_hash_file(&of_evidence, evidence));
	for (int is = 0; is < 2 && !*has; is++) {
		const char *word = word_of(is != 0), *lines = strchr(text, '\n');
		size_t k = strlen(word);
		*has = lines && strncmp(text, word, k) == 0 && text[k] == ' ' && (size_t)(lines - text) == k + 17 &&
		       strncmp(text + k + 1, seal_of(word, lines + 1, of_evidence).text, 16) == 0;
	}
	if (!*has)
		cyc_warn("'%s' or '%s' is damaged: the metadata is compared with the images again", path, evidence);
done:
	cyc_free(text);
	return st;
}

static cyc_status tell(bool *clear, const char *path)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	size_t n;
	int n_told = 0;
	CYC_TRY(cyc_read_file(&text, &n, path));
	*clear = strncmp(text, "clear ", 6) == 0;
	for (char *line = strchr(text, '\n'), *end; line && line[1]; line = end) {
		line++;
		end = strchr(line, '\n');
		if (end) *end = '\0';
		cyc_warn("%s", line);
		n_told++;
		if (end) *end = '\n';
	}
	if (n_told > 0)
		cyc_warn("the images contradict the table: 'cyclotomo check --deep --fix' writes a corrected project "
		         "from which to start again");
done:
	cyc_free(text);
	return st;
}

cyc_status cyc__check_metadata(cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc__step *s = &c->steps[c->i_best];
	cyc_check_result r = { 0 };
	char *dir = NULL, *path = NULL, *evidence = NULL;
	bool has = false;
	if (!c->ops->check || c->o->skip_check || c->metadata_is_clear) goto done;
	CYC_TRY(cyc_path_join(&dir, c->o->input.root, s->dir));
	CYC_TRY(cyc_path_join(&path, dir, "metadata.txt"));
	CYC_TRY(cyc_path_join(&evidence, dir, CYC__EVIDENCE));
	CYC_TRY(has_record(&has, path, evidence, s));
	if (!has) {
		unlink(path);
		st = compare(&r, c, s);
		/* A comparison that is impossible (with a coarse reference, say) must not stop a run. */
		if (st == CYC_E_DATA || st == CYC_E_NUMERIC || st == CYC_E_SHAPE) {
			cyc_info("the metadata could not be compared with the images: %s", cyc_error_get()->message);
			cyc_error_clear();
			st = CYC_OK;
			goto done;
		}
		CYC_TRY(st);
		CYC_TRY(write_evidence(evidence, &r));
		CYC_TRY(write_record(path, evidence, &r));
	}
	cyc__listen(s);
	st = tell(&c->metadata_is_clear, path);
	cyc__listen(NULL);
done:
	cyc_check_result_deinit(&r);
	cyc_free(dir);
	cyc_free(path);
	cyc_free(evidence);
	return st;
}

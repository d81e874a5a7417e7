#include "summary/summary.h"

#include "cyclotomo/json.h"
#include "cyclotomo/version.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- verdict */

cyc_status cyc__append_sentence(char **text, const char *more)
{
	cyc_status st = CYC_OK;
	char *longer = NULL;
	CYC_TRY(cyc_asprintf(&longer, "%s%s%s", *text ? *text : "", *text ? " " : "", more));
	cyc_free(*text);
	*text = longer;
done:
	return st;
}

typedef struct {
	int32_t n, n_better, n_same, n_worse_accepted, n_rejected;
} turn_counts;

static turn_counts count_turns(const cyc__cycle *c)
{
	turn_counts t = { 0 };
	for (int32_t i = cyc__first_postprocess(c) + 1; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->kind != CYC__POSTPROCESS || s->n_shells == 0) continue;
		t.n++;
		t.n_better += s->decision == CYC__TURN_BETTER;
		t.n_same += s->decision == CYC__TURN_SAME;
		t.n_worse_accepted += s->decision == CYC__TURN_WORSE_ACCEPTED;
		t.n_rejected += cyc__is_rejected(s->decision);
	}
	return t;
}

static void describe_change(char *out, size_t size, const cyc__step *before, const cyc__step *after,
                            const turn_counts *t)
{
	double gain = after->mean_fsc - before->mean_fsc;
	const char *headline = "Refinement made no significant difference to the half maps:", *remark = "";
	if (t->n_worse_accepted > 0 && gain < 0.0)
		headline = "Refinement made the map worse, and was accepted (--accept-worse):";
	else if (t->n_better > 0) headline = "Refinement improved the map:";
	if (t->n_better > 0 && gain > 0.0 && after->resolution_A > before->resolution_A) {
		remark = " The resolution, a single point where the FSC crosses 0.143, did not improve: the gain is "
				 "at lower resolution.";
	} else if (gain < 0.0 && after->resolution_A < before->resolution_A) {
		remark = " The resolution is a single point where the FSC crosses 0.143, and is misleading here: the "
				 "map lost more at other resolutions.";
	}
	snprintf(out, size, "%s the mean FSC went from %.4f to %.4f, the resolution from %.2f to %.2f Å.%s",
	         headline, before->mean_fsc, after->mean_fsc, before->resolution_A, after->resolution_A, remark);
}

/* The sentence with the overall result. */
static cyc_status add_outcome(char **text, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char sentence[640];
	const cyc__step *first = &c->steps[cyc__first_postprocess(c)], *best = &c->steps[c->i_best];
	turn_counts t = count_turns(c);
	if (cyc__are_halves_suspect(best)) {
		snprintf(sentence, sizeof sentence,
		         "The half maps are not independent (their last shells correlate by %.3f ± %.3f): FSC, "
		         "resolution and all decisions based on them cannot be trusted. The mean FSC went from %.4f "
		         "to %.4f, the resolution from %.2f to %.2f Å.",
		         best->edge_fsc, best->edge_fsc_error, first->mean_fsc, best->mean_fsc, first->resolution_A,
		         best->resolution_A);
	} else if (t.n == 0) {
		snprintf(sentence, sizeof sentence,
		         "Nothing has been refined yet: the map is that of the input metadata, with a mean FSC of "
		         "%.4f and a resolution of %.2f Å.",
		         first->mean_fsc, first->resolution_A);
	} else if (best == first) {
		snprintf(sentence, sizeof sentence,
		         "Refinement did not help: %s worse, and the result is the map of the input metadata, with a "
		         "mean FSC of %.4f and a resolution of %.2f Å.",
		         t.n == 1 ? "what was tried is" : "everything tried is", first->mean_fsc,
		         first->resolution_A);
	} else {
		describe_change(sentence, sizeof sentence, first, best, &t);
	}
	CYC_TRY(cyc__append_sentence(text, sentence));
done:
	return st;
}

cyc_status cyc__verdict(char **out, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *text = NULL, sentence[640];
	turn_counts t = count_turns(c);
	CYC_TRY(add_outcome(&text, c));
	if (t.n_same > 0 && t.n > 1) {
		snprintf(sentence, sizeof sentence,
		         "%d of %d refinements made no significant difference and %s accepted.", t.n_same, t.n,
		         t.n_same == 1 ? "was" : "were");
		CYC_TRY(cyc__append_sentence(&text, sentence));
	}
	for (int32_t i = 0; t.n_rejected > 0 && i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->kind != CYC__POSTPROCESS || !cyc__is_rejected(s->decision)) continue;
		snprintf(sentence, sizeof sentence,
		         "The refinement judged in %s was worse (mean FSC %s, %.2f Å) and was rejected.", s->name,
		         cyc__difference_format(s).text, s->resolution_A);
		CYC_TRY(cyc__append_sentence(&text, sentence));
	}
	CYC_TRY(cyc__add_findings_to_verdict(&text, c));
	if (!c->in.mask_fsc)
		CYC_TRY(cyc__append_sentence(
			&text,
			"Without a mask the FSC includes the noise around the particle: the true resolution is better."));
	CYC_TRY(cyc__append_sentence(
		&text,
		"The FSC compares the two half maps with each other; errors common to both are not detected."));
	*out = text;
	text = NULL;
done:
	cyc_free(text);
	return st;
}

/* ---------------------------------------------------------------- CTF before and after */

static double tilt_angle_deg(const cyc_tilt *t, int32_t i_tilt)
{
	if (t->has_angles) return cyc_rad_to_deg(t->ytilt_rad);
	if (t->has_nominal_tilt) return cyc_rad_to_deg(t->nominal_tilt_rad);
	/* The depth axis of the image in the tomogram. */
	if (t->has_matrix) return cyc_rad_to_deg(asin(fmax(-1.0, fmin(1.0, t->matrix[2][0]))));
	return (double)i_tilt;
}

static cyc_status series_init(cyc__ctf_series *s, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	s->name = ts->name;
	s->n = ts->n_tilts;
	CYC_TRY(cyc_alloc(&s->tilt_deg, s->n, sizeof(double)));
	for (int k = 0; k < 2; k++) {
		CYC_TRY(cyc_alloc(&s->defocus_um[k], s->n, sizeof(double)));
		CYC_TRY(cyc_alloc(&s->scale[k], s->n, sizeof(double)));
	}
	CYC_TRY(cyc_alloc(&s->defocus_error_um, s->n, sizeof(double)));
	CYC_TRY(cyc_alloc(&s->scale_error, s->n, sizeof(double)));
	for (int32_t i = 0; i < s->n; i++) {
		const cyc_tilt *t = &ts->tilts[i];
		s->tilt_deg[i] = tilt_angle_deg(t, i);
		s->defocus_um[0][i] = 0.5 * (t->defocus_u_A + t->defocus_v_A) / 1e4;
		s->scale[0][i] = t->scale;
		s->defocus_um[1][i] = s->scale[1][i] = s->defocus_error_um[i] = s->scale_error[i] = CYC_NAN;
	}
done:
	return st;
}

/* Straight from the table: reading the whole set again would repeat its warnings. */
static cyc_status read_after(cyc__ctf_series *s, const cyc_star_block *global, const char *root)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_star *star = NULL;
	const char *file = NULL;
	for (int64_t i = 0; i < cyc_star_n_rows(global) && !file; i++) {
		const char *name = cyc_star_text_of(global, i, CYC_RLN_TOMO_NAME);
		if (name && strcmp(name, s->name) == 0)
			file = cyc_star_text_of(global, i, CYC_RLN_TOMO_TILT_SERIES_STAR_FILE);
	}
	if (!file) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, root, file));
	CYC_TRY(cyc_star_read(&star, path));
	const cyc_star_block *b = cyc_star_block_at(star, 0);
	for (int32_t i = 0; b && i < s->n && i < cyc_star_n_rows(b); i++) {
		double u, v;
		CYC_TRY(cyc_star_double_of(&u, b, i, CYC_RLN_DEFOCUS_U));
		CYC_TRY(cyc_star_double_of(&v, b, i, CYC_RLN_DEFOCUS_V));
		CYC_TRY(cyc_star_double_or(&s->scale[1][i], b, i, CYC_RLN_CTF_SCALEFACTOR, 1.0));
		s->defocus_um[1][i] = 0.5 * (u + v) / 1e4;
	}
done:
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

/*
 * A standard error of uncertainty.star: NaN where it is not known, as of an excluded tilt or of what was not
 * refined (-1; "none" in older files), and where the column is missing.
 */
static cyc_status error_of(double *out, const cyc_star_block *b, int64_t row, const char *label)
{
	const char *text = cyc_star_text_of(b, row, label);
	*out = CYC_NAN;
	if (!text || strcmp(text, "none") == 0) return CYC_OK;
	cyc_status st = cyc_star_double_of(out, b, row, label);
	if (st == CYC_OK && *out < 0) *out = CYC_NAN;
	return st;
}

/* Standard errors from uncertainty.star; a series that is not in it has none. */
static cyc_status read_errors(cyc__ctf_series *s, const cyc_star *uncertainty)
{
	cyc_status st = CYC_OK;
	const cyc_star_block *b = cyc_star_find(uncertainty, s->name);
	for (int32_t i = 0; b && i < s->n && i < cyc_star_n_rows(b); i++) {
		double error_A;
		CYC_TRY(error_of(&error_A, b, i, CYC_OWN_DEFOCUS_ERROR_ANGST));
		CYC_TRY(error_of(&s->scale_error[i], b, i, CYC_OWN_SCALE_ERROR));
		s->defocus_error_um[i] = error_A / 1e4;
		s->has_errors = s->has_errors || isfinite(error_A) || isfinite(s->scale_error[i]);
	}
done:
	return st;
}

/* The refinement to show, and whether its turn was accepted. */
const cyc__step *cyc__shown_ctf_refinement(const cyc__cycle *c, bool *is_taken)
{
	const cyc__step *shown = NULL;
	*is_taken = false;
	for (int32_t i = 0; i < c->n_steps; i++) {
		if (c->steps[i].kind != CYC__CTFREFINE || !cyc__pairs_get(&c->steps[i].outputs, "tomograms"))
			continue;
		bool taken = false;
		for (int32_t k = i + 1; k < c->n_steps && c->steps[k].i_turn == c->steps[i].i_turn; k++) {
			taken = taken || cyc__is_accepted(c->steps[k].decision);
		}
		if (taken || !*is_taken) shown = &c->steps[i];
		*is_taken = *is_taken || taken;
	}
	return shown;
}

cyc_status cyc__ctf_summary_read(cyc__ctf_summary *out, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_star *star = NULL, *uncertainty = NULL;
	cyc_star_block *global;
	*out = (cyc__ctf_summary){ 0 };
	out->step = cyc__shown_ctf_refinement(c, &out->is_taken);
	if (!out->step) return CYC_OK;
	const char *errors = cyc__pairs_get(&out->step->outputs, "standard errors");
	if (errors) {
		CYC_TRY(cyc_path_join(&path, c->o->input.root, errors));
		CYC_TRY(cyc_star_read(&uncertainty, path));
		cyc_free(path);
		path = NULL;
	}
	CYC_TRY(cyc_path_join(&path, c->o->input.root, cyc__pairs_get(&out->step->outputs, "tomograms")));
	CYC_TRY(cyc_star_read(&star, path));
	CYC_TRY(cyc_star_require(&global, star, "global"));
	CYC_TRY(cyc_alloc(&out->series, c->in.tomograms->n_series, sizeof *out->series));
	for (int32_t i = 0; i < c->in.tomograms->n_series; i++) {
		if (c->in.series[i].n_particles == 0) continue;
		out->n++;
		CYC_TRY(series_init(&out->series[out->n - 1], &c->in.tomograms->series[i]));
		CYC_TRY(read_after(&out->series[out->n - 1], global, c->o->input.root));
		if (uncertainty) CYC_TRY(read_errors(&out->series[out->n - 1], uncertainty));
	}
done:
	cyc_star_destroy(&star);
	cyc_star_destroy(&uncertainty);
	cyc_free(path);
	return st;
}

void cyc__ctf_summary_deinit(cyc__ctf_summary *s)
{
	for (int32_t i = 0; i < s->n; i++) {
		cyc_free(s->series[i].tilt_deg);
		cyc_free(s->series[i].defocus_error_um);
		cyc_free(s->series[i].scale_error);
		for (int k = 0; k < 2; k++) {
			cyc_free(s->series[i].defocus_um[k]);
			cyc_free(s->series[i].scale[k]);
		}
	}
	cyc_free(s->series);
	*s = (cyc__ctf_summary){ 0 };
}

/* ---------------------------------------------------------------- summary.json */

static void put_figure(cyc_json *j, const char *name, double v)
{
	if (isfinite(v)) cyc_json_double(j, name, v);
}

static void put_step(cyc_json *j, const cyc__step *s)
{
	cyc_json_begin_object(j, NULL);
	cyc_json_text(j, "job", s->name);
	cyc_json_text(j, "what", cyc__kind_get(s->kind)->what);
	cyc_json_int(j, "turn", s->i_turn);
	cyc_json_text(j, "input_set", s->input_set && s->input_set[0] ? s->input_set : NULL);
#define PUT_FIGURE(name) put_figure(j, #name, s->name);
	CYC__STEP_FIGURES(PUT_FIGURE)
#undef PUT_FIGURE
	if (s->kind == CYC__POSTPROCESS) cyc_json_text(j, "decision", cyc__decision_text(s->decision));
	cyc_json_begin_object(j, "outputs");
	for (int32_t i = 0; i < s->outputs.n; i++)
		cyc_json_text(j, s->outputs.items[i].name, s->outputs.items[i].value);
	cyc_json_end_object(j);
	if (s->n_shells > 0) {
		cyc_json_doubles(j, "fsc", s->fsc, s->n_shells);
		cyc_json_doubles(j, "fsc_unmasked", s->fsc_unmasked, s->n_shells);
	}
	cyc_json_end_object(j);
}

static void put_state(cyc_json *j, const char *key, const cyc__step *s)
{
	cyc_json_begin_object(j, key);
	cyc_json_text(j, "job", s->name);
	cyc_json_double(j, "resolution_A", s->resolution_A);
	cyc_json_double(j, "mean_fsc", s->mean_fsc);
	cyc_json_text(j, "map", cyc__pairs_get(&s->outputs, "sharpened map"));
	cyc_json_text(j, "optimisation_set", s->output_set);
	cyc_json_end_object(j);
}

static void put_ctf(cyc_json *j, const cyc__ctf_summary *ctf)
{
	if (!ctf->step) return;
	cyc_json_begin_object(j, "ctf");
	cyc_json_text(j, "job", ctf->step->name);
	cyc_json_bool(j, "is_taken", ctf->is_taken);
	cyc_json_begin_array(j, "series");
	for (int32_t i = 0; i < ctf->n; i++) {
		const cyc__ctf_series *s = &ctf->series[i];
		cyc_json_begin_object(j, NULL);
		cyc_json_text(j, "name", s->name);
		cyc_json_doubles(j, "tilt_deg", s->tilt_deg, s->n);
		cyc_json_doubles(j, "defocus_before_um", s->defocus_um[0], s->n);
		cyc_json_doubles(j, "defocus_after_um", s->defocus_um[1], s->n);
		if (s->has_errors) cyc_json_doubles(j, "defocus_error_um", s->defocus_error_um, s->n);
		cyc_json_doubles(j, "scale_before", s->scale[0], s->n);
		cyc_json_doubles(j, "scale_after", s->scale[1], s->n);
		if (s->has_errors) cyc_json_doubles(j, "scale_error", s->scale_error, s->n);
		cyc_json_end_object(j);
	}
	cyc_json_end_array(j);
	cyc_json_end_object(j);
}

cyc_status cyc__summary_json(char **out, const cyc__cycle *c, const char *verdict)
{
	cyc_status st = CYC_OK;
	cyc_json j = { 0 };
	cyc__ctf_summary ctf = { 0 };
	CYC_TRY(cyc__ctf_summary_read(&ctf, c));
	cyc_json_begin_object(&j, NULL);
	cyc_json_text(&j, "program", "cyclotomo");
	cyc_json_text(&j, "version", CYCLOTOMO_VERSION);
	cyc_json_text(&j, "run", c->o->out_dir);
	cyc_json_text(&j, "verdict", verdict);
	put_state(&j, "before", &c->steps[cyc__first_postprocess(c)]);
	put_state(&j, "after", &c->steps[c->i_best]);
	cyc_json_int(&j, "n_particles", cyc__inputs_n_particles(&c->in, c->o));
	cyc_json_int(&j, "n_duplicates", c->in.duplicates.n_across);
	cyc_json_int(&j, "n_duplicates_left_out", c->in.particles->n - cyc__inputs_n_particles(&c->in, c->o));
	cyc_json_double(&j, "pixel_size_A", c->in.pixel_size_A);
	cyc_json_int(&j, "map_size_px", c->in.crop_px);
	cyc_json_double(&j, "shell_width_invA", 1.0 / (c->in.crop_px * c->in.pixel_size_A));
	cyc_json_begin_array(&j, "steps");
	for (int32_t i = 0; i < c->n_steps; i++) put_step(&j, &c->steps[i]);
	cyc_json_end_array(&j);
	put_ctf(&j, &ctf);
	CYC_TRY(cyc__put_findings_json(&j, c));
	/* The one part that differs from run to run. */
	cyc_json_begin_object(&j, "timing_s");
	for (int32_t i = 0; i < c->n_steps; i++) cyc_json_double(&j, c->steps[i].name, c->steps[i].seconds);
	cyc_json_end_object(&j);
	cyc_json_end_object(&j);
	CYC_TRY(cyc_json_finish(out, &j));
done:
	cyc_json_deinit(&j);
	cyc__ctf_summary_deinit(&ctf);
	return st;
}

static cyc_status write_in_run(const cyc__cycle *c, const char *name, const char *text)
{
	cyc_status st = CYC_OK;
	char *dir = NULL, *path = NULL;
	CYC_TRY(cyc_path_join(&dir, c->o->input.root, c->o->out_dir));
	CYC_TRY(cyc_path_join(&path, dir, name));
	CYC_TRY(cyc_write_file(path, text, strlen(text)));
done:
	cyc_free(dir);
	cyc_free(path);
	return st;
}

cyc_status cyc__summary_write(const cyc__cycle *c, const char *verdict)
{
	cyc_status st = CYC_OK;
	char *json = NULL, *html = NULL;
	if (c->i_best >= 0) CYC_TRY(cyc__summary_json(&json, c, verdict));
	CYC_TRY(cyc__summary_html(&html, c, verdict));
	if (json) CYC_TRY(write_in_run(c, "summary.json", json));
	CYC_TRY(write_in_run(c, "summary.html", html));
done:
	cyc_free(json);
	cyc_free(html);
	return st;
}

#include "run/step.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const cyc__kind_names NAMES[CYC__N_KINDS] = {
	[CYC__RECONSTRUCT] = { "Reconstruct", "relion.reconstructparticletomo", "half maps and merged map",
	                       &cyc_reconstruct_table },
	[CYC__POSTPROCESS] = { "PostProcess", "relion.postprocess", "FSC, resolution, sharpened map",
	                       &cyc_postprocess_table },
	[CYC__CTFREFINE] = { "CtfRefine", "relion.ctfrefinetomo", "defocus, astigmatism, contrast scale",
	                     &cyc_ctfrefine_table },
	[CYC__POLISH] = { "Polish", "relion.framealigntomo", "tilt geometry, positions, motion",
	                  &cyc_polish_table },
	[CYC__REFINE3D] = { "Refine3D", "relion.refine3d.tomo", "orientations and positions",
	                    &cyc_refine3d_table },
};

const cyc__kind_names *cyc__kind_get(cyc__kind kind) { return &NAMES[kind]; }

cyc_status cyc__step_init(cyc__step *s, const cyc_cycle_options *o, cyc__kind kind, int32_t i_turn,
                          int32_t job)
{
	cyc_status st = CYC_OK;
	*s = (cyc__step){ .kind = kind, .i_turn = i_turn, .job = job, .seconds = CYC_NAN };
#define NOT_APPLICABLE(name) s->name = CYC_NAN;
	CYC__STEP_FIGURES(NOT_APPLICABLE)
#undef NOT_APPLICABLE
	CYC_TRY(cyc_asprintf(&s->name, "%s/job%03d/", NAMES[kind].folder, job));
	CYC_TRY(cyc_path_join(&s->dir, o->in_project ? "" : o->out_dir, s->name));
done:
	return st;
}

void cyc__step_deinit(cyc__step *s)
{
	cyc_free(s->name);
	cyc_free(s->dir);
	cyc_free(s->input_set);
	cyc_free(s->output_set);
	cyc_free(s->judged);
	cyc_free(s->compare_to);
	cyc_free(s->out);
	cyc__pairs_deinit(&s->outputs);
	cyc_file_marks_deinit(&s->files);
	cyc_free(s->fsc);
	cyc_free(s->fsc_unmasked);
	for (int32_t i = 0; i < s->n_warnings; i++) cyc_free(s->warnings[i]);
	cyc_free(s->warnings);
	*s = (cyc__step){ 0 };
}

const char *cyc__decision_text(cyc__decision d)
{
	static const char *const TEXTS[] = { "start", "better: accepted", "no difference: accepted",
		                                 "worse, but accepted (--accept-worse)", "worse: rejected" };
	return TEXTS[d];
}

cyc__difference_text cyc__difference_format(const cyc__step *s)
{
	cyc__difference_text t;
	int decimals = 4;
	/* Two digits of the error. */
	while (decimals < 9 && s->difference_error > 0.0 && s->difference_error * pow(10.0, decimals) < 9.5)
		decimals++;
	snprintf(t.text, sizeof t.text, "%+.*f ± %.*f", decimals, s->difference, decimals, s->difference_error);
	return t;
}

void cyc__tilts_describe(char *text, size_t size, const cyc__step *s)
{
	text[0] = '\0';
	if (!isfinite(s->n_tilts)) return;
	/* Records of earlier versions do not have all of these. */
	if (!isfinite(s->n_confirmed)) {
		snprintf(text, size, "%.0f of %.0f tilts changed by more than two standard errors", s->n_moved,
		         s->n_tilts);
		return;
	}
	const cyc_ctfrefine_result r = {
		.n_tilts = (int64_t)s->n_tilts,
		.n_moved = (int64_t)s->n_moved,
		.n_confirmed = (int64_t)s->n_confirmed,
		.n_from_trend = (int64_t)s->n_from_trend,
		.n_shifted = (int64_t)s->n_shifted,
		.n_bad = (int64_t)s->n_bad,
		.n_at_limit = (int64_t)s->n_at_limit,
		.n_no_particles = (int64_t)s->n_no_particles,
		.n_excluded = (int64_t)s->n_excluded,
		.n_not_asked = (int64_t)s->n_not_asked,
	};
	cyc_ctfrefine_describe(text, size, &r);
}

/* ---------------------------------------------------------------- warnings */

/* A warning of a step; the same one again says nothing new. Memory that is short loses a line of the page, no
 * result. */
static void hear_warning(void *user, cyc_log_level level, const char *text)
{
	cyc__step *s = user;
	char *copy = NULL;
	(void)level;
	if (cyc_strdup(&copy, text) != CYC_OK) return;
	/* One line and one kind of quotes: what a STAR file can hold whatever comes. */
	for (char *at = copy; *at; at++) *at = *at == '"' ? '\'' : (unsigned char)*at < ' ' ? ' ' : *at;
	for (int32_t i = 0; i < s->n_warnings; i++) {
		if (strcmp(s->warnings[i], copy) == 0) {
			cyc_free(copy);
			return;
		}
	}
	if (cyc_realloc(&s->warnings, (size_t)s->n_warnings, (size_t)s->n_warnings + 1, sizeof *s->warnings) ==
	    CYC_OK)
		s->warnings[s->n_warnings++] = copy;
	else cyc_free(copy);
}

void cyc__move_warnings(cyc__step *to, cyc__step *from)
{
	for (int32_t i = 0; i < from->n_warnings; i++) {
		hear_warning(to, CYC_LOG_WARN, from->warnings[i]);
		cyc_free(from->warnings[i]);
	}
	cyc_free(from->warnings);
	from->warnings = NULL;
	from->n_warnings = 0;
}

void cyc__listen(cyc__step *s) { cyc_log_set_warning_listener(s ? hear_warning : NULL, s); }

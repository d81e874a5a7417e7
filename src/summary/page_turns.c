/* One row per refinement, and the jobs behind them. */
#include "summary/page.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- refinements */

static const char *decision_class(cyc__decision d)
{
	return d == CYC__TURN_BETTER ? "good" : cyc__is_rejected(d) ? "bad" : d == CYC__TURN_START ? "" : "same";
}

static void append(char *text, size_t size, const char *format, double v)
{
	size_t n = strlen(text);
	if (!isfinite(v)) return;
	snprintf(text + n, size - n, "%s", n ? "; " : "");
	n = strlen(text);
	snprintf(text + n, size - n, format, v);
}

/* What a refinement changed, in a line. */
static void describe(char *text, size_t size, const cyc__step *s)
{
	text[0] = '\0';
	if (s->kind == CYC__POLISH) {
		if (isfinite(s->n_improved))
			snprintf(text, size, "%.0f of %.0f tilt series agree better with held-out images", s->n_improved,
			         s->n_series);
		append(text, size, "shifts changed by %.2f Å", s->shift_change_rms_A);
		append(text, size, "positions by %.2f Å", s->position_change_rms_A);
		append(text, size, "motion %.2f Å (RMS per axis)", s->motion_rms_A);
	} else if (s->kind == CYC__CTFREFINE) {
		cyc__tilts_describe(text, size, s);
		append(text, size, "defocus changed by %.0f Å RMS", s->defocus_change_rms_A);
		append(text, size, "scale by %.3f", s->scale_change_rms);
	} else if (s->kind == CYC__REFINE3D) {
		append(text, size, "standard errors: orientations %.2f°", s->rotation_error_deg);
		append(text, size, "positions %.2f Å (median, three axes combined)", s->offset_error_A);
		append(text, size, s->n_iterations > 1 ? "%.0f iterations" : "%.0f iteration", s->n_iterations);
		if (s->n_improbable > 0) append(text, size, "%.0f picks probably not the particle", s->n_improbable);
		if (s->n_found_again > 0) append(text, size, "%.0f found again at another pose", s->n_found_again);
	}
}

static double turn_seconds(const cyc__cycle *c, int32_t i_turn)
{
	double sum = 0;
	for (int32_t i = 0; i < c->n_steps; i++)
		if (c->steps[i].i_turn == i_turn) sum += c->steps[i].seconds;
	return sum;
}

static void put_turn(FILE *f, const cyc__cycle *c, const cyc__step *s)
{
	const cyc__step *r = cyc__refinement_of_turn(c, s->i_turn);
	char name[80], what[400];
	cyc__name_state(name, sizeof name, c, s);
	fputs("<tr><th scope=\"row\">", f);
	if (!r) fputs("Start<small>input metadata</small>", f);
	else {
		describe(what, sizeof what, r);
		fprintf(f, "%s%s<small>", cyc__refinement_name(r->kind),
		        strpbrk(name, "0123456789") ? strrchr(name, ' ') : "");
		cyc__put_escaped(f, cyc__kind_get(r->kind)->what);
		fputs("</small>", f);
		if (what[0]) {
			fputs("<small>", f);
			cyc__put_escaped(f, what);
			fputs("</small>", f);
		}
	}
	fputs("</th>", f);
	bool has_fsc = s->n_shells > 0;
	cyc__put_number_cell(f, "%.2f", has_fsc ? s->resolution_A : CYC_NAN);
	cyc__put_number_cell(f, "%.4f", has_fsc ? s->mean_fsc : CYC_NAN);
	fprintf(f, "<td class=\"n\">%s</td>", isfinite(s->difference) ? cyc__difference_format(s).text : "");
	fprintf(f, "<td><span class=\"tag %s\">%s</span></td><td class=\"n\">", decision_class(s->decision),
	        cyc__decision_text(s->decision));
	cyc__put_duration(f, turn_seconds(c, s->i_turn));
	fputs("</td></tr>\n", f);
}

cyc_status cyc__put_refinements(const cyc__page *p)
{
	static const char *const COLUMNS[] = { "Refinement", "=Resolution (Å)", "=Mean FSC",
		                                   "=Change",    "Decision",        "=Time" };
	FILE *f = p->f;
	fputs("<section id=\"refinements\"><h2>Refinements</h2>\n", f);
	cyc__begin_table(f, "Effect of each refinement on the map", COLUMNS, 6);
	for (int32_t i = 0; i < p->c->n_steps; i++)
		if (p->c->steps[i].kind == CYC__POSTPROCESS && p->c->steps[i].n_shells > 0)
			put_turn(f, p->c, &p->c->steps[i]);
	cyc__end_table(f);
	fputs("<p class=\"note\">Mean FSC: mean over all shells up to Nyquist of the FSC of the half maps, "
	      "corrected for the mask. Its change from the state before, with its standard error, decides: a "
	      "change of two standard errors or more is called better or worse, and worse is rejected. The "
	      "resolution is the single point where the FSC falls below 0.143, and changes in steps of whole "
	      "shells. Times include the reconstruction and post-processing after the refinement.</p>\n",
	      f);
	return CYC_OK;
}

/* ---------------------------------------------------------------- jobs */

static cyc_status put_job(FILE *f, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	static const char *const ALWAYS[] = { "note.txt", "job.star", "run.json" };
	fputs("<tr><th scope=\"row\">", f);
	CYC_TRY(cyc__put_link(f, c, s->dir, s->name));
	fprintf(f, "</th><td>%s</td><td class=\"n\">", cyc__kind_get(s->kind)->what);
	cyc__put_duration(f, s->seconds);
	fputs("</td><td class=\"files\">", f);
	for (int32_t i = 0; i < s->outputs.n; i++) {
		CYC_TRY(cyc__put_link(f, c, s->outputs.items[i].value, s->outputs.items[i].name));
		fputs(" · ", f);
	}
	for (size_t i = 0; i < sizeof ALWAYS / sizeof *ALWAYS; i++) {
		CYC_TRY(cyc_path_join(&path, s->dir, ALWAYS[i]));
		CYC_TRY(cyc__put_link(f, c, path, ALWAYS[i]));
		if (i + 1 < sizeof ALWAYS / sizeof *ALWAYS) fputs(" · ", f);
		cyc_free(path);
		path = NULL;
	}
	fputs("</td></tr>\n", f);
done:
	cyc_free(path);
	return st;
}

cyc_status cyc__put_jobs(const cyc__page *p)
{
	cyc_status st = CYC_OK;
	static const char *const COLUMNS[] = { "Job", "What", "=Time", "Files" };
	const cyc__cycle *c = p->c;
	fprintf(p->f, "<details><summary>All %d jobs and their files</summary>\n", c->n_steps);
	cyc__begin_table(p->f, "Jobs of the run", COLUMNS, 4);
	for (int32_t i = 0; i < c->n_steps; i++) CYC_TRY(put_job(p->f, c, &c->steps[i]));
	cyc__end_table(p->f);
	fputs("</details></section>\n", p->f);
done:
	return st;
}

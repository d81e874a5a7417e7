#include "summary.h"

#include "cyclotomo/report.h"
#include "cyclotomo/version.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Figures of this many series are open; those of more are folded. */
enum { N_OPEN = 6 };

static const char STYLE[] =
	"body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:60rem;margin:2rem "
	"auto;padding:0 1rem}"
	"h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem}"
	"table{border-collapse:collapse;font-size:.92rem}td,th{padding:.25rem "
	".7rem;text-align:left;border-bottom:1px solid #ddd}"
	"td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.9em;background:#f4f4f4;"
	"padding:.1em .3em}"
	".verdict{font-size:1.1rem;border-left:.3rem solid #2a6fb0;padding:.4rem 1rem;background:#f3f7fb}"
	".warn{border-left:.3rem solid #c77700;padding:.4rem "
	"1rem;background:#fdf6ea}.muted{color:#666;font-size:.9rem}"
	"svg,img{max-width:100%;height:auto}figure{margin:1rem 0}";

void cyc__put_escaped(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == '&') fputs("&amp;", f);
		else if (*s == '<') fputs("&lt;", f);
		else if (*s == '>') fputs("&gt;", f);
		else if (*s == '"') fputs("&quot;", f);
		else fputc(*s, f);
	}
}

/* ---------------------------------------------------------------- figures */

static cyc_status put_fsc(FILE *f, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc_plot_series *series = NULL;
	double *x = NULL;
	char *svg = NULL;
	int32_t n = 0, n_shells = c->steps[cyc__first_postprocess(c)].n_shells;
	char(*labels)[96] = NULL;
	CYC_TRY(cyc_alloc(&series, c->n_steps, sizeof *series));
	CYC_TRY(cyc_alloc(&labels, c->n_steps, sizeof *labels));
	CYC_TRY(cyc_alloc(&x, n_shells, sizeof *x));
	for (int32_t i = 0; i < n_shells; i++) x[i] = i / (c->in.crop_px * c->in.pixel_size_A);
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->n_shells != n_shells) continue;
		snprintf(labels[n], sizeof labels[n], "%.*s, %.2f Å%s", (int)strlen(s->name) - 1, s->name,
		         s->resolution_A, cyc__is_rejected(s->decision) ? " (rejected)" : "");
		series[n] = (cyc_plot_series){ .label = labels[n],
			                           .n = n_shells,
			                           .x = x,
			                           .y = s->fsc,
			                           .style = CYC_PLOT_LINE,
			                           .is_dashed = cyc__is_rejected(s->decision),
			                           .colour = -1 };
		n++;
	}
	cyc_plot plot = { .title = c->in.mask_fsc ? "FSC of the half maps, corrected for the mask"
		                                      : "FSC of the half maps, without mask",
		              .x_label = "spatial frequency (1/Å)",
		              .y_label = "FSC",
		              .y_min = -0.1,
		              .y_max = 1.05,
		              .x_is_inverse_A = true,
		              .h_line = 0.143,
		              .h_line_label = "0.143",
		              .n_series = n,
		              .series = series };
	CYC_TRY(cyc_plot_svg(&svg, &plot, 1));
	fprintf(f, "<figure>%s</figure>\n", svg);
done:
	cyc_free(series);
	cyc_free(labels);
	cyc_free(x);
	cyc_free(svg);
	return st;
}

/* Slices through the sharpened map of a step. */
static cyc_status put_slices(FILE *f, const cyc__cycle *c, const cyc__step *s, const char *caption)
{
	cyc_status st = CYC_OK;
	enum { EDGE_PX = 300 };
	const char *map = cyc__pairs_get(&s->outputs, "sharpened map, masked");
	char *path = NULL, *uri = NULL;
	cyc_volume *v = NULL;
	if (!map) map = cyc__pairs_get(&s->outputs, "sharpened map");
	if (!map) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, c->o->input.root, map));
	CYC_TRY(cyc_mrc_read_map(&v, path));
	CYC_TRY(cyc_slices_data_uri(&uri, v, EDGE_PX));
	fprintf(f, "<figure><img alt=\"central slices of %s\" src=\"%s\"><figcaption>%s: <code>", caption, uri,
	        caption);
	cyc__put_escaped(f, map);
	fputs("</code></figcaption></figure>\n", f);
done:
	cyc_volume_destroy(&v);
	cyc_free(path);
	cyc_free(uri);
	return st;
}

static cyc_status put_maps(FILE *f, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	int32_t i_first = cyc__first_postprocess(c);
	fputs("<h2>Maps</h2>\n<p>Central slices of the sharpened map, along z, y and x.</p>\n", f);
	CYC_TRY(put_slices(f, c, &c->steps[i_first], c->i_best == i_first ? "result" : "before"));
	if (c->i_best != i_first) CYC_TRY(put_slices(f, c, &c->steps[c->i_best], "after"));
done:
	return st;
}

static int by_tilt(const void *a, const void *b)
{
	const double *p = a, *q = b;
	return (p[0] > q[0]) - (p[0] < q[0]);
}

/* Rows sorted by tilt angle, as columns: tilt, defocus before, after, its error, scale before, after, its
 * error. */
static cyc_status sorted_columns(double **out, const cyc__ctf_series *s)
{
	cyc_status st = CYC_OK;
	enum { N = 7 };
	double *rows = NULL, *columns = NULL;
	CYC_TRY(cyc_alloc(&rows, (int64_t)s->n * N, sizeof *rows));
	CYC_TRY(cyc_alloc(&columns, (int64_t)s->n * N, sizeof *columns));
	for (int32_t i = 0; i < s->n; i++) {
		const double row[N] = { s->tilt_deg[i],         s->defocus_um[0][i], s->defocus_um[1][i],
			                    s->defocus_error_um[i], s->scale[0][i],      s->scale[1][i],
			                    s->scale_error[i] };
		memcpy(rows + (size_t)N * (size_t)i, row, sizeof row);
	}
	qsort(rows, (size_t)s->n, N * sizeof *rows, by_tilt);
	for (int32_t i = 0; i < s->n; i++) {
		for (int k = 0; k < N; k++)
			columns[(size_t)k * (size_t)s->n + (size_t)i] = rows[(size_t)N * (size_t)i + (size_t)k];
	}
	*out = columns;
	columns = NULL;
done:
	cyc_free(rows);
	cyc_free(columns);
	return st;
}

static cyc_status put_series(FILE *f, const cyc__ctf_series *s, const cyc__ctf_summary *ctf, bool is_open)
{
	cyc_status st = CYC_OK;
	double *v = NULL;
	char *svg = NULL;
	const char *after = ctf->is_taken ? "refined" : "refined, rejected";
	CYC_TRY(sorted_columns(&v, s));
	size_t n = (size_t)s->n;
	const cyc_plot_series defocus[] = {
		{ .label = "as given",
		  .n = s->n,
		  .x = v,
		  .y = v + n,
		  .style = CYC_PLOT_LINE_POINTS,
		  .colour = -1,
		  .is_dashed = true },
		{ .label = after,
		  .n = s->n,
		  .x = v,
		  .y = v + 2 * n,
		  .y_error = s->has_errors ? v + 3 * n : NULL,
		  .style = CYC_PLOT_LINE_POINTS,
		  .colour = -1 },
	};
	const cyc_plot_series scale[] = {
		{ .label = "as given",
		  .n = s->n,
		  .x = v,
		  .y = v + 4 * n,
		  .style = CYC_PLOT_LINE_POINTS,
		  .colour = -1,
		  .is_dashed = true },
		{ .label = after,
		  .n = s->n,
		  .x = v,
		  .y = v + 5 * n,
		  .y_error = s->has_errors ? v + 6 * n : NULL,
		  .style = CYC_PLOT_LINE_POINTS,
		  .colour = -1 },
	};
	const cyc_plot plots[] = {
		{ .title = s->name,
		  .x_label = "tilt (degrees)",
		  .y_label = "mean defocus (µm)",
		  .h_line = CYC_NAN,
		  .n_series = 2,
		  .series = defocus },
		{ .title = "",
		  .x_label = "tilt (degrees)",
		  .y_label = "contrast scale",
		  .h_line = CYC_NAN,
		  .n_series = 2,
		  .series = scale },
	};
	CYC_TRY(cyc_plot_svg(&svg, plots, 2));
	fprintf(f, "<details%s><summary>", is_open ? " open" : "");
	cyc__put_escaped(f, s->name);
	fprintf(f, "</summary><figure>%s</figure></details>\n", svg);
done:
	cyc_free(v);
	cyc_free(svg);
	return st;
}

static cyc_status put_ctf(FILE *f, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc__ctf_summary ctf = { 0 };
	CYC_TRY(cyc__ctf_summary_read(&ctf, c));
	if (!ctf.step) goto done;
	fprintf(f, "<h2>Defocus and contrast scale</h2>\n<p>Before the run, and after <code>");
	cyc__put_escaped(f, ctf.step->dir);
	fprintf(f,
	        "</code>%s. %.0f of %.0f tilts moved by more than chance; %.0f have little evidence of their own "
	        "and follow the others or stay. Bars are standard errors.</p>\n",
	        ctf.is_taken ? "" : ", which was rejected", ctf.step->n_moved, ctf.step->n_tilts,
	        ctf.step->n_flagged);
	for (int32_t i = 0; i < ctf.n; i++)
		CYC_TRY(put_series(f, &ctf.series[i], &ctf, ctf.n <= N_OPEN || i == 0));
done:
	cyc__ctf_summary_deinit(&ctf);
	return st;
}

/* ---------------------------------------------------------------- tables */

static void put_number(FILE *f, const char *format, double v)
{
	char text[40];
	snprintf(text, sizeof text, format, v);
	fprintf(f, "<td class=\"n\">%s</td>", isfinite(v) ? text : "");
}

static void put_steps(FILE *f, const cyc__cycle *c)
{
	fputs("<h2>Steps</h2>\n<table><tr><th>Job</th><th>What</th><th class=\"n\">Resolution (Å)</th><th "
	      "class=\"n\">Mean FSC</th>"
	      "<th class=\"n\">Change</th><th class=\"n\">B-factor (Å²)</th><th>Decision</th></tr>\n",
	      f);
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		bool has_fsc = s->n_shells > 0;
		fputs("<tr><td><code>", f);
		cyc__put_escaped(f, s->name);
		fprintf(f, "</code></td><td>%s</td>", cyc__kind_get(s->kind)->what);
		put_number(f, "%.2f", has_fsc ? s->resolution_A : CYC_NAN);
		put_number(f, "%.4f", has_fsc ? s->mean_fsc : CYC_NAN);
		fprintf(f, "<td class=\"n\">%s</td>",
		        has_fsc && isfinite(s->difference) ? cyc__difference_format(s).text : "");
		put_number(f, "%.0f", has_fsc ? s->bfactor_A2 : CYC_NAN);
		fprintf(f, "<td>%s</td></tr>\n", has_fsc ? cyc__decision_text(s->decision) : "");
	}
	fputs("</table>\n<p class=\"muted\">Mean FSC: mean over all shells, to Nyquist, of the FSC of the half "
	      "maps, corrected for the mask. Its change against the "
	      "state that the turn started from, under the same correction, decides: better or worse is what "
	      "differs by two standard errors or more, and worse is "
	      "rejected. The resolution is the one point where the FSC falls below 0.143 and jumps by whole "
	      "shells.</p>\n",
	      f);
}

/* What each polishing changed. */
static void put_polish(FILE *f, const cyc__cycle *c)
{
	bool is_first = true;
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->kind != CYC__POLISH || !s->output_set) continue;
		if (is_first) {
			fputs("<h2>Polishing</h2>\n<table><tr><th>Job</th><th class=\"n\">Better on held-out "
			      "images</th><th class=\"n\">Shifts, RMS (Å)</th>"
			      "<th class=\"n\">Positions, RMS (Å)</th><th class=\"n\">Motion, RMS (Å)</th></tr>\n",
			      f);
		}
		is_first = false;
		fputs("<tr><td><code>", f);
		cyc__put_escaped(f, s->name);
		fprintf(f, "</code></td><td class=\"n\">%.0f of %.0f tilt series</td>", s->n_improved, s->n_series);
		put_number(f, "%.2f", s->shift_change_rms_A);
		put_number(f, "%.2f", s->position_change_rms_A);
		put_number(f, "%.2f", s->motion_rms_A);
		fputs("</tr>\n", f);
	}
	if (!is_first) {
		fputs("</table>\n<p class=\"muted\">Changes per axis. Figures show them tilt by tilt; each job has "
		      "its own (<code>*_polish.png</code>).</p>\n",
		      f);
	}
}

/* How well each refinement of the orientations knows them. */
static void put_refine3d(FILE *f, const cyc__cycle *c)
{
	bool is_first = true;
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->kind != CYC__REFINE3D || !s->output_set) continue;
		if (is_first) {
			fputs("<h2>Orientations</h2>\n<table><tr><th>Job</th><th class=\"n\">Iterations</th><th "
			      "class=\"n\">Error of orientations (degrees)</th>"
			      "<th class=\"n\">Error of positions (Å)</th><th class=\"n\">Probably not the "
			      "particle</th><th class=\"n\">Found at another pose</th></tr>\n",
			      f);
		}
		is_first = false;
		fputs("<tr><td><code>", f);
		cyc__put_escaped(f, s->name);
		fputs("</code></td>", f);
		put_number(f, "%.0f", s->n_iterations);
		put_number(f, "%.2f", s->rotation_error_deg);
		put_number(f, "%.2f", s->offset_error_A);
		put_number(f, "%.0f", s->n_improbable);
		put_number(f, "%.0f", s->n_found_again);
		fputs("</tr>\n", f);
	}
	if (!is_first)
		fputs(
			"</table>\n<p class=\"muted\">Medians of the standard errors about each axis "
			"(<code>run_uncertainty.star</code>). What is probably not the particle counts little or nothing "
			"from there on (<code>run_improbable.star</code>, <code>--keep-all</code>).</p>\n",
			f);
}

static void put_path(FILE *f, const char *what, const char *path)
{
	if (!path) return;
	fprintf(f, "<tr><td>%s</td><td><code>", what);
	cyc__put_escaped(f, path);
	fputs("</code></td></tr>\n", f);
}

static void put_paths(FILE *f, const cyc__cycle *c)
{
	const cyc__step *best = &c->steps[c->i_best];
	const cyc__pairs *maps = NULL;
	for (int32_t i = 0; i < c->n_steps; i++) {
		if (c->steps[i].kind == CYC__RECONSTRUCT && c->steps[i].i_turn == best->i_turn)
			maps = &c->steps[i].outputs;
	}
	fputs("<h2>What to open next</h2>\n<p>Paths start at the project folder.</p>\n<table>\n", f);
	put_path(f, "sharpened map", cyc__pairs_get(&best->outputs, "sharpened map"));
	put_path(f, "sharpened map, masked", cyc__pairs_get(&best->outputs, "sharpened map, masked"));
	if (maps) {
		put_path(f, "half map 1", cyc__pairs_get(maps, "half map 1"));
		put_path(f, "half map 2", cyc__pairs_get(maps, "half map 2"));
	}
	put_path(f, "FSC and Guinier plots", cyc__pairs_get(&best->outputs, "figures"));
	for (int32_t i = 0; i < c->n_steps; i++)
		put_path(f, "what was refined, tilt by tilt", cyc__pairs_get(&c->steps[i].outputs, "table of tilts"));
	put_path(f, "optimisation set, for the next job", best->output_set);
	fputs("</table>\n", f);
}

static void put_warnings(FILE *f, const cyc__cycle *c)
{
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (cyc__is_rejected(s->decision) && s->n_shells > 0) {
			fprintf(f, "<p class=\"warn\"><code>%s</code> is worse (mean FSC %s): rejected.</p>\n", s->name,
			        cyc__difference_format(s).text);
		}
		if (s->n_images_outside > 0.0) {
			fprintf(
				f, "<p class=\"warn\"><code>%s</code>: %.0f windows of particles %s and were left out.</p>\n",
				s->name, s->n_images_outside,
				c->o->whole_windows ? "lie partly outside of their tilt image (<code>--whole-windows</code>)"
									: "lie so far outside of their tilt image that the particle is cut");
		}
	}
	char duplicates[900];
	cyc__inputs_describe_duplicates(duplicates, sizeof duplicates, &c->in, c->o);
	if (duplicates[0]) {
		fputs("<p class=\"warn\">", f);
		cyc__put_escaped(f, duplicates);
		fputs(".</p>\n", f);
	}
	if (!c->in.mask_fsc) {
		fputs("<p class=\"warn\">No mask was given: the resolution is pessimistic, and references carry the "
		      "noise of the solvent. "
		      "<code>cyclotomo mask</code> makes one.</p>\n",
		      f);
	}
}

cyc_status cyc__summary_html(char **out, const cyc__cycle *c, const char *verdict)
{
	cyc_status st = CYC_OK;
	char *memory = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&memory, &n);
	CYC_CHECK(f, CYC_E_NOMEM, "not enough memory for the summary page");
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
	      "content=\"width=device-width\"><title>",
	      f);
	cyc__put_escaped(f, c->o->out_dir);
	fprintf(f, "</title><style>%s</style></head><body>\n<h1>Cycle ", STYLE);
	cyc__put_escaped(f, c->o->out_dir);
	fprintf(
		f,
		"</h1>\n<p class=\"muted\">%lld particles, %d tilt series, %.4g Å pixels, maps of %d px, symmetry ",
		(long long)cyc__inputs_n_particles(&c->in, c->o), c->in.tomograms->n_series, c->in.pixel_size_A,
		c->in.crop_px);
	cyc__put_escaped(f, c->o->symmetry);
	fprintf(f, ". cyclotomo %s.</p>\n<p class=\"verdict\">", CYCLOTOMO_VERSION);
	cyc__put_escaped(f, verdict);
	fputs("</p>\n", f);
	put_warnings(f, c);
	put_steps(f, c);
	CYC_TRY(cyc__put_findings_html(f, c));
	put_polish(f, c);
	CYC_TRY(cyc__put_polish_figures(f, c, N_OPEN));
	put_refine3d(f, c);
	CYC_TRY(put_fsc(f, c));
	put_paths(f, c);
	CYC_TRY(put_maps(f, c));
	CYC_TRY(cyc__put_directions(f, c));
	CYC_TRY(put_ctf(f, c));
	fputs("</body></html>\n", f);
	CYC_CHECK(!ferror(f) && fflush(f) == 0, CYC_E_NOMEM, "not enough memory for the summary page");
	CYC_TRY(cyc_strdup(out, memory));
done:
	if (f) fclose(f);
	free(memory);
	return st;
}

/* RUN/summary.html: one self-contained page that can be mailed, verdict first. */
#include "summary/page.h"

#include "summary/progress.h"

#include "cyclotomo/version.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REFRESH_S = 15 };

/* ---------------------------------------------------------------- title */

/* Name of the project folder. */
static cyc_status project_name(char **out, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const char *root = c->o->input.root && c->o->input.root[0] ? c->o->input.root : ".";
	char *full = realpath(root, NULL);
	const char *name = full ? strrchr(full, '/') : NULL;
	CYC_TRY(cyc_strdup(out, name && name[1] ? name + 1 : "project"));
done:
	free(full);
	return st;
}

static void put_resolutions(FILE *f, const cyc__page *p, const char *arrow)
{
	const cyc__step *first = &p->c->steps[p->i_first], *best = &p->c->steps[p->i_best];
	if (first == best) fprintf(f, "%.1f Å", best->resolution_A);
	else fprintf(f, "%.1f %s %.1f Å", first->resolution_A, arrow, best->resolution_A);
}

static void put_particle(FILE *f, const cyc__cycle *c)
{
	fprintf(f, "%lld particles of %.0f Å, ", (long long)cyc__inputs_n_particles(&c->in, c->o),
	        c->in.diameter_A);
	cyc__put_escaped(f, c->o->symmetry);
}

static cyc_status put_head(const cyc__page *p, const cyc__progress_view *v)
{
	cyc_status st = CYC_OK;
	FILE *f = p->f;
	char *project = NULL;
	CYC_TRY(project_name(&project, p->c));
	fputs(
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
		"content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\n"
		/* No request for an icon, which would fail. */
		"<link rel=\"icon\" href=\"data:,\">\n",
		f);
	if (v->state == CYC__RUNNING) fprintf(f, "<meta http-equiv=\"refresh\" content=\"%d\">\n", REFRESH_S);
	fputs("<title>", f);
	cyc__put_escaped(f, project);
	fputs(": ", f);
	put_particle(f, p->c);
	fputs(", ", f);
	if (p->i_first >= 0) put_resolutions(f, p, "→");
	else fputs("running", f);
	fputs("</title>\n<style>", f);
	fwrite(cyc__page_css, 1, cyc__page_css_n, f);
	fputs("</style></head><body>\n<header><p class=\"kicker\">cyclotomo refinement cycle · ", f);
	cyc__put_escaped(f, p->c->o->out_dir);
	fputs("</p>\n<h1><span class=\"project\">", f);
	cyc__put_escaped(f, project);
	fputs("</span>", f);
	if (p->i_first >= 0) {
		fputs(": ", f);
		put_resolutions(f, p, "<span class=\"arrow\">→</span>");
	}
	fputs("</h1>\n<p class=\"sub\">", f);
	put_particle(f, p->c);
	fprintf(f, " symmetry; %d tilt series; %.4g Å pixels, maps of %d px · ", p->c->in.tomograms->n_series,
	        p->c->in.pixel_size_A, p->c->in.crop_px);
	cyc__put_instant(f, v->now);
	fprintf(f, " · cyclotomo %s</p>\n", CYCLOTOMO_VERSION);
done:
	cyc_free(project);
	return st;
}

/* ---------------------------------------------------------------- what is going on */

static void put_left(FILE *f, double seconds)
{
	char text[40];
	if (!isfinite(seconds)) return;
	cyc_format_seconds(text, sizeof text, seconds);
	fprintf(f, " About <time datetime=\"PT%.0fS\">%s</time> left.", seconds, text);
}

static void put_running(FILE *f, const cyc__progress_view *v)
{
	if (v->state == CYC__FINISHED) return;
	fprintf(f, "<div class=\"running\" role=\"status\"><p><b>%s</b>",
	        v->state == CYC__RUNNING ? "Running" : "Stopped");
	if (v->step)
		fprintf(f, ": step %d of %d, %s (%s)", v->i_step, v->n_plan, cyc__kind_get(v->step->kind)->what,
		        v->is_at_work              ? "running"
		        : v->state == CYC__RUNNING ? "done"
		                                   : "not finished");
	fputs(".", f);
	if (v->state == CYC__RUNNING) put_left(f, v->left_s);
	fputs("</p>", f);
	if (v->state == CYC__STOPPED) {
		fputs("<p>", f);
		cyc__put_escaped(f, v->message);
		fputs("</p><p>To continue, run the same command again.</p></div>\n", f);
		return;
	}
	fprintf(f, "<progress value=\"%d\" max=\"%d\" aria-label=\"steps done\"></progress><p class=\"note\">",
	        v->i_step, v->n_plan);
	if (v->n_next > 0) fprintf(f, "Next: %s. ", cyc__kind_get(v->next[0].kind)->what);
	fputs("Started ", f);
	cyc__put_instant(f, v->started);
	fprintf(f, "; this page is updated after each step and reloads every %d s.</p></div>\n", REFRESH_S);
}

/* ---------------------------------------------------------------- verdict */

static const char *verdict_class(const cyc__page *p)
{
	const cyc__step *best = &p->c->steps[p->i_best];
	if (cyc__are_halves_suspect(best)) return "bad";
	if (p->i_best == p->i_first) return p->is_finished && p->c->n_steps > 2 ? "warn" : "";
	return best->mean_fsc > p->c->steps[p->i_first].mean_fsc ? "good" : "warn";
}

/* First sentence large, the others below. */
static void put_verdict(FILE *f, const cyc__page *p, const char *verdict)
{
	fprintf(f, "<div class=\"verdict %s\"><p>", verdict_class(p));
	const char *end = strstr(verdict, ". ");
	size_t n = end ? (size_t)(end - verdict) + 1 : strlen(verdict);
	for (size_t i = 0; i < n; i++) {
		const char one[2] = { verdict[i], '\0' };
		cyc__put_escaped(f, one);
	}
	fputs("</p>", f);
	if (end) {
		fputs("<p>", f);
		cyc__put_escaped(f, end + 2);
		fputs("</p>", f);
	}
	fputs("</div>\n", f);
}

static void put_tile(FILE *f, const char *value, const char *what)
{
	fprintf(f, "<li><b>%s</b><span>%s</span></li>", value, what);
}

static void put_tiles(FILE *f, const cyc__page *p)
{
	const cyc__cycle *c = p->c;
	const cyc__step *first = &c->steps[p->i_first], *best = &c->steps[p->i_best];
	char text[120];
	int n_turns = 0, n_accepted = 0;
	double seconds = 0;
	int64_t n_half[2] = { 0 };
	for (int32_t i = 0; i < c->n_steps; i++) {
		if (isfinite(c->steps[i].seconds)) seconds += c->steps[i].seconds;
		if (c->steps[i].kind != CYC__POSTPROCESS || c->steps[i].decision == CYC__TURN_START) continue;
		n_turns++;
		n_accepted += cyc__is_accepted(c->steps[i].decision);
	}
	for (int32_t i = 0; i < c->in.tomograms->n_series; i++)
		for (int h = 0; h < 2; h++) n_half[h] += c->in.series[i].n_half[h];
	fputs("<ul class=\"tiles\">", f);
	if (first != best) snprintf(text, sizeof text, "%.2f → %.2f Å", first->resolution_A, best->resolution_A);
	else snprintf(text, sizeof text, "%.2f Å", best->resolution_A);
	put_tile(f, text, "resolution (FSC 0.143)");
	if (first != best) snprintf(text, sizeof text, "%.3f → %.3f", first->mean_fsc, best->mean_fsc);
	else snprintf(text, sizeof text, "%.3f", best->mean_fsc);
	put_tile(f, text, "mean FSC to Nyquist");
	snprintf(text, sizeof text, "%s%.0f Å²", best->bfactor_A2 < 0 ? "−" : "", fabs(best->bfactor_A2));
	put_tile(f, isfinite(best->bfactor_A2) ? text : "-", "sharpening B-factor");
	snprintf(text, sizeof text, "%lld + %lld", (long long)n_half[0], (long long)n_half[1]);
	put_tile(f, text, "particles in the half-sets");
	snprintf(text, sizeof text, "%d of %d", n_accepted, n_turns);
	put_tile(f, text, "refinements accepted");
	fputs("<li><b>", f);
	cyc__put_duration(f, seconds);
	fputs("</b><span>computing time of the steps</span></li></ul>\n", f);
}

static void put_nav(FILE *f)
{
	static const char *const LINKS[][2] = { { "map", "Map" },
		                                    { "refinements", "Refinements" },
		                                    { "fsc", "FSC" },
		                                    { "tilt-series", "Tilt series" },
		                                    { "particles", "Particles" },
		                                    { "warnings", "Warnings" },
		                                    { "files", "Files" } };
	fputs("<nav aria-label=\"sections\">", f);
	for (size_t i = 0; i < sizeof LINKS / sizeof *LINKS; i++)
		fprintf(f, "<a href=\"#%s\">%s</a>", LINKS[i][0], LINKS[i][1]);
	fputs("</nav>\n", f);
}

/* ---------------------------------------------------------------- files */

static cyc_status put_file(FILE *f, const cyc__cycle *c, const char *what, const char *path)
{
	cyc_status st = CYC_OK;
	if (!path) return CYC_OK;
	fprintf(f, "<tr><th scope=\"row\">%s</th><td>", what);
	CYC_TRY(cyc__put_link(f, c, path, NULL));
	fputs("</td></tr>\n", f);
done:
	return st;
}

static cyc_status put_files(const cyc__page *p)
{
	cyc_status st = CYC_OK;
	static const char *const COLUMNS[] = { "What", "File" };
	static const char *const RUN_FILES[][2] = { { "the numbers of this page, for scripts", "summary.json" },
		                                        { "the run in RELION's pipeline", "default_pipeline.star" },
		                                        { "local resolution", "LocalRes/after_locres.mrc" },
		                                        { "local resolution", "LocalRes/result_locres.mrc" } };
	FILE *f = p->f;
	const cyc__cycle *c = p->c;
	const cyc__step *best = &c->steps[p->i_best];
	const cyc__pairs *maps = NULL;
	char *path = NULL, *full = NULL;
	for (int32_t i = 0; i < c->n_steps; i++)
		if (c->steps[i].kind == CYC__RECONSTRUCT && c->steps[i].i_turn == best->i_turn)
			maps = &c->steps[i].outputs;
	fputs("<section id=\"files\"><h2>Files</h2>\n", f);
	cyc__begin_table(f, "What to open next", COLUMNS, 2);
	CYC_TRY(put_file(f, c, "sharpened map", cyc__pairs_get(&best->outputs, "sharpened map")));
	CYC_TRY(put_file(f, c, "sharpened map, masked", cyc__pairs_get(&best->outputs, "sharpened map, masked")));
	if (maps) CYC_TRY(put_file(f, c, "half map 1", cyc__pairs_get(maps, "half map 1")));
	if (maps) CYC_TRY(put_file(f, c, "half map 2", cyc__pairs_get(maps, "half map 2")));
	CYC_TRY(put_file(f, c, "FSC and Guinier plots", cyc__pairs_get(&best->outputs, "figures")));
	const cyc__step *ctf = cyc__newest_of(c, CYC__CTFREFINE);
	if (ctf)
		CYC_TRY(put_file(f, c, "what was refined, tilt by tilt",
		                 cyc__pairs_get(&ctf->outputs, "table of tilts")));
	CYC_TRY(put_file(f, c, "optimisation set, for the next job", best->output_set));
	CYC_TRY(put_file(f, c, "mask for the FSC", c->in.mask_fsc));
	CYC_TRY(put_file(f, c, "mask for references", c->in.mask_align));
	for (size_t i = 0; i < sizeof RUN_FILES / sizeof *RUN_FILES; i++) {
		CYC_TRY(cyc_path_join(&path, c->o->out_dir, RUN_FILES[i][1]));
		CYC_TRY(cyc_path_join(&full, c->o->input.root, path));
		if (cyc_path_exists(full)) CYC_TRY(put_file(f, c, RUN_FILES[i][0], path));
		cyc_free(path);
		cyc_free(full);
		path = full = NULL;
	}
	cyc__end_table(f);
	CYC_TRY(cyc__put_jobs(p));
done:
	cyc_free(path);
	cyc_free(full);
	return st;
}

/* ---------------------------------------------------------------- the page */

static cyc_status put_body(const cyc__page *p, const cyc__progress_view *v, const char *verdict)
{
	cyc_status st = CYC_OK;
	FILE *f = p->f;
	CYC_TRY(put_head(p, v));
	put_running(f, v);
	if (p->i_first < 0) {
		fputs("<div class=\"verdict\"><p>The first maps are being made; there are no results "
		      "yet.</p></div></header>\n"
		      "<main></main>\n",
		      f);
		goto done;
	}
	put_verdict(f, p, verdict);
	put_tiles(f, p);
	put_nav(f);
	fputs("</header>\n<main>\n", f);
	CYC_TRY(cyc__put_maps(p));
	CYC_TRY(cyc__put_refinements(p));
	fputs("</section>\n", f);
	CYC_TRY(cyc__put_fsc(p));
	CYC_TRY(cyc__put_tilt_series(p));
	CYC_TRY(cyc__put_particles(p));
	CYC_TRY(cyc__put_warnings(p));
	CYC_TRY(put_files(p));
	fputs("</main>\n", f);
done:
	return st;
}

cyc_status cyc__summary_html(char **out, const cyc__cycle *c, const char *verdict)
{
	cyc_status st = CYC_OK;
	char *memory = NULL;
	size_t n = 0;
	cyc__progress_view v = { .state = CYC__FINISHED, .n_plan = c->n_steps, .i_step = c->n_steps };
	if (c->progress) cyc__progress_look(&v, c->progress);
	const cyc__page p = { .c = c,
		                  .f = open_memstream(&memory, &n),
		                  .i_first = c->i_best < 0 ? -1 : cyc__first_postprocess(c),
		                  .i_best = c->i_best,
		                  .is_finished = v.state == CYC__FINISHED };
	CYC_CHECK(p.f, CYC_E_NOMEM, "not enough memory for the summary page");
	CYC_TRY(put_body(&p, &v, verdict));
	fputs("<footer>All figures are embedded, so this page can be sent by mail. Links point to files of the "
	      "project.</footer>\n"
	      "<script>",
	      p.f);
	fwrite(cyc__page_js, 1, cyc__page_js_n, p.f);
	fputs("</script>\n</body></html>\n", p.f);
	CYC_CHECK(!ferror(p.f) && fflush(p.f) == 0, CYC_E_NOMEM, "not enough memory for the summary page");
	CYC_TRY(cyc_strdup(out, memory));
done:
	if (p.f) fclose(p.f);
	free(memory);
	return st;
}

/* Words, cells and links used in all sections of the page. */
#include "summary/page.h"

#include "cyclotomo/report.h"

#include <math.h>
#include <string.h>
#include <time.h>

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

/* ---------------------------------------------------------------- numbers and times */

void cyc__put_number_cell(FILE *f, const char *format, double v)
{
	char text[64];
	snprintf(text, sizeof text, format, v);
	fprintf(f, "<td class=\"n\">%s</td>", isfinite(v) ? text : "");
}

void cyc__put_duration(FILE *f, double seconds)
{
	if (!isfinite(seconds) || seconds < 0) return;
	char text[40];
	cyc_format_seconds(text, sizeof text, seconds);
	if (seconds < 60) snprintf(text, sizeof text, "%.1f s", seconds);
	fprintf(f, "<time datetime=\"PT%.0fS\">%s</time>", seconds, text);
}

void cyc__put_instant(FILE *f, double unix_time)
{
	char machine[40], people[40];
	time_t t = (time_t)unix_time;
	struct tm local, utc;
	if (!localtime_r(&t, &local) || !gmtime_r(&t, &utc)) return;
	strftime(machine, sizeof machine, "%Y-%m-%dT%H:%M:%SZ", &utc);
	strftime(people, sizeof people, "%Y-%m-%d %H:%M", &local);
	fprintf(f, "<time datetime=\"%s\">%s</time>", machine, people);
}

/* ---------------------------------------------------------------- links */

/* As part of a URL. */
static void put_url(FILE *f, const char *path)
{
	for (const unsigned char *s = (const unsigned char *)path; *s; s++) {
		bool is_plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
		                strchr("-._~/", *s) != NULL;
		if (is_plain) fputc(*s, f);
		else fprintf(f, "%%%02X", *s);
	}
}

/* The path from the run folder; out_dir has no final slash. */
static cyc_status path_from_page(char **out, const cyc__cycle *c, const char *path)
{
	cyc_status st = CYC_OK;
	const char *run = c->o->out_dir;
	size_t n = strlen(run);
	char *up = NULL, *more = NULL;
	*out = NULL;
	if (strncmp(path, run, n) == 0 && path[n] == '/') return cyc_strdup(out, path + n + 1);
	if (path[0] == '/') return cyc_strdup(out, path);
	if (run[0] == '/' || strstr(run, "..")) return cyc_path_join(out, c->o->input.root, path);
	CYC_TRY(cyc_strdup(&up, strcmp(run, ".") == 0 ? "" : "../"));
	for (const char *s = run; (s = strchr(s, '/')); s++) {
		CYC_TRY(cyc_asprintf(&more, "../%s", up));
		cyc_free(up);
		up = more;
		more = NULL;
	}
	CYC_TRY(cyc_asprintf(out, "%s%s", up, path));
done:
	cyc_free(up);
	cyc_free(more);
	return st;
}

cyc_status cyc__put_link(FILE *f, const cyc__cycle *c, const char *path, const char *text)
{
	cyc_status st = CYC_OK;
	char *full = NULL, *from_page = NULL;
	if (!path) return CYC_OK;
	CYC_TRY(cyc_path_join(&full, c->o->input.root, path));
	CYC_TRY(path_from_page(&from_page, c, path));
	bool is_there = cyc_path_exists(full);
	if (is_there) {
		fputs("<a href=\"", f);
		put_url(f, from_page);
		fputs("\">", f);
	}
	cyc__put_escaped(f, text ? text : from_page);
	if (is_there) fputs("</a>", f);
done:
	cyc_free(full);
	cyc_free(from_page);
	return st;
}

/* ---------------------------------------------------------------- tables and figures */

void cyc__begin_table(FILE *f, const char *caption, const char *const *columns, int n)
{
	fprintf(
		f,
		"<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table><caption>%s</caption>"
		"<thead><tr>",
		caption, caption);
	for (int i = 0; i < n; i++) {
		bool is_number = columns[i][0] == '=';
		fprintf(f, "<th scope=\"col\"%s>%s</th>", is_number ? " class=\"n\"" : "", columns[i] + is_number);
	}
	fputs("</tr></thead><tbody>\n", f);
}

void cyc__end_table(FILE *f) { fputs("</tbody></table></div>\n", f); }

cyc_status cyc__put_plot(FILE *f, const cyc_plot *panels, int32_t n_panels, const char *caption)
{
	cyc_status st = CYC_OK;
	char *svg = NULL;
	CYC_TRY(cyc_plot_svg(&svg, panels, n_panels));
	fprintf(f, "<figure class=\"plot\">%s<figcaption>%s</figcaption></figure>\n", svg, caption);
done:
	cyc_free(svg);
	return st;
}

/* ---------------------------------------------------------------- steps */

const char *cyc__refinement_name(cyc__kind kind)
{
	static const char *const NAMES[CYC__N_KINDS] = { [CYC__RECONSTRUCT] = "Reconstruction",
		                                             [CYC__POSTPROCESS] = "Post-processing",
		                                             [CYC__CTFREFINE] = "CTF refinement",
		                                             [CYC__POLISH] = "Polishing",
		                                             [CYC__REFINE3D] = "Orientations" };
	return NAMES[kind];
}

const cyc__step *cyc__refinement_of_turn(const cyc__cycle *c, int32_t i_turn)
{
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->i_turn == i_turn && s->kind != CYC__RECONSTRUCT && s->kind != CYC__POSTPROCESS) return s;
	}
	return NULL;
}

void cyc__name_state(char *out, size_t size, const cyc__cycle *c, const cyc__step *s)
{
	const cyc__step *r = cyc__refinement_of_turn(c, s->i_turn);
	int n = 0;
	for (int32_t i = 0; r && i < c->n_steps && &c->steps[i] <= r; i++) n += c->steps[i].kind == r->kind;
	if (!r) snprintf(out, size, "start");
	else if (c->o->n_cycles > 1) snprintf(out, size, "after %s %d", cyc__refinement_name(r->kind), n);
	else snprintf(out, size, "after %s", cyc__refinement_name(r->kind));
	/* In the middle of a phrase, but for what is always written so. */
	if (r && strncmp(out + 6, "CTF", 3) != 0) out[6] = (char)(out[6] - 'A' + 'a');
}

bool cyc__is_turn_accepted(const cyc__cycle *c, const cyc__step *s)
{
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *k = &c->steps[i];
		if (k->i_turn == s->i_turn && k->kind == CYC__POSTPROCESS && cyc__is_accepted(k->decision))
			return true;
	}
	return false;
}

const cyc__step *cyc__newest_of(const cyc__cycle *c, cyc__kind kind)
{
	const cyc__step *taken = NULL, *newest = NULL;
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->kind != kind || !s->output_set) continue;
		newest = s;
		if (cyc__is_turn_accepted(c, s)) taken = s;
	}
	return taken ? taken : newest;
}

cyc_status cyc__read_if_readable(cyc_star **out, const cyc__cycle *c, const char *path)
{
	cyc_status st = CYC_OK;
	char *full = NULL;
	*out = NULL;
	if (!path) return CYC_OK;
	CYC_TRY(cyc_path_join(&full, c->o->input.root, path));
	if (!cyc_path_exists(full)) goto done;
	st = cyc_star_read(out, full);
	if (st == CYC_OK || st == CYC_E_NOMEM) goto done;
	cyc_error_clear();
	st = CYC_OK;
done:
	cyc_free(full);
	return st;
}

/* ---------------------------------------------------------------- pictures kept */

bool cyc__put_cached(FILE *f, const cyc__cycle *c, uint64_t key)
{
	const struct cyc__page_cache *cache = c->page_cache;
	for (int32_t k = 0; cache && k < cache->n; k++) {
		if (cache->pictures[k].key != key) continue;
		fputs(cache->pictures[k].html, f);
		return true;
	}
	return false;
}

cyc_status cyc__put_and_keep(FILE *f, const cyc__cycle *c, uint64_t key, char **html)
{
	cyc_status st = CYC_OK;
	struct cyc__page_cache *cache = c->page_cache;
	fputs(*html, f);
	if (!cache) goto done;
	CYC_TRY(cyc_realloc(&cache->pictures, (size_t)cache->n, (size_t)cache->n + 1, sizeof *cache->pictures));
	cache->pictures[cache->n++] = (cyc__picture){ .key = key, .html = *html };
	*html = NULL;
done:
	cyc_free(*html);
	*html = NULL;
	return st;
}

void cyc__page_cache_destroy(struct cyc__page_cache **cache)
{
	for (int32_t i = 0; *cache && i < (*cache)->n; i++) cyc_free((*cache)->pictures[i].html);
	if (*cache) cyc_free((*cache)->pictures);
	cyc_free(*cache);
	*cache = NULL;
}

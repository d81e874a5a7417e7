/* One row per tilt series, those that need attention first; figures of each below. */
#include "summary/page.h"

#include "cyclotomo/report.h"
#include "project/labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Number of tilt series whose figures are on the page. */
enum { N_FIGURES = 12, REASON = 400 };

typedef struct {
	int32_t i; /* in the tomogram set */
	const cyc_tilt_series *ts;
	const cyc__ctf_series *ctf; /* NULL without CTF refinement */
	int64_t n_half[2];
	int32_t n_excluded, n_bad, n_from_trend, n_moved;
	unsigned char *marks; /* n_tilts of CYC_MARK_..., in the order of the table */
	double shift_rms_A, motion_rms_A, defocus_rms_A, scale;
	double hand, hand_error, dose, dose_error;
	double need;
	char reason[REASON];
} series_row;

typedef struct {
	int32_t n;
	series_row *rows;
	cyc__ctf_summary ctf;
	const cyc__step *polish;
} series_table;

static void table_deinit(series_table *t)
{
	for (int32_t i = 0; i < t->n; i++) cyc_free(t->rows[i].marks);
	cyc_free(t->rows);
	cyc__ctf_summary_deinit(&t->ctf);
}

/* ---------------------------------------------------------------- what is known of a series */

static void add_reason(series_row *r, double need, const char *format, double v)
{
	size_t n = strlen(r->reason);
	r->need += need;
	if (n + 4 >= sizeof r->reason) return;
	snprintf(r->reason + n, sizeof r->reason - n, "%s", n ? "; " : "");
	n = strlen(r->reason);
	snprintf(r->reason + n, sizeof r->reason - n, format, v);
}

static void read_statuses(series_row *r, const cyc_star *uncertainty)
{
	const cyc_star_block *b = uncertainty ? cyc_star_find(uncertainty, r->ts->name) : NULL;
	static const char *const BAD[] = { "bad", "shifted", "at-limit" };
	for (int32_t i = 0; i < r->ts->n_tilts; i++) {
		const char *status = b && i < cyc_star_n_rows(b) ? cyc_star_text_of(b, i, CYC_OWN_TILT_STATUS) : NULL;
		if (!(r->ts->tilts[i].scale > 0) || (status && strcmp(status, "excluded") == 0)) {
			r->n_excluded++;
			r->marks[i] = CYC_MARK_EXCLUDED;
		}
		if (!status) continue;
		/* The second word of each is that of records of version 0.1. */
		r->n_from_trend += strcmp(status, "from-trend") == 0 || strcmp(status, "weak") == 0;
		r->n_moved += strcmp(status, "changed") == 0 || strcmp(status, "moved") == 0;
		for (size_t k = 0; k < sizeof BAD / sizeof *BAD; k++) {
			if (strcmp(status, BAD[k]) != 0) continue;
			r->n_bad++;
			r->marks[i] = CYC_MARK_BAD;
		}
	}
}

/* RMS of the change of defocus, and the mean scale, over tilts in use. */
static void summarise_ctf(series_row *r)
{
	double sum2 = 0, scale = 0;
	int32_t n = 0;
	for (int32_t i = 0; r->ctf && i < r->ctf->n; i++) {
		double change_A = 1e4 * (r->ctf->defocus_um[1][i] - r->ctf->defocus_um[0][i]);
		if (r->marks[i] != CYC_MARK_NONE || !isfinite(change_A)) continue;
		sum2 += cyc_square(change_A);
		scale += r->ctf->scale[1][i];
		n++;
	}
	if (n == 0) return;
	r->defocus_rms_A = sqrt(sum2 / n);
	r->scale = scale / n;
}

/* RMS change of the shifts per axis, less their mean, from the start to the state of the run. */
static cyc_status compare_shifts(series_row *r, const cyc__cycle *c, const cyc_star *global)
{
	cyc_status st = CYC_OK;
	static const char *const LABELS[2] = { CYC_RLN_TOMO_X_SHIFT_ANGST, CYC_RLN_TOMO_Y_SHIFT_ANGST };
	cyc_star *star = NULL;
	const char *file = NULL;
	double sum[2] = { 0 }, sum2 = 0;
	const cyc_star_block *g = cyc_star_find(global, "global");
	for (int64_t i = 0; g && i < cyc_star_n_rows(g) && !file; i++) {
		const char *name = cyc_star_text_of(g, i, CYC_RLN_TOMO_NAME);
		if (name && strcmp(name, r->ts->name) == 0)
			file = cyc_star_text_of(g, i, CYC_RLN_TOMO_TILT_SERIES_STAR_FILE);
	}
	CYC_TRY(cyc__read_if_readable(&star, c, file));
	const cyc_star_block *b = star && cyc_star_n_blocks(star) > 0 ? cyc_star_block_at(star, 0) : NULL;
	int32_t n = 0;
	for (int32_t i = 0; b && i < r->ts->n_tilts && i < cyc_star_n_rows(b); i++) {
		const cyc_tilt *t = &r->ts->tilts[i];
		const double before[2] = { t->shift_x_A, t->shift_y_A };
		double after[2] = { 0 };
		if (!t->has_angles || t->has_matrix) goto done;
		for (int k = 0; k < 2; k++) {
			if (cyc_star_double_of(&after[k], b, i, LABELS[k]) != CYC_OK) {
				cyc_error_clear();
				goto done;
			}
			sum[k] += after[k] - before[k];
			sum2 += cyc_square(after[k] - before[k]);
		}
		n++;
	}
	if (n > 1)
		r->shift_rms_A = sqrt(fmax(0, (sum2 - (cyc_square(sum[0]) + cyc_square(sum[1])) / n) / (2.0 * n)));
done:
	cyc_star_destroy(&star);
	return st;
}

static double cell_or_nan(const cyc_star_block *b, int64_t row, const char *label)
{
	double v;
	if (cyc_star_column(b, label) < 0) return CYC_NAN;
	if (cyc_star_double_of(&v, b, row, label) == CYC_OK) return v;
	cyc_error_clear();
	return CYC_NAN;
}

/* Handedness and doses from the images, by the newest post-processing that compared them. */
static cyc_status read_evidence(series_table *t, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_star *star = NULL;
	for (int32_t i = c->n_steps - 1; i >= 0 && !star; i--) {
		if (c->steps[i].kind != CYC__POSTPROCESS) continue;
		cyc_free(path);
		path = NULL;
		CYC_TRY(cyc_path_join(&path, c->steps[i].dir, CYC__EVIDENCE));
		CYC_TRY(cyc__read_if_readable(&star, c, path));
	}
	const cyc_star_block *b = star ? cyc_star_find(star, "evidence") : NULL;
	for (int64_t i = 0; b && i < cyc_star_n_rows(b); i++) {
		const char *name = cyc_star_text_of(b, i, CYC_RLN_TOMO_NAME);
		for (int32_t k = 0; name && k < t->n; k++) {
			series_row *r = &t->rows[k];
			if (strcmp(r->ts->name, name) != 0) continue;
			r->hand = cell_or_nan(b, i, CYC_OWN_HAND_SLOPE);
			r->hand_error = cell_or_nan(b, i, CYC_OWN_HAND_SLOPE_ERROR);
			r->dose = cell_or_nan(b, i, CYC_OWN_DOSE_SLOPE);
			r->dose_error = cell_or_nan(b, i, CYC_OWN_DOSE_SLOPE_ERROR);
		}
	}
done:
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

/* RMS motion of the particles of each series, per axis. Trajectories stand in the order of the particles. */
static cyc_status read_motion(series_table *t, const cyc__cycle *c, const char *trajectories)
{
	cyc_status st = CYC_OK;
	enum { MOST_PARTICLES = 20000 };
	static const char *const LABELS[3] = { CYC_RLN_ORIGIN_X_ANGST, CYC_RLN_ORIGIN_Y_ANGST,
		                                   CYC_RLN_ORIGIN_Z_ANGST };
	cyc_star *star = NULL;
	double *sum2 = NULL, *n = NULL;
	int32_t n_series = c->in.tomograms->n_series;
	if (!trajectories || c->in.particles->n > MOST_PARTICLES) return CYC_OK;
	CYC_TRY(cyc__read_if_readable(&star, c, trajectories));
	CYC_TRY(cyc_alloc(&sum2, n_series, sizeof *sum2));
	CYC_TRY(cyc_alloc(&n, n_series, sizeof *n));
	int64_t k = 0;
	for (int32_t i = 0; star && i < cyc_star_n_blocks(star); i++) {
		const cyc_star_block *b = cyc_star_block_at(star, i);
		int64_t from = k;
		while (k < c->in.particles->n &&
		       strcmp(c->in.particles->particles[k].name, cyc_star_block_name(b)) != 0)
			k++;
		if (k == c->in.particles->n) {
			k = from; /* not a trajectory */
			continue;
		}
		int32_t series = c->in.particles->particles[k].i_series;
		for (int64_t row = 0; row < cyc_star_n_rows(b); row++)
			for (int a = 0; a < 3; a++) {
				double v = cell_or_nan(b, row, LABELS[a]);
				if (!isfinite(v)) continue;
				sum2[series] += v * v;
				n[series] += 1;
			}
	}
	for (int32_t i = 0; i < t->n; i++)
		if (n[t->rows[i].i] > 0) t->rows[i].motion_rms_A = sqrt(sum2[t->rows[i].i] / n[t->rows[i].i]);
done:
	cyc_star_destroy(&star);
	cyc_free(sum2);
	cyc_free(n);
	return st;
}

/* ---------------------------------------------------------------- what needs a look */

static bool names_series(const char *text, const char *name)
{
	size_t n = strlen(name);
	for (const char *at = text; n > 0 && (at = strstr(at, name)); at++) {
		char before = at == text ? ' ' : at[-1], after = at[n];
		if (strchr(" '(\"", before) && (after == '\0' || strchr(" ,:;)'\".", after))) return true;
	}
	return false;
}

static int n_warnings_of(const cyc__cycle *c, const char *name)
{
	int n = 0;
	for (int32_t i = 0; i < c->n_steps; i++)
		for (int32_t k = 0; k < c->steps[i].n_warnings; k++) n += names_series(c->steps[i].warnings[k], name);
	return n;
}

/* Slopes that should be 1: significant if this many errors from -1, or from 1. */
static bool is_off(double slope, double error)
{
	return error > 0 && (slope < -2 * error || (fabs(slope - 1) > 4 * error && fabs(slope - 1) > 0.5));
}

static void weigh(series_row *r, const cyc__cycle *c)
{
	int n_used = r->ts->n_tilts - r->n_excluded;
	if (is_off(r->hand, r->hand_error)) add_reason(r, 100, "hand %.2f, should be 1", r->hand);
	if (is_off(r->dose, r->dose_error)) add_reason(r, 80, "doses %.2f, should be 1", r->dose);
	int n_warnings = n_warnings_of(c, r->ts->name);
	if (n_warnings > 0)
		add_reason(r, 10 * n_warnings, n_warnings == 1 ? "%.0f warning" : "%.0f warnings", n_warnings);
	if (r->n_bad > 0)
		add_reason(r, 5 * r->n_bad, r->n_bad == 1 ? "%.0f bad tilt" : "%.0f bad tilts", r->n_bad);
	if (n_used < r->ts->n_tilts) add_reason(r, 0.5 * r->n_excluded, "%.0f tilts left out", r->n_excluded);
	if (isfinite(r->scale) && (r->scale > 3 || r->scale < 0.33))
		add_reason(r, 4, "contrast scale %.2f", r->scale);
	if (r->n_half[0] + r->n_half[1] < 5)
		add_reason(r, 2, "only %.0f particles", (double)(r->n_half[0] + r->n_half[1]));
}

static int by_need(const void *a, const void *b)
{
	const series_row *p = a, *q = b;
	if (p->need > q->need || p->need < q->need) return p->need > q->need ? -1 : 1;
	return (p->i > q->i) - (p->i < q->i);
}

static cyc_status table_read(series_table *t, const cyc__page *p)
{
	cyc_status st = CYC_OK;
	const cyc__cycle *c = p->c;
	cyc_optimisation_set *set = NULL;
	cyc_star *uncertainty = NULL, *global = NULL;
	char *path = NULL;
	CYC_TRY(cyc__ctf_summary_read(&t->ctf, c));
	if (t->ctf.step)
		CYC_TRY(
			cyc__read_if_readable(&uncertainty, c, cyc__pairs_get(&t->ctf.step->outputs, "standard errors")));
	CYC_TRY(cyc_path_join(&path, c->o->input.root, c->steps[p->i_best].output_set));
	CYC_TRY(cyc_optimisation_set_read(&set, path));
	CYC_TRY(cyc__read_if_readable(&global, c, set->tomograms));
	CYC_TRY(cyc_alloc(&t->rows, c->in.tomograms->n_series, sizeof *t->rows));
	for (int32_t i = 0, k = 0; i < c->in.tomograms->n_series; i++) {
		if (c->in.series[i].n_particles == 0) continue;
		series_row *r = &t->rows[t->n++];
		*r = (series_row){ .i = i, .ts = &c->in.tomograms->series[i] };
		r->shift_rms_A = r->motion_rms_A = r->defocus_rms_A = r->scale = CYC_NAN;
		r->hand = r->dose = r->hand_error = r->dose_error = CYC_NAN;
		if (k < t->ctf.n) r->ctf = &t->ctf.series[k++];
		memcpy(r->n_half, c->in.series[i].n_half, sizeof r->n_half);
		CYC_TRY(cyc_alloc(&r->marks, r->ts->n_tilts, 1));
		read_statuses(r, uncertainty);
		summarise_ctf(r);
		if (global) CYC_TRY(compare_shifts(r, c, global));
	}
	CYC_TRY(read_evidence(t, c));
	if (p->is_finished) CYC_TRY(read_motion(t, c, set->trajectories));
	for (int32_t i = 0; i < t->n; i++) weigh(&t->rows[i], c);
	qsort(t->rows, (size_t)t->n, sizeof *t->rows, by_need);
	t->polish = cyc__newest_of(c, CYC__POLISH);
done:
	cyc_optimisation_set_destroy(&set);
	cyc_star_destroy(&uncertainty);
	cyc_star_destroy(&global);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- rows */

/* Change of defocus against tilt angle, a few millimetres high; crosses: bad, rings: left out. */
static void put_spark(FILE *f, const series_row *r)
{
	enum { W = 160, H = 38 };
	double most = 1e-9, low = HUGE_VAL, high = -HUGE_VAL;
	if (!r->ctf) return;
	for (int32_t i = 0; i < r->ctf->n; i++) {
		double v = r->ctf->defocus_um[1][i] - r->ctf->defocus_um[0][i];
		if (!isfinite(v)) continue;
		most = fmax(most, fabs(v));
		low = fmin(low, r->ctf->tilt_deg[i]);
		high = fmax(high, r->ctf->tilt_deg[i]);
	}
	fprintf(f,
	        "<svg class=\"spark\" role=\"img\" viewBox=\"0 0 %d %d\"><title>change of defocus by tilt angle, "
	        "up to "
	        "%.2f µm</title><path d=\"M0 %dH%d\" stroke=\"currentColor\" stroke-opacity=\".3\"/>",
	        W, H, most, H / 2, W);
	for (int32_t i = 0; i < r->ctf->n; i++) {
		double v = r->ctf->defocus_um[1][i] - r->ctf->defocus_um[0][i];
		if (!isfinite(v)) v = 0;
		double x = 5 + (high > low ? (r->ctf->tilt_deg[i] - low) / (high - low) : 0.5) * (W - 10);
		double y = 0.5 * H - v / most * (0.5 * H - 4);
		if (r->marks[i] == CYC_MARK_BAD)
			fprintf(f, "<path d=\"M%.1f %.1fl6 6m0-6l-6 6\" stroke=\"#c61c1c\" stroke-width=\"1.8\"/>", x - 3,
			        y - 3);
		else if (r->marks[i] == CYC_MARK_EXCLUDED)
			fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.4\" fill=\"none\" stroke=\"#6b6b6b\"/>", x, y);
		else fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"1.5\" fill=\"#0072b2\"/>", x, y);
	}
	fputs("</svg>", f);
}

static void put_slope(FILE *f, const char *what, double v, double error)
{
	if (!(error > 0)) return;
	fprintf(f, "<small class=\"one\">%s %.2f ± %.2f</small>", what, v, error);
}

static void put_row(FILE *f, const series_row *r, bool has_figures)
{
	fputs("<tr><th scope=\"row\">", f);
	if (has_figures) fprintf(f, "<a href=\"#series-%d\">", r->i);
	cyc__put_escaped(f, r->ts->name);
	fprintf(f, "%s</th><td class=\"what\">", has_figures ? "</a>" : "");
	if (r->reason[0]) {
		fputs(r->need >= 5 ? "<span class=\"tag warn\">check</span><small>" : "<small>", f);
		cyc__put_escaped(f, r->reason);
		fputs("</small>", f);
	} else {
		fputs("<small>nothing unusual</small>", f);
	}
	fprintf(f, "</td><td class=\"n\">%lld + %lld</td><td class=\"n\">%d of %d", (long long)r->n_half[0],
	        (long long)r->n_half[1], r->ts->n_tilts - r->n_excluded, r->ts->n_tilts);
	if (r->ctf) fprintf(f, "<small>%d changed, %d from trend</small>", r->n_moved, r->n_from_trend);
	fputs("</td>", f);
	cyc__put_number_cell(f, "%.2f", r->shift_rms_A);
	cyc__put_number_cell(f, r->motion_rms_A < 0.1 ? "%.3f" : "%.2f", r->motion_rms_A);
	cyc__put_number_cell(f, "%.0f", r->defocus_rms_A);
	cyc__put_number_cell(f, "%.2f", r->scale);
	fputs("<td class=\"n\">", f);
	put_slope(f, "hand", r->hand, r->hand_error);
	put_slope(f, "doses", r->dose, r->dose_error);
	fputs("</td><td>", f);
	put_spark(f, r);
	fputs("</td></tr>\n", f);
}

/* ---------------------------------------------------------------- figures */

/* Columns by tilt angle: tilt, defocus before, after, its error, scale before, after, its error. */
enum { N_COLUMNS = 7 };

static cyc_status sorted_columns(double **out, unsigned char **marks, const series_row *r)
{
	cyc_status st = CYC_OK;
	const cyc__ctf_series *s = r->ctf;
	CYC_TRY(cyc_alloc(out, (int64_t)s->n * N_COLUMNS, sizeof **out));
	CYC_TRY(cyc_alloc(marks, s->n, 1));
	for (int32_t i = 0; i < s->n; i++) {
		size_t place = 0, n = (size_t)s->n;
		for (int32_t k = 0; k < s->n; k++)
			place += s->tilt_deg[k] < s->tilt_deg[i] || (!(s->tilt_deg[k] > s->tilt_deg[i]) && k < i);
		const double row[N_COLUMNS] = { s->tilt_deg[i],         s->defocus_um[0][i], s->defocus_um[1][i],
			                            s->defocus_error_um[i], s->scale[0][i],      s->scale[1][i],
			                            s->scale_error[i] };
		for (size_t k = 0; k < N_COLUMNS; k++) (*out)[k * n + place] = row[k];
		(*marks)[place] = r->marks[i];
	}
done:
	return st;
}

static cyc_status put_ctf_figure(FILE *f, const series_row *r, const cyc__ctf_summary *ctf)
{
	cyc_status st = CYC_OK;
	double *v = NULL;
	unsigned char *marks = NULL;
	const char *after = ctf->is_taken ? "refined" : "refined, but rejected";
	cyc_plot_series series[4];
	CYC_TRY(sorted_columns(&v, &marks, r));
	size_t n = (size_t)r->ctf->n;
	for (size_t k = 0; k < 2; k++) {
		series[2 * k] = (cyc_plot_series){ .label = "as given",
			                               .n = r->ctf->n,
			                               .x = v,
			                               .y = v + (1 + 3 * k) * n,
			                               .style = CYC_PLOT_LINE_POINTS,
			                               .is_dashed = true };
		series[2 * k + 1] = (cyc_plot_series){ .label = after,
			                                   .n = r->ctf->n,
			                                   .x = v,
			                                   .y = v + (2 + 3 * k) * n,
			                                   .y_error = r->ctf->has_errors ? v + (3 + 3 * k) * n : NULL,
			                                   .style = CYC_PLOT_LINE_POINTS,
			                                   .colour = 1,
			                                   .marks = marks };
	}
	const cyc_plot plots[] = {
		{ .title = r->ts->name,
		  .x_label = "tilt (degrees)",
		  .y_label = "mean defocus (µm)",
		  .h_line = CYC_NAN,
		  .n_series = 2,
		  .series = series },
		{ .title = "",
		  .x_label = "tilt (degrees)",
		  .y_label = "contrast scale",
		  .h_line = CYC_NAN,
		  .n_series = 2,
		  .series = series + 2 },
	};
	CYC_TRY(cyc__put_plot(
		f, plots, 2,
		"Defocus and contrast scale, before the run and after refinement; bars are standard errors."));
done:
	cyc_free(v);
	cyc_free(marks);
	return st;
}

/* Drawn by the polishing; series of which nothing was accepted have none, nor has a run without figures. */
static cyc_status put_polish_figure(FILE *f, const cyc__cycle *c, const series_row *r,
                                    const cyc__step *polish)
{
	cyc_status st = CYC_OK;
	char *name = NULL, *path = NULL, *png = NULL, *uri = NULL;
	size_t n = 0;
	CYC_TRY(cyc_asprintf(&name, "%s%s_polish.png", polish->dir, r->ts->file_name));
	CYC_TRY(cyc_path_join(&path, c->o->input.root, name));
	if (!cyc_path_exists(path)) goto done;
	CYC_TRY(cyc_read_file(&png, &n, path));
	CYC_TRY(cyc_png_data_uri(&uri, png, n));
	fprintf(
		f,
		"<figure><img class=\"chart\" alt=\"alignment and motion of a tilt series\" src=\"%s\"><figcaption>",
		uri);
	fputs("Shifts of the tilts and motion of particles from ", f);
	CYC_TRY(cyc__put_link(f, c, polish->dir, polish->name));
	fputs("</figcaption></figure>\n", f);
done:
	cyc_free(name);
	cyc_free(path);
	cyc_free(png);
	cyc_free(uri);
	return st;
}

static cyc_status put_figures(FILE *f, const cyc__cycle *c, const series_table *t, const series_row *r,
                              bool is_open)
{
	cyc_status st = CYC_OK;
	fprintf(f, "<details id=\"series-%d\"%s><summary>", r->i, is_open ? " open" : "");
	cyc__put_escaped(f, r->ts->name);
	fputs("</summary><div class=\"two\">", f);
	if (r->ctf) CYC_TRY(put_ctf_figure(f, r, &t->ctf));
	if (t->polish) CYC_TRY(put_polish_figure(f, c, r, t->polish));
	fputs("</div></details>\n", f);
done:
	return st;
}

cyc_status cyc__put_tilt_series(const cyc__page *p)
{
	cyc_status st = CYC_OK;
	char text[400];
	static const char *const COLUMNS[] = {
		"Tilt series",           "To check",       "=Particles<br>half 1 + 2",
		"=Tilts used",           "=Shifts<br>(Å)", "=Motion<br>(Å)",
		"=Defocus<br>(Å)",       "=Scale",         "=Evidence",
		"Defocus change by tilt"
	};
	series_table t = { 0 };
	FILE *f = p->f;
	CYC_TRY(table_read(&t, p));
	fputs("<section id=\"tilt-series\"><h2>Tilt series</h2>\n", f);
	bool has_figures = t.ctf.step || t.polish;
	cyc__begin_table(f, "Tilt series, those that need checking first", COLUMNS, 10);
	for (int32_t i = 0; i < t.n; i++) put_row(f, &t.rows[i], has_figures && i < N_FIGURES);
	cyc__end_table(f);
	fputs("<p class=\"note\">Shifts, motion and defocus: RMS change since the start of the run (shifts and "
	      "motion per axis, without a common shift). Scale: mean contrast scale of the tilts used. Evidence: "
	      "hand and doses of the tables compared with the images; both should be 1. Changed: defocus, "
	      "astigmatism or scale by more than two standard errors. From trend: the tilt's own image "
	      "tells too little, and its values follow mostly the input and the trend of its series.",
	      f);
	if (t.ctf.step) {
		fputs(" Defocus and scale are from ", f);
		CYC_TRY(cyc__put_link(f, p->c, t.ctf.step->dir, t.ctf.step->name));
		cyc__tilts_describe(text, sizeof text, t.ctf.step);
		fprintf(f, "%s: %s.", t.ctf.is_taken ? "" : ", which was rejected", text);
	}
	fputs("</p>\n", f);
	for (int32_t i = 0; has_figures && i < t.n && i < N_FIGURES; i++)
		CYC_TRY(put_figures(f, p->c, &t, &t.rows[i], i == 0));
	if (has_figures && t.n > N_FIGURES)
		fprintf(f, "<p class=\"note\">Figures of the other %d tilt series are in the job folders.</p>\n",
		        t.n - N_FIGURES);
	fputs("</section>\n", f);
done:
	table_deinit(&t);
	return st;
}

#include "ctfrefine/figures.h"

#include "cyclotomo/report.h"

#include <math.h>
#include <string.h>

/* The angle by which users know a tilt. */
static double tilt_deg(const cyc_tilt *t)
{
	if (t->has_matrix)
		return cyc_rad_to_deg(atan2(-t->matrix[2][0], hypot(t->matrix[2][1], t->matrix[2][2])));
	return cyc_rad_to_deg(t->has_nominal_tilt ? t->nominal_tilt_rad : t->ytilt_rad);
}

/* A standard error, or a dash where the input was kept and there is none. */
static const char *error_text(char text[16], double error, int decimals)
{
	if (isnan(error)) return "-";
	snprintf(text, 16, "%.*f", decimals, error);
	return text;
}

cyc_status cyc_ctf_table_write(const char *path, const cyc_tomogram_set *tomograms,
                               cyc_tilt_result *const *results, bool blind_follow_ice)
{
	cyc_status st = CYC_OK;
	cyc_outfile o = { 0 };
	CYC_TRY(cyc_outfile_open(&o, path));
	fprintf(
		o.f,
		"# Defocus, astigmatism and contrast scale of each tilt image after refinement. Lengths in Å, dose "
		"in e/Å².\n"
		"# seen: particles used; +-: standard error of the value before it; change: of the defocus, from the "
		"input;\n"
		"# ratio: new scale over old; gain: rise of the log-likelihood (values of a few are noise). Status:\n"
		"#   changed       defocus, astigmatism or scale changed by more than two standard errors\n"
		"#   confirmed     the image agrees with the input, within two standard errors\n"
		"#   from-trend    this image tells too little: the values follow mostly the input and the trend of "
		"its series;\n"
		"#                 where the series changed, they changed with it, also by much\n"
		"#   shifted       all particles were elsewhere in the image; the shift of the tilt was corrected\n"
		"#   bad           the image does not show its particles; scale 0, no longer used\n"
		"#   at-limit      the best defocus is beyond the search; the input was kept\n"
		"#   no-particles, excluded, not-asked   the input was kept\n");
	if (blind_follow_ice)
		fprintf(o.f, "# Scales of tilts without particles follow from the thickness and slope of the ice.\n");
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &tomograms->series[i];
		if (!results[i]) continue;
		fprintf(o.f, "\n%s\n%4s %7s %6s %6s %9s %7s %8s %7s %7s %7s %7s %7s %8s  %s\n", ts->name, "row",
		        "tilt", "dose", "seen", "defocus", "+-", "change", "astig", "+-", "scale", "+-", "ratio",
		        "gain", "status");
		for (int32_t f = 0; f < ts->n_tilts; f++) {
			const cyc_tilt_result *r = &results[i][f];
			char text[3][16];
			fprintf(o.f, "%4d %7.1f %6.1f %6lld %9.0f %7s %8.0f %7.0f %7s %7.3f %7s %7.3f %8.1f  %s\n", f + 1,
			        tilt_deg(&ts->tilts[f]), ts->tilts[f].pre_exposure_e_per_A2, (long long)r->n_particles,
			        0.5 * (r->defocus_u_A + r->defocus_v_A), error_text(text[0], r->defocus_error_A, 0),
			        r->defocus_change_A, fabs(r->defocus_u_A - r->defocus_v_A),
			        error_text(text[1], r->astigmatism_error_A, 0), r->scale,
			        error_text(text[2], r->scale_error, 3), r->scale_ratio, r->gain,
			        cyc_tilt_status_name(r->status));
		}
	}
	CYC_TRY(cyc_outfile_commit(&o));
done:
	cyc_outfile_abandon(&o);
	return st;
}

/* Curves of one series: columns of n_tilts, sorted by tilt angle. */
enum {
	ANGLE,
	OLD_DEFOCUS,
	NEW_DEFOCUS,
	DEFOCUS_ERROR,
	OLD_ASTIG,
	NEW_ASTIG,
	ASTIG_ERROR,
	OLD_SCALE,
	NEW_SCALE,
	SCALE_ERROR,
	N_CURVES
};
enum { N_PANELS = 3 };

typedef struct {
	double *values;       /* N_CURVES x n */
	unsigned char *marks; /* n */
	char *title;
	cyc_plot_series series[2 * N_PANELS];
	cyc_plot panels[N_PANELS];
} page;

/* Bad or shifted images, and defoci that were not found, are crossed; excluded ones are rings. */
static unsigned char mark_of(const cyc_tilt *t, const cyc_tilt_result *r)
{
	const char *status = cyc_tilt_status_name(r->status);
	static const char *const BAD[] = { "bad", "shifted", "at-limit" };
	for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
		if (strcmp(status, BAD[i]) == 0) return CYC_MARK_BAD;
	return t->scale > 0 ? CYC_MARK_NONE : CYC_MARK_EXCLUDED;
}

static void fill_curves(double *v, unsigned char *marks, const cyc_tilt_series *ts,
                        const cyc_tilt_result *results)
{
	int32_t n = ts->n_tilts;
	for (int32_t f = 0; f < n; f++) {
		int32_t place = 0; /* rank of the angle, ties by row */
		for (int32_t g = 0; g < n; g++) {
			double a = tilt_deg(&ts->tilts[g]), b = tilt_deg(&ts->tilts[f]);
			place += a < b || (a == b && g < f);
		}
		const cyc_tilt *t = &ts->tilts[f];
		const cyc_tilt_result *r = &results[f];
		const double column[N_CURVES] = { tilt_deg(t),
			                              0.5e-4 * (t->defocus_u_A + t->defocus_v_A),
			                              0.5e-4 * (r->defocus_u_A + r->defocus_v_A),
			                              1e-4 * r->defocus_error_A,
			                              fabs(t->defocus_u_A - t->defocus_v_A),
			                              fabs(r->defocus_u_A - r->defocus_v_A),
			                              2 * r->astigmatism_error_A,
			                              t->scale,
			                              r->scale,
			                              r->scale_error };
		for (int k = 0; k < N_CURVES; k++) v[(size_t)k * (size_t)n + (size_t)place] = column[k];
		marks[place] = mark_of(t, r);
	}
}

static cyc_status page_create(page *p, const cyc_tilt_series *ts, const cyc_tilt_result *results)
{
	cyc_status st = CYC_OK;
	int32_t n = ts->n_tilts;
	static const struct {
		const char *label;
		int before, after, error;
	} PANELS[N_PANELS] = { { "mean defocus (µm)", OLD_DEFOCUS, NEW_DEFOCUS, DEFOCUS_ERROR },
		                   { "astigmatism U - V (Å)", OLD_ASTIG, NEW_ASTIG, ASTIG_ERROR },
		                   { "contrast scale", OLD_SCALE, NEW_SCALE, SCALE_ERROR } };
	CYC_TRY(cyc_alloc(&p->values, (size_t)N_CURVES * (size_t)n, sizeof *p->values));
	CYC_TRY(cyc_alloc(&p->marks, n, 1));
	CYC_TRY(cyc_asprintf(&p->title, "%s: before and after refinement", ts->name));
	fill_curves(p->values, p->marks, ts, results);
	for (int k = 0; k < N_PANELS; k++) {
		const double *x = p->values + (size_t)ANGLE * (size_t)n;
		p->series[2 * k] = (cyc_plot_series){ .label = "before",
			                                  .n = n,
			                                  .x = x,
			                                  .y = p->values + (size_t)PANELS[k].before * (size_t)n,
			                                  .style = CYC_PLOT_LINE_POINTS,
			                                  .is_dashed = true,
			                                  .colour = 0 };
		p->series[2 * k + 1] = (cyc_plot_series){ .label = "after",
			                                      .n = n,
			                                      .x = x,
			                                      .y = p->values + (size_t)PANELS[k].after * (size_t)n,
			                                      .y_error = p->values + (size_t)PANELS[k].error * (size_t)n,
			                                      .style = CYC_PLOT_LINE_POINTS,
			                                      .colour = 1,
			                                      .marks = p->marks };
		p->panels[k] = (cyc_plot){ .title = k == 0 ? p->title : NULL,
			                       .x_label = k == 2 ? "tilt angle (degrees)" : NULL,
			                       .y_label = PANELS[k].label,
			                       .h_line = CYC_NAN,
			                       .n_series = 2,
			                       .series = &p->series[2 * k] };
	}
done:
	return st;
}

typedef struct {
	const cyc_tomogram_set *tomograms;
	cyc_tilt_result *const *results;
	page *pages; /* per series; without values where there are no results */
} figures_work;

static cyc_status figure_task(void *arg, int64_t i, int i_thread)
{
	const figures_work *w = arg;
	(void)i_thread;
	return w->results[i] ? page_create(&w->pages[i], &w->tomograms->series[i], w->results[i]) : CYC_OK;
}

cyc_status cyc_ctf_figures_write(const char *out_dir, const cyc_tomogram_set *tomograms,
                                 cyc_tilt_result *const *results, int n_threads)
{
	cyc_status st = CYC_OK;
	figures_work w = { .tomograms = tomograms, .results = results };
	const cyc_plot **figures = NULL;
	int32_t *n_panels = NULL, n = 0;
	char *path = NULL, **pictures = NULL;
	CYC_TRY(cyc_alloc(&pictures, tomograms->n_series, sizeof *pictures));
	CYC_TRY(cyc_alloc(&w.pages, tomograms->n_series, sizeof *w.pages));
	CYC_TRY(cyc_alloc(&figures, tomograms->n_series, sizeof *figures));
	CYC_TRY(cyc_alloc(&n_panels, tomograms->n_series, sizeof *n_panels));
	CYC_TRY(cyc_parallel_for(tomograms->n_series, n_threads, figure_task, &w));
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		if (!results[i]) continue;
		CYC_TRY(cyc_asprintf(&pictures[n], "%s%s_ctf.png", out_dir, tomograms->series[i].file_name));
		figures[n] = w.pages[i].panels;
		n_panels[n++] = N_PANELS;
	}
	CYC_TRY(cyc_asprintf(&path, "%slogfile.pdf", out_dir));
	CYC_TRY(cyc_plot_write_book(path, (const char *const *)pictures, figures, n_panels, n, n_threads));
done:
	for (int32_t i = 0; pictures && i < tomograms->n_series; i++) cyc_free(pictures[i]);
	cyc_free(pictures);
	for (int32_t i = 0; w.pages && i < tomograms->n_series; i++) {
		cyc_free(w.pages[i].values);
		cyc_free(w.pages[i].marks);
		cyc_free(w.pages[i].title);
	}
	cyc_free(w.pages);
	cyc_free(figures);
	cyc_free(n_panels);
	cyc_free(path);
	return st;
}

/* Pictures of a refinement: FSC, probabilities and errors of the particles as pages of a PDF, directions as a
 * PNG. */
#include "refine3d/refine3d_internal.h"

#include "cyclotomo/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PAGES = 4 };

typedef struct {
	double x[CYC_HISTOGRAM_POINTS], y[CYC_HISTOGRAM_POINTS];
	cyc_plot_series series;
	cyc_plot plot;
} histogram;

static void fill(histogram *h, const double *values, int64_t n, double high, const char *title,
                 const char *x_label)
{
	cyc_histogram_outline(h->x, h->y, values, n, 0, high);
	h->series = (cyc_plot_series){ .n = CYC_HISTOGRAM_POINTS, .x = h->x, .y = h->y, .width = 2.2 };
	h->plot = (cyc_plot){ .title = title,
		                  .x_label = x_label,
		                  .y_label = "particles",
		                  .x_max = high,
		                  .h_line = CYC_NAN,
		                  .n_series = 1,
		                  .series = &h->series };
}

/* Standard errors of three parameters together, where they are known. */
static void fill_errors(histogram *h, double *scratch, const cyc_refine3d_job *j, int first, double unit,
                        const char *title, const char *x_label)
{
	int64_t n = 0;
	for (int64_t i = 0; i < j->in.particles->n; i++) {
		const double *e = j->refined[i].error + first;
		if (e[0] > 0 && e[1] > 0 && e[2] > 0)
			scratch[n++] = unit * sqrt(e[0] * e[0] + e[1] * e[1] + e[2] * e[2]);
	}
	if (n == 0) return;
	cyc_sort(scratch, (size_t)n);
	double high = 1.15 * scratch[(int64_t)(0.98 * (double)(n - 1))];
	if (high > 0) fill(h, scratch, n, high, title, x_label);
}

static cyc_status write_directions(const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	double *rot = NULL, *tilt = NULL, psi;
	char *relative = NULL, *path = NULL, *png = NULL;
	int64_t n = j->in.particles->n;
	size_t n_bytes;
	CYC_TRY(cyc_alloc(&rot, n, sizeof *rot));
	CYC_TRY(cyc_alloc(&tilt, n, sizeof *tilt));
	/* The third row of reference -> tomogram is the tomogram's z axis in the frame of the map. */
	for (int64_t i = 0; i < n; i++)
		cyc_euler_from_matrix(&rot[i], &tilt[i], &psi, j->refined[i].pose.R_tomo_ref);
	CYC_TRY(cyc_directions_png(&png, &n_bytes, rot, tilt, n));
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, "run_", "directions.png"));
	CYC_TRY(cyc_write_file(path, png, n_bytes));
	CYC_TRY(cyc_refine3d_write_views(j, rot, tilt, n));
done:
	cyc_free(rot);
	cyc_free(tilt);
	cyc_free(relative);
	cyc_free(path);
	cyc_free(png);
	return st;
}

static cyc_status write_pages(const cyc_refine3d_job *j, const cyc_plot *fsc, const histogram *h,
                              int n_histograms)
{
	cyc_status st = CYC_OK;
	char *relative = NULL, *path = NULL;
	const cyc_plot *pages[MOST_PAGES] = { fsc };
	int32_t n_panels[MOST_PAGES] = { 1 }, n = 1;
	for (int k = 0; k < n_histograms; k++) {
		if (h[k].plot.n_series == 0) continue;
		pages[n] = &h[k].plot;
		n_panels[n++] = 1;
	}
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, "run_", "figures.pdf"));
	CYC_TRY(cyc_plot_write_pdf(path, pages, n_panels, n));
done:
	cyc_free(relative);
	cyc_free(path);
	return st;
}

cyc_status cyc_refine3d_write_figures(const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	double *x = NULL, *values = NULL;
	histogram *h = NULL;
	int32_t n = j->crop_px / 2 + 1;
	char mark[40];
	CYC_TRY(cyc_alloc(&x, n, sizeof *x));
	CYC_TRY(cyc_alloc(&values, j->in.particles->n, sizeof *values));
	CYC_TRY(cyc_alloc(&h, 3, sizeof *h));
	for (int32_t i = 0; i < n; i++) x[i] = i / (j->crop_px * j->box.pixel_size_A);
	const cyc_plot_series curves[2] = {
		{ .label = "unmasked", .n = n, .x = x, .y = j->maps->fsc_unmasked, .colour = 5 },
		{ .label = "under the mask, corrected", .n = n, .x = x, .y = j->maps->fsc, .colour = 6, .width = 2.8 }
	};
	snprintf(mark, sizeof mark, "%.2f Å", j->state.resolution_143_A);
	const bool has_unmasked = j->maps->fsc_unmasked != NULL;
	cyc_plot fsc = cyc_fsc_plot("Half maps of the last iteration", has_unmasked ? curves : curves + 1,
	                            has_unmasked ? 2 : 1);
	fsc.v_line = j->state.resolution_143_A > 0 ? 1 / j->state.resolution_143_A : CYC_NAN;
	fsc.v_line_label = mark;
	for (int64_t i = 0; i < j->in.particles->n; i++) values[i] = j->refined[i].probability;
	if (cyc_refine3d_judges(j))
		fill(&h[0], values, j->in.particles->n, 1, "Probability of being the particle", "P(particle)");
	fill_errors(&h[1], values, j, 0, cyc_rad_to_deg(1), "Error of orientations, three axes combined",
	            "standard error (degrees)");
	fill_errors(&h[2], values, j, 3, 1, "Error of positions, three axes combined", "standard error (Å)");
	CYC_TRY(write_pages(j, &fsc, h, 3));
	CYC_TRY(write_directions(j));
done:
	cyc_free(x);
	cyc_free(values);
	cyc_free(h);
	return st;
}

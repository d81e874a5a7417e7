/* Fourier shell correlations: all curves of the states before and after, and the judged one of every state.
 */
#include "summary/page.h"

#include "cyclotomo/report.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

enum { N_CURVES = 4 };

/* A column of the table of a post-processing; NULL if it is not there. */
static cyc_status read_curve(double **out, int32_t *n, const cyc__cycle *c, const cyc__step *s,
                             const char *label)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	*out = NULL;
	CYC_TRY(cyc__read_if_readable(&star, c, cyc__pairs_get(&s->outputs, "FSC")));
	const cyc_star_block *b = star ? cyc_star_find(star, "fsc") : NULL;
	int32_t column = b ? cyc_star_column(b, label) : -1;
	if (column < 0) goto done;
	*n = (int32_t)cyc_star_n_rows(b);
	CYC_TRY(cyc_alloc(out, *n, sizeof **out));
	for (int32_t i = 0; i < *n; i++) {
		if (cyc_star_double(&(*out)[i], b, i, column) != CYC_OK) {
			(*out)[i] = CYC_NAN;
			cyc_error_clear();
		}
	}
done:
	cyc_star_destroy(&star);
	return st;
}

/* Corrected last, so that nothing lies over the curve that counts. */
static cyc_status put_state(FILE *f, const cyc__cycle *c, const cyc__step *s, const char *which)
{
	cyc_status st = CYC_OK;
	static const char *const LABELS[2] = {
		CYC_RLN_FOURIER_SHELL_CORRELATION_MASKED_MAPS,
		CYC_RLN_CORRECTED_FOURIER_SHELL_CORRELATION_PHASE_RANDOMIZED_MASKED_MAPS
	};
	static const char *const NAMES[2] = { "masked", "phases randomised, masked" };
	double *curve[2] = { NULL }, *x = NULL;
	cyc_plot_series series[N_CURVES];
	char title[120], mark[40], state[80];
	int32_t n = 0, n_rows = 0;
	CYC_TRY(cyc_alloc(&x, s->n_shells, sizeof *x));
	for (int32_t i = 0; i < s->n_shells; i++) x[i] = i / (c->in.crop_px * c->in.pixel_size_A);
	series[n++] =
		(cyc_plot_series){ .label = "unmasked", .n = s->n_shells, .x = x, .y = s->fsc_unmasked, .colour = 5 };
	for (int k = 0; k < 2 && c->in.mask_fsc; k++) {
		CYC_TRY(read_curve(&curve[k], &n_rows, c, s, LABELS[k]));
		if (!curve[k] || n_rows != s->n_shells) continue;
		series[n++] = (cyc_plot_series){ .label = NAMES[k],
			                             .n = n_rows,
			                             .x = x,
			                             .y = curve[k],
			                             .colour = k == 0 ? 2 : 1,
			                             .is_dashed = k == 1 };
	}
	if (c->in.mask_fsc)
		series[n++] = (cyc_plot_series){
			.label = "corrected", .n = s->n_shells, .x = x, .y = s->fsc, .colour = 6, .width = 2.8
		};
	cyc__name_state(state, sizeof state, c, s);
	snprintf(title, sizeof title, "%s: %s", which, state);
	snprintf(mark, sizeof mark, "%.2f Å", s->resolution_A);
	cyc_plot plot = cyc_fsc_plot(title, series, n);
	plot.v_line = s->resolution_A > 0 ? 1 / s->resolution_A : CYC_NAN;
	plot.v_line_label = mark;
	CYC_TRY(cyc__put_plot(
		f, &plot, 1,
		c->in.mask_fsc
			? "FSC of the half maps of this state. The resolution is where the corrected curve falls below "
			  "0.143."
			: "FSC of the half maps of this state, without a mask."));
done:
	cyc_free(curve[0]);
	cyc_free(curve[1]);
	cyc_free(x);
	return st;
}

/* The judged curve of each state. */
static cyc_status put_steps(FILE *f, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc_plot_series *series = NULL;
	double *x = NULL;
	int32_t n = 0, n_shells = c->steps[cyc__first_postprocess(c)].n_shells;
	char(*labels)[120] = NULL, name[80];
	CYC_TRY(cyc_alloc(&series, c->n_steps, sizeof *series));
	CYC_TRY(cyc_alloc(&labels, c->n_steps, sizeof *labels));
	CYC_TRY(cyc_alloc(&x, n_shells, sizeof *x));
	for (int32_t i = 0; i < n_shells; i++) x[i] = i / (c->in.crop_px * c->in.pixel_size_A);
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->n_shells != n_shells) continue;
		cyc__name_state(name, sizeof name, c, s);
		snprintf(labels[n], sizeof labels[n], "%s, %.2f Å%s", name, s->resolution_A,
		         cyc__is_rejected(s->decision) ? " (rejected)" : "");
		series[n] = (cyc_plot_series){ .label = labels[n],
			                           .n = n_shells,
			                           .x = x,
			                           .y = s->fsc,
			                           .is_dashed = cyc__is_rejected(s->decision),
			                           .colour = -1,
			                           .width = i == c->i_best ? 2.8 : 0 };
		n++;
	}
	const cyc_plot plot = cyc_fsc_plot(c->in.mask_fsc ? "After each refinement, corrected for the mask"
	                                                  : "After each refinement, without mask",
	                                   series, n);
	CYC_TRY(cyc__put_plot(f, &plot, 1,
	                      "The curves on which the decisions were based; that of the result is thick."));
done:
	cyc_free(series);
	cyc_free(labels);
	cyc_free(x);
	return st;
}

cyc_status cyc__put_fsc(const cyc__page *p)
{
	cyc_status st = CYC_OK;
	const cyc__cycle *c = p->c;
	fputs("<section id=\"fsc\"><h2>Fourier shell correlation</h2>\n<div class=\"two\">", p->f);
	if (p->i_best != p->i_first) {
		CYC_TRY(put_state(p->f, c, &c->steps[p->i_first], "Before"));
		CYC_TRY(put_state(p->f, c, &c->steps[p->i_best], "After"));
	} else {
		CYC_TRY(put_state(p->f, c, &c->steps[p->i_best], "Result"));
	}
	CYC_TRY(put_steps(p->f, c));
	fputs("</div></section>\n", p->f);
done:
	return st;
}

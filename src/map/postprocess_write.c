#include "postprocess_internal.h"

#include "cyclotomo/report.h"
#include "cyclotomo/version.h"
#include "project/labels.h"

#include <string.h>

static const char LABEL[] = "cyclotomo " CYCLOTOMO_VERSION " postprocess";

/* root/out_root + suffix, and the same relative to the root. */
static cyc_status output_name(char **relative, char **path, const cyc__postprocess *p, const char *suffix)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_asprintf(&name, "%s%s", p->o->out_root, suffix));
	CYC_TRY(cyc_path_join(path, p->o->root, name));
	if (relative) {
		*relative = name;
		name = NULL;
	}
done:
	cyc_free(name);
	return st;
}

/* ---------------------------------------------------------------- maps */

static cyc_status write_map(const cyc__postprocess *p, const cyc_volume *v, const char *suffix)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_asprintf(&name, "%s%s", p->o->out_root, suffix));
	CYC_TRY(cyc_map_write(p->o->root, name, v, LABEL, p->o->n_threads));
done:
	cyc_free(name);
	return st;
}

/* The filtered map of the average (half < 0) or of one half, and the same under the mask. */
static cyc_status write_filtered(const cyc__postprocess *p, int half, const char *suffix,
                                 const char *masked_suffix)
{
	cyc_status st = CYC_OK;
	cyc_cfloat *ft = NULL;
	cyc_volume *v = NULL;
	size_t n_half = cyc_half_count3(p->n);
	CYC_TRY(cyc_alloc(&ft, n_half, sizeof *ft));
	CYC_TRY(cyc_volume_create(&v, p->n, p->n, p->n, p->pixel_size_A));
	for (size_t i = 0; i < n_half; i++)
		ft[i] = half < 0 ? (p->ft[0][i] + p->ft[1][i]) * 0.5f : p->ft[half][i];
	CYC_TRY(cyc__filter_apply(ft, p->n, p->filter, 1.0, p->o->n_threads));
	CYC_TRY(cyc_fft3_inverse(v->data, p->plan, ft));
	CYC_TRY(write_map(p, v, suffix));
	if (p->mask) {
		size_t count = cyc_volume_count(v);
		for (size_t i = 0; i < count; i++) v->data[i] *= p->mask->data[i];
		CYC_TRY(write_map(p, v, masked_suffix));
	}
done:
	cyc_free(ft);
	cyc_volume_destroy(&v);
	return st;
}

static cyc_status write_maps(const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	CYC_TRY(write_filtered(p, -1, ".mrc", "_masked.mrc"));
	if (p->o->write_half_maps) {
		CYC_TRY(write_filtered(p, 0, "_half1.mrc", "_half1_masked.mrc"));
		CYC_TRY(write_filtered(p, 1, "_half2.mrc", "_half2_masked.mrc"));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- STAR */

static cyc_status list_name(cyc_star_block *b, const char *label, const cyc__postprocess *p,
                            const char *suffix)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_asprintf(&name, "%s%s", p->o->out_root, suffix));
	CYC_TRY(cyc_star_list_set_text(b, label, name));
done:
	cyc_free(name);
	return st;
}

/* What the map is judged by, which RELION has no labels for. */
static cyc_status add_judgement(cyc_star_block *b, const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_star_list_set_double(b, CYC_OWN_MEAN_FSC, cyc__mean_fsc(p->fsc_judged, p->n_shells)));
	CYC_TRY(cyc_star_list_set_double(b, CYC_OWN_EDGE_FSC, p->edge_fsc));
	CYC_TRY(cyc_star_list_set_double(b, CYC_OWN_EDGE_FSC_ERROR, p->edge_fsc_error));
	if (p->mask) {
		CYC_TRY(cyc_star_list_set_double(b, CYC_OWN_EDGE_FSC_OUTSIDE, p->edge_fsc_outside));
		CYC_TRY(cyc_star_list_set_double(b, CYC_OWN_EDGE_FSC_OUTSIDE_ERROR, p->edge_fsc_outside_error));
	}
	if (p->o->compare_to) {
		CYC_TRY(cyc_star_list_set_text(b, CYC_OWN_COMPARED_TO, p->o->compare_to));
		CYC_TRY(cyc_star_list_set_double(b, CYC_OWN_MEAN_FSC_DIFFERENCE, p->difference));
		CYC_TRY(cyc_star_list_set_double(b, CYC_OWN_MEAN_FSC_DIFFERENCE_ERROR, p->difference_error));
	}
done:
	return st;
}

static cyc_status add_general(cyc_star *s, const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b = NULL;
	double weight_kDa = p->o->molecular_weight_kDa;
	CYC_TRY(cyc_star_add_block(&b, s, "general", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_double(b, CYC_RLN_FINAL_RESOLUTION,
	                                 cyc__shell_resolution_A(p->resolution_shell, p->n, p->pixel_size_A)));
	CYC_TRY(cyc_star_list_set_double(b, CYC_RLN_BFACTOR_USED_FOR_SHARPENING, p->bfactor_A2));
	CYC_TRY(cyc_star_list_set_text(b, CYC_RLN_UNFILTERED_MAP_HALF1, p->half[0]));
	CYC_TRY(cyc_star_list_set_text(b, CYC_RLN_UNFILTERED_MAP_HALF2, p->half[1]));
	CYC_TRY(list_name(b, CYC_RLN_POSTPROCESSED_MAP, p, ".mrc"));
	if (weight_kDa > 0.0) {
		CYC_TRY(cyc_star_list_set_double(b, CYC_RLN_MOLECULAR_WEIGHT, weight_kDa));
		CYC_TRY(cyc_star_list_set_double(b, CYC_RLN_PARTICLE_BOX_FRACTION_MOLECULAR_WEIGHT,
		                                 cyc__molecular_weight_fraction(weight_kDa, p->n, p->pixel_size_A)));
	}
	CYC_TRY(add_judgement(b, p));
	if (p->mask) {
		CYC_TRY(cyc_star_list_set_double(b, CYC_RLN_PARTICLE_BOX_FRACTION_SOLVENT_MASK,
		                                 0.476 / p->mask_fraction));
		CYC_TRY(cyc_star_list_set_text(b, CYC_RLN_MASK_NAME, p->o->mask));
		CYC_TRY(cyc_star_list_set_double(b, CYC_RLN_RANDOMISE_FROM,
		                                 cyc__shell_resolution_A(p->randomise_from, p->n, p->pixel_size_A)));
		CYC_TRY(list_name(b, CYC_RLN_POSTPROCESSED_MAP_MASKED, p, "_masked.mrc"));
	}
	if (!p->o->has_bfactor) {
		CYC_TRY(cyc_star_list_set_double(b, CYC_RLN_FITTED_SLOPE_GUINIER_PLOT, p->fit.slope_A2));
		CYC_TRY(cyc_star_list_set_double(b, CYC_RLN_FITTED_INTERCEPT_GUINIER_PLOT, p->fit.intercept));
		CYC_TRY(cyc_star_list_set_double(b, CYC_RLN_CORRELATION_FIT_GUINIER_PLOT, p->fit.correlation));
	}
done:
	return st;
}

/* A column of n values; rows are added as needed. */
static cyc_status add_column(cyc_star_block *b, const char *label, const double *v, int32_t n)
{
	cyc_status st = CYC_OK;
	int32_t column;
	CYC_TRY(cyc_star_ensure_column(&column, b, label, ""));
	for (int64_t i = 0; i < n; i++) CYC_TRY(cyc_star_set_double(b, i, column, v[i]));
done:
	return st;
}

static cyc_status add_fsc(cyc_star *s, const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b = NULL;
	double *v = NULL, fraction = p->mask ? 0.476 / p->mask_fraction : 0.0;
	int32_t n = p->n_shells, column;
	int64_t row;
	CYC_TRY(cyc_alloc(&v, n, sizeof *v));
	CYC_TRY(cyc_star_add_block(&b, s, "fsc", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_SPECTRAL_INDEX, ""));
	for (int32_t i = 0; i < n; i++) {
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_int(b, row, column, i));
		v[i] = 1.0 / cyc__shell_resolution_A(i, p->n, p->pixel_size_A);
	}
	CYC_TRY(add_column(b, CYC_RLN_RESOLUTION, v, n));
	for (int32_t i = 0; i < n; i++) v[i] = cyc__shell_resolution_A(i, p->n, p->pixel_size_A);
	CYC_TRY(add_column(b, CYC_RLN_ANGSTROM_RESOLUTION, v, n));
	CYC_TRY(add_column(b, CYC_RLN_FOURIER_SHELL_CORRELATION_CORRECTED, p->fsc_corrected, n));
	if (p->mask) {
		for (int32_t i = 0; i < n; i++) v[i] = cyc__fsc_of_particle(p->fsc_unmasked[i], fraction);
		CYC_TRY(add_column(b, CYC_RLN_FOURIER_SHELL_CORRELATION_PARTICLE_MASK_FRACTION, v, n));
	}
	if (p->o->molecular_weight_kDa > 0.0) {
		fraction = cyc__molecular_weight_fraction(p->o->molecular_weight_kDa, p->n, p->pixel_size_A);
		for (int32_t i = 0; i < n; i++) v[i] = cyc__fsc_of_particle(p->fsc_unmasked[i], fraction);
		CYC_TRY(add_column(b, CYC_RLN_FOURIER_SHELL_CORRELATION_PARTICLE_MOL_WEIGHT, v, n));
	}
	CYC_TRY(add_column(b, CYC_RLN_FOURIER_SHELL_CORRELATION_UNMASKED_MAPS, p->fsc_unmasked, n));
	if (p->mask) {
		CYC_TRY(add_column(b, CYC_RLN_FOURIER_SHELL_CORRELATION_MASKED_MAPS, p->fsc_masked, n));
		CYC_TRY(add_column(b, CYC_RLN_CORRECTED_FOURIER_SHELL_CORRELATION_PHASE_RANDOMIZED_MASKED_MAPS,
		                   p->fsc_randomised, n));
	}
	static const char *const AMPLITUDE[2] = { CYC_RLN_AMPLITUDE_CORRELATION_UNMASKED_MAPS,
		                                      CYC_RLN_AMPLITUDE_CORRELATION_MASKED_MAPS };
	static const char *const RESIDUAL[2] = { CYC_RLN_DIFFERENTIAL_PHASE_RESIDUAL_UNMASKED_MAPS,
		                                     CYC_RLN_DIFFERENTIAL_PHASE_RESIDUAL_MASKED_MAPS };
	for (int i = 0; i < 2; i++)
		if (p->amplitude_correlation[i]) CYC_TRY(add_column(b, AMPLITUDE[i], p->amplitude_correlation[i], n));
	for (int i = 0; i < 2; i++)
		if (p->phase_residual_deg[i]) CYC_TRY(add_column(b, RESIDUAL[i], p->phase_residual_deg[i], n));
done:
	cyc_free(v);
	return st;
}

static cyc_status add_guinier(cyc_star *s, const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b = NULL;
	double *v = NULL;
	int32_t n = p->n_shells;
	int64_t row;
	CYC_TRY(cyc_alloc(&v, n, sizeof *v));
	CYC_TRY(cyc_star_add_block(&b, s, "guinier", CYC_STAR_TABLE));
	for (int32_t i = 0; i < n; i++) {
		CYC_TRY(cyc_star_add_row(&row, b));
		v[i] = p->fit.intercept;
	}
	CYC_TRY(add_column(b, CYC_RLN_RESOLUTION_SQUARED, p->guinier_original->x_invA2, n));
	CYC_TRY(add_column(b, CYC_RLN_LOG_AMPLITUDES_ORIGINAL, p->guinier_original->y, n));
	if (p->guinier_mtf) CYC_TRY(add_column(b, CYC_RLN_LOG_AMPLITUDES_MTF_CORRECTED, p->guinier_mtf->y, n));
	if (p->guinier_weighted)
		CYC_TRY(add_column(b, CYC_RLN_LOG_AMPLITUDES_WEIGHTED, p->guinier_weighted->y, n));
	if (p->guinier_sharpened)
		CYC_TRY(add_column(b, CYC_RLN_LOG_AMPLITUDES_SHARPENED, p->guinier_sharpened->y, n));
	if (!p->o->has_bfactor) CYC_TRY(add_column(b, CYC_RLN_LOG_AMPLITUDES_INTERCEPT, v, n));
done:
	cyc_free(v);
	return st;
}

static cyc_status write_star(char **name, const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	char *path = NULL;
	CYC_TRY(output_name(name, &path, p, ".star"));
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(cyc_star_set_comment(s, LABEL));
	CYC_TRY(add_general(s, p));
	CYC_TRY(add_fsc(s, p));
	CYC_TRY(add_guinier(s, p));
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- curves for other programs */

static cyc_status write_curves(const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_outfile xml = { 0 }, dat = { 0 };
	char *xml_path = NULL, *dat_path = NULL;
	CYC_TRY(output_name(NULL, &xml_path, p, "_fsc.xml"));
	CYC_TRY(output_name(NULL, &dat_path, p, "_fsc.dat"));
	CYC_TRY(cyc_outfile_open(&xml, xml_path));
	CYC_TRY(cyc_outfile_open(&dat, dat_path));
	fprintf(xml.f, "<fsc title=\"%s\" xaxis=\"Resolution (A-1)\" yaxis=\"Correlation Coefficient\">\n",
	        p->mask ? "Masked, corrected FSC" : "Unmasked FSC");
	for (int32_t i = 0; i < p->n_shells; i++) {
		double x = 1.0 / cyc__shell_resolution_A(i, p->n, p->pixel_size_A);
		fprintf(xml.f, "  <coordinate>\n    <x>%.6f</x>\n    <y>%.6f</y>\n  </coordinate>\n", x,
		        p->fsc_corrected[i]);
		fprintf(dat.f, "%.6f %.6f\n", x, p->fsc_corrected[i]);
	}
	fputs("</fsc>\n", xml.f);
	CYC_TRY(cyc_outfile_commit(&xml));
	CYC_TRY(cyc_outfile_commit(&dat));
done:
	cyc_outfile_abandon(&xml);
	cyc_outfile_abandon(&dat);
	cyc_free(xml_path);
	cyc_free(dat_path);
	return st;
}

/* ---------------------------------------------------------------- figures */

static cyc_status write_figure(const cyc__postprocess *p, const cyc_plot *plot, const char *name)
{
	static const char *const SUFFIX[] = { ".svg", ".png" };
	cyc_status st = CYC_OK;
	char *suffix = NULL, *path = NULL;
	for (int i = 0; i < 2; i++) {
		CYC_TRY(cyc_asprintf(&suffix, "%s%s", name, SUFFIX[i]));
		CYC_TRY(output_name(NULL, &path, p, suffix));
		CYC_TRY(cyc_plot_write(path, plot, 1));
		cyc_free(suffix);
		cyc_free(path);
		suffix = path = NULL;
	}
done:
	cyc_free(suffix);
	cyc_free(path);
	return st;
}

static void gap_marked(double *v, int32_t n)
{
	for (int32_t i = 0; i < n; i++)
		if (v[i] <= -99.0) v[i] = (double)NAN;
}

enum { N_FSC_CURVES = 4 };
/* Colours are those of the page of a cycle; the curve that counts is drawn last, over the others. */
static int32_t fsc_curves(cyc_plot_series out[N_FSC_CURVES], const cyc__postprocess *p,
                          const double *frequency)
{
	int32_t n = 0;
	const cyc_plot_series all[N_FSC_CURVES] = {
		{ .label = "unmasked", .y = p->fsc_unmasked, .colour = 5 },
		{ .label = "masked", .y = p->fsc_masked, .colour = 2 },
		{ .label = "phases randomised, masked", .y = p->fsc_randomised, .colour = 1, .is_dashed = true },
		{ .label = "corrected", .y = p->fsc_corrected, .colour = 6, .width = 2.8 }
	};
	for (int32_t i = 0; i < (p->mask ? N_FSC_CURVES : 1); i++) {
		out[n] = all[i];
		out[n].n = p->n_shells;
		out[n++].x = frequency;
	}
	return n;
}

static cyc_status write_figures(const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	int32_t n = p->n_shells, n_guinier = 0;
	double *buffer = NULL;
	char *title = NULL, *guinier_title = NULL, *dir = NULL, *name = NULL, *path = NULL;
	char mark[40];
	cyc_plot_series fsc[N_FSC_CURVES], guinier[5];
	const cyc__guinier *curves[4] = { p->guinier_original, p->guinier_mtf, p->guinier_weighted,
		                              p->guinier_sharpened };
	static const char *const CURVE[4] = { "original", "MTF corrected", "FSC weighted", "sharpened" };
	CYC_TRY(cyc_alloc(&buffer, 6 * (size_t)n, sizeof *buffer));
	double *frequency = buffer, *line = buffer + n;
	int32_t last_fitted = n - 1;
	const cyc__guinier *fitted = p->guinier_weighted ? p->guinier_weighted : p->guinier_original;
	while (last_fitted > 0 && !fitted->is_fitted[last_fitted]) last_fitted--;
	for (int32_t i = 0; i < n; i++) {
		frequency[i] = i / (p->n * p->pixel_size_A);
		line[i] = p->guinier_original->x_invA2[i] * p->fit.slope_A2 + p->fit.intercept;
		if (i > last_fitted) line[i] = (double)NAN;
	}
#define ADD(list, n_list, text, xs, ys, dashed)                                                              \
	(list)[(n_list)++] = (cyc_plot_series)                                                                   \
	{                                                                                                        \
		.label = (text), .n = n, .x = (xs), .y = (ys), .is_dashed = (dashed), .colour = -1                   \
	}
	for (int c = 0; c < 4; c++) {
		if (!curves[c]) continue;
		double *y = buffer + (2 + c) * n;
		memcpy(y, curves[c]->y, (size_t)n * sizeof *y);
		y[0] = (double)NAN; /* the mean of the map: far off the others, and not part of the fit */
		gap_marked(y, n);
		ADD(guinier, n_guinier, CURVE[c], p->guinier_original->x_invA2, y, false);
	}
	if (!p->o->has_bfactor && p->fit.n_points >= 3)
		ADD(guinier, n_guinier, "fit", p->guinier_original->x_invA2, line, true);
#undef ADD
	double resolution_A = cyc__shell_resolution_A(p->resolution_shell, p->n, p->pixel_size_A);
	CYC_TRY(cyc_asprintf(&title, "FSC: final resolution %.2f Å", resolution_A));
	CYC_TRY(cyc_asprintf(&guinier_title, "Guinier plot: B-factor %.1f Å²", p->bfactor_A2));
	cyc_plot fsc_plot = cyc_fsc_plot(title, fsc, fsc_curves(fsc, p, frequency));
	snprintf(mark, sizeof mark, "%.2f Å", resolution_A);
	fsc_plot.v_line = p->resolution_shell > 0 ? 1 / resolution_A : (double)NAN;
	fsc_plot.v_line_label = mark;
	const cyc_plot guinier_plot = { .title = guinier_title,
		                            .x_label = "Resolution squared (1/Å²)",
		                            .y_label = "ln mean amplitude",
		                            .h_line = (double)NAN,
		                            .n_series = n_guinier,
		                            .series = guinier };
	CYC_TRY(write_figure(p, &fsc_plot, "_fsc"));
	CYC_TRY(write_figure(p, &guinier_plot, "_guinier"));
	CYC_TRY(cyc_path_dir(&dir, p->o->out_root));
	CYC_TRY(cyc_asprintf(&name, "%slogfile.pdf", dir));
	CYC_TRY(cyc_path_join(&path, p->o->root, name));
	const cyc_plot *figures[2] = { &fsc_plot, &guinier_plot };
	const int32_t n_panels[2] = { 1, 1 };
	CYC_TRY(cyc_plot_write_pdf(path, figures, n_panels, 2));
done:
	cyc_free(buffer);
	cyc_free(title);
	cyc_free(guinier_title);
	cyc_free(dir);
	cyc_free(name);
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- optimisation set */

static cyc_status write_optimisation_set(char **name, const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	char *star = NULL;
	CYC_TRY(cyc_asprintf(&star, "%s.star", p->o->out_root));
	CYC_TRY(cyc_asprintf(name, "%s_optimisation_set.star", p->o->out_root));
	const cyc_set_changes now = { .half1 = p->half[0], .half2 = p->half[1], .fsc = star, .mask = p->o->mask };
	/* The set's own mask is the one particles are aligned with, which may be another than that of the FSC:
	 * keep it. */
	CYC_TRY(cyc_optimisation_set_write_result(p->o->root, *name, p->set, &now));
done:
	cyc_free(star);
	return st;
}

cyc_status cyc__postprocess_write(char **star, char **optimisation_set, const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, p->o->root, p->o->out_root));
	CYC_TRY(cyc_make_parent_dirs(path));
	CYC_TRY(write_maps(p));
	CYC_TRY(write_curves(p));
	if (!p->o->no_figures) CYC_TRY(write_figures(p));
	if (p->set) CYC_TRY(write_optimisation_set(optimisation_set, p));
	CYC_TRY(write_star(star, p));
done:
	cyc_free(path);
	return st;
}

/* The particles of the state that the run is in: directions, probabilities, errors of their poses. */
#include "summary/page.h"

#include "cyclotomo/report.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- directions */

/* Six angles of each particle, straight from the table: reading the whole set again would repeat its
 * warnings. The third row of reference -> tomogram is the tomogram's z axis in the frame of the map. */
static cyc_status read_directions(double **rot_rad, double **tilt_rad, int64_t *n, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	*n = cyc_star_n_rows(b);
	CYC_TRY(cyc_alloc(rot_rad, *n, sizeof **rot_rad));
	CYC_TRY(cyc_alloc(tilt_rad, *n, sizeof **tilt_rad));
	for (int64_t i = 0; i < *n; i++) {
		double a[6], psi;
		CYC_TRY(cyc_label_get_three(a, b, i, CYC_LABELS_SUBTOMOGRAM));
		CYC_TRY(cyc_label_get_three(a + 3, b, i, CYC_LABELS_ANGLE));
		cyc_mat3 R =
			cyc_mat3_mul(cyc_euler_to_matrix(a[0], a[1], a[2]), cyc_euler_to_matrix(a[3], a[4], a[5]));
		cyc_euler_from_matrix(&(*rot_rad)[i], &(*tilt_rad)[i], &psi, R);
	}
done:
	return st;
}

/* The pictures of the page are drawn once a state. */
static cyc_status put_directions(FILE *f, const cyc__cycle *c, const cyc_star_block *b, uint64_t state_key)
{
	cyc_status st = CYC_OK;
	char *png = NULL, *uri = NULL, *html = NULL;
	double *rot_rad = NULL, *tilt_rad = NULL;
	int64_t n = 0;
	size_t n_bytes = 0;
	uint64_t key = cyc_hash_string(state_key, "directions");
	if (cyc__put_cached(f, c, key)) return CYC_OK;
	CYC_TRY(read_directions(&rot_rad, &tilt_rad, &n, b));
	CYC_TRY(cyc_directions_png(&png, &n_bytes, rot_rad, tilt_rad, n));
	CYC_TRY(cyc_png_data_uri(&uri, png, n_bytes));
	CYC_TRY(cyc_asprintf(
		&html,
		"<figure><img class=\"chart\" alt=\"directions of the particles\" src=\"%s\"><figcaption><b>Angular "
		"distribution</b>: viewing direction of each of the %lld particles at zero tilt, in the frame of the "
		"map, no symmetry applied. Colour: number of particles relative to a uniform distribution. "
		"Equal-area projection.</figcaption></figure>\n",
		uri, (long long)n));
	CYC_TRY(cyc__put_and_keep(f, c, key, &html));
done:
	cyc_free(png);
	cyc_free(uri);
	cyc_free(rot_rad);
	cyc_free(tilt_rad);
	return st;
}

/* ---------------------------------------------------------------- histograms */

static cyc_status put_histogram(FILE *f, const double *values, int64_t n, double low, double high,
                                const char *title, const char *x_label, const char *caption)
{
	double x[CYC_HISTOGRAM_POINTS], y[CYC_HISTOGRAM_POINTS];
	cyc_histogram_outline(x, y, values, n, low, high);
	const cyc_plot_series series = { .n = CYC_HISTOGRAM_POINTS, .x = x, .y = y, .width = 2.2 };
	const cyc_plot plot = { .title = title,
		                    .x_label = x_label,
		                    .y_label = "particles",
		                    .x_min = low,
		                    .x_max = high,
		                    .h_line = CYC_NAN,
		                    .n_series = 1,
		                    .series = &series };
	return cyc__put_plot(f, &plot, 1, caption);
}

static cyc_status put_probabilities(FILE *f, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	const double DOUBTFUL = 0.5;
	double *p = NULL;
	char caption[300];
	int64_t n = cyc_star_n_rows(b), n_doubtful = 0;
	int32_t column = cyc_star_column(b, CYC_OWN_PARTICLE_PROBABILITY);
	if (column < 0 || n == 0) return CYC_OK;
	CYC_TRY(cyc_alloc(&p, n, sizeof *p));
	for (int64_t i = 0; i < n; i++) {
		CYC_TRY(cyc_star_double(&p[i], b, i, column));
		n_doubtful += p[i] < DOUBTFUL;
	}
	snprintf(caption, sizeof caption,
	         "<b>P(particle)</b>: probability that a pick shows the particle at about this pose; %lld of "
	         "%lld are below 0.5 and get little weight (<code>cycParticleProbability</code>).",
	         (long long)n_doubtful, (long long)n);
	CYC_TRY(put_histogram(f, p, n, 0, 1, "Probability of being the particle", "P(particle)", caption));
done:
	cyc_free(p);
	return st;
}

/* Root of the sum of squares of three columns; -1 in any: not known. */
static cyc_status read_error(double **out, int64_t *n_known, const cyc_star_block *b,
                             const char *const labels[3])
{
	cyc_status st = CYC_OK;
	int64_t n = cyc_star_n_rows(b);
	*n_known = 0;
	CYC_TRY(cyc_alloc(out, n, sizeof **out));
	for (int64_t i = 0; i < n; i++) {
		double sum2 = 0;
		bool is_known = true;
		for (int k = 0; k < 3; k++) {
			double v;
			CYC_TRY(cyc_star_double_or(&v, b, i, labels[k], -1));
			is_known = is_known && v >= 0;
			sum2 += v * v;
		}
		if (is_known) (*out)[(*n_known)++] = sqrt(sum2);
	}
	cyc_sort(*out, (size_t)*n_known);
done:
	return st;
}

static cyc_status put_errors(FILE *f, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	static const char *const LABELS[2][3] = {
		{ CYC_OWN_ROTATION_X_ERROR_DEG, CYC_OWN_ROTATION_Y_ERROR_DEG, CYC_OWN_ROTATION_Z_ERROR_DEG },
		{ CYC_OWN_POSITION_X_ERROR_ANGST, CYC_OWN_POSITION_Y_ERROR_ANGST, CYC_OWN_POSITION_Z_ERROR_ANGST }
	};
	static const char *const TITLES[2] = { "Error of orientations", "Error of positions" };
	static const char *const UNITS[2] = { "standard error (degrees)", "standard error (Å)" };
	cyc_star *star = NULL;
	double *v = NULL;
	char caption[300];
	CYC_TRY(cyc__read_if_readable(&star, c, cyc__pairs_get(&s->outputs, "standard errors")));
	const cyc_star_block *b = star ? cyc_star_find(star, "particles") : NULL;
	for (int k = 0; b && k < 2; k++) {
		int64_t n;
		CYC_TRY(read_error(&v, &n, b, LABELS[k]));
		if (n > 0) {
			double high = v[(int64_t)(0.98 * (double)(n - 1))] * 1.15;
			snprintf(caption, sizeof caption,
			         "<b>%s</b>, three axes combined: median %.2f %s%s. Not shown on the right: %s.",
			         TITLES[k], v[n / 2], k == 0 ? "degrees" : "Å",
			         cyc__is_turn_accepted(c, s) ? "" : " (rejected)", "at most the worst 2 %");
			if (high > 0) CYC_TRY(put_histogram(f, v, n, 0, high, TITLES[k], UNITS[k], caption));
		}
		cyc_free(v);
		v = NULL;
	}
done:
	cyc_star_destroy(&star);
	cyc_free(v);
	return st;
}

/* How well each refinement of the orientations knows them. */
static void put_refine3d(FILE *f, const cyc__cycle *c)
{
	static const char *const COLUMNS[] = { "Orientations by",
		                                   "=Iterations",
		                                   "=Error of orientations (°)",
		                                   "=Error of positions (Å)",
		                                   "=Probably not<br>the particle",
		                                   "=Wrong pose,<br>found again" };
	bool has_any = false;
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->kind != CYC__REFINE3D || !s->output_set) continue;
		if (!has_any) cyc__begin_table(f, "Refinements of the orientations", COLUMNS, 6);
		has_any = true;
		fprintf(f, "<tr><th scope=\"row\">%s</th>", s->name);
		cyc__put_number_cell(f, "%.0f", s->n_iterations);
		cyc__put_number_cell(f, "%.2f", s->rotation_error_deg);
		cyc__put_number_cell(f, "%.2f", s->offset_error_A);
		cyc__put_number_cell(f, "%.0f", s->n_improbable);
		cyc__put_number_cell(f, "%.0f", s->n_found_again);
		fputs("</tr>\n", f);
	}
	if (!has_any) return;
	cyc__end_table(f);
	fputs("<p class=\"note\">Medians of the standard errors, three axes combined, as the particles' own "
	      "images give "
	      "them; the figure of positions also has what the error of the tilt alignment adds. Picks that "
	      "probably do not "
	      "show the particle get little or no weight in later steps (listed in "
	      "<code>run_improbable.star</code>; <code>--keep-all</code> weights all alike).</p>\n",
	      f);
}

cyc_status cyc__put_particles(const cyc__page *p)
{
	cyc_status st = CYC_OK;
	FILE *f = p->f;
	const cyc__cycle *c = p->c;
	cyc_optimisation_set *set = NULL;
	cyc_star *star = NULL;
	cyc_star_block *b;
	char *path = NULL;
	const char *state = c->steps[p->i_best].output_set;
	const cyc__step *refined = cyc__newest_of(c, CYC__REFINE3D);
	CYC_TRY(cyc_path_join(&path, c->o->input.root, state));
	CYC_TRY(cyc_optimisation_set_read(&set, path));
	CYC_CHECK(set->particles, CYC_E_INTERNAL, "'%s' names no particles", state);
	cyc_free(path);
	path = NULL;
	CYC_TRY(cyc_path_join(&path, c->o->input.root, set->particles));
	CYC_TRY(cyc_star_read(&star, path));
	CYC_TRY(cyc_star_require(&b, star, "particles"));
	fputs("<section id=\"particles\"><h2>Particles</h2>\n<p>Current state: ", f);
	CYC_TRY(cyc__put_link(f, c, set->particles, NULL));
	fputs(".</p>\n<div class=\"two\">", f);
	CYC_TRY(put_directions(f, c, b, c->steps[p->i_best].state_key));
	CYC_TRY(put_probabilities(f, b));
	if (refined) CYC_TRY(put_errors(f, c, refined));
	fputs("</div>\n", f);
	put_refine3d(f, c);
	fputs("</section>\n", f);
done:
	cyc_optimisation_set_destroy(&set);
	cyc_star_destroy(&star);
	cyc_free(path);
	return st;
}

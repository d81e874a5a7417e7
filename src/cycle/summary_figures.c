/* Pictures of the summary page that are files elsewhere, or made of the final particles. */
#include "summary.h"

#include "cyclotomo/report.h"
#include "project/labels.h"

#include <string.h>

/* ---------------------------------------------------------------- directions */

/* Six angles of each particle, straight from the table: reading the whole set again would repeat its
 * warnings. The third row of reference -> tomogram is the tomogram's z axis in the frame of the map. */
static cyc_status read_directions(double **rot_rad, double **tilt_rad, int64_t *n, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b;
	CYC_TRY(cyc_star_read(&star, path));
	CYC_TRY(cyc_star_require(&b, star, "particles"));
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
	cyc_star_destroy(&star);
	return st;
}

cyc_status cyc__put_directions(FILE *f, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	char *path = NULL, *png = NULL, *uri = NULL;
	double *rot_rad = NULL, *tilt_rad = NULL;
	int64_t n = 0;
	size_t n_bytes = 0;
	CYC_TRY(cyc_path_join(&path, c->o->input.root, c->steps[c->i_best].output_set));
	CYC_TRY(cyc_optimisation_set_read(&set, path));
	cyc_free(path);
	path = NULL;
	CYC_CHECK(set->particles, CYC_E_INTERNAL, "'%s' names no particles", c->steps[c->i_best].output_set);
	CYC_TRY(cyc_path_join(&path, c->o->input.root, set->particles));
	CYC_TRY(read_directions(&rot_rad, &tilt_rad, &n, path));
	CYC_TRY(cyc_directions_png(&png, &n_bytes, rot_rad, tilt_rad, n));
	CYC_TRY(cyc_png_data_uri(&uri, png, n_bytes));
	fprintf(f,
	        "<h2>Directions of the particles</h2>\n<p>The tomograms' z axis (the beam at tilt 0) as each of "
	        "the %lld particles shows it to the map, without symmetry. "
	        "Density over that of an even spread; the map keeps areas.</p>\n"
	        "<figure><img alt=\"directions of the particles\" src=\"%s\"><figcaption><code>",
	        (long long)n, uri);
	cyc__put_escaped(f, set->particles);
	fputs("</code></figcaption></figure>\n", f);
done:
	cyc_optimisation_set_destroy(&set);
	cyc_free(path);
	cyc_free(png);
	cyc_free(uri);
	cyc_free(rot_rad);
	cyc_free(tilt_rad);
	return st;
}

/* ---------------------------------------------------------------- what polishing drew */

/* The newest polishing whose turn was accepted, else the newest at all; NULL without any. */
static const cyc__step *shown_polish(const cyc__cycle *c)
{
	const cyc__step *taken = NULL, *newest = NULL;
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (s->kind != CYC__POLISH || !s->output_set) continue;
		newest = s;
		for (int32_t k = i + 1; k < c->n_steps && c->steps[k].i_turn == s->i_turn; k++) {
			if (cyc__is_accepted(c->steps[k].decision)) taken = s;
		}
	}
	return taken ? taken : newest;
}

static cyc_status put_polish_figure(FILE *f, const cyc__step *s, const char *series, const char *path,
                                    bool is_open)
{
	cyc_status st = CYC_OK;
	char *png = NULL, *uri = NULL;
	size_t n = 0;
	CYC_TRY(cyc_read_file(&png, &n, path));
	CYC_TRY(cyc_png_data_uri(&uri, png, n));
	fprintf(f, "<details%s><summary>", is_open ? " open" : "");
	cyc__put_escaped(f, series);
	fprintf(f, "</summary><figure><img alt=\"alignment and motion\" src=\"%s\"><figcaption><code>", uri);
	cyc__put_escaped(f, s->dir);
	cyc__put_escaped(f, series);
	fputs("_polish.png</code></figcaption></figure></details>\n", f);
done:
	cyc_free(png);
	cyc_free(uri);
	return st;
}

cyc_status cyc__put_polish_figures(FILE *f, const cyc__cycle *c, int n_most)
{
	cyc_status st = CYC_OK;
	const cyc__step *s = shown_polish(c);
	char *name = NULL, *path = NULL;
	int n = 0, n_more = 0;
	for (int32_t i = 0; s && i < c->in.tomograms->n_series; i++) {
		const char *series = c->in.tomograms->series[i].name;
		CYC_TRY(cyc_asprintf(&name, "%s%s_polish.png", s->dir, series));
		CYC_TRY(cyc_path_join(&path, c->o->input.root, name));
		/* Series of which nothing was accepted have none, nor has a run without figures. */
		if (cyc_path_exists(path) && n++ < n_most) CYC_TRY(put_polish_figure(f, s, series, path, n == 1));
		else n_more += cyc_path_exists(path);
		cyc_free(name);
		cyc_free(path);
		name = path = NULL;
	}
	if (n_more > 0) {
		fprintf(f, "<p class=\"muted\">Those of %d more tilt series are in <code>", n_more);
		cyc__put_escaped(f, s->dir);
		fputs("logfile.pdf</code>.</p>\n", f);
	}
done:
	cyc_free(name);
	cyc_free(path);
	return st;
}

/* The map before and after: surfaces from three sides, coloured by local resolution when the run has ended;
 * slices. */
#include "summary/page.h"

#include "cyclotomo/map.h"
#include "cyclotomo/mrc.h"
#include "cyclotomo/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_VIEWS = 3, SURFACE_PX = 400, SLICE_PX = 260 };

/* Along z, y and x: as the slices, the first coordinate to the right, the second up. */
static const double VIEWS[N_VIEWS][3][3] = { { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } },
	                                         { { 1, 0, 0 }, { 0, 0, 1 }, { 0, -1, 0 } },
	                                         { { 0, 1, 0 }, { 0, 0, 1 }, { 1, 0, 0 } } };
static const char *const VIEW_NAMES[N_VIEWS] = { "along z", "along y", "along x" };

/* The two states, and the common settings of their pictures. */
typedef struct {
	int n; /* 1 if nothing was accepted yet */
	const cyc__step *step[2];
	const char *title[2];
	cyc_volume *map[2], *resolution[2];
	double level[2], radius_px;
	double low_A, high_A; /* of the colours; NaN without local resolution */
	double median_A[2];
	bool is_finished;
} shown_maps;

static void maps_deinit(shown_maps *m)
{
	for (int i = 0; i < 2; i++) {
		cyc_volume_destroy(&m->map[i]);
		cyc_volume_destroy(&m->resolution[i]);
	}
}

/* ---------------------------------------------------------------- what is drawn */

static const char *map_of(const cyc__step *s)
{
	const char *map = cyc__pairs_get(&s->outputs, "sharpened map, masked");
	return map ? map : cyc__pairs_get(&s->outputs, "sharpened map");
}

static cyc_status read_map(cyc_volume **out, const cyc__cycle *c, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	*out = NULL;
	if (!name) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, c->o->input.root, name));
	if (!cyc_path_exists(path)) goto done;
	st = cyc_mrc_read_map(out, path);
	if (st == CYC_OK || st == CYC_E_NOMEM) goto done;
	cyc_error_clear();
	st = CYC_OK;
done:
	cyc_free(path);
	return st;
}

/* Share of the voxels that the surface encloses (T10.1), and how far from the centre the particle reaches. */
static cyc_status choose_extent(double *share, double *radius_px, const cyc__cycle *c, const cyc_volume *map)
{
	cyc_status st = CYC_OK;
	cyc_volume *mask = NULL;
	int32_t n = map->nx, reach = 0;
	int64_t n_inside = 0;
	double sum = 0, sum2 = 0, count = (double)cyc_volume_count(map);
	CYC_TRY(read_map(&mask, c, c->in.mask_fsc));
	bool has_mask = mask && mask->nx == n;
	for (size_t i = 0; i < cyc_volume_count(map); i++) {
		sum += (double)map->data[i];
		sum2 += cyc_square((double)map->data[i]);
	}
	double mean = sum / count, threshold = mean + 3 * sqrt(fmax(0, sum2 / count - mean * mean));
	for (int32_t z = 0; z < n; z++)
		for (int32_t y = 0; y < n; y++)
			for (int32_t x = 0; x < n; x++) {
				size_t i = ((size_t)z * (size_t)n + (size_t)y) * (size_t)n + (size_t)x;
				if (has_mask ? !(mask->data[i] > 0.5f) : !((double)map->data[i] > threshold)) continue;
				const int32_t from_centre[3] = { abs(x - n / 2), abs(y - n / 2), abs(z - n / 2) };
				n_inside++;
				for (int k = 0; k < 3; k++) reach = from_centre[k] > reach ? from_centre[k] : reach;
			}
	*share = (double)n_inside / count / (has_mask ? 6 : 1);
	*radius_px = has_mask ? fmin(0.5 * n, reach + 1.0) : 0.5 * n;
done:
	cyc_volume_destroy(&mask);
	return st;
}

/* ---------------------------------------------------------------- local resolution */

static const cyc__step *maps_behind(const cyc__cycle *c, const cyc__step *s)
{
	for (int32_t i = 0; i < c->n_steps; i++)
		if (c->steps[i].kind == CYC__RECONSTRUCT && c->steps[i].i_turn == s->i_turn) return &c->steps[i];
	return NULL;
}

/* By content: results do not depend on names of folders. */
static cyc_status hash_maps(uint64_t *hash, const cyc__cycle *c, const cyc__step *reconstruction)
{
	cyc_status st = CYC_OK;
	static const char *const LABELS[2] = { "half map 1", "half map 2" };
	char *path = NULL;
	*hash = CYC_HASH_INIT;
	for (int h = 0; h < 2; h++) {
		const char *name = cyc__pairs_get(&reconstruction->outputs, LABELS[h]);
		uint64_t content;
		if (!name) continue;
		cyc_free(path);
		path = NULL;
		CYC_TRY(cyc_path_join(&path, c->o->input.root, name));
		if (!cyc_path_exists(path)) continue;
		CYC_TRY(cyc_hash_file(&content, path));
		*hash = cyc_hash(*hash, &content, sizeof content);
	}
done:
	cyc_free(path);
	return st;
}

/* Of a state: from an earlier writing if it is of these half maps, else computed and written. */
static cyc_status local_resolution(cyc_volume **out, const cyc__cycle *c, const cyc__step *s,
                                   const char *name)
{
	cyc_status st = CYC_OK;
	cyc_volume *half[2] = { NULL };
	char *file = NULL, *path = NULL, label[80];
	const cyc__step *r = maps_behind(c, s);
	uint64_t hash;
	int32_t n = c->in.crop_px;
	*out = NULL;
	if (!r) return CYC_OK;
	CYC_TRY(hash_maps(&hash, c, r));
	CYC_TRY(cyc_asprintf(&file, "%s/LocalRes/%s_locres.mrc", c->o->out_dir, name));
	CYC_TRY(cyc_path_join(&path, c->o->input.root, file));
	snprintf(label, sizeof label, "cyclotomo cycle, of %s", cyc__hash_format(hash).text);
	if (cyc_mrc_is_sealed(path, n, n, n, 2, label)) {
		CYC_TRY(cyc_mrc_read_map(out, path));
		goto done;
	}
	CYC_TRY(read_map(&half[0], c, cyc__pairs_get(&r->outputs, "half map 1")));
	CYC_TRY(read_map(&half[1], c, cyc__pairs_get(&r->outputs, "half map 2")));
	if (!half[0] || !half[1]) goto done;
	st = cyc_local_resolution(out, half[0], half[1], c->o->n_threads);
	/* A box that holds no sphere has no local resolution; the page does without. */
	if (st == CYC_E_USAGE || st == CYC_E_SHAPE) {
		cyc_error_clear();
		st = CYC_OK;
		goto done;
	}
	CYC_TRY(st);
	CYC_TRY(cyc_make_parent_dirs(path));
	CYC_TRY(cyc_mrc_write_sealed(path, *out, 2, label));
done:
	cyc_volume_destroy(&half[0]);
	cyc_volume_destroy(&half[1]);
	cyc_free(file);
	cyc_free(path);
	return st;
}

/* Local resolutions inside of the surface, sorted. */
static cyc_status inside_values(double **out, size_t *n, const shown_maps *m, int i)
{
	cyc_status st = CYC_OK;
	size_t count = cyc_volume_count(m->map[i]);
	*n = 0;
	CYC_TRY(cyc_alloc(out, count, sizeof **out));
	for (size_t k = 0; k < count; k++) {
		if ((double)m->map[i]->data[k] >= m->level[i] && m->resolution[i]->data[k] > 0)
			(*out)[(*n)++] = (double)m->resolution[i]->data[k];
	}
	cyc_sort(*out, *n);
done:
	return st;
}

/* One scale for both states, from the best to the worst but for 2 % at each end, on quarters of an Å. */
static cyc_status choose_colours(shown_maps *m)
{
	cyc_status st = CYC_OK;
	double *values = NULL, low = HUGE_VAL, high = -HUGE_VAL;
	size_t n;
	m->low_A = m->high_A = m->median_A[0] = m->median_A[1] = CYC_NAN;
	for (int i = 0; i < m->n; i++) {
		if (!m->resolution[i]) continue;
		CYC_TRY(inside_values(&values, &n, m, i));
		if (n > 0) {
			low = fmin(low, values[(size_t)(0.02 * (double)(n - 1))]);
			high = fmax(high, values[(size_t)(0.98 * (double)(n - 1))]);
			m->median_A[i] = cyc_median(values, n);
		}
		cyc_free(values);
		values = NULL;
	}
	if (low < high || low == high) {
		m->low_A = floor(4 * low) / 4;
		m->high_A = fmax(ceil(4 * high) / 4, m->low_A + 0.5);
	}
done:
	cyc_free(values);
	return st;
}

static cyc_status maps_read(shown_maps *m, const cyc__page *p)
{
	cyc_status st = CYC_OK;
	const cyc__cycle *c = p->c;
	static const char *const NAMES[2] = { "before", "after" };
	double share;
	*m = (shown_maps){ .n = p->i_best == p->i_first ? 1 : 2,
		               .low_A = CYC_NAN,
		               .high_A = CYC_NAN,
		               .is_finished = p->is_finished };
	for (int i = 0; i < m->n; i++) {
		m->step[i] = &c->steps[i == 0 ? p->i_first : p->i_best];
		m->title[i] = m->n == 1 ? "Result" : i == 0 ? "Before" : "After";
		CYC_TRY(read_map(&m->map[i], c, map_of(m->step[i])));
		if (!m->map[i]) {
			maps_deinit(m);
			m->n = 0;
			goto done;
		}
	}
	CYC_TRY(choose_extent(&share, &m->radius_px, c, m->map[m->n - 1]));
	for (int i = 0; i < m->n; i++) {
		CYC_TRY(cyc_surface_level(&m->level[i], m->map[i], share));
		if (p->is_finished && !c->o->no_figures)
			CYC_TRY(local_resolution(&m->resolution[i], c, m->step[i], m->n == 1 ? "result" : NAMES[i]));
	}
	CYC_TRY(choose_colours(m));
done:
	return st;
}

/* ---------------------------------------------------------------- pictures */

/* Pictures of a page that the next step replaces are coarser: they take a quarter of the time. */
static int32_t surface_px(const shown_maps *m)
{
	double wanted = 10 * m->radius_px;
	return (int32_t)fmin(m->is_finished ? SURFACE_PX : SURFACE_PX / 2, fmax(120, wanted));
}

/* Three images; what the page had already is taken from the cache. */
static cyc_status put_views(FILE *f, const cyc__cycle *c, const shown_maps *m, int i)
{
	cyc_status st = CYC_OK;
	char *png[N_VIEWS] = { NULL }, *uri[N_VIEWS] = { NULL }, *html = NULL;
	size_t n[N_VIEWS];
	bool has_colours = m->resolution[i] && isfinite(m->low_A);
	const cyc_surface s = { .map = m->map[i],
		                    .level = m->level[i],
		                    .colour_by = has_colours ? m->resolution[i] : NULL,
		                    .colour_low = m->low_A,
		                    .colour_high = m->high_A,
		                    .radius_px = m->radius_px };
	const double choices[6] = { m->level[i],
		                        m->radius_px,
		                        has_colours ? 1 : 0,
		                        has_colours ? m->low_A : 0,
		                        has_colours ? m->high_A : 0,
		                        surface_px(m) };
	/* Whatever its title is: the result of the first steps is later what was before. */
	uint64_t key = cyc_hash(cyc_hash_string(m->step[i]->state_key, "surface"), choices, sizeof choices);
	if (cyc__put_cached(f, c, key)) return CYC_OK;
	CYC_TRY(cyc_surface_pngs(png, n, &s, VIEWS, N_VIEWS, surface_px(m), c->o->n_threads));
	for (int k = 0; k < N_VIEWS; k++) CYC_TRY(cyc_png_data_uri(&uri[k], png[k], n[k]));
#define VIEW "<div><img class=\"surface\" alt=\"surface, seen %s\" src=\"%s\"><small>%s</small></div>"
	CYC_TRY(cyc_asprintf(&html, VIEW VIEW VIEW, VIEW_NAMES[0], uri[0], VIEW_NAMES[0], VIEW_NAMES[1], uri[1],
	                     VIEW_NAMES[1], VIEW_NAMES[2], uri[2], VIEW_NAMES[2]));
#undef VIEW
	CYC_TRY(cyc__put_and_keep(f, c, key, &html));
done:
	for (int k = 0; k < N_VIEWS; k++) {
		cyc_free(png[k]);
		cyc_free(uri[k]);
	}
	cyc_free(html);
	return st;
}

static cyc_status put_surfaces(FILE *f, const cyc__cycle *c, const shown_maps *m, int i)
{
	cyc_status st = CYC_OK;
	if (!(m->level[i] > 0)) return CYC_OK;
	fprintf(f, "<figure class=\"surfaces\" aria-label=\"surface of the map, %s\"><div class=\"three\">",
	        m->title[i]);
	CYC_TRY(put_views(f, c, m, i));
	fprintf(f, "</div><figcaption><b>%s</b>, %.2f Å; surface at %.3g", m->title[i], m->step[i]->resolution_A,
	        m->level[i]);
	if (isfinite(m->median_A[i])) fprintf(f, "; local resolution %.2f Å (median)", m->median_A[i]);
	fputs("</figcaption></figure>\n", f);
done:
	return st;
}

static void put_colour_bar(FILE *f, const shown_maps *m)
{
	enum { STOPS = 11, TICKS = 5 };
	double rgb[3];
	if (!isfinite(m->low_A)) return;
	fputs("<figure class=\"bar\"><div role=\"img\" aria-label=\"colours of the local resolution\" "
	      "style=\"background:linear-gradient(to right",
	      f);
	for (int i = 0; i < STOPS; i++) {
		cyc_surface_colour(rgb, (double)i / (STOPS - 1));
		fprintf(f, ",rgb(%.0f,%.0f,%.0f)", 255 * rgb[0], 255 * rgb[1], 255 * rgb[2]);
	}
	fputs(")\"></div><ol>", f);
	for (int i = 0; i < TICKS; i++)
		fprintf(f, "<li>%.1f</li>", m->low_A + i * (m->high_A - m->low_A) / (TICKS - 1));
	fputs("</ol><figcaption>Local resolution (Å): blue is best</figcaption></figure>\n", f);
}

static cyc_status put_slices(FILE *f, const cyc__cycle *c, const shown_maps *m, int i)
{
	cyc_status st = CYC_OK;
	char *uri = NULL;
	CYC_TRY(cyc_slices_data_uri(&uri, m->map[i], SLICE_PX));
	fprintf(f,
	        "<figure><img class=\"slices\" alt=\"central slices of the map %s, along z, y and x\" "
	        "src=\"%s\"><div class=\"three\"><small>along z</small><small>along y</small><small>along "
	        "x</small></div><figcaption><b>%s</b>: ",
	        m->title[i], uri, m->title[i]);
	CYC_TRY(cyc__put_link(f, c, map_of(m->step[i]), NULL));
	fputs("</figcaption></figure>\n", f);
done:
	cyc_free(uri);
	return st;
}

static cyc_status put_section(const cyc__page *p, const shown_maps *m)
{
	cyc_status st = CYC_OK;
	FILE *f = p->f;
	const cyc__cycle *c = p->c;
	fputs("<section id=\"map\"><h2>Map</h2>\n<div class=\"two\">", f);
	for (int i = 0; i < m->n; i++) CYC_TRY(put_surfaces(f, c, m, i));
	fputs("</div>\n", f);
	put_colour_bar(f, m);
	fprintf(f,
	        "<p class=\"note\">Sharpened map%s at the level that encloses %s, the same volume before and "
	        "after. Blobs smaller than 1/50 of the largest are not drawn.%s</p>\n",
	        m->n > 1 ? "s" : "",
	        c->in.mask_fsc ? "a sixth of the mask volume" : "all voxels above three standard deviations",
	        p->is_finished ? "" : " The surface will be coloured by local resolution at the end of the run.");
	const cyc__view view = { .map = { m->n > 1 ? m->map[0] : NULL, m->map[m->n - 1] },
		                     .resolution = { m->n > 1 ? m->resolution[0] : NULL, m->resolution[m->n - 1] },
		                     .level = { m->level[0], m->level[m->n - 1] },
		                     .radius_px = m->radius_px,
		                     .resolution_low_A = m->low_A,
		                     .resolution_high_A = m->high_A };
	fputs("<div class=\"two\">", f);
	if (m->level[m->n - 1] > 0 && p->is_finished) CYC_TRY(cyc__put_viewer(f, &view));
	fputs("<div><h3>Central slices</h3>\n", f);
	for (int i = 0; i < m->n; i++) CYC_TRY(put_slices(f, c, m, i));
	fputs("</div></div></section>\n", f);
done:
	return st;
}

/* ---------------------------------------------------------------- the section */

cyc_status cyc__put_maps(const cyc__page *p)
{
	cyc_status st = CYC_OK;
	shown_maps m = { 0 };
	CYC_TRY(maps_read(&m, p));
	if (m.n > 0) CYC_TRY(put_section(p, &m));
done:
	maps_deinit(&m);
	return st;
}

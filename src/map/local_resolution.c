/*
 * Local resolution: the FSC inside a soft sphere that is moved over a grid, and the average map filtered
 * accordingly.
 *
 * Two shortcuts against transforming the whole box for each grid point (docs/theory/03-maps.md, T3.13). The
 * masked maps are zero outside the sphere, so their spectra are taken in a box that just holds it, and the
 * curves are read at the frequencies of the whole box. And the local filters are the same few shells with
 * other weights, so the average is split into its shells once, and each voxel adds them up with the weights
 * of the spheres around it.
 */
#include "postprocess_internal.h"

#include "cyclotomo/report.h"
#include "cyclotomo/version.h"

#include <stdlib.h>
#include <string.h>

static const char LABEL[] = "cyclotomo " CYCLOTOMO_VERSION " postprocess --locres";

typedef struct {
	int64_t x, y, z; /* voxel of its centre */
	double resolution_A;
} grid_point;

typedef struct {
	cyc_fft3 *plan;
	float *real;
	cyc_cfloat *ft[2];
	double *sub_curve, *masked, *randomised;
} scratch;

typedef struct {
	const cyc__postprocess *p;
	int64_t step, radius, edge, reach; /* px; reach = radius + edge */
	int32_t randomise_from;
	int32_t n_sub; /* box that holds the sphere */
	float *sphere; /* (2 reach + 1)^3 */
	int64_t n_points;
	grid_point *points;
	float *weight; /* n_points x n_shells: local filter */
	cyc_volume *half[2], *random[2];
	scratch *scratch;
	int n_workers;
	/* second part */
	const cyc_volume *band;
	int32_t shell;
	cyc_volume *filtered, *mask_sum;
	cyc_volume *resolution; /* its weighted inverse until the end */
	float *planes;          /* n_workers x n x n */
} local_work;

static void work_deinit(local_work *w)
{
	cyc_free(w->sphere);
	cyc_free(w->points);
	cyc_free(w->weight);
	for (int h = 0; h < 2; h++) {
		cyc_volume_destroy(&w->half[h]);
		cyc_volume_destroy(&w->random[h]);
	}
	for (int i = 0; w->scratch && i < w->n_workers; i++) {
		scratch *s = &w->scratch[i];
		cyc_fft3_destroy(&s->plan);
		cyc_free(s->real);
		cyc_free(s->ft[0]);
		cyc_free(s->ft[1]);
		cyc_free(s->sub_curve);
		cyc_free(s->masked);
		cyc_free(s->randomised);
	}
	cyc_free(w->scratch);
	cyc_volume_destroy(&w->filtered);
	cyc_volume_destroy(&w->resolution);
	cyc_volume_destroy(&w->mask_sum);
	cyc_free(w->planes);
}

/* ---------------------------------------------------------------- set-up */

static int64_t to_px(double length_A, double pixel_size_A) { return (int64_t)round(length_A / pixel_size_A); }

static cyc_status make_sphere(local_work *w)
{
	cyc_status st = CYC_OK;
	int64_t s = w->reach, width = 2 * s + 1;
	CYC_TRY(cyc_alloc(&w->sphere, (size_t)(width * width * width), sizeof *w->sphere));
	for (int64_t z = -s; z <= s; z++)
		for (int64_t y = -s; y <= s; y++)
			for (int64_t x = -s; x <= s; x++) {
				double r = sqrt((double)(x * x + y * y + z * z)), inner = (double)w->radius, v = 0.0;
				if (r < inner) v = 1.0;
				else if (r < (double)s) v = 0.5 + 0.5 * cos(CYC_PI * (r - inner) / (double)w->edge);
				w->sphere[((z + s) * width + y + s) * width + x + s] = (float)v;
			}
done:
	return st;
}

static cyc_status make_points(local_work *w)
{
	cyc_status st = CYC_OK;
	int64_t half = w->p->n / 2, per_axis = 2 * half / w->step + 1, within = half - w->radius;
	CYC_TRY(cyc_alloc(&w->points, per_axis * per_axis * per_axis, sizeof *w->points));
	for (int64_t z = -half; z <= half; z += w->step)
		for (int64_t y = -half; y <= half; y += w->step)
			for (int64_t x = -half; x <= half; x += w->step)
				if (within > 0 && x * x + y * y + z * z < within * within) {
					w->points[w->n_points++] = (grid_point){ .x = x + half, .y = y + half, .z = z + half };
				}
	CYC_CHECK(w->n_points > 0, CYC_E_USAGE,
	          "no sphere of %lld px fits into a box of %d for the local resolution: "
	          "use a smaller radius (--locres-mask-radius)",
	          (long long)w->radius, w->p->n);
done:
	return st;
}

static cyc_status begin(local_work *w, const cyc__postprocess *p)
{
	enum { MIN_SUB_BOX = 32 }; /* enough shells for a curve, even if the sphere is a few voxels */
	cyc_status st = CYC_OK;
	const cyc_postprocess_options *o = p->o;
	double radius_A = o->locres_mask_radius_A > 0.0 ? o->locres_mask_radius_A : 0.5 * o->locres_sampling_A;
	double edge_A = o->locres_edge_A > 0.0 ? o->locres_edge_A : o->locres_sampling_A;
	w->p = p;
	w->step = to_px(o->locres_sampling_A, p->pixel_size_A);
	if (w->step < 1) w->step = 1;
	w->radius = to_px(radius_A, p->pixel_size_A);
	w->edge = to_px(edge_A, p->pixel_size_A);
	w->reach = w->radius + w->edge;
	w->randomise_from = (int32_t)floor(p->n * p->pixel_size_A / o->locres_randomise_at_A);
	CYC_CHECK(
		w->reach > 0, CYC_E_USAGE,
		"the spheres of the local resolution contain no voxels: radius %g Å and edge %g Å at %g Å per pixel",
		radius_A, edge_A, p->pixel_size_A);
	CYC_CHECK(w->randomise_from > 0 && w->randomise_from < p->n_shells, CYC_E_USAGE,
	          "phases cannot be randomised from %g Å: the box covers %g to %g Å", o->locres_randomise_at_A,
	          p->n * p->pixel_size_A, 2.0 * p->pixel_size_A);
	w->n_sub = cyc_fft_good_size((int32_t)(2 * w->reach + 1 > MIN_SUB_BOX ? 2 * w->reach + 1 : MIN_SUB_BOX));
	w->n_workers = cyc_n_workers(INT64_MAX, o->n_threads);
	CYC_TRY(make_sphere(w));
	CYC_TRY(make_points(w));
	CYC_TRY(cyc_alloc(&w->weight, w->n_points * p->n_shells, sizeof *w->weight));
	CYC_TRY(cyc_alloc(&w->scratch, w->n_workers, sizeof *w->scratch));
	for (int i = 0; i < w->n_workers; i++) {
		scratch *s = &w->scratch[i];
		CYC_TRY(cyc_fft3_create(&s->plan, w->n_sub, 1));
		CYC_TRY(cyc_alloc(&s->real, (size_t)w->n_sub * (size_t)w->n_sub * (size_t)w->n_sub, sizeof *s->real));
		CYC_TRY(cyc_alloc(&s->ft[0], cyc_half_count3(w->n_sub), sizeof(cyc_cfloat)));
		CYC_TRY(cyc_alloc(&s->ft[1], cyc_half_count3(w->n_sub), sizeof(cyc_cfloat)));
		CYC_TRY(cyc_alloc(&s->sub_curve, cyc__n_shells(w->n_sub), sizeof(double)));
		CYC_TRY(cyc_alloc(&s->masked, p->n_shells, sizeof(double)));
		CYC_TRY(cyc_alloc(&s->randomised, p->n_shells, sizeof(double)));
	}
done:
	return st;
}

/* Half maps and their phase-randomised twins in real space. */
static cyc_status make_maps(local_work *w)
{
	cyc_status st = CYC_OK;
	const cyc__postprocess *p = w->p;
	cyc_cfloat *ft = NULL;
	size_t n_half = cyc_half_count3(p->n);
	CYC_TRY(cyc_alloc(&ft, n_half, sizeof *ft));
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc_volume_create(&w->half[h], p->n, p->n, p->n, p->pixel_size_A));
		CYC_TRY(cyc_volume_create(&w->random[h], p->n, p->n, p->n, p->pixel_size_A));
		memcpy(ft, p->ft[h], n_half * sizeof *ft);
		CYC_TRY(cyc_fft3_inverse(w->half[h]->data, p->plan, ft));
		/* A draw of its own, whatever number the global curve used. */
		CYC_TRY(cyc__randomise_phases(ft, p->ft[h], p->n, w->randomise_from, p->o->seed, INT32_MAX, h,
		                              p->o->n_threads));
		CYC_TRY(cyc_fft3_inverse(w->random[h]->data, p->plan, ft));
	}
done:
	cyc_free(ft);
	return st;
}

/* ---------------------------------------------------------------- local curves */

/* One masked sphere into the small box; what lies outside of the map is zero. */
static void cut_sphere(float *to, const local_work *w, const cyc_volume *v, const grid_point *g)
{
	int64_t n = v->nx, m = w->n_sub, s = w->reach, width = 2 * s + 1;
	memset(to, 0, (size_t)(m * m * m) * sizeof *to);
	int64_t x0 = g->x < s ? s - g->x : 0, x1 = g->x + s > n - 1 ? n - 1 - g->x + s : 2 * s;
	for (int64_t z = 0; z < width; z++)
		for (int64_t y = 0; y < width; y++) {
			int64_t vz = g->z + z - s, vy = g->y + y - s;
			if (vz < 0 || vz >= n || vy < 0 || vy >= n) continue;
			const float *from = v->data + (vz * n + vy) * n, *mask = w->sphere + (z * width + y) * width;
			float *row = to + (z * m + y) * m;
			for (int64_t x = x0; x <= x1; x++) row[x] = from[g->x - s + x] * mask[x];
		}
}

static cyc_status local_curve(double *curve, const local_work *w, scratch *s, cyc_volume *const maps[2],
                              const grid_point *g)
{
	cyc_status st = CYC_OK;
	for (int h = 0; h < 2; h++) {
		cut_sphere(s->real, w, maps[h], g);
		CYC_TRY(cyc_fft3_forward(s->ft[h], s->plan, s->real));
	}
	cyc_fsc_compute(s->sub_curve, s->ft[0], s->ft[1], w->n_sub);
	for (int32_t i = 0; i < w->p->n_shells; i++) {
		double at = (double)i * w->n_sub / w->p->n;
		int32_t j = (int32_t)at;
		if (j >= w->n_sub / 2) j = w->n_sub / 2 - 1;
		curve[i] = s->sub_curve[j] + (at - j) * (s->sub_curve[j + 1] - s->sub_curve[j]);
	}
	if (curve[0] <= 0.0) curve[0] = 1.0;
done:
	return st;
}

static cyc_status point_task(void *arg, int64_t i_point, int i_thread)
{
	cyc_status st = CYC_OK;
	local_work *w = arg;
	const cyc__postprocess *p = w->p;
	scratch *s = &w->scratch[i_thread];
	grid_point *g = &w->points[i_point];
	float *weight = w->weight + i_point * p->n_shells;
	CYC_TRY(local_curve(s->masked, w, s, w->half, g));
	CYC_TRY(local_curve(s->randomised, w, s, w->random, g));
	cyc_fsc_correct(s->masked, s->masked, s->randomised, p->n_shells, w->randomise_from);
	int32_t shell = cyc_fsc_resolution_shell(s->masked, p->n_shells);
	double resolution_A = cyc__shell_resolution_A(shell, p->n, p->pixel_size_A);
	g->resolution_A = resolution_A < p->o->locres_min_A ? resolution_A : p->o->locres_min_A;
	double last = round(p->n * p->pixel_size_A / g->resolution_A);
	for (int32_t i = 0; i < p->n_shells; i++) {
		double f = s->masked[i];
		if (f < 1e-4 || i > last) break;
		weight[i] = (float)(sqrt(2.0 * f / (1.0 + f)) * (i < last ? 1.0 : 0.5));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- maps from the points */

CYC_SIMD static void add_scaled(float *restrict to, const float *restrict from, float f, int64_t n)
{
	for (int64_t i = 0; i < n; i++) to[i] += f * from[i];
}

/* plane(y, x) = sum over the spheres that meet plane z of value(point) x sphere, in the order of the points.
 */
static void spread(float *plane, const local_work *w, int64_t z, double (*value)(const local_work *, int64_t))
{
	int64_t n = w->p->n, s = w->reach, width = 2 * s + 1;
	memset(plane, 0, (size_t)(n * n) * sizeof *plane);
	for (int64_t i = 0; i < w->n_points; i++) {
		const grid_point *g = &w->points[i];
		double f = value(w, i);
		if (llabs(g->z - z) > s || !(f > 0.0)) continue;
		int64_t x0 = g->x < s ? 0 : g->x - s, x1 = g->x + s > n - 1 ? n - 1 : g->x + s;
		int64_t y0 = g->y < s ? 0 : g->y - s, y1 = g->y + s > n - 1 ? n - 1 : g->y + s;
		for (int64_t y = y0; y <= y1; y++) {
			const float *mask = w->sphere + ((z - g->z + s) * width + y - g->y + s) * width + x0 - g->x + s;
			add_scaled(plane + y * n + x0, mask, (float)f, x1 - x0 + 1);
		}
	}
}

static double value_one(const local_work *w, int64_t i)
{
	(void)w;
	(void)i;
	return 1.0;
}
static double value_inverse_resolution(const local_work *w, int64_t i)
{
	return 1.0 / w->points[i].resolution_A;
}
static double value_weight(const local_work *w, int64_t i)
{
	return (double)w->weight[i * w->p->n_shells + w->shell];
}

static cyc_status sums_task(void *arg, int64_t z, int i_thread)
{
	local_work *w = arg;
	size_t n_plane = (size_t)w->p->n * (size_t)w->p->n;
	(void)i_thread;
	spread(w->mask_sum->data + (size_t)z * n_plane, w, z, value_one);
	spread(w->resolution->data + (size_t)z * n_plane, w, z, value_inverse_resolution);
	return CYC_OK;
}

static cyc_status band_task(void *arg, int64_t z, int i_thread)
{
	local_work *w = arg;
	size_t n_plane = (size_t)w->p->n * (size_t)w->p->n;
	float *weight = w->planes + (size_t)i_thread * n_plane, *to = w->filtered->data + (size_t)z * n_plane;
	const float *band = w->band->data + (size_t)z * n_plane;
	spread(weight, w, z, value_weight);
	for (size_t i = 0; i < n_plane; i++) to[i] += band[i] * weight[i];
	return CYC_OK;
}

static int32_t last_used_shell(const local_work *w)
{
	int32_t last = -1, n_shells = w->p->n_shells;
	for (int64_t i = 0; i < w->n_points; i++)
		for (int32_t s = last + 1; s < n_shells; s++)
			if (w->weight[i * n_shells + s] > 0.0f) last = s;
	return last;
}

/* The average, divided by the MTF and sharpened, shell by shell. */
static cyc_status filter_locally(local_work *w)
{
	cyc_status st = CYC_OK;
	const cyc__postprocess *p = w->p;
	cyc_cfloat *ft = NULL;
	cyc_volume *band = NULL;
	double *sharpening = NULL, *table = NULL;
	size_t n_half = cyc_half_count3(p->n);
	int64_t n_radial = (int64_t)cyc__n_radial(p->n);
	CYC_TRY(cyc_alloc(&ft, n_half, sizeof *ft));
	CYC_TRY(cyc_volume_create(&band, p->n, p->n, p->n, p->pixel_size_A));
	CYC_TRY(cyc_alloc(&sharpening, n_radial, sizeof *sharpening));
	CYC_TRY(cyc_alloc(&table, n_radial, sizeof *table));
	CYC_TRY(cyc_alloc(&w->planes, (size_t)w->n_workers * (size_t)p->n * (size_t)p->n, sizeof *w->planes));
	for (int64_t r2 = 0; r2 < n_radial; r2++) sharpening[r2] = 1.0;
	if (p->mtf) CYC_TRY(cyc__filter_mtf(sharpening, p->n, p->pixel_size_A, p->mtf));
	cyc__filter_bfactor(sharpening, p->n, p->pixel_size_A, p->bfactor_A2);
	w->band = band;
	int32_t last = last_used_shell(w);
	for (w->shell = 0; w->shell <= last; w->shell++) {
		int64_t s = w->shell, first = s == 0 ? 0 : s * (s - 1) + 1;
		memset(table, 0, (size_t)n_radial * sizeof *table);
		for (int64_t r2 = first; r2 <= s * (s + 1) && r2 < n_radial; r2++) table[r2] = sharpening[r2];
		for (size_t i = 0; i < n_half; i++) ft[i] = (p->ft[0][i] + p->ft[1][i]) * 0.5f;
		CYC_TRY(cyc__filter_apply(ft, p->n, table, 1.0, p->o->n_threads));
		CYC_TRY(cyc_fft3_inverse(band->data, p->plan, ft));
		CYC_TRY(cyc_parallel_for(p->n, w->n_workers, band_task, w));
		cyc_progress("local filter", w->shell + 1, last + 1);
		CYC_TRY(cyc_cancel_check());
	}
done:
	w->band = NULL;
	cyc_free(ft);
	cyc_volume_destroy(&band);
	cyc_free(sharpening);
	cyc_free(table);
	return st;
}

/* ---------------------------------------------------------------- outputs */

static int compare_floats(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static cyc_status write_histogram(const cyc__postprocess *p, const float *sorted, size_t n)
{
	enum { N_BINS = 50 };
	cyc_status st = CYC_OK;
	double x[N_BINS], y[N_BINS] = { 0 }, low = (double)sorted[0], high = (double)sorted[n - 1];
	char *path = NULL, *name = NULL, *dir = NULL;
	double width = high > low ? (high - low) / N_BINS : 1.0;
	for (int i = 0; i < N_BINS; i++) x[i] = low + (i + 0.5) * width;
	for (size_t i = 0; i < n; i++) {
		int bin = (int)(((double)sorted[i] - low) / width);
		y[bin < N_BINS ? bin : N_BINS - 1] += 100.0 / (double)n;
	}
	cyc_plot_series series = { .label = "voxels inside the mask",
		                       .n = N_BINS,
		                       .x = x,
		                       .y = y,
		                       .style = CYC_PLOT_LINE_POINTS,
		                       .colour = -1 };
	cyc_plot plot = { .title = "Local resolution",
		              .x_label = "Resolution (Å)",
		              .y_label = "Voxels (%)",
		              .h_line = (double)NAN,
		              .n_series = 1,
		              .series = &series };
	static const char *const SUFFIX[] = { ".svg", ".png" };
	for (int i = 0; i < 2; i++) {
		CYC_TRY(cyc_asprintf(&name, "%s_locres_histogram%s", p->o->out_root, SUFFIX[i]));
		CYC_TRY(cyc_path_join(&path, p->o->root, name));
		cyc_free(name);
		name = NULL;
		CYC_TRY(cyc_plot_write(path, &plot, 1));
		cyc_free(path);
		path = NULL;
	}
	CYC_TRY(cyc_path_dir(&dir, p->o->out_root));
	CYC_TRY(cyc_asprintf(&name, "%shistogram.pdf", dir));
	CYC_TRY(cyc_path_join(&path, p->o->root, name));
	CYC_TRY(cyc_plot_write(path, &plot, 1));
done:
	cyc_free(dir);
	cyc_free(name);
	cyc_free(path);
	return st;
}

/* Quartiles for the log, and a picture, of what lies inside the mask (or wherever there is a value). */
static cyc_status summarise(const local_work *w, const cyc_volume *resolution)
{
	cyc_status st = CYC_OK;
	const cyc__postprocess *p = w->p;
	float *sorted = NULL;
	size_t count = cyc_volume_count(resolution), n = 0;
	CYC_TRY(cyc_alloc(&sorted, count, sizeof *sorted));
	for (size_t i = 0; i < count; i++)
		if (resolution->data[i] > 0.0f && (!p->mask || p->mask->data[i] > 0.5f))
			sorted[n++] = resolution->data[i];
	if (n == 0) goto done;
	qsort(sorted, n, sizeof *sorted, compare_floats);
	cyc_info("local resolution %.2f Å (quartiles %.2f to %.2f Å) from %lld spheres of %lld + %lld px%s",
	         (double)sorted[n / 2], (double)sorted[n / 4], (double)sorted[3 * n / 4], (long long)w->n_points,
	         (long long)w->radius, (long long)w->edge, p->mask ? ", inside the mask" : "");
	if (!p->o->no_figures) CYC_TRY(write_histogram(p, sorted, n));
done:
	cyc_free(sorted);
	return st;
}

static cyc_status write_map(const local_work *w, const cyc_volume *v, const char *suffix)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_asprintf(&name, "%s%s", w->p->o->out_root, suffix));
	CYC_TRY(cyc_map_write(w->p->o->root, name, v, LABEL, w->p->o->n_threads));
done:
	cyc_free(name);
	return st;
}

/* Curves of all spheres, and the sums that their resolutions are averaged with. */
static cyc_status measure(local_work *w, const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	CYC_TRY(begin(w, p));
	CYC_TRY(make_maps(w));
	CYC_TRY(cyc_parallel_for(w->n_points, w->n_workers, point_task, w));
	for (int h = 0; h < 2; h++) {
		cyc_volume_destroy(&w->half[h]);
		cyc_volume_destroy(&w->random[h]);
	}
	CYC_TRY(cyc_volume_create(&w->resolution, p->n, p->n, p->n, p->pixel_size_A));
	CYC_TRY(cyc_volume_create(&w->mask_sum, p->n, p->n, p->n, p->pixel_size_A));
	CYC_TRY(cyc_parallel_for(p->n, w->n_workers, sums_task, w));
done:
	return st;
}

/* Sums to weighted means; 0 where no sphere reaches. */
static void divide(local_work *w)
{
	const float MIN_MASK = 1e-6f; /* less is rounding at the rim of a sphere */
	size_t count = cyc_volume_count(w->resolution);
	for (size_t i = 0; i < count; i++) {
		bool is_covered = w->mask_sum->data[i] > MIN_MASK;
		if (w->filtered)
			w->filtered->data[i] = is_covered ? w->filtered->data[i] / w->mask_sum->data[i] : 0.0f;
		w->resolution->data[i] = is_covered ? w->mask_sum->data[i] / w->resolution->data[i] : 0.0f;
	}
}

cyc_status cyc__local_resolution_run(const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	local_work w = { 0 };
	CYC_TRY(measure(&w, p));
	CYC_TRY(cyc_volume_create(&w.filtered, p->n, p->n, p->n, p->pixel_size_A));
	CYC_TRY(filter_locally(&w));
	divide(&w);
	CYC_TRY(write_map(&w, w.resolution, "_locres.mrc"));
	CYC_TRY(write_map(&w, w.filtered, "_locres_filtered.mrc"));
	CYC_TRY(summarise(&w, w.resolution));
done:
	work_deinit(&w);
	return st;
}

cyc_status cyc_local_resolution(cyc_volume **out, const cyc_volume *half1, const cyc_volume *half2,
                                int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_postprocess_options o;
	local_work w = { 0 };
	cyc__postprocess p = { .o = &o };
	const cyc_volume *const half[2] = { half1, half2 };
	*out = NULL;
	cyc_postprocess_options_default(&o);
	o.n_threads = n_threads;
	p.n = half1->nx;
	p.n_shells = cyc__n_shells(p.n);
	p.pixel_size_A = half1->pixel_size_A;
	CYC_CHECK(cyc_volume_is_cubic(half1) && cyc_volume_is_cubic(half2) && half2->nx == p.n && p.n % 2 == 0,
	          CYC_E_SHAPE,
	          "local resolution needs two cubic half maps of one even size, got %d and %d voxels", p.n,
	          half2->nx);
	CYC_CHECK(p.pixel_size_A > 0.0, CYC_E_SHAPE, "local resolution needs half maps with a pixel size");
	/* As coarse as the map is, at least a few spheres and shells are to be in it. */
	o.locres_randomise_at_A = fmin(o.locres_randomise_at_A, p.n * p.pixel_size_A / 2.0);
	CYC_TRY(cyc_fft3_create(&p.plan, p.n, n_threads));
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc_alloc(&p.ft[h], cyc_half_count3(p.n), sizeof *p.ft[h]));
		CYC_TRY(cyc_fft3_forward(p.ft[h], p.plan, half[h]->data));
	}
	CYC_TRY(measure(&w, &p));
	divide(&w);
	*out = w.resolution;
	w.resolution = NULL;
done:
	work_deinit(&w);
	cyc_fft3_destroy(&p.plan);
	cyc_free(p.ft[0]);
	cyc_free(p.ft[1]);
	return st;
}

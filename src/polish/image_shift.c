#include "polish/image_shift.h"

#include <math.h>
#include <string.h>

typedef struct {
	int32_t nx, ny, s;
	cyc_fft2 *image_plan, *window_plan;
	float *canvas[2];      /* ny x nx: predicted image of each half-set */
	cyc_cfloat *observed;  /* ny x (nx/2 + 1) */
	cyc_cfloat *work;      /* the same */
	float *map[2];         /* ny x nx: correlation with each half-set's prediction */
	cyc_cfloat *window_ft; /* s x sh */
	float *window;         /* s x s */
} search;

static void search_deinit(search *w)
{
	cyc_fft2_destroy(&w->image_plan);
	cyc_fft2_destroy(&w->window_plan);
	for (int h = 0; h < 2; h++) {
		cyc_free(w->canvas[h]);
		cyc_free(w->map[h]);
	}
	cyc_free(w->observed);
	cyc_free(w->work);
	cyc_free(w->window_ft);
	cyc_free(w->window);
}

static cyc_status search_init(search *w, int32_t nx, int32_t ny, int32_t s)
{
	cyc_status st = CYC_OK;
	size_t n = (size_t)nx * (size_t)ny, half = (size_t)(nx / 2 + 1) * (size_t)ny;
	w->nx = nx;
	w->ny = ny;
	w->s = s;
	CYC_TRY(cyc_fft2_create(&w->image_plan, nx, ny));
	CYC_TRY(cyc_fft2_create(&w->window_plan, s, s));
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc_alloc(&w->canvas[h], n, sizeof *w->canvas[h]));
		CYC_TRY(cyc_alloc(&w->map[h], n, sizeof *w->map[h]));
	}
	CYC_TRY(cyc_alloc(&w->observed, half, sizeof *w->observed));
	CYC_TRY(cyc_alloc(&w->work, half, sizeof *w->work));
	CYC_TRY(cyc_alloc(&w->window_ft, cyc_half_count2(s), sizeof *w->window_ft));
	CYC_TRY(cyc_alloc(&w->window, (size_t)s * (size_t)s, sizeof *w->window));
done:
	return st;
}

/* One predicted window, -c V exp(i chi), at its place on the canvas. */
static void add_window(search *w, const cyc_cfloat *V, const float *ctf, const cyc_cfloat *phase,
                       int32_t radius, const double at[2], int half)
{
	int32_t s = w->s, sh = s / 2 + 1, corner[2];
	double rest[2];
	for (int k = 0; k < 2; k++) {
		corner[k] = (int32_t)round(at[k]) - s / 2;
		rest[k] = at[k] - round(at[k]);
	}
	memset(w->window_ft, 0, cyc_half_count2(s) * sizeof *w->window_ft);
	for (int32_t ky = -radius; ky <= radius; ky++)
		for (int32_t x = 0; x * x + ky * ky <= radius * radius; x++) {
			size_t i = (size_t)(ky < 0 ? ky + s : ky) * (size_t)sh + (size_t)x;
			/* V has its origin in the middle of the window: (-1)^(kx+ky) moves it there, and the rest of the
			 * position with it. */
			double turn = -2 * CYC_PI * (x * rest[0] + ky * rest[1]) / s, sign = (x + ky) % 2 ? 1 : -1;
			cyc_cfloat v = V[i] * ctf[i] * ((float)(sign * cos(turn)) + (float)(sign * sin(turn)) * I);
			w->window_ft[i] = phase ? v * phase[i] : v;
		}
	cyc_fft2_inverse(w->window, w->window_plan, w->window_ft);
	/* V is unitary: 1/s. */
	for (int32_t y = 0; y < s; y++)
		for (int32_t x = 0; x < s; x++) {
			int32_t X = corner[0] + x, Y = corner[1] + y;
			if (X < 0 || Y < 0 || X >= w->nx || Y >= w->ny) continue;
			w->canvas[half][(size_t)Y * (size_t)w->nx + (size_t)X] +=
				w->window[(size_t)y * (size_t)s + (size_t)x] / (float)s;
		}
}

static cyc_status paint(search *w, cyc_image_shift *out, cyc_prediction_pass *p, const cyc_tilt_series *ts,
                        int32_t f, const cyc_particle_set *set, int32_t i_series)
{
	cyc_status st = CYC_OK;
	bool *used = NULL;
	size_t plane = cyc_half_count2(w->s);
	int64_t count = set->series_first[i_series + 1] - set->series_first[i_series];
	CYC_TRY(cyc_alloc(&used, (size_t)set->n_optics + 1, sizeof *used));
	cyc_optics_used(used, set, i_series);
	for (int32_t g = 0; g < set->n_optics; g++) {
		if (!used[g]) continue;
		CYC_TRY(cyc_prediction_pass_group(p, ts, f, &set->optics[g]));
		for (int64_t cursor = 0; cursor < count;) {
			const cyc_cfloat *V;
			const float *ctf;
			CYC_TRY(cyc_prediction_pass_next(p, &cursor, &out->n_outside,
			                                 &(cyc_image_group){ ts, f, set, i_series, g }));
			CYC_TRY(cyc_buffer_map(&V, p->prediction));
			CYC_TRY(cyc_buffer_map(&ctf, p->ctf));
			for (int32_t i = 0; i < p->batch->n; i++)
				add_window(w, V + (size_t)i * plane, ctf + (size_t)i * plane,
				           p->phase ? p->tables->odd_phase : NULL, p->radius, p->batch->at_px + 2 * (size_t)i,
				           p->batch->half[i]);
			out->n_images += p->batch->n;
			CYC_TRY(cyc_buffer_unmap(p->prediction));
			CYC_TRY(cyc_buffer_unmap(p->ctf));
		}
	}
done:
	cyc_free(used);
	return st;
}

/*
 * log L of a shift (but for a constant): sum_k X conj(V) / N exp(2 pi i k.d / n), unitary transforms, over
 * the whole plane. Frequencies are physical: both axes of an image that is not square, and the shells of the
 * noise, are compared in cycles per pixel. Returns sum_k |V|^2 / N.
 */
static double correlate(search *w, const cyc_prediction_pass *p, int h)
{
	double power = 0;
	int32_t half = w->nx / 2 + 1, n_shells = w->s / 2 + 1;
	double unit = 1.0 / ((double)w->nx * w->ny);
	cyc_fft2_forward(w->work, w->image_plan, w->canvas[h]);
	for (int32_t y = 0; y < w->ny; y++)
		for (int32_t x = 0; x < half; x++) {
			size_t i = (size_t)y * (size_t)half + (size_t)x;
			double fy = (double)(y <= w->ny / 2 ? y : y - w->ny) / w->ny,
				   r = w->s * hypot((double)x / w->nx, fy), noise = cyc_radial_at(p->power, n_shells, r);
			bool is_used = i > 0 && r <= p->radius && noise > 0;
			if (is_used)
				power += (x == 0 || 2 * x == w->nx ? 1 : 2) * unit *
				         (double)(crealf(w->work[i]) * crealf(w->work[i]) +
				                  cimagf(w->work[i]) * cimagf(w->work[i])) /
				         noise;
			w->work[i] = is_used ? w->observed[i] * conjf(w->work[i]) * (float)(unit / noise) : 0;
		}
	cyc_fft2_inverse(w->map[h], w->image_plan, w->work);
	return power;
}

static size_t highest(const float *a, const float *b, size_t n)
{
	size_t best = 0;
	for (size_t i = 1; i < n; i++)
		if (a[i] + (b ? b[i] : 0) > a[best] + (b ? b[best] : 0)) best = i;
	return best;
}

static double highest_near(const search *w, int32_t reach)
{
	double best = -HUGE_VAL;
	for (int32_t y = -reach; y <= reach; y++)
		for (int32_t x = -reach; x <= reach; x++) {
			size_t i = (size_t)((y + w->ny) % w->ny) * (size_t)w->nx + (size_t)((x + w->nx) % w->nx);
			best = fmax(best, (double)w->map[0][i] + (double)w->map[1][i]);
		}
	return best;
}

/* Top of the parabola through three values, from the middle one. */
static double parabola(double before, double at, double after)
{
	double curve = before + after - 2 * at;
	return curve < 0 ? -0.5 * (after - before) / curve : 0;
}

static void find_peak(cyc_image_shift *out, const search *w, double near_px)
{
	size_t n = (size_t)w->nx * (size_t)w->ny, best = highest(w->map[0], w->map[1], n);
	double mean = 0, square = 0;
	for (size_t i = 0; i < n; i++) {
		double v = (double)w->map[0][i] + (double)w->map[1][i];
		mean += v / (double)n;
		square += v * v / (double)n;
	}
	double sigma = sqrt(fmax(square - mean * mean, 0)),
		   top = (double)w->map[0][best] + (double)w->map[1][best];
	out->peak = sigma > 0 ? (top - mean) / sigma : 0;
	out->top = top;
	out->near = highest_near(w, (int32_t)near_px);
	for (int h = 0; h < 2; h++) {
		out->heldout_before += (double)w->map[h][0];
		out->heldout_after += (double)w->map[h][highest(w->map[1 - h], NULL, n)];
	}
	out->is_found = out->peak >= CYC_IMAGE_SHIFT_LEAST_PEAK;
	if (!out->is_found) return;
	const int32_t size[2] = { w->nx, w->ny },
				  at[2] = { (int32_t)(best % (size_t)w->nx), (int32_t)(best / (size_t)w->nx) };
	for (int k = 0; k < 2; k++) {
		double v[3];
		for (int i = 0; i < 3; i++) {
			int32_t x[2] = { at[0], at[1] };
			x[k] = (x[k] + i - 1 + size[k]) % size[k];
			size_t j = (size_t)x[1] * (size_t)w->nx + (size_t)x[0];
			v[i] = (double)w->map[0][j] + (double)w->map[1][j];
		}
		/* The map is a log-likelihood: the inverse of its curvature is the variance. */
		double curve = v[0] + v[2] - 2 * v[1];
		out->error_px[k] = curve < 0 ? 1 / sqrt(-curve) : CYC_NAN;
		out->shift_px[k] = (at[k] <= size[k] / 2 ? at[k] : at[k] - size[k]) + parabola(v[0], v[1], v[2]);
	}
}

cyc_status cyc_image_shift_find(cyc_image_shift *out, cyc_prediction_pass *p, const cyc_tilt_series *ts,
                                int32_t i_tilt, const cyc_particle_set *set, int32_t i_series, double near_px)
{
	cyc_status st = CYC_OK;
	search w = { 0 };
	double mean = 0;
	memset(out, 0, sizeof *out);
	CYC_TRY(search_init(&w, ts->image_nx, ts->image_ny, p->box.window.box_px));
	CYC_TRY(cyc_prediction_pass_image(p, ts, i_tilt));
	CYC_TRY(paint(&w, out, p, ts, i_tilt, set, i_series));
	if (out->n_images == 0) goto done;
	size_t n = (size_t)w.nx * (size_t)w.ny;
	for (size_t i = 0; i < n; i++) mean += (double)p->image.pixels[i] / (double)n;
	for (size_t i = 0; i < n; i++) w.map[0][i] = p->image.pixels[i] - (float)mean;
	cyc_fft2_forward(w.observed, w.image_plan, w.map[0]);
	for (int h = 0; h < 2; h++) out->power += correlate(&w, p, h);
	find_peak(out, &w, near_px);
done:
	search_deinit(&w);
	return st;
}

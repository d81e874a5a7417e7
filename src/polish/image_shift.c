#include "polish/image_shift.h"

#include <math.h>
#include <string.h>

enum {
	BAND = 32,           /* rows of the image that one task paints or reads */
	WINDOWS_A_TIME = 16, /* at least: made before they are painted */
};

/* A window, made and not yet painted. */
typedef struct {
	int32_t corner[2], half;
	const cyc_cfloat *V;
	const float *ctf;
	double rest[2]; /* of its position, beyond whole pixels */
} placed;

typedef struct {
	int32_t nx, ny, s, radius /* of the group last painted */, n_windows;
	int n_threads;
	cyc_fft2_image *image_plan;
	cyc_fft2 *window_plan;
	float *map[2];        /* ny x nx: predicted image of each half-set, then its correlation */
	cyc_cfloat *observed; /* ny x (nx/2 + 1) */
	cyc_cfloat *work;     /* the same */
	placed *windows;      /* n_windows */
	float *pixels;        /* n_windows x s x s */
	cyc_cfloat *scratch;  /* n_threads x (s x sh + 3 s): transform of a window, and phases along its axes */
	const cyc_cfloat *phase;
	const double *noise; /* sh: of the image, by shells of the window */
	double *of_rows;     /* ny x 2: sums of each row, to be added in their order */
	size_t *best_at;     /* N_MAPS x bands: highest point of each band */
} search;

/* The three maps of which the highest point is wanted: both half-sets together, and each. */
enum { BOTH = 2, N_MAPS = 3 };

static int32_t n_bands(int32_t ny) { return (ny + BAND - 1) / BAND; }
static int32_t windows_a_time(int n_threads)
{
	return n_threads > WINDOWS_A_TIME ? n_threads : WINDOWS_A_TIME;
}
static size_t scratch_values(int32_t s) { return (cyc_half_count2(s) + 3 * (size_t)s + 7) / 8 * 8; }

double cyc_image_shift_bytes(int32_t nx, int32_t ny, int32_t s, int n_threads)
{
	return 4 * 4.0 * (nx + 2.0) * ny + 4.0 * windows_a_time(n_threads) * s * (double)s +
	       8.0 * n_threads * ((double)scratch_values(s) + 16.0 * ny);
}

static void search_deinit(search *w)
{
	cyc_fft2_image_destroy(&w->image_plan);
	cyc_fft2_destroy(&w->window_plan);
	for (int h = 0; h < 2; h++) cyc_free(w->map[h]);
	cyc_free(w->observed);
	cyc_free(w->work);
	cyc_free(w->windows);
	cyc_free(w->pixels);
	cyc_free(w->scratch);
	cyc_free(w->of_rows);
	cyc_free(w->best_at);
}

static cyc_status search_init(search *w, const cyc_prediction_pass *p, int32_t nx, int32_t ny)
{
	cyc_status st = CYC_OK;
	int32_t s = p->box.window.box_px;
	size_t n = (size_t)nx * (size_t)ny, half = (size_t)(nx / 2 + 1) * (size_t)ny;
	int n_threads = cyc_backend_n_threads(p->be);
	*w = (search){ .nx = nx,
		           .ny = ny,
		           .s = s,
		           .n_windows = windows_a_time(n_threads),
		           .n_threads = n_threads,
		           .noise = p->power };
	CYC_TRY(cyc_fft2_image_create(&w->image_plan, nx, ny, n_threads));
	CYC_TRY(cyc_fft2_create(&w->window_plan, s, s));
	for (int h = 0; h < 2; h++) CYC_TRY(cyc_alloc(&w->map[h], n, sizeof *w->map[h]));
	CYC_TRY(cyc_alloc(&w->observed, half, sizeof *w->observed));
	CYC_TRY(cyc_alloc(&w->work, half, sizeof *w->work));
	CYC_TRY(cyc_alloc(&w->windows, w->n_windows, sizeof *w->windows));
	CYC_TRY(cyc_alloc(&w->pixels, (size_t)w->n_windows * (size_t)s * (size_t)s, sizeof *w->pixels));
	CYC_TRY(cyc_alloc(&w->scratch, (size_t)n_threads * scratch_values(s), sizeof *w->scratch));
	CYC_TRY(cyc_alloc(&w->of_rows, 2 * (size_t)ny, sizeof *w->of_rows));
	CYC_TRY(cyc_alloc(&w->best_at, N_MAPS * (size_t)n_bands(ny), sizeof *w->best_at));
done:
	return st;
}

static double row_sum(const search *w, int which)
{
	double sum = 0;
	for (int32_t y = 0; y < w->ny; y++) sum += w->of_rows[2 * (size_t)y + (size_t)which];
	return sum;
}

/* ---------------------------------------------------------------- the canvas */

/* (-1)^k exp(-2 pi i k rest / s), k = -radius .. radius at phases[radius + k]. V has its origin in the middle
 * of the window: the sign moves it there, and the rest of the position with it. */
static void fill_phases(cyc_cfloat *phases, int32_t radius, double rest, int32_t s)
{
	for (int32_t k = -radius; k <= radius; k++) {
		double turn = -2 * CYC_PI * k * rest / s, sign = k % 2 ? -1 : 1;
		phases[radius + k] = (float)(sign * cos(turn)) + (float)(sign * sin(turn)) * I;
	}
}

/* One predicted window: -c V exp(i chi); V is unitary, hence 1/s. */
static cyc_status make_window(void *arg, int64_t i, int i_thread)
{
	search *w = arg;
	const placed *at = &w->windows[i];
	int32_t s = w->s, sh = s / 2 + 1, radius = w->radius;
	cyc_cfloat *ft = w->scratch + (size_t)i_thread * scratch_values(s), *along_x = ft + cyc_half_count2(s),
			   *along_y = along_x + s;
	float *pixels = w->pixels + (size_t)i * (size_t)s * (size_t)s, unit = -1 / (float)s;
	fill_phases(along_x, radius, at->rest[0], s);
	fill_phases(along_y, radius, at->rest[1], s);
	memset(ft, 0, cyc_half_count2(s) * sizeof *ft);
	for (int32_t ky = -radius; ky <= radius; ky++)
		for (int32_t x = 0; x * x + ky * ky <= radius * radius; x++) {
			size_t k = (size_t)(ky < 0 ? ky + s : ky) * (size_t)sh + (size_t)x;
			cyc_cfloat v = at->V[k] * (unit * at->ctf[k]) * (along_x[radius + x] * along_y[radius + ky]);
			ft[k] = w->phase ? v * w->phase[k] : v;
		}
	cyc_fft2_inverse(pixels, w->window_plan, ft);
	return CYC_OK;
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
static int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

typedef struct {
	search *w;
	int32_t n;
} painting;

/* A band of the canvas: all windows that reach it, in their order. */
static cyc_status paint_band(void *arg, int64_t band, int i_thread)
{
	const painting *a = arg;
	search *w = a->w;
	int32_t s = w->s, top = (int32_t)band * BAND, bottom = least(top + BAND, w->ny);
	(void)i_thread;
	for (int32_t i = 0; i < a->n; i++) {
		const placed *at = &w->windows[i];
		const float *pixels = w->pixels + (size_t)i * (size_t)s * (size_t)s;
		int32_t first = most(0, -at->corner[0]), end = least(s, w->nx - at->corner[0]);
		for (int32_t Y = most(top, at->corner[1]); Y < least(bottom, at->corner[1] + s); Y++) {
			const float *from = pixels + (size_t)(Y - at->corner[1]) * (size_t)s;
			float *row = w->map[at->half] + (size_t)Y * (size_t)w->nx;
			for (int32_t x = first; x < end; x++) row[at->corner[0] + x] += from[x];
		}
	}
	return CYC_OK;
}

static cyc_status paint_batch(search *w, const cyc_prediction_pass *p, const cyc_cfloat *V, const float *ctf)
{
	cyc_status st = CYC_OK;
	size_t plane = cyc_half_count2(w->s);
	for (int32_t first = 0; first < p->batch->n; first += w->n_windows) {
		painting a = { w, least(w->n_windows, p->batch->n - first) };
		for (int32_t i = 0; i < a.n; i++) {
			size_t k = (size_t)(first + i);
			placed *at = &w->windows[i];
			*at = (placed){ .half = p->batch->half[k], .V = V + k * plane, .ctf = ctf + k * plane };
			for (int c = 0; c < 2; c++) {
				double x = p->batch->at_px[2 * k + (size_t)c];
				at->corner[c] = (int32_t)round(x) - w->s / 2;
				at->rest[c] = x - round(x);
			}
		}
		CYC_TRY(cyc_parallel_for(a.n, w->n_threads, make_window, w));
		CYC_TRY(cyc_parallel_for(n_bands(w->ny), w->n_threads, paint_band, &a));
	}
done:
	return st;
}

static cyc_status paint(search *w, cyc_image_shift *out, cyc_prediction_pass *p, const cyc_tilt_series *ts,
                        int32_t f, const cyc_particle_set *set, int32_t i_series)
{
	cyc_status st = CYC_OK;
	bool *used = NULL;
	int64_t count = set->series_first[i_series + 1] - set->series_first[i_series];
	CYC_TRY(cyc_alloc(&used, (size_t)set->n_optics + 1, sizeof *used));
	cyc_optics_used(used, set, i_series);
	for (int32_t g = 0; g < set->n_optics; g++) {
		if (!used[g]) continue;
		CYC_TRY(cyc_prediction_pass_group(p, ts, f, &set->optics[g]));
		w->radius = p->radius;
		w->phase = p->phase ? p->tables->odd_phase : NULL;
		for (int64_t cursor = 0; cursor < count;) {
			const cyc_cfloat *V;
			const float *ctf;
			CYC_TRY(cyc_prediction_pass_next(p, &cursor, &out->n_outside,
			                                 &(cyc_image_group){ ts, f, set, i_series, g }));
			CYC_TRY(cyc_buffer_map(&V, p->prediction));
			CYC_TRY(cyc_buffer_map(&ctf, p->ctf));
			CYC_TRY(paint_batch(w, p, V, ctf));
			out->n_images += p->batch->n;
			CYC_TRY(cyc_buffer_unmap(p->prediction));
			CYC_TRY(cyc_buffer_unmap(p->ctf));
		}
	}
done:
	cyc_free(used);
	return st;
}

/* ---------------------------------------------------------------- the correlation */

/*
 * log L of a shift (but for a constant): sum_k X conj(V) / N exp(2 pi i k.d / n), unitary transforms, over
 * the whole plane. Frequencies are physical: both axes of an image that is not square, and the shells of the
 * noise, are compared in cycles per pixel. A row of it; and its part of sum_k |V|^2 / N.
 */
static cyc_status correlate_row(void *arg, int64_t y, int i_thread)
{
	search *w = arg;
	int32_t half = w->nx / 2 + 1, n_shells = w->s / 2 + 1;
	double unit = 1.0 / ((double)w->nx * w->ny), power = 0,
		   fy = (double)(y <= w->ny / 2 ? y : y - w->ny) / w->ny;
	cyc_cfloat *work = w->work + (size_t)y * (size_t)half;
	const cyc_cfloat *observed = w->observed + (size_t)y * (size_t)half;
	(void)i_thread;
	for (int32_t x = 0; x < half; x++) {
		double fx = (double)x / w->nx, r = w->s * sqrt(fx * fx + fy * fy);
		if (r > w->radius) {
			memset(work + x, 0, (size_t)(half - x) * sizeof *work);
			break;
		}
		double noise = cyc_radial_at(w->noise, n_shells, r);
		bool is_used = (x > 0 || y > 0) && noise > 0;
		if (is_used)
			power += (x == 0 || 2 * x == w->nx ? 1 : 2) * unit *
			         (double)(crealf(work[x]) * crealf(work[x]) + cimagf(work[x]) * cimagf(work[x])) / noise;
		work[x] = is_used ? observed[x] * conjf(work[x]) * (float)(unit / noise) : 0;
	}
	w->of_rows[2 * (size_t)y] = power;
	return CYC_OK;
}

/* The canvas of a half-set becomes its map of correlations. */
static cyc_status correlate(double *power, search *w, int h)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_fft2_image_forward(w->work, w->image_plan, w->map[h]));
	CYC_TRY(cyc_parallel_for(w->ny, w->n_threads, correlate_row, w));
	*power += row_sum(w, 0);
	CYC_TRY(cyc_fft2_image_inverse(w->map[h], w->image_plan, w->work));
done:
	return st;
}

/* ---------------------------------------------------------------- the peak */

static float value_at(const search *w, int which, size_t i)
{
	return which == BOTH ? w->map[0][i] + w->map[1][i] : w->map[which][i];
}

/* Highest points of a band, and moments of its rows. */
static cyc_status survey_band(void *arg, int64_t band, int i_thread)
{
	search *w = arg;
	size_t nx = (size_t)w->nx, first = (size_t)band * BAND, end = (size_t)least((int32_t)first + BAND, w->ny),
		   B = (size_t)n_bands(w->ny);
	(void)i_thread;
	for (int m = 0; m < N_MAPS; m++) {
		size_t best = first * nx;
		for (size_t i = best + 1; i < end * nx; i++)
			if (value_at(w, m, i) > value_at(w, m, best)) best = i;
		w->best_at[(size_t)m * B + (size_t)band] = best;
	}
	for (size_t y = first; y < end; y++) {
		double mean = 0, square = 0;
		for (size_t i = y * nx; i < (y + 1) * nx; i++) {
			double v = (double)w->map[0][i] + (double)w->map[1][i];
			mean += v;
			square += v * v;
		}
		w->of_rows[2 * y] = mean;
		w->of_rows[2 * y + 1] = square;
	}
	return CYC_OK;
}

static size_t highest(const search *w, int which)
{
	size_t B = (size_t)n_bands(w->ny);
	const size_t *at = w->best_at + (size_t)which * B, *best = at;
	for (size_t b = 1; b < B; b++)
		if (value_at(w, which, at[b]) > value_at(w, which, *best)) best = &at[b];
	return *best;
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

static cyc_status find_peak(cyc_image_shift *out, search *w, double near_px)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_parallel_for(n_bands(w->ny), w->n_threads, survey_band, w));
	size_t best = highest(w, BOTH);
	double n = (double)w->nx * w->ny, mean = row_sum(w, 0) / n, square = row_sum(w, 1) / n;
	double sigma = sqrt(fmax(square - mean * mean, 0)),
		   top = (double)w->map[0][best] + (double)w->map[1][best];
	out->peak = sigma > 0 ? (top - mean) / sigma : 0;
	out->top = top;
	out->near = highest_near(w, (int32_t)near_px);
	for (int h = 0; h < 2; h++) {
		out->heldout_before += (double)w->map[h][0];
		out->heldout_after += (double)w->map[h][highest(w, 1 - h)];
	}
	out->is_found = out->peak >= CYC_IMAGE_SHIFT_LEAST_PEAK;
	if (!out->is_found) goto done;
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
done:
	return st;
}

/* ---------------------------------------------------------------- all of it */

typedef struct {
	search *w;
	const float *pixels;
	float mean;
} centring;

static cyc_status sum_row(void *arg, int64_t y, int i_thread)
{
	const centring *a = arg;
	const float *row = a->pixels + (size_t)y * (size_t)a->w->nx;
	double sum = 0;
	(void)i_thread;
	for (int32_t x = 0; x < a->w->nx; x++) sum += (double)row[x];
	a->w->of_rows[2 * (size_t)y] = sum;
	return CYC_OK;
}

static cyc_status centre_row(void *arg, int64_t y, int i_thread)
{
	const centring *a = arg;
	size_t first = (size_t)y * (size_t)a->w->nx;
	(void)i_thread;
	for (size_t i = first; i < first + (size_t)a->w->nx; i++) a->w->map[0][i] = a->pixels[i] - a->mean;
	return CYC_OK;
}

/* The transform of the image less its mean. The pixels pass through a map, which is left clear. */
static cyc_status transform_image(search *w, const float *pixels)
{
	cyc_status st = CYC_OK;
	centring a = { .w = w, .pixels = pixels };
	CYC_TRY(cyc_parallel_for(w->ny, w->n_threads, sum_row, &a));
	a.mean = (float)(row_sum(w, 0) / ((double)w->nx * w->ny));
	CYC_TRY(cyc_parallel_for(w->ny, w->n_threads, centre_row, &a));
	CYC_TRY(cyc_fft2_image_forward(w->observed, w->image_plan, w->map[0]));
	memset(w->map[0], 0, (size_t)w->nx * (size_t)w->ny * sizeof *w->map[0]);
done:
	return st;
}

cyc_status cyc_image_shift_find(cyc_image_shift *out, cyc_prediction_pass *p, const cyc_tilt_series *ts,
                                int32_t i_tilt, const cyc_particle_set *set, int32_t i_series, double near_px)
{
	cyc_status st = CYC_OK;
	search w = { 0 };
	memset(out, 0, sizeof *out);
	CYC_TRY(cyc_prediction_pass_image(p, ts, i_tilt));
	CYC_TRY(search_init(&w, p, ts->image_nx, ts->image_ny));
	CYC_TRY(transform_image(&w, p->image.loaded.pixels));
	CYC_TRY(paint(&w, out, p, ts, i_tilt, set, i_series));
	if (out->n_images == 0) goto done;
	for (int h = 0; h < 2; h++) CYC_TRY(correlate(&out->power, &w, h));
	CYC_TRY(find_peak(out, &w, near_px));
done:
	search_deinit(&w);
	return st;
}

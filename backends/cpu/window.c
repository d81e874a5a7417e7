#include "backends/cpu/cpu_internal.h"
#include "backends/tables.h"

#include <math.h>
#include <string.h>

struct cyc_window_plan {
	cyc_window_spec spec;
	cyc_fft2_band *fft;
	int32_t radius;            /* largest wanted |kx|, |ky| */
	int32_t first_row, n_rows; /* of a window that are not zero */
	float *circle;             /* S x S: weight inside, 0 in the corners */
	float *corner;             /* S x S: 1 in the corners, whose mean is the background, 0 inside */
	int32_t *circle_from;      /* S: in each row nothing is corner from here to as far from the other end */
};

void cyc__window_plan_destroy(cyc_window_plan **p)
{
	if (!*p) return;
	cyc_fft2_band_destroy(&(*p)->fft);
	cyc_free((*p)->circle);
	cyc_free((*p)->corner);
	cyc_free((*p)->circle_from);
	cyc_free(*p);
	*p = NULL;
}

static cyc_status plan_create(cyc_window_plan **out, const cyc_window_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_window_plan *p = NULL;
	size_t S = (size_t)spec->box_px;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->spec = *spec;
	p->radius = cyc__window_radius(spec);
	p->n_rows = spec->n_rows > 0 ? spec->n_rows : spec->box_px;
	p->first_row = (spec->box_px - p->n_rows) / 2;
	CYC_TRY(
		cyc_fft2_band_create(&p->fft, spec->box_px, spec->box_px, p->radius + 1, p->first_row, p->n_rows));
	CYC_TRY(cyc_alloc(&p->circle, S * S, sizeof *p->circle));
	CYC_TRY(cyc_alloc(&p->corner, S * S, sizeof *p->corner));
	CYC_TRY(cyc_alloc(&p->circle_from, S, sizeof *p->circle_from));
	cyc__window_circle(p->circle, p->corner, p->circle_from, spec->box_px);
	*out = p;
	p = NULL;
done:
	cyc__window_plan_destroy(&p);
	return st;
}

static bool is_plan_of(const cyc_window_plan *p, const cyc_window_spec *spec)
{
	return p && p->spec.box_px == spec->box_px && p->spec.box_binned == spec->box_binned &&
	       p->spec.no_circle_crop == spec->no_circle_crop && p->spec.is_partial == spec->is_partial &&
	       p->spec.radius == spec->radius && p->spec.n_rows == spec->n_rows;
}

/* The plan of spec becomes the first; one that is made takes the place of the last. */
static cyc_status have_plan(cyc_cpu *cpu, const cyc_window_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_window_plan *plan = NULL, **all = cpu->window;
	int at = 0;
	while (at < CYC_CPU_WINDOW_PLANS - 1 && !is_plan_of(all[at], spec)) at++;
	if (!is_plan_of(all[at], spec)) {
		CYC_TRY(plan_create(&plan, spec));
		cyc__window_plan_destroy(&all[at]);
	} else {
		plan = all[at];
	}
	memmove(all + 1, all, (size_t)at * sizeof(cyc_window_plan *));
	all[0] = plan;
done:
	return st;
}

typedef struct {
	const cyc_cpu *cpu;
	const cyc_window_plan *plan;
	cyc_cfloat *ft;
	const float *image;
	int32_t nx, ny;
	const double *at_px;
} work;

static int32_t clamp(int32_t i, int32_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/* Copy with the border repeated outwards. */
static void copy_window(float *w, const work *a, int32_t x0, int32_t y0)
{
	int32_t S = a->plan->spec.box_px;
	bool is_inside = x0 >= 0 && y0 >= 0 && x0 + S <= a->nx && y0 + S <= a->ny;
	for (int32_t y = a->plan->first_row; y < a->plan->first_row + a->plan->n_rows; y++) {
		const float *row = a->image + (size_t)clamp(y0 + y, a->ny) * (size_t)a->nx;
		float *to = w + (size_t)y * (size_t)S;
		if (is_inside) memcpy(to, row + x0, (size_t)S * sizeof *w);
		else
			for (int32_t x = 0; x < S; x++) to[x] = row[clamp(x0 + x, a->nx)];
	}
}

/* Pixels outside the image carry no information: they take the value m, which the circle crop turns into
 * zero. */
static void fill_outside(float *w, const work *a, const cyc_window_part *in, float m)
{
	int32_t S = a->plan->spec.box_px;
	for (int32_t y = 0; y < S; y++) {
		float *row = w + (size_t)y * (size_t)S;
		bool is_outside = y < in->first_y || y >= in->last_y;
		for (int32_t x = 0; x < (is_outside ? S : in->first_x); x++) row[x] = m;
		for (int32_t x = in->last_x; x < S && !is_outside; x++) row[x] = m;
	}
}

enum { LANES = 16 };

/*
 * Weighted sum of a row in a fixed order of lanes, whatever the vector unit.
 * @param[in] from, to  weights between them are zero
 */
CYC_SIMD static double row_sum(double *weight_sum, const float *row, const float *weight, int32_t n,
                               int32_t from, int32_t to)
{
	float sum[LANES] = { 0 }, count[LANES] = { 0 };
	double total = 0, all = 0;
	int32_t x = 0;
	for (; x + LANES <= n; x += LANES) {
		if (x >= from && x + LANES <= to) continue;
		for (int32_t i = 0; i < LANES; i++) {
			sum[i] += row[x + i] * weight[x + i];
			count[i] += weight[x + i];
		}
	}
	for (int32_t i = 0; i < LANES; i++) {
		total += (double)sum[i];
		all += (double)count[i];
	}
	for (; x < n; x++) {
		total += (double)(row[x] * weight[x]);
		all += (double)weight[x];
	}
	*weight_sum += all;
	return total;
}

/* Mean of the corners; of a partial window, of those pixels that are in the image. */
static float background(const float *w, const cyc_window_plan *p, const cyc_window_part *in)
{
	int32_t S = p->spec.box_px;
	double sum = 0, count = 0;
	for (int32_t y = in->first_y; y < in->last_y; y++) {
		size_t at = (size_t)y * (size_t)S + (size_t)in->first_x;
		int32_t from = p->circle_from[y] - in->first_x;
		sum += row_sum(&count, w + at, p->corner + at, in->last_x - in->first_x, from < 0 ? 0 : from,
		               S - p->circle_from[y] - in->first_x);
	}
	return count > 0 ? (float)(sum / count) : 0;
}

CYC_SIMD static void crop_circle(float *w, const float *circle, size_t n, float m)
{
	for (size_t i = 0; i < n; i++) w[i] = circle[i] * (w[i] - m);
}

CYC_SIMD static void turn(cyc_cfloat *to, const cyc_cfloat *from, const cyc_cfloat *ramp_x, cyc_cfloat ramp_y,
                          size_t n)
{
	float c = crealf(ramp_y), d = cimagf(ramp_y);
	for (size_t x = 0; x < n; x++) {
		float a = crealf(ramp_x[x]), b = cimagf(ramp_x[x]), u = a * c - b * d, v = a * d + b * c,
			  re = crealf(from[x]), im = cimagf(from[x]);
		to[x] = (re * u - im * v) + (re * v + im * u) * I;
	}
}

static cyc_status window_task(void *arg, int64_t i, int i_thread)
{
	const work *a = arg;
	const cyc_window_spec *spec = &a->plan->spec;
	size_t S = (size_t)spec->box_px, s = (size_t)spec->box_binned, sh = s / 2 + 1, Sh = S / 2 + 1;
	float *w = cyc__cpu_scratch_of(a->cpu, i_thread);
	cyc_cfloat *big = (cyc_cfloat *)(w + (S * S + 15) / 16 * 16), *ramp_x = big + Sh * S,
			   *ramp_y = ramp_x + Sh, *out = a->ft + (size_t)i * s * sh;
	int32_t x0, y0;
	cyc__window_corner(&x0, &y0, a->at_px + 2 * i, spec->box_px);
	copy_window(w, a, x0, y0);
	if (!spec->no_circle_crop || spec->is_partial) {
		cyc_window_part in = cyc__window_part(spec, x0, y0, a->nx, a->ny);
		float m = background(w, a->plan, &in);
		if (spec->is_partial) fill_outside(w, a, &in, m);
		if (!spec->no_circle_crop) crop_circle(w, a->plan->circle, S * S, m);
	}
	cyc_fft2_band_forward(big, a->plan->fft, w);
	cyc__window_ramps(ramp_x, ramp_y, spec, a->at_px + 2 * i);
	size_t radius = (size_t)a->plan->radius;
	for (size_t y = 0; y < s; y++) {
		size_t ky = y < s / 2 ? y : s - y; /* its size */
		const cyc_cfloat *from = big + (y < s / 2 ? y : y + S - s) * Sh;
		cyc_cfloat *to = out + y * sh;
		size_t count = ky <= radius ? radius + 1 : 0;
		turn(to, from, ramp_x, ramp_y[y], count);
		memset(to + count, 0, (sh - count) * sizeof *to);
	}
	return CYC_OK;
}

cyc_status cyc_window_cpu(void *self, cyc_cfloat *ft, const float *image, int32_t nx, int32_t ny,
                          const double *at_px, int32_t n, const cyc_window_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	size_t S = (size_t)spec->box_px, Sh = S / 2 + 1;
	CYC_TRY(have_plan(cpu, spec));
	CYC_TRY(cyc__cpu_scratch(cpu, n, (S * S + 16) * sizeof(float) + (Sh * S + Sh + S) * sizeof(cyc_cfloat)));
	work a = { cpu, cpu->window[0], ft, image, nx, ny, at_px };
	CYC_TRY(cyc_parallel_for(n, cpu->n_threads, window_task, &a));
done:
	return st;
}

#include "backends/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

struct cyc_window_plan {
	cyc_window_spec spec;
	cyc_fft2 *fft;
	float *circle;         /* S x S: weight inside; -1 marks the corners whose mean is the background */
	double background_count;
};

void cyc__window_plan_destroy(cyc_window_plan **p)
{
	if (!*p) return;
	cyc_fft2_destroy(&(*p)->fft);
	cyc_free((*p)->circle);
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
	CYC_TRY(cyc_fft2_create(&p->fft, spec->box_px, spec->box_px));
	CYC_TRY(cyc_alloc(&p->circle, S * S, sizeof *p->circle));
	double R = 0.5 * spec->box_px;
	for (size_t y = 0; y < S; y++)
		for (size_t x = 0; x < S; x++) {
			double r = hypot((double)x - R, (double)y - R), g = cyc_circle_crop_weight(spec->box_px, r);
			bool is_corner = r > R;
			if (is_corner) p->background_count++;
			p->circle[y * S + x] = is_corner ? -1.F : (float)g;
		}
	*out = p;
	p = NULL;
done:
	cyc__window_plan_destroy(&p);
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
	for (int32_t y = 0; y < S; y++) {
		const float *row = a->image + (size_t)clamp(y0 + y, a->ny) * (size_t)a->nx;
		float *to = w + (size_t)y * (size_t)S;
		if (is_inside) memcpy(to, row + x0, (size_t)S * sizeof *w);
		else
			for (int32_t x = 0; x < S; x++) to[x] = row[clamp(x0 + x, a->nx)];
	}
}

/* Pixels that are not in the image tell nothing: they take the value m, which the circle crop turns into zero. */
static void fill_outside(float *w, const work *a, int32_t x0, int32_t y0, float m)
{
	int32_t S = a->plan->spec.box_px;
	for (int32_t y = 0; y < S; y++)
		for (int32_t x = 0; x < S; x++)
			if (x0 + x < 0 || y0 + y < 0 || x0 + x >= a->nx || y0 + y >= a->ny) w[(size_t)y * (size_t)S + (size_t)x] = m;
}

static float background(const float *w, const work *a, int32_t x0, int32_t y0)
{
	const cyc_window_plan *p = a->plan;
	int32_t S = p->spec.box_px;
	bool is_partial = p->spec.is_partial && (x0 < 0 || y0 < 0 || x0 + S > a->nx || y0 + S > a->ny);
	double sum = 0, count = 0;
	for (int32_t y = 0; y < S; y++) {
		bool row_is_in = !is_partial || (y0 + y >= 0 && y0 + y < a->ny);
		const float *row = w + (size_t)y * (size_t)S, *circle = p->circle + (size_t)y * (size_t)S;
		double row_sum = 0;
		if (!row_is_in) continue;
		for (int32_t x = 0; x < S; x++) {
			if (circle[x] >= 0 || (is_partial && (x0 + x < 0 || x0 + x >= a->nx))) continue;
			row_sum += (double)row[x];
			count++;
		}
		sum += row_sum;
	}
	return count > 0 ? (float)(sum / count) : 0;
}

static void crop_circle(float *w, const cyc_window_plan *p, float m)
{
	size_t n = (size_t)p->spec.box_px * (size_t)p->spec.box_px;
	for (size_t i = 0; i < n; i++) {
		float g = p->circle[i];
		w[i] = g > 0 ? g * (w[i] - m) : 0;
	}
}

static cyc_status window_task(void *arg, int64_t i, int i_thread)
{
	const work *a = arg;
	const cyc_window_spec *spec = &a->plan->spec;
	size_t S = (size_t)spec->box_px, s = (size_t)spec->box_binned, sh = s / 2 + 1, Sh = S / 2 + 1;
	float *w = cyc__cpu_scratch_of(a->cpu, i_thread);
	cyc_cfloat *big = (cyc_cfloat *)(w + (S * S + 15) / 16 * 16), *ramp_x = big + Sh * S, *out = a->ft + (size_t)i * s * sh;
	double qx = a->at_px[2 * i], qy = a->at_px[2 * i + 1], binning = (double)S / (double)s;
	int32_t x0 = (int32_t)round(qx) - spec->box_px / 2, y0 = (int32_t)round(qy) - spec->box_px / 2;
	copy_window(w, a, x0, y0);
	if (!spec->no_circle_crop || spec->is_partial) {
		float m = background(w, a, x0, y0);
		if (spec->is_partial) fill_outside(w, a, x0, y0, m);
		if (!spec->no_circle_crop) crop_circle(w, a->plan, m);
	}
	cyc_fft2_forward(big, a->plan->fft, w);
	/* exp(2 pi i k.t / s) centres the particle, (-1)^(kx+ky) moves the phase origin to pixel S/2, 1/S makes it unitary, and
	 * 1/binning keeps the grey level of binned pixels. */
	double tx = (qx - x0) / binning - 0.5 * (double)s, ty = (qy - y0) / binning - 0.5 * (double)s;
	for (size_t x = 0; x < sh; x++) {
		double phase = 2 * CYC_PI * tx * (double)x / (double)s, sign = x % 2 ? -1 : 1;
		ramp_x[x] = (float)(sign * cos(phase)) + (float)(sign * sin(phase)) * I;
	}
	double scale = 1 / ((double)S * binning);
	for (size_t y = 0; y < s; y++) {
		double ky = y < s / 2 ? (double)y : (double)y - (double)s, phase = 2 * CYC_PI * ty * ky / (double)s, sign = y % 2 ? -scale : scale;
		cyc_cfloat ramp_y = (float)(sign * cos(phase)) + (float)(sign * sin(phase)) * I;
		const cyc_cfloat *from = big + (y < s / 2 ? y : y + S - s) * Sh;
		cyc_cfloat *to = out + y * sh;
		for (size_t x = 0; x < sh; x++) to[x] = from[x] * (ramp_x[x] * ramp_y);
	}
	return CYC_OK;
}

cyc_status cyc_window_cpu(void *self, cyc_cfloat *ft, const float *image, int32_t nx, int32_t ny, const double *at_px, int32_t n, const cyc_window_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	size_t S = (size_t)spec->box_px, Sh = S / 2 + 1;
	const cyc_window_spec *have = cpu->window ? &cpu->window->spec : NULL;
	if (!have || have->box_px != spec->box_px || have->box_binned != spec->box_binned || have->no_circle_crop != spec->no_circle_crop ||
	    have->is_partial != spec->is_partial) {
		cyc__window_plan_destroy(&cpu->window);
		CYC_TRY(plan_create(&cpu->window, spec));
	}
	CYC_TRY(cyc__cpu_scratch(cpu, (S * S + 16) * sizeof(float) + (Sh * S + Sh) * sizeof(cyc_cfloat)));
	work a = { cpu, cpu->window, ft, image, nx, ny, at_px };
	CYC_TRY(cyc_parallel_for(n, cpu->n_threads, window_task, &a));
done:
	return st;
}

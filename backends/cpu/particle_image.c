#include "backends/cpu/cpu_internal.h"
#include "backends/tables.h"

#include <string.h>

struct cyc_image_plan {
	cyc_particle_image_spec spec;
	cyc_fft2_rows *fft;
	float *circle;        /* c x c: weight; -1 marks what is outside the circle */
	double outside_count; /* pixels of the s-box outside the circle */
};

void cyc__image_plan_destroy(cyc_image_plan **p)
{
	if (!*p) return;
	cyc_fft2_rows_destroy(&(*p)->fft);
	cyc_free((*p)->circle);
	cyc_free(*p);
	*p = NULL;
}

/* The rows of what is cut out; the row after the circle's has a pixel of sum_inside(). */
static cyc_status plan_rows(cyc_fft2_rows **fft, const cyc_particle_image_spec *spec)
{
	int32_t s = spec->box_binned, c = spec->no_circle_crop ? spec->edge_px : spec->circle_px;
	return cyc_fft2_rows_create(fft, s, s, (s - c) / 2, c < s ? c + 1 : c);
}

static cyc_status plan_create(cyc_image_plan **out, const cyc_particle_image_spec *spec)
{
	cyc_status st = CYC_OK;
	cyc_image_plan *p = NULL;
	size_t c = (size_t)spec->circle_px;
	CYC_TRY(cyc_alloc(&p, 1, sizeof *p));
	p->spec = *spec;
	CYC_TRY(plan_rows(&p->fft, spec));
	CYC_TRY(cyc_alloc(&p->circle, c * c, sizeof *p->circle));
	cyc__image_circle(p->circle, &p->outside_count, spec);
	*out = p;
	p = NULL;
done:
	cyc__image_plan_destroy(&p);
	return st;
}

typedef struct {
	const cyc_cpu *cpu;
	const cyc_image_plan *plan;
	float *images;
	const cyc_cfloat *ft;
	const float *ctf;
	const cyc_cfloat *phase;
	const float *whiten;
} work;

/* The sign (-1)^(x+y) puts the phase origin on pixel s/2. */
CYC_SIMD static void weigh_row(float *restrict out, const float *restrict ft, const float *ctf,
                               const float *whiten, float factor, size_t sh)
{
	for (size_t x = 0; x < sh; x++) {
		float f = (x % 2 ? -factor : factor) * (ctf ? ctf[x] : 1) * (whiten ? whiten[x] : 1);
		out[2 * x] = f * ft[2 * x];
		out[2 * x + 1] = f * ft[2 * x + 1];
	}
}

/* Sum of the pixels in the circle; what is outside of it in the box is the rest of the total, the coefficient
 * at k = 0. */
static double sum_inside(const float *w, const cyc_image_plan *p)
{
	size_t s = (size_t)p->spec.box_binned, c = (size_t)p->spec.circle_px, first = (s - c) / 2;
	double sum = c < s ? (double)w[(first + c) * s + s / 2] + (double)w[s / 2 * s + first + c] : 0;
	for (size_t y = 0; y < c; y++) {
		const float *row = w + (y + first) * s + first, *circle = p->circle + y * c;
		double row_sum = 0;
		for (size_t x = 0; x < c; x++)
			if (circle[x] >= 0) row_sum += (double)row[x];
		sum += row_sum;
	}
	return sum;
}

static void cut(float *to, const float *w, const cyc_image_plan *p, float mean)
{
	size_t s = (size_t)p->spec.box_binned, c = (size_t)p->spec.circle_px, edge = (size_t)p->spec.edge_px,
		   first = (s - c) / 2, rim = (edge - c) / 2;
	if (p->spec.no_circle_crop) {
		for (size_t y = 0; y < edge; y++)
			memcpy(to + y * edge, w + (y + (s - edge) / 2) * s + (s - edge) / 2, edge * sizeof *to);
		return;
	}
	if (rim > 0) memset(to, 0, edge * edge * sizeof *to);
	for (size_t y = 0; y < c; y++) {
		const float *row = w + (y + first) * s + first, *circle = p->circle + y * c;
		float *out = to + (y + rim) * edge + rim;
		for (size_t x = 0; x < c; x++) out[x] = circle[x] > 0 ? circle[x] * (row[x] - mean) : 0;
	}
}

static cyc_status image_task(void *arg, int64_t i, int i_thread)
{
	const work *a = arg;
	const cyc_particle_image_spec *spec = &a->plan->spec;
	size_t s = (size_t)spec->box_binned, sh = s / 2 + 1, plane = s * sh, edge = (size_t)spec->edge_px;
	float *w = cyc__cpu_scratch_of(a->cpu, i_thread);
	cyc_cfloat *y_ft = (cyc_cfloat *)(w + (s * s + 15) / 16 * 16);
	const cyc_cfloat *ft = a->ft + (size_t)i * plane;
	for (size_t y = 0; y < s; y++) {
		float factor = (float)((y % 2 ? -spec->factor : spec->factor) / (double)s);
		weigh_row((float *)(y_ft + y * sh), (const float *)(ft + y * sh),
		          a->ctf ? a->ctf + (size_t)i * plane + y * sh : NULL, a->whiten ? a->whiten + y * sh : NULL,
		          factor, sh);
		for (size_t x = 0; x < sh && a->phase; x++) y_ft[y * sh + x] *= conjf(a->phase[y * sh + x]);
	}
	double total = (double)crealf(y_ft[0]) * (double)(s * s);
	cyc_fft2_rows_inverse(w, a->plan->fft, y_ft);
	cut(a->images + (size_t)i * edge * edge, w, a->plan,
	    spec->no_circle_crop ? 0 : (float)((total - sum_inside(w, a->plan)) / a->plan->outside_count));
	return CYC_OK;
}

cyc_status cyc_particle_image_cpu(void *self, float *images, const cyc_cfloat *ft, const float *ctf,
                                  const cyc_cfloat *phase, const float *whiten,
                                  const cyc_particle_image_spec *spec, int32_t n)
{
	cyc_status st = CYC_OK;
	cyc_cpu *cpu = self;
	size_t s = (size_t)spec->box_binned;
	const cyc_particle_image_spec *have = cpu->image ? &cpu->image->spec : NULL;
	if (!have || have->box_binned != spec->box_binned || have->circle_px != spec->circle_px ||
	    have->edge_px != spec->edge_px || have->no_circle_crop != spec->no_circle_crop ||
	    have->factor != spec->factor) {
		cyc__image_plan_destroy(&cpu->image);
		CYC_TRY(plan_create(&cpu->image, spec));
	}
	CYC_TRY(cyc__cpu_scratch(cpu, n, (s * s + 16) * sizeof(float) + s * (s / 2 + 1) * sizeof(cyc_cfloat)));
	work a = { cpu, cpu->image, images, ft, ctf, phase, whiten };
	CYC_TRY(cyc_parallel_for(n, cpu->n_threads, image_task, &a));
done:
	return st;
}

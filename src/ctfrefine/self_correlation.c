#include "ctfrefine/self_correlation.h"

#include "ctfrefine/model.h"

#include <math.h>

/* Of the excess: prior standard deviation. */
static const double PRIOR_SD = 0.5;
/* Scatter of the residual in the direction of the self-correlation, over the signal. */
static const double MISFIT_FRAC = 0.3;

typedef struct {
	const cyc_tilt_fit **fits;
	const cyc_tilt_sums **sums;
	int64_t n;
	const cyc_ctf_model *m;
	cyc_self_terms *terms; /* n x n_shells */
} work;

static cyc_status terms_task(void *arg, int64_t i, int i_thread)
{
	work *w = arg;
	(void)i_thread;
	const cyc_tilt_fit *t = w->fits[i];
	cyc_ctf_self_terms(w->terms + (size_t)i * (size_t)w->m->n_shells, w->m, w->sums[i], t->change,
	                   t->shift_A);
	return CYC_OK;
}

/*
 * Each shell gives an excess, with the amplitude of each tilt in it eliminated. Signal that the prediction
 * does not explain looks like self-correlation too, in proportion to the ratio of both: fine shells, where
 * that is small, decide.
 */
static cyc_self_excess regress(const work *w)
{
	double sum = 0, weights = 1 / (PRIOR_SD * PRIOR_SD);
	for (int32_t r = 0; r < w->m->n_shells; r++) {
		double numerator = 0, information = 0, pp = 0, ss = 0, py = 0;
		for (int64_t i = 0; i < w->n; i++) {
			const cyc_self_terms *t = &w->terms[(size_t)i * (size_t)w->m->n_shells + (size_t)r];
			double good = 1 - w->fits[i]->p_bad;
			if (!(t->pp > 0)) continue;
			numerator += good * (t->sy - t->ps * t->py / t->pp);
			information += good * (t->ss - t->ps * t->ps / t->pp);
			pp += good * t->pp;
			ss += good * t->ss;
			py += good * t->py;
		}
		if (!(information > 0 && pp > 0 && ss > 0)) continue;
		double ratio = py / sqrt(pp * ss), weight = 1 / (1 / information + cyc_square(MISFIT_FRAC * ratio));
		sum += weight * numerator / information;
		weights += weight;
	}
	return (cyc_self_excess){ sum / weights, 1 / sqrt(weights) };
}

cyc_status cyc_self_excess_measure(cyc_self_excess *out, const cyc_series_fit *series, const cyc_ctf_model *m,
                                   const cyc_series_sums *const *sums, int32_t n_series, int n_threads)
{
	cyc_status st = CYC_OK;
	work w = { .m = m };
	size_t most = 0;
	for (int32_t s = 0; s < n_series; s++) most += (size_t)series[s].n_tilts;
	CYC_TRY(cyc_alloc(&w.fits, most, sizeof *w.fits));
	CYC_TRY(cyc_alloc(&w.sums, most, sizeof *w.sums));
	for (int32_t s = 0; s < n_series; s++)
		for (int32_t f = 0; f < series[s].n_tilts; f++) {
			if (!series[s].tilts[f].has_data || series[s].tilts[f].p_bad > 0.5) continue;
			w.fits[w.n] = &series[s].tilts[f];
			w.sums[w.n++] = &sums[s]->tilts[f];
		}
	CYC_TRY(cyc_alloc(&w.terms, (size_t)w.n * (size_t)m->n_shells, sizeof *w.terms));
	CYC_TRY(cyc_parallel_for(w.n, n_threads, terms_task, &w));
	*out = regress(&w);
done:
	cyc_free(w.terms);
	cyc_free(w.fits);
	cyc_free(w.sums);
	return st;
}

static void take(cyc_tilt_sums *t, int32_t n, float excess)
{
	for (int32_t i = 0; i < n && t->cc; i++) {
		t->xc_re[i] -= excess * t->self_c[i];
		t->xq_re[i] -= excess * t->self_q[i];
	}
}

void cyc_self_excess_take(cyc_series_sums *sums, int32_t n_coefficients, double excess)
{
	for (int32_t f = 0; f < sums->n_tilts; f++) {
		cyc_tilt_sums *t = &sums->tilts[f];
		take(t, n_coefficients, (float)excess);
		for (int32_t i = 0; i < t->n_parts; i++) take(&t->parts[i], n_coefficients, (float)excess);
	}
}

/* Learning aberrations from series in memory: a start from low to high frequency, then steps in turn with
 * the tilts' fits. */
#include "ctfrefine/aberration.h"

#include <math.h>
#include <string.h>

enum { CLIMB_STAGES = 10, CLIMB_STEPS = 3, LAST_STEPS = 12, ROUNDS = 8, TILT_ROUNDS = 1 };
static const double CLIMB_START = 0.4, STILL_RAD = 0.01, LARGEST_STEP_RAD = 1.5;

/* ---------------------------------------------------------------- all tilts of a group added up */

/*
 * Sums of a group over all tilts of all series, each turned to its tilt's CTF, shift and amplitude, so that
 * one phase of the group explains them all: seven lists of the support.
 */
enum { P_CC, P_CQ, P_QQ, P_CR, P_CI, P_QR, P_QI, N_POOLED };

enum { CHUNK = 512 }; /* coefficients of a task */

static void pool_part(double *pool, size_t first, size_t last, const cyc_ctf_model *m, const cyc_tilt_sums *p,
                      const cyc_tilt_fit *t, double S)
{
	const cyc_ctf_support *s = m->support;
	size_t n = (size_t)s->n;
	double unit = 2 * CYC_PI * s->step_invA;
	for (size_t i = first; i < last; i++) {
		double delta = t->change.z * (double)m->g[0][i] + t->change.a[0] * (double)m->g[1][i] +
		               t->change.a[1] * (double)m->g[2][i];
		double ramp = unit * (s->x[i] * t->shift_A[0] + s->y[i] * t->shift_A[1]), c = cos(delta),
			   q = sin(delta), A = S * m->alpha[m->shell[i]];
		double xr = A * cos(ramp), xi = A * sin(ramp), cc = (double)p->cc[i], cq = (double)p->cq[i],
			   qq = (double)p->qq[i];
		double c_re = (double)p->xc_re[i] * c + (double)p->xq_re[i] * q,
			   c_im = (double)p->xc_im[i] * c + (double)p->xq_im[i] * q;
		double q_re = (double)p->xq_re[i] * c - (double)p->xc_re[i] * q,
			   q_im = (double)p->xq_im[i] * c - (double)p->xc_im[i] * q;
		pool[P_CC * n + i] += A * A * (cc * c * c + 2 * cq * c * q + qq * q * q);
		pool[P_CQ * n + i] += A * A * ((qq - cc) * c * q + cq * (c * c - q * q));
		pool[P_QQ * n + i] += A * A * (cc * q * q - 2 * cq * c * q + qq * c * c);
		pool[P_CR * n + i] += c_re * xr - c_im * xi;
		pool[P_CI * n + i] += c_re * xi + c_im * xr;
		pool[P_QR * n + i] += q_re * xr - q_im * xi;
		pool[P_QI * n + i] += q_re * xi + q_im * xr;
	}
}

typedef struct {
	double *pool;
	const cyc_aberrations *a;
	int32_t group, n_series;
	const cyc_series_fit *series;
	const cyc_series_sums *const *sums;
	bool do_scale;
} pool_work;

/* Coefficients are shared out; each adds up the tilts in their order. */
static cyc_status pool_task(void *arg, int64_t chunk, int i_thread)
{
	(void)i_thread;
	const pool_work *w = arg;
	size_t n = (size_t)w->a->model->support->n, first = (size_t)chunk * CHUNK,
		   last = first + CHUNK < n ? first + CHUNK : n;
	for (int32_t s = 0; s < w->n_series; s++)
		for (int32_t f = 0; f < w->sums[s]->n_tilts; f++) {
			const cyc_tilt_fit *t = &w->series[s].tilts[f];
			if (t->p_bad > 0.5) continue;
			for (int32_t k = 0; k < w->sums[s]->tilts[f].n_parts; k++)
				if (w->sums[s]->tilts[f].parts[k].i_optics == w->group)
					pool_part(w->pool, first, last, w->a->model, &w->sums[s]->tilts[f].parts[k], t,
					          exp(w->do_scale ? t->log_s : t->log_s_data));
		}
	return CYC_OK;
}

static cyc_status pool_group(double *pool, const cyc_aberrations *a, int32_t group,
                             const cyc_series_fit *series, const cyc_series_sums *const *sums,
                             int32_t n_series, bool do_scale, int n_threads)
{
	size_t n = (size_t)a->model->support->n;
	pool_work w = { pool, a, group, n_series, series, sums, do_scale };
	memset(pool, 0, N_POOLED * n * sizeof *pool);
	return cyc_parallel_for((int64_t)((n + CHUNK - 1) / CHUNK), n_threads, pool_task, &w);
}

/* Slopes and curvatures of the pooled log-likelihood at coefficient i, for phases e and o, and its value. */
typedef struct {
	double slope[CYC_N_PARITIES], bend[CYC_N_PARITIES], value;
} pooled_terms;

static pooled_terms pooled_at(const double *pool, size_t n, size_t i, double e, double o)
{
	double c = cos(e), q = sin(e), xr = cos(o), xi = -sin(o);
	double cc = pool[P_CC * n + i], cq = pool[P_CQ * n + i], qq = pool[P_QQ * n + i];
	double c_re = pool[P_CR * n + i] * xr - pool[P_CI * n + i] * xi,
		   c_im = pool[P_CR * n + i] * xi + pool[P_CI * n + i] * xr;
	double q_re = pool[P_QR * n + i] * xr - pool[P_QI * n + i] * xi,
		   q_im = pool[P_QR * n + i] * xi + pool[P_QI * n + i] * xr;
	double power = cc * c * c + 2 * cq * c * q + qq * q * q;
	return (pooled_terms){ { 2 * (q_re * c - c_re * q) - 2 * ((qq - cc) * c * q + cq * (c * c - q * q)),
		                     2 * (c_im * c + q_im * q) },
		                   { 2 * (cc * q * q - 2 * cq * c * q + qq * c * c), 2 * power },
		                   2 * (c_re * c + q_re * q) - power };
}

static double pooled_models(cyc_quadratic models[CYC_N_PARITIES], const cyc_aberrations *a,
                            const double *pool, const double theta[CYC_N_PARITIES][CYC_MAX_TERMS],
                            double k_limit_invA)
{
	const cyc_ctf_support *s = a->model->support;
	size_t n = (size_t)s->n;
	double sum = 0;
	memset(models, 0, CYC_N_PARITIES * sizeof *models);
	for (size_t i = 0; i < n; i++) {
		double v[CYC_MAX_TERMS], phase[CYC_N_PARITIES] = { 0, 0 };
		if (s->step_invA * hypot(s->x[i], s->y[i]) > k_limit_invA) continue;
		for (int p = 0; p < CYC_N_PARITIES; p++)
			for (int32_t j = 0; j < a->basis[p].n; j++)
				phase[p] += theta[p][j] * (double)a->basis[p].value[(size_t)j * n + i];
		pooled_terms t = pooled_at(pool, n, i, phase[CYC_EVEN], phase[CYC_ODD]);
		sum += t.value;
		for (int p = 0; p < CYC_N_PARITIES; p++)
			for (int32_t j = 0; j < a->basis[p].n; j++) {
				v[j] = (double)a->basis[p].value[(size_t)j * n + i];
				models[p].g[j] += t.slope[p] * v[j];
				for (int32_t k = 0; k <= j; k++) models[p].H[j][k] += t.bend[p] * v[j] * v[k];
			}
	}
	for (int p = 0; p < CYC_N_PARITIES; p++)
		for (int32_t j = 0; j < a->basis[p].n; j++)
			for (int32_t k = 0; k < j; k++) models[p].H[k][j] = models[p].H[j][k];
	return sum;
}

static cyc_status pooled_steps(double theta[CYC_N_PARITIES][CYC_MAX_TERMS], const cyc_aberrations *a,
                               const double *pool, double k_limit, int n_steps)
{
	cyc_status st = CYC_OK;
	cyc_quadratic models[CYC_N_PARITIES];
	for (int step = 0; step < n_steps; step++) {
		double largest = 0;
		pooled_models(models, a, pool, (const double(*)[CYC_MAX_TERMS])theta, k_limit);
		for (int p = 0; p < CYC_N_PARITIES; p++) {
			double d[CYC_MAX_TERMS];
			if (!a->is_asked[p]) continue;
			CYC_TRY(cyc_aberration_step(d, NULL, a, p, theta[p], &models[p]));
			double size = 0;
			for (int32_t j = 0; j < a->basis[p].n; j++) size = fmax(size, fabs(d[j]));
			for (int32_t j = 0; j < a->basis[p].n; j++)
				theta[p][j] += d[j] * fmin(1, LARGEST_STEP_RAD / fmax(size, 1e-9));
			largest = fmax(largest, size);
		}
		if (largest < STILL_RAD) break;
	}
done:
	return st;
}

/*
 * A phase that is wrong by more than half a turn at high frequency is small at low frequency: fit there
 * first, then extend to higher frequencies, each stage starting from the prediction of the last. This unwraps
 * the phase without a decision about any single coefficient. The plain start from zero must be beaten.
 * (T4.20)
 */
static cyc_status climb(double theta[CYC_N_PARITIES][CYC_MAX_TERMS], const cyc_aberrations *a,
                        const double *pool)
{
	cyc_status st = CYC_OK;
	double k_max = a->basis[a->is_asked[CYC_EVEN] ? CYC_EVEN : CYC_ODD].k_max_invA,
		   plain[CYC_N_PARITIES][CYC_MAX_TERMS] = { { 0 } };
	cyc_quadratic models[CYC_N_PARITIES];
	memset(theta, 0, sizeof plain);
	for (int stage = 0; stage <= CLIMB_STAGES; stage++) {
		double share = CLIMB_START + (1 - CLIMB_START) * stage / CLIMB_STAGES;
		CYC_TRY(pooled_steps(theta, a, pool, 1.001 * share * k_max,
		                     stage < CLIMB_STAGES ? CLIMB_STEPS : LAST_STEPS));
	}
	CYC_TRY(pooled_steps(plain, a, pool, 1.001 * k_max, LAST_STEPS));
	double climbed = pooled_models(models, a, pool, (const double(*)[CYC_MAX_TERMS])theta, 1.001 * k_max);
	double straight = pooled_models(models, a, pool, (const double(*)[CYC_MAX_TERMS])plain, 1.001 * k_max);
	if (straight > climbed) memcpy(theta, plain, sizeof plain);
done:
	return st;
}

/* ---------------------------------------------------------------- learning */

typedef struct {
	cyc_aberrations *a;
	cyc_aberration_evidence *evidence; /* n_groups: of the present state */
	bool *is_here;                     /* n_groups: these series have it, and it is to be learned */
	cyc_series_fit *series;
	cyc_ctf_widths *widths;
	cyc_ctf_model *model;
	cyc_series_sums *const *sums;
	int32_t n_series;
	const cyc_ctf_estimate_options *o;
} learning;

static cyc_status refit_tilts(learning *l)
{
	cyc_status st = CYC_OK;
	cyc_ctf_estimate_options o = *l->o;
	o.n_rounds = TILT_ROUNDS;
	cyc_aberrations_update(l->a);
	CYC_TRY(cyc_aberrations_apply(l->sums, l->n_series, l->a, o.n_threads));
	CYC_TRY(cyc_ctf_estimate(l->series, l->widths, l->model, (const cyc_series_sums *const *)l->sums,
	                         l->n_series, &o));
done:
	return st;
}

static cyc_status collect_here(learning *l)
{
	cyc_aberration_evidence_clear(l->evidence, l->a);
	return cyc_aberrations_collect(l->evidence, l->a, l->series, (const cyc_series_sums *const *)l->sums,
	                               l->n_series, l->widths, l->o->do_scale, l->o->n_threads);
}

static cyc_status start(learning *l)
{
	cyc_status st = CYC_OK;
	double *pool = NULL;
	cyc_aberrations *a = l->a;
	CYC_TRY(cyc_alloc(&pool, N_POOLED * (size_t)a->model->support->n, sizeof *pool));
	for (int32_t g = 0; g < a->n_groups; g++) {
		double theta[CYC_N_PARITIES][CYC_MAX_TERMS];
		if (!l->is_here[g]) continue;
		CYC_TRY(pool_group(pool, a, g, l->series, (const cyc_series_sums *const *)l->sums, l->n_series,
		                   l->o->do_scale, l->o->n_threads));
		CYC_TRY(climb(theta, a, pool));
		for (int p = 0; p < CYC_N_PARITIES; p++)
			for (int32_t j = 0; j < a->basis[p].n; j++)
				a->groups[g].theta[p][j] = cyc_aberration_is_carried(a, p, j) ? theta[p][j] : 0;
	}
done:
	cyc_free(pool);
	return st;
}

/* One step of all groups; the largest change [rad]. */
static cyc_status step_all(double *largest, learning *l)
{
	cyc_status st = CYC_OK;
	cyc_aberrations *a = l->a;
	*largest = 0;
	CYC_TRY(collect_here(l));
	for (int32_t g = 0; g < a->n_groups; g++)
		for (int p = 0; p < CYC_N_PARITIES; p++) {
			cyc_quadratic both = l->evidence[g].half[0][p];
			double d[CYC_MAX_TERMS];
			if (!l->is_here[g] || !a->is_asked[p] || a->groups[g].is_rejected[p]) continue;
			for (int32_t j = 0; j < a->basis[p].n; j++) {
				both.g[j] += l->evidence[g].half[1][p].g[j];
				for (int32_t k = 0; k < a->basis[p].n; k++) both.H[j][k] += l->evidence[g].half[1][p].H[j][k];
			}
			CYC_TRY(cyc_aberration_step(d, NULL, a, p, a->groups[g].theta[p], &both));
			double size = 0;
			for (int32_t j = 0; j < a->basis[p].n; j++)
				if (cyc_aberration_is_carried(a, p, j)) size = fmax(size, fabs(d[j]));
			for (int32_t j = 0; j < a->basis[p].n; j++)
				if (cyc_aberration_is_carried(a, p, j))
					a->groups[g].theta[p][j] += d[j] * fmin(1, LARGEST_STEP_RAD / fmax(size, 1e-9));
			*largest = fmax(*largest, size);
		}
done:
	return st;
}

/* Drop terms that the half-sets do not confirm mutually. */
static cyc_status reject(bool *any, learning *l)
{
	cyc_status st = CYC_OK;
	cyc_aberrations *a = l->a;
	*any = false;
	CYC_TRY(collect_here(l));
	for (int32_t g = 0; g < a->n_groups; g++)
		for (int p = 0; p < CYC_N_PARITIES; p++) {
			cyc_aberration_check check;
			if (!l->is_here[g] || !a->is_asked[p] || a->groups[g].is_rejected[p]) continue;
			CYC_TRY(cyc_aberration_test(&check, a, p, a->groups[g].theta[p], &l->evidence[g].half[0][p],
			                            &l->evidence[g].half[1][p]));
			cyc_debug("group %d, %s aberrations: log-likelihood gain in the other half-set %.1f with %d "
			          "terms, chi2 %.1f",
			          g + 1, p == CYC_EVEN ? "even" : "odd", check.gain, check.n_free, check.chi2);
			if (cyc_aberration_is_confirmed(&check)) continue;
			a->groups[g].is_rejected[p] = true;
			memset(a->groups[g].theta[p], 0, sizeof a->groups[g].theta[p]);
			*any = true;
		}
done:
	return st;
}

cyc_status cyc_aberrations_learn(cyc_aberrations *a, cyc_series_fit *series, cyc_ctf_widths *widths,
                                 cyc_ctf_model *model, cyc_series_sums *const *sums, int32_t n_series,
                                 const cyc_ctf_estimate_options *o)
{
	cyc_status st = CYC_OK;
	learning l = {
		.a = a, .series = series, .widths = widths, .model = model, .sums = sums, .n_series = n_series, .o = o
	};
	bool any = false;
	CYC_TRY(cyc_aberration_evidence_create(&l.evidence, a, false));
	CYC_TRY(cyc_alloc(&l.is_here, a->n_groups, sizeof *l.is_here));
	for (int32_t s = 0; s < n_series; s++)
		for (int32_t f = 0; f < sums[s]->n_tilts; f++)
			for (int32_t k = 0; k < sums[s]->tilts[f].n_parts; k++) {
				int32_t g = sums[s]->tilts[f].parts[k].i_optics;
				l.is_here[g] = !a->groups[g].is_learned;
				any = any || l.is_here[g];
			}
	if (any) {
		CYC_TRY(start(&l));
		CYC_TRY(refit_tilts(&l));
		for (int stage = 0; stage < 2;
		     stage++) { /* repeat if something was rejected: the other terms may change */
			for (int round = 0; round < ROUNDS; round++) {
				double largest;
				CYC_TRY(step_all(&largest, &l));
				CYC_TRY(refit_tilts(&l));
				cyc_debug("aberrations, round %d: largest change %.4f rad", round + 1, largest);
				if (largest < STILL_RAD) break;
			}
			bool is_rejected = false;
			CYC_TRY(reject(&is_rejected, &l));
			if (!is_rejected) break;
			CYC_TRY(refit_tilts(&l));
		}
	}
	for (int32_t g = 0; g < a->n_groups; g++)
		a->groups[g].is_learned = a->groups[g].is_learned || l.is_here[g];
done:
	cyc_aberration_evidence_destroy(&l.evidence, a->n_groups);
	cyc_free(l.is_here);
	return st;
}

cyc_status cyc_aberrations_draw(cyc_aberration_evidence *evidence, const cyc_aberrations *a,
                                const cyc_series_fit *series, const cyc_series_sums *const *sums,
                                int32_t n_series, bool do_scale, int n_threads)
{
	cyc_status st = CYC_OK;
	double *pool = NULL;
	size_t n = (size_t)a->model->support->n;
	CYC_TRY(cyc_alloc(&pool, N_POOLED * n, sizeof *pool));
	for (int32_t g = 0; g < a->n_groups; g++) {
		if (!evidence[g].picture || evidence[g].n_particles[0] + evidence[g].n_particles[1] == 0) continue;
		CYC_TRY(pool_group(pool, a, g, series, sums, n_series, do_scale, n_threads));
		for (size_t i = 0; i < n; i++) {
			pooled_terms t = pooled_at(pool, n, i, cyc_aberration_phase(a, g, CYC_EVEN, (int32_t)i),
			                           cyc_aberration_phase(a, g, CYC_ODD, (int32_t)i));
			for (size_t p = 0; p < CYC_N_PARITIES; p++) {
				evidence[g].picture[2 * p * n + i] += t.slope[p];
				evidence[g].picture[(2 * p + 1) * n + i] += t.bend[p];
			}
		}
	}
done:
	cyc_free(pool);
	return st;
}

#include "ctfrefine/aberration.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

/* Weak priors: phases beyond 10 rad at k_max are not expected; the constant is an error of the amplitude
 * contrast. */
static const double TERM_SD_RAD = 10, CONSTANT_SD_RAD = 0.05;

/* ---------------------------------------------------------------- phases */

static cyc_status basis_create(cyc_power_basis *b, const cyc_ctf_support *s, int32_t n_max)
{
	cyc_status st = CYC_OK;
	bool is_odd = n_max % 2 == 1;
	double k2_max = 0;
	b->n = cyc_zernike_count(n_max);
	b->n_low = is_odd ? 2 : 4;
	CYC_CHECK(b->n <= CYC_MAX_TERMS, CYC_E_INTERNAL, "%d terms", b->n);
	for (int32_t i = 0; i < s->n; i++)
		k2_max = fmax(k2_max, (double)s->x[i] * s->x[i] + (double)s->y[i] * s->y[i]);
	b->k_max_invA = s->step_invA * sqrt(k2_max);
	CYC_TRY(cyc_alloc(&b->value, (size_t)b->n * (size_t)s->n, sizeof *b->value));
	for (int32_t j = 0; j < b->n; j++) {
		int32_t m;
		if (is_odd) cyc_zernike_odd_index(&b->order[j], &m, j);
		else cyc_zernike_even_index(&b->order[j], &m, j);
		for (int32_t i = 0; i < s->n; i++)
			b->value[(size_t)j * (size_t)s->n + (size_t)i] =
				(float)cyc_power_term(b->order[j], m, s->x[i] / sqrt(k2_max), s->y[i] / sqrt(k2_max));
	}
done:
	return st;
}

cyc_status cyc_aberrations_create(cyc_aberrations **out, const cyc_ctf_model *m, double wavelength_A,
                                  int32_t n_even, int32_t n_odd, bool tilts_have_defocus, int32_t n_groups)
{
	cyc_status st = CYC_OK;
	cyc_aberrations *a = NULL;
	const int32_t n_max[CYC_N_PARITIES] = { n_even, n_odd };
	*out = NULL;
	CYC_TRY(cyc_alloc(&a, 1, sizeof *a));
	a->model = m;
	a->tilts_have_defocus = tilts_have_defocus;
	a->n_groups = n_groups;
	CYC_TRY(cyc_alloc(&a->groups, n_groups, sizeof *a->groups));
	for (int p = 0; p < CYC_N_PARITIES; p++) {
		a->is_asked[p] = n_max[p] > 0;
		if (a->is_asked[p]) CYC_TRY(basis_create(&a->basis[p], m->support, n_max[p]));
	}
	double k_max = a->basis[a->is_asked[CYC_EVEN] ? CYC_EVEN : CYC_ODD].k_max_invA;
	a->defocus_unit = CYC_PI * wavelength_A * k_max * k_max;
	a->shift_unit = 2 * CYC_PI * k_max;
	for (int32_t g = 0; g < n_groups; g++)
		CYC_TRY(cyc_alloc(&a->groups[g].turn, 4 * (size_t)m->support->n, sizeof(float)));
	cyc_aberrations_update(a);
	*out = a;
	a = NULL;
done:
	cyc_aberrations_destroy(&a);
	return st;
}

void cyc_aberrations_destroy(cyc_aberrations **p)
{
	cyc_aberrations *a = *p;
	if (!a) return;
	for (int q = 0; q < CYC_N_PARITIES; q++) cyc_free(a->basis[q].value);
	for (int32_t g = 0; a->groups && g < a->n_groups; g++) cyc_free(a->groups[g].turn);
	cyc_free(a->groups);
	cyc_free(a);
	*p = NULL;
}

static double phase_of(const cyc_power_basis *b, const double *theta, size_t n_support, size_t i)
{
	double phase = 0;
	for (int32_t j = 0; j < b->n; j++) phase += theta[j] * (double)b->value[(size_t)j * n_support + i];
	return phase;
}

double cyc_aberration_phase(const cyc_aberrations *a, int32_t group, int parity, int32_t i)
{
	return phase_of(&a->basis[parity], a->groups[group].theta[parity], (size_t)a->model->support->n,
	                (size_t)i);
}

void cyc_aberrations_update(cyc_aberrations *a)
{
	size_t n = (size_t)a->model->support->n;
	for (int32_t g = 0; g < a->n_groups; g++)
		for (int p = 0; p < CYC_N_PARITIES; p++) {
			float *c = a->groups[g].turn + 2 * (size_t)p * n, *s = c + n;
			for (size_t i = 0; i < n; i++) {
				double phase = phase_of(&a->basis[p], a->groups[g].theta[p], n, i);
				c[i] = (float)cos(phase);
				s[i] = (float)sin(phase);
			}
		}
}

/* ---------------------------------------------------------------- sums with the aberrations in them */

typedef struct {
	cyc_tilt_sums *const *tilts;
	const cyc_aberrations *a;
} apply_work;

static void add_turned(cyc_tilt_sums *t, const cyc_tilt_sums *p, const float *turn, size_t n)
{
	const float *ce = turn, *se = ce + n, *co = se + n, *so = co + n;
	for (size_t i = 0; i < n; i++) {
		double c = (double)ce[i], s = (double)se[i], cc = (double)p->cc[i], cq = (double)p->cq[i],
			   qq = (double)p->qq[i];
		double cr = (double)p->xc_re[i] * c + (double)p->xq_re[i] * s,
			   ci = (double)p->xc_im[i] * c + (double)p->xq_im[i] * s;
		double qr = (double)p->xq_re[i] * c - (double)p->xc_re[i] * s,
			   qi = (double)p->xq_im[i] * c - (double)p->xc_im[i] * s;
		double a = (double)co[i], b = (double)so[i];
		t->cc[i] += (float)(cc * c * c + 2 * cq * c * s + qq * s * s);
		t->cq[i] += (float)((qq - cc) * c * s + cq * (c * c - s * s));
		t->qq[i] += (float)(cc * s * s - 2 * cq * c * s + qq * c * c);
		t->xc_re[i] += (float)(cr * a + ci * b);
		t->xc_im[i] += (float)(ci * a - cr * b);
		t->xq_re[i] += (float)(qr * a + qi * b);
		t->xq_im[i] += (float)(qi * a - qr * b);
	}
}

static cyc_status apply_task(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	const apply_work *w = arg;
	cyc_tilt_sums *t = w->tilts[i];
	size_t n = (size_t)w->a->model->support->n;
	memset(
		t->cc, 0,
		7 * n *
			sizeof *t->cc); /* the first seven of the block; what was taken off as self-correlation stays */
	for (int32_t k = 0; k < t->n_parts; k++)
		add_turned(t, &t->parts[k], w->a->groups[t->parts[k].i_optics].turn, n);
	return CYC_OK;
}

cyc_status cyc_aberrations_apply(cyc_series_sums *const *sums, int32_t n_series, const cyc_aberrations *a,
                                 int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_tilt_sums **tilts = NULL;
	int64_t n = 0;
	for (int32_t s = 0; s < n_series; s++) n += sums[s]->n_tilts;
	CYC_TRY(cyc_alloc(&tilts, n, sizeof *tilts));
	n = 0;
	for (int32_t s = 0; s < n_series; s++)
		for (int32_t f = 0; f < sums[s]->n_tilts; f++)
			if (sums[s]->tilts[f].n_parts > 0) tilts[n++] = &sums[s]->tilts[f];
	apply_work w = { tilts, a };
	CYC_TRY(cyc_parallel_for(n, n_threads, apply_task, &w));
done:
	cyc_free(tilts);
	return st;
}

/* ---------------------------------------------------------------- evidence */

cyc_status cyc_aberration_evidence_create(cyc_aberration_evidence **out, const cyc_aberrations *a,
                                          bool has_pictures)
{
	cyc_status st = CYC_OK;
	cyc_aberration_evidence *e = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&e, a->n_groups, sizeof *e));
	for (int32_t g = 0; g < a->n_groups && has_pictures; g++)
		CYC_TRY(cyc_alloc(&e[g].picture, 4 * (size_t)a->model->support->n, sizeof(double)));
	*out = e;
	e = NULL;
done:
	cyc_aberration_evidence_destroy(&e, a->n_groups);
	return st;
}

void cyc_aberration_evidence_destroy(cyc_aberration_evidence **e, int32_t n_groups)
{
	if (!*e) return;
	for (int32_t g = 0; g < n_groups; g++) cyc_free((*e)[g].picture);
	cyc_free(*e);
	*e = NULL;
}

void cyc_aberration_evidence_clear(cyc_aberration_evidence *e, const cyc_aberrations *a)
{
	for (int32_t g = 0; g < a->n_groups; g++) {
		double *picture = e[g].picture;
		if (picture) memset(picture, 0, 4 * (size_t)a->model->support->n * sizeof *picture);
		e[g] = (cyc_aberration_evidence){ .picture = picture };
	}
}

/* One part of one tilt, and its derivatives. */
typedef struct {
	const cyc_tilt_fit *fit;
	const cyc_tilt_sums *part;
	cyc_quadratic *models; /* CYC_N_PARITIES */
} evidence_item;

typedef struct {
	evidence_item *items;
	const cyc_aberrations *a;
	const cyc_ctf_widths *widths;
	bool do_scale;
} evidence_work;

static void add_term(cyc_quadratic *q, const cyc_power_basis *b, size_t n, size_t i, double slope,
                     double bend)
{
	double v[CYC_MAX_TERMS];
	for (int32_t j = 0; j < b->n; j++) {
		v[j] = (double)b->value[(size_t)j * n + i];
		q->g[j] += slope * v[j];
		double w = bend * v[j];
		for (int32_t k = 0; k <= j; k++) q->H[j][k] += w * v[k];
	}
}

/* Slope and expected curvature of the log-likelihood in both phases, at the tilt's present CTF and shift.
 * (T4.16) */
static void collect_part(cyc_quadratic models[CYC_N_PARITIES], const cyc_aberrations *a,
                         const cyc_tilt_sums *p, const cyc_tilt_fit *t, double S)
{
	const cyc_ctf_model *m = a->model;
	const cyc_ctf_support *s = m->support;
	size_t n = (size_t)s->n;
	const float *ce = a->groups[p->i_optics].turn, *se = ce + n, *co = se + n, *so = co + n;
	double unit = 2 * CYC_PI * s->step_invA;
	for (size_t i = 0; i < n; i++) {
		double delta = t->change.z * (double)m->g[0][i] + t->change.a[0] * (double)m->g[1][i] +
		               t->change.a[1] * (double)m->g[2][i];
		double ramp = unit * (s->x[i] * t->shift_A[0] + s->y[i] * t->shift_A[1]), cd = cos(delta),
			   sd = sin(delta), cr = cos(ramp), sr = sin(ramp);
		double c = cd * (double)ce[i] - sd * (double)se[i], q = sd * (double)ce[i] + cd * (double)se[i];
		double xr = cr * (double)co[i] + sr * (double)so[i],
			   xi = sr * (double)co[i] - cr * (double)so[i]; /* exp(i (ramp - odd phase)) */
		double xc_re = (double)p->xc_re[i] * xr - (double)p->xc_im[i] * xi,
			   xc_im = (double)p->xc_re[i] * xi + (double)p->xc_im[i] * xr;
		double xq_re = (double)p->xq_re[i] * xr - (double)p->xq_im[i] * xi,
			   xq_im = (double)p->xq_re[i] * xi + (double)p->xq_im[i] * xr;
		double cc = (double)p->cc[i], cq = (double)p->cq[i], qq = (double)p->qq[i],
			   A = S * m->alpha[m->shell[i]];
		if (a->is_asked[CYC_EVEN])
			add_term(&models[CYC_EVEN], &a->basis[CYC_EVEN], n, i,
			         2 * A * (xq_re * c - xc_re * q) - 2 * A * A * ((qq - cc) * c * q + cq * (c * c - q * q)),
			         2 * A * A * (cc * q * q - 2 * cq * c * q + qq * c * c));
		if (a->is_asked[CYC_ODD])
			add_term(&models[CYC_ODD], &a->basis[CYC_ODD], n, i, 2 * A * (xc_im * c + xq_im * q),
			         2 * A * A * (cc * c * c + 2 * cq * c * q + qq * q * q));
	}
}

static void fill_upper(cyc_quadratic *q, int32_t n)
{
	for (int32_t j = 0; j < n; j++)
		for (int32_t k = 0; k < j; k++) q->H[k][j] = q->H[j][k];
}

/* Marginalise n terms from `first` on as unknowns with a prior precision each. The result is the model of
 * the other terms, including the marginalised ones if they are kept as common terms. (T4.17) */
static cyc_status marginalise(cyc_quadratic *q, int32_t n_terms, int32_t first, int32_t n,
                              const double *precision)
{
	cyc_status st = CYC_OK;
	double A[3][3], B[3][CYC_MAX_TERMS];
	for (int32_t i = 0; i < n; i++) {
		for (int32_t j = 0; j < n; j++) A[i][j] = q->H[first + i][first + j] + (i == j ? precision[i] : 0);
		for (int32_t j = 0; j < n_terms; j++) B[i][j] = q->H[first + i][j];
	}
	CYC_CHECK(LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', n, n_terms, &A[0][0], 3, &B[0][0], CYC_MAX_TERMS) == 0,
	          CYC_E_NUMERIC, "the CTF of a tilt has no curvature");
	double low[3][CYC_MAX_TERMS];
	for (int32_t i = 0; i < n; i++) memcpy(low[i], q->H[first + i], (size_t)n_terms * sizeof **low);
	for (int32_t j = 0; j < n_terms; j++)
		for (int32_t k = 0; k < n_terms; k++)
			for (int32_t i = 0; i < n; i++) q->H[j][k] -= low[i][j] * B[i][k];
done:
	return st;
}

static cyc_status evidence_task(void *arg, int64_t i, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const evidence_work *w = arg;
	const cyc_aberrations *a = w->a;
	const evidence_item *it = &w->items[i];
	const cyc_tilt_fit *t = it->fit;
	if (t->p_bad > 0.5) goto done; /* a bad tilt carries no information on aberrations */
	double S = exp(w->do_scale ? t->log_s : t->log_s_data);
	collect_part(it->models, a, it->part, t, S);
	for (int p = 0; p < CYC_N_PARITIES; p++) fill_upper(&it->models[p], a->basis[p].n);
	if (a->is_asked[CYC_EVEN] && a->tilts_have_defocus) {
		double has_input = t->input_is_refined ? 0 : 1;
		double z = (has_input / cyc_square(w->widths->z_input_A / t->cos_tilt) +
		            1 / cyc_square(w->widths->z_trend_A)) /
		           cyc_square(a->defocus_unit);
		double v = (has_input / cyc_square(w->widths->a_input_A) + 1 / cyc_square(w->widths->a_trend_A)) /
		           cyc_square(a->defocus_unit);
		const double precision[3] = { v, z, v };
		CYC_TRY(marginalise(&it->models[CYC_EVEN], a->basis[CYC_EVEN].n, 1, 3, precision));
	}
	if (a->is_asked[CYC_ODD]) {
		double d = 1 / cyc_square(w->widths->shift_A * a->shift_unit);
		const double precision[2] = { d, d };
		CYC_TRY(marginalise(&it->models[CYC_ODD], a->basis[CYC_ODD].n, 0, 2, precision));
	}
done:
	return st;
}

static void add_quadratic(cyc_quadratic *to, const cyc_quadratic *from, int32_t n)
{
	for (int32_t j = 0; j < n; j++) {
		to->g[j] += from->g[j];
		for (int32_t k = 0; k < n; k++) to->H[j][k] += from->H[j][k];
	}
}

cyc_status cyc_aberrations_collect(cyc_aberration_evidence *evidence, const cyc_aberrations *a,
                                   const cyc_series_fit *series, const cyc_series_sums *const *sums,
                                   int32_t n_series, const cyc_ctf_widths *widths, bool do_scale,
                                   int n_threads)
{
	cyc_status st = CYC_OK;
	evidence_work w = { .a = a, .widths = widths, .do_scale = do_scale };
	cyc_quadratic *models = NULL;
	int64_t n = 0;
	for (int32_t s = 0; s < n_series; s++)
		for (int32_t f = 0; f < sums[s]->n_tilts; f++) n += sums[s]->tilts[f].n_parts;
	CYC_TRY(cyc_alloc(&w.items, n, sizeof *w.items));
	CYC_TRY(cyc_alloc(&models, CYC_N_PARITIES * (size_t)n, sizeof *models));
	n = 0;
	for (int32_t s = 0; s < n_series; s++)
		for (int32_t f = 0; f < sums[s]->n_tilts; f++)
			for (int32_t k = 0; k < sums[s]->tilts[f].n_parts; k++) {
				w.items[n] = (evidence_item){ &series[s].tilts[f], &sums[s]->tilts[f].parts[k],
					                          models + CYC_N_PARITIES * n };
				n++;
			}
	CYC_TRY(cyc_parallel_for(n, n_threads, evidence_task, &w));
	for (int64_t i = 0; i < n; i++) {
		const cyc_tilt_sums *part = w.items[i].part;
		cyc_aberration_evidence *e = &evidence[part->i_optics];
		e->n_particles[part->half] += part->n_particles;
		for (int p = 0; p < CYC_N_PARITIES; p++)
			add_quadratic(&e->half[part->half][p], &w.items[i].models[p], a->basis[p].n);
	}
done:
	cyc_free(w.items);
	cyc_free(models);
	return st;
}

/* ---------------------------------------------------------------- steps */

bool cyc_aberration_is_carried(const cyc_aberrations *a, int parity, int32_t term)
{
	return parity == CYC_ODD || !a->tilts_have_defocus || a->basis[parity].order[term] != 2;
}

static void add_priors(cyc_quadratic *q, const cyc_aberrations *a, int parity, const double *theta)
{
	for (int32_t j = 0; j < a->basis[parity].n; j++) {
		double sd = a->basis[parity].order[j] == 0 ? CONSTANT_SD_RAD : TERM_SD_RAD, precision = 1 / (sd * sd);
		q->g[j] -= precision * theta[j];
		q->H[j][j] += precision;
	}
}

cyc_status cyc_aberration_step(double step[CYC_MAX_TERMS], double (*covariance)[CYC_MAX_TERMS],
                               const cyc_aberrations *a, int parity, const double *theta,
                               const cyc_quadratic *model)
{
	cyc_status st = CYC_OK;
	int32_t n = a->basis[parity].n;
	cyc_quadratic q = *model;
	add_priors(&q, a, parity, theta);
	CYC_CHECK(LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', n, 1, &q.H[0][0], CYC_MAX_TERMS, q.g, 1) == 0,
	          CYC_E_NUMERIC, "the aberrations cannot be fitted");
	memset(step, 0, CYC_MAX_TERMS * sizeof *step);
	for (int32_t j = 0; j < n; j++) step[j] = q.g[j];
	if (!covariance) goto done;
	CYC_CHECK(LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'U', n, &q.H[0][0], CYC_MAX_TERMS) == 0, CYC_E_NUMERIC,
	          "the errors of the aberrations cannot be determined");
	for (int32_t j = 0; j < n; j++)
		for (int32_t k = j; k < n; k++) covariance[j][k] = covariance[k][j] = q.H[j][k];
done:
	return st;
}

/* Model of the terms above n_low alone, with the others at their best: used by the check. */
static cyc_status reduce_to_high(cyc_quadratic *q, int32_t n, int32_t n_low)
{
	cyc_status st = CYC_OK;
	double A[CYC_MAX_TERMS][CYC_MAX_TERMS], B[CYC_MAX_TERMS][CYC_MAX_TERMS + 1];
	for (int32_t i = 0; i < n_low; i++) {
		memcpy(A[i], q->H[i], sizeof A[i]);
		memcpy(B[i], q->H[i], (size_t)n * sizeof **B);
		B[i][n] = q->g[i];
	}
	CYC_CHECK(LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', n_low, n + 1, &A[0][0], CYC_MAX_TERMS, &B[0][0],
	                        CYC_MAX_TERMS + 1) == 0,
	          CYC_E_NUMERIC, "the aberrations cannot be tested");
	for (int32_t j = n_low; j < n; j++)
		for (int32_t i = 0; i < n_low; i++) {
			q->g[j] -= q->H[j][i] * B[i][n];
			for (int32_t k = n_low; k < n; k++) q->H[j][k] -= q->H[j][i] * B[i][k];
		}
done:
	return st;
}

/* g.d - d.H.d / 2 over the terms from n_low on. */
static double value_at(const cyc_quadratic *q, const double *d, int32_t n_low, int32_t n)
{
	double v = 0;
	for (int32_t j = n_low; j < n; j++) {
		double Hd = 0;
		for (int32_t k = n_low; k < n; k++) Hd += q->H[j][k] * d[k];
		v += d[j] * (q->g[j] - 0.5 * Hd);
	}
	return v;
}

cyc_status cyc_aberration_test(cyc_aberration_check *out, const cyc_aberrations *a, int parity,
                               const double *theta, const cyc_quadratic *first, const cyc_quadratic *second)
{
	cyc_status st = CYC_OK;
	int32_t n = a->basis[parity].n, n_low = a->basis[parity].n_low;
	cyc_quadratic half[2] = { *first, *second };
	double none[CYC_MAX_TERMS] = { 0 };
	*out = (cyc_aberration_check){ .n_free = n - n_low };
	for (int32_t j = 0; j < n; j++) none[j] = -theta[j];
	for (int h = 0; h < 2; h++) {
		/* A half-set's prior for the low terms only keeps the matrix regular. */
		const double zero[CYC_MAX_TERMS] = { 0 };
		add_priors(&half[h], a, parity, zero);
		CYC_TRY(reduce_to_high(&half[h], n, n_low));
	}
	for (int h = 0; h < 2; h++) {
		double fitted[CYC_MAX_TERMS] = { 0 }, A[CYC_MAX_TERMS][CYC_MAX_TERMS], b[CYC_MAX_TERMS];
		int32_t n_high = n - n_low;
		for (int32_t j = 0; j < n_high; j++) {
			memcpy(A[j], &half[h].H[n_low + j][n_low], (size_t)n_high * sizeof **A);
			b[j] = half[h].g[n_low + j];
		}
		CYC_CHECK(LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', n_high, 1, &A[0][0], CYC_MAX_TERMS, b, 1) == 0,
		          CYC_E_NUMERIC, "the aberrations cannot be tested");
		for (int32_t j = 0; j < n_high; j++) fitted[n_low + j] = b[j];
		out->gain += value_at(&half[1 - h], fitted, n_low, n) - value_at(&half[1 - h], none, n_low, n);
		/* theta^T H theta: the sum of squares of coefficients that are independent with unit errors. */
		for (int32_t j = n_low; j < n; j++)
			for (int32_t k = n_low; k < n; k++) out->chi2 += theta[j] * half[h].H[j][k] * theta[k];
	}
done:
	return st;
}

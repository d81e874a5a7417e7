#include "ctfrefine/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void cyc_ctf_model_destroy(cyc_ctf_model **p)
{
	cyc_ctf_model *m = *p;
	if (!m) return;
	for (int i = 0; i < 3; i++) cyc_free(m->g[i]);
	cyc_free(m->shell);
	cyc_free(m->alpha);
	cyc_free(m->z_A);
	cyc_free(m->bin);
	cyc_free(m->cos_table);
	cyc_free(m->sin_table);
	cyc_free(m);
	*p = NULL;
}

/* Scan tables: bins of k^2 narrow enough that delta varies by less than a twentieth of a radian across one at
 * the grid's end. */
static cyc_status create_scan(cyc_ctf_model *m, double wavelength_A, double range_A)
{
	cyc_status st = CYC_OK;
	const cyc_ctf_support *s = m->support;
	double k2_max = 0, step2 = s->step_invA * s->step_invA;
	for (int32_t i = 0; i < s->n; i++)
		k2_max = fmax(k2_max, step2 * ((double)s->x[i] * s->x[i] + (double)s->y[i] * s->y[i]));
	double bin_width = 0.05 / (CYC_PI * wavelength_A * range_A);
	m->n_bins = (int32_t)ceil(k2_max / bin_width) + 1;
	/* A quarter of a radian of phase at the highest frequency; at most 25 Å, to sample the posterior. */
	m->z_step_A = fmin(25, 0.25 / (CYC_PI * wavelength_A * k2_max));
	int32_t half = (int32_t)ceil(range_A / m->z_step_A);
	m->n_z = 2 * half + 1;
	CYC_TRY(cyc_alloc(&m->z_A, m->n_z, sizeof *m->z_A));
	CYC_TRY(cyc_alloc(&m->bin, s->n, sizeof *m->bin));
	size_t n = (size_t)m->n_z * (size_t)m->n_bins;
	CYC_TRY(cyc_alloc(&m->cos_table, n, sizeof *m->cos_table));
	CYC_TRY(cyc_alloc(&m->sin_table, n, sizeof *m->sin_table));
	for (int32_t i = 0; i < s->n; i++)
		m->bin[i] = (int32_t)(step2 * ((double)s->x[i] * s->x[i] + (double)s->y[i] * s->y[i]) / bin_width);
	for (int32_t j = 0; j < m->n_z; j++) {
		m->z_A[j] = (j - half) * m->z_step_A;
		for (int32_t b = 0; b < m->n_bins; b++) {
			double delta = -CYC_PI * wavelength_A * m->z_A[j] * (b + 0.5) * bin_width;
			m->cos_table[(size_t)j * (size_t)m->n_bins + (size_t)b] = (float)cos(delta);
			m->sin_table[(size_t)j * (size_t)m->n_bins + (size_t)b] = (float)sin(delta);
		}
	}
done:
	return st;
}

cyc_status cyc_ctf_model_create(cyc_ctf_model **out, const cyc_ctf_support *s, double wavelength_A,
                                double range_A)
{
	cyc_status st = CYC_OK;
	cyc_ctf_model *m = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&m, 1, sizeof *m));
	m->support = s;
	for (int i = 0; i < 3; i++) CYC_TRY(cyc_alloc(&m->g[i], s->n, sizeof *m->g[i]));
	CYC_TRY(cyc_alloc(&m->shell, s->n, sizeof *m->shell));
	for (int32_t i = 0; i < s->n; i++) {
		double kx = s->x[i] * s->step_invA, ky = s->y[i] * s->step_invA, unit = -CYC_PI * wavelength_A;
		m->g[0][i] = (float)(unit * (kx * kx + ky * ky));
		m->g[1][i] = (float)(unit * (kx * kx - ky * ky));
		m->g[2][i] = (float)(unit * 2 * kx * ky);
		m->shell[i] = (int32_t)(hypot(s->x[i], s->y[i]) + 0.5);
		if (m->shell[i] + 1 > m->n_shells) m->n_shells = m->shell[i] + 1;
	}
	CYC_TRY(cyc_alloc(&m->alpha, m->n_shells, sizeof *m->alpha));
	for (int32_t i = 0; i < m->n_shells; i++) m->alpha[i] = 1;
	CYC_TRY(create_scan(m, wavelength_A, range_A));
	*out = m;
	m = NULL;
done:
	cyc_ctf_model_destroy(&m);
	return st;
}

/* Columns of the half plane that have coefficients. */
static int32_t column_count(const cyc_ctf_support *p)
{
	int32_t n = 0;
	for (int32_t i = 0; i < p->n; i++) n = p->x[i] >= n ? p->x[i] + 1 : n;
	return n;
}

enum { SHIFT_STEPS = 25 };

cyc_status cyc_ctf_scratch_create(cyc_ctf_scratch **out, const cyc_ctf_model *m)
{
	cyc_status st = CYC_OK;
	cyc_ctf_scratch *s = NULL;
	size_t n = (size_t)m->support->n;
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	CYC_TRY(cyc_alloc(&s->xc, 5 * n, sizeof *s->xc)); /* one block: freed as one */
	s->xq = s->xc + n;
	s->cc = s->xq + n;
	s->cq = s->cc + n;
	s->qq = s->cq + n;
	CYC_TRY(cyc_alloc(&s->bins, 5 * (size_t)m->n_bins, sizeof *s->bins));
	CYC_TRY(cyc_alloc(&s->scan, 2 * (size_t)m->n_z, sizeof *s->scan));
	for (size_t i = 0; i < n; i++)
		if (2 * abs(m->support->y[i]) + 2 > s->n_row) s->n_row = 2 * abs(m->support->y[i]) + 2;
	CYC_TRY(cyc_alloc(&s->row_re, (size_t)s->n_row * SHIFT_STEPS, sizeof *s->row_re));
	CYC_TRY(cyc_alloc(&s->row_im, (size_t)s->n_row * SHIFT_STEPS, sizeof *s->row_im));
	s->n_column = column_count(m->support);
	CYC_TRY(cyc_alloc(&s->turn, 2 * (size_t)s->n_column * SHIFT_STEPS, sizeof *s->turn));
	*out = s;
	s = NULL;
done:
	cyc_ctf_scratch_destroy(&s);
	return st;
}

void cyc_ctf_scratch_destroy(cyc_ctf_scratch **p)
{
	if (!*p) return;
	cyc_free((*p)->xc);
	cyc_free((*p)->bins);
	cyc_free((*p)->scan);
	cyc_free((*p)->row_re);
	cyc_free((*p)->row_im);
	cyc_free((*p)->turn);
	cyc_free(*p);
	*p = NULL;
}

static double delta_at(const cyc_ctf_model *m, int32_t i, cyc_ctf_change at)
{
	return at.z * (double)m->g[0][i] + at.a[0] * (double)m->g[1][i] + at.a[1] * (double)m->g[2][i];
}

/* ---------------------------------------------------------------- shift */

/* Cross term and its derivatives in the shift. */
typedef struct {
	double value, dx, dy, dxx, dxy, dyy;
} shift_terms;

static shift_terms shift_derivatives(const cyc_ctf_model *m, const cyc_ctf_scratch *s, const double d[2])
{
	shift_terms r = { 0, 0, 0, 0, 0, 0 };
	const cyc_ctf_support *p = m->support;
	double unit = 2 * CYC_PI * p->step_invA;
	for (int32_t i = 0; i < p->n; i++) {
		double kx = unit * p->x[i], ky = unit * p->y[i], phase = kx * d[0] + ky * d[1], c = cos(phase),
			   sn = sin(phase);
		double re = (double)s->xc[i] * c - (double)s->xq[i] * sn,
			   im = (double)s->xc[i] * sn + (double)s->xq[i] * c;
		r.value += re;
		r.dx -= kx * im;
		r.dy -= ky * im;
		r.dxx -= kx * kx * re;
		r.dxy -= kx * ky * re;
		r.dyy -= ky * ky * re;
	}
	return r;
}

/* Turns of the trial shifts along x, for each column: cosines, then sines. */
static void fill_turns(double *turn, const cyc_ctf_model *m, int32_t n_x, int32_t n, double step_A)
{
	double unit = 2 * CYC_PI * m->support->step_invA;
	double *sines = turn + (size_t)n_x * (size_t)n;
	for (int32_t x = 0; x < n_x; x++)
		for (int32_t j = 0; j < n; j++) {
			double phase = unit * x * (j - n / 2) * step_A;
			turn[(size_t)x * (size_t)n + (size_t)j] = cos(phase);
			sines[(size_t)x * (size_t)n + (size_t)j] = sin(phase);
		}
}

static inline void add_turned(double *restrict re, double *restrict im, double xc, double xq, const double *c,
                              const double *q, int32_t n)
{
	for (int32_t j = 0; j < n; j++) {
		re[j] += xc * c[j] - xq * q[j];
		im[j] += xc * q[j] + xq * c[j];
	}
}

/* The sum over x for each trial dx once per row, into row_re, row_im (n_row x n each). */
CYC_SIMD static void sum_rows(const cyc_ctf_model *m, const cyc_ctf_scratch *s, double *row_re,
                              double *row_im, const double *turn, int32_t n)
{
	const cyc_ctf_support *p = m->support;
	int32_t y_zero = s->n_row / 2;
	const double *sines = turn + (size_t)s->n_column * (size_t)n;
	memset(row_re, 0, (size_t)s->n_row * (size_t)n * sizeof *row_re);
	memset(row_im, 0, (size_t)s->n_row * (size_t)n * sizeof *row_im);
	for (int32_t i = 0; i < p->n; i++) {
		size_t row = (size_t)(p->y[i] + y_zero) * (size_t)n, column = (size_t)p->x[i] * (size_t)n;
		add_turned(row_re + row, row_im + row, (double)s->xc[i], (double)s->xq[i], turn + column,
		           sines + column, n);
	}
}

/* Cross terms at one dy from the rows. */
static void sum_columns(double *cross, const cyc_ctf_model *m, const cyc_ctf_scratch *s, const double *row_re,
                        const double *row_im, int32_t n, double dy)
{
	double unit = 2 * CYC_PI * m->support->step_invA;
	int32_t y_zero = s->n_row / 2;
	memset(cross, 0, (size_t)n * sizeof *cross);
	for (int32_t y = 0; y < s->n_row; y++) {
		double phase = unit * (y - y_zero) * dy, c = cos(phase), q = sin(phase);
		const double *re = row_re + (size_t)y * (size_t)n, *im = row_im + (size_t)y * (size_t)n;
		for (int32_t j = 0; j < n; j++) cross[j] += re[j] * c - im[j] * q;
	}
}

/* Coarse search. Returns the best grid point. */
static void search_shift(double d[2], const cyc_ctf_model *m, cyc_ctf_scratch *s, double power,
                         double sigma_A, double step_A)
{
	double best = -1e300;
	int32_t half = SHIFT_STEPS / 2;
	fill_turns(s->turn, m, s->n_column, SHIFT_STEPS, step_A);
	sum_rows(m, s, s->row_re, s->row_im, s->turn, SHIFT_STEPS);
	for (int32_t l = 0; l < SHIFT_STEPS; l++) {
		double dy = (l - half) * step_A, cross[SHIFT_STEPS];
		sum_columns(cross, m, s, s->row_re, s->row_im, SHIFT_STEPS, dy);
		for (int32_t j = 0; j < SHIFT_STEPS; j++) {
			double dx = (j - half) * step_A;
			double value = (cross[j] > 0 ? cross[j] * cross[j] / power : 0) -
			               0.5 * (dx * dx + dy * dy) / (sigma_A * sigma_A);
			if (value > best) {
				best = value;
				d[0] = dx;
				d[1] = dy;
			}
		}
	}
}

/* The complex cross term at a change, in xc (real part) and xq (imaginary part). Returns the power term. */
static double load_cross(cyc_ctf_scratch *s, const cyc_ctf_model *m, const cyc_tilt_sums *t,
                         cyc_ctf_change at)
{
	double power = 0;
	for (int32_t i = 0; i < m->support->n; i++) {
		double delta = delta_at(m, i, at), c = cos(delta), q = sin(delta), alpha = m->alpha[m->shell[i]];
		s->xc[i] = (float)(alpha * ((double)t->xc_re[i] * c + (double)t->xq_re[i] * q));
		s->xq[i] = (float)(alpha * ((double)t->xc_im[i] * c + (double)t->xq_im[i] * q));
		power += alpha * alpha *
		         ((double)t->cc[i] * c * c + 2 * (double)t->cq[i] * c * q + (double)t->qq[i] * q * q);
	}
	return power;
}

/* Newton on the peak. */
static void climb(double d[2], double *variance_A2, const cyc_ctf_model *m, const cyc_ctf_scratch *s,
                  double power, double prior)
{
	double finest_A = 1 / (m->support->step_invA * (m->n_shells - 1));
	for (int iteration = 0; iteration < 5; iteration++) {
		shift_terms b = shift_derivatives(m, s, d);
		if (b.value <= 0) break;
		double S = b.value / power, gx = 2 * S * b.dx - prior * d[0], gy = 2 * S * b.dy - prior * d[1];
		double hxx = 2 * S * b.dxx - prior, hxy = 2 * S * b.dxy, hyy = 2 * S * b.dyy - prior,
			   det = hxx * hyy - hxy * hxy;
		if (!(hxx < 0 && det > 0)) break;
		double ux = -(hyy * gx - hxy * gy) / det, uy = -(hxx * gy - hxy * gx) / det, length = hypot(ux, uy),
			   limit = 0.5 * finest_A;
		double damp = length > limit ? limit / length : 1;
		d[0] += damp * ux;
		d[1] += damp * uy;
		*variance_A2 = -0.5 * (hxx + hyy) / det;
		if (length < 1e-3) break;
	}
}

void cyc_ctf_fit_shift(double d[2], double *variance_A2, const cyc_ctf_model *m, const cyc_tilt_sums *t,
                       cyc_ctf_change at, double sigma_A, cyc_ctf_scratch *s)
{
	double power = load_cross(s, m, t, at);
	d[0] = d[1] = 0;
	*variance_A2 = sigma_A * sigma_A;
	if (!(power > 0)) return;
	/* The peak is about as wide as the finest detail, so steps of a quarter of that find it; the grid
	 * covers three prior widths. */
	double finest_A = 1 / (m->support->step_invA * (m->n_shells - 1)),
		   step_A = fmin(0.25 * finest_A, 3 * sigma_A / (SHIFT_STEPS / 2));
	search_shift(d, m, s, power, sigma_A, fmax(step_A, 0.1));
	climb(d, variance_A2, m, s, power, 1 / (sigma_A * sigma_A));
}

void cyc_ctf_refine_shift(double d[2], double *variance_A2, const cyc_ctf_model *m, const cyc_tilt_sums *t,
                          cyc_ctf_change at, cyc_ctf_scratch *s)
{
	double power = load_cross(s, m, t, at);
	if (power > 0) climb(d, variance_A2, m, s, power, 0);
}

cyc_status cyc_ctf_shift_map(double *cross, double *power, const cyc_ctf_model *m, const cyc_tilt_sums *t,
                             cyc_ctf_change at, int32_t n_half, double step_A, cyc_ctf_scratch *s)
{
	cyc_status st = CYC_OK;
	double *rows = NULL;
	int32_t n = 2 * n_half + 1;
	size_t size = (size_t)s->n_row * (size_t)n, n_turn = (size_t)s->n_column * (size_t)n;
	CYC_TRY(cyc_alloc(&rows, 2 * (size + n_turn), sizeof *rows));
	*power = load_cross(s, m, t, at);
	fill_turns(rows + 2 * size, m, s->n_column, n, step_A);
	sum_rows(m, s, rows, rows + size, rows + 2 * size, n);
	for (int32_t l = 0; l < n; l++)
		sum_columns(cross + (size_t)l * (size_t)n, m, s, rows, rows + size, n, (l - n_half) * step_A);
done:
	cyc_free(rows);
	return st;
}

/* ---------------------------------------------------------------- phase */

void cyc_ctf_load(cyc_ctf_scratch *s, const cyc_ctf_model *m, const cyc_tilt_sums *t, const double d[2])
{
	const cyc_ctf_support *p = m->support;
	double unit = 2 * CYC_PI * p->step_invA;
	for (int32_t i = 0; i < p->n; i++) {
		double phase = unit * (p->x[i] * d[0] + p->y[i] * d[1]), c = cos(phase), q = sin(phase),
			   alpha = m->alpha[m->shell[i]];
		s->xc[i] = (float)(alpha * ((double)t->xc_re[i] * c - (double)t->xc_im[i] * q));
		s->xq[i] = (float)(alpha * ((double)t->xq_re[i] * c - (double)t->xq_im[i] * q));
		float alpha2 = (float)(alpha * alpha);
		s->cc[i] = alpha2 * t->cc[i];
		s->cq[i] = alpha2 * t->cq[i];
		s->qq[i] = alpha2 * t->qq[i];
	}
}

void cyc_ctf_scan(double *cross_of_z, double *power_of_z, const cyc_ctf_model *m, cyc_ctf_scratch *s,
                  cyc_ctf_change centre)
{
	size_t nb = (size_t)m->n_bins;
	double *xc = s->bins, *xq = xc + nb, *cc = xq + nb, *cq = cc + nb, *qq = cq + nb;
	memset(s->bins, 0, 5 * nb * sizeof *s->bins);
	/* Turn the sums by the centre's and the astigmatic part of delta; the rest depends on k^2 alone and is
	 * summed over rings first. */
	for (int32_t i = 0; i < m->support->n; i++) {
		double turn = delta_at(m, i, centre), c = cos(turn), q = sin(turn);
		double vxc = (double)s->xc[i], vxq = (double)s->xq[i], vcc = (double)s->cc[i], vcq = (double)s->cq[i],
			   vqq = (double)s->qq[i];
		int32_t b = m->bin[i];
		xc[b] += vxc * c + vxq * q;
		xq[b] += vxq * c - vxc * q;
		cc[b] += vcc * c * c + 2 * vcq * c * q + vqq * q * q;
		cq[b] += (vqq - vcc) * c * q + vcq * (c * c - q * q);
		qq[b] += vcc * q * q - 2 * vcq * c * q + vqq * c * c;
	}
	for (int32_t j = 0; j < m->n_z; j++) {
		const float *ct = m->cos_table + (size_t)j * nb, *sn = m->sin_table + (size_t)j * nb;
		double cross = 0, power = 0;
		for (size_t b = 0; b < nb; b++) {
			double c = (double)ct[b], q = (double)sn[b];
			cross += xc[b] * c + xq[b] * q;
			power += cc[b] * c * c + 2 * cq[b] * c * q + qq[b] * q * q;
		}
		cross_of_z[j] = cross;
		power_of_z[j] = power;
	}
}

void cyc_ctf_amplitude(double *cross, double *power, double *shell_cross, double *shell_power,
                       const cyc_ctf_model *m, const cyc_ctf_scratch *s, cyc_ctf_change at)
{
	*cross = *power = 0;
	if (shell_cross) {
		memset(shell_cross, 0, (size_t)m->n_shells * sizeof *shell_cross);
		memset(shell_power, 0, (size_t)m->n_shells * sizeof *shell_power);
	}
	for (int32_t i = 0; i < m->support->n; i++) {
		double delta = delta_at(m, i, at), c = cos(delta), q = sin(delta);
		double x = (double)s->xc[i] * c + (double)s->xq[i] * q;
		double p = (double)s->cc[i] * c * c + 2 * (double)s->cq[i] * c * q + (double)s->qq[i] * q * q;
		*cross += x;
		*power += p;
		if (!shell_cross) continue;
		shell_cross[m->shell[i]] += x;
		shell_power[m->shell[i]] += p;
	}
}

void cyc_ctf_self_terms(cyc_self_terms *shells, const cyc_ctf_model *m, const cyc_tilt_sums *t,
                        cyc_ctf_change at, const double d[2])
{
	const cyc_ctf_support *p = m->support;
	double unit = 2 * CYC_PI * p->step_invA;
	memset(shells, 0, (size_t)m->n_shells * sizeof *shells);
	for (int32_t i = 0; i < p->n; i++) {
		double delta = delta_at(m, i, at), c = cos(delta), q = sin(delta),
			   phase = unit * (p->x[i] * d[0] + p->y[i] * d[1]), co = cos(phase), si = sin(phase);
		double cc = (double)t->cc[i], cq = (double)t->cq[i], qq = (double)t->qq[i],
			   alpha = m->alpha[m->shell[i]], variance = 0.5 * (cc + qq);
		if (!(variance > 0)) continue;
		double y[2] = { (double)t->xc_re[i] * co - (double)t->xc_im[i] * si,
			            (double)t->xq_re[i] * co - (double)t->xq_im[i] * si };
		double v[2] = { alpha * (cc * c + cq * q), alpha * (cq * c + qq * q) },
			   s[2] = { (double)t->self_c[i] * co, (double)t->self_q[i] * co };
		cyc_self_terms *r = &shells[m->shell[i]];
		for (int k = 0; k < 2; k++) {
			r->pp += v[k] * v[k] / variance;
			r->ps += v[k] * s[k] / variance;
			r->ss += s[k] * s[k] / variance;
			r->py += v[k] * y[k] / variance;
			r->sy += s[k] * y[k] / variance;
		}
	}
}

void cyc_ctf_curvature(double gradient[3], double curvature[3][3], const cyc_ctf_model *m,
                       const cyc_ctf_scratch *s, cyc_ctf_change at, double S)
{
	memset(gradient, 0, 3 * sizeof *gradient);
	memset(curvature, 0, 9 * sizeof(double));
	for (int32_t i = 0; i < m->support->n; i++) {
		double delta = delta_at(m, i, at), c = cos(delta), q = sin(delta);
		double cc = (double)s->cc[i], cq = (double)s->cq[i], qq = (double)s->qq[i];
		double slope = -2 * S * ((double)s->xq[i] * c - (double)s->xc[i] * q) +
		               2 * S * S * ((qq - cc) * c * q + cq * (c * c - q * q));
		double bend = 2 * S * S * (cc * q * q - 2 * cq * c * q + qq * c * c);
		for (int j = 0; j < 3; j++) {
			gradient[j] += slope * (double)m->g[j][i];
			for (int k = 0; k < 3; k++) curvature[j][k] += bend * (double)m->g[j][i] * (double)m->g[k][i];
		}
	}
}

#include "ctfrefine/hierarchy.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

enum { MAX_TERMS = 3, MAX_ITERATIONS = 200 };
static const double CONVERGED = 1e-4;   /* relative change of the widths */
static const double STUDENT = 4;        /* degrees of freedom of the input's defocus errors: outliers happen */
static const double PSEUDO_COUNT = 8;   /* weight, in tilts, of the expected widths below: keeps them from collapsing */

cyc_ctf_widths cyc_ctf_widths_default(void)
{
	return (cyc_ctf_widths){ .shift_A = 4, .z_input_A = 200, .z_trend_A = 300, .a_input_A = 60, .a_trend_A = 40, .s_input = 0.1, .s_trend = 0.1,
		                      .b_A2 = 10 };
}

/* Least squares with a prior: normal equations of a few terms, coefficient i being prior_mean[i] +- prior_sd[i]. */
typedef struct {
	int n;
	double A[MAX_TERMS][MAX_TERMS], b[MAX_TERMS];
} normal_equations;

static void equations_begin(normal_equations *e, int n, const double *prior_mean, const double *prior_sd)
{
	memset(e, 0, sizeof *e);
	e->n = n;
	for (int i = 0; i < n; i++) {
		e->A[i][i] = 1 / (prior_sd[i] * prior_sd[i]);
		e->b[i] = prior_mean[i] * e->A[i][i];
	}
}

static void equations_add(normal_equations *e, const double *x, double y, double weight)
{
	for (int i = 0; i < e->n; i++) {
		e->b[i] += weight * x[i] * y;
		for (int j = 0; j < e->n; j++) e->A[i][j] += weight * x[i] * x[j];
	}
}

static cyc_status equations_solve(double *out, normal_equations *e)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', e->n, 1, &e->A[0][0], MAX_TERMS, e->b, 1) == 0, CYC_E_NUMERIC,
	          "the trend of a tilt series cannot be fitted");
	memcpy(out, e->b, (size_t)e->n * sizeof *out);
done:
	return st;
}

static double dot(const double *a, const double *b, int n)
{
	double s = 0;
	for (int i = 0; i < n; i++) s += a[i] * b[i];
	return s;
}

static double updated_width(double sum_of_squares, double count, double expected)
{
	return sqrt((sum_of_squares + PSEUDO_COUNT * expected * expected) / (count + PSEUDO_COUNT));
}

static bool has_converged(double a, double b, double a_old, double b_old)
{
	return fabs(a - a_old) < CONVERGED * a_old && fabs(b - b_old) < CONVERGED * b_old;
}

/* ---------------------------------------------------------------- defocus */

static const double Z_EXPECTED_INPUT_A = 100, Z_EXPECTED_TREND_A = 200;
static const double Z_TREND_SD[3] = { 1e5, 2000, 1000 }, Z_SYSTEMATIC_SD[2] = { 500, 500 }, ZERO[3] = { 0, 0, 0 };

/* Trend: constant, sine of the tilt (tilt axis off the focused line), dose from -1 to 1 (drift). Input error: the first two. */
static void defocus_terms(double x[3], const cyc_tilt_fit *t, double dose_max)
{
	x[0] = 1;
	x[1] = t->sin_tilt;
	x[2] = dose_max > 0 ? 2 * t->dose_e_per_A2 / dose_max - 1 : 0;
}

typedef struct {
	double mean, variance;   /* of z */
	double weight, weighted; /* expected Student weight, and weight times z */
	double squares;          /* expected weight times (z - systematic)^2 */
} posterior;

/* Posterior of one tilt on the grid: scan x Student(input) x normal(trend). `p` is scratch of n_z. */
static posterior defocus_posterior(double *p, const cyc_tilt_fit *t, const double *z, int32_t n_z, double systematic, double trend, double width_input, double width_trend)
{
	posterior r = { 0, 0, 0, 0, 0 };
	double sum = 0, second = 0;
	int32_t top = 0;
	for (int32_t j = 0; j < n_z; j++) {
		double e = (z[j] - systematic) / width_input, d = (t->input.mean_A + z[j] - trend) / width_trend;
		p[j] = t->log_l[j] - 0.5 * (STUDENT + 1) * log1p(e * e / STUDENT) - 0.5 * d * d;
		if (p[j] > p[top]) top = j;
	}
	double step = z[1] - z[0], peak = p[top], left = top > 0 ? p[top - 1] : peak, right = top < n_z - 1 ? p[top + 1] : peak;
	for (int32_t j = 0; j < n_z; j++) {
		p[j] = p[j] > peak - 40 ? exp(p[j] - peak) : 0;
		sum += p[j];
	}
	for (int32_t j = 0; j < n_z; j++) {
		if (p[j] == 0) continue;
		double w = p[j] / sum, e = (z[j] - systematic) / width_input, u = w * (STUDENT + 1) / (STUDENT + e * e);
		r.mean += w * z[j];
		second += w * z[j] * z[j];
		r.weight += u;
		r.weighted += u * z[j];
		r.squares += u * (z[j] - systematic) * (z[j] - systematic);
	}
	r.variance = second - r.mean * r.mean;
	/* A peak narrower than the grid: the parabola through its three highest points. */
	double bend = (left + right - 2 * peak) / (step * step);
	if (r.variance < step * step && bend < 0 && top > 0 && top < n_z - 1) {
		double vertex = z[top] - (right - left) / (2 * step) / bend;
		r.squares += r.weight * (cyc_square(vertex - systematic) - cyc_square(r.mean - systematic));
		r.weighted += r.weight * (vertex - r.mean);
		r.mean = vertex;
		r.variance = -1 / bend;
	}
	return r;
}

/* The coefficients of one series, given the widths: a few rounds of expectation and least squares. */
typedef struct {
	double trend[3], systematic[2];
} defocus_coefficients;

static cyc_status start_defocus(defocus_coefficients *c, const cyc_series_fit *s, double dose_max)
{
	cyc_status st = CYC_OK;
	normal_equations e;
	memset(c, 0, sizeof *c);
	equations_begin(&e, 3, ZERO, Z_TREND_SD);
	for (int32_t f = 0; f < s->n_tilts; f++) {
		double x[3];
		if (!s->tilts[f].has_data) continue;
		defocus_terms(x, &s->tilts[f], dose_max);
		equations_add(&e, x, s->tilts[f].input.mean_A, 1e-4);
	}
	CYC_TRY(equations_solve(c->trend, &e));
done:
	return st;
}

typedef struct { double input, trend, count; } square_sums;

static cyc_status step_defocus(square_sums *squares, defocus_coefficients *c, cyc_series_fit *s, const cyc_ctf_widths *w, const double *z, int32_t n_z, double dose_max,
                               double *scratch)
{
	cyc_status st = CYC_OK;
	normal_equations trend, systematic;
	equations_begin(&trend, 3, ZERO, Z_TREND_SD);
	equations_begin(&systematic, 2, ZERO, Z_SYSTEMATIC_SD);
	for (int32_t f = 0; f < s->n_tilts; f++) {
		cyc_tilt_fit *t = &s->tilts[f];
		double x[3];
		if (!t->has_data) continue;
		defocus_terms(x, t, dose_max);
		double width = w->z_input_A / t->cos_tilt;
		posterior p = defocus_posterior(scratch, t, z, n_z, dot(x, c->systematic, 2), dot(x, c->trend, 3), width, w->z_trend_A);
		t->change.z = p.mean;
		t->z_variance = p.variance;
		equations_add(&trend, x, t->input.mean_A + p.mean, 1 / (w->z_trend_A * w->z_trend_A));
		if (p.weight > 0) equations_add(&systematic, x, p.weighted / p.weight, p.weight / (width * width));
		squares->input += p.squares * t->cos_tilt * t->cos_tilt;
		squares->count++;
	}
	CYC_TRY(equations_solve(c->trend, &trend));
	CYC_TRY(equations_solve(c->systematic, &systematic));
	for (int32_t f = 0; f < s->n_tilts; f++) {
		const cyc_tilt_fit *t = &s->tilts[f];
		double x[3];
		if (!t->has_data) continue;
		defocus_terms(x, t, dose_max);
		squares->trend += cyc_square(t->input.mean_A + t->change.z - dot(x, c->trend, 3)) + t->z_variance;
	}
done:
	return st;
}

static double largest_dose(const cyc_series_fit *s)
{
	double dose = 0;
	for (int32_t f = 0; f < s->n_tilts; f++) dose = fmax(dose, s->tilts[f].dose_e_per_A2);
	return dose;
}

cyc_status cyc_hierarchy_defocus(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, const double *z, int32_t n_z, bool learn)
{
	cyc_status st = CYC_OK;
	double *scratch = NULL;
	defocus_coefficients *c = NULL;
	CYC_TRY(cyc_alloc(&scratch, n_z, sizeof *scratch));
	CYC_TRY(cyc_alloc(&c, n_series, sizeof *c));
	for (int32_t i = 0; i < n_series; i++) CYC_TRY(start_defocus(&c[i], &series[i], largest_dose(&series[i])));
	for (int iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
		square_sums squares = { 0, 0, 0 };
		defocus_coefficients before = c[0];
		for (int32_t i = 0; i < n_series; i++) CYC_TRY(step_defocus(&squares, &c[i], &series[i], w, z, n_z, largest_dose(&series[i]), scratch));
		cyc_ctf_widths old = *w;
		if (learn && !w->z_input_is_given) w->z_input_A = updated_width(squares.input, squares.count, Z_EXPECTED_INPUT_A);
		if (learn) w->z_trend_A = updated_width(squares.trend, squares.count, Z_EXPECTED_TREND_A);
		bool is_still = fabs(c[0].trend[0] - before.trend[0]) < 0.1 && fabs(c[0].systematic[0] - before.systematic[0]) < 0.1;
		if (iteration > 2 && is_still && has_converged(w->z_input_A, w->z_trend_A, old.z_input_A, old.z_trend_A)) break;
	}
done:
	cyc_free(scratch);
	cyc_free(c);
	return st;
}

/* ---------------------------------------------------------------- astigmatism */

static const double A_EXPECTED_A = 50;

cyc_status cyc_hierarchy_astigmatism(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, bool learn)
{
	cyc_status st = CYC_OK;
	double (*mean)[2] = NULL;
	CYC_TRY(cyc_alloc(&mean, n_series, sizeof *mean));
	for (int32_t i = 0; i < n_series; i++) {
		double n = 0;
		for (int32_t f = 0; f < series[i].n_tilts; f++) {
			const cyc_tilt_fit *t = &series[i].tilts[f];
			if (!t->has_data) continue;
			mean[i][0] += t->input.astig_x_A;
			mean[i][1] += t->input.astig_y_A;
			n++;
		}
		for (int k = 0; k < 2 && n > 0; k++) mean[i][k] /= n;
	}
	for (int iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
		square_sums squares = { 0, 0, 0 };
		double input = 1 / cyc_square(w->a_input_A), trend = 1 / cyc_square(w->a_trend_A), moved = 0;
		for (int32_t i = 0; i < n_series; i++) {
			double sum[2] = { 0, 0 }, n = 0;
			for (int32_t f = 0; f < series[i].n_tilts; f++) {
				cyc_tilt_fit *t = &series[i].tilts[f];
				if (!t->has_data) continue;
				/* Everything as changes against the input. */
				double to_mean[2] = { mean[i][0] - t->input.astig_x_A, mean[i][1] - t->input.astig_y_A };
				double A = t->a_information[0][0] + input + trend, B = t->a_information[0][1], C = t->a_information[1][1] + input + trend;
				double b0 = t->a_information[0][0] * t->a_data[0] + t->a_information[0][1] * t->a_data[1] + trend * to_mean[0];
				double b1 = t->a_information[1][0] * t->a_data[0] + t->a_information[1][1] * t->a_data[1] + trend * to_mean[1];
				double det = A * C - B * B;
				t->change.a[0] = (C * b0 - B * b1) / det;
				t->change.a[1] = (A * b1 - B * b0) / det;
				t->a_variance[0] = C / det;
				t->a_variance[1] = A / det;
				double spread = t->a_variance[0] + t->a_variance[1];
				squares.input += cyc_square(t->change.a[0]) + cyc_square(t->change.a[1]) + spread;
				squares.trend += cyc_square(t->change.a[0] - to_mean[0]) + cyc_square(t->change.a[1] - to_mean[1]) + spread;
				squares.count += 2;
				sum[0] += t->input.astig_x_A + t->change.a[0];
				sum[1] += t->input.astig_y_A + t->change.a[1];
				n++;
			}
			for (int k = 0; k < 2 && n > 0; k++) {
				moved = fmax(moved, fabs(sum[k] / n - mean[i][k]));
				mean[i][k] = sum[k] / n;
			}
		}
		cyc_ctf_widths old = *w;
		if (learn && !w->a_input_is_given) w->a_input_A = updated_width(squares.input, squares.count, A_EXPECTED_A);
		if (learn) w->a_trend_A = updated_width(squares.trend, squares.count, A_EXPECTED_A);
		if (moved < 0.05 && has_converged(w->a_input_A, w->a_trend_A, old.a_input_A, old.a_trend_A)) break;
	}
done:
	cyc_free(mean);
	return st;
}

/* ---------------------------------------------------------------- scale */

static const double S_EXPECTED_INPUT = 0.1, S_EXPECTED_TREND = 0.03;
/* Absorption makes the log scale fall with 1/cos; the input may be wrong in the same way (cos(tilt) is a common guess). Only the
 * images can tell the two slopes apart: without them the trend follows the input, and the input stays. */
static const double S_TREND_SD[2] = { 30, 5 }, S_SYSTEMATIC_SD[2] = { 30, 0.5 };

typedef struct {
	double trend[2], systematic[2];
} scale_coefficients;

static void scale_terms(double x[2], const cyc_tilt_fit *t)
{
	x[0] = 1;
	x[1] = (t->ice_path > 0 ? t->ice_path : 1 / t->cos_tilt) - 1;
}

static cyc_status start_scale(scale_coefficients *c, const cyc_series_fit *s)
{
	cyc_status st = CYC_OK;
	normal_equations trend, systematic;
	equations_begin(&trend, 2, ZERO, S_TREND_SD);
	equations_begin(&systematic, 2, ZERO, S_SYSTEMATIC_SD);
	for (int32_t f = 0; f < s->n_tilts; f++) {
		const cyc_tilt_fit *t = &s->tilts[f];
		double x[2];
		if (!t->has_data) continue;
		scale_terms(x, t);
		equations_add(&trend, x, log(t->input_scale) + t->log_s_data, t->log_s_information / (1 + 0.01 * t->log_s_information));
	}
	CYC_TRY(equations_solve(c->trend, &trend));
	for (int32_t f = 0; f < s->n_tilts; f++) {
		const cyc_tilt_fit *t = &s->tilts[f];
		double x[2];
		if (!t->has_data) continue;
		scale_terms(x, t);
		equations_add(&systematic, x, log(t->input_scale) - dot(x, c->trend, 2), 100);
	}
	CYC_TRY(equations_solve(c->systematic, &systematic));
done:
	return st;
}

static cyc_status step_scale(square_sums *squares, scale_coefficients *c, cyc_series_fit *s, const cyc_ctf_widths *w)
{
	cyc_status st = CYC_OK;
	normal_equations trend, systematic;
	double by_input = 1 / cyc_square(w->s_input), by_trend = 1 / cyc_square(w->s_trend);
	equations_begin(&trend, 2, ZERO, S_TREND_SD);
	equations_begin(&systematic, 2, ZERO, S_SYSTEMATIC_SD);
	for (int32_t f = 0; f < s->n_tilts; f++) {
		cyc_tilt_fit *t = &s->tilts[f];
		double x[2], log_input = log(t->input_scale);
		if (!t->has_data) continue;
		scale_terms(x, t);
		double precision = t->log_s_information + by_trend + by_input;
		double from_data = log_input + t->log_s_data, from_input = log_input - dot(x, c->systematic, 2);
		double value = (t->log_s_information * from_data + by_trend * dot(x, c->trend, 2) + by_input * from_input) / precision;
		t->log_s = value - log_input;
		t->log_s_variance = 1 / precision;
		equations_add(&trend, x, value, by_trend);
		equations_add(&systematic, x, log_input - value, by_input);
	}
	CYC_TRY(equations_solve(c->trend, &trend));
	CYC_TRY(equations_solve(c->systematic, &systematic));
	for (int32_t f = 0; f < s->n_tilts; f++) {
		const cyc_tilt_fit *t = &s->tilts[f];
		double x[2];
		if (!t->has_data) continue;
		scale_terms(x, t);
		double value = log(t->input_scale) + t->log_s;
		squares->input += cyc_square(t->log_s + dot(x, c->systematic, 2)) + t->log_s_variance;
		squares->trend += cyc_square(value - dot(x, c->trend, 2)) + t->log_s_variance;
		squares->count++;
	}
done:
	return st;
}

cyc_status cyc_hierarchy_scale(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, bool learn)
{
	cyc_status st = CYC_OK;
	scale_coefficients *c = NULL;
	CYC_TRY(cyc_alloc(&c, n_series, sizeof *c));
	for (int32_t i = 0; i < n_series; i++) CYC_TRY(start_scale(&c[i], &series[i]));
	for (int iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
		square_sums squares = { 0, 0, 0 };
		double moved = 0;
		for (int32_t i = 0; i < n_series; i++) {
			scale_coefficients before = c[i];
			CYC_TRY(step_scale(&squares, &c[i], &series[i], w));
			for (int k = 0; k < 2; k++) moved = fmax(moved, fabs(c[i].trend[k] - before.trend[k]) + fabs(c[i].systematic[k] - before.systematic[k]));
		}
		cyc_ctf_widths old = *w;
		if (learn) {
			w->s_input = updated_width(squares.input, squares.count, S_EXPECTED_INPUT);
			w->s_trend = updated_width(squares.trend, squares.count, S_EXPECTED_TREND);
		}
		if (moved < 1e-5 && has_converged(w->s_input, w->s_trend, old.s_input, old.s_trend)) break;
	}
done:
	cyc_free(c);
	return st;
}

/* ---------------------------------------------------------------- B-factor */

static const double B_EXPECTED_A2 = 10, B_TREND_SD[3] = { 50, 50, 50 };

static void bfactor_terms(double x[3], const cyc_tilt_fit *t, double dose_max)
{
	x[0] = 1;
	x[1] = dose_max > 0 ? 2 * t->dose_e_per_A2 / dose_max - 1 : 0;
	x[2] = 1 / t->cos_tilt - 1;
}

cyc_status cyc_hierarchy_bfactor(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, bool learn)
{
	cyc_status st = CYC_OK;
	double (*trend)[3] = NULL;
	CYC_TRY(cyc_alloc(&trend, n_series, sizeof *trend));
	for (int iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
		double squares = 0, count = 0, moved = 0, by_trend = 1 / cyc_square(w->b_A2);
		for (int32_t i = 0; i < n_series; i++) {
			normal_equations e;
			double before[3], dose_max = largest_dose(&series[i]), x[3];
			memcpy(before, trend[i], sizeof before);
			equations_begin(&e, 3, ZERO, B_TREND_SD);
			for (int32_t f = 0; f < series[i].n_tilts; f++) {
				cyc_tilt_fit *t = &series[i].tilts[f];
				if (!t->has_data) continue;
				bfactor_terms(x, t, dose_max);
				t->b_variance = 1 / (t->b_information + by_trend);
				t->b = t->b_variance * (t->b_information * t->b_data + by_trend * dot(x, trend[i], 3));
				equations_add(&e, x, t->b, by_trend);
			}
			CYC_TRY(equations_solve(trend[i], &e));
			for (int k = 0; k < 3; k++) moved = fmax(moved, fabs(trend[i][k] - before[k]));
			for (int32_t f = 0; f < series[i].n_tilts; f++) {
				const cyc_tilt_fit *t = &series[i].tilts[f];
				if (!t->has_data) continue;
				bfactor_terms(x, t, dose_max);
				squares += cyc_square(t->b - dot(x, trend[i], 3)) + t->b_variance;
				count++;
			}
		}
		double old = w->b_A2;
		if (learn) w->b_A2 = updated_width(squares, count, B_EXPECTED_A2);
		if (moved < 0.01 && fabs(w->b_A2 - old) < CONVERGED * old) break;
	}
done:
	cyc_free(trend);
	return st;
}

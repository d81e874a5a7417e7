/*
 * Priors of angles and shifts, and the scatter of tilts about them. (T6.4), (T6.7)
 */
#include "polish/alignment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Beyond this many widths a tilt is an outlier, which neither widens the prior of the others nor is bound
 * by it. Of normal numbers, one in eighty is. */
static const double OUTLIER = 2.5;
/* Mean square of normal numbers clipped at OUTLIER. */
static const double CUT_SHARE = 0.9775;

/* ---------------------------------------------------------------- the stage */

/* Robust standard deviation of numbers about their median; overwrites them. */
static double robust_scatter(double *v, size_t n)
{
	if (n < 2) return 0;
	double middle = cyc_median(v, n);
	for (size_t i = 0; i < n; i++) v[i] = fabs(v[i] - middle);
	return 1.4826 * cyc_median(v, n);
}

cyc_status cyc_stage_relation_find(cyc_stage_relation *out, const cyc_tilt_series *ts, const double *angles)
{
	cyc_status st = CYC_OK;
	size_t n = 0, T = (size_t)ts->n_tilts, n_slopes = 0;
	double *stage = NULL, *tilt = NULL, *work = NULL, mean = 0, spread = 0;
	*out = (cyc_stage_relation){ .sign = 1, .slope = 1 };
	CYC_TRY(cyc_alloc(&stage, T, sizeof *stage));
	CYC_TRY(cyc_alloc(&tilt, T, sizeof *tilt));
	CYC_TRY(cyc_alloc(&work, T * T, sizeof *work));
	for (size_t f = 0; f < T; f++) {
		if (!ts->tilts[f].has_nominal_tilt) continue;
		stage[n] = ts->tilts[f].nominal_tilt_rad;
		mean += stage[n];
		tilt[n++] = angles[3 * f + 1];
	}
	for (size_t i = 0; i < n; i++) spread += cyc_square(stage[i] - mean / (double)n);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++)
			if (fabs(stage[i] - stage[j]) > 1e-4)
				work[n_slopes++] = (tilt[i] - tilt[j]) / (stage[i] - stage[j]);
	if (n < 3 || n_slopes == 0) goto done; /* all equal: a constant describes them */
	out->is_known = true;
	out->slope = cyc_median(work, n_slopes); /* Theil 1950, Sen 1968 (J Am Stat Assoc 63:1379) */
	out->sign = out->slope < 0 ? -1 : 1;
	memcpy(work, tilt, n * sizeof *work);
	out->without_rad = robust_scatter(work, n);
	for (size_t i = 0; i < n; i++) work[i] = tilt[i] - out->slope * stage[i];
	out->slope_error = robust_scatter(work, n) / sqrt(spread);
	for (size_t i = 0; i < n; i++) work[i] = tilt[i] - out->sign * stage[i];
	out->scatter_rad = robust_scatter(work, n);
	/* The stage must explain three quarters of the variance of the Y tilts. */
	if (out->scatter_rad > 0.5 * out->without_rad) out->sign = 0;
done:
	cyc_free(stage);
	cyc_free(tilt);
	cyc_free(work);
	return st;
}

/* Value of an angle expected from the stage, up to the series' constant; false if there is none. */
static bool expected_angle(double *angle, const cyc_alignment *a, int32_t f, int k)
{
	*angle = k == 1 ? a->stage_sign * a->ts->tilts[f].nominal_tilt_rad : 0;
	return k != 1 || (a->stage_sign != 0 && a->ts->tilts[f].has_nominal_tilt);
}

/* Median over the tilts of angle minus expectation; in-plane angles are compared with the first, as they may
 * wrap. */
static double angle_constant(double *work, const cyc_alignment *a, int k)
{
	double first = a->base_angles[k];
	size_t n = 0;
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double expected;
		if (!expected_angle(&expected, a, f, k)) continue;
		double v = a->base_angles[3 * f + k] + a->angles[3 * f + k] - expected;
		work[n++] = k == 2 ? remainder(v - first, 2 * CYC_PI) : v;
	}
	return n > 0 ? cyc_median(work, n) + (k == 2 ? first : 0) : 0;
}

/* Distance of an angle from the series' geometry; false if that predicts none. */
static bool from_geometry(double *distance, const cyc_alignment *a, int32_t f, int k, double constant,
                          double change)
{
	double expected;
	*distance = 0;
	if (a->has_no_geometry || !expected_angle(&expected, a, f, k)) return false;
	*distance = remainder(a->base_angles[3 * f + k] + change - expected - constant, 2 * CYC_PI);
	return true;
}

cyc_status cyc_alignment_geometry_scatter(double *scatter_rad, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	double *work = NULL, *distance = NULL, sum = 0, count = 0;
	CYC_TRY(cyc_alloc(&work, a->n_tilts, sizeof *work));
	CYC_TRY(cyc_alloc(&distance, a->n_tilts, sizeof *distance));
	for (int k = 0; k < 3; k++) {
		double constant = angle_constant(work, a, k);
		size_t n = 0;
		for (int32_t f = 0; f < a->n_tilts; f++) n += from_geometry(&distance[n], a, f, k, constant, 0);
		if (n < 3) continue;
		sum += cyc_square(robust_scatter(distance, n));
		count++;
	}
	*scatter_rad = count > 0 ? sqrt(sum / count) : 0;
done:
	cyc_free(work);
	cyc_free(distance);
	return st;
}

/* ---------------------------------------------------------------- centres and widths */

static double input_angle(const cyc_alignment *a, int32_t f, int k)
{
	return a->input_angles ? a->input_angles[3 * f + k] : 0;
}
static double input_shift(const cyc_alignment *a, int32_t f, int k)
{
	return a->input_shifts_A ? a->input_shifts_A[2 * f + k] : 0;
}

/* Width of the prior at a number: beyond OUTLIER widths it grows with the distance. */
static double width_at(double width, double distance)
{
	return width * fmax(1, fabs(distance) / (OUTLIER * width));
}

cyc_status cyc_alignment_set_priors(cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	double *work = NULL;
	CYC_TRY(cyc_alloc(&work, a->n_tilts, sizeof *work));
	for (int k = 0; k < 3; k++) {
		double constant = angle_constant(work, a, k);
		for (int32_t f = 0; f < a->n_tilts; f++) {
			double now = a->angles[3 * f + k], input = input_angle(a, f, k), to_trend, from_trend;
			double by_input = 1 / cyc_square(width_at(a->widths.angle_input_rad, now - input)), by_trend = 0;
			if (from_geometry(&from_trend, a, f, k, constant, now))
				by_trend = 1 / cyc_square(width_at(a->widths.angle_trend_rad, from_trend));
			(void)from_geometry(&to_trend, a, f, k, constant, 0);
			a->angle_width_rad[3 * f + k] = 1 / sqrt(by_input + by_trend);
			a->angle_centre[3 * f + k] = (by_input * input - by_trend * to_trend) / (by_input + by_trend);
		}
	}
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double d = hypot(a->tilts[f].shift_A[0] - input_shift(a, f, 0),
		                 a->tilts[f].shift_A[1] - input_shift(a, f, 1)) /
		           sqrt(2);
		a->shift_width_A[f] = width_at(a->widths.shift_A, d);
	}
done:
	cyc_free(work);
	return st;
}

double cyc_alignment_shift_cost(const cyc_alignment *a, int32_t f, double more_x_A, double more_y_A)
{
	double d = hypot(a->tilts[f].shift_A[0] + more_x_A - input_shift(a, f, 0),
	                 a->tilts[f].shift_A[1] + more_y_A - input_shift(a, f, 1)) /
	           a->widths.shift_A;
	/* With a width that grows beyond OUTLIER, for both components: the force of a logarithm. */
	double edge = OUTLIER * sqrt(2);
	return d <= edge ? 0.5 * d * d : 0.5 * edge * edge + edge * edge * log(d / edge);
}

/* ---------------------------------------------------------------- widths from the data */

/*
 * Spread of numbers that each have a known variance, clipped at OUTLIER (Huber 1981, Robust Statistics,
 * proposal 2), with ten pseudo-counts of the spread that is expected.
 */
static double robust_spread(const double *squares, size_t n, double expected)
{
	enum { ROUNDS = 30 };
	double s2 = 10 * expected * expected;
	for (size_t i = 0; i < n; i++) s2 += squares[i];
	s2 /= (double)n + 10;
	for (int round = 0; round < ROUNDS; round++) {
		double sum = 0;
		for (size_t i = 0; i < n; i++) sum += fmin(squares[i], OUTLIER * OUTLIER * s2);
		s2 = (sum / CUT_SHARE + 10 * expected * expected) / ((double)n + 10);
	}
	return sqrt(s2);
}

/*
 * An input refined on these images agrees with them for that reason, not because it is right: narrower widths
 * would freeze its errors. Positions are determined by all tilts and need only a wide prior.
 */
static const double LEAST_ANGLE_RAD = 0.1 * CYC_PI / 180, LEAST_SHIFT_A = 2;

static cyc_status learn_angle_widths(cyc_alignment *a, const double *errors, double *squares)
{
	cyc_status st = CYC_OK;
	size_t n_input = 0, n_trend = 0;
	double *work = NULL, *trend = squares + 3 * (size_t)a->n_tilts;
	CYC_TRY(cyc_alloc(&work, a->n_tilts, sizeof *work));
	for (int k = 0; k < 3; k++) {
		double constant = angle_constant(work, a, k), distance;
		for (int32_t f = 0; f < a->n_tilts; f++) {
			double variance = cyc_square(errors[CYC_PER_TILT * f + k]), now = a->angles[3 * f + k];
			squares[n_input++] = cyc_square(now - input_angle(a, f, k)) + variance;
			if (from_geometry(&distance, a, f, k, constant, now))
				trend[n_trend++] = distance * distance + variance;
		}
	}
	const double expected = cyc_deg_to_rad(0.1);
	if (!a->has_dependent_input)
		a->widths.angle_input_rad = fmax(robust_spread(squares, n_input, expected), LEAST_ANGLE_RAD);
	a->widths.angle_trend_rad = robust_spread(trend, n_trend, expected);
done:
	cyc_free(work);
	return st;
}

cyc_status cyc_alignment_learn_widths(cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	double *errors = NULL, *squares = NULL;
	size_t n_tilt = CYC_PER_TILT * (size_t)a->n_tilts;
	CYC_TRY(cyc_alloc(&errors, n_tilt + 3 * (size_t)a->n_particles, sizeof *errors));
	CYC_TRY(cyc_alloc(&squares, 6 * (size_t)a->n_tilts, sizeof *squares));
	CYC_TRY(cyc_alignment_errors(errors, errors + n_tilt, a));
	if (a->do_angles) CYC_TRY(learn_angle_widths(a, errors, squares));
	if (a->do_shifts && !a->has_dependent_input) {
		for (int32_t i = 0; i < 2 * a->n_tilts; i++)
			squares[i] = cyc_square(a->tilts[i / 2].shift_A[i % 2] - input_shift(a, i / 2, i % 2)) +
			             cyc_square(errors[CYC_PER_TILT * (i / 2) + 3 + i % 2]);
		a->widths.shift_A = fmax(robust_spread(squares, 2 * (size_t)a->n_tilts, 1.0), LEAST_SHIFT_A);
	}
	CYC_TRY(cyc_alignment_set_priors(a));
done:
	cyc_free(errors);
	cyc_free(squares);
	return st;
}

/* ---------------------------------------------------------------- in the objective */

void cyc_alignment_standardised_tilts(double *x, const cyc_alignment *a)
{
	for (int32_t f = 0; f < a->n_tilts; f++) {
		for (int k = 0; k < 3; k++)
			x[CYC_PER_TILT * f + k] = a->do_angles ? (a->angles[3 * f + k] - a->angle_centre[3 * f + k]) /
			                                             a->angle_width_rad[3 * f + k]
			                                       : 0;
		for (int k = 0; k < 2; k++)
			x[CYC_PER_TILT * f + 3 + k] =
				(a->tilts[f].shift_A[k] - input_shift(a, f, k)) / a->shift_width_A[f];
	}
}

#include "ctfrefine/hierarchy.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

enum { MAX_TERMS = 6, MAX_ITERATIONS = 200 };
static const double CONVERGED = 1e-4; /* relative change of the widths */
static const double STUDENT = 4;      /* degrees of freedom of both models' errors, to allow for outliers */
static const double PSEUDO_COUNT =
	8; /* weight, in tilts, of the expected widths below: keeps them from collapsing */

cyc_ctf_widths cyc_ctf_widths_default(void)
{
	return (cyc_ctf_widths){ .shift_A = 4,
		                     .z_input_A = 200,
		                     .z_trend_A = 300,
		                     .a_input_A = 60,
		                     .a_trend_A = 40,
		                     .s_input = 0.1,
		                     .s_trend = 0.1,
		                     .b_A2 = 10,
		                     .bad_frac = 0.02 };
}

/* Least squares with a prior: normal equations of a few terms, coefficient i being prior_mean[i] +-
 * prior_sd[i]. */
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
	CYC_CHECK(LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', e->n, 1, &e->A[0][0], MAX_TERMS, e->b, 1) == 0,
	          CYC_E_NUMERIC, "the trend of a tilt series cannot be fitted");
	memcpy(out, e->b, (size_t)e->n * sizeof *out);
done:
	return st;
}

/* Covariance of the coefficients, after their equations are solved. */
typedef struct {
	double at[MAX_TERMS][MAX_TERMS];
} covariance;

static cyc_status equations_covariance(covariance *out, normal_equations *solved)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'U', solved->n, &solved->A[0][0], MAX_TERMS) == 0,
	          CYC_E_NUMERIC, "the trend of a tilt series cannot be fitted");
	for (int i = 0; i < solved->n; i++)
		for (int j = 0; j < solved->n; j++) out->at[i][j] = i < j ? solved->A[i][j] : solved->A[j][i];
done:
	return st;
}

static double dot(const double *a, const double *b, int n)
{
	double s = 0;
	for (int i = 0; i < n; i++) s += a[i] * b[i];
	return s;
}

static double variance_along(const covariance *c, const double *direction, int n)
{
	double s = 0;
	for (int i = 0; i < n; i++) s += direction[i] * dot(c->at[i], direction, n);
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
static const double Z_TREND_SD[3] = { 1e5, 2000, 1000 }, Z_SYSTEMATIC_SD[2] = { 500, 500 },
					ZERO[MAX_TERMS] = { 0 };

/* Trend: constant, sine of the tilt (tilt axis off the focused line), dose from -1 to 1 (drift). Input error:
 * the first two. */
static void defocus_terms(double x[3], const cyc_tilt_fit *t, double dose_max)
{
	x[0] = 1;
	x[1] = t->sin_tilt;
	x[2] = dose_max > 0 ? 2 * t->dose_e_per_A2 / dose_max - 1 : 0;
}

/* One of the two descriptions of a value: Student about `mean`; and its posterior expectations. */
typedef struct {
	double mean, width;      /* of z; width 0: not used */
	double weight, weighted; /* expected Student weight, and weight times z */
	double squares;          /* expected weight times (z - mean)^2 */
	double score_z;     /* covariance of z with d log prior / d mean: how the posterior mean follows `mean` */
	double score_score; /* variance of that derivative */
} description;

typedef struct {
	double mean, variance; /* of z */
	double score_both;     /* covariance of the scores of the two descriptions */
	double log_prior;      /* at the mean, relative to the largest on the grid */
	bool is_at_end;
} posterior;

static double log_student(const description *d, double z)
{
	return d->width > 0 ? -0.5 * (STUDENT + 1) * log1p(cyc_square((z - d->mean) / d->width) / STUDENT) : 0;
}

static double student_weight(const description *d, double z)
{
	return d->width > 0 ? (STUDENT + 1) / (STUDENT + cyc_square((z - d->mean) / d->width)) : 0;
}

/* Several distant maxima: values between them are unlikely. The main one is used, with the spread of all
 * about it. */
static void choose_mode(posterior *r, const double *p, double sum, int32_t top, int32_t n_z, double first,
                        double step)
{
	enum { SEPARATED = 3 }; /* the whole is this many times wider than its main part */
	double mass = 0, mean = 0, second = 0;
	int32_t from = top, to = top;
	while (from > 0 && p[from - 1] > 1e-3 * p[top]) from--;
	while (to < n_z - 1 && p[to + 1] > 1e-3 * p[top]) to++;
	for (int32_t j = from; j <= to; j++) {
		double z = first + j * step;
		mass += p[j] / sum;
		mean += p[j] / sum * z;
		second += p[j] / sum * z * z;
	}
	mean /= mass;
	double variance = fmax(second / mass - mean * mean, step * step);
	if (r->variance < SEPARATED * SEPARATED * variance) return;
	r->variance += cyc_square(r->mean - mean);
	r->mean = mean;
}

static void take_moments(description d[2], posterior *r, const double *p, double sum, int32_t n_z,
                         double first, double step)
{
	double mean_score[2] = { 0, 0 };
	for (int k = 0; k < 2; k++)
		d[k].weight = d[k].weighted = d[k].squares = d[k].score_z = d[k].score_score = 0;
	r->score_both = 0;
	for (int32_t j = 0; j < n_z; j++) {
		if (p[j] == 0) continue;
		double z = first + j * step, w = p[j] / sum, score[2] = { 0, 0 };
		for (int k = 0; k < 2; k++) {
			if (!(d[k].width > 0)) continue;
			double u = student_weight(&d[k], z);
			score[k] = u * (z - d[k].mean) / cyc_square(d[k].width);
			d[k].weight += w * u;
			d[k].weighted += w * u * z;
			d[k].squares += w * u * cyc_square(z - d[k].mean);
			d[k].score_z += w * score[k] * z;
			d[k].score_score += w * score[k] * score[k];
			mean_score[k] += w * score[k];
		}
		r->score_both += w * score[0] * score[1];
	}
	for (int k = 0; k < 2; k++) {
		d[k].score_z -= mean_score[k] * r->mean;
		d[k].score_score -= mean_score[k] * mean_score[k];
	}
	r->score_both -= mean_score[0] * mean_score[1];
}

/* Posterior of one tilt on the grid of its scan: scan x Student(input) x Student(trend). `p` is scratch. */
static posterior defocus_posterior(description d[2], double *p, const cyc_tilt_fit *t, const double *z,
                                   int32_t n_grid)
{
	posterior r = { 0 };
	int32_t n_tiles = t->n_tiles > 0 ? t->n_tiles : 1, n_z = n_tiles * n_grid, top = 0;
	double step = z[1] - z[0], first = z[0] - (n_tiles / 2) * n_grid * step, sum = 0, second = 0,
		   likeliest = -1e300;
	for (int32_t j = 0; j < n_z; j++) {
		double prior = log_student(&d[0], first + j * step) + log_student(&d[1], first + j * step);
		likeliest = fmax(likeliest, prior);
		p[j] = t->log_l[j] + prior;
		if (p[j] > p[top]) top = j;
	}
	double peak = p[top], left = top > 0 ? p[top - 1] : peak, right = top < n_z - 1 ? p[top + 1] : peak;
	for (int32_t j = 0; j < n_z; j++) {
		double at = first + j * step;
		p[j] = p[j] > peak - 40 ? exp(p[j] - peak) : 0;
		sum += p[j];
		r.mean += p[j] * at;
		second += p[j] * at * at;
	}
	r.mean /= sum;
	r.variance = second / sum - r.mean * r.mean;
	r.is_at_end = top == 0 || top == n_z - 1;
	take_moments(d, &r, p, sum, n_z, first, step);
	choose_mode(&r, p, sum, top, n_z, first, step);
	/* A peak narrower than the grid: the parabola through its three highest points. */
	double bend = (left + right - 2 * peak) / (step * step);
	if (r.variance < step * step && bend < 0 && top > 0 && top < n_z - 1) {
		double vertex = first + top * step - (right - left) / (2 * step) / bend;
		for (int k = 0; k < 2; k++) {
			d[k].squares += d[k].weight * (cyc_square(vertex - d[k].mean) - cyc_square(r.mean - d[k].mean));
			d[k].weighted += d[k].weight * (vertex - r.mean);
		}
		r.mean = vertex;
		r.variance = -1 / bend;
	}
	r.log_prior = log_student(&d[0], r.mean) + log_student(&d[1], r.mean) - likeliest;
	return r;
}

/* The coefficients of one series, given the widths: a few rounds of expectation and least squares. */
typedef struct {
	double trend[3], systematic[2];
} defocus_coefficients;

static cyc_status start_defocus(defocus_coefficients *c, const cyc_series_fit *s, double dose_max)
{
	enum { ROBUST_ROUNDS = 10 };
	cyc_status st = CYC_OK;
	memset(c, 0, sizeof *c);
	for (int round = 0; round < ROBUST_ROUNDS;
	     round++) { /* weighted: distant inputs must not bias the trend */
		normal_equations e;
		equations_begin(&e, 3, ZERO, Z_TREND_SD);
		for (int32_t f = 0; f < s->n_tilts; f++) {
			const cyc_tilt_fit *t = &s->tilts[f];
			double x[3];
			if (!t->has_data) continue;
			defocus_terms(x, t, dose_max);
			double value = t->input.mean_A + (t->z_variance > 0 ? t->change.z : t->given.mean_A),
				   off = (value - dot(x, c->trend, 3)) / (2 * Z_EXPECTED_TREND_A);
			equations_add(&e, x, value, 1e-4 * (1 - t->p_bad) * (round == 0 ? 1 : 1 / (1 + fabs(off))));
		}
		CYC_TRY(equations_solve(c->trend, &e));
	}
done:
	return st;
}

typedef struct {
	double input, trend, n_input, n_trend;
} square_sums;

/* Information on the coefficients: that of the descriptions if z were known, minus the loss because it is
 * not. */
static cyc_status defocus_covariance(covariance *out, const cyc_series_fit *s, double dose_max)
{
	cyc_status st = CYC_OK;
	normal_equations e;
	double sd[MAX_TERMS], nowhere[MAX_TERMS];
	memcpy(sd, Z_TREND_SD, sizeof Z_TREND_SD);
	memcpy(sd + 3, Z_SYSTEMATIC_SD, sizeof Z_SYSTEMATIC_SD);
	equations_begin(&e, 5, ZERO, sd);
	for (int32_t f = 0; f < s->n_tilts; f++) {
		const cyc_tilt_fit *t = &s->tilts[f];
		double x[3];
		if (!t->has_data) continue;
		defocus_terms(x, t, dose_max);
		for (int i = 0; i < 5; i++)
			for (int j = 0; j < 5; j++)
				e.A[i][j] += (1 - t->p_bad) * x[i < 3 ? i : i - 3] * x[j < 3 ? j : j - 3] *
				             t->z_information[i < 3][j < 3];
	}
	CYC_TRY(equations_solve(nowhere, &e));
	CYC_TRY(equations_covariance(out, &e));
done:
	return st;
}

static void keep_information(cyc_tilt_fit *t, const description d[2], const posterior *p)
{
	double(*m)[2] = t->z_information;
	for (int k = 0; k < 2; k++) {
		m[k][k] = d[k].width > 0 ? fmax(d[k].weight / cyc_square(d[k].width) - d[k].score_score, 0) : 0;
		t->z_follows[k] = fmin(fmax(d[k].score_z, 0), 1);
	}
	double bound = sqrt(m[0][0] * m[1][1]);
	m[0][1] = m[1][0] = fmin(fmax(-p->score_both, -bound), bound);
}

/* Variance of the change, and of its distance from the two descriptions, with that of the coefficients. */
static double follow_variance(const cyc_tilt_fit *t, const covariance *c, const double x[3], double by_trend,
                              double by_input)
{
	double direction[5];
	for (int i = 0; i < 5; i++)
		direction[i] =
			(i < 3 ? t->z_follows[1] - by_trend : t->z_follows[0] - by_input) * x[i < 3 ? i : i - 3];
	return variance_along(c, direction, 5);
}

static double largest_dose(const cyc_series_fit *s)
{
	double dose = 0;
	for (int32_t f = 0; f < s->n_tilts; f++) dose = fmax(dose, s->tilts[f].dose_e_per_A2);
	return dose;
}

static int32_t most_tiles(const cyc_series_fit *series, int32_t n_series)
{
	int32_t n = 1;
	for (int32_t i = 0; i < n_series; i++)
		for (int32_t f = 0; f < series[i].n_tilts; f++)
			if (series[i].tilts[f].n_tiles > n) n = series[i].tilts[f].n_tiles;
	return n;
}

/* One tilt with data in an iteration: its two descriptions as the coefficients have them, and what the scan
 * makes of them. */
typedef struct {
	cyc_tilt_fit *fit;
	double terms[3];
	description of[2]; /* by input, by trend */
	posterior z;
} defocus_item;

typedef struct {
	const double *z_A;
	int32_t n_z, n_series;
	size_t n_scratch; /* values of the longest scan */
	double *scratch;  /* as many for each thread */
	defocus_item *items;
	int64_t n_items, *first; /* items of a series: first[i] to first[i + 1] */
	defocus_coefficients *coefficients;
} defocus_work;

static cyc_status posterior_task(void *arg, int64_t i, int i_thread)
{
	defocus_work *w = arg;
	defocus_item *it = &w->items[i];
	it->z = defocus_posterior(it->of, w->scratch + (size_t)i_thread * w->n_scratch, it->fit, w->z_A, w->n_z);
	return CYC_OK;
}

static void describe(defocus_item *it, const defocus_coefficients *c, const cyc_ctf_widths *w)
{
	const cyc_tilt_fit *t = it->fit;
	it->of[0] = (description){ .mean = t->given.mean_A + dot(it->terms, c->systematic, 2),
		                       .width = t->input_is_refined ? 0 : w->z_input_A / t->cos_tilt };
	it->of[1] = (description){ .mean = dot(it->terms, c->trend, 3) - t->input.mean_A, .width = w->z_trend_A };
}

/* The coefficients of a series, and the squares of its tilts' distances, from their posteriors. */
static cyc_status update_defocus(square_sums *squares, defocus_work *w, const cyc_series_fit *s, int32_t i)
{
	cyc_status st = CYC_OK;
	defocus_coefficients *c = &w->coefficients[i];
	normal_equations trend, systematic;
	covariance known;
	equations_begin(&trend, 3, ZERO, Z_TREND_SD);
	equations_begin(&systematic, 2, ZERO, Z_SYSTEMATIC_SD);
	for (int64_t k = w->first[i]; k < w->first[i + 1]; k++) {
		const defocus_item *it = &w->items[k];
		cyc_tilt_fit *t = it->fit;
		const description *d = it->of;
		double good = 1 - t->p_bad;
		t->change.z = it->z.mean;
		t->z_variance = it->z.variance;
		t->z_log_prior = it->z.log_prior;
		t->z_expected = d[1].mean;
		t->is_at_end = it->z.is_at_end;
		keep_information(t, d, &it->z);
		double by_trend = good * d[1].weight / cyc_square(d[1].width),
			   by_input = d[0].width > 0 ? good * d[0].weight / cyc_square(d[0].width) : 0;
		if (d[1].weight > 0)
			equations_add(&trend, it->terms, t->input.mean_A + d[1].weighted / d[1].weight, by_trend);
		if (d[0].weight > 0)
			equations_add(&systematic, it->terms, d[0].weighted / d[0].weight - t->given.mean_A, by_input);
		squares->input += good * d[0].squares * t->cos_tilt * t->cos_tilt;
		squares->trend += good * d[1].squares;
		squares->n_input += good * (d[0].width > 0);
		squares->n_trend += good;
		t->z_weight[0] = d[0].weight;
		t->z_weight[1] = d[1].weight;
	}
	CYC_TRY(equations_solve(c->trend, &trend));
	CYC_TRY(equations_solve(c->systematic, &systematic));
	CYC_TRY(defocus_covariance(&known, s, largest_dose(s)));
	for (int64_t k = w->first[i]; k < w->first[i + 1]; k++) {
		cyc_tilt_fit *t = w->items[k].fit;
		const double *x = w->items[k].terms, good = 1 - t->p_bad;
		squares->trend += good * t->z_weight[1] * follow_variance(t, &known, x, 1, 0);
		squares->input +=
			good * t->z_weight[0] * follow_variance(t, &known, x, 0, 1) * t->cos_tilt * t->cos_tilt;
		t->z_variance += follow_variance(t, &known, x, 0, 0);
	}
done:
	return st;
}

static cyc_status defocus_work_init(defocus_work *w, cyc_series_fit *series, int n_threads)
{
	cyc_status st = CYC_OK;
	int64_t n_tilts = 0;
	for (int32_t i = 0; i < w->n_series; i++) n_tilts += series[i].n_tilts;
	w->n_scratch = (size_t)w->n_z * (size_t)most_tiles(series, w->n_series);
	CYC_TRY(cyc_alloc(&w->scratch, (size_t)n_threads * w->n_scratch, sizeof *w->scratch));
	CYC_TRY(cyc_alloc(&w->items, n_tilts, sizeof *w->items));
	CYC_TRY(cyc_alloc(&w->first, (size_t)w->n_series + 1, sizeof *w->first));
	CYC_TRY(cyc_alloc(&w->coefficients, w->n_series, sizeof *w->coefficients));
	for (int32_t i = 0; i < w->n_series; i++) {
		double dose_max = largest_dose(&series[i]);
		w->first[i] = w->n_items;
		for (int32_t f = 0; f < series[i].n_tilts; f++) {
			if (!series[i].tilts[f].has_data) continue;
			defocus_item *it = &w->items[w->n_items++];
			it->fit = &series[i].tilts[f];
			defocus_terms(it->terms, it->fit, dose_max);
		}
		CYC_TRY(start_defocus(&w->coefficients[i], &series[i], dose_max));
	}
	w->first[w->n_series] = w->n_items;
done:
	return st;
}

static void defocus_work_deinit(defocus_work *w)
{
	cyc_free(w->scratch);
	cyc_free(w->items);
	cyc_free(w->first);
	cyc_free(w->coefficients);
}

cyc_status cyc_hierarchy_defocus(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, const double *z,
                                 int32_t n_z, bool learn, int n_threads)
{
	cyc_status st = CYC_OK;
	defocus_work k = { .z_A = z, .n_z = n_z, .n_series = n_series };
	CYC_TRY(defocus_work_init(&k, series, n_threads));
	for (int iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
		square_sums squares = { 0 };
		defocus_coefficients before = k.coefficients[0];
		for (int32_t i = 0; i < n_series; i++)
			for (int64_t j = k.first[i]; j < k.first[i + 1]; j++)
				describe(&k.items[j], &k.coefficients[i], w);
		CYC_TRY(cyc_parallel_for(k.n_items, n_threads, posterior_task, &k));
		for (int32_t i = 0; i < n_series; i++) CYC_TRY(update_defocus(&squares, &k, &series[i], i));
		cyc_ctf_widths old = *w;
		if (learn && !w->z_input_is_given)
			w->z_input_A = updated_width(squares.input, squares.n_input, Z_EXPECTED_INPUT_A);
		if (learn) w->z_trend_A = updated_width(squares.trend, squares.n_trend, Z_EXPECTED_TREND_A);
		bool is_still = fabs(k.coefficients[0].trend[0] - before.trend[0]) < 0.1 &&
		                fabs(k.coefficients[0].systematic[0] - before.systematic[0]) < 0.1;
		if (iteration > 2 && is_still &&
		    has_converged(w->z_input_A, w->z_trend_A, old.z_input_A, old.z_trend_A))
			break;
	}
done:
	defocus_work_deinit(&k);
	return st;
}

/* ---------------------------------------------------------------- astigmatism */

static const double A_EXPECTED_INPUT_A = 50, A_EXPECTED_TREND_A = 30;

cyc_status cyc_hierarchy_astigmatism(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, bool learn)
{
	cyc_status st = CYC_OK;
	double(*mean)[2] = NULL;
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
		square_sums squares = { 0 };
		double trend = 1 / cyc_square(w->a_trend_A), moved = 0;
		for (int32_t i = 0; i < n_series; i++) {
			double sum[2] = { 0, 0 }, n = 0;
			for (int32_t f = 0; f < series[i].n_tilts; f++) {
				cyc_tilt_fit *t = &series[i].tilts[f];
				if (!t->has_data) continue;
				/* All values as changes relative to those the sums were made with. (T4.34) */
				double input = t->input_is_refined ? 0 : 1 / cyc_square(w->a_input_A), good = 1 - t->p_bad;
				double to_given[2] = { t->given.astig_x_A, t->given.astig_y_A };
				double to_mean[2] = { mean[i][0] - t->input.astig_x_A, mean[i][1] - t->input.astig_y_A };
				double A = t->a_information[0][0] + input + trend, B = t->a_information[0][1],
					   C = t->a_information[1][1] + input + trend;
				double b0 = t->a_information[0][0] * t->a_data[0] + t->a_information[0][1] * t->a_data[1] +
				            trend * to_mean[0] + input * to_given[0];
				double b1 = t->a_information[1][0] * t->a_data[0] + t->a_information[1][1] * t->a_data[1] +
				            trend * to_mean[1] + input * to_given[1];
				double det = A * C - B * B;
				t->change.a[0] = (C * b0 - B * b1) / det;
				t->change.a[1] = (A * b1 - B * b0) / det;
				t->a_variance[0] = C / det;
				t->a_variance[1] = A / det;
				double spread = t->a_variance[0] + t->a_variance[1];
				squares.trend += good * (cyc_square(t->change.a[0] - to_mean[0]) +
				                         cyc_square(t->change.a[1] - to_mean[1]) + spread);
				squares.n_trend += good * 2;
				sum[0] += good * (t->input.astig_x_A + t->change.a[0]);
				sum[1] += good * (t->input.astig_y_A + t->change.a[1]);
				n += good;
				if (t->input_is_refined) continue;
				squares.input += good * (cyc_square(t->change.a[0] - to_given[0]) +
				                         cyc_square(t->change.a[1] - to_given[1]) + spread);
				squares.n_input += good * 2;
			}
			for (int k = 0; k < 2 && n > 0; k++) {
				moved = fmax(moved, fabs(sum[k] / n - mean[i][k]));
				mean[i][k] = sum[k] / n;
			}
		}
		cyc_ctf_widths old = *w;
		if (learn && !w->a_input_is_given)
			w->a_input_A = updated_width(squares.input, squares.n_input, A_EXPECTED_INPUT_A);
		if (learn) w->a_trend_A = updated_width(squares.trend, squares.n_trend, A_EXPECTED_TREND_A);
		if (moved < 0.05 && has_converged(w->a_input_A, w->a_trend_A, old.a_input_A, old.a_trend_A)) break;
	}
done:
	cyc_free(mean);
	return st;
}

/* ---------------------------------------------------------------- scale */

static const double S_EXPECTED_INPUT = 0.1, S_EXPECTED_TREND = 0.03;
/* Absorption makes the log scale fall with 1/cos; the input may be wrong in the same way, or be the cosine
 * of the tilt, a common guess. Only the images can distinguish the slopes: without information the trend
 * follows the input, which is kept. */
enum {
	S_TREND = 2,
	S_SYSTEMATIC = 3,
	S_TERMS = S_TREND + S_SYSTEMATIC + 1
}; /* the last: error of the level of the series' shells */
static const double S_PRIOR_SD[S_TERMS - 1] = { 30, 5, 30, 0.5, 1 }, S_LEVEL_KNOWN = 1e-6;

/* The model of a series for the log scales of its tilts: coefficients of trend and systematic error, with
 * their covariance. */
typedef struct {
	double value[S_TERMS]; /* trend, then systematic error */
	covariance known;
} scale_coefficients;

/* How the log scale of a tilt depends on the coefficients: value = constant + follows . coefficients, of
 * variance 1/precision. */
typedef struct {
	double trend[S_TERMS], systematic[S_TERMS],
		level[S_TERMS]; /* what the coefficients are multiplied with */
	double information, by_trend, by_input, given, data, precision, constant, follows[S_TERMS];
} scale_view;

static scale_view view_scale(const cyc_tilt_fit *t, const cyc_ctf_widths *w, double trend_weight,
                             double input_weight, double information)
{
	double path = (t->ice_path > 0 ? t->ice_path : 1 / t->cos_tilt) - 1;
	scale_view v = { .trend = { 1, path },
		             .systematic = { 0, 0, 1, path, log(t->cos_tilt) },
		             .level = { 0, 0, 0, 0, 0, t->s_per_level },
		             .information = information,
		             .by_trend = trend_weight / cyc_square(w->s_trend),
		             .by_input = t->input_is_refined ? 0 : input_weight / cyc_square(w->s_input) };
	v.given = log(t->input_scale) + t->given_log_scale;
	v.data = log(t->input_scale) + t->log_s_data;
	v.precision = information + v.by_trend + v.by_input;
	v.constant = (information * v.data + v.by_input * v.given) / v.precision;
	for (int k = 0; k < S_TERMS; k++)
		v.follows[k] =
			(v.by_trend * v.trend[k] - v.by_input * v.systematic[k] - information * v.level[k]) / v.precision;
	return v;
}

/* The coefficients with the log scales integrated out, which are what is left of each tilt's equation.
 * (T4.28) */
static cyc_status solve_scale(scale_coefficients *c, const cyc_series_fit *s, const cyc_ctf_widths *w)
{
	cyc_status st = CYC_OK;
	normal_equations e;
	double sd[S_TERMS];
	memcpy(sd, S_PRIOR_SD, sizeof S_PRIOR_SD);
	sd[S_TERMS - 1] = fmax(s->level_error, S_LEVEL_KNOWN);
	equations_begin(&e, S_TERMS, ZERO, sd);
	for (int32_t f = 0; f < s->n_tilts; f++) {
		const cyc_tilt_fit *t = &s->tilts[f];
		if (!t->has_data) continue;
		scale_view v = view_scale(t, w, t->s_weight[0], t->s_weight[1], t->log_s_information);
		for (int i = 0; i < S_TERMS; i++) {
			e.b[i] += (1 - t->p_bad) *
			          (v.follows[i] * v.precision * v.constant + v.by_input * v.systematic[i] * v.given +
			           v.information * v.level[i] * v.data);
			for (int j = 0; j < S_TERMS; j++) {
				double own = v.by_trend * v.trend[i] * v.trend[j] +
				             v.by_input * v.systematic[i] * v.systematic[j] +
				             v.information * v.level[i] * v.level[j];
				e.A[i][j] += (1 - t->p_bad) * (own - v.precision * v.follows[i] * v.follows[j]);
			}
		}
	}
	CYC_TRY(equations_solve(c->value, &e));
	CYC_TRY(equations_covariance(&c->known, &e));
done:
	return st;
}

/* Expected square of the distance from trend or input: of the tilt's own variance and that of the
 * coefficients. */
static double scale_square(const scale_view *v, const scale_coefficients *c, bool of_input)
{
	double direction[S_TERMS], distance = v->constant - (of_input ? v->given : 0);
	for (int k = 0; k < S_TERMS; k++)
		direction[k] = v->follows[k] + (of_input ? v->systematic[k] : -v->trend[k]);
	distance += dot(direction, c->value, S_TERMS);
	return distance * distance + 1 / v->precision + variance_along(&c->known, direction, S_TERMS);
}

static cyc_status step_scale(square_sums *squares, scale_coefficients *c, cyc_series_fit *s,
                             const cyc_ctf_widths *w)
{
	cyc_status st = CYC_OK;
	CYC_TRY(solve_scale(c, s, w));
	for (int32_t f = 0; f < s->n_tilts; f++) {
		cyc_tilt_fit *t = &s->tilts[f];
		if (!t->has_data) continue;
		double log_input = log(t->input_scale), good = 1 - t->p_bad;
		scale_view v = view_scale(t, w, t->s_weight[0], t->s_weight[1], t->log_s_information);
		t->log_s = v.constant + dot(v.follows, c->value, S_TERMS) - log_input;
		t->log_s_variance = 1 / v.precision + variance_along(&c->known, v.follows, S_TERMS);
		double off_trend = scale_square(&v, c, false), off_input = scale_square(&v, c, true);
		squares->trend += good * t->s_weight[0] * off_trend;
		squares->n_trend += good;
		t->s_weight[0] = (STUDENT + 1) / (STUDENT + off_trend / cyc_square(w->s_trend));
		if (!t->input_is_refined) {
			squares->input += good * t->s_weight[1] * off_input;
			squares->n_input += good;
			t->s_weight[1] = (STUDENT + 1) / (STUDENT + off_input / cyc_square(w->s_input));
		}
		/* Prediction for this tilt from the others. */
		scale_view others = view_scale(t, w, 1, 1, 0);
		t->log_s_expected = others.constant + dot(others.follows, c->value, S_TERMS) - log_input;
		t->log_s_expected_variance =
			1 / others.precision + variance_along(&c->known, others.follows, S_TERMS);
	}
done:
	return st;
}

cyc_status cyc_hierarchy_scale(cyc_ctf_widths *w, cyc_series_fit *series, int32_t n_series, bool learn)
{
	cyc_status st = CYC_OK;
	scale_coefficients *c = NULL;
	CYC_TRY(cyc_alloc(&c, n_series, sizeof *c));
	for (int32_t i = 0; i < n_series; i++)
		for (int32_t f = 0; f < series[i].n_tilts; f++)
			series[i].tilts[f].s_weight[0] = series[i].tilts[f].s_weight[1] = 1;
	for (int iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
		square_sums squares = { 0 };
		double moved = 0;
		for (int32_t i = 0; i < n_series; i++) {
			scale_coefficients before = c[i];
			CYC_TRY(step_scale(&squares, &c[i], &series[i], w));
			for (int k = 0; k < S_TERMS; k++) moved = fmax(moved, fabs(c[i].value[k] - before.value[k]));
		}
		cyc_ctf_widths old = *w;
		if (learn) {
			w->s_input = updated_width(squares.input, squares.n_input, S_EXPECTED_INPUT);
			w->s_trend = updated_width(squares.trend, squares.n_trend, S_EXPECTED_TREND);
		}
		if (iteration > 2 && moved < 1e-5 && has_converged(w->s_input, w->s_trend, old.s_input, old.s_trend))
			break;
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
	double(*trend)[3] = NULL;
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
				equations_add(&e, x, t->b, by_trend * (1 - t->p_bad));
			}
			CYC_TRY(equations_solve(trend[i], &e));
			for (int k = 0; k < 3; k++) moved = fmax(moved, fabs(trend[i][k] - before[k]));
			for (int32_t f = 0; f < series[i].n_tilts; f++) {
				const cyc_tilt_fit *t = &series[i].tilts[f];
				if (!t->has_data) continue;
				bfactor_terms(x, t, dose_max);
				squares += (1 - t->p_bad) * (cyc_square(t->b - dot(x, trend[i], 3)) + t->b_variance);
				count += 1 - t->p_bad;
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

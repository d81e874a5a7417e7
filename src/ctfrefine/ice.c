#include "ctfrefine/ice.h"
#include "project/labels.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

enum { MIN_TILTS = 4, MAX_STEPS = 100, START_ANGLES = 17 };
static const double THICKNESS_MEAN = 0.3, THICKNESS_SD = 1, LONGEST_PATH = 10, CONVERGED = 1e-10;
#define ANGLE_SD_RAD (20 * CYC_PI / 180)

static double dot(cyc_vec3 a, cyc_vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static cyc_vec3 cross(cyc_vec3 a, cyc_vec3 b)
{
	return (cyc_vec3){ a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x };
}
static cyc_vec3 mix(double a, cyc_vec3 x, double b, cyc_vec3 y)
{
	return (cyc_vec3){ a * x.x + b * y.x, a * x.y + b * y.y, a * x.z + b * y.z };
}
static cyc_vec3 unit(cyc_vec3 v)
{
	double n = sqrt(dot(v, v));
	return n > 0 ? (cyc_vec3){ v.x / n, v.y / n, v.z / n } : (cyc_vec3){ 0, 0, 1 };
}

static cyc_vec3 view_of(const cyc_tilt *t)
{
	if (t->has_matrix) return unit((cyc_vec3){ t->matrix[2][0], t->matrix[2][1], t->matrix[2][2] });
	cyc_mat3 R = cyc_tilt_to_matrix(t->xtilt_rad, t->ytilt_rad, t->zrot_rad);
	return (cyc_vec3){ R.m[2][0], R.m[2][1], R.m[2][2] };
}

/* Tilt axis: the direction with the smallest component of the views. */
static cyc_status find_frame(cyc_ice_series *s)
{
	cyc_status st = CYC_OK;
	double M[3][3] = { { 0 } }, value[3];
	cyc_vec3 mean = { 0, 0, 0 };
	for (int32_t f = 0; f < s->n_tilts; f++) {
		const double v[3] = { s->tilts[f].view.x, s->tilts[f].view.y, s->tilts[f].view.z };
		mean = mix(1, mean, 1, s->tilts[f].view);
		for (int i = 0; i < 3; i++)
			for (int j = 0; j < 3; j++) M[i][j] += v[i] * v[j];
	}
	CYC_CHECK(LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'V', 'U', 3, &M[0][0], 3, value) == 0, CYC_E_NUMERIC,
	          "the tilt axis cannot be found");
	cyc_vec3 axis = unit((cyc_vec3){ M[0][0], M[1][0], M[2][0] });
	mean = unit(mix(1, mean, -dot(mean, axis), axis));
	s->p = unit(cross(mean, axis));
	s->q = cross(axis, s->p);
	if (dot(s->q, mean) < 0) s->q = mix(-1, s->q, 0, axis);
done:
	return st;
}

cyc_status cyc_ice_series_init(cyc_ice_series *out, const cyc_tilt_series *ts)
{
	cyc_status st = CYC_OK;
	cyc_ice_series s = { .n_tilts = ts->n_tilts, .dose = 1 };
	CYC_TRY(cyc_alloc(&s.tilts, ts->n_tilts, sizeof *s.tilts));
	for (int32_t f = 0; f < ts->n_tilts; f++) s.tilts[f].view = view_of(&ts->tilts[f]);
	CYC_TRY(find_frame(&s));
	s.normal = s.q;
	*out = s;
	memset(&s, 0, sizeof s);
done:
	cyc_ice_series_deinit(&s);
	return st;
}

void cyc_ice_series_deinit(cyc_ice_series *s)
{
	cyc_free(s->tilts);
	memset(s, 0, sizeof *s);
}

/* Path at an angle of the normal, and its derivative. */
static double path_at(double *derivative, const cyc_ice_series *s, int32_t f, double angle)
{
	double vp = dot(s->p, s->tilts[f].view), vq = dot(s->q, s->tilts[f].view),
		   c = cos(angle) * vq + sin(angle) * vp, d = -sin(angle) * vq + cos(angle) * vp;
	*derivative = 0;
	if (fabs(c) * LONGEST_PATH <= 1) return LONGEST_PATH;
	*derivative = -(c < 0 ? -d : d) / (c * c);
	return 1 / fabs(c);
}

double cyc_ice_path(const cyc_ice_series *s, int32_t f)
{
	double ignored;
	return path_at(&ignored, s, f, s->angle_rad);
}

double cyc_ice_scale(double *log_error, const cyc_ice_series *s, int32_t f)
{
	double slope, path = path_at(&slope, s, f, s->angle_rad), variance = 0;
	const double d[3] = { 1, -path, -s->thickness * slope };
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++) variance += d[i] * s->covariance[i][j] * d[j];
	if (log_error) *log_error = sqrt(fmax(variance, 0));
	return s->dose * exp(s->log_luminance - s->thickness * path);
}

/* ---------------------------------------------------------------- fit */

/* Gradient and Gauss-Newton matrix of -log posterior in (log L, tau, phi), and its value. */
typedef struct {
	double value, g[3], H[3][3];
} equations;

static equations equations_of(const cyc_ice_series *s, double log_l, double tau, double phi)
{
	equations e = { .value = 0.5 * (cyc_square((tau - THICKNESS_MEAN) / THICKNESS_SD) +
		                            cyc_square(phi / ANGLE_SD_RAD)) };
	e.g[1] = (tau - THICKNESS_MEAN) / cyc_square(THICKNESS_SD);
	e.g[2] = phi / cyc_square(ANGLE_SD_RAD);
	e.H[1][1] = 1 / cyc_square(THICKNESS_SD);
	e.H[2][2] = 1 / cyc_square(ANGLE_SD_RAD);
	for (int32_t f = 0; f < s->n_tilts; f++) {
		double slope, w = s->tilts[f].precision, path = path_at(&slope, s, f, phi),
					  S = s->dose * exp(log_l - tau * path), residual = S - s->tilts[f].scale;
		const double J[3] = { S, -path * S, -tau * slope * S };
		if (!(w > 0)) continue;
		e.value += 0.5 * w * residual * residual;
		for (int i = 0; i < 3; i++) {
			e.g[i] += w * residual * J[i];
			for (int j = 0; j < 3; j++) e.H[i][j] += w * J[i] * J[j];
		}
	}
	return e;
}

/* Log-linear start at each of several angles; the best stays. */
static void start(cyc_ice_series *s)
{
	double best = 1e300;
	for (int a = 0; a < START_ANGLES; a++) {
		double angle = (a - START_ANGLES / 2) * (CYC_PI / 36), n = 0, x = 0, y = 0, xx = 0, xy = 0;
		for (int32_t f = 0; f < s->n_tilts; f++) {
			double ignored, S = s->tilts[f].scale, w = s->tilts[f].precision * S * S,
							path = path_at(&ignored, s, f, angle);
			if (!(w > 0)) continue;
			n += w;
			x += w * path;
			y += w * log(S / s->dose);
			xx += w * path * path;
			xy += w * path * log(S / s->dose);
		}
		double det = n * xx - x * x,
			   tau = det > 1e-12 * n * xx ? fmax(0, -(n * xy - x * y) / det) : THICKNESS_MEAN,
			   log_l = (y + tau * x) / n;
		double value = equations_of(s, log_l, tau, angle).value;
		if (!(value < best)) continue;
		best = value;
		s->log_luminance = log_l;
		s->thickness = tau;
		s->angle_rad = angle;
	}
}

/* Solve A x = b of two unknowns for `n` right sides. */
static void solve2(double (*x)[2], double A[2][2], double (*b)[2], int n)
{
	double det = A[0][0] * A[1][1] - A[0][1] * A[1][0];
	for (int i = 0; i < n; i++) {
		double b0 = b[i][0], b1 = b[i][1];
		x[i][0] = (A[1][1] * b0 - A[0][1] * b1) / det;
		x[i][1] = (A[0][0] * b1 - A[1][0] * b0) / det;
	}
}

typedef struct {
	double log_l, tau, phi;
} place;

/* One damped step of all series that share L: thickness and angle of each are eliminated. The value before
 * it.      (T4.25) */
static double try_step(place *to, cyc_ice_series *const *series, int32_t n, double damping)
{
	double value = 0, C = 0, G = 0, dL;
	for (int pass = 0; pass < 2; pass++) {
		dL = pass ? -G / C : 0;
		for (int32_t i = 0; i < n; i++) {
			const cyc_ice_series *s = series[i];
			equations e = equations_of(s, s->log_luminance, s->thickness, s->angle_rad);
			double A[2][2] = { { e.H[1][1] * (1 + damping), e.H[1][2] },
				               { e.H[2][1], e.H[2][2] * (1 + damping) } };
			double right[2][2] = { { e.H[1][0], e.H[2][0] }, { e.g[1], e.g[2] } }, x[2][2];
			solve2(x, A, right, 2);
			if (!pass) {
				value += e.value;
				C += e.H[0][0] * (1 + damping) - e.H[0][1] * x[0][0] - e.H[0][2] * x[0][1];
				G += e.g[0] - e.H[0][1] * x[1][0] - e.H[0][2] * x[1][1];
			} else {
				to[i] = (place){ s->log_luminance + dL, fmax(0, s->thickness - x[1][0] - x[0][0] * dL),
					             s->angle_rad - x[1][1] - x[0][1] * dL };
			}
		}
	}
	return value;
}

static cyc_status descend(cyc_ice_series *const *series, int32_t n)
{
	cyc_status st = CYC_OK;
	place *to = NULL;
	double damping = 1e-3;
	CYC_TRY(cyc_alloc(&to, n, sizeof *to));
	for (int step = 0; step < MAX_STEPS && damping < 1e9; step++) {
		double before = try_step(to, series, n, damping), after = 0;
		for (int32_t i = 0; i < n; i++)
			after += equations_of(series[i], to[i].log_l, to[i].tau, to[i].phi).value;
		if (!(after <= before)) {
			damping *= 10;
			continue;
		}
		damping *= 0.2;
		for (int32_t i = 0; i < n; i++) {
			series[i]->log_luminance = to[i].log_l;
			series[i]->thickness = to[i].tau;
			series[i]->angle_rad = to[i].phi;
		}
		if (before - after < CONVERGED * (1 + after)) break;
	}
done:
	cyc_free(to);
	return st;
}

static cyc_status finish(cyc_ice_series *s)
{
	cyc_status st = CYC_OK;
	equations e = equations_of(s, s->log_luminance, s->thickness, s->angle_rad);
	s->normal = mix(cos(s->angle_rad), s->q, sin(s->angle_rad), s->p);
	CYC_CHECK(LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'U', 3, &e.H[0][0], 3) == 0 &&
	              LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'U', 3, &e.H[0][0], 3) == 0,
	          CYC_E_NUMERIC, "the errors of the ice thickness cannot be determined");
	for (int i = 0; i < 3; i++)
		for (int j = i; j < 3; j++) s->covariance[i][j] = s->covariance[j][i] = e.H[i][j];
	s->is_fitted = true;
done:
	return st;
}

cyc_status cyc_ice_fit(cyc_ice_series *series, int32_t n_series, bool is_global)
{
	cyc_status st = CYC_OK;
	cyc_ice_series **fitted = NULL;
	int32_t n = 0;
	double sum = 0;
	CYC_TRY(cyc_alloc(&fitted, n_series, sizeof *fitted));
	for (int32_t i = 0; i < n_series; i++) {
		int32_t n_measured = 0;
		for (int32_t f = 0; f < series[i].n_tilts; f++)
			n_measured += series[i].tilts[f].precision > 0 && series[i].tilts[f].scale > 0;
		if (n_measured >= MIN_TILTS) fitted[n++] = &series[i];
	}
	for (int32_t i = 0; i < n; i++) {
		start(fitted[i]);
		CYC_TRY(descend(&fitted[i], 1));
		sum += fitted[i]->log_luminance;
	}
	if (is_global && n > 0) {
		for (int32_t i = 0; i < n; i++) fitted[i]->log_luminance = sum / n;
		CYC_TRY(descend(fitted, n));
	}
	for (int32_t i = 0; i < n; i++) CYC_TRY(finish(fitted[i]));
done:
	cyc_free(fitted);
	return st;
}

/* ---------------------------------------------------------------- file */

cyc_status cyc_ice_put(cyc_tomogram_set *set, const cyc_ice_series *series, double gauge)
{
	cyc_status st = CYC_OK;
	cyc_star_block *global;
	CYC_TRY(cyc_star_require(&global, set->star, "global"));
	for (int32_t i = 0; i < set->n_series; i++) {
		const cyc_ice_series *s = &series[i];
		/* As RELION has it in its global mode, the luminance is that of the data set, without the dose. */
		const struct {
			const char *label, *fill;
			double value;
		} COLUMNS[] = { { CYC_RLN_TOMO_RELATIVE_LUMINANCE, "1.000000", gauge * exp(s->log_luminance) },
			            { CYC_RLN_TOMO_RELATIVE_ICE_THICKNESS, "0.000000", s->thickness },
			            { CYC_RLN_TOMO_ICE_NORMAL_X, "0.000000", s->normal.x },
			            { CYC_RLN_TOMO_ICE_NORMAL_Y, "0.000000", s->normal.y },
			            { CYC_RLN_TOMO_ICE_NORMAL_Z, "1.000000", s->normal.z } };
		if (!s->is_fitted) continue;
		for (size_t k = 0; k < sizeof COLUMNS / sizeof *COLUMNS; k++) {
			int32_t column;
			CYC_TRY(cyc_star_ensure_column(&column, global, COLUMNS[k].label, COLUMNS[k].fill));
			CYC_TRY(cyc_star_set_double(global, i, column, COLUMNS[k].value));
		}
	}
done:
	return st;
}

#include "polish/alignment.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

/*
 * Parameters, standardised by their prior widths: per tilt 3 rotation angles and 2 shifts, per particle 3 offsets, then the
 * motion modes (step, axis, mode). Blocks that are not refined have zero derivatives and so stay zero.
 */
enum { PER_TILT = 5 };

static size_t particle_block(const cyc_alignment *a) { return (size_t)PER_TILT * (size_t)a->n_tilts; }
static size_t motion_block(const cyc_alignment *a) { return particle_block(a) + 3 * (size_t)a->n_particles; }
static size_t n_modes(const cyc_alignment *a) { return a->motion ? (size_t)a->motion->n_modes : 0; }

int64_t cyc_alignment_n_parameters(const cyc_alignment *a) { return (int64_t)(motion_block(a) + (size_t)(a->n_tilts - 1) * 3 * n_modes(a)); }
int64_t cyc_alignment_scratch(const cyc_alignment *a) { return 3 * (int64_t)a->n_particles * a->n_tilts; }

/* What the stage says of an angle, to which the series' own constant is added; false if it says nothing. */
static bool expected_angle(double *angle, const cyc_alignment *a, int32_t f, int k)
{
	*angle = k == 1 ? a->ts->tilts[f].nominal_tilt_rad : 0;
	return k != 1 || a->ts->tilts[f].has_nominal_tilt;
}

/* Mean over the tilts of angle minus expectation; in-plane angles are compared with the first, as they may wrap. */
static double angle_constant(const cyc_alignment *a, int k)
{
	double sum = 0, n = 0, first = a->base_angles[k];
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double expected;
		if (!expected_angle(&expected, a, f, k)) continue;
		double v = a->base_angles[3 * f + k] + a->angles[3 * f + k] - expected;
		sum += k == 2 ? remainder(v - first, 2 * CYC_PI) : v;
		n++;
	}
	return n > 0 ? sum / n + (k == 2 ? first : 0) : 0;
}

/* Distance of an angle from the series' geometry. */
static double from_trend(const cyc_alignment *a, int32_t f, int k, double constant, double change)
{
	double expected;
	if (!expected_angle(&expected, a, f, k)) return 0;
	return remainder(a->base_angles[3 * f + k] + change - expected - constant, 2 * CYC_PI);
}

/* Two normal priors are one: its centre and width. */
static void centre_angles(cyc_alignment *a)
{
	double by_input = 1 / cyc_square(a->widths.angle_input_rad), by_trend = 1 / cyc_square(a->widths.angle_trend_rad);
	a->angle_width_rad = 1 / sqrt(by_input + by_trend);
	for (int k = 0; k < 3; k++) {
		double constant = angle_constant(a, k);
		for (int32_t f = 0; f < a->n_tilts; f++) a->angle_centre[3 * f + k] = -by_trend * from_trend(a, f, k, constant, 0) / (by_input + by_trend);
	}
}

cyc_status cyc_alignment_init(cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)a->n_tilts, N = (size_t)a->n_particles;
	a->tilts = NULL;
	a->offsets_A = NULL;
	a->modes = a->angles = a->base_angles = a->angle_centre = a->displacement_A = NULL;
	CYC_TRY(cyc_alloc(&a->tilts, T, sizeof *a->tilts));
	CYC_TRY(cyc_alloc(&a->offsets_A, N, sizeof *a->offsets_A));
	CYC_TRY(cyc_alloc(&a->angles, 3 * T, sizeof *a->angles));
	CYC_TRY(cyc_alloc(&a->base_angles, 3 * T, sizeof *a->base_angles));
	CYC_TRY(cyc_alloc(&a->angle_centre, 3 * T, sizeof *a->angle_centre));
	CYC_TRY(cyc_alloc(&a->displacement_A, 3 * N * T, sizeof *a->displacement_A));
	CYC_TRY(cyc_alloc(&a->modes, (T - 1) * 3 * n_modes(a) + 1, sizeof *a->modes));
	for (size_t f = 0; f < T; f++) {
		double *b = a->base_angles + 3 * f;
		a->tilts[f].Q = cyc_mat3_identity();
		cyc_tilt_from_matrix(&b[0], &b[1], &b[2], a->projections[f].linear);
	}
	centre_angles(a);
	for (size_t p = 0; p < N && !a->motion; p++)
		for (size_t j = 0; a->old_motion_A && a->old_motion_A[p] && j < 3 * T; j++) a->displacement_A[3 * T * p + j] = (double)a->old_motion_A[p][j];
done:
	if (st != CYC_OK) cyc_alignment_deinit(a);
	return st;
}

void cyc_alignment_deinit(cyc_alignment *a)
{
	cyc_free(a->tilts);
	cyc_free(a->offsets_A);
	cyc_free(a->angles);
	cyc_free(a->base_angles);
	cyc_free(a->angle_centre);
	cyc_free(a->displacement_A);
	cyc_free(a->modes);
	a->tilts = NULL;
	a->offsets_A = NULL;
	a->angles = a->base_angles = a->angle_centre = a->displacement_A = a->modes = NULL;
}

/* ---------------------------------------------------------------- geometry */

/* Position in the specimen, and R x / px in the image's frame before the change. */
static cyc_vec3 specimen(const cyc_alignment *a, int32_t p, int32_t f)
{
	cyc_vec3 r = a->positions_A[p], o = a->offsets_A[p];
	const double *m = a->displacement_A + 3 * ((size_t)p * (size_t)a->n_tilts + (size_t)f);
	return (cyc_vec3){ r.x + o.x + m[0], r.y + o.y + m[1], r.z + o.z + m[2] };
}

void cyc_alignment_position(double at[2], const cyc_alignment *a, int32_t p, int32_t f)
{
	const cyc_projection *P = &a->projections[f];
	double s = 1 / P->pixel_size_A, dx, dy;
	cyc_vec3 x = cyc_mat3_apply(a->tilts[f].Q, cyc_mat3_apply(P->linear, specimen(a, p, f)));
	at[0] = s * (x.x + a->tilts[f].shift_A[0]) + P->origin_px.x;
	at[1] = s * (x.y + a->tilts[f].shift_A[1]) + P->origin_px.y;
	cyc_deformation(&dx, &dy, a->ts, f, at[0], at[1]);
	at[0] += dx;
	at[1] += dy;
}

static const cyc_pair *pair_of(const cyc_alignment *a, int32_t p, int32_t f) { return &a->pairs[(size_t)p * (size_t)a->n_tilts + (size_t)f]; }
static bool is_seen(const cyc_alignment *a, int32_t p, int32_t f) { return pair_of(a, p, f)->map && !(a->left_out && a->left_out[p]); }

/* Derivatives of the image position [px] in the standardised parameters of one pair: 2 x 3 angles, 2 shifts (diagonal), 2 x 3
 * specimen axes (per Å). */
typedef struct {
	double angle[2][3], shift, axes[2][3];
} jacobian;

static jacobian derivatives(const cyc_alignment *a, int32_t p, int32_t f)
{
	jacobian j;
	const cyc_projection *P = &a->projections[f];
	double s = 1 / P->pixel_size_A;
	cyc_mat3 R = cyc_mat3_mul(a->tilts[f].Q, P->linear);
	cyc_vec3 x = cyc_mat3_apply(R, specimen(a, p, f));
	double by_angle = a->do_angles ? s * a->angle_width_rad : 0;
	/* R = Rz Ry Rx turns about these axes of the image: Rz Ry ex, Rz ey, ez; d(R x) = axis x (R x). */
	double y = a->base_angles[3 * f + 1] + a->angles[3 * f + 1], z = a->base_angles[3 * f + 2] + a->angles[3 * f + 2];
	const double axis[3][3] = { { cos(z) * cos(y), sin(z) * cos(y), -sin(y) }, { -sin(z), cos(z), 0 }, { 0, 0, 1 } };
	for (int k = 0; k < 3; k++) {
		j.angle[0][k] = by_angle * (axis[k][1] * x.z - axis[k][2] * x.y);
		j.angle[1][k] = by_angle * (axis[k][2] * x.x - axis[k][0] * x.z);
		for (int i = 0; i < 2; i++) j.axes[i][k] = s * R.m[i][k];
	}
	j.shift = a->do_shifts ? s * a->widths.shift_A : 0;
	return j;
}

static double chronological_sigma(const cyc_alignment *a, int32_t step) { return a->step_sigma_A[step]; }

/* Displacements of all particles from mode coefficients: velocities, then their sum over steps. */
static void modes_to_displacement(double *out, const cyc_alignment *a, const double *modes)
{
	size_t T = (size_t)a->n_tilts, B = n_modes(a);
	for (int32_t p = 0; p < a->n_particles; p++) {
		const double *row = a->motion->modes + (size_t)p * B;
		double at[3] = { 0, 0, 0 };
		for (int k = 0; k < 3; k++) out[3 * (T * (size_t)p + (size_t)a->order[0]) + (size_t)k] = 0;
		for (size_t t = 0; t + 1 < T; t++)
			for (size_t k = 0; k < 3; k++) {
				const double *xi = modes + (3 * t + k) * B;
				double v = 0;
				for (size_t b = 0; b < B; b++) v += row[b] * xi[b];
				at[k] += chronological_sigma(a, (int32_t)t) * v;
				out[3 * (T * (size_t)p + (size_t)a->order[t + 1]) + k] = at[k];
			}
	}
}

/* The transpose: forces on displacements (destroyed) to mode coefficients. */
static void displacement_to_modes(double *modes, const cyc_alignment *a, double *force)
{
	size_t T = (size_t)a->n_tilts, B = n_modes(a);
	memset(modes, 0, (T - 1) * 3 * B * sizeof *modes);
	for (int32_t p = 0; p < a->n_particles; p++) {
		const double *row = a->motion->modes + (size_t)p * B;
		double sum[3] = { 0, 0, 0 };
		for (size_t t = T - 1; t-- > 0;)
			for (size_t k = 0; k < 3; k++) {
				sum[k] += force[3 * (T * (size_t)p + (size_t)a->order[t + 1]) + k];
				double g = sum[k] * chronological_sigma(a, (int32_t)t), *xi = modes + (3 * t + k) * B;
				for (size_t b = 0; b < B; b++) xi[b] += g * row[b];
			}
	}
}

/* ---------------------------------------------------------------- value, gradient, curvature */

static double pair_value(double gradient[2], const cyc_alignment *a, int32_t p, int32_t f)
{
	const cyc_pair *pair = pair_of(a, p, f);
	double at[2], reach = cyc_local_map_reach(a->grid), scale = 2 * a->amplitude * a->particle_weight[p], penalty = 0;
	cyc_alignment_position(at, a, p, f);
	double x = at[0] - pair->start_px[0], y = at[1] - pair->start_px[1], d[2] = { x, y };
	double value = scale * cyc_local_map_value(gradient, pair->map, a->grid, x, y);
	for (int k = 0; k < 2; k++) {
		gradient[k] *= scale;
		/* Outside the map a spring of the expected stiffness leads back. */
		double excess = fabs(d[k]) - reach, stiffness = cyc_square(a->amplitude) * a->particle_weight[p] * pair->curve[2 * k];
		if (excess <= 0) continue;
		penalty -= 0.5 * stiffness * excess * excess;
		gradient[k] -= stiffness * excess * (d[k] > 0 ? 1 : -1);
	}
	return value + penalty;
}

double cyc_alignment_log_likelihood(const cyc_alignment *a)
{
	double sum = 0, g[2];
	for (int32_t p = 0; p < a->n_particles; p++)
		for (int32_t f = 0; f < a->n_tilts; f++)
			if (is_seen(a, p, f)) sum += pair_value(g, a, p, f);
	return sum;
}

/* The solution in standardised parameters, as the prior sees it. */
static void standardised(double *x, const cyc_alignment *a)
{
	double *o = x + particle_block(a);
	for (int32_t f = 0; f < a->n_tilts; f++) {
		for (int k = 0; k < 3; k++) x[PER_TILT * f + k] = a->do_angles ? (a->angles[3 * f + k] - a->angle_centre[3 * f + k]) / a->angle_width_rad : 0;
		for (int k = 0; k < 2; k++) x[PER_TILT * f + 3 + k] = a->tilts[f].shift_A[k] / a->widths.shift_A;
	}
	for (int32_t p = 0; p < a->n_particles; p++, o += 3) {
		o[0] = a->offsets_A[p].x / a->widths.position_A;
		o[1] = a->offsets_A[p].y / a->widths.position_A;
		o[2] = a->offsets_A[p].z / a->widths.position_A;
	}
	memcpy(x + motion_block(a), a->modes, (size_t)(a->n_tilts - 1) * 3 * n_modes(a) * sizeof *x);
}

double cyc_alignment_log_prior(const cyc_alignment *a)
{
	double sum = 0;
	for (int32_t f = 0; f < a->n_tilts; f++) {
		for (int k = 0; k < 3 && a->do_angles; k++) sum += cyc_square((a->angles[3 * f + k] - a->angle_centre[3 * f + k]) / a->angle_width_rad);
		for (int k = 0; k < 2; k++) sum += cyc_square(a->tilts[f].shift_A[k] / a->widths.shift_A);
	}
	for (int32_t p = 0; p < a->n_particles; p++)
		sum += (cyc_square(a->offsets_A[p].x) + cyc_square(a->offsets_A[p].y) + cyc_square(a->offsets_A[p].z)) / cyc_square(a->widths.position_A);
	for (size_t i = 0; i < (size_t)(a->n_tilts - 1) * 3 * n_modes(a); i++) sum += a->modes[i] * a->modes[i];
	return -0.5 * sum;
}

/* Adjoint of the derivatives: image-space forces of all pairs to standardised parameters. `force` and `displacement` are
 * n_particles x n_tilts x (2, 3). */
typedef void (*pair_force)(double force[2], const cyc_alignment *a, int32_t p, int32_t f, const jacobian *j, const double *v, const double *moved);

static void gather(double *out, const cyc_alignment *a, pair_force force_of, const double *v, double *scratch)
{
	double *o = out + particle_block(a);
	memset(out, 0, (size_t)cyc_alignment_n_parameters(a) * sizeof *out);
	for (int32_t p = 0; p < a->n_particles; p++)
		for (int32_t f = 0; f < a->n_tilts; f++) {
			double *moved = scratch + 3 * ((size_t)p * (size_t)a->n_tilts + (size_t)f), force[2], back[3];
			if (!is_seen(a, p, f)) {
				memset(moved, 0, 3 * sizeof *moved);
				continue;
			}
			jacobian j = derivatives(a, p, f);
			force_of(force, a, p, f, &j, v, moved);
			double *tilt = out + PER_TILT * f;
			for (int k = 0; k < 3; k++) {
				tilt[k] += j.angle[0][k] * force[0] + j.angle[1][k] * force[1];
				back[k] = j.axes[0][k] * force[0] + j.axes[1][k] * force[1];
			}
			for (int k = 0; k < 2; k++) tilt[3 + k] += j.shift * force[k];
			for (int k = 0; k < 3; k++) {
				if (a->do_positions) o[3 * p + k] += a->widths.position_A * back[k];
				moved[k] = back[k];
			}
		}
	if (a->motion) displacement_to_modes(out + motion_block(a), a, scratch);
}

static void slope_force(double force[2], const cyc_alignment *a, int32_t p, int32_t f, const jacobian *j, const double *v, const double *moved)
{
	(void)j;
	(void)v;
	(void)moved;
	(void)pair_value(force, a, p, f);
}

static void curvature_force(double force[2], const cyc_alignment *a, int32_t p, int32_t f, const jacobian *j, const double *v, const double *moved)
{
	const cyc_pair *pair = pair_of(a, p, f);
	const double *tilt = v + PER_TILT * f, *o = v + particle_block(a) + 3 * (size_t)p;
	double l[2], scale = cyc_square(a->amplitude) * a->particle_weight[p];
	for (int i = 0; i < 2; i++) {
		l[i] = j->shift * tilt[3 + i];
		for (int k = 0; k < 3; k++) {
			l[i] += j->angle[i][k] * tilt[k];
			if (a->do_positions) l[i] += a->widths.position_A * j->axes[i][k] * o[k];
			if (a->motion) l[i] += j->axes[i][k] * moved[k];
		}
	}
	force[0] = scale * (pair->curve[0] * l[0] + pair->curve[1] * l[1]);
	force[1] = scale * (pair->curve[1] * l[0] + pair->curve[2] * l[1]);
}

void cyc_alignment_curvature(double *out, const cyc_alignment *a, const double *v, double *scratch)
{
	if (a->motion) modes_to_displacement(scratch, a, v + motion_block(a));
	gather(out, a, curvature_force, v, scratch);
	for (int64_t i = 0; i < cyc_alignment_n_parameters(a); i++) out[i] += v[i];
}

/* Gradient with scratch of the caller. */
static void gradient_into(double *gradient, const cyc_alignment *a, double *x, double *scratch)
{
	gather(gradient, a, slope_force, NULL, scratch);
	standardised(x, a);
	for (int64_t i = 0; i < cyc_alignment_n_parameters(a); i++) gradient[i] -= x[i];
}

void cyc_alignment_gradient(double *gradient, const cyc_alignment *a)
{
	double *x = NULL, *scratch = NULL;
	if (cyc_alloc(&x, cyc_alignment_n_parameters(a), sizeof *x) == CYC_OK && cyc_alloc(&scratch, cyc_alignment_scratch(a), sizeof *scratch) == CYC_OK)
		gradient_into(gradient, a, x, scratch);
	cyc_free(x);
	cyc_free(scratch);
}

void cyc_alignment_step(cyc_alignment *a, const double *step, double factor)
{
	const double *o = step + particle_block(a), *m = step + motion_block(a);
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double *angle = a->angles + 3 * f, *base = a->base_angles + 3 * f;
		if (a->do_angles) {
			for (int k = 0; k < 3; k++) angle[k] += factor * a->angle_width_rad * step[PER_TILT * f + k];
			cyc_mat3 R = cyc_tilt_to_matrix(base[0] + angle[0], base[1] + angle[1], base[2] + angle[2]), R0 = cyc_tilt_to_matrix(base[0], base[1], base[2]);
			a->tilts[f].Q = cyc_mat3_mul(R, cyc_mat3_transpose(R0));
		}
		for (int k = 0; k < 2; k++) a->tilts[f].shift_A[k] += factor * a->widths.shift_A * step[PER_TILT * f + 3 + k];
	}
	for (int32_t p = 0; p < a->n_particles; p++) {
		double s = factor * a->widths.position_A;
		a->offsets_A[p].x += s * o[3 * p];
		a->offsets_A[p].y += s * o[3 * p + 1];
		a->offsets_A[p].z += s * o[3 * p + 2];
	}
	if (!a->motion) return;
	for (size_t i = 0; i < (size_t)(a->n_tilts - 1) * 3 * n_modes(a); i++) a->modes[i] += factor * m[i];
	modes_to_displacement(a->displacement_A, a, a->modes);
}

/* ---------------------------------------------------------------- optimiser */

enum { MAX_ROUNDS = 12, FEW_ROUNDS = 4, MAX_CG = 60, WIDTH_ROUNDS = 3 };
static const double CG_TOLERANCE = 1e-2, SETTLED_PX = 0.02;

typedef struct {
	int64_t n;
	double *x, *g, *d, *r, *z, *p, *Ap, *diagonal, *scratch;
} workspace;

static cyc_status workspace_create(workspace *w, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	w->n = cyc_alignment_n_parameters(a);
	double **const all[] = { &w->x, &w->g, &w->d, &w->r, &w->z, &w->p, &w->Ap, &w->diagonal };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) CYC_TRY(cyc_alloc(all[i], w->n, sizeof(double)));
	CYC_TRY(cyc_alloc(&w->scratch, cyc_alignment_scratch(a), sizeof *w->scratch));
done:
	return st;
}

static void workspace_deinit(workspace *w)
{
	double *const all[] = { w->x, w->g, w->d, w->r, w->z, w->p, w->Ap, w->diagonal, w->scratch };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(all[i]);
}

/* Diagonal of the curvature for tilts and particles; 1, the prior's, for the modes. */
static void fill_diagonal(double *diagonal, const cyc_alignment *a)
{
	for (int64_t i = 0; i < cyc_alignment_n_parameters(a); i++) diagonal[i] = 1;
	for (int32_t p = 0; p < a->n_particles; p++)
		for (int32_t f = 0; f < a->n_tilts; f++) {
			const cyc_pair *pair = pair_of(a, p, f);
			if (!is_seen(a, p, f)) continue;
			jacobian j = derivatives(a, p, f);
			double scale = cyc_square(a->amplitude) * a->particle_weight[p], *tilt = diagonal + PER_TILT * f, *o = diagonal + particle_block(a) + 3 * (size_t)p;
			for (int k = 0; k < 3; k++) {
				const double u[2] = { j.angle[0][k], j.angle[1][k] }, v[2] = { j.axes[0][k], j.axes[1][k] };
				tilt[k] += scale * (pair->curve[0] * u[0] * u[0] + 2 * pair->curve[1] * u[0] * u[1] + pair->curve[2] * u[1] * u[1]);
				if (a->do_positions)
					o[k] += scale * cyc_square(a->widths.position_A) * (pair->curve[0] * v[0] * v[0] + 2 * pair->curve[1] * v[0] * v[1] + pair->curve[2] * v[1] * v[1]);
			}
			tilt[3] += scale * pair->curve[0] * j.shift * j.shift;
			tilt[4] += scale * pair->curve[2] * j.shift * j.shift;
		}
}

static double inner(const double *a, const double *b, int64_t n)
{
	double s = 0;
	for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
	return s;
}

/* Gauss-Newton step: (1 + A^T J A) d = g by conjugate gradients. */
static void newton_step(workspace *w, const cyc_alignment *a)
{
	memset(w->d, 0, (size_t)w->n * sizeof *w->d);
	memcpy(w->r, w->g, (size_t)w->n * sizeof *w->r);
	for (int64_t i = 0; i < w->n; i++) w->p[i] = w->z[i] = w->r[i] / w->diagonal[i];
	double rz = inner(w->r, w->z, w->n), first = rz;
	for (int iteration = 0; iteration < MAX_CG && rz > cyc_square(CG_TOLERANCE) * first; iteration++) {
		cyc_alignment_curvature(w->Ap, a, w->p, w->scratch);
		double alpha = rz / inner(w->p, w->Ap, w->n);
		for (int64_t i = 0; i < w->n; i++) {
			w->d[i] += alpha * w->p[i];
			w->r[i] -= alpha * w->Ap[i];
			w->z[i] = w->r[i] / w->diagonal[i];
		}
		double next = inner(w->r, w->z, w->n), beta = next / rz;
		rz = next;
		for (int64_t i = 0; i < w->n; i++) w->p[i] = w->z[i] + beta * w->p[i];
	}
}

/* Largest change of an image position between the solution and one `factor` steps back, by the tilts' shifts and offsets alone:
 * enough to see whether the rounds have settled. */
static double step_length_px(const cyc_alignment *a, const double *d, double factor)
{
	double longest = 0, s = factor / a->ts->pixel_size_A;
	for (int32_t f = 0; f < a->n_tilts; f++)
		for (int k = 3; k < 5; k++) longest = fmax(longest, fabs(s * a->widths.shift_A * d[PER_TILT * f + k]));
	for (int32_t i = 0; i < 3 * a->n_particles; i++) longest = fmax(longest, fabs(s * a->widths.position_A * d[particle_block(a) + (size_t)i]));
	return longest;
}

static int optimise(cyc_alignment *a, workspace *w, int max_rounds)
{
	double value = cyc_alignment_log_likelihood(a) + cyc_alignment_log_prior(a);
	int round = 0;
	for (; round < max_rounds; round++) {
		gradient_into(w->g, a, w->x, w->scratch);
		fill_diagonal(w->diagonal, a);
		newton_step(w, a);
		double factor = 1, done = 0, next = value;
		for (int half = 0; half < 6; half++, factor *= 0.5) { /* backtracking: `done` is how far along the step the solution is */
			cyc_alignment_step(a, w->d, factor - done);
			done = factor;
			next = cyc_alignment_log_likelihood(a) + cyc_alignment_log_prior(a);
			if (next > value) break;
		}
		if (!(next > value)) {
			cyc_alignment_step(a, w->d, -done);
			break;
		}
		double length = step_length_px(a, w->d, done);
		value = next;
		if (length < SETTLED_PX) break;
	}
	return round;
}

static double spread(double sum_of_squares, double count, double expected) { return sqrt((sum_of_squares + 10 * expected * expected) / (count + 10)); }

/*
 * Prior widths from the solution and its errors, and with them the centres of the angles.                            (T6.7)
 * An input that was refined on these images agrees with them for that reason, not because it is right: widths below the
 * least would nail down its errors. Positions are seen by all tilts and need no more than a wide prior.
 */
static const double LEAST_ANGLE_RAD = 0.1 * CYC_PI / 180, LEAST_SHIFT_A = 2;

static cyc_status learn_widths(cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	double input = 0, trend = 0, shifts = 0, *tilt_errors = NULL, *particle_errors = NULL;
	CYC_TRY(cyc_alloc(&tilt_errors, PER_TILT * (size_t)a->n_tilts, sizeof *tilt_errors));
	CYC_TRY(cyc_alloc(&particle_errors, 3 * (size_t)a->n_particles, sizeof *particle_errors));
	CYC_TRY(cyc_alignment_errors(tilt_errors, particle_errors, a));
	for (int k = 0; k < 3; k++) {
		double constant = angle_constant(a, k);
		for (int32_t f = 0; f < a->n_tilts; f++) {
			double variance = cyc_square(tilt_errors[PER_TILT * f + k]);
			input += cyc_square(a->angles[3 * f + k]) + variance;
			trend += cyc_square(from_trend(a, f, k, constant, a->angles[3 * f + k])) + variance;
		}
	}
	for (int32_t f = 0; f < a->n_tilts; f++)
		for (int k = 0; k < 2; k++) shifts += cyc_square(a->tilts[f].shift_A[k]) + cyc_square(tilt_errors[PER_TILT * f + 3 + k]);
	if (a->do_angles) {
		a->widths.angle_input_rad = fmax(spread(input, 3.0 * a->n_tilts, cyc_deg_to_rad(0.1)), LEAST_ANGLE_RAD);
		a->widths.angle_trend_rad = spread(trend, 3.0 * a->n_tilts, cyc_deg_to_rad(0.1));
		centre_angles(a);
	}
	if (a->do_shifts) a->widths.shift_A = fmax(spread(shifts, 2.0 * a->n_tilts, 1.0), LEAST_SHIFT_A);
done:
	cyc_free(tilt_errors);
	cyc_free(particle_errors);
	return st;
}

/* Strength of the images over the prediction, and particles that do not look like the reference.                   (T6.8) */
static void learn_amplitude(cyc_alignment *a)
{
	double cross = 0, power = 0, g[2];
	for (int32_t p = 0; p < a->n_particles; p++) {
		double c = 0, q = 0;
		if (a->left_out && a->left_out[p]) continue;
		for (int32_t f = 0; f < a->n_tilts; f++) {
			const cyc_pair *pair = pair_of(a, p, f);
			if (!is_seen(a, p, f)) continue;
			double at[2];
			cyc_alignment_position(at, a, p, f);
			c += cyc_local_map_value(g, pair->map, a->grid, at[0] - pair->start_px[0], at[1] - pair->start_px[1]);
			q += pair->power;
		}
		/* A particle that agrees five times less than its peers (a->amplitude) is a neighbour, an aggregate or empty ice. */
		double strength = q > 0 ? c / q : 0, least = 0.2 * a->amplitude;
		a->particle_weight[p] = strength >= least ? 1 : strength > 0 ? strength / least : 0;
		cross += a->particle_weight[p] * c;
		power += a->particle_weight[p] * q;
	}
	if (power > 0 && cross > 0) a->amplitude = cross / power;
}

void cyc_alignment_search_shifts(cyc_alignment *a)
{
	double reach = cyc_local_map_reach(a->grid), step = 0.5 * a->grid.step_px, g[2];
	int32_t half = (int32_t)(reach / step);
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double best = -1e300, at[2], found[2] = { 0, 0 }, stiffness = 1 / cyc_square(a->widths.shift_A / a->ts->pixel_size_A);
		for (int32_t y = -half; y <= half; y++)
			for (int32_t x = -half; x <= half; x++) {
				double dx = x * step, dy = y * step, sum = -0.5 * stiffness * (dx * dx + dy * dy);
				for (int32_t p = 0; p < a->n_particles; p++) {
					const cyc_pair *pair = pair_of(a, p, f);
					if (!is_seen(a, p, f)) continue;
					cyc_alignment_position(at, a, p, f);
					sum += 2 * a->amplitude * a->particle_weight[p] *
					       cyc_local_map_value(g, pair->map, a->grid, at[0] - pair->start_px[0] + dx, at[1] - pair->start_px[1] + dy);
				}
				if (sum > best) {
					best = sum;
					found[0] = dx;
					found[1] = dy;
				}
			}
		for (int k = 0; k < 2; k++) a->tilts[f].shift_A[k] += found[k] * a->ts->pixel_size_A;
	}
}

cyc_status cyc_alignment_solve(cyc_alignment *a, bool learn)
{
	cyc_status st = CYC_OK;
	workspace w = { 0 };
	CYC_TRY(workspace_create(&w, a));
	if (a->do_shifts) cyc_alignment_search_shifts(a);
	for (int round = 0; round < (learn ? WIDTH_ROUNDS : 1); round++) {
		CYC_TRY(cyc_cancel_check());
		learn_amplitude(a);
		int n = optimise(a, &w, learn && round + 1 == WIDTH_ROUNDS ? MAX_ROUNDS : FEW_ROUNDS);
		if (learn) CYC_TRY(learn_widths(a));
		cyc_debug("%s: %d rounds, amplitude %.3f, log likelihood %.1f, prior %.1f; widths %.3f / %.3f deg, %.2f A, %.2f A", a->ts->name, n + 1, a->amplitude,
		          cyc_alignment_log_likelihood(a), cyc_alignment_log_prior(a), cyc_rad_to_deg(a->widths.angle_input_rad), cyc_rad_to_deg(a->widths.angle_trend_rad), a->widths.shift_A, a->widths.position_A);
	}
done:
	workspace_deinit(&w);
	return st;
}

/* ---------------------------------------------------------------- gauge and errors */

void cyc_alignment_fix_gauge(cyc_alignment *a)
{
	/* Rotation of each tilt as seen in the specimen, R^T Q R; small, so vectors can be averaged. */
	double mean[3] = { 0, 0, 0 }, weight = 0;
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double w = 0;
		for (int32_t p = 0; p < a->n_particles; p++) w += is_seen(a, p, f) ? pair_of(a, p, f)->power : 0;
		/* Small: half the antisymmetric part is the rotation vector. */
		const cyc_mat3 *Q = &a->tilts[f].Q;
		const double v[3] = { 0.5 * (Q->m[2][1] - Q->m[1][2]), 0.5 * (Q->m[0][2] - Q->m[2][0]), 0.5 * (Q->m[1][0] - Q->m[0][1]) };
		cyc_vec3 u = cyc_mat3_apply(cyc_mat3_transpose(a->projections[f].linear), (cyc_vec3){ v[0], v[1], v[2] });
		mean[0] += w * u.x;
		mean[1] += w * u.y;
		mean[2] += w * u.z;
		weight += w;
	}
	double length = weight > 0 ? sqrt(mean[0] * mean[0] + mean[1] * mean[1] + mean[2] * mean[2]) / weight : 0;
	if (!(length > 0)) return;
	cyc_mat3 M = cyc_rot_axis((cyc_vec3){ mean[0], mean[1], mean[2] }, length), back = cyc_mat3_transpose(M);
	for (int32_t f = 0; f < a->n_tilts; f++) {
		cyc_mat3 R = a->projections[f].linear;
		a->tilts[f].Q = cyc_mat3_mul(a->tilts[f].Q, cyc_mat3_mul(R, cyc_mat3_mul(back, cyc_mat3_inverse(R))));
	}
	for (int32_t p = 0; p < a->n_particles; p++) {
		cyc_vec3 r = a->positions_A[p], o = a->offsets_A[p], x = cyc_mat3_apply(M, (cyc_vec3){ r.x + o.x, r.y + o.y, r.z + o.z });
		a->offsets_A[p] = (cyc_vec3){ x.x - r.x, x.y - r.y, x.z - r.z };
		for (int32_t f = 0; f < a->n_tilts; f++) {
			double *m = a->displacement_A + 3 * ((size_t)p * (size_t)a->n_tilts + (size_t)f);
			cyc_vec3 y = cyc_mat3_apply(M, (cyc_vec3){ m[0], m[1], m[2] });
			m[0] = y.x;
			m[1] = y.y;
			m[2] = y.z;
		}
	}
}

/* Derivatives of one pair's image position in its tilt's 5 and its particle's 3 standardised parameters. */
static void pair_columns(double c[8][2], const cyc_alignment *a, const jacobian *j)
{
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < 3; k++) {
			c[k][i] = j->angle[i][k];
			c[PER_TILT + k][i] = a->do_positions ? a->widths.position_A * j->axes[i][k] : 0;
		}
		for (int k = 0; k < 2; k++) c[3 + k][i] = i == k ? j->shift : 0;
	}
}

static double product(const double u[2], const double v[2], const cyc_pair *pair, double scale)
{
	return scale * (u[0] * (pair->curve[0] * v[0] + pair->curve[1] * v[1]) + u[1] * (pair->curve[1] * v[0] + pair->curve[2] * v[1]));
}

/* One particle: its 3 x 3 curvature, and its 3 rows against all tilts; adds the tilts' own blocks to H. */
static void particle_blocks(double P[9], double *rows, double *H, size_t n, const cyc_alignment *a, int32_t p)
{
	memset(P, 0, 9 * sizeof *P);
	memset(rows, 0, 3 * n * sizeof *rows);
	for (int k = 0; k < 3; k++) P[4 * k] = 1;
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double c[8][2], scale = cyc_square(a->amplitude) * a->particle_weight[p];
		if (!is_seen(a, p, f)) continue;
		const cyc_pair *pair = pair_of(a, p, f);
		jacobian j = derivatives(a, p, f);
		pair_columns(c, a, &j);
		size_t first = PER_TILT * (size_t)f;
		for (size_t k = 0; k < 3; k++) {
			for (size_t l = 0; l < 3; l++) P[3 * k + l] += product(c[PER_TILT + k], c[PER_TILT + l], pair, scale);
			for (size_t l = 0; l < PER_TILT; l++) rows[k * n + first + l] = product(c[PER_TILT + k], c[l], pair, scale);
		}
		for (size_t k = 0; k < PER_TILT && H; k++)
			for (size_t l = 0; l < PER_TILT; l++) H[(first + k) * n + first + l] += product(c[k], c[l], pair, scale);
	}
}

static cyc_status invert(double *A, int32_t n)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', n, A, n) == 0 && LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'L', n, A, n) == 0, CYC_E_NUMERIC,
	          "the curvature of an alignment is not positive definite");
	for (int32_t i = 0; i < n; i++)
		for (int32_t j = i + 1; j < n; j++) A[(size_t)i * (size_t)n + (size_t)j] = A[(size_t)j * (size_t)n + (size_t)i];
done:
	return st;
}

cyc_status cyc_alignment_errors(double *tilt_errors, double *particle_errors, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	size_t n = PER_TILT * (size_t)a->n_tilts;
	double *H = NULL, *rows = NULL, *solved = NULL, P[9];
	CYC_TRY(cyc_alloc(&H, n * n, sizeof *H));
	CYC_TRY(cyc_alloc(&rows, 3 * n, sizeof *rows));
	CYC_TRY(cyc_alloc(&solved, 3 * n, sizeof *solved));
	for (size_t i = 0; i < n; i++) H[i * n + i] = 1;
	for (int32_t p = 0; p < a->n_particles; p++) { /* eliminate the particles: Schur complement */
		particle_blocks(P, rows, H, n, a, p);
		CYC_TRY(invert(P, 3));
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < 3; k++) solved[k * n + i] = P[3 * k] * rows[i] + P[3 * k + 1] * rows[n + i] + P[3 * k + 2] * rows[2 * n + i];
		for (size_t i = 0; i < n; i++)
			for (size_t j = 0; j < n; j++) H[i * n + j] -= rows[i] * solved[j] + rows[n + i] * solved[n + j] + rows[2 * n + i] * solved[2 * n + j];
	}
	CYC_TRY(invert(H, (int32_t)n));
	for (size_t i = 0; i < n; i++) tilt_errors[i] = sqrt(H[i * n + i]) * (i % PER_TILT < 3 ? a->angle_width_rad : a->widths.shift_A);
	for (int32_t p = 0; p < a->n_particles; p++) {
		particle_blocks(P, rows, NULL, n, a, p);
		CYC_TRY(invert(P, 3));
		for (size_t k = 0; k < 3; k++) {
			double variance = P[4 * k];
			for (size_t i = 0; i < n; i++) solved[i] = P[3 * k] * rows[i] + P[3 * k + 1] * rows[n + i] + P[3 * k + 2] * rows[2 * n + i];
			for (size_t i = 0; i < n; i++) {
				if (solved[i] == 0) continue;
				double sum = 0;
				for (size_t j = 0; j < n; j++) sum += H[i * n + j] * solved[j];
				variance += solved[i] * sum;
			}
			particle_errors[3 * (size_t)p + k] = sqrt(variance) * a->widths.position_A;
		}
	}
done:
	cyc_free(H);
	cyc_free(rows);
	cyc_free(solved);
	return st;
}

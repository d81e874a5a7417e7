/* Geometry, value, gradient and curvature of an alignment. */
#include "polish/alignment.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

cyc_alignment_blocks cyc_alignment_blocks_of(const cyc_alignment *a)
{
	cyc_alignment_blocks b;
	b.n_modes = a->motion ? (size_t)a->motion->n_modes : 0;
	b.n_deformation = a->do_deformation ? (size_t)a->deformation_model.n : 0;
	b.particles = CYC_PER_TILT * (size_t)a->n_tilts;
	b.motion = b.particles + 3 * (size_t)a->n_particles;
	b.deformation = b.motion + (size_t)(a->n_tilts - 1) * 3 * b.n_modes;
	b.n = b.deformation + b.n_deformation * (a->is_deformation_per_tilt ? (size_t)a->n_tilts : 1);
	return b;
}

int64_t cyc_alignment_n_parameters(const cyc_alignment *a) { return (int64_t)cyc_alignment_blocks_of(a).n; }
/* Per pair a force (2) and a displacement (3); per tilt a sum of each deformation coefficient. */
int64_t cyc_alignment_scratch(const cyc_alignment *a)
{
	return (5 * (int64_t)a->n_particles + (int64_t)cyc_alignment_blocks_of(a).n_deformation) * a->n_tilts;
}

/* ---------------------------------------------------------------- life */

/* The series' own deformation as the start of one that is refined, or to be kept. */
static void start_deformation(cyc_alignment *a)
{
	cyc_deformation_model own = cyc_deformation_model_of(a->ts), *m = &a->deformation_model;
	size_t n = (size_t)m->n;
	bool is_same = own.type == m->type && (m->type == CYC_DEFORMATION_LINEAR ||
	                                       (own.grid[0] == m->grid[0] && own.grid[1] == m->grid[1]));
	for (int32_t f = 0; f < a->n_tilts && is_same; f++) {
		const cyc_tilt *t = &a->ts->tilts[f];
		for (size_t i = 0; i < n && i < (size_t)t->n_deformation; i++)
			a->deformation[(size_t)f * n + i] = t->deformation[i];
	}
	for (size_t i = 0; i < n && a->do_deformation && !a->is_deformation_per_tilt; i++) {
		double sum = 0;
		for (int32_t f = 0; f < a->n_tilts; f++) sum += a->deformation[(size_t)f * n + i];
		for (int32_t f = 0; f < a->n_tilts; f++) a->deformation[(size_t)f * n + i] = sum / a->n_tilts;
	}
}

cyc_status cyc_alignment_init(cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)a->n_tilts, N = (size_t)a->n_particles;
	a->tilts = NULL;
	a->offsets_A = NULL;
	a->linear = NULL;
	a->modes = a->angles = a->base_angles = a->angle_centre = a->angle_width_rad = a->shift_width_A =
		a->displacement_A = a->deformation = NULL;
	CYC_TRY(cyc_alloc(&a->tilts, T, sizeof *a->tilts));
	CYC_TRY(cyc_alloc(&a->offsets_A, N, sizeof *a->offsets_A));
	CYC_TRY(cyc_alloc(&a->angles, 3 * T, sizeof *a->angles));
	CYC_TRY(cyc_alloc(&a->base_angles, 3 * T, sizeof *a->base_angles));
	CYC_TRY(cyc_alloc(&a->angle_centre, 3 * T, sizeof *a->angle_centre));
	CYC_TRY(cyc_alloc(&a->angle_width_rad, 3 * T, sizeof *a->angle_width_rad));
	CYC_TRY(cyc_alloc(&a->shift_width_A, T, sizeof *a->shift_width_A));
	CYC_TRY(cyc_alloc(&a->displacement_A, 3 * N * T, sizeof *a->displacement_A));
	CYC_TRY(cyc_alloc(&a->modes, cyc_alignment_blocks_of(a).n_modes * 3 * (T - 1) + 1, sizeof *a->modes));
	CYC_TRY(cyc_alloc(&a->deformation, T * (size_t)a->deformation_model.n + 1, sizeof *a->deformation));
	CYC_TRY(cyc_alloc(&a->linear, N * T, sizeof *a->linear));
	for (size_t f = 0; f < T; f++) {
		double *b = a->base_angles + 3 * f;
		a->tilts[f].Q = cyc_mat3_identity();
		cyc_tilt_from_matrix(&b[0], &b[1], &b[2], a->projections[f].linear);
		for (size_t k = 0; k < 2 && a->start_shifts_A; k++)
			a->tilts[f].shift_A[k] = a->start_shifts_A[2 * f + k];
	}
	start_deformation(a);
	CYC_TRY(cyc_alignment_set_priors(a));
	for (size_t p = 0; p < N && !a->motion; p++)
		for (size_t j = 0; a->old_motion_A && a->old_motion_A[p] && j < 3 * T; j++)
			a->displacement_A[3 * T * p + j] = (double)a->old_motion_A[p][j];
done:
	if (st != CYC_OK) cyc_alignment_deinit(a);
	return st;
}

void cyc_alignment_deinit(cyc_alignment *a)
{
	double **const all[] = { &a->modes,           &a->angles,        &a->base_angles,    &a->angle_centre,
		                     &a->angle_width_rad, &a->shift_width_A, &a->displacement_A, &a->deformation };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		cyc_free(*all[i]);
		*all[i] = NULL;
	}
	cyc_free(a->tilts);
	cyc_free(a->offsets_A);
	cyc_free(a->linear);
	a->tilts = NULL;
	a->offsets_A = NULL;
	a->linear = NULL;
}

/* ---------------------------------------------------------------- geometry */

static cyc_vec3 specimen(const cyc_alignment *a, int32_t p, int32_t f)
{
	cyc_vec3 r = a->positions_A[p], o = a->offsets_A[p];
	const double *m = a->displacement_A + 3 * ((size_t)p * (size_t)a->n_tilts + (size_t)f);
	return (cyc_vec3){ r.x + o.x + m[0], r.y + o.y + m[1], r.z + o.z + m[2] };
}

static const double *deformation_of(const cyc_alignment *a, int32_t f)
{
	return a->deformation_model.n > 0 ? a->deformation + (size_t)f * (size_t)a->deformation_model.n : NULL;
}

/* Image position before the deformation [px], and the particle in the image's frame [Å]. */
static cyc_vec3 before_deformation(double at[2], const cyc_alignment *a, int32_t p, int32_t f)
{
	const cyc_projection *P = &a->projections[f];
	double s = 1 / P->pixel_size_A;
	cyc_vec3 x = cyc_mat3_apply(a->tilts[f].Q, cyc_mat3_apply(P->linear, specimen(a, p, f)));
	at[0] = s * (x.x + a->tilts[f].shift_A[0]) + P->origin_px.x;
	at[1] = s * (x.y + a->tilts[f].shift_A[1]) + P->origin_px.y;
	return x;
}

void cyc_alignment_position(double at[2], const cyc_alignment *a, int32_t p, int32_t f)
{
	double u[2];
	(void)before_deformation(at, a, p, f);
	cyc_deformation_value(u, NULL, &a->deformation_model, deformation_of(a, f), at[0], at[1]);
	at[0] += u[0];
	at[1] += u[1];
}

static double strength(const cyc_alignment *a, int32_t f)
{
	return a->amplitude * a->tilt_strength[f] * a->sharpness[f];
}

static void linearise_pair(const cyc_alignment *a, int32_t p, int32_t f)
{
	cyc_linear_pair *j = cyc_linear_of(a, p, f);
	const cyc_pair *pair = cyc_pair_of(a, p, f);
	memset(j, 0, sizeof *j);
	if (!cyc_pair_is_seen(a, p, f)) return;
	double s = 1 / a->projections[f].pixel_size_A, u[2], D[2][2];
	cyc_vec3 x = before_deformation(j->at_px, a, p, f);
	cyc_mat3 R = cyc_mat3_mul(a->tilts[f].Q, a->projections[f].linear);
	cyc_deformation_value(u, D, &a->deformation_model, deformation_of(a, f), j->at_px[0], j->at_px[1]);
	D[0][0] += 1;
	D[1][1] += 1;
	double by_shift = a->do_shifts ? s * a->shift_width_A[f] : 0;
	/* R = Rz Ry Rx turns about these axes of the image: Rz Ry ex, Rz ey, ez; d(R x) = axis x (R x). */
	double y = a->base_angles[3 * f + 1] + a->angles[3 * f + 1],
		   z = a->base_angles[3 * f + 2] + a->angles[3 * f + 2];
	const double axis[3][3] = { { cos(z) * cos(y), sin(z) * cos(y), -sin(y) },
		                        { -sin(z), cos(z), 0 },
		                        { 0, 0, 1 } };
	for (int k = 0; k < 3; k++) {
		double by_angle = a->do_angles ? s * a->angle_width_rad[3 * f + k] : 0;
		const double turn[2] = { axis[k][1] * x.z - axis[k][2] * x.y, axis[k][2] * x.x - axis[k][0] * x.z };
		for (int i = 0; i < 2; i++) {
			j->angle[i][k] = by_angle * (D[i][0] * turn[0] + D[i][1] * turn[1]);
			j->axes[i][k] = s * (D[i][0] * R.m[0][k] + D[i][1] * R.m[1][k]);
		}
	}
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 2; k++) j->shift[i][k] = by_shift * D[i][k];
	for (int k = 0; k < 3; k++)
		j->H[k] = a->dispersion * cyc_square(strength(a, f)) * a->particle_weight[p] * pair->curve[k];
}

static cyc_status linearise_task(void *arg, int64_t p, int i_thread)
{
	(void)i_thread;
	const cyc_alignment *a = arg;
	for (int32_t f = 0; f < a->n_tilts; f++) linearise_pair(a, (int32_t)p, f);
	return CYC_OK;
}

cyc_status cyc_alignment_linearise(cyc_alignment *a)
{
	return cyc_parallel_for(a->n_particles, a->n_threads, linearise_task, a);
}

/* ---------------------------------------------------------------- motion */

enum { PARTICLES_PER_TASK = 32, ROWS_PER_TASK = 24 };

typedef struct {
	const cyc_alignment *a;
	const double *modes;
	double *out, *force;
	size_t B, T;
} motion_work;

static cyc_status displacement_task(void *arg, int64_t item, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const motion_work *w = arg;
	const cyc_alignment *a = w->a;
	int32_t first = (int32_t)item * PARTICLES_PER_TASK,
			n = a->n_particles - first < PARTICLES_PER_TASK ? a->n_particles - first : PARTICLES_PER_TASK;
	size_t steps = 3 * (w->T - 1);
	double *v = NULL;
	CYC_TRY(cyc_alloc(&v, (size_t)n * steps + 1, sizeof *v));
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, (int)steps, (int)w->B, 1,
	            a->motion->modes + (size_t)first * w->B, (int)w->B, w->modes, (int)w->B, 0, v, (int)steps);
	for (int32_t i = 0; i < n; i++) {
		double at[3] = { 0, 0, 0 }, *out = w->out + 3 * w->T * (size_t)(first + i);
		for (size_t k = 0; k < 3; k++) out[3 * (size_t)a->order[0] + k] = 0;
		for (size_t t = 0; t + 1 < w->T; t++)
			for (size_t k = 0; k < 3; k++) {
				at[k] += cyc_step_sigma(a, t) * v[(size_t)i * steps + 3 * t + k];
				out[3 * (size_t)a->order[t + 1] + k] = at[k];
			}
	}
done:
	cyc_free(v);
	return st;
}

cyc_status cyc_alignment_displacements(double *out, const cyc_alignment *a, const double *modes)
{
	motion_work w = { a, modes, out, NULL, (size_t)a->motion->n_modes, (size_t)a->n_tilts };
	return cyc_parallel_for((a->n_particles + PARTICLES_PER_TASK - 1) / PARTICLES_PER_TASK, a->n_threads,
	                        displacement_task, &w);
}

/* Forces on displacements to forces on velocities, in place: row of a particle, (step, axis). */
static cyc_status velocity_force_task(void *arg, int64_t p, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const motion_work *w = arg;
	double sum[3] = { 0, 0, 0 }, *force = w->force + 3 * w->T * (size_t)p, *v = NULL;
	CYC_TRY(cyc_alloc(&v, 3 * w->T, sizeof *v));
	for (size_t t = w->T - 1; t-- > 0;)
		for (size_t k = 0; k < 3; k++) {
			sum[k] += force[3 * (size_t)w->a->order[t + 1] + k];
			v[3 * t + k] = sum[k] * cyc_step_sigma(w->a, t);
		}
	memcpy(force, v, 3 * w->T * sizeof *v);
done:
	cyc_free(v);
	return st;
}

static cyc_status mode_force_task(void *arg, int64_t item, int i_thread)
{
	(void)i_thread;
	const motion_work *w = arg;
	int32_t steps = (int32_t)(3 * (w->T - 1)), first = (int32_t)item * ROWS_PER_TASK,
			n = steps - first < ROWS_PER_TASK ? steps - first : ROWS_PER_TASK;
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, (int)w->B, w->a->n_particles, 1, w->force + first,
	            (int)(3 * w->T), w->a->motion->modes, (int)w->B, 0, w->out + (size_t)first * w->B, (int)w->B);
	return CYC_OK;
}

cyc_status cyc_alignment_mode_forces(double *modes, const cyc_alignment *a, double *force)
{
	cyc_status st = CYC_OK;
	motion_work w = { a, NULL, modes, force, (size_t)a->motion->n_modes, (size_t)a->n_tilts };
	CYC_TRY(cyc_parallel_for(a->n_particles, a->n_threads, velocity_force_task, &w));
	CYC_TRY(cyc_parallel_for((3 * (a->n_tilts - 1) + ROWS_PER_TASK - 1) / ROWS_PER_TASK, a->n_threads,
	                         mode_force_task, &w));
done:
	return st;
}

/* ---------------------------------------------------------------- value */

static double pair_value(double gradient[2], const cyc_alignment *a, int32_t p, int32_t f, const double at[2])
{
	const cyc_pair *pair = cyc_pair_of(a, p, f);
	double reach = cyc_local_map_reach(a->grid), scale = 2 * strength(a, f) * a->particle_weight[p],
		   penalty = 0;
	const double d[2] = { at[0] - pair->start_px[0], at[1] - pair->start_px[1] };
	double value = scale * cyc_local_map_value(gradient, pair->map, a->grid, d[0], d[1]);
	for (int k = 0; k < 2; k++) {
		gradient[k] *= scale;
		/* Outside the map a spring of the expected stiffness leads back. */
		double excess = fabs(d[k]) - reach, stiffness = a->dispersion * cyc_square(strength(a, f)) *
		                                                a->particle_weight[p] * pair->curve[2 * k];
		if (excess <= 0) continue;
		penalty -= 0.5 * stiffness * excess * excess;
		gradient[k] -= stiffness * excess * (d[k] > 0 ? 1 : -1);
	}
	return value + penalty;
}

typedef struct {
	const cyc_alignment *a;
	double *sums;
} value_work;

static cyc_status value_task(void *arg, int64_t p, int i_thread)
{
	(void)i_thread;
	const value_work *w = arg;
	double sum = 0, at[2], g[2];
	for (int32_t f = 0; f < w->a->n_tilts; f++) {
		if (!cyc_pair_is_seen(w->a, (int32_t)p, f)) continue;
		cyc_alignment_position(at, w->a, (int32_t)p, f);
		sum += pair_value(g, w->a, (int32_t)p, f, at);
	}
	w->sums[p] = sum;
	return CYC_OK;
}

cyc_status cyc_alignment_log_likelihoods(double *values, const cyc_alignment *a)
{
	value_work w = { a, values };
	return cyc_parallel_for(a->n_particles, a->n_threads, value_task, &w);
}

cyc_status cyc_alignment_log_likelihood(double *value, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	double *values = NULL;
	CYC_TRY(cyc_alloc(&values, a->n_particles, sizeof *values));
	CYC_TRY(cyc_alignment_log_likelihoods(values, a));
	*value = 0;
	for (int32_t p = 0; p < a->n_particles; p++) *value += values[p];
done:
	cyc_free(values);
	return st;
}

/* The solution in standardised parameters, as the prior sees it. */
static void standardised(double *x, const cyc_alignment *a)
{
	cyc_alignment_blocks b = cyc_alignment_blocks_of(a);
	double *o = x + b.particles;
	cyc_alignment_standardised_tilts(x, a);
	for (int32_t p = 0; p < a->n_particles; p++, o += 3) {
		o[0] = a->offsets_A[p].x / a->widths.position_A;
		o[1] = a->offsets_A[p].y / a->widths.position_A;
		o[2] = a->offsets_A[p].z / a->widths.position_A;
	}
	memcpy(x + b.motion, a->modes, (b.deformation - b.motion) * sizeof *x);
	for (size_t i = b.deformation; i < b.n; i++)
		x[i] =
			a->deformation[i - b.deformation] / a->deformation_width[(i - b.deformation) % b.n_deformation];
}

double cyc_alignment_log_prior(const cyc_alignment *a)
{
	cyc_alignment_blocks b = cyc_alignment_blocks_of(a);
	double sum = 0;
	for (int32_t f = 0; f < a->n_tilts; f++) {
		for (int k = 0; k < 3 && a->do_angles; k++)
			sum += cyc_square((a->angles[3 * f + k] - a->angle_centre[3 * f + k]) /
			                  a->angle_width_rad[3 * f + k]);
		for (int k = 0; k < 2; k++)
			sum +=
				cyc_square((a->tilts[f].shift_A[k] - (a->input_shifts_A ? a->input_shifts_A[2 * f + k] : 0)) /
			               a->shift_width_A[f]);
	}
	for (int32_t p = 0; p < a->n_particles; p++)
		sum +=
			(cyc_square(a->offsets_A[p].x) + cyc_square(a->offsets_A[p].y) + cyc_square(a->offsets_A[p].z)) /
			cyc_square(a->widths.position_A);
	for (size_t i = 0; i < b.deformation - b.motion; i++) sum += a->modes[i] * a->modes[i];
	for (size_t i = 0; i < b.n - b.deformation; i++)
		sum += cyc_square(a->deformation[i] / a->deformation_width[i % b.n_deformation]);
	return -0.5 * sum;
}

/* ---------------------------------------------------------------- gradient and curvature */

/*
 * Both are the adjoint of the derivatives applied to forces in the images: slopes of the maps for the
 * gradient, curvatures times displacements for the other. First particle by particle, then tilt by tilt, so
 * that each sum has one writer.
 */
typedef struct {
	const cyc_alignment *a;
	cyc_alignment_blocks b;
	const double *v; /* NULL: gradient */
	double *out, *force, *moved, *by_tilt;
} adjoint_work;

static void displacement_of_pair(double l[2], const adjoint_work *w, const cyc_linear_pair *j, int32_t p,
                                 int32_t f, const double *moved, double *columns)
{
	const double *tilt = w->v + CYC_PER_TILT * f, *o = w->v + w->b.particles + 3 * (size_t)p;
	double position = w->a->do_positions ? w->a->widths.position_A : 0;
	for (int i = 0; i < 2; i++) {
		l[i] = j->shift[i][0] * tilt[3] + j->shift[i][1] * tilt[4];
		for (int k = 0; k < 3; k++)
			l[i] +=
				j->angle[i][k] * tilt[k] + j->axes[i][k] * (position * o[k] + (w->a->motion ? moved[k] : 0));
	}
	if (w->b.n_deformation == 0) return;
	const double *c =
		w->v + w->b.deformation + (w->a->is_deformation_per_tilt ? (size_t)f * w->b.n_deformation : 0);
	cyc_deformation_columns(columns, &w->a->deformation_model, j->at_px[0], j->at_px[1]);
	for (size_t i = 0; i < w->b.n_deformation; i++)
		for (int k = 0; k < 2; k++) l[k] += columns[2 * i + (size_t)k] * w->a->deformation_width[i] * c[i];
}

static cyc_status particle_task(void *arg, int64_t p, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const adjoint_work *w = arg;
	const cyc_alignment *a = w->a;
	double sum[3] = { 0, 0, 0 }, *columns = NULL;
	if (w->b.n_deformation > 0) CYC_TRY(cyc_alloc(&columns, 2 * w->b.n_deformation, sizeof *columns));
	for (int32_t f = 0; f < a->n_tilts; f++) {
		size_t at = (size_t)p * (size_t)a->n_tilts + (size_t)f;
		const cyc_linear_pair *j = &a->linear[at];
		double *force = w->force + 2 * at, *moved = w->moved + 3 * at, l[2];
		force[0] = force[1] = 0;
		if (cyc_pair_is_seen(a, (int32_t)p, f)) {
			if (w->v) {
				displacement_of_pair(l, w, j, (int32_t)p, f, moved, columns);
				force[0] = j->H[0] * l[0] + j->H[1] * l[1];
				force[1] = j->H[1] * l[0] + j->H[2] * l[1];
			} else {
				cyc_alignment_position(l, a, (int32_t)p, f);
				(void)pair_value(force, a, (int32_t)p, f, l);
			}
		}
		for (int k = 0; k < 3; k++) {
			moved[k] = j->axes[0][k] * force[0] + j->axes[1][k] * force[1];
			sum[k] += moved[k];
		}
	}
	for (int k = 0; k < 3; k++)
		w->out[w->b.particles + 3 * (size_t)p + (size_t)k] =
			a->do_positions ? a->widths.position_A * sum[k] : 0;
done:
	cyc_free(columns);
	return st;
}

static cyc_status tilt_task(void *arg, int64_t f, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	const adjoint_work *w = arg;
	const cyc_alignment *a = w->a;
	double *tilt = w->out + CYC_PER_TILT * f, *sums = w->by_tilt + (size_t)f * w->b.n_deformation,
		   *columns = NULL;
	if (w->b.n_deformation > 0) CYC_TRY(cyc_alloc(&columns, 2 * w->b.n_deformation, sizeof *columns));
	memset(tilt, 0, CYC_PER_TILT * sizeof *tilt);
	memset(sums, 0, w->b.n_deformation * sizeof *sums);
	for (int32_t p = 0; p < a->n_particles; p++) {
		const cyc_linear_pair *j = cyc_linear_of(a, p, (int32_t)f);
		const double *force = w->force + 2 * ((size_t)p * (size_t)a->n_tilts + (size_t)f);
		if (!cyc_pair_is_seen(a, p, (int32_t)f)) continue;
		for (int k = 0; k < 3; k++) tilt[k] += j->angle[0][k] * force[0] + j->angle[1][k] * force[1];
		for (int k = 0; k < 2; k++) tilt[3 + k] += j->shift[0][k] * force[0] + j->shift[1][k] * force[1];
		if (w->b.n_deformation == 0) continue;
		cyc_deformation_columns(columns, &a->deformation_model, j->at_px[0], j->at_px[1]);
		for (size_t i = 0; i < w->b.n_deformation; i++)
			sums[i] += a->deformation_width[i] * (columns[2 * i] * force[0] + columns[2 * i + 1] * force[1]);
	}
done:
	cyc_free(columns);
	return st;
}

static cyc_status adjoint(double *out, const cyc_alignment *a, const double *v, double *scratch)
{
	cyc_status st = CYC_OK;
	size_t n_pairs = (size_t)a->n_particles * (size_t)a->n_tilts;
	adjoint_work w = { a,       cyc_alignment_blocks_of(a), v, out, scratch + 3 * n_pairs,
		               scratch, scratch + 5 * n_pairs };
	if (v && a->motion) CYC_TRY(cyc_alignment_displacements(w.moved, a, v + w.b.motion));
	CYC_TRY(cyc_parallel_for(a->n_particles, a->n_threads, particle_task, &w));
	CYC_TRY(cyc_parallel_for(a->n_tilts, a->n_threads, tilt_task, &w));
	if (a->motion) CYC_TRY(cyc_alignment_mode_forces(out + w.b.motion, a, w.moved));
	memset(out + w.b.deformation, 0, (w.b.n - w.b.deformation) * sizeof *out);
	for (size_t i = 0; i < w.b.n_deformation * (size_t)a->n_tilts; i++)
		out[w.b.deformation + (a->is_deformation_per_tilt ? i : i % w.b.n_deformation)] += w.by_tilt[i];
done:
	return st;
}

cyc_status cyc_alignment_slopes(double *force_per_A, const cyc_alignment *a, double *scratch)
{
	cyc_status st = CYC_OK;
	double *out = NULL;
	CYC_TRY(cyc_alloc(&out, cyc_alignment_n_parameters(a), sizeof *out));
	adjoint_work w = { a, cyc_alignment_blocks_of(a), NULL, out, scratch, force_per_A, NULL };
	CYC_TRY(cyc_parallel_for(a->n_particles, a->n_threads, particle_task, &w));
done:
	cyc_free(out);
	return st;
}

cyc_status cyc_alignment_curvature(double *out, const cyc_alignment *a, const double *v, double *scratch)
{
	cyc_status st = CYC_OK;
	CYC_TRY(adjoint(out, a, v, scratch));
	for (int64_t i = 0; i < cyc_alignment_n_parameters(a); i++) out[i] += v[i];
done:
	return st;
}

cyc_status cyc_alignment_gradient(double *gradient, const cyc_alignment *a, double *scratch)
{
	cyc_status st = CYC_OK;
	double *x = NULL;
	int64_t n = cyc_alignment_n_parameters(a);
	CYC_TRY(cyc_alloc(&x, n, sizeof *x));
	CYC_TRY(adjoint(gradient, a, NULL, scratch));
	standardised(x, a);
	for (int64_t i = 0; i < n; i++) gradient[i] -= x[i];
done:
	cyc_free(x);
	return st;
}

cyc_status cyc_alignment_step(cyc_alignment *a, const double *step, double factor)
{
	cyc_status st = CYC_OK;
	cyc_alignment_blocks b = cyc_alignment_blocks_of(a);
	const double *o = step + b.particles, s = factor * a->widths.position_A;
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double *angle = a->angles + 3 * f, *base = a->base_angles + 3 * f;
		if (a->do_angles) {
			for (int k = 0; k < 3; k++)
				angle[k] += factor * a->angle_width_rad[3 * f + k] * step[CYC_PER_TILT * f + k];
			cyc_mat3 R = cyc_tilt_to_matrix(base[0] + angle[0], base[1] + angle[1], base[2] + angle[2]),
					 R0 = cyc_tilt_to_matrix(base[0], base[1], base[2]);
			a->tilts[f].Q = cyc_mat3_mul(R, cyc_mat3_transpose(R0));
		}
		for (int k = 0; k < 2; k++)
			a->tilts[f].shift_A[k] += factor * a->shift_width_A[f] * step[CYC_PER_TILT * f + 3 + k];
	}
	for (int32_t p = 0; p < a->n_particles; p++) {
		a->offsets_A[p].x += s * o[3 * p];
		a->offsets_A[p].y += s * o[3 * p + 1];
		a->offsets_A[p].z += s * o[3 * p + 2];
	}
	for (size_t i = 0; i < b.n_deformation * (size_t)a->n_tilts; i++)
		a->deformation[i] += factor * a->deformation_width[i % b.n_deformation] *
		                     step[b.deformation + (a->is_deformation_per_tilt ? i : i % b.n_deformation)];
	if (!a->motion) goto done;
	for (size_t i = 0; i < b.deformation - b.motion; i++) a->modes[i] += factor * step[b.motion + i];
	CYC_TRY(cyc_alignment_displacements(a->displacement_A, a, a->modes));
done:
	return st;
}

/* What the images do not tell, and how well they tell the rest. */
#include "polish/alignment.h"
#include "polish/schur.h"

#include <math.h>
#include <string.h>

void cyc_alignment_fix_gauge(cyc_alignment *a)
{
	/* Rotation of each tilt as seen in the specimen, R^T Q R; small, so vectors can be averaged. */
	double mean[3] = { 0, 0, 0 }, weight = 0;
	for (int32_t f = 0; f < a->n_tilts; f++) {
		double w = 0;
		for (int32_t p = 0; p < a->n_particles; p++) w += cyc_pair_is_seen(a, p, f) ? cyc_pair_of(a, p, f)->power : 0;
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

/* Precision of a position that is zero by definition: that at the lowest dose, and after steps without dose. */
static const double NEVER_MOVED = 1e30;

/* Standard error of the motion at each tilt, from the modes taken one by one: root mean square over particles and axes. */
static cyc_status motion_errors_of(double *errors, const cyc_alignment *a, const double *precision)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)a->n_tilts, B = (size_t)a->motion->n_modes;
	double *up = NULL, *down = NULL, *norms = NULL;
	CYC_TRY(cyc_alloc(&up, T, sizeof *up));
	CYC_TRY(cyc_alloc(&down, T, sizeof *down));
	CYC_TRY(cyc_alloc(&norms, B + 1, sizeof *norms));
	for (size_t i = 0; i < (size_t)a->n_particles * B; i++) norms[i % B] += cyc_square(a->motion->modes[i]);
	for (size_t i = 0; i < 3 * B; i++) {
		/* Variance of the amplitude y_t of a walk from 0 seen with precision D_t: predictions from both sides, combined. */
		for (size_t t = 0; t < T; t++) { /* information from the past, the present included */
			double s2 = t > 0 ? cyc_square(a->speed * a->step_sigma_A[t - 1]) : 0;
			up[t] = t == 0 ? NEVER_MOVED : fmin(1 / (1 / up[t - 1] + s2), NEVER_MOVED) + precision[3 * t * B + i];
		}
		for (size_t t = T; t-- > 0;) { /* from the future */
			double s2 = t + 1 < T ? cyc_square(a->speed * a->step_sigma_A[t]) : 0;
			double next = t + 1 < T ? down[t + 1] + precision[3 * (t + 1) * B + i] : 0;
			down[t] = next > 0 ? 1 / (1 / next + s2) : 0;
		}
		for (size_t t = 1; t < T; t++) errors[a->order[t]] += norms[i % B] / (up[t] + down[t]) / (3.0 * a->n_particles);
	}
	for (size_t t = 0; t < T; t++) errors[t] = sqrt(errors[t]);
done:
	cyc_free(up);
	cyc_free(down);
	cyc_free(norms);
	return st;
}

cyc_status cyc_alignment_errors(double *tilt_errors, double *particle_errors, double *motion_errors, cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	cyc_schur *s = NULL;
	CYC_TRY(cyc_alignment_linearise(a));
	CYC_TRY(cyc_schur_create(&s, a));
	CYC_TRY(cyc_schur_factor(s, a));
	memset(motion_errors, 0, (size_t)a->n_tilts * sizeof *motion_errors);
	if (a->motion) CYC_TRY(motion_errors_of(motion_errors, a, cyc_schur_mode_precision(s)));
	CYC_TRY(cyc_schur_variances(tilt_errors, particle_errors, s, a));
	for (int32_t i = 0; i < CYC_PER_TILT * a->n_tilts; i++) tilt_errors[i] = sqrt(tilt_errors[i]) * (i % CYC_PER_TILT < 3 ? a->angle_width_rad : a->widths.shift_A);
	for (int32_t i = 0; i < 3 * a->n_particles; i++) particle_errors[i] = sqrt(particle_errors[i]) * a->widths.position_A;
done:
	cyc_schur_destroy(&s);
	return st;
}

/* The gauge, which images do not determine, and the errors of the rest. */
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
		for (int32_t p = 0; p < a->n_particles; p++)
			w += cyc_pair_is_seen(a, p, f) ? cyc_pair_of(a, p, f)->power : 0;
		/* Small: half the antisymmetric part is the rotation vector. */
		const cyc_mat3 *Q = &a->tilts[f].Q;
		const double v[3] = { 0.5 * (Q->m[2][1] - Q->m[1][2]), 0.5 * (Q->m[0][2] - Q->m[2][0]),
			                  0.5 * (Q->m[1][0] - Q->m[0][1]) };
		cyc_vec3 u =
			cyc_mat3_apply(cyc_mat3_transpose(a->projections[f].linear), (cyc_vec3){ v[0], v[1], v[2] });
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
		cyc_vec3 r = a->positions_A[p], o = a->offsets_A[p],
				 x = cyc_mat3_apply(M, (cyc_vec3){ r.x + o.x, r.y + o.y, r.z + o.z });
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

/* Standard errors of poses: from the scatter of their images' slopes, not from the noise of the tilt
 * images alone. (T8.17) */
#include "refine3d/refine3d_internal.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

enum {
	N = CYC_POSE_PARAMETERS,
	N_KINDS = 4
}; /* kinds of errors: of the rotation, of the offset along x, y, z */

/* One image's slope and curvature by the pose. */
typedef struct {
	double g[N], C[N][N];
} by_pose;

static cyc_image_terms *terms_of(const cyc_refine3d_job *j, int64_t p)
{
	const cyc_particle *particle = &j->particles->particles[p];
	int64_t in_series = p - j->particles->series_first[particle->i_series];
	return j->terms + j->series_terms[particle->i_series] +
	       in_series * cyc_refine3d_n_views(j, particle->i_series);
}

int32_t cyc_refine3d_n_views(const cyc_refine3d_job *j, int32_t i_series)
{
	return cyc_refine3d_has_volumes(j)
	           ? cyc_volume_section_count(j->stacks->box_px, j->volumes.particle_radius_px)
	           : j->in.tomograms->series[i_series].n_tilts;
}

cyc_image_terms *cyc_refine3d_terms_of(const cyc_refine3d_job *j, int64_t p) { return terms_of(j, p); }

cyc_status cyc_refine3d_alloc_terms(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	int64_t count = 0;
	CYC_TRY(cyc_alloc(&j->series_terms, j->in.tomograms->n_series + 1, sizeof *j->series_terms));
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		j->series_terms[i] = count;
		count += cyc_refine_n_particles(&j->in, i) * cyc_refine3d_n_views(j, i);
	}
	j->series_terms[j->in.tomograms->n_series] = count;
	CYC_TRY(cyc_alloc_(&j->terms, (size_t)count, sizeof *j->terms, "slopes of images"));
done:
	return st;
}

/* Displacement [px] of a tilt image common to all particles of a half-set: normal equations of one tilt. */
typedef struct {
	double M[3], v[2], d[2], count;
} common;

static double curvature(const cyc_image_terms *t, int i, int k)
{
	return (double)t->curvature[i >= k ? i * (i + 1) / 2 + k : k * (k + 1) / 2 + i];
}

/* Alignment errors that polishing left are errors of the tilts; a common displacement is a gauge of the
 * particles. */
static void fit_common(common *tilts, const cyc_refine3d_job *j, int32_t i_series, int32_t half)
{
	const cyc_tilt_series *ts = &j->in.tomograms->series[i_series];
	memset(tilts, 0, (size_t)ts->n_tilts * sizeof *tilts);
	for (int64_t p = j->particles->series_first[i_series]; p < j->particles->series_first[i_series + 1];
	     p++) {
		const cyc_image_terms *t = terms_of(j, p);
		if (j->particles->particles[p].half != half || j->refined[p].probability < CYC_IMPROBABLE) continue;
		for (int32_t f = 0; f < ts->n_tilts && t[f].is_used; f++) {
			common *c = &tilts[t[f].i_tilt];
			c->M[0] += curvature(&t[f], 3, 3);
			c->M[1] += curvature(&t[f], 3, 4);
			c->M[2] += curvature(&t[f], 4, 4);
			for (int i = 0; i < 2; i++) c->v[i] += (double)t[f].gradient[3 + i];
			c->count++;
		}
	}
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		common *c = &tilts[f];
		double det = c->M[0] * c->M[2] - c->M[1] * c->M[1];
		if (c->count < 2 || !(det > 0)) continue;
		c->d[0] = (c->M[2] * c->v[0] - c->M[1] * c->v[1]) / det;
		c->d[1] = (c->M[0] * c->v[1] - c->M[1] * c->v[0]) / det;
	}
}

/* Image parameters (three angles, two displacements) to those of the pose; the common displacement taken off
 * the slope. */
static void to_pose(by_pose *out, const cyc_image_terms *t, const common *c)
{
	double J[5][N] = { { 0 } }, g[5];
	memset(out, 0, sizeof *out);
	for (int k = 0; k < 3; k++) {
		J[k][k] = 1;
		for (int i = 0; i < 2; i++) J[3 + i][3 + k] = (double)t->axes[i][k];
	}
	for (int i = 0; i < 5; i++)
		g[i] = (double)t->gradient[i] - curvature(t, i, 3) * c->d[0] - curvature(t, i, 4) * c->d[1];
	for (int i = 0; i < 5; i++)
		for (int k = 0; k < N; k++) {
			out->g[k] += g[i] * J[i][k];
			for (int m = 0; m < 5; m++)
				for (int l = 0; l < N; l++) out->C[k][l] += curvature(t, i, m) * J[i][k] * J[m][l];
		}
}

static void multiply(double out[N][N], double a[N][N], double b[N][N])
{
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++) {
			out[i][k] = 0;
			for (int m = 0; m < N; m++) out[i][k] += a[i][m] * b[m][k];
		}
}

static bool invert(double A[N][N])
{
	double a[N * N];
	for (int i = 0; i < N * N; i++) a[i] = A[i / N][i % N];
	if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'U', N, a, N) != 0 ||
	    LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'U', N, a, N) != 0)
		return false;
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++) A[i][k] = i <= k ? a[i * N + k] : a[k * N + i];
	return true;
}

/*
 * Variances of a pose by the scatter of its images' slopes, over those expected from the curvature: with A
 * the inverse curvature, diag(A sum g g^T A) over diag(A (C - sum C_f A C_f) A), the mean of the former if
 * the expectation holds.
 */
static bool variance_ratios(double ratio[N], const cyc_image_terms *t, int32_t n_tilts, const common *tilts,
                            double rotation_prior, double offset_prior)
{
	double A[N][N] = { { 0 } }, scatter[N][N] = { { 0 } }, expected[N][N] = { { 0 } }, work[N][N],
		   other[N][N];
	int32_t n = 0;
	by_pose q;
	for (int32_t f = 0; f < n_tilts && t[f].is_used; f++, n++) {
		to_pose(&q, &t[f], &tilts[t[f].i_tilt]);
		for (int i = 0; i < N; i++)
			for (int k = 0; k < N; k++) {
				A[i][k] += q.C[i][k];
				scatter[i][k] += q.g[i] * q.g[k];
			}
	}
	memcpy(expected, A, sizeof A);
	for (int k = 0; k < N; k++) A[k][k] += k < 3 ? rotation_prior : offset_prior;
	if (n < 2 || !invert(A)) return false;
	for (int32_t f = 0; f < n; f++) {
		to_pose(&q, &t[f], &tilts[t[f].i_tilt]);
		multiply(work, q.C, A);
		multiply(other, work, q.C);
		for (int i = 0; i < N; i++)
			for (int k = 0; k < N; k++) expected[i][k] -= other[i][k];
	}
	multiply(work, A, scatter);
	multiply(other, work, A);
	memcpy(scatter, other, sizeof other);
	multiply(work, A, expected);
	multiply(other, work, A);
	for (int k = 0; k < N; k++) {
		if (!(other[k][k] > 0)) return false;
		ratio[k] = scatter[k][k] / other[k][k];
	}
	return true;
}

/* Objects that are not the particle scatter for other reasons. */
static bool counts(const cyc_refine3d_job *j, int64_t p, int32_t half)
{
	return j->particles->particles[p].half == half && j->refined[p].error[0] > 0 &&
	       j->refined[p].probability >= CYC_IMPROBABLE;
}

void cyc_refine3d_widen_errors(cyc_refine3d_job *j, int64_t p)
{
	const double *factor = j->state.error_factor[j->particles->particles[p].half > 0];
	for (int k = 0; k < N; k++) j->refined[p].error[k] *= factor[k < 3 ? 0 : k - 2];
}

/* ---------------------------------------------------------------- the map's noise */

enum { MOST_ASKED = 1000 }; /* their mean squares are known to a few per cent */

/* One step of Newton's. */
static bool newton_step(double step[N], const cyc_pose_derivatives *own, const cyc_pose_derivatives *other,
                        double rotation_prior, double offset_prior)
{
	double A[N][N];
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++)
			A[i][k] = own->curvature[i][k] + (i != k ? 0 : k < 3 ? rotation_prior : offset_prior);
	if (!invert(A)) return false;
	for (int i = 0; i < N; i++) {
		step[i] = 0;
		for (int k = 0; k < N; k++) step[i] += A[i][k] * (other->gradient[k] - own->gradient[k]);
	}
	return true;
}

bool cyc_refine3d_wants_map_step(const cyc_found_pose *found, const cyc_refine3d_job *j, int64_t p,
                                 const cyc_search_spec *spec)
{
	int64_t every = 1 + (j->particles->n - 1) / MOST_ASKED;
	/* Both maps must be made of equally many images, none of them of this particle. */
	return spec->do_follow && found->error[0] > 0 && p % every == 0 && j->uses_groups[0] && j->uses_groups[1];
}

void cyc_refine3d_note_map_step(cyc_found_pose *found, const cyc_pose_derivatives *own,
                                const cyc_pose_derivatives *other, int32_t half, const cyc_search_spec *spec)
{
	if (!newton_step(found->map_step, own, other, 1 / cyc_square(spec->sigma_rotation_rad[half]),
	                 1 / cyc_square(spec->sigma_offset_A[half])))
		for (int k = 0; k < N; k++) found->map_step[k] = CYC_NAN;
}

/* Mean steps along the reference's axes: a rotation and shift between the half maps, which is not noise. */
static double frame_step(double mean[N], const cyc_refine3d_job *j, const cyc_found_pose *found, int32_t half)
{
	double n = 0;
	memset(mean, 0, N * sizeof *mean);
	for (int64_t p = 0; p < j->particles->n; p++) {
		const double *d = found[p].map_step;
		if (!counts(j, p, half) || !isfinite(d[0])) continue;
		cyc_vec3 o =
			cyc_mat3_apply(cyc_mat3_transpose(found[p].pose.R_tomo_ref), (cyc_vec3){ d[3], d[4], d[5] });
		const double in_reference[N] = { d[0], d[1], d[2], o.x, o.y, o.z };
		for (int k = 0; k < N; k++) mean[k] += in_reference[k];
		n++;
	}
	for (int k = 0; k < N && n > 0; k++) mean[k] /= n;
	return n;
}

/*
 * Variance that the map's noise adds to poses, over that expected from their curvature: half the mean square
 * of the steps between the two half maps, which share the signal but not the noise. The images' own noise is
 * the same in both.      (T8.27)
 */
static void map_variance(double ratio[N_KINDS], const cyc_refine3d_job *j, const cyc_found_pose *found,
                         int32_t half)
{
	double mean[N], sum[N_KINDS] = { 0 }, count[N_KINDS] = { 0 }, n = frame_step(mean, j, found, half);
	memset(ratio, 0, N_KINDS * sizeof *ratio);
	if (n < 2) return;
	for (int64_t p = 0; p < j->particles->n; p++) {
		const double *d = found[p].map_step;
		if (!counts(j, p, half) || !isfinite(d[0])) continue;
		cyc_vec3 o = cyc_mat3_apply(found[p].pose.R_tomo_ref, (cyc_vec3){ mean[3], mean[4], mean[5] });
		const double common_step[N] = { mean[0], mean[1], mean[2], o.x, o.y, o.z };
		for (int k = 0; k < N; k++) {
			int kind = k < 3 ? 0 : k - 2;
			sum[kind] += 0.5 * cyc_square((d[k] - common_step[k]) / found[p].error[k]) * n / (n - 1);
			count[kind]++;
		}
	}
	for (int k = 0; k < N_KINDS && count[k] > 0; k++) ratio[k] = sum[k] / count[k];
}

cyc_status cyc_refine3d_scatter_errors(cyc_refine3d_job *j, const cyc_found_pose *found,
                                       const double sigma_rotation_rad[2], const double sigma_offset_A[2])
{
	cyc_status st = CYC_OK;
	common *tilts = NULL;
	int32_t most = 0;
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++)
		most = j->in.tomograms->series[i].n_tilts > most ? j->in.tomograms->series[i].n_tilts : most;
	CYC_TRY(cyc_alloc(&tilts, most, sizeof *tilts));
	for (int32_t h = 0; h < 2; h++) {
		/* A pseudo-count of one particle that follows the expectation, for sets with hardly any. */
		double sum[N_KINDS] = { 3, 1, 1, 1 }, count[N_KINDS] = { 3, 1, 1, 1 },
			   *factor = j->state.error_factor[h];
		for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
			int64_t first = j->particles->series_first[i], end = j->particles->series_first[i + 1];
			double n = 0;
			/* Neighbouring sections of a volume share coefficients: their slopes do not scatter
			 * independently. */
			if (cyc_refine3d_has_volumes(j)) continue;
			fit_common(tilts, j, i, h);
			for (int64_t p = first; p < end; p++) n += counts(j, p, h);
			if (n < 2) continue;
			for (int64_t p = first; p < end; p++) {
				double ratio[N];
				if (!counts(j, p, h)) continue;
				if (!variance_ratios(ratio, terms_of(j, p), j->in.tomograms->series[i].n_tilts, tilts,
				                     1 / cyc_square(sigma_rotation_rad[h]),
				                     1 / cyc_square(sigma_offset_A[h])))
					continue;
				for (int k = 0; k < N; k++) {
					/* The common part was fitted to them. */
					sum[k < 3 ? 0 : k - 2] += k < 3 ? ratio[k] : ratio[k] * n / (n - 1);
					count[k < 3 ? 0 : k - 2]++;
				}
			}
		}
		double map[N_KINDS];
		map_variance(map, j, found, h);
		for (int k = 0; k < N_KINDS; k++) factor[k] = sqrt(sum[k] / count[k] + map[k]);
		for (int64_t p = 0; p < j->particles->n; p++)
			if (j->particles->particles[p].half == h) cyc_refine3d_widen_errors(j, p);
	}
done:
	cyc_free(tilts);
	return st;
}

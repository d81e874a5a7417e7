/* Which particles are what the reference shows: probabilities from how well their images agree at their
 * poses. */
#include "refine3d/refine3d_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Beads and other blobs agree with any particle at low resolution. Where the reference does not reach far
 * beyond this, the bands part an octave below its limit. */
static const double LOW_BAND_A = 20;
static const double LEAST_WEIGHT = 1e-4; /* a smaller one is zero, and costs no time */

int32_t cyc__low_band_end(const cyc_refine3d_job *j, int32_t radius)
{
	int32_t shell = (int32_t)(j->crop_px * j->box.pixel_size_A / LOW_BAND_A);
	return shell < radius / 2 ? shell : radius / 2;
}

void cyc_refine3d_note_agreement(cyc_found_pose *out, const cyc_refine3d_job *j, cyc_pose_agreement *shells,
                                 cyc_pose_work *work, const cyc_pose_data *data, const cyc_pose_reference *r)
{
	int32_t n_shells = j->crop_px / 2 + 1, end = cyc__low_band_end(j, r->radius);
	memset(shells, 0, (size_t)n_shells * sizeof *shells);
	memset(out->agreement, 0, sizeof out->agreement);
	cyc_pose_agree(shells, work, data, r, &out->pose, r->radius);
	out->amplitude = r->amplitude;
	for (int32_t k = 0; k < n_shells; k++) {
		cyc_pose_agreement *to = &out->agreement[k <= end ? CYC_BAND_LOW : CYC_BAND_HIGH];
		to->cross += shells[k].cross;
		to->own += shells[k].own;
		to->power += shells[k].power;
		to->residual += shells[k].residual;
		to->noise += shells[k].noise;
	}
}

/* Residual power over what the noise weights say, of a typical particle: masks and scales of a data set drop
 * out. */
static cyc_status typical_residuals(double typical[CYC_N_BANDS], const cyc_refine3d_job *j, int32_t half)
{
	cyc_status st = CYC_OK;
	double *v = NULL;
	CYC_TRY(cyc_alloc(&v, j->particles->n, sizeof *v));
	for (int b = 0; b < CYC_N_BANDS; b++) {
		int64_t n = 0;
		for (int64_t p = 0; p < j->particles->n; p++) {
			const cyc_pose_agreement *a = &j->refined[p].agreement[b];
			if (j->particles->particles[p].half == half && a->noise > 0) v[n++] = a->residual / a->noise;
		}
		double middle = cyc_median(v, (size_t)n);
		typical[b] = middle > 0 ? middle : 1;
	}
done:
	cyc_free(v);
	return st;
}

/* Amplitude of a band with the variance that the noise around the particle gives it. (T8.20) */
static cyc_band_agreement agreement_of(const cyc_refined *r, int b, double typical_residual, double *residual)
{
	const cyc_pose_agreement *a = &r->agreement[b];
	double s = r->amplitude;
	*residual = a->noise > 0 ? a->residual / a->noise / typical_residual : 0;
	if (!(s > 0) || !(a->power > 0) || !(*residual > 0)) return (cyc_band_agreement){ 0, 0 };
	return (cyc_band_agreement){ (a->cross - s * a->own) / (s * a->power),
		                         *residual / (2 * s * s * a->power) };
}

static cyc_status judge_half(cyc_refine3d_job *j, int32_t half)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = j->particles;
	cyc_agreement *agreement = NULL;
	double *probability = NULL, typical[CYC_N_BANDS];
	int64_t *index = NULL, n = 0;
	cyc_membership *m = &j->state.membership[half];
	CYC_TRY(cyc_alloc(&agreement, set->n, sizeof *agreement));
	CYC_TRY(cyc_alloc(&probability, set->n, sizeof *probability));
	CYC_TRY(cyc_alloc(&index, set->n, sizeof *index));
	CYC_TRY(typical_residuals(typical, j, half));
	for (int64_t p = 0; p < set->n; p++) {
		cyc_refined *r = &j->refined[p];
		if (set->particles[p].half != half) continue;
		for (int b = 0; b < CYC_N_BANDS; b++)
			agreement[n].band[b] = agreement_of(r, b, typical[b], &r->residual[b]);
		index[n++] = p;
	}
	CYC_TRY(cyc_membership_fit(probability, m, agreement, n, j->state.n_poses));
	if (!m->is_told_apart && n > 0)
		cyc_warn(
			"half-set %d: too few particles agree with the map to distinguish them from junk; all are kept",
			half + 1);
	for (int64_t i = 0; i < n; i++) {
		cyc_refined *r = &j->refined[index[i]];
		r->probability = probability[i] < LEAST_WEIGHT       ? 0
		                 : probability[i] > 1 - LEAST_WEIGHT ? 1
		                                                     : probability[i];
		r->is_far_below = m->is_told_apart && cyc_membership_is_far_below(m, &agreement[i]);
		r->expected = 0;
		for (int b = 0; b < CYC_N_BANDS; b++) {
			r->found_amplitude[b] = agreement[i].band[b].amplitude;
			/* 2 s^2 x sum W |V|^2 - s^2 sum W |V|^2 at the amplitude of a typical particle. */
			r->expected += cyc_square(r->amplitude) * r->agreement[b].power * (2 * m->mean[b] - 1);
		}
		j->posed.particles[index[i]].probability = cyc_refine3d_weight(j, index[i]);
	}
done:
	cyc_free(agreement);
	cyc_free(probability);
	cyc_free(index);
	return st;
}

bool cyc_refine3d_judges(const cyc_refine3d_job *j) { return !j->o->relion_model; }

cyc_status cyc_refine3d_judge(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	int64_t n = 0;
	double share = 0;
	if (!cyc_refine3d_judges(j)) goto done;
	for (int32_t half = 0; half < 2; half++) CYC_TRY(judge_half(j, half));
	for (int64_t p = 0; p < j->particles->n; p++) {
		n += j->refined[p].probability < CYC_IMPROBABLE;
		share += j->refined[p].probability;
	}
	j->state.n_improbable = n;
	if (n > 0)
		cyc_info("iteration %d: %lld of %lld picks probably do not show the particle, or not at this pose "
		         "(sum of probabilities %.1f)",
		         j->state.iteration, (long long)n, (long long)j->particles->n, share);
done:
	return st;
}

int64_t cyc_refine3d_doubtful(bool *is_doubtful, const cyc_refine3d_job *j)
{
	int64_t n = 0;
	for (int64_t p = 0; p < j->particles->n; p++) {
		const cyc_refined *r = &j->refined[p];
		is_doubtful[p] = cyc_refine3d_judges(j) && !r->was_searched &&
		                 (r->probability < CYC_IMPROBABLE || r->is_far_below);
		n += is_doubtful[p];
	}
	return n;
}

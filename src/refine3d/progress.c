/* Which poses are the best so far, by images that did not contribute to the references; and when the
 * refinement no longer improves. */
#include "refine3d/refine3d_internal.h"

#include <math.h>
#include <string.h>

/* Parameters of a followed pose: the images fit it better than the true pose by half of their number, and
 * are predicted that much worse. */
static const double FITTED = CYC_POSE_PARAMETERS;

/* Whether no particle's images contribute to its reference in the log-likelihoods. */
static bool is_held_out(const cyc_refine3d_job *j) { return j->uses_groups[0] && j->uses_groups[1]; }

cyc_status cyc_refine3d_start_progress(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	size_t n = (size_t)j->particles->n, n_shells = (size_t)j->crop_px / 2 + 1;
	CYC_TRY(cyc_alloc(&j->shells, n * n_shells, sizeof *j->shells));
	CYC_TRY(cyc_alloc(&j->best_shells, n * n_shells, sizeof *j->best_shells));
	CYC_TRY(cyc_alloc(&j->best, n, sizeof *j->best));
	j->state.best_iteration = -1;
done:
	return st;
}

/*
 * Log-likelihood of each particle over none, from shells up to a radius. The weight of each shell is the one
 * that fits best, per half-set: what is compared are maps, not the Wiener factors that they happened to be
 * filtered with.
 */
static cyc_status evidence_of(double *out, const cyc_refine3d_job *j, float (*shells)[2], int32_t radius)
{
	cyc_status st = CYC_OK;
	int64_t n = j->particles->n, n_shells = j->crop_px / 2 + 1;
	double(*sums)[2] = NULL;
	CYC_TRY(cyc_alloc(&sums, 2 * (size_t)n_shells, sizeof *sums));
	for (int64_t p = 0; p < n; p++)
		for (int64_t r = 0; r <= radius; r++)
			for (int k = 0; k < 2; k++)
				sums[j->particles->particles[p].half * n_shells + r][k] +=
					cyc_refine3d_weight(j, p) * (double)shells[p * n_shells + r][k];
	for (int64_t p = 0; p < n; p++) {
		out[p] = 0;
		for (int64_t r = 0; r <= radius; r++) {
			const double *s = sums[j->particles->particles[p].half * n_shells + r],
						 a = s[1] > 0 ? fmax(s[0] / s[1], 0) : 0;
			out[p] +=
				2 * a * (double)shells[p * n_shells + r][0] - a * a * (double)shells[p * n_shells + r][1];
		}
	}
done:
	cyc_free(sums);
	return st;
}

static double n_fitted(const cyc_refine3d_job *j, int32_t iteration)
{
	return iteration > 0 || j->start_is_refined ? FITTED : 0;
}

/*
 * What fitting a pose gains, and loses in independent images, beyond the number of parameters: both are half
 * the variance of its parameters over that expected from the curvature, and these factors are known from the
 * scatter of the images and of the maps.                (T8.29)
 */
static double excess_of_fit(const cyc_refine3d_state *s)
{
	double excess = 0;
	for (int h = 0; h < 2; h++) {
		const double *factor = s->error_factor[h]; /* rotation, x, y, z */
		excess += 0.5 * 3 * (cyc_square(factor[0]) - 1);
		for (int k = 1; k < 4; k++) excess += 0.5 * (cyc_square(factor[k]) - 1);
	}
	return fmax(excess, 0);
}

/* What the last iteration moved poses by, in standard errors. */
static double moved_by(const cyc_refine3d_state *s)
{
	double rotation = s->rotation_error_rad > 0 ? s->change_rotation_rad / s->rotation_error_rad : 0;
	return fmax(rotation, s->offset_error_A > 0 ? s->change_offset_A / s->offset_error_A : 0);
}

/* Sums over particles of their weights w and gains d. */
typedef struct {
	double w, wd, w2, w2d, w2d2;
} gains;

/* Standard error of the sum of w d, from the scatter of d about its mean. */
static double error_of_sum(const gains *g)
{
	double mean = g->w > 0 ? g->wd / g->w : 0, n = g->w2 > 0 ? g->w * g->w / g->w2 : 0;
	return n > 1 ? sqrt(fmax(g->w2d2 - 2 * mean * g->w2d + mean * mean * g->w2, 0) * n / (n - 1)) : 0;
}

cyc_status cyc_refine3d_note_progress(bool *is_better, cyc_refine3d_job *j, int32_t iteration)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_state *s = &j->state;
	int64_t n = j->particles->n, n_shells = j->crop_px / 2 + 1;
	int32_t radius = s->radius < s->best_radius ? s->radius : s->best_radius;
	gains g = { 0 };
	double *now = NULL, *best = NULL, fitted = n_fitted(j, iteration) - n_fitted(j, s->best_iteration);
	/* How much of the fit other maps confirm is known only to half the number of parameters. Poses that
	 * are converging are not given up for less; they settle after a few halvings. */
	double moved = iteration > 0 ? moved_by(s) : HUGE_VAL;
	bool is_closing_in = s->least_moved > 0 && moved < 0.5 * s->least_moved;
	if (iteration > 0 && (s->least_moved <= 0 || moved < s->least_moved)) s->least_moved = moved;
	*is_better = true;
	s->evidence_gain = s->evidence_gain_error = 0;
	if (!is_held_out(j)) goto done;
	CYC_TRY(cyc_alloc(&now, n, sizeof *now));
	CYC_TRY(cyc_alloc(&best, n, sizeof *best));
	if (s->best_iteration >= 0) {
		CYC_TRY(evidence_of(now, j, j->shells, radius));
		CYC_TRY(evidence_of(best, j, j->best_shells, radius));
		for (int64_t p = 0; p < n; p++) {
			/* Objects that are probably not the particle say little about which poses are better. */
			double w = cyc_refine3d_weight(j, p), d = now[p] - best[p] - fitted;
			if (now[p] == 0 && best[p] == 0) continue; /* no image shows it */
			g.w += w;
			g.wd += w * d;
			g.w2 += w * w;
			g.w2d += w * w * d;
			g.w2d2 += w * w * d * d;
		}
		s->evidence_gain = g.wd;
		s->evidence_gain_error = error_of_sum(&g);
		/* A start that is independent of these images is left where the poses found are likely to be better:
		 * below this gain, they fit the noise by as much as they are nearer. */
		bool is_leaving = s->best_iteration == 0 && !j->start_is_refined;
		double least = is_leaving ? excess_of_fit(s) * g.w + s->evidence_gain_error : 0;
		*is_better = g.wd > least || (!is_leaving && is_closing_in && g.wd > -0.5 * FITTED * g.w);
		cyc_info("poses of iteration %d: log-likelihood of held-out images %+.1f +- %.1f compared with %s%s",
		         iteration, g.wd, s->evidence_gain_error,
		         s->best_iteration == 0 ? "the start" : "the best so far",
		         is_leaving && !*is_better ? ": no more than fitting noise would give" : "");
	}
	if (!*is_better) goto done;
	s->best_iteration = iteration;
	s->best_radius = s->radius;
	memcpy(j->best, j->refined, (size_t)n * sizeof *j->best);
	memcpy(j->best_shells, j->shells, (size_t)(n * n_shells) * sizeof *j->best_shells);
done:
	cyc_free(now);
	cyc_free(best);
	return st;
}

cyc_status cyc_refine3d_given_are_better(bool *are_better, const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	double own = 0, given = 0, *evidence = NULL;
	*are_better = false;
	if (j->state.iteration != 2 || !j->state.began_with_given || !is_held_out(j)) goto done;
	CYC_TRY(cyc_alloc(&evidence, j->particles->n, sizeof *evidence));
	CYC_TRY(evidence_of(evidence, j, j->shells, j->state.radius));
	for (int64_t p = 0; p < j->particles->n; p++) {
		own += evidence[p];
		given += j->refined[p].log_likelihood - 0.5 * FITTED; /* fitted to these very maps */
	}
	*are_better = given > own;
	if (*are_better)
		cyc_info("the given half maps predict the images better (log-likelihood %.0f) than maps of these "
		         "particles (%.0f): the poses found with them are kept",
		         given, own);
done:
	cyc_free(evidence);
	return st;
}

bool cyc_refine3d_restore_best(cyc_refine3d_job *j)
{
	const cyc_refine3d_state *s = &j->state;
	if (s->best_iteration < 0) return false;
	bool differs = false;
	for (int64_t p = 0; p < j->particles->n; p++) {
		cyc_refined *r = &j->refined[p], last = *r;
		differs = differs || memcmp(&r->pose, &j->best[p].pose, sizeof r->pose) != 0;
		if (s->best_iteration > 0) {
			*r = j->best[p];
			r->was_searched = last.was_searched;
			continue;
		}
		/* The start has no errors, posteriors and probabilities: those of the last poses are used, which
		 * differ from it insignificantly. */
		r->pose = j->best[p].pose;
	}
	cyc_refine3d_apply_poses(j);
	return differs;
}

#include "refine3d/pose_follow.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

static const double ENOUGH =
	5e-3; /* a step with a smaller expected gain is not taken: a tenth of a standard error */
static const double HOPELESS =
	12; /* log-posterior, at the coarse resolution, by which a maximum may lie below the best */

static cyc_vec3 minus(cyc_vec3 a, cyc_vec3 b) { return (cyc_vec3){ a.x - b.x, a.y - b.y, a.z - b.z }; }

/* ---------------------------------------------------------------- steps */

/* The log posterior and its derivatives, from those of the images' likelihood. */
static void add_prior(cyc_peak *p, const cyc_search_one *s)
{
	const cyc_pose *prior = &s->of->start.prior;
	double sigma2 = cyc_square(s->sigma_rotation_rad), offset2 = cyc_square(s->sigma_offset_A);
	cyc_mat3 d = cyc_mat3_mul(cyc_mat3_transpose(prior->R_tomo_ref), p->pose.R_tomo_ref);
	cyc_vec3 moved = minus(p->pose.offset_A, prior->offset_A);
	const double offset[3] = { moved.x, moved.y, moved.z };
	double turn[3];
	cyc_rotation_vector(turn, d);
	p->at = p->images;
	p->log_likelihood = p->log_posterior = p->at.value;
	for (int k = 0; k < 3; k++) {
		p->log_posterior -= 0.5 * (turn[k] * turn[k] / sigma2 + offset[k] * offset[k] / offset2);
		p->at.gradient[k] -= turn[k] / sigma2;
		p->at.curvature[k][k] += 1 / sigma2;
		p->at.gradient[3 + k] -= offset[k] / offset2;
		p->at.curvature[3 + k][3 + k] += 1 / offset2;
	}
}

/* Solve (C + damping diag C) x = g; false if C cannot be inverted. */
static bool solve(double x[CYC_POSE_PARAMETERS], const cyc_pose_derivatives *at, double damping)
{
	double A[CYC_POSE_PARAMETERS * CYC_POSE_PARAMETERS];
	for (int i = 0; i < CYC_POSE_PARAMETERS; i++) {
		x[i] = at->gradient[i];
		for (int j = 0; j < CYC_POSE_PARAMETERS; j++)
			A[i * CYC_POSE_PARAMETERS + j] = at->curvature[i][j] * (i == j ? 1 + damping : 1);
	}
	return LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', CYC_POSE_PARAMETERS, 1, A, CYC_POSE_PARAMETERS, x, 1) == 0;
}

void cyc_track_begin(cyc_track *t, const cyc_pose *start, int32_t radius, int32_t max_steps)
{
	t->next.pose = *start;
	t->damping = 1e-3;
	t->radius = radius;
	t->n_left = max_steps;
	t->has_begun = t->has_ended = false;
}

/* The next pose to evaluate; false: none. */
static bool propose(cyc_track *t)
{
	double step[CYC_POSE_PARAMETERS], gain = 0;
	if (t->n_left == 0 || !(t->damping < 1e6) || !solve(step, &t->best.at, t->damping)) return false;
	for (int k = 0; k < CYC_POSE_PARAMETERS; k++) gain += 0.5 * step[k] * t->best.at.gradient[k];
	if (gain < ENOUGH) return false;
	t->next.pose = cyc_pose_step(&t->best.pose, step);
	t->n_left--;
	return true;
}

void cyc_track_advance(cyc_track *t, const cyc_search_one *s)
{
	add_prior(&t->next, s);
	if (!t->has_begun || t->next.log_posterior > t->best.log_posterior) {
		cyc_peak old = t->best;
		t->best = t->next;
		t->next.terms = old.terms; /* each keeps its own room */
		if (t->has_begun) t->damping = fmax(t->damping * 0.1, 1e-4);
	} else {
		t->damping *= 10;
	}
	t->has_begun = true;
	t->has_ended = !propose(t);
}

/* ---------------------------------------------------------------- maxima */

double cyc_peak_errors(double error[CYC_POSE_PARAMETERS], const cyc_pose_derivatives *at)
{
	enum { N = CYC_POSE_PARAMETERS };
	double A[N * N], log_root = 0;
	for (int i = 0; i < N * N; i++) A[i] = at->curvature[i / N][i % N];
	for (int k = 0; k < N; k++) error[k] = 0;
	if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'U', N, A, N) != 0) return 0;
	for (int k = 0; k < N; k++) log_root -= log(A[k * N + k]);
	if (LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'U', N, A, N) != 0) return 0;
	for (int k = 0; k < N; k++) error[k] = sqrt(A[k * N + k]);
	return log_root;
}

double cyc_search_distance_rad(const cyc_search_one *s, cyc_mat3 a, cyc_mat3 b)
{
	static cyc_mat3 identity = { { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } } };
	const cyc_symmetry none = { .n = 1, .ops = &identity };
	return cyc_rotation_distance_rad(a, b, s->spec->symmetry ? s->spec->symmetry : &none, NULL);
}

static bool is_same_peak(const cyc_search_one *s, const cyc_peak *a, const cyc_peak *b,
                         const double error[CYC_POSE_PARAMETERS])
{
	return cyc_search_distance_rad(s, a->pose.R_tomo_ref, b->pose.R_tomo_ref) <
	       3 * (error[0] + error[1] + error[2]);
}

/* Insert a maximum into the list, best first; of two equal ones the higher is kept. */
static void keep_peak(cyc_peak peaks[CYC_MAX_STARTS], int32_t *n_kept, const cyc_search_one *s,
                      const cyc_peak *now)
{
	double error[CYC_POSE_PARAMETERS];
	int32_t at = *n_kept;
	(void)cyc_peak_errors(error, &now->at);
	for (int32_t k = 0; k < *n_kept; k++) {
		if (!is_same_peak(s, now, &peaks[k], error)) continue;
		if (!(now->log_posterior > peaks[k].log_posterior)) return;
		at = k;
		break;
	}
	if (at == *n_kept) ++*n_kept;
	for (; at > 0 && now->log_posterior > peaks[at - 1].log_posterior; at--) peaks[at] = peaks[at - 1];
	peaks[at] = *now;
}

int32_t cyc_peaks_different(cyc_pose poses[CYC_MAX_STARTS], const cyc_track *tracks, int32_t n,
                            const cyc_search_one *s)
{
	cyc_peak peaks[CYC_MAX_STARTS];
	int32_t n_kept = 0, n_out = 0;
	for (int32_t i = 0; i < n; i++) keep_peak(peaks, &n_kept, s, &tracks[i].best);
	for (int32_t k = 0; k < n_kept; k++)
		if (peaks[k].log_posterior > peaks[0].log_posterior - HOPELESS) poses[n_out++] = peaks[k].pose;
	return n_out;
}

int32_t cyc_peaks_best(cyc_found_pose *out, const cyc_track *tracks, int32_t n, const cyc_search_one *s)
{
	double error[CYC_MAX_STARTS][CYC_POSE_PARAMETERS], log_mass[CYC_MAX_STARTS], sum = 0;
	int32_t best = 0;
	for (int32_t i = 0; i < n; i++) {
		log_mass[i] = tracks[i].best.log_posterior + cyc_peak_errors(error[i], &tracks[i].best.at);
		if (tracks[i].best.log_posterior > tracks[best].best.log_posterior) best = i;
	}
	for (int32_t i = 0; i < n; i++)
		if (i == best || !is_same_peak(s, &tracks[i].best, &tracks[best].best, error[best]))
			sum += exp(fmax(log_mass[i] - log_mass[best], -700));
	out->pose = tracks[best].best.pose;
	out->log_likelihood = tracks[best].best.log_likelihood;
	out->p_max = 1 / sum;
	memcpy(out->error, error[best], sizeof out->error);
	return best;
}

/* The optimiser: Gauss-Newton steps by conjugate gradients; prior widths and strengths are learned from
 * the data. */
#include "polish/alignment.h"
#include "polish/schur.h"

#include <math.h>
#include <string.h>

enum { MAX_ROUNDS = 12, FEW_ROUNDS = 4, MAX_CG = 60, WIDTH_ROUNDS = 3 };
static const double CG_TOLERANCE = 1e-2, SETTLED_PX = 0.02;

typedef struct {
	int64_t n;
	double *g, *d, *r, *z, *p, *Ap, *scratch;
	cyc_schur *schur;
	int64_t n_cg; /* iterations so far, for the log */
} workspace;

static cyc_status workspace_create(workspace *w, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	w->n = cyc_alignment_n_parameters(a);
	double **const all[] = { &w->g, &w->d, &w->r, &w->z, &w->p, &w->Ap };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) CYC_TRY(cyc_alloc(all[i], w->n, sizeof(double)));
	CYC_TRY(cyc_alloc(&w->scratch, cyc_alignment_scratch(a), sizeof *w->scratch));
	CYC_TRY(cyc_schur_create(&w->schur, a));
done:
	return st;
}

static void workspace_deinit(workspace *w)
{
	double *const all[] = { w->g, w->d, w->r, w->z, w->p, w->Ap, w->scratch };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(all[i]);
	cyc_schur_destroy(&w->schur);
}

static double inner(const double *a, const double *b, int64_t n)
{
	double s = 0;
	for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
	return s;
}

/* Gauss-Newton step: (1 + A^T J A) d = g by preconditioned conjugate gradients. */
static cyc_status newton_step(workspace *w, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_schur_factor(w->schur, a));
	memset(w->d, 0, (size_t)w->n * sizeof *w->d);
	memcpy(w->r, w->g, (size_t)w->n * sizeof *w->r);
	CYC_TRY(cyc_schur_solve(w->z, w->schur, a, w->r));
	memcpy(w->p, w->z, (size_t)w->n * sizeof *w->p);
	double rz = inner(w->r, w->z, w->n), first = rz;
	for (int iteration = 0; iteration < MAX_CG && rz > cyc_square(CG_TOLERANCE) * first; iteration++) {
		CYC_TRY(cyc_alignment_curvature(w->Ap, a, w->p, w->scratch));
		double alpha = rz / inner(w->p, w->Ap, w->n);
		for (int64_t i = 0; i < w->n; i++) {
			w->d[i] += alpha * w->p[i];
			w->r[i] -= alpha * w->Ap[i];
		}
		CYC_TRY(cyc_schur_solve(w->z, w->schur, a, w->r));
		double next = inner(w->r, w->z, w->n), beta = next / rz;
		rz = next;
		for (int64_t i = 0; i < w->n; i++) w->p[i] = w->z[i] + beta * w->p[i];
		w->n_cg++;
	}
done:
	return st;
}

/* Largest change of an image position by a step along `d`, by shifts and offsets alone: enough to see
 * whether the rounds have converged. */
static double step_length_px(const cyc_alignment *a, const double *d, double factor)
{
	double longest = 0, s = factor / a->ts->pixel_size_A;
	size_t particles = cyc_alignment_blocks_of(a).particles;
	for (int32_t f = 0; f < a->n_tilts; f++)
		for (int k = 3; k < 5; k++)
			longest = fmax(longest, fabs(s * a->shift_width_A[f] * d[CYC_PER_TILT * f + k]));
	for (int32_t i = 0; i < 3 * a->n_particles; i++)
		longest = fmax(longest, fabs(s * a->widths.position_A * d[particles + (size_t)i]));
	return longest;
}

static cyc_status posterior(double *value, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_alignment_log_likelihood(value, a));
	*value += cyc_alignment_log_prior(a);
done:
	return st;
}

static cyc_status optimise(int *n_rounds, cyc_alignment *a, workspace *w, int max_rounds)
{
	cyc_status st = CYC_OK;
	double value;
	CYC_TRY(posterior(&value, a));
	for (*n_rounds = 0; *n_rounds < max_rounds; (*n_rounds)++) {
		CYC_TRY(cyc_alignment_linearise(a));
		CYC_TRY(cyc_alignment_gradient(w->g, a, w->scratch));
		CYC_TRY(newton_step(w, a));
		double factor = 1, done_so_far = 0, next = value;
		for (int half = 0; half < 6; half++, factor *= 0.5) { /* backtracking */
			CYC_TRY(cyc_alignment_step(a, w->d, factor - done_so_far));
			done_so_far = factor;
			CYC_TRY(posterior(&next, a));
			if (next > value) break;
		}
		if (!(next > value)) {
			CYC_TRY(cyc_alignment_step(a, w->d, -done_so_far));
			break;
		}
		double length = step_length_px(a, w->d, done_so_far);
		value = next;
		if (length < SETTLED_PX) break;
	}
done:
	return st;
}

/* ---------------------------------------------------------------- what is learned */

static cyc_status learn_speed(cyc_alignment *a, workspace *w)
{
	cyc_status st = CYC_OK;
	double speed, *factors = NULL, *precision = NULL, *modes = a->modes;
	CYC_TRY(cyc_alloc(&factors, a->n_tilts, sizeof *factors));
	CYC_TRY(cyc_alignment_linearise(a));
	CYC_TRY(cyc_schur_factor(w->schur, a));
	CYC_TRY(
		cyc_alloc(&precision, 3 * (size_t)a->n_tilts * (size_t)a->motion->n_modes + 1, sizeof *precision));
	CYC_TRY(cyc_alignment_free_precision(precision, a, cyc_schur_mode_precision(w->schur)));
	CYC_TRY(cyc_alignment_learn_speed(&speed, factors, a, precision, w->scratch));
	/* The motion found so far is kept where the new prior allows it. */
	cyc_alignment_blocks b = cyc_alignment_blocks_of(a);
	for (size_t i = 0; i < b.deformation - b.motion; i++) {
		size_t step = i / (3 * b.n_modes);
		double ratio = a->speed * (a->step_factor ? a->step_factor[step] : 1) / (speed * factors[step]);
		modes[i] *= fmin(ratio, 1);
	}
	a->speed = speed;
	for (int32_t t = 0; t + 1 < a->n_tilts && a->step_factor; t++) a->step_factor[t] = factors[t];
	CYC_TRY(cyc_alignment_displacements(a->displacement_A, a, modes));
done:
	cyc_free(factors);
	cyc_free(precision);
	return st;
}

/* ---------------------------------------------------------------- the start */

/*
 * Maps are linear in their coefficients, so those of a tilt's particles add up to one. They must have a
 * common zero: the start of an optimisation, where windows were cut at the positions that are predicted.
 */
static cyc_status search_task(void *arg, int64_t f, int i_thread)
{
	cyc_status st = CYC_OK;
	(void)i_thread;
	cyc_alignment *a = arg;
	size_t n = (size_t)a->grid.n * (size_t)a->grid.n;
	double reach = cyc_local_map_reach(a->grid), step = 0.5 * a->grid.step_px, g[2], best = -1e300,
		   px_A = a->ts->pixel_size_A, found[2] = { 0, 0 };
	int32_t half = (int32_t)(reach / step);
	float *sum = NULL;
	CYC_TRY(cyc_alloc(&sum, n, sizeof *sum));
	for (int32_t p = 0; p < a->n_particles; p++) {
		float scale =
			(float)(2 * a->amplitude * a->tilt_strength[f] * a->sharpness[f] * a->particle_weight[p]);
		if (!cyc_pair_is_seen(a, p, (int32_t)f)) continue;
		for (size_t i = 0; i < n; i++) sum[i] += scale * cyc_pair_of(a, p, (int32_t)f)->map[i];
	}
	for (int32_t y = -half; y <= half; y++)
		for (int32_t x = -half; x <= half; x++) {
			double dx = x * step, dy = y * step,
				   value = cyc_local_map_value(g, sum, a->grid, dx, dy) -
			               cyc_alignment_shift_cost(a, (int32_t)f, dx * px_A, dy * px_A);
			if (value <= best) continue;
			best = value;
			found[0] = dx;
			found[1] = dy;
		}
	for (int k = 0; k < 2; k++) a->tilts[f].shift_A[k] += found[k] * a->ts->pixel_size_A;
done:
	cyc_free(sum);
	return st;
}

cyc_status cyc_alignment_search_shifts(cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_parallel_for(a->n_tilts, a->n_threads, search_task, a));
	CYC_TRY(cyc_alignment_set_priors(a));
done:
	return st;
}

cyc_status cyc_alignment_solve(cyc_alignment *a, const cyc_alignment_effort *effort)
{
	cyc_status st = CYC_OK;
	workspace w = { 0 };
	CYC_TRY(workspace_create(&w, a));
	if (a->do_shifts && effort->search_shifts) CYC_TRY(cyc_alignment_search_shifts(a));
	for (int round = 0; round < (effort->learn ? WIDTH_ROUNDS : 1); round++) {
		bool is_last = !effort->learn || round + 1 == WIDTH_ROUNDS;
		int n;
		double likelihood;
		CYC_TRY(cyc_cancel_check());
		CYC_TRY(cyc_alignment_learn_strengths(a, round > 0));
		CYC_TRY(optimise(&n, a, &w, is_last && !effort->is_brief ? MAX_ROUNDS : FEW_ROUNDS));
		if (effort->learn) CYC_TRY(cyc_alignment_learn_widths(a));
		if (effort->learn && a->motion && !a->has_fixed_speed && !is_last) CYC_TRY(learn_speed(a, &w));
		CYC_TRY(cyc_alignment_log_likelihood(&likelihood, a));
		cyc_debug("%s: %d rounds, %lld iterations, amplitude %.3f, sharpness %.3f to %.3f, dispersion %.3f, "
		          "log likelihood %.1f, prior %.1f; widths %.3f / %.3f deg, %.2f A, %.2f A, speed %.3f",
		          a->ts->name, n + 1, (long long)w.n_cg, a->agreement, a->sharpness[a->order[0]],
		          a->sharpness[a->order[a->n_tilts - 1]], a->dispersion, likelihood,
		          cyc_alignment_log_prior(a), cyc_rad_to_deg(a->widths.angle_input_rad),
		          cyc_rad_to_deg(a->widths.angle_trend_rad), a->widths.shift_A, a->widths.position_A,
		          a->speed);
	}
done:
	workspace_deinit(&w);
	return st;
}

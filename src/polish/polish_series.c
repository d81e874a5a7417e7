#include "polish/polish_series.h"

#include "polish/image_shift.h"
#include "polish/polish_start.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* Windows are cut again where a particle has moved by more than this share of the search range. */
static const double FAR_SHARE = 0.9;

/* ---------------------------------------------------------------- setting */

/* Everything an alignment points to. */
typedef struct {
	const cyc_polish_shared *shared;
	int32_t i_series;
	cyc_tilt_series *ts;
	cyc_particle *particles;
	cyc_projection *projections;
	cyc_vec3 *positions;
	const float **old_motion;
	int32_t *order;
	double *step_sigma, *step_dose, *step_factor, *weight, *strength, *sharpness, *deformation_width;
	bool *left_out, *is_moved;
	double *input_angles, *input_shifts, *start_shifts;
	bool has_original;                  /* priors are centred on the input before any refinement */
	double heldout_strength;            /* S of the comparisons, 0: not known yet */
	cyc_deformation_model own, refined; /* deformation of the input, and the refined one if it is better */
	cyc_motion_model *motion;
	cyc_evidence *evidence;
	cyc_alignment a;
} setting;

static void setting_deinit(setting *s)
{
	cyc_alignment_deinit(&s->a);
	cyc_motion_model_destroy(&s->motion);
	cyc_evidence_destroy(&s->evidence);
	cyc_free(s->projections);
	cyc_free(s->positions);
	cyc_free(s->old_motion);
	cyc_free(s->order);
	cyc_free(s->step_sigma);
	cyc_free(s->step_dose);
	cyc_free(s->step_factor);
	cyc_free(s->weight);
	cyc_free(s->strength);
	cyc_free(s->sharpness);
	cyc_free(s->deformation_width);
	cyc_free(s->left_out);
	cyc_free(s->is_moved);
	cyc_free(s->input_angles);
	cyc_free(s->input_shifts);
	cyc_free(s->start_shifts);
}

/* Prior widths of the motion: s_vel per unit dose at the series' dose per tilt. The variance grows with
 * the dose between tilts; in RELION 5.0.1 it is the same for each step and, by a prior twice too strong,
 * half of the documented value. */
static void motion_steps(double *sigma, double *middle, const setting *s)
{
	const cyc_polish_options *o = s->shared->o;
	double per_tilt = s->ts->fractional_dose_e_per_A2 > 0 ? s->ts->fractional_dose_e_per_A2 : 1;
	double first = s->ts->tilts[s->order[0]].pre_exposure_e_per_A2;
	for (int32_t t = 0; t + 1 < s->ts->n_tilts; t++) {
		double from = s->ts->tilts[s->order[t]].pre_exposure_e_per_A2,
			   to = s->ts->tilts[s->order[t + 1]].pre_exposure_e_per_A2, dose = to - from;
		middle[t] = 0.5 * (from + to) - first;
		sigma[t] = o->compat_relion5 ? o->motion_sigma_A_per_dose * per_tilt / sqrt(2)
		                             : o->motion_sigma_A_per_dose * sqrt(per_tilt * fmax(dose, 0));
	}
}

static cyc_status motion_model(setting *s)
{
	const cyc_polish_options *o = s->shared->o;
	double per_tilt = s->ts->fractional_dose_e_per_A2 > 0 ? s->ts->fractional_dose_e_per_A2 : 1;
	const cyc_motion_options options = { .correlation_A =
		                                     o->motion_correlation_A * (o->compat_relion5 ? per_tilt : 1),
		                                 .is_squared = o->squared_exponential,
		                                 .is_relative = !o->const_shifts && !o->compat_relion5,
		                                 .max_modes = o->motion_max_modes };
	return cyc_motion_model_create(&s->motion, s->positions, s->evidence->n_particles, &options);
}

/* Prior widths of the coefficients: those of the regulariser lambda sum c^2 (times |frequency|^2 for
 * Fourier terms), or without one displacements of about a pixel. (T6.13) */
static cyc_status deformation_widths(setting *s)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = s->shared->o;
	cyc_deformation_model *m = &s->refined;
	double *frequency = NULL, half = 0.5 * fmax(s->ts->image_nx, s->ts->image_ny);
	*m = (cyc_deformation_model){ .type = cyc_polish_deformation(o),
		                          .grid = { o->deformation_grid[0], o->deformation_grid[1] },
		                          .image_nx = s->ts->image_nx,
		                          .image_ny = s->ts->image_ny };
	m->n = cyc_deformation_n_coefficients(m->type, m->grid);
	CYC_TRY(cyc_alloc(&s->deformation_width, m->n + 1, sizeof *s->deformation_width));
	CYC_TRY(cyc_alloc(&frequency, m->n + 1, sizeof *frequency));
	if (m->type == CYC_DEFORMATION_FOURIER) cyc_deformation_frequencies(frequency, m);
	for (int32_t i = 0; i < m->n; i++) {
		double lambda = o->deformation_regulariser, width = m->type == CYC_DEFORMATION_LINEAR ? 1 / half : 1;
		if (m->type == CYC_DEFORMATION_FOURIER) {
			width = CYC_PI / (half * 2 * frequency[i]); /* 1 px at the lowest frequency */
			lambda *= cyc_square(frequency[i]);
		}
		s->deformation_width[i] = lambda > 0 ? 1 / sqrt(2 * lambda) : width;
	}
done:
	cyc_free(frequency);
	return st;
}

static cyc_status read_geometry(setting *s)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = s->shared->o;
	for (int32_t f = 0; f < s->ts->n_tilts; f++) {
		CYC_TRY(cyc_projection_of_tilt(&s->projections[f], s->ts, f));
		CYC_CHECK(o->const_angles || o->shift_only ||
		              cyc_mat3_orthogonality_error(s->projections[f].linear) < 2e-3,
		          CYC_E_UNSUPPORTED,
		          "tilt series %s, row %d: its projection matrix is not a rotation, so refined angles could "
		          "not be written; use --shift-only",
		          s->ts->name, f + 1);
	}
	for (int32_t p = 0; p < s->evidence->n_particles; p++) {
		s->positions[p] = s->particles[p].position_A;
		s->old_motion[p] = s->particles[p].motion_A;
		s->weight[p] = 1;
	}
	for (int32_t f = 0; f < s->ts->n_tilts; f++) s->strength[f] = s->sharpness[f] = s->step_factor[f] = 1;
	cyc_tilt_series_chronological(s->order, s->ts);
done:
	return st;
}

/* Sign of the stage's angles, from the Y tilts themselves. (T6.4) */
static cyc_status find_stage(setting *s)
{
	cyc_status st = CYC_OK;
	cyc_stage_relation r;
	CYC_TRY(cyc_stage_relation_find(&r, s->ts, s->a.base_angles));
	s->a.stage_sign = r.sign;
	if (!r.is_known || r.sign == 1) goto done;
	if (r.sign < 0)
		cyc_warn("tilt series %s: Y tilts decrease where the stage angles increase (slope %.3f +- %.3f): %s "
		         "has the other sign; it is used with the sign that fits",
		         s->ts->name, r.slope, r.slope_error, CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE);
	else
		cyc_warn("tilt series %s: Y tilts do not follow the stage angles (slope %.2f +- %.2f; scatter of "
		         "%.1f degrees, %.1f without them): check %s; they are not used as a prior of the Y tilts",
		         s->ts->name, r.slope, r.slope_error, cyc_rad_to_deg(r.scatter_rad),
		         cyc_rad_to_deg(r.without_rad), CYC_RLN_TOMO_NOMINAL_STAGE_TILT_ANGLE);
done:
	return st;
}

/* Input refined on these very images is hardly independent: priors on it are this wide if the original
 * values are unknown. */
static const double DEPENDENT_ANGLE_DEG = 1, DEPENDENT_SHIFT_A = 10;

static cyc_status find_priors(setting *s)
{
	cyc_status st = CYC_OK;
	cyc_alignment *a = &s->a;
	double scatter;
	CYC_TRY(cyc_alignment_init(a));
	CYC_TRY(find_stage(s));
	/* The series' geometry is expected to be as good as in the input, or better; the rest is learned. */
	CYC_TRY(cyc_alignment_geometry_scatter(&scatter, a));
	a->widths.angle_trend_rad = fmax(a->widths.angle_trend_rad, scatter);
	CYC_TRY(cyc_polish_original_input(&s->has_original, s->input_angles, s->input_shifts,
	                                  s->shared->in->tomograms, s->i_series));
	for (int32_t f = 0; f < s->ts->n_tilts && s->has_original; f++) {
		bool is_seen = false; /* a tilt without images stays where it is */
		for (int32_t p = 0; p < a->n_particles && !is_seen; p++) is_seen = cyc_pair_is_seen(a, p, f);
		if (is_seen) continue;
		memset(s->input_angles + 3 * f, 0, 3 * sizeof *s->input_angles);
		memset(s->input_shifts + 2 * f, 0, 2 * sizeof *s->input_shifts);
	}
	if (s->has_original) {
		a->input_angles = s->input_angles;
		a->input_shifts_A = s->input_shifts;
	} else if (s->shared->is_dependent) {
		a->has_dependent_input = true;
		a->widths.angle_input_rad = cyc_deg_to_rad(DEPENDENT_ANGLE_DEG);
		a->widths.shift_A = DEPENDENT_SHIFT_A;
	}
done:
	cyc_alignment_deinit(a);
	return st;
}

/* Tilts whose particles are far from the expected place start where they were found, with windows cut
 * there. (T6.16) */
static cyc_status find_lost_tilts(setting *s)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *ts = s->ts;
	cyc_refine_input *in = s->shared->in;
	cyc_tilt *tilts = NULL, *input = ts->tilts;
	bool is_any = false;
	if (s->shared->o->compat_relion5 || s->shared->o->const_shifts) goto done;
	CYC_TRY(cyc_alignment_init(&s->a));
	CYC_TRY(cyc_polish_find_lost_tilts(s->start_shifts, s->is_moved, &s->a,
	                                   cyc_evidence_predictions(s->shared->pass), in->particles,
	                                   s->i_series));
	cyc_alignment_deinit(&s->a);
	CYC_TRY(cyc_alloc(&tilts, ts->n_tilts, sizeof *tilts));
	memcpy(tilts, input, (size_t)ts->n_tilts * sizeof *tilts);
	ts->tilts = tilts;
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		if (!s->is_moved[f]) continue;
		is_any = true;
		CYC_TRY(cyc_tilt_change_apply(
			ts, f,
			&(cyc_tilt_change){ cyc_mat3_identity(),
		                        { s->start_shifts[2 * f], s->start_shifts[2 * f + 1] } }));
	}
	if (is_any)
		CYC_TRY(cyc_evidence_refresh(s->evidence, s->shared->pass, ts, in->particles, s->i_series, in->root,
		                             s->is_moved));
done:
	ts->tilts = input;
	cyc_free(tilts);
	cyc_alignment_deinit(&s->a);
	return st;
}

static cyc_status setting_init(setting *s)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = s->shared->o;
	const cyc_evidence *e = s->evidence;
	int32_t n = e->n_particles, T = s->ts->n_tilts;
	CYC_TRY(cyc_alloc(&s->projections, T, sizeof *s->projections));
	CYC_TRY(cyc_alloc(&s->positions, n, sizeof *s->positions));
	CYC_TRY(cyc_alloc(&s->old_motion, n, sizeof *s->old_motion));
	CYC_TRY(cyc_alloc(&s->order, T, sizeof *s->order));
	CYC_TRY(cyc_alloc(&s->step_sigma, T, sizeof *s->step_sigma));
	CYC_TRY(cyc_alloc(&s->step_dose, T, sizeof *s->step_dose));
	CYC_TRY(cyc_alloc(&s->step_factor, T, sizeof *s->step_factor));
	CYC_TRY(cyc_alloc(&s->weight, n, sizeof *s->weight));
	CYC_TRY(cyc_alloc(&s->strength, T, sizeof *s->strength));
	CYC_TRY(cyc_alloc(&s->sharpness, T, sizeof *s->sharpness));
	CYC_TRY(cyc_alloc(&s->left_out, n, sizeof *s->left_out));
	CYC_TRY(cyc_alloc(&s->is_moved, T, sizeof *s->is_moved));
	CYC_TRY(cyc_alloc(&s->input_angles, 3 * T, sizeof *s->input_angles));
	CYC_TRY(cyc_alloc(&s->input_shifts, 2 * T, sizeof *s->input_shifts));
	CYC_TRY(cyc_alloc(&s->start_shifts, 2 * T, sizeof *s->start_shifts));
	CYC_TRY(read_geometry(s));
	motion_steps(s->step_sigma, s->step_dose, s);
	if (o->do_motion && s->ts->n_tilts > 1) CYC_TRY(motion_model(s)); /* one image shows no motion */
	s->own = cyc_deformation_model_of(s->ts);
	CYC_TRY(deformation_widths(s));
	/* RELION has no priors on geometry and positions. */
	const cyc_alignment_widths usual = { .angle_input_rad = cyc_deg_to_rad(0.15),
		                                 .angle_trend_rad = cyc_deg_to_rad(0.15),
		                                 .shift_A = 2,
		                                 .position_A = 5 };
	const cyc_alignment_widths wide = {
		.angle_input_rad = 1, .angle_trend_rad = 1, .shift_A = 1000, .position_A = 1000
	};
	s->a = (cyc_alignment){ .n_tilts = T,
		                    .n_particles = n,
		                    .n_threads = o->n_threads,
		                    .ts = s->ts,
		                    .projections = s->projections,
		                    .positions_A = s->positions,
		                    .old_motion_A = s->old_motion,
		                    .order = s->order,
		                    .step_sigma_A = s->step_sigma,
		                    .step_dose = s->step_dose,
		                    .step_factor = s->step_factor,
		                    .grid = e->grid,
		                    .pairs = e->pairs,
		                    .particle_weight = s->weight,
		                    .tilt_strength = s->strength,
		                    .sharpness = s->sharpness,
		                    .amplitude = 1,
		                    .agreement = 1,
		                    .dispersion = 1,
		                    .is_unweighted = o->compat_relion5,
		                    .speed = 1,
		                    .has_fixed_speed = o->fixed_speed || o->compat_relion5,
		                    .do_angles = !o->const_angles && !o->shift_only,
		                    .do_shifts = !o->const_shifts,
		                    .do_positions = !o->const_positions && !o->shift_only,
		                    .widths = o->compat_relion5 ? wide : usual,
		                    .deformation_model = s->own,
		                    .deformation_width = s->deformation_width,
		                    .is_deformation_per_tilt = o->deformation_per_tilt,
		                    .stage_sign = 1,
		                    .start_shifts_A = s->start_shifts };
	if (!o->compat_relion5) CYC_TRY(find_priors(s));
done:
	return st;
}

static void forget(setting *s)
{
	s->a.amplitude = s->a.agreement = s->a.dispersion = 1;
	s->a.speed = 1;
	for (int32_t t = 0; t + 1 < s->a.n_tilts; t++) s->step_factor[t] = 1;
	for (int32_t p = 0; p < s->a.n_particles; p++) s->weight[p] = 1;
	for (int32_t f = 0; f < s->a.n_tilts; f++) s->strength[f] = s->sharpness[f] = 1;
}

/* ---------------------------------------------------------------- cross-validation */

/* The tilts of a solution, without its particles. */
typedef struct {
	cyc_tilt_change *tilts;
	double *angles, *deformation;
	cyc_deformation_model model;
} tilt_state;

static void tilt_state_deinit(tilt_state *t)
{
	cyc_free(t->tilts);
	cyc_free(t->angles);
	cyc_free(t->deformation);
	memset(t, 0, sizeof *t);
}

static cyc_status tilt_state_take(tilt_state *t, const cyc_alignment *a)
{
	cyc_status st = CYC_OK;
	size_t T = (size_t)a->n_tilts, n = T * (size_t)a->deformation_model.n;
	CYC_TRY(cyc_alloc(&t->tilts, T, sizeof *t->tilts));
	CYC_TRY(cyc_alloc(&t->angles, 3 * T, sizeof *t->angles));
	CYC_TRY(cyc_alloc(&t->deformation, n + 1, sizeof *t->deformation));
	memcpy(t->tilts, a->tilts, T * sizeof *t->tilts);
	memcpy(t->angles, a->angles, 3 * T * sizeof *t->angles);
	memcpy(t->deformation, a->deformation, n * sizeof *t->deformation);
	t->model = a->deformation_model;
done:
	return st;
}

/* Agreement of the particles that are not left out, each at its best position under given tilts (NULL: the
 * input's). */
static cyc_status agreement(double *values, setting *s, const tilt_state *t)
{
	cyc_status st = CYC_OK;
	cyc_alignment *a = &s->a;
	bool do_angles = a->do_angles, do_shifts = a->do_shifts, do_deformation = a->do_deformation;
	double *found = NULL;
	a->do_angles = a->do_shifts = a->do_deformation = false;
	a->deformation_model = t ? t->model : s->own;
	forget(s);
	CYC_TRY(cyc_alloc(&found, a->n_particles, sizeof *found));
	CYC_TRY(cyc_alignment_init(a));
	if (t) {
		memcpy(a->tilts, t->tilts, (size_t)a->n_tilts * sizeof *a->tilts);
		memcpy(a->angles, t->angles, 3 * (size_t)a->n_tilts * sizeof *a->angles);
		memcpy(a->deformation, t->deformation,
		       (size_t)a->n_tilts * (size_t)t->model.n * sizeof *a->deformation);
	}
	if (a->do_positions) CYC_TRY(cyc_alignment_solve(a, &(cyc_alignment_effort){ .is_brief = true }));
	/* The same strengths for all compared solutions. */
	forget(s);
	a->amplitude = s->heldout_strength;
	CYC_TRY(cyc_alignment_log_likelihoods(found, a));
	for (int32_t p = 0; p < a->n_particles; p++) values[p] += found[p];
done:
	a->do_angles = do_angles;
	a->do_shifts = do_shifts;
	a->do_deformation = do_deformation;
	cyc_free(found);
	cyc_alignment_deinit(a);
	return st;
}

/*
 * Fit the tilts to one half-set and test whether the images of the other agree better; both ways. (T6.10)
 * Adds to the values of each particle; `before` may be NULL.
 */
static cyc_status cross_validate(double *after, double *before, setting *s, bool do_deformation)
{
	cyc_status st = CYC_OK;
	cyc_alignment *a = &s->a;
	tilt_state t = { 0 };
	a->left_out = s->left_out;
	for (int32_t h = 0; h < 2; h++) {
		for (int32_t p = 0; p < a->n_particles; p++) s->left_out[p] = s->particles[p].half != h;
		forget(s);
		a->do_deformation = do_deformation;
		a->deformation_model = do_deformation ? s->refined : s->own;
		CYC_TRY(cyc_alignment_init(a));
		CYC_TRY(cyc_alignment_solve(
			a, &(cyc_alignment_effort){ .search_shifts = !s->shared->o->compat_relion5, .is_brief = true }));
		CYC_TRY(tilt_state_take(&t, a));
		if (!(s->heldout_strength > 0)) s->heldout_strength = a->amplitude;
		cyc_alignment_deinit(a);
		for (int32_t p = 0; p < a->n_particles; p++) s->left_out[p] = !s->left_out[p];
		CYC_TRY(agreement(after, s, &t));
		if (before) CYC_TRY(agreement(before, s, NULL));
		tilt_state_deinit(&t);
	}
done:
	a->left_out = NULL;
	a->do_deformation = false;
	a->deformation_model = s->own;
	forget(s);
	tilt_state_deinit(&t);
	return st;
}

static double sum_of(const double *v, int32_t n)
{
	double sum = 0;
	for (int32_t i = 0; i < n; i++) sum += v[i];
	return sum;
}

/*
 * Number of parameters of the tilts that images determine. An input fitted to both half-sets, or used for the
 * half maps, owes part of its agreement with the held-out images to them. With n of them such an input gains
 * n/4 of log L on each half, and tilts fitted to the other half lose n/2. Poses and motion have seen the
 * images too, under the input's tilts: as much again is allowed for them. (T6.10)
 */
static cyc_status gain_of_seen_input(double *gain, setting *s)
{
	cyc_status st = CYC_OK;
	cyc_alignment *a = &s->a;
	double *errors = NULL, n = 0;
	*gain = 0;
	CYC_TRY(
		cyc_alloc(&errors, CYC_PER_TILT * (size_t)a->n_tilts + 3 * (size_t)a->n_particles, sizeof *errors));
	forget(s);
	a->amplitude = s->heldout_strength;
	CYC_TRY(cyc_alignment_init(a));
	CYC_TRY(cyc_alignment_errors(errors, errors + CYC_PER_TILT * a->n_tilts, a));
	for (int32_t i = 0; i < CYC_PER_TILT * a->n_tilts; i++) {
		int32_t f = i / CYC_PER_TILT, k = i % CYC_PER_TILT;
		n += 1 - cyc_square(errors[i] / (k < 3 ? a->angle_width_rad[3 * f + k] : a->shift_width_A[f]));
	}
	*gain = 2 * 2 * (n / 4 + n / 2);
done:
	cyc_free(errors);
	cyc_alignment_deinit(a);
	forget(s);
	return st;
}

/* Compare the log-likelihood of each particle before and after, and report the result. */
static cyc_status compare(cyc_polished *r, setting *s, double *after, const double *before)
{
	cyc_status st = CYC_OK;
	int32_t n = s->a.n_particles;
	double allowance, *difference = NULL;
	CYC_TRY(cyc_alloc(&difference, n, sizeof *difference));
	for (int32_t p = 0; p < n; p++) difference[p] = after[p] - before[p];
	r->heldout_before = sum_of(before, n);
	r->heldout_after = sum_of(after, n);
	CYC_TRY(gain_of_seen_input(&allowance, s));
	r->outcome = cyc_polish_judge(&r->heldout_error, difference, n, allowance);
	cyc_info("tilt series %s: held-out images: %s (change of the log-likelihood %+.1f +- %.1f%s)",
	         s->ts->name, cyc_polish_outcome_name(r->outcome), r->heldout_after - r->heldout_before,
	         r->heldout_error,
	         s->has_original || s->a.has_dependent_input ? "; the input was itself refined on them" : "");
done:
	cyc_free(difference);
	return st;
}

/* Drop the prior on the series' geometry if held-out images agree less with it. */
static cyc_status try_without_geometry(cyc_polished *r, setting *s, double *after, const double *before)
{
	cyc_status st = CYC_OK;
	if (r->outcome != CYC_POLISH_WORSE || !s->a.do_angles || s->shared->o->compat_relion5) goto done;
	cyc_info("tilt series %s: trying again with priors on the input only", s->ts->name);
	s->a.has_no_geometry = true;
	memset(after, 0, (size_t)s->a.n_particles * sizeof *after);
	CYC_TRY(cross_validate(after, NULL, s, false));
	CYC_TRY(compare(r, s, after, before));
	if (r->outcome == CYC_POLISH_WORSE) s->a.has_no_geometry = false;
done:
	return st;
}

/* A new deformation must be clearly better, since it can only come from these images. */
static cyc_status try_deformation(cyc_polished *r, setting *s, const double *before, const double *without)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = s->shared->o;
	int32_t n = s->a.n_particles;
	double *deformed = NULL, *difference = NULL, error;
	if (cyc_polish_deformation(o) == CYC_DEFORMATION_NONE) goto done;
	CYC_TRY(cyc_alloc(&deformed, n, sizeof *deformed));
	CYC_TRY(cyc_alloc(&difference, n, sizeof *difference));
	CYC_TRY(cross_validate(deformed, NULL, s, true));
	for (int32_t p = 0; p < n; p++) difference[p] = deformed[p] - without[p];
	cyc_polish_outcome outcome = cyc_polish_judge(&error, difference, n, 0);
	s->a.do_deformation = outcome == CYC_POLISH_BETTER || o->accept_worse || o->compat_relion5;
	cyc_info(
		"tilt series %s: deformation, held-out images: %s (change of the log-likelihood %+.1f +- %.1f), %s",
		s->ts->name, cyc_polish_outcome_name(outcome), sum_of(difference, n), error,
		s->a.do_deformation ? "accepted" : "rejected");
	if (!s->a.do_deformation) goto done;
	s->a.deformation_model = s->refined;
	CYC_TRY(compare(r, s, deformed, before));
done:
	cyc_free(deformed);
	cyc_free(difference);
	return st;
}

/* Is the alignment accepted, and the deformation? Rejected only if clearly worse. No difference is
 * accepted: tilts fitted to all particles are better than those of the test, which were fitted to half. */
static cyc_status decide(cyc_polished *r, setting *s)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = s->shared->o;
	double *after = NULL, *before = NULL;
	CYC_TRY(cyc_alloc(&after, s->a.n_particles, sizeof *after));
	CYC_TRY(cyc_alloc(&before, s->a.n_particles, sizeof *before));
	CYC_TRY(cross_validate(after, before, s, false));
	CYC_TRY(compare(r, s, after, before));
	CYC_TRY(try_without_geometry(r, s, after, before));
	CYC_TRY(try_deformation(r, s, before, after));
	r->is_taken = r->outcome != CYC_POLISH_WORSE || o->accept_worse || o->compat_relion5;
	if (!r->is_taken)
		cyc_warn("tilt series %s: held-out images agree less after polishing (change of the log-likelihood "
		         "%.1f +- %.1f); the input is kept",
		         s->ts->name, r->heldout_after - r->heldout_before, r->heldout_error);
done:
	cyc_free(after);
	cyc_free(before);
	return st;
}

/* ---------------------------------------------------------------- solution */

double cyc__share_far_away(const cyc_alignment *a, double range_px)
{
	double far = 0, seen = 0, limit = FAR_SHARE * range_px;
	for (int32_t p = 0; p < a->n_particles; p++)
		for (int32_t f = 0; f < a->n_tilts; f++) {
			const cyc_pair *pair = cyc_pair_of(a, p, f);
			double at[2];
			if (!pair->map) continue;
			cyc_alignment_position(at, a, p, f);
			seen++;
			far += hypot(at[0] - pair->start_px[0], at[1] - pair->start_px[1]) > limit;
		}
	return seen > 0 ? far / seen : 0;
}

/*
 * Cut windows and predict again at the current solution: the project's data are set to it while the images
 * are read, then restored. The alignment continues from there, with its priors on the input.
 */
static cyc_status collect_again(setting *s)
{
	cyc_status st = CYC_OK;
	cyc_alignment *a = &s->a;
	cyc_tilt_series *ts = s->ts, input = *ts;
	size_t T = (size_t)a->n_tilts, N = (size_t)a->n_particles;
	cyc_tilt *tilts = NULL;
	float *motion = NULL;
	cyc_evidence *e = NULL;
	CYC_TRY(cyc_alloc(&tilts, T, sizeof *tilts));
	CYC_TRY(cyc_alloc(&motion, 3 * T * N, sizeof *motion));
	memcpy(tilts, input.tilts, T * sizeof *tilts);
	ts->tilts = tilts;
	for (size_t f = 0; f < T; f++) {
		CYC_TRY(cyc_tilt_change_apply(ts, (int32_t)f, &a->tilts[f]));
		tilts[f].deformation =
			a->deformation_model.n > 0 ? a->deformation + f * (size_t)a->deformation_model.n : NULL;
		tilts[f].n_deformation = a->deformation_model.n;
	}
	ts->deformation_type = a->deformation_model.type;
	memcpy(ts->deformation_grid, a->deformation_model.grid, sizeof ts->deformation_grid);
	for (size_t i = 0; i < 3 * T * N; i++) motion[i] = (float)a->displacement_A[i];
	for (size_t p = 0; p < N; p++) {
		cyc_vec3 r = s->positions[p], o = a->offsets_A[p];
		s->particles[p].position_A = (cyc_vec3){ r.x + o.x, r.y + o.y, r.z + o.z };
		s->particles[p].motion_A = motion + 3 * T * p;
	}
	CYC_TRY(cyc_evidence_collect(&e, s->shared->pass, ts, s->shared->in->particles, s->i_series,
	                             s->shared->in->root));
	cyc_evidence_destroy(&s->evidence);
	s->evidence = e;
	a->pairs = e->pairs;
	a->grid = e->grid;
done:
	ts->tilts = input.tilts;
	ts->deformation_type = input.deformation_type;
	memcpy(ts->deformation_grid, input.deformation_grid, sizeof ts->deformation_grid);
	for (size_t p = 0; p < N; p++) {
		s->particles[p].position_A = s->positions[p];
		s->particles[p].motion_A = s->old_motion[p];
	}
	cyc_free(tilts);
	cyc_free(motion);
	return st;
}

/*
 * The centre of a half map is the mean of its particles' positions, each in the particle's own frame. Those
 * have moved since the first input, so where symmetry does not fix the centre it is off by their mean.
 * (T6.18)
 */
static void add_frame_errors(double *errors, const setting *s)
{
	const cyc_alignment *a = &s->a;
	const cyc_vec3 *original = s->shared->original_A + s->shared->in->particles->series_first[s->i_series];
	double square[3] = { 0 }, n = 0;
	for (int32_t p = 0; p < a->n_particles; p++) {
		cyc_vec3 r = a->positions_A[p], o = a->offsets_A[p], was = original[p];
		cyc_vec3 moved =
			cyc_mat3_apply(cyc_mat3_transpose(s->particles[p].R_tomo_ref),
		                   (cyc_vec3){ r.x + o.x - was.x, r.y + o.y - was.y, r.z + o.z - was.z });
		square[0] += a->particle_weight[p] * moved.x * moved.x;
		square[1] += a->particle_weight[p] * moved.y * moved.y;
		square[2] += a->particle_weight[p] * moved.z * moved.z;
		n += a->particle_weight[p];
	}
	for (int32_t p = 0; p < a->n_particles && n > 0 && a->do_positions; p++) {
		const cyc_mat3 *A = &s->particles[p].R_tomo_ref;
		for (int k = 0; k < 3; k++) {
			double sum = cyc_square(errors[3 * p + k]);
			for (int i = 0; i < 3; i++)
				if (!s->shared->is_axis_held[i])
					sum += cyc_square(A->m[k][i]) * square[i] / n /
					       (double)s->shared->n_half[s->particles[p].half > 0];
			errors[3 * p + k] = sqrt(sum);
		}
	}
}

static cyc_status solve(cyc_polished *r, setting *s)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = s->shared->o;
	s->a.motion = s->motion;
	CYC_TRY(cyc_alignment_init(&s->a));
	for (int32_t pass = 0;; pass++) {
		CYC_TRY(cyc_alignment_solve(
			&s->a, &(cyc_alignment_effort){ .learn = !o->compat_relion5,
		                                    .search_shifts = pass == 0 && !o->compat_relion5 }));
		double far = cyc__share_far_away(&s->a, o->range_px);
		if (pass + 1 >= o->max_passes || far < 0.01 || o->compat_relion5) break;
		cyc_info("tilt series %s: %.0f %% of the particle images shifted by more than %.1f px; windows are "
		         "cut again",
		         s->ts->name, 100 * far, FAR_SHARE * o->range_px);
		CYC_TRY(collect_again(s));
	}
	CYC_TRY(cyc_alignment_free_errors(r->tilt_errors, r->particle_errors, r->motion_errors, r->held_errors,
	                                  &s->a));
	add_frame_errors(r->particle_errors, s);
	if (s->a.do_angles && s->a.do_positions && !o->compat_relion5) cyc_alignment_fix_gauge(&s->a);
	CYC_TRY(cyc_polished_take(r, &s->a));
	r->has_errors = true;
done:
	return st;
}

/* Of a rejected alignment, keep the tilts that were found elsewhere: these have their own evidence. */
static void take_lost_tilts(cyc_polished *r, const setting *s)
{
	for (int32_t f = 0; f < s->ts->n_tilts; f++) {
		if (!s->is_moved[f]) continue;
		r->is_taken = true;
		for (int k = 0; k < 2; k++) r->tilts[f].shift_A[k] = s->start_shifts[2 * f + k];
	}
	size_t T = (size_t)r->n_tilts;
	for (size_t p = 0; p < (size_t)r->n_particles && r->is_taken; p++)
		for (size_t i = 0; i < 3 * T && s->old_motion[p]; i++)
			r->displacement_A[3 * T * p + i] = (double)s->old_motion[p][i];
}

/* ---------------------------------------------------------------- whole images */

static cyc_status shifts_of_images(cyc_polished *r, const cyc_polish_shared *shared, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *ts = &shared->in->tomograms->series[i];
	cyc_prediction_pass *pass = cyc_evidence_predictions(shared->pass);
	int32_t n_faint = 0, n_seen = 0;
	double *difference = NULL;
	CYC_TRY(cyc_alloc(&difference, ts->n_tilts, sizeof *difference));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		cyc_image_shift found;
		CYC_TRY(cyc_cancel_check());
		if (ts->tilts[f].scale == 0) continue;
		CYC_TRY(cyc_image_shift_find(&found, pass, ts, f, shared->in->particles, i, 0));
		r->n_images += found.n_images;
		r->heldout_before += found.heldout_before;
		r->heldout_after += found.is_found ? found.heldout_after : found.heldout_before;
		if (found.n_images > 0)
			difference[n_seen++] = found.is_found ? found.heldout_after - found.heldout_before : 0;
		for (int k = 0; k < 2; k++) {
			r->tilts[f].shift_A[k] = found.shift_px[k] * ts->pixel_size_A;
			if (found.is_found) r->tilt_errors[5 * f + 3 + k] = found.error_px[k] * ts->pixel_size_A;
		}
		if (found.n_images > 0 && !found.is_found) n_faint++;
		cyc_debug("%s, row %d: shift %.2f, %.2f px, peak %.1f sigma, held out %.1f -> %.1f", ts->name, f + 1,
		          found.shift_px[0], found.shift_px[1], found.peak, found.heldout_before,
		          found.heldout_after);
	}
	if (n_faint > 0)
		cyc_warn("tilt series %s: in %d images the predicted particles are not found (peak below %.0f "
		         "sigma); their shifts are kept",
		         ts->name, n_faint, CYC_IMAGE_SHIFT_LEAST_PEAK);
	r->outcome = cyc_polish_judge(&r->heldout_error, difference, n_seen, 0);
	r->is_taken = r->n_images > 0 && (r->outcome == CYC_POLISH_BETTER || shared->o->accept_worse);
	r->has_errors = r->is_taken;
	if (r->n_images > 0 && !r->is_taken)
		cyc_warn("tilt series %s: the half-sets do not agree better after the shifts: %s (change of the "
		         "log-likelihood %+.1f +- %.1f); the input is kept",
		         ts->name, cyc_polish_outcome_name(r->outcome), r->heldout_after - r->heldout_before,
		         r->heldout_error);
done:
	cyc_free(difference);
	if (st != CYC_OK) cyc_error_context("tilt series %s", ts->name);
	return st;
}

cyc_status cyc_polish_series(cyc_polished *r, const cyc_polish_shared *shared, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_refine_input *in = shared->in;
	setting s = { .shared = shared,
		          .i_series = i,
		          .ts = &in->tomograms->series[i],
		          .particles = &in->particles->particles[in->particles->series_first[i]] };
	bool is_by_image = shared->o->shift_only && !shared->o->shift_by_particles;
	if (is_by_image) {
		CYC_TRY(cyc_prediction_pass_open(cyc_evidence_predictions(shared->pass), s.ts, in->root));
		CYC_TRY(cyc_polished_create(r, s.ts->n_tilts, (int32_t)cyc_refine_n_particles(in, i)));
		CYC_TRY(shifts_of_images(r, shared, i));
	} else {
		CYC_TRY(cyc_evidence_collect(&s.evidence, shared->pass, s.ts, in->particles, i, in->root));
		CYC_TRY(cyc_polished_create(r, s.ts->n_tilts, s.evidence->n_particles));
		r->n_images = s.evidence->n_visible;
	}
	if (r->n_images == 0) {
		cyc_warn("tilt series %s: no particle has its window inside any image; unchanged", s.ts->name);
	} else if (!is_by_image) {
		CYC_TRY(setting_init(&s));
		CYC_TRY(find_lost_tilts(&s));
		CYC_TRY(decide(r, &s));
		if (r->is_taken) CYC_TRY(solve(r, &s));
		else take_lost_tilts(r, &s);
	}
done:
	setting_deinit(&s);
	return st;
}

/* The job: files in, files out, one tilt series after the other. */
#include "cyclotomo/polish.h"

#include "polish/evidence.h"
#include "polish/polish_output.h"
#include "refine/refine_input.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static const double HELDOUT_TOLERANCE = 0.01;

void cyc_polish_options_default(cyc_polish_options *o)
{
	*o = (cyc_polish_options){ .range_px = 6, .motion_sigma_A_per_dose = 0.2, .motion_correlation_A = 5000, .motion_max_modes = -1, .cutoff_frac = 0.02,
		                       .n_threads = 1, .backend = "cpu" };
}

void cyc_polish_result_deinit(cyc_polish_result *r)
{
	char **const all[] = { &r->tomograms, &r->particles, &r->trajectories, &r->optimisation_set };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(*all[i]);
	memset(r, 0, sizeof *r);
}

typedef struct {
	const cyc_polish_options *o;
	cyc_refine_input in;
	cyc_backend *be;
	cyc_reference *reference;
	cyc_evidence_pass *pass;
	uint64_t hash;
	cyc_polished *results; /* n_series */
	cyc_polish_result *result;
} job;

static cyc_status read_input(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = j->o;
	const cyc_refine_request request = { &o->input, o->ref1, o->ref2, o->mask, o->fsc, o->out_dir, o->box_px, o->partial_windows };
	CYC_CHECK(o->range_px > 0 && (o->box_px <= 0 || o->range_px < o->box_px / 4.0), CYC_E_USAGE, "the range must be positive and less than a quarter of the box, got %g px",
	          o->range_px);
	CYC_CHECK(!(o->do_motion && o->shift_only), CYC_E_USAGE, "motion cannot be refined when only shifts are");
	CYC_CHECK(!(o->do_motion && o->const_positions), CYC_E_USAGE, "motion cannot be refined with constant positions");
	CYC_CHECK(!o->do_motion || o->motion_sigma_A_per_dose > 0, CYC_E_USAGE, "the width of the velocities must be positive, got %g", o->motion_sigma_A_per_dose);
	CYC_CHECK(!(o->const_positions && o->const_angles && o->const_shifts), CYC_E_USAGE, "nothing is left to refine");
	CYC_TRY(cyc_refine_input_read(&j->in, &request));
	cyc_info("%lld particles in %d tilt series, box %d px of %.4g Å, %d threads", (long long)j->in.particles->n, j->in.tomograms->n_series, o->box_px,
	         j->in.box.pixel_size_A, o->n_threads);
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++)
		CYC_CHECK(cyc_refine_n_particles(&j->in, i) < 1000000, CYC_E_UNSUPPORTED, "tilt series %s has more than a million particles", j->in.tomograms->series[i].name);
done:
	return st;
}

static cyc_status prepare(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = j->o;
	char *text = NULL;
	double length_A = o->box_px * j->in.box.pixel_size_A;
	CYC_TRY(cyc_asprintf(&text, "%d %.17g %d %.17g %.17g %d %d %d %d %d %d %.17g %.17g %.17g %d %d %d", o->box_px, o->range_px, o->do_motion,
	                     o->motion_sigma_A_per_dose, o->motion_correlation_A, o->squared_exponential, o->motion_max_modes, o->const_positions, o->const_angles,
	                     o->const_shifts, o->shift_only, o->k_min_A, o->cutoff_frac, o->frequency_cutoff_A, o->partial_windows, o->keep_self_correlation,
	                     o->accept_worse));
	CYC_TRY(cyc_refine_hash(&j->hash, &j->in, text));
	CYC_TRY(cyc_backend_open(&j->be, o->backend, o->n_threads));
	CYC_TRY(cyc_refine_reference(&j->reference, &j->in, j->be, o->frequency_cutoff_A));
	const cyc_evidence_options e = { o->range_px, o->k_min_A > 0 ? length_A / o->k_min_A : 0, o->cutoff_frac, o->keep_self_correlation };
	CYC_TRY(cyc_evidence_pass_create(&j->pass, j->be, &j->in.box, j->reference, &e));
	cyc_info("reference to %.2f Å; displacements up to %.1f px are seen", length_A / j->reference->radius, o->range_px);
done:
	cyc_free(text);
	return st;
}

/* Prior widths of the motion: s_vel per unit dose at the series' dose per tilt; the variance grows with the dose between tilts. */
static void motion_steps(double *sigma, const cyc_tilt_series *ts, const int32_t *order, double sigma_A_per_dose)
{
	double per_tilt = ts->fractional_dose_e_per_A2 > 0 ? ts->fractional_dose_e_per_A2 : 1;
	for (int32_t t = 0; t + 1 < ts->n_tilts; t++) {
		double dose = ts->tilts[order[t + 1]].pre_exposure_e_per_A2 - ts->tilts[order[t]].pre_exposure_e_per_A2;
		sigma[t] = sigma_A_per_dose * sqrt(per_tilt * fmax(dose, 0));
	}
}

/* Everything an alignment points to. */
typedef struct {
	cyc_projection *projections;
	cyc_vec3 *positions;
	const float **old_motion;
	int32_t *order;
	double *step_sigma, *weight;
	bool *left_out;
	cyc_motion_model *motion;
	cyc_alignment a;
} setting;

static void setting_deinit(setting *s)
{
	cyc_alignment_deinit(&s->a);
	cyc_motion_model_destroy(&s->motion);
	cyc_free(s->projections);
	cyc_free(s->positions);
	cyc_free(s->old_motion);
	cyc_free(s->order);
	cyc_free(s->step_sigma);
	cyc_free(s->weight);
	cyc_free(s->left_out);
}

static cyc_status setting_init(setting *s, const job *j, int32_t i, const cyc_evidence *e)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = j->o;
	const cyc_tilt_series *ts = &j->in.tomograms->series[i];
	const cyc_particle *particles = &j->in.particles->particles[j->in.particles->series_first[i]];
	int32_t n = e->n_particles;
	CYC_TRY(cyc_alloc(&s->projections, ts->n_tilts, sizeof *s->projections));
	CYC_TRY(cyc_alloc(&s->positions, n, sizeof *s->positions));
	CYC_TRY(cyc_alloc(&s->old_motion, n, sizeof *s->old_motion));
	CYC_TRY(cyc_alloc(&s->order, ts->n_tilts, sizeof *s->order));
	CYC_TRY(cyc_alloc(&s->step_sigma, ts->n_tilts, sizeof *s->step_sigma));
	CYC_TRY(cyc_alloc(&s->weight, n, sizeof *s->weight));
	CYC_TRY(cyc_alloc(&s->left_out, n, sizeof *s->left_out));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		CYC_TRY(cyc_projection_of_tilt(&s->projections[f], ts, f));
		CYC_CHECK(o->const_angles || o->shift_only || cyc_mat3_orthogonality_error(s->projections[f].linear) < 2e-3, CYC_E_UNSUPPORTED,
		          "tilt series %s, row %d: its projection matrix is not a rotation, so refined angles could not be written; use --shift-only", ts->name, f + 1);
	}
	for (int32_t p = 0; p < n; p++) {
		s->positions[p] = particles[p].position_A;
		s->old_motion[p] = particles[p].motion_A;
		s->weight[p] = 1;
	}
	cyc_tilt_series_chronological(s->order, ts);
	motion_steps(s->step_sigma, ts, s->order, o->motion_sigma_A_per_dose);
	const cyc_motion_options motion = { o->motion_correlation_A, o->squared_exponential, !o->const_shifts, o->motion_max_modes };
	if (o->do_motion) CYC_TRY(cyc_motion_model_create(&s->motion, s->positions, n, &motion));
	s->a = (cyc_alignment){ .n_tilts = ts->n_tilts, .n_particles = n, .ts = ts, .projections = s->projections, .positions_A = s->positions,
		                    .old_motion_A = s->old_motion, .order = s->order, .step_sigma_A = s->step_sigma, .grid = e->grid, .pairs = e->pairs,
		                    .particle_weight = s->weight, .amplitude = 1, .speed = 1, .n_threads = o->n_threads, .do_angles = !o->const_angles && !o->shift_only, .do_shifts = !o->const_shifts,
		                    .do_positions = !o->const_positions && !o->shift_only,
		                    .widths = { .angle_input_rad = cyc_deg_to_rad(0.15), .angle_trend_rad = cyc_deg_to_rad(0.15), .shift_A = 2, .position_A = 5 } };
done:
	return st;
}

/* Agreement of the particles that are not left out, each at its best position under given tilts. */
static cyc_status agreement(double *value, setting *s, const cyc_tilt_change *tilts, const double *angles)
{
	cyc_status st = CYC_OK;
	cyc_alignment *a = &s->a;
	bool do_angles = a->do_angles, do_shifts = a->do_shifts;
	a->do_angles = a->do_shifts = false;
	a->amplitude = 1;
	for (int32_t p = 0; p < a->n_particles; p++) s->weight[p] = 1;
	CYC_TRY(cyc_alignment_init(a));
	if (tilts) {
		memcpy(a->tilts, tilts, (size_t)a->n_tilts * sizeof *tilts);
		memcpy(a->angles, angles, 3 * (size_t)a->n_tilts * sizeof *angles);
	}
	const cyc_alignment_effort effort = { false, false };
	double agreement;
	if (a->do_positions) CYC_TRY(cyc_alignment_solve(a, &effort));
	a->amplitude = 1; /* the same for both that are compared */
	CYC_TRY(cyc_alignment_log_likelihood(&agreement, a));
	*value += agreement;
done:
	a->do_angles = do_angles;
	a->do_shifts = do_shifts;
	cyc_alignment_deinit(a);
	return st;
}

/* Fit the tilts to one half-set and see whether the other half's images agree better with them.                      (T6.10) */
static cyc_status cross_validate(double *before, double *after, setting *s, const cyc_particle *particles)
{
	cyc_status st = CYC_OK;
	cyc_alignment *a = &s->a;
	cyc_tilt_change *tilts = NULL;
	double *angles = NULL;
	*before = *after = 0;
	CYC_TRY(cyc_alloc(&tilts, a->n_tilts, sizeof *tilts));
	CYC_TRY(cyc_alloc(&angles, 3 * (size_t)a->n_tilts, sizeof *angles));
	a->left_out = s->left_out;
	for (int32_t h = 0; h < 2; h++) {
		for (int32_t p = 0; p < a->n_particles; p++) {
			s->left_out[p] = particles[p].half != h;
			s->weight[p] = 1;
		}
		a->amplitude = 1;
		CYC_TRY(cyc_alignment_init(a));
		CYC_TRY(cyc_alignment_solve(a, &(cyc_alignment_effort){ .search_shifts = true }));
		memcpy(tilts, a->tilts, (size_t)a->n_tilts * sizeof *tilts);
		memcpy(angles, a->angles, 3 * (size_t)a->n_tilts * sizeof *angles);
		cyc_alignment_deinit(a);
		for (int32_t p = 0; p < a->n_particles; p++) s->left_out[p] = !s->left_out[p];
		CYC_TRY(agreement(after, s, tilts, angles));
		CYC_TRY(agreement(before, s, NULL, NULL));
	}
	a->left_out = NULL;
	a->amplitude = 1;
	for (int32_t p = 0; p < a->n_particles; p++) s->weight[p] = 1;
done:
	cyc_free(tilts);
	cyc_free(angles);
	return st;
}

static cyc_status polish_series(job *j, int32_t i)
{
	cyc_status st = CYC_OK;
	setting s = { 0 };
	cyc_evidence *e = NULL;
	cyc_polished *r = &j->results[i];
	const cyc_particle *particles = &j->in.particles->particles[j->in.particles->series_first[i]];
	CYC_TRY(cyc_evidence_collect(&e, j->pass, &j->in.tomograms->series[i], j->in.particles, i, j->in.root));
	CYC_TRY(cyc_polished_create(r, e->n_tilts, e->n_particles));
	r->n_images = e->n_visible;
	if (e->n_visible == 0) {
		cyc_warn("tilt series %s: no particle has its window inside any image; nothing is changed", j->in.tomograms->series[i].name);
		goto done;
	}
	CYC_TRY(setting_init(&s, j, i, e));
	CYC_TRY(cross_validate(&r->heldout_before, &r->heldout_after, &s, particles));
	/* An input that was refined on these very images has seen the held-out half, and the comparison favours it: only a clear
	 * loss speaks against the new alignment. */
	r->is_improved = r->heldout_after > (1 - HELDOUT_TOLERANCE) * r->heldout_before;
	if (!r->is_improved && !j->o->accept_worse) {
		cyc_warn("tilt series %s: images that were not fitted agree less after polishing (%.1f before, %.1f after); it keeps its input",
		         j->in.tomograms->series[i].name, r->heldout_before, r->heldout_after);
		goto done;
	}
	s.a.motion = s.motion;
	CYC_TRY(cyc_alignment_init(&s.a));
	CYC_TRY(cyc_alignment_solve(&s.a, &(cyc_alignment_effort){ .learn = true, .search_shifts = true }));
	CYC_TRY(cyc_alignment_errors(r->tilt_errors, r->particle_errors, r->motion_errors, &s.a));
	if (s.a.do_angles && s.a.do_positions) cyc_alignment_fix_gauge(&s.a);
	cyc_polished_take(r, &s.a);
	r->is_taken = true;
done:
	cyc_evidence_destroy(&e);
	setting_deinit(&s);
	return st;
}

static cyc_status polish_all(job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	int32_t n = j->in.tomograms->n_series;
	CYC_TRY(cyc_alloc(&j->results, n, sizeof *j->results));
	for (int32_t i = 0; i < n; i++) {
		bool found = false;
		if (cyc_refine_n_particles(&j->in, i) == 0) {
			/* Matrices become angles and shifts in the output, which takes the size of the images. */
			cyc_tilt_series *ts = &j->in.tomograms->series[i];
			for (int32_t f = 0; f < ts->n_tilts; f++)
				if (ts->tilts[f].has_matrix) CYC_TRY(cyc_tilt_series_open(ts, j->in.root));
			continue;
		}
		CYC_TRY(cyc_cancel_check());
		CYC_TRY(cyc_asprintf(&path, "%stemp/%s.polish", j->in.out, j->in.tomograms->series[i].name));
		if (j->o->resume) CYC_TRY(cyc_polished_read(&found, &j->results[i], path, j->in.tomograms->series[i].n_tilts, (int32_t)cyc_refine_n_particles(&j->in, i), j->hash));
		if (found) {
			CYC_TRY(cyc_tilt_series_open(&j->in.tomograms->series[i], j->in.root)); /* its image size is part of the geometry */
		} else {
			CYC_TRY(polish_series(j, i));
			CYC_TRY(cyc_polished_write(path, &j->results[i], j->hash));
		}
		cyc_free(path);
		path = NULL;
		cyc_progress("polishing", i + 1, n);
	}
done:
	cyc_free(path);
	return st;
}

static void summarise(job *j)
{
	double shift = 0, position = 0, motion = 0, n_shift = 0, n_position = 0, n_motion = 0;
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		const cyc_polished *r = &j->results[i];
		if (!r->tilts) continue;
		j->result->n_series++;
		j->result->n_improved += r->is_improved;
		j->result->heldout_before += r->heldout_before;
		j->result->heldout_after += r->heldout_after;
		if (!r->is_taken) continue;
		for (int32_t f = 0; f < r->n_tilts; f++, n_shift += 2) shift += cyc_square(r->tilts[f].shift_A[0]) + cyc_square(r->tilts[f].shift_A[1]);
		for (int32_t p = 0; p < r->n_particles; p++, n_position += 3)
			position += cyc_square(r->offsets_A[p].x) + cyc_square(r->offsets_A[p].y) + cyc_square(r->offsets_A[p].z);
		for (size_t k = 0; k < 3 * (size_t)r->n_particles * (size_t)r->n_tilts; k++, n_motion++) motion += r->displacement_A[k] * r->displacement_A[k];
	}
	j->result->shift_rms_A = n_shift > 0 ? sqrt(shift / n_shift) : 0;
	j->result->position_rms_A = n_position > 0 ? sqrt(position / n_position) : 0;
	j->result->motion_rms_A = n_motion > 0 ? sqrt(motion / n_motion) : 0;
	cyc_info("%d of %d tilt series improved; held-out agreement %.1f -> %.1f; shifts %.2f Å, positions %.2f Å, motion %.2f Å rms per axis", j->result->n_improved,
	         j->result->n_series, j->result->heldout_before, j->result->heldout_after, j->result->shift_rms_A, j->result->position_rms_A, j->result->motion_rms_A);
}

static cyc_status write_all(job *j)
{
	cyc_status st = CYC_OK;
	const cyc_polish_files f = { .tomograms = j->in.tomograms, .particles = j->in.particles, .results = j->results, .input = j->in.set, .out_dir = j->in.out_dir,
		                         .out = j->in.out, .root = j->in.root, .write_particles = !j->o->shift_only, .write_motion = j->o->do_motion,
		                         .write_figures = !j->o->no_figures, .n_threads = j->o->n_threads };
	summarise(j);
	CYC_TRY(cyc_polish_write(j->result, &f));
done:
	return st;
}

cyc_status cyc_polish_run(cyc_polish_result *result, const cyc_polish_options *o)
{
	cyc_status st = CYC_OK;
	cyc_polish_result own = { 0 };
	job j = { .o = o, .result = result ? result : &own };
	memset(j.result, 0, sizeof *j.result);
	cyc_lapack_use_one_thread();
	CYC_TRY(read_input(&j));
	CYC_TRY(prepare(&j));
	if (o->dry_run) goto done;
	CYC_TRY(cyc_make_dirs(j.in.out));
	CYC_TRY(polish_all(&j));
	CYC_TRY(write_all(&j));
done:
	for (int32_t i = 0; j.results && i < j.in.tomograms->n_series; i++) cyc_polished_deinit(&j.results[i]);
	cyc_free(j.results);
	cyc_evidence_pass_destroy(&j.pass);
	cyc_reference_destroy(&j.reference);
	cyc_backend_close(&j.be);
	cyc_refine_input_deinit(&j.in);
	cyc_polish_result_deinit(&own);
	return st;
}

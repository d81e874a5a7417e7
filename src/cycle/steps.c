#include "cycle/steps.h"

#include "cycle/needs.h"
#include "cycle/waiting.h"
#include "run/options.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- reconstruct */

static cyc_project_input step_input(const cyc__cycle *c, const cyc__step *s)
{
	cyc_project_input in = s->input_set && s->input_set[0] ? cyc__input_of(c, s->input_set) : c->start;
	in.is_checked = true; /* at the start of the run */
	return in;
}

static cyc_status add_output(cyc__step *s, const char *role, const char *path)
{
	return path ? cyc__pairs_add(&s->outputs, role, "%s", path) : CYC_OK;
}

static void reconstruct_options(cyc__job_options *out, const cyc__step *s, const cyc__cycle *c)
{
	out->reconstruct = cyc__reconstruct_options(c->o);
	out->reconstruct.input = step_input(c, s);
	out->reconstruct.out_dir = s->out;
}

static cyc_status reconstruct_check(const cyc__job_options *o, const cyc_project_view *project)
{
	return cyc_reconstruct_check(&o->reconstruct, project);
}

static cyc_status reconstruct_run(cyc__step *s, const cyc__cycle *c, const cyc__job_options *o)
{
	cyc_status st = CYC_OK;
	cyc_reconstruct_result result = { 0 };
	CYC_TRY(c->ops->reconstruct(&result, &o->reconstruct));
	CYC_CHECK(result.half1 && result.half2 && result.optimisation_set, CYC_E_INTERNAL,
	          "the reconstruction did not name its half maps");
	CYC_TRY(add_output(s, "half map 1", result.half1));
	CYC_TRY(add_output(s, "half map 2", result.half2));
	CYC_TRY(add_output(s, "merged map", result.merged));
	CYC_TRY(add_output(s, "optimisation set", result.optimisation_set));
	CYC_TRY(cyc_strdup(&s->output_set, result.optimisation_set));
	s->n_particles = (double)result.n_particles;
	s->n_images = (double)result.n_images;
	s->n_images_outside = (double)result.n_images_outside;
done:
	cyc_reconstruct_result_deinit(&result);
	return st;
}

/* ---------------------------------------------------------------- post-process */

/* Folder for the maps of the state before in the new weights, and its optimisation set. */
static const char BEFORE_DIR[] = "before/", BEFORE_SET[] = "before/optimisation_set.star";

/* The reconstruction of that state. */
static cyc_status before_step(cyc__step *before, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	*before = (cyc__step){ .kind = CYC__RECONSTRUCT };
	CYC_TRY(cyc_strdup(&before->input_set, c->before_set));
	CYC_TRY(cyc_path_join(&before->dir, s->dir, BEFORE_DIR));
	CYC_TRY(cyc__step_name(before, c));
done:
	return st;
}

cyc_status cyc__before_command(char **out, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc__step before = { 0 };
	*out = NULL;
	if (s->kind != CYC__POSTPROCESS || !c->before_set) return CYC_OK;
	CYC_TRY(before_step(&before, c, s));
	CYC_TRY(cyc__step_command(out, &before, c));
done:
	cyc__step_deinit(&before);
	return st;
}

static cyc_status reconstruct_before(const cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc__step before = { 0 };
	cyc__job_options o;
	cyc_reconstruct_result result = { 0 };
	CYC_TRY(before_step(&before, c, s));
	reconstruct_options(&o, &before, c);
	CYC_TRY(c->ops->reconstruct(&result, &o.reconstruct));
done:
	cyc_reconstruct_result_deinit(&result);
	cyc__step_deinit(&before);
	return st;
}

/* The curves, and the figure that steps are judged by. */
static cyc_status take_fsc(cyc__step *s, const cyc_postprocess_result *r)
{
	cyc_status st = CYC_OK;
	const double *fsc = r->fsc_judged, *unmasked = r->fsc_unmasked;
	CYC_CHECK(fsc && unmasked && r->n_shells > 1, CYC_E_INTERNAL, "post-processing gave no FSC");
	CYC_TRY(cyc_alloc(&s->fsc, r->n_shells, sizeof *s->fsc));
	CYC_TRY(cyc_alloc(&s->fsc_unmasked, r->n_shells, sizeof *s->fsc_unmasked));
	s->n_shells = r->n_shells;
	memcpy(s->fsc, fsc, (size_t)r->n_shells * sizeof *fsc);
	memcpy(s->fsc_unmasked, unmasked, (size_t)r->n_shells * sizeof *unmasked);
	s->mean_fsc = r->mean_fsc;
	s->difference = r->difference;
	s->difference_error = r->difference_error;
	s->edge_fsc = r->edge_fsc;
	s->edge_fsc_error = r->edge_fsc_error;
	s->edge_fsc_outside = r->edge_fsc_outside;
	s->edge_fsc_outside_error = r->edge_fsc_outside_error;
	s->are_halves_suspect = r->are_halves_suspect;
	s->used_unmasked = r->used_unmasked;
	CYC_CHECK(isfinite(s->mean_fsc), CYC_E_NUMERIC, "the FSC of the half maps is not a number");
done:
	return st;
}

static cyc_status add_if_there(cyc__step *s, const cyc_cycle_options *o, const char *role, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *full = NULL;
	CYC_TRY(cyc_path_join(&path, s->dir, name));
	CYC_TRY(cyc_path_join(&full, o->input.root, path));
	if (cyc_path_exists(full)) CYC_TRY(add_output(s, role, path));
done:
	cyc_free(path);
	cyc_free(full);
	return st;
}

static void postprocess_options(cyc__job_options *out, const cyc__step *s, const cyc__cycle *c)
{
	out->postprocess = cyc__postprocess_options(c->o);
	out->postprocess.root = c->o->input.root ? c->o->input.root : "";
	out->postprocess.optimisation_set = s->input_set;
	out->postprocess.mask = c->in.mask_fsc;
	out->postprocess.compare_to = s->compare_to;
	out->postprocess.out_root = s->out;
}

static cyc_status postprocess_check(const cyc__job_options *o, const cyc_project_view *project)
{
	return cyc_postprocess_check(&o->postprocess, project);
}

static cyc_status postprocess_run(cyc__step *s, const cyc__cycle *c, const cyc__job_options *options)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	cyc_postprocess_result result = { 0 };
	if (c->before_set) CYC_TRY(reconstruct_before(s, c));
	CYC_TRY(c->ops->postprocess(&result, &options->postprocess));
	CYC_CHECK(result.star && result.optimisation_set, CYC_E_INTERNAL,
	          "post-processing did not name its outputs");
	CYC_TRY(take_fsc(s, &result));
	CYC_CHECK(!s->compare_to || (isfinite(s->difference) && isfinite(s->difference_error)), CYC_E_NUMERIC,
	          "the difference to '%s' is not a number", s->compare_to);
	CYC_TRY(add_output(s, "FSC", result.star));
	CYC_TRY(add_if_there(s, o, "sharpened map", "postprocess.mrc"));
	CYC_TRY(add_if_there(s, o, "sharpened map, masked", "postprocess_masked.mrc"));
	CYC_TRY(add_if_there(s, o, "figures", "logfile.pdf"));
	CYC_TRY(add_output(s, "optimisation set", result.optimisation_set));
	CYC_TRY(cyc_strdup(&s->output_set, result.optimisation_set));
	s->resolution_A = result.final_resolution_A;
	s->bfactor_A2 = result.bfactor_A2;
	s->randomise_from_A = result.randomise_from_A;
done:
	cyc_postprocess_result_deinit(&result);
	return st;
}

/* ---------------------------------------------------------------- CTF refinement */

/* Where particles are judged, if CTF refinement writes particles too. */
#define JUDGED_DIR "judged/"

static bool judges_particles(const cyc__cycle *c)
{
	return c->ops->judge && !c->o->skip_refine && !c->o->refine.keep_all;
}

/*
 * Junk has been in the maps so far. On beads it makes the half maps agree, and a CTF refinement that turns
 * from the beads to the particle seems to lose; so the particles are looked at where they are before it.
 * (T8.20)
 */
static cyc_status judge_particles(cyc_refine3d_result *judged, const cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_options r = cyc__judge_options(c->o);
	char *dir = NULL;
	CYC_TRY(cyc_path_dir(&dir, s->judged));
	r.input = step_input(c, s);
	r.mask = c->in.mask_align;
	r.out_dir = dir;
	CYC_TRY(c->ops->judge(judged, &r));
	if (judged->n_improbable > 0)
		cyc_info("%s: %lld of %lld picks probably do not show the particle, or not at this pose "
		         "(run_improbable.star)",
		         s->dir, (long long)judged->n_improbable, (long long)judged->n_particles);
done:
	cyc_free(dir);
	return st;
}

static void ctfrefine_options(cyc__job_options *out, const cyc__step *s, const cyc__cycle *c)
{
	out->ctfrefine = cyc__ctfrefine_options(c->o);
	out->ctfrefine.input = step_input(c, s);
	if (s->judged) out->ctfrefine.input.particles = s->judged;
	out->ctfrefine.mask = c->in.mask_align;
	out->ctfrefine.out_dir = s->out;
}

static cyc_status ctfrefine_check(const cyc__job_options *o, const cyc_project_view *project)
{
	return cyc_ctfrefine_check(&o->ctfrefine, project);
}

static cyc_status ctfrefine_run(cyc__step *s, const cyc__cycle *c, const cyc__job_options *options)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	cyc_ctfrefine_result result = { 0 };
	cyc_refine3d_result judged = { 0 };
	cyc_ctfrefine_options r = options->ctfrefine;
	const cyc__part_text preparation = cyc__preparation(o->n_parts);
	if (s->judged) {
		bool found;
		CYC_TRY(cyc__judged_read(&found, c, s, &judged));
		if (!found) CYC_TRY(judge_particles(&judged, s, c));
		if (!found && o->n_parts > 0) CYC_TRY(cyc__judged_write(c, s, &judged));
		CYC_TRY(add_output(s, "particles", judged.particles));
		CYC_TRY(
			add_if_there(s, o, "improbable particles",
		                 cyc__refines_optics(o) ? JUDGED_DIR "run_improbable.star" : "run_improbable.star"));
		s->n_judged = (double)judged.n_particles;
		s->n_improbable = (double)judged.n_improbable;
	}
	if (o->n_parts > 0) {
		r.part = preparation.text;
		CYC_TRY(c->ops->ctfrefine(&result, &r));
		s->waits = !result.part.others_are_finished;
		if (s->waits) goto done;
		r.part = NULL;
	}
	CYC_TRY(c->ops->ctfrefine(&result, &r));
	CYC_TRY(cyc__judged_forget(c, s));
	CYC_CHECK((result.tomograms || result.particles) && result.optimisation_set, CYC_E_INTERNAL,
	          "the CTF refinement did not name its outputs");
	CYC_TRY(add_output(s, "tomograms", result.tomograms));
	CYC_TRY(add_output(s, "particles with new optics groups", result.particles));
	CYC_TRY(add_if_there(s, o, "standard errors", "uncertainty.star"));
	CYC_TRY(add_if_there(s, o, "table of tilts", "refinement.txt"));
	CYC_TRY(add_if_there(s, o, "figures", "logfile.pdf"));
	CYC_TRY(add_output(s, "optimisation set", result.optimisation_set));
	CYC_TRY(cyc_strdup(&s->output_set, result.optimisation_set));
	s->n_tilts = (double)result.n_tilts;
	s->n_moved = (double)result.n_moved;
	s->n_flagged = (double)result.n_flagged;
	s->n_confirmed = (double)result.n_confirmed;
	s->n_from_trend = (double)result.n_from_trend;
	s->n_shifted = (double)result.n_shifted;
	s->n_bad = (double)result.n_bad;
	s->n_at_limit = (double)result.n_at_limit;
	s->n_no_particles = (double)result.n_no_particles;
	s->n_excluded = (double)result.n_excluded;
	s->n_not_asked = (double)result.n_not_asked;
	s->defocus_change_rms_A = result.defocus_change_rms_A;
	s->scale_change_rms = result.scale_change_rms;
done:
	cyc_ctfrefine_result_deinit(&result);
	cyc_refine3d_result_deinit(&judged);
	return st;
}

static void ctfrefine_log(const cyc__step *s)
{
	char text[400];
	cyc__tilts_describe(text, sizeof text, s);
	cyc_info("%s: %s; defocus changed by %.0f Å RMS, scale by %.3f RMS (%.1f s)", s->dir, text,
	         s->defocus_change_rms_A, s->scale_change_rms, s->seconds);
}

/* ---------------------------------------------------------------- polishing */

static void polish_options(cyc__job_options *out, const cyc__step *s, const cyc__cycle *c)
{
	out->polish = cyc__polish_options(c->o);
	out->polish.input = step_input(c, s);
	out->polish.mask = c->in.mask_align;
	out->polish.out_dir = s->out;
}

static cyc_status polish_check(const cyc__job_options *o, const cyc_project_view *project)
{
	return cyc_polish_check(&o->polish, project);
}

static cyc_status polish_run(cyc__step *s, const cyc__cycle *c, const cyc__job_options *options)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	cyc_polish_result result = { 0 };
	cyc_polish_options p = options->polish;
	const cyc__part_text preparation = cyc__preparation(o->n_parts);
	if (o->n_parts > 0) {
		p.part = preparation.text;
		CYC_TRY(c->ops->polish(&result, &p));
		s->waits = !result.part.others_are_finished;
		if (s->waits) goto done;
		p.part = NULL;
	}
	CYC_TRY(c->ops->polish(&result, &p));
	CYC_CHECK(result.tomograms && result.particles && result.optimisation_set, CYC_E_INTERNAL,
	          "the polishing did not name its outputs");
	CYC_TRY(add_output(s, "tomograms", result.tomograms));
	CYC_TRY(add_output(s, "particles", result.particles));
	CYC_TRY(add_output(s, "trajectories", result.trajectories));
	CYC_TRY(add_if_there(s, o, "standard errors", "uncertainty.star"));
	CYC_TRY(add_if_there(s, o, "figures", "logfile.pdf"));
	CYC_TRY(add_output(s, "optimisation set", result.optimisation_set));
	CYC_TRY(cyc_strdup(&s->output_set, result.optimisation_set));
	s->n_series = (double)result.n_series;
	s->n_improved = (double)result.n_improved;
	s->shift_change_rms_A = result.shift_rms_A;
	s->position_change_rms_A = result.position_rms_A;
	s->motion_rms_A = o->polish.do_motion ? result.motion_rms_A : CYC_NAN;
done:
	cyc_polish_result_deinit(&result);
	return st;
}

static void polish_log(const cyc__step *s)
{
	cyc_info("%s: %.0f of %.0f tilt series agree better with held-out images; shifts changed by %.2f Å RMS, "
	         "positions by %.2f Å (%.1f s)",
	         s->dir, s->n_improved, s->n_series, s->shift_change_rms_A, s->position_change_rms_A, s->seconds);
}

/* ---------------------------------------------------------------- orientations */

/* Particles that have come together are one; not where some were given that near in one half-set, as
 * overlapping segments are. */
static double least_separation_A(const cyc__cycle *c)
{
	bool may_remove = c->o->duplicates == CYC_DUPLICATES_REMOVE && c->in.duplicates.n_within == 0;
	/* Three decimals, as in the command line of the note. */
	return may_remove ? round(1e3 * c->in.duplicates.distance_A) / 1e3 : 0.0;
}

static void refine3d_options(cyc__job_options *out, const cyc__step *s, const cyc__cycle *c)
{
	cyc_refine3d_options *r = &out->refine3d;
	*r = cyc__refine3d_options(c->o);
	r->input = step_input(c, s);
	r->mask = c->in.mask_align;
	r->out_dir = s->out;
	if (!(r->min_separation_A > 0)) r->min_separation_A = least_separation_A(c);
}

static cyc_status refine3d_check(const cyc__job_options *o, const cyc_project_view *project)
{
	return cyc_refine3d_check(&o->refine3d, project);
}

static cyc_status refine3d_run(cyc__step *s, const cyc__cycle *c, const cyc__job_options *options)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	cyc_refine3d_result result = { 0 };
	CYC_TRY(c->ops->refine3d(&result, &options->refine3d));
	CYC_CHECK(result.particles && result.optimisation_set, CYC_E_INTERNAL,
	          "the refinement of the orientations did not name its outputs");
	CYC_TRY(add_output(s, "particles", result.particles));
	CYC_TRY(add_output(s, "half map 1", result.half1));
	CYC_TRY(add_output(s, "half map 2", result.half2));
	CYC_TRY(add_output(s, "map", result.map));
	CYC_TRY(add_if_there(s, o, "optimiser", "run_optimiser.star"));
	CYC_TRY(add_if_there(s, o, "standard errors", "run_uncertainty.star"));
	CYC_TRY(add_if_there(s, o, "figures", "run_figures.pdf"));
	CYC_TRY(add_if_there(s, o, "directions", "run_directions.png"));
	CYC_TRY(add_if_there(s, o, "improbable particles", "run_improbable.star"));
	CYC_TRY(add_output(s, "optimisation set", result.optimisation_set));
	CYC_TRY(cyc_strdup(&s->output_set, result.optimisation_set));
	s->n_iterations = (double)result.n_iterations;
	s->rotation_error_deg = cyc_rad_to_deg(result.rotation_error_rad);
	s->offset_error_A = result.offset_error_A;
	s->n_judged = (double)result.n_particles;
	s->n_improbable = (double)result.n_improbable;
	s->n_searched = (double)result.n_searched;
	s->n_found_again = (double)result.n_found_again;
done:
	cyc_refine3d_result_deinit(&result);
	return st;
}

static void refine3d_log(const cyc__step *s)
{
	cyc_info(
		"%s: standard errors of orientations %.2f degrees, of offsets %.2f Å after %.0f iteration%s (%.1f s)",
		s->dir, s->rotation_error_deg, s->offset_error_A, s->n_iterations, cyc_plural(s->n_iterations),
		s->seconds);
	if (s->n_improbable > 0)
		cyc_info("%s: %.0f of %.0f picks probably do not show the particle: run_improbable.star", s->dir,
		         s->n_improbable, s->n_judged);
	if (s->n_found_again > 0)
		cyc_info("%s: %.0f particles had a wrong pose and were found again", s->dir, s->n_found_again);
}

/* ---------------------------------------------------------------- the table */

static const cyc__kind_work WORK[CYC__N_KINDS] = {
	[CYC__RECONSTRUCT] = { reconstruct_options, reconstruct_run, reconstruct_check, cyc__need_reconstruct,
	                       NULL },
	[CYC__POSTPROCESS] = { postprocess_options, postprocess_run, postprocess_check, cyc__need_postprocess,
	                       NULL },
	[CYC__CTFREFINE] = { ctfrefine_options, ctfrefine_run, ctfrefine_check, cyc__need_ctfrefine,
	                     ctfrefine_log },
	[CYC__POLISH] = { polish_options, polish_run, polish_check, cyc__need_polish, polish_log },
	[CYC__REFINE3D] = { refine3d_options, refine3d_run, refine3d_check, cyc__need_refine3d, refine3d_log },
};

const cyc__kind_work *cyc__kind_work_of(cyc__kind kind) { return &WORK[kind]; }

cyc__need cyc__need_of(const cyc__planned *step, const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc__need need = { 0 };
	WORK[step->kind].need(&need, step->i_turn, in, o);
	return need;
}

cyc_status cyc__step_name(cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_asprintf(&s->out, "%s%s", s->dir, s->kind == CYC__POSTPROCESS ? "postprocess" : ""));
	/* At the start there is nothing to compare with. */
	if (s->kind == CYC__POSTPROCESS && c->i_best >= 0)
		CYC_TRY(c->before_set ? cyc_path_join(&s->compare_to, s->dir, BEFORE_SET)
		                      : cyc_strdup(&s->compare_to, c->steps[c->i_best].output_set));
	if (s->kind == CYC__CTFREFINE && judges_particles(c))
		CYC_TRY(cyc_asprintf(&s->judged, "%s%sparticles.star", s->dir,
		                     cyc__refines_optics(c->o) ? JUDGED_DIR : ""));
done:
	return st;
}

cyc_status cyc__step_command(char **out, const cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const cyc__kind_names *kind = cyc__kind_get(s->kind);
	cyc__job_options options;
	cyc__pairs arguments = { 0 };
	char *line = NULL, *longer = NULL;
	WORK[s->kind].options(&options, s, c);
	CYC_TRY(cyc__arguments(&arguments, &options, kind->table, false));
	CYC_TRY(cyc_asprintf(&line, "cyclotomo %s", kind->table->name));
	for (int32_t i = 0; i < arguments.n; i++) {
		const cyc__pair *a = &arguments.items[i];
		CYC_TRY(cyc_asprintf(&longer, "%s --%s%s%s", line, a->name, a->value[0] ? " " : "", a->value));
		cyc_free(line);
		line = longer;
		longer = NULL;
	}
	*out = line;
	line = NULL;
done:
	cyc__pairs_deinit(&arguments);
	cyc_free(line);
	return st;
}

cyc_status cyc__step_options_hash(uint64_t *h, const cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const cyc__kind_names *kind = cyc__kind_get(s->kind);
	cyc__job_options options;
	*h = cyc_hash_string(*h, kind->table->name);
	WORK[s->kind].options(&options, s, c);
	CYC_TRY(cyc_options_hash(h, &options, kind->table, CYC_OPTIONS_ALL));
	if (s->judged) {
		const cyc_refine3d_options judge = cyc__judge_options(c->o);
		CYC_TRY(cyc_options_hash(h, &judge, &cyc_refine3d_table, CYC_OPTIONS_RESULT));
	}
	if (s->kind == CYC__POSTPROCESS && c->before_set) {
		const cyc_reconstruct_options before = cyc__reconstruct_options(c->o);
		CYC_TRY(cyc_options_hash(h, &before, &cyc_reconstruct_table, CYC_OPTIONS_RESULT));
	}
done:
	return st;
}

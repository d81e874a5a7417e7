#include "cycle_internal.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- reconstruct */

cyc_project_input cyc__input_of(const cyc__cycle *c, const char *set)
{
	cyc_project_input in = c->o->input;
	in.optimisation_set = set;
	in.particles = in.tomograms = in.trajectories = NULL;
	return in;
}

static cyc_project_input step_input(const cyc__cycle *c, const cyc__step *s)
{
	cyc_project_input in = s->input_set && s->input_set[0] ? cyc__input_of(c, s->input_set) : c->start;
	in.is_checked = true; /* at the start of the run */
	return in;
}

static cyc_status add_input_arguments(cyc__pairs *out, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	const cyc_project_input in = step_input(c, s);
	if (in.optimisation_set) CYC_TRY(cyc__pairs_add(out, "i", "%s", in.optimisation_set));
	if (in.particles) CYC_TRY(cyc__pairs_add(out, "p", "%s", in.particles));
	if (in.tomograms) CYC_TRY(cyc__pairs_add(out, "t", "%s", in.tomograms));
	if (in.trajectories) CYC_TRY(cyc__pairs_add(out, "mot", "%s", in.trajectories));
	if (in.exclude_negative_scales) CYC_TRY(cyc__pairs_add(out, "exclude-negative-scales", "%s", ""));
	if (in.keep_outliers) CYC_TRY(cyc__pairs_add(out, "keep-outliers", "%s", ""));
	if (in.erase_beads) CYC_TRY(cyc__pairs_add(out, "erase-beads", "%s", ""));
done:
	return st;
}

/* Of windows that are much larger than the map only what the CTF brings back into the map is wanted. */
static bool crops_images(const cyc_cycle_options *o)
{
	return !o->skip_crop && !o->whole_windows && o->crop_px >= 12 && o->crop_px < o->box_px;
}

static cyc_status reconstruct_arguments(cyc__pairs *out, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	CYC_TRY(add_input_arguments(out, c, s));
	CYC_TRY(cyc__pairs_add(out, "b", "%d", o->box_px));
	if (o->crop_px > 0) CYC_TRY(cyc__pairs_add(out, "crop", "%d", o->crop_px));
	CYC_TRY(cyc__pairs_add(out, "sym", "%s", o->symmetry));
	if (o->snr > 0.0) CYC_TRY(cyc__pairs_add(out, "SNR", "%.10g", o->snr));
	if (o->whole_windows) CYC_TRY(cyc__pairs_add(out, "whole-windows", "%s", ""));
	if (crops_images(o)) CYC_TRY(cyc__pairs_add(out, "crop-images", "%s", ""));
done:
	return st;
}

static cyc_status add_output(cyc__step *s, const char *role, const char *path)
{
	return path ? cyc__pairs_add(&s->outputs, role, "%s", path) : CYC_OK;
}

cyc_reconstruct_options cyc__reconstruct_options(const cyc_cycle_options *o)
{
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.box_px = o->box_px;
	r.crop_px = o->crop_px;
	r.symmetry = o->symmetry;
	r.snr = o->snr;
	r.whole_windows = o->whole_windows;
	r.crop_images = crops_images(o);
	r.resume = true;
	r.n_threads = o->n_threads;
	r.backend = o->backend;
	return r;
}

static cyc_reconstruct_options reconstruct_options(const cyc__cycle *c, cyc_project_input input,
                                                   const char *out_dir)
{
	cyc_reconstruct_options r = cyc__reconstruct_options(c->o);
	r.input = input;
	r.out_dir = out_dir;
	return r;
}

static cyc_status reconstruct_check(const cyc__step *s, const cyc__cycle *c, const cyc_project_view *project)
{
	const cyc_reconstruct_options r = reconstruct_options(c, step_input(c, s), s->dir);
	return cyc_reconstruct_check(&r, project);
}

static cyc_status reconstruct_run(cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const cyc_reconstruct_options r = reconstruct_options(c, step_input(c, s), s->dir);
	cyc_reconstruct_result result = { 0 };
	CYC_TRY(c->ops->reconstruct(&result, &r));
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

/* Optimisation set whose half maps these are compared with; NULL at the start. */
static cyc_status compared_with(char **out, const cyc__cycle *c, const cyc__step *s)
{
	*out = NULL;
	if (c->i_best < 0) return CYC_OK;
	return c->before_set ? cyc_path_join(out, s->dir, BEFORE_SET)
	                     : cyc_strdup(out, c->steps[c->i_best].output_set);
}

cyc_status cyc__before_command(char **out, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc__step before = { .kind = CYC__RECONSTRUCT };
	*out = NULL;
	if (s->kind != CYC__POSTPROCESS || !c->before_set) return CYC_OK;
	CYC_TRY(cyc_strdup(&before.input_set, c->before_set));
	CYC_TRY(cyc_path_join(&before.dir, s->dir, BEFORE_DIR));
	CYC_TRY(reconstruct_arguments(&before.arguments, c, &before));
	CYC_TRY(cyc__step_command(out, &before));
done:
	cyc__step_deinit(&before);
	return st;
}

static cyc_status reconstruct_before(const cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	char *dir = NULL;
	cyc_reconstruct_result result = { 0 };
	CYC_TRY(cyc_path_join(&dir, s->dir, BEFORE_DIR));
	cyc_reconstruct_options r = reconstruct_options(c, cyc__input_of(c, c->before_set), dir);
	r.input.is_checked = true;
	CYC_TRY(c->ops->reconstruct(&result, &r));
done:
	cyc_reconstruct_result_deinit(&result);
	cyc_free(dir);
	return st;
}

static cyc_status postprocess_arguments(cyc__pairs *out, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	char *other = NULL;
	CYC_TRY(compared_with(&other, c, s));
	CYC_TRY(cyc__pairs_add(out, "optimisation-set", "%s", s->input_set));
	if (c->in.mask_fsc) CYC_TRY(cyc__pairs_add(out, "mask", "%s", c->in.mask_fsc));
	CYC_TRY(cyc__pairs_add(out, "sym", "%s", o->symmetry));
	if (other) CYC_TRY(cyc__pairs_add(out, "compare-to", "%s", other));
	if (o->has_bfactor) {
		CYC_TRY(cyc__pairs_add(out, "adhoc_bfac", "%.10g", o->adhoc_bfactor_A2));
	} else {
		CYC_TRY(cyc__pairs_add(out, "auto_bfac", "%s", ""));
		CYC_TRY(cyc__pairs_add(out, "autob_lowres", "%.10g", o->bfactor_low_A));
		if (o->bfactor_high_A > 0.0)
			CYC_TRY(cyc__pairs_add(out, "autob_highres", "%.10g", o->bfactor_high_A));
	}
	if (o->mtf) CYC_TRY(cyc__pairs_add(out, "mtf", "%s", o->mtf));
done:
	cyc_free(other);
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

static void postprocess_options(cyc_postprocess_options *p, const cyc__step *s, const cyc__cycle *c)
{
	const cyc_cycle_options *o = c->o;
	cyc_postprocess_options_default(p);
	p->root = o->input.root ? o->input.root : "";
	p->optimisation_set = s->input_set;
	p->mask = c->in.mask_fsc;
	p->symmetry = o->symmetry;
	p->auto_bfactor = !o->has_bfactor;
	p->adhoc_bfactor_A2 = o->has_bfactor ? o->adhoc_bfactor_A2 : 0.0;
	p->bfactor_low_A = o->bfactor_low_A;
	p->bfactor_high_A = o->bfactor_high_A;
	p->mtf = o->mtf;
	p->no_figures = o->no_figures;
	p->n_threads = o->n_threads;
}

static cyc_status postprocess_check(const cyc__step *s, const cyc__cycle *c, const cyc_project_view *project)
{
	cyc_postprocess_options p;
	postprocess_options(&p, s, c);
	p.out_root = s->dir;
	return cyc_postprocess_check(&p, project);
}

static cyc_status postprocess_run(cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	cyc_postprocess_options p;
	cyc_postprocess_result result = { 0 };
	char *out_root = NULL, *other = NULL;
	postprocess_options(&p, s, c);
	CYC_TRY(compared_with(&other, c, s));
	if (c->before_set) CYC_TRY(reconstruct_before(s, c));
	CYC_TRY(cyc_path_join(&out_root, s->dir, "postprocess"));
	p.compare_to = other;
	p.out_root = out_root;
	CYC_TRY(c->ops->postprocess(&result, &p));
	CYC_CHECK(result.star && result.optimisation_set, CYC_E_INTERNAL,
	          "post-processing did not name its outputs");
	CYC_TRY(take_fsc(s, &result));
	CYC_CHECK(!p.compare_to || (isfinite(s->difference) && isfinite(s->difference_error)), CYC_E_NUMERIC,
	          "the difference to '%s' is not a number", p.compare_to);
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
	cyc_free(other);
	cyc_free(out_root);
	return st;
}

/* ---------------------------------------------------------------- CTF refinement */

static bool judges_particles(const cyc__cycle *c)
{
	return c->ops->judge && !c->o->skip_refine && !c->o->keep_all;
}

static cyc_status ctfrefine_arguments(cyc__pairs *out, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	CYC_TRY(add_input_arguments(out, c, s));
	if (judges_particles(c)) CYC_TRY(cyc__pairs_add(out, "p", "%sparticles.star", s->dir));
	if (c->in.mask_align) CYC_TRY(cyc__pairs_add(out, "mask", "%s", c->in.mask_align));
	CYC_TRY(cyc__pairs_add(out, "b", "%d", o->box_px));
	if (o->skip_defocus) CYC_TRY(cyc__pairs_add(out, "skip-defocus", "%s", ""));
	if (o->skip_scale) CYC_TRY(cyc__pairs_add(out, "skip-scale", "%s", ""));
	CYC_TRY(cyc__pairs_add(out, "defocus-range", "%.10g", o->defocus_range_A));
	CYC_TRY(cyc__pairs_add(out, "kmin", "%.10g", o->ctf_kmin_A));
	if (o->whole_windows) CYC_TRY(cyc__pairs_add(out, "whole-windows", "%s", ""));
done:
	return st;
}

static void refine3d_options(cyc_refine3d_options *r, const cyc__step *s, const cyc__cycle *c)
{
	const cyc_cycle_options *o = c->o;
	cyc_refine3d_options_default(r);
	r->input = step_input(c, s);
	r->mask = c->in.mask_align;
	r->out_dir = s->dir;
	r->box_px = o->box_px;
	r->crop_px = o->crop_px;
	r->symmetry = o->symmetry;
	r->particle_diameter_A = o->particle_diameter_A;
	r->keep_all = o->keep_all;
	r->n_threads = o->n_threads;
	r->backend = o->backend;
}

/*
 * Junk has been in the maps so far. On beads it makes the half maps agree, and a CTF refinement that turns
 * from the beads to the particle seems to lose; so the particles are looked at where they are before it.
 * (T8.20)
 */
static cyc_status judge_particles(cyc_refine3d_result *judged, const cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_options r;
	refine3d_options(&r, s, c);
	r.only_judge = true;
	CYC_TRY(c->ops->judge(judged, &r));
	if (judged->n_improbable > 0)
		cyc_info("%s: %lld of %lld particles are probably not the particle, or not at this pose "
		         "(run_improbable.star)",
		         s->dir, (long long)judged->n_improbable, (long long)judged->n_particles);
done:
	return st;
}

static void ctfrefine_options(cyc_ctfrefine_options *r, const cyc__step *s, const cyc__cycle *c)
{
	const cyc_cycle_options *o = c->o;
	cyc_ctfrefine_options_default(r);
	r->input = step_input(c, s);
	r->mask = c->in.mask_align;
	r->out_dir = s->dir;
	r->box_px = o->box_px;
	r->do_defocus = !o->skip_defocus;
	r->do_scale = !o->skip_scale;
	r->defocus_range_A = o->defocus_range_A;
	r->k_min_A = o->ctf_kmin_A;
	r->whole_windows = o->whole_windows;
	r->resume = true;
	r->no_figures = o->no_figures;
	r->n_threads = o->n_threads;
	r->backend = o->backend;
}

static cyc_status ctfrefine_check(const cyc__step *s, const cyc__cycle *c, const cyc_project_view *project)
{
	cyc_ctfrefine_options r;
	ctfrefine_options(&r, s, c);
	return cyc_ctfrefine_check(&r, project);
}

static cyc_status ctfrefine_run(cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	cyc_ctfrefine_options r;
	cyc_ctfrefine_result result = { 0 };
	cyc_refine3d_result judged = { 0 };
	ctfrefine_options(&r, s, c);
	if (judges_particles(c)) {
		CYC_TRY(judge_particles(&judged, s, c));
		r.input.particles = judged.particles;
		CYC_TRY(add_output(s, "particles", judged.particles));
		CYC_TRY(add_if_there(s, o, "improbable particles", "run_improbable.star"));
		s->n_judged = (double)judged.n_particles;
		s->n_improbable = (double)judged.n_improbable;
	}
	CYC_TRY(c->ops->ctfrefine(&result, &r));
	CYC_CHECK(result.tomograms && result.optimisation_set, CYC_E_INTERNAL,
	          "the CTF refinement did not name its outputs");
	CYC_TRY(add_output(s, "tomograms", result.tomograms));
	CYC_TRY(add_if_there(s, o, "standard errors", "uncertainty.star"));
	CYC_TRY(add_if_there(s, o, "table of tilts", "refinement.txt"));
	CYC_TRY(add_if_there(s, o, "figures", "logfile.pdf"));
	CYC_TRY(add_output(s, "optimisation set", result.optimisation_set));
	CYC_TRY(cyc_strdup(&s->output_set, result.optimisation_set));
	s->n_tilts = (double)result.n_tilts;
	s->n_moved = (double)result.n_moved;
	s->n_flagged = (double)result.n_flagged;
	s->defocus_change_rms_A = result.defocus_change_rms_A;
	s->scale_change_rms = result.scale_change_rms;
done:
	cyc_ctfrefine_result_deinit(&result);
	cyc_refine3d_result_deinit(&judged);
	return st;
}

static void ctfrefine_log(const cyc__step *s)
{
	cyc_info("%s: %.0f of %.0f tilts moved, %.0f with little evidence; defocus changed by %.0f Å RMS, scale "
	         "by %.3f RMS (%.1f s)",
	         s->dir, s->n_moved, s->n_tilts, s->n_flagged, s->defocus_change_rms_A, s->scale_change_rms,
	         s->seconds);
}

/* ---------------------------------------------------------------- polishing */

static cyc_status polish_arguments(cyc__pairs *out, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	CYC_TRY(add_input_arguments(out, c, s));
	if (c->in.mask_align) CYC_TRY(cyc__pairs_add(out, "mask", "%s", c->in.mask_align));
	CYC_TRY(cyc__pairs_add(out, "b", "%d", o->box_px));
	CYC_TRY(cyc__pairs_add(out, "range", "%.10g", o->polish_range_px));
	if (!o->skip_motion) {
		CYC_TRY(cyc__pairs_add(out, "motion", "%s", ""));
		CYC_TRY(cyc__pairs_add(out, "velocity-sigma", "%.10g", o->motion_sigma_A_per_dose));
		CYC_TRY(cyc__pairs_add(out, "motion-distance", "%.10g", o->motion_correlation_A));
	}
	if (o->whole_windows) CYC_TRY(cyc__pairs_add(out, "whole-windows", "%s", ""));
done:
	return st;
}

static void polish_options(cyc_polish_options *p, const cyc__step *s, const cyc__cycle *c)
{
	const cyc_cycle_options *o = c->o;
	cyc_polish_options_default(p);
	p->input = step_input(c, s);
	p->mask = c->in.mask_align;
	p->out_dir = s->dir;
	p->box_px = o->box_px;
	p->range_px = o->polish_range_px;
	p->do_motion = !o->skip_motion;
	p->motion_sigma_A_per_dose = o->motion_sigma_A_per_dose;
	p->motion_correlation_A = o->motion_correlation_A;
	p->whole_windows = o->whole_windows;
	p->resume = true;
	p->no_figures = o->no_figures;
	p->n_threads = o->n_threads;
	p->backend = o->backend;
}

static cyc_status polish_check(const cyc__step *s, const cyc__cycle *c, const cyc_project_view *project)
{
	cyc_polish_options p;
	polish_options(&p, s, c);
	return cyc_polish_check(&p, project);
}

static cyc_status polish_run(cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	cyc_polish_options p;
	cyc_polish_result result = { 0 };
	polish_options(&p, s, c);
	CYC_TRY(c->ops->polish(&result, &p));
	CYC_CHECK(result.tomograms && result.particles && result.optimisation_set, CYC_E_INTERNAL,
	          "the polishing did not name its outputs");
	CYC_TRY(add_output(s, "tomograms", result.tomograms));
	CYC_TRY(add_output(s, "particles", result.particles));
	CYC_TRY(add_output(s, "trajectories", result.trajectories));
	CYC_TRY(add_if_there(s, o, "standard errors", "uncertainty.star"));
	CYC_TRY(add_output(s, "optimisation set", result.optimisation_set));
	CYC_TRY(cyc_strdup(&s->output_set, result.optimisation_set));
	s->n_series = (double)result.n_series;
	s->n_improved = (double)result.n_improved;
	s->shift_change_rms_A = result.shift_rms_A;
	s->position_change_rms_A = result.position_rms_A;
	s->motion_rms_A = !o->skip_motion ? result.motion_rms_A : CYC_NAN;
done:
	cyc_polish_result_deinit(&result);
	return st;
}

static void polish_log(const cyc__step *s)
{
	cyc_info(
		"%s: %.0f of %.0f tilt series improved; shifts changed by %.2f Å RMS, positions by %.2f Å (%.1f s)",
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

static cyc_status refine3d_arguments(cyc__pairs *out, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	CYC_TRY(add_input_arguments(out, c, s));
	if (c->in.mask_align) CYC_TRY(cyc__pairs_add(out, "mask", "%s", c->in.mask_align));
	CYC_TRY(cyc__pairs_add(out, "b", "%d", o->box_px));
	if (o->crop_px > 0) CYC_TRY(cyc__pairs_add(out, "crop", "%d", o->crop_px));
	CYC_TRY(cyc__pairs_add(out, "sym", "%s", o->symmetry));
	if (o->particle_diameter_A > 0)
		CYC_TRY(cyc__pairs_add(out, "particle-diameter", "%.10g", o->particle_diameter_A));
	CYC_TRY(cyc__pairs_add(out, "healpix-order", "%d", o->refine_order));
	CYC_TRY(cyc__pairs_add(out, "offset-range", "%.10g", CYC__REFINE_OFFSET_RANGE_PX));
	if (o->keep_all) CYC_TRY(cyc__pairs_add(out, "keep-all", "%s", ""));
	if (least_separation_A(c) > 0)
		CYC_TRY(cyc__pairs_add(out, "min-separation", "%.10g", least_separation_A(c)));
done:
	return st;
}

static cyc_status refine3d_check(const cyc__step *s, const cyc__cycle *c, const cyc_project_view *project)
{
	cyc_refine3d_options r;
	refine3d_options(&r, s, c);
	r.healpix_order = c->o->refine_order;
	r.offset_range_px = CYC__REFINE_OFFSET_RANGE_PX;
	return cyc_refine3d_check(&r, project);
}

static cyc_status refine3d_run(cyc__step *s, const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	const cyc_cycle_options *o = c->o;
	cyc_refine3d_options r;
	cyc_refine3d_result result = { 0 };
	refine3d_options(&r, s, c);
	r.healpix_order = o->refine_order;
	r.offset_range_px = CYC__REFINE_OFFSET_RANGE_PX;
	r.min_separation_A = least_separation_A(c);
	r.resume = true;
	CYC_TRY(c->ops->refine3d(&result, &r));
	CYC_CHECK(result.particles && result.optimisation_set, CYC_E_INTERNAL,
	          "the refinement of the orientations did not name its outputs");
	CYC_TRY(add_output(s, "particles", result.particles));
	CYC_TRY(add_output(s, "half map 1", result.half1));
	CYC_TRY(add_output(s, "half map 2", result.half2));
	CYC_TRY(add_output(s, "map", result.map));
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
	cyc_info("%s: orientations known to %.2f degrees, offsets to %.2f Å after %.0f iterations (%.1f s)",
	         s->dir, s->rotation_error_deg, s->offset_error_A, s->n_iterations, s->seconds);
	if (s->n_improbable > 0)
		cyc_info("%s: %.0f of %.0f particles are probably not the particle: run_improbable.star", s->dir,
		         s->n_improbable, s->n_judged);
	if (s->n_found_again > 0)
		cyc_info("%s: %.0f particles were in a wrong pose and found again", s->dir, s->n_found_again);
}

/* ---------------------------------------------------------------- the table */

static const cyc__kind_row KINDS[CYC__N_KINDS] = {
	[CYC__RECONSTRUCT] = { "Reconstruct", "relion.reconstructparticletomo", "reconstruct",
	                       "half maps and merged map", reconstruct_arguments, reconstruct_run,
	                       reconstruct_check, cyc__need_reconstruct, NULL },
	[CYC__POSTPROCESS] = { "PostProcess", "relion.postprocess", "postprocess",
	                       "FSC, resolution, sharpened map", postprocess_arguments, postprocess_run,
	                       postprocess_check, cyc__need_postprocess, NULL },
	[CYC__CTFREFINE] = { "CtfRefine", "relion.ctfrefinetomo", "ctfrefine",
	                     "defocus, astigmatism, contrast scale", ctfrefine_arguments, ctfrefine_run,
	                     ctfrefine_check, cyc__need_ctfrefine, ctfrefine_log },
	[CYC__POLISH] = { "Polish", "relion.framealigntomo", "polish", "tilt geometry, positions, motion",
	                  polish_arguments, polish_run, polish_check, cyc__need_polish, polish_log },
	[CYC__REFINE3D] = { "Refine3D", "relion.refine3d.tomo", "refine", "orientations and positions",
	                    refine3d_arguments, refine3d_run, refine3d_check, cyc__need_refine3d, refine3d_log },
};

const cyc__kind_row *cyc__kind_get(cyc__kind kind) { return &KINDS[kind]; }

cyc_status cyc__check_steps(const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__cycle c = { .o = o, .in = *in, .start = o->input, .i_best = -1 };
	const cyc_project_view project = { .root = o->input.root ? o->input.root : "",
		                               .set = in->set,
		                               .tomograms = in->tomograms,
		                               .particles = in->particles,
		                               .map_px = in->crop_px,
		                               .map_pixel_size_A = in->pixel_size_A };
	cyc__planned *plan = NULL;
	cyc__step s = { 0 };
	bool is_done[CYC__N_KINDS] = { false };
	int32_t n;
	CYC_TRY(cyc__plan_steps(&plan, &n, o));
	for (int32_t i = 0; i < n; i++) {
		if (is_done[plan[i].kind]) continue;
		is_done[plan[i].kind] = true;
		CYC_TRY(cyc__step_init(&s, o, plan[i].kind, plan[i].i_turn, i + 1));
		CYC_TRY(cyc_strdup(&s.input_set, ""));
		CYC_TRY_CTX(KINDS[plan[i].kind].check(&s, &c, &project), "step %s", KINDS[plan[i].kind].folder);
		cyc__step_deinit(&s);
	}
done:
	cyc__step_deinit(&s);
	cyc_free(plan);
	return st;
}

cyc_status cyc__step_init(cyc__step *s, const cyc_cycle_options *o, cyc__kind kind, int32_t i_turn,
                          int32_t job)
{
	cyc_status st = CYC_OK;
	*s = (cyc__step){ .kind = kind, .i_turn = i_turn, .job = job, .seconds = CYC_NAN };
#define NOT_APPLICABLE(name) s->name = CYC_NAN;
	CYC__STEP_FIGURES(NOT_APPLICABLE)
#undef NOT_APPLICABLE
	CYC_TRY(cyc_asprintf(&s->name, "%s/job%03d/", KINDS[kind].folder, job));
	CYC_TRY(cyc_path_join(&s->dir, o->out_dir, s->name));
done:
	return st;
}

void cyc__step_deinit(cyc__step *s)
{
	cyc_free(s->name);
	cyc_free(s->dir);
	cyc_free(s->input_set);
	cyc_free(s->output_set);
	cyc__pairs_deinit(&s->arguments);
	cyc__pairs_deinit(&s->outputs);
	cyc_file_marks_deinit(&s->files);
	cyc_free(s->fsc);
	cyc_free(s->fsc_unmasked);
	for (int32_t i = 0; i < s->n_warnings; i++) cyc_free(s->warnings[i]);
	cyc_free(s->warnings);
	*s = (cyc__step){ 0 };
}

cyc_status cyc__step_command(char **out, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	char *line = NULL, *longer = NULL;
	CYC_TRY(cyc_asprintf(&line, "cyclotomo %s", KINDS[s->kind].command));
	for (int32_t i = 0; i < s->arguments.n; i++) {
		const cyc__pair *a = &s->arguments.items[i];
		CYC_TRY(cyc_asprintf(&longer, "%s --%s%s%s", line, a->name, a->value[0] ? " " : "", a->value));
		cyc_free(line);
		line = longer;
		longer = NULL;
	}
	CYC_TRY(cyc_asprintf(out, "%s --o %s%s", line, s->dir, s->kind == CYC__POSTPROCESS ? "postprocess" : ""));
done:
	cyc_free(line);
	return st;
}

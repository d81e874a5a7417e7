/*
 * job.star of a step in the words of RELION's GUI, so that the tab of its job shows what was done, and
 * Continue does it again. RELION's program of the job is called with the values of the fields and the
 * "additional arguments", which hold the options without a field, in RELION's spelling if one exists.
 */
#include "cycle/in_project.h"
#include "run/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The tab that is being filled in. */
typedef struct {
	cyc__pairs *out;
	const cyc__step *s;
	const cyc__cycle *c;
	const cyc_optimisation_set *set; /* of the input; NULL: the run's own inputs */
	char *arguments;                 /* additional ones */
} tab;

static cyc_status put(tab *t, const char *variable, const char *value)
{
	return cyc__pairs_add(t->out, variable, "%s", value ? value : "");
}

static cyc_status put_number(tab *t, const char *variable, double value)
{
	return cyc__pairs_add(t->out, variable, "%.10g", value);
}

static cyc_status put_switch(tab *t, const char *variable, bool is_on)
{
	return put(t, variable, is_on ? "Yes" : "No");
}

/* A word as the additional arguments need it: in quotes if it has blanks. */
static cyc_status add_argument(tab *t, const char *option, const char *value)
{
	cyc_status st = CYC_OK;
	char *longer = NULL;
	const char *quote = value && (strpbrk(value, " \t\"") || !value[0]) ? "'" : "";
	CYC_TRY(cyc_asprintf(&longer, "%s%s%s%s%s%s%s", t->arguments ? t->arguments : "", t->arguments ? " " : "",
	                     option, value ? " " : "", quote, value ? value : "", quote));
	cyc_free(t->arguments);
	t->arguments = longer;
done:
	return st;
}

static cyc_status add_number(tab *t, const char *option, double value)
{
	char text[32];
	snprintf(text, sizeof text, "%.10g", value);
	return add_argument(t, option, text);
}

/* ---------------------------------------------------------------- options without a field */

/* "a,b,c" has the word. */
static bool is_in(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == n && strncmp(at, word, n) == 0) return true;
	return false;
}

/* Would RELION's program get other values than the step had? */
static cyc_status needs_saying(bool *needs, char **value, const void *options, const cyc_option *o)
{
	cyc_status st = CYC_OK;
	char *end = NULL;
	CYC_TRY(cyc_option_value(value, options, o));
	*needs = !cyc_option_is_default(options, o);
	bool has_other = o->relion && o->relion_default && !cyc_option_is_flag(o) && !o->no_default;
	if (!has_other) goto done;
	double is = strtod(*value, &end), there = strtod(o->relion_default, NULL);
	bool is_number = end != *value;
	if (is_number) *needs = *needs || fabs(is - there) > 0.0;
done:
	return st;
}

/* All options of the job but those of its files, of how it runs, and those with a field (`fields`). */
static cyc_status add_others(tab *t, const void *options, const cyc_option_table *table, const char *fields)
{
	cyc_status st = CYC_OK;
	char *value = NULL, *name = NULL;
	bool needs;
	for (int i = 0; i < table->n; i++) {
		const cyc_option *o = &table->rows[i];
		if (o->type == CYC_OPT_TABLE)
			CYC_TRY(add_others(t, (const char *)options + o->offset, o->table, fields));
		if (o->type == CYC_OPT_HEADING || o->type == CYC_OPT_TABLE) continue;
		if (o->purpose == CYC_FOR_RUN || o->purpose == CYC_FOR_FILES || is_in(fields, o->name)) continue;
		CYC_TRY(needs_saying(&needs, &value, options, o));
		if (o->relion) CYC_TRY(cyc_asprintf(&name, "%.*s", (int)strcspn(o->relion, ","), o->relion));
		else CYC_TRY(cyc_asprintf(&name, "--%s", o->name));
		if (needs) CYC_TRY(add_argument(t, name, cyc_option_is_flag(o) ? NULL : value));
		cyc_free(value);
		cyc_free(name);
		value = name = NULL;
	}
done:
	cyc_free(value);
	cyc_free(name);
	return st;
}

/* ---------------------------------------------------------------- fields that several tabs have */

/* Queue settings are unknown here: as on a new tab. */
static cyc_status put_queue(tab *t, bool has_ranks, bool has_threads)
{
	cyc_status st = CYC_OK;
	CYC_TRY(put_switch(t, "do_queue", false));
	CYC_TRY(put(t, "queuename", "openmpi"));
	CYC_TRY(put(t, "qsub", "qsub"));
	CYC_TRY(put(t, "qsubscript", ""));
	CYC_TRY(put_number(t, "min_dedicated", 1));
	if (has_ranks) CYC_TRY(put_number(t, "nr_mpi", 1));
	if (has_threads) CYC_TRY(put_number(t, "nr_threads", t->c->o->n_threads));
done:
	return st;
}

/* Either a set or the files, as RELION's tab requires. */
static cyc_status put_project(tab *t)
{
	cyc_status st = CYC_OK;
	const cyc_project_input *in = &t->c->start;
	const cyc_optimisation_set *all = t->c->in.set;
	bool is_set = t->s->input_set[0] && !t->s->judged,
		 is_start_set = !t->s->input_set[0] && in->optimisation_set && !in->particles && !in->tomograms &&
	                    !in->trajectories;
	const char *set = is_set ? t->s->input_set : is_start_set ? in->optimisation_set : NULL;
	CYC_TRY(put_switch(t, "use_direct_entries", !set));
	CYC_TRY(put(t, "in_optimisation", set));
	if (!set && t->set) all = t->set;
	const char *particles = t->s->judged               ? t->s->judged
	                        : in->particles && !t->set ? in->particles
	                                                   : all->particles,
			   *motion = in->trajectories && !t->set ? in->trajectories : all->trajectories;
	CYC_TRY(put(t, "in_particles", set ? NULL : particles));
	CYC_TRY(put(t, "in_tomograms", set ? NULL : all->tomograms));
	CYC_TRY(put(t, "in_trajectories", set ? NULL : motion));
done:
	return st;
}

static cyc_status put_references(tab *t)
{
	cyc_status st = CYC_OK;
	CYC_TRY(put(t, "in_halfmaps", t->set ? t->set->reference_map1 : NULL));
	CYC_TRY(put(t, "in_refmask", t->c->in.mask_align));
	CYC_TRY(put(t, "in_post", t->set ? t->set->reference_fsc : NULL));
done:
	return st;
}

/* ---------------------------------------------------------------- the tabs */

static cyc_status reconstruct_tab(tab *t, const cyc__job_options *options)
{
	cyc_status st = CYC_OK;
	const cyc_reconstruct_options *o = &options->reconstruct;
	CYC_TRY(put_project(t));
	CYC_TRY(put_number(t, "box_size", o->box_px));
	CYC_TRY(put_number(t, "crop_size", o->crop_px));
	CYC_TRY(put_number(t, "binning", o->binning));
	CYC_TRY(put_number(t, "snr", o->snr > 0 ? o->snr : 0));
	CYC_TRY(put(t, "sym_name", o->symmetry));
	CYC_TRY(put_queue(t, true, true));
	CYC_TRY(add_others(t, o, &cyc_reconstruct_table,
	                   "box,crop,bin,snr,symmetry,exclude-negative-scales,write-sums"));
done:
	return st;
}

static cyc_status postprocess_tab(tab *t, const cyc__job_options *options)
{
	cyc_status st = CYC_OK;
	const cyc_postprocess_options *o = &options->postprocess;
	CYC_TRY(put(t, "fn_in", t->set->reference_map1));
	CYC_TRY(put(t, "fn_mask", o->mask));
	CYC_TRY(put_number(t, "angpix", -1));
	CYC_TRY(put_switch(t, "do_auto_bfac", !o->has_bfactor));
	CYC_TRY(put_number(t, "autob_lowres", o->bfactor_low_A));
	CYC_TRY(put_switch(t, "do_adhoc_bfac", o->has_bfactor));
	CYC_TRY(put_number(t, "adhoc_bfac", o->has_bfactor ? o->adhoc_bfactor_A2 : -1000));
	CYC_TRY(put_switch(t, "do_skip_fsc_weighting", o->skip_fsc_weighting));
	CYC_TRY(put_number(t, "low_pass", o->skip_fsc_weighting ? o->lowpass_A : 5));
	CYC_TRY(put(t, "fn_mtf", o->mtf));
	CYC_TRY(put_number(t, "mtf_angpix", o->mtf && o->mtf_pixel_size_A > 0 ? o->mtf_pixel_size_A : -1));
	CYC_TRY(put_queue(t, false, false));
	CYC_TRY(add_number(t, "--j", t->c->o->n_threads));
	if (o->compare_to) CYC_TRY(add_argument(t, "--compare-to", o->compare_to));
	if (!o->skip_fsc_weighting && fabs(o->lowpass_A) > 0) CYC_TRY(add_number(t, "--low_pass", o->lowpass_A));
	CYC_TRY(add_others(t, o, &cyc_postprocess_table,
	                   "pixel-size,bfactor-low,adhoc-bfactor,skip-fsc-weighting,lowpass,mtf,mtf-pixel-size"));
done:
	return st;
}

static cyc_status ctfrefine_tab(tab *t, const cyc__job_options *options)
{
	cyc_status st = CYC_OK;
	const cyc_ctfrefine_options *o = &options->ctfrefine;
	bool is_ice = o->scale_model == CYC_SCALE_ICE;
	CYC_TRY(put_project(t));
	CYC_TRY(put_references(t));
	CYC_TRY(put_number(t, "box_size", o->box_px));
	CYC_TRY(put_switch(t, "do_defocus", o->do_defocus));
	CYC_TRY(put_number(t, "focus_range", o->defocus_range_A));
	CYC_TRY(put_switch(t, "do_reg_def", false));
	CYC_TRY(put_number(t, "lambda", 0.1));
	CYC_TRY(put_switch(t, "do_scale", o->do_scale));
	CYC_TRY(put_switch(t, "do_frame_scale", is_ice || o->scale_model == CYC_SCALE_TILT));
	CYC_TRY(put_switch(t, "do_tomo_scale", o->scale_model == CYC_SCALE_TOMOGRAM));
	CYC_TRY(put_queue(t, true, true));
	if (is_ice) CYC_TRY(add_argument(t, "--scale-model", "ice"));
	if (o->do_even_aberrations) CYC_TRY(add_argument(t, "--do_even_aberrations", NULL));
	if (o->do_odd_aberrations) CYC_TRY(add_argument(t, "--do_odd_aberrations", NULL));
	CYC_TRY(add_others(t, o, &cyc_ctfrefine_table,
	                   "box,skip-defocus,defocus-range,skip-scale,scale-model,even-aberrations,"
	                   "odd-aberrations,exclude-negative-scales"));
done:
	return st;
}

static cyc_status polish_tab(tab *t, const cyc__job_options *options)
{
	cyc_status st = CYC_OK;
	const cyc_polish_options *o = &options->polish;
	CYC_TRY(put_project(t));
	CYC_TRY(put_references(t));
	CYC_TRY(put_number(t, "box_size", o->box_px));
	CYC_TRY(put_number(t, "max_error", o->range_px));
	CYC_TRY(put_switch(t, "do_shift_align", o->shift_only));
	CYC_TRY(put(t, "shift_align_type", o->shift_by_particles ? "Only particles" : "Entire micrographs"));
	CYC_TRY(put_switch(t, "do_motion", o->do_motion));
	CYC_TRY(put_number(t, "sigma_vel", o->motion_sigma_A_per_dose));
	CYC_TRY(put_number(t, "sigma_div", o->motion_correlation_A));
	CYC_TRY(put_switch(t, "do_sq_exp_ker", o->squared_exponential));
	CYC_TRY(put_queue(t, true, true));
	CYC_TRY(add_others(t, o, &cyc_polish_table,
	                   "box,range,shift-only,shift-only-by-particles,motion,velocity-sigma,motion-distance,"
	                   "gaussian-decay,exclude-negative-scales"));
done:
	return st;
}

/* The menu names the fine step of an order. */
static cyc_status put_order(tab *t, const char *variable, int32_t order)
{
	static const char *const MENU[] = { "30", "15", "7.5", "3.7", "1.8", "0.9", "0.5", "0.2", "0.1" };
	int32_t last = (int32_t)(sizeof MENU / sizeof *MENU) - 1;
	return cyc__pairs_add(t->out, variable, "%s degrees", MENU[order < 0 ? 0 : order > last ? last : order]);
}

/* Fields of the tab without meaning here: helices, copies of stacks, GPUs. */
static cyc_status put_unused_fields(tab *t)
{
	static const char *const FIELDS[][2] = { { "auto_faster", "No" },
		                                     { "ctf_intact_first_peak", "No" },
		                                     { "do_apply_helical_symmetry", "Yes" },
		                                     { "do_blush", "No" },
		                                     { "do_combine_thru_disc", "No" },
		                                     { "do_helix", "No" },
		                                     { "do_local_search_helical_symmetry", "No" },
		                                     { "do_pad1", "No" },
		                                     { "do_parallel_discio", "Yes" },
		                                     { "do_preread_images", "No" },
		                                     { "fn_cont", "" },
		                                     { "gpu_ids", "" },
		                                     { "helical_nr_asu", "1" },
		                                     { "helical_range_distance", "-1" },
		                                     { "helical_rise_inistep", "0" },
		                                     { "helical_rise_initial", "0" },
		                                     { "helical_rise_max", "0" },
		                                     { "helical_rise_min", "0" },
		                                     { "helical_tube_inner_diameter", "-1" },
		                                     { "helical_tube_outer_diameter", "-1" },
		                                     { "helical_twist_inistep", "0" },
		                                     { "helical_twist_initial", "0" },
		                                     { "helical_twist_max", "0" },
		                                     { "helical_twist_min", "0" },
		                                     { "helical_z_percentage", "30" },
		                                     { "keep_tilt_prior_fixed", "Yes" },
		                                     { "nr_pool", "3" },
		                                     { "range_psi", "10" },
		                                     { "range_rot", "-1" },
		                                     { "range_tilt", "15" },
		                                     { "relax_sym", "" },
		                                     { "scratch_dir", "" },
		                                     { "sigma_tilt", "0" },
		                                     { "use_gpu", "No" } };
	cyc_status st = CYC_OK;
	for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) CYC_TRY(put(t, FIELDS[i][0], FIELDS[i][1]));
done:
	return st;
}

static cyc_status refine3d_tab(tab *t, const cyc__job_options *options)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_options *o = &options->refine3d;
	bool has_field = o->mask && !o->no_fsc_correction;
	CYC_TRY(put_project(t));
	CYC_TRY(put(t, "fn_ref", t->set->reference_map1));
	CYC_TRY(put(t, "fn_mask", o->mask));
	CYC_TRY(put_switch(t, "ref_correct_greyscale", true));
	CYC_TRY(put_switch(t, "trust_ref_size", true));
	CYC_TRY(put_number(t, "ini_high", o->lowpass_A > 0 ? o->lowpass_A : 0));
	CYC_TRY(put(t, "sym_name", o->symmetry));
	CYC_TRY(put_switch(t, "do_ctf_correction", true));
	CYC_TRY(put_number(t, "particle_diameter", o->particle_diameter_A > 0 ? o->particle_diameter_A : -1));
	CYC_TRY(put_switch(t, "do_zero_mask", true));
	CYC_TRY(put_switch(t, "do_solvent_fsc", has_field));
	CYC_TRY(put_order(t, "sampling", o->healpix_order));
	CYC_TRY(put_order(t, "auto_local_sampling", o->auto_local_order));
	CYC_TRY(put_number(t, "offset_range", o->offset_range_px));
	CYC_TRY(put_number(t, "offset_step", 0.5 * o->offset_step_px));
	CYC_TRY(put_unused_fields(t));
	CYC_TRY(put_queue(t, true, true));
	if (!o->no_fsc_correction && !has_field) CYC_TRY(add_argument(t, "--solvent_correct_fsc", NULL));
	if (o->min_separation_A > 0) CYC_TRY(add_number(t, "--min-separation", o->min_separation_A));
	CYC_TRY(add_others(t, o, &cyc_refine3d_table,
	                   "symmetry,particle-diameter,lowpass,no-fsc-correction,healpix-order,local-from,"
	                   "offset-range,offset-step,min-separation,oversampling,join,exclude-negative-scales"));
	if (fabs(o->join_A - 40.0) > 0) CYC_TRY(add_number(t, "--low_resol_join_halves", o->join_A));
done:
	return st;
}

cyc_status cyc__joboptions(cyc__pairs *out, const cyc__step *s, const cyc__cycle *c,
                           const cyc__job_options *o)
{
	static cyc_status (*const TABS[CYC__N_KINDS])(tab *, const cyc__job_options *) = {
		[CYC__RECONSTRUCT] = reconstruct_tab, [CYC__POSTPROCESS] = postprocess_tab,
		[CYC__CTFREFINE] = ctfrefine_tab,     [CYC__POLISH] = polish_tab,
		[CYC__REFINE3D] = refine3d_tab,
	};
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	char *path = NULL;
	tab t = { .out = out, .s = s, .c = c };
	if (s->input_set[0]) {
		CYC_TRY(cyc_path_join(&path, c->o->input.root, s->input_set));
		CYC_TRY(cyc_optimisation_set_read(&set, path));
		t.set = set;
	}
	CYC_TRY(TABS[s->kind](&t, o));
	CYC_TRY(put(&t, "other_args", t.arguments));
done:
	cyc_optimisation_set_destroy(&set);
	cyc_free(path);
	cyc_free(t.arguments);
	return st;
}

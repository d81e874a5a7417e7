#include "cycle/requirements.h"
#include "cycle/in_project.h"

#include "cycle/steps.h"
#include "run/plan.h"

#include <math.h>

cyc_status cyc__require_memory(const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__planned *plan = NULL;
	int32_t n, most = 0;
	double bytes = 0.0, available = cyc_memory_available_bytes();
	CYC_TRY(cyc__plan_steps(&plan, &n, o));
	for (int32_t i = 0; i < n; i++) {
		const cyc__need need = cyc__need_of(&plan[i], in, o);
		double memory = fmax(need.memory, need.first);
		if (memory > bytes) most = i;
		bytes = fmax(bytes, memory);
	}
	if (bytes <= available) goto done;
	st = cyc_error_raise(CYC_E_NOMEM, __FILE__, __LINE__, __func__,
	                     "%s needs about %.3g GB of memory, but only %.3g GB are available",
	                     cyc__kind_get(plan[most].kind)->folder, bytes / 1e9, available / 1e9);
	cyc_error_hint("use a smaller box (--b), smaller maps (--crop), or fewer threads (--j)");
done:
	cyc_free(plan);
	return st;
}

/* A half-set must not be left empty. */
static cyc_status check_what_is_left(const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	int64_t n[2] = { 0, 0 };
	char text[900];
	if (in->duplicates.n_across == 0 || o->duplicates == CYC_DUPLICATES_KEEP) return CYC_OK;
	for (int64_t i = 0; i < in->particles->n; i++) n[in->particles->particles[i].half] += in->keep[i];
	if (o->duplicates == CYC_DUPLICATES_REMOVE && n[0] > 0 && n[1] > 0) return CYC_OK;
	cyc__inputs_describe_duplicates(text, sizeof text, in, o);
	if (o->duplicates == CYC_DUPLICATES_REFUSE) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "%s", text);
		cyc_error_hint("without '--duplicates refuse' one of each pair is left out; if they are different "
		               "particles, give the true --particle-diameter");
	} else {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "%s, and a half-set would have no particles left", text);
		cyc_error_hint("assign each particle to one half-set only");
	}
	return st;
}

/* The checks of all jobs that the plan has; nothing is computed. */
static cyc_status check_steps(const cyc__inputs *in, const cyc_cycle_options *o)
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
	cyc__job_options options;
	bool is_done[CYC__N_KINDS] = { false };
	int32_t n, job;
	CYC_TRY(cyc__plan_steps(&plan, &n, o));
	for (int32_t i = 0; i < n; i++) {
		const cyc__kind_work *work = cyc__kind_work_of(plan[i].kind);
		if (is_done[plan[i].kind]) continue;
		is_done[plan[i].kind] = true;
		CYC_TRY(cyc__planned_job(&job, o, plan[i].kind, i));
		CYC_TRY(cyc__step_init(&s, o, plan[i].kind, plan[i].i_turn, job));
		CYC_TRY(cyc_strdup(&s.input_set, ""));
		CYC_TRY(cyc_strdup(&s.out, s.dir));
		work->options(&options, &s, &c);
		CYC_TRY_CTX(work->check(&options, &project), "step %s", cyc__kind_get(plan[i].kind)->folder);
		cyc__step_deinit(&s);
	}
done:
	cyc__step_deinit(&s);
	cyc_free(plan);
	return st;
}

/*
 * The folder can be made and written to; a run that begins has room for the maps of all its reconstructions,
 * which stay. What else its steps may need is an estimate: that is a warning.
 */
static cyc_status check_room(const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__planned *plan = NULL;
	char *dir = NULL;
	int32_t n;
	double all = 0, maps = 0, available;
	double edges = pow(in->crop_px, 3) + (in->crop_px < o->box_px ? pow(o->box_px, 3) : 0);
	CYC_TRY(cyc_path_join(&dir, o->input.root, o->out_dir));
	CYC_TRY(cyc__plan_steps(&plan, &n, o));
	for (int32_t i = 0; i < n; i++) {
		all += cyc__need_of(&plan[i], in, o).disk;
		if (plan[i].kind == CYC__RECONSTRUCT) maps += 3 * sizeof(float) * edges;
	}
	/* Of a run that is continued nobody knows how much is there already. */
	bool is_new = !cyc_path_exists(dir);
	CYC_TRY(cyc_check_output(o->input.root, o->out_dir, is_new ? maps : 0));
	CYC_TRY(cyc_disk_free(&available, dir));
	if (is_new && all > available)
		cyc_warn("the run may need %.3g GB of disk space in '%s', where only %.3g GB are free", all / 1e9,
		         o->out_dir, available / 1e9);
done:
	cyc_free(plan);
	cyc_free(dir);
	return st;
}

cyc_status cyc__inputs_require_all(const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	const char *first = "";
	CYC_TRY(cyc_tomogram_set_check_scales(in->tomograms));
	CYC_TRY(cyc_project_require_window(&in->size, in->tomograms, o->box_px));
	CYC_TRY(cyc__require_memory(in, o));
	CYC_TRY(check_what_is_left(in, o));
	for (int32_t i = in->tomograms->n_series - 1; i >= 0; i--) {
		if (in->series[i].missing[0]) first = in->series[i].missing[0];
	}
	if (in->n_missing == 0) {
		CYC_TRY(cyc_finding_raise(&in->found));
		CYC_TRY(check_steps(in, o));
		CYC_TRY(check_room(in, o));
		goto done;
	}
	st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
	                     "%lld of %lld tilt images cannot be found, the first is %s",
	                     (long long)in->n_missing, (long long)in->n_images, first);
	cyc_error_hint("paths in STAR files are relative to the project folder: give it with --root; --dry-run "
	               "lists what is missing");
done:
	return st;
}

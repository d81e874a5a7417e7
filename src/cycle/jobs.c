/* A cycle as jobs for a scheduler: stretches of one process, and between them arrays of parts. */
#include "cycle/steps.h"
#include "run/options.h"
#include "run/plan.h"

#include <math.h>
#include <string.h>

static double need_of(cyc__kind kind, const cyc__inputs *in, const cyc_cycle_options *o)
{
	double memory, disk;
	cyc__kind_work_of(kind)->need(&memory, &disk, in, o);
	return memory;
}

/* Memory of a part, which does not judge particles. */
static double need_of_part(cyc__kind kind, const cyc__inputs *in, const cyc_cycle_options *o)
{
	const cyc_polish_options p = cyc__polish_options(o);
	const cyc_ctfrefine_options r = cyc__ctfrefine_options(o);
	return kind == CYC__POLISH ? cyc_polish_memory_bytes(&p, &in->size, in->crop_px)
	                           : cyc_ctfrefine_memory_bytes(&r, &in->size, in->crop_px);
}

static bool can_be_dealt(cyc__kind kind) { return kind == CYC__POLISH || kind == CYC__CTFREFINE; }

cyc_status cyc_cycle_jobs(cyc_cycle_job **out, int32_t *n, int32_t *n_series, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__inputs in = { 0 };
	cyc__planned *plan = NULL;
	cyc_cycle_job *jobs = NULL;
	int32_t n_steps;
	*n = *n_series = 0;
	CYC_TRY(cyc__inputs_read(&in, o));
	CYC_TRY(cyc__plan_steps(&plan, &n_steps, o));
	CYC_TRY(cyc_alloc(&jobs, 2 * (int64_t)n_steps + 1, sizeof *jobs));
	for (int32_t i = 0; i < in.tomograms->n_series; i++) *n_series += in.series[i].n_particles > 0;
	snprintf(jobs[0].name, sizeof jobs[0].name, "start");
	for (int32_t i = 0; i < n_steps; i++) {
		cyc__kind kind = plan[i].kind;
		const char *command = cyc__kind_get(kind)->table->name;
		jobs[*n].memory_bytes = fmax(jobs[*n].memory_bytes, need_of(kind, &in, o));
		if (!can_be_dealt(kind)) continue;
		cyc_cycle_job *dealt = &jobs[++*n], *after = &jobs[++*n];
		dealt->is_dealt = true;
		dealt->memory_bytes = need_of_part(kind, &in, o);
		after->memory_bytes = need_of(kind, &in, o);
		snprintf(dealt->name, sizeof dealt->name, "%s_%d", command, plan[i].i_turn);
		snprintf(after->name, sizeof after->name, "after_%s_%d", command, plan[i].i_turn);
	}
	++*n;
	*out = jobs;
	jobs = NULL;
done:
	cyc__inputs_deinit(&in);
	cyc_free(plan);
	cyc_free(jobs);
	return st;
}

/* A cycle as jobs for a scheduler: what one process does, and between that what many do. */
#include "cycle/steps.h"
#include "run/options.h"
#include "run/plan.h"

#include <math.h>
#include <string.h>

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
		const cyc__need need = cyc__need_of(&plan[i], &in, o);
		double memory = fmax(need.memory, need.first);
		jobs[*n].memory_bytes = fmax(jobs[*n].memory_bytes, memory);
		if (!can_be_dealt(kind)) continue;
		cyc_cycle_job *dealt = &jobs[++*n], *after = &jobs[++*n];
		dealt->is_dealt = true;
		dealt->memory_bytes = need.memory; /* of a part, which does not judge particles */
		after->memory_bytes = memory;
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

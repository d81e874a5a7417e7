#include "run/run.h"

const char CYC__EVIDENCE[] = "evidence.star";

int32_t cyc__first_postprocess(const cyc__cycle *c)
{
	for (int32_t i = 0; i < c->n_steps; i++) {
		if (c->steps[i].kind == CYC__POSTPROCESS && c->steps[i].n_shells > 0) return i;
	}
	return -1;
}

cyc_project_input cyc__input_of(const cyc__cycle *c, const char *set)
{
	cyc_project_input in = c->o->input;
	in.optimisation_set = set;
	in.particles = in.tomograms = in.trajectories = NULL;
	return in;
}

#include "cyclotomo/project.h"
#include "cyclotomo/ranks.h"

cyc_status cyc_project_deal(int32_t **owner, const cyc_tomogram_set *tomograms, const cyc_particle_set *set)
{
	cyc_status st = CYC_OK;
	double *cost = NULL;
	int32_t n = tomograms->n_series;
	*owner = NULL;
	CYC_TRY(cyc_alloc(&cost, n, sizeof *cost));
	CYC_TRY(cyc_alloc(owner, n, sizeof **owner));
	for (int32_t i = 0; i < n; i++)
		cost[i] = (double)(set->series_first[i + 1] - set->series_first[i]) * tomograms->series[i].n_tilts;
	CYC_TRY(cyc_ranks_deal(*owner, cost, n));
done:
	cyc_free(cost);
	return st;
}

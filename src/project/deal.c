#include "cyclotomo/parts.h"
#include "cyclotomo/ranks.h"

#include <math.h>
#include <string.h>

static const double EVEN = 1.03; /* shares of ranks that differ less than this are as good as equal */

/* Of each series; 0 where there is nothing to do. */
static cyc_status series_costs(double **cost, const cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                               const bool *which)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_alloc(cost, tomograms->n_series, sizeof **cost));
	for (int32_t i = 0; i < tomograms->n_series; i++)
		if (!which || which[i])
			(*cost)[i] = cyc_series_cost(tomograms->series[i].n_tilts,
			                             set->series_first[i + 1] - set->series_first[i]);
done:
	return st;
}

cyc_status cyc_project_deal(int32_t **owner, const cyc_tomogram_set *tomograms, const cyc_particle_set *set,
                            const bool *which)
{
	cyc_status st = CYC_OK;
	double *cost = NULL;
	int32_t n = tomograms->n_series;
	*owner = NULL;
	CYC_TRY(series_costs(&cost, tomograms, set, which));
	CYC_TRY(cyc_alloc(owner, n, sizeof **owner));
	CYC_TRY(cyc_parts_deal(*owner, cost, n, cyc_ranks_in_job()));
done:
	cyc_free(cost);
	return st;
}

/* The largest share of the ranks, over the mean one. */
static cyc_status unevenness(double *out, const int32_t *owner, const double *cost, int32_t n, int n_ranks)
{
	cyc_status st = CYC_OK;
	double *load = NULL, all = 0, most = 0;
	CYC_TRY(cyc_alloc(&load, n_ranks, sizeof *load));
	for (int32_t i = 0; i < n; i++) {
		load[owner[i]] += cost[i];
		all += cost[i];
	}
	for (int r = 0; r < n_ranks; r++) most = fmax(most, load[r]);
	*out = all > 0 ? most * n_ranks / all : 1;
done:
	cyc_free(load);
	return st;
}

/* Tilts one after the other, cut into equal shares. */
static void cut(cyc_tilt_range *own, const cyc_tomogram_set *tomograms, const double *cost, double whole,
                int n_ranks)
{
	double before = 0;
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		int32_t n = tomograms->series[i].n_tilts;
		double one = n > 0 ? cost[i] / n : 0;
		own[i] = (cyc_tilt_range){ n, 0 };
		for (int32_t f = 0; f < n && one > 0; f++, before += one) {
			if ((int)fmin((before + 0.5 * one) / whole * n_ranks, n_ranks - 1) != cyc_rank()) continue;
			if (own[i].first == n) own[i].first = f;
			own[i].end = f + 1;
		}
		if (own[i].end == 0) own[i].first = 0;
	}
}

cyc_status cyc_project_deal_tilts(cyc_tilt_range **own, const cyc_tomogram_set *tomograms,
                                  const cyc_particle_set *set, const bool *which)
{
	cyc_status st = CYC_OK;
	int32_t n = tomograms->n_series, *owner = NULL;
	int n_ranks = cyc_ranks_in_job();
	double *cost = NULL, whole = 0, uneven;
	CYC_TRY(cyc_alloc(own, n, sizeof **own));
	CYC_TRY(series_costs(&cost, tomograms, set, which));
	CYC_TRY(cyc_project_deal(&owner, tomograms, set, which));
	for (int32_t i = 0; i < n; i++) whole += cost[i];
	CYC_TRY(unevenness(&uneven, owner, cost, n, n_ranks));
	for (int32_t i = 0; i < n; i++)
		(*own)[i] =
			(cyc_tilt_range){ 0, cost[i] > 0 && owner[i] == cyc_rank() ? tomograms->series[i].n_tilts : 0 };
	if (uneven > EVEN) cut(*own, tomograms, cost, whole, n_ranks);
done:
	cyc_free(owner);
	cyc_free(cost);
	return st;
}

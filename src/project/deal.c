#include "cyclotomo/parts.h"
#include "cyclotomo/ranks.h"

#include <string.h>

cyc_status cyc_project_deal(int32_t **owner, const cyc_tomogram_set *tomograms, const cyc_particle_set *set)
{
	cyc_status st = CYC_OK;
	double *cost = NULL;
	int32_t n = tomograms->n_series;
	*owner = NULL;
	CYC_TRY(cyc_alloc(&cost, n, sizeof *cost));
	CYC_TRY(cyc_alloc(owner, n, sizeof **owner));
	for (int32_t i = 0; i < n; i++)
		cost[i] =
			cyc_series_cost(tomograms->series[i].n_tilts, set->series_first[i + 1] - set->series_first[i]);
	CYC_TRY(cyc_parts_deal(*owner, cost, n, cyc_ranks_in_job()));
done:
	cyc_free(cost);
	return st;
}

/* Part k of n with these options. */
static cyc_status run_part(const cyc_dealt_job *d, const void *options, int k)
{
	cyc_status st = CYC_OK;
	char text[32], *copy = NULL;
	const char *part = text;
	snprintf(text, sizeof text, "%d/%d", k, cyc_n_ranks());
	CYC_TRY(cyc_alloc(&copy, d->job->size, 1));
	memcpy(copy, options, d->job->size);
	memcpy(copy + d->part, &part, sizeof part);
	CYC_TRY(d->run(copy));
done:
	cyc_free(copy);
	return st;
}

cyc_status cyc_parts_on_ranks(const cyc_dealt_job *d, const void *options)
{
	cyc_status st = CYC_OK;
	if (cyc_n_ranks() == 1) return CYC_OK;
	cyc_log_once();
	CYC_TRY(run_part(d, options, 0));
	CYC_TRY(cyc_ranks_begin(d->job, options));
	st = cyc_ranks_end(run_part(d, options, 1));
done:
	return st;
}

cyc_status cyc_parts_run_rank(const cyc_dealt_job *d, const void *options)
{
	return cyc_ranks_end(run_part(d, options, cyc_rank() + 1));
}

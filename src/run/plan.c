#include "run/plan.h"

#include "run/options.h"

/* ---------------------------------------------------------------- order of steps */

static bool wants_polish(const cyc_cycle_options *o) { return !o->skip_polish; }
static bool wants_refine3d(const cyc_cycle_options *o) { return !o->skip_refine; }

/* What a cycle refines, in order. Alignment first: where it is wrong, the reference that the CTFs are judged
 * by is blurred. */
static const struct {
	cyc__kind kind;
	bool (*is_wanted)(const cyc_cycle_options *o);
} PLAN_TURNS[] = { { CYC__POLISH, wants_polish },
	               { CYC__CTFREFINE, cyc__refines_ctfs },
	               { CYC__REFINE3D, wants_refine3d } };

int cyc__plan_turns(cyc__kind turns[CYC__N_KINDS], const cyc_cycle_options *o)
{
	int n = 0;
	for (size_t k = 0; k < sizeof PLAN_TURNS / sizeof *PLAN_TURNS; k++) {
		if (PLAN_TURNS[k].is_wanted(o)) turns[n++] = PLAN_TURNS[k].kind;
	}
	return n;
}

cyc_status cyc__plan_steps(cyc__planned **out, int32_t *n, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__planned *p = NULL;
	cyc__kind turns[CYC__N_KINDS];
	int n_turns = cyc__plan_turns(turns, o);
	int32_t i_turn = 0;
	*n = 0;
	CYC_TRY(cyc_alloc(&p, 2 + (int64_t)o->n_cycles * n_turns * 3, sizeof *p));
	for (int32_t i_cycle = 0; i_cycle <= o->n_cycles; i_cycle++) {
		for (int k = 0; k < (i_cycle == 0 ? 1 : n_turns); k++) {
			if (i_cycle > 0) p[(*n)++] = (cyc__planned){ turns[k], i_turn };
			p[(*n)++] = (cyc__planned){ CYC__RECONSTRUCT, i_turn };
			p[(*n)++] = (cyc__planned){ CYC__POSTPROCESS, i_turn };
			i_turn++;
		}
	}
	*out = p;
	p = NULL;
done:
	cyc_free(p);
	return st;
}

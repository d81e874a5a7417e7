/* Peak memory of both refinements of the tilts; compared with measurements by tools/memory_said.py. */
#include "cyclotomo/joint.h"

#include <math.h>

/* Images that are kept, and the spectra of their noise. */
static double kept_bytes(const cyc_refine_tilts_options *o, const cyc_project_size *p)
{
	double each = 4.0 * p->image_nx * p->image_ny + 8.0 * (o->box_px / 2 + 1);
	return fmin(1e9 * o->cache_GB, (double)p->n_series * p->most_tilts * each);
}

double cyc_refine_tilts_memory_bytes(const cyc_refine_tilts_options *o, const cyc_project_size *p,
                                     int32_t map_px, int32_t radius)
{
	cyc_polish_options polish = o->polish;
	cyc_ctfrefine_options ctfrefine = o->ctfrefine;
	polish.box_px = ctfrefine.box_px = o->box_px;
	polish.n_threads = ctfrefine.n_threads = o->n_threads;
	return kept_bytes(o, p) + fmax(cyc_polish_memory_bytes(&polish, p, map_px, radius),
	                               cyc_ctfrefine_memory_bytes(&ctfrefine, p, map_px, radius));
}

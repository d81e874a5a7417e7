/* Memory and disk that steps need: by the jobs' own functions, so that plan and job agree. */
#include "cycle/needs.h"

#include "cyclotomo/map.h"
#include "run/options.h"

#include <math.h>

/* Files of a tilt series and of a tilt: figures, and rows of tables and records. */
static const double FIGURES_OF_SERIES = 170e3, ROWS_OF_TILT = 2e3, ROW_OF_PARTICLE = 600.0,
					ROW_OF_MOTION = 65.0, RECORD_OF_MOTION = 24.0, SMALL_FILES = 300e3;

static double tables_bytes(const cyc_project_size *p, bool has_figures)
{
	return SMALL_FILES +
	       p->n_series * ((has_figures ? FIGURES_OF_SERIES : 0.0) + p->most_tilts * ROWS_OF_TILT);
}

void cyc__need_reconstruct(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o)
{
	(void)i_turn;
	const cyc_reconstruct_options r = cyc__reconstruct_options(o);
	const cyc_reconstruct_sizes z = { o->box_px, o->box_px, in->crop_px, 0 };
	out->memory = cyc_reconstruct_memory_bytes(&r, &in->size, &z);
	/* The sums of both halves are stored while the job runs, so that it can be resumed. */
	out->disk = SMALL_FILES + 2.0 * 24.0 * cyc_ball_count(o->box_px / 2) + 3.0 * cyc_map_bytes(in->crop_px) +
	            (in->crop_px < o->box_px ? 3.0 * cyc_map_bytes(o->box_px) : 0.0);
}

void cyc__need_postprocess(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_postprocess_options p = cyc__postprocess_options(o);
	p.mask = in->mask_fsc;
	/* At the start there is nothing to compare with. */
	p.compare_to = i_turn > 0 ? "the state before" : NULL;
	out->memory = cyc_postprocess_memory_bytes(&p, in->crop_px, in->pixel_size_A);
	out->disk = SMALL_FILES + (in->mask_fsc ? 2.0 : 1.0) * cyc_map_bytes(in->crop_px);
}

static cyc_refine3d_sizes refine3d_sizes(const cyc__inputs *in, const cyc_cycle_options *o,
                                         const cyc_refine3d_options *r)
{
	double widest_A = (in->crop_px - 10) * in->pixel_size_A;
	cyc_refine3d_sizes z = { .window_px = o->box_px,
		                     .box_px = o->box_px,
		                     .crop_px = in->crop_px,
		                     .map_px = in->crop_px,
		                     .pixel_size_A = in->pixel_size_A,
		                     .particle_diameter_A =
		                         r->particle_diameter_A > 0 ? r->particle_diameter_A : widest_A,
		                     .n_groups = cyc_refine3d_n_groups(r, &in->size) };
	z.images_bytes = cyc_refine3d_images_bytes(&z.series_images_bytes, in->tomograms, in->particles,
	                                           in->crop_px, in->pixel_size_A, r->cutoff_frac);
	return z;
}

void cyc__need_ctfrefine(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o)
{
	(void)i_turn;
	const cyc_ctfrefine_options c = cyc__ctfrefine_options(o);
	out->memory = cyc_ctfrefine_memory_bytes(&c, &in->size, in->crop_px, 0);
	out->disk = tables_bytes(&in->size, !o->no_figures) + ROW_OF_PARTICLE * (double)in->size.n_particles;
	if (o->skip_refine || o->refine.keep_all) return;
	/* The particles are judged first. */
	const cyc_refine3d_options r = cyc__judge_options(o);
	const cyc_refine3d_sizes z = refine3d_sizes(in, o, &r);
	out->first = cyc_refine3d_memory_bytes(&r, &in->size, &z);
}

void cyc__need_polish(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o)
{
	(void)i_turn;
	const cyc_polish_options p = cyc__polish_options(o);
	out->memory = cyc_polish_memory_bytes(&p, &in->size, in->crop_px, 0);
	out->disk = tables_bytes(&in->size, !o->no_figures) + ROW_OF_PARTICLE * (double)in->size.n_particles +
	            RECORD_OF_MOTION * in->size.n_images +
	            (p.do_motion ? ROW_OF_MOTION * in->size.n_images : 0.0);
}

void cyc__need_refine3d(cyc__need *out, int32_t i_turn, const cyc__inputs *in, const cyc_cycle_options *o)
{
	(void)i_turn;
	const cyc_refine3d_options r = cyc__refine3d_options(o);
	const cyc_refine3d_sizes z = refine3d_sizes(in, o, &r);
	out->memory = cyc_refine3d_memory_bytes(&r, &in->size, &z);
	/* Half maps of each iteration, filtered and not, those of the checkpoint, and three at the end. */
	out->disk = SMALL_FILES + (4.0 * r.max_iterations + 5.0) * cyc_map_bytes(in->crop_px) +
	            ROW_OF_PARTICLE * (r.max_iterations + 2.0) * (double)in->size.n_particles;
}

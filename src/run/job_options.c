/* The options of the jobs: those given by the user for each, and those passed by the cycle to all alike. */
#include "run/options.h"

/* Of windows that are much larger than the map only what the CTF brings back into the map is wanted. */
static bool crops_images(const cyc_cycle_options *o)
{
	return !o->skip_crop && !o->whole_windows && o->crop_px >= 12 && o->crop_px < o->box_px;
}

cyc_reconstruct_options cyc__reconstruct_options(const cyc_cycle_options *o)
{
	cyc_reconstruct_options r = o->reconstruct;
	r.box_px = o->box_px;
	if (o->crop_px > 0) r.crop_px = o->crop_px;
	r.symmetry = o->symmetry;
	r.whole_windows = o->whole_windows;
	r.crop_images = crops_images(o);
	r.resume = true;
	r.n_threads = o->n_threads;
	r.backend = o->backend;
	return r;
}

cyc_postprocess_options cyc__postprocess_options(const cyc_cycle_options *o)
{
	cyc_postprocess_options p = o->postprocess;
	p.symmetry = o->symmetry;
	p.no_figures = o->no_figures;
	p.n_threads = o->n_threads;
	return p;
}

/* What both refinements of the tilts are given. */
#define REFINE_TILTS(job, o)                                                                                 \
	do {                                                                                                     \
		(job).box_px = (o)->box_px;                                                                          \
		(job).whole_windows = (o)->whole_windows;                                                            \
		(job).resume = true;                                                                                 \
		(job).no_figures = (o)->no_figures;                                                                  \
		(job).n_threads = (o)->n_threads;                                                                    \
		(job).backend = (o)->backend;                                                                        \
	} while (0)

cyc_ctfrefine_options cyc__ctfrefine_options(const cyc_cycle_options *o)
{
	cyc_ctfrefine_options r = o->ctfrefine;
	REFINE_TILTS(r, o);
	return r;
}

cyc_polish_options cyc__polish_options(const cyc_cycle_options *o)
{
	cyc_polish_options p = o->polish;
	REFINE_TILTS(p, o);
	return p;
}

cyc_refine3d_options cyc__refine3d_options(const cyc_cycle_options *o)
{
	cyc_refine3d_options r = o->refine;
	r.box_px = o->box_px;
	if (o->crop_px > 0) r.crop_px = o->crop_px;
	r.symmetry = o->symmetry;
	r.resume = true;
	r.n_threads = o->n_threads;
	r.backend = o->backend;
	return r;
}

cyc_refine3d_options cyc__judge_options(const cyc_cycle_options *o)
{
	cyc_refine3d_options r = cyc__refine3d_options(o), by_default;
	cyc_refine3d_options_default(&by_default);
	r.only_judge = true;
	r.resume = false;
	/* Nothing is sampled. */
	r.healpix_order = by_default.healpix_order;
	r.offset_range_px = by_default.offset_range_px;
	return r;
}

bool cyc__refines_ctfs(const cyc_cycle_options *o)
{
	const cyc_ctfrefine_options *c = &o->ctfrefine;
	return c->do_defocus || c->do_scale || c->do_bfactor || cyc__refines_optics(o);
}

bool cyc__refines_optics(const cyc_cycle_options *o)
{
	const cyc_ctfrefine_options *c = &o->ctfrefine;
	return c->do_even_aberrations || c->do_odd_aberrations || c->do_magnification;
}

/* ---------------------------------------------------------------- as words */

cyc_status cyc__arguments(cyc__pairs *out, const void *options, const cyc_option_table *table, bool with_all)
{
	cyc_status st = CYC_OK;
	char *value = NULL;
	for (int i = 0; i < table->n; i++) {
		const cyc_option *o = &table->rows[i];
		if (o->type == CYC_OPT_TABLE)
			CYC_TRY(cyc__arguments(out, (const char *)options + o->offset, o->table, with_all));
		if (o->type == CYC_OPT_HEADING || o->type == CYC_OPT_TABLE) continue;
		if (!with_all && (o->purpose == CYC_FOR_RUN || cyc_option_is_default(options, o))) continue;
		CYC_TRY(cyc_option_value(&value, options, o));
		CYC_TRY(cyc__pairs_add(out, o->name, "%s", !with_all && cyc_option_is_flag(o) ? "" : value));
		cyc_free(value);
		value = NULL;
	}
done:
	cyc_free(value);
	return st;
}

cyc_status cyc__option_files(cyc__pairs *out, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc_option_list list = { 0 };
	char *path = NULL;
	CYC_TRY(cyc_option_list_make(&list, &cyc_cycle_table));
	for (int i = 0; i < list.n; i++) {
		if (list.rows[i].type != CYC_OPT_FILE || cyc_option_is_default(o, &list.rows[i])) continue;
		CYC_TRY(cyc_option_value(&path, o, &list.rows[i]));
		CYC_TRY(cyc__pairs_add(out, list.rows[i].name, "%s", path));
		cyc_free(path);
		path = NULL;
	}
done:
	cyc_free(path);
	cyc_option_list_deinit(&list);
	return st;
}

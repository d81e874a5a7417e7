#include "cycle/between_steps.h"
#include "cycle/in_project.h"
#include "project/labels.h"
#include "project/pipeline_file.h"

#include <string.h>

/* RELION's names for what a step writes: by kind and role. Of two half maps it names the first, which its
 * file dialogues show only if they are asked for half maps. */
enum { DEPTH = 1, DEPTH_HALF_MAP = 99 };
static const struct {
	cyc__kind kind;
	const char *role, *type;
	int depth;
} NODE_TYPES[] = {
	{ CYC__RECONSTRUCT, "merged map", "DensityMap.mrc.relion.tomo.map.reconstruct", DEPTH },
	{ CYC__RECONSTRUCT, "half map 1", "DensityMap.mrc.relion.tomo.halfmap.reconstruct", DEPTH_HALF_MAP },
	{ CYC__RECONSTRUCT, "optimisation set", "TomoOptimisationSet.star.relion.tomo.reconstruct", DEPTH },
	{ CYC__POSTPROCESS, "sharpened map", "DensityMap.mrc.relion.postprocess", DEPTH },
	{ CYC__POSTPROCESS, "sharpened map, masked", "DensityMap.mrc.relion.postprocess.masked", DEPTH },
	{ CYC__POSTPROCESS, "figures", "LogFile.pdf.relion.postprocess", DEPTH },
	{ CYC__POSTPROCESS, "FSC", "ProcessData.star.relion.postprocess", DEPTH },
	{ CYC__POSTPROCESS, "optimisation set", "TomoOptimisationSet.star.relion.tomo.postprocess", DEPTH },
	{ CYC__CTFREFINE, "optimisation set", "TomoOptimisationSet.star.relion.tomo.ctfrefine", DEPTH },
	{ CYC__CTFREFINE, "tomograms", "TomogramGroupMetadata.star.relion.tomo.ctfrefine", DEPTH },
	{ CYC__CTFREFINE, "particles", "ParticleGroupMetadata.star.relion.tomo.ctfrefine", DEPTH },
	{ CYC__CTFREFINE, "figures", "LogFile.pdf.relion.tomo.ctfrefine", DEPTH },
	{ CYC__POLISH, "optimisation set", "TomoOptimisationSet.star.relion.tomo.polish", DEPTH },
	{ CYC__POLISH, "tomograms", "TomogramGroupMetadata.star.relion.tomo.polish", DEPTH },
	{ CYC__POLISH, "particles", "ParticleGroupMetadata.star.relion.tomo.polish", DEPTH },
	{ CYC__POLISH, "trajectories", "TomoTrajectoryData.star.relion.polish", DEPTH },
	{ CYC__POLISH, "figures", "LogFile.pdf.relion.tomo.polish", DEPTH },
	{ CYC__REFINE3D, "particles", "ParticleGroupMetadata.star.relion.refine3d", DEPTH },
	{ CYC__REFINE3D, "optimiser", "OptimiserData.star.relion.refine3d", DEPTH },
	{ CYC__REFINE3D, "half map 1", "DensityMap.mrc.relion.halfmap.refine3d", DEPTH },
	{ CYC__REFINE3D, "map", "DensityMap.mrc.relion.refine3d", DEPTH },
	{ CYC__REFINE3D, "optimisation set", "TomoOptimisationSet.star.relion.refine3d", DEPTH },
};

/* Names in the pipeline of a run folder are relative to that folder, others to the project's root. In the
 * project's pipeline all start at the root. */
static const char *in_pipeline(const cyc__cycle *c, const char *path)
{
	size_t n = strlen(c->o->out_dir);
	if (c->o->in_project) return path;
	while (n > 0 && c->o->out_dir[n - 1] == '/') n--;
	return strncmp(path, c->o->out_dir, n) == 0 && path[n] == '/' ? path + n + 1 : path;
}

static cyc_status add_input(cyc_pipeline_file *p, const cyc__step *s, const char *file, const char *type)
{
	return file ? cyc_pipeline_add_input(p, s->name, file, type) : CYC_OK;
}

/* What the run starts from: as files of their own, or as the set that names them. */
static cyc_status add_start(cyc_pipeline_file *p, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	const cyc_project_input *in = &c->start;
	if (c->o->in_project && in->optimisation_set && !in->particles && !in->tomograms && !in->trajectories)
		return add_input(p, s, in->optimisation_set, "TomoOptimisationSet.star.relion");
	const cyc_optimisation_set *set = c->in.set;
	const char *particles = c->o->in_project && in->particles ? in->particles : set->particles,
			   *motion = c->o->in_project && in->trajectories ? in->trajectories : set->trajectories;
	CYC_TRY(add_input(p, s, particles, "ParticleGroupMetadata.star.relion"));
	CYC_TRY(add_input(p, s, set->tomograms, "TomogramGroupMetadata.star.relion"));
	CYC_TRY(add_input(p, s, motion, "TomoTrajectoryData.star.relion"));
done:
	return st;
}

/* The files that the fields of the job's tab name, beside the set. */
static cyc_status add_references(cyc_pipeline_file *p, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	char *path = NULL;
	bool has_fsc = s->kind == CYC__CTFREFINE || s->kind == CYC__POLISH;
	if (!c->o->in_project || s->kind == CYC__RECONSTRUCT) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, c->o->input.root, s->input_set));
	CYC_TRY(cyc_optimisation_set_read(&set, path));
	CYC_TRY(add_input(p, s, set->reference_map1, "DensityMap.mrc.relion.halfmap"));
	if (has_fsc) CYC_TRY(add_input(p, s, set->reference_fsc, "ProcessData.star.relion.postprocess"));
done:
	cyc_optimisation_set_destroy(&set);
	cyc_free(path);
	return st;
}

static cyc_status add_outputs(cyc_pipeline_file *p, const cyc__cycle *c, const cyc__step *s)
{
	cyc_status st = CYC_OK;
	for (size_t i = 0; i < sizeof NODE_TYPES / sizeof *NODE_TYPES; i++) {
		const char *file = cyc__pairs_get(&s->outputs, NODE_TYPES[i].role);
		if (NODE_TYPES[i].kind != s->kind || !file) continue;
		CYC_TRY(cyc_pipeline_add_output(p, s->name, in_pipeline(c, file), NODE_TYPES[i].type,
		                                NODE_TYPES[i].depth));
	}
done:
	return st;
}

cyc_status cyc__pipeline_add_step(cyc_pipeline_file *p, const cyc__cycle *c, const cyc__step *s,
                                  const char *status)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_pipeline_set(p, s->name, cyc__kind_get(s->kind)->type_label, status));
	if (s->input_set && s->input_set[0])
		CYC_TRY(add_input(p, s, in_pipeline(c, s->input_set), "TomoOptimisationSet.star.relion"));
	else CYC_TRY(add_start(p, c, s));
	CYC_TRY(add_references(p, c, s));
	if (s->kind == CYC__POSTPROCESS) CYC_TRY(add_input(p, s, c->in.mask_fsc, "Mask3D.mrc"));
	if (s->kind == CYC__CTFREFINE || s->kind == CYC__POLISH || s->kind == CYC__REFINE3D)
		CYC_TRY(add_input(p, s, c->in.mask_align, "Mask3D.mrc"));
	CYC_TRY(add_outputs(p, c, s));
done:
	return st;
}

/* The pipeline of the run folder contains only these steps. */
static cyc_status write_own(const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc_pipeline_file p = { 0 };
	char *name = NULL, *path = NULL;
	CYC_TRY(cyc_pipeline_create(&p));
	CYC_TRY(cyc_pipeline_count_to(&p, c->n_steps + 1));
	for (int32_t i = 0; i < c->n_steps; i++)
		CYC_TRY(cyc__pipeline_add_step(&p, c, &c->steps[i], i == c->n_steps - 1 ? c->status : "Succeeded"));
	CYC_TRY(cyc_path_join(&name, c->o->out_dir, "default_pipeline.star"));
	CYC_TRY(cyc_path_join(&path, c->o->input.root, name));
	CYC_TRY(cyc_star_write(p.star, path));
done:
	cyc_pipeline_close(&p);
	cyc_free(name);
	cyc_free(path);
	return st;
}

cyc_status cyc__pipeline_write(const cyc__cycle *c)
{
	return c->o->in_project ? cyc__project_update(c) : write_own(c);
}

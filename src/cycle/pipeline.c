#include "cycle/between_steps.h"
#include "project/labels.h"

#include <string.h>

/* RELION's names for what a step writes: by kind and role; depth is RELION's own, always 1. */
static const struct {
	cyc__kind kind;
	const char *role, *type;
} NODE_TYPES[] = {
	{ CYC__RECONSTRUCT, "half map 1", "DensityMap.mrc.relion.tomo.halfmap.reconstruct" },
	{ CYC__RECONSTRUCT, "half map 2", "DensityMap.mrc.relion.tomo.halfmap.reconstruct" },
	{ CYC__RECONSTRUCT, "merged map", "DensityMap.mrc.relion.tomo.map.reconstruct" },
	{ CYC__RECONSTRUCT, "optimisation set", "TomoOptimisationSet.star.relion.tomo.reconstruct" },
	{ CYC__POSTPROCESS, "sharpened map", "DensityMap.mrc.relion.postprocess" },
	{ CYC__POSTPROCESS, "sharpened map, masked", "DensityMap.mrc.relion.postprocess.masked" },
	{ CYC__POSTPROCESS, "figures", "LogFile.pdf.relion.postprocess" },
	{ CYC__POSTPROCESS, "FSC", "ProcessData.star.relion.postprocess" },
	{ CYC__POSTPROCESS, "optimisation set", "TomoOptimisationSet.star.relion.tomo.postprocess" },
	{ CYC__CTFREFINE, "tomograms", "TomogramGroupMetadata.star.relion.tomo.ctfrefine" },
	{ CYC__CTFREFINE, "figures", "LogFile.pdf.relion.tomo.ctfrefine" },
	{ CYC__CTFREFINE, "optimisation set", "TomoOptimisationSet.star.relion.tomo.ctfrefine" },
	{ CYC__POLISH, "tomograms", "TomogramGroupMetadata.star.relion.tomo.polish" },
	{ CYC__POLISH, "particles", "ParticleGroupMetadata.star.relion.tomo.polish" },
	{ CYC__POLISH, "trajectories", "TomoTrajectoryData.star.relion.polish" },
	{ CYC__POLISH, "optimisation set", "TomoOptimisationSet.star.relion.tomo.polish" },
	{ CYC__REFINE3D, "particles", "ParticleGroupMetadata.star.relion.refine3d" },
	{ CYC__REFINE3D, "half map 1", "DensityMap.mrc.relion.halfmap.refine3d" },
	{ CYC__REFINE3D, "map", "DensityMap.mrc.relion.refine3d" },
	{ CYC__REFINE3D, "optimisation set", "TomoOptimisationSet.star.relion.tomo.refine3d" },
};

static const char *node_type(cyc__kind kind, const char *role)
{
	for (size_t i = 0; i < sizeof NODE_TYPES / sizeof *NODE_TYPES; i++) {
		if (NODE_TYPES[i].kind == kind && strcmp(NODE_TYPES[i].role, role) == 0) return NODE_TYPES[i].type;
	}
	return NULL;
}

/* The pipeline belongs to the run folder: names inside it start there, others at the project's root as ever.
 */
static const char *in_run_folder(const cyc__cycle *c, const char *path)
{
	size_t n = strlen(c->o->out_dir);
	while (n > 0 && c->o->out_dir[n - 1] == '/') n--;
	return strncmp(path, c->o->out_dir, n) == 0 && path[n] == '/' ? path + n + 1 : path;
}

static cyc_status add_block(cyc_star_block **b, cyc_star *star, const char *name, int n,
                            const char *const *labels)
{
	cyc_status st = CYC_OK;
	int32_t column;
	CYC_TRY(cyc_star_add_block(b, star, name, CYC_STAR_TABLE));
	for (int i = 0; i < n; i++) CYC_TRY(cyc_star_ensure_column(&column, *b, labels[i], ""));
done:
	return st;
}

static cyc_status add_row(cyc_star_block *b, int n, const char *const *values)
{
	cyc_status st = CYC_OK;
	int64_t row;
	CYC_TRY(cyc_star_add_row(&row, b));
	for (int i = 0; i < n; i++) CYC_TRY(cyc_star_set_text(b, row, i, values[i]));
done:
	return st;
}

static cyc_status add_node(cyc_star_block *nodes, const char *name, const char *type)
{
	for (int64_t i = 0; i < cyc_star_n_rows(nodes); i++) {
		if (strcmp(cyc_star_text(nodes, i, 0), name) == 0) return CYC_OK;
	}
	return add_row(nodes, 3, (const char *[]){ name, type, "1" });
}

static cyc_status add_external(cyc_star_block *nodes, cyc_star_block *edges, const char *process,
                               const char *file, const char *type)
{
	cyc_status st = CYC_OK;
	if (!file) return CYC_OK;
	CYC_TRY(add_node(nodes, file, type));
	CYC_TRY(add_row(edges, 2, (const char *[]){ file, process }));
done:
	return st;
}

static cyc_status add_step(const cyc__cycle *c, const cyc__step *s, cyc_star_block *nodes, cyc_star_block *in,
                           cyc_star_block *out)
{
	cyc_status st = CYC_OK;
	if (s->input_set && s->input_set[0]) {
		CYC_TRY(add_row(in, 2, (const char *[]){ in_run_folder(c, s->input_set), s->name }));
	} else {
		CYC_TRY(add_external(nodes, in, s->name, c->in.set->particles, "ParticleGroupMetadata.star.relion"));
		CYC_TRY(add_external(nodes, in, s->name, c->in.set->tomograms, "TomogramGroupMetadata.star.relion"));
		CYC_TRY(add_external(nodes, in, s->name, c->in.set->trajectories, "TomoTrajectoryData.star.relion"));
	}
	if (s->kind == CYC__POSTPROCESS) CYC_TRY(add_external(nodes, in, s->name, c->in.mask_fsc, "Mask3D.mrc"));
	if (s->kind == CYC__CTFREFINE || s->kind == CYC__POLISH || s->kind == CYC__REFINE3D)
		CYC_TRY(add_external(nodes, in, s->name, c->in.mask_align, "Mask3D.mrc"));
	for (int32_t i = 0; i < s->outputs.n; i++) {
		const char *type = node_type(s->kind, s->outputs.items[i].name),
				   *file = in_run_folder(c, s->outputs.items[i].value);
		if (!type) continue;
		CYC_TRY(add_node(nodes, file, type));
		CYC_TRY(add_row(out, 2, (const char *[]){ s->name, file }));
	}
done:
	return st;
}

cyc_status cyc__pipeline_write(const cyc__cycle *c)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *general, *processes, *nodes, *in, *out;
	char *name = NULL, *path = NULL;
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&general, star, "pipeline_general", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_int(general, CYC_RLN_PIPE_LINE_JOB_COUNTER, c->n_steps + 1));
	CYC_TRY(add_block(&processes, star, "pipeline_processes", 4,
	                  (const char *[]){ CYC_RLN_PIPE_LINE_PROCESS_NAME, CYC_RLN_PIPE_LINE_PROCESS_ALIAS,
	                                    CYC_RLN_PIPE_LINE_PROCESS_TYPE_LABEL,
	                                    CYC_RLN_PIPE_LINE_PROCESS_STATUS_LABEL }));
	CYC_TRY(add_block(&nodes, star, "pipeline_nodes", 3,
	                  (const char *[]){ CYC_RLN_PIPE_LINE_NODE_NAME, CYC_RLN_PIPE_LINE_NODE_TYPE_LABEL,
	                                    CYC_RLN_PIPE_LINE_NODE_TYPE_LABEL_DEPTH }));
	CYC_TRY(add_block(&in, star, "pipeline_input_edges", 2,
	                  (const char *[]){ CYC_RLN_PIPE_LINE_EDGE_FROM_NODE, CYC_RLN_PIPE_LINE_EDGE_PROCESS }));
	CYC_TRY(add_block(&out, star, "pipeline_output_edges", 2,
	                  (const char *[]){ CYC_RLN_PIPE_LINE_EDGE_PROCESS, CYC_RLN_PIPE_LINE_EDGE_TO_NODE }));
	for (int32_t i = 0; i < c->n_steps; i++) {
		const char *status = i == c->n_steps - 1 ? c->status : "Succeeded";
		CYC_TRY(add_row(processes, 4,
		                (const char *[]){ c->steps[i].name, "None",
		                                  cyc__kind_get(c->steps[i].kind)->type_label, status }));
		CYC_TRY(add_step(c, &c->steps[i], nodes, in, out));
	}
	CYC_TRY(cyc_path_join(&name, c->o->out_dir, "default_pipeline.star"));
	CYC_TRY(cyc_path_join(&path, c->o->input.root, name));
	CYC_TRY(cyc_star_write(star, path));
done:
	cyc_star_destroy(&star);
	cyc_free(name);
	cyc_free(path);
	return st;
}

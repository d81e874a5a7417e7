/* The inputs of this job, so that it does not write over them. */
#include "cyclotomo/joint.h"

cyc_status cyc_refine_tilts_spare_inputs(const cyc_refine_tilts_options *o, cyc_output_extent extent)
{
	const char *files[] = { o->ref1, o->ref2, o->mask, o->fsc };
	cyc_output_plan plan = {
		.kind = CYC_OUTPUT_REFINE_TILTS, .out = o->out_dir, .root = o->input.root, .input = &o->input
	};
	plan.files = files;
	plan.n_files = 4;
	return cyc_outputs_spare_inputs(&plan, extent);
}

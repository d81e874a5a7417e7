/* What this job reads, so that it does not write there. */
#include "cyclotomo/refine3d.h"

cyc_status cyc_refine3d_spare_inputs(const cyc_refine3d_options *o, cyc_output_extent extent)
{
	const char *files[] = { o->ref1, o->ref2, o->mask };
	cyc_output_plan plan = { .kind = o->only_judge ? CYC_OUTPUT_JUDGE : CYC_OUTPUT_REFINE,
		                     .out = o->out_dir,
		                     .root = o->input.root,
		                     .input = &o->input,
		                     .reads_stacks = o->from_stacks };
	plan.files = files;
	plan.n_files = 3;
	return cyc_outputs_spare_inputs(&plan, extent);
}

/* The inputs of this job, so that it does not write over them. */
#include "cyclotomo/reconstruct.h"

cyc_status cyc_reconstruct_spare_inputs(const cyc_reconstruct_options *o, cyc_output_extent extent)
{
	cyc_output_plan plan = { .kind = CYC_OUTPUT_RECONSTRUCT,
		                     .out = o->out_dir,
		                     .root = o->input.root,
		                     .input = &o->input,
		                     .reads_stacks = o->from_stacks };
	return cyc_outputs_spare_inputs(&plan, extent);
}

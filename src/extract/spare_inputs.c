/* The inputs of this job, so that it does not write over them. */
#include "cyclotomo/extract.h"

cyc_status cyc_extract_spare_inputs(const cyc_extract_options *o, cyc_output_extent extent)
{
	cyc_output_plan plan = {
		.kind = CYC_OUTPUT_EXTRACT, .out = o->out_dir, .root = o->input.root, .input = &o->input
	};
	return cyc_outputs_spare_inputs(&plan, extent);
}

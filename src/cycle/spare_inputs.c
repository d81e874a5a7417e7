/* What a run reads, so that it does not write there. */
#include "cyclotomo/cycle.h"

cyc_status cyc_cycle_spare_inputs(const cyc_cycle_options *o)
{
	const char *files[] = { o->mask_align, o->mask_fsc, o->mtf };
	cyc_output_plan plan = { .kind = CYC_OUTPUT_CYCLE,
		                     .out = o->out_dir,
		                     .root = o->input.root,
		                     .input = &o->input,
		                     .files = files,
		                     .n_files = 3 };
	return cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL);
}

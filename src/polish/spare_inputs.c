/* What this job reads, so that it does not write there. */
#include "cyclotomo/polish.h"

cyc_status cyc_polish_spare_inputs(const cyc_polish_options *o, cyc_output_extent extent)
{
	const char *files[] = { o->ref1, o->ref2, o->mask, o->fsc };
	cyc_output_plan plan = {
		.kind = CYC_OUTPUT_POLISH, .out = o->out_dir, .root = o->input.root, .input = &o->input
	};
	plan.files = files;
	plan.n_files = 4;
	return cyc_outputs_spare_inputs(&plan, extent);
}

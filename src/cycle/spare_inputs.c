/* What a run reads, so that it does not write there. */
#include "run/options.h"

cyc_status cyc_cycle_spare_inputs(const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	cyc__pairs files = { 0 };
	const char **names = NULL;
	CYC_TRY(cyc__option_files(&files, o));
	CYC_TRY(cyc_alloc(&names, files.n + 1, sizeof *names));
	for (int32_t i = 0; i < files.n; i++) names[i] = files.items[i].value;
	cyc_output_plan plan = { .kind = CYC_OUTPUT_CYCLE,
		                     .out = o->out_dir,
		                     .root = o->input.root,
		                     .input = &o->input,
		                     .files = names,
		                     .n_files = files.n };
	CYC_TRY(cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL));
done:
	cyc_free(names);
	cyc__pairs_deinit(&files);
	return st;
}

/* The inputs of these jobs, so that they do not write over them. */
#include "map/map_internal.h"

cyc_status cyc_mask_spare_inputs(const cyc_mask_options *o)
{
	const char *files[] = { o->input, o->combine_with };
	cyc_output_plan plan = {
		.kind = CYC_OUTPUT_MASK, .out = o->output, .root = o->root, .files = files, .n_files = 2
	};
	return cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL);
}

cyc_status cyc_postprocess_spare_inputs(const cyc_postprocess_options *o)
{
	cyc_status st = CYC_OK;
	char *other = NULL;
	/* Without a name for half map 2 the other half is read; a name without "half" is an error of the job's.
	 */
	if (o->half1 && !o->half2) st = cyc__other_half(&other, o->half1);
	if (st == CYC_E_NOMEM) goto done;
	if (st != CYC_OK) cyc_error_clear();
	const char *files[] = { o->half1, o->half2, other, o->mask, o->mtf, o->optimisation_set, o->compare_to };
	cyc_output_plan plan = { .kind = CYC_OUTPUT_POSTPROCESS,
		                     .out = o->out_root,
		                     .root = o->root,
		                     .files = files,
		                     .n_files = sizeof files / sizeof *files };
	CYC_TRY(cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL));
done:
	cyc_free(other);
	return st;
}

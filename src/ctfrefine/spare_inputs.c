/* What this job reads, so that it does not write there. */
#include "cyclotomo/ctfrefine.h"

cyc_status cyc_ctfrefine_spare_inputs(const cyc_ctfrefine_options *o, cyc_output_extent extent)
{
	const char *files[] = { o->ref1, o->ref2, o->mask, o->fsc };
	bool has_optics = o->do_even_aberrations || o->do_odd_aberrations || o->do_magnification;
	cyc_output_plan plan = { .kind = has_optics ? CYC_OUTPUT_CTFREFINE : CYC_OUTPUT_CTFREFINE_TILTS,
		                     .out = o->out_dir,
		                     .root = o->input.root,
		                     .input = &o->input };
	plan.files = files;
	plan.n_files = 4;
	return cyc_outputs_spare_inputs(&plan, extent);
}

/* Boxes for refining extracted particles: maps as large as their images, windows with room for the signal
 * that the CTF spreads. */
#include "refine3d/refine3d_internal.h"
#include "project/labels.h"

#include <math.h>

/* Size and binning, which all optics groups must share. */
static cyc_status read_optics(cyc_refine3d_boxes *out, const cyc_particle_set *set)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b = cyc_star_find(set->star, "optics");
	if (!b || cyc_star_n_rows(b) == 0 || cyc_star_column(b, CYC_RLN_IMAGE_SIZE) < 0 ||
	    cyc_star_column(b, CYC_RLN_TOMO_SUBTOMOGRAM_BINNING) < 0) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "a box size is needed (--b): '%s' does not give one in its optics table",
		                     set->path);
		cyc_error_hint("extracted particles have %s and %s there", CYC_RLN_IMAGE_SIZE,
		               CYC_RLN_TOMO_SUBTOMOGRAM_BINNING);
		goto done;
	}
	for (int64_t row = 0; row < cyc_star_n_rows(b); row++) {
		double size, binning;
		CYC_TRY(cyc_star_double_of(&size, b, row, CYC_RLN_IMAGE_SIZE));
		CYC_TRY(cyc_star_double_of(&binning, b, row, CYC_RLN_TOMO_SUBTOMOGRAM_BINNING));
		CYC_CHECK(size >= 16 && size <= 8192 && fmod(size, 2) <= 0 && binning >= 1 && binning <= 1000,
		          CYC_E_DATA,
		          "'%s': block 'optics', row %lld: images of %g px at binning %g; the size must be even and "
		          "at least 16, the binning at least 1",
		          set->path, (long long)row + 1, size, binning);
		CYC_CHECK(row == 0 ||
		              (fabs(size - out->crop_px) <= 0 && fabs(binning - out->binning) <= 1e-6 * binning),
		          CYC_E_UNSUPPORTED,
		          "'%s': optics groups of %d px at binning %g and %g px at binning %g cannot be refined in "
		          "one run: give the boxes (--b, --crop, --bin)",
		          set->path, out->crop_px, out->binning, size, binning);
		out->crop_px = (int32_t)size;
		out->binning = binning;
	}
done:
	return st;
}

/* Windows as wide as a tilt image would leave hardly any particle: at most half the image, but no smaller
 * than the maps. */
static int32_t widest_window(const cyc_refine3d_boxes *b, const cyc_tilt_series *ts)
{
	double limit = 0.5 * (ts->image_nx < ts->image_ny ? ts->image_nx : ts->image_ny);
	for (int32_t box = 2 * b->crop_px; box > b->crop_px; box -= 2) {
		double S = box * b->binning;
		if (S <= limit && fabs(S - 2 * round(S / 2)) < 1e-6 * S) return box;
	}
	return b->crop_px;
}

cyc_status cyc_refine3d_boxes_of_stacks(cyc_refine3d_boxes *out, const cyc_refine_input *in)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *first = &in->tomograms->series[in->first_series];
	CYC_TRY(read_optics(out, in->particles));
	CYC_TRY(cyc_tilt_series_open(first, in->root));
	out->box_px = widest_window(out, first);
	const char *what = in->particles->are_2d_stacks ? "stacks" : "volumes";
	cyc_info("the particles' %s are not read: windows of %d px are cut from the tilt images, for maps of the "
	         "same %d px at binning %g as the %s (change with --b, --crop and --bin)",
	         what, out->box_px, out->crop_px, out->binning, what);
done:
	return st;
}

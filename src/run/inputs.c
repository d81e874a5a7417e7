#include "run/inputs.h"

#include "map/map_files.h"
#include "run/options.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

/* ---------------------------------------------------------------- images */

/* The file of a tilt image; NULL in *path if none is named. */
static cyc_status image_file(char **path, const cyc_tilt_series *ts, const cyc_tilt *t, const char *root)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	int64_t section;
	bool is_stack;
	const char *image = ts->stack ? ts->stack : t->image;
	*path = NULL;
	if (!image) return CYC_OK;
	CYC_TRY(cyc_mrc_split_name(&name, &section, &is_stack, image));
	CYC_TRY(cyc_path_join(path, root, name));
done:
	cyc_free(name);
	return st;
}

static cyc_status note_missing(cyc__series_inputs *s, const char *name)
{
	cyc_status st = CYC_OK;
	if (s->n_missing < CYC__MISSING_NAMED) CYC_TRY(cyc_strdup(&s->missing[s->n_missing], name));
	s->n_missing++;
done:
	return st;
}

static cyc_status look_for_images(cyc__inputs *in, int32_t i_series, const char *root)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &in->tomograms->series[i_series];
	cyc__series_inputs *s = &in->series[i_series];
	char *path = NULL;
	bool has_size = false;
	for (int32_t i = 0; i < ts->n_tilts; i++) {
		struct stat file = { 0 };
		const char *name = ts->stack ? ts->stack : ts->tilts[i].image;
		cyc_free(path);
		CYC_TRY_CTX(image_file(&path, ts, &ts->tilts[i], root), "tilt series %s", ts->name);
		s->n_images++;
		if (!path || stat(path, &file) != 0) {
			CYC_TRY(note_missing(s, name ? name : "(no name in the table of the tilt series)"));
			continue;
		}
		if (!has_size) {
			cyc_mrc_info info;
			CYC_TRY_CTX(cyc_mrc_read_info(&info, path), "tilt series %s", ts->name);
			if (info.nx > in->image_nx) in->image_nx = info.nx;
			if (info.ny > in->image_ny) in->image_ny = info.ny;
			has_size = true;
		}
	}
	in->n_images += s->n_images;
	in->n_missing += s->n_missing;
done:
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- masks */

/* Masks are multiplied with the cropped maps much later: a wrong size is better said now. */
static cyc_status check_mask(const cyc__inputs *in, const cyc_cycle_options *o, const char *mask,
                             const char *option)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_mrc_info info;
	if (!mask) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, o->input.root, mask));
	CYC_TRY_CTX(cyc_mrc_read_info(&info, path), "mask of %s", option);
	if (info.nx != in->crop_px || info.ny != in->crop_px || info.nz != in->crop_px) {
		st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                     "the mask %s (%s) has %d x %d x %d voxels, but the maps will have %d cubed",
		                     mask, option, info.nx, info.ny, info.nz, in->crop_px);
		cyc_error_hint(
			"give the mask's size with --crop, or make a mask from a map of this size with 'cyclotomo mask'");
		goto done;
	}
	double drift = info.pixel_size_A / in->pixel_size_A - 1.0;
	if (info.pixel_size_A > 0.0 && (drift > 1e-2 || drift < -1e-2)) {
		st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                     "the mask %s (%s) has pixels of %.4g Å, but the maps will have %.4g Å", mask,
		                     option, info.pixel_size_A, in->pixel_size_A);
		cyc_error_hint("make a mask from a map of this pixel size with 'cyclotomo mask'");
	}
done:
	cyc_free(path);
	return st;
}

static const char *first_of(const char *a, const char *b, const char *c)
{
	if (a && a[0]) return a;
	if (b && b[0]) return b;
	return c && c[0] ? c : NULL;
}

/* ---------------------------------------------------------------- all */

static void count_particles(cyc__inputs *in)
{
	for (int64_t i = 0; i < in->particles->n; i++) {
		const cyc_particle *p = &in->particles->particles[i];
		in->series[p->i_series].n_particles++;
		if (p->half == 0 || p->half == 1) in->series[p->i_series].n_half[p->half]++;
	}
}

static cyc_status check_options(const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(o->out_dir && o->out_dir[0], CYC_E_USAGE, "the run folder is missing: give it with --o");
	CYC_CHECK(o->box_px > 0, CYC_E_USAGE, "the box is missing: give it with --b");
	CYC_CHECK(o->box_px % 2 == 0, CYC_E_USAGE, "the box (--b) must be even, got %d px", o->box_px);
	CYC_CHECK(o->crop_px % 2 == 0 && o->crop_px <= o->box_px, CYC_E_USAGE,
	          "the cropped size (--crop) must be even and at most the box (%d px), got %d px", o->box_px,
	          o->crop_px);
	CYC_CHECK(o->n_cycles >= 0, CYC_E_USAGE, "the number of cycles must not be negative, got %d",
	          o->n_cycles);
	CYC_CHECK(o->n_cycles == 0 || cyc__refines_ctfs(o) || !o->skip_polish || !o->skip_refine, CYC_E_USAGE,
	          "nothing to refine: alignment, defocus, scale and orientations are all skipped");
	CYC_CHECK(o->refine.healpix_order >= 4 && o->refine.healpix_order <= 8, CYC_E_USAGE,
	          "the order of the angular steps (--refine-order) must be 4 to 8, got %d",
	          o->refine.healpix_order);
	CYC_CHECK(o->skip_polish || (o->polish.range_px > 0 && o->polish.range_px < o->box_px / 4.0), CYC_E_USAGE,
	          "the range of the polishing (--polish-range) must be positive and less than a quarter of the "
	          "box, got %g px",
	          o->polish.range_px);
	CYC_CHECK(o->skip_polish || !o->polish.do_motion ||
	              (o->polish.motion_sigma_A_per_dose > 0 && o->polish.motion_correlation_A > 0),
	          CYC_E_USAGE, "--velocity-sigma and --motion-distance must be positive, got %g and %g",
	          o->polish.motion_sigma_A_per_dose, o->polish.motion_correlation_A);
done:
	return st;
}

/* ---------------------------------------------------------------- duplicates */

/* Diameter of the sphere that is as large as a mask above 1/2. */
static cyc_status mask_diameter_A(double *out, const char *mask, double pixel_size_A, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	double n_inside = 0.0;
	CYC_TRY(cyc__read_any_map(&v, root, mask, 1));
	size_t count = cyc_volume_count(v);
	for (size_t i = 0; i < count; i++) n_inside += v->data[i] > 0.5f;
	*out = pixel_size_A * cbrt(6.0 * n_inside / CYC_PI);
done:
	cyc_volume_destroy(&v);
	return st;
}

static cyc_status look_for_duplicates(cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	const char *mask = in->mask_fsc ? in->mask_fsc : in->mask_align;
	in->diameter_A = 0.5 * in->crop_px * in->pixel_size_A;
	in->diameter_from = "half of the map's edge";
	if (mask) {
		double of_mask_A;
		CYC_TRY(mask_diameter_A(&of_mask_A, mask, in->pixel_size_A, o->input.root));
		if (of_mask_A > 0.0) {
			in->diameter_A = of_mask_A;
			in->diameter_from = "the volume of the mask";
		}
	}
	/* What is given is the longest extent of the particle; what counts here is how near another one can be.
	 */
	if (o->refine.particle_diameter_A > 0.0 && (!mask || o->refine.particle_diameter_A < in->diameter_A)) {
		in->diameter_A = o->refine.particle_diameter_A;
		in->diameter_from = "--particle-diameter";
	}
	CYC_TRY(cyc_alloc(&in->keep, in->particles->n, sizeof *in->keep));
	CYC_TRY(cyc_particle_set_find_duplicates(&in->duplicates, in->keep, in->particles,
	                                         cyc_duplicate_distance_A(in->diameter_A)));
done:
	return st;
}

int64_t cyc__inputs_n_particles(const cyc__inputs *in, const cyc_cycle_options *o)
{
	return in->particles->n - (o->duplicates == CYC_DUPLICATES_REMOVE ? in->duplicates.n_left_out : 0);
}

void cyc__inputs_describe_duplicates(char *text, size_t size, const cyc__inputs *in,
                                     const cyc_cycle_options *o)
{
	const cyc_duplicates *d = &in->duplicates;
	char pairs[400];
	int n = 0;
	text[0] = '\0';
	if (d->n_across > 0) {
		cyc_duplicates_describe(pairs, sizeof pairs, d, in->particles);
		n = snprintf(text, size, "%s, a quarter of the diameter of %.0f Å (%s): ", pairs, in->diameter_A,
		             in->diameter_from);
		if (n < 0 || (size_t)n >= size) return;
		if (o->duplicates == CYC_DUPLICATES_REMOVE) {
			n += snprintf(text + n, size - (size_t)n,
			              "they are treated as particles listed twice, and %lld %s left out of the run",
			              (long long)d->n_left_out, d->n_left_out == 1 ? "is" : "are");
		} else if (o->duplicates == CYC_DUPLICATES_KEEP) {
			n += snprintf(text + n, size - (size_t)n, "the half maps share noise, and the FSC is too good");
		} else {
			n += snprintf(text + n, size - (size_t)n, "the FSC would be too good");
		}
	}
	if (d->n_within > 0 && (size_t)n < size) {
		snprintf(text + n, size - (size_t)n,
		         "%s%lld pair%s in the same half-set %s closer than %.1f Å and %s kept: the same images may "
		         "count twice",
		         n ? "; " : "", (long long)d->n_within, d->n_within == 1 ? "" : "s",
		         d->n_within == 1 ? "is" : "are", d->distance_A, d->n_within == 1 ? "is" : "are");
	}
}

cyc_status cyc__inputs_read(cyc__inputs *in, const cyc_cycle_options *o)
{
	cyc_status st = CYC_OK;
	const char *root = o->input.root ? o->input.root : "";
	*in = (cyc__inputs){ 0 };
	CYC_TRY(check_options(o));
	CYC_TRY(cyc_project_resolve(&in->set, &o->input));
	/* Without the option the plan shows such tilts, and the run refuses them. */
	if (o->input.exclude_negative_scales)
		CYC_TRY(cyc_project_read_tomograms(&in->tomograms, in->set, &o->input));
	else CYC_TRY(cyc_tomogram_set_read_unchecked(&in->tomograms, in->set->tomograms, root));
	CYC_TRY(cyc_particle_set_read(&in->particles, in->set->particles, in->set->trajectories, in->tomograms,
	                              root));
	CYC_TRY(cyc_particle_set_require_halves(in->particles));
	CYC_TRY(cyc_alloc(&in->series, in->tomograms->n_series, sizeof *in->series));
	count_particles(in);
	for (int32_t i = 0; i < in->tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &in->tomograms->series[i];
		if (in->series[i].n_particles == 0) continue;
		in->n_tilts += ts->n_tilts;
		if (ts->n_tilts > in->most_tilts) in->most_tilts = ts->n_tilts;
		if (ts->pixel_size_A > in->pixel_size_A) in->pixel_size_A = ts->pixel_size_A;
		CYC_TRY(look_for_images(in, i, root));
	}
	CYC_TRY(cyc_project_size_of(&in->size, in->tomograms, in->particles, root));
	in->crop_px = o->crop_px > 0 ? o->crop_px : o->box_px;
	in->mask_align = first_of(o->mask_align, o->mask_fsc, in->set->reference_mask);
	in->mask_fsc = first_of(o->mask_fsc, o->mask_align, in->set->reference_mask);
	CYC_TRY(check_mask(in, o, in->mask_align, "--mask-align"));
	CYC_TRY(check_mask(in, o, in->mask_fsc, "--mask-fsc"));
	CYC_TRY(look_for_duplicates(in, o));
	const cyc_project_view view = {
		.root = root, .set = in->set, .tomograms = in->tomograms, .particles = in->particles
	};
	const cyc_survey_options survey = { .n_threads = o->n_threads, .most_pixels = CYC_SURVEY_FEW_PIXELS };
	CYC_TRY(cyc_survey_project(&in->found, &view, &survey));
	cyc_finding_sort(&in->found);
done:
	return st;
}

void cyc__inputs_deinit(cyc__inputs *in)
{
	for (int32_t i = 0; in->series && i < in->tomograms->n_series; i++) {
		for (int k = 0; k < CYC__MISSING_NAMED; k++) cyc_free(in->series[i].missing[k]);
	}
	cyc_free(in->series);
	cyc_free(in->keep);
	cyc_finding_list_deinit(&in->found);
	cyc_particle_set_destroy(&in->particles);
	cyc_tomogram_set_destroy(&in->tomograms);
	cyc_optimisation_set_destroy(&in->set);
	*in = (cyc__inputs){ 0 };
}

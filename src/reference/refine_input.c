#include "reference/refine_input.h"

#include "cyclotomo/map.h"
#include "cyclotomo/record.h"
#include "cyclotomo/survey.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

static const char *first_of(const char *a, const char *b) { return a && a[0] ? a : b; }

void cyc_refine_input_deinit(cyc_refine_input *in)
{
	cyc_particle_set_destroy(&in->particles);
	cyc_tomogram_set_destroy(&in->tomograms);
	cyc_optimisation_set_destroy(&in->set);
	cyc_free(in->out_dir);
	cyc_free(in->out);
	memset(in, 0, sizeof *in);
}

static cyc_status resolve(cyc_refine_input *in, const cyc_refine_request *r)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(r->out_dir && r->out_dir[0], CYC_E_USAGE, "an output folder is needed (--o)");
	CYC_CHECK(r->box_px > 0 || r->has_own_box, CYC_E_USAGE, "a box size is needed (--b)");
	in->root = r->project->root ? r->project->root : "";
	CYC_TRY(
		cyc_asprintf(&in->out_dir, "%s%s", r->out_dir, r->out_dir[strlen(r->out_dir) - 1] == '/' ? "" : "/"));
	CYC_TRY(cyc_path_join(&in->out, in->root, in->out_dir));
	CYC_TRY(cyc_project_resolve(&in->set, r->project));
	const char *const files[4] = { first_of(r->ref1, in->set->reference_map1),
		                           first_of(r->ref2, in->set->reference_map2),
		                           first_of(r->mask, in->set->reference_mask),
		                           first_of(r->fsc, in->set->reference_fsc) };
	memcpy(in->reference_files, files, sizeof files);
	if (!files[0] || !files[1]) {
		cyc_error_raise(
			CYC_E_USAGE, __FILE__, __LINE__, __func__,
			"two half maps are needed: --ref1 and --ref2, or an optimisation set that names them");
		cyc_error_hint("cyclotomo reconstruct writes half1.mrc, half2.mrc and such a set");
		st = CYC_E_USAGE;
	}
done:
	return st;
}

static cyc_status check_one_kind(const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *first = &p->tomograms->series[cyc_particle_set_first_series(p->particles)];
	for (int32_t i = 0; i < p->tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &p->tomograms->series[i];
		if (p->particles->series_first[i + 1] == p->particles->series_first[i]) continue;
		CYC_CHECK(
			fabs(ts->pixel_size_A / first->pixel_size_A - 1) < 2e-3 && ts->voltage_kV == first->voltage_kV,
			CYC_E_UNSUPPORTED,
			"tilt series %s (%.4g Å, %g kV) and %s (%.4g Å, %g kV) cannot be refined in one run: select "
			"particles with one pixel size and voltage",
			first->name, first->pixel_size_A, first->voltage_kV, ts->name, ts->pixel_size_A, ts->voltage_kV);
	}
done:
	return st;
}

/* Also where maps are resampled: halves of different sizes are not of one reconstruction. */
static cyc_status check_pair(int32_t *n_px, const char *const maps[2], const char *root)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_mrc_info info[2];
	for (int h = 0; h < 2; h++) {
		cyc_free(path);
		CYC_TRY(cyc_path_join(&path, root, maps[h]));
		CYC_TRY_CTX(cyc_mrc_read_info(&info[h], path), "half map %d", h + 1);
	}
	if (info[0].nx != info[1].nx || fabs(info[0].pixel_size_A - info[1].pixel_size_A) > 1e-3) {
		st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		                     "the half maps differ: %s has %d px of %.4g Å, %s has %d px of %.4g Å", maps[0],
		                     info[0].nx, info[0].pixel_size_A, maps[1], info[1].nx, info[1].pixel_size_A);
		cyc_error_hint("give the two half maps of one reconstruction (--ref1, --ref2)");
	}
	if (cyc_half_maps_are_swapped(maps[0], maps[1]))
		cyc_warn("half map 1 is '%s' and half map 2 '%s': if the names are right, each half-set is compared "
		         "with the "
		         "map of the other, and the resolution is too optimistic; exchange --ref1 and --ref2",
		         maps[0], maps[1]);
	*n_px = info[1].nx;
done:
	cyc_free(path);
	return st;
}

/* Half maps that are still to be made fit; their mask has to. For existing ones the headers are checked. */
static cyc_status check_maps(const cyc_refine_request *r, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	const char *const maps[2] = { first_of(r->ref1, p->set->reference_map1),
		                          first_of(r->ref2, p->set->reference_map2) };
	const char *mask = first_of(r->mask, p->set->reference_mask);
	int32_t n_px = p->map_px;
	if (n_px == 0 && maps[0] && maps[1]) CYC_TRY(check_pair(&n_px, maps, p->root));
	/* Jobs with a box of their own resample maps and masks. */
	if (!r->has_own_box && p->map_px > 0)
		CYC_TRY(cyc_check_mask(p->root, mask, "--mask", n_px, p->map_pixel_size_A));
	if (!r->has_own_box && n_px > r->box_px) {
		st = cyc_error_raise(
			CYC_E_SHAPE, __FILE__, __LINE__, __func__,
			"the half maps (%s) have a box of %d px, larger than the box of the windows, %d px",
			maps[0] ? maps[0] : "not made yet", n_px, r->box_px);
		cyc_error_hint(
			"use --b %d or more, or make smaller half maps: cyclotomo reconstruct --b %d --crop %d ...", n_px,
			n_px, r->box_px);
	}
done:
	return st;
}

cyc_status cyc_refine_check(const cyc_refine_request *r, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	cyc_box box;
	double pixel_size_A = p->tomograms->series[cyc_particle_set_first_series(p->particles)].pixel_size_A;
	CYC_TRY(cyc_particle_set_require_halves(p->particles));
	CYC_TRY(check_one_kind(p));
	if (!r->has_own_box) {
		CYC_TRY(cyc_box_create(&box, r->box_px, 1, pixel_size_A));
		CYC_TRY(cyc_check_window(p, box.window.box_px));
	}
	CYC_TRY(check_maps(r, p));
	CYC_TRY(cyc_check_output(p->root, r->out_dir, 0));
done:
	return st;
}

/* Tilts with a contrast scale of 0 contribute nothing. */
static cyc_status require_images(const cyc_refine_input *in)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < in->tomograms->n_series; i++)
		for (int32_t f = 0; f < in->tomograms->series[i].n_tilts && cyc_refine_n_particles(in, i) > 0; f++)
			if (in->tomograms->series[i].tilts[f].scale != 0) return CYC_OK;
	st = cyc_error_raise(
		CYC_E_DATA, __FILE__, __LINE__, __func__,
		"'%s': all tilts of all series with particles are excluded (_%s 0): no images are left",
		in->set->tomograms, CYC_RLN_CTF_SCALEFACTOR);
	cyc_error_hint("set the scales of good tilts to 1");
	return st;
}

cyc_status cyc_refine_require_tilts(const cyc_refine_input *in, int32_t first, int32_t last)
{
	cyc_status st = CYC_OK;
	int32_t most = 0, n_without = 0, n_series = 0;
	bool is_range = last < 0 || last >= first;
	const char *example = NULL;
	for (int32_t i = 0; i < in->tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &in->tomograms->series[i];
		if (cyc_refine_n_particles(in, i) == 0) continue;
		n_series++;
		if (ts->n_tilts > most) most = ts->n_tilts;
		if (ts->n_tilts > first && is_range) continue;
		n_without++;
		if (!example) example = ts->name;
	}
	if (n_without == n_series) {
		if (last < 0)
			st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
			                     "there are no tilts from tilt %d on: no series has more than %d tilts",
			                     first, most);
		else
			st = cyc_error_raise(
				CYC_E_USAGE, __FILE__, __LINE__, __func__,
				"there are no tilts between tilt %d and tilt %d: the longest series has %d tilts", first,
				last, most);
		cyc_error_hint("tilts are counted from 0: give a range from 0 to %d", most - 1);
		goto done;
	}
	if (n_without > 0)
		cyc_warn("%d of %d tilt series have no tilts in the requested range, the first is %s: they are left "
		         "unchanged",
		         n_without, n_series, example);
done:
	return st;
}

cyc_status cyc_refine_input_read(cyc_refine_input *in, const cyc_refine_request *r)
{
	cyc_status st = CYC_OK;
	CYC_TRY(resolve(in, r));
	CYC_TRY(cyc_project_read_tomograms(&in->tomograms, in->set, r->project));
	CYC_TRY(cyc_particle_set_read(&in->particles, in->set->particles, in->set->trajectories, in->tomograms,
	                              in->root));
	in->first_series = cyc_particle_set_first_series(in->particles);
	const cyc_tilt_series *first = &in->tomograms->series[in->first_series];
	const cyc_project_view view = {
		.root = in->root, .set = in->set, .tomograms = in->tomograms, .particles = in->particles
	};
	CYC_TRY(cyc_refine_check(r, &view));
	const cyc_survey_options survey = { .skip_images = r->skip_images,
		                                .skip_orientations = r->skip_orientations,
		                                .n_threads = 1 };
	CYC_TRY(cyc_survey_require(&view, r->project, &survey));
	CYC_TRY(require_images(in));
	if (r->has_own_box) goto done;
	CYC_TRY(cyc_box_create(&in->box, r->box_px, 1, first->pixel_size_A));
	in->box.window.is_partial = r->is_partial;
done:
	return st;
}

static cyc_reference_files files_of(const cyc_refine_input *in)
{
	return (cyc_reference_files){ { in->reference_files[0], in->reference_files[1] },
		                          in->reference_files[2],
		                          in->reference_files[3],
		                          in->root };
}

cyc_status cyc_refine_plan(cyc_project_size *size, int32_t *map_px, int32_t *radius,
                           const cyc_refine_input *in, double cutoff_A, int n_threads)
{
	cyc_status st = CYC_OK;
	double frequency_invA;
	char *path = NULL;
	cyc_mrc_info info;
	CYC_TRY(cyc_project_size_of(size, in->tomograms, in->particles, in->root));
	if (in->box.window.box_px > 0)
		CYC_TRY(cyc_project_require_window(size, in->tomograms, in->box.window.box_px));
	CYC_TRY(cyc_path_join(&path, in->root, in->reference_files[0]));
	CYC_TRY_CTX(cyc_mrc_read_info(&info, path), "half map 1");
	*map_px = info.nx;
	const cyc_reference_files files = files_of(in);
	CYC_TRY(cyc_reference_frequency(&frequency_invA, &files, cutoff_A, n_threads));
	*radius = cyc_reference_radius(frequency_invA, in->box.window.box_binned, in->box.pixel_size_A);
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_refine_hash(uint64_t *hash, const cyc_refine_input *in, const char *options)
{
	cyc_status st = CYC_OK;
	uint64_t h = cyc_hash_string(cyc_project_hash(CYC_HASH_INIT, in->tomograms, in->particles), options);
	for (size_t i = 0; i < sizeof in->reference_files / sizeof *in->reference_files; i++)
		CYC_TRY(cyc_input_file_hash(&h, in->reference_files[i], in->root));
	CYC_TRY(cyc_images_hash(&h, in->tomograms, in->particles, in->root, true));
	*hash = h;
done:
	return st;
}

cyc_status cyc_refine_reference(cyc_reference **out, const cyc_refine_input *in, cyc_backend *be,
                                double frequency_cutoff_A)
{
	if (!in->reference_files[2])
		cyc_warn("no mask is given: noise around the particle degrades the reference; give --mask (cycle: "
		         "--mask-align and --mask-fsc)");
	const cyc_reference_files files = files_of(in);
	return cyc_reference_load(out, be, &files, frequency_cutoff_A, in->box.window.box_px,
	                          in->box.pixel_size_A);
}

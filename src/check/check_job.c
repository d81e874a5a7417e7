/* The job: read the project, look at the tables, compare with the images, judge, correct. */
#include "check/check_internal.h"

#include "cyclotomo/map.h"
#include "cyclotomo/stacks.h"
#include "project/labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* No two particles have centres nearer than this. */
static const double LEAST_DISTANCE_A = 10;

void cyc_check_options_default(cyc_check_options *o)
{
	*o = (cyc_check_options){ .n_threads = 1 };
	cyc_options_set_defaults(o, &cyc_check_table);
}

void cyc_check_result_deinit(cyc_check_result *r)
{
	cyc_finding_list_deinit(&r->found);
	for (int32_t i = 0; r->names && i < r->n_series; i++) cyc_free(r->names[i]);
	cyc_free(r->series);
	cyc_free(r->names);
	cyc_free(r->fixed_set);
	*r = (cyc_check_result){ 0 };
}

static const char *first_of(const char *a, const char *b) { return a && a[0] ? a : b; }

static cyc_status read_project(cyc_check *c)
{
	cyc_status st = CYC_OK;
	const cyc_check_options *o = c->o;
	cyc_check_result *r = c->result;
	c->root = o->input.root ? o->input.root : "";
	CYC_TRY(cyc_project_resolve(&c->set, &o->input));
	if (o->input.exclude_negative_scales || o->input.is_checked) {
		CYC_TRY(cyc_project_read_tomograms(&c->tomograms, c->set, &o->input));
	} else {
		/* Such scales are a finding, beside which others can be looked for. */
		CYC_TRY(cyc_tomogram_set_read_unchecked(&c->tomograms, c->set->tomograms, c->root));
		for (int32_t i = 0; i < c->tomograms->n_series; i++) {
			c->tomograms->series[i].keep_outliers = o->input.keep_outliers;
			c->tomograms->series[i].erase_beads = o->input.erase_beads;
		}
	}
	CYC_TRY(
		cyc_particle_set_read(&c->particles, c->set->particles, c->set->trajectories, c->tomograms, c->root));
	c->ref1 = first_of(o->ref1, c->set->reference_map1);
	c->ref2 = first_of(o->ref2, c->set->reference_map2);
	c->mask = first_of(o->mask, c->set->reference_mask);
	c->fsc = first_of(o->fsc, c->set->reference_fsc);
	r->n_series = c->tomograms->n_series;
	r->density = (cyc_measured){ CYC_NAN, CYC_NAN };
	CYC_TRY(cyc_alloc(&r->series, r->n_series, sizeof *r->series));
	CYC_TRY(cyc_alloc(&r->names, r->n_series, sizeof *r->names));
	for (int32_t i = 0; i < r->n_series; i++) {
		const cyc_measured nothing = { CYC_NAN, CYC_NAN };
		CYC_TRY(cyc_strdup(&r->names[i], c->tomograms->series[i].name));
		r->series[i] = (cyc_series_evidence){ .name = r->names[i],
			                                  .contrast = nothing,
			                                  .hand = nothing,
			                                  .hand_gain = CYC_NAN,
			                                  .dose = nothing,
			                                  .dose_gain = CYC_NAN,
			                                  .stage = nothing,
			                                  .stretch = nothing,
			                                  .log_grey = nothing,
			                                  .noise = CYC_NAN,
			                                  .order_dose = nothing };
		r->series[i].n_particles =
			(int32_t)(c->particles->series_first[i + 1] - c->particles->series_first[i]);
	}
done:
	return st;
}

/* ---------------------------------------------------------------- images */

/*
 * A part of each series' particles if all would be more images than are wanted: every n-th in an order that
 * has nothing to do with where they lie, so that their heights spread as those of all do.
 */
static cyc_status choose_particles(cyc_particle_set *part, const cyc_check *c)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *all = c->particles;
	int64_t n = 0;
	*part = *all;
	part->particles = NULL;
	part->series_first = NULL;
	CYC_TRY(cyc_alloc(&part->particles, all->n, sizeof *part->particles));
	CYC_TRY(cyc_alloc(&part->series_first, (size_t)all->n_series + 1, sizeof *part->series_first));
	for (int32_t i = 0; i < all->n_series; i++) {
		int64_t first = all->series_first[i], count = all->series_first[i + 1] - first,
				images = count * c->tomograms->series[i].n_tilts, done = 0;
		int64_t wanted = c->o->max_images > 0 && images > c->o->max_images
		                     ? c->o->max_images / c->tomograms->series[i].n_tilts + 1
		                     : count;
		for (int64_t k = 0; k < count; k++) {
			/* Bresenham's line from (0, 0) to (count, wanted). */
			if ((k + 1) * wanted / count == done) continue;
			done++;
			part->particles[n++] = all->particles[first + k];
		}
		part->series_first[i + 1] = n;
	}
	part->n = n;
done:
	return st;
}

static cyc_status edge_of(int32_t *n_px, const cyc_check *c, const char *name)
{
	cyc_status st = CYC_OK;
	cyc_mrc_info info;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, c->root, name));
	CYC_TRY(cyc_mrc_read_info(&info, path));
	*n_px = info.nx;
done:
	cyc_free(path);
	return st;
}

/* "VALUE +- ERROR", or that it is unknown: a series may have one tilt, one dose, or show no detail. */
static const char *measured_text(char text[48], cyc_measured m, double scale, const char *unit)
{
	bool is_known = isfinite(m.value) && isfinite(m.error);
	if (is_known) snprintf(text, 48, "%.2f +- %.2f%s", scale * m.value, scale * m.error, unit);
	return is_known ? text : "unknown";
}

static void tell_series(const cyc_series_evidence *e)
{
	char hand[48], dose[48], contrast[48], size[48];
	cyc_info_once(
		"%s: %lld images; hand %s and dose %s (should be 1); contrast %s (should be positive); pixel size %s",
		e->name, (long long)e->n_images, measured_text(hand, e->hand, 1, ""),
		measured_text(dose, e->dose, 1, ""), measured_text(contrast, e->contrast, 1, ""),
		measured_text(size, e->stretch, 100, " %"));
}

static cyc_status compare_series(cyc_check *c, cyc_ring_pass *pass, const cyc_particle_set *part, int32_t i)
{
	cyc_status st = CYC_OK;
	cyc_tilt_series *ts = &c->tomograms->series[i];
	cyc_ring_sums *sums = NULL;
	double *dose = NULL, *angle = NULL;
	CYC_TRY(cyc_alloc(&dose, ts->n_tilts, sizeof *dose));
	CYC_TRY(cyc_alloc(&angle, ts->n_tilts, sizeof *angle));
	for (int32_t f = 0; f < ts->n_tilts; f++) {
		const cyc_tilt *t = &ts->tilts[f];
		cyc_mat3 R;
		double x, z;
		dose[f] = t->pre_exposure_e_per_A2;
		CYC_TRY(cyc_projection_linear(&R, ts, f));
		cyc_tilt_from_matrix(&x, &angle[f], &z, R);
		if (t->has_nominal_tilt) angle[f] = t->nominal_tilt_rad;
	}
	CYC_TRY(cyc_ring_pass_series(&sums, pass, ts, part, i, c->root));
	const cyc_series_optics optics = { cyc_electron_wavelength_A(ts->voltage_kV), ts->bfactor_per_dose_A2,
		                               dose, angle };
	CYC_TRY(cyc_series_fit_images(&c->result->series[i], sums, &optics));
	tell_series(&c->result->series[i]);
done:
	cyc_ring_sums_destroy(&sums);
	cyc_free(dose);
	cyc_free(angle);
	return st;
}

/* What the comparison takes of a device. */
typedef struct {
	const cyc_check_options *o;
	cyc_project_size size;
	int32_t map_px;
} device_needs;

/* References to Nyquist: the half maps are not read once more for it. */
static double device_bytes(const void *needs, size_t batch_bytes)
{
	const device_needs *n = needs;
	return cyc_check_device_bytes(n->o, &n->size, n->map_px, 0, batch_bytes);
}

static cyc_status open_backend(cyc_backend **be, const cyc_check *c, int32_t map_px)
{
	cyc_status st = CYC_OK;
	device_needs needs = { .o = c->o, .map_px = map_px };
	const cyc_device_plan plan = { .bytes = device_bytes, .job = &needs, .less = "use a smaller box (--b)" };
	CYC_TRY(cyc_project_size_of(&needs.size, c->tomograms, c->particles, c->root));
	CYC_TRY(cyc_backend_open_for(be, c->o->backend, c->o->n_threads, &plan));
done:
	return st;
}

static cyc_status compare_images(cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_backend *be = NULL;
	cyc_reference *reference = NULL;
	cyc_ring_pass *pass = NULL;
	cyc_particle_set part = { 0 };
	cyc_box box;
	int32_t first = 0, box_px, map_px;
	CYC_TRY(cyc_particle_set_require_halves(c->particles));
	while (c->result->series[first].n_particles == 0) first++;
	CYC_TRY_CTX(edge_of(&map_px, c, c->ref1), "half map 1");
	box_px = cyc_check_box(c->o, map_px);
	CYC_TRY(cyc_box_create(&box, box_px, 1, c->tomograms->series[first].pixel_size_A));
	box.window.is_partial = true;
	CYC_TRY(open_backend(&be, c, map_px));
	const cyc_reference_files files = { { c->ref1, c->ref2 }, c->mask, c->fsc, c->root };
	CYC_TRY(cyc_reference_load(&reference, be, &files, 0, box_px, box.pixel_size_A));
	CYC_TRY(cyc_ring_pass_create(&pass, be, &box, reference, c->o->k_min_A,
	                             !c->o->skip_stretch && c->result->n_series > 1,
	                             cyc_particle_set_most(c->particles)));
	CYC_TRY(choose_particles(&part, c));
	for (int32_t i = 0; i < c->result->n_series; i++) {
		CYC_TRY(cyc_cancel_check());
		if (part.series_first[i + 1] == part.series_first[i]) continue;
		/* Another pixel size is a finding of the tables; the maps do not fit it. */
		if (fabs(c->tomograms->series[i].pixel_size_A / box.pixel_size_A - 1) >= 2e-3) continue;
		CYC_TRY(compare_series(c, pass, &part, i));
		cyc_progress("comparing with the images", i + 1, c->result->n_series);
	}
done:
	cyc_free(part.particles);
	cyc_free(part.series_first);
	cyc_ring_pass_destroy(&pass);
	cyc_reference_destroy(&reference);
	cyc_backend_close(&be);
	return st;
}

/* ---------------------------------------------------------------- tables, headers, masks */

/* What was raised becomes a finding, but for what a command line or the machine lacks. */
static cyc_status as_finding(cyc_check *c, const char *kind, cyc_status raised)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	if (raised == CYC_OK || raised == CYC_E_USAGE) return raised;
	CYC_TRY(cyc_finding_add_raised(&f, &c->result->found, kind, raised));
done:
	return st;
}

/* Volume of the mask as that of a sphere; particles closer than a quarter of its diameter are duplicates. */
static cyc_status duplicate_distance(double *out, const cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_volume *mask = NULL;
	char *path = NULL;
	double n = 0, pixel_A = c->tomograms->series[cyc_particle_set_first_series(c->particles)].pixel_size_A;
	*out = fmax(2 * pixel_A, LEAST_DISTANCE_A);
	if (!c->mask) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, c->root, c->mask));
	CYC_TRY(cyc_mrc_read(&mask, path));
	for (size_t i = 0; i < cyc_volume_count(mask); i++) n += mask->data[i] > 0.5F;
	*out = fmax(*out, cyc_duplicate_distance_A(pixel_A * cbrt(6 * n / CYC_PI)));
done:
	cyc_volume_destroy(&mask);
	cyc_free(path);
	return st;
}

/* Another pixel size than that of the tilt series, binned or not: another calibration, or a wrong header. */
static cyc_status compare_map_pixels(cyc_check *c, const char *name, double pixel_A)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	const cyc_tilt_series *ts = &c->tomograms->series[cyc_particle_set_first_series(c->particles)];
	double ratio = pixel_A / ts->pixel_size_A, whole = fmax(1, round(ratio));
	if (!(pixel_A > 0) || fabs(ratio / whole - 1) < 2e-3) return CYC_OK;
	CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_WARNING, "map", -1));
	CYC_TRY(cyc_finding_put(f, name, NULL));
	f->measured.value = pixel_A;
	f->expected = ts->pixel_size_A;
	CYC_FINDING_SAY(f->found, "the half maps have a pixel size of %.4g Å, tilt series %s %.4g Å", pixel_A,
	                ts->name, ts->pixel_size_A);
	CYC_FINDING_SAY(f->wanted, "that of the tilt series, or a multiple");
	CYC_FINDING_SAY(f->action, "ctfrefine and polish refuse these maps, refine resamples them: correct the "
	                           "header if it is wrong, or reconstruct maps from these tilt series");
done:
	return st;
}

static cyc_status say_swapped(cyc_check *c, const char *const names[2])
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_WARNING, "map", -1));
	CYC_FINDING_SAY(f->found, "half map 1 is '%s' and half map 2 '%s'", names[0], names[1]);
	CYC_FINDING_SAY(f->wanted, "the map of each half-set: in the other the resolution is too optimistic");
	CYC_FINDING_SAY(f->action,
	                "exchange --ref1 and --ref2, or their lines in the optimisation set, if the names are "
	                "right");
done:
	return st;
}

/* Half maps that are named: there, of one size and the tilt series' pixel size. */
static cyc_status check_maps(cyc_check *c, int32_t *n_px)
{
	cyc_status st = CYC_OK;
	const char *const names[2] = { c->ref1, c->ref2 };
	cyc_mrc_info info[2];
	char *path = NULL;
	for (int h = 0; h < 2; h++) {
		if (!names[h]) continue;
		cyc_free(path);
		CYC_TRY(cyc_path_join(&path, c->root, names[h]));
		CYC_TRY_CTX(cyc_mrc_read_info(&info[h], path), "half map %d", h + 1);
		CYC_CHECK(info[h].nx == info[h].ny && info[h].nx == info[h].nz, CYC_E_SHAPE,
		          "half map %d '%s' has %d x %d x %d voxels; it must be a cube", h + 1, names[h], info[h].nx,
		          info[h].ny, info[h].nz);
		*n_px = info[h].nx;
	}
	if (!names[0] || !names[1]) goto done;
	CYC_CHECK(info[0].nx == info[1].nx && fabs(info[0].pixel_size_A - info[1].pixel_size_A) < 1e-3,
	          CYC_E_SHAPE, "half map 1 '%s' has %d voxels of %.4g Å, half map 2 '%s' %d of %.4g", names[0],
	          info[0].nx, info[0].pixel_size_A, names[1], info[1].nx, info[1].pixel_size_A);
	CYC_TRY(compare_map_pixels(c, names[0], info[0].pixel_size_A));
	if (cyc_half_maps_are_swapped(names[0], names[1])) CYC_TRY(say_swapped(c, names));
done:
	cyc_free(path);
	return st;
}

static cyc_status check_fsc(const cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_fsc_file *file = NULL;
	char *path = NULL;
	if (!c->fsc) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, c->root, c->fsc));
	CYC_TRY(cyc_fsc_file_read(&file, path));
done:
	cyc_fsc_file_destroy(&file);
	cyc_free(path);
	return st;
}

/* A project of extracted stacks alone: no table names a tilt image. */
static bool has_stacks_only(const cyc_check *c)
{
	for (int32_t i = 0; i < c->tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &c->tomograms->series[i];
		if (ts->stack) return false;
		for (int32_t f = 0; f < ts->n_tilts; f++)
			if (ts->tilts[f].image) return false;
	}
	const cyc_star_block *b = cyc_star_find(c->particles->star, "particles");
	return c->particles->are_2d_stacks && b && cyc_star_column(b, CYC_RLN_IMAGE_NAME) >= 0;
}

static cyc_status say_stacks_only(cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_NOTE, "no-tilt-images", -1));
	CYC_FINDING_SAY(f->found, "no table of a tilt series names its images, so images were not checked");
	CYC_FINDING_SAY(f->action, "use --from-stacks with reconstruct and refine; other jobs need tilt images");
done:
	return st;
}

/*
 * Extracted images, where they are all that there is, or all images are looked at: that their files are
 * there, whole and of the size that the tables give. Only jobs with --from-stacks need them, so beside tilt
 * images it is a warning.
 */
static cyc_status check_stacks(cyc_check *c, bool is_only)
{
	cyc_status st = CYC_OK;
	cyc_stacks *stacks = NULL;
	const cyc_star_block *b = cyc_star_find(c->particles->star, "particles");
	int32_t n = c->result->found.n;
	if (!(is_only || c->o->is_deep) || !b || cyc_star_column(b, CYC_RLN_IMAGE_NAME) < 0) return CYC_OK;
	CYC_TRY(as_finding(c, "stacks", cyc_stacks_open(&stacks, c->particles, c->tomograms, c->root)));
	if (!is_only && c->result->found.n > n) c->result->found.items[n].level = CYC_FINDING_WARNING;
done:
	cyc_stacks_close(&stacks);
	return st;
}

static cyc_status survey(cyc_check *c)
{
	cyc_status st = CYC_OK;
	const cyc_project_view view = {
		.root = c->root, .set = c->set, .tomograms = c->tomograms, .particles = c->particles
	};
	cyc_survey_options o = { .is_deep = c->o->is_deep,
		                     .skip_hands = c->o->is_deep && c->ref1 && c->ref2,
		                     .most_pixels = CYC_SURVEY_FEW_PIXELS,
		                     .n_threads = c->o->n_threads };
	int32_t n_px = 0;
	CYC_TRY(as_finding(c, "negative-scale", cyc_tomogram_set_check_scales(c->tomograms)));
	if (c->particles->has_halves)
		CYC_TRY(as_finding(c, "half-sets", cyc_particle_set_require_halves(c->particles)));
	CYC_TRY(as_finding(c, "map", check_maps(c, &n_px)));
	st = cyc_check_mask(c->root, c->mask, c->o->mask ? "--mask" : CYC_RLN_TOMO_REFERENCE_MASK_FILE, n_px, 0);
	/* What the command line names and is not there is no fault of the project. */
	CYC_TRY(st == CYC_E_IO && c->o->mask ? st : as_finding(c, "mask", st));
	CYC_TRY(as_finding(c, "fsc", check_fsc(c)));
	st = duplicate_distance(&o.duplicate_distance_A, c);
	if (st != CYC_OK && st != CYC_E_NOMEM) {
		/* A mask that cannot be read has been reported. */
		cyc_error_clear();
		st = CYC_OK;
	}
	CYC_TRY(st);
	bool is_only = has_stacks_only(c);
	o.skip_images = !o.is_deep && is_only;
	CYC_TRY(check_stacks(c, is_only));
	CYC_TRY(cyc_survey_project(&c->result->found, &view, &o));
	if (o.skip_images) CYC_TRY(say_stacks_only(c));
done:
	return st;
}

/* Maps that cannot be read are findings, later. */
static cyc_status edge_or_none(int32_t *n_px, const cyc_check *c, const char *name)
{
	*n_px = 0;
	cyc_status st = name ? edge_of(n_px, c, name) : CYC_OK;
	if (st == CYC_E_NOMEM || st == CYC_E_CANCELLED) return st;
	if (st != CYC_OK) cyc_error_clear();
	return CYC_OK;
}

/* The last shell that half maps have signal in, if they can be read and are to be compared. */
static cyc_status radius_or_none(int32_t *radius, const cyc_check *c, int32_t map_px)
{
	const cyc_reference_files files = { { c->ref1, c->ref2 }, c->mask, c->fsc, c->root };
	double invA = 0;
	*radius = 0;
	if (!c->o->is_deep || map_px <= 0 || !c->ref2) return CYC_OK;
	cyc_status st = cyc_reference_frequency(&invA, &files, 0, c->o->n_threads);
	if (st == CYC_E_NOMEM || st == CYC_E_CANCELLED) return st;
	if (st != CYC_OK) cyc_error_clear();
	*radius = cyc_reference_radius(invA, cyc_check_box(c->o, map_px), c->tomograms->series[0].pixel_size_A);
	return CYC_OK;
}

/* Of the cycle's, the cycle says it. */
static cyc_status require_memory(const cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_project_size size;
	int32_t map_px, mask_px, radius;
	if (c->o->input.is_checked) return CYC_OK;
	CYC_TRY(cyc_project_size_of(&size, c->tomograms, c->particles, c->root));
	CYC_TRY(edge_or_none(&map_px, c, c->ref1));
	CYC_TRY(edge_or_none(&mask_px, c, c->mask));
	CYC_TRY(radius_or_none(&radius, c, map_px));
	CYC_TRY(
		cyc_memory_require(cyc_check_memory_bytes(c->o, &size, map_px, radius, mask_px), c->o->n_threads,
	                       "use a smaller box (--b), fewer images (--max-images), or fewer threads (--j)"));
done:
	return st;
}

/* Images are compared with half maps unless something found so far stands in the way. */
static cyc_status compare_if_possible(cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_finding *f;
	if (!c->o->is_deep) return CYC_OK;
	if (cyc_finding_count(&c->result->found, CYC_FINDING_ERROR) == 0) {
		if (!c->ref1 || !c->ref2) return CYC_OK; /* raised at the end */
		CYC_TRY(compare_images(c));
		CYC_TRY(cyc_check_density(&c->result->density, c->ref1, c->ref2, c->root, c->o->n_threads));
		goto done;
	}
	CYC_TRY(cyc_check_add(&f, c, CYC_FINDING_NOTE, "not-compared", -1));
	CYC_FINDING_SAY(f->found, "hand, doses, contrast and pixel sizes were not compared with the images");
	CYC_FINDING_SAY(f->action, "correct the errors first");
done:
	return st;
}

/* Findings of the images themselves stay: the caller has them beside this error. */
static cyc_status require_maps(const cyc_check *c)
{
	cyc_status st = CYC_OK;
	bool is_compared = !c->o->is_deep || cyc_finding_count(&c->result->found, CYC_FINDING_ERROR) > 0;
	CYC_CHECK(is_compared || (c->ref1 && c->ref2), CYC_E_USAGE,
	          "all images were read, but not compared with projections: this needs half maps (--ref1 and "
	          "--ref2, or an optimisation set that names them)");
done:
	return st;
}

cyc_status cyc_check_run(cyc_check_result *result, const cyc_check_options *options)
{
	cyc_status st = CYC_OK;
	cyc_check c = { .o = options, .result = result };
	*result = (cyc_check_result){ 0 };
	st = read_project(&c);
	if (st != CYC_OK && !options->fix_dir && !options->input.is_checked) {
		/* Nothing more can be said about a project that cannot be read. */
		CYC_TRY(as_finding(&c, "unreadable", st));
		goto done;
	}
	CYC_TRY(st);
	if (options->fix_dir) CYC_TRY(cyc_check_fix_folder(&c));
	CYC_TRY(require_memory(&c));
	if (!options->input.is_checked) CYC_TRY(survey(&c));
	CYC_TRY(cyc_check_tables(&c));
	CYC_TRY(compare_if_possible(&c));
	CYC_TRY(cyc_check_judge(&c));
	if (options->fix_dir) CYC_TRY(cyc_check_fix(&c));
	CYC_TRY(require_maps(&c));
done:
	cyc_particle_set_destroy(&c.particles);
	cyc_tomogram_set_destroy(&c.tomograms);
	cyc_optimisation_set_destroy(&c.set);
	return st;
}

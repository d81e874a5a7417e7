/* The job: read the project, look at the tables, compare with the images, judge, correct. */
#include "check/check_internal.h"

#include "cyclotomo/map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void cyc_check_options_default(cyc_check_options *o)
{
	*o = (cyc_check_options){ .k_min_A = 30, .n_threads = 1, .backend = "cpu" };
}

static void finding_deinit(cyc_finding *f)
{
	cyc_free(f->series);
	cyc_free(f->file);
	cyc_free(f->column);
	cyc_free(f->found);
	cyc_free(f->wanted);
	cyc_free(f->action);
}

void cyc_check_result_deinit(cyc_check_result *r)
{
	for (int32_t i = 0; i < r->n_findings; i++) finding_deinit(&r->findings[i]);
	for (int32_t i = 0; r->names && i < r->n_series; i++) cyc_free(r->names[i]);
	cyc_free(r->findings);
	cyc_free(r->series);
	cyc_free(r->names);
	cyc_free(r->fixed_set);
	*r = (cyc_check_result){ 0 };
}

int32_t cyc_check_count(const cyc_check_result *r, cyc_finding_level level)
{
	int32_t n = 0;
	for (int32_t i = 0; i < r->n_findings; i++) n += r->findings[i].level == level;
	return n;
}

static const char *first_of(const char *a, const char *b) { return a && a[0] ? a : b; }

static cyc_status read_project(cyc_check *c)
{
	cyc_status st = CYC_OK;
	const cyc_check_options *o = c->o;
	cyc_check_result *r = c->result;
	c->root = o->input.root ? o->input.root : "";
	CYC_TRY(cyc_project_resolve(&c->set, &o->input));
	CYC_TRY(cyc_project_read_tomograms(&c->tomograms, c->set, &o->input));
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

static cyc_status default_box(int32_t *box_px, const cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_volume *map = NULL;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, c->root, c->ref1));
	CYC_TRY(cyc_mrc_read_map(&map, path));
	/* The CTF spreads a particle over more than its map. */
	*box_px = cyc_fft_good_size(3 * map->nx / 2);
done:
	cyc_volume_destroy(&map);
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
	cyc_info("%s: %lld images; hand %s, dose %s, contrast %s, size %s", e->name, (long long)e->n_images,
	         measured_text(hand, e->hand, 1, ""), measured_text(dose, e->dose, 1, ""),
	         measured_text(contrast, e->contrast, 1, ""), measured_text(size, e->stretch, 100, " %"));
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

static cyc_status compare_images(cyc_check *c)
{
	cyc_status st = CYC_OK;
	cyc_backend *be = NULL;
	cyc_reference *reference = NULL;
	cyc_ring_pass *pass = NULL;
	cyc_particle_set part = { 0 };
	cyc_box box;
	int32_t first = 0, box_px = c->o->box_px;
	CYC_CHECK(
		c->ref1 && c->ref2, CYC_E_USAGE,
		"images are compared with half maps: --ref1 and --ref2, or an optimisation set that names them");
	CYC_TRY(cyc_particle_set_require_halves(c->particles));
	while (c->result->series[first].n_particles == 0) first++;
	if (box_px <= 0) CYC_TRY(default_box(&box_px, c));
	CYC_TRY(cyc_box_create(&box, box_px, 1, c->tomograms->series[first].pixel_size_A));
	box.window.is_partial = true;
	CYC_TRY(cyc_backend_open(&be, c->o->backend, c->o->n_threads));
	CYC_TRY(cyc_reference_load(&reference, be, c->ref1, c->ref2, c->mask, c->fsc, 0, box_px, box.pixel_size_A,
	                           c->root));
	CYC_TRY(cyc_ring_pass_create(&pass, be, &box, reference, c->o->k_min_A,
	                             !c->o->skip_stretch && c->result->n_series > 1));
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

cyc_status cyc_check_run(cyc_check_result *result, const cyc_check_options *options)
{
	cyc_status st = CYC_OK;
	cyc_check c = { .o = options, .result = result };
	*result = (cyc_check_result){ 0 };
	CYC_TRY(read_project(&c));
	if (options->fix_dir) CYC_TRY(cyc_check_fix_folder(&c));
	CYC_TRY(cyc_check_tables(&c));
	if (options->is_deep) {
		CYC_TRY(compare_images(&c));
		CYC_TRY(cyc_check_density(&result->density, c.ref1, c.ref2, c.root, options->n_threads));
	}
	CYC_TRY(cyc_check_judge(&c));
	if (options->fix_dir) CYC_TRY(cyc_check_fix(&c));
done:
	cyc_particle_set_destroy(&c.particles);
	cyc_tomogram_set_destroy(&c.tomograms);
	cyc_optimisation_set_destroy(&c.set);
	return st;
}

#include "map_internal.h"

#include <string.h>

void cyc_mask_options_default(cyc_mask_options *o)
{
	*o = (cyc_mask_options){ .root = "", .n_threads = 1 };
	cyc_options_set_defaults(o, &cyc_mask_table);
}

static cyc_status check_options(const cyc_mask_options *o)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_options_check(o, &cyc_mask_table));
	CYC_CHECK(o->output && o->output[0], CYC_E_USAGE,
	          "the output is missing: give the mask to write with --o");
	CYC_CHECK(!o->denovo || !o->input, CYC_E_USAGE,
	          "--denovo makes a mask without a map, but a map is given: leave out one of the two");
	CYC_CHECK(o->denovo || (o->input && o->input[0]), CYC_E_USAGE,
	          "the input is missing: give a map with --i, or --denovo for a sphere");
	CYC_CHECK(!o->has_soft_edge || o->soft_edge_px >= 0.0, CYC_E_USAGE,
	          "the soft edge must not be negative, got %g px", o->soft_edge_px);
	CYC_CHECK(!o->combine_with || o->has_threshold, CYC_E_USAGE, "combining two maps needs a --threshold");
	if (o->helix) {
		CYC_CHECK(o->helix_z_frac >= 0.1 && o->helix_z_frac <= 0.9, CYC_E_USAGE,
		          "--helix-z must be 0.1 to 0.9, got %g", o->helix_z_frac);
		CYC_CHECK(!(o->has_soft_edge || o->has_threshold) || o->soft_edge_px > 0.0, CYC_E_USAGE,
		          "a helical mask needs a soft edge: --soft-edge");
	}
	if (o->denovo) {
		CYC_CHECK(o->box_px > 0 && o->box_px % 2 == 0, CYC_E_USAGE,
		          "a mask without a map needs an even box (--box-size), got %d px", o->box_px);
		CYC_CHECK(o->inner_radius_px >= 0.0 && o->outer_radius_px > o->inner_radius_px, CYC_E_USAGE,
		          "radii must be 0 <= inner < outer, got %g and %g px", o->inner_radius_px,
		          o->outer_radius_px);
	}
done:
	return st;
}

/* ---------------------------------------------------------------- from maps */

static bool combine(float a, float b, double t, cyc_mask_combine how)
{
	bool in_a = (double)a > t, in_b = (double)b > t, out_b = (double)b < t;
	switch (how) {
	case CYC_MASK_AND: return in_a && in_b;
	case CYC_MASK_OR: return in_a || in_b;
	case CYC_MASK_AND_NOT: return in_a && out_b;
	case CYC_MASK_OR_NOT: return in_a || out_b;
	}
	return false;
}

static cyc_status binarise(uint8_t *set, const cyc_volume *map, const cyc_mask_options *o,
                           const cyc_mask_result *r)
{
	cyc_status st = CYC_OK;
	cyc_volume *second = NULL;
	size_t count = cyc_volume_count(map), n_set = 0;
	float highest = -INFINITY;
	if (o->combine_with) {
		CYC_TRY(
			cyc__read_map(&second, o->root, o->combine_with, map->pixel_size_A, "second map", o->n_threads));
		CYC_CHECK(second->nx == map->nx, CYC_E_SHAPE,
		          "the maps must have one box: '%s' has %d voxels, '%s' has %d", o->input, map->nx,
		          o->combine_with, second->nx);
	}
	for (size_t i = 0; i < count; i++) {
		set[i] = second ? combine(map->data[i], second->data[i], r->threshold, o->combine)
		                : (double)map->data[i] >= r->threshold;
		n_set += set[i];
		highest = map->data[i] > highest ? map->data[i] : highest;
	}
	if (n_set == 0) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "the mask is empty: no voxel of '%s' reaches the threshold %g%s", o->input,
		                     r->threshold, second ? " in the combination of the two maps" : "");
		cyc_error_hint("the highest value is %g%s; without --threshold a suitable one is found automatically",
		               (double)highest, r->lowpass_A > 0.0 ? " after the low-pass" : "");
		goto done;
	}
done:
	cyc_volume_destroy(&second);
	return st;
}

static void keep_centre_along_z(cyc_volume *mask, double z_frac, double edge_px)
{
	size_t n_plane = (size_t)mask->nx * (size_t)mask->ny;
	double half = mask->nz * z_frac / 2.0;
	for (int32_t z = 0; z < mask->nz; z++) {
		double d = fabs((double)(z - mask->nz / 2)), f = 1.0;
		if (d >= half + edge_px) f = 0.0;
		else if (d >= half) f = 0.5 + 0.5 * cos(CYC_PI * (d - half) / edge_px);
		float *plane = mask->data + (size_t)z * n_plane;
		for (size_t i = 0; i < n_plane; i++) plane[i] *= (float)f;
	}
}

/* @param[out] automatic  the threshold that would be found; NaN: none, or one map is not all there is */
static cyc_status mask_from_map(cyc_volume **out, double *automatic, cyc_mask_result *r,
                                const cyc_mask_options *o)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	uint8_t *set = NULL;
	CYC_TRY(cyc__read_map(&v, o->root, o->input, o->pixel_size_A, "map", o->n_threads));
	if (r->lowpass_A > 0.0)
		CYC_TRY(cyc__map_lowpass(v->data, v->nx, v->pixel_size_A, r->lowpass_A, o->n_threads));
	/* A map that is the same everywhere has no threshold, but a mask. */
	st = cyc__mask_auto_threshold(automatic, v->data, v->nx);
	if (st != CYC_OK && o->has_threshold) {
		*automatic = (double)NAN;
		cyc_error_clear();
		st = CYC_OK;
	}
	if (st != CYC_OK) cyc_error_context("%s", o->input);
	CYC_TRY(st);
	r->threshold = o->has_threshold ? o->threshold : *automatic;
	if (o->combine_with) *automatic = (double)NAN;
	CYC_TRY(cyc_alloc(&set, cyc_volume_count(v), sizeof *set));
	CYC_TRY(binarise(set, v, o, r));
	CYC_TRY(cyc__mask_extend(set, v->nx, r->extend_px, o->n_threads));
	size_t n_left = 0;
	for (size_t i = 0; i < cyc_volume_count(v); i++) n_left += set[i];
	if (n_left == 0) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
		                     "the mask is empty: shrunk by %g px nothing of it is left", -r->extend_px);
		cyc_error_hint("shrink it by less (--extend)");
		goto done;
	}
	CYC_TRY(cyc__mask_soften(v->data, set, v->nx, r->soft_edge_px, o->n_threads));
	if (o->helix) keep_centre_along_z(v, o->helix_z_frac, r->soft_edge_px);
	*out = v;
	v = NULL;
done:
	cyc_volume_destroy(&v);
	cyc_free(set);
	return st;
}

/* ---------------------------------------------------------------- without a map */

static cyc_status mask_of_shell(cyc_volume **out, const cyc_mask_result *r, const cyc_mask_options *o)
{
	cyc_status st = CYC_OK;
	int64_t n = o->box_px;
	double w = r->soft_edge_px, inner = o->inner_radius_px, outer = o->outer_radius_px;
	double pixel_size_A = o->pixel_size_A;
	if (!(pixel_size_A > 0.0)) {
		pixel_size_A = 1.0;
		cyc_warn("no pixel size is given, so the mask's header says 1 Å; give that of your maps with "
		         "--pixel-size");
	}
	CYC_TRY(cyc_volume_create(out, o->box_px, o->box_px, o->box_px, pixel_size_A));
	for (int64_t z = 0; z < n; z++)
		for (int64_t y = 0; y < n; y++)
			for (int64_t x = 0; x < n; x++) {
				double dx = (double)(x - n / 2) - o->centre_px[0], dy = (double)(y - n / 2) - o->centre_px[1];
				double dz = (double)(z - n / 2) - o->centre_px[2], d = sqrt(dx * dx + dy * dy + dz * dz),
					   v = 0.0;
				if (d >= inner && d <= outer) v = 1.0;
				else if (d < inner && d > inner - w) v = 0.5 - 0.5 * cos(CYC_PI * (d - inner + w) / w);
				else if (d > outer && d < outer + w) v = 0.5 - 0.5 * cos(CYC_PI * (outer + w - d) / w);
				(*out)->data[(z * n + y) * n + x] = (float)v;
			}
done:
	return st;
}

/* ---------------------------------------------------------------- driver */

static bool touches_border(const cyc_volume *v)
{
	int64_t n = v->nx;
	for (int64_t z = 0; z < n; z++)
		for (int64_t y = 0; y < n; y++) {
			bool is_face = z == 0 || z == n - 1 || y == 0 || y == n - 1;
			const float *row = v->data + (z * n + y) * n;
			for (int64_t x = 0; x < n; x += is_face ? 1 : n - 1)
				if (row[x] > 0.0f) return true;
		}
	return false;
}

static void warn_of_border(const cyc_mask_result *r, double automatic)
{
	char suitable[80] = "";
	if (automatic > r->threshold)
		snprintf(suitable, sizeof suitable, " (without the option it would be %.3g)", automatic);
	cyc_warn("the mask reaches the border of the box: raise --threshold%s, lower --extend or --soft-edge, or "
	         "reconstruct with a larger --crop",
	         suitable);
}

static void set_automatic(cyc_mask_result *r, const cyc_mask_options *o)
{
	bool is_automatic = !o->denovo && !o->has_threshold;
	r->threshold = (double)NAN;
	r->lowpass_A = is_automatic && !o->has_lowpass ? 15.0 : o->lowpass_A;
	r->extend_px = is_automatic && !o->has_extend ? 3.0 : o->extend_px;
	r->soft_edge_px = is_automatic && !o->has_soft_edge ? 6.0 : o->soft_edge_px;
}

/* What can be said without reading the maps. */
static cyc_status plan(const cyc_mask_options *o)
{
	cyc_status st = CYC_OK;
	const char *name[2] = { o->input, o->combine_with };
	cyc_mrc_info info[2] = { 0 };
	char *path = NULL;
	for (int i = 0; i < 2; i++) {
		if (!name[i]) continue;
		CYC_TRY(cyc_path_join(&path, o->root, name[i]));
		CYC_TRY_CTX(cyc_mrc_read_info(&info[i], path), "%s", i == 0 ? "map" : "second map");
		cyc_free(path);
		path = NULL;
	}
	CYC_TRY(cyc_memory_require(cyc_mask_memory_bytes(o, o->denovo ? o->box_px : info[0].nx), o->n_threads,
	                           o->denovo
	                               ? "use a smaller box (--box-size)"
	                               : "use a map of a smaller box (cyclotomo reconstruct --crop), or fewer "
	                                 "threads (--j)"));
	CYC_CHECK(!name[1] || info[1].nx == info[0].nx, CYC_E_SHAPE,
	          "the maps must have one box: '%s' has %d voxels, '%s' has %d", name[0], info[0].nx, name[1],
	          info[1].nx);
	if (o->dry_run)
		cyc_info("dry run: a mask of %d px will be written to %s", o->denovo ? o->box_px : info[0].nx,
		         o->output);
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_mask_run(cyc_mask_result *result, const cyc_mask_options *options)
{
	cyc_status st = CYC_OK;
	cyc_volume *mask = NULL;
	char *path = NULL;
	cyc_mask_result r = { 0 };
	double sum = 0.0, automatic = (double)NAN;
	CYC_TRY(check_options(options));
	CYC_TRY(cyc_mask_spare_inputs(options));
	set_automatic(&r, options);
	CYC_TRY(plan(options));
	if (options->dry_run) {
		*result = r;
		goto done;
	}
	CYC_TRY(cyc_path_join(&path, options->root, options->output));
	if (options->denovo) CYC_TRY(mask_of_shell(&mask, &r, options));
	else CYC_TRY(mask_from_map(&mask, &automatic, &r, options));
	size_t count = cyc_volume_count(mask);
	if (!options->invert && !options->denovo && touches_border(mask)) warn_of_border(&r, automatic);
	for (size_t i = 0; i < count; i++) {
		if (options->invert) mask->data[i] = 1.0f - mask->data[i];
		sum += (double)mask->data[i];
	}
	r.volume_frac = sum / (double)count;
	r.box_px = mask->nx;
	r.pixel_size_A = mask->pixel_size_A;
	CYC_TRY(cyc_make_parent_dirs(path));
	CYC_TRY(cyc_mrc_write(path, mask, 2, "cyclotomo mask"));
	*result = r;
done:
	cyc_volume_destroy(&mask);
	cyc_free(path);
	return st;
}

/* The job: files in, files out, iteration after iteration. */
#include "refine3d/refine3d_internal.h"

#include "cyclotomo/outputs.h"
#include "cyclotomo/record.h"
#include "cyclotomo/survey.h"
#include "map/map_files.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static const double LEAST_INSIDE =
	0.25; /* of a particle's radius: centres closer to the border of an image are left out */
static const double MOST_POSES = 3e10;    /* of each particle: a thread does some 10^7 in a second */
static const double SIGNIFICANT = 3.0349; /* sqrt(2 ln 100): RELION's accuracy in standard errors */

void cyc_refine3d_options_default(cyc_refine3d_options *o)
{
	*o = (cyc_refine3d_options){ .n_threads = 1 };
	cyc_options_set_defaults(o, &cyc_refine3d_table);
}

void cyc_refine3d_result_deinit(cyc_refine3d_result *r)
{
	char **const all[] = { &r->particles, &r->half1, &r->half2, &r->map, &r->optimisation_set };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) cyc_free(*all[i]);
	memset(r, 0, sizeof *r);
}

/* ---------------------------------------------------------------- input */

static cyc_status check_options(const cyc_refine3d_options *o)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_options_check(o, &cyc_refine3d_table));
	if (o->box_px > 0 && !o->from_stacks) {
		CYC_CHECK(o->crop_px <= 0 || (o->crop_px % 2 == 0 && o->crop_px >= 16 && o->crop_px <= o->box_px),
		          CYC_E_USAGE,
		          "the cropped box must be even, at least 16 and not larger than the box of %d px, got %d",
		          o->box_px, o->crop_px);
	}
	CYC_CHECK(
		o->from_stacks || o->box_px > 0 || (o->crop_px <= 0 && fabs(o->binning - 1) <= 0), CYC_E_USAGE,
		"--crop and --bin need a box (--b): without it all three are taken from the extracted particles");
	CYC_CHECK(o->offset_range_px <= 12 * o->offset_step_px, CYC_E_USAGE,
	          "the range of the offsets must be at most 12 steps, got %g and %g px", o->offset_range_px,
	          o->offset_step_px);
	CYC_CHECK(!(o->no_search && o->no_follow), CYC_E_USAGE,
	          "with --no-search and --no-follow there is nothing to refine: leave out one of them");
done:
	return st;
}

static cyc_status check_particle(const cyc_refine3d_options *o, int32_t crop_px, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	double edge_A = crop_px * pixel_size_A;
	CYC_CHECK(o->particle_diameter_A <= edge_A, CYC_E_USAGE,
	          "a particle of %g Å does not fit into the cropped box of %d px, %.1f Å", o->particle_diameter_A,
	          crop_px, edge_A);
	CYC_CHECK(o->particle_diameter_A <= 0 ||
	              o->particle_diameter_A >= 2 * CYC_LEAST_MASK_RADIUS_PX * pixel_size_A,
	          CYC_E_USAGE, "a particle of %g Å (--particle-diameter) has less than %d pixels of %.4g Å",
	          o->particle_diameter_A, 2 * CYC_LEAST_MASK_RADIUS_PX, pixel_size_A);
done:
	return st;
}

/* Masks of other sizes are resampled, which rings a little. Values far outside 0 to 1 are rejected. */
static cyc_status check_mask(const cyc_project_view *p, const char *mask)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	if (!mask || !mask[0]) return CYC_OK;
	CYC_TRY(cyc__read_map(&v, p->root, mask, 0, "mask", 1));
	for (size_t i = 0; i < cyc_volume_count(v); i++)
		CYC_CHECK(v->data[i] > -0.2F && v->data[i] < 1.2F, CYC_E_DATA,
		          "the mask %s has a value of %g; masks must be between 0 and 1", mask, (double)v->data[i]);
	double reach_px = cyc_mask_reach_px(v);
	CYC_CHECK(reach_px >= 0, CYC_E_DATA, "the mask %s is zero everywhere", mask);
	CYC_CHECK(!cyc_mask_is_inverted(v), CYC_E_DATA,
	          "the mask %s is inverted: it is 1 at the corners of the box and 0 in the centre", mask);
	CYC_CHECK(reach_px >= CYC_LEAST_MASK_RADIUS_PX, CYC_E_DATA,
	          "the mask %s reaches less than %d px from the centre: too small for a reference", mask,
	          CYC_LEAST_MASK_RADIUS_PX);
done:
	cyc_volume_destroy(&v);
	return st;
}

/* Beyond what all refinements need, which reading the input checks. */
static cyc_status check_own(const cyc_refine3d_options *o, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	cyc_symmetry *symmetry = NULL;
	cyc_box box;
	const char *mask = o->mask && o->mask[0] ? o->mask : p->set->reference_mask;
	double pixel_size_A = p->tomograms->series[cyc_particle_set_first_series(p->particles)].pixel_size_A;
	CYC_TRY(cyc_backend_check(o->backend));
	/* Half-sets that are the same everywhere have an FSC of 1, and nothing to compare. */
	if (o->join_A > 0 && o->join_A < 2 * pixel_size_A * o->binning) {
		st = cyc_error_raise(
			CYC_E_USAGE, __FILE__, __LINE__, __func__,
			"the half-sets would be joined up to %g Å (--join), beyond the highest resolution of "
			"pixels of %.4g Å",
			o->join_A, pixel_size_A * o->binning);
		cyc_error_hint("join them to a low resolution, such as 40 Å, or not at all (--join 0)");
		goto done;
	}
	CYC_TRY(cyc_symmetry_create(&symmetry, o->symmetry));
	for (int32_t g = 0; g < p->particles->n_optics; g++)
		CYC_CHECK(
			!p->particles->optics[g].has_magnification, CYC_E_UNSUPPORTED,
			"optics group '%s' has a magnification matrix, which is not supported yet when refining poses",
			p->particles->optics[g].name);
	if (!o->from_stacks && o->box_px > 0) {
		CYC_TRY(cyc_box_create(&box, o->box_px, o->binning, pixel_size_A));
		CYC_TRY(cyc_check_window(p, box.window.box_px));
		CYC_TRY(check_particle(o, o->crop_px > 0 ? o->crop_px : o->box_px, box.pixel_size_A));
	}
	/* The mask is read together with existing maps. */
	if (p->map_px > 0) CYC_TRY(check_mask(p, mask));
done:
	cyc_symmetry_destroy(&symmetry);
	return st;
}

cyc_status cyc_refine3d_check(const cyc_refine3d_options *o, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	const cyc_refine_request request = { .project = &o->input,
		                                 .ref1 = o->ref1,
		                                 .ref2 = o->ref2 ? o->ref2 : o->ref1,
		                                 .out_dir = o->out_dir,
		                                 .has_own_box = true,
		                                 .skip_images = o->from_stacks };
	CYC_TRY(check_options(o));
	CYC_TRY(check_own(o, p));
	CYC_TRY(cyc_refine_check(&request, p));
done:
	return st;
}

/* The second half map's name, from the first's; the same map for both if that is no half map. */
static cyc_status find_second(cyc_refine3d_job *j, cyc_refine_request *r)
{
	cyc_status st = CYC_OK;
	if (!r->ref1 || r->ref2) return CYC_OK;
	const char *slash = strrchr(r->ref1, '/'), *base = slash ? slash + 1 : r->ref1;
	if (strstr(base, "half1") || strstr(base, "half2")) {
		CYC_TRY(cyc__other_half(&j->ref2_name, r->ref1));
		/* Each half-set gets the map of its own number. */
		if (strstr(base, "half2") && !strstr(base, "half1")) {
			r->ref2 = r->ref1;
			r->ref1 = j->ref2_name;
		} else {
			r->ref2 = j->ref2_name;
		}
		goto done;
	}
	r->ref2 = r->ref1;
	j->is_one_map = true;
done:
	return st;
}

/* Images of an extraction give box, pixel size and binning. For the maps they are padded, as in the
 * reconstruction. */
static cyc_status open_stacks(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_options *o = j->o;
	CYC_CHECK(j->particles->are_2d_stacks || !o->relion_model, CYC_E_UNSUPPORTED,
	          "'%s' has 3D volumes, whose noise is not that of RELION's model files: leave out "
	          "--relion-noise, or use "
	          "2D stacks",
	          j->in.set->particles);
	CYC_TRY(cyc_stacks_open(&j->stacks, j->particles, j->in.tomograms, j->in.root));
	int32_t N = j->stacks->box_px, s = o->box_px > 0 ? o->box_px : 2 * N;
	CYC_CHECK(N >= 16, CYC_E_UNSUPPORTED, "'%s' has images of %d px; poses need at least 16 px",
	          j->in.set->particles, N);
	CYC_CHECK(s >= N && s % 2 == 0, CYC_E_USAGE,
	          "the box must be even and not smaller than the extracted images of %d px, got %d", N, s);
	CYC_CHECK(o->crop_px <= 0 || o->crop_px == N, CYC_E_USAGE,
	          "poses are refined in the box of the extracted images, %d px, got a cropped box of %d px", N,
	          o->crop_px);
	CYC_CHECK(o->binning == 1 || fabs(o->binning - j->stacks->binning) < 1e-3 * j->stacks->binning,
	          CYC_E_USAGE, "a binning of %g was given, but the extracted images have %g", o->binning,
	          j->stacks->binning);
	j->box = (cyc_box){ .window = { .box_px = s, .box_binned = s, .no_circle_crop = true },
		                .binning = j->stacks->binning,
		                .pixel_size_A = j->stacks->pixel_size_A };
	j->crop_px = N;
	cyc_info("particle images are those that '%s' names: %s of %d px at binning %g", j->in.set->particles,
	         j->stacks->are_2d ? "2D stacks" : "3D volumes", N, j->stacks->binning);
done:
	return st;
}

/* Maps and masks are resampled; a mask as wide as neither the maps nor the box belongs to other data. */
static cyc_status check_mask_width(const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const char *map_name = j->in.reference_files[0], *mask_name = j->in.reference_files[2];
	char *path = NULL;
	cyc_mrc_info map, mask;
	if (!mask_name) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, j->in.root, map_name));
	CYC_TRY_CTX(cyc_mrc_read_info(&map, path), "half map 1");
	cyc_free(path);
	path = NULL;
	CYC_TRY(cyc_path_join(&path, j->in.root, mask_name));
	CYC_TRY_CTX(cyc_mrc_read_info(&mask, path), "mask");
	double width_A = mask.nx * mask.pixel_size_A, box_A = j->crop_px * j->box.pixel_size_A;
	/* Boxes are even. */
	double rounding_A = 1.001 * fmax(mask.pixel_size_A, fmax(map.pixel_size_A, j->box.pixel_size_A));
	bool fits_map = fabs(width_A - map.nx * map.pixel_size_A) <= rounding_A;
	if (fits_map || fabs(width_A - box_A) <= rounding_A) goto done;
	st = cyc_error_raise(
		CYC_E_SHAPE, __FILE__, __LINE__, __func__,
		"the mask %s (%d px of %.4g Å) is neither as wide as the map %s (%d px of %.4g Å) nor "
		"as the box of the refinement (%d px of %.4g Å)",
		mask_name, mask.nx, mask.pixel_size_A, map_name, map.nx, map.pixel_size_A, j->crop_px,
		j->box.pixel_size_A);
	cyc_error_hint("make one from this map: cyclotomo mask --i %s --o mask.mrc", map_name);
done:
	cyc_free(path);
	return st;
}

/* Then the orientations of the input do not matter. */
static bool searches_all_rotations(const cyc_refine3d_options *o)
{
	return !o->no_search && !o->only_judge && o->healpix_order < o->auto_local_order;
}

static cyc_status read_input(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_options *o = j->o;
	cyc_refine_request request = { .project = &o->input,
		                           .ref1 = o->ref1,
		                           .ref2 = o->ref2,
		                           .mask = o->mask,
		                           .out_dir = o->out_dir,
		                           .has_own_box = true,
		                           .skip_images = o->from_stacks,
		                           .skip_orientations = searches_all_rotations(o) };
	CYC_TRY(find_second(j, &request));
	CYC_TRY(cyc_refine_input_read(&j->in, &request));
	j->particles = j->in.particles;
	const cyc_project_view view = cyc_refine_view(&j->in);
	CYC_TRY(check_own(o, &view));
	if (j->is_one_map && o->lowpass_A <= 0) {
		cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                "%s is one map for both half-sets: it needs an initial low-pass filter, so that the "
		                "half-sets stay independent",
		                o->ref1);
		cyc_error_hint("give --ini_high (60 Å without good poses, and always well below the expected "
		               "resolution), or half maps");
		st = CYC_E_USAGE;
		goto done;
	}
	if (o->from_stacks) {
		CYC_TRY(open_stacks(j));
	} else {
		cyc_refine3d_boxes boxes = { .box_px = o->box_px,
			                         .crop_px = o->crop_px > 0 ? o->crop_px : o->box_px,
			                         .binning = o->binning };
		if (o->box_px <= 0) CYC_TRY(cyc_refine3d_boxes_of_stacks(&boxes, &j->in));
		CYC_TRY(cyc_box_create(&j->box, boxes.box_px, boxes.binning,
		                       j->in.tomograms->series[j->in.first_series].pixel_size_A));
		j->box.margin_px = 0.5 * boxes.box_px; /* as in the reconstruction */
		j->crop_px = boxes.crop_px;
	}
	double widest_A = (j->crop_px - 10) * j->box.pixel_size_A;
	j->particle_diameter_A = o->particle_diameter_A > 0 ? o->particle_diameter_A : widest_A;
	CYC_TRY(cyc_particle_set_warn_duplicates(
		j->particles,
		cyc_duplicate_distance_A(o->particle_diameter_A > 0 ? o->particle_diameter_A : 0.5 * widest_A)));
	CYC_TRY(check_mask_width(j));
	CYC_TRY(check_particle(o, j->crop_px, j->box.pixel_size_A));
	CYC_TRY(cyc_symmetry_create(&j->symmetry, o->symmetry));
done:
	return st;
}

static cyc_status read_map(cyc_volume **out, const cyc_refine3d_job *j, const char *name, const char *what)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	CYC_TRY(cyc__read_map(&v, j->in.root, name, 0, what, j->o->n_threads));
	CYC_TRY(cyc_volume_resample(out, v, j->box.pixel_size_A, j->crop_px, j->o->n_threads));
	if (v->nx != j->crop_px || fabs(v->pixel_size_A / j->box.pixel_size_A - 1) >= 1e-3)
		cyc_info("%s: %d px of %.4g Å resampled to %d px of %.4g Å", name, v->nx, v->pixel_size_A, j->crop_px,
		         j->box.pixel_size_A);
done:
	cyc_volume_destroy(&v);
	return st;
}

/* The given mask, or a sphere of the particle's diameter with a soft edge of 5 px. */
static cyc_status make_mask(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	int32_t n = j->crop_px;
	const char *name = j->in.reference_files[2];
	double R = 0.5 * j->particle_diameter_A / j->box.pixel_size_A;
	if (name) CYC_TRY(read_map(&j->mask, j, name, "mask"));
	else CYC_TRY(cyc_volume_create(&j->mask, n, n, n, j->box.pixel_size_A));
	bool is_resampled = false;
	for (size_t i = 0; i < cyc_volume_count(j->mask); i++) {
		int32_t x = (int32_t)(i % (size_t)n) - n / 2, y = (int32_t)(i / (size_t)n % (size_t)n) - n / 2,
				z = (int32_t)(i / (size_t)n / (size_t)n) - n / 2;
		double r = sqrt(cyc_square(x) + cyc_square(y) + cyc_square(z));
		float *w = &j->mask->data[i];
		if (!name) *w = r <= R ? 1 : r >= R + 5 ? 0 : (float)(0.5 + 0.5 * cos(CYC_PI * (r - R) / 5));
		/* Resampling rings a little; more than that is no mask. */
		CYC_CHECK(*w > -0.2F && *w < 1.2F, CYC_E_DATA,
		          "the mask %s has a value of %g; masks must be between 0 and 1", name ? name : "",
		          (double)*w);
		is_resampled = is_resampled || *w < -1e-4F || *w > 1.0001F;
		*w = fminf(fmaxf(*w, 0), 1);
	}
	CYC_CHECK(!name || !cyc_mask_is_inverted(j->mask), CYC_E_DATA,
	          "the mask %s is inverted: it is 1 at the corners of the box and 0 in the centre", name);
	double reach_px = cyc_mask_reach_px(j->mask);
	CYC_CHECK(reach_px >= 0, CYC_E_DATA, "the mask %s is zero everywhere inside the cropped box of %d px",
	          name ? name : "", n);
	CYC_CHECK(reach_px >= CYC_LEAST_MASK_RADIUS_PX, CYC_E_DATA,
	          "the mask %s reaches less than %d px from the centre: too small for a reference",
	          name ? name : "of the particle diameter", CYC_LEAST_MASK_RADIUS_PX);
	if (is_resampled && name) cyc_info("%s: values outside 0 to 1 were clipped", name);
	j->maps_spec.mask_diameter_px = 2 * reach_px;
done:
	return st;
}

static cyc_status read_references(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_volume *half[2] = { NULL, NULL };
	for (int h = 0; h < 2; h++)
		CYC_TRY(read_map(&half[h], j, j->in.reference_files[h],
		                 j->is_one_map ? "reference"
		                 : h           ? "half map 2"
		                               : "half map 1"));
	const char *const names[2] = { j->in.reference_files[0], j->in.reference_files[1] };
	if (j->is_one_map) CYC_TRY(cyc_half_map_check(half[0], "the reference", names[0]));
	else CYC_TRY(cyc_half_maps_check(half, names, j->o->n_threads));
	CYC_TRY(cyc_half_maps_take(&j->maps, half, j->is_one_map, &j->maps_spec));
	/* Maps with a trusted grey scale are already filtered. */
	for (int32_t i = 0; i <= j->crop_px / 2 && j->o->absolute_grey_scale; i++) j->maps->fsc[i] = 1;
done:
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&half[h]);
	return st;
}

/* sigma^2 of the optics groups in a model.star, shell by shell. */
static cyc_status read_group_noise(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	char *path = NULL, *name = NULL;
	int32_t n_shells = j->crop_px / 2 + 1;
	CYC_TRY(cyc_path_join(&path, j->in.root, j->o->relion_model));
	CYC_TRY(cyc_star_read(&s, path));
	CYC_TRY(cyc_alloc(&j->group_sigma2, (size_t)j->particles->n_optics * (size_t)n_shells,
	                  sizeof *j->group_sigma2));
	for (int32_t g = 0; g < j->particles->n_optics; g++) {
		cyc_star_block *b;
		CYC_TRY(cyc_asprintf(&name, "model_optics_group_%d", g + 1));
		CYC_TRY(cyc_star_require(&b, s, name));
		CYC_CHECK(cyc_star_n_rows(b) == n_shells, CYC_E_SHAPE, "'%s' has %lld shells, a box of %d px has %d",
		          path, (long long)cyc_star_n_rows(b), j->crop_px, n_shells);
		for (int32_t i = 0; i < n_shells; i++)
			CYC_TRY(cyc_star_double_of(&j->group_sigma2[g * n_shells + i], b, i, CYC_RLN_SIGMA2_NOISE));
		cyc_free(name);
		name = NULL;
	}
done:
	cyc_free(path);
	cyc_free(name);
	cyc_star_destroy(&s);
	return st;
}

/* ---------------------------------------------------------------- start */

/* Of a particle: its prior from the columns that an earlier run wrote; false if they are not there. */
static cyc_status read_prior(bool *has, cyc_refined *r, const cyc_particle *p, cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	double angle[3], origin[3];
	*has = cyc_label_has(b, CYC_LABELS_PRIOR_ANGLE, 3) && cyc_label_has(b, CYC_LABELS_PRIOR_ORIGIN, 3);
	if (!*has) goto done;
	CYC_TRY(cyc_label_get_three(angle, b, p->row, CYC_LABELS_PRIOR_ANGLE));
	CYC_TRY(cyc_label_get_three(origin, b, p->row, CYC_LABELS_PRIOR_ORIGIN));
	r->prior.R_tomo_ref = cyc_mat3_mul(p->R_tomo_part, cyc_euler_to_matrix(angle[0], angle[1], angle[2]));
	cyc_vec3 d = cyc_mat3_apply(p->R_tomo_part, (cyc_vec3){ -origin[0], -origin[1], -origin[2] });
	r->prior.offset_A =
		(cyc_vec3){ d.x - r->cut.offset_A.x, d.y - r->cut.offset_A.y, d.z - r->cut.offset_A.z };
done:
	return st;
}

static cyc_status start_particles(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int64_t n = j->particles->n;
	bool has_prior = true;
	CYC_TRY(cyc_star_require(&b, j->particles->star, "particles"));
	CYC_TRY(cyc_alloc(&j->refined, n, sizeof *j->refined));
	for (int64_t i = 0; i < n; i++) {
		const cyc_particle *p = &j->particles->particles[i];
		double o[3], likelihood;
		CYC_TRY(cyc_label_get_three(o, b, p->row, CYC_LABELS_ORIGIN));
		cyc_vec3 d = cyc_mat3_apply(p->R_tomo_part, (cyc_vec3){ -o[0], -o[1], -o[2] });
		j->refined[i] = (cyc_refined){ .pose = { .R_tomo_ref = p->R_tomo_ref },
			                           .prior = { .R_tomo_ref = p->R_tomo_ref },
			                           .cut = { .offset_A = d, .position_A = p->position_A },
			                           .probability = p->probability };
		if (j->o->keep_all) j->refined[i].probability = 1;
		CYC_TRY(cyc_star_double_or(&likelihood, b, p->row, CYC_RLN_LOG_LIKELI_CONTRIBUTION, 0));
		if (likelihood == 0) continue;
		j->start_is_refined = true;
		CYC_TRY(read_prior(&has_prior, &j->refined[i], p, b));
	}
	j->has_no_prior = j->start_is_refined && !has_prior;
	if (j->has_no_prior)
		cyc_info("these poses were already refined from images: they are not used as a prior");
	else if (j->start_is_refined)
		cyc_info(
			"these poses were already refined from images: the prior is centred on the poses before that");
done:
	return st;
}

static cyc_status hash_all(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_options *o = j->o;
	CYC_TRY(cyc_refine_hash(&j->hash, &j->in, cyc_backend_of_bits(o->backend)));
	CYC_TRY(cyc_options_hash(&j->hash, o, &cyc_refine3d_table, CYC_OPTIONS_UNFINISHED));
	CYC_TRY(cyc_input_file_hash(&j->hash, o->relion_model, j->in.root));
	for (int64_t i = 0; j->stacks && i < j->particles->n; i++) {
		CYC_TRY(cyc_image_hash(&j->hash, j->stacks->data_files[i], "", true));
		j->hash = cyc_hash(j->hash, &j->refined[i].cut.offset_A, sizeof j->refined[i].cut.offset_A);
	}
done:
	return st;
}

static cyc_status require_memory(const cyc_refine3d_job *j)
{
	return cyc_memory_require(
		j->memory.bytes, j->o->n_threads,
		"use a smaller box (--b, --crop), a higher --bin, a lower --healpix-order, or fewer threads (--j)");
}

/* Sizes, checked before anything is allocated: it must fit at the lowest resolution. */
static cyc_status plan_sizes(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_options *o = j->o;
	cyc_project_size size;
	cyc_mrc_info info;
	char *path = NULL;
	cyc_refine3d_sizes z = { .window_px = j->box.window.box_px,
		                     .box_px = j->box.window.box_binned,
		                     .crop_px = j->crop_px,
		                     .pixel_size_A = j->box.pixel_size_A,
		                     .particle_diameter_A = j->particle_diameter_A };
	CYC_TRY(cyc_project_size_of(&size, j->in.tomograms, j->particles, j->in.root));
	if (!j->stacks) CYC_TRY(cyc_project_require_window(&size, j->in.tomograms, z.window_px));
	CYC_TRY(cyc_path_join(&path, j->in.root, j->in.reference_files[0]));
	CYC_TRY_CTX(cyc_mrc_read_info(&info, path), "%s", j->is_one_map ? "reference" : "half map 1");
	z.map_px = info.nx;
	z.is_resampled = fabs(info.pixel_size_A / z.pixel_size_A - 1) >= 1e-3;
	z.n_groups = cyc_refine3d_n_groups(o, &size);
	z.images_bytes = cyc_refine3d_images_bytes(&z.series_images_bytes, j->in.tomograms, j->particles,
	                                           z.crop_px, z.pixel_size_A, o->cutoff_frac);
	if (cyc_refine3d_has_volumes(j)) {
		size.most_tilts = cyc_refine3d_n_views(j, 0);
		size.n_images = (double)size.most_tilts * (double)j->particles->n;
		z.volumes_bytes = cyc_volume_sections_bytes(z.crop_px, z.box_px, o->n_threads);
		z.images_bytes =
			cyc_volume_images_bytes(&z.series_images_bytes, j->particles, j->in.tomograms->n_series,
		                            z.crop_px, j->volumes.particle_radius_px);
	}
	double n_poses = cyc_refine3d_n_poses(o, j->symmetry->n);
	CYC_CHECK(n_poses <= MOST_POSES, CYC_E_USAGE,
	          "a search of %.2g poses per particle would take hours for each: use a lower --healpix-order, a "
	          "smaller --sigma-angle, or a smaller --offset-range",
	          n_poses);
	j->size = size;
	j->sizes = z;
	j->sizes.radius = 1;
	cyc_refine3d_plan_memory(&j->memory, o, &j->size, &j->sizes);
	if (j->memory.bytes > cyc_memory_available_bytes()) CYC_TRY(require_memory(j));
done:
	cyc_free(path);
	return st;
}

static double device_bytes(const void *job, size_t batch_bytes)
{
	const cyc_refine3d_job *j = job;
	return cyc_refine3d_device_bytes(j->o, &j->size, &j->sizes, batch_bytes);
}

/* What the job takes of a device. */
static cyc_device_plan device_plan(const cyc_refine3d_job *j)
{
	return (cyc_device_plan){ .bytes = device_bytes,
		                      .job = j,
		                      .less = "use a smaller box (--b, --crop) or a higher --bin" };
}

/* Memory needed, once the resolution of the given maps is known. */
static cyc_status plan_memory(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_options *o = j->o;
	double *weight = NULL;
	j->sizes.radius = 0;
	/* Of one map for both halves nothing is known. */
	if (!j->is_one_map) {
		CYC_TRY(cyc_half_maps_wiener(&weight, j->maps->fsc, 0, 1, &j->maps_spec));
		int32_t radius = cyc_reference_last_shell(weight, j->crop_px / 2 + 1);
		j->sizes.radius = radius > 1 ? radius : 1;
	}
	cyc_refine3d_plan_memory(&j->memory, o, &j->size, &j->sizes);
	cyc_info("%lld particles in %d tilt series; %s of %d px, box %d px of %.4g Å, particle %.0f Å, symmetry "
	         "%s, %d thread%s",
	         (long long)j->particles->n, j->in.tomograms->n_series,
	         cyc_refine3d_has_volumes(j) ? "volumes padded to a box"
	         : j->stacks                 ? "stacks padded to a box"
	                                     : "windows",
	         j->box.window.box_px, j->crop_px, j->box.pixel_size_A, j->particle_diameter_A, j->symmetry->name,
	         o->n_threads, cyc_plural(o->n_threads));
	cyc_info("particle images: up to %.2f GB, %s", j->sizes.images_bytes / 1e9,
	         j->memory.keeps_images ? "kept in memory"
	         : j->stacks            ? "read again in every iteration, one tilt series at a time"
	                                : "cut again in every iteration, one tilt series at a time");
	CYC_TRY(require_memory(j));
	cyc_device_plan on_device = device_plan(j);
	double one = cyc_refine3d_reference_bytes(&j->sizes);
	on_device.more_bytes = j->memory.references_bytes - one;
	CYC_TRY(cyc_backend_fit(j->be, &on_device));
	/* References are the device's, too. */
	j->memory.references_room = fmin(j->memory.references_room, cyc_backend_spare_bytes(j->be) + one);
done:
	cyc_free(weight);
	return st;
}

static void start_state(cyc_refine3d_job *j)
{
	const cyc_refine3d_options *o = j->o;
	double a = j->box.pixel_size_A,
		   sigma = o->sigma_angle_rad > 0 ? o->sigma_angle_rad
	                                      : 2 * cyc_healpix_step_rad(o->healpix_order + o->oversampling);
	j->state = (cyc_refine3d_state){ .order = o->healpix_order,
		                             .offset_range_A = o->offset_range_px * a,
		                             .offset_step_A = o->offset_step_px * a,
		                             .sigma_angle_rad = { sigma, sigma },
		                             .sigma_offset_A = { o->sigma_offset_A, o->sigma_offset_A },
		                             .amplitude = { 1, 1 } };
}

static cyc_status prepare(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_options *o = j->o;
	j->volumes =
		(cyc_volume_images_spec){ .stacks = j->stacks,
		                          .particle_radius_px = 0.5 * j->particle_diameter_A / j->box.pixel_size_A };
	CYC_TRY(plan_sizes(j));
	cyc_device_plan least = device_plan(j);
	least.is_least = true;
	CYC_TRY(cyc_backend_open_for(&j->be, o->backend, o->n_threads, &least));
	CYC_TRY(cyc_coefficients_create(&j->list, j->crop_px));
	CYC_TRY(cyc_pose_store_create(&j->store, j->be, j->list));
	CYC_TRY(cyc_alloc(&j->images, j->in.tomograms->n_series, sizeof *j->images));
	CYC_TRY(cyc_alloc(&j->series_scale, 2 * (size_t)j->in.tomograms->n_series, sizeof *j->series_scale));
	for (int32_t i = 0; i < 2 * j->in.tomograms->n_series; i++) j->series_scale[i] = 1;
	if (o->relion_model) CYC_TRY(read_group_noise(j));
	j->maps_spec = (cyc_half_maps_spec){ .be = j->be,
		                                 .box = &j->box,
		                                 .stacks = j->stacks ? &j->posed_stacks : NULL,
		                                 .crop_px = j->crop_px,
		                                 .symmetry = o->symmetry,
		                                 .cutoff_frac = 0.01,
		                                 .taper_px = fmin(10, j->crop_px / 8.0),
		                                 .whole_windows = o->relion_model != NULL,
		                                 .correct_fsc = !o->no_fsc_correction,
		                                 .join_A = o->join_A,
		                                 .tau2_fudge = o->tau2_fudge,
		                                 .seed = o->seed };
	cyc_accumulator_options of_maps;
	cyc_box map_box;
	cyc_half_maps_options(&of_maps, &map_box, &j->maps_spec);
	/* A pose needs the particle, not all the signal that the CTF spreads: most of the particle's circle
	 * must be inside the image, its window need not be. */
	double radius_px = 0.5 * j->particle_diameter_A / j->box.pixel_size_A;
	cyc_box window = j->box;
	window.window.is_partial = true;
	window.with_improbable = true; /* all are judged again */
	window.margin_px = LEAST_INSIDE * radius_px * j->box.binning;
	const cyc_tilt_source_spec source = { .box = window,
		                                  .crop_px = j->crop_px,
		                                  .most_particles = cyc_particle_set_most(j->particles),
		                                  .particle_radius_px = radius_px,
		                                  .cutoff_frac = o->cutoff_frac,
		                                  .map_margin_px = map_box.window.is_partial
		                                                       ? map_box.partial_margin_px
		                                                       : map_box.margin_px,
		                                  .only_visible_frames = o->relion_model != NULL,
		                                  .group_sigma2 = j->group_sigma2 };
	const cyc_stack_source_spec stack_source = { .stacks = j->stacks,
		                                         .most_particles = cyc_particle_set_most(j->particles),
		                                         .particle_radius_px = radius_px,
		                                         .cutoff_frac = o->cutoff_frac,
		                                         .group_sigma2 = j->group_sigma2 };
	j->volumes.be = j->be;
	j->volumes.coefficients = j->list;
	if (j->stacks && j->stacks->are_2d)
		CYC_TRY(cyc_stack_source_create(&j->stack_source, j->be, j->list, &stack_source));
	else if (j->stacks) cyc_info("volumes are read as %d central sections each", cyc_refine3d_n_views(j, 0));
	else CYC_TRY(cyc_tilt_source_create(&j->source, j->be, j->list, &source));
	CYC_TRY(make_mask(j));
	j->maps_spec.mask = j->mask;
	CYC_TRY(read_references(j));
	CYC_TRY(plan_memory(j));
	CYC_TRY(start_particles(j));
	CYC_TRY(cyc_refine3d_create_posed(j));
	CYC_TRY(cyc_refine3d_deal_groups(j));
	if (!o->no_follow) CYC_TRY(cyc_refine3d_alloc_terms(j));
	CYC_TRY(cyc_project_deal(&j->owner, j->in.tomograms, j->particles, NULL));
	CYC_TRY(cyc_alloc(&j->counts, j->in.tomograms->n_series, sizeof *j->counts));
	CYC_TRY(cyc_alloc(&j->is_counted, j->in.tomograms->n_series, sizeof *j->is_counted));
	CYC_TRY(cyc_alloc(&j->noise_sum, (size_t)j->particles->n_optics * (size_t)(j->crop_px / 2 + 1),
	                  sizeof *j->noise_sum));
	CYC_TRY(cyc_alloc(&j->noise_count, j->particles->n_optics, sizeof *j->noise_count));
	CYC_TRY(cyc_alloc(&j->spread, 2 * ((size_t)j->crop_px / 2 + 1), sizeof *j->spread));
	j->given_scale[0] = j->given_scale[1] = 1;
	CYC_TRY(cyc_alloc(&j->own_share, j->crop_px / 2 + 1, sizeof *j->own_share));
	CYC_TRY(cyc_alloc(&j->map_noise, j->crop_px / 2 + 1, sizeof *j->map_noise));
	start_state(j);
	if (j->start_is_refined && !j->has_no_prior && !o->no_follow) cyc_refine3d_start_priors(j);
	CYC_TRY(cyc_refine3d_start_progress(j));
	CYC_TRY(hash_all(j));
done:
	return st;
}

/* ---------------------------------------------------------------- an iteration */

/* New perturbation of the grids: a step of half to all of the share, wrapped around. */
static void perturb(cyc_refine3d_job *j)
{
	cyc_refine3d_state *s = &j->state;
	double f = j->o->perturbation;
	enum { RNG_PERTURB = 0x50455254 };
	if (!isnan(j->o->perturbation_given)) {
		s->perturbation = j->o->perturbation_given;
		return;
	}
	if (f <= 0) return;
	s->perturbation +=
		f * (0.5 + 0.5 * cyc_rng_uniform_at(j->o->seed, RNG_PERTURB, (uint64_t)s->iteration, 0));
	if (s->perturbation > f) s->perturbation -= 2 * f;
}

static void note_resolution(cyc_refine3d_job *j)
{
	cyc_refine3d_state *s = &j->state;
	int32_t n = j->crop_px / 2 + 1, half = 1;
	double length_A = j->crop_px * j->box.pixel_size_A, old = s->resolution_A > 0 ? 1 / s->resolution_A : 0;
	while (half < n && j->maps->fsc[half] >= 0.5) half++;
	s->resolution_A = length_A / fmax(half - 1, 1);
	s->resolution_143_A = length_A / fmax(cyc_fsc_resolution_shell(j->maps->fsc, n), 1);
	s->mean_fsc = 0;
	for (int32_t i = 1; i < n; i++) s->mean_fsc += j->maps->fsc[i] / (n - 1);
	s->n_without_gain = 1 / s->resolution_A <= old + 1e-4 ? s->n_without_gain + 1 : 0;
	if (s->best_resolution_A <= 0 || s->resolution_A < s->best_resolution_A)
		s->best_resolution_A = s->resolution_A;
}

/*
 * Particles that agree far less than expected may have a wrong pose: once poses have settled, they are
 * searched for among all rotations. Those found go into the maps, and poses are followed once more. (T8.24)
 */
static cyc_status find_again(bool *is_any_found, cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_state *s = &j->state;
	bool *which = NULL;
	int64_t n_found = 0;
	*is_any_found = false;
	CYC_TRY(cyc_alloc(&which, j->particles->n, sizeof *which));
	s->has_searched = true;
	int64_t n = cyc_refine3d_doubtful(which, j);
	if (n == 0 || j->o->no_search) goto done;
	CYC_TRY(cyc_refine3d_search_again(j, which));
	CYC_TRY(cyc_refine3d_judge(j));
	for (int64_t p = 0; p < j->particles->n; p++) {
		cyc_refined *r = &j->refined[p];
		r->was_found_again = r->was_found_again && r->probability >= CYC_IMPROBABLE;
		n_found += which[p] && r->was_found_again;
	}
	s->n_found_again += n_found;
	*is_any_found = n_found > 0;
	cyc_info("iteration %d: for %lld particles that agree far less than expected all rotations were "
	         "searched: %lld were found at another pose",
	         s->iteration, (long long)n, (long long)n_found);
done:
	cyc_free(which);
	return st;
}

/* Followed poses are final when they move by less than their standard errors. */
static bool is_settled(const cyc_refine3d_state *s)
{
	return s->change_rotation_rad < 0.5 * s->rotation_error_rad &&
	       s->change_offset_A < 0.5 * s->offset_error_A;
}

/* Sampled poses: a finer grid when neither maps nor poses gain, until the step is finer than the images can
 * tell.      (T8.12) */
static bool refine_sampling(cyc_refine3d_job *j, double accuracy_rad, double accuracy_A)
{
	cyc_refine3d_state *s = &j->state;
	const cyc_refine3d_options *o = j->o;
	double fine = cyc_healpix_step_rad(s->order + o->oversampling), parts = o->oversampling > 0 ? 2 : 1;
	bool is_steady =
		s->change_rotation_rad < 0.4 * fine && s->change_offset_A < 0.4 * s->offset_step_A / parts;
	s->n_without_change = is_steady || s->n_without_gain > 1 ? s->n_without_change + 1 : 0;
	if (s->n_without_gain < 1 || s->n_without_change < 1) return false;
	if (fine < 0.75 * accuracy_rad || s->order + o->oversampling >= 9) return true;
	double step = fmax(parts * fmin(1.5, 0.75 * accuracy_A), 0.5 * s->offset_step_A),
		   range = fmax(fmin(5 * s->change_offset_A, 1.3 * s->offset_range_A), 1.5 * step);
	if (range > 4 * step) range *= 0.5;
	if (range > 4 * step) step = range / 4;
	if (step <= s->offset_step_A) {
		s->offset_step_A = step;
		s->offset_range_A = range;
	}
	s->order++;
	s->sigma_angle_rad[0] = s->sigma_angle_rad[1] = 2 * cyc_healpix_step_rad(s->order + o->oversampling);
	s->n_without_gain = s->n_without_change = 0;
	return false;
}

static cyc_status write_start(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	if (!cyc_is_first_rank()) return CYC_OK;
	CYC_TRY(cyc_refine3d_write_start(j));
	cyc_outputs_settle();
done:
	return st;
}

static cyc_status iterate(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_state *s = &j->state;
	s->iteration++;
	perturb(j);
	CYC_TRY(cyc_refine3d_make_reference(j));
	CYC_TRY(cyc_refine3d_amplitudes(j));
	cyc_info("iteration %d: reference to %.2f Å; grey scale %.3g and %.3g", s->iteration,
	         j->crop_px * j->box.pixel_size_A / j->reference->radius, s->amplitude[0], s->amplitude[1]);
	if (s->iteration == 1) CYC_TRY(write_start(j));
	/* The references were made with the poses of the previous iteration: were these an improvement? */
	bool is_better, are_better;
	if (s->iteration == 1)
		s->began_with_given = j->n_groups > 1 && !j->is_one_map && j->o->lowpass_A <= 0 &&
		                      !(j->uses_groups[0] && j->uses_groups[1]);
	CYC_TRY(cyc_refine3d_given_are_better(&are_better, j));
	if (are_better) {
		s->iteration--;
		s->has_converged = s->is_settled = true;
		goto done;
	}
	CYC_TRY(cyc_refine3d_note_progress(&is_better, j, s->iteration - 1));
	bool is_any_found = false;
	if (!is_better) {
		cyc_refine3d_restore_best(j);
		if (!j->o->no_follow && !s->has_searched) CYC_TRY(find_again(&is_any_found, j));
		if (!is_any_found) {
			s->iteration--;
			s->has_converged = true;
			cyc_info("no further improvement: the poses of %s are the best",
			         s->best_iteration == 0 ? "the start" : "the iteration before");
			goto done;
		}
	} else {
		CYC_TRY(cyc_refine3d_expectation(j));
		if (!j->o->no_follow && is_settled(s)) {
			if (!s->has_searched) CYC_TRY(find_again(&is_any_found, j));
			s->has_converged = s->is_settled = !is_any_found;
		}
	}
	bool is_last = s->has_converged || s->iteration >= j->o->max_iterations;
	cyc_refine3d_drop_references(j); /* the sums of the maps need the room */
	CYC_TRY(cyc_refine3d_make_maps(j, is_last || j->o->no_follow));
	note_resolution(j);
	if (j->o->no_follow && refine_sampling(j, SIGNIFICANT * s->rotation_error_rad / sqrt(3),
	                                       SIGNIFICANT * s->offset_error_A / sqrt(3)))
		s->has_converged = true;
	cyc_info(
		"iteration %d: FSC 0.5 at %.2f Å, 0.143 at %.2f Å, mean %.4f; poses changed by %.3f degrees and %.3f "
		"Å, standard errors %.3f degrees and %.3f Å (of the start: %.2f and %.2f); mean maximum of the "
		"posterior %.2f",
		s->iteration, s->resolution_A, s->resolution_143_A, s->mean_fsc,
		cyc_rad_to_deg(s->change_rotation_rad), s->change_offset_A, cyc_rad_to_deg(s->rotation_error_rad),
		s->offset_error_A,
		cyc_rad_to_deg(sqrt(1.5 * (cyc_square(s->sigma_angle_rad[0]) + cyc_square(s->sigma_angle_rad[1])))),
		sqrt(1.5 * (cyc_square(s->sigma_offset_A[0]) + cyc_square(s->sigma_offset_A[1]))), s->average_p_max);
	if (cyc_vec3_norm2(j->frame.turn_rad) > 0 || cyc_vec3_norm2(j->frame.shift_A) > 0)
		cyc_info("iteration %d: the half maps were rotated by %.3f degrees and shifted by %.3f Å relative to "
		         "each other; this was corrected",
		         s->iteration, cyc_rad_to_deg(sqrt(cyc_vec3_norm2(j->frame.turn_rad))),
		         sqrt(cyc_vec3_norm2(j->frame.shift_A)));
	const double(*f)[4] = (const double(*)[4])s->error_factor;
	if (!j->o->no_follow)
		cyc_info("iteration %d: standard errors are %.2f (rotation) and %.2f, %.2f, %.2f (x, y, z) times "
		         "those that noise alone would give",
		         s->iteration, 0.5 * (f[0][0] + f[1][0]), 0.5 * (f[0][1] + f[1][1]),
		         0.5 * (f[0][2] + f[1][2]), 0.5 * (f[0][3] + f[1][3]));
done:
	return st;
}

/*
 * The best poses, and the maps of all images at them. Settled poses are within half an error of the previous
 * ones, whose evidence is known; others must be compared first.
 */
static cyc_status finish(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_state *s = &j->state;
	bool is_other = false;
	if (!s->has_converged && j->n_groups > 1 && j->uses_groups[0] && j->uses_groups[1]) {
		s->iteration++; /* references as for the next iteration */
		CYC_TRY(cyc_refine3d_make_reference(j));
		CYC_TRY(cyc_refine3d_amplitudes(j));
		s->iteration--;
		CYC_TRY(cyc_refine3d_note_progress(&is_other, j, s->iteration));
		is_other = cyc_refine3d_restore_best(j);
	} else if (s->has_converged && !s->is_settled) {
		is_other = cyc_refine3d_restore_best(j);
	}
	if (s->best_iteration == 0 && is_other)
		cyc_info("the input poses agree best with held-out images: they are kept");
	if (is_other || !j->maps->merged) {
		cyc_refine3d_apply_poses(j);
		cyc_half_maps_destroy(&j->maps);
		/* What references took is for the sums. */
		cyc_refine3d_drop_references(j);
		cyc_group_maps_destroy(&j->groups);
		CYC_TRY(
			cyc_half_maps_reconstruct(&j->maps, j->in.tomograms, &j->posed, j->in.root, &j->maps_spec, true));
		note_resolution(j);
	}
done:
	return st;
}

/* Poses are kept: how well do the images of each particle agree with the half map there? (T8.20) */
static cyc_status judge_only(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_result *r = j->result;
	CYC_CHECK(cyc_refine3d_judges(j), CYC_E_USAGE,
	          "the probabilities of particles are not computed with RELION's noise spectra");
	CYC_TRY(cyc_make_dirs(j->in.out));
	j->state.iteration = 1;
	CYC_TRY(cyc_refine3d_make_reference(j));
	CYC_TRY(cyc_refine3d_amplitudes(j));
	CYC_TRY(cyc_refine3d_look(j));
	CYC_TRY(cyc_refine3d_judge(j));
	if (cyc_is_first_rank()) CYC_TRY(cyc_refine3d_write_judged(j));
	r->n_particles = j->particles->n;
	r->n_images = j->state.n_images;
	r->n_improbable = j->state.n_improbable;
done:
	return st;
}

/* All ranks have read the same checkpoint, or none, before rank 0 writes a new one. */
static cyc_status require_same_start(const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	int32_t first = j->state.iteration;
	CYC_TRY(cyc_ranks_broadcast(&first, sizeof first, 0));
	CYC_CHECK(first == j->state.iteration, CYC_E_IO,
	          "the checkpoint in '%s' is of iteration %d here, and of %d on rank 0: all ranks must see the "
	          "same files",
	          j->in.out, j->state.iteration, first);
done:
	return st;
}

/* Files are the first rank's. */
static cyc_status write_iteration(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	if (!cyc_is_first_rank()) return CYC_OK;
	CYC_TRY(cyc_refine3d_write_iteration(j));
	CYC_TRY(cyc_refine3d_checkpoint_write(j));
	cyc_outputs_settle();
done:
	return st;
}

static cyc_status run(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	char *checkpoint = NULL, *folder = NULL;
	CYC_TRY(cyc_make_dirs(j->in.out));
	CYC_TRY(cyc_refine3d_checkpoint_path(&checkpoint, j));
	CYC_TRY(cyc_path_dir(&folder, checkpoint));
	if (j->o->resume) CYC_TRY(cyc_refine3d_checkpoint_read(j));
	CYC_TRY(require_same_start(j));
	if (!j->state.has_converged && j->state.iteration < j->o->max_iterations)
		CYC_TRY(cyc_refine3d_start_groups(j));
	while (!j->state.has_converged && j->state.iteration < j->o->max_iterations) {
		int32_t before = j->state.iteration;
		CYC_TRY(iterate(j));
		if (j->state.iteration == before) break; /* no new poses */
		CYC_TRY(write_iteration(j));
	}
	if (!j->state.has_converged)
		cyc_info("stopped after %d iteration%s", j->state.iteration, cyc_plural(j->state.iteration));
	CYC_TRY(finish(j));
	if (cyc_is_first_rank()) {
		CYC_TRY(cyc_refine3d_write_final(j));
		unlink(checkpoint);
		rmdir(folder); /* fails, rightly, if something else is in it */
	}
	cyc_refine3d_result *r = j->result;
	r->n_particles = j->particles->n;
	r->n_images = j->state.n_images;
	r->n_improbable = j->state.n_improbable;
	r->n_searched = j->state.n_searched;
	r->n_found_again = j->state.n_found_again;
	r->n_iterations = j->state.iteration;
	r->has_converged = j->state.has_converged;
	r->resolution_A = j->state.resolution_143_A;
	r->rotation_error_rad = j->state.rotation_error_rad;
	r->offset_error_A = j->state.offset_error_A;
	r->average_p_max = j->state.average_p_max;
done:
	cyc_free(checkpoint);
	cyc_free(folder);
	return st;
}

static void deinit(cyc_refine3d_job *j)
{
	for (int32_t i = 0; j->images && i < j->in.tomograms->n_series; i++)
		cyc_series_images_destroy(&j->images[i]);
	for (int32_t i = 0; j->counts && i < j->in.tomograms->n_series; i++) cyc_free(j->counts[i]);
	cyc_free(j->counts);
	cyc_free(j->owner);
	cyc_free(j->images);
	cyc_tilt_source_destroy(&j->source);
	cyc_stack_source_destroy(&j->stack_source);
	cyc_pose_store_destroy(&j->store);
	cyc_coefficients_destroy(&j->list);
	cyc_half_maps_destroy(&j->maps);
	cyc_reference_destroy(&j->reference);
	cyc_refine3d_drop_references(j);
	cyc_group_maps_destroy(&j->groups);
	cyc_free(j->group);
	cyc_free(j->shells);
	cyc_free(j->best_shells);
	cyc_free(j->best);
	cyc_free(j->terms);
	cyc_free(j->series_terms);
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&j->filtered[h]);
	cyc_volume_destroy(&j->mask);
	cyc_symmetry_destroy(&j->symmetry);
	cyc_free(j->own_share);
	cyc_free(j->spread);
	cyc_free(j->map_noise);
	cyc_free(j->series_scale);
	cyc_free(j->refined);
	cyc_free(j->group_sigma2);
	cyc_free(j->is_counted);
	cyc_free(j->noise_sum);
	cyc_free(j->noise_count);
	cyc_backend_close(&j->be);
	cyc_free(j->posed.particles);
	cyc_free(j->posed_stacks.origins_A);
	cyc_stacks_close(&j->stacks);
	cyc_refine_input_deinit(&j->in);
	cyc_free(j->ref2_name);
}

cyc_status cyc_refine3d_run(cyc_refine3d_result *result, const cyc_refine3d_options *o)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_result own = { 0 };
	cyc_refine3d_job j = { .o = o, .result = result ? result : &own };
	memset(j.result, 0, sizeof *j.result);
	if (!o->dry_run) CYC_TRY(cyc_ranks_begin(&cyc_refine3d_rank_job, o));
	CYC_TRY(cyc_lapack_prepare(o->n_threads));
	CYC_TRY(check_options(o));
	/* A step of the cycle has its own particles judged in their place; the command line refuses that. */
	if (!o->only_judge) CYC_TRY(cyc_refine3d_spare_inputs(o, CYC_OUTPUT_RESULTS));
	CYC_TRY(read_input(&j));
	CYC_TRY(prepare(&j));
	if (!o->dry_run) CYC_TRY(o->only_judge ? judge_only(&j) : run(&j));
done:
	deinit(&j);
	cyc_refine3d_result_deinit(&own);
	return cyc_ranks_end(st);
}

CYC_RANK_JOB(refine3d)

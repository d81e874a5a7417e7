/*
 * Peak memory of a refinement, and what it does without where memory is short: first keeping particle images
 * in memory, then holding all references at once. Checked against measurements by tools/memory_said.py.
 */
#include "refine3d/refine3d_internal.h"
#include "refine3d/pose_sampling.h"

#include "map/half_map_fsc.h"
#include "halfmaps/accumulate.h"
#include "halfmaps/sums.h"
#include "reference/prediction_pass.h"

#include <math.h>

enum { N_DRAWS = 8 };
/* A resolution that is planned for: that of the given maps, and some more. */
static const double GROWTH = 1.05;
static const int32_t MORE_SHELLS = 2;
/* Share of the available memory that references may fill. */
static const double FILLED = 0.5;

static double coefficients(double radius)
{
	double r = CYC_COEFFICIENT_BAND * ceil(fmax(radius, 1) / CYC_COEFFICIENT_BAND) + 0.5;
	return 0.5 * CYC_PI * r * r;
}

/* Last shell that radiation damage leaves in a tilt. */
static double tilt_radius(const cyc_tilt_series *ts, const cyc_tilt *t, double step_invA, double most,
                          double cutoff_frac)
{
	double low = 0, high = most;
	if (cyc_dose_weight(most * step_invA, t->pre_exposure_e_per_A2, ts->bfactor_per_dose_A2) > cutoff_frac)
		return most;
	while (high - low > 0.5) {
		double middle = 0.5 * (low + high);
		if (cyc_dose_weight(middle * step_invA, t->pre_exposure_e_per_A2, ts->bfactor_per_dose_A2) >
		    cutoff_frac)
			low = middle;
		else high = middle;
	}
	return low;
}

double cyc_refine3d_images_bytes(double *most_of_series, const cyc_tomogram_set *tomograms,
                                 const cyc_particle_set *set, int32_t crop_px, double pixel_size_A,
                                 double cutoff_frac)
{
	double all = 0, most = 0, step_invA = 1 / (crop_px * pixel_size_A);
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &tomograms->series[i];
		double n = (double)(set->series_first[i + 1] - set->series_first[i]),
			   bytes = n * ts->n_tilts * sizeof(cyc_particle_image);
		for (int32_t f = 0; f < ts->n_tilts && n > 0; f++)
			bytes += n *
			         coefficients(tilt_radius(ts, &ts->tilts[f], step_invA, crop_px / 2 - 1, cutoff_frac)) *
			         (sizeof(cyc_cfloat) + sizeof(float));
		all += bytes;
		most = fmax(most, bytes);
	}
	*most_of_series = most;
	return all;
}

/* ---------------------------------------------------------------- poses */

static double n_offsets(const cyc_refine3d_options *o)
{
	double steps = o->offset_range_px / o->offset_step_px, n = 0;
	for (int z = -12; z <= 12; z++)
		for (int y = -12; y <= 12; y++)
			for (int x = -12; x <= 12; x++) n += x * x + y * y + z * z <= steps * steps * (1 + 1e-6);
	return n;
}

/* Rotations of a grid, global or within three widths of an old pose. */
static double n_rotations(const cyc_refine3d_options *o, int32_t n_symmetry)
{
	double step = cyc_healpix_step_rad(o->healpix_order),
		   fine = cyc_healpix_step_rad(o->healpix_order + o->oversampling);
	double directions = 12 * pow(4, o->healpix_order), turns = ceil(2 * CYC_PI / step);
	if (o->healpix_order < o->auto_local_order) return directions * turns / n_symmetry;
	double reach = fmin(3 * (o->sigma_angle_rad > 0 ? o->sigma_angle_rad : 2 * fine), CYC_PI);
	return fmax(directions * 0.5 * (1 - cos(reach)), 1) * fmin(2 * reach / step + 1, turns);
}

double cyc_refine3d_n_poses(const cyc_refine3d_options *o, int32_t n_symmetry)
{
	return o->no_search ? 1 : n_rotations(o, n_symmetry) * n_offsets(o);
}

/* Images of a unit. */
static double unit_bytes(const cyc_refine3d_sizes *z, const cyc_project_size *p)
{
	return fmin(fmax(CYC_UNIT_BYTES, 12 * coefficients(z->crop_px / 2 - 1) * (p->most_tilts + 1.0)),
	            z->series_images_bytes);
}

/* Images at poses, of one round of a unit. */
static double n_rows(const cyc_refine3d_options *o, const cyc_project_size *p)
{
	bool is_local = o->healpix_order >= o->auto_local_order;
	return fmin((double)p->most_particles, CYC_UNIT_PARTICLES) *
	       (is_local ? CYC_STARTS_LOCAL : CYC_MAX_STARTS) * (p->most_tilts + 1.0);
}

double cyc_refine3d_search_bytes(const cyc_refine3d_options *o, const cyc_refine3d_sizes *z,
                                 const cyc_project_size *p)
{
	double n_t = n_offsets(o), n_o = n_rotations(o, cyc_symmetry_order(o->symmetry)),
		   n = coefficients(z->crop_px / 2 - 1);
	bool is_local = o->healpix_order >= o->auto_local_order;
	int32_t unit = (int32_t)fmin((double)p->most_particles, CYC_UNIT_PARTICLES);
	/* Only the sizes of the grids matter. */
	const cyc_rotation_grid rotations = { .n = (int32_t)fmin(n_o, INT32_MAX) };
	const cyc_offset_grid offsets = { .n = (int32_t)n_t };
	const cyc_search_spec spec = { .rotations = o->no_search ? NULL : &rotations,
		                           .offsets = &offsets,
		                           .is_near = !o->no_search && is_local && o->relion_grid,
		                           .do_follow = !o->no_follow,
		                           .n_starts = is_local ? CYC_STARTS_LOCAL : CYC_MAX_STARTS };
	double work = cyc_search_work_bytes(&spec, &(cyc_search_size){ unit, p->most_tilts });
	double images = unit_bytes(z, p),
		   answers = n_rows(o, p) * (sizeof(cyc_pose_row) + 2 * CYC_N_POSE_TERMS * sizeof(double));
	double thread = 8 * (2 * n + 2 * z->crop_px) + 16 * n + CYC_SEARCH_SCRATCH_BYTES;
	return work + images + answers + cyc_n_workers(p->most_particles, o->n_threads) * thread +
	       (o->no_search ? 0 : 20 * n_o + (is_local ? 0 : 16 * 12 * pow(4, o->healpix_order)));
}

/* ---------------------------------------------------------------- references */

/* Of the resolution that is planned for. */
static cyc_reference_size reference_size(const cyc_refine3d_sizes *z)
{
	return (cyc_reference_size){ z->crop_px, z->crop_px,
		                         z->radius > 0 ? (int32_t)(GROWTH * z->radius) + MORE_SHELLS : 0 };
}

/* What the sums of groups reach, which are of the box. */
static double group_radius(const cyc_refine3d_sizes *z)
{
	return fmin(ceil((z->crop_px / 2 + 2) * (double)z->box_px / z->crop_px) + 2, z->box_px / 2);
}

static double group_sums_bytes(const cyc_refine3d_sizes *z)
{
	return z->n_groups < 2 ? 0
	                       : cyc_group_sums_bytes(z->n_groups, group_radius(z)) + cyc_map_bytes(z->crop_px);
}

/* Work memory of the source of the particle images. */
static double source_bytes(const cyc_refine3d_options *o, const cyc_project_size *p,
                           const cyc_refine3d_sizes *z)
{
	double plane = (double)cyc_half_count2(z->box_px), crop_plane = (double)cyc_half_count2(z->crop_px),
		   each = 12 * plane + 4 * crop_plane;
	double area = (double)z->box_px * z->box_px, crop_area = (double)z->crop_px * z->crop_px;
	double thread = 8 * plane + 8 * crop_plane + 4 * area + 4 * crop_area, images = 0;
	if (o->from_stacks)
		return cyc_tilt_batch_capacity((size_t)(4 * crop_plane), p->most_particles, CYC_BATCH_BYTES) * 4 *
		           crop_plane +
		       40 * crop_plane +
		       cyc_n_workers(CYC_TILT_BATCH_MOST, o->n_threads) * (8 * crop_plane + 4 * crop_area) + 256e6;
	images = cyc_image_bytes(p->image_nx, p->image_ny, z->window_px, o->n_threads) +
	         cyc_window_scratch_bytes(z->window_px, o->n_threads);
	return cyc_tilt_batch_capacity((size_t)each, p->most_particles, CYC_BATCH_BYTES) * each +
	       40 * (plane + crop_plane) + cyc_n_workers(CYC_TILT_BATCH_MOST, o->n_threads) * thread + images;
}

static double particle_bytes(const cyc_project_size *p, const cyc_refine3d_sizes *z, bool has_terms)
{
	return (double)p->n_particles * (2 * sizeof(cyc_refined) + sizeof(cyc_particle) + sizeof(cyc_found_pose) +
	                                 2 * 8 * (z->crop_px / 2 + 1.0)) +
	       (has_terms ? p->n_images * sizeof(cyc_image_terms) : 0);
}

/* Maps that are read or made are compared: transforms as they are and under the mask, and draws of random
 * phases. */
static double compare_bytes(int32_t n, int n_threads)
{
	return 2 * cyc_transform_bytes(n) + fmax(cyc_transform_bytes(n) + cyc_map_bytes(n), 0) +
	       cyc_transform_bytes(n) + cyc__random_fsc_bytes(n, N_DRAWS, n_threads);
}

static double frame_bytes(const cyc_refine3d_options *o, const cyc_refine3d_sizes *z)
{
	return z->n_groups > 1 && o->join_A > 0
	           ? 9 * cyc_transform_bytes(z->crop_px) + 4 * cyc_map_bytes(z->crop_px)
	           : 0;
}

void cyc_refine3d_plan_memory(cyc_refine3d_memory *out, const cyc_refine3d_options *o,
                              const cyc_project_size *p, const cyc_refine3d_sizes *z)
{
	double available = cyc_memory_available_bytes(), V = cyc_map_bytes(z->crop_px), radius = z->box_px / 2;
	bool has_groups = z->n_groups > 1, has_symmetry = cyc_symmetry_order(o->symmetry) > 1;

	double fixed = CYC_PROGRAM_BYTES + cyc_project_bytes(p) + particle_bytes(p, z, !o->no_follow) +
	               source_bytes(o, p, z) + group_sums_bytes(z);
	double reading =
		3 * V + fmax(cyc_map_bytes(z->map_px) + (z->is_resampled ? 2 * cyc_transform_bytes(z->map_px) +
	                                                                   2 * cyc_transform_bytes(z->crop_px)
	                                                             : 0),
	                 compare_bytes(z->crop_px, o->n_threads));
	/* Mask, half maps, filtered half maps. */
	const cyc_reference_size reference = reference_size(z);
	double maps = 5 * V, one = cyc_reference_bytes(&reference),
		   scratch = cyc_reference_scratch_bytes(&reference, o->n_threads);
	double making =
		scratch + (has_groups ? cyc_transform_bytes(z->box_px) + cyc_map_bytes(z->box_px) + 2 * V : 2 * V);
	double poses = maps + making + cyc_refine3d_search_bytes(o, z, p);
	/* Sums of groups are held all the time. Where they do not go to the edge of the box, the rest is less
	 * than what they are smaller by. */
	double work =
		cyc_accumulator_work_bytes(p, z->box_px, z->window_px, z->crop_px < z->box_px, o->n_threads) +
		z->volumes_bytes;
	double insertion = maps + (has_groups ? 0 : 2 * cyc_sum_bytes(radius)) + work,
		   halves = maps + (has_groups ? 0 : cyc_sums_to_halves_bytes(radius, has_symmetry)),
		   finishing = maps + 3 * V + (has_groups ? 0 : 2 * cyc_half_sum_bytes(radius)) +
	                   cyc_finish_bytes(z->box_px, z->crop_px, o->n_threads);
	poses = fmax(poses, maps + making + z->volumes_bytes);
	double B = fmax(fmax(reading, fmax(insertion, halves)), fmax(finishing, maps + frame_bytes(o, z)));
	if (o->only_judge) B = reading;
	double limit = o->cache_GB >= 0 ? 1e9 * o->cache_GB : 0.5 * available;
	out->keeps_images = z->images_bytes <= limit &&
	                    (o->cache_GB >= 0 || fixed + fmax(B, poses + one) + z->images_bytes <= available);
	fixed += out->keeps_images ? z->images_bytes : z->series_images_bytes;
	/* Fewer references than groups are made twice in each iteration. */
	out->references_room = has_groups ? fmax(FILLED * available - fixed - poses, one) : one;
	out->references_bytes = fmin(floor(out->references_room / one), z->n_groups > 1 ? z->n_groups : 1) * one;
	out->bytes = fixed + fmax(B, poses + out->references_bytes);
}

double cyc_refine3d_memory_bytes(const cyc_refine3d_options *o, const cyc_project_size *p,
                                 const cyc_refine3d_sizes *z)
{
	cyc_refine3d_memory m;
	cyc_refine3d_plan_memory(&m, o, p, z);
	return m.bytes;
}

int32_t cyc_refine3d_n_groups(const cyc_refine3d_options *o, const cyc_project_size *p)
{
	int64_t least = p->n_half[0] < p->n_half[1] ? p->n_half[0] : p->n_half[1];
	return cyc_refine3d_wants_groups(o) && cyc_group_count(least) >= 2 ? cyc_group_count(least) : 1;
}

int cyc_refine3d_n_workers(const cyc_refine3d_job *j)
{
	int64_t most = 1;
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++)
		if (cyc_refine_n_particles(&j->in, i) > most) most = cyc_refine_n_particles(&j->in, i);
	return cyc_n_workers(most, j->o->n_threads);
}

/* ---------------------------------------------------------------- of a device */

/* Buffers of the source of the particle images. */
static double device_source_bytes(const cyc_refine3d_options *o, const cyc_project_size *p,
                                  const cyc_refine3d_sizes *z, size_t batch_bytes)
{
	double plane = (double)cyc_half_count2(z->box_px), crop_plane = (double)cyc_half_count2(z->crop_px),
		   each = 12 * plane + 4 * crop_plane;
	if (z->volumes_bytes > 0) return 0; /* opened for each series, see below */
	if (o->from_stacks)
		return cyc_tilt_batch_capacity((size_t)(4 * crop_plane), p->most_particles, batch_bytes) * 4 *
		           crop_plane +
		       8 * crop_plane;
	double n = cyc_tilt_batch_capacity((size_t)each, p->most_particles, batch_bytes);
	return n * each + 8 * plane + cyc_window_device_bytes(p, z->window_px, z->box_px, n);
}

double cyc_refine3d_reference_bytes(const cyc_refine3d_sizes *z)
{
	const cyc_reference_size reference = reference_size(z);
	return cyc_reference_bytes(&reference);
}

double cyc_refine3d_device_bytes(const cyc_refine3d_options *o, const cyc_project_size *p,
                                 const cyc_refine3d_sizes *z, size_t batch_bytes)
{
	bool has_groups = z->n_groups > 1;
	double half = 2 * cyc_sum_bytes(z->box_px / 2), of_groups = cyc_sum_bytes(group_radius(z));
	double fixed = device_source_bytes(o, p, z, batch_bytes) +
	               (has_groups ? 2 * z->n_groups * of_groups : 0) + 12 * coefficients(z->crop_px / 2 - 1) +
	               4 * CYC_MOST_POSE_MAPS * (z->crop_px / 2 + 1.0);
	double sections = z->volumes_bytes > 0 ? cyc_volume_sections_device_bytes(z->crop_px, z->box_px) : 0;
	/* Rows, their ramps in three directions, and their terms; scores. */
	double poses =
		cyc_refine3d_reference_bytes(z) + unit_bytes(z, p) +
		n_rows(o, p) * (sizeof(cyc_pose_row) + 12.0 * z->crop_px + CYC_N_POSE_TERMS * sizeof(double)) +
		(o->no_search ? 0 : cyc_sampler_device_bytes());
	double insertion =
		half - (has_groups ? 2 * of_groups : 0) + sections +
		cyc_accumulator_device_bytes(p, z->box_px, z->window_px, o->from_stacks || z->crop_px < z->box_px);
	return fixed + fmax(fmax(poses, sections), fmax(insertion, cyc_finish_device_bytes(z->box_px)));
}

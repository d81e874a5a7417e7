/* The references: the half maps, or for each group of particles the map of all other groups of its
 * half-set. */
#include "refine3d/refine3d_internal.h"

#include "map/half_map_fsc.h"

#include <math.h>
#include <string.h>

_Static_assert(2 * (CYC_MOST_GROUPS + 1) <= CYC_MOST_POSE_MAPS,
               "the references of all groups, and the half maps");

/* Below this correlation of noise, given half maps are taken to be of other images (or of sixteen times as
 * many, including these). */
static const double LEAST_SHARED_NOISE = 0.25;

/* With RELION's search, each image is compared with the full half map, which contains it. */
bool cyc_refine3d_wants_groups(const cyc_refine3d_options *o)
{
	/* The image's own contribution at the pose used for the maps is known: poses must not follow it, but
	 * may be judged by the remainder. */
	return !o->only_judge && !o->keep_self_correlation && !o->no_follow && !o->relion_model &&
	       !o->relion_grid && !o->absolute_grey_scale;
}

cyc_status cyc_refine3d_deal_groups(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	int64_t n[2] = { 0, 0 };
	j->n_groups = 1;
	CYC_TRY(cyc_alloc(&j->group, j->particles->n, sizeof *j->group));
	if (!cyc_refine3d_wants_groups(j->o)) goto done;
	for (int64_t p = 0; p < j->particles->n; p++) n[j->particles->particles[p].half > 0]++;
	int32_t n_groups = cyc_group_count(n[0] < n[1] ? n[0] : n[1]);
	if (n_groups < 2) {
		cyc_warn("half-sets of %lld and %lld particles are too small to be divided into groups: each "
		         "particle is compared with a map that contains it",
		         (long long)n[0], (long long)n[1]);
		goto done;
	}
	j->n_groups = n_groups;
	CYC_TRY(cyc_particle_groups(j->group, j->particles, n_groups));
done:
	return st;
}

/* ---------------------------------------------------------------- sums of the groups */

/* A resolution that may grow by half before the sums have to be made again. */
static int32_t wanted_radius(const cyc_refine3d_job *j)
{
	int32_t most = j->crop_px / 2 - 1, radius = j->reference ? j->reference->radius : 0;
	bool is_vague = j->is_one_map && j->state.iteration <= 1;
	return radius == 0 || is_vague || 1.5 * radius + 4 > most ? most : (int32_t)(1.5 * radius + 4);
}

static cyc_status create_groups(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	if (j->groups && cyc_group_maps_fits(j->groups, wanted_radius(j))) goto done;
	cyc_refine3d_drop_references(j);
	cyc_group_maps_destroy(&j->groups);
	CYC_TRY(cyc_group_maps_create(&j->groups, &j->maps_spec, j->n_groups, j->group, wanted_radius(j)));
done:
	return st;
}

cyc_status cyc_refine3d_make_maps(cyc_refine3d_job *j, bool with_merged)
{
	cyc_status st = CYC_OK;
	cyc_half_maps *maps = NULL;
	/* Final poses need no references. */
	if (j->n_groups < 2 || j->state.has_converged) {
		cyc_group_maps_destroy(&j->groups);
		CYC_TRY(cyc_half_maps_reconstruct(&maps, j->in.tomograms, &j->posed, j->in.root, &j->maps_spec,
		                                  with_merged));
	} else {
		CYC_TRY(create_groups(j));
		CYC_TRY(cyc_half_maps_reconstruct_groups(&maps, j->groups, j->in.tomograms, &j->posed, j->in.root,
		                                         &j->maps_spec, NULL, with_merged));
		j->uses_groups[0] = j->uses_groups[1] = true;
	}
	cyc_half_maps_destroy(&j->maps);
	j->maps = maps;
	j->given_scale[0] = j->given_scale[1] = 1;
done:
	return st;
}

/*
 * Correlation rho of the noise of two maps that have the same signal, whose share of the power is f: their
 * correlation is f + rho (1 - f). (T8.16)
 * @param[out] scale  grey scale of a over that of b
 */
static cyc_status shared_noise(double *rho, double *scale, const cyc_volume *a, const cyc_volume *b,
                               const double *f, int32_t first, int n_threads)
{
	cyc_status st = CYC_OK;
	int32_t n = a->nx;
	const cyc_volume *const v[2] = { a, b };
	cyc_cfloat *ft[2] = { NULL, NULL };
	cyc_fft3 *plan = NULL;
	double *curve = NULL, shared = 0, all = 0;
	CYC_TRY(cyc_alloc(&curve, n / 2 + 1, sizeof *curve));
	CYC_TRY(cyc_fft3_create(&plan, n, n_threads));
	for (int k = 0; k < 2; k++) {
		CYC_TRY(cyc_alloc(&ft[k], cyc_half_count3(n), sizeof **ft));
		CYC_TRY(cyc_fft3_forward(ft[k], plan, v[k]->data));
	}
	CYC_TRY(cyc__fsc_compute_threads(curve, ft[0], ft[1], n, n_threads));
	for (int32_t r = first; r < n / 2; r++) {
		double signal = fmin(fmax(f[r], 0), 1);
		shared += curve[r] - signal;
		all += 1 - signal;
	}
	*rho = all > 0 ? shared / all : 1;
	double ab = 0, bb = 0;
	for (size_t i = 0; i < cyc_volume_count(a); i++) {
		ab += (double)a->data[i] * (double)b->data[i];
		bb += (double)b->data[i] * (double)b->data[i];
	}
	*scale = bb > 0 && ab > 0 ? ab / bb : 1;
	CYC_TRY(cyc_ranks_broadcast(rho, sizeof *rho, 0));
	CYC_TRY(cyc_ranks_broadcast(scale, sizeof *scale, 0));
done:
	for (int k = 0; k < 2; k++) cyc_free(ft[k]);
	cyc_free(curve);
	cyc_fft3_destroy(&plan);
	return st;
}

cyc_status cyc_refine3d_start_groups(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_half_maps *own = NULL;
	int32_t first = 1;
	if (j->n_groups < 2 || (j->is_one_map && j->state.iteration == 0)) goto done;
	cyc_refine3d_apply_poses(j);
	CYC_TRY(create_groups(j));
	CYC_TRY(cyc_half_maps_reconstruct_groups(&own, j->groups, j->in.tomograms, &j->posed, j->in.root,
	                                         &j->maps_spec, j->maps, false));
	j->uses_groups[0] = j->uses_groups[1] = true;
	if (j->state.iteration > 0) goto done; /* resumed: maps and FSC are those of the checkpoint */
	if (j->maps_spec.join_A > 0)
		first = (int32_t)fmin(j->crop_px * j->box.pixel_size_A / j->maps_spec.join_A, j->crop_px) + 1;
	for (int h = 0; h < 2; h++) {
		double rho = 1;
		CYC_TRY(shared_noise(&rho, &j->given_scale[h], own->half[h], j->maps->half[h], j->maps->fsc_unmasked,
		                     first, j->o->n_threads));
		j->uses_groups[h] = rho >= LEAST_SHARED_NOISE;
		if (!j->uses_groups[h])
			cyc_info("half map %d was not made from these images (correlation with their noise %.2f): it is "
			         "used unchanged in the first iteration",
			         h + 1, rho);
	}
done:
	cyc_half_maps_destroy(&own);
	return st;
}

/* ---------------------------------------------------------------- references */

static bool uses_any(const cyc_refine3d_job *j) { return j->uses_groups[0] || j->uses_groups[1]; }
static double grey_scale(const cyc_refine3d_job *j) { return sqrt((double)j->box.window.box_binned); }

void cyc_refine3d_drop_references(cyc_refine3d_job *j)
{
	for (int32_t g = 0; g < CYC_MOST_GROUPS; g++) cyc_reference_destroy(&j->group_references[g]);
	for (int h = 0; h < 2 && j->reference; h++) cyc_buffer_destroy(&j->reference->half[h]);
}

/* Joined half maps share a frame already, approximately. */
static cyc_status find_frame(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	double *weight = NULL;
	memset(&j->frame, 0, sizeof j->frame);
	if (j->n_groups < 2 || j->o->join_A <= 0 || j->is_one_map) goto done;
	/* Of the mean of both: their derivatives are then as strong as those of the signal. */
	CYC_TRY(cyc_half_maps_wiener(&weight, j->maps->fsc, j->lowpass_A, 2, &j->maps_spec));
	for (int32_t i = j->reference->radius + 1; i <= j->crop_px / 2; i++) weight[i] = 0;
	CYC_TRY(cyc_frame_between(&j->frame, j->maps, weight, j->symmetry, &j->maps_spec));
done:
	cyc_free(weight);
	return st;
}

/* All references at once if there is room; else as many as fit, each made twice. */
static void plan_blocks(cyc_refine3d_job *j)
{
	double one = cyc_group_maps_reference_bytes(j->groups, j->reference->radius);
	j->n_at_once = (int32_t)fmin(fmax(floor(j->memory.references_room / one), 1), j->n_groups);
	double bytes = j->n_at_once * one;
	if (!j->has_told_groups)
		cyc_info("half-sets in %d groups, each compared with a map of the others: %.2f GB for their sums, "
		         "%.2f GB for references",
		         j->n_groups, cyc_group_maps_bytes(j->groups) / 1e9, bytes / 1e9);
	j->has_told_groups = true;
	if (bytes <= j->memory.references_bytes) return;
	cyc_info("the resolution is better than at the start: references take %.2f GB more than was said",
	         (bytes - j->memory.references_bytes) / 1e9);
	j->memory.references_bytes = bytes;
}

cyc_status cyc_refine3d_make_reference(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	bool is_first = j->state.iteration == 1;
	cyc_reference_destroy(&j->reference);
	for (int32_t g = 0; g < CYC_MOST_GROUPS; g++) j->is_made[g] = false;
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&j->filtered[h]);
	j->lowpass_A = is_first ? j->o->lowpass_A : 0;
	j->maps_spec.no_grids = j->uses_groups[0] && j->uses_groups[1];
	/* Density of a voxel in the maps made here, if its projection is the sum over (binned) voxels. */
	CYC_TRY(cyc_half_maps_reference(&j->reference, j->filtered, j->maps, j->lowpass_A,
	                                is_first && j->o->absolute_grey_scale ? 1 : grey_scale(j),
	                                &j->maps_spec));
	if (uses_any(j) && j->reference->radius > cyc_group_maps_radius(j->groups))
		j->reference->radius = cyc_group_maps_radius(j->groups);
	j->state.radius = j->reference->radius;
	if (uses_any(j)) plan_blocks(j);
	CYC_TRY(find_frame(j));
	for (int32_t i = 0; i <= j->crop_px / 2; i++) {
		j->map_noise[i] = j->reference->noise[i];
		j->own_share[i] = (float)(j->reference->wiener[i] * j->reference->noise[i]);
		/* Of the best linear estimate the variance is F n, here with the noise of (K - 1)/K of the images. */
		double ratio =
			fmax(j->maps->fsc[i], 0) / fmax(1 - j->maps->fsc[i], 1e-3) * (j->n_groups - 1) / j->n_groups;
		for (int h = 0; h < 2 && j->n_groups > 1; h++)
			j->spread[h * (j->crop_px / 2 + 1) + i] =
				(float)(ratio / (1 + ratio) * j->reference->noise[i] * cyc_square(j->given_scale[h]) *
			            j->n_groups / (j->n_groups - 1));
	}
done:
	return st;
}

int32_t cyc_refine3d_n_blocks(const cyc_refine3d_job *j)
{
	return uses_any(j) ? (j->n_groups + j->n_at_once - 1) / j->n_at_once : 1;
}

/* Groups of an open block; the half maps themselves belong to the first one. */
static void block_range(int32_t *first, int32_t *end, const cyc_refine3d_job *j, int32_t block)
{
	*first = block * j->n_at_once;
	*end = uses_any(j) ? (int32_t)fmin(*first + j->n_at_once, j->n_groups) : 0;
}

static bool has_plain_grids(const cyc_refine3d_job *j) { return !(j->uses_groups[0] && j->uses_groups[1]); }

/* The references of groups have a box of their own, of fewer and larger pixels. */
static double zoom_of(const cyc_reference *r) { return (double)r->n_grid / r->box_px; }

cyc_status cyc_refine3d_open_block(cyc_refine3d_job *j, int32_t block)
{
	cyc_status st = CYC_OK;
	int32_t first, end;
	block_range(&first, &end, j, block);
	for (int32_t g = first; g < end; g++) {
		if (!j->is_made[g])
			CYC_TRY(cyc_group_maps_reference(&j->group_references[g], j->groups, g, j->maps->fsc,
			                                 j->lowpass_A, grey_scale(j)));
	}
	for (int32_t g = first; g < end; g++) {
		if (!j->is_made[g]) CYC_TRY(cyc_reference_pass_on(j->group_references[g], g));
		j->is_made[g] = true;
		for (int h = 0; h < 2; h++)
			CYC_TRY(cyc_pose_store_set_map(j->store, 2 * g + h, j->group_references[g]->half[h],
			                               zoom_of(j->group_references[g]), j->group_references[g]->edge,
			                               j->spread + h * (j->crop_px / 2 + 1)));
	}
	for (int h = 0; h < 2 && has_plain_grids(j); h++)
		CYC_TRY(cyc_pose_store_set_map(j->store, 2 * CYC_MOST_GROUPS + h, j->reference->half[h],
		                               zoom_of(j->reference), j->reference->edge, NULL));
	j->block = block;
done:
	return st;
}

cyc_status cyc_refine3d_close_block(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	int32_t first, end;
	block_range(&first, &end, j, j->block);
	for (int32_t g = first; g < end; g++) {
		for (int h = 0; h < 2; h++) CYC_TRY(cyc_pose_store_set_map(j->store, 2 * g + h, NULL, 0, 0, NULL));
		if (cyc_refine3d_n_blocks(j) == 1) continue;
		cyc_reference_destroy(&j->group_references[g]);
		j->is_made[g] = false;
	}
	for (int h = 0; h < 2; h++)
		CYC_TRY(cyc_pose_store_set_map(j->store, 2 * CYC_MOST_GROUPS + h, NULL, 0, 0, NULL));
done:
	return st;
}

bool cyc_refine3d_is_in_block(const cyc_refine3d_job *j, int64_t p)
{
	int32_t first, end;
	if (!j->uses_groups[j->particles->particles[p].half]) return j->block == 0;
	block_range(&first, &end, j, j->block);
	return j->group[p] >= first && j->group[p] < end;
}

static cyc_pose_reference reference_of_half(const cyc_refine3d_job *j, int64_t p, int32_t half,
                                            bool is_for_poses)
{
	int32_t i = j->particles->particles[p].i_series;
	bool in_groups = j->uses_groups[half];
	int32_t i_map = 2 * (in_groups ? j->group[p] : CYC_MOST_GROUPS) + half;
	const cyc_reference *r = in_groups ? j->group_references[j->group[p]] : j->reference;
	/* Of each image's own noise in the map: none in that of the other groups; with one map for both halves
	 * the noise is unknown, and the map may come from other data. */
	bool has_own = !in_groups && !j->o->keep_self_correlation && !(j->is_one_map && j->state.iteration == 1);
	/* The uncertainty of the map enters the likelihood of the poses; evidence and grey scale use the map
	 * itself. */
	return (cyc_pose_reference){ .spread = in_groups && is_for_poses ? j->spread + half * (j->crop_px / 2 + 1)
		                                                             : NULL,
		                         .map = i_map,
		                         .grid = cyc_pose_store_grid(j->store, i_map),
		                         .m = r->n_grid,
		                         .edge = r->edge,
		                         .box_px = r->box_px,
		                         .radius = r->radius,
		                         .own_share = has_own ? j->own_share : NULL,
		                         .amplitude = j->state.amplitude[half] * j->series_scale[2 * i + half] };
}

cyc_pose_reference cyc_refine3d_reference_of(const cyc_refine3d_job *j, int64_t p, bool is_for_poses)
{
	return reference_of_half(j, p, j->particles->particles[p].half, is_for_poses);
}

cyc_pose_reference cyc_refine3d_other_reference_of(const cyc_refine3d_job *j, int64_t p)
{
	return reference_of_half(j, p, 1 - j->particles->particles[p].half, true);
}

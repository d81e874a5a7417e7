/* What a refinement writes, under RELION's names. */
#include "refine3d/refine3d_internal.h"
#include "cyclotomo/map.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

cyc_status cyc_refine3d_name(char **relative, char **path, const cyc_refine3d_job *j, const char *prefix,
                             const char *name)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_asprintf(relative, "%s%s%s", j->in.out_dir, prefix, name));
	CYC_TRY(cyc_path_join(path, j->in.root, *relative));
done:
	return st;
}

/* ---------------------------------------------------------------- particles */

/* A second refinement must not treat the result of the first as independent information: the original
 * prior stays with the particles. */
static cyc_status write_prior(cyc_star_block *b, const cyc_refine3d_job *j, int64_t i)
{
	cyc_status st = CYC_OK;
	const cyc_particle *p = &j->particles->particles[i];
	const cyc_refined *r = &j->refined[i];
	cyc_mat3 R_part_tomo = cyc_mat3_transpose(p->R_tomo_part);
	double angle[3];
	cyc_euler_from_matrix(&angle[0], &angle[1], &angle[2], cyc_mat3_mul(R_part_tomo, r->prior.R_tomo_ref));
	cyc_vec3 o = cyc_mat3_apply(R_part_tomo, (cyc_vec3){ r->cut.offset_A.x + r->prior.offset_A.x,
	                                                     r->cut.offset_A.y + r->prior.offset_A.y,
	                                                     r->cut.offset_A.z + r->prior.offset_A.z });
	const double origin[3] = { -o.x, -o.y, -o.z };
	CYC_TRY(cyc_label_put_three(b, p->row, CYC_LABELS_PRIOR_ANGLE, angle));
	CYC_TRY(cyc_label_put_three(b, p->row, CYC_LABELS_PRIOR_ORIGIN, origin));
done:
	return st;
}

static cyc_status update_particle(cyc_star_block *b, const cyc_refine3d_job *j, int64_t i)
{
	cyc_status st = CYC_OK;
	const cyc_particle *p = &j->particles->particles[i];
	const cyc_refined *r = &j->refined[i];
	cyc_mat3 R_part_tomo = cyc_mat3_transpose(p->R_tomo_part);
	double angle[3];
	int32_t column;
	cyc_euler_from_matrix(&angle[0], &angle[1], &angle[2], cyc_mat3_mul(R_part_tomo, r->pose.R_tomo_ref));
	/* position = coordinate - R_tomo_part origin */
	cyc_vec3 o = cyc_mat3_apply(R_part_tomo, (cyc_vec3){ r->cut.offset_A.x + r->pose.offset_A.x,
	                                                     r->cut.offset_A.y + r->pose.offset_A.y,
	                                                     r->cut.offset_A.z + r->pose.offset_A.z });
	const double origin[3] = { -o.x, -o.y, -o.z };
	CYC_TRY(cyc_label_put_three(b, p->row, CYC_LABELS_ANGLE, angle));
	CYC_TRY(cyc_label_put_three(b, p->row, CYC_LABELS_ORIGIN, origin));
	CYC_TRY(cyc_label_put(b, p->row, CYC_RLN_GROUP_NUMBER, p->i_series + 1));
	CYC_TRY(cyc_label_put(b, p->row, CYC_RLN_CLASS_NUMBER, 1));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_NORM_CORRECTION, "1.000000"));
	if (j->is_start) goto done;
	CYC_TRY(cyc_label_put(b, p->row, CYC_RLN_LOG_LIKELI_CONTRIBUTION, r->log_likelihood));
	CYC_TRY(cyc_label_put(b, p->row, CYC_RLN_MAX_VALUE_PROB_DISTRIBUTION, r->p_max));
	CYC_TRY(cyc_label_put(b, p->row, CYC_RLN_NR_OF_SIGNIFICANT_SAMPLES, (double)r->n_significant));
	if (cyc_refine3d_judges(j)) {
		CYC_TRY(cyc_label_put(b, p->row, CYC_OWN_PARTICLE_PROBABILITY, j->posed.particles[i].probability));
		CYC_TRY(cyc_label_put(b, p->row, CYC_OWN_LOG_LIKELIHOOD_EXPECTED, r->expected));
	}
	if (!j->o->no_follow && !j->has_no_prior) CYC_TRY(write_prior(b, j, i));
done:
	return st;
}

static cyc_status write_particles(const cyc_refine3d_job *j, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	cyc_star_block *b;
	CYC_TRY(cyc_star_copy(&s, j->particles->star));
	CYC_TRY(cyc_star_require(&b, s, "particles"));
	for (int64_t i = 0; i < j->particles->n; i++) CYC_TRY(update_particle(b, j, i));
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	return st;
}

/* Remove duplicates from the finished file: particles that have converged to one place would be in the map
 * twice. */
static cyc_status remove_duplicates(cyc_refine3d_job *j, const char *relative, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_particle_set *set = NULL;
	bool *keep = NULL;
	double *score = NULL;
	CYC_TRY(cyc_particle_set_read(&set, relative, NULL, j->in.tomograms, j->in.root));
	CYC_TRY(cyc_alloc(&keep, set->n, sizeof *keep));
	CYC_TRY(cyc_alloc(&score, set->n, sizeof *score));
	CYC_TRY(cyc_particle_column(score, set, CYC_RLN_LOG_LIKELI_CONTRIBUTION));
	CYC_TRY(cyc_particle_set_separate(keep, &j->result->n_removed, set, j->o->min_separation_A, score));
	CYC_TRY(cyc_particle_set_write(set, keep, path));
	cyc_info("%lld of %lld particles are left out, because they are closer than %g Å to a better one",
	         (long long)j->result->n_removed, (long long)set->n, j->o->min_separation_A);
done:
	cyc_particle_set_destroy(&set);
	cyc_free(keep);
	cyc_free(score);
	return st;
}

/* Probability that it is the particle, and the agreement it is based on. */
static cyc_status put_judgement(cyc_star_block *b, int64_t row, const cyc_refined *r)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_PARTICLE_PROBABILITY, r->probability));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_LOG_LIKELI_CONTRIBUTION, r->log_likelihood));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_LOG_LIKELIHOOD_EXPECTED, r->expected));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_AGREEMENT_LOW, r->found_amplitude[CYC_BAND_LOW]));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_AGREEMENT_HIGH, r->found_amplitude[CYC_BAND_HIGH]));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_RESIDUAL_POWER_LOW, r->residual[CYC_BAND_LOW]));
	CYC_TRY(cyc_label_put(b, row, CYC_OWN_RESIDUAL_POWER_HIGH, r->residual[CYC_BAND_HIGH]));
done:
	return st;
}

/* Particles that are probably something else, and those found at another pose. */
static cyc_status write_improbable(const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	cyc_star_block *b[2], *general;
	char *relative = NULL, *path = NULL;
	static const char *const BLOCK[2] = { "improbable", "found_again" };
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, "run_", "improbable.star"));
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(cyc_star_add_block(&general, s, "general", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_int(general, CYC_RLN_PARTICLE_NUMBER, j->particles->n));
	CYC_TRY(cyc_star_list_set_int(general, CYC_OWN_IMPROBABLE_NUMBER, j->state.n_improbable));
	CYC_TRY(cyc_star_list_set_int(general, CYC_OWN_SEARCHED_NUMBER, j->state.n_searched));
	CYC_TRY(cyc_star_list_set_int(general, CYC_OWN_FOUND_AGAIN_NUMBER, j->state.n_found_again));
	for (int k = 0; k < 2; k++) {
		int32_t column;
		CYC_TRY(cyc_star_add_block(&b[k], s, BLOCK[k], CYC_STAR_TABLE));
		CYC_TRY(cyc_star_ensure_column(&column, b[k], CYC_RLN_TOMO_PARTICLE_NAME, ""));
		for (int64_t i = 0; i < j->particles->n; i++) {
			const cyc_refined *r = &j->refined[i];
			int64_t row;
			if (k == 0 ? r->probability >= CYC_IMPROBABLE : !r->was_found_again) continue;
			CYC_TRY(cyc_star_add_row(&row, b[k]));
			CYC_TRY(cyc_star_set_text(b[k], row, column, j->particles->particles[i].name));
			CYC_TRY(put_judgement(b[k], row, r));
		}
	}
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	cyc_free(relative);
	cyc_free(path);
	return st;
}

cyc_status cyc_refine3d_write_judged(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_particle_set set = j->posed;
	cyc_star *star = NULL;
	double *probability = NULL;
	char *path = NULL;
	CYC_TRY(write_improbable(j));
	CYC_TRY(cyc_star_copy(&star, set.star));
	set.star = star;
	CYC_TRY(cyc_alloc(&probability, set.n, sizeof *probability));
	for (int64_t i = 0; i < set.n; i++) probability[i] = set.particles[i].probability;
	CYC_TRY(cyc_particle_set_put_probabilities(&set, probability));
	CYC_TRY(cyc_refine3d_name(&j->result->particles, &path, j, "", "particles.star"));
	CYC_TRY(cyc_particle_set_write(&set, NULL, path));
done:
	cyc_star_destroy(&star);
	cyc_free(probability);
	cyc_free(path);
	return st;
}

/* Errors if nothing were known: of a rotation about an axis in an asymmetric unit [rad], of a position
 * [Å]. */
static double unknown(const cyc_refine3d_job *j, int64_t i, int k)
{
	static const double ANY_ROTATION =
		1.27; /* RMS of a component of the rotation vector, of random rotations */
	if (k < 3) return ANY_ROTATION / cbrt((double)j->symmetry->n);
	return fmax(j->state.sigma_offset_A[j->particles->particles[i].half > 0], j->state.offset_range_A);
}

/*
 * The images determine a place with tilts and trajectory held. What polishing leaves uncertain of these adds
 * to the error of the position: rotations of tilts strain the specimen, and early tilts weigh more than their
 * part of the mean over the tilts.                          (T6.15)
 */
static cyc_status add_alignment_error(double *error, const cyc_refine3d_job *j, int64_t i, int axis,
                                      cyc_star_block *input)
{
	cyc_status st = CYC_OK;
	double held;
	CYC_TRY(cyc_star_double_or(&held, input, j->particles->particles[i].row, CYC_LABELS_ALIGNMENT_ERROR[axis],
	                           0));
	if (held > 0) *error = sqrt(cyc_square(*error) + cyc_square(held)); /* -1: not known */
done:
	return st;
}

/*
 * Standard errors, in a file of their own: RELION would drop the columns. For objects that may not be the
 * particle they state how wrong the pose may be: a pose fitted to noise is not well known just because its
 * images agree with each other.                         (T8.25)
 */
static cyc_status write_uncertainty(const cyc_refine3d_job *j, const char *path)
{
	cyc_status st = CYC_OK;
	static const char *const LABEL[CYC_POSE_PARAMETERS] = {
		CYC_OWN_ROTATION_X_ERROR_DEG,   CYC_OWN_ROTATION_Y_ERROR_DEG,   CYC_OWN_ROTATION_Z_ERROR_DEG,
		CYC_OWN_POSITION_X_ERROR_ANGST, CYC_OWN_POSITION_Y_ERROR_ANGST, CYC_OWN_POSITION_Z_ERROR_ANGST
	};
	cyc_star *s = NULL;
	cyc_star_block *b, *input;
	int32_t column;
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(cyc_star_add_block(&b, s, "particles", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_TOMO_PARTICLE_NAME, ""));
	CYC_TRY(cyc_star_require(&input, j->particles->star, "particles"));
	for (int64_t i = 0; i < j->particles->n; i++) {
		int64_t row;
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_text(b, row, column, j->particles->particles[i].name));
		for (int k = 0; k < CYC_POSE_PARAMETERS; k++) {
			const cyc_refined *r = &j->refined[i];
			double error = r->error[k];
			if (k >= 3 && error > 0) CYC_TRY(add_alignment_error(&error, j, i, k - 3, input));
			if (cyc_refine3d_judges(j)) error = cyc_membership_error(r->probability, error, unknown(j, i, k));
			/* Particles that no image shows, and poses without a maximum: the error is unknown, and 0
			 * would claim certainty. */
			CYC_TRY(cyc_label_put(b, row, LABEL[k], error > 0 ? error : (double)NAN));
		}
		if (cyc_refine3d_judges(j)) CYC_TRY(put_judgement(b, row, &j->refined[i]));
	}
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	return st;
}

/* ---------------------------------------------------------------- maps */

typedef struct {
	float *to;
	const float *from;
	float scale;
	size_t plane;
} scaling;

static cyc_status scale_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	const scaling *a = arg;
	for (size_t i = (size_t)z * a->plane; i < (size_t)(z + 1) * a->plane; i++)
		a->to[i] = a->scale * a->from[i];
	return CYC_OK;
}

/* On the scale of a density per image voxel, as RELION's refinement has it. */
static cyc_status write_map(const cyc_refine3d_job *j, const char *prefix, const char *name,
                            const cyc_volume *v)
{
	cyc_status st = CYC_OK;
	char *relative = NULL;
	cyc_volume *copy = NULL;
	int n_threads = j->o->n_threads;
	float scale = (float)(1 / (j->box.binning * sqrt((double)j->box.window.box_binned)));
	CYC_TRY(cyc_asprintf(&relative, "%s%s%s", j->in.out_dir, prefix, name));
	CYC_TRY(cyc_volume_create(&copy, v->nx, v->ny, v->nz, v->pixel_size_A));
	scaling a = { copy->data, v->data, scale, (size_t)v->nx * (size_t)v->ny };
	CYC_TRY(cyc_parallel_for(v->nz, n_threads, scale_task, &a));
	CYC_TRY(cyc_map_write(j->in.root, relative, copy, "cyclotomo refine", n_threads));
done:
	cyc_free(relative);
	cyc_volume_destroy(&copy);
	return st;
}

/* ---------------------------------------------------------------- an iteration */

cyc_status cyc_refine3d_write_iteration(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	char prefix[32], *relative = NULL, *path = NULL, *set = NULL;
	snprintf(prefix, sizeof prefix, "run_it%03d_", j->state.iteration);
	cyc_commits_begin(); /* the next map is made while the disk takes one */
	for (int h = 0; h < 2; h++) {
		char name[48];
		snprintf(name, sizeof name, "half%d_class001_unfil.mrc", h + 1);
		if (!j->is_start) CYC_TRY(write_map(j, prefix, name, j->maps->half[h]));
		snprintf(name, sizeof name, "half%d_class001.mrc", h + 1);
		CYC_TRY(write_map(j, prefix, name, j->filtered[h]));
	}
	CYC_TRY(cyc_commits_end(CYC_OK));
	CYC_TRY(cyc_refine3d_write_models(j, prefix, false));
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, prefix, "data.star"));
	CYC_TRY(write_particles(j, path));
	/* Half maps and FSC of earlier poses do not belong to these. */
	const cyc_set_changes now = { .particles = relative };
	CYC_TRY(cyc_asprintf(&set, "%s%soptimisation_set.star", j->in.out_dir, prefix));
	CYC_TRY(cyc_optimisation_set_write_result(j->in.root, set, j->in.set, &now));
done:
	st = cyc_commits_end(st);
	cyc_free(set);
	cyc_free(relative);
	cyc_free(path);
	return st;
}

cyc_status cyc_refine3d_write_start(cyc_refine3d_job *j)
{
	cyc_refine3d_state *s = &j->state;
	const cyc_refine3d_state now = *s;
	s->iteration = 0;
	s->resolution_A = s->best_resolution_A = j->crop_px * j->box.pixel_size_A / j->reference->radius;
	s->radius = j->reference->radius;
	j->is_start = true;
	cyc_status st = cyc_refine3d_write_iteration(j);
	j->is_start = false;
	*s = now;
	return st;
}

/* Both halves together, weighted by the signal-to-noise ratio of their sum: sqrt(2 FSC / (1 + FSC)). */
static cyc_status write_joined(const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_volume *map = NULL;
	double *weight = NULL;
	int32_t n = j->crop_px / 2 + 1;
	CYC_TRY(cyc_alloc(&weight, n, sizeof *weight));
	for (int32_t i = 0; i < n; i++) {
		double f = fmin(fmax(j->maps->fsc[i], 0.001), 1), joined = fmin(sqrt(2 * f / (1 + f)), 0.999),
			   ratio = j->o->tau2_fudge * joined / (1 - joined);
		weight[i] = ratio / (1 + ratio);
	}
	CYC_TRY(cyc_volume_copy(&map, j->maps->merged));
	CYC_TRY(cyc_volume_filter(map, weight, j->o->n_threads));
	CYC_TRY(write_map(j, "run_", "class001.mrc", map));
done:
	cyc_free(weight);
	cyc_volume_destroy(&map);
	return st;
}

cyc_status cyc_refine3d_write_final(cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_refine3d_result *r = j->result;
	char *path = NULL, *relative = NULL, *set = NULL;
	CYC_TRY(write_map(j, "run_", "half1_class001_unfil.mrc", j->maps->half[0]));
	CYC_TRY(write_map(j, "run_", "half2_class001_unfil.mrc", j->maps->half[1]));
	CYC_TRY(write_joined(j));
	CYC_TRY(cyc_refine3d_write_models(j, "run_", true));
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, "run_", "uncertainty.star"));
	CYC_TRY(write_uncertainty(j, path));
	if (cyc_refine3d_judges(j)) CYC_TRY(write_improbable(j));
	CYC_TRY(cyc_refine3d_write_figures(j));
	cyc_free(path);
	path = NULL;
	CYC_TRY(cyc_refine3d_name(&r->particles, &path, j, "run_", "data.star"));
	CYC_TRY(write_particles(j, path));
	if (j->o->min_separation_A > 0) CYC_TRY(remove_duplicates(j, r->particles, path));
	CYC_TRY(cyc_asprintf(&r->half1, "%srun_half1_class001_unfil.mrc", j->in.out_dir));
	CYC_TRY(cyc_asprintf(&r->half2, "%srun_half2_class001_unfil.mrc", j->in.out_dir));
	CYC_TRY(cyc_asprintf(&r->map, "%srun_class001.mrc", j->in.out_dir));
	const cyc_set_changes now = { .particles = r->particles, .half1 = r->half1, .half2 = r->half2 };
	CYC_TRY(cyc_asprintf(&r->optimisation_set, "%srun_optimisation_set.star", j->in.out_dir));
	CYC_TRY(cyc_optimisation_set_write_result(j->in.root, r->optimisation_set, j->in.set, &now));
	/* Also under the name that all other jobs use, since the sets of iterations end in the same words.
	 * Either both exist or neither. */
	CYC_TRY(cyc_asprintf(&set, "%soptimisation_set.star", j->in.out_dir));
	cyc_free(path);
	path = NULL;
	CYC_TRY(cyc_path_join(&path, j->in.out, "run_optimisation_set.star"));
	st = cyc_optimisation_set_write_result(j->in.root, set, j->in.set, &now);
	if (st != CYC_OK) unlink(path);
done:
	cyc_free(path);
	cyc_free(relative);
	cyc_free(set);
	return st;
}

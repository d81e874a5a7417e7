/* model.star, sampling.star and optimiser.star: read by RELION's GUI and other programs. */
#include "refine3d/refine3d_internal.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* One value of a list block. */
typedef struct {
	const char *label;
	double number;
	const char *text;
} entry;

static cyc_status add_list(cyc_star *s, const char *name, const entry *e, size_t n)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	CYC_TRY(cyc_star_add_block(&b, s, name, CYC_STAR_LIST));
	for (size_t i = 0; i < n; i++) {
		if (cyc_label_find(e[i].label)->type != CYC_LABEL_TEXT)
			CYC_TRY(cyc_label_put(b, 0, e[i].label, e[i].number));
		else CYC_TRY(cyc_label_put_text(b, 0, e[i].label, e[i].text ? e[i].text : ""));
	}
done:
	return st;
}

/* RELION's sqrt(2 ln 100) standard errors along one axis. */
static double accuracy(double error) { return 3.0349 * error / sqrt(3); }

/* What is not known before the first iteration, as RELION says it. */
static const double NOT_KNOWN = 999;
static double known(const cyc_refine3d_job *j, double value) { return j->is_start ? NOT_KNOWN : value; }
static double known_angle(const cyc_refine3d_job *j, double rad)
{
	return j->is_start ? cyc_deg_to_rad(NOT_KNOWN) : rad;
}

static cyc_status add_general(cyc_star *s, const cyc_refine3d_job *j, int half)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_state *state = &j->state;
	double width = state->sigma_angle_rad[half];
	const entry e[] = {
		{ CYC_RLN_REFERENCE_DIMENSIONALITY, 3, NULL },
		{ CYC_RLN_DATA_DIMENSIONALITY, 2, NULL },
		{ CYC_RLN_ORIGINAL_IMAGE_SIZE, j->crop_px, NULL },
		{ CYC_RLN_CURRENT_RESOLUTION, state->resolution_A, NULL },
		{ CYC_RLN_CURRENT_IMAGE_SIZE, 2 * state->radius, NULL },
		{ CYC_RLN_PADDING_FACTOR, 2, NULL },
		{ CYC_RLN_IS_HELIX, 0, NULL },
		{ CYC_RLN_FOURIER_SPACE_INTERPOLATOR, 1, NULL },
		{ CYC_RLN_MIN_RADIUS_NN_INTERPOLATION, 10, NULL },
		{ CYC_RLN_PIXEL_SIZE, j->box.pixel_size_A, NULL },
		{ CYC_RLN_NR_CLASSES, 1, NULL },
		{ CYC_RLN_NR_BODIES, 1, NULL },
		{ CYC_RLN_NR_GROUPS, j->in.tomograms->n_series, NULL },
		{ CYC_RLN_NR_OPTICS_GROUPS, j->particles->n_optics, NULL },
		{ CYC_RLN_TAU2_FUDGE_FACTOR, j->o->tau2_fudge, NULL },
		{ CYC_RLN_NORM_CORRECTION_AVERAGE, 1, NULL },
		{ CYC_RLN_SIGMA_OFFSETS_ANGST, state->sigma_offset_A[half], NULL },
		{ CYC_RLN_ORIENTATIONAL_PRIOR_MODE, state->order >= j->o->auto_local_order ? 1 : 0, NULL },
		{ CYC_RLN_SIGMA_PRIOR_ROT_ANGLE, width, NULL },
		{ CYC_RLN_SIGMA_PRIOR_TILT_ANGLE, width, NULL },
		{ CYC_RLN_SIGMA_PRIOR_PSI_ANGLE, width, NULL },
		{ CYC_RLN_LOG_LIKELIHOOD, state->log_likelihood[half], NULL },
		{ CYC_RLN_AVERAGE_PMAX, state->average_p_max, NULL },
	};
	CYC_TRY(add_list(s, "model_general", e, sizeof e / sizeof *e));
done:
	return st;
}

static cyc_status add_class(cyc_star *s, const cyc_refine3d_job *j, const char *map)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int64_t row;
	const cyc_refine3d_state *state = &j->state;
	CYC_TRY(cyc_star_add_block(&b, s, "model_classes", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_REFERENCE_IMAGE, map));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_CLASS_DISTRIBUTION, 1));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_ACCURACY_ROTATIONS, accuracy(state->rotation_error_rad)));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_ACCURACY_TRANSLATIONS_ANGST, accuracy(state->offset_error_A)));
	CYC_TRY(cyc_label_put(b, row, CYC_RLN_ESTIMATED_RESOLUTION, state->resolution_A));
done:
	return st;
}

/* Spectra of the map, per component of transforms divided by n^2, as RELION has them. */
static cyc_status add_shells(cyc_star *s, const cyc_refine3d_job *j, bool is_joined)
{
	cyc_status st = CYC_OK;
	double length_A = j->crop_px * j->box.pixel_size_A;
	cyc_star_block *b;
	int64_t row;
	CYC_TRY(cyc_star_add_block(&b, s, "model_class_1", CYC_STAR_TABLE));
	for (int32_t i = 0; i <= j->crop_px / 2; i++) {
		double f = fmin(fmax(j->maps->fsc[i], 0.001), 1),
			   fsc = fmin(is_joined ? sqrt(2 * f / (1 + f)) : f, 0.999),
			   ssnr = j->o->tau2_fudge * fsc / (1 - fsc),
			   sigma2 = 0.5 * j->map_noise[i] / cyc_square(j->crop_px);
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_SPECTRAL_INDEX, i));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_RESOLUTION, i / length_A));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_ANGSTROM_RESOLUTION, i > 0 ? length_A / i : 999));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_SSNR_MAP, ssnr));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_GOLD_STANDARD_FSC, j->maps->fsc[i]));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_REFERENCE_SIGMA2, sigma2));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_REFERENCE_TAU2, ssnr * sigma2));
	}
done:
	return st;
}

static cyc_status add_groups(cyc_star *s, const cyc_refine3d_job *j, int half)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	CYC_TRY(cyc_star_add_block(&b, s, "model_groups", CYC_STAR_TABLE));
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		int64_t row, n = 0;
		for (int64_t p = j->particles->series_first[i]; p < j->particles->series_first[i + 1]; p++)
			n += j->particles->particles[p].half == half;
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_GROUP_NUMBER, i + 1));
		CYC_TRY(cyc_label_put_text(b, row, CYC_RLN_GROUP_NAME, j->in.tomograms->series[i].name));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_GROUP_NR_PARTICLES, (double)n));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_GROUP_SCALE_CORRECTION, j->series_scale[2 * i + half]));
	}
done:
	return st;
}

static cyc_status add_noise(cyc_star *s, const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	int32_t n = j->crop_px / 2 + 1;
	for (int32_t g = 0; g < j->particles->n_optics; g++) {
		char name[48];
		cyc_star_block *b;
		int64_t row;
		snprintf(name, sizeof name, "model_optics_group_%d", g + 1);
		CYC_TRY(cyc_star_add_block(&b, s, name, CYC_STAR_TABLE));
		for (int32_t i = 0; i < n; i++) {
			double count = (double)j->noise_count[g],
				   sigma2 = count > 0 ? j->noise_sum[g * n + i] / count : 0;
			CYC_TRY(cyc_star_add_row(&row, b));
			CYC_TRY(cyc_label_put(b, row, CYC_RLN_SPECTRAL_INDEX, i));
			CYC_TRY(cyc_label_put(b, row, CYC_RLN_RESOLUTION, i / (j->crop_px * j->box.pixel_size_A)));
			CYC_TRY(cyc_label_put(b, row, CYC_RLN_SIGMA2_NOISE, sigma2));
		}
	}
done:
	return st;
}

static cyc_status write_model(const cyc_refine3d_job *j, const char *prefix, const char *name,
                              const char *map, int half, bool is_joined)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	char *relative = NULL, *path = NULL, *map_relative = NULL, *map_path = NULL;
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, prefix, name));
	CYC_TRY(cyc_refine3d_name(&map_relative, &map_path, j, prefix, map));
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(add_general(s, j, half));
	CYC_TRY(add_class(s, j, map_relative));
	CYC_TRY(add_shells(s, j, is_joined));
	CYC_TRY(add_groups(s, j, half));
	CYC_TRY(add_noise(s, j));
	CYC_TRY(cyc_refine3d_add_direction_prior(s, j));
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	cyc_free(relative);
	cyc_free(path);
	cyc_free(map_relative);
	cyc_free(map_path);
	return st;
}

static cyc_status write_sampling(const cyc_refine3d_job *j, const char *prefix)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_state *state = &j->state;
	const cyc_refine3d_options *o = j->o;
	cyc_star *s = NULL;
	char *relative = NULL, *path = NULL;
	double step = cyc_healpix_step_rad(state->order), first = cyc_healpix_step_rad(o->healpix_order),
		   a = j->box.pixel_size_A;
	const entry e[] = {
		{ CYC_RLN_IS_3D_SAMPLING, 1, NULL },
		{ CYC_RLN_IS_3D_TRANSLATIONAL_SAMPLING, 1, NULL },
		{ CYC_RLN_HEALPIX_ORDER, state->order, NULL },
		{ CYC_RLN_SYMMETRY_GROUP, 0, j->symmetry->name },
		{ CYC_RLN_TILT_ANGLE_LIMIT, cyc_deg_to_rad(-91), NULL },
		{ CYC_RLN_PSI_STEP, step, NULL },
		{ CYC_RLN_OFFSET_RANGE, state->offset_range_A, NULL },
		{ CYC_RLN_OFFSET_STEP, state->offset_step_A, NULL },
		{ CYC_RLN_HELICAL_OFFSET_STEP, -1, NULL },
		{ CYC_RLN_SAMPLING_PERTURB_INSTANCE, o->no_follow ? state->perturbation : 0, NULL },
		{ CYC_RLN_SAMPLING_PERTURB_FACTOR, o->no_follow ? o->perturbation : 0, NULL },
		{ CYC_RLN_HEALPIX_ORDER_ORIGINAL, o->healpix_order, NULL },
		{ CYC_RLN_PSI_STEP_ORIGINAL, first, NULL },
		{ CYC_RLN_OFFSET_RANGE_ORIGINAL, o->offset_range_px * a, NULL },
		{ CYC_RLN_OFFSET_STEP_ORIGINAL, o->offset_step_px * a, NULL },
	};
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, prefix, "sampling.star"));
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(add_list(s, "sampling_general", e, sizeof e / sizeof *e));
	CYC_TRY(cyc_refine3d_add_directions(s, j));
	CYC_TRY(cyc_star_write(s, path));
done:
	cyc_star_destroy(&s);
	cyc_free(relative);
	cyc_free(path);
	return st;
}

static cyc_status write_optimiser(const cyc_refine3d_job *j, const char *prefix, bool is_final)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_state *t = &j->state;
	const cyc_refine3d_options *o = j->o;
	cyc_star *s = NULL;
	char *relative = NULL, *path = NULL, *names[5] = { NULL };
	static const char *const NAME[4] = { "half1_model.star", "half2_model.star", "data.star",
		                                 "sampling.star" };
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, prefix, "optimiser.star"));
	for (int i = 0; i < 4; i++)
		CYC_TRY(cyc_asprintf(&names[i], "%s%s%s", j->in.out_dir, prefix,
		                     is_final && i < 2 ? "model.star" : NAME[i]));
	CYC_TRY(cyc_asprintf(&names[4], "%srun", j->in.out_dir));
	const entry e[] = {
		{ CYC_RLN_OUTPUT_ROOT_NAME, 0, names[4] },
		{ CYC_RLN_MODEL_STAR_FILE, 0, names[0] },
		{ CYC_RLN_MODEL_STAR_FILE2, 0, is_final ? "" : names[1] },
		{ CYC_RLN_EXPERIMENTAL_DATA_STAR_FILE, 0, names[2] },
		{ CYC_RLN_TOMO_TOMOGRAMS_FILE, 0, j->in.set->tomograms },
		{ CYC_RLN_TOMO_TRAJECTORIES_FILE, 0, j->in.set->trajectories },
		{ CYC_RLN_ORIENT_SAMPLING_STAR_FILE, 0, names[3] },
		{ CYC_RLN_CURRENT_ITERATION, t->iteration, NULL },
		{ CYC_RLN_NUMBER_OF_ITERATIONS, o->max_iterations, NULL },
		{ CYC_RLN_DO_SPLIT_RANDOM_HALVES, 1, NULL },
		{ CYC_RLN_JOIN_HALVES_UNTIL_THIS_RESOLUTION, o->join_A, NULL },
		{ CYC_RLN_ADAPTIVE_OVERSAMPLE_ORDER, o->oversampling, NULL },
		{ CYC_RLN_ADAPTIVE_OVERSAMPLE_FRACTION, o->adaptive_frac, NULL },
		{ CYC_RLN_RANDOM_SEED, (double)o->seed, NULL },
		{ CYC_RLN_PARTICLE_DIAMETER, j->particle_diameter_A, NULL },
		{ CYC_RLN_WIDTH_MASK_EDGE, 5, NULL },
		{ CYC_RLN_DO_ZERO_MASK, 1, NULL },
		{ CYC_RLN_DO_SOLVENT_FLATTENING, 1, NULL },
		{ CYC_RLN_DO_SOLVENT_FSC_CORRECTION, !o->no_fsc_correction, NULL },
		{ CYC_RLN_SOLVENT_MASK_NAME, 0, j->in.reference_files[2] ? j->in.reference_files[2] : "None" },
		{ CYC_RLN_DO_AUTO_REFINE, 1, NULL },
		{ CYC_RLN_AUTO_LOCAL_SEARCHES_HEALPIX_ORDER, o->auto_local_order, NULL },
		{ CYC_RLN_NUMBER_OF_ITER_WITHOUT_RESOLUTION_GAIN, t->n_without_gain, NULL },
		{ CYC_RLN_BEST_RESOLUTION_THUS_FAR, 1 / t->best_resolution_A, NULL },
		{ CYC_RLN_NUMBER_OF_ITER_WITHOUT_CHANGING_ASSIGNMENTS, t->n_without_change, NULL },
		{ CYC_RLN_OVERALL_ACCURACY_ROTATIONS, known_angle(j, accuracy(t->rotation_error_rad)), NULL },
		{ CYC_RLN_OVERALL_ACCURACY_TRANSLATIONS_ANGST, known(j, accuracy(t->offset_error_A)), NULL },
		{ CYC_RLN_CHANGES_OPTIMAL_ORIENTATIONS, known_angle(j, t->change_rotation_rad), NULL },
		{ CYC_RLN_CHANGES_OPTIMAL_OFFSETS, known(j, t->change_offset_A), NULL },
		{ CYC_RLN_CHANGES_OPTIMAL_CLASSES, j->is_start ? 9999999 : 0, NULL },
		{ CYC_RLN_HAS_CONVERGED, t->has_converged, NULL },
	};
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(add_list(s, "optimiser_general", e, sizeof e / sizeof *e));
	CYC_TRY(cyc_refine3d_settle_optimiser(s, j));
	CYC_TRY(cyc_star_write(s, path));
done:
	for (int i = 0; i < 5; i++) cyc_free(names[i]);
	cyc_star_destroy(&s);
	cyc_free(relative);
	cyc_free(path);
	return st;
}

cyc_status cyc_refine3d_write_models(const cyc_refine3d_job *j, const char *prefix, bool is_final)
{
	cyc_status st = CYC_OK;
	if (is_final) {
		CYC_TRY(write_model(j, prefix, "model.star", "class001.mrc", 0, true));
	} else {
		CYC_TRY(write_model(j, prefix, "half1_model.star", "half1_class001.mrc", 0, false));
		CYC_TRY(write_model(j, prefix, "half2_model.star", "half2_class001.mrc", 1, false));
	}
	CYC_TRY(write_sampling(j, prefix));
	CYC_TRY(write_optimiser(j, prefix, is_final));
done:
	return st;
}

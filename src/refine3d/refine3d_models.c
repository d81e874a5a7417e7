/* model.star, sampling.star and optimiser.star: what RELION's GUI shows of a refinement, and other programs
 * look up. */
#include "refine3d/refine3d_internal.h"
#include "project/labels.h"

#include <math.h>
#include <string.h>

/* One value of a list block. */
typedef struct {
	const char *label;
	enum { NUMBER, COUNT, TEXT } kind;
	double number;
	const char *text;
} entry;

static cyc_status add_list(cyc_star *s, const char *name, const entry *e, size_t n)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	CYC_TRY(cyc_star_add_block(&b, s, name, CYC_STAR_LIST));
	for (size_t i = 0; i < n; i++) {
		if (e[i].kind == TEXT) CYC_TRY(cyc_star_list_set_text(b, e[i].label, e[i].text ? e[i].text : ""));
		else if (e[i].kind == COUNT) CYC_TRY(cyc_star_list_set_int(b, e[i].label, (int64_t)e[i].number));
		else CYC_TRY(cyc_star_list_set_double(b, e[i].label, e[i].number));
	}
done:
	return st;
}

/* A table whose columns are arrays of numbers; is_count: written as whole numbers. */
static cyc_status add_table(cyc_star *s, const char *name, const char *const *labels, const bool *is_count,
                            const double *const *columns, int n_columns, int64_t n_rows)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column;
	CYC_TRY(cyc_star_add_block(&b, s, name, CYC_STAR_TABLE));
	for (int c = 0; c < n_columns; c++) CYC_TRY(cyc_star_ensure_column(&column, b, labels[c], "0"));
	for (int64_t i = 0; i < n_rows; i++) {
		int64_t row;
		CYC_TRY(cyc_star_add_row(&row, b));
		for (int c = 0; c < n_columns; c++) {
			if (is_count[c]) CYC_TRY(cyc_star_set_int(b, row, c, (int64_t)columns[c][i]));
			else CYC_TRY(cyc_star_set_double(b, row, c, columns[c][i]));
		}
	}
done:
	return st;
}

/* RELION's sqrt(2 ln 100) standard errors along one axis. */
static double accuracy(double error) { return 3.0349 * error / sqrt(3); }

static cyc_status add_general(cyc_star *s, const cyc_refine3d_job *j, int half)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_state *state = &j->state;
	double degrees = cyc_rad_to_deg(state->sigma_angle_rad[half]);
	const entry e[] = {
		{ CYC_RLN_REFERENCE_DIMENSIONALITY, COUNT, 3, NULL },
		{ CYC_RLN_DATA_DIMENSIONALITY, COUNT, 2, NULL },
		{ CYC_RLN_ORIGINAL_IMAGE_SIZE, COUNT, j->crop_px, NULL },
		{ CYC_RLN_CURRENT_RESOLUTION, NUMBER, state->resolution_A, NULL },
		{ CYC_RLN_CURRENT_IMAGE_SIZE, COUNT, 2 * state->radius, NULL },
		{ CYC_RLN_PADDING_FACTOR, NUMBER, 2, NULL },
		{ CYC_RLN_IS_HELIX, COUNT, 0, NULL },
		{ CYC_RLN_FOURIER_SPACE_INTERPOLATOR, COUNT, 1, NULL },
		{ CYC_RLN_MIN_RADIUS_NN_INTERPOLATION, COUNT, 10, NULL },
		{ CYC_RLN_PIXEL_SIZE, NUMBER, j->box.pixel_size_A, NULL },
		{ CYC_RLN_NR_CLASSES, COUNT, 1, NULL },
		{ CYC_RLN_NR_BODIES, COUNT, 1, NULL },
		{ CYC_RLN_NR_GROUPS, COUNT, j->in.tomograms->n_series, NULL },
		{ CYC_RLN_NR_OPTICS_GROUPS, COUNT, j->in.particles->n_optics, NULL },
		{ CYC_RLN_TAU2_FUDGE_FACTOR, NUMBER, j->o->tau2_fudge, NULL },
		{ CYC_RLN_NORM_CORRECTION_AVERAGE, NUMBER, 1, NULL },
		{ CYC_RLN_SIGMA_OFFSETS_ANGST, NUMBER, state->sigma_offset_A[half], NULL },
		{ CYC_RLN_ORIENTATIONAL_PRIOR_MODE, COUNT, state->order >= j->o->auto_local_order ? 1 : 0, NULL },
		{ CYC_RLN_SIGMA_PRIOR_ROT_ANGLE, NUMBER, degrees, NULL },
		{ CYC_RLN_SIGMA_PRIOR_TILT_ANGLE, NUMBER, degrees, NULL },
		{ CYC_RLN_SIGMA_PRIOR_PSI_ANGLE, NUMBER, degrees, NULL },
		{ CYC_RLN_LOG_LIKELIHOOD, NUMBER, state->log_likelihood[half], NULL },
		{ CYC_RLN_AVERAGE_PMAX, NUMBER, state->average_p_max, NULL },
	};
	CYC_TRY(add_list(s, "model_general", e, sizeof e / sizeof *e));
done:
	return st;
}

static cyc_status add_class(cyc_star *s, const cyc_refine3d_job *j, const char *map)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column;
	int64_t row;
	const cyc_refine3d_state *state = &j->state;
	const struct {
		const char *label;
		double v;
	} number[] = { { CYC_RLN_CLASS_DISTRIBUTION, 1 },
		           { CYC_RLN_ACCURACY_ROTATIONS, cyc_rad_to_deg(accuracy(state->rotation_error_rad)) },
		           { CYC_RLN_ACCURACY_TRANSLATIONS_ANGST, accuracy(state->offset_error_A) },
		           { CYC_RLN_ESTIMATED_RESOLUTION, state->resolution_A } };
	CYC_TRY(cyc_star_add_block(&b, s, "model_classes", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_REFERENCE_IMAGE, ""));
	CYC_TRY(cyc_star_add_row(&row, b));
	CYC_TRY(cyc_star_set_text(b, row, column, map));
	for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
		CYC_TRY(cyc_star_ensure_column(&column, b, number[i].label, "0"));
		CYC_TRY(cyc_star_set_double(b, row, column, number[i].v));
	}
done:
	return st;
}

/* Spectra of the map, per component of transforms divided by n^2, as RELION has them. */
static cyc_status add_shells(cyc_star *s, const cyc_refine3d_job *j, bool is_joined)
{
	cyc_status st = CYC_OK;
	enum { INDEX, FREQUENCY, RESOLUTION, SSNR, FSC, SIGMA2, TAU2, N };
	static const char *const LABEL[N] = { CYC_RLN_SPECTRAL_INDEX,      CYC_RLN_RESOLUTION,
		                                  CYC_RLN_ANGSTROM_RESOLUTION, CYC_RLN_SSNR_MAP,
		                                  CYC_RLN_GOLD_STANDARD_FSC,   CYC_RLN_REFERENCE_SIGMA2,
		                                  CYC_RLN_REFERENCE_TAU2 };
	static const bool IS_COUNT[N] = { true };
	int32_t n = j->crop_px / 2 + 1;
	double *v = NULL, length_A = j->crop_px * j->box.pixel_size_A;
	const double *columns[N];
	CYC_TRY(cyc_alloc(&v, (size_t)N * (size_t)n, sizeof *v));
	for (int c = 0; c < N; c++) columns[c] = v + c * n;
	for (int32_t i = 0; i < n; i++) {
		double f = fmin(fmax(j->maps->fsc[i], 0.001), 1),
			   fsc = fmin(is_joined ? sqrt(2 * f / (1 + f)) : f, 0.999),
			   ssnr = j->o->tau2_fudge * fsc / (1 - fsc);
		double sigma2 = 0.5 * j->map_noise[i] / cyc_square(j->crop_px);
		const double row[N] = { i,      i / length_A, i > 0 ? length_A / i : 999, ssnr, j->maps->fsc[i],
			                    sigma2, ssnr * sigma2 };
		for (int c = 0; c < N; c++) v[c * n + i] = row[c];
	}
	CYC_TRY(add_table(s, "model_class_1", LABEL, IS_COUNT, columns, N, n));
done:
	cyc_free(v);
	return st;
}

static cyc_status add_groups(cyc_star *s, const cyc_refine3d_job *j, int half)
{
	cyc_status st = CYC_OK;
	static const char *const LABEL[4] = { CYC_RLN_GROUP_NUMBER, CYC_RLN_GROUP_NAME,
		                                  CYC_RLN_GROUP_NR_PARTICLES, CYC_RLN_GROUP_SCALE_CORRECTION };
	cyc_star_block *b;
	int32_t column;
	CYC_TRY(cyc_star_add_block(&b, s, "model_groups", CYC_STAR_TABLE));
	for (int c = 0; c < 4; c++) CYC_TRY(cyc_star_ensure_column(&column, b, LABEL[c], "0"));
	for (int32_t i = 0; i < j->in.tomograms->n_series; i++) {
		int64_t row, n = 0;
		for (int64_t p = j->in.particles->series_first[i]; p < j->in.particles->series_first[i + 1]; p++)
			n += j->in.particles->particles[p].half == half;
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_int(b, row, 0, i + 1));
		CYC_TRY(cyc_star_set_text(b, row, 1, j->in.tomograms->series[i].name));
		CYC_TRY(cyc_star_set_int(b, row, 2, n));
		CYC_TRY(cyc_star_set_double(b, row, 3, j->series_scale[2 * i + half]));
	}
done:
	return st;
}

static cyc_status add_noise(cyc_star *s, const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	static const char *const LABEL[3] = { CYC_RLN_SPECTRAL_INDEX, CYC_RLN_RESOLUTION, CYC_RLN_SIGMA2_NOISE };
	static const bool IS_COUNT[3] = { true };
	int32_t n = j->crop_px / 2 + 1;
	char *name = NULL;
	double *v = NULL;
	CYC_TRY(cyc_alloc(&v, 3 * (size_t)n, sizeof *v));
	const double *const columns[3] = { v, v + n, v + 2 * n };
	for (int32_t g = 0; g < j->in.particles->n_optics; g++) {
		for (int32_t i = 0; i < n; i++) {
			v[i] = i;
			v[n + i] = i / (j->crop_px * j->box.pixel_size_A);
			v[2 * n + i] = j->noise_count[g] > 0 ? j->noise_sum[g * n + i] / (double)j->noise_count[g] : 0;
		}
		CYC_TRY(cyc_asprintf(&name, "model_optics_group_%d", g + 1));
		CYC_TRY(add_table(s, name, LABEL, IS_COUNT, columns, 3, n));
		cyc_free(name);
		name = NULL;
	}
done:
	cyc_free(name);
	cyc_free(v);
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
	double step = cyc_rad_to_deg(cyc_healpix_step_rad(state->order)),
		   first = cyc_rad_to_deg(cyc_healpix_step_rad(o->healpix_order)), a = j->box.pixel_size_A;
	const entry e[] = {
		{ CYC_RLN_IS_3D_SAMPLING, COUNT, 1, NULL },
		{ CYC_RLN_IS_3D_TRANSLATIONAL_SAMPLING, COUNT, 1, NULL },
		{ CYC_RLN_HEALPIX_ORDER, COUNT, state->order, NULL },
		{ CYC_RLN_SYMMETRY_GROUP, TEXT, 0, j->symmetry->name },
		{ CYC_RLN_TILT_ANGLE_LIMIT, NUMBER, -91, NULL },
		{ CYC_RLN_PSI_STEP, NUMBER, step, NULL },
		{ CYC_RLN_OFFSET_RANGE, NUMBER, state->offset_range_A, NULL },
		{ CYC_RLN_OFFSET_STEP, NUMBER, state->offset_step_A, NULL },
		{ CYC_RLN_HELICAL_OFFSET_STEP, NUMBER, -1, NULL },
		{ CYC_RLN_SAMPLING_PERTURB_INSTANCE, NUMBER, o->no_polish ? state->perturbation : 0, NULL },
		{ CYC_RLN_SAMPLING_PERTURB_FACTOR, NUMBER, o->no_polish ? o->perturbation : 0, NULL },
		{ CYC_RLN_HEALPIX_ORDER_ORIGINAL, COUNT, o->healpix_order, NULL },
		{ CYC_RLN_PSI_STEP_ORIGINAL, NUMBER, first, NULL },
		{ CYC_RLN_OFFSET_RANGE_ORIGINAL, NUMBER, o->offset_range_px * a, NULL },
		{ CYC_RLN_OFFSET_STEP_ORIGINAL, NUMBER, o->offset_step_px * a, NULL },
	};
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, prefix, "sampling.star"));
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(add_list(s, "sampling_general", e, sizeof e / sizeof *e));
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
		{ CYC_RLN_OUTPUT_ROOT_NAME, TEXT, 0, names[4] },
		{ CYC_RLN_MODEL_STAR_FILE, TEXT, 0, names[0] },
		{ CYC_RLN_MODEL_STAR_FILE2, TEXT, 0, is_final ? "" : names[1] },
		{ CYC_RLN_EXPERIMENTAL_DATA_STAR_FILE, TEXT, 0, names[2] },
		{ CYC_RLN_TOMO_TOMOGRAMS_FILE, TEXT, 0, j->in.set->tomograms },
		{ CYC_RLN_TOMO_TRAJECTORIES_FILE, TEXT, 0, j->in.set->trajectories },
		{ CYC_RLN_ORIENT_SAMPLING_STAR_FILE, TEXT, 0, names[3] },
		{ CYC_RLN_CURRENT_ITERATION, COUNT, t->iteration, NULL },
		{ CYC_RLN_NUMBER_OF_ITERATIONS, COUNT, o->max_iterations, NULL },
		{ CYC_RLN_DO_SPLIT_RANDOM_HALVES, COUNT, 1, NULL },
		{ CYC_RLN_JOIN_HALVES_UNTIL_THIS_RESOLUTION, NUMBER, o->join_A, NULL },
		{ CYC_RLN_ADAPTIVE_OVERSAMPLE_ORDER, COUNT, o->oversampling, NULL },
		{ CYC_RLN_ADAPTIVE_OVERSAMPLE_FRACTION, NUMBER, o->adaptive_frac, NULL },
		{ CYC_RLN_RANDOM_SEED, COUNT, (double)o->seed, NULL },
		{ CYC_RLN_PARTICLE_DIAMETER, NUMBER, j->particle_diameter_A, NULL },
		{ CYC_RLN_WIDTH_MASK_EDGE, COUNT, 5, NULL },
		{ CYC_RLN_DO_ZERO_MASK, COUNT, 1, NULL },
		{ CYC_RLN_DO_SOLVENT_FLATTENING, COUNT, 1, NULL },
		{ CYC_RLN_DO_SOLVENT_FSC_CORRECTION, COUNT, !o->no_fsc_correction, NULL },
		{ CYC_RLN_SOLVENT_MASK_NAME, TEXT, 0, j->in.reference_files[2] ? j->in.reference_files[2] : "None" },
		{ CYC_RLN_DO_AUTO_REFINE, COUNT, 1, NULL },
		{ CYC_RLN_AUTO_LOCAL_SEARCHES_HEALPIX_ORDER, COUNT, o->auto_local_order, NULL },
		{ CYC_RLN_NUMBER_OF_ITER_WITHOUT_RESOLUTION_GAIN, COUNT, t->n_without_gain, NULL },
		{ CYC_RLN_BEST_RESOLUTION_THUS_FAR, NUMBER, 1 / t->best_resolution_A, NULL },
		{ CYC_RLN_NUMBER_OF_ITER_WITHOUT_CHANGING_ASSIGNMENTS, COUNT, t->n_without_change, NULL },
		{ CYC_RLN_OVERALL_ACCURACY_ROTATIONS, NUMBER, cyc_rad_to_deg(accuracy(t->rotation_error_rad)), NULL },
		{ CYC_RLN_OVERALL_ACCURACY_TRANSLATIONS_ANGST, NUMBER, accuracy(t->offset_error_A), NULL },
		{ CYC_RLN_CHANGES_OPTIMAL_ORIENTATIONS, NUMBER, cyc_rad_to_deg(t->change_rotation_rad), NULL },
		{ CYC_RLN_CHANGES_OPTIMAL_OFFSETS, NUMBER, t->change_offset_A, NULL },
		{ CYC_RLN_CHANGES_OPTIMAL_CLASSES, NUMBER, 0, NULL },
		{ CYC_RLN_HAS_CONVERGED, COUNT, t->has_converged, NULL },
	};
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(add_list(s, "optimiser_general", e, sizeof e / sizeof *e));
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

#include "refine3d/refine3d_internal.h"
#include "project/labels.h"

#include <math.h>
#include <stdio.h>

/*
 * What RELION's optimiser has beyond a refinement of one map in two half-sets: RELION continues from the file
 * only if it is complete. Values are those of a refinement without helices, gradients, Blush and the like.
 */
static const char *const SETTLED[][2] = { { CYC_RLN_SOLVENT_MASK2_NAME, "None" },
	                                      { CYC_RLN_BODY_STAR_FILE, "None" },
	                                      { CYC_RLN_TAU_SPECTRUM_NAME, "None" },
	                                      { CYC_RLN_MAXIMUM_COARSE_IMAGE_SIZE, "-1" },
	                                      { CYC_RLN_HIGHRES_LIMIT_EXPECTATION, "-1" },
	                                      { CYC_RLN_LOWRES_LIMIT_EXPECTATION, "-1" },
	                                      { CYC_RLN_DO_MAP_ESTIMATION, "1" },
	                                      { CYC_RLN_DO_FAST_SUBSET_OPTIMISATION, "0" },
	                                      { CYC_RLN_DO_EXTERNAL_RECONSTRUCT, "0" },
	                                      { CYC_RLN_DO_BLUSH, "0" },
	                                      { CYC_RLN_BLUSH_NO_SPECTRAL_TRAILING, "0" },
	                                      { CYC_RLN_DO_GRADIENT_REFINE, "0" },
	                                      { CYC_RLN_DO_STOCHASTIC_GRADIENT_DESCENT, "0" },
	                                      { CYC_RLN_GRAD_EM_ITERS, "0" },
	                                      { CYC_RLN_GRAD_HAS_CONVERGED, "0" },
	                                      { CYC_RLN_GRAD_CURRENT_STEPSIZE, "0" },
	                                      { CYC_RLN_GRAD_SUBSET_ORDER, "0" },
	                                      { CYC_RLN_GRAD_SUSPEND_FINER_SAMPLING_ITER, "-1" },
	                                      { CYC_RLN_GRAD_SUSPEND_LOCAL_SAMPLING_ITER, "-1" },
	                                      { CYC_RLN_SGD_INITIAL_ITERATIONS_FRACTION, "0.3" },
	                                      { CYC_RLN_SGD_FINAL_ITERATIONS_FRACTION, "0.2" },
	                                      { CYC_RLN_SGD_MINIMUM_RESOLUTION, "20" },
	                                      { CYC_RLN_SGD_INITIAL_RESOLUTION, "-1" },
	                                      { CYC_RLN_SGD_FINAL_RESOLUTION, "-1" },
	                                      { CYC_RLN_SGD_INITIAL_SUBSET_SIZE, "-1" },
	                                      { CYC_RLN_SGD_FINAL_SUBSET_SIZE, "-1" },
	                                      { CYC_RLN_SGD_MU_FACTOR, "0" },
	                                      { CYC_RLN_SGD_SKIP_ANNEAL, "0" },
	                                      { CYC_RLN_SGD_CLASS_INACTIVITY_THRESHOLD, "0" },
	                                      { CYC_RLN_SGD_SUBSET_SIZE, "-1" },
	                                      { CYC_RLN_SGD_WRITE_EVERY_SUBSET, "10" },
	                                      { CYC_RLN_SGD_STEPSIZE, "-1" },
	                                      { CYC_RLN_SGD_STEPSIZE_SCHEME, "" },
	                                      { CYC_RLN_TAU2_FUDGE_SCHEME, "" },
	                                      { CYC_RLN_TAU2_FUDGE_ARG, "-1" },
	                                      { CYC_RLN_MAXIMUM_SIGNIFICANT_POSES, "-1" },
	                                      { CYC_RLN_DO_AUTO_SAMPLING, "1" },
	                                      { CYC_RLN_DO_SKIP_ALIGN, "0" },
	                                      { CYC_RLN_DO_SKIP_ROTATE, "0" },
	                                      { CYC_RLN_SMALLEST_CHANGES_CLASSES, "1" },
	                                      { CYC_RLN_LOCAL_SYMMETRY_FILE, "None" },
	                                      { CYC_RLN_DO_HELICAL_REFINE, "0" },
	                                      { CYC_RLN_IGNORE_HELICAL_SYMMETRY, "0" },
	                                      { CYC_RLN_FOURIER_MASK, "None" },
	                                      { CYC_RLN_HELICAL_TWIST_INITIAL, "0" },
	                                      { CYC_RLN_HELICAL_RISE_INITIAL, "0" },
	                                      { CYC_RLN_HELICAL_CENTRAL_PROPORTION, "0.3" },
	                                      { CYC_RLN_NR_HELICAL_N_START, "1" },
	                                      { CYC_RLN_HELICAL_MASK_TUBE_INNER_DIAMETER, "-1" },
	                                      { CYC_RLN_HELICAL_MASK_TUBE_OUTER_DIAMETER, "-1" },
	                                      { CYC_RLN_HELICAL_SYMMETRY_LOCAL_REFINEMENT, "0" },
	                                      { CYC_RLN_HELICAL_SIGMA_DISTANCE, "-1" },
	                                      { CYC_RLN_HELICAL_KEEP_TILT_PRIOR_FIXED, "0" },
	                                      { CYC_RLN_HAS_HIGH_FSC_AT_RESOL_LIMIT, "0" },
	                                      { CYC_RLN_HAS_LARGE_SIZE_INCREASE_ITERATIONS_AGO, "0" },
	                                      { CYC_RLN_DO_CORRECT_NORM, "0" },
	                                      { CYC_RLN_DO_CORRECT_CTF, "1" },
	                                      { CYC_RLN_DO_CENTER_CLASSES, "0" },
	                                      { CYC_RLN_DO_IGNORE_CTF_UNTIL_FIRST_PEAK, "0" },
	                                      { CYC_RLN_CTF_DATA_ARE_PHASE_FLIPPED, "0" },
	                                      { CYC_RLN_DO_ONLY_FLIP_CTF_PHASES, "0" },
	                                      { CYC_RLN_REFS_ARE_CTF_CORRECTED, "1" },
	                                      { CYC_RLN_FIX_SIGMA_NOISE_ESTIMATES, "0" },
	                                      { CYC_RLN_FIX_SIGMA_OFFSET_ESTIMATES, "0" },
	                                      { CYC_RLN_MAX_NUMBER_OF_POOLED_PARTICLES, "3" },
	                                      { CYC_RLN_OFFSET_RANGE_X, "-1" },
	                                      { CYC_RLN_OFFSET_RANGE_Y, "-1" },
	                                      { CYC_RLN_OFFSET_RANGE_Z, "-1" } };

/* Before the first iteration, as RELION says it. */
static const double NOT_KNOWN = 999;

/* Of this refinement. */
static cyc_status add_numbers(cyc_star_block *b, const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_state *t = &j->state;
	const struct {
		const char *label;
		double value;
	} NUMBERS[] = {
		{ CYC_RLN_INCREMENT_IMAGE_SIZE, 10 },
		{ CYC_RLN_SMALLEST_CHANGES_ORIENTATIONS,
		  j->is_start ? NOT_KNOWN : cyc_rad_to_deg(t->change_rotation_rad) },
		{ CYC_RLN_SMALLEST_CHANGES_OFFSETS, j->is_start ? NOT_KNOWN : t->change_offset_A },
		{ CYC_RLN_DO_CORRECT_SCALE, j->o->no_scale ? 0 : 1 },
	};
	char text[32];
	for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
		snprintf(text, sizeof text, "%.6g", NUMBERS[i].value);
		CYC_TRY(cyc_star_list_set_text(b, NUMBERS[i].label, text));
	}
done:
	return st;
}

cyc_status cyc_refine3d_settle_optimiser(cyc_star *s, const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	CYC_TRY(cyc_star_require(&b, s, "optimiser_general"));
	for (size_t i = 0; i < sizeof SETTLED / sizeof *SETTLED; i++)
		CYC_TRY(cyc_star_list_set_text(b, SETTLED[i][0], SETTLED[i][1]));
	CYC_TRY(add_numbers(b, j));
	if (j->is_start) CYC_TRY(cyc_star_list_set_text(b, CYC_RLN_SMALLEST_CHANGES_CLASSES, "9999999"));
done:
	return st;
}

/* ---------------------------------------------------------------- directions */

cyc_status cyc_refine3d_add_directions(cyc_star *s, const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int64_t *direction = NULL, n = 0, row;
	CYC_TRY(cyc_healpix_unique(&direction, &n, j->state.order, j->symmetry));
	CYC_TRY(cyc_star_add_block(&b, s, "sampling_directions", CYC_STAR_TABLE));
	for (int64_t i = 0; i < n; i++) {
		double rot, tilt;
		cyc_healpix_direction(&rot, &tilt, j->state.order, direction[i]);
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_ANGLE_ROT, rot));
		CYC_TRY(cyc_label_put(b, row, CYC_RLN_ANGLE_TILT, tilt));
	}
done:
	cyc_free(direction);
	return st;
}

cyc_status cyc_refine3d_add_direction_prior(cyc_star *s, const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int64_t *direction = NULL, n = 0, row;
	int32_t column;
	char text[32];
	CYC_TRY(cyc_healpix_unique(&direction, &n, j->state.order, j->symmetry));
	CYC_TRY(cyc_star_add_block(&b, s, "model_pdf_orient_class_1", CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&column, b, CYC_RLN_ORIENTATION_DISTRIBUTION, "0"));
	snprintf(text, sizeof text, "%.6g", 1.0 / (double)n);
	for (int64_t i = 0; i < n; i++) {
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_text(b, row, column, text));
	}
done:
	cyc_free(direction);
	return st;
}

/* ---------------------------------------------------------------- views */

/* Of the picture: some 7 degrees apart. */
enum { VIEW_ORDER = 3 };

static cyc_vec3 towards(double rot, double tilt)
{
	return (cyc_vec3){ sin(tilt) * cos(rot), sin(tilt) * sin(rot), cos(tilt) };
}

/* The nearest of the directions to a view or one of its symmetry mates. */
static int64_t nearest(const cyc_vec3 *directions, int64_t n, cyc_vec3 v, const cyc_symmetry *symmetry)
{
	double best = -2;
	int64_t found = 0;
	for (int32_t k = 0; k < symmetry->n; k++) {
		cyc_vec3 u = cyc_mat3_apply(symmetry->ops[k], v);
		for (int64_t i = 0; i < n; i++) {
			double c = u.x * directions[i].x + u.y * directions[i].y + u.z * directions[i].z;
			if (c > best) {
				best = c;
				found = i;
			}
		}
	}
	return found;
}

/* A stick along each viewing direction; length and redness show the number of particles. */
static void print_sticks(FILE *f, const cyc_refine3d_job *j, const cyc_vec3 *directions, const double *count,
                         int64_t n)
{
	double most = 0, middle_A = (double)(j->crop_px / 2) * j->box.pixel_size_A,
		   R = 0.5 * j->particle_diameter_A;
	for (int64_t i = 0; i < n; i++) most = fmax(most, count[i]);
	for (int64_t i = 0; i < n; i++) {
		double share = most > 0 ? count[i] / most : 0;
		if (share <= 0) continue;
		fprintf(f, ".color %.3f 0 %.3f\n.cylinder", share, 1 - share);
		for (int end = 0; end < 2; end++) {
			double r = R * (1.05 + 0.3 * share * end);
			fprintf(f, " %.3f %.3f %.3f", middle_A + r * directions[i].x, middle_A + r * directions[i].y,
			        middle_A + r * directions[i].z);
		}
		fprintf(f, " %.3f\n", 0.02 * R);
	}
}

cyc_status cyc_refine3d_write_views(const cyc_refine3d_job *j, const double *rot, const double *tilt,
                                    int64_t n)
{
	cyc_status st = CYC_OK;
	int64_t *pixel = NULL, n_directions = 0;
	cyc_vec3 *directions = NULL;
	double *count = NULL;
	char *relative = NULL, *path = NULL;
	cyc_outfile o = { 0 };
	CYC_TRY(cyc_healpix_unique(&pixel, &n_directions, VIEW_ORDER, j->symmetry));
	CYC_TRY(cyc_alloc(&directions, n_directions, sizeof *directions));
	CYC_TRY(cyc_alloc(&count, n_directions, sizeof *count));
	for (int64_t i = 0; i < n_directions; i++) {
		double phi, theta;
		cyc_healpix_direction(&phi, &theta, VIEW_ORDER, pixel[i]);
		directions[i] = towards(phi, theta);
	}
	for (int64_t i = 0; i < n; i++)
		count[nearest(directions, n_directions, towards(rot[i], tilt[i]), j->symmetry)]++;
	CYC_TRY(cyc_refine3d_name(&relative, &path, j, "run_", "class001_angdist.bild"));
	CYC_TRY(cyc_outfile_open(&o, path));
	print_sticks(o.f, j, directions, count, n_directions);
	CYC_TRY(cyc_outfile_commit(&o));
done:
	cyc_outfile_abandon(&o);
	cyc_free(pixel);
	cyc_free(directions);
	cyc_free(count);
	cyc_free(relative);
	cyc_free(path);
	return st;
}

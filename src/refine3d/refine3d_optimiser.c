#include "refine3d/refine3d_internal.h"
#include "project/labels.h"

#include <math.h>
#include <stdio.h>

/*
 * What RELION's optimiser has beyond a refinement of one map in two half-sets: RELION continues from the file
 * only if all of it is there. Values are those of a refinement without helices, gradients, Blush and the
 * like.
 */
static const char *const SETTLED[][2] = { { "rlnSolventMask2Name", "None" },
	                                      { "rlnBodyStarFile", "None" },
	                                      { "rlnTauSpectrumName", "None" },
	                                      { "rlnMaximumCoarseImageSize", "-1" },
	                                      { "rlnHighresLimitExpectation", "-1" },
	                                      { "rlnLowresLimitExpectation", "-1" },
	                                      { "rlnDoMapEstimation", "1" },
	                                      { "rlnDoFastSubsetOptimisation", "0" },
	                                      { "rlnDoExternalReconstruct", "0" },
	                                      { "rlnDoBlush", "0" },
	                                      { "rlnBlushNoSpectralTrailing", "0" },
	                                      { "rlnDoGradientRefine", "0" },
	                                      { "rlnDoStochasticGradientDescent", "0" },
	                                      { "rlnGradEmIters", "0" },
	                                      { "rlnGradHasConverged", "0" },
	                                      { "rlnGradCurrentStepsize", "0" },
	                                      { "rlnGradSubsetOrder", "0" },
	                                      { "rlnGradSuspendFinerSamplingIter", "-1" },
	                                      { "rlnGradSuspendLocalSamplingIter", "-1" },
	                                      { "rlnSgdInitialIterationsFraction", "0.3" },
	                                      { "rlnSgdFinalIterationsFraction", "0.2" },
	                                      { "rlnSgdMinimumResolution", "20" },
	                                      { "rlnSgdInitialResolution", "-1" },
	                                      { "rlnSgdFinalResolution", "-1" },
	                                      { "rlnSgdInitialSubsetSize", "-1" },
	                                      { "rlnSgdFinalSubsetSize", "-1" },
	                                      { "rlnSgdMuFactor", "0" },
	                                      { "rlnSgdSkipAnneal", "0" },
	                                      { "rlnSgdClassInactivityThreshold", "0" },
	                                      { "rlnSgdSubsetSize", "-1" },
	                                      { "rlnSgdWriteEverySubset", "10" },
	                                      { "rlnSgdStepsize", "-1" },
	                                      { "rlnSgdStepsizeScheme", "" },
	                                      { "rlnTau2FudgeScheme", "" },
	                                      { "rlnTau2FudgeArg", "-1" },
	                                      { "rlnMaximumSignificantPoses", "-1" },
	                                      { "rlnDoAutoSampling", "1" },
	                                      { "rlnDoSkipAlign", "0" },
	                                      { "rlnDoSkipRotate", "0" },
	                                      { "rlnSmallestChangesClasses", "1" },
	                                      { "rlnLocalSymmetryFile", "None" },
	                                      { "rlnDoHelicalRefine", "0" },
	                                      { "rlnIgnoreHelicalSymmetry", "0" },
	                                      { "rlnFourierMask", "None" },
	                                      { "rlnHelicalTwistInitial", "0" },
	                                      { "rlnHelicalRiseInitial", "0" },
	                                      { "rlnHelicalCentralProportion", "0.3" },
	                                      { "rlnNrHelicalNStart", "1" },
	                                      { "rlnHelicalMaskTubeInnerDiameter", "-1" },
	                                      { "rlnHelicalMaskTubeOuterDiameter", "-1" },
	                                      { "rlnHelicalSymmetryLocalRefinement", "0" },
	                                      { "rlnHelicalSigmaDistance", "-1" },
	                                      { "rlnHelicalKeepTiltPriorFixed", "0" },
	                                      { "rlnHasHighFscAtResolLimit", "0" },
	                                      { "rlnHasLargeSizeIncreaseIterationsAgo", "0" },
	                                      { "rlnDoCorrectNorm", "0" },
	                                      { "rlnDoCorrectCtf", "1" },
	                                      { "rlnDoCenterClasses", "0" },
	                                      { "rlnDoIgnoreCtfUntilFirstPeak", "0" },
	                                      { "rlnCtfDataArePhaseFlipped", "0" },
	                                      { "rlnDoOnlyFlipCtfPhases", "0" },
	                                      { "rlnRefsAreCtfCorrected", "1" },
	                                      { "rlnFixSigmaNoiseEstimates", "0" },
	                                      { "rlnFixSigmaOffsetEstimates", "0" },
	                                      { "rlnMaxNumberOfPooledParticles", "3" },
	                                      { "rlnOffsetRangeX", "-1" },
	                                      { "rlnOffsetRangeY", "-1" },
	                                      { "rlnOffsetRangeZ", "-1" } };

/* Of this refinement, where the table of labels has no entry as nothing here reads them. */
static cyc_status add_numbers(cyc_star_block *b, const cyc_refine3d_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_refine3d_state *t = &j->state;
	const struct {
		const char *label;
		double value;
	} NUMBERS[] = {
		{ "rlnIncrementImageSize", 10 },
		{ "rlnSmallestChangesOrientations", cyc_rad_to_deg(t->change_rotation_rad) },
		{ "rlnSmallestChangesOffsets", t->change_offset_A },
		{ "rlnDoCorrectScale", j->o->no_scale ? 0 : 1 },
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
	CYC_TRY(cyc_star_ensure_column(&column, b, "rlnOrientationDistribution", "0"));
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

/* A stick along each direction that particles are seen from, as long and red as there are many. */
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

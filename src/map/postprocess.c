#include "postprocess_internal.h"

#include "cyclotomo/survey.h"
#include "project/labels.h"

#include <string.h>

/* A map is not sharpened, or blurred, by more. */
static const double MOST_BFACTOR_A2 = 1e5;

void cyc_postprocess_options_default(cyc_postprocess_options *o)
{
	*o = (cyc_postprocess_options){ .root = "", .n_threads = 1 };
	cyc_options_set_defaults(o, &cyc_postprocess_table);
}

void cyc_postprocess_result_deinit(cyc_postprocess_result *r)
{
	cyc_free(r->fsc_corrected);
	cyc_free(r->fsc_unmasked);
	cyc_free(r->fsc_masked);
	cyc_free(r->fsc_randomised);
	cyc_free(r->fsc_judged);
	cyc_free(r->star);
	cyc_free(r->optimisation_set);
	memset(r, 0, sizeof *r);
}

static void postprocess_deinit(cyc__postprocess *p)
{
	cyc_optimisation_set_destroy(&p->set);
	cyc_volume_destroy(&p->mask);
	cyc_fft3_destroy(&p->plan);
	for (int h = 0; h < 2; h++) {
		cyc_free(p->half[h]);
		cyc_free(p->ft[h]);
	}
	cyc_free(p->fsc_unmasked);
	cyc_free(p->fsc_masked);
	cyc_free(p->fsc_randomised);
	cyc_free(p->fsc_corrected);
	cyc_free(p->fsc_judged);
	cyc__sectors_deinit(&p->sectors);
	cyc__sector_sums_deinit(&p->judged);
	for (int i = 0; i < 2; i++) {
		cyc_free(p->amplitude_correlation[i]);
		cyc_free(p->phase_residual_deg[i]);
	}
	cyc__mtf_destroy(&p->mtf);
	cyc_free(p->filter);
	cyc__guinier_destroy(&p->guinier_original);
	cyc__guinier_destroy(&p->guinier_mtf);
	cyc__guinier_destroy(&p->guinier_weighted);
	cyc__guinier_destroy(&p->guinier_sharpened);
}

cyc_status cyc_fsc_read_column(double **out, int32_t *n, const char *path, const char *label)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	cyc_star_block *b = NULL;
	double *v = NULL;
	int32_t column;
	*out = NULL;
	CYC_TRY(cyc_star_read(&s, path));
	CYC_TRY(cyc_star_require(&b, s, "fsc"));
	CYC_TRY(cyc_star_require_column(&column, b, label));
	int64_t n_rows = cyc_star_n_rows(b);
	CYC_TRY(cyc_alloc(&v, n_rows, sizeof *v));
	for (int64_t i = 0; i < n_rows; i++) CYC_TRY(cyc_star_double(&v[i], b, i, column));
	*n = (int32_t)n_rows;
	*out = v;
	v = NULL;
done:
	cyc_star_destroy(&s);
	cyc_free(v);
	return st;
}

/* ---------------------------------------------------------------- inputs */

static cyc_status check_options(const cyc_postprocess_options *o)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_options_check(o, &cyc_postprocess_table));
	CYC_CHECK(o->half1 || o->optimisation_set, CYC_E_USAGE,
	          "the input is missing: give a half map with --i or an optimisation set with --ios");
	CYC_CHECK(o->out_root && o->out_root[0], CYC_E_USAGE, "the root name of the outputs is missing: --o");
	CYC_CHECK(o->randomised_fsc || o->n_random_draws > 0, CYC_E_USAGE,
	          "at least one set of random phases is needed (--random-draws), got %d", o->n_random_draws);
	CYC_CHECK(o->has_bfactor || o->bfactor_low_A > o->bfactor_high_A, CYC_E_USAGE,
	          "the fit of the B-factor must run from a low to a high resolution, got %g to %g Å",
	          o->bfactor_low_A, o->bfactor_high_A);
	CYC_CHECK(!o->compare_to || !o->amplitude_correlation, CYC_E_USAGE,
	          "--compare-to cannot be used with --amplitude-correlation");
	if (o->local_resolution) {
		CYC_CHECK(o->locres_sampling_A > 0.0, CYC_E_USAGE,
		          "the sampling of the local resolution must be positive, got %g Å", o->locres_sampling_A);
		CYC_CHECK(
			fabs(o->locres_sampling_A) <= 1e5 && fabs(o->locres_mask_radius_A) <= 1e5 &&
				fabs(o->locres_edge_A) <= 1e5,
			CYC_E_USAGE,
			"spheres of local resolution (sampling, radius, edge) are larger than any map: %g, %g, %g Å",
			o->locres_sampling_A, o->locres_mask_radius_A, o->locres_edge_A);
		CYC_CHECK(o->locres_randomise_at_A > 0.0 && o->locres_min_A > 0.0, CYC_E_USAGE,
		          "resolutions must be positive, got %g and %g Å", o->locres_randomise_at_A, o->locres_min_A);
	}
done:
	return st;
}

cyc_status cyc__other_half(char **out, const char *name)
{
	cyc_status st = CYC_OK;
	const char *slash = strrchr(name, '/'), *found = NULL;
	for (const char *c = slash ? slash + 1 : name; (c = strstr(c, "half")) != NULL; c++)
		if (c[4] == '1' || c[4] == '2') found = c;
	if (!found) {
		st = cyc_error_raise(
			CYC_E_USAGE, __FILE__, __LINE__, __func__,
			"the second half map cannot be found: the file name of '%s' contains neither 'half1' nor 'half2'",
			name);
		cyc_error_hint("name it with --i2");
		goto done;
	}
	CYC_TRY(cyc_strdup(out, name));
	(*out)[found - name + 4] = found[4] == '1' ? '2' : '1';
done:
	return st;
}

static cyc_status find_halves(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	const cyc_postprocess_options *o = p->o;
	const char *half1 = o->half1, *half2 = o->half2;
	char *path = NULL;
	if (o->optimisation_set) {
		CYC_TRY(cyc_path_join(&path, o->root, o->optimisation_set));
		CYC_TRY(cyc_optimisation_set_read(&p->set, path));
		if (!half1) {
			half1 = p->set->reference_map1;
			if (!half2) half2 = p->set->reference_map2;
			CYC_CHECK(half1, CYC_E_DATA, "'%s' names no half maps (%s): name one with --i", path,
			          CYC_RLN_TOMO_REFERENCE_MAP1_FILE);
		}
	}
	CYC_TRY(cyc_strdup(&p->half[0], half1));
	if (half2) CYC_TRY(cyc_strdup(&p->half[1], half2));
	else CYC_TRY(cyc__other_half(&p->half[1], half1));
	CYC_CHECK(strcmp(p->half[0], p->half[1]) != 0, CYC_E_USAGE,
	          "both half maps are '%s': a map correlates perfectly with itself", p->half[0]);
done:
	cyc_free(path);
	return st;
}

/* All headers before any data, so that a mistake costs no time. */
static cyc_status check_headers(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	const char *name[3] = { p->half[0], p->half[1], p->o->mask },
			   *what[3] = { "half map 1", "half map 2", "mask" };
	cyc_mrc_info info[3];
	char *path = NULL;
	for (int i = 0; i < 3 && name[i]; i++) {
		cyc_free(path);
		CYC_TRY(cyc_path_join(&path, p->o->root, name[i]));
		CYC_TRY_CTX(cyc_mrc_read_info(&info[i], path), "%s", what[i]);
		bool same = info[i].nx == info[0].nx && info[i].ny == info[0].ny && info[i].nz == info[0].nz;
		if (!same) {
			st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
			                     "%s '%s' has %d x %d x %d voxels, half map 1 '%s' %d x %d x %d", what[i],
			                     name[i], info[i].nx, info[i].ny, info[i].nz, name[0], info[0].nx, info[0].ny,
			                     info[0].nz);
			if (i == 2) cyc_error_hint("make one that fits: cyclotomo mask --i '%s' --o mask.mrc", name[0]);
			else cyc_error_hint("both half maps must come from one reconstruction");
			goto done;
		}
		double a = info[i].pixel_size_A, b = info[0].pixel_size_A;
		if (p->o->pixel_size_A > 0.0 || fabs(a - b) <= 1e-3 * b) continue;
		if (i == 1) {
			st = cyc_error_raise(CYC_E_SHAPE, __FILE__, __LINE__, __func__,
			                     "pixel sizes differ: half map 1 '%s' %.4f Å, half map 2 '%s' %.4f Å",
			                     name[0], b, name[1], a);
			cyc_error_hint("if one header is wrong, give the right pixel size with --pixel-size");
			goto done;
		}
		cyc_warn("the header of the mask '%s' gives a pixel size of %.4f Å, that of the maps %.4f Å: the "
		         "mask is used voxel by voxel",
		         name[2], a, b);
	}
done:
	cyc_free(path);
	return st;
}

static cyc_status read_mask(cyc__postprocess *p)
{
	const double TOLERANCE = 1e-4; /* that of all jobs */
	cyc_status st = CYC_OK;
	size_t n_inside = 0, n = (size_t)p->n;
	CYC_TRY(cyc__read_map(&p->mask, p->o->root, p->o->mask, p->pixel_size_A, "mask", p->o->n_threads));
	CYC_CHECK(p->mask->nx == p->n, CYC_E_SHAPE, "mask '%s' has a box of %d, the half maps of %d", p->o->mask,
	          p->mask->nx, p->n);
	size_t count = cyc_volume_count(p->mask);
	for (size_t i = 0; i < count; i++) {
		double v = (double)p->mask->data[i];
		if (v < -TOLERANCE || v > 1.0 + TOLERANCE) {
			st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__,
			                     "mask '%s' must lie between 0 and 1, but voxel %zu, %zu, %zu is %g",
			                     p->o->mask, i % n, i / n % n, i / n / n, v);
			cyc_error_hint("make a mask of a map with: cyclotomo mask --i '%s' --o mask.mrc", p->half[0]);
			goto done;
		}
		n_inside += v > 0.5;
	}
	CYC_CHECK(n_inside > 0, CYC_E_DATA, "mask '%s' is empty: no voxel is above 0.5", p->o->mask);
	CYC_CHECK(!cyc_mask_is_inverted(p->mask), CYC_E_DATA,
	          "mask '%s' is inverted: it is 1 at the corners of the box and 0 in the centre", p->o->mask);
	CYC_CHECK(cyc_mask_reach_px(p->mask) >= CYC_LEAST_MASK_RADIUS_PX, CYC_E_DATA,
	          "mask '%s' reaches less than %d px from the centre: too small to compare maps in", p->o->mask,
	          CYC_LEAST_MASK_RADIUS_PX);
	p->mask_fraction = (double)n_inside / (double)count;
done:
	return st;
}

static void warn_if_short(const cyc_mtf_file *f, const char *path, double pixel_size_A,
                          double map_pixel_size_A)
{
	double nyquist = 0.5 * pixel_size_A / map_pixel_size_A;
	if (cyc_mtf_file_reaches(f, nyquist)) return;
	cyc_warn("'%s': row %d, the last, is at %.4g 1/px; expected: rows to %.4g 1/px of %.4g Å, where maps of "
	         "%.4g Å per pixel end; its value, %.3g, is used beyond it: give the whole MTF, or the pixel "
	         "size that it refers to (--mtf-pixel-size)",
	         path, f->n, f->inverse_px[f->n - 1], nyquist, pixel_size_A, map_pixel_size_A,
	         f->value[f->n - 1]);
}

static cyc_status read_mtf(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_mtf_file *f = NULL;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, p->o->root, p->o->mtf));
	CYC_TRY(cyc_mtf_file_read(&f, path));
	double pixel_size_A = p->o->mtf_pixel_size_A > 0.0 ? p->o->mtf_pixel_size_A : p->pixel_size_A;
	CYC_TRY_CTX(cyc__mtf_create(&p->mtf, f->inverse_px, f->value, f->n, pixel_size_A), "%s", path);
	warn_if_short(f, path, pixel_size_A, p->pixel_size_A);
done:
	cyc_mtf_file_destroy(&f);
	cyc_free(path);
	return st;
}

/* The MTF with pixels of this size can be used. */
static cyc_status check_mtf(const cyc_postprocess_options *o, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	cyc__postprocess p = { .o = o, .pixel_size_A = pixel_size_A };
	if (o->mtf) CYC_TRY(read_mtf(&p));
done:
	cyc__mtf_destroy(&p.mtf);
	return st;
}

static cyc_status check_lowpass(const cyc_postprocess_options *o, int32_t n, double pixel_size_A)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(o->lowpass_A <= n * pixel_size_A, CYC_E_USAGE,
	          "a low-pass filter of %g Å (--lowpass) leaves nothing in a box of %g Å", o->lowpass_A,
	          n * pixel_size_A);
done:
	return st;
}

cyc_status cyc_postprocess_check(const cyc_postprocess_options *o, const cyc_project_view *p)
{
	cyc_status st = CYC_OK;
	cyc_symmetry *symmetry = NULL;
	char *dir = NULL;
	CYC_TRY(check_options(o));
	CYC_CHECK(fabs(o->adhoc_bfactor_A2) <= MOST_BFACTOR_A2, CYC_E_USAGE,
	          "a B-factor is between -%g and %g Å², got %g", MOST_BFACTOR_A2, MOST_BFACTOR_A2,
	          o->adhoc_bfactor_A2);
	CYC_TRY(cyc_symmetry_create(&symmetry, o->symmetry && o->symmetry[0] ? o->symmetry : "C1"));
	CYC_TRY(cyc_path_dir(&dir, o->out_root));
	CYC_TRY(cyc_check_output(o->root, dir, 0));
	if (!p || p->map_px <= 0) goto done;
	double pixel_size_A = o->pixel_size_A > 0 ? o->pixel_size_A : p->map_pixel_size_A;
	CYC_TRY(check_mtf(o, pixel_size_A));
	CYC_TRY(cyc_check_mask(o->root, o->mask, "--mask", p->map_px, 0));
	CYC_TRY(check_lowpass(o, p->map_px, pixel_size_A));
	CYC_CHECK(!(o->randomise_at_A > 0) ||
	              (o->randomise_at_A > 2 * pixel_size_A && o->randomise_at_A <= p->map_px * pixel_size_A),
	          CYC_E_USAGE, "phases cannot be randomised from %g Å: the box covers %g to %g Å",
	          o->randomise_at_A, p->map_px * pixel_size_A, 2 * pixel_size_A);
done:
	cyc_symmetry_destroy(&symmetry);
	cyc_free(dir);
	return st;
}

/* ---------------------------------------------------------------- curves */

/* The half map in v and its transform with the same power in all directions. */
static cyc_status flatten(cyc__postprocess *p, cyc_volume *v, cyc_cfloat *ft)
{
	cyc_status st = CYC_OK;
	const cyc_postprocess_options *o = p->o;
	cyc_cfloat *copy = NULL;
	size_t n_half = cyc_half_count3(p->n);
	int32_t from = (int32_t)floor(p->n_shells * p->pixel_size_A / o->bfactor_low_A);
	CYC_CHECK(from >= 1 && from <= p->n / 2, CYC_E_USAGE,
	          "amplitudes cannot be flattened from %g Å on (--bfactor-low): that is shell %d of %d",
	          o->bfactor_low_A, from, p->n / 2);
	CYC_TRY(cyc__flatten_directions(ft, p->n, from, o->n_threads));
	CYC_TRY(cyc_alloc(&copy, n_half, sizeof *copy));
	memcpy(copy, ft, n_half * sizeof *copy);
	CYC_TRY(cyc_fft3_inverse(v->data, p->plan, copy));
done:
	cyc_free(copy);
	return st;
}

static cyc_status amplitude_curves(cyc__postprocess *p, int which, const cyc_cfloat *ft1,
                                   const cyc_cfloat *ft2)
{
	cyc_status st = CYC_OK;
	if (!p->o->amplitude_correlation) return CYC_OK;
	CYC_TRY(cyc_alloc(&p->amplitude_correlation[which], p->n_shells, sizeof(double)));
	CYC_TRY(cyc_alloc(&p->phase_residual_deg[which], p->n_shells, sizeof(double)));
	CYC_TRY(cyc__amplitude_curves(p->amplitude_correlation[which], p->phase_residual_deg[which], ft1, ft2,
	                              p->n, p->o->n_threads));
done:
	return st;
}

/* Of all that both half maps have but their means. Half of the plane x = 0 counts for itself and its mates.
 */
static double correlation(const cyc__postprocess *p)
{
	size_t n_half = cyc_half_count3(p->n), width = (size_t)p->n / 2 + 1;
	double sum[3] = { 0, 0, 0 };
	for (size_t i = 1; i < n_half; i++) {
		double weight = i % width == 0 || i % width == width - 1 ? 1 : 2;
		double a = (double)crealf(p->ft[0][i]), b = (double)cimagf(p->ft[0][i]),
			   c = (double)crealf(p->ft[1][i]), d = (double)cimagf(p->ft[1][i]);
		sum[0] += weight * (a * c + b * d);
		sum[1] += weight * (a * a + b * b);
		sum[2] += weight * (c * c + d * d);
	}
	return sum[1] > 0 && sum[2] > 0 ? sum[0] / sqrt(sum[1] * sum[2]) : 0;
}

/* Resolutions that are none: the first shells, and the last one. */
static void judge_resolution(const cyc__postprocess *p)
{
	double nyquist_A = 2 * p->pixel_size_A, low = 0;
	int32_t n_low = p->n_shells > 5 ? 4 : 1;
	for (int32_t i = 1; i <= n_low; i++) low += p->fsc_unmasked[i] / n_low;
	if (low < -0.5)
		cyc_warn("half map 2 has the opposite contrast of half map 1 (FSC %.2f in the first shells): one of "
		         "them is wrong",
		         low);
	if (p->resolution_shell < 1)
		cyc_warn("the half maps have nothing in common: their FSC is below 0.143 from the first shell on "
		         "(%.2f); no resolution can be given (999 in the files)",
		         p->fsc_corrected[1]);
	else if (p->resolution_shell >= p->n_shells - 1)
		cyc_warn("the FSC does not fall below 0.143 up to Nyquist, %.3f Å: the pixel size limits the "
		         "resolution, the half maps are not independent, or the mask is too tight",
		         nyquist_A);
}

/* Maps are allocated and freed one by one: at most six n^3 arrays exist at a time. */
static cyc_status read_and_correlate(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	cyc_cfloat *masked[2] = { NULL, NULL };
	const char *what[2] = { "half map 1", "half map 2" };
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc__read_map(&v, p->o->root, p->half[h], p->o->pixel_size_A, what[h], p->o->n_threads));
		if (h == 0) {
			p->n = v->nx;
			p->n_shells = cyc__n_shells(v->nx);
			p->pixel_size_A = v->pixel_size_A;
			CYC_TRY(cyc_fft3_create(&p->plan, p->n, p->o->n_threads));
			if (p->o->mask) CYC_TRY(read_mask(p));
		}
		CYC_CHECK(v->nx == p->n, CYC_E_SHAPE, "the half maps have boxes of %d and %d", p->n, v->nx);
		CYC_TRY(cyc_half_map_check(v, what[h], p->half[h]));
		CYC_TRY(cyc_alloc(&p->ft[h], cyc_half_count3(p->n), sizeof(cyc_cfloat)));
		CYC_TRY(cyc_fft3_forward(p->ft[h], p->plan, v->data));
		if (p->o->amplitude_correlation) CYC_TRY(flatten(p, v, p->ft[h]));
		if (p->mask) {
			size_t count = cyc_volume_count(v);
			for (size_t i = 0; i < count; i++) v->data[i] *= p->mask->data[i];
			CYC_TRY_CTX(cyc_half_map_check(v, what[h], p->half[h]), "under the mask '%s'", p->o->mask);
			CYC_TRY(cyc_alloc(&masked[h], cyc_half_count3(p->n), sizeof(cyc_cfloat)));
			CYC_TRY(cyc_fft3_forward(masked[h], p->plan, v->data));
		}
		cyc_volume_destroy(&v);
	}
	CYC_TRY(cyc_half_maps_differ(correlation(p), p->half[0], p->half[1]));
	CYC_TRY(cyc_alloc(&p->fsc_unmasked, p->n_shells, sizeof(double)));
	CYC_TRY(cyc__fsc_compute_threads(p->fsc_unmasked, p->ft[0], p->ft[1], p->n, p->o->n_threads));
	CYC_TRY(amplitude_curves(p, 0, p->ft[0], p->ft[1]));
	CYC_TRY(cyc__sectors_init(&p->sectors, p->o->symmetry));
	if (p->o->compare_to) {
		CYC_TRY(cyc__sector_sums_init(&p->judged, &p->sectors, p->mask ? masked[0] : p->ft[0],
		                              p->mask ? masked[1] : p->ft[1], p->n, 0, p->o->n_threads));
	}
	if (p->mask) {
		CYC_TRY(cyc_alloc(&p->fsc_masked, p->n_shells, sizeof(double)));
		CYC_TRY(cyc__fsc_compute_threads(p->fsc_masked, masked[0], masked[1], p->n, p->o->n_threads));
		CYC_TRY(amplitude_curves(p, 1, masked[0], masked[1]));
	}
	CYC_TRY(cyc__test_independence(p, masked));
done:
	cyc_volume_destroy(&v);
	cyc_free(masked[0]);
	cyc_free(masked[1]);
	return st;
}

static cyc_status choose_randomise_from(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	const cyc_postprocess_options *o = p->o;
	if (o->randomise_at_A > 0.0) {
		p->randomise_from = (int32_t)floor(p->n * p->pixel_size_A / o->randomise_at_A);
		CYC_CHECK(p->randomise_from > 0 && p->randomise_from < p->n_shells, CYC_E_USAGE,
		          "phases cannot be randomised from %g Å: the box covers %g to %g Å", o->randomise_at_A,
		          p->n * p->pixel_size_A, 2.0 * p->pixel_size_A);
		return CYC_OK;
	}
	p->randomise_from = cyc_fsc_randomise_from(p->fsc_unmasked, p->n_shells, o->randomise_at_fsc);
	if (p->randomise_from < 0) {
		p->randomise_from = p->n_shells - 1;
		cyc_warn("the unmasked FSC never falls below %g, so it cannot be corrected for the mask; the pixel "
		         "size may limit the resolution, or the half maps are not independent",
		         o->randomise_at_fsc);
	}
done:
	return st;
}

static cyc_status randomised_curve(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	const cyc_postprocess_options *o = p->o;
	CYC_TRY(cyc_alloc(&p->fsc_randomised, p->n_shells, sizeof(double)));
	if (o->randomised_fsc) {
		CYC_CHECK(o->n_randomised_fsc == p->n_shells, CYC_E_SHAPE,
		          "the given phase-randomised FSC has %d shells, maps of a box of %d have %d",
		          o->n_randomised_fsc, p->n, p->n_shells);
		memcpy(p->fsc_randomised, o->randomised_fsc, (size_t)p->n_shells * sizeof(double));
	} else {
		cyc__random_fsc_input in = { { p->ft[0], p->ft[1] }, p->mask->data, p->n, p->randomise_from, o->seed,
			                         o->n_random_draws,      o->n_threads };
		CYC_TRY(cyc__random_fsc(p->fsc_randomised, &in));
	}
done:
	return st;
}

static cyc_status corrected_curve(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_alloc(&p->fsc_corrected, p->n_shells, sizeof(double)));
	CYC_TRY(cyc_alloc(&p->fsc_judged, p->n_shells, sizeof(double)));
	double *curves[3] = { p->fsc_unmasked, p->fsc_masked, p->fsc_randomised };
	int32_t unmasked_shell = cyc_fsc_resolution_shell(p->fsc_unmasked, p->n_shells);
	/* The mean of the maps may be of any sign, or exactly zero: shell 0 says nothing. */
	for (int i = 0; i < 3; i++)
		if (curves[i] && curves[i][0] <= 0.0) curves[i][0] = 1.0;
	if (!p->mask) {
		memcpy(p->fsc_corrected, p->fsc_unmasked, (size_t)p->n_shells * sizeof(double));
		memcpy(p->fsc_judged, p->fsc_unmasked, (size_t)p->n_shells * sizeof(double));
		p->resolution_shell = unmasked_shell;
		return CYC_OK;
	}
	cyc_fsc_correct(p->fsc_corrected, p->fsc_masked, p->fsc_randomised, p->n_shells, p->randomise_from);
	memcpy(p->fsc_judged, p->fsc_corrected, (size_t)p->n_shells * sizeof(double));
	p->resolution_shell = cyc_fsc_resolution_shell(p->fsc_corrected, p->n_shells);
	if (unmasked_shell > p->resolution_shell && !p->o->force_mask) {
		cyc_warn("without the mask the resolution is better (%.2f Å, with it %.2f Å): the unmasked FSC is "
		         "used; check the mask, or use --force-mask",
		         cyc__shell_resolution_A(unmasked_shell, p->n, p->pixel_size_A),
		         cyc__shell_resolution_A(p->resolution_shell, p->n, p->pixel_size_A));
		memcpy(p->fsc_corrected, p->fsc_unmasked, (size_t)p->n_shells * sizeof(double));
		p->resolution_shell = unmasked_shell;
		p->used_unmasked = true;
	}
	if (p->fsc_randomised[p->resolution_shell] > 0.1)
		cyc_warn("the phase-randomised FSC is still %.2f at the final resolution: the mask is too tight or "
		         "its edge too sharp; make a softer one with cyclotomo mask --soft-edge",
		         p->fsc_randomised[p->resolution_shell]);
done:
	return st;
}

/* ---------------------------------------------------------------- sharpening */

/* Every step is a factor in the radial table, and every Guinier curve follows from it and the average's
 * amplitudes. */
static cyc_status make_filter(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	const cyc_postprocess_options *o = p->o;
	cyc_cfloat *average = NULL;
	double *amplitude = NULL;
	int64_t *count = NULL;
	size_t n_radial = cyc__n_radial(p->n), n_half = cyc_half_count3(p->n);
	float scale = (float)(0.5 / cyc_square(p->n) / p->n);
	CYC_TRY(cyc_alloc(&average, n_half, sizeof *average));
	for (size_t i = 0; i < n_half; i++) average[i] = (p->ft[0][i] + p->ft[1][i]) * scale;
	CYC_TRY(cyc_alloc(&amplitude, n_radial, sizeof *amplitude));
	CYC_TRY(cyc_alloc(&count, n_radial, sizeof *count));
	CYC_TRY(cyc__radial_amplitudes(amplitude, count, average, p->n, o->n_threads));
	CYC_TRY(cyc_alloc(&p->filter, n_radial, sizeof *p->filter));
	for (size_t i = 0; i < n_radial; i++) p->filter[i] = 1.0;
#define GUINIER(which)                                                                                       \
	cyc__guinier_create(&p->which, amplitude, count, p->filter, p->n, p->pixel_size_A, o->bfactor_low_A,     \
	                    o->bfactor_high_A)
	CYC_TRY(GUINIER(guinier_original));
	if (p->mtf) {
		CYC_TRY_CTX(cyc__filter_mtf(p->filter, p->n, p->pixel_size_A, p->mtf), "%s", o->mtf);
		CYC_TRY(GUINIER(guinier_mtf));
	}
	if (!o->skip_fsc_weighting) {
		cyc__filter_fsc_weight(p->filter, p->n, p->fsc_corrected);
		CYC_TRY(GUINIER(guinier_weighted));
	}
	p->bfactor_A2 = o->adhoc_bfactor_A2;
	if (!o->has_bfactor) {
		p->fit = cyc__guinier_fit(p->guinier_weighted ? p->guinier_weighted
		                          : p->guinier_mtf    ? p->guinier_mtf
		                                              : p->guinier_original);
		p->bfactor_A2 = 4.0 * p->fit.slope_A2;
		if (p->fit.n_points < 3)
			cyc_warn(
				"too few shells (%d) lie between %g Å and the resolution limit: no B-factor can be fitted, "
				"and the map is not sharpened; give one with --adhoc-bfactor",
				p->fit.n_points, o->bfactor_low_A);
	}
	if (fabs(p->bfactor_A2) > 0.0) {
		cyc__filter_bfactor(p->filter, p->n, p->pixel_size_A, p->bfactor_A2);
		CYC_TRY(GUINIER(guinier_sharpened));
	}
#undef GUINIER
	CYC_TRY(check_lowpass(o, p->n, p->pixel_size_A));
	double lowpass_A = o->lowpass_A < 0.0
	                       ? cyc__shell_resolution_A(p->resolution_shell, p->n, p->pixel_size_A)
	                       : o->lowpass_A;
	if (lowpass_A > 0.0) cyc__filter_lowpass(p->filter, p->n, p->pixel_size_A, lowpass_A, o->filter_edge_px);
done:
	cyc_free(average);
	cyc_free(amplitude);
	cyc_free(count);
	return st;
}

double cyc__fsc_of_particle(double fsc_unmasked, double fraction)
{
	double below = 1.0 + (fraction - 1.0) * fsc_unmasked;
	return below > 0.0 ? fraction * fsc_unmasked / below : 0.0;
}

double cyc__molecular_weight_fraction(double weight_kDa, int32_t n, double pixel_size_A)
{
	const double DALTON_PER_A3 = 0.81, SPHERE_IN_BOX = 0.476;
	double volume_A3 = pow(n * pixel_size_A, 3.0);
	return SPHERE_IN_BOX * volume_A3 * DALTON_PER_A3 / (1000.0 * weight_kDa);
}

/* ---------------------------------------------------------------- driver */

double cyc__mean_fsc(const double *fsc, int32_t n_shells)
{
	double sum = 0.0;
	/* Shell 0 is the mean density: no evidence of detail. */
	for (int32_t i = 1; i < n_shells; i++) sum += fsc[i];
	return sum / (n_shells - 1);
}

static void fill_result(cyc_postprocess_result *r, cyc__postprocess *p)
{
	r->mean_fsc = cyc__mean_fsc(p->fsc_judged, p->n_shells);
	r->used_unmasked = p->used_unmasked;
	r->difference = p->difference;
	r->difference_error = p->difference_error;
	r->edge_fsc = p->edge_fsc;
	r->edge_fsc_error = p->edge_fsc_error;
	r->edge_fsc_outside = p->edge_fsc_outside;
	r->edge_fsc_outside_error = p->edge_fsc_outside_error;
	r->n_edge_shells = p->n_edge_shells;
	r->are_halves_suspect = p->are_halves_suspect;
	r->fsc_judged = p->fsc_judged;
	p->fsc_judged = NULL;
	r->final_resolution_A = cyc__shell_resolution_A(p->resolution_shell, p->n, p->pixel_size_A);
	r->bfactor_A2 = p->bfactor_A2;
	r->randomise_from_A = p->mask ? cyc__shell_resolution_A(p->randomise_from, p->n, p->pixel_size_A) : 0.0;
	r->n_shells = p->n_shells;
	r->fsc_corrected = p->fsc_corrected;
	r->fsc_unmasked = p->fsc_unmasked;
	r->fsc_masked = p->fsc_masked;
	r->fsc_randomised = p->fsc_randomised;
	p->fsc_corrected = p->fsc_unmasked = p->fsc_masked = p->fsc_randomised = NULL;
}

/* What can be said without reading the maps. */
static cyc_status plan(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_mrc_info info;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, p->o->root, p->half[0]));
	CYC_TRY(cyc_mrc_read_info(&info, path));
	p->pixel_size_A = p->o->pixel_size_A > 0.0 ? p->o->pixel_size_A : info.pixel_size_A;
	CYC_TRY(cyc_memory_require(cyc_postprocess_memory_bytes(p->o, info.nx, p->pixel_size_A), p->o->n_threads,
	                           "use half maps of a smaller box, fewer threads (--j), or a coarser local "
	                           "resolution (--locres-sampling)"));
	if (!p->o->dry_run) goto done;
	if (p->o->mtf) CYC_TRY(read_mtf(p));
	cyc_info("half maps %s and %s, %d px of %.4f Å, %s%s: results in %s.star and files of the same root name",
	         p->half[0], p->half[1], info.nx, p->pixel_size_A, p->o->mask ? "mask " : "no mask",
	         p->o->mask ? p->o->mask : "", p->o->out_root);
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_postprocess_run(cyc_postprocess_result *result, const cyc_postprocess_options *options)
{
	cyc_status st = CYC_OK;
	cyc__postprocess p = { .o = options, .difference = CYC_NAN, .difference_error = CYC_NAN };
	cyc_postprocess_result r = { 0 };
	CYC_TRY(cyc_postprocess_check(options, NULL));
	CYC_TRY(cyc_postprocess_spare_inputs(options));
	CYC_TRY(find_halves(&p));
	CYC_TRY(check_headers(&p));
	CYC_TRY(plan(&p));
	if (options->dry_run) {
		*result = r;
		goto done;
	}
	CYC_TRY(read_and_correlate(&p));
	if (options->mtf) CYC_TRY(read_mtf(&p));
	CYC_TRY(cyc_cancel_check());
	if (p.mask) {
		CYC_TRY(choose_randomise_from(&p));
		CYC_TRY(randomised_curve(&p));
	}
	CYC_TRY(corrected_curve(&p));
	judge_resolution(&p);
	if (options->compare_to) CYC_TRY(cyc__compare_states(&p));
	CYC_TRY(make_filter(&p));
	CYC_TRY(cyc_cancel_check());
	if (options->local_resolution) CYC_TRY(cyc__local_resolution_run(&p));
	CYC_TRY(cyc__postprocess_write(&r.star, &r.optimisation_set, &p));
	fill_result(&r, &p);
	*result = r;
	memset(&r, 0, sizeof r);
done:
	cyc_postprocess_result_deinit(&r);
	postprocess_deinit(&p);
	return st;
}

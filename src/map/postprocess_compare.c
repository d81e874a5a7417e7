/* Whether another state of the same particles is better or worse, and whether the half maps are independent
 * at all. */
#include "postprocess_internal.h"
#include "project/labels.h"

#include <string.h>

/* ---------------------------------------------------------------- another state */

static cyc_status read_other(cyc_cfloat *ft[2], const cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *set = NULL;
	cyc_volume *v = NULL;
	char *path = NULL;
	CYC_TRY(cyc_path_join(&path, p->o->root, p->o->compare_to));
	CYC_TRY(cyc_optimisation_set_read(&set, path));
	const char *const maps[2] = { set->reference_map1, set->reference_map2 };
	CYC_CHECK(maps[0] && maps[1], CYC_E_DATA, "'%s' names no half maps (%s) to compare with", path,
	          CYC_RLN_TOMO_REFERENCE_MAP1_FILE);
	for (int h = 0; h < 2; h++) {
		CYC_TRY(cyc__read_map(&v, p->o->root, maps[h], p->o->pixel_size_A, "half map to compare with",
		                      p->o->n_threads));
		CYC_CHECK(v->nx == p->n, CYC_E_SHAPE,
		          "the half map '%s' to compare with has a box of %d, these of %d", maps[h], v->nx, p->n);
		size_t count = cyc_volume_count(v);
		for (size_t i = 0; p->mask && i < count; i++) v->data[i] *= p->mask->data[i];
		CYC_TRY(cyc_alloc(&ft[h], cyc_half_count3(p->n), sizeof *ft[h]));
		CYC_TRY(cyc_fft3_forward(ft[h], p->plan, v->data));
		cyc_volume_destroy(&v);
	}
done:
	cyc_optimisation_set_destroy(&set);
	cyc_volume_destroy(&v);
	cyc_free(path);
	return st;
}

/* Of the sphere that is as large as the mask; maps without mask end at the edge of the box. */
static double diameter_px(const cyc__postprocess *p)
{
	return p->mask ? p->n * cbrt(6.0 * p->mask_fraction / CYC_PI) : p->n;
}

/* Mean corrected FSC with one sector left out (-1: none). */
static double mean_without(double *work, const cyc__postprocess *p, const cyc__sector_sums *s,
                           int32_t without)
{
	double *corrected = work + p->n_shells;
	cyc__sector_fsc(work, s, without);
	if (!p->mask) return cyc__mean_fsc(work, p->n_shells);
	cyc_fsc_correct(corrected, work, p->fsc_randomised, p->n_shells, p->randomise_from);
	return cyc__mean_fsc(corrected, p->n_shells);
}

/*
 * The correction for the mask is that of this state for both: what random phases give belongs to the mask and
 * to the noise, which both share, and a second curve, from another shell on, would add its own scatter to a
 * small difference.
 */
cyc_status cyc__compare_states(cyc__postprocess *p)
{
	cyc_status st = CYC_OK;
	cyc_cfloat *ft[2] = { NULL, NULL };
	cyc__sector_sums other = { 0 };
	double *work = NULL, *left_out = NULL;
	int32_t K = p->sectors.n_sectors;
	CYC_TRY(read_other(ft, p));
	CYC_TRY(cyc__sector_sums_init(&other, &p->sectors, ft[0], ft[1], p->n, 0, p->o->n_threads));
	CYC_TRY(cyc_alloc(&work, 2 * (size_t)p->n_shells, sizeof *work));
	CYC_TRY(cyc_alloc(&left_out, K, sizeof *left_out));
	for (int32_t g = 0; g < K; g++)
		left_out[g] = mean_without(work, p, &p->judged, g) - mean_without(work, p, &other, g);
	p->difference = mean_without(work, p, &p->judged, -1) - mean_without(work, p, &other, -1);
	/* A curve that falls at once from 1 to 0 falls at this shell. */
	double falls_at = cyc__mean_fsc(p->fsc_judged, p->n_shells) * (p->n_shells - 1);
	p->difference_error = cyc__sector_error(left_out, &p->sectors, falls_at, diameter_px(p), p->n);
done:
	cyc_free(ft[0]);
	cyc_free(ft[1]);
	cyc__sector_sums_deinit(&other);
	cyc_free(work);
	cyc_free(left_out);
	return st;
}

/* ---------------------------------------------------------------- independence */

/* Mean FSC of the last shells, with its standard error. */
static cyc_status edge_mean(double *mean, double *error, const cyc__postprocess *p, const cyc_cfloat *ft1,
                            const cyc_cfloat *ft2)
{
	cyc_status st = CYC_OK;
	cyc__sector_sums s = { 0 };
	double *fsc = NULL, *left_out = NULL;
	int32_t K = p->sectors.n_sectors, first = p->n_shells - p->n_edge_shells;
	CYC_TRY(cyc__sector_sums_init(&s, &p->sectors, ft1, ft2, p->n, first, p->o->n_threads));
	CYC_TRY(cyc_alloc(&fsc, p->n_shells, sizeof *fsc));
	CYC_TRY(cyc_alloc(&left_out, (size_t)K + 1, sizeof *left_out));
	for (int32_t g = 0; g <= K; g++) {
		cyc__sector_fsc(fsc, &s, g < K ? g : -1);
		for (int32_t i = first; i < p->n_shells; i++) left_out[g] += fsc[i] / p->n_edge_shells;
	}
	*mean = left_out[K];
	*error = cyc__sector_error(left_out, &p->sectors, first, p->n, p->n);
done:
	cyc__sector_sums_deinit(&s);
	cyc_free(fsc);
	cyc_free(left_out);
	return st;
}

cyc_status cyc__test_independence(cyc__postprocess *p, cyc_cfloat *const masked[2])
{
	/* By chance once in 1,700 maps: Student, with as many degrees of freedom as sectors but one. */
	const double SIGMAS = 4.0, FALL_SIGMAS = 5.0;
	cyc_status st = CYC_OK;
	p->n_edge_shells = p->n / 16 > 6 ? p->n / 16 : 6;
	if (p->n_edge_shells > p->n_shells - 1) p->n_edge_shells = p->n_shells - 1;
	p->edge_fsc_outside = p->edge_fsc_outside_error = CYC_NAN;
	CYC_TRY(edge_mean(&p->edge_fsc, &p->edge_fsc_error, p, p->ft[0], p->ft[1]));
	p->are_halves_suspect = p->edge_fsc > SIGMAS * p->edge_fsc_error;
	if (!p->mask) {
		/* A signal may reach Nyquist, but it falls; what half maps share does not. */
		double before = 0.0;
		int32_t end = p->n_shells - p->n_edge_shells;
		for (int32_t i = end - p->n_edge_shells; i < end; i++)
			before += i > 0 ? p->fsc_unmasked[i] / p->n_edge_shells : 0.0;
		p->are_halves_suspect =
			p->are_halves_suspect && before - p->edge_fsc < FALL_SIGMAS * p->edge_fsc_error;
	} else {
		size_t count = cyc_half_count3(p->n);
		/* A mask and its complement make the whole map, and so do their transforms. */
		for (int h = 0; h < 2; h++) {
			for (size_t i = 0; i < count; i++) masked[h][i] = p->ft[h][i] - masked[h][i];
		}
		CYC_TRY(edge_mean(&p->edge_fsc_outside, &p->edge_fsc_outside_error, p, masked[0], masked[1]));
		p->are_halves_suspect =
			p->are_halves_suspect && p->edge_fsc_outside > SIGMAS * p->edge_fsc_outside_error;
	}
	if (p->are_halves_suspect) {
		cyc_warn("the half maps are not independent: in the last %d shells, beyond the signal, they "
		         "correlate by %.3f with a standard error of %.3f; FSC and resolution are too good. Check "
		         "for particles in both half-sets (cyclotomo separate), or shared images",
		         p->n_edge_shells, p->edge_fsc, p->edge_fsc_error);
	}
done:
	return st;
}

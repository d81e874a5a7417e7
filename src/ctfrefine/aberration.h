/**
 * @file aberration.h
 * Even and odd aberrations of optics groups, from the same sums as defocus and scale:
 * docs/theory/04-ctf-refinement.md, (T4.15) to (T4.20).
 *
 * The phase of a group is a sum of the powers b_i = (|k|/k_max)^n cos or sin(m t) with coefficients in rad at
 * k_max, the highest frequency used; orders n even: added to gamma, odd: a phase factor. All are increments
 * to the values of the particle file, which are already in the tables of the CTF.
 */
#ifndef CYC_ABERRATION_H
#define CYC_ABERRATION_H

#include "ctfrefine/estimate.h"

enum { CYC_EVEN, CYC_ODD, CYC_N_PARITIES };
enum { CYC_MAX_TERMS = 25 }; /**< even terms up to order 8, or odd ones up to 7 (20) */

/** Powers up to order n_max on the support, in the order of Zernike's list. */
typedef struct {
	int32_t n, n_low; /**< terms; the first n_low are what a tilt's defocus, astigmatism or shift can do too,
	                     or a constant */
	int32_t order[CYC_MAX_TERMS];
	double k_max_invA;
	float *value; /**< n x support n */
} cyc_power_basis;

/** Quadratic model of a log-likelihood: gradient and (expected) curvature of its negative. */
typedef struct {
	double g[CYC_MAX_TERMS], H[CYC_MAX_TERMS][CYC_MAX_TERMS];
} cyc_quadratic;

typedef struct {
	bool is_learned;                             /**< theta is final but for the last step */
	bool is_rejected[CYC_N_PARITIES];            /**< not confirmed by the other half-set: theta is 0 */
	double theta[CYC_N_PARITIES][CYC_MAX_TERMS]; /**< coefficients [rad at k_max] */
	float *turn; /**< 4 x support n: cos, sin of the even phase, cos, sin of the odd phase */
} cyc_group_aberration;

typedef struct {
	const cyc_ctf_model *model;
	bool is_asked[CYC_N_PARITIES];
	bool tilts_have_defocus; /**< defoci are refined too: orders 2 belong to them, and are left out here */
	cyc_power_basis basis[CYC_N_PARITIES]; /**< n = 0 if not asked for */
	int32_t n_groups;
	cyc_group_aberration *groups;
	double defocus_unit; /**< rad at k_max per Å of defocus */
	double shift_unit;   /**< rad at k_max per Å of shift */
} cyc_aberrations;

/** Evidence of a series about a group, tilts marginalised: models about `theta` for each half-set. (T4.18) */
typedef struct {
	int64_t n_particles[2];
	cyc_quadratic half[2][CYC_N_PARITIES];
	double *picture; /**< 4 x support n: slope and curvature of the even, then of the odd phase; NULL: not
	                    wanted */
} cyc_aberration_evidence;
CYC_MUST_CHECK cyc_status cyc_aberration_evidence_create(cyc_aberration_evidence **out,
                                                         const cyc_aberrations *a, bool has_pictures);
void cyc_aberration_evidence_destroy(cyc_aberration_evidence **e, int32_t n_groups);
/** All zero. */
void cyc_aberration_evidence_clear(cyc_aberration_evidence *e, const cyc_aberrations *a);

/**
 * @param[in] n_even, n_odd  highest orders, 4 .. 8 and 3 .. 7; 0: not asked for
 * @param[in] model          outlives it
 */
CYC_MUST_CHECK cyc_status cyc_aberrations_create(cyc_aberrations **out, const cyc_ctf_model *model,
                                                 double wavelength_A, int32_t n_even, int32_t n_odd,
                                                 bool tilts_have_defocus, int32_t n_groups);
void cyc_aberrations_destroy(cyc_aberrations **a);
/** cos and sin of the groups' phases from theta. Call after each change of it. */
void cyc_aberrations_update(cyc_aberrations *a);
/** Phase of a group at coefficient i of the support [rad]. */
double cyc_aberration_phase(const cyc_aberrations *a, int32_t group, int parity, int32_t i);

/** The tilts' sums from their parts, as if the tables of the CTF contained the aberrations. (T4.15) */
CYC_MUST_CHECK cyc_status cyc_aberrations_apply(cyc_series_sums *const *sums, int32_t n_series,
                                                const cyc_aberrations *a, int n_threads);

/**
 * Evidence of n_series series about all groups, added to evidence[n_groups]: at the groups' theta and the
 * tilts' present fits, with each tilt's defocus, astigmatism and shift free within the widths. (T4.16) to
 * (T4.18)
 */
CYC_MUST_CHECK cyc_status cyc_aberrations_collect(cyc_aberration_evidence *evidence, const cyc_aberrations *a,
                                                  const cyc_series_fit *series,
                                                  const cyc_series_sums *const *sums, int32_t n_series,
                                                  const cyc_ctf_widths *widths, bool do_scale, int n_threads);

/** Newton step of theta of one group and parity from a model about it, with the weak priors. covariance: of
 * theta, or NULL. */
CYC_MUST_CHECK cyc_status cyc_aberration_step(double step[CYC_MAX_TERMS], double (*covariance)[CYC_MAX_TERMS],
                                              const cyc_aberrations *a, int parity, const double *theta,
                                              const cyc_quadratic *model);
/** Terms that a step changes: all but those of the tilts. */
bool cyc_aberration_is_carried(const cyc_aberrations *a, int parity, int32_t term);

/** Outcome of the check on data that were not fitted. */
typedef struct {
	double gain; /**< log-likelihood that each half-set gains by the other's fit, summed over both (T4.19) */
	int32_t n_free; /**< terms that count */
	double chi2;    /**< of these terms, in the basis in which they are independent with unit errors */
} cyc_aberration_check;
/** The fit counts if the gain is more than one unit a term: half-sets of noise lose half of that on average.
 */
static inline bool cyc_aberration_is_confirmed(const cyc_aberration_check *c) { return c->gain > c->n_free; }
CYC_MUST_CHECK cyc_status cyc_aberration_test(cyc_aberration_check *out, const cyc_aberrations *a, int parity,
                                              const double *theta, const cyc_quadratic *first,
                                              const cyc_quadratic *second);

/**
 * Fit the groups that these series have and that are not learned yet, and refit the series' tilts: a start
 * from low to high frequency, then Gauss-Newton steps in turn with the tilts' fits.
 * @param[in,out] series, widths, model  as in cyc_ctf_estimate(), which came before with the same options
 */
CYC_MUST_CHECK cyc_status cyc_aberrations_learn(cyc_aberrations *a, cyc_series_fit *series,
                                                cyc_ctf_widths *widths, cyc_ctf_model *model,
                                                cyc_series_sums *const *sums, int32_t n_series,
                                                const cyc_ctf_estimate_options *options);

/** Slopes and curvatures of the log-likelihood at each coefficient, summed over all tilts, where evidence
 * has pictures: for the figures. */
CYC_MUST_CHECK cyc_status cyc_aberrations_draw(cyc_aberration_evidence *evidence, const cyc_aberrations *a,
                                               const cyc_series_fit *series,
                                               const cyc_series_sums *const *sums, int32_t n_series,
                                               bool do_scale, int n_threads);

#endif

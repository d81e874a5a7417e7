/**
 * @file optics.h
 * Contrast transfer function, exposure damage and aberrations (docs/theory/01-image-formation.md).
 *
 * Spatial frequencies (kx, ky) in 1/Å, image axes. Phases in rad. The image transform is -CTF(k) times the
 * transform of the projected density: particles are dark in raw images, and CTF(0) = +Q0 > 0.
 */
#ifndef CYCLOTOMO_OPTICS_H
#define CYCLOTOMO_OPTICS_H

#include "cyclotomo/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Electron wavelength [Å]: 12.2643247 / sqrt(V (1 + 0.978466e-6 V)), V in volts. (T1.4) */
double cyc_electron_wavelength_A(double voltage_kV);

/** What the phase of one tilt image is made of. Plain values. */
typedef struct {
	double wavelength_A;
	double spherical_aberration_mm;
	double amplitude_contrast_frac;
	double phase_shift_rad;
	double defocus_u_A, defocus_v_A,
		defocus_angle_rad; /**< underfocus positive; angle of U from +x towards +y */
	double scale;          /**< contrast */
	double bfactor_A2;
	const double *even_zernike; /**< n_even coefficients [rad], basis in 1/Å; NULL: none. Borrowed */
	int32_t n_even;
} cyc_ctf;

/**
 * Phase gamma(k) of an object `extra_defocus_A` deeper than the tilt's own defocus [rad].
 *   gamma = -pi lambda (k^T D k + dz |k|^2) + (pi/2) Cs lambda^3 |k|^4 - phi - asin(Q0) + sum_i c_i Z_i(k)
 * (T1.5) D = R(az)^T diag(U, V) R(az). Pure, thread-safe.
 */
double cyc_ctf_phase(const cyc_ctf *c, double kx_invA, double ky_invA, double extra_defocus_A);
/** CTF(k) = -scale exp(-B |k|^2 / 4) sin gamma(k). (T1.6) */
double cyc_ctf_value(const cyc_ctf *c, double kx_invA, double ky_invA, double extra_defocus_A);

/** Astigmatic defocus as mean [Å] and vector (U-V)/2 (cos 2az, sin 2az) [Å]: what can be averaged and fitted.
 */
typedef struct {
	double mean_A, astig_x_A, astig_y_A;
} cyc_defocus;
cyc_defocus cyc_defocus_from_uva(double u_A, double v_A, double angle_rad);
/** U >= V; angle in [0, pi) of U; 0 if there is no astigmatism. */
void cyc_defocus_to_uva(double *u_A, double *v_A, double *angle_rad, cyc_defocus d);

/**
 * Exposure damage: factor of the amplitude at |k| after a dose.
 *   exp(-dose / (2 Nc)), Nc = 0.245 |k|^-1.665 + 2.81 e/Å2 (Grant & Grigorieff 2015, eLife 4:e06980, Eq. 3);
 *   with bfactor_per_dose b > 0: exp(-b dose |k|^2 / 4). 1 at k = 0. (T1.7)
 */
double cyc_dose_weight(double k_invA, double dose_e_per_A2, double bfactor_per_dose_A2);

/** Order and frequency of the i-th even (symmetric) Zernike term: (n, m) = (0,0), (2,-2), (2,0), (2,2),
 * (4,-4) ... */
void cyc_zernike_even_index(int32_t *n, int32_t *m, int32_t i);
/** The same for odd terms: (1,-1), (1,1), (3,-3), (3,-1), (3,1), (3,3) ... */
void cyc_zernike_odd_index(int32_t *n, int32_t *m, int32_t i);
/**
 * Z_n^m(k), not normalised to an aperture: R_n^|m|(|k|) cos(m t) for m >= 0, sin(|m| t) for m < 0, t =
 * atan2(ky, kx).  (T1.8)
 */
double cyc_zernike(int32_t n, int32_t m, double kx_invA, double ky_invA);
/** Phase of the odd aberrations [rad]: predictions are multiplied by exp(+i phase), observations corrected by
 * exp(-i phase). */
double cyc_odd_phase(const double *odd_zernike, int32_t n_odd, double kx_invA, double ky_invA);

/** Number of terms up to order n_max: even n_max (n_max/2 + 1)^2, odd n_max ((n_max + 1)/2)((n_max + 1)/2 +
 * 1). */
int32_t cyc_zernike_count(int32_t n_max);
/**
 * The powers that Zernike's polynomials are made of: |k|^n cos(m t) for m >= 0, |k|^n sin(|m| t) for m < 0;
 * (n, m) as in Zernike's lists. (T1.12)
 */
double cyc_power_term(int32_t n, int32_t m, double kx_invA, double ky_invA);
/** Coefficients of Zernike's polynomials for those of the powers, both in the order of the even (or odd)
 * list. */
void cyc_zernike_from_powers(double *zernike, const double *powers, int32_t n_terms, bool is_odd);
/**
 * What beam tilt adds to the odd coefficients: phase -S |k|^2 (k.t), S = 2e4 pi Cs lambda^2, t in mrad.
 * (T1.13)
 * @param[in,out] odd_zernike  6 coefficients (orders 1 and 3)
 */
void cyc_add_beam_tilt(double odd_zernike[6], double tilt_x_mrad, double tilt_y_mrad, double voltage_kV,
                       double spherical_aberration_mm);

#ifdef __cplusplus
}
#endif
#endif

/* Zernike's polynomials as sums of powers of k, and beam tilt as odd terms. */
#include "cyclotomo/optics.h"

#include <math.h>

int32_t cyc_zernike_count(int32_t n_max)
{
	int32_t l = (n_max + 1) / 2;
	return n_max % 2 == 0 ? (l + 1) * (l + 1) : l * (l + 1);
}

static void list_index(int32_t *n, int32_t *m, int32_t i, bool is_odd)
{
	if (is_odd) cyc_zernike_odd_index(n, m, i);
	else cyc_zernike_even_index(n, m, i);
}

static int32_t list_place(int32_t n, int32_t m, bool is_odd)
{
	int32_t k = n / 2;
	return is_odd ? k * k + k + (m + n) / 2 : k * k + k + m / 2;
}

double cyc_power_term(int32_t n, int32_t m, double kx, double ky)
{
	double rho = hypot(kx, ky), t = atan2(ky, kx);
	return pow(rho, n) * (m < 0 ? sin(-m * t) : cos(m * t));
}

/* Coefficient of r^(n-2j) in R_n^m. */
static double radial_coefficient(int32_t n, int32_t m, int32_t j)
{
	int32_t a = m < 0 ? -m : m;
	double log_c =
		lgamma(n - j + 1) - lgamma(j + 1) - lgamma((n + a) / 2 - j + 1) - lgamma((n - a) / 2 - j + 1);
	return (j % 2 ? -1 : 1) * round(exp(log_c));
}

void cyc_zernike_from_powers(double *zernike, const double *powers, int32_t n_terms, bool is_odd)
{
	for (int32_t i = 0; i < n_terms; i++) zernike[i] = powers[i];
	/* From the highest order down: the leading power is this polynomial's, what it brings along is taken off
	 * the lower ones. */
	for (int32_t i = n_terms - 1; i >= 0; i--) {
		int32_t n, m;
		list_index(&n, &m, i, is_odd);
		zernike[i] /= radial_coefficient(n, m, 0);
		for (int32_t j = 1; j <= (n - (m < 0 ? -m : m)) / 2; j++)
			zernike[list_place(n - 2 * j, m, is_odd)] -= zernike[i] * radial_coefficient(n, m, j);
	}
}

void cyc_add_beam_tilt(double odd[6], double tilt_x_mrad, double tilt_y_mrad, double voltage_kV,
                       double spherical_aberration_mm)
{
	double lambda = cyc_electron_wavelength_A(voltage_kV),
		   S = 2e4 * CYC_PI * spherical_aberration_mm * lambda * lambda;
	const double powers[6] = { 0, 0, 0, -S * tilt_y_mrad, -S * tilt_x_mrad, 0 };
	double zernike[6];
	cyc_zernike_from_powers(zernike, powers, 6, true);
	for (int i = 0; i < 6; i++) odd[i] += zernike[i];
}

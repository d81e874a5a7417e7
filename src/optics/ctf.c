#include "cyclotomo/optics.h"

#include <math.h>

double cyc_electron_wavelength_A(double voltage_kV)
{
	double v = 1e3 * voltage_kV;
	return 12.2643247 / sqrt(v * (1 + 0.978466e-6 * v));
}

cyc_defocus cyc_defocus_from_uva(double u_A, double v_A, double angle_rad)
{
	double half = 0.5 * (u_A - v_A);
	return (cyc_defocus){ 0.5 * (u_A + v_A), half * cos(2 * angle_rad), half * sin(2 * angle_rad) };
}

void cyc_defocus_to_uva(double *u_A, double *v_A, double *angle_rad, cyc_defocus d)
{
	double half = hypot(d.astig_x_A, d.astig_y_A),
		   angle = half > 0 ? 0.5 * atan2(d.astig_y_A, d.astig_x_A) : 0;
	*u_A = d.mean_A + half;
	*v_A = d.mean_A - half;
	*angle_rad = angle < 0 ? angle + CYC_PI : angle;
}

double cyc_ctf_phase(const cyc_ctf *c, double kx, double ky, double extra_defocus_A)
{
	cyc_defocus d = cyc_defocus_from_uva(c->defocus_u_A, c->defocus_v_A, c->defocus_angle_rad);
	double k2 = kx * kx + ky * ky, lambda = c->wavelength_A, cs_A = 1e7 * c->spherical_aberration_mm;
	double defocus =
		(d.mean_A + extra_defocus_A) * k2 + d.astig_x_A * (kx * kx - ky * ky) + 2 * d.astig_y_A * kx * ky;
	double even = 0;
	for (int32_t i = 0; i < c->n_even; i++) {
		int32_t n, m;
		if (c->even_zernike[i] == 0) continue;
		cyc_zernike_even_index(&n, &m, i);
		even += c->even_zernike[i] * cyc_zernike(n, m, kx, ky);
	}
	return -CYC_PI * lambda * defocus + 0.5 * CYC_PI * cs_A * lambda * lambda * lambda * k2 * k2 -
	       c->phase_shift_rad - asin(c->amplitude_contrast_frac) + even;
}

double cyc_ctf_value(const cyc_ctf *c, double kx, double ky, double extra_defocus_A)
{
	double envelope = exp(-0.25 * c->bfactor_A2 * (kx * kx + ky * ky));
	return -c->scale * envelope * sin(cyc_ctf_phase(c, kx, ky, extra_defocus_A));
}

double cyc_dose_weight(double k_invA, double dose, double bfactor_per_dose)
{
	if (k_invA <= 0) return 1;
	if (bfactor_per_dose > 0) return exp(-0.25 * bfactor_per_dose * dose * k_invA * k_invA);
	return exp(-0.5 * dose / (0.245 * pow(k_invA, -1.665) + 2.81));
}

void cyc_zernike_even_index(int32_t *n, int32_t *m, int32_t i)
{
	int32_t k = 0;
	while ((k + 1) * (k + 1) <= i) k++;
	*n = 2 * k;
	*m = 2 * (i - k * k - k);
}

void cyc_zernike_odd_index(int32_t *n, int32_t *m, int32_t i)
{
	int32_t k = 0;
	while ((k + 1) * (k + 2) <= i) k++;
	*n = 2 * k + 1;
	*m = 2 * (i - k * k - k) - *n;
}

double cyc_zernike(int32_t n, int32_t m, double kx, double ky)
{
	int32_t a = m < 0 ? -m : m;
	double rho = hypot(kx, ky), t = atan2(ky, kx), radial = 0;
	for (int32_t j = 0; j <= (n - a) / 2; j++) {
		double log_c =
			lgamma(n - j + 1) - lgamma(j + 1) - lgamma((n + a) / 2 - j + 1) - lgamma((n - a) / 2 - j + 1);
		radial += (j % 2 ? -1 : 1) * round(exp(log_c)) * pow(rho, n - 2 * j);
	}
	return radial * (m < 0 ? sin(a * t) : cos(a * t));
}

double cyc_odd_phase(const double *odd, int32_t n_odd, double kx, double ky)
{
	double phase = 0;
	for (int32_t i = 0; i < n_odd; i++) {
		int32_t n, m;
		if (odd[i] == 0) continue;
		cyc_zernike_odd_index(&n, &m, i);
		phase += odd[i] * cyc_zernike(n, m, kx, ky);
	}
	return phase;
}

/* Worked values of docs/theory/01-image-formation.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cyclotomo/optics.h"

static void close_to(double value, double expected, double bound)
{
	if (!(fabs(value - expected) <= bound))
		fail_msg("got %.9g, expected %.9g within %g", value, expected, bound);
}

static void wavelength(void **state)
{
	(void)state;
	close_to(cyc_electron_wavelength_A(300), 0.01968762, 1e-8);
	close_to(cyc_electron_wavelength_A(200), 0.02507949, 1e-8);
}

static void ctf_table(void **state)
{
	(void)state;
	const cyc_ctf c = { .wavelength_A = cyc_electron_wavelength_A(300),
		                .spherical_aberration_mm = 2.7,
		                .amplitude_contrast_frac = 0.1,
		                .defocus_u_A = 32000,
		                .defocus_v_A = 30000,
		                .defocus_angle_rad = cyc_deg_to_rad(45),
		                .scale = 1 };
	static const double table[][4] = { { 0, 0, -0.100167, 0.100000 },
		                               { 0.1, 0, -19.241448, 0.381938 },
		                               { 0, 0.1, -19.241448, 0.381938 },
		                               { 0.05, 0.05, -9.988151, -0.534041 },
		                               { 0.05, -0.05, -9.369647, 0.055103 } };
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		close_to(cyc_ctf_phase(&c, table[i][0], table[i][1], 0), table[i][2], 1e-6);
		close_to(cyc_ctf_value(&c, table[i][0], table[i][1], 0), table[i][3], 1e-6);
	}
	/* Depth is an equal change of U and V. */
	cyc_ctf deeper = c;
	deeper.defocus_u_A += 153.087;
	deeper.defocus_v_A += 153.087;
	close_to(cyc_ctf_phase(&c, 0.07, -0.03, 153.087), cyc_ctf_phase(&deeper, 0.07, -0.03, 0), 1e-12);
	deeper = c;
	deeper.scale = 0.5;
	deeper.bfactor_A2 = 40;
	close_to(cyc_ctf_value(&deeper, 0.1, 0, 0), 0.5 * exp(-0.1) * 0.381938, 1e-6);
}

static void defocus_vector_round_trip(void **state)
{
	(void)state;
	for (int i = 0; i < 200; i++) {
		cyc_rng r = cyc_rng_make(3, 0, (uint64_t)i);
		double v = 2e4 + 1e4 * cyc_rng_uniform(&r), u = v + 500 * cyc_rng_uniform(&r),
			   a = CYC_PI * cyc_rng_uniform(&r), u2, v2, a2;
		cyc_defocus_to_uva(&u2, &v2, &a2, cyc_defocus_from_uva(u, v, a));
		close_to(u2, u, 1e-8);
		close_to(v2, v, 1e-8);
		close_to(sin(a2 - a), 0, 1e-9);
		/* U < V, as RELION writes it after refinement, is the same ellipse. */
		cyc_defocus d = cyc_defocus_from_uva(v, u, a + CYC_PI / 2), e = cyc_defocus_from_uva(u, v, a);
		close_to(d.astig_x_A, e.astig_x_A, 1e-9);
		close_to(d.astig_y_A, e.astig_y_A, 1e-9);
	}
}

static void dose_table(void **state)
{
	(void)state;
	static const double table[][4] = { { 0.02, 0.914578, 0.836453, 0.988072 },
		                               { 0.05, 0.678915, 0.460925, 0.927743 },
		                               { 0.10, 0.346128, 0.119805, 0.740818 },
		                               { 0.20, 0.095346, 0.009091, 0.301194 } };
	for (size_t i = 0; i < 4; i++) {
		close_to(cyc_dose_weight(table[i][0], 30, 0), table[i][1], 1e-6);
		close_to(cyc_dose_weight(table[i][0], 60, 0), table[i][2], 1e-6);
		close_to(cyc_dose_weight(table[i][0], 30, 4), table[i][3], 1e-6);
	}
	close_to(cyc_dose_weight(0, 100, 0), 1, 0);
}

static void zernike(void **state)
{
	(void)state;
	static const int even[9][2] = { { 0, 0 },  { 2, -2 }, { 2, 0 }, { 2, 2 }, { 4, -4 },
		                            { 4, -2 }, { 4, 0 },  { 4, 2 }, { 4, 4 } };
	static const int odd[6][2] = { { 1, -1 }, { 1, 1 }, { 3, -3 }, { 3, -1 }, { 3, 1 }, { 3, 3 } };
	int32_t n, m;
	for (int i = 0; i < 9; i++) {
		cyc_zernike_even_index(&n, &m, i);
		assert_int_equal(n, even[i][0]);
		assert_int_equal(m, even[i][1]);
	}
	for (int i = 0; i < 6; i++) {
		cyc_zernike_odd_index(&n, &m, i);
		assert_int_equal(n, odd[i][0]);
		assert_int_equal(m, odd[i][1]);
	}
	close_to(cyc_zernike(3, -1, 0.1, 0.2), -0.37, 1e-12);
	close_to(cyc_zernike(4, 0, 0.3, 0), 0.5086, 1e-12);
	/* Parity: even terms keep, odd terms change their sign under k -> -k. */
	for (int i = 0; i < 9; i++)
		close_to(cyc_zernike(even[i][0], even[i][1], -0.1, 0.23),
		         cyc_zernike(even[i][0], even[i][1], 0.1, -0.23), 1e-12);
	for (int i = 0; i < 6; i++)
		close_to(cyc_zernike(odd[i][0], odd[i][1], -0.1, 0.23),
		         -cyc_zernike(odd[i][0], odd[i][1], 0.1, -0.23), 1e-12);
	const double tilt[2] = { 0, 2.0 };
	close_to(cyc_odd_phase(tilt, 2, 0.1, 0.3), 0.2, 1e-12);
}

/* A sum of powers and the Zernike polynomials that were made of it are the same function. */
static void powers_become_zernike(void **state)
{
	(void)state;
	enum { MAX = 25 };
	cyc_rng rng = cyc_rng_make(3, 1, 4);
	assert_int_equal(cyc_zernike_count(4), 9);
	assert_int_equal(cyc_zernike_count(8), 25);
	assert_int_equal(cyc_zernike_count(1), 2);
	assert_int_equal(cyc_zernike_count(3), 6);
	assert_int_equal(cyc_zernike_count(5), 12);
	for (int is_odd = 0; is_odd < 2; is_odd++) {
		double powers[MAX], coefficients[MAX];
		int32_t n_terms = cyc_zernike_count(is_odd ? 7 : 8);
		for (int32_t i = 0; i < n_terms; i++) powers[i] = 10 * cyc_rng_normal(&rng);
		cyc_zernike_from_powers(coefficients, powers, n_terms, is_odd);
		for (int trial = 0; trial < 5; trial++) {
			double kx = 0.3 * cyc_rng_normal(&rng), ky = 0.3 * cyc_rng_normal(&rng), wanted = 0, found = 0;
			for (int32_t i = 0; i < n_terms; i++) {
				int32_t n, m;
				if (is_odd) cyc_zernike_odd_index(&n, &m, i);
				else cyc_zernike_even_index(&n, &m, i);
				wanted += powers[i] * cyc_power_term(n, m, kx, ky);
				found += coefficients[i] * cyc_zernike(n, m, kx, ky);
			}
			close_to(found, wanted, 1e-9 * (1 + fabs(wanted)));
		}
	}
}

static void beam_tilt_is_coma(void **state)
{
	(void)state;
	double odd[6] = { 0, 5, 0, 0, 0, 0 };
	cyc_add_beam_tilt(odd, 1, 0, 300, 2.7);
	odd[1] -= 5;
	close_to(cyc_odd_phase(odd, 6, 0.2, 0), -0.526041, 1e-5);
	close_to(odd[1], 2 * odd[4], 1e-9);
	double other[6] = { 0 };
	cyc_add_beam_tilt(other, 0.4, -0.7, 300, 2.7);
	double kx = 0.11, ky = -0.07;
	close_to(cyc_odd_phase(other, 6, kx, ky), -65.755164 * (kx * kx + ky * ky) * (0.4 * kx - 0.7 * ky), 1e-6);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(wavelength),
		                                cmocka_unit_test(ctf_table),
		                                cmocka_unit_test(defocus_vector_round_trip),
		                                cmocka_unit_test(dose_table),
		                                cmocka_unit_test(zernike),
		                                cmocka_unit_test(powers_become_zernike),
		                                cmocka_unit_test(beam_tilt_is_coma) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

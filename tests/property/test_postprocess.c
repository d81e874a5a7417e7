/* Post-processing of phantoms with known answers: signal-to-noise, B-factor, MTF, local resolution. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "map/map_internal.h"

static char g_dir[64];

static char *in_dir(const char *name)
{
	static char path[4][128];
	static int i;
	i = (i + 1) % 4;
	snprintf(path[i], sizeof path[i], "%s/%s", g_dir, name);
	return path[i];
}

static int make_dir(void **state)
{
	(void)state;
	strcpy(g_dir, "/tmp/cyc_postprocess_XXXXXX");
	return mkdtemp(g_dir) ? 0 : 1;
}

static int remove_dir(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", g_dir);
	return system(command);
}

/* White, normally distributed; then multiplied in Fourier space by the square root of power(k^2 in 1/A^2). */
static cyc_volume *coloured_noise(int n, double pixel_A, uint32_t purpose, double (*amplitude)(double k2))
{
	cyc_volume *v = NULL;
	cyc_cfloat *ft = NULL;
	cyc_fft3 *plan = NULL;
	double *table = NULL;
	assert_int_equal(cyc_volume_create(&v, n, n, n, pixel_A), CYC_OK);
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(n), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_alloc(&table, cyc__n_radial(n), sizeof *table), CYC_OK);
	assert_int_equal(cyc_fft3_create(&plan, n, 1), CYC_OK);
	cyc_rng r = cyc_rng_make(1, purpose, 0);
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] = (float)cyc_rng_normal(&r);
	for (size_t r2 = 0; r2 < cyc__n_radial(n); r2++)
		table[r2] = amplitude((double)r2 / cyc_square(n * pixel_A));
	assert_int_equal(cyc_fft3_forward(ft, plan, v->data), CYC_OK);
	assert_int_equal(cyc__filter_apply(ft, n, table, 1.0, 1), CYC_OK);
	assert_int_equal(cyc_fft3_inverse(v->data, plan, ft), CYC_OK);
	cyc_fft3_destroy(&plan);
	cyc_free(ft);
	cyc_free(table);
	return v;
}

static void write_sum(const char *name, const cyc_volume *a, const cyc_volume *b)
{
	cyc_volume *v = NULL;
	assert_int_equal(cyc_volume_copy(&v, a), CYC_OK);
	for (size_t i = 0; b && i < cyc_volume_count(v); i++) v->data[i] += b->data[i];
	assert_int_equal(cyc_mrc_write(in_dir(name), v, 2, NULL), CYC_OK);
	cyc_volume_destroy(&v);
}

static void write_ball(const char *name, int n, double pixel_A, double radius_px, double edge_px)
{
	cyc_mask_options o;
	cyc_mask_result r;
	cyc_mask_options_default(&o);
	o.root = g_dir;
	o.output = name;
	o.denovo = true;
	o.box_px = n;
	o.outer_radius_px = radius_px;
	o.soft_edge_px = edge_px;
	o.pixel_size_A = pixel_A;
	assert_int_equal(cyc_mask_run(&r, &o), CYC_OK);
}

static cyc_postprocess_options options(const char *out)
{
	cyc_postprocess_options o;
	cyc_postprocess_options_default(&o);
	o.root = g_dir;
	o.half1 = "half1.mrc";
	o.out_root = out;
	o.no_figures = true;
	return o;
}

static double flat(double k2)
{
	(void)k2;
	return 1.0;
}
static double falling(double k2) { return 3.0 * exp(-80.0 * k2 / 2.0); }
static double gaussian_b100(double k2) { return exp(-100.0 * k2 / 4.0); }

/* P2 without mask: FSC = SNR / (1 + SNR) within the scatter of a shell's coefficients. */
static void unmasked_fsc_is_the_snr(void **state)
{
	(void)state;
	enum { N = 40 };
	const double PIXEL_A = 2.0;
	cyc_volume *signal = coloured_noise(N, PIXEL_A, 1, falling), *n1 = coloured_noise(N, PIXEL_A, 2, flat),
			   *n2 = coloured_noise(N, PIXEL_A, 3, flat);
	cyc_postprocess_result r = { 0 };
	write_sum("half1.mrc", signal, n1);
	write_sum("half2.mrc", signal, n2);
	cyc_postprocess_options o = options("snr/run");
	assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
	assert_int_equal(r.n_shells, N / 2 + 1);
	for (int i = 1; i < N / 2; i++) {
		double snr = cyc_square(falling(cyc_square(i / (N * PIXEL_A)))), fsc = snr / (1.0 + snr);
		/* About 2 pi i^2 independent complex coefficients; half that for the two equal planes and the spread
		 * of SNR in a shell. */
		assert_true(fabs(r.fsc_unmasked[i] - fsc) < 3.5 * (1.0 - fsc * fsc) / sqrt(3.14 * i * i) + 0.02);
		assert_true(!(fabs(r.fsc_unmasked[i] - r.fsc_corrected[i]) > 0.0));
	}
	int32_t i = cyc_fsc_resolution_shell(r.fsc_corrected, r.n_shells);
	assert_true(fabs(r.final_resolution_A - N * PIXEL_A / i) < 1e-4);
	assert_null(r.fsc_masked);
	/* What the next jobs read, though there is no mask. */
	cyc_fsc_file *f = NULL;
	assert_int_equal(cyc_fsc_file_read(&f, in_dir(r.star)), CYC_OK);
	assert_int_equal(f->n_shells, r.n_shells);
	for (int k = 0; k < r.n_shells; k++) assert_true(fabs(f->corrected[k] - r.fsc_corrected[k]) < 1e-5);
	cyc_fsc_file_destroy(&f);
	cyc_postprocess_result_deinit(&r);
	cyc_volume_destroy(&signal);
	cyc_volume_destroy(&n1);
	cyc_volume_destroy(&n2);
}

/* P2 with mask: a particle in empty solvent; inside a soft mask the noise power is a known part of it. */
static void corrected_fsc_is_that_of_the_masked_region(void **state)
{
	(void)state;
	enum { N = 64 };
	const double PIXEL_A = 2.0;
	cyc_volume *signal = coloured_noise(N, PIXEL_A, 1, falling), *n1 = coloured_noise(N, PIXEL_A, 2, flat),
			   *n2 = coloured_noise(N, PIXEL_A, 3, flat);
	cyc_volume *mask = NULL, *a = NULL, *b = NULL;
	cyc_postprocess_result r = { 0 };
	write_ball("region.mrc", N, PIXEL_A, 20.0, 6.0);
	assert_int_equal(cyc_mrc_read(&mask, in_dir("region.mrc")), CYC_OK);
	for (size_t i = 0; i < cyc_volume_count(signal); i++) signal->data[i] *= mask->data[i];
	write_sum("half1.mrc", signal, n1);
	write_sum("half2.mrc", signal, n2);
	write_ball("mask.mrc", N, PIXEL_A, 26.0, 5.0);
	cyc_postprocess_options o = options("masked/run");
	o.mask = "mask.mrc";
	o.n_threads = 2;
	assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
	/* Truth: masked signal power and masked noise power per shell. */
	cyc_fft3 *plan = NULL;
	cyc_cfloat *ft[2] = { NULL, NULL };
	double power[2][N / 2 + 1] = { { 0 } };
	cyc_volume_destroy(&mask);
	assert_int_equal(cyc_mrc_read(&mask, in_dir("mask.mrc")), CYC_OK);
	assert_int_equal(cyc_fft3_create(&plan, N, 1), CYC_OK);
	cyc_volume *part[2] = { signal, n1 };
	for (int k = 0; k < 2; k++) {
		for (size_t i = 0; i < cyc_volume_count(mask); i++) part[k]->data[i] *= mask->data[i];
		assert_int_equal(cyc_alloc(&ft[k], cyc_half_count3(N), sizeof(cyc_cfloat)), CYC_OK);
		assert_int_equal(cyc_fft3_forward(ft[k], plan, part[k]->data), CYC_OK);
		for (int64_t i = 0; i < (int64_t)cyc_half_count3(N); i++) {
			int64_t x = i % (N / 2 + 1), y = cyc__frequency(i / (N / 2 + 1) % N, N),
					z = cyc__frequency(i / (N / 2 + 1) / N, N);
			int32_t s = cyc__shell(x * x + y * y + z * z);
			if (s <= N / 2) power[k][s] += (double)crealf(ft[k][i] * conjf(ft[k][i]));
		}
		cyc_free(ft[k]);
	}
	cyc_fft3_destroy(&plan);
	int32_t last = cyc_fsc_resolution_shell(r.fsc_corrected, r.n_shells);
	assert_true(last > 12);
	for (int i = 1; i < 0.8 * last; i++) {
		double truth = power[0][i] / (power[0][i] + power[1][i]);
		/* 0.03 for the method, and the chance correlation of the two noises. */
		double chance = (1.0 - truth * truth) / sqrt(0.5 * 2.0 * 3.14 * i * i);
		assert_true(fabs(r.fsc_corrected[i] - truth) < 0.03 + 2.5 * chance);
	}
	assert_true(r.final_resolution_A < r.randomise_from_A);
	cyc_postprocess_result_deinit(&r);
	cyc_volume_destroy(&signal);
	cyc_volume_destroy(&n1);
	cyc_volume_destroy(&n2);
	cyc_volume_destroy(&mask);
	cyc_volume_destroy(&a);
	cyc_volume_destroy(&b);
}

static void write_set(const char *name, const char *half1, const char *half2)
{
	char text[300];
	snprintf(text, sizeof text,
	         "\ndata_\n\n_rlnTomoParticlesFile p.star\n_rlnTomoTomogramsFile "
	         "t.star\n_rlnTomoReferenceMap1File %s\n"
	         "_rlnTomoReferenceMap2File %s\n\n",
	         half1, half2);
	assert_int_equal(cyc_write_file(in_dir(name), text, strlen(text)), CYC_OK);
}

static void scale(cyc_volume *v, float by)
{
	for (size_t i = 0; i < cyc_volume_count(v); i++) v->data[i] *= by;
}

/* Less of the same noise is better, more is worse, the same is no difference; with a mask and without. */
static void states_are_compared(void **state)
{
	(void)state;
	enum { N = 40 };
	const double PIXEL_A = 2.0;
	cyc_volume *signal = coloured_noise(N, PIXEL_A, 1, falling);
	cyc_volume *n[2] = { coloured_noise(N, PIXEL_A, 2, flat), coloured_noise(N, PIXEL_A, 3, flat) };
	cyc_postprocess_result r = { 0 };
	write_ball("mask.mrc", N, PIXEL_A, 12.0, 4.0);
	write_sum("noisy_half1.mrc", signal, n[0]);
	write_sum("noisy_half2.mrc", signal, n[1]);
	for (int h = 0; h < 2; h++) scale(n[h], 0.9f);
	write_sum("half1.mrc", signal, n[0]);
	write_sum("half2.mrc", signal, n[1]);
	write_set("noisy.star", "noisy_half1.mrc", "noisy_half2.mrc");
	write_set("better.star", "half1.mrc", "half2.mrc");
	for (int is_masked = 0; is_masked < 2; is_masked++) {
		cyc_postprocess_options o = options("compare/run");
		o.mask = is_masked ? "mask.mrc" : NULL;
		o.compare_to = "noisy.star";
		o.n_threads = 1 + is_masked;
		assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
		/* Paired: the error is far below the scatter of a mean over so few shells. */
		assert_true(r.difference_error > 0.0 && r.difference > 4.0 * r.difference_error);
		cyc_postprocess_result_deinit(&r);
		o.half1 = "noisy_half1.mrc";
		o.compare_to = "better.star";
		assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
		assert_true(r.difference < -4.0 * r.difference_error);
		cyc_postprocess_result_deinit(&r);
		o.compare_to = "noisy.star";
		assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
		assert_true(fabs(r.difference) < 1e-9 && r.difference_error < 1e-9);
		double sum = 0.0;
		for (int i = 1; i < r.n_shells; i++) sum += r.fsc_judged[i];
		assert_true(fabs(r.mean_fsc - sum / (r.n_shells - 1)) < 1e-12);
		cyc_postprocess_result_deinit(&r);
	}
	char *star = NULL;
	size_t size;
	assert_int_equal(cyc_read_file(&star, &size, in_dir("compare/run.star")), CYC_OK);
	static const char *const LABELS[] = { "_cycMeanFsc ",           "_cycComparedTo ",
		                                  "_cycMeanFscDifference ", "_cycMeanFscDifferenceError ",
		                                  "_cycEdgeFsc ",           "_cycEdgeFscOutside " };
	for (size_t i = 0; i < sizeof LABELS / sizeof *LABELS; i++) assert_non_null(strstr(star, LABELS[i]));
	cyc_free(star);
	write_set("none.star", "nowhere1.mrc", "nowhere2.mrc");
	cyc_postprocess_options o = options("compare/none");
	o.compare_to = "none.star";
	assert_int_equal(cyc_postprocess_run(&r, &o), CYC_E_IO);
	cyc_volume_destroy(&signal);
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&n[h]);
}

/* A mask where the particle is not: the printed curve is the unmasked one, the judged one is not. */
static void judged_curve_is_always_masked(void **state)
{
	(void)state;
	enum { N = 48 };
	cyc_volume *signal = coloured_noise(N, 2.0, 1, falling), *mask = NULL;
	cyc_volume *n[2] = { coloured_noise(N, 2.0, 2, flat), coloured_noise(N, 2.0, 3, flat) };
	cyc_postprocess_result r = { 0 };
	double corrected[N / 2 + 1];
	write_ball("mask.mrc", N, 2.0, 8.0, 3.0);
	assert_int_equal(cyc_mrc_read(&mask, in_dir("mask.mrc")), CYC_OK);
	for (size_t i = 0; i < cyc_volume_count(signal); i++) signal->data[i] *= 1.0f - 0.9f * mask->data[i];
	write_sum("half1.mrc", signal, n[0]);
	write_sum("half2.mrc", signal, n[1]);
	cyc_postprocess_options o = options("missed/run");
	o.mask = "mask.mrc";
	assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
	assert_true(r.used_unmasked);
	assert_memory_equal(r.fsc_corrected, r.fsc_unmasked, (size_t)r.n_shells * sizeof(double));
	int32_t from = (int32_t)lround(N * 2.0 / r.randomise_from_A);
	cyc_fsc_correct(corrected, r.fsc_masked, r.fsc_randomised, r.n_shells, from);
	for (int i = 0; i < r.n_shells; i++) assert_true(fabs(r.fsc_judged[i] - corrected[i]) < 1e-12);
	cyc_postprocess_result_deinit(&r);
	cyc_volume_destroy(&signal);
	cyc_volume_destroy(&mask);
	for (int h = 0; h < 2; h++) cyc_volume_destroy(&n[h]);
}

static double short_of_nyquist(double k2) { return 3.0 * exp(-160.0 * k2); }
static double to_nyquist(double k2) { return 3.0 * exp(-4.0 * k2); }

/* Noise that both half maps have is seen beyond the signal; a signal that reaches Nyquist is no such noise.
 */
static void shared_noise_is_found(void **state)
{
	(void)state;
	enum { N = 48, OWN = 0, SHARED, FINE };
	static const char *const NAMES[] = { "own noise", "shared noise", "fine signal" };
	cyc_volume *signal = coloured_noise(N, 2.0, 1, short_of_nyquist),
			   *far = coloured_noise(N, 2.0, 4, to_nyquist), *mask = NULL;
	cyc_postprocess_result r = { 0 };
	write_ball("mask.mrc", N, 2.0, 16.0, 4.0);
	assert_int_equal(cyc_mrc_read(&mask, in_dir("mask.mrc")), CYC_OK);
	for (size_t i = 0; i < cyc_volume_count(signal); i++) {
		signal->data[i] *= mask->data[i];
		far->data[i] *= mask->data[i] > 0.99f ? 1.0f : 0.0f;
	}
	for (int draw = 0; draw < 4; draw++) {
		cyc_volume *n[2], *shared = coloured_noise(N, 2.0, (uint32_t)(30 + draw), flat);
		for (int h = 0; h < 2; h++) n[h] = coloured_noise(N, 2.0, (uint32_t)(10 + 2 * draw + h), flat);
		for (int kind = OWN; kind <= FINE; kind++) {
			cyc_postprocess_options o = options("shared/run");
			o.mask = "mask.mrc";
			for (int h = 0; h < 2; h++) {
				/* A tenth of the noise is common to both. */
				for (size_t i = 0; kind == SHARED && i < cyc_volume_count(shared); i++)
					n[h]->data[i] += 0.33f * shared->data[i];
				for (size_t i = 0; kind == FINE && i < cyc_volume_count(shared); i++)
					n[h]->data[i] += far->data[i] - 0.33f * shared->data[i];
				write_sum(h ? "half2.mrc" : "half1.mrc", signal, n[h]);
			}
			assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
			print_message("%s: last %d shells %.3f +- %.3f, outside of the mask %.3f +- %.3f\n", NAMES[kind],
			              r.n_edge_shells, r.edge_fsc, r.edge_fsc_error, r.edge_fsc_outside,
			              r.edge_fsc_outside_error);
			assert_int_equal(r.are_halves_suspect, kind == SHARED);
			cyc_postprocess_result_deinit(&r);
			o.mask = NULL;
			assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
			assert_int_equal(r.are_halves_suspect, kind == SHARED);
			cyc_postprocess_result_deinit(&r);
		}
		cyc_volume_destroy(&shared);
		for (int h = 0; h < 2; h++) cyc_volume_destroy(&n[h]);
	}
	cyc_volume_destroy(&signal);
	cyc_volume_destroy(&far);
	cyc_volume_destroy(&mask);
}

/* Mean amplitude per shell of a map. */
static void shell_amplitudes(double *out, const cyc_volume *v)
{
	double *amplitude = NULL;
	int64_t *count = NULL;
	cyc_cfloat *ft = NULL;
	cyc_fft3 *plan = NULL;
	cyc__guinier *g = NULL;
	int n = v->nx;
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(n), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_alloc(&amplitude, cyc__n_radial(n), sizeof *amplitude), CYC_OK);
	assert_int_equal(cyc_alloc(&count, cyc__n_radial(n), sizeof *count), CYC_OK);
	assert_int_equal(cyc_fft3_create(&plan, n, 1), CYC_OK);
	assert_int_equal(cyc_fft3_forward(ft, plan, v->data), CYC_OK);
	assert_int_equal(cyc__radial_amplitudes(amplitude, count, ft, n, 1), CYC_OK);
	assert_int_equal(cyc__guinier_create(&g, amplitude, count, NULL, n, v->pixel_size_A, 10.0, 0.0), CYC_OK);
	for (int i = 0; i <= n / 2; i++) out[i] = exp(g->y[i]);
	cyc__guinier_destroy(&g);
	cyc_fft3_destroy(&plan);
	cyc_free(ft);
	cyc_free(amplitude);
	cyc_free(count);
}

/* P3: exact amplitudes exp(-B0 k^2 / 4) with random phases; sharpening finds B0 and flattens them. P4: a unit
 * MTF changes nothing. */
static void sharpening_finds_the_bfactor(void **state)
{
	(void)state;
	enum { N = 64 };
	const double PIXEL_A = 1.5;
	cyc_volume *v = NULL, *sharpened = NULL, *again = NULL;
	cyc_cfloat *ft = NULL, *phases = NULL;
	cyc_fft3 *plan = NULL;
	cyc_postprocess_result r = { 0 };
	double amplitude[N / 2 + 1];
	v = coloured_noise(N, PIXEL_A, 5, flat);
	assert_int_equal(cyc_alloc(&ft, cyc_half_count3(N), sizeof *ft), CYC_OK);
	assert_int_equal(cyc_fft3_create(&plan, N, 1), CYC_OK);
	assert_int_equal(cyc_fft3_forward(ft, plan, v->data), CYC_OK);
	for (int64_t i = 0; i < (int64_t)cyc_half_count3(N); i++) {
		int64_t x = i % (N / 2 + 1), y = cyc__frequency(i / (N / 2 + 1) % N, N),
				z = cyc__frequency(i / (N / 2 + 1) / N, N);
		double k2 = (double)(x * x + y * y + z * z) / cyc_square(N * PIXEL_A);
		ft[i] *= (float)(1000.0 * gaussian_b100(k2) / (double)cabsf(ft[i]));
	}
	assert_int_equal(cyc_fft3_inverse(v->data, plan, ft), CYC_OK);
	/* Copies would be refused: a ten-thousandth of noise. */
	cyc_volume *noise = coloured_noise(N, PIXEL_A, 6, flat);
	double power[2] = { 0, 0 };
	for (size_t i = 0; i < cyc_volume_count(v); i++) {
		power[0] += cyc_square((double)v->data[i]);
		power[1] += cyc_square((double)noise->data[i]);
	}
	for (size_t i = 0; i < cyc_volume_count(v); i++)
		noise->data[i] *= (float)(1e-4 * sqrt(power[0] / power[1]));
	write_sum("half1.mrc", v, NULL);
	write_sum("half2.mrc", v, noise);
	cyc_volume_destroy(&noise);
	cyc_postprocess_options o = options("sharp/run");
	assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
	assert_true(fabs(r.bfactor_A2 + 100.0) < 1.0);
	assert_true(fabs(r.final_resolution_A - 2.0 * PIXEL_A) < 1e-6);
	cyc_postprocess_result_deinit(&r);
	assert_int_equal(cyc_mrc_read(&sharpened, in_dir("sharp/run.mrc")), CYC_OK);
	assert_true(fabs(sharpened->pixel_size_A - PIXEL_A) < 1e-6);
	shell_amplitudes(amplitude, sharpened);
	/* 10 A is shell 9.6; the last shell is cut in half by Nyquist. */
	for (int i = 10; i < N / 2; i++) assert_true(fabs(amplitude[i] / amplitude[10] - 1.0) < 0.01);

	static const char MTF[] =
		"data_mtf\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n0.0 1.0\n0.25 1.0\n0.5 1.0\n";
	assert_int_equal(cyc_write_file(in_dir("mtf.star"), MTF, sizeof MTF - 1), CYC_OK);
	o = options("sharp/mtf");
	o.mtf = "mtf.star";
	assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
	cyc_postprocess_result_deinit(&r);
	assert_int_equal(cyc_mrc_read(&again, in_dir("sharp/mtf.mrc")), CYC_OK);
	for (size_t i = 0; i < cyc_volume_count(again); i++)
		assert_true(fabs((double)(again->data[i] - sharpened->data[i])) <=
		            1e-6 * fabs((double)sharpened->data[i]) + 1e-6);
	cyc_fft3_destroy(&plan);
	cyc_free(ft);
	cyc_free(phases);
	cyc_volume_destroy(&v);
	cyc_volume_destroy(&sharpened);
	cyc_volume_destroy(&again);
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

/* Median of a map over a slab of x, inside a ball of radius N/3. */
static double median_of_slab(const cyc_volume *v, int x0, int x1)
{
	int64_t n = v->nx, m = 0;
	float *list = NULL;
	assert_int_equal(cyc_alloc(&list, cyc_volume_count(v), sizeof *list), CYC_OK);
	for (int64_t i = 0; i < n * n * n; i++) {
		double d2 = cyc_square((double)(i / n / n - n / 2)) + cyc_square((double)(i / n % n - n / 2)) +
		            cyc_square((double)(i % n - n / 2));
		if (i % n >= x0 && i % n < x1 && d2 < (double)(n * n) / 9.0) list[m++] = v->data[i];
	}
	qsort(list, (size_t)m, sizeof *list, compare);
	double median = (double)list[m / 2];
	cyc_free(list);
	return median;
}

/* Strong at low resolution as a particle is, and as strong as the noise where they end. */
static double to_6A(double k2) { return k2 <= 1.0 / 36.0 ? 4.0 * exp(-50.0 * k2) : 0.0; }
static double to_12A(double k2) { return k2 <= 1.0 / 144.0 ? 4.0 * exp(-200.0 * k2) : 0.0; }

/* P7: signal to 6 A on one side, to 12 A on the other. */
static void local_resolution_of_two_sides(void **state)
{
	(void)state;
	enum { N = 96, BORDER = N / 2 - 20 };
	const double PIXEL_A = 2.4;
	cyc_volume *fine = coloured_noise(N, PIXEL_A, 1, to_6A), *coarse = coloured_noise(N, PIXEL_A, 2, to_12A);
	cyc_volume *n1 = coloured_noise(N, PIXEL_A, 3, flat), *n2 = coloured_noise(N, PIXEL_A, 4, flat),
			   *map = NULL, *filtered = NULL;
	cyc_postprocess_result r = { 0 };
	for (size_t i = 0; i < cyc_volume_count(fine); i++)
		if (i % N >= BORDER) fine->data[i] = coarse->data[i];
	write_sum("half1.mrc", fine, n1);
	write_sum("half2.mrc", fine, n2);
	cyc_postprocess_options o = options("local/run");
	o.local_resolution = true;
	/* A sphere blurs spectra by its inverse size: wide enough for 10 % at 12 A. */
	o.locres_sampling_A = 40.0;
	o.locres_mask_radius_A = 32.0;
	o.n_threads = 2;
	o.has_bfactor = true;
	assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
	cyc_postprocess_result_deinit(&r);
	assert_int_equal(cyc_mrc_read(&map, in_dir("local/run_locres.mrc")), CYC_OK);
	assert_int_equal(cyc_mrc_read(&filtered, in_dir("local/run_locres_filtered.mrc")), CYC_OK);
	print_message("local resolution %.2f and %.2f A\n", median_of_slab(map, 14, 22),
	              median_of_slab(map, 64, 76));
	assert_true(fabs(median_of_slab(map, 14, 22) / 6.0 - 1.0) < 0.1);
	assert_true(fabs(median_of_slab(map, 64, 76) / 12.0 - 1.0) < 0.1);
	/* The filter keeps the signal and takes out most of the noise. */
	double error = 0.0, noise = 0.0;
	for (int64_t i = 0; i < (int64_t)cyc_volume_count(map); i++) {
		double d2 = cyc_square((double)(i / N / N - N / 2)) + cyc_square((double)(i / N % N - N / 2)) +
		            cyc_square((double)(i % N - N / 2));
		if (d2 > 30 * 30 || abs((int)(i % N) - BORDER) < 16) continue;
		error += cyc_square((double)(filtered->data[i] - fine->data[i]));
		noise += cyc_square(0.5 * (double)(n1->data[i] + n2->data[i]));
	}
	print_message("noise left in the filtered map %.3f\n", sqrt(error / noise));
	assert_true(sqrt(error / noise) < 0.5);
	cyc_volume_destroy(&fine);
	cyc_volume_destroy(&coarse);
	cyc_volume_destroy(&n1);
	cyc_volume_destroy(&n2);
	cyc_volume_destroy(&map);
	cyc_volume_destroy(&filtered);
}

static void same_files_for_any_threads(void **state)
{
	(void)state;
	enum { N = 32 };
	static const char *const FILES[] = {
		".star",    ".mrc",        "_masked.mrc",         "_half1.mrc", "_half2_masked.mrc",
		"_fsc.xml", "_locres.mrc", "_locres_filtered.mrc"
	};
	cyc_volume *signal = coloured_noise(N, 3.0, 1, falling), *n1 = coloured_noise(N, 3.0, 2, flat),
			   *n2 = coloured_noise(N, 3.0, 3, flat);
	char *first[8] = { NULL };
	size_t n_first[8] = { 0 };
	write_sum("half1.mrc", signal, n1);
	write_sum("half2.mrc", signal, n2);
	write_ball("mask.mrc", N, 3.0, 8.0, 4.0);
	for (int threads = 1; threads <= 3; threads++) {
		cyc_postprocess_result r = { 0 };
		cyc_postprocess_options o = options("threads/run");
		o.mask = "mask.mrc";
		o.n_threads = threads;
		o.n_random_draws = 7;
		o.local_resolution = o.write_half_maps = true;
		assert_int_equal(cyc_postprocess_run(&r, &o), CYC_OK);
		cyc_postprocess_result_deinit(&r);
		for (int i = 0; i < 8; i++) {
			char name[64], *data = NULL;
			size_t n;
			snprintf(name, sizeof name, "threads/run%s", FILES[i]);
			assert_int_equal(cyc_read_file(&data, &n, in_dir(name)), CYC_OK);
			if (threads == 1) {
				first[i] = data;
				n_first[i] = n;
				continue;
			}
			assert_int_equal(n, n_first[i]);
			assert_memory_equal(data, first[i], n);
			cyc_free(data);
		}
	}
	for (int i = 0; i < 8; i++) cyc_free(first[i]);
	cyc_volume_destroy(&signal);
	cyc_volume_destroy(&n1);
	cyc_volume_destroy(&n2);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(unmasked_fsc_is_the_snr),
		                                cmocka_unit_test(corrected_fsc_is_that_of_the_masked_region),
		                                cmocka_unit_test(sharpening_finds_the_bfactor),
		                                cmocka_unit_test(local_resolution_of_two_sides),
		                                cmocka_unit_test(same_files_for_any_threads),
		                                cmocka_unit_test(states_are_compared),
		                                cmocka_unit_test(judged_curve_is_always_masked),
		                                cmocka_unit_test(shared_noise_is_found) };
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

/* Aberrations and magnification of optics groups: planted phases come out of sums, also beyond half a turn;
 * simulated projects from end to end; nothing is found where nothing is; what a file has is used and kept. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "project_fixture.h"

#include "ctfrefine/aberration.h"
#include "cyclotomo/ctfrefine.h"
#include "cyclotomo/map.h"
#include "cyclotomo/reconstruct.h"

static void close_to(double value, double expected, double bound)
{
	if (!(fabs(value - expected) <= bound))
		fail_msg("got %.9g, expected %.9g within %g", value, expected, bound);
}

/* ---------------------------------------------------------------- sums with planted phases */

static const double LAMBDA = 0.0197, NOISE = 0.05;
enum { N_TILTS = 9, N_HEIGHTS = 5 };

typedef struct {
	cyc_ctf_support *support;
	cyc_ctf_model *m;
	cyc_aberrations *a;
	cyc_series_sums sums;
	cyc_series_fit fit;
	cyc_tilt_sums tilts[N_TILTS];
	cyc_tilt_fit fits[N_TILTS];
} planted;

/* Rad at the highest frequency, in the order of the lists; small and large. */
static const double EVEN[2][9] = { { 0, 0, 0, 0, 0.3, -0.2, 0.5, 0.1, -0.6 },
	                               { 0, 0, 0, 0, 2.5, 0, 4.5, -1.5, 3.0 } };
static const double ODD[2][6] = { { 0.1, 0, 0.4, -0.3, 0.8, 0.2 }, { 0, 0.5, 3.5, -2.0, 6.0, 1.5 } };

static void add_part(cyc_tilt_sums *t, int half, const planted *p, const double *even, const double *odd,
                     double z, double strength, cyc_rng *rng)
{
	size_t n = (size_t)p->support->n;
	cyc_tilt_sums *part = &t->parts[t->n_parts++];
	*part = (cyc_tilt_sums){ .n_particles = 5, .half = half };
	ASSERT_OK(cyc_alloc(&part->cc, 9 * n, sizeof(float)));
	float **const lists[] = { &part->cc,    &part->cq,    &part->qq,   &part->xc_re,
		                      &part->xc_im, &part->xq_re, &part->xq_im };
	for (size_t k = 1; k < 7; k++) *lists[k] = part->cc + k * n;
	double k_max = p->a->basis[CYC_EVEN].k_max_invA;
	for (size_t i = 0; i < n; i++) {
		double kx = p->support->x[i] * p->support->step_invA, ky = p->support->y[i] * p->support->step_invA,
			   k2 = kx * kx + ky * ky;
		double e = 0, o = 0;
		for (int32_t j = 0; j < 15; j++) {
			int32_t order, m;
			if (j < 9) cyc_zernike_even_index(&order, &m, j);
			else cyc_zernike_odd_index(&order, &m, j - 9);
			*(j < 9 ? &e : &o) +=
				(j < 9 ? even[j] : odd[j - 9]) * cyc_power_term(order, m, kx / k_max, ky / k_max);
		}
		double delta = -CYC_PI * LAMBDA * z * k2 + e;
		for (int k = 0; k < N_HEIGHTS; k++) {
			double gamma = -CYC_PI * LAMBDA * (21000 + 300 * k) * k2 - 0.1, v = strength * exp(-15 * k2),
				   c = -sin(gamma), q = -cos(gamma);
			double x = (c * cos(delta) + q * sin(delta)) * v, s = NOISE * sqrt(strength * v);
			double re = x * cos(o) + s * cyc_rng_normal(rng), im = x * sin(o) + s * cyc_rng_normal(rng);
			part->cc[i] += (float)(v * c * c);
			part->cq[i] += (float)(v * c * q);
			part->qq[i] += (float)(v * q * q);
			part->xc_re[i] += (float)(re * c);
			part->xc_im[i] += (float)(im * c);
			part->xq_re[i] += (float)(re * q);
			part->xq_im[i] += (float)(im * q);
		}
	}
}

static void planted_create(planted *p, const double *even, const double *odd)
{
	cyc_rng rng = cyc_rng_make(11, 2, 5);
	memset(p, 0, sizeof *p);
	ASSERT_OK(cyc_ctf_support_create(&p->support, 64, 4, 28, 1 / (64 * 2.0)));
	ASSERT_OK(cyc_ctf_model_create(&p->m, p->support, LAMBDA, 1500));
	ASSERT_OK(cyc_aberrations_create(&p->a, p->m, LAMBDA, 4, 3, true, 1));
	p->sums = (cyc_series_sums){ .n_tilts = N_TILTS, .tilts = p->tilts };
	p->fit = (cyc_series_fit){ .n_tilts = N_TILTS, .tilts = p->fits };
	for (int f = 0; f < N_TILTS; f++) {
		cyc_tilt_sums *t = &p->tilts[f];
		double sin_tilt = 0.18 * (f - N_TILTS / 2);
		ASSERT_OK(cyc_alloc(&t->parts, 2, sizeof *t->parts));
		ASSERT_OK(cyc_alloc(&t->cc, 9 * (size_t)p->support->n, sizeof(float)));
		float **const lists[] = { &t->cc, &t->cq, &t->qq, &t->xc_re, &t->xc_im, &t->xq_re, &t->xq_im };
		for (size_t k = 1; k < 7; k++) *lists[k] = t->cc + k * (size_t)p->support->n;
		for (int h = 0; h < 2; h++) add_part(t, h, p, even, odd, 80 * sin(3.0 * f), 40, &rng);
		t->n_particles = 10;
		p->fits[f] = (cyc_tilt_fit){ .has_data = true,
			                         .sin_tilt = sin_tilt,
			                         .cos_tilt = sqrt(1 - sin_tilt * sin_tilt),
			                         .dose_e_per_A2 = 3 * f,
			                         .input = { 21000, 0, 0 },
			                         .input_scale = 1 };
		ASSERT_OK(cyc_alloc(&p->fits[f].log_l, p->m->n_z, sizeof(double)));
	}
}

static void planted_destroy(planted *p)
{
	for (int f = 0; f < N_TILTS; f++) {
		for (int h = 0; h < 2; h++) cyc_free(p->tilts[f].parts[h].cc);
		cyc_free(p->tilts[f].parts);
		cyc_free(p->tilts[f].cc);
		cyc_free(p->fits[f].log_l);
	}
	cyc_aberrations_destroy(&p->a);
	cyc_ctf_model_destroy(&p->m);
	cyc_ctf_support_destroy(&p->support);
}

/* Largest difference of a group's phase and the planted one at the edge, what tilts can take over left out.
 */
static double largest_error(const planted *p, int parity, const double *wanted)
{
	double worst = 0;
	for (int32_t j = 0; j < p->a->basis[parity].n; j++)
		if (p->a->basis[parity].order[j] >= 3)
			worst = fmax(worst, fabs(p->a->groups[0].theta[parity][j] - wanted[j]));
	return worst;
}

/* Small phases and such that wind around at the edge; the tilts' defocus errors come out too, and thread
 * counts do not matter. */
static void planted_phases_are_found(void **state)
{
	(void)state;
	for (int size = 0; size < 2; size++) {
		double first[CYC_N_PARITIES][CYC_MAX_TERMS];
		for (int threads = 1; threads < 3; threads++) {
			planted p;
			cyc_ctf_widths w = cyc_ctf_widths_default();
			const cyc_ctf_estimate_options o = { .do_defocus = true, .do_scale = true, .n_threads = threads };
			cyc_series_sums *sums[1];
			planted_create(&p, EVEN[size], ODD[size]);
			sums[0] = &p.sums;
			ASSERT_OK(cyc_aberrations_apply(sums, 1, p.a, threads));
			ASSERT_OK(cyc_ctf_estimate(&p.fit, &w, p.m, (const cyc_series_sums *const *)sums, 1, &o));
			ASSERT_OK(cyc_aberrations_learn(p.a, &p.fit, &w, p.m, sums, 1, &o));
			assert_true(p.a->groups[0].is_learned && !p.a->groups[0].is_rejected[CYC_EVEN] &&
			            !p.a->groups[0].is_rejected[CYC_ODD]);
			double even = largest_error(&p, CYC_EVEN, EVEN[size]),
				   odd = largest_error(&p, CYC_ODD, ODD[size]);
			if (threads == 1)
				print_message("phases of up to %g rad: errors %.3f (even), %.3f (odd) rad\n",
				              size ? 12.0 : 1.5, even, odd);
			if (!(even < 0.12 && odd < 0.12)) fail_msg("errors of %.3f and %.3f rad", even, odd);
			for (int f = 0; f < N_TILTS; f++) close_to(p.fits[f].change.z, 80 * sin(3.0 * f), 30);
			if (threads == 1) memcpy(first[0], p.a->groups[0].theta[0], sizeof first);
			else assert_memory_equal(first[0], p.a->groups[0].theta[0], sizeof first);
			planted_destroy(&p);
		}
	}
}

/* Sums with noise alone in their phases: the half-sets do not confirm anything in each other. */
static void nothing_is_found_where_nothing_is(void **state)
{
	(void)state;
	static const double none[9] = { 0 };
	planted p;
	cyc_ctf_widths w = cyc_ctf_widths_default();
	const cyc_ctf_estimate_options o = { .do_defocus = true, .do_scale = true, .n_threads = 2 };
	cyc_series_sums *sums[1];
	planted_create(&p, none, none);
	sums[0] = &p.sums;
	/* Noise as the likelihood expects it: power 1/2 a component at weight 1. */
	cyc_rng rng = cyc_rng_make(5, 5, 5);
	for (int f = 0; f < N_TILTS; f++)
		for (int h = 0; h < 2; h++)
			for (int32_t i = 0; i < p.support->n; i++) {
				cyc_tilt_sums *t = &p.tilts[f].parts[h];
				double sc = sqrt(0.5 * (double)t->cc[i]), sq = sqrt(0.5 * (double)t->qq[i]);
				t->xc_re[i] += (float)(sc * cyc_rng_normal(&rng));
				t->xc_im[i] += (float)(sc * cyc_rng_normal(&rng));
				t->xq_re[i] += (float)(sq * cyc_rng_normal(&rng));
				t->xq_im[i] += (float)(sq * cyc_rng_normal(&rng));
			}
	ASSERT_OK(cyc_aberrations_apply(sums, 1, p.a, 2));
	ASSERT_OK(cyc_ctf_estimate(&p.fit, &w, p.m, (const cyc_series_sums *const *)sums, 1, &o));
	ASSERT_OK(cyc_aberrations_learn(p.a, &p.fit, &w, p.m, sums, 1, &o));
	for (int k = 0; k < CYC_N_PARITIES; k++) {
		assert_true(p.a->groups[0].is_rejected[k]);
		close_to(largest_error(&p, k, none), 0, 0);
	}
	planted_destroy(&p);
}

/* At the planted phases nothing pulls; away from them the slope is the curvature times the way back; pictures
 * add up to the same. */
static void models_follow_the_phase(void **state)
{
	(void)state;
	planted p;
	cyc_ctf_widths w = cyc_ctf_widths_default();
	cyc_aberration_evidence *e = NULL;
	planted_create(&p, EVEN[0], ODD[0]);
	const cyc_series_sums *sums[1] = { &p.sums };
	/* Tilts that are held fast, so that nothing is eliminated. */
	w.z_input_A = w.z_trend_A = w.a_input_A = w.a_trend_A = 1e-3;
	w.shift_A = 1e-5;
	for (int f = 0; f < N_TILTS; f++) p.fits[f].change.z = 80 * sin(3.0 * f);
	ASSERT_OK(cyc_aberration_evidence_create(&e, p.a, true));
	for (int parity = 0; parity < CYC_N_PARITIES; parity++) {
		const double *truth = parity == CYC_EVEN ? EVEN[0] : ODD[0];
		int32_t n = p.a->basis[parity].n;
		for (int away = 0; away < 2; away++) {
			memcpy(p.a->groups[0].theta[CYC_EVEN], EVEN[0], sizeof EVEN[0]);
			memcpy(p.a->groups[0].theta[CYC_ODD], ODD[0], sizeof ODD[0]);
			p.a->groups[0].theta[parity][n - 1] = truth[n - 1] + 0.02 * away;
			cyc_aberrations_update(p.a);
			cyc_aberration_evidence_clear(e, p.a);
			ASSERT_OK(cyc_aberrations_collect(e, p.a, &p.fit, sums, 1, &w, true, 2));
			ASSERT_OK(cyc_aberrations_draw(e, p.a, &p.fit, sums, 1, true, 2));
			double slope = 0, from_picture = 0, H = 0;
			for (int h = 0; h < 2; h++) {
				slope += e[0].half[h][parity].g[n - 1];
				H += e[0].half[h][parity].H[n - 1][n - 1];
			}
			close_to(slope, -0.02 * away * H, 0.005 * H);
			for (int32_t i = 0; i < p.support->n; i++)
				from_picture += e[0].picture[2 * parity * p.support->n + i] *
				                (double)p.a->basis[parity].value[(n - 1) * p.support->n + i];
			close_to(from_picture, slope, 1e-6 * H);
		}
	}
	cyc_aberration_evidence_destroy(&e, 1);
	planted_destroy(&p);
}

/* ---------------------------------------------------------------- simulated projects */

enum { BOX = 48 };

static cyc_simulate_options project(const char *name)
{
	cyc_simulate_options o = simulated_project(name);
	o.n_series = 2;
	o.n_particles = 14;
	o.edge_px = 26;
	o.n_tilts = 21;
	o.tilt_step_rad = cyc_deg_to_rad(5);
	o.dose_e_per_A2 = 4;
	o.defocus_min_A = 9000;
	o.defocus_max_A = 12000;
	o.signal = 6;
	o.error_defocus_A = o.error_astigmatism_A = o.error_scale = o.error_shift_A = o.error_position_A =
		o.error_orientation_rad = 0;
	o.n_threads = 2;
	return o;
}

static void reconstruct(const char *particles, const char *out)
{
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.input.root = g_root;
	r.input.particles = particles;
	r.input.tomograms = "tomograms.star";
	r.out_dir = out;
	r.box_px = BOX;
	r.crop_px = 32;
	r.taper_px = 3;
	r.symmetry = "O";
	r.n_threads = 2;
	ASSERT_OK(cyc_reconstruct_run(NULL, &r));
}

static cyc_ctfrefine_options options(const char *reference, const char *out)
{
	static char ref[2][64];
	cyc_ctfrefine_options o;
	cyc_ctfrefine_options_default(&o);
	for (int h = 0; h < 2; h++) snprintf(ref[h], sizeof ref[h], "%s/half%d.mrc", reference, h + 1);
	o.input.root = g_root;
	o.input.particles = "particles.star";
	o.input.tomograms = "tomograms.star";
	o.ref1 = ref[0];
	o.ref2 = ref[1];
	o.mask = "mask_align.mrc";
	o.out_dir = out;
	o.box_px = BOX;
	o.no_figures = true;
	o.n_threads = 2;
	return o;
}

static cyc_particle_set *read_particles(const char *name)
{
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *s = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&s, name, NULL, t, g_root));
	cyc_tomogram_set_destroy(&t);
	return s;
}

/* RMS differences of the phases of a file and the truth to a resolution, and of the planted ones themselves
 * [rad]: of the angular frequencies 4 (even) and 3 (odd), which are free of shifts, defocus and astigmatism.
 */
static void phase_errors(double *even, double *odd, double *planted_even, double *planted_odd,
                         const char *found, double limit_A)
{
	cyc_particle_set *a = read_particles(found), *b = read_particles("truth/particles.star");
	enum { N = 64, RINGS = 24 };
	double sum[4] = { 0 };
	for (int ring = 1; ring <= RINGS; ring++) {
		double k = ring / (limit_A * RINGS), part[4][2] = { { 0 } };
		for (int i = 0; i < N; i++) {
			double t = 2 * CYC_PI * i / N, kx = k * cos(t), ky = k * sin(t);
			const cyc_particle_set *const sets[2] = { a, b };
			for (int s = 0; s < 2; s++) {
				const cyc_optics_group *g = &sets[s]->optics[0];
				const cyc_ctf even_only = { .even_zernike = g->even_zernike, .n_even = g->n_even };
				double e = cyc_ctf_phase(&even_only, kx, ky, 0),
					   o = cyc_odd_phase(g->odd_zernike, g->n_odd, kx, ky);
				part[2 * s][0] += 2.0 / N * e * cos(4 * t);
				part[2 * s][1] += 2.0 / N * e * sin(4 * t);
				part[2 * s + 1][0] += 2.0 / N * o * cos(3 * t);
				part[2 * s + 1][1] += 2.0 / N * o * sin(3 * t);
			}
		}
		for (int p = 0; p < 2; p++) {
			sum[p] +=
				ring * (cyc_square(part[p][0] - part[2 + p][0]) + cyc_square(part[p][1] - part[2 + p][1]));
			sum[2 + p] += ring * (cyc_square(part[2 + p][0]) + cyc_square(part[2 + p][1]));
		}
	}
	double count = RINGS * (RINGS + 1);
	*even = sqrt(sum[0] / count);
	*odd = sqrt(sum[1] / count);
	*planted_even = sqrt(sum[2] / count);
	*planted_odd = sqrt(sum[3] / count);
	cyc_particle_set_destroy(&a);
	cyc_particle_set_destroy(&b);
}

/* Mean correlation of the shells of a map with the truth. */
static double agreement(const char *map)
{
	cyc_volume *v[2] = { NULL, NULL };
	char path[2][300];
	double sum = 0;
	snprintf(path[0], sizeof path[0], "%s/%s", g_root, map);
	snprintf(path[1], sizeof path[1], "%s/truth/map.mrc", g_root);
	cyc_fft3 *plan = NULL;
	cyc_cfloat *ft[2];
	ASSERT_OK(cyc_fft3_create(&plan, 32, 1));
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(cyc_mrc_read(&v[i], path[i]));
		assert_int_equal(v[i]->nx, 32);
		ASSERT_OK(cyc_alloc(&ft[i], cyc_half_count3(32), sizeof *ft[i]));
		ASSERT_OK(cyc_fft3_forward(ft[i], plan, v[i]->data));
		cyc_volume_destroy(&v[i]);
	}
	double fsc[17], n = 0;
	cyc_fsc_compute(fsc, ft[0], ft[1], 32);
	for (int i = 6; i < 15; i++, n++) sum += fsc[i];
	for (int i = 0; i < 2; i++) cyc_free(ft[i]);
	cyc_fft3_destroy(&plan);
	return sum / n;
}

static void planted_aberrations_are_found_and_used(void **state)
{
	(void)state;
	cyc_simulate_options p = project("aberrations");
	double even, odd, planted_even, planted_odd;
	p.aberration_rad = 5;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	reconstruct("particles.star", "R0");
	cyc_ctfrefine_options o = options("R0", "C1");
	cyc_ctfrefine_result r;
	o.do_even_aberrations = o.do_odd_aberrations = true;
	o.no_figures = false;
	ASSERT_OK(cyc_ctfrefine_run(&r, &o));
	assert_int_equal(r.n_aberrations, 2);
	assert_string_equal(r.particles, "C1/particles.star");
	cyc_ctfrefine_result_deinit(&r);
	assert_true(temp_exists("aberrations/C1/aberrations_group1.png") &&
	            temp_exists("aberrations/C1/aberrations.star"));
	phase_errors(&even, &odd, &planted_even, &planted_odd, "C1/particles.star", 9.5);
	print_message("tetrafoil %.3f of %.3f rad wrong, trefoil %.3f of %.3f\n", even, planted_even, odd,
	              planted_odd);
	if (!(even < 0.3 * planted_even && odd < 0.3 * planted_odd))
		fail_msg("even %.3f of %.3f rad, odd %.3f of %.3f", even, planted_even, odd, planted_odd);
	/* What was found makes a better map, and what is true one as good as it gets. */
	reconstruct("C1/particles.star", "R1");
	reconstruct("truth/particles.star", "RT");
	double before = agreement("R0/merged.mrc"), after = agreement("R1/merged.mrc"),
		   best = agreement("RT/merged.mrc");
	print_message("map: %.4f without, %.4f with, %.4f with the true ones\n", before, after, best);
	if (!(best > before && after > before + 0.6 * (best - before)))
		fail_msg("%.4f without, %.4f with, %.4f at best", before, after, best);
	/* In the other order of RELION's options: alone, with the tilts as they are. */
	o.out_dir = "C2";
	o.do_defocus = o.do_scale = false;
	ASSERT_OK(cyc_ctfrefine_run(&r, &o));
	assert_null(r.tomograms);
	assert_int_equal(r.n_aberrations, 2);
	cyc_ctfrefine_result_deinit(&r);
	phase_errors(&even, &odd, &planted_even, &planted_odd, "C2/particles.star", 9.5);
	assert_true(even < 0.3 * planted_even && odd < 0.3 * planted_odd);
	/* Once more, from what was found: hardly anything is left, and higher terms that a file has stay. */
	cyc_particle_set *s = read_particles("C1/particles.star");
	double more[12] = { 0 };
	memcpy(more, s->optics[0].odd_zernike, 6 * sizeof *more);
	more[11] = 3;
	ASSERT_OK(cyc_particle_set_put_aberrations(s, 0, NULL, 0, more, 12));
	ASSERT_OK(cyc_star_write(s->star, temp_path("aberrations/more.star")));
	cyc_particle_set_destroy(&s);
	o = options("R1", "C3");
	o.input.particles = "more.star";
	o.do_even_aberrations = o.do_odd_aberrations = true;
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	phase_errors(&even, &odd, &planted_even, &planted_odd, "C3/particles.star", 9.5);
	assert_true(even < 0.3 * planted_even && odd < 0.3 * planted_odd);
	s = read_particles("C3/particles.star");
	assert_int_equal(s->optics[0].n_odd, 12);
	close_to(s->optics[0].odd_zernike[11], 3, 1e-9);
	cyc_particle_set_destroy(&s);
}

static void planted_magnification_is_found_and_used(void **state)
{
	(void)state;
	cyc_simulate_options p = project("magnification");
	p.magnification_frac = 0.03;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	reconstruct("truth/particles.star", "RT");
	reconstruct("particles.star", "R0");
	double before = agreement("R0/merged.mrc"), best = agreement("RT/merged.mrc");
	print_message("map: %.4f without, %.4f with the true magnification\n", before, best);
	if (!(best > before + 0.0005)) fail_msg("%.4f without, %.4f with the true magnification", before, best);
	/* Twice: a map of distorted images is not quite what it should be. */
	cyc_ctfrefine_options o = options("R0", "C1");
	cyc_ctfrefine_result r;
	o.do_magnification = true;
	o.do_scale = false;
	ASSERT_OK(cyc_ctfrefine_run(&r, &o));
	assert_int_equal(r.n_magnifications, 1);
	cyc_ctfrefine_result_deinit(&r);
	reconstruct("C1/particles.star", "R1");
	o = options("R1", "C2");
	o.do_magnification = true;
	o.input.particles = "C1/particles.star";
	ASSERT_OK(cyc_ctfrefine_run(&r, &o));
	cyc_ctfrefine_result_deinit(&r);
	cyc_particle_set *s = read_particles("C2/particles.star");
	const double(*M)[2] = (const double(*)[2])s->optics[0].magnification;
	print_message("magnification %.4f %.4f / %.4f %.4f, planted 1.03 0.015 / 0.015 0.97\n", M[0][0], M[0][1],
	              M[1][0], M[1][1]);
	close_to(0.5 * (M[0][0] - M[1][1]), 0.03, 0.012);
	close_to(0.5 * (M[0][1] + M[1][0]), 0.015, 0.012);
	close_to(0.5 * (M[0][0] + M[1][1]), 1, 0.005);
	cyc_particle_set_destroy(&s);
}

static void a_clean_microscope_stays_clean(void **state)
{
	(void)state;
	cyc_simulate_options p = project("clean");
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	reconstruct("particles.star", "R0");
	cyc_ctfrefine_options o = options("R0", "C1");
	cyc_ctfrefine_result r;
	o.do_even_aberrations = o.do_odd_aberrations = o.do_magnification = true;
	ASSERT_OK(cyc_ctfrefine_run(&r, &o));
	assert_int_equal(r.n_aberrations, 0);
	assert_int_equal(r.n_magnifications, 0);
	cyc_ctfrefine_result_deinit(&r);
	cyc_particle_set *s = read_particles("C1/particles.star");
	assert_int_equal(s->optics[0].n_even, 0);
	assert_false(s->optics[0].has_magnification);
	cyc_particle_set_destroy(&s);
}

/* ---------------------------------------------------------------- threads, kills */

static void assert_same_results(const char *dir_a, const char *dir_b)
{
	static const char *const files[] = { "uncertainty.star", "particles.star", "aberrations.star",
		                                 "tilt_series/TS_01.star", "tilt_series/TS_10.star" };
	assert_same_files(dir_a, dir_b, files, sizeof files / sizeof *files);
}

/* Ten series, more than are learned from, in two optics groups; the second one only in the last series, which
 * is not learned from. */
static void same_bits_for_threads_and_after_kills(void **state)
{
	(void)state;
	cyc_simulate_options p = project("many");
	p.n_series = 10;
	p.n_particles = 4;
	p.n_tilts = 5;
	p.tilt_step_rad = cyc_deg_to_rad(20);
	p.image_nx = 180;
	p.image_ny = 170;
	p.aberration_rad = 5;
	ASSERT_OK(cyc_simulate_run(NULL, &p));
	cyc_particle_set *s = read_particles("particles.star");
	cyc_star_block *b = cyc_star_find(s->star, "optics"), *rows = cyc_star_find(s->star, "particles");
	int64_t row;
	ASSERT_OK(cyc_star_add_row(&row, b));
	for (int32_t c = 0; c < 6; c++)
		ASSERT_OK(cyc_star_set_text(b, 1, c, c == 0 ? "2" : c == 1 ? "other" : cyc_star_text(b, 0, c)));
	for (int64_t i = 36; i < 40; i++)
		ASSERT_OK(cyc_star_set_int(rows, i, cyc_star_column(rows, "rlnOpticsGroup"), 2));
	ASSERT_OK(cyc_star_write(s->star, temp_path("many/two.star")));
	cyc_particle_set_destroy(&s);
	reconstruct("two.star", "R0");
	cyc_ctfrefine_options o = options("R0", "T1");
	o.input.particles = "two.star";
	o.do_even_aberrations = o.do_odd_aberrations = o.do_magnification = true;
	o.n_threads = 1;
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	o.out_dir = "T2";
	o.n_threads = 2;
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	assert_same_results("T1", "T2");
	/* Learned from eight series, and a last step with all: right too. */
	double even, odd, planted_even, planted_odd;
	phase_errors(&even, &odd, &planted_even, &planted_odd, "T1/particles.star", 9.5);
	print_message("ten small series: tetrafoil %.3f of %.3f rad wrong, trefoil %.3f of %.3f\n", even,
	              planted_even, odd, planted_odd);
	assert_true(even < 0.4 * planted_even && odd < 0.4 * planted_odd);
	o.backend = "strict";
	ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
	assert_same_results("T1", "T2");
	o.backend = "cpu";
	o.out_dir = "Killed";
	o.resume = true;
	static const int points[] = { 3, 9,
		                          10 }; /* while learning, and after the first and second series after that */
	for (size_t k = 0; k < sizeof points / sizeof *points; k++) {
		RUN_UNTIL_KILLED(points[k], cyc_ctfrefine_run, &o);
		/* A series that was learned from: what it taught would not be what it is refined with. */
		if (k == 1) temp_write("many/Killed/temp/TS_03.aberrations", "damaged\n");
		if (k == 2) {
			assert_true(temp_exists("many/Killed/temp/TS_09.aberrations"));
			temp_write("many/Killed/temp/TS_09.aberrations",
			           "cyclotomo-aberrations 0 2\nend\n"); /* damaged: done again */
		}
		ASSERT_OK(cyc_ctfrefine_run(NULL, &o));
		assert_same_results("T1", "Killed");
		assert_false(temp_exists("many/Killed/temp"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(planted_phases_are_found),
		cmocka_unit_test(nothing_is_found_where_nothing_is),
		cmocka_unit_test(models_follow_the_phase),
		cmocka_unit_test(planted_aberrations_are_found_and_used),
		cmocka_unit_test(planted_magnification_is_found_and_used),
		cmocka_unit_test(a_clean_microscope_stays_clean),
		cmocka_unit_test(same_bits_for_threads_and_after_kills),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

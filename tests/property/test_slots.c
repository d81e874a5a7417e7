/* Particle images by slots: those of one slot add up as if the others were not in the set. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "project_fixture.h"

#include "halfmaps/accumulate.h"

enum { BOX = 40, N_SLOTS = 4 };

static int make_project(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	cyc_simulate_options p = simulated_project("slots");
	p.n_series = 1;
	p.n_tilts = 3;
	p.n_particles = 14;
	p.image_nx = 130;
	p.image_ny = 126;
	p.thickness_A = 300;
	p.edge_px = 12; /* windows of most particles leave the image */
	return cyc_simulate_run(NULL, &p) == CYC_OK ? 0 : -1;
}

/* A sum of integers, to be freed. */
static int64_t *values_of(const cyc_sums *s, int32_t i)
{
	int64_t *v = NULL;
	ASSERT_OK(cyc_alloc(&v, 3 * s->ball->count, sizeof *v));
	ASSERT_OK(cyc_buffer_download(v, s->sum[i], 3 * s->ball->count * sizeof *v));
	return v;
}

static bool is_zero(const int64_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] != 0) return false;
	return true;
}

/* Images of each slot's particles; with the scales of `scales`, if given. Returns their number. */
static int64_t accumulate(cyc_sums **out, cyc_backend *be, const cyc_accumulator_options *o,
                          const int8_t *slot, const cyc_sums *scales)
{
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *set = NULL;
	cyc_accumulator *a = NULL;
	cyc_box box;
	int64_t n_images = 0, n_outside = 0;
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&set, "particles.star", NULL, t, g_root));
	ASSERT_OK(cyc_box_create(&box, BOX, 1, t->series[0].pixel_size_A));
	cyc_accumulator_box(&box, o);
	ASSERT_OK(cyc_sums_create(out, be, BOX, BOX / 2, -1, N_SLOTS));
	ASSERT_OK(cyc_accumulator_create(&a, be, &box, o, &(cyc_accumulator_sums){ .sums = *out, .slot = slot }));
	if (scales) memcpy((*out)->spec, scales->spec, sizeof scales->spec);
	else ASSERT_OK(cyc_accumulator_measure(a, t, set, NULL, g_root));
	ASSERT_OK(cyc_accumulator_add(a, &n_images, &n_outside, t, set, NULL, 0, g_root));
	cyc_accumulator_destroy(&a);
	cyc_particle_set_destroy(&set);
	cyc_tomogram_set_destroy(&t);
	return n_images;
}

/* Every third particle in a slot of its own, or in none: the other sums are the same to the bit, with CTFs
 * and without, where images are weighted by how much of the window they show. (T2.7) */
static void particles_without_a_slot_do_not_count(void **state)
{
	(void)state;
	cyc_backend *be = NULL;
	int8_t apart[64], without[64];
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *set = NULL;
	ASSERT_OK(cyc_tomogram_set_read(&t, "tomograms.star", g_root));
	ASSERT_OK(cyc_particle_set_read(&set, "particles.star", NULL, t, g_root));
	for (int64_t i = 0; i < set->n; i++) {
		apart[i] = (int8_t)(2 * (set->particles[i].half > 0) + (i % 3 == 0));
		without[i] = i % 3 == 0 ? -1 : apart[i];
	}
	cyc_particle_set_destroy(&set);
	cyc_tomogram_set_destroy(&t);
	ASSERT_OK(cyc_backend_open(&be, "cpu", 2));
	for (int k = 0; k < 3; k++) {
		const cyc_accumulator_options o = {
			.crop_px = 32, .cutoff_frac = 0.01, .no_ctf = k == 1, .crop_images = k == 2
		};
		cyc_sums *all = NULL, *some = NULL;
		int64_t n_all = accumulate(&all, be, &o, apart, NULL),
				n_some = accumulate(&some, be, &o, without, all);
		print_message("%lld images, %lld of them in slots\n", (long long)n_all, (long long)n_some);
		assert_true(n_some > 10 && n_some < n_all);
		for (int32_t i = 0; i < N_SLOTS; i++) {
			int64_t *a = values_of(all, i), *b = values_of(some, i);
			size_t n = 3 * all->ball->count;
			assert_false(is_zero(a, n));
			if (i % 2 == 1) assert_true(is_zero(b, n));
			else if (memcmp(a, b, n * sizeof *a) != 0) fail_msg("options %d, slot %d differs", k, (int)i);
			cyc_free(a);
			cyc_free(b);
		}
		cyc_sums_destroy(&all);
		cyc_sums_destroy(&some);
	}
	cyc_backend_close(&be);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(particles_without_a_slot_do_not_count) };
	return cmocka_run_group_tests(tests, make_project, temp_dir_remove);
}

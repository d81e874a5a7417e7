/* Every allocation of post-processing and mask creation fails once: an error each time, no leak, no temporary
 * file left. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cyclotomo/map.h"

static char g_dir[64];

static int set_up(void **state)
{
	(void)state;
	enum { N = 16 };
	char path[128];
	strcpy(g_dir, "/tmp/cyc_map_fault_XXXXXX");
	if (!mkdtemp(g_dir)) return 1;
	for (int h = 0; h < 2; h++) {
		cyc_volume *v = NULL;
		if (cyc_volume_create(&v, N, N, N, 4.0) != CYC_OK) return 1;
		for (int i = 0; i < N * N * N; i++) {
			double d2 = cyc_square(i / (N * N) - 8) + cyc_square(i / N % N - 8) + cyc_square(i % N - 8);
			v->data[i] =
				(float)((d2 < 16 ? 1.0 : 0.0) + 0.5 * cyc_rng_uniform_at(1, 1, (uint64_t)h, (uint64_t)i));
		}
		snprintf(path, sizeof path, "%s/half%d.mrc", g_dir, h + 1);
		cyc_status st = cyc_mrc_write(path, v, 2, NULL);
		cyc_volume_destroy(&v);
		if (st != CYC_OK) return 1;
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", g_dir);
	return system(command);
}

static int count_temporary_files(void)
{
	int n = 0;
	DIR *d = opendir(g_dir);
	assert_non_null(d);
	for (struct dirent *e = readdir(d); e; e = readdir(d)) n += strstr(e->d_name, ".tmp") != NULL;
	closedir(d);
	return n;
}

static cyc_status make_mask(void)
{
	cyc_mask_options o;
	cyc_mask_result r;
	cyc_mask_options_default(&o);
	o.root = g_dir;
	o.input = "half1.mrc";
	o.output = "mask.mrc";
	o.n_threads = 2;
	o.has_soft_edge = true;
	o.soft_edge_px = 2.0;
	return cyc_mask_run(&r, &o);
}

static cyc_status postprocess(void)
{
	cyc_status st = CYC_OK;
	cyc_postprocess_options o;
	cyc_postprocess_result r = { 0 };
	cyc_postprocess_options_default(&o);
	o.root = g_dir;
	o.half1 = "half1.mrc";
	o.mask = "mask.mrc";
	o.out_root = "run";
	o.no_figures = true;
	o.local_resolution = true;
	o.n_threads = 2;
	CYC_TRY(cyc_postprocess_run(&r, &o));
done:
	cyc_postprocess_result_deinit(&r);
	return st;
}

static void fail_everywhere(cyc_status (*run)(void))
{
	int64_t before = cyc_alloc_count();
	assert_int_equal(run(), CYC_OK);
	int64_t n = cyc_alloc_count() - before, step = n / 400 + 1;
	assert_true(n > 10);
	/* Threads allocate too, so the last few may come in another number. */
	for (int64_t at = 1; at <= n - 5; at += at < 200 ? 1 : step) {
		cyc_alloc_fail_at(at);
		cyc_status st = run();
		cyc_alloc_fail_at(0);
		assert_int_equal(st, CYC_E_NOMEM);
		assert_int_equal(cyc_error_get()->status, CYC_E_NOMEM);
		assert_int_equal(count_temporary_files(), 0);
	}
	assert_int_equal(run(), CYC_OK);
}

static void mask_without_memory(void **state)
{
	(void)state;
	fail_everywhere(make_mask);
}

static void postprocess_without_memory(void **state)
{
	(void)state;
	fail_everywhere(postprocess);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(mask_without_memory),
		                                cmocka_unit_test(postprocess_without_memory) };
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

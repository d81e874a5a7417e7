/*
 * Every allocation of every reader and writer fails once: the call says CYC_E_NOMEM, gives nothing, leaks
 * nothing (the sanitizers see that), and leaves no file behind. Then it works.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temp_dir.h"
#include "small_project.h"

typedef cyc_status (*operation)(void);

static int n_temporary_files(const char *dir)
{
	int n = 0;
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d)) != NULL;) n += strstr(e->d_name, ".tmp") != NULL;
	if (d) closedir(d);
	return n;
}

/* Runs the operation with the n-th allocation failing, for n = 1, 2, ... until it has none left to fail. */
static void fail_each_allocation(operation op)
{
	int64_t n = 1;
	for (;; n++) {
		int64_t before = cyc_alloc_count();
		cyc_error_clear();
		cyc_alloc_fail_at(n);
		cyc_status st = op();
		cyc_alloc_fail_at(0);
		assert_int_equal(n_temporary_files(temp_dir), 0);
		if (cyc_alloc_count() - before < n) {
			assert_int_equal(st, CYC_OK);
			break;
		}
		if (st != CYC_E_NOMEM)
			print_error("allocation %lld: %s: %s\n", (long long)n, cyc_status_name(st),
			            cyc_error_get()->message);
		assert_int_equal(st, CYC_E_NOMEM);
		assert_int_equal(cyc_error_get()->status, CYC_E_NOMEM);
	}
	assert_true(n > 2);
}

static cyc_status star_read_and_write(void)
{
	cyc_star *s = NULL, *copy = NULL;
	cyc_star_block *b;
	int32_t column;
	int64_t row;
	cyc_status st = cyc_star_read(&s, temp_path("particles.star"));
	if (st == CYC_OK) st = cyc_star_require(&b, s, "particles");
	if (st == CYC_OK) st = cyc_star_ensure_column(&column, b, "new", "0");
	if (st == CYC_OK) st = cyc_star_set_double(b, 0, column, 1.5);
	if (st == CYC_OK) st = cyc_star_add_row(&row, b);
	if (st == CYC_OK) st = cyc_star_add_block(&b, s, "list", CYC_STAR_LIST);
	if (st == CYC_OK) st = cyc_star_list_set_double(b, "a", 2.5);
	if (st == CYC_OK) st = cyc_star_copy(&copy, s);
	if (st == CYC_OK) st = cyc_star_set_comment(copy, "a comment");
	if (st == CYC_OK) st = cyc_star_write(copy, temp_path("out.star"));
	cyc_star_destroy(&s);
	cyc_star_destroy(&copy);
	return st;
}

static cyc_status star_vectors(void)
{
	static const char TEXT[] = "data_p\nloop_\n_v\n[1,2,3]\n";
	static const double V[] = { 4.0, 5.0 };
	cyc_star *s = NULL;
	double *v = NULL;
	int32_t n;
	cyc_status st = cyc_star_parse(&s, TEXT, strlen(TEXT), "x");
	if (st == CYC_OK) st = cyc_star_vector(&v, &n, cyc_star_find(s, "p"), 0, 0);
	if (st == CYC_OK) st = cyc_star_set_vector(cyc_star_find(s, "p"), 0, 0, V, 2);
	cyc_free(v);
	cyc_star_destroy(&s);
	return st;
}

static cyc_status mrc_read_and_write(void)
{
	cyc_volume *v = NULL;
	char name[128];
	snprintf(name, sizeof name, "2@%s", temp_path("frames/b.mrcs"));
	cyc_status st = cyc_mrc_read(&v, name);
	if (st == CYC_OK) st = cyc_mrc_write(temp_path("out.mrc"), v, 12, NULL);
	else assert_null(v);
	cyc_volume_destroy(&v);
	return st;
}

static cyc_status project_read(void)
{
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *p = NULL;
	cyc_status st = cyc_tomogram_set_read(&t, "tomograms.star", temp_dir);
	if (st == CYC_OK) st = cyc_tilt_series_open(&t->series[1], temp_dir);
	if (st == CYC_OK) st = cyc_particle_set_read(&p, "particles.star", "motion.star", t, temp_dir);
	if (st != CYC_OK) assert_null(p);
	if (st == CYC_OK)
		st = cyc_tomogram_set_write(t, "Out/job001/", temp_dir,
		                            CYC_WRITE_DEFOCUS | CYC_WRITE_SCALE | CYC_WRITE_GEOMETRY);
	cyc_particle_set_destroy(&p);
	cyc_tomogram_set_destroy(&t);
	return st;
}

/* The older layout, and particles that need optics groups and names. */
static cyc_status project_read_older(void)
{
	cyc_tomogram_set *t = NULL;
	cyc_particle_set *p = NULL;
	cyc_status st = cyc_tomogram_set_read(&t, "older.star", temp_dir);
	if (st == CYC_OK) st = cyc_particle_set_read(&p, "bare.star", NULL, t, temp_dir);
	if (st == CYC_OK) st = cyc_tomogram_set_write(t, "Out/job002/", temp_dir, CYC_WRITE_DEFOCUS);
	cyc_particle_set_destroy(&p);
	cyc_tomogram_set_destroy(&t);
	return st;
}

static cyc_status sets_and_jobs(void)
{
	const cyc_job_option options[] = { { "b", "1" }, { "a", "2" } };
	cyc_project_input in = { .root = temp_dir, .optimisation_set = "set.star", .particles = "mine.star" };
	cyc_optimisation_set *s = NULL, *c = NULL;
	cyc_fsc_file *f = NULL;
	cyc_status st = cyc_project_resolve(&s, &in);
	if (st == CYC_OK) st = cyc_optimisation_set_copy(&c, s);
	if (st == CYC_OK) st = cyc_optimisation_set_write(c, temp_path("set2.star"));
	if (st == CYC_OK) st = cyc_fsc_file_read(&f, temp_path("fsc.star"));
	if (st == CYC_OK)
		st = cyc_job_begin(temp_path("Job/job001/"), "relion.ctfrefinetomo", options, 2, "command");
	if (st == CYC_OK) st = cyc_job_end(temp_path("Job/job001/"), CYC_OK);
	cyc_optimisation_set_destroy(&s);
	cyc_optimisation_set_destroy(&c);
	cyc_fsc_file_destroy(&f);
	return st;
}

static void star(void **state)
{
	(void)state;
	fail_each_allocation(star_read_and_write);
	fail_each_allocation(star_vectors);
}

static void mrc(void **state)
{
	(void)state;
	fail_each_allocation(mrc_read_and_write);
}

static void project(void **state)
{
	(void)state;
	fail_each_allocation(project_read);
	fail_each_allocation(project_read_older);
	fail_each_allocation(sets_and_jobs);
}

static int set_up(void **state)
{
	if (temp_dir_make(state) != 0) return -1;
	small_project_write();
	temp_write("set.star", "data_\n_rlnTomoParticlesFile p.star\n_rlnTomoTomogramsFile t.star\n");
	temp_write("t.star", "data_\n");
	temp_write("mine.star", "data_\n");
	temp_write("fsc.star",
	           "data_fsc\nloop_\n_rlnSpectralIndex\n_rlnFourierShellCorrelationCorrected\n0 1\n1 1\n2 0\n");
	temp_write("bare.star", "data_\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_"
	                        "rlnTomoVisibleFrames\nTS_01 1 2 3 \"[1, 1]\"\n");
	temp_write("older.star", TOMOGRAMS_HEAD
	           "TS_01 300 2.7 0.1 2 -1 100 100 60 og "
	           "x\n\ndata_TS_01\nloop_\n_rlnTomoProjX\n_rlnTomoProjY\n_rlnTomoProjZ\n"
	           "_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_rlnMicrographPreExposure\n"
	           "[1,0,0,0] [0,1,0,0] [0,0,1,0] 1 1 0 0\n[1,0,0,0] [0,1,0,0] [0,0,1,0] 1 1 0 3\n");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(star), cmocka_unit_test(mrc),
		                                cmocka_unit_test(project) };
	return cmocka_run_group_tests(tests, set_up, temp_dir_remove);
}

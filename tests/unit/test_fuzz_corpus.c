/* The fuzzers' targets on the kept corpus: every input that once mattered, in every build. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>

#include "cyclotomo/base.h"

#define LLVMFuzzerTestOneInput fuzz_star
#define must_be_same star_must_be_same
#include "fuzz/fuzz_star.c"
#undef LLVMFuzzerTestOneInput
#undef must_be_same
#define LLVMFuzzerTestOneInput fuzz_mrc
#define must_be_same mrc_must_be_same
#include "fuzz/fuzz_mrc.c"
#undef LLVMFuzzerTestOneInput
#undef must_be_same
#define LLVMFuzzerTestOneInput fuzz_project
#include "fuzz/fuzz_project.c"
#undef LLVMFuzzerTestOneInput

static void replay(const char *dir, int (*target)(const uint8_t *, size_t))
{
	int n_files = 0;
	DIR *d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char path[512], *data = NULL;
		size_t n;
		if (e->d_name[0] == '.') continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		assert_int_equal(cyc_read_file(&data, &n, path), CYC_OK);
		assert_int_equal(target((const uint8_t *)data, n), 0);
		cyc_free(data);
		n_files++;
	}
	closedir(d);
	assert_true(n_files >= 5);
}

static void star(void **state)
{
	(void)state;
	replay("fuzz/corpus/star", fuzz_star);
}

static void mrc(void **state)
{
	(void)state;
	replay("fuzz/corpus/mrc", fuzz_mrc);
}

static void project(void **state)
{
	(void)state;
	replay("fuzz/corpus/project", fuzz_project);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(star), cmocka_unit_test(mrc),
		                                cmocka_unit_test(project) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

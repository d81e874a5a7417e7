/* A folder of its own for a test: made, filled, removed. Include after <cmocka.h>. */
#ifndef CYC_TESTS_TEMP_DIR_H
#define CYC_TESTS_TEMP_DIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cyclotomo/base.h"

static char temp_dir[64];

static inline int temp_dir_make(void **state)
{
	(void)state;
	strcpy(temp_dir, "/tmp/cyclotomo_test_XXXXXX");
	return mkdtemp(temp_dir) ? 0 : -1;
}

static inline int temp_dir_remove_one(const char *path, const struct stat *s, int flag, struct FTW *f)
{
	(void)s;
	(void)flag;
	(void)f;
	return remove(path);
}

static inline int temp_dir_remove(void **state)
{
	(void)state;
	return nftw(temp_dir, temp_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Full path of a file in the folder; one of a few static buffers. */
static inline const char *temp_path(const char *name)
{
	static char buffer[8][512];
	static int i;
	i = (i + 1) % 8;
	snprintf(buffer[i], sizeof buffer[i], "%s/%s", temp_dir, name);
	return buffer[i];
}

static inline void temp_write(const char *name, const char *text)
{
	assert_int_equal(cyc_write_file(temp_path(name), text, strlen(text)), CYC_OK);
}

static inline bool temp_exists(const char *name) { return cyc_path_exists(temp_path(name)); }

/* The call fails with this status, and its message has all these texts. */
#define ASSERT_FAILS(call, status, ...)                                                                      \
	do {                                                                                                     \
		cyc_error_clear();                                                                                   \
		cyc_status got_ = (call);                                                                            \
		if (got_ != (status)) print_error("%s: %s\n", cyc_status_name(got_), cyc_error_get()->message);      \
		assert_int_equal(got_, (status));                                                                    \
		const char *wanted_[] = { __VA_ARGS__ };                                                             \
		for (size_t w_ = 0; w_ < sizeof wanted_ / sizeof *wanted_; w_++) {                                   \
			if (strstr(cyc_error_get()->message, wanted_[w_])) continue;                                     \
			print_error("'%s' is not in: %s\n", wanted_[w_], cyc_error_get()->message);                      \
			fail();                                                                                          \
		}                                                                                                    \
	} while (0)

#define ASSERT_OK(call)                                                                                      \
	do {                                                                                                     \
		cyc_status got_ = (call);                                                                            \
		if (got_ != CYC_OK) print_error("%s: %s\n", cyc_status_name(got_), cyc_error_get()->message);        \
		assert_int_equal(got_, CYC_OK);                                                                      \
	} while (0)

#endif

/* What the fuzz targets share: a check that aborts, and a folder in memory that goes away at exit. */
#ifndef CYC_TESTS_FUZZ_COMMON_H
#define CYC_TESTS_FUZZ_COMMON_H

#include "cyclotomo/base.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MUST(cond)                                                                                           \
	do {                                                                                                     \
		if (!(cond)) {                                                                                       \
			fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #cond, cyc_error_get()->message);        \
			abort();                                                                                         \
		}                                                                                                    \
	} while (0)

static char g_fuzz_dir[64];

static inline int fuzz_remove_one(const char *path, const struct stat *s, int flag, struct FTW *f)
{
	(void)s;
	(void)flag;
	(void)f;
	return remove(path);
}

static inline void fuzz_remove_dir(void) { nftw(g_fuzz_dir, fuzz_remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static inline const char *fuzz_dir(void)
{
	if (!g_fuzz_dir[0]) {
		snprintf(g_fuzz_dir, sizeof g_fuzz_dir, "%s/cyclotomo_fuzz_XXXXXX",
		         access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
		MUST(mkdtemp(g_fuzz_dir));
		atexit(fuzz_remove_dir);
	}
	return g_fuzz_dir;
}

#endif

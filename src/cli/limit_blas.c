/*
 * OpenBLAS makes threads and maps buffers for all of the machine's cores while the program is loaded, and
 * waits for ever where these are not available (ulimit -v). It must learn before it begins that one thread is
 * all it will be allowed: by an environment, which only a newly started program can be given, since the C
 * library is not ready for setenv() that early.
 */
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__linux__) && defined(__ELF__) && !defined(CYC_SANITIZED)
enum { MOST_VARIABLES = 4096 };
static char g_one[] = "OPENBLAS_NUM_THREADS=1";

static void limit_blas(int argc, char **argv, char **envp)
{
	static char *variables[MOST_VARIABLES + 2];
	char path[PATH_MAX];
	struct rlimit r;
	int n = 0;
	(void)argc;
	if (!envp || getrlimit(RLIMIT_AS, &r) != 0 || r.rlim_cur == RLIM_INFINITY) return;
	for (; envp[n] && n < MOST_VARIABLES; n++) {
		if (strcmp(envp[n], g_one) == 0) return; /* already set */
		variables[n] = strncmp(envp[n], g_one, sizeof g_one - 2) == 0 ? g_one : envp[n];
	}
	ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
	if (envp[n] || length <= 0) return;
	path[length] = '\0';
	variables[n] = g_one;
	(void)execve(path, argv, variables);
	/* Where that fails the program goes its way, and may hang. */
}

__attribute__((section(".preinit_array"), used)) static void (*const before_libraries)(int, char **,
                                                                                       char **) = limit_blas;
#else
typedef int cyc__nothing_here;
#endif

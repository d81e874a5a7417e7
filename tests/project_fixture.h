/* A simulated project in the test's folder, and runs that are killed or compared. Include after <cmocka.h>
 * and temp_dir.h. */
#ifndef CYC_TESTS_PROJECT_FIXTURE_H
#define CYC_TESTS_PROJECT_FIXTURE_H

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cyclotomo/simulate.h"
#include "temp_dir.h"

/* ---------------------------------------------------------------- the project */

static const char *g_root; /* of the present project */

/* The project of this name is the present one. */
static inline void use_project(const char *name)
{
	static char root[600];
	snprintf(root, sizeof root, "%s", temp_path(name));
	g_root = root;
}

/* Full path of a file in the project; one of a few static buffers. */
static inline const char *in_root(const char *name)
{
	static char buffer[8][1000];
	static int i;
	i = (i + 1) % 8;
	snprintf(buffer[i], sizeof buffer[i], "%.500s/%.400s", g_root, name);
	return buffer[i];
}

/* What simulated projects have in common; each test says what it changes. The new project is the present one.
 */
static inline cyc_simulate_options simulated_project(const char *name)
{
	cyc_simulate_options p;
	use_project(name);
	cyc_simulate_options_default(&p);
	cyc_simulate_options_preset(&p, CYC_SIMULATE_TINY);
	p.out_dir = g_root;
	p.symmetry = "O";
	p.image_nx = 250;
	p.image_ny = 237;
	p.thickness_A = 700;
	p.n_threads = 2;
	return p;
}

/* ---------------------------------------------------------------- files */

/* Two files of the project are the same to the byte. */
static inline void assert_same_file(const char *a, const char *b)
{
	char *data[2];
	size_t n[2];
	ASSERT_OK(cyc_read_file(&data[0], &n[0], in_root(a)));
	ASSERT_OK(cyc_read_file(&data[1], &n[1], in_root(b)));
	if (n[0] != n[1] || memcmp(data[0], data[1], n[0]) != 0) fail_msg("%s and %s differ", a, b);
	for (int i = 0; i < 2; i++) cyc_free(data[i]);
}

/* So are these files of two folders. */
static inline void assert_same_files(const char *dir_a, const char *dir_b, const char *const *files,
                                     size_t n_files)
{
	for (size_t i = 0; i < n_files; i++) {
		char a[400], b[400];
		snprintf(a, sizeof a, "%s/%s", dir_a, files[i]);
		snprintf(b, sizeof b, "%s/%s", dir_b, files[i]);
		assert_same_file(a, b);
	}
}

/* ---------------------------------------------------------------- kills */

static int g_kill_at, g_calls;

static inline void kill_at_progress(void *user, const char *what, int64_t n_done, int64_t n_total)
{
	(void)user;
	(void)what;
	(void)n_done;
	(void)n_total;
	if (++g_calls == g_kill_at) raise(SIGKILL);
}

/* Run a job in a process of its own, which is killed when it tells its progress for the n-th time; it must
 * not end before. The job is called with the options it expects. */
#define RUN_UNTIL_KILLED(n, job, options)                                                                    \
	do {                                                                                                     \
		int status_;                                                                                         \
		pid_t child_ = fork();                                                                               \
		assert_true(child_ >= 0);                                                                            \
		if (child_ == 0) {                                                                                   \
			g_kill_at = (n);                                                                                 \
			g_calls = 0;                                                                                     \
			cyc_progress_set_sink(kill_at_progress, NULL);                                                   \
			_exit(job(NULL, (options)) == CYC_OK ? 0 : 1);                                                   \
		}                                                                                                    \
		assert_int_equal(waitpid(child_, &status_, 0), child_);                                              \
		assert_true(WIFSIGNALED(status_) && WTERMSIG(status_) == SIGKILL);                                   \
	} while (0)

#endif

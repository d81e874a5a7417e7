/* What the machine gives a process: made-up /proc and /sys trees, affinity, files that are no files, requests
 * to stop. */
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "temp_dir.h"

#include "base/machine_internal.h"
#include "cyclotomo/mrc.h"

static bool is_near(double a, double b) { return fabs(a - b) <= 1e-9 * fabs(b); }

/* Version 2, as under systemd: the limit of a group above counts too, and files that are only cached do not.
 */
static void groups_of_version_2(void **state)
{
	(void)state;
	temp_write("v2/proc/self/cgroup", "0::/slurm/job7/step\n");
	temp_write(
		"v2/proc/self/mountinfo",
		"22 1 0:5 / /proc rw - proc proc rw\n30 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
	temp_write("v2/proc/meminfo", "MemTotal:  64000 kB\nMemFree: 1 kB\nMemAvailable:    50000 kB\n");
	temp_write("v2/sys/fs/cgroup/slurm/job7/step/cpu.max", "max 100000\n");
	temp_write("v2/sys/fs/cgroup/slurm/job7/cpu.max", "250000 100000\n");
	temp_write("v2/sys/fs/cgroup/slurm/job7/step/memory.max", "max\n");
	temp_write("v2/sys/fs/cgroup/slurm/job7/step/memory.current", "3000\n");
	temp_write("v2/sys/fs/cgroup/slurm/job7/memory.max", "10000\n");
	temp_write("v2/sys/fs/cgroup/slurm/job7/memory.high", "max\n");
	temp_write("v2/sys/fs/cgroup/slurm/job7/memory.current", "4000\n");
	temp_write("v2/sys/fs/cgroup/slurm/job7/memory.stat", "anon 2500\nfile 1500\ninactive_file 1000\n");
	cyc__group_limits l = cyc__group_limits_read(temp_path("v2"));
	assert_true(is_near(l.processors, 2.5) && is_near(l.memory_bytes, 7000));
	assert_true(is_near(cyc__memory_available_read(temp_path("v2")), 50000.0 * 1024));
	temp_write("v2/sys/fs/cgroup/slurm/job7/memory.current", "12000\n");
	assert_true(cyc__group_limits_read(temp_path("v2")).memory_bytes <= 0);
}

/* Version 1, in a container: the path is the host's, the mount begins at the container's own group. */
static void groups_of_version_1(void **state)
{
	(void)state;
	temp_write("v1/proc/self/cgroup", "11:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/other\n");
	temp_write("v1/proc/self/mountinfo",
	           "40 1 0:30 /docker/abc /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	           "41 1 0:31 /docker/abc /cg/memory rw - cgroup cgroup rw,memory\n");
	temp_write("v1/cg/cpu,cpuacct/cpu.cfs_quota_us", "150000\n");
	temp_write("v1/cg/cpu,cpuacct/cpu.cfs_period_us", "50000\n");
	temp_write("v1/cg/memory/memory.limit_in_bytes", "2000000\n");
	temp_write("v1/cg/memory/memory.usage_in_bytes", "1500000\n");
	temp_write("v1/cg/memory/memory.stat", "cache 7\ntotal_inactive_file 300000\n");
	cyc__group_limits l = cyc__group_limits_read(temp_path("v1"));
	assert_true(is_near(l.processors, 3) && is_near(l.memory_bytes, 800000));
	temp_write("v1/cg/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"); /* no limit */
	assert_true(isinf(cyc__group_limits_read(temp_path("v1")).processors));
}

static void no_groups(void **state)
{
	(void)state;
	cyc__group_limits l = cyc__group_limits_read(temp_path("nothing"));
	assert_true(isinf(l.processors) && isinf(l.memory_bytes));
	assert_true(isinf(cyc__memory_available_read(temp_path("nothing"))));
	temp_write("odd/proc/self/cgroup", "0::\nnonsense\n::\n");
	temp_write("odd/proc/self/mountinfo", "- \n1 2 3\n");
	l = cyc__group_limits_read(temp_path("odd"));
	assert_true(isinf(l.processors) && isinf(l.memory_bytes));
}

/* In a child, as neither can be undone: one processor, and little address space. */
static void this_process(void **state)
{
	(void)state;
	double free_bytes = cyc_memory_available_bytes();
	assert_true(free_bytes > 1e6 && isfinite(free_bytes));
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		cpu_set_t old, one;
		CPU_ZERO(&one);
		if (sched_getaffinity(0, sizeof old, &old) != 0) _exit(2);
		for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
			if (CPU_ISSET(i, &old)) CPU_SET(i, &one);
		if (sched_setaffinity(0, sizeof one, &one) != 0) _exit(3);
		if (cyc_n_processors() != 1) _exit(4);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
		_exit(0); /* sanitizers need more address space than any limit leaves */
#else
		const struct rlimit r = { (rlim_t)1 << 32, (rlim_t)1 << 32 };
		if (setrlimit(RLIMIT_AS, &r) != 0) _exit(5);
		_exit(cyc_memory_available_bytes() < (double)((rlim_t)1 << 32) ? 0 : 6);
#endif
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void only_files_are_read(void **state)
{
	(void)state;
	char *data = NULL;
	size_t n;
	cyc_mrc_info info;
	assert_int_equal(mkfifo(temp_path("pipe"), 0600), 0);
	assert_int_equal(mkfifo(temp_path("pipe.mrc"), 0600), 0);
	ASSERT_FAILS(cyc_read_file(&data, &n, temp_path("pipe")), CYC_E_IO, "pipe' is not a file, but a pipe");
	ASSERT_FAILS(cyc_mrc_read_info(&info, temp_path("pipe.mrc")), CYC_E_IO, "is not a file, but a pipe");
	ASSERT_FAILS(cyc_read_file(&data, &n, "/dev/zero"), CYC_E_IO, "is not a file, but a device");
	ASSERT_FAILS(cyc_read_file(&data, &n, temp_dir), CYC_E_IO, "is not a file, but a folder");
	assert_null(data);
}

static cyc_status slow_item(void *arg, int64_t i, int i_thread)
{
	(void)i_thread;
	if (i == 3) temp_write("RELION_JOB_ABORT_NOW", "");
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	__atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
	return CYC_OK;
}

/* A loop of 10 s ends within a second or two of the request, nested or not. */
static void loops_see_the_abort_file(void **state)
{
	(void)state;
	int n_done = 0;
	ASSERT_OK(cyc_cancel_watch_file(temp_path("RELION_JOB_ABORT_NOW")));
	ASSERT_FAILS(cyc_parallel_for(1000, 2, slow_item, &n_done), CYC_E_CANCELLED,
	             "on request:", "RELION_JOB_ABORT_NOW");
	assert_in_range(n_done, 4, 400);
	ASSERT_OK(cyc_cancel_watch_file(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_of_version_2), cmocka_unit_test(groups_of_version_1),
		cmocka_unit_test(no_groups),           cmocka_unit_test(this_process),
		cmocka_unit_test(only_files_are_read), cmocka_unit_test(loops_see_the_abort_file),
	};
	return cmocka_run_group_tests(tests, temp_dir_make, temp_dir_remove);
}

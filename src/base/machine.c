#include "base/machine_internal.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LINE = 4096 };

/* ---------------------------------------------------------------- small files of the kernel */

/* First line of a file, without its end; false if it cannot be read. */
static bool read_line(char *line, const char *path)
{
	FILE *f = fopen(path, "re");
	bool is_read = f && fgets(line, LINE, f);
	if (f) fclose(f);
	if (is_read) line[strcspn(line, "\n")] = '\0';
	return is_read;
}

/* A number, or infinity for "max", for other text and for a missing file. */
static double read_number(const char *path)
{
	char line[LINE], *end;
	if (!read_line(line, path)) return (double)INFINITY;
	double x = strtod(line, &end);
	return end == line ? (double)INFINITY : x;
}

/* The value of "KEY value" or "KEY: value" in a file of such lines; NaN if there is none. */
static double read_value(const char *path, const char *key)
{
	char line[LINE];
	size_t n = strlen(key);
	double x = CYC_NAN;
	FILE *f = fopen(path, "re");
	while (f && isnan(x) && fgets(line, sizeof line, f)) {
		if (strncmp(line, key, n) == 0 && (line[n] == ' ' || line[n] == ':')) x = strtod(line + n + 1, NULL);
	}
	if (f) fclose(f);
	return x;
}

/* ---------------------------------------------------------------- control groups */

typedef struct {
	const char *root;
	char dir[2 * LINE + 16]; /* the group's folder */
	size_t n_mount;          /* characters of `dir` up to and with the mount point */
	bool is_v2;
} group;

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; (p = strstr(p, word)) != NULL; p += n) {
		if ((p == list || p[-1] == ',') && (p[n] == '\0' || p[n] == ',')) return true;
	}
	return false;
}

/* Path of this process within the hierarchy of a controller; of version 2 if `controller` is "". */
static bool find_path(char *path, const char *root, const char *controller)
{
	char file[LINE], line[LINE];
	bool is_found = false;
	snprintf(file, sizeof file, "%s/proc/self/cgroup", root);
	FILE *f = fopen(file, "re");
	while (f && !is_found && fgets(line, sizeof line, f)) { /* number:controllers:path */
		line[strcspn(line, "\n")] = '\0';
		char *list = strchr(line, ':'), *at = list ? strchr(list + 1, ':') : NULL;
		if (!at) continue;
		*at++ = '\0';
		list++;
		is_found = controller[0] ? has_word(list, controller) : list[0] == '\0';
		if (is_found) memcpy(path, at, strlen(at) + 1);
	}
	if (f) fclose(f);
	return is_found;
}

/* Where that hierarchy is mounted, and which of its folders is the top of the mount (not "/" inside
 * containers). */
static bool find_mount(char *mount, char *top, const char *root, const char *controller)
{
	char file[LINE], line[LINE], type[64], options[LINE];
	bool is_found = false;
	snprintf(file, sizeof file, "%s/proc/self/mountinfo", root);
	FILE *f = fopen(file, "re");
	while (f && !is_found && fgets(line, sizeof line, f)) {
		const char *rest = strstr(line, " - ");
		if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", top, mount) != 2) continue;
		if (sscanf(rest + 3, "%63s %*s %4095s", type, options) != 2) continue;
		is_found = controller[0] ? strcmp(type, "cgroup") == 0 && has_word(options, controller)
		                         : strcmp(type, "cgroup2") == 0;
	}
	if (f) fclose(f);
	return is_found;
}

static bool find_group(group *g, const char *root, const char *controller)
{
	char path[LINE], mount[LINE], top[LINE];
	*g = (group){ .root = root, .is_v2 = controller[0] == '\0' };
	if (!find_path(path, root, controller) || !find_mount(mount, top, root, controller)) return false;
	/* Inside a container the mount begins at the container's group, while the path may be the host's. */
	size_t n_top = strcmp(top, "/") == 0 ? 0 : strlen(top);
	const char *below = strncmp(path, top, n_top) == 0 ? path + n_top : "";
	int n = snprintf(g->dir, sizeof g->dir, "%s%s", root, mount);
	g->n_mount = (size_t)n;
	snprintf(g->dir + n, sizeof g->dir - (size_t)n, "%s", strcmp(below, "/") == 0 ? "" : below);
	return true;
}

/* To the group above; false at the top of the mount. */
static bool go_up(group *g)
{
	char *slash = strrchr(g->dir + g->n_mount, '/');
	if (!slash) return false;
	*slash = '\0';
	return true;
}

static double group_number(const group *g, const char *name)
{
	char path[3 * LINE];
	snprintf(path, sizeof path, "%s/%s", g->dir, name);
	return read_number(path);
}

static double group_processors(const group *g)
{
	char path[3 * LINE], line[LINE];
	double quota = (double)INFINITY, period = 0;
	if (g->is_v2) {
		snprintf(path, sizeof path, "%s/cpu.max", g->dir);
		if (!read_line(line, path) || sscanf(line, "%lf %lf", &quota, &period) != 2) return (double)INFINITY;
	} else {
		quota = group_number(g, "cpu.cfs_quota_us");
		period = group_number(g, "cpu.cfs_period_us");
	}
	return quota > 0 && period > 0 && isfinite(quota) && isfinite(period) ? quota / period : (double)INFINITY;
}

/* What is left below the limit; files that are only cached and not in use are given up by the kernel. */
static double group_memory(const group *g)
{
	char path[3 * LINE];
	double limit = group_number(g, g->is_v2 ? "memory.max" : "memory.limit_in_bytes");
	if (g->is_v2) limit = fmin(limit, group_number(g, "memory.high"));
	double used = group_number(g, g->is_v2 ? "memory.current" : "memory.usage_in_bytes");
	if (!isfinite(limit) || !isfinite(used)) return (double)INFINITY;
	snprintf(path, sizeof path, "%s/memory.stat", g->dir);
	double cached = read_value(path, g->is_v2 ? "inactive_file" : "total_inactive_file");
	return fmax(limit - used + (isnan(cached) ? 0 : cached), 0);
}

cyc__group_limits cyc__group_limits_read(const char *root)
{
	cyc__group_limits l = { (double)INFINITY, (double)INFINITY };
	group g;
	for (bool is_in = find_group(&g, root, "cpu"); is_in; is_in = go_up(&g))
		l.processors = fmin(l.processors, group_processors(&g));
	for (bool is_in = find_group(&g, root, "memory"); is_in; is_in = go_up(&g))
		l.memory_bytes = fmin(l.memory_bytes, group_memory(&g));
	for (bool is_in = find_group(&g, root, ""); is_in; is_in = go_up(&g)) {
		l.processors = fmin(l.processors, group_processors(&g));
		l.memory_bytes = fmin(l.memory_bytes, group_memory(&g));
	}
	return l;
}

/* ---------------------------------------------------------------- this process */

double cyc__memory_available_read(const char *root)
{
	char path[LINE];
	snprintf(path, sizeof path, "%s/proc/meminfo", root);
	double kB = read_value(path, "MemAvailable");
	return isnan(kB) ? (double)INFINITY : 1024 * kB;
}

/* Address space left below `ulimit -v`. */
static double address_space_left(void)
{
	struct rlimit r;
	char line[LINE];
	double pages;
	if (getrlimit(RLIMIT_AS, &r) != 0 || r.rlim_cur == RLIM_INFINITY) return (double)INFINITY;
	if (!read_line(line, "/proc/self/statm") || sscanf(line, "%lf", &pages) != 1) pages = 0;
	return fmax((double)r.rlim_cur - pages * (double)sysconf(_SC_PAGESIZE), 0);
}

/* Processes that share what the machine has. */
static int g_share_processors = 1, g_share_memory = 1;
void cyc_processors_divide(int n) { g_share_processors = n > 1 ? n : 1; }
void cyc_memory_divide(int n) { g_share_memory = n > 1 ? n : 1; }

double cyc_memory_available_bytes(void)
{
	double bytes = fmin(cyc__memory_available_read(""), cyc__group_limits_read("").memory_bytes);
	/* Neither /proc nor a limit: all that the machine has. */
	if (!isfinite(bytes)) bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	/* The address space is that of each process. */
	return fmin(bytes / g_share_memory, address_space_left());
}

/* Processors of the affinity mask; 0 if it cannot be read. The kernel refuses masks that are too small for
 * its own. */
static int affinity_count(void)
{
	int n = 0;
	for (int n_max = 1024; n == 0 && n_max <= 1 << 20; n_max *= 2) {
		cpu_set_t *mask = CPU_ALLOC((size_t)n_max);
		if (!mask) return 0;
		if (sched_getaffinity(0, CPU_ALLOC_SIZE((size_t)n_max), mask) == 0)
			n = CPU_COUNT_S(CPU_ALLOC_SIZE((size_t)n_max), mask);
		CPU_FREE(mask);
	}
	return n;
}

int cyc_n_processors(void)
{
	long n = affinity_count();
	if (n <= 0) n = sysconf(_SC_NPROCESSORS_ONLN);
	/* A quota of 2.5 processors keeps two threads busy all the time; with a third all would be stopped in
	 * turn. */
	double quota = floor(cyc__group_limits_read("").processors);
	if (quota < (double)n) n = quota >= 1 ? (long)quota : 1;
	n /= g_share_processors;
	return n > 0 ? (int)n : 1;
}

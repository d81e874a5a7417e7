#include "cyclotomo/base.h"

#include "base/thread_start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <xxhash.h>

uint64_t cyc_hash(uint64_t h, const void *data, size_t n) { return XXH3_64bits_withSeed(data, n, h); }

uint64_t cyc_hash_string(uint64_t h, const char *s)
{
	/* The terminating zero is hashed too, so "ab","c" and "a","bc" differ. */
	return s ? cyc_hash(h, s, strlen(s) + 1) : cyc_hash(h, "\1", 1);
}

cyc_status cyc_path_join(char **out, const char *a, const char *b)
{
	if (!a || !a[0] || b[0] == '/') return cyc_strdup(out, b);
	size_t n = strlen(a);
	return cyc_asprintf(out, "%s%s%s", a, a[n - 1] == '/' ? "" : "/", b);
}

cyc_status cyc_path_dir(char **out, const char *path)
{
	const char *slash = strrchr(path, '/');
	return cyc_asprintf(out, "%.*s", slash ? (int)(slash - path) + 1 : 0, path);
}

bool cyc_path_exists(const char *path) { return access(path, F_OK) == 0; }

cyc_status cyc_make_dirs(const char *path)
{
	cyc_status st = CYC_OK;
	char *p = NULL;
	if (!path[0]) return CYC_OK;
	CYC_TRY(cyc_strdup(&p, path));
	for (char *c = p + 1;; c++) {
		if (*c != '/' && *c != '\0') continue;
		char keep = *c;
		*c = '\0';
		CYC_CHECK(mkdir(p, 0777) == 0 || errno == EEXIST, CYC_E_IO, "cannot create folder '%s': %s", p,
		          strerror(errno));
		*c = keep;
		if (keep == '\0') break;
	}
	struct stat s;
	CYC_CHECK(stat(p, &s) == 0 && S_ISDIR(s.st_mode), CYC_E_IO, "'%s' exists but is not a folder", p);
done:
	cyc_free(p);
	return st;
}

cyc_status cyc_make_parent_dirs(const char *path)
{
	cyc_status st = CYC_OK;
	char *dir = NULL;
	CYC_TRY(cyc_path_dir(&dir, path));
	CYC_TRY(cyc_make_dirs(dir));
done:
	cyc_free(dir);
	return st;
}

cyc_status cyc_disk_free(double *bytes, const char *path)
{
	cyc_status st = CYC_OK;
	struct statvfs v;
	char *p = NULL;
	CYC_TRY(cyc_strdup(&p, path[0] ? path : "."));
	for (size_t n = strlen(p); statvfs(p, &v) != 0;) {
		CYC_CHECK(errno == ENOENT, CYC_E_IO, "cannot determine the free disk space for '%s': %s", path,
		          strerror(errno));
		while (n > 0 && p[n - 1] == '/') p[--n] = '\0';
		while (n > 0 && p[n - 1] != '/') p[--n] = '\0';
		if (n == 0) strcpy(p, "."); /* never longer than what was there */
	}
	*bytes = (double)v.f_bavail * (double)v.f_frsize;
done:
	cyc_free(p);
	return st;
}

/* Called for each finished file; changed only while no file is being written. */
static cyc_outfile_listener g_listener;
static void *g_listener_user;

void cyc_outfile_set_listener(cyc_outfile_listener listener, void *user)
{
	g_listener = listener;
	g_listener_user = user;
}

/* A file without a name, where the file system has such (else *out is NULL): killed at any moment, nothing of
 * it stays. */
static cyc_status open_nameless(FILE **out, const char *path)
{
	cyc_status st = CYC_OK;
	char *dir = NULL;
	*out = NULL;
	CYC_TRY(cyc_path_dir(&dir, path));
	/* It gets its name through /proc, which small containers lack. */
	if (access("/proc/self/fd", X_OK) != 0) goto done;
	int fd = open(dir[0] ? dir : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
	if (fd < 0) goto done;
	*out = fdopen(fd, "wb");
	if (!*out) close(fd);
done:
	cyc_free(dir);
	return st;
}

/* Process and machine: keeps two runs into one folder, on different nodes too, from writing into each other's
 * file. */
static uint64_t process_number(void)
{
	struct utsname host;
	uint64_t machine = uname(&host) == 0 ? cyc_hash_string(CYC_HASH_INIT, host.nodename) % 1000000 : 0;
	return machine * 10000000 + (uint64_t)getpid();
}

cyc_status cyc_outfile_open(cyc_outfile *o, const char *path)
{
	cyc_status st = CYC_OK;
	memset(o, 0, sizeof *o);
	CYC_TRY(cyc_make_parent_dirs(path));
	CYC_TRY(cyc_strdup(&o->path, path));
	CYC_TRY(cyc_asprintf(&o->tmp, "%s.tmp%llu", path, (unsigned long long)process_number()));
	CYC_TRY(open_nameless(&o->f, path));
	o->is_nameless = o->f != NULL;
	if (!o->f) o->f = fopen(o->tmp, "wb");
	CYC_CHECK(o->f, CYC_E_IO, "cannot write '%s': %s", path, strerror(errno));
done:
	if (st != CYC_OK) cyc_outfile_abandon(o);
	return st;
}

/* Give a nameless file the temporary name; the next step, a rename, replaces what is under the final one. */
static bool give_name(const cyc_outfile *o)
{
	char from[64];
	if (!o->is_nameless) return true;
	snprintf(from, sizeof from, "/proc/self/fd/%d", fileno(o->f));
	unlink(o->tmp);
	return linkat(AT_FDCWD, from, AT_FDCWD, o->tmp, AT_SYMLINK_FOLLOW) == 0;
}

/* The new name is on the disk, too, before anything is built on it. `tmp`, of no more use, becomes the
 * folder: no memory can lack here. */
static bool sync_folder(char *tmp)
{
	char *slash = strrchr(tmp, '/');
	if (slash) slash[1] = '\0';
	else strcpy(tmp, "."); /* it was longer */
	int fd = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Folders that may be written but not read, and file systems that know no such call, have done what they
	 * can. */
	bool is_done = fd < 0 || fsync(fd) == 0 || errno == EINVAL || errno == EBADF || errno == ENOTSUP ||
	               errno == ENOSYS || errno == EROFS;
	if (fd >= 0) close(fd);
	return is_done;
}

static cyc_status commit(cyc_outfile *o)
{
	cyc_status st = CYC_OK;
	FILE *f = o->f;
	bool failed = ferror(f) || fflush(f) != 0 || fsync(fileno(f)) != 0 || !give_name(o);
	int e = errno;
	failed = fclose(f) != 0 || failed;
	o->f = NULL;
	if (failed) unlink(o->tmp);
	CYC_CHECK(!failed, CYC_E_IO, "cannot write '%s': %s", o->path, strerror(e ? e : EIO));
	if (rename(o->tmp, o->path) != 0) {
		e = errno;
		unlink(o->tmp);
		CYC_RAISE(CYC_E_IO, "cannot rename '%s' to '%s': %s", o->tmp, o->path, strerror(e));
	}
	CYC_CHECK(sync_folder(o->tmp), CYC_E_IO, "cannot write the folder of '%s': %s", o->path, strerror(errno));
	if (g_listener) g_listener(g_listener_user, o->path);
done:
	if (st != CYC_OK)
		cyc_error_hint("check that the disk is not full and the folder is writable; the file of that name "
		               "was not changed");
	cyc_free(o->path);
	cyc_free(o->tmp);
	memset(o, 0, sizeof *o);
	return st;
}

/* ---------------------------------------------------------------- on another thread */

/* The file that is being completed for a thread. */
typedef struct {
	bool is_begun, is_running;
	pthread_t thread;
	cyc_outfile file;
	cyc_status status;
	cyc_error error;
} late_commit;
static _Thread_local late_commit g_late;

static void *commit_late(void *arg)
{
	late_commit *l = arg;
	l->status = commit(&l->file);
	if (l->status != CYC_OK) l->error = *cyc_error_get();
	cyc_error_clear();
	return NULL;
}

static cyc_status wait_for_last(void)
{
	late_commit *l = &g_late;
	if (!l->is_running) return CYC_OK;
	pthread_join(l->thread, NULL);
	l->is_running = false;
	if (l->status == CYC_OK) return CYC_OK;
	cyc_error_set(&l->error);
	return cyc_error_frame(l->status, __FILE__, __LINE__, __func__);
}

void cyc_commits_begin(void) { g_late.is_begun = true; }

cyc_status cyc_commits_end(cyc_status st)
{
	g_late.is_begun = false;
	if (st == CYC_OK) return wait_for_last();
	const cyc_error first = *cyc_error_get();
	if (wait_for_last() != CYC_OK) cyc_error_set(&first);
	return st;
}

cyc_status cyc_outfile_commit(cyc_outfile *o)
{
	cyc_status st = CYC_OK;
	late_commit *l = &g_late;
	if (!l->is_begun) return commit(o);
	CYC_TRY(wait_for_last());
	l->file = *o;
	l->is_running = cyc_thread_start(&l->thread, commit_late, l);
	if (!l->is_running) return commit(o);
	memset(o, 0, sizeof *o);
done:
	return st;
}

void cyc_outfile_abandon(cyc_outfile *o)
{
	if (o->f) {
		fclose(o->f);
		if (!o->is_nameless) unlink(o->tmp);
	}
	cyc_free(o->path);
	cyc_free(o->tmp);
	memset(o, 0, sizeof *o);
}

cyc_status cyc_open_regular(int *fd, const char *path)
{
	cyc_status st = CYC_OK;
	struct stat s;
	/* Opening a pipe that nobody writes to would wait for ever. */
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	CYC_CHECK(*fd >= 0, CYC_E_IO, "cannot open '%s': %s", path, strerror(errno));
	CYC_CHECK(fstat(*fd, &s) == 0, CYC_E_IO, "cannot read '%s': %s", path, strerror(errno));
	CYC_CHECK(S_ISREG(s.st_mode), CYC_E_IO, "'%s' is not a file, but %s", path,
	          S_ISDIR(s.st_mode)    ? "a folder"
	          : S_ISFIFO(s.st_mode) ? "a pipe"
	                                : "a device");
done:
	if (st != CYC_OK && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
	return st;
}

cyc_status cyc_read_file(char **out, size_t *n, const char *path)
{
	cyc_status st = CYC_OK;
	FILE *f = NULL;
	char *data = NULL;
	struct stat s;
	*out = NULL;
	int fd = -1;
	CYC_TRY(cyc_open_regular(&fd, path));
	f = fdopen(fd, "rb");
	if (!f) close(fd);
	CYC_CHECK(f && fstat(fd, &s) == 0, CYC_E_IO, "cannot read '%s': %s", path, strerror(errno));
	CYC_TRY(cyc_alloc_(&data, (size_t)s.st_size + 1, 1, path));
	*n = fread(data, 1, (size_t)s.st_size, f);
	CYC_CHECK(*n == (size_t)s.st_size, CYC_E_IO, "'%s': expected %zu bytes, but only %zu could be read", path,
	          (size_t)s.st_size, *n);
	*out = data;
	data = NULL;
done:
	if (f) fclose(f);
	cyc_free(data);
	return st;
}

cyc_status cyc_write_file(const char *path, const char *data, size_t n)
{
	cyc_status st = CYC_OK;
	cyc_outfile o = { 0 };
	CYC_TRY(cyc_outfile_open(&o, path));
	CYC_CHECK(fwrite(data, 1, n, o.f) == n, CYC_E_IO, "cannot write '%s': %s", path, strerror(errno));
	CYC_TRY(cyc_outfile_commit(&o));
done:
	cyc_outfile_abandon(&o);
	return st;
}

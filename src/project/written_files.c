/* The list of files that a job wrote into its folder, so that the next run there leaves none of them beside
 * its own. */
#include "cyclotomo/outputs.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char LIST[] = ".cyclotomo_files", HEADER[] = "cyclotomo files 1";

/* A file is recognised by its size and times; one that was changed since is somebody else's. */
typedef struct {
	int64_t size, seconds, nanoseconds;
	char *name; /* behind the folder */
} written_file;

static struct {
	pthread_mutex_t lock;
	char *dir;  /* with a slash at its end; NULL: no list is kept */
	FILE *list; /* of this run, once it has written something */
	cyc_output_kind kind;
	bool is_resumed;
	written_file *old;
	int64_t n_old, room;
	char **own; /* written by this run, full paths */
	int64_t n_own, n_written;
} g = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool describe(written_file *f, const char *path)
{
	struct stat s;
	if (lstat(path, &s) != 0 || !S_ISREG(s.st_mode)) return false;
	f->size = (int64_t)s.st_size;
	f->seconds = (int64_t)s.st_mtim.tv_sec;
	f->nanoseconds = (int64_t)s.st_mtim.tv_nsec;
	return true;
}

static bool is_unchanged(const written_file *f, const char *path)
{
	written_file now = { 0 };
	return describe(&now, path) && now.size == f->size && now.seconds == f->seconds &&
	       now.nanoseconds == f->nanoseconds;
}

/* Lines "size seconds nanoseconds name"; what is no such line, or names nothing that this job writes, is
 * passed over. */
static cyc_status add_line(char *line)
{
	cyc_status st = CYC_OK;
	written_file f = { 0 };
	int n = 0;
	bool is_line = sscanf(line, "%" SCNd64 " %" SCNd64 " %" SCNd64 " %n", &f.size, &f.seconds, &f.nanoseconds,
	                      &n) == 3 &&
	               n > 0;
	if (!is_line || !cyc_is_plain_path(line + n) || !cyc_outputs_may_write(g.kind, line + n)) return CYC_OK;
	if (g.n_old == g.room) {
		int64_t room = g.room > 0 ? 2 * g.room : 64;
		CYC_TRY(cyc_realloc(&g.old, (size_t)g.n_old, (size_t)room, sizeof *g.old));
		g.room = room;
	}
	CYC_TRY(cyc_strdup(&f.name, line + n));
	g.old[g.n_old++] = f;
done:
	return st;
}

static cyc_status read_old(const char *path)
{
	cyc_status st = CYC_OK;
	char *text = NULL, wanted[64];
	size_t n = 0;
	if (!cyc_path_exists(path)) return CYC_OK;
	CYC_TRY(cyc_read_file(&text, &n, path));
	snprintf(wanted, sizeof wanted, "%s %d", HEADER, (int)g.kind);
	bool is_first = true;
	for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		if (is_first && strcmp(line, wanted) != 0) break; /* of another job */
		if (!is_first) CYC_TRY(add_line(line));
		is_first = false;
	}
done:
	cyc_free(text);
	return st;
}

static void remove_old(const char *new_name)
{
	char *path = NULL;
	for (int64_t i = 0; i < g.n_old; i++) {
		if (cyc_path_join(&path, g.dir, g.old[i].name) != CYC_OK) continue;
		if (strcmp(g.old[i].name, new_name) != 0 && is_unchanged(&g.old[i], path)) unlink(path);
		cyc_free(path);
		path = NULL;
	}
}

static void open_list(const char *new_name)
{
	char *path = NULL;
	if (!g.is_resumed) remove_old(new_name);
	if (cyc_path_join(&path, g.dir, LIST) != CYC_OK) return;
	bool is_new = !g.is_resumed || !cyc_path_exists(path);
	g.list = fopen(path, is_new ? "we" : "ae");
	if (g.list && is_new) fprintf(g.list, "%s %d\n", HEADER, (int)g.kind);
	cyc_free(path);
}

/* A part of these, or of one of their iterations or blocks, is of no use. The others resume from single
 * files. */
static bool is_whole(cyc_output_kind kind)
{
	return kind == CYC_OUTPUT_REFINE || kind == CYC_OUTPUT_REFINE_TILTS || kind == CYC_OUTPUT_RECONSTRUCT ||
	       kind == CYC_OUTPUT_CTFREFINE || kind == CYC_OUTPUT_CTFREFINE_TILTS || kind == CYC_OUTPUT_POLISH ||
	       kind == CYC_OUTPUT_SEPARATE || kind == CYC_OUTPUT_JUDGE || kind == CYC_OUTPUT_POSTPROCESS;
}

static void remember(const char *path)
{
	int64_t n = g.n_own;
	if (!is_whole(g.kind) || cyc_realloc(&g.own, (size_t)n, (size_t)n + 1, sizeof *g.own) != CYC_OK) return;
	if (cyc_strdup(&g.own[n], path) == CYC_OK) g.n_own++;
}

/* A list that cannot be written costs tidiness, no result. */
static void on_file(void *user, const char *path)
{
	(void)user;
	written_file f = { 0 };
	size_t n = g.dir ? strlen(g.dir) : 0;
	if (!g.dir) { /* cyc_outputs_watch() */
		pthread_mutex_lock(&g.lock);
		g.n_written++;
		remember(path);
		pthread_mutex_unlock(&g.lock);
		return;
	}
	if (strncmp(path, g.dir, n) != 0) return;
	const char *name = path + n;
	while (*name == '/') name++;
	if (strncmp(name, "temp/", 5) == 0 || strstr(name, "/temp/") || strchr(name, '\n') || !describe(&f, path))
		return;
	if (!cyc_outputs_may_write(g.kind, name) || cyc_outputs_is_record(name)) return;
	pthread_mutex_lock(&g.lock);
	if (!g.list) open_list(name);
	g.n_written++;
	remember(path);
	if (g.list) {
		fprintf(g.list, "%" PRId64 " %" PRId64 " %" PRId64 " %s\n", f.size, f.seconds, f.nanoseconds, name);
		fflush(g.list);
	}
	pthread_mutex_unlock(&g.lock);
}

cyc_status cyc_outputs_keep_list(const char *dir, cyc_output_kind kind, bool is_resumed)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_outputs_forget(NULL);
	g.kind = kind;
	g.is_resumed = is_resumed;
	CYC_TRY(cyc_path_join(&path, dir, LIST));
	CYC_TRY(read_old(path));
	CYC_TRY(cyc_asprintf(&g.dir, "%s%s", dir, dir[0] && dir[strlen(dir) - 1] == '/' ? "" : "/"));
	cyc_outfile_set_listener(on_file, NULL);
done:
	cyc_free(path);
	return st;
}

void cyc_outputs_note(const char *path)
{
	if (g.dir) on_file(NULL, path);
}

void cyc_outputs_watch(cyc_output_kind kind)
{
	cyc_outputs_forget(NULL);
	g.kind = kind;
	cyc_outfile_set_listener(on_file, NULL);
}

void cyc_outputs_settle(void)
{
	pthread_mutex_lock(&g.lock);
	for (int64_t i = 0; i < g.n_own; i++) cyc_free(g.own[i]);
	g.n_own = 0;
	pthread_mutex_unlock(&g.lock);
}

void cyc_outputs_discard(void)
{
	for (int64_t i = 0; i < g.n_own; i++) unlink(g.own[i]);
}

int64_t cyc_outputs_n_written(void) { return g.n_written; }

void cyc_outputs_forget(int64_t *n_old)
{
	char *path = NULL;
	cyc_outfile_set_listener(NULL, NULL);
	if (n_old) *n_old = 0;
	for (int64_t i = 0; n_old && g.dir && !g.list && i < g.n_old; i++) {
		if (cyc_path_join(&path, g.dir, g.old[i].name) == CYC_OK && is_unchanged(&g.old[i], path)) ++*n_old;
		cyc_free(path);
		path = NULL;
	}
	if (g.list) fclose(g.list);
	for (int64_t i = 0; i < g.n_old; i++) cyc_free(g.old[i].name);
	for (int64_t i = 0; i < g.n_own; i++) cyc_free(g.own[i]);
	cyc_free(g.old);
	cyc_free(g.own);
	cyc_free(g.dir);
	g.list = NULL;
	g.own = NULL;
	g.n_own = g.n_written = 0;
	g.old = NULL;
	g.dir = NULL;
	g.n_old = g.room = 0;
}

/* Size and hash of files, to be compared later. */
#include "cyclotomo/record.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void cyc_file_marks_deinit(cyc_file_marks *m)
{
	for (int32_t i = 0; i < m->n; i++) cyc_free(m->items[i].name);
	cyc_free(m->items);
	*m = (cyc_file_marks){ 0 };
}

cyc_status cyc_file_marks_add(cyc_file_marks *m, const char *name)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < m->n; i++) {
		if (strcmp(m->items[i].name, name) == 0) return CYC_OK;
	}
	CYC_TRY(cyc_realloc(&m->items, (size_t)m->n, (size_t)m->n + 1, sizeof *m->items));
	CYC_TRY(cyc_strdup(&m->items[m->n].name, name));
	m->n++;
done:
	return st;
}

/* ---------------------------------------------------------------- folders */

typedef struct {
	const char *path; /* of the folder, with the root */
	bool (*is_wanted)(const char *name);
	int32_t n, capacity;
	char **names; /* below the folder */
} listing;

static bool belongs_to_a_run(const char *name)
{
	return name[0] == '.' || strstr(name, ".tmp") || strcmp(name, "temp") == 0;
}

static cyc_status keep_name(listing *l, char **name)
{
	cyc_status st = CYC_OK;
	if (l->n == l->capacity) {
		int32_t more = 2 * l->capacity + 64;
		CYC_TRY(cyc_realloc(&l->names, (size_t)l->capacity, (size_t)more, sizeof *l->names));
		l->capacity = more;
	}
	l->names[l->n++] = *name;
	*name = NULL;
done:
	return st;
}

static cyc_status list_folder(listing *l, const char *below)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *name = NULL, *full = NULL;
	DIR *d = NULL;
	const struct dirent *e;
	struct stat s;
	CYC_TRY(cyc_path_join(&path, l->path, below));
	d = opendir(path);
	while (d && (e = readdir(d)) != NULL) {
		if (belongs_to_a_run(e->d_name)) continue;
		CYC_TRY(cyc_path_join(&name, below, e->d_name));
		CYC_TRY(cyc_path_join(&full, l->path, name));
		bool is_found = lstat(full, &s) == 0;
		if (is_found && S_ISDIR(s.st_mode)) CYC_TRY(list_folder(l, name));
		else if (is_found && S_ISREG(s.st_mode) && (!l->is_wanted || l->is_wanted(name)))
			CYC_TRY(keep_name(l, &name));
		cyc_free(name);
		cyc_free(full);
		name = full = NULL;
	}
done:
	if (d) closedir(d);
	cyc_free(path);
	cyc_free(name);
	cyc_free(full);
	return st;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

cyc_status cyc_file_marks_add_folder(cyc_file_marks *m, const char *root, const char *folder,
                                     bool (*is_wanted)(const char *name))
{
	cyc_status st = CYC_OK;
	listing l = { .is_wanted = is_wanted };
	char *path = NULL, *name = NULL;
	CYC_TRY(cyc_path_join(&path, root, folder));
	l.path = path;
	CYC_TRY(list_folder(&l, ""));
	if (l.n > 1) qsort(l.names, (size_t)l.n, sizeof *l.names, by_name);
	for (int32_t i = 0; i < l.n; i++) {
		CYC_TRY(cyc_path_join(&name, folder, l.names[i]));
		CYC_TRY(cyc_file_marks_add(m, name));
		cyc_free(name);
		name = NULL;
	}
done:
	for (int32_t i = 0; i < l.n; i++) cyc_free(l.names[i]);
	cyc_free(l.names);
	cyc_free(path);
	cyc_free(name);
	return st;
}

/* ---------------------------------------------------------------- marks */

typedef struct {
	cyc_file_mark *items;
	cyc_file_state *states; /* NULL: marks are taken, not compared */
	const char *root;
} marks_pass;

static cyc_status mark_of(int64_t *n_bytes, uint64_t *hash, bool *is_there, const char *name,
                          const char *root)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	struct stat s = { 0 };
	CYC_TRY(cyc_path_join(&path, root, name));
	*is_there = stat(path, &s) == 0;
	*n_bytes = (int64_t)s.st_size;
	CYC_TRY(cyc_hash_file(hash, path));
done:
	cyc_free(path);
	return st;
}

static cyc_status mark_task(void *arg, int64_t i, int i_thread)
{
	cyc_status st = CYC_OK;
	marks_pass *p = arg;
	cyc_file_mark *m = &p->items[i];
	int64_t n_bytes = 0;
	uint64_t hash = 0;
	bool is_there = false;
	(void)i_thread;
	st = mark_of(&n_bytes, &hash, &is_there, m->name, p->root);
	if (!p->states) {
		CYC_TRY(st);
		m->n_bytes = n_bytes;
		m->hash = hash;
	} else if (st == CYC_E_NOMEM) {
		goto done;
	} else {
		bool is_same = st == CYC_OK && n_bytes == m->n_bytes && hash == m->hash;
		p->states[i] = is_same ? CYC_FILE_SAME : is_there ? CYC_FILE_CHANGED : CYC_FILE_MISSING;
		if (st != CYC_OK) cyc_error_clear();
		st = CYC_OK;
	}
done:
	return st;
}

cyc_status cyc_file_marks_take(cyc_file_marks *m, const char *root, int n_threads)
{
	marks_pass p = { .items = m->items, .root = root };
	return cyc_parallel_for(m->n, n_threads, mark_task, &p);
}

cyc_status cyc_file_marks_compare(cyc_file_state *states, const cyc_file_marks *m, const char *root,
                                  int n_threads)
{
	marks_pass p = { .items = m->items, .states = states, .root = root };
	return cyc_parallel_for(m->n, n_threads, mark_task, &p);
}

uint64_t cyc_file_marks_hash(uint64_t h, const cyc_file_marks *m)
{
	for (int32_t i = 0; i < m->n; i++) {
		h = cyc_hash_string(h, m->items[i].name);
		h = cyc_hash(h, &m->items[i].n_bytes, sizeof m->items[i].n_bytes);
		h = cyc_hash(h, &m->items[i].hash, sizeof m->items[i].hash);
	}
	return h;
}

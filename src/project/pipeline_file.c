#include "project/pipeline_file.h"
#include "project/labels.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char FILE_NAME[] = "default_pipeline.star", CHANGED[] = ".pipeline_has_changed",
				  LOCK_DIR[] = ".relion_lock", LOCK_FILE[] = "lock_default_pipeline.star",
				  OWNER[] = "cyclotomo";

/* ---------------------------------------------------------------- the document */

enum { MOST_COLUMNS = 4 };
typedef struct {
	const char *name;
	size_t member;
	const char *labels[MOST_COLUMNS];
} table;
static const table TABLES[] = {
	{ "pipeline_processes",
	  offsetof(cyc_pipeline_file, processes),
	  { CYC_RLN_PIPE_LINE_PROCESS_NAME, CYC_RLN_PIPE_LINE_PROCESS_ALIAS, CYC_RLN_PIPE_LINE_PROCESS_TYPE_LABEL,
	    CYC_RLN_PIPE_LINE_PROCESS_STATUS_LABEL } },
	{ "pipeline_nodes",
	  offsetof(cyc_pipeline_file, nodes),
	  { CYC_RLN_PIPE_LINE_NODE_NAME, CYC_RLN_PIPE_LINE_NODE_TYPE_LABEL,
	    CYC_RLN_PIPE_LINE_NODE_TYPE_LABEL_DEPTH } },
	{ "pipeline_input_edges",
	  offsetof(cyc_pipeline_file, input_edges),
	  { CYC_RLN_PIPE_LINE_EDGE_FROM_NODE, CYC_RLN_PIPE_LINE_EDGE_PROCESS } },
	{ "pipeline_output_edges",
	  offsetof(cyc_pipeline_file, output_edges),
	  { CYC_RLN_PIPE_LINE_EDGE_PROCESS, CYC_RLN_PIPE_LINE_EDGE_TO_NODE } },
};
enum { N_TABLES = sizeof TABLES / sizeof *TABLES };

static cyc_star_block **member_of(cyc_pipeline_file *p, const table *t)
{
	return (cyc_star_block **)((char *)p + t->member);
}

/* Tables that RELION leaves out while they are empty are added. */
static cyc_status complete(cyc_pipeline_file *p)
{
	cyc_status st = CYC_OK;
	int32_t column;
	p->general = cyc_star_find(p->star, "pipeline_general");
	if (!p->general) CYC_TRY(cyc_star_add_block(&p->general, p->star, "pipeline_general", CYC_STAR_LIST));
	if (cyc_star_column(p->general, CYC_RLN_PIPE_LINE_JOB_COUNTER) < 0)
		CYC_TRY(cyc_star_list_set_int(p->general, CYC_RLN_PIPE_LINE_JOB_COUNTER, 1));
	for (int i = 0; i < N_TABLES; i++) {
		cyc_star_block **b = member_of(p, &TABLES[i]);
		*b = cyc_star_find(p->star, TABLES[i].name);
		if (!*b) CYC_TRY(cyc_star_add_block(b, p->star, TABLES[i].name, CYC_STAR_TABLE));
		for (int k = 0; k < MOST_COLUMNS && TABLES[i].labels[k]; k++) {
			if (cyc_star_n_rows(*b) > 0) CYC_TRY(cyc_star_require_column(&column, *b, TABLES[i].labels[k]));
			else CYC_TRY(cyc_star_ensure_column(&column, *b, TABLES[i].labels[k], ""));
		}
	}
done:
	return st;
}

cyc_status cyc_pipeline_create(cyc_pipeline_file *p)
{
	cyc_status st = CYC_OK;
	*p = (cyc_pipeline_file){ 0 };
	CYC_TRY(cyc_star_create(&p->star));
	CYC_TRY(complete(p));
done:
	return st;
}

/* Row of a value in a column, -1 if it is not there. */
static int64_t find_row(const cyc_star_block *b, const char *label, const char *text)
{
	int32_t column = cyc_star_column(b, label);
	for (int64_t i = 0; column >= 0 && i < cyc_star_n_rows(b); i++)
		if (strcmp(cyc_star_text(b, i, column), text) == 0) return i;
	return -1;
}

static cyc_status add_row(cyc_star_block *b, const table *t, const char *const *values)
{
	cyc_status st = CYC_OK;
	int64_t row;
	CYC_TRY(cyc_star_add_row(&row, b));
	for (int k = 0; k < MOST_COLUMNS && t->labels[k]; k++)
		CYC_TRY(cyc_star_set_text(b, row, cyc_star_column(b, t->labels[k]), values[k]));
done:
	return st;
}

static cyc_status add_edge(cyc_star_block *b, const table *t, const char *from, const char *to)
{
	int32_t c0 = cyc_star_column(b, t->labels[0]), c1 = cyc_star_column(b, t->labels[1]);
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++)
		if (strcmp(cyc_star_text(b, i, c0), from) == 0 && strcmp(cyc_star_text(b, i, c1), to) == 0)
			return CYC_OK;
	return add_row(b, t, (const char *[]){ from, to });
}

/* ---------------------------------------------------------------- the lock */

static cyc_status lock_paths(char **dir, char **file, const char *root)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_path_join(dir, root, LOCK_DIR));
	CYC_TRY(cyc_path_join(file, *dir, LOCK_FILE));
done:
	return st;
}

static void this_host(char *host, size_t size)
{
	if (gethostname(host, size) != 0) snprintf(host, size, "?");
	host[size - 1] = '\0';
}

/* Was the lock made by a process of this program that is no more? */
static bool is_left_over(const char *file)
{
	char text[320] = "", host[256], owner[32], its_host[256];
	long process = 0;
	FILE *f = fopen(file, "r");
	if (!f) return false;
	bool is_read = fgets(text, sizeof text, f) != NULL;
	fclose(f);
	if (!is_read || sscanf(text, "%31s %ld %255s", owner, &process, its_host) != 3) return false;
	this_host(host, sizeof host);
	return strcmp(owner, OWNER) == 0 && strcmp(host, its_host) == 0 && process > 0 &&
	       kill((pid_t)process, 0) != 0 && errno == ESRCH;
}

static void unlock(const char *root)
{
	char *dir = NULL, *file = NULL;
	if (lock_paths(&dir, &file, root) == CYC_OK) {
		unlink(file);
		rmdir(dir);
	}
	cyc_free(dir);
	cyc_free(file);
}

/* Whose it is, for programs of this name that find it after a kill. */
static cyc_status sign(const char *file)
{
	char host[256], text[320];
	this_host(host, sizeof host);
	snprintf(text, sizeof text, "%s %ld %s\n", OWNER, (long)getpid(), host);
	return cyc_write_file(file, text, strlen(text));
}

static cyc_status lock(cyc_pipeline_file *p, double wait_s)
{
	cyc_status st = CYC_OK;
	char *dir = NULL, *file = NULL;
	double start = cyc_clock_s();
	bool is_told = false;
	CYC_TRY(lock_paths(&dir, &file, p->root));
	while (mkdir(dir, 0777) != 0) {
		CYC_CHECK(errno == EEXIST, CYC_E_IO, "cannot lock the pipeline of the project: '%s': %s", dir,
		          strerror(errno));
		CYC_TRY(cyc_cancel_check());
		if (is_left_over(file)) {
			cyc_warn("removed '%s', the lock of a run that was killed", dir);
			unlock(p->root);
			continue;
		}
		if (cyc_clock_s() - start > wait_s) {
			st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__,
			                     "the pipeline of the project is locked: '%s' was there for %.0f s", dir,
			                     wait_s);
			cyc_error_hint("if no other program is writing it (RELION was killed), remove that folder and "
			               "repeat the command");
			goto done;
		}
		if (!is_told) cyc_info("waiting for '%s', the lock of another program", dir);
		is_told = true;
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	p->is_locked = true;
	CYC_TRY(sign(file));
done:
	cyc_free(dir);
	cyc_free(file);
	return st;
}

/* ---------------------------------------------------------------- open, save, close */

cyc_status cyc_pipeline_open(cyc_pipeline_file *p, const char *root, double wait_s)
{
	cyc_status st = CYC_OK;
	*p = (cyc_pipeline_file){ 0 };
	CYC_TRY(cyc_strdup(&p->root, root ? root : ""));
	CYC_TRY(cyc_path_join(&p->path, p->root, FILE_NAME));
	CYC_TRY(lock(p, wait_s));
	if (cyc_path_exists(p->path)) CYC_TRY(cyc_star_read(&p->star, p->path));
	else CYC_TRY(cyc_star_create(&p->star));
	CYC_TRY_CTX(complete(p), "%s", p->path);
done:
	return st;
}

cyc_status cyc_pipeline_save(const cyc_pipeline_file *p)
{
	cyc_status st = CYC_OK;
	char *changed = NULL;
	CYC_TRY(cyc_star_write(p->star, p->path));
	CYC_TRY(cyc_path_join(&changed, p->root, CHANGED));
	CYC_TRY(cyc_write_file(changed, "", 0));
done:
	cyc_free(changed);
	return st;
}

void cyc_pipeline_close(cyc_pipeline_file *p)
{
	if (p->is_locked) unlock(p->root);
	cyc_star_destroy(&p->star);
	cyc_free(p->root);
	cyc_free(p->path);
	*p = (cyc_pipeline_file){ 0 };
}

/* ---------------------------------------------------------------- numbers */

/* The number in "Polish/job030/", 0 if there is none. */
static int64_t number_of(const char *process)
{
	const char *at = strstr(process, "/job");
	return at ? strtol(at + 4, NULL, 10) : 0;
}

static cyc_status counter_of(int64_t *counter, const cyc_pipeline_file *p)
{
	return cyc_star_int(counter, p->general, 0, cyc_star_column(p->general, CYC_RLN_PIPE_LINE_JOB_COUNTER));
}

/* Has a folder in `dir`, whatever its name, the folder jobNNN? Not "Polish/job030/" itself, if that is given.
 */
static bool has_folder(const char *dir, int64_t job, const char *except)
{
	DIR *d = opendir(dir[0] ? dir : ".");
	const struct dirent *e;
	char *path = NULL;
	bool is_found = false;
	while (d && !is_found && (e = readdir(d)) != NULL) {
		size_t n = strlen(e->d_name);
		if (e->d_name[0] == '.' || (except && strncmp(except, e->d_name, n) == 0 && except[n] == '/'))
			continue;
		if (cyc_asprintf(&path, "%s%s%s/job%03d", dir, dir[0] ? "/" : "", e->d_name, (int)job) == CYC_OK)
			is_found = cyc_path_exists(path);
		cyc_free(path);
		path = NULL;
	}
	if (d) closedir(d);
	return is_found;
}

cyc_status cyc_pipeline_free_number(int32_t *job, const cyc_pipeline_file *p)
{
	cyc_status st = CYC_OK;
	char *trash = NULL;
	int64_t n;
	int32_t column = cyc_star_column(p->processes, CYC_RLN_PIPE_LINE_PROCESS_NAME);
	CYC_TRY(counter_of(&n, p));
	if (n < 1) n = 1;
	for (int64_t i = 0; i < cyc_star_n_rows(p->processes); i++) {
		int64_t taken = number_of(cyc_star_text(p->processes, i, column));
		if (taken >= n) n = taken + 1;
	}
	CYC_TRY(cyc_path_join(&trash, p->root, "Trash"));
	while (n < INT32_MAX && (has_folder(p->root, n, NULL) || has_folder(trash, n, NULL))) n++;
	CYC_CHECK(n < INT32_MAX, CYC_E_DATA, "%s: there is no number left for another job", p->path);
	*job = (int32_t)n;
done:
	cyc_free(trash);
	return st;
}

bool cyc_pipeline_is_taken(const cyc_pipeline_file *p, int32_t job, const char *process)
{
	int32_t column = cyc_star_column(p->processes, CYC_RLN_PIPE_LINE_PROCESS_NAME);
	char *trash = NULL;
	for (int64_t i = 0; i < cyc_star_n_rows(p->processes); i++) {
		const char *other = cyc_star_text(p->processes, i, column);
		if (number_of(other) == job && strcmp(other, process) != 0) return true;
	}
	bool is_taken = has_folder(p->root, job, process) || cyc_path_join(&trash, p->root, "Trash") != CYC_OK ||
	                has_folder(trash, job, NULL);
	cyc_free(trash);
	return is_taken;
}

cyc_status cyc_pipeline_peek(int32_t *job, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_pipeline_file p = { 0 };
	CYC_TRY(cyc_strdup(&p.root, root ? root : ""));
	CYC_TRY(cyc_path_join(&p.path, p.root, FILE_NAME));
	if (cyc_path_exists(p.path)) CYC_TRY(cyc_star_read(&p.star, p.path));
	else CYC_TRY(cyc_star_create(&p.star));
	CYC_TRY_CTX(complete(&p), "%s", p.path);
	CYC_TRY(cyc_pipeline_free_number(job, &p));
done:
	cyc_pipeline_close(&p);
	return st;
}

cyc_status cyc_pipeline_count_to(cyc_pipeline_file *p, int32_t next_job)
{
	cyc_status st = CYC_OK;
	int64_t n;
	CYC_TRY(counter_of(&n, p));
	if (n < next_job) CYC_TRY(cyc_star_list_set_int(p->general, CYC_RLN_PIPE_LINE_JOB_COUNTER, next_job));
done:
	return st;
}

/* ---------------------------------------------------------------- jobs and files */

const char *cyc_pipeline_status(const cyc_pipeline_file *p, const char *process)
{
	int64_t row = find_row(p->processes, CYC_RLN_PIPE_LINE_PROCESS_NAME, process);
	return row < 0 ? NULL : cyc_star_text_of(p->processes, row, CYC_RLN_PIPE_LINE_PROCESS_STATUS_LABEL);
}

cyc_status cyc_pipeline_set(cyc_pipeline_file *p, const char *process, const char *type_label,
                            const char *status)
{
	cyc_status st = CYC_OK;
	int64_t row = find_row(p->processes, CYC_RLN_PIPE_LINE_PROCESS_NAME, process);
	if (row < 0)
		CYC_TRY(add_row(p->processes, &TABLES[0], (const char *[]){ process, "None", type_label, status }));
	else
		CYC_TRY(cyc_star_set_text(p->processes, row,
		                          cyc_star_column(p->processes, CYC_RLN_PIPE_LINE_PROCESS_STATUS_LABEL),
		                          status));
done:
	return st;
}

cyc_status cyc_pipeline_file_name(char **out, const cyc_pipeline_file *p, const char *file)
{
	int32_t name = cyc_star_column(p->processes, CYC_RLN_PIPE_LINE_PROCESS_NAME),
			alias = cyc_star_column(p->processes, CYC_RLN_PIPE_LINE_PROCESS_ALIAS);
	for (int64_t i = 0; i < cyc_star_n_rows(p->processes); i++) {
		const char *other = cyc_star_text(p->processes, i, alias);
		size_t n = strlen(other);
		if (n > 1 && other[n - 1] == '/' && strncmp(file, other, n) == 0)
			return cyc_asprintf(out, "%s%s", cyc_star_text(p->processes, i, name), file + n);
	}
	return cyc_strdup(out, file);
}

static cyc_status add_node(cyc_pipeline_file *p, const char *file, const char *type_label, int depth)
{
	char text[16];
	snprintf(text, sizeof text, "%d", depth);
	if (find_row(p->nodes, CYC_RLN_PIPE_LINE_NODE_NAME, file) >= 0) return CYC_OK;
	return add_row(p->nodes, &TABLES[1], (const char *[]){ file, type_label, text });
}

cyc_status cyc_pipeline_add_input(cyc_pipeline_file *p, const char *process, const char *file,
                                  const char *type_label)
{
	cyc_status st = CYC_OK;
	char *name = NULL;
	CYC_TRY(cyc_pipeline_file_name(&name, p, file));
	CYC_TRY(add_node(p, name, type_label, 1));
	CYC_TRY(add_edge(p->input_edges, &TABLES[2], name, process));
done:
	cyc_free(name);
	return st;
}

cyc_status cyc_pipeline_add_output(cyc_pipeline_file *p, const char *process, const char *file,
                                   const char *type_label, int depth)
{
	cyc_status st = CYC_OK;
	CYC_TRY(add_node(p, file, type_label, depth));
	CYC_TRY(add_edge(p->output_edges, &TABLES[3], process, file));
done:
	return st;
}

/* ---------------------------------------------------------------- one job */

/* The node as the whole pipeline has it. */
static cyc_status copy_node(cyc_pipeline_file *out, const cyc_pipeline_file *p, const char *file)
{
	cyc_status st = CYC_OK;
	const char *values[MOST_COLUMNS] = { NULL };
	int64_t row = find_row(p->nodes, CYC_RLN_PIPE_LINE_NODE_NAME, file);
	if (row < 0 || find_row(out->nodes, CYC_RLN_PIPE_LINE_NODE_NAME, file) >= 0) return CYC_OK;
	for (int k = 0; k < MOST_COLUMNS && TABLES[1].labels[k]; k++)
		values[k] = cyc_star_text(p->nodes, row, cyc_star_column(p->nodes, TABLES[1].labels[k]));
	CYC_TRY(add_row(out->nodes, &TABLES[1], values));
done:
	return st;
}

/* The rows of one table of edges that have the process in its column, and their nodes. */
static cyc_status copy_edges(cyc_pipeline_file *out, const cyc_pipeline_file *p, const char *process,
                             int i_table)
{
	cyc_status st = CYC_OK;
	const table *t = &TABLES[i_table];
	int at = strcmp(t->labels[0], CYC_RLN_PIPE_LINE_EDGE_PROCESS) == 0 ? 0 : 1;
	const cyc_star_block *from = at == 0 ? p->output_edges : p->input_edges;
	cyc_star_block *to = at == 0 ? out->output_edges : out->input_edges;
	int32_t c[2] = { cyc_star_column(from, t->labels[0]), cyc_star_column(from, t->labels[1]) };
	for (int64_t i = 0; i < cyc_star_n_rows(from); i++) {
		if (strcmp(cyc_star_text(from, i, c[at]), process) != 0) continue;
		CYC_TRY(copy_node(out, p, cyc_star_text(from, i, c[1 - at])));
		CYC_TRY(
			add_row(to, t, (const char *[]){ cyc_star_text(from, i, c[0]), cyc_star_text(from, i, c[1]) }));
	}
done:
	return st;
}

cyc_status cyc_pipeline_of_job(cyc_pipeline_file *out, const cyc_pipeline_file *p, const char *process)
{
	cyc_status st = CYC_OK;
	const char *values[MOST_COLUMNS];
	int64_t row = find_row(p->processes, CYC_RLN_PIPE_LINE_PROCESS_NAME, process), counter;
	CYC_TRY(cyc_pipeline_create(out));
	CYC_CHECK(row >= 0, CYC_E_INTERNAL, "%s is not in the pipeline", process);
	CYC_TRY(counter_of(&counter, p));
	CYC_TRY(cyc_star_list_set_int(out->general, CYC_RLN_PIPE_LINE_JOB_COUNTER, counter));
	for (int k = 0; k < MOST_COLUMNS; k++)
		values[k] = cyc_star_text(p->processes, row, cyc_star_column(p->processes, TABLES[0].labels[k]));
	CYC_TRY(add_row(out->processes, &TABLES[0], values));
	CYC_TRY(copy_edges(out, p, process, 2));
	CYC_TRY(copy_edges(out, p, process, 3));
done:
	return st;
}

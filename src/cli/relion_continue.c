/* `relion_refine --continue run_it003_optimiser.star` names no input: the call that began the refinement is
 * kept in its folder. */
#include "relion.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* First line: what has become of the call. Then its words, one a line. */
static const char CALL_FILE[] = ".cyclotomo_call", STARTED[] = "started", FINISHED[] = "finished";

static cyc_status call_path(char **out, const char *of_file, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	const char *root = cyc_relion_word_value(argc, argv, "--root");
	char *dir = NULL, *name = NULL;
	CYC_TRY(cyc_path_dir(&dir, of_file));
	CYC_TRY(cyc_path_join(&name, dir, CALL_FILE));
	CYC_TRY(cyc_path_join(out, root ? root : "", name));
done:
	cyc_free(dir);
	cyc_free(name);
	return st;
}

bool cyc_relion_has_call(const char *of_file, int argc, char **argv)
{
	char *path = NULL;
	bool is_there = call_path(&path, of_file, argc, argv) == CYC_OK && cyc_path_exists(path);
	cyc_free(path);
	return is_there;
}

static cyc_status read_call(char ***words, int *n_words, bool *is_finished, const char *path)
{
	cyc_status st = CYC_OK;
	char *text = NULL, *next = NULL;
	size_t n;
	CYC_TRY(cyc_read_file(&text, &n, path));
	char *line = strtok_r(text, "\n", &next);
	*is_finished = line && strcmp(line, FINISHED) == 0;
	/* Empty words stand as \, which no file name ends with. */
	while ((line = strtok_r(NULL, "\n", &next)) != NULL)
		CYC_TRY(cyc_words_add(words, n_words, strcmp(line, "\\") == 0 ? "" : line));
done:
	cyc_free(text);
	return st;
}

static cyc_status write_call(const char *path, const char *state, int n_words, char **words)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	size_t room = strlen(state) + 2;
	for (int i = 0; i < n_words; i++) room += strlen(words[i]) + 2;
	CYC_TRY(cyc_alloc(&text, room, 1));
	strcat(strcpy(text, state), "\n");
	for (int i = 0; i < n_words; i++) strcat(strcat(text, words[i][0] ? words[i] : "\\"), "\n");
	CYC_TRY(cyc_write_file(path, text, strlen(text)));
done:
	cyc_free(text);
	return st;
}

/* Its note has the command of cyclotomo's own that the cycle did the step with. */
static bool is_step_of_cycle(const char *dir)
{
	char *path = NULL, *text = NULL;
	size_t n;
	bool is = cyc_path_join(&path, dir, "note.txt") == CYC_OK && cyc_path_exists(path) &&
	          cyc_read_file(&text, &n, path) == CYC_OK && strstr(text, "\ncyclotomo refine ") != NULL;
	cyc_free(path);
	cyc_free(text);
	return is;
}

/* A refinement that a cycle began as a job of the project: its job.star says what it was called with. None
 * without the cycle's line in its note. */
static cyc_status call_of_cycle(cyc_relion_continuation *c, const char *of_file, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	const char *root = cyc_relion_word_value(argc, argv, "--root");
	char *dir = NULL, *full = NULL, *job_star = NULL, *done = NULL;
	cyc_star *star = NULL;
	cyc_relion_job job = { 0 };
	CYC_TRY(cyc_path_dir(&dir, of_file));
	CYC_TRY(cyc_path_join(&full, root ? root : "", dir));
	CYC_TRY(cyc_path_join(&job_star, full, "job.star"));
	CYC_TRY(cyc_path_join(&done, full, "run_data.star"));
	if (!cyc_path_exists(job_star) || !is_step_of_cycle(full)) goto done;
	CYC_TRY(cyc_star_read(&star, job_star));
	CYC_TRY(cyc_relion_job_map(&job, star, dir));
	for (int i = 1; i < job.n_words; i++) {
		if (strcmp(job.words[i], "--continue") == 0 || strcmp(job.words[i], "--pipeline_control") == 0) i++;
		else CYC_TRY(cyc_words_add(&c->first, &c->n_first, job.words[i]));
	}
	c->is_finished = cyc_path_exists(done);
done:
	cyc_relion_job_deinit(&job);
	cyc_star_destroy(&star);
	cyc_free(dir);
	cyc_free(full);
	cyc_free(job_star);
	cyc_free(done);
	return st;
}

/* ---------------------------------------------------------------- the first call with the new one's options
 */

/* Number of words that the option at i takes, itself included. */
static int width(const cyc_relion_option *rows, int row, int n_words, char **words, int i)
{
	if (row >= 0 && rows[row].type == CYC_OPT_FLAG) return 1;
	return i + 1 < n_words && strncmp(words[i + 1], "--", 2) != 0 ? 2 : 1;
}

/* Row of an option in a list of words: where it is, -1 if it is not there. */
static int find_row(const cyc_relion_program *p, int row, int n_words, char **words, int first)
{
	for (int i = first; i < n_words; i++)
		if (row >= 0 && cyc_relion_find_option(p, words[i]) == row) return i;
	return -1;
}

static bool is_of_continuation(const char *word)
{
	static const char *const WORDS[] = { "--continue", "--o", "--j", "--pipeline_control", "--verb" };
	for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
		if (strcmp(word, WORDS[i]) == 0) return true;
	return false;
}

/* Does the option at i of the new call ask for another result than the old call? */
static bool is_change(const cyc_relion_program *p, const cyc_relion_continuation *c, char **argv, int i,
                      int n)
{
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	int row = cyc_relion_find_option(p, argv[i]);
	if (row < 0 || is_of_continuation(argv[i])) return false;
	const cyc_relion_option *o = &all.rows[row];
	if (o->becomes != CYC_RELION_SAME && o->becomes != CYC_RELION_READ) return false;
	int at = find_row(p, row, c->n_first, c->first, 0);
	const char *now = n == 2 ? argv[i + 1] : "";
	if (at < 0) return !cyc_relion_is_default(o, now);
	const char *before = n == 2 && at + 1 < c->n_first ? c->first[at + 1] : "";
	return o->type == CYC_OPT_TEXT || o->type == CYC_OPT_FLAG
	           ? strcmp(now, before) != 0
	           : strtod(now, NULL) < strtod(before, NULL) || strtod(now, NULL) > strtod(before, NULL);
}

/* What the new call has is taken from it, everything else from the first. */
static cyc_status merge(cyc_relion_continuation *c, const cyc_relion_program *p, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	int n;
	CYC_TRY(cyc_words_add(&c->words, &c->n_words, argv[0]));
	for (int i = 0; i < c->n_first; i += n) {
		int row = cyc_relion_find_option(p, c->first[i]);
		n = width(all.rows, row, c->n_first, c->first, i);
		if (find_row(p, row, argc, argv, 1) >= 0) continue;
		for (int k = i; k < i + n; k++) CYC_TRY(cyc_words_add(&c->words, &c->n_words, c->first[k]));
	}
	for (int i = 1; i < argc; i += n) {
		n = width(all.rows, cyc_relion_find_option(p, argv[i]), argc, argv, i);
		if (!c->changed && is_change(p, c, argv, i, n)) c->changed = argv[i];
		for (int k = i; k < i + n; k++) CYC_TRY(cyc_words_add(&c->words, &c->n_words, argv[k]));
	}
done:
	return st;
}

/* Without a record the new call must be a whole one. */
static cyc_status require_all(const cyc_relion_program *p, const char *of_file, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	for (int i = 0; i < all.n; i++) {
		if (!all.rows[i].is_required || find_row(p, i, argc, argv, 1) >= 0) continue;
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
		                     "the call that began '%s' is not recorded beside it", of_file);
		cyc_error_hint("give all options of that call together with --continue");
		break;
	}
	return st;
}

cyc_status cyc_relion_continue(cyc_relion_continuation *c, const cyc_relion_program *p, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	const char *of_file = cyc_relion_word_value(argc, argv, "--continue");
	char *path = NULL;
	*c = (cyc_relion_continuation){ 0 };
	if (!of_file || !of_file[0]) return CYC_OK;
	CYC_TRY(call_path(&path, of_file, argc, argv));
	if (cyc_path_exists(path)) CYC_TRY(read_call(&c->first, &c->n_first, &c->is_finished, path));
	else CYC_TRY(call_of_cycle(c, of_file, argc, argv));
	if (c->n_first == 0) {
		CYC_TRY(require_all(p, of_file, argc, argv));
		goto done;
	}
	CYC_TRY(merge(c, p, argc, argv));
done:
	cyc_free(path);
	return st;
}

void cyc_relion_continuation_deinit(cyc_relion_continuation *c)
{
	cyc_words_free(&c->first, &c->n_first);
	cyc_words_free(&c->words, &c->n_words);
}

/* ---------------------------------------------------------------- keeping the call */

/* The call without --continue; one with a line break in a word cannot be kept. */
static cyc_status words_to_keep(char ***words, int *n_words, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--continue") == 0) {
			if (i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0) i++;
			continue;
		}
		if (strchr(argv[i], '\n')) {
			cyc_words_free(words, n_words);
			break;
		}
		CYC_TRY(cyc_words_add(words, n_words, argv[i]));
	}
done:
	return st;
}

cyc_status cyc_relion_keep_call(cyc_relion_kept_call *k, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	const char *output = cyc_relion_word_value(argc, argv, "--o");
	char *dir = NULL;
	size_t n;
	*k = (cyc_relion_kept_call){ 0 };
	if (!output || cyc_relion_word_value(argc, argv, "--dry-run")) return CYC_OK;
	CYC_TRY(call_path(&k->path, output, argc, argv));
	if (cyc_path_exists(k->path)) CYC_TRY(cyc_read_file(&k->before, &n, k->path));
	CYC_TRY(words_to_keep(&k->words, &k->n_words, argc, argv));
	CYC_TRY(cyc_path_dir(&dir, k->path));
	CYC_TRY(cyc_make_dirs(dir));
	if (k->n_words > 0) CYC_TRY(write_call(k->path, STARTED, k->n_words, k->words));
done:
	cyc_free(dir);
	return st;
}

/* A call that was refused leaves the one before it, whose results exist. */
cyc_status cyc_relion_end_call(cyc_relion_kept_call *k, cyc_status result)
{
	cyc_status st = CYC_OK;
	bool is_refused = result == CYC_E_USAGE || result == CYC_E_UNSUPPORTED || result == CYC_E_DATA ||
	                  result == CYC_E_FORMAT || result == CYC_E_SHAPE;
	if (!k->path) return CYC_OK;
	if (result == CYC_OK && k->n_words > 0) CYC_TRY(write_call(k->path, FINISHED, k->n_words, k->words));
	else if (is_refused && k->before) CYC_TRY(cyc_write_file(k->path, k->before, strlen(k->before)));
	else if (is_refused) unlink(k->path);
done:
	cyc_words_free(&k->words, &k->n_words);
	cyc_free(k->path);
	cyc_free(k->before);
	*k = (cyc_relion_kept_call){ 0 };
	return st;
}

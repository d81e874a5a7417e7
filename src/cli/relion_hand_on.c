/* Calls that are not ours go to the program that would have been started without cyclotomo: the next one of
 * that name on PATH. */
#include "relion.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Programs that the call has been through, so that two installations do not hand it to each other. */
static const char VISITED[] = "CYCLOTOMO_HANDED_ON";

const char *cyc_relion_word_value(int argc, char **argv, const char *option)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], option) != 0) continue;
		return i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0 ? argv[i + 1] : "";
	}
	return NULL;
}

/* An option with a value that the program's table refuses. */
static const char *refused_option(const cyc_relion_program *p, int argc, char **argv)
{
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	for (int i = 1; i < argc; i++) {
		int row = cyc_relion_find_option(p, argv[i]);
		if (row < 0 || all.rows[row].becomes != CYC_RELION_UNSUPPORTED) continue;
		const char *value = i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0 ? argv[i + 1] : "";
		if (!cyc_relion_is_default(&all.rows[row], value)) return argv[i];
	}
	return NULL;
}

static bool is_program(const char *path)
{
	struct stat s;
	return stat(path, &s) == 0 && S_ISREG(s.st_mode) && access(path, X_OK) == 0;
}

/* "a:b:c" has the word. */
static bool is_in_list(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = list; at && *at; at += strcspn(at, ":"), at += *at == ':')
		if (strcspn(at, ":") == n && strncmp(at, word, n) == 0) return true;
	return false;
}

/* First program of that name on PATH that was not visited before; NULL if there is none. */
static cyc_status find_next(char **out, const char *name, const char *visited)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *real = NULL;
	const char *list = getenv("PATH");
	*out = NULL;
	for (const char *at = list; at && *at && !*out; at += strcspn(at, ":"), at += *at == ':') {
		int n = (int)strcspn(at, ":");
		CYC_TRY(cyc_asprintf(&path, "%.*s%s%s", n, at, n > 0 ? "/" : "", name));
		if (is_program(path)) real = realpath(path, NULL);
		if (real && !is_in_list(visited, real)) CYC_TRY(cyc_strdup(out, path));
		free(real);
		cyc_free(path);
		real = path = NULL;
	}
done:
	free(real);
	cyc_free(path);
	return st;
}

/* Replaces this process; returns only if it cannot. */
static cyc_status start(const char *path, char **argv)
{
	cyc_status st = CYC_OK;
	fflush(NULL);
	signal(SIGXFSZ, SIG_DFL);
	execv(path, argv);
	CYC_RAISE(CYC_E_IO, "cannot start %s: %s", path, strerror(errno));
done:
	return st;
}

/* Only if there is one: else the call is refused for what it asks for. */
static cyc_status hand_on(const char *name, const char *why, bool talks, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	const char *visited = getenv(VISITED);
	char *self = realpath("/proc/self/exe", NULL), *list = NULL, *next = NULL, **words = NULL;
	if (!self) return CYC_OK;
	CYC_TRY(cyc_asprintf(&list, "%s%s%s", visited ? visited : "", visited ? ":" : "", self));
	CYC_TRY(find_next(&next, name, list));
	if (!next) goto done;
	CYC_TRY(cyc_alloc(&words, argc + 1, sizeof *words));
	memcpy(words, argv, (size_t)argc * sizeof *words);
	words[0] = next;
	if (talks) printf("%s: %s is not done by cyclotomo: handed on to %s\n", name, why, next);
	CYC_CHECK(setenv(VISITED, list, 1) == 0, CYC_E_NOMEM, "not enough memory");
	CYC_TRY(start(next, words));
done:
	free(self);
	cyc_free(list);
	cyc_free(next);
	cyc_free(words);
	return st;
}

cyc_status cyc_relion_hand_on(const cyc_relion_program *p, bool talks, int argc, char **argv)
{
	cyc_status st = CYC_OK;
	const char *mode = p->other_mode ? p->other_mode(argc, argv) : NULL,
			   *why = mode ? mode : refused_option(p, argc, argv), *slash = strrchr(argv[0], '/'),
			   *name = slash ? slash + 1 : argv[0];
	/* Options of cyclotomo's own mean that it is wanted. */
	bool is_wanted =
		cyc_relion_word_value(argc, argv, "--dry-run") || cyc_relion_word_value(argc, argv, "--root");
	if (!why) return CYC_OK;
	if (!is_wanted) CYC_TRY(hand_on(name, why, talks, argc, argv));
	if (mode) {
		st = cyc_error_raise(CYC_E_UNSUPPORTED, __FILE__, __LINE__, __func__,
		                     "%s is not done by cyclotomo, and there is no other %s on PATH", mode, name);
		cyc_error_hint("put the folder of RELION's own programs on PATH, behind that of cyclotomo's links");
	}
done:
	return st;
}

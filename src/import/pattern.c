/* Patterns of file names, in which a star stands for the name of a tilt series. */
#include "import/import_internal.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

void cyc__names_deinit(cyc__names *names)
{
	for (int32_t i = 0; names->names && i < names->n; i++) cyc_free(names->names[i]);
	cyc_free(names->names);
	*names = (cyc__names){ 0 };
}

cyc_status cyc__fill_pattern(char **out, const char *pattern, const char *name)
{
	cyc_status st = CYC_OK;
	size_t n_stars = 0, n = 0;
	for (const char *c = pattern; *c; c++) n_stars += *c == '*';
	CYC_TRY(cyc_alloc_(out, strlen(pattern) + n_stars * strlen(name) + 1, 1, pattern));
	for (const char *c = pattern; *c; c++) {
		if (*c != '*') {
			(*out)[n++] = *c;
			continue;
		}
		memcpy(*out + n, name, strlen(name));
		n += strlen(name);
	}
done:
	return st;
}

/* The text for which every star of the pattern stands in a path; NULL if they differ. */
static cyc_status match(char **name, const char *pattern, const char *path)
{
	cyc_status st = CYC_OK;
	size_t start = strcspn(pattern, "*");
	char *filled = NULL, *trial = NULL;
	*name = NULL;
	for (size_t n = 1; start + n <= strlen(path) && !*name; n++) {
		CYC_TRY(cyc_asprintf(&trial, "%.*s", (int)n, path + start));
		CYC_TRY(cyc__fill_pattern(&filled, pattern, trial));
		if (strcmp(filled, path) == 0) {
			*name = trial;
			trial = NULL;
		}
		cyc_free(filled);
		cyc_free(trial);
		filled = trial = NULL;
	}
done:
	cyc_free(filled);
	cyc_free(trial);
	return st;
}

/* The name of a file without folder and extension. */
static cyc_status stem_of(char **out, const char *path)
{
	const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path, *dot = strrchr(file, '.');
	return cyc_asprintf(out, "%.*s", (int)(dot && dot > file ? (size_t)(dot - file) : strlen(file)), file);
}

/* For glob(): all but the stars behind the first `n_plain` characters stand for themselves. */
static cyc_status escape(char **out, const char *path, size_t n_plain)
{
	cyc_status st = CYC_OK;
	char *to = NULL;
	CYC_TRY(cyc_alloc_(&to, 2 * strlen(path) + 1, 1, path));
	*out = to;
	for (const char *c = path; *c; c++) {
		if (strchr("?[]\\", *c) || (*c == '*' && c < path + n_plain)) *to++ = '\\';
		*to++ = *c;
	}
	*to = '\0';
done:
	return st;
}

cyc_status cyc__find_names(cyc__names *out, const char *root, const char *pattern, const char *option)
{
	cyc_status st = CYC_OK;
	char *full = NULL, *escaped = NULL;
	glob_t g = { 0 };
	*out = (cyc__names){ 0 };
	CYC_TRY(cyc_path_join(&full, root, pattern));
	size_t n_root = strlen(full) - strlen(pattern);
	CYC_TRY(escape(&escaped, full, n_root));
	int rc = glob(escaped, 0, NULL, &g);
	CYC_CHECK(rc != GLOB_NOSPACE, CYC_E_NOMEM, "no memory for the files of '%s'", full);
	if (rc != 0 || g.gl_pathc == 0) {
		st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__, "no file matches %s '%s'", option, full);
		cyc_error_hint("a * stands for the name of a tilt series; put the pattern in quotes, so that the "
		               "shell does not expand it");
		goto done;
	}
	CYC_TRY(cyc_alloc(&out->names, g.gl_pathc, sizeof *out->names));
	for (size_t i = 0; i < g.gl_pathc; i++) {
		char **name = &out->names[out->n];
		if (strchr(pattern, '*')) CYC_TRY(match(name, pattern, g.gl_pathv[i] + n_root));
		else CYC_TRY(stem_of(name, g.gl_pathv[i]));
		out->n += *name != NULL;
	}
	CYC_CHECK(out->n > 0, CYC_E_USAGE, "%s '%s': all stars must stand for the same name", option, full);
done:
	globfree(&g);
	cyc_free(full);
	cyc_free(escaped);
	if (st != CYC_OK) cyc__names_deinit(out);
	return st;
}

cyc_status cyc__require_file(char **out, const char *root, const char *pattern, const char *name,
                             const char *option)
{
	cyc_status st = CYC_OK;
	char *file = NULL;
	*out = NULL;
	if (!pattern) return CYC_OK;
	CYC_TRY(cyc__fill_pattern(&file, pattern, name));
	CYC_TRY(cyc_path_join(out, root, file));
	if (!cyc_path_exists(*out)) {
		st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__,
		                     "tilt series '%s': '%s' (%s) does not exist", name, *out, option);
		cyc_error_hint("a * in '%s' stands for '%s'; paths are relative to --root", pattern, name);
	}
done:
	cyc_free(file);
	if (st != CYC_OK) {
		cyc_free(*out);
		*out = NULL;
	}
	return st;
}

cyc_status cyc__section_name(char **out, const char *stack, int64_t section)
{
	/* What RELION takes for a stack by its name alone. */
	const char *dot = strrchr(stack, '.');
	bool is_known = dot && (strcmp(dot, ".mrcs") == 0 || strcmp(dot, ".st") == 0);
	return cyc_asprintf(out, "%06lld@%s%s", (long long)section, stack, is_known ? "" : ":mrcs");
}

size_t cyc__stem_length(const char *name)
{
	static const char *const ENDS[] = { ".tomostar", ".mrc", ".rec", ".st", ".mrcs", ".star", ".ali" };
	size_t n = strlen(name);
	for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
		size_t m = strlen(ENDS[i]);
		if (n > m && strcmp(name + n - m, ENDS[i]) == 0) return n - m;
	}
	return n;
}

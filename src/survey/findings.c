/* Findings: records, and their output for people and programs. */
#include "cyclotomo/survey.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* So many of one kind are reported one by one. */
enum { TOLD_OF_A_KIND = 3 };

static void finding_deinit(cyc_finding *f)
{
	cyc_free(f->series);
	cyc_free(f->file);
	cyc_free(f->column);
	cyc_free(f->found);
	cyc_free(f->wanted);
	cyc_free(f->action);
}

void cyc_finding_list_deinit(cyc_finding_list *l)
{
	for (int32_t i = 0; i < l->n; i++) finding_deinit(&l->items[i]);
	cyc_free(l->items);
	*l = (cyc_finding_list){ 0 };
}

cyc_status cyc_finding_add(cyc_finding **out, cyc_finding_list *l, cyc_finding_level level, const char *kind)
{
	cyc_status st = CYC_OK;
	*out = NULL;
	/* Room doubles: at 1, 2, 4, ... */
	if ((l->n & (l->n - 1)) == 0)
		CYC_TRY(cyc_realloc(&l->items, (size_t)l->n, l->n > 0 ? 2 * (size_t)l->n : 1, sizeof *l->items));
	*out = &l->items[l->n++];
	**out = (cyc_finding){ .level = level,
		                   .code = CYC_E_DATA,
		                   .kind = kind,
		                   .i_series = -1,
		                   .measured = { CYC_NAN, CYC_NAN },
		                   .expected = CYC_NAN,
		                   .sigma = CYC_NAN,
		                   .gain = CYC_NAN };
done:
	return st;
}

cyc_status cyc_finding_put(cyc_finding *f, const char *file, const char *column)
{
	cyc_status st = CYC_OK;
	if (file) CYC_TRY(cyc_reprintf(&f->file, "%s", file));
	if (column) CYC_TRY(cyc_reprintf(&f->column, "%s", column));
done:
	return st;
}

cyc_status cyc_finding_add_raised(cyc_finding **out, cyc_finding_list *l, const char *kind, cyc_status raised)
{
	cyc_status st = CYC_OK;
	cyc_error error = *cyc_error_get();
	*out = NULL;
	if (raised == CYC_E_NOMEM || raised == CYC_E_CANCELLED || raised == CYC_E_INTERNAL) return raised;
	cyc_error_clear();
	CYC_TRY(cyc_finding_add(out, l, CYC_FINDING_ERROR, kind));
	(*out)->code = raised;
	CYC_TRY(cyc_strdup(&(*out)->found, error.message));
	CYC_TRY(cyc_strdup(&(*out)->action,
	                   error.hint[0] ? error.hint : "correct the file, or get it again from its source"));
done:
	return st;
}

int32_t cyc_finding_count(const cyc_finding_list *l, cyc_finding_level level)
{
	int32_t n = 0;
	for (int32_t i = 0; i < l->n; i++) n += l->items[i].level == level;
	return n;
}

static int compare_findings(const void *a, const void *b)
{
	const cyc_finding *x = a, *y = b;
	if (x->level != y->level) return x->level > y->level ? -1 : 1;
	if (x->i_series != y->i_series) return x->i_series < y->i_series ? -1 : 1;
	int by_kind = strcmp(x->kind, y->kind);
	if (by_kind != 0) return by_kind;
	int by_column = strcmp(x->column ? x->column : "", y->column ? y->column : "");
	if (by_column != 0) return by_column;
	if (x->row != y->row) return x->row < y->row ? -1 : 1;
	return strcmp(x->found ? x->found : "", y->found ? y->found : "");
}

void cyc_finding_sort(cyc_finding_list *l)
{
	if (l->n > 1) qsort(l->items, (size_t)l->n, sizeof *l->items, compare_findings);
}

/* ---------------------------------------------------------------- as text */

/* " (FILE, row N and 3 more, _label)"; "" of none. */
static cyc_status place_text(char **out, const cyc_finding *f)
{
	cyc_status st = CYC_OK;
	char row[96] = "", more[48] = "";
	if (f->n_more > 0) snprintf(more, sizeof more, " and %lld more", (long long)f->n_more);
	if (f->row > 0) snprintf(row, sizeof row, ", row %lld%s", (long long)f->row, more);
	if (!f->file) return cyc_strdup(out, "");
	CYC_TRY(
		cyc_asprintf(out, " (%s%s%s%s)", f->file, row, f->column ? ", _" : "", f->column ? f->column : ""));
done:
	return st;
}

/* Where it is, what was found and what was wanted. */
static cyc_status found_text(char **out, const cyc_finding *f)
{
	cyc_status st = CYC_OK;
	char *where = NULL, *sigma = NULL;
	bool has_wanted = f->wanted && f->wanted[0];
	if (f->series) CYC_TRY(cyc_asprintf(&where, "tilt series %s: ", f->series));
	if (isfinite(f->sigma)) CYC_TRY(cyc_asprintf(&sigma, " (%.0f standard errors)", f->sigma));
	CYC_TRY(cyc_asprintf(out, "%s%s%s%s%s", where ? where : "", f->found ? f->found : "", sigma ? sigma : "",
	                     has_wanted ? "; expected: " : "", has_wanted ? f->wanted : ""));
done:
	cyc_free(where);
	cyc_free(sigma);
	return st;
}

cyc_status cyc_finding_text(char **out, const cyc_finding *f)
{
	cyc_status st = CYC_OK;
	char *found = NULL, *place = NULL;
	bool has_action = f->action && f->action[0];
	CYC_TRY(found_text(&found, f));
	CYC_TRY(place_text(&place, f));
	CYC_TRY(cyc_asprintf(out, "%s%s%s%s", found, has_action ? "; " : "", has_action ? f->action : "", place));
done:
	cyc_free(found);
	cyc_free(place);
	return st;
}

void cyc_measured_json(cyc_json *j, const char *key, cyc_measured m)
{
	cyc_json_begin_object(j, key);
	cyc_json_double(j, "value", m.value);
	cyc_json_double(j, "error", m.error);
	cyc_json_end_object(j);
}

void cyc_finding_json(cyc_json *j, const cyc_finding *f)
{
	static const char *const LEVELS[] = { "note", "warning", "error" };
	cyc_json_begin_object(j, NULL);
	cyc_json_text(j, "level", LEVELS[f->level]);
	cyc_json_text(j, "kind", f->kind);
	cyc_json_text(j, "series", f->series);
	cyc_json_text(j, "file", f->file);
	cyc_json_int(j, "row", f->row);
	cyc_json_text(j, "column", f->column);
	cyc_json_int(j, "more_rows", f->n_more);
	cyc_measured_json(j, "measured", f->measured);
	cyc_json_double(j, "expected", f->expected);
	cyc_json_double(j, "sigma", f->sigma);
	cyc_json_double(j, "gain", f->gain);
	cyc_json_text(j, "found", f->found);
	cyc_json_text(j, "wanted", f->wanted);
	cyc_json_text(j, "action", f->action);
	cyc_json_bool(j, "can_fix", f->can_fix);
	cyc_json_end_object(j);
}

/* ---------------------------------------------------------------- as warnings and errors of a job */

static bool is_of_kind(const cyc_finding *f, const cyc_finding *of)
{
	bool both = f->column && of->column, none = !f->column && !of->column;
	return f->level == of->level && strcmp(f->kind, of->kind) == 0 &&
	       (none || (both && strcmp(f->column, of->column) == 0));
}

cyc_status cyc_finding_warn(const cyc_finding_list *l)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	for (int32_t i = 0; i < l->n; i++) {
		int32_t n_before = 0, n_all = 0;
		if (l->items[i].level != CYC_FINDING_WARNING) continue;
		for (int32_t k = 0; k < i && n_before <= TOLD_OF_A_KIND; k++)
			n_before += is_of_kind(&l->items[k], &l->items[i]);
		if (n_before > TOLD_OF_A_KIND) continue;
		if (n_before == TOLD_OF_A_KIND) {
			for (int32_t k = 0; k < l->n; k++) n_all += is_of_kind(&l->items[k], &l->items[i]);
			cyc_warn("%d more of this kind: 'cyclotomo check' lists them", n_all - TOLD_OF_A_KIND);
			continue;
		}
		CYC_TRY(cyc_finding_text(&text, &l->items[i]));
		cyc_warn("%s", text);
		cyc_free(text);
		text = NULL;
	}
done:
	cyc_free(text);
	return st;
}

cyc_status cyc_finding_raise(const cyc_finding_list *l)
{
	cyc_status st = CYC_OK;
	char *text = NULL, *place = NULL;
	int32_t n = cyc_finding_count(l, CYC_FINDING_ERROR), first = 0;
	if (n == 0) return CYC_OK;
	while (l->items[first].level != CYC_FINDING_ERROR) first++;
	const cyc_finding *f = &l->items[first];
	CYC_TRY(found_text(&text, f));
	CYC_TRY(place_text(&place, f));
	st = cyc_error_raise(f->code, __FILE__, __LINE__, __func__, "%s%s", text, place);
	if (n == 1 && f->action && f->action[0]) cyc_error_hint("%s", f->action);
	else if (n > 1)
		cyc_error_hint("%s%s%d more error%s: 'cyclotomo check' lists them", f->action ? f->action : "",
		               f->action && f->action[0] ? "; " : "", n - 1, n == 2 ? "" : "s");
done:
	cyc_free(place);
	cyc_free(text);
	return st;
}

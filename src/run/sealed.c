#include "run/sealed.h"

#include "cyclotomo/record.h"
#include "project/labels.h"

#include <string.h>

/* ---------------------------------------------------------------- pairs as STAR tables */

cyc_status cyc__add_table(cyc_star *star, const char *name, const char *label1, const char *label2,
                          const cyc__pairs *p)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t c1, c2;
	int64_t row;
	CYC_TRY(cyc_star_add_block(&b, star, name, CYC_STAR_TABLE));
	CYC_TRY(cyc_star_ensure_column(&c1, b, label1, ""));
	CYC_TRY(cyc_star_ensure_column(&c2, b, label2, ""));
	for (int32_t i = 0; i < p->n; i++) {
		CYC_TRY(cyc_star_add_row(&row, b));
		CYC_TRY(cyc_star_set_text(b, row, c1, p->items[i].name));
		CYC_TRY(cyc_star_set_text(b, row, c2, p->items[i].value));
	}
done:
	return st;
}

cyc_status cyc__read_table(cyc__pairs *out, const cyc_star *star, const char *name, const char *label1,
                           const char *label2)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t c1, c2;
	CYC_TRY(cyc_star_require(&b, star, name));
	CYC_TRY(cyc_star_require_column(&c1, b, label1));
	CYC_TRY(cyc_star_require_column(&c2, b, label2));
	for (int64_t i = 0; i < cyc_star_n_rows(b); i++) {
		CYC_TRY(cyc__pairs_add(out, cyc_star_text(b, i, c1), "%s", cyc_star_text(b, i, c2)));
	}
done:
	return st;
}

/* ---------------------------------------------------------------- seals */

enum { RECORD_FORMAT = 3 };
static const char SEAL[] = "\ndata_end\n";

/* What stands behind a text of n bytes, and says that it is whole. */
static cyc_status make_seal(char **out, const char *text, size_t n)
{
	return cyc_asprintf(out, "%s\n_%s %d\n_%s %s\n\n", SEAL, CYC_OWN_RECORD_FORMAT, RECORD_FORMAT,
	                    CYC_OWN_RECORD_HASH, cyc__hash_format(cyc_hash(CYC_HASH_INIT, text, n)).text);
}

cyc_status cyc__write_sealed(const cyc_star *s, const char *path)
{
	cyc_status st = CYC_OK;
	char *text = NULL, *seal = NULL, *all = NULL;
	size_t n;
	CYC_TRY(cyc_star_print(&text, &n, s));
	CYC_TRY(make_seal(&seal, text, n));
	CYC_TRY(cyc_asprintf(&all, "%s%s", text, seal));
	CYC_TRY(cyc_write_file(path, all, strlen(all)));
done:
	cyc_free(text);
	cyc_free(seal);
	cyc_free(all);
	return st;
}

/* Length of what the seal is of; SIZE_MAX without one. */
static size_t sealed_length(const char *text)
{
	const char *last = NULL;
	for (const char *at = strstr(text, SEAL); at; at = strstr(at + 1, SEAL)) last = at;
	return last ? (size_t)(last - text) : SIZE_MAX;
}

cyc_status cyc__read_sealed(cyc_star **out, const char *path)
{
	cyc_status st = CYC_OK;
	char *text = NULL, *seal = NULL;
	size_t n, length;
	*out = NULL;
	st = cyc_read_file(&text, &n, path);
	if (st != CYC_OK) goto done;
	length = sealed_length(text);
	if (length == SIZE_MAX) goto done;
	CYC_TRY(make_seal(&seal, text, length));
	if (strlen(seal) == n - length && strcmp(text + length, seal) == 0)
		st = cyc_star_parse(out, text, length, path);
done:
	if (st != CYC_OK && st != CYC_E_NOMEM) {
		cyc_error_clear();
		st = CYC_OK;
	}
	cyc_free(text);
	cyc_free(seal);
	return st;
}
